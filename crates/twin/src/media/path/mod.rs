//! The way of one call's packets when it is found by ICE and keyed by DTLS (RFC 8445, RFC 5764).

mod dtls;
mod full;
mod lite;
mod report;
mod stun;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use setu_model::{Entropy, Now};

pub(crate) use dtls::{DtlsIdentity, Fingerprint};
pub(crate) use lite::LiteHabits;
pub use report::{DtlsRole, PathReport, Setup};
pub(crate) use stun::{Credentials, addressee, is_stun};

use super::srtp::CryptoLine;
use dtls::{Handshake, Told};
use full::FullIce;
use lite::LiteIce;

/// What the other side's description says of its end.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// `None` for a peer without ICE.
    pub(crate) credentials: Option<Credentials>,
    pub(crate) lite: bool,
    /// Its candidates, or the one address of a peer without ICE.
    pub(crate) candidates: Vec<SocketAddr>,
    /// SHA-256 of its certificate.
    pub(crate) fingerprint: Fingerprint,
}

/// What a path tells the call it belongs to.
#[derive(Debug)]
pub(crate) enum PathEvent {
    /// The handshake is done: our keys and theirs.
    Keyed(CryptoLine, CryptoLine),
    /// Packets go somewhere else from now on.
    Moved(SocketAddr),
    /// The peer claims our role.
    RoleConflict,
    /// The peer's certificate is not the one it described.
    WrongFingerprint,
    /// The handshake failed.
    Failed(String),
}

/// How this end looks for the other.
enum Ice {
    /// It does not: the description's address is right (DTLS-SRTP without ICE).
    Off {
        local: SocketAddr,
        remote: Option<SocketAddr>,
    },
    Lite(LiteIce),
    Full(Box<FullIce>),
}

/// ICE and DTLS of one call, sans-IO.
pub(crate) struct Path {
    ice: Ice,
    handshake: Handshake,
    /// The pair in use: our address and theirs.
    pair: Option<(SocketAddr, SocketAddr)>,
    connected_at: Option<Instant>,
    described_at: Option<Instant>,
    /// Datagrams of a handshake that are still to be lost.
    losing: u32,
    transmits: VecDeque<(SocketAddr, SocketAddr, Bytes)>,
    events: VecDeque<PathEvent>,
    report: PathReport,
}

impl Path {
    /// An ICE-lite end at `locals`, as Meta's relays are.
    pub(crate) fn lite(ours: Credentials, locals: Vec<SocketAddr>, habits: LiteHabits, lose: u32) -> Self {
        Self::new(Ice::Lite(LiteIce::new(ours, locals, habits)), lose)
    }

    /// A full ICE end at `local`, as a browser is.
    pub(crate) fn full(ours: &Credentials, local: SocketAddr, now: Now) -> Option<Self> {
        Some(Self::new(Ice::Full(Box::new(FullIce::new(ours, local, now.mono)?)), 0))
    }

    /// An end at `local` that does without ICE.
    pub(crate) fn direct(local: SocketAddr) -> Self {
        Self::new(Ice::Off { local, remote: None }, 0)
    }

    fn new(ice: Ice, losing: u32) -> Self {
        Self {
            ice,
            handshake: Handshake::default(),
            pair: None,
            connected_at: None,
            described_at: None,
            losing,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            report: PathReport::default(),
        }
    }

    /// Both descriptions are known: checks are answered or begun, and the handshake takes its role.
    pub(crate) fn connect(
        &mut self,
        remote: &Remote,
        role: DtlsRole,
        controlling: bool,
        identity: &DtlsIdentity,
        entropy: &mut dyn Entropy,
        now: Now,
    ) {
        self.described_at = Some(now.mono);
        self.report.peer_dtls_role = Some(role.other());
        self.handshake.prepare(identity, role, remote.fingerprint, entropy.next_u64(), now.mono);
        match &mut self.ice {
            Ice::Off { remote: peer, .. } => *peer = remote.candidates.first().copied(),
            Ice::Lite(lite) => lite.describe(remote.credentials.clone(), remote.candidates.clone()),
            Ice::Full(full) => {
                if let Some(theirs) = &remote.credentials {
                    full.connect(theirs, &remote.candidates, controlling || remote.lite, now.mono);
                }
            }
        }
        self.follow_ice(now);
    }

    /// Whether the other side's description is known.
    pub(crate) const fn is_connected(&self) -> bool {
        self.described_at.is_some()
    }

    /// Whether checks addressed to `fragment` are ours.
    pub(crate) fn is_addressed_by(&self, fragment: &str) -> bool {
        match &self.ice {
            Ice::Off { .. } => false,
            Ice::Lite(lite) => lite.fragment() == fragment,
            Ice::Full(full) => full.fragment() == fragment,
        }
    }

