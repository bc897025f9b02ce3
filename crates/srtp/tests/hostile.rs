//! What strangers and broken peers send: rows 2, 3 and 5 of the security table.

mod support;

use proptest::prelude::*;
use setu_srtp::rtp::Header;
use setu_srtp::{MAX_SOURCES, SourceIndex, SrtpError, Suite, TelephoneEvent, demux, rtcp};
use support::{SSRC, protect_rtcp, protect_rtp, receiver, report, sender, voice};

/// Before authentication: whoever can reach the port. webrtc-srtp 0.17 panics on SRTCP of 4 to 13 bytes.
#[test]
fn every_short_length_is_refused_without_a_panic() {
    for suite in Suite::ALL {
        for flags in [0x00, 0x80, 0x81, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xff] {
            for fill in [0x00, 0x01, 0x80, 0xff] {
                for length in 0..=64 {
                    let mut packet = vec![fill; length];
                    if let Some(first) = packet.first_mut() {
                        *first = flags;
                    }
                    let mut receiver = receiver(suite);
                    assert!(receiver.unprotect_rtp(&mut packet.clone()).is_err());
                    assert!(receiver.unprotect_rtcp(&mut packet.clone()).is_err());
                    assert_eq!(receiver.source_count(), 0);

                    let mut sender = sender(suite);
                    for room in 0..=24 {
                        let mut buffer = packet.clone();
                        buffer.resize(length + room, 0);
                        let protected = sender.protect_rtp(&mut buffer, length);
                        assert!(protected.is_err() || room >= suite.rtp_tag_len());
                        let mut buffer = packet.clone();
                        buffer.resize(length + room, 0);
                        let protected = sender.protect_rtcp(&mut buffer, length);
                        assert!(protected.is_err() || room >= suite.rtcp_trailer_len());
                    }
                    let _ = Header::parse(&packet).map(|header| header.payload_range(&packet));
                    let _ = rtcp::Compound::parse(&packet).map(|compound| compound.packets().count());
                }
            }
        }
    }
}

#[test]
fn a_length_beyond_the_buffer_is_our_fault_not_a_panic() {
    for suite in Suite::ALL {
        let mut buffer = voice(SSRC, 1, 20);
        let len = buffer.len();
        assert_eq!(sender(suite).protect_rtp(&mut buffer, len), Err(SrtpError::NoRoom));
        assert_eq!(sender(suite).protect_rtp(&mut buffer, len + 1), Err(SrtpError::NoRoom));
        assert_eq!(sender(suite).protect_rtcp(&mut buffer, usize::MAX), Err(SrtpError::NoRoom));
        assert_eq!(buffer, voice(SSRC, 1, 20), "nothing was encrypted");
    }
}

#[test]
fn a_change_of_any_bit_is_noticed() {
    for suite in Suite::ALL {
        let rtp = protect_rtp(&mut sender(suite), &voice(SSRC, 1, 8));
        let rtcp = protect_rtcp(&mut sender(suite), &report(SSRC));
        for bit in 0..rtp.len() * 8 {
            let mut forged = rtp.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver(suite).unprotect_rtp(&mut forged).is_err(), "{suite} bit {bit}");
        }
        for bit in 0..rtcp.len() * 8 {
            let mut forged = rtcp.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver(suite).unprotect_rtcp(&mut forged).is_err(), "{suite} bit {bit}");
        }
    }
}

/// Before authentication: rtc-srtp keeps 100 bytes for each of these for ever.
#[test]
fn a_flood_of_forged_sources_leaves_no_state() {
    for suite in Suite::ALL {
        let mut receiver = receiver(suite);
        for ssrc in 0..10_000 {
            let mut forged = voice(ssrc, 1, 60);
            assert_eq!(receiver.unprotect_rtp(&mut forged), Err(SrtpError::AuthenticationFailed));
            let mut forged = report(ssrc);
            forged.extend([0x80; 20]);
            assert_eq!(receiver.unprotect_rtcp(&mut forged), Err(SrtpError::AuthenticationFailed));
        }
        assert_eq!(receiver.source_count(), 0);
    }
}

#[test]
fn forged_packets_do_not_move_index_or_window() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let mut genuine: Vec<_> =
            (0..4).map(|i| protect_rtp(&mut sender, &voice(SSRC, 40_000 + i, 20))).collect();
        receiver.unprotect_rtp(&mut genuine[0]).unwrap();
        let before = receiver.snapshot();
        for sequence in (0..=u16::MAX).step_by(7).chain(39_000..41_000) {
            let mut forged = voice(SSRC, sequence, 40);
            assert!(receiver.unprotect_rtp(&mut forged).is_err());
        }
        assert_eq!(receiver.snapshot(), before);
        for packet in &mut genuine[1..] {
            assert_eq!(receiver.unprotect_rtp(packet), Ok(32));
        }
    }
}

