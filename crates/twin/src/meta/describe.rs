//! Meta's session descriptions, its judgement of others', and what follows for the media.

use std::net::SocketAddr;
use std::time::Duration;

use super::quirks::Quirks;
use crate::media::{Codec, CryptoLine, EarPlan, MouthPlan, VoicePlan};
use crate::person::Person;
use crate::sip::sdp::{Draft, MediaDirection, Sdp};

/// The relay's end of one call.
#[derive(Debug, Clone)]
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    pub(super) crypto: CryptoLine,
    /// The media stream's uuid.
    pub(super) stream: String,
    pub(super) ssrc: u32,
    /// `o=` id: milliseconds since 1970.
    pub(super) id: i64,
}

/// Why a description is not acceptable, or the codec and its payload type if it is.
pub(super) fn judge(sdp: &Sdp, quirks: &Quirks) -> Result<(Codec, u8), String> {
    if sdp.streams != 1 {
        return Err(format!("{} media lines", sdp.streams));
    }
    if sdp.remote().is_none() {
        return Err("no address".to_owned());
    }
    if quirks.ptime_strict && sdp.ptime.is_some_and(|ptime| ptime != 20) {
        return Err(format!("ptime {}", sdp.ptime.unwrap_or(0)));
    }
    if !sdp.crypto.iter().any(|line| line.suite == crate::media::Suite::AesCm128HmacSha1_80) {
        return Err("no crypto line with AES_CM_128_HMAC_SHA1_80".to_owned());
    }
    let known = std::iter::once(&Codec::Opus).chain(&quirks.additional_codecs);
    let mut formats: Vec<(Codec, u8)> =
        known.filter_map(|codec| Some((*codec, sdp.payload_of(*codec)?))).collect();
    // In the order of the other side's media line.
    formats.sort_by_key(|(_, pt)| sdp.payloads.iter().position(|p| p == pt));
    formats.first().copied().ok_or_else(|| "no common codec".to_owned())
}

/// The offer to the business.
pub(super) fn offer(relay: &Relay, quirks: &Quirks) -> String {
    let fixed = quirks.additional_codecs.iter().map(|codec| match codec {
        Codec::Pcma => (8, *codec),
        Codec::Opus | Codec::Pcmu => (0, *codec),
    });
    let mut draft = draft(relay, quirks);
    draft.audio = std::iter::once((quirks.opus_pt, Codec::Opus)).chain(fixed).collect();
    draft.events = vec![(quirks.event_pt, 8_000)];
    draft.meta(&relay.stream, relay.ssrc, true)
}

/// The answer to a business's offer: its payload types, one codec and events.
pub(super) fn answer(relay: &Relay, offer: &Sdp, format: (Codec, u8), quirks: &Quirks) -> String {
    let mut draft = draft(relay, quirks);
    draft.profile = match offer.profile.as_str() {
        "UDP/TLS/RTP/SAVPF" => "UDP/TLS/RTP/SAVPF",
        "RTP/SAVPF" => "RTP/SAVPF",
        _ => quirks.profile.token(),
    };
    draft.audio = vec![(format.1, format.0)];
    draft.events = vec![(offer.events_at(8_000).unwrap_or(quirks.event_pt), 8_000)];
    let offered = offer.crypto.iter().find(|line| line.suite == relay.crypto.suite);
    draft.crypto = vec![CryptoLine { tag: offered.map_or(1, |line| line.tag), ..relay.crypto.clone() }];
    draft.rtcp_mux = offer.rtcp_mux || quirks.mux_always;
    draft.meta(&relay.stream, relay.ssrc, quirks.mux_always)
}

/// What both descriptions agree on. `ours` is the payload type we told the business to send.
pub(super) fn voice(
    relay: &Relay,
    theirs: &Sdp,
    format: (Codec, u8),
    ours: u8,
    quirks: &Quirks,
    person: &Person,
) -> Option<VoicePlan> {
    let remote = theirs.remote()?;
    let their_key = theirs.crypto.iter().find(|line| line.suite == relay.crypto.suite)?.clone();
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
        crypto: Some((relay.crypto.clone(), their_key)),
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
        profile: quirks.profile.token(),
        audio: Vec::new(),
        events: Vec::new(),
        crypto: vec![relay.crypto.clone()],
        ptime_ms: 20,
        direction: MediaDirection::SendRecv,
        rtcp_mux: true,
    }
}
