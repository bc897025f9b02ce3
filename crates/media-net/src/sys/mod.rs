//! The system calls that the standard library does not offer: epoll, eventfd, batched datagrams, processor affinity,
//! priority.
//!
//! All of the crate's unsafe code is here. It is needed because a datagram at a time through `std` costs a system
//! call each, and because a thread that waits for thousands of sockets, a deadline and a command at once needs
//! epoll. Every pointer handed to the kernel is made from a live slice in the same function that makes the call.

#![expect(unsafe_code, reason = "system calls without a safe wrapper")]

mod datagrams;
mod priority;

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

pub(crate) use datagrams::{RECEIVE_BATCH, ReceiveBatch, Received, SendBatch, send_one};
pub(crate) use priority::hurry_thread;

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
    use super::*;

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
