//! Level and pitch of what was heard.

/// The level of `pcm` in dB below a full-scale sine, or `None` for digital silence.
pub(crate) fn dbfs(pcm: &[f32]) -> Option<f64> {
    let energy: f64 = pcm.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    let mean = energy / pcm.len().max(1) as f64;
    (mean > 1e-10).then(|| 10.0 * (2.0 * mean).log10())
}

/// The strongest frequency in `pcm`, in Hz: a Hann-windowed FFT with a parabola through the peak.
///
/// Uses the largest power of two of samples that fits, at most [`WINDOW`]; `None` for fewer than 64.
pub(crate) fn dominant_hz(pcm: &[f32], rate: u32) -> Option<f64> {
    let size = pcm.len().min(WINDOW);
    let size = if size < 64 { return None } else { 1 << size.ilog2() };
    let mut bins: Vec<(f64, f64)> = pcm
        .iter()
        .take(size)
        .enumerate()
        .map(|(i, &s)| {
            let hann = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / size as f64).cos();
            (f64::from(s) * hann, 0.0)
        })
        .collect();
    fft(&mut bins);
    let power = |k: usize| bins.get(k).map_or(0.0, |b| b.0 * b.0 + b.1 * b.1);
    // Below 40 Hz is hum and offset, no tone of ours.
    let lowest = (40 * size / rate as usize).max(2);
    let peak = (lowest..size / 2).max_by(|&a, &b| power(a).total_cmp(&power(b)))?;
    let log = |k: usize| power(k).max(1e-30).ln();
    let (left, mid, right) = (log(peak - 1), log(peak), log(peak + 1));
    let bend = left - 2.0 * mid + right;
    let shift = if bend == 0.0 { 0.0 } else { 0.5 * (left - right) / bend };
    Some((peak as f64 + shift.clamp(-0.5, 0.5)) * f64::from(rate) / size as f64)
}

/// Samples in one look: 128 ms at 16 kHz.
pub(crate) const WINDOW: usize = 2_048;

/// Radix-2 FFT in place (Cooley and Tukey). `data.len()` is a power of two.
fn fft(data: &mut [(f64, f64)]) {
    let n = data.len();
    let bits = n.trailing_zeros();
    for i in 0..n {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            data.swap(i, j);
        }
    }
    let mut width = 2;
    while width <= n {
        let step = -std::f64::consts::TAU / width as f64;
        for block in data.chunks_exact_mut(width) {
            let (low, high) = block.split_at_mut(width / 2);
            for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                let (sin, cos) = (step * k as f64).sin_cos();
                let turned = (b.0 * cos - b.1 * sin, b.0 * sin + b.1 * cos);
                *b = (a.0 - turned.0, a.1 - turned.1);
                *a = (a.0 + turned.0, a.1 + turned.1);
            }
        }
        width *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, rate: u32, amplitude: f64, samples: usize) -> Vec<f32> {
        let step = hz * std::f64::consts::TAU / f64::from(rate);
        (0..samples).map(|i| (amplitude * (i as f64 * step).sin()) as f32).collect()
    }

    #[test]
    fn pitch_is_found_to_a_hertz_at_both_rates() {
        for hz in [97.0, 440.0, 523.25, 1_000.0, 3_333.3] {
            for (rate, samples) in [(16_000, 2_048), (8_000, 2_048), (8_000, 1_100)] {
                let found = dominant_hz(&sine(hz, rate, 0.3, samples), rate).unwrap();
                assert!((found - hz).abs() < 1.0, "{hz} Hz was heard as {found}");
            }
        }
    }

    #[test]
    fn the_stronger_of_two_tones_wins() {
        let mix: Vec<f32> = sine(440.0, 16_000, 0.3, 2_048)
            .iter()
            .zip(sine(900.0, 16_000, 0.2, 2_048))
            .map(|(a, b)| a + b)
            .collect();
        assert!((dominant_hz(&mix, 16_000).unwrap() - 440.0).abs() < 2.0);
    }

    #[test]
    fn level_is_in_db_below_a_full_scale_sine() {
        assert!(dbfs(&sine(400.0, 16_000, 1.0, 1_600)).unwrap().abs() < 0.05);
        assert!((dbfs(&sine(400.0, 16_000, 0.1, 1_600)).unwrap() + 20.0).abs() < 0.05);
        assert_eq!(dbfs(&[0.0; 320]), None);
        assert_eq!(dbfs(&[]), None);
    }

    #[test]
    fn too_short_a_piece_has_no_pitch() {
        assert_eq!(dominant_hz(&[0.5; 63], 8_000), None);
    }
}
