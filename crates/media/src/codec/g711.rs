//! G.711 (ITU-T G.711, tables 1a to 2b): logarithmic samples of eight bits.

/// One of G.711's two curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    Mu,
    A,
}

impl Law {
    /// Returns a sample of 16 bits, left-aligned as G.711 has 14 or 13.
    pub(crate) fn expand(self, code: u8) -> i16 {
        let table = match self {
            Self::Mu => &MU_SAMPLES,
            Self::A => &A_SAMPLES,
        };
        table.get(usize::from(code)).copied().unwrap_or(0)
    }

    const fn compute(self, code: u8) -> i16 {
        match self {
            Self::Mu => {
                let code = !code;
                let (exponent, mantissa) = ((code >> 4) & 7, (code & 15) as i16);
                let magnitude = (((mantissa << 3) + MU_BIAS) << exponent) - MU_BIAS;
                if code & 0x80 == 0 { magnitude } else { -magnitude }
            }
            Self::A => {
                let code = code ^ 0x55;
                let (exponent, mantissa) = ((code >> 4) & 7, (code & 15) as i16);
                let magnitude = match exponent {
                    0 => (mantissa << 4) + 8,
                    _ => ((mantissa << 4) + 0x108) << (exponent - 1),
                };
                if code & 0x80 == 0 { -magnitude } else { magnitude }
            }
        }
    }

    /// Returns the code nearest to a sample.
    pub(crate) fn compress(self, sample: i16) -> u8 {
        let negative = sample < 0;
        match self {
            Self::Mu => {
                let magnitude = i32::from(sample).abs().min(MU_CLIP) + i32::from(MU_BIAS);
                let exponent = (magnitude.ilog2() - 7).min(7);
                let mantissa = low_4(magnitude >> (exponent + 3));
                !(sign(negative) | exponent_bits(exponent) | mantissa)
            }
            Self::A => {
                // Negative samples count from -1 downwards, as G.711's decision values are.
                let magnitude = if negative { !i32::from(sample) } else { i32::from(sample) };
                let exponent = (magnitude | 0xff).ilog2() - 7;
                let mantissa = low_4(magnitude >> (exponent.max(1) + 3));
                (sign(!negative) | exponent_bits(exponent) | mantissa) ^ 0x55
            }
        }
    }
}

/// Every code's sample: a call expands 8,000 a second.
const MU_SAMPLES: [i16; 256] = table(Law::Mu);
const A_SAMPLES: [i16; 256] = table(Law::A);

const fn table(law: Law) -> [i16; 256] {
    let mut samples = [0; 256];
    let mut code = 0_u8;
    loop {
        samples[code as usize] = law.compute(code);
        if code == u8::MAX {
            return samples;
        }
        code += 1;
    }
}

const fn sign(set: bool) -> u8 {
    if set { 0x80 } else { 0 }
}

const fn exponent_bits(exponent: u32) -> u8 {
    ((exponent & 7) << 4) as u8
}

const fn low_4(bits: i32) -> u8 {
    (bits & 15) as u8
}

const MU_BIAS: i16 = 0x84;
const MU_CLIP: i32 = 32_635;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_tables() {
        let mu: Vec<i16> = [0x00, 0x7f, 0x80, 0xff, 0xf0, 0x8f].map(|code| Law::Mu.expand(code)).into();
        assert_eq!(mu, [-32_124, 0, 32_124, 0, 120, 16_764]);
        let a: Vec<i16> = [0xd5, 0x55, 0xaa, 0x2a, 0xd4].map(|code| Law::A.expand(code)).into();
        assert_eq!(a, [8, -8, 32_256, -32_256, 24]);
    }

    #[test]
    fn every_code_survives_there_and_back() {
        for code in 0..=255 {
            assert_eq!(Law::A.compress(Law::A.expand(code)), code);
            let back = Law::Mu.compress(Law::Mu.expand(code));
            assert!(
                back == code || (code == 0x7f && back == 0xff),
                "mu-law has two zeroes: {code:#x} {back:#x}"
            );
        }
    }

    #[test]
    fn no_sample_is_off_by_more_than_half_a_step_of_its_segment() {
        for law in [Law::Mu, Law::A] {
            for sample in i16::MIN..=i16::MAX {
                let back = i32::from(law.expand(law.compress(sample)));
                let error = (back - i32::from(sample)).abs();
                let allowed = (i32::from(sample).abs() + 132) / 32 + 8;
                let clipped = i32::from(sample).abs() > 32_000;
                assert!(error <= allowed || clipped, "{law:?} {sample} {back}");
            }
        }
    }
}
