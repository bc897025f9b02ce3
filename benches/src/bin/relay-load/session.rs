//! The calls of a run: where their parties are, and their keys.

use std::net::{Ipv4Addr, SocketAddrV4};

use setu_srtp::Suite;

/// The suite that Meta's relays speak.
pub(crate) const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// The payload type of Opus on both sides.
pub(crate) const PAYLOAD_TYPE: u8 = 111;

/// Where Setu's side toward Meta is.
pub(crate) const META_SIDE: Ipv4Addr = Ipv4Addr::new(127, 0, 30, 1);
/// Where Setu's side toward agents is.
pub(crate) const AGENT_SIDE: Ipv4Addr = Ipv4Addr::new(127, 0, 40, 1);
/// Where both sides of rtpengine are.
pub(crate) const RTPENGINE: Ipv4Addr = Ipv4Addr::new(127, 0, 50, 1);
/// Where both sides of the floor are.
pub(crate) const FLOOR: Ipv4Addr = Ipv4Addr::new(127, 0, 60, 1);

/// How many of Meta's relays there are.
pub(crate) const RELAYS: usize = 4;

/// A session's way through the relay under load.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// Where the relay takes Meta's packets.
    pub(crate) meta: SocketAddrV4,
    /// Where the relay takes the agent's packets.
    pub(crate) agent: SocketAddrV4,
    /// Key and salt of what the relay sends to Meta.
    pub(crate) from_relay: Vec<u8>,
}

/// One of Meta's relays.
pub(crate) fn relay(number: usize) -> SocketAddrV4 {
    let last = u8::try_from(number % RELAYS).unwrap_or(0) + 1;
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 10, last), 3480)
}

/// The Meta side of a session.
pub(crate) fn meta(session: u16) -> SocketAddrV4 {
    relay(usize::from(session))
}

/// The agent's side of a session: a port each at one host, as a PBX has it.
pub(crate) fn agent(session: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 20, 1), 10_000 + 2 * session)
}

/// Key and salt of what Meta sends in a session.
pub(crate) fn keying_from_meta(session: u16) -> Vec<u8> {
    keying(session, 0x5a)
}

/// Key and salt of what Setu sends to Meta in a session.
pub(crate) fn keying_to_meta(session: u16) -> Vec<u8> {
    keying(session, 0xc3)
}

fn keying(session: u16, direction: u8) -> Vec<u8> {
    let [high, low] = session.to_be_bytes();
    let mut keying: Vec<u8> =
        (0..SUITE.key_len() + SUITE.salt_len()).map(|at| direction ^ (at as u8).wrapping_mul(37)).collect();
    for (to, from) in keying.iter_mut().zip([high, low]) {
        *to ^= from;
    }
    keying
}
