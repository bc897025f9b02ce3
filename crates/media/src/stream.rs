//! The one continuous outbound stream of a leg: which sequence number and time stamp each packet gets.

use std::time::{Duration, Instant};

/// After this long without a packet of its source, a stream is fed with comfort frames.
pub(crate) const SOURCE_SILENCE: Duration = Duration::from_millis(200);

/// One packet's time in a stream.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// Numbers of one RTP stream to a peer. Its SSRC never changes, its sequence and time stamp never jump.
///
/// While one source runs, the gaps and the order of its packets pass through. On a switch, or after
/// [`SOURCE_SILENCE`], the next sequence number is the last one plus one, and the time stamp moves on by the time that
/// passed, in steps of one packet. A number is never given twice: SRTP must not see an index again.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Ticks of the leg's clock in 20 ms.
    step: u32,
    /// The highest numbers given so far, extended over wraps; before the first packet, one step before it.
    highest: Stamp,
    /// Which of the 128 numbers up to the highest were given.
    given: u128,
    /// One before the first number.
    first: u64,
    started: bool,
    /// `None` before the first packet.
    time_line: Option<TimeLine>,
    run: Option<Run>,
    /// The time stamp of the newest telephone event: each has one of its own.
    event: u64,
}

/// The numbers of one packet, extended over wraps (RFC 3550 appendix A.1). The low 16 and 32 bits go on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u64,
}

/// What feeds a stream: packets whose numbers belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// Index of the leg they come from.
    pub(crate) leg: u8,
    /// Their SSRC.
    pub(crate) ssrc: u32,
    /// Whether the numbers are the peer's own or those of our repacking.
    pub(crate) repacked: bool,
}

/// The numbers of a source's packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) sequence: u16,
    /// In the clock of the stream it goes to.
    pub(crate) timestamp: u32,
}

/// An uninterrupted stretch of one source.
#[derive(Debug)]
struct Run {
    source: Source,
    /// Numbers of the source's newest packet, as received.
    sequence: u16,
    timestamp: u32,
    /// The same packet's numbers in the stream.
    newest: Stamp,
    /// The first number of this run: what is older belonged before the switch.
    first: u64,
    /// When the source's newest packet came, whether it was passed on or not.
    at: Instant,
    /// When the packet with the newest numbers came.
    numbered_at: Instant,
    /// Ticks by which the run began ahead of the clock, as it began within a packet time of the packet before.
    lead: i64,
}

impl Stream {
    /// Makes a stream whose first packet has these numbers.
    pub(crate) fn new(sequence: u16, timestamp: u32, step: u32) -> Self {
        // One whole wrap ahead, so that counting back cannot fall below zero.
        let base = Stamp { sequence: 1 << 16, timestamp: 1 << 32 };
        Self {
            step,
            highest: Stamp {
                sequence: base.sequence + u64::from(sequence) - 1,
                timestamp: base.timestamp + u64::from(timestamp) - u64::from(step),
            },
            given: 0,
            first: base.sequence + u64::from(sequence) - 1,
            started: false,
            time_line: None,
            run: None,
            event: 0,
        }
    }

    /// Follows a change of the leg's clock from here on; the stream goes on.
    pub(crate) fn set_step(&mut self, step: u32) {
        if self.step != step {
            self.step = step;
            self.run = None;
            self.time_line = None;
        }
    }

    /// Gives numbers to a packet of a source, and whether it begins a run; `None` if it came too late to be sent.
    pub(crate) fn source(&mut self, source: Source, packet: Arrived, now: Instant) -> Option<(Stamp, bool)> {
        if let Some(run) = self.run.as_mut().filter(|run| run.source == source) {
            let ahead = i64::from(packet.sequence.wrapping_sub(run.sequence).cast_signed());
            let ticks = i64::from(packet.timestamp.wrapping_sub(run.timestamp).cast_signed());
            let stamp = run.newest.moved(ahead, ticks)?;
            // A time stamp that runs away from the clock is no gap: the peer began anew.
            let passed = now.saturating_duration_since(run.numbered_at) + SOURCE_SILENCE;
            let most =
                Tie(now, 0).at(now + passed, self.step).min(u64::from(self.step) * MOST_JUMP.unsigned_abs());
            let behind = i64::from(self.step) * MOST_JUMP;
            let plausible = ahead.abs() <= MOST_JUMP && (-behind..=most.cast_signed()).contains(&ticks);
            if ahead <= 0 && plausible {
                return (stamp.sequence >= run.first && self.give(stamp)).then_some((stamp, false));
            }
            let in_time = stamp.timestamp >= self.highest.timestamp;
            if plausible && in_time && now.saturating_duration_since(run.at) < SOURCE_SILENCE {
                *run = Run {
                    sequence: packet.sequence,
                    timestamp: packet.timestamp,
                    newest: stamp,
                    at: now,
                    numbered_at: now,
                    ..*run
                };
                let clock = Tie(now, stamp.timestamp.saturating_add_signed(-run.lead));
                self.time_line = Some(TimeLine { clock, latest: Tie(now, stamp.timestamp) });
                return self.give(stamp).then_some((stamp, false));
            }
        }
        let newest = self.advance(now);
        let clock = self.time_line.map_or(newest.timestamp, |line| line.clock.at(now, self.step));
        let lead = newest.timestamp.cast_signed().wrapping_sub(clock.cast_signed());
        let Arrived { sequence, timestamp } = packet;
        let first = newest.sequence;
        self.run = Some(Run { source, sequence, timestamp, newest, first, at: now, numbered_at: now, lead });
        Some((newest, true))
    }

