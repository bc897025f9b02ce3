//! `cargo xtask`: everything that must pass before a change lands, and the peers it needs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    let word = std::env::args().nth(1);
    let outcome = match word.as_deref() {
        Some("test") => test(),
        Some("peers") => peers(),
        Some("check") => check(),
        _ => Err(anyhow::anyhow!(HELP)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "usage: cargo xtask <command>
  test    install the peers, then run everything: format, lints, docs, tests, simulation, demo, interop
  check   the quick part of it: format, lints, docs
  peers   only install the peers (Asterisk, SIPp, PostgreSQL, baresip, Chromium, ffmpeg, ..) into ~/.cache/setu";

fn test() -> Result<()> {
    let mut run = Run::default();
    run.step("peers", peers)?;
    check_with(&mut run)?;
    run.step("release build", || cargo(&["build", "--release", "--package", "setu"]))?;
    run.step("tests", tests)?;
    run.step("demo", demo)?;
    run.report();
    Ok(())
}

fn check() -> Result<()> {
    let mut run = Run::default();
    check_with(&mut run)?;
    run.report();
    Ok(())
}

fn check_with(run: &mut Run) -> Result<()> {
    run.step("format", || cargo(&["fmt", "--all", "--check"]))?;
    run.step("lints", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run.step("docs", || {
        exec(
            Command::new(env!("CARGO"))
                .args(["doc", "--workspace", "--no-deps", "--quiet"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    })
}

/// Installs the peers, unless they are there.
fn peers() -> Result<()> {
    exec(&mut Command::new(root().join("xtask/peers.sh")))
}

/// Every test. The property tests draw the same cases in each run, so that a run judges the change and not its luck;
/// `PROPTEST_RNG_SEED` and `PROPTEST_CASES` search further.
fn tests() -> Result<()> {
    let seed = std::env::var("PROPTEST_RNG_SEED").unwrap_or_else(|_| "2026".to_owned());
    exec(
        Command::new(env!("CARGO"))
            .args(["test", "--workspace", "--no-fail-fast"])
            .env("PROPTEST_RNG_SEED", seed),
    )
}

/// Runs the demo as a newcomer would and reads what it printed.
fn demo() -> Result<()> {
    let folder = root().join("target/demo");
    let out = Command::new(root().join("target/release/setu"))
        .args(["demo", "--json", "--folder"])
        .arg(&folder)
        .output()
        .context("cannot start target/release/setu")?;
    let text = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        bail!("setu demo failed ({}):\n{text}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    let json: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
    let calls = json["calls"].as_array().context("no calls in the demo's JSON")?;
    for (direction, ingress) in [
        ("user_initiated", "sip"),
        ("business_initiated", "sip"),
        ("user_initiated", "provider_uri"),
        ("user_initiated", "graph"),
    ] {
        let call = calls
            .iter()
            .find(|c| c["direction"] == direction && c["ingress"] == ingress)
            .with_context(|| format!("the demo made no {direction} call by {ingress}: {text}"))?;
        if call["result"] != "success" {
            bail!("the demo's {direction} call by {ingress} ended with {}: {text}", call["result"]);
        }
    }
    let refused = json["refused"].as_array().context("no refused calls in the demo's JSON")?;
    if !refused.iter().any(|rule| rule["code"] == 4005) {
        bail!("the demo's call without permission was not refused: {text}");
    }
    Ok(())
}

/// The steps of one run, with what each took.
#[derive(Default)]
struct Run(Vec<(&'static str, u64)>);

impl Run {
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        say(&format!("== {name}"));
        let start = Instant::now();
        work().with_context(|| format!("{name} failed"))?;
        self.0.push((name, start.elapsed().as_secs()));
        Ok(())
    }

    fn report(&self) {
        let total: u64 = self.0.iter().map(|(_, s)| s).sum();
        for (name, seconds) in &self.0 {
            say(&format!("{seconds:>5} s  {name}"));
        }
        say(&format!("{total:>5} s  in all; everything passed"));
    }
}

fn cargo(args: &[&str]) -> Result<()> {
    exec(Command::new(env!("CARGO")).args(args))
}

fn exec(command: &mut Command) -> Result<()> {
    let status = command
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { bail!("{} ended with {status}", line(command)) }
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

#[expect(clippy::print_stderr, reason = "this is a command-line tool")]
fn say(text: &str) {
    eprintln!("{text}");
}
