//! The torture messages of RFC 4475 (all 49) and RFC 5118, each with the verdict it must get.
//!
//! Where the RFC leaves a choice, or we are more lenient than it, the entry says so.

#![allow(clippy::unwrap_used, reason = "clippy exempts test functions alone, not their helpers")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use setu_sip::{Contacts, Frame, Framer, Host, Message, Method, ParseError, Scheme, Uri};

/// What must become of a message.
enum Verdict {
    /// It is taken, and it is valid; the check looks at its fields.
    Valid(fn(&Message)),
    /// It is taken although the RFC calls it invalid or leaves the refusal to a layer above; for this reason.
    Lenient(&'static str, fn(&Message)),
    /// [`Message::parse`] refuses it with this status.
    Unparsed(u16),
    /// [`Message::validate`] refuses it with this status.
    Invalid(u16),
}

use Verdict::{Invalid, Lenient, Unparsed, Valid};

const TORTURE: &[(&str, Verdict)] = &[
    // RFC 4475 section 3.1.1: valid messages.
    ("wsinv", Valid(wsinv)),
    ("intmeth", Valid(intmeth)),
    ("esc01", Valid(esc01)),
    ("escnull", Valid(escnull)),
    ("esc02", Valid(esc02)),
    ("lwsdisp", Valid(|message| assert_eq!(message.from().unwrap().display.as_deref(), Some("caller")))),
    ("longreq", Valid(longreq)),
    (
        "dblreq",
        Valid(|message| assert!(message.body().is_empty() && message.method() == Some(Method::Register))),
    ),
    ("semiuri", Valid(semiuri)),
    ("transports", Valid(transports)),
    ("mpart01", Valid(|message| assert!(message.body().len() == 553 && message.body().contains(&0)))),
    ("unreason", Valid(unreason)),
    ("noreason", Valid(|message| assert_eq!((message.status(), &*message.reason()), (Some(100), "")))),
    // Section 3.1.2: invalid messages.
    ("badinv01", Invalid(400)),
    ("clerr", Unparsed(400)),
    ("ncl", Unparsed(400)),
    ("scalar02", Invalid(400)),
    ("scalarlg", Invalid(400)),
    ("quotbal", Invalid(400)),
    ("ltgtruri", Unparsed(400)),
    ("lwsruri", Unparsed(400)),
    ("lwsstart", Unparsed(400)),
    ("trws", Unparsed(400)),
    ("escruri", Invalid(400)),
    (
        "baddate",
        Lenient("nothing here depends on Date", |message| {
            assert_eq!(message.header("date").as_deref(), Some("Fri, 01 Jan 2010 16:00:00 EST"));
        }),
    ),
    ("regbadct", Invalid(400)),
    ("badaspec", Invalid(400)),
    ("baddn", Invalid(400)),
    ("badvers", Unparsed(505)),
    ("mismatch01", Invalid(400)),
    ("mismatch02", Invalid(400)),
    ("bigcode", Unparsed(400)),
    // Section 3.2: transaction layer.
    (
        "badbranch",
        Lenient("a branch of the cookie alone is for the transaction layer to judge", |message| {
            assert_eq!(message.top_via().unwrap().branch(), Some("z9hG4bK"));
        }),
    ),
    // Section 3.3: application layer.
    ("insuf", Invalid(400)),
    ("unkscm", Invalid(416)),
    ("novelsc", Invalid(416)),
    (
        "unksm2",
        Lenient("the registrar finds no such address of record", |message| {
            assert_eq!(message.to().unwrap().uri.scheme, Scheme::Other("isbn".into()));
        }),
    ),
    (
        "bext01",
        Lenient("420 is for the endpoint to answer", |message| assert_eq!(message.list("Require").len(), 2)),
    ),
    (
        "invut",
        Lenient("415 is for the endpoint to answer", |message| {
            assert!(message.session_description().is_err())
        }),
    ),
    (
        "regaut01",
        Lenient("an unknown scheme authenticates nobody", |message| {
            assert_eq!(setu_sip::digest::Authorization::of(message, "Authorization", "x"), None);
        }),
    ),
    ("multi01", Unparsed(400)),
    ("mcl01", Unparsed(400)),
    (
        "bcast",
        Lenient("its branches match no transaction of ours", |message| {
            assert_eq!(message.vias().unwrap().len(), 2);
        }),
    ),
    ("zeromf", Valid(|message| assert_eq!(message.max_forwards(), Some(0)))),
    ("cparam01", Valid(|message| assert_eq!(contact_params(message), (true, false)))),
    ("cparam02", Valid(|message| assert_eq!(contact_params(message), (false, true)))),
    ("regescrt", Valid(regescrt)),
    (
        "sdp01",
        Lenient("406 is for the endpoint to answer", |message| {
            assert_eq!(message.header("Accept").as_deref(), Some("text/nobodyKnowsThis"));
        }),
    ),
    // Section 3.4: backward compatibility.
    ("inv2543", Valid(inv2543)),
    // RFC 5118 section 4, in order.
    ("rfc5118-ipv6-good", Valid(|message| assert_eq!(request_uri(message).host, v6("2001:db8::10")))),
    ("rfc5118-ipv6-bad", Invalid(400)),
    (
        "rfc5118-port-ambiguous",
        Valid(|message| {
            let uri = request_uri(message);
            assert_eq!((uri.host, uri.port), (v6("2001:db8::10:5070"), None));
        }),
    ),
    (
        "rfc5118-port-unambiguous",
        Valid(|message| {
            let uri = request_uri(message);
            assert_eq!((uri.host, uri.port), (v6("2001:db8::10"), Some(5070)));
        }),
    ),
    ("rfc5118-via-received-param-no-delim", Valid(received_is_2001_db8_9_255)),
    (
        "rfc5118-via-received-param-with-delim",
        Lenient("brackets that RFC 5118 section 4.5 asks to accept", received_is_2001_db8_9_255),
    ),
    // The RFC prints a Content-Length 17 bytes beyond this body, and lengths 8 and 9 bytes short of the two below.
    ("rfc5118-ipv6-in-sdp", Unparsed(400)),
    ("rfc5118-mult-ip-in-header", Valid(mixed_vias)),
    ("rfc5118-mult-ip-in-sdp", Valid(|message| assert_eq!(message.body().len(), 181))),
    (
        "rfc5118-ipv4-mapped-ipv6",
        Valid(|message| {
            assert_eq!(message.top_via().unwrap().host, v6("::ffff:192.0.2.10"));
        }),
    ),
    ("rfc5118-ipv6-bug-abnf-3-colons", Invalid(400)),
    (
        "rfc5118-ipv6-correct-abnf-2-colons",
        Valid(|message| {
            assert_eq!(request_uri(message).host, v6("2001:db8::c000:201"));
        }),
    ),
];

#[test]
fn every_message_gets_its_verdict() {
    for (name, verdict) in TORTURE {
        let parsed = Message::parse(bytes(name).into());
        let validated = parsed.clone().and_then(|message| message.validate().map(|()| message));
        let leniency = if let Lenient(reason, _) = verdict { reason } else { "" };
        println!("{name}: {validated:?} {leniency}");
        match (verdict, parsed, validated) {
            (Valid(check) | Lenient(_, check), Ok(_), Ok(message)) => check(&message),
            (Unparsed(status), Err(error), _) | (Invalid(status), Ok(_), Err(error)) => {
                assert_eq!(error.status, *status, "{name}: {error}");
            }
            (Valid(_) | Lenient(..) | Unparsed(_) | Invalid(_), parsed, validated) => {
                panic!("{name}: parsed {parsed:?}, validated {validated:?}")
            }
        }
    }
}

#[test]
fn the_table_and_the_folder_name_the_same_messages() {
    let listed: BTreeSet<String> = TORTURE.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> =
        files.filter_map(|name| name.strip_suffix(".dat").map(str::to_owned)).collect();
    assert_eq!(listed, files);
    assert_eq!(listed.iter().filter(|name| !name.starts_with("rfc5118-")).count(), 49);
}

#[test]
fn every_accepted_message_survives_being_written_anew() {
    for (name, verdict) in TORTURE {
        if matches!(verdict, Unparsed(_)) {
            continue;
        }
        let message = Message::parse(bytes(name).into()).unwrap();
        let copy = message.to_builder().build().unwrap();
        let fields = |message: &Message| -> Vec<_> {
            let fields = message.headers().filter(|header| !header.is("Content-Length"));
            fields.map(|header| (header.name().to_owned(), header.value().to_vec())).collect()
        };
        assert_eq!((fields(&copy), copy.body()), (fields(&message), message.body()), "{name}");
        assert_eq!(copy.validate().is_ok(), message.validate().is_ok(), "{name}");
    }
}

#[test]
fn refused_requests_are_answered_and_refused_responses_are_not() {
    for (name, verdict) in TORTURE {
        let parsed = Message::parse(bytes(name).into());
        let Some(error) = parsed.and_then(|message| message.validate()).err() else {
            continue;
        };
        let answer = error.response();
        if ["scalarlg", "bigcode", "insuf"].contains(name) {
            assert_eq!(answer, None, "{name}: a response, or nothing to answer to");
            continue;
        }
        let answer = answer.unwrap_or_else(|| panic!("{name} has no answer"));
        assert_eq!(answer.status(), Some(error.status), "{name}");
        assert!(matches!(verdict, Unparsed(_) | Invalid(_)), "{name}");
    }
}

/// A stream needs Content-Length; with one, each message is framed or refused as in a datagram.
#[test]
fn streams_give_the_same_verdicts() {
    for (name, verdict) in TORTURE {
        let datagram = Message::parse(bytes(name).into());
        for size in [1, 7, 65_535] {
            let frame = first_frame(&bytes(name), size);
            match (verdict, frame) {
                (_, Some(Ok(Frame::Message(message)))) => assert_eq!(Ok(message), datagram, "{name}"),
                (Unparsed(status), Some(Err(error))) => assert_eq!(error.status, *status, "{name}"),
                // Bodies shorter than announced, and RFC 2543's missing length.
                (_, None) => assert!(["clerr", "rfc5118-ipv6-in-sdp"].contains(name), "{name}"),
                (_, Some(Err(error))) => assert_eq!((*name, error.status), ("inv2543", 400)),
                (_, Some(Ok(Frame::Ping | Frame::Pong))) => panic!("{name}: a keepalive"),
            }
        }
    }
}

#[test]
fn bodies_of_rfc_5118_are_taken_whole_once_their_lengths_are_mended() {
    for (name, printed, mended) in
        [("ipv6-in-sdp", 268, 251), ("mult-ip-in-sdp", 181, 189), ("ipv4-mapped-ipv6", 236, 245)]
    {
        let text = String::from_utf8(bytes(&format!("rfc5118-{name}"))).unwrap();
        let text = text.replace(&format!("Length: {printed}"), &format!("Length: {mended}"));
        let message = Message::parse(text.into()).unwrap();
        assert_eq!(message.validate(), Ok(()));
        assert!(message.body().ends_with(b"a=rtpmap:107 H263-1998/90000\r\n"), "{name}");
    }
}

/// No cut of a torture message panics or is taken for a whole one.
#[test]
fn cut_torture_messages_do_no_harm() {
    for (name, _) in TORTURE {
        let bytes = bytes(name);
        for end in 0..bytes.len() {
            match Message::parse(bytes[..end].to_vec().into()) {
                Ok(message) => drop(message.validate()),
                Err(error) => drop(error.response()),
            }
        }
    }
}

fn first_frame(bytes: &[u8], size: usize) -> Option<Result<Frame, ParseError>> {
    let mut framer = Framer::accepted();
    for piece in bytes.chunks(size) {
        framer.push(piece);
        if let Some(frame) = framer.poll() {
            return Some(frame);
        }
    }
    None
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.dat"))).unwrap()
}

fn request_uri(message: &Message) -> Uri {
    message.request_uri().unwrap().parse().unwrap()
}

fn v6(text: &str) -> Host {
    Host::V6(text.parse().unwrap())
}

fn wsinv(message: &Message) {
    assert_eq!(message.method(), Some(Method::Invite));
    assert_eq!(message.request_uri(), Some("sip:vivekg@chair-dnrc.example.com;unknownparam"));
    assert_eq!(message.to().unwrap().tag(), Some("1918181833n"));
    let from = message.from().unwrap();
    assert_eq!((from.display.as_deref(), from.tag()), (Some("J Rosenberg \\\""), Some("98asjd8")));
    assert_eq!((message.max_forwards(), message.cseq().unwrap().number), (Some(68), 9));
    let vias = message.vias().unwrap();
    let vias: Vec<_> = vias.iter().map(ToString::to_string).collect();
    assert_eq!(
        vias,
        [
            "SIP/2.0/UDP 192.0.2.2;branch=390skdjuw",
            "SIP/2.0/TCP spindle.example.com;branch=z9hG4bK9ikj8",
            "SIP/2.0/UDP 192.168.255.111;branch=z9hG4bK30239",
        ]
    );
    assert_eq!(message.header("Subject").as_deref(), Some(""));
    assert_eq!(
        message.header("NewFangledHeader").as_deref(),
        Some("newfangled value continued newfangled value")
    );
    assert_eq!(message.header("unknownheaderwithunusualvalue").as_deref(), Some(";;,,;;,;"));
    let Ok(Contacts::List(contacts)) = message.contacts() else { panic!("no contacts") };
    assert_eq!(contacts[0].display.as_deref(), Some("Quoted string \"\""));
    assert_eq!(contacts[0].params.value("q"), Some("0.33"));
    assert_eq!(message.routes().unwrap()[0].uri.param("unknown-no-value"), Some(None));
    assert_eq!(message.body().len(), 150);
}

fn intmeth(message: &Message) {
    let method = "!interesting-Method0123456789_*+`.%indeed'~";
    assert_eq!(message.method(), Some(Method::Other(method.into())));
    assert_eq!(message.cseq().unwrap().method.as_str(), method);
    assert_eq!(request_uri(message).to_string(), message.request_uri().unwrap());
    assert_eq!(message.top_via().unwrap().branch(), Some("z9hG4bK-.!%66*_+`'~"));
    assert_eq!(message.to().unwrap().display.as_deref(), Some("BEL:\u{fffd} NUL:\u{fffd} DEL:\u{fffd}"));
    let from = message.from().unwrap();
    assert_eq!(from.display.as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert_eq!(
        from.params.value("fromParam''~+*_!.-%"),
        Some("\"\u{440}\u{430}\u{431}\u{43e}\u{442}\u{430}\u{44e}\u{449}\u{438}\u{439}\"")
    );
    assert_eq!(from.tag(), Some("_token~1'+`*%!-."));
    assert_eq!(message.call_id().unwrap(), "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    assert_eq!(
        message.header("extensionHeader-!.%*+_`'~").as_deref(),
        Some("\u{feff}\u{5927}\u{505c}\u{96fb}")
    );
    assert_eq!(message.max_forwards(), Some(255));
}

fn esc01(message: &Message) {
    assert_eq!(request_uri(message).user_text().as_deref(), Some("sips:user@example.com"));
    assert!(message.to().unwrap().uri.is_equivalent(&"sip:user@example.com".parse().unwrap()));
    assert_eq!(message.from().unwrap().uri.user_text().as_deref(), Some("I have spaces"));
    let contact = &message.contacts().unwrap().addresses()[0].uri.clone();
    assert_eq!(contact.user_text().as_deref(), Some("caller"));
    assert_eq!(contact.params.to_string(), ";%6C%72;n%61me=v%61lue%25%34%31");
}

fn escnull(message: &Message) {
    assert_eq!(message.to().unwrap().uri.user.as_deref(), Some("null-%00-null"));
    assert_eq!(message.to().unwrap().uri.user_text().as_deref(), Some("null-%00-null"), "NUL is never made");
    assert_eq!(message.contacts().unwrap().addresses().len(), 2);
}

fn esc02(message: &Message) {
    assert_eq!(message.method(), Some(Method::Other("RE%47IST%45R".into())));
    assert_eq!(message.to().unwrap().display.as_deref(), Some("%Z%45"));
    assert_eq!(message.contacts().unwrap().addresses().len(), 2, "C%6Fntact is another header");
}

fn longreq(message: &Message) {
    assert_eq!(message.vias().unwrap().len(), 34);
    let to = message.to().unwrap();
    assert_eq!((to.uri.port, to.uri.params.iter().count()), (Some(6000), 3));
    assert!(message.call_id().unwrap().starts_with("longreq.onereallyreally"));
    assert_eq!(message.body().len(), 150);
}

fn semiuri(message: &Message) {
    let uri = request_uri(message);
    assert_eq!(
        (uri.user.as_deref(), uri.user_params.as_deref()),
        (Some("user"), Some("par=u%40example.net"))
    );
    assert_eq!((uri.host, uri.params.is_empty()), (Host::Name("example.com".to_owned()), true));
    assert_eq!(message.list("Accept").len(), 6);
}

fn transports(message: &Message) {
    let vias = message.vias().unwrap();
    let names: Vec<_> = vias.iter().map(|via| via.transport.as_str()).collect();
    assert_eq!(names, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

fn unreason(message: &Message) {
    assert_eq!(message.status(), Some(200));
    assert!(message.reason().starts_with("= 2**3 * 5**2 \u{43d}\u{43e}"));
}

/// Whether `unknownparam` is one of the header, and one of the URI.
fn contact_params(message: &Message) -> (bool, bool) {
    let contact = &message.contacts().unwrap().addresses()[0].clone();
    (contact.params.has("unknownparam"), contact.uri.params.has("unknownparam"))
}

fn regescrt(message: &Message) {
    let contact = &message.contacts().unwrap().addresses()[0].clone();
    assert_eq!(contact.uri.headers, [("Route".to_owned(), "%3Csip:sip.example.com%3E".to_owned())]);
}

fn inv2543(message: &Message) {
    assert_eq!((message.from().unwrap().tag(), message.max_forwards()), (None, None));
    assert_eq!((message.top_via().unwrap().branch(), message.body().len()), (None, 105));
    assert_eq!(message.to().unwrap().params.value("user"), Some("phone"));
}

fn received_is_2001_db8_9_255(message: &Message) {
    assert_eq!(message.top_via().unwrap().received(), Some(v6("2001:db8::9:255")));
}

fn mixed_vias(message: &Message) {
    let vias = message.vias().unwrap();
    let hosts: Vec<_> = vias.iter().map(|via| via.host.clone()).collect();
    assert_eq!(hosts, [v6("2001:db8::9:1"), "192.0.2.1".parse().unwrap(), v6("2001:db8::9:255")]);
    assert_eq!(vias[2].received(), Some("192.0.2.200".parse().unwrap()));
}
