//! What a call leaves behind until its transactions may be forgotten (RFC 6026: 64*T1, 32 seconds) is small, and
//! after that nothing is left.
#![allow(unsafe_code, reason = "counting bytes takes a global allocator")]
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_model::{Now, SeededEntropy, Side, Wall};
use setu_sip::digest::Algorithm;
use setu_sip::{
    Access, Arrival, Endpoint, EndpointConfig, Event, FlowId, Hop, InviteRequest, Limits, Message, Output,
    Party, SessionId, SideConfig, Target, Timers, Transmit, Transport, TrunkAccess,
};

thread_local!(static LIVE: Cell<isize> = const { Cell::new(0) });

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.with(|live| live.set(live.get() + layout.size().cast_signed()));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get() - layout.size().cast_signed()));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> isize {
    LIVE.with(Cell::get)
}

/// The PBX: an endpoint's only peer.
struct Bench {
    endpoint: Endpoint,
    arrival: Arrival,
    now: Now,
    sent: Vec<Transmit>,
    events: Vec<Event>,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn new(transport: Transport) -> Self {
        let side = SideConfig {
            host: "192.0.2.1".to_owned(),
            udp: Some(5060),
            tcp: Some(5060),
            tls: Some(5061),
            ws: None,
            wss: None,
            realm: "setu".to_owned(),
            digest: vec![Algorithm::Sha256, Algorithm::Md5],
        };
        let trunk = TrunkAccess {
            name: "pbx".to_owned(),
            networks: vec!["198.51.100.0/24".parse().unwrap()],
            transports: Vec::new(),
            probe: None,
        };
        let config = EndpointConfig {
            user_agent: "Setu".to_owned(),
            meta: side.clone(),
            agents: side,
            access: Access { trunks: vec![trunk], ..Access::default() },
            timers: Timers::RFC_3261,
            limits: Limits::default(),
        };
        let now = Now { mono: Instant::now(), wall: Wall::from_unix_ms(1_700_000_000_000) };
        let arrival = Arrival {
            flow: FlowId(1),
            transport,
            side: Side::Agents,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: remote(),
            outbound: false,
            verified: Arc::from([]),
        };
        let endpoint = Endpoint::new(config, Box::new(SeededEntropy::new(1)), now);
        Self { endpoint, arrival, now, sent: Vec::new(), events: Vec::new() }
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send(transmit) => self.sent.push(transmit),
                Output::Event(event) => self.events.push(*event),
                Output::Keep(_) | Output::Close(_) => {}
            }
        }
    }

    fn receive(&mut self, text: String) {
        let message = Message::parse(Bytes::from(text)).unwrap();
        self.endpoint.handle_received(&self.arrival, message, self.now);
        self.drain();
    }

    fn last(&mut self) -> Message {
        let last = self.sent.pop().unwrap().message;
        self.sent.clear();
        last
    }

    fn request(&self, method: &str, n: usize, cseq: u32, tag: &str, extra: &str, body: &str) -> String {
        let transport = self.arrival.transport;
        format!(
            "{method} sip:+15550001@192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/{transport} 198.51.100.7:5060;rport;branch=z9hG4bK{method}{n}-0123456789abcdef\r\n\
             Max-Forwards: 70\r\n\
             From: \"A Caller\" <sip:100@198.51.100.7>;tag=pbx-{n}\r\n\
             To: <sip:+15550001@192.0.2.1>{tag}\r\n\
             Call-ID: a-call-{n}@198.51.100.7\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:100@198.51.100.7:5060>\r\n\
             User-Agent: A PBX of some make 1.2.3\r\n\
             {extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// The PBX calls and hangs up.
    fn incoming(&mut self, n: usize) {
        let sdp = sdp();
        self.receive(self.request("INVITE", n, 1, "", "Content-Type: application/sdp\r\n", &sdp));
        let Some(Event::Invited { session, .. }) = self.events.pop() else { panic!("no call") };
        self.endpoint.answer(session, Bytes::from(sdp), &[], self.now).unwrap();
        self.drain();
        let ok = self.last();
        let tag = format!(";tag={}", ok.to().unwrap().tag().unwrap());
        self.receive(self.request("ACK", n, 1, &tag, "", ""));
        self.receive(self.request("BYE", n, 2, &tag, "", ""));
        self.over(session);
    }

    /// We call the PBX and hang up.
    fn outgoing(&mut self, n: usize) {
        let hop = Hop {
            side: Side::Agents,
            transport: self.arrival.transport,
            host: "198.51.100.7".to_owned(),
            port: Some(5060),
        };
        let request = InviteRequest {
            side: Side::Agents,
            target: Target::Hop(hop),
            request_uri: "sip:100@198.51.100.7".to_owned(),
            from: Party { display: Some("A Customer".to_owned()), uri: "sip:+4917@192.0.2.1".to_owned() },
            to: Party { display: None, uri: "sip:100@198.51.100.7".to_owned() },
            contact_user: Some("setu".to_owned()),
            headers: vec![("X-Setu-Wacid".to_owned(), format!("wacid.{n}"))],
            offer: Bytes::from(sdp()),
            credentials: None,
            session_timer: false,
        };
        let session = self.endpoint.invite(request, self.now).unwrap();
        self.drain();
        let token = self.sent.last().unwrap().token;
        self.endpoint.handle_bound(token, self.arrival.flow, remote(), self.now);
        let invite = self.last();
        let tag = format!("pbx-{n}");
        for status in [100, 180, 200] {
            let reply = Message::reply(&invite, status, None, Some(&tag))
                .header("Contact", "<sip:100@198.51.100.7:5060>")
                .body("application/sdp", sdp());
            self.receive(String::from_utf8(reply.build().unwrap().as_bytes().to_vec()).unwrap());
        }
        self.endpoint.hang_up(session, &[], self.now).unwrap();
        self.drain();
        let token = self.sent.last().unwrap().token;
        self.endpoint.handle_bound(token, self.arrival.flow, remote(), self.now);
        let bye = self.last();
        let ok = Message::reply(&bye, 200, None, None).build().unwrap();
        self.receive(String::from_utf8(ok.as_bytes().to_vec()).unwrap());
        self.over(session);
    }

    fn over(&mut self, wanted: SessionId) {
        let over = |event: &Event| matches!(event, Event::Ended { session, .. } if *session == wanted);
        assert!(self.events.iter().any(over), "{:?}", self.events);
        self.events = Vec::new();
        self.sent = Vec::new();
    }

    fn pass(&mut self, by: Duration) {
        self.now = self.now.after(by);
        self.endpoint.handle_timeout(self.now);
        self.drain();
        assert!(self.sent.is_empty(), "nothing is sent again");
    }
}

fn remote() -> SocketAddr {
    "198.51.100.7:5060".parse().unwrap()
}

fn sdp() -> String {
    let lines = (0..20).map(|n| format!("a=rtpmap:{} telephone-event/48000\r\n", 96 + n)).collect::<String>();
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n{lines}")
}

/// Bytes that each of many ended calls still takes, and whether all of them come back.
fn lingering(transport: Transport, call: fn(&mut Bench, usize)) -> isize {
    const CALLS: usize = 500;
    let mut bench = Bench::new(transport);
    call(&mut bench, 0);
    bench.pass(Duration::from_secs(64));
    assert!(bench.endpoint.is_idle());
    let before = live();
    for n in 1..=CALLS {
        call(&mut bench, n);
    }
    let each = (live() - before) / CALLS.cast_signed();
    bench.pass(Duration::from_secs(33));
    assert!(bench.endpoint.is_idle(), "{:?}", bench.endpoint);
    let left = live() - before;
    assert!(left < 16_384, "{left} bytes stay after {CALLS} calls");
    each
}

#[test]
fn an_ended_call_of_the_peer_leaves_little_and_soon_nothing() {
    for (transport, most) in [(Transport::Udp, 3_200), (Transport::Tcp, 3_200)] {
        let each = lingering(transport, Bench::incoming);
        assert!(each <= most, "{transport}: {each} bytes");
    }
}

#[test]
fn an_ended_call_of_ours_leaves_little_and_soon_nothing() {
    for (transport, most) in [(Transport::Udp, 3_200), (Transport::Tcp, 3_200)] {
        let each = lingering(transport, Bench::outgoing);
        assert!(each <= most, "{transport}: {each} bytes");
    }
}
