//! What the file may say of whom calls go to, what they are for, and what they cost.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use setu_whatsapp::campaign::CampaignPolicy;

/// Who is not called.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Calling {
    /// Countries whose customers are not called (ISO 3166-1, two letters).
    pub blocked_countries: Vec<String>,
    /// How fast customers are asked for permission, and how many of them may be strangers.
    pub requests: Requests,
}

/// The limits of permission requests, of each campaign and of each number over all its campaigns.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requests {
    /// The most of them within `burst_s`: 1 to 1,000.
    pub burst: u32,
    /// In seconds: 1 to 3,600.
    pub burst_s: u32,
    /// So many of the last are looked at for the share of strangers: 2 to 1,000.
    pub sample: u32,
    /// The most customers who never spoke to the business among them, in per cent: 0 to 100.
    pub cold_percent: u32,
}

impl Default for Requests {
    fn default() -> Self {
        let CampaignPolicy { burst, burst_window, sample, cold_percent } = CampaignPolicy::default();
        let burst_s = u32::try_from(burst_window.as_secs()).unwrap_or(u32::MAX);
        Self { burst, burst_s, sample, cold_percent }
    }
}

impl Requests {
    /// In the gate's words.
    pub(crate) fn policy(self) -> CampaignPolicy {
        let Self { burst, burst_s, sample, cold_percent } = self;
        let burst_window = Duration::from_secs(burst_s.into());
        CampaignPolicy { burst, burst_window, sample, cold_percent }
    }
}

/// What is known of the public telephone network, from which WhatsApp calls are kept apart.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pstn {
    /// Numbers that a dialler shows as its caller id on the public telephone network, E.164 with `+`.
    pub caller_ids: Vec<String>,
}

/// What calls are for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseCase {
    /// The name: what accounts, trunks, numbers and the REST interface call it.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// Payloads of buttons and links with which customers begin a call of it; `*` at the end of one stands for any rest.
    #[serde(default)]
    pub trigger: Vec<String>,
    /// The queue where a PBX lets it wait.
    pub queue: Option<String>,
    /// What the agent must know.
    pub skill: Option<String>,
    /// How urgent it is; the lower, the more.
    pub priority: Option<u8>,
    /// The address of what the agent says.
    pub script: Option<String>,
}

/// What things cost, as decimal numbers between quotes, in `currency`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// The currency of every rate (ISO 4217).
    pub currency: String,
    /// The provider's fee for each begun minute where the client pays Meta itself.
    #[serde(default = "client_pays")]
    pub provider_client_pays: Rate,
    /// The provider's fee for each begun minute where it includes Meta's price.
    #[serde(default = "inclusive")]
    pub provider_inclusive: Rate,
    /// Meta's price of a minute by the customer's country; the business's calls only.
    #[serde(default)]
    pub meta_per_minute: BTreeMap<String, Rate>,
    /// Meta's price of a minute in every other country.
    #[serde(default)]
    pub meta_elsewhere: Rate,
    /// The SIP leg toward the agents' side, for each minute.
    #[serde(default)]
    pub sip_per_minute: Rate,
    /// Storage of a gigabyte of recordings for a month.
    #[serde(default)]
    pub storage_per_gb_month: Rate,
    /// For how many months recordings are kept.
    #[serde(default)]
    pub storage_months: Rate,
    /// An agent's minute.
    #[serde(default)]
    pub agent_per_minute: Rate,
    /// How long an agent is busy after a call, in seconds.
    #[serde(default)]
    pub wrap_up_s: u64,
}

/// Whose fee holds for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Meta bills the business by itself.
    #[default]
    ClientPays,
    /// Meta's price is within the provider's fee.
    Inclusive,
}

/// An exact decimal number that is not negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(pub Decimal);

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let rate = text.parse::<Decimal>().ok().filter(|rate| !rate.is_sign_negative() || rate.is_zero());
        rate.filter(|rate| *rate <= MOST)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no rate; write it as \"0.40\""))
    }
}

/// A rate beyond this is a slip of the pen, and would not add up in a report.
const MOST: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

const fn client_pays() -> Rate {
    Rate(setu_whatsapp::cost::Rates::CLIENT_PAYS)
}

const fn inclusive() -> Rate {
    Rate(setu_whatsapp::cost::Rates::INCLUSIVE)
}
