//! A call that sends more packets than there are sequence numbers, on real sockets, as fast as they take it.

mod support;

use std::time::{Duration, Instant};

use setu_media::{Command, Event};
use setu_model::Side;
use setu_srtp::Suite;
use setu_srtp::rtp::Header;
use support::peer::Peer;
use support::{Fixture, call, config, host, leg};

/// More than 65,536 each way, whatever the first number is.
const PACKETS: u32 = 66_000;
/// Packets on their way at a time in each direction: well within the system's socket buffers.
const WINDOW: u32 = 50;

#[test]
fn a_call_of_more_packets_than_there_are_numbers_loses_none_on_its_sockets() {
    let test = 32;
    let fixture = Fixture::new(config(test, 20_000..=20_019));
    let (cm, gcm) = (Some(Suite::AesCm128HmacSha1_80), Some(Suite::AeadAes128Gcm));
    let mut customer = Peer::new(host(test, Side::Meta), fixture.open(leg(1, 0), Side::Meta), cm);
    let mut agent = Peer::new(host(test, Side::Agents), fixture.open(leg(1, 1), Side::Agents), gcm);
    for setup in [customer.setup(leg(1, 0), Side::Meta, cm), agent.setup(leg(1, 1), Side::Agents, gcm)] {
        let leg = setup.leg;
        fixture.send(Command::Configure(Box::new(setup)));
        fixture.send(Command::Start { leg });
    }
    fixture.send(Command::Bridge { one: leg(1, 0), other: leg(1, 1) });
    fixture.settle();

    let (mut up, mut down) = (Stream::default(), Stream::default());
    for first in (0..PACKETS).step_by(WINDOW as usize) {
        for n in first..first + WINDOW {
            customer.say(&voice(n));
            agent.say(&voice(n));
        }
        for n in first..first + WINDOW {
            up.take(&mut agent, n);
            down.take(&mut customer, n);
        }
    }

    fixture.send(Command::Close { call: call(1) });
    let legs = fixture.wait_for(
        |event| {
            if let Event::Closed { quality, .. } = event { Some(quality) } else { None }
        },
    );
    for (leg, media) in legs {
        assert_eq!(media.received_packets, u64::from(PACKETS), "{leg}: {media:?}");
        assert_eq!((media.lost_packets, media.rejected_packets), (0, 0), "{leg}: {media:?}");
    }
    let totals = fixture.plane.totals();
    assert_eq!((totals.unsent, totals.rejected, totals.receive_errors), (0, 0, 0), "{totals:?}");
}

/// 20 ms of Opus (RFC 6716 section 3.1, configuration 31) with its number.
fn voice(n: u32) -> Vec<u8> {
    [&[0xf8, b'n'][..], &n.to_be_bytes()].concat()
}

/// The bridge's stream to one peer.
#[derive(Default)]
struct Stream {
    last: Option<(u16, u32, Instant)>,
}

impl Stream {
    /// Takes the next packet: it is the `n`th, decrypts, and follows the one before without a step.
    fn take(&mut self, peer: &mut Peer, n: u32) {
        let heard = peer.listen(|payload| payload.starts_with(&[0xf8, b'n']));
        assert_eq!(heard.payload, voice(n));
        let comfort = u16::try_from(std::mem::take(&mut peer.passed_over).len()).expect("a few");
        let Header { sequence, timestamp, .. } = heard.header;
        let now = Instant::now();
        if let Some((last, stamp, at)) = self.last.replace((sequence, timestamp, now)) {
            assert_eq!(sequence, last.wrapping_add(1 + comfort), "packet {n}");
            // On a machine that stands still the source is silent, and time stamps follow the clock.
            let stood_still = now.duration_since(at) > Duration::from_millis(100);
            assert!(stood_still || timestamp == stamp.wrapping_add(960), "packet {n}: {stamp} {timestamp}");
        }
    }
}
