//! Start, stop and the descriptors of the whole process; alone in its file because it counts them.

mod support;

use std::net::UdpSocket;

use setu_media::{Command, Event, SetupRefused};
use setu_model::Side;
use support::{Fixture, call, config, host, is_stopped, leg};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

fn threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task").expect("procfs").flatten();
    let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("setu-media")).count()
}

/// One test, so that no other opens descriptors or threads meanwhile.
#[test]
fn nothing_is_left_behind() {
    let before = descriptors();
    let fixture = Fixture::new(config(100, 20_000..=20_009));
    let idle = descriptors();
    five_hundred_calls_leave_no_descriptor(&fixture, idle);
    assert_eq!(threads(), 1);
    commands_for_a_call_that_is_gone_are_answered(&fixture);
    assert!(fixture.plane.is_healthy());

    for number in 0..4 {
        fixture.open(leg(number, 0), Side::Meta);
    }
    let Fixture { plane, events, frames: _ } = fixture;
    plane.shutdown();
    let closed: Vec<_> = events.iter().collect();
    let calls: Vec<_> = (0..4).map(call).collect();
    let is_closed =
        |(event, wanted): (&Event, _)| matches!(event, Event::Closed { call, .. } if call == wanted);
    assert_eq!(closed.len(), 4, "the callback is gone with the thread");
    assert!(closed.iter().zip(&calls).all(is_closed), "{closed:?}");
    assert_eq!((descriptors(), threads()), (before, 0));
    UdpSocket::bind((host(100, Side::Meta), 20_000)).unwrap();

    let dropped = Fixture::new(config(100, 20_000..=20_009));
    dropped.open(leg(9, 0), Side::Meta);
    drop(dropped);
    assert_eq!((descriptors(), threads()), (before, 0), "dropping the plane stops it too");
}

fn five_hundred_calls_leave_no_descriptor(fixture: &Fixture, idle: usize) {
    for number in 0..500 {
        fixture.open(leg(number, 0), Side::Meta);
        fixture.open(leg(number, 1), Side::Agents);
        if number % 2 == 0 {
            fixture.send(Command::CloseLeg { leg: leg(number, 1) });
        }
        fixture.close(call(number));
    }
    assert_eq!(descriptors(), idle);
    let totals = fixture.plane.totals();
    assert_eq!((totals.calls, totals.legs, totals.busy_ports), (0, 0, 0));
}

fn commands_for_a_call_that_is_gone_are_answered(fixture: &Fixture) {
    fixture.send(Command::Close { call: call(77) });
    assert_eq!(fixture.event(), Event::Closed { call: call(77), quality: Vec::new() });
    fixture.send(Command::CloseLeg { leg: leg(77, 1) });
    assert!(matches!(fixture.event(), Event::LegClosed { leg: gone, .. } if gone == leg(77, 1)));
    fixture.send(Command::Bridge { one: leg(77, 0), other: leg(77, 1) });
    let refused = Event::SetupFailed { leg: leg(77, 0), why: SetupRefused::UnknownLeg };
    assert_eq!(fixture.event(), refused);
    fixture.send(Command::Start { leg: leg(77, 0) });
    assert!(!is_stopped(&fixture.plane.send(Command::Tap { call: call(77), on: true })));
}
