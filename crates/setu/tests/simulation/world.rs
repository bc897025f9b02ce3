//! A bridge among Meta's edge, three softphones and two PBXs, on one seeded network.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use setu::driver::{Input, Order, Request};
use setu::{Config, settings};
use setu_call::RingOrder;
use setu_model::{Now, Pii, SeededEntropy, Wall};
use setu_sdp::Fingerprint;
use setu_twin::agent::{PhoneConfig, PhoneEvent, PhoneReport, Softphone};
use setu_twin::meta::{BusinessNumber, CallReport, Edge, EdgeConfig, Event, KeyExchange, Violation};
use setu_twin::net::{Link, Network, NodeId};
use setu_twin::{Party, Transport};

use crate::bridge::{Bridge, PRIVATE, PUBLIC};

/// The business numbers: two ring agents, two go to a PBX.
pub(crate) const NUMBERS: [&str; 4] = ["+15550000001", "+15550000002", "+15550000003", "+15550000004"];

/// Who is on the agents' side: name, how it speaks SIP, whether it registers, the number it calls from.
const PHONES: [(&str, Transport, bool); 5] = [
    ("alice", Transport::Udp, true),
    ("bob", Transport::Tcp, true),
    ("carol", Transport::Tls, true),
    ("pbx", Transport::Udp, false),
    ("office", Transport::Tcp, false),
];

/// How many of [`PHONES`] register.
pub(crate) const REGISTERED: usize = 3;

const CONFIG: &str = r#"
[meta]
bind = "203.0.113.10:5061"
hostname = "sip.bridge.test"
certificate = "chain.pem"
private_key = "key.pem"
media = { bind = "203.0.113.10", ports = "20000-20999" }

[agents]
udp = "10.1.0.10:5060"
tcp = "10.1.0.10:5060"
tls = "10.1.0.10:5061"
hostname = "10.1.0.10"
certificate = "chain.pem"
private_key = "key.pem"
media = { bind = "10.1.0.10", ports = "20000-20999" }

[[numbers]]
number = "+15550000001"
password = "one"
agents = ["alice", "bob", "carol"]

[[numbers]]
number = "+15550000002"
password = "two"
agents = ["carol", "bob"]

[[numbers]]
number = "+15550000003"
password = "three"
trunk = "pbx"
extension = "100"

[[numbers]]
number = "+15550000004"
password = "four"
trunk = "office"
extension = "200"

[[accounts]]
name = "alice"
password = "a"
number = "+15550000001"
srtp = "optional"

[[accounts]]
name = "bob"
password = "b"
number = "+15550000002"
srtp = "optional"

[[accounts]]
name = "carol"
password = "c"
number = "+15550000002"

[[trunks]]
name = "pbx"
pstn = false
host = "10.1.0.23"
port = 5060
networks = ["10.1.0.23/32"]
number = "+15550000003"
# probe_s = 0

[[trunks]]
name = "office"
pstn = false
host = "10.1.0.24"
port = 5060
transport = "tcp"
networks = ["10.1.0.24/32"]
number = "+15550000004"
probe_s = 0

[limits]
silence_s = 10

[egress]
allow = ["10.1.0.0/16", "203.0.113.0/24"]
"#;

/// The configuration; without the probing of trunks if `quiet`.
fn config(terrain: Terrain, quiet: bool) -> Config {
    let mut text = CONFIG.to_owned();
    if terrain.dtls {
        text = text.replace("srtp = \"optional\"\n", "").replace("password =", "srtp = \"dtls\"\npassword =");
        text = text.replace("host =", "srtp = \"dtls\"\nhost =");
    }
    if quiet {
        text = text.replace("# probe_s", "probe_s");
    }
    Config::parse(&text, Path::new("/")).unwrap()
}

/// Everything that happens in one seed.
pub(crate) struct World {
    pub(crate) net: Network,
    pub(crate) bridge: Bridge,
    pub(crate) edge: Edge,
    pub(crate) phones: Vec<Softphone>,
    nodes: Vec<NodeId>,
    terrain: Terrain,
    /// How many calls a program has ordered: the last order's token.
    pub(crate) orders: u64,
    /// The edge's reports of the calls that are over.
    pub(crate) reports: Vec<CallReport>,
    /// Each phone's.
    pub(crate) phone_reports: Vec<(usize, PhoneReport)>,
    pub(crate) violations: Vec<(Option<u64>, Violation)>,
}

/// What the seed decides of the world as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terrain {
    pub(crate) seed: u64,
    pub(crate) link: Link,
    /// Pairs of media ports on each side.
    pub(crate) pairs: u16,
    pub(crate) disk_full: bool,
    /// Whether all media is keyed by DTLS, toward Meta over ICE; else by SDES or not at all.
    pub(crate) dtls: bool,
}

