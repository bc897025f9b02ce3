//! DTLS-SRTP and ICE in offers and answers: with Meta, with browsers, with a phone that has no ICE.

mod common;

use common::*;
use setu_sdp::{
    Description, DtlsPolicy, DtlsRole, Fingerprint, IceMode, Keying, Local, Policy, Refusal, SrtpPolicy,
    SrtpSuite, accept, answer, offer, re_answer, re_offer,
};

const OURS: Fingerprint = Fingerprint([0xaa; 32]);

fn meta() -> Policy {
    let dtls = DtlsPolicy { fingerprint: OURS, role: DtlsRole::Active, ice: IceMode::Full };
    Policy::meta().with_keying(Keying::Dtls(dtls))
}

fn browser() -> Policy {
    let dtls = DtlsPolicy { fingerprint: OURS, role: DtlsRole::Passive, ice: IceMode::Lite };
    let suites = vec![SrtpSuite::AesCm128HmacSha1_80];
    Policy::softphone().with_srtp(SrtpPolicy::Required(suites)).with_keying(Keying::Dtls(dtls))
}

fn attribute<'d>(text: &'d Description, name: &str) -> Option<&'d str> {
    text.media()[0].attribute(name)
}

#[test]
fn meta_offer_is_answered_active_with_full_ice_toward_its_candidates() {
    let policy = meta();
    let us = local(&policy);
    let (text, agreed) = answer(&parse(META_OFFER_DTLS), &policy, &us).unwrap();
    let dtls = agreed.dtls.as_ref().unwrap();
    assert_eq!((agreed.srtp.as_ref(), agreed.encryption()), (None, Some("DTLS-SRTP")));
    assert_eq!((dtls.role, dtls.fingerprints.as_slice()), (DtlsRole::Active, &[Fingerprint([0x0b; 32])][..]));
    assert_eq!(dtls.suites, policy.suites());
    let ice = agreed.ice.as_ref().unwrap();
    assert_eq!((ice.mode, ice.controlling), (IceMode::Full, true));
    assert_eq!(ice.remote.pwd.reveal(), "8vEjrVQmdtLk0uTFFuyuQA==", "the padding is part of the key");
    let candidates: Vec<_> = ice.candidates.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(candidates, ["203.0.113.49:3480"]);
    let us6 = Local { address: "2001:db8::7".parse().unwrap(), ..us.clone() };
    let ice6 = answer(&parse(META_OFFER_DTLS), &policy, &us6).unwrap().1.ice.unwrap();
    let candidates: Vec<_> = ice6.candidates.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(candidates, ["[2001:db8:f312:131:face:b00c:0:699c]:3480"]);

    let ours = parse(&text);
    assert_eq!(ours.media()[0].protocol(), "UDP/TLS/RTP/SAVPF");
    assert_eq!((attribute(&ours, "setup"), attribute(&ours, "rtcp-mux")), (Some("active"), Some("")));
    assert_eq!((attribute(&ours, "mid"), ours.attribute("group")), (Some("audio"), Some("BUNDLE audio")));
    assert_eq!(attribute(&ours, "fingerprint"), Some(format!("sha-256 {OURS}").as_str()));
    assert_eq!(attribute(&ours, "ice-ufrag"), Some(us.ice.ufrag.as_str()));
    assert_eq!(attribute(&ours, "ice-pwd"), Some(us.ice.pwd.reveal().as_str()));
    assert_eq!(attribute(&ours, "candidate"), Some("1 1 udp 2130706431 198.51.100.7 20000 typ host"));
    assert_eq!(attribute(&ours, "end-of-candidates"), Some(""));
    assert_eq!((ours.attribute("ice-lite"), attribute(&ours, "crypto")), (None, None));
}

#[test]
fn whatever_setup_meta_answers_one_of_us_begins_the_handshake() {
    let policy = meta();
    let offered = offer(&policy, &local(&policy));
    assert!(offered.sdp.contains("m=audio 20000 UDP/TLS/RTP/SAVPF 111 126\r\n"), "{}", offered.sdp);
    assert!(offered.sdp.contains("a=setup:actpass\r\n") && !offered.sdp.contains("a=crypto"));
    for (said, role) in [
        ("active", DtlsRole::Passive),
        ("passive", DtlsRole::Active),
        // Illegal, and seen: Meta is the server then.
        ("actpass", DtlsRole::Active),
    ] {
        let theirs = META_OFFER_DTLS.replace("a=setup:actpass", &format!("a=setup:{said}"));
        let agreed = accept(&offered, &parse(&theirs)).unwrap();
        assert_eq!(agreed.dtls.unwrap().role, role, "{said}");
        assert!(agreed.ice.unwrap().controlling, "Meta is lite");
    }
    let held = META_OFFER_DTLS.replace("a=setup:actpass", "a=setup:holdconn");
    assert_eq!(accept(&offered, &parse(&held)).unwrap_err(), Refusal::Setup);
}

#[test]
fn a_browser_is_answered_as_a_lite_server_and_keeps_its_mid() {
    let policy = browser();
    let (text, agreed) = answer(&parse(BROWSER_OFFER), &policy, &local(&policy)).unwrap();
    assert_eq!(agreed.dtls.as_ref().unwrap().role, DtlsRole::Passive);
    let ice = agreed.ice.as_ref().unwrap();
    assert_eq!((ice.mode, ice.controlling), (IceMode::Lite, false));
    let ours = parse(&text);
    assert_eq!(ours.attribute("ice-lite"), Some(""));
    assert_eq!((ours.attribute("group"), attribute(&ours, "mid")), (Some("BUNDLE 0"), Some("0")));
    assert_eq!(attribute(&ours, "setup"), Some("passive"));
    assert!(text.contains("m=video 0 ") && text.contains("m=application 0 "), "{text}");
}

