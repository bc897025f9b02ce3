//! The mouth: a steady tone as RTP, with keys pressed in between, over a line that may lose and delay.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use setu_model::Entropy;

use super::codec::{Codec, Loop};
use super::dtmf::{self, DtmfPlan};
use super::rtp::Rtp;

/// What a party says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// A steady tone.
    Tone {
        /// Pitch in Hz, 50 to 3,400.
        hz: u32,
        /// Level in dB below a full-scale sine, -60 to 0.
        dbfs: i32,
    },
    /// One word, which begins with the first packet, and silence behind it.
    Word {
        /// Pitch in Hz, 50 to 3,400.
        hz: u32,
        /// Level in dB below a full-scale sine, -60 to 0.
        dbfs: i32,
        /// Its length in milliseconds.
        ms: u32,
    },
    /// Packets of silence.
    Silence,
    /// No packet at all: what makes the other side's media timer fire.
    Nothing,
}

impl Says {
    /// A tone at a comfortable -12 dB.
    pub const fn tone(hz: u32) -> Self {
        Self::Tone { hz, dbfs: -12 }
    }

    /// A word of `ms` milliseconds at the same level.
    pub const fn word(hz: u32, ms: u32) -> Self {
        Self::Word { hz, dbfs: -12, ms }
    }
}

/// What the line does to the packets a party sends. Seeded, so the same call fails the same way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Impairment {
    /// Packets lost, in per cent, 0 to 100.
    pub loss_percent: u8,
    /// Each packet is delayed by a random time up to this, in milliseconds, in order.
    pub jitter_ms: u32,
    /// Packets sent 30 ms late, behind their followers, in per cent, 0 to 100.
    pub reorder_percent: u8,
}

/// How the mouth speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MouthPlan {
    pub(crate) codec: Codec,
    pub(crate) send_pt: u8,
    pub(crate) ptime_ms: u32,
    /// Payload type and clock of telephone events.
    pub(crate) dtmf: Option<(u8, u32)>,
    pub(crate) says: Says,
    pub(crate) impairment: Impairment,
}

pub(crate) struct Mouth {
    plan: MouthPlan,
    audio: Option<Loop>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    spoken: usize,
    next_at: Option<Instant>,
    keys: VecDeque<Key>,
    pressed: Option<Pressed>,
    line: BTreeMap<(Instant, u64), Rtp>,
    line_free_at: Option<Instant>,
    numbered: u64,
    pub(crate) sent_packets: u32,
    pub(crate) sent_octets: u32,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    digit: char,
    at: Instant,
    hold: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Pressed {
    key: Key,
    began_timestamp: u32,
    /// Milliseconds told so far.
    told_ms: u32,
}

impl Mouth {
    pub(crate) fn new(plan: MouthPlan, entropy: &mut dyn Entropy) -> Self {
        Self {
            audio: sound(&plan),
            plan,
            ssrc: entropy.next_u32(),
            // Below 2^15, so that a lost first packet cannot cost the peer the rollover counter (RFC 3711 3.3.1).
            sequence: entropy.next_u32() as u16 & 0x7fff,
            timestamp: entropy.next_u32(),
            marker: true,
            spoken: 0,
            next_at: None,
            keys: VecDeque::new(),
            pressed: None,
            line: BTreeMap::new(),
            line_free_at: None,
            numbered: 0,
            sent_packets: 0,
            sent_octets: 0,
        }
    }

    /// Follows a renegotiation. Source, sequence and time stamp go on.
    pub(crate) fn replan(&mut self, plan: MouthPlan) {
        self.audio = sound(&plan);
        self.plan = plan;
    }

    /// Starts to speak at `now`, if it does not already.
    pub(crate) fn open(&mut self, now: Instant) {
        self.next_at.get_or_insert(now);
    }

    /// Falls silent: no packet at all until [`open`](Self::open).
    pub(crate) fn shut(&mut self) {
        self.next_at = None;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.next_at.is_some()
    }

    /// Takes a new source, as a device that broke its stream would.
    pub(crate) fn change_source(&mut self, entropy: &mut dyn Entropy) {
        self.ssrc = entropy.next_u32();
        self.sequence = entropy.next_u32() as u16;
        self.timestamp = entropy.next_u32();
        self.marker = true;
    }

    /// Presses keys, beginning at `from`.
    pub(crate) fn press(&mut self, plan: &DtmfPlan, from: Instant) {
        let mut at = from;
        for digit in plan.digits.chars().take(KEYS) {
            let hold = Duration::from_millis(plan.hold_ms);
            self.keys.push_back(Key { digit, at, hold });
            at += hold + Duration::from_millis(plan.pause_ms);
        }
    }

