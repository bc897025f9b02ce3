//! The parser on hostile and odd text, and against another parser.

mod common;

use common::*;
use proptest::prelude::*;
use setu_model::limits::{SDP_BYTES, SDP_LINES};
use setu_sdp::{Description, Policy, SdpError, SrtpPolicy, accept, answer, offer};

/// Runs everything that reads a peer's text.
fn exercise(text: &[u8]) {
    let Ok(read) = Description::parse(text) else { return };
    let _ = (read.origin(), read.redacted(), read.direction());
    for policy in [Policy::meta(), Policy::softphone(), Policy::trunk(SrtpPolicy::Off)] {
        let us = local(&policy);
        let _ = accept(&offer(&policy, &us), &read);
        if let Ok((ours, agreed)) = answer(&read, &policy, &us) {
            let ours = Description::parse(ours.as_bytes()).expect("our own text is well formed");
            assert_eq!(ours.media().len(), read.media().len(), "RFC 3264 section 6: one m= line for each");
            assert!(
                agreed.srtp.is_some()
                    || policy.suites().is_empty()
                    || !matches!(policy.srtp, SrtpPolicy::Required(_))
            );
        }
    }
}

#[test]
fn no_prefix_of_any_fixture_panics() {
    for text in ALL {
        (0..=text.len()).for_each(|length| exercise(&text.as_bytes()[..length]));
    }
}

#[test]
fn what_is_printed_is_what_was_read() {
    for text in ALL {
        let read = parse(text);
        assert_eq!(parse(&read.to_string()), read);
        if text.contains('\r') {
            assert_eq!(read.to_string(), text, "nothing lost, nothing moved");
        }
    }
}

#[test]
fn limits_and_broken_lines_are_refused() {
    let refused = |text: &str| Description::parse(text.as_bytes()).unwrap_err();
    assert_eq!(refused(""), SdpError::NoVersion);
    assert_eq!(refused("\r\n\r\n"), SdpError::NoVersion);
    assert_eq!(refused("s=-\r\n"), SdpError::NoVersion);
    assert_eq!(refused("v=1\r\n"), SdpError::NoVersion);
    assert_eq!(refused("m=audio 1 RTP/AVP 0\r\n"), SdpError::NoVersion);
    assert_eq!(refused("v=0\r\nhello\r\n"), SdpError::Line(2));
    assert_eq!(refused("v=0\r\nab=c\r\n"), SdpError::Line(2));
    assert_eq!(refused("v=0\r\ns=a\0b\r\n"), SdpError::Line(2));
    assert_eq!(refused("v=0\r\nm=audio x RTP/AVP\r\n"), SdpError::MediaLine(2));
    assert_eq!(refused("v=0\r\nm=audio 65536 RTP/AVP 0\r\n"), SdpError::MediaLine(2));
    assert_eq!(refused("v=0\r\nm=audio 1\r\n"), SdpError::MediaLine(2));
    assert_eq!(refused(&format!("v=0\r\n{}", "a=x\r\n".repeat(SDP_LINES))), SdpError::TooManyLines);
    assert_eq!(refused(&format!("v=0\r\na={}", "x".repeat(SDP_BYTES))), SdpError::TooLong);
}

#[test]
fn repeated_payload_types_do_not_multiply_their_parameters() {
    let formats = "96 ".repeat(2_000);
    let text = format!("v=0\r\nm=audio 4 RTP/AVP {formats}\r\na=fmtp:96 {}\r\n", "x".repeat(9_000));
    assert_eq!(parse(&text).media()[0].payloads().len(), 1);
}

#[test]
fn odd_but_readable_text_is_read() {
    let odd = b"v=0 \r\n\r\no=x 1 2\r\ns=caf\xe9\n  a=rtcp-mux\rm=audio 4000/2 RTP/AVP 0\r\nZ=what\r\n\0\0";
    let read = Description::parse(odd).unwrap();
    assert_eq!(read.origin(), None);
    assert_eq!(read.attribute("rtcp-mux"), Some(""));
    assert_eq!(read.media()[0].port(), 4_000);
    assert_eq!(read.media()[0].lines()[0].kind, 'Z');
}

