//! Operations in any order, valid and stale: what a hostile or unlucky network can make of the ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_model::{
    CallFacts, CallId, Cdr, Direction, EgressPolicy, Ingress, LegId, Now, Pii, RecordingRef, SeededEntropy,
    Wall,
};
use setu_sdp::{Description, Local, Policy};

use crate::{
    AgentConfig, AnswerIn, CallConfig, ContactId, DeskChange, EndHow, Extension, Input, LegCommand, LegEvent,
    MediaCommand, MediaEvent, NumberConfig, NumberRoute, Offered, Origin, Output, Placed, PrivateTrunk,
    RecordCommand, RecordEvent, Reserve, RingOrder, Srtp, Switchboard, TrunkConfig, Verdict, Watch,
};

/// Plays `data` as operations on a switchboard and panics if an invariant breaks: every call ends, exactly one
/// record each, no port and no agent leaked, no forbidden command. `start` is any instant. Returns the records.
pub fn fuzz_operations(data: &[u8], start: Instant) -> Vec<Cdr> {
    let mut player = Player::new(data, start);
    while let Some(operation) = player.data.next() {
        player.play(operation);
        player.drain();
    }
    player.finish()
}

struct Player<'a> {
    data: Data<'a>,
    board: Switchboard,
    watch: Watch,
    now: Now,
    calls: Vec<CallId>,
    reservations: Vec<CallId>,
    /// Every leg there ever was, with the last description of ours it was sent.
    legs: Vec<(LegId, Option<String>)>,
    /// What was commanded and not yet confirmed.
    owed: Vec<Input>,
    records: Vec<Cdr>,
    entropy: SeededEntropy,
}

struct Data<'a>(std::slice::Iter<'a, u8>);

impl Data<'_> {
    fn next(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    /// A value below `below`; 0 when the data is at its end.
    fn pick(&mut self, below: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % below.max(1)
    }
}

impl<'a> Player<'a> {
    fn new(data: &'a [u8], start: Instant) -> Self {
        Self {
            data: Data(data.iter()),
            board: Switchboard::new(config(), Box::new(SeededEntropy::new(1))),
            watch: Watch::default(),
            now: Now { mono: start, wall: Wall::from_unix_ms(1_700_000_000_000) },
            calls: Vec::new(),
            reservations: Vec::new(),
            legs: Vec::new(),
            owed: Vec::new(),
            records: Vec::new(),
            entropy: SeededEntropy::new(2),
        }
    }

    fn tell(&mut self, input: Input) {
        self.watch.input(&input);
        self.board.handle(input, self.now);
    }

    fn play(&mut self, operation: u8) {
        match operation % 20 {
            0 | 1 => self.offer(true),
            2 => self.offer(false),
            3 => self.desk(),
            4..=6 => self.confirm_all(),
            7 => self.confirm_one(),
            8 => self.pass_time(),
            9 => {
                let by = Duration::from_millis(u64::from(self.data.next().unwrap_or(0)));
                self.now = self.now.after(by);
                self.board.handle_timeout(self.now);
            }
            10 => self.media(),
            11 if self.data.pick(64) == 63 => self.tell(Input::Drain),
            13 if self.data.pick(4) == 3 => self.reserve(),
            12 if self.data.pick(8) == 7 => {
                let call = self.calls.get(self.data.pick(self.calls.len())).copied();
                self.tell(Input::HangUp { call: call.unwrap_or(CallId::from_bits(0)) });
            }
            _ => self.leg(),
        }
    }

