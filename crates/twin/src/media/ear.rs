//! The ear: turns received packets into a [`Heard`] report.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::analysis::{WINDOW, dbfs, dominant_hz};
use super::codec::{Codec, Decoder, opus_samples};
use super::dtmf;
use super::heard::{Gap, Heard, HeardDigit, ToneSpan};
use super::rtp::Rtp;

/// Quieter than this is silence: comfort frames and codec noise lie below, speech and our tones above.
const SILENCE_DBFS: f64 = -50.0;

/// Two windows closer than this in pitch are one tone.
const SAME_TONE_HZ: f64 = 8.0;

/// A step in sequence numbers that no loss explains: ten seconds of voice.
const SEQUENCE_JUMP: i64 = 500;

/// How far time stamps may run ahead of or behind the clock before it is a jump.
const TIMESTAMP_SLACK: Duration = Duration::from_millis(500);

/// A gap worth a line: two packets missing.
const GAP: Duration = Duration::from_millis(60);

/// Most gaps, tones and digits one report keeps.
const LINES: usize = 200;

/// Digits whose late packets are still told apart from new ones.
const LATE_DIGITS: usize = 8;

/// What the ear noticed in one packet, for whoever must act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noticed {
    FirstPacket,
    SecondSsrc,
    WrongPtime,
    Digit(char),
}

/// What the ear expects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EarPlan {
    pub(crate) codec: Codec,
    pub(crate) receive_pt: u8,
    pub(crate) ptime_ms: u32,
    /// Payload type and clock of telephone events.
    pub(crate) dtmf: Option<(u8, u32)>,
    /// Whether a second source mutes the rest.
    pub(crate) mute_second_ssrc: bool,
    /// Whether to decode at all; a simulation of thousands of calls counts packets only.
    pub(crate) listen: bool,
}

pub(crate) struct Ear {
    plan: EarPlan,
    decoder: Decoder,
    heard: Heard,
    /// Time zero of the report.
    answered: Instant,
    sequence: Option<Extended>,
    /// Losses before the last jump or change of source.
    lost_before: u64,
    seen: BTreeSet<i64>,
    last_arrival: Option<Instant>,
    last_audio: Option<LastAudio>,
    window: Vec<f32>,
    window_began: Option<Instant>,
    energy: f64,
    loud_samples: u64,
    /// Time stamps of the latest events, and where their digits stand in the report.
    digits: Vec<(u32, usize)>,
}

/// Sequence numbers without wrap-around (RFC 3550 appendix A.1).
#[derive(Debug, Clone, Copy)]
struct Extended {
    first: i64,
    highest: i64,
    distinct: i64,
}

impl Extended {
    const fn starting_at(first: i64) -> Self {
        Self { first, highest: first, distinct: 1 }
    }

    fn lost(self) -> u64 {
        u64::try_from(self.highest - self.first + 1 - self.distinct).unwrap_or(0)
    }
}

#[derive(Debug, Clone, Copy)]
struct LastAudio {
    at: Instant,
    sequence: i64,
    timestamp: u32,
}

impl Ear {
    pub(crate) fn new(plan: EarPlan, answered: Instant) -> Self {
        Self {
            decoder: Decoder::new(plan.codec),
            plan,
            heard: Heard::default(),
            answered,
            sequence: None,
            lost_before: 0,
            seen: BTreeSet::new(),
            last_arrival: None,
            last_audio: None,
            window: Vec::new(),
            window_began: None,
            energy: 0.0,
            loud_samples: 0,
            digits: Vec::new(),
        }
    }

    /// Follows a renegotiation; what was heard stays.
    pub(crate) fn replan(&mut self, plan: EarPlan) {
        if plan.codec != self.plan.codec {
            self.decoder = Decoder::new(plan.codec);
            self.window.clear();
        }
        self.plan = plan;
    }

    /// Moves time zero: the call was answered just now. Times noted before become negative.
    pub(crate) fn answered(&mut self, at: Instant) {
        let by = i64::try_from(at.saturating_duration_since(self.answered).as_millis()).unwrap_or(0);
        self.answered = at;
        let heard = &mut self.heard;
        for time in [&mut heard.first_packet_ms, &mut heard.first_audio_ms, &mut heard.last_audio_ms] {
            *time = time.map(|t| t - by);
        }
        heard.tones.iter_mut().for_each(|t| (t.from_ms, t.to_ms) = (t.from_ms - by, t.to_ms - by));
        heard.gaps.iter_mut().for_each(|g| g.at_ms -= by);
        heard.dtmf.iter_mut().for_each(|d| d.at_ms -= by);
    }

