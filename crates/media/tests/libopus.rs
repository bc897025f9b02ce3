//! The codec against libopus, by way of ffmpeg: the same voice at the same rate through both, judged by the same ear.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::f32::consts::TAU;
use std::path::{Path, PathBuf};
use std::process::Command;

use opus_pure::{OggOpusReader, OggOpusWriter, OpusHead};
use support::coder::Lab;
use support::{OPUS_META, PCMU, compressor, expand};

const RATE: usize = 8_000;
const FRAME: usize = RATE / 50;
const SECONDS: usize = 8;

/// The business's side: what Meta asked for in `maxaveragebitrate`.
const BIT_RATE: usize = 20_000;

#[test]
fn what_meta_hears_is_as_good_as_libopus_at_the_same_rate() {
    let folder = Folder::new("to-meta");
    let codes: Vec<u8> = voice().map(compressor(PCMU)).collect();
    let said: Vec<f32> = codes.iter().map(|code| expand(PCMU, *code)).collect();

    let mut lab = Lab::new(PCMU, OPUS_META);
    for (n, packet) in (0..).zip(codes.chunks(FRAME)) {
        lab.feed(n, 160, packet);
        lab.run();
    }
    let ours = folder.0.join("ours.opus");
    write_ogg(&ours, &lab.heard);
    let raw = folder.0.join("said.raw");
    let bytes: Vec<u8> = said.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect();
    std::fs::write(&raw, bytes).unwrap();
    let theirs = folder.0.join("theirs.opus");
    let input = ["-f", "s16le", "-ar", "8000", "-ac", "1", "-i", raw.to_str().unwrap()];
    // Its own defaults but for what Meta asks of us: error correction reckoning with 5 % loss.
    let encoder =
        ["-c:a", "libopus", "-b:a", "20k", "-application", "voip", "-fec", "1", "-packet_loss", "5"];
    ffmpeg(&[&input[..], &encoder, &[theirs.to_str().unwrap()]].concat());

    let bits = |packets: &[Vec<u8>]| packets.iter().map(|packet| packet.len() * 8).sum::<usize>() / SECONDS;
    let (our_rate, their_rate) = (bits(&lab.heard), bits(&read_ogg(&theirs)));
    let (ours, theirs) = (Ear::new(&said, &decoded(&ours)), Ear::new(&said, &decoded(&theirs)));
    println!("ours: {ours:?} at {our_rate} bit/s; libopus: {theirs:?} at {their_rate} bit/s");
    assert!(our_rate <= BIT_RATE, "{our_rate} bit/s");
    assert!(ours.segments_db >= theirs.segments_db - 1.0, "{ours:?}, libopus {theirs:?}");
    assert!(ours.spectrum_db <= theirs.spectrum_db + 0.5, "{ours:?}, libopus {theirs:?}");
}

#[test]
fn what_libopus_says_is_heard_as_libopus_itself_hears_it() {
    let folder = Folder::new("to-agent");
    let raw = folder.0.join("said.raw");
    let bytes: Vec<u8> = voice().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect();
    std::fs::write(&raw, bytes).unwrap();
    let coded = folder.0.join("coded.opus");
    let input = ["-f", "s16le", "-ar", "8000", "-ac", "1", "-i", raw.to_str().unwrap()];
    let encoder = ["-ar", "16000", "-c:a", "libopus", "-b:a", "24k", "-application", "voip"];
    ffmpeg(&[&input[..], &encoder, &[coded.to_str().unwrap()]].concat());
    let mut lab = Lab::new(OPUS_META, PCMU);
    for (n, packet) in (0..).zip(&read_ogg(&coded)) {
        lab.feed(n, 960, packet);
        lab.run();
    }
    let heard: Vec<f32> = lab.heard.iter().flatten().map(|code| expand(PCMU, *code)).collect();
    let ear = Ear::new(&decoded(&coded), &heard);
    println!("{ear:?}");
    // G.711 alone leaves about 37 dB; a resampler stands in libopus's way.
    assert!(ear.segments_db > 25.0 && ear.spectrum_db < 1.0, "{ear:?}");
}

/// How near a sound comes to what was said.
#[derive(Debug)]
struct Ear {
    /// Signal to error in 20 ms that are not silent, on the average, each between -10 and 35 dB.
    segments_db: f32,
    /// Difference of the energies in bands of the ear's width, root of the mean square.
    spectrum_db: f32,
}

