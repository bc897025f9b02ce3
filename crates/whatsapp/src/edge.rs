//! Where Meta's calling edge is, as data.

/// Meta's SIP domain: the host of every Request-URI toward it and of its digest realm.
pub const DOMAIN: &str = "wa.meta.vc";

/// The port of Meta's SIP edge; TLS only.
pub const PORT: u16 = 5061;

/// The literal before the wacid in the Call-ID of Meta's INVITEs.
pub const CALL_ID_PREFIX: &str = "outgoing:";

/// The IPv4 prefixes that Meta's FAQ gives for signalling, media and webhooks (AS32934), as of March 2026.
/// IPv6 exists too but is not listed: treat a source outside as unproven, not as hostile.
pub const SOURCE_NETWORKS: [&str; 23] = [
    "31.13.24.0/21",
    "31.13.64.0/18",
    "45.64.40.0/22",
    "57.141.0.0/21",
    "57.141.8.0/22",
    "57.141.12.0/23",
    "57.144.0.0/14",
    "66.220.144.0/20",
    "69.63.176.0/20",
    "69.171.224.0/19",
    "74.119.76.0/22",
    "102.132.96.0/20",
    "103.4.96.0/22",
    "129.134.0.0/16",
    "147.75.208.0/20",
    "157.240.0.0/16",
    "163.70.128.0/17",
    "163.77.128.0/17",
    "173.252.64.0/18",
    "179.60.192.0/22",
    "185.60.216.0/22",
    "185.89.216.0/22",
    "204.15.20.0/22",
];

/// The UDP ports of Meta's media relays.
pub const RELAY_PORTS: [u16; 5] = [3478, 3480, 3482, 3484, 40012];
