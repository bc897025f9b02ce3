use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use setu_media::DtlsIdentity;

/// How the media plane is set up.
#[derive(Debug, Clone)]
pub struct MediaNetConfig {
    /// The face toward Meta.
    pub meta: MediaSide,
    /// The face toward agents and trunks.
    pub agents: MediaSide,
    /// Packet threads; each takes its share of calls and ports. One carries thousands of calls.
    pub threads: usize,
    /// Codec threads, for calls between peers without a common format; each takes its share of calls.
    pub codec_threads: usize,
    /// Whether each packet thread stays on a processor of its own (of those the process may use), as far as there are
    /// enough.
    pub pinned: bool,
    /// Whether packet threads ask the system to run them before others, in real time where it grants that.
    pub hurried: bool,
    /// How long a port rests before another call gets it, so that late packets of the old call, and whoever guessed
    /// the port, do not meet the new one.
    pub quarantine: Duration,
    /// The certificate that DTLS peers are shown; without it their handshakes fail.
    pub dtls: Option<DtlsIdentity>,
}

/// One face of the bridge.
#[derive(Debug, Clone)]
pub struct MediaSide {
    /// The local address sockets are bound to.
    pub bind: IpAddr,
    /// The address peers are told in SDP; another one behind a 1:1 NAT.
    pub advertised: IpAddr,
    /// The UDP ports of this face. A leg takes an even port for RTP and keeps the odd one above for RTCP.
    pub ports: RangeInclusive<u16>,
}

impl MediaNetConfig {
    /// How long a port rests if nothing else is wanted: longer than any peer goes on sending after a BYE.
    pub const QUARANTINE: Duration = Duration::from_secs(30);
}
