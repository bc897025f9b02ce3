//! A sender whose process may die at any point: no key, source and index is used twice, whatever is restored.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use setu_srtp::{Sender, SourceIndex, Suite};
use support::{report, voice};

/// What happens to a sender.
#[derive(Debug, Clone)]
enum Step {
    /// So many packets of a source, the next numbers it has.
    Voice { source: u32, packets: u16 },
    /// A source's numbers leap ahead, as after loss at the agent or a switch.
    Leap { source: u32, by: u16 },
    /// A packet that was overtaken: so many behind the newest. It may be refused.
    Late { source: u32, by: u16 },
    /// A report of a source.
    Report { source: u32 },
    /// The marks are stored; they are anyway before anything above them is used.
    Store,
    /// The process dies and begins anew from what was stored.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let source = 0..3_u32;
    prop_oneof![
        8 => (source.clone(), 1..200_u16).prop_map(|(source, packets)| Step::Voice { source, packets }),
        2 => (source.clone(), 1..8_000_u16).prop_map(|(source, by)| Step::Leap { source, by }),
        3 => (source.clone(), 1..200_u16).prop_map(|(source, by)| Step::Late { source, by }),
        4 => source.prop_map(|source| Step::Report { source }),
        1 => Just(Step::Store),
        2 => Just(Step::Crash),
    ]
}

/// A process that keeps its rule: nothing is sent above the marks that are stored.
struct Bridge {
    suite: Suite,
    sender: Sender,
    /// What is on the disk.
    stored: Vec<SourceIndex>,
    /// The next extended number of each source.
    next: [u64; 3],
    rtp: BTreeSet<(u32, u64)>,
    rtcp: BTreeSet<(u32, u32)>,
}

impl Bridge {
    fn new(suite: Suite, first: u16) -> Self {
        let next = [u64::from(first), u64::from(first) + 20, 65_400];
        let sender = support::sender(suite);
        Self { suite, sender, stored: Vec::new(), next, rtp: BTreeSet::new(), rtcp: BTreeSet::new() }
    }

    fn stored(&self, ssrc: u32) -> Option<SourceIndex> {
        self.stored.iter().copied().find(|mark| mark.ssrc == ssrc)
    }

    fn store(&mut self) {
        let marks = self.sender.snapshot().into_iter();
        self.stored = marks.map(|mark| mark.reserved_ahead(RTP_AHEAD, RTCP_AHEAD)).collect();
    }

    /// Has marks above what is about to be used stored before it is used. A source that is not known yet is stored as
    /// if its first index were used.
    fn reserve(&mut self, ssrc: u32, rtp: u64, rtcp: u32) {
        if self.stored(ssrc).is_none_or(|mark| rtp >= mark.rtp || rtcp >= mark.rtcp) {
            self.store();
            let mark = SourceIndex { ssrc, rtp: rtp + 1, rtcp: rtcp + 1 };
            let mark = mark.reserved_ahead(RTP_AHEAD, RTCP_AHEAD);
            match self.stored.iter_mut().find(|mark| mark.ssrc == ssrc) {
                Some(stored) => {
                    (stored.rtp, stored.rtcp) = (stored.rtp.max(mark.rtp), stored.rtcp.max(mark.rtcp));
                }
                None => self.stored.push(mark),
            }
        }
    }

    fn rtcp_next(&self, ssrc: u32) -> u32 {
        let known = self.sender.snapshot().into_iter().find(|mark| mark.ssrc == ssrc);
        known.map_or(1, |mark| mark.rtcp.max(1))
    }

    /// Where a source is: above all of its indexes that were used, or may have been.
    fn at(&self, ssrc: u32) -> u64 {
        self.sender.snapshot().iter().find(|mark| mark.ssrc == ssrc).map_or(0, |mark| mark.rtp)
    }

    /// The next number of a source: a context that does not know it takes its first packet to be of the first period.
    fn next(&mut self, ssrc: u32) -> u64 {
        let fresh = self.at(ssrc) == 0;
        let next = &mut self.next[ssrc as usize];
        if fresh {
            *next &= 0xffff;
        }
        *next += 1;
        *next - 1
    }

