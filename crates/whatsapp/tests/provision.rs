//! A number's settings are made what they should be, in the order in which Meta keeps them.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use serde_json::{Value, json};
use setu_model::Wall;
use setu_whatsapp::provision::{
    Ask, CallHours, Desired, Found, Icon, Mode, Node, Opening, Outcome, Protocol, Provision, Server,
    Standing, Stopped, Verdict, onboarding,
};
use setu_whatsapp::quality::Seen;

fn desired() -> Desired {
    Desired {
        server: Some(Server { hostname: "sip.example.com".to_owned(), port: 5_061 }),
        srtp: Protocol::Sdes,
        callback: Some(true),
        icon: None,
        hours: None,
    }
}

/// As much of Meta as keeps what is written.
struct Meta {
    calling: Value,
    /// SIP written sets the exchange of keys back.
    resets: bool,
    /// Takes it and keeps it not.
    forgets: Option<&'static str>,
    passwords: u32,
    written: Vec<&'static str>,
}

impl Meta {
    fn fresh() -> Self {
        Self {
            calling: json!({"status": "DISABLED"}),
            resets: true,
            forgets: None,
            passwords: 0,
            written: Vec::new(),
        }
    }

    fn shows(&self, password: bool) -> Value {
        let mut calling = self.calling.clone();
        if password && let Some(servers) = calling["sip"]["servers"].as_array_mut() {
            for server in servers {
                server["sip_user_password"] = json!(format!("password-{}", self.passwords));
            }
        }
        json!({ "calling": calling })
    }

    fn takes(&mut self, body: &Value) {
        for (name, value) in body["calling"].as_object().unwrap() {
            if self.forgets == Some(name) {
                continue;
            }
            if name == "sip" {
                if self.resets {
                    self.calling["srtp_key_exchange_protocol"] = json!("DTLS");
                }
                if value["servers"].as_array().is_some_and(|servers| servers.len() == 1) {
                    let known =
                        self.calling["sip"]["servers"].as_array().is_some_and(|list| !list.is_empty());
                    self.passwords += u32::from(!known);
                }
                for (name, value) in value.as_object().unwrap() {
                    self.calling["sip"][name] = value.clone();
                }
            } else {
                self.calling[name] = value.clone();
            }
        }
        for server in self.calling["sip"]["servers"].as_array_mut().into_iter().flatten() {
            server["app_id"] = json!("77");
        }
    }

    fn run(&mut self, desired: Desired, mode: Mode) -> Result<Outcome, Stopped> {
        let mut provision = Provision::new(desired, Some("77".to_owned()), mode);
        for _ in 0..20 {
            match provision.poll() {
                None => return provision.outcome(),
                Some(Ask::Read { password }) => provision.handle_settings(&self.shows(password)),
                Some(Ask::Write { what, body }) => {
                    self.takes(&body);
                    self.written.push(what);
                    provision.handle_written();
                }
            }
        }
        panic!("it never ends: {provision:?}");
    }
}

const SERVER: &str = "enable calling with the SIP server";
const OTHERS: &str = "callback permission, icon and hours";
const SRTP: &str = "how keys are exchanged, alone and last";

#[test]
fn a_fresh_number_is_set_up_server_first_and_keys_last_and_the_password_is_read() {
    let mut meta = Meta::fresh();
    let outcome = meta.run(desired(), Mode::Apply).unwrap();
    assert_eq!(meta.written, [SERVER, OTHERS, SRTP]);
    let drifts: Vec<_> = outcome.drifts.iter().map(|drift| drift.setting).collect();
    assert_eq!(
        drifts,
        ["sip.servers", "sip.status", "status", "callback_permission_status", "srtp_key_exchange_protocol"]
    );
    assert_eq!(outcome.password.unwrap().reveal(), "password-1");
    assert_eq!(meta.calling["srtp_key_exchange_protocol"], "SDES");
    let srtp = &outcome.plan[2];
    let body = json!({"calling": {"srtp_key_exchange_protocol": "SDES"}});
    assert_eq!(*srtp, Ask::Write { what: SRTP, body });

    // And again: nothing is left to do.
    meta.written.clear();
    let outcome = meta.run(desired(), Mode::Apply).unwrap();
    assert_eq!((meta.written.len(), outcome.drifts.len(), outcome.plan.len()), (0, 0, 0));
    assert_eq!(outcome.password.unwrap().reveal(), "password-1");
}

#[test]
fn keys_that_the_server_reset_are_written_again_although_they_did_not_differ_before() {
    let mut meta = Meta::fresh();
    meta.run(desired(), Mode::Apply).unwrap();
    meta.written.clear();
    let moved =
        Desired { server: Some(Server { hostname: "new.example.com".to_owned(), port: 5_061 }), ..desired() };
    let outcome = meta.run(moved, Mode::Apply).unwrap();
    assert_eq!(outcome.drifts.len(), 1);
    assert_eq!(meta.written, [SERVER, SRTP]);
    assert_eq!(meta.calling["srtp_key_exchange_protocol"], "SDES");
}

