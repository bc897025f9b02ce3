//! A full end against a lite one that shares no code with it.

use std::time::Duration;

use setu_model::{SeededEntropy, Wall};

use super::*;
use crate::sip::sdp::Sdp;
use crate::webrtc::{SUITES, Webrtc};

fn ours() -> SocketAddr {
    ([192, 0, 2, 1], 4_000).into()
}

fn theirs() -> SocketAddr {
    ([192, 0, 2, 2], 5_000).into()
}

/// A path and a lite end that both know each other's description; `client` is the lite end's part.
fn pair(client: bool, now: Now) -> (Path, Webrtc) {
    let mut entropy = SeededEntropy::new(3);
    let credentials = Credentials::fresh(false, &mut entropy);
    let identity = DtlsIdentity::fresh().unwrap();
    let mut path = Path::full(&credentials, ours(), now).unwrap();
    let mut end = Webrtc::new(theirs(), client, &SUITES);
    let lines = end.lines(if client { "active" } else { "passive" });
    let text =
        format!("v=0\r\na=ice-lite\r\nm=audio 5000 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.2\r\n{lines}");
    let remote = Sdp::read(&text).unwrap().path().unwrap();
    assert!(remote.lite);
    end.connect(
        &format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=candidate:1 1 udp 1 {} {} typ host\r\n",
            credentials.fragment,
            credentials.password,
            ours().ip(),
            ours().port()
        ),
        false,
    );
    let role = if client { DtlsRole::Server } else { DtlsRole::Client };
    // Answering would make it controlled, were the other end not a lite one.
    path.connect(&remote, role, false, &identity, &mut entropy, now);
    (path, end)
}

#[test]
fn a_full_end_controls_a_lite_one_and_both_have_the_same_keys_in_either_role() {
    for client in [true, false] {
        let mut now = Now { mono: Instant::now(), wall: Wall::from_unix_ms(1_700_000_000_000) };
        let (mut path, mut end) = pair(client, now);
        let mut keys = None;
        for _ in 0..400 {
            now = now.after(Duration::from_millis(5));
            path.handle_timeout(now);
            end.handle_timeout(now);
            while let Some((from, to, bytes)) = path.poll_transmit() {
                assert_eq!((from, to), (ours(), theirs()));
                assert!(!end.handle(from, &bytes, now));
            }
            while let Some((to, bytes)) = end.transmits.pop_front() {
                assert_eq!(to, ours());
                assert!(!path.handle_datagram(ours(), theirs(), &bytes, now));
            }
            while let Some(event) = path.poll_event() {
                if let PathEvent::Keyed(ours, theirs) = event {
                    keys = Some((ours, theirs));
                }
            }
        }
        let (own, peer) = keys.expect("no keys");
        let (end_own, end_peer) = end.keys.clone().expect("no keys at the lite end");
        assert_eq!((&own.material, &peer.material), (&end_peer.material, &end_own.material));
        let report = path.report();
        assert_eq!((report.remote, report.moves, report.strangers), (Some(theirs()), 0, 0));
        assert!(report.ice_ms.unwrap() < 500 && report.dtls_ms.unwrap() < 500, "{report:?}");
        assert!(path.handle_datagram(ours(), theirs(), &[0x80; 40], now), "media is for the voice");
        let stranger = ([198, 51, 100, 7], 9).into();
        assert!(!path.handle_datagram(ours(), stranger, &[0x80; 40], now), "a stranger's is not");
    }
}

#[test]
fn credentials_keep_or_lose_the_padding_of_base64() {
    let mut entropy = SeededEntropy::new(5);
    let (padded, bare) = (Credentials::fresh(true, &mut entropy), Credentials::fresh(false, &mut entropy));
    assert_eq!((padded.fragment.len(), padded.password.len(), bare.password.len()), (16, 24, 22));
    assert!(padded.password.ends_with("==") && !bare.password.contains('='));
}

#[test]
fn a_fingerprint_reads_back_as_printed_and_other_hashes_are_none() {
    let own = DtlsIdentity::fresh().unwrap().fingerprint();
    assert_eq!(Fingerprint::read(&own.print()), Some(own));
    assert_eq!(Fingerprint::read(&own.print().to_lowercase()), Some(own));
    assert_ne!(own.forged(), own);
    for broken in ["", "sha-1 AA:BB", "sha-256 AA:BB", "sha-256 ZZ"] {
        assert_eq!(Fingerprint::read(broken), None);
    }
}
