//! Offer/answer with PBXs, softphones and browsers.

mod common;

use common::*;
use setu_sdp::{
    AudioCodec, CryptoFault, Direction, Dtmf, Policy, Refusal, SrtpPolicy, SrtpSuite, accept, answer, offer,
    re_answer, re_offer,
};

fn trunk() -> Policy {
    Policy::trunk(SrtpPolicy::Off)
}

fn sdes() -> Policy {
    Policy::trunk(SrtpPolicy::Required(vec![SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes128Gcm]))
}

#[test]
fn asterisk_offer_is_answered_with_opus_and_events_at_the_audio_clock() {
    let policy = trunk();
    let (text, agreed) = answer(&parse(ASTERISK_OFFER), &policy, &local(&policy)).unwrap();
    assert_eq!((agreed.audio.codec, agreed.audio.send_pt), (AudioCodec::Opus, 107));
    assert_eq!(agreed.dtmf, Some(Dtmf { send_pt: 102, receive_pt: 102, clock_hz: 48_000 }));
    assert_eq!(agreed.remote_rtcp, Some("10.20.0.5:14023".parse().unwrap()));
    assert!(text.contains("m=audio 20000 RTP/AVP 107 102\r\n"), "{text}");
    assert!(!text.contains("rtcp-mux"), "{text}");
    assert!(text.contains("a=fmtp:102 0-16\r\n"), "{text}");
}

#[test]
fn events_at_8_khz_beside_opus_are_taken_where_there_are_no_others() {
    let policy = trunk();
    let only_8k = ASTERISK_OFFER.replace("telephone-event/48000", "telephone-event/16000");
    let (_, agreed) = answer(&parse(&only_8k), &policy, &local(&policy)).unwrap();
    assert_eq!(agreed.dtmf, Some(Dtmf { send_pt: 101, receive_pt: 101, clock_hz: 8_000 }));
}

#[test]
fn events_beside_g711_are_at_8_khz_or_not_at_all() {
    let policy = trunk();
    let offered = offer(&policy, &local(&policy));
    let agreed = accept(&offered, &parse(ASTERISK_ANSWER_PCMU)).unwrap();
    assert_eq!((agreed.audio.codec, agreed.audio.send_pt, agreed.audio.receive_pt), (AudioCodec::Pcmu, 0, 0));
    assert_eq!(agreed.dtmf, Some(Dtmf { send_pt: 101, receive_pt: 101, clock_hz: 8_000 }));
    let wrong = ASTERISK_ANSWER_PCMU.replace("101 telephone-event/8000", "110 telephone-event/48000");
    assert_eq!(accept(&offered, &parse(&wrong.replace("AVP 0 101", "AVP 0 110"))).unwrap().dtmf, None);
}

#[test]
fn an_answer_with_numbers_of_its_own_makes_the_directions_differ() {
    let policy = trunk();
    let agreed = accept(&offer(&policy, &local(&policy)), &parse(FREESWITCH_ANSWER)).unwrap();
    assert_eq!((agreed.audio.send_pt, agreed.audio.receive_pt), (116, 111));
    assert_eq!(agreed.dtmf, Some(Dtmf { send_pt: 103, receive_pt: 110, clock_hz: 48_000 }));
    assert_eq!(agreed.audio.opus.maxaveragebitrate, Some(24_000));
    assert_eq!(agreed.remote_rtcp, Some("10.20.0.6:27665".parse().unwrap()));
}

#[test]
fn an_answer_that_leaves_out_rtpmap_means_our_numbers() {
    let policy = trunk();
    let lazy = "v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 111 101\r\na=rtcp-mux\r\n";
    let agreed = accept(&offer(&policy, &local(&policy)), &parse(lazy)).unwrap();
    assert_eq!(agreed.audio.codec, AudioCodec::Opus);
    assert_eq!(agreed.dtmf.map(|d| (d.send_pt, d.clock_hz)), Some((101, 8_000)));
    assert_eq!(agreed.remote_rtcp, None);
}

#[test]
fn of_several_crypto_lines_the_first_the_policy_takes_is_answered_with_its_tag() {
    let policy = sdes();
    let (text, agreed) = answer(&parse(BARESIP_OFFER), &policy, &local(&policy)).unwrap();
    assert_eq!(agreed.srtp.as_ref().unwrap().suite, SrtpSuite::AesCm128HmacSha1_80);
    assert!(text.contains("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:"), "{text}");
    assert_eq!(agreed.remote_rtcp, Some("10.20.0.9:21513".parse().unwrap()));
    assert!(agreed.audio.opus.stereo);

    let gcm = Policy { srtp: SrtpPolicy::Required(vec![SrtpSuite::AeadAes128Gcm]), ..sdes() };
    let (text, agreed) = answer(&parse(BARESIP_OFFER), &gcm, &local(&gcm)).unwrap();
    assert!(text.contains("a=crypto:3 AEAD_AES_128_GCM inline:"), "{text}");
    assert_eq!(agreed.srtp.unwrap().receive.reveal().to_vec(), key(0, 28));
}