    pub(crate) fn heard_mut(&mut self) -> &mut Heard {
        &mut self.heard
    }

    pub(crate) fn highest_sequence(&self) -> u32 {
        self.sequence.map_or(0, |s| s.highest as u32)
    }

    /// The report as of now; losses and tones included.
    pub(crate) fn report(&self) -> Heard {
        let mut heard = self.heard.clone();
        heard.lost = self.lost_before + self.sequence.map_or(0, Extended::lost);
        if self.loud_samples > 0 {
            heard.dbfs = Some(10.0 * (2.0 * self.energy / self.loud_samples as f64).log10());
        }
        let longest = heard.tones.iter().map(|t| (heard.heard_ms(t.hz, SAME_TONE_HZ), t.hz));
        heard.hz = longest.max_by(|a, b| a.0.cmp(&b.0)).map(|(_, hz)| hz);
        heard
    }

    /// Takes one authentic packet.
    pub(crate) fn take(&mut self, packet: &Rtp, now: Instant, noticed: &mut Vec<Noticed>) {
        self.note_source(packet, now, noticed);
        if self.heard.ssrcs.first() != Some(&packet.ssrc) && self.plan.mute_second_ssrc {
            return;
        }
        self.heard.packets += 1;
        self.heard.bytes += packet.payload.len() as u64;
        self.note_arrival(now);
        let Some(sequence) = self.note_sequence(packet.sequence) else { return };
        if self.plan.dtmf.is_some_and(|(pt, _)| pt == packet.payload_type) {
            self.note_event(packet, now, noticed);
        } else if packet.payload_type == self.plan.receive_pt {
            self.note_audio(packet, sequence, now, noticed);
        } else {
            self.heard.unknown += 1;
        }
    }

    fn ms(&self, at: Instant) -> i64 {
        let ahead = at.saturating_duration_since(self.answered).as_millis();
        let behind = self.answered.saturating_duration_since(at).as_millis();
        ahead as i64 - behind as i64
    }

    fn note_source(&mut self, packet: &Rtp, now: Instant, noticed: &mut Vec<Noticed>) {
        if self.heard.ssrcs.is_empty() {
            self.heard.first_packet_ms = Some(self.ms(now));
            noticed.push(Noticed::FirstPacket);
        }
        if !self.heard.ssrcs.contains(&packet.ssrc) && self.heard.ssrcs.len() < LINES {
            self.heard.ssrcs.push(packet.ssrc);
            if self.heard.ssrcs.len() > 1 {
                self.heard.muted |= self.plan.mute_second_ssrc;
                noticed.push(Noticed::SecondSsrc);
                // Another source has its own numbering.
                self.lost_before += self.sequence.take().map_or(0, Extended::lost);
                self.last_audio = None;
            }
        }
    }

    fn note_arrival(&mut self, now: Instant) {
        if let Some(last) = self.last_arrival.replace(now) {
            let gap = now.saturating_duration_since(last);
            self.heard.longest_gap_ms = self.heard.longest_gap_ms.max(gap.as_millis() as u64);
            if gap > GAP && self.heard.gaps.len() < LINES {
                self.heard.gaps.push(Gap { at_ms: self.ms(last), ms: gap.as_millis() as u64 });
            }
        }
    }

    /// Returns the extended number, or `None` for a duplicate.
    fn note_sequence(&mut self, number: u16) -> Option<i64> {
        let Some(known) = &mut self.sequence else {
            return Some(self.begin_numbering(i64::from(number)));
        };
        let step = i64::from(number.wrapping_sub(known.highest as u16) as i16);
        let extended = known.highest + step;
        if step.abs() > SEQUENCE_JUMP {
            // What a jump leaves out was never sent: it is no loss.
            self.heard.sequence_jumps += 1;
            self.lost_before += known.lost();
            return Some(self.begin_numbering(extended));
        }
        if !self.seen.insert(extended) {
            self.heard.duplicated += 1;
            return None;
        }
        self.heard.reordered += u64::from(step < 0);
        known.distinct += 1;
        known.first = known.first.min(extended);
        known.highest = known.highest.max(extended);
        if self.seen.len() > 2 * SEQUENCE_JUMP as usize {
            self.seen.pop_first();
        }
        Some(extended)
    }

