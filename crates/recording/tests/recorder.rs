//! The writer thread and its files.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use setu_model::{CallId, TapChannel, TapFrame, Wall};
use setu_recording::{Recorder, RecorderConfig, RecorderEvent, StartError, Tags};

fn spawn(folder: &Path) -> (Recorder, Receiver<RecorderEvent>) {
    let (tell, told) = channel();
    let recorder = Recorder::spawn(RecorderConfig::new(folder), move |event| {
        let _test_over = tell.send(event);
    });
    (recorder.unwrap(), told)
}

fn at() -> Wall {
    Wall::from_unix_ms(1_795_000_000_000)
}

fn other_call(bits: u128) -> CallId {
    CallId::from_bits(call().bits() + bits)
}

fn start(recorder: &Recorder, call: CallId) {
    recorder.start(call, at(), Tags::new(call, at())).unwrap();
}

fn frames_of(call: CallId) -> Vec<TapFrame> {
    let customer = side(TapChannel::Customer, &tone(CUSTOMER_HZ, 100, 20, 1), 20);
    let agent = side(TapChannel::Agent, &tone(AGENT_HZ, 100, 20, 1), 20);
    let mut frames = [customer, agent].concat();
    frames.iter_mut().for_each(|frame| frame.call = call);
    frames.sort_by_key(|frame| frame.passed_us);
    frames
}

fn next(told: &Receiver<RecorderEvent>) -> RecorderEvent {
    told.recv_timeout(Duration::from_secs(30)).expect("an event")
}

#[test]
fn a_call_becomes_one_file_under_its_day_that_holds_both_tones() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, told) = spawn(folder.path());
    start(&recorder, call());
    frames_of(call()).into_iter().for_each(|frame| recorder.frames().send(frame).unwrap());
    recorder.dropped(call(), 3).unwrap();
    recorder.stop(call(), Duration::ZERO).unwrap();
    let RecorderEvent::Finished { call: of, recording } = next(&told) else { panic!("it failed") };
    let path = folder.path().join("2026/11/18").join(format!("{}.opus", call()));
    let file = std::fs::read(&path).unwrap();
    assert_eq!((of, recording.path.as_str()), (call(), path.to_str().unwrap()));
    assert_eq!((recording.channels, recording.duration_ms, recording.dropped_frames), (2, 2_000, 3));
    assert_eq!(recording.bytes, file.len() as u64);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0, "not for others");
    let (left, right) = decode(&file);
    assert_two_tones(&left, &right, "the recorder");
}

#[test]
fn a_growing_file_can_be_played_before_its_call_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, told) = spawn(folder.path());
    start(&recorder, call());
    frames_of(call()).into_iter().for_each(|frame| recorder.frames().send(frame).unwrap());
    // The stop of another call comes back when every frame before it is written.
    start(&recorder, other_call(1));
    recorder.stop(other_call(1), Duration::ZERO).unwrap();
    next(&told);
    let path = folder.path().join("2026/11/18").join(format!("{}.opus", call()));
    // What `kill -9` would leave: all but the open page and the reorder time.
    assert!(streams(&std::fs::read(path).unwrap()).len() >= 80);
}

#[test]
fn shutdown_finishes_every_open_recording() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, told) = spawn(folder.path());
    let calls: Vec<_> = (0..5).map(other_call).collect();
    calls.iter().for_each(|call| start(&recorder, *call));
    for call in &calls {
        frames_of(*call).into_iter().for_each(|frame| recorder.frames().send(frame).unwrap());
    }
    recorder.shutdown();
    let lengths: Vec<_> = told
        .iter()
        .map(|event| match event {
            RecorderEvent::Finished { call, recording } => (call, recording.duration_ms),
            RecorderEvent::Failed { why, .. } => panic!("{why}"),
        })
        .collect();
    assert_eq!(lengths, calls.into_iter().map(|call| (call, 2_000)).collect::<Vec<_>>());
}

