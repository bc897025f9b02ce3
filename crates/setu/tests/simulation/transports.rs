//! The bridge's SIP transports in virtual time: flows over the seeded network instead of sockets.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use setu::driver::Input;
use setu_model::Side;
use setu_sip::{Arrival, FlowId, Frame, Framer, Hop, Message, Target, Transmit, Transport};
use setu_twin::{ConnId, Output, StreamFacts, Transport as Wire};

/// Flows, and connections that are on their way.
pub(crate) struct Transports {
    public: IpAddr,
    /// Where the agents' UDP listener is.
    udp: SocketAddr,
    flows: BTreeMap<FlowId, Flow>,
    opening: BTreeMap<ConnId, (Hop, Vec<Transmit>)>,
    next_flow: u64,
    next_conn: u64,
}

struct Flow {
    arrival: Arrival,
    /// The host and port that were dialled.
    dialled: Option<(String, Option<u16>)>,
    stream: Option<(ConnId, Framer)>,
}

/// What a look at the network brought, and what must go there.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) inputs: VecDeque<Input>,
    pub(crate) outputs: VecDeque<Output>,
}

impl Transports {
    pub(crate) fn new(public: IpAddr, udp: SocketAddr) -> Self {
        Self { public, udp, flows: BTreeMap::new(), opening: BTreeMap::new(), next_flow: 0, next_conn: 0 }
    }

    pub(crate) fn send(&mut self, transmit: Transmit, turn: &mut Turn) {
        match transmit.target.clone() {
            Target::Flow(flow) => match self.flows.contains_key(&flow) {
                true => self.write(flow, &transmit.message, turn),
                false => turn.inputs.push_back(Input::SendFailed(transmit.token)),
            },
            Target::FlowOr(flow, _) if self.flows.contains_key(&flow) => {
                self.write(flow, &transmit.message, turn);
            }
            Target::FlowOr(_, hop) | Target::Hop(hop) => self.send_to_hop(hop, transmit, turn),
        }
    }

    pub(crate) fn close(&mut self, flow: FlowId, turn: &mut Turn) {
        if let Some(Flow { stream: Some((conn, _)), .. }) = self.flows.remove(&flow) {
            turn.outputs.push_back(Output::CloseStream { conn });
            turn.inputs.push_back(Input::FlowClosed(flow));
        }
    }

    pub(crate) fn opened(&mut self, conn: ConnId, facts: &StreamFacts, turn: &mut Turn) {
        let opening = self.opening.remove(&conn);
        let side = match &opening {
            Some((hop, _)) => hop.side,
            None if facts.local.ip() == self.public => Side::Meta,
            None => Side::Agents,
        };
        let transport = match facts.transport {
            Wire::Udp => Transport::Udp,
            Wire::Tcp => Transport::Tcp,
            Wire::Tls => Transport::Tls,
        };
        let verified = opening.iter().map(|(hop, _)| hop.host.clone()).collect();
        let framer = if opening.is_some() { Framer::opened() } else { Framer::accepted() };
        let flow = self.next_flow();
        let arrival = Arrival {
            flow,
            transport,
            side,
            local: facts.local,
            remote: facts.remote,
            outbound: opening.is_some(),
            verified,
        };
        let dialled = opening.as_ref().map(|(hop, _)| (hop.host.clone(), hop.port));
        self.flows.insert(flow, Flow { arrival, dialled, stream: Some((conn, framer)) });
        for transmit in opening.into_iter().flat_map(|(_, waiting)| waiting) {
            turn.inputs.push_back(Input::Bound(transmit.token, flow, facts.remote));
            self.write(flow, &transmit.message, turn);
        }
    }

    pub(crate) fn bytes(&mut self, conn: ConnId, bytes: &[u8], turn: &mut Turn) {
        let Some((&id, flow)) = self.flows.iter_mut().find(|(_, flow)| flow.is_on(conn)) else { return };
        let Some((_, framer)) = &mut flow.stream else { return };
        framer.push(bytes);
        let mut broken = false;
        while let Some(frame) = framer.poll() {
            match frame {
                Ok(Frame::Message(message)) => {
                    turn.inputs.push_back(Input::Received(flow.arrival.clone(), message));
                }
                Ok(Frame::Ping) => {
                    turn.outputs.push_back(Output::SendStream { conn, bytes: Bytes::from_static(b"\r\n") });
                }
                Ok(Frame::Pong) => {}
                Err(error) => {
                    turn.inputs.push_back(Input::Malformed(flow.arrival.clone(), Box::new(error)));
                    broken = true;
                    break;
                }
            }
        }
        if broken {
            self.close(id, turn);
        }
    }

