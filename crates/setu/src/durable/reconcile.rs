//! One call, told by several: our clock, Meta's header, the webhook. Where they differ, the record says so. Pure.

use serde::{Deserialize, Serialize};
use setu_model::{Cdr, Direction, Wall};
use setu_whatsapp::permission::Customer;
use setu_whatsapp::webhook::{EndStatus, GraphError, Terminate};

/// What a webhook tells of the end of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Whether it went well.
    completed: bool,
    /// When it was picked up.
    started: Option<Wall>,
    /// When it ended, if it was picked up.
    ended: Option<Wall>,
    /// How long it lasted, in seconds.
    duration_s: Option<u64>,
    /// Why it ended, in the provider's words.
    cause: Option<String>,
    /// Meta's codes of what went wrong.
    errors: Vec<i64>,
}

impl From<&Terminate> for Told {
    fn from(end: &Terminate) -> Self {
        Self {
            completed: end.status == EndStatus::Completed,
            started: end.started,
            ended: end.ended,
            duration_s: end.duration_s,
            cause: end.cause.clone(),
            errors: end.errors.iter().map(|error| error.code).collect(),
        }
    }
}

impl Told {
    /// What was told, of the call with this id: what nobody compares is left out.
    pub(super) fn into_terminate(self, wacid: String) -> Terminate {
        let error = |code| GraphError { code, text: String::new() };
        Terminate {
            wacid,
            direction: None,
            customer: Customer::default(),
            status: if self.completed { EndStatus::Completed } else { EndStatus::Failed },
            started: self.started,
            ended: self.ended,
            duration_s: self.duration_s,
            cause: self.cause,
            errors: self.errors.into_iter().map(error).collect(),
            opaque: None,
            complaints: Vec::new(),
        }
    }
}

/// What is added to a record once a webhook told of the same call.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Reconciliation {
    /// What the webhook told.
    webhook: Told,
    /// The length of the call in seconds, by each that counted; null by those that did not.
    duration_s: Durations,
    /// Pulses of 6 s that a business-initiated call costs, by the webhook's count or Meta's header; null if it costs none.
    billed_pulses: Option<u64>,
    /// Where they differ.
    differences: Vec<Difference>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Durations {
    ours: u64,
    header: Option<u64>,
    webhook: Option<u64>,
}

/// Where those who tell of one call differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Difference {
    /// One says it was answered, the other that it was not.
    Answered,
    /// Their lengths differ by more than [`TOLERANCE_S`].
    Duration,
    /// They come to different numbers of pulses, each of which costs.
    Pulses,
}

/// Each rounds to seconds in a way of its own, and begins to count where it hears of the answer.
const TOLERANCE_S: u64 = 2;

const PULSE_S: u64 = 6;

/// Compares.
pub(super) fn reconcile(cdr: &Cdr, told: Told) -> Reconciliation {
    let duration = Durations {
        ours: cdr.duration_ms.div_ceil(1_000),
        header: cdr.meta_duration_s,
        webhook: told.duration_s,
    };
    let picked_up = told.started.is_some() || told.duration_s.is_some_and(|seconds| seconds > 0);
    let theirs = duration.webhook.or(duration.header);
    let pulses = |seconds: u64| seconds.div_ceil(PULSE_S);
    let costs = cdr.direction == Direction::BusinessInitiated;
    let mut differences = Vec::new();
    if picked_up != cdr.answered.is_some() {
        differences.push(Difference::Answered);
    }
    let counted = [Some(duration.ours), duration.header, duration.webhook];
    let (least, most) = (counted.iter().flatten().min(), counted.iter().flatten().max());
    if let (Some(least), Some(most)) = (least, most)
        && most - least > TOLERANCE_S
    {
        differences.push(Difference::Duration);
    }
    if costs && counted.into_iter().flatten().any(|seconds| pulses(seconds) != pulses(duration.ours)) {
        differences.push(Difference::Pulses);
    }
    Reconciliation {
        billed_pulses: theirs.filter(|_| costs).map(pulses),
        webhook: told,
        duration_s: duration,
        differences,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::tests::cdr;

    fn told(seconds: Option<u64>) -> Told {
        Told {
            completed: true,
            started: seconds.map(|_| Wall::from_unix_ms(1_000)),
            ended: seconds.map(|_| Wall::from_unix_ms(2_000)),
            duration_s: seconds,
            cause: None,
            errors: Vec::new(),
        }
    }

    fn answered(direction: Direction, ms: u64, header: Option<u64>) -> Cdr {
        let answered = Some(Wall::from_unix_ms(0));
        Cdr { answered, duration_ms: ms, meta_duration_s: header, ..cdr(direction) }
    }

    #[test]
    fn witnesses_who_agree_leave_no_difference_and_the_pulses_to_pay() {
        let call = answered(Direction::BusinessInitiated, 11_200, Some(11));
        let reconciliation = reconcile(&call, told(Some(12)));
        assert_eq!((reconciliation.billed_pulses, reconciliation.differences), (Some(2), vec![]));
        let reconciliation = reconcile(&answered(Direction::UserInitiated, 11_200, None), told(Some(12)));
        assert_eq!((reconciliation.billed_pulses, reconciliation.differences), (None, vec![]));
    }

    #[test]
    fn each_way_to_differ_is_named() {
        let differences = |call: &Cdr, told| reconcile(call, told).differences;
        let business = |ms, header| answered(Direction::BusinessInitiated, ms, header);
        assert_eq!(differences(&business(12_000, Some(13)), told(Some(12))), [Difference::Pulses]);
        assert_eq!(
            differences(&business(12_000, None), told(Some(20))),
            [Difference::Duration, Difference::Pulses]
        );
        let user = answered(Direction::UserInitiated, 12_000, Some(20));
        assert_eq!(differences(&user, told(Some(12))), [Difference::Duration]);
        assert_eq!(differences(&cdr(Direction::UserInitiated), told(Some(1))), [Difference::Answered]);
    }
}
