//! Calls of the business to WhatsApp users: Meta is the UAS.

use std::collections::BTreeMap;
use std::time::Duration;

use setu_model::{Direction, Now};

use super::call::{Call, Due, Stage};
use super::edge::Edge;
use super::quirks::{Quirks, Ringing};
use super::refusal::Refusal;
use super::report::{CallReport, Ender, Event, UserSaw, Violation};
use super::spec::{Answer, Answering, BusinessNumber, CallSpec};
use super::{describe, print};
use crate::io::ConnId;
use crate::media::{Says, Voice};
use crate::sip::dialog::Dialog;
use crate::sip::digest::{self, Fields};
use crate::sip::message::{Message, Uri, address_uri};
use crate::sip::sdp::Sdp;
use crate::sip::text::{Draft, phrase};
use crate::sip::transactions::Channel;

/// Challenges the edge remembers.
const NONCES: usize = 1_024;

/// What early media sounds like: a ringing tone nobody else uses.
const RINGBACK_HZ: u32 = 425;

/// Why an INVITE goes no further.
enum Stop {
    Challenge,
    Refuse(Refusal),
}

impl Edge {
    pub(super) fn begin_business_call(&mut self, conn: ConnId, invite: &Message, now: Now) {
        let to = Uri::read(&invite.uri().unwrap_or_default());
        let from = Uri::read(&address_uri(&invite.from()));
        let answering = self.config.users.get(&to.user).unwrap_or(&self.config.anyone).clone();
        let quirks = answering.quirks.clone().unwrap_or_else(|| self.config.quirks.clone());
        match self.examine(invite, &to, &from, &quirks) {
            Ok(number) => self.ring_user(conn, invite, &to.user, number, answering, quirks, now),
            Err(Stop::Challenge) => self.challenge(conn, invite, &quirks, now),
            Err(Stop::Refuse(refusal)) => {
                let id = self.next_id();
                if refusal == Refusal::InvalidDigest {
                    self.tell(Event::Violation(Some(id), Violation::WrongDigest));
                }
                let tag = print::uuid(self.entropy.as_mut());
                self.respond_refusal(Channel::Stream(conn), invite, refusal, &tag, &quirks, now);
                let mut report = CallReport::new(id, Direction::BusinessInitiated, &from.user, &to.user);
                report.call_id = invite.call_id();
                note_refusal(&mut report, refusal, &from.host);
                self.tell(Event::Ended(Box::new(report)));
            }
        }
    }

    /// Meta's checks of a business's INVITE, in order.
    fn examine(
        &self,
        invite: &Message,
        to: &Uri,
        from: &Uri,
        quirks: &Quirks,
    ) -> Result<BusinessNumber, Stop> {
        // `sips:`, an IP address, or a name that is not Meta's.
        if to.scheme != "sip" || to.host != self.config.domain || to.user.is_empty() {
            return Err(Stop::Refuse(Refusal::NotFound));
        }
        let number = self.config.numbers.iter().find(|n| n.number == from.user);
        let number = number.ok_or(Stop::Refuse(Refusal::AssetNotFound))?;
        let host = number.hostname.to_ascii_lowercase();
        let is_parent =
            host.strip_suffix(&from.host).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if !is_parent || from.host.is_empty() {
            return Err(Stop::Refuse(Refusal::ServerMismatch));
        }
        if !quirks.challenge_algorithms.is_empty() {
            self.authenticate(invite, number)?;
        }
        let duplicate =
            self.calls.values().any(|c| c.number.number == number.number && c.spec.user == to.user);
        if duplicate && quirks.duplicates_refused {
            return Err(Stop::Refuse(Refusal::DuplicateCall));
        }
        Ok(number.clone())
    }