#[test]
fn a_replayed_report_is_refused() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let sent: Vec<_> = (0..140).map(|_| protect_rtcp(&mut sender, &report(SSRC))).collect();
        // The newest comes first; 128 are remembered, so an older one can no longer be told from a replay.
        for packet in sent[12..].iter().rev() {
            assert!(receiver.unprotect_rtcp(&mut packet.clone()).is_ok());
        }
        for packet in &sent {
            assert_eq!(receiver.unprotect_rtcp(&mut packet.clone()), Err(SrtpError::Replayed));
        }
    }
}

#[test]
fn a_report_that_claims_not_to_be_encrypted_is_refused() {
    for suite in Suite::ALL {
        let mut packet = protect_rtcp(&mut sender(suite), &report(SSRC));
        let word_at = packet.len() - if suite.rtp_tag_len() == 16 { 4 } else { 4 + 10 };
        packet[word_at] &= 0x7f;
        assert_eq!(receiver(suite).unprotect_rtcp(&mut packet), Err(SrtpError::Unencrypted));
    }
}

#[test]
fn a_source_too_many_is_refused_and_the_others_go_on() {
    for suite in Suite::ALL {
        let (mut first, mut second) = (sender(suite), sender(suite));
        let mut receiver = receiver(suite);
        for ssrc in 0..MAX_SOURCES as u32 {
            assert!(receiver.unprotect_rtp(&mut protect_rtp(&mut first, &voice(ssrc, 1, 20))).is_ok());
        }
        let mut extra = protect_rtp(&mut second, &voice(1_000, 1, 20));
        assert_eq!(receiver.unprotect_rtp(&mut extra), Err(SrtpError::TooManySources));
        assert!(receiver.unprotect_rtp(&mut protect_rtp(&mut first, &voice(3, 2, 20))).is_ok());
        let mut plain = voice(1_000, 1, 20);
        plain.resize(100, 0);
        assert_eq!(first.protect_rtp(&mut plain, 32), Err(SrtpError::TooManySources));
    }
}

#[test]
fn an_index_is_never_sent_twice() {
    for suite in Suite::ALL {
        let mut sender = sender(suite);
        for sequence in [10, 12, 11] {
            protect_rtp(&mut sender, &voice(SSRC, sequence, 20));
        }
        let mut again = voice(SSRC, 11, 20);
        again.resize(100, 0);
        assert_eq!(sender.protect_rtp(&mut again, 32), Err(SrtpError::IndexReused));
        assert_eq!(again[..32], voice(SSRC, 11, 20), "nothing was encrypted");
    }
}

#[test]
fn a_restored_sender_starts_above_its_high_water_mark() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        for step in 0..70_u32 {
            let sequence = (65_500 + step) as u16;
            let mut packet = protect_rtp(&mut sender, &voice(SSRC, sequence, 20));
            receiver.unprotect_rtp(&mut packet).unwrap();
            receiver.unprotect_rtcp(&mut protect_rtcp(&mut sender, &report(SSRC))).unwrap();
        }
        let marks: Vec<_> = sender.snapshot().into_iter().map(|mark| mark.reserved_ahead(500, 10)).collect();
        assert_eq!(marks, [SourceIndex { ssrc: SSRC, rtp: 66_070, rtcp: 81 }]);

        let mut restored = support::sender(suite);
        restored.restore(&marks);
        let mut below = voice(SSRC, marks[0].next_sequence() - 1, 20);
        below.resize(100, 0);
        assert_eq!(restored.protect_rtp(&mut below, 32), Err(SrtpError::IndexReused));

        // The peer's context lives on and takes both, and so does one restored on our side.
        let mut packet = protect_rtp(&mut restored, &voice(SSRC, marks[0].next_sequence(), 20));
        let mut other = support::receiver(suite);
        other.restore(&receiver.snapshot());
        assert_eq!(other.unprotect_rtp(&mut packet.clone()), Ok(32));
        assert_eq!(receiver.unprotect_rtp(&mut packet), Ok(32));
        let mut packet = protect_rtcp(&mut restored, &report(SSRC));
        assert!(receiver.unprotect_rtcp(&mut packet).is_ok());

        // A mark never moves back.
        restored.restore(&[SourceIndex { ssrc: SSRC, rtp: 5, rtcp: 5 }]);
        assert!(restored.snapshot()[0].rtp > 66_070);
    }
}

