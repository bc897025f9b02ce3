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
    /// When comfort noise was sent, since the beginning, and its level in -dBov.
    pub(crate) noise: Vec<(Duration, u8)>,
    start: Instant,
}

impl Lab {
    pub(crate) fn new(from: AudioFormat, to: AudioFormat) -> Self {
        Self::with(from, to, false)
    }

    /// `comfort_noise`: the peer takes it.
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    pub(crate) fn with(from: AudioFormat, to: AudioFormat, comfort_noise: bool) -> Self {
        let way = Way { leg: META, generation: 1 };
        let mut coders = Coders::new(4);
        let now = Instant::now();
        let plan = Plan { from, to, opus: OpusTarget::META, comfort_noise };
        coders.handle(&Job::Open { way, plan }, now);
        Self { coders, way, now, heard: Vec::new(), keep: true, noise: Vec::new(), start: now }
    }

    pub(crate) fn feed(&mut self, n: u32, step: u32, payload: &[u8]) {
        let (sequence, timestamp) = (n as u16, n.wrapping_mul(step));
        let packet = Packet { kind: Kind::Audio, ssrc: 7, sequence, timestamp, payload };
        self.coders.handle(&Job::Packet { way: self.way, packet }, self.now);
    }

    pub(crate) fn run(&mut self) {
        let until = self.now + Duration::from_millis(20);
        while let Some(at) = self.coders.poll_timeout().filter(|at| *at <= until) {
            let (heard, keep, noise, start) = (&mut self.heard, self.keep, &mut self.noise, self.start);
            self.coders.handle_timeout(at, |_, packet| {
                if packet.kind == Kind::Noise {
                    noise.extend(packet.payload.first().map(|level| (at - start, *level)));
                } else if keep {
                    heard.push(packet.payload.to_vec());
                }
            });
        }
        self.now = until;
    }
}
