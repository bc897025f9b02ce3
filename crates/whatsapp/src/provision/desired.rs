//! What the settings of a number should be.

use serde_json::{Map, Value, json};

use super::{Drift, Found};

/// What the settings of a number should be. What is `None` is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The server that Meta dials, for a number whose calls are signalled by SIP; none for one of Graph.
    pub server: Option<Server>,
    /// How keys are exchanged.
    pub srtp: Protocol,
    /// Whether a customer who calls permits to be called.
    pub callback: Option<bool>,
    /// Whether customers see a button to call.
    pub icon: Option<Icon>,
    /// When customers may call.
    pub hours: Option<CallHours>,
}

/// A SIP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its host name.
    pub hostname: String,
    /// Its port.
    pub port: u16,
}

/// `srtp_key_exchange_protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `SDES`.
    Sdes,
    /// `DTLS`, which holds as well where nothing was ever set.
    Dtls,
}

impl Protocol {
    /// Meta's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sdes => "SDES",
            Self::Dtls => "DTLS",
        }
    }
}

/// `call_icon_visibility`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    /// `DEFAULT`: shown.
    Shown,
    /// `DISABLE_ALL`: hidden, which keeps nobody from calling out of the call log or by a button of a message.
    Hidden,
}

impl Icon {
    /// Meta's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Shown => "DEFAULT",
            Self::Hidden => "DISABLE_ALL",
        }
    }
}

/// `call_hours`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallHours {
    /// The zone's name in the IANA database.
    pub zone: String,
    /// The openings of each day from Monday on; at most two a day.
    pub week: [Vec<Opening>; 7],
    /// Days without calls, `YYYY-MM-DD`.
    pub holidays: Vec<String>,
}

/// From when until when calls are taken, each `HHMM`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opening {
    /// The first moment.
    pub from: String,
    /// The first moment that is too late.
    pub to: String,
}

const DAYS: [&str; 7] = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];

impl CallHours {
    /// As Meta takes them.
    pub fn to_json(&self) -> Value {
        let opening = |day: &str, opening: &Opening| json!({"day_of_week": day, "open_time": opening.from, "close_time": opening.to});
        let week = DAYS.iter().zip(&self.week);
        let week = week.flat_map(|(day, openings)| openings.iter().map(move |one| opening(day, one)));
        let holiday = |date: &String| json!({"date": date, "start_time": "0000", "end_time": "2359"});
        json!({
            "status": "ENABLED",
            "timezone_id": self.zone,
            "weekly_operating_hours": week.collect::<Vec<_>>(),
            "holiday_schedule": self.holidays.iter().map(holiday).collect::<Vec<_>>(),
        })
    }

    /// Whether Meta shows the same, in whatever order and with whatever beside it.
    fn is(&self, shown: &Value) -> bool {
        let own = self.to_json();
        let list = |value: &Value, name: &str, fields: &[&str]| {
            let list = value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            let key = |one: &Value| fields.iter().map(|field| text(one, field)).collect::<Vec<_>>();
            let mut keys: Vec<_> = list.iter().map(key).collect();
            keys.sort_unstable();
            keys
        };
        let week = ["day_of_week", "open_time", "close_time"];
        text(shown, "status") == "ENABLED"
            && text(shown, "timezone_id") == self.zone
            && list(shown, "weekly_operating_hours", &week) == list(&own, "weekly_operating_hours", &week)
            && list(shown, "holiday_schedule", &["date"]) == list(&own, "holiday_schedule", &["date"])
    }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Settings that are written in one request. The order is that of the requests: Meta may set the keys' exchange back to DTLS when
/// SIP is written, so it comes alone and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Server,
    Others,
    Srtp,
}

impl Part {
    pub(super) const ALL: [Self; 3] = [Self::Server, Self::Others, Self::Srtp];
}

impl Desired {
    /// What differs.
    pub fn drifts(&self, found: &Found, app: Option<&str>) -> Vec<Drift> {
        Part::ALL.into_iter().flat_map(|part| self.drifts_of(part, found, app)).collect()
    }

    pub(super) fn drifts_of(&self, part: Part, found: &Found, app: Option<&str>) -> Vec<Drift> {
        let mut drifts = Vec::new();
        let mut drift = |setting, wanted: &str, is: String| {
            drifts.push(Drift { setting, wanted: wanted.to_owned(), found: is });
        };
        match part {
            Part::Server => {
                let servers = found.servers_of(app);
                if let Some(server) = &self.server
                    && !servers.iter().any(|one| one.is(server))
                {
                    let shown: Vec<_> = servers.iter().map(ToString::to_string).collect();
                    let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
                    drift("sip.servers", &format!("{}:{}", server.hostname, server.port), shown);
                }
                if found.sip != self.server.is_some() {
                    drift("sip.status", word(self.server.is_some()), word(found.sip).to_owned());
                }
                if !found.enabled {
                    drift("status", word(true), word(found.enabled).to_owned());
                }
            }
            Part::Others => {
                if let Some(callback) = self.callback.filter(|callback| found.callback != *callback) {
                    drift("callback_permission_status", word(callback), word(found.callback).to_owned());
                }
                if let Some(icon) = self.icon.filter(|icon| found.icon != icon.word()) {
                    drift("call_icon_visibility", icon.word(), found.icon.clone());
                }
                if let Some(hours) = self.hours.as_ref().filter(|hours| !hours.is(&found.hours)) {
                    let shown =
                        if found.hours.is_null() { "none".to_owned() } else { found.hours.to_string() };
                    drift("call_hours", &hours.to_json().to_string(), shown);
                }
            }
            Part::Srtp => {
                if found.srtp.unwrap_or(Protocol::Dtls) != self.srtp {
                    let shown = found.srtp.map_or("not set, which is DTLS", Protocol::word);
                    drift("srtp_key_exchange_protocol", self.srtp.word(), shown.to_owned());
                }
            }
        }
        drifts
    }

    /// The body that writes a part.
    pub(super) fn body(&self, part: Part) -> Value {
        let mut calling = Map::new();
        let mut set = |name: &str, value: Value| drop(calling.insert(name.to_owned(), value));
        match part {
            Part::Server => {
                set("status", json!("ENABLED"));
                set(
                    "sip",
                    match &self.server {
                        // The servers stay: another app may use them.
                        None => json!({"status": "DISABLED"}),
                        Some(server) => {
                            let server = json!({"hostname": server.hostname, "port": server.port});
                            json!({"status": "ENABLED", "servers": [server]})
                        }
                    },
                );
            }
            Part::Others => {
                if let Some(callback) = self.callback {
                    set("callback_permission_status", json!(word(callback)));
                }
                if let Some(icon) = self.icon {
                    set("call_icon_visibility", json!(icon.word()));
                }
                if let Some(hours) = &self.hours {
                    set("call_hours", hours.to_json());
                }
            }
            Part::Srtp => set("srtp_key_exchange_protocol", json!(self.srtp.word())),
        }
        json!({ "calling": calling })
    }
}

fn word(enabled: bool) -> &'static str {
    if enabled { "ENABLED" } else { "DISABLED" }
}
