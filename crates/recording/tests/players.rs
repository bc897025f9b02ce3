//! Recordings in the players people use. A missing one fails the test: run `cargo xtask peers`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::*;
use setu_model::TapChannel;

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}; run `cargo xtask peers`"))
}

fn succeeded(program: &str, arguments: &[&str]) -> Output {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The recording of a bad call: losses, an encoder's pauses, a stereo packet now and then, 60 ms packets.
fn rough() -> Vec<u8> {
    let mut customer = side(TapChannel::Customer, &tone(CUSTOMER_HZ, 500, 20, 1), 20);
    let stereo = side(TapChannel::Customer, &tone(CUSTOMER_HZ, 500, 20, 2), 20);
    customer.splice(200..230, stereo[200..230].iter().cloned());
    let mut index = 0;
    customer.retain(|_| {
        index += 1;
        index % 50 != 0
    });
    let mut agent = side(TapChannel::Agent, &tone(AGENT_HZ, 500, 20, 1), 20);
    agent[100].payload = Box::new([0x48]);
    let long = side(TapChannel::Agent, &tone(AGENT_HZ, 167, 60, 1), 60);
    agent.truncate(300);
    agent.extend(long[100..].iter().cloned());
    mux([customer, agent].concat()).0
}

/// Both channels of interleaved 32-bit floats or 16-bit integers.
fn channels(samples: Vec<f32>) -> (Vec<f32>, Vec<f32>) {
    let pairs = samples.chunks_exact(2);
    pairs.map(|pair| (pair[0], pair[1])).unzip()
}

fn by_ffmpeg(file: &Path, decoder: &str) -> (Vec<f32>, Vec<f32>) {
    let file = file.to_str().unwrap();
    let arguments = ["-v", "error", "-c:a", decoder, "-i", file, "-ar", "48000", "-f", "f32le", "-"];
    let output = succeeded("ffmpeg", &arguments);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{decoder} complains");
    channels(output.stdout.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

fn by_opusdec(file: &Path) -> (Vec<f32>, Vec<f32>) {
    let raw = file.with_extension("raw");
    succeeded(
        "opusdec",
        &["--quiet", "--rate", "48000", "--no-dither", file.to_str().unwrap(), raw.to_str().unwrap()],
    );
    let bytes = std::fs::read(raw).unwrap();
    channels(bytes.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0).collect())
}

fn assert_ten_seconds(left: &[f32], who: &str) {
    let length_ms = left.len() / 48;
    assert!(length_ms.abs_diff(10_000) <= 40, "{who}: {length_ms} ms");
}

#[test]
fn opusinfo_finds_nothing_to_warn_about() {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [("clean", two_tones()), ("rough", rough())] {
        let path = folder.path().join(name).with_extension("opus");
        std::fs::write(&path, file).unwrap();
        let output = succeeded("opusinfo", &[path.to_str().unwrap()]);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!text.to_lowercase().contains("warning"), "{name}: {text}");
        assert!(text.contains("Channels: 2") && text.contains("Playback length: 0m:"), "{name}: {text}");
    }
}

#[test]
fn every_decoder_hears_each_tone_in_its_channel_for_the_whole_length() {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [("clean", two_tones()), ("rough", rough())] {
        let path = folder.path().join(name).with_extension("opus");
        std::fs::write(&path, file).unwrap();
        for (who, (left, right)) in [
            ("opusdec", by_opusdec(&path)),
            ("ffmpeg libopus", by_ffmpeg(&path, "libopus")),
            ("ffmpeg opus", by_ffmpeg(&path, "opus")),
        ] {
            let who = format!("{who}, {name}");
            assert_two_tones(&left, &right, &who);
            assert_ten_seconds(&left, &who);
            assert_ten_seconds(&right, &who);
        }
    }
}

#[test]
fn a_file_cut_off_by_a_crash_plays_in_every_decoder_to_its_last_page() {
    let folder = tempfile::tempdir().unwrap();
    let file = two_tones();
    for cut in [file.len() / 2, file.len() / 3 + 1, file.len() - 1] {
        let path = folder.path().join(format!("{cut}.opus"));
        std::fs::write(&path, &file[..cut]).unwrap();
        let pages_end = streams(&file[..cut]).len() * 20;
        let played = run("opusdec", &["--quiet", path.to_str().unwrap(), "/dev/null"]);
        assert!(played.status.success(), "opusdec, cut at {cut}");
        for decoder in ["libopus", "opus"] {
            let output = run(
                "ffmpeg",
                &[
                    "-v",
                    "fatal",
                    "-c:a",
                    decoder,
                    "-i",
                    path.to_str().unwrap(),
                    "-ar",
                    "48000",
                    "-f",
                    "f32le",
                    "-",
                ],
            );
            let samples: Vec<f32> =
                output.stdout.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            let (left, right) = channels(samples);
            assert_two_tones(&left, &right, decoder);
            assert!(
                (left.len() / 48).abs_diff(pages_end) <= 40,
                "{decoder}, cut at {cut}: {}",
                left.len() / 48
            );
        }
    }
}