    fn authenticate(&self, invite: &Message, number: &BusinessNumber) -> Result<(), Stop> {
        let value = invite.header("Proxy-Authorization").or_else(|| invite.header("Authorization"));
        let value = value.ok_or(Stop::Challenge)?;
        let fields = Fields::read(&value).ok_or(Stop::Challenge)?;
        if !self.nonces.iter().any(|nonce| Some(nonce.as_str()) == fields.field("nonce")) {
            return Err(Stop::Challenge);
        }
        let right = fields.field("username") == Some(number.number.trim_start_matches('+'))
            && fields.field("realm") == Some(&self.config.domain)
            && digest::verify(&value, &number.password, "INVITE");
        if right { Ok(()) } else { Err(Stop::Refuse(Refusal::InvalidDigest)) }
    }

    fn challenge(&mut self, conn: ConnId, invite: &Message, quirks: &Quirks, now: Now) {
        let domain = self.config.domain.clone();
        let (nonce, opaque) = (self.entropy.hex(8), self.entropy.hex(8));
        let tag = if quirks.stateless_to_tag { invite.branch() } else { print::uuid(self.entropy.as_mut()) };
        let challenges = quirks.challenge_algorithms.iter().map(|algorithm| {
            format!(
                "Proxy-Authenticate: Digest realm=\"{domain}\",nonce=\"{nonce}\",opaque=\"{opaque}\",algorithm={},qop=\"auth\"",
                algorithm.token()
            )
        });
        let reply = Draft::reply(invite, 407, phrase(407), &tag)
            .padded(quirks.content_length_padded)
            .lines(challenges)
            .lines(print::external_domain(quirks, &domain))
            .empty();
        self.nonces.push_back(nonce);
        if self.nonces.len() > NONCES {
            self.nonces.pop_front();
        }
        self.transactions.respond(invite, 407, reply, Channel::Stream(conn), now.mono);
    }

    #[expect(clippy::too_many_arguments, reason = "everything the checks of one INVITE found out, used once")]
    fn ring_user(
        &mut self,
        conn: ConnId,
        invite: &Message,
        user: &str,
        number: BusinessNumber,
        answering: Answering,
        quirks: Quirks,
        now: Now,
    ) {
        let id = self.next_id();
        let tag = print::uuid(self.entropy.as_mut());
        let mut report = CallReport::new(id, Direction::BusinessInitiated, &number.number, user);
        report.call_id = invite.call_id();
        report.wacid = print::wacid(quirks.wacid_padded, self.entropy.as_mut());
        report.challenges = u32::from(!quirks.challenge_algorithms.is_empty());
        report.remote_sdp = Some(invite.body());
        report.connections = 1;
        let relay = self.allot(number.key_exchange, &quirks, now);
        let mut call = Call {
            id,
            path: relay.begin_path(&quirks),
            spec: CallSpec { user: user.to_owned(), number: number.number.clone(), ..CallSpec::default() },
            number,
            quirks,
            person: answering.person,
            stage: Stage::Ringing {
                invite: Box::new(invite.clone()),
                from: conn,
                tag: tag.clone(),
                answer: None,
                intent: answering.answer,
            },
            dialog: Dialog::called(invite, &tag),
            conn: Some(conn),
            relay,
            voice: None,
            due: BTreeMap::new(),
            began: now.mono,
            answered: None,
            ack: None,
            report,
        };
        if call.quirks.trying {
            self.provisional(&mut call, 100, None, now);
        }
        if let Answer::Refuse(refusal) = answering.answer {
            self.refuse(&mut call, refusal, now);
            return;
        }
        if let Err(why) = self.take_offer(&mut call, invite, now) {
            self.violated(&mut call, Violation::Sdp(why));
            self.refuse(&mut call, Refusal::SdpValidation, now);
            return;
        }
        self.tell(Event::BusinessCall {
            call: id,
            number: call.number.number.clone(),
            user: user.to_owned(),
        });
        self.ring(&mut call, now);
        let at = |ms| now.mono + Duration::from_millis(ms);
        call.due.insert(Due::RingWindow, at(call.quirks.ring_window_ms));
        if let Answer::After(ms) | Answer::DeclineAfter(ms) = answering.answer {
            call.due.insert(Due::Answer, at(ms));
        }
        self.calls.insert(id, call);
    }

