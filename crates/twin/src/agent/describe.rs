//! A phone's session descriptions, and what two of them agree on.

use std::net::SocketAddr;
use std::time::Duration;

use super::config::Habits;
use crate::media::{Codec, CryptoLine, EarPlan, Impairment, MouthPlan, VoicePlan};
use crate::sip::sdp::{Draft, MediaDirection, Sdp};
use setu_model::Entropy;

/// Our end of one call's media.
#[derive(Debug, Clone)]
pub(super) struct Mine {
    pub(super) address: SocketAddr,
    /// Keys for each suite of the habits, in order.
    pub(super) keys: Vec<CryptoLine>,
    /// `o=` id.
    pub(super) id: i64,
    pub(super) version: u32,
    pub(super) direction: MediaDirection,
}

impl Mine {
    pub(super) fn new(address: SocketAddr, habits: &Habits, id: i64, entropy: &mut dyn Entropy) -> Self {
        let keys =
            habits.srtp.iter().zip(1..).map(|(suite, tag)| CryptoLine::fresh(tag, *suite, entropy)).collect();
        Self { address, keys, id, version: 1, direction: MediaDirection::SendRecv }
    }
}

pub(super) fn offer(mine: &Mine, habits: &Habits) -> String {
    let audio = habits.codecs.iter().map(|codec| (payload_type(*codec, habits), *codec));
    let events = habits.events.clone();
    draft(mine, habits, audio.collect(), events, mine.keys.clone()).phone()
}

/// The answer to `theirs` and the media that follows; `None` if there is nothing in common.
pub(super) fn answer(mine: &Mine, theirs: &Sdp, habits: &Habits) -> Option<(String, VoicePlan)> {
    let codec = habits.codecs.iter().copied().find(|codec| theirs.payload_of(*codec).is_some())?;
    let pt = theirs.payload_of(codec)?;
    let keys = match keys(mine, theirs) {
        Ok(keys) => keys,
        Err(NoKeys) => return None,
    };
    let events = habits.events.iter().find_map(|(_, clock)| Some((theirs.events_at(*clock)?, *clock)));
    let ours: Vec<CryptoLine> = keys.iter().map(|(ours, _)| ours.clone()).collect();
    let mut text = draft(mine, habits, vec![(pt, codec)], events.into_iter().collect(), ours);
    text.rtcp_mux = habits.rtcp_mux && theirs.rtcp_mux;
    text.direction = merge(mine.direction, theirs.direction);
    let plan = plan(mine, theirs, habits, codec, pt, events, keys)?;
    Some((text.phone(), plan))
}

/// The media that follows from our offer and `theirs`, its answer.
pub(super) fn accept(mine: &Mine, theirs: &Sdp, habits: &Habits) -> Option<VoicePlan> {
    let offered = habits.codecs.iter().filter_map(|codec| Some((*codec, theirs.payload_of(*codec)?)));
    let (codec, _) = offered.min_by_key(|(_, pt)| theirs.payloads.iter().position(|p| p == pt))?;
    let keys = keys(mine, theirs).ok()?;
    let events = habits.events.iter().find_map(|(_, clock)| Some((theirs.events_at(*clock)?, *clock)));
    plan(mine, theirs, habits, codec, payload_type(codec, habits), events, keys)
}

/// Encryption was asked for by one side only.
struct NoKeys;

fn keys(mine: &Mine, theirs: &Sdp) -> Result<Option<(CryptoLine, CryptoLine)>, NoKeys> {
    let secured = theirs.profile.contains("SAVP");
    if mine.keys.is_empty() {
        return if secured { Err(NoKeys) } else { Ok(None) };
    }
    let pair = mine.keys.iter().find_map(|ours| {
        let theirs = theirs.crypto.iter().find(|line| line.suite == ours.suite)?;
        Some((CryptoLine { tag: theirs.tag, ..ours.clone() }, theirs.clone()))
    });
    pair.map(Some).ok_or(NoKeys)
}

fn payload_type(codec: Codec, habits: &Habits) -> u8 {
    match codec {
        Codec::Opus => habits.opus_pt,
        Codec::Pcmu => 0,
        Codec::Pcma => 8,
    }
}

/// Our wish, as far as theirs allows it.
fn merge(ours: MediaDirection, theirs: MediaDirection) -> MediaDirection {
    let (send, receive) = (ours.sends() && theirs.answered().sends(), ours.receives() && theirs.sends());
    match (send, receive) {
        (true, true) => MediaDirection::SendRecv,
        (true, false) => MediaDirection::SendOnly,
        (false, true) => MediaDirection::RecvOnly,
        (false, false) => MediaDirection::Inactive,
    }
}

fn plan(
    mine: &Mine,
    theirs: &Sdp,
    habits: &Habits,
    codec: Codec,
    receive_pt: u8,
    events: Option<(u8, u32)>,
    crypto: Option<(CryptoLine, CryptoLine)>,
) -> Option<VoicePlan> {
    let remote = theirs.remote();
    let mux = habits.rtcp_mux && theirs.rtcp_mux;
    Some(VoicePlan {
        mouth: MouthPlan {
            codec,
            send_pt: theirs.payload_of(codec)?,
            ptime_ms: habits.ptime_ms,
            dtmf: events,
            says: habits.person.says,
            impairment: Impairment::default(),
        },
        ear: EarPlan {
            codec,
            receive_pt,
            ptime_ms: theirs.ptime.unwrap_or(20),
            dtmf: events,
            mute_second_ssrc: false,
            listen: habits.person.listens,
        },
        crypto,
        // On hold by address there is nobody to send to.
        remote: remote.unwrap_or(mine.address),
        remote_rtcp: remote.filter(|_| mux).or_else(|| theirs.remote_rtcp()).unwrap_or(mine.address),
        rtcp_interval: (habits.rtcp_interval_ms > 0).then(|| Duration::from_millis(habits.rtcp_interval_ms)),
        wait_for_peer: false,
        may_speak: remote.is_some() && merge(mine.direction, theirs.direction).sends(),
    })
}

fn draft(
    mine: &Mine,
    habits: &Habits,
    audio: Vec<(u8, Codec)>,
    events: Vec<(u8, u32)>,
    crypto: Vec<CryptoLine>,
) -> Draft {
    Draft {
        id: mine.id,
        version: mine.version,
        address: mine.address,
        profile: if crypto.is_empty() { "RTP/AVP" } else { "RTP/SAVP" },
        audio,
        events,
        crypto,
        ptime_ms: habits.ptime_ms,
        direction: mine.direction,
        rtcp_mux: habits.rtcp_mux,
    }
}