#[test]
fn looking_writes_nothing_and_says_what_would_be_written() {
    let mut meta = Meta::fresh();
    let outcome = meta.run(desired(), Mode::Look).unwrap();
    assert_eq!((meta.written.len(), outcome.plan.len(), outcome.drifts.len()), (0, 3, 5));
    assert!(outcome.password.is_none());
    assert_eq!(outcome.drifts[0].to_string(), "sip.servers is none, wanted is sip.example.com:5061");
}

#[test]
fn what_is_not_read_back_as_written_stops_everything_behind_it() {
    let mut meta = Meta { forgets: Some("callback_permission_status"), ..Meta::fresh() };
    let Stopped::NotKept(drift) = meta.run(desired(), Mode::Apply).unwrap_err() else { panic!() };
    assert_eq!(drift.setting, "callback_permission_status");
    assert_eq!(meta.written, [SERVER, OTHERS], "the keys come behind");
}

#[test]
fn a_password_is_rotated_by_disabling_everything_and_setting_it_up_anew() {
    let mut meta = Meta::fresh();
    meta.run(desired(), Mode::Apply).unwrap();
    meta.written.clear();
    let outcome = meta.run(desired(), Mode::Rotate).unwrap();
    let reset = "disable calling and take the SIP server away, so that a new password is made";
    assert_eq!(meta.written, [reset, SERVER, SRTP]);
    assert_eq!(outcome.password.unwrap().reveal(), "password-2");
    assert_eq!(outcome.drifts.len(), 0, "nothing differed before");
    assert!(!format!("{:?}", meta.run(desired(), Mode::Apply).unwrap()).contains("password-2"));

    let mut stubborn = Meta::fresh();
    stubborn.run(desired(), Mode::Apply).unwrap();
    stubborn.forgets = Some("sip");
    assert_eq!(stubborn.run(desired(), Mode::Rotate).unwrap_err(), Stopped::SamePassword);
    let graph = Desired { server: None, ..desired() };
    assert_eq!(Meta::fresh().run(graph, Mode::Rotate).unwrap_err(), Stopped::NoSip);
}

#[test]
fn a_number_of_graph_has_sip_disabled_and_no_password() {
    let mut meta = Meta::fresh();
    meta.run(desired(), Mode::Apply).unwrap();
    meta.written.clear();
    let graph = Desired { server: None, srtp: Protocol::Dtls, callback: None, icon: None, hours: None };
    let outcome = meta.run(graph, Mode::Apply).unwrap();
    assert_eq!(meta.written, ["enable calling without SIP"], "DTLS is what SIP was reset to");
    assert!(outcome.password.is_none());
    assert_eq!(meta.calling["sip"]["servers"].as_array().unwrap().len(), 1, "another app may use it");
}

#[test]
fn the_server_of_another_app_is_not_ours_and_ends_calls() {
    let shown = json!({"calling": {"status": "ENABLED", "sip": {"status": "ENABLED", "servers": [
        {"app_id": 12, "hostname": "sip.example.com", "port": 5_061}]}}});
    let found = Found::read(&shown).unwrap();
    let drifts = desired().drifts(&found, Some("77"));
    assert_eq!(drifts[0].to_string(), "sip.servers is none, wanted is sip.example.com:5061");
    assert_eq!(found.strangers(Some("77")).len(), 1);
    assert!(desired().drifts(&found, None).iter().all(|drift| drift.setting != "sip.servers"));
    assert_eq!(found.strangers(None).len(), 0);
}

#[test]
fn hours_are_the_same_in_whatever_order_and_words_meta_shows_them() {
    let opening = |from: &str, to: &str| Opening { from: from.to_owned(), to: to.to_owned() };
    let mut hours = CallHours { zone: "Asia/Kolkata".to_owned(), ..CallHours::default() };
    hours.week[0] = vec![opening("0900", "1230"), opening("1330", "1800")];
    hours.week[6] = vec![opening("1000", "1200")];
    hours.holidays = vec!["2026-12-25".to_owned()];
    let desired = Desired { hours: Some(hours), icon: Some(Icon::Hidden), callback: None, ..desired() };
    let mut shown = json!({"calling": {"status": "ENABLED", "call_icon_visibility": "DISABLE_ALL",
        "srtp_key_exchange_protocol": "SDES",
        "sip": {"status": "ENABLED", "servers": [{"hostname": "SIP.example.com"}]},
        "call_hours": {"status": "ENABLED", "timezone_id": "Asia/Kolkata", "weekly_operating_hours": [
            {"day_of_week": "SUNDAY", "open_time": "1000", "close_time": "1200"},
            {"day_of_week": "MONDAY", "open_time": "1330", "close_time": "1800"},
            {"day_of_week": "MONDAY", "open_time": "0900", "close_time": "1230"}],
            "holiday_schedule": [{"date": "2026-12-25", "open_time": "0000", "close_time": "2359"}]}}});
    let drifts = |shown: &Value| desired.drifts(&Found::read(shown).unwrap(), None);
    assert_eq!(drifts(&shown), []);
    shown["calling"]["call_hours"]["weekly_operating_hours"][0]["close_time"] = json!("1300");
    assert_eq!(drifts(&shown)[0].setting, "call_hours");
}

