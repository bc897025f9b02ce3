//! `kill -9` in the middle of a recorded call: what is on disk plays, and the next start is not in its way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use setu_twin::Person;
use setu_twin::agent::{Habits, PhoneAnswer};
use setu_twin::meta::{CallSpec, Event, UserSaw};

use crate::house::{CUSTOMER, CUSTOMER_HZ, House, NUMBER, NUMBER_PASSWORD, Ports};
use crate::peers::{tool, until};
use crate::sound::Sound;

const AGENT_HZ: u32 = 880;

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_plays_to_the_last_page_after_kill_9_and_the_bridge_starts_again() {
    let rest = format!(
        "[[numbers]]\nnumber = \"{NUMBER}\"\npassword = \"{NUMBER_PASSWORD}\"\nagents = [\"alice\"]\n\
         [[accounts]]\nname = \"alice\"\npassword = \"a\"\n"
    );
    let (house, mut bridge) = House::start(Ports::pick(), &rest);
    let edge = house.edge().await;
    let habits =
        Habits { answer: PhoneAnswer::AfterMs(100), person: Person::saying(AGENT_HZ), ..Habits::default() };
    let phone = house.phone("alice", "a", habits).await;
    let talk = |ms| CallSpec::new(CUSTOMER, NUMBER).by(Person::saying(CUSTOMER_HZ).hanging_up_after(ms));

    let mut events = edge.events();
    let call = edge.start_call(talk(60_000)).await.unwrap();
    while events.recv().await.unwrap() != Event::Answered(call) {}
    let answered = std::time::Instant::now();
    until("five seconds of talk", Duration::from_secs(10), || answered.elapsed() > Duration::from_secs(5));
    bridge.signal("KILL");
    assert!(!bridge.wait(Duration::from_secs(5)).success());
    let talked = answered.elapsed().as_secs_f64();

    let cut = recordings(&house.path("recordings"));
    let [cut] = cut.as_slice() else { panic!("one recording: {cut:?}") };
    // All that opusinfo misses is the mark of the end.
    let out = Command::new("opusinfo").arg(cut).output().unwrap();
    let info = String::from_utf8_lossy(&out.stdout);
    let warned: Vec<_> = info.lines().filter(|line| line.contains("WARNING")).collect();
    assert_eq!(warned, ["WARNING: EOS not set on stream 1 (normal for live streams)"], "{info}");
    plays(cut, talked - 1.5, talked + 0.5);
    let kept = fs::read(cut).unwrap();

    let mut bridge = house.serve();
    edge.hang_up(call).await.unwrap();
    until("Meta gives the lost call up", Duration::from_secs(45), || {
        std::iter::from_fn(|| events.try_recv().ok())
            .any(|event| event.ended().is_some_and(|r| r.call == call))
    });
    phone.register(Duration::from_secs(20)).await.unwrap();
    let report = edge.call(talk(2_000)).await.unwrap();
    assert_eq!((report.saw, report.violations), (UserSaw::Connected, vec![]));
    // The first is that of the call that was cut off.
    let cdr = house.cdrs(2).remove(1);
    let whole = cdr.recording.unwrap().path;
    assert!(!tool("opusinfo", &[&whole]).contains("WARNING"));
    plays(Path::new(&whole), 1.5, 2.5);
    assert_eq!(fs::read(cut).unwrap(), kept, "the cut recording is left as it was");
    bridge.signal("TERM");
    assert!(bridge.wait(Duration::from_secs(20)).success());
}

/// Every player reads the file to its end, and both tones are in it.
fn plays(path: &Path, least_s: f64, most_s: f64) {
    let name = path.to_string_lossy();
    let wav = path.with_extension("wav");
    tool("opusdec", &["--quiet", &name, &wav.to_string_lossy()]);
    for (file, decoder) in [(path, Some("libopus")), (path, Some("opus")), (&wav, None)] {
        for (channel, hz) in [(0, CUSTOMER_HZ), (1, AGENT_HZ)] {
            let sound = Sound::read(file, channel, decoder);
            assert!((least_s..most_s).contains(&sound.seconds()), "{} s of {least_s}", sound.seconds());
            let share = sound.share_at(f64::from(hz));
            assert!(share > 0.8, "{share:.2} of channel {channel} is {hz} Hz with {decoder:?}");
        }
    }
    fs::remove_file(wav).unwrap();
}

/// Every file below `folder`.
fn recordings(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { recordings(&path) } else { vec![path] }).collect()
}
