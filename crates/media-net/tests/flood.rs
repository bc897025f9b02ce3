//! Row 5 of the security table: forged packets at the rate of a call of ten thousand a second, for as many as that makes
//! in a minute. The call does not notice. Who can do this: whoever can forge the address of Meta's relay.

mod support;

use setu_media::{Command, Event};
use setu_model::Side;
use setu_srtp::Suite;
use setu_srtp::rtp::Header;
use support::peer::Peer;
use support::{Fixture, call, config, host, leg};

const TEST: u8 = 62;
const SUITE: Option<Suite> = Some(Suite::AesCm128HmacSha1_80);

/// Forged packets between two words: what waits at a socket at most, so that the system drops none of the true ones.
const VOLLEY: u32 = 200;
const VOLLEYS: u32 = 3_000;

#[test]
fn six_hundred_thousand_forged_packets_cost_a_call_nothing_and_leave_nothing() {
    let fixture = Fixture::new(config(TEST, 20_000..=20_009));
    let legs = [leg(1, 0), leg(1, 1)];
    let mut customer = Peer::new(host(TEST, Side::Meta), fixture.open(legs[0], Side::Meta), SUITE);
    let mut agent = Peer::new(host(TEST, Side::Agents), fixture.open(legs[1], Side::Agents), None);
    for setup in [customer.setup(legs[0], Side::Meta, SUITE), agent.setup(legs[1], Side::Agents, None)] {
        let leg = setup.leg;
        fixture.send(Command::Configure(Box::new(setup)));
        fixture.send(Command::Start { leg });
    }
    fixture.send(Command::Bridge { one: legs[0], other: legs[1] });
    fixture.settle();

    let mut settled = 0;
    for volley in 0..VOLLEYS {
        for n in 0..VOLLEY {
            let missile = forged(volley * VOLLEY + n);
            customer.socket.send_to(&missile, customer.bridge).expect("loopback takes it");
        }
        let word = [0xf8, (volley >> 8) as u8, volley as u8, 7];
        customer.say(&word);
        agent.hear(&word);
        agent.say(&word);
        customer.hear(&word);
        if volley == VOLLEYS / 10 {
            settled = resident_kb();
        }
    }
    let grown = resident_kb().saturating_sub(settled);
    assert!(grown < 1_024, "{grown} kB more");

    let others = customer.passed_over.iter().chain(&agent.passed_over);
    let strange: Vec<_> = others.filter(|payload| payload[..] != [0xf8, 0xff, 0xfe]).collect();
    assert!(strange.is_empty(), "heard {strange:x?}");
    fixture.send(Command::Close { call: call(1) });
    let quality = fixture.wait_for(|event| {
        let Event::Closed { quality, .. } = event else { return None };
        Some(quality)
    });
    let (_, heard) = quality.first().expect("the customer's leg");
    assert_eq!(heard.received_packets, u64::from(VOLLEYS));
    assert_eq!(heard.rejected_packets, u64::from(VOLLEYS * VOLLEY));
    assert_eq!(heard.lost_packets, 0);
}

/// Packets as a call's own look, but for the tag: of its source and of others, with sequences near and far.
fn forged(n: u32) -> Vec<u8> {
    let ssrc = if n.is_multiple_of(3) { n.wrapping_mul(0x9e37_79b9) } else { 0x5e7_0001 };
    let sequence = if n.is_multiple_of(2) { 100 + (n / 400) as u16 } else { n as u16 };
    let header = Header::new(111, sequence, n.wrapping_mul(960), ssrc);
    [&header.to_bytes()[..], &[n as u8; 160], &[(n >> 8) as u8; 10]].concat()
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
    line.trim().trim_end_matches(" kB").parse().expect("kilobytes")
}
