//! The text of Meta's requests, TLS, and digests.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use setu_twin::Algorithm;
use setu_twin::meta::{CallSpec, ParentUserId, Quirks, UserSaw};
use setu_twin::shell::TestAuthority;

use crate::lab::{CUSTOMER, NUMBER, PATIENCE, Setup, agent_for, customer_for};

/// A user's call of half a second that must go well; returns the `X-Setu-*` headers the agent saw.
async fn headers(quirks: Quirks, change: impl FnOnce(&mut CallSpec)) -> Vec<(String, String)> {
    let mut lab = Setup { quirks, ..Setup::default() }.start().await;
    let mut spec = customer_for(500);
    change(&mut spec);
    let call = lab.user_calls(spec).await;
    call.went_well();
    call.agent().headers.clone()
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_offers_no_alpn_whether_or_not_meta_would_refuse_it() {
    for alpn_refused in [true, false] {
        let mut lab = Setup::quirks(|q| q.alpn_refused = alpn_refused).start().await;
        lab.agent_calls(agent_for(400)).await.went_well();
        // Whoever does offer one is turned away.
        let edge = lab.edge.sip_address();
        let shakes = |alpn: &[&[u8]]| shakes_hands(edge, &lab.authority, alpn);
        assert!(shakes(&[]));
        assert_eq!(shakes(&[b"sip"]), !alpn_refused);
    }
}

/// Whether a TLS handshake with `edge` that offers `alpn` succeeds.
fn shakes_hands(edge: SocketAddr, authority: &TestAuthority, alpn: &[&[u8]]) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("wa.meta.vc").unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(edge).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut tcp).is_err() {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_client_certificate_is_answered_with_none() {
    let mut lab = Setup::quirks(|q| q.request_client_cert = true).start().await;
    lab.agent_calls(agent_for(400)).await.went_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_may_have_a_client_certificate_or_none() {
    for present in [true, false] {
        let mut lab = Setup::quirks(|q| q.present_client_cert = present).start().await;
        lab.user_calls(customer_for(400)).await.went_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_share_a_connection_or_bring_their_own() {
    for own in [true, false] {
        let mut lab = Setup::quirks(|q| q.connection_per_call = own).start().await;
        lab.user_calls(customer_for(300)).await.went_well();
        lab.user_calls(customer_for(300)).await.went_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_three_vias_of_either_family_are_returned_to_meta() {
    for (via_count, ipv6_vias) in [(1, true), (2, true), (3, true), (3, false)] {
        let mut lab = Setup::quirks(|q| (q.via_count, q.ipv6_vias) = (via_count, ipv6_vias)).start().await;
        lab.user_calls(customer_for(300)).await.went_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_length_may_be_padded_or_written_twice() {
    for (padded, twice) in [(true, false), (false, false), (true, true)] {
        let mut lab = Setup::quirks(|q| {
            (q.content_length_padded, q.content_length_twice) = (padded, twice);
        })
        .start()
        .await;
        lab.user_calls(customer_for(300)).await.went_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wacid_reaches_agent_and_record_from_the_header_or_from_the_call_id() {
    for (wacid_header, wacid_padded) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut lab =
            Setup::quirks(|q| (q.wacid_header, q.wacid_padded) = (wacid_header, wacid_padded)).start().await;
        let call = lab.user_calls(customer_for(300)).await;
        call.went_well();
        assert_eq!(call.customer.wacid.ends_with("=="), wacid_padded);
        assert_eq!(call.cdr.facts.wacid.as_deref(), Some(call.customer.wacid.as_str()));
        assert_eq!(header(&call.agent().headers, "X-Setu-Wacid"), Some(call.customer.wacid.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metas_external_domain_header_proves_nothing_and_may_be_missing() {
    let seen = headers(Quirks { external_domain_header: false, ..Quirks::default() }, |_| ()).await;
    assert_eq!(header(&seen, "X-Setu-Customer"), Some(CUSTOMER));
    assert_eq!(header(&seen, "X-Setu-Number"), Some(NUMBER));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_the_user_is_reaches_the_agent() {
    let seen = headers(Quirks::default(), |spec| {
        spec.name = Some("Asha".to_owned());
        spec.user_id = Some("IN.1234567890".to_owned());
        spec.country = Some("IN".to_owned());
    })
    .await;
    assert_eq!(header(&seen, "X-Setu-User-Id"), Some("IN.1234567890"));
    assert_eq!(header(&seen, "X-Setu-Customer-Name"), Some("Asha"));
    assert_eq!(header(&seen, "X-Setu-Country"), Some("IN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_user_headers_the_agent_learns_only_the_number() {
    let quirks = Quirks { user_headers: false, ..Quirks::default() };
    let seen = headers(quirks, |spec| spec.user_id = Some("IN.1234567890".to_owned())).await;
    assert_eq!(header(&seen, "X-Setu-User-Id"), None);
    assert_eq!(header(&seen, "X-Setu-Customer"), Some(CUSTOMER));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_user_id_is_never_taken_for_the_users_own() {
    for parent_user_id in [ParentUserId::Absent, ParentUserId::Underscore, ParentUserId::Hyphen] {
        let quirks = Quirks { parent_user_id, ..Quirks::default() };
        let seen = headers(quirks, |spec| spec.user_id = Some("IN.1234567890".to_owned())).await;
        assert_eq!(header(&seen, "X-Setu-User-Id"), Some("IN.1234567890"), "{parent_user_id:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_number_is_known_by_the_business_scoped_id() {
    let seen = headers(Quirks::default(), |spec| spec.user = "IN.99887766".to_owned()).await;
    assert_eq!(header(&seen, "X-Setu-Customer"), Some("IN.99887766"));
}

#[tokio::test(flavor = "multi_thread")]
async fn button_and_deep_link_payloads_reach_the_agent_and_the_record() {
    let mut lab = Setup::default().start().await;
    let spec = CallSpec {
        cta_payload: Some("order-4711".to_owned()),
        deeplink_payload: Some("campaign;x=\"1\"".to_owned()),
        ..customer_for(300)
    };
    let call = lab.user_calls(spec).await;
    call.went_well();
    assert_eq!(call.cdr.facts.cta_payload.as_deref(), Some("order-4711"));
    assert_eq!(call.cdr.facts.deeplink_payload.as_deref(), Some("campaign;x=\"1\""));
    assert_eq!(header(&call.agent().headers, "X-Setu-Cta-Payload"), Some("order-4711"));
    assert!(header(&call.agent().headers, "X-Setu-Deeplink-Payload").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_user_parameters_and_transport_do_not_hide_the_number() {
    for transport_param in [true, false] {
        let params = [("tgrp", "wacall"), ("trunk-context", "byoc.example.com")];
        let mut setup = Setup::quirks(|q| q.transport_param = transport_param);
        setup.user_params = params.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        let call = setup.start().await.user_calls(customer_for(300)).await;
        call.went_well();
        assert_eq!(call.cdr.facts.number, NUMBER);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_answers_the_challenge_with_either_algorithm_named_or_not() {
    for (algorithms, named) in [
        (vec![Algorithm::Md5], true),
        (vec![Algorithm::Md5], false),
        (vec![Algorithm::Sha256], true),
        (vec![Algorithm::Sha256, Algorithm::Md5], true),
    ] {
        let mut lab = Setup::quirks(|q| {
            q.answers_algorithms = algorithms;
            q.names_algorithm = named;
        })
        .start()
        .await;
        let call = lab.user_calls(customer_for(300)).await;
        call.went_well();
        assert_eq!(call.customer.challenges, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_cannot_answer_the_challenge_reaches_no_agent() {
    let mut lab = Setup::quirks(|q| q.answers_algorithms = Vec::new()).start().await;
    let mut events = lab.phone().events();
    let report = lab.edge.call(customer_for(300)).await.unwrap();
    assert_ne!(report.saw, UserSaw::Connected);
    assert!(matches!(report.status, Some(401 | 407)), "{report:?}");
    lab.edge.with(|edge, _| edge.set_quirks(Quirks::default())).await.unwrap();
    // The next call is the first that rings: had the one before rung, it would stand before it.
    let call = lab.user_calls(customer_for(300)).await;
    call.went_well();
    let first = std::iter::from_fn(|| events.try_recv().ok())
        .find_map(|event| event.ended().map(|report| report.call_id.clone()));
    assert_eq!(first.as_deref(), Some(call.agent().call_id.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_uri_is_verified_as_meta_wrote_it() {
    for bare in [true, false] {
        let mut lab = Setup::quirks(|q| q.digest_uri_bare = bare).start().await;
        lab.user_calls(customer_for(300)).await.went_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_may_write_its_user_name_with_a_plus() {
    let mut lab = Setup::quirks(|q| q.username_plus = true).start().await;
    lab.user_calls(customer_for(300)).await.went_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_answers_every_kind_of_challenge() {
    for (algorithms, stateless, challenges) in [
        (vec![Algorithm::Md5], true, 1),
        (vec![Algorithm::Md5], false, 1),
        (vec![Algorithm::Sha256], true, 1),
        (vec![Algorithm::Sha256, Algorithm::Md5], true, 1),
        (vec![Algorithm::Md5, Algorithm::Sha256], true, 1),
        (Vec::new(), true, 0),
    ] {
        let mut lab = Setup::quirks(|q| {
            q.challenge_algorithms = algorithms;
            q.stateless_to_tag = stateless;
        })
        .start()
        .await;
        let call = lab.agent_calls(agent_for(300)).await;
        call.went_well();
        assert_eq!(call.customer.challenges, challenges);
    }
}
