//! Offer/answer with Meta, in both directions.

mod common;

use common::*;
use setu_sdp::{AudioCodec, Direction, Dtmf, Policy, Refusal, SrtpSuite, accept, answer, offer};

#[test]
fn meta_offer_is_answered_with_one_crypto_line_mux_bundle_and_its_own_payload_types() {
    let policy = Policy::meta();
    let (text, agreed) = answer(&parse(META_OFFER), &policy, &local(&policy)).unwrap();

    assert_eq!(agreed.remote, "203.0.113.49:3480".parse().unwrap());
    assert_eq!(agreed.remote_rtcp, None);
    assert_eq!(
        (agreed.audio.codec, agreed.audio.send_pt, agreed.audio.receive_pt),
        (AudioCodec::Opus, 111, 111)
    );
    assert_eq!(agreed.audio.ptime_ms, 20);
    assert_eq!(agreed.audio.opus.maxaveragebitrate, Some(20_000));
    assert!(agreed.audio.opus.useinbandfec);
    assert_eq!(agreed.dtmf, Some(Dtmf { send_pt: 126, receive_pt: 126, clock_hz: 8_000 }));
    let srtp = agreed.srtp.unwrap();
    assert_eq!(srtp.suite, SrtpSuite::AesCm128HmacSha1_80);
    assert_eq!(srtp.receive.reveal().to_vec(), key(0, 30));
    assert_ne!(srtp.send, srtp.receive);

    let ours = parse(&text);
    let media = &ours.media()[0];
    assert_eq!((media.protocol(), media.formats().join(" ").as_str()), ("RTP/SAVP", "111 126"));
    assert_eq!(ours.attribute("group"), Some("BUNDLE audio"));
    assert_eq!(media.attribute("mid"), Some("audio"));
    assert_eq!(media.attribute("rtcp-mux"), Some(""));
    assert_eq!(media.attribute("ptime"), Some("20"));
    assert_eq!(media.attribute("maxptime"), Some("20"));
    assert_eq!(
        media.attribute("fmtp"),
        Some(
            "111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1"
        )
    );
    let lines: Vec<_> = media.crypto().collect::<Result<_, _>>().unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].tag, &lines[0].key), (1, &srtp.send));
    assert!(!text.contains("transport-cc"), "it would be a promise the bridge does not keep");
}

#[test]
fn crypto_under_the_dtls_transport_is_taken_and_the_transport_repeated() {
    let policy = Policy::meta();
    let (text, agreed) = answer(&parse(META_OFFER_SAVPF), &policy, &local(&policy)).unwrap();
    assert!(agreed.srtp.is_some());
    assert_eq!(parse(&text).media()[0].protocol(), "UDP/TLS/RTP/SAVPF");
    assert!(!text.contains("fingerprint"));
}

#[test]
fn dtls_only_is_refused_and_the_refusal_names_the_remedy() {
    let policy = Policy::meta();
    let refusal = answer(&parse(META_OFFER_DTLS), &policy, &local(&policy)).unwrap_err();
    assert!(matches!(refusal, Refusal::DtlsOnly(_)));
    assert!(refusal.to_string().contains("enable SDES on the business number"), "{refusal}");
    assert_eq!(refusal.status(), 488);
}

#[test]
fn mux_and_bundle_are_answered_to_meta_even_if_not_offered() {
    let bare = META_OFFER.replace("a=rtcp-mux\r\n", "").replace("a=group:BUNDLE audio\r\n", "");
    let policy = Policy::meta();
    let (text, agreed) =
        answer(&parse(&bare.replace("a=mid:audio\r\n", "")), &policy, &local(&policy)).unwrap();
    assert_eq!(agreed.remote_rtcp, None);
    assert!(text.contains("a=rtcp-mux\r\n") && text.contains("a=group:BUNDLE audio\r\n"), "{text}");
}

#[test]
fn g711_beside_opus_is_left_out_toward_meta() {
    let policy = Policy::meta();
    let (text, agreed) = answer(&parse(META_OFFER_G711), &policy, &local(&policy)).unwrap();
    assert_eq!(agreed.audio.codec, AudioCodec::Opus);
    assert!(text.contains("m=audio 20000 RTP/SAVP 111 126\r\n"), "{text}");
}

#[test]
fn our_offer_to_meta_has_the_shape_meta_demands_and_its_answer_is_taken() {
    let policy = Policy::meta();
    let offered = offer(&policy, &local(&policy));
    assert!(offered.sdp.contains("m=audio 20000 RTP/SAVP 111 126\r\n"), "{}", offered.sdp);
    assert!(offered.sdp.contains("a=rtpmap:126 telephone-event/8000\r\n"));
    assert!(offered.sdp.contains("a=rtcp-mux\r\n"));
    assert_eq!(offered.sdp.matches("a=crypto:").count(), 1, "one line: more were never seen with Meta");
    assert!(!offered.sdp.contains("0-16"));

    let agreed = accept(&offered, &parse(META_ANSWER)).unwrap();
    assert_eq!(agreed.remote, "203.0.113.50:40012".parse().unwrap());
    assert_eq!(agreed.remote_rtcp, None);
    assert_eq!(agreed.direction, Direction::SendRecv);
    let srtp = agreed.srtp.unwrap();
    assert_eq!(srtp.receive.reveal().to_vec(), key(100, 30));
    assert_eq!(parse(&offered.sdp).media()[0].crypto().next().unwrap().unwrap().key, srtp.send);
}

#[test]
fn clear_rtp_toward_meta_is_refused_in_offer_and_answer() {
    let policy = Policy::meta();
    let us = local(&policy);
    let avp = |text: &str| parse(&text.replace("RTP/SAVP", "RTP/AVP"));
    let without = |text: &str| {
        parse(
            &text
                .lines()
                .filter(|l| !l.starts_with("a=crypto"))
                .map(|l| format!("{l}\r\n"))
                .collect::<String>(),
        )
    };
    assert_eq!(answer(&avp(META_OFFER), &policy, &us).unwrap_err(), Refusal::ClearRtp);
    assert_eq!(answer(&without(META_OFFER), &policy, &us).unwrap_err(), Refusal::NoCrypto);
    let offered = offer(&policy, &us);
    assert_eq!(accept(&offered, &avp(META_ANSWER)).unwrap_err(), Refusal::ClearRtp);
    assert_eq!(accept(&offered, &without(META_ANSWER)).unwrap_err(), Refusal::NoCrypto);
}

#[test]
fn an_answer_with_a_suite_we_did_not_offer_is_refused() {
    let policy = Policy::meta();
    let offered = offer(&policy, &local(&policy));
    let other = META_ANSWER.replace("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32");
    assert!(matches!(accept(&offered, &parse(&other)), Err(Refusal::Crypto(_))));
}

#[test]
fn keys_reach_neither_debug_output_nor_the_redacted_text() {
    let policy = Policy::meta();
    let us = local(&policy);
    let offered = offer(&policy, &us);
    let theirs = parse(META_OFFER_SAVPF);
    let (_, agreed) = answer(&theirs, &policy, &us).unwrap();
    let seen = format!(
        "{offered:?} {us:?} {theirs:?} {:?} {:?} {agreed:?} {}",
        theirs.media(),
        theirs.media()[0].lines(),
        theirs.redacted()
    );
    assert!(!seen.contains("AAECAwQF") && !seen.contains("8vEjrVQm"), "{seen}");
    assert!(seen.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 [secret]"), "{seen}");
}