#[test]
fn linphone_video_is_rejected_in_its_place_and_ipv6_works() {
    let policy = Policy::softphone();
    let (text, agreed) = answer(&parse(LINPHONE_OFFER), &policy, &local(&policy)).unwrap();
    assert_eq!(agreed.remote, "[2001:db8:20::77]:7078".parse().unwrap());
    assert_eq!(agreed.dtmf.unwrap().clock_hz, 48_000);
    assert!(text.contains("m=audio 20000 RTP/AVPF 96 101\r\n"), "{text}");
    assert!(text.ends_with("m=video 0 RTP/AVPF 96\r\n"), "{text}");
}

#[test]
fn browser_like_offer_keeps_every_stream_in_its_place() {
    let policy = Policy::softphone();
    let (text, agreed) = answer(&parse(BROWSER_OFFER), &policy, &local(&policy)).unwrap();
    assert_eq!((agreed.audio.send_pt, agreed.dtmf.unwrap().send_pt), (111, 110));
    let ours = parse(&text);
    let kinds: Vec<_> = ours.media().iter().map(|m| (m.kind(), m.port())).collect();
    assert_eq!(kinds, [("audio", 20_000), ("video", 0), ("application", 0)]);
}

#[test]
fn of_a_clear_and_an_encrypted_stream_the_encrypted_one_is_taken() {
    let policy = Policy::softphone();
    let (text, agreed) = answer(&parse(TWO_AUDIO_OFFER), &policy, &local(&policy)).unwrap();
    assert_eq!(agreed.remote.port(), 50_004);
    assert_eq!(agreed.audio.codec, AudioCodec::Pcmu);
    assert!(text.contains("m=audio 0 RTP/AVP 0 8 101\r\nm=audio 20000 RTP/SAVP 0 101\r\n"), "{text}");
    assert!(text.contains("a=crypto:7 "), "{text}");

    let (text, agreed) = answer(&parse(TWO_AUDIO_OFFER), &trunk(), &local(&trunk())).unwrap();
    assert_eq!((agreed.remote.port(), agreed.srtp), (50_002, None));
    assert!(text.contains("m=audio 0 RTP/SAVP 8 0 101\r\n"), "{text}");
}

#[test]
fn static_payload_types_need_no_rtpmap_and_a_session_no_name_or_time() {
    let (text, agreed) = answer(&parse(BARE_OFFER), &trunk(), &local(&trunk())).unwrap();
    assert_eq!((agreed.audio.codec, agreed.audio.send_pt), (AudioCodec::Pcmu, 0));
    assert_eq!(agreed.dtmf, None);
    assert!(text.contains("m=audio 20000 RTP/AVP 0\r\n"), "{text}");
}

#[test]
fn crypto_under_the_clear_transport_is_best_effort_encryption() {
    let offer = parse(AVP_WITH_CRYPTO_OFFER);
    let softphone = Policy::softphone();
    let (text, agreed) = answer(&offer, &softphone, &local(&softphone)).unwrap();
    assert!(
        agreed.srtp.is_some() && text.contains("RTP/AVP 0\r\n") && text.contains("a=crypto:1 "),
        "{text}"
    );
    assert_eq!(answer(&offer, &trunk(), &local(&trunk())).unwrap().1.srtp, None);
    assert_eq!(answer(&offer, &sdes(), &local(&sdes())).unwrap_err(), Refusal::ClearRtp);
}

#[test]
fn optional_encryption_is_offered_under_the_clear_transport_and_may_be_ignored() {
    let policy = Policy::softphone();
    let offered = offer(&policy, &local(&policy));
    assert!(offered.sdp.contains("RTP/AVP 111 0 8 110 101 13\r\n"), "{}", offered.sdp);
    assert_eq!(offered.sdp.matches("a=crypto:").count(), 3);
    assert_eq!(accept(&offered, &parse(ASTERISK_ANSWER_PCMU)).unwrap().srtp, None);
    let line = AVP_WITH_CRYPTO_OFFER.lines().find(|l| l.starts_with("a=crypto")).unwrap();
    let agreed = accept(&offered, &parse(&format!("{ASTERISK_ANSWER_PCMU}{line}\r\n"))).unwrap();
    assert_eq!(agreed.srtp.unwrap().suite, SrtpSuite::AesCm128HmacSha1_80);
}

