use std::fmt;
use std::net::IpAddr;

use setu_model::{Entropy, Secret};

use crate::text::{OurDtls, Ours};
use crate::{
    AudioCodec, CryptoLine, Direction, IceCredentials, IceMode, Keying, Negotiated, Policy, SrtpPolicy,
    SrtpSuite,
};

/// Our end of one leg's media: what goes into our descriptions of it, the same for the life of the leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The address the peer sends to: the advertised one, not the bound one.
    pub address: IpAddr,
    /// The port the peer sends RTP to. Without multiplexing, RTCP goes to the next one.
    pub port: u16,
    /// Names the session in the `o=` line.
    pub session_id: u64,
    /// For each suite the key we protect with: master key followed by master salt. One leg's keys are no other's.
    pub keys: Vec<(SrtpSuite, Secret<Box<[u8]>>)>,
    /// What the peer's connectivity checks name.
    pub ice: IceCredentials,
}

impl Local {
    /// Draws a session id, ICE credentials, and a key for each suite of `policy`, from `entropy`.
    pub fn new(address: IpAddr, port: u16, policy: &Policy, entropy: &mut dyn Entropy) -> Self {
        let key = |suite: &SrtpSuite| {
            let mut bytes = vec![0; suite.inline_bytes()].into_boxed_slice();
            entropy.fill(&mut bytes);
            (*suite, Secret::new(bytes))
        };
        let keys = policy.suites().iter().map(key).collect();
        // 62 bits: some peers read the id as a signed number.
        let session_id = entropy.next_u64() >> 2;
        Self { address, port, session_id, keys, ice: IceCredentials::new(entropy) }
    }

    pub(crate) fn key(&self, suite: SrtpSuite) -> Option<&Secret<Box<[u8]>>> {
        self.keys.iter().find(|(held, _)| *held == suite).map(|(_, key)| key)
    }
}

/// An offer of ours, waiting for its answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// The text to send. It holds keys: not for a log.
    pub sdp: String,
    pub(crate) policy: Policy,
    pub(crate) audio: Vec<(AudioCodec, u8)>,
    pub(crate) events: Vec<(u32, u8)>,
    pub(crate) crypto: Vec<CryptoLine>,
    pub(crate) ice: IceCredentials,
    pub(crate) address: IpAddr,
    pub(crate) version: u64,
    /// Where the peer was before a re-offer.
    pub(crate) known: Option<IpAddr>,
}

/// Without the text, which holds keys.
impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offer {{ version: {}, audio: {:?}, events: {:?} }}", self.version, self.audio, self.events)
    }
}

/// Makes the first offer of a leg (RFC 3264 section 5).
pub fn offer(policy: &Policy, local: &Local) -> Offer {
    let payload_type =
        |codec: &AudioCodec| (*codec, codec.static_payload_type().unwrap_or(policy.opus_payload_type));
    let suites = match &policy.srtp {
        _ if matches!(policy.keying, Keying::Dtls(_)) => &[],
        SrtpPolicy::Required(suites) => suites.as_slice(),
        SrtpPolicy::Optional(suites) if policy.crypto_under_avp => suites.as_slice(),
        SrtpPolicy::Optional(_) | SrtpPolicy::Off => &[],
    };
    let lines = if policy.one_crypto_line { 1 } else { suites.len() };
    make(
        policy,
        local,
        Draft {
            audio: policy.audio.iter().map(payload_type).collect(),
            events: policy.telephone_event.iter().map(|event| (event.clock_hz, event.payload_type)).collect(),
            suites: suites.iter().copied().take(lines).collect(),
            dtls: matches!(policy.keying, Keying::Dtls(_)),
            ice: policy.keying.dtls().map(|dtls| dtls.ice),
            version: FIRST_VERSION,
            known: None,
        },
    )
}

/// Makes an offer within a call, for a peer that asks for one with an INVITE without a body: the same session one
/// version on, with the codec, events and suite that are in use (RFC 3264 section 8).
pub fn re_offer(current: &Negotiated, policy: &Policy, local: &Local) -> Offer {
    make(
        policy,
        local,
        Draft {
            audio: vec![(current.audio.codec, current.audio.receive_pt)],
            events: current.dtmf.iter().map(|dtmf| (dtmf.clock_hz, dtmf.receive_pt)).collect(),
            suites: current.srtp.iter().map(|keys| keys.suite).collect(),
            dtls: current.dtls.is_some(),
            ice: current.ice.as_ref().map(|ice| ice.mode),
            version: current.version.saturating_add(1),
            known: Some(current.remote.ip()),
        },
    )
}

struct Draft {
    audio: Vec<(AudioCodec, u8)>,
    events: Vec<(u32, u8)>,
    suites: Vec<SrtpSuite>,
    /// Keys come from a handshake.
    dtls: bool,
    /// Our part in ICE; none if the peer is known to do none.
    ice: Option<IceMode>,
    version: u64,
    known: Option<IpAddr>,
}

fn make(policy: &Policy, local: &Local, draft: Draft) -> Offer {
    let Draft { audio, events, suites, dtls, ice, version, known } = draft;
    let keys = suites.into_iter().filter_map(|suite| Some((suite, local.key(suite)?.clone())));
    let crypto: Vec<CryptoLine> =
        keys.zip(1..).map(|((suite, key), tag)| CryptoLine { tag, suite, key }).collect();
    let dtls = policy.keying.dtls().filter(|_| dtls);
    let ours = Ours {
        local,
        policy,
        version,
        // Required encryption without a key still says SAVP: it is refused by the peer, never sent in clear.
        protocol: match &policy.srtp {
            _ if dtls.is_some() => "UDP/TLS/RTP/SAVPF",
            SrtpPolicy::Required(_) => "RTP/SAVP",
            SrtpPolicy::Optional(_) | SrtpPolicy::Off => "RTP/AVP",
        },
        comfort_noise: policy.comfort_noise && audio.iter().any(|(codec, _)| *codec != AudioCodec::Opus),
        audio,
        events,
        crypto,
        dtls: dtls.map(|dtls| OurDtls { fingerprint: dtls.fingerprint, setup: "actpass", ice }),
        direction: Direction::SendRecv,
        rtcp_mux: dtls.is_some() || policy.rtcp_mux != crate::RtcpMux::Never,
        mid: (policy.bundle || dtls.is_some()).then_some("audio"),
    };
    let sdp = ours.print(&[None]);
    // An answer may take what was offered and nothing else.
    let keying = dtls.map_or(Keying::Sdes, |dtls| Keying::Dtls(*dtls));
    let policy = policy.clone().with_keying(keying);
    let Ours { audio, events, crypto, .. } = ours;
    Offer {
        sdp,
        policy,
        audio,
        events,
        crypto,
        ice: local.ice.clone(),
        address: local.address,
        version,
        known,
    }
}

/// The version of a leg's first description.
pub(crate) const FIRST_VERSION: u64 = 1;
