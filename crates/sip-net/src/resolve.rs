//! From a hop to addresses (RFC 3263 section 4): pinned names, then NAPTR, SRV, A and AAAA.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use setu_model::Entropy;
use setu_sip::{Hop, Transport};
use tokio::time::timeout;

use crate::config::{PinnedHosts, canonical_name};

/// Turns hops into addresses.
pub(crate) struct Resolver {
    pinned: PinnedHosts,
    dns: Option<TokioResolver>,
    within: Duration,
    most: usize,
}

impl Resolver {
    /// Asks `servers`, or without one those of the system's DNS configuration. Where that is missing too, only pinned
    /// names and literal addresses resolve.
    pub(crate) fn new(pinned: PinnedHosts, servers: &[SocketAddr], within: Duration, most: usize) -> Self {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().map(|server| name_server(*server)).collect();
            let config = ResolverConfig::from_name_servers(servers);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let built = builder.and_then(|mut builder| {
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            builder.build()
        });
        let dns = built
            .inspect_err(|fault| tracing::warn!(%fault, "no DNS: only pinned names and addresses resolve"))
            .ok();
        Self { pinned, dns, within, most }
    }

    /// Returns the addresses of `hop` in the order to try them, at least one.
    pub(crate) async fn resolve(&self, hop: &Hop) -> Result<Vec<SocketAddr>, ResolveError> {
        let found = match self.known(hop)? {
            Some(known) => known,
            None => {
                let dns = self.dns.as_ref().ok_or(ResolveError::NoDns)?;
                timeout(self.within, ask(dns, hop, &mut SystemEntropy))
                    .await
                    .map_err(|_| ResolveError::TimedOut)??
            }
        };
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if addresses.len() < self.most && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err(ResolveError::NoAddress) } else { Ok(addresses) }
    }

    /// What needs no DNS: pinned names and literal addresses.
    pub(crate) fn known(&self, hop: &Hop) -> Result<Option<Vec<SocketAddr>>, ResolveError> {
        let port = hop.port.unwrap_or(hop.transport.default_port());
        if let Some(pinned) = self.pinned.find(&hop.host) {
            let address = |a: &crate::PinnedAddress| SocketAddr::new(a.ip, a.port.unwrap_or(port));
            return Ok(Some(pinned.iter().map(address).collect()));
        }
        if let Some(ip) = literal(&hop.host) {
            return Ok(Some(vec![SocketAddr::new(ip, port)]));
        }
        if ends_in_a_number(&hop.host) {
            return Err(ResolveError::NotAHost);
        }
        Ok(None)
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// Why a hop has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("the host is neither a name nor an address in its usual form")]
    NotAHost,
    #[error("this machine has no DNS configuration, and the name is not pinned")]
    NoDns,
    #[error("DNS did not answer in time")]
    TimedOut,
    #[error("DNS failed: {0}")]
    Dns(String),
    #[error("the name has no address")]
    NoAddress,
}

/// An IP address as a URI writes it, with or without brackets.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Whether a host is one of the forms in which `inet_aton` takes an IPv4 address, such as `0x7f.1` or `2130706433`.
/// No top-level domain is a number, so no name is lost.
fn ends_in_a_number(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.is_empty()
        || last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The questions RFC 3263 asks of DNS.
trait Dns {
    fn rules(&self, name: &str) -> impl Future<Output = Result<Vec<Rule>, ResolveError>> + Send;
    fn services(&self, name: &str) -> impl Future<Output = Result<Vec<Service>, ResolveError>> + Send;
    fn addresses(&self, name: &str) -> impl Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send;
}

/// A NAPTR record that names a service, with the flag `s` (RFC 3403).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    order: u16,
    preference: u16,
    service: String,
    replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    priority: u16,
    weight: u16,
    port: u16,
    target: String,
}

