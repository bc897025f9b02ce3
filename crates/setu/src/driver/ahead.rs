//! What is asked ahead of a call: to set somebody aside, and whether somebody is ready.

use setu_call::{NotReserved, Reservation, Reserve, Staff, normalise};
use setu_model::{CallId, GateCode, Now, Pii, RuleRefusal};

use setu_whatsapp::gate::not_for;

use super::{Answer, NotPlaced, Shard};

/// Whether a number is ready for the calls that a message with a call button brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Who may take them.
    pub staff: Staff,
    /// The rules that speak against sending such a message now.
    pub against: Vec<RuleRefusal>,
}

impl Shard {
    /// Nobody is set aside for what the gate will refuse whoever is called.
    pub(super) fn reserve(&mut self, wanted: Reserve, now: Now) -> Answer {
        let gated = self.settings.calls.numbers.get(&wanted.number).is_some_and(|number| number.gated);
        let policy = self.settings.gates.get(&wanted.number).filter(|_| gated);
        let refusal =
            policy.zip(wanted.use_case.as_ref()).and_then(|(policy, wanted)| not_for(policy, wanted));
        Answer::Reserved(match refusal {
            Some(refusal) => Err(NotPlaced::Refused(vec![super::gate::rule(refusal)])),
            None => self.try_reserve(wanted, now),
        })
    }

    pub(super) fn try_reserve(
        &mut self,
        mut wanted: Reserve,
        now: Now,
    ) -> Result<Box<Reservation>, NotPlaced> {
        self.knows(&wanted.number, &wanted.agents)?;
        let plan = &self.settings.calls.dial_plan;
        let e164 = |customer: Pii<String>| {
            normalise(customer.reveal(), plan).map(Pii::new).ok_or(NotPlaced::NoCustomer)
        };
        wanted.customer = wanted.customer.map(e164).transpose()?;
        let id = CallId::new(now.wall, &mut *self.entropy);
        self.calls.reserve(id, wanted, now).map(Box::new).map_err(|why| match why {
            NotReserved::UnknownNumber => NotPlaced::UnknownNumber,
            NotReserved::NoAgent(why) => NotPlaced::Refused(vec![nobody(why)]),
            NotReserved::Unable(why) => NotPlaced::Unable(why.to_owned()),
        })
    }

    /// How ready a number is, to which these rules close it.
    pub(super) fn readiness(&self, number: &str, closed: Vec<RuleRefusal>) -> Option<Readiness> {
        let staff = self.calls.staff(number)?;
        let mut against = closed;
        if !staff.is_ready() {
            against.push(nobody("no agent is ready for the calls that the message may bring"));
        }
        if self.calls.is_draining() {
            against.push(nobody("the bridge is draining"));
        }
        Some(Readiness { staff, against })
    }
}

pub(super) fn nobody(why: &str) -> RuleRefusal {
    RuleRefusal::new(GateCode::NoAgentReady, why, "wait for an agent to be free")
}
