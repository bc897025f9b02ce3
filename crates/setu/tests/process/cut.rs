//! A network that is cut in the middle of a call, and comes back. Bridge and twins have a network namespace of their own,
//! whose loopback interface goes down.

use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use setu_model::{Cause, EndedBy};
use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer};
use setu_twin::meta::{CallSpec, Event, Quirks, UserSaw};

use crate::house::{CUSTOMER, CUSTOMER_HZ, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::until;

/// Sets the loopback interface of this thread's network.
fn loopback(to: &str) {
    let done = Command::new("ip").args(["link", "set", "lo", to]).status();
    assert!(done.expect("ip is missing; run `cargo xtask peers`").success());
}

fn talk(customer: &str, ms: u64) -> CallSpec {
    CallSpec::new(customer, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(ms))
}

async fn cut_and_mend() {
    let rest = format!(
        "silence_s = 5\n[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\n\
         agents = [\"alice\"]\n[[accounts]]\nname = \"alice\"\npassword = \"a\"\n"
    );
    let (house, mut bridge) = House::start(Ports::pick(), &rest);
    let edge = house.edge().await;
    let habits =
        Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(880), ..Habits::default() };
    let _phone = house.phone("alice", "a", habits).await;
    let mut events = edge.events();
    let call = edge.start_call(talk(CUSTOMER, 60_000)).await.unwrap();
    while events.recv().await.unwrap() != Event::FirstPacket(call) {}

    loopback("down");
    let cdr = house.cdrs(1).remove(0);
    assert_eq!(
        (cdr.termination.cause, cdr.termination.by),
        (Cause::MediaTimeout, EndedBy::Bridge),
        "{cdr:?}"
    );
    assert!(cdr.recording.is_some_and(|recording| std::path::Path::new(&recording.path).exists()));
    bridge.assert_alive();

    loopback("up");
    assert_eq!(house.metric("setu_calls_active"), 0.0);
    // Of somebody else over another connection: Meta may take the first to be alive still.
    let quirks = Quirks { connection_per_call: true, ..Quirks::default() };
    let spec = CallSpec { quirks: Some(quirks), ..talk("+919876500000", 500) };
    let report = edge.call(spec).await.unwrap();
    assert_eq!((report.saw, &report.violations), (UserSaw::Connected, &vec![]), "{report:?}");
    until("every port is given back", Duration::from_secs(20), || house.metric("setu_media_legs ") == 0.0);
    assert!(!house.log().contains("panicked"), "{}", house.log());
    bridge.signal("TERM");
    assert!(bridge.wait(Duration::from_secs(20)).success());
}

#[test]
fn a_cut_network_ends_the_call_with_a_record_and_calls_go_through_when_it_is_back() {
    let in_a_network_of_its_own = || {
        // Of this thread, and of the processes it starts.
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
        loopback("up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(cut_and_mend());
    };
    std::thread::spawn(in_a_network_of_its_own).join().unwrap();
}
