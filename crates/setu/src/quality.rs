//! How a number is doing: what the store tells of its days, in the words of the quality guard.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::Date;
use setu_model::Wall;
use setu_store::{ComplaintRow, Store, StoreFault, TallyRow};
use setu_whatsapp::quality::{DayTally, Light, Quality, QualityPolicy, Seen, day};

/// What speaks for and against a number, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Days {
    tallies: BTreeMap<Date, DayTally>,
    /// The end of the last restriction by Meta.
    restricted_until: Option<Wall>,
}

impl Days {
    /// Reads what the guard looks at. A handful of rows by their keys, however many calls the number makes.
    pub(crate) async fn read(store: &Store, number: &str, now: Wall) -> Result<Self, StoreFault> {
        let since = Wall::from_unix_ms(now.unix_ms().saturating_sub(LOOKED_AT_DAYS * DAY_MS));
        let tallies = store.tallies(number, setu_store::day(since)).await?;
        let warnings = store.warnings(number, since, MOST_WARNINGS).await?;
        Ok(Self::of(&tallies, &warnings))
    }

    /// What these rows say.
    pub fn of(tallies: &[TallyRow], warnings: &[ComplaintRow]) -> Self {
        let mut days = Self::default();
        for row in tallies {
            let tally = days.tallies.entry(date(row.day)).or_default();
            let TallyRow { attempts, answered, short, blamed, .. } = *row;
            *tally = DayTally { attempts, answered, short, blamed: Some(blamed), meta: Light::Green };
        }
        for warning in warnings {
            let first = day(warning.moment);
            let (last, light) = match warning.until {
                Some(until) => (day(until), Light::Red),
                None => (first, Light::Yellow),
            };
            // A restriction of ever is one of as long as anybody looks back.
            for date in first.series(1.day()).take_while(|date| *date <= last).take(MOST_DAYS) {
                let tally = days.tallies.entry(date).or_default();
                tally.meta = tally.meta.max(light);
            }
            days.restricted_until = days.restricted_until.max(warning.until);
        }
        days
    }

    /// How the number is doing. Where `hears_revocations` is not so, blocks are known only once somebody reported one.
    pub(crate) fn judge(&self, hears_revocations: bool, now: Wall) -> Quality {
        let restricted_until = self.restricted_until.filter(|until| *until > now);
        QualityPolicy::default().judge(day(now), self.tally(hears_revocations), restricted_until)
    }

    /// What its last 30 days showed; blocks as in [`judge`](Self::judge).
    pub(crate) fn seen(&self, hears_revocations: bool, now: Wall) -> Seen {
        QualityPolicy::default().seen(day(now), self.tally(hears_revocations))
    }

    fn tally(&self, hears_revocations: bool) -> impl Fn(Date) -> DayTally {
        let blames = |tally: &DayTally| tally.blamed.is_some_and(|blamed| blamed > 0);
        let told = hears_revocations || self.tallies.values().any(blames);
        move |date: Date| {
            let tally = self.tallies.get(&date).copied().unwrap_or_default();
            DayTally { blamed: tally.blamed.filter(|_| told), ..tally }
        }
    }
}

fn date(day: i64) -> Date {
    let days = i32::try_from(day).unwrap_or_default().days();
    Date::constant(1970, 1, 1).checked_add(days).unwrap_or_default()
}

/// The days of recovery, each with its window, and the window before today's.
const LOOKED_AT_DAYS: i64 = 30 + 7 + 7;

/// Meta warns once in a while; what repeats itself says no more.
const MOST_WARNINGS: usize = 100;

/// The longest restriction that is looked at day by day.
const MOST_DAYS: usize = 400;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Wall {
        Wall::from_unix_ms(day * DAY_MS + 1_000)
    }

    fn tally(day: i64, answered: u32, blamed: u32) -> TallyRow {
        TallyRow { day, attempts: 100, answered, short: 0, blamed }
    }

    fn said(day: i64, until: Option<Wall>) -> ComplaintRow {
        ComplaintRow {
            complaint: String::new(),
            number: String::new(),
            customer: None,
            kind: String::new(),
            source: "webhook".to_owned(),
            moment: at(day),
            until,
            blames: false,
            call: None,
        }
    }

    #[test]
    fn what_is_stored_of_today_is_todays() {
        let light = |rows: &[TallyRow]| Days::of(rows, &[]).judge(true, at(20_000)).light;
        assert_eq!(light(&[]), Light::Green);
        assert_eq!(light(&[tally(20_000, 90, 0)]), Light::Green);
        assert_eq!(light(&[tally(20_000, 10, 0)]), Light::Red);
        assert_eq!(light(&[tally(20_001, 10, 0)]), Light::Green, "tomorrow is not looked at");
    }

    #[test]
    fn blocks_are_unknown_until_something_tells_of_them() {
        let blames = |rows: &[TallyRow], hears| {
            let quality = Days::of(rows, &[]).judge(hears, at(20_000));
            let reading = quality
                .readings
                .iter()
                .find(|reading| reading.measure == setu_whatsapp::quality::Measure::BlameRate);
            reading.unwrap().basis_points
        };
        assert_eq!(blames(&[tally(20_000, 90, 0)], false), None);
        assert_eq!(blames(&[tally(20_000, 90, 0)], true), Some(0));
        assert_eq!(blames(&[tally(20_000, 90, 1)], false), Some(100));
    }

    #[test]
    fn a_restriction_holds_until_its_end_and_its_days_are_red() {
        let days = Days::of(&[], &[said(20_000, Some(at(20_007)))]);
        let during = days.judge(true, at(20_003));
        assert_eq!((during.light, during.restricted_until), (Light::Red, Some(at(20_007))));
        let after = days.judge(true, at(20_010));
        assert_eq!((after.light, after.restricted_until, after.clean_days), (Light::Red, None, Some(3)));
        assert_eq!(days.judge(true, at(20_040)).light, Light::Green);
        assert_eq!(Days::of(&[], &[said(20_000, None)]).judge(true, at(20_003)).light, Light::Yellow);
        let forever = Days::of(&[], &[said(20_000, Some(Wall::from_unix_ms(i64::MAX)))]);
        assert_eq!(forever.judge(true, at(20_100)).light, Light::Red);
    }
}
