//! Measures what a relayed packet costs: bidirectional calls of 50 packets a second each way, SRTP on the side of
//! Meta's relays and plain RTP on the agents' side, through the real sockets of Setu's media plane and, with
//! `--peer rtpengine`, through rtpengine in userspace in the same run.
//!
//! The load generator is this process; each relay is a process of its own, so that only the relay's CPU time is
//! counted. The contenders take turns, and the medians of their turns are told. Everything is on loopback.

#![forbid(unsafe_code)]

mod load;
mod ng;
mod process;
mod report;
mod rtpengine;
mod session;
mod setu;
mod udp;

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

use crate::load::{Generator, Turn};
use crate::process::raise_descriptor_limit;
use crate::report::Report;

/// Measures what a relayed packet costs.
#[derive(Debug, Parser)]
struct Args {
    /// Calls; several, separated by commas, are measured one after the other.
    #[arg(long, default_value = "500", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=MOST_SESSIONS))]
    sessions: Vec<u16>,
    /// How long each turn is measured, in seconds, after its warm-up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Turns of each contender; the median is told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=25))]
    rounds: u8,
    /// Another relay to measure in the same run.
    #[arg(long)]
    peer: Option<Peer>,
    /// Packet threads of Setu.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// Tell the result as JSON.
    #[arg(long)]
    json: bool,
    /// Run as one of the contenders; used by the tool itself.
    #[arg(long, hide = true)]
    role: Option<Role>,
}

/// What Setu is compared with.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Peer {
    /// Sipwise rtpengine, without its kernel module.
    Rtpengine,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    SetuRelay,
}

/// A relay under load: a process with sessions set up.
trait Contender {
    /// Where each session's packets go, and the key of what the relay sends.
    fn routes(&self) -> &[session::Route];
    /// The process whose CPU time and memory count.
    fn process(&self) -> u32;
    /// What the process held before the sessions were set up, in kB.
    fn idle_kb(&self) -> u64;
    /// Ends the process.
    fn stop(self: Box<Self>) -> anyhow::Result<()>;
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    raise_descriptor_limit();
    if let Some(Role::SetuRelay) = args.role {
        let sessions = args.sessions.first().copied().unwrap_or(1);
        return setu::serve(sessions, usize::from(args.threads));
    }
    let mut reports = Vec::new();
    for sessions in &args.sessions {
        reports.push(measure(*sessions, &args)?);
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let text = match reports.as_slice() {
            [one] => serde_json::to_string_pretty(&one.to_json()),
            several => serde_json::to_string_pretty(&several.iter().map(Report::to_json).collect::<Vec<_>>()),
        };
        writeln!(out, "{}", text?)?;
    } else {
        writeln!(out, "{}", report::HEAD)?;
        for report in &reports {
            write!(out, "{report}")?;
        }
    }
    Ok(())
}

fn measure(sessions: u16, args: &Args) -> anyhow::Result<Report> {
    let mut names = vec!["setu"];
    if args.peer.is_some() {
        names.push("rtpengine");
    }
    let mut report = Report::new(sessions, args.seconds, &names);
    for _ in 0..args.rounds {
        for name in &names {
            let contender: Box<dyn Contender> = match *name {
                "setu" => Box::new(setu::Setu::start(sessions, args.threads)?),
                _ => Box::new(rtpengine::Rtpengine::start(sessions)?),
            };
            let turn = take_turn(&*contender, args.seconds);
            contender.stop()?;
            report.add(name, turn.with_context(|| format!("{name} with {sessions} sessions"))?);
        }
    }
    Ok(report)
}

fn take_turn(contender: &dyn Contender, seconds: u64) -> anyhow::Result<Turn> {
    Generator::new(contender.routes())?.run(contender, seconds)
}

/// What the port ranges of the tool have room for.
const MOST_SESSIONS: i64 = 5_000;
