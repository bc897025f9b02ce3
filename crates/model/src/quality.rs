//! How a call sounded: opinion scores by the E-model, and the hop at fault.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A mean opinion score, 1.00 (bad) to 4.50 (excellent), in hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mos(u16);

/// A hop of a call's audio, from the bridge's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// The customer's phone and Meta, toward the bridge.
    CustomerUplink,
    /// From the bridge toward Meta and the customer.
    CustomerDownlink,
    /// The agent's phone or PBX, toward the bridge.
    AgentUplink,
    /// From the bridge toward the agent.
    AgentDownlink,
    /// The bridge itself.
    Bridge,
}

impl Hop {
    /// All hops.
    pub const ALL: [Self; 5] =
        [Self::CustomerUplink, Self::CustomerDownlink, Self::AgentUplink, Self::AgentDownlink, Self::Bridge];

    /// The hop as a word: in records, log lines and metric labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CustomerUplink => "customer_uplink",
            Self::CustomerDownlink => "customer_downlink",
            Self::AgentUplink => "agent_uplink",
            Self::AgentDownlink => "agent_downlink",
            Self::Bridge => "bridge",
        }
    }
}

/// What was wrong with a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Impairment {
    /// No packet came at all.
    NoMedia,
    /// Packets were lost.
    Loss,
    /// Packets came unevenly.
    Jitter,
    /// Packets took long.
    Delay,
    /// The bridge sent late.
    Late,
}

/// The hop that harmed a call most, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which hop.
    pub hop: Hop,
    /// By what.
    pub why: Impairment,
}

/// The verdict on one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallQuality {
    /// What the customer heard; null where too little is known.
    pub customer_heard: Option<Mos>,
    /// What the agent heard; null where too little is known.
    pub agent_heard: Option<Mos>,
    /// Who is at fault where one of the two was not satisfied; null where both were.
    pub fault: Option<Fault>,
}

/// One way of audio over one hop or several, for the E-model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// The codec's own impairment.
    pub codec: CodecImpairment,
    /// Packets lost, 0 to 1.
    pub loss: f64,
    /// How much longer bursts of losses are than by chance: 1 for random loss (BurstR, ITU-T G.107 section 7.2.4.2).
    pub burst_ratio: f64,
    /// From mouth to ear, one way, in milliseconds.
    pub delay_ms: f64,
}

/// A codec's impairment (ITU-T G.113): on its own, and how it bears loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CodecImpairment {
    /// Ie, the equipment impairment factor.
    pub ie: f64,
    /// Bpl, the packet loss robustness factor.
    pub bpl: f64,
}

impl CodecImpairment {
    /// G.711 with packet loss concealment (G.113 appendix I).
    pub const G711: Self = Self { ie: 0.0, bpl: 25.1 };

    /// Opus at Meta's 20 kbit/s with in-band FEC. No recommendation gives values; these are on the cautious side of
    /// published measurements.
    pub const OPUS: Self = Self { ie: 5.0, bpl: 20.0 };
}

impl Path {
    /// The transmission rating R, 0 to 93.2 (ITU-T G.107, everything but codec, loss and delay at its default).
    pub fn rating(&self) -> f64 {
        let CodecImpairment { ie, bpl } = self.codec;
        let percent = (self.loss * 100.0).clamp(0.0, 100.0);
        let burst = self.burst_ratio.max(1.0);
        let loss = if percent > 0.0 { (95.0 - ie) * percent / (percent / burst + bpl) } else { 0.0 };
        let delay = self.delay_ms.max(0.0);
        // The two slopes that approximate Id of G.107 where echo is cancelled.
        let delay = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
        (DEFAULT_RATING - ie - loss - delay).clamp(0.0, DEFAULT_RATING)
    }

    /// The mean opinion score (G.107 annex B).
    pub fn mos(&self) -> Mos {
        Mos::from_rating(self.rating())
    }
}

impl Mos {
    /// Converts a rating R (ITU-T G.107 annex B).
    pub fn from_rating(rating: f64) -> Self {
        let r = rating.clamp(0.0, 100.0);
        Self::from(1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6)
    }

    /// The score, 1.0 to 4.5.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl From<f64> for Mos {
    fn from(score: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped right before")]
        let hundredths = (score.clamp(1.0, 4.5) * 100.0).round() as u16;
        Self(hundredths)
    }
}

impl fmt::Display for Mos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.value())
    }
}

impl Serialize for Mos {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.value())
    }
}

impl<'de> Deserialize<'de> for Mos {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        f64::deserialize(from).map(Self::from)
    }
}

/// R where nothing impairs: G.107's default values, mouth to ear.
const DEFAULT_RATING: f64 = 93.2;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(codec: CodecImpairment, loss: f64, burst_ratio: f64, delay_ms: f64) -> Path {
        Path { codec, loss, burst_ratio, delay_ms }
    }

    #[test]
    fn scores_are_those_of_the_recommendation() {
        // G.107 annex B: R of 93.2, 80, 70, 60, 50.
        for (rating, mos) in [(93.2, 4.41), (80.0, 4.02), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            assert!((Mos::from_rating(rating).value() - mos).abs() < 0.011, "{rating}");
        }
        assert_eq!((Mos::from_rating(-5.0).value(), Mos::from_rating(100.0).value()), (1.0, 4.5));
    }

    #[test]
    fn g711_loses_as_g113_says() {
        let rating = |loss, burst| path(CodecImpairment::G711, loss, burst, 0.0).rating();
        // Ie,eff = 95 * Ppl / (Ppl + 25.1).
        assert!((rating(0.01, 1.0) - (93.2 - 95.0 / 26.1)).abs() < 0.01);
        assert!((rating(0.05, 1.0) - (93.2 - 475.0 / 30.1)).abs() < 0.01);
        assert!(rating(0.05, 2.0) < rating(0.05, 1.0), "bursts are worse");
        assert!(rating(1.0, 1.0) < 20.0);
    }

    #[test]
    fn delay_hurts_little_below_177_ms_and_much_above() {
        let rating = |delay| path(CodecImpairment::G711, 0.0, 1.0, delay).rating();
        assert!((rating(100.0) - 90.8).abs() < 0.01);
        assert!((rating(400.0) - (93.2 - 9.6 - 24.497)).abs() < 0.01);
    }

    #[test]
    fn a_score_is_a_number_with_two_digits_in_a_record() {
        let json = serde_json::to_string(&Mos::from(4.213)).unwrap();
        assert_eq!(json, "4.21");
        assert_eq!(serde_json::from_str::<Mos>(&json).unwrap(), Mos::from(4.21));
    }
}
