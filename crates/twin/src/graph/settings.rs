//! The calling settings of a number: what the business reads and writes at `/settings`, and what Meta says of its health.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use setu_model::{Entropy, Now, Wall};

use super::asks::{Refused, refused};
use super::config::{GraphHabits, GraphNumber};
use super::edge::GraphEdge;
use super::http::Request;

/// The calling settings of a number.
#[derive(Debug, Clone, PartialEq)]
pub struct CallSettings {
    /// Whether calling is enabled.
    pub enabled: bool,
    /// Whether its calls are signalled by SIP.
    pub sip: bool,
    /// The server of each app, by the app's id.
    pub servers: BTreeMap<String, SipServer>,
    /// The password that Meta made for number and app, by the app's id.
    pub passwords: BTreeMap<String, String>,
    /// `DTLS` or `SDES`; nothing until it was set.
    pub srtp: Option<String>,
    /// Until when business-initiated calls are restricted.
    pub restricted: Option<Wall>,
    /// What is kept as it was written: icon, callback permission, hours, codecs.
    others: Map<String, Value>,
}

/// The SIP server of one app.
#[derive(Debug, Clone, PartialEq)]
pub struct SipServer {
    /// Its host name.
    pub hostname: String,
    /// Its port.
    pub port: u16,
    /// What goes into the user part of the Request-URI.
    pub params: Map<String, Value>,
}

impl CallSettings {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            sip: false,
            servers: BTreeMap::new(),
            passwords: BTreeMap::new(),
            srtp: None,
            restricted: None,
            others: Map::new(),
        }
    }

    /// Whether users may call now, by the call hours.
    pub fn is_open(&self, now: Wall) -> bool {
        let Some(hours) =
            self.others.get("call_hours").filter(|hours| hours.get("status").and_then(flag) == Some(true))
        else {
            return true;
        };
        let text =
            |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(local) = jiff::Timestamp::from_millisecond(now.unix_ms())
            .ok()
            .and_then(|at| at.in_tz(&text(hours, "timezone_id")).ok())
        else {
            return true;
        };
        let (date, time) = (local.strftime("%Y-%m-%d").to_string(), local.strftime("%H%M").to_string());
        let list = |name: &str| hours.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let closed = list("holiday_schedule").iter().any(|holiday| text(holiday, "date") == date);
        let day = DAYS.get(usize::from(local.weekday().to_monday_zero_offset().unsigned_abs()));
        !closed
            && list("weekly_operating_hours").iter().any(|opening| {
                day.is_some_and(|day| text(opening, "day_of_week") == *day)
                    && text(opening, "open_time") <= time
                    && time < text(opening, "close_time")
            })
    }

    fn other(&self, name: &str) -> Option<&str> {
        self.others.get(name).and_then(Value::as_str)
    }

    /// As `GET /settings` shows it; passwords only to the app they belong to, and only if it asks for them.
    fn shown(&self, app: &str, passwords: bool) -> Value {
        let server = |(of, server): (&String, &SipServer)| {
            let mut shown = json!({"app_id": of, "hostname": server.hostname, "port": server.port});
            if !server.params.is_empty() {
                shown["request_uri_user_params"] = Value::Object(server.params.clone());
            }
            if passwords && of == app {
                shown["sip_user_password"] = json!(self.passwords.get(of));
            }
            shown
        };
        let servers: Vec<Value> = self.servers.iter().map(server).collect();
        let mut calling = self.others.clone();
        calling.entry("call_icon_visibility").or_insert(json!("DEFAULT"));
        calling.entry("callback_permission_status").or_insert(json!("DISABLED"));
        calling.insert("status".to_owned(), json!(word(self.enabled)));
        calling.insert("sip".to_owned(), json!({"status": word(self.sip), "servers": servers}));
        if let Some(srtp) = &self.srtp {
            calling.insert("srtp_key_exchange_protocol".to_owned(), json!(srtp));
        }
        if let Some(until) = self.restricted {
            let one = json!({"type": RESTRICTION, "expiration": until.unix_ms() / 1_000});
            calling.insert("restrictions".to_owned(), json!({"restrictions_list": [one]}));
        }
        json!({ "calling": calling })
    }

    /// Takes what an app writes: all of it or nothing.
    fn write(
        &mut self,
        app: &str,
        calling: &Value,
        habits: &GraphHabits,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Refused> {
        let mut new = self.clone();
        if let Some(sip) = calling.get("sip") {
            new.write_sip(app, sip, entropy)?;
            if habits.resets_srtp {
                new.srtp = Some("DTLS".to_owned());
            }
        }
        match calling.get("srtp_key_exchange_protocol").map(Value::as_str) {
            None => {}
            // Written together with `sip` it is lost, if Meta resets it.
            Some(Some("DTLS" | "SDES")) if habits.resets_srtp && calling.get("sip").is_some() => {}
            Some(Some(protocol @ ("DTLS" | "SDES"))) => new.srtp = Some(protocol.to_owned()),
            Some(_) => return Err(wrong("srtp_key_exchange_protocol")),
        }
        for (name, judge) in OTHERS {
            if let Some(value) = calling.get(name) {
                if !judge(value) {
                    return Err(wrong(name));
                }
                new.others.insert(name.to_owned(), value.clone());
            }
        }
        if let Some(status) = calling.get("status") {
            new.enabled = flag(status).ok_or_else(|| wrong("status"))?;
        }
        if new.enabled && !self.enabled {
            if habits.messaging_limit < 2_000 {
                return Err(refused(
                    400,
                    138_015,
                    "Calling cannot be enabled: the messaging limit is below 2,000",
                ));
            }
            if !new.sip && !habits.subscribed {
                return Err(refused(
                    400,
                    138_018,
                    "Calling cannot be enabled: neither a calls subscription nor SIP",
                ));
            }
        }
        if !new.enabled && !new.sip && new.servers.is_empty() {
            // Enabled again, there is another password.
            new.passwords.clear();
        }
        *self = new;
        Ok(())
    }

    fn write_sip(&mut self, app: &str, sip: &Value, entropy: &mut dyn Entropy) -> Result<(), Refused> {
        if let Some(servers) = sip.get("servers") {
            let servers =
                servers.as_array().filter(|list| list.len() <= 1).ok_or_else(|| wrong("servers"))?;
            match servers.first() {
                None => drop(self.servers.remove(app)),
                Some(server) => {
                    let hostname = server.get("hostname").and_then(Value::as_str).unwrap_or_default();
                    let name = hostname.contains('.') && hostname.parse::<std::net::IpAddr>().is_err();
                    let port = server.get("port").map_or(Some(5_061), Value::as_u64);
                    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
                    let params = server.get("request_uri_user_params").cloned().unwrap_or_else(|| json!({}));
                    let (Value::Object(params), Some(port), true) = (params, port, name) else {
                        return Err(wrong("servers"));
                    };
                    let short = |text: &str| text.len() <= 128;
                    if !params.iter().all(|(key, value)| short(key) && value.as_str().is_some_and(short)) {
                        return Err(wrong("request_uri_user_params"));
                    }
                    let server = SipServer { hostname: hostname.to_owned(), port, params };
                    self.passwords.entry(app.to_owned()).or_insert_with(|| entropy.hex(16));
                    self.servers.insert(app.to_owned(), server);
                }
            }
        }
        if let Some(status) = sip.get("status") {
            self.sip = flag(status).ok_or_else(|| wrong("sip.status"))?;
        }
        if self.sip && self.servers.is_empty() {
            return Err(refused(400, 100, "Invalid parameter: SIP cannot be enabled without a server"));
        }
        Ok(())
    }
}

