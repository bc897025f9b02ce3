//! `setu check`: what it finds, the remedy it gives, and its exit code.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::time::Duration;

use crate::house::{HOSTNAME, House, NUMBER, Ports};

/// What was found of one setting.
#[derive(Debug, serde::Deserialize)]
struct Finding {
    level: String,
    setting: String,
    what: String,
    remedy: Option<String>,
}

#[derive(serde::Deserialize)]
struct Findings {
    findings: Vec<Finding>,
}

/// Runs `setu check --json`; returns its exit code and findings, each of which has a remedy unless all is well.
fn check(house: &House) -> (Option<i32>, Vec<Finding>) {
    let out = house.setu("check").arg("--json").output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    let Findings { findings } =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{told}"));
    for finding in &findings {
        assert_eq!(finding.remedy.is_none(), finding.level == "ok", "{finding:?}");
    }
    (out.status.code(), findings)
}

/// Expects exit code 1, and of `setting` a problem that says `what` and the remedy `remedy`.
#[track_caller]
fn has_problem(house: &House, setting: &str, what: &str, remedy: &str) {
    let (code, findings) = check(house);
    assert_eq!(code, Some(1), "{findings:?}");
    let about: Vec<_> = findings.iter().filter(|f| f.setting == setting && f.level == "problem").collect();
    assert!(
        about.iter().any(|f| f.what.contains(what) && f.remedy.as_ref().unwrap().contains(remedy)),
        "wanted {what:?} and {remedy:?} of {setting}: {findings:?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_finding_too() {
    let mut house = house();
    house.config.push_str("\n[meta]\nnonsense = 1\n");
    let (code, findings) = check(&house);
    assert_eq!((code, findings.len()), (Some(2), 1), "{findings:?}");
    assert!(findings[0].level == "problem" && findings[0].what.contains("meta"), "{findings:?}");
}

/// A house with nobody to be asked: no trunk.
fn house() -> House {
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"p\"\nagents = [\"alice\"]\n\
         [[accounts]]\nname = \"alice\"\npassword = {{ file = \"alice\" }}\n"
    );
    let house = House::new(Ports::pick(), &rest);
    house.write("alice", "secret\n");
    house
}

/// Adds a trunk at `host`.
fn with_trunk(mut house: House, host: &str, port: u16) -> House {
    house
        .config
        .push_str(&format!("[[trunks]]\nname = \"pbx\"\npstn = false\nhost = \"{host}\"\nport = {port}\n"));
    house
}

/// Takes `deaf` requests without a word and answers the next with `status`.
fn answer_once(pbx: &UdpSocket, deaf: usize, status: &str) {
    pbx.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = [0; 4096];
    for _ in 0..deaf {
        pbx.recv_from(&mut bytes).unwrap();
    }
    let (length, from) = pbx.recv_from(&mut bytes).unwrap();
    let request = std::str::from_utf8(&bytes[..length]).unwrap();
    assert!(request.starts_with("OPTIONS "), "{request}");
    let kept = |name: &str| request.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let lines = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].map(kept).join("\r\n");
    let answer = format!("SIP/2.0 {status}\r\n{lines}\r\nContent-Length: 0\r\n\r\n");
    pbx.send_to(answer.as_bytes(), from).unwrap();
}

/// Runs the check of `house` with a trunk, of whose OPTIONS the first is lost, answering with `status`.
fn check_with_trunk(house: House, status: &'static str) -> (Option<i32>, Vec<Finding>) {
    let pbx = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let house = with_trunk(house, "127.0.0.1", pbx.local_addr().unwrap().port());
    let answering = std::thread::spawn(move || answer_once(&pbx, 1, status));
    let found = check(&house);
    answering.join().unwrap();
    found
}

#[test]
fn a_trunk_is_asked_again_where_a_datagram_is_lost_and_also_where_the_certificate_is_broken() {
    let house = house();
    fs::remove_file(house.path("bridge.pem")).unwrap();
    let (code, findings) = check_with_trunk(house, "200 OK");
    assert_eq!(code, Some(1), "{findings:?}");
    let trunk = findings.iter().find(|f| f.setting == "trunks[0].host").unwrap();
    assert_eq!(trunk.level, "ok", "{trunk:?}");
}

#[test]
fn a_trunk_that_says_503_would_get_no_calls_and_that_is_a_problem() {
    let (_, findings) = check_with_trunk(house(), "503 Service Unavailable");
    let trunk = findings.iter().find(|f| f.setting == "trunks[0].host").unwrap();
    assert_eq!((&*trunk.level, trunk.what.contains("no calls")), ("problem", true), "{trunk:?}");
}

