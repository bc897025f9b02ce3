use crate::secure::{Setup, agree_ice};
use crate::terms::{
    Destination, Secured, agree_crypto, dtmf_clocks, opus_parameters, packet_time_ms, takes_comfort_noise,
};
use crate::{
    Audio, AudioCodec, Description, Dtmf, Media, Negotiated, Offer, Payload, Refusal, RtcpMux, SrtpKeys,
    SrtpSuite,
};

/// Takes the peer's answer to `offer` (RFC 3264 section 7). It changes nothing: an early answer (183) and the final
/// one, or those of several forks, may each be taken.
///
/// The peer may number its payload types differently from ours; then the two directions differ. Of several codecs in
/// the answer the first counts.
pub fn accept(offer: &Offer, answer: &Description) -> Result<Negotiated, Refusal> {
    let media = answer.media().first().filter(|m| m.is_audio() && m.port() != 0);
    let media = media.ok_or(Refusal::AnswerRejectsAudio)?;
    let suites: Vec<SrtpSuite> = offer.crypto.iter().map(|line| line.suite).collect();
    let secured = agree_crypto(answer, media, &offer.policy, &suites, Setup::Answered)?;
    let dtls = secured.dtls();
    let ice = offer.policy.keying.dtls().filter(|_| dtls.is_some());
    let ice = ice.and_then(|policy| agree_ice(answer, media, policy, (&offer.ice, offer.address), true));
    let srtp = keys(offer, secured)?;
    let payloads = media.payloads();
    let audio = audio(offer, media, &payloads).ok_or(Refusal::NoCommonCodec)?;
    let rtcp_mux = match offer.policy.rtcp_mux {
        // One handshake, one path.
        _ if dtls.is_some() => true,
        RtcpMux::Always => true,
        RtcpMux::Negotiated => media.attribute("rtcp-mux").is_some(),
        RtcpMux::Never => false,
    };
    let to = Destination::of(answer, media, rtcp_mux, ice.is_some(), offer.known)?;
    Ok(Negotiated {
        remote: to.rtp,
        remote_rtcp: to.rtcp,
        audio,
        dtmf: dtmf(offer, audio.codec, &payloads),
        comfort_noise: takes_comfort_noise(&offer.policy, audio.codec, &payloads),
        srtp,
        dtls,
        ice,
        direction: to.direction,
        hold: to.hold,
        version: offer.version,
    })
}

fn keys(offer: &Offer, secured: Secured) -> Result<Option<SrtpKeys>, Refusal> {
    let Secured::Sdes(theirs) = secured else { return Ok(None) };
    // Matched by suite, which stands once in an offer: some peers answer every line with tag 1.
    let ours = offer.crypto.iter().find(|line| line.suite == theirs.suite);
    let ours = ours.ok_or(Refusal::NoLocalKey(theirs.suite.name()))?;
    Ok(Some(SrtpKeys { suite: theirs.suite, send: ours.key.clone(), receive: theirs.key }))
}

fn audio(offer: &Offer, media: &Media, payloads: &[Payload]) -> Option<Audio> {
    payloads.iter().find_map(|payload| {
        let by_number = || offer.audio.iter().find(|(_, n)| *n == payload.number).map(|(codec, _)| *codec);
        // A number of ours without an a=rtpmap of its own means what we said of it.
        let codec = if payload.encoding.is_some() { payload.codec() } else { by_number() }?;
        let (_, receive_pt) = offer.audio.iter().find(|(offered, _)| *offered == codec)?;
        Some(Audio {
            codec,
            send_pt: payload.number,
            receive_pt: *receive_pt,
            ptime_ms: packet_time_ms(media),
            opus: opus_parameters(codec, payload.fmtp.as_deref()),
        })
    })
}

fn dtmf(offer: &Offer, codec: AudioCodec, payloads: &[Payload]) -> Option<Dtmf> {
    dtmf_clocks(&offer.policy, codec).into_iter().find_map(|clock_hz| {
        let (_, receive_pt) = offer.events.iter().find(|(offered_hz, _)| *offered_hz == clock_hz)?;
        let theirs = payloads.iter().find(|p| {
            p.telephone_event_hz() == Some(clock_hz) || (p.encoding.is_none() && p.number == *receive_pt)
        })?;
        Some(Dtmf { send_pt: theirs.number, receive_pt: *receive_pt, clock_hz })
    })
}
