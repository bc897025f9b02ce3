//! One way: packets in, a packet every 20 ms out.

use std::time::{Duration, Instant};

use setu_model::limits::OPUS_PACKET_BYTES;

use super::buffer::{Buffer, Waiting, What};
use super::decode::Decoder;
use super::delay::{Advice, Delay, FRAME_US, MARGIN};
use super::encode::Encoder;
use super::{CodedTotals, Kind, MOST_SAMPLES, Packet, Plan};
use crate::AudioFormat;
use crate::stream::TICK;

/// Codes one source's audio for one peer.
pub(crate) struct Transcoder {
    /// Samples in 20 ms: 160 or 320.
    frame: usize,
    /// Ticks of the source's clock in 20 ms.
    ticks_in: u32,
    /// Ticks of the output's clock in 20 ms.
    ticks_out: u32,
    decoder: Decoder,
    encoder: Encoder,
    noise_out: bool,
    buffer: Buffer,
    delay: Delay,
    source: Option<u32>,
    clock: Clock,
    /// Sound that was decoded and not yet played.
    pcm: [f32; MOST_SAMPLES],
    ready: std::ops::Range<usize>,
    out: Numbers,
    /// When the source last told of a key.
    key_at: Option<Instant>,
}

/// What the 20 ms beat of a way does.
enum Clock {
    /// Nothing comes.
    Still,
    Runs(Beat),
}

/// A running source.
#[derive(Debug, Clone, Copy)]
struct Beat {
    /// When the next 20 ms are due.
    next: Instant,
    /// The time stamp of what is decoded next.
    cursor: u32,
    /// The sequence number of what was decoded last.
    sequence: Option<u16>,
    /// Ticks that were made up while nothing came, for which the cursor stood still.
    held: u32,
    pause: Pause,
}

/// Whether the source said that it pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    No,
    /// It did, and so many ticks of pause were played since.
    Told(u32),
}

/// The numbers of what comes out.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    sequence: u16,
    timestamp: u32,
    last: Option<Instant>,
    /// Frames of a pause since the last comfort noise packet.
    quiet: u32,
}

/// What became of 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Sound,
    Pause,
    /// The source is gone.
    Nothing,
}

impl Transcoder {
    /// Makes one; `None` if there is no such codec.
    pub(crate) fn new(plan: Plan, seed: u32) -> Option<Self> {
        let rate = rate(&plan);
        let ticks = |format: AudioFormat| format.clock() / 50;
        Some(Self {
            frame: rate / 50,
            ticks_in: ticks(plan.from),
            ticks_out: ticks(plan.to),
            decoder: Decoder::new(plan.from, rate, seed)?,
            encoder: Encoder::new(plan.to, rate, plan.opus)?,
            noise_out: plan.comfort_noise && !matches!(plan.to, AudioFormat::Opus { .. }),
            buffer: Buffer::default(),
            delay: Delay::new(),
            source: None,
            clock: Clock::Still,
            pcm: [0.0; MOST_SAMPLES],
            ready: 0..0,
            out: Numbers { sequence: 0, timestamp: 0, last: None, quiet: 0 },
            key_at: None,
        })
    }

    /// Sets the encoder's complexity, 0 to 10.
    pub(crate) fn set_complexity(&mut self, complexity: u8) {
        self.encoder.set_complexity(complexity);
    }

    /// Takes the loss that the peer of the output reports, in percent.
    pub(crate) fn set_loss(&mut self, percent: u8) {
        self.encoder.set_loss(percent);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        match &self.clock {
            Clock::Still => None,
            Clock::Runs(beat) => Some(beat.next),
        }
    }

