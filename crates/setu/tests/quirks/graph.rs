//! Calls that Meta signals by Graph: HTTPS requests one way, webhooks the other, media by ICE and DTLS.

use setu_model::{AnsweredBy, Cause, Cdr, Direction, EndedBy, Ingress, Milestone, Side};
use setu_twin::Person;
use setu_twin::agent::{PhoneAnswer, PhoneEvent, PhoneReport};
use setu_twin::graph::{GraphCallSpec, GraphHabits, GraphReport};
use setu_twin::meta::{Ender, UserSaw};

use crate::lab::*;

const BY_GRAPH: &str = "signalling = \"graph\"\ntoken = \"a-token\"";

fn graph(change: impl FnOnce(&mut GraphHabits)) -> Setup {
    let mut habits = GraphHabits::default();
    change(&mut habits);
    Setup { number: BY_GRAPH, graph: Some(habits), ..Setup::default() }
}

fn user_for(ms: u64) -> GraphCallSpec {
    GraphCallSpec {
        cta_payload: Some("order-4711".to_owned()),
        ..GraphCallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(ms))
    }
}

struct Said {
    user: GraphReport,
    agent: Option<PhoneReport>,
    /// When the agent's phone was told of the call, in milliseconds since 1970.
    rang_ms: Option<i64>,
    cdr: Cdr,
}

impl Lab {
    /// A user calls, and the agent's phone may ring.
    async fn user_calls_by_graph(&mut self, spec: GraphCallSpec) -> Said {
        let mut events = self.phone().events();
        let listening = tokio::spawn(async move {
            let (mut rang_ms, mut report) = (None, None);
            while report.is_none() {
                match events.recv().await {
                    Ok(PhoneEvent::Invited(_)) => rang_ms = Some(unix_ms()),
                    Ok(event) => report = event.ended().cloned(),
                    Err(_) => break,
                }
            }
            (rang_ms, report)
        });
        let user = self.graph().call(spec, PATIENCE).await.unwrap();
        let cdr = self.next_cdr().await;
        let rang = cdr.timeline.first(Milestone::Dialled).is_some();
        let (rang_ms, agent) = if rang { listening.await.unwrap() } else { (None, None) };
        Said { user, agent, rang_ms, cdr }
    }
}

fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// When something happened in the call, in milliseconds since 1970.
fn at_ms(cdr: &Cdr, what: Milestone) -> i64 {
    cdr.began.unix_ms() + i64::try_from(cdr.timeline.first(what).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_call_is_described_before_the_agent_rings_and_accepted_when_he_answers() {
    let mut lab = graph(|_| {}).start().await;
    let Said { user, agent, rang_ms, cdr } = lab.user_calls_by_graph(user_for(1_500)).await;
    assert_eq!(user.violations, []);
    assert_eq!(user.actions(), ["pre_accept", "accept"], "nothing is asked once the user hung up");
    assert!(user.webhooks.iter().all(|status| *status == 200), "{:?}", user.webhooks);
    let described = user.asked_for("pre_accept").unwrap().at.unix_ms();
    assert!(described <= rang_ms.unwrap(), "described at {described}, rang at {rang_ms:?}");
    let answered = at_ms(&cdr, Milestone::Answered);
    let accepted = user.asked_for("accept").unwrap().at.unix_ms();
    assert!((0..50).contains(&(accepted - answered)), "accepted {} ms after the agent", accepted - answered);

    assert_eq!((user.saw, user.ended_by), (UserSaw::Connected, Ender::User));
    assert_hz(user.heard.hz, AGENT_HZ);
    let agent = agent.unwrap();
    assert_hz(agent.heard.hz, CUSTOMER_HZ);
    assert!(agent.headers.contains(&("X-Setu-Cta-Payload".to_owned(), "order-4711".to_owned())));
    assert_eq!((user.heard.ssrcs.len(), user.heard.sequence_jumps, user.heard.timestamp_jumps), (1, 0, 0));
    assert!(!user.path.nominated_at_once && user.path.checks_forged == 0);

    assert_eq!((cdr.ingress, cdr.direction), (Ingress::Graph, Direction::UserInitiated));
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Success, EndedBy::Customer));
    assert_eq!((cdr.facts.wacid.as_deref(), cdr.meta_duration_s), (Some(&*user.wacid), Some(1)));
    assert_eq!(cdr.facts.customer_name.as_ref().map(|name| name.reveal().as_str()), Some("Asha"));
    assert_eq!(cdr.agent, Some(AnsweredBy::Agent("alice".to_owned())));
    assert!(cdr.recording.is_some_and(|recording| recording.channels == 2));
    let meta = cdr.legs.iter().find(|leg| leg.side == Side::Meta).unwrap();
    assert_eq!(meta.srtp.as_deref(), Some("DTLS-SRTP"));
}

