//! G.722 at 64 kbit/s (ITU-T G.722): two ADPCM sub-bands, one byte for two samples of 16 kHz.
//!
//! Where the other side has 8 kHz only, the filter bank is left out: the lower sub-band *is* an 8 kHz signal, so there
//! is nothing to resample.

/// Encodes.
#[derive(Debug)]
pub(crate) struct Encoder {
    low: Band,
    high: Band,
    /// The last 24 samples of 16 kHz, the newest last.
    window: [i32; TAPS],
}

/// Decodes.
#[derive(Debug)]
pub(crate) struct Decoder {
    low: Band,
    high: Band,
    window: [i32; TAPS],
}

impl Encoder {
    pub(crate) const fn new() -> Self {
        Self { low: Band::new(32), high: Band::new(8), window: [0; TAPS] }
    }

    /// Encodes two samples of 16 kHz as one byte.
    pub(crate) fn encode(&mut self, pair: [i16; 2]) -> u8 {
        push(&mut self.window, pair.map(i32::from));
        let (odd, even) = filter(&self.window);
        self.code((even + odd) >> 14, (even - odd) >> 14)
    }

    /// Encodes one sample of 8 kHz as one byte.
    pub(crate) fn encode_narrow(&mut self, sample: i16) -> u8 {
        self.code(i32::from(sample) >> 1, 0)
    }

    fn code(&mut self, low: i32, high: i32) -> u8 {
        let difference = saturate(low - self.low.s);
        let magnitude = if difference >= 0 { difference } else { -(difference + 1) };
        let level = DECISIONS.iter().position(|decision| magnitude < (decision * self.low.det) >> 12);
        let level = level.unwrap_or(DECISIONS.len());
        let low_code = at(if difference < 0 { &LOW_NEGATIVE } else { &LOW_POSITIVE }, level);
        self.low.adapt_low(low_code >> 2);

        let difference = saturate(high - self.high.s);
        let magnitude = if difference >= 0 { difference } else { -(difference + 1) };
        let outer = magnitude >= (564 * self.high.det) >> 12;
        let high_code = match (difference < 0, outer) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.high.adapt_high(high_code);
        u8::try_from(high_code << 6 | low_code).unwrap_or(0)
    }
}

impl Decoder {
    pub(crate) const fn new() -> Self {
        Self { low: Band::new(32), high: Band::new(8), window: [0; TAPS] }
    }

    /// Decodes one byte to two samples of 16 kHz.
    pub(crate) fn decode(&mut self, code: u8) -> [i16; 2] {
        let (low, high) = self.bands(code);
        push(&mut self.window, [low + high, low - high]);
        let (odd, even) = filter(&self.window);
        [narrow(even >> 11), narrow(odd >> 11)]
    }

    /// Decodes one byte to one sample of 8 kHz.
    pub(crate) fn decode_narrow(&mut self, code: u8) -> i16 {
        let (low, _) = self.bands(code);
        narrow(low << 1)
    }

    fn bands(&mut self, code: u8) -> (i32, i32) {
        let (low_code, high_code) = (i32::from(code & 0x3f), i32::from(code >> 6));
        let low = self.low.s + ((self.low.det * at(&LOW_LEVELS, index(low_code))) >> 15);
        self.low.adapt_low(low_code >> 2);
        let high = self.high.adapt_high(high_code);
        (low.clamp(-16_384, 16_383), high.clamp(-16_384, 16_383))
    }
}

/// One sub-band's quantiser scale and predictor (blocks 3 and 4 of the recommendation).
#[derive(Debug)]
struct Band {
    /// The predicted sample.
    s: i32,
    sz: i32,
    r: [i32; 3],
    a: [i32; 3],
    p: [i32; 3],
    d: [i32; 7],
    b: [i32; 7],
    /// The quantiser's scale, as its logarithm and itself.
    nb: i32,
    det: i32,
}

impl Band {
    const fn new(det: i32) -> Self {
        Self { s: 0, sz: 0, r: [0; 3], a: [0; 3], p: [0; 3], d: [0; 7], b: [0; 7], nb: 0, det }
    }

