//! `setu serve` as a process: what keeps it from starting is said once, and nothing is left half started.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use setu_twin::shell::Identity;

use crate::house::{HOSTNAME, House, NUMBER, Ports};
use crate::peers::until;

/// A house whose calls all go to `pbx`, which is nobody.
fn house() -> House {
    trunk_on(9)
}

fn trunk_on(pbx: u16) -> House {
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = {{ file = \"password\" }}\ntrunk = \"pbx\"\n\
         extension = \"100\"\n[[trunks]]\nname = \"pbx\"\npstn = false\nhost = \"127.0.0.1\"\nport = {pbx}\nprobe_s = 0\n"
    );
    let house = House::new(Ports::pick(), &rest);
    house.write("password", "s3cret\n");
    house
}

/// Switches recording off.
fn without_recording(mut house: House) -> House {
    house.config = house.config.replace("[recording]\n", "[recording]\nenabled = false\n");
    house
}

/// Runs `serve` to its end and expects one message that says `expected`, a failure, and no files.
fn is_refused(house: &House, expected: &str) {
    let Output { status, stdout, stderr } = house.setu("serve").env("SETU_LOG", "warn").output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(stdout.is_empty());
    assert!(said.contains(expected), "wanted {expected:?}: {said}");
    assert_eq!(said.matches("setu: ").count(), 1, "{said}");
    for left in ["recordings", "cdr"] {
        assert!(!house.path(left).is_dir(), "{left} was left behind");
    }
}

/// TLS of a client that trusts the house's authority.
pub(crate) fn client_config(house: &House) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(house.authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A TLS connection to the bridge as Meta would open it; the handshake has been done.
fn dial(house: &House) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let name = ServerName::try_from(HOSTNAME).unwrap();
    let config = Arc::new(client_config(house));
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, house.ports.meta)).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp).unwrap();
    }
    rustls::StreamOwned::new(connection, tcp)
}

/// An INVITE as Meta writes it, perhaps with one more header line.
fn invite(cseq: u32, extra: &str) -> String {
    format!(
        "INVITE sip:{NUMBER}@{HOSTNAME};transport=tls SIP/2.0\r\n\
         Via: SIP/2.0/TLS 192.0.2.81:57363;rport;branch=z9hG4bKPj{cseq};alias\r\n\
         Record-Route: <sip:wa.meta.vc;transport=tls;lr>\r\nMax-Forwards: 70\r\n\
         From: <sip:+919876543210@wa.meta.vc>;tag=stranger\r\nTo: <sip:{NUMBER}@{HOSTNAME}>\r\n\
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
    let mut broken = house();
    broken.config.push_str("this is no toml\n");
    is_refused(&broken, "setu.toml");
    let mut unknown = house();
    unknown.config = unknown.config.replace("[meta]\n", "[meta]\nbinnd = \"x\"\n");
    is_refused(&unknown, "binnd");
}

#[test]
fn an_occupied_port_of_any_listener_is_named_and_the_others_are_given_back() {
    let house = house();
    let Ports { meta, tls, http, udp, .. } = house.ports;
    for port in [meta, tls, http] {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        is_refused(&house, &format!("127.0.0.1:{port}"));
        drop(held);
    }
    let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, udp)).unwrap();
    is_refused(&house, &format!("127.0.0.1:{udp}"));
    drop(held);
    for port in [meta, tls, http] {
        drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    }
}

#[test]
fn an_unusable_certificate_keeps_the_bridge_from_starting() {
    let house = house();
    house.show(&house.authority.issue_expired(&[HOSTNAME]).unwrap());
    is_refused(&house, "expired on 2020-01-01");

    let mut stolen = house.authority.issue(&[HOSTNAME]).unwrap();
    stolen.key_pem = house.authority.issue(&[HOSTNAME]).unwrap().key_pem;
    house.show(&stolen);
    is_refused(&house, "does not belong to the first certificate");

    fs::remove_file(house.path("bridge.pem")).unwrap();
    is_refused(&house, "bridge.pem");
}

#[test]
fn a_missing_password_and_an_unwritable_folder_are_named_with_their_setting() {
    let no_password = house();
    fs::remove_file(no_password.path("password")).unwrap();
    is_refused(&no_password, "numbers[0].password");
    let no_folder = house();
    no_folder.write("recordings", "a file in place of the folder");
    is_refused(&no_folder, "recording.folder");
    let no_records = without_recording(house());
    no_records.write("cdr", "a file in place of the folder");
    is_refused(&no_records, "cdr.file");
}

#[test]
fn without_recording_no_folder_is_needed_and_the_first_signal_ends_an_idle_bridge() {
    let house = without_recording(house());
    house.write("recordings", "a file in place of the folder");
    let mut bridge = house.serve();
    bridge.signal("TERM");
    assert!(bridge.wait(Duration::from_secs(20)).success());
    drop(TcpListener::bind((Ipv4Addr::LOCALHOST, house.ports.meta)).unwrap());
    drop(UdpSocket::bind((Ipv4Addr::LOCALHOST, house.ports.udp)).unwrap());
}

