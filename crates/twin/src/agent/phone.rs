//! The machine of an agent twin: its registration, its calls, and the sorting of what comes in.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use setu_model::{Entropy, Now, SeededEntropy};

use super::call::{Call, Due, Stage};
use super::config::{Habits, PhoneCallId, PhoneConfig};
use super::describe::Mine;
use super::register::Registration;
use super::report::{PhoneEnder, PhoneEvent};
use crate::io::{Closed, ConnId, Output, Party, StreamFacts, Transport};
use crate::media::{DtlsIdentity, DtmfPlan, Heard};
use crate::sip::message::{Message, param};
use crate::sip::sdp::MediaDirection;
use crate::sip::streams::Streams;
use crate::sip::text::{Draft, host, phrase};
use crate::sip::transactions::{Channel, Told, Transactions};

/// An agent's telephone or PBX.
///
/// Sans-IO: see [`Party`]. Events are taken with [`poll_event`](Self::poll_event).
pub struct Softphone {
    pub(super) config: PhoneConfig,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) transactions: Transactions,
    pub(super) streams: Streams,
    pub(super) calls: BTreeMap<PhoneCallId, Call>,
    pub(super) registration: Registration,
    /// The certificate of DTLS handshakes, made for the first.
    pub(super) identity: Option<DtlsIdentity>,
    pub(super) outputs: VecDeque<Output>,
    events: VecDeque<PhoneEvent>,
    next_call: u64,
    next_port: usize,
}

/// A PBX that does not register: the same machine with other switches ([`PhoneConfig::trunk`]).
pub type Trunk = Softphone;

impl Softphone {
    /// Makes a telephone that is plugged in but not registered. Draws all randomness from `entropy`.
    pub fn new(config: PhoneConfig, mut entropy: Box<dyn Entropy>) -> Self {
        let sip = SocketAddr::new(config.ip, config.sip_port);
        let mut outputs: VecDeque<Output> = config
            .media_ports
            .iter()
            .map(|port| Output::BindUdp { local: SocketAddr::new(config.ip, *port) })
            .collect();
        match config.transport {
            Transport::Udp => outputs.push_back(Output::BindUdp { local: sip }),
            Transport::Tcp | Transport::Tls if config.listens => {
                outputs.push_back(Output::Listen { local: sip, transport: config.transport });
            }
            Transport::Tcp | Transport::Tls => {}
        }
        Self {
            registration: Registration::new(entropy.as_mut()),
            config,
            entropy,
            transactions: Transactions::default(),
            streams: Streams::default(),
            calls: BTreeMap::new(),
            identity: None,
            outputs,
            events: VecDeque::new(),
            next_call: 1,
            next_port: 0,
        }
    }

    /// The configuration in force.
    pub const fn config(&self) -> &PhoneConfig {
        &self.config
    }

    /// Replaces what it does in the calls to come.
    pub fn set_habits(&mut self, habits: Habits) {
        self.config.habits = habits;
    }

    /// Registers, and keeps the binding fresh until [`unregister`](Self::unregister).
    pub fn register(&mut self, now: Now) {
        self.begin_registering(now);
        self.flush();
    }

    /// Removes the binding.
    pub fn unregister(&mut self, now: Now) {
        self.end_registering(now);
        self.flush();
    }

    /// Whether a binding is in force.
    pub const fn is_registered(&self) -> bool {
        self.registration.is_bound()
    }

    /// Dials a number (E.164 with `+`, or whatever the bridge routes), with habits of its own or the usual ones.
    pub fn dial(&mut self, number: &str, habits: Option<Habits>, now: Now) -> PhoneCallId {
        let id = self.next_id();
        self.begin_dialling(id, number, habits, now);
        self.flush();
        id
    }

    /// Answers a ringing call at once.
    pub fn answer(&mut self, call: PhoneCallId, now: Now) {
        self.command(call, |phone, call| phone.take_call(call, now));
    }

    /// Hangs up, gives up a call that was not answered, or declines (603) one that rings here.
    pub fn hang_up(&mut self, call: PhoneCallId, now: Now) {
        self.command(call, |phone, call| phone.leave(call, now));
    }

    /// Puts the call on hold with `sendonly` or `inactive`, or takes it back with `sendrecv`, by re-INVITE.
    pub fn set_direction(&mut self, call: PhoneCallId, direction: MediaDirection, now: Now) {
        self.command(call, |phone, call| phone.reinvite(call, direction, now));
    }

