//! Which calls webhooks told of: each once, however often and in whichever order they come.

use std::collections::{BTreeMap, VecDeque};

use setu_model::LegId;
use setu_whatsapp::webhook::Terminate;

/// The calls that webhooks told of, by the business number and WhatsApp's id of them: whoever tells of one number says
/// nothing of the calls of another.
#[derive(Debug, Default)]
pub(super) struct ToldCalls {
    calls: BTreeMap<Named, Told>,
    /// The calls in the order in which they were first told.
    order: VecDeque<Named>,
}

/// The business number and WhatsApp's id of a call.
type Named = (String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    /// It began, with this leg, and may be over.
    Begun(LegId),
    /// Its end was told before its beginning.
    Ended(Box<Terminate>),
}

/// What the beginning of a call means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It is new.
    New,
    /// It is new, and its end was told already.
    Late(Box<Terminate>),
    /// It was told before.
    Again,
}

impl ToldCalls {
    /// Takes the beginning of a call of a number, whose customer has this leg if it is new.
    pub(super) fn begin(&mut self, number: &str, wacid: &str, leg: LegId) -> Beginning {
        let call = (number.to_owned(), wacid.to_owned());
        match self.calls.get_mut(&call) {
            Some(Told::Begun(_)) => Beginning::Again,
            Some(told @ Told::Ended(_)) => match std::mem::replace(told, Told::Begun(leg)) {
                Told::Ended(end) => Beginning::Late(end),
                Told::Begun(_) => Beginning::Again,
            },
            None => {
                self.remember(call, Told::Begun(leg));
                Beginning::New
            }
        }
    }

    /// Takes the end of a call of a number; returns its leg if it has begun.
    pub(super) fn end(&mut self, number: &str, end: Terminate) -> Option<(LegId, Terminate)> {
        let call = (number.to_owned(), end.wacid.clone());
        match self.calls.get(&call) {
            Some(Told::Begun(leg)) => Some((*leg, end)),
            Some(Told::Ended(_)) => None,
            None => {
                self.remember(call, Told::Ended(Box::new(end)));
                None
            }
        }
    }

    fn remember(&mut self, call: Named, told: Told) {
        if self.calls.len() >= MOST_CALLS
            && let Some(oldest) = self.order.pop_front()
        {
            self.calls.remove(&oldest);
        }
        self.order.push_back(call.clone());
        self.calls.insert(call, told);
    }
}

/// The most calls that are remembered: Meta takes 10,000 new ones of a number a day, and delivers again for less than
/// that.
const MOST_CALLS: usize = 65_536;

#[cfg(test)]
mod tests {
    use setu_whatsapp::permission::Customer;
    use setu_whatsapp::webhook::EndStatus;

    use setu_model::CallId;

    use super::*;

    const OURS: &str = "+919999900000";
    const THEIRS: &str = "+551140000000";

    fn leg(bits: u128) -> LegId {
        LegId::originator(CallId::from_bits(bits))
    }

    fn end(wacid: &str) -> Terminate {
        Terminate {
            wacid: wacid.to_owned(),
            direction: None,
            customer: Customer::default(),
            status: EndStatus::Completed,
            started: None,
            ended: None,
            duration_s: None,
            cause: None,
            errors: Vec::new(),
            opaque: None,
            complaints: Vec::new(),
        }
    }

    #[test]
    fn whatever_the_order_a_call_begins_once() {
        let call = leg(1);
        let mut told = ToldCalls::default();
        assert_eq!(told.begin(OURS, "a", call), Beginning::New);
        assert_eq!(told.begin(OURS, "a", leg(2)), Beginning::Again);
        assert_eq!(told.end(OURS, end("a")), Some((call, end("a"))));
        assert_eq!(told.begin(OURS, "a", leg(3)), Beginning::Again);

        assert_eq!(told.end(OURS, end("b")), None);
        assert_eq!(told.end(OURS, end("b")), None);
        assert_eq!(told.begin(OURS, "b", call), Beginning::Late(Box::new(end("b"))));
        assert_eq!(told.begin(OURS, "b", call), Beginning::Again);
    }

    #[test]
    fn the_end_of_a_call_is_told_by_nobody_but_its_own_number() {
        let mut told = ToldCalls::default();
        assert_eq!(told.end(THEIRS, end("before")), None);
        assert_eq!(told.begin(OURS, "before", leg(1)), Beginning::New);
        assert_eq!(told.end(THEIRS, end("before")), None);
        assert_eq!(told.end(OURS, end("before")), Some((leg(1), end("before"))));
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let mut told = ToldCalls::default();
        for n in 0..=MOST_CALLS {
            assert_eq!(told.begin(OURS, &n.to_string(), leg(1)), Beginning::New);
        }
        assert_eq!((told.calls.len(), told.order.len()), (MOST_CALLS, MOST_CALLS));
        assert_eq!(told.begin(OURS, "1", leg(1)), Beginning::Again);
        assert_eq!(told.begin(OURS, "0", leg(1)), Beginning::New);
    }
}
