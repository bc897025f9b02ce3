//! A hand-driven peer: it writes its messages as text and reads the endpoint's.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_model::{Now, Secret, SeededEntropy, Side, Wall};

use crate::digest::{Client, Credentials};
use crate::endpoint::{
    Endpoint, EndpointConfig, Event, InviteRequest, Limits, Output, Party, SessionId, SideConfig,
};
use crate::{
    Access, AccountAccess, Arrival, FlowId, Hop, Message, Method, NumberAccess, Target, Timers, Transmit,
    Transport, TrunkAccess,
};

/// The business number of all tests, and its password with Meta.
pub(super) const NUMBER: &str = "+15550001";
pub(super) const SECRET: &str = "meta-secret";

/// An endpoint, its clock, and what it said.
pub(super) struct Bench {
    pub(super) endpoint: Endpoint,
    pub(super) now: Now,
    pub(super) sent: VecDeque<Transmit>,
    pub(super) events: VecDeque<Event>,
    pub(super) kept: Vec<FlowId>,
    pub(super) closed: Vec<FlowId>,
    entropy: SeededEntropy,
    digest: Client,
}

#[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
pub(super) fn start() -> Now {
    Now { mono: Instant::now(), wall: Wall::from_unix_ms(1_700_000_000_000) }
}

