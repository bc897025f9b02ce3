//! What must hold of every message: what is printed is read back the same, and no bytes do harm.

#![allow(clippy::unwrap_used, reason = "clippy exempts test functions alone, not their helpers")]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use setu_sip::digest::{Authorization, Challenge};
use setu_sip::{Frame, Framer, Host, Message, Method, NameAddr, Uri, Via, is_singleton};

const TOKEN: &str = "[A-Za-z0-9.!%*_+`'~-]{1,12}";
const VALUE: &str = "[ -~\u{e9}\u{43d}\u{20ac}]{0,40}";
const USER: &str = "[A-Za-z0-9_.!~*'()&=+$,/?%-]{1,12}";
const PARAM: &str = "[A-Za-z0-9_.!~*'()+-]{1,8}";

prop_compose! {
    fn host()(kind in 0..3, name in "[a-z0-9]([a-z0-9.-]{0,12}[a-z])?", v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>()) -> Host {
        match kind {
            0 => name.parse().unwrap(),
            1 => std::net::IpAddr::from(v4).into(),
            _ => std::net::IpAddr::from(v6).into(),
        }
    }
}

prop_compose! {
    fn uri()(
        scheme in "sips?",
        user in proptest::option::of(USER),
        user_params in proptest::option::of("[a-z=%0-9]{0,8}"),
        password in proptest::option::of("[a-z0-9]{0,8}"),
        host in host(),
        port in proptest::option::of(1..=u16::MAX),
        params in proptest::collection::btree_map("p[a-z]{1,5}", proptest::option::of(PARAM), 0..4),
        headers in vec(("[a-z]{1,5}", "[a-z0-9%]{0,6}"), 0..3),
    ) -> String {
        let mut text = format!("{scheme}:");
        if let Some(user) = user {
            text += &user;
            text += &user_params.map(|params| format!(";{params}")).unwrap_or_default();
            text += &password.map(|password| format!(":{password}")).unwrap_or_default();
            text += "@";
        }
        text += &host.to_string();
        text += &port.map(|port| format!(":{port}")).unwrap_or_default();
        text += &with_params(&params);
        for (index, (name, value)) in headers.iter().enumerate() {
            text += &format!("{}{name}={value}", if index == 0 { "?" } else { "&" });
        }
        text
    }
}

fn with_params(params: &std::collections::BTreeMap<String, Option<String>>) -> String {
    let one = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!(";{name}={value}"),
        None => format!(";{name}"),
    };
    params.iter().map(one).collect()
}

