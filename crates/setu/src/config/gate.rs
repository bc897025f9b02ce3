//! What the file may say of the rules that business-initiated calls keep to.

use std::collections::BTreeMap;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::Deserialize;

/// Whose rules hold for calls from a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Meta's: only what Meta grants opens a call.
    #[default]
    Meta,
    /// A provider's, whose customers' taps on a button and messages open one, too.
    Provider,
}

/// Whether calls from a number ask the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateUse {
    /// They do if the number's webhooks are taken, or it is a provider's.
    #[default]
    Auto,
    /// They do.
    On,
    /// They do not: Meta alone refuses.
    Off,
}

/// Who dials the calls of a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DialledBy {
    /// A dialler.
    #[default]
    Dialler,
    /// People.
    People,
}

/// When customers may be called, by their own clocks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hours {
    /// The first moment of a day.
    pub from: Time,
    /// The first moment that is too late; 00:00 stands for the end of the day.
    pub to: Time,
    /// Days of the week without calls.
    pub closed: Vec<Weekday>,
    /// Days without calls.
    pub holidays: Vec<Date>,
    /// Where customers are whose numbers begin with none of `zones`.
    pub zone: Zone,
    /// Where customers are, by the beginning of their numbers without `+`. In several zones, it must be time in all.
    pub zones: BTreeMap<String, Vec<Zone>>,
}

impl Default for Hours {
    fn default() -> Self {
        Self {
            from: Time::constant(9, 0, 0, 0),
            to: Time::constant(21, 0, 0, 0),
            closed: Vec::new(),
            holidays: Vec::new(),
            zone: Zone(TimeZone::get("Asia/Kolkata").unwrap_or(TimeZone::UTC)),
            zones: BTreeMap::new(),
        }
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are days of the week")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A time zone by its name in the IANA database, such as `Asia/Kolkata`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Zone(pub TimeZone);

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        TimeZone::get(&name)
            .map(Self)
            .map_err(|_| format!("{name:?} is no time zone; write it as \"Asia/Kolkata\""))
    }
}
