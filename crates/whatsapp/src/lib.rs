//! What is particular to Meta's WhatsApp Business Calling.