pub(super) fn config() -> EndpointConfig {
    EndpointConfig {
        user_agent: "Setu".to_owned(),
        meta: SideConfig {
            host: "sip.example.com".to_owned(),
            udp: None,
            tcp: None,
            tls: Some(5061),
            ws: None,
            wss: None,
            realm: "sip.example.com".to_owned(),
            digest: vec![crate::digest::Algorithm::Sha256, crate::digest::Algorithm::Md5],
        },
        agents: SideConfig {
            host: "192.0.2.1".to_owned(),
            udp: Some(5060),
            tcp: Some(5060),
            tls: Some(5061),
            ws: None,
            wss: None,
            realm: "agents".to_owned(),
            digest: vec![crate::digest::Algorithm::Sha256, crate::digest::Algorithm::Md5],
        },
        access: Access {
            numbers: vec![NumberAccess {
                number: NUMBER.to_owned(),
                password: Secret::new(SECRET.to_owned()),
            }],
            meta_networks: Vec::new(),
            accounts: vec![
                AccountAccess { name: "alice".to_owned(), password: Secret::new("wonder".to_owned()) },
                AccountAccess { name: "bob".to_owned(), password: Secret::new("builder".to_owned()) },
            ],
            trunks: vec![TrunkAccess {
                name: "pbx".to_owned(),
                networks: vec!["198.51.100.0/24".parse().unwrap()],
                transports: Vec::new(),
                probe: None,
            }],
        },
        timers: Timers::RFC_3261,
        limits: Limits::default(),
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: EndpointConfig) -> Self {
        let now = start();
        let mut bench = Self {
            endpoint: Endpoint::new(config, Box::new(SeededEntropy::new(1)), now),
            now,
            sent: VecDeque::new(),
            events: VecDeque::new(),
            kept: Vec::new(),
            closed: Vec::new(),
            entropy: SeededEntropy::new(99),
            digest: Client::new(),
        };
        bench.drain();
        bench
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send(transmit) => self.sent.push_back(transmit),
                Output::Event(event) => self.events.push_back(*event),
                Output::Keep(flow) => self.kept.push(flow),
                Output::Close(flow) => self.closed.push(flow),
            }
        }
    }

    /// Hands a message over.
    pub(super) fn receive(&mut self, arrival: &Arrival, text: &str) {
        let message =
            Message::parse(Bytes::from(text.to_owned())).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        self.receive_message(arrival, message);
    }

    pub(super) fn receive_message(&mut self, arrival: &Arrival, message: Message) {
        self.endpoint.handle_received(arrival, message, self.now);
        self.drain();
    }

    /// Lets time pass, firing every timer on its way.
    pub(super) fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some((at, _)) = self.endpoint.poll_timeout() {
            if at > end.mono {
                break;
            }
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// The next message sent.
    pub(super) fn next(&mut self) -> Message {
        self.next_transmit().message
    }

    pub(super) fn next_transmit(&mut self) -> Transmit {
        self.sent.pop_front().expect("a message is sent")
    }

    /// The next message sent, which must be a response of this status.
    pub(super) fn next_status(&mut self, status: u16) -> Message {
        let message = self.next();
        assert_eq!(message.status(), Some(status), "{}", text_of(&message));
        message
    }

    /// The next message sent, which must be a request of this method.
    pub(super) fn next_request(&mut self, method: Method) -> Message {
        let message = self.next();
        assert_eq!(message.method(), Some(method), "{}", text_of(&message));
        message
    }

    pub(super) fn silence(&mut self) {
        let sent: Vec<String> = self.sent.iter().map(|transmit| text_of(&transmit.message)).collect();
        assert!(sent.is_empty(), "nothing more is sent, but: {sent:#?}");
    }

    pub(super) fn event(&mut self) -> Event {
        self.events.pop_front().expect("an event")
    }

    pub(super) fn no_event(&self) {
        assert!(self.events.is_empty(), "no event, but: {:?}", self.events);
    }

    /// Answers the challenge in `refusal` for `request`, whose CSeq and branch move on.
    pub(super) fn with_credentials(
        &mut self,
        request: &str,
        refusal: &Message,
        user: &str,
        password: &str,
    ) -> String {
        let message = Message::parse(Bytes::from(request.to_owned())).unwrap();
        let credentials = Credentials {
            realm: None,
            username: user.to_owned(),
            password: Secret::new(password.to_owned()),
        };
        let method = message.method().unwrap();
        let uri = message.request_uri().unwrap().replace(";transport=tls", "");
        let (name, answer) =
            self.digest.answer(refusal, &credentials, &method, &uri, &mut self.entropy).unwrap();
        let number = message.cseq().unwrap().number;
        let request = request
            .replace(&format!("CSeq: {number} "), &format!("CSeq: {} ", number + 1))
            .replace("branch=z9hG4bK", "branch=z9hG4bKx");
        request.replacen("Max-Forwards:", &format!("{name}: {answer}\r\nMax-Forwards:"), 1)
    }

    /// A call of the trunk that rings the application: the session and the INVITE.
    pub(super) fn incoming(&mut self) -> (SessionId, String) {
        let invite = trunk_invite("in1");
        self.receive(&trunk(), &invite);
        self.next_status(100);
        match self.event() {
            Event::Invited { session, .. } => (session, invite),
            other => panic!("{other:?}"),
        }
    }

    /// An answered and acknowledged call of the trunk: the session, and the tag the endpoint took.
    pub(super) fn answered(&mut self) -> (SessionId, String) {
        let (session, _) = self.incoming();
        self.endpoint.answer(session, Bytes::from_static(SDP.as_bytes()), &[], self.now).unwrap();
        self.drain();
        let ok = self.next_status(200);
        let tag = to_tag(&ok);
        self.receive(&trunk(), &in_dialog("ACK", 1, "ack1", &tag));
        assert!(matches!(self.event(), Event::Acked { .. }));
        (session, tag)
    }

    /// A call of ours to the trunk: the session and the INVITE.
    pub(super) fn outgoing(&mut self) -> (SessionId, Message) {
        let session = self.endpoint.invite(invite_request(), self.now).unwrap();
        self.drain();
        let transmit = self.next_transmit();
        self.endpoint.handle_bound(transmit.token, trunk().flow, trunk().remote, self.now);
        (session, transmit.message)
    }
}

pub(super) fn invite_request() -> InviteRequest {
    InviteRequest {
        side: Side::Agents,
        target: Target::Hop(Hop {
            side: Side::Agents,
            transport: Transport::Udp,
            host: "198.51.100.7".to_owned(),
            port: Some(5060),
        }),
        request_uri: "sip:100@198.51.100.7".to_owned(),
        from: Party { display: Some("A \"caller\"".to_owned()), uri: "sip:+4917@192.0.2.1".to_owned() },
        to: Party { display: None, uri: "sip:100@198.51.100.7".to_owned() },
        contact_user: Some("setu".to_owned()),
        headers: vec![("X-Setu-Wacid".to_owned(), "wacid.1".to_owned())],
        offer: Bytes::from_static(SDP.as_bytes()),
        credentials: None,
        session_timer: false,
    }
}

