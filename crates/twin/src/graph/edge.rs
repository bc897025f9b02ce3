//! The machine: its connections, its calls, and what falls due.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_model::{Direction, Entropy, Now, SeededEntropy};

use super::call::{Call, Due, Stage};
use super::config::{GraphCallSpec, GraphConfig, GraphNumber};
use super::http::{self, Request};
use super::numbers::Replying;
use super::permissions::{Consequence, Permissions, Permit};
use super::report::{GraphEvent, GraphReport, GraphViolation};
use super::settings::CallSettings;
use crate::io::{Closed, ConnId, Output, Party, StreamFacts, Transport};
use crate::media::{DtlsIdentity, Heard, PathReport};
use crate::meta::describe::Relay;
use crate::meta::{Answer, Ender, UserSaw, describe, print};

/// Meta's Graph side: an HTTPS server, a sender of webhooks, a relay and the WhatsApp users behind them.
///
/// Sans-IO: see [`Party`]. Events are taken with [`poll_event`](Self::poll_event).
pub struct GraphEdge {
    pub(super) config: GraphConfig,
    pub(super) entropy: Box<dyn Entropy>,
    /// By WhatsApp's id.
    pub(super) calls: BTreeMap<String, Call>,
    pub(super) identity: Option<DtlsIdentity>,
    /// By business number.
    pub(super) permissions: BTreeMap<String, Permissions>,
    /// By Meta's id of the number.
    pub(super) settings: BTreeMap<String, CallSettings>,
    /// Replies to permission requests that users have not given yet.
    pub(super) replying: Vec<Replying>,
    pub(super) outputs: VecDeque<Output>,
    events: VecDeque<GraphEvent>,
    /// What came in on each connection that somebody else dialled.
    inbox: BTreeMap<ConnId, Vec<u8>>,
    /// Requests that wait for their reply.
    waiting: VecDeque<(Instant, ConnId, Request)>,
    /// Webhooks that wait to be sent.
    pub(super) outbox: VecDeque<Outgoing>,
    posting: Option<Posting>,
    next_conn: u64,
    next_relay: usize,
}

/// A webhook that is not acknowledged yet.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The calls it is about.
    pub(super) wacids: Vec<String>,
    pub(super) body: String,
    /// Not to be sent before; `None` at once.
    pub(super) not_before: Option<Instant>,
    /// How often it was sent in vain.
    pub(super) failed: u32,
    /// It was acknowledged before.
    pub(super) stale: bool,
}

impl Outgoing {
    /// The entries of another one become entries of this one.
    fn join(&mut self, other: Self) {
        let read = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
        let (mut body, mut more) = (read(&self.body), read(&other.body));
        if let (Some(entries), Some(more)) = (body["entry"].as_array_mut(), more["entry"].as_array_mut()) {
            entries.append(more);
        }
        self.body = body.to_string();
        self.wacids.extend(other.wacids);
    }
}

/// A webhook under way.
struct Posting {
    conn: ConnId,
    webhook: Outgoing,
    bytes: Bytes,
    answer: Vec<u8>,
    /// Until then an answer is waited for.
    until: Instant,
}

impl GraphEdge {
    /// Makes an edge that listens and waits. Draws all randomness from `entropy`.
    pub fn new(config: GraphConfig, entropy: Box<dyn Entropy>) -> Self {
        let listen = Output::Listen {
            local: SocketAddr::new(config.ip, config.https_port),
            transport: Transport::Tls,
        };
        let bind = config.media_ports.iter().map(|port| SocketAddr::new(config.ip, *port));
        Self {
            outputs: std::iter::once(listen).chain(bind.map(|local| Output::BindUdp { local })).collect(),
            config,
            entropy,
            calls: BTreeMap::new(),
            identity: None,
            permissions: BTreeMap::new(),
            settings: BTreeMap::new(),
            replying: Vec::new(),
            events: VecDeque::new(),
            inbox: BTreeMap::new(),
            waiting: VecDeque::new(),
            outbox: VecDeque::new(),
            posting: None,
            next_conn: 0,
            next_relay: 0,
        }
    }

    /// Says where webhooks go from now on.
    pub fn send_webhooks_to(&mut self, address: SocketAddr) {
        self.config.webhooks = address;
    }

