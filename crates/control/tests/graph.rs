//! Requests to Meta's Graph, answered by its twin.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use setu_control::{GraphClient, GraphConfig, Outbound};
use setu_model::{EgressPolicy, Secret};
use setu_twin::graph::{self, GraphEvent, GraphHabits};
use setu_twin::shell::{GraphHandle, GraphOptions, TestAuthority, spawn_graph};
use setu_whatsapp::graph::{Action, Failure};

const ID: &str = "106540352242922";

struct House {
    edge: GraphHandle,
    client: GraphClient,
    _folder: tempfile::TempDir,
}

/// Graph with a certificate for `name`, at `ip` as far as the client knows.
async fn house(habits: GraphHabits, name: &str, ip: IpAddr) -> House {
    let authority = TestAuthority::new().unwrap();
    let number =
        graph::GraphNumber { number: "+911234567890".to_owned(), id: ID.to_owned(), token: "t".to_owned() };
    let config = graph::GraphConfig {
        https_port: 0,
        media_ports: vec![0],
        numbers: vec![number],
        habits,
        ..graph::GraphConfig::default()
    };
    let identity = authority.issue(&[name]).unwrap();
    let edge = spawn_graph(GraphOptions { config, identity }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("ca.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let host = "graph.facebook.com".to_owned();
    let pinned = BTreeMap::from([(host.clone(), vec![(ip, Some(edge.config().https_port))])]);
    let egress = EgressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let outbound = Outbound { egress, pinned, extra_roots: Some(roots) };
    let client = GraphClient::new(GraphConfig { host, version: "v23.0".to_owned(), outbound }).unwrap();
    House { edge, client, _folder: folder }
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A house whose every `word` ends in a server's error.
async fn failing(word: &str) -> House {
    let habits = GraphHabits { fails: Some(word.to_owned()), ..GraphHabits::default() };
    house(habits, "graph.facebook.com", HERE).await
}

impl House {
    async fn asks(&self, action: &Action) -> (Result<(), Failure>, usize) {
        let mut events = self.edge.events();
        let token = Secret::new("t".to_owned());
        let outcome = self.client.ask(ID, &token, action).await.map(drop);
        let mut asked = 0;
        while let Ok(event) = events.try_recv() {
            asked += usize::from(matches!(event, GraphEvent::Asked(..)));
        }
        (outcome, asked)
    }
}

fn terminate() -> Action {
    Action::Terminate { wacid: "wacid.A".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_nothing_twice_is_asked_again_and_nothing_else() {
    let sdp = || "v=0".to_owned();
    let (to, opaque, wacid) = ("919876543210".to_owned(), String::new(), "wacid.A".to_owned());
    for (action, times) in [
        (terminate(), 4),
        (Action::Accept { wacid, sdp: sdp() }, 1),
        (Action::Connect { to, sdp: sdp(), opaque }, 1),
    ] {
        let (outcome, asked) = failing(action.word()).await.asks(&action).await;
        assert!(matches!(outcome, Err(Failure::Unknown { .. })), "{outcome:?}");
        assert_eq!(asked, times, "{}", action.word());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_meta_refuses_is_refused_at_once() {
    let house = house(GraphHabits::default(), "graph.facebook.com", HERE).await;
    let (outcome, asked) = house.asks(&terminate()).await;
    assert_eq!((outcome.unwrap_err().to_string(), asked), ("Invalid call id (100)".to_owned(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_host_is_talked_to() {
    let other = house(GraphHabits::default(), "elsewhere.example", HERE).await;
    let (outcome, asked) = other.asks(&terminate()).await;
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("certificate") && asked == 0, "{text}");

    let metadata = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
    let inside = house(GraphHabits::default(), "graph.facebook.com", metadata).await;
    let begun = std::time::Instant::now();
    let (outcome, asked) = inside.asks(&terminate()).await;
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("never contacted") && asked == 0, "{text}");
    assert!(begun.elapsed() < Duration::from_secs(10), "it was dialled");
}