#[test]
fn a_reply_that_is_none_is_said_and_nothing_is_written() {
    for reply in [json!({}), json!({"calling": "x"}), json!(null), json!({"calling": []})] {
        let mut provision = Provision::new(desired(), None, Mode::Apply);
        provision.handle_settings(&reply);
        assert_eq!(provision.poll(), None);
        assert!(matches!(provision.outcome(), Err(Stopped::Unreadable(_))));
    }
    // Whatever is below it is read as far as it goes.
    let odd = json!({"calling": {"status": 1, "sip": [], "call_hours": 7, "restrictions": {"restrictions_list": [{}]}}});
    assert!(!Found::read(&odd).unwrap().enabled);
}

#[test]
fn the_report_says_what_is_missing_and_what_nobody_tells() {
    let shown = json!({"calling": {"status": "ENABLED", "srtp_key_exchange_protocol": "SDES",
        "sip": {"status": "ENABLED", "servers": []}, "restrictions": {"restrictions_list": [
            {"type": "RESTRICTED_BUSINESS_INITIATED_CALLING", "expiration": 2_000}]}}});
    let found = Found::read(&shown).unwrap();
    let node = Node::read(&json!({"quality_rating": "GREEN", "messaging_limit_tier": "TIER_1K",
        "health_status": {"entities": [
            {"entity_type": "PHONE_NUMBER", "can_receive_call_sip": "AVAILABLE"},
            {"entity_type": "APP", "can_receive_call_sip": "BLOCKED", "errors": [{"error_description": "bad name"}]}]}}));
    let desired = desired();
    let standing = Standing {
        desired: &desired,
        found: &found,
        node: Some(&node),
        days: None,
        country: Some("IN"),
        use_cases: None,
        caller_ids: 0,
        webhooks: true,
        gated: true,
        now: Wall::from_unix_ms(1_000_000),
    };
    let said = |standing: &Standing<'_>| {
        let facts = onboarding(standing);
        assert!(facts.iter().all(|fact| fact.remedy.is_none() == (fact.verdict == Verdict::Yes)));
        facts.iter().map(|fact| fact.verdict).collect::<Vec<_>>()
    };
    use Verdict::{No, Unknown, Yes};
    assert_eq!(said(&standing), [Yes, Yes, Yes, No, Unknown, No, No, Yes, Unknown, Unknown, Yes]);
    let facts = onboarding(&standing);
    assert_eq!(facts[3].seen, "PHONE_NUMBER: AVAILABLE, APP: BLOCKED (bad name)");
    assert!(facts[6].seen.contains("until 1970-01-01T00:33:20"), "{}", facts[6].seen);

    let known = Standing { use_cases: Some(2), caller_ids: 3, ..standing };
    assert_eq!(said(&known)[8..10], [Yes, Yes]);
    let later = Standing { node: None, country: Some("US"), now: Wall::from_unix_ms(3_000_000), ..standing };
    assert_eq!(said(&later)[3..8], [Unknown, Unknown, Unknown, Yes, No]);
    let red =
        Node { quality: Some("RED".to_owned()), tier: Some("TIER_UNLIMITED".to_owned()), ..Node::default() };
    assert_eq!(said(&Standing { node: Some(&red), ..standing })[3..6], [Unknown, No, Yes]);

    let days = |green, other, unknown, node| {
        let fact = onboarding(&Standing { days: Some(Seen { green, other, unknown }), node, ..standing })
            .swap_remove(4);
        (fact.verdict, fact.seen)
    };
    let (_, seen) = days(12, 0, 18, Some(&node));
    assert_eq!(
        seen,
        "Meta says GREEN today; seen GREEN on 12 of the last 30 days; unknown, for want of calls, on 18"
    );
    for (green, other, unknown, node, expected) in [
        (12, 0, 18, Some(&node), Unknown),
        (29, 0, 1, Some(&node), Unknown),
        (30, 0, 0, Some(&node), Yes),
        (30, 0, 0, None, Unknown),
        (30, 0, 0, Some(&red), No),
        (10, 1, 19, Some(&node), No),
    ] {
        assert_eq!(days(green, other, unknown, node).0, expected, "{green} {other} {unknown}");
    }
    assert_eq!(
        days(10, 1, 19, None).1,
        "quality_rating does not say; seen GREEN on 10 of the last 30 days; \
        not GREEN on 1; unknown, for want of calls, on 19"
    );
}
