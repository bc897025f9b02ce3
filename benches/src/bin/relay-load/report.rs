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
    "sessions  contender  ns CPU/packet  of rtpengine   loss  p50 us  p99 us  kB/session";

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
            "ratio": self.ratio().map(|ratio| (ratio * 1_000.0).round() / 1_000.0),
        })
    }

    /// Setu's CPU time per packet over that of the other.
    fn ratio(&self) -> Option<f64> {
        let [(_, ours), (_, theirs)] = self.contenders.as_slice() else { return None };
        Some(median(ours, Turn::ns_cpu_per_packet) / median(theirs, Turn::ns_cpu_per_packet))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, turns) in &self.contenders {
            let ratio = self.ratio().filter(|_| *name == "setu");
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"));
            let of = |what: fn(&Turn) -> f64| median(turns, what);
            writeln!(
                f,
                "{:>8}  {name:<9}  {:>13.0}  {ratio:>12}  {:>5.3}%  {:>6.0}  {:>6.0}  {:>10.1}",
                self.sessions,
                of(Turn::ns_cpu_per_packet),
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

fn median(turns: &[Turn], what: impl Fn(&Turn) -> f64) -> f64 {
    let mut values: Vec<f64> = turns.iter().map(what).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
