//! Meta's session descriptions, its judgement of others', and what follows for the media.

use std::net::SocketAddr;
use std::time::Duration;

use setu_model::{Entropy, Now};

use super::print;
use super::quirks::Quirks;
use crate::media::{
    Codec, Credentials, CryptoLine, DtlsRole, EarPlan, Fingerprint, Keys, LiteHabits, MouthPlan, Path, Setup,
    Suite, VoicePlan,
};
use crate::person::Person;
use crate::sip::sdp::{Draft, MediaDirection, PathLines, Sdp};

/// The relay's end of one call.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) crypto: CryptoLine,
    /// With DTLS instead of `crypto`.
    pub(crate) path: Option<RelayPath>,
    /// The media stream's uuid.
    pub(crate) stream: String,
    pub(crate) ssrc: u32,
    /// `o=` id: milliseconds since 1970.
    pub(crate) id: i64,
}

/// What the relay's end of a path keyed by DTLS is made of.
#[derive(Debug, Clone)]
pub(crate) struct RelayPath {
    pub(crate) credentials: Credentials,
    /// IPv4, and IPv6 where there is one.
    pub(crate) locals: Vec<SocketAddr>,
    pub(crate) fingerprint: Fingerprint,
}

impl Relay {
    /// An end with fresh keys at `address`, with DTLS also at `other`; keyed by DTLS if it has a certificate.
    pub(crate) fn fresh(
        address: SocketAddr,
        other: Option<SocketAddr>,
        fingerprint: Option<Fingerprint>,
        quirks: &Quirks,
        entropy: &mut dyn Entropy,
        now: Now,
    ) -> Self {
        let path = fingerprint.map(|fingerprint| RelayPath {
            credentials: Credentials::fresh(quirks.ice_pwd_padded, entropy),
            locals: std::iter::once(address).chain(other).collect(),
            fingerprint,
        });
        Self {
            address,
            path,
            crypto: CryptoLine::fresh(1, Suite::AesCm128HmacSha1_80, entropy),
            stream: print::uuid(entropy),
            ssrc: entropy.next_u32(),
            id: now.wall.unix_ms(),
        }
    }

    /// The ICE and DTLS end of a call, if it has one.
    pub(crate) fn begin_path(&self, quirks: &Quirks) -> Option<Path> {
        let path = self.path.as_ref()?;
        let habits = LiteHabits {
            waits_for_description: quirks.checks_wait_for_answer,
            refuses_role_conflict: quirks.role_conflict_refused,
            learns_peer_reflexive: quirks.learns_peer_reflexive,
            answers_consent: quirks.consent_answered,
        };
        let lose = quirks.handshake_datagrams_lost;
        Some(Path::lite(path.credentials.clone(), path.locals.clone(), habits, lose))
    }

    fn path_lines(&self, setup: Setup, quirks: &Quirks) -> Option<PathLines> {
        let path = self.path.as_ref()?;
        let fingerprint =
            if quirks.fingerprint_forged { path.fingerprint.forged() } else { path.fingerprint };
        let candidates =
            path.locals.iter().copied().filter(|at| at.is_ipv4() || quirks.ipv6_candidate).collect();
        let credentials = Some(path.credentials.clone());
        Some(PathLines { credentials, lite: true, candidates, fingerprint, setup })
    }
}

/// Our part in the handshake after our offer of `actpass` and the business's answer.
pub(crate) fn role_after_offer(theirs: Option<Setup>) -> Result<DtlsRole, String> {
    match theirs {
        Some(Setup::Active) | None => Ok(DtlsRole::Server),
        Some(Setup::Passive) => Ok(DtlsRole::Client),
        Some(Setup::ActPass) => Err("setup:actpass in an answer".to_owned()),
    }
}

/// What we answer to the business's `a=setup`, and our part in the handshake that follows.
pub(crate) fn setup_of_answer(theirs: Option<Setup>, quirks: &Quirks) -> (Setup, DtlsRole) {
    let setup = match theirs {
        Some(Setup::Active) => Setup::Passive,
        Some(Setup::Passive) => Setup::Active,
        Some(Setup::ActPass) | None => quirks.answer_setup,
    };
    (setup, if setup == Setup::Active { DtlsRole::Client } else { DtlsRole::Server })
}

