//! Loads through one `setu serve`: whatever ten thousand calls took is given back, and no webhook that was acknowledged is lost.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::time::Duration;

#[path = "../interop/house.rs"]
#[expect(dead_code, reason = "shared with the tests of real peers, which need all of it")]
mod house;
#[path = "../interop/peers.rs"]
#[expect(dead_code, reason = "shared with the tests of real peers, which need all of it")]
mod peers;
#[path = "../shared/ports.rs"]
mod ports;
#[path = "../interop/sipp.rs"]
#[expect(dead_code, reason = "shared with the tests of real peers, which need all of it")]
mod sipp;
mod webhooks;

use house::{House, Ports};
use peers::{Process, until};
use ports::port;
use sipp::{Sipp, trunk_house};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_setu");

/// What a bridge holds when no call is alive.
#[derive(Debug)]
struct Held {
    resident_kb: u64,
    files: usize,
}

impl Held {
    /// Waits until nothing of the calls lingers, and looks.
    fn of(house: &House, bridge: &Process) -> Self {
        until("no call, port or transaction lingers", Duration::from_secs(60), || {
            ["calls_active", "media_legs", "sip_sessions", "sip_transactions"]
                .iter()
                .all(|name| house.metric(&format!("setu_{name} ")) == 0.0)
        });
        let status = fs::read_to_string(format!("/proc/{}/status", bridge.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        Self {
            resident_kb: line.split_whitespace().nth(1).unwrap().parse().unwrap(),
            files: fs::read_dir(format!("/proc/{}/fd", bridge.id())).unwrap().count(),
        }
    }
}

#[test]
fn ten_thousand_calls_leave_no_memory_no_file_and_no_port_behind() {
    // The first 2,000 calls take longer than a transaction lingers (32 s, 64 T1): both looks follow the same load.
    let (rate, pbx) = (60, port());
    let house = trunk_house(Ports::pick(), pbx);
    let bridge = house.serve_by(house.setu("serve").env("SETU_LOG", "warn"));
    let sipp = Sipp::prepare(&house);
    let _answering = sipp.start("pbx", &["-sf", "trunk_uas.xml", "-t", "u1", "-p", &pbx.to_string()]);
    let mut seen = vec![Held::of(&house, &bridge)];
    for calls in [2_000, 8_000] {
        let mut calling = sipp.start("meta", &sipp.meta_calls(&house, rate, calls, 100));
        let status = calling.wait(Duration::from_secs(200));
        assert!(status.success(), "{status}: {} calls failed", sipp.figure("meta", "FailedCall(C)"));
        seen.push(Held::of(&house, &bridge));
    }
    let text = fs::read_to_string(house.path("cdr/cdr.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 10_000);
    assert!(text.lines().all(|line| line.contains("\"success\"")), "a call went wrong");
    let [_idle, warm, last] = seen.as_slice() else { panic!("three looks") };
    assert!(last.resident_kb * 100 <= warm.resident_kb * 105, "memory grew: {seen:#?}");
    // The connections of this test's own questions may still be closing; a leak would be one a call.
    assert!(last.files <= warm.files + 4, "files are left open: {seen:#?}");
}
