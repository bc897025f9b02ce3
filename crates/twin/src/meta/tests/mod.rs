//! The edge against a bridge that is a hand-written transcript, in virtual time.

mod business;
mod dtls;
mod media;
mod user;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use setu_model::{Now, SeededEntropy, Wall};

use super::*;
use crate::io::{Closed, ConnId, Output, Party as _, StreamFacts, Transport};
use crate::media::{CryptoLine, Heard, Keys, Says, Voice, VoicePlan};
use crate::person::Person;
use crate::sip::digest;
use crate::webrtc::Webrtc;

const NUMBER: &str = "+15557000";
const USER: &str = "+12195550714";
const BRIDGE_KEY: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

/// An edge and the wire in front of it.
struct Bench {
    edge: Edge,
    now: Now,
    conn: ConnId,
    accepted: u64,
    /// SIP messages the edge sent, not read yet.
    wire: Vec<String>,
    outputs: Vec<Output>,
    events: Vec<Event>,
    business: Option<Voice>,
    webrtc: Option<Webrtc>,
    /// What the voice at the end of `webrtc` says once there are keys.
    says: Says,
}

impl Bench {
    fn new(quirks: Quirks) -> Self {
        Self::with(EdgeConfig { quirks, ..EdgeConfig::default() })
    }

    fn with(config: EdgeConfig) -> Self {
        Self::made(config, KeyExchange::Sdes)
    }

    /// An edge whose number is configured for these keys.
    fn keyed(key_exchange: KeyExchange) -> Self {
        Self::made(EdgeConfig::default(), key_exchange)
    }

