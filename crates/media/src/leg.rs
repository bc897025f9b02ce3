//! One leg of a call: what is agreed with its peer, and its two halves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use setu_model::{LegId, MediaQuality, Now, Side};
use setu_srtp::rtcp::{Compound, NtpTime};
use setu_srtp::rtp::{HEADER_LEN, Header};
use setu_srtp::{SrtpError, TelephoneEvent, rtcp};

use crate::address::Address;
use crate::feed::Feed;
use crate::guard::Guard;
use crate::inbound::{Inbound, Meaning};
use crate::keys::KeySender;
use crate::outbound::{self, Outbound, Parting};
use crate::path::Path;
use crate::quality;
use crate::reception::Extended;
use crate::telephone::{Clocks, Key, KeyNews};
use crate::{
    AudioFormat, Channel, Clip, Crypto, Direction, Event, Job, LegSetup, Plan, Play, SetupRefused, Sink, Way,
};

/// A leg, from its opening on.
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) side: Side,
    pub(crate) direction: Direction,
    /// When the stream to the peer was asked for.
    pub(crate) asked: Option<Instant>,
    /// Since when it runs: it waits for the path, where that has to be found.
    pub(crate) started: Option<Instant>,
    /// The index of the leg whose packets feed this one, and which this one feeds.
    pub(crate) partner: Option<u8>,
    pub(crate) inbound: Inbound,
    /// A ClientHello that overtook the description of its sender.
    pub(crate) early_hello: Option<(SocketAddr, Box<[u8]>)>,
    pub(crate) agreed: Option<Agreed>,
    /// What the peer hears in place of comfort frames, or of all else.
    playing: Option<Box<Playing>>,
}

/// A sound under way.
struct Playing {
    clip: Arc<Clip>,
    /// The next packet.
    at: usize,
    how: Play,
}

/// What exists once a leg is set up.
pub(crate) struct Agreed {
    pub(crate) setup: LegSetup,
    pub(crate) address: Address,
    /// Where address and keys are not in the descriptions.
    pub(crate) path: Option<Box<Path>>,
    pub(crate) guard: Guard,
    pub(crate) outbound: Outbound,
    /// How the partner's packets come to this leg; `None` until both are set up.
    pub(crate) feed: Option<Feed>,
    /// The partner's SSRC that the feed has seen last.
    pub(crate) fed_ssrc: Option<u32>,
    /// Keys pressed toward the peer. Apart, as few packets need them.
    pub(crate) keys: Box<KeySender>,
}

/// A valid RTP packet, as far as it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) header: Header,
    pub(crate) meaning: Meaning,
    pub(crate) extended: Extended,
    /// Where in the buffer its payload is.
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// The relay's clock for RTCP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) base: Now,
}

impl Clock {
    pub(crate) fn ntp(&self, now: Instant) -> NtpTime {
        let passed = now.saturating_duration_since(self.base.mono).as_micros();
        let units = (passed << 32) / 1_000_000;
        NtpTime(
            NtpTime::from_unix_ms(self.base.wall.unix_ms()).0.wrapping_add(u64::try_from(units).unwrap_or(0)),
        )
    }
}

impl Leg {
    pub(crate) fn new(id: LegId, side: Side) -> Self {
        Self {
            id,
            side,
            direction: Direction::default(),
            asked: None,
            started: None,
            partner: None,
            inbound: Inbound::default(),
            early_hello: None,
            agreed: None,
            playing: None,
        }
    }

    /// Sets the leg up, or up anew; returns whether the ways to and from its partner must be found anew. Changes nothing
    /// on an error.
    pub(crate) fn configure(&mut self, setup: LegSetup, now: Instant) -> Result<bool, SetupRefused> {
        let encrypted = match setup.crypto {
            Crypto::Plain if !setup.profile.plain_rtp => return Err(SetupRefused::PlainForbidden),
            Crypto::Plain => false,
            Crypto::Srtp { .. } | Crypto::Dtls(_) => true,
        };
        if setup.dtmf.is_some_and(|dtmf| !(8_000..=48_000).contains(&dtmf.clock)) {
            return Err(SetupRefused::BadClock);
        }
        let fresh = || Address::new(setup.remote, setup.remote_rtcp, setup.profile.latch, encrypted);
        let Some(agreed) = &mut self.agreed else {
            let guard = Guard::new(&setup.crypto)?;
            let (address, outbound, path) = (fresh(), Outbound::new(&setup), Path::new(&setup, now));
            self.side = setup.side;
            let (feed, fed_ssrc, keys) = (None, None, Box::default());
            self.agreed = Some(Agreed { setup, address, path, guard, outbound, feed, fed_ssrc, keys });
            self.begin(now);
            return Ok(true);
        };
        agreed.guard.rekey(&setup.crypto)?;
        // What was learnt stays as long as the peer signals the same.
        let before = &agreed.setup;
        if (before.remote, before.remote_rtcp, before.profile)
            != (setup.remote, setup.remote_rtcp, setup.profile)
        {
            agreed.address = fresh();
        }
        Path::renew(&mut agreed.path, before, &setup, now);
        agreed.outbound.stream.set_step(setup.audio.step());
        let before = std::mem::replace(&mut agreed.setup, setup);
        let what = |setup: &LegSetup| (setup.audio, setup.opus, setup.comfort_noise, setup.profile);
        Ok(what(&before) != what(&agreed.setup))
    }

