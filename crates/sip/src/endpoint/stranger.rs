//! How strangers are turned away: briefly, without a transaction, and never with more bytes than they sent.

use setu_model::Now;

use super::door::Rejected;
use super::{Endpoint, Event, Stranger};
use crate::digest::Challenge;
use crate::flow::Arrival;
use crate::message::{Message, Method, ParseError};
use crate::transaction::Origin;

impl Endpoint {
    /// Refuses a request whose sender proved nothing.
    ///
    /// The answer keeps no state, so that a flood takes no memory. Over UDP the source may be forged: what would be
    /// larger than the request is not sent. An ordinary REGISTER has room for a challenge of every algorithm, if need
    /// be in the fewest bytes that say it; a very short one gets the one every phone can answer, or silence.
    pub(super) fn turn_away(&mut self, arrival: &Arrival, request: &Message, rejected: Rejected, now: Now) {
        let Rejected { status, why, stale } = rejected;
        let method = request.method().unwrap_or(Method::Options);
        let source = arrival.remote.ip();
        let metered = !matches!(why, Stranger::Challenged | Stranger::WrongCredentials);
        if why == Stranger::Rate || (metered && !self.gate.admit(source, now.mono)) {
            self.refuse_flood(arrival, request);
            return;
        }
        // A stranger with the wrong method learns nothing over UDP, not even that somebody is here.
        let silent = why == Stranger::Method && !arrival.transport.is_reliable();
        let reply = if silent { None } else { self.brief_reply(arrival, request, status, stale, now) };
        let sent = reply.is_some();
        if let Some(reply) = reply {
            self.layer.respond_stateless(Origin::of(request, arrival), reply);
        }
        let why = if sent || silent { why } else { Stranger::Amplification };
        if why == Stranger::Challenged {
            self.layer.counters.challenged += 1;
        } else {
            self.layer.counters.strangers_refused += 1;
        }
        let status = sent.then_some(status);
        self.layer.tell(Event::StrangerRefused { side: arrival.side, source, method, status, why });
    }

    /// A source asks more often than a stranger may: silence over UDP, the end of a stream on which nobody ever proved
    /// anything, and 503 on one that carries known peers.
    fn refuse_flood(&mut self, arrival: &Arrival, request: &Message) {
        self.layer.counters.rate_limited += 1;
        if !arrival.transport.is_reliable() {
            return;
        }
        if !self.proven.contains(&arrival.flow) {
            self.layer.close(arrival.flow);
            return;
        }
        self.ask_to_come_back(arrival, request);
    }

    /// Sends 503 with Retry-After, without a transaction: there may be no room for one.
    pub(super) fn ask_to_come_back(&mut self, arrival: &Arrival, request: &Message) {
        let retry_after = self.layer.config.limits.retry_after_s.to_string();
        let tag = self.layer.entropy.hex(8);
        let Ok(received) = request.with_received(arrival.remote) else { return };
        let reply =
            Message::reply(&received, 503, None, Some(&tag)).header("Retry-After", retry_after).build();
        if let Ok(reply) = reply {
            self.layer.respond_stateless(Origin::of(request, arrival), reply);
        }
    }

    /// Refuses what cannot be read.
    pub(super) fn turn_malformed_away(
        &mut self,
        arrival: &Arrival,
        error: &ParseError,
        method: Option<Method>,
        now: Now,
    ) {
        self.layer.counters.malformed += 1;
        let source = arrival.remote.ip();
        if !self.gate.admit(source, now.mono) {
            self.layer.counters.rate_limited += 1;
            return;
        }
        // How large the request was is not known here, and a datagram's sender may be forged: silence.
        let reply = error.response().filter(|_| arrival.transport.is_reliable());
        let status = reply.as_ref().and(Some(error.status));
        if let Some(reply) = reply {
            self.layer.respond_stateless(Origin::of(&reply, arrival), reply);
        }
        self.layer.counters.strangers_refused += 1;
        let method = method.unwrap_or_else(|| Method::Other("-".into()));
        let why = Stranger::Malformed;
        self.layer.tell(Event::StrangerRefused { side: arrival.side, source, method, status, why });
    }

    /// Writes the answer, no longer than the request if that came by datagram.
    fn brief_reply(
        &mut self,
        arrival: &Arrival,
        request: &Message,
        status: u16,
        stale: bool,
        now: Now,
    ) -> Option<Message> {
        // Short, since every byte counts against the request's; it names no dialog that could be guessed.
        let tag = self.layer.entropy.hex(4);
        let bytes = request.as_bytes().len();
        let request = &request.with_received(arrival.remote).ok()?;
        let most = if arrival.transport.is_reliable() { usize::MAX } else { bytes };
        let name = match status {
            401 => "WWW-Authenticate",
            407 => "Proxy-Authenticate",
            _ => return brief(request, status, &tag, "", &[]).filter(|reply| reply.as_bytes().len() <= most),
        };
        let side = self.layer.config.side(arrival.side);
        let mut challenges = self.gate.challenge(&side.realm, stale, now.wall);
        challenges.retain(|challenge| side.digest.contains(&challenge.algorithm));
        // The last is the weakest of those configured: MD5, which every phone can answer, unless it is switched off.
        let weakest = challenges.len().saturating_sub(1)..;
        [
            brief(request, status, &tag, name, &challenges),
            terse(request, status, &tag, name, &challenges),
            terse(request, status, &tag, name, challenges.get(weakest)?),
        ]
        .into_iter()
        .flatten()
        .find(|reply| reply.as_bytes().len() <= most)
    }
}

fn brief(request: &Message, status: u16, tag: &str, name: &str, challenges: &[Challenge]) -> Option<Message> {
    let reply = Message::reply(request, status, None, Some(tag));
    challenges.iter().fold(reply, |reply, challenge| reply.header(name, challenge.to_string())).build().ok()
}

/// The shortest challenge a phone understands, for a REGISTER that carries little but what it must: compact header
/// names, a short reason, few spaces, MD5 by leaving the algorithm out (RFC 7616 section 3.3), and no `received` that
/// repeats the host of its Via (RFC 3261 section 18.2.1 does without).
fn terse(request: &Message, status: u16, tag: &str, name: &str, challenges: &[Challenge]) -> Option<Message> {
    let mut reply = Message::response(status, Some("Auth"));
    let repeated = request.top_via().map(|via| format!(";received={}", via.host)).unwrap_or_default();
    for (long, short) in [("Via", "v"), ("From", "f"), ("To", "t"), ("Call-ID", "i"), ("CSeq", "CSeq")] {
        for header in request.headers().filter(|header| header.is(long)) {
            let mut value = header.value().to_vec();
            if long == "To" && request.to().is_ok_and(|to| to.tag().is_none()) {
                value.extend_from_slice(format!(";tag={tag}").as_bytes());
            }
            if long == "Via" && value.ends_with(repeated.as_bytes()) {
                value.truncate(value.len() - repeated.len());
            }
            reply = reply.header(short, value);
        }
    }
    challenges
        .iter()
        .fold(reply, |reply, challenge| reply.header(name, challenge.terse()))
        .compact()
        .build()
        .ok()
}
