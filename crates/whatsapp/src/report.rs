//! What calls came to and what they cost, added up by number, use case or day.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use setu_model::Wall;

use crate::cost::Cost;
use crate::quality::day;

/// One call, as reports see it.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'c> {
    /// The business number.
    pub number: &'c str,
    /// What it was for.
    pub use_case: Option<&'c str>,
    /// When it began.
    pub began: Wall,
    /// Why it ended, as the record's word.
    pub outcome: &'c str,
    /// How long both sides were connected, in milliseconds; none if it was not answered.
    pub connected_ms: Option<u64>,
    /// What it cost in the report's currency; none where that was not reckoned.
    pub cost: Option<Cost>,
}

/// What a report is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The business number.
    Number,
    /// The use case; calls without one are under no name.
    UseCase,
    /// The day (UTC).
    Day,
}

/// What is added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Calls.
    pub calls: u64,
    /// Calls that were answered.
    pub connected: u64,
    /// How long those were connected altogether, in milliseconds.
    pub connected_ms: u64,
    /// How many ended how.
    pub outcomes: BTreeMap<String, u64>,
    /// Calls whose cost was reckoned.
    pub priced: u64,
    /// What those cost, part by part.
    pub cost: Cost,
}

/// Lines by what the report is by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    lines: BTreeMap<String, Line>,
    left_out: u64,
}

impl Report {
    /// The most lines: what does not fit is counted as left out.
    pub const MOST: usize = 10_000;

    /// Adds a call.
    pub fn add(&mut self, by: By, call: &Counted<'_>) {
        let key = match by {
            By::Number => call.number.to_owned(),
            By::UseCase => call.use_case.unwrap_or_default().to_owned(),
            By::Day => day(call.began).to_string(),
        };
        if self.lines.len() >= Self::MOST && !self.lines.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        self.lines.entry(key).or_default().add(call);
    }

    /// The lines in order.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &Line)> {
        self.lines.iter().map(|(key, line)| (key.as_str(), line))
    }

    /// Calls for whose line there was no room.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// All lines together.
    pub fn total(&self) -> Line {
        self.lines.values().fold(Line::default(), |sum, line| sum.and(line))
    }
}

impl Line {
    fn add(&mut self, call: &Counted<'_>) {
        self.calls += 1;
        *self.outcomes.entry(call.outcome.to_owned()).or_default() += 1;
        if let Some(ms) = call.connected_ms {
            self.connected += 1;
            self.connected_ms = self.connected_ms.saturating_add(ms);
        }
        if let Some(cost) = &call.cost {
            self.priced += 1;
            self.cost = self.cost.and(cost);
        }
    }

    fn and(mut self, other: &Self) -> Self {
        self.calls += other.calls;
        self.connected += other.connected;
        self.connected_ms = self.connected_ms.saturating_add(other.connected_ms);
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
        self.priced += other.priced;
        self.cost = self.cost.and(&other.cost);
        self
    }

    /// How many of ten thousand calls were answered; none without a call.
    pub fn connection_rate(&self) -> Option<u64> {
        (self.connected * 10_000).checked_div(self.calls)
    }

    /// How long an answered call was connected, in milliseconds; none without one.
    pub fn average_ms(&self) -> Option<u64> {
        self.connected_ms.checked_div(self.connected)
    }

    /// What a connected call cost, those that were not connected included, to a millionth; none if one has no price.
    pub fn cost_per_connected(&self) -> Option<Decimal> {
        if self.priced != self.calls {
            return None;
        }
        Some(self.cost.total().checked_div(Decimal::from(self.connected))?.round_dp(6).normalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(seconds: i64, connected_s: Option<u64>, cost: &str) -> Counted<'static> {
        Counted {
            number: "+911",
            use_case: Some("kyc"),
            began: Wall::from_unix_ms(seconds * 1_000),
            outcome: if connected_s.is_some() { "success" } else { "no_answer" },
            connected_ms: connected_s.map(|seconds| seconds * 1_000),
            cost: Some(Cost { provider: cost.parse().unwrap(), ..Cost::default() }),
        }
    }

    #[test]
    fn lines_add_up_by_number_use_case_and_day_to_the_same_total() {
        let calls = [
            call(0, Some(60), "0.10"),
            Counted { use_case: None, ..call(10, None, "0.20") },
            Counted { number: "+912", ..call(90_000, Some(30), "0.03") },
        ];
        let report = |by| {
            let mut report = Report::default();
            calls.iter().for_each(|call| report.add(by, call));
            report
        };
        let keys = |by| report(by).lines().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(By::Number), ["+911", "+912"]);
        assert_eq!(keys(By::UseCase), ["", "kyc"]);
        assert_eq!(keys(By::Day), ["1970-01-01", "1970-01-02"]);
        let total = report(By::Day).total();
        assert_eq!((total.calls, total.connected, total.connected_ms), (3, 2, 90_000));
        assert_eq!(total.cost.total(), "0.33".parse().unwrap());
        assert_eq!(total.outcomes, [("no_answer".to_owned(), 1), ("success".to_owned(), 2)].into());
        assert_eq!((report(By::Number).total(), report(By::UseCase).total()), (total.clone(), total));
    }

    #[test]
    fn a_connected_call_carries_the_cost_of_those_that_were_not() {
        let mut line = Line::default();
        assert_eq!(
            (line.connection_rate(), line.average_ms(), line.cost_per_connected()),
            (None, None, None)
        );
        for connected in [Some(10), Some(20), None, Some(3)] {
            line.add(&call(0, connected, "0.25"));
        }
        assert_eq!((line.connection_rate(), line.average_ms()), (Some(75_00), Some(11_000)));
        assert_eq!(line.cost_per_connected(), Some("0.333333".parse().unwrap()));
        line.add(&Counted { cost: None, ..call(0, None, "0") });
        assert_eq!(line.cost_per_connected(), None, "not all are priced");
    }

    #[test]
    fn days_without_end_do_not_grow_a_report() {
        let mut report = Report::default();
        for n in 0..10_005 {
            report.add(By::Day, &call(n * 86_400, None, "0"));
        }
        assert_eq!((report.lines().count(), report.left_out()), (Report::MOST, 5));
    }
}
