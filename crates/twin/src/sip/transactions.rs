//! Retransmission and matching for one party: as little of RFC 3261 section 17 as an honest peer needs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::message::Message;
use crate::io::{ConnId, Output};

/// The way to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Stream(ConnId),
    Udp { local: SocketAddr, remote: SocketAddr },
}

impl Channel {
    pub(crate) const fn is_reliable(self) -> bool {
        matches!(self, Self::Stream(_))
    }

    pub(crate) fn send(self, bytes: Bytes) -> Output {
        match self {
            Self::Stream(conn) => Output::SendStream { conn, bytes },
            Self::Udp { local, remote } => Output::SendUdp { from: local, to: remote, bytes },
        }
    }
}

/// RFC 3261 section 17.1.1.1.
pub(crate) const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// Timers B, F, H and J.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(32);

/// What the transactions tell their user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// No final response to this request.
    TimedOut { branch: String, method: String },
    /// No ACK for a 2xx to this INVITE.
    NoAck { call_id: String },
}

#[derive(Debug)]
struct Client {
    branch: String,
    method: String,
    bytes: Bytes,
    channel: Channel,
    resend: Option<(Instant, Duration)>,
    give_up_at: Instant,
    /// The ACK of a final refusal, sent again whenever the refusal is.
    ack: Option<Bytes>,
}

#[derive(Debug)]
struct Server {
    branch: String,
    method: String,
    call_id: String,
    reply: Bytes,
    channel: Channel,
    /// A final response to INVITE is repeated until its ACK: 2xx on any transport, refusals over UDP.
    resend: Option<(Instant, Duration)>,
    is_answer: bool,
    until: Instant,
}

/// All transactions of one party.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    clients: Vec<Client>,
    servers: Vec<Server>,
    pub(crate) outputs: VecDeque<Output>,
    told: VecDeque<Told>,
}

impl Transactions {
    /// Sends a request that expects a response.
    pub(crate) fn request(
        &mut self,
        branch: &str,
        method: &str,
        bytes: Bytes,
        channel: Channel,
        now: Instant,
    ) {
        self.outputs.push_back(channel.send(bytes.clone()));
        self.clients.push(Client {
            branch: branch.to_owned(),
            method: method.to_owned(),
            bytes,
            channel,
            resend: (!channel.is_reliable()).then_some((now + T1, T1)),
            give_up_at: now + GIVE_UP,
            ack: None,
        });
    }

    /// Takes a response. Returns whether it is news: one of our requests, and not a repeated refusal.
    pub(crate) fn is_news(&mut self, response: &Message, now: Instant) -> bool {
        let (branch, (_, method)) = (response.branch(), response.cseq());
        let status = response.status().unwrap_or(0);
        let Some(at) = self.clients.iter().position(|c| c.branch == branch && c.method == method) else {
            return false;
        };
        let Some(client) = self.clients.get_mut(at) else { return false };
        if let Some(ack) = &client.ack {
            let ack = client.channel.send(ack.clone());
            self.outputs.push_back(ack);
            return false;
        }
        if status < 200 {
            if method == "INVITE" {
                client.resend = None;
                // A proceeding INVITE has no Timer B; its owner has a ring timer.
                client.give_up_at = now + Duration::from_secs(600);
            }
        } else if method == "INVITE" && status < 300 {
            // Kept: the 2xx is repeated until our ACK arrives, and each copy is news to the dialog.
            client.resend = None;
            client.give_up_at = now + GIVE_UP;
            client.bytes = Bytes::new();
        } else if method != "INVITE" {
            self.clients.remove(at);
        }
        true
    }

    /// Acknowledges a refusal of INVITE; repeated with it.
    pub(crate) fn acknowledge_refusal(&mut self, branch: &str, ack: Bytes, now: Instant) {
        if let Some(client) = self.clients.iter_mut().find(|c| c.branch == branch && c.method == "INVITE") {
            self.outputs.push_back(client.channel.send(ack.clone()));
            client.ack = Some(ack);
            client.resend = None;
            client.give_up_at = now + GIVE_UP;
        }
    }

    /// Sends something that has no transaction: the ACK of a 2xx.
    pub(crate) fn send(&mut self, bytes: Bytes, channel: Channel) {
        self.outputs.push_back(channel.send(bytes));
    }

    /// Whether `request` repeats one that was answered; the answer is sent again, the way the request came.
    pub(crate) fn is_repeated(&mut self, request: &Message, channel: Channel) -> bool {
        let (branch, method) = (request.branch(), request.method().unwrap_or_default());
        let known = self.servers.iter_mut().find(|s| s.branch == branch && s.method == method);
        let Some(server) = known else { return false };
        server.channel = channel;
        self.outputs.push_back(channel.send(server.reply.clone()));
        true
    }

