//! What is told at the end.

use std::fmt;

use serde_json::{Value, json};

use crate::load::Turn;

/// The turns of all contenders with one number of sessions.
pub(crate) struct Report {
    sessions: u16,
    seconds: u64,
    contenders: Vec<(&'static str, Vec<Turn>)>,
}

/// The head of the table.
pub(crate) const HEAD: &str =
    "sessions  contender  ns CPU/packet  of rtpengine  of floor   loss  p50 us  p99 us  kB/session";

impl Report {
    pub(crate) fn new(sessions: u16, seconds: u64, names: &[&'static str]) -> Self {
        Self { sessions, seconds, contenders: names.iter().map(|name| (*name, Vec::new())).collect() }
    }

    pub(crate) fn add(&mut self, name: &str, turn: Turn) {
        if let Some((_, turns)) = self.contenders.iter_mut().find(|(known, _)| *known == name) {
            turns.push(turn);
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let contenders = self.contenders.iter().map(|(name, turns)| ((*name).to_owned(), told(turns)));
        json!({
            "sessions": self.sessions,
            "seconds": self.seconds,
            "contenders": contenders.collect::<serde_json::Map<_, _>>(),
            "ratio": self.ratio("rtpengine").map(thousandths),
            "floor_ratio": self.ratio("floor").map(thousandths),
        })
    }

    /// Setu's CPU time per packet over that of another.
    fn ratio(&self, other: &str) -> Option<f64> {
        let cost = |name| {
            let (_, turns) = self.contenders.iter().find(|(known, _)| *known == name)?;
            Some(median(turns, Turn::ns_cpu_per_packet))
        };
        Some(cost("setu")? / cost(other)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, turns) in &self.contenders {
            let ratio = |other| {
                let ratio = self.ratio(other).filter(|_| *name == "setu");
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"))
            };
            let of = |what: fn(&Turn) -> f64| median(turns, what);
            writeln!(
                f,
                "{:>8}  {name:<9}  {:>13.0}  {:>12}  {:>8}  {:>5.3}%  {:>6.0}  {:>6.0}  {:>10.1}",
                self.sessions,
                of(Turn::ns_cpu_per_packet),
                ratio("rtpengine"),
                ratio("floor"),
                100.0 * of(Turn::loss),
                of(|turn| turn.latency_us(50)),
                of(|turn| turn.latency_us(99)),
                of(|turn| turn.kb_per_session),
            )?;
        }
        Ok(())
    }
}

/// One contender in the words of the interface.
fn told(turns: &[Turn]) -> Value {
    let of = |what: fn(&Turn) -> f64| median(turns, what);
    let each: Vec<_> = turns.iter().map(|turn| turn.ns_cpu_per_packet().round()).collect();
    json!({
        "ns_cpu_per_packet": of(Turn::ns_cpu_per_packet).round(),
        "loss": turns.iter().map(Turn::loss).fold(0.0, f64::max),
        "latency_us": {
            "p50": of(|turn| turn.latency_us(50)).round(),
            "p99": of(|turn| turn.latency_us(99)).round(),
        },
        "kb_per_session": (of(|turn| turn.kb_per_session) * 10.0).round() / 10.0,
        "packets": turns.iter().map(|turn| turn.relayed).sum::<u64>(),
        "turns_ns_cpu_per_packet": each,
    })
}

fn thousandths(ratio: f64) -> f64 {
    (ratio * 1_000.0).round() / 1_000.0
}

fn median(turns: &[Turn], what: impl Fn(&Turn) -> f64) -> f64 {
    let mut values: Vec<f64> = turns.iter().map(what).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
