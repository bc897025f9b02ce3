use std::collections::VecDeque;

use super::*;

/// Two agents and the datagrams between them, in virtual time: 10 ms each way.
struct Net {
    now: Instant,
    agents: [(SocketAddr, IceAgent); 2],
    /// When, from whom, to whom, what.
    wire: VecDeque<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    events: Vec<(usize, IceEvent)>,
    /// Whether a datagram is lost, by its number.
    lost: fn(usize) -> bool,
    sent: usize,
}

const DELAY: Duration = Duration::from_millis(10);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn setup(us: &str, them: &str, candidate: &str) -> IceSetup {
    let pwd = |name: &str| Secret::new(format!("{name}-password-of-24-bytes=="));
    IceSetup {
        lite: false,
        controlling: false,
        local_ufrag: us.to_owned(),
        local_pwd: pwd(us),
        remote_ufrag: them.to_owned(),
        remote_pwd: pwd(them),
        candidates: vec![(at(candidate), HOST_PRIORITY)],
        seed: Secret::new([us.len() as u8; 32]),
    }
}

const US: &str = "192.0.2.1:1000";
const THEM: &str = "192.0.2.2:2000";

fn ours() -> IceSetup {
    IceSetup { controlling: true, ..setup("bridge", "meta", THEM) }
}

fn theirs() -> IceSetup {
    IceSetup { lite: true, ..setup("meta", "bridge", US) }
}

impl Net {
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn new(one: IceSetup, other: IceSetup) -> Self {
        let now = Instant::now();
        let agents = [(at(US), IceAgent::new(one, now)), (at(THEM), IceAgent::new(other, now))];
        Self { now, agents, wire: VecDeque::new(), events: Vec::new(), lost: |_| false, sent: 0 }
    }

