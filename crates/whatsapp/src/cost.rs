//! What a call costs, in exact decimals of the operator's currency.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What things cost. Every rate is in the operator's currency; none is negative.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    /// The provider's fee for each begun minute of a connected call, by the number's plan.
    pub provider_per_minute: Decimal,
    /// Meta's price of a minute by the callee's country (ISO 3166-1, two letters); business-initiated calls only.
    pub meta_per_minute: BTreeMap<String, Decimal>,
    /// Meta's price of a minute in a country that is not listed.
    pub meta_elsewhere: Decimal,
    /// The SIP leg toward the agents' side, for each minute.
    pub sip_per_minute: Decimal,
    /// Storage of a gigabyte (10^9 bytes) of recordings for a month.
    pub storage_per_gb_month: Decimal,
    /// How long recordings are kept, in months.
    pub storage_months: Decimal,
    /// An agent's minute, talking and wrapping up.
    pub agent_per_minute: Decimal,
}

impl Rates {
    /// The provider's fee of a plan where the client pays Meta itself.
    pub const CLIENT_PAYS: Decimal = Decimal::from_parts(40, 0, 0, false, 2);

    /// The provider's fee of a plan that includes Meta's price.
    pub const INCLUSIVE: Decimal = Decimal::from_parts(60, 0, 0, false, 2);
}

/// Whether the provider's fee includes Meta's price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Meta bills the business by itself.
    ClientPays,
    /// Meta's price is within the provider's fee.
    Inclusive,
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage<'u> {
    /// Whether the business called: only then Meta has a price.
    pub business_initiated: bool,
    /// The callee's country, where it is known.
    pub country: Option<&'u str>,
    /// How long the call was connected, by Meta's clock where Meta told, in milliseconds; 0 if it never was.
    pub connected_ms: u64,
    /// How long an agent was busy with it, in milliseconds.
    pub agent_ms: u64,
    /// Size of the recording in bytes.
    pub recording_bytes: u64,
}

/// What a call cost, part by part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The provider's fee.
    pub provider: Decimal,
    /// Meta's price.
    pub meta: Decimal,
    /// The SIP leg.
    pub sip: Decimal,
    /// The recording for as long as it is kept.
    pub storage: Decimal,
    /// The agent's time.
    pub agent: Decimal,
}

impl Cost {
    /// All parts together.
    pub fn total(&self) -> Decimal {
        self.provider + self.meta + self.sip + self.storage + self.agent
    }

    /// The cost of two calls.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            provider: self.provider + other.provider,
            meta: self.meta + other.meta,
            sip: self.sip + other.sip,
            storage: self.storage + other.storage,
            agent: self.agent + other.agent,
        }
    }
}

/// Returns what a call cost.
pub fn cost(rates: &Rates, plan: Plan, usage: &Usage<'_>) -> Cost {
    // Multiplied before it is divided: a third of a minute at 3 is 1.
    let minutes = |rate: Decimal, ms: u64| {
        (rate * Decimal::from(ms) / Decimal::from(60_000)).round_dp(DECIMALS).normalize()
    };
    let meta_rate = usage.country.and_then(|country| rates.meta_per_minute.get(country));
    let meta = match plan {
        Plan::ClientPays if usage.business_initiated => {
            // A pulse is a tenth of a minute.
            *meta_rate.unwrap_or(&rates.meta_elsewhere) * Decimal::from(pulses(usage.connected_ms))
                / Decimal::from(10)
        }
        Plan::ClientPays | Plan::Inclusive => Decimal::ZERO,
    };
    Cost {
        provider: rates.provider_per_minute * Decimal::from(usage.connected_ms.div_ceil(60_000)),
        meta,
        sip: minutes(rates.sip_per_minute, usage.connected_ms),
        storage: (rates.storage_per_gb_month * rates.storage_months * Decimal::from(usage.recording_bytes)
            / Decimal::from(1_000_000_000))
        .round_dp(DECIMALS)
        .normalize(),
        agent: minutes(rates.agent_per_minute, usage.agent_ms),
    }
}

/// Meta bills pulses of 6 seconds, rounded up.
pub const fn pulses(connected_ms: u64) -> u64 {
    connected_ms.div_ceil(PULSE_MS)
}

const PULSE_MS: u64 = 6_000;

/// The decimal places of a part whose price does not come out even.
const DECIMALS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn rates() -> Rates {
        Rates {
            provider_per_minute: Rates::CLIENT_PAYS,
            meta_per_minute: [("IN".to_owned(), decimal("0.30"))].into(),
            meta_elsewhere: decimal("1.00"),
            sip_per_minute: decimal("0.05"),
            storage_per_gb_month: decimal("2"),
            storage_months: decimal("3"),
            agent_per_minute: decimal("4.20"),
        }
    }

    fn usage(connected_ms: u64) -> Usage<'static> {
        Usage {
            business_initiated: true,
            country: Some("IN"),
            connected_ms,
            agent_ms: connected_ms,
            recording_bytes: 500_000,
        }
    }

    #[test]
    fn meta_bills_pulses_of_six_seconds_rounded_up() {
        assert_eq!([0, 1, 6_000, 6_001, 60_000].map(pulses), [0, 1, 1, 2, 10]);
        let meta = |ms| cost(&rates(), Plan::ClientPays, &usage(ms)).meta;
        assert_eq!(meta(61_000), decimal("0.33"));
        assert_eq!(meta(0), Decimal::ZERO);
    }

    #[test]
    fn every_part_is_exact() {
        let cost = cost(&rates(), Plan::ClientPays, &usage(90_000));
        assert_eq!(cost.provider, decimal("0.80"), "two begun minutes");
        assert_eq!(cost.sip, decimal("0.075"));
        assert_eq!(cost.agent, decimal("6.30"));
        assert_eq!(cost.storage, decimal("0.003"));
        assert_eq!(cost.total(), decimal("0.80") + decimal("0.45") + decimal("0.075") + decimal("6.303"));
    }

    #[test]
    fn a_third_of_a_minute_is_a_third_of_the_price() {
        let rates = Rates { sip_per_minute: decimal("3"), agent_per_minute: decimal("0.7"), ..rates() };
        let of = |ms| cost(&rates, Plan::Inclusive, &usage(ms));
        assert_eq!(of(2_000).sip, decimal("0.1"));
        assert_eq!(of(20_000).sip, decimal("1"));
        assert_eq!(of(1_003).sip, decimal("0.05015"));
        assert_eq!(of(1_000).agent, decimal("0.0116666667"), "rounded to ten places");
    }

    #[test]
    fn a_users_call_and_an_inclusive_plan_have_no_price_of_meta() {
        let user = Usage { business_initiated: false, ..usage(60_000) };
        assert_eq!(cost(&rates(), Plan::ClientPays, &user).meta, Decimal::ZERO);
        assert_eq!(cost(&rates(), Plan::Inclusive, &usage(60_000)).meta, Decimal::ZERO);
        let abroad = Usage { country: Some("ZA"), ..usage(60_000) };
        assert_eq!(cost(&rates(), Plan::ClientPays, &abroad).meta, decimal("1.00"));
    }

    #[test]
    fn ten_thousand_calls_add_up_to_the_last_digit() {
        let one = cost(&rates(), Plan::ClientPays, &usage(6_000));
        let all = (0..10_000).fold(Cost::default(), |sum, _| sum.and(&one));
        assert_eq!(all.meta, decimal("300"));
    }
}
