//! Ports for processes that are started later.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that is free for UDP and TCP on loopback; never the same twice in one test run. It is from below the range that
/// the system hands out: one from that range may be taken by a socket of another test before the bridge binds it.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        // Each process begins elsewhere, so that test runs beside each other seldom meet.
        let first = u16::try_from(std::process::id() % 40).unwrap() * 200;
        let port = 2_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}