#[tokio::test(flavor = "multi_thread")]
async fn media_waits_for_the_reply_to_the_acceptance_however_long_that_takes() {
    let mut lab = graph(|habits| habits.reply_ms = 400).start().await;
    let Said { user, cdr, .. } = lab.user_calls_by_graph(user_for(1_000)).await;
    assert_eq!(user.violations, []);
    assert_eq!(cdr.termination.cause, Cause::Success, "{}", cdr.termination);
    assert_hz(user.heard.hz, AGENT_HZ);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_who_hangs_up_ends_the_call_with_meta() {
    let mut setup = graph(|_| {});
    setup.phones = vec![agent_for(800)];
    let mut lab = setup.start().await;
    let Said { user, cdr, .. } = lab.user_calls_by_graph(user_for(20_000)).await;
    assert_eq!(user.actions(), ["pre_accept", "accept", "terminate"]);
    assert_eq!((user.ended_by, user.violations.len()), (Ender::Business, 0));
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Success, EndedBy::Agent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_agent_declines_is_rejected() {
    let mut setup = Setup { ..graph(|_| {}) };
    setup.phones = vec![setu_twin::agent::Habits {
        answer: PhoneAnswer::Refuse { after_ms: 100, status: 603 },
        ..agent()
    }];
    let mut lab = setup.start().await;
    let Said { user, cdr, .. } = lab.user_calls_by_graph(user_for(20_000)).await;
    assert_eq!(user.actions(), ["pre_accept", "reject"]);
    assert_eq!((user.saw, cdr.termination.cause), (UserSaw::Refused, Cause::Declined));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_gives_up_stops_the_ringing() {
    let mut setup = graph(|_| {});
    setup.phones = vec![setu_twin::agent::Habits { answer: PhoneAnswer::Never, ..agent() }];
    let mut lab = setup.start().await;
    let spec = GraphCallSpec { gives_up_after_ms: Some(500), ..user_for(20_000) };
    let Said { user, cdr, agent, .. } = lab.user_calls_by_graph(spec).await;
    assert_eq!(user.actions(), ["pre_accept"]);
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Cancelled, EndedBy::Customer));
    assert_eq!(agent.unwrap().status, Some(487));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_come_again_and_in_the_wrong_order_make_one_call() {
    let mut lab = graph(|habits| habits.deliveries = 3).start().await;
    let Said { user, cdr, .. } = lab.user_calls_by_graph(user_for(600)).await;
    assert_eq!(user.actions(), ["pre_accept", "accept"]);
    assert_eq!(cdr.termination.cause, Cause::Success, "{}", cdr.termination);
    assert!(!lab.has_another_cdr());

    let mut lab = graph(|habits| (habits.ends_first, habits.deliveries) = (true, 2)).start().await;
    let Said { user, cdr, agent, .. } = lab.user_calls_by_graph(user_for(600)).await;
    assert_eq!(user.actions(), [""; 0], "a call that is over is not taken");
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Cancelled, EndedBy::Customer));
    assert!(agent.is_none() && !lab.has_another_cdr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_webhook_finds_nobody_at_first_is_taken_when_it_comes_again() {
    let mut lab = graph(|habits| habits.redeliver_ms = 300).start().await;
    let to = lab.bridge.webhook_address().unwrap();
    // A port that is nobody's.
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], crate::ports::port()));
    lab.graph().with(move |edge, _| edge.send_webhooks_to(nobody)).await.unwrap();
    let calling = lab.graph().with(|edge, now| edge.call(user_for(600), now)).await.unwrap();
    assert!(calling.is_some());
    lab.graph().with(move |edge, _| edge.send_webhooks_to(to)).await.unwrap();
    let user = lab.graph().next_report(PATIENCE).await.unwrap();
    assert_eq!((user.webhooks.first(), user.webhooks.last()), (Some(&0), Some(&200)), "{:?}", user.webhooks);
    assert_eq!((user.saw, lab.next_cdr().await.termination.cause), (UserSaw::Connected, Cause::Success));
}

