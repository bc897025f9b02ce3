use super::*;
use crate::scan::work;

const INVITE: &str = "INVITE sip:+15550001111@bridge.example.com;transport=tls SIP/2.0\r\n\
    Via: SIP/2.0/TLS [2803:6080::1]:57363;rport;branch=z9hG4bKPj1;alias\r\n\
    v: SIP/2.0/TCP edge.example.com;branch=z9hG4bKPj2, SIP/2.0/UDP inner.example.com;branch=z9hG4bKPj3\r\n\
    Record-Route: <sip:wa.meta.vc;transport=tls;lr>\r\n\
    Record-Route: <sip:onevc-sip-proxy.fbinfra.net:8191;transport=tls;lr>\r\n\
    Max-Forwards: 69\r\n\
    From: \"12195550714\" <sip:+12195550714@wa.meta.vc>;tag=a1\r\n\
    t : <sip:+15550001111@bridge.example.com>\r\n\
    Contact: <sip:+12195550714@wa.meta.vc;transport=tls;ob>;isfocus\r\n\
    Call-ID: outgoing:wacid.HBgL==\r\n\
    CSeq: 31159 INVITE\r\n\
    Subject: one\r\n  two\r\n\tthree\r\n\
    X-Odd: \u{e9}\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length:   4\r\n\
    Content-Length: 4\r\n\r\nv=0\n";

fn parse(text: &str) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()))
}

fn refusal(text: &str) -> (u16, &'static str) {
    let error = parse(text).expect_err("refused");
    (error.status, error.what)
}

/// A request with `lines` among its headers.
fn with(lines: &str) -> String {
    format!(
        "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:d@e>;tag=1\r\nTo: <sip:a@b>\r\n\
         Call-ID: f\r\nCSeq: 1 OPTIONS\r\n{lines}\r\n"
    )
}

#[test]
fn metas_invite_is_read_whole_and_kept_byte_for_byte() {
    let invite = parse(INVITE).unwrap();
    assert_eq!(invite.method(), Some(Method::Invite));
    assert_eq!(invite.request_uri(), Some("sip:+15550001111@bridge.example.com;transport=tls"));
    assert_eq!((invite.call_id().unwrap(), invite.cseq().unwrap().number), ("outgoing:wacid.HBgL==", 31159));
    assert_eq!(invite.from().unwrap().tag(), Some("a1"));
    assert_eq!(invite.to().unwrap().tag(), None);
    assert_eq!((invite.max_forwards(), invite.expires()), (Some(69), None));
    let branches: Vec<_> =
        invite.vias().unwrap().iter().map(|via| via.branch().unwrap().to_owned()).collect();
    assert_eq!(branches, ["z9hG4bKPj1", "z9hG4bKPj2", "z9hG4bKPj3"]);
    let routes: Vec<_> =
        invite.record_routes().unwrap().iter().map(|route| route.raw().into_owned()).collect();
    assert_eq!(routes, invite.list("record-route"));
    assert_eq!(invite.header("SUBJECT").as_deref(), Some("one two three"));
    assert_eq!(invite.header("x-odd").as_deref(), Some("\u{e9}"));
    assert_eq!(invite.headers().count(), 15);
    assert_eq!(&invite.body()[..], b"v=0\n");
    assert_eq!(invite.as_bytes(), INVITE);
    assert_eq!(invite.validate(), Ok(()));
}

#[test]
fn names_are_kept_as_written_and_compared_in_either_form_and_any_case() {
    let invite = parse(INVITE).unwrap();
    let to = invite.headers().find(|header| header.is("TO")).unwrap();
    assert_eq!((to.name(), to.is("t"), to.is("To"), to.is("From")), ("t", true, true, false));
}

#[test]
fn bytes_that_are_not_utf_8_neither_hide_headers_nor_are_altered() {
    let mut bytes = with("Subject: caf\u{20}\r\nContact: <sip:x@y>\r\n").into_bytes();
    let at = bytes.windows(4).position(|four| four == b"caf ").unwrap();
    bytes[at + 3] = 0xe9;
    let message = Message::parse(bytes.clone().into()).unwrap();
    assert_eq!(message.header("subject").as_deref(), Some("caf\u{fffd}"));
    assert_eq!(message.contacts().unwrap().addresses().len(), 1);
    assert_eq!(message.as_bytes(), &bytes);
    let copy = message.to_builder().build().unwrap();
    assert_eq!(copy.headers().find(|header| header.is("s")).unwrap().value(), b"caf\xe9");
}

