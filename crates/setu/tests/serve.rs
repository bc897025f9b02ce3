//! `setu serve` as a process: what keeps it from starting is said once, and nothing is left half started.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use setu_twin::shell::{Identity, TestAuthority};

#[path = "interop/peers.rs"]
#[expect(dead_code, reason = "shared with the tests of real peers, which need all of it")]
mod peers;

use peers::{Process, until};

const HOST: &str = "sip.example.com";
const NUMBER: &str = "+911234567890";

/// A folder with a configuration that works, and what it is made of.
struct House {
    folder: tempfile::TempDir,
    authority: TestAuthority,
    config: String,
    meta: SocketAddr,
    udp: SocketAddr,
    http: SocketAddr,
    /// The PBX that all calls go to.
    pbx: UdpSocket,
}

impl House {
    fn new() -> Self {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let (meta, udp, http) = (at(peers::port()), at(peers::port()), at(peers::port()));
        let pbx = UdpSocket::bind(at(0)).unwrap();
        let authority = TestAuthority::new().unwrap();
        // Nobody sends media here: the range only has to exist.
        let media = "bind = \"127.0.0.1\"\nports";
        let config = format!(
            "[meta]\nbind = \"{meta}\"\nhostname = \"{HOST}\"\ncertificate = \"chain.pem\"\n\
             private_key = \"key.pem\"\nextra_roots = \"ca.pem\"\n[meta.media]\n{media} = \"46000-46099\"\n\
             [agents]\nudp = \"{udp}\"\nhostname = \"127.0.0.1\"\n[agents.media]\n{media} = \"46100-46199\"\n\
             [[numbers]]\nnumber = \"{NUMBER}\"\npassword = {{ file = \"password\" }}\ntrunk = \"pbx\"\n\
             extension = \"100\"\n[[trunks]]\nname = \"pbx\"\nhost = \"127.0.0.1\"\nport = {}\nprobe_s = 0\n\
             [egress]\nallow = [\"127.0.0.0/8\"]\n[recording]\nfolder = \"recordings\"\n\
             [cdr]\nfile = \"cdr/cdr.jsonl\"\n[http]\nbind = \"{http}\"\n",
            pbx.local_addr().unwrap().port()
        );
        let house = Self { folder: tempfile::tempdir().unwrap(), authority, config, meta, udp, http, pbx };
        house.write("ca.pem", house.authority.pem());
        house.write("password", "s3cret\n");
        house.show(&house.authority.issue(&[HOST]).unwrap());
        house
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn show(&self, identity: &Identity) {
        self.write("chain.pem", &identity.certificate_pem);
        self.write("key.pem", &identity.key_pem);
    }

    fn serve(&self) -> Command {
        self.write("setu.toml", &self.config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_setu"));
        command.args(["serve", "-c"]).arg(self.path().join("setu.toml")).env("SETU_LOG", "warn");
        command
    }

    /// Runs it to its end and expects one message that says `expected`, a failure, and free ports.
    fn is_refused(&self, expected: &str) {
        let Output { status, stdout, stderr } = self.serve().output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(stdout.is_empty());
        assert!(said.contains(expected), "wanted {expected:?}: {said}");
        assert_eq!(said.matches("setu: ").count(), 1, "{said}");
        for left in ["recordings", "cdr"] {
            assert!(!self.path().join(left).is_dir(), "{left} was left behind");
        }
    }

    /// Starts it and waits until it is ready.
    fn start(&self) -> Process {
        let log = self.path().join("log");
        let mut bridge = Process::start("setu", self.serve().env("SETU_LOG", "info"), &log);
        until("the bridge is ready", Duration::from_secs(20), || {
            bridge.assert_alive();
            bridge.output().contains("ready")
        });
        bridge
    }

    fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// A TLS connection to the bridge as Meta would open it; the handshake has been done.
    fn dial(&self) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(HOST).unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = TcpStream::connect(self.meta).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).unwrap();
        }
        rustls::StreamOwned::new(connection, tcp)
    }
}