#[test]
fn a_trunk_that_is_not_probed_may_be_silent() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut house = with_trunk(house(), "127.0.0.1", silent.local_addr().unwrap().port());
    house.config.push_str("probe_s = 0\n");
    let (_, findings) = check(&house);
    let trunk = findings.iter().find(|f| f.setting == "trunks[0].host").unwrap();
    assert_eq!(trunk.level, "warning", "{trunk:?}");
}

#[test]
fn limits_of_requests_that_are_looser_than_the_default_are_warned_of() {
    let warned = |limits: &str| {
        let mut house = house();
        house.config.push_str(&format!("[calling.requests]\n{limits}\n"));
        let (_, findings) = check(&house);
        let about = findings.into_iter().filter(|f| f.setting.starts_with("calling.requests"));
        about.map(|f| (f.level, f.setting)).collect::<Vec<_>>()
    };
    let warning = |field: &str| ("warning".to_owned(), format!("calling.requests.{field}"));
    assert_eq!(warned("burst = 30\nsample = 40\ncold_percent = 10"), []);
    assert_eq!(warned("burst = 61"), [warning("burst")]);
    assert_eq!(warned("burst_s = 30\nsample = 500"), [warning("burst"), warning("cold_percent")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_configuration_has_no_problem_and_exit_code_0() {
    let pbx = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let house = with_trunk(house(), "127.0.0.1", pbx.local_addr().unwrap().port());
    let _edge = house.edge().await;
    let answering = std::thread::spawn(move || answer_once(&pbx, 0, "200 OK"));
    let (code, findings) = check(&house);
    answering.join().unwrap();
    assert_eq!(code, Some(0), "{findings:?}");
    for setting in [
        "meta.bind",
        "agents.udp",
        "agents.tls",
        "http.bind",
        "meta.media.ports",
        "agents.media.ports",
        "recording.folder",
        "cdr.file",
        "limits.calls",
        "meta.domain",
        "trunks[0].host",
    ] {
        assert!(findings.iter().any(|f| f.setting == setting && f.level == "ok"), "{setting}: {findings:?}");
    }
    // What a test cannot have: a public name and address, a public authority; and a file that all may read.
    let warned: Vec<_> = findings.iter().filter(|f| f.level == "warning").map(|f| &*f.setting).collect();
    for setting in [
        "meta.hostname",
        "meta.media.advertised",
        "meta.certificate",
        "agents.certificate",
        "accounts[0].password",
    ] {
        assert!(warned.contains(&setting), "{setting}: {warned:?}");
    }
    for left in ["recordings", "cdr"] {
        assert!(!house.path(left).exists(), "a check leaves nothing behind");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_exit_code_2() {
    let mut house = house();
    house.config.push_str("this is no toml\n");
    let out = house.setu("check").output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!((out.status.code(), out.stdout.is_empty()), (Some(2), true));
    assert!(said.contains("setu.toml"), "{said}");
}

#[test]
fn a_certificate_that_a_peer_would_refuse_is_named_with_what_to_do() {
    let house = house();
    let (authority, setting) = (&house.authority, "meta.certificate");
    house.show(&authority.issue_expired(&[HOSTNAME]).unwrap());
    has_problem(&house, setting, "expired on 2020-01-01", "renew");
    house.show(&authority.issue(&["other.example"]).unwrap());
    has_problem(&house, setting, "dials sip.bridge.example", "issue it for sip.bridge.example");
    let stranger = setu_twin::shell::TestAuthority::new().unwrap();
    house.show(&stranger.issue(&[HOSTNAME]).unwrap());
    has_problem(&house, setting, "dials sip.bridge.example", "the whole chain");
    fs::remove_file(house.path("bridge.pem")).unwrap();
    has_problem(&house, setting, "bridge.pem", "let the bridge's user read it");
}

#[test]
fn a_key_or_an_authority_that_cannot_be_read_is_named_by_its_own_setting() {
    let mut house = house();
    house.write(
        "bridge.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    has_problem(&house, "meta.private_key", "no private key", "openssl pkey -in");
    house.show(&house.authority.issue(&[HOSTNAME]).unwrap());
    house.config = house.config.replace("ca.pem", "gone.pem");
    has_problem(&house, "meta.extra_roots", "gone.pem", "remove the line");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let house = house();
    let remedy = "choose another port";
    for (setting, port) in
        [("meta.bind", house.ports.meta), ("agents.tls", house.ports.tls), ("http.bind", house.ports.http)]
    {
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        has_problem(&house, setting, &format!("127.0.0.1:{port} is taken"), remedy);
    }
    let _held = UdpSocket::bind((Ipv4Addr::LOCALHOST, house.ports.udp)).unwrap();
    has_problem(&house, "agents.udp", "is taken", remedy);
}

#[test]
fn an_address_that_is_not_this_machines_is_named() {
    let mut house = house();
    let ours = format!("bind = \"127.0.0.1:{}\"", house.ports.meta);
    house.config = house.config.replace(&ours, "bind = \"192.0.2.1:5061\"");
    has_problem(&house, "meta.bind", "192.0.2.1:5061", "an address of this machine");
    house.config = house.config.replacen("bind = \"127.0.0.1\"\n", "bind = \"192.0.2.1\"\n", 1);
    has_problem(&house, "meta.media.ports", "192.0.2.1", "an address of this machine");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let mut house = house();
    house.write("recordings", "a file in place of the folder");
    house.config = house.config.replace("cdr/cdr.jsonl", "/proc/cdr/cdr.jsonl");
    has_problem(&house, "recording.folder", "recordings", "a file where a folder should be");
    has_problem(&house, "cdr.file", "/proc/cdr", "create the folder");
    house.config = house.config.replace("/proc/cdr/cdr.jsonl", "cdr");
    fs::create_dir(house.path("cdr")).unwrap();
    has_problem(&house, "cdr.file", "cdr", "name a file in it");
}

#[test]
fn two_listeners_on_one_port_are_a_configuration_that_cannot_be_read() {
    let mut house = house();
    let taken = format!("127.0.0.1:{}", house.ports.meta);
    house.config = house.config.replace(&format!("127.0.0.1:{}", house.ports.tls), &taken);
    let out = house.setu("check").output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("agents.tls: {taken} is meta.bind's already")), "{said}");
}

#[test]
fn a_range_of_ports_that_is_too_small_for_the_calls_is_a_warning() {
    let mut house = house();
    house.config = house.config.replace("[limits]\n", "[limits]\ncalls = 2000\n");
    let (_, findings) = check(&house);
    let found = findings.iter().find(|f| f.setting == "meta.media.ports" && f.level == "warning").unwrap();
    assert!(found.what.contains("room for 1000 calls"), "{found:?}");
}

#[test]
fn a_sound_that_cannot_be_played_and_a_log_level_that_is_none_are_named() {
    let mut house = house();
    house.write("music.opus", "no music");
    house.config.push_str("[media]\nwaiting = \"music.opus\"\n[log]\nlevel = \"setu=loud\"\n");
    has_problem(&house, "media.waiting", "music.opus", "ffmpeg -i IN");
    has_problem(&house, "log.level", "setu=loud", "info");
}

#[test]
fn a_trunk_that_does_not_answer_or_has_no_name_and_a_meta_that_is_not_reached_are_named() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let deaf = with_trunk(house(), "127.0.0.1", port);
    has_problem(&deaf, "trunks[0].host", "does not answer OPTIONS", "start the PBX");
    has_problem(&deaf, "meta.domain", "wa.meta.vc", "firewall");
    let nameless = with_trunk(house(), "pbx.invalid", port);
    has_problem(&nameless, "trunks[0].host", "pbx.invalid", "");
    let mut forbidden = with_trunk(house(), "127.0.0.1", port);
    let allowed = forbidden.config.lines().find(|line| line.starts_with("allow = [")).unwrap().to_owned();
    forbidden.config = forbidden.config.replace(&allowed, "allow = []");
    has_problem(&forbidden, "trunks[0].host", "127.0.0.1", "egress.allow");
}

#[test]
fn a_database_server_that_does_not_answer_is_named() {
    let mut house = house();
    house.config.push_str("[store]\npostgres = \"postgres://setu@127.0.0.1:9/setu\"\npassword = \"p\"\n");
    has_problem(&house, "store.postgres", "refused", "that the server is started");
}

#[test]
fn a_name_that_meta_cannot_find_is_a_warning() {
    let (_, findings) = check(&house());
    let found = findings.iter().find(|f| f.setting == "meta.hostname").unwrap();
    assert_eq!(found.level, "warning", "{found:?}");
    assert!(found.what.contains("DNS"), "{found:?}");
}

#[test]
fn the_text_for_people_says_the_same_and_counts() {
    let house = house();
    let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, house.ports.meta)).unwrap();
    let said = String::from_utf8(house.setu("check").output().unwrap().stdout).unwrap();
    assert!(said.contains("PROBLEM  meta.bind: "), "{said}");
    assert!(said.contains("-> stop it"), "{said}");
    assert!(said.lines().last().unwrap().contains(" problems, "), "{said}");
}
