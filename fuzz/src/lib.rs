//! The bodies of the fuzz targets: each takes any bytes and panics if a core breaks a promise.
//!
//! It never judges what is accepted; that is the business of the cores' own tests.

#![forbid(unsafe_code)]

mod relay;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use bytes::Bytes;
use setu_model::SeededEntropy;
use setu_sdp::{Description, Local, Policy, SrtpPolicy};
use setu_sip::{Frame, Framer, Message};
use setu_srtp::{Receiver, Sender, Suite};

pub use relay::relay;

/// A target: its name, which is that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 7] = [
    ("sip_message", sip_message),
    ("sip_stream", sip_stream),
    ("sdp", sdp),
    ("digest", digest),
    ("rtp", rtp),
    ("call_operations", call_operations),
    ("relay", relay),
];

/// One datagram: parsed, read in every way, printed, edited, answered.
pub fn sip_message(data: &[u8]) {
    match Message::parse(Bytes::copy_from_slice(data)) {
        Ok(message) => read_message(&message),
        Err(error) => {
            if let Some(response) = error.response() {
                let again = Message::parse(response.as_bytes().clone());
                assert!(again.is_ok(), "our own refusal does not parse: {again:?}");
            }
        }
    }
}

/// A stream, cut into messages at places that the first byte chooses: the cuts must not matter.
pub fn sip_stream(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let whole = frames(bytes, bytes.len().max(1));
    let cut = frames(bytes, usize::from(*step).max(1));
    assert_eq!(whole, cut, "what a stream says depends on how it was cut");
}

/// A session description: parsed, answered and accepted under every policy.
pub fn sdp(data: &[u8]) {
    let Ok(description) = Description::parse(data) else { return };
    let again = Description::parse(description.to_string().as_bytes());
    assert!(again.is_ok(), "our own print of a description does not parse: {again:?}");
    for policy in [Policy::meta(), Policy::softphone(), Policy::trunk(SrtpPolicy::Off)] {
        let local = Local::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4000, &policy, &mut SeededEntropy::new(1));
        if let Ok((answer, agreed)) = setu_sdp::answer(&description, &policy, &local) {
            assert!(Description::parse(answer.as_bytes()).is_ok(), "our answer does not parse: {answer}");
            // The same peer may offer the same again, as a session refresh does.
            let _ = setu_sdp::re_answer(&description, &agreed, &policy, &local);
        }
        let _ = setu_sdp::accept(&setu_sdp::offer(&policy, &local), &description);
    }
}

/// Digest headers, as challenge and as credentials.
pub fn digest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(challenge) = text.parse::<setu_sip::digest::Challenge>() {
        let again = challenge.to_string().parse::<setu_sip::digest::Challenge>();
        assert!(again.is_ok(), "our own print of a challenge does not parse: {again:?}");
    }
    if let Ok(authorization) = text.parse::<setu_sip::digest::Authorization>() {
        let again = authorization.to_string().parse::<setu_sip::digest::Authorization>();
        assert!(again.is_ok(), "our own print of credentials does not parse: {again:?}");
    }
}

/// RTP, RTCP and telephone-events as they come, and as SRTP and SRTCP under every suite: what is not authentic must
/// be refused, what we protect must come back.
pub fn rtp(data: &[u8]) {
    let _ = setu_srtp::demux::classify(data);
    let _ = setu_srtp::TelephoneEvent::parse(data);
    if let Ok(header) = setu_srtp::rtp::Header::parse(data) {
        let _ = header.payload(data);
    }
    if let Ok(compound) = setu_srtp::rtcp::Compound::parse(data) {
        for packet in compound.packets() {
            let _ = packet;
        }
    }
    for suite in Suite::ALL {
        let keying = [7; 44];
        let keying = &keying[..suite.key_len() + suite.salt_len()];
        let (Ok(mut sender), Ok(mut receiver)) =
            (Sender::from_keying(suite, keying), Receiver::from_keying(suite, keying))
        else {
            continue;
        };
        let mut forged = data.to_vec();
        assert!(receiver.unprotect_rtp(&mut forged).is_err(), "a forged packet was taken");
        let mut forged = data.to_vec();
        assert!(receiver.unprotect_rtcp(&mut forged).is_err(), "a forged report was taken");
        assert_eq!(receiver.source_count(), 0, "a forged packet left state behind");
        let mut packet = data.to_vec();
        packet.resize(data.len() + 64, 0);
        if let Ok(len) = sender.protect_rtp(&mut packet, data.len()) {
            let plain = receiver.unprotect_rtp(&mut packet[..len]);
            assert_eq!(plain.map(|n| packet[..n].to_vec()), Ok(data.to_vec()), "a packet did not come back");
        }
    }
}

/// Inputs to the call core in any order: every call ends with one record, nothing is leaked.
pub fn call_operations(data: &[u8]) {
    let _ = setu_call::fuzz_operations(data, Instant::now());
}

fn read_message(message: &Message) {
    let _ = (message.method(), message.status(), message.reason(), message.request_uri());
    let _ = (message.call_id(), message.cseq(), message.from(), message.to(), message.contacts());
    let _ = (
        message.vias(),
        message.record_routes(),
        message.routes(),
        message.max_forwards(),
        message.expires(),
    );
    if let Ok(Some(description)) = message.session_description() {
        assert!(description.len() <= message.body().len(), "a part is larger than its body");
    }
    for header in message.headers() {
        let _ = (header.name(), header.text(), message.list(header.name()));
    }
    let again = Message::parse(message.as_bytes().clone());
    assert_eq!(
        again.as_ref().map(Message::as_bytes),
        Ok(message.as_bytes()),
        "a parsed message does not parse"
    );
    if message.is_request()
        && let Ok(reply) = Message::reply(message, 486, None, Some("tag")).build()
    {
        let reply = Message::parse(reply.as_bytes().clone());
        assert_eq!(reply.map(|r| r.status()), Ok(Some(486)), "our reply does not parse");
    }
}

/// What the framer says of `bytes` pushed in steps: messages as text, then whether it broke.
fn frames(bytes: &[u8], step: usize) -> (Vec<Bytes>, bool) {
    let mut framer = Framer::accepted();
    let mut said = Vec::new();
    for piece in bytes.chunks(step) {
        framer.push(piece);
        loop {
            match framer.poll() {
                None => break,
                Some(Ok(Frame::Message(message))) => said.push(message.as_bytes().clone()),
                // Where a read ends decides what a lone CRLF is, so keepalives are not compared.
                Some(Ok(Frame::Ping | Frame::Pong)) => {}
                Some(Err(_)) => return (said, true),
            }
        }
    }
    (said, false)
}
