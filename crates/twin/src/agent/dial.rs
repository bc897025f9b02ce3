//! Calls the agent makes: the twin is the UAC.

use std::collections::BTreeMap;

use setu_model::Now;

use super::call::{Call, Dialling, Due, Pending, Stage};
use super::config::{Habits, PhoneCallId};
use super::describe;
use super::phone::{ALLOW, Softphone, USER_AGENT};
use super::report::{PhoneEnder, PhoneEvent, PhoneReport};
use crate::media::{Keys, Voice};
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::sdp::Sdp;
use crate::sip::text::Draft;
use crate::sip::transactions::GIVE_UP;

/// Challenges answered in one call: one, and one for a stale nonce.
const MOST_CHALLENGES: u32 = 2;

impl Softphone {
    pub(super) fn begin_dialling(&mut self, id: PhoneCallId, number: &str, habits: Option<Habits>, now: Now) {
        let habits = habits.unwrap_or_else(|| self.config.habits.clone());
        let (tag, call_id) = (self.entropy.hex(6), format!("{}@twin", self.entropy.hex(12)));
        let (account, domain) = (self.config.account.clone(), self.config.domain.clone());
        let uri = format!("sip:{number}@{domain}");
        let dialog = Dialog {
            call_id: call_id.clone(),
            local: format!("<sip:{account}@{domain}>;tag={tag}"),
            remote: format!("<{uri}>"),
            local_cseq: 1,
            ..Dialog::default()
        };
        let mut call = Call {
            id,
            mine: self.allot(&habits, now),
            habits,
            stage: Stage::Closing,
            channel: self.way(),
            path: None,
            voice: None,
            due: BTreeMap::new(),
            began: now.mono,
            answered: None,
            ack: None,
            pending: BTreeMap::new(),
            report: PhoneReport::new(id, true, &call_id, number),
            dialog,
        };
        call.path = call.mine.begin_path(now);
        self.send_invite(&mut call, uri, 0, None, now);
        self.calls.insert(id, call);
    }

    fn send_invite(
        &mut self,
        call: &mut Call,
        uri: String,
        challenges: u32,
        authorization: Option<String>,
        now: Now,
    ) {
        let branch = self.branch();
        let cseq = call.dialog.local_cseq;
        let bytes = Draft::new(format!("INVITE {uri} SIP/2.0"))
            .line(self.via(&branch))
            .lines(call.dialog.lines("INVITE", cseq))
            .line(format!("Contact: <{}>", self.contact_uri()))
            .lines(authorization)
            .lines(session_lines(&call.habits, true))
            .line(ALLOW)
            .line(USER_AGENT)
            .sdp(&describe::offer(&call.mine, &call.habits));
        self.transactions.request(&branch, "INVITE", bytes, call.channel, now.mono);
        call.stage = Stage::Dialling(Dialling {
            branch,
            uri,
            cseq,
            challenges,
            proceeding: false,
            cancelled: false,
            cancel_sent: false,
        });
    }

    pub(super) fn handle_response(&mut self, call: &mut Call, response: &Message, now: Now) {
        let status = response.status().unwrap_or(0);
        if let Stage::Dialling(dialling) = &call.stage
            && dialling.branch == response.branch()
            && response.cseq().1 == "INVITE"
        {
            let dialling = dialling.clone();
            match status {
                0..=199 => self.dialled_progress(call, response, now),
                200..=299 => self.dialled_answered(call, &dialling, response, now),
                _ => self.dialled_refused(call, &dialling, response, now),
            }
            return;
        }
        let branch = response.branch();
        let pending = call.pending.get(&branch).cloned();
        match pending {
            Some(_) if status < 200 => {}
            Some(pending) => {
                call.pending.remove(&branch);
                self.handle_reply(call, &branch, &pending, response, now);
            }
            // A repeated 2xx of an INVITE: its ACK was lost.
            None if response.cseq().1 == "INVITE" && (200..300).contains(&status) => {
                if let Some(ack) = call.ack.clone().filter(|_| !call.habits.never_acks) {
                    let way = self.way_of(call);
                    self.transactions.send(ack, way);
                }
            }
            None => {}
        }
    }

