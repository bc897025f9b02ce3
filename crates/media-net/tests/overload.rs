//! More commands than a packet thread takes.

mod support;

use std::sync::{Arc, Mutex, mpsc};

use setu_media::{Command, Event};
use setu_media_net::{MediaPlane, SendError};
use setu_model::Side;
use support::{Fixture, call, config, leg};

/// Or its ports would stay taken for as long as the bridge runs.
#[test]
fn a_call_is_closed_however_many_commands_wait() {
    let (tap, frames) = crossbeam_channel::bounded(1);
    let (sender, events) = mpsc::channel();
    let busy = Arc::new(Mutex::new(()));
    let gate = Arc::clone(&busy);
    // Only at this event: the plane may still be inside the call for the one before when the test has it.
    let on_event = move |event| {
        let stalls = matches!(event, Event::Closed { call: closed, .. } if closed == call(77));
        let _ = sender.send(event);
        if stalls {
            drop(gate.lock());
        }
    };
    let plane = MediaPlane::spawn(config(101, 20_000..=20_009), tap, on_event).expect("the plane starts");
    let fixture = Fixture { plane, events, frames };
    fixture.open(leg(1, 0), Side::Meta);
    fixture.open(leg(1, 1), Side::Agents);

    let held = busy.lock().expect("nobody panicked");
    fixture.send(Command::Close { call: call(77) });
    fixture.event();
    let fill = || fixture.plane.send(Command::Tap { call: call(1), on: true });
    let full = std::iter::repeat_with(fill).find_map(Result::err);
    assert!(matches!(full, Some(SendError::Full(_))), "{full:?}");
    fixture.send(Command::CloseLeg { leg: leg(1, 1) });
    fixture.send(Command::Close { call: call(1) });
    drop(held);
    fixture.wait_for(|event| {
        matches!(event, Event::Closed { call: closed, .. } if closed == call(1)).then_some(())
    });
    let totals = fixture.plane.totals();
    assert_eq!((totals.calls, totals.legs), (0, 0));
}