/// A peer that begins just below the wrap, and is heard only after it.
#[test]
fn a_stream_whose_beginning_was_lost_over_the_wrap_is_heard() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = (sender(suite), receiver(suite));
        let sent: Vec<_> = (0..40_u16)
            .map(|step| protect_rtp(&mut sender, &voice(SSRC, 65_530_u16.wrapping_add(step), 20)))
            .collect();
        let mut forged = voice(SSRC, 3, 40);
        assert_eq!(receiver.unprotect_rtp(&mut forged), Err(SrtpError::AuthenticationFailed));
        assert_eq!(receiver.source_count(), 0);
        for packet in &sent[20..] {
            assert_eq!(receiver.unprotect_rtp(&mut packet.clone()), Ok(32), "{suite}");
        }
        assert_eq!(receiver.unprotect_rtp(&mut sent[2].clone()), Ok(32), "late, from before the wrap");
        for packet in &sent[20..] {
            assert_eq!(receiver.unprotect_rtp(&mut packet.clone()), Err(SrtpError::Replayed));
        }
        assert_eq!(receiver.snapshot()[0].rtp, 65_536 + 34);
    }
}

#[test]
fn an_exhausted_key_protects_nothing_more() {
    for suite in Suite::ALL {
        let mut sender = sender(suite);
        sender.restore(&[SourceIndex { ssrc: SSRC, rtp: (1 << 48) - 1, rtcp: (1 << 31) - 1 }]);
        protect_rtp(&mut sender, &voice(SSRC, 65_535, 20));
        protect_rtcp(&mut sender, &report(SSRC));
        let mut packet = voice(SSRC, 0, 20);
        packet.resize(100, 0);
        assert_eq!(sender.protect_rtp(&mut packet, 32), Err(SrtpError::KeyExhausted));
        let mut packet = report(SSRC);
        let len = packet.len();
        packet.resize(200, 0);
        assert_eq!(sender.protect_rtcp(&mut packet, len), Err(SrtpError::KeyExhausted));
    }
}

#[test]
fn the_rtcp_tag_of_the_short_suite_has_80_bits() {
    let suite = Suite::AesCm128HmacSha1_32;
    let plain = report(SSRC);
    assert_eq!(protect_rtcp(&mut sender(suite), &plain).len(), plain.len() + 4 + 10);
    assert_eq!(protect_rtp(&mut sender(suite), &voice(SSRC, 1, 20)).len(), 32 + 4);
}

#[test]
fn suites_are_known_by_their_names_in_sdes() {
    for suite in Suite::ALL {
        assert_eq!(suite.name().parse(), Ok(suite));
        assert_eq!(suite.name().to_lowercase().parse(), Ok(suite));
        assert!(suite.split_keying(&vec![0; suite.key_len() + suite.salt_len() + 1]).is_err());
    }
    assert!("AES_256_CM_HMAC_SHA1_80".parse::<Suite>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Before authentication: anything at all, most of it shaped like a packet.
    #[test]
    fn no_bytes_make_a_parser_panic(
        first in prop::sample::select(vec![0x80_u8, 0x81, 0x90, 0xa0, 0xbf, 0x00, 0xff]),
        second in prop::sample::select(vec![111_u8, 0xef, 200, 201, 202, 203, 204, 205]),
        rest in proptest::collection::vec(any::<u8>(), 0..300),
        suite in prop::sample::select(&Suite::ALL[..]),
    ) {
        let packet = [&[first, second][..], &rest].concat();
        demux::classify(&packet);
        let _ = TelephoneEvent::parse(&packet);
        if let Ok(header) = Header::parse(&packet) {
            prop_assert!(header.len() <= packet.len());
            let _ = header.payload(&packet);
        }
        if let Ok(compound) = rtcp::Compound::parse(&packet) {
            for packet in compound.packets() {
                if let rtcp::Packet::SenderReport(_, reports) | rtcp::Packet::ReceiverReport(_, reports) = packet {
                    prop_assert!(reports.count() <= 31);
                }
            }
        }
        prop_assert!(receiver(suite).unprotect_rtp(&mut packet.clone()).is_err());
        prop_assert!(receiver(suite).unprotect_rtcp(&mut packet.clone()).is_err());
    }
}
