use setu_model::Now;

use super::{Answer, Headers, Session, State};
use crate::dialog::Dialog;
use crate::endpoint::EndHow;
use crate::message::Method;
use crate::transaction::Layer;

impl Session {
    /// Takes the answer to our BYE. Whatever it says, the call is over; a challenge is answered once.
    pub(super) fn handle_bye_answer(&mut self, layer: &mut Layer, answer: &Answer, now: Now) {
        let status = answer.message.status().unwrap_or(0);
        if status < 200 {
            return;
        }
        if matches!(status, 401 | 407) && self.bye_again(layer, answer, now) {
            return;
        }
        self.end(layer, EndHow::Local);
    }

    fn bye_again(&mut self, layer: &mut Layer, answer: &Answer, now: Now) -> bool {
        let State::Leaving(leaving) = &self.state else { return false };
        let mut dialog = leaving.dialog.clone();
        let mut headers = leaving.headers.clone();
        let uri = dialog.remote_target.clone();
        if !self.auth.take_challenge(layer, answer, &Method::Bye, &uri, self.side) {
            return false;
        }
        let Some((name, value)) = self.auth.header_of(Method::Bye) else { return false };
        headers.push((name.to_owned(), value));
        let Some(tx) = self.send_bye(layer, &mut dialog, &headers, now) else { return false };
        if let State::Leaving(leaving) = &mut self.state {
            leaving.dialog = dialog;
            leaving.bye = tx;
        }
        true
    }

    /// Takes a 2xx to an INVITE that was answered before: the ACK was lost, or another branch answered as well.
    ///
    /// The losing branch gets its ACK and a BYE (RFC 3261 section 13.2.2.4).
    pub(super) fn handle_late_success(&mut self, layer: &mut Layer, answer: &Answer, now: Now) {
        let (Ok(to), Ok(cseq)) = (answer.message.to(), answer.message.cseq()) else { return };
        let tag = to.tag().unwrap_or_default();
        if self.repeat_ack(layer, tag, cseq.number) {
            return;
        }
        let Some(dialog) = self.dialog().cloned() else {
            return;
        };
        if dialog.remote_tag == tag {
            // Our re-INVITE was accepted after the session ended.
            self.send_ack(layer, &dialog, cseq.number);
        } else if let Some(mut branch) = self.sibling(&dialog, answer, cseq.number) {
            layer.counters.forks_dropped += 1;
            self.send_ack(layer, &branch, cseq.number);
            self.send_bye(layer, &mut branch, &Headers::new(), now);
        }
    }

    /// The dialog of another branch of the INVITE that set up `dialog`.
    fn sibling(&self, dialog: &Dialog, answer: &Answer, cseq: u32) -> Option<Dialog> {
        let invite =
            dialog.request(Method::Invite, cseq).header("Contact", &dialog.local_contact).build().ok()?;
        Dialog::of_client(&invite, &answer.message, &answer.arrival, dialog.path.pinned)
    }
}