    fn made(config: EdgeConfig, key_exchange: KeyExchange) -> Self {
        let number = BusinessNumber {
            number: NUMBER.into(),
            hostname: "sip.bridge.test".into(),
            port: 5_061,
            password: "pw".into(),
            user_params: vec![("tgrp".into(), "wacall".into())],
            key_exchange,
        };
        let config = EdgeConfig { numbers: vec![number], ..config };
        Self {
            edge: Edge::new(config, Box::new(SeededEntropy::new(1))),
            now: Now { mono: Instant::now(), wall: Wall::from_unix_ms(1_790_963_543_407) },
            conn: ConnId::dialled(0),
            accepted: 0,
            wire: Vec::new(),
            outputs: Vec::new(),
            events: Vec::new(),
            business: None,
            webrtc: None,
            says: Says::tone(880),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.edge.poll_output() {
            match &output {
                Output::SendStream { bytes, .. } => {
                    self.wire.push(String::from_utf8(bytes.to_vec()).unwrap())
                }
                Output::SendUdp { from, bytes, .. } => {
                    let taken = self.webrtc.as_mut().is_some_and(|end| !end.handle(*from, bytes, self.now));
                    if !taken && let Some(business) = &mut self.business {
                        business.handle_datagram(bytes, self.now);
                    }
                }
                Output::Connect { conn, .. } => self.conn = *conn,
                Output::Listen { .. } | Output::CloseStream { .. } | Output::BindUdp { .. } => {}
            }
            self.outputs.push(output);
        }
        self.events.extend(std::iter::from_fn(|| self.edge.poll_event()));
    }

    fn facts(alpn: &[&str]) -> StreamFacts {
        let at = SocketAddr::from(([192, 0, 2, 9], 5_061));
        let alpn = alpn.iter().map(|name| (*name).to_owned()).collect();
        StreamFacts { local: at, remote: at, transport: Transport::Tls, alpn }
    }

    /// The connection the edge dialled last is open.
    fn open(&mut self) {
        self.drain();
        self.edge.handle_stream_opened(self.conn, Self::facts(&[]), self.now);
        self.drain();
    }

    /// The bridge dials the edge.
    fn dialled_by_bridge(&mut self, alpn: &[&str]) {
        self.accepted += 1;
        self.conn = ConnId::accepted(self.accepted);
        self.edge.handle_stream_opened(self.conn, Self::facts(alpn), self.now);
        self.drain();
    }

    fn say(&mut self, text: &str) {
        self.edge.handle_stream_bytes(self.conn, text.as_bytes(), self.now);
        self.drain();
    }

    /// The next message of the edge.
    fn next(&mut self) -> String {
        self.drain();
        assert!(!self.wire.is_empty(), "the edge says nothing; {:?}", self.events);
        self.wire.remove(0)
    }

    fn is_silent(&mut self) -> bool {
        self.drain();
        self.wire.is_empty()
    }

    /// Lets time pass, with the business's voice if there is one.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 5 {
            self.now = self.now.after(Duration::from_millis(5));
            if self.edge.poll_timeout().is_some_and(|at| at <= self.now.mono) {
                self.edge.handle_timeout(self.now);
            }
            self.drain();
            self.run_webrtc();
            let Some(business) = &mut self.business else { continue };
            business.handle_timeout(self.now);
            let relay = business.plan().remote;
            while let Some((_, bytes)) = business.poll_transmit() {
                self.edge.handle_udp(relay, bridge_media(), &bytes, self.now);
            }
            self.drain();
        }
    }

    /// Lets the WebRTC end speak; its voice begins with the keys.
    fn run_webrtc(&mut self) {
        let Some(end) = &mut self.webrtc else { return };
        end.handle_timeout(self.now);
        let local = end.local;
        while let Some((to, bytes)) = self.webrtc.as_mut().and_then(|end| end.transmits.pop_front()) {
            self.edge.handle_udp(to, local, &bytes, self.now);
            self.drain();
        }
        if self.business.is_none()
            && let Some(end) = &self.webrtc
            && let (Some((ours, theirs)), Some(relay)) = (end.keys.clone(), end.remote)
        {
            let mut plan = business_plan(&bridge_sdp(), self.says);
            plan.keys = Keys::Known(ours, theirs);
            (plan.remote, plan.remote_rtcp) = (relay, relay);
            self.business = Some(Voice::new(plan, Box::new(SeededEntropy::new(9)), self.now));
        }
    }

    fn report(&mut self) -> CallReport {
        self.drain();
        let report = self.events.iter().find_map(Event::ended).cloned();
        report.unwrap_or_else(|| panic!("the call goes on: {:?}", self.events))
    }

    fn saw(&self, violation: &Violation) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Violation(_, seen) if seen == violation))
    }

    /// A user's call up to its INVITE.
    fn invite(&mut self, spec: CallSpec) -> String {
        self.edge.call(CallSpec { user: USER.into(), number: NUMBER.into(), ..spec }, self.now);
        self.open();
        self.next()
    }

    /// Another call over the same connection, up to its INVITE.
    fn again(&mut self, spec: CallSpec) -> String {
        self.edge.call(CallSpec { user: USER.into(), number: NUMBER.into(), ..spec }, self.now);
        self.next()
    }

    /// A user's call, answered by the business.
    fn answered(&mut self, spec: CallSpec) -> String {
        let invite = self.invite(spec);
        self.say(&ok(&invite, &bridge_sdp()));
        invite
    }

    /// The business speaks, keyed as `meta_sdp` and [`bridge_sdp`] say.
    fn business_speaks(&mut self, meta_sdp: &str, says: Says) {
        let plan = business_plan(meta_sdp, says);
        self.business = Some(Voice::new(plan, Box::new(SeededEntropy::new(9)), self.now));
    }

    fn business_heard(&self) -> Heard {
        self.business.as_ref().unwrap().report()
    }
}

fn bridge_media() -> SocketAddr {
    ([192, 0, 2, 9], 40_000).into()
}

fn bridge_sdp() -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 40000 RTP/SAVP 111 126\r\n\
         {BRIDGE_KEY}\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\na=ptime:20\r\n"
    )
}

