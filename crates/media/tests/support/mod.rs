//! A call in virtual time: the relay, a Meta peer and an agent, whose encryption is of other hands (`rtc-srtp`).
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a panic is a failed test, which owns its clock"
)]

pub(crate) mod coder;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use setu_media::{
    Arrival, AudioFormat, Channel, Coders, Command, Crypto, Dtmf, Event, HandshakeInput, HandshakeOutput,
    Job, LegSetup, MediaProfile, OpusTarget, Packet, Relay, Sink, SrtpKeys, Way,
};
use setu_model::{CallId, LegId, MediaQuality, Now, Secret, Side, TapChannel, TapFrame, Wall};
use setu_srtp::Suite;

pub(crate) const CALL: CallId = CallId::from_bits(7);
pub(crate) const META: LegId = LegId { call: CALL, index: 0 };
pub(crate) const AGENT: LegId = LegId { call: CALL, index: 1 };

pub(crate) const OPUS_META: AudioFormat = AudioFormat::Opus { send_pt: 111, receive_pt: 111 };
pub(crate) const OPUS_AGENT: AudioFormat = AudioFormat::Opus { send_pt: 96, receive_pt: 107 };
pub(crate) const PCMU: AudioFormat = AudioFormat::Pcmu { send_pt: 0, receive_pt: 0 };
pub(crate) const PCMA: AudioFormat = AudioFormat::Pcma { send_pt: 8, receive_pt: 8 };
pub(crate) const G722: AudioFormat = AudioFormat::G722 { send_pt: 9, receive_pt: 9 };
pub(crate) const DTMF_META: Dtmf = Dtmf { send_pt: 126, receive_pt: 126, clock: 8_000 };
pub(crate) const DTMF_48: Dtmf = Dtmf { send_pt: 110, receive_pt: 101, clock: 48_000 };

/// A packet as a peer got it, decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) at_ms: u64,
    pub(crate) to: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) pt: u8,
    pub(crate) marker: bool,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Peer {
    pub(crate) leg: LegId,
    pub(crate) at: SocketAddr,
    pub(crate) setup: LegSetup,
    seal: Option<Context>,
    open: Option<Context>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) reports: Vec<(u64, Vec<u8>)>,
    pub(crate) report_targets: Vec<(Channel, SocketAddr)>,
    pub(crate) ssrc: u32,
}

pub(crate) struct Call {
    pub(crate) relay: Relay,
    /// Run here, between the packets, as if a worker had all the time in the world.
    pub(crate) coders: Coders,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) meta: Peer,
    pub(crate) agent: Peer,
    pub(crate) events: Vec<Event>,
    /// What legs looked like, apart from the other events: it comes whatever happens.
    pub(crate) qualities: Vec<Event>,
    pub(crate) taps: Vec<TapFrame>,
}

#[derive(Default)]
struct Outbox {
    sent: Vec<(LegId, Channel, SocketAddr, Vec<u8>)>,
    taps: Vec<TapFrame>,
    events: Vec<Event>,
    jobs: Vec<OwnedJob>,
}

/// A job on its way to the coders: with the payload of its packet.
pub(crate) struct OwnedJob(Job<'static>, Vec<u8>);

impl OwnedJob {
    fn of(job: Job<'_>) -> Self {
        match job {
            Job::Packet { way, packet } => {
                let bytes = packet.payload.to_vec();
                Self(Job::Packet { way, packet: Packet { payload: &[], ..packet } }, bytes)
            }
            Job::Open { way, plan } => Self(Job::Open { way, plan }, Vec::new()),
            Job::Loss { way, percent } => Self(Job::Loss { way, percent }, Vec::new()),
            Job::Close { way } => Self(Job::Close { way }, Vec::new()),
        }
    }

    fn get(&self) -> Job<'_> {
        match self.0 {
            Job::Packet { way, packet } => Job::Packet { way, packet: Packet { payload: &self.1, ..packet } },
            job @ (Job::Open { .. } | Job::Loss { .. } | Job::Close { .. }) => job,
        }
    }
}

impl Sink for Outbox {
    fn transmit(&mut self, leg: LegId, channel: Channel, to: SocketAddr, datagram: &[u8]) {
        self.sent.push((leg, channel, to, datagram.to_vec()));
    }

    fn code(&mut self, job: Job<'_>) {
        self.jobs.push(OwnedJob::of(job));
    }

    fn tap(&mut self, frame: TapFrame) {
        self.taps.push(frame);
    }

