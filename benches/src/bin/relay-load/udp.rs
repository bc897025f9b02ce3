//! Datagrams in batches, with the kernel's time of arrival.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

/// How many datagrams one system call moves.
const BATCH: usize = 64;

/// Room for one datagram.
pub(crate) const ROOM: usize = 256;

/// A datagram that came in.
pub(crate) struct Received<'b> {
    pub(crate) datagram: &'b mut [u8],
    pub(crate) from: SocketAddrV4,
    /// When the kernel took it, in nanoseconds since 1970, where the socket notes it.
    pub(crate) at_ns: Option<u64>,
}

/// Takes what waits at sockets.
pub(crate) struct Inbox {
    headers: MultiHeaders<SockaddrIn>,
    buffers: Box<[[u8; ROOM]; BATCH]>,
    notes: Vec<(usize, SocketAddrV4, Option<u64>)>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec))),
            buffers: Box::new([[0; ROOM]; BATCH]),
            notes: Vec::with_capacity(BATCH),
        }
    }

    /// Calls `each` with every datagram that waits at `socket`, of which `few` are expected.
    pub(crate) fn drain(
        &mut self,
        socket: &UdpSocket,
        few: bool,
        mut each: impl FnMut(Received<'_>),
    ) -> io::Result<()> {
        let most = if few { 4 } else { BATCH };
        loop {
            let Self { headers, buffers, notes } = self;
            notes.clear();
            let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
            match recvmmsg(
                socket.as_raw_fd(),
                headers,
                slices.iter_mut().take(most),
                MsgFlags::MSG_DONTWAIT,
                None,
            ) {
                Ok(received) => notes.extend(received.filter_map(|message| {
                    let from = message.address.map(SocketAddrV4::from)?;
                    let stamp = message.cmsgs().ok()?.find_map(|note| {
                        if let ControlMessageOwned::ScmTimestampns(at) = note { Some(at) } else { None }
                    });
                    Some((message.bytes, from, stamp.map(stamp_ns)))
                })),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let count = notes.len();
            for ((len, from, at_ns), buffer) in notes.iter().zip(buffers.iter_mut()) {
                let Some(datagram) = buffer.get_mut(..*len) else { continue };
                each(Received { datagram, from: *from, at_ns: *at_ns });
            }
            if count < most {
                return Ok(());
            }
        }
    }
}

/// Datagrams to leave from one socket with one system call.
pub(crate) struct Outbox {
    headers: MultiHeaders<SockaddrIn>,
    buffers: Box<[[u8; ROOM]; BATCH]>,
    lens: Vec<usize>,
    to: Vec<Option<SockaddrIn>>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: Box::new([[0; ROOM]; BATCH]),
            lens: Vec::with_capacity(BATCH),
            to: Vec::with_capacity(BATCH),
        }
    }

    /// Whether the next one needs a flush first.
    pub(crate) fn is_full(&self) -> bool {
        self.lens.len() == BATCH
    }

    /// Adds what `write` puts into the buffer, and returns the length of.
    pub(crate) fn push(&mut self, to: SocketAddrV4, write: impl FnOnce(&mut [u8]) -> usize) {
        if let Some(buffer) = self.buffers.get_mut(self.lens.len()) {
            self.lens.push(write(buffer));
            self.to.push(Some(SockaddrIn::from(to)));
        }
    }

    /// Sends what was collected.
    pub(crate) fn flush(&mut self, socket: &UdpSocket) -> io::Result<()> {
        if self.lens.is_empty() {
            return Ok(());
        }
        let mut slices = [[IoSlice::new(&[])]; BATCH];
        for ((slice, buffer), len) in slices.iter_mut().zip(self.buffers.iter()).zip(&self.lens) {
            *slice = [IoSlice::new(buffer.get(..*len).unwrap_or_default())];
        }
        let filled = slices.iter().take(self.lens.len());
        let sent = sendmmsg(socket.as_raw_fd(), &mut self.headers, filled, &self.to, [], MsgFlags::empty());
        let sent = sent.map(Iterator::count);
        self.lens.clear();
        self.to.clear();
        sent?;
        Ok(())
    }
}

/// A socket of the generator: it also notes when datagrams came.
pub(crate) fn bind(at: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = bind_plain(at)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    Ok(socket)
}

/// A socket that blocks nobody and holds a burst.
pub(crate) fn bind_plain(at: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    // Without the privilege, what is allowed.
    if setsockopt(&socket, sockopt::RcvBufForce, &BURST_BYTES).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &BURST_BYTES)?;
    }
    Ok(socket)
}

fn stamp_ns(at: TimeSpec) -> u64 {
    u64::try_from(at.tv_sec() * 1_000_000_000 + at.tv_nsec()).unwrap_or(0)
}

/// What a socket may hold, with the kernel's overhead.
const BURST_BYTES: usize = 8 << 20;
