//! What is in a sound file: decoded by ffmpeg, measured here.

use std::path::Path;
use std::process::Command;

/// Samples of one channel at 16 kHz.
pub(crate) struct Sound(Vec<f64>);

/// The sampling rate that every file is converted to.
const RATE: f64 = 16_000.0;

impl Sound {
    /// Decodes channel `channel` of `path` with ffmpeg's decoder `decoder` (none for its default).
    pub(crate) fn read(path: &Path, channel: usize, decoder: Option<&str>) -> Self {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin"]);
        if let Some(decoder) = decoder {
            command.args(["-c:a", decoder]);
        }
        let filter = format!("pan=mono|c0=c{channel}");
        let out = command
            .arg("-i")
            .arg(path)
            .args(["-af", &filter, "-ar", "16000", "-f", "s16le", "-"])
            .output()
            .unwrap_or_else(|error| panic!("cannot start ffmpeg: {error}; run `cargo xtask peers`"));
        assert!(
            out.status.success(),
            "ffmpeg cannot read {}: {}",
            path.display(),
            String::from_utf8_lossy(&out.stderr)
        );
        Self(
            out.stdout
                .chunks_exact(2)
                .map(|b| f64::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0)
                .collect(),
        )
    }

    /// Length in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.0.len() as f64 / RATE
    }

    /// The share of the file's energy within 15 Hz of `hz`, over the part that is not silent: near 1 for a tone.
    pub(crate) fn share_at(&self, hz: f64) -> f64 {
        let loud: Vec<f64> = self.loud();
        if loud.is_empty() {
            return 0.0;
        }
        // Blocks of 100 ms keep a small drift of frequency or a gap from hiding the tone.
        let shares: Vec<f64> = loud.chunks_exact(1_600).map(|block| share(block, hz)).collect();
        shares.iter().sum::<f64>() / shares.len().max(1) as f64
    }

    /// Seconds that are not silent (above -50 dBFS in 20 ms).
    pub(crate) fn loud_seconds(&self) -> f64 {
        self.loud().len() as f64 / RATE
    }

    fn loud(&self) -> Vec<f64> {
        self.0
            .chunks_exact(320)
            .filter(|block| (block.iter().map(|s| s * s).sum::<f64>() / 320.0).sqrt() > 0.003)
            .flatten()
            .copied()
            .collect()
    }
}

fn share(block: &[f64], hz: f64) -> f64 {
    let total: f64 = block.iter().map(|s| s * s).sum::<f64>();
    if total == 0.0 {
        return 0.0;
    }
    [-10.0, 0.0, 10.0]
        .iter()
        .map(|offset| {
            let step = 2.0 * std::f64::consts::PI * (hz + offset) / RATE;
            let (re, im) = block.iter().enumerate().fold((0.0, 0.0), |(re, im), (i, s)| {
                (re + s * (step * i as f64).cos(), im + s * (step * i as f64).sin())
            });
            2.0 * (re * re + im * im) / block.len() as f64 / total
        })
        .fold(0.0, f64::max)
}
