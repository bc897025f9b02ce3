//! The configuration file: the example is true, and what cannot work is refused with a remedy.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::Path;

use setu::Config;

const EXAMPLE: &str = include_str!("../../../examples/setu.toml");

/// The example with its password files written into a folder of their own.
fn example() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for name in
        ["number.password", "alice.password", "bob.password", "app.secret", "webhook.token", "crm.token"]
    {
        std::fs::write(folder.path().join("secrets").join(name), "s3cret-and-long-enough\n").unwrap();
    }
    (folder, EXAMPLE.to_owned())
}

fn refusal(text: &str, folder: &Path) -> String {
    Config::parse(text, folder).unwrap_err().to_string()
}

#[test]
fn the_example_is_a_valid_configuration() {
    let (folder, text) = example();
    let config = Config::parse(&text, folder.path()).unwrap();
    assert_eq!(config.numbers.len(), 2);
    assert_eq!(config.recording.folder, folder.path().join("recordings"));
}

#[test]
fn every_default_shown_in_the_example_is_the_real_one() {
    let (folder, text) = example();
    let plain = format!("{:?}", Config::parse(&text, folder.path()).unwrap());
    // These commented lines are examples rather than defaults.
    let no_default = [
        "advertised_port",
        "extra_roots",
        "sources",
        "tls =",
        "ws =",
        "wss =",
        "websocket_origins",
        "certificate",
        "private_key",
        "\"wa.meta.vc\"",
        "level",
        "announcement",
        "phone_number_id",
        "country =",
        "token =",
        "provider =",
        "postgres",
        "keep_cdrs_days",
        "password",
        "country_code",
        "use_case",
        "queue",
        "skill",
        "priority",
        "script",
    ];
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting)
                if setting.split_once(" = ").is_some_and(|(key, _)| {
                    !key.contains(' ') && !no_default.iter().any(|n| setting.starts_with(n))
                }) =>
            {
                format!("{setting}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(uncommented.lines().count() > 20 && uncommented != text);
    assert_eq!(format!("{:?}", Config::parse(&uncommented, folder.path()).unwrap()), plain);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let (folder, text) = example();
    let said = refusal(
        &text.replace("hostname = \"sip.example.com\"", "hostnam = \"sip.example.com\""),
        folder.path(),
    );
    assert!(said.contains("hostnam") && said.contains("line"), "{said}");
}

#[test]
fn what_cannot_work_is_refused_with_a_remedy() {
    let (folder, text) = example();
    let cases = [
        ("agents = [\"alice\", \"bob\"]", "agents = [\"alic\"]", "no account named \"alic\""),
        ("trunk = \"pbx\"\n", "trunk = \"pbz\"\n", "no trunk named \"pbz\""),
        ("extension = \"agents\"", "", "is not told whom to ring"),
        ("extension = \"agents\"", "extension = \"\"", "is no extension"),
        ("ports = \"24000-27999\"", "ports = \"23000-27999\"", "overlap"),
        ("ports = \"24000-27999\"", "ports = \"27999-24000\"", "below the last"),
        ("advertised = \"203.0.113.10\"", "", "nobody can send to 0.0.0.0"),
        ("number = \"+911234567890\"\n# The SIP", "number = \"911234567890\"\n# The SIP", "is not E.164"),
        ("hostname = \"sip.example.com\"", "hostname = \"203.0.113.10\"", "fully qualified host name"),
        ("{ file = \"secrets/bob.password\" }", "{ file = \"secrets/nobody\" }", "cannot read"),
        ("{ file = \"secrets/bob.password\" }", "{ env = \"SETU_NO_SUCH\" }", "no SETU_NO_SUCH"),
        ("{ file = \"secrets/bob.password\" }", "{ url = \"x\" }", "expected `file` or `env`"),
        ("[{ file = \"secrets/app.secret\" }]", "[]", "every webhook would be refused"),
        ("# keep_cdrs_days = 400", "keep_cdrs_days = 30", "store.keep_cdrs_days"),
        ("# connect_within_s = 60", "connect_within_s = 0", "webhooks.connect_within_s"),
        ("\"gate:ask\"]", "\"gate:open\"]", "is no scope"),
        ("{ file = \"secrets/crm.token\" }", "\"short\"", "shorter than 16"),
        ("secrets/webhook.token", "secrets/none", "webhooks.verify_token"),
        ("host = \"10.0.0.20\"", "host = \"sip:10.0.0.20\"", "without sip: and without a port"),
        ("host = \"10.0.0.20\"", "host = \"\"", "neither a host name nor an address"),
        ("sip.example.com\"", "sip.example.com:5061\"", "without sip: and without a port"),
        ("hostname = \"10.0.0.5\"", "hostname = \"0.0.0.0\"", "nobody reaches 0.0.0.0"),
        ("# country_code = \"91\"", "country_code = \"+91\"", "without +"),
        ("tcp = \"0.0.0.0:5060\"", "tcp = \"10.0.0.5:5061\"", "10.0.0.5:5061 is meta.bind's already"),
        ("port = 5060", "port = \"5060\"", "`setu example-config` shows"),
        ("name = \"kyc\"", "name = \"cold-calls\"", "cold outbound, which is not a use case"),
        ("label = \"Identity check\"", "label = \"Cold calling\"", "cold outbound, which is not a use case"),
        ("trigger = [\"kyc-*\"]", "trigger = [\"*\"]", "fits every payload"),
        ("# script = \"https://", "script = \"javascript:", "is no address"),
        ("# use_case = \"kyc\"", "use_case = \"kyb\"", "no use case named \"kyb\""),
        ("# use_cases = [\"kyc\"]", "use_cases = [\"kyb\"]", "no use case named \"kyb\""),
        ("# caller_ids = []", "caller_ids = [\"+911234567890\"]", "caller id of a dialler"),
        ("# caller_ids = []", "caller_ids = [\"1234567890\"]", "is not E.164"),
        ("pstn = false\n", "", "say pstn = false"),
        ("pstn = false\n", "pstn = true\n", "must not reach the public telephone network"),
        ("extension = \"agents\"", "extension = \"09876543210\"", "is a telephone number"),
        ("# to = \"21:00\"", "to = \"08:00\"", "nobody may ever be called"),
        ("# blocked_countries = []", "blocked_countries = [\"India\"]", "is no country"),
        ("# burst = 60", "burst = 0", "calling.requests.burst"),
        ("# burst_s = 60", "burst_s = 3601", "choose 1 to 3600"),
        ("# sample = 50", "sample = 1001", "choose 2 to 1000"),
        ("# cold_percent = 30", "cold_percent = 101", "choose 0 to 100"),
        ("{ IN = \"0.35\" }", "{ IN = 0.35 }", "expected a string"),
        ("{ IN = \"0.35\" }", "{ IN = \"-1\" }", "is no rate"),
        ("currency = \"INR\"", "currency = \"rupees\"", "is no currency"),
        ("# level = \"info\"", "level = \"loud\"", "\"loud\" is no level"),
        ("# sip_hosts = []", "sip_hosts = [\"*.in\"]", "is every name below \"in\""),
        ("# host = \"graph.facebook.com\"", "host = \"https://graph.facebook.com\"", "graph.host"),
        ("# version = \"v23.0\"", "version = \"23\"", "is no version of Graph"),
        ("# bind = \"127.0.0.1:9062\"", "bind = \"127.0.0.1:9061\"", "is webhooks.bind's already"),
        (
            "# file = \"setu.db\"",
            "file = \"setu.db\"\npostgres = \"postgres://setu@db/setu\"",
            "there is one database",
        ),
        ("udp = \"0.0.0.0:5060\"\ntcp = \"0.0.0.0:5060\"", "", "no listener"),
    ];
    for (from, to, expected) in cases {
        assert!(text.contains(from), "{from:?} is not in the example");
        let said = refusal(&text.replacen(from, to, 1), folder.path());
        assert!(said.contains(expected), "{from:?} -> {to:?}: {said}");
    }
}

/// Whose a webhook is follows from the business's id, and from the numbers that name the business.
#[test]
fn businesses_are_told_apart_by_their_ids_and_have_numbers() {
    let (folder, text) = example();
    let business = |name: &str, id: &str| {
        format!("[[businesses]]\nname = \"{name}\"\nid = \"{id}\"\napp_secrets = [\"s\"]\n")
    };
    let with = |other: &str| {
        let text = text.replacen(
            "number = \"+911234567890\"\n",
            "number = \"+911234567890\"\nbusiness = \"acme\"\n",
            1,
        );
        format!("{text}\n{}{other}", business("acme", "1"))
    };
    assert!(Config::parse(&with(""), folder.path()).is_ok());
    let said = refusal(&with(&business("other", "1")), folder.path());
    assert!(said.contains("businesses[1].id") && said.contains("another business has the id 1"), "{said}");
    let said = refusal(&with(&business("other", "2")), folder.path());
    assert!(said.contains("businesses[1].app_secrets") && said.contains("business = \"other\""), "{said}");
}

#[test]
fn a_missing_file_is_named() {
    let said = Config::load(Path::new("/nonexistent/setu.toml")).unwrap_err().to_string();
    assert!(said.contains("/nonexistent/setu.toml") && said.contains("example-config"), "{said}");
}

#[test]
fn a_provider_is_reached_by_https_and_tells_of_its_calls_by_webhooks() {
    let (folder, text) = example();
    let provider = |url: &str, wait_s: u32| {
        let line = format!(
            "provider = {{ url = \"{url}\", token = \"t\", wait_s = {wait_s} }}\nagents = [\"alice\""
        );
        text.replacen("agents = [\"alice\"", &line, 1)
    };
    assert!(Config::parse(&provider("https://provider.example/messages", 60), folder.path()).is_ok());
    for url in ["http://provider.example/messages", "https://", "https:///messages", "provider.example"] {
        let said = refusal(&provider(url, 60), folder.path());
        assert!(said.contains("numbers[0].provider.url") && said.contains("https://HOST/PATH"), "{said}");
    }
    let said = refusal(&provider("https://provider.example/messages", 3_601), folder.path());
    assert!(said.contains("numbers[0].provider.wait_s"), "{said}");
}

#[test]
fn a_sound_that_cannot_go_to_meta_is_refused_with_the_command_that_converts_it() {
    let (folder, text) = example();
    std::fs::write(folder.path().join("hold.wav"), b"RIFF\0\0\0\0WAVEfmt ").unwrap();
    for (file, problem) in [("hold.wav", "no readable Ogg file"), ("missing.opus", "No such file")] {
        let text = text.replace("# music_on_hold = \"tone\"", &format!("music_on_hold = \"{file}\""));
        let config = Config::parse(&text, folder.path()).unwrap();
        let refusal = setu::settings::shard(&config).unwrap_err().to_string();
        assert!(refusal.contains(problem) && refusal.contains(file), "{refusal}");
        assert_eq!(refusal.contains("convert it: ffmpeg -i IN -ac 1"), file == "hold.wav", "{refusal}");
    }
}
