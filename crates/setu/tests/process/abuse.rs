//! What strangers on the network can do to a running bridge without a password: nothing that a caller would hear.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use setu_twin::meta::{CallSpec, Quirks};
use tokio::io::AsyncWriteExt;

use crate::house::NUMBER;
use crate::peers::until;
use crate::siege::{Noise, Siege, attacker, knock, knock_with_tls, pour, thrower, went_well, within};

const SEED: u64 = 0x5e7u64;

fn head() -> String {
    format!("INVITE sip:{NUMBER}@setu SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bKx\r\n")
}

/// An INVITE of a stranger that claims a body of `length`.
fn long(length: &str) -> String {
    format!(
        "{}Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
         Content-Length: {length}\r\n\r\nbody",
        head()
    )
}

/// What no stream should carry.
fn streams_of_nonsense(noise: &mut Noise) -> Vec<Vec<u8>> {
    let head = head();
    let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: sip\r\n\r\n";
    // A frame of 2^63 - 1 bytes; a text frame that is no UTF-8; a thousand pings.
    let frames: [&[u8]; 3] = [
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"\x81\x82\0\0\0\0\xff\xfe",
        &b"\x89\x80\0\0\0\0".repeat(1_000),
    ];
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut all = vec![
        noise.bytes(100),
        noise.bytes(70_000),
        vec![0; 10_000],
        b"\r\n".repeat(50_000),
        head.clone().into_bytes(),
        format!("{head}X: {}", "a".repeat(200_000)).into_bytes(),
        format!("{head}{}", "X: a\r\n".repeat(20_000)).into_bytes(),
        b"GET /metrics HTTP/1.1\r\nHost: ".to_vec(),
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\nx".to_vec(),
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx"
            .to_vec(),
        hello.to_vec(),
        [&hello[..], &noise.bytes(600)].concat(),
        noise.spoil(&long("4")),
    ];
    for length in ["-1", "4294967296", "99999999999999999999", "65536", "4\r\nContent-Length: 5"] {
        all.push(long(length).into_bytes());
    }
    all.extend(frames.map(|frame| [upgrade.as_bytes(), frame].concat()));
    all
}

/// Anybody can do this, before any authentication.
#[tokio::test(flavor = "multi_thread")]
async fn noise_on_every_port_is_heard_by_nobody_and_leaves_nothing_behind() {
    let mut siege = Siege::start().await;
    let mut noise = Noise::seeded(SEED);
    let nonsense = streams_of_nonsense(&mut noise);
    went_well(&siege.call(500).await);
    let before = siege.held();

    let talk = siege.call(5_000);
    let attack = async {
        for (n, bytes) in nonsense.iter().enumerate() {
            let from = attacker(u8::try_from(n).unwrap());
            for door in &siege.streams {
                let mut stream = within(knock(from, door.port)).await.unwrap().unwrap();
                pour(&mut stream, bytes).await;
                if door.tls {
                    let mut stream = knock_with_tls(from, door.port, &siege.house).await.unwrap();
                    pour(&mut stream, bytes).await;
                }
            }
        }
        let thrower = thrower(attacker(200)).await;
        let text = long("4");
        for n in 0..2_000 {
            let bytes = if n % 2 == 0 {
                let l = noise.below(1_500);
                noise.bytes(l)
            } else {
                noise.spoil(&text)
            };
            let _ = thrower.send_to(&bytes, ("127.0.0.1", siege.house.ports.udp)).await;
        }
        let _ = thrower.send_to(&noise.bytes(65_507), ("127.0.0.1", siege.house.ports.udp)).await;
        for (first, last) in siege.media {
            for port in first..=last {
                // RTP, RTCP, STUN, DTLS, and what is none of them (RFC 7983).
                for kind in [0x80, 0x81, 0, 22, 255] {
                    let length = noise.below(200);
                    let bytes = [&[kind][..], &noise.bytes(length)].concat();
                    let _ = thrower.send_to(&bytes, ("127.0.0.1", port)).await;
                }
            }
        }
    };
    let (report, ()) = tokio::join!(talk, attack);
    went_well(&report);
    assert!(report.heard.last_audio_ms.unwrap() > 4_500, "{:?}", report.heard);

    went_well(&siege.call(1_000).await);
    for name in ["meta", "agents"] {
        assert!(siege.house.metric(&format!("setu_sip_malformed_total{{side=\"{name}\"}}")) > 0.0);
    }
    let limited = siege.house.metric("setu_sip_events_total{event=\"rate_limited\"}");
    assert!(limited > 1_500.0, "{limited} of 2,000 datagrams from one address");
    let left = || format!("nothing of the attackers is left: {:?} instead of {before:?}", siege.held());
    until(left, Duration::from_secs(45), || siege.held().0 <= before.0);
    assert!(siege.held().1 < before.1 + 48 * 1_024, "{:?} after {before:?}", siege.held());
    siege.was_calm();
}

