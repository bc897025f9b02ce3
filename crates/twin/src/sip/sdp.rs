//! Session descriptions: read line by line, written by hand.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::media::{Codec, Credentials, CryptoLine, Fingerprint, Remote, Setup};

/// The direction of a stream, from its writer's point of view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaDirection {
    /// Both ways.
    #[default]
    SendRecv,
    /// The usual hold: only the writer sends.
    SendOnly,
    /// Only the reader sends.
    RecvOnly,
    /// A hold without music.
    Inactive,
}

impl MediaDirection {
    pub(crate) const fn attribute(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The answer to it of a party that would rather talk both ways.
    pub(crate) const fn answered(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }

    /// Whether the party that wrote it sends.
    pub(crate) const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the party that wrote it takes anything.
    pub(crate) const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// What the twins take from a received description: its first audio stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sdp {
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) profile: String,
    pub(crate) payloads: Vec<u8>,
    rtpmap: BTreeMap<u8, String>,
    pub(crate) ptime: Option<u32>,
    pub(crate) crypto: Vec<CryptoLine>,
    pub(crate) direction: MediaDirection,
    pub(crate) rtcp_mux: bool,
    rtcp_port: Option<u16>,
    pub(crate) streams: usize,
    fragment: Option<String>,
    password: Option<String>,
    ice_lite: bool,
    candidates: Vec<SocketAddr>,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) setup: Option<Setup>,
}

impl Sdp {
    /// Reads a description; `None` without a version line or an audio stream.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut sdp = Self::default();
        let mut lines = text.lines();
        if lines.next()?.trim_end() != "v=0" {
            return None;
        }
        for line in lines {
            let (kind, value) = line.trim_end().split_once('=')?;
            match kind {
                "m" => {
                    sdp.streams += 1;
                    if sdp.streams == 1 {
                        sdp.read_media(value)?;
                    }
                }
                "c" if sdp.streams < 2 => sdp.address = value.split(' ').nth(2).and_then(|a| a.parse().ok()),
                "a" if sdp.streams < 2 => sdp.read_attribute(value),
                _ => {}
            }
        }
        (sdp.streams > 0).then_some(sdp)
    }

    fn read_media(&mut self, value: &str) -> Option<()> {
        let mut words = value.split_ascii_whitespace();
        if words.next()? != "audio" {
            return None;
        }
        self.port = words.next()?.parse().ok()?;
        self.profile = words.next()?.to_owned();
        self.payloads = words.filter_map(|w| w.parse().ok()).collect();
        Some(())
    }

    fn read_attribute(&mut self, value: &str) {
        let (name, rest) = value.split_once(':').unwrap_or((value, ""));
        match name {
            "rtpmap" => {
                if let Some((pt, map)) = rest.split_once(' ')
                    && let Ok(pt) = pt.parse()
                {
                    self.rtpmap.insert(pt, map.trim().to_ascii_lowercase());
                }
            }
            "ptime" => self.ptime = rest.trim().parse().ok(),
            "crypto" => self.crypto.extend(CryptoLine::read(rest)),
            "rtcp-mux" => self.rtcp_mux = true,
            "rtcp" => self.rtcp_port = rest.split(' ').next().and_then(|p| p.parse().ok()),
            "sendrecv" => self.direction = MediaDirection::SendRecv,
            "sendonly" => self.direction = MediaDirection::SendOnly,
            "recvonly" => self.direction = MediaDirection::RecvOnly,
            "inactive" => self.direction = MediaDirection::Inactive,
            "ice-ufrag" => self.fragment = Some(rest.trim().to_owned()),
            "ice-pwd" => self.password = Some(rest.trim().to_owned()),
            "ice-lite" => self.ice_lite = true,
            "candidate" => self.candidates.extend(candidate(rest)),
            // Other hashes than SHA-256 are not looked at.
            "fingerprint" => self.fingerprint = Fingerprint::read(rest).or(self.fingerprint),
            "setup" => self.setup = Setup::read(rest.trim()),
            _ => {}
        }
    }

    /// `ice-ufrag` and `ice-pwd`.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        Some(Credentials { fragment: self.fragment.clone()?, password: self.password.clone()? })
    }

    /// The other end of a path keyed by DTLS; `None` without a fingerprint.
    pub(crate) fn path(&self) -> Option<Remote> {
        let credentials = self.credentials();
        let candidates = match credentials {
            Some(_) => self.candidates.clone(),
            None => self.remote().into_iter().collect(),
        };
        Some(Remote { credentials, lite: self.ice_lite, candidates, fingerprint: self.fingerprint? })
    }

    /// The payload type of `codec`: by its map, or the static one of RFC 3551.
    pub(crate) fn payload_of(&self, codec: Codec) -> Option<u8> {
        let name = codec.rtpmap().to_ascii_lowercase();
        let mapped = self.payloads.iter().find(|pt| {
            self.rtpmap
                .get(pt)
                .is_some_and(|map| *map == name || map.strip_suffix("/1") == Some(name.as_str()))
        });
        let fixed = match codec {
            Codec::Pcmu => Some(0),
            Codec::Pcma => Some(8),
            Codec::Opus => None,
        };
        mapped
            .copied()
            .or_else(|| fixed.filter(|pt| self.payloads.contains(pt) && !self.rtpmap.contains_key(pt)))
    }

    /// Payload type of telephone events at `clock`.
    pub(crate) fn events_at(&self, clock: u32) -> Option<u8> {
        let name = format!("telephone-event/{clock}");
        self.payloads.iter().copied().find(|pt| self.rtpmap.get(pt).is_some_and(|map| *map == name))
    }

    /// Where RTP goes; `None` on hold by address or a refused stream.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        let ip = self.address.filter(|ip| !ip.is_unspecified())?;
        (self.port != 0).then(|| SocketAddr::new(ip, self.port))
    }

    /// Where RTCP goes when it is not multiplexed (RFC 3605).
    pub(crate) fn remote_rtcp(&self) -> Option<SocketAddr> {
        let remote = self.remote()?;
        Some(SocketAddr::new(remote.ip(), self.rtcp_port.unwrap_or_else(|| remote.port().wrapping_add(1))))
    }
}

