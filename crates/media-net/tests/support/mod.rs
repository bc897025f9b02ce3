//! A media plane on loopback, each test on an address of its own, and what its events say.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod peer;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use setu_media::{Command, Event};
use setu_media_net::{MediaNetConfig, MediaPlane, MediaSide, SendError};
use setu_model::{CallId, LegId, Side, TapFrame};

/// How long anything may take before a test gives up: never reached unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The host `127.42.test.side`, so that tests never meet on a port.
pub(crate) const fn host(test: u8, side: Side) -> IpAddr {
    let last = match side {
        Side::Meta => 1,
        Side::Agents => 2,
    };
    IpAddr::V4(Ipv4Addr::new(127, 42, test, last))
}

pub(crate) fn config(test: u8, ports: RangeInclusive<u16>) -> MediaNetConfig {
    let side =
        |side| MediaSide { bind: host(test, side), advertised: host(test, side), ports: ports.clone() };
    let (meta, agents) = (side(Side::Meta), side(Side::Agents));
    MediaNetConfig {
        meta,
        agents,
        threads: 1,
        codec_threads: 1,
        pinned: false,
        hurried: true,
        quarantine: Duration::ZERO,
        dtls: None,
    }
}

/// A running plane.
pub(crate) struct Fixture {
    pub(crate) plane: MediaPlane,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) frames: Receiver<TapFrame>,
}

impl Fixture {
    pub(crate) fn new(config: MediaNetConfig) -> Self {
        let (tap, frames) = crossbeam_channel::bounded(256);
        let (sender, events) = mpsc::channel();
        let on_event = move |event| {
            let _ = sender.send(event);
        };
        let plane = MediaPlane::spawn(config, tap, on_event).expect("the plane starts");
        Self { plane, events, frames }
    }

    pub(crate) fn send(&self, command: Command) {
        self.plane.send(command).expect("the command is taken");
    }

    pub(crate) fn event(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    /// The next event that `wanted` takes; others are passed over.
    pub(crate) fn wait_for<T>(&self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        while let Ok(event) = self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some(found) = wanted(event) {
                return found;
            }
        }
        panic!("the event never came");
    }

    /// Opens a leg that must get an address.
    pub(crate) fn open(&self, leg: LegId, side: Side) -> SocketAddr {
        self.send(Command::Open { leg, side });
        self.opened(leg)
    }

    /// Opens an agent's leg behind a shared port.
    pub(crate) fn open_shared(&self, leg: LegId) -> SocketAddr {
        self.send(Command::OpenShared { leg });
        self.opened(leg)
    }

    fn opened(&self, leg: LegId) -> SocketAddr {
        let event = self.event();
        let Event::Opened { leg: opened, local } = event else { panic!("{event:?}") };
        assert_eq!(opened, leg);
        local
    }

    /// Returns once every command so far was carried out: commands keep their order, and this one is answered.
    pub(crate) fn settle(&self) {
        self.close(call(u128::MAX));
    }

    /// Closes a call that nothing else happens in.
    pub(crate) fn close(&self, call: CallId) {
        self.send(Command::Close { call });
        self.wait_for(|event| {
            matches!(event, Event::Closed { call: closed, .. } if closed == call).then_some(())
        });
    }
}

pub(crate) const fn call(number: u128) -> CallId {
    CallId::from_bits(number)
}

pub(crate) const fn leg(number: u128, index: u8) -> LegId {
    LegId { call: call(number), index }
}

/// Whether a command was not taken because the plane has ended.
pub(crate) fn is_stopped(result: &Result<(), SendError>) -> bool {
    matches!(result, Err(SendError::Stopped(_)))
}
