//! What concerns the house as a whole: limits, draining, lost confirmations.

use std::time::Duration;

use crate::support::*;
use setu_call::{AnswerIn, EndHow, Input, MediaEvent, Offered, Origin, RecordEvent};
use setu_model::{
    CallFacts, CallId, Cause, Direction, EndedBy, Ingress, LegId, Milestone, RecordingRef, Termination,
};

#[test]
fn a_lost_confirmation_never_leaks_a_call() {
    let mut house = House::with_alice();
    let (_, meta, _) = house.talking();
    house.ends(meta, EndHow::Bye);
    assert_eq!(house.says(), ["hang up 1 success", "close"]);
    house.wait(Duration::from_secs(37));
    assert_eq!(house.says(), ["stop recording", "record: success by customer"]);
    assert_eq!(house.the_record().recording, None);
    assert_eq!(house.the_record().duration_ms, 0, "the wait is no talk");
    house.is_clean();
    // They come after all: stale.
    house.confirm(meta.call, &[1]);
    assert_eq!(house.board.counters().stale, 3);
    house.is_clean();
}

#[test]
fn a_draining_house_takes_no_new_calls_and_lets_live_ones_finish() {
    let mut house = House::with_alice();
    let (call, meta, _) = house.talking();
    house.tell(Input::Drain);
    house.user_calls(TRUNK_NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["refuse 0 503 for now", "record: refused by bridge"]);
    house.ends(meta, EndHow::Bye);
    house.confirm(call, &[1]);
    let said = house.says();
    assert_eq!(said.last().unwrap(), "drained");
    house.tell(Input::Drain);
    house.is_clean();
}

#[test]
fn the_second_drain_hangs_up_all() {
    let mut house = House::with_alice();
    let (call, ..) = house.talking();
    let ringing = house.user_calls(TRUNK_NUMBER, Some(META_OFFER));
    house.ports_open(ringing);
    house.says();
    house.tell(Input::Drain);
    house.tell(Input::Drain);
    let said =
        ["hang up 0 shutdown", "hang up 1 shutdown", "close", "refuse 0 503", "hang up 1 shutdown", "close"];
    assert_eq!(house.says(), said);
    house.confirm(call, &[0, 1]);
    house.confirm(ringing, &[0, 1]);
    let said = house.says();
    assert_eq!(said.iter().filter(|line| *line == "drained").count(), 1);
    assert!(house.records.iter().all(|record| record.termination.cause == Cause::Shutdown));
    house.is_clean();
}

#[test]
fn an_idle_house_is_drained_at_once() {
    let mut house = House::new();
    house.tell(Input::Drain);
    assert_eq!(house.says(), ["drained"]);
}

#[test]
fn a_full_house_refuses_without_keeping_state() {
    let mut house = House::with(|config| config.limits.calls = 1);
    house.register("alice", 1);
    house.talking();
    for _ in 0..100 {
        house.user_calls(TRUNK_NUMBER, Some(META_OFFER));
    }
    let said = house.says();
    assert_eq!(said.iter().filter(|line| *line == "refuse 0 503 for now").count(), 100);
    assert_eq!((house.board.active(), house.board.counters().refused_full), (1, 100));
}

