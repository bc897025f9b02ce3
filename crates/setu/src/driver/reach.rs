//! Customers who are reached with our offer: at a SIP URI that a provider's webhook named, if it may be dialled, or by the
//! way of the number that a call is placed from.

use std::collections::BTreeMap;

use bytes::Bytes;
use setu_call::{Dial, DialTarget, EndHow, LegCommand, LegEvent};
use setu_model::{CallFacts, Cause, LegId, Now, Side};
use setu_sip::{Hop, Host, InviteRequest, Party, Scheme, Target, Transport, Uri};

use super::Shard;

/// Originators that wait to be reached.
pub(super) type Reaches = BTreeMap<LegId, Reach>;

/// How an originator is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// At a URI.
    At(Waiting),
    /// By the way of the number, as when an agent dials.
    ByNumber {
        /// The business number that calls, E.164 with `+`.
        number: String,
        /// Whom, E.164 with `+`.
        customer: String,
    },
}

/// Where an originator waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    hop: Hop,
    uri: String,
    /// The business number that calls, E.164 with `+`.
    number: String,
    /// WhatsApp's id of the call: the URI alone need not tell the provider which one it is.
    wacid: String,
}

impl Waiting {
    /// Takes a URI that a webhook named, if it leads by TLS to a host that `hosts` covers. To which addresses that host
    /// leads is looked at when it is dialled.
    pub(super) fn new(uri: &str, hosts: &[String], number: &str, wacid: &str) -> Result<Self, String> {
        if uri.len() > MOST_URI_BYTES {
            return Err("the URI is too long".to_owned());
        }
        let uri: Uri = uri.parse().map_err(|why| format!("no URI: {why}"))?;
        let transport = uri.param("transport").map(Option::unwrap_or_default).map(str::to_ascii_lowercase);
        match (&uri.scheme, transport.as_deref()) {
            (Scheme::Sip, Some("tls")) | (Scheme::Sips, None | Some("tls")) => {}
            (Scheme::Sip | Scheme::Sips, _) => return Err("the URI does not lead by TLS".to_owned()),
            (Scheme::Tel | Scheme::Other(_), _) => return Err("the URI is no SIP URI".to_owned()),
        }
        // What would lead elsewhere than the host tells, or put words into our INVITE.
        if uri.param("maddr").is_some() || !uri.headers.is_empty() || uri.password.is_some() {
            return Err("the URI has maddr, headers or a password".to_owned());
        }
        let host = match &uri.host {
            Host::Name(name) => name.clone(),
            Host::V4(address) => address.to_string(),
            Host::V6(address) => address.to_string(),
        };
        if !hosts.iter().any(|pattern| covers(pattern, &host)) {
            return Err(format!("{host} is not among webhooks.sip_hosts"));
        }
        let hop = Hop { side: Side::Meta, transport: Transport::Tls, host, port: uri.port };
        let (number, wacid) = (number.to_owned(), wacid.to_owned());
        Ok(Self { hop, uri: uri.to_string(), number, wacid })
    }

    fn invite(self, offer: String, hostname: &str) -> InviteRequest {
        let Self { hop, uri, number, wacid } = self;
        let plain = !wacid.is_empty() && wacid.bytes().all(|byte| byte.is_ascii_graphic());
        InviteRequest {
            side: Side::Meta,
            target: Target::Hop(hop),
            request_uri: uri.clone(),
            from: Party { display: None, uri: format!("sip:{number}@{hostname}") },
            to: Party { display: None, uri },
            contact_user: Some(number),
            headers: plain.then(|| ("x-wa-meta-wacid".to_owned(), wacid)).into_iter().collect(),
            offer: Bytes::from(offer),
            // Nobody there has a password of ours.
            credentials: None,
            session_timer: false,
        }
    }
}

impl Shard {
    /// Carries out a command for an originator that was not reached yet; hands it back if it is none.
    pub(super) fn command_reach(&mut self, command: LegCommand, now: Now) -> Result<(), LegCommand> {
        let leg = command.leg();
        let Some(reach) = self.reaches.get(&leg) else { return Err(command) };
        match command {
            LegCommand::Answer { sdp, .. } => {
                let reach = reach.clone();
                self.reaches.remove(&leg);
                match reach {
                    Reach::At(uri) => self.reach_at(leg, uri, sdp, now),
                    Reach::ByNumber { number, customer } => {
                        let target = DialTarget::Customer { number, customer };
                        self.dial(Dial { leg, target, offer: sdp, facts: CallFacts::default() }, now);
                    }
                }
            }
            LegCommand::Refuse { .. } | LegCommand::HangUp { .. } => {
                self.reaches.remove(&leg);
                let how = EndHow::Local;
                let event = LegEvent::Ended { leg, how, wacid: None, meta_duration_s: None, detail: None };
                self.calls.handle(setu_call::Input::Leg(event), now);
            }
            // Nobody hears it.
            LegCommand::Ring { .. }
            | LegCommand::Describe { .. }
            | LegCommand::Dial(_)
            | LegCommand::AcceptReoffer { .. }
            | LegCommand::RejectReoffer { .. }
            | LegCommand::Key { .. } => {}
        }
        Ok(())
    }

