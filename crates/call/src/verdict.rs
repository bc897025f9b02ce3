//! The verdict on a call: what each side heard, and the hop that harmed it most.

use setu_model::{CallQuality, CodecImpairment, Fault, Hop, Impairment, MediaQuality, Path};

/// One hop on its own, as the E-model sees it.
#[derive(Debug, Clone, Copy)]
struct Leg {
    hop: Hop,
    /// Packets lost on it, 0 to 1.
    loss: f64,
    burst_ratio: f64,
    /// Interarrival jitter that arose on it, in milliseconds.
    jitter_ms: f64,
    /// One way, in milliseconds.
    delay_ms: f64,
}

/// Judges a call by what its two legs looked like.
pub(crate) fn judge(customer: &MediaQuality, agent: &MediaQuality, g711: bool) -> CallQuality {
    let codec = if g711 {
        // Transcoding adds one codec's harm to the other's; how loss is borne is the weaker one's matter.
        CodecImpairment {
            ie: CodecImpairment::OPUS.ie + CodecImpairment::G711.ie,
            bpl: CodecImpairment::OPUS.bpl,
        }
    } else {
        CodecImpairment::OPUS
    };
    let from_customer =
        [uplink(Hop::CustomerUplink, customer), downlink(Hop::AgentDownlink, agent, customer)];
    let from_agent = [uplink(Hop::AgentUplink, agent), downlink(Hop::CustomerDownlink, customer, agent)];
    let late = late_share(customer).max(late_share(agent));
    let silent = [(Hop::CustomerUplink, customer, agent), (Hop::AgentUplink, agent, customer)];
    let silent = silent.into_iter().find(|(_, it, _)| it.received_packets == 0 && it.sent_packets >= MUTE);
    let agent_heard = whole(&from_customer, codec);
    let customer_heard = whole(&from_agent, codec);
    let dissatisfied = [agent_heard, customer_heard].into_iter().any(|path| path.rating() < SATISFIED);
    let heard = |listener: &MediaQuality, speaker: &MediaQuality, path: Path| {
        (speaker.received_packets >= ENOUGH && listener.sent_packets >= ENOUGH).then(|| path.mos())
    };
    let fault = match silent {
        Some((hop, ..)) => Some(Fault { hop, why: Impairment::NoMedia }),
        None if late > MOST_LATE => Some(Fault { hop: Hop::Bridge, why: Impairment::Late }),
        None if dissatisfied => worst(from_customer.into_iter().chain(from_agent), codec),
        None => None,
    };
    CallQuality {
        customer_heard: heard(customer, agent, customer_heard),
        agent_heard: heard(agent, customer, agent_heard),
        fault,
    }
}

/// What came from a peer.
fn uplink(hop: Hop, leg: &MediaQuality) -> Leg {
    Leg {
        hop,
        loss: share(leg.lost_packets, leg.received_packets),
        burst_ratio: f64::from(leg.burst_ratio_percent.max(100)) / 100.0,
        jitter_ms: ms(leg.jitter_us),
        delay_ms: ms(leg.round_trip_us.unwrap_or(0)) / 2.0,
    }
}

/// What went to a peer, by its reports. Uneven packets of the other side are passed on as they are, so only what is more
/// uneven than those arose on this hop.
fn downlink(hop: Hop, leg: &MediaQuality, speaker: &MediaQuality) -> Leg {
    let lost = leg.remote_lost_packets.unwrap_or(0);
    Leg {
        hop,
        loss: share(lost, leg.sent_packets.saturating_sub(lost)),
        burst_ratio: 1.0,
        jitter_ms: ms(leg.remote_jitter_us.unwrap_or(0).saturating_sub(speaker.jitter_us)),
        delay_ms: ms(leg.round_trip_us.unwrap_or(0)) / 2.0,
    }
}

/// Both hops of one direction.
fn whole(hops: &[Leg; 2], codec: CodecImpairment) -> Path {
    let kept: f64 = hops.iter().map(|hop| 1.0 - hop.loss).product();
    Path {
        codec,
        loss: 1.0 - kept,
        burst_ratio: hops.iter().map(|hop| hop.burst_ratio).fold(1.0, f64::max),
        delay_ms: PACKET_MS + hops.iter().map(Leg::all_delay_ms).sum::<f64>(),
    }
}

/// The hop that takes most from the rating, and by what.
fn worst(hops: impl Iterator<Item = Leg>, codec: CodecImpairment) -> Option<Fault> {
    let best = Path { codec, loss: 0.0, burst_ratio: 1.0, delay_ms: PACKET_MS };
    let harm = |path: Path| best.rating() - path.rating();
    let causes = hops.flat_map(|hop| {
        [
            (Impairment::Loss, Path { loss: hop.loss, burst_ratio: hop.burst_ratio, ..best }),
            (Impairment::Jitter, Path { delay_ms: PACKET_MS + hop.buffer_ms(), ..best }),
            (Impairment::Delay, Path { delay_ms: PACKET_MS + hop.delay_ms, ..best }),
        ]
        .map(|(why, path)| (Fault { hop: hop.hop, why }, harm(path)))
    });
    causes
        .max_by(|one, other| one.1.total_cmp(&other.1))
        .filter(|(_, harm)| *harm > 0.0)
        .map(|(fault, _)| fault)
}

