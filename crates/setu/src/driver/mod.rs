//! One signalling shard: the SIP endpoint and the call core, joined by messages.
//!
//! It takes one input, hands it to a core, drains every output into the other core or outward, and then waits for
//! the next input or the earliest deadline. It owns no socket, clock or task, so a whole bridge runs in virtual time.

mod ahead;
mod awaited;
mod gate;
mod graph;
mod heard;
mod legs;
mod media;
mod place;
mod reach;
mod requests;
mod told;

pub use ahead::Readiness;
pub(crate) use gate::ledger;
pub use gate::{Asker, Finding, Inquiry, Known, Load, Loaded, Requested};

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
pub use graph::{GraphAsk, GraphNumber, GraphToken};
pub(crate) use heard::{DELIVERED_AGAIN, may_tell};
pub use place::{Answer, NotPlaced, Order, Request};
pub use requests::{MessageAsk, MessagesTo, Messenger, Note, PermissionOrder, Sent};
use setu_call::{CallConfig, ContactId, RecordCommand, RecordEvent, Switchboard};
use setu_media::Clip;
use setu_model::{Cdr, Entropy, Now, Secret, Side};
use setu_sip::{
    Arrival, Binding, Endpoint, EndpointConfig, Event, FlowId, Hop, Message, ParseError, SendToken,
    SessionId, Stranger, Transmit,
};
use setu_whatsapp::gate::GatePolicy;
use setu_whatsapp::webhook::{Heard, Terminate};

use crate::pricing::Prices;

/// What the shard is told.
#[derive(Debug)]
pub enum Input {
    /// A SIP message came in.
    Received(Arrival, Message),
    /// Bytes came in that are no SIP message.
    Malformed(Arrival, Box<ParseError>),
    /// A request to a hop found its flow.
    Bound(SendToken, FlowId, SocketAddr),
    /// A message could not be sent.
    SendFailed(SendToken),
    /// The beginning of a datagram that could not be delivered.
    Returned(Bytes),
    /// A flow is gone.
    FlowClosed(FlowId),
    /// From the media plane.
    Media(setu_media::Event),
    /// From the recorder.
    Record(RecordEvent),
    /// A webhook told something: proven, stored, and once for each event, but for one that came just before the bridge
    /// stopped. In any order; `at` says how old it is. Its `key` comes back as [`Output::Acted`].
    Heard(Box<Heard>),
    /// A number's call that is told of next is over: its end was told before, perhaps to a bridge that has stopped since.
    Over(String, Box<Terminate>),
    /// What would the gate say? Answered by [`Output::Found`].
    Inquire(Box<Inquiry>),
    /// The REST interface asks for something. Answered by [`Output::Answered`] of the same token.
    Request(u64, Box<Request>),
    /// What is known of a pair, as [`Output::Load`] asked.
    Loaded(Box<Loaded>),
    /// The reply to a Graph request.
    GraphReplied(GraphToken, Result<setu_whatsapp::graph::Reply, setu_whatsapp::graph::Failure>),
    /// The first time: take no new calls. The second time: end all.
    Drain,
    /// A new configuration; live calls go on.
    Reload(Box<ShardSettings>),
    /// The record of a call that was cut off elsewhere, for the loop around the shard: the shard itself ignores it.
    Recovered(Box<Cdr>),
    /// Ends the loop around the shard; the shard itself ignores it.
    Stop,
}

/// What the shard wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a SIP message.
    Send(Transmit),
    /// Keep a SIP flow: its peer is known.
    Keep(FlowId),
    /// Close a SIP flow.
    Close(FlowId),
    /// Ask Meta's Graph. Answered by [`Input::GraphReplied`].
    Graph(Box<GraphAsk>),
    /// To the media plane.
    Media(setu_media::Command),
    /// To the recorder.
    Record(RecordCommand),
    /// A call has come a step further.
    Progress(Box<setu_call::Progress>),
    /// A call is awaited that has an id: its first step may be a while off, and it has a record whatever happens.
    Awaited(Box<setu_call::Progress>),
    /// A call is over; store this.
    Cdr(Box<Cdr>),
    /// The answer to the [`Input::Inquire`] of this token: none if the number is none of ours; or why there is none, for
    /// people.
    Found(u64, Result<Option<Box<Finding>>, String>),
    /// Send a message. Answered by [`Input::GraphReplied`].
    Message(Box<MessageAsk>),
    /// Keep something of a pair, before anything that is loaded later.
    Note(Box<Note>),
    /// Take back what was kept for a message, before anything that is loaded later: it was not taken.
    Withdrawn(Box<Note>),
    /// The answer to the [`Input::Request`] of this token.
    Answered(u64, Box<Answer>),
    /// Keep that a campaign, or a number, asks somebody for permission.
    Requested(Box<Requested>),
    /// Find out what is known of a pair; answered by [`Input::Loaded`].
    Load(Box<Load>),
    /// What the webhook's event of this key asked for is done or under way: it need not be told again after a restart.
    Acted(String),
    /// Somebody who proved nothing was turned away.
    Stranger(Side, Stranger),
    /// How many contacts are registered, after a change.
    Registrations(usize),
    /// The drain is complete.
    Drained,
}

