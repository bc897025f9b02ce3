//! How `setu serve` ends and reloads while a call is alive.

use std::time::Duration;

use setu_model::{Cause, EndedBy};
use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer};
use setu_twin::meta::{CallSpec, Ender, Event, TwinCallId, UserSaw};
use setu_twin::shell::EdgeHandle;

use crate::house::{CUSTOMER, CUSTOMER_HZ, HOSTNAME, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::until;

const AGENT_HZ: u32 = 880;
const PATIENCE: Duration = Duration::from_secs(30);

/// One number, and the accounts named, each with its password.
fn rest(number: &str, accounts: &[(&str, &str)]) -> String {
    let accounts: String = accounts
        .iter()
        .map(|(name, password)| {
            format!("[[accounts]]\nname = \"{name}\"\npassword = \"{password}\"\nnumber = \"{NUMBER}\"\n")
        })
        .collect();
    format!("[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{number}\"\nagents = [\"alice\"]\n{accounts}")
}

fn agent() -> Habits {
    Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(AGENT_HZ), ..Habits::default() }
}

/// A user's call of `ms`, answered when this returns.
async fn live_call(edge: &EdgeHandle, ms: u64) -> TwinCallId {
    let mut events = edge.events();
    let spec = CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(ms));
    let call = edge.start_call(spec).await.unwrap();
    let answered = async { while events.recv().await.unwrap() != Event::FirstPacket(call) {} };
    tokio::time::timeout(PATIENCE, answered).await.unwrap();
    call
}

/// Another user's call while the first is alive.
fn second_call() -> CallSpec {
    CallSpec::new("+919876500000", NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(300))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_bridge_refuses_new_calls_and_leaves_when_the_live_one_has_ended_by_itself() {
    let (house, mut bridge) =
        House::start(Ports::pick(), &rest(NUMBER_PASSWORD, &[("alice", "a"), ("bob", "b")]));
    let edge = house.edge().await;
    let phone = house.phone("alice", "a", agent()).await;
    let bob = house.phone("bob", "b", agent()).await;
    let mut ends = edge.events();
    let phone_ended = phone.events();
    let call = live_call(&edge, 4_000).await;
    bridge.signal("TERM");
    until("the bridge drains", PATIENCE, || {
        house.http("/healthz").is_some_and(|health| health.contains("\"draining\""))
    });

    let refused = edge.call(second_call()).await.unwrap();
    assert_eq!((refused.saw, refused.status), (UserSaw::Refused, Some(503)), "{refused:?}");
    let refused = bob.dial(CUSTOMER, None).await.unwrap();
    assert_eq!((refused.answered, refused.status), (false, Some(503)), "{refused:?}");
    bridge.assert_alive();

    let report = loop {
        let event = tokio::time::timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();
        if let Some(report) = event.ended().filter(|report| report.call == call) {
            break report.clone();
        }
    };
    assert_eq!(
        (report.saw, report.ended_by, report.bye_status),
        (UserSaw::Connected, Ender::User, Some(200))
    );
    assert!(report.heard.last_audio_ms.unwrap() > 3_500, "{:?}", report.heard);
    let agent =
        setu_twin::shell::wait_for(phone_ended, PATIENCE, |event| event.ended().cloned()).await.unwrap();
    assert!(agent.talked_ms.unwrap() >= 3_900, "{agent:?}");
    assert!(bridge.wait(PATIENCE).success(), "{}", house.log());
    let served = house.cdrs(1).into_iter().find(|cdr| cdr.termination.cause == Cause::Success).unwrap();
    assert_eq!(served.termination.by, EndedBy::Customer);
    assert!(served.recording.is_some_and(|recording| recording.duration_ms >= 3_500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_hangs_up_on_both_sides_and_leaves_the_record() {
    let (house, mut bridge) = House::start(Ports::pick(), &rest(NUMBER_PASSWORD, &[("alice", "a")]));
    let edge = house.edge().await;
    let phone = house.phone("alice", "a", agent()).await;
    let (mut ends, phone_ended) = (edge.events(), phone.events());
    live_call(&edge, 60_000).await;
    bridge.signal("TERM");
    until("the bridge drains", PATIENCE, || house.log().contains("draining"));
    bridge.signal("TERM");

    let report = loop {
        let event = tokio::time::timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();
        if let Some(report) = event.ended() {
            break report.clone();
        }
    };
    assert_eq!((report.ended_by, report.requests), (Ender::Business, vec!["BYE".to_owned()]));
    assert_eq!(report.violations, []);
    let agent =
        setu_twin::shell::wait_for(phone_ended, PATIENCE, |event| event.ended().cloned()).await.unwrap();
    assert_eq!(agent.requests.last().map(String::as_str), Some("BYE"), "{agent:?}");
    assert!(bridge.wait(Duration::from_secs(10)).success(), "{}", house.log());
    let cdr = house.cdrs(1).remove(0);
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Shutdown, EndedBy::Bridge), "{cdr:?}");
    assert!(std::path::Path::new(&cdr.recording.unwrap().path).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_brings_accounts_passwords_and_certificates_while_a_call_lives() {
    let (mut house, bridge) = House::start(Ports::pick(), &rest(NUMBER_PASSWORD, &[("alice", "a")]));
    let edge = house.edge().await;
    let alice = house.phone("alice", "a", agent()).await;
    let bob = house.unregistered_phone("bob", "b", agent()).await;
    assert!(bob.register(PATIENCE).await.is_err(), "bob is unknown before the reload");
    let (mut ends, alice_ended) = (edge.events(), alice.events());
    let call = live_call(&edge, 4_000).await;

    let before = rest(NUMBER_PASSWORD, &[("alice", "a")]);
    house.config = house.config.replace(&before, &rest("another", &[("alice", "changed"), ("bob", "b")]));
    house.show(&house.authority.issue(&[HOSTNAME, "127.0.0.1", "renewed.example"]).unwrap());
    house.setu("serve"); // writes the configuration
    bridge.signal("HUP");
    until("the reload", PATIENCE, || house.log().contains("read again"));
    assert!(house.http("/healthz").unwrap().contains("renewed.example"), "the new certificate is in use");
    bob.register(PATIENCE).await.unwrap();
    let old = house.unregistered_phone("alice", "a", agent()).await;
    assert!(old.register(PATIENCE).await.is_err(), "the old password is worth nothing");
    let refused = edge.call(second_call()).await.unwrap();
    assert_ne!(refused.saw, UserSaw::Connected, "Meta's old password is worth nothing");

    let report = loop {
        let event = tokio::time::timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();
        if let Some(report) = event.ended().filter(|report| report.call == call) {
            break report.clone();
        }
    };
    assert_eq!(
        (report.saw, report.ended_by, report.bye_status),
        (UserSaw::Connected, Ender::User, Some(200))
    );
    assert_eq!((report.violations, report.heard.sequence_jumps), (vec![], 0));
    let agent =
        setu_twin::shell::wait_for(alice_ended, PATIENCE, |event| event.ended().cloned()).await.unwrap();
    assert!(agent.talked_ms.unwrap() >= 3_900, "{agent:?}");
}