/// The address of a UDP candidate of component 1 (RFC 8839 section 5.1); names are not resolved.
fn candidate(value: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let [_, "1", transport, _, address, port, ..] = words.as_slice() else { return None };
    let address = SocketAddr::new(address.parse().ok()?, port.parse().ok()?);
    transport.eq_ignore_ascii_case("udp").then_some(address)
}

/// What a description says of ICE and DTLS.
#[derive(Debug, Clone)]
pub(crate) struct PathLines {
    /// `None` for an end that does without ICE.
    pub(crate) credentials: Option<Credentials>,
    pub(crate) lite: bool,
    pub(crate) candidates: Vec<SocketAddr>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) setup: Setup,
}

impl PathLines {
    /// The lines of the media level; `trailer` ends each candidate.
    fn print(&self, trailer: &str) -> String {
        let mut lines = String::new();
        if let Some(credentials) = &self.credentials {
            for at in &self.candidates {
                // Foundations and priorities as in a capture of Meta's: IPv6 above IPv4 (RFC 8421 section 4).
                let (foundation, priority) =
                    if at.is_ipv4() { ("2275956755", "2122260223") } else { ("2684782176", "2122262783") };
                let (ip, port) = (at.ip(), at.port());
                lines +=
                    &format!("a=candidate:{foundation} 1 udp {priority} {ip} {port} typ host{trailer}\r\n");
            }
            lines +=
                &format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", credentials.fragment, credentials.password);
        }
        lines += &format!("a=fingerprint:{}\r\n", self.fingerprint.print());
        lines + &format!("a=setup:{}\r\n", self.setup.attribute())
    }

    const fn lite_line(&self) -> &'static str {
        if self.lite { "a=ice-lite\r\n" } else { "" }
    }
}

/// A description to write.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// `o=` id: milliseconds since 1970.
    pub(crate) id: i64,
    pub(crate) version: u32,
    pub(crate) address: SocketAddr,
    pub(crate) profile: &'static str,
    pub(crate) audio: Vec<(u8, Codec)>,
    /// Payload types and clocks of telephone events.
    pub(crate) events: Vec<(u8, u32)>,
    pub(crate) crypto: Vec<CryptoLine>,
    /// `None` for a description without DTLS.
    pub(crate) path: Option<PathLines>,
    pub(crate) ptime_ms: u32,
    pub(crate) direction: MediaDirection,
    pub(crate) rtcp_mux: bool,
}

impl Draft {
    fn payloads(&self) -> String {
        let pts = self.audio.iter().map(|(pt, _)| pt).chain(self.events.iter().map(|(pt, _)| pt));
        pts.map(|pt| format!(" {pt}")).collect()
    }

    fn connection(&self) -> String {
        let family = if self.address.is_ipv4() { "IP4" } else { "IP6" };
        format!("IN {family} {}", self.address.ip())
    }

