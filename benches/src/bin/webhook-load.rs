//! Posts signed webhooks to a running bridge at a steady rate and tells how long their acknowledgements took.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Parser;
use setu_benches::webhooks::Load;
use setu_model::Secret;

/// Posts signed webhooks at a steady rate and tells how long their acknowledgements took.
#[derive(Debug, Parser)]
struct Args {
    /// Where the bridge takes webhooks (`webhooks.bind`).
    #[arg(long)]
    to: SocketAddr,
    /// A file whose first line is an app secret.
    #[arg(long)]
    secret: PathBuf,
    /// The number's id with Meta (`numbers.phone_number_id`).
    #[arg(long)]
    phone_number_id: String,
    /// Webhooks a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    rate: u32,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Connections, which are kept open.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=512))]
    connections: u32,
    /// Every so many webhooks, one that was told before; 0 for none.
    #[arg(long, default_value_t = 10)]
    again: u32,
    /// Tell the result as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let secret = std::fs::read_to_string(&args.secret)
        .with_context(|| format!("cannot read {}", args.secret.display()))?;
    let load = Load {
        to: args.to,
        app_secret: Secret::new(secret.lines().next().unwrap_or_default().to_owned()),
        phone_number_id: args.phone_number_id,
        run: SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?.as_secs(),
        rate: args.rate,
        seconds: args.seconds,
        connections: args.connections,
        again: args.again,
        patience: Duration::ZERO,
    };
    let mut seen = load.run()?;
    let [p50, p99, most] = [500, 990, 1_000].map(|permille| seen.latency_ms(permille));
    let (acknowledged, refused) = (seen.latencies.len(), seen.refused);
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = serde_json::json!({
            "acknowledged": acknowledged, "refused": refused,
            "latency_ms": {"p50": p50, "p99": p99, "most": most},
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(out, "{acknowledged} acknowledged, {refused} refused")?;
        writeln!(out, "p50 {p50:.1} ms, p99 {p99:.1} ms, at most {most:.1} ms")?;
    }
    Ok(())
}