    /// Sends an UPDATE with an unchanged description.
    pub fn update(&mut self, call: PhoneCallId, now: Now) {
        self.command(call, |phone, call| phone.send_update(call, now));
    }

    /// Asks the bridge to transfer the call to `uri`.
    pub fn refer(&mut self, call: PhoneCallId, uri: &str, now: Now) {
        self.command(call, |phone, call| phone.send_refer(call, uri, now));
    }

    /// Presses keys from now on, by RFC 4733 or INFO as the habits say.
    pub fn send_dtmf(&mut self, call: PhoneCallId, digits: &str, now: Now) {
        self.command(call, |phone, call| {
            if call.habits.dtmf_by_info {
                phone.send_info(call, digits, now);
            } else if let Some(voice) = &mut call.voice {
                voice.press(&DtmfPlan::new(0, digits), now.mono);
            }
        });
    }

    /// Cuts the stream connection to the bridge.
    pub fn drop_connection(&mut self, now: Now) {
        if let Some(conn) = self.streams.to(&self.bridge()) {
            self.streams.close(conn);
            self.lost(conn, now);
            self.flush();
        }
    }

    /// What has been heard so far in a call that goes on.
    pub fn heard(&self, call: PhoneCallId) -> Option<Heard> {
        self.calls.get(&call)?.voice.as_ref().map(crate::media::Voice::report)
    }

    /// The calls that are not over.
    pub fn active_calls(&self) -> Vec<PhoneCallId> {
        self.calls.keys().copied().collect()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<PhoneEvent> {
        self.events.pop_front()
    }

    // -- for the other files of this module

    fn command(&mut self, call: PhoneCallId, run: impl FnOnce(&mut Self, &mut Call)) {
        self.with(call, run);
        self.flush();
    }

    pub(super) fn next_id(&mut self) -> PhoneCallId {
        let id = PhoneCallId(self.next_call);
        self.next_call += 1;
        id
    }

    /// Takes the call out, runs `run` on it, and puts it back unless it is over.
    /// A connection is gone, whoever closed it: so is what waits for an answer on it.
    fn lost(&mut self, conn: ConnId, now: Now) {
        let lost: Vec<PhoneCallId> = self
            .calls
            .values()
            .filter(|call| call.channel == Channel::Stream(conn))
            .map(|call| call.id)
            .collect();
        for id in lost {
            self.with(id, |phone, call| match call.stage {
                Stage::Dialling(_) | Stage::Ringing { .. } | Stage::Closing => {
                    phone.fail(call, PhoneEnder::Nobody, now)
                }
                // An answered call outlives its connection.
                Stage::Up | Stage::Done => {}
            });
        }
        self.registration_lost(now);
    }

    pub(super) fn with<R>(
        &mut self,
        id: PhoneCallId,
        run: impl FnOnce(&mut Self, &mut Call) -> R,
    ) -> Option<R> {
        let mut call = self.calls.remove(&id)?;
        let result = run(self, &mut call);
        self.pump(&mut call);
        if !matches!(call.stage, Stage::Done) {
            self.calls.insert(id, call);
        }
        Some(result)
    }

    pub(super) fn tell(&mut self, event: PhoneEvent) {
        self.events.push_back(event);
    }

    pub(super) fn finish(&mut self, call: &mut Call) {
        if let Some(voice) = &call.voice {
            call.report.heard = voice.report();
        }
        if let Some(path) = &call.path {
            call.report.path = path.report();
        }
        self.transactions.forget_answer(&call.dialog.call_id);
        call.stage = Stage::Done;
        self.events.push_back(PhoneEvent::Ended(Box::new(call.report.clone())));
    }

    pub(super) fn fail(&mut self, call: &mut Call, by: PhoneEnder, now: Now) {
        call.ends(by, now);
        self.finish(call);
    }

    /// A media port and keys for one call.
    pub(super) fn allot(&mut self, habits: &Habits, now: Now) -> Mine {
        let used: Vec<u16> = self.calls.values().map(|call| call.mine.address.port()).collect();
        let ports = &self.config.media_ports;
        let turn = ports.iter().cycle().skip(self.next_port).take(ports.len());
        let port = turn.copied().find(|port| !used.contains(port)).unwrap_or(0);
        self.next_port = ports.iter().position(|p| *p == port).map_or(0, |at| (at + 1) % ports.len());
        let address = SocketAddr::new(self.config.ip, port);
        let fingerprint = habits.dtls.and_then(|_| self.identity()).map(DtlsIdentity::fingerprint);
        Mine::new(address, habits, fingerprint, now.wall.unix_ms(), self.entropy.as_mut())
    }

    /// A source of randomness for one voice. Seeded: twins protect no real call.
    pub(super) fn fork_entropy(&mut self) -> Box<dyn Entropy> {
        Box::new(SeededEntropy::new(self.entropy.next_u64()))
    }

    fn bridge(&self) -> (String, u16) {
        (self.config.bridge_host.clone(), self.config.bridge_port)
    }

    /// The way to the bridge: its UDP address, or the connection to it, dialled if need be.
    pub(super) fn way(&mut self) -> Channel {
        let bridge = self.bridge();
        if self.config.transport == Transport::Udp {
            let ip = bridge.0.parse().unwrap_or(self.config.ip);
            let local = SocketAddr::new(self.config.ip, self.config.sip_port);
            return Channel::Udp { local, remote: SocketAddr::new(ip, bridge.1) };
        }
        let known = self.streams.to(&bridge);
        Channel::Stream(known.unwrap_or_else(|| self.streams.dial(bridge, self.config.transport, Vec::new())))
    }

    /// The way for requests of `call`: where it lives, or anew if that connection is gone.
    pub(super) fn way_of(&mut self, call: &mut Call) -> Channel {
        if let Channel::Stream(conn) = call.channel
            && !self.streams.is_alive(conn)
        {
            call.channel = self.way();
            self.transactions.move_call(&call.dialog.call_id, call.channel);
        }
        call.channel
    }

    pub(super) fn branch(&mut self) -> String {
        format!("z9hG4bK-twin-{}", self.entropy.hex(8))
    }

    pub(super) fn via(&self, branch: &str) -> String {
        format!("Via: SIP/2.0/{} {};rport;branch={branch}", self.config.transport.via(), self.place())
    }

    pub(super) fn contact_uri(&self) -> String {
        let transport = match self.config.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        };
        format!("sip:{}@{}{transport}", self.config.account, self.place())
    }

