//! A provider's webhook names a SIP URI at which the customer waits.

use std::time::Duration;

use setu_model::{AnsweredBy, Cause, Cdr, Direction, EndedBy, Ingress, Side};
use setu_twin::agent::{PhoneAnswer, PhoneEnder, PhoneReport};
use setu_twin::webhook::sign;

use crate::lab::*;

/// The body that a provider documents, to the letter.
pub(crate) const EXAMPLE: &str = r#"{"object":"whatsapp_business_calling","entry":[{"id":"PHONE_NUMBER_ID","changes":[{"field":"calls","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"+9199999XXXXX"},"calls":[{"id":"CALL_ID","from":"+919876543210","timestamp":"1714719300","type":"audio","sip":"sip:agent-bridge.example.in;transport=tls","permission_source":"template_button"}]}}]}]}"#;

const TERMINATE: &str = r#"{"object":"whatsapp_business_calling","entry":[{"id":"PHONE_NUMBER_ID","changes":[{"field":"calls","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"+9199999XXXXX"},"calls":[{"id":"CALL_ID","from":"+919876543210","timestamp":"1714719337","duration":37,"hangup_cause":"user_hangup","quality_metrics":{"mos":4.1}}]}}]}]}"#;

const CONNECT_AT: &str = "/webhooks/whatsapp/call.connect";
const TERMINATE_AT: &str = "/webhooks/whatsapp/call.terminate";

fn customer_talks_for(ms: u64) -> Setup {
    let mut setup = Setup::default();
    setup.provider.person = setup.provider.person.hanging_up_after(ms);
    setup
}

impl Lab {
    async fn posts(&self, path: &str, body: &str) {
        assert_eq!(self.webhooks().post(path, body).await.unwrap(), 200, "{path}");
    }

