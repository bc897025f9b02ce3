//! What a leg's packets are worth to an ear: losses that are the hop's own, and scores by the E-model (ITU-T G.107).

use setu_model::{CodecImpairment, MediaQuality, Path};

use crate::AudioFormat;
use crate::inbound::Inbound;
use crate::leg::Agreed;

/// Adds what the peer told of our stream, and the scores of both directions.
pub(crate) fn with_scores(counted: MediaQuality, inbound: &Inbound, agreed: Option<&Agreed>) -> MediaQuality {
    let Some(agreed) = agreed else { return counted };
    let audio = agreed.setup.audio;
    let outbound = &agreed.outbound;
    let (loss, burst_ratio) = (inbound.reception.loss(), inbound.reception.burst_ratio());
    let one_way_ms = us_to_ms(inbound.round_trip_us.unwrap_or(0)) / 2.0;
    let path = |loss, burst_ratio, jitter_us| Path {
        codec: impairment(audio),
        loss,
        burst_ratio,
        delay_ms: one_way_ms + playout_ms(jitter_us),
    };
    let received = path(loss, burst_ratio, counted.jitter_us);
    let remote = inbound.remote.map(|remote| {
        // What never came to the bridge leaves a gap in its numbers too: that is not this hop's loss.
        let left_out = outbound.stream.spread().saturating_sub(outbound.packets);
        let lost = u64::try_from(remote.lost).unwrap_or(0).saturating_sub(left_out);
        (lost, u64::from(remote.jitter) * 1_000_000 / u64::from(audio.clock()))
    });
    let sent = remote
        .map(|(lost, jitter_us)| path(lost as f64 / (outbound.packets as f64).max(1.0), 1.0, jitter_us));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 1, at most a loss's length"
    )]
    let burst_ratio_percent = (burst_ratio * 100.0).round() as u32;
    MediaQuality {
        burst_ratio_percent,
        remote_lost_packets: remote.map(|(lost, _)| lost),
        remote_jitter_us: remote.map(|(_, jitter_us)| jitter_us),
        mos_received: (counted.received_packets >= ENOUGH).then(|| received.mos()),
        mos_sent: sent.filter(|_| outbound.packets >= ENOUGH).map(|path| path.mos()),
        ..counted
    }
}

/// What a codec does to speech.
const fn impairment(audio: AudioFormat) -> CodecImpairment {
    match audio {
        AudioFormat::Opus { .. } => CodecImpairment::OPUS,
        // G.722 has G.711's frames, and is concealed as well; that it is wideband is no harm on a narrowband scale.
        AudioFormat::Pcmu { .. } | AudioFormat::Pcma { .. } | AudioFormat::G722 { .. } => {
            CodecImpairment::G711
        }
    }
}

/// What packets and the listener's jitter buffer add to the way, in milliseconds: a packet, and twice the jitter.
fn playout_ms(jitter_us: u64) -> f64 {
    20.0 + 2.0 * us_to_ms(jitter_us)
}

fn us_to_ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

/// Fewer packets than a second of them are not judged.
const ENOUGH: u64 = 50;
