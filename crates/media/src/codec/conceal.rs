//! Concealment of lost packets for codecs that have none of their own (after ITU-T G.711 appendix I).
//!
//! The last pitch periods go on where the sound stopped: first one period, then two and three, so that a long loss
//! does not buzz, and fading until nothing is left. What comes after the loss is faded into.

/// Remembers the last sound and makes it go on.
#[derive(Debug)]
pub(crate) struct Concealer {
    /// Samples a millisecond: 8 or 16.
    per_ms: usize,
    /// The last sound, the newest last; concealed sound is not in it.
    history: [f32; HISTORY],
    /// How much was concealed since the last sound, in samples.
    lost: usize,
    pitch: usize,
    /// How much of the last sound is repeated, and where in it the next concealed sample is.
    stretch: usize,
    phase: usize,
}

impl Concealer {
    /// Makes one for sound of `rate` Hz: 8000 or 16000.
    pub(crate) const fn new(rate: usize) -> Self {
        Self { per_ms: rate / 1_000, history: [0.0; HISTORY], lost: 0, pitch: 0, stretch: 0, phase: 0 }
    }

    /// Takes sound that came. After a loss, its beginning is faded into from what was made up.
    pub(crate) fn heard(&mut self, pcm: &mut [f32]) {
        if self.lost > 0 {
            let blend = (self.per_ms * 4).min(pcm.len());
            for n in 0..blend {
                let made_up = self.next();
                if let Some(sample) = pcm.get_mut(n) {
                    let share = ratio(n + 1, blend + 1);
                    *sample = *sample * share + made_up * (1.0 - share);
                }
            }
            self.lost = 0;
        }
        let keep = self.memory();
        let kept = self.history.get_mut(HISTORY - keep..).unwrap_or_default();
        match pcm.len().checked_sub(kept.len()) {
            Some(from) => kept.copy_from_slice(pcm.get(from..).unwrap_or_default()),
            None => {
                kept.copy_within(pcm.len().., 0);
                let from = kept.len() - pcm.len();
                kept.get_mut(from..).unwrap_or_default().copy_from_slice(pcm);
            }
        }
    }

    /// Fills `pcm` with what would have come.
    pub(crate) fn conceal(&mut self, pcm: &mut [f32]) {
        if self.lost == 0 {
            self.pitch = self.find_pitch();
            (self.stretch, self.phase) = (self.pitch, 0);
        }
        for sample in pcm {
            *sample = self.next();
        }
    }

    fn next(&mut self) -> f32 {
        if self.phase >= self.stretch {
            // One period for 10 ms, two until 20, three from then on: appendix I's measure against buzzing.
            let periods = (self.lost / self.per_ms / 10 + 1).min(3);
            (self.stretch, self.phase) = (self.pitch * periods, 0);
        }
        let stretch = self.stretch;
        let begins = HISTORY - stretch.min(HISTORY);
        let mut sample = self.at(begins + self.phase);
        // The end of the stretch is faded into what stood before its beginning, so that it joins with itself.
        let blend = self.pitch / 4;
        let left = stretch - self.phase;
        if left <= blend && begins >= left {
            let share = ratio(left, blend + 1);
            sample = sample * share + self.at(begins - left) * (1.0 - share);
        }
        self.phase += 1;
        let gain = 1.0 - ratio(self.lost.saturating_sub(FULL_MS * self.per_ms), FADE_MS * self.per_ms);
        self.lost += 1;
        sample * gain.max(0.0)
    }

    fn at(&self, index: usize) -> f32 {
        self.history.get(index).copied().unwrap_or(0.0)
    }

    /// Samples of history in use.
    const fn memory(&self) -> usize {
        MEMORY_MS * self.per_ms
    }