    fn dialled_progress(&mut self, call: &mut Call, response: &Message, now: Now) {
        let status = response.status().unwrap_or(0);
        call.report.provisional.push(status);
        let cancelled = match &mut call.stage {
            Stage::Dialling(dialling) => {
                dialling.proceeding = true;
                dialling.cancelled
            }
            Stage::Ringing { .. } | Stage::Up | Stage::Closing | Stage::Done => false,
        };
        if status > 100 {
            self.tell(PhoneEvent::Ringing(call.id));
            if let Some(sdp) = Sdp::read(&response.body())
                && let Some(plan) = describe::accept(&call.mine, &sdp, &call.habits)
            {
                self.connect_path(call, &sdp, false, now);
                self.speak(call, plan, now);
            }
        }
        if cancelled {
            self.send_cancel(call, now);
        }
    }

    fn dialled_answered(&mut self, call: &mut Call, dialling: &Dialling, response: &Message, now: Now) {
        call.report.status = response.status();
        call.report.reason = Some(response.reason());
        call.report.remote_sdp = Some(response.body());
        call.dialog.learn(response);
        call.stage = Stage::Up;
        let way = self.way_of(call);
        self.acknowledge(call, dialling.cseq, way);
        let agreed = Sdp::read(&response.body())
            .and_then(|sdp| Some((describe::accept(&call.mine, &sdp, &call.habits)?, sdp)));
        match agreed {
            Some((plan, sdp)) if !dialling.cancelled => {
                self.connect_path(call, &sdp, false, now);
                self.speak(call, plan, now);
                call.answered(now);
                self.arm_session_timer(call, response, now);
                self.tell(PhoneEvent::Answered(call.id));
            }
            // Nothing in common, or the 200 crossed our CANCEL.
            Some(_) | None => self.leave(call, now),
        }
    }

    fn dialled_refused(&mut self, call: &mut Call, dialling: &Dialling, response: &Message, now: Now) {
        let status = response.status().unwrap_or(0);
        let ack = Draft::new(format!("ACK {} SIP/2.0", dialling.uri))
            .line(self.via(&dialling.branch))
            .line("Max-Forwards: 70")
            .line(format!("From: {}", call.dialog.local))
            .line(format!("To: {}", response.to()))
            .line(format!("Call-ID: {}", call.dialog.call_id))
            .line(format!("CSeq: {} ACK", dialling.cseq))
            .empty();
        self.transactions.acknowledge_refusal(&dialling.branch, ack, now.mono);
        if matches!(status, 401 | 407)
            && dialling.challenges < MOST_CHALLENGES
            && !dialling.cancelled
            && let Some(line) = self.authorize(response, "INVITE", &dialling.uri)
        {
            call.dialog.local_cseq += 1;
            self.send_invite(call, dialling.uri.clone(), dialling.challenges + 1, Some(line), now);
            return;
        }
        call.report.status = Some(status);
        call.report.reason = Some(response.reason());
        let by = if dialling.cancelled { PhoneEnder::Us } else { PhoneEnder::Peer };
        self.fail(call, by, now);
    }

    /// Acknowledges a 2xx, unless the habit is not to.
    pub(super) fn acknowledge(&mut self, call: &mut Call, cseq: u32, way: crate::sip::transactions::Channel) {
        let branch = self.branch();
        let ack = Draft::new(format!("ACK {} SIP/2.0", call.dialog.target))
            .line(self.via(&branch))
            .lines(call.dialog.lines("ACK", cseq))
            .empty();
        call.ack = Some(ack.clone());
        if !call.habits.never_acks {
            self.transactions.send(ack, way);
        }
    }

