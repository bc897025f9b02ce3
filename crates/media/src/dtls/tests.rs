use std::collections::VecDeque;

use super::*;

/// Two handshakes and the datagrams between them, in virtual time: 10 ms each way.
struct Net {
    now: Instant,
    peers: [Handshake; 2],
    wire: VecDeque<(Instant, usize, Vec<u8>)>,
    keys: [Option<SrtpKeys>; 2],
    failed: [Option<HandshakeFailed>; 2],
    lost: Box<dyn Fn(usize) -> bool>,
    sent: usize,
    start: Instant,
}

const DELAY: Duration = Duration::from_millis(10);

fn setup(active: bool, peer: &DtlsIdentity) -> DtlsSetup {
    DtlsSetup { active, fingerprints: vec![[9; 32], peer.fingerprint()], suites: Suite::ALL.to_vec() }
}

impl Net {
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn new(change: impl FnOnce(&mut [DtlsSetup; 2])) -> Self {
        let now = Instant::now();
        let [one, other] = [(); 2].map(|()| DtlsIdentity::generate().unwrap());
        let mut setups = [setup(true, &other), setup(false, &one)];
        change(&mut setups);
        let [client, server] = setups;
        let peers =
            [Handshake::new(&one, client, now).unwrap(), Handshake::new(&other, server, now).unwrap()];
        let mut net = Self {
            now,
            peers,
            wire: VecDeque::new(),
            keys: [None, None],
            failed: [None, None],
            lost: Box::new(|_| false),
            sent: 0,
            start: now,
        };
        net.drain();
        net
    }

    fn drain(&mut self) {
        for (who, peer) in self.peers.iter_mut().enumerate() {
            while let Some(output) = peer.poll_output() {
                match output {
                    HandshakeOutput::Datagram(datagram) => {
                        if !(self.lost)(self.sent) {
                            self.wire.push_back((self.now + DELAY, 1 - who, datagram.into()));
                        }
                        self.sent += 1;
                    }
                    HandshakeOutput::Keys(keys) => self.keys[who] = Some(*keys),
                    HandshakeOutput::Failed(why) => self.failed[who] = Some(why),
                }
            }
        }
    }

    /// Runs until both have keys or failed; returns how long it took.
    fn run(&mut self) -> Duration {
        let over = |net: &Self| (0..2).all(|who| net.keys[who].is_some() || net.failed[who].is_some());
        while !over(self) {
            self.step();
        }
        self.now - self.start
    }

    fn step(&mut self) {
        let timers = self.peers.iter().filter_map(Handshake::poll_timeout);
        let next = timers.chain(self.wire.iter().map(|(at, ..)| *at)).min().unwrap();
        self.now = self.now.max(next);
        while let Some(at) = self.wire.iter().position(|(at, ..)| *at <= self.now) {
            let (_, to, datagram) = self.wire.remove(at).unwrap();
            self.peers[to].handle(&datagram, self.now);
            self.drain();
        }
        for peer in &mut self.peers {
            peer.handle_timeout(self.now);
        }
        self.drain();
    }

