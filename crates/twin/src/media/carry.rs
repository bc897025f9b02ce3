//! What every call of a twin does with its media: send what waits, and wake for what is due.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use super::{Path, Voice};
use crate::io::Output;

/// Sends what the media of a call at `address` has to send; a path knows better where its packets leave.
pub(crate) fn send_waiting(
    path: Option<&mut Path>,
    voice: Option<&mut Voice>,
    address: SocketAddr,
    outputs: &mut VecDeque<Output>,
) {
    let mut local = address;
    if let Some(path) = path {
        while let Some((from, to, bytes)) = path.poll_transmit() {
            outputs.push_back(Output::SendUdp { from, to, bytes });
        }
        local = path.local().unwrap_or(local);
    }
    let Some(voice) = voice else { return };
    while let Some((to, bytes)) = voice.poll_transmit() {
        outputs.push_back(Output::SendUdp { from: local, to, bytes });
    }
}

/// When a call next wants to be woken: for its media, or for what is `due`.
pub(crate) fn next_deadline<D>(
    due: &BTreeMap<D, Instant>,
    voice: Option<&Voice>,
    path: Option<&Path>,
) -> Option<Instant> {
    let media = [voice.and_then(Voice::poll_timeout), path.and_then(Path::poll_timeout)];
    due.values().copied().chain(media.into_iter().flatten()).min()
}

/// Takes the earliest of what is `due` by `now`.
pub(crate) fn take_due<D: Copy + Ord>(due: &mut BTreeMap<D, Instant>, now: Instant) -> Option<D> {
    let earliest = *due.iter().filter(|(_, at)| **at <= now).min_by_key(|(_, at)| **at)?.0;
    due.remove(&earliest);
    Some(earliest)
}
