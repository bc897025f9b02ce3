//! Fixtures and small helpers of the tests.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::IpAddr;

use setu_model::SeededEntropy;
use setu_sdp::{Description, Local, Policy};

pub(crate) const META_OFFER: &str = include_str!("../fixtures/meta-offer-sdes.sdp");
pub(crate) const META_OFFER_SAVPF: &str = include_str!("../fixtures/meta-offer-savpf.sdp");
pub(crate) const META_OFFER_DTLS: &str = include_str!("../fixtures/meta-offer-dtls.sdp");
pub(crate) const META_OFFER_G711: &str = include_str!("../fixtures/meta-offer-g711.sdp");
pub(crate) const META_ANSWER: &str = include_str!("../fixtures/meta-answer.sdp");
pub(crate) const ASTERISK_OFFER: &str = include_str!("../fixtures/asterisk-offer.sdp");
pub(crate) const ASTERISK_ANSWER_PCMU: &str = include_str!("../fixtures/asterisk-answer-pcmu.sdp");
pub(crate) const FREESWITCH_ANSWER: &str = include_str!("../fixtures/freeswitch-answer.sdp");
pub(crate) const BARESIP_OFFER: &str = include_str!("../fixtures/baresip-offer.sdp");
pub(crate) const LINPHONE_OFFER: &str = include_str!("../fixtures/linphone-offer.sdp");
pub(crate) const BROWSER_OFFER: &str = include_str!("../fixtures/browser-offer.sdp");
pub(crate) const TWO_AUDIO_OFFER: &str = include_str!("../fixtures/two-audio-offer.sdp");
pub(crate) const BARE_OFFER: &str = include_str!("../fixtures/bare-offer.sdp");
pub(crate) const AVP_WITH_CRYPTO_OFFER: &str = include_str!("../fixtures/avp-with-crypto-offer.sdp");

pub(crate) const ALL: [&str; 14] = [
    META_OFFER,
    META_OFFER_SAVPF,
    META_OFFER_DTLS,
    META_OFFER_G711,
    META_ANSWER,
    ASTERISK_OFFER,
    ASTERISK_ANSWER_PCMU,
    FREESWITCH_ANSWER,
    BARESIP_OFFER,
    LINPHONE_OFFER,
    BROWSER_OFFER,
    TWO_AUDIO_OFFER,
    BARE_OFFER,
    AVP_WITH_CRYPTO_OFFER,
];

pub(crate) fn parse(text: &str) -> Description {
    Description::parse(text.as_bytes()).expect("a readable fixture")
}

pub(crate) fn local(policy: &Policy) -> Local {
    let address: IpAddr = [198, 51, 100, 7].into();
    Local::new(address, 20_000, policy, &mut SeededEntropy::new(1))
}

/// The key the fixtures' `inline:` values hold: bytes counting up from `first`.
pub(crate) fn key(first: u8, length: usize) -> Vec<u8> {
    (first..).take(length).collect()
}
