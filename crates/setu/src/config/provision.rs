//! What the file may say of businesses, and of what the settings of their numbers at Meta should be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::civil::Date;
use serde::Deserialize;

use super::{Config, Number, PasswordSource, Zone};

/// A business account with Meta (WABA) and the app that acts for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Business {
    /// Its name here.
    pub name: String,
    /// Meta's id of the account.
    pub id: Option<String>,
    /// Meta's id of the app: where several apps have a server, it tells which one is ours.
    pub app_id: Option<String>,
    /// Where the app's secrets are found; several while one is being rotated.
    #[serde(default)]
    pub app_secrets: Vec<PasswordSource>,
    /// Where the access token is found that its numbers use which have none of their own.
    pub token: Option<PasswordSource>,
}

impl Business {
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.app_secrets.iter_mut().chain(&mut self.token).filter_map(PasswordSource::file_mut)
    }
}

/// What a number's settings at Meta should be, beside what its other lines say. What is left out stays as it is at Meta.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provisioning {
    /// Whether a customer who calls permits to be called.
    pub callback_permission: Option<bool>,
    /// Whether customers see a button to call.
    pub call_button: Option<bool>,
    /// When customers may call.
    pub hours: Option<OpeningHours>,
}

/// When customers may call, as Meta shows and enforces it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningHours {
    /// The zone of the hours.
    pub zone: Zone,
    /// The openings of a day, such as `["09:00-12:30", "13:30-18:00"]`; at most two.
    #[serde(default)]
    pub monday: Vec<OpeningTime>,
    /// Of Tuesday.
    #[serde(default)]
    pub tuesday: Vec<OpeningTime>,
    /// Of Wednesday.
    #[serde(default)]
    pub wednesday: Vec<OpeningTime>,
    /// Of Thursday.
    #[serde(default)]
    pub thursday: Vec<OpeningTime>,
    /// Of Friday.
    #[serde(default)]
    pub friday: Vec<OpeningTime>,
    /// Of Saturday.
    #[serde(default)]
    pub saturday: Vec<OpeningTime>,
    /// Of Sunday.
    #[serde(default)]
    pub sunday: Vec<OpeningTime>,
    /// Days without calls, at most twenty.
    #[serde(default)]
    pub holidays: Vec<Date>,
}

impl OpeningHours {
    /// The openings from Monday on.
    pub(crate) fn week(&self) -> [&[OpeningTime]; 7] {
        let Self { monday, tuesday, wednesday, thursday, friday, saturday, sunday, .. } = self;
        [monday, tuesday, wednesday, thursday, friday, saturday, sunday]
    }
}

/// From when until when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct OpeningTime {
    /// `HHMM`.
    pub from: String,
    /// `HHMM`, later.
    pub to: String,
}

impl TryFrom<String> for OpeningTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let time = |text: &str| {
            let time: jiff::civil::Time = text.trim().parse().ok()?;
            Some(time.strftime("%H%M").to_string())
        };
        let read = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
        match read {
            Some((from, to)) if from < to => Ok(Self { from, to }),
            Some(_) | None => Err(format!("{text:?} is no opening; write it as \"09:00-18:00\"")),
        }
    }
}

impl Config {
    /// Meta's ids of the accounts of numbers, where they are known.
    pub(crate) fn accounts(&self) -> BTreeMap<String, String> {
        let account = |number: &Number| Some((number.number.clone(), self.business_of(number)?.id.clone()?));
        self.numbers.iter().filter_map(account).collect()
    }

    /// The business of a number.
    pub(crate) fn business_of(&self, number: &Number) -> Option<&Business> {
        let name = number.business.as_ref()?;
        self.businesses.iter().find(|business| business.name == *name)
    }

    /// Where the access token of a number is found: its own, or that of its business.
    pub(crate) fn token_of<'c>(&'c self, number: &'c Number) -> Option<&'c PasswordSource> {
        number.token.as_ref().or_else(|| self.business_of(number)?.token.as_ref())
    }
}