    pub(crate) fn closed(&mut self, conn: ConnId, turn: &mut Turn) {
        for transmit in self.opening.remove(&conn).into_iter().flat_map(|(_, waiting)| waiting) {
            turn.inputs.push_back(Input::SendFailed(transmit.token));
        }
        let gone = self.flows.iter().find(|(_, flow)| flow.is_on(conn)).map(|(id, _)| *id);
        if let Some(flow) = gone {
            self.flows.remove(&flow);
            turn.inputs.push_back(Input::FlowClosed(flow));
        }
    }

    pub(crate) fn datagram(&mut self, from: SocketAddr, bytes: &[u8], turn: &mut Turn) {
        let flow = self.udp_flow(from);
        let Some(flow) = self.flows.get(&flow) else { return };
        turn.inputs.push_back(match Message::parse(Bytes::copy_from_slice(bytes)) {
            Ok(message) => Input::Received(flow.arrival.clone(), message),
            Err(error) => Input::Malformed(flow.arrival.clone(), Box::new(error)),
        });
    }

    fn send_to_hop(&mut self, hop: Hop, transmit: Transmit, turn: &mut Turn) {
        if !transmit.avoid.is_empty() {
            // Every name of the simulation has one address.
            return turn.inputs.push_back(Input::SendFailed(transmit.token));
        }
        let known = match (hop.transport, hop.host.parse()) {
            (Transport::Udp, Ok(ip)) => {
                let remote = SocketAddr::new(ip, hop.port.unwrap_or(hop.transport.default_port()));
                Some(self.udp_flow(remote))
            }
            // Nobody dials a browser.
            (Transport::Udp, Err(_)) | (Transport::Ws | Transport::Wss, _) => {
                return turn.inputs.push_back(Input::SendFailed(transmit.token));
            }
            (Transport::Tcp | Transport::Tls, _) => {
                self.flows.iter().find(|(_, flow)| flow.leads_to(&hop)).map(|(id, _)| *id)
            }
        };
        if let Some(flow) = known {
            let Some(remote) = self.flows.get(&flow).map(|flow| flow.arrival.remote) else { return };
            turn.inputs.push_back(Input::Bound(transmit.token, flow, remote));
            return self.write(flow, &transmit.message, turn);
        }
        if let Some((_, waiting)) = self.opening.values_mut().find(|(known, _)| *known == hop) {
            return waiting.push(transmit);
        }
        self.next_conn += 1;
        let conn = ConnId::dialled(self.next_conn);
        turn.outputs.push_back(Output::Connect {
            conn,
            transport: if hop.transport == Transport::Tls { Wire::Tls } else { Wire::Tcp },
            host: hop.host.clone(),
            port: hop.port.unwrap_or(hop.transport.default_port()),
            alpn: Vec::new(),
        });
        self.opening.insert(conn, (hop, vec![transmit]));
    }

    fn write(&self, flow: FlowId, message: &Message, turn: &mut Turn) {
        let Some(flow) = self.flows.get(&flow) else { return };
        let bytes = message.as_bytes().clone();
        turn.outputs.push_back(match &flow.stream {
            Some((conn, _)) => Output::SendStream { conn: *conn, bytes },
            None => Output::SendUdp { from: flow.arrival.local, to: flow.arrival.remote, bytes },
        });
    }

    /// The flow of a peer of the UDP listener. It never ends.
    fn udp_flow(&mut self, remote: SocketAddr) -> FlowId {
        let known = self.flows.iter().find(|(_, f)| f.stream.is_none() && f.arrival.remote == remote);
        if let Some((flow, _)) = known {
            return *flow;
        }
        let flow = self.next_flow();
        let arrival = Arrival {
            flow,
            transport: Transport::Udp,
            side: Side::Agents,
            local: self.udp,
            remote,
            outbound: false,
            verified: [].into(),
        };
        self.flows.insert(flow, Flow { arrival, dialled: None, stream: None });
        flow
    }

    fn next_flow(&mut self) -> FlowId {
        self.next_flow += 1;
        FlowId(self.next_flow)
    }
}

impl Flow {
    fn is_on(&self, conn: ConnId) -> bool {
        self.stream.as_ref().is_some_and(|(ours, _)| *ours == conn)
    }

    fn leads_to(&self, hop: &Hop) -> bool {
        let to = (&self.arrival.side, &self.arrival.transport);
        to == (&hop.side, &hop.transport)
            && self.dialled.as_ref().is_some_and(|(host, port)| (host, port) == (&hop.host, &hop.port))
    }
}
