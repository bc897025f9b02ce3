//! One way of coders, in virtual time.

use std::time::{Duration, Instant};

use setu_media::{AudioFormat, Coders, Job, Kind, OpusTarget, Packet, Plan, Way};

use super::META;

/// Coders with one way; `feed` hands them packets, `run` lets 20 ms pass.
pub(crate) struct Lab {
    pub(crate) coders: Coders,
    way: Way,
    now: Instant,
    pub(crate) heard: Vec<Vec<u8>>,
    pub(crate) keep: bool,
}

impl Lab {
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    pub(crate) fn new(from: AudioFormat, to: AudioFormat) -> Self {
        let way = Way { leg: META, generation: 1 };
        let mut coders = Coders::new(4);
        let now = Instant::now();
        let plan = Plan { from, to, opus: OpusTarget::META, comfort_noise: false };
        coders.handle(&Job::Open { way, plan }, now);
        Self { coders, way, now, heard: Vec::new(), keep: true }
    }

    pub(crate) fn feed(&mut self, n: u32, step: u32, payload: &[u8]) {
        let (sequence, timestamp) = (n as u16, n.wrapping_mul(step));
        let packet = Packet { kind: Kind::Audio, ssrc: 7, sequence, timestamp, payload };
        self.coders.handle(&Job::Packet { way: self.way, packet }, self.now);
    }

    pub(crate) fn run(&mut self) {
        let until = self.now + Duration::from_millis(20);
        while let Some(at) = self.coders.poll_timeout().filter(|at| *at <= until) {
            let (heard, keep) = (&mut self.heard, self.keep);
            self.coders.handle_timeout(at, |_, packet| {
                if keep {
                    heard.push(packet.payload.to_vec());
                }
            });
        }
        self.now = until;
    }
}