    /// Calls a customer who waits at a URI.
    pub(super) fn reach_at(&mut self, leg: LegId, at: Waiting, offer: String, now: Now) {
        match self.endpoint.invite(at.invite(offer, &self.settings.meta.hostname), now) {
            Ok(session) => self.legs.join(session, leg, Side::Meta),
            Err(error) => self.not_dialled(leg, (503, 480), Cause::Unreachable, Some(error.to_string()), now),
        }
    }

    /// Forgets a customer who was to be reached, or ends the session; says how that ends the leg.
    pub(super) fn leave_customer(&mut self, leg: LegId, now: Now) -> EndHow {
        if self.reaches.remove(&leg).is_some() {
            return EndHow::Cancelled;
        }
        if let Some(session) = self.legs.leave(leg) {
            let _: Result<(), _> = self.endpoint.hang_up(session, &[], now);
        }
        EndHow::Bye
    }
}

/// Whether a configured name, or all names below it (`*.example.com`), is the host's.
fn covers(pattern: &str, host: &str) -> bool {
    let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let (pattern, host) = (plain(pattern), plain(host));
    match pattern.strip_prefix('*') {
        Some(below) => below.len() > 1 && host.len() > below.len() && host.ends_with(below),
        None => host == pattern,
    }
}

/// The longest URI that is looked at.
const MOST_URI_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(uri: &str) -> Result<Waiting, String> {
        let hosts = ["agent-bridge.example.in", "*.edge.example.in", "192.0.2.7"].map(str::to_owned);
        Waiting::new(uri, &hosts, "+911234567890", "wacid.A")
    }

    #[test]
    fn a_host_that_is_listed_is_dialled_over_tls() {
        for (uri, host, port) in [
            ("sip:agent-bridge.example.in;transport=tls", "agent-bridge.example.in", None),
            (
                "sip:call-7@Agent-Bridge.example.in.:5071;transport=TLS",
                "Agent-Bridge.example.in.",
                Some(5071),
            ),
            ("sips:agent-bridge.example.in", "agent-bridge.example.in", None),
            ("sip:7@a.edge.example.in;transport=tls;x=y", "a.edge.example.in", None),
            ("sip:192.0.2.7;transport=tls", "192.0.2.7", None),
        ] {
            let reach = reach(uri).unwrap();
            assert_eq!((reach.hop.host.as_str(), reach.hop.port), (host, port), "{uri}");
            assert_eq!((reach.hop.side, reach.hop.transport), (Side::Meta, Transport::Tls), "{uri}");
        }
    }

    #[test]
    fn what_leads_elsewhere_or_in_clear_is_not_dialled() {
        for uri in [
            "sip:agent-bridge.example.in",
            "sip:agent-bridge.example.in;transport=tcp",
            "sip:agent-bridge.example.in;transport=udp",
            "sip:agent-bridge.example.in;transport=ws",
            "sips:agent-bridge.example.in;transport=udp",
            "tel:+919876543210",
            "https://agent-bridge.example.in",
            "sip:agent-bridge.example.in;transport=tls;maddr=10.0.0.1",
            "sip:agent-bridge.example.in;transport=tls?Subject=x",
            "sip:a:secret@agent-bridge.example.in;transport=tls",
            "sip:agent-bridge.example.in@10.0.0.1;transport=tls",
            "sip:10.0.0.1:5038;transport=tls",
            "sip:169.254.169.254;transport=tls",
            "sip:[::ffff:127.0.0.1];transport=tls",
            "sip:0x7f.1;transport=tls",
            "sip:edge.example.in;transport=tls",
            "sip:evil-edge.example.in;transport=tls",
            "sip:agent-bridge.example.in.evil.example;transport=tls",
            "sip:agent-bridge.example.in\r\nX: y;transport=tls",
            "",
        ] {
            assert!(reach(uri).is_err(), "{uri}");
        }
        assert!(reach(&format!("sip:{}@agent-bridge.example.in;transport=tls", "a".repeat(600))).is_err());
        assert!(
            Waiting::new("sip:a.example;transport=tls", &[], "+1", "w").is_err(),
            "nothing listed is nothing allowed"
        );
        assert!(!covers("*", "a.example") && !covers("*.", "a.example"));
    }
}
