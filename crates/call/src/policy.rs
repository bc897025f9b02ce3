//! Which session policy a party gets.

use setu_sdp::{
    AudioCodec, DtlsPolicy, DtlsRole, Fingerprint, IceMode, Keying, Policy, SrtpPolicy, SrtpSuite,
};

use crate::call::Party;
use crate::config::{CallConfig, Keys, MetaSrtp, Srtp};
use crate::ports::{PeerKind, PortUse};

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

/// The port that a leg with a party needs. Only of a PBX can be known that it sends from where it signals, and from
/// another port in each call; and with ICE the address is found on the way.
pub(crate) fn port_use(party: &Party, role: Role, config: &CallConfig) -> PortUse {
    let Party::Trunk(name) = party else { return PortUse::Own };
    let Some(trunk) = config.trunks.get(name) else { return PortUse::Own };
    match keying(trunk.srtp, role, config) {
        Keying::Sdes => trunk.port,
        Keying::Dtls(_) | Keying::Either(_) => PortUse::Own,
    }
}

/// The policy of descriptions exchanged with a party in a call of a business number.
pub(crate) fn policy(party: &Party, number: &str, role: Role, config: &CallConfig) -> Policy {
    let suites = || vec![SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes128Gcm, SrtpSuite::AeadAes256Gcm];
    let srtp = |srtp: Srtp| match (srtp, role) {
        (Srtp::Off, _) | (Srtp::BySignalling, Role::Offer { secure: Some(false) }) => SrtpPolicy::Off,
        (Srtp::Required | Srtp::Dtls, _) | (Srtp::BySignalling, Role::Offer { secure: Some(true) }) => {
            SrtpPolicy::Required(suites())
        }
        (Srtp::Optional, _) | (Srtp::BySignalling, Role::Answer | Role::Offer { secure: None }) => {
            SrtpPolicy::Optional(suites())
        }
    };
    match party {
        Party::Customer => {
            let srtp = config.numbers.get(number).map(|number| number.srtp).unwrap_or_default();
            Policy::meta().with_keying(match (role, srtp) {
                (Role::Offer { .. }, MetaSrtp::Sdes) => Keying::Sdes,
                (Role::Offer { .. }, MetaSrtp::Dtls) => Keying::Dtls(meta_dtls(config)),
                // Whatever is configured with Meta, and however it got there.
                (Role::Answer, _) => Keying::Either(meta_dtls(config)),
            })
        }
        Party::Agent(name) => {
            let agent = config.agents.get(name);
            let wanted = agent.map(|agent| agent.srtp).unwrap_or_default();
            let srtp = srtp(wanted);
            let crypto_under_avp = matches!(srtp, SrtpPolicy::Optional(_));
            let keying = keying(wanted, role, config);
            let policy = Policy { srtp, crypto_under_avp, keying, ..Policy::softphone() };
            let policy = with_codecs(policy, agent.map_or(&[], |agent| &agent.codecs));
            with_keys(policy, agent.map(|agent| agent.keys).unwrap_or_default())
        }
        Party::Trunk(name) => {
            let trunk = config.trunks.get(name);
            let wanted = trunk.map(|trunk| trunk.srtp).unwrap_or_default();
            let policy = Policy::trunk(srtp(wanted)).with_keying(keying(wanted, role, config));
            let policy = with_codecs(policy, trunk.map_or(&[], |trunk| &trunk.codecs));
            with_keys(policy, trunk.map(|trunk| trunk.keys).unwrap_or_default())
        }
    }
}

/// Where the keys of a leg on the agents' side come from.
fn keying(wanted: Srtp, role: Role, config: &CallConfig) -> Keying {
    // A public address answers checks; it need not send any.
    let dtls = DtlsPolicy { fingerprint: fingerprint(config), role: DtlsRole::Passive, ice: IceMode::Lite };
    match (wanted, role) {
        (Srtp::Dtls, _) => Keying::Dtls(dtls),
        (Srtp::Optional | Srtp::BySignalling, Role::Answer) => Keying::Either(dtls),
        (Srtp::Optional | Srtp::BySignalling, Role::Offer { .. }) | (Srtp::Required | Srtp::Off, _) => {
            Keying::Sdes
        }
    }
}

/// Meta is lite, and the server.
fn meta_dtls(config: &CallConfig) -> DtlsPolicy {
    DtlsPolicy { fingerprint: fingerprint(config), role: DtlsRole::Active, ice: IceMode::Full }
}

/// Without a certificate there is no handshake that fits this.
fn fingerprint(config: &CallConfig) -> Fingerprint {
    config.dtls.unwrap_or(Fingerprint([0; 32]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrunkConfig;

    #[test]
    fn legs_share_a_port_only_where_their_peers_addresses_are_sure() {
        let mut config = CallConfig::default();
        let pbx = Party::Trunk("pbx".into());
        let (offer, answer) = (Role::Offer { secure: None }, Role::Answer);
        for (srtp, offered, answered) in [
            (Srtp::Off, PortUse::Shared, PortUse::Shared),
            (Srtp::Required, PortUse::Shared, PortUse::Shared),
            // What it offers may bring ICE.
            (Srtp::BySignalling, PortUse::Shared, PortUse::Own),
            (Srtp::Optional, PortUse::Shared, PortUse::Own),
            (Srtp::Dtls, PortUse::Own, PortUse::Own),
        ] {
            config.trunks.insert("pbx".into(), TrunkConfig { srtp, ..TrunkConfig::default() });
            assert_eq!(port_use(&pbx, offer, &config), PortUse::Own, "not configured");
            config
                .trunks
                .insert("pbx".into(), TrunkConfig { srtp, port: PortUse::Shared, ..TrunkConfig::default() });
            assert_eq!(port_use(&pbx, offer, &config), offered, "{srtp:?}");
            assert_eq!(port_use(&pbx, answer, &config), answered, "{srtp:?}");
        }
        for party in [Party::Customer, Party::Agent("alice".into())] {
            assert_eq!(port_use(&party, offer, &config), PortUse::Own);
        }
    }
}