#[test]
fn every_form_of_hold_is_understood_and_answered_with_its_counterpart() {
    let policy = trunk();
    let us = local(&policy);
    let (_, current) = answer(&parse(ASTERISK_OFFER), &policy, &us).unwrap();
    let reoffered =
        |from: &str, to: &str| re_answer(&parse(&ASTERISK_OFFER.replace(from, to)), &current, &policy, &us);
    let cases = [
        ("a=sendrecv", "a=sendonly", Direction::RecvOnly, true),
        ("a=sendrecv", "a=inactive", Direction::Inactive, true),
        ("a=sendrecv", "a=recvonly", Direction::SendOnly, false),
        ("c=IN IP4 10.20.0.5", "c=IN IP4 0.0.0.0", Direction::RecvOnly, true),
        ("t=0 0", "t=0 0", Direction::SendRecv, false),
    ];
    for (from, to, direction, hold) in cases {
        let (text, agreed) = reoffered(from, to).unwrap();
        assert_eq!((agreed.direction, agreed.hold), (direction, hold), "{to}");
        assert_eq!(agreed.remote, current.remote, "{to}: a hold does not move the peer");
        assert!(text.contains(&format!("a={}\r\n", direction.word())), "{text}");
    }
    let for_session =
        ASTERISK_OFFER.replace("a=sendrecv\r\n", "").replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n");
    assert!(re_answer(&parse(&for_session), &current, &policy, &us).unwrap().1.hold);
}

#[test]
fn each_answer_within_a_call_has_the_next_version_and_the_same_session_and_key() {
    let policy = sdes();
    let us = local(&policy);
    let (first, agreed) = answer(&parse(BARESIP_OFFER), &policy, &us).unwrap();
    let held = BARESIP_OFFER.replace("a=sendrecv", "a=sendonly");
    let (second, held) = re_answer(&parse(&held), &agreed, &policy, &us).unwrap();
    let (third, resumed) = re_answer(&parse(BARESIP_OFFER), &held, &policy, &us).unwrap();
    let texts = [parse(&first), parse(&second), parse(&third)];
    let versions: Vec<_> = texts.iter().map(|t| t.origin().unwrap().version).collect();
    assert_eq!(versions, ["1", "2", "3"]);
    assert_eq!(texts[0].origin().unwrap().session_id, texts[2].origin().unwrap().session_id);
    assert_eq!(resumed.srtp, agreed.srtp);
    assert_eq!(resumed.direction, Direction::SendRecv);
    assert!(!resumed.hold);
}

#[test]
fn the_codec_in_use_is_kept_when_a_later_offer_still_has_it() {
    let policy = trunk();
    let us = local(&policy);
    let current = accept(&offer(&policy, &us), &parse(ASTERISK_ANSWER_PCMU)).unwrap();
    let (text, agreed) = re_answer(&parse(ASTERISK_OFFER), &current, &policy, &us).unwrap();
    assert_eq!(agreed.audio.codec, AudioCodec::Pcmu);
    assert_eq!(agreed.dtmf.unwrap().clock_hz, 8_000);
    assert!(text.contains("m=audio 20000 RTP/AVP 0 101\r\n"), "{text}");
}

#[test]
fn a_peer_that_asks_for_an_offer_within_a_call_gets_what_is_in_use() {
    let policy = sdes();
    let us = local(&policy);
    let (_, current) = answer(&parse(BARESIP_OFFER), &policy, &us).unwrap();
    let again = re_offer(&current, &policy, &us);
    assert!(again.sdp.contains("RTP/SAVP 96 101\r\n"), "{}", again.sdp);
    assert_eq!(parse(&again.sdp).origin().unwrap().version, "2");
    let agreed = accept(&again, &parse(BARESIP_OFFER)).unwrap();
    assert_eq!((agreed.version, agreed.srtp.unwrap().send), (2, current.srtp.unwrap().send));
}

