//! Requests of the bridge, inside a call and outside of one, and the edge's own BYE.

use setu_model::{Direction, Now};

use super::call::{Call, Stage};
use super::edge::Edge;
use super::print;
use super::quirks::Quirks;
use super::report::{Ender, Event, Violation};
use super::spec::TwinCallId;
use crate::io::ConnId;
use crate::sip::message::{Message, param};
use crate::sip::text::{Draft, phrase};
use crate::sip::transactions::Channel;

impl Edge {
    pub(super) fn handle_request(&mut self, conn: ConnId, request: &Message, now: Now) {
        let method = request.method().unwrap_or_default();
        if method != "ACK" && self.transactions.is_repeated(request, Channel::Stream(conn)) {
            return;
        }
        let owner = self.calls.values().find(|call| call.dialog.owns(request)).map(|call| call.id);
        match (method.as_str(), owner) {
            ("ACK", _) => self.handle_ack(owner, request),
            ("CANCEL", _) => self.handle_cancel(conn, request, now),
            (_, Some(id)) => {
                self.with(id, |edge, call| edge.handle_in_dialog(conn, call, &method, request, now));
            }
            (_, None) if param(&request.to(), "tag").is_some() => self.respond(conn, request, 481, now),
            ("INVITE", None) => self.begin_business_call(conn, request, now),
            (_, None) => self.handle_outside(conn, &method, request, now),
        }
    }

    fn handle_outside(&mut self, conn: ConnId, method: &str, request: &Message, now: Now) {
        let quirks = self.config.quirks.clone();
        match method {
            "OPTIONS" if quirks.options_answered => self.respond(conn, request, 200, now),
            "OPTIONS" => {}
            _ => {
                self.tell(Event::Violation(None, Violation::UnsupportedMethod(method.to_owned())));
                let status =
                    if method == "REGISTER" { quirks.register_status } else { quirks.unsupported_status };
                self.respond(conn, request, status, now);
            }
        }
    }

    fn handle_ack(&mut self, owner: Option<TwinCallId>, ack: &Message) {
        let Some(id) = owner else {
            // The ACK of a refusal: its dialog was never made.
            self.transactions.handle_ack(ack);
            return;
        };
        self.with(id, |edge, call| {
            if matches!(call.stage, Stage::Up) && call.report.direction == Direction::BusinessInitiated {
                if let Err(what) = edge.follows_route(call, ack) {
                    edge.violated(call, Violation::WrongRoute(format!("ACK: {what}")));
                    if call.quirks.wrong_routes_refused {
                        return;
                    }
                }
                call.report.requests.push("ACK".to_owned());
            }
            edge.transactions.handle_ack(ack);
        });
    }

    fn handle_cancel(&mut self, conn: ConnId, cancel: &Message, now: Now) {
        let owner = self.calls.values().find(|call| match &call.stage {
            Stage::Ringing { invite, .. } => invite.branch() == cancel.branch(),
            Stage::Connecting
            | Stage::Inviting(_)
            | Stage::Up
            | Stage::Deaf
            | Stage::Closing { .. }
            | Stage::Done => false,
        });
        let Some(id) = owner.map(|call| call.id) else {
            self.respond(conn, cancel, 481, now);
            return;
        };
        self.respond(conn, cancel, 200, now);
        self.with(id, |edge, call| {
            call.report.requests.push("CANCEL".to_owned());
            edge.cancelled(call, now);
        });
    }

    fn handle_in_dialog(&mut self, conn: ConnId, call: &mut Call, method: &str, request: &Message, now: Now) {
        call.report.requests.push(method.to_owned());
        let (number, _) = request.cseq();
        if number <= call.dialog.remote_cseq && call.dialog.remote_cseq != 0 {
            self.respond(conn, request, 500, now);
            return;
        }
        call.dialog.remote_cseq = number;
        match method {
            "BYE" => self.handle_bye(conn, call, request, now),
            "INVITE" => {
                self.violated(call, Violation::Reinvite);
                let status = call.quirks.reinvite_status;
                self.respond_in(conn, call, request, status, now);
            }
            "OPTIONS" => self.respond_in(conn, call, request, 200, now),
            _ => {
                self.violated(call, Violation::UnsupportedMethod(method.to_owned()));
                let status = call.quirks.unsupported_status;
                self.respond_in(conn, call, request, status, now);
            }
        }
    }