    fn offer(&mut self, user_initiated: bool) {
        let call = CallId::from_bits(self.calls.len() as u128 + 1);
        self.calls.push(call);
        self.legs.push((LegId::originator(call), None));
        let customer = CUSTOMERS.get(self.data.pick(CUSTOMERS.len())).copied().unwrap_or_default();
        let names = ["alice", "bob", "nobody"];
        let name = names.get(self.data.pick(names.len())).copied().unwrap_or_default();
        let (direction, origin) = match (user_initiated, self.data.pick(4)) {
            (true, 3) => (Direction::UserInitiated, Origin::Meta { number: "+15550009999".into() }),
            (true, 2) => (Direction::UserInitiated, Origin::Meta { number: TRUNK_NUMBER.into() }),
            (true, _) => (Direction::UserInitiated, Origin::Meta { number: AGENTS_NUMBER.into() }),
            (false, 0) => (Direction::BusinessInitiated, Origin::Trunk("pbx".into())),
            (false, 1) => (Direction::UserInitiated, Origin::Trunk("pbx".into())),
            (false, 2) => (Direction::BusinessInitiated, Origin::Placed(self.placed(name))),
            (false, _) => (Direction::BusinessInitiated, Origin::Account(name.into())),
        };
        let offer = match self.data.pick(6) {
            _ if matches!(origin, Origin::Placed(_)) => None,
            0 => None,
            1 => Some(Bytes::from_static(b"v=0\r\nrubbish")),
            _ if user_initiated => Some(self.fresh_offer(&Policy::meta())),
            _ => Some(self.fresh_offer(&Policy::softphone())),
        };
        let facts = CallFacts { customer: Pii::new(customer.into()), ..CallFacts::default() };
        let (ingress, dialled) = (Ingress::Sip, customer.to_owned());
        let answer_in =
            if self.calls.len().is_multiple_of(3) { AnswerIn::TwoSteps } else { AnswerIn::OneStep };
        let offered = Offered { call, ingress, direction, origin, dialled, facts, offer, answer_in };
        self.tell(Input::Offered(Box::new(offered)));
    }

    fn placed(&mut self, name: &str) -> Placed {
        let (ring, number) = match self.data.pick(4) {
            0 => (None, TRUNK_NUMBER),
            1 => (Some(RingOrder::AgentFirst), AGENTS_NUMBER),
            _ => (Some(RingOrder::CustomerFirst), AGENTS_NUMBER),
        };
        let agents = if self.data.pick(2) == 0 { Vec::new() } else { vec![name.to_owned()] };
        let reservation = self.reservations.last().copied().filter(|_| self.data.pick(2) == 0);
        Placed { number: number.into(), agents, ring, by_hand: true, reservation }
    }

    fn reserve(&mut self) {
        let id = CallId::from_bits(1 << 64 | self.reservations.len() as u128);
        self.reservations.push(id);
        let customer = CUSTOMERS.get(self.data.pick(CUSTOMERS.len())).map(|it| Pii::new((*it).to_owned()));
        let number = if self.data.pick(4) == 0 { TRUNK_NUMBER } else { AGENTS_NUMBER };
        let lasts = Duration::from_secs(self.data.pick(100) as u64);
        let wanted = Reserve { number: number.into(), customer, lasts, ..Reserve::default() };
        if self.board.reserve(id, wanted, self.now).is_ok() && self.data.pick(4) == 0 {
            self.board.unreserve(id);
        }
    }

    fn desk(&mut self) {
        let agent = if self.data.pick(2) == 0 { "alice" } else { "bob" }.to_owned();
        let contact = ContactId(self.data.pick(3) as u64);
        let trunk = "pbx".to_owned();
        let change = match self.data.pick(6) {
            0 => DeskChange::ContactDown { agent, contact },
            1 => DeskChange::TrunkDown { trunk },
            2 => DeskChange::TrunkUp { trunk },
            secure => DeskChange::ContactUp { agent, contact, secure: secure == 3 },
        };
        self.tell(Input::Desk(change));
    }