    /// Sends a packet of this extended number; says whether it went out.
    fn voice(&mut self, ssrc: u32, extended: u64) -> bool {
        self.reserve(ssrc, extended, self.rtcp_next(ssrc));
        let mut buffer = voice(ssrc, (extended & 0xffff) as u16, 20);
        buffer.resize(64, 0);
        // Which index the packet was sealed with is what another context, told where the source is, opens it with.
        let Ok(len) = self.sender.protect_rtp(&mut buffer, 32) else { return false };
        let mut peer = support::receiver(self.suite);
        peer.restore(&[SourceIndex { ssrc, rtp: extended, rtcp: 0 }]);
        assert_eq!(peer.unprotect_rtp(&mut buffer[..len]), Ok(32), "sealed with another index");
        assert!(self.rtp.insert((ssrc, extended)), "index {extended} of {ssrc} was used twice");
        true
    }

    fn report(&mut self, ssrc: u32) {
        let next = self.rtcp_next(ssrc);
        self.reserve(ssrc, self.next[ssrc as usize].saturating_sub(1), next);
        let mut buffer = report(ssrc);
        let len = buffer.len();
        buffer.resize(len + 20, 0);
        let len = self.sender.protect_rtcp(&mut buffer, len).unwrap();
        let at = match self.suite {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => len - 14,
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => len - 4,
        };
        let index = u32::from_be_bytes(buffer[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        assert!(self.rtcp.insert((ssrc, index)), "report {index} of {ssrc} went twice");
    }

    fn crash(&mut self) {
        self.sender = support::sender(self.suite);
        self.sender.restore(&self.stored);
        for (ssrc, next) in (0..).zip(&mut self.next) {
            if let Some(mark) = self.stored.iter().find(|mark| mark.ssrc == ssrc) {
                *next = mark.rtp;
            }
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Voice { source, packets } => {
                for _ in 0..packets {
                    let extended = self.next(source);
                    assert!(self.voice(source, extended), "a fresh number was refused");
                }
            }
            Step::Leap { source, by } => {
                // Over half a period no receiver could follow.
                let most = self.at(source) + 0x7000;
                let next = &mut self.next[source as usize];
                *next = (*next + u64::from(by)).min(most.max(*next));
            }
            Step::Late { source, by } => {
                if let Some(extended) = self.at(source).checked_sub(u64::from(by)) {
                    self.late(source, extended);
                }
            }
            Step::Report { source } => self.report(source),
            Step::Store => self.store_if_known(),
            Step::Crash => self.crash(),
        }
    }

    /// A late packet goes out at most once, under its own index.
    fn late(&mut self, ssrc: u32, extended: u64) {
        let mut buffer = voice(ssrc, (extended & 0xffff) as u16, 20);
        buffer.resize(64, 0);
        if self.sender.protect_rtp(&mut buffer, 32).is_ok() {
            assert!(self.rtp.insert((ssrc, extended)), "late index {extended} of {ssrc} was used twice");
        }
    }

    /// Storing again never takes a mark back.
    fn store_if_known(&mut self) {
        let before = self.stored.clone();
        self.store();
        for old in before {
            match self.stored.iter_mut().find(|mark| mark.ssrc == old.ssrc) {
                Some(mark) => (mark.rtp, mark.rtcp) = (mark.rtp.max(old.rtp), mark.rtcp.max(old.rtcp)),
                None => self.stored.push(old),
            }
        }
    }
}

const RTP_AHEAD: u16 = 500;
const RTCP_AHEAD: u16 = 5;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_index_is_used_twice_wherever_the_process_dies(
        suite in prop::sample::select(Suite::ALL.to_vec()),
        first in prop_oneof![0..100_u16, 65_000..=u16::MAX, any::<u16>()],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut bridge = Bridge::new(suite, first);
        for step in &steps {
            bridge.take(step);
        }
        // Whatever came last, a restart goes on.
        bridge.crash();
        bridge.take(&Step::Voice { source: 0, packets: 3 });
        bridge.take(&Step::Report { source: 0 });
    }
}
