//! What came from a peer: loss and jitter of its stream (RFC 3550 section 6.4.1 and appendix A).

use std::time::Instant;

/// Counters of the streams taken from one peer, over all their SSRCs.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    stream: Option<Incoming>,
    /// Of streams that ended with a change of SSRC.
    lost_before: u64,
    pub(crate) packets: u64,
    /// Stretches of lost packets, those that came late after all included.
    gaps: u64,
    pub(crate) reordered: u64,
    pub(crate) duplicated: u64,
}

/// One SSRC's statistics.
#[derive(Debug)]
struct Incoming {
    ssrc: u32,
    clock: u32,
    /// The first packet's sequence number on the wire, and extended.
    first_wire: u16,
    first: u64,
    /// The newest packet's sequence number on the wire, and extended.
    highest_wire: u16,
    highest: u64,
    /// The newest audio packet's time stamp on the wire, and extended.
    timestamp_wire: u32,
    timestamp: u64,
    received: u64,
    /// Which of the 64 packets up to the newest came.
    seen: u64,
    duplicated: u64,
    /// Arrival of the newest packet by time stamp, for jitter.
    at: Instant,
    /// Jitter in ticks, times 16 (RFC 3550 appendix A.8).
    jitter_q4: u64,
    /// `expected` and `received` at the last report.
    reported: (u64, u64),
}

/// How a packet follows those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Next,
    AfterGap,
    Late,
    Again,
}

/// Numbers of a received packet, extended over wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extended {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u64,
    /// Whether it is newer than everything before it.
    pub(crate) newest: bool,
}

/// What a receiver report says of a stream (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub(crate) fraction_lost: u8,
    /// Signed 24 bits: duplicates make it negative.
    pub(crate) cumulative_lost: i32,
    pub(crate) highest: u32,
    /// In ticks of the stream's clock.
    pub(crate) jitter: u32,
}

impl Reception {
    /// Notes a packet that was taken. `audio` is false for telephone events, whose time stamps stand still.
    pub(crate) fn take(
        &mut self,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
        clock: u32,
        audio: bool,
        now: Instant,
    ) -> Extended {
        self.packets += 1;
        if let Some(stream) = self.stream.as_mut().filter(|s| s.ssrc == ssrc && s.clock == clock) {
            let (extended, order) = stream.take(sequence, timestamp, audio, now);
            match order {
                Order::Next => {}
                Order::AfterGap => self.gaps += 1,
                Order::Late => self.reordered += 1,
                Order::Again => self.duplicated += 1,
            }
            return extended;
        }
        self.lost_before = self.lost();
        // One wrap ahead, so that a packet older than the first one has numbers too. A peer that changes its SSRC
        // goes on where the old one stopped: whoever records it needs one time line.
        let (first, extended) = match &self.stream {
            None => ((1 << 16) + u64::from(sequence), (1 << 32) + u64::from(timestamp)),
            Some(old) => (old.highest + 1, old.timestamp + ticks_between(old.at, now, old.clock)),
        };
        self.stream = Some(Incoming {
            ssrc,
            clock,
            first_wire: sequence,
            first,
            highest_wire: sequence,
            highest: first,
            timestamp_wire: timestamp,
            timestamp: extended,
            received: 1,
            seen: 1,
            duplicated: 0,
            at: now,
            jitter_q4: 0,
            reported: (0, 0),
        });
        Extended { sequence: first, timestamp: extended, newest: true }
    }

    /// Returns the packets that never came.
    pub(crate) fn lost(&self) -> u64 {
        self.lost_before
            + self.stream.as_ref().map_or(0, |s| s.expected().saturating_sub(s.received - s.duplicated))
    }

    /// Returns the share of packets that never came, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        let lost = self.lost() as f64;
        lost / (lost + self.packets as f64).max(1.0)
    }

    /// Returns how much longer stretches of lost packets are than random loss would make them, at least 1 (BurstR of
    /// ITU-T G.107: the mean burst over that of random loss, 1 / (1 - loss)).
    pub(crate) fn burst_ratio(&self) -> f64 {
        let mean = self.lost() as f64 / (self.gaps as f64).max(1.0);
        (mean * (1.0 - self.loss())).max(1.0)
    }

    /// Returns the interarrival jitter in microseconds.
    pub(crate) fn jitter_us(&self) -> u64 {
        self.stream.as_ref().map_or(0, |s| (s.jitter_q4 >> 4) * 1_000_000 / u64::from(s.clock.max(1)))
    }

    /// Makes the next report's numbers; `None` before the first packet.
    pub(crate) fn report(&mut self) -> Option<Report> {
        self.stream.as_mut().map(Incoming::report)
    }
}

impl Incoming {
    fn take(&mut self, sequence: u16, timestamp: u32, audio: bool, now: Instant) -> (Extended, Order) {
        let ahead = i64::from(sequence.wrapping_sub(self.highest_wire).cast_signed());
        let ticks = i64::from(timestamp.wrapping_sub(self.timestamp_wire).cast_signed());
        self.received += 1;
        let extended = Extended {
            sequence: self.highest.saturating_add_signed(ahead),
            timestamp: self.timestamp.saturating_add_signed(ticks),
            newest: ahead > 0,
        };
        let order = self.note(ahead);
        if ahead > 0 {
            (self.highest_wire, self.highest) = (sequence, extended.sequence);
            if audio {
                self.note_jitter(ticks, now);
                self.timestamp_wire = timestamp;
                self.timestamp = extended.timestamp;
                self.at = now;
            }
        }
        (extended, order)
    }