    /// Where it is, for Via and Contact. One that only dials its connections has no port to name.
    fn place(&self) -> String {
        match (host(self.config.ip), self.config.sip_port) {
            (ip, 0) => ip,
            (ip, port) => format!("{ip}:{port}"),
        }
    }

    pub(super) fn flush(&mut self) {
        self.streams.flush(&mut self.transactions);
        self.outputs.append(&mut self.streams.outputs);
    }

    fn handle_message(&mut self, channel: Channel, message: &Message, now: Now) {
        if message.is_request() {
            self.handle_request(channel, message, now);
            return;
        }
        if !self.transactions.is_news(message, now.mono) {
            return;
        }
        if message.cseq().1 == "REGISTER" {
            self.handle_register_response(message, now);
            return;
        }
        let call_id = message.call_id();
        let owner = self.calls.values().find(|call| call.dialog.call_id == call_id).map(|call| call.id);
        if let Some(id) = owner {
            self.with(id, |phone, call| phone.handle_response(call, message, now));
        }
    }

    fn handle_request(&mut self, channel: Channel, request: &Message, now: Now) {
        let method = request.method().unwrap_or_default();
        if method != "ACK" && self.transactions.is_repeated(request, channel) {
            return;
        }
        let owner = self.calls.values().find(|call| call.dialog.owns(request)).map(|call| call.id);
        match (method.as_str(), owner) {
            ("ACK", _) => {
                self.transactions.handle_ack(request);
                if let Some(call) = owner.and_then(|id| self.calls.get_mut(&id)) {
                    call.report.requests.push("ACK".to_owned());
                }
            }
            ("CANCEL", _) => self.handle_cancel(channel, request, now),
            (_, Some(id)) => {
                self.with(id, |phone, call| phone.handle_in_dialog(channel, call, &method, request, now));
            }
            (_, None) if param(&request.to(), "tag").is_some() => self.respond(channel, request, 481, now),
            ("INVITE", None) => self.begin_ringing(channel, request, now),
            ("OPTIONS", None) => self.respond(channel, request, 200, now),
            (_, None) => self.respond(channel, request, 405, now),
        }
    }

    pub(super) fn respond(&mut self, channel: Channel, request: &Message, status: u16, now: Now) {
        let tag = self.entropy.hex(6);
        let reply = Draft::reply(request, status, phrase(status), &tag)
            .maybe(matches!(status, 200 | 405), ALLOW)
            .line(USER_AGENT)
            .empty();
        self.transactions.respond(request, status, reply, channel, now.mono);
    }

