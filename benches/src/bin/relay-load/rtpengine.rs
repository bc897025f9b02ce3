//! rtpengine in userspace as a contender.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Contender;
use crate::ng::{Client, Value};
use crate::process::resident_kb;
use crate::session::{PAYLOAD_TYPE, RTPENGINE, Route, SUITE, agent, keying_from_meta, meta};

/// A running rtpengine with calls.
pub(crate) struct Rtpengine {
    child: Child,
    routes: Vec<Route>,
    idle_kb: u64,
}

impl Rtpengine {
    /// Starts it and sets `sessions` calls up, as a proxy in front of it would.
    pub(crate) fn start(sessions: u16) -> anyhow::Result<Self> {
        let control = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 22_222);
        let child = Command::new("rtpengine")
            .args(["--config-file=none", "--foreground", "--log-stderr", "--log-level=3", "--table=-1"])
            .arg(format!("--interface={RTPENGINE}"))
            .arg(format!("--listen-ng={control}"))
            .args(["--port-min=20000", "--port-max=60000", "--delete-delay=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start rtpengine; xtask/peers.sh installs it")?;
        let mut this = Self { child, routes: Vec::new(), idle_kb: 0 };
        let mut client = Client::new(control)?;
        client.ask(&[("command", text("ping"))])?;
        this.idle_kb = resident_kb(this.child.id())?;
        for session in 0..sessions {
            this.routes.push(open(&mut client, session)?);
        }
        Ok(this)
    }
}

impl Contender for Rtpengine {
    fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn process(&self) -> u32 {
        self.child.id()
    }

    fn idle_kb(&self) -> u64 {
        self.idle_kb
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        // It keeps nothing worth an orderly end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Offers Meta's session to the agent, and answers it.
fn open(client: &mut Client, session: u16) -> anyhow::Result<Route> {
    let key = STANDARD.encode(keying_from_meta(session));
    let crypto = format!("a=crypto:1 {SUITE} inline:{key}\r\n");
    let offer = sdp(meta(session), "RTP/SAVP", &crypto);
    let call = text(&format!("load-{session}"));
    let common = [("call-id", call), ("from-tag", text("meta"))];
    let asked = client.ask(
        &[
            &common[..],
            &[
                ("command", text("offer")),
                ("sdp", text(&offer)),
                ("transport-protocol", text("RTP/AVP")),
                ("ICE", text("remove")),
                ("rtcp-mux", Value::words(&["accept", "offer"])),
            ],
        ]
        .concat(),
    )?;
    let toward_agent = asked.text("sdp").context("no SDP in the offer of rtpengine")?.to_owned();
    let answer = sdp(agent(session), "RTP/AVP", "");
    let asked = client.ask(
        &[
            &common[..],
            &[
                ("command", text("answer")),
                ("to-tag", text("agent")),
                ("sdp", text(&answer)),
                ("ICE", text("remove")),
            ],
        ]
        .concat(),
    )?;
    let toward_meta = asked.text("sdp").context("no SDP in the answer of rtpengine")?;
    Ok(Route {
        meta: SocketAddrV4::new(RTPENGINE, port(toward_meta)?),
        agent: SocketAddrV4::new(RTPENGINE, port(&toward_agent)?),
        from_relay: key_of(toward_meta)?,
    })
}

fn sdp(at: SocketAddrV4, transport: &str, crypto: &str) -> String {
    let (ip, port) = (at.ip(), at.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} {transport} {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} opus/48000/2\r\n\
         a=ptime:20\r\na=sendrecv\r\na=rtcp-mux\r\n{crypto}"
    )
}

fn port(sdp: &str) -> anyhow::Result<u16> {
    let port = sdp.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok());
    port.with_context(|| format!("no port in {sdp}"))
}

fn key_of(sdp: &str) -> anyhow::Result<Vec<u8>> {
    let line = sdp.lines().find(|line| line.starts_with("a=crypto:") && line.contains(SUITE.name()));
    let inline =
        line.and_then(|line| line.split("inline:").nth(1)).with_context(|| format!("no key in {sdp}"))?;
    let inline = inline.split(['|', ' ']).next().unwrap_or_default();
    STANDARD.decode(inline.trim()).context("the key of rtpengine")
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
