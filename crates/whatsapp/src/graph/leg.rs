//! One call as a machine.

use std::collections::VecDeque;

use crate::Refusal;
use crate::graph::{Action, Failure, Reply, refusal};
use crate::webhook::{CallStatus, EndStatus, Terminate};

/// One call that Meta signals by Graph.
///
/// Handle, drain: after each method take every [`poll_output`](Self::poll_output). It has no timers: each request is
/// answered or given up by whoever makes it, and how long a call may ring is the call core's business.
#[derive(Debug)]
pub struct Leg {
    /// Empty until Meta has given it.
    wacid: String,
    state: State,
    outputs: VecDeque<Output>,
}

/// What the leg wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask Meta; the reply goes to [`Leg::handle_reply`].
    Ask(Action),
    /// Tell the call.
    Tell(Event),
}

/// What became of the leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// WhatsApp's id of a call we began.
    Named(String),
    /// Our answer was told ahead, or could not be; the call may ring.
    Prepared,
    /// Meta confirmed that our answer is taken: media may flow.
    Accepted,
    /// The answer to our offer, before the user has taken the call.
    Described(String),
    /// The user's phone rings.
    Ringing,
    /// The user took the call; this is the answer to our offer.
    Answered(String),
    /// The call did not come about.
    Refused {
        /// What that means.
        refusal: Refusal,
        /// The status that a SIP edge would have sent.
        status: u16,
    },
    /// The call is over.
    Ended(Ended),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Meta says so.
    Told {
        /// Whether the call had been taken.
        taken: bool,
        /// Its length by Meta's count, in seconds.
        duration_s: Option<u64>,
        /// Why, if Meta says so.
        detail: Option<String>,
    },
    /// We ended it.
    Local,
}

#[derive(Debug)]
enum State {
    /// A user calls.
    Offered,
    /// Our answer is told ahead; `then` follows its reply.
    PreAccepting {
        then: Option<Then>,
    },
    /// Our answer was told ahead.
    PreAccepted,
    /// Our acceptance is out. `leaves`: it was hung up since.
    Accepting {
        leaves: bool,
    },
    /// Our call is out, and has no id yet. `leaves`: it was hung up since.
    Calling {
        leaves: bool,
    },
    /// Our call is with the user, whose side may have described itself.
    Called {
        answer: Option<String>,
        taken: bool,
    },
    /// Both sides talk.
    Talking,
    /// The last request is out, and its reply is the end.
    Leaving,
    /// The last request is out, but the end was told already.
    Tidying,
    Over,
}

/// What follows a request that is under way.
#[derive(Debug)]
enum Then {
    Accept(String),
    Reject,
}

impl Leg {
    /// A user's call.
    pub const fn offered(wacid: String) -> Self {
        Self { wacid, state: State::Offered, outputs: VecDeque::new() }
    }

    /// Begins a call to `to`: a number, or a business-scoped user id.
    pub fn connect(to: &str, sdp: String, opaque: String) -> Self {
        let to = to.strip_prefix('+').unwrap_or(to).to_owned();
        let ask = Output::Ask(Action::Connect { to, sdp, opaque });
        let state = State::Calling { leaves: false };
        Self { wacid: String::new(), state, outputs: VecDeque::from([ask]) }
    }

    /// WhatsApp's id of the call; empty while Meta has not given it.
    pub fn wacid(&self) -> &str {
        &self.wacid
    }

