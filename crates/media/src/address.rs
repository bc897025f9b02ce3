//! Where a peer's packets may come from, and where packets to it go.

use std::net::SocketAddr;

use crate::{Channel, Latch};

/// The peer's addresses, and the rule by which they are learnt (RTPBleed: security.md, row 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    rtp: Peer,
    /// `None`: RTCP shares the RTP port.
    rtcp: Option<Peer>,
    rule: Rule,
    /// As the SDP says, for ever.
    signalled: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Peer {
    at: SocketAddr,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As the SDP says; nothing came from there yet.
    Signalled,
    /// A valid packet came from there.
    Locked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Follow the newest packet that authenticates.
    Authenticated,
    /// Never follow.
    Signalled,
    /// The SDP's host; its port by the first valid packet.
    SameHost,
}

impl Address {
    /// Starts at the addresses of the SDP.
    pub(crate) fn new(rtp: SocketAddr, rtcp: Option<SocketAddr>, latch: Latch, encrypted: bool) -> Self {
        let rule = match latch {
            Latch::Authenticated | Latch::Signalled | Latch::SameHost if encrypted => Rule::Authenticated,
            Latch::SameHost => Rule::SameHost,
            Latch::Authenticated | Latch::Signalled => Rule::Signalled,
        };
        let peer = |at| Peer { at: canonical(at), state: State::Signalled };
        Self { rtp: peer(rtp), rtcp: rtcp.map(peer), rule, signalled: canonical(rtp) }
    }

    /// Returns whether a datagram from there is worth a look. Decides alone where nothing authenticates.
    pub(crate) fn admits(&self, from: SocketAddr, channel: Channel) -> bool {
        let peer = self.peer(channel);
        let from = canonical(from);
        match (self.rule, peer.state) {
            (Rule::Authenticated, _) => true,
            (Rule::SameHost, State::Signalled) => from.ip() == peer.at.ip(),
            (Rule::SameHost, State::Locked) | (Rule::Signalled, _) => from == peer.at,
        }
    }

    /// Returns whether it is where the peer said its RTP comes from.
    pub(crate) fn is_signalled(&self, from: SocketAddr) -> bool {
        canonical(from) == self.signalled
    }

    /// Learns from a valid packet: one that authenticated where packets do. `newest` is whether it is newer than
    /// all before it, so that a late packet does not move the latch back.
    pub(crate) fn learn(&mut self, from: SocketAddr, channel: Channel, newest: bool) {
        let rule = self.rule;
        let peer = match channel {
            Channel::Rtcp => self.rtcp.as_mut().unwrap_or(&mut self.rtp),
            Channel::Rtp => &mut self.rtp,
        };
        let follow = match (rule, peer.state) {
            (Rule::Authenticated, _) => newest,
            (Rule::SameHost, State::Signalled) => true,
            (Rule::SameHost, State::Locked) | (Rule::Signalled, _) => false,
        };
        if follow {
            *peer = Peer { at: canonical(from), state: State::Locked };
        }
    }

    /// Returns where packets go, and from which local port.
    pub(crate) fn target(&self, channel: Channel) -> (Channel, SocketAddr) {
        match (channel, self.rtcp) {
            (Channel::Rtcp, Some(rtcp)) => (Channel::Rtcp, rtcp.at),
            (Channel::Rtcp, None) | (Channel::Rtp, _) => (Channel::Rtp, self.rtp.at),
        }
    }

    fn peer(&self, channel: Channel) -> Peer {
        match channel {
            Channel::Rtcp => self.rtcp.unwrap_or(self.rtp),
            Channel::Rtp => self.rtp,
        }
    }
}

/// A socket bound to `::` reports IPv4 peers as `::ffff:a.b.c.d`.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn plain_trunk_is_heard_from_its_sdp_address_alone() {
        let mut address = Address::new(at("10.0.0.5:4000"), None, Latch::Signalled, false);
        assert!(address.admits(at("[::ffff:10.0.0.5]:4000"), Channel::Rtp));
        for stranger in ["10.0.0.5:4002", "10.0.0.6:4000"] {
            assert!(!address.admits(at(stranger), Channel::Rtp), "{stranger}");
            address.learn(at(stranger), Channel::Rtp, true);
        }
        assert_eq!(address.target(Channel::Rtp), (Channel::Rtp, at("10.0.0.5:4000")));
    }

    #[test]
    fn a_natted_phone_may_come_from_another_port_once() {
        let mut address = Address::new(at("10.0.0.5:4000"), None, Latch::SameHost, false);
        assert!(!address.admits(at("10.0.0.6:4000"), Channel::Rtp));
        assert!(address.admits(at("10.0.0.5:61000"), Channel::Rtp));
        address.learn(at("10.0.0.5:61000"), Channel::Rtp, true);
        assert_eq!(address.target(Channel::Rtp).1, at("10.0.0.5:61000"));
        assert!(!address.admits(at("10.0.0.5:4000"), Channel::Rtp));
        assert!(!address.admits(at("10.0.0.5:61001"), Channel::Rtp));
    }

    #[test]
    fn an_encrypted_leg_follows_only_newer_packets() {
        let mut address = Address::new(at("10.0.0.5:4000"), None, Latch::Signalled, true);
        address.learn(at("192.0.2.1:9"), Channel::Rtp, true);
        address.learn(at("10.0.0.5:4000"), Channel::Rtp, false);
        assert_eq!(address.target(Channel::Rtp).1, at("192.0.2.1:9"));
        assert_eq!(address.target(Channel::Rtcp), (Channel::Rtp, at("192.0.2.1:9")), "one port for both");
    }
}
