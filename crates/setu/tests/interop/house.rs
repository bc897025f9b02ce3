//! A bridge as a process, with its certificates, its configuration, and the twins beside it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use setu_model::Cdr;
use setu_twin::Person;
use setu_twin::meta::{Answer, Answering, BusinessNumber, EdgeConfig};
use setu_twin::shell::{EdgeHandle, EdgeOptions, Identity, TestAuthority, spawn_edge};

use crate::peers::{Process, until};
use crate::ports::port;

pub(crate) const HOSTNAME: &str = "sip.bridge.example";
pub(crate) const NUMBER: &str = "+911234567890";
pub(crate) const NUMBER_PASSWORD: &str = "number-password";
pub(crate) const CUSTOMER: &str = "+919876543210";
/// What the customer says.
pub(crate) const CUSTOMER_HZ: u32 = 440;

/// A folder with a configuration that works, and everything but the peer under test.
pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) authority: TestAuthority,
    pub(crate) ports: Ports,
    /// The text of `setu.toml`; a test may change it before it starts a process.
    pub(crate) config: String,
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
    /// A folder with certificates, and `rest` as the routes, accounts and trunks of its configuration.
    pub(crate) fn new(ports: Ports, rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new().unwrap();
        let house = Self { folder, authority, ports, config: configuration(ports, rest) };
        let edge = house.authority.issue(&["wa.meta.vc"]).unwrap();
        house.write("edge.pem", &edge.certificate_pem);
        house.write("edge.key", &edge.key_pem);
        house.write("ca.pem", house.authority.pem());
        house.show(&house.authority.issue(&[HOSTNAME, "127.0.0.1"]).unwrap());
        house
    }

    /// The same, with a bridge that is ready.
    pub(crate) fn start(ports: Ports, rest: &str) -> (Self, Process) {
        let house = Self::new(ports, rest);
        let bridge = house.serve();
        (house, bridge)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Makes `identity` the certificate of both sides.
    pub(crate) fn show(&self, identity: &Identity) {
        self.write("bridge.pem", &identity.certificate_pem);
        self.write("bridge.key", &identity.key_pem);
    }

    /// `setu VERB -c` with the configuration as it is.
    pub(crate) fn setu(&self, verb: &str) -> Command {
        self.command(&[verb, "-c"])
    }

    /// The program under test, with `args` and the configuration as it is.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.write("setu.toml", &self.config);
        let mut command = Command::new(crate::PROGRAM);
        command.args(args).arg(self.path("setu.toml"));
        command
    }

    /// Starts `setu serve` and waits until it is ready.
    pub(crate) fn serve(&self) -> Process {
        self.serve_by(&mut self.setu("serve"))
    }

    /// The same with a command of the test's own.
    pub(crate) fn serve_by(&self, command: &mut Command) -> Process {
        let mut bridge = Process::start("setu", command, &self.path("setu.log"));
        until("the bridge is ready", Duration::from_secs(20), || {
            bridge.assert_alive();
            self.http("/healthz").is_some_and(|answer| answer.contains("200 OK"))
        });
        bridge
    }

    /// What the bridge has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("setu.log")).unwrap_or_default()
    }

    /// Starts the twin of Meta's edge, whose users answer after half a second and say a tone.
    pub(crate) async fn edge(&self) -> EdgeHandle {
        let config = EdgeConfig {
            sip_port: self.ports.edge,
            media_ports: vec![0; 2],
            numbers: vec![BusinessNumber::with_sdes(NUMBER, HOSTNAME, self.ports.meta, NUMBER_PASSWORD)],
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
        let read = || std::fs::read_to_string(self.path("cdr/cdr.jsonl")).unwrap_or_default();
        let what = || format!("{count} CDRs; the bridge says:\n{}", self.log());
        until(what, Duration::from_secs(45), || read().lines().count() >= count);
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

/// This machine's own address, which baresip writes into its descriptions whatever it listens on.
pub(crate) fn own_address() -> IpAddr {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    // Nothing is sent: the system only looks for the way. Without one, the loopback address does no harm.
    let way = socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9));
    way.and_then(|()| socket.local_addr()).map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

fn configuration(ports: Ports, rest: &str) -> String {
    let (meta_media, agents_media) = media_ports(Path::new(&ports.meta.to_string()));
    let Ports { meta, udp, tls, http, edge } = ports;
    let own = own_address();
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
allow = ["127.0.0.0/8", "{own}/32"]
[recording]
folder = "recordings"
[cdr]
file = "cdr/cdr.jsonl"
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
