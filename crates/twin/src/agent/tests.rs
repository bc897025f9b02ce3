use std::net::IpAddr;
use std::time::{Duration, Instant};

use setu_model::{Now, SeededEntropy, Wall};

use super::*;
use crate::io::{Output, Party as _, Transport};
use crate::media::{Codec, DtlsRole, Says, Setup, Suite};
use crate::net::{Link, Network, NodeId};
use crate::person::Person;
use crate::sip::sdp::MediaDirection;

fn start() -> Now {
    Now { mono: Instant::now(), wall: Wall::from_unix_ms(1_700_000_000_000) }
}

/// Two telephones that call each other directly: the caller's bridge is the called one.
struct Pair {
    caller: Softphone,
    called: Softphone,
    net: Network,
    nodes: [NodeId; 2],
}

impl Pair {
    fn new(transport: Transport, caller: Habits, called: Habits) -> Self {
        Self::over(transport, Link::default(), caller, called)
    }

    fn over(transport: Transport, link: Link, caller: Habits, called: Habits) -> Self {
        let ips: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let phone = |at: usize, habits| PhoneConfig {
            ip: ips[at],
            sip_port: 5_060,
            bridge_host: if transport == Transport::Udp {
                ips[1 - at].to_string()
            } else {
                "pbx.test".into()
            },
            bridge_port: 5_060,
            listens: at == 1,
            habits,
            ..PhoneConfig::trunk("twin", "pbx.test", transport)
        };
        let mut net = Network::new(7, link, start());
        let nodes = [net.attach("caller", &ips[..1], &[]), net.attach("called", &ips[1..], &["pbx.test"])];
        Self {
            caller: Softphone::new(phone(0, caller), Box::new(SeededEntropy::new(1))),
            called: Softphone::new(phone(1, called), Box::new(SeededEntropy::new(2))),
            net,
            nodes,
        }
    }

    fn run(&mut self, ms: u64) {
        self.net.run_for(&mut [&mut self.caller, &mut self.called], Duration::from_millis(ms));
    }

    /// Dials, runs for `ms`, and returns both reports.
    fn talk(mut self, ms: u64) -> (PhoneReport, PhoneReport) {
        self.caller.dial("+15550001", None, self.net.now());
        self.run(ms);
        self.reports()
    }

    fn reports(&mut self) -> (PhoneReport, PhoneReport) {
        (report(&mut self.caller), report(&mut self.called))
    }
}

fn report(phone: &mut Softphone) -> PhoneReport {
    let events: Vec<PhoneEvent> = std::iter::from_fn(|| phone.poll_event()).collect();
    let report = events.iter().find_map(PhoneEvent::ended).cloned();
    report.unwrap_or_else(|| panic!("the call did not end: {events:?}"))
}

fn saying(hz: u32) -> Habits {
    Habits { person: Person::saying(hz), ..Habits::default() }
}

fn hanging_up(hz: u32, ms: u64) -> Habits {
    Habits { person: Person::saying(hz).hanging_up_after(ms), ..Habits::default() }
}

#[test]
fn two_phones_hear_each_other_over_every_transport() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let (caller, called) = Pair::new(transport, hanging_up(500, 2_000), saying(900)).talk(5_000);
        assert_eq!((caller.status, called.status), (Some(200), Some(200)), "{transport:?}");
        assert_eq!((caller.ended_by, called.ended_by), (PhoneEnder::Us, PhoneEnder::Peer));
        assert_eq!(caller.provisional, [100, 180]);
        assert!((caller.heard.hz.unwrap() - 900.0).abs() < 3.0);
        assert!((called.heard.hz.unwrap() - 500.0).abs() < 3.0);
        assert_eq!(called.requests, ["ACK", "BYE"]);
        assert_eq!((caller.heard.lost, called.heard.lost), (0, 0));
    }
}

#[test]
fn every_format_length_and_suite_can_be_agreed() {
    for codec in [Codec::Opus, Codec::Pcmu, Codec::Pcma] {
        for (ptime_ms, srtp) in [
            (10, vec![]),
            (20, vec![Suite::AesCm128HmacSha1_80]),
            (40, vec![Suite::AeadAes128Gcm]),
            (60, vec![Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80]),
        ] {
            let caller =
                Habits { codecs: vec![codec], ptime_ms, srtp: srtp.clone(), ..hanging_up(500, 2_000) };
            let called = Habits { ptime_ms, srtp: srtp.clone(), ..saying(900) };
            let (caller, called) = Pair::new(Transport::Udp, caller, called).talk(5_000);
            assert_eq!((caller.codec, called.codec), (Some(codec), Some(codec)));
            assert_eq!((caller.srtp, called.srtp), (srtp.first().copied(), srtp.first().copied()));
            assert!((caller.heard.hz.unwrap() - 900.0).abs() < 3.0, "{codec:?} {ptime_ms} {srtp:?}");
            assert!((called.heard.hz.unwrap() - 500.0).abs() < 3.0, "{codec:?} {ptime_ms} {srtp:?}");
            assert_eq!((caller.heard.ptime_violations, caller.heard.srtp_failures), (0, 0));
            assert!(caller.heard.rtcp_packets > 0, "a farewell at least");
        }
    }
}

