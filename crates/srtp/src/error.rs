/// Why a packet was not protected or not let in.
///
/// The first group is the peer's doing (or a stranger's): count it and drop the packet, never the call. The second
/// is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The peer sent fewer bytes than header, tag and index take (RFC 3711 sections 3.1 and 3.4).
    #[error("packet too short")]
    TooShort,
    /// The bytes are not RTP or RTCP version 2 (RFC 3550 sections 5.1 and 6.4).
    #[error("not an RTP or RTCP packet")]
    NotRtp,
    /// The packet was taken before, or is older than the replay window (RFC 3711 section 3.3.2).
    #[error("packet replayed or too old")]
    Replayed,
    /// The authentication tag does not match: forged, damaged, or protected with other keys.
    #[error("authentication failed")]
    AuthenticationFailed,
    /// An SRTCP packet whose E bit is not set (RFC 3711 section 3.4). A peer may only send that where
    /// `UNENCRYPTED_SRTCP` was agreed (RFC 4568 section 6.3.2), which the bridge never does.
    #[error("report not encrypted")]
    Unencrypted,
    /// More synchronisation sources under one key than [`MAX_SOURCES`](crate::MAX_SOURCES).
    #[error("too many synchronisation sources")]
    TooManySources,

    /// Ours: key or salt is not as long as the suite wants.
    #[error("key or salt of the wrong length")]
    KeyLength,
    /// Ours: there are no keys yet.
    #[error("no key yet")]
    NoKey,
    /// Ours: the buffer has no room for the tag, or holds no packet of the length given.
    #[error("no room for the tag")]
    NoRoom,
    /// Ours: this index was used before under this key. Sending it would repeat the key stream.
    #[error("packet index used before")]
    IndexReused,
    /// Ours: the key has protected as many packets as it may (2^48 RTP or 2^31 RTCP, RFC 3711 section 9.2).
    #[error("key exhausted")]
    KeyExhausted,
}
