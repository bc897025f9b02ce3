//! Reading an INVITE of one kilobyte: the table of offsets alone, with the fields that a call needs, and beside it
//! the parsers that the differential test compares with.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark's entry points, which may stop at the first surprise"
)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use setu_sip::Message;

/// An INVITE as Meta's edge sends it: two proxies, an SDES offer.
fn invite() -> Bytes {
    let body = "v=0\r\no=- 1742 1742 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
        m=audio 40012 RTP/SAVP 111 126\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\n\
        a=ptime:20\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";
    let head = format!(
        "INVITE sip:+15550001111@pbx.example.com;transport=tls SIP/2.0\r\n\
        Via: SIP/2.0/TLS 203.0.113.1:5061;branch=z9hG4bKPjd1c0b147f2aa;alias\r\n\
        Record-Route: <sip:wa.meta.vc;transport=tls;lr>\r\n\
        Record-Route: <sip:onevc-sip-proxy.example:8191;transport=tls;lr>\r\n\
        From: \"customer\" <sip:15557654321@wa.meta.vc>;tag=87ad1d7e-04c1\r\n\
        To: <sip:+15550001111@pbx.example.com>\r\n\
        Call-ID: outgoing:wacid.HBgLMTU1NTc2NTQzMjEVAgASGCA\r\n\
        CSeq: 19031 INVITE\r\n\
        Max-Forwards: 66\r\n\
        Contact: <sip:15557654321@203.0.113.1:5061;transport=TLS>\r\n\
        Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n\
        User-Agent: Facebook SipGateway\r\n\
        Content-Type: application/sdp\r\n\
        Content-Length: {:>5}\r\n\r\n",
        body.len()
    );
    Bytes::from(head + body)
}

fn sip(c: &mut Criterion) {
    let invite = invite();
    let mut group = c.benchmark_group("sip");
    group.throughput(Throughput::Bytes(invite.len() as u64));
    group.bench_function("parse", |b| b.iter(|| Message::parse(black_box(invite.clone())).unwrap()));
    group.bench_function("parse_typed", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(invite.clone())).unwrap();
            let via = message.top_via().unwrap();
            let (from, to) = (message.from().unwrap(), message.to().unwrap());
            let cseq = message.cseq().unwrap();
            black_box(message.call_id().unwrap());
            (via, from, to, cseq, message.record_routes().unwrap())
        });
    });
    group.bench_function("parse_validate", |b| {
        b.iter(|| Message::parse(black_box(invite.clone())).unwrap().validate().unwrap());
    });
    group.bench_function("parse_sipx", |b| {
        let limits = sipx_sip::Limits::datagram();
        b.iter(|| sipx_sip::parse_datagram(black_box(invite.clone()), &limits).unwrap());
    });
    group.bench_function("parse_rsipstack", |b| {
        b.iter(|| rsipstack::sip::SipMessage::try_from(black_box(&invite[..])).unwrap());
    });
    group.finish();
}

criterion_group!(benches, sip);
criterion_main!(benches);
