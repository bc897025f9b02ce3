//! One call of each kind on a perfect network: what must work before accidents are worth trying.

use setu_call::RingOrder;
use setu_model::{Cause, EndedBy};
use setu_twin::Person;
use setu_twin::agent::Habits;
use setu_twin::meta::{Answering, CallSpec};

use crate::run::Run;
use crate::scenario::{Plan, Step};

fn smooth(steps: Vec<Step>) -> Run {
    carry_out(Plan::smooth(steps.into_iter().map(|step| (0, step)).collect()))
}

fn carry_out(plan: Plan) -> Run {
    let run = Run::of(plan);
    let faults = run.faults();
    if !faults.is_empty() {
        run.print();
    }
    assert!(faults.is_empty(), "{faults:#?}");
    run
}

/// Checks that both heard each other, and that the record says so.
fn both_heard(run: &Run) {
    let cdr = run.world.bridge.cdrs.first().unwrap();
    assert_eq!(cdr.termination.cause, Cause::Success);
    let (user, agent) = (run.world.reports.first().unwrap(), &run.world.phone_reports.first().unwrap().1);
    let near = |hz: Option<f64>, said: f64| hz.is_some_and(|hz| (hz - said).abs() < 5.0);
    assert!(near(user.heard.hz, 880.0), "the user heard {:?}", user.heard);
    assert!(near(agent.heard.hz, 440.0), "the agent heard {:?}", agent.heard);
    assert_eq!((user.heard.lost, user.heard.gaps.len()), (0, 0));
    assert!(cdr.recording.as_ref().is_some_and(|r| r.duration_ms > 1_500), "{:?}", cdr.recording);
    assert_eq!(run.world.bridge.cdrs.len(), 1);
}

fn habits() -> Habits {
    Habits { person: Person::saying(880), ..Habits::default() }
}

#[test]
fn a_user_and_every_kind_of_agent_hear_each_other() {
    for (number, phone) in
        [("+15550000001", 0), ("+15550000002", 2), ("+15550000003", 3), ("+15550000004", 4)]
    {
        let mut habits = habits();
        if phone == 2 {
            // Carol signals over TLS, so her media is encrypted too.
            habits.srtp = vec![setu_twin::media::Suite::AesCm128HmacSha1_80];
        }
        let person = Person::saying(440).hanging_up_after(2_000);
        let call = CallSpec::new("+12195550714", number).by(person);
        both_heard(&smooth(vec![Step::Phone(phone, Box::new(habits)), Step::UserCall(Box::new(call))]));
    }
}

#[test]
fn every_kind_of_agent_calls_a_user_and_they_hear_each_other() {
    for phone in 0..5 {
        let user = "+12195550714".to_owned();
        let person = Person::saying(440).hanging_up_after(2_000);
        let answering = Answering { person, ..Answering::default() };
        both_heard(&smooth(vec![
            Step::User(user.clone(), Box::new(answering)),
            Step::PhoneCall(phone, user, Box::new(habits())),
        ]));
    }
}

#[test]
fn a_user_and_every_kind_of_agent_keyed_by_dtls_hear_each_other_whoever_calls() {
    for (number, phone) in
        [("+15550000001", 0), ("+15550000002", 2), ("+15550000003", 3), ("+15550000004", 4)]
    {
        let person = Person::saying(440).hanging_up_after(2_000);
        let user = "+12195550714".to_owned();
        let call = CallSpec::new(&*user, number).by(person.clone());
        let steps = vec![(0, Step::Phone(phone, Box::new(habits()))), (0, Step::UserCall(Box::new(call)))];
        keyed_by_dtls(steps);
        let answering = Answering { person, ..Answering::default() };
        let steps = vec![
            (0, Step::User(user.clone(), Box::new(answering))),
            (0, Step::PhoneCall(phone, user, Box::new(habits()))),
        ];
        keyed_by_dtls(steps);
    }
}

fn keyed_by_dtls(steps: Vec<(u64, Step)>) {
    let run = carry_out(Plan::smooth(steps).with_dtls());
    both_heard(&run);
    let legs = run.world.bridge.cdrs.iter().flat_map(|cdr| &cdr.legs);
    // Of phones that rang and did not get the call nothing was agreed.
    let keys: Vec<_> = legs.filter_map(|leg| leg.srtp.as_deref()).collect();
    assert_eq!(keys, ["DTLS-SRTP", "DTLS-SRTP"]);
}

