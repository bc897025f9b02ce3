use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use setu_media::Channel;
use setu_model::LegId;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::sys::Epoll;

/// The sockets of one worker, found by the token that epoll reports.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    opened: u32,
}

#[derive(Debug)]
struct Entry {
    token: u64,
    socket: UdpSocket,
    users: Users,
    /// The round that last found it ready.
    round: u32,
}

/// Whose packets come in at a socket.
#[derive(Debug)]
pub(crate) enum Users {
    /// One leg's, wherever they come from.
    One(Owner),
    /// Those of legs that are told apart by the addresses of their peers.
    Many(Directory),
}

/// The legs behind a shared socket, by the addresses that their peers signalled. An address has one leg at most, so
/// that nobody gets another's packets by signalling its address.
#[derive(Debug, Default)]
pub(crate) struct Directory(HashMap<(IpAddr, u16), Owner>);

impl Users {
    /// The leg that packets from there are for.
    pub(crate) fn find(&self, from: SocketAddr) -> Option<Owner> {
        match self {
            Self::One(owner) => Some(*owner),
            Self::Many(directory) => directory.find(from),
        }
    }
}

impl Directory {
    fn find(&self, from: SocketAddr) -> Option<Owner> {
        self.0.get(&key(from)).copied()
    }
}

/// A socket bound to `::` would report IPv4 peers as `::ffff:a.b.c.d`.
fn key(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// The leg that packets are for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    /// The number of the call in the worker's table.
    pub(crate) call: usize,
    /// The leg.
    pub(crate) leg: LegId,
    /// Which of its two ports.
    pub(crate) channel: Channel,
}

/// Names an open socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    index: usize,
    descriptor: RawFd,
}

impl Handle {
    /// The descriptor to send from, while the socket is open.
    pub(crate) const fn descriptor(self) -> RawFd {
        self.descriptor
    }
}

impl Sockets {
    /// Binds a socket and has `epoll` report it.
    pub(crate) fn open(&mut self, epoll: &Epoll, local: SocketAddr, users: Users) -> io::Result<Handle> {
        let socket = bind(local)?;
        if let Users::Many(_) = users {
            // What the system does not grant is no reason to fail.
            let _ = SockRef::from(&socket).set_recv_buffer_size(SHARED_BUFFER_BYTES);
        }
        let index = self.free.pop().unwrap_or(self.entries.len());
        // The count tells a socket from one that had the index before and may still be in a list of ready ones.
        self.opened = self.opened.wrapping_add(1);
        let token = u64::from(self.opened) << 32 | index as u64;
        if let Err(error) = epoll.add(&socket, token) {
            self.free.push(index);
            return Err(error);
        }
        let descriptor = socket.as_raw_fd();
        let entry = Some(Entry { token, socket, users, round: 0 });
        match self.entries.get_mut(index) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        Ok(Handle { index, descriptor })
    }

    /// Closes a socket. What was collected for it must have been sent before.
    pub(crate) fn close(&mut self, handle: Handle) {
        if self.entries.get_mut(handle.index).and_then(Option::take).is_some() {
            self.free.push(handle.index);
        }
    }

    /// The socket that epoll reported as `token` in this round, whose it is, and whether it was ready in the round
    /// before as well, or earlier in this one; none if it was closed since.
    pub(crate) fn ready(&mut self, token: u64, round: u32) -> Option<(&UdpSocket, &Users, bool)> {
        let index = usize::try_from(token & u64::from(u32::MAX)).ok()?;
        let entry = self.entries.get_mut(index)?.as_mut().filter(|entry| entry.token == token)?;
        let queued = round.wrapping_sub(entry.round) <= 1;
        entry.round = round;
        Some((&entry.socket, &entry.users, queued))
    }

    /// Whether packets that come from `remote` to a shared socket could be for this leg.
    pub(crate) fn is_free(&self, shared: Handle, remote: SocketAddr, leg: LegId) -> bool {
        let taken = self.directory(shared).and_then(|directory| directory.find(remote));
        taken.is_none_or(|owner| owner.leg == leg)
    }

    /// Gives the packets that come from `remote` to a shared socket to a leg.
    pub(crate) fn enter(&mut self, shared: Handle, remote: SocketAddr, owner: Owner) {
        if let Some(Directory(legs)) = self.directory_mut(shared) {
            legs.insert(key(remote), owner);
        }
    }

    /// Takes back what [`enter`](Self::enter) gave.
    pub(crate) fn leave(&mut self, shared: Handle, remote: SocketAddr) {
        if let Some(Directory(legs)) = self.directory_mut(shared) {
            legs.remove(&key(remote));
        }
    }

    fn directory(&self, shared: Handle) -> Option<&Directory> {
        match &self.entries.get(shared.index)?.as_ref()?.users {
            Users::Many(directory) => Some(directory),
            Users::One(_) => None,
        }
    }

    fn directory_mut(&mut self, shared: Handle) -> Option<&mut Directory> {
        match &mut self.entries.get_mut(shared.index)?.as_mut()?.users {
            Users::Many(directory) => Some(directory),
            Users::One(_) => None,
        }
    }
}

/// What a shared socket may hold: two thousand packets, as the system counts them, which is 20 ms of four thousand legs.
const SHARED_BUFFER_BYTES: usize = 2 << 20;

/// Binds a non-blocking socket that speaks one version of IP only.
pub(crate) fn bind(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}
