//! A peer of the bridge on a plain socket, with `rtc-srtp` as its protection: other hands than the bridge's.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use setu_media::{AudioFormat, Crypto, LegSetup, MediaProfile, OpusTarget};
use setu_model::{LegId, Secret, Side};
use setu_srtp::Suite;
use setu_srtp::rtcp::Writer;
use setu_srtp::rtp::Header;

use super::PATIENCE;

pub(crate) struct Peer {
    pub(crate) socket: UdpSocket,
    pub(crate) bridge: SocketAddr,
    pub(crate) ssrc: u32,
    contexts: Option<(Context, Context)>,
    /// Of the last packet, extended over wraps.
    sequence: u32,
    /// Payloads that [`hear`](Self::hear) passed over.
    pub(crate) passed_over: Vec<Vec<u8>>,
}

/// A packet as the peer understands it.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) from: SocketAddr,
}

impl Peer {
    /// A peer at `host` that talks to the bridge's address `bridge`; protected if there is a suite.
    pub(crate) fn new(host: IpAddr, bridge: SocketAddr, suite: Option<Suite>) -> Self {
        let socket = UdpSocket::bind((host, 0)).expect("a loopback address");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let contexts = suite.map(|suite| (context(suite, TO_BRIDGE), context(suite, FROM_BRIDGE)));
        Self { socket, bridge, ssrc: 0x5e7_0001, contexts, sequence: 100, passed_over: Vec::new() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// What the bridge is told of this peer: keys as in its SDES, 20 ms Opus as payload type 111.
    pub(crate) fn setup(&self, leg: LegId, side: Side, suite: Option<Suite>) -> LegSetup {
        let key = |direction| Secret::new(keying_of(suite.unwrap_or(Suite::AeadAes128Gcm), direction).into());
        let crypto = suite.map_or(Crypto::Plain, |suite| Crypto::Srtp {
            suite,
            send: key(FROM_BRIDGE),
            receive: key(TO_BRIDGE),
        });
        LegSetup {
            leg,
            side,
            remote: self.address(),
            remote_rtcp: None,
            ice: None,
            crypto,
            audio: AudioFormat::Opus { send_pt: 111, receive_pt: 111 },
            dtmf: None,
            comfort_noise: false,
            opus: OpusTarget::META,
            profile: if side == Side::Meta { MediaProfile::meta() } else { MediaProfile::trunk() },
            ssrc: 0xb41d_6e00 + u32::from(leg.index),
            sequence: 1_000,
            timestamp: 48_000,
        }
    }

    /// The next voice packet as it goes on the wire.
    pub(crate) fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let timestamp = self.sequence.wrapping_mul(960);
        let header = Header::new(111, self.sequence as u16, timestamp, self.ssrc);
        let plain = [&header.to_bytes()[..], payload].concat();
        match &mut self.contexts {
            Some((out, _)) => out.encrypt_rtp(&plain).expect("a sound packet").to_vec(),
            None => plain,
        }
    }

    /// The end of the peer's stream as it goes on the wire.
    pub(crate) fn seal_goodbye(&mut self) -> Vec<u8> {
        let mut plain = [0; 64];
        let mut writer = Writer::new(&mut plain);
        writer.receiver_report(self.ssrc, &[]).expect("room");
        writer.goodbye(self.ssrc).expect("room");
        let len = writer.finish();
        let plain = plain.get(..len).unwrap_or_default();
        match &mut self.contexts {
            Some((out, _)) => out.encrypt_rtcp(plain).expect("a sound packet").to_vec(),
            None => plain.to_vec(),
        }
    }

    pub(crate) fn say(&mut self, payload: &[u8]) {
        let packet = self.seal(payload);
        self.socket.send_to(&packet, self.bridge).expect("loopback takes it");
    }

    /// The next packet with this payload; comfort frames and reports are passed over.
    pub(crate) fn hear(&mut self, payload: &[u8]) -> Heard {
        self.listen(|heard| heard == payload)
    }

    /// The next packet whose payload is wanted; reports and others are passed over.
    pub(crate) fn listen(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Heard {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let (packet, from) = receive(&self.socket);
            if is_rtcp(&packet) {
                continue;
            }
            let plain = match &mut self.contexts {
                Some((_, into)) => into.decrypt_rtp(&packet).expect("the bridge's keys").to_vec(),
                None => packet,
            };
            let header = Header::parse(&plain).expect("a sound packet");
            let heard = header.payload(&plain).expect("a sound packet").to_vec();
            if wanted(&heard) {
                return Heard { header, payload: heard, from };
            }
            self.passed_over.push(heard);
        }
        panic!("the packet never came");
    }

    /// The next report that comes in at `socket`, in clear, and where it came from.
    pub(crate) fn report(&mut self, socket: Option<&UdpSocket>) -> (Vec<u8>, SocketAddr) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let (packet, from) = receive(socket.unwrap_or(&self.socket));
            if !is_rtcp(&packet) {
                continue;
            }
            let plain = match &mut self.contexts {
                Some((_, into)) => into.decrypt_rtcp(&packet).expect("the bridge's keys").to_vec(),
                None => packet,
            };
            return (plain, from);
        }
        panic!("the report never came");
    }
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_000];
    let (len, from) = socket.recv_from(&mut buffer).expect("a packet from the bridge");
    (buffer.get(..len).unwrap_or_default().to_vec(), from)
}

fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [_, 192..=223, ..])
}

fn context(suite: Suite, direction: u8) -> Context {
    let profile = match suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let keying = keying_of(suite, direction);
    let (key, salt) = keying.split_at(suite.key_len());
    let provider = rtc_srtp::crypto::default_provider().expect("ring is built in");
    Context::new(key, salt, profile, None, None, provider.crypto()).expect("keys of the right length")
}

fn keying_of(suite: Suite, direction: u8) -> Vec<u8> {
    (0..suite.key_len() + suite.salt_len()).map(|i| direction ^ (i as u8).wrapping_mul(37)).collect()
}

const TO_BRIDGE: u8 = 0x5a;
const FROM_BRIDGE: u8 = 0xc3;