    /// Gives numbers to a packet of our own, such as a comfort frame. Whatever ran before is over.
    pub(crate) fn own(&mut self, now: Instant) -> Stamp {
        self.run = None;
        self.advance(now)
    }

    /// Gives numbers to the first packet of a telephone event, which may stand among the packets of a source: the next
    /// number, and the time stamp of this moment in steps (RFC 4733 section 2.4.1: the time stamp base is the audio's).
    pub(crate) fn begin_event(&mut self, now: Instant) -> Stamp {
        let step = u64::from(self.step);
        let moment = match self.time_line {
            Some(line) => line.latest.in_steps(now, self.step),
            None => self.highest.timestamp + step,
        };
        self.event(moment.max(self.event + step))
    }

    /// Gives numbers to a packet of an event that began with `timestamp`.
    pub(crate) fn event(&mut self, timestamp: u64) -> Stamp {
        let sequence = self.highest.sequence + 1;
        if let Some(run) = &mut self.run {
            // The source's next packet comes after this one; its stragglers belonged before.
            (run.newest.sequence, run.first) = (sequence, sequence + 1);
        }
        self.event = timestamp;
        self.give(Stamp { sequence, timestamp: 0 });
        Stamp { sequence, timestamp }
    }

    /// Takes note of a packet of a source that is not passed on, such as a telephone event: it leaves no gap. Without
    /// a `sequence` the source's packets are numbered by us, and this one got no number.
    pub(crate) fn pass_over(&mut self, source: Source, sequence: Option<u16>, now: Instant) {
        let Some(run) = self.run.as_mut().filter(|run| run.source == source) else { return };
        if now.saturating_duration_since(run.at) >= SOURCE_SILENCE {
            return;
        }
        run.at = now;
        if let Some(sequence) = sequence {
            let ahead = sequence.wrapping_sub(run.sequence).cast_signed();
            if (1..=MOST_JUMP).contains(&i64::from(ahead)) {
                run.sequence = sequence;
            }
        }
    }

    /// Ends the run of a source; returns when its newest packet came, if one ran. What comes next is a switch.
    pub(crate) fn end_run(&mut self) -> Option<Instant> {
        self.run.take().map(|run| run.at)
    }

    /// Returns how many numbers lie between the first and the newest, both included.
    pub(crate) const fn spread(&self) -> u64 {
        self.highest.sequence - self.first
    }

    /// Returns when the running source counts as silent; `None` if none runs.
    pub(crate) fn silent_at(&self) -> Option<Instant> {
        self.run.as_ref().map(|run| run.at + SOURCE_SILENCE)
    }

    /// Returns the time stamp that belongs to `now`, for sender reports (RFC 3550 section 6.4.1).
    pub(crate) fn timestamp_at(&self, now: Instant) -> u32 {
        let newest = self.time_line.map_or(self.highest.timestamp, |line| line.latest.at(now, self.step));
        Stamp { timestamp: newest, ..self.highest }.wire_timestamp()
    }

    /// The next number, and the time stamp of the last source's packet moved on by the time that passed, in steps.
    fn advance(&mut self, now: Instant) -> Stamp {
        let step = u64::from(self.step);
        let next = (self.highest.timestamp + step).max(self.event);
        let (clock, latest) = match self.time_line {
            Some(TimeLine { clock, latest }) => (clock.at(now, self.step), latest.in_steps(now, self.step)),
            None => (next, next),
        };
        if self.time_line.is_none() {
            self.time_line = Some(TimeLine { clock: Tie(now, next), latest: Tie(now, next) });
        }
        // Every switch rounds, and none goes back; what that adds up to is taken back before it can be heard.
        let timestamp = if latest.abs_diff(clock) > step * MOST_ASTRAY {
            self.highest.timestamp + clock.saturating_sub(self.highest.timestamp) / step * step
        } else {
            latest
        };
        let stamp = Stamp { sequence: self.highest.sequence + 1, timestamp: timestamp.max(next) };
        self.give(stamp);
        stamp
    }

