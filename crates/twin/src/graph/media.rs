//! The relay's datagrams.

use std::net::SocketAddr;

use setu_model::Now;

use super::call::{Call, Stage};
use super::edge::GraphEdge;
use super::report::{GraphEvent, GraphViolation};
use crate::media::{DtlsRole, Noticed, Path, PathEvent, addressee, carry, is_stun};
use crate::sip::sdp::Sdp;

impl GraphEdge {
    /// Both descriptions of a call are known: its path may connect.
    pub(super) fn connect_path(&mut self, call: &mut Call, theirs: &Sdp, role: DtlsRole, now: Now) {
        let Some(identity) = self.identity.clone() else { return };
        if let (Some(path), Some(remote)) = (&mut call.path, theirs.path()) {
            path.connect(&remote, role, false, &identity, self.entropy.as_mut(), now);
        }
    }

    /// Acts on what the path of a call has to tell; what it tells before the call is answered waits for the voice.
    pub(super) fn follow_path(&mut self, call: &mut Call, now: Now) {
        if call.voice.is_none() {
            return;
        }
        while let Some(event) = call.path.as_mut().and_then(Path::poll_event) {
            match event {
                PathEvent::Keyed(ours, theirs) => {
                    if let Some(voice) = &mut call.voice {
                        voice.key(ours, theirs, now);
                    }
                    self.business_call_keyed(call, now);
                }
                PathEvent::Moved(remote) => {
                    if let Some(voice) = &mut call.voice {
                        voice.move_to(remote);
                    }
                }
                PathEvent::RoleConflict => call.report.violated(GraphViolation::RoleConflict),
                PathEvent::WrongFingerprint => call.report.violated(GraphViolation::WrongFingerprint),
                PathEvent::Failed(why) => call.report.violated(GraphViolation::DtlsFailed(why)),
            }
        }
    }

    /// Moves the packets of a call out.
    pub(super) fn pump(&mut self, call: &mut Call) {
        let Call { path, voice, relay, .. } = call;
        carry::send_waiting(path.as_mut(), voice.as_mut(), relay.address, &mut self.outputs);
        let Some(voice) = voice else { return };
        for noticed in voice.noticed() {
            if noticed == Noticed::FirstPacket {
                self.tell(GraphEvent::FirstPacket(call.wacid.clone()));
            }
        }
    }

    /// Finds the call a datagram belongs to, and hands it over.
    pub(super) fn take_datagram(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        let fragment = is_stun(bytes).then(|| addressee(bytes).unwrap_or_default());
        let owns = |call: &&Call| {
            call.path.as_ref().is_some_and(|path| match &fragment {
                Some(fragment) => path.is_addressed_by(fragment),
                None => path.knows(local, from),
            })
        };
        let Some(wacid) = self.calls.values().find(owns).map(|call| call.wacid.clone()) else { return };
        self.with(&wacid, |edge, call| {
            let path = call.path.as_mut();
            let for_voice = path.is_some_and(|path| path.handle_datagram(local, from, bytes, now));
            edge.follow_path(call, now);
            if !for_voice {
                return;
            }
            if matches!(call.stage, Stage::Waiting { .. } | Stage::Ringing { .. }) {
                call.report.violated(GraphViolation::MediaBeforeAccept);
            }
            if let Some(voice) = &mut call.voice {
                voice.handle_datagram(bytes, now);
            }
        });
    }
}