impl Ear {
    fn new(said: &[f32], heard: &[f32]) -> Self {
        let (said, heard) = align(said, heard);
        let turn: Vec<_> = (0..FRAME).map(|n| (TAU * n as f32 / FRAME as f32).sin_cos()).collect();
        let (mut segments, mut spectrum) = (Vec::new(), Vec::new());
        for (said, heard) in said.chunks_exact(FRAME).zip(heard.chunks_exact(FRAME)) {
            let signal = said.iter().map(|s| s * s).sum::<f32>();
            if signal / (FRAME as f32) < 1e-5 {
                continue;
            }
            let error = said.iter().zip(heard).map(|(s, h)| (s - h) * (s - h)).sum::<f32>();
            segments.push((10.0 * (signal / error.max(1e-9)).log10()).clamp(-10.0, 35.0));
            let (said, heard) = (bands(said, &turn), bands(heard, &turn));
            let floor = said.iter().sum::<f32>() / 1_000.0;
            spectrum.extend(said.iter().zip(&heard).map(|(s, h)| {
                let db = 10.0 * ((s + floor) / (h + floor)).log10();
                db * db
            }));
        }
        let mean = |of: &[f32]| of.iter().sum::<f32>() / of.len() as f32;
        Self { segments_db: mean(&segments), spectrum_db: mean(&spectrum).sqrt() }
    }
}

/// Cuts two sounds so that they say the same at the same time: by up to 200 ms, which two seconds tell.
fn align<'a>(said: &'a [f32], heard: &'a [f32]) -> (&'a [f32], &'a [f32]) {
    let like =
        |one: &[f32], other: &[f32]| one.iter().zip(other).take(2 * RATE).map(|(a, b)| a * b).sum::<f32>();
    let best = |still: &[f32], moved: &[f32]| {
        let all = (0..RATE / 5).map(|shift| (like(still, &moved[shift..]), shift));
        all.max_by(|one, other| one.0.total_cmp(&other.0)).unwrap()
    };
    let ((behind, late), (ahead, early)) = (best(said, heard), best(heard, said));
    if behind >= ahead { (said, &heard[late..]) } else { (&said[early..], heard) }
}

/// The energies of 20 ms in the critical bands up to 3.4 kHz (Zwicker).
fn bands(pcm: &[f32], turn: &[(f32, f32)]) -> Vec<f32> {
    const EDGES: [f32; 17] = [
        100.0, 200.0, 300.0, 400.0, 510.0, 630.0, 770.0, 920.0, 1_080.0, 1_270.0, 1_480.0, 1_720.0, 2_000.0,
        2_320.0, 2_700.0, 3_150.0, 3_400.0,
    ];
    let mut bands = vec![0.0; EDGES.len() - 1];
    for bin in 2..=FRAME * 17 / 40 {
        let hz = bin as f32 * RATE as f32 / FRAME as f32;
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in pcm.iter().enumerate() {
            let (sin, cos) = turn[bin * n % FRAME];
            let windowed = sample * (0.5 - 0.5 * turn[n].1);
            (re, im) = (re + windowed * cos, im - windowed * sin);
        }
        if let Some(band) = EDGES.windows(2).position(|edge| (edge[0]..edge[1]).contains(&hz)) {
            bands[band] += re * re + im * im;
        }
    }
    bands
}

/// A buzz through moving formants, in syllables with breath and pauses.
fn voice() -> impl Iterator<Item = f32> {
    let mut phase = 0.0_f32;
    (0..SECONDS * RATE).map(move |n| {
        let t = n as f32 / RATE as f32;
        let loudness = if (t * 0.9).fract() > 0.75 { 0.0 } else { ((t * 4.0).fract() * TAU / 2.0).sin() };
        phase = (phase + (120.0 + 15.0 * (t * 2.3).sin()) / RATE as f32).fract();
        let formants = [500.0 + 250.0 * (t * 5.0).sin(), 1_500.0 + 500.0 * (t * 3.0).cos(), 2_500.0];
        let sum: f32 = (1..=25_u8)
            .map(|harmonic| {
                let hz = 120.0 * f32::from(harmonic);
                let gain: f32 =
                    formants.iter().map(|formant| 1.0 / (1.0 + ((hz - formant) / 120.0).powi(2))).sum();
                gain * (phase * f32::from(harmonic) * TAU).sin()
            })
            .sum();
        let breath = ((n as u32).wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0 - 0.5;
        0.08 * loudness * (sum + 0.3 * breath)
    })
}

fn decoded(file: &Path) -> Vec<f32> {
    let out = ffmpeg(&["-c:a", "libopus", "-i", file.to_str().unwrap(), "-ar", "8000", "-f", "f32le", "-"]);
    out.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let out = Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-y"]).args(arguments).output();
    let out = out.unwrap_or_else(|error| panic!("cannot start ffmpeg: {error}; run `cargo xtask peers`"));
    assert!(out.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn write_ogg(to: &Path, packets: &[Vec<u8>]) {
    let head = OpusHead::new(1, 8_000).unwrap();
    let mut writer = OggOpusWriter::new(std::fs::File::create(to).unwrap(), head).unwrap();
    for packet in packets {
        writer.write_packet(packet).unwrap();
    }
    writer.finish().unwrap();
}

fn read_ogg(from: &Path) -> Vec<Vec<u8>> {
    let mut reader = OggOpusReader::new(std::fs::File::open(from).unwrap()).unwrap();
    reader.packets().map(|packet| packet.unwrap().data.to_vec()).collect()
}

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("setu-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
