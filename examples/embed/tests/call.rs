//! The example as its reader would run it: a call goes through it, and it prints the call's record.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::time::Duration;

use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer};
use setu_twin::meta::{CallSpec, UserSaw};

#[path = "../../../crates/setu/tests/interop/house.rs"]
#[expect(dead_code, reason = "shared with the tests of the command line")]
mod house;
#[path = "../../../crates/setu/tests/interop/peers.rs"]
#[expect(dead_code, reason = "shared with the tests of the command line")]
mod peers;
#[path = "../../../crates/setu/tests/process/phones.rs"]
mod phones;
#[path = "../../../crates/setu/tests/shared/ports.rs"]
mod ports;

use house::{CUSTOMER, CUSTOMER_HZ, House, NUMBER, NUMBER_PASSWORD, Ports};
use peers::until;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_embed");

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_through_the_embedded_bridge_and_its_record_is_printed() {
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
         [[accounts]]\nname = \"alice\"\npassword = \"a\"\n"
    );
    let house = House::new(Ports::pick(), &rest);
    let mut program = house.serve_by(&mut house.command(&[]));
    until("it says where it listens", Duration::from_secs(10), || {
        program.output().contains(&format!("listening on 127.0.0.1:{}", house.ports.meta))
    });
    let edge = house.edge().await;
    let habits =
        Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(880), ..Habits::default() };
    let _phone = house.phone("alice", "a", habits).await;
    let talk = Person::saying(CUSTOMER_HZ).hanging_up_after(800);
    let report = edge.call(CallSpec::new(CUSTOMER, NUMBER).by(talk)).await.unwrap();
    assert_eq!((report.saw, report.violations), (UserSaw::Connected, vec![]));
    let cdr = house.cdrs(1).remove(0);
    until("the record is printed", Duration::from_secs(10), || {
        program.output().contains(&format!("{} UserInitiated success", cdr.call))
    });
    program.signal("INT");
    assert!(program.wait(Duration::from_secs(20)).success());
    assert!(program.output().contains("no new calls; 0 still alive"));
}
