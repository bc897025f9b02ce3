//! A full disk: what is recorded and what is written of calls that go on all the same. The disk is a small tmpfs in a
//! mount namespace of the bridge's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use setu_model::{Cause, Cdr, Milestone};
use setu_store::CustomerNames;
use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer};
use setu_twin::meta::{CallReport, CallSpec, UserSaw};
use setu_twin::shell::EdgeHandle;

use crate::house::{CUSTOMER, CUSTOMER_HZ, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::{Process, until};
use crate::webhooks::{EXAMPLE, SECRET, post};

fn house() -> House {
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
         [[accounts]]\nname = \"alice\"\npassword = \"a\"\n"
    );
    House::new(Ports::pick(), &rest)
}

/// `setu serve`, which sees `folder` on a disk of `kib` KiB, once `before` was done there.
fn serve_on_small_disk(house: &House, folder: &str, kib: u32, before: &str) -> Command {
    fs::create_dir(house.path(folder)).unwrap();
    let serve = house.setu("serve");
    let script = format!(
        "mount -t tmpfs -o size={kib}k,mode=755 small \"$0\" && cd \"$0\" && {before} && exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .arg(house.path(folder))
        .arg(serve.get_program())
        .args(serve.get_args());
    command
}

/// A bridge that sees `folder` on a disk of `kib` KiB.
fn with_small_disk(folder: &str, kib: u32) -> (House, Process) {
    let house = house();
    let bridge = house.serve_by(&mut serve_on_small_disk(&house, folder, kib, "true"));
    (house, bridge)
}

/// How the bridge's process sees `path`.
fn inside(bridge: &Process, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", bridge.id(), path.display()))
}

fn agent() -> Habits {
    Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(880), ..Habits::default() }
}

/// A user's call that talks for `ms`, heard to its end.
async fn talk(edge: &EdgeHandle, ms: u64) -> CallReport {
    let spec = CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(ms));
    edge.call(spec).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_recording_but_not_the_call_and_is_told_once_in_log_and_record() {
    let (house, bridge) = with_small_disk("recordings", 16);
    let edge = house.edge().await;
    let _phone = house.phone("alice", "a", agent()).await;

    let report = talk(&edge, 6_000).await;
    assert_eq!((report.saw, report.violations), (UserSaw::Connected, vec![]));
    assert!(report.heard.last_audio_ms.unwrap() > 5_500, "{:?}", report.heard);

    let cdr = house.cdrs(1).remove(0);
    assert_eq!(cdr.termination.cause, Cause::Success);
    let why = cdr.recording_failure.unwrap();
    assert!(why.contains("No space left") && why.contains("free space"), "{why}");
    assert!(cdr.timeline.first(Milestone::RecordingFailed).is_some());
    let part = cdr.recording.unwrap();
    assert!((500..5_500).contains(&part.duration_ms), "{part:?}");
    assert_eq!(fs::metadata(inside(&bridge, Path::new(&part.path))).unwrap().len(), part.bytes);

    // The next call finds not even room for a file's first page.
    assert_eq!(talk(&edge, 500).await.saw, UserSaw::Connected);
    let cdr = house.cdrs(2).remove(1);
    assert_eq!((cdr.termination.cause, &cdr.recording), (Cause::Success, &None));
    assert!(cdr.recording_failure.is_some(), "{cdr:?}");

    let log = house.log();
    assert_eq!(log.matches("recording failed").count(), 2, "once for each call: {log}");
    assert_eq!(house.metric("setu_recordings_failed_total"), 2.0);
    assert_eq!(house.metric("setu_recordings_active"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_room_on_a_full_disk_and_none_is_lost() {
    let (house, mut bridge) = with_small_disk("cdr", 16);
    let edge = house.edge().await;
    let _phone = house.phone("alice", "a", agent()).await;
    let cdr = inside(&bridge, &house.path("cdr"));
    let filler = cdr.join("filler");
    // The last page is taken too, so that not even a part of a record fits.
    let mut full = fs::File::create(&filler).unwrap();
    until("the disk is full", Duration::from_secs(5), || {
        std::io::Write::write_all(&mut full, &[0; 1_024]).is_err()
    });
    drop(full);

    for _ in 0..2 {
        assert_eq!(talk(&edge, 300).await.saw, UserSaw::Connected);
    }
    until("the full disk is told", Duration::from_secs(10), || house.log().contains("cannot write CDRs"));
    until("both calls have ended", Duration::from_secs(10), || house.metric("setu_calls_active") == 0.0);
    assert_eq!(house.metric("setu_cdrs_written_total"), 0.0);
    fs::remove_file(&filler).unwrap();
    until("the records are written", Duration::from_secs(10), || {
        house.metric("setu_cdrs_written_total") == 2.0
    });
    let text = fs::read_to_string(cdr.join("cdr.jsonl")).unwrap();
    let records: Vec<Cdr> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    let log = house.log();
    assert_eq!(log.matches("cannot write CDRs").count(), 1, "{log}");
    assert!(log.contains("CDRs are written again"), "{log}");
    bridge.signal("TERM");
    assert!(bridge.wait(Duration::from_secs(20)).success());
}

#[test]
fn a_database_on_a_full_disk_keeps_the_bridge_from_starting_and_is_told_once() {
    let mut house = house();
    house.config.push_str("[store]\nfile = \"store/setu.db\"\n");
    let fill = "{ dd if=/dev/zero of=filler bs=1k 2>/dev/null || true; }";
    let out = serve_on_small_disk(&house, "store", 16, fill).env("SETU_LOG", "warn").output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("setu: store: ") && said.contains("full") && said.contains("free space"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn webhooks_that_are_acknowledged_after_the_disk_was_full_survive_a_kill() {
    let (mut house, at) = crate::webhooks::house();
    house.config.push_str("[store]\nfile = \"store/setu.db\"\n");
    let mut bridge = house.serve_by(&mut serve_on_small_disk(&house, "store", 3_072, "true"));
    let folder = inside(&bridge, &house.path("store"));
    let post = |n: usize| {
        let body = EXAMPLE.replace("CALL_ID", &format!("call-{n}")).replace("XXXXX", &"x".repeat(20_000));
        post(at, "/webhooks/whatsapp/call.connect", SECRET, &body).starts_with("HTTP/1.1 200 ")
    };
    assert!(post(0));
    let filler = folder.join("filler");
    let mut full = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut full, &[0; 1_024]).is_ok() {}
    drop(full);
    // What of the write-ahead log is there already may take a few more.
    let refused = (1..200).filter(|n| !post(*n)).take(4).count();
    assert_eq!(refused, 4, "{}", house.log());
    fs::remove_file(&filler).unwrap();
    until("there is room again", Duration::from_secs(20), || post(200));
    assert!((201..205).all(post), "{}", house.log());

    // As another process sees it, on another disk.
    bridge.signal("STOP");
    for name in ["setu.db", "setu.db-wal"] {
        fs::copy(folder.join(name), house.path(name)).unwrap();
    }
    bridge.signal("KILL");
    bridge.wait(Duration::from_secs(20));
    let kept = crate::durable::with_store(&house, async |store| {
        let names = CustomerNames { name: "wa:919876543210", other: "wa:919876543210" };
        store.pair(NUMBER, names, 1_000).await.unwrap()
    });
    for n in 200..205 {
        assert!(kept.iter().any(|(fact, _)| *fact == format!("tap:call-{n}")), "{n}: {}", kept.len());
    }
}
