//! Calls of WhatsApp users to the business: Meta is the UAC.

use std::collections::BTreeMap;
use std::time::Duration;

use setu_model::{Direction, Now};

use super::call::{Call, Cancel, Due, Invited, Stage};
use super::edge::Edge;
use super::report::{CallReport, Ender, Event, UserSaw, Violation};
use super::spec::{CallSpec, TwinCallId};
use super::{describe, print};
use crate::io::Closed;
use crate::media::Voice;
use crate::sip::dialog::Dialog;
use crate::sip::digest;
use crate::sip::message::Message;
use crate::sip::sdp::Sdp;
use crate::sip::text::Draft;
use crate::sip::transactions::GIVE_UP;

/// Challenges answered in one call before the edge gives up: one, and one for a stale nonce.
const MOST_CHALLENGES: u32 = 2;

impl Edge {
    pub(super) fn begin_user_call(&mut self, id: TwinCallId, spec: CallSpec, now: Now) {
        let report = CallReport::new(id, Direction::UserInitiated, &spec.number, &spec.user);
        let quirks = spec.quirks.clone().unwrap_or_else(|| self.config.quirks.clone());
        let number = self.config.numbers.iter().find(|n| n.number == spec.number).cloned();
        let same_number = self.calls.values().filter(|call| call.number.number == spec.number);
        let (mut concurrent, mut duplicate) = (0, false);
        for call in same_number {
            concurrent += usize::from(call.report.direction == Direction::UserInitiated);
            duplicate |= call.spec.user == spec.user;
        }
        let reason = if number.is_none() {
            Some("the edge has no such number")
        } else if concurrent >= quirks.concurrent_calls {
            Some("too many concurrent calls")
        } else if duplicate && quirks.duplicates_refused {
            Some("the two are in a call already")
        } else {
            None
        };
        let (Some(number), None) = (number, reason) else {
            let reason = reason.map(str::to_owned);
            self.tell(Event::Ended(Box::new(CallReport { reason, ..report })));
            return;
        };
        let wacid =
            spec.wacid.clone().unwrap_or_else(|| print::wacid(quirks.wacid_padded, self.entropy.as_mut()));
        let name = spec.name.clone().unwrap_or_else(|| spec.user.trim_start_matches('+').to_owned());
        let tag = print::uuid(self.entropy.as_mut());
        let dialog = Dialog {
            call_id: format!("outgoing:{wacid}"),
            local: format!("\"{name}\" {};tag={tag}", print::user_address(&spec.user, &self.config.domain)),
            remote: format!("<sip:{}@{}>", number.number, number.hostname),
            local_cseq: self.entropy.next_u32() % 40_000 + 1,
            ..Dialog::default()
        };
        let relay = self.allot(number.key_exchange, &quirks, now);
        let mut call = Call {
            id,
            number,
            path: relay.begin_path(&quirks),
            quirks,
            person: spec.person.clone(),
            stage: Stage::Connecting,
            conn: None,
            relay,
            voice: None,
            due: BTreeMap::new(),
            began: now.mono,
            answered: None,
            spec,
            ack: None,
            report: CallReport { call_id: dialog.call_id.clone(), wacid, ..report },
            dialog,
        };
        self.way(&mut call);
        if call.conn.is_some_and(|conn| self.is_open(conn)) {
            self.send_invite(&mut call, None, now);
        }
        self.calls.insert(id, call);
    }

    /// Sends the INVITE, the first time bare, the second with an answer to the challenge (header name and value).
    pub(super) fn send_invite(&mut self, call: &mut Call, authorization: Option<String>, now: Now) {
        let (quirks, domain) = (call.quirks.clone(), self.config.domain.clone());
        let branch = print::branch(self.entropy.as_mut());
        let uri =
            print::request_uri(&call.number.number, &call.number.user_params, &call.number.hostname, &quirks);
        let cseq = call.dialog.local_cseq;
        let bytes = Draft::new(format!("INVITE {uri} SIP/2.0"))
            .padded(quirks.content_length_padded)
            .length_twice(quirks.content_length_twice)
            .lines(print::vias(&quirks, &branch))
            .lines(print::routes(&domain).map(|route| format!("Record-Route: {route}")))
            .line("Max-Forwards: 69")
            .line(format!("From: {}", call.dialog.local))
            .line(format!("To: {}", call.dialog.remote))
            .line(format!("Contact: <{}>;isfocus", print::contact_uri(&call.spec.user, &domain)))
            .line(format!("Call-ID: {}", call.dialog.call_id))
            .line(format!("CSeq: {cseq} INVITE"))
            .lines(authorization)
            .lines(print::external_domain(&quirks, &domain))
            .maybe(quirks.wacid_header, format!("x-wa-meta-wacid: {}", call.report.wacid))
            .lines(print::user_headers(&quirks, &call.spec))
            .line(print::ALLOW)
            .line(print::USER_AGENT)
            .sdp(&describe::offer(&call.relay, &quirks));
        let way = self.way(call);
        self.transactions.request(&branch, "INVITE", bytes, way, now.mono);
        if call.report.challenges == 0 {
            call.began = now.mono;
            let at = |ms| now.mono + Duration::from_millis(ms);
            call.due.insert(Due::RingWindow, at(quirks.ring_window_ms));
            call.due.extend(call.spec.cancel_after_ms.map(|ms| (Due::GiveUp, at(ms))));
            self.tell(Event::Invited(call.id));
        }
        call.stage = Stage::Inviting(Invited { branch, uri, cseq, proceeding: false, cancel: Cancel::No });
    }