proptest! {
    #[test]
    fn a_built_message_is_read_back_as_it_was_made(
        method in TOKEN,
        uri in uri(),
        headers in vec((TOKEN, VALUE), 0..20),
        body in vec(any::<u8>(), 0..200),
    ) {
        prop_assume!(!method.eq_ignore_ascii_case("SIP"));
        let headers: Vec<_> = headers.into_iter().filter(|(name, _)| !is_singleton(name)).collect();
        let mut builder = Message::request(Method::from(method.as_str()), &uri);
        for (name, value) in &headers {
            builder = builder.header(name, value);
        }
        let built = builder.body("a/b", body.clone()).build().unwrap();
        let read = Message::parse(built.as_bytes().clone()).unwrap();
        prop_assert_eq!(read.method(), Some(Method::from(method.as_str())));
        prop_assert_eq!(read.request_uri(), Some(uri.as_str()));
        prop_assert_eq!(read.body(), body);
        let read: Vec<_> = read.headers().map(|header| (header.name().to_owned(), header.text().into_owned())).collect();
        let made: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.trim_matches(' ').to_owned())).collect();
        prop_assert_eq!(&read[..made.len()], &made[..]);
    }

    #[test]
    fn uris_addresses_and_vias_print_as_they_were_read(
        uri in uri(),
        display in proptest::option::of("[ -~\u{e9}]{1,12}"),
        tag in TOKEN,
        host in host(),
        transport in TOKEN,
    ) {
        let read: Uri = uri.parse().unwrap();
        prop_assert_eq!(read.to_string(), uri);
        prop_assert!(read.is_equivalent(&read.to_string().parse().unwrap()));

        let mut made = NameAddr::new(display.clone(), read.clone());
        made.params.set("tag", Some(tag.clone()));
        let back: NameAddr = made.to_string().parse().unwrap();
        prop_assert_eq!((back.display.clone(), back.uri.clone(), back.tag()), (display, read, Some(tag.as_str())));
        prop_assert_eq!(back.to_string(), back.raw());

        let via = format!("SIP/2.0/{transport} {host};rport;branch=z9hG4bK{tag}");
        prop_assert_eq!(via.parse::<Via>().unwrap().to_string(), via);
    }

    #[test]
    fn authentication_headers_print_as_they_were_read(realm in "[ -~]{0,12}", nonce in "[ -~]{0,12}", opaque in proptest::option::of("[ -~]{0,8}"), stale in any::<bool>()) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut text = format!("Digest realm={}, nonce={}", quoted(&realm), quoted(&nonce));
        text += &opaque.as_deref().map(|opaque| format!(", opaque={}", quoted(opaque))).unwrap_or_default();
        text += ", algorithm=SHA-256, qop=\"auth\"";
        text += if stale { ", stale=true" } else { "" };
        let challenge: Challenge = text.parse().unwrap();
        prop_assert_eq!(challenge.to_string(), text);
        prop_assert_eq!((challenge.realm, challenge.nonce, challenge.opaque), (realm, nonce, opaque));
    }

    /// Whatever is taken can be written anew and says the same; whatever is not has an answer or none, without harm.
    #[test]
    fn damaged_messages_do_no_harm(
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 0..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = INVITE.as_bytes().to_vec();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, b"\r\n \t:;,<>\"\\\0@="[usize::from(byte) % 14]),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        check(&bytes)?;
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..300), text in "\\PC{0,80}") {
        check(&bytes)?;
        let _ = (text.parse::<Uri>(), text.parse::<NameAddr>(), text.parse::<Via>(), text.parse::<Host>());
        let digest = format!("Digest {text}");
        let _ = (digest.parse::<Challenge>(), digest.parse::<Authorization>());
    }

    #[test]
    fn a_stream_gives_the_same_frames_however_it_is_cut(sizes in vec(1..400_usize, 1..12), ping in any::<bool>()) {
        let stream = [INVITE, if ping { "\r\n\r\n" } else { "" }, INVITE].concat().into_bytes();
        let mut framer = Framer::accepted();
        let mut rest = stream.as_slice();
        let mut frames = Vec::new();
        for size in sizes.into_iter().cycle() {
            let (piece, tail) = rest.split_at(size.min(rest.len()));
            framer.push(piece);
            frames.extend(std::iter::from_fn(|| framer.poll()).map(Result::unwrap));
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        let message = Frame::Message(Message::parse(Bytes::from_static(INVITE.as_bytes())).unwrap());
        let expected = if ping { vec![message.clone(), Frame::Ping, message] } else { vec![message.clone(), message] };
        prop_assert_eq!(frames, expected);
    }
}

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match Message::parse(Bytes::copy_from_slice(bytes)) {
        Ok(message) => {
            let copy = message.to_builder().build().unwrap();
            let fields = |message: &Message| -> Vec<_> {
                let fields = message.headers().filter(|header| !header.is("Content-Length"));
                fields.map(|header| (header.name().to_owned(), header.value().to_vec())).collect()
            };
            prop_assert_eq!(fields(&copy), fields(&message));
            prop_assert_eq!(copy.body(), message.body());
            prop_assert_eq!(copy.validate().is_ok(), message.validate().is_ok());
            if message.validate().is_ok() && message.is_request() {
                prop_assert!(
                    Message::reply(&message, 200, None, Some("t")).build().unwrap().validate().is_ok()
                );
            }
        }
        Err(error) => {
            if let Some(answer) = error.response() {
                prop_assert_eq!(answer.status(), Some(error.status));
            }
        }
    }
    Ok(())
}

const INVITE: &str = "INVITE sip:+15550001111@bridge.example.com;transport=tls SIP/2.0\r\n\
    Via: SIP/2.0/TLS [2803:6080::1]:57363;rport;branch=z9hG4bKPj1;alias\r\n\
    Record-Route: <sip:wa.meta.vc;transport=tls;lr>\r\n\
    Max-Forwards: 69\r\n\
    f: \"12195550714\" <sip:+12195550714@wa.meta.vc>;tag=a1\r\n\
    To : <sip:+15550001111@bridge.example.com>\r\n\
    Contact: <sip:+12195550714@wa.meta.vc;transport=tls;ob>;isfocus\r\n\
    Call-ID: outgoing:wacid.HBgL==\r\n\
    CSeq: 31159 INVITE\r\n\
    Subject: one\r\n  two\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length:   4\r\n\r\nv=0\n";
