use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::description::{Line, attributes, connection_address, direction_of, value_of};
use crate::{AudioCodec, CryptoFault, CryptoLine, Direction};

/// One stream: an `m=` line and the lines that follow it.
#[derive(Clone, PartialEq, Eq)]
pub struct Media {
    kind: String,
    port: String,
    protocol: String,
    formats: Vec<String>,
    lines: Vec<Line>,
}

impl Media {
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split_ascii_whitespace().map(str::to_owned);
        let media = Self {
            kind: fields.next()?,
            port: fields.next()?,
            protocol: fields.next()?,
            formats: fields.collect(),
            lines: Vec::new(),
        };
        parse_port(&media.port).map(|_port| media)
    }

    pub(crate) fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    pub(crate) fn media_line(&self) -> String {
        let head = [self.kind.as_str(), &self.port, &self.protocol];
        head.into_iter().chain(self.formats.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }

    /// Returns the kind of media, as written: `audio`, `video`, `application`, `image`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Says whether it is audio.
    pub fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    /// Returns the port; 0 rejects or ends the stream (RFC 3264 section 5.1). The count after a `/` is left out.
    pub fn port(&self) -> u16 {
        parse_port(&self.port).unwrap_or(0)
    }

    /// Returns the transport, as written: `RTP/AVP`, `UDP/TLS/RTP/SAVPF`.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Returns the formats of the `m=` line: payload types, for RTP.
    pub fn formats(&self) -> &[String] {
        &self.formats
    }

    /// Returns the lines after the `m=` line.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Returns the value of the first attribute `name`: `Some("")` for a bare flag.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        attributes(&self.lines, name).next()
    }

    /// Returns the address of the stream's own `c=` line; the session's holds where there is none.
    pub fn connection(&self) -> Option<IpAddr> {
        value_of(&self.lines, 'c').and_then(connection_address)
    }

    pub(crate) fn has_connection(&self) -> bool {
        value_of(&self.lines, 'c').is_some()
    }

    /// Returns the direction stated for this stream, if any.
    pub fn direction(&self) -> Option<Direction> {
        direction_of(&self.lines)
    }

    /// Returns the port of `a=rtcp` (RFC 3605), and its address if it has one. Port 9 (discard), which peers that
    /// multiplex write for old ones, counts as none.
    pub fn rtcp(&self) -> Option<(u16, Option<IpAddr>)> {
        let (port, address) = self.attribute("rtcp").map(|v| v.split_once(' ').unwrap_or((v, "")))?;
        let port = port.parse().ok().filter(|port| !matches!(port, 0 | 9))?;
        let address = address.split_ascii_whitespace().nth(2).and_then(|text| text.parse().ok());
        Some((port, address.filter(|ip: &IpAddr| !ip.is_unspecified())))
    }

    /// Returns the packet time the peer would like to receive, in milliseconds.
    pub fn ptime_ms(&self) -> Option<u16> {
        self.attribute("ptime").and_then(parse_millis)
    }

    /// Returns the longest packet time the peer takes, in milliseconds.
    pub fn maxptime_ms(&self) -> Option<u16> {
        self.attribute("maxptime").and_then(parse_millis)
    }

    /// Returns the `a=crypto` lines, in order, each read or with the reason why it is of no use (RFC 4568).
    pub fn crypto(&self) -> impl Iterator<Item = Result<CryptoLine, CryptoFault>> {
        attributes(&self.lines, "crypto").map(CryptoLine::parse)
    }

    /// Returns the payload types of the `m=` line in order, with what `a=rtpmap` and `a=fmtp` say of them.
    /// Static types without an `a=rtpmap` are resolved (RFC 3551 table 4). A number that is repeated counts once, so
    /// that a small text cannot unfold into a large table.
    pub fn payloads(&self) -> Vec<Payload> {
        let mut rtpmap = BTreeMap::new();
        for (number, encoding) in attributes(&self.lines, "rtpmap").filter_map(numbered) {
            rtpmap.entry(number).or_insert(encoding);
        }
        let mut fmtp = BTreeMap::new();
        for (number, parameters) in attributes(&self.lines, "fmtp").filter_map(numbered) {
            fmtp.entry(number).or_insert(parameters);
        }
        let mut seen = BTreeSet::new();
        let numbers = self.formats.iter().filter_map(|format| format.parse().ok());
        let numbers = numbers.filter(|number| *number < 128 && seen.insert(*number));
        numbers
            .map(|number| Payload {
                number,
                encoding: match rtpmap.get(&number) {
                    Some(text) => Encoding::parse(text),
                    None => Encoding::of_static(number),
                },
                fmtp: fmtp.get(&number).map(|text| (*text).to_owned()),
            })
            .collect()
    }
}

/// The `m=` line only: the others may hold keys.
impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={}", self.media_line())
    }
}