    /// Judges the offer and prepares the answer and the voice.
    fn take_offer(&mut self, call: &mut Call, invite: &Message, now: Now) -> Result<(), String> {
        let offer = Sdp::read(&invite.body()).ok_or("no session description")?;
        let format = describe::judge(&offer, &call.relay, &call.quirks)?;
        let plan = describe::voice(&call.relay, &offer, format, format.1, &call.quirks, &call.person);
        let mut plan = plan.ok_or("no usable address or key")?;
        let text = describe::answer(&call.relay, &offer, format, &call.quirks);
        if call.quirks.ringing == Ringing::EarlyMedia {
            plan.mouth.says = Says::tone(RINGBACK_HZ);
        } else {
            // Until the answer there is nobody to speak.
            plan.may_speak = false;
        }
        call.voice = Some(Voice::new(plan, self.fork_entropy(), now));
        if call.path.is_some() {
            let (_, role) = describe::setup_of_answer(offer.setup, &call.quirks);
            self.connect_path(call, &offer, role, now);
        }
        if let Stage::Ringing { answer, .. } = &mut call.stage {
            *answer = Some(text);
        }
        Ok(())
    }

    fn ring(&mut self, call: &mut Call, now: Now) {
        let early = match &call.stage {
            Stage::Ringing { answer, .. } => answer.clone(),
            Stage::Connecting
            | Stage::Inviting(_)
            | Stage::Up
            | Stage::Deaf
            | Stage::Closing { .. }
            | Stage::Done => None,
        };
        match call.quirks.ringing {
            Ringing::Nothing => {}
            Ringing::Ringing => self.provisional(call, 180, None, now),
            Ringing::Progress => self.provisional(call, 183, None, now),
            Ringing::EarlyMedia => self.provisional(call, 183, early, now),
        }
        self.tell(Event::Ringing(call.id));
    }

    fn provisional(&mut self, call: &mut Call, status: u16, sdp: Option<String>, now: Now) {
        let Stage::Ringing { invite, from, tag, .. } = &call.stage else { return };
        let (invite, from) = (invite.clone(), *from);
        let tag = if status == 100 { "" } else { tag.as_str() };
        let mut draft =
            Draft::reply(&invite, status, phrase(status), tag).padded(call.quirks.content_length_padded);
        if status > 100 {
            draft = self.answering_lines(draft, call, &invite);
        }
        let reply = match sdp {
            Some(sdp) => draft.sdp(&sdp),
            None => draft.empty(),
        };
        call.report.provisional.push(status);
        self.transactions.respond(&invite, status, reply, Channel::Stream(from), now.mono);
    }

    /// Record-Routes (the inner hop first, then the public one, then the business's own), Contact, who the user is.
    fn answering_lines(&self, draft: Draft, call: &Call, invite: &Message) -> Draft {
        let domain = &self.config.domain;
        let [public, inner] = print::routes(domain);
        let own = invite.list("Record-Route");
        draft
            .lines([inner, public].iter().chain(&own).map(|route| format!("Record-Route: {route}")))
            .line(format!("Contact: <{}>;isfocus", print::answering_contact_uri(&call.spec.user, domain)))
            .line(print::ALLOW)
            .line("Supported: timer")
            .lines(print::external_domain(&call.quirks, domain))
            .lines(print::user_headers(&call.quirks, &call.spec))
    }

    /// The user does what they intended.
    pub(super) fn user_decides(&mut self, call: &mut Call, now: Now) {
        let Stage::Ringing { intent, .. } = &call.stage else { return };
        match *intent {
            Answer::After(_) => self.answer(call, now),
            Answer::DeclineAfter(_) => self.decline(call, now),
            Answer::Refuse(refusal) => self.refuse(call, refusal, now),
            Answer::Never => {}
        }
    }

