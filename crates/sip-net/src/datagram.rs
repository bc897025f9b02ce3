//! Datagrams with the address of ours that they come to and leave from. A socket that is bound to every address of the
//! machine would answer from the one the system likes best, which may not be the one that was asked: a NAT or a peer
//! that checks takes no such answer (RFC 3581 section 4).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
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

/// Where a datagram came from, and where it came to if the socket was told to say so.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<Local>,
}

/// Has the system say of each datagram which address it came to.
pub(crate) fn tell_local(socket: &UdpSocket) -> io::Result<()> {
    match socket.local_addr()? {
        SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
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
        Self { control: nix::cmsg_space!(in6_pktinfo) }
    }

    /// Takes one datagram into `buffer`.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Received> {
        let mut parts = [IoSliceMut::new(buffer)];
        let (socket, control) = (socket.as_raw_fd(), Some(self.control.as_mut_slice()));
        let message = recvmsg::<SockaddrStorage>(socket, &mut parts, control, MsgFlags::empty())?;
        let remote = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
        let local = message.cmsgs()?.find_map(|told| local(&told));
        Ok(Received { length: message.bytes, remote, local })
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
        sendmsg(socket.as_raw_fd(), &[IoSlice::new(wire)], told, MsgFlags::empty(), Some(&remote))
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

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
}
