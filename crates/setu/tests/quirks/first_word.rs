//! The first moment of a call, whoever keys its media and how: nothing that the customer says is missing, and the agent
//! is heard soon.

use setu_model::Milestone;
use setu_twin::Person;
use setu_twin::agent::Dtls;
use setu_twin::media::Says;
use setu_twin::meta::{CallSpec, KeyExchange};

use crate::lab::{CUSTOMER, CUSTOMER_HZ, Call, NUMBER, Setup, agent_for, customer_for};

/// How a side's media is keyed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Keys {
    /// In the descriptions; toward this lab's agents there are none.
    Described,
    Dtls,
    DtlsOverIce,
}

impl Keys {
    fn dtls(self) -> Option<Dtls> {
        let ice = self == Self::DtlsOverIce;
        (self != Self::Described).then(|| Dtls { ice, ..Dtls::default() })
    }
}

fn keyed(meta: Keys, agent: Keys) -> Setup {
    let mut setup = Setup::habits(|habits| habits.dtls = agent.dtls());
    if meta != Keys::Described {
        setup.quirks.key_exchange = Some(KeyExchange::Dtls);
        setup.number = "srtp = \"dtls\"";
    }
    if agent != Keys::Described {
        setup.account = "srtp = \"dtls\"";
    }
    setup
}

const WAYS: [(Keys, Keys); 6] = [
    (Keys::Described, Keys::Described),
    (Keys::Described, Keys::Dtls),
    (Keys::Described, Keys::DtlsOverIce),
    (Keys::DtlsOverIce, Keys::Described),
    (Keys::DtlsOverIce, Keys::Dtls),
    (Keys::DtlsOverIce, Keys::DtlsOverIce),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_hears_every_packet_of_the_customers_first_word() {
    let word = Person { says: Says::word(CUSTOMER_HZ, 400), ..Person::default() }.hanging_up_after(900);
    for (meta, agent) in WAYS {
        let mut setup = keyed(meta, agent);
        setup.customer = word.clone();
        let habits = setu_twin::agent::Habits { dtls: agent.dtls(), ..agent_for(2_000) };
        let mut lab = setup.start().await;
        let spec = CallSpec::new(CUSTOMER, NUMBER).by(word.clone());
        for of_user in [true, false] {
            let mut sounding = Vec::new();
            // The best of a few: how the ear's decoder begins and ends the word depends on how many comfort frames came
            // before it, which other processes on a busy machine have a say in.
            for _ in 0..3 {
                let call = if of_user {
                    lab.user_calls(spec.clone()).await
                } else {
                    lab.agent_calls(habits.clone()).await
                };
                let heard = &call.agents.iter().find(|agent| agent.answered).unwrap().heard;
                assert_eq!((heard.lost, heard.sequence_jumps, heard.timestamp_jumps), (0, 0, 0), "{heard:?}");
                sounding.push(heard.sounding);
                if heard.sounding >= WHOLE {
                    break;
                }
            }
            assert!(
                sounding.iter().any(|it| *it >= WHOLE),
                "{meta:?} {agent:?}, of the user {of_user}: {sounding:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_customer_hears_the_agent_soon_after_the_answer() {
    for (meta, agent) in WAYS {
        let most_ms = if (meta, agent) == (Keys::Described, Keys::Described) { 60 } else { 250 };
        let mut lab = keyed(meta, agent).start().await;
        let mut waited = Vec::new();
        // The best of a few: what other processes take of a busy machine is not the bridge's.
        for _ in 0..4 {
            waited.push(first_audio_ms(&lab.user_calls(customer_for(600)).await));
            if waited.iter().any(|ms| *ms <= most_ms) {
                break;
            }
        }
        assert!(waited.iter().any(|ms| (0..=most_ms).contains(ms)), "{meta:?} {agent:?}: {waited:?} ms");
    }
}

/// 20 packets, and what their decoder still has to say in the one behind them.
const WHOLE: u64 = 21;

/// From the agent's answer, as the bridge received it, to the first of the agent's tone in the customer's ear.
fn first_audio_ms(call: &Call) -> i64 {
    call.went_well();
    let answered = call.cdr.timeline.first(Milestone::Answered).unwrap();
    let answered = call.cdr.began.unix_ms() + i64::try_from(answered).unwrap();
    let customer = &call.customer;
    customer.answered_at.unwrap().unix_ms() + customer.heard.first_audio_ms.unwrap() - answered
}
