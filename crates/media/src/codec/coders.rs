//! All the coders of one worker.

use std::collections::BTreeMap;
use std::time::Instant;

use super::load::Load;
use super::transcoder::Transcoder;
use super::{Job, Packet, Way};

/// Coders of many ways. **Handle, then wait**, as with a relay: what is due comes out of
/// [`handle_timeout`](Self::handle_timeout).
pub struct Coders {
    ways: BTreeMap<Way, Box<Transcoder>>,
    most: usize,
    load: Load,
    totals: CodedTotals,
}

/// What coders have counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodedTotals {
    /// Packets that came out.
    pub coded: u64,
    /// 20 ms that were made up for what did not come in time.
    pub concealed: u64,
    /// Lost packets that the one behind them told of (in-band error correction).
    pub recovered: u64,
    /// Packets that came after their time, or twice.
    pub late: u64,
    /// Packets that are none of their format, and frames no encoder would take.
    pub broken: u64,
    /// 20 ms of silence left out to shorten the delay.
    pub shortened: u64,
    /// 20 ms of silence played twice to lengthen the delay.
    pub stretched: u64,
    /// Times at which a worker was so late that it left frames out.
    pub skipped: u64,
    /// Ways refused as there were too many.
    pub refused: u64,
}

impl Coders {
    /// How often [`handle_load`](Self::handle_load) is to be called, in milliseconds.
    pub const LOAD_PERIOD_MS: u64 = Load::PERIOD_MS;

    /// Makes coders for at most `most` ways: two for each call.
    pub const fn new(most: usize) -> Self {
        Self { ways: BTreeMap::new(), most, load: Load::new(), totals: TOTALS }
    }

    /// Takes a job that came up at `at`.
    pub fn handle(&mut self, job: &Job<'_>, at: Instant) {
        match *job {
            Job::Open { way, plan } => {
                let room = self.ways.len() < self.most || self.ways.contains_key(&way);
                let made = room.then(|| Transcoder::new(plan, way.generation)).flatten();
                let Some(mut made) = made else {
                    self.totals.refused += 1;
                    return;
                };
                made.set_complexity(self.load.complexity());
                self.ways.insert(way, Box::new(made));
            }
            Job::Packet { way, packet } => {
                if let Some(coder) = self.ways.get_mut(&way) {
                    coder.handle_packet(packet, at, &mut self.totals);
                }
            }
            Job::Loss { way, percent } => {
                if let Some(coder) = self.ways.get_mut(&way) {
                    coder.set_loss(percent);
                }
            }
            Job::Close { way } => {
                self.ways.remove(&way);
            }
        }
    }

    /// Makes what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, mut emit: impl FnMut(Way, Packet<'_>)) {
        for (way, coder) in &mut self.ways {
            coder.handle_timeout(now, &mut self.totals, &mut |packet| emit(*way, packet));
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ways.values().filter_map(|coder| coder.poll_timeout()).min()
    }

    /// Takes how busy the owner was with all this over the last [`LOAD_PERIOD_MS`](Self::LOAD_PERIOD_MS), in
    /// thousandths: encoders do more or less for quality accordingly.
    pub fn handle_load(&mut self, busy_permille: u32) {
        let before = self.load.complexity();
        self.load.take(busy_permille);
        let complexity = self.load.complexity();
        if before != complexity {
            tracing::debug!(before, complexity, busy_permille, "the encoders' complexity changes");
            for coder in self.ways.values_mut() {
                coder.set_complexity(complexity);
            }
        }
    }

    /// The complexity that encoders work with, 0 to 10.
    pub fn complexity(&self) -> u8 {
        self.load.complexity()
    }

    /// How many ways there are.
    pub fn len(&self) -> usize {
        self.ways.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }

    /// What was counted so far.
    pub const fn totals(&self) -> CodedTotals {
        self.totals
    }
}

const TOTALS: CodedTotals = CodedTotals {
    coded: 0,
    concealed: 0,
    recovered: 0,
    late: 0,
    broken: 0,
    shortened: 0,
    stretched: 0,
    skipped: 0,
    refused: 0,
};
