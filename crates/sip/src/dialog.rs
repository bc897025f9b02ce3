//! Dialogs, RFC 3261 section 12: a plain value, so that a live call can be stored and go on elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;

use setu_model::Side;

use crate::flow::{Arrival, FlowId, Hop, Target, Transport};
use crate::message::{Builder, Message, Method};
use crate::uri::{Scheme, Uri};

/// One dialog as one of its two ends knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// The face of the bridge it lives on.
    pub side: Side,
    /// The Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; empty if it gave none (a peer of RFC 2543).
    pub remote_tag: String,
    /// Our From (or To), tag included, as it stands in our requests.
    pub local_party: String,
    /// The peer's To (or From), tag included, byte for byte as the peer wrote it.
    pub remote_party: String,
    /// The number of our last request.
    pub local_cseq: u32,
    /// The number of the peer's last request.
    pub remote_cseq: Option<u32>,
    /// Our Contact, in angle brackets.
    pub local_contact: String,
    /// The peer's Contact: the Request-URI of our requests.
    pub remote_target: String,
    /// The route set in the order of our Route headers, byte for byte as the proxies wrote it.
    pub route_set: Vec<String>,
    /// The way to the peer that worked last.
    pub path: Path,
}

/// The way to a peer: the flow of its last message, and what that flow proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The flow.
    pub flow: FlowId,
    /// Its transport.
    pub transport: Transport,
    /// The peer's address on it.
    pub remote: SocketAddr,
    /// Names the peer's certificate proved.
    pub verified: Arc<[String]>,
    /// Whether requests stay on this flow although the peer's Contact names another address: it sits behind a NAT.
    pub pinned: bool,
}

impl Path {
    /// The path by which a message came in.
    pub fn of(arrival: &Arrival, pinned: bool) -> Self {
        Self {
            flow: arrival.flow,
            transport: arrival.transport,
            remote: arrival.remote,
            verified: Arc::clone(&arrival.verified),
            pinned,
        }
    }
}

/// Where a request stands in the peer's sequence (RFC 3261 section 12.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It is the next one, or a later one: numbers may be skipped.
    Next,
    /// It is older than the last one: answered with 500.
    Old,
}

impl Dialog {
    /// The dialog that `response` (101 to 299) to our `invite` sets up (RFC 3261 section 12.1.2).
    ///
    /// None if the response names no peer to send to.
    pub fn of_client(invite: &Message, response: &Message, arrival: &Arrival, pinned: bool) -> Option<Self> {
        let from = invite.from().ok()?;
        let to = response.to().ok()?;
        let remote_target = contact_of(response).or_else(|| Some(invite.request_uri()?.to_owned()))?;
        let mut route_set = routes_of(response)?;
        route_set.reverse();
        Some(Self {
            side: arrival.side,
            call_id: invite.call_id().ok()?.to_owned(),
            local_tag: from.tag()?.to_owned(),
            remote_tag: to.tag().unwrap_or_default().to_owned(),
            local_party: invite.header("From")?.into_owned(),
            remote_party: response.header("To")?.into_owned(),
            local_cseq: invite.cseq().ok()?.number,
            remote_cseq: None,
            local_contact: invite.header("Contact")?.into_owned(),
            remote_target,
            route_set,
            path: Path::of(arrival, pinned),
        })
    }