    fn handle_told(&mut self, told: Told, now: Now) {
        match told {
            Told::TimedOut { method, .. } if method == "REGISTER" => self.register_timed_out(now),
            Told::TimedOut { branch, .. } => {
                let owner = self.calls.values().find(|call| match &call.stage {
                    Stage::Dialling(dialling) => dialling.branch == branch,
                    Stage::Closing => call.pending.contains_key(&branch),
                    Stage::Ringing { .. } | Stage::Up | Stage::Done => false,
                });
                if let Some(id) = owner.map(|call| call.id) {
                    self.with(id, |phone, call| phone.fail(call, PhoneEnder::Nobody, now));
                }
            }
            Told::NoAck { call_id } => {
                let owner =
                    self.calls.values().find(|call| call.dialog.call_id == call_id).map(|call| call.id);
                if let Some(id) = owner {
                    self.with(id, |phone, call| phone.leave(call, now));
                }
            }
        }
    }

    fn handle_due(&mut self, call: &mut Call, due: Due, now: Now) {
        match due {
            Due::Answer => self.take_call(call, now),
            Due::Refuse => self.refuse_as_planned(call, now),
            Due::HangUp | Due::Expired => self.leave(call, now),
            Due::DropConnection => {
                if let Channel::Stream(conn) = call.channel {
                    self.streams.close(conn);
                    self.lost(conn, now);
                }
            }
            Due::Hold => {
                let direction = call.habits.hold.map_or(MediaDirection::SendOnly, |hold| hold.direction);
                self.reinvite(call, direction, now);
            }
            Due::Resume => self.reinvite(call, MediaDirection::SendRecv, now),
            Due::Retry => self.reinvite(call, call.mine.direction, now),
            Due::Update => self.send_update(call, now),
            Due::Refer => {
                let to = call.habits.refer.as_ref().map(|refer| refer.to.clone()).unwrap_or_default();
                self.send_refer(call, &to, now);
            }
            Due::NewSource => {
                if let Some(voice) = &mut call.voice {
                    voice.change_source();
                }
            }
            Due::Refresh => self.refresh_session(call, now),
            Due::Info(n) => {
                let digits = call.habits.person.dtmf.get(usize::from(n)).map(|plan| plan.digits.clone());
                self.send_info(call, &digits.unwrap_or_default(), now);
            }
            Due::GiveUp => self.fail(call, PhoneEnder::Us, now),
        }
    }
}

pub(super) const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, REFER, NOTIFY";
pub(super) const USER_AGENT: &str = "User-Agent: Setu agent twin";

impl Party for Softphone {
    fn handle_stream_opened(&mut self, conn: ConnId, _facts: StreamFacts, _now: Now) {
        self.streams.opened(conn);
        self.flush();
    }

    fn handle_stream_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Now) {
        if !self.streams.is_alive(conn) {
            return;
        }
        match self.streams.push(conn, bytes) {
            Some(messages) => {
                for message in messages {
                    self.handle_message(Channel::Stream(conn), &message, now);
                }
            }
            None => drop(self.streams.close(conn)),
        }
        self.flush();
    }

    fn handle_stream_closed(&mut self, conn: ConnId, _why: Closed, now: Now) {
        self.streams.closed(conn);
        self.lost(conn, now);
        self.flush();
    }

    fn handle_udp(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        if local.port() == self.config.sip_port && self.config.transport == Transport::Udp {
            if let Some(message) = Message::parse(bytes) {
                self.handle_message(Channel::Udp { local, remote: from }, &message, now);
            }
        } else {
            self.take_datagram(local, from, bytes, now);
        }
        self.flush();
    }

    fn handle_timeout(&mut self, now: Now) {
        self.transactions.handle_timeout(now.mono);
        while let Some(told) = self.transactions.poll_told() {
            self.handle_told(told, now);
        }
        self.registration_timeout(now);
        let due: Vec<PhoneCallId> = self
            .calls
            .values()
            .filter(|call| call.poll_timeout().is_some_and(|at| at <= now.mono))
            .map(|call| call.id)
            .collect();
        for id in due {
            self.with(id, |phone, call| {
                if let Some(path) = &mut call.path {
                    path.handle_timeout(now);
                }
                phone.follow_path(call, now);
                if let Some(voice) = &mut call.voice {
                    voice.handle_timeout(now);
                }
                while let Some(due) = call.take_due(now) {
                    phone.handle_due(call, due, now);
                }
            });
        }
        self.flush();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let calls = self.calls.values().filter_map(Call::poll_timeout);
        calls.chain(self.transactions.poll_timeout()).chain(self.registration.poll_timeout()).min()
    }
}