impl GraphEdge {
    /// The calling settings of a number, by Meta's id of it.
    pub fn settings_of(&mut self, id: &str) -> &mut CallSettings {
        let fresh = CallSettings::new(self.config.habits.calling);
        self.settings.entry(id.to_owned()).or_insert(fresh)
    }

    /// Restricts business-initiated calls of a number until then, and says so.
    pub fn restrict(&mut self, id: &str, until: Wall, now: Now) {
        self.settings_of(id).restricted = Some(until);
        let info = json!([{"restriction_type": RESTRICTION, "expiration": until.unix_ms() / 1_000}]);
        self.tell_account("ACCOUNT_RESTRICTION", json!({ "restriction_info": info }), now);
        self.flush(now);
    }

    /// Warns the account of what comes next, such as `LOW_BUSINESS_INITIATED_CALLING_QUALITY`.
    pub fn warn(&mut self, violation: &str, now: Now) {
        let info = json!({ "violation_type": violation });
        self.tell_account("ACCOUNT_VIOLATION", json!({ "violation_info": info }), now);
        self.flush(now);
    }

    /// Whether a number's business-initiated calls are restricted.
    pub(super) fn is_restricted(&mut self, id: &str, now: Now) -> bool {
        let settings = self.settings_of(id);
        settings.restricted = settings.restricted.filter(|until| *until > now.wall);
        settings.restricted.is_some()
    }

    pub(super) fn read_settings(&mut self, request: &Request) -> Result<Value, Refused> {
        let (number, app) = self.authorised(request)?;
        let passwords = request.parameter("include_sip_credentials") == Some("true");
        Ok(self.settings_of(&number.id).shown(&app, passwords))
    }

    pub(super) fn write_settings(&mut self, request: &Request, now: Now) -> Result<Value, Refused> {
        let (number, app) = self.authorised(request)?;
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let calling =
            body.get("calling").filter(|calling| calling.is_object()).ok_or_else(|| wrong("calling"))?;
        let habits = self.config.habits.clone();
        let before = self.settings_of(&number.id).clone();
        let mut after = before.clone();
        after.write(&app, calling, &habits, self.entropy.as_mut())?;
        self.settings.insert(number.id.clone(), after.clone());
        if told(&before) != told(&after) {
            self.tell_settings(&number, told(&after), now);
        }
        Ok(json!({"success": true}))
    }

