//! The rules that answering and accepting an answer share: what a peer's stream says under a policy.

use std::net::{IpAddr, SocketAddr};

use crate::secure::{Setup, agree_dtls};
use crate::text::is_hold_address;
use crate::{
    AudioCodec, CryptoFault, CryptoLine, Description, Direction, DtlsTerms, DtmfClock, Keying, Media,
    OpusParameters, Payload, Policy, Refusal, SrtpPolicy, SrtpSuite,
};

/// Whether an RTP transport is an encrypted one (RFC 3551, RFC 4585, RFC 5124, RFC 5764).
pub(crate) fn is_secure(protocol: &str) -> Result<bool, Refusal> {
    let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(protocol));
    if is(&["RTP/AVP", "RTP/AVPF"]) {
        Ok(false)
    } else if is(&["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"]) {
        Ok(true)
    } else {
        Err(Refusal::Transport(protocol.chars().take(32).collect()))
    }
}

/// How a stream is protected.
pub(crate) enum Secured {
    /// Not at all.
    Clear,
    /// With the peer's key in this line.
    Sdes(CryptoLine),
    /// With keys that a handshake gives.
    Dtls(DtlsTerms),
}

impl Secured {
    pub(crate) fn dtls(&self) -> Option<DtlsTerms> {
        match self {
            Self::Dtls(terms) => Some(terms.clone()),
            Self::Clear | Self::Sdes(_) => None,
        }
    }
}

/// The peer's key line or its way to keys; clear RTP only where the policy allows it. Of several lines the first
/// usable one counts: they stand in the peer's order of preference (RFC 4568 section 5.1.2).
pub(crate) fn agree_crypto(
    description: &Description,
    media: &Media,
    policy: &Policy,
    suites: &[SrtpSuite],
    setup: Setup,
) -> Result<Secured, Refusal> {
    let secure = is_secure(media.protocol())?;
    let required = matches!(policy.srtp, SrtpPolicy::Required(_));
    let by_dtls = media.attribute("fingerprint").or(description.attribute("fingerprint")).is_some();
    if let Keying::Dtls(dtls) = &policy.keying
        && required
    {
        return match (secure, by_dtls) {
            (false, _) => Err(Refusal::ClearRtp),
            (true, false) => Err(Refusal::NoFingerprint),
            (true, true) => agree_dtls(description, media, dtls, policy.suites(), setup).map(Secured::Dtls),
        };
    }
    if suites.is_empty() && !required {
        return if secure { Err(Refusal::SrtpOff) } else { Ok(Secured::Clear) };
    }
    if !secure && !policy.crypto_under_avp {
        return if required { Err(Refusal::ClearRtp) } else { Ok(Secured::Clear) };
    }
    let mut fault = None;
    for line in media.crypto() {
        match line {
            Ok(line) if suites.contains(&line.suite) => return Ok(Secured::Sdes(line)),
            Ok(_) => fault = fault.or(Some(CryptoFault::UnknownSuite)),
            Err(why) => fault = fault.or(Some(why)),
        }
    }
    if let Keying::Either(dtls) = &policy.keying
        && secure
        && by_dtls
    {
        return agree_dtls(description, media, dtls, policy.suites(), setup).map(Secured::Dtls);
    }
    match fault {
        _ if !secure && !required => Ok(Secured::Clear),
        _ if !secure => Err(Refusal::ClearRtp),
        Some(why) => Err(Refusal::Crypto(why)),
        None if by_dtls => Err(Refusal::DtlsOnly(policy.sdes_remedy)),
        None => Err(Refusal::NoCrypto),
    }
}

/// Where the peer wants its packets, and who may send.
pub(crate) struct Destination {
    pub(crate) rtp: SocketAddr,
    pub(crate) rtcp: Option<SocketAddr>,
    /// In our own words.
    pub(crate) direction: Direction,
    pub(crate) hold: bool,
}

impl Destination {
    /// `known` stands in for `c=0.0.0.0`: an address learned before the peer asked for silence. With ICE it asks for
    /// nothing: it says that no address was known yet (RFC 8839 section 4.2.5).
    pub(crate) fn of(
        description: &Description,
        media: &Media,
        rtcp_mux: bool,
        ice: bool,
        known: Option<IpAddr>,
    ) -> Result<Self, Refusal> {
        let stated = if media.has_connection() { media.connection() } else { description.connection() };
        let stated = stated.ok_or(Refusal::NoAddress)?.to_canonical();
        refuse_multicast(stated)?;
        let mut peer = media.direction().or(description.direction()).unwrap_or_default();
        let mut address = stated;
        if is_hold_address(stated) && !ice {
            peer = peer.deaf();
            address = known.unwrap_or(stated);
        }
        let rtcp = if rtcp_mux { None } else { rtcp_address(media, address)? };
        Ok(Self {
            rtp: SocketAddr::new(address, media.port()),
            rtcp,
            direction: peer.reversed(),
            hold: !peer.receives(),
        })
    }
}

/// RTCP has the port after RTP's unless `a=rtcp` says otherwise (RFC 3605 section 2.1).
fn rtcp_address(media: &Media, address: IpAddr) -> Result<Option<SocketAddr>, Refusal> {
    let (port, own_address) = match media.rtcp() {
        Some((port, own_address)) => (Some(port), own_address),
        None => (media.port().checked_add(1), None),
    };
    let address = own_address.map_or(address, |ip| ip.to_canonical());
    refuse_multicast(address)?;
    Ok(port.map(|port| SocketAddr::new(address, port)))
}

fn refuse_multicast(address: IpAddr) -> Result<(), Refusal> {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || broadcast { Err(Refusal::NotUnicast) } else { Ok(()) }
}

/// The telephone-event clocks that go with `codec`, the most wanted first.
pub(crate) fn dtmf_clocks(policy: &Policy, codec: AudioCodec) -> Vec<u32> {
    let mut clocks: Vec<u32> = policy.telephone_event.iter().map(|event| event.clock_hz).collect();
    if codec != AudioCodec::Opus {
        clocks.retain(|clock_hz| *clock_hz == codec.clock_hz());
    }
    if policy.dtmf_clock == DtmfClock::LikeAudio {
        clocks.sort_by_key(|clock_hz| *clock_hz != codec.clock_hz());
    }
    clocks
}

/// Whether pauses may be comfort noise: Opus tells of its own (RFC 7587 section 3.1.3).
pub(crate) fn takes_comfort_noise(policy: &Policy, codec: AudioCodec, payloads: &[Payload]) -> bool {
    policy.comfort_noise && codec != AudioCodec::Opus && payloads.iter().any(Payload::is_comfort_noise)
}

/// The packet time to send with: what the peer asks for, within what it takes; 20 ms unasked (RFC 3551 section 4.2).
pub(crate) fn packet_time_ms(media: &Media) -> u16 {
    let asked = media.ptime_ms().unwrap_or(20);
    media.maxptime_ms().map_or(asked, |longest| asked.min(longest))
}

pub(crate) fn opus_parameters(codec: AudioCodec, fmtp: Option<&str>) -> OpusParameters {
    match (codec, fmtp) {
        (AudioCodec::Opus, Some(fmtp)) => OpusParameters::parse(fmtp),
        (AudioCodec::Opus | AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722, _) => {
            OpusParameters::default()
        }
    }
}