/// Everything a shard must know of its peers.
#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// For the SIP endpoint.
    pub endpoint: EndpointConfig,
    /// For the call core.
    pub calls: CallConfig,
    /// Meta's SIP edge.
    pub meta: MetaPeer,
    /// The trunks, by name.
    pub trunks: BTreeMap<String, TrunkPeer>,
    /// How long a leg may stay silent.
    pub silence: std::time::Duration,
    /// What callers hear who are not with an agent.
    pub sounds: Sounds,
    /// The rules of each number, by number (E.164 with `+`), whether its calls ask the gate or not.
    pub gates: BTreeMap<String, GatePolicy>,
    /// Business numbers (E.164 with `+`) by Meta's id of them, where it is known.
    pub number_ids: BTreeMap<String, String>,
    /// Meta's ids of the accounts of business numbers (E.164 with `+`), where they are known: what is told of another account is
    /// not about such a number.
    pub accounts: BTreeMap<String, String>,
    /// How old what a webhook tells of a call's beginning may be for the call to be taken, but for the clocks' skew.
    pub connect_within: Duration,
    /// The hosts that a webhook may name to be dialled: names, or `*.` and a domain for all below it.
    pub sip_hosts: Vec<String>,
    /// The business numbers (E.164 with `+`) whose calls are signalled by Graph.
    pub graph: BTreeMap<String, GraphNumber>,
    /// What calls cost.
    pub prices: Prices,
    /// How messages of business numbers (E.164 with `+`) are sent, where they can be.
    pub messengers: BTreeMap<String, Messenger>,
}

/// What callers hear who are not with an agent. None is silence.
#[derive(Debug, Clone, Default)]
pub struct Sounds {
    /// While the agent holds.
    pub hold: Option<Arc<Clip>>,
    /// Before an agent answers.
    pub waiting: Option<Arc<Clip>>,
    /// An agent, while the customer rings.
    pub ringback: Option<Arc<Clip>>,
    /// Before talking to the agent, by business number (E.164 with `+`).
    pub announcements: BTreeMap<String, Arc<Clip>>,
}

/// Meta's SIP edge, and who we are to it.
#[derive(Debug, Clone)]
pub struct MetaPeer {
    /// The SIP domain: Request-URI host, name to verify, digest realm.
    pub domain: String,
    /// Its port.
    pub port: u16,
    /// Our host name as configured with Meta.
    pub hostname: String,
    /// The SIP password of each business number (E.164 with `+`).
    pub passwords: BTreeMap<String, Secret<String>>,
}

/// One PBX.
#[derive(Debug, Clone)]
pub struct TrunkPeer {
    /// Where its INVITEs go.
    pub hop: Hop,
}

/// One signalling shard.
pub struct Shard {
    endpoint: Endpoint,
    calls: Switchboard,
    settings: ShardSettings,
    entropy: Box<dyn Entropy>,
    legs: legs::LegTable,
    reaches: reach::Reaches,
    graph: graph::GraphLegs,
    told: told::ToldCalls,
    placing: place::Placing,
    requests: requests::Requests,
    contacts: BTreeMap<ContactId, Binding>,
    gate: gate::Gate,
    outputs: VecDeque<Output>,
}