/// Why a description is not acceptable, or the codec and its payload type if it is.
pub(crate) fn judge(sdp: &Sdp, relay: &Relay, quirks: &Quirks) -> Result<(Codec, u8), String> {
    if sdp.streams != 1 {
        return Err(format!("{} media lines", sdp.streams));
    }
    if quirks.ptime_strict && sdp.ptime.is_some_and(|ptime| ptime != 20) {
        return Err(format!("ptime {}", sdp.ptime.unwrap_or(0)));
    }
    match &relay.path {
        Some(_) if sdp.fingerprint.is_none() => return Err("No fingerprint found in SDP".to_owned()),
        Some(_) if sdp.credentials().is_none() => return Err("no ICE credentials".to_owned()),
        Some(_) => {}
        None if sdp.remote().is_none() => return Err("no address".to_owned()),
        None if !sdp.crypto.iter().any(|line| line.suite == relay.crypto.suite) => {
            return Err("no crypto line with AES_CM_128_HMAC_SHA1_80".to_owned());
        }
        None => {}
    }
    let known = std::iter::once(&Codec::Opus).chain(&quirks.additional_codecs);
    let mut formats: Vec<(Codec, u8)> =
        known.filter_map(|codec| Some((*codec, sdp.payload_of(*codec)?))).collect();
    // In the order of the other side's media line.
    formats.sort_by_key(|(_, pt)| sdp.payloads.iter().position(|p| p == pt));
    formats.first().copied().ok_or_else(|| "no common codec".to_owned())
}

/// The offer to the business.
pub(crate) fn offer(relay: &Relay, quirks: &Quirks) -> String {
    let fixed = quirks.additional_codecs.iter().map(|codec| match codec {
        Codec::Pcma => (8, *codec),
        Codec::Opus | Codec::Pcmu => (0, *codec),
    });
    let mut draft = draft(relay, quirks);
    draft.audio = std::iter::once((quirks.opus_pt, Codec::Opus)).chain(fixed).collect();
    draft.events = vec![(quirks.event_pt, 8_000)];
    draft.path = relay.path_lines(Setup::ActPass, quirks);
    draft.meta(&relay.stream, relay.ssrc, true)
}

/// The answer to a business's offer: its payload types, one codec and events.
pub(crate) fn answer(relay: &Relay, offer: &Sdp, format: (Codec, u8), quirks: &Quirks) -> String {
    let mut draft = draft(relay, quirks);
    draft.profile = match offer.profile.as_str() {
        "UDP/TLS/RTP/SAVPF" => "UDP/TLS/RTP/SAVPF",
        "RTP/SAVPF" => "RTP/SAVPF",
        _ => draft.profile,
    };
    draft.audio = vec![(format.1, format.0)];
    draft.events = vec![(offer.events_at(8_000).unwrap_or(quirks.event_pt), 8_000)];
    draft.path = relay.path_lines(setup_of_answer(offer.setup, quirks).0, quirks);
    let offered = offer.crypto.iter().find(|line| line.suite == relay.crypto.suite);
    for crypto in &mut draft.crypto {
        crypto.tag = offered.map_or(1, |line| line.tag);
    }
    draft.rtcp_mux = offer.rtcp_mux || quirks.mux_always;
    draft.meta(&relay.stream, relay.ssrc, quirks.mux_always)
}

/// What both descriptions agree on. `ours` is the payload type we told the business to send.
pub(crate) fn voice(
    relay: &Relay,
    theirs: &Sdp,
    format: (Codec, u8),
    ours: u8,
    quirks: &Quirks,
    person: &Person,
) -> Option<VoicePlan> {
    let (remote, keys) = match &relay.path {
        // ICE finds the way; until then there is none.
        Some(_) => (relay.address, Keys::Awaited),
        None => {
            let their_key = theirs.crypto.iter().find(|line| line.suite == relay.crypto.suite)?.clone();
            (theirs.remote()?, Keys::Known(relay.crypto.clone(), their_key))
        }
    };
    let events = (theirs.events_at(8_000).unwrap_or(quirks.event_pt), 8_000);
    let (codec, send_pt) = format;
    Some(VoicePlan {
        mouth: MouthPlan {
            codec,
            send_pt,
            ptime_ms: 20,
            dtmf: Some(events),
            says: person.says,
            impairment: quirks.impairment,
        },
        ear: EarPlan {
            codec,
            receive_pt: ours,
            ptime_ms: 20,
            dtmf: Some(events),
            mute_second_ssrc: quirks.second_ssrc_mutes,
            listen: person.listens,
        },
        keys,
        remote,
        remote_rtcp: remote,
        rtcp_interval: (quirks.rtcp_interval_ms > 0).then(|| Duration::from_millis(quirks.rtcp_interval_ms)),
        wait_for_peer: quirks.waits_for_first_packet,
        may_speak: true,
    })
}

fn draft(relay: &Relay, quirks: &Quirks) -> Draft {
    Draft {
        id: relay.id,
        version: 2,
        address: relay.address,
        profile: if relay.path.is_some() { "UDP/TLS/RTP/SAVPF" } else { quirks.profile.token() },
        audio: Vec::new(),
        events: Vec::new(),
        crypto: if relay.path.is_some() { Vec::new() } else { vec![relay.crypto.clone()] },
        path: None,
        ptime_ms: 20,
        direction: MediaDirection::SendRecv,
        rtcp_mux: true,
    }
}