#[test]
fn sdp_types_reads_the_fixtures_and_our_own_texts_the_same_way() {
    let policy = Policy::meta();
    let own = offer(&policy, &local(&policy)).sdp;
    let answered = answer(&parse(META_OFFER), &policy, &local(&policy)).unwrap().0;
    let strict = ALL.into_iter().filter(|text| *text != BARE_OFFER);
    for text in strict.chain([own.as_str(), answered.as_str()]) {
        let other = sdp_types::Session::parse(text.as_bytes()).unwrap();
        let ours = parse(text);
        assert_eq!(ours.media().len(), other.medias.len());
        for (mine, theirs) in ours.media().iter().zip(&other.medias) {
            assert_eq!(
                (mine.kind(), mine.port(), mine.protocol()),
                (theirs.media.as_str(), theirs.port, theirs.proto.as_str())
            );
            assert_eq!(mine.formats().join(" "), theirs.fmt);
            let attributes = mine.lines().iter().filter(|line| line.kind == 'a').count();
            assert_eq!(attributes, theirs.attributes.len());
        }
        let origin = ours.origin().unwrap();
        assert_eq!(
            (origin.session_id, origin.version),
            (other.origin.sess_id.as_str(), other.origin.sess_version.to_string().as_str())
        );
    }
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]=[ -~]{0,40}",
        "a=(rtpmap|fmtp|crypto|rtcp|ptime|mid|group):[ -~]{0,40}",
        "m=(audio|video|image) [0-9]{1,5} (RTP/S?AVPF?|udptl) [0-9 ]{0,12}",
        "c=IN IP[46] [0-9a-f:./]{0,20}",
        "a=(sendrecv|sendonly|recvonly|inactive|rtcp-mux)",
    ]
}

proptest! {
    #[test]
    fn any_text_of_plausible_lines_survives_printing_and_reading(lines in prop::collection::vec(line(), 0..40)) {
        let text = format!("v=0\r\n{}\r\n", lines.join("\r\n"));
        exercise(text.as_bytes());
        if let Ok(read) = Description::parse(text.as_bytes()) {
            prop_assert_eq!(Description::parse(read.to_string().as_bytes()), Ok(read));
        }
    }

    #[test]
    fn a_changed_byte_never_panics(which in 0..ALL.len(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut text = ALL[which].as_bytes().to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        exercise(&text);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        exercise(&bytes);
        exercise(&[b"v=0\r\n", bytes.as_slice()].concat());
    }

    /// Whatever we offer, a peer with the same rules agrees with us about it.
    #[test]
    fn our_offer_and_our_answer_agree(secure: bool, prefer in 0..3_usize) {
        let srtp = if secure { Policy::meta().srtp } else { SrtpPolicy::Off };
        let mut policy = Policy::trunk(srtp);
        policy.audio.rotate_left(prefer);
        let (caller, callee) = (local(&policy), setu_sdp::Local { port: 30_000, session_id: 9, ..local(&policy) });
        let offered = offer(&policy, &caller);
        let (text, theirs) = answer(&parse(&offered.sdp), &policy, &callee).unwrap();
        let ours = accept(&offered, &parse(&text)).unwrap();
        prop_assert_eq!((ours.audio.codec, ours.audio.send_pt), (theirs.audio.codec, theirs.audio.receive_pt));
        prop_assert_eq!(ours.audio.codec, policy.audio[0]);
        prop_assert_eq!(ours.remote.port(), 30_000);
        prop_assert_eq!(theirs.remote.port(), 20_000);
        prop_assert_eq!(ours.dtmf, theirs.dtmf);
        prop_assert_eq!((ours.remote_rtcp, theirs.remote_rtcp), (None, None));
        if let (Some(ours), Some(theirs)) = (ours.srtp, theirs.srtp) {
            prop_assert_eq!((ours.send, ours.receive), (theirs.receive, theirs.send));
        }
    }
}
