//! A self-hosted SIP B2BUA and media bridge for WhatsApp Business Calling.
