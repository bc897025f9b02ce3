//! One call at the edge.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_model::Now;

use super::describe::Relay;
use super::quirks::Quirks;
use super::report::{CallReport, Ender, UserSaw};
use super::spec::{Answer, BusinessNumber, CallSpec, TwinCallId};
use crate::io::ConnId;
use crate::media::{Path, Voice, carry};
use crate::person::Person;
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;

pub(super) struct Call {
    pub(super) id: TwinCallId,
    pub(super) number: BusinessNumber,
    pub(super) quirks: Quirks,
    pub(super) person: Person,
    pub(super) stage: Stage,
    pub(super) dialog: Dialog,
    /// The connection requests go out on; a new one is dialled when it is gone.
    pub(super) conn: Option<ConnId>,
    pub(super) relay: Relay,
    /// With DTLS: how the packets find their way.
    pub(super) path: Option<Path>,
    pub(super) voice: Option<Voice>,
    pub(super) due: BTreeMap<Due, Instant>,
    pub(super) began: Instant,
    pub(super) answered: Option<Instant>,
    /// What the user wanted: who they are, in both directions.
    pub(super) spec: CallSpec,
    /// The ACK of the business's 200, for each repetition of that.
    pub(super) ack: Option<Bytes>,
    pub(super) report: CallReport,
}

/// How far a call has come.
pub(super) enum Stage {
    /// A user's call whose INVITE waits for a connection.
    Connecting,
    /// A user's call whose INVITE is out.
    Inviting(Invited),
    /// A business's call that was not answered yet.
    Ringing {
        /// The INVITE to answer.
        invite: Box<Message>,
        /// Where it came from.
        from: ConnId,
        /// The To tag of our responses.
        tag: String,
        /// Our answer, made with the first description.
        answer: Option<String>,
        /// What the user will do.
        intent: Answer,
    },
    /// Answered.
    Up,
    /// Answered with broken routes: no ACK can be delivered.
    Deaf,
    /// Our BYE is out.
    Closing { branch: String },
    /// Over; the call is forgotten.
    Done,
}

/// An INVITE that is out.
#[derive(Debug, Clone)]
pub(super) struct Invited {
    pub(super) branch: String,
    pub(super) uri: String,
    pub(super) cseq: u32,
    /// Whether a provisional response came: only then a CANCEL may be sent (RFC 3261 section 9.1).
    pub(super) proceeding: bool,
    pub(super) cancel: Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    Wanted,
    Sent,
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The user does what they intend with a ringing call.
    Answer,
    /// The user gives up their call.
    GiveUp,
    /// It rang long enough.
    RingWindow,
    /// The user hangs up.
    HangUp,
    /// The connection is cut.
    DropConnection,
    /// Nothing was heard since the answer.
    MediaStart,
    /// Something was heard; look again later.
    MediaMid,
    /// A call without ACK dies.
    Deaf,
}

impl Call {
    /// The user's own timers start: the call is answered.
    pub(super) fn answered(&mut self, now: Now) {
        self.answered = Some(now.mono);
        self.report.saw = UserSaw::Connected;
        self.report.answered_at = Some(now.wall);
        self.report.setup_ms = Some(now.mono.saturating_duration_since(self.began).as_millis() as u64);
        self.due.clear();
        let at = |ms| now.mono + Duration::from_millis(ms);
        self.due.extend(self.person.hang_up_after_ms.map(|ms| (Due::HangUp, at(ms))));
        self.due.extend(self.person.drop_connection_after_ms.map(|ms| (Due::DropConnection, at(ms))));
        self.due.insert(Due::MediaStart, at(self.quirks.start_timer_ms));
        if let Some(voice) = &mut self.voice {
            voice.answered(now);
            for plan in &self.person.dtmf {
                voice.press(plan, at(plan.after_ms));
            }
            if voice.last_heard(false).is_some() {
                self.watch_media(now);
            }
        }
    }

    /// From the first packet on, the mid-call timer runs.
    pub(super) fn watch_media(&mut self, now: Now) {
        self.due.remove(&Due::MediaStart);
        self.due.insert(Due::MediaMid, now.mono + Duration::from_millis(self.quirks.mid_timer_ms));
    }

    /// When the silence will have lasted too long; `None` if it already has.
    pub(super) fn media_deadline(&self, now: Now) -> Option<Instant> {
        let last = self.voice.as_ref()?.last_heard(self.quirks.rtcp_resets_mid_timer)?;
        let deadline = last + Duration::from_millis(self.quirks.mid_timer_ms);
        (deadline > now.mono).then_some(deadline)
    }

    /// Fixes who ended the call, and when. Only the first word counts.
    pub(super) fn ends(&mut self, by: Ender, now: Now) {
        if self.report.talked_ms.is_none() {
            self.report.ended_by = by;
            self.report.talked_ms =
                self.answered.map(|at| now.mono.saturating_duration_since(at).as_millis() as u64);
        }
        self.due.clear();
        if let Some(voice) = &mut self.voice {
            voice.farewell(now);
        }
    }

    /// The voice's and the call's next deadline.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        carry::next_deadline(&self.due, self.voice.as_ref(), self.path.as_ref())
    }

    /// Takes the earliest deadline that has passed.
    pub(super) fn take_due(&mut self, now: Now) -> Option<Due> {
        carry::take_due(&mut self.due, now.mono)
    }
}
