//! Events out: what a program of the operator's hears of calls, whatever happens to it, to the bridge and on the way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use setu_store::{Location, OutboxCount, Store};
use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer};
use setu_twin::meta::CallSpec;
use setu_twin::shell::{Identity, TestAuthority};

use crate::api::{TOKEN, ask};
use crate::house::{CUSTOMER, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::until;
use crate::ports::port;
use crate::webhooks::{SECRET, post, webhooks};

const PATIENCE: Duration = Duration::from_secs(20);

/// The keys of the two secrets: the new one and the one before.
const KEYS: [&[u8]; 2] = [b"the new key, of 32 bytes or more", b"the old key, of 24 bytes"];

fn secret(n: usize) -> String {
    format!("whsec_{}", STANDARD.encode(KEYS[n]))
}

/// What was posted, and what was said to it.
#[derive(Debug, Clone)]
struct Posted {
    id: String,
    kind: String,
    status: u16,
    body: Value,
}

/// A program that takes events, or not.
#[derive(Clone)]
struct Receiver {
    port: u16,
    says: Arc<Mutex<u16>>,
    shows: Arc<Mutex<Arc<rustls::ServerConfig>>>,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Receiver {
    fn start(identity: &Identity, says: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            says: Arc::new(Mutex::new(says)),
            shows: Arc::new(Mutex::new(server(identity))),
            posted: Arc::default(),
        };
        let one = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let one = one.clone();
                // Whoever does not trust us breaks off.
                std::thread::spawn(move || one.take(stream.unwrap()));
            }
        });
        receiver
    }

    fn take(&self, tcp: std::net::TcpStream) -> Option<()> {
        let config = Arc::clone(&self.shows.lock().unwrap());
        let tls = rustls::ServerConnection::new(config).ok()?;
        let mut stream = BufReader::new(rustls::StreamOwned::new(tls, tcp));
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? <= 2 {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let header = |name: &str| {
            let named = |line: &&String| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
            head.iter().find(named).map(|line| line[name.len() + 1..].trim().to_owned()).unwrap_or_default()
        };
        let mut body = vec![0; header("content-length").parse().ok()?];
        stream.read_exact(&mut body).ok()?;
        let id = header("webhook-id");
        is_signed(&id, &header("webhook-timestamp"), &body, &header("webhook-signature"));
        let body: Value = serde_json::from_slice(&body).unwrap();
        let (status, kind) = (*self.says.lock().unwrap(), body["type"].as_str().unwrap().to_owned());
        self.posted.lock().unwrap().push(Posted { id, kind, status, body });
        let stream = stream.get_mut();
        write!(stream, "HTTP/1.1 {status} said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
        stream.flush().ok()
    }

    fn say(&self, status: u16) {
        *self.says.lock().unwrap() = status;
    }

    fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    /// What was taken, each event once.
    fn taken(&self) -> Vec<Posted> {
        let mut taken: Vec<Posted> = Vec::new();
        for posted in self.posted() {
            if posted.status == 200 && taken.iter().all(|before| before.id != posted.id) {
                taken.push(posted);
            }
        }
        taken
    }

    fn kinds(&self) -> Vec<String> {
        self.taken().into_iter().map(|posted| posted.kind).collect()
    }
}

fn server(identity: &Identity) -> Arc<rustls::ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key);
    Arc::new(config.unwrap())
}

/// As the specification says, under both secrets, at this hour.
fn is_signed(id: &str, at: &str, body: &[u8], signature: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(at.parse::<u64>().unwrap().abs_diff(now) < 60, "{at}");
    let signed = [id.as_bytes(), b".", at.as_bytes(), b".", body].concat();
    let made = KEYS.map(|key| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
        format!("v1,{}", STANDARD.encode(ring::hmac::sign(&key, &signed)))
    });
    assert_eq!(signature, made.join(" "));
}

