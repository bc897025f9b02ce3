//! What Meta looks at before a number may call, and what is still missing. Where nobody tells, it says so.

use serde_json::Value;
use setu_model::Wall;

use super::{Desired, Found};
use crate::quality::Seen;

/// What `GET /{id}?fields=..` shows of a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// `quality_rating`, such as `GREEN`.
    pub quality: Option<String>,
    /// `messaging_limit_tier`, such as `TIER_10K`.
    pub tier: Option<String>,
    /// `can_receive_call_sip` of each entity, with what Meta says is wrong.
    pub sip_health: Vec<(String, String, Option<String>)>,
}

impl Node {
    /// The fields that are asked for.
    pub const FIELDS: &str = "quality_rating,messaging_limit_tier,health_status";

    /// Reads the reply.
    pub fn read(reply: &Value) -> Self {
        let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
        let entities = reply.get("health_status").and_then(|health| health.get("entities"));
        let health = |entity: &Value| {
            let error = entity.get("errors").and_then(|errors| errors.get(0));
            let error = error.and_then(|error| text(error, "error_description"));
            Some((text(entity, "entity_type")?, text(entity, "can_receive_call_sip")?, error))
        };
        Self {
            quality: text(reply, "quality_rating"),
            tier: text(reply, "messaging_limit_tier"),
            sip_health: entities
                .and_then(Value::as_array)
                .map(|entities| entities.iter().filter_map(health).collect())
                .unwrap_or_default(),
        }
    }
}

/// Everything that is known of a number's standing.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'s> {
    /// What its settings should be.
    pub desired: &'s Desired,
    /// What they are.
    pub found: &'s Found,
    /// What Meta shows of the number; none if it could not be asked.
    pub node: Option<&'s Node>,
    /// What the last 30 days showed of the number's own calls; none where nobody can say.
    pub days: Option<Seen>,
    /// The number's country, where it is known.
    pub country: Option<&'s str>,
    /// How many use cases are configured for it; none if they are not kept to.
    pub use_cases: Option<usize>,
    /// How many numbers are known that diallers show on the telephone network; this is none of them.
    pub caller_ids: usize,
    /// Whether webhooks are taken for it.
    pub webhooks: bool,
    /// Whether its calls keep to the calling rules.
    pub gated: bool,
    /// The moment.
    pub now: Wall,
}

/// Whether something is as Meta wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Nobody tells.
    Unknown,
}

impl Verdict {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }

    const fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What is wanted.
    pub what: &'static str,
    /// Whether it is so.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// Where it was seen.
    pub source: &'static str,
    /// What is to be done; nothing where nothing is.
    pub remedy: Option<&'static str>,
}

/// The report on one number.
pub fn onboarding(standing: &Standing<'_>) -> Vec<Fact> {
    vec![
        enabled(standing),
        signalled(standing),
        keys(standing),
        health(standing),
        quality(standing),
        tier(standing),
        restricted(standing),
        country(standing),
        use_case(standing),
        pstn(standing),
        told(standing),
    ]
}

const SETTINGS: &str = "GET /settings";
const NODE: &str = "GET /{phone_number_id}";
const NODE_AND_CALLS: &str = "GET /{phone_number_id}, and the calls of the number";
const CONFIGURATION: &str = "the configuration";

fn fact(
    what: &'static str,
    verdict: Verdict,
    seen: impl Into<String>,
    source: &'static str,
    remedy: &'static str,
) -> Fact {
    let remedy = (verdict != Verdict::Yes).then_some(remedy);
    Fact { what, verdict, seen: seen.into(), source, remedy }
}

fn enabled(it: &Standing<'_>) -> Fact {
    let seen = if it.found.enabled { "status is ENABLED" } else { "status is DISABLED" };
    fact("calling is enabled", Verdict::of(it.found.enabled), seen, SETTINGS, "run setu provision --apply")
}

fn signalled(it: &Standing<'_>) -> Fact {
    let seen = if it.found.sip { "SIP" } else { "Graph and webhooks" };
    let verdict = Verdict::of(it.found.sip == it.desired.server.is_some());
    fact(
        "calls are signalled as configured",
        verdict,
        seen,
        SETTINGS,
        "run setu provision --apply, or change signalling of the number",
    )
}

fn keys(it: &Standing<'_>) -> Fact {
    let seen = it.found.srtp.map_or("not set, which is DTLS", super::Protocol::word);
    let verdict = Verdict::of(it.found.srtp.unwrap_or(super::Protocol::Dtls) == it.desired.srtp);
    fact("keys are exchanged as configured", verdict, seen, SETTINGS, "run setu provision --apply")
}

fn health(it: &Standing<'_>) -> Fact {
    const WHAT: &str = "Meta's calls reach the SIP server";
    const REMEDY: &str = "run setu check: certificate, host name and port must be those that Meta dials";
    if it.desired.server.is_none() {
        return fact(WHAT, Verdict::Yes, "the number has none", CONFIGURATION, REMEDY);
    }
    let entities = it.node.map(|node| node.sip_health.as_slice()).unwrap_or_default();
    let seen: Vec<_> = entities
        .iter()
        .map(|(entity, health, why)| {
            let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{entity}: {health}{why}")
        })
        .collect();
    let verdict = match entities {
        [] => Verdict::Unknown,
        some => Verdict::of(some.iter().all(|(_, health, _)| health == "AVAILABLE")),
    };
    let seen = if seen.is_empty() { "health_status does not say".to_owned() } else { seen.join(", ") };
    fact(WHAT, verdict, seen, NODE, REMEDY)
}

