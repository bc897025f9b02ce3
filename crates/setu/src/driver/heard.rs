//! What webhooks tell: whose number it is about, and what follows.

use setu_model::{Now, Wall};
use setu_whatsapp::webhook::{Event, Heard};

use super::{Output, Shard};

impl Shard {
    /// Takes what a webhook told. Each event comes once, in any order.
    pub(super) fn heard(&mut self, heard: Heard, _now: Now) {
        let number = self.number_of(&heard);
        let Heard { account, number_id, at, key, event, .. } = heard;
        self.outputs.push_back(Output::Acted(key));
        let word = event.word();
        if let Event::Account { details, .. } = &event {
            self.restricted(&account, details);
        }
        match (number, event) {
            (None, Event::Account { .. } | Event::Settings | Event::Errors(_) | Event::Unknown { .. }) => {
                tracing::debug!(account, event = word, %at, "an event of the account");
            }
            (None, _) => {
                tracing::warn!(
                    account,
                    number_id,
                    event = word,
                    "a webhook is about a number that is not configured: add it, or its phone_number_id"
                );
            }
            (Some(number), _) => tracing::debug!(number, event = word, %at, "a webhook tells"),
        }
    }

    /// Meta restricts the calls of an account. It does not say which numbers those are, so none of ours is called from.
    fn restricted(&mut self, account: &str, details: &[(String, Option<Wall>)]) {
        let calling = |kind: &str| kind.contains("BUSINESS_INITIATED_CALLING");
        for until in details.iter().filter(|(kind, _)| calling(kind)).filter_map(|(_, until)| *until) {
            tracing::warn!(account, %until, "Meta restricts business-initiated calls");
            let numbers: Vec<String> = self.settings.gates.keys().cloned().collect();
            for number in numbers {
                self.gate.restrict(&number, until);
            }
        }
    }

    /// The configured number an event is about: by Meta's id of it, or as displayed.
    fn number_of(&self, heard: &Heard) -> Option<String> {
        let by_id = self.settings.number_ids.get(&heard.number_id);
        let displayed =
            heard.number.as_ref().filter(|number| self.settings.calls.numbers.contains_key(*number));
        by_id.or(displayed).cloned()
    }
}
