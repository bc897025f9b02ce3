//! A house to play calls in: a switchboard in virtual time, whose commands come out as short lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_call::{
    AgentConfig, AnswerIn, Answers, CallConfig, ContactId, DeskChange, DialTarget, EndHow, Extension, Input,
    LegCommand, LegEvent, MediaCommand, MediaEvent, NumberConfig, NumberRoute, Offered, Origin, Output,
    Placed, PrivateTrunk, Progress, RecordCommand, RecordEvent, Sound, Srtp, Switchboard, TrunkConfig, Watch,
    agent_refusal,
};
use setu_model::{
    CallFacts, CallId, Cause, Cdr, Direction, EgressPolicy, Ingress, LegId, MediaQuality, Now, Pii,
    RecordingRef, SeededEntropy, Side, Wall,
};

pub(crate) const NUMBER: &str = "+15550001111";
pub(crate) const TRUNK_NUMBER: &str = "+15550002222";
pub(crate) const CUSTOMER: &str = "+919876543210";

pub(crate) struct House {
    pub(crate) board: Switchboard,
    pub(crate) now: Now,
    start: Instant,
    watch: Watch,
    /// The last description of ours that each leg was sent.
    pub(crate) said: BTreeMap<LegId, String>,
    /// The last configuration of each media leg.
    pub(crate) media: BTreeMap<LegId, setu_call::MediaSetup>,
    pub(crate) dials: Vec<setu_call::Dial>,
    pub(crate) records: Vec<Cdr>,
    pub(crate) progress: Vec<Progress>,
    lines: Vec<String>,
    calls: u128,
}

