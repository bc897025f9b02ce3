//! INFO within a call, both ways (RFC 6086 in its legacy form, as PBXs tell of keys by it).

use std::collections::VecDeque;

use bytes::Bytes;
use setu_model::{Now, Side};

use super::{Session, State};
use crate::endpoint::{CommandError, Event};
use crate::message::{Message, Method};
use crate::transaction::{Layer, TxId};

/// Our own INFO requests: one under way, the others after it. Two at once could overtake each other, and the one that
/// comes late is refused for its CSeq (RFC 3261 section 12.2.2).
#[derive(Debug, Default)]
pub(super) struct Infos {
    under_way: Option<TxId>,
    waiting: VecDeque<(String, Bytes)>,
}

impl Infos {
    pub(super) fn is(&self, tx: TxId) -> bool {
        self.under_way == Some(tx)
    }
}

impl Session {
    /// Sends INFO, after those that wait.
    pub(crate) fn info(
        &mut self,
        layer: &mut Layer,
        content_type: &str,
        body: Bytes,
        now: Now,
    ) -> Result<(), CommandError> {
        if self.side == Side::Meta {
            return Err(CommandError::NotTowardMeta);
        }
        let State::Confirmed(confirmed) = &mut self.state else { return Err(CommandError::WrongState) };
        if confirmed.infos.waiting.len() >= MOST_WAITING {
            return Err(CommandError::Full);
        }
        confirmed.infos.waiting.push_back((content_type.to_owned(), body));
        if confirmed.infos.under_way.is_none() { self.send_info(layer, now) } else { Ok(()) }
    }

    /// Our INFO is answered or given up, which says nothing of the call; the next one may go.
    pub(super) fn handle_info_over(&mut self, layer: &mut Layer, now: Now) {
        if let State::Confirmed(confirmed) = &mut self.state {
            confirmed.infos.under_way = None;
        }
        // One that cannot be sent must not hold up those behind it.
        while self.send_info(layer, now).is_err() {}
    }

    fn send_info(&mut self, layer: &mut Layer, now: Now) -> Result<(), CommandError> {
        let State::Confirmed(confirmed) = &mut self.state else { return Ok(()) };
        let Some((content_type, body)) = confirmed.infos.waiting.pop_front() else { return Ok(()) };
        let cseq = confirmed.dialog.next_cseq();
        let dialog = confirmed.dialog.clone();
        let mut request = dialog.request(Method::Info, cseq);
        if let Some((name, value)) = self.auth.header_of(Method::Info) {
            request = request.header(name, value);
        }
        let tx = self.send(layer, &dialog, request.body(&content_type, body), now)?;
        if let State::Confirmed(confirmed) = &mut self.state {
            confirmed.infos.under_way = Some(tx);
        }
        Ok(())
    }

    /// Tells of an INFO, which is answered with 200.
    pub(super) fn handle_info(&mut self, layer: &mut Layer, tx: TxId, info: &Message, now: Now) {
        self.respond(layer, tx, 200, now);
        let content_type = info.header("Content-Type").unwrap_or_default().into_owned();
        layer.tell(Event::Info { session: self.id, content_type, body: info.body() });
    }
}

/// The most INFO requests that wait: the keys of a speed dial.
const MOST_WAITING: usize = 32;