/// The business's end of the media, made from Meta's description and its own.
fn business_plan(meta_sdp: &str, says: Says) -> VoicePlan {
    let ours = CryptoLine::read(BRIDGE_KEY.strip_prefix("a=crypto:").unwrap()).unwrap();
    let sdp = crate::sip::sdp::Sdp::read(meta_sdp).unwrap();
    let relay = describe::Relay {
        address: bridge_media(),
        crypto: ours,
        path: None,
        stream: String::new(),
        ssrc: 0,
        id: 0,
    };
    let quirks = Quirks {
        waits_for_first_packet: false,
        rtcp_interval_ms: 0,
        second_ssrc_mutes: false,
        ..Quirks::default()
    };
    let person = Person { says, ..Person::default() };
    describe::voice(&relay, &sdp, (crate::media::Codec::Opus, 111), 111, &quirks, &person).unwrap()
}

/// The values of every field of that name.
fn fields<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    let head = message.split("\r\n\r\n").next().unwrap();
    head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).collect()
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    fields(message, name).first().copied().unwrap_or("")
}

fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn request_uri(message: &str) -> &str {
    message.split(' ').nth(1).unwrap()
}

/// A response of the bridge: Vias, From, To, Call-ID and CSeq copied, and `extra` lines.
fn reply(request: &str, status: &str, extra: &str, sdp: &str) -> String {
    let vias: String = fields(request, "Via").iter().map(|via| format!("Via: {via}\r\n")).collect();
    let [from, to, call_id, cseq] = ["From", "To", "Call-ID", "CSeq"].map(|name| field(request, name));
    let to = if to.contains(";tag=") { to.to_owned() } else { format!("{to};tag=bridge") };
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {status}\r\n{vias}From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{extra}{kind}\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

const CONTACT: &str = "Contact: <sip:bridge@192.0.2.9:5061;transport=tls>\r\n";

/// 200 with Meta's Record-Routes echoed untouched.
fn ok(invite: &str, sdp: &str) -> String {
    let routes: String =
        fields(invite, "Record-Route").iter().map(|r| format!("Record-Route: {r}\r\n")).collect();
    reply(invite, "200 OK", &format!("{routes}{CONTACT}"), sdp)
}

/// A request of the bridge inside the dialog of `invite` (a user's call), with these routes.
fn in_dialog(invite: &str, method: &str, cseq: u32, routes: &[&str], uri: &str) -> String {
    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.9:5061;branch=z9hG4bK{method}{cseq}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: {};tag=bridge\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{CONTACT}\
         Content-Length: 0\r\n\r\n",
        field(invite, "To"),
        field(invite, "From"),
        field(invite, "Call-ID"),
    )
}

/// As [`in_dialog`], along the right routes to the right Contact.
fn routed(invite: &str, method: &str, cseq: u32) -> String {
    let contact = field(invite, "Contact").trim_start_matches('<').split('>').next().unwrap().to_owned();
    in_dialog(invite, method, cseq, &fields(invite, "Record-Route"), &contact)
}

/// A business's INVITE without authorization.
fn business_invite(uri: &str, from: &str, cseq: u32, authorization: &str, sdp: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.9:5061;rport;branch=z9hG4bKinvite{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: <{from}>;tag=biz\r\nTo: <{uri}>\r\nCall-ID: biz-1\r\nCSeq: {cseq} INVITE\r\n\
         {CONTACT}{authorization}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

const TO_USER: &str = "sip:+12195550714@wa.meta.vc;transport=tls";
const FROM_BUSINESS: &str = "sip:+15557000@sip.bridge.test";

fn authorization(challenge: &str, username: &str, password: &str) -> String {
    let how = digest::Answer { username, password, method: "INVITE", uri: TO_USER, names_algorithm: true };
    let speaks = [digest::Algorithm::Md5, digest::Algorithm::Sha256];
    let challenges: Vec<String> =
        fields(challenge, "Proxy-Authenticate").iter().map(|c| (*c).to_owned()).collect();
    let value = digest::answer(&challenges, &speaks, &how, &mut SeededEntropy::new(4)).unwrap();
    format!("Proxy-Authorization: {value}\r\n")
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