    fn leg(&mut self) {
        if self.legs.is_empty() {
            return;
        }
        // The youngest legs most of the time: the old ones are over.
        let back = if self.data.pick(4) == 0 { self.data.pick(self.legs.len()) } else { self.data.pick(4) };
        let at = self.legs.len().saturating_sub(1 + back.min(self.legs.len() - 1));
        let Some((leg, said)) = self.legs.get(at).cloned() else { return };
        let sdp = match self.data.pick(8) {
            0 => None,
            1 => Some(Bytes::from_static(b"")),
            2 => Some(self.fresh_offer(&Policy::softphone())),
            _ => said.and_then(|said| self.answer_to(&said)),
        };
        let statuses = [403, 404, 480, 486, 487, 488, 503, 600, 603, 300];
        let hows =
            [EndHow::Bye, EndHow::Cancelled, EndHow::NoAck, EndHow::Lost, EndHow::Timer, EndHow::Local];
        let event = match self.data.pick(19) {
            0 => LegEvent::Ringing { leg, early: sdp },
            1 => LegEvent::Prepared { leg },
            2 => LegEvent::Described { leg, sdp: sdp.unwrap_or_default() },
            3..=6 => LegEvent::Answered { leg, sdp, learnt: None },
            7 => {
                let status = statuses.get(self.data.pick(statuses.len())).copied().unwrap_or(500);
                let (cause, toward) = crate::agent_refusal(status);
                LegEvent::Refused { leg, status, cause, toward, detail: None }
            }
            8 | 9 => LegEvent::Acked { leg, sdp },
            10 => LegEvent::Reoffered { leg, offer: sdp },
            11..=13 => {
                let words = ["a=sendrecv", "a=sendonly", "a=inactive", "a=recvonly"];
                let word = words.get(self.data.pick(words.len())).copied().unwrap_or_default();
                let offer = self.fresh_offer(&Policy::softphone());
                let offer = String::from_utf8_lossy(&offer).replace("a=sendrecv", word);
                LegEvent::Reoffered { leg, offer: Some(Bytes::from(offer)) }
            }
            14 => LegEvent::TransferRefused { leg },
            15 => LegEvent::Key { leg, digit: '7'.into(), duration_ms: 80 },
            16 => {
                let wait = [None, Some(Duration::ZERO), Some(Duration::from_secs(100))];
                LegEvent::Asked { leg, wait: wait.get(self.data.pick(3)).copied().flatten() }
            }
            17 => LegEvent::Allowed { leg, learnt: Box::default() },
            _ => {
                let how = hows.get(self.data.pick(hows.len())).copied().unwrap_or(EndHow::Bye);
                LegEvent::Ended { leg, how, wacid: None, meta_duration_s: None, detail: None }
            }
        };
        self.tell(Input::Leg(event));
    }

    fn media(&mut self) {
        let Some(call) = self.calls.get(self.data.pick(self.calls.len())).copied() else { return };
        let leg = LegId { call, index: u8::try_from(self.data.pick(3)).unwrap_or(0) };
        let event = match self.data.pick(12) {
            0 => MediaEvent::OpenFailed { leg, why: "no port".into() },
            1 => MediaEvent::Silent { leg },
            2 => MediaEvent::Closed { call, quality: Vec::new() },
            3 => MediaEvent::Opened { leg, local: address(9) },
            4 => MediaEvent::Key { leg, digit: '#'.into(), duration_ms: 80 },
            7 => MediaEvent::Played { leg },
            8 => MediaEvent::Quality { leg, quality: Box::default() },
            9 => MediaEvent::ConsentLost { leg },
            5 => return self.tell(failed(call)),
            6 => return self.tell(finished(call)),
            _ => MediaEvent::FirstPacket { leg },
        };
        self.tell(Input::Media(event));
    }

    fn confirm_all(&mut self) {
        while !self.owed.is_empty() {
            self.confirm_one();
            self.drain();
        }
    }

    fn confirm_one(&mut self) {
        if !self.owed.is_empty() {
            let input = self.owed.remove(0);
            self.tell(input);
        }
    }

