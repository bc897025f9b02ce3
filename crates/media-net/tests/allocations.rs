//! A packet thread does not allocate for a packet: counted by an allocator of this test program's own.
#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use setu_media::{Command, Event};
use setu_media_net::MediaPlane;
use setu_model::Side;
use setu_srtp::Suite;
use support::peer::Peer;
use support::{Fixture, call, config, host, leg};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Set by the first event, which is told on the packet thread.
    static IS_PACKET_THREAD: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_PACKET_THREAD.get() {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_steady_call_does_not_allocate() {
    let (sender, events) = std::sync::mpsc::channel();
    let on_event = move |event: Event| {
        IS_PACKET_THREAD.set(true);
        let _ = sender.send(event);
    };
    let (tap, frames) = crossbeam_channel::bounded(1);
    let plane = MediaPlane::spawn(config(110, 20_000..=20_019), tap, on_event).unwrap();
    let fixture = Fixture { plane, events, frames };
    let suites = [Some(Suite::AesCm128HmacSha1_80), Some(Suite::AeadAes128Gcm)];
    let mut peers = [Side::Meta, Side::Agents].map(|side| {
        let index = u8::from(side == Side::Agents);
        let suite = suites[usize::from(index)];
        let peer = Peer::new(host(110, side), fixture.open(leg(1, index), side), suite);
        let setup = peer.setup(leg(1, index), side, suite);
        fixture.send(Command::Configure(Box::new(setup)));
        fixture.send(Command::Start { leg: leg(1, index) });
        peer
    });
    fixture.send(Command::Bridge { one: leg(1, 0), other: leg(1, 1) });
    fixture.settle();

    let mut talk = |packets: u8| {
        let [customer, agent] = &mut peers;
        for number in 0..packets {
            customer.say(&[0xf8, 1, number]);
            agent.hear(&[0xf8, 1, number]);
            agent.say(&[0xf8, 2, number]);
            customer.hear(&[0xf8, 2, number]);
        }
    };
    talk(20);
    let before = COUNT.load(Ordering::Relaxed);
    talk(200);
    assert_eq!(COUNT.load(Ordering::Relaxed), before);
    fixture.close(call(1));
    assert!(COUNT.load(Ordering::Relaxed) > before, "the packet thread was counted");
}
