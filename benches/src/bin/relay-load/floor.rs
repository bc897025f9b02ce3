//! The least a relay in user space can do, as a contender: the sockets and system calls of Setu's media plane and SRTP,
//! and nothing of what makes a relay safe. What a real one costs above it is its own; what is below is the system's.

use std::io::{self, BufRead as _, ErrorKind, Write as _};
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use setu_srtp::{Receiver, Sender};

use crate::session::{FLOOR, SUITE, agent, keying_from_meta, keying_to_meta, meta};
use crate::setu::{CLEAN, READY};
use crate::udp::{Inbox, Outbox, ROOM, bind_plain};

/// One session: a socket of its own toward Meta.
struct Session {
    meta: UdpSocket,
    from_meta: Receiver,
    to_meta: Sender,
}

/// The relay's process.
pub(crate) fn serve(sessions: u16) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", READY)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let agents = bind_plain(SocketAddrV4::new(FLOOR, 20_000))?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let watch = |socket: &UdpSocket, token| epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, token));
    watch(&agents, SHARED)?;
    epoll.add(io::stdin(), EpollEvent::new(EpollFlags::EPOLLIN, INPUT))?;
    let mut all = Vec::new();
    for session in 0..sessions {
        let at = SocketAddrV4::new(FLOOR, 20_002 + 2 * session);
        let socket = bind_plain(at)?;
        watch(&socket, session.into())?;
        writeln!(out, "{at} {}", agents.local_addr()?)?;
        all.push(Session {
            meta: socket,
            from_meta: Receiver::from_keying(SUITE, &keying_from_meta(session))?,
            to_meta: Sender::from_keying(SUITE, &keying_to_meta(session))?,
        });
    }
    out.flush()?;
    relay(&epoll, &agents, &mut all)?;
    writeln!(out, "{}", CLEAN)?;
    Ok(())
}

/// Forwards until standard input is closed.
fn relay(epoll: &Epoll, agents: &UdpSocket, sessions: &mut [Session]) -> anyhow::Result<()> {
    let (mut inbox, mut outbox) = (Inbox::new(), Outbox::new());
    let mut ready = [EpollEvent::empty(); 256];
    let mut buffer = [0; ROOM];
    loop {
        let count = epoll.wait(&mut ready, EpollTimeout::NONE)?;
        let begun = Instant::now();
        for event in ready.iter().take(count) {
            match event.data() {
                INPUT => return Ok(()),
                SHARED => inbox.drain(agents, false, |received| {
                    let session = received.from.port().saturating_sub(agent(0).port()) / 2;
                    let Some(call) = sessions.get_mut(usize::from(session)) else { return };
                    let mut packet = [0; ROOM];
                    let len = received.datagram.len();
                    packet[..len].copy_from_slice(received.datagram);
                    let len = call.to_meta.protect_rtp(&mut packet, len).unwrap_or(0);
                    let _ = call.meta.send_to(&packet[..len], meta(session));
                })?,
                token => {
                    let session = u16::try_from(token)?;
                    let Some(call) = sessions.get_mut(usize::from(session)) else { continue };
                    let len = match call.meta.recv_from(&mut buffer) {
                        Ok((len, _)) => len,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                        Err(error) => return Err(error.into()),
                    };
                    let packet = buffer.get_mut(..len).unwrap_or_default();
                    let len = call.from_meta.unprotect_rtp(packet).unwrap_or(0);
                    if outbox.is_full() {
                        outbox.flush(agents)?;
                    }
                    outbox.push(agent(session), |to| {
                        to[..len].copy_from_slice(&packet[..len]);
                        len
                    });
                }
            }
        }
        outbox.flush(agents)?;
        std::thread::sleep(LONGEST_WAIT.saturating_sub(begun.elapsed() * 2));
    }
}

/// As Setu's packet threads wait.
const LONGEST_WAIT: Duration = Duration::from_micros(600);

const SHARED: u64 = u64::MAX;
const INPUT: u64 = u64::MAX - 1;
