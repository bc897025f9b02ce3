//! OPTIONS to trunks, to know which of them answer.

use std::collections::BTreeMap;
use std::time::Instant;

use setu_model::Now;

use super::{Endpoint, Event};
use crate::access::Probe;
use crate::dialog::MAX_FORWARDS;
use crate::flow::{Hop, Target, Transport};
use crate::message::{Message, Method};
use crate::timers::Timer;
use crate::transaction::{ClientStart, Due, Owner};

/// What is known of the probed trunks.
#[derive(Debug, Default)]
pub(super) struct Probes {
    up: BTreeMap<String, bool>,
    /// When each is asked next.
    next: BTreeMap<String, Instant>,
}

impl Probes {
    pub(super) fn is_up(&self, name: &str) -> Option<bool> {
        self.up.get(name).copied()
    }
}

impl Endpoint {
    /// Asks every trunk that has a probe at once, and forgets those that have none.
    pub(super) fn probe_all(&mut self, now: Now) {
        self.probes.next.clear();
        let trunks = self.gate.trunks();
        let probed = |name: &String| trunks.iter().any(|t| t.probe.is_some() && t.name == *name);
        self.probes.up.retain(|name, _| probed(name));
        self.probe_due(now);
    }

    /// Asks every trunk whose time has come.
    pub(super) fn probe_due(&mut self, now: Now) {
        let trunks = self.gate.trunks().iter();
        let probed = trunks.filter_map(|trunk| Some((trunk.name.clone(), trunk.probe.clone()?)));
        let due = probed.filter(|(name, _)| self.probes.next.get(name).is_none_or(|at| *at <= now.mono));
        let due: Vec<(String, Probe)> = due.collect();
        for (name, Probe { hop, every }) in due {
            self.probes.next.insert(name.clone(), now.mono + every);
            self.probe(name, hop, now);
        }
        let next = self.probes.next.values().min().copied();
        self.layer.schedule.set(Due::Probes, next.map(|at| (at, Timer::Probe)));
    }

    fn probe(&mut self, name: String, hop: Hop, now: Now) {
        let Ok(options) = self.options_to(&hop) else { return };
        let start =
            ClientStart { side: hop.side, owner: Owner::Probe(name), target: Target::Hop(hop), branch: None };
        // A full table says nothing about the trunk.
        let _ = self.layer.start(&options, start, now.mono);
    }

    fn options_to(&mut self, hop: &Hop) -> Result<Message, crate::message::BuildError> {
        let host = if hop.host.contains(':') { format!("[{}]", hop.host) } else { hop.host.clone() };
        let port = hop.port.map(|port| format!(":{port}")).unwrap_or_default();
        let transport = match hop.transport {
            Transport::Udp => String::new(),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                format!(";transport={}", hop.transport.param())
            }
        };
        let uri = format!("sip:{host}{port}{transport}");
        let ours = self.layer.config.side(hop.side).uri_host();
        let (tag, call_id) = (self.layer.entropy.hex(8), self.layer.entropy.hex(16));
        Message::request(Method::Options, &uri)
            .header("Max-Forwards", MAX_FORWARDS.to_string())
            .header("From", format!("<sip:{ours}>;tag={tag}"))
            .header("To", format!("<{uri}>"))
            .header("Call-ID", call_id)
            .header("CSeq", "1 OPTIONS")
            .header("Contact", self.layer.contact(hop.side, hop.transport, None))
            .header("User-Agent", &self.layer.config.user_agent)
            .header("Accept", "application/sdp")
            .build()
    }

    /// Any answer but "not now" shows that the trunk lives: many answer OPTIONS with 403 or 404.
    pub(super) fn handle_probe_answer(&mut self, name: &str, response: &Message) {
        match response.status() {
            Some(503 | 408) => self.set_trunk(name, false),
            Some(200..) => self.set_trunk(name, true),
            Some(_) | None => {}
        }
    }

    pub(super) fn set_trunk(&mut self, name: &str, up: bool) {
        let known = self.gate.trunks().iter().any(|trunk| trunk.name == name && trunk.probe.is_some());
        if known && self.probes.up.insert(name.to_owned(), up) != Some(up) {
            self.layer.tell(Event::TrunkState { name: name.to_owned(), up });
        }
    }
}