    /// Takes a packet that came at `at`.
    pub(crate) fn handle_packet(&mut self, packet: Packet<'_>, at: Instant, totals: &mut CodedTotals) {
        if self.source.replace(packet.ssrc).is_some_and(|ssrc| ssrc != packet.ssrc) {
            self.stop();
        }
        match packet.kind {
            Kind::Key => self.key_at = Some(at),
            Kind::Noise => self.take(packet, What::Noise, 0, at, totals),
            Kind::Audio => match self.decoder.ticks(packet.payload) {
                Some(ticks) => self.take(packet, What::Audio, ticks, at, totals),
                None => totals.broken += 1,
            },
        }
    }

    /// Plays the 20 ms that are due at `now`.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        totals: &mut CodedTotals,
        emit: &mut impl FnMut(Packet<'_>),
    ) {
        for _ in 0..MOST_FRAMES {
            let Clock::Runs(Beat { next, .. }) = self.clock else { return };
            if next > now {
                return;
            }
            let mut pcm = [0.0; MOST_FRAME];
            let Some(pcm) = pcm.get_mut(..self.frame) else { return };
            let what = self.next_frame(pcm, now, totals);
            if what == Frame::Nothing {
                return self.stop();
            }
            match self.shape(what, pcm, now, totals) {
                Shape::LeftOut => continue,
                Shape::Once => {}
                Shape::Twice => self.send(what, pcm, now, totals, emit),
            }
            self.send(what, pcm, now, totals, emit);
            if let Clock::Runs(beat) = &mut self.clock {
                beat.next += TICK;
            }
        }
        // The owner came so late that hurrying after it would only make it later.
        if let Clock::Runs(beat) = &mut self.clock
            && beat.next <= now
        {
            totals.skipped += 1;
            beat.next = now + TICK;
        }
    }

    /// Puts a packet where it waits for its time.
    fn take(&mut self, packet: Packet<'_>, what: What, ticks: u32, at: Instant, totals: &mut CodedTotals) {
        let Packet { sequence, timestamp, payload, .. } = packet;
        let far = self.ticks_in.cast_signed() * MOST_APART;
        let ahead = match self.clock {
            Clock::Still => None,
            Clock::Runs(beat) => {
                Some(timestamp.wrapping_sub(beat.cursor).cast_signed()).filter(|ahead| ahead.abs() <= far)
            }
        };
        let Some(ahead) = ahead else {
            self.start(timestamp, at);
            self.buffer.add((sequence, timestamp, ticks), what, payload);
            return;
        };
        let (frame, ready) = (self.frame, self.ready.len());
        let ticks_in = self.ticks_in;
        let Clock::Runs(beat) = &mut self.clock else { return };
        let goes_back = ahead < 0 && (beat.pause != Pause::No || beat.held > 0) && self.buffer.is_empty();
        if goes_back {
            // Nothing of the source was played past it: the pause ends a bit earlier than was thought.
            beat.cursor = timestamp;
        }
        let waits = i64::from(timestamp.wrapping_sub(beat.cursor).cast_signed()) * FRAME_US
            / i64::from(ticks_in)
            + i64::try_from(ready).unwrap_or(0) * FRAME_US / i64::try_from(frame).unwrap_or(1);
        let until = i64::try_from(beat.next.saturating_duration_since(at).as_micros()).unwrap_or(0);
        let behind = i64::try_from(at.saturating_duration_since(beat.next).as_micros()).unwrap_or(0);
        if what == What::Audio {
            self.delay.arrived(until - behind + waits, at);
        }
        if !goes_back && ahead + ticks.cast_signed() <= 0 && what == What::Audio {
            totals.late += 1;
            return;
        }
        if !self.buffer.add((sequence, timestamp, ticks), what, payload) {
            totals.late += 1;
        }
    }

    /// Begins with a source, or goes on with it after a break.
    fn start(&mut self, timestamp: u32, at: Instant) {
        self.stop();
        self.delay.restart();
        if let Some(last) = self.out.last {
            // What was not sent is a pause in the output as well.
            let passed = at.saturating_duration_since(last).as_micros() / TICK.as_micros();
            let passed = u32::try_from(passed).unwrap_or(0).saturating_sub(1);
            self.out.timestamp = self.out.timestamp.wrapping_add(passed.wrapping_mul(self.ticks_out));
        }
        let beat = Beat { next: at + MARGIN, cursor: timestamp, sequence: None, held: 0, pause: Pause::No };
        self.clock = Clock::Runs(beat);
    }

