//! Session descriptions and media toward Meta.

use setu_model::Cause;
use setu_twin::Person;
use setu_twin::media::{Codec, Impairment, Says};
use setu_twin::meta::{Profile, UserSaw};

use crate::lab::{AGENT_HZ, CUSTOMER_HZ, Setup, agent_for, customer_for};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_taken_under_either_profile_and_answered_under_the_same() {
    for profile in [Profile::Savp, Profile::DtlsSavpf] {
        let mut lab = Setup::quirks(|q| q.profile = profile).start().await;
        let call = lab.user_calls(customer_for(400)).await;
        call.went_well();
        assert!(call.customer.remote_sdp.as_ref().unwrap().contains(&format!(" {} ", profile.token())));
        lab.agent_calls(agent_for(400)).await.went_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multiplexed_answer_is_taken_and_a_plain_one_too() {
    for mux_always in [true, false] {
        let mut lab = Setup::quirks(|q| q.mux_always = mux_always).start().await;
        lab.agent_calls(agent_for(400)).await.went_well();
        lab.user_calls(customer_for(400)).await.went_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metas_payload_types_are_echoed_whatever_they_are() {
    for (opus_pt, event_pt) in [(111, 126), (96, 97), (120, 101)] {
        let mut setup = Setup::quirks(|q| (q.opus_pt, q.event_pt) = (opus_pt, event_pt));
        setup.phones[0].person = Person::saying(AGENT_HZ).pressing(200, "5");
        let mut spec = customer_for(1_200);
        spec.person = spec.person.pressing(200, "7");
        let call = setup.start().await.user_calls(spec).await;
        call.went_well();
        assert_eq!((call.customer.heard.digits(), call.agent().heard.digits()), ("5".into(), "7".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn additional_codecs_do_not_take_the_call_away_from_opus() {
    let mut lab = Setup::quirks(|q| q.additional_codecs = vec![Codec::Pcma, Codec::Pcmu]).start().await;
    for call in [lab.user_calls(customer_for(400)).await, lab.agent_calls(agent_for(400)).await] {
        call.went_well();
        let meta = call.cdr.legs.iter().find(|leg| leg.side == setu_model::Side::Meta).unwrap();
        assert!(meta.codec.as_ref().unwrap().eq_ignore_ascii_case("opus"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_is_told_twenty_milliseconds_whatever_the_agents_phone_wants() {
    for ptime_strict in [true, false] {
        let mut setup = Setup::quirks(|q| q.ptime_strict = ptime_strict);
        setup.phones[0].ptime_ms = 40;
        let mut lab = setup.start().await;
        let mut habits = agent_for(400);
        habits.ptime_ms = 40;
        for call in [lab.user_calls(customer_for(400)).await, lab.agent_calls(habits).await] {
            call.went_well();
            assert!(call.customer.remote_sdp.as_ref().unwrap().contains("a=ptime:20\r\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_sends_first_so_that_a_meta_that_waits_begins() {
    // The agent sends nothing at all: the first packet toward Meta is the bridge's own.
    for waits in [true, false] {
        let mut setup = Setup::quirks(|q| q.waits_for_first_packet = waits);
        setup.phones[0].person.says = Says::Nothing;
        let call = setup.start().await.user_calls(customer_for(600)).await;
        call.kept_the_rules();
        crate::lab::assert_hz(call.agent().heard.hz, CUSTOMER_HZ);
        assert!(call.customer.heard.first_packet_ms.unwrap() <= 100, "{:?}", call.customer.heard);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_who_says_nothing_keeps_metas_timers_from_firing() {
    let mut setup = Setup::quirks(|q| {
        (q.start_timer_ms, q.mid_timer_ms) = (600, 600);
        q.rtcp_resets_mid_timer = false;
    });
    setup.phones[0].person.says = Says::Nothing;
    let call = setup.start().await.user_calls(customer_for(2_000)).await;
    call.kept_the_rules();
    assert_eq!(call.customer.saw, UserSaw::Connected);
    assert!(call.customer.talked_ms.unwrap() >= 1_900);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_source_of_the_agents_stays_one_source_toward_meta() {
    for mutes in [true, false] {
        let mut setup = Setup::quirks(|q| q.second_ssrc_mutes = mutes);
        setup.phones[0].new_source_after_ms = Some(500);
        let call = setup.start().await.user_calls(customer_for(1_200)).await;
        call.went_well();
        assert_eq!(call.customer.heard.ssrcs.len(), 1);
        assert!(call.customer.heard.last_audio_ms.unwrap() > 900, "{:?}", call.customer.heard);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_leaves_from_the_address_that_was_described() {
    let mut lab = Setup::quirks(|q| q.latches = false).start().await;
    lab.user_calls(customer_for(400)).await.went_well();
    lab.agent_calls(agent_for(400)).await.went_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_meta_are_wanted_by_nobody_but_answered() {
    for rtcp_interval_ms in [0, 200] {
        let mut lab = Setup::quirks(|q| q.rtcp_interval_ms = rtcp_interval_ms).start().await;
        lab.user_calls(customer_for(600)).await.went_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lossy_line_of_the_user_is_heard_through() {
    let impairment = Impairment { loss_percent: 10, jitter_ms: 30, reorder_percent: 5 };
    let mut lab = Setup::quirks(|q| q.impairment = impairment).start().await;
    let call = lab.user_calls(customer_for(1_000)).await;
    call.went_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn media_that_stops_ends_the_call_on_both_sides() {
    let mut setup = Setup { config: "[limits]\nsilence_s = 5\n", ..Setup::default() };
    setup.quirks.rtcp_interval_ms = 0;
    let mut spec = customer_for(60_000);
    spec.person.says = Says::Nothing;
    let call = setup.start().await.user_calls(spec).await;
    assert_eq!(call.cdr.termination.cause, Cause::MediaTimeout);
    call.kept_the_rules().asked_only(&["BYE"]);
    assert_eq!(call.agent().requests.last().map(String::as_str), Some("BYE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_on_the_customers_way_here_are_named_in_the_record() {
    for (loss_percent, at_fault) in [(0, None), (15, Some(setu_model::Hop::CustomerUplink))] {
        let mut setup = Setup::default();
        setup.quirks.impairment = Impairment { loss_percent, ..Impairment::default() };
        let call = setup.start().await.user_calls(customer_for(4_000)).await;
        let quality = call.cdr.quality.unwrap();
        assert_eq!(quality.fault.map(|fault| fault.hop), at_fault, "{:?}", call.cdr.legs);
        let heard = quality.agent_heard.unwrap().value();
        assert!(if at_fault.is_some() { heard < 3.5 } else { heard > 4.0 }, "{quality:?}");
    }
}
