use setu_model::{Now, Side};

use super::layer::{Layer, TxId};
use crate::flow::Transport;
use crate::message::{Builder, Message};

impl Layer {
    /// Our Contact on a side, in angle brackets.
    pub(crate) fn contact(&self, side: Side, transport: Transport, user: Option<&str>) -> String {
        let ours = self.config.side(side);
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let (host, port) = (ours.uri_host(), ours.port(transport));
        match transport {
            Transport::Udp => format!("<sip:{user}{host}:{port}>"),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                format!("<sip:{user}{host}:{port};transport={}>", transport.param())
            }
        }
    }

    /// Writes a response to the request that `tx` serves. None if it cannot be written.
    pub(crate) fn compose(
        &self,
        tx: TxId,
        status: u16,
        reason: Option<&str>,
        to_tag: &str,
        finish: impl FnOnce(Builder) -> Builder,
    ) -> Option<Message> {
        let mut reply = Message::reply(self.request_of(tx)?, status, reason, Some(to_tag));
        if status > 100 {
            reply = reply.header("Server", &self.config.user_agent);
        }
        finish(reply).build().ok()
    }

    /// Writes a response and sends it through its transaction. False if it cannot be written.
    pub(crate) fn reply(
        &mut self,
        tx: TxId,
        status: u16,
        reason: Option<&str>,
        to_tag: &str,
        now: Now,
        finish: impl FnOnce(Builder) -> Builder,
    ) -> bool {
        match self.compose(tx, status, reason, to_tag, finish) {
            Some(response) => {
                self.respond(tx, response, now.mono);
                true
            }
            None => false,
        }
    }
}