    fn handshake(&mut self, _: LegId, _: HandshakeInput) {}

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

pub(crate) fn keying(suite: Suite, fill: u8) -> Secret<Box<[u8]>> {
    Secret::new((0..suite.key_len() + suite.salt_len()).map(|n| fill ^ n as u8).collect())
}

pub(crate) fn srtp(suite: Suite, fill: u8) -> Crypto {
    Crypto::Srtp { suite, send: keying(suite, fill), receive: keying(suite, fill ^ 0x5a) }
}

pub(crate) fn context(suite: Suite, key: &Secret<Box<[u8]>>) -> Context {
    let profile = match suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let (key, salt) = suite.split_keying(key.reveal()).unwrap();
    let provider = rtc_srtp::crypto::default_provider().unwrap();
    Context::new(key, salt, profile, None, None, provider.crypto()).unwrap()
}

pub(crate) fn meta_setup() -> LegSetup {
    LegSetup {
        leg: META,
        side: Side::Meta,
        remote: "57.144.43.49:3480".parse().unwrap(),
        remote_rtcp: None,
        ice: None,
        crypto: srtp(Suite::AesCm128HmacSha1_80, 1),
        audio: OPUS_META,
        dtmf: Some(DTMF_META),
        comfort_noise: false,
        opus: OpusTarget::META,
        profile: MediaProfile::meta(),
        ssrc: 0x1111_2222,
        sequence: 32_000,
        timestamp: u32::MAX - 50_000,
    }
}

pub(crate) fn agent_setup() -> LegSetup {
    LegSetup {
        leg: AGENT,
        side: Side::Agents,
        remote: "10.0.0.5:4000".parse().unwrap(),
        remote_rtcp: Some("10.0.0.5:4001".parse().unwrap()),
        ice: None,
        crypto: Crypto::Plain,
        audio: OPUS_AGENT,
        dtmf: Some(DTMF_48),
        comfort_noise: false,
        opus: OpusTarget::META,
        profile: MediaProfile::trunk(),
        ssrc: 0x3333_4444,
        sequence: 100,
        timestamp: 5_000,
    }
}

impl Peer {
    fn new(setup: &LegSetup, ssrc: u32) -> Self {
        let (seal, open) = match &setup.crypto {
            Crypto::Plain | Crypto::Dtls(_) => (None, None),
            Crypto::Srtp { suite, send, receive } => {
                (Some(context(*suite, receive)), Some(context(*suite, send)))
            }
        };
        Self {
            leg: setup.leg,
            at: setup.remote,
            setup: setup.clone(),
            seal,
            open,
            heard: Vec::new(),
            reports: Vec::new(),
            report_targets: Vec::new(),
            ssrc,
        }
    }

    /// Builds a packet of this peer, protected as agreed.
    pub(crate) fn packet(
        &mut self,
        pt: u8,
        marker: bool,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut packet = vec![0x80, pt | if marker { 0x80 } else { 0 }];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(payload);
        match &mut self.seal {
            None => packet,
            Some(context) => context.encrypt_rtp(&packet).unwrap().to_vec(),
        }
    }

    pub(crate) fn audio(&mut self, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        self.packet(self.setup.audio.receive_pt(), false, sequence, timestamp, payload)
    }

    /// Goes over to other keys.
    pub(crate) fn rekey(&mut self, crypto: &Crypto) {
        if let Crypto::Srtp { suite, send, receive } = crypto {
            (self.seal, self.open) = (Some(context(*suite, receive)), Some(context(*suite, send)));
        }
    }

    /// Takes the encryption away; what comes is read as plain.
    pub(crate) fn take_contexts(&mut self) -> (Option<Context>, Option<Context>) {
        (self.seal.take(), self.open.take())
    }

    /// Gives the encryption back as it was.
    pub(crate) fn put_contexts(&mut self, (seal, open): (Option<Context>, Option<Context>)) {
        (self.seal, self.open) = (seal, open);
    }

    pub(crate) fn seal_report(&mut self, compound: &[u8]) -> Vec<u8> {
        match &mut self.seal {
            None => compound.to_vec(),
            Some(context) => context.encrypt_rtcp(compound).unwrap().to_vec(),
        }
    }