    fn answer(&mut self, call: &mut Call, now: Now) {
        let Stage::Ringing { invite, from, tag, answer, .. } = &call.stage else { return };
        let (invite, from, tag) = (invite.clone(), *from, tag.clone());
        let sdp = answer.clone().unwrap_or_default();
        let draft = Draft::reply(&invite, 200, phrase(200), &tag).padded(call.quirks.content_length_padded);
        let reply = self.answering_lines(draft, call, &invite).sdp(&sdp);
        self.transactions.respond(&invite, 200, reply, Channel::Stream(from), now.mono);
        call.report.status = Some(200);
        call.stage = Stage::Up;
        if let Some(voice) = &mut call.voice {
            let mut plan = voice.plan().clone();
            plan.mouth.says = call.person.says;
            plan.may_speak = true;
            voice.replan(plan, now);
        }
        call.answered(now);
        self.tell(Event::Answered(call.id));
    }

    pub(super) fn decline(&mut self, call: &mut Call, now: Now) {
        self.refuse(call, Refusal::Declined, now);
    }

    /// It rang long enough: 480 for the business, CANCEL for a user's call.
    pub(super) fn ring_window_closes(&mut self, call: &mut Call, now: Now) {
        match call.stage {
            Stage::Ringing { .. } => self.refuse(call, Refusal::Unavailable, now),
            Stage::Connecting | Stage::Inviting(_) => self.user_leaves(call, now),
            Stage::Up | Stage::Deaf | Stage::Closing { .. } | Stage::Done => {}
        }
    }

    pub(super) fn refuse(&mut self, call: &mut Call, refusal: Refusal, now: Now) {
        let Stage::Ringing { invite, from, tag, .. } = &call.stage else { return };
        let (invite, from, tag) = (invite.clone(), *from, tag.clone());
        let quirks = call.quirks.clone();
        self.respond_refusal(Channel::Stream(from), &invite, refusal, &tag, &quirks, now);
        let host = Uri::read(&address_uri(&invite.from())).host;
        call.ends(Ender::Meta, now);
        note_refusal(&mut call.report, refusal, &host);
        self.finish(call);
    }

    /// The business gave up: 487 to its INVITE.
    pub(super) fn cancelled(&mut self, call: &mut Call, now: Now) {
        let Stage::Ringing { invite, from, tag, .. } = &call.stage else { return };
        let (invite, from, tag) = (invite.clone(), *from, tag.clone());
        let reply =
            Draft::reply(&invite, 487, phrase(487), &tag).padded(call.quirks.content_length_padded).empty();
        self.transactions.respond(&invite, 487, reply, Channel::Stream(from), now.mono);
        call.report.status = Some(487);
        self.fail(call, UserSaw::Missed, Ender::Business, now);
    }

    fn respond_refusal(
        &mut self,
        to: Channel,
        invite: &Message,
        refusal: Refusal,
        tag: &str,
        quirks: &Quirks,
        now: Now,
    ) {
        let host = Uri::read(&address_uri(&invite.from())).host;
        let text = refusal.phrase(&host);
        let reply = Draft::reply(invite, refusal.status(), &text, tag)
            .padded(quirks.content_length_padded)
            .maybe(refusal.warns(), format!("Warning: 399 {} \"{text}\"", self.config.domain))
            .lines(print::external_domain(quirks, &self.config.domain))
            .empty();
        self.transactions.respond(invite, refusal.status(), reply, to, now.mono);
    }
}

fn note_refusal(report: &mut CallReport, refusal: Refusal, host: &str) {
    report.status = Some(refusal.status());
    report.reason = Some(refusal.phrase(host));
    (report.saw, report.ended_by) = match refusal {
        Refusal::Declined => (UserSaw::Declined, Ender::User),
        Refusal::Unavailable | Refusal::RtpTimeout => (UserSaw::Missed, Ender::Meta),
        Refusal::AssetNotFound
        | Refusal::ServerMismatch
        | Refusal::NoPermission
        | Refusal::AppNotAuthorized
        | Refusal::DailyLimit
        | Refusal::DuplicateCall
        | Refusal::InvalidDigest
        | Refusal::Payment
        | Refusal::SdpValidation
        | Refusal::NotFound
        | Refusal::Internal
        | Refusal::Overloaded => (UserSaw::Nothing, Ender::Meta),
    };
}
