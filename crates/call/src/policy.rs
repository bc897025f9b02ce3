//! Which session policy a party gets.

use setu_sdp::{AudioCodec, Policy, SrtpPolicy, SrtpSuite};

use crate::call::Party;
use crate::config::{CallConfig, Keys, Srtp};
use crate::ports::PeerKind;

/// Who speaks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// We offer, over signalling that is encrypted or not, or of which that is not known.
    Offer { secure: Option<bool> },
    /// We answer.
    Answer,
}

/// The kind of media peer a party is.
pub(crate) const fn kind(party: &Party) -> PeerKind {
    match party {
        Party::Customer => PeerKind::Meta,
        Party::Agent(_) => PeerKind::Softphone,
        Party::Trunk(_) => PeerKind::Trunk,
    }
}

/// The policy of descriptions exchanged with a party.
pub(crate) fn policy(party: &Party, role: Role, config: &CallConfig) -> Policy {
    let suites = || vec![SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes128Gcm];
    let srtp = |srtp: Srtp| match (srtp, role) {
        (Srtp::Off, _) | (Srtp::BySignalling, Role::Offer { secure: Some(false) }) => SrtpPolicy::Off,
        (Srtp::Required, _) | (Srtp::BySignalling, Role::Offer { secure: Some(true) }) => {
            SrtpPolicy::Required(suites())
        }
        (Srtp::Optional, _) | (Srtp::BySignalling, Role::Answer | Role::Offer { secure: None }) => {
            SrtpPolicy::Optional(suites())
        }
    };
    match party {
        Party::Customer => Policy::meta(),
        Party::Agent(name) => {
            let agent = config.agents.get(name);
            let srtp = srtp(agent.map(|agent| agent.srtp).unwrap_or_default());
            let crypto_under_avp = matches!(srtp, SrtpPolicy::Optional(_));
            let policy = Policy { srtp, crypto_under_avp, ..Policy::softphone() };
            let policy = with_codecs(policy, agent.map_or(&[], |agent| &agent.codecs));
            with_keys(policy, agent.map(|agent| agent.keys).unwrap_or_default())
        }
        Party::Trunk(name) => {
            let trunk = config.trunks.get(name);
            let policy = Policy::trunk(srtp(trunk.map(|trunk| trunk.srtp).unwrap_or_default()));
            let policy = with_codecs(policy, trunk.map_or(&[], |trunk| &trunk.codecs));
            with_keys(policy, trunk.map(|trunk| trunk.keys).unwrap_or_default())
        }
    }
}

/// The operator's codecs in the operator's order; none listed leaves those of the kind of peer.
fn with_codecs(policy: Policy, codecs: &[AudioCodec]) -> Policy {
    if codecs.is_empty() { policy } else { Policy { audio: codecs.to_vec(), ..policy } }
}

/// A peer that tells of keys by INFO gets no telephone events: it would send both.
fn with_keys(policy: Policy, keys: Keys) -> Policy {
    match keys {
        Keys::Events => policy,
        Keys::Info => Policy { telephone_event: Vec::new(), ..policy },
    }
}
