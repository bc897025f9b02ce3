//! Measures how many transcoded calls a core carries: Opus as Meta speaks it to PCMU and back, through the coders of
//! the media plane, and beside them in the same run the floor: the same codec in a bare loop that encodes and decodes
//! the same sound.
//!
//! Time is virtual: packets come every 20 ms of it, coders are asked every 5 ms as the bridge's codec threads do, and
//! what counts is the CPU time of this thread. Both take turns; the medians of the turns are told.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use ropus::{Application, Bitrate, Channels, DecodeMode, InbandFec};
use setu_media::{AudioFormat, Coders, Job, Kind, OpusTarget, Packet, Plan, Way};
use setu_model::{CallId, LegId};

/// Measures how many transcoded calls a core carries.
#[derive(Debug, Parser)]
struct Args {
    /// Calls at a time, whose codecs' states share the caches.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    calls: u16,
    /// How much sound each turn codes for each call, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Turns of each; the median is told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=25))]
    rounds: u8,
    /// Tell the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What one turn cost, in nanoseconds of CPU time for a call's 20 ms, both ways.
type Cost = f64;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let speech = Speech::new()?;
    // Memory shows only while none was given back yet.
    let (_, kilobytes) = pipeline(&speech, 9, &args)?;
    let mut rows = Vec::new();
    for complexity in COMPLEXITIES {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            ours.push(pipeline(&speech, complexity, &args)?.0);
            floor.push(bare(&speech, complexity, &args)?);
        }
        rows.push(Row { complexity, ours: median(ours), floor: median(floor) });
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        let report = serde_json::json!({"calls": args.calls, "kb_per_call": kilobytes, "complexities": rows});
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(out, "{kilobytes} kB a call\ncomplexity  calls a core  bare codec  cost over bare")?;
    for row in rows {
        let (ours, floor) = (per_core(row.ours), per_core(row.floor));
        let over = (row.ours / row.floor - 1.0) * 100.0;
        writeln!(out, "{:>10}  {ours:>12.0}  {floor:>10.0}  {over:>12.1} %", row.complexity)?;
    }
    Ok(())
}

struct Row {
    complexity: u8,
    ours: Cost,
    floor: Cost,
}

impl Row {
    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "complexity": self.complexity,
            "calls_per_core": {"setu": per_core(self.ours), "bare": per_core(self.floor)},
            "ratio": self.ours / self.floor,
        })
    }
}

/// Calls a core, from the cost of a call's 20 ms.
fn per_core(cost: Cost) -> f64 {
    TICK.as_nanos() as f64 / cost
}

/// The steps that encoders take under load.
const COMPLEXITIES: [u8; 4] = [9, 5, 3, 1];
const TICK: Duration = Duration::from_millis(20);
/// How often the bridge's codec threads look.
const BEAT: Duration = Duration::from_millis(5);
const SAMPLES: usize = 160;
const OPUS: AudioFormat = AudioFormat::Opus { send_pt: 111, receive_pt: 111 };
const PCMU: AudioFormat = AudioFormat::Pcmu { send_pt: 0, receive_pt: 0 };

/// The same sound as every side of a call gets it.
struct Speech {
    /// As Meta sends it.
    opus: Vec<Vec<u8>>,
    /// As a PBX sends it.
    pcmu: Vec<Vec<u8>>,
    /// As the encoder takes it.
    pcm: Vec<[f32; SAMPLES]>,
}

impl Speech {
    /// Two seconds of a voice: a buzz of 120 Hz through moving formants, in syllables with breath and pauses.
    fn new() -> anyhow::Result<Self> {
        let wide: Vec<f32> = (0..2 * 16_000).map(voice).collect();
        let mut encoder = encoder(16_000, 9)?;
        let (mut opus, mut pcmu, mut pcm) = (Vec::new(), Vec::new(), Vec::new());
        for frame in wide.as_chunks::<{ 2 * SAMPLES }>().0 {
            let mut packet = vec![0; 1_275];
            let length = encoder.encode_float(frame, &mut packet)?;
            packet.truncate(length);
            opus.push(packet);
            let mut narrow = [0.0; SAMPLES];
            for (to, pair) in narrow.iter_mut().zip(frame.as_chunks::<2>().0) {
                *to = (pair[0] + pair[1]) / 2.0;
            }
            pcmu.push(narrow.iter().map(|sample| ulaw(*sample)).collect());
            pcm.push(narrow);
        }
        Ok(Self { opus, pcmu, pcm })
    }
}

