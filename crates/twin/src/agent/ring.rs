//! Calls the bridge makes: the twin is the UAS.

use std::collections::BTreeMap;
use std::time::Duration;

use setu_model::Now;

use super::call::{Call, Due, Stage};
use super::config::{PhoneAnswer, PhoneRinging};
use super::describe;
use super::dial::session_lines;
use super::phone::{ALLOW, Softphone, USER_AGENT};
use super::report::{PhoneEnder, PhoneEvent, PhoneReport};
use crate::media::Says;
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::sdp::Sdp;
use crate::sip::text::{Draft, phrase};
use crate::sip::transactions::Channel;

/// What early media sounds like: a ringing tone nobody else uses.
const RINGBACK_HZ: u32 = 425;

impl Softphone {
    pub(super) fn begin_ringing(&mut self, channel: Channel, invite: &Message, now: Now) {
        let id = self.next_id();
        let habits = self.config.habits.clone();
        let tag = self.entropy.hex(6);
        let mut report = PhoneReport::new(id, false, &invite.call_id(), &invite.from());
        report.headers = invite.headers_starting_with("x-");
        report.remote_sdp = Some(invite.body());
        let mut call = Call {
            id,
            mine: self.allot(&habits, now),
            habits,
            stage: Stage::Ringing {
                invite: Box::new(invite.clone()),
                tag: tag.clone(),
                answer: String::new(),
            },
            dialog: Dialog::called(invite, &tag),
            channel,
            path: None,
            voice: None,
            due: BTreeMap::new(),
            began: now.mono,
            answered: None,
            ack: None,
            pending: BTreeMap::new(),
            report,
        };
        call.path = call.mine.begin_path(now);
        self.tell(PhoneEvent::Invited(id));
        self.provisional(&call, 100, None, now);
        let agreed = Sdp::read(&invite.body())
            .and_then(|offer| Some((describe::answer(&call.mine, &offer, &call.habits)?, offer)));
        let Some(((text, mut plan), offer)) = agreed else {
            self.refuse(&mut call, 488, now);
            return;
        };
        if call.habits.ringing == PhoneRinging::EarlyMedia {
            self.connect_path(&mut call, &offer, true, now);
            plan.mouth.says = Says::tone(RINGBACK_HZ);
        } else {
            plan.may_speak = false;
        }
        self.speak(&mut call, plan, now);
        if let Stage::Ringing { answer, .. } = &mut call.stage {
            answer.clone_from(&text);
        }
        let at = |ms| now.mono + Duration::from_millis(ms);
        match call.habits.answer {
            PhoneAnswer::Refuse { after_ms: 0, status } => {
                self.refuse(&mut call, status, now);
                return;
            }
            PhoneAnswer::Refuse { after_ms, .. } => drop(call.due.insert(Due::Refuse, at(after_ms))),
            PhoneAnswer::AfterMs(ms) => drop(call.due.insert(Due::Answer, at(ms))),
            PhoneAnswer::Never => {}
        }
        match call.habits.ringing {
            PhoneRinging::Nothing => {}
            PhoneRinging::Ringing => self.provisional(&call, 180, None, now),
            PhoneRinging::Progress => self.provisional(&call, 183, None, now),
            PhoneRinging::EarlyMedia => self.provisional(&call, 183, Some(&text), now),
        }
        self.calls.insert(id, call);
    }

    fn provisional(&mut self, call: &Call, status: u16, sdp: Option<&str>, now: Now) {
        let Stage::Ringing { invite, tag, .. } = &call.stage else { return };
        let tag = if status == 100 { "" } else { tag };
        let mut draft = Draft::reply(invite, status, phrase(status), tag);
        if status > 100 {
            draft = draft
                .lines(invite.lines("Record-Route").iter().map(|route| format!("Record-Route: {route}")))
                .line(format!("Contact: <{}>", self.contact_uri()));
        }
        let reply = match sdp {
            Some(sdp) => draft.sdp(sdp),
            None => draft.empty(),
        };
        self.transactions.respond(invite, status, reply, call.channel, now.mono);
    }

    /// The agent picks up.
    pub(super) fn take_call(&mut self, call: &mut Call, now: Now) {
        let Stage::Ringing { invite, tag, answer } = &call.stage else { return };
        let (invite, tag, answer) = (invite.clone(), tag.clone(), answer.clone());
        let reply = Draft::reply(&invite, 200, phrase(200), &tag)
            .lines(invite.lines("Record-Route").iter().map(|route| format!("Record-Route: {route}")))
            .line(format!("Contact: <{}>", self.contact_uri()))
            .lines(session_lines(&call.habits, false))
            .line(ALLOW)
            .line(USER_AGENT)
            .sdp(&answer);
        self.transactions.respond(&invite, 200, reply, call.channel, now.mono);
        call.stage = Stage::Up;
        call.report.status = Some(200);
        if let Some(offer) = Sdp::read(&invite.body())
            && let Some((_, plan)) = describe::answer(&call.mine, &offer, &call.habits)
        {
            // Before the answer is out, nobody there would know our checks or our ClientHello.
            self.connect_path(call, &offer, true, now);
            self.speak(call, plan, now);
        }
        call.answered(now);
        self.arm_session_timer(call, &invite, now);
        self.tell(PhoneEvent::Answered(call.id));
    }

    pub(super) fn refuse_as_planned(&mut self, call: &mut Call, now: Now) {
        if let PhoneAnswer::Refuse { status, .. } = call.habits.answer {
            self.refuse(call, status, now);
        }
    }

    pub(super) fn refuse(&mut self, call: &mut Call, status: u16, now: Now) {
        let Stage::Ringing { invite, tag, .. } = &call.stage else { return };
        let reply = Draft::reply(invite, status, phrase(status), tag).line(USER_AGENT).empty();
        self.transactions.respond(&invite.clone(), status, reply, call.channel, now.mono);
        call.report.status = Some(status);
        self.fail(call, PhoneEnder::Us, now);
    }

    pub(super) fn handle_cancel(&mut self, channel: Channel, cancel: &Message, now: Now) {
        let owner = self.calls.values().find(|call| match &call.stage {
            Stage::Ringing { invite, .. } => invite.branch() == cancel.branch(),
            Stage::Dialling(_) | Stage::Up | Stage::Closing | Stage::Done => false,
        });
        let Some(id) = owner.map(|call| call.id) else {
            self.respond(channel, cancel, 481, now);
            return;
        };
        self.respond(channel, cancel, 200, now);
        self.with(id, |phone, call| {
            call.report.requests.push("CANCEL".to_owned());
            let Stage::Ringing { invite, tag, .. } = &call.stage else { return };
            let reply = Draft::reply(invite, 487, phrase(487), tag).empty();
            phone.transactions.respond(&invite.clone(), 487, reply, call.channel, now.mono);
            call.report.status = Some(487);
            phone.fail(call, PhoneEnder::Peer, now);
        });
    }
}