    /// Notes a number as given; false if it was given before, or is too old to know.
    fn give(&mut self, stamp: Stamp) -> bool {
        if stamp.sequence > self.highest.sequence || !self.started {
            let ahead = stamp.sequence.saturating_sub(self.highest.sequence);
            self.given = u32::try_from(ahead).ok().and_then(|n| self.given.checked_shl(n)).unwrap_or(0) | 1;
            self.started = true;
            self.highest.sequence = stamp.sequence;
            self.highest.timestamp = self.highest.timestamp.max(stamp.timestamp);
            return true;
        }
        let Some(bit) = u32::try_from(self.highest.sequence - stamp.sequence)
            .ok()
            .and_then(|behind| 1_u128.checked_shl(behind))
        else {
            return false;
        };
        if self.given & bit != 0 {
            return false;
        }
        self.given |= bit;
        true
    }
}

/// How a stream's time stamps lie on the clock.
#[derive(Debug, Clone, Copy)]
struct TimeLine {
    /// The clock of whoever feeds the stream, free of what switches added.
    clock: Tie,
    /// The newest packet of a source.
    latest: Tie,
}

/// A moment and its time stamp.
#[derive(Debug, Clone, Copy)]
struct Tie(Instant, u64);

impl Tie {
    /// The time stamp of a later moment, to the tick.
    fn at(self, now: Instant, step: u32) -> u64 {
        let ticks = now.saturating_duration_since(self.0).as_micros() * u128::from(step) / TICK.as_micros();
        self.1.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    /// The time stamp of a later moment, in whole steps, rounded.
    fn in_steps(self, now: Instant, step: u32) -> u64 {
        let passed = now.saturating_duration_since(self.0).as_micros();
        let steps = (passed + TICK.as_micros() / 2 - 1) / TICK.as_micros();
        self.1.saturating_add(u64::try_from(steps).unwrap_or(0) * u64::from(step))
    }
}

impl Stamp {
    fn moved(self, sequence: i64, timestamp: i64) -> Option<Self> {
        Some(Self {
            sequence: self.sequence.checked_add_signed(sequence)?,
            timestamp: self.timestamp.checked_add_signed(timestamp)?,
        })
    }

    /// Returns the sequence number as on the wire.
    pub(crate) const fn wire_sequence(self) -> u16 {
        (self.sequence & 0xffff) as u16
    }

    /// Returns the time stamp as on the wire.
    pub(crate) const fn wire_timestamp(self) -> u32 {
        (self.timestamp & 0xffff_ffff) as u32
    }
}

/// How many packet times a stream may be off the clock. Two are less than any jitter buffer holds.
const MOST_ASTRAY: u64 = 2;

/// The most packets, or packet times, a source may be ahead or behind within a run. More in [`SOURCE_SILENCE`] is no loss: the
/// peer began a new stream under the old SSRC (Asterisk does after music on hold), which is a switch.
const MOST_JUMP: i64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: Source = Source { leg: 1, ssrc: 1, repacked: false };

    fn audio(n: u16) -> Arrived {
        Arrived { sequence: n, timestamp: u32::from(n) * 960 }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn a_source_whose_time_stamps_run_away_from_the_clock_began_anew() {
        let mut now = Instant::now();
        let mut stream = Stream::new(0, 0, 960);
        for n in 0..10 {
            stream.source(AGENT, audio(n), now).unwrap();
            now += TICK;
        }
        let before = stream.highest.timestamp;
        // Keys for 160 ms, and then audio with numbers 1.5 s ahead, of which only 160 ms passed.
        for n in 10..18 {
            stream.pass_over(AGENT, Some(n), now);
            now += TICK;
        }
        let (stamp, begins) =
            stream.source(AGENT, Arrived { sequence: 18, timestamp: 85 * 960 }, now).unwrap();
        assert_eq!((stamp.timestamp - before, begins), (9 * 960, true));
        // A true gap of as long passes through.
        let before = stream.highest.timestamp;
        now += SOURCE_SILENCE - TICK;
        let arrived = Arrived { sequence: 27, timestamp: 94 * 960 };
        let (stamp, begins) = stream.source(AGENT, arrived, now).unwrap();
        assert_eq!((stamp.timestamp - before, begins), (9 * 960, false));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn a_thousand_switches_leave_the_time_line_with_the_clock() {
        let start = Instant::now();
        let mut stream = Stream::new(0, 0, 960);
        stream.own(start);
        let mut now = start;
        // As with an agent whose phone sends one packet every 400 ms of silence: comfort frames in between, and each
        // packet right behind one of them.
        for n in 0..1_000 {
            now += Duration::from_millis(1);
            stream.source(AGENT, audio(n), now).unwrap();
            stream.source(AGENT, audio(n + 1), now + TICK).unwrap();
            now += TICK + SOURCE_SILENCE;
            for _ in 0..9 {
                stream.own(now);
                now += TICK;
            }
        }
        let told = (stream.highest.timestamp - (1 << 32)) / 48;
        let passed = u64::try_from(now.duration_since(start).as_millis()).unwrap();
        assert!(told.abs_diff(passed) <= 80, "{told} {passed}");
    }
}