    /// As WhatsApp's media stack writes it: with ICE-lite and DTLS, or with SDES keys and neither.
    pub(crate) fn meta(&self, stream: &str, ssrc: u32, bundle: bool) -> String {
        let mut sdp = format!("v=0\r\no=- {} {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", self.id, self.version);
        if bundle {
            sdp += "a=group:BUNDLE audio\r\n";
        }
        sdp += &format!("a=msid-semantic: WMS {stream}\r\n");
        sdp += self.path.as_ref().map_or("", PathLines::lite_line);
        sdp += &format!("m=audio {} {}{}\r\n", self.address.port(), self.profile, self.payloads());
        sdp += &format!("c={}\r\na=rtcp:9 IN IP4 0.0.0.0\r\n", self.connection());
        for crypto in &self.crypto {
            sdp += &format!("{}\r\n", crypto.print());
        }
        let trailer = " generation 0 network-cost 50";
        sdp += &self.path.as_ref().map_or_else(String::new, |path| path.print(trailer));
        sdp += &format!("a=mid:audio\r\na={}\r\n", self.direction.attribute());
        sdp += &format!("a=msid:{stream} WhatsAppTrack1\r\n");
        if self.rtcp_mux {
            sdp += "a=rtcp-mux\r\n";
        }
        for (pt, codec) in &self.audio {
            sdp += &format!("a=rtpmap:{pt} {}\r\n", codec.rtpmap());
            if *codec == Codec::Opus {
                sdp += &format!("a=rtcp-fb:{pt} transport-cc\r\na=fmtp:{pt} {META_FMTP}\r\n");
            }
        }
        for (pt, clock) in &self.events {
            sdp += &format!("a=rtpmap:{pt} telephone-event/{clock}\r\n");
        }
        sdp += &format!("a=maxptime:{}\r\na=ptime:{}\r\n", self.ptime_ms, self.ptime_ms);
        sdp + &format!("a=ssrc:{ssrc} cname:WhatsAppAudioStream1\r\n")
    }

    /// As a desk phone or a PBX writes it.
    pub(crate) fn phone(&self) -> String {
        let mut sdp = format!("v=0\r\no=- {} {} {}\r\ns=twin\r\n", self.id, self.version, self.connection());
        sdp += &format!("c={}\r\nt=0 0\r\n", self.connection());
        sdp += &format!("m=audio {} {}{}\r\n", self.address.port(), self.profile, self.payloads());
        for (pt, codec) in &self.audio {
            sdp += &format!("a=rtpmap:{pt} {}\r\n", codec.rtpmap());
            if *codec == Codec::Opus {
                sdp += &format!("a=fmtp:{pt} useinbandfec=1\r\n");
            }
        }
        for (pt, clock) in &self.events {
            sdp += &format!("a=rtpmap:{pt} telephone-event/{clock}\r\na=fmtp:{pt} 0-15\r\n");
        }
        for crypto in &self.crypto {
            sdp += &format!("{}\r\n", crypto.print());
        }
        sdp += &self.path.as_ref().map_or_else(String::new, |path| path.print(""));
        if self.rtcp_mux {
            sdp += "a=rtcp-mux\r\n";
        }
        sdp + &format!("a=ptime:{}\r\na={}\r\n", self.ptime_ms, self.direction.attribute())
    }
}

const META_FMTP: &str =
    "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1";

#[cfg(test)]
mod tests {
    use setu_model::SeededEntropy;

    use super::*;
    use crate::media::Suite;

    fn draft() -> Draft {
        Draft {
            id: 1,
            version: 2,
            address: ([192, 0, 2, 7], 3_480).into(),
            profile: "RTP/SAVP",
            audio: vec![(111, Codec::Opus), (0, Codec::Pcmu)],
            events: vec![(126, 8_000)],
            crypto: vec![CryptoLine::fresh(1, Suite::AesCm128HmacSha1_80, &mut SeededEntropy::new(1))],
            path: None,
            ptime_ms: 20,
            direction: MediaDirection::SendOnly,
            rtcp_mux: true,
        }
    }

    #[test]
    fn both_hands_are_legible() {
        for text in [draft().meta("s", 5, true), draft().phone()] {
            let sdp = Sdp::read(&text).unwrap();
            assert_eq!(sdp.remote(), Some(([192, 0, 2, 7], 3_480).into()));
            assert_eq!((sdp.payload_of(Codec::Opus), sdp.payload_of(Codec::Pcmu)), (Some(111), Some(0)));
            assert_eq!((sdp.payload_of(Codec::Pcma), sdp.events_at(8_000)), (None, Some(126)));
            assert_eq!((sdp.crypto.clone(), sdp.ptime), (draft().crypto, Some(20)));
            assert_eq!((sdp.direction, sdp.rtcp_mux), (MediaDirection::SendOnly, true));
        }
    }

    #[test]
    fn a_description_without_audio_is_none() {
        assert!(Sdp::read("v=0\r\ns=-\r\n").is_none());
        assert!(Sdp::read("m=audio 1 RTP/AVP 0\r\n").is_none());
        assert!(Sdp::read("v=0\r\nm=video 1 RTP/AVP 99\r\n").is_none());
    }
}
