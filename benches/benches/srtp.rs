//! SRTP at 172 bytes, a G.711 packet of 20 ms, beside `rtc-srtp` in the same run; and beside libsrtp where
//! `SETU_LIBSRTP` names its shared object.
//!
//! A packet can be sealed and opened only once, so each sample makes its packets anew, outside of the clock.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark's entry points, which may stop at the first surprise"
)]

#[path = "srtp/libsrtp.rs"]
mod libsrtp;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use libsrtp::Way;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use setu_srtp::rtp::Header;
use setu_srtp::{Receiver, Sender, Suite};

/// Header and payload.
const PACKET: usize = 172;

fn srtp(c: &mut Criterion) {
    let library = libsrtp::Library::from_environment();
    for (suite, profile) in [
        (Suite::AesCm128HmacSha1_80, ProtectionProfile::Aes128CmHmacSha1_80),
        (Suite::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
        (Suite::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
    ] {
        let (key, salt) = (vec![7; suite.key_len()], vec![9; suite.salt_len()]);
        let theirs = || {
            let provider = rtc_srtp::crypto::default_provider().unwrap();
            Context::new(&key, &salt, profile, None, None, provider.crypto()).unwrap()
        };
        let mut group = c.benchmark_group(format!("srtp/{suite}"));
        group.throughput(Throughput::Elements(1));

        let (mut sender, mut plain) = (Sender::new(suite, &key, &salt).unwrap(), Packets::default());
        group.bench_function("protect", |b| {
            b.iter_batched_ref(
                || plain.next_padded(),
                |packet| sender.protect_rtp(packet, PACKET).unwrap(),
                BatchSize::SmallInput,
            );
        });
        let (mut sender, mut plain) = (theirs(), Packets::default());
        group.bench_function("protect_rtc_srtp", |b| {
            b.iter_batched_ref(
                || plain.next_padded(),
                |packet| sender.encrypt_rtp(packet.get(..PACKET).unwrap()).unwrap(),
                BatchSize::SmallInput,
            );
        });

        let mut sealed = Sealed::new(Sender::new(suite, &key, &salt).unwrap());
        let mut receiver = Receiver::new(suite, &key, &salt).unwrap();
        group.bench_function("unprotect", |b| {
            b.iter_batched_ref(
                || sealed.next(),
                |packet| receiver.unprotect_rtp(packet).unwrap(),
                BatchSize::SmallInput,
            );
        });
        let mut sealed = Sealed::new(Sender::new(suite, &key, &salt).unwrap());
        let mut receiver = theirs();
        group.bench_function("unprotect_rtc_srtp", |b| {
            b.iter_batched_ref(
                || sealed.next(),
                |packet| receiver.decrypt_rtp(packet).unwrap(),
                BatchSize::SmallInput,
            );
        });
        if let Some(library) = &library {
            let (mut sender, mut plain) = (library.session(suite, &key, &salt, Way::Out), Packets::default());
            group.bench_function("protect_libsrtp", |b| {
                b.iter_batched_ref(
                    || plain.next_padded(),
                    |packet| sender.protect(packet, PACKET),
                    BatchSize::SmallInput,
                );
            });
            let mut sealed = Sealed::new(Sender::new(suite, &key, &salt).unwrap());
            let mut receiver = library.session(suite, &key, &salt, Way::In);
            group.bench_function("unprotect_libsrtp", |b| {
                b.iter_batched_ref(
                    || sealed.next(),
                    |packet| receiver.unprotect(packet),
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

/// Plain packets in sequence.
#[derive(Default)]
struct Packets(u16);

impl Packets {
    /// The next one, with room for a tag behind it.
    fn next_padded(&mut self) -> Vec<u8> {
        self.0 = self.0.wrapping_add(1);
        let mut packet = vec![0; PACKET + 16];
        Header::new(0, self.0, u32::from(self.0) * 160, 0xcafe_babe)
            .write(&[0x55; PACKET - 12], &mut packet)
            .unwrap();
        packet
    }
}

/// Protected packets in sequence.
struct Sealed {
    sender: Sender,
    plain: Packets,
}

impl Sealed {
    fn new(sender: Sender) -> Self {
        Self { sender, plain: Packets::default() }
    }

    fn next(&mut self) -> Vec<u8> {
        let mut packet = self.plain.next_padded();
        let len = self.sender.protect_rtp(&mut packet, PACKET).unwrap();
        packet.truncate(len);
        packet
    }
}

criterion_group!(benches, srtp);
criterion_main!(benches);
