//! Datagrams with the address of ours that they come to and leave from. A socket that is bound to every address of the
//! machine would answer from the one the system likes best, which may not be the one that was asked: a NAT or a peer
//! that checks takes no such answer (RFC 3581 section 4). And what came back: a datagram that could not be delivered
//! (RFC 3261 section 18.4).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{
    SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, in_addr, in_pktinfo, in6_addr, in6_pktinfo, sock_extended_err,
    sockaddr_in6,
};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv4RecvErr, Ipv6RecvErr, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};

/// An address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) ip: IpAddr,
    /// The interface, where the address alone does not name it; else 0.
    pub(crate) interface: u32,
}

/// What the system has for the reader of a socket.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) kind: Kind,
    pub(crate) length: usize,
    pub(crate) remote: SocketAddr,
}

/// What was received.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A datagram from the remote address; where it came to, if the socket was told to say so.
    Datagram(Option<Local>),
    /// The beginning of one that could not be delivered to the remote address.
    Returned,
    /// Something that says nothing of whether a datagram arrives.
    Other,
}

/// Has the system say which address each datagram came to, if the socket is bound to all, and which were not delivered.
pub(crate) fn prepare(socket: &UdpSocket) -> io::Result<()> {
    let local = socket.local_addr()?;
    match (local.is_ipv4(), local.ip().is_unspecified()) {
        (true, true) => setsockopt(socket, Ipv4PacketInfo, &true)?,
        (false, true) => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
        (_, false) => {}
    }
    if local.is_ipv4() {
        setsockopt(socket, Ipv4RecvErr, &true)?;
    } else {
        setsockopt(socket, Ipv6RecvErr, &true)?;
    }
    Ok(())
}

/// Takes datagrams, and what the system says of each.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Room for what the system says.
    control: Vec<u8>,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { control: nix::cmsg_space!(in6_pktinfo, sock_extended_err, sockaddr_in6) }
    }

    /// Takes into `buffer` one datagram, or one that came back.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Received> {
        // One that came back makes some call or other fail, and waits in a queue of its own.
        let received = self.receive_from(MsgFlags::empty(), socket, buffer);
        received.or_else(|fault| self.receive_from(MsgFlags::MSG_ERRQUEUE, socket, buffer).map_err(|_| fault))
    }

    fn receive_from(
        &mut self,
        queue: MsgFlags,
        socket: &impl AsRawFd,
        buffer: &mut [u8],
    ) -> io::Result<Received> {
        let mut parts = [IoSliceMut::new(buffer)];
        let control = Some(self.control.as_mut_slice());
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, control, queue)?;
        let remote = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
        let mut told = message.cmsgs()?;
        let kind = if !queue.contains(MsgFlags::MSG_ERRQUEUE) {
            Kind::Datagram(told.find_map(|told| local(&told)))
        } else if told.any(|told| is_undelivered(&told)) {
            Kind::Returned
        } else {
            Kind::Other
        };
        Ok(Received { kind, length: message.bytes, remote })
    }
}

/// Sends one datagram `from` an address of ours, or from the one that the system chooses.
pub(crate) fn send(
    socket: &UdpSocket,
    wire: &[u8],
    remote: SocketAddr,
    from: Option<Local>,
) -> io::Result<()> {
    let send = |told: &[ControlMessage<'_>]| {
        let remote = SockaddrStorage::from(remote);
        let parts = [IoSlice::new(wire)];
        let send = || sendmsg(socket.as_raw_fd(), &parts, told, MsgFlags::empty(), Some(&remote));
        // The first fault may be that of a datagram that came back, whoever it was for, and is told once.
        send().or_else(|fault| if fault == Errno::EAGAIN { Err(fault) } else { send() })
    };
    match from {
        None => send(&[])?,
        Some(Local { ip: IpAddr::V4(ip), .. }) => {
            let info = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: in_addr { s_addr: 0 },
            };
            send(&[ControlMessage::Ipv4PacketInfo(&info)])?
        }
        Some(Local { ip: IpAddr::V6(ip), interface }) => {
            let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: interface };
            send(&[ControlMessage::Ipv6PacketInfo(&info)])?
        }
    };
    Ok(())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the system tells nothing else that was not asked for")]
fn local(told: &ControlMessageOwned) -> Option<Local> {
    match told {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let ip = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
            Some(Local { ip: ip.into(), interface: 0 })
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let interface = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
            // Nothing can be sent from a group that was addressed.
            (!ip.is_multicast()).then_some(Local { ip: ip.into(), interface })
        }
        _ => None,
    }
}

/// Whether the system says that a host, a network, a protocol or a port cannot be reached, or that it does not
/// understand the datagram. One that was too large is sent again in fragments.
#[expect(clippy::wildcard_enum_match_arm, reason = "the system tells nothing else that matters")]
fn is_undelivered(told: &ControlMessageOwned) -> bool {
    match told {
        ControlMessageOwned::Ipv4RecvErr(error, _) if error.ee_origin == SO_EE_ORIGIN_ICMP => {
            match error.ee_type {
                ICMP_DEST_UNREACH => error.ee_code != ICMP_FRAG_NEEDED,
                kind => kind == ICMP_PARAMETERPROB,
            }
        }
        ControlMessageOwned::Ipv6RecvErr(error, _) if error.ee_origin == SO_EE_ORIGIN_ICMP6 => {
            matches!(error.ee_type, ICMPV6_DEST_UNREACH | ICMPV6_PARAMPROB)
        }
        _ => false,
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
}

/// The types and codes of ICMP (RFC 792) and ICMPv6 (RFC 4443).
const ICMP_DEST_UNREACH: u8 = 3;
const ICMP_FRAG_NEEDED: u8 = 4;
const ICMP_PARAMETERPROB: u8 = 12;
const ICMPV6_DEST_UNREACH: u8 = 1;
const ICMPV6_PARAMPROB: u8 = 4;
