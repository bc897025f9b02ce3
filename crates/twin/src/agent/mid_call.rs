//! What happens inside a call: hold, UPDATE, REFER, INFO, session timers, and the bridge's own requests.

use std::time::Duration;

use setu_model::Now;

use super::call::{Call, Due, Pending, Stage};
use super::config::Refresher;
use super::describe;
use super::dial::session_lines;
use super::phone::{ALLOW, Softphone, USER_AGENT};
use super::report::{PhoneEnder, PhoneEvent};
use crate::sip::message::Message;
use crate::sip::sdp::{MediaDirection, Sdp};
use crate::sip::text::{Draft, phrase};
use crate::sip::transactions::Channel;

/// How long to wait after a 491 (RFC 3261 section 14.1 has 2.1 to 4 s for the owner of the Call-ID).
const GLARE: Duration = Duration::from_millis(2_100);

const SDP: &str = "application/sdp";

impl Softphone {
    /// Offers a new direction by re-INVITE.
    pub(super) fn reinvite(&mut self, call: &mut Call, direction: MediaDirection, now: Now) {
        if !matches!(call.stage, Stage::Up) {
            return;
        }
        call.mine.direction = direction;
        call.mine.version += 1;
        let lines = session_lines(&call.habits, true);
        let offer = describe::offer(&call.mine, &call.habits);
        self.send_in_dialog(call, "INVITE", &lines, Some((SDP, &offer)), now);
    }

    pub(super) fn send_update(&mut self, call: &mut Call, now: Now) {
        if !matches!(call.stage, Stage::Up) {
            return;
        }
        let lines = session_lines(&call.habits, true);
        let offer = describe::offer(&call.mine, &call.habits);
        self.send_in_dialog(call, "UPDATE", &lines, Some((SDP, &offer)), now);
    }

    pub(super) fn send_refer(&mut self, call: &mut Call, to: &str, now: Now) {
        if matches!(call.stage, Stage::Up) {
            let lines = [format!("Refer-To: <{to}>"), format!("Referred-By: <{}>", self.contact_uri())];
            self.send_in_dialog(call, "REFER", &lines, None, now);
        }
    }

    pub(super) fn send_info(&mut self, call: &mut Call, digits: &str, now: Now) {
        for digit in digits.chars() {
            if matches!(call.stage, Stage::Up) {
                let body = format!("Signal={digit}\r\nDuration=160\r\n");
                self.send_in_dialog(call, "INFO", &[], Some(("application/dtmf-relay", &body)), now);
            }
        }
    }

    /// Starts the session timer that the last request and its answer agreed on.
    pub(super) fn arm_session_timer(&mut self, call: &mut Call, peer: &Message, now: Now) {
        let Some(timer) = call.habits.session_timer else { return };
        let told = peer
            .header("Session-Expires")
            .and_then(|text| text.split(';').next()?.trim().parse::<u32>().ok());
        let expires = Duration::from_secs(u64::from(told.unwrap_or(timer.expires_s).min(timer.expires_s)));
        call.due.remove(&Due::Refresh);
        call.due.remove(&Due::Expired);
        match timer.refresher {
            Refresher::Us => call.due.insert(Due::Refresh, now.mono + expires / 2),
            Refresher::Peer => call.due.insert(Due::Expired, now.mono + expires),
        };
    }

    pub(super) fn refresh_session(&mut self, call: &mut Call, now: Now) {
        match call.habits.session_timer {
            Some(timer) if timer.by_update => {
                let lines = session_lines(&call.habits, true);
                self.send_in_dialog(call, "UPDATE", &lines, None, now);
            }
            Some(_) => self.reinvite(call, call.mine.direction, now),
            None => {}
        }
    }

