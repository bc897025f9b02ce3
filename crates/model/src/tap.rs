use crate::CallId;

/// Which side of the recording a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TapChannel {
    /// What the customer said: the left channel.
    Customer,
    /// What the customer heard: the right channel.
    Agent,
}

/// One Opus packet of the Meta leg, on its way from the packet thread to the recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapFrame {
    /// The call it belongs to.
    pub call: CallId,
    /// Which direction.
    pub channel: TapChannel,
    /// RTP sequence number, extended over wrap-arounds (RFC 3550 appendix A.1).
    pub sequence: u64,
    /// RTP time stamp in 48 kHz units, extended over wrap-arounds.
    pub timestamp: u64,
    /// When the frame passed the bridge, in microseconds since the call's tap was opened. One clock for both
    /// channels: it puts them on one time line.
    pub passed_us: u64,
    /// The Opus packet (RFC 6716 section 3), at most [`crate::limits::OPUS_PACKET_BYTES`].
    pub payload: Box<[u8]>,
}
