//! Requests that the network says it cannot deliver (RFC 3261 section 18.4).

use std::time::Instant;

use super::layer::Layer;
use crate::message::Method;

impl Layer {
    /// Takes the beginning of a datagram that came back. Anybody can forge that, so it counts only for a request whose
    /// branch it repeats, which only those on its way have seen, and while nobody has answered.
    pub(crate) fn handle_returned(&mut self, quote: &[u8], now: Instant) {
        let text = String::from_utf8_lossy(quote);
        let Some((method, branch)) = head(&text) else { return };
        let Some(tx) = self.by_branch.get(&(branch.into(), method)).copied() else { return };
        if self.clients.get(&tx).is_some_and(|client| !client.answered && !client.transport.is_reliable()) {
            self.counters.returned += 1;
            self.fail(tx, now);
        }
    }
}

/// The method and the branch of a request of ours, whose first header is our Via.
fn head(text: &str) -> Option<(Method, &str)> {
    let mut lines = text.split("\r\n");
    let (method, _) = lines.next()?.split_once(' ')?;
    let via = lines.next()?.strip_prefix("Via:")?;
    let branch = via.split(';').find_map(|param| param.strip_prefix("branch="))?;
    Some((Method::from(method), branch))
}
