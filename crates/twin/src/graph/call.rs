//! One call.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use setu_model::Now;

use super::config::GraphNumber;
use super::report::GraphReport;
use crate::media::{Path, Voice, carry};
use crate::meta::Ender;
use crate::meta::describe::Relay;
use crate::person::Person;

pub(super) struct Call {
    pub(super) wacid: String,
    pub(super) number: GraphNumber,
    pub(super) name: String,
    pub(super) cta_payload: Option<String>,
    pub(super) person: Person,
    pub(super) stage: Stage,
    pub(super) relay: Relay,
    pub(super) path: Option<Path>,
    pub(super) voice: Option<Voice>,
    pub(super) due: BTreeMap<Due, Instant>,
    pub(super) answered: Option<Now>,
    pub(super) report: GraphReport,
}

pub(super) enum Stage {
    /// A user's call that the business has not taken. The description it told ahead.
    Waiting { ahead: Option<String> },
    /// The business's call, and our answer to its offer.
    Ringing { offer: String, answer: String, taken: bool },
    /// Both talk.
    Up,
    /// Over.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Our answer to the business's offer goes out.
    Describe,
    /// The user does what they intend with a ringing call.
    Decide,
    /// The user gives up.
    GiveUp,
    /// It rang long enough.
    RingWindow,
    /// The user hangs up.
    HangUp,
    /// Nothing was heard since the answer.
    MediaStart,
}

impl Call {
    pub(super) fn answered(&mut self, start_timer_ms: u64, now: Now) {
        self.answered = Some(now);
        self.report.answered_at = Some(now.wall);
        self.due.clear();
        let at = |ms| now.mono + Duration::from_millis(ms);
        self.due.extend(self.person.hang_up_after_ms.map(|ms| (Due::HangUp, at(ms))));
        self.due.insert(Due::MediaStart, at(start_timer_ms));
        if let Some(voice) = &mut self.voice {
            voice.answered(now);
            for plan in &self.person.dtmf {
                voice.press(plan, at(plan.after_ms));
            }
        }
    }

    pub(super) fn ends(&mut self, by: Ender, now: Now) {
        self.report.ended_by = by;
        self.report.talked_ms =
            self.answered.map(|at| now.mono.saturating_duration_since(at.mono).as_millis() as u64);
        self.due.clear();
        self.stage = Stage::Over;
        if let Some(voice) = &mut self.voice {
            voice.farewell(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        carry::next_deadline(&self.due, self.voice.as_ref(), self.path.as_ref())
    }

    pub(super) fn take_due(&mut self, now: Now) -> Option<Due> {
        carry::take_due(&mut self.due, now.mono)
    }
}