#[test]
fn an_address_that_ice_has_yet_to_find_is_no_hold() {
    let policy = browser();
    let unknown = BROWSER_OFFER.replace("c=IN IP4 10.20.0.30", "c=IN IP4 0.0.0.0").replace("52111", "9");
    let (_, agreed) = answer(&parse(&unknown), &policy, &local(&policy)).unwrap();
    assert!(!agreed.hold);
}

#[test]
fn a_phone_without_ice_has_its_handshake_at_its_signalled_address() {
    let policy = browser();
    let plain: String = BROWSER_OFFER
        .lines()
        .filter(|line| !line.starts_with("a=ice-") && !line.starts_with("a=candidate"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let (text, agreed) = answer(&parse(&plain), &policy, &local(&policy)).unwrap();
    assert_eq!((agreed.ice, agreed.remote_rtcp), (None, None));
    assert_eq!(agreed.remote, "10.20.0.30:52111".parse().unwrap());
    assert!(!text.contains("ice-") && !text.contains("candidate"), "{text}");
}

#[test]
fn a_leg_of_dtls_never_falls_back() {
    let policy = browser();
    let offered = offer(&policy, &local(&policy));
    let clear = BROWSER_OFFER.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    assert_eq!(accept(&offered, &parse(&clear)).unwrap_err(), Refusal::ClearRtp);
    assert_eq!(answer(&parse(&clear), &policy, &local(&policy)).unwrap_err(), Refusal::ClearRtp);
    for other in ["sha-1 0C:0C", "sha-256 0C:0C", "sha-512 0C"] {
        let weak = BROWSER_OFFER.replace(
            BROWSER_OFFER.lines().find(|line| line.starts_with("a=fingerprint")).unwrap(),
            &format!("a=fingerprint:{other}"),
        );
        // It has an a=crypto line, which does not help: keys in the description were not asked for.
        assert_eq!(accept(&offered, &parse(&weak)).unwrap_err(), Refusal::NoFingerprint, "{other}");
    }
}

#[test]
fn where_both_ways_to_keys_are_open_the_peer_chooses() {
    let Keying::Dtls(dtls) = meta().keying else { panic!() };
    let policy = Policy::meta().with_keying(Keying::Either(dtls));
    let us = local(&policy);
    assert!(answer(&parse(META_OFFER_DTLS), &policy, &us).unwrap().1.dtls.is_some());
    assert!(answer(&parse(META_OFFER), &policy, &us).unwrap().1.srtp.is_some());
    assert!(answer(&parse(META_OFFER_SAVPF), &policy, &us).unwrap().1.srtp.is_some());
    assert!(offer(&policy, &us).sdp.contains("a=crypto:"), "our own offers hold keys");
}

#[test]
fn roles_and_credentials_stay_when_the_session_changes() {
    let policy = browser();
    let us = local(&policy);
    let offered = offer(&policy, &us);
    assert!(offered.sdp.contains("a=ice-lite\r\n") && offered.sdp.contains("a=setup:actpass\r\n"));
    let answered = BROWSER_OFFER.replace("actpass", "passive");
    let current = accept(&offered, &parse(&answered)).unwrap();
    assert_eq!(current.dtls.as_ref().unwrap().role, DtlsRole::Active);
    let (text, agreed) = re_answer(&parse(BROWSER_OFFER), &current, &policy, &us).unwrap();
    assert_eq!((&agreed.dtls, &agreed.ice), (&current.dtls, &current.ice));
    assert!(text.contains("a=setup:active\r\n") && text.contains(&us.ice.ufrag), "{text}");
    let again = re_offer(&current, &policy, &us);
    assert!(again.sdp.contains("UDP/TLS/RTP/SAVPF") && again.sdp.contains(&us.ice.ufrag), "{}", again.sdp);
}

#[test]
fn broken_candidates_and_credentials_are_left_out() {
    let policy = meta();
    let noise = "a=candidate:1 1 tcp 1 192.0.2.1 9 typ host\r\na=candidate:1 2 udp 1 192.0.2.1 9 typ host\r\n\
                 a=candidate:1 1 udp 1 x.local 9 typ host\r\na=candidate:1 1 udp 1 0.0.0.0 9 typ host\r\n\
                 a=candidate:\r\na=candidate:1 1 UDP 7 192.0.2.9 0 typ host\r\n";
    let many: String = (0..64).map(|n| format!("a=candidate:1 1 udp 1 192.0.2.{n} 9 typ host\r\n")).collect();
    let text = format!("{META_OFFER_DTLS}{noise}{many}");
    let ice = answer(&parse(&text), &policy, &local(&policy)).unwrap().1.ice.unwrap();
    assert_eq!(ice.candidates.len(), 16);
    assert!(ice.candidates[1].address.to_string().starts_with("192.0.2.0:"));

    let long = META_OFFER_DTLS.replace("8vEjrVQmdtLk0uTFFuyuQA==", &"x".repeat(257));
    assert_eq!(answer(&parse(&long), &policy, &local(&policy)).unwrap().1.ice, None);
}

#[test]
fn the_password_reaches_no_log() {
    let policy = meta();
    let us = local(&policy);
    let (_, agreed) = answer(&parse(META_OFFER_DTLS), &policy, &us).unwrap();
    let seen = format!("{us:?} {agreed:?} {:?}", offer(&policy, &us));
    assert!(!seen.contains("8vEjrVQm") && !seen.contains(us.ice.pwd.reveal()), "{seen}");
}
