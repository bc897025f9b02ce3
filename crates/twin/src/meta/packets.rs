//! The edge's datagrams: whose they are, and what follows for the call.

use std::net::SocketAddr;

use setu_model::Now;

use super::call::Call;
use super::edge::Edge;
use super::report::{Event, Violation};
use super::spec::TwinCallId;
use crate::media::{DtlsIdentity, DtlsRole, Noticed, PathEvent, addressee, carry, is_stun};
use crate::sip::sdp::Sdp;

impl Edge {
    /// The certificate of the edge's handshakes.
    pub(super) fn identity(&mut self) -> Option<&DtlsIdentity> {
        if self.identity.is_none() {
            self.identity = DtlsIdentity::fresh();
        }
        self.identity.as_ref()
    }

    /// Both descriptions of `call` are known: its path may connect.
    pub(super) fn connect_path(&mut self, call: &mut Call, theirs: &Sdp, role: DtlsRole, now: Now) {
        let Some(identity) = self.identity().cloned() else { return };
        if let (Some(path), Some(remote)) = (&mut call.path, theirs.path()) {
            path.connect(&remote, role, false, &identity, self.entropy.as_mut(), now);
        }
    }

    /// Acts on what the path of `call` has to tell.
    pub(super) fn follow_path(&mut self, call: &mut Call, now: Now) {
        while let Some(event) = call.path.as_mut().and_then(crate::media::Path::poll_event) {
            let moves = call.path.as_ref().is_some_and(|path| path.report().moves > 0);
            match event {
                PathEvent::Keyed(ours, theirs) => {
                    if let Some(voice) = &mut call.voice {
                        voice.key(ours, theirs, now);
                    }
                }
                PathEvent::Moved(remote) => {
                    if let Some(voice) = &mut call.voice {
                        voice.move_to(remote);
                    }
                    if moves {
                        self.violated(call, Violation::CandidateSwitched);
                    }
                }
                PathEvent::RoleConflict => self.violated(call, Violation::RoleConflict),
                PathEvent::WrongFingerprint => self.violated(call, Violation::WrongFingerprint),
                PathEvent::Failed(why) => self.violated(call, Violation::DtlsFailed(why)),
            }
        }
    }

    /// Moves the packets of `call` out and acts on what its ear noticed.
    pub(super) fn pump(&mut self, call: &mut Call) {
        let Call { path, voice, relay, .. } = call;
        carry::send_waiting(path.as_mut(), voice.as_mut(), relay.address, &mut self.outputs);
        let Some(voice) = voice else { return };
        for noticed in voice.noticed() {
            match noticed {
                Noticed::FirstPacket => self.tell(Event::FirstPacket(call.id)),
                Noticed::SecondSsrc => self.violated(call, Violation::SecondSsrc),
                Noticed::WrongPtime => self.violated(call, Violation::WrongPtime),
                Noticed::Digit(digit) => self.tell(Event::Digit(call.id, digit)),
            }
        }
    }

    /// Finds the call a datagram belongs to, and hands it over.
    pub(super) fn take_datagram(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        if let Some(id) = self.path_owner(local, from, bytes) {
            self.with(id, |edge, call| {
                let path = call.path.as_mut();
                let for_voice = path.is_some_and(|path| path.handle_datagram(local, from, bytes, now));
                edge.follow_path(call, now);
                if for_voice {
                    take_media(call, bytes, now);
                }
            });
            return;
        }
        let on_port =
            |call: &&Call| call.relay.address == local && call.path.is_none() && call.voice.is_some();
        let known = self
            .calls
            .values()
            .filter(on_port)
            .find(|call| call.voice.as_ref().is_some_and(|v| v.plan().remote == from));
        if let Some(id) = known.map(|call| call.id) {
            self.with(id, |_, call| take_media(call, bytes, now));
            return;
        }
        // From elsewhere: whoever can open it owns it.
        let strangers: Vec<TwinCallId> = self
            .calls
            .values()
            .filter(on_port)
            .filter(|call| call.quirks.latches)
            .map(|call| call.id)
            .collect();
        for id in strangers {
            let taken = self.with(id, |_, call| {
                let taken = call.voice.as_mut().is_some_and(|voice| voice.claims(from, bytes));
                if taken {
                    take_media(call, bytes, now);
                }
                taken
            });
            if taken == Some(true) {
                return;
            }
        }
    }

    /// The call with DTLS that a datagram belongs to: by the fragment a check is addressed to, or by a pair of
    /// addresses that ICE proved.
    fn path_owner(&self, local: SocketAddr, from: SocketAddr, bytes: &[u8]) -> Option<TwinCallId> {
        let fragment = is_stun(bytes).then(|| addressee(bytes).unwrap_or_default());
        let owns = |call: &&Call| {
            call.path.as_ref().is_some_and(|path| match &fragment {
                Some(fragment) => path.is_addressed_by(fragment),
                None => path.knows(local, from),
            })
        };
        self.calls.values().find(owns).map(|call| call.id)
    }
}

fn take_media(call: &mut Call, bytes: &[u8], now: Now) {
    let Some(voice) = &mut call.voice else { return };
    let first = voice.last_heard(false).is_none();
    voice.handle_datagram(bytes, now);
    if first && voice.last_heard(false).is_some() && call.answered.is_some() {
        call.watch_media(now);
    }
}