    /// Takes the four most significant bits of a low-band code (INVQAL, LOGSCL, SCALEL).
    fn adapt_low(&mut self, code: i32) {
        let d = (self.det * at(&LOW_INVERSE, index(code))) >> 15;
        self.nb = (((self.nb * 127) >> 7) + at(&LOW_LOG, index(code))).clamp(0, 18_432);
        self.rescale(8);
        self.predict(d);
    }

    /// Takes a high-band code (INVQAH, LOGSCH, SCALEH); returns the reconstructed sample.
    fn adapt_high(&mut self, code: i32) -> i32 {
        let d = (self.det * at(&HIGH_INVERSE, index(code))) >> 15;
        let sample = d + self.s;
        self.nb = (((self.nb * 127) >> 7) + at(&HIGH_LOG, index(code))).clamp(0, 22_528);
        self.rescale(10);
        self.predict(d);
        sample
    }

    fn rescale(&mut self, base: i32) {
        let mantissa = at(&LOG_TO_LINEAR, index((self.nb >> 6) & 31));
        let shift = base - (self.nb >> 11);
        let scale = if shift < 0 { mantissa << -shift } else { mantissa >> shift };
        self.det = scale << 2;
    }

    /// Block 4: adapts both predictors to the quantised difference `d` and predicts the next sample.
    fn predict(&mut self, d: i32) {
        let ([_, r1, _], [_, a1, a2], [_, p1, p2]) = (self.r, self.a, self.p);
        let r0 = saturate(self.s + d);
        let p0 = saturate(self.sz + d);
        // Plus or minus a value, by whether two numbers have one sign.
        let signed = |one: i32, other: i32, value: i32| if (one < 0) == (other < 0) { value } else { -value };
        // UPPOL2
        let cross = signed(p0, p1, -saturate(a1 << 2)).min(32_767);
        let a2 = signed(p0, p2, 128) + (cross >> 7) + ((a2 * 32_512) >> 15);
        let a2 = a2.clamp(-12_288, 12_288);
        // UPPOL1
        let limit = saturate(15_360 - a2);
        let a1 = saturate(signed(p0, p1, 192) + ((a1 * 32_640) >> 15)).clamp(-limit, limit);
        // UPZERO
        let step = if d == 0 { 0 } else { 128 };
        for (b, past) in self.b.iter_mut().zip(&self.d).skip(1) {
            *b = saturate(signed(*past, d, step) + ((*b * 32_640) >> 15));
        }
        // DELAYA
        self.d.copy_within(1..6, 2);
        let [_, newest, ..] = &mut self.d;
        *newest = d;
        self.r = [0, r0, r1];
        self.p = [0, p0, p1];
        self.a = [0, a1, a2];
        // FILTEP, FILTEZ, PREDIC
        let poles = saturate(((a1 * saturate(r0 << 1)) >> 15) + ((a2 * saturate(r1 << 1)) >> 15));
        let zeroes = self.b.iter().zip(&self.d).skip(1).map(|(b, d)| (b * saturate(d << 1)) >> 15);
        self.sz = saturate(zeroes.sum());
        self.s = saturate(poles + self.sz);
    }
}

fn push(window: &mut [i32; TAPS], pair: [i32; 2]) {
    window.copy_within(2.., 0);
    let [.., one, other] = window;
    [*one, *other] = pair;
}

/// The two halves of the quadrature mirror filter.
fn filter(window: &[i32; TAPS]) -> (i32, i32) {
    let pairs = window.as_chunks::<2>().0;
    let odd = pairs.iter().zip(&FILTER).map(|([first, _], tap)| first * tap).sum();
    let even = pairs.iter().zip(FILTER.iter().rev()).map(|([_, second], tap)| second * tap).sum();
    (odd, even)
}

fn at(table: &[i32], index: usize) -> i32 {
    table.get(index).copied().unwrap_or(0)
}

fn index(code: i32) -> usize {
    usize::try_from(code).unwrap_or(0)
}

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

fn narrow(value: i32) -> i16 {
    i16::try_from(saturate(value)).unwrap_or(0)
}

/// Taps of the filter bank.
const TAPS: usize = 24;

/// Every second tap of it; the others are the same backwards (table 11).
const FILTER: [i32; 12] = [3, -11, 12, 32, -210, 951, 3_876, -805, 362, -156, 53, -11];

