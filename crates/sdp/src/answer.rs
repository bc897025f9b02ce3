use std::net::IpAddr;

use crate::offer::FIRST_VERSION;
use crate::secure::{Setup, agree_ice};
use crate::terms::{
    Destination, Secured, agree_crypto, dtmf_clocks, is_secure, opus_parameters, packet_time_ms,
    takes_comfort_noise,
};
use crate::text::{OurDtls, Ours};
use crate::{
    Audio, AudioCodec, CryptoLine, Description, DtlsRole, Dtmf, Local, Media, Negotiated, Payload, Policy,
    Refusal, RtcpMux, SrtpKeys,
};

/// Answers the first offer of a leg (RFC 3264 section 6): one audio stream is taken, every other stream rejected.
///
/// Of several audio streams the first that can be agreed on is taken, encrypted ones before clear ones. The answer
/// repeats the offer's payload types and transport.
pub fn answer(offer: &Description, policy: &Policy, local: &Local) -> Result<(String, Negotiated), Refusal> {
    Answerer {
        offer,
        policy,
        local,
        codecs: policy.audio.clone(),
        version: FIRST_VERSION,
        known: None,
        role: None,
    }
    .answer()
}

/// Answers an offer within a call, such as hold and resume (RFC 3264 section 8): same session id, next version, our
/// key and, if it is offered, the codec in use unchanged. An error leaves the session as it was.
pub fn re_answer(
    offer: &Description,
    current: &Negotiated,
    policy: &Policy,
    local: &Local,
) -> Result<(String, Negotiated), Refusal> {
    let mut codecs = policy.audio.clone();
    codecs.sort_by_key(|codec| *codec != current.audio.codec);
    let version = current.version.saturating_add(1);
    let known = Some(current.remote.ip());
    let role = current.dtls.as_ref().map(|dtls| dtls.role);
    Answerer { offer, policy, local, codecs, version, known, role }.answer()
}

struct Answerer<'a> {
    offer: &'a Description,
    policy: &'a Policy,
    local: &'a Local,
    /// In order of preference.
    codecs: Vec<AudioCodec>,
    version: u64,
    known: Option<IpAddr>,
    /// Our part in the handshake that is done already.
    role: Option<DtlsRole>,
}

impl Answerer<'_> {
    fn answer(&self) -> Result<(String, Negotiated), Refusal> {
        let streams = self.offer.media();
        let mut audio: Vec<&Media> = streams.iter().filter(|m| m.is_audio() && m.port() != 0).collect();
        // A phone that offers the same call twice, clear and encrypted, gets it encrypted.
        audio.sort_by_key(|media| !is_secure(media.protocol()).unwrap_or(false));
        let mut refusal = None;
        for media in audio {
            match self.agree(media) {
                Ok((negotiated, peer_key)) => {
                    let text = self.print(media, &negotiated, peer_key);
                    return Ok((text, negotiated));
                }
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        Err(refusal.unwrap_or(Refusal::NoAudio))
    }

    fn agree(&self, media: &Media) -> Result<(Negotiated, Option<CryptoLine>), Refusal> {
        let policy = self.policy;
        let secured = agree_crypto(self.offer, media, policy, policy.suites(), Setup::Offered(self.role))?;
        let dtls = secured.dtls();
        let ice = policy.keying.dtls().filter(|_| dtls.is_some());
        let ice = ice.and_then(|policy| {
            agree_ice(self.offer, media, policy, (&self.local.ice, self.local.address), false)
        });
        let payloads = media.payloads();
        let (codec, chosen) = self
            .codecs
            .iter()
            .find_map(|codec| Some((*codec, payloads.iter().find(|p| p.codec() == Some(*codec))?)))
            .ok_or(Refusal::NoCommonCodec)?;
        let to = Destination::of(
            self.offer,
            media,
            dtls.is_some() || self.rtcp_mux(media),
            ice.is_some(),
            self.known,
        )?;
        let peer_key = match secured {
            Secured::Sdes(line) => Some(line),
            Secured::Clear | Secured::Dtls(_) => None,
        };
        let srtp = match &peer_key {
            Some(line) => {
                let send = self.local.key(line.suite).ok_or(Refusal::NoLocalKey(line.suite.name()))?;
                Some(SrtpKeys { suite: line.suite, send: send.clone(), receive: line.key.clone() })
            }
            None => None,
        };
        let negotiated = Negotiated {
            remote: to.rtp,
            remote_rtcp: to.rtcp,
            audio: Audio {
                codec,
                send_pt: chosen.number,
                receive_pt: chosen.number,
                ptime_ms: packet_time_ms(media),
                opus: opus_parameters(codec, chosen.fmtp.as_deref()),
            },
            dtmf: self.dtmf(codec, &payloads),
            comfort_noise: takes_comfort_noise(self.policy, codec, &payloads),
            srtp,
            dtls,
            ice,
            direction: to.direction,
            hold: to.hold,
            version: self.version,
        };
        Ok((negotiated, peer_key))
    }

    fn dtmf(&self, codec: AudioCodec, payloads: &[Payload]) -> Option<Dtmf> {
        dtmf_clocks(self.policy, codec).into_iter().find_map(|clock_hz| {
            let number = payloads.iter().find(|p| p.telephone_event_hz() == Some(clock_hz))?.number;
            Some(Dtmf { send_pt: number, receive_pt: number, clock_hz })
        })
    }

    fn rtcp_mux(&self, media: &Media) -> bool {
        match self.policy.rtcp_mux {
            RtcpMux::Always => true,
            RtcpMux::Negotiated => media.attribute("rtcp-mux").is_some(),
            RtcpMux::Never => false,
        }
    }

    fn print(&self, taken: &Media, agreed: &Negotiated, peer_key: Option<CryptoLine>) -> String {
        // The answer repeats the tag of the line it takes, with our own key (RFC 4568 section 5.1.2).
        let our_line =
            peer_key.and_then(|line| Some(CryptoLine { key: agreed.srtp.as_ref()?.send.clone(), ..line }));
        let ours = Ours {
            local: self.local,
            policy: self.policy,
            version: self.version,
            protocol: taken.protocol(),
            audio: vec![(agreed.audio.codec, agreed.audio.receive_pt)],
            events: agreed.dtmf.iter().map(|dtmf| (dtmf.clock_hz, dtmf.receive_pt)).collect(),
            comfort_noise: agreed.comfort_noise,
            crypto: our_line.into_iter().collect(),
            dtls: agreed.dtls.as_ref().zip(self.policy.keying.dtls()).map(|(dtls, policy)| OurDtls {
                fingerprint: policy.fingerprint,
                setup: dtls.role.word(),
                ice: agreed.ice.as_ref().map(|ice| ice.mode),
            }),
            direction: agreed.direction,
            rtcp_mux: agreed.remote_rtcp.is_none() && (agreed.dtls.is_some() || self.rtcp_mux(taken)),
            mid: self.mid(taken, agreed.dtls.is_some()),
        };
        let streams = self.offer.media().iter();
        let streams: Vec<_> = streams.map(|m| if std::ptr::eq(m, taken) { None } else { Some(m) }).collect();
        ours.print(&streams)
    }

    /// The stream's name in a BUNDLE group: as offered, or Meta's own word where nothing was offered. A browser wants
    /// its own back.
    fn mid<'m>(&self, taken: &'m Media, dtls: bool) -> Option<&'m str> {
        let offered = taken.attribute("mid").filter(|mid| !mid.is_empty());
        if self.policy.bundle { Some(offered.unwrap_or("audio")) } else { offered.filter(|_| dtls) }
    }
}