impl Leg {
    /// What a jitter buffer adds that takes nearly all packets in.
    fn buffer_ms(&self) -> f64 {
        self.jitter_ms * JITTER_BUFFER
    }

    fn all_delay_ms(&self) -> f64 {
        self.delay_ms + self.buffer_ms()
    }
}

fn late_share(leg: &MediaQuality) -> f64 {
    share(leg.late_packets, leg.sent_packets.saturating_sub(leg.late_packets))
}

fn share(part: u64, rest: u64) -> f64 {
    part as f64 / ((part + rest) as f64).max(1.0)
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

/// Listeners are satisfied from this rating on (ITU-T G.109).
const SATISFIED: f64 = 80.0;

/// A packet's own length, in milliseconds.
const PACKET_MS: f64 = 20.0;

/// A listener's jitter buffer, in interarrival jitters (RFC 3550's is a mean deviation).
const JITTER_BUFFER: f64 = 4.0;

/// A larger share of frames sent late than this is heard.
const MOST_LATE: f64 = 0.01;

/// So many packets sent without one received: 5 s of a peer that sends nothing.
const MUTE: u64 = 250;

/// Fewer packets than a second of them are not judged.
const ENOUGH: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    /// A leg of a minute without a flaw.
    fn clean() -> MediaQuality {
        MediaQuality {
            received_packets: 3_000,
            sent_packets: 3_000,
            burst_ratio_percent: 100,
            round_trip_us: Some(40_000),
            remote_lost_packets: Some(0),
            remote_jitter_us: Some(2_000),
            jitter_us: 2_000,
            ..MediaQuality::default()
        }
    }

    fn fault(customer: MediaQuality, agent: MediaQuality) -> Option<(Hop, Impairment)> {
        judge(&customer, &agent, false).fault.map(|fault| (fault.hop, fault.why))
    }

    #[test]
    fn a_clean_call_has_no_fault_and_good_scores() {
        let quality = judge(&clean(), &clean(), false);
        assert_eq!(quality.fault, None);
        assert!(quality.customer_heard.is_some_and(|mos| mos.value() > 4.1), "{quality:?}");
        assert!(quality.agent_heard.is_some_and(|mos| mos.value() > 4.1), "{quality:?}");
    }

    #[test]
    fn losses_name_the_hop_they_happened_on() {
        let lost_here = MediaQuality { lost_packets: 200, received_packets: 2_800, ..clean() };
        let lost_there = MediaQuality { remote_lost_packets: Some(200), ..clean() };
        assert_eq!(fault(lost_here, clean()), Some((Hop::CustomerUplink, Impairment::Loss)));
        assert_eq!(fault(clean(), lost_here), Some((Hop::AgentUplink, Impairment::Loss)));
        assert_eq!(fault(lost_there, clean()), Some((Hop::CustomerDownlink, Impairment::Loss)));
        assert_eq!(fault(clean(), lost_there), Some((Hop::AgentDownlink, Impairment::Loss)));
        let worse = MediaQuality { remote_lost_packets: Some(400), ..clean() };
        assert_eq!(fault(worse, lost_here), Some((Hop::CustomerDownlink, Impairment::Loss)), "the worst one");
    }

    #[test]
    fn jitter_of_the_agents_way_here_is_not_blamed_on_metas() {
        let uneven = MediaQuality { jitter_us: 90_000, ..clean() };
        let told = MediaQuality { remote_jitter_us: Some(92_000), ..clean() };
        assert_eq!(fault(told, uneven), Some((Hop::AgentUplink, Impairment::Jitter)));
        assert_eq!(fault(told, clean()), Some((Hop::CustomerDownlink, Impairment::Jitter)));
    }

    #[test]
    fn delay_silence_and_our_own_lateness_are_named() {
        let far = MediaQuality { round_trip_us: Some(900_000), ..clean() };
        assert_eq!(fault(far, clean()).map(|(_, why)| why), Some(Impairment::Delay));
        let mute = MediaQuality { received_packets: 0, ..clean() };
        assert_eq!(fault(mute, clean()), Some((Hop::CustomerUplink, Impairment::NoMedia)));
        assert_eq!(judge(&mute, &clean(), false).agent_heard, None, "nothing was heard");
        let late = MediaQuality { late_packets: 100, ..clean() };
        assert_eq!(fault(late, clean()), Some((Hop::Bridge, Impairment::Late)));
    }

    #[test]
    fn bursts_are_worse_than_random_loss() {
        let loss = |burst_ratio_percent| {
            let agent =
                MediaQuality { lost_packets: 90, received_packets: 2_910, burst_ratio_percent, ..clean() };
            judge(&clean(), &agent, false).customer_heard
        };
        assert!(loss(400) < loss(100));
    }
}
