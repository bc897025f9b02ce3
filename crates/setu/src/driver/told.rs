//! Which calls webhooks told of: each once, however often and in whichever order they come.

use std::collections::{BTreeMap, VecDeque};

use setu_model::LegId;
use setu_whatsapp::webhook::Terminate;

/// The calls that webhooks told of, by WhatsApp's id of them.
#[derive(Debug, Default)]
pub(super) struct ToldCalls {
    calls: BTreeMap<String, Told>,
    /// The ids in the order in which they were first told.
    order: VecDeque<String>,
}

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
    /// Takes the beginning of a call, whose customer has this leg if it is new.
    pub(super) fn begin(&mut self, wacid: &str, leg: LegId) -> Beginning {
        match self.calls.get_mut(wacid) {
            Some(Told::Begun(_)) => Beginning::Again,
            Some(told @ Told::Ended(_)) => match std::mem::replace(told, Told::Begun(leg)) {
                Told::Ended(end) => Beginning::Late(end),
                Told::Begun(_) => Beginning::Again,
            },
            None => {
                self.remember(wacid, Told::Begun(leg));
                Beginning::New
            }
        }
    }

    /// Takes the end of a call; returns its leg if it has begun.
    pub(super) fn end(&mut self, end: Terminate) -> Option<(LegId, Terminate)> {
        match self.calls.get(&end.wacid) {
            Some(Told::Begun(leg)) => Some((*leg, end)),
            Some(Told::Ended(_)) => None,
            None => {
                self.remember(&end.wacid.clone(), Told::Ended(Box::new(end)));
                None
            }
        }
    }

    fn remember(&mut self, wacid: &str, told: Told) {
        if self.calls.len() >= MOST_CALLS
            && let Some(oldest) = self.order.pop_front()
        {
            self.calls.remove(&oldest);
        }
        self.order.push_back(wacid.to_owned());
        self.calls.insert(wacid.to_owned(), told);
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
        assert_eq!(told.begin("a", call), Beginning::New);
        assert_eq!(told.begin("a", leg(2)), Beginning::Again);
        assert_eq!(told.end(end("a")), Some((call, end("a"))));
        assert_eq!(told.begin("a", leg(3)), Beginning::Again);

        assert_eq!(told.end(end("b")), None);
        assert_eq!(told.end(end("b")), None);
        assert_eq!(told.begin("b", call), Beginning::Late(Box::new(end("b"))));
        assert_eq!(told.begin("b", call), Beginning::Again);
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let mut told = ToldCalls::default();
        for n in 0..=MOST_CALLS {
            assert_eq!(told.begin(&n.to_string(), leg(1)), Beginning::New);
        }
        assert_eq!((told.calls.len(), told.order.len()), (MOST_CALLS, MOST_CALLS));
        assert_eq!(told.begin("1", leg(1)), Beginning::Again);
        assert_eq!(told.begin("0", leg(1)), Beginning::New);
    }
}
