//! Calls before their answer: ringing, giving up, refusing.

use setu_model::{Cause, EndedBy};
use setu_twin::Person;
use setu_twin::agent::{PhoneAnswer, PhoneEvent};
use setu_twin::meta::{Answer, CallSpec, Refusal, Ringing, UserSaw};

use crate::lab::{CUSTOMER, CUSTOMER_HZ, NUMBER, PATIENCE, Setup, agent_for, customer_for};

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_hears_of_ringing_however_meta_tells_it() {
    for (ringing, trying, expected) in [
        (Ringing::Nothing, true, vec![]),
        (Ringing::Nothing, false, vec![]),
        (Ringing::Ringing, true, vec![180]),
        (Ringing::Ringing, false, vec![180]),
        (Ringing::Progress, true, vec![180, 183]),
        (Ringing::EarlyMedia, true, vec![180, 183]),
    ] {
        let mut lab = Setup::quirks(|q| (q.ringing, q.trying) = (ringing, trying)).start().await;
        let call = lab.agent_calls(agent_for(400)).await;
        call.went_well();
        let told: Vec<u16> = call.agent().provisional.iter().copied().filter(|s| *s != 100).collect();
        assert!(told.iter().all(|status| expected.contains(status)), "{ringing:?}: {told:?}");
        assert_eq!(told.is_empty(), expected.is_empty(), "{ringing:?}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_meta_has_its_cause_and_its_status_toward_the_agent() {
    let mut lab = Setup::default().start().await;
    for refusal in Refusal::ALL {
        let (cause, toward_agent) = match refusal {
            Refusal::AssetNotFound
            | Refusal::ServerMismatch
            | Refusal::AppNotAuthorized
            | Refusal::DailyLimit
            | Refusal::InvalidDigest
            | Refusal::Payment => (Cause::RefusedByMeta, 403),
            Refusal::NoPermission => (Cause::NoPermission, 403),
            Refusal::DuplicateCall => (Cause::RefusedByMeta, 486),
            Refusal::SdpValidation => (Cause::IncompatibleMedia, 488),
            Refusal::NotFound => (Cause::Unreachable, 404),
            Refusal::RtpTimeout => (Cause::MediaTimeout, 480),
            Refusal::Unavailable => (Cause::NoAnswer, 480),
            Refusal::Declined => (Cause::Declined, 603),
            Refusal::Internal | Refusal::Overloaded => (Cause::Unreachable, 480),
        };
        let answering = setu_twin::meta::Answering { answer: Answer::Refuse(refusal), ..Default::default() };
        lab.edge.with(move |edge, _| edge.set_user(None, answering)).await.unwrap();
        // Some rows are refused before a call exists at the edge, so only the agent and the record tell.
        let agent = lab.phone().dial(CUSTOMER, Some(agent_for(400))).await.unwrap();
        let cdr = lab.next_cdr().await;
        assert_eq!((cdr.termination.cause, agent.status), (cause, Some(toward_agent)), "{refusal:?}");
        assert_eq!(cdr.termination.by, EndedBy::Customer, "{refusal:?}");
        assert_eq!(cdr.termination.status, Some(refusal.status()), "{refusal:?}");
        let codes: Vec<u16> = cdr.refused.iter().map(|rule| rule.code).collect();
        assert_eq!(codes, if refusal == Refusal::NoPermission { vec![4005] } else { vec![] }, "{refusal:?}");
        let detail = cdr.termination.detail.unwrap();
        assert!(detail.contains(&refusal.phrase("127.0.0.1")) || detail.len() > 8, "{refusal:?}: {detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_does_not_answer_leaves_no_answer() {
    let mut setup = Setup::quirks(|q| q.ring_window_ms = 400);
    setup.answer = Answer::Never;
    let call = setup.start().await.agent_calls(agent_for(400)).await;
    assert_eq!((call.agent().status, call.cdr.termination.cause), (Some(480), Cause::NoAnswer));
    assert_eq!(call.customer.saw, UserSaw::Missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_declines_leaves_declined() {
    let setup = Setup { answer: Answer::DeclineAfter(200), ..Setup::default() };
    let call = setup.start().await.agent_calls(agent_for(400)).await;
    assert_eq!((call.agent().status, call.cdr.termination.cause), (Some(603), Cause::Declined));
    assert_eq!(call.customer.saw, UserSaw::Declined);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_who_gives_up_cancels_metas_ringing() {
    let setup = Setup { answer: Answer::Never, ..Setup::default() };
    let mut lab = setup.start().await;
    let events = lab.phone().events();
    let dialled = lab.phone().start_dialling(CUSTOMER, Some(agent_for(400))).await.unwrap();
    setu_twin::shell::wait_for(events, PATIENCE, |e| matches!(e, PhoneEvent::Ringing(_)).then_some(()))
        .await
        .unwrap();
    let phone = lab.phones.first().unwrap();
    let (report, hung_up) = tokio::join!(lab.edge.next_business_call(PATIENCE), phone.hang_up(dialled));
    hung_up.unwrap();
    let report = report.unwrap();
    assert_eq!((report.status, report.requests), (Some(487), vec!["CANCEL".to_owned()]));
    let cdr = lab.next_cdr().await;
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Cancelled, EndedBy::Agent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_gives_up_stops_the_agents_ringing() {
    let setup = Setup::habits(|h| h.answer = PhoneAnswer::Never);
    let spec = CallSpec { cancel_after_ms: Some(600), ..customer_for(400) };
    let call = setup.start().await.user_calls(spec).await;
    assert_eq!(call.customer.status, Some(487));
    assert_eq!((call.cdr.termination.cause, call.cdr.termination.by), (Cause::Cancelled, EndedBy::Customer));
    assert_eq!(call.agent().status, Some(487));
}

#[tokio::test(flavor = "multi_thread")]
async fn metas_ring_window_ends_a_call_nobody_answers() {
    let mut setup = Setup::habits(|h| h.answer = PhoneAnswer::Never);
    setup.quirks.ring_window_ms = 500;
    let call = setup.start().await.user_calls(customer_for(400)).await;
    assert_eq!(call.customer.saw, UserSaw::NoAnswer);
    assert_eq!(call.cdr.termination.cause, Cause::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_who_does_not_answer_leaves_no_answer() {
    let mut setup = Setup::habits(|h| h.answer = PhoneAnswer::Never);
    setup.config = "[ringing]\ntotal_s = 5\nagent_s = 5\n";
    let call = setup.start().await.user_calls(customer_for(400)).await;
    assert_eq!((call.customer.status, call.cdr.termination.cause), (Some(480), Cause::NoAnswer));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_who_refuses_tells_meta_what_the_user_may_know() {
    for (status, cause, toward_meta) in [
        (486, Cause::Busy, 486),
        (603, Cause::Declined, 603),
        (480, Cause::NoAnswer, 480),
        (404, Cause::Unreachable, 480),
        (503, Cause::Unreachable, 480),
    ] {
        let setup = Setup::habits(|h| h.answer = PhoneAnswer::Refuse { after_ms: 100, status });
        let call = setup.start().await.user_calls(customer_for(400)).await;
        let seen = (call.cdr.termination.cause, call.customer.status);
        assert_eq!(seen, (cause, Some(toward_meta)), "{status}");
        assert_eq!(call.customer.saw, UserSaw::Refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registered_is_unreachable_at_once() {
    let setup = Setup { phones: Vec::new(), ..Setup::default() };
    let call = setup.start().await.user_calls(customer_for(400)).await;
    assert_eq!((call.customer.status, call.cdr.termination.cause), (Some(480), Cause::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_metas_number_may_have_never_come_and_harm_none() {
    let mut lab = Setup::quirks(|q| q.concurrent_calls = 1).start().await;
    let first = lab.edge.start_call(customer_for(900)).await.unwrap();
    let second =
        lab.edge.call(CallSpec::new("+919876500000", NUMBER).by(Person::saying(CUSTOMER_HZ))).await.unwrap();
    assert_eq!(second.saw, UserSaw::CallFailed);
    assert_ne!(second.call, first);
    assert_eq!(lab.next_cdr().await.termination.cause, Cause::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_between_two_is_not_even_tried() {
    for duplicates_refused in [true, false] {
        let mut lab = Setup::quirks(|q| q.duplicates_refused = duplicates_refused).start().await;
        let (mut events, mut agents) = (lab.edge.events(), lab.phone().events());
        lab.edge.start_call(customer_for(1_500)).await.unwrap();
        while !matches!(agents.recv().await.unwrap(), PhoneEvent::FirstPacket(_)) {}
        let refused = lab.phone().dial(CUSTOMER, Some(agent_for(400))).await.unwrap();
        assert_eq!((refused.answered, refused.status), (false, Some(486)));
        let refusal = lab.next_cdr().await;
        assert_eq!((refusal.termination.cause, refusal.termination.by), (Cause::Refused, EndedBy::Bridge));
        assert_eq!(lab.next_cdr().await.termination.cause, Cause::Success);
        let asked = std::iter::from_fn(|| events.try_recv().ok())
            .any(|event| matches!(event, setu_twin::meta::Event::BusinessCall { .. }));
        assert!(!asked, "Meta was asked for a second call");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_that_only_meta_knows_of_is_refused_and_the_agent_hears_busy() {
    for duplicates_refused in [true, false] {
        let mut lab = Setup::quirks(|q| q.duplicates_refused = duplicates_refused).start().await;
        let (second, phone) = lab.second_bridge().await;
        let (mut records, mut agents) = (second.cdrs(), lab.phone().events());
        lab.edge.start_call(customer_for(2_500)).await.unwrap();
        while !matches!(agents.recv().await.unwrap(), PhoneEvent::FirstPacket(_)) {}
        let report = phone.dial(CUSTOMER, Some(agent_for(400))).await.unwrap();
        let cdr = tokio::time::timeout(PATIENCE, records.recv()).await.unwrap().unwrap();
        if duplicates_refused {
            assert_eq!((report.status, cdr.termination.cause), (Some(486), Cause::RefusedByMeta));
            assert_eq!(cdr.termination.status, Some(403));
            assert!(
                cdr.termination.detail.as_ref().unwrap().contains("Duplicate call"),
                "{}",
                cdr.termination
            );
        } else {
            assert_eq!((report.status, cdr.termination.cause), (Some(200), Cause::Success));
        }
        assert_eq!(lab.next_cdr().await.termination.cause, Cause::Success);
    }
}
