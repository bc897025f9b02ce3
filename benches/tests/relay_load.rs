//! The load tool works against all contenders, and what it tells has the promised form.

use std::process::Command;

use serde_json::Value;

#[test]
fn all_contenders_relay_a_light_load_without_loss() {
    let output = Command::new(env!("CARGO_BIN_EXE_relay-load"))
        .args(["--sessions", "5", "--seconds", "1", "--rounds", "1", "--peer", "rtpengine,floor", "--json"])
        .output()
        .expect("the tool runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {errors}"));
    for ratio in ["ratio", "floor_ratio"] {
        assert!(told[ratio].as_f64().is_some_and(|ratio| ratio > 0.0), "{ratio}: {told}");
    }
    for name in ["setu", "rtpengine", "floor"] {
        let contender = &told["contenders"][name];
        assert_eq!(contender["loss"], 0.0, "{told}");
        for figure in ["ns_cpu_per_packet", "kb_per_session", "packets"] {
            assert!(contender[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure}: {told}");
        }
        let [p50, p99] = ["p50", "p99"].map(|at| contender["latency_us"][at].as_f64().unwrap_or(0.0));
        assert!(0.0 < p50 && p50 <= p99, "{told}");
    }
}
