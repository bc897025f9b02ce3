//! The packet path does not allocate: counted by an allocator of this test program's own.
#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use setu_srtp::Suite;
use support::{SSRC, receiver, report, sender, voice};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
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
fn no_packet_of_a_known_source_allocates() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let (voice, report) = (voice(SSRC, 0, 160), report(SSRC));
        let mut buffer = [0; 400];
        let mut before = 0;
        for sequence in 0..1_000_u16 {
            if sequence == 1 {
                before = COUNT.get();
            }
            buffer[..voice.len()].copy_from_slice(&voice);
            buffer[2..4].copy_from_slice(&sequence.to_be_bytes());
            let len = sender.protect_rtp(&mut buffer, voice.len()).unwrap();
            assert!(receiver.unprotect_rtp(&mut buffer[..len]).is_ok());
            assert!(receiver.unprotect_rtp(&mut buffer[..len]).is_err(), "replayed");

            buffer[..report.len()].copy_from_slice(&report);
            let len = sender.protect_rtcp(&mut buffer, report.len()).unwrap();
            buffer[len - 1] ^= 1;
            assert!(receiver.unprotect_rtcp(&mut buffer[..len]).is_err(), "forged");
        }
        assert_eq!(COUNT.get(), before, "{suite}");
    }
}