    /// The dialog that our answer to `invite` sets up (RFC 3261 section 12.1.1).
    ///
    /// None if the INVITE lacks what a dialog needs: Contact above all.
    pub fn of_server(invite: &Message, arrival: &Arrival, local_tag: &str, contact: String) -> Option<Self> {
        let to = invite.header("To")?;
        Some(Self {
            side: arrival.side,
            call_id: invite.call_id().ok()?.to_owned(),
            local_tag: local_tag.to_owned(),
            remote_tag: invite.from().ok()?.tag().unwrap_or_default().to_owned(),
            local_party: format!("{to};tag={local_tag}"),
            remote_party: invite.header("From")?.into_owned(),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq().ok()?.number),
            local_contact: contact,
            remote_target: contact_of(invite)?,
            route_set: routes_of(invite)?,
            path: Path::of(arrival, is_behind_nat(invite, arrival)),
        })
    }

    /// Whether `request` belongs to this dialog by Call-ID and tags.
    pub fn owns(&self, request: &Message) -> bool {
        let tag_is = |tag: Option<&str>, ours: &str| tag.unwrap_or_default() == ours;
        request.call_id().is_ok_and(|id| id == self.call_id)
            && request.to().is_ok_and(|to| tag_is(to.tag(), &self.local_tag))
            && request.from().is_ok_and(|from| tag_is(from.tag(), &self.remote_tag))
    }

    /// Whether a message came from the peer this dialog was set up with: tags can be overheard, so they are not
    /// enough to hang up a call.
    ///
    /// A stream counts if it is the dialog's own, or comes from the same address, or proves a name that the
    /// dialog's flow proved or its requests go to. A datagram counts from exactly the address of the dialog's flow
    /// or of the peer's Contact.
    pub fn is_peer(&self, arrival: &Arrival) -> bool {
        if arrival.side != self.side {
            return false;
        }
        if arrival.flow == self.path.flow {
            return true;
        }
        if arrival.transport.is_reliable() {
            let next = self.next_hop();
            return arrival.remote.ip() == self.path.remote.ip()
                || arrival.verified.iter().any(|name| {
                    self.path.verified.iter().any(|proven| proven.eq_ignore_ascii_case(name))
                        || next.as_ref().is_some_and(|hop| hop.host.eq_ignore_ascii_case(name))
                });
        }
        !self.path.transport.is_reliable()
            && (arrival.remote == self.path.remote || self.contact_address() == Some(arrival.remote))
    }

    /// Takes the number of a request of the peer.
    pub fn take_cseq(&mut self, number: u32) -> Order {
        match self.remote_cseq {
            Some(last) if number <= last => Order::Old,
            Some(_) | None => {
                self.remote_cseq = Some(number);
                Order::Next
            }
        }
    }

    /// The number of our next request.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// Starts a request within the dialog (RFC 3261 section 12.2.1.1), by loose or strict routing as its first
    /// route asks. Contact and Via are not in it yet.
    pub fn request(&self, method: Method, cseq: u32) -> Builder {
        let strict = self.first_route().filter(|uri| uri.param("lr").is_none());
        let target = match &strict {
            // Headers and the method parameter have no place in a Request-URI (RFC 3261 section 19.1.1).
            Some(uri) => Uri { headers: Vec::new(), ..uri.clone() }.to_string(),
            None => self.remote_target.clone(),
        };
        let mut request =
            Message::request(method.clone(), &target).header("Max-Forwards", MAX_FORWARDS.to_string());
        for route in self.route_set.iter().skip(usize::from(strict.is_some())) {
            request = request.header("Route", route);
        }
        if strict.is_some() {
            request = request.header("Route", format!("<{}>", self.remote_target));
        }
        request
            .header("From", &self.local_party)
            .header("To", &self.remote_party)
            .header("Call-ID", &self.call_id)
            .header("CSeq", format!("{cseq} {method}"))
    }

    /// Where requests of this dialog go: the flow that worked last while it lives, else the first route, else the
    /// peer's Contact.
    pub fn target(&self) -> Target {
        match self.next_hop() {
            Some(hop) if hop.transport != self.path.transport => Target::Hop(hop),
            Some(hop) if hop.transport.is_reliable() || self.path.pinned => {
                Target::FlowOr(self.path.flow, hop)
            }
            Some(hop) => Target::Hop(hop),
            None => Target::FlowOr(self.path.flow, self.path_hop()),
        }
    }

    /// Takes what a target refresh brought: a re-INVITE, an UPDATE, or a 2xx to one (RFC 3261 section 12.2).
    pub fn refresh(&mut self, message: &Message, arrival: &Arrival) {
        if let Some(contact) = contact_of(message) {
            self.remote_target = contact;
        }
        self.follow(arrival);
    }

    /// Remembers the flow of a message of the peer, so that ours follow it.
    pub fn follow(&mut self, arrival: &Arrival) {
        if arrival.transport == self.path.transport {
            let pinned = self.path.pinned;
            self.path = Path::of(arrival, pinned);
        }
    }

    fn first_route(&self) -> Option<Uri> {
        route_uri(self.route_set.first()?)
    }

    fn next_hop(&self) -> Option<Hop> {
        match self.first_route() {
            Some(route) => hop_of(&route, self.side, self.path.transport),
            None => {
                let contact: Uri = self.remote_target.parse().ok()?;
                let mut hop = hop_of(&contact, self.side, self.path.transport)?;
                // A peer without a proxy talks to us on its own connection, whatever its Contact calls it.
                if self.path.transport.is_reliable() {
                    hop.transport = self.path.transport;
                }
                Some(hop)
            }
        }
    }

    fn path_hop(&self) -> Hop {
        Hop {
            side: self.side,
            transport: self.path.transport,
            host: self.path.remote.ip().to_string(),
            port: Some(self.path.remote.port()),
        }
    }

    fn contact_address(&self) -> Option<SocketAddr> {
        let hop = hop_of(&self.remote_target.parse().ok()?, self.side, Transport::Udp)?;
        let address = hop.host.parse().ok()?;
        Some(SocketAddr::new(address, hop.port.unwrap_or(hop.transport.default_port())))
    }
}

/// Where a request to `uri` goes. `fallback` is the transport of a URI that names none, if that is a stream; else
/// it is UDP (RFC 3263 section 4.1). Toward Meta it is always TLS.
pub(crate) fn hop_of(uri: &Uri, side: Side, fallback: Transport) -> Option<Hop> {
    let named = uri.param("transport").flatten().and_then(|name| name.parse().ok());
    let transport = match (&uri.scheme, side) {
        (Scheme::Sip | Scheme::Sips, Side::Meta) | (Scheme::Sips, Side::Agents) => Transport::Tls,
        (Scheme::Sip, Side::Agents) => named.unwrap_or(fallback),
        (Scheme::Tel | Scheme::Other(_), _) => return None,
    };
    let host = bare_host(&uri.host.to_string()).to_owned();
    Some(Hop { side, transport, host, port: uri.port })
}

/// An IPv6 address without its brackets.
pub(crate) fn bare_host(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The URI of the first Contact.
pub(crate) fn contact_of(message: &Message) -> Option<String> {
    let contacts = message.contacts().ok()?;
    contacts.addresses().first().map(|contact| contact.uri.to_string())
}

/// Whether a datagram came from another address than its sender believes to have.
pub(crate) fn is_behind_nat(request: &Message, arrival: &Arrival) -> bool {
    !arrival.transport.is_reliable()
        && request.top_via().is_ok_and(|via| {
            let port = via.port.unwrap_or(arrival.transport.default_port());
            via.host.ip() != Some(arrival.remote.ip()) || port != arrival.remote.port()
        })
}

/// The Record-Route values in order, byte for byte.
fn routes_of(message: &Message) -> Option<Vec<String>> {
    let routes = message.record_routes().ok()?;
    Some(routes.iter().map(|route| route.raw().into_owned()).collect())
}

fn route_uri(route: &str) -> Option<Uri> {
    route.parse::<crate::NameAddr>().ok().map(|route| route.uri)
}

/// Hops a request may take (RFC 3261 section 8.1.1.6).
pub(crate) const MAX_FORWARDS: u32 = 70;
