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
    started: bool,
    /// Where the time line was last tied to the clock.
    anchor: Option<(Instant, u64)>,
    run: Option<Run>,
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
    /// Whether it is a telephone event.
    pub(crate) event: bool,
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
    /// When the source's newest packet came.
    at: Instant,
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
            started: false,
            anchor: None,
            run: None,
        }
    }

    /// Follows a change of the leg's clock from here on; the stream goes on.
    pub(crate) fn set_step(&mut self, step: u32) {
        if self.step != step {
            self.step = step;
            self.run = None;
            self.anchor = None;
        }
    }

    /// Gives numbers to a packet of a source, and whether it begins a run; `None` if it came too late to be sent.
    pub(crate) fn source(&mut self, source: Source, packet: Arrived, now: Instant) -> Option<(Stamp, bool)> {
        if let Some(run) = self.run.as_mut().filter(|run| run.source == source) {
            let ahead = i64::from(packet.sequence.wrapping_sub(run.sequence).cast_signed());
            let ticks = i64::from(packet.timestamp.wrapping_sub(run.timestamp).cast_signed());
            let stamp = run.newest.moved(ahead, ticks)?;
            let plausible = ahead.abs() <= MOST_JUMP && ticks.abs() <= i64::from(self.step) * MOST_JUMP;
            if ahead <= 0 && plausible {
                return (stamp.sequence >= run.first && self.give(stamp)).then_some((stamp, false));
            }
            // An event keeps the time stamp of its beginning while audio may go on beside it (RFC 4733 section 2.6).
            let in_time = packet.event || stamp.timestamp >= self.highest.timestamp;
            if plausible && in_time && now.saturating_duration_since(run.at) < SOURCE_SILENCE {
                *run = Run {
                    sequence: packet.sequence,
                    timestamp: packet.timestamp,
                    newest: stamp,
                    at: now,
                    ..*run
                };
                if !packet.event {
                    self.anchor = Some((now, stamp.timestamp));
                }
                return self.give(stamp).then_some((stamp, false));
            }
        }
        let newest = self.advance(now);
        let Arrived { sequence, timestamp, .. } = packet;
        self.run = Some(Run { source, sequence, timestamp, newest, first: newest.sequence, at: now });
        Some((newest, true))
    }

    /// Gives numbers to a packet of our own, such as a comfort frame. Whatever ran before is over.
    pub(crate) fn own(&mut self, now: Instant) -> Stamp {
        self.run = None;
        self.advance(now)
    }

    /// Ends the run of a source, if one runs, and returns whether it did. What comes next is a switch.
    pub(crate) fn end_run(&mut self) -> bool {
        self.run.take().is_some()
    }

    /// Returns when the running source counts as silent; `None` if none runs.
    pub(crate) fn silent_at(&self) -> Option<Instant> {
        self.run.as_ref().map(|run| run.at + SOURCE_SILENCE)
    }

    /// Returns the time stamp that belongs to `now`, for sender reports (RFC 3550 section 6.4.1).
    pub(crate) fn timestamp_at(&self, now: Instant) -> u32 {
        let (at, timestamp) = self.anchor.unwrap_or((now, self.highest.timestamp));
        let passed = now.saturating_duration_since(at).as_micros();
        let ticks = passed * u128::from(self.step) / TICK.as_micros();
        #[expect(clippy::cast_possible_truncation, reason = "RTP time stamps are modulo 2^32")]
        let on_the_wire = timestamp.wrapping_add(ticks as u64) as u32;
        on_the_wire
    }

    /// The next number, and a time stamp moved on by the time that passed.
    fn advance(&mut self, now: Instant) -> Stamp {
        let step = u64::from(self.step);
        let (at, from) = self.anchor.unwrap_or((now, self.highest.timestamp + step));
        let passed = now.saturating_duration_since(at).as_micros();
        let steps = u64::try_from((passed + TICK.as_micros() / 2 - 1) / TICK.as_micros()).unwrap_or(0);
        // The source may have run ahead of the clock; stay on the grid it set and never go back.
        let timestamp = (from + steps * step).max(self.highest.timestamp + step);
        let stamp = Stamp { sequence: self.highest.sequence + 1, timestamp };
        if self.anchor.is_none() {
            self.anchor = Some((now, timestamp));
        }
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

/// The most packets, or packet times, a source may be ahead within a run. More in [`SOURCE_SILENCE`] is no loss: the
/// peer began a new stream under the old SSRC (Asterisk does after music on hold), which is a switch.
const MOST_JUMP: i64 = 100;
