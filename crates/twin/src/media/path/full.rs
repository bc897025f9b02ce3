//! Full ICE, by `rtc-ice`: it checks, and as the controlling end it nominates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_ice::agent::Agent;
use rtc_ice::agent::agent_config::AgentConfig;
use rtc_ice::candidate::candidate_host::CandidateHostConfig;
use rtc_ice::candidate::{Candidate, CandidateConfig, CandidateType};
use rtc_ice::crypto::providers::RingProvider;
use rtc_shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use sansio::Protocol as _;

use super::report::PathReport;
use super::stun::Credentials;

pub(super) struct FullIce {
    agent: Agent,
    fragment: String,
    due: Option<Instant>,
}

/// How often an unanswered pair is checked (RFC 8445 section 14.2 has 50 ms between checks).
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl FullIce {
    pub(super) fn new(ours: &Credentials, local: SocketAddr, now: Instant) -> Option<Self> {
        let config = AgentConfig {
            local_ufrag: ours.fragment.clone(),
            local_pwd: ours.password.clone(),
            candidate_types: vec![CandidateType::Host],
            check_interval: CHECK_INTERVAL,
            ..AgentConfig::default()
        };
        let mut agent = Agent::new(now, Arc::new(config), Arc::new(RingProvider::new())).ok()?;
        agent.add_local_candidate(host(local)?).ok()?;
        Some(Self { agent, fragment: ours.fragment.clone(), due: None })
    }

    pub(super) fn fragment(&self) -> &str {
        &self.fragment
    }

    pub(super) fn connect(
        &mut self,
        theirs: &Credentials,
        candidates: &[SocketAddr],
        controlling: bool,
        now: Instant,
    ) {
        let (fragment, password) = (theirs.fragment.clone(), theirs.password.clone());
        for candidate in candidates.iter().filter_map(|at| host(*at)) {
            // A candidate of the other address family has no pair and does no harm.
            let _ = self.agent.add_remote_candidate(candidate);
        }
        if let Err(error) = self.agent.start_connectivity_checks(now, controlling, fragment, password) {
            tracing::debug!(%error, "the checks do not begin");
        }
        self.handle_timeout(now);
    }

    pub(super) fn handle_datagram(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        let transport = TransportContext {
            local_addr: local,
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let message = TaggedBytesMut { now, transport, message: BytesMut::from(bytes) };
        if let Err(error) = self.agent.handle_read(message) {
            tracing::debug!(%error, %from, "a check is not taken");
        }
        self.due = self.agent.poll_timeout();
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.agent.poll_timeout().is_some_and(|at| at <= now)
            && let Err(error) = self.agent.handle_timeout(now)
        {
            tracing::debug!(%error, "ICE");
        }
        self.due = self.agent.poll_timeout();
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn poll_transmit(&mut self) -> Option<(SocketAddr, SocketAddr, Bytes)> {
        let sent = self.agent.poll_write()?;
        Some((sent.transport.local_addr, sent.transport.peer_addr, sent.message.freeze()))
    }

    /// The pair in use.
    pub(super) fn selected(&mut self, report: &mut PathReport) -> Option<(SocketAddr, SocketAddr)> {
        while self.agent.poll_event().is_some() {}
        let (local, remote) = self.agent.get_selected_candidate_pair()?;
        report.peer_reflexive |= remote.candidate_type() == CandidateType::PeerReflexive;
        Some((local.addr(), remote.addr()))
    }
}

fn host(at: SocketAddr) -> Option<Candidate> {
    let base_config = CandidateConfig {
        network: "udp".to_owned(),
        address: at.ip().to_string(),
        port: at.port(),
        component: 1,
        ..CandidateConfig::default()
    };
    CandidateHostConfig { base_config, ..CandidateHostConfig::default() }.new_candidate_host().ok()
}