    pub(super) fn handle_invite_response(
        &mut self,
        call: &mut Call,
        branch: &str,
        response: &Message,
        now: Now,
    ) {
        let status = response.status().unwrap_or(0);
        let Stage::Inviting(invited) = &mut call.stage else {
            if (200..300).contains(&status) {
                call.report.answers_repeated += 1;
                if let Some(ack) = call.ack.clone() {
                    let way = self.way(call);
                    self.transactions.send(ack, way);
                }
            }
            return;
        };
        if invited.branch != branch {
            return;
        }
        if status < 200 {
            invited.proceeding = true;
            let wanted = invited.cancel == Cancel::Wanted;
            call.report.provisional.push(status);
            if status > 100 {
                self.tell(Event::Ringing(call.id));
            }
            if wanted {
                self.send_cancel(call, now);
            }
            return;
        }
        let invited = invited.clone();
        if status < 300 {
            self.business_answered(call, &invited, response, now);
            return;
        }
        self.acknowledge_refusal(call, &invited, response, now);
        if matches!(status, 401 | 407)
            && invited.cancel == Cancel::No
            && self.answer_challenge(call, response, now)
        {
            return;
        }
        call.report.status = Some(status);
        call.report.reason = Some(response.reason());
        match invited.cancel {
            Cancel::No => self.fail(call, UserSaw::Refused, Ender::Business, now),
            Cancel::Wanted | Cancel::Sent => self.fail(call, UserSaw::NoAnswer, Ender::User, now),
        }
    }