async fn ask(
    dns: &(impl Dns + Sync),
    hop: &Hop,
    entropy: &mut (dyn Entropy + Sync),
) -> Result<Vec<SocketAddr>, ResolveError> {
    let host = canonical_name(&hop.host);
    if let Some(port) = hop.port {
        return at_port(dns, &host, port).await;
    }
    let services = services_of(dns, &host, hop.transport).await?;
    if services.is_empty() {
        return at_port(dns, &host, hop.transport.default_port()).await;
    }
    let mut addresses = Vec::new();
    let mut last = ResolveError::NoAddress;
    for service in in_order(services, entropy) {
        match at_port(dns, &service.target, service.port).await {
            Ok(found) => addresses.extend(found),
            // A target that cannot be resolved is a server that is down: the next one takes over.
            Err(fault) => last = fault,
        }
    }
    if addresses.is_empty() { Err(last) } else { Ok(addresses) }
}

/// The services of a transport: those that the name's rules point to, or else those under the usual label (RFC 3263
/// section 4.1). The transport is chosen before DNS is asked, so rules for another one say nothing.
async fn services_of(
    dns: &(impl Dns + Sync),
    host: &str,
    transport: Transport,
) -> Result<Vec<Service>, ResolveError> {
    // Many servers of small networks know no NAPTR and answer with a fault: no reason not to ask on.
    let mut rules = dns.rules(host).await.unwrap_or_default();
    rules.retain(|rule| rule.service.eq_ignore_ascii_case(service_field(transport)));
    rules.sort_by_key(|rule| (rule.order, rule.preference));
    for rule in rules.iter().take(MOST_RULES) {
        let services = dns.services(&rule.replacement).await?;
        if !services.is_empty() {
            return Ok(services);
        }
    }
    dns.services(&format!("{}.{host}", service_label(transport))).await
}

async fn at_port(dns: &(impl Dns + Sync), host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let found = dns.addresses(host).await?;
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// The service of a transport (RFC 3263 section 4.1).
const fn service_label(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        // Never asked for: only browsers dial WebSockets.
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
    }
}

/// The service of a transport in NAPTR records (RFC 3263 section 8.1).
const fn service_field(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "SIP+D2U",
        Transport::Tcp => "SIP+D2T",
        Transport::Tls => "SIPS+D2T",
        Transport::Ws => "SIP+D2W",
        Transport::Wss => "SIPS+D2W",
    }
}

/// As many rules of one name as are followed: whoever owns a name must not make the bridge ask without end.
const MOST_RULES: usize = 4;

/// Orders services by priority, and within one by weighted chance (RFC 2782). The target `.` means there is none.
fn in_order(mut services: Vec<Service>, entropy: &mut dyn Entropy) -> Vec<Service> {
    services.retain(|service| !service.target.is_empty() && service.target != ".");
    // Weight 0 first, so that it is chosen only when the draw is 0.
    services.sort_by_key(|service| (service.priority, service.weight));
    let mut ordered = Vec::with_capacity(services.len());
    while let Some(first) = services.first() {
        let priority = first.priority;
        let group = services.iter().take_while(|service| service.priority == priority);
        let sum: u64 = group.clone().map(|service| u64::from(service.weight)).sum();
        let draw = entropy.next_u64() % (sum + 1);
        let mut running = 0;
        let chosen = group
            .clone()
            .position(|service| {
                running += u64::from(service.weight);
                running >= draw
            })
            .unwrap_or(0);
        ordered.push(services.remove(chosen));
    }
    ordered
}

impl Dns for TokioResolver {
    async fn rules(&self, name: &str) -> Result<Vec<Rule>, ResolveError> {
        let found = self.lookup(format!("{name}."), RecordType::NAPTR).await;
        let lookup = found.map_err(|fault| ResolveError::Dns(fault.to_string()))?;
        let rules = lookup.answers().iter().filter_map(|record| {
            let RData::NAPTR(naptr) = &record.data else { return None };
            naptr.flags.eq_ignore_ascii_case(b"s").then(|| Rule {
                order: naptr.order,
                preference: naptr.preference,
                service: String::from_utf8_lossy(&naptr.services).into_owned(),
                replacement: canonical_name(&naptr.replacement.to_ascii()),
            })
        });
        Ok(rules.collect())
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>, ResolveError> {
        match self.srv_lookup(format!("{name}.")).await {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .filter_map(|record| {
                    let RData::SRV(srv) = &record.data else { return None };
                    Some(Service {
                        priority: srv.priority,
                        weight: srv.weight,
                        port: srv.port,
                        target: canonical_name(&srv.target.to_ascii()),
                    })
                })
                .collect()),
            Err(fault) if fault.is_no_records_found() => Ok(Vec::new()),
            Err(fault) => Err(ResolveError::Dns(fault.to_string())),
        }
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        match self.lookup_ip(name).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(fault) if fault.is_no_records_found() => Err(ResolveError::NoAddress),
            Err(fault) => Err(ResolveError::Dns(fault.to_string())),
        }
    }
}

