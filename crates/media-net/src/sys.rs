//! The system calls that the standard library does not offer: epoll, eventfd, batched datagrams, processor affinity.
//!
//! All of the crate's unsafe code is here. It is needed because a datagram at a time through `std` costs a system
//! call each, and because a thread that waits for thousands of sockets, a deadline and a command at once needs
//! epoll. Every pointer handed to the kernel is made from a live slice in the same function that makes the call.

#![expect(unsafe_code, reason = "system calls without a safe wrapper")]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use setu_model::limits::MEDIA_DATAGRAM_BYTES;
use socket2::SockAddr;

/// How many datagrams one system call takes from a socket. A leg has one or two waiting; shared sockets and bursts
/// have more.
pub(crate) const RECEIVE_BATCH: usize = 16;

/// How many datagrams are collected before they are sent.
pub(crate) const SEND_BATCH: usize = 64;

/// What a buffer has beyond the longest datagram, for the tag that protection adds.
pub(crate) const ROOM: usize = setu_media::Relay::ROOM;

/// A buffer for one datagram and its tag.
type Buffer = [u8; MEDIA_DATAGRAM_BYTES + ROOM];

/// A set of descriptors to wait for.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// Makes an empty set that reports at most `most` descriptors at once.
    pub(crate) fn new(most: usize) -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; most] })
    }

    /// Adds a descriptor, to be reported as `token` while it has something to read. Closing it removes it.
    pub(crate) fn add(&self, descriptor: &impl AsRawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        let fd = self.fd.as_raw_fd();
        // SAFETY: `event` lives over the call.
        check(unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, descriptor.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }

    /// Waits for at most `timeout` (for ever without one), to the millisecond above; returns how many are ready.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let ms = timeout
            .map_or(-1, |timeout| i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        let most = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `most` entries, which the vector has.
        let ready = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), most, ms) };
        match check(ready) {
            Ok(ready) => Ok(usize::try_from(ready).unwrap_or(0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The token of the `at`-th ready descriptor of the last wait.
    pub(crate) fn token(&self, at: usize) -> Option<u64> {
        self.events.get(at).map(|event| event.u64)
    }
}

/// Wakes a worker from any thread.
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Self)
    }

    /// Makes the worker's wait return. Fails only if a wake-up is pending already.
    pub(crate) fn wake(&self) {
        // SAFETY: takes no pointer.
        unsafe { libc::eventfd_write(self.0.as_raw_fd(), 1) };
    }

    /// Takes pending wake-ups back.
    pub(crate) fn clear(&self) {
        let mut count = 0;
        // SAFETY: `count` lives over the call.
        unsafe { libc::eventfd_read(self.0.as_raw_fd(), &raw mut count) };
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

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
        match check(count) {
            Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(0)
            }
            Err(error) => Err(error),
        }
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

/// Datagrams on their way out, collected over a round and sent with one system call for each socket.
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

/// Keeps the calling thread on the `nth` of the processors it may use, counted from the last: the first ones serve
/// interrupts. Without effect where there are fewer.
pub(crate) fn pin_thread(nth: usize) -> io::Result<()> {
    // SAFETY: a processor set is a plain array of bits; all zeroes is the empty set.
    let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: `allowed` lives over the call and is `size` bytes long.
    check(unsafe { libc::sched_getaffinity(0, size, &raw mut allowed) })?;
    // SAFETY: the number is below the set's size.
    let is_allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &allowed) };
    let Some(cpu) = (0..libc::CPU_SETSIZE as usize).rev().filter(is_allowed).nth(nth) else { return Ok(()) };
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the number is below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: `one` lives over the call and is `size` bytes long.
    check(unsafe { libc::sched_setaffinity(0, size, &raw const one) })?;
    Ok(())
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

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: the call that returned it just opened it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

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
    fn a_wake_up_is_reported_until_it_is_cleared() {
        let mut epoll = Epoll::new(4).unwrap();
        let waker = Waker::new().unwrap();
        epoll.add(&waker, 7).unwrap();
        assert_eq!(epoll.wait(Some(Duration::ZERO)).unwrap(), 0);
        waker.wake();
        waker.wake();
        for _ in 0..2 {
            assert_eq!(epoll.wait(None).unwrap(), 1);
            assert_eq!(epoll.token(0), Some(7));
        }
        waker.clear();
        assert_eq!(epoll.wait(Some(Duration::from_nanos(1))).unwrap(), 0);
    }

    #[test]
    fn pinning_beyond_the_last_processor_changes_nothing() {
        std::thread::spawn(|| {
            assert!(pin_thread(100_000).is_ok());
            assert!(pin_thread(0).is_ok());
            assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
        })
        .join()
        .unwrap();
    }
}