impl World {
    pub(crate) fn new(terrain: Terrain) -> Self {
        let Terrain { seed, link, pairs, disk_full, dtls } = terrain;
        // One moment for all runs: virtual time depends on nothing outside.
        let now = Now { mono: Instant::now(), wall: Wall::from_unix_ms(1_700_000_000_000) };
        let config = config(terrain, false);
        let mut net = Network::new(seed, link, now);
        let edge_ip = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80));
        let mut nodes = vec![
            net.attach("setu", &[PUBLIC, PRIVATE], &["sip.bridge.test", "10.1.0.10"]),
            net.attach("meta", &[edge_ip], &["wa.meta.vc"]),
        ];
        let mut phones = Vec::new();
        for (n, (name, transport, registers)) in PHONES.into_iter().enumerate() {
            let ip = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 20 + n as u8));
            nodes.push(net.attach(name, &[ip], &[]));
            let base = if registers {
                PhoneConfig::softphone(name, &name[..1], "10.1.0.10", transport)
            } else {
                PhoneConfig::trunk(name, "10.1.0.10", transport)
            };
            let bridge_port = if transport == Transport::Tls { 5_061 } else { 5_060 };
            let config = PhoneConfig { ip, sip_port: 5_060, bridge_port, ..base };
            phones.push(Softphone::new(config, Box::new(SeededEntropy::new(seed ^ (n as u64 + 1) << 32))));
        }
        let key_exchange = if dtls { KeyExchange::Dtls } else { KeyExchange::Sdes };
        let numbers = NUMBERS.iter().zip(["one", "two", "three", "four"]);
        let numbers = numbers.map(|(number, password)| BusinessNumber {
            key_exchange,
            ..BusinessNumber::with_sdes(number, "sip.bridge.test", 5_061, password)
        });
        let edge = EdgeConfig { ip: edge_ip, numbers: numbers.collect(), ..EdgeConfig::default() };
        Self {
            bridge: Bridge::new(settings::shard(&config).unwrap(), seed ^ 0xb21d, pairs, disk_full, now),
            edge: Edge::new(edge, Box::new(SeededEntropy::new(seed ^ 0xed9e))),
            net,
            phones,
            nodes,
            terrain,
            orders: 0,
            reports: Vec::new(),
            phone_reports: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Registers every softphone; the network may make that take a while.
    pub(crate) fn register(&mut self) {
        let now = self.net.now();
        self.phones.iter_mut().take(REGISTERED).for_each(|phone| phone.register(now));
        for _ in 0..240 {
            if self.phones.iter().take(REGISTERED).all(Softphone::is_registered) {
                return;
            }
            self.run(500);
        }
        panic!("the phones do not get registered");
    }

    /// Ends what goes on without calls: registrations, and the probing of trunks.
    pub(crate) fn settle(&mut self) {
        let now = self.net.now();
        let mut settings = settings::shard(&config(self.terrain, true)).unwrap();
        settings.calls.dtls = Some(Fingerprint(self.bridge.media.identity.fingerprint()));
        self.bridge.command(Input::Reload(Box::new(settings)), now);
        self.phones.iter_mut().take(REGISTERED).for_each(|phone| phone.unregister(now));
    }

    pub(crate) fn run(&mut self, ms: u64) {
        let Self { net, bridge, edge, phones, .. } = self;
        let mut parties: Vec<&mut dyn Party> = vec![bridge, edge];
        parties.extend(phones.iter_mut().map(|phone| phone as &mut dyn Party));
        net.run_for(&mut parties, Duration::from_millis(ms));
        while let Some(event) = self.edge.poll_event() {
            match event {
                Event::Ended(report) => self.reports.push(*report),
                Event::Violation(call, what) => self.violations.push((call.map(|call| call.0), what)),
                _ => {}
            }
        }
        for (at, phone) in self.phones.iter_mut().enumerate() {
            while let Some(event) = phone.poll_event() {
                if let PhoneEvent::Ended(report) = event {
                    self.phone_reports.push((at, *report));
                }
            }
        }
    }

    /// Whether nobody has a call.
    pub(crate) fn is_quiet(&self) -> bool {
        self.bridge.shard.calls() == 0
            && self.edge.active_calls() == 0
            && self.phones.iter().all(|phone| phone.active_calls().is_empty())
    }

    /// Cuts every stream between the bridge and Meta (0) or a phone (1 and up).
    pub(crate) fn cut(&mut self, peer: usize) {
        if let (Some(setu), Some(peer)) = (self.nodes.first(), self.nodes.get(1 + peer)) {
            self.net.cut(*setu, *peer);
        }
    }

    /// A program orders a call.
    pub(crate) fn place(&mut self, number: &str, user: &str, first: RingOrder) {
        let customer = Pii::new(user.to_owned());
        let order = Order { number: number.to_owned(), customer, ring: Some(first), ..Order::default() };
        self.orders += 1;
        self.request(self.orders, Request::Place(Box::new(order)));
    }

    /// The program ends the calls that it placed.
    pub(crate) fn hang_up_placed(&mut self) {
        for call in self.bridge.placed() {
            self.request(0, Request::HangUp(call));
        }
    }

    fn request(&mut self, token: u64, request: Request) {
        let now = self.net.now();
        self.bridge.command(Input::Request(token, Box::new(request)), now);
    }

    /// Tells the bridge to take no new calls.
    pub(crate) fn drain(&mut self) {
        let now = self.net.now();
        self.bridge.command(Input::Drain, now);
    }
}
