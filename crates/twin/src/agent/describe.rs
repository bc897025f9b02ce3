//! A phone's session descriptions, and what two of them agree on.

use std::net::SocketAddr;
use std::time::Duration;

use super::config::Habits;
use crate::media::{
    Codec, Credentials, CryptoLine, DtlsRole, EarPlan, Fingerprint, Impairment, Keys, MouthPlan, Path, Setup,
    VoicePlan,
};
use crate::sip::sdp::{Draft, MediaDirection, PathLines, Sdp};
use setu_model::{Entropy, Now};

/// Our end of one call's media.
#[derive(Debug, Clone)]
pub(super) struct Mine {
    pub(super) address: SocketAddr,
    /// Keys for each suite of the habits, in order.
    pub(super) keys: Vec<CryptoLine>,
    /// With DTLS: the certificate's fingerprint, and credentials for ICE.
    pub(super) path: Option<(Fingerprint, Option<Credentials>)>,
    /// `o=` id.
    pub(super) id: i64,
    pub(super) version: u32,
    pub(super) direction: MediaDirection,
}

impl Mine {
    /// With a `fingerprint` the habits ask for DTLS, without one for what else they name.
    pub(super) fn new(
        address: SocketAddr,
        habits: &Habits,
        fingerprint: Option<Fingerprint>,
        id: i64,
        entropy: &mut dyn Entropy,
    ) -> Self {
        let ice = habits.dtls.is_some_and(|dtls| dtls.ice);
        let path = fingerprint.map(|own| (own, ice.then(|| Credentials::fresh(false, entropy))));
        let keys =
            habits.srtp.iter().zip(1..).map(|(suite, tag)| CryptoLine::fresh(tag, *suite, entropy)).collect();
        Self { address, keys, path, id, version: 1, direction: MediaDirection::SendRecv }
    }

    /// The ICE and DTLS end of a call, if it has one.
    pub(super) fn begin_path(&self, now: Now) -> Option<Path> {
        match &self.path.as_ref()?.1 {
            Some(credentials) => Path::full(credentials, self.address, now),
            None => Some(Path::direct(self.address)),
        }
    }

    fn path_lines(&self, setup: Setup) -> Option<PathLines> {
        let (fingerprint, credentials) = self.path.clone()?;
        Some(PathLines { credentials, lite: false, candidates: vec![self.address], fingerprint, setup })
    }
}

/// What we answer to a peer's `a=setup`.
fn setup_of_answer(theirs: Option<Setup>, habits: &Habits) -> Setup {
    match theirs {
        Some(Setup::Active) => Setup::Passive,
        Some(Setup::Passive) => Setup::Active,
        Some(Setup::ActPass) | None => habits.dtls.unwrap_or_default().answers,
    }
}

/// Our part in the handshake: after our answer to `theirs`, or after `theirs` to our offer of `actpass`.
pub(super) fn role(theirs: &Sdp, answering: bool, habits: &Habits) -> DtlsRole {
    let active = match theirs.setup {
        setup if answering => setup_of_answer(setup, habits) == Setup::Active,
        setup => setup != Some(Setup::Active),
    };
    if active { DtlsRole::Client } else { DtlsRole::Server }
}

pub(super) fn offer(mine: &Mine, habits: &Habits) -> String {
    let audio = habits.codecs.iter().map(|codec| (payload_type(*codec, habits), *codec));
    let events = habits.events.clone();
    let mut draft = draft(mine, habits, audio.collect(), events, mine.keys.clone());
    draft.path = mine.path_lines(Setup::ActPass);
    draft.phone()
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
    let ours = if let Keys::Known(ours, _) = &keys { vec![ours.clone()] } else { Vec::new() };
    let mut text = draft(mine, habits, vec![(pt, codec)], events.into_iter().collect(), ours);
    text.path = mine.path_lines(setup_of_answer(theirs.setup, habits));
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

fn keys(mine: &Mine, theirs: &Sdp) -> Result<Keys, NoKeys> {
    if mine.path.is_some() {
        return theirs.fingerprint.map(|_| Keys::Awaited).ok_or(NoKeys);
    }
    let secured = theirs.profile.contains("SAVP");
    if mine.keys.is_empty() {
        return if secured { Err(NoKeys) } else { Ok(Keys::Plain) };
    }
    let pair = mine.keys.iter().find_map(|ours| {
        let theirs = theirs.crypto.iter().find(|line| line.suite == ours.suite)?;
        Some(Keys::Known(CryptoLine { tag: theirs.tag, ..ours.clone() }, theirs.clone()))
    });
    pair.ok_or(NoKeys)
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
    keys: Keys,
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
        keys,
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
        profile: match (&mine.path, crypto.is_empty()) {
            (Some(_), _) => "UDP/TLS/RTP/SAVPF",
            (None, false) => "RTP/SAVP",
            (None, true) => "RTP/AVP",
        },
        audio,
        events,
        crypto: if mine.path.is_some() { Vec::new() } else { crypto },
        path: None,
        ptime_ms: habits.ptime_ms,
        direction: mine.direction,
        rtcp_mux: habits.rtcp_mux,
    }
}