    /// `GET /{id}?fields=..`: the fields that are asked for and known.
    pub(super) fn node(&mut self, request: &Request) -> Result<Value, Refused> {
        let (number, app) = self.authorised(request)?;
        let habits = &self.config.habits;
        let mut health = json!({"can_receive_call_sip": habits.sip_health});
        if habits.sip_health != "AVAILABLE" {
            let text = "The SIP server cannot be reached";
            health["errors"] =
                json!([{"error_code": 138_024, "error_description": text, "possible_solution": "Check it"}]);
        }
        let entity = |kind: &str, id: &str| {
            let mut entity = health.clone();
            entity["entity_type"] = json!(kind);
            entity["id"] = json!(id);
            entity["can_send_message"] = json!("AVAILABLE");
            entity
        };
        let known = json!({
            "display_phone_number": number.number,
            "quality_rating": habits.quality_rating,
            "messaging_limit_tier": tier(habits.messaging_limit),
            "health_status": {
                "can_send_message": "AVAILABLE",
                "entities": [entity("PHONE_NUMBER", &number.id), entity("APP", &app)],
            },
        });
        let mut node = json!({"id": number.id});
        for field in request.parameter("fields").unwrap_or_default().replace("%2C", ",").split(',') {
            if let Some(value) = known.get(field) {
                node[field] = value.clone();
            }
        }
        Ok(node)
    }

    /// The apps that may ask about a number: by their tokens.
    pub(super) fn app_of(&self, number: &GraphNumber, token: &str) -> Option<String> {
        let known = self.config.apps.get(token).cloned();
        known.or_else(|| (number.token == token).then(|| APP.to_owned()))
    }
}

/// What `account_settings_update` is about.
fn told(settings: &CallSettings) -> Value {
    json!({
        "status": word(settings.enabled),
        "call_icon_visibility": settings.other("call_icon_visibility").unwrap_or("DEFAULT"),
        "callback_permission_status": settings.other("callback_permission_status").unwrap_or("DISABLED"),
        "sip": {"status": word(settings.sip)},
        "srtp_key_exchange_protocol": settings.srtp.as_deref().unwrap_or("DTLS"),
    })
}

/// What is taken for a setting.
type Judge = fn(&Value) -> bool;

/// The settings that are kept as they are written, and what may be.
const OTHERS: [(&str, Judge); 6] = [
    ("call_icon_visibility", |value| matches!(value.as_str(), Some("DEFAULT" | "DISABLE_ALL"))),
    ("call_icons", |value| value.get("restrict_to_user_countries").is_some_and(Value::is_array)),
    ("callback_permission_status", |value| flag(value).is_some()),
    ("call_hours", is_call_hours),
    ("audio", |value| {
        let codecs = value.get("additional_codecs").and_then(Value::as_array);
        codecs
            .is_some_and(|codecs| codecs.iter().all(|codec| matches!(codec.as_str(), Some("PCMA" | "PCMU"))))
    }),
    ("voicemail", |value| value.get("status").and_then(flag).is_some()),
];

/// A zone, at most two openings a day that do not overlap, at most twenty holidays.
fn is_call_hours(hours: &Value) -> bool {
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
    let status = hours.get("status").and_then(flag);
    if status == Some(false) {
        return true;
    }
    let (Some(true), Some(_), Some(week)) =
        (status, text(hours, "timezone_id"), hours.get("weekly_operating_hours").and_then(Value::as_array))
    else {
        return false;
    };
    let mut days: BTreeMap<String, Vec<(u32, u32)>> = BTreeMap::new();
    for opening in week {
        let time = |name| text(opening, name).filter(|time| time.len() == 4)?.parse::<u32>().ok();
        let (Some(day), Some(open), Some(close)) =
            (text(opening, "day_of_week"), time("open_time"), time("close_time"))
        else {
            return false;
        };
        if !DAYS.contains(&day.as_str()) || open >= close || close > 2_400 {
            return false;
        }
        days.entry(day).or_default().push((open, close));
    }
    for openings in days.values_mut() {
        openings.sort_unstable();
        let overlap = openings.iter().zip(openings.iter().skip(1)).any(|(one, next)| one.1 > next.0);
        if openings.len() > 2 || overlap {
            return false;
        }
    }
    hours.get("holiday_schedule").and_then(Value::as_array).is_none_or(|holidays| holidays.len() <= 20)
}

const DAYS: [&str; 7] = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];

fn word(enabled: bool) -> &'static str {
    if enabled { "ENABLED" } else { "DISABLED" }
}

fn flag(value: &Value) -> Option<bool> {
    match value.as_str() {
        Some("ENABLED") => Some(true),
        Some("DISABLED") => Some(false),
        Some(_) | None => None,
    }
}

fn wrong(parameter: &str) -> Refused {
    refused(400, 100, &format!("Invalid parameter: {parameter}"))
}

fn tier(limit: u32) -> &'static str {
    match limit {
        0..=250 => "TIER_250",
        251..=1_999 => "TIER_1K",
        2_000..=9_999 => "TIER_2K",
        10_000..=99_999 => "TIER_10K",
        _ => "TIER_100K",
    }
}

/// The app of a token that is nobody's in particular.
pub(super) const APP: &str = "670843887433847";

const RESTRICTION: &str = "RESTRICTED_BUSINESS_INITIATED_CALLING";