fn endpoint(name: &str, host: &str, port: u16) -> String {
    format!(
        "[[events.endpoints]]\nname = \"{name}\"\nurl = \"https://{host}:{port}/hooks\"\n\
         secrets = [{{ file = \"new.secret\" }}, {{ file = \"old.secret\" }}]\nextra_roots = \"ca.pem\"\n"
    )
}

/// A house with an agent, webhooks at `at`, a REST interface at `api`, and these endpoints.
fn house(at: u16, api: u16, events: &str) -> House {
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\nphone_number_id = \"106\"\npassword = \"{NUMBER_PASSWORD}\"\n\
         agents = [\"alice\"]\n[[accounts]]\nname = \"alice\"\npassword = \"secret\"\n{}\
         [api]\nbind = \"127.0.0.1:{api}\"\n[[api.tokens]]\nname = \"crm\"\ntoken = \"{TOKEN}\"\n\
         scopes = [\"events:read\", \"events:write\"]\n[events]\n{events}",
        webhooks(at)
    );
    let mut house = House::new(Ports::pick(), &rest);
    let pins =
        "[resolve.static]\n\"crm.example.com\" = [\"127.0.0.1\"]\n\"silent.example.com\" = [\"127.0.0.1\"]\n";
    house.config = house.config.replace("[resolve.static]\n", pins);
    house.write("app.secret", SECRET);
    house.write("new.secret", &secret(0));
    house.write("old.secret", &secret(1));
    house
}

async fn waiting(house: &House) -> OutboxCount {
    let store = Store::open(&Location::Sqlite(house.path("setu.db"))).await.unwrap();
    let count = store.outbox_count().await.unwrap();
    store.close().await;
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_told_in_order_to_a_receiver_that_was_down_by_a_bridge_that_was_killed() {
    let (at, api) = (port(), port());
    // Nobody ever takes a connection from its queue: a receiver that is as slow as can be.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let authority = TestAuthority::new().unwrap();
    let receiver = Receiver::start(&authority.issue(&["crm.example.com"]).unwrap(), 500);
    let events = format!(
        "tries = 100\nretry_s = 1\n{}{}",
        endpoint("crm", "crm.example.com", receiver.port),
        endpoint("silent", "silent.example.com", silent.local_addr().unwrap().port()),
    );
    let house = house(at, api, &events);
    house.write("ca.pem", &format!("{}{}", house.authority.pem(), authority.pem()));
    let mut bridge = house.serve();
    let edge = house.edge().await;
    let habits =
        Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(880), ..Habits::default() };
    let _phone = house.phone("alice", "secret", habits).await;
    let call = CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(440).hanging_up_after(1_000));
    edge.call(call).await.unwrap();
    let cdr = tokio::task::block_in_place(|| house.cdrs(1).remove(0));
    let began = std::time::Instant::now();
    while waiting(&house).await.waiting < 8 {
        assert!(began.elapsed() < PATIENCE, "the steps of the call are not in the outbox: {}", house.log());
    }
    bridge.signal("KILL");
    tokio::task::block_in_place(|| bridge.wait(PATIENCE));
    let tried = receiver.posted();
    assert!(!tried.is_empty() && tried.iter().all(|one| one.kind == "call.offered"), "{tried:?}");

    receiver.say(200);
    let steps = ["call.offered", "call.ringing", "call.answered", "call.ended"];
    tokio::task::block_in_place(|| {
        let mut bridge = house.serve();
        until("all is told", PATIENCE, || receiver.kinds().len() == steps.len());
        assert_eq!(receiver.kinds(), steps);
        let taken = receiver.taken();
        assert_eq!(taken[0].id, format!("{}.offered", cdr.call));
        assert_eq!(taken[0].body["data"]["facts"]["customer"], CUSTOMER);
        assert_eq!(taken[2].body["data"]["agent"]["agent"], "alice");
        assert_eq!(taken[3].body["data"], serde_json::to_value(&cdr).unwrap());

        let wacid = cdr.facts.wacid.clone().unwrap();
        let end = format!(
            r#"{{"entry":[{{"id":"1","changes":[{{"field":"calls","value":{{"metadata":{{"phone_number_id":"106"}},
            "calls":[{{"id":"{wacid}","event":"terminate","direction":"USER_INITIATED","from":"919876543210",
            "start_time":"1760681513","end_time":"1760681533","duration":20,"status":"COMPLETED"}}]}}}}]}}]}}"#
        );
        assert!(post(at, "/webhooks/whatsapp", SECRET, &end).starts_with("HTTP/1.1 200 "));
        until("the revision is told", PATIENCE, || receiver.kinds().len() == 5);
        let revised = receiver.taken().pop().unwrap();
        assert_eq!(
            (revised.kind.as_str(), &revised.body["data"]["call"]),
            ("cdr.revised", &cdr.call.to_string().into())
        );
        assert_eq!(revised.body["data"]["record"]["duration_s"]["webhook"], 20);
        until("it is counted", PATIENCE, || {
            house.metric("setu_events_waiting") == 5.0 && house.metric("setu_events_delivered_total") == 5.0
        });
        bridge.signal("TERM");
        assert!(bridge.wait(PATIENCE).success());
        assert!(!house.log().contains("whsec_") && !house.log().contains("9876543210"), "{}", house.log());
    });
}

