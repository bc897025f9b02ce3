//! Every bound that more than one crate relies on, with its reason.

/// The largest SIP message taken from any transport, in bytes. RFC 3261 section 18.1.1 expects datagrams up to
/// 65,535 bytes; Meta's largest seen is below 4 kB.
pub const SIP_MESSAGE_BYTES: usize = 65_535;

/// The most header fields one SIP message may carry. Real ones have 15 to 40.
pub const SIP_HEADERS: usize = 128;

/// The longest session description taken, in bytes.
pub const SDP_BYTES: usize = 16_384;

/// The most lines one session description may have.
pub const SDP_LINES: usize = 512;

/// The largest Opus packet relayed or recorded, in bytes: 1,275 bytes a frame (RFC 6716 section 3.4) fit any
/// 20 ms packet; the rest of a datagram is never voice.
pub const OPUS_PACKET_BYTES: usize = 1_500;

/// The largest datagram a media socket takes, in bytes: an Ethernet frame.
pub const MEDIA_DATAGRAM_BYTES: usize = 1_500;

/// The longest a call may go on, in hours. Meta sets no limit; a forgotten call must end some day.
pub const CALL_HOURS: u64 = 12;