/// Anybody with a dozen addresses can do this, before any authentication.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_takes_every_place_of_strangers_does_not_keep_metas_calls_out() {
    permit_files(4_000);
    let mut siege = Siege::start().await;
    went_well(&siege.call(500).await);
    let (files, _) = siege.held();

    // Some say nothing, the others begin a handshake.
    let meta = siege.house.ports.meta;
    let mut crowd = Vec::new();
    for n in 0..1_536_u16 {
        let mut stream = knock(attacker(u8::try_from(n % 12).unwrap()), meta).await.unwrap();
        if n % 2 == 0 {
            let _ = stream.write_all(b"\x16\x03\x01\x02\x00\x01").await;
        }
        crowd.push(stream);
    }
    until("every place is taken", Duration::from_secs(20), || {
        siege.house.metric("setu_sip_transport_events_total{event=\"newcomer_evicted\"}") >= 500.0
    });
    went_well(&siege.call(500).await);
    let quirks = Quirks { connection_per_call: true, ..Quirks::default() };
    let over_a_new_connection = CallSpec { quirks: Some(quirks), ..siege.spec(500) };
    went_well(&siege.edge.call(over_a_new_connection).await.unwrap());

    drop(crowd);
    until("the crowd is gone", Duration::from_secs(45), || siege.held().0 <= files + 8);
    siege.was_calm();
}

/// Anybody can do this, before any authentication.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_that_come_and_go_leave_nothing_behind() {
    let mut siege = Siege::start().await;
    went_well(&siege.call(500).await);
    let (files, _) = siege.held();
    let wave = async |siege: &Siege| {
        for n in 0..5_000_usize {
            let door = siege.streams[n % siege.streams.len()];
            if let Some(mut stream) = knock(attacker(u8::try_from(n % 250).unwrap()), door.port).await {
                let _ = stream.write_all(b"\x16\x03\x01 or INVITE, as you like").await;
            }
        }
        let gone = || siege.held().0 <= files;
        until("the wave is gone", Duration::from_secs(45), gone);
        siege.held().1
    };
    let after_one = wave(&siege).await;
    let after_two = wave(&siege).await;
    assert!(after_two < after_one + after_one / 20, "{after_two} KiB after {after_one} KiB");
    went_well(&siege.call(500).await);
    siege.was_calm();
}

/// Who can reach the port of health and metrics can do this: this machine alone, unless it is opened to others.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_loris_on_the_http_port_holds_health_up_for_the_time_of_one_head_at_most() {
    let mut siege = Siege::start().await;
    let mut crowd = Vec::new();
    for n in 0..100 {
        let mut stream = knock(attacker(n), siege.house.ports.http).await.unwrap();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nX-").await;
        crowd.push(stream);
    }
    went_well(&siege.call(500).await);
    until("health answers again", Duration::from_secs(25), || {
        siege.house.http("/healthz").is_some_and(|answer| answer.contains("200 OK"))
    });
    siege.was_calm();
}

/// A test that opens thousands of connections needs as many files.
fn permit_files(wanted: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= wanted, "this test needs {wanted} open files, and {hard} are permitted");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted), hard).unwrap();
}
