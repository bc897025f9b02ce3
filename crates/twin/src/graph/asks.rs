//! What the business asks for, and Meta's judgement of it.

use std::time::Duration;

use serde_json::{Value, json};
use setu_model::{Direction, Now};

use super::call::{Call, Due, Stage};
use super::config::GraphNumber;
use super::edge::GraphEdge;
use super::http::Request;
use super::permissions::Forbidden;
use super::report::{Asked, GraphEvent, GraphViolation};
use crate::media::{Codec, Voice};
use crate::meta::{Answer, Ender, UserSaw, describe};
use crate::sip::sdp::Sdp;

/// An error as Meta writes it: the HTTP status, the code, the message.
pub(super) type Refused = (u16, i64, String);

pub(super) fn refused(status: u16, code: i64, text: &str) -> Refused {
    (status, code, text.to_owned())
}

/// What Meta says of 131044.
pub(super) const UNPAID: &str = "Business eligibility payment issue";

impl GraphEdge {
    /// Answers a request: status and body.
    pub(super) fn ask(&mut self, request: &Request, now: Now) -> (u16, String) {
        if let Some(answer) = self.ask_number(request, now) {
            return answer;
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let action = body.get("action").and_then(Value::as_str).unwrap_or_default().to_owned();
        let wacid = body.get("call_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let habits = &self.config.habits;
        let result = match self.authorised(request) {
            Err(refused) => Err(refused),
            Ok(_) if request.method != "POST" || request.words().nth(2) != Some("calls") => {
                Err(refused(404, 2_500, "Unknown path components"))
            }
            Ok(_) if habits.fails.as_ref() == Some(&action) => {
                Err(refused(500, 2, "Service temporarily unavailable"))
            }
            // SIP is exclusive.
            Ok((number, _)) if self.settings.get(&number.id).is_some_and(|settings| settings.sip) => {
                Err(refused(400, 131_055, "SIP is enabled for this number"))
            }
            Ok((number, _)) => match &habits.refuses {
                Some((word, code)) if *word == action => Err(refused(400, *code, "Refused as configured")),
                Some(_) | None if action == "connect" => self.connect(&number, &body, now),
                Some(_) | None => self.act(&action, &wacid, &body, now),
            },
        };
        let (status, code, reply) = match result {
            Ok((wacid, reply)) => {
                self.note(&wacid, &action, 200, None, now);
                (200, None, reply)
            }
            Err((status, code, text)) => {
                self.note(&wacid, &action, status, Some(code), now);
                let error =
                    json!({"message": text, "type": "OAuthException", "code": code, "fbtrace_id": "A"});
                (status, Some(code), json!({ "error": error }))
            }
        };
        let asked = Asked { action, at: now.wall, status, code };
        self.tell(GraphEvent::Asked(wacid, asked));
        (status, reply.to_string())
    }

    fn note(&mut self, wacid: &str, action: &str, status: u16, code: Option<i64>, now: Now) {
        if let Some(call) = self.calls.get_mut(wacid) {
            call.report.asked.push(Asked { action: action.to_owned(), at: now.wall, status, code });
        }
    }

    /// The number that a request is about and the app that asks, if it bears a token for it.
    pub(super) fn authorised(&self, request: &Request) -> Result<(GraphNumber, String), Refused> {
        let mut words = request.words();
        let (version, id) = (words.next(), words.next());
        if !version.is_some_and(|v| v.starts_with('v')) {
            return Err(refused(404, 2_500, "Unknown path components"));
        }
        let number = self.config.numbers.iter().find(|number| Some(number.id.as_str()) == id);
        let number = number.ok_or_else(|| refused(400, 100, "Unsupported post request: no such number"))?;
        let token = request.header("authorization").and_then(|shown| shown.strip_prefix("Bearer "));
        let app = token.and_then(|token| self.app_of(number, token));
        let app = app.ok_or_else(|| refused(401, 190, "Invalid OAuth access token"))?;
        Ok((number.clone(), app))
    }

    fn act(&mut self, action: &str, wacid: &str, body: &Value, now: Now) -> Result<(String, Value), Refused> {
        let session = body.get("session").unwrap_or(&Value::Null);
        let sdp = session.get("sdp").and_then(Value::as_str).unwrap_or_default().to_owned();
        if matches!(action, "pre_accept" | "accept") && session.get("sdp_type") != Some(&json!("answer")) {
            return Err(refused(400, 100, "Invalid parameter: sdp_type"));
        }
        let acted = self.with(wacid, |edge, call| match action {
            "pre_accept" => edge.pre_accept(call, sdp, now),
            "accept" => edge.accept(call, &sdp, now),
            "reject" => edge.reject(call, now),
            "terminate" => edge.terminate(call, now),
            _ => Err(refused(400, 100, "Invalid parameter: action")),
        });
        acted.unwrap_or_else(|| Err(refused(400, 100, "Invalid call id")))?;
        Ok((wacid.to_owned(), json!({"messaging_product": "whatsapp", "success": true})))
    }

    fn pre_accept(&mut self, call: &mut Call, sdp: String, now: Now) -> Result<(), Refused> {
        match &mut call.stage {
            Stage::Waiting { ahead: ahead @ None } => *ahead = Some(sdp.clone()),
            Stage::Waiting { ahead: Some(_) } | Stage::Ringing { .. } | Stage::Up | Stage::Over => {
                return Err(refused(400, 100, "The call is not waiting for a pre_accept"));
            }
        }
        self.connect_answered(call, &sdp, now)
    }

    /// The business answered our offer: the path connects.
    fn connect_answered(&mut self, call: &mut Call, sdp: &str, now: Now) -> Result<(), Refused> {
        let wrong = |call: &mut Call, why: String| {
            call.report.violated(GraphViolation::Sdp(why.clone()));
            refused(400, 100, &format!("SDP Validation error: {why}"))
        };
        let Some(theirs) = Sdp::read(sdp) else { return Err(wrong(call, "none".to_owned())) };
        if let Err(why) = describe::judge(&theirs, &call.relay, &self.config.quirks) {
            return Err(wrong(call, why));
        }
        match describe::role_after_offer(theirs.setup) {
            Ok(role) => self.connect_path(call, &theirs, role, now),
            Err(why) => return Err(wrong(call, why)),
        }
        Ok(())
    }

    fn accept(&mut self, call: &mut Call, sdp: &str, now: Now) -> Result<(), Refused> {
        let Stage::Waiting { ahead } = &call.stage else {
            return Err(refused(400, 100, "The call is in progress, completed or failed"));
        };
        match ahead.clone() {
            Some(ahead) if ahead != sdp => {
                call.report.violated(GraphViolation::OtherDescription);
                return Err(refused(400, 100, "The SDP is not that of the pre_accept"));
            }
            Some(_) => {}
            None => self.connect_answered(call, sdp, now)?,
        }
        let theirs = Sdp::read(sdp).ok_or_else(|| refused(400, 100, "SDP Validation error"))?;
        let quirks = &self.config.quirks;
        let format = describe::judge(&theirs, &call.relay, quirks)
            .map_err(|why| refused(400, 100, &format!("SDP Validation error: {why}")))?;
        let ours = match format.0 {
            Codec::Opus => quirks.opus_pt,
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        };
        let plan = describe::voice(&call.relay, &theirs, format, ours, quirks, &call.person)
            .ok_or_else(|| refused(400, 100, "SDP Validation error: no address"))?;
        let entropy = self.fork_entropy();
        call.voice = Some(Voice::new(plan, entropy, now));
        self.talks(call, now);
        Ok(())
    }

    fn reject(&mut self, call: &mut Call, now: Now) -> Result<(), Refused> {
        let Stage::Waiting { .. } = call.stage else {
            return Err(refused(400, 100, "The call is in progress, completed or failed"));
        };
        self.end(call, UserSaw::Refused, Ender::Business, now);
        Ok(())
    }

    fn terminate(&mut self, call: &mut Call, now: Now) -> Result<(), Refused> {
        if matches!(call.stage, Stage::Over) {
            return Err(refused(400, 100, "The call is completed"));
        }
        let saw = match call.report.direction {
            Direction::UserInitiated => UserSaw::Refused,
            Direction::BusinessInitiated => UserSaw::Missed,
        };
        self.end(call, saw, Ender::Business, now);
        Ok(())
    }

    /// Both talk from here on.
    fn talks(&mut self, call: &mut Call, now: Now) {
        call.stage = Stage::Up;
        call.report.saw = UserSaw::Connected;
        call.answered(self.config.habits.start_timer_ms, now);
        self.follow_path(call, now);
        self.tell(GraphEvent::Answered(call.wacid.clone()));
    }

    /// The business calls a user.
    fn connect(&mut self, number: &GraphNumber, body: &Value, now: Now) -> Result<(String, Value), Refused> {
        let user = body.get("to").or_else(|| body.get("recipient")).and_then(Value::as_str);
        let user = user.ok_or_else(|| refused(400, 100, "Invalid parameter: to"))?;
        if let Some(code) = self.config.habits.forbids {
            return Err(refused(400, code, "Forbidden as configured"));
        }
        if self.config.habits.unpaid {
            return Err(refused(400, 131_044, UNPAID));
        }
        if !self.settings_of(&number.id).enabled {
            return Err(refused(401, 138_000, "Calling is not enabled for this number"));
        }
        if self.is_restricted(&number.id, now) {
            return Err(refused(400, 138_014, "Calling is temporarily disabled for low quality"));
        }
        let user = format!("+{}", user.trim_start_matches('+'));
        self.permissions_of(&number.number).may_call(&user, now.wall).map_err(|why| {
            let status = if why == Forbidden::NoPermission { 401 } else { 400 };
            refused(status, why.code(), "No approved call permission from the recipient")
        })?;
        let session = body.get("session").unwrap_or(&Value::Null);
        let offer = session.get("sdp").and_then(Value::as_str).unwrap_or_default().to_owned();
        let theirs = Sdp::read(&offer).filter(|_| session.get("sdp_type") == Some(&json!("offer")));
        let theirs = theirs.ok_or_else(|| refused(400, 100, "SDP Validation error"))?;
        let busy = |call: &Call| {
            call.report.user == user && call.number.id == number.id && !matches!(call.stage, Stage::Over)
        };
        if self.calls.values().any(busy) {
            return Err(refused(400, 138_003, "Duplicate call"));
        }
        let mut call = self.begin(number.clone(), &user, Direction::BusinessInitiated, now);
        let quirks = &self.config.quirks;
        let format = describe::judge(&theirs, &call.relay, quirks)
            .map_err(|why| refused(400, 100, &format!("SDP Validation error: {why}")))?;
        let answer = describe::answer(&call.relay, &theirs, format, quirks);
        call.stage = Stage::Ringing { offer, answer, taken: false };
        let habits = &self.config.habits;
        let at = |ms| now.mono + Duration::from_millis(ms);
        call.due.insert(Due::Describe, at(habits.answer_ms));
        call.due.insert(Due::RingWindow, at(habits.ring_window_ms));
        if let Answer::After(ms) | Answer::DeclineAfter(ms) = self.config.anyone.answer {
            call.due.insert(Due::Decide, at(habits.answer_ms + ms));
        }
        let wacid = call.wacid.clone();
        self.calls.insert(wacid.clone(), call);
        let reply = json!({"messaging_product": "whatsapp", "calls": [{ "id": wacid }]});
        Ok((wacid, reply))
    }

    /// Our answer to the business's offer goes out, and the user's phone rings.
    pub(super) fn describe(&mut self, call: &mut Call, now: Now) {
        let Stage::Ringing { offer, answer, .. } = &call.stage else { return };
        let (offer, answer) = (offer.clone(), answer.clone());
        self.tell_answer(call, &answer, now);
        self.tell_status(call, "RINGING", now);
        if let Some(theirs) = Sdp::read(&offer) {
            let (_, role) = describe::setup_of_answer(theirs.setup, &self.config.quirks);
            self.connect_path(call, &theirs, role, now);
        }
    }

    /// The user takes the business's call: it is accepted as soon as its media is keyed.
    pub(super) fn user_takes(&mut self, call: &mut Call, now: Now) {
        let Stage::Ringing { offer, taken, .. } = &mut call.stage else { return };
        *taken = true;
        let Some(theirs) = Sdp::read(offer) else { return };
        let quirks = &self.config.quirks;
        let Ok(format) = describe::judge(&theirs, &call.relay, quirks) else { return };
        let plan = describe::voice(&call.relay, &theirs, format, format.1, quirks, &call.person);
        let entropy = self.fork_entropy();
        call.voice = plan.map(|plan| Voice::new(plan, entropy, now));
        self.follow_path(call, now);
    }

    /// The media of a call that the user has taken is keyed.
    pub(super) fn business_call_keyed(&mut self, call: &mut Call, now: Now) {
        if matches!(call.stage, Stage::Ringing { taken: true, .. }) {
            self.tell_status(call, "ACCEPTED", now);
            self.talks(call, now);
        }
    }

    pub(super) fn user_declines(&mut self, call: &mut Call, now: Now) {
        self.tell_status(call, "REJECTED", now);
        self.end(call, UserSaw::Declined, Ender::User, now);
    }
}
