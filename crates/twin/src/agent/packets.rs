//! A telephone's datagrams, and what follows for the call.

use std::net::SocketAddr;

use setu_model::Now;

use super::call::Call;
use super::describe;
use super::phone::Softphone;
use super::report::PhoneEvent;
use crate::io::Output;
use crate::media::{DtlsIdentity, Noticed, Path, PathEvent};
use crate::sip::sdp::Sdp;

impl Softphone {
    /// The certificate of the telephone's handshakes.
    pub(super) fn identity(&mut self) -> Option<&DtlsIdentity> {
        if self.identity.is_none() {
            self.identity = DtlsIdentity::fresh();
        }
        self.identity.as_ref()
    }

    /// Both descriptions of `call` are known: its path connects, unless an earlier pair of them did it.
    pub(super) fn connect_path(&mut self, call: &mut Call, theirs: &Sdp, answering: bool, now: Now) {
        let Some(path) = call.path.as_mut().filter(|path| !path.is_connected()) else { return };
        if let (Some(identity), Some(remote)) = (&self.identity, theirs.path()) {
            let role = describe::role(theirs, answering, &call.habits);
            path.connect(&remote, role, !answering, identity, self.entropy.as_mut(), now);
        }
    }

    /// Acts on what the path of `call` has to tell.
    pub(super) fn follow_path(&mut self, call: &mut Call, now: Now) {
        while let Some(event) = call.path.as_mut().and_then(Path::poll_event) {
            match event {
                PathEvent::Keyed(ours, theirs) => {
                    call.report.srtp = Some(ours.suite);
                    if let Some(voice) = &mut call.voice {
                        voice.key(ours, theirs, now);
                    }
                }
                PathEvent::Moved(remote) => {
                    if let Some(voice) = &mut call.voice {
                        voice.move_to(remote);
                    }
                }
                // Without keys the call stays silent, which is what the report shows.
                PathEvent::RoleConflict | PathEvent::WrongFingerprint => {}
                PathEvent::Failed(why) => tracing::debug!(call = %call.id, %why, "no keys"),
            }
        }
    }

    /// Moves the packets of `call` out and tells what its ear noticed.
    pub(super) fn pump(&mut self, call: &mut Call) {
        while let Some((from, to, bytes)) = call.path.as_mut().and_then(Path::poll_transmit) {
            self.outputs.push_back(Output::SendUdp { from, to, bytes });
        }
        let Some(voice) = &mut call.voice else { return };
        while let Some((to, bytes)) = voice.poll_transmit() {
            self.outputs.push_back(Output::SendUdp { from: call.mine.address, to, bytes });
        }
        for noticed in voice.noticed() {
            match noticed {
                Noticed::FirstPacket => self.tell(PhoneEvent::FirstPacket(call.id)),
                Noticed::Digit(digit) => self.tell(PhoneEvent::Digit(call.id, digit)),
                // Counted in the report; a phone plays what it gets.
                Noticed::SecondSsrc | Noticed::WrongPtime => {}
            }
        }
    }

    /// Hands a datagram to the call whose port it came to.
    pub(super) fn take_datagram(&mut self, local: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        let owner = self.calls.values().find(|call| call.mine.address == local).map(|call| call.id);
        let Some(id) = owner else { return };
        self.with(id, |phone, call| {
            let for_voice = match &mut call.path {
                Some(path) => path.handle_datagram(local, from, bytes, now),
                None => true,
            };
            phone.follow_path(call, now);
            if let Some(voice) = call.voice.as_mut().filter(|_| for_voice) {
                voice.handle_datagram(bytes, now);
            }
        });
    }
}