    /// Takes the next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether nothing follows any more: no event, no request.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over) && self.outputs.is_empty()
    }

    /// Tells our answer to a user's call ahead.
    pub fn describe(&mut self, sdp: String) {
        if matches!(self.state, State::Offered) {
            self.ask(Action::PreAccept { wacid: self.wacid.clone(), sdp });
            self.state = State::PreAccepting { then: None };
        }
    }

    /// Takes a user's call.
    pub fn accept(&mut self, sdp: String) {
        match &mut self.state {
            // The order of the two matters: nobody knows which Meta would see first.
            State::PreAccepting { then: then @ None } => *then = Some(Then::Accept(sdp)),
            State::Offered | State::PreAccepted => self.ask_accept(sdp),
            State::PreAccepting { .. }
            | State::Accepting { .. }
            | State::Calling { .. }
            | State::Called { .. }
            | State::Talking
            | State::Leaving
            | State::Tidying
            | State::Over => {}
        }
    }

    /// Ends the call as its state demands. [`Event::Ended`] follows, or [`Event::Refused`] where Meta was quicker.
    pub fn hang_up(&mut self) {
        match &mut self.state {
            State::Offered | State::PreAccepted => self.reject(),
            State::PreAccepting { then } => *then = Some(Then::Reject),
            State::Accepting { leaves } | State::Calling { leaves } => *leaves = true,
            State::Called { .. } | State::Talking => self.terminate(),
            State::Leaving | State::Tidying | State::Over => {}
        }
    }

    /// Takes the reply to the request that is under way.
    pub fn handle_reply(&mut self, reply: Result<Reply, Failure>) {
        match (std::mem::replace(&mut self.state, State::Over), reply) {
            (State::PreAccepting { then }, reply) => self.pre_accepted(then, reply),
            (State::Accepting { leaves: false }, Ok(_)) => {
                self.state = State::Talking;
                self.tell(Event::Accepted);
            }
            (State::Accepting { leaves: false }, Err(Failure::Refused { code, text })) => {
                self.refused(refusal(code, &text));
            }
            (State::Accepting { leaves: false }, Err(unknown @ Failure::Unknown { .. })) => {
                // It may have been taken: a call nobody hears must not go on.
                self.refused(lost(&unknown));
                self.terminate();
                self.state = State::Tidying;
            }
            (State::Accepting { leaves: true }, Ok(_) | Err(Failure::Unknown { .. })) => self.terminate(),
            (State::Calling { leaves }, Ok(Reply { wacid: Some(wacid), .. })) => self.named(wacid, leaves),
            (State::Calling { .. }, Ok(Reply { wacid: None, .. })) => {
                let text = "Meta took the call without giving its id".to_owned();
                self.refused(lost(&Failure::Unknown { text }));
            }
            (State::Calling { .. }, Err(Failure::Refused { code, text })) => {
                self.refused(refusal(code, &text));
            }
            (State::Calling { .. }, Err(unknown @ Failure::Unknown { .. })) => self.refused(lost(&unknown)),
            (State::Accepting { leaves: true }, Err(Failure::Refused { .. })) | (State::Leaving, _) => {
                self.tell(Event::Ended(Ended::Local))
            }
            (State::Tidying | State::Over, _) => {}
            // Nothing is under way in these.
            (state @ (State::Offered | State::PreAccepted | State::Called { .. } | State::Talking), _) => {
                self.state = state
            }
        }
    }

    /// Takes the description of Meta's side of a call that we began.
    pub fn handle_answer(&mut self, sdp: &str) {
        let State::Called { answer, taken } = &mut self.state else { return };
        if answer.is_some() {
            return;
        }
        if *taken {
            self.state = State::Talking;
            self.tell(Event::Answered(sdp.to_owned()));
        } else {
            *answer = Some(sdp.to_owned());
            self.tell(Event::Described(sdp.to_owned()));
        }
    }

    /// Takes how far a call came that we began.
    pub fn handle_status(&mut self, status: CallStatus) {
        let State::Called { answer, taken } = &mut self.state else { return };
        match (status, answer.take()) {
            (CallStatus::Ringing, known) => {
                *answer = known;
                self.tell(Event::Ringing);
            }
            (CallStatus::Accepted, Some(sdp)) => {
                self.state = State::Talking;
                self.tell(Event::Answered(sdp));
            }
            // The description is on its way.
            (CallStatus::Accepted, None) => *taken = true,
            (CallStatus::Rejected, _) => {
                let detail = Some("User declined the call".to_owned());
                let refusal = Refusal { cause: setu_model::Cause::Declined, toward_agent: 603, detail };
                self.state = State::Over;
                self.tell(Event::Refused { refusal, status: 486 });
            }
        }
    }

    /// Takes the end of the call as Meta tells it.
    pub fn handle_terminate(&mut self, end: &Terminate) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Called { .. } | State::Calling { .. } => {
                let error = end.errors.first().map(|error| refusal(error.code, &error.text));
                let unanswered =
                    Refusal { cause: setu_model::Cause::NoAnswer, toward_agent: 480, detail: end.why() };
                let failed = end.status == EndStatus::Failed;
                self.refused(error.filter(|_| failed).unwrap_or(unanswered));
            }
            state @ (State::Offered | State::PreAccepted | State::Talking) => {
                self.told(matches!(state, State::Talking), end);
            }
            State::PreAccepting { .. } | State::Accepting { .. } => {
                self.told(false, end);
                self.state = State::Tidying;
            }
            State::Leaving => {
                self.tell(Event::Ended(Ended::Local));
                self.state = State::Tidying;
            }
            state @ (State::Tidying | State::Over) => self.state = state,
        }
    }

    fn told(&mut self, taken: bool, end: &Terminate) {
        let (duration_s, detail) = (end.duration_s, end.why());
        self.tell(Event::Ended(Ended::Told { taken, duration_s, detail }));
    }

    fn pre_accepted(&mut self, then: Option<Then>, reply: Result<Reply, Failure>) {
        match (then, reply) {
            (_, Err(Failure::Refused { code, text })) => self.refused(refusal(code, &text)),
            // The description goes with the acceptance too: it may just take longer until there is sound.
            (None, Ok(_) | Err(Failure::Unknown { .. })) => {
                self.state = State::PreAccepted;
                self.tell(Event::Prepared);
            }
            (Some(Then::Accept(sdp)), _) => self.ask_accept(sdp),
            (Some(Then::Reject), _) => self.reject(),
        }
    }

    fn named(&mut self, wacid: String, leaves: bool) {
        self.wacid.clone_from(&wacid);
        self.tell(Event::Named(wacid));
        if leaves {
            self.terminate();
        } else {
            self.state = State::Called { answer: None, taken: false };
        }
    }

    fn ask_accept(&mut self, sdp: String) {
        self.ask(Action::Accept { wacid: self.wacid.clone(), sdp });
        self.state = State::Accepting { leaves: false };
    }

    fn reject(&mut self) {
        self.ask(Action::Reject { wacid: self.wacid.clone() });
        self.state = State::Leaving;
    }

    fn terminate(&mut self) {
        self.ask(Action::Terminate { wacid: self.wacid.clone() });
        self.state = State::Leaving;
    }

    fn refused(&mut self, refusal: Refusal) {
        let status = refusal.toward_agent;
        self.tell(Event::Refused { refusal, status });
    }

    fn ask(&mut self, action: Action) {
        self.outputs.push_back(Output::Ask(action));
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Tell(event));
    }
}

