//! Commands and packets in any order into the media of one call.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use setu_media::{
    Arrival, AudioFormat, Channel, Command, Crypto, Direction, Dtmf, Event, HandshakeInput, Job, LegSetup,
    MediaProfile, OpusTarget, Relay, Sink,
};
use setu_model::{CallId, LegId, Now, Secret, Side, TapFrame, Wall};
use setu_srtp::rtp::Header;
use setu_srtp::{Sender, Suite};

/// The bytes are read as operations: open, set up, start, bridge, press, tap, close, let time pass, and packets that
/// are authentic, forged or garbage. No SRTP index is used twice under one key, a leg keeps its SSRC, a datagram fits
/// a packet, a timer that fired is over, and a call that is closed says nothing more.
pub fn relay(data: &[u8]) {
    let start = Instant::now();
    let mut run = Run {
        input: Input(data),
        relay: Relay::new(CALL, Now { mono: start, wall: Wall::from_unix_ms(1_700_000_000_000) }),
        now: start,
        peers: BTreeMap::new(),
        keys: 0,
        watch: Watch::default(),
    };
    for index in 0..2 {
        run.open(index);
    }
    while !run.input.0.is_empty() {
        run.step();
    }
    run.command(Command::Close { call: CALL });
    assert!(run.watch.closed, "a call was not closed");
    run.pass_time(60_000);
}

const CALL: CallId = CallId::from_bits(1);

/// Timers that may be due at one moment: a few for each leg, each for every packet the leg is behind.
const MOST_TIMERS: u32 = 1_000;

/// Bytes that become choices; past the end all choices are the first.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn below(&mut self, most: u8) -> u8 {
        self.byte() % most
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }
}

struct Run<'a> {
    input: Input<'a>,
    relay: Relay,
    now: Instant,
    /// The other end of each leg.
    peers: BTreeMap<u8, Peer>,
    keys: u16,
    watch: Watch,
}

/// What a peer sends with.
struct Peer {
    sender: Option<Sender>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

impl Run<'_> {
    fn step(&mut self) {
        let index = self.input.below(3);
        let leg = LegId { call: CALL, index };
        match self.input.below(16) {
            0 => self.open(index),
            1 => self.configure(leg),
            2 => self.command(Command::Start { leg }),
            3 => {
                let other = LegId { call: CALL, index: self.input.below(3) };
                self.command(Command::Bridge { one: leg, other });
            }
            4 => self.command(Command::Unbridge { leg }),
            5 => {
                let all =
                    [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
                let direction = all[usize::from(self.input.below(4))];
                self.command(Command::Direct { leg, direction });
            }
            6 => {
                let digit = char::from(self.input.byte());
                let duration_ms = u32::from(self.input.word());
                self.command(Command::Press { leg, digit, duration_ms });
            }
            7 => {
                let on = self.input.below(2) == 0;
                self.command(Command::Tap { call: CALL, on });
            }
            8 => self.command(Command::CloseLeg { leg }),
            9 => {
                let ms = self.input.word() % 2_000;
                self.pass_time(u64::from(ms));
            }
            10 => {
                let len = usize::from(self.input.byte());
                let garbage = self.input.bytes(len);
                self.packet(leg, &garbage);
            }
            _ => self.speak(leg),
        }
    }

    fn open(&mut self, index: u8) {
        let side = if index == 0 { Side::Meta } else { Side::Agents };
        self.command(Command::Open { leg: LegId { call: CALL, index }, side });
        self.configure(LegId { call: CALL, index });
    }

    fn configure(&mut self, leg: LegId) {
        let pt = 96 + self.input.below(30);
        let suite = [
            None,
            Some(Suite::AesCm128HmacSha1_80),
            Some(Suite::AesCm128HmacSha1_32),
            Some(Suite::AeadAes128Gcm),
        ][usize::from(self.input.below(4))];
        let suite = suite.or((leg.index == 0).then_some(Suite::AesCm128HmacSha1_80));
        // A key is never agreed twice.
        self.keys = self.keys.wrapping_add(2);
        let crypto = suite.map_or(Crypto::Plain, |suite| Crypto::Srtp {
            suite,
            send: Secret::new(keying(suite, self.keys)),
            receive: Secret::new(keying(suite, self.keys.wrapping_add(1))),
        });
        let audio = match self.input.below(4) {
            1 if leg.index > 0 => AudioFormat::Pcmu { send_pt: 0, receive_pt: 0 },
            2 if leg.index > 0 => AudioFormat::Pcma { send_pt: 8, receive_pt: 8 },
            _ => AudioFormat::Opus { send_pt: pt, receive_pt: pt },
        };
        let clock = if self.input.below(2) == 0 { 8_000 } else { 48_000 };
        let setup = LegSetup {
            leg,
            side: if leg.index == 0 { Side::Meta } else { Side::Agents },
            remote: PEER,
            remote_rtcp: (self.input.below(2) == 1).then_some(PEER),
            ice: None,
            crypto,
            comfort_noise: false,
            opus: OpusTarget::META,
            audio,
            dtmf: Some(Dtmf { send_pt: 126, receive_pt: 126, clock }),
            profile: match leg.index {
                0 => MediaProfile::meta(),
                1 => MediaProfile::softphone(),
                _ => MediaProfile::trunk(),
            },
            ssrc: u32::from(leg.index) + 7,
            sequence: self.input.word() & 0x7fff,
            timestamp: u32::from(self.input.word()) << 16,
        };
        let sender = suite
            .and_then(|suite| Sender::from_keying(suite, &keying(suite, self.keys.wrapping_add(1))).ok());
        if let Some(suite) = suite {
            self.watch.keys.insert(leg.index, (suite, self.keys));
        } else {
            self.watch.keys.remove(&leg.index);
        }
        self.peers.insert(leg.index, Peer { sender, ssrc: 1, sequence: self.keys, timestamp: 0 });
        self.command(Command::Configure(Box::new(setup)));
    }

    /// An authentic packet of the leg's peer, usually the next of its stream.
    fn speak(&mut self, leg: LegId) {
        let shape = self.input.below(8);
        let pt = if shape == 1 { 126 } else { [0, 8, 96 + self.input.below(30)][usize::from(shape % 3)] };
        let len = usize::from(self.input.byte());
        let payload = self.input.bytes(len.min(4)).into_iter().cycle().take(len).collect::<Vec<_>>();
        let jump = if shape == 2 { self.input.word() } else { 1 };
        let Some(peer) = self.peers.get_mut(&leg.index) else { return };
        if shape == 3 {
            peer.ssrc += 1;
        }
        peer.sequence = peer.sequence.wrapping_add(jump);
        peer.timestamp = peer.timestamp.wrapping_add(if shape == 4 { u32::from(jump) << 12 } else { 960 });
        let header = Header::new(pt, peer.sequence, peer.timestamp, peer.ssrc);
        let mut buffer = vec![0; 512];
        let Ok(mut len) = header.write(&payload, &mut buffer) else { return };
        if let Some(sender) = &mut peer.sender {
            let Ok(protected) = sender.protect_rtp(&mut buffer, len) else { return };
            len = protected;
        }
        buffer.truncate(len);
        self.packet(leg, &buffer);
    }

    fn packet(&mut self, leg: LegId, bytes: &[u8]) {
        let channel = if self.input.below(8) == 0 { Channel::Rtcp } else { Channel::Rtp };
        let arrival = Arrival { leg, channel, from: PEER };
        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len() + Relay::ROOM, 0);
        self.relay.handle_packet(arrival, &mut buffer, bytes.len(), self.now, &mut self.watch);
    }