pub(super) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\n";

/// The PBX, over UDP.
pub(super) fn trunk() -> Arrival {
    arrival(1, Transport::Udp, Side::Agents, "198.51.100.7:5060")
}

/// Meta, over TLS.
pub(super) fn meta() -> Arrival {
    arrival(2, Transport::Tls, Side::Meta, "203.0.113.5:43210")
}

/// Nobody we know, over UDP.
pub(super) fn stranger() -> Arrival {
    arrival(3, Transport::Udp, Side::Agents, "203.0.113.99:5060")
}

pub(super) fn arrival(flow: u64, transport: Transport, side: Side, remote: &str) -> Arrival {
    let local: SocketAddr = "192.0.2.1:5060".parse().unwrap();
    Arrival {
        flow: FlowId(flow),
        transport,
        side,
        local,
        remote: remote.parse().unwrap(),
        outbound: false,
        verified: Arc::from([]),
    }
}

pub(super) fn trunk_invite(branch: &str) -> String {
    format!(
        "INVITE sip:+15550001@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK{branch}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:100@198.51.100.7>;tag=pbx\r\n\
         To: <sip:+15550001@192.0.2.1>\r\n\
         Call-ID: {CALL_ID}\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:100@198.51.100.7:5060>\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

pub(super) const CALL_ID: &str = "call@pbx";

/// A request of the PBX within the call that `trunk_invite` began.
pub(super) fn in_dialog(method: &str, cseq: u32, branch: &str, tag: &str) -> String {
    in_dialog_with(method, cseq, branch, tag, "", "")
}

pub(super) fn in_dialog_with(
    method: &str,
    cseq: u32,
    branch: &str,
    tag: &str,
    headers: &str,
    body: &str,
) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:+15550001@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK{branch}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:100@198.51.100.7>;tag=pbx\r\n\
         To: <sip:+15550001@192.0.2.1>;tag={tag}\r\n\
         Call-ID: {CALL_ID}\r\n\
         CSeq: {cseq} {method}\r\n\
         Contact: <sip:100@198.51.100.7:5060>\r\n\
         {headers}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What Meta sends when a user calls: every header as meta-calling.md prints it.
pub(super) fn meta_invite() -> String {
    format!(
        "INVITE sip:{NUMBER}@sip.example.com;transport=tls SIP/2.0\r\n\
         Via: SIP/2.0/TLS [2001:db8::5]:57363;rport;branch=z9hG4bKPjmeta;alias\r\n\
         {RECORD_ROUTES}\
         Max-Forwards: 69\r\n\
         From: \"12195550714\" <sip:+12195550714@wa.meta.vc>;tag=0a1b\r\n\
         To: <sip:{NUMBER}@sip.example.com>\r\n\
         Contact: <sip:+12195550714@wa.meta.vc;transport=tls;ob>;isfocus\r\n\
         Call-ID: outgoing:wacid.HBgLAAA==\r\n\
         CSeq: 31159 INVITE\r\n\
         X-FB-External-Domain: wa.meta.vc\r\n\
         x-wa-meta-wacid: wacid.HBgLAAA==\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, NOTIFY, OPTIONS\r\n\
         User-Agent: Facebook SipGateway\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length:   {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

pub(super) const RECORD_ROUTES: &str = "Record-Route: <sip:wa.meta.vc;transport=tls;lr>\r\n\
     Record-Route: <sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>\r\n";

/// A response to `request`, as a peer with this tag would write it.
pub(super) fn response(
    request: &Message,
    status: u16,
    tag: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Message {
    let mut reply = Message::reply(request, status, None, Some(tag));
    for (name, value) in headers {
        reply = reply.header(name, value);
    }
    if !body.is_empty() {
        reply = reply.body("application/sdp", body.to_owned());
    }
    reply.build().unwrap()
}

pub(super) fn to_tag(message: &Message) -> String {
    message.to().unwrap().tag().unwrap().to_owned()
}

pub(super) fn text_of(message: &Message) -> String {
    String::from_utf8_lossy(message.as_bytes()).into_owned()
}

pub(super) const CONTACT: (&str, &str) = ("Contact", "<sip:100@198.51.100.7:5060>");