    fn pass_time(&mut self) {
        let Some((at, _)) = self.board.poll_timeout() else { return };
        self.now = self.now.after(at.saturating_duration_since(self.now.mono));
        self.board.handle_timeout(self.now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.board.poll_output() {
            self.watch.output(&output);
            self.note(output);
        }
    }

    /// Remembers what the output wants confirmed, and what it says to a leg.
    fn note(&mut self, output: Output) {
        let over = |leg| LegEvent::Ended {
            leg,
            how: EndHow::Local,
            wacid: None,
            meta_duration_s: None,
            detail: None,
        };
        match output {
            Output::Leg(LegCommand::Refuse { leg, .. } | LegCommand::HangUp { leg, .. }) => {
                self.owed.push(Input::Leg(over(leg)));
            }
            Output::Leg(LegCommand::Dial(dial)) => self.legs.push((dial.leg, Some(dial.offer))),
            Output::Leg(LegCommand::Answer { leg, sdp } | LegCommand::AcceptReoffer { leg, sdp }) => {
                for (_, said) in self.legs.iter_mut().filter(|(known, _)| *known == leg) {
                    *said = Some(sdp.clone());
                }
            }
            Output::Media(MediaCommand::Open { leg, .. }) => {
                let port = 40_000 + 2 * u16::from(leg.index);
                self.owed.push(Input::Media(MediaEvent::Opened { leg, local: address(port) }));
            }
            Output::Media(MediaCommand::Close { call }) => {
                self.owed.push(Input::Media(MediaEvent::Closed { call, quality: Vec::new() }));
            }
            Output::Ask(question) => {
                let verdict = match self.data.pick(4) {
                    0 => Verdict::Refused { status: 403, rules: Vec::new() },
                    1 => Verdict::Unknown { why: "no database".into() },
                    _ => Verdict::Allowed,
                };
                self.owed.push(Input::Gate { call: question.call, verdict });
            }
            Output::Record(RecordCommand::Stop { call, .. }) => self.owed.push(finished(call)),
            Output::Cdr(cdr) => self.records.push(*cdr),
            Output::Leg(
                LegCommand::Ring { .. }
                | LegCommand::Describe { .. }
                | LegCommand::RejectReoffer { .. }
                | LegCommand::Key { .. },
            )
            | Output::Media(_)
            | Output::Record(RecordCommand::Start { .. })
            | Output::Progress(_)
            | Output::Drained => {}
        }
    }

    /// Nothing is confirmed any more: every call must end by itself.
    fn finish(mut self) -> Vec<Cdr> {
        for _ in 0..2 {
            self.tell(Input::Drain);
            self.drain();
        }
        let mut turns = 0;
        while self.board.poll_timeout().is_some() {
            self.pass_time();
            self.drain();
            turns += 1;
            assert!(turns <= 4 * self.calls.len() + self.reservations.len(), "timers never come to an end");
        }
        self.watch.all_recorded();
        assert_eq!(self.board.check_idle(), Ok(()));
        self.records
    }

    fn fresh_offer(&mut self, policy: &Policy) -> Bytes {
        let local = Local::new(PEER, 30_000, policy, &mut self.entropy);
        Bytes::from(setu_sdp::offer(policy, &local).sdp)
    }

    fn answer_to(&mut self, said: &str) -> Option<Bytes> {
        let policy = Policy::softphone();
        let local = Local::new(PEER, 30_002, &policy, &mut self.entropy);
        let said = Description::parse(said.as_bytes()).ok()?;
        setu_sdp::answer(&said, &policy, &local).ok().map(|(text, _)| Bytes::from(text))
    }
}

fn config() -> CallConfig {
    let agents = NumberRoute::Agents(vec!["alice".into(), "bob".into()]);
    let extension = Extension::configured("100");
    let trunk = extension.map_or(NumberRoute::Agents(Vec::new()), |extension| NumberRoute::Trunk {
        trunk: PrivateTrunk::declared("pbx"),
        extension,
    });
    let mut config = CallConfig { default_number: Some(AGENTS_NUMBER.into()), ..CallConfig::default() };
    let networks = ["203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24"];
    config.egress = EgressPolicy::new(networks.iter().filter_map(|network| network.parse().ok()).collect());
    let at_once =
        NumberConfig { answers: crate::Answers::AtOnce, gated: true, ..NumberConfig::new(agents, true) };
    config.numbers.insert(AGENTS_NUMBER.into(), at_once);
    let announces = NumberConfig { announces: true, ..NumberConfig::new(trunk, true) };
    config.numbers.insert(TRUNK_NUMBER.into(), announces);
    config.agents.insert("alice".into(), AgentConfig::default());
    config.agents.insert("bob".into(), AgentConfig { srtp: Srtp::Optional, ..AgentConfig::default() });
    config.trunks.insert("pbx".into(), TrunkConfig::default());
    config.limits.calls = 24;
    config.early_media_to_meta = true;
    config
}

const fn address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), port)
}

fn failed(call: CallId) -> Input {
    Input::Record(RecordEvent::Failed { call, why: "disk full".into(), partial: None })
}

fn finished(call: CallId) -> Input {
    let recording =
        RecordingRef { path: "x.opus".into(), channels: 2, duration_ms: 1, bytes: 1, dropped_frames: 0 };
    Input::Record(RecordEvent::Finished { call, recording })
}

const AGENTS_NUMBER: &str = "+15550001111";
const TRUNK_NUMBER: &str = "+15550002222";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
/// A few, so that pairs meet; one hides, one cannot be dialled.
const CUSTOMERS: [&str; 5] = ["+919876543210", "+919876543211", "+919876543212", "", "IN.1A2b"];