impl Shard {
    /// Makes an idle shard. `entropy` gives a source of randomness to each core: the system's CSPRNG in a bridge,
    /// a seeded one in a simulation.
    pub fn new(settings: ShardSettings, mut entropy: impl FnMut() -> Box<dyn Entropy>, now: Now) -> Self {
        Self {
            endpoint: Endpoint::new(settings.endpoint.clone(), entropy(), now),
            calls: Switchboard::new(settings.calls.clone(), entropy()),
            settings,
            entropy: entropy(),
            legs: legs::LegTable::default(),
            reaches: reach::Reaches::new(),
            graph: graph::GraphLegs::default(),
            told: told::ToldCalls::default(),
            placing: place::Placing::default(),
            requests: requests::Requests::default(),
            contacts: BTreeMap::new(),
            gate: gate::Gate::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input and lets the cores talk until both are quiet.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Received(arrival, message) => self.endpoint.handle_received(&arrival, message, now),
            Input::Malformed(arrival, error) => self.endpoint.handle_malformed(&arrival, &error, now),
            Input::Bound(token, flow, remote) => self.endpoint.handle_bound(token, flow, remote, now),
            Input::SendFailed(token) => self.endpoint.handle_send_failed(token, now),
            Input::Returned(quote) => self.endpoint.handle_returned(&quote, now),
            Input::FlowClosed(flow) => self.endpoint.handle_flow_closed(flow, now),
            Input::Media(event) => {
                if let Some(event) = media::event(event) {
                    self.calls.handle(setu_call::Input::Media(event), now);
                }
            }
            Input::Record(event) => self.calls.handle(setu_call::Input::Record(event), now),
            Input::Heard(heard) => {
                let key = heard.key.clone();
                self.heard(*heard, now);
                self.pump(now);
                // Behind what follows from it, so that what is kept of that is never the later of the two.
                self.outputs.push_back(Output::Acted(key));
            }
            // A call that has begun here was told of its end as well.
            Input::Over(number, end) => drop(self.told.end(&number, *end)),
            Input::Inquire(inquiry) => self.inquired(*inquiry, now),
            Input::Request(token, request) => self.requested(token, *request, now),
            Input::Loaded(loaded) => self.loaded(*loaded, now),
            Input::GraphReplied(token, reply) => self.graph_replied(token, reply, now),
            Input::Drain => {
                self.give_up_all_awaited(now);
                self.calls.handle(setu_call::Input::Drain, now);
            }
            Input::Reload(settings) => {
                self.endpoint.reload_access(settings.endpoint.access.clone(), now);
                self.calls.handle(setu_call::Input::Configure(Box::new(settings.calls.clone())), now);
                self.settings = *settings;
            }
            Input::Recovered(_) | Input::Stop => {}
        }
        self.pump(now);
    }

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.endpoint.handle_timeout(now);
        self.calls.handle_timeout(now);
        self.expire_requests(now);
        self.pump(now);
    }

    /// Takes the next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (sip, calls) = (self.endpoint.poll_timeout(), self.calls.poll_timeout());
        [sip.map(|(at, _)| at), calls.map(|(at, _)| at), self.requests.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The number of live calls.
    pub fn calls(&self) -> usize {
        self.calls.active()
    }

    /// The SIP counters.
    pub fn sip_counters(&self) -> setu_sip::Counters {
        self.endpoint.counters()
    }

    /// How much is in the SIP endpoint's tables.
    pub fn sip_sizes(&self) -> setu_sip::Sizes {
        self.endpoint.sizes()
    }

    /// Says what is left over when no call is alive; empty in a healthy shard.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        if let Err(what) = self.calls.check_idle() {
            left.push(what);
        }
        if !self.legs.is_empty() {
            left.push(format!("{} legs are still mapped to sessions", self.legs.len()));
        }
        if !self.graph.is_empty() {
            left.push("legs of Graph are left".to_owned());
        }
        if !self.requests.is_empty() {
            left.push("permission requests are under way".to_owned());
        }
        if !self.reaches.is_empty() {
            left.push(format!("{} customers still wait to be reached", self.reaches.len()));
        }
        left
    }

    fn pump(&mut self, now: Now) {
        loop {
            if let Some(output) = self.endpoint.poll_output() {
                self.on_endpoint(output, now);
            } else if let Some(output) = self.calls.poll_output() {
                self.on_calls(output, now);
            } else {
                break;
            }
        }
        self.tell_placed();
    }

    fn on_endpoint(&mut self, output: setu_sip::Output, now: Now) {
        use setu_sip::Output as Sip;
        match output {
            Sip::Send(transmit) => self.outputs.push_back(Output::Send(transmit)),
            Sip::Keep(flow) => self.outputs.push_back(Output::Keep(flow)),
            Sip::Close(flow) => self.outputs.push_back(Output::Close(flow)),
            Sip::Event(event) => self.on_session(*event, now),
        }
    }

    fn on_calls(&mut self, output: setu_call::Output, now: Now) {
        use setu_call::Output as Call;
        match output {
            Call::Leg(command) => self.command_leg(command, now),
            Call::Media(command) => match media::command(command, &self.settings) {
                Ok(command) => self.outputs.push_back(Output::Media(command)),
                // An announcement that a reload took away is over at once.
                Err(event) => self.calls.handle(setu_call::Input::Media(event), now),
            },
            Call::Record(command) => self.outputs.push_back(Output::Record(command)),
            Call::Ask(question) => self.asked(question, now),
            Call::Progress(progress) => self.outputs.push_back(Output::Progress(progress)),
            Call::Cdr(mut cdr) => {
                gate::explain(&mut cdr);
                cdr.cost = self.settings.prices.price(&cdr);
                self.tell_not_placed(&cdr);
                self.outputs.push_back(Output::Cdr(cdr));
            }
            Call::Drained => self.outputs.push_back(Output::Drained),
        }
    }
}
