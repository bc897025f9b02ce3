//! What a customer hears who is not with an agent, in the ear of Meta's twin: one stream, the right pitch.

use setu_model::{Cause, Milestone};
use setu_twin::agent::{Hold, PhoneAnswer};
use setu_twin::{MediaDirection, Person};

use crate::lab::{AGENT_HZ, Setup, customer_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_on_hold_hears_beeps_and_the_agent_again_after_them() {
    let hold = Hold { after_ms: 400, for_ms: Some(1_500), direction: MediaDirection::Inactive };
    let mut lab = Setup::habits(|h| h.hold = Some(hold)).start().await;
    let call = lab.user_calls(customer_for(2_800)).await;
    call.went_well();
    let heard = &call.customer.heard;
    assert!(heard.heard_ms(425.0, 20.0) >= 250, "two beeps of 200 ms: {heard:?}");
    assert!(heard.longest_gap_ms <= 300, "{heard:?}");
    assert!(heard.last_audio_ms.unwrap() > 2_300, "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_answered_at_once_hears_ringing_until_the_agent_answers() {
    let mut setup = Setup::habits(|h| h.answer = PhoneAnswer::AfterMs(1_500));
    setup.number = "answer_at_once = true";
    let call = setup.start().await.user_calls(customer_for(3_500)).await;
    call.went_well();
    let heard = &call.customer.heard;
    assert!(heard.first_audio_ms.unwrap() < 300, "{heard:?}");
    assert!(heard.heard_ms(460.0, 40.0) >= 800, "440 and 480 Hz: {heard:?}");
    assert!(heard.heard_ms(f64::from(AGENT_HZ), 15.0) >= 1_000, "{heard:?}");
    let line = &call.cdr.timeline;
    assert!(line.first(Milestone::Bridged).unwrap() >= 1_400, "{line:?}");
    assert!(line.first(Milestone::Acknowledged).unwrap() < 1_000, "{line:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_answered_at_once_whom_the_agent_declines_is_hung_up() {
    let mut setup = Setup::habits(|h| h.answer = PhoneAnswer::Refuse { after_ms: 600, status: 603 });
    setup.number = "answer_at_once = true";
    setup.config = "[media]\nwaiting = \"silence\"\n";
    let mut spec = customer_for(5_000);
    spec.person = Person::saying(500).hanging_up_after(5_000);
    let call = setup.start().await.user_calls(spec).await;
    call.kept_the_rules().asked_only(&["BYE"]);
    assert_eq!(call.cdr.termination.cause, Cause::Declined, "{}", call.cdr.termination);
    assert_eq!((call.cdr.answered, call.customer.heard.tones.len()), (None, 0), "{:?}", call.customer.heard);
}
