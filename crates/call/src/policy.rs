//! Which session policy a party gets.

use setu_sdp::{Policy, SrtpPolicy, SrtpSuite};

use crate::call::Party;
use crate::config::{CallConfig, Srtp};
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
            let wanted = config.agents.get(name).map(|agent| agent.srtp).unwrap_or_default();
            let srtp = srtp(wanted);
            let crypto_under_avp = matches!(srtp, SrtpPolicy::Optional(_));
            Policy { srtp, crypto_under_avp, ..Policy::softphone() }
        }
        Party::Trunk(name) => {
            Policy::trunk(srtp(config.trunks.get(name).map(|trunk| trunk.srtp).unwrap_or_default()))
        }
    }
}
