//! Settings at Meta: seen, mended, and seen again, against the twin of its Graph.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use serde_json::Value;
use setu_twin::graph::{CallSettings, GraphConfig, GraphHabits, GraphNumber};
use setu_twin::shell::{GraphHandle, GraphOptions, spawn_graph};

use crate::api::{TOKEN, ask};
use crate::house::{CUSTOMER, HOSTNAME, House, NUMBER, Ports};
use crate::peers::{Process, until};
use crate::ports::port;
use crate::webhooks::post;

struct Desk {
    house: House,
    graph: GraphHandle,
    api: u16,
}

const OTHER: &str = "+911234567891";

impl Desk {
    /// A number of SIP with its business's token, and one of Graph with its own.
    async fn new(habits: GraphHabits) -> Self {
        let (api, at) = (port(), port());
        let config = format!(
            "[[businesses]]\nname = \"acme\"\napp_id = \"670843887433847\"\napp_secrets = [{{ file = \"acme.secret\" }}]\n\
             token = {{ file = \"acme.token\" }}\n\
             [[numbers]]\nnumber = \"{NUMBER}\"\nphone_number_id = \"106\"\nbusiness = \"acme\"\n\
             password = {{ file = \"number.password\" }}\ntrunk = \"pbx\"\nextension = \"100\"\n\
             provision = {{ callback_permission = true, call_button = true, hours = {{ zone = \"Asia/Kolkata\", \
             monday = [\"09:00-12:30\", \"13:30-18:00\"], holidays = [\"2026-12-25\"] }} }}\n\
             [[numbers]]\nnumber = \"{OTHER}\"\nphone_number_id = \"107\"\ntoken = {{ file = \"other.token\" }}\n\
             signalling = \"graph\"\ntrunk = \"pbx\"\nextension = \"100\"\n\
             [[trunks]]\nname = \"pbx\"\nhost = \"127.0.0.1\"\nport = 9\nprobe_s = 0\npstn = false\n\
             [webhooks]\nbind = \"127.0.0.1:{at}\"\nverify_token = \"the-token\"\n\
             [graph]\nextra_roots = \"ca.pem\"\n\
             [api]\nbind = \"127.0.0.1:{api}\"\n[[api.tokens]]\nname = \"ops\"\ntoken = \"{TOKEN}\"\n\
             scopes = [\"provisioning:read\"]\n"
        );
        let mut house = House::new(Ports::pick(), &config);
        for (name, text) in
            [("acme.secret", "s3cret-of-acme"), ("acme.token", "t-106"), ("other.token", "t-107")]
        {
            house.write(name, text);
        }
        let number = |number: &str, id: &str| GraphNumber {
            number: number.to_owned(),
            id: id.to_owned(),
            token: format!("t-{id}"),
        };
        let config = GraphConfig {
            https_port: 0,
            media_ports: vec![0],
            numbers: vec![number(NUMBER, "106"), number(OTHER, "107")],
            habits,
            ..GraphConfig::default()
        };
        let identity = house.authority.issue(&[&config.host]).unwrap();
        let graph = spawn_graph(GraphOptions { config, identity }).await.unwrap();
        let https = graph.config().https_port;
        let pins = format!("[resolve.static]\n\"graph.facebook.com\" = [\"127.0.0.1:{https}\"]\n");
        house.config = house.config.replace("[resolve.static]\n", &pins);
        Self { house, graph, api }
    }

    fn setu(&self, verb: &str, args: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } =
            tokio::task::block_in_place(|| self.house.setu(verb).args(args).output().unwrap());
        let said = format!("{}{}", String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        (status.code().unwrap(), said)
    }

    async fn settings(&self, id: &'static str) -> CallSettings {
        self.graph.with(move |edge, _| edge.settings_of(id).clone()).await.unwrap()
    }

    fn password(&self) -> String {
        fs::read_to_string(self.house.path("number.password")).unwrap().trim().to_owned()
    }
}

