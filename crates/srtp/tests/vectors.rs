//! Whole packets that libsrtp ships as its reference (`srtp_validate`, `srtp_validate_gcm`). The vectors of RFC 3711
//! appendix B and RFC 7714 sections 16 and 17 stand beside the code they check.

mod support;

use setu_srtp::{Receiver, Sender, Suite};
use support::{hex, protect_rtcp, protect_rtp};

const RTP: &str = "800f1234 decafbad cafebabe abababab abababab abababab abababab";
const RTCP: &str = "81c8000b cafebabe abababab abababab abababab abababab";

#[expect(clippy::unwrap_used, reason = "a panic is a failed test")]
fn agrees(suite: Suite, keying: &str, rtp: &str, rtcp: &str) {
    let mut sender = Sender::from_keying(suite, &hex(keying)).unwrap();
    let mut protected = protect_rtp(&mut sender, &hex(RTP));
    assert_eq!(protected, hex(rtp));
    let mut protected_rtcp = protect_rtcp(&mut sender, &hex(RTCP));
    assert_eq!(protected_rtcp, hex(rtcp));

    let mut receiver = Receiver::from_keying(suite, &hex(keying)).unwrap();
    let len = receiver.unprotect_rtp(&mut protected).unwrap();
    assert_eq!(protected[..len], hex(RTP));
    let len = receiver.unprotect_rtcp(&mut protected_rtcp).unwrap();
    assert_eq!(protected_rtcp[..len], hex(RTCP));
}

#[test]
fn counter_mode_packets_are_those_of_libsrtp() {
    agrees(
        Suite::AesCm128HmacSha1_80,
        "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
        "800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc 99ea179b 8dbb",
        "81c8000b cafebabe 7128035b e487b9bd bef89041 f977a5a8 80000001 993e08cd 54d6c123 0798",
    );
}

#[test]
fn galois_packets_are_those_of_libsrtp() {
    agrees(
        Suite::AeadAes128Gcm,
        "000102030405060708090a0b0c0d0e0f a0a1a2a3a4a5a6a7a8a9aaab",
        "800f1234 decafbad cafebabe c5002ede 04cfdd2e b91159e0 880aa06e d2976826 f796b201 df3131a1 27e8a392",
        "81c8000b cafebabe c98b8b5d f0392a55 852b6c21 ac8e7025 c52c6fbe a2b3b446 ea31123b a88ce61e 80000001",
    );
}

#[test]
fn dtls_profiles_have_the_numbers_of_the_registry() {
    assert_eq!(Suite::ALL.map(Suite::dtls_profile), [8, 7, 1, 2]);
}

/// RFC 5764 section 4.2: both keys stand before both salts, the client's first.
#[test]
fn exported_keys_are_the_clients_then_the_servers() {
    for suite in Suite::ALL {
        let (key, salt) = (suite.key_len(), suite.salt_len());
        let parts = [(1, key), (2, key), (3, salt), (4, salt)];
        let exported: Vec<u8> = parts.iter().flat_map(|(fill, len)| vec![*fill; *len]).collect();
        let keying = suite.split_exported(&exported).unwrap();
        assert_eq!(*keying.client, [vec![1; key], vec![3; salt]].concat());
        assert_eq!(*keying.server, [vec![2; key], vec![4; salt]].concat());
        assert!(suite.split_exported(&exported[1..]).is_err());
        assert!(suite.split_exported(&[&exported[..], &[0]].concat()).is_err());
    }
}
