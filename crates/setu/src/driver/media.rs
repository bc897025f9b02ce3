//! The call core's media commands in the words of the media plane, and its events back.

use std::sync::Arc;
use std::time::Duration;

use setu_call::{CALLED_MEDIA, MediaCommand, MediaEvent, MediaSetup, PeerKind, PortUse, Sound};
use setu_media::{
    AudioFormat, Command, Crypto, Direction, DtlsSetup, Dtmf, Event, IceSetup, LegSetup, MediaProfile,
    OpusTarget, Play,
};
use setu_model::{LegId, Secret, Side};
use setu_sdp::{AudioCodec, DtlsRole, IceMode, IceTerms, Negotiated, OpusParameters, SrtpSuite};
use setu_srtp::Suite;

use super::ShardSettings;

/// Translates one command; an event in its place where there is nothing to do.
pub(super) fn command(command: MediaCommand, settings: &ShardSettings) -> Result<Command, MediaEvent> {
    Ok(match command {
        MediaCommand::Open { leg, side: Side::Agents, port: PortUse::Shared } => Command::OpenShared { leg },
        MediaCommand::Open { leg, side, port: _ } => Command::Open { leg, side },
        MediaCommand::Configure(setup) => Command::Configure(Box::new(leg_setup(*setup, settings.silence))),
        MediaCommand::Start { leg } => Command::Start { leg },
        MediaCommand::Bridge { call } => {
            Command::Bridge { one: LegId::originator(call), other: LegId { call, index: CALLED_MEDIA } }
        }
        MediaCommand::Hold { leg, held } => {
            let direction = if held { Direction::RecvOnly } else { Direction::SendRecv };
            Command::Direct { leg, direction }
        }
        MediaCommand::Press { leg, digit, duration_ms } => {
            Command::Press { leg, digit: digit.into_inner(), duration_ms }
        }
        MediaCommand::Play { leg, sound } => {
            let sounds = &settings.sounds;
            let (clip, how) = match sound {
                Sound::Hold => (sounds.hold.as_ref(), Play::Behind),
                Sound::Waiting => (sounds.waiting.as_ref(), Play::Behind),
                Sound::Ringback => (sounds.ringback.as_ref(), Play::Behind),
                Sound::Announcement(number) => (sounds.announcements.get(&number), Play::Once),
            };
            match (clip, how) {
                (Some(clip), how) => Command::Play { leg, clip: Arc::clone(clip), how },
                (None, Play::Behind) => Command::StopPlaying { leg },
                (None, Play::Once) => return Err(MediaEvent::Played { leg }),
            }
        }
        MediaCommand::StopPlaying { leg } => Command::StopPlaying { leg },
        MediaCommand::Tap { call, on } => Command::Tap { call, on },
        MediaCommand::Close { call } => Command::Close { call },
    })
}

/// Translates one event; none if the call core need not know.
pub(super) fn event(event: Event) -> Option<MediaEvent> {
    Some(match event {
        Event::Opened { leg, local } => MediaEvent::Opened { leg, local },
        Event::OpenFailed { leg, why } => MediaEvent::OpenFailed { leg, why: why.to_string() },
        Event::SetupFailed { leg, why } => MediaEvent::OpenFailed { leg, why: why.to_string() },
        Event::HandshakeFailed { leg, why } => MediaEvent::HandshakeFailed { leg, why: why.to_string() },
        Event::FirstPacket { leg } => MediaEvent::FirstPacket { leg },
        Event::Silent { leg } => MediaEvent::Silent { leg },
        Event::ConsentLost { leg } => MediaEvent::ConsentLost { leg },
        Event::Dtmf { leg, digit, duration_ms } => MediaEvent::Key { leg, digit: digit.into(), duration_ms },
        Event::Played { leg } => MediaEvent::Played { leg },
        Event::Quality { leg, quality, .. } => MediaEvent::Quality { leg, quality },
        Event::LegClosed { .. } => return None,
        Event::Closed { call, quality } => MediaEvent::Closed { call, quality },
    })
}

fn leg_setup(setup: MediaSetup, silence: Duration) -> LegSetup {
    let MediaSetup { leg, side, peer, agreed, stream, ice_seed } = setup;
    let Negotiated { remote, remote_rtcp, audio, dtmf, comfort_noise, srtp, dtls, ice, .. } = agreed;
    let (send_pt, receive_pt) = (audio.send_pt, audio.receive_pt);
    let profile = match peer {
        PeerKind::Meta => MediaProfile::meta(),
        PeerKind::Softphone => MediaProfile::softphone(),
        PeerKind::Trunk => MediaProfile::trunk(),
    };
    LegSetup {
        leg,
        side,
        remote,
        remote_rtcp,
        ice: ice.map(|ice| Box::new(ice_setup(ice, ice_seed))),
        crypto: match (srtp, dtls) {
            (None, None) => Crypto::Plain,
            (_, Some(dtls)) => Crypto::Dtls(Box::new(DtlsSetup {
                active: dtls.role == DtlsRole::Active,
                fingerprints: dtls.fingerprints.iter().map(|fingerprint| fingerprint.0).collect(),
                suites: dtls.suites.iter().copied().map(suite).collect(),
            })),
            (Some(keys), None) => {
                Crypto::Srtp { suite: suite(keys.suite), send: keys.send, receive: keys.receive }
            }
        },
        audio: match audio.codec {
            AudioCodec::Opus => AudioFormat::Opus { send_pt, receive_pt },
            AudioCodec::Pcmu => AudioFormat::Pcmu { send_pt, receive_pt },
            AudioCodec::Pcma => AudioFormat::Pcma { send_pt, receive_pt },
            AudioCodec::G722 => AudioFormat::G722 { send_pt, receive_pt },
        },
        dtmf: dtmf.map(|d| Dtmf { send_pt: d.send_pt, receive_pt: d.receive_pt, clock: d.clock_hz }),
        comfort_noise,
        opus: opus_target(&audio.opus),
        profile: MediaProfile { silence: Some(silence), ..profile },
        ssrc: stream.ssrc,
        sequence: stream.sequence,
        timestamp: stream.timestamp,
    }
}

/// What an Opus encoder should keep to for a peer that may not have said anything of it.
fn opus_target(asked: &OpusParameters) -> OpusTarget {
    OpusTarget {
        bitrate: asked.maxaveragebitrate.map_or(UNASKED_BITRATE, |most| most.min(UNASKED_BITRATE)),
        fec: asked.useinbandfec,
        playback_hz: asked.maxplaybackrate.unwrap_or(48_000),
    }
}

/// What speech of 16 kHz needs at most, in bit/s (RFC 7587 section 3.1.1).
const UNASKED_BITRATE: u32 = 32_000;

fn ice_setup(ice: IceTerms, seed: Secret<[u8; 32]>) -> IceSetup {
    IceSetup {
        lite: ice.mode == IceMode::Lite,
        controlling: ice.controlling,
        local_ufrag: ice.local.ufrag,
        local_pwd: ice.local.pwd,
        remote_ufrag: ice.remote.ufrag,
        remote_pwd: ice.remote.pwd,
        candidates: ice.candidates.iter().map(|candidate| (candidate.address, candidate.priority)).collect(),
        seed,
    }
}

const fn suite(suite: SrtpSuite) -> Suite {
    match suite {
        SrtpSuite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        SrtpSuite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        SrtpSuite::AeadAes256Gcm => Suite::AeadAes256Gcm,
    }
}