    /// The lag of 5 to 15 ms at which the last sound is most like itself.
    fn find_pitch(&self) -> usize {
        let template = 20 * self.per_ms;
        let newest = self.history.get(HISTORY - template..).unwrap_or_default();
        // At 16 kHz every second sample tells the pitch as well, for half the work.
        let step = self.per_ms / 8;
        let (mut best, mut pitch) = (f32::MIN, 10 * self.per_ms);
        for lag in (5 * self.per_ms..=15 * self.per_ms).step_by(step.max(1)) {
            let earlier = self.history.get(HISTORY - template - lag..HISTORY - lag).unwrap_or_default();
            let (mut product, mut power) = (0.0_f32, 1e-9_f32);
            for (one, other) in newest.iter().zip(earlier).step_by(step.max(1)) {
                product += one * other;
                power += other * other;
            }
            let likeness = product / power.sqrt();
            if likeness > best {
                (best, pitch) = (likeness, lag);
            }
        }
        pitch
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples, far below 2^24")]
fn ratio(part: usize, whole: usize) -> f32 {
    part as f32 / whole.max(1) as f32
}

/// What is remembered, in milliseconds: three periods of 15 ms and a quarter.
const MEMORY_MS: usize = 50;

/// The same in samples of 16 kHz.
const HISTORY: usize = MEMORY_MS * 16;

/// How long a loss is filled at full level, in milliseconds, and how long it then takes to fade to nothing.
const FULL_MS: usize = 10;
const FADE_MS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(rate: usize, from: usize, count: usize) -> Vec<f32> {
        let rate = rate as f32;
        (from..from + count)
            .map(|n| {
                let turn = std::f32::consts::TAU * n as f32 / rate;
                0.3 * (turn * 125.0).sin() + 0.1 * (turn * 250.0).sin() + 0.05 * (turn * 1_000.0).sin()
            })
            .collect()
    }

    fn level(pcm: &[f32]) -> f32 {
        (pcm.iter().map(|s| s * s).sum::<f32>() / pcm.len() as f32).sqrt()
    }

    #[test]
    fn ten_lost_milliseconds_of_a_voice_are_as_if_they_had_come() {
        for rate in [8_000, 16_000] {
            let frame = rate / 50;
            let mut concealer = Concealer::new(rate);
            for n in 0..10 {
                concealer.heard(&mut voice(rate, n * frame, frame));
            }
            let mut made_up = vec![0.0; frame];
            concealer.conceal(&mut made_up);
            let truth = voice(rate, 10 * frame, frame);
            let wrong: Vec<f32> =
                made_up.iter().zip(&truth).take(frame / 2).map(|(one, other)| one - other).collect();
            assert!(level(&wrong) < 0.1 * level(&truth), "{rate}: {}", level(&wrong));
        }
    }

    #[test]
    fn a_long_loss_fades_to_silence_and_never_grows() {
        let mut concealer = Concealer::new(8_000);
        for n in 0..10 {
            concealer.heard(&mut voice(8_000, n * 160, 160));
        }
        let mut before = f32::MAX;
        for _ in 0..4 {
            let mut made_up = [0.0; 160];
            concealer.conceal(&mut made_up);
            let now = level(&made_up);
            assert!(now <= before, "{now} after {before}");
            before = now;
        }
        assert!(before < 1e-6);
    }

    #[test]
    fn no_step_is_louder_than_the_voice_s_own_where_sound_meets_sound_again() {
        let mut concealer = Concealer::new(8_000);
        let mut all = Vec::new();
        for n in 0..20 {
            let mut pcm = voice(8_000, n * 160, 160);
            if n % 7 == 6 {
                concealer.conceal(&mut pcm)
            } else {
                concealer.heard(&mut pcm)
            }
            all.extend(pcm);
        }
        let steps = |pcm: &[f32]| pcm.windows(2).map(|it| (it[1] - it[0]).abs()).fold(0.0, f32::max);
        assert!(steps(&all) < 1.5 * steps(&voice(8_000, 0, 1_600)), "{}", steps(&all));
    }
}