    fn handle_bye(&mut self, conn: ConnId, call: &mut Call, bye: &Message, now: Now) {
        if let Err(what) = self.follows_route(call, bye) {
            self.violated(call, Violation::WrongRoute(format!("BYE: {what}")));
            if call.quirks.wrong_routes_refused {
                self.respond_in(conn, call, bye, 404, now);
                return;
            }
        }
        // A call whose 200 could not be acknowledged is not known inside Meta.
        let status = if matches!(call.stage, Stage::Deaf) { 404 } else { 200 };
        self.respond_in(conn, call, bye, status, now);
        if matches!(call.stage, Stage::Up) {
            call.ends(Ender::Business, now);
            self.finish(call);
        }
    }

    /// Whether a request of the bridge goes to Meta's Contact along Meta's routes; if not, what is wrong.
    fn follows_route(&self, call: &Call, request: &Message) -> Result<(), String> {
        let (routes, expected) = (request.list("Route"), print::routes(&self.config.domain));
        if routes != expected {
            return Err(format!("Route {}", routes.join(", ")));
        }
        let contact = match call.report.direction {
            Direction::UserInitiated => print::contact_uri(&call.spec.user, &self.config.domain),
            Direction::BusinessInitiated => {
                print::answering_contact_uri(&call.spec.user, &self.config.domain)
            }
        };
        match request.uri() {
            Some(uri) if uri == contact => Ok(()),
            uri => Err(format!("Request-URI {}", uri.unwrap_or_default())),
        }
    }

    /// Ends an answered call with a BYE that carries Meta's own headers.
    pub(super) fn say_goodbye(&mut self, call: &mut Call, by: Ender, now: Now) {
        if !matches!(call.stage, Stage::Up) {
            return;
        }
        call.ends(by, now);
        call.dialog.local_cseq += 1;
        let branch = print::branch(self.entropy.as_mut());
        let (quirks, domain) = (&call.quirks, &self.config.domain);
        let seconds = call.report.talked_ms.unwrap_or(0).div_ceil(1_000);
        let bytes = Draft::new(format!("BYE {} SIP/2.0", call.dialog.target))
            .padded(quirks.content_length_padded)
            .lines(print::vias(quirks, &branch))
            .lines(call.dialog.lines("BYE", call.dialog.local_cseq))
            .lines(print::external_domain(quirks, domain))
            .maybe(quirks.bye_wacid, format!("x-wa-meta-wacid: {}", call.report.wacid))
            .maybe(
                quirks.bye_duration && call.answered.is_some(),
                format!("x-wa-meta-call-duration: {seconds}"),
            )
            .line(print::USER_AGENT)
            .empty();
        let way = self.way(call);
        self.transactions.forget_answer(&call.dialog.call_id);
        self.transactions.request(&branch, "BYE", bytes, way, now.mono);
        call.stage = Stage::Closing { branch };
    }

    fn respond(&mut self, conn: ConnId, request: &Message, status: u16, now: Now) {
        let quirks = self.config.quirks.clone();
        self.respond_with(conn, &quirks, request, status, now);
    }

    fn respond_in(&mut self, conn: ConnId, call: &Call, request: &Message, status: u16, now: Now) {
        self.respond_with(conn, &call.quirks, request, status, now);
    }

    fn respond_with(&mut self, conn: ConnId, quirks: &Quirks, request: &Message, status: u16, now: Now) {
        let tag = print::uuid(self.entropy.as_mut());
        let reply = Draft::reply(request, status, phrase(status), &tag)
            .padded(quirks.content_length_padded)
            .maybe(matches!(status, 200 | 405), print::ALLOW)
            .lines(print::external_domain(quirks, &self.config.domain))
            .empty();
        self.transactions.respond(request, status, reply, Channel::Stream(conn), now.mono);
    }
}
