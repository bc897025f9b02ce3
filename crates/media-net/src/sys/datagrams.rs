//! Datagrams, one at a time where a socket has one, in batches where it has many.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use setu_model::limits::MEDIA_DATAGRAM_BYTES;
use socket2::SockAddr;

use super::check;

/// How many datagrams one system call takes from a socket: a shared one has dozens waiting.
pub(crate) const RECEIVE_BATCH: usize = 64;

/// How many datagrams are collected before they are sent.
pub(crate) const SEND_BATCH: usize = 64;

/// What a buffer has beyond the longest datagram, for the tag that protection adds.
pub(crate) const ROOM: usize = setu_media::Relay::ROOM;

/// A buffer for one datagram and its tag.
type Buffer = [u8; MEDIA_DATAGRAM_BYTES + ROOM];

/// Datagrams taken from a socket by one system call.
pub(crate) struct ReceiveBatch {
    buffers: Box<[Buffer]>,
    names: Box<[libc::sockaddr_storage]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

/// A datagram of a [`ReceiveBatch`].
pub(crate) struct Received<'b> {
    /// Where it came from.
    pub(crate) from: SocketAddr,
    /// It, and [`ROOM`] bytes more.
    pub(crate) buffer: &'b mut [u8],
    /// Its length.
    pub(crate) len: usize,
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![[0; MEDIA_DATAGRAM_BYTES + ROOM]; RECEIVE_BATCH].into(),
            names: vec![no_name(); RECEIVE_BATCH].into(),
            vectors: vec![no_vector(); RECEIVE_BATCH].into(),
            headers: vec![no_header(); RECEIVE_BATCH].into(),
        }
    }

    /// Takes what waits at `socket`, which must be non-blocking: returns how many datagrams, 0 if none waits.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        let parts = self.buffers.iter_mut().zip(self.names.iter_mut()).zip(self.vectors.iter_mut());
        for (((buffer, name), vector), header) in parts.zip(self.headers.iter_mut()) {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: MEDIA_DATAGRAM_BYTES };
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: the headers were just pointed at names, vectors and, through those, buffers that live over the
        // call and are as long as stated; there are RECEIVE_BATCH of each.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                RECEIVE_BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        taken(check(count))
    }

    /// Takes one datagram, if one waits: half as dear as [`receive`](Self::receive) where more than one is rare.
    pub(crate) fn receive_one(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        let (Some(buffer), Some(name), Some(header)) =
            (self.buffers.first_mut(), self.names.first_mut(), self.headers.first_mut())
        else {
            return Ok(0);
        };
        let mut name_len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: buffer, name and its length live over the call and are as long as stated. MSG_TRUNC has the
        // kernel return the whole length of a datagram that it cuts; it writes no more than the stated length.
        let len = unsafe {
            libc::recvfrom(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                MEDIA_DATAGRAM_BYTES,
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                ptr::from_mut(name).cast(),
                &raw mut name_len,
            )
        };
        let Ok(len) = u32::try_from(len) else { return taken(Err(io::Error::last_os_error())) };
        header.msg_len = len;
        header.msg_hdr.msg_flags = if len as usize > MEDIA_DATAGRAM_BYTES { libc::MSG_TRUNC } else { 0 };
        Ok(1)
    }

    /// The `at`-th datagram of the last [`receive`](Self::receive); `None` if it was too long for a voice packet.
    pub(crate) fn datagram(&mut self, at: usize) -> Option<Received<'_>> {
        let header = self.headers.get(at)?;
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let from = address(self.names.get(at)?)?;
        Some(Received { from, len: header.msg_len as usize, buffer: self.buffers.get_mut(at)? })
    }
}