    /// Waits for the ends of one call: the agent's, the customer's and the bridge's.
    async fn ends(&mut self, act: impl AsyncFnOnce(&Self)) -> (PhoneReport, PhoneReport, Cdr) {
        let customer = self.provider.next_report(PATIENCE);
        let agent = self.phone().next_report(PATIENCE);
        let ((), customer, agent) = tokio::join!(act(self), customer, agent);
        (agent.unwrap(), customer.unwrap(), self.next_cdr().await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_payload_bridges_the_customer_at_the_uri_with_the_agent() {
    let mut lab = customer_talks_for(1_200).start().await;
    let (agent, customer, cdr) = lab.ends(async |lab| lab.posts(CONNECT_AT, EXAMPLE).await).await;
    assert_hz(customer.heard.hz, AGENT_HZ);
    assert_hz(agent.heard.hz, CUSTOMER_HZ);
    assert!(customer.peer.starts_with(&format!("<sip:{NUMBER}@{HOSTNAME}>")), "{}", customer.peer);
    assert_eq!(customer.headers, [("x-wa-meta-wacid".to_owned(), "CALL_ID".to_owned())]);
    assert!(customer.srtp.is_some(), "what leaves the house is encrypted");
    assert_eq!(
        (customer.heard.ssrcs.len(), customer.heard.sequence_jumps, customer.heard.timestamp_jumps),
        (1, 0, 0)
    );
    assert!(agent.headers.contains(&("X-Setu-Customer".to_owned(), "+919876543210".to_owned())));

    assert_eq!((cdr.ingress, cdr.direction), (Ingress::ProviderUri, Direction::UserInitiated));
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Success, EndedBy::Customer));
    assert_eq!(cdr.facts.wacid.as_deref(), Some("CALL_ID"));
    assert_eq!((cdr.facts.number.as_str(), cdr.facts.customer.reveal().as_str()), (NUMBER, CUSTOMER));
    assert_eq!(cdr.agent, Some(AnsweredBy::Agent("alice".to_owned())));
    assert!(cdr.recording.is_some_and(|recording| recording.channels == 2));
    let meta = cdr.legs.iter().find(|leg| leg.side == Side::Meta).unwrap();
    assert_eq!((meta.index, meta.srtp.as_deref()), (0, Some("AES_CM_128_HMAC_SHA1_80")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_or_none_reaches_nobody() {
    let mut lab = Setup::default().start().await;
    let webhooks = lab.webhooks();
    for (signature, status) in [
        (Some(sign("another secret", EXAMPLE.as_bytes())), 403),
        (Some(sign(SECRET, b"another body")), 403),
        (None, 401),
    ] {
        let answer = webhooks.post_signed(CONNECT_AT, EXAMPLE, signature.as_deref()).await.unwrap();
        assert_eq!(answer, status);
    }
    assert_eq!((lab.bridge.active_calls(), lab.has_another_cdr()), (0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminate_ends_the_call_and_tells_why_and_how_long_it_was() {
    let mut lab = Setup::default().start().await;
    let (agent, customer, cdr) = lab
        .ends(async |lab| {
            lab.posts(CONNECT_AT, EXAMPLE).await;
            let talks = lab.provider.wait_for(PATIENCE, |event| {
                matches!(event, setu_twin::agent::PhoneEvent::FirstPacket(_)).then_some(())
            });
            talks.await.unwrap();
            lab.posts(TERMINATE_AT, TERMINATE).await;
        })
        .await;
    assert_eq!((customer.ended_by, agent.ended_by), (PhoneEnder::Peer, PhoneEnder::Peer));
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Success, EndedBy::Customer));
    assert_eq!(cdr.termination.detail.as_deref(), Some("user_hangup"));
    assert_eq!(cdr.meta_duration_s, Some(37));
}

#[tokio::test(flavor = "multi_thread")]
async fn posted_five_times_in_any_order_with_its_terminate_it_is_one_call() {
    // True is the call's beginning, false its end.
    for order in [
        [true, true, true, true, true, false],
        [true, false, true, true, true, true],
        [false, true, true, true, true, true],
        [true, true, false, false, true, true],
        [false, false, true, false, true, true],
    ] {
        let mut lab = Setup::default().start().await;
        for begins in order {
            let (path, body) = if begins { (CONNECT_AT, EXAMPLE) } else { (TERMINATE_AT, TERMINATE) };
            lab.posts(path, body).await;
        }
        let cdr = lab.next_cdr().await;
        assert_eq!(cdr.facts.wacid.as_deref(), Some("CALL_ID"), "{order:?}");
        assert_eq!(cdr.meta_duration_s, Some(37), "{order:?}");
        lab.posts(CONNECT_AT, EXAMPLE).await;
        // The driver takes webhooks in order: what the last one began is known when the next is acknowledged.
        lab.posts(TERMINATE_AT, TERMINATE).await;
        assert_eq!((lab.bridge.active_calls(), lab.has_another_cdr()), (0, false), "{order:?}");
    }
}

/// Whoever may tell of one number must not end, or cancel before it begins, the call of another.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_call_is_told_by_nobody_but_its_own_number() {
    let others = TERMINATE.replace("PHONE_NUMBER_ID", "ANOTHER").replace("user_hangup", "another_number");
    for before in [true, false] {
        let setup = Setup {
            config: "[[numbers]]\nnumber = \"+911234567891\"\npassword = \"another\"\nphone_number_id = \"ANOTHER\"\n\
                     agents = [\"alice\"]",
            ..Setup::default()
        };
        let mut lab = setup.start().await;
        let (_, _, cdr) = lab
            .ends(async |lab| {
                if before {
                    lab.posts(TERMINATE_AT, &others).await;
                }
                lab.posts(CONNECT_AT, EXAMPLE).await;
                let talks = lab.provider.wait_for(PATIENCE, |event| {
                    matches!(event, setu_twin::agent::PhoneEvent::FirstPacket(_)).then_some(())
                });
                talks.await.unwrap();
                if !before {
                    lab.posts(TERMINATE_AT, &others).await;
                }
                lab.posts(TERMINATE_AT, TERMINATE).await;
            })
            .await;
        let end = &cdr.termination;
        assert_eq!((end.cause, end.detail.as_deref()), (Cause::Success, Some("user_hangup")), "{before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_told_first_rings_nobody() {
    let mut lab = Setup::default().start().await;
    let mut rings = lab.phone().events();
    lab.posts(TERMINATE_AT, TERMINATE).await;
    lab.posts(CONNECT_AT, EXAMPLE).await;
    let cdr = lab.next_cdr().await;
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Cancelled, EndedBy::Customer));
    assert!(rings.try_recv().is_err(), "a phone rang for a call that was over");
}

/// A provider that was kept waiting for hours delivers again what nobody took.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_told_too_late_rings_nobody_and_its_record_says_why() {
    let mut lab = Setup::default().start().await;
    let mut rings = lab.phone().events();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (call, late_s) in [("LATE", 180), ("HOURS", 3 * 3_600)] {
        let moment = (now - late_s).to_string();
        let body = EXAMPLE.replace("CALL_ID", call).replace("1714719300", &moment);
        for _ in 0..2 {
            lab.posts(CONNECT_AT, &body).await;
        }
        let cdr = lab.next_cdr().await;
        let expected = (Some(call), Ingress::ProviderUri, Cause::Refused, EndedBy::Bridge);
        let (end, wacid) = (&cdr.termination, cdr.facts.wacid.as_deref());
        assert_eq!((wacid, cdr.ingress, end.cause, end.by), expected);
        assert!(end.detail.as_ref().is_some_and(|why| why.starts_with("expired: ")), "{end}");
    }
    assert!(rings.try_recv().is_err() && !lab.has_another_cdr(), "a phone rang for a call that was over");
    // Within the clocks' skew it is taken.
    let body = EXAMPLE.replace("1714719300", &(now - 90).to_string());
    let (_, _, cdr) = lab
        .ends(async |lab| {
            lab.posts(CONNECT_AT, &body).await;
            let talks = lab.provider.wait_for(PATIENCE, |event| {
                matches!(event, setu_twin::agent::PhoneEvent::FirstPacket(_)).then_some(())
            });
            talks.await.unwrap();
            lab.posts(TERMINATE_AT, TERMINATE).await;
        })
        .await;
    assert_eq!(cdr.termination.cause, Cause::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uri_that_leads_elsewhere_is_not_dialled_and_leaves_a_record() {
    for (uri, cause) in [
        ("sip:elsewhere.example;transport=tls", Cause::Refused),
        ("sip:agent-bridge.example.in", Cause::Refused),
        ("sip:127.0.0.1:5061;transport=tls", Cause::Refused),
        // Listed, but what it resolves to is refused where it would be dialled.
        ("sip:inside.example.in;transport=tls", Cause::Unreachable),
        ("sip:private.example.in;transport=tls", Cause::Unreachable),
    ] {
        let mut lab = Setup::default().start().await;
        lab.posts(CONNECT_AT, &EXAMPLE.replace("sip:agent-bridge.example.in;transport=tls", uri)).await;
        let cdr = lab.next_cdr().await;
        assert_eq!(cdr.termination.cause, cause, "{uri}: {}", cdr.termination);
        assert_eq!(cdr.answered, None, "{uri}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_shows_another_certificate_is_not_talked_to() {
    let mut lab = Setup::default().start().await;
    let uri = "sip:other.example.in;transport=tls";
    lab.posts(CONNECT_AT, &EXAMPLE.replace("sip:agent-bridge.example.in;transport=tls", uri)).await;
    let cdr = lab.next_cdr().await;
    assert_eq!(cdr.termination.cause, Cause::Unreachable, "{}", cdr.termination);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_refuses_ends_the_agents_leg_as_well() {
    let mut setup = Setup::default();
    setup.provider.answer = PhoneAnswer::Refuse { after_ms: 50, status: 486 };
    let mut lab = setup.start().await;
    let (agent, customer, cdr) = lab.ends(async |lab| lab.posts(CONNECT_AT, EXAMPLE).await).await;
    assert_eq!(cdr.termination.cause, Cause::Busy, "{}", cdr.termination);
    assert_eq!((agent.ended_by, customer.status), (PhoneEnder::Peer, Some(486)));
    assert_eq!(cdr.answered, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_is_answered_at_once_waits_for_the_agent_with_a_sound() {
    let mut setup = customer_talks_for(2_500);
    setup.number = "answer_at_once = true";
    setup.phones = vec![setu_twin::agent::Habits { answer: PhoneAnswer::AfterMs(1_000), ..agent() }];
    let mut lab = setup.start().await;
    let (agent, customer, cdr) = lab.ends(async |lab| lab.posts(CONNECT_AT, EXAMPLE).await).await;
    assert_eq!(cdr.termination.cause, Cause::Success, "{}", cdr.termination);
    assert_hz(agent.heard.hz, CUSTOMER_HZ);
    assert!(customer.heard.first_audio_ms.is_some_and(|ms| ms < 900), "{:?}", customer.heard);
    assert!(cdr.setup_ms.is_some_and(|ms| Duration::from_millis(ms) >= Duration::from_millis(1_000)));
}
