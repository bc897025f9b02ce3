//! The quality guard: how a number is doing, before Meta says so, and how many calls a day that still allows.
//!
//! It works on one tally a day, which is also what is stored.

use jiff::civil::Date;
use jiff::{Span, ToSpan};
use serde::{Deserialize, Serialize};
use setu_model::Wall;

/// What happened to a number's business-initiated calls in one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTally {
    /// Calls that rang.
    pub attempts: u32,
    /// Calls that were answered.
    pub answered: u32,
    /// Answered calls of less than [`SHORT_S`] seconds.
    pub short: u32,
    /// Calls with a block or report within [`BLAME_MINUTES`] minutes after them; none where nothing tells of those.
    pub blamed: Option<u32>,
    /// What Meta itself said that day: yellow where it warned, red where it restricted the number's calls.
    #[serde(default)]
    pub meta: Light,
}

/// The day that a moment is tallied in (UTC).
pub fn day(at: Wall) -> Date {
    let end = if at.unix_ms() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    let moment = jiff::Timestamp::from_millisecond(at.unix_ms()).unwrap_or(end);
    moment.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// A shorter answered call counts as short, in seconds.
pub const SHORT_S: u64 = 10;

/// A block or report this many minutes after a call, or sooner, is laid to the call.
pub const BLAME_MINUTES: u64 = 30;

/// How a number is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Light {
    /// Well.
    #[default]
    Green,
    /// Something is close to its limit.
    Yellow,
    /// Something is over its limit, or was within the last days.
    Red,
}

impl Light {
    /// Every light.
    pub const ALL: [Self; 3] = [Self::Green, Self::Yellow, Self::Red];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Green => "GREEN",
            Self::Yellow => "YELLOW",
            Self::Red => "RED",
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of calls that are answered; the more the better.
    AnswerRate,
    /// Share of calls followed by a block or a report.
    BlameRate,
    /// Share of answered calls that are short.
    ShortRate,
}

/// One measure over the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Which.
    pub measure: Measure,
    /// Hundredths of a per cent; none where too few calls or no source tell.
    pub basis_points: Option<u32>,
    /// The same over the window before.
    pub before: Option<u32>,
    /// What it means by itself.
    pub light: Light,
}

/// The limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QualityPolicy {
    /// How many days are looked at.
    pub window_days: u32,
    /// Fewer calls than this in a window say nothing.
    pub least_calls: u32,
    /// Answer rate below which a number is yellow and red, in hundredths of a per cent.
    pub answer: (u32, u32),
    /// Blame rate above which a number is yellow and red.
    pub blame: (u32, u32),
    /// Share of short calls above which a number is yellow and red.
    pub short: (u32, u32),
    /// So many days without a red reading bring a red number back.
    pub clean_days: u32,
    /// Calls a day for a green, yellow and red number.
    pub attempts_a_day: (u32, u32, u32),
}

impl Default for QualityPolicy {
    fn default() -> Self {
        Self {
            window_days: 7,
            least_calls: 50,
            answer: (60_00, 50_00),
            blame: (50, 80),
            short: (20_00, 35_00),
            clean_days: 30,
            // Meta's own limit is 10,000 new calls a day and number.
            attempts_a_day: (10_000, 5_000, 1_000),
        }
    }
}

/// How a number is doing and what drives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quality {
    /// The verdict.
    pub light: Light,
    /// Every measure.
    pub readings: [Reading; 3],
    /// What Meta itself said within the window.
    pub meta: Light,
    /// For a red number whose readings are fine again: how many of the clean days have passed.
    pub clean_days: Option<u32>,
    /// How many calls today allows.
    pub attempts_a_day: u32,
    /// Until when Meta itself forbids calls, if it does.
    pub restricted_until: Option<Wall>,
}