/// The system's random numbers, for the weights of SRV records.
struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            // Without randomness the heaviest server is preferred; nothing secret hangs on it.
            bytes.fill(0xff);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use setu_model::{SeededEntropy, Side};

    use super::*;

    #[derive(Default)]
    struct Zone {
        rules: BTreeMap<&'static str, Vec<Rule>>,
        services: BTreeMap<&'static str, Vec<Service>>,
        addresses: BTreeMap<&'static str, Vec<IpAddr>>,
    }

    impl Dns for Zone {
        async fn rules(&self, name: &str) -> Result<Vec<Rule>, ResolveError> {
            self.rules.get(name).cloned().ok_or(ResolveError::Dns("not implemented".to_owned()))
        }

        async fn services(&self, name: &str) -> Result<Vec<Service>, ResolveError> {
            Ok(self.services.get(name).cloned().unwrap_or_default())
        }

        async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
            self.addresses.get(name).cloned().ok_or(ResolveError::NoAddress)
        }
    }

    fn service(priority: u16, weight: u16, port: u16, target: &str) -> Service {
        Service { priority, weight, port, target: target.to_owned() }
    }

    fn hop(transport: Transport, host: &str, port: Option<u16>) -> Hop {
        Hop { side: Side::Meta, transport, host: host.to_owned(), port }
    }

    fn resolver(pins: &[(&str, &[&str])]) -> Resolver {
        let mut pinned = PinnedHosts::default();
        for (name, addresses) in pins {
            pinned.pin(name, addresses.iter().map(|address| address.parse().unwrap()).collect());
        }
        Resolver { pinned, dns: None, within: Duration::from_secs(1), most: 3 }
    }

    async fn texts(zone: &Zone, hop: &Hop) -> Result<Vec<String>, ResolveError> {
        let found = ask(zone, hop, &mut SeededEntropy::new(1)).await?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn a_port_skips_service_records() {
        let zone = Zone {
            services: [("_sips._tcp.wa.meta.vc", vec![service(1, 1, 9, "other.example")])].into(),
            addresses: [("wa.meta.vc", vec!["192.0.2.1".parse().unwrap()])].into(),
            ..Zone::default()
        };
        let found = texts(&zone, &hop(Transport::Tls, "WA.meta.vc.", Some(5061))).await;
        assert_eq!(found, Ok(vec!["192.0.2.1:5061".to_owned()]));
    }

    #[tokio::test]
    async fn without_a_port_service_records_of_the_transport_name_servers_in_order() {
        let zone = Zone {
            services: [
                (
                    "_sip._udp.pbx.example",
                    vec![service(20, 0, 5080, "late.example"), service(10, 0, 5070, "early.example")],
                ),
                ("_sips._tcp.pbx.example", vec![service(1, 0, 7, "tls.example")]),
            ]
            .into(),
            addresses: [
                ("early.example", vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]),
                ("late.example", vec!["192.0.2.2".parse().unwrap()]),
            ]
            .into(),
            ..Zone::default()
        };
        let found = texts(&zone, &hop(Transport::Udp, "pbx.example", None)).await.unwrap();
        assert_eq!(found, ["192.0.2.1:5070", "[2001:db8::1]:5070", "192.0.2.2:5080"]);
        // The target of the TLS service has no address.
        let found = texts(&zone, &hop(Transport::Tls, "pbx.example", None)).await;
        assert_eq!(found, Err(ResolveError::NoAddress));
    }

    #[tokio::test]
    async fn without_service_records_the_name_itself_is_asked_at_the_default_port() {
        let zone = Zone {
            addresses: [("pbx.example", vec!["192.0.2.1".parse().unwrap()])].into(),
            ..Zone::default()
        };
        for (transport, port) in [(Transport::Udp, 5060), (Transport::Tcp, 5060), (Transport::Tls, 5061)] {
            let found = texts(&zone, &hop(transport, "pbx.example", None)).await.unwrap();
            assert_eq!(found, [format!("192.0.2.1:{port}")]);
        }
    }

    #[tokio::test]
    async fn rules_of_the_transport_say_where_its_services_are() {
        let rule = |order, preference, service: &str, replacement: &str| Rule {
            order,
            preference,
            service: service.to_owned(),
            replacement: replacement.to_owned(),
        };
        let zone = Zone {
            rules: [(
                "pbx.example",
                vec![
                    rule(1, 1, "SIPS+D2T", "tls.elsewhere.example"),
                    rule(3, 1, "sip+d2u", "last.elsewhere.example"),
                    rule(2, 9, "SIP+D2U", "udp.elsewhere.example"),
                    rule(2, 1, "SIP+D2U", "empty.elsewhere.example"),
                ],
            )]
            .into(),
            services: [
                ("udp.elsewhere.example", vec![service(1, 1, 5070, "a.example")]),
                ("last.elsewhere.example", vec![service(1, 1, 5080, "a.example")]),
                ("_sip._udp.pbx.example", vec![service(1, 1, 5090, "a.example")]),
                ("_sip._tcp.pbx.example", vec![service(1, 1, 5091, "a.example")]),
            ]
            .into(),
            addresses: [("a.example", vec!["192.0.2.1".parse().unwrap()])].into(),
        };
        let found = texts(&zone, &hop(Transport::Udp, "pbx.example", None)).await;
        assert_eq!(found, Ok(vec!["192.0.2.1:5070".to_owned()]));
        let found = texts(&zone, &hop(Transport::Tcp, "pbx.example", None)).await;
        assert_eq!(found, Ok(vec!["192.0.2.1:5091".to_owned()]), "no rule is for TCP");
    }

    #[tokio::test]
    async fn pinned_names_go_before_dns_and_pinned_ports_before_the_uris() {
        let resolver = resolver(&[("wa.meta.vc", &["127.0.0.1:7", "127.0.0.2"])]);
        let found = resolver.resolve(&hop(Transport::Tls, "wa.meta.vc", Some(5061))).await.unwrap();
        assert_eq!(found, ["127.0.0.1:7".parse().unwrap(), "127.0.0.2:5061".parse().unwrap()]);
        let unpinned = resolver.resolve(&hop(Transport::Tls, "meta.vc", None)).await;
        assert_eq!(unpinned, Err(ResolveError::NoDns));
    }

    #[tokio::test]
    async fn literal_addresses_need_no_dns_and_the_candidates_are_bounded() {
        let found = resolver(&[]).resolve(&hop(Transport::Udp, "[2001:db8::1]", None)).await.unwrap();
        assert_eq!(found, ["[2001:db8::1]:5060".parse().unwrap()]);
        let many = resolver(&[("a", &["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"])]);
        assert_eq!(many.resolve(&hop(Transport::Udp, "a", None)).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn numbers_in_disguise_are_no_names() {
        for host in
            ["0x7f.1", "127.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.0x1", "a.b.1.", ""]
        {
            let found = resolver(&[]).resolve(&hop(Transport::Udp, host, None)).await;
            assert_eq!(found, Err(ResolveError::NotAHost), "{host}");
        }
        assert!(!ends_in_a_number("1.2.3.4.example"));
    }

    #[test]
    fn services_of_one_priority_are_drawn_by_weight() {
        let mut entropy = SeededEntropy::new(7);
        let mut heavy_first = 0;
        for _ in 0..1_000 {
            let drawn = in_order(
                vec![service(1, 90, 1, "heavy"), service(1, 10, 2, "light"), service(0, 0, 3, "first")],
                &mut entropy,
            );
            assert_eq!(drawn.len(), 3);
            assert_eq!(drawn.first().unwrap().target, "first");
            heavy_first += i32::from(drawn.get(1).unwrap().target == "heavy");
        }
        assert!((850..950).contains(&heavy_first), "{heavy_first}");
    }

    #[test]
    fn a_service_that_says_it_is_not_there_is_not_tried() {
        assert_eq!(in_order(vec![service(0, 0, 0, "")], &mut SeededEntropy::new(1)), []);
    }
}