    pub(crate) const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(crate) const fn timestamp(&self) -> u32 {
        self.timestamp
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let line = self.line.keys().next().map(|(at, _)| *at);
        let next = self.next_at.filter(|_| self.plan.says != Says::Nothing || self.keys_wait());
        [line, next].into_iter().flatten().min()
    }

    /// Speaks everything that is due; returns the packets that leave the line.
    pub(crate) fn speak(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Vec<Rtp> {
        let frame = Duration::from_millis(u64::from(self.plan.ptime_ms));
        while let Some(at) = self.next_at.filter(|at| *at <= now) {
            self.next_at = Some(at + frame);
            for packet in self.frame(at) {
                self.put_on_line(packet, at, entropy);
            }
        }
        let mut out = Vec::new();
        while let Some(entry) = self.line.first_entry().filter(|e| e.key().0 <= now) {
            let packet = entry.remove();
            self.sent_packets = self.sent_packets.wrapping_add(1);
            self.sent_octets = self.sent_octets.wrapping_add(packet.payload.len() as u32);
            out.push(packet);
        }
        out
    }

    fn keys_wait(&self) -> bool {
        self.pressed.is_some() || !self.keys.is_empty()
    }

    /// The packets of one frame time, beginning at `at`.
    fn frame(&mut self, at: Instant) -> Vec<Rtp> {
        let began = self.timestamp;
        self.timestamp = began.wrapping_add(self.plan.codec.clock() * self.plan.ptime_ms / 1_000);
        if self.pressed.is_none()
            && let Some(key) = self.keys.pop_front_if(|key| key.at <= at)
        {
            self.pressed = Some(Pressed { key, began_timestamp: began, told_ms: 0 });
            self.marker = true;
        }
        if let (Some(pressed), Some((pt, clock))) = (self.pressed, self.plan.dtmf) {
            return self.event(pressed, pt, clock);
        }
        self.pressed = None;
        let Some(audio) = &self.audio else { return Vec::new() };
        let payload = audio.packet(self.spoken);
        self.spoken += 1;
        vec![self.packet(self.plan.send_pt, began, payload)]
    }

    /// One packet while the key is held; three with the end bit when it is let go (RFC 4733 section 2.5.1.4).
    fn event(&mut self, mut pressed: Pressed, pt: u8, clock: u32) -> Vec<Rtp> {
        pressed.told_ms += self.plan.ptime_ms;
        let end = u128::from(pressed.told_ms) >= pressed.key.hold.as_millis();
        let duration = u16::try_from(pressed.told_ms * (clock / 1_000)).unwrap_or(u16::MAX);
        let payload = dtmf::write(dtmf::Event { digit: pressed.key.digit, end, duration });
        self.pressed = (!end).then_some(pressed);
        let times = if end { 3 } else { 1 };
        (0..times).map(|_| self.packet(pt, pressed.began_timestamp, payload.clone())).collect()
    }

    fn packet(&mut self, payload_type: u8, timestamp: u32, payload: Bytes) -> Rtp {
        let marker = std::mem::take(&mut self.marker);
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Rtp { marker, payload_type, sequence, timestamp, ssrc: self.ssrc, payload }
    }

    fn put_on_line(&mut self, packet: Rtp, at: Instant, entropy: &mut dyn Entropy) {
        let Impairment { loss_percent, jitter_ms, reorder_percent } = self.plan.impairment;
        let mut chance = |percent: u8| percent > 0 && entropy.next_u32() % 100 < u32::from(percent);
        if chance(loss_percent) {
            return;
        }
        let late = chance(reorder_percent);
        let jitter = if jitter_ms > 0 { entropy.next_u32() % (jitter_ms + 1) } else { 0 };
        let mut leaves = at + Duration::from_millis(u64::from(jitter));
        if late {
            leaves += Duration::from_millis(30);
        } else {
            leaves = self.line_free_at.map_or(leaves, |free| leaves.max(free));
            self.line_free_at = Some(leaves);
        }
        self.numbered += 1;
        self.line.insert((leaves, self.numbered), packet);
    }
}

/// Most keys one plan presses.
const KEYS: usize = 64;

fn sound(plan: &MouthPlan) -> Option<Loop> {
    match plan.says {
        Says::Tone { hz, dbfs } => Some(Loop::tone(plan.codec, hz, dbfs, plan.ptime_ms)),
        Says::Word { hz, dbfs, ms } => Some(Loop::word(plan.codec, (hz, dbfs, ms), plan.ptime_ms)),
        Says::Silence => Some(Loop::tone(plan.codec, 0, 0, plan.ptime_ms)),
        Says::Nothing => None,
    }
}