/// Calling is off, and Meta resets the keys whenever SIP is written.
fn fresh() -> GraphHabits {
    GraphHabits { calling: false, resets_srtp: true, ..GraphHabits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_numbers_are_set_up_the_password_fetched_and_rotated_and_drift_is_found() {
    let desk = Desk::new(fresh()).await;
    let (code, said) = desk.setu("provision", &[]);
    assert_eq!(code, 1, "{said}");
    let wanted = format!("drift    sip.servers is none, wanted is {HOSTNAME}:{}", desk.house.ports.meta);
    for expected in [&*wanted, "plan 3   how keys are exchanged, alone and last", OTHER, "--apply does so"] {
        assert!(said.contains(expected), "wanted {expected:?}: {said}");
    }
    assert!(!desk.settings("106").await.enabled && !desk.house.path("number.password").exists());

    let (code, said) = desk.setu("provision", &["--apply"]);
    assert_eq!(code, 0, "{said}");
    let settings = desk.settings("106").await;
    assert!(settings.enabled && settings.sip);
    assert_eq!(settings.srtp.as_deref(), Some("SDES"));
    let first = desk.password();
    assert_eq!(settings.passwords.values().collect::<Vec<_>>(), [&first]);
    let mode = fs::metadata(desk.house.path("number.password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = desk.settings("107").await;
    assert!(other.enabled && !other.sip);
    assert!(!said.contains(&first) && !said.contains("t-106"), "{said}");

    let (code, said) = desk.setu("provision", &["--apply"]);
    assert_eq!((code, said.matches("done").count()), (0, 0), "{said}");
    let (code, said) = desk.setu("provision", &["--rotate-password", NUMBER]);
    assert_eq!(code, 0, "{said}");
    let settings = desk.settings("106").await;
    assert!(desk.password() != first && settings.passwords.values().any(|now| *now == desk.password()));
    assert_eq!((settings.enabled, settings.srtp.as_deref()), (true, Some("SDES")));
    assert!(!said.contains(&desk.password()), "{said}");
    let (code, said) = desk.setu("provision", &["--rotate-password", OTHER]);
    assert!(code == 1 && said.contains("is not in a file"), "{said}");

    let (_, said) = desk.setu("check", &[]);
    assert_eq!(said.matches("the settings at Meta are as configured").count(), 2, "{said}");
    desk.graph.with(|edge, _| edge.settings_of("106").srtp = Some("DTLS".to_owned())).await.unwrap();
    let (code, said) = desk.setu("check", &[]);
    let drift = "numbers[0].provision: at Meta, srtp_key_exchange_protocol is DTLS, wanted is SDES";
    assert!(code == 1 && said.contains(drift), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_says_what_is_missing_on_the_command_line_and_over_rest() {
    let habits =
        GraphHabits { messaging_limit: 1_000, sip_health: "LIMITED".to_owned(), ..GraphHabits::default() };
    let desk = Desk::new(habits).await;
    desk.house.write("number.password", "x\n");
    let (code, said) = desk.setu("provision", &["--report"]);
    assert_eq!(code, 1);
    for expected in [
        "no       the messaging limit is 2,000 or more: TIER_1K (GET /{phone_number_id})",
        "unknown  the number's quality was GREEN for 30 days: Meta says GREEN today; what the days before were \
         only the running bridge knows (GET /v1/provisioning)",
        "no       Meta's calls reach the SIP server: PHONE_NUMBER: LIMITED (The SIP server cannot be reached)",
        "unknown  no dialler shows the number on the telephone network (PSTN history)",
        "yes      permissions are known and kept to",
    ] {
        assert!(said.contains(expected), "wanted {expected:?}: {said}");
    }
    let (_, json) = desk.setu("provision", &["--report", "--json"]);
    let mut json: Value = serde_json::from_str(&json).unwrap();
    let _bridge = tokio::task::block_in_place(|| desk.house.serve());
    let mut rest = tokio::task::block_in_place(|| ask(desk.api, "GET", "/v1/provisioning", ""));
    // Only the bridge has a database to say it from; all else is the same.
    let days_of = |report: &mut Value, number: usize| report["numbers"][number]["facts"][4]["seen"].take();
    for number in 0..2 {
        let seen = days_of(&mut rest, number);
        let expected = "seen GREEN on 0 of the last 30 days; unknown, for want of calls, on 30";
        assert!(seen.as_str().unwrap().ends_with(expected), "{seen}");
        days_of(&mut json, number);
    }
    assert_eq!(rest, json);
    assert_eq!(rest["numbers"][0]["drifts"][0]["setting"], "sip.servers");
    assert_eq!((&rest["numbers"][1]["number"], &rest["numbers"][1]["error"]), (&OTHER.into(), &Value::Null));
    assert!(!desk.house.log().contains("t-106"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_somebody_else_and_a_host_that_proves_nothing_are_told_with_what_to_do() {
    let desk = Desk::new(fresh()).await;
    desk.house.write("acme.token", "stolen");
    let (code, said) = desk.setu("provision", &["--apply"]);
    assert!(code == 1 && said.contains("Invalid OAuth access token (190)"), "{said}");
    assert!(!desk.settings("106").await.enabled, "nothing is written");
    assert!(desk.settings("107").await.enabled, "the other number is not held up");
    desk.house.write("number.password", "x\n");
    let (_, said) = desk.setu("check", &[]);
    assert!(said.contains("numbers[0].token") && said.contains("whatsapp_business_management"), "{said}");

    let mut stranger = desk;
    stranger.house.config = stranger.house.config.replace("[graph]\nextra_roots = \"ca.pem\"\n", "");
    let (code, said) = stranger.setu("provision", &[]);
    assert!(code == 1 && said.contains("certificate"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_twin_as_a_process_has_settings_that_are_set_up() {
    let mut desk = Desk::new(GraphHabits::default()).await;
    let https = port();
    let before = format!("127.0.0.1:{}\"]", desk.graph.config().https_port);
    desk.house.config = desk.house.config.replace(&before, &format!("{TWIN}:{https}\"]"));
    desk.house.config =
        desk.house.config.replace("extra_roots = \"ca.pem\"\n[api]", "extra_roots = \"twin/ca.pem\"\n[api]");
    desk.house.write("acme.token", "of-the-twin");
    let mut twin = std::process::Command::new(crate::PROGRAM);
    twin.args(["twin", "--number", NUMBER, "--number-id", "106", "--bridge-hostname", HOSTNAME, "--folder"])
        .arg(desk.house.path("twin"))
        .args(["--listen", &format!("{TWIN}:{}", port()), "--graph", &format!("{TWIN}:{https}")])
        .envs([
            ("SETU_TWIN_PASSWORD", "p"),
            ("SETU_TWIN_TOKEN", "of-the-twin"),
            ("SETU_TWIN_APP_SECRET", "s"),
        ]);
    let _twin = Process::start("twin", &mut twin, &desk.house.path("twin.log"));
    let listens = || std::net::TcpStream::connect((TWIN, https)).is_ok();
    tokio::task::block_in_place(|| until("the twin listens", std::time::Duration::from_secs(20), listens));
    let (_, said) = desk.setu("provision", &["--apply"]);
    assert!(said.contains("Meta's password is in") && desk.password().len() == 32, "{said}");
}

/// Nobody is at the address that is to be called.
#[test]
fn a_twin_whose_call_goes_wrong_fails_and_says_why() {
    let folder = std::env::temp_dir().join(format!("setu-twin-{}", std::process::id()));
    let mut twin = std::process::Command::new(crate::PROGRAM);
    twin.args(["twin", "--bridge-hostname", HOSTNAME, "--listen", "127.0.19.3:0", "--folder"])
        .arg(&folder)
        .args(["--call", &format!("127.0.19.3:{}", port())])
        .env("SETU_TWIN_PASSWORD", "p");
    let output = twin.output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("it was not connected"), "{said}");
}

/// Where a twin as a process is: its relay has ports that are the same for all, which others on this machine may have.
const TWIN: &str = "127.0.19.1";

/// Meta names the account in a restriction, and not the number.
#[test]
fn a_restriction_of_one_business_leaves_the_numbers_of_others_alone() {
    let (api, at) = (port(), port());
    let number = |number: &str, id: &str, business: &str| {
        format!(
            "[[numbers]]\nnumber = \"{number}\"\nphone_number_id = \"{id}\"\nbusiness = \"{business}\"\n\
             password = \"x\"\ntrunk = \"pbx\"\nextension = \"100\"\n"
        )
    };
    let business = |name: &str, id: &str| {
        format!(
            "[[businesses]]\nname = \"{name}\"\nid = \"{id}\"\napp_secrets = [{{ file = \"{name}.secret\" }}]\n"
        )
    };
    let config = format!(
        "{}{}{}{}[[trunks]]\nname = \"pbx\"\nhost = \"127.0.0.1\"\nport = 9\nprobe_s = 0\npstn = false\n\
         [webhooks]\nbind = \"127.0.0.1:{at}\"\nverify_token = \"the-token\"\n\
         [api]\nbind = \"127.0.0.1:{api}\"\n[[api.tokens]]\nname = \"ops\"\ntoken = \"{TOKEN}\"\nscopes = [\"gate:ask\"]\n",
        business("acme", "1"),
        business("other", "2"),
        number(NUMBER, "106", "acme"),
        number(OTHER, "107", "other"),
    );
    let house = House::new(Ports::pick(), &config);
    house.write("acme.secret", "s3cret-of-acme");
    house.write("other.secret", "s3cret-of-other");
    let _bridge = house.serve();
    let codes = |number: &str| {
        let question =
            serde_json::json!({"number": number, "customer": CUSTOMER, "by_hand": true}).to_string();
        let refused = ask(api, "POST", "/v1/gate", &question)["refused"].take();
        refused.as_array().unwrap().iter().map(|rule| rule["code"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let before = codes(NUMBER);
    assert_eq!(codes(OTHER), before);
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 86_400;
    let body = format!(
        r#"{{"entry":[{{"id":"1","changes":[{{"field":"account_update","value":{{"event":"ACCOUNT_RESTRICTION",
        "restriction_info":[{{"restriction_type":"RESTRICTED_BUSINESS_INITIATED_CALLING","expiration":{end}}}]}}}}]}}]}}"#
    );
    assert!(post(at, "/webhooks/whatsapp", "s3cret-of-other", &body).starts_with("HTTP/1.1 403 "));
    assert!(post(at, "/webhooks/whatsapp", "s3cret-of-acme", &body).starts_with("HTTP/1.1 200 "));
    until("the restriction holds", std::time::Duration::from_secs(10), || {
        codes(NUMBER).len() == before.len() + 1
    });
    assert_eq!(codes(OTHER), before);
}