#[test]
fn phones_keyed_by_dtls_hear_each_other_with_ice_and_without_and_through_a_hold() {
    for (ice, answers) in
        [(true, Setup::Active), (true, Setup::Passive), (false, Setup::Active), (false, Setup::Passive)]
    {
        let with = |habits| Habits { dtls: Some(Dtls { ice, answers }), ..habits };
        let hold = Some(Hold { after_ms: 1_500, for_ms: Some(500), direction: MediaDirection::SendOnly });
        let caller = Habits { hold, ..with(hanging_up(440, 4_000)) };
        let (caller, called) = Pair::new(Transport::Udp, caller, with(saying(880))).talk(5_000);
        let (active, passive) = (DtlsRole::Client, DtlsRole::Server);
        let roles = if answers == Setup::Active { (active, passive) } else { (passive, active) };
        for (report, hz, peer) in [(caller, 880.0, roles.0), (called, 440.0, roles.1)] {
            assert!((report.heard.hz.unwrap() - hz).abs() < 3.0, "{:?}", report.heard);
            assert!(report.heard.last_audio_ms.unwrap() > 3_000, "the hold never ended");
            assert!(report.srtp.is_some() && report.srtp == report.path.srtp);
            assert_eq!(report.path.peer_dtls_role, Some(peer));
            assert!(report.path.ice_ms.unwrap() < 1_000 && report.path.dtls_ms.unwrap() < 1_500);
        }
    }
}

#[test]
fn a_handshake_over_a_lossy_network_is_repeated_until_there_are_keys() {
    let with = |habits| Habits { dtls: Some(Dtls::default()), ..habits };
    let link = Link { loss_percent: 20, jitter_ms: 30, ..Link::default() };
    let pair = Pair::over(Transport::Tcp, link, with(hanging_up(440, 12_000)), with(saying(880)));
    let (caller, called) = pair.talk(14_000);
    assert!(caller.path.dtls_ms.is_some() && called.path.dtls_ms.is_some());
    assert!(caller.heard.packets > 100 && called.heard.packets > 100);
}

#[test]
fn encryption_on_one_side_only_is_refused_with_488() {
    let sealed = Habits { srtp: vec![Suite::AeadAes128Gcm], ..saying(900) };
    let (caller, _) = Pair::new(Transport::Udp, hanging_up(500, 100), sealed).talk(2_000);
    assert_eq!((caller.status, caller.ended_by), (Some(488), PhoneEnder::Peer));
}

#[test]
fn a_call_survives_a_lossy_network_by_retransmission() {
    for seed in 1..6 {
        let link = Link { loss_percent: 20, jitter_ms: 30, duplicate_percent: 10, delay_ms: 20 };
        let mut pair = Pair::over(Transport::Udp, link, hanging_up(500, 3_000), saying(900));
        pair.caller = Softphone::new(pair.caller.config().clone(), Box::new(SeededEntropy::new(seed)));
        let (caller, called) = pair.talk(90_000);
        assert!(caller.answered && called.answered, "seed {seed}: {caller:?}");
        assert!(called.heard.lost > 5, "seed {seed}");
    }
}

#[test]
fn each_answer_of_a_phone_is_seen_by_the_caller() {
    for (answer, status) in [
        (PhoneAnswer::Refuse { after_ms: 0, status: 486 }, 486),
        (PhoneAnswer::Refuse { after_ms: 1_000, status: 603 }, 603),
        (PhoneAnswer::Refuse { after_ms: 500, status: 480 }, 480),
    ] {
        let called = Habits { answer, ..saying(900) };
        let (caller, called) = Pair::new(Transport::Udp, saying(500), called).talk(5_000);
        assert_eq!((caller.status, called.status), (Some(status), Some(status)));
        assert_eq!((caller.ended_by, called.ended_by), (PhoneEnder::Peer, PhoneEnder::Us));
    }
}