#[test]
fn an_agent_who_never_acknowledges_is_given_up_after_half_a_minute_and_the_user_is_hung_up_on() {
    let habits = Habits { never_acks: true, ..habits() };
    let user = "+12195550714".to_owned();
    let run = smooth(vec![
        Step::User(user.clone(), Box::new(Answering { person: Person::saying(440), ..Answering::default() })),
        Step::PhoneCall(0, user, Box::new(habits)),
    ]);
    let [cdr] = run.world.bridge.cdrs.as_slice() else { panic!("one record: {:?}", run.world.bridge.cdrs) };
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::SignallingLost, EndedBy::Agent));
    let [user] = run.world.reports.as_slice() else { panic!("one report") };
    assert_eq!(user.requests, ["ACK", "BYE"]);
    // 64 T1 from our 200 (RFC 3261 section 13.3.1.4).
    assert!((31_000..34_000).contains(&user.talked_ms.unwrap()), "{user:?}");
    let agent = &run.world.phone_reports.first().unwrap().1;
    assert_eq!(agent.requests.last().map(String::as_str), Some("BYE"));
}

#[test]
fn a_call_of_more_packets_than_there_are_numbers_crosses_every_roll_over_without_a_glitch() {
    // 65,536 packets of 20 ms, and some more.
    let talk_ms = 1_311_000;
    let quiet = |hz| Person { listens: false, ..Person::saying(hz) };
    // Carol signals over TLS, so that her media is encrypted too.
    let srtp = vec![setu_twin::media::Suite::AesCm128HmacSha1_80];
    let habits = Habits { srtp, person: quiet(880), ..Habits::default() };
    let call = CallSpec::new("+12195550714", "+15550000002").by(quiet(440).hanging_up_after(talk_ms));
    let run = Run::of(Plan::smooth(vec![
        (0, Step::Phone(2, Box::new(habits))),
        (0, Step::UserCall(Box::new(call))),
        (talk_ms, Step::PhonesHangUp(0)),
    ]));
    let faults = run.faults();
    assert!(faults.is_empty(), "{faults:#?}");
    let (user, agent) = (run.world.reports.first().unwrap(), &run.world.phone_reports.first().unwrap().1);
    assert!(agent.srtp.is_some());
    for heard in [&user.heard, &agent.heard] {
        assert!(heard.packets > 65_536, "{heard:?}");
        assert_eq!((heard.lost, heard.srtp_failures, heard.unknown), (0, 0, 0), "{heard:?}");
        assert_eq!((heard.sequence_jumps, heard.timestamp_jumps), (0, 0), "{heard:?}");
        assert!(heard.gaps.is_empty() && heard.ssrcs.len() == 1, "{heard:?}");
    }
    for leg in &run.world.bridge.cdrs.first().unwrap().legs {
        let media = leg.media.unwrap();
        assert!(media.received_packets > 65_536, "{media:?}");
        assert_eq!((media.lost_packets, media.rejected_packets), (0, 0), "{media:?}");
    }
}

#[test]
fn a_plan_that_is_run_twice_is_the_same_run() {
    let print = || {
        let run = Run::of(Plan::of(7));
        (run.world.net.fingerprint(), run.world.bridge.cdrs)
    };
    assert_eq!(print(), print());
}

#[test]
fn a_program_has_a_user_called_whoever_rings_first_and_every_kind_of_agent_hears_the_user() {
    for first in [RingOrder::AgentFirst, RingOrder::CustomerFirst] {
        for (number, phone) in [("+15550000001", 0), ("+15550000003", 3), ("+15550000004", 4)] {
            let answering =
                Answering { person: Person::saying(440).hanging_up_after(3_000), ..Answering::default() };
            both_heard(&smooth(vec![
                Step::Phone(phone, Box::new(habits())),
                Step::User("+12195550714".to_owned(), Box::new(answering)),
                Step::Place(number, "+12195550714".to_owned(), first),
            ]));
        }
    }
}
