//! The invariants of decision 8, checked from outside on everything the switchboard says.

use std::collections::{BTreeMap, BTreeSet};

use setu_model::{CallId, LegId, Side};

use crate::ports::{
    DialTarget, Input, LegCommand, LegEvent, MediaCommand, MediaEvent, Origin, Output, RecordCommand,
    RecordEvent, Step, Verdict,
};

/// Watches the outputs of a switchboard and panics at the first one that breaks a rule. For tests, the simulation
/// and the fuzzer.
#[derive(Debug, Default)]
pub struct Watch {
    calls: BTreeMap<CallId, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    legs: BTreeMap<LegId, WatchedLeg>,
    ports: BTreeSet<u8>,
    configured: BTreeSet<u8>,
    started: BTreeSet<u8>,
    bridged: bool,
    closed: bool,
    recording: bool,
    /// The gate was asked and has not answered.
    asked: bool,
    /// The gate did not allow it.
    forbidden: bool,
    records: u32,
    /// The last step that was told.
    step: u32,
}

#[derive(Debug)]
struct WatchedLeg {
    side: Side,
    dialled: bool,
    /// By us.
    answered: bool,
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// By us: refused or told to hang up.
    Told,
    /// By its own word.
    Over,
}

impl Watch {
    /// Notes what the switchboard is about to be told.
    pub fn input(&mut self, input: &Input) {
        match input {
            Input::Offered(offered) | Input::TurnedAway { offered, .. } => {
                let side = match offered.origin {
                    Origin::Meta { .. } | Origin::Waiting { .. } | Origin::Placed(_) => Side::Meta,
                    Origin::Account(_) | Origin::Trunk(_) => Side::Agents,
                };
                let refused = matches!(input, Input::TurnedAway { .. });
                let ending = if refused { Ending::Over } else { Ending::No };
                let leg = WatchedLeg { side, dialled: false, answered: false, ending };
                self.calls.entry(offered.call).or_default().legs.insert(LegId::originator(offered.call), leg);
            }
            Input::Leg(event @ (LegEvent::Ended { .. } | LegEvent::Refused { .. })) => {
                let id = event.leg();
                if let Some(leg) = self.calls.get_mut(&id.call).and_then(|call| call.legs.get_mut(&id)) {
                    leg.ending = Ending::Over;
                }
            }
            Input::Record(RecordEvent::Finished { call, .. } | RecordEvent::Failed { call, .. }) => {
                if let Some(call) = self.calls.get_mut(call) {
                    call.recording = false;
                }
            }
            Input::Media(MediaEvent::Closed { call, .. }) => {
                if let Some(call) = self.calls.get_mut(call).filter(|call| !call.asked) {
                    call.closed = true;
                }
            }
            Input::Gate { call, verdict } => {
                if let Some(call) = self.calls.get_mut(call) {
                    call.forbidden |= call.asked && *verdict != Verdict::Allowed;
                    call.asked = false;
                }
            }
            Input::Leg(_)
            | Input::HangUp { .. }
            | Input::Media(_)
            | Input::Desk(_)
            | Input::Configure(_)
            | Input::Drain => {}
        }
    }

    /// Checks one output.
    pub fn output(&mut self, output: &Output) {
        match output {
            Output::Leg(command) => {
                let call = self.of(command.leg().call);
                assert!(call.records == 0, "a command after the record: {command:?}");
                call.leg(command);
            }
            Output::Media(command) => self.media(command),
            Output::Record(RecordCommand::Start { call, .. }) => {
                let it = self.of(*call);
                assert!(
                    !it.recording && it.started.len() == 2,
                    "a recording begins once, when both sides talk"
                );
                it.recording = true;
            }
            Output::Record(RecordCommand::Stop { call, .. }) => {
                let it = self.of(*call);
                assert!(it.recording && it.closed, "a recording stops once, after its media");
                it.recording = false;
            }
            Output::Ask(question) => {
                let it = self.of(question.call);
                assert!(
                    !it.asked && it.ports.is_empty(),
                    "the gate is asked once, before anything is opened"
                );
                it.asked = true;
            }
            Output::Progress(progress) => {
                let it = self.of(progress.call);
                assert_eq!(it.records, 0, "a step is told before the record");
                let step = match progress.step {
                    Step::Offered => 1,
                    Step::Ringing => 2,
                    Step::Answered => 3,
                    Step::Key(_) => return,
                };
                assert!(it.step < step, "each step is told once, in order");
                it.step = step;
            }
            Output::Cdr(cdr) => {
                let it = self.of(cdr.call);
                it.records += 1;
                assert_eq!(it.records, 1, "a call has one record");
                assert!(it.ports.is_empty() || it.closed, "a port is leaked");
                assert!(!it.recording, "a recording is leaked");
                assert!(it.legs.values().all(|leg| leg.ending != Ending::No), "a leg is leaked");
                assert_eq!(it.legs.len(), cdr.legs.len(), "every leg is in the record");
                let in_order = cdr.timeline.entries().is_sorted_by_key(|entry| entry.at_ms);
                assert!(in_order, "the time line is in order");
                assert!(cdr.duration_ms == 0 || cdr.answered.is_some(), "only connected calls last");
            }
            Output::Drained => {
                assert!(self.calls.values().all(|call| call.records == 1), "drained before the last record");
            }
        }
    }

