//! Comfort noise (RFC 3389): what a pause of a peer that stops sending sounds like.

/// Makes noise of the level and colour that a CN payload names.
#[derive(Debug)]
pub(crate) struct Noise {
    seed: u32,
    /// The level the last payload named, and the level reached on the way there, as amplitudes.
    target: f32,
    gain: f32,
    /// Reflection coefficients of the colour's all-pole model (RFC 3389 section 3.2), and its memory.
    reflection: [f32; ORDER],
    order: usize,
    memory: [f32; ORDER],
}

impl Noise {
    /// Makes one that is silent until a payload came. Different seeds are different noises.
    pub(crate) const fn new(seed: u32) -> Self {
        Self { seed, target: 0.0, gain: 0.0, reflection: [0.0; ORDER], order: 0, memory: [0.0; ORDER] }
    }

    /// Takes a CN payload: a level in -dBov and, perhaps, reflection coefficients (RFC 3389 section 3).
    pub(crate) fn take(&mut self, payload: &[u8]) {
        let Some((level, colour)) = payload.split_first() else { return };
        self.target = 10_f32.powf(-f32::from(level & 0x7f) / 20.0);
        self.order = colour.len().min(ORDER);
        for (to, byte) in self.reflection.iter_mut().zip(colour) {
            *to = (f32::from(*byte) - 127.0) / 128.0;
        }
    }

    /// Fills `pcm` with noise.
    pub(crate) fn fill(&mut self, pcm: &mut [f32]) {
        let used = self.reflection.get(..self.order).unwrap_or_default();
        // The filter's gain in power is one over the product of these: what is fed to it is as much softer.
        let shrink: f32 = used.iter().map(|k| (1.0 - k * k).max(0.0)).product::<f32>().sqrt();
        for sample in pcm {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.gain += (self.target - self.gain) * SMOOTHING;
            #[expect(clippy::cast_precision_loss, reason = "noise")]
            let white = (self.seed >> 8) as f32 / 8_388_608.0 - 1.0;
            // Uniform noise between -1 and 1 has a root mean square of 1/sqrt(3).
            *sample = lattice(used, &mut self.memory, white * 1.732 * shrink * self.gain);
        }
    }
}

/// One sample through the all-pole lattice.
fn lattice(reflection: &[f32], memory: &mut [f32; ORDER], input: f32) -> f32 {
    let mut forward = input;
    for at in (0..reflection.len()).rev() {
        let (k, back) = (reflection.get(at).copied().unwrap_or(0.0), memory.get(at).copied().unwrap_or(0.0));
        forward += k * back;
        if let Some(next) = memory.get_mut(at + 1) {
            *next = back - k * forward;
        }
    }
    let [first, ..] = memory;
    *first = forward;
    forward
}

/// The most coefficients of a colour that are used. More name details nobody hears.
const ORDER: usize = 12;

/// By how much a level is neared with each sample, so that one does not step.
const SMOOTHING: f32 = 1.0 / 400.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn dbov(pcm: &[f32]) -> f32 {
        10.0 * (pcm.iter().map(|s| s * s).sum::<f32>() / pcm.len() as f32).log10()
    }

    #[test]
    fn noise_has_the_level_that_was_asked_for_whatever_its_colour() {
        for payload in [&[40][..], &[40, 90, 140], &[40, 200, 100, 127, 140], &[60]] {
            let mut noise = Noise::new(7);
            noise.take(payload);
            let mut pcm = vec![0.0; 32_000];
            noise.fill(&mut pcm);
            let level = dbov(&pcm[16_000..]);
            assert!((level + f32::from(payload[0])).abs() < 1.0, "{payload:?}: {level} dBov");
        }
    }

    #[test]
    fn no_payload_makes_it_loud() {
        for byte in 0..=255_u8 {
            let mut noise = Noise::new(u32::from(byte));
            noise.take(&[30, byte, byte, !byte, byte, 255, 0]);
            let mut pcm = vec![0.0; 8_000];
            noise.fill(&mut pcm);
            assert!(pcm.iter().all(|sample| sample.is_finite()));
            assert!(dbov(&pcm) < -24.0, "{byte}");
        }
    }
}