#[test]
fn a_hang_up_signal_exchanges_the_certificate_and_a_broken_one_changes_nothing() {
    let mut house = house();
    let bridge = house.serve();
    let shown = || dial(&house).conn.peer_certificates().unwrap()[0].to_vec();
    let before = shown();
    let good = house.authority.issue(&[HOSTNAME]).unwrap();
    let stolen = house.authority.issue(&[HOSTNAME]).unwrap();
    let broken = [
        (house.authority.issue_expired(&[HOSTNAME]).unwrap(), "expired on 2020-01-01"),
        (Identity { key_pem: stolen.key_pem, ..good.clone() }, "does not belong to the first certificate"),
        (
            Identity { certificate_pem: "not yet written".to_owned(), ..good.clone() },
            "no certificate in PEM form",
        ),
        (Identity { key_pem: String::new(), ..good.clone() }, "no private key in PEM form"),
    ];
    for (refused, (identity, why)) in broken.iter().enumerate() {
        house.show(identity);
        bridge.signal("HUP");
        until("the reload is refused", Duration::from_secs(10), || {
            house.log().matches("reload refused").count() == refused + 1
        });
        let log = house.log();
        let last = log.lines().last().unwrap();
        assert!(last.contains("meta.") && last.contains(why), "wanted {why:?}: {last}");
        assert_eq!(shown(), before, "{why}");
    }
    house.show(&good);
    bridge.signal("HUP");
    until("the new certificate is shown", Duration::from_secs(10), || shown() != before);

    // Under other names, as some clients write them.
    let mended = shown();
    let renewed = house.authority.issue(&[HOSTNAME]).unwrap();
    house.write("renewed.pem", &renewed.certificate_pem);
    house.write("renewed.key", &renewed.key_pem);
    house.config = house.config.replace("bridge.pem", "renewed.pem").replace("bridge.key", "renewed.key");
    house.setu("serve"); // writes the configuration
    bridge.signal("HUP");
    let shown = || dial(&house).conn.peer_certificates().unwrap()[0].to_vec();
    until("the other file's certificate is shown", Duration::from_secs(10), || shown() != mended);
}

#[test]
fn a_reload_names_the_changed_settings_that_wait_for_the_next_start() {
    let mut house = house();
    let bridge = house.serve();
    let changed =
        house.config.replace("port_rest_s = 1", "port_rest_s = 2").replace("cdr.jsonl", "other.jsonl");
    house.config = changed;
    house.setu("serve"); // writes the configuration
    bridge.signal("HUP");
    until("the reload", Duration::from_secs(10), || house.log().contains("read again"));
    let log = house.log();
    assert!(log.contains("cdr.file, limits.port_rest_s") && log.contains("next start"), "{log}");
}

#[test]
fn a_strangers_perfect_invite_is_challenged_and_never_reaches_an_agent() {
    let pbx = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let house = trunk_on(pbx.local_addr().unwrap().port());
    let _bridge = house.serve();
    let mut stranger = dial(&house);
    stranger.write_all(invite(1, "").as_bytes()).unwrap();
    let challenge = answer(&mut stranger);
    assert!(challenge.starts_with("SIP/2.0 407 ") || challenge.starts_with("SIP/2.0 401 "), "{challenge}");
    let nonce = challenge.split_once("nonce=\"").unwrap().1.split_once('"').unwrap().0;
    let guess = format!(
        "Proxy-Authorization: Digest username=\"911234567890\", realm=\"{HOSTNAME}\", nonce=\"{nonce}\", \
         uri=\"sip:{NUMBER}@{HOSTNAME}\", algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"c\", \
         response=\"{}\"\r\n",
        "0".repeat(64)
    );
    stranger.write_all(invite(2, &guess).as_bytes()).unwrap();
    let refusal = answer(&mut stranger);
    assert!(refusal.starts_with("SIP/2.0 403 "), "{refusal}");

    assert!(house.metric("setu_strangers_refused_total{side=\"meta\"}") > 0.0);
    pbx.set_nonblocking(true).unwrap();
    assert!(pbx.recv(&mut [0; 2048]).is_err(), "the PBX heard of a stranger");
}

/// Debian gives a process 1,024, which would end at two hundred calls.
#[test]
fn a_bridge_takes_as_many_open_files_as_it_may_and_says_so_if_they_are_too_few() {
    let limited = |soft_and_hard: &str| {
        let house = house();
        let serve = house.setu("serve");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit {soft_and_hard} && exec \"$@\""), "sh"]);
        let bridge = house.serve_by(command.arg(serve.get_program()).args(serve.get_args()));
        let limits = fs::read_to_string(format!("/proc/{}/limits", bridge.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let permitted: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (permitted, house.log())
    };
    let (permitted, log) = limited("-Sn 256 && ulimit -Hn 12000");
    assert_eq!(permitted, [12_000, 12_000], "{log}");
    assert!(!log.contains("too few open files"), "{log}");
    let (permitted, log) = limited("-n 256");
    assert_eq!(permitted, [256, 256]);
    assert!(log.contains("too few open files") && log.contains("LimitNOFILE="), "{log}");
}