    fn take(&mut self, at_ms: u64, channel: Channel, to: SocketAddr, datagram: &[u8]) {
        if (192..=223).contains(&datagram[1]) {
            let plain = match &mut self.open {
                None => datagram.to_vec(),
                Some(context) => context.decrypt_rtcp(datagram).unwrap().to_vec(),
            };
            self.reports.push((at_ms, plain));
            self.report_targets.push((channel, to));
            return;
        }
        let plain = match &mut self.open {
            None => datagram.to_vec(),
            Some(context) => context.decrypt_rtp(datagram).expect("our packet opens at the peer").to_vec(),
        };
        assert_eq!(plain[0], 0x80, "no padding, extension or contributing source leaves the bridge");
        let word = |at: usize| u32::from_be_bytes(plain[at..at + 4].try_into().unwrap());
        self.heard.push(Heard {
            at_ms,
            to,
            channel,
            pt: plain[1] & 0x7f,
            marker: plain[1] & 0x80 != 0,
            sequence: (word(0) & 0xffff) as u16,
            timestamp: word(4),
            ssrc: word(8),
            payload: plain[12..].to_vec(),
        });
    }
}

impl Call {
    /// Both legs set up, bridged and started at 0 ms.
    pub(crate) fn answered(meta: LegSetup, agent: LegSetup) -> Self {
        let mut call = Self::configured(meta, agent);
        call.command(Command::Start { leg: META });
        call.command(Command::Start { leg: AGENT });
        call
    }

    /// The usual call: Meta with SRTP, a trunk with plain RTP, Opus on both.
    pub(crate) fn usual() -> Self {
        Self::answered(meta_setup(), agent_setup())
    }

    pub(crate) fn configured(meta: LegSetup, agent: LegSetup) -> Self {
        let start = Instant::now();
        let now = Now { mono: start, wall: Wall::from_unix_ms(1_790_000_000_000) };
        let mut call = Self {
            relay: Relay::new(CALL, now),
            coders: Coders::new(4),
            start,
            now: start,
            meta: Peer::new(&meta, 0xaaaa_0001),
            agent: Peer::new(&agent, 0xbbbb_0001),
            events: Vec::new(),
            qualities: Vec::new(),
            taps: Vec::new(),
        };
        call.command(Command::Open { leg: META, side: Side::Meta });
        call.command(Command::Open { leg: AGENT, side: Side::Agents });
        call.command(Command::Configure(Box::new(meta)));
        call.command(Command::Configure(Box::new(agent)));
        call.command(Command::Bridge { one: META, other: AGENT });
        assert_eq!(call.events, []);
        call
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.with(|relay, now, out| relay.command(command, now, out));
    }

    /// Hands the relay a datagram.
    pub(crate) fn arrive(&mut self, leg: LegId, channel: Channel, from: SocketAddr, datagram: &[u8]) {
        let mut buffer = [0; 1_600];
        buffer[..datagram.len()].copy_from_slice(datagram);
        let arrival = Arrival { leg, channel, from };
        self.with(|relay, now, out| relay.handle_packet(arrival, &mut buffer, datagram.len(), now, out));
    }

    /// The handshake of a leg is done.
    pub(crate) fn key(&mut self, leg: LegId, keys: SrtpKeys) {
        let SrtpKeys { suite, send, receive } = keys.clone();
        let peer = if leg == META { &mut self.meta } else { &mut self.agent };
        peer.rekey(&Crypto::Srtp { suite, send, receive });
        self.with(|relay, now, out| {
            relay.handle_handshake(leg, HandshakeOutput::Keys(Box::new(keys)), now, out)
        });
    }

    pub(crate) fn agent_says(&mut self, sequence: u16, timestamp: u32, payload: &[u8]) {
        let packet = self.agent.audio(sequence, timestamp, payload);
        self.arrive(AGENT, Channel::Rtp, self.agent.at, &packet);
    }

    pub(crate) fn meta_says(&mut self, sequence: u16, timestamp: u32, payload: &[u8]) {
        let packet = self.meta.audio(sequence, timestamp, payload);
        self.arrive(META, Channel::Rtp, self.meta.at, &packet);
    }