    /// Lets the leg be fed by a partner: opens a coder where it takes one. Whatever numbers the old way gave, the new
    /// one begins a run of its own.
    pub(crate) fn feed_from(&mut self, partner: &Self, generation: &mut u32, sink: &mut impl Sink) {
        let Some((agreed, from)) = self.agreed.as_mut().zip(partner.agreed.as_ref()) else { return };
        let from = &from.setup;
        unfeed(agreed, sink);
        agreed.feed = Feed::between(from, &agreed.setup);
        if agreed.feed.is_none() {
            let way = self.open_coder(from, generation, sink);
            if let Some(agreed) = &mut self.agreed {
                agreed.feed = way.map(Feed::Code);
            }
        }
    }

    /// Has a coder made that feeds the leg.
    pub(crate) fn open_coder(
        &self,
        from: &LegSetup,
        generation: &mut u32,
        sink: &mut impl Sink,
    ) -> Option<Way> {
        let plan = Plan::between(from, &self.agreed.as_ref()?.setup);
        *generation = generation.wrapping_add(1);
        let way = Way { leg: self.id, generation: *generation };
        sink.code(Job::Open { way, plan });
        Some(way)
    }

    /// Ends what feeds the leg: comfort frames take over.
    pub(crate) fn unfeed(&mut self, sink: &mut impl Sink) {
        if let Some(agreed) = &mut self.agreed {
            unfeed(agreed, sink);
        }
    }

    /// Tells the coder that feeds the leg of the loss its peer reports.
    pub(crate) fn pass_loss(&mut self, sink: &mut impl Sink) {
        let way = self.agreed.as_ref().and_then(|agreed| agreed.feed.as_ref()).and_then(Feed::way);
        if let Some((way, lost)) = way.zip(self.inbound.lost_there.take()) {
            let percent = u8::try_from(u16::from(lost) * 100 / 256).unwrap_or(100);
            sink.code(Job::Loss { way, percent });
        }
    }

    /// Begins the leg's stream, as soon as there is a way to the peer.
    pub(crate) fn start(&mut self, now: Instant) {
        if self.asked.is_some() {
            return;
        }
        self.asked = Some(now);
        self.inbound.watch(self.direction, now);
        if let Some(path) = self.agreed.as_mut().and_then(|agreed| agreed.path.as_mut()) {
            path.hurry(now);
        }
        self.begin(now);
    }

    pub(crate) fn begin(&mut self, now: Instant) {
        let ready = |agreed: &&mut Agreed| agreed.path.as_ref().is_none_or(|path| path.is_ready());
        let Some(agreed) = self.agreed.as_mut().filter(ready) else { return };
        if self.asked.is_some() && self.started.is_none() {
            self.started = Some(now);
            agreed.outbound.start(&agreed.setup.profile, now);
        }
    }

    pub(crate) fn direct(&mut self, direction: Direction, now: Instant) {
        let resumes = direction.sends() && !self.direction.sends();
        self.direction = direction;
        if self.asked.is_none() {
            return;
        }
        self.inbound.watch(direction, now);
        if let Some(agreed) = self.agreed.as_mut().filter(|_| resumes) {
            agreed.outbound.resume(now);
        }
    }

    /// Begins a sound, or ends the one under way; the stream goes on with the next packet time.
    pub(crate) fn play(&mut self, sound: Option<(Arc<Clip>, Play)>) {
        let once = matches!(sound, Some((_, Play::Once)));
        self.playing = sound.map(|(clip, how)| Box::new(Playing { clip, at: 0, how }));
        if let Some(agreed) = self.agreed.as_mut().filter(|_| once) {
            agreed.outbound.release();
        }
    }

