//! The text of our own descriptions.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use crate::media::COMFORT_NOISE;
use crate::{AudioCodec, CryptoLine, Direction, Fingerprint, IceMode, Local, Media, Policy};

/// Our description of one audio stream, ready to print.
pub(crate) struct Ours<'a> {
    pub(crate) local: &'a Local,
    pub(crate) policy: &'a Policy,
    pub(crate) version: u64,
    pub(crate) protocol: &'a str,
    pub(crate) audio: Vec<(AudioCodec, u8)>,
    /// Clock in Hz and payload type.
    pub(crate) events: Vec<(u32, u8)>,
    /// Whether we take comfort noise.
    pub(crate) comfort_noise: bool,
    pub(crate) crypto: Vec<CryptoLine>,
    pub(crate) dtls: Option<OurDtls>,
    pub(crate) direction: Direction,
    pub(crate) rtcp_mux: bool,
    /// Names the stream in its BUNDLE group; without it there is no group.
    pub(crate) mid: Option<&'a str>,
}

/// Our side of a handshake, and of the way to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OurDtls {
    pub(crate) fingerprint: Fingerprint,
    /// The value of `a=setup`.
    pub(crate) setup: &'static str,
    /// Our part in ICE; none if the peer does none.
    pub(crate) ice: Option<IceMode>,
}

impl Ours<'_> {
    /// The whole text: the session, then for each of `streams` ours (`None`) or a rejection.
    pub(crate) fn print(&self, streams: &[Option<&Media>]) -> String {
        let mut text = String::with_capacity(768);
        // Writing to a String cannot fail.
        let _infallible = self.write(&mut text, streams);
        text
    }

    fn write(&self, to: &mut String, streams: &[Option<&Media>]) -> fmt::Result {
        let Local { address, session_id, .. } = self.local;
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        write!(to, "v=0\r\no=- {session_id} {} IN {family} {address}\r\ns=-\r\n", self.version)?;
        write!(to, "c=IN {family} {address}\r\nt=0 0\r\n")?;
        if let Some(mid) = self.mid {
            write!(to, "a=group:BUNDLE {mid}\r\n")?;
        }
        if self.dtls.is_some_and(|dtls| dtls.ice == Some(IceMode::Lite)) {
            to.push_str("a=ice-lite\r\n");
        }
        for stream in streams {
            match stream {
                None => self.write_audio(to)?,
                Some(rejected) => write_rejection(to, rejected)?,
            }
        }
        Ok(())
    }

    fn write_audio(&self, to: &mut String) -> fmt::Result {
        write!(to, "m=audio {} {}", self.local.port, self.protocol)?;
        let numbers = self.audio.iter().map(|(_, n)| n).chain(self.events.iter().map(|(_, n)| n));
        numbers.clone().try_for_each(|number| write!(to, " {number}"))?;
        if self.comfort_noise {
            write!(to, " {COMFORT_NOISE}")?;
        }
        to.push_str("\r\n");
        if let Some(mid) = self.mid {
            write!(to, "a=mid:{mid}\r\n")?;
        }
        write!(to, "a={}\r\n", self.direction.word())?;
        if self.rtcp_mux {
            to.push_str("a=rtcp-mux\r\n");
        }
        for line in &self.crypto {
            write!(to, "a=crypto:{}\r\n", line.to_value())?;
        }
        if let Some(dtls) = &self.dtls {
            self.write_dtls(to, dtls)?;
        }
        for (codec, number) in &self.audio {
            let channels = if *codec == AudioCodec::Opus { "/2" } else { "" };
            write!(to, "a=rtpmap:{number} {}/{}{channels}\r\n", codec.name(), codec.clock_hz())?;
            if *codec == AudioCodec::Opus && !self.policy.opus_fmtp.is_empty() {
                write!(to, "a=fmtp:{number} {}\r\n", self.policy.opus_fmtp)?;
            }
        }
        for (clock_hz, number) in &self.events {
            write!(to, "a=rtpmap:{number} telephone-event/{clock_hz}\r\n")?;
            if self.policy.telephone_event_fmtp {
                write!(to, "a=fmtp:{number} 0-16\r\n")?;
            }
        }
        if self.comfort_noise {
            write!(to, "a=rtpmap:{COMFORT_NOISE} CN/8000\r\n")?;
        }
        if let Some(maxptime_ms) = self.policy.maxptime_ms {
            write!(to, "a=maxptime:{maxptime_ms}\r\n")?;
        }
        write!(to, "a=ptime:{}\r\n", self.policy.ptime_ms)
    }
}

impl Ours<'_> {
    fn write_dtls(&self, to: &mut String, dtls: &OurDtls) -> fmt::Result {
        let Local { address, port, ice, .. } = self.local;
        if dtls.ice.is_some() {
            write!(to, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.ufrag, ice.pwd.reveal())?;
            write!(to, "a=candidate:1 1 udp {HOST_PRIORITY} {address} {port} typ host\r\n")?;
            to.push_str("a=end-of-candidates\r\n");
        }
        write!(to, "a=fingerprint:sha-256 {}\r\na=setup:{}\r\n", dtls.fingerprint, dtls.setup)
    }
}

/// Of the one host candidate of the one component (RFC 8445 section 5.1.2.1).
const HOST_PRIORITY: u32 = (126 << 24) + (65_535 << 8) + 255;

/// A stream we do not want keeps its place with port 0 (RFC 3264 section 6).
fn write_rejection(to: &mut String, media: &Media) -> fmt::Result {
    write!(to, "m={} 0 {}", media.kind(), media.protocol())?;
    match media.formats() {
        [] => to.push_str(" 0"),
        formats => formats.iter().try_for_each(|format| write!(to, " {format}"))?,
    }
    to.push_str("\r\n");
    Ok(())
}

/// `IN IP4 0.0.0.0`: an old way to ask for silence (RFC 3264 section 8.4).
pub(crate) fn is_hold_address(address: IpAddr) -> bool {
    address.is_unspecified()
}