    /// Notes which packet came, by its distance from the newest.
    fn note(&mut self, ahead: i64) -> Order {
        if ahead > 0 {
            self.seen = u32::try_from(ahead).ok().and_then(|by| self.seen.checked_shl(by)).unwrap_or(0) | 1;
            return if ahead == 1 { Order::Next } else { Order::AfterGap };
        }
        let bit = u32::try_from(-ahead).ok().and_then(|behind| 1_u64.checked_shl(behind)).unwrap_or(0);
        if self.seen & bit != 0 {
            self.duplicated += 1;
            return Order::Again;
        }
        self.seen |= bit;
        Order::Late
    }

    /// RFC 3550 appendix A.8: the difference of spacing in arrival and in time stamps, smoothed over 16.
    fn note_jitter(&mut self, ticks: i64, now: Instant) {
        let passed = i64::try_from(ticks_between(self.at, now, self.clock)).unwrap_or(i64::MAX);
        let difference = passed.saturating_sub(ticks).unsigned_abs();
        // A peer that starts its time stamps anew is not a network that jitters.
        if difference < u64::from(self.clock) * 2 {
            self.jitter_q4 = self.jitter_q4 + difference - ((self.jitter_q4 + 8) >> 4);
        }
    }

    const fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    fn report(&mut self) -> Report {
        let expected = self.expected();
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, self.received);
        let interval = expected - expected_before;
        let lost = interval.saturating_sub(self.received - received_before);
        let fraction = (lost << 8).checked_div(interval).unwrap_or(0);
        let cumulative = i64::try_from(expected).unwrap_or(0) - i64::try_from(self.received).unwrap_or(0);
        Report {
            ssrc: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(cumulative.clamp(-0x80_0000, 0x7f_ffff)).unwrap_or(0),
            // Counted from the wire: our own extension starts elsewhere.
            highest: u32::try_from((u64::from(self.first_wire) + expected - 1) & 0xffff_ffff).unwrap_or(0),
            jitter: u32::try_from(self.jitter_q4 >> 4).unwrap_or(u32::MAX),
        }
    }
}

/// Returns the ticks of a `clock` in Hz that pass between two moments.
pub(crate) fn ticks_between(from: Instant, to: Instant, clock: u32) -> u64 {
    let passed = to.saturating_duration_since(from).as_micros();
    u64::try_from(passed * u128::from(clock) / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn feed(reception: &mut Reception, packets: impl IntoIterator<Item = (u16, u64)>) {
        #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
        let start = Instant::now();
        for (sequence, at_ms) in packets {
            let now = start + Duration::from_millis(at_ms);
            reception.take(7, sequence, u32::from(sequence).wrapping_mul(960), 48_000, true, now);
        }
    }

    #[test]
    fn a_gap_counts_as_lost_until_the_late_packet_comes() {
        let mut reception = Reception::default();
        feed(&mut reception, [(10, 0), (11, 20), (14, 80)]);
        assert_eq!(reception.lost(), 2);
        feed(&mut reception, [(12, 81)]);
        assert_eq!(reception.lost(), 1);
        assert_eq!(reception.packets, 4);
    }

    #[test]
    fn order_and_bursts_are_told_apart() {
        let mut reception = Reception::default();
        feed(&mut reception, [(10, 0), (12, 20), (11, 21), (12, 22), (11, 23), (13, 60)]);
        assert_eq!((reception.reordered, reception.duplicated, reception.lost()), (1, 2, 0));
        let mut random = Reception::default();
        feed(&mut random, (0..1_000).filter(|n| n % 10 != 3).map(|n| (n, u64::from(n) * 20)));
        assert!((random.loss() - 0.1).abs() < 0.002);
        assert_eq!(random.burst_ratio(), 1.0);
        let mut bursts = Reception::default();
        feed(&mut bursts, (0..1_000).filter(|n| n % 50 < 45).map(|n| (n, u64::from(n) * 20)));
        assert!((4.3..4.7).contains(&bursts.burst_ratio()), "five in a row: {}", bursts.burst_ratio());
    }

    #[test]
    fn numbers_go_on_over_a_wrap() {
        let mut reception = Reception::default();
        feed(&mut reception, [(65_534, 0), (65_535, 20), (0, 40), (1, 60)]);
        assert_eq!(reception.lost(), 0);
        assert_eq!(reception.report().unwrap().highest, 65_536 + 1);
    }

    #[test]
    fn report_tells_the_fraction_lost_since_the_one_before() {
        let mut reception = Reception::default();
        feed(&mut reception, (0..50).filter(|n| n % 2 == 0).chain([49]).map(|n| (n, u64::from(n) * 20)));
        let first = reception.report().unwrap();
        assert_eq!((first.fraction_lost, first.cumulative_lost), (122, 24), "24 of 50, in 1/256");
        feed(&mut reception, (50..100).map(|n| (n, u64::from(n) * 20)));
        let second = reception.report().unwrap();
        assert_eq!((second.fraction_lost, second.cumulative_lost), (0, 24));
    }

    #[test]
    fn jitter_of_packets_that_alternate_by_8_ms_settles_near_8_ms() {
        let mut reception = Reception::default();
        feed(&mut reception, (0..400_u16).map(|n| (n, u64::from(n) * 20 + u64::from(n % 2) * 8)));
        assert!((7_000..=8_200).contains(&reception.jitter_us()), "{}", reception.jitter_us());
    }
}
