//! SIP transports: UDP, TCP, TLS, DNS, certificates.