    /// Returns whether the challenge could be answered.
    fn answer_challenge(&mut self, call: &mut Call, response: &Message, now: Now) -> bool {
        if call.report.challenges >= MOST_CHALLENGES {
            return false;
        }
        let (challenge, answer) = match response.status() {
            Some(401) => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let quirks = &call.quirks;
        let plus = if quirks.username_plus { "+" } else { "" };
        let username = format!("{plus}{}", call.number.number.trim_start_matches('+'));
        let transport = if quirks.digest_uri_bare || !quirks.transport_param { "" } else { ";transport=tls" };
        let how = digest::Answer {
            username: &username,
            password: &call.number.password,
            method: "INVITE",
            uri: &format!("sip:{}@{}{transport}", call.number.number, call.number.hostname),
            names_algorithm: quirks.names_algorithm,
        };
        let challenges = response.lines(challenge);
        let value = digest::answer(&challenges, &quirks.answers_algorithms, &how, self.entropy.as_mut());
        let Some(value) = value else { return false };
        call.report.challenges += 1;
        call.dialog.local_cseq += 1;
        self.send_invite(call, Some(format!("{answer}: {value}")), now);
        true
    }

    fn business_answered(&mut self, call: &mut Call, invited: &Invited, response: &Message, now: Now) {
        call.report.status = response.status();
        call.report.reason = Some(response.reason());
        call.report.remote_sdp = Some(response.body());
        call.dialog.learn(response);
        let routes = response.list("Record-Route");
        let ours = print::routes(&self.config.domain);
        let untouched = routes.ends_with(&ours);
        // What is left for the business's own proxies once Meta's are passed.
        call.dialog.routes.retain(|route| !ours.contains(route));
        if !untouched {
            self.violated(call, Violation::RecordRouteAltered);
            if call.quirks.ack_only_if_routes_untouched {
                call.due.clear();
                call.due.insert(Due::Deaf, now.mono + GIVE_UP);
                call.stage = Stage::Deaf;
                return;
            }
        }
        self.send_ack(call, invited.cseq);
        call.stage = Stage::Up;
        if invited.cancel != Cancel::No {
            call.report.saw = UserSaw::NoAnswer;
            self.say_goodbye(call, Ender::User, now);
            return;
        }
        match self.agree(call, &response.body(), now) {
            Ok(plan) => {
                let entropy = self.fork_entropy();
                call.voice = Some(Voice::new(plan, entropy, now));
                call.answered(now);
                self.follow_path(call, now);
                self.tell(Event::Answered(call.id));
            }
            Err(why) => {
                self.violated(call, Violation::Sdp(why));
                self.say_goodbye(call, Ender::Meta, now);
            }
        }
    }

    fn agree(&mut self, call: &mut Call, body: &str, now: Now) -> Result<crate::media::VoicePlan, String> {
        let theirs = Sdp::read(body).ok_or("no session description")?;
        let format = describe::judge(&theirs, &call.relay, &call.quirks)?;
        if call.path.is_some() {
            let role = describe::role_after_offer(theirs.setup)?;
            self.connect_path(call, &theirs, role, now);
        }
        // They send with the payload type of our offer, whatever theirs is.
        let ours = match format.0 {
            crate::media::Codec::Opus => call.quirks.opus_pt,
            crate::media::Codec::Pcmu => 0,
            crate::media::Codec::Pcma => 8,
        };
        describe::voice(&call.relay, &theirs, format, ours, &call.quirks, &call.person)
            .ok_or_else(|| "no usable address or key".to_owned())
    }

    fn send_ack(&mut self, call: &mut Call, cseq: u32) {
        let branch = print::branch(self.entropy.as_mut());
        let bytes = Draft::new(format!("ACK {} SIP/2.0", call.dialog.target))
            .padded(call.quirks.content_length_padded)
            .lines(print::vias(&call.quirks, &branch))
            .lines(call.dialog.lines("ACK", cseq))
            .line(print::USER_AGENT)
            .empty();
        call.ack = Some(bytes.clone());
        let way = self.way(call);
        self.transactions.send(bytes, way);
    }

    /// The ACK of a refusal belongs to the INVITE's transaction: same branch, same Request-URI.
    fn acknowledge_refusal(&mut self, call: &Call, invited: &Invited, response: &Message, now: Now) {
        let bytes = Draft::new(format!("ACK {} SIP/2.0", invited.uri))
            .padded(call.quirks.content_length_padded)
            .lines(print::vias(&call.quirks, &invited.branch).into_iter().take(1))
            .line("Max-Forwards: 69")
            .line(format!("From: {}", call.dialog.local))
            .line(format!("To: {}", response.to()))
            .line(format!("Call-ID: {}", call.dialog.call_id))
            .line(format!("CSeq: {} ACK", invited.cseq))
            .empty();
        self.transactions.acknowledge_refusal(&invited.branch, bytes, now.mono);
    }

    fn send_cancel(&mut self, call: &mut Call, now: Now) {
        let Stage::Inviting(invited) = &mut call.stage else { return };
        invited.cancel = Cancel::Sent;
        let invited = invited.clone();
        let bytes = Draft::new(format!("CANCEL {} SIP/2.0", invited.uri))
            .padded(call.quirks.content_length_padded)
            .lines(print::vias(&call.quirks, &invited.branch).into_iter().take(1))
            .line("Max-Forwards: 69")
            .line(format!("From: {}", call.dialog.local))
            .line(format!("To: {}", call.dialog.remote))
            .line(format!("Call-ID: {}", call.dialog.call_id))
            .line(format!("CSeq: {} CANCEL", invited.cseq))
            .lines(print::external_domain(&call.quirks, &self.config.domain))
            .empty();
        let way = self.way(call);
        self.transactions.request(&invited.branch, "CANCEL", bytes, way, now.mono);
        // A bridge that never ends its INVITE must not keep the call for ever.
        call.due.insert(Due::Deaf, now.mono + GIVE_UP);
    }

    /// The user hangs up, gives up or declines, as the call stands.
    pub(super) fn user_leaves(&mut self, call: &mut Call, now: Now) {
        match &mut call.stage {
            Stage::Connecting => self.fail(call, UserSaw::NoAnswer, Ender::User, now),
            Stage::Inviting(invited) => {
                call.due.clear();
                if invited.proceeding {
                    self.send_cancel(call, now);
                } else {
                    invited.cancel = Cancel::Wanted;
                    call.due.insert(Due::Deaf, now.mono + GIVE_UP);
                }
            }
            Stage::Ringing { .. } => self.decline(call, now),
            Stage::Up => self.say_goodbye(call, Ender::User, now),
            Stage::Deaf => self.fail(call, UserSaw::CallFailed, Ender::User, now),
            Stage::Closing { .. } | Stage::Done => {}
        }
    }

    pub(super) fn connection_lost(&mut self, call: &mut Call, why: Closed, now: Now) {
        call.conn = None;
        if why == Closed::BadCertificate {
            self.violated(call, Violation::BadCertificate);
        }
        match call.stage {
            Stage::Connecting | Stage::Inviting(_) => self.fail(call, UserSaw::CallFailed, Ender::Meta, now),
            Stage::Ringing { .. } => self.fail(call, UserSaw::Missed, Ender::Business, now),
            Stage::Closing { .. } => self.finish(call),
            // An answered call outlives its connection.
            Stage::Up | Stage::Deaf | Stage::Done => {}
        }
    }
}