    fn command(&mut self, command: Command) {
        self.relay.command(command, self.now, &mut self.watch);
    }

    fn pass_time(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut fired = 0;
        while let Some(at) = self.relay.poll_timeout().filter(|at| *at <= end) {
            fired = if at > self.now { 0 } else { fired + 1 };
            assert!(fired < MOST_TIMERS, "a timer fires for ever");
            self.now = self.now.max(at);
            self.relay.handle_timeout(self.now, &mut self.watch);
        }
        self.now = end;
    }
}

/// Watches what leaves the relay.
#[derive(Default)]
struct Watch {
    /// The suite and number of the key each leg sends under; none in the clear.
    keys: BTreeMap<u8, (Suite, u16)>,
    sent: BTreeMap<(u8, u16), Stream>,
    closed: bool,
}

#[derive(Default)]
struct Stream {
    newest: i64,
    used: BTreeSet<i64>,
}

impl Sink for Watch {
    fn transmit(&mut self, leg: LegId, _: Channel, _: SocketAddr, datagram: &[u8]) {
        assert!(!self.closed, "a closed call sends");
        assert!(datagram.len() <= setu_model::limits::MEDIA_DATAGRAM_BYTES, "{} bytes", datagram.len());
        let word =
            |at: usize| datagram.get(at..at + 2).and_then(|b| Some(u16::from_be_bytes(b.try_into().ok()?)));
        let kind = datagram.get(1).copied().unwrap_or_default();
        if (192..=223).contains(&kind) {
            return;
        }
        assert_eq!(word(10), Some(u16::from(leg.index) + 7), "another SSRC");
        let Some((_, key)) = self.keys.get(&leg.index) else { return };
        let stream = self.sent.entry((leg.index, *key)).or_default();
        let number = i64::from(word(2).unwrap_or_default());
        let index = if stream.used.is_empty() {
            number
        } else {
            stream.newest + i64::from((number - stream.newest) as i16)
        };
        stream.newest = stream.newest.max(index);
        assert!(stream.used.insert(index), "index {index} of leg {} used twice", leg.index);
    }

    fn tap(&mut self, _: TapFrame) {}

    fn code(&mut self, _: Job<'_>) {}

    fn handshake(&mut self, _: LegId, _: HandshakeInput) {}

    fn event(&mut self, event: Event) {
        self.closed |= matches!(event, Event::Closed { .. });
    }
}

fn keying(suite: Suite, number: u16) -> Box<[u8]> {
    number.to_be_bytes().into_iter().cycle().take(suite.key_len() + suite.salt_len()).collect()
}

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4_000);