/// How a number did on the days in which it recovers, as far as its own calls tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Days at whose end the measures of the window were all GREEN.
    pub green: u32,
    /// Days at whose end one was not, or on which Meta warned or restricted.
    pub other: u32,
    /// Days whose window had too few calls to say anything.
    pub unknown: u32,
}

impl Seen {
    /// All of them.
    pub const fn days(&self) -> u32 {
        self.green + self.other + self.unknown
    }
}

impl QualityPolicy {
    /// What the last [`clean_days`](Self::clean_days) showed, `today` so far among them.
    pub fn seen(&self, today: Date, tally: impl Fn(Date) -> DayTally) -> Seen {
        let days: Vec<DayTally> =
            (0..self.clean_days + self.window_days).map(|n| tally(back(today, n))).collect();
        let mut seen = Seen::default();
        for days in days.windows(length(self.window_days)).take(length(self.clean_days)) {
            let readings = self.readings(days);
            let known = readings.iter().any(|reading| reading.basis_points.is_some());
            match worst(&readings).max(meta_says(days)) {
                Light::Yellow | Light::Red => seen.other += 1,
                Light::Green if known => seen.green += 1,
                Light::Green => seen.unknown += 1,
            }
        }
        seen
    }

    /// Judges a number at the end of `today` so far, from the tallies of its days (`tally` says what a day had).
    pub fn judge(
        &self,
        today: Date,
        tally: impl Fn(Date) -> DayTally,
        restricted_until: Option<Wall>,
    ) -> Quality {
        // Today first, as far back as recovery and the window before a window reach.
        let reach = self.clean_days + 2 * self.window_days;
        let days: Vec<DayTally> = (0..reach).map(|n| tally(back(today, n))).collect();
        let readings = self.readings(&days);
        let meta = days.iter().take(length(self.window_days)).map(|day| day.meta).max().unwrap_or_default();
        // A restriction makes a number red for its own days and those of recovery, a warning yellow for the window.
        let now = worst(&readings).max(meta.min(Light::Yellow)).max(meta_says(&days));
        let clean_days = if now == Light::Red { None } else { self.recovering(&days) };
        let light = if clean_days.is_some() { Light::Red } else { now };
        let (green, yellow, red) = self.attempts_a_day;
        let attempts_a_day = match light {
            Light::Green => green,
            Light::Yellow => yellow,
            Light::Red => red,
        };
        Quality { light, readings, meta, clean_days, attempts_a_day, restricted_until }
    }

    /// What the measures said at the end of the first of these days.
    fn readings(&self, days: &[DayTally]) -> [Reading; 3] {
        let before = days.get(length(self.window_days)..).unwrap_or_default();
        let (window, before) = (self.sum(days), self.sum(before));
        [
            (Measure::AnswerRate, self.answer),
            (Measure::BlameRate, self.blame),
            (Measure::ShortRate, self.short),
        ]
        .map(|(measure, limits)| {
            let basis_points = self.rate(measure, &window);
            let light = basis_points.map_or(Light::Green, |rate| light(measure, rate, limits));
            Reading { measure, basis_points, before: self.rate(measure, &before), light }
        })
    }

    /// How many clean days a number has behind it since it was last red; none if it was not within so many days.
    fn recovering(&self, days: &[DayTally]) -> Option<u32> {
        (1..=self.clean_days).find(|n| {
            let days = days.get(length(*n)..).unwrap_or_default();
            worst(&self.readings(days)).max(meta_says(days)) == Light::Red
        })
    }

    fn sum(&self, days: &[DayTally]) -> DayTally {
        let mut sum = DayTally::default();
        for day in days.iter().take(length(self.window_days)) {
            sum.attempts = sum.attempts.saturating_add(day.attempts);
            sum.answered = sum.answered.saturating_add(day.answered);
            sum.short = sum.short.saturating_add(day.short);
            if let Some(blamed) = day.blamed {
                sum.blamed = Some(sum.blamed.unwrap_or(0).saturating_add(blamed));
            }
        }
        sum
    }

