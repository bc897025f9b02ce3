//! Ours against `rtc-srtp`, an implementation of other hands: each opens what the other sealed, and both seal the
//! same bytes.

mod support;

use proptest::prelude::*;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use setu_srtp::rtp::Header;
use setu_srtp::{SrtpError, Suite};
use support::{SSRC, keying, protect_rtcp, protect_rtp, receiver, report, sender, voice};

#[expect(clippy::unwrap_used, reason = "a panic is a failed test")]
fn theirs(suite: Suite) -> Context {
    let profile = match suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let (key, salt) = keying(suite);
    let provider = rtc_srtp::crypto::default_provider().unwrap();
    Context::new(&key, &salt, profile, None, None, provider.crypto()).unwrap()
}

#[test]
fn packets_of_every_size_are_sealed_alike_and_opened_by_both() {
    for suite in Suite::ALL {
        let (mut ours, mut our_receiver) = (sender(suite), receiver(suite));
        let (mut theirs_out, mut theirs_in) = (theirs(suite), theirs(suite));
        for payload in 0..400_u16 {
            let plain = voice(SSRC, payload, usize::from(payload));
            let mut sealed = protect_rtp(&mut ours, &plain);
            assert_eq!(sealed, theirs_out.encrypt_rtp(&plain).unwrap()[..], "{suite} {payload}");
            assert_eq!(theirs_in.decrypt_rtp(&sealed).unwrap()[..], plain, "{suite} {payload}");
            let len = our_receiver.unprotect_rtp(&mut sealed).unwrap();
            assert_eq!(sealed[..len], plain, "{suite} {payload}");
        }
    }
}

#[test]
fn reports_are_sealed_alike_and_opened_by_both() {
    for suite in Suite::ALL {
        let (mut ours, mut our_receiver) = (sender(suite), receiver(suite));
        let (mut theirs_out, mut theirs_in) = (theirs(suite), theirs(suite));
        for round in 0..300 {
            let plain = report(SSRC + round % 3);
            let mut sealed = protect_rtcp(&mut ours, &plain);
            assert_eq!(sealed, theirs_out.encrypt_rtcp(&plain).unwrap()[..], "{suite} {round}");
            assert_eq!(theirs_in.decrypt_rtcp(&sealed).unwrap()[..], plain, "{suite} {round}");
            let len = our_receiver.unprotect_rtcp(&mut sealed).unwrap();
            assert_eq!(sealed[..len], plain, "{suite} {round}");
        }
    }
}

#[test]
fn the_roll_over_counter_is_carried_alike_through_three_wraps() {
    for suite in Suite::ALL {
        let (mut ours, mut our_receiver) = (sender(suite), receiver(suite));
        let (mut theirs_out, mut theirs_in) = (theirs(suite), theirs(suite));
        for step in 0..800_u32 {
            // Strides below half a period, so that the counter is never in doubt.
            let sequence = (65_000 + step * 257) as u16;
            let plain = voice(SSRC, sequence, 40);
            let sealed = protect_rtp(&mut ours, &plain);
            let theirs_sealed = theirs_out.encrypt_rtp(&plain).unwrap();
            assert_eq!(sealed, theirs_sealed[..], "{suite} {step}");
            assert_eq!(theirs_in.decrypt_rtp(&sealed).unwrap()[..], plain, "{suite} {step}");
            let mut theirs_sealed = theirs_sealed.to_vec();
            let len = our_receiver.unprotect_rtp(&mut theirs_sealed).unwrap();
            assert_eq!(theirs_sealed[..len], plain, "{suite} {step}");
        }
        let wraps = our_receiver.snapshot()[0].rtp >> 16;
        assert_eq!(wraps, 4, "{suite}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What `rtc-srtp` seals arrives in any order, twice, with gaps: each packet is let in once.
    #[test]
    fn disorder_within_the_window_loses_nothing(
        first in any::<u16>().prop_filter("the first packet decides the period", |s| *s < 65_000),
        jumps in proptest::collection::vec((0_u16..60, 0_u16..60), 1..60),
        suite in prop::sample::select(&Suite::ALL[..]),
    ) {
        let mut theirs_out = theirs(suite);
        let mut ours = receiver(suite);
        let mut sequence = first.max(200);
        let mut sent: Vec<Vec<u8>> = Vec::new();
        let mut order: Vec<(u32, usize)> = Vec::new();
        for (at, (gap, delay)) in (0_u32..).zip(&jumps) {
            sequence = sequence.wrapping_add(1 + gap % 2);
            sent.push(theirs_out.encrypt_rtp(&voice(SSRC, sequence, 20)).unwrap().to_vec());
            // A packet is at most 60 places, that is 120 numbers, late.
            order.push((at + u32::from(*delay), sent.len() - 1));
        }
        order.sort_unstable();
        for (_, at) in order {
            let plain = ours.unprotect_rtp(&mut sent[at].clone());
            prop_assert_eq!(plain, Ok(32));
            let again = ours.unprotect_rtp(&mut sent[at].clone());
            prop_assert_eq!(again, Err(SrtpError::Replayed));
        }
    }

    /// Contributing sources and extensions are authenticated, not encrypted.
    #[test]
    fn headers_of_every_shape_are_sealed_alike(
        sources in proptest::collection::vec(any::<u32>(), 0..16),
        extension in proptest::option::of(proptest::collection::vec(any::<u32>(), 0..8)),
        payload in proptest::collection::vec(any::<u8>(), 1..200),
        suite in prop::sample::select(&Suite::ALL[..]),
    ) {
        let mut plain = Header::new(111, 7, 9, SSRC).with_marker(true).to_bytes().to_vec();
        plain[0] |= sources.len() as u8;
        plain.extend(sources.iter().flat_map(|source| source.to_be_bytes()));
        if let Some(words) = &extension {
            plain[0] |= 0x10;
            // An opaque profile: rtc-srtp writes those of RFC 8285 anew.
            plain.extend([0x12, 0x34, 0, words.len() as u8]);
            plain.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        }
        plain.extend(&payload);
        let mut sealed = protect_rtp(&mut sender(suite), &plain);
        prop_assert_eq!(&sealed[..], &theirs(suite).encrypt_rtp(&plain).unwrap()[..]);
        let len = receiver(suite).unprotect_rtp(&mut sealed).unwrap();
        prop_assert_eq!(&sealed[..len], &plain[..]);
    }
}
