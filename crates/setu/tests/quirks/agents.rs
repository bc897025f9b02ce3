//! What agents' phones do in calls, none of which may reach Meta or break what the customer hears.

use setu_model::{Cause, Side};
use setu_twin::agent::{Habits, Hold, PhoneAnswer, Refer, Refresher, SessionTimer};
use setu_twin::media::{Codec, Suite};
use setu_twin::{Algorithm, MediaDirection, Person, Transport};

use crate::lab::{AGENT_HZ, CUSTOMER, Call, PATIENCE, Setup, agent, agent_for, customer_for};

/// A user's call and an agent's, each `ms` long, with an agent of these habits.
async fn both_ways(change: impl Fn(&mut Habits), ms: u64) -> [Call; 2] {
    let mut lab = Setup::habits(&change).start().await;
    let mut dialling = agent_for(ms);
    change(&mut dialling);
    [lab.user_calls(customer_for(ms)).await, lab.agent_calls(dialling).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_ends_at_the_bridge_and_the_customer_hears_one_stream() {
    for direction in [MediaDirection::SendOnly, MediaDirection::Inactive, MediaDirection::RecvOnly] {
        let hold = Hold { after_ms: 300, for_ms: Some(400), direction };
        for call in both_ways(|h| h.hold = Some(hold), 1_200).await {
            call.went_well();
            assert!(call.agent().replies.iter().filter(|(m, _)| m == "INVITE").count() >= 2);
            assert!(call.agent().replies.iter().all(|(_, status)| *status == 200), "{:?}", call.agent());
            // The stream goes on through the hold, and the agent is heard again after it.
            assert!(call.customer.heard.longest_gap_ms < 500, "{:?}", call.customer.heard);
            assert!(call.customer.heard.last_audio_ms.unwrap() > 900, "{:?}", call.customer.heard);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_answered_by_the_bridge() {
    for call in both_ways(|h| h.update_after_ms = Some(200), 700).await {
        call.went_well();
        assert!(call.agent().replies.contains(&("UPDATE".to_owned(), 200)), "{:?}", call.agent().replies);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_refreshes_the_session_by_reinvite_or_by_update() {
    for by_update in [false, true] {
        let timer = SessionTimer { expires_s: 90, refresher: Refresher::Us, by_update };
        for call in both_ways(|h| h.session_timer = Some(timer), 500).await {
            call.went_well();
        }
    }
}

/// Some PBXs escape the plus of what they dial.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_dialled_with_an_escaped_plus_is_called() {
    let lab = Setup::default().start().await;
    let escaped = CUSTOMER.replace('+', "%2B");
    let (agent, customer) =
        tokio::join!(lab.phone().dial(&escaped, Some(agent_for(300))), lab.edge.next_business_call(PATIENCE));
    let agent = agent.unwrap();
    assert!(agent.answered, "{agent:?}");
    assert_eq!(customer.unwrap().user, CUSTOMER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_refused_and_the_call_goes_on() {
    let refer = Refer { after_ms: 200, to: "sip:bob@setu".to_owned() };
    for call in both_ways(|h| h.refer = Some(refer.clone()), 800).await {
        call.went_well();
        let refused = call.agent().replies.iter().find(|(method, _)| method == "REFER").unwrap();
        assert!(refused.1 >= 400, "{refused:?}");
        assert!(call.customer.heard.last_audio_ms.unwrap() > 500, "{:?}", call.customer.heard);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_any_length_reach_meta_as_twenty_milliseconds() {
    for ptime_ms in [10, 40, 60] {
        for call in both_ways(|h| h.ptime_ms = ptime_ms, 800).await {
            call.went_well();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_opus_is_heard_through_g711() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        for call in both_ways(|h| h.codecs = vec![codec], 800).await {
            call.went_well();
            assert_eq!(call.agent().codec, Some(codec));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_heard_on_the_other_side_whatever_the_phones_clock() {
    for events in [vec![(101, 8_000)], vec![(101, 48_000)], vec![(101, 48_000), (102, 8_000)]] {
        let mut setup = Setup::habits(|h| {
            h.events.clone_from(&events);
            h.person = Person::saying(AGENT_HZ).pressing(200, "1#");
        });
        setup.phones[0].codecs = vec![Codec::Opus];
        let mut spec = customer_for(1_600);
        spec.person = spec.person.pressing(200, "9*");
        let call = setup.start().await.user_calls(spec).await;
        call.went_well();
        let heard = (call.customer.heard.digits(), call.agent().heard.digits());
        assert_eq!(heard, ("1#".to_owned(), "9*".to_owned()), "{events:?}");
        for digit in call.customer.heard.dtmf.iter().chain(&call.agent().heard.dtmf) {
            assert!(digit.ended && (100..=260).contains(&digit.duration_ms), "{events:?}: {digit:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_told_by_info_are_telephone_events_for_the_customer_and_the_other_way_round() {
    for (account, events) in [("dtmf = \"info\"\n", vec![(101, 8_000)]), ("", vec![])] {
        let mut setup = Setup::habits(|h| {
            h.events.clone_from(&events);
            h.dtmf_by_info = true;
            h.person = Person::saying(AGENT_HZ).pressing(200, "1#");
        });
        setup.account = account;
        let mut spec = customer_for(1_600);
        spec.person = spec.person.pressing(200, "9*");
        let call = setup.start().await.user_calls(spec).await;
        call.went_well().asked_only(&[]);
        assert_eq!(call.customer.heard.digits(), "1#");
        assert_eq!(call.agent().heard.digits(), "", "no telephone event was agreed on");
        // Only a peer that is configured so is told by INFO.
        let told: Vec<_> = call.agent().infos.iter().map(|body| body.lines().next().unwrap()).collect();
        assert_eq!(told, if account.is_empty() { vec![] } else { vec!["Signal=9", "Signal=*"] });
        let digits = |side| -> String {
            let of_side = call.cdr.digits.iter().filter(|it| it.from == side);
            of_side.map(|it| *it.digit.as_ref().unwrap().reveal()).collect()
        };
        assert_eq!((digits(Side::Agents), digits(Side::Meta)), ("1#".into(), "9*".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_tells_keys_twice_presses_them_once() {
    let mut setup = Setup::habits(|h| {
        h.events = vec![(101, 48_000)];
        h.dtmf_by_info = true;
        h.person = Person::saying(AGENT_HZ).pressing(200, "12");
    });
    setup.config = "[cdr]\ndtmf = \"masked\"\n";
    let mut spec = customer_for(1_000);
    spec.person = spec.person.pressing(300, "7");
    let call = setup.start().await.user_calls(spec).await;
    call.went_well();
    assert_eq!(call.customer.heard.digits(), "", "telephone events were agreed on, and INFO repeats them");
    assert_eq!(call.agent().heard.digits(), "7");
    let record: Vec<_> = call.cdr.digits.iter().map(|it| (it.from, it.digit.clone())).collect();
    assert_eq!(record, [(Side::Meta, None)], "masked");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_demands_srtp_gets_it_under_every_suite_and_refuses_a_phone_without() {
    let setup = |srtp: Vec<Suite>| Setup {
        transport: Transport::Tls,
        account: "srtp = \"sdes\"\n",
        ..Setup::habits(|h| h.srtp = srtp)
    };
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm] {
        let mut lab = setup(vec![suite]).start().await;
        let dialling = Habits { srtp: vec![suite], ..agent_for(400) };
        for call in [lab.user_calls(customer_for(400)).await, lab.agent_calls(dialling).await] {
            call.went_well();
            assert_eq!(call.agent().srtp, Some(suite));
        }
    }
    let mut lab = setup(Vec::new()).start().await;
    let plain = lab.phone().dial(CUSTOMER, Some(agent_for(400))).await.unwrap();
    assert_eq!((plain.answered, plain.status), (false, Some(488)));
    assert_eq!(lab.next_cdr().await.termination.cause, Cause::IncompatibleMedia);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_with_its_own_port_for_reports_or_its_own_number_for_opus_is_understood() {
    for (rtcp_mux, opus_pt, rtcp_interval_ms) in [(false, 96, 200), (true, 120, 200), (false, 107, 0)] {
        let habits = |h: &mut Habits| {
            (h.rtcp_mux, h.opus_pt, h.rtcp_interval_ms) = (rtcp_mux, opus_pt, rtcp_interval_ms);
        };
        for call in both_ways(habits, 600).await {
            call.went_well();
        }
    }
}

/// A phone that knows one digest algorithm registers, is called, and calls.
async fn registers_over(transport: Transport, algorithm: Algorithm) {
    // Where the signalling is encrypted, so is the media.
    let srtp = if transport == Transport::Tls { vec![Suite::AesCm128HmacSha1_80] } else { Vec::new() };
    let phone = Habits { srtp, ..agent() };
    let dialling = Habits { srtp: phone.srtp.clone(), ..agent_for(300) };
    let setup = Setup { transport, algorithms: vec![algorithm], phones: vec![phone], ..Setup::default() };
    let mut lab = setup.start().await;
    lab.user_calls(customer_for(300)).await.went_well();
    lab.agent_calls(dialling).await.went_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_registers_over_udp_with_either_hash() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        registers_over(Transport::Udp, algorithm).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_registers_over_tcp_with_either_hash() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        registers_over(Transport::Tcp, algorithm).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_registers_over_tls_with_either_hash() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        registers_over(Transport::Tls, algorithm).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_contact_rings_and_the_first_to_answer_has_the_call() {
    let slow = Habits { answer: PhoneAnswer::AfterMs(5_000), ..agent() };
    let setup = Setup { phones: vec![slow, agent()], ..Setup::default() };
    let call = setup.start().await.user_calls(customer_for(500)).await;
    call.went_well();
    let answered: Vec<bool> = call.agents.iter().map(|agent| agent.answered).collect();
    assert_eq!(answered, [false, true]);
    assert_eq!(call.agent().status, Some(487));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_packet_leaves_within_a_tenth_of_a_second_of_the_answer_and_audio_soon_after() {
    for call in both_ways(|_| (), 800).await {
        call.went_well();
        let heard = &call.customer.heard;
        assert!(heard.first_packet_ms.unwrap() <= 100, "{heard:?}");
        assert!(heard.first_audio_ms.unwrap() <= 500, "{heard:?}");
        let meta = call.cdr.legs.iter().find(|leg| leg.side == setu_model::Side::Meta).unwrap();
        assert!(meta.media.unwrap().first_sent_ms.unwrap() <= 100, "{meta:?}");
    }
}
