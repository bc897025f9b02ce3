//! Measures what a relayed packet costs: bidirectional calls of 50 packets a second each way, SRTP on the side of
//! Meta's relays and plain RTP on the agents' side, through the real sockets of Setu's media plane and, with
//! `--peer rtpengine`, through rtpengine in userspace in the same run.
//!
//! The load generator is this process; each relay is a process of its own, so that only the relay's CPU time is
//! counted. The contenders take turns, and the medians of their turns are told. Everything is on loopback.

#![forbid(unsafe_code)]

mod floor;
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
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

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
    /// Another relay to measure in the same run; several, separated by commas.
    #[arg(long, value_delimiter = ',')]
    peer: Vec<Peer>,
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
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Peer {
    /// Sipwise rtpengine, without its kernel module.
    Rtpengine,
    /// The same system calls and SRTP, and nothing else: what this system leaves to gain.
    Floor,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    SetuRelay,
    Floor,
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
    let sessions = args.sessions.first().copied().unwrap_or(1);
    match args.role {
        Some(Role::SetuRelay) => return setu::serve(sessions, usize::from(args.threads)),
        Some(Role::Floor) => return floor::serve(sessions),
        None => {}
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
    let mut names = vec![SETU];
    for (peer, name) in [(Peer::Rtpengine, RTPENGINE), (Peer::Floor, FLOOR)] {
        if args.peer.contains(&peer) {
            names.push(name);
        }
    }
    let mut report = Report::new(sessions, args.seconds, &names);
    for _ in 0..args.rounds {
        for name in &names {
            let contender: Box<dyn Contender> = match *name {
                RTPENGINE => Box::new(rtpengine::Rtpengine::start(sessions)?),
                FLOOR => Box::new(setu::Setu::start("floor", sessions, args.threads)?),
                _ => Box::new(setu::Setu::start("setu-relay", sessions, args.threads)?),
            };
            let turn = take_turn(&*contender, args.seconds);
            contender.stop()?;
            report.add(name, turn.with_context(|| format!("{name} with {sessions} sessions"))?);
        }
    }
    Ok(report)
}

/// On a thread of its own, away from the processor that Setu's first packet thread keeps to.
fn take_turn(contender: &dyn Contender, seconds: u64) -> anyhow::Result<Turn> {
    let (routes, process, idle_kb) = (contender.routes(), contender.process(), contender.idle_kb());
    std::thread::scope(|scope| {
        let turn = scope.spawn(|| {
            keep_to_first_processor()?;
            Generator::new(routes)?.run(process, idle_kb, seconds)
        });
        turn.join().map_err(|_| anyhow::anyhow!("the load generator panicked"))?
    })
}

fn keep_to_first_processor() -> anyhow::Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.context("no processor")?)?;
    sched_setaffinity(this, &one)?;
    Ok(())
}

/// The contenders, as the report has them.
const SETU: &str = "setu";
const RTPENGINE: &str = "rtpengine";
const FLOOR: &str = "floor";

/// What the port ranges of the tool have room for.
const MOST_SESSIONS: i64 = 5_000;