    /// Lets a user call the business; returns WhatsApp's id of the call. The report comes as [`GraphEvent::Ended`]. Nothing comes
    /// of it where calling is disabled, outside the call hours, or if the business cannot pay.
    pub fn call(&mut self, spec: GraphCallSpec, now: Now) -> Option<String> {
        let number = self.config.numbers.iter().find(|number| number.number == spec.number)?.clone();
        let settings = self.settings_of(&number.id);
        if !settings.enabled || !settings.is_open(now.wall) {
            return None;
        }
        if self.config.habits.unpaid {
            self.tell_unpaid(&number, now);
            self.flush(now);
            return None;
        }
        let mut call = self.begin(number, &spec.user, Direction::UserInitiated, now);
        call.stage = Stage::Waiting { ahead: None };
        call.person = spec.person;
        call.name = spec.name;
        call.cta_payload = spec.cta_payload;
        let at = |ms| now.mono + Duration::from_millis(ms);
        call.due.insert(Due::RingWindow, at(self.config.habits.ring_window_ms));
        call.due.extend(spec.gives_up_after_ms.map(|ms| (Due::GiveUp, at(ms))));
        let offer = describe::offer(&call.relay, &self.config.quirks);
        if self.config.habits.ends_first {
            self.end(&mut call, UserSaw::NoAnswer, Ender::User, now);
        }
        self.tell_offer(&call, &offer, now);
        let wacid = call.wacid.clone();
        self.calls.insert(wacid.clone(), call);
        self.flush(now);
        Some(wacid)
    }