#[test]
fn content_length_decides_where_a_datagram_ends() {
    let body = |lines: &str, rest: &str| parse(&(with(lines) + rest)).map(|message| message.body());
    assert_eq!(body("", "12345").unwrap(), "12345");
    assert_eq!(body("l: 3\r\n", "12345").unwrap(), "123");
    assert_eq!(body("Content-Length:   3\r\nl:3\r\n", "12345").unwrap(), "123");
    assert_eq!(body("Content-Length: 6\r\n", "12345").unwrap_err().status, 400);
}

#[test]
fn smuggling_is_refused_with_400() {
    for lines in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 3 4\r\n",
        "Content-Length: 3,3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3;a\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 1\r\n 2\r\n",
        "Call-ID: g\r\n",
        "i: g\r\n",
        "CSeq: 2 OPTIONS\r\n",
        "f: <sip:g@h>;tag=2\r\n",
        "T: <sip:g@h>\r\n",
        "Max-Forwards: 1\r\nMax-Forwards: 1\r\n",
        "Content-Type: a/b\r\nc: a/b\r\n",
        "Expires: 1\r\nExpires: 2\r\n",
        "Y: a\0b\r\n",
        "Y: a\nY: b\r\n",
        "Y: a\rY: b\r\n",
        "Y: a\r\r\n",
        "X y: a\r\n",
        "X\r\n",
        ": a\r\n",
        "\t\r\n",
        "Y: a\r\n \r\nY: b\r\n",
        "X\u{b}: a\r\n",
        "X\r\n : a\r\n",
        "\u{e9}: a\r\n",
    ] {
        assert_eq!(refusal(&(with(lines) + "xxxxx")).0, 400, "{lines:?}");
    }
}

#[test]
fn a_blank_before_the_first_header_is_no_continuation_of_the_start_line() {
    assert_eq!(refusal("OPTIONS sip:a@b SIP/2.0\r\n Via: SIP/2.0/UDP c\r\n\r\n").0, 400);
}

#[test]
fn start_lines_are_taken_only_in_their_one_form() {
    let head = |start: &str| format!("{start}\r\nVia: SIP/2.0/UDP c\r\n\r\n");
    for good in [
        "OPTIONS sip:a SIP/2.0",
        "X-!%*_+`'~. sip:a sip/2.0",
        "SIP/2.0 200 OK",
        "SIP/2.0 200 ",
        "SIP/2.0 699",
    ] {
        assert!(parse(&head(good)).is_ok(), "{good}");
    }
    for (bad, status) in [
        ("OPTIONS sip:a SIP/7.0", 505),
        ("SIP/7.0 200 OK", 505),
        ("OPTIONS sip:a HTTP/1.1", 400),
        ("OPTIONS  sip:a SIP/2.0", 400),
        ("OPTIONS sip:a  SIP/2.0", 400),
        ("OPTIONS sip:a SIP/2.0 ", 400),
        (" OPTIONS sip:a SIP/2.0", 400),
        ("OPTIONS sip:a", 400),
        ("OPTIONS", 400),
        ("OPTIONS <sip:a> SIP/2.0", 400),
        ("OPT<IONS sip:a SIP/2.0", 400),
        ("SIP/2.0 99 Low", 400),
        ("SIP/2.0 700 High", 400),
        ("SIP/2.0 4294967301 better not break the receiver", 400),
        ("SIP/2.0 +20 OK", 400),
        ("SIP/2.0 200OK", 400),
        ("SIP/2.0", 400),
    ] {
        assert_eq!(refusal(&head(bad)).0, status, "{bad}");
    }
}

#[test]
fn every_shorter_message_is_refused_and_every_cut_of_the_head_too() {
    for end in 0..INVITE.len() {
        let cut = Bytes::copy_from_slice(&INVITE.as_bytes()[..end]);
        let error = Message::parse(cut).expect_err("a cut message");
        assert!(error.at <= end && error.status == 400);
        let _ = error.response();
    }
}

#[test]
fn limits_on_size_and_header_count_are_refused_with_513() {
    let many = |count: usize| with(&"Y: 1\r\n".repeat(count));
    assert!(parse(&many(setu_model::limits::SIP_HEADERS - 5)).is_ok());
    assert_eq!(refusal(&many(setu_model::limits::SIP_HEADERS - 4)), (513, "too many header fields"));
    assert_eq!(refusal(&with(&format!("Y: {}\r\n", "x".repeat(65_535)))), (513, "message too long"));
}

