//! A bridge as a process, with its certificates, its configuration and the Meta twin beside it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use setu_model::Cdr;
use setu_twin::Person;
use setu_twin::meta::{Answer, Answering, BusinessNumber, EdgeConfig};
use setu_twin::shell::{EdgeHandle, EdgeOptions, TestAuthority, spawn_edge};

use crate::peers::{Process, port, until};

pub(crate) const HOSTNAME: &str = "sip.bridge.example";
pub(crate) const NUMBER: &str = "+911234567890";
pub(crate) const NUMBER_PASSWORD: &str = "number-password";
pub(crate) const CUSTOMER: &str = "+919876543210";
/// What the customer says.
pub(crate) const CUSTOMER_HZ: u32 = 440;

/// Everything but the peer under test.
pub(crate) struct House {
    pub(crate) bridge: Process,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) authority: TestAuthority,
    pub(crate) ports: Ports,
}

/// The bridge's ports on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) meta: u16,
    pub(crate) udp: u16,
    pub(crate) tls: u16,
    pub(crate) http: u16,
    /// Where the twin's edge or SIPp plays Meta.
    pub(crate) edge: u16,
}

impl Ports {
    pub(crate) fn pick() -> Self {
        Self { meta: port(), udp: port(), tls: port(), http: port(), edge: port() }
    }
}

impl House {
    /// Starts `setu serve` with `rest` as the routes, accounts and trunks of its configuration.
    pub(crate) fn start(ports: Ports, rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let bridge = authority.issue(&[HOSTNAME, "127.0.0.1"]).unwrap();
        let edge = authority.issue(&["wa.meta.vc"]).unwrap();
        write("bridge.pem", &bridge.certificate_pem);
        write("bridge.key", &bridge.key_pem);
        write("edge.pem", &edge.certificate_pem);
        write("edge.key", &edge.key_pem);
        write("ca.pem", authority.pem());
        write("setu.toml", &configuration(ports, rest));
        let log = folder.path().join("setu.log");
        let bridge = Process::start(
            "setu",
            Command::new(env!("CARGO_BIN_EXE_setu"))
                .args(["serve", "-c"])
                .arg(folder.path().join("setu.toml")),
            &log,
        );
        let mut house = Self { bridge, folder, authority, ports };
        until("the bridge is ready", Duration::from_secs(10), || {
            house.bridge.assert_alive();
            house.http("/healthz").is_some_and(|answer| answer.contains("200 OK"))
        });
        house
    }

    /// Starts the twin of Meta's edge, whose users answer after half a second and say a tone.
    pub(crate) async fn edge(&self) -> EdgeHandle {
        let config = EdgeConfig {
            sip_port: self.ports.edge,
            media_ports: vec![0; 2],
            numbers: vec![BusinessNumber {
                number: NUMBER.to_owned(),
                hostname: HOSTNAME.to_owned(),
                port: self.ports.meta,
                password: NUMBER_PASSWORD.to_owned(),
                user_params: Vec::new(),
            }],
            anyone: Answering {
                answer: Answer::After(500),
                person: Person::saying(CUSTOMER_HZ).hanging_up_after(3_000),
                ..Answering::default()
            },
            ..EdgeConfig::default()
        };
        let mut options = EdgeOptions::new(config, &self.authority).unwrap();
        options.resolve = BTreeMap::from([(HOSTNAME.to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))]);
        spawn_edge(options).await.unwrap()
    }

    /// Waits until `count` CDRs are written and returns them.
    pub(crate) fn cdrs(&self, count: usize) -> Vec<Cdr> {
        let path = self.folder.path().join("cdr.jsonl");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        until(
            &format!("{count} CDRs; the bridge says:\n{}", self.bridge.output()),
            Duration::from_secs(45),
            || read().lines().count() >= count,
        );
        read().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Asks the bridge's HTTP side; none if nobody answers.
    pub(crate) fn http(&self, path: &str) -> Option<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.http));
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The value of a metric line that begins with `name`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.http("/metrics").unwrap();
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("no metric {name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Two thousand media ports a side; other tests may share them, busy ones are skipped.
fn media_ports(at: &Path) -> (u16, u16) {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    at.hash(&mut hasher);
    let first = 12_000 + (hasher.finish() % 5) as u16 * 4_000;
    (first, first + 2_000)
}

fn configuration(ports: Ports, rest: &str) -> String {
    let (meta_media, agents_media) = media_ports(Path::new(&ports.meta.to_string()));
    let Ports { meta, udp, tls, http, edge } = ports;
    format!(
        r#"
[meta]
bind = "127.0.0.1:{meta}"
hostname = "{HOSTNAME}"
certificate = "bridge.pem"
private_key = "bridge.key"
extra_roots = "ca.pem"
sources = ["127.0.0.0/8"]
[meta.media]
bind = "127.0.0.1"
ports = "{meta_media}-{}"
[agents]
udp = "127.0.0.1:{udp}"
tls = "127.0.0.1:{tls}"
certificate = "bridge.pem"
private_key = "bridge.key"
hostname = "127.0.0.1"
digest = ["md5"]
[agents.media]
bind = "127.0.0.1"
ports = "{agents_media}-{}"
[resolve.static]
"wa.meta.vc" = ["127.0.0.1:{edge}"]
[egress]
allow = ["127.0.0.0/8"]
[http]
bind = "127.0.0.1:{http}"
[limits]
port_rest_s = 1
{rest}
"#,
        meta_media + 1_999,
        agents_media + 1_999,
    )
}
