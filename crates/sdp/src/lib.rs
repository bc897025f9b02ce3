//! Session descriptions and offer/answer (RFC 3264), tolerant of real peers.