/// Meta delivers again for days what nobody took.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_told_hours_later_asks_meta_for_nothing_and_leaves_a_record() {
    let mut lab = graph(|_| ()).start().await;
    let mut rings = lab.phone().events();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (call, late_s) in [("LATE", 180), ("DAYS", 9 * 24 * 3_600)] {
        let body = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"calls","value":{{
            "metadata":{{"phone_number_id":"PHONE_NUMBER_ID"}},"calls":[{{"id":"{call}","event":"connect",
            "direction":"USER_INITIATED","from":"919876543210","timestamp":"{}",
            "session":{{"sdp_type":"offer","sdp":"v=0"}}}}]}}}}]}}]}}"#,
            now - late_s
        );
        for _ in 0..2 {
            assert_eq!(lab.webhooks().post("/webhooks/whatsapp", &body).await.unwrap(), 200);
        }
        let cdr = lab.next_cdr().await;
        let found = (cdr.facts.wacid.as_deref(), cdr.ingress, cdr.termination.cause);
        assert_eq!(found, (Some(call), Ingress::Graph, Cause::Refused), "{}", cdr.termination);
        assert!(cdr.termination.detail.is_some_and(|why| why.starts_with("expired: ")));
    }
    assert!(rings.try_recv().is_err() && !lab.has_another_cdr(), "a phone rang for a call that was over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_description_beside_the_session_changes_nothing() {
    let mut lab = graph(|habits| habits.legacy_connection = true).start().await;
    let Said { user, cdr, .. } = lab.user_calls_by_graph(user_for(600)).await;
    assert_eq!((user.violations.len(), cdr.termination.cause), (0, Cause::Success));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_that_meta_refuses_or_loses_frees_the_agent() {
    for (change, actions) in [
        (
            (|habits: &mut GraphHabits| habits.refuses = Some(("accept".to_owned(), 138_019)))
                as fn(&mut GraphHabits),
            vec!["pre_accept", "accept"],
        ),
        (|habits| habits.fails = Some("accept".to_owned()), vec!["pre_accept", "accept", "terminate"]),
    ] {
        let mut lab = graph(|habits| {
            change(habits);
            habits.ring_window_ms = 2_000;
        })
        .start()
        .await;
        let Said { user, cdr, agent, .. } = lab.user_calls_by_graph(user_for(20_000)).await;
        assert_eq!(user.actions(), actions);
        assert_eq!(cdr.termination.cause, Cause::Unreachable, "{}", cdr.termination);
        assert_eq!((cdr.answered, agent.unwrap().answered), (None, true));
        assert_eq!(user.violations, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_meta_does_not_know_ends_the_call_and_says_so() {
    let number = "signalling = \"graph\"\ntoken = \"another\"";
    let mut lab = Setup { number, ..graph(|habits| habits.ring_window_ms = 1_500) }.start().await;
    let Said { cdr, .. } = lab.user_calls_by_graph(user_for(20_000)).await;
    assert_eq!(cdr.termination.cause, Cause::RefusedByMeta);
    assert!(cdr.termination.detail.is_some_and(|detail| detail.contains("OAuth")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_call_by_graph_rings_is_taken_and_bridged() {
    let mut lab = graph(|_| {}).start().await;
    let phone = lab.phones.first().unwrap();
    let (agent, user) =
        tokio::join!(phone.dial(CUSTOMER, Some(agent_for(1_200))), lab.graph().next_report(PATIENCE));
    let (agent, user, cdr) = (agent.unwrap(), user.unwrap(), lab.next_cdr().await);
    assert_eq!(user.violations, []);
    assert_eq!(user.asked_for("terminate").map(|asked| asked.status), Some(200));
    assert_eq!(user.pulses, 1, "pulses of 6 s cost");
    assert_hz(user.heard.hz, AGENT_HZ);
    assert_hz(agent.heard.hz, CUSTOMER_HZ);
    assert!(agent.provisional.contains(&180), "{:?}", agent.provisional);
    assert_eq!((cdr.ingress, cdr.direction), (Ingress::Graph, Direction::BusinessInitiated));
    assert_eq!((cdr.termination.cause, cdr.termination.by), (Cause::Success, EndedBy::Agent));
    assert_eq!(cdr.facts.wacid.as_deref(), Some(&*user.wacid));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_call_by_graph_without_permission_is_refused_as_by_sip() {
    let mut lab = graph(|habits| habits.permitted = false).start().await;
    let agent = lab.phones.first().unwrap().dial(CUSTOMER, Some(agent())).await.unwrap();
    let cdr = lab.next_cdr().await;
    assert_eq!((cdr.termination.cause, agent.status), (Cause::NoPermission, Some(403)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_call_by_graph_that_the_user_declines_or_misses_says_which() {
    use setu_twin::meta::Answer;
    for (answer, cause) in [(Answer::DeclineAfter(200), Cause::Declined), (Answer::Never, Cause::NoAnswer)] {
        let mut lab = Setup { answer, ..graph(|habits| habits.ring_window_ms = 800) }.start().await;
        let (_, user) = tokio::join!(
            lab.phones.first().unwrap().dial(CUSTOMER, Some(agent())),
            lab.graph().next_report(PATIENCE)
        );
        let cdr = lab.next_cdr().await;
        assert_eq!(cdr.termination.cause, cause, "{}", cdr.termination);
        assert_eq!(cdr.facts.wacid.as_deref(), Some(&*user.unwrap().wacid));
    }
}
