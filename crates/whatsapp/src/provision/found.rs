//! What the settings of a number are, as Meta shows them.

use serde_json::Value;
use setu_model::{Secret, Wall};

use super::{Protocol, Server};

/// What the settings of a number are.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Whether calling is enabled.
    pub enabled: bool,
    /// Whether calls are signalled by SIP.
    pub sip: bool,
    /// The SIP servers: one of each app.
    pub servers: Vec<FoundServer>,
    /// How keys are exchanged; none if it was never set.
    pub srtp: Option<Protocol>,
    /// Whether a customer who calls permits to be called.
    pub callback: bool,
    /// `call_icon_visibility`.
    pub icon: String,
    /// `call_hours`; null if there are none.
    pub hours: Value,
    /// What Meta restricts.
    pub restrictions: Vec<Restriction>,
}

/// The SIP server of one app.
#[derive(Debug, Clone)]
pub struct FoundServer {
    /// The app.
    pub app: Option<String>,
    /// Its host name.
    pub hostname: String,
    /// Its port; Meta's default where it shows none.
    pub port: u16,
    /// The password, where it was asked for.
    pub password: Option<Secret<String>>,
}

/// A restriction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// Such as `RESTRICTED_BUSINESS_INITIATED_CALLING`.
    pub kind: String,
    /// Its end, where Meta names one.
    pub until: Option<Wall>,
}

/// The settings cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Meta's reply has no `calling` object: {0}")]
pub struct Unreadable(String);

impl Found {
    /// Reads the reply to `GET /{id}/settings`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(reply: &Value) -> Result<Self, Unreadable> {
        let calling = reply.get("calling").filter(|calling| calling.is_object());
        let Some(calling) = calling else {
            let mut shown = reply.to_string();
            shown.truncate(shown.char_indices().nth(200).map_or(shown.len(), |(at, _)| at));
            return Err(Unreadable(shown));
        };
        let sip = calling.get("sip").unwrap_or(&Value::Null);
        let enabled = |of: &Value, name: &str| of.get(name).and_then(Value::as_str) == Some("ENABLED");
        let restrictions = calling.get("restrictions").and_then(|it| it.get("restrictions_list"));
        Ok(Self {
            enabled: enabled(calling, "status"),
            sip: enabled(sip, "status"),
            servers: list(sip.get("servers")).iter().filter_map(server).collect(),
            srtp: match calling.get("srtp_key_exchange_protocol").and_then(Value::as_str) {
                Some("SDES") => Some(Protocol::Sdes),
                Some(_) => Some(Protocol::Dtls),
                None => None,
            },
            callback: enabled(calling, "callback_permission_status"),
            icon: text(calling, "call_icon_visibility").unwrap_or_else(|| "DEFAULT".to_owned()),
            hours: calling.get("call_hours").cloned().unwrap_or_default(),
            restrictions: list(restrictions).iter().filter_map(restriction).collect(),
        })
    }

    /// The servers of one app; of all where ours is not known.
    pub(super) fn servers_of(&self, app: Option<&str>) -> Vec<&FoundServer> {
        let ours = |server: &&FoundServer| match (app, &server.app) {
            (Some(app), Some(of)) => app == of,
            (None, _) | (_, None) => true,
        };
        self.servers.iter().filter(ours).collect()
    }

    /// Servers of other apps. Meta sends a call to all of them, and a BYE from any ends it.
    pub fn strangers(&self, app: Option<&str>) -> Vec<&FoundServer> {
        let strange =
            |server: &&FoundServer| app.is_some() && server.app.is_some() && server.app.as_deref() != app;
        self.servers.iter().filter(strange).collect()
    }
}

impl FoundServer {
    pub(super) fn is(&self, server: &Server) -> bool {
        self.hostname.eq_ignore_ascii_case(&server.hostname) && self.port == server.port
    }
}

impl std::fmt::Display for FoundServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.hostname, self.port)
    }
}

fn server(shown: &Value) -> Option<FoundServer> {
    let port = shown.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let app = shown.get("app_id");
    Some(FoundServer {
        app: app.and_then(|id| id.as_str().map(str::to_owned).or_else(|| Some(id.as_u64()?.to_string()))),
        hostname: text(shown, "hostname")?,
        port: port.unwrap_or(5_061),
        password: text(shown, "sip_user_password").filter(|password| !password.is_empty()).map(Secret::new),
    })
}

fn restriction(shown: &Value) -> Option<Restriction> {
    let kind = text(shown, "type").or_else(|| text(shown, "restriction_type"))?;
    let until = shown.get("expiration");
    let until = until.and_then(|at| at.as_i64().or_else(|| at.as_str()?.parse().ok()));
    Some(Restriction { kind, until: until.map(|s| Wall::from_unix_ms(s.saturating_mul(1_000))) })
}

fn text(of: &Value, name: &str) -> Option<String> {
    of.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