    fn rate(&self, measure: Measure, sum: &DayTally) -> Option<u32> {
        let (part, whole) = match measure {
            Measure::AnswerRate => (sum.answered, sum.attempts),
            Measure::BlameRate => (sum.blamed?, sum.attempts),
            Measure::ShortRate => (sum.short, sum.answered),
        };
        if whole < self.least_calls {
            return None;
        }
        u32::try_from(u64::from(part) * 10_000 / u64::from(whole.max(1))).ok()
    }
}

/// What Meta itself said on the first of these days.
fn meta_says(days: &[DayTally]) -> Light {
    days.first().map(|day| day.meta).unwrap_or_default()
}

fn length(days: u32) -> usize {
    usize::try_from(days).unwrap_or(usize::MAX)
}

fn worst(readings: &[Reading; 3]) -> Light {
    readings.iter().map(|reading| reading.light).max().unwrap_or(Light::Green)
}

fn light(measure: Measure, rate: u32, (yellow, red): (u32, u32)) -> Light {
    let beyond = |limit| match measure {
        Measure::AnswerRate => rate < limit,
        Measure::BlameRate | Measure::ShortRate => rate > limit,
    };
    match (beyond(red), beyond(yellow)) {
        (true, _) => Light::Red,
        (false, true) => Light::Yellow,
        (false, false) => Light::Green,
    }
}