#[test]
fn a_recording_that_cannot_be_written_fails_once_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, told) = spawn(folder.path());
    let day = folder.path().join("2026/11/18");
    std::fs::create_dir_all(&day).unwrap();
    let taken = day.join(format!("{}.opus", call()));
    std::fs::write(&taken, "older").unwrap();
    start(&recorder, call());
    let RecorderEvent::Failed { call: of, why, partial } = next(&told) else { panic!("it was overwritten") };
    assert_eq!((of, partial), (call(), None));
    assert!(why.contains("left alone") && why.contains(taken.to_str().unwrap()), "{why}");
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "older");

    start(&recorder, other_call(1));
    frames_of(call()).into_iter().for_each(|frame| recorder.frames().send(frame).unwrap());
    recorder.stop(call(), Duration::ZERO).unwrap();
    recorder.stop(other_call(1), Duration::ZERO).unwrap();
    assert!(matches!(next(&told), RecorderEvent::Finished { call, .. } if call == other_call(1)));
    recorder.shutdown();
    assert!(told.recv().is_err(), "one event for each recording");
}

#[test]
fn a_file_that_cannot_be_made_fails_the_recording_and_names_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, told) = spawn(folder.path());
    let month = folder.path().join("2026/11");
    std::fs::create_dir_all(&month).unwrap();
    std::fs::write(month.join("18"), "in the way of the day's folder").unwrap();
    start(&recorder, call());
    let RecorderEvent::Failed { why, .. } = next(&told) else { panic!("it was written") };
    assert!(why.contains(".opus: ") && why.contains("; "), "{why}");
}

#[test]
fn a_folder_that_cannot_be_written_is_found_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Recorder::spawn(RecorderConfig::new(file.join("below")), |_| {}).unwrap_err();
    assert!(matches!(error, StartError::Folder { .. }));
    assert!(error.to_string().contains("make the bridge's user its owner"), "{error}");
}

#[test]
fn a_full_queue_refuses_frames_instead_of_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (hold, held) = channel::<()>();
    let (tell, told) = channel();
    let config = RecorderConfig { queue_frames: 4, ..RecorderConfig::new(folder.path()) };
    let recorder = Recorder::spawn(config, move |event| {
        let _test_over = tell.send(event);
        // The writer stands still here until the test lets it go.
        let _let_go = held.recv();
    });
    let recorder = recorder.unwrap();
    start(&recorder, other_call(1));
    recorder.stop(other_call(1), Duration::ZERO).unwrap();
    next(&told);
    let queue = recorder.frames();
    let taken =
        frames_of(call()).into_iter().take(10).filter(|frame| queue.try_send(frame.clone()).is_ok()).count();
    assert_eq!(taken, 4);
    drop(hold);
}

/// Or its file would stay open for as long as the bridge runs.
#[test]
fn a_recording_is_stopped_however_much_waits_for_a_disk_that_stalls() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, told) = channel();
    let stalled = Arc::new(Mutex::new(()));
    let gate = Arc::clone(&stalled);
    let recorder = Recorder::spawn(RecorderConfig::new(folder.path()), move |event| {
        let _test_over = tell.send(event);
        drop(gate.lock());
    });
    let recorder = recorder.unwrap();
    let tags = |call| Tags::new(call, at());
    for call in [other_call(0), other_call(1)] {
        recorder.start(call, at(), tags(call)).unwrap();
    }

    let held = stalled.lock().unwrap();
    recorder.stop(other_call(0), Duration::ZERO).unwrap();
    told.recv().unwrap();
    while recorder.dropped(other_call(1), 1).is_ok() {}
    recorder.start(other_call(2), at(), tags(other_call(2))).unwrap_err();
    recorder.stop(other_call(1), Duration::ZERO).unwrap();
    drop(held);
    let RecorderEvent::Finished { call, recording } = told.recv().unwrap() else { panic!("not finished") };
    assert_eq!(call, other_call(1));
    assert!(recording.dropped_frames > 0, "what was told before the stop counts");
}