    /// Lets the user of a call hang up, or give up.
    pub fn hang_up(&mut self, wacid: &str, now: Now) {
        self.with(wacid, |edge, call| edge.user_leaves(call, now));
        self.flush(now);
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<GraphEvent> {
        self.events.pop_front()
    }

    // -- for the other files of this module

    pub(super) fn begin(&mut self, number: GraphNumber, user: &str, direction: Direction, now: Now) -> Call {
        let wacid = print::wacid(true, self.entropy.as_mut());
        let relay = self.allot(now);
        Call {
            path: relay.begin_path(&self.config.quirks),
            number,
            name: String::new(),
            cta_payload: None,
            person: self.config.anyone.person.clone(),
            stage: Stage::Over,
            relay,
            voice: None,
            due: BTreeMap::new(),
            answered: None,
            report: GraphReport {
                wacid: wacid.clone(),
                direction,
                user: user.to_owned(),
                began: now.wall,
                saw: UserSaw::NoAnswer,
                ended_by: Ender::Meta,
                asked: Vec::new(),
                answered_at: None,
                talked_ms: None,
                pulses: 0,
                webhooks: Vec::new(),
                violations: Vec::new(),
                path: PathReport::default(),
                heard: Heard::default(),
            },
            wacid,
        }
    }

    /// Takes the call out, runs `run` on it, and puts it back.
    pub(super) fn with<R>(&mut self, wacid: &str, run: impl FnOnce(&mut Self, &mut Call) -> R) -> Option<R> {
        let mut call = self.calls.remove(wacid)?;
        let result = run(self, &mut call);
        self.pump(&mut call);
        self.calls.insert(wacid.to_owned(), call);
        Some(result)
    }

    pub(super) fn tell(&mut self, event: GraphEvent) {
        self.events.push_back(event);
    }

    /// The last word of a call, and its webhook.
    pub(super) fn end(&mut self, call: &mut Call, saw: UserSaw, by: Ender, now: Now) {
        if call.answered.is_none() {
            call.report.saw = saw;
        }
        call.ends(by, now);
        self.tell_end(call, None, now);
        self.count(call, now);
    }

    /// The user hangs up, gives up or lets it be, as the call stands.
    fn user_leaves(&mut self, call: &mut Call, now: Now) {
        if !matches!(call.stage, Stage::Over) {
            self.end(call, UserSaw::NoAnswer, Ender::User, now);
        }
    }

    fn allot(&mut self, now: Now) -> Relay {
        let ports = self.config.media_ports.len().max(1);
        let port = self.config.media_ports.get(self.next_relay % ports).copied().unwrap_or(0);
        self.next_relay += 1;
        if self.identity.is_none() {
            self.identity = DtlsIdentity::fresh();
        }
        let fingerprint = self.identity.as_ref().map(DtlsIdentity::fingerprint);
        let address = SocketAddr::new(self.config.ip, port);
        Relay::fresh(address, None, fingerprint, &self.config.quirks, self.entropy.as_mut(), now)
    }

    /// What a call of the business that ended costs, and does to its permission.
    fn count(&mut self, call: &mut Call, now: Now) {
        if call.report.direction == Direction::UserInitiated {
            return;
        }
        call.report.pulses = call.report.talked_ms.map_or(0, |ms| ms.div_ceil(6_000).max(1));
        let connected = call.answered.is_some();
        // One that the business gave up says nothing of the user.
        if !connected && call.report.ended_by == Ender::Business {
            return;
        }
        let user = call.report.user.clone();
        let consequence = self.permissions_of(&call.number.number).called(&user, connected, now.wall);
        if consequence == Consequence::Revoked {
            self.tell_reply(&call.number.clone(), &user, Permit::No, None, now);
        }
    }

    pub(super) fn fork_entropy(&mut self) -> Box<dyn Entropy> {
        Box::new(SeededEntropy::new(self.entropy.next_u64()))
    }

    /// Reports calls whose last webhook is out, and sends the next one.
    pub(super) fn flush(&mut self, now: Now) {
        let ready = |webhook: &Outgoing| webhook.not_before.is_none_or(|at| at <= now.mono);
        if self.posting.is_none()
            && let Some(at) = self.outbox.iter().position(ready)
            && let Some(mut webhook) = self.outbox.remove(at)
        {
            while self.config.habits.batches
                && let Some(at) = self.outbox.iter().position(ready)
                && let Some(other) = self.outbox.remove(at)
            {
                webhook.join(other);
            }
            let conn = ConnId::dialled(self.next_conn);
            self.next_conn += 1;
            let to = self.config.webhooks;
            let signature = crate::webhook::sign(&self.config.secret, webhook.body.as_bytes());
            let bytes = http::post(&to.to_string(), "/webhooks/whatsapp", &signature, &webhook.body);
            self.outputs.push_back(Output::Connect {
                conn,
                transport: Transport::Tcp,
                host: to.ip().to_string(),
                port: to.port(),
                alpn: Vec::new(),
            });
            let until = now.mono + PATIENCE;
            self.posting = Some(Posting { conn, webhook, bytes, answer: Vec::new(), until });
        }
        let busy = self.posting.as_ref().map(|posting| posting.webhook.wacids.clone()).unwrap_or_default();
        let waits = |wacid: &str, edge: &Self| {
            let about = |wacids: &[String]| wacids.iter().any(|about| about == wacid);
            about(&busy) || edge.outbox.iter().any(|webhook| !webhook.stale && about(&webhook.wacids))
        };
        let over: Vec<String> = self
            .calls
            .values()
            .filter(|call| matches!(call.stage, Stage::Over) && !waits(&call.wacid, self))
            .map(|call| call.wacid.clone())
            .collect();
        for wacid in over {
            let Some(mut call) = self.calls.remove(&wacid) else { continue };
            self.pump(&mut call);
            if let Some(voice) = &call.voice {
                call.report.heard = voice.report();
            }
            if let Some(path) = &call.path {
                call.report.path = path.report();
            }
            self.tell(GraphEvent::Ended(Box::new(call.report)));
        }
    }

    fn posted(&mut self, status: u16, now: Now) {
        let Some(Posting { conn, mut webhook, .. }) = self.posting.take() else { return };
        self.outputs.push_back(Output::CloseStream { conn });
        for wacid in &webhook.wacids {
            if let Some(call) = self.calls.get_mut(wacid) {
                call.report.webhooks.push(status);
            }
        }
        webhook.failed += 1;
        if status == 200
            && let Some(ms) = self.config.habits.stale_ms.filter(|_| !webhook.stale)
        {
            webhook.stale = true;
            webhook.not_before = Some(now.mono + Duration::from_millis(ms));
            self.outbox.push_back(webhook);
        } else if status != 200 && webhook.failed <= MOST_REDELIVERIES {
            let after = Duration::from_millis(self.config.habits.redeliver_ms);
            webhook.not_before = Some(now.mono + after);
            self.outbox.push_back(webhook);
        }
        self.flush(now);
    }

    fn handle_due(&mut self, call: &mut Call, due: Due, now: Now) {
        match due {
            Due::GiveUp | Due::HangUp => self.user_leaves(call, now),
            Due::RingWindow => {
                let saw = match call.report.direction {
                    Direction::UserInitiated => UserSaw::NoAnswer,
                    Direction::BusinessInitiated => UserSaw::Missed,
                };
                self.end(call, saw, Ender::Meta, now);
            }
            Due::MediaStart => {
                if call.voice.as_ref().is_none_or(|voice| voice.last_heard(false).is_none()) {
                    call.report.violated(GraphViolation::NoMediaAtStart);
                    call.ends(Ender::User, now);
                    self.tell_end(call, Some((138_021, "No media received")), now);
                }
            }
            Due::Describe => self.describe(call, now),
            Due::Decide => match self.config.anyone.answer {
                Answer::After(_) => self.user_takes(call, now),
                Answer::DeclineAfter(_) => self.user_declines(call, now),
                Answer::Never | Answer::Refuse(_) => {}
            },
        }
    }

    fn answer_requests(&mut self, now: Now) {
        while let Some((at, _, _)) = self.waiting.front()
            && *at <= now.mono
            && let Some((_, conn, request)) = self.waiting.pop_front()
        {
            let (status, body) = self.ask(&request, now);
            self.outputs.push_back(Output::SendStream { conn, bytes: http::response(status, &body) });
        }
    }
}

impl Party for GraphEdge {
    fn handle_stream_opened(&mut self, conn: ConnId, _facts: StreamFacts, _now: Now) {
        match &self.posting {
            Some(posting) if posting.conn == conn => {
                self.outputs.push_back(Output::SendStream { conn, bytes: posting.bytes.clone() });
            }
            Some(_) | None => drop(self.inbox.insert(conn, Vec::new())),
        }
    }