fn lost(failure: &Failure) -> Refusal {
    Refusal {
        cause: setu_model::Cause::Unreachable,
        toward_agent: 480,
        detail: Some(format!("Graph: {failure}")),
    }
}

#[cfg(test)]
mod tests {
    use setu_model::Cause;

    use super::*;
    use crate::permission::Customer;
    use crate::webhook::GraphError;

    fn end(status: EndStatus, duration_s: Option<u64>) -> Terminate {
        Terminate {
            wacid: "w".to_owned(),
            direction: None,
            customer: Customer::default(),
            status,
            started: None,
            ended: None,
            duration_s,
            cause: None,
            errors: Vec::new(),
            opaque: None,
            complaints: Vec::new(),
        }
    }

    /// What the leg says since the last time, in short.
    fn says(leg: &mut Leg) -> Vec<String> {
        let word = |output| match output {
            Output::Ask(action) => format!("ask {}", action.word()),
            Output::Tell(Event::Named(wacid)) => format!("named {wacid}"),
            Output::Tell(Event::Prepared) => "prepared".to_owned(),
            Output::Tell(Event::Accepted) => "accepted".to_owned(),
            Output::Tell(Event::Described(sdp)) => format!("described {sdp}"),
            Output::Tell(Event::Ringing) => "ringing".to_owned(),
            Output::Tell(Event::Answered(sdp)) => format!("answered {sdp}"),
            Output::Tell(Event::Refused { refusal, .. }) => format!("refused {}", refusal.cause),
            Output::Tell(Event::Ended(Ended::Told { taken, duration_s, .. })) => {
                format!("told taken {taken} after {duration_s:?}")
            }
            Output::Tell(Event::Ended(Ended::Local)) => "ended".to_owned(),
        };
        std::iter::from_fn(|| leg.poll_output()).map(word).collect()
    }