    /// Whether the peer hears a sound and nothing else.
    pub(crate) fn is_announced_to(&self) -> bool {
        self.playing.as_ref().is_some_and(|playing| playing.how == Play::Once)
    }

    /// Writes the next 20 ms of our own into `to`: of the sound that plays, or silence. Returns their length.
    pub(crate) fn own_frame(&mut self, to: &mut [u8], sink: &mut impl Sink) -> usize {
        let Some(audio) = self.audio() else { return 0 };
        let mut put = |frame: &[u8]| {
            to.get_mut(..frame.len()).map_or(0, |to| {
                to.copy_from_slice(frame);
                frame.len()
            })
        };
        let Some(playing) = &mut self.playing else { return put(outbound::silence(audio)) };
        let written = put(playing.clip.packet(audio, playing.at).unwrap_or(outbound::silence(audio)));
        playing.at += 1;
        if playing.at >= playing.clip.packets() {
            playing.at = 0;
            if playing.how == Play::Once {
                self.playing = None;
                sink.event(Event::Played { leg: self.id });
            }
        }
        written
    }

    /// Returns whether this is the leg a recording is made of: Meta's, which speaks Opus.
    pub(crate) fn is_tapped(&self) -> bool {
        self.side == Side::Meta && matches!(self.audio(), Some(AudioFormat::Opus { .. }))
    }

    /// Returns the agreed audio format.
    pub(crate) fn audio(&self) -> Option<AudioFormat> {
        self.agreed.as_ref().map(|agreed| agreed.setup.audio)
    }

    /// Returns whether packets may go to the peer.
    pub(crate) fn may_send(&self) -> bool {
        self.started.is_some() && self.direction.sends() && self.agreed.is_some()
    }

    /// Takes an RTP packet in the first `len` bytes of `buffer`; `None` if it is not what it should be, which changes
    /// nothing but a counter.
    pub(crate) fn take_rtp(
        &mut self,
        from: SocketAddr,
        buffer: &mut [u8],
        len: usize,
        now: Instant,
        sink: &mut impl Sink,
    ) -> Option<Taken> {
        let taken = self.try_rtp(from, buffer, len, now, sink);
        if taken.is_none() {
            self.inbound.rejected += 1;
        }
        taken
    }

    fn try_rtp(
        &mut self,
        from: SocketAddr,
        buffer: &mut [u8],
        len: usize,
        now: Instant,
        sink: &mut impl Sink,
    ) -> Option<Taken> {
        let agreed = self.agreed.as_mut().filter(|agreed| agreed.address.admits(from, Channel::Rtp))?;
        let plain = match agreed.guard.open_rtp(buffer.get_mut(..len)?) {
            Ok(plain) => plain,
            Err(error) => {
                self.inbound.reception.duplicated += u64::from(error == SrtpError::Replayed);
                return None;
            }
        };
        let packet = buffer.get(..plain)?;
        let header = Header::parse(packet).ok()?;
        let payload = header.payload_range(packet).ok()?;
        let meaning = Meaning::of(header.payload_type, agreed.setup.audio, agreed.setup.dtmf)?;
        let (extended, first) = self.inbound.take(&header, agreed.setup.audio.clock(), meaning, now);
        agreed.address.learn(from, Channel::Rtp, extended.newest);
        if first {
            sink.event(Event::FirstPacket { leg: self.id });
        }
        if meaning == Meaning::Audio {
            self.inbound.sound.take(packet.get(payload.clone())?, agreed.setup.audio, now);
        }
        Some(Taken { header, meaning, extended, at: payload.start, len: payload.len() })
    }

    /// Reads the payload of a telephone event that was taken; tells the keys that are up.
    pub(crate) fn take_event(
        &mut self,
        taken: &Taken,
        payload: &[u8],
        now: Instant,
        sink: &mut impl Sink,
    ) -> KeyNews {
        let Ok(event) = TelephoneEvent::parse(payload) else {
            self.inbound.rejected += 1;
            return KeyNews::default();
        };
        let Some(clocks) = self.clocks() else { return KeyNews::default() };
        let name = (taken.header.ssrc, taken.header.timestamp);
        let news = self.inbound.keys.take(event, name, clocks, now);
        self.tell_keys(news, sink);
        news
    }