#[test]
fn a_refusal_copies_what_a_response_must_and_never_answers_acks_or_responses() {
    let error = parse(&with("Call-ID: g\r\n")).unwrap_err();
    let response = error.response().unwrap();
    assert_eq!((response.status(), response.call_id().unwrap()), (Some(400), "f"));
    assert_eq!(response.top_via().unwrap().branch(), Some("z9hG4bK1"));
    assert!(response.to().unwrap().tag().is_some());
    assert_eq!(response, error.response().unwrap(), "the same answer to each retransmission");
    assert_eq!(response.validate(), Ok(()));

    let ack = with("Call-ID: g\r\n").replace("OPTIONS", "ACK");
    assert_eq!(parse(&ack).unwrap_err().response(), None);
    let response = with("Call-ID: g\r\n").replace("OPTIONS sip:a@b SIP/2.0", "SIP/2.0 200 OK");
    assert_eq!(parse(&response).unwrap_err().response(), None);
    assert_eq!(parse("OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n\n").unwrap_err().response(), None);
}

#[test]
fn validation_names_the_field_and_the_status() {
    let what = |text: String| parse(&text).unwrap().validate().map_err(|error| (error.status, error.what));
    assert_eq!(what(with("")), Ok(()));
    assert_eq!(what(with("").replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE")).unwrap_err().0, 400);
    assert_eq!(what(with("").replace("CSeq: 1", "CSeq: 2147483648")).unwrap_err().0, 400);
    assert_eq!(what(with("").replace("sip:a@b SIP", "name:a SIP")).unwrap_err().0, 416);
    assert_eq!(what(with("").replace("sip:a@b SIP", "tel:+1 SIP")), Ok(()));
    assert_eq!(what(with("").replace("tag=1", "tag=1;tag=2")).unwrap_err().0, 400);
    assert_eq!(what(with("Max-Forwards: 256\r\n")).unwrap_err().0, 400);
    assert_eq!(what(with("Contact: *\r\n")), Ok(()));
    assert_eq!(what(with("Contact: *\r\nContact: <sip:a@b>\r\n")).unwrap_err().0, 400);
    for field in ["Via: SIP/2.0/UDP c;branch=z9hG4bK1\r\n", "From: <sip:d@e>;tag=1\r\n", "Call-ID: f\r\n"] {
        assert_eq!(what(with("").replace(field, "")).unwrap_err().0, 400, "{field}");
    }
}

#[test]
fn a_reply_copies_vias_record_routes_and_the_dialogs_names_in_order() {
    let invite = parse(INVITE).unwrap();
    let ok =
        Message::reply(&invite, 200, None, Some("b2")).body("application/sdp", "v=0\r\n").build().unwrap();
    assert_eq!(ok.list("Via"), invite.list("Via"));
    assert_eq!(ok.list("Record-Route"), invite.list("Record-Route"));
    assert_eq!((ok.to().unwrap().tag(), ok.reason().as_ref()), (Some("b2"), "OK"));
    assert_eq!(ok.header("Content-Length").as_deref(), Some("5"));
    let refusal = Message::reply(&invite, 486, Some("Later"), Some("b2")).build().unwrap();
    assert_eq!((refusal.list("Record-Route").len(), refusal.reason().as_ref()), (0, "Later"));
    assert_eq!(Message::reply(&invite, 100, None, Some("b2")).build().unwrap().to().unwrap().tag(), None);
}

#[test]
fn nothing_breaks_out_of_its_line() {
    let start = || Message::request(Method::Options, "sip:a@b");
    for bad in ["a\r\nX: b", "a\nb", "a\rb", "a\0b"] {
        assert!(matches!(start().header("X", bad).build(), Err(BuildError::Value(_))));
        assert!(matches!(Message::request(Method::Options, bad).build(), Err(BuildError::Value(_))));
        assert!(matches!(Message::response(200, Some(bad)).build(), Err(BuildError::Value(_))));
    }
    assert_eq!(start().header("X: y", "").build(), Err(BuildError::Name));
    assert_eq!(start().header("l", "3").build(), Err(BuildError::ContentLength));
    assert!(matches!(start().header("To", "a").header("t", "b").build(), Err(BuildError::Unreadable(_))));
    assert!(matches!(Message::request(Method::Options, "sip:a b").build(), Err(BuildError::Unreadable(_))));
}

#[test]
fn vias_are_pushed_and_popped_one_value_at_a_time() {
    let invite = parse(INVITE).unwrap();
    let via = "SIP/2.0/UDP me;branch=z9hG4bKme";
    let sent = invite.with_top_via(via).unwrap();
    assert_eq!(sent.list("Via")[0], via);
    let mut message = sent.without_top_via().unwrap();
    assert_eq!(message.list("Via"), invite.list("Via"));
    assert_eq!(message.body(), invite.body());
    for left in [2, 1, 0] {
        message = message.without_top_via().unwrap();
        assert_eq!(message.list("Via").len(), left);
    }
    assert_eq!(message.without_top_via(), Err(BuildError::Via));
    assert!(invite.with_top_via("a\r\nb").is_err());
}

#[test]
fn the_source_of_a_request_is_written_into_its_top_via_alone() {
    let source = "192.0.2.9:4040".parse().unwrap();
    let top = |via: &str| {
        let text = with("").replace("SIP/2.0/UDP c;branch=z9hG4bK1", via);
        parse(&text).unwrap().with_received(source).unwrap().list("Via").join(" | ")
    };
    assert_eq!(top("SIP/2.0/UDP c"), "SIP/2.0/UDP c;received=192.0.2.9");
    assert_eq!(top("SIP/2.0/UDP 192.0.2.9;branch=x"), "SIP/2.0/UDP 192.0.2.9;branch=x");
    assert_eq!(
        top("SIP/2.0/UDP 192.0.2.9;rport;x, SIP/2.0/UDP d;rport"),
        "SIP/2.0/UDP 192.0.2.9;rport=4040;x;received=192.0.2.9 | SIP/2.0/UDP d;rport"
    );
    assert_eq!(top("SIP/2.0/UDP c;received=203.0.113.1"), "SIP/2.0/UDP c;received=192.0.2.9");
    assert!(parse(&with("").replace("Via: ", "Via: ?")).unwrap().with_received(source).is_err());
}

#[test]
fn a_copy_says_the_same_as_the_original() {
    let invite = parse(INVITE).unwrap();
    let copy = invite.to_builder().build().unwrap();
    let fields = |message: &Message| -> Vec<_> {
        let fields = message.headers().filter(|header| !header.is("l"));
        fields.map(|header| (header.name().to_owned(), header.value().to_vec())).collect()
    };
    assert_eq!(fields(&copy), fields(&invite));
    assert_eq!((copy.body(), copy.request_uri()), (invite.body(), invite.request_uri()));
    let edited = invite.to_builder().set("v", "SIP/2.0/UDP x").without("Record-Route").build().unwrap();
    assert_eq!((edited.list("Via").len(), edited.list("Record-Route").len()), (1, 0));
}

#[test]
fn neither_debug_nor_errors_show_who_calls() {
    let invite = parse(INVITE).unwrap();
    let error = parse(&INVITE.replace("CSeq: ", "Call-ID: ")).unwrap_err();
    for text in [format!("{invite:?}"), format!("{error:?}"), error.to_string()] {
        assert!(!text.contains("1219555"), "{text}");
    }
}

/// The work of reading a message twice as long may be at most a little more than twice as much.
#[test]
fn work_grows_with_length_and_no_faster() {
    let shapes: [fn(usize) -> String; 10] = [
        |n| with(&format!("Y: {}\r\n", "a".repeat(n))),
        |n| with(&format!("Y: a{}\r\n", "\r\n b".repeat(n))),
        |n| with(&format!("Y{}: a\r\n", " ".repeat(n))),
        |n| with(&format!("Y:{}\r\n", " ".repeat(n))),
        |n| with(&format!("Contact: {}<sip:a@b>\r\n", "<sip:a@b>,".repeat(n))),
        |n| with(&format!("Contact: {}\r\n", "\"".repeat(n))),
        |n| with(&format!("Contact: {}\r\n", "\\\"<>,;".repeat(n))),
        |n| with(&format!("Via: {}SIP/2.0/UDP d\r\n", "SIP/2.0/UDP c;branch=1,".repeat(n))),
        |n| with(&format!("Route: <sip:a@b{}>\r\n", ";".repeat(n))),
        |n| with(&format!("Contact: <sip:a@b>{}\r\n", ";=".repeat(n))),
    ];
    for (index, shape) in shapes.iter().enumerate() {
        let of = |n: usize| {
            let bytes = Bytes::from(shape(n));
            let work = work::of(|| {
                let message = Message::parse(bytes.clone()).unwrap();
                let _ = message.validate();
                for name in ["Via", "Y", "Contact", "Route"] {
                    let _ = message.list(name);
                }
                let _ = message.to_builder().build();
            });
            (work.1, bytes.len())
        };
        let (small, small_len) = of(200);
        let (large, large_len) = of(1_600);
        let per_byte = |work: usize, len: usize| work as f64 / len as f64;
        assert!(
            per_byte(large, large_len) < 1.3 * per_byte(small, small_len)
                && per_byte(large, large_len) < 40.0,
            "shape {index}: {small} for {small_len} bytes, {large} for {large_len}"
        );
    }
}