    fn ok() -> Result<Reply, Failure> {
        Ok(Reply::default())
    }

    fn refused() -> Result<Reply, Failure> {
        Err(Failure::Refused { code: 100, text: "Invalid call id".to_owned() })
    }

    fn unknown() -> Result<Reply, Failure> {
        Err(Failure::Unknown { text: "no answer in time".to_owned() })
    }

    fn described() -> Leg {
        let mut leg = Leg::offered("w".to_owned());
        leg.describe("sdp".to_owned());
        assert_eq!(says(&mut leg), ["ask pre_accept"]);
        leg
    }

    fn talking() -> Leg {
        let mut leg = described();
        leg.handle_reply(ok());
        leg.accept("sdp".to_owned());
        leg.handle_reply(ok());
        assert_eq!(says(&mut leg), ["prepared", "ask accept", "accepted"]);
        leg
    }

    #[test]
    fn a_users_call_is_described_ahead_taken_and_ended_by_the_user() {
        let mut leg = talking();
        leg.handle_terminate(&end(EndStatus::Completed, Some(7)));
        assert_eq!(says(&mut leg), ["told taken true after Some(7)"]);
        assert!(leg.is_over(), "nothing is asked when the user hung up");
    }

    #[test]
    fn a_users_call_is_ended_by_us_and_meta_is_always_told() {
        let mut leg = talking();
        leg.hang_up();
        leg.hang_up();
        assert_eq!(says(&mut leg), ["ask terminate"]);
        leg.handle_reply(unknown());
        assert_eq!(says(&mut leg), ["ended"]);
        assert!(leg.is_over());
    }

    #[test]
    fn an_agent_who_is_quicker_than_the_first_reply_waits_for_it() {
        let mut leg = described();
        leg.accept("sdp".to_owned());
        assert_eq!(says(&mut leg), [""; 0]);
        leg.handle_reply(unknown());
        assert_eq!(says(&mut leg), ["ask accept"], "the acceptance alone is enough");
        leg.handle_reply(ok());
        assert_eq!(says(&mut leg), ["accepted"]);
    }

    #[test]
    fn a_call_that_nobody_takes_is_rejected() {
        for before in [false, true] {
            let mut leg = described();
            if before {
                leg.hang_up();
                assert_eq!(says(&mut leg), [""; 0]);
                leg.handle_reply(ok());
            } else {
                leg.handle_reply(ok());
                assert_eq!(says(&mut leg), ["prepared"]);
                leg.hang_up();
            }
            assert_eq!(says(&mut leg), ["ask reject"]);
            leg.handle_reply(refused());
            assert_eq!(says(&mut leg), ["ended"]);
            assert!(leg.is_over());
        }
    }

    #[test]
    fn a_user_who_gives_up_in_the_middle_of_a_request_ends_the_leg_once() {
        let mut leg = described();
        leg.handle_terminate(&end(EndStatus::Completed, None));
        assert_eq!(says(&mut leg), ["told taken false after None"]);
        leg.handle_terminate(&end(EndStatus::Completed, None));
        leg.accept("sdp".to_owned());
        leg.hang_up();
        leg.handle_reply(refused());
        assert_eq!(says(&mut leg), [""; 0]);
        assert!(leg.is_over());
    }