    fn handle_stream_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Now) {
        if let Some(posting) = self.posting.as_mut().filter(|posting| posting.conn == conn) {
            posting.answer.extend(bytes);
            if let Some(status) = http::take_status(&mut posting.answer) {
                self.posted(status, now);
            }
            return;
        }
        let Some(buffer) = self.inbox.get_mut(&conn) else { return };
        buffer.extend(bytes);
        let at = now.mono + Duration::from_millis(self.config.habits.reply_ms);
        while let Some(request) = http::take_request(buffer) {
            match request {
                Ok(request) => self.waiting.push_back((at, conn, request)),
                Err(()) => self.outputs.push_back(Output::CloseStream { conn }),
            }
        }
        self.answer_requests(now);
        self.flush(now);
    }

    fn handle_stream_closed(&mut self, conn: ConnId, _why: Closed, now: Now) {
        self.inbox.remove(&conn);
        if self.posting.as_ref().is_some_and(|posting| posting.conn == conn) {
            // Nobody took it.
            self.posted(0, now);
        }
    }

    fn handle_udp(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        self.take_datagram(local, from, bytes, now);
        self.flush(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.answer_requests(now);
        if self.posting.as_ref().is_some_and(|posting| posting.until <= now.mono) {
            self.posted(0, now);
        }
        self.reply_due(now);
        let due = self.calls.values().filter(|call| call.poll_timeout().is_some_and(|at| at <= now.mono));
        let due: Vec<String> = due.map(|call| call.wacid.clone()).collect();
        for wacid in due {
            self.with(&wacid, |edge, call| {
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
        self.flush(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let calls = self.calls.values().filter_map(Call::poll_timeout);
        let replies = self.replying.iter().map(|reply| reply.at);
        let posting = self.posting.as_ref().map(|posting| posting.until);
        let webhooks = self.outbox.iter().filter(|_| posting.is_none()).filter_map(|it| it.not_before);
        let requests = self.waiting.front().map(|(at, _, _)| *at);
        calls.chain(requests).chain(replies).chain(posting).chain(webhooks).min()
    }
}

/// How long Meta waits for the answer to a webhook.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a webhook is sent again that nobody takes.
const MOST_REDELIVERIES: u32 = 8;