/// An INVITE as Meta writes it, perhaps with one more header line.
fn invite(cseq: u32, extra: &str) -> String {
    format!(
        "INVITE sip:{NUMBER}@{HOST};transport=tls SIP/2.0\r\n\
         Via: SIP/2.0/TLS 192.0.2.81:57363;rport;branch=z9hG4bKPj{cseq};alias\r\n\
         Record-Route: <sip:wa.meta.vc;transport=tls;lr>\r\nMax-Forwards: 70\r\n\
         From: <sip:+919876543210@wa.meta.vc>;tag=stranger\r\nTo: <sip:{NUMBER}@{HOST}>\r\n\
         Call-ID: stranger\r\nCSeq: {cseq} INVITE\r\nUser-Agent: Facebook SipGateway\r\n\
         Contact: <sip:+919876543210@wa.meta.vc;transport=tls;ob>\r\nX-FB-External-Domain: wa.meta.vc\r\n\
         x-wa-meta-wacid: wacid.HBgLstranger==\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

/// Reads one message without a body.
fn answer(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_broken_configuration_and_an_unknown_key_are_named_with_their_line() {
    let mut house = House::new();
    house.config.push_str("this is no toml\n");
    house.is_refused("setu.toml");
    let mut house = House::new();
    house.config = house.config.replace("[meta]\n", "[meta]\nbinnd = \"x\"\n");
    house.is_refused("binnd");
}

#[test]
fn an_occupied_port_of_any_listener_is_named_and_the_others_are_given_back() {
    let house = House::new();
    for address in [house.meta, house.http] {
        let held = TcpListener::bind(address).unwrap();
        house.is_refused(&address.to_string());
        drop(held);
    }
    let held = UdpSocket::bind(house.udp).unwrap();
    house.is_refused(&house.udp.to_string());
    drop(held);
    drop((TcpListener::bind(house.meta).unwrap(), TcpListener::bind(house.http).unwrap()));
}

#[test]
fn an_unusable_certificate_keeps_the_bridge_from_starting() {
    let house = House::new();
    house.show(&house.authority.issue_expired(&[HOST]).unwrap());
    house.is_refused("expired on 2020-01-01");

    let mut stolen = house.authority.issue(&[HOST]).unwrap();
    stolen.key_pem = house.authority.issue(&[HOST]).unwrap().key_pem;
    house.show(&stolen);
    house.is_refused("does not belong to the first certificate");

    fs::remove_file(house.path().join("chain.pem")).unwrap();
    house.is_refused("chain.pem");
}

#[test]
fn a_missing_password_and_an_unwritable_folder_are_named_with_their_setting() {
    let house = House::new();
    fs::remove_file(house.path().join("password")).unwrap();
    house.is_refused("numbers[0].password");
    let house = House::new();
    house.write("recordings", "a file in place of the folder");
    house.is_refused("recording.folder");
    let mut house = House::new();
    house.write("cdr", "a file in place of the folder");
    house.config = house.config.replace("[recording]\n", "[recording]\nenabled = false\n");
    house.is_refused("cdr.file");
}

#[test]
fn without_recording_no_folder_is_needed_and_the_first_signal_ends_an_idle_bridge() {
    let mut house = House::new();
    house.write("recordings", "a file in place of the folder");
    house.config = house.config.replace("[recording]\n", "[recording]\nenabled = false\n");
    let mut bridge = house.start();
    assert!(house.http("/healthz").contains("200 OK"));
    bridge.signal("TERM");
    assert!(bridge.wait(Duration::from_secs(20)).success());
    drop((TcpListener::bind(house.meta).unwrap(), UdpSocket::bind(house.udp).unwrap()));
}

#[test]
fn a_hang_up_signal_exchanges_the_certificate_and_a_broken_one_changes_nothing() {
    let house = House::new();
    let bridge = house.start();
    let shown = || house.dial().conn.peer_certificates().unwrap()[0].to_vec();
    let before = shown();
    house.show(&house.authority.issue_expired(&[HOST]).unwrap());
    bridge.signal("HUP");
    until("the reload is refused", Duration::from_secs(10), || bridge.output().contains("reload refused"));
    assert_eq!(shown(), before);
    house.show(&house.authority.issue(&[HOST]).unwrap());
    bridge.signal("HUP");
    until("the new certificate is shown", Duration::from_secs(10), || shown() != before);
}

#[test]
fn a_strangers_perfect_invite_is_challenged_and_never_reaches_an_agent() {
    let house = House::new();
    let _bridge = house.start();
    let mut stranger = house.dial();
    stranger.write_all(invite(1, "").as_bytes()).unwrap();
    let challenge = answer(&mut stranger);
    assert!(challenge.starts_with("SIP/2.0 407 ") || challenge.starts_with("SIP/2.0 401 "), "{challenge}");
    let nonce = challenge.split_once("nonce=\"").unwrap().1.split_once('"').unwrap().0;
    let guess = format!(
        "Proxy-Authorization: Digest username=\"911234567890\", realm=\"{HOST}\", nonce=\"{nonce}\", \
         uri=\"sip:{NUMBER}@{HOST}\", algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"c\", \
         response=\"{}\"\r\n",
        "0".repeat(64)
    );
    stranger.write_all(invite(2, &guess).as_bytes()).unwrap();
    let refusal = answer(&mut stranger);
    assert!(refusal.starts_with("SIP/2.0 403 "), "{refusal}");

    let metrics = house.http("/metrics");
    let counted = metrics.lines().find(|l| l.starts_with("setu_strangers_refused_total{side=\"meta\"}"));
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{counted:?}");
    house.pbx.set_nonblocking(true).unwrap();
    assert!(house.pbx.recv(&mut [0; 2048]).is_err(), "the PBX heard of a stranger");
}