fn permission(n: u32) -> String {
    format!(
        r#"{{"entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"metadata":{{"phone_number_id":"106"}},
        "messages":[{{"from":"919876543210","id":"wamid.{n}","timestamp":"1760681600","type":"interactive",
        "interactive":{{"type":"call_permission_reply","call_permission_reply":
        {{"response":"accept","is_permanent":true,"response_source":"user_action"}}}}}}]}}}}]}}]}}"#
    )
}

#[test]
fn strangers_and_private_addresses_are_told_nothing_and_what_was_given_up_is_retried_when_asked() {
    let (at, api) = (port(), port());
    let stranger = TestAuthority::new().unwrap().issue(&["crm.example.com"]).unwrap();
    let receiver = Receiver::start(&stranger, 200);
    let events = format!(
        "tries = 1\n{}{}",
        endpoint("crm", "crm.example.com", receiver.port),
        endpoint("private", "192.168.77.1", 443),
    );
    let house = house(at, api, &events);
    let _bridge = house.serve();
    assert!(post(at, "/webhooks/whatsapp", SECRET, &permission(1)).starts_with("HTTP/1.1 200 "));
    let dead = || ask(api, "GET", "/v1/events/dead", "")["dead"].as_array().unwrap().clone();
    until("both are given up", PATIENCE, || dead().len() == 2);
    let why = |name: &str| {
        let dead = dead();
        let one = dead.iter().find(|one| one["endpoint"] == name).unwrap_or_else(|| panic!("{dead:?}"));
        one["why"].as_str().unwrap().to_owned()
    };
    assert!(why("private").contains("192.168.77.1 is private; egress.allow does not cover it"));
    assert!(why("crm").contains("certificate"), "{}", why("crm"));
    assert_eq!(receiver.posted().len(), 0);
    until("they are counted", PATIENCE, || {
        house.metric("setu_events_dead") == 2.0 && house.metric("setu_events_failed_total") == 2.0
    });

    *receiver.shows.lock().unwrap() = server(&house.authority.issue(&["crm.example.com"]).unwrap());
    let ids: Vec<_> = dead().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    let id = ids.iter().find(|id| id.starts_with("crm:")).unwrap();
    assert_eq!(ask(api, "POST", &format!("/v1/events/dead/{id}/retry"), "")["id"], **id);
    until("it is told", PATIENCE, || receiver.kinds() == ["permission.changed"]);
    let data = &receiver.taken()[0].body["data"];
    assert_eq!((&data["number"], &data["customer"]["wa_id"]), (&NUMBER.into(), &"919876543210".into()));
    assert_eq!(dead().len(), 1);
    let again = ask(api, "POST", &format!("/v1/events/dead/{id}/retry"), "");
    assert_eq!(again["error"]["code"], "not_found");
    assert!(!house.log().contains("9876543210"), "{}", house.log());
}
