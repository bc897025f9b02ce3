//! Media keyed by DTLS, over ICE, toward Meta and toward agents.

use setu_model::{Cause, Side};
use setu_twin::agent::Dtls;
use setu_twin::media::Setup as Role;
use setu_twin::meta::{KeyExchange, Quirks};

use crate::lab::{Setup, agent_for, customer_for};

/// Meta as it is unless somebody configures SDES.
fn meta(change: impl FnOnce(&mut Quirks)) -> Setup {
    let mut setup = Setup::quirks(|q| q.key_exchange = Some(KeyExchange::Dtls));
    change(&mut setup.quirks);
    Setup { number: "srtp = \"dtls\"", ..setup }
}

fn described(cdr: &setu_model::Cdr, side: Side) -> Option<&str> {
    cdr.legs.iter().find(|leg| leg.side == side && leg.srtp.is_some())?.srtp.as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_meta_keys_by_dtls_talks_both_ways_in_both_directions() {
    let mut lab = meta(|_| {}).start().await;
    for call in [lab.user_calls(customer_for(800)).await, lab.agent_calls(agent_for(800)).await] {
        call.went_well();
        assert_eq!(described(&call.cdr, Side::Meta), Some("DTLS-SRTP"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_by_dtls_is_taken_although_sdes_is_configured() {
    let mut lab = Setup { number: "", ..meta(|_| {}) }.start().await;
    lab.user_calls(customer_for(800)).await.went_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_keyed_by_dtls_with_ice_and_without() {
    for ice in [true, false] {
        let mut setup = Setup::habits(|habits| habits.dtls = Some(Dtls { ice, ..Dtls::default() }));
        setup.account = "srtp = \"dtls\"";
        let mut lab = setup.start().await;
        let mut habits = agent_for(800);
        habits.dtls = Some(Dtls { ice, ..Dtls::default() });
        for call in [lab.user_calls(customer_for(800)).await, lab.agent_calls(habits).await] {
            call.went_well();
            assert_eq!(described(&call.cdr, Side::Agents), Some("DTLS-SRTP"), "ice: {ice}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_the_described_one_ends_the_call() {
    let mut lab = meta(|q| q.fingerprint_forged = true).start().await;
    let call = lab.user_calls(customer_for(3_000)).await;
    assert_eq!(call.cdr.termination.cause, Cause::IncompatibleMedia, "{}", call.cdr.termination);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_meta_with_ice_and_dtls_ends_in_a_call() {
    let ways: [fn(&mut Quirks); 8] = [
        |q| q.ice_pwd_padded = false,
        |q| q.ipv6_candidate = false,
        |q| q.checks_wait_for_answer = false,
        |q| q.role_conflict_refused = false,
        |q| q.learns_peer_reflexive = false,
        |q| q.answer_setup = Role::Active,
        |q| q.answer_setup = Role::Passive,
        |q| q.answer_setup = Role::ActPass,
    ];
    for way in ways {
        let mut lab = meta(way).start().await;
        for call in [lab.user_calls(customer_for(400)).await, lab.agent_calls(agent_for(400)).await] {
            call.went_well();
            assert!(!call.customer.path.nominated_at_once && call.customer.path.checks_forged == 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_client_hello_costs_less_than_300_ms() {
    let mut lab = meta(|q| q.handshake_datagrams_lost = 1).start().await;
    let call = lab.user_calls(customer_for(1_200)).await;
    call.went_well();
    let path = &call.customer.path;
    assert_eq!(path.handshake_datagrams_lost, 1);
    assert!(path.dtls_ms.unwrap() < 300, "{path:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meta_that_stops_to_answer_checks_is_left_alone_after_30_s_although_it_sends_media() {
    let mut lab = meta(|q| q.consent_answered = false).start().await;
    let call = lab.user_calls(customer_for(50_000)).await;
    call.kept_the_rules().asked_only(&["BYE"]);
    let end = &call.cdr.termination;
    assert_eq!((end.cause, end.detail.as_deref()), (Cause::MediaTimeout, Some(NO_CONSENT)), "{end}");
    let heard = &call.customer.heard;
    let last = heard.last_audio_ms.unwrap();
    // The consent of the handshake, which was there by the first packet at the latest.
    assert!((28_000..=31_000).contains(&last), "nothing is sent without consent: {heard:?}");
    assert!(call.customer.talked_ms.unwrap() < 33_000, "{:?}", call.customer);
    assert_eq!(call.agent().requests.last().map(String::as_str), Some("BYE"));
    assert!(call.agent().heard.last_audio_ms.unwrap() > 28_000, "{:?}", call.agent().heard);
}

const NO_CONSENT: &str = "no consent to media from the customer";
