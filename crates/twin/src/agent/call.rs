//! One call of an agent twin.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_model::Now;

use super::config::{Habits, PhoneCallId};
use super::describe::Mine;
use super::report::{PhoneEnder, PhoneReport};
use crate::media::{Path, Voice, carry};
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::transactions::Channel;

pub(super) struct Call {
    pub(super) id: PhoneCallId,
    pub(super) habits: Habits,
    pub(super) stage: Stage,
    pub(super) dialog: Dialog,
    pub(super) channel: Channel,
    pub(super) mine: Mine,
    /// With DTLS: how the packets find their way.
    pub(super) path: Option<Path>,
    pub(super) voice: Option<Voice>,
    pub(super) due: BTreeMap<Due, Instant>,
    pub(super) began: Instant,
    pub(super) answered: Option<Instant>,
    /// The ACK of the last 2xx to our INVITE, for each repetition of that.
    pub(super) ack: Option<Bytes>,
    /// Our requests inside the dialog that wait for a response: branch and what for.
    pub(super) pending: BTreeMap<String, Pending>,
    pub(super) report: PhoneReport,
}

pub(super) enum Stage {
    /// Our INVITE is out.
    Dialling(Dialling),
    /// The bridge's INVITE waits for our answer.
    Ringing {
        invite: Box<Message>,
        tag: String,
        /// Our answer, made once so that early media and answer agree.
        answer: String,
    },
    Up,
    /// Our BYE is out.
    Closing,
    Done,
}

#[derive(Debug, Clone)]
pub(super) struct Dialling {
    pub(super) branch: String,
    pub(super) uri: String,
    pub(super) cseq: u32,
    pub(super) challenges: u32,
    pub(super) proceeding: bool,
    pub(super) cancelled: bool,
    pub(super) cancel_sent: bool,
}

/// A request inside the dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) method: &'static str,
    pub(super) cseq: u32,
    /// Whether its 2xx changes the media.
    pub(super) offers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Answer,
    Refuse,
    HangUp,
    DropConnection,
    Hold,
    Resume,
    Update,
    Refer,
    NewSource,
    /// Refresh the session.
    Refresh,
    /// The bridge did not refresh it.
    Expired,
    /// Press the next keys by INFO.
    Info(u8),
    /// Ask again after a 491.
    Retry,
    /// A cancelled call that the bridge never ends.
    GiveUp,
}

impl Call {
    /// The call is answered: the agent's plans begin.
    pub(super) fn answered(&mut self, now: Now) {
        self.answered = Some(now.mono);
        self.report.answered = true;
        self.report.answered_at = Some(now.wall);
        self.report.setup_ms = Some(now.mono.saturating_duration_since(self.began).as_millis() as u64);
        self.due.clear();
        let at = |ms: u64| now.mono + Duration::from_millis(ms);
        let habits = &self.habits;
        let plans = [
            (Due::HangUp, habits.person.hang_up_after_ms),
            (Due::DropConnection, habits.person.drop_connection_after_ms),
            (Due::Hold, habits.hold.map(|hold| hold.after_ms)),
            (Due::Resume, habits.hold.and_then(|hold| Some(hold.after_ms + hold.for_ms?))),
            (Due::Update, habits.update_after_ms),
            (Due::Refer, habits.refer.as_ref().map(|refer| refer.after_ms)),
            (Due::NewSource, habits.new_source_after_ms),
        ];
        self.due.extend(plans.into_iter().filter_map(|(due, ms)| Some((due, at(ms?)))));
        if habits.dtmf_by_info {
            let digits =
                habits.person.dtmf.iter().zip(0..).map(|(plan, n)| (Due::Info(n), at(plan.after_ms)));
            self.due.extend(digits);
        }
        if let Some(voice) = &mut self.voice {
            voice.answered(now);
            if !self.habits.dtmf_by_info {
                for plan in &self.habits.person.dtmf {
                    voice.press(plan, at(plan.after_ms));
                }
            }
        }
    }

    /// Fixes who ended the call, and when. Only the first word counts.
    pub(super) fn ends(&mut self, by: PhoneEnder, now: Now) {
        if self.report.ended_by == PhoneEnder::Nobody {
            self.report.ended_by = by;
        }
        if self.report.talked_ms.is_none() {
            self.report.talked_ms =
                self.answered.map(|at| now.mono.saturating_duration_since(at).as_millis() as u64);
        }
        self.due.clear();
        if let Some(voice) = &mut self.voice {
            voice.farewell(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        carry::next_deadline(&self.due, self.voice.as_ref(), self.path.as_ref())
    }

    pub(super) fn take_due(&mut self, now: Now) -> Option<Due> {
        carry::take_due(&mut self.due, now.mono)
    }
}