fn back(date: Date, days: u32) -> Date {
    let span: Span = i64::from(days).days();
    date.saturating_sub(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = Date::constant(2026, 6, 30);

    fn day(attempts: u32, answered: u32, short: u32, blamed: Option<u32>) -> DayTally {
        DayTally { attempts, answered, short, blamed, meta: Light::Green }
    }

    #[test]
    fn of_the_days_of_recovery_only_those_with_calls_enough_are_seen() {
        let seen = |tally: &dyn Fn(u32) -> DayTally| {
            let ago = |date: Date| u32::try_from((TODAY - date).get_days()).unwrap();
            let seen = QualityPolicy::default().seen(TODAY, |date| tally(ago(date)));
            assert_eq!(seen.days(), 30);
            (seen.green, seen.other, seen.unknown)
        };
        let good = day(100, 90, 0, Some(0));
        assert_eq!(seen(&|_| DayTally::default()), (0, 0, 30));
        assert_eq!(seen(&|_| good), (30, 0, 0));
        // A day without calls is told of by the week before it: the calls of six days ago are the last that count.
        assert_eq!(seen(&|ago| if ago < 12 { good } else { DayTally::default() }), (12, 0, 18));
        assert_eq!(seen(&|ago| if ago == 6 { good } else { DayTally::default() }), (7, 0, 23));
        assert_eq!(seen(&|ago| if ago == 7 { good } else { DayTally::default() }), (7, 0, 23));
        assert_eq!(seen(&|_| day(7, 7, 0, Some(0))), (0, 0, 30), "49 calls a week say nothing");
        assert_eq!(seen(&|ago| if ago < 3 { day(1_000, 10, 0, Some(0)) } else { good }), (27, 3, 0));
        let warned = DayTally { meta: Light::Yellow, ..DayTally::default() };
        assert_eq!(seen(&|ago| if ago == 29 { warned } else { DayTally::default() }), (0, 1, 29));
        assert_eq!(seen(&|ago| if ago == 30 { warned } else { DayTally::default() }), (0, 0, 30));
    }

    fn judge(tally: impl Fn(Date) -> DayTally) -> Quality {
        QualityPolicy::default().judge(TODAY, tally, None)
    }

    fn reading(quality: &Quality, measure: Measure) -> Reading {
        *quality.readings.iter().find(|reading| reading.measure == measure).unwrap()
    }

    #[test]
    fn a_number_whose_calls_are_answered_is_green() {
        let quality = judge(|_| day(100, 80, 4, Some(0)));
        assert_eq!((quality.light, quality.attempts_a_day, quality.clean_days), (Light::Green, 10_000, None));
        assert_eq!(reading(&quality, Measure::AnswerRate).basis_points, Some(80_00));
    }

    #[test]
    fn each_measure_over_its_limit_makes_a_number_red_and_says_which() {
        for (bad, measure) in [
            (day(100, 49, 0, Some(0)), Measure::AnswerRate),
            (day(1_000, 800, 0, Some(9)), Measure::BlameRate),
            (day(100, 80, 30, None), Measure::ShortRate),
        ] {
            let quality = judge(|_| bad);
            assert_eq!((quality.light, quality.attempts_a_day), (Light::Red, 1_000));
            for it in quality.readings {
                assert_eq!(it.light == Light::Red, it.measure == measure, "{it:?}");
            }
        }
        assert_eq!(
            judge(|_| day(1_000, 800, 0, Some(8))).light,
            Light::Yellow,
            "0.8 % is the limit, not over it"
        );
        assert_eq!(judge(|_| day(100, 50, 0, None)).light, Light::Yellow, "50 % is the limit, not below it");
    }

    #[test]
    fn where_nothing_tells_of_blocks_the_rate_is_unknown_not_zero() {
        let quality = judge(|_| day(100, 80, 0, None));
        assert_eq!(reading(&quality, Measure::BlameRate).basis_points, None);
    }

    #[test]
    fn a_handful_of_calls_says_nothing() {
        assert_eq!(
            judge(|date| if date == TODAY { day(49, 0, 0, None) } else { day(0, 0, 0, None) }).light,
            Light::Green
        );
    }

    #[test]
    fn a_red_number_comes_back_after_thirty_clean_days() {
        let bad_until = |last: Date| {
            move |date: Date| if date <= last { day(100, 10, 0, None) } else { day(100, 90, 0, None) }
        };
        // The window of 7 days still holds bad ones for some days; a clean day is one without a red reading.
        let last_red =
            |last| (0..60).find(|n| judge(bad_until(back(last, *n))).light != Light::Red).map(|n| n - 1);
        let days = last_red(TODAY).unwrap();
        let policy = QualityPolicy::default();
        assert!((30..=36).contains(&days), "{days}");
        let recovering = judge(bad_until(back(TODAY, 20)));
        assert_eq!((recovering.light, worst(&recovering.readings)), (Light::Red, Light::Green));
        assert!(recovering.clean_days.is_some_and(|n| (10..policy.clean_days).contains(&n)));
    }

    #[test]
    fn metas_warning_is_yellow_for_the_window_and_its_restriction_red_until_thirty_clean_days_later() {
        let said = |first: u32, last: u32, meta| {
            let days = back(TODAY, first)..=back(TODAY, last);
            judge(|date| DayTally {
                meta: if days.contains(&date) { meta } else { Light::Green },
                ..day(100, 90, 0, Some(0))
            })
        };
        let lights = |days: [u32; 3], meta| days.map(|n| said(n, n, meta).light);
        assert_eq!(lights([0, 6, 7], Light::Yellow), [Light::Yellow, Light::Yellow, Light::Green]);
        let week = |ago: u32| said(ago + 6, ago, Light::Red);
        assert_eq!((week(0).light, week(0).clean_days), (Light::Red, None));
        assert_eq!((week(30).light, week(30).clean_days), (Light::Red, Some(30)));
        assert_eq!((week(31).light, week(31).attempts_a_day), (Light::Green, 10_000));
    }

    #[test]
    fn the_trend_is_the_same_measure_a_window_before() {
        let quality =
            judge(|date| if date > back(TODAY, 7) { day(100, 70, 0, None) } else { day(100, 90, 0, None) });
        let answer = reading(&quality, Measure::AnswerRate);
        assert_eq!((answer.basis_points, answer.before), (Some(70_00), Some(90_00)));
    }
}
