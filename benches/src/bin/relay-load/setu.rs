//! Setu's media plane as a contender: this program again, in the role of the relay. So is the floor.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use setu_media::{AudioFormat, Command, Crypto, Event, LegSetup, MediaProfile, OpusTarget};
use setu_media_net::{MediaNetConfig, MediaPlane, MediaSide};
use setu_model::{CallId, LegId, Secret, Side};

use crate::Contender;
use crate::process::resident_kb;
use crate::session::{
    AGENT_SIDE, META_SIDE, PAYLOAD_TYPE, Route, SUITE, agent, keying_from_meta, keying_to_meta, meta,
};

/// The relay's process with calls.
pub(crate) struct Setu {
    child: Child,
    /// Closing it ends the process.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    routes: Vec<Route>,
    idle_kb: u64,
}

impl Setu {
    /// Starts the process and has it set `sessions` calls up.
    pub(crate) fn start(role: &str, sessions: u16, threads: u8) -> anyhow::Result<Self> {
        let mut child = Process::new(std::env::current_exe()?)
            .args(["--role", role, "--sessions", &sessions.to_string(), "--threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the relay's process")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no pipe from the relay's process")?);
        let mut this = Self { child, input, output, routes: Vec::new(), idle_kb: 0 };
        if this.line()? != READY {
            bail!("the relay's process did not start");
        }
        this.idle_kb = resident_kb(this.child.id())?;
        writeln!(this.input.as_mut().context("no pipe to the relay's process")?, "open")?;
        for session in 0..sessions {
            let line = this.line()?;
            let (meta, agent) = line.split_once(' ').context("the relay's process failed")?;
            let from_relay = keying_to_meta(session);
            this.routes.push(Route { meta: meta.parse()?, agent: agent.parse()?, from_relay });
        }
        Ok(this)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Contender for Setu {
    fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn process(&self) -> u32 {
        self.child.id()
    }

    fn idle_kb(&self) -> u64 {
        self.idle_kb
    }

    fn stop(mut self: Box<Self>) -> anyhow::Result<()> {
        self.input = None;
        let last = self.line()?;
        if last != CLEAN {
            bail!("the media plane had trouble: {last}");
        }
        Ok(())
    }
}

impl Drop for Setu {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The relay's process: a media plane that is told what to do by standard input, and tells where its legs are.
pub(crate) fn serve(sessions: u16, threads: usize) -> anyhow::Result<()> {
    let side = |bind| MediaSide {
        bind: IpAddr::V4(bind),
        advertised: IpAddr::V4(bind),
        ports: 20_000..=20_000 + 2 * (sessions + 64 * threads as u16),
    };
    let config = MediaNetConfig {
        meta: side(META_SIDE),
        agents: side(AGENT_SIDE),
        threads,
        codec_threads: 1,
        pinned: true,
        hurried: true,
        quarantine: MediaNetConfig::QUARANTINE,
        dtls: None,
    };
    let (tap, _frames) = crossbeam_channel::bounded(1);
    let (sender, events) = mpsc::channel();
    let plane = MediaPlane::spawn(config, tap, move |event| {
        let _ = sender.send(event);
    })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY}")?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    for session in 0..sessions {
        let [meta, agent] = open(&plane, &events, session)?;
        writeln!(out, "{meta} {agent}")?;
    }
    out.flush()?;
    // What the plane tells from here on is for nobody.
    drop(events);
    // Until the other end is closed.
    std::io::stdin().read_line(&mut line)?;
    let totals = plane.totals();
    plane.shutdown();
    let trouble = totals.unsent + totals.oversized + totals.receive_errors;
    if trouble == 0 {
        writeln!(out, "{CLEAN}")?;
    } else {
        writeln!(out, "{totals:?}")?;
    }
    Ok(())
}

/// Sets a call up as `setu` does; returns where its legs are.
fn open(plane: &MediaPlane, events: &mpsc::Receiver<Event>, session: u16) -> anyhow::Result<[SocketAddr; 2]> {
    let call = CallId::from_bits(u128::from(session) + 1);
    let legs = [(0, Side::Meta), (1, Side::Agents)].map(|(index, side)| (LegId { call, index }, side));
    let mut at = [SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)); 2];
    for ((leg, side), at) in legs.into_iter().zip(&mut at) {
        plane.send(match side {
            Side::Meta => Command::Open { leg, side },
            Side::Agents => Command::OpenShared { leg },
        })?;
        *at = loop {
            let event = events.recv_timeout(PATIENCE).context("the media plane does not answer")?;
            if let Event::Opened { leg: opened, local } = event {
                ensure!(opened == leg, "another leg was opened");
                break local;
            }
            let failed = matches!(event, Event::OpenFailed { .. } | Event::SetupFailed { .. });
            ensure!(!failed, "{event:?}");
        };
        plane.send(Command::Configure(Box::new(setup(leg, side, session))))?;
        plane.send(Command::Start { leg })?;
    }
    let [(one, _), (other, _)] = legs;
    plane.send(Command::Bridge { one, other })?;
    Ok(at)
}

fn setup(leg: LegId, side: Side, session: u16) -> LegSetup {
    let (remote, crypto, profile) = match side {
        Side::Meta => {
            let crypto = Crypto::Srtp {
                suite: SUITE,
                send: Secret::new(keying_to_meta(session).into()),
                receive: Secret::new(keying_from_meta(session).into()),
            };
            (meta(session), crypto, MediaProfile::meta())
        }
        Side::Agents => (agent(session), Crypto::Plain, MediaProfile::trunk()),
    };
    LegSetup {
        leg,
        side,
        remote: remote.into(),
        remote_rtcp: None,
        ice: None,
        crypto,
        audio: AudioFormat::Opus { send_pt: PAYLOAD_TYPE, receive_pt: PAYLOAD_TYPE },
        dtmf: None,
        comfort_noise: false,
        opus: OpusTarget::META,
        profile,
        ssrc: 0xb41d_0000 + 2 * u32::from(session) + u32::from(leg.index),
        sequence: 1_000,
        timestamp: 48_000,
    }
}

/// How long the media plane may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the process says before it holds any call.
pub(crate) const READY: &str = "ready";

/// What the process says at the end if nothing was dropped in it.
pub(crate) const CLEAN: &str = "clean";
