//! The edge itself: its calls, its connections, and the sorting of what comes in.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use setu_model::{Entropy, Now, SeededEntropy};

use super::call::{Call, Due, Stage};
use super::describe::Relay;
use super::quirks::Quirks;
use super::report::{Ender, Event, UserSaw, Violation};
use super::spec::{Answering, CallSpec, EdgeConfig, KeyExchange, TwinCallId};
use crate::io::{Closed, ConnId, Output, Party, StreamFacts, Transport};
use crate::media::{DtlsIdentity, DtmfPlan};
use crate::sip::message::Message;
use crate::sip::streams::Streams;
use crate::sip::transactions::{Channel, Told, Transactions};

/// Meta's SIP edge, its media relay, and the WhatsApp users behind it.
///
/// Sans-IO: see [`Party`]. Events are taken with [`poll_event`](Self::poll_event).
pub struct Edge {
    pub(super) config: EdgeConfig,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) transactions: Transactions,
    pub(super) calls: BTreeMap<TwinCallId, Call>,
    /// Nonces of our challenges, newest last.
    pub(super) nonces: VecDeque<String>,
    /// The certificate of DTLS handshakes, made for the first.
    pub(super) identity: Option<DtlsIdentity>,
    streams: Streams,
    pub(super) outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    next_call: u64,
    next_relay: usize,
}

impl Edge {
    /// Makes an edge that listens and waits. Draws all randomness from `entropy`.
    pub fn new(config: EdgeConfig, entropy: Box<dyn Entropy>) -> Self {
        let listen =
            Output::Listen { local: SocketAddr::new(config.ip, config.sip_port), transport: Transport::Tls };
        let ips = std::iter::once(config.ip).chain(config.ip6.map(IpAddr::V6));
        let locals = ips.flat_map(|ip| config.media_ports.iter().map(move |port| SocketAddr::new(ip, *port)));
        let bind = locals.map(|local| Output::BindUdp { local });
        Self {
            outputs: std::iter::once(listen).chain(bind).collect(),
            config,
            entropy,
            transactions: Transactions::default(),
            calls: BTreeMap::new(),
            nonces: VecDeque::new(),
            identity: None,
            streams: Streams::default(),
            events: VecDeque::new(),
            next_call: 1,
            next_relay: 0,
        }
    }

    /// The configuration in force.
    pub const fn config(&self) -> &EdgeConfig {
        &self.config
    }

    /// Replaces the peculiarities of the calls to come.
    pub fn set_quirks(&mut self, quirks: Quirks) {
        self.config.quirks = quirks;
    }

    /// Says how `user` takes the calls to come. `None` is everybody without a rule of their own.
    pub fn set_user(&mut self, user: Option<&str>, answering: Answering) {
        match user {
            Some(user) => drop(self.config.users.insert(user.to_owned(), answering)),
            None => self.config.anyone = answering,
        }
    }

    /// Lets a user call the business. The report comes as [`Event::Ended`], whatever happens.
    pub fn call(&mut self, spec: CallSpec, now: Now) -> TwinCallId {
        let id = self.next_id();
        self.begin_user_call(id, spec, now);
        self.flush();
        id
    }

    /// Lets the user of `call` hang up, or give up if nobody answered yet.
    pub fn hang_up(&mut self, call: TwinCallId, now: Now) {
        self.with(call, |edge, call| edge.user_leaves(call, now));
        self.flush();
    }

    /// Lets the user of `call` press keys from now on.
    pub fn send_dtmf(&mut self, call: TwinCallId, digits: &str, now: Now) {
        self.with(call, |_, call| {
            if let Some(voice) = &mut call.voice {
                voice.press(&DtmfPlan::new(0, digits), now.mono);
            }
        });
    }

    /// Cuts the connection of `call`. The call goes on; whatever must be sent next opens a new one.
    pub fn drop_connection(&mut self, call: TwinCallId) {
        if let Some(conn) = self.calls.get(&call).and_then(|call| call.conn) {
            self.close(conn);
            self.flush();
        }
    }

    /// What the user of a call that goes on has heard so far.
    pub fn heard(&self, call: TwinCallId) -> Option<crate::media::Heard> {
        self.calls.get(&call)?.voice.as_ref().map(crate::media::Voice::report)
    }