/// Decision levels of the low band's quantiser (table 14).
const DECISIONS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1_023, 1_121,
    1_219, 1_339, 1_458, 1_612, 1_765, 1_980, 2_195, 2_557, 2_919,
];

/// Low-band codes by decision, for negative and for positive differences (table 14).
const LOW_NEGATIVE: [i32; 30] = [
    63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7,
    6, 5, 4,
];
const LOW_POSITIVE: [i32; 30] = [
    61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36,
    35, 34, 33, 32,
];

/// Output levels of the low band by six bits (table 18).
const LOW_LEVELS: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232,
    -9_360, -8_576, -7_856, -7_192, -6_576, -6_000, -5_456, -4_944, -4_464, -4_008, -3_576, -3_168, -2_776,
    -2_400, -2_032, -1_688, -1_360, -1_040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280,
    11_192, 10_232, 9_360, 8_576, 7_856, 7_192, 6_576, 6_000, 5_456, 4_944, 4_464, 4_008, 3_576, 3_168,
    2_776, 2_400, 2_032, 1_688, 1_360, 1_040, 728, 432, 136, -432, -136,
];

/// Output levels of the low band by four bits, which both sides adapt by (table 16).
const LOW_INVERSE: [i32; 16] = [
    0, -20_456, -12_896, -8_968, -6_288, -4_240, -2_584, -1_200, 20_456, 12_896, 8_968, 6_288, 4_240, 2_584,
    1_200, 0,
];

/// Multipliers of the low band's scale, by four bits.
const LOW_LOG: [i32; 16] =
    [-60, 3_042, 1_198, 538, 334, 172, 58, -30, 3_042, 1_198, 538, 334, 172, 58, -30, -60];

/// Output levels of the high band, and multipliers of its scale, by two bits.
const HIGH_INVERSE: [i32; 4] = [-7_408, -1_616, 7_408, 1_616];
const HIGH_LOG: [i32; 4] = [798, -214, 798, -214];

/// From the scale's logarithm to itself (table 21).
const LOG_TO_LINEAR: [i32; 32] = [
    2_048, 2_093, 2_139, 2_186, 2_233, 2_282, 2_332, 2_383, 2_435, 2_489, 2_543, 2_599, 2_656, 2_714, 2_774,
    2_834, 2_896, 2_960, 3_025, 3_091, 3_158, 3_228, 3_298, 3_371, 3_444, 3_520, 3_597, 3_676, 3_756, 3_838,
    3_922, 4_008,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: f64, count: usize) -> Vec<i16> {
        let sample = |n: usize| 10_000.0 * (std::f64::consts::TAU * hz * n as f64 / rate).sin();
        (0..count).map(|n| sample(n) as i16).collect()
    }

    fn snr(one: &[i16], other: &[i16]) -> f64 {
        let power: f64 = one.iter().map(|s| f64::from(*s).powi(2)).sum();
        let noise: f64 = one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        10.0 * (power / noise.max(1.0)).log10()
    }

    #[test]
    fn a_wideband_tone_survives_with_the_delay_of_the_filters() {
        let pcm = tone(1_000.0, 16_000.0, 16_000);
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let back: Vec<i16> =
            pcm.as_chunks::<2>().0.iter().flat_map(|pair| decoder.decode(encoder.encode(*pair))).collect();
        // 22 samples: the two halves of the filter bank.
        assert!(snr(&pcm[2_000..15_000], &back[2_022..15_022]) > 30.0);
    }

    #[test]
    fn the_lower_band_alone_is_a_narrowband_codec() {
        let pcm = tone(1_000.0, 8_000.0, 8_000);
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let back: Vec<i16> =
            pcm.iter().map(|sample| decoder.decode_narrow(encoder.encode_narrow(*sample))).collect();
        assert!(snr(&pcm[2_000..], &back[2_000..]) > 30.0);
    }

    #[test]
    fn no_input_overflows() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for n in 0..100_000_u32 {
            let noise = n.wrapping_mul(2_654_435_761);
            decoder.decode((noise >> 24) as u8);
            let extreme = if noise & 1 == 0 { i16::MAX } else { i16::MIN };
            encoder.encode([extreme, extreme]);
        }
    }
}