#[test]
fn a_caller_who_gives_up_cancels_and_both_see_487() {
    let called = Habits { answer: PhoneAnswer::Never, ..saying(900) };
    let mut pair = Pair::new(Transport::Udp, saying(500), called);
    let call = pair.caller.dial("+15550001", None, pair.net.now());
    pair.run(2_000);
    pair.caller.hang_up(call, pair.net.now());
    pair.run(1_000);
    let (caller, called) = pair.reports();
    assert_eq!((caller.status, called.status), (Some(487), Some(487)));
    assert_eq!((caller.ended_by, called.ended_by), (PhoneEnder::Us, PhoneEnder::Peer));
    assert_eq!(called.requests, ["CANCEL"]);
}

#[test]
fn ringing_is_told_in_each_way_and_early_media_is_heard_before_the_answer() {
    for (ringing, told) in [
        (PhoneRinging::Nothing, vec![100]),
        (PhoneRinging::Ringing, vec![100, 180]),
        (PhoneRinging::Progress, vec![100, 183]),
        (PhoneRinging::EarlyMedia, vec![100, 183]),
    ] {
        let called = Habits { ringing, answer: PhoneAnswer::AfterMs(2_000), ..saying(900) };
        let (caller, _) = Pair::new(Transport::Udp, hanging_up(500, 2_000), called).talk(6_000);
        assert_eq!(caller.provisional, told);
        let early = ringing == PhoneRinging::EarlyMedia;
        assert_eq!(caller.heard.first_audio_ms.unwrap() < -1_500, early, "{:?}", caller.heard);
        assert_eq!(caller.heard.heard_ms(425.0, 5.0) > 1_500, early);
        assert!(caller.heard.heard_ms(900.0, 5.0) > 1_500);
    }
}

#[test]
fn hold_silences_the_other_side_and_resume_brings_it_back() {
    for (direction, held_hears) in [(MediaDirection::SendOnly, true), (MediaDirection::Inactive, false)] {
        let hold = Hold { after_ms: 1_000, for_ms: Some(2_000), direction };
        let caller = Habits { hold: Some(hold), ..hanging_up(500, 5_000) };
        let (caller, called) = Pair::new(Transport::Udp, caller, saying(900)).talk(8_000);
        assert_eq!(
            caller.replies,
            [("INVITE".to_owned(), 200), ("INVITE".to_owned(), 200), ("BYE".to_owned(), 200)]
        );
        assert!(caller.heard.longest_gap_ms > 1_800, "{:?}", caller.heard.gaps);
        assert_eq!(called.heard.longest_gap_ms < 100, held_hears, "{:?}", called.heard.gaps);
        assert!(caller.heard.last_audio_ms.unwrap() > 4_500);
        assert_eq!(caller.heard.ssrcs.len(), 1);
    }
}

#[test]
fn update_refer_and_info_are_sent_and_their_replies_kept() {
    let caller = Habits {
        update_after_ms: Some(200),
        refer: Some(Refer { after_ms: 400, to: "sip:other@pbx.test".into() }),
        dtmf_by_info: true,
        person: Person::saying(500).pressing(600, "7").hanging_up_after(1_000),
        ..Habits::default()
    };
    let (caller, called) = Pair::new(Transport::Tcp, caller, saying(900)).talk(3_000);
    let replies: Vec<(&str, u16)> = caller.replies.iter().map(|(m, s)| (m.as_str(), *s)).collect();
    assert_eq!(replies, [("UPDATE", 200), ("REFER", 405), ("INFO", 200), ("BYE", 200)]);
    assert_eq!(called.requests, ["ACK", "UPDATE", "REFER", "INFO", "BYE"]);
    assert_eq!(called.infos, ["Signal=7\r\nDuration=160\r\n"]);
    assert_eq!(called.heard.digits(), "", "INFO is no telephone event");
}

#[test]
fn keys_are_heard_as_telephone_events() {
    let caller = Habits {
        person: Person::saying(500).pressing(500, "12#").hanging_up_after(3_000),
        ..Habits::default()
    };
    let (_, called) = Pair::new(Transport::Udp, caller, saying(900)).talk(5_000);
    assert_eq!(called.heard.digits(), "12#");
}

#[test]
fn a_session_timer_is_refreshed_by_whoever_said_so_or_the_call_ends() {
    for by_update in [false, true] {
        let timer = SessionTimer { expires_s: 4, refresher: Refresher::Us, by_update };
        let caller = Habits { session_timer: Some(timer), ..hanging_up(500, 9_000) };
        let (caller, called) = Pair::new(Transport::Udp, caller, saying(900)).talk(12_000);
        assert_eq!(caller.talked_ms, Some(9_000));
        let method = if by_update { "UPDATE" } else { "INVITE" };
        assert_eq!(called.requests.iter().filter(|m| *m == method).count(), 4, "{:?}", called.requests);
    }
    let timer = SessionTimer { expires_s: 4, refresher: Refresher::Peer, by_update: false };
    let caller = Habits { session_timer: Some(timer), ..saying(500) };
    let (caller, _) = Pair::new(Transport::Udp, caller, saying(900)).talk(12_000);
    assert_eq!((caller.talked_ms, caller.ended_by), (Some(4_000), PhoneEnder::Us));
}

