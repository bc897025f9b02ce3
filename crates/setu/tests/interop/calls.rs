//! One call at a time, with sound: who heard what, what was recorded, what the CDR says.

use std::path::Path;
use std::time::Duration;

use setu_model::{Cause, Cdr, Milestone, Side};
use setu_twin::Person;
use setu_twin::meta::{CallReport, CallSpec, UserSaw};

use crate::house::{CUSTOMER, CUSTOMER_HZ, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::{Asterisk, AsteriskSpec, Baresip, BaresipSpec, tool, until};
use crate::sound::Sound;

pub(crate) const AGENT_HZ: u32 = 880;
pub(crate) const TALK_MS: u64 = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn asterisk_answers_a_users_call_with_opus() {
    user_calls_asterisk("opus", "opus").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asterisk_answers_a_users_call_with_pcmu_only() {
    user_calls_asterisk("ulaw", "PCMU").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asterisk_answers_a_users_call_with_pcma_only() {
    user_calls_asterisk("alaw", "PCMA").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asterisk_answers_a_users_call_with_g722_only() {
    user_calls_asterisk("g722", "G722").await;
}

async fn user_calls_asterisk(allow: &str, codec: &str) {
    let ports = Ports::pick();
    let asterisk = Asterisk::start(&AsteriskSpec { allow, ..at(ports) });
    let codecs = "codecs = [\"opus\", \"g722\", \"pcmu\", \"pcma\"]\n";
    let (house, _bridge) = House::start(ports, &format!("{}{codecs}", trunk(asterisk.port)));
    let edge = house.edge().await;
    let spec = CallSpec {
        cta_payload: Some("order 4711".to_owned()),
        ..CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS))
    };
    let report = edge.call(spec).await.unwrap();
    assert_eq!(report.saw, UserSaw::Connected, "{report:?}\n{}\n{}", asterisk.log(), house.log());
    customer_was_served(&report);

    let cdr = house.cdrs(1).remove(0);
    assert_eq!(cdr.termination.cause, Cause::Success, "{cdr:?}");
    assert_eq!(cdr.facts.wacid.as_deref(), Some(&*report.wacid));
    assert!(cdr.meta_duration_s.is_some_and(|s| (4..=5).contains(&s)), "{cdr:?}");
    let agreed: Vec<_> = cdr.legs.iter().filter_map(|leg| leg.codec.as_deref()).collect();
    assert_eq!(agreed, ["opus", codec]);
    recording_holds_both_sides(&cdr);
    let log = asterisk.log();
    assert!(log.contains(&format!("customer={CUSTOMER}")), "no X-Setu-Customer in Asterisk's log:\n{log}");
    assert!(log.contains("wacid=wacid."), "no X-Setu-Wacid in Asterisk's log:\n{log}");
    until("asterisk has hung up", Duration::from_secs(5), || asterisk.channels() == 0);
    heard(&asterisk.heard(), CUSTOMER_HZ);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_pass_between_a_user_and_an_asterisk_that_tells_them_by_telephone_events() {
    for allow in ["opus", "ulaw"] {
        keys_pass("rfc4733", allow).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_pass_between_a_user_and_an_asterisk_that_tells_them_by_info() {
    keys_pass("info", "opus").await;
}

/// The customer presses 9 and the star, Asterisk 1 and the hash: each is heard once.
async fn keys_pass(dtmf_mode: &str, allow: &str) {
    let ports = Ports::pick();
    let asterisk = Asterisk::start(&AsteriskSpec { allow, dtmf_mode, ..at(ports) });
    let trunk = trunk(asterisk.port).replace("\"tone\"", "\"keys\"");
    let (house, _bridge) = House::start(ports, &format!("{trunk}dtmf = \"{dtmf_mode}\"\n"));
    let edge = house.edge().await;
    let customer = Person::saying(CUSTOMER_HZ).pressing(2_500, "9*").hanging_up_after(TALK_MS);
    let report = edge.call(CallSpec::new(CUSTOMER, NUMBER).by(customer)).await.unwrap();
    customer_was_served(&report);
    assert_eq!(report.heard.digits(), "1#", "{dtmf_mode} {allow}: {:?}", report.heard.dtmf);
    let what = || format!("the keys {} of Asterisk are 9*:\n{}", asterisk.keys(), asterisk.log());
    until(what, Duration::from_secs(5), || asterisk.keys() == "9*");
    let cdr = house.cdrs(1).remove(0);
    let digits = |side| -> String {
        cdr.digits
            .iter()
            .filter(|it| it.from == side)
            .map(|it| *it.digit.as_ref().unwrap().reveal())
            .collect()
    };
    assert_eq!((digits(Side::Agents), digits(Side::Meta)), ("1#".into(), "9*".into()), "{dtmf_mode} {allow}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_file_made_by_the_documented_command_is_announced_before_the_agent_is_heard() {
    let ports = Ports::pick();
    let asterisk = Asterisk::start(&at(ports));
    let announced =
        trunk(asterisk.port).replace("trunk = \"pbx\"", "trunk = \"pbx\"\nannouncement = \"consent.opus\"");
    let house = House::new(ports, &announced);
    let (from, to) = (house.path("consent.wav"), house.path("consent.opus"));
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    tool("ffmpeg", &["-f", "lavfi", "-i", "sine=frequency=600:duration=1.5", &from]);
    // As the refusal of any other file says.
    let command = setu_media::ClipError::REMEDY.split_once("ffmpeg ").unwrap().1;
    let command = command.split_whitespace().map(|word| match word {
        "IN" => &*from,
        "OUT.opus" => &*to,
        other => other,
    });
    tool("ffmpeg", &command.collect::<Vec<_>>());
    let _bridge = house.serve();
    let edge = house.edge().await;
    let spec = CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS));
    let report = edge.call(spec).await.unwrap();
    customer_was_served(&report);
    let heard = &report.heard;
    assert!((1_300..=1_700).contains(&heard.heard_ms(600.0, 10.0)), "{heard:?}");
    let agent = heard.tones.iter().find(|tone| (tone.hz - f64::from(AGENT_HZ)).abs() < 10.0).unwrap();
    assert!((1_300..=2_000).contains(&agent.from_ms), "after the announcement: {heard:?}");
    let cdr = house.cdrs(1).remove(0);
    let recorded = cdr.recording.as_ref().unwrap().duration_ms;
    assert!((2_200..=2_700).contains(&recorded), "from the end of the announcement on: {recorded} ms");
    let since = |what| cdr.timeline.first(what).unwrap();
    assert!(since(Milestone::Bridged) - since(Milestone::Answered) >= 1_400, "{cdr:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn asterisk_calls_a_user() {
    let ports = Ports::pick();
    let asterisk = Asterisk::start(&at(ports));
    let (house, _bridge) = House::start(ports, &trunk(asterisk.port));
    let edge = house.edge().await;
    let next = edge.next_business_call(Duration::from_secs(20));
    asterisk.cli(&format!("channel originate PJSIP/{CUSTOMER}@setu extension talk@from-setu"));
    let report = next.await.expect("the user's telephone saw a call");
    customer_was_served(&report);

    let cdr = house.cdrs(1).remove(0);
    assert_eq!(cdr.termination.cause, Cause::Success, "{cdr:?}");
    assert_eq!(cdr.facts.wacid.as_deref(), Some(&*report.wacid), "the BYE's wacid");
    recording_holds_both_sides(&cdr);
    until("asterisk has hung up", Duration::from_secs(5), || asterisk.channels() == 0);
    heard(&asterisk.heard(), CUSTOMER_HZ);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_baresip_answers_with_sdes_over_tls() {
    let ports = Ports::pick();
    let (house, _bridge) = House::start(
        ports,
        &format!(
            "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
             [[accounts]]\nname = \"alice\"\npassword = \"wonderland\"\n"
        ),
    );
    let mut phone = Baresip::start(&BaresipSpec {
        user: "alice",
        password: "wonderland",
        registrar: format!("127.0.0.1:{}", ports.tls),
        transport: "tls",
        account: ";mediaenc=srtp-mand;audio_codecs=opus/48000/2",
        rtcp_mux: false,
        tone_hz: AGENT_HZ,
    });
    let edge = house.edge().await;
    let spec = CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(TALK_MS));
    let report = edge.call(spec).await.unwrap();
    assert_eq!(report.saw, UserSaw::Connected, "{report:?}\n{}\n{}", phone.output(), house.log());
    customer_was_served(&report);

    let cdr = house.cdrs(1).remove(0);
    assert_eq!(cdr.termination.cause, Cause::Success, "{cdr:?}");
    let agent_leg = cdr.legs.iter().find(|leg| leg.index > 0).unwrap();
    assert_eq!(agent_leg.srtp.as_deref(), Some("AES_CM_128_HMAC_SHA1_80"));
    recording_holds_both_sides(&cdr);
    phone.end();
    heard(&phone.heard(), CUSTOMER_HZ);
}

/// An Asterisk that calls over UDP.
fn at(ports: Ports) -> AsteriskSpec<'static> {
    AsteriskSpec::new(format!("sip:127.0.0.1:{}", ports.udp), AGENT_HZ)
}

pub(crate) fn trunk(asterisk: u16) -> String {
    format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\ntrunk = \"pbx\"\nextension = \"tone\"\n\
         [[trunks]]\nname = \"pbx\"\npstn = false\nhost = \"127.0.0.1\"\nport = {asterisk}\nnetworks = [\"127.0.0.1/32\"]\n\
         number = \"{NUMBER}\"\nshare_ports = true\n"
    )
}

/// The customer heard the agent's tone in one unbroken stream, and the bridge broke none of Meta's rules.
pub(crate) fn customer_was_served(report: &CallReport) {
    let heard = &report.heard;
    assert_eq!(report.saw, UserSaw::Connected, "{report:?}");
    assert_eq!(report.violations, [], "{report:?}");
    assert!(heard.hz.is_some_and(|hz| (hz - f64::from(AGENT_HZ)).abs() < 10.0), "{heard:?}");
    assert_eq!((heard.ssrcs.len(), heard.sequence_jumps), (1, 0), "{heard:?}");
    // Where a source takes over, the time stamp advances by the time that passed, which may be more than a packet.
    assert!(heard.timestamp_jumps <= 4, "{heard:?}");
    assert_eq!((heard.ptime_violations, heard.srtp_failures), (0, 0), "{heard:?}");
}

pub(crate) fn heard(wav: &Path, hz: u32) {
    let sound = Sound::read(wav, 0, None);
    assert!(sound.loud_seconds() > 2.0, "{} has {} s of sound", wav.display(), sound.loud_seconds());
    let share = sound.share_at(f64::from(hz));
    assert!(share > 0.8, "{share:.2} of {} is {hz} Hz", wav.display());
}

/// The customer's tone left, the agent's right, in every player; the length of the call to 40 ms.
pub(crate) fn recording_holds_both_sides(cdr: &Cdr) {
    let recording = cdr.recording.as_ref().expect("a recording");
    let path = Path::new(&recording.path);
    let info = tool("opusinfo", &[&recording.path]);
    assert!(!info.contains("WARNING"), "{info}");
    let wav = path.with_extension("wav");
    tool("opusdec", &["--quiet", &recording.path, &wav.to_string_lossy()]);
    let seconds = cdr.duration_ms as f64 / 1_000.0;
    for (file, decoder) in [(path, Some("libopus")), (path, Some("opus")), (&wav, None)] {
        for (channel, hz) in [(0, CUSTOMER_HZ), (1, AGENT_HZ)] {
            let sound = Sound::read(file, channel, decoder);
            let share = sound.share_at(f64::from(hz));
            assert!(share > 0.8, "{share:.2} of channel {channel} is {hz} Hz with {decoder:?}");
            assert!(
                (sound.seconds() - seconds).abs() < 0.04,
                "{:.3} s recorded of a call of {seconds:.3} s, {decoder:?}",
                sound.seconds()
            );
        }
    }
}