    pub(super) fn send_cancel(&mut self, call: &mut Call, now: Now) {
        let Stage::Dialling(dialling) = &mut call.stage else { return };
        if std::mem::replace(&mut dialling.cancel_sent, true) {
            return;
        }
        let dialling = dialling.clone();
        let bytes = Draft::new(format!("CANCEL {} SIP/2.0", dialling.uri))
            .line(self.via(&dialling.branch))
            .line("Max-Forwards: 70")
            .line(format!("From: {}", call.dialog.local))
            .line(format!("To: {}", call.dialog.remote))
            .line(format!("Call-ID: {}", call.dialog.call_id))
            .line(format!("CSeq: {} CANCEL", dialling.cseq))
            .empty();
        self.transactions.request(&dialling.branch, "CANCEL", bytes, call.channel, now.mono);
    }

    /// Hangs up, gives up or declines, as the call stands.
    pub(super) fn leave(&mut self, call: &mut Call, now: Now) {
        match &mut call.stage {
            Stage::Dialling(dialling) => {
                dialling.cancelled = true;
                let proceeding = dialling.proceeding;
                call.due.insert(Due::GiveUp, now.mono + GIVE_UP);
                if proceeding {
                    self.send_cancel(call, now);
                }
            }
            Stage::Ringing { .. } => self.refuse(call, 603, now),
            Stage::Up => {
                call.ends(PhoneEnder::Us, now);
                self.send_in_dialog(call, "BYE", &[], None, now);
                call.stage = Stage::Closing;
            }
            Stage::Closing | Stage::Done => {}
        }
    }

    /// Begins to speak and hear, or follows a change of it.
    pub(super) fn speak(&mut self, call: &mut Call, plan: crate::media::VoicePlan, now: Now) {
        call.report.codec = Some(plan.mouth.codec);
        if let Keys::Known(ours, _) = &plan.keys {
            call.report.srtp = Some(ours.suite);
        }
        match &mut call.voice {
            Some(voice) => voice.replan(plan, now),
            None => call.voice = Some(Voice::new(plan, self.fork_entropy(), now)),
        }
    }

    /// Sends a request inside the dialog; its response comes to [`handle_reply`](Self::handle_reply).
    pub(super) fn send_in_dialog(
        &mut self,
        call: &mut Call,
        method: &'static str,
        lines: &[String],
        body: Option<(&str, &str)>,
        now: Now,
    ) {
        call.dialog.local_cseq += 1;
        let (branch, cseq) = (self.branch(), call.dialog.local_cseq);
        let draft = Draft::new(format!("{method} {} SIP/2.0", call.dialog.target))
            .line(self.via(&branch))
            .lines(call.dialog.lines(method, cseq))
            .line(format!("Contact: <{}>", self.contact_uri()))
            .lines(lines)
            .line(USER_AGENT);
        let bytes = match body {
            Some((kind, text)) => draft.line(format!("Content-Type: {kind}")).end(text),
            None => draft.empty(),
        };
        let way = self.way_of(call);
        self.transactions.request(&branch, method, bytes, way, now.mono);
        let offers = body.is_some_and(|(kind, _)| kind == "application/sdp");
        call.pending.insert(branch, Pending { method, cseq, offers });
    }
}

/// What a request or an answer says about the session timer.
pub(super) fn session_lines(habits: &Habits, calling: bool) -> Vec<String> {
    use super::config::Refresher::{Peer, Us};
    let Some(timer) = habits.session_timer else { return vec!["Supported: replaces".to_owned()] };
    let refresher = match (timer.refresher, calling) {
        (Us, true) | (Peer, false) => "uac",
        (Peer, true) | (Us, false) => "uas",
    };
    vec![
        "Supported: timer, replaces".to_owned(),
        format!("Session-Expires: {};refresher={refresher}", timer.expires_s),
        format!("Min-SE: {}", timer.expires_s.min(90)),
    ]
}