    fn stop(&mut self) {
        self.clock = Clock::Still;
        self.buffer.clear();
        self.ready = 0..0;
    }

    /// Fills `pcm` with the next 20 ms.
    fn next_frame(&mut self, pcm: &mut [f32], now: Instant, totals: &mut CodedTotals) -> Frame {
        let mut filled = 0;
        let mut result = Frame::Pause;
        while filled < pcm.len() {
            if self.ready.is_empty() {
                match self.next_piece(pcm.len() - filled, now, totals) {
                    Frame::Nothing => return Frame::Nothing,
                    Frame::Sound => result = Frame::Sound,
                    Frame::Pause => {}
                }
            } else {
                result = Frame::Sound;
            }
            let count = self.ready.len().min(pcm.len() - filled);
            let from = self.pcm.get(self.ready.start..self.ready.start + count).unwrap_or_default();
            let to = pcm.get_mut(filled..filled + count).unwrap_or_default();
            if from.is_empty() || from.len() != to.len() {
                return Frame::Nothing;
            }
            to.copy_from_slice(from);
            self.ready.start += count;
            filled += count;
        }
        result
    }

    /// Decodes or makes up what comes next; at most `most` samples of the latter.
    fn next_piece(&mut self, most: usize, now: Instant, totals: &mut CodedTotals) -> Frame {
        loop {
            let Clock::Runs(mut beat) = self.clock else { return Frame::Nothing };
            let Some(front) = self.buffer.front() else { return self.nothing_there(most, now, totals) };
            let gap = front.timestamp.wrapping_sub(beat.cursor).cast_signed();
            let follows = beat.sequence.is_none_or(|sequence| front.sequence == sequence.wrapping_add(1));
            if gap > 0 && beat.held > 0 {
                // What was missing has been made up for already.
                let hidden = beat.held.min(gap.cast_unsigned());
                beat.cursor = beat.cursor.wrapping_add(hidden);
                beat.held = 0;
                self.delay.moved(-i64::from(hidden) * FRAME_US / i64::from(self.ticks_in));
                if !follows {
                    self.delay.lost(now);
                }
                self.clock = Clock::Runs(beat);
                continue;
            }
            if gap > 0 {
                let quiet = beat.pause != Pause::No || follows;
                return self.bridge(gap.cast_unsigned(), quiet, most, now, totals);
            }
            let Some(packet) = self.buffer.pop() else { return Frame::Nothing };
            let played = self.play(&packet, gap);
            self.buffer.recycle(packet);
            match played {
                Some(frame) => return frame,
                None => continue,
            }
        }
    }

    /// Decodes the packet that is next; `None` if nothing came of it.
    fn play(&mut self, packet: &Waiting, gap: i32) -> Option<Frame> {
        let Clock::Runs(beat) = &mut self.clock else { return None };
        beat.sequence = Some(packet.sequence);
        if packet.what == What::Noise {
            beat.pause = Pause::Told(0);
            self.decoder.take_noise(&packet.payload);
            return None;
        }
        if gap + packet.ticks.cast_signed() <= 0 {
            return None;
        }
        beat.cursor = packet.timestamp.wrapping_add(packet.ticks);
        beat.held = 0;
        beat.pause = if self.decoder.is_pause(&packet.payload) { Pause::Told(0) } else { Pause::No };
        let paused = beat.pause != Pause::No;
        let samples = self.samples(packet.ticks);
        let got = self.decoder.decode(&packet.payload, samples, &mut self.pcm)?;
        self.ready = 0..got;
        Some(if paused { Frame::Pause } else { Frame::Sound })
    }