    /// Checks that every call that was offered has its record.
    pub fn all_recorded(&self) {
        for (id, call) in &self.calls {
            assert_eq!(call.records, 1, "call {id} has no record");
        }
    }

    fn of(&mut self, call: CallId) -> &mut Watched {
        let watched = self.calls.get_mut(&call);
        assert!(watched.is_some(), "a command for a call that never was: {call}");
        watched.unwrap_or_else(|| unreachable!())
    }

    fn media(&mut self, command: &MediaCommand) {
        match command {
            MediaCommand::Open { leg, .. } => {
                let call = self.of(leg.call);
                assert!(!call.asked && !call.forbidden, "nothing is opened that the gate does not allow");
                assert!(!call.closed && call.ports.insert(leg.index), "a port is opened once");
            }
            MediaCommand::Configure(setup) => {
                let call = self.of(setup.leg.call);
                assert!(!call.closed && call.ports.contains(&setup.leg.index), "set up only what is open");
                call.configured.insert(setup.leg.index);
                assert!(
                    setup.side != Side::Meta || setup.agreed.encryption().is_some(),
                    "Meta's media is always encrypted"
                );
            }
            MediaCommand::Start { leg } => {
                let call = self.of(leg.call);
                assert!(!call.closed && call.configured.contains(&leg.index), "start only what is set up");
                assert!(call.started.insert(leg.index), "a stream begins once");
            }
            MediaCommand::Hold { leg, .. } => {
                let call = self.of(leg.call);
                assert!(!call.closed && call.configured.contains(&leg.index), "hold only what is set up");
            }
            MediaCommand::Bridge { call } => {
                let call = self.of(*call);
                assert!(!call.closed && !call.bridged && call.started.len() == 2, "bridge once, two streams");
                call.bridged = true;
            }
            MediaCommand::Press { leg, .. } => {
                let call = self.of(leg.call);
                assert!(!call.closed && call.started.contains(&leg.index), "press where a stream runs");
            }
            MediaCommand::Play { leg, .. } | MediaCommand::StopPlaying { leg } => {
                let call = self.of(leg.call);
                assert!(!call.closed && call.started.contains(&leg.index), "play where a stream runs");
            }
            MediaCommand::Tap { call, on } => {
                let call = self.of(*call);
                assert!(!call.closed && (call.bridged || !on), "tap what is bridged");
            }
            MediaCommand::Close { call } => {
                let call = self.of(*call);
                assert!(!call.closed && !call.ports.is_empty(), "close once, what is open");
                call.closed = true;
            }
        }
    }
}

impl Watched {
    fn leg(&mut self, command: &LegCommand) {
        if let LegCommand::Dial(dial) = command {
            let side = match dial.target {
                DialTarget::Customer { .. } => Side::Meta,
                DialTarget::Contact { .. } | DialTarget::Trunk { .. } => Side::Agents,
            };
            let leg = WatchedLeg { side, dialled: true, answered: false, ending: Ending::No };
            assert!(self.legs.insert(dial.leg, leg).is_none(), "a leg is dialled once");
            return;
        }
        let leg = self.legs.get_mut(&command.leg());
        assert!(leg.is_some(), "a command for a leg that never was: {command:?}");
        let Some(leg) = leg else { return };
        assert!(leg.ending == Ending::No, "a command for a leg that is ending: {command:?}");
        match command {
            LegCommand::Ring { .. } => {
                assert!(!leg.dialled && !leg.answered, "ring an unanswered originator")
            }
            LegCommand::Describe { .. } => {
                assert!(!leg.dialled && !leg.answered, "describe to an unanswered originator");
            }
            LegCommand::Answer { .. } => {
                assert!(!leg.dialled && !leg.answered, "answer an unanswered originator");
                leg.answered = true;
            }
            LegCommand::Refuse { status, .. } => {
                assert!(!leg.dialled && !leg.answered, "refuse an unanswered originator");
                assert!((400..700).contains(status), "refuse with a final status");
                leg.ending = Ending::Told;
            }
            LegCommand::HangUp { .. } => {
                assert!(leg.dialled || leg.answered, "an unanswered originator is refused");
                leg.ending = Ending::Told;
            }
            LegCommand::AcceptReoffer { .. } => assert!(leg.side == Side::Agents, "Meta never renegotiates"),
            LegCommand::Key { .. } => assert!(leg.side == Side::Agents, "Meta gets no INFO"),
            LegCommand::RejectReoffer { .. } | LegCommand::Dial(_) => {}
        }
    }
}
