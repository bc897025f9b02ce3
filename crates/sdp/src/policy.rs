use crate::{AudioCodec, DtlsPolicy, SrtpSuite};

/// What a kind of peer is offered and what is taken from it. A peer's quirks are values in here, never branches
/// elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Codecs, the most wanted first. Only these are offered or taken.
    pub audio: Vec<AudioCodec>,
    /// The payload type of Opus in our offers, 96..=127.
    pub opus_payload_type: u8,
    /// The parameters of Opus in our descriptions: what the peer's encoder should keep to.
    pub opus_fmtp: String,
    /// Telephone events, the most wanted clock first. Empty: none.
    pub telephone_event: Vec<TelephoneEvent>,
    /// Which telephone-event clock is taken if several are possible.
    pub dtmf_clock: DtmfClock,
    /// Whether `a=fmtp:<n> 0-16` is written for telephone events.
    pub telephone_event_fmtp: bool,
    /// Take comfort noise (RFC 3389), and offer to, beside a codec that has none of its own.
    pub comfort_noise: bool,
    /// Encryption.
    pub srtp: SrtpPolicy,
    /// Where the keys of an encrypted leg come from.
    pub keying: Keying,
    /// Write one `a=crypto` line only in offers: that of the first suite.
    pub one_crypto_line: bool,
    /// Take `a=crypto` under `RTP/AVP` as an offer of SRTP, and make such offers where encryption is optional
    /// (baresip's `srtp`, Asterisk's optimistic encryption). Who does not know it, ignores it.
    pub crypto_under_avp: bool,
    /// Whether RTCP shares the RTP port.
    pub rtcp_mux: RtcpMux,
    /// Write `a=group:BUNDLE` and `a=mid` (RFC 9143).
    pub bundle: bool,
    /// The packet time we ask for, in milliseconds.
    pub ptime_ms: u16,
    /// The longest packet time we take, in milliseconds; `None` says nothing of it.
    pub maxptime_ms: Option<u16>,
    /// What the operator must do if this peer offers keys by DTLS only.
    pub sdes_remedy: &'static str,
}

impl Policy {
    /// Meta's SIP edge: Opus and telephone events at 8 kHz, SDES always, RTCP always on the RTP port, 20 ms.
    pub fn meta() -> Self {
        Self {
            audio: vec![AudioCodec::Opus],
            opus_payload_type: 111,
            opus_fmtp: META_OPUS_FMTP.to_owned(),
            telephone_event: vec![TelephoneEvent { clock_hz: 8_000, payload_type: 126 }],
            dtmf_clock: DtmfClock::Listed,
            telephone_event_fmtp: false,
            comfort_noise: false,
            // The one suite seen live, and the one that may come.
            srtp: SrtpPolicy::Required(vec![SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes128Gcm]),
            keying: Keying::Sdes,
            one_crypto_line: true,
            crypto_under_avp: false,
            rtcp_mux: RtcpMux::Always,
            bundle: true,
            ptime_ms: 20,
            maxptime_ms: Some(20),
            sdes_remedy: "enable SDES on the business number (srtp_key_exchange_protocol: SDES)",
        }
    }

    /// An agent's softphone: Opus, then G.711, SDES where the phone does it.
    pub fn softphone() -> Self {
        let suites = vec![SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes128Gcm, SrtpSuite::AeadAes256Gcm];
        Self {
            srtp: SrtpPolicy::Optional(suites),
            one_crypto_line: false,
            crypto_under_avp: true,
            sdes_remedy: "set the phone's media encryption to SDES",
            ..Self::trunk(SrtpPolicy::Off)
        }
    }

    /// A PBX: Opus, then G.711, encrypted as `srtp` says.
    pub fn trunk(srtp: SrtpPolicy) -> Self {
        Self {
            audio: vec![AudioCodec::Opus, AudioCodec::Pcmu, AudioCodec::Pcma],
            opus_payload_type: 111,
            // The agent's audio goes to Meta as it is, so its encoder gets Meta's limits.
            opus_fmtp: META_OPUS_FMTP.to_owned(),
            telephone_event: vec![
                TelephoneEvent { clock_hz: 48_000, payload_type: 110 },
                TelephoneEvent { clock_hz: 8_000, payload_type: 101 },
            ],
            dtmf_clock: DtmfClock::LikeAudio,
            telephone_event_fmtp: true,
            comfort_noise: true,
            crypto_under_avp: matches!(srtp, SrtpPolicy::Optional(_)),
            srtp,
            keying: Keying::Sdes,
            one_crypto_line: false,
            rtcp_mux: RtcpMux::Negotiated,
            bundle: false,
            ptime_ms: 20,
            maxptime_ms: None,
            sdes_remedy: "set the trunk's media encryption to SDES",
        }
    }

    /// Returns the same policy with another stance on encryption.
    #[must_use]
    pub fn with_srtp(mut self, srtp: SrtpPolicy) -> Self {
        self.srtp = srtp;
        self
    }

    /// Returns the same policy with another way to keys.
    #[must_use]
    pub fn with_keying(mut self, keying: Keying) -> Self {
        self.keying = keying;
        self
    }

    /// Returns the suites of the policy, the most wanted first; none if encryption is off.
    pub fn suites(&self) -> &[SrtpSuite] {
        match &self.srtp {
            SrtpPolicy::Required(suites) | SrtpPolicy::Optional(suites) => suites,
            SrtpPolicy::Off => &[],
        }
    }
}

/// Telephone events of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// The clock of durations in Hz.
    pub clock_hz: u32,
    /// The payload type in our offers, 96..=127.
    pub payload_type: u8,
}

/// Which telephone-event clock is taken where the peer has several. Beside G.711 it is 8000 in any case: durations
/// at another clock than the audio's are only ever seen beside Opus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtmfClock {
    /// The first of the policy's list.
    Listed,
    /// The audio's own clock, as RFC 4733 section 2.1 would have it; else the first of the list.
    LikeAudio,
}

/// Whether a leg is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SrtpPolicy {
    /// Always, with one of these suites, the most wanted first. Clear RTP is refused.
    Required(Vec<SrtpSuite>),
    /// If the peer offers it. Our own offers are `RTP/AVP`; see [`Policy::crypto_under_avp`].
    Optional(Vec<SrtpSuite>),
    /// Never: a trunk on a trusted network.
    Off,
}

/// Where the keys of an encrypted leg come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keying {
    /// The descriptions (SDES, RFC 4568).
    Sdes,
    /// A DTLS handshake (RFC 5764), over a path that ICE found if the peer does ICE. There is no way from it to clear
    /// RTP.
    Dtls(DtlsPolicy),
    /// Either, as the peer offers: SDES if both are there. Our own offers are SDES.
    Either(DtlsPolicy),
}

impl Keying {
    /// Returns how keys are exchanged by DTLS, if they may be.
    pub const fn dtls(&self) -> Option<&DtlsPolicy> {
        match self {
            Self::Dtls(dtls) | Self::Either(dtls) => Some(dtls),
            Self::Sdes => None,
        }
    }

    /// Says whether keys may stand in descriptions.
    pub const fn takes_sdes(&self) -> bool {
        matches!(self, Self::Sdes | Self::Either(_))
    }
}

/// Whether RTCP shares the RTP port (RFC 5761).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpMux {
    /// Always, whatever the peer says: Meta answers it even if it was not offered.
    Always,
    /// Offered, and used if the peer does it too.
    Negotiated,
    /// Never.
    Never,
}

/// Meta's own words: wideband at 20 kbit/s.
const META_OPUS_FMTP: &str =
    "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1";