#[test]
fn refusals_name_what_is_wrong() {
    let offer = |text: &str| answer(&parse(text), &trunk(), &local(&trunk())).unwrap_err();
    assert_eq!(offer("v=0\r\nc=IN IP4 10.0.0.1\r\nm=video 9 RTP/AVP 96\r\n"), Refusal::NoAudio);
    assert_eq!(offer("v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n"), Refusal::NoAudio);
    assert_eq!(offer("v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4 RTP/AVP 18\r\n"), Refusal::NoCommonCodec);
    assert_eq!(
        offer("v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4 udptl t38\r\n"),
        Refusal::Transport("udptl".to_owned())
    );
    assert_eq!(offer("v=0\r\nm=audio 4 RTP/AVP 0\r\n"), Refusal::NoAddress);
    assert_eq!(offer("v=0\r\nc=IN IP4 pbx.example\r\nm=audio 4 RTP/AVP 0\r\n"), Refusal::NoAddress);
    for group in ["224.2.1.1/127", "255.255.255.255", "ff02::1", "::ffff:224.2.1.1"] {
        assert_eq!(
            offer(&format!("v=0\r\nc=IN IP4 {group}\r\nm=audio 4 RTP/AVP 0\r\n")),
            Refusal::NotUnicast
        );
    }
    assert_eq!(offer(BARESIP_OFFER), Refusal::SrtpOff);
    let rejected = accept(&super_offer(), &parse("v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n"));
    assert_eq!(rejected.unwrap_err(), Refusal::AnswerRejectsAudio);
}

fn super_offer() -> setu_sdp::Offer {
    offer(&trunk(), &local(&trunk()))
}

#[test]
fn crypto_lines_are_read_with_their_parameters() {
    let read = setu_sdp::CryptoLine::parse;
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
    let line = |rest: &str| read(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{rest}"));
    for good in [
        key.to_owned(),
        format!("{key}|2^31"),
        format!("{key}|1048576"),
        format!("{key} WSH=128"),
        format!("{key} FEC_ORDER=FEC_SRTP"),
        format!("{key} -something=1"),
    ] {
        assert_eq!(line(&good).map(|l| (l.tag, l.key.reveal().len())), Ok((1, 30)), "{good}");
    }
    assert_eq!(line(&format!("{key}|2^31|1:1")), Err(CryptoFault::Mki));
    assert_eq!(line(&format!("{key}|1:4")), Err(CryptoFault::Mki));
    assert_eq!(line(&format!("{key}|2^20|1:4;inline:{key}|2^20|2:4")), Err(CryptoFault::Mki));
    assert_eq!(line("AAEC"), Err(CryptoFault::KeyLength));
    assert_eq!(line(&format!("{key}AAAA")), Err(CryptoFault::KeyLength));
    assert_eq!(line(&format!("{key} UNENCRYPTED_SRTP")), Err(CryptoFault::SessionParameter));
    assert_eq!(line(&format!("{key} KDR=4")), Err(CryptoFault::SessionParameter));
    for bad in ["", "!!", &format!("{key}|"), &format!("{key}|soon")] {
        assert_eq!(
            line(bad).map(|_| ()),
            Err(if bad.is_empty() { CryptoFault::KeyLength } else { CryptoFault::Syntax })
        );
    }
    assert_eq!(read(&format!("1 NULL_HMAC_SHA1_80 inline:{key}")), Err(CryptoFault::UnknownSuite));
    assert_eq!(read(&format!("x AES_CM_128_HMAC_SHA1_80 inline:{key}")), Err(CryptoFault::Syntax));
    assert_eq!(read(&format!("1 AES_CM_128_HMAC_SHA1_80 prompt:{key}")), Err(CryptoFault::Syntax));
    // Without the padding that 28 bytes ask for.
    let gcm = "2 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw";
    assert_eq!(read(gcm).map(|l| l.key.reveal().len()), Ok(28));
    assert_eq!(read(&format!("{gcm}==")).map(|l| l.tag), Ok(2));
}

#[test]
fn comfort_noise_is_agreed_beside_a_codec_without_pauses_of_its_own() {
    let policy = trunk();
    let us = local(&policy);
    let offered = offer(&policy, &us);
    assert!(
        offered.sdp.contains(" 13\r\n") && offered.sdp.contains("a=rtpmap:13 CN/8000\r\n"),
        "{}",
        offered.sdp
    );
    let peer = |formats: &str| format!("v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP {formats}\r\n");
    for (formats, wanted) in [("0 13", true), ("8 13 101", true), ("0 101", false), ("111 13", false)] {
        let text = peer(formats) + "a=rtpmap:111 opus/48000/2\r\n";
        assert_eq!(accept(&offered, &parse(&text)).unwrap().comfort_noise, wanted, "{formats}");
        let (ours, agreed) = answer(&parse(&text), &policy, &us).unwrap();
        assert_eq!(
            (agreed.comfort_noise, ours.contains("a=rtpmap:13 CN/8000\r\n")),
            (wanted, wanted),
            "{ours}"
        );
    }
    let other = peer("0 13") + "a=rtpmap:13 telephone-event/8000\r\n";
    assert!(!answer(&parse(&other), &policy, &us).unwrap().1.comfort_noise, "13 is something else there");
    let meta = Policy::meta();
    assert!(!offer(&meta, &local(&meta)).sdp.contains("CN/8000"));
}