    /// Whether packets from `from` to `local` are ours: ICE proved who is there.
    pub(crate) fn knows(&self, local: SocketAddr, from: SocketAddr) -> bool {
        match &self.ice {
            Ice::Off { local: ours, remote } => *ours == local && *remote == Some(from),
            Ice::Lite(lite) => lite.knows(local, from),
            Ice::Full(_) => self.pair == Some((local, from)),
        }
    }

    /// Takes one datagram. Returns whether it is for the voice: neither ICE nor DTLS.
    pub(crate) fn handle_datagram(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
        now: Now,
    ) -> bool {
        match bytes.first() {
            Some(0..=3) => self.take_check(local, from, bytes, now),
            // RFC 7983 section 7.
            Some(20..=63) if self.knows(local, from) => {
                if self.losing > 0 {
                    self.losing -= 1;
                    self.report.handshake_datagrams_lost += 1;
                    return false;
                }
                self.pair.get_or_insert((local, from));
                self.handshake.handle_datagram(bytes, now.mono);
                self.follow_handshake(now);
            }
            Some(_) if self.knows(local, from) => return true,
            Some(_) | None => self.report.strangers += 1,
        }
        false
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        if let Ice::Full(full) = &mut self.ice {
            full.handle_timeout(now.mono);
        }
        self.follow_ice(now);
        self.handshake.handle_timeout(now.mono);
        self.follow_handshake(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let ice = match &self.ice {
            Ice::Full(full) => full.poll_timeout(),
            Ice::Off { .. } | Ice::Lite(_) => None,
        };
        [ice, self.handshake.poll_timeout()].into_iter().flatten().min()
    }

    /// The next datagram: from, to, bytes.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, SocketAddr, Bytes)> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<PathEvent> {
        self.events.pop_front()
    }

    /// Our address of the pair in use.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.pair.map(|(local, _)| local)
    }

    pub(crate) fn report(&self) -> PathReport {
        self.report.clone()
    }

    fn take_check(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        match &mut self.ice {
            Ice::Off { .. } => self.report.strangers += 1,
            Ice::Lite(lite) => {
                let (reply, conflict) = lite.handle_check(local, from, bytes, &mut self.report);
                self.transmits.extend(reply.map(|bytes| (local, from, bytes)));
                if conflict {
                    self.events.push_back(PathEvent::RoleConflict);
                }
            }
            Ice::Full(full) => full.handle_datagram(local, from, bytes, now.mono),
        }
        self.follow_ice(now);
    }

    /// Moves what ICE has to say; its first pair starts the handshake.
    fn follow_ice(&mut self, now: Now) {
        let pair = match &mut self.ice {
            Ice::Off { local, remote } => remote.map(|remote| (*local, remote)),
            Ice::Lite(lite) => lite.nominated(),
            Ice::Full(full) => {
                self.transmits.extend(std::iter::from_fn(|| full.poll_transmit()));
                full.selected(&mut self.report)
            }
        };
        let Some(pair) = pair.filter(|_| self.described_at.is_some()) else { return };
        if self.connected_at.is_none() {
            self.connected_at = Some(now.mono);
            self.report.ice_ms = Some(ms_since(self.described_at, now));
            self.report.local = Some(pair.0);
            self.report.remote = Some(pair.1);
            self.pair = Some(pair);
            self.handshake.begin(now.mono);
            self.follow_handshake(now);
            self.events.push_back(PathEvent::Moved(pair.1));
        } else if self.pair != Some(pair) {
            self.report.moves += 1;
            self.pair = Some(pair);
            self.events.push_back(PathEvent::Moved(pair.1));
        }
    }

    fn follow_handshake(&mut self, now: Now) {
        while let Some(told) = self.handshake.poll_told() {
            match told {
                Told::Datagram(bytes) => {
                    self.transmits.extend(self.pair.map(|(local, to)| (local, to, bytes)));
                }
                Told::Keyed(ours, theirs) => {
                    self.report.dtls_ms = Some(ms_since(self.connected_at.or(self.described_at), now));
                    self.report.srtp = Some(ours.suite);
                    if let Some((_, remote)) = self.pair {
                        self.events.push_back(PathEvent::Moved(remote));
                    }
                    self.events.push_back(PathEvent::Keyed(ours, theirs));
                }
                Told::WrongFingerprint => self.events.push_back(PathEvent::WrongFingerprint),
                Told::Failed(why) => self.events.push_back(PathEvent::Failed(why)),
            }
        }
    }
}

fn ms_since(then: Option<Instant>, now: Now) -> u64 {
    then.map_or(0, |then| now.mono.saturating_duration_since(then).as_millis() as u64)
}

#[cfg(test)]
mod tests;