fn voice(n: u32) -> f32 {
    let t = n as f32 / 16_000.0;
    let syllable = (t * 4.0).fract();
    let loudness = if (t * 0.9).fract() > 0.75 { 0.0 } else { (syllable * std::f32::consts::PI).sin() };
    let pitch = 120.0 + 15.0 * (t * 2.3).sin();
    let formants = [500.0 + 250.0 * (t * 5.0).sin(), 1_500.0 + 500.0 * (t * 3.0).cos(), 2_500.0];
    let mut sum = 0.0;
    for harmonic in 1..=30_u8 {
        let hz = pitch * f32::from(harmonic);
        let gain: f32 = formants.iter().map(|formant| 1.0 / (1.0 + ((hz - formant) / 120.0).powi(2))).sum();
        sum += gain * (t * hz * std::f32::consts::TAU).sin();
    }
    let breath = (n.wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0 - 0.5;
    0.08 * loudness * (sum + 0.3 * breath)
}

/// G.711 mu-law by its definition (ITU-T G.711 table 2), for the input only.
fn ulaw(sample: f32) -> u8 {
    let magnitude = ((sample.abs() * 32_768.0) as u32).min(32_635) + 132;
    let exponent = (31 - magnitude.leading_zeros()).saturating_sub(7);
    let mantissa = (magnitude >> (exponent + 3)) & 15;
    let sign = if sample < 0.0 { 0x80 } else { 0 };
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// An encoder as the bridge sets it up for Meta.
fn encoder(rate: u32, complexity: u8) -> anyhow::Result<ropus::Encoder> {
    let encoder = ropus::Encoder::builder(rate, Channels::Mono, Application::Voip)
        .bitrate(Bitrate::Bits(20_000))
        .vbr(true)
        .inband_fec(InbandFec::Enabled)
        .packet_loss_perc(5)
        .complexity(complexity)
        .build()?;
    Ok(encoder)
}

/// Runs calls through the coders; returns the cost and the memory of a call in kB.
fn pipeline(speech: &Speech, complexity: u8, args: &Args) -> anyhow::Result<(Cost, u64)> {
    let before = resident_kb()?;
    let mut coders = Coders::new(2 * usize::from(args.calls));
    // So busy that the governor steps down to where it is wanted.
    while coders.complexity() > complexity {
        coders.handle_load(1_000);
    }
    let ways: Vec<[Way; 2]> = (0..args.calls)
        .map(|n| {
            let call = CallId::from_bits(u128::from(n) + 1);
            [0, 1].map(|index| Way { leg: LegId { call, index }, generation: 0 })
        })
        .collect();
    let mut now = Instant::now();
    for [to_meta, to_pbx] in &ways {
        for (way, from, to) in [(*to_meta, PCMU, OPUS), (*to_pbx, OPUS, PCMU)] {
            let plan = Plan { from, to, opus: OpusTarget::META, comfort_noise: false };
            coders.handle(&Job::Open { way, plan }, now);
        }
    }
    let mut tick = |coders: &mut Coders, n: u32| {
        let at = |packets: &'_ [Vec<u8>]| n as usize % packets.len();
        let sequence = (n & 0xffff) as u16;
        let packet = |payload, clock: u32| Packet {
            kind: Kind::Audio,
            ssrc: 1,
            sequence,
            timestamp: n.wrapping_mul(clock / 50),
            payload,
        };
        for [to_meta, to_pbx] in &ways {
            let pcmu = speech.pcmu.get(at(&speech.pcmu)).map_or(&[][..], Vec::as_slice);
            coders.handle(&Job::Packet { way: *to_meta, packet: packet(pcmu, 8_000) }, now);
            let opus = speech.opus.get(at(&speech.opus)).map_or(&[][..], Vec::as_slice);
            coders.handle(&Job::Packet { way: *to_pbx, packet: packet(opus, 48_000) }, now);
        }
        let mut made = 0_u64;
        for _ in 0..TICK.as_millis() / BEAT.as_millis() {
            now += BEAT;
            coders.handle_timeout(now, |_, packet| made += packet.payload.len() as u64);
        }
        std::hint::black_box(made);
    };
    (0..WARM_UP).for_each(|n| tick(&mut coders, n));
    let kilobytes = resident_kb()?.saturating_sub(before) / u64::from(args.calls);
    let ticks = u32::try_from(args.seconds * 50)?;
    let start = cpu()?;
    (WARM_UP..WARM_UP + ticks).for_each(|n| tick(&mut coders, n));
    let spent = cpu()? - start;
    let coded = coders.totals().coded;
    let wanted = u64::from(args.calls) * 2 * u64::from(ticks);
    anyhow::ensure!(coded >= wanted, "only {coded} of {wanted} packets were coded");
    Ok((spent as f64 / f64::from(ticks) / f64::from(args.calls), kilobytes))
}

/// Packets before anything counts: buffers fill, rates settle.
const WARM_UP: u32 = 50;

/// Runs bare codecs over the same sound, as many at a time.
fn bare(speech: &Speech, complexity: u8, args: &Args) -> anyhow::Result<Cost> {
    let mut codecs = Vec::new();
    for _ in 0..args.calls {
        let decoder = ropus::Decoder::new(8_000, Channels::Mono)?;
        codecs.push((Box::new(encoder(8_000, complexity)?), Box::new(decoder)));
    }
    let (mut packet, mut pcm) = ([0; 1_275], [0.0; 960]);
    let ticks = u32::try_from(args.seconds * 50)?;
    let mut start = 0;
    for n in 0..WARM_UP + ticks {
        if n == WARM_UP {
            start = cpu()?;
        }
        let sound = n as usize % speech.pcm.len();
        let (frame, coded) = (speech.pcm.get(sound), speech.opus.get(sound));
        let (frame, coded) = frame.zip(coded).context("no sound")?;
        for (encoder, decoder) in &mut codecs {
            encoder.encode_float(frame, &mut packet)?;
            decoder.decode_float(coded, &mut pcm, DecodeMode::Normal)?;
        }
        std::hint::black_box((&packet, &pcm));
    }
    Ok((cpu()? - start) as f64 / f64::from(ticks) / f64::from(args.calls))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// CPU time of this thread, in nanoseconds.
fn cpu() -> anyhow::Result<u64> {
    let text =
        std::fs::read_to_string("/proc/thread-self/schedstat").context("no CPU time of this thread")?;
    Ok(text.split_whitespace().next().context("no CPU time of this thread")?.parse()?)
}

/// Resident memory of this process, in kB.
fn resident_kb() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status").context("no memory of this process")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("no VmRSS")?.parse()?)
}
