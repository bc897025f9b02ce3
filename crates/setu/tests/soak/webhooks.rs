//! A thousand webhooks a second while calls run, through a bridge that is killed in the middle.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use setu_benches::webhooks::Load;
use setu_model::Secret;
use setu_store::{CustomerNames, Location, Store};

use crate::house::{House, NUMBER, Ports};
use crate::peers::until;
use crate::ports::port;
use crate::sipp::{Sipp, trunk_house};

const SECRET: &str = "the-app-secret";

/// A house whose calls go to a PBX at `pbx`, and which takes webhooks.
fn house(pbx: u16) -> (House, u16) {
    let at = port();
    let mut house = trunk_house(Ports::pick(), pbx);
    house.config =
        house.config.replace("[[numbers]]\n", "[[numbers]]\nphone_number_id = \"106540352242922\"\n");
    house.config.push_str(&format!(
        "[webhooks]\nbind = \"127.0.0.1:{at}\"\napp_secrets = [{{ file = \"app.secret\" }}]\nverify_token = \"t\"\n"
    ));
    house.write("app.secret", SECRET);
    (house, at)
}

/// Whoever stops the machine can bring this about. `SETU_SECONDS` makes each half longer than the three seconds of every
/// test run; `--nocapture` shows how long the acknowledgements took.
#[test]
fn a_thousand_webhooks_a_second_beside_calls_take_effect_once_although_the_bridge_is_killed() {
    let seconds = std::env::var("SETU_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let pbx = port();
    let (house, at) = house(pbx);
    let (calls_a_second, talk_ms) = (10, 2_000);
    let sipp = Sipp::prepare(&house);
    let _answering = sipp.start("pbx", &["-sf", "trunk_uas.xml", "-t", "u1", "-p", &pbx.to_string()]);
    let calls = |seconds: u32| sipp.meta_calls(&house, calls_a_second, calls_a_second * seconds, talk_ms);
    let load = |part: u64, seconds| Load {
        to: ([127, 0, 0, 1], at).into(),
        app_secret: Secret::new(SECRET.to_owned()),
        phone_number_id: "106540352242922".to_owned(),
        run: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + part,
        rate: 1_000,
        seconds,
        connections: 16,
        again: 10,
        patience: Duration::from_secs(30),
    };
    let serve = || house.serve_by(house.setu("serve").env("SETU_LOG", "warn"));

    // All that is acknowledged before, while and after the bridge is killed ..
    let mut bridge = serve();
    let (killed, steady) = (load(0, 2 * seconds), load(1, seconds));
    let mut calling = sipp.start("first", &calls(4 * seconds));
    let (mut seen, bridge) = std::thread::scope(|scope| {
        let posting = scope.spawn(|| killed.run().unwrap());
        until("half of them are posted", Duration::from_secs(600), || {
            house.metric("setu_webhook_acknowledgement_seconds_count") >= f64::from(seconds * 900)
        });
        assert!(house.metric("setu_calls_active ") > 0.0, "no call runs");
        bridge.signal("KILL");
        bridge.wait(Duration::from_secs(20));
        let bridge = serve();
        (posting.join().unwrap(), bridge)
    });
    assert!(seen.unanswered > 0, "nothing was under way when the bridge was killed");
    eprintln!(
        "killed: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        seen.latency_ms(500),
        seen.latency_ms(990),
        seen.latency_ms(1_000)
    );
    calling.signal("KILL");
    calling.wait(Duration::from_secs(20));

    // .. and beside calls that nothing disturbs ..
    let mut calling = sipp.start("second", &calls(seconds));
    let mut undisturbed = steady.run().unwrap();
    sipp.went_well(&mut calling, "second", calls_a_second * seconds, Duration::from_secs(120));
    eprintln!(
        "undisturbed: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        undisturbed.latency_ms(500),
        undisturbed.latency_ms(990),
        undisturbed.latency_ms(1_000)
    );
    assert_eq!((seen.refused, undisturbed.refused, undisturbed.unanswered), (0, 0, 0));
    drop(bridge);

    // .. is known once, and nothing is left undone.
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(&Location::Sqlite(house.path("setu.db"))).await.unwrap();
        for (load, seen) in [(&killed, &seen), (&steady, &undisturbed)] {
            let all = load.rate * load.seconds;
            assert!(seen.acknowledged.len() >= (all * 9 / 10) as usize);
            for n in &seen.acknowledged {
                let name = format!("wa:{}", load.customer(*n));
                let names = CustomerNames { name: &name, other: &name };
                let facts = store.pair(NUMBER, names, 10).await.unwrap();
                let facts: Vec<_> = facts.into_iter().map(|(id, _)| id).collect();
                assert_eq!(facts, [format!("message:{}", load.message(*n))]);
            }
        }
        assert!(store.waiting().await.unwrap().is_empty(), "acknowledged and never acted on");
    });
}