    /// The number of calls that are not over.
    pub fn active_calls(&self) -> usize {
        self.calls.len()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // -- for the other files of this module

    pub(super) fn next_id(&mut self) -> TwinCallId {
        let id = TwinCallId(self.next_call);
        self.next_call += 1;
        id
    }

    /// Takes the call out, runs `run` on it, and puts it back unless it is over.
    pub(super) fn with<R>(
        &mut self,
        id: TwinCallId,
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

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn violated(&mut self, call: &mut Call, violation: Violation) {
        if call.report.violated(&violation) {
            self.events.push_back(Event::Violation(Some(call.id), violation));
        }
    }

    /// The last word of a call.
    pub(super) fn finish(&mut self, call: &mut Call) {
        if let Some(voice) = &call.voice {
            call.report.heard = voice.report();
        }
        if let Some(path) = &call.path {
            call.report.path = path.report();
        }
        self.transactions.forget_answer(&call.dialog.call_id);
        call.stage = Stage::Done;
        self.events.push_back(Event::Ended(Box::new(call.report.clone())));
    }

    pub(super) fn fail(&mut self, call: &mut Call, saw: UserSaw, by: Ender, now: Now) {
        call.report.saw = saw;
        call.ends(by, now);
        self.finish(call);
    }

    /// A relay address and fresh keys for one call.
    pub(super) fn allot(&mut self, keyed: KeyExchange, quirks: &Quirks, now: Now) -> Relay {
        let ports = self.config.media_ports.len().max(1);
        let port = self.config.media_ports.get(self.next_relay % ports).copied().unwrap_or(0);
        self.next_relay += 1;
        let by_dtls = quirks.key_exchange.unwrap_or(keyed) == KeyExchange::Dtls;
        let fingerprint = by_dtls.then(|| self.identity()).flatten().map(DtlsIdentity::fingerprint);
        let address = SocketAddr::new(self.config.ip, port);
        let other = self.config.ip6.map(|ip| SocketAddr::new(IpAddr::V6(ip), port));
        Relay::fresh(address, other, fingerprint, quirks, self.entropy.as_mut(), now)
    }

    /// A source of randomness for one voice. Seeded: twins protect no real call.
    pub(super) fn fork_entropy(&mut self) -> Box<dyn Entropy> {
        Box::new(SeededEntropy::new(self.entropy.next_u64()))
    }

    /// The way for requests of `call`: its connection, or a new one to the number's host.
    pub(super) fn way(&mut self, call: &mut Call) -> Channel {
        if let Some(conn) = call.conn.filter(|conn| self.streams.is_alive(*conn)) {
            return Channel::Stream(conn);
        }
        let target = (call.number.hostname.clone(), call.number.port);
        let shared = self.streams.to(&target).filter(|_| !call.quirks.connection_per_call);
        let conn = shared.unwrap_or_else(|| self.streams.dial(target, Transport::Tls, Vec::new()));
        call.conn = Some(conn);
        call.report.connections += 1;
        self.transactions.move_call(&call.dialog.call_id, Channel::Stream(conn));
        Channel::Stream(conn)
    }

    pub(super) fn is_open(&self, conn: ConnId) -> bool {
        self.streams.is_open(conn)
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        self.streams.close(conn);
    }

    pub(super) fn flush(&mut self) {
        self.streams.flush(&mut self.transactions);
        self.outputs.append(&mut self.streams.outputs);
    }

    fn handle_message(&mut self, conn: ConnId, message: &Message, now: Now) {
        if message.is_request() {
            self.handle_request(conn, message, now);
        } else if self.transactions.is_news(message, now.mono) {
            let (branch, call_id) = (message.branch(), message.call_id());
            let owner = self.calls.values().find(|call| call.dialog.call_id == call_id).map(|call| call.id);
            if let Some(id) = owner {
                self.with(id, |edge, call| edge.handle_response(call, &branch, message, now));
            }
        }
    }

    fn handle_response(&mut self, call: &mut Call, branch: &str, response: &Message, now: Now) {
        let status = response.status().unwrap_or(0);
        if response.cseq().1 == "INVITE" {
            self.handle_invite_response(call, branch, response, now);
        } else if matches!(&call.stage, Stage::Closing { branch: ours } if ours == branch) && status >= 200 {
            call.report.bye_status = Some(status);
            self.finish(call);
        }
    }

    fn handle_told(&mut self, told: Told, now: Now) {
        let owner = self.calls.values().find(|call| match (&told, &call.stage) {
            (Told::NoAck { call_id }, _) => call.dialog.call_id == *call_id,
            (Told::TimedOut { branch, .. }, Stage::Closing { branch: ours }) => branch == ours,
            (Told::TimedOut { branch, .. }, Stage::Inviting(invited)) => *branch == invited.branch,
            (
                Told::TimedOut { .. },
                Stage::Connecting | Stage::Ringing { .. } | Stage::Up | Stage::Deaf | Stage::Done,
            ) => false,
        });
        let Some(id) = owner.map(|call| call.id) else { return };
        self.with(id, |edge, call| match told {
            Told::NoAck { .. } => {
                edge.violated(call, Violation::NoAck);
                edge.say_goodbye(call, Ender::Meta, now);
            }
            Told::TimedOut { .. } if matches!(call.stage, Stage::Closing { .. }) => edge.finish(call),
            Told::TimedOut { .. } => edge.fail(call, UserSaw::CallFailed, Ender::Meta, now),
        });
    }

    fn handle_due(&mut self, call: &mut Call, due: Due, now: Now) {
        match due {
            Due::Answer => self.user_decides(call, now),
            Due::GiveUp | Due::HangUp => self.user_leaves(call, now),
            Due::RingWindow => self.ring_window_closes(call, now),
            Due::DropConnection => {
                if let Some(conn) = call.conn {
                    self.close(conn);
                }
            }
            Due::MediaStart => {
                self.violated(call, Violation::NoMediaAtStart);
                self.say_goodbye(call, Ender::User, now);
            }
            Due::MediaMid => match call.media_deadline(now) {
                Some(at) => drop(call.due.insert(Due::MediaMid, at)),
                None => {
                    self.violated(call, Violation::MediaStopped);
                    self.say_goodbye(call, Ender::User, now);
                }
            },
            Due::Deaf => self.fail(call, UserSaw::CallFailed, Ender::Meta, now),
        }
    }
}

impl Party for Edge {
    fn handle_stream_opened(&mut self, conn: ConnId, facts: StreamFacts, now: Now) {
        if !conn.is_dialled() && !facts.alpn.is_empty() && self.config.quirks.alpn_refused {
            self.tell(Event::Violation(None, Violation::AlpnOffered));
            self.outputs.push_back(Output::CloseStream { conn });
            return;
        }
        self.streams.opened(conn);
        let waiting: Vec<TwinCallId> = self
            .calls
            .values()
            .filter(|c| c.conn == Some(conn) && matches!(c.stage, Stage::Connecting))
            .map(|c| c.id)
            .collect();
        for id in waiting {
            self.with(id, |edge, call| edge.send_invite(call, None, now));
        }
        self.flush();
    }

    fn handle_stream_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Now) {
        if !self.streams.is_alive(conn) {
            return;
        }
        let Some(messages) = self.streams.push(conn, bytes) else {
            self.tell(Event::Violation(None, Violation::Malformed));
            self.close(conn);
            self.flush();
            return;
        };
        for message in messages {
            self.handle_message(conn, &message, now);
        }
        self.flush();
    }

    fn handle_stream_closed(&mut self, conn: ConnId, why: Closed, now: Now) {
        self.streams.closed(conn);
        let ids: Vec<TwinCallId> =
            self.calls.values().filter(|c| c.conn == Some(conn)).map(|c| c.id).collect();
        for id in ids {
            self.with(id, |edge, call| edge.connection_lost(call, why, now));
        }
        self.flush();
    }

    fn handle_udp(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        self.take_datagram(local, from, bytes, now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.transactions.handle_timeout(now.mono);
        while let Some(told) = self.transactions.poll_told() {
            self.handle_told(told, now);
        }
        let due: Vec<TwinCallId> = self
            .calls
            .values()
            .filter(|c| c.poll_timeout().is_some_and(|at| at <= now.mono))
            .map(|c| c.id)
            .collect();
        for id in due {
            self.with(id, |edge, call| {
                if let Some(path) = &mut call.path {
                    path.handle_timeout(now);
                }
                edge.follow_path(call, now);
                if let Some(voice) = &mut call.voice {
                    voice.handle_timeout(now);
                }
                while let Some(due) = call.take_due(now) {
                    edge.handle_due(call, due, now);
                }
            });
        }
        self.flush();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.calls.values().filter_map(Call::poll_timeout).chain(self.transactions.poll_timeout()).min()
    }
}