    /// Tells of a key that went unheard of for too long.
    pub(crate) fn key_timeout(&mut self, now: Instant, sink: &mut impl Sink) -> KeyNews {
        let news = self.inbound.keys.handle_timeout(now);
        self.tell_keys(news, sink);
        news
    }

    fn tell_keys(&self, news: KeyNews, sink: &mut impl Sink) {
        for key in [news.over, news.up].into_iter().flatten() {
            if let Some(digit) = key.digit() {
                sink.event(Event::Dtmf { leg: self.id, digit, duration_ms: key.held_ms });
            }
        }
    }

    /// Presses a key toward the peer, if it takes telephone events.
    pub(crate) fn press(&mut self, key: Key) {
        if let Some(agreed) = self.agreed.as_mut().filter(|agreed| agreed.setup.dtmf.is_some()) {
            agreed.keys.press(key);
        }
    }

    /// Returns when a packet of a key is due toward the peer.
    pub(crate) fn key_due(&self) -> Option<Instant> {
        let started = self.started?;
        self.agreed.as_ref()?.keys.due(started)
    }

    /// Sends the packet of a key that is due.
    pub(crate) fn send_key(&mut self, now: Instant, sink: &mut impl Sink) {
        let (clocks, may_send) = (self.clocks(), self.may_send());
        let Some(agreed) = &mut self.agreed else { return };
        let Some((clocks, dtmf)) = clocks.zip(agreed.setup.dtmf).filter(|_| may_send) else {
            return agreed.keys.clear();
        };
        let Some(packet) = agreed.keys.packet(&mut agreed.outbound.stream, clocks, now) else { return };
        if !agreed.keys.is_busy() {
            agreed.outbound.rest(now);
        }
        let parting = Parting { payload_type: dtmf.send_pt, marker: packet.marker, stamp: packet.stamp };
        let mut buffer = [0; HEADER_LEN + TelephoneEvent::LEN + crate::Relay::ROOM];
        if let Some(to) = buffer.get_mut(HEADER_LEN..HEADER_LEN + TelephoneEvent::LEN) {
            to.copy_from_slice(&packet.payload);
        }
        self.send(parting, &mut buffer, HEADER_LEN, TelephoneEvent::LEN, now, sink);
    }

    fn clocks(&self) -> Option<Clocks> {
        let setup = &self.agreed.as_ref()?.setup;
        Some(Clocks { timestamps: setup.audio.clock(), durations: setup.dtmf?.clock })
    }

    /// Takes an RTCP compound in `packet`.
    pub(crate) fn take_rtcp(
        &mut self,
        from: SocketAddr,
        channel: Channel,
        packet: &mut [u8],
        clock: Clock,
        now: Instant,
    ) {
        if self.try_rtcp(from, channel, packet, clock, now).is_none() {
            self.inbound.rejected += 1;
        }
    }

