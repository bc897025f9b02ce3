use crate::CryptoFault;

/// Why a text is no session description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than [`setu_model::limits::SDP_BYTES`].
    #[error("session description longer than {} bytes", setu_model::limits::SDP_BYTES)]
    TooLong,
    /// More lines than [`setu_model::limits::SDP_LINES`].
    #[error("session description of more than {} lines", setu_model::limits::SDP_LINES)]
    TooManyLines,
    /// It does not begin with `v=0` (RFC 8866 section 5.1).
    #[error("session description does not begin with v=0")]
    NoVersion,
    /// A line is not `letter=value`, or holds a NUL.
    #[error("line {0} of the session description is not letter=value")]
    Line(usize),
    /// An `m=` line without kind, port and protocol (RFC 8866 section 5.14).
    #[error("line {0} of the session description is a broken m= line")]
    MediaLine(usize),
}

impl SdpError {
    /// The SIP status that answers it: 400.
    pub const fn status(&self) -> u16 {
        400
    }
}

/// Why an offer or an answer that could be read is not taken. The text is meant for a `Warning` header, a log and
/// the CDR: it names the remedy where the operator has one, and never a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `m=audio` line with a port (RFC 3264 section 6).
    #[error("no audio stream")]
    NoAudio,
    /// The transport of the audio stream is none of RTP's.
    #[error("unsupported media transport {0:?}")]
    Transport(String),
    /// Clear RTP where the policy demands encryption (security.md row 4: downgrade).
    #[error("clear RTP is not allowed on this leg")]
    ClearRtp,
    /// Encryption where the policy has none.
    #[error("SRTP is not enabled on this leg")]
    SrtpOff,
    /// An encrypted transport without an `a=crypto` line, and none of DTLS either.
    #[error("SRTP without a key: no a=crypto line")]
    NoCrypto,
    /// Keys by DTLS only, where the bridge exchanges them by SDES.
    #[error("only DTLS-SRTP is offered: {0}")]
    DtlsOnly(&'static str),
    /// Keys by DTLS, and no SHA-256 fingerprint of the certificate (RFC 8122 section 5).
    #[error("DTLS without a sha-256 fingerprint")]
    NoFingerprint,
    /// An `a=setup` that leaves nobody to begin the handshake (RFC 4145 section 4.1).
    #[error("a=setup that does not fit")]
    Setup,
    /// None of the `a=crypto` lines can be used; the fault of the first that was tried.
    #[error("no usable a=crypto line: {0}")]
    Crypto(CryptoFault),
    /// No audio codec in common.
    #[error("no common audio codec")]
    NoCommonCodec,
    /// No `c=` line, or one that is neither an IPv4 nor an IPv6 address.
    #[error("no usable c= address")]
    NoAddress,
    /// A multicast or broadcast address: a call is between two.
    #[error("c= address is not unicast")]
    NotUnicast,
    /// The answer has fewer streams than the offer, or rejects audio with port 0 (RFC 3264 section 6).
    #[error("the answer rejects the audio stream")]
    AnswerRejectsAudio,
    /// We hold no key for the suite that was agreed; see [`crate::Local::new`].
    #[error("no local key for {0}")]
    NoLocalKey(&'static str),
}

impl Refusal {
    /// The SIP status that answers it: 488, Not Acceptable Here (RFC 3261 section 21.4.26).
    pub const fn status(&self) -> u16 {
        488
    }

    /// The code of a SIP `Warning` header that goes with it (RFC 3261 section 20.43).
    pub const fn warn_code(&self) -> u16 {
        match self {
            Self::NoAddress | Self::NotUnicast => 301,
            Self::Transport(_) => 302,
            Self::NoAudio | Self::AnswerRejectsAudio => 304,
            Self::NoCommonCodec => 305,
            Self::ClearRtp
            | Self::SrtpOff
            | Self::NoCrypto
            | Self::DtlsOnly(_)
            | Self::NoFingerprint
            | Self::Setup
            | Self::Crypto(_)
            | Self::NoLocalKey(_) => 399,
        }
    }
}
