//! Posts signed webhooks to a running bridge at a steady rate and tells how long their acknowledgements took: each tells of
//! a message of another customer, or, for every `--again`th, of one that was told before.
//!
//! Latency counts from when a webhook was due, so that a bridge that stalls is not spared those behind.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Parser;
use setu_model::Secret;
use setu_whatsapp::webhook::sign;

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

/// What one connection saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    refused: u32,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let secret = std::fs::read_to_string(&args.secret)
        .with_context(|| format!("cannot read {}", args.secret.display()))?;
    let secret = Secret::new(secret.lines().next().unwrap_or_default().to_owned());
    // Customers of this run alone, so that each is told of for the first time.
    let run = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?.as_secs();
    let start = Instant::now() + Duration::from_millis(200);
    let seen = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.connections)
            .map(|number| {
                let (args, secret) = (&args, &secret);
                scope.spawn(move || post_all(args, secret, number, run, start))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a connection's thread panicked")))
            })
            .collect::<anyhow::Result<Vec<Seen>>>()
    })?;
    let refused: u32 = seen.iter().map(|seen| seen.refused).sum();
    let mut latencies: Vec<Duration> = seen.into_iter().flat_map(|seen| seen.latencies).collect();
    latencies.sort_unstable();
    let at = |permille: usize| {
        let index = (latencies.len() * permille / 1_000).min(latencies.len().saturating_sub(1));
        latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
    };
    let (acknowledged, p50, p99, most) = (latencies.len(), at(500), at(990), at(1_000));
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

/// Posts this connection's share, each when it is due.
fn post_all(
    args: &Args,
    secret: &Secret<String>,
    number: u32,
    run: u64,
    start: Instant,
) -> anyhow::Result<Seen> {
    let mut stream = TcpStream::connect(args.to).with_context(|| format!("cannot connect to {}", args.to))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut seen = Seen::default();
    for n in (number..args.rate * args.seconds).step_by(args.connections as usize) {
        let due = start + Duration::from_secs(1).mul_f64(f64::from(n) / f64::from(args.rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let again = n > 0 && n.checked_rem(args.again) == Some(0);
        let body = webhook(&args.phone_number_id, run, if again { n - 1 } else { n });
        let signature = sign(secret, body.as_bytes());
        let head = format!(
            "POST /webhooks/whatsapp HTTP/1.1\r\nHost: setu\r\nContent-Type: application/json\r\n\
             X-Hub-Signature-256: {signature}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        if acknowledged(&mut answers)? {
            seen.latencies.push(due.elapsed());
        } else {
            seen.refused += 1;
        }
    }
    Ok(seen)
}

/// Reads an answer; returns whether it is a 200.
fn acknowledged(answers: &mut impl BufRead) -> anyhow::Result<bool> {
    let (mut status, mut length) = (String::new(), 0);
    answers.read_line(&mut status)?;
    anyhow::ensure!(!status.is_empty(), "the bridge closed the connection");
    loop {
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().context("a Content-Length that is no number")?;
        }
    }
    let read = std::io::copy(&mut answers.take(length), &mut std::io::sink())?;
    anyhow::ensure!(read == length, "an answer that ends early");
    Ok(status.starts_with("HTTP/1.1 200"))
}

/// A customer's message, as Meta tells of it.
fn webhook(phone_number_id: &str, run: u64, n: u32) -> String {
    // Numbers of twelve digits, as those of India are.
    let customer = 910_000_000_000_u64 + (run % 1_000) * 1_000_000 + u64::from(n);
    serde_json::json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": "102290129340398", "time": run, "changes": [{
            "field": "messages",
            "value": {
                "messaging_product": "whatsapp",
                "metadata": {"display_phone_number": "15550783881", "phone_number_id": phone_number_id},
                "contacts": [{"wa_id": customer.to_string(), "profile": {"name": "Load"}}],
                "messages": [{
                    "from": customer.to_string(), "id": format!("wamid.{run}.{n}"), "timestamp": run.to_string(),
                    "type": "text", "text": {"body": "When do you open?"},
                }],
            },
        }]}],
    })
    .to_string()
}