    fn begin_numbering(&mut self, first: i64) -> i64 {
        self.sequence = Some(Extended::starting_at(first));
        self.seen = BTreeSet::from([first]);
        first
    }

    fn note_audio(&mut self, packet: &Rtp, sequence: i64, now: Instant, noticed: &mut Vec<Noticed>) {
        let clock = self.plan.codec.clock();
        let frame = clock * self.plan.ptime_ms / 1_000;
        let length = match self.plan.codec {
            Codec::Opus => opus_samples(&packet.payload).unwrap_or(0),
            Codec::Pcmu | Codec::Pcma => packet.payload.len() as u32,
        };
        if length != frame {
            self.heard.ptime_violations += 1;
            noticed.push(Noticed::WrongPtime);
        }
        let newest = self.last_audio.is_none_or(|last| sequence > last.sequence);
        if let Some(last) = self.last_audio.filter(|_| newest) {
            let step = packet.timestamp.wrapping_sub(last.timestamp);
            let passed = now.saturating_duration_since(last.at);
            let told = Duration::from_secs_f64(f64::from(step) / f64::from(clock));
            let grid = if length == 0 { frame } else { length.min(frame) };
            if step == 0 || step % grid.max(1) != 0 || told.abs_diff(passed) > TIMESTAMP_SLACK {
                self.heard.timestamp_jumps += 1;
            }
        }
        if newest {
            self.last_audio = Some(LastAudio { at: now, sequence, timestamp: packet.timestamp });
        }
        if self.plan.listen {
            match self.decoder.decode(&packet.payload) {
                Some(pcm) => self.note_pcm(&pcm, now),
                None => self.heard.unknown += 1,
            }
        }
    }

    fn note_pcm(&mut self, pcm: &[f32], now: Instant) {
        if dbfs(pcm).is_none_or(|level| level < SILENCE_DBFS) {
            self.window.clear();
            return;
        }
        let at = self.ms(now);
        self.heard.first_audio_ms.get_or_insert(at);
        self.heard.last_audio_ms = Some(at);
        self.heard.sounding += 1;
        self.energy += pcm.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>();
        self.loud_samples += pcm.len() as u64;
        if self.window.is_empty() {
            self.window_began = Some(now);
        }
        self.window.extend_from_slice(pcm);
        let rate = self.plan.codec.pcm_rate();
        // The same 128 ms at either rate.
        if self.window.len() >= WINDOW * rate as usize / 16_000 {
            let window = std::mem::take(&mut self.window);
            let from_ms = self.window_began.map_or(at, |began| self.ms(began));
            let last_ms = pcm.len() as i64 * 1_000 / i64::from(rate);
            if let (Some(hz), Some(level)) = (dominant_hz(&window, rate), dbfs(&window)) {
                self.note_tone(ToneSpan { from_ms, to_ms: at + last_ms, hz, dbfs: level });
            }
        }
    }

    fn note_tone(&mut self, tone: ToneSpan) {
        if let Some(last) = self.heard.tones.last_mut()
            && (last.hz - tone.hz).abs() < SAME_TONE_HZ
            && tone.from_ms - last.to_ms < 200
        {
            last.to_ms = tone.to_ms;
            return;
        }
        if self.heard.tones.len() < LINES {
            self.heard.tones.push(tone);
        }
    }

    fn note_event(&mut self, packet: &Rtp, now: Instant, noticed: &mut Vec<Noticed>) {
        let Some(event) = dtmf::read(&packet.payload) else {
            self.heard.unknown += 1;
            return;
        };
        let clock = self.plan.dtmf.map_or(8_000, |(_, clock)| clock);
        let duration_ms = u64::from(event.duration) * 1_000 / u64::from(clock.max(1));
        let known =
            self.digits.iter().find(|(timestamp, _)| *timestamp == packet.timestamp).map(|(_, at)| *at);
        let at = known.unwrap_or(self.heard.dtmf.len());
        if known.is_none() && at < LINES {
            let at_ms = self.ms(now);
            self.heard.dtmf.push(HeardDigit { digit: event.digit, at_ms, duration_ms, ended: false });
            self.digits.push((packet.timestamp, at));
            if self.digits.len() > LATE_DIGITS {
                self.digits.remove(0);
            }
            noticed.push(Noticed::Digit(event.digit));
        }
        if let Some(digit) = self.heard.dtmf.get_mut(at) {
            digit.duration_ms = digit.duration_ms.max(duration_ms);
            digit.ended |= event.end;
        }
    }
}
