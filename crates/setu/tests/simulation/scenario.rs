//! What a seed makes happen: the terrain, and a list of calls and accidents.

use setu_call::RingOrder;
use setu_model::{Entropy as _, SeededEntropy};
use setu_twin::agent::{Dtls, Habits, Hold, PhoneAnswer, PhoneRinging, Refer, Refresher, SessionTimer};
use setu_twin::media::{Codec, Says, Setup, Suite};
use setu_twin::meta::{Answer, Answering, CallSpec, ParentUserId, Profile, Quirks, Refusal, Ringing};
use setu_twin::net::Link;
use setu_twin::{Algorithm, MediaDirection, Person};

use crate::world::{NUMBERS, Terrain};

/// A whole plan.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) terrain: Terrain,
    /// What happens, in order, and how many milliseconds after the one before.
    pub(crate) steps: Vec<(u64, Step)>,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// Somebody changes how they take calls: a phone.
    Phone(usize, Box<Habits>),
    /// A WhatsApp user does.
    User(String, Box<Answering>),
    /// A user calls the business.
    UserCall(Box<CallSpec>),
    /// A phone or PBX calls a user.
    PhoneCall(usize, String, Box<Habits>),
    /// A program has a user called: the number, the user, and who rings first.
    Place(&'static str, String, RingOrder),
    /// It ends every call that it placed.
    ProgramHangsUp,
    /// The streams to a peer are cut.
    Cut(usize),
    /// The operator drains the bridge.
    Drain,
    /// Whoever has a call hangs up now, at whatever point the call is: phone.
    PhonesHangUp(usize),
}

/// Dice.
pub(crate) struct Dice(SeededEntropy);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0.next_u64() % most.max(1)
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    fn maybe<T>(&mut self, percent: u64, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.chance(percent).then(|| make(self))
    }
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice(SeededEntropy::new(seed.wrapping_mul(0x9e37_79b9) ^ 0x5e7));
        let mut steps = Vec::new();
        let calls = dice.between(4, 8);
        for n in 0..calls {
            let wait = dice.pick(&[0, 5, 50, 400, 2_000]);
            dice.call(n, wait, &mut steps);
            if dice.chance(12) {
                steps.push((dice.between(0, 3_000), Step::Cut(dice.below(6) as usize)));
            }
            if dice.chance(8) {
                steps.push((dice.between(0, 3_000), Step::PhonesHangUp(dice.below(5) as usize)));
            }
            if dice.chance(4) {
                steps.push((dice.between(0, 3_000), Step::ProgramHangsUp));
            }
        }
        if dice.chance(15) {
            steps.push((dice.between(0, 3_000), Step::Drain));
            let wait = dice.between(0, 1_500);
            dice.call(calls, wait, &mut steps);
            if dice.chance(50) {
                steps.push((dice.between(0, 5_000), Step::Drain));
            }
        }
        let terrain = Terrain {
            seed,
            link: dice.link(),
            pairs: if dice.chance(10) { 2 } else { 64 },
            disk_full: dice.chance(5),
            dtls: false,
        };
        Self { terrain, steps }
    }

    /// The same plan with all media keyed by DTLS. Its packets are not the same in each run: keys and certificates are
    /// not of the seed.
    pub(crate) fn with_dtls(mut self) -> Self {
        self.terrain.dtls = true;
        let mut dice = Dice(SeededEntropy::new(self.terrain.seed ^ 0xd715));
        for (_, step) in &mut self.steps {
            if let Step::Phone(_, habits) | Step::PhoneCall(_, _, habits) = step {
                let answers = dice.pick(&[Setup::Active, Setup::Active, Setup::Passive]);
                habits.dtls = Some(Dtls { ice: dice.chance(50), answers });
            }
        }
        self
    }

    /// Whether a connection with Meta is lost at some point: what was on its way is gone, and neither side may be
    /// blamed for that.
    pub(crate) fn loses_meta(&self) -> bool {
        self.steps.iter().any(|(_, step)| match step {
            Step::Cut(peer) => *peer == 0,
            Step::User(_, answering) => answering.person.drop_connection_after_ms.is_some(),
            Step::UserCall(call) => call.person.drop_connection_after_ms.is_some(),
            Step::Phone(..)
            | Step::PhoneCall(..)
            | Step::Place(..)
            | Step::ProgramHangsUp
            | Step::Drain
            | Step::PhonesHangUp(_) => false,
        })
    }

    /// One call on a perfect network: what must work before anything else.
    pub(crate) fn smooth(steps: Vec<(u64, Step)>) -> Self {
        let terrain = Terrain { seed: 1, link: Link::default(), pairs: 8, disk_full: false, dtls: false };
        Self { terrain, steps }
    }
}