    /// Responds to `request`; the response is kept for retransmissions.
    pub(crate) fn respond(
        &mut self,
        request: &Message,
        status: u16,
        reply: Bytes,
        channel: Channel,
        now: Instant,
    ) {
        let (branch, method) = (request.branch(), request.method().unwrap_or_default());
        self.outputs.push_back(channel.send(reply.clone()));
        self.servers.retain(|s| s.branch != branch || s.method != method);
        let repeats =
            method == "INVITE" && (status >= 300 && !channel.is_reliable() || (200..300).contains(&status));
        self.servers.push(Server {
            branch,
            call_id: request.call_id(),
            resend: repeats.then_some((now + T1, T1)),
            is_answer: method == "INVITE" && (200..300).contains(&status),
            method,
            reply,
            channel,
            until: now + if status < 200 { Duration::from_secs(600) } else { GIVE_UP },
        });
    }

    /// Takes an ACK: stops the repetition of what it acknowledges.
    pub(crate) fn handle_ack(&mut self, ack: &Message) {
        let (branch, call_id) = (ack.branch(), ack.call_id());
        for server in self.servers.iter_mut().filter(|s| s.method == "INVITE") {
            if server.branch == branch || server.is_answer && server.call_id == call_id {
                server.resend = None;
                server.is_answer = false;
            }
        }
    }

    /// Moves a call's repetitions to another way, after its connection was replaced.
    pub(crate) fn move_call(&mut self, call_id: &str, to: Channel) {
        self.servers.iter_mut().filter(|s| s.call_id == call_id).for_each(|s| s.channel = to);
    }

    /// Forgets the unacknowledged answer of a call that ended otherwise.
    pub(crate) fn forget_answer(&mut self, call_id: &str) {
        for server in self.servers.iter_mut().filter(|s| s.call_id == call_id) {
            server.resend = None;
            server.is_answer = false;
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let (outputs, told) = (&mut self.outputs, &mut self.told);
        self.clients.retain_mut(|client| {
            if client.give_up_at <= now {
                if client.ack.is_none() && !client.bytes.is_empty() {
                    told.push_back(Told::TimedOut {
                        branch: client.branch.clone(),
                        method: client.method.clone(),
                    });
                }
                return false;
            }
            let capped = client.method != "INVITE";
            resend(&mut client.resend, capped, now, || {
                outputs.push_back(client.channel.send(client.bytes.clone()))
            });
            true
        });
        self.servers.retain_mut(|server| {
            if server.until <= now {
                if server.is_answer {
                    told.push_back(Told::NoAck { call_id: server.call_id.clone() });
                }
                return false;
            }
            resend(&mut server.resend, true, now, || {
                outputs.push_back(server.channel.send(server.reply.clone()))
            });
            true
        });
    }

    pub(crate) fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let clients = self.clients.iter().flat_map(|c| [Some(c.give_up_at), c.resend.map(|(at, _)| at)]);
        let servers = self.servers.iter().flat_map(|s| [Some(s.until), s.resend.map(|(at, _)| at)]);
        clients.chain(servers).flatten().min()
    }
}

fn resend(timer: &mut Option<(Instant, Duration)>, capped: bool, now: Instant, mut send: impl FnMut()) {
    if let Some((at, after)) = timer
        && *at <= now
    {
        send();
        *after = if capped { (*after * 2).min(T2) } else { *after * 2 };
        *at = now + *after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] =
        b"INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\n\
        To: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

    fn udp() -> Channel {
        Channel::Udp { local: ([192, 0, 2, 1], 5_060).into(), remote: ([192, 0, 2, 2], 5_060).into() }
    }

    fn run_out(transactions: &mut Transactions) -> (usize, Vec<Told>) {
        let mut sent = 0;
        while let Some(at) = transactions.poll_timeout() {
            transactions.handle_timeout(at);
            sent += transactions.outputs.drain(..).count();
        }
        (sent, std::iter::from_fn(|| transactions.poll_told()).collect())
    }

    #[test]
    fn a_request_over_udp_is_sent_seven_times_and_given_up_after_32_seconds() {
        let mut transactions = Transactions::default();
        let start = Instant::now();
        transactions.request("z9hG4bK1", "INVITE", Bytes::from_static(INVITE), udp(), start);
        let (sent, told) = run_out(&mut transactions);
        assert_eq!(sent, 7);
        assert_eq!(told, [Told::TimedOut { branch: "z9hG4bK1".into(), method: "INVITE".into() }]);
    }

    #[test]
    fn an_answer_is_repeated_on_any_transport_until_its_ack() {
        let invite = Message::parse(INVITE).unwrap();
        let stream = Channel::Stream(ConnId::accepted(1));
        let mut transactions = Transactions::default();
        let now = Instant::now();
        transactions.respond(&invite, 200, Bytes::from_static(b"x"), stream, now);
        assert_eq!(run_out(&mut transactions), (10 + 1, vec![Told::NoAck { call_id: "c".into() }]));
        transactions.respond(&invite, 200, Bytes::from_static(b"x"), stream, now);
        transactions.handle_ack(&invite);
        assert_eq!(run_out(&mut transactions), (1, vec![]));
    }

    #[test]
    fn a_repeated_request_gets_the_same_answer_again() {
        let invite = Message::parse(INVITE).unwrap();
        let mut transactions = Transactions::default();
        assert!(!transactions.is_repeated(&invite, udp()));
        transactions.respond(&invite, 486, Bytes::from_static(b"x"), udp(), Instant::now());
        assert!(transactions.is_repeated(&invite, udp()));
        assert_eq!(transactions.outputs.len(), 2);
    }
}
