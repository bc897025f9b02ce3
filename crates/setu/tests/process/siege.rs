//! Who attacks a running bridge: strangers from addresses of their own that send what is no SIP, no TLS, no HTTP and no
//! media, or nothing at all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer};
use setu_twin::meta::{CallReport, CallSpec, UserSaw};
use setu_twin::shell::{EdgeHandle, PhoneHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::house::{CUSTOMER, CUSTOMER_HZ, HOSTNAME, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::Process;
use crate::ports::port;

/// A bridge with a listener of every kind, Meta, and an agent.
pub(crate) struct Siege {
    pub(crate) house: House,
    pub(crate) bridge: Process,
    pub(crate) edge: EdgeHandle,
    _phone: PhoneHandle,
    /// Every port that takes streams.
    pub(crate) streams: Vec<Door>,
    /// First and last media port, of both sides.
    pub(crate) media: [(u16, u16); 2],
}

/// A port that takes streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Siege {
    pub(crate) async fn start() -> Self {
        let [tcp, ws, wss, webhooks] = [port(), port(), port(), port()];
        let rest = format!(
            "[webhooks]\nbind = \"127.0.0.1:{webhooks}\"\napp_secrets = [\"s\"]\nverify_token = \"t\"\n\
             [[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
             [[accounts]]\nname = \"alice\"\npassword = \"a\"\n"
        );
        let mut house = House::new(Ports::pick(), &rest);
        let more = format!(
            "digest = [\"md5\"]\ntcp = \"127.0.0.1:{tcp}\"\nws = \"127.0.0.1:{ws}\"\nwss = \"127.0.0.1:{wss}\"\n"
        );
        house.config = house.config.replace("digest = [\"md5\"]\n", &more);
        let Ports { meta, tls, http, .. } = house.ports;
        let clear = [tcp, ws, http, webhooks].map(|port| Door { port, tls: false });
        let secure = [meta, tls, wss].map(|port| Door { port, tls: true });
        let media = house.config.lines().filter_map(|line| line.strip_prefix("ports = \"")?.split_once('-'));
        let media: Vec<(u16, u16)> = media
            .map(|(first, last)| (first.parse().unwrap(), last.trim_end_matches('"').parse().unwrap()))
            .collect();
        let bridge = house.serve();
        let edge = house.edge().await;
        let habits =
            Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(880), ..Habits::default() };
        let phone = house.phone("alice", "a", habits).await;
        Self {
            house,
            bridge,
            edge,
            _phone: phone,
            streams: clear.into_iter().chain(secure).collect(),
            media: media.try_into().unwrap(),
        }
    }

    /// A user's call of `ms`.
    pub(crate) fn spec(&self, ms: u64) -> CallSpec {
        CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(ms))
    }

    /// The same, to its end.
    pub(crate) async fn call(&self, ms: u64) -> CallReport {
        self.edge.call(self.spec(ms)).await.unwrap()
    }

    /// What the bridge has open, and its resident memory in KiB.
    pub(crate) fn held(&self) -> (usize, u64) {
        let of = |name: &str| format!("/proc/{}/{name}", self.bridge.id());
        let files = std::fs::read_dir(of("fd")).unwrap().count();
        let status = std::fs::read_to_string(of("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        (files, resident.trim().trim_end_matches(" kB").parse().unwrap())
    }

    /// What operators would see: nothing crashed, nothing cried, and a log that nobody's disk runs full of.
    pub(crate) fn was_calm(&mut self) {
        self.bridge.assert_alive();
        let log = self.house.log();
        for word in ["panicked", "ERROR"] {
            assert!(!log.contains(word), "{log}");
        }
        assert!(log.len() < 200_000, "{} bytes of log", log.len());
    }
}

/// Both heard each other, and the stream to Meta was one.
#[track_caller]
pub(crate) fn went_well(report: &CallReport) {
    assert_eq!((report.saw, &report.violations), (UserSaw::Connected, &vec![]), "{report:?}");
    let heard = &report.heard;
    assert_eq!(
        (heard.sequence_jumps, heard.timestamp_jumps, heard.srtp_failures, heard.unknown),
        (0, 0, 0, 0)
    );
    assert!(heard.hz.is_some_and(|hz| (hz - 880.0).abs() < 8.0), "{heard:?}");
}

/// Address number `n` of the attackers.
pub(crate) fn attacker(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 66, n).into()
}

/// Opens a connection from `from`, which is gone without a trace once dropped. None if it is refused.
pub(crate) async fn knock(from: IpAddr, port: u16) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_zero_linger().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.ok()
}

/// The same with a TLS handshake that trusts whom it meets.
pub(crate) async fn knock_with_tls(
    from: IpAddr,
    port: u16,
    house: &House,
) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = knock(from, port).await?;
    let name = ServerName::try_from(HOSTNAME).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(crate::serve::client_config(house)));
    within(connector.connect(name, tcp)).await?.ok()
}

/// Writes `bytes` and reads until the bridge closes or says nothing more; a bridge that cuts early is right to.
pub(crate) async fn pour(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), bytes: &[u8]) {
    let mut taken = [0; 1_024];
    // A bridge that reads no further must not hold the test.
    let _ = tokio::time::timeout(Duration::from_millis(500), stream.write_all(bytes)).await;
    let _ = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut taken)).await;
}

/// A socket for datagrams from an attacker.
pub(crate) async fn thrower(from: IpAddr) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(from, 0)).await.unwrap()
}

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(20), what).await.ok()
}

/// Bytes that repeat with their seed (xorshift).
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }

    /// `text` with a few bytes changed, and perhaps cut.
    pub(crate) fn spoil(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len());
            bytes[at] = u8::try_from(self.below(256)).unwrap();
        }
        if self.below(4) == 0 {
            bytes.truncate(self.below(bytes.len()));
        }
        bytes
    }
}
