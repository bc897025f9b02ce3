//! How long packets wait before they are played: as short as their jitter allows.

use std::time::{Duration, Instant};

/// Watches how early packets come before their time, and says when the delay should change.
///
/// The least earliness over some seconds is what is left for a packet later than all of those. Kept at the margin, it
/// is exactly the delay that the measured jitter needs; it also follows a sender whose clock runs faster or slower.
#[derive(Debug)]
pub(crate) struct Delay {
    /// Since when the newer stretch is measured.
    since: Option<Instant>,
    older: Option<Stretch>,
    newer: Option<Stretch>,
    /// Until when losses are reckoned with.
    lossy_until: Option<Instant>,
    changed: Option<Instant>,
}

/// Earliness over some time, in microseconds: of the latest and of the earliest packet.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    least: i64,
    most: i64,
}

/// What to do about the delay with the next 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    Keep,
    /// Leave 20 ms out, if they are silent.
    ShortenInSilence,
    /// Leave 20 ms out.
    Shorten,
    /// Play 20 ms more, if it is silent.
    LengthenInSilence,
}

impl Delay {
    pub(crate) const fn new() -> Self {
        Self { since: None, older: None, newer: None, lossy_until: None, changed: None }
    }

    /// Notes a packet that came `early` microseconds before its time.
    pub(crate) fn arrived(&mut self, early: i64, now: Instant) {
        match self.since {
            Some(since) if now.saturating_duration_since(since) < STRETCH => {}
            Some(_) | None => {
                self.since = Some(now);
                self.older = self.newer.take();
            }
        }
        let both = Stretch { least: early, most: early };
        self.newer = Some(self.newer.map_or(both, |it| it.with(both)));
    }

    /// Notes a lost packet: with error correction, the one behind it should be there in time.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.lossy_until = Some(now + LOSSY);
    }

    /// Says what to do with the next 20 ms.
    pub(crate) fn advise(&self, look_ahead: bool, now: Instant) -> Advice {
        let (Some(older), Some(newer)) = (self.older, self.newer) else { return Advice::Keep };
        let both = older.with(newer);
        if both.most > MOST_US + FRAME_US {
            return Advice::Shorten;
        }
        if self.changed.is_some_and(|at| now.saturating_duration_since(at) < REST) {
            return Advice::Keep;
        }
        let lossy = look_ahead && self.lossy_until.is_some_and(|until| now < until);
        let margin = if lossy { MARGIN_US + FRAME_US } else { MARGIN_US };
        if both.least > margin + FRAME_US + FRAME_US / 4 {
            return Advice::ShortenInSilence;
        }
        if both.least < margin - FRAME_US / 2 && both.most < MOST_US - FRAME_US {
            return Advice::LengthenInSilence;
        }
        Advice::Keep
    }

    /// Notes that the delay grew or shrank by some microseconds.
    pub(crate) fn moved(&mut self, by: i64) {
        for stretch in [&mut self.older, &mut self.newer].into_iter().flatten() {
            stretch.least += by;
            stretch.most += by;
        }
    }

    /// Notes that advice was followed: the next waits until its effect is seen.
    pub(crate) fn followed(&mut self, by: i64, now: Instant) {
        self.moved(by);
        self.changed = Some(now);
    }

    /// Forgets what was measured: the source began anew.
    pub(crate) fn restart(&mut self) {
        *self = Self { lossy_until: self.lossy_until, ..Self::new() };
    }
}

impl Stretch {
    fn with(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

/// What a source begins with, and what stays for a packet later than all before: the quantum of the worker that plays,
/// and some.
pub(crate) const MARGIN: Duration = Duration::from_millis(12);
const MARGIN_US: i64 = 12_000;

/// The longest delay. More is worse than loss: people begin to talk at the same time.
const MOST_US: i64 = 200_000;

/// 20 ms.
pub(crate) const FRAME_US: i64 = 20_000;

/// Half of the time over which the latest packet counts.
const STRETCH: Duration = Duration::from_secs(2);

/// How long losses are reckoned with.
const LOSSY: Duration = Duration::from_secs(10);

/// Between two changes.
const REST: Duration = Duration::from_millis(200);