/// How many datagrams a call took: none is no error.
fn taken(count: io::Result<libc::c_int>) -> io::Result<usize> {
    match count {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Sends one datagram; says whether the system took it. What it does not take is dropped: voice that waits is worth
/// nothing.
pub(crate) fn send_one(socket: RawFd, to: SocketAddr, datagram: &[u8]) -> bool {
    let to = SockAddr::from(to);
    // SAFETY: datagram and name live over the call, and the kernel only reads them.
    let sent = unsafe {
        libc::sendto(
            socket,
            datagram.as_ptr().cast(),
            datagram.len(),
            libc::MSG_DONTWAIT,
            to.as_ptr().cast(),
            to.len(),
        )
    };
    sent >= 0
}

/// Datagrams on their way out of shared sockets, collected over a round and sent with one system call for each.
pub(crate) struct SendBatch {
    slots: Box<[Slot]>,
    used: usize,
    order: Vec<usize>,
    sockets: Vec<RawFd>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

struct Slot {
    socket: RawFd,
    to: SockAddr,
    len: usize,
    buffer: Buffer,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Taken by the system.
    pub(crate) sent: u64,
    /// Refused by the system, and dropped: voice that waits is worth nothing.
    pub(crate) unsent: u64,
}

impl SendBatch {
    pub(crate) fn new() -> Self {
        let nowhere = SockAddr::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let slot =
            || Slot { socket: -1, to: nowhere.clone(), len: 0, buffer: [0; MEDIA_DATAGRAM_BYTES + ROOM] };
        Self {
            slots: std::iter::repeat_with(slot).take(SEND_BATCH).collect(),
            used: 0,
            order: Vec::with_capacity(SEND_BATCH),
            sockets: Vec::with_capacity(SEND_BATCH),
            vectors: Vec::with_capacity(SEND_BATCH),
            headers: Vec::with_capacity(SEND_BATCH),
        }
    }

    /// Whether the next [`push`](Self::push) needs a [`flush`](Self::flush) first.
    pub(crate) fn is_full(&self) -> bool {
        self.used >= self.slots.len()
    }

    /// Adds a datagram; says whether there was room. `socket` must stay open until the next flush.
    pub(crate) fn push(&mut self, socket: RawFd, to: SocketAddr, datagram: &[u8]) -> bool {
        let Some(slot) = self.slots.get_mut(self.used) else { return false };
        let Some(buffer) = slot.buffer.get_mut(..datagram.len()) else { return false };
        buffer.copy_from_slice(datagram);
        (slot.socket, slot.to, slot.len) = (socket, to.into(), datagram.len());
        self.used += 1;
        true
    }

    /// Sends everything, in order for each socket.
    pub(crate) fn flush(&mut self) -> Flushed {
        self.arrange();
        let mut flushed = Flushed::default();
        let mut headers = self.headers.as_mut_slice();
        for run in self.sockets.chunk_by(|one, next| one == next) {
            let (Some(socket), Some((of_this, others))) =
                (run.first(), headers.split_at_mut_checked(run.len()))
            else {
                break;
            };
            let sent = send_run(*socket, of_this);
            flushed.sent += sent;
            flushed.unsent += run.len() as u64 - sent;
            headers = others;
        }
        self.used = 0;
        flushed
    }

    /// Puts the datagrams in order of their sockets and points a header at each.
    fn arrange(&mut self) {
        self.order.clear();
        self.order.extend(0..self.used);
        let slots = &mut self.slots;
        self.order.sort_unstable_by_key(|at| (slots.get(*at).map(|slot| slot.socket), *at));
        self.sockets.clear();
        self.vectors.clear();
        self.headers.clear();
        for at in &self.order {
            let Some(slot) = slots.get_mut(*at) else { continue };
            self.sockets.push(slot.socket);
            self.vectors.push(libc::iovec { iov_base: slot.buffer.as_mut_ptr().cast(), iov_len: slot.len });
            let mut header = no_header();
            header.msg_hdr.msg_name = slot.to.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = slot.to.len();
            header.msg_hdr.msg_iovlen = 1;
            self.headers.push(header);
        }
        for (header, vector) in self.headers.iter_mut().zip(self.vectors.iter_mut()) {
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
        }
    }
}

/// Sends datagrams from one socket; returns how many the system took.
fn send_run(socket: RawFd, mut headers: &mut [libc::mmsghdr]) -> u64 {
    let mut sent = 0;
    while !headers.is_empty() {
        // SAFETY: `arrange` pointed the headers at slots and vectors, which `flush`'s exclusive borrow keeps in
        // place. The kernel does not write through name or vector when sending.
        let count =
            unsafe { libc::sendmmsg(socket, headers.as_mut_ptr(), headers.len() as u32, libc::MSG_DONTWAIT) };
        let done = match check(count) {
            Ok(count) => {
                sent += u64::try_from(count).unwrap_or(0);
                usize::try_from(count).unwrap_or(0).max(1)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            // The first of them was refused; the next may go elsewhere and pass.
            Err(_) => 1,
        };
        headers = headers.get_mut(done..).unwrap_or_default();
    }
    sent
}

fn no_name() -> libc::sockaddr_storage {
    // SAFETY: plain numbers; all zeroes is the unspecified family.
    unsafe { mem::zeroed() }
}

const fn no_vector() -> libc::iovec {
    libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }
}

fn no_header() -> libc::mmsghdr {
    // SAFETY: numbers and pointers; all zeroes is a message without name, data and control.
    unsafe { mem::zeroed() }
}

/// Reads an address that the kernel wrote.
fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a `sockaddr_in` was written; the storage is large and aligned enough.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a `sockaddr_in6`.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, u32::from_be(v6.sin6_flowinfo), v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn socket() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn addresses_of_both_families_are_read_as_the_kernel_writes_them() {
        for text in ["192.0.2.7:40001", "[2001:db8::7]:40001", "[fe80::1%3]:9"] {
            let wanted: SocketAddr = text.parse().unwrap();
            let name = SockAddr::from(wanted);
            // SAFETY: the pointer is to a whole `sockaddr_storage`.
            let storage = unsafe { *name.as_ptr().cast::<libc::sockaddr_storage>() };
            assert_eq!(address(&storage), Some(wanted));
        }
        assert_eq!(address(&no_name()), None);
    }

    #[test]
    fn a_batch_keeps_the_order_of_each_socket_and_survives_a_refused_datagram() {
        let ((one, one_at), (two, two_at), (sink, sink_at)) = (socket(), socket(), socket());
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut batch = SendBatch::new();
        for number in 0..10 {
            assert!(batch.push(one.as_raw_fd(), sink_at, &[1, number]));
            assert!(batch.push(two.as_raw_fd(), if number == 4 { nowhere } else { sink_at }, &[2, number]));
        }
        assert_eq!(batch.flush(), Flushed { sent: 19, unsent: 1 });
        assert_eq!(batch.flush(), Flushed::default());
        let mut heard = [Vec::new(), Vec::new()];
        for _ in 0..19 {
            let mut datagram = [0; 4];
            let (len, from) = sink.recv_from(&mut datagram).unwrap();
            let which = usize::from(from == two_at);
            assert_eq!((len, from), (2, [one_at, two_at][which]));
            heard[which].push(datagram[1]);
        }
        assert_eq!(heard, [vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9], vec![0, 1, 2, 3, 5, 6, 7, 8, 9]]);
    }

    #[test]
    fn a_full_batch_and_a_datagram_too_long_are_refused() {
        let (one, at) = socket();
        let mut batch = SendBatch::new();
        assert!(!batch.push(one.as_raw_fd(), at, &[0; MEDIA_DATAGRAM_BYTES + ROOM + 1]));
        for _ in 0..SEND_BATCH {
            assert!(!batch.is_full());
            assert!(batch.push(one.as_raw_fd(), at, &[0; MEDIA_DATAGRAM_BYTES + ROOM]));
        }
        assert!(batch.is_full());
        assert!(!batch.push(one.as_raw_fd(), at, &[0]));
    }

    #[test]
    fn datagrams_are_taken_in_batches_with_their_senders() {
        let ((one, at), (two, from)) = (socket(), socket());
        let mut batch = ReceiveBatch::new();
        assert_eq!(batch.receive(&one).unwrap(), 0, "nothing waits, and nobody waits for it");
        for number in 0..RECEIVE_BATCH as u8 + 3 {
            two.send_to(&vec![number; 1 + usize::from(number)], at).unwrap();
        }
        two.send_to(&[0; MEDIA_DATAGRAM_BYTES + 1], at).unwrap();
        assert_eq!(batch.receive(&one).unwrap(), RECEIVE_BATCH);
        for number in 0..RECEIVE_BATCH {
            let datagram = batch.datagram(number).unwrap();
            assert_eq!((datagram.from, datagram.len), (from, number + 1));
            assert!(datagram.buffer[..datagram.len].iter().all(|byte| usize::from(*byte) == number));
            assert!(datagram.buffer.len() >= MEDIA_DATAGRAM_BYTES + ROOM);
        }
        assert_eq!(batch.receive(&one).unwrap(), 4);
        assert_eq!(batch.datagram(2).unwrap().len, RECEIVE_BATCH + 3);
        assert!(batch.datagram(3).is_none(), "too long");
    }

    #[test]
    fn a_single_datagram_is_taken_and_sent_as_in_a_batch() {
        let ((one, at), (two, from)) = (socket(), socket());
        let mut batch = ReceiveBatch::new();
        assert_eq!(batch.receive_one(&one).unwrap(), 0, "nothing waits, and nobody waits for it");
        assert!(send_one(two.as_raw_fd(), at, &[7; MEDIA_DATAGRAM_BYTES]));
        assert!(send_one(two.as_raw_fd(), at, &[8; MEDIA_DATAGRAM_BYTES + 1]));
        assert!(!send_one(two.as_raw_fd(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &[9]));
        assert_eq!(batch.receive_one(&one).unwrap(), 1);
        let datagram = batch.datagram(0).unwrap();
        assert_eq!((datagram.from, datagram.len), (from, MEDIA_DATAGRAM_BYTES));
        assert!(datagram.buffer[..datagram.len].iter().all(|byte| *byte == 7));
        assert_eq!(batch.receive_one(&one).unwrap(), 1);
        assert!(batch.datagram(0).is_none(), "too long");
    }
}
