//! Calling hours: when a customer may be called, by the customer's own clock.

use std::collections::BTreeSet;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use setu_model::Wall;

/// When customers may be called.
#[derive(Debug, Clone)]
pub struct CallingHours {
    /// For each day of the week, Monday first: when calls may begin. None on a day means no calls.
    pub week: [Vec<Opening>; 7],
    /// Days without calls, by the customer's calendar.
    pub holidays: BTreeSet<Date>,
    /// Which clocks apply to whom.
    pub zones: Zones,
}

/// A part of a day: from the first moment to before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The first moment.
    pub from: Time,
    /// The first moment that is too late; midnight stands for the end of the day.
    pub to: Time,
}

/// Which clocks apply to a customer, by the beginning of the number.
#[derive(Debug, Clone)]
pub struct Zones {
    /// Digits after the `+`, and the zones a number that begins with them may be in.
    pub prefixes: Vec<(String, Vec<TimeZone>)>,
    /// Everybody else, customers without a number among them.
    pub default: TimeZone,
}

impl Zones {
    /// The zones of a number, E.164 with or without `+`: those of the longest prefix that fits.
    pub fn of(&self, number: Option<&str>) -> &[TimeZone] {
        let digits = number.map(|number| number.strip_prefix('+').unwrap_or(number)).unwrap_or_default();
        let fits =
            self.prefixes.iter().filter(|(prefix, zones)| digits.starts_with(prefix) && !zones.is_empty());
        fits.max_by_key(|(prefix, _)| prefix.len())
            .map_or(std::slice::from_ref(&self.default), |(_, zones)| zones.as_slice())
    }
}

/// A moment outside the calling hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Whether the customer has a holiday.
    pub holiday: bool,
    /// The next moment within the hours; none within a year.
    pub opens: Option<Wall>,
}

impl CallingHours {
    /// 09:00 to 21:00 on every day of the week, no holidays.
    pub fn daily(zones: Zones) -> Self {
        let day = vec![Opening { from: Time::constant(9, 0, 0, 0), to: Time::constant(21, 0, 0, 0) }];
        Self { week: std::array::from_fn(|_| day.clone()), holidays: BTreeSet::new(), zones }
    }

    /// Whether this customer may be called now. A number that may be in several zones is called only when it is time in
    /// all of them.
    ///
    /// # Errors
    ///
    /// [`Closed`] with the next opening.
    pub fn check(&self, number: Option<&str>, now: Wall) -> Result<(), Closed> {
        let zones = self.zones.of(number);
        if zones.iter().all(|zone| self.is_open(zone, now)) {
            return Ok(());
        }
        let today = |zone: &TimeZone| timestamp(now).to_zoned(zone.clone()).date();
        let holiday = zones.iter().any(|zone| self.holidays.contains(&today(zone)));
        // Where all are open some zone has just opened: look at every opening of every zone, in order.
        let mut openings: Vec<Wall> = zones.iter().flat_map(|zone| self.openings(zone, now)).collect();
        openings.sort_unstable();
        let opens = openings.into_iter().find(|at| zones.iter().all(|zone| self.is_open(zone, *at)));
        Err(Closed { holiday, opens })
    }

    fn is_open(&self, zone: &TimeZone, at: Wall) -> bool {
        let local = timestamp(at).to_zoned(zone.clone());
        let time = local.time();
        self.day(local.date())
            .iter()
            .any(|opening| opening.from <= time && (time < opening.to || opening.to == Time::midnight()))
    }

    fn day(&self, date: Date) -> &[Opening] {
        if self.holidays.contains(&date) {
            return &[];
        }
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
        self.week.get(weekday).map_or(&[], Vec::as_slice)
    }

    /// When a zone opens within the next year, after `now`.
    fn openings(&self, zone: &TimeZone, now: Wall) -> Vec<Wall> {
        let today = timestamp(now).to_zoned(zone.clone()).date();
        let days = (0..366_i32).filter_map(|n| today.checked_add(n.days()).ok());
        days.flat_map(|date| self.day(date).iter().map(move |opening| date.to_datetime(opening.from)))
            .filter_map(|moment| moment.to_zoned(zone.clone()).ok())
            .map(|moment| Wall::from_unix_ms(moment.timestamp().as_millisecond()))
            .filter(|at| *at > now)
            .collect()
    }
}

/// A moment beyond jiff's range, some 290,000 years away, is as good as the epoch.
fn timestamp(at: Wall) -> Timestamp {
    Timestamp::from_millisecond(at.unix_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Wall {
        Wall::from_unix_ms(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn hours() -> CallingHours {
        let us = vec![zone("America/New_York"), zone("America/Los_Angeles")];
        let prefixes = vec![("1".to_owned(), us), ("1808".to_owned(), vec![zone("Pacific/Honolulu")])];
        CallingHours::daily(Zones { prefixes, default: zone("Asia/Kolkata") })
    }

    #[test]
    fn a_customer_is_called_from_nine_to_nine_by_the_customers_clock() {
        let hours = hours();
        for (moment, open) in [
            ("2026-03-02T03:29:59Z", false),
            ("2026-03-02T03:30:00Z", true),
            ("2026-03-02T15:29:59Z", true),
            ("2026-03-02T15:30:00Z", false),
        ] {
            assert_eq!(hours.check(Some("+919876543210"), at(moment)).is_ok(), open, "{moment}");
            assert_eq!(hours.check(None, at(moment)).is_ok(), open, "a customer without a number: {moment}");
        }
        let closed = hours.check(Some("919876543210"), at("2026-03-02T15:30:00Z")).unwrap_err();
        assert_eq!(closed.opens, Some(at("2026-03-03T03:30:00Z")));
    }

    #[test]
    fn a_number_that_may_be_in_several_zones_is_called_when_it_is_time_in_all_of_them() {
        let hours = hours();
        // 09:00 in New York is 06:00 in Los Angeles.
        let closed = hours.check(Some("+12125550123"), at("2026-03-02T14:00:00Z")).unwrap_err();
        assert_eq!(closed.opens, Some(at("2026-03-02T17:00:00Z")));
        assert!(hours.check(Some("+12125550123"), at("2026-03-02T17:00:00Z")).is_ok());
        // The longest prefix counts: 09:00 in Honolulu.
        assert!(hours.check(Some("+18085550123"), at("2026-03-02T19:00:00Z")).is_ok());
    }

    #[test]
    fn holidays_and_closed_days_are_by_the_customers_calendar() {
        let mut hours = hours();
        hours.holidays.insert("2026-01-26".parse().unwrap());
        hours.week[6].clear();
        let closed = hours.check(Some("+91987"), at("2026-01-26T06:00:00Z")).unwrap_err();
        assert_eq!(closed, Closed { holiday: true, opens: Some(at("2026-01-27T03:30:00Z")) });
        let sunday = hours.check(Some("+91987"), at("2026-01-25T06:00:00Z")).unwrap_err();
        assert_eq!(sunday, Closed { holiday: false, opens: Some(at("2026-01-27T03:30:00Z")) });
        hours.week = std::array::from_fn(|_| Vec::new());
        assert_eq!(hours.check(None, at("2026-01-25T06:00:00Z")).unwrap_err().opens, None);
    }

    #[test]
    fn the_day_the_clocks_change_has_its_hours_too() {
        let hours = hours();
        // 2026-03-08: New York springs forward; 09:00 is 13:00 UTC, and in Los Angeles 16:00 UTC.
        let closed = hours.check(Some("+1212"), at("2026-03-08T12:59:00Z")).unwrap_err();
        assert_eq!(closed.opens, Some(at("2026-03-08T16:00:00Z")));
    }
}