    /// Takes the final response to a request of ours inside the dialog.
    pub(super) fn handle_reply(
        &mut self,
        call: &mut Call,
        branch: &str,
        pending: &Pending,
        response: &Message,
        now: Now,
    ) {
        let status = response.status().unwrap_or(0);
        call.report.replies.push((pending.method.to_owned(), status));
        self.tell(PhoneEvent::Replied(call.id, pending.method.to_owned(), status));
        if pending.method == "BYE" {
            self.finish(call);
            return;
        }
        if pending.method == "INVITE" {
            let way = self.way_of(call);
            if status < 300 {
                self.acknowledge(call, pending.cseq, way);
            } else {
                let ack = Draft::new(format!("ACK {} SIP/2.0", call.dialog.target))
                    .line(self.via(branch))
                    .lines(call.dialog.lines("ACK", pending.cseq))
                    .empty();
                self.transactions.acknowledge_refusal(branch, ack, now.mono);
            }
        }
        match status {
            200..=299 => {
                if pending.offers
                    && let Some(plan) = Sdp::read(&response.body())
                        .and_then(|sdp| describe::accept(&call.mine, &sdp, &call.habits))
                {
                    call.report.remote_sdp = Some(response.body());
                    self.speak(call, plan, now);
                }
                if matches!(pending.method, "INVITE" | "UPDATE") {
                    self.arm_session_timer(call, response, now);
                }
            }
            491 if pending.method == "INVITE" => drop(call.due.insert(Due::Retry, now.mono + GLARE)),
            // The peer knows no such call (RFC 3261 section 12.2.1.2).
            408 | 481 => {
                call.stage = Stage::Up;
                self.fail(call, PhoneEnder::Peer, now);
            }
            _ => {}
        }
    }

    pub(super) fn handle_in_dialog(
        &mut self,
        channel: Channel,
        call: &mut Call,
        method: &str,
        request: &Message,
        now: Now,
    ) {
        call.report.requests.push(method.to_owned());
        call.channel = channel;
        let (number, _) = request.cseq();
        if number <= call.dialog.remote_cseq && call.dialog.remote_cseq != 0 {
            self.respond(channel, request, 500, now);
            return;
        }
        call.dialog.remote_cseq = number;
        match method {
            "BYE" => {
                self.respond(channel, request, 200, now);
                let by = if matches!(call.stage, Stage::Closing) { PhoneEnder::Us } else { PhoneEnder::Peer };
                self.fail(call, by, now);
            }
            "INVITE" | "UPDATE" => self.take_offer(channel, call, request, now),
            "INFO" => {
                call.report.infos.push(request.body());
                self.respond(channel, request, 200, now);
            }
            "OPTIONS" | "NOTIFY" => self.respond(channel, request, 200, now),
            _ => self.respond(channel, request, 405, now),
        }
    }

    /// A re-INVITE or UPDATE of the bridge.
    fn take_offer(&mut self, channel: Channel, call: &mut Call, request: &Message, now: Now) {
        let glare = call.pending.values().any(|pending| pending.method == "INVITE");
        if glare {
            self.respond(channel, request, 491, now);
            return;
        }
        if let Some(contact) = request.contact() {
            call.dialog.target = contact;
        }
        call.mine.version += 1;
        let body = request.body();
        let answer = if body.is_empty() {
            // An UPDATE without a description refreshes; a re-INVITE without one asks for our offer.
            Some(describe::offer(&call.mine, &call.habits))
                .filter(|_| request.method().as_deref() == Some("INVITE"))
        } else {
            let agreed =
                Sdp::read(&body).and_then(|offer| describe::answer(&call.mine, &offer, &call.habits));
            let Some((text, plan)) = agreed else {
                self.respond(channel, request, 488, now);
                return;
            };
            call.report.remote_sdp = Some(body);
            self.speak(call, plan, now);
            Some(text)
        };
        let draft = Draft::reply(request, 200, phrase(200), "")
            .line(format!("Contact: <{}>", self.contact_uri()))
            .lines(session_lines(&call.habits, false))
            .line(ALLOW)
            .line(USER_AGENT);
        let reply = match answer {
            Some(sdp) => draft.sdp(&sdp),
            None => draft.empty(),
        };
        self.transactions.respond(request, 200, reply, channel, now.mono);
        self.arm_session_timer(call, request, now);
    }
}