#[test]
fn who_never_acknowledges_makes_the_other_side_hang_up() {
    let caller = Habits { never_acks: true, ..saying(500) };
    let (caller, called) = Pair::new(Transport::Tcp, caller, saying(900)).talk(40_000);
    assert_eq!((called.ended_by, caller.ended_by), (PhoneEnder::Us, PhoneEnder::Peer));
    assert!(called.talked_ms.unwrap() >= 31_000);
}

#[test]
fn a_new_source_in_mid_call_is_seen_by_the_other_side() {
    let caller = Habits { new_source_after_ms: Some(500), ..hanging_up(500, 1_500) };
    let (_, called) = Pair::new(Transport::Udp, caller, saying(900)).talk(3_000);
    assert_eq!(called.heard.ssrcs.len(), 2);
    assert!(!called.heard.muted);
}

#[test]
fn who_says_nothing_is_not_heard_at_all() {
    let caller = Habits {
        person: Person { says: Says::Nothing, ..Person::default().hanging_up_after(1_000) },
        ..Habits::default()
    };
    let (_, called) = Pair::new(Transport::Udp, caller, saying(900)).talk(3_000);
    assert_eq!(called.heard.packets, 0);
}

#[test]
fn an_answered_call_outlives_its_connection() {
    let caller = Habits {
        person: Person { drop_connection_after_ms: Some(500), ..Person::saying(500).hanging_up_after(2_000) },
        ..Habits::default()
    };
    let mut pair = Pair::new(Transport::Tls, caller, saying(900));
    pair.caller.dial("+15550001", None, pair.net.now());
    pair.run(4_000);
    let (caller, called) = pair.reports();
    assert_eq!((caller.talked_ms, called.ended_by), (Some(2_000), PhoneEnder::Peer));
    pair.net.cut(pair.nodes[0], pair.nodes[1]);
    pair.run(100);
}

#[test]
fn a_call_that_waits_for_an_answer_ends_with_its_connection_whoever_closes_it() {
    let silent = Habits { answer: PhoneAnswer::Never, ..Habits::default() };
    let mut pair = Pair::new(Transport::Tls, Habits::default(), silent);
    pair.caller.dial("+15550001", None, pair.net.now());
    pair.run(500);
    assert_eq!(pair.caller.active_calls().len(), 1);
    pair.caller.drop_connection(pair.net.now());
    pair.run(500);
    assert_eq!(pair.caller.active_calls(), []);
}

// -- Registration, against a transcript.

fn sent(phone: &mut Softphone) -> Vec<String> {
    let outputs = std::iter::from_fn(|| phone.poll_output());
    let text = outputs.filter_map(|output| match output {
        Output::SendUdp { bytes, .. } | Output::SendStream { bytes, .. } => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        Output::Listen { .. }
        | Output::Connect { .. }
        | Output::CloseStream { .. }
        | Output::BindUdp { .. } => None,
    });
    text.collect()
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    message.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("")
}