    fn with(
        &mut self,
        who: usize,
        act: impl FnOnce(&mut IceAgent, Instant, &mut dyn FnMut(SocketAddr, &[u8])),
    ) {
        let (from, agent) = &mut self.agents[who];
        let (from, wire, sent, lost, now) = (*from, &mut self.wire, &mut self.sent, self.lost, self.now);
        act(agent, now, &mut |to, bytes| {
            if !lost(*sent) {
                wire.push_back((now + DELAY, from, to, bytes.to_vec()));
            }
            *sent += 1;
        });
        while let Some(event) = self.agents[who].1.poll_event() {
            self.events.push((who, event));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timers = self.agents.iter().filter_map(|(_, agent)| agent.poll_timeout());
            let next = timers.chain(self.wire.front().map(|(at, ..)| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            while let Some((_, from, to, bytes)) = self.wire.pop_front_if(|(at, ..)| *at <= self.now) {
                let Some(who) = self.agents.iter().position(|(address, _)| *address == to) else { continue };
                self.with(who, |agent, now, send| {
                    agent.handle(from, &bytes, now, &mut |to, bytes| send(to, bytes));
                });
            }
            for who in [0, 1] {
                self.with(who, |agent, now, send| {
                    agent.handle_timeout(now, &mut |to, bytes| send(to, bytes))
                });
            }
        }
        self.now = end;
    }

    fn targets(&self) -> [Option<SocketAddr>; 2] {
        [self.agents[0].1.target(), self.agents[1].1.target()]
    }

    fn selected(&self) -> [Option<SocketAddr>; 2] {
        [self.agents[0].1.selected, self.agents[1].1.selected]
    }
}

const BOTH: [Option<&str>; 2] = [Some(THEM), Some(US)];

fn both() -> [Option<SocketAddr>; 2] {
    BOTH.map(|text| text.map(at))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_lite_peer_is_found_in_two_round_trips_and_nominated_regularly() {
    let mut net = Net::new(ours(), theirs());
    net.run(ms(20));
    assert_eq!(net.targets(), both(), "valid after one round trip");
    assert_eq!(net.selected(), [None, None], "no check nominates before one has succeeded");
    net.run(ms(21));
    assert_eq!(net.selected(), both());
    assert_eq!(net.events, [(1, IceEvent::Usable), (0, IceEvent::Usable)]);
}

#[test]
fn each_lost_check_costs_one_short_wait() {
    for lost in 0..4 {
        let mut net = Net::new(ours(), theirs());
        net.lost = [|n| n == 0, |n| n == 1, |n| n == 2, |n| n == 3][lost];
        net.run(ms(100));
        assert_eq!(net.selected(), both(), "datagram {lost}");
    }
}

#[test]
fn a_peer_that_answers_late_is_found_at_once() {
    let mut net = Net::new(ours(), theirs());
    let peer = net.agents[1].0;
    net.agents[1].0 = at("192.0.2.9:9");
    net.run(Duration::from_secs(40));
    assert!(net.sent < 400, "checks are few: {}", net.sent);
    net.agents[1].0 = peer;
    net.with(0, |agent, now, _| agent.hurry(now));
    net.run(ms(41));
    assert_eq!(net.selected(), both());
}

#[test]
fn two_full_agents_that_both_control_settle_it_with_487() {
    for (one, other) in [(true, true), (false, false), (true, false)] {
        let one = IceSetup { controlling: one, ..ours() };
        let other = IceSetup { lite: false, controlling: other, ..theirs() };
        let mut net = Net::new(one, other);
        net.run(ms(300));
        assert_eq!(net.selected(), both());
        assert_ne!(net.agents[0].1.controlling, net.agents[1].1.controlling);
    }
}

#[test]
fn a_lite_peer_that_is_told_we_are_controlled_makes_us_control() {
    let mut net = Net::new(IceSetup { controlling: false, ..ours() }, theirs());
    net.run(ms(100));
    assert!(net.agents[0].1.controlling);
    assert_eq!(net.selected(), both());
}

#[test]
fn a_peer_reflexive_address_is_found_by_its_checks() {
    // What the description of the phone says is not where it is.
    let phone = IceSetup { controlling: true, ..setup("phone", "bridge", US) };
    for lite in [true, false] {
        let bridge = IceSetup { lite, ..setup("bridge", "phone", "10.9.9.9:9") };
        let mut net = Net::new(bridge, phone.clone());
        net.run(ms(300));
        assert_eq!(net.selected(), both(), "lite: {lite}");
    }
}

#[test]
fn the_better_of_two_ways_is_nominated_and_kept() {
    let mut us = ours();
    us.candidates = vec![(at("192.0.2.9:9"), HOST_PRIORITY), (at(THEM), HOST_PRIORITY - 1)];
    let mut net = Net::new(us, theirs());
    net.run(ms(80));
    assert_eq!(net.selected()[0], None, "the better one has a moment to answer");
    net.run(ms(100));
    assert_eq!(net.selected(), both());
    net.run(Duration::from_secs(20));
    assert_eq!(net.selected(), both());
}

#[test]
fn consent_is_asked_for_all_the_time_and_its_loss_is_told_after_30_s() {
    let mut net = Net::new(ours(), theirs());
    net.run(Duration::from_secs(600));
    assert_eq!(net.targets(), both());
    let asked = net.sent / 2;
    assert!((100..=155).contains(&asked), "every 4 to 6 s: {asked}");
    net.agents[1].0 = at("192.0.2.9:9");
    net.run(Duration::from_secs(24));
    assert_eq!(net.targets()[0], Some(at(THEM)));
    net.run(Duration::from_secs(7));
    assert_eq!(net.targets()[0], None, "nothing is sent without consent");
    assert_eq!(net.events.last(), Some(&(0, IceEvent::Lost)));
    assert_eq!(net.agents[0].1.poll_timeout(), None);
}

/// Anybody who can send to the port can send these, before authentication (security.md, row 7).
#[test]
fn forged_checks_get_no_answer_and_change_nothing() {
    let mut net = Net::new(IceSetup { lite: true, ..setup("bridge", "meta", THEM) }, theirs());
    let request = |username: (&str, &str), key: &[u8]| {
        let mut writer = Writer::request(&[1; 12], username);
        writer.role(true, 1);
        writer.use_candidate();
        writer.finish(key).to_vec()
    };
    let key = b"bridge-password-of-24-bytes==";
    let long = "x".repeat(300);
    let mut no_integrity = Writer::request(&[1; 12], ("bridge", "meta"));
    no_integrity.use_candidate();
    let forged = [
        request(("bridge", "meta"), b"guess"),
        request(("bridge", "other"), key),
        request(("other", "meta"), key),
        request(("bridge", &long), key),
        request(("bridgebridge", "meta"), key),
        Writer::success(&[1; 12], at(THEM)).finish(key).to_vec(),
        Writer::role_conflict(&[1; 12]).finish(key).to_vec(),
        vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        vec![0; 65_000],
    ];
    for datagram in &forged {
        net.with(0, |agent, now, send| {
            assert!(!agent.handle(at("198.51.100.1:7"), datagram, now, &mut |to, bytes| send(to, bytes)));
        });
    }
    assert_eq!((net.sent, net.targets()[0], net.events.len()), (0, None, 0));
    assert!(net.agents[0].1.pairs.is_empty());
}

#[test]
fn a_flood_of_authentic_checks_from_everywhere_is_bounded_and_does_not_move_the_path() {
    let mut net = Net::new(ours(), theirs());
    net.run(ms(100));
    for port in 1..2_000 {
        let mut writer = Writer::request(&[1; 12], ("bridge", "meta"));
        writer.role(false, 1);
        let bytes = writer.finish(b"bridge-password-of-24-bytes==").to_vec();
        net.with(0, |agent, now, send| {
            agent.handle(SocketAddr::new([198, 51, 100, 1].into(), port), &bytes, now, &mut |to, b| {
                send(to, b)
            });
        });
    }
    assert!(net.agents[0].1.pairs.len() <= MOST_PAIRS);
    assert_eq!(net.targets()[0], Some(at(THEM)));
}