impl Dice {
    fn link(&mut self) -> Link {
        Link {
            delay_ms: self.pick(&[1, 10, 40, 120]),
            jitter_ms: self.pick(&[0, 0, 5, 30]),
            loss_percent: self.pick(&[0, 0, 1, 5, 15]),
            duplicate_percent: self.pick(&[0, 0, 2, 10]),
        }
    }

    fn call(&mut self, n: u64, wait: u64, steps: &mut Vec<(u64, Step)>) {
        // Sometimes the same user again: Meta and the bridge allow one call between two.
        let user = format!("+1219555{:04}", if self.chance(10) { 0 } else { n });
        if self.chance(55) {
            let number = self.ready(steps);
            let spec = CallSpec {
                cancel_after_ms: self.maybe(15, |d| d.between(0, 3_000)),
                cta_payload: self.maybe(20, |_| "button:7".to_owned()),
                person: self.person(),
                quirks: Some(self.quirks()),
                ..CallSpec::new(user, number)
            };
            steps.push((wait, Step::UserCall(Box::new(spec))));
        } else {
            let answer = match self.below(10) {
                0 => Answer::DeclineAfter(self.between(0, 1_500)),
                1 => Answer::Refuse(self.pick(&Refusal::ALL)),
                2 if self.chance(30) => Answer::Never,
                _ => Answer::After(self.pick(&[0, 200, 1_500])),
            };
            let answering = Answering { answer, person: self.person(), quirks: Some(self.quirks()) };
            steps.push((0, Step::User(user.clone(), Box::new(answering))));
            if self.chance(40) {
                let number = self.ready(steps);
                let first = self.pick(&[RingOrder::AgentFirst, RingOrder::CustomerFirst]);
                steps.push((wait, Step::Place(number, user, first)));
            } else {
                let phone = self.below(5) as usize;
                steps.push((wait, Step::PhoneCall(phone, user, Box::new(self.habits()))));
            }
        }
    }