    fn assert_agreed(&self) {
        let [Some(one), Some(other)] = &self.keys else { panic!("no keys: {:?}", self.failed) };
        assert_eq!((one.suite, &one.send, &one.receive), (other.suite, &other.receive, &other.send));
        assert_eq!(one.send.reveal().len(), one.suite.key_len() + one.suite.salt_len());
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn both_ends_get_the_same_keys_for_every_suite() {
    for suite in Suite::ALL {
        let mut net = Net::new(|setups| setups[1].suites = vec![suite]);
        assert!(net.run() <= ms(60), "three round trips");
        net.assert_agreed();
        assert_eq!(net.keys[0].as_ref().unwrap().suite, suite);
    }
}

#[test]
fn a_lost_client_hello_costs_less_than_300_ms() {
    for lost in 0..3 {
        let mut net = Net::new(|_| {});
        // The first is out before the test begins: it is lost on the wire.
        if lost == 0 {
            net.wire.clear();
        }
        net.lost = Box::new(move |n| n == lost && lost > 0);
        assert!(net.run() < ms(60 + 300), "datagram {lost}");
        net.assert_agreed();
    }
}

#[test]
fn the_loss_of_any_datagram_is_mended() {
    let all = {
        let mut net = Net::new(|_| {});
        net.run();
        net.sent
    };
    for lost in 0..all + 4 {
        let mut net = Net::new(|_| {});
        net.lost = Box::new(move |n| n == lost);
        assert!(net.run() < ms(1_000), "datagram {lost}");
        net.assert_agreed();
    }
}

#[test]
fn a_quarter_of_all_datagrams_may_be_lost() {
    for seed in 0..20 {
        let mut net = Net::new(|_| {});
        net.lost = Box::new(move |n| (n * 2_654_435_761 + seed * 40_503).count_ones() % 4 == 0);
        net.run();
        net.assert_agreed();
    }
}

#[test]
fn reordered_and_repeated_datagrams_are_as_good_as_others() {
    let mut net = Net::new(|_| {});
    while net.keys.iter().any(Option::is_none) {
        let twice: Vec<_> = net.wire.iter().rev().cloned().collect();
        net.wire.extend(twice);
        net.wire.make_contiguous().reverse();
        net.step();
    }
    net.assert_agreed();
}

#[test]
fn a_certificate_that_is_not_the_described_one_gives_no_keys() {
    for who in [0, 1] {
        let mut net = Net::new(|setups| setups[who].fingerprints = vec![[7; 32]]);
        for _ in 0..200 {
            if net.failed[who].is_some() {
                break;
            }
            net.step();
        }
        assert_eq!(net.failed[who], Some(HandshakeFailed::Fingerprint), "{who}");
        assert_eq!(net.keys[who], None, "{who}");
    }
}

#[test]
fn no_suite_in_common_gives_no_keys() {
    let mut net = Net::new(|setups| {
        setups[0].suites = vec![Suite::AeadAes128Gcm];
        setups[1].suites = vec![Suite::AesCm128HmacSha1_80];
    });
    net.run();
    assert_eq!(net.keys, [None, None]);
}

#[test]
fn a_peer_that_never_answers_ends_the_handshake_after_20_s() {
    let mut net = Net::new(|_| {});
    net.lost = Box::new(|_| true);
    net.wire.clear();
    let took = net.run();
    assert_eq!((took, net.failed[0]), (Duration::from_secs(20), Some(HandshakeFailed::TooLong)));
    assert!(net.sent < 40, "{}", net.sent);
    assert!(net.peers.iter().all(|peer| peer.poll_timeout().is_none()), "nothing is left to wait for");
}

/// Whoever can forge the peer's source address can send these, before authentication.
#[test]
fn forged_records_do_not_end_a_handshake() {
    let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
    let data = [23, 254, 253, 0, 0, 0, 0, 0, 0, 0, 8, 0, 3, 1, 2, 3];
    for forged in [&alert[..], &data[..], &[22; 60][..], &[20][..], &[]] {
        let mut net = Net::new(|_| {});
        while net.keys.iter().any(Option::is_none) {
            let now = net.now;
            // To the client always, to the server once it is under way.
            net.peers[0].handle(forged, now);
            if net.sent > 2 {
                net.peers[1].handle(forged, now);
            }
            net.drain();
            net.step();
            assert!(net.now - net.start < Duration::from_secs(5), "{forged:?}");
        }
        net.assert_agreed();
    }
}

mod dimpl_peer {
    //! The same with a handshake of other hands.

    #![allow(clippy::wildcard_enum_match_arm, reason = "dimpl's outputs may grow")]

    use dimpl::{Config, Dtls, DtlsCertificate, Output};

    use super::*;

    struct Peer {
        dtls: Dtls,
        certificate: Option<Vec<u8>>,
        keying: Option<(Vec<u8>, dimpl::SrtpProfile)>,
        due: Option<Instant>,
    }

    impl Peer {
        fn new(active: bool, certificate: DtlsCertificate, now: Instant) -> Self {
            let mut dtls = Dtls::new_12(Arc::new(Config::default()), certificate, now);
            dtls.set_active(active);
            Self { dtls, certificate: None, keying: None, due: Some(now) }
        }

        fn drain(&mut self) -> Vec<Vec<u8>> {
            let (mut sent, mut buffer) = (Vec::new(), vec![0; 4_096]);
            loop {
                match self.dtls.poll_output(&mut buffer) {
                    Output::Packet(packet) => sent.push(packet.to_vec()),
                    Output::PeerCert(der) => self.certificate = Some(der.to_vec()),
                    Output::KeyingMaterial(keying, profile) => {
                        self.keying = Some((keying.as_ref().to_vec(), profile));
                    }
                    Output::Timeout(at) => {
                        self.due = Some(at);
                        return sent;
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
    fn keys_agree_in_both_roles() {
        for active in [true, false] {
            let mut now = Instant::now();
            let identity = DtlsIdentity::generate().unwrap();
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
            let params = rcgen::CertificateParams::new(vec!["peer".to_owned()]).unwrap();
            let certificate = params.self_signed(&key).unwrap().der().to_vec();
            let fingerprints = vec![Sha256::digest(&certificate).into()];
            let theirs = DtlsCertificate { certificate, private_key: key.serialize_der() };
            let setup = DtlsSetup { active, fingerprints, suites: vec![Suite::AesCm128HmacSha1_80] };
            let mut ours = Handshake::new(&identity, setup, now).unwrap();
            let mut peer = Peer::new(!active, theirs, now);
            let mut keys = None;
            peer.dtls.handle_timeout(now).unwrap();
            for _ in 0..100 {
                while let Some(output) = ours.poll_output() {
                    match output {
                        HandshakeOutput::Datagram(datagram) => peer.dtls.handle_packet(&datagram).unwrap(),
                        HandshakeOutput::Keys(found) => keys = Some(found),
                        HandshakeOutput::Failed(why) => panic!("{why}"),
                    }
                }
                for datagram in peer.drain() {
                    ours.handle(&datagram, now);
                }
                now += Duration::from_millis(5);
                ours.handle_timeout(now);
                if peer.due.is_some_and(|at| at <= now) {
                    peer.dtls.handle_timeout(now).unwrap();
                }
            }
            let (keys, (keying, _)) = (keys.expect("our keys"), peer.keying.expect("the peer's keys"));
            let (client, server) =
                ([&keying[..16], &keying[32..46]].concat(), [&keying[16..32], &keying[46..60]].concat());
            let (send, receive) = if active { (client, server) } else { (server, client) };
            assert_eq!(keys.send.reveal().to_vec(), send);
            assert_eq!(keys.receive.reveal().to_vec(), receive);
            let seen: [u8; 32] = Sha256::digest(peer.certificate.unwrap()).into();
            assert_eq!(seen, identity.fingerprint());
        }
    }
}