    /// Fills a gap before a packet that is there already.
    fn bridge(
        &mut self,
        gap: u32,
        quiet: bool,
        most: usize,
        now: Instant,
        totals: &mut CodedTotals,
    ) -> Frame {
        let Clock::Runs(beat) = &mut self.clock else { return Frame::Nothing };
        let ticks = gap.min(ticks_of(most, self.ticks_in, self.frame));
        beat.cursor = beat.cursor.wrapping_add(ticks);
        let samples = samples_of(ticks, self.ticks_in, self.frame).clamp(1, self.frame);
        if quiet {
            self.decoder.pause(samples, &mut self.pcm);
            self.ready = 0..samples;
            return Frame::Pause;
        }
        self.delay.lost(now);
        let next = self.buffer.front().filter(|next| gap <= next.ticks && samples == self.frame);
        if next.is_some_and(|next| self.decoder.recover(&next.payload, samples, &mut self.pcm)) {
            totals.recovered += 1;
        } else {
            totals.concealed += 1;
            self.decoder.conceal(samples, &mut self.pcm);
        }
        self.ready = 0..samples;
        Frame::Sound
    }

    /// Fills 20 ms for which nothing came.
    fn nothing_there(&mut self, most: usize, now: Instant, totals: &mut CodedTotals) -> Frame {
        let Clock::Runs(beat) = &mut self.clock else { return Frame::Nothing };
        let ticks = ticks_of(most, self.ticks_in, self.frame);
        match &mut beat.pause {
            Pause::Told(played) => {
                *played += ticks;
                if *played > self.ticks_in * MOST_PAUSE {
                    return Frame::Nothing;
                }
                beat.cursor = beat.cursor.wrapping_add(ticks);
                self.decoder.pause(most, &mut self.pcm);
                self.ready = 0..most;
                Frame::Pause
            }
            Pause::No => {
                let keys = self.key_at.is_some_and(|at| now.saturating_duration_since(at) < KEYS);
                if keys || beat.held >= self.ticks_in * MOST_HELD {
                    return Frame::Nothing;
                }
                beat.held += ticks;
                totals.concealed += 1;
                self.delay.moved(FRAME_US);
                self.decoder.conceal(most, &mut self.pcm);
                self.ready = 0..most;
                Frame::Sound
            }
        }
    }

    /// Follows the advice about the delay, where the sound allows it.
    fn shape(&mut self, what: Frame, pcm: &[f32], now: Instant, totals: &mut CodedTotals) -> Shape {
        let opus = matches!(self.decoder, Decoder::Opus { .. });
        let silent =
            || what == Frame::Pause || pcm.iter().map(|s| s * s).sum::<f32>() < SILENT * pcm.len() as f32;
        match self.delay.advise(opus, now) {
            Advice::Shorten => {}
            Advice::ShortenInSilence if silent() => {}
            Advice::LengthenInSilence if silent() => {
                self.delay.followed(FRAME_US, now);
                totals.stretched += 1;
                if let Clock::Runs(beat) = &mut self.clock {
                    beat.next += TICK;
                }
                return Shape::Twice;
            }
            Advice::Keep | Advice::ShortenInSilence | Advice::LengthenInSilence => return Shape::Once,
        }
        // Only what is there can be left out.
        if self.buffer.is_empty() && self.ready.is_empty() {
            return Shape::Once;
        }
        self.delay.followed(-FRAME_US, now);
        totals.shortened += 1;
        Shape::LeftOut
    }

