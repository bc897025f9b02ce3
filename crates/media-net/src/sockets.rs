use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use setu_media::Channel;
use setu_model::LegId;
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::Epoll;

/// The sockets of one worker, found by the token that epoll reports.
///
/// A socket has one owner, as each leg has ports of its own. Where legs come to share sockets, [`Owner`] becomes
/// what tells their packets apart; nothing else knows of it.
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
    owner: Owner,
}

/// Whose packets come in at a socket.
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
#[derive(Debug, Clone, Copy)]
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
    pub(crate) fn open(&mut self, epoll: &Epoll, local: SocketAddr, owner: Owner) -> io::Result<Handle> {
        let socket = bind(local)?;
        let index = self.free.pop().unwrap_or(self.entries.len());
        // The count tells a socket from one that had the index before and may still be in a list of ready ones.
        self.opened = self.opened.wrapping_add(1);
        let token = u64::from(self.opened) << 32 | index as u64;
        if let Err(error) = epoll.add(&socket, token) {
            self.free.push(index);
            return Err(error);
        }
        let descriptor = socket.as_raw_fd();
        let entry = Some(Entry { token, socket, owner });
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

    /// The socket that epoll reported as `token`; none if it was closed since.
    pub(crate) fn ready(&self, token: u64) -> Option<(&UdpSocket, Owner)> {
        let index = usize::try_from(token & u64::from(u32::MAX)).ok()?;
        let entry = self.entries.get(index)?.as_ref().filter(|entry| entry.token == token)?;
        Some((&entry.socket, entry.owner))
    }
}

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
