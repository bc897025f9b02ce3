//! What webhooks tell: whose number it is about, and what follows.

use setu_model::Now;
use setu_whatsapp::webhook::{Event, Heard};

use super::{Output, Shard};

impl Shard {
    /// Takes what a webhook told. Each event comes once, in any order.
    pub(super) fn heard(&mut self, heard: Heard, _now: Now) {
        let number = self.number_of(&heard);
        let Heard { account, number_id, at, key, event, .. } = heard;
        self.outputs.push_back(Output::Acted(key));
        let word = event.word();
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

    /// The configured number an event is about: by Meta's id of it, or as displayed.
    fn number_of(&self, heard: &Heard) -> Option<String> {
        let by_id = self.settings.number_ids.get(&heard.number_id);
        let displayed =
            heard.number.as_ref().filter(|number| self.settings.calls.numbers.contains_key(*number));
        by_id.or(displayed).cloned()
    }
}