    /// Lets time pass, with every timer on its moment.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        loop {
            let due = [self.relay.poll_timeout(), self.coders.poll_timeout()].into_iter().flatten().min();
            let Some(at) = due.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            let mut coded = Vec::new();
            self.coders.handle_timeout(self.now, |way, packet| coded.push(Coded::of(way, packet)));
            self.with(|relay, now, out| {
                relay.handle_timeout(now, out);
                coded.iter().for_each(|it| relay.handle_coded(it.way, it.packet(), now, out));
            });
        }
        self.now = until;
    }

    pub(crate) fn at_ms(&self) -> u64 {
        u64::try_from(self.now.duration_since(self.start).as_millis()).unwrap()
    }

    /// Closes the call; the counters of both legs.
    pub(crate) fn close(mut self) -> (Self, MediaQuality, MediaQuality) {
        self.command(Command::Close { call: CALL });
        let Some(Event::Closed { quality, .. }) = self.events.last().cloned() else { panic!("closed") };
        let of = |leg| quality.iter().find(|(id, _)| *id == leg).unwrap().1;
        (self, of(META), of(AGENT))
    }

    pub(crate) fn taped(&self, channel: TapChannel) -> Vec<&TapFrame> {
        self.taps.iter().filter(|frame| frame.channel == channel).collect()
    }

    fn with(&mut self, run: impl FnOnce(&mut Relay, Instant, &mut Outbox)) {
        let mut out = Outbox::default();
        run(&mut self.relay, self.now, &mut out);
        for job in std::mem::take(&mut out.jobs) {
            self.coders.handle(&job.get(), self.now);
        }
        let at_ms = self.at_ms();
        for (leg, channel, to, datagram) in out.sent {
            let peer = if leg == META { &mut self.meta } else { &mut self.agent };
            peer.take(at_ms, channel, to, &datagram);
        }
        let (qualities, events): (Vec<_>, Vec<_>) =
            out.events.into_iter().partition(|it| matches!(it, Event::Quality { .. }));
        self.events.extend(events);
        self.qualities.extend(qualities);
        self.taps.extend(out.taps);
    }
}

/// What coders made.
struct Coded {
    way: Way,
    packet: Packet<'static>,
    payload: Vec<u8>,
}

impl Coded {
    fn of(way: Way, packet: Packet<'_>) -> Self {
        Self { way, payload: packet.payload.to_vec(), packet: Packet { payload: &[], ..packet } }
    }

    fn packet(&self) -> Packet<'_> {
        Packet { payload: &self.payload, ..self.packet }
    }
}

/// G.711's values by the formula of its tables, scaled to 1.
pub(crate) fn expand(law: AudioFormat, code: u8) -> f32 {
    match law {
        AudioFormat::Pcmu { .. } => {
            let code = !code;
            let (sign, exponent, mantissa) = (code & 0x80, i32::from(code >> 4 & 7), f32::from(code & 15));
            let magnitude = (2.0 * mantissa + 33.0) * 2_f32.powi(exponent) - 33.0;
            (if sign != 0 { -magnitude } else { magnitude }) / 8_192.0
        }
        AudioFormat::Pcma { .. } => {
            let code = code ^ 0x55;
            let (sign, exponent, mantissa) = (code & 0x80, i32::from(code >> 4 & 7), f32::from(code & 15));
            let magnitude = match exponent {
                0 => 2.0 * mantissa + 1.0,
                _ => (2.0 * mantissa + 33.0) * 2_f32.powi(exponent - 1),
            };
            (if sign != 0 { magnitude } else { -magnitude }) / 4_096.0
        }
        AudioFormat::Opus { .. } | AudioFormat::G722 { .. } => panic!("G.711"),
    }
}

/// Finds the code nearest to a sample.
pub(crate) fn compressor(law: AudioFormat) -> impl Fn(f32) -> u8 {
    let mut codes: Vec<(f32, u8)> = (0..=255).map(|code| (expand(law, code), code)).collect();
    codes.sort_by(|one, other| one.0.total_cmp(&other.0));
    move |sample| {
        let above = codes.partition_point(|(value, _)| *value < sample);
        let near = &codes[above.saturating_sub(1)..(above + 1).min(256)];
        let error = |value: f32| (value - sample).abs();
        near.iter().min_by(|one, other| error(one.0).total_cmp(&error(other.0))).unwrap().1
    }
}

/// A sine of `hz` at -10 dBFS (peak), `count` samples from sample `from` on.
pub(crate) fn tone(hz: f32, rate: f32, from: usize, count: usize) -> Vec<f32> {
    let level = 10_f32.powf(-10.0 / 20.0);
    (from..from + count).map(|n| level * (std::f32::consts::TAU * hz * n as f32 / rate).sin()).collect()
}

/// Frequency (by zero crossings) and peak level in dBFS (by root mean square) of a tone.
pub(crate) fn measure(pcm: &[f32], rate: f32) -> (f32, f32) {
    let crossings = pcm.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
    let power = pcm.iter().map(|s| s * s).sum::<f32>() / pcm.len() as f32;
    (crossings as f32 * rate / pcm.len() as f32, 20.0 * (power * 2.0).sqrt().log10())
}
