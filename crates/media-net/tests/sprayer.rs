//! Row 1 of the security table: strangers spray the whole port range while calls run. Not a packet comes back, none
//! gets into a call, no latch moves. Who can do this: anybody who reaches the ports.

mod support;

use std::net::UdpSocket;

use setu_media::{Command, Crypto, Event, MediaProfile};
use setu_model::{MediaQuality, Side};
use setu_srtp::Suite;
use setu_srtp::rtp::Header;
use support::peer::Peer;
use support::{Fixture, call, config, host, leg};

const TEST: u8 = 60;
const SUITE: Option<Suite> = Some(Suite::AesCm128HmacSha1_80);

/// How an agent's leg is set up.
#[derive(Debug, Clone, Copy)]
enum Agent {
    /// A PBX behind a shared port.
    Trunk,
    /// A phone with plain RTP, whose port was learnt.
    Phone,
    /// A phone with SRTP.
    SecurePhone,
}

struct Call {
    number: u8,
    customer: Peer,
    agent: Peer,
    /// Words said each way.
    said: u64,
}

impl Call {
    fn new(fixture: &Fixture, number: u8, kind: Agent) -> Self {
        let legs = [leg(number.into(), 0), leg(number.into(), 1)];
        let customer = Peer::new(host(TEST, Side::Meta), fixture.open(legs[0], Side::Meta), SUITE);
        let local = match kind {
            Agent::Trunk => fixture.open_shared(legs[1]),
            Agent::Phone | Agent::SecurePhone => fixture.open(legs[1], Side::Agents),
        };
        let suite = matches!(kind, Agent::SecurePhone).then_some(Suite::AeadAes128Gcm);
        let agent = Peer::new(host(TEST, Side::Agents), local, suite);
        let mut toward_agent = agent.setup(legs[1], Side::Agents, suite);
        if !matches!(kind, Agent::Trunk) {
            toward_agent.profile = MediaProfile::softphone();
        }
        assert_eq!(matches!(toward_agent.crypto, Crypto::Plain), suite.is_none());
        for setup in [customer.setup(legs[0], Side::Meta, SUITE), toward_agent] {
            let leg = setup.leg;
            fixture.send(Command::Configure(Box::new(setup)));
            fixture.send(Command::Start { leg });
        }
        fixture.send(Command::Bridge { one: legs[0], other: legs[1] });
        fixture.settle();
        Self { number, customer, agent, said: 0 }
    }

    fn talk(&mut self) {
        self.said += 1;
        self.customer.say(&[0xf8, b'c', self.number]);
        self.agent.hear(&[0xf8, b'c', self.number]);
        self.agent.say(&[0xf8, b'a', self.number]);
        self.customer.hear(&[0xf8, b'a', self.number]);
    }
}

/// What strangers throw at a port: all that might be taken for a call's own, and what might be answered.
fn missiles(overheard: &[u8]) -> Vec<Vec<u8>> {
    let rtp = |ssrc, sequence| {
        [&Header::new(111, sequence, 96_000, ssrc).to_bytes()[..], &[0xf8, b'!', b'!']].concat()
    };
    let mut tampered = overheard.to_vec();
    tampered[3] = tampered[3].wrapping_add(1);
    let mut stun = vec![0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
    stun.extend([7; 12]);
    stun.extend([0, 6, 0, 3, b'a', b':', b'b', 0]);
    let mut hello = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44, 1, 0, 0, 32];
    hello.extend([0; 40]);
    vec![
        overheard.to_vec(),
        tampered,
        rtp(0x5e7_0001, 101),
        rtp(0x5e7_0001, 40_000),
        rtp(0xdead_beef, 1),
        vec![0x81, 203, 0, 1, 0x05, 0xe7, 0, 1],
        stun,
        hello,
        vec![],
        vec![0x80],
        vec![0xff; 1_500],
    ]
}

#[test]
fn strangers_who_spray_every_port_get_nothing_back_and_nothing_in() {
    let range = 20_000..=20_099;
    let fixture = Fixture::new(config(TEST, range.clone()));
    let kinds = [Agent::Trunk, Agent::Phone, Agent::SecurePhone, Agent::Trunk, Agent::Trunk];
    let mut calls: Vec<_> =
        (1..).zip(kinds).map(|(number, kind)| Call::new(&fixture, number, kind)).collect();
    calls.iter_mut().for_each(Call::talk);
    // One stranger elsewhere, one on the host of Meta's relays, one on that of the agents.
    let strangers: Vec<_> = [host(TEST + 1, Side::Meta), host(TEST, Side::Meta), host(TEST, Side::Agents)]
        .into_iter()
        .map(|host| UdpSocket::bind((host, 0)).unwrap())
        .collect();
    for stranger in &strangers {
        stranger.set_nonblocking(true).unwrap();
    }

    let overheard = calls[0].customer.seal(&[0xf8, b'c', 1]);
    calls[0].customer.socket.send_to(&overheard, calls[0].customer.bridge).unwrap();
    calls[0].agent.hear(&[0xf8, b'c', 1]);
    let missiles = missiles(&overheard);
    for round in 0..3 {
        for port in range.clone() {
            for (stranger, missile) in strangers.iter().flat_map(|s| missiles.iter().map(move |m| (s, m))) {
                for side in [Side::Meta, Side::Agents] {
                    // A port where nobody is may say so to a later send, or by now.
                    let _ = stranger.send_to(missile, (host(TEST, side), port));
                }
            }
            if port % 5 == round {
                calls.iter_mut().for_each(Call::talk);
            }
        }
    }
    calls.iter_mut().for_each(Call::talk);

    for stranger in &strangers {
        assert!(stranger.recv(&mut [0; 2_000]).is_err(), "a packet came back");
    }
    for call in &calls {
        let others = call.customer.passed_over.iter().chain(&call.agent.passed_over);
        let strange: Vec<_> = others.filter(|payload| payload[..] != [0xf8, 0xff, 0xfe]).collect();
        assert!(strange.is_empty(), "call {} heard {strange:x?}", call.number);
    }
    assert!(fixture.plane.totals().strangers > 0);
    for Call { number, said, .. } in &calls {
        let quality = close(&fixture, *number);
        let extra = [u64::from(*number == 1), 0];
        for (quality, extra) in quality.iter().zip(extra) {
            assert_eq!(quality.received_packets, said + extra, "call {number}: the peer's own and no other");
        }
        assert!(quality[0].rejected_packets > 0, "the stranger was heard, and not believed");
    }
}

fn close(fixture: &Fixture, number: u8) -> Vec<MediaQuality> {
    fixture.send(Command::Close { call: call(number.into()) });
    fixture.wait_for(|event| {
        let Event::Closed { quality, .. } = event else { return None };
        Some(quality.into_iter().map(|(_, quality)| quality).collect())
    })
}