    fn try_rtcp(
        &mut self,
        from: SocketAddr,
        channel: Channel,
        packet: &mut [u8],
        clock: Clock,
        now: Instant,
    ) -> Option<()> {
        let agreed = self.agreed.as_mut().filter(|agreed| agreed.address.admits(from, channel))?;
        let plain = agreed.guard.open_rtcp(packet).ok()?;
        let compound = Compound::parse(packet.get(..plain)?).ok()?;
        // On the RTP port only RTP moves the latch: its replay window says what is newest.
        if channel == Channel::Rtcp {
            agreed.address.learn(from, channel, true);
        }
        let (ssrc, ntp) = (agreed.outbound.ssrc, clock.ntp(now));
        self.inbound.take_reports(compound, ssrc, &agreed.setup.profile, ntp, now);
        Some(())
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let agreed = self.agreed.as_ref()?;
        let silent = self.inbound.silent_at(agreed.setup.profile.silence);
        let path = agreed.path.as_ref().and_then(|path| path.poll_timeout());
        let waiting = [silent, path].into_iter().flatten().min();
        if self.started.is_none() {
            return waiting;
        }
        [waiting, self.comfort_due(), self.key_due(), self.inbound.keys.due(), agreed.outbound.report_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns when a frame of our own is due: not while a key sounds, whose packets keep the stream going.
    fn comfort_due(&self) -> Option<Instant> {
        let agreed = self.agreed.as_ref().filter(|agreed| !agreed.keys.is_busy())?;
        agreed.outbound.own_due(&agreed.setup.profile, self.direction, self.playing.is_some())
    }

    /// Does what is due: a report, an event. Returns a comfort frame that is due, to be sent.
    pub(crate) fn handle_timeout(
        &mut self,
        clock: Clock,
        now: Instant,
        sink: &mut impl Sink,
    ) -> Option<Parting> {
        let agreed = self.agreed.as_mut()?;
        let profile = agreed.setup.profile;
        let due = |at: Option<Instant>| at.filter(|at| *at <= now);
        if due(self.inbound.silent_at(profile.silence)).is_some() {
            self.inbound.told_silent();
            sink.event(Event::Silent { leg: self.id });
        }
        self.started?;
        if due(agreed.outbound.report_due()).is_some() {
            self.report(false, clock, now, sink);
            sink.event(Event::Quality { leg: self.id, side: self.side, quality: Box::new(self.quality()) });
        }
        let comfort = due(self.comfort_due())?;
        let agreed = self.agreed.as_mut()?;
        Some(agreed.outbound.comfort(agreed.setup.audio, comfort, now))
    }

    /// Sends a compound report; the `last` one says goodbye.
    pub(crate) fn report(&mut self, last: bool, clock: Clock, now: Instant, sink: &mut impl Sink) {
        if self.started.is_none() {
            return;
        }
        let block = self.inbound.report(now);
        let Some(agreed) = &mut self.agreed else { return };
        let mut buffer = [0; REPORT_BYTES];
        let written = agreed.outbound.compound(block, last, clock.ntp(now), now, &mut buffer);
        agreed.outbound.reported(&agreed.setup.profile, now);
        let Ok(len) = written.inspect_err(|error: &rtcp::RtcpError| tracing::debug!(%error, "no report"))
        else {
            return;
        };
        if let Ok(len) = agreed.guard.close_rtcp(&mut buffer, len)
            && let Some((channel, to)) = agreed.target(Channel::Rtcp)
        {
            sink.transmit(self.id, channel, to, buffer.get(..len).unwrap_or_default());
        }
    }

    /// Sends a packet whose payload is at `at` in `buffer`, with room for a header before it.
    pub(crate) fn send(
        &mut self,
        packet: Parting,
        buffer: &mut [u8],
        at: usize,
        len: usize,
        now: Instant,
        sink: &mut impl Sink,
    ) {
        let Some(agreed) = &mut self.agreed else { return };
        let Some((channel, to)) = agreed.target(Channel::Rtp) else { return };
        let Agreed { outbound, guard, .. } = agreed;
        if let Some(datagram) = outbound.finish(guard, packet, buffer, at, len, now) {
            sink.transmit(self.id, channel, to, datagram);
        }
    }

    /// Returns what the leg's media looked like so far.
    pub(crate) fn quality(&self) -> MediaQuality {
        let since_start = |at: Option<Instant>| {
            let passed = at?.saturating_duration_since(self.asked?);
            u64::try_from(passed.as_millis()).ok()
        };
        let agreed = self.agreed.as_ref();
        let outbound = agreed.map(|agreed| &agreed.outbound);
        quality::with_scores(
            MediaQuality {
                received_packets: self.inbound.reception.packets,
                sent_packets: outbound.map_or(0, |outbound| outbound.packets),
                lost_packets: self.inbound.reception.lost(),
                rejected_packets: self.inbound.rejected,
                reordered_packets: self.inbound.reception.reordered,
                duplicated_packets: self.inbound.reception.duplicated,
                jitter_us: self.inbound.reception.jitter_us(),
                round_trip_us: self.inbound.round_trip_us,
                first_sent_ms: since_start(outbound.and_then(|outbound| outbound.first_sent)),
                first_received_ms: since_start(self.inbound.first_packet),
                first_audio_ms: since_start(self.inbound.sound.first),
                quiet_percent: self.inbound.sound.quiet_percent(),
                clipped_permille: self.inbound.sound.clipped_permille(),
                late_packets: outbound.map_or(0, |outbound| outbound.late),
                ..MediaQuality::default()
            },
            &self.inbound,
            agreed,
        )
    }
}

fn unfeed(agreed: &mut Agreed, sink: &mut impl Sink) {
    if let Some(way) = agreed.feed.take().as_ref().and_then(Feed::way) {
        sink.code(Job::Close { way });
    }
    agreed.outbound.release();
}

/// Room for a sender report with one block (52 bytes), a source description (20), a goodbye (8) and SRTCP's trailer.
const REPORT_BYTES: usize = 128;
