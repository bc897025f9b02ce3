//! The relay allocates when a call is set up, never for a packet.
#![allow(unsafe_code, reason = "counting allocations takes a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use setu_media::{Cadence, Clip, RelayHop};
use setu_srtp::Suite;

thread_local!(static COUNT: Cell<u64> = const { Cell::new(0) });

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
fn a_packet_passes_without_an_allocation() {
    for suite in Suite::ALL {
        let mut hop = RelayHop::new(suite, Instant::now()).unwrap();
        // The first packet of a source adds its SRTP state, once.
        let mut packet = hop.packet().unwrap();
        hop.pass(&mut packet);
        let before = COUNT.with(Cell::get);
        let mut sent = setu_media::Sent::default();
        for _ in 0..500 {
            let mut packet = hop.packet().unwrap();
            sent = hop.pass(&mut packet);
        }
        assert_eq!(COUNT.with(Cell::get) - before, 0, "{suite}");
        assert!(sent.datagrams > 500);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
fn a_sound_and_its_keys_are_sent_without_an_allocation() {
    let start = Instant::now();
    let mut hop = RelayHop::new(Suite::AesCm128HmacSha1_80, start).unwrap();
    let sound = Arc::new(Clip::tone(Cadence::HOLD));
    hop.play(sound);
    let (before, told) = (COUNT.with(Cell::get), hop.idle(Duration::ZERO).events);
    let sent = hop.idle(Duration::from_secs(10));
    // What a leg looked like goes out in a box, every 5 s.
    assert_eq!(COUNT.with(Cell::get) - before, sent.events - told);
    assert!(sent.datagrams >= 500 && sent.events - told <= 4, "{sent:?}");
}