fn reply(request: &str, status: &str, extra: &str) -> String {
    let [via, from, to, call_id, cseq] =
        ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| field(request, name));
    format!(
        "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to};tag=registrar\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq}\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_phone_registers_with_digest_refreshes_and_unregisters() {
    for algorithm in ["MD5", "SHA-256"] {
        let mut now = start();
        let config = PhoneConfig::softphone("alice", "secret", "pbx.test", Transport::Udp);
        let config = PhoneConfig { bridge_host: "192.0.2.9".into(), ..config };
        let local = std::net::SocketAddr::new(config.ip, config.sip_port);
        let from = ([192, 0, 2, 9], 5_060).into();
        let mut phone = Softphone::new(config, Box::new(SeededEntropy::new(3)));
        let say =
            |phone: &mut Softphone, text: String, now| phone.handle_udp(local, from, text.as_bytes(), now);

        phone.register(now);
        let first = sent(&mut phone).remove(0);
        assert!(first.starts_with("REGISTER sip:pbx.test SIP/2.0\r\n"), "{first}");
        assert_eq!(field(&first, "Expires"), "300");
        assert_eq!(first.matches("\r\nUser-Agent: ").count(), 1);
        let challenge = format!(
            "WWW-Authenticate: Digest realm=\"pbx.test\", nonce=\"n1\", qop=\"auth\", algorithm={algorithm}\r\n"
        );
        say(&mut phone, reply(&first, "401 Unauthorized", &challenge), now);
        let second = sent(&mut phone).remove(0);
        let answer = field(&second, "Authorization");
        assert!(crate::sip::digest::verify(answer, "secret", "REGISTER"), "{answer}");
        assert!(answer.contains(&format!("algorithm={algorithm}")));
        assert_eq!(
            (field(&second, "CSeq"), field(&second, "Call-ID")),
            ("2 REGISTER", field(&first, "Call-ID"))
        );
        let contact = format!("Contact: {};expires=60\r\n", field(&second, "Contact"));
        say(&mut phone, reply(&second, "200 OK", &contact), now);
        assert!(phone.is_registered());
        assert_eq!(phone.poll_event(), Some(PhoneEvent::Registered));

        now = now.after(Duration::from_secs(30));
        assert_eq!(phone.poll_timeout(), Some(now.mono), "half of what was granted");
        phone.handle_timeout(now);
        let refresh = sent(&mut phone).remove(0);
        say(&mut phone, reply(&refresh, "200 OK", &contact), now);
        phone.unregister(now);
        let last = sent(&mut phone).remove(0);
        assert_eq!(field(&last, "Expires"), "0");
        say(&mut phone, reply(&last, "200 OK", ""), now);
        assert!(!phone.is_registered());
        assert_eq!(phone.poll_timeout().filter(|at| *at < now.mono), None);
    }
}

#[test]
fn a_wrong_password_is_a_failure_not_a_loop() {
    let now = start();
    let config = PhoneConfig { bridge_host: "192.0.2.9".into(), ..PhoneConfig::default() };
    let local = std::net::SocketAddr::new(config.ip, config.sip_port);
    let mut phone = Softphone::new(config, Box::new(SeededEntropy::new(3)));
    phone.register(now);
    for _ in 0..2 {
        let request = sent(&mut phone).remove(0);
        let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n";
        let text = reply(&request, "401 Unauthorized", challenge);
        phone.handle_udp(local, ([192, 0, 2, 9], 5_060).into(), text.as_bytes(), now);
    }
    assert!(sent(&mut phone).is_empty());
    assert_eq!(phone.poll_event(), Some(PhoneEvent::RegisterFailed(Some(401))));
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_byte_and_another_seed_another() {
    let run = |seed| {
        let link = Link { loss_percent: 5, jitter_ms: 40, duplicate_percent: 5, delay_ms: 15 };
        let mut pair = Pair::over(Transport::Udp, link, hanging_up(500, 1_000), saying(900));
        pair.caller = Softphone::new(pair.caller.config().clone(), Box::new(SeededEntropy::new(seed)));
        pair.caller.dial("+15550001", None, pair.net.now());
        pair.run(40_000);
        (pair.net.fingerprint(), pair.net.trace().to_vec())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
    assert!(run(1).1[0].what.starts_with("INVITE sip:+15550001@pbx.test"));
}

#[test]
fn the_network_runs_as_long_as_it_is_told_to() {
    let mut pair = Pair::new(Transport::Udp, hanging_up(500, 1_000), saying(900));
    pair.caller.dial("+15550001", None, pair.net.now());
    let began = pair.net.now().mono;
    let mut parties: [&mut dyn crate::io::Party; 2] = [&mut pair.caller, &mut pair.called];
    assert!(!pair.net.run_while(&mut parties, Duration::from_millis(500), |_| true));
    assert_eq!(pair.net.now().mono - began, Duration::from_millis(500));
    let mut looks = 0;
    let done = pair.net.run_while(&mut parties, Duration::from_secs(60), |_| {
        looks += 1;
        looks <= 20
    });
    assert!(done);
    assert_eq!(pair.net.now().mono - began, Duration::from_millis(700));
}

#[test]
fn a_certificate_for_another_name_and_a_closed_port_end_the_call() {
    for certified in [true, false] {
        let mut pair = Pair::new(Transport::Tls, saying(500), saying(900));
        if certified {
            let config = PhoneConfig { bridge_port: 9, ..pair.caller.config().clone() };
            pair.caller = Softphone::new(config, Box::new(SeededEntropy::new(1)));
        } else {
            pair.net.certify(pair.nodes[1], &["other.test"]);
        }
        pair.caller.dial("+15550001", None, pair.net.now());
        pair.run(1_000);
        assert_eq!(report(&mut pair.caller).ended_by, PhoneEnder::Nobody);
    }
}