#[test]
fn a_failed_recording_does_not_end_the_call_and_the_record_says_why_and_what_is_left() {
    let mut house = House::with_alice();
    let partial =
        RecordingRef { path: "a.opus".into(), channels: 2, duration_ms: 400, bytes: 9, dropped_frames: 0 };
    let (call, meta, _) = house.talking();
    house.tell(Input::Record(RecordEvent::Failed {
        call,
        why: "disk full".into(),
        partial: Some(partial.clone()),
    }));
    assert_eq!(house.says(), ["untap"]);
    house.ends(meta, EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    let record = house.the_record();
    assert_eq!((&record.recording, record.recording_failure.as_deref()), (&Some(partial), Some("disk full")));
    assert!(record.timeline.first(Milestone::RecordingFailed).is_some());
    assert_eq!(record.timeline.first(Milestone::RecordingStopped), None);
    house.ended_with(Cause::Success);
}

#[test]
fn a_media_worker_that_dies_ends_its_calls_as_our_fault() {
    let mut house = House::with_alice();
    let (call, ..) = house.talking();
    house.tell(Input::Media(MediaEvent::Closed { call, quality: Vec::new() }));
    assert_eq!(house.says(), ["hang up 0 fault", "hang up 1 fault", "stop recording"]);
    house.confirm(call, &[0, 1]);
    house.says();
    house.ended_with(Cause::Fault);
}

#[test]
fn a_media_plane_that_never_answers_is_not_waited_for() {
    let mut house = House::with_alice();
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.says();
    house.wait(Duration::from_secs(5));
    assert_eq!(house.says(), ["refuse 0 503", "close"]);
    house.ends(LegId::originator(call), EndHow::Local);
    house.wait(Duration::from_secs(37));
    house.says();
    house.ended_with(Cause::Fault);
}

#[test]
fn a_new_configuration_counts_for_new_calls() {
    let mut house = House::with_alice();
    let (call, meta, _) = house.talking();
    house.tell(Input::Configure(Box::default()));
    house.user_calls(TRUNK_NUMBER, Some(META_OFFER));
    assert_eq!(house.says(), ["refuse 0 404"]);
    house.ends(meta, EndHow::Bye);
    house.confirm(call, &[1]);
    assert_eq!(house.says().last().unwrap(), "record: success by customer");
}

#[test]
fn a_call_that_its_leg_refused_leaves_a_record_and_nothing_else() {
    for (status, cause, said) in
        [(415, Cause::IncompatibleMedia, "incompatible_media"), (420, Cause::Refused, "refused")]
    {
        let mut house = House::with_alice();
        let call = CallId::from_bits(7);
        let offered = Offered {
            call,
            ingress: Ingress::Sip,
            direction: Direction::BusinessInitiated,
            origin: Origin::Account("alice".into()),
            dialled: CUSTOMER.into(),
            facts: CallFacts::default(),
            offer: None,
            answer_in: AnswerIn::OneStep,
        };
        let why = "it requires what is not done here: 100rel".to_owned();
        let end = Termination::new(cause, EndedBy::Bridge).with_status(status).with_detail(why.clone());
        let began = house.now;
        house.tell(Input::TurnedAway { offered: Box::new(offered), began, end });
        assert_eq!(house.says(), [format!("record: {said} by bridge")]);
        let record = house.the_record();
        assert_eq!((record.call, record.termination.status), (call, Some(status)));
        assert_eq!(record.termination.detail, Some(why));
        house.is_clean();
    }
}

#[test]
fn an_awaited_call_that_does_not_come_leaves_the_record_of_its_whole_wait() {
    for (cause, by, what) in [
        (Cause::NoAnswer, EndedBy::Bridge, Milestone::Cancelled),
        (Cause::Cancelled, EndedBy::Bridge, Milestone::Cancelled),
        (Cause::Declined, EndedBy::Customer, Milestone::Refused),
    ] {
        let mut house = House::with_alice();
        let (call, began) = (CallId::from_bits(7), house.now);
        let facts = CallFacts { reference: Some("T-1".into()), ..CallFacts::default() };
        let offered = Offered {
            call,
            ingress: Ingress::ProviderUri,
            direction: Direction::BusinessInitiated,
            origin: Origin::Meta { number: NUMBER.into() },
            dialled: String::new(),
            facts,
            offer: None,
            answer_in: AnswerIn::OneStep,
        };
        house.wait(Duration::from_secs(60));
        let end = Termination::new(cause, by).with_status(480);
        house.tell(Input::TurnedAway { offered: Box::new(offered), began, end });
        assert_eq!(house.says(), [format!("record: {cause} by {by}")]);
        let record = house.the_record();
        assert_eq!((record.began, record.ended), (began.wall, house.now.wall));
        assert_eq!((record.duration_ms, record.setup_ms), (0, None));
        let steps: Vec<_> = record.timeline.entries().iter().map(|entry| (entry.at_ms, entry.what)).collect();
        assert_eq!(steps, [(0, Milestone::Offered), (60_000, what), (60_000, Milestone::Ended)]);
        house.is_clean();
    }
}
