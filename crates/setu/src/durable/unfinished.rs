//! Calls that are not over: what their records would be if the bridge stopped now. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use setu_call::{Progress, Step};
use setu_model::{CallId, Cause, Cdr, EndedBy, Milestone, Termination, Timeline, Wall};
use setu_store::UnfinishedRow;

/// The calls that live, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Unfinished(BTreeMap<CallId, Cdr>);

impl Unfinished {
    /// Takes a step; returns what is to be kept of the call.
    pub(super) fn step(&mut self, progress: &Progress) -> Option<UnfinishedRow> {
        let Progress { call, step, at, facts, agent, .. } = progress;
        if matches!(step, Step::Offered) && self.0.len() < MOST {
            self.0.insert(*call, offered(progress));
        }
        let cdr = self.0.get_mut(call)?;
        (cdr.facts, cdr.ended) = (facts.clone(), *at);
        cdr.agent.clone_from(agent);
        let what = match step {
            Step::Offered => Milestone::Offered,
            Step::Ringing => Milestone::Ringing,
            Step::Answered => {
                cdr.answered = Some(*at);
                cdr.setup_ms = Some(between(cdr.began, *at));
                Milestone::Answered
            }
            Step::Key(digit) => {
                if cdr.digits.len() < Cdr::MOST_DIGITS {
                    cdr.digits.push(digit.clone());
                }
                // With the next step: what was pressed is not worth a write of its own.
                return None;
            }
        };
        cdr.timeline.push(between(cdr.began, *at), None, what);
        let record = serde_json::to_string(cdr).ok()?;
        Some(UnfinishedRow { call: call.to_string(), began: cdr.began, record })
    }

    /// A call is over.
    pub(super) fn end(&mut self, call: CallId) {
        self.0.remove(&call);
    }

    /// Whether no call lives.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The record of a call that a bridge left behind, which was last known to run at `pulse`.
pub(super) fn interrupted(mut cdr: Cdr, pulse: Option<Wall>) -> Cdr {
    // What is kept says when the last step was; the pulse may be one of before the call.
    cdr.ended = cdr.ended.max(pulse.unwrap_or(cdr.ended));
    cdr.duration_ms = cdr.answered.map_or(0, |answered| between(answered, cdr.ended));
    cdr.timeline.push(between(cdr.began, cdr.ended), None, Milestone::Ended);
    cdr.termination = Termination::new(Cause::Interrupted, EndedBy::Bridge).with_detail(format!(
        "the bridge stopped without a word; it was last known to run at {}, and at most {} s later it did not",
        cdr.ended,
        PULSE.as_secs()
    ));
    cdr
}

fn offered(progress: &Progress) -> Cdr {
    let Progress { call, at, direction, ingress, facts, agent, .. } = progress;
    Cdr {
        call: *call,
        direction: *direction,
        ingress: *ingress,
        facts: facts.clone(),
        began: *at,
        answered: None,
        ended: *at,
        setup_ms: None,
        duration_ms: 0,
        meta_duration_s: None,
        agent: agent.clone(),
        termination: Termination::new(Cause::Interrupted, EndedBy::Bridge),
        refused: Vec::new(),
        legs: Vec::new(),
        quality: None,
        timeline: Timeline::default(),
        digits: Vec::new(),
        recording: None,
        recording_failure: None,
        cost: None,
    }
}

/// In milliseconds; 0 where the clock was set back.
fn between(from: Wall, to: Wall) -> u64 {
    u64::try_from(to.unix_ms().saturating_sub(from.unix_ms())).unwrap_or(0)
}

/// How often it is noted that the bridge runs while calls live: as far as the record of a call that is cut off may be short.
pub(super) const PULSE: Duration = Duration::from_secs(5);

/// The most calls that are followed: sixty times Meta's bound for a number.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use setu_model::{AnsweredBy, CallFacts, Direction, Ingress};

    use super::*;

    fn at(ms: i64) -> Wall {
        Wall::from_unix_ms(ms)
    }

    fn progress(step: Step, ms: i64) -> Progress {
        Progress {
            call: CallId::from_bits(7),
            step,
            at: at(ms),
            direction: Direction::UserInitiated,
            ingress: Ingress::Sip,
            facts: CallFacts { number: "+911".to_owned(), ..CallFacts::default() },
            agent: None,
        }
    }

    fn kept(row: &UnfinishedRow) -> Cdr {
        serde_json::from_str(&row.record).unwrap()
    }

    #[test]
    fn what_was_kept_last_says_how_far_the_call_came_and_the_pulse_how_long_it_lasted() {
        let mut calls = Unfinished::default();
        let first = calls.step(&progress(Step::Offered, 1_000)).unwrap();
        let mut answered = progress(Step::Answered, 4_000);
        answered.agent = Some(AnsweredBy::Agent("alice".to_owned()));
        answered.facts.wacid = Some("wacid.1".to_owned());
        let last = calls.step(&answered).unwrap();
        assert_eq!((first.began, last.began, &first.call), (at(1_000), at(1_000), &last.call));

        let cut = interrupted(kept(&first), None);
        assert_eq!((cut.answered, cut.ended, cut.duration_ms), (None, at(1_000), 0));
        let cut = interrupted(kept(&last), Some(at(9_500)));
        assert_eq!((cut.answered, cut.ended, cut.duration_ms), (Some(at(4_000)), at(9_500), 5_500));
        assert_eq!((cut.setup_ms, cut.facts.wacid.as_deref()), (Some(3_000), Some("wacid.1")));
        assert_eq!((cut.termination.cause, cut.termination.by), (Cause::Interrupted, EndedBy::Bridge));
        assert_eq!(cut.agent, answered.agent);
        assert_eq!(cut.timeline.first(Milestone::Ended), Some(8_500));
        // A pulse of before the call, or a clock that was set back.
        let cut = interrupted(kept(&last), Some(at(3)));
        assert_eq!((cut.ended, cut.duration_ms), (at(4_000), 0));
    }

    #[test]
    fn a_call_that_is_over_or_unknown_is_not_followed() {
        let mut calls = Unfinished::default();
        assert_eq!(calls.step(&progress(Step::Answered, 1)), None);
        calls.step(&progress(Step::Offered, 1)).unwrap();
        calls.end(CallId::from_bits(7));
        assert!(calls.is_empty());
        assert_eq!(calls.step(&progress(Step::Ringing, 2)), None);
    }
}