    /// Encodes 20 ms and sends them.
    fn send(
        &mut self,
        what: Frame,
        pcm: &[f32],
        now: Instant,
        totals: &mut CodedTotals,
        emit: &mut impl FnMut(Packet<'_>),
    ) {
        self.out.last = Some(now);
        let timestamp = self.out.timestamp;
        self.out.timestamp = timestamp.wrapping_add(self.ticks_out);
        let mut payload = [0; OPUS_PACKET_BYTES];
        // What still fades when a pause begins is no noise to go on with.
        let level = (self.noise_out && what == Frame::Pause).then(|| level(pcm));
        let (kind, length) = if let Some(level) = level.filter(|level| *level >= LOUDEST_NOISE) {
            let due = self.out.quiet.is_multiple_of(NOISE_EVERY);
            self.out.quiet = self.out.quiet.wrapping_add(1);
            if !due {
                return;
            }
            payload[0] = level;
            (Kind::Noise, Some(1))
        } else {
            self.out.quiet = 0;
            (Kind::Audio, self.encoder.encode(pcm, &mut payload))
        };
        let Some(payload) = length.and_then(|length| payload.get(..length)).filter(|it| !it.is_empty())
        else {
            totals.broken += 1;
            return;
        };
        let sequence = self.out.number();
        totals.coded += 1;
        emit(Packet { kind, ssrc: 0, sequence, timestamp, payload });
    }

    fn samples(&self, ticks: u32) -> usize {
        samples_of(ticks, self.ticks_in, self.frame).min(MOST_SAMPLES)
    }
}

impl Numbers {
    const fn number(&mut self) -> u16 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }
}

/// What to do with 20 ms.
enum Shape {
    Once,
    Twice,
    LeftOut,
}

/// The sampling rate to work at: 16 kHz where both sides have it.
fn rate(plan: &Plan) -> usize {
    let wide = |format| matches!(format, AudioFormat::Opus { .. } | AudioFormat::G722 { .. });
    let plays = plan.opus.playback_hz >= 12_000 || !matches!(plan.to, AudioFormat::Opus { .. });
    if wide(plan.from) && wide(plan.to) && plays { 16_000 } else { 8_000 }
}

/// Samples in so many ticks, `frame` of them in 20 ms.
fn samples_of(ticks: u32, ticks_in: u32, frame: usize) -> usize {
    usize::try_from(u64::from(ticks) * frame as u64 / u64::from(ticks_in.max(1))).unwrap_or(0)
}

/// Ticks in so many samples.
fn ticks_of(samples: usize, ticks_in: u32, frame: usize) -> u32 {
    u32::try_from(samples as u64 * u64::from(ticks_in) / frame.max(1) as u64).unwrap_or(0)
}

/// The level of sound in -dBov (RFC 3389 section 3.1).
fn level(pcm: &[f32]) -> u8 {
    let power = pcm.iter().map(|s| s * s).sum::<f32>() / pcm.len().max(1) as f32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped right before")]
    let level = (-10.0 * power.max(1e-12).log10()).round().clamp(0.0, 127.0) as u8;
    level
}

/// Samples in 20 ms of 16 kHz.
const MOST_FRAME: usize = 320;

/// The most frames made in one go: an owner that comes late by more has no time to make up for it.
const MOST_FRAMES: usize = 8;

/// The longest that is made up while nothing comes, in frames: 100 ms. After that, inventing sound does harm.
const MOST_HELD: u32 = 5;

/// The longest pause that is filled, in frames: 30 s. Opus tells of a pause every 400 ms, comfort noise when it likes.
const MOST_PAUSE: u32 = 1_500;

/// How far apart, in frames, a packet and what is played may be before the source counts as begun anew: 1 s.
const MOST_APART: i32 = 50;

/// While a key is held no audio is expected for so long after one of its packets.
const KEYS: Duration = Duration::from_millis(100);

/// Frames of a pause between two comfort noise packets: often enough that the stream does not count as silent.
const NOISE_EVERY: u32 = 8;

/// The loudest noise that is told of, in -dBov: background is softer, and speech is not.
const LOUDEST_NOISE: u8 = 40;

/// Mean power of 20 ms that nobody hears missing: -50 dBFS.
const SILENT: f32 = 1e-5;
