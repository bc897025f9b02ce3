//! Dialogs with Meta: routes, what is never asked of it, connections that break, and the end.

use setu_model::{Cause, EndedBy};
use setu_twin::agent::{Hold, Refer};
use setu_twin::meta::{Ender, UserSaw};
use setu_twin::{MediaDirection, Person};

use crate::lab::{AGENT_HZ, CUSTOMER_HZ, Setup, agent_for, customer_for};

#[tokio::test(flavor = "multi_thread")]
async fn metas_record_routes_come_back_untouched_so_that_it_acknowledges() {
    let mut lab = Setup::quirks(|q| q.ack_only_if_routes_untouched = true).start().await;
    let call = lab.user_calls(customer_for(300)).await;
    call.went_well();
    assert_eq!((call.customer.saw, call.customer.answers_repeated), (UserSaw::Connected, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ack_and_bye_follow_metas_routes_in_both_directions() {
    for refused in [true, false] {
        let setup = || {
            let mut setup = Setup::quirks(|q| q.wrong_routes_refused = refused);
            setup.phones = vec![agent_for(300)];
            setup
        };
        let call = setup().start().await.user_calls(customer_for(60_000)).await;
        call.went_well().asked_only(&["BYE"]);
        assert_eq!(call.customer.ended_by, Ender::Business);
        assert_eq!((call.cdr.termination.by, call.agent().answered), (EndedBy::Agent, true));
        let call = setup().start().await.agent_calls(agent_for(300)).await;
        call.went_well().asked_only(&["ACK", "BYE"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_an_agent_does_in_a_call_is_asked_of_meta() {
    for (reinvite_status, unsupported_status) in [(500, 405), (488, 501)] {
        let mut setup = Setup::habits(|h| {
            h.person = Person::saying(AGENT_HZ).hanging_up_after(1_200);
            h.hold = Some(Hold { after_ms: 300, for_ms: Some(300), direction: MediaDirection::SendOnly });
            h.update_after_ms = Some(200);
            h.refer = Some(Refer { after_ms: 800, to: "sip:bob@setu".to_owned() });
        });
        setup.quirks.reinvite_status = reinvite_status;
        setup.quirks.unsupported_status = unsupported_status;
        let call = setup.start().await.user_calls(customer_for(60_000)).await;
        call.kept_the_rules().asked_only(&["BYE"]);
        assert_eq!(call.cdr.termination.cause, Cause::Success);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_may_refuse_register_and_ignore_options_for_all_the_bridge_cares() {
    for options_answered in [true, false] {
        let mut lab = Setup::quirks(|q| {
            q.options_answered = options_answered;
            q.register_status = 500;
        })
        .start()
        .await;
        let mut events = lab.edge.events();
        lab.agent_calls(agent_for(300)).await.went_well();
        lab.user_calls(customer_for(300)).await.went_well();
        let violated = std::iter::from_fn(|| events.try_recv().ok())
            .find(|event| matches!(event, setu_twin::meta::Event::Violation(..)));
        assert_eq!(violated, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metas_bye_is_kept_in_the_record_or_null_where_it_told_nothing() {
    for (bye_wacid, bye_duration) in [(true, true), (false, false)] {
        let setup = || {
            let mut setup = Setup::quirks(|q| (q.bye_wacid, q.bye_duration) = (bye_wacid, bye_duration));
            setup.customer = Person::saying(CUSTOMER_HZ).hanging_up_after(400);
            setup
        };
        let call = setup().start().await.agent_calls(agent_for(60_000)).await;
        call.went_well();
        let wacid = bye_wacid.then_some(call.customer.wacid.as_str());
        assert_eq!(call.cdr.facts.wacid.as_deref(), wacid);
        assert_eq!(call.cdr.meta_duration_s.is_some(), bye_duration);
        assert_eq!(call.cdr.termination.by, EndedBy::Customer);
        let call = setup().start().await.user_calls(customer_for(400)).await;
        assert_eq!(call.cdr.meta_duration_s.is_some(), bye_duration);
        assert_eq!(call.cdr.facts.wacid.as_deref(), Some(call.customer.wacid.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_in_mid_call_costs_nothing_and_metas_bye_comes_over_a_new_one() {
    let mut lab = Setup::default().start().await;
    let mut spec = customer_for(700);
    spec.person.drop_connection_after_ms = Some(200);
    let call = lab.user_calls(spec).await;
    call.went_well();
    assert_eq!((call.customer.connections, call.customer.bye_status), (2, Some(200)));
    assert_eq!(call.cdr.termination.by, EndedBy::Customer);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_connection_the_bridges_bye_goes_over_a_new_one() {
    let setup = Setup { phones: vec![agent_for(700)], ..Setup::default() };
    let mut spec = customer_for(60_000);
    spec.person.drop_connection_after_ms = Some(200);
    let call = setup.start().await.user_calls(spec).await;
    call.went_well().asked_only(&["BYE"]);
    assert_eq!(call.customer.ended_by, Ender::Business);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_call_survives_a_lost_connection_too() {
    let mut setup = Setup::default();
    setup.customer.drop_connection_after_ms = Some(200);
    setup.start().await.agent_calls(agent_for(700)).await.went_well().asked_only(&["ACK", "BYE"]);
    let mut setup = Setup { customer: Person::saying(CUSTOMER_HZ).hanging_up_after(700), ..Setup::default() };
    setup.customer.drop_connection_after_ms = Some(200);
    let call = setup.start().await.agent_calls(agent_for(60_000)).await;
    call.went_well();
    assert_eq!(call.customer.bye_status, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bye_right_behind_the_ack_ends_the_call_on_both_sides() {
    let call = Setup::default().start().await.user_calls(customer_for(0)).await;
    call.kept_the_rules();
    assert_eq!((call.customer.bye_status, call.cdr.termination.cause), (Some(200), Cause::Success));
    assert_eq!(call.cdr.termination.by, EndedBy::Customer);
    let setup = Setup { customer: Person::saying(CUSTOMER_HZ).hanging_up_after(0), ..Setup::default() };
    let call = setup.start().await.agent_calls(agent_for(60_000)).await;
    call.kept_the_rules();
    assert_eq!(call.cdr.termination.cause, Cause::Success);
}
