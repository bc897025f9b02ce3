//! Where media may be sent: a session description is a peer's word, and may point anywhere.

use std::net::{IpAddr, Ipv6Addr};

/// The destinations allowed for media (security decision 5): public addresses always, loopback and private
/// networks where the operator lists them, link-local ones (cloud metadata services among them) never.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    /// Networks that are allowed although they are not public: address and prefix length.
    pub allow: Vec<(IpAddr, u8)>,
}

impl Egress {
    /// Says whether media may be sent to `to`. An unspecified address stands for a peer on hold: nothing is sent.
    pub fn permits(&self, to: IpAddr) -> bool {
        let to = to.to_canonical();
        if to.is_unspecified() {
            return true;
        }
        if never(to) {
            return false;
        }
        !is_inner(to) || self.allow.iter().any(|(network, prefix)| covers(*network, *prefix, to))
    }
}

fn never(to: IpAddr) -> bool {
    let link_local = match to {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || matches!(v4.octets(), [0, ..]),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6 == AWS_METADATA_V6,
    };
    link_local || to.is_multicast()
}

fn is_inner(to: IpAddr) -> bool {
    match to {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // RFC 6598 shared address space; RFC 2544 benchmarking; RFC 1112 reserved.
            v4.is_loopback()
                || v4.is_private()
                || (a == 100 && b & 0xc0 == 64)
                || (a == 198 && b & 0xfe == 18)
                || a >= 240
        }
        IpAddr::V6(v6) => {
            // An IPv4 address behind NAT64 (RFC 6052), 6to4 or Teredo would slip through the rules above.
            let [first, second, ..] = v6.segments();
            let translated =
                (first == 0x64 && second == 0xff9b) || first == 0x2002 || (first == 0x2001 && second == 0);
            v6.is_loopback() || v6.is_unique_local() || translated || first == 0
        }
    }
}

/// The metadata service of AWS over IPv6; a unique local address that no `allow` may open.
const AWS_METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn covers(network: IpAddr, prefix: u8, to: IpAddr) -> bool {
    match (network, to) {
        (IpAddr::V4(network), IpAddr::V4(to)) => {
            let differ = u32::from(network) ^ u32::from(to);
            prefix <= 32 && differ.checked_shr(32 - u32::from(prefix)).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(to)) => {
            let differ = u128::from(network) ^ u128::from(to);
            prefix <= 128 && differ.checked_shr(128 - u32::from(prefix)).unwrap_or(0) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(allow: &[(&str, u8)], to: &str) -> bool {
        let allow = allow.iter().map(|(network, prefix)| (network.parse().unwrap(), *prefix)).collect();
        Egress { allow }.permits(to.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_always_allowed_and_inner_ones_only_where_listed() {
        assert!(permits(&[], "57.144.43.49"));
        assert!(permits(&[], "2a03:2880:f312:131:face:b00c:0:699c"));
        for inner in
            ["10.1.2.3", "127.0.0.1", "192.168.0.9", "100.64.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"]
        {
            assert!(!permits(&[], inner), "{inner}");
        }
        assert!(permits(&[("10.0.0.0", 8)], "10.1.2.3"));
        assert!(permits(&[("10.0.0.0", 8)], "::ffff:10.1.2.3"));
        assert!(!permits(&[("10.0.0.0", 16)], "10.1.2.3"));
        assert!(permits(&[("127.0.0.1", 32)], "127.0.0.1"));
        assert!(!permits(&[("127.0.0.1", 32)], "127.0.0.2"));
        assert!(permits(&[("fd12::", 16)], "fd12::1"));
        assert!(permits(&[("0.0.0.0", 0)], "10.1.2.3"));
        assert!(!permits(&[("10.0.0.0", 33)], "192.168.0.1"));
    }

    #[test]
    fn metadata_services_are_never_reached_whatever_is_listed() {
        let all = [("0.0.0.0", 0), ("::", 0)];
        for never in ["169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "224.0.0.1"] {
            assert!(!permits(&all, never), "{never}");
        }
    }

    #[test]
    fn translated_addresses_do_not_smuggle_inner_ones() {
        for smuggled in ["64:ff9b::a00:1", "2002:0a00:0001::1", "::10.0.0.1"] {
            assert!(!permits(&[], smuggled), "{smuggled}");
        }
    }
}
