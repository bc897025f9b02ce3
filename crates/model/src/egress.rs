//! Which addresses the bridge may send to: one policy for SIP, media and HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Decides, after a name was resolved and before anything is sent, whether an address may be contacted.
///
/// A pure function of the address: names, redirects and DNS answers that change between check and use cannot get
/// around it, as long as the caller connects to the very address it asked about. It serves SIP hops, RTP addresses
/// from session descriptions, and HTTP alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    allow: Vec<IpNet>,
}

impl EgressPolicy {
    /// Allows public unicast addresses, and loopback, private and special ones that `allow` covers.
    pub const fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Checks one address. IPv4 addresses in the clothes of IPv6 (mapped, compatible, NAT64, 6to4) are judged as
    /// the IPv4 address they lead to.
    ///
    /// # Errors
    /// Says why the address must not be contacted.
    pub fn check(&self, address: IpAddr) -> Result<(), EgressRefusal> {
        let judged = unwrap(address);
        match class(judged) {
            Class::Public => Ok(()),
            Class::Never(why) => Err(EgressRefusal { address, why, allowable: false }),
            Class::Asked(_) if self.covers(judged) || self.covers(address) => Ok(()),
            Class::Asked(why) => Err(EgressRefusal { address, why, allowable: true }),
        }
    }

    fn covers(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|network| network.contains(&address))
    }
}

/// An address the bridge must not contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {why}{}", if *allowable { "; egress.allow does not cover it" } else { ", which is never contacted" })]
pub struct EgressRefusal {
    /// The address as it was asked about.
    pub address: IpAddr,
    /// What kind of address it is.
    pub why: &'static str,
    /// Whether an entry in `egress.allow` would let it pass.
    pub allowable: bool,
}

enum Class {
    Public,
    /// Only where `egress.allow` covers it.
    Asked(&'static str),
    /// Whatever is configured.
    Never(&'static str),
}

/// Follows the forms in which an IPv6 address leads to an IPv4 host.
fn unwrap(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    match v6.segments() {
        // The unspecified address and loopback are IPv6 addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        // ::a.b.c.d and ::ffff:a.b.c.d (RFC 4291 section 2.5.5), ::ffff:0:a.b.c.d (RFC 2765),
        // 64:ff9b::a.b.c.d (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 2002:a.b.c.d:: (RFC 3056).
        | [0x2002, high, low, ..] => IpAddr::V4(v4(high, low)),
        _ => address,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

fn class(address: IpAddr) -> Class {
    if METADATA.contains(&address) {
        return Class::Never("a cloud's metadata service");
    }
    match address {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

/// The IPv4 special-purpose registry (RFC 6890).
fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [0, ..] => Class::Never("unspecified"),
        [169, 254, ..] => Class::Never("link-local"),
        [224..=239, ..] => Class::Never("multicast"),
        [240..=255, ..] => Class::Never("reserved or broadcast"),
        [127, ..] => Class::Asked("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Asked("private"),
        [100, 64..=127, ..] => Class::Asked("shared with a carrier's NAT (RFC 6598)"),
        [192, 0, 0, _] | [198, 18..=19, ..] | [192, 88, 99, _] => Class::Asked("for special purposes"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Asked("for documentation"),
        _ => Class::Public,
    }
}

/// The IPv6 special-purpose registry (RFC 6890). Only 2000::/3 is given out to hosts.
fn class_v6(address: Ipv6Addr) -> Class {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Never("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Asked("loopback"),
        [0xfe80..=0xfebf, ..] => Class::Never("link-local"),
        [0xff00..=0xffff, ..] => Class::Never("multicast"),
        [0xfc00..=0xfdff, ..] => Class::Asked("private (unique local)"),
        [0xfec0..=0xfeff, ..] => Class::Asked("private (site-local)"),
        // Where the IPv4 address sits in this prefix is the operator's choice, so it cannot be judged.
        [0x64, 0xff9b, 1, ..] => Class::Asked("behind a local NAT64 (RFC 8215)"),
        [0x2001, 0..=0x01ff, ..] => Class::Asked("for special purposes"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Asked("for documentation"),
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Never("outside the global unicast space"),
    }
}

/// Services that give a machine's keys to whoever asks from it, at addresses that are not link-local.
const METADATA: [IpAddr; 5] = [
    // Amazon EC2 over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    // Google Compute Engine over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure's wire server.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: &[&str], address: &str) -> Result<(), EgressRefusal> {
        EgressPolicy::new(allow.iter().map(|net| net.parse().unwrap()).collect())
            .check(address.parse().unwrap())
    }

    const PUBLIC: &[&str] = &[
        "157.240.19.54",
        "8.8.8.8",
        "172.15.0.1",
        "172.32.0.1",
        "100.63.0.1",
        "2a03:2880:f273:1cb::1",
        "57.144.43.49",
        "::ffff:157.240.19.54",
        "64:ff9b::9df0:1336",
        "2002:9df0:1336::1",
    ];

    const ASKED: &[&str] = &[
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "192.0.2.1",
        "203.0.113.9",
        "::1",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",
        "2001:db8::1",
        "2001:0:4136:e378::1",
        "64:ff9b:1::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.1.2.3",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "2002:a00:1::1",
        "64:ff9b::a00:1",
        "::10.0.0.1",
    ];

    const NEVER: &[&str] = &[
        "169.254.169.254",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "100.100.100.200",
        "::ffff:100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "febf::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "239.1.1.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "100::1",
        "4000::1",
    ];

    #[test]
    fn public_addresses_pass_without_configuration() {
        for address in PUBLIC {
            assert_eq!(check(&[], address), Ok(()), "{address}");
        }
    }

    #[test]
    fn loopback_and_private_networks_in_any_clothes_need_to_be_allowed() {
        for address in ASKED {
            let refusal = check(&[], address).unwrap_err();
            assert!(refusal.allowable, "{refusal}");
            assert_eq!(check(&["0.0.0.0/0", "::/0"], address), Ok(()), "{address}");
        }
    }

    #[test]
    fn link_local_metadata_and_the_like_are_refused_whatever_is_allowed() {
        for address in NEVER {
            for allow in [&[][..], &["0.0.0.0/0", "::/0"]] {
                let refusal = check(allow, address).unwrap_err();
                assert!(!refusal.allowable, "{refusal}");
            }
        }
    }

    #[test]
    fn an_allowed_network_covers_the_mapped_form_of_its_addresses_and_nothing_else() {
        let allow = &["10.20.0.0/16"];
        assert_eq!(check(allow, "10.20.3.4"), Ok(()));
        assert_eq!(check(allow, "::ffff:10.20.3.4"), Ok(()));
        assert!(check(allow, "10.21.0.1").is_err());
        assert!(check(allow, "127.0.0.1").is_err());
        assert!(check(allow, "::1").is_err());
        assert_eq!(check(&["127.0.0.1/32"], "127.0.0.1"), Ok(()));
        assert!(check(&["127.0.0.1/32"], "127.0.0.2").is_err());
        assert_eq!(check(&["fd12::/16"], "fd12::1"), Ok(()));
    }

    #[test]
    fn the_refusal_tells_what_to_do() {
        let asked = check(&[], "10.0.0.1").unwrap_err().to_string();
        assert_eq!(asked, "10.0.0.1 is private; egress.allow does not cover it");
        let never = check(&[], "169.254.169.254").unwrap_err().to_string();
        assert_eq!(never, "169.254.169.254 is link-local, which is never contacted");
    }
}