/// Meta shows the colour of today only. The days before are the bridge's own: what it did not see it does not claim.
fn quality(it: &Standing<'_>) -> Fact {
    let quality = it.node.and_then(|node| node.quality.as_deref());
    let (today, says) = match quality {
        Some("GREEN") => (Verdict::Yes, "Meta says GREEN today".to_owned()),
        Some(other @ ("YELLOW" | "RED")) => (Verdict::No, format!("Meta says {other} today")),
        Some(_) | None => (Verdict::Unknown, "quality_rating does not say".to_owned()),
    };
    let before = match it.days {
        Some(Seen { other: 1.., .. }) => Verdict::No,
        Some(seen) if seen.unknown == 0 => Verdict::Yes,
        Some(_) | None => Verdict::Unknown,
    };
    let verdict = match (today, before) {
        (Verdict::No, _) | (_, Verdict::No) => Verdict::No,
        (Verdict::Yes, Verdict::Yes) => Verdict::Yes,
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
    };
    fact(
        "the number's quality was GREEN for 30 days",
        verdict,
        format!("{says}; {}", days_seen(it.days)),
        NODE_AND_CALLS,
        "look at the number's history in WhatsApp Manager; fewer messages that people block bring GREEN back",
    )
}

fn days_seen(days: Option<Seen>) -> String {
    let Some(seen) = days else {
        return "what the days before were only the running bridge knows (GET /v1/provisioning)".to_owned();
    };
    let Seen { green, other, unknown } = seen;
    let rest = [(other, "not GREEN"), (unknown, "unknown, for want of calls,")];
    let rest = rest.iter().filter(|(days, _)| *days > 0).map(|(days, what)| format!("{what} on {days}"));
    let green = format!("seen GREEN on {green} of the last {} days", seen.days());
    std::iter::once(green).chain(rest).collect::<Vec<_>>().join("; ")
}

fn tier(it: &Standing<'_>) -> Fact {
    let tier = it.node.and_then(|node| node.tier.as_deref());
    let enough = match tier {
        Some("TIER_50" | "TIER_250" | "TIER_1K") => Verdict::No,
        Some(known) if known.starts_with("TIER_") => Verdict::Yes,
        Some(_) | None => Verdict::Unknown,
    };
    fact(
        "the messaging limit is 2,000 or more",
        enough,
        tier.unwrap_or("messaging_limit_tier does not say"),
        NODE,
        "verify the business with Meta and send messages of good quality; the limit rises by itself (error 138015 before)",
    )
}

fn restricted(it: &Standing<'_>) -> Fact {
    let live = |until: Option<Wall>| until.is_none_or(|until| until > it.now);
    let seen: Vec<_> = it
        .found
        .restrictions
        .iter()
        .filter(|one| live(one.until))
        .map(|one| match one.until {
            Some(until) => format!("{} until {until}", one.kind),
            None => one.kind.clone(),
        })
        .collect();
    let verdict = Verdict::of(seen.is_empty());
    let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
    fact(
        "Meta restricts nothing",
        verdict,
        seen,
        SETTINGS,
        "wait for the end, and call those only who want it",
    )
}

fn country(it: &Standing<'_>) -> Fact {
    let none = ["US", "CA", "EG", "VN", "NG"];
    let verdict = it.country.map_or(Verdict::Unknown, |country| Verdict::of(!none.contains(&country)));
    fact(
        "Meta has business-initiated calls in the number's country",
        verdict,
        it.country.unwrap_or("the country is not configured"),
        CONFIGURATION,
        "Meta has none for numbers of US, CA, EG, VN and NG; say country = \"..\" for the number where the code is of several",
    )
}

fn use_case(it: &Standing<'_>) -> Fact {
    let (verdict, seen) = match it.use_cases {
        Some(0) | None => (Verdict::Unknown, "none are configured".to_owned()),
        Some(count) => (Verdict::Yes, format!("{count} configured")),
    };
    fact(
        "calls are made for the use cases that were submitted",
        verdict,
        seen,
        CONFIGURATION,
        "list the use cases that Meta or the provider approved, so that others are refused",
    )
}

fn pstn(it: &Standing<'_>) -> Fact {
    let (verdict, seen) = match it.caller_ids {
        0 => (Verdict::Unknown, "pstn.caller_ids lists none, and no interface of Meta's tells".to_owned()),
        count => (Verdict::Yes, format!("it is none of the {count} in pstn.caller_ids")),
    };
    fact(
        "no dialler shows the number on the telephone network (PSTN history)",
        verdict,
        seen,
        CONFIGURATION,
        "list the numbers that your diallers show in pstn.caller_ids; have the records of the number's calls at hand for the review",
    )
}

fn told(it: &Standing<'_>) -> Fact {
    let seen = match (it.webhooks, it.gated) {
        (true, true) => "webhooks are taken, and calls ask the gate",
        (true, false) => "webhooks are taken; calls do not ask the gate",
        (false, _) => "no webhooks are taken",
    };
    fact(
        "permissions are known and kept to",
        Verdict::of(it.webhooks && it.gated),
        seen,
        CONFIGURATION,
        "add [webhooks] and phone_number_id, and subscribe the app to calls, messages and account_update",
    )
}
