//! What a call cost, written into its record. Pure.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use setu_model::{CallCost, Cdr, Direction};
use setu_whatsapp::cost::{Cost, Plan, Rates, Usage, cost};
use setu_whatsapp::country_of;

/// What things cost, as configured.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    /// The currency of every rate; without one nothing is reckoned.
    pub currency: Option<String>,
    /// The rates, but for the provider's fee.
    pub rates: Rates,
    /// The provider's fee for each begun minute, where the client pays Meta and where it is inclusive.
    pub provider: (Decimal, Decimal),
    /// Whose fee holds, by business number.
    pub plans: BTreeMap<String, Plan>,
    /// How long an agent is busy after a call, in milliseconds.
    pub wrap_up_ms: u64,
}

impl Prices {
    /// What a call cost.
    pub(crate) fn price(&self, cdr: &Cdr) -> Option<CallCost> {
        let currency = self.currency.clone()?;
        let plan = self.plans.get(&cdr.facts.number).copied().unwrap_or(Plan::ClientPays);
        let provider_per_minute = match plan {
            Plan::ClientPays => self.provider.0,
            Plan::Inclusive => self.provider.1,
        };
        let rates = Rates { provider_per_minute, ..self.rates.clone() };
        // Meta bills by its own count; a call that was never answered has none.
        let connected_ms = match (cdr.answered, cdr.meta_duration_s) {
            (None, _) => 0,
            (Some(_), Some(seconds)) => seconds.saturating_mul(1_000),
            (Some(_), None) => cdr.duration_ms,
        };
        let talked = cdr.agent.is_some() && cdr.answered.is_some();
        let usage = Usage {
            business_initiated: cdr.direction == Direction::BusinessInitiated,
            country: cdr.facts.country.as_deref().or_else(|| country_of(cdr.facts.customer.reveal())),
            connected_ms,
            agent_ms: if talked { cdr.duration_ms.saturating_add(self.wrap_up_ms) } else { 0 },
            recording_bytes: cdr.recording.as_ref().map_or(0, |recording| recording.bytes),
        };
        Some(written(currency, &cost(&rates, plan, &usage)))
    }
}

fn written(currency: String, cost: &Cost) -> CallCost {
    let text = |amount: Decimal| amount.normalize().to_string();
    CallCost {
        currency,
        total: text(cost.total()),
        provider: text(cost.provider),
        meta: text(cost.meta),
        sip: text(cost.sip),
        storage: text(cost.storage),
        agent: text(cost.agent),
    }
}

/// The parts of what a call cost, if they are of this currency.
pub(crate) fn parts(written: &CallCost, currency: &str) -> Option<Cost> {
    if written.currency != currency {
        return None;
    }
    let amount = |text: &String| text.parse::<Decimal>().ok();
    Some(Cost {
        provider: amount(&written.provider)?,
        meta: amount(&written.meta)?,
        sip: amount(&written.sip)?,
        storage: amount(&written.storage)?,
        agent: amount(&written.agent)?,
    })
}

#[cfg(test)]
mod tests {
    use setu_model::{AnsweredBy, RecordingRef, Wall};

    use super::*;
    use crate::durable::tests::cdr;

    fn prices() -> Prices {
        let amount = |text: &str| text.parse().unwrap();
        Prices {
            currency: Some("INR".to_owned()),
            rates: Rates {
                meta_per_minute: [("IN".to_owned(), amount("0.30"))].into(),
                meta_elsewhere: amount("1"),
                sip_per_minute: amount("0.05"),
                storage_per_gb_month: amount("2"),
                storage_months: amount("3"),
                agent_per_minute: amount("4.20"),
                ..Rates::default()
            },
            provider: (Rates::CLIENT_PAYS, Rates::INCLUSIVE),
            plans: [("+912".to_owned(), Plan::Inclusive)].into(),
            wrap_up_ms: 30_000,
        }
    }

    fn talked() -> Cdr {
        let mut call = cdr(Direction::BusinessInitiated);
        (call.answered, call.duration_ms) = (Some(Wall::from_unix_ms(0)), 90_400);
        call.meta_duration_s = Some(90);
        call.agent = Some(AnsweredBy::Agent("alice".to_owned()));
        call.recording = Some(RecordingRef {
            path: String::new(),
            channels: 2,
            duration_ms: 90_000,
            bytes: 500_000,
            dropped_frames: 0,
        });
        call
    }

    #[test]
    fn a_record_says_what_each_part_cost_and_the_parts_add_up() {
        let cost = prices().price(&talked()).unwrap();
        assert_eq!(
            (cost.currency.as_str(), cost.provider.as_str(), cost.meta.as_str()),
            ("INR", "0.8", "0.45")
        );
        assert_eq!(
            (cost.sip.as_str(), cost.storage.as_str(), cost.agent.as_str()),
            ("0.075", "0.003", "8.428")
        );
        assert_eq!(cost.total, "9.756");
        assert_eq!(parts(&cost, "INR").unwrap().total(), "9.756".parse().unwrap());
        assert_eq!(parts(&cost, "EUR"), None);
    }

    #[test]
    fn a_call_that_nobody_answered_and_an_inclusive_plan_cost_what_they_should() {
        let missed = prices().price(&cdr(Direction::BusinessInitiated)).unwrap();
        assert_eq!(missed.total, "0");
        let mut inclusive = talked();
        inclusive.facts.number = "+912".to_owned();
        let cost = prices().price(&inclusive).unwrap();
        assert_eq!((cost.provider.as_str(), cost.meta.as_str()), ("1.2", "0"));
        let mut abroad = talked();
        abroad.facts.country = Some("ZA".to_owned());
        assert_eq!(prices().price(&abroad).unwrap().meta, "1.5");
        assert_eq!(Prices::default().price(&talked()), None);
    }
}