impl House {
    /// Alice and Bob answer for one number, extension 100 of the trunk `pbx` for another. Nobody is registered.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut CallConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        let start = Instant::now();
        Self {
            board: Switchboard::new(config, Box::new(SeededEntropy::new(7))),
            now: Now { mono: start, wall: Wall::from_unix_ms(1_700_000_000_000) },
            start,
            watch: Watch::default(),
            said: BTreeMap::new(),
            media: BTreeMap::new(),
            dials: Vec::new(),
            records: Vec::new(),
            progress: Vec::new(),
            lines: Vec::new(),
            calls: 0,
        }
    }

    pub(crate) fn with_alice() -> Self {
        let mut house = Self::new();
        house.register("alice", 1);
        house
    }

    /// With Alice, for whom customers are answered before she is.
    pub(crate) fn that_answers_at_once() -> Self {
        let mut house = Self::with(|config| {
            if let Some(number) = config.numbers.get_mut(NUMBER) {
                number.answers = Answers::AtOnce;
            }
        });
        house.register("alice", 1);
        house
    }

    pub(crate) fn register(&mut self, agent: &str, contact: u64) {
        let contact = ContactId(contact);
        self.tell(Input::Desk(DeskChange::ContactUp { agent: agent.into(), contact, secure: false }));
    }

    /// A WhatsApp user calls `number`.
    pub(crate) fn user_calls(&mut self, number: &str, offer: Option<&str>) -> CallId {
        let facts = CallFacts {
            wacid: Some("wacid.A".into()),
            customer: Pii::new(CUSTOMER.into()),
            ..CallFacts::default()
        };
        let origin = Origin::Meta { number: number.into() };
        self.offer(Direction::UserInitiated, origin, number, facts, offer)
    }

    /// This WhatsApp user calls `NUMBER`.
    pub(crate) fn somebody_calls(&mut self, customer: &str) -> CallId {
        let facts = CallFacts { customer: Pii::new(customer.into()), ..CallFacts::default() };
        let origin = Origin::Meta { number: NUMBER.into() };
        self.offer(Direction::UserInitiated, origin, NUMBER, facts, Some(META_OFFER))
    }

    /// A WhatsApp user calls `NUMBER` by a button.
    pub(crate) fn user_taps(&mut self, payload: &str) -> CallId {
        let facts = CallFacts {
            customer: Pii::new(CUSTOMER.into()),
            cta_payload: Some(payload.to_owned()),
            ..CallFacts::default()
        };
        self.offer(
            Direction::UserInitiated,
            Origin::Meta { number: NUMBER.into() },
            NUMBER,
            facts,
            Some(META_OFFER),
        )
    }

    /// A WhatsApp user waits at a URI for `NUMBER`.
    pub(crate) fn user_waits(&mut self, direction: Direction) -> CallId {
        self.user_waits_from(Origin::Meta { number: NUMBER.into() }, direction)
    }

    /// A WhatsApp user waits at a URI, as this origin tells.
    pub(crate) fn user_waits_from(&mut self, origin: Origin, direction: Direction) -> CallId {
        let facts = CallFacts { customer: Pii::new(CUSTOMER.into()), ..CallFacts::default() };
        self.offer_by(Ingress::ProviderUri, direction, origin, "", facts, None)
    }

    /// The business asks for a call to `CUSTOMER`.
    pub(crate) fn places(&mut self, ingress: Ingress, placed: Placed) -> CallId {
        let facts = CallFacts {
            customer: Pii::new(CUSTOMER.into()),
            use_case: Some("delivery".into()),
            payload: Some("order-7".into()),
            ..CallFacts::default()
        };
        self.offer_by(ingress, Direction::BusinessInitiated, Origin::Placed(placed), "", facts, None)
    }

    /// Somebody of the business dials.
    pub(crate) fn business_calls(&mut self, origin: Origin, dialled: &str, offer: Option<&str>) -> CallId {
        self.offer(Direction::BusinessInitiated, origin, dialled, CallFacts::default(), offer)
    }

    fn offer(
        &mut self,
        direction: Direction,
        origin: Origin,
        dialled: &str,
        facts: CallFacts,
        offer: Option<&str>,
    ) -> CallId {
        self.offer_by(Ingress::Sip, direction, origin, dialled, facts, offer)
    }

    /// A WhatsApp user calls `NUMBER`, whose answer goes in two steps.
    pub(crate) fn user_calls_in_two_steps(&mut self) -> CallId {
        let origin = Origin::Meta { number: NUMBER.into() };
        let facts = CallFacts { customer: Pii::new(CUSTOMER.into()), ..CallFacts::default() };
        self.offer_by(Ingress::Graph, Direction::UserInitiated, origin, NUMBER, facts, Some(META_OFFER))
    }

    fn offer_by(
        &mut self,
        ingress: Ingress,
        direction: Direction,
        origin: Origin,
        dialled: &str,
        facts: CallFacts,
        offer: Option<&str>,
    ) -> CallId {
        self.calls += 1;
        let call = CallId::from_bits(self.calls);
        let offer = offer.map(|text| Bytes::from(text.to_owned()));
        let dialled = dialled.to_owned();
        self.tell(Input::Offered(Box::new(Offered {
            call,
            ingress,
            direction,
            origin,
            dialled,
            facts,
            offer,
            answer_in: if ingress == Ingress::Graph { AnswerIn::TwoSteps } else { AnswerIn::OneStep },
        })));
        call
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.watch.input(&input);
        self.board.handle(input, self.now);
        self.drain();
    }

    pub(crate) fn leg(&mut self, event: LegEvent) {
        self.tell(Input::Leg(event));
    }

    pub(crate) fn ports_open(&mut self, call: CallId) {
        for (index, port) in [(0, 40_000), (1, 20_000)] {
            let local = SocketAddr::from(([198, 51, 100, 1], port));
            self.tell(Input::Media(MediaEvent::Opened { leg: LegId { call, index }, local }));
        }
    }

    pub(crate) fn rings(&mut self, leg: LegId) {
        self.leg(LegEvent::Ringing { leg, early: None });
    }

    pub(crate) fn answers(&mut self, leg: LegId, sdp: &str) {
        self.leg(LegEvent::Answered { leg, sdp: Some(Bytes::from(sdp.to_owned())), learnt: None });
    }

    pub(crate) fn refuses(&mut self, leg: LegId, status: u16) {
        let (cause, toward) = agent_refusal(status);
        self.leg(LegEvent::Refused { leg, status, cause, toward, detail: None });
    }

    pub(crate) fn acks(&mut self, leg: LegId) {
        self.leg(LegEvent::Acked { leg, sdp: None });
    }

    pub(crate) fn reoffers(&mut self, leg: LegId, offer: Option<&str>) {
        self.leg(LegEvent::Reoffered { leg, offer: offer.map(|text| Bytes::from(text.to_owned())) });
    }

    pub(crate) fn ends(&mut self, leg: LegId, how: EndHow) {
        self.leg(LegEvent::Ended { leg, how, wacid: None, meta_duration_s: None, detail: None });
    }

    /// The legs confirm that they ended, the media plane that it closed, the recorder that it finished.
    pub(crate) fn confirm(&mut self, call: CallId, legs: &[u8]) {
        for index in legs {
            self.ends(LegId { call, index: *index }, EndHow::Local);
        }
        let quality = [0, 1].map(|index| {
            let received_packets = 100 + u64::from(index);
            (LegId { call, index }, MediaQuality { received_packets, ..MediaQuality::default() })
        });
        self.tell(Input::Media(MediaEvent::Closed { call, quality: quality.to_vec() }));
        let recording = RecordingRef {
            path: "a.opus".into(),
            channels: 2,
            duration_ms: 5_000,
            bytes: 9,
            dropped_frames: 0,
        };
        self.tell(Input::Record(RecordEvent::Finished { call, recording }));
    }

    /// Time passes, with every timer that falls due.
    pub(crate) fn wait(&mut self, by: Duration) {
        let until = self.now.after(by);
        while let Some((at, _)) = self.board.poll_timeout().filter(|(at, _)| *at <= until.mono) {
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            self.board.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now.mono - self.start
    }

    /// What the switchboard commanded since the last time, one line each; the leg's number second.
    pub(crate) fn says(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    fn drain(&mut self) {
        while let Some(output) = self.board.poll_output() {
            self.watch.output(&output);
            let line = match output {
                Output::Leg(command) => self.leg_line(command),
                Output::Media(command) => self.media_line(command),
                Output::Record(RecordCommand::Start { .. }) => "record".into(),
                Output::Record(RecordCommand::Stop { .. }) => "stop recording".into(),
                Output::Cdr(cdr) => {
                    let line = format!("record: {} by {}", cdr.termination.cause, cdr.termination.by);
                    self.records.push(*cdr);
                    line
                }
                Output::Ask(question) => {
                    let hand = if question.by_hand { "by hand" } else { "by dialler" };
                    let of = question.use_case.map(|it| format!(" for {it}")).unwrap_or_default();
                    format!("may {} call {} {hand}{of}", question.number, question.customer.reveal())
                }
                Output::Progress(progress) => {
                    self.progress.push(*progress);
                    continue;
                }
                Output::Drained => "drained".into(),
            };
            self.lines.push(line);
        }
    }

    fn leg_line(&mut self, command: LegCommand) -> String {
        let leg = command.leg();
        let index = leg.index;
        match command {
            LegCommand::Ring { early: None, .. } => format!("ring {index}"),
            LegCommand::Ring { early: Some(sdp), .. } => {
                self.said.insert(leg, sdp);
                format!("ring {index} with audio")
            }
            LegCommand::Describe { sdp, .. } => {
                self.said.insert(leg, sdp);
                format!("describe {index}")
            }
            LegCommand::Answer { sdp, .. } => {
                self.said.insert(leg, sdp);
                format!("answer {index}")
            }
            LegCommand::Refuse { status, retry_after_s: Some(_), .. } => {
                format!("refuse {index} {status} for now")
            }
            LegCommand::Refuse { status, .. } => format!("refuse {index} {status}"),
            LegCommand::Dial(dial) => {
                self.said.insert(leg, dial.offer.clone());
                let line = match &dial.target {
                    DialTarget::Contact { agent, contact } => {
                        format!("dial {index} {agent} at {}", contact.0)
                    }
                    DialTarget::Trunk { trunk, extension } => {
                        format!("dial {index} {} at {}", extension.dialled(), trunk.name())
                    }
                    DialTarget::Customer { number, customer } => {
                        format!("dial {index} {customer} from {number}")
                    }
                };
                self.dials.push(*dial);
                line
            }
            LegCommand::HangUp { cause, .. } => format!("hang up {index} {cause}"),
            LegCommand::AcceptReoffer { sdp, .. } => {
                self.said.insert(leg, sdp);
                format!("accept {index}")
            }
            LegCommand::RejectReoffer { status, .. } => format!("reject {index} {status}"),
            LegCommand::Key { digit, duration_ms, .. } => {
                format!("tell {index} {} for {duration_ms} ms", digit.reveal())
            }
        }
    }

    fn media_line(&mut self, command: MediaCommand) -> String {
        match command {
            MediaCommand::Open { leg, side: Side::Meta, .. } => format!("open {} toward meta", leg.index),
            MediaCommand::Open { leg, side: Side::Agents, .. } => format!("open {} toward agents", leg.index),
            MediaCommand::Configure(setup) => {
                let leg = setup.leg;
                let line = format!("configure {} {}", leg.index, setup.agreed.audio.codec.name());
                self.media.insert(leg, *setup);
                line
            }
            MediaCommand::Start { leg } => format!("start {}", leg.index),
            MediaCommand::Bridge { .. } => "bridge".into(),
            MediaCommand::Hold { leg, held } => {
                format!("{} {}", if held { "hold" } else { "resume" }, leg.index)
            }
            MediaCommand::Press { leg, digit, duration_ms } => {
                format!("press {} {} for {duration_ms} ms", leg.index, digit.reveal())
            }
            MediaCommand::Play { leg, sound } => match sound {
                Sound::Hold => format!("play {} hold", leg.index),
                Sound::Waiting => format!("play {} waiting", leg.index),
                Sound::Ringback => format!("play {} ringback", leg.index),
                Sound::Announcement(_) => format!("play {} announcement", leg.index),
            },
            MediaCommand::StopPlaying { leg } => format!("stop playing {}", leg.index),
            MediaCommand::Tap { on, .. } => if on { "tap" } else { "untap" }.into(),
            MediaCommand::Close { .. } => "close".into(),
        }
    }

    /// A user-initiated call that Alice has answered and Meta acknowledged; returns both legs.
    pub(crate) fn talking(&mut self) -> (CallId, LegId, LegId) {
        let call = self.user_calls(NUMBER, Some(META_OFFER));
        self.ports_open(call);
        let (meta, agent) = (LegId::originator(call), LegId { call, index: 1 });
        self.answers(agent, AGENT_ANSWER);
        self.acks(meta);
        self.says();
        (call, meta, agent)
    }

    pub(crate) fn the_record(&self) -> &Cdr {
        assert_eq!(self.records.len(), 1, "{:?}", self.records);
        self.records.last().expect("one")
    }

    /// Nothing is left of any call.
    pub(crate) fn is_clean(&mut self) {
        assert_eq!(self.says(), [""; 0]);
        self.watch.all_recorded();
        assert_eq!(self.board.check_idle(), Ok(()));
    }

    pub(crate) fn ended_with(&mut self, cause: Cause) {
        assert_eq!(self.the_record().termination.cause, cause, "{}", self.the_record().termination);
        self.is_clean();
    }
}

fn config() -> CallConfig {
    let agents = NumberRoute::Agents(vec!["alice".into(), "bob".into()]);
    let trunk = NumberRoute::Trunk {
        trunk: PrivateTrunk::declared("pbx"),
        extension: Extension::configured("100").expect("an extension"),
    };
    let mut config = CallConfig { default_number: Some(NUMBER.into()), ..CallConfig::default() };
    // Addresses for documentation are nobody's, and must be allowed like any other that is not public.
    let networks = ["203.0.113.0/24", "198.51.100.0/24"].map(str::parse);
    config.egress = EgressPolicy::new(networks.map(|network| network.expect("a network")).to_vec());
    config.numbers.insert(NUMBER.into(), NumberConfig::new(agents, true));
    config.numbers.insert(TRUNK_NUMBER.into(), NumberConfig::new(trunk, false));
    config.agents.insert("alice".into(), AgentConfig::default());
    config.agents.insert("bob".into(), AgentConfig { srtp: Srtp::Off, ..AgentConfig::default() });
    config
        .trunks
        .insert("pbx".into(), TrunkConfig { number: Some(TRUNK_NUMBER.into()), ..TrunkConfig::default() });
    config
}

/// What Meta offers with SDES.
pub(crate) const META_OFFER: &str = "v=0\r\no=- 1790963543407 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    a=group:BUNDLE audio\r\nm=audio 3480 RTP/SAVP 111 126\r\nc=IN IP4 57.144.43.49\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
    a=mid:audio\r\na=sendrecv\r\na=rtcp-mux\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n\
    a=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\na=maxptime:20\r\na=ptime:20\r\n";

/// What Meta answers to our offer: the same numbers.
pub(crate) const META_ANSWER: &str = META_OFFER;

/// A phone that takes Opus.
pub(crate) const AGENT_ANSWER: &str = "v=0\r\no=- 5 1 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
    m=audio 30000 RTP/AVP 111 110\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n\
    a=sendrecv\r\n";

/// A PBX that knows only G.711.
pub(crate) const PCMU: &str = "v=0\r\no=- 6 1 IN IP4 203.0.113.8\r\ns=-\r\nc=IN IP4 203.0.113.8\r\nt=0 0\r\n\
    m=audio 30002 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";

/// A phone that knows nothing the bridge knows.
pub(crate) const G722: &str = "v=0\r\no=- 6 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\n\
    m=audio 30004 RTP/AVP 9\r\n";
