//! Peers without a common format, through the codec threads of a running plane.

mod support;

use std::net::UdpSocket;

use setu_media::{AudioFormat, Command, LegSetup};
use setu_model::Side;
use setu_srtp::Suite;
use setu_srtp::rtp::Header;
use support::peer::Peer;
use support::{Fixture, PATIENCE, call, config, host, leg};

/// Opus that decodes to silence, which is also what the bridge sends while nobody speaks.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

#[test]
fn what_a_g711_agent_says_reaches_meta_as_opus_and_back_in_one_stream() {
    let fixture = Fixture::new(config(120, 20_000..=20_019));
    let suite = Some(Suite::AesCm128HmacSha1_80);
    let mut customer = Peer::new(host(120, Side::Meta), fixture.open(leg(1, 0), Side::Meta), suite);
    let bridge = fixture.open(leg(1, 1), Side::Agents);
    let agent = Peer::new(host(120, Side::Agents), bridge, None);
    let audio = AudioFormat::Pcmu { send_pt: 0, receive_pt: 0 };
    let setup = agent.setup(leg(1, 1), Side::Agents, None);
    for setup in [customer.setup(leg(1, 0), Side::Meta, suite), LegSetup { audio, ..setup }] {
        let leg = setup.leg;
        fixture.send(Command::Configure(Box::new(setup)));
        fixture.send(Command::Start { leg });
    }
    fixture.send(Command::Bridge { one: leg(1, 0), other: leg(1, 1) });
    fixture.settle();

    // Both speak at once; what follows comes at the pace of the codec threads' own beat.
    for n in 0..10_u16 {
        say(&agent.socket, bridge, n);
        customer.say(&SILENCE);
    }
    let mut heard = Vec::new();
    while heard.iter().filter(|(_, opus)| *opus).count() < 8 {
        let packet = customer.listen(|_| true);
        heard.push((packet.header.sequence, packet.payload != SILENCE));
    }
    assert!(heard.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{heard:?}");
    let mut last = None;
    for _ in 0..8 {
        let (sequence, length) = hear(&agent.socket);
        assert_eq!(length, 160, "20 ms of G.711");
        assert!(last.replace(sequence).is_none_or(|last: u16| sequence == last + 1));
    }
    let totals = fixture.plane.totals();
    assert_eq!((totals.coders, totals.uncoded, totals.coded.refused), (2, 0, 0));
    assert!(totals.coded.coded >= 16, "{:?}", totals.coded);
    fixture.close(call(1));
}

/// A packet of 20 ms: a tone of 1 kHz.
fn say(agent: &UdpSocket, bridge: std::net::SocketAddr, n: u16) {
    let tone = [0xff, 0x9e, 0x97, 0x9e, 0xff, 0x1e, 0x17, 0x1e];
    let payload: Vec<u8> = tone.into_iter().cycle().take(160).collect();
    let header = Header::new(0, n, u32::from(n) * 160, 9);
    agent.send_to(&[&header.to_bytes()[..], &payload].concat(), bridge).expect("sent");
}

/// The next packet's sequence number and payload length.
fn hear(agent: &UdpSocket) -> (u16, usize) {
    agent.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut buffer = [0; 1_500];
    loop {
        let length = agent.recv(&mut buffer).expect("a packet");
        let packet = &buffer[..length];
        if (200..=204).contains(&packet[1]) {
            continue;
        }
        let header = Header::parse(packet).expect("RTP");
        return (header.sequence, header.payload_range(packet).expect("a payload").len());
    }
}