    #[test]
    fn an_acceptance_that_is_refused_ends_the_call_and_one_that_is_lost_is_ended_with_meta_too() {
        let mut leg = described();
        leg.handle_reply(ok());
        leg.accept("sdp".to_owned());
        leg.handle_reply(refused());
        assert_eq!(says(&mut leg), ["prepared", "ask accept", "refused refused_by_meta"]);
        assert!(leg.is_over());

        let mut leg = described();
        leg.handle_reply(ok());
        leg.accept("sdp".to_owned());
        leg.handle_reply(unknown());
        assert_eq!(says(&mut leg), ["prepared", "ask accept", "refused unreachable", "ask terminate"]);
        leg.handle_reply(ok());
        assert_eq!(says(&mut leg), [""; 0]);
        assert!(leg.is_over());
    }

    #[test]
    fn a_hang_up_that_crosses_the_acceptance_ends_the_call_behind_it() {
        let mut leg = described();
        leg.handle_reply(ok());
        leg.accept("sdp".to_owned());
        leg.hang_up();
        assert_eq!(says(&mut leg), ["prepared", "ask accept"]);
        leg.handle_reply(ok());
        assert_eq!(says(&mut leg), ["ask terminate"]);
        leg.handle_reply(ok());
        assert_eq!(says(&mut leg), ["ended"]);
    }

    fn called() -> Leg {
        let mut leg = Leg::connect("+919876543210", "sdp".to_owned(), "x".to_owned());
        leg.handle_reply(Ok(Reply { wacid: Some("w".to_owned()), message: None }));
        assert_eq!(
            (says(&mut leg), leg.wacid()),
            (vec!["ask connect".to_owned(), "named w".to_owned()], "w")
        );
        leg
    }

    #[test]
    fn a_call_of_ours_is_described_rings_and_is_answered_in_whatever_order() {
        let mut leg = called();
        leg.handle_answer("theirs");
        leg.handle_answer("again");
        leg.handle_status(CallStatus::Ringing);
        leg.handle_status(CallStatus::Accepted);
        assert_eq!(says(&mut leg), ["described theirs", "ringing", "answered theirs"]);

        let mut leg = called();
        leg.handle_status(CallStatus::Accepted);
        leg.handle_status(CallStatus::Ringing);
        leg.handle_answer("theirs");
        assert_eq!(says(&mut leg), ["ringing", "answered theirs"]);
        leg.handle_terminate(&end(EndStatus::Completed, Some(3)));
        assert_eq!(says(&mut leg), ["told taken true after Some(3)"]);
    }

    #[test]
    fn a_call_of_ours_that_is_declined_missed_or_refused_says_which() {
        let mut leg = called();
        leg.handle_status(CallStatus::Rejected);
        leg.handle_terminate(&end(EndStatus::Completed, None));
        assert_eq!(says(&mut leg), ["refused declined"]);

        let mut leg = called();
        leg.handle_terminate(&end(EndStatus::Completed, None));
        assert_eq!(says(&mut leg), ["refused no_answer"]);

        let mut leg = called();
        let errors = vec![GraphError { code: 138_021, text: "No media".to_owned() }];
        leg.handle_terminate(&Terminate { errors, ..end(EndStatus::Failed, None) });
        assert_eq!(says(&mut leg), ["refused media_timeout"]);

        let mut leg = Leg::connect("+919876543210", "sdp".to_owned(), "x".to_owned());
        leg.handle_reply(Err(Failure::Refused { code: 138_006, text: "No permission".to_owned() }));
        assert_eq!(says(&mut leg), ["ask connect", &format!("refused {}", Cause::NoPermission)]);
        assert!(leg.is_over());
    }

    #[test]
    fn a_call_of_ours_that_is_given_up_before_it_has_an_id_is_ended_as_soon_as_it_has_one() {
        let mut leg = Leg::connect("+919876543210", "sdp".to_owned(), "x".to_owned());
        leg.hang_up();
        leg.handle_reply(Ok(Reply { wacid: Some("w".to_owned()), message: None }));
        assert_eq!(says(&mut leg), ["ask connect", "named w", "ask terminate"]);
        leg.handle_reply(ok());
        assert_eq!(says(&mut leg), ["ended"]);
    }
}