/// One payload type of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The RTP payload type, 0..=127.
    pub number: u8,
    /// What it carries; `None` for a dynamic type without (or with a broken) `a=rtpmap`.
    pub encoding: Option<Encoding>,
    /// The text of `a=fmtp` after the number.
    pub fmtp: Option<String>,
}

impl Payload {
    /// Returns the codec, if it is one the bridge knows.
    pub fn codec(&self) -> Option<AudioCodec> {
        let encoding = self.encoding.as_ref()?;
        AudioCodec::ALL.into_iter().find(|codec| encoding.is(codec.name(), codec.clock_hz()))
    }

    /// Says whether this is comfort noise beside an 8 kHz clock: type 13, which needs no `a=rtpmap` (RFC 3551 table 4).
    pub fn is_comfort_noise(&self) -> bool {
        let cn = |encoding: &Encoding| encoding.name.eq_ignore_ascii_case("CN") && encoding.clock_hz == 8_000;
        self.number == COMFORT_NOISE && self.encoding.as_ref().is_none_or(cn)
    }

    /// Returns the clock of a telephone-event type in Hz (RFC 4733).
    pub fn telephone_event_hz(&self) -> Option<u32> {
        let encoding = self.encoding.as_ref()?;
        encoding.name.eq_ignore_ascii_case("telephone-event").then_some(encoding.clock_hz)
    }
}

/// The payload type of comfort noise (RFC 3389 section 4).
pub(crate) const COMFORT_NOISE: u8 = 13;

/// What an `a=rtpmap` line maps to: `opus/48000/2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// The name, as written.
    pub name: String,
    /// The RTP clock in Hz.
    pub clock_hz: u32,
    /// The number of channels; 1 where it is left out.
    pub channels: u8,
}

impl Encoding {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('/');
        let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
        let clock_hz = parts.next()?.trim().parse().ok().filter(|hz| *hz > 0)?;
        let channels = parts.next().map_or(Some(1), |text| text.trim().parse().ok())?;
        Some(Self { name, clock_hz, channels })
    }

    fn of_static(number: u8) -> Option<Self> {
        let codec = AudioCodec::ALL.into_iter().find(|codec| codec.static_payload_type() == Some(number))?;
        Some(Self { name: codec.name().to_owned(), clock_hz: codec.clock_hz(), channels: 1 })
    }

    fn is(&self, name: &str, clock_hz: u32) -> bool {
        // Opus is always written with two channels (RFC 7587 section 7), yet some phones leave them out.
        let channels_fit = self.channels == 1 || (self.channels == 2 && clock_hz == 48_000);
        self.name.eq_ignore_ascii_case(name) && self.clock_hz == clock_hz && channels_fit
    }
}

/// The parameters of `a=fmtp` for Opus that the bridge cares for (RFC 7587 section 6.1): what the peer wants to
/// receive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpusParameters {
    /// The highest average bit rate the peer wants, in bits a second.
    pub maxaveragebitrate: Option<u32>,
    /// The highest sampling rate the peer can play, in Hz.
    pub maxplaybackrate: Option<u32>,
    /// The peer can make use of in-band forward error correction.
    pub useinbandfec: bool,
    /// The peer prefers discontinuous transmission.
    pub usedtx: bool,
    /// The peer prefers stereo.
    pub stereo: bool,
    /// The peer prefers a constant bit rate.
    pub cbr: bool,
}

impl OpusParameters {
    /// Reads `name=value;name=value`; what it does not know or understand is left out.
    pub fn parse(fmtp: &str) -> Self {
        let mut read = Self::default();
        for (name, value) in fmtp.split(';').filter_map(|item| item.split_once('=')) {
            let (value, on) = (value.trim(), value.trim() == "1");
            match name.trim().to_ascii_lowercase().as_str() {
                "maxaveragebitrate" => read.maxaveragebitrate = value.parse().ok(),
                "maxplaybackrate" => read.maxplaybackrate = value.parse().ok(),
                "useinbandfec" => read.useinbandfec = on,
                "usedtx" => read.usedtx = on,
                "stereo" => read.stereo = on,
                "cbr" => read.cbr = on,
                _ => {}
            }
        }
        read
    }
}

/// `49170` or `49170/2`.
fn parse_port(text: &str) -> Option<u16> {
    text.split_once('/').map_or(text, |(port, _count)| port).parse().ok()
}

/// Some peers write `20.0`.
fn parse_millis(text: &str) -> Option<u16> {
    let text = text.trim();
    text.split_once('.').map_or(text, |(whole, _)| whole).parse().ok().filter(|ms| *ms > 0)
}

/// `111 opus/48000/2` as 111 and the rest.
fn numbered(value: &str) -> Option<(u8, &str)> {
    let (number, rest) = value.trim_start().split_once([' ', '\t'])?;
    Some((number.parse().ok()?, rest.trim()))
}
