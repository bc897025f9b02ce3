//! One relay hop in memory, for benches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use setu_model::limits::MEDIA_DATAGRAM_BYTES;
use setu_model::{CallId, LegId, Now, Secret, Side, TapFrame, Wall};
use setu_srtp::rtp::Header;
use setu_srtp::{Sender, SrtpError, Suite};

use crate::{
    Arrival, AudioFormat, Channel, Clip, Command, Crypto, Dtmf, Event, HandshakeInput, Job, LegSetup,
    MediaProfile, OpusTarget, Play, Relay, Sink,
};

/// An answered call between two encrypted legs, and the agent who speaks in it: [`packet`](Self::packet) makes a
/// packet as it comes from the network, [`pass`](Self::pass) is the hop to measure. Keys and peers are made up.
pub struct RelayHop {
    relay: Relay,
    agent: Sender,
    sent: Sent,
    now: Instant,
    sequence: u16,
    timestamp: u32,
}

/// A datagram in a buffer with [`Relay::ROOM`].
pub struct Datagram {
    buffer: [u8; MEDIA_DATAGRAM_BYTES],
    len: usize,
}

/// What the relay sent: enough to keep it from being optimised away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams.
    pub datagrams: u64,
    /// Their bytes in all.
    pub bytes: u64,
    /// Events.
    pub events: u64,
}

impl RelayHop {
    /// Sets the call up at `now`, with `suite` on both legs.
    ///
    /// # Errors
    ///
    /// Never, for the suites there are.
    pub fn new(suite: Suite, now: Instant) -> Result<Self, SrtpError> {
        let call = CallId::from_bits(1);
        let mut relay = Relay::new(call, Now { mono: now, wall: Wall::from_unix_ms(0) });
        let mut sent = Sent::default();
        let [meta, agent] = [0, 1].map(|index| LegId { call, index });
        for (leg, side, profile) in
            [(meta, Side::Meta, MediaProfile::meta()), (agent, Side::Agents, MediaProfile::softphone())]
        {
            relay.command(Command::Open { leg, side }, now, &mut sent);
            let setup = setup(leg, side, profile, suite);
            relay.command(Command::Configure(Box::new(setup)), now, &mut sent);
            relay.command(Command::Start { leg }, now, &mut sent);
        }
        relay.command(Command::Bridge { one: meta, other: agent }, now, &mut sent);
        let agent = Sender::from_keying(suite, &keying(suite, agent.index, RECEIVE))?;
        Ok(Self { relay, agent, sent, now, sequence: FIRST, timestamp: 0 })
    }

    /// Makes the agent's next packet of 20 ms, 50 bytes of Opus.
    ///
    /// # Errors
    ///
    /// Never within 2^48 packets.
    pub fn packet(&mut self) -> Result<Datagram, SrtpError> {
        let mut buffer = [0; MEDIA_DATAGRAM_BYTES];
        let header = Header::new(PAYLOAD_TYPE, self.sequence, self.timestamp, 7);
        let len = header.write(&VOICE, &mut buffer).map_err(|_| SrtpError::NoRoom)?;
        let len = self.agent.protect_rtp(&mut buffer, len)?;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(960);
        Ok(Datagram { buffer, len })
    }

    /// Passes a packet of the agent through the relay to Meta: check, decrypt, rewrite, encrypt. Packets are to be
    /// passed in the order they were made. Returns what was sent so far.
    pub fn pass(&mut self, datagram: &mut Datagram) -> Sent {
        self.now += Duration::from_millis(20);
        let leg = LegId { call: CallId::from_bits(1), index: 1 };
        let arrival = Arrival { leg, channel: Channel::Rtp, from: PEER };
        self.relay.handle_packet(arrival, &mut datagram.buffer, datagram.len, self.now, &mut self.sent);
        self.sent
    }
}

impl RelayHop {
    /// Lets Meta hear a sound while the agent says nothing, and the agent a key.
    pub fn play(&mut self, clip: Arc<Clip>) {
        let leg = LegId { call: CallId::from_bits(1), index: 0 };
        for command in [
            Command::Play { leg, clip, how: Play::Behind },
            Command::Press { leg, digit: '1', duration_ms: 100 },
        ] {
            self.relay.command(command, self.now, &mut self.sent);
        }
    }

    /// Lets time pass without a packet of the agent. Returns what was sent so far.
    pub fn idle(&mut self, passes: Duration) -> Sent {
        let until = self.now + passes;
        while let Some(at) = self.relay.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.relay.handle_timeout(self.now, &mut self.sent);
        }
        self.now = until;
        self.sent
    }
}

impl Sink for Sent {
    fn transmit(&mut self, _: LegId, _: Channel, _: SocketAddr, datagram: &[u8]) {
        self.datagrams += 1;
        self.bytes += datagram.len() as u64;
    }

    fn code(&mut self, _: Job<'_>) {}

    fn tap(&mut self, _: TapFrame) {}

    fn handshake(&mut self, _: LegId, _: HandshakeInput) {}

    fn event(&mut self, _: Event) {
        self.events += 1;
    }
}

fn setup(leg: LegId, side: Side, profile: MediaProfile, suite: Suite) -> LegSetup {
    let crypto = Crypto::Srtp {
        suite,
        send: Secret::new(keying(suite, leg.index, SEND)),
        receive: Secret::new(keying(suite, leg.index, RECEIVE)),
    };
    LegSetup {
        leg,
        side,
        remote: PEER,
        remote_rtcp: None,
        ice: None,
        crypto,
        audio: AudioFormat::Opus { send_pt: PAYLOAD_TYPE, receive_pt: PAYLOAD_TYPE },
        dtmf: Some(Dtmf { send_pt: 126, receive_pt: 126, clock: 8_000 }),
        comfort_noise: false,
        opus: OpusTarget::META,
        profile,
        ssrc: u32::from(leg.index),
        sequence: 0,
        timestamp: 0,
    }
}

fn keying(suite: Suite, leg: u8, way: u8) -> Box<[u8]> {
    (0..suite.key_len() + suite.salt_len()).map(|at| (at & 0x3f) as u8 | leg << 6 | way << 7).collect()
}

/// Near the end of a period, so that a roll-over is part of every run.
const FIRST: u16 = 65_000;
const SEND: u8 = 0;
const RECEIVE: u8 = 1;
const PAYLOAD_TYPE: u8 = 111;
const VOICE: [u8; 50] = [0x78; 50];
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn every_packet_of_the_hop_is_sent_on() {
        for suite in Suite::ALL {
            let mut hop = RelayHop::new(suite, Instant::now()).unwrap();
            let before = hop.sent.datagrams;
            for passed in 1..=2_000 {
                let mut packet = hop.packet().unwrap();
                assert_eq!(hop.pass(&mut packet).datagrams - before, passed);
            }
        }
    }
}