    /// Picks a number, whose phones get habits: the two numbers of agents ring phones 0 to 2, the others a PBX each.
    fn ready(&mut self, steps: &mut Vec<(u64, Step)>) -> &'static str {
        let number = self.pick(&NUMBERS);
        for phone in match number {
            "+15550000003" => 3..4,
            "+15550000004" => 4..5,
            _ => 0..3,
        } {
            steps.push((0, Step::Phone(phone, Box::new(self.habits()))));
        }
        number
    }

    fn person(&mut self) -> Person {
        Person {
            says: match self.below(20) {
                0 => Says::Nothing,
                1..=10 => Says::Silence,
                _ => Says::tone(440),
            },
            dtmf: Vec::new(),
            hang_up_after_ms: Some(self.pick(&[0, 10, 300, 1_000, 2_500])).filter(|_| self.chance(60)),
            drop_connection_after_ms: self.maybe(5, |d| d.between(0, 1_500)),
            listens: false,
        }
    }

    fn habits(&mut self) -> Habits {
        let mut person = self.person();
        // Somebody hangs up, or the call would last for hours.
        person.hang_up_after_ms = person.hang_up_after_ms.or(Some(self.between(500, 3_500)));
        if self.chance(15) {
            person = person.pressing(200, "12#");
        }
        let mute = person.says == Says::Nothing;
        if mute {
            // The bridge must notice.
            person.hang_up_after_ms = Some(self.pick(&[2_000, 40_000]));
        }
        Habits {
            codecs: self.pick(&[
                vec![Codec::Opus, Codec::Pcmu, Codec::Pcma],
                vec![Codec::Opus],
                vec![Codec::Pcmu],
                vec![Codec::Pcma, Codec::Opus],
            ]),
            dtls: None,
            srtp: self.pick(&[
                vec![],
                vec![Suite::AesCm128HmacSha1_80],
                vec![Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80],
            ]),
            ptime_ms: self.pick(&[20, 20, 20, 10, 40, 60]),
            opus_pt: self.pick(&[96, 107, 111]),
            events: self.pick(&[vec![(101, 8_000)], vec![], vec![(100, 48_000), (101, 8_000)]]),
            rtcp_mux: self.chance(70),
            rtcp_interval_ms: if mute { 0 } else { self.pick(&[0, 500, 5_000]) },
            new_source_after_ms: self.maybe(10, |d| d.between(100, 1_500)),
            ringing: self.pick(&[
                PhoneRinging::Nothing,
                PhoneRinging::Ringing,
                PhoneRinging::Progress,
                PhoneRinging::EarlyMedia,
            ]),
            answer: match self.below(12) {
                0 => PhoneAnswer::Refuse {
                    after_ms: self.pick(&[0, 700]),
                    status: self.pick(&[486, 603, 480, 404, 503, 488]),
                },
                1 if self.chance(40) => PhoneAnswer::Never,
                _ => PhoneAnswer::AfterMs(self.pick(&[0, 100, 500, 2_000])),
            },
            hold: self.maybe(15, |d| Hold {
                after_ms: d.between(0, 800),
                for_ms: d.maybe(70, |d| d.between(50, 1_500)),
                direction: d.pick(&[MediaDirection::SendOnly, MediaDirection::Inactive]),
            }),
            update_after_ms: self.maybe(15, |d| d.between(0, 1_500)),
            refer: self
                .maybe(10, |d| Refer { after_ms: d.between(0, 1_500), to: "sip:eve@evil.test".to_owned() }),
            dtmf_by_info: self.chance(20),
            session_timer: self.maybe(20, |d| SessionTimer {
                expires_s: d.pick(&[90, 1_800]),
                refresher: d.pick(&[Refresher::Us, Refresher::Peer]),
                by_update: d.chance(50),
            }),
            never_acks: self.chance(2),
            person,
        }
    }

    fn quirks(&mut self) -> Quirks {
        Quirks {
            connection_per_call: self.chance(20),
            via_count: self.pick(&[1, 2]),
            content_length_padded: self.chance(50),
            content_length_twice: self.chance(10),
            wacid_header: self.chance(90),
            wacid_padded: self.chance(50),
            user_headers: self.chance(80),
            parent_user_id: self.pick(&[
                ParentUserId::Absent,
                ParentUserId::Underscore,
                ParentUserId::Hyphen,
            ]),
            transport_param: self.chance(80),
            answers_algorithms: self.pick(&[
                vec![Algorithm::Sha256, Algorithm::Md5],
                vec![Algorithm::Md5],
                vec![Algorithm::Sha256],
            ]),
            digest_uri_bare: self.chance(70),
            challenge_algorithms: self.pick(&[
                vec![Algorithm::Md5],
                vec![Algorithm::Sha256, Algorithm::Md5],
                vec![],
            ]),
            stateless_to_tag: self.chance(70),
            trying: self.chance(80),
            ringing: self.pick(&[Ringing::Nothing, Ringing::Ringing, Ringing::Progress, Ringing::EarlyMedia]),
            bye_wacid: self.chance(70),
            bye_duration: self.chance(70),
            profile: self.pick(&[Profile::Savp, Profile::DtlsSavpf]),
            opus_pt: self.pick(&[111, 96, 120]),
            event_pt: self.pick(&[126, 101]),
            waits_for_first_packet: self.chance(80),
            rtcp_interval_ms: self.pick(&[0, 500, 5_000]),
            ..Quirks::default()
        }
    }
}
