//! The thread that writes. Only here do files and threads appear.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased, unbounded};
use setu_model::{CallId, RecordingRef, TapFrame, Wall};
use tracing::info;

use crate::{Muxer, Tags};

/// Where and how to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderConfig {
    /// The root of all recordings. Files go to `YYYY/MM/DD/<call id>.opus` below it, by UTC.
    pub folder: PathBuf,
    /// How many frames may wait for the writer. A packet thread that finds the queue full drops the frame.
    pub queue_frames: usize,
}

impl RecorderConfig {
    /// Records below `folder`, with a queue for 500 calls and more than a second of a slow disk: 64 Ki frames,
    /// at most some 20 MB.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), queue_frames: 65_536 }
    }
}

/// What became of a recording. Each one that was started ends with exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecorderEvent {
    /// The file is complete and on the disk.
    Finished {
        /// The call.
        call: CallId,
        /// Where it is.
        recording: RecordingRef,
    },
    /// The recording stopped; the call goes on.
    Failed {
        /// The call.
        call: CallId,
        /// What went wrong and what the operator can do, in one sentence.
        why: String,
        /// The playable part up to the failure, if there is one.
        partial: Option<RecordingRef>,
    },
}

/// The recorder cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be made or written.
    #[error(
        "recordings cannot be written to {folder}: {error}; create it and make the bridge's user its owner"
    )]
    Folder {
        /// The folder.
        folder: String,
        /// What the system says.
        error: io::Error,
    },
    /// The system gives no thread.
    #[error("no thread for the recorder: {0}")]
    Thread(io::Error),
}

/// The writer has stopped, or is so far behind that it takes no more commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the recorder takes no commands: the disk does not keep up")]
pub struct RecorderBusy;

/// The handle of the one thread that writes every recording.
///
/// Files are visible under their final name from the start and can be played while they grow. Each page is handed to
/// the system as soon as it is complete, so a `kill -9` costs less than half a second; at the end the file is synced
/// to the disk. Dropping the handle finishes what is open, like [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Recorder {
    commands: Sender<Command>,
    frames: Sender<TapFrame>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Checks that the folder can be written and starts the thread. `on_event` is called on that thread: it must
    /// hand the event on, not work on it.
    pub fn spawn(
        config: RecorderConfig,
        on_event: impl Fn(RecorderEvent) + Send + 'static,
    ) -> Result<Self, StartError> {
        probe(&config.folder)
            .map_err(|error| StartError::Folder { folder: config.folder.display().to_string(), error })?;
        // Bounded by `send`.
        let (commands, command_queue) = unbounded();
        let (frames, frame_queue) = bounded(config.queue_frames.max(1));
        let writer = Writer {
            folder: config.folder,
            commands: command_queue,
            frames: frame_queue,
            open: BTreeMap::new(),
            on_event: Box::new(on_event),
        };
        let thread = std::thread::Builder::new().name("setu-record".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(StartError::Thread)?;
        Ok(Self { commands, frames, thread: Some(thread) })
    }

    /// Begins the recording of `call`, before its tap is opened. `at` names the file's folder; `tags` are
    /// [`Tags::new`] or more.
    pub fn start(&self, call: CallId, at: Wall, tags: Tags) -> Result<(), RecorderBusy> {
        self.send(Command::Start { call, at, tags: Box::new(tags) })
    }

    /// Returns the queue for tapped frames. Send with `try_send`; tell [`dropped`](Self::dropped) what it refused.
    pub fn frames(&self) -> Sender<TapFrame> {
        self.frames.clone()
    }

    /// Adds `frames` to the count of those of `call` that did not get into the queue, for the [`RecordingRef`].
    pub fn dropped(&self, call: CallId, frames: u64) -> Result<(), RecorderBusy> {
        self.send(Command::Dropped { call, frames })
    }

    /// Ends the recording of `call`, which `lasted` so long since the tap was opened: every frame queued before this is
    /// in it. Taken however much waits, or its file would stay open: there is one stop for each start.
    pub fn stop(&self, call: CallId, lasted: Duration) -> Result<(), RecorderBusy> {
        self.send(Command::Stop { call, lasted })
    }

    /// Finishes every open recording and returns when the last is on the disk.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn send(&self, command: Command) -> Result<(), RecorderBusy> {
        let stops = matches!(command, Command::Stop { .. });
        if !stops && self.commands.len() >= QUEUED_COMMANDS {
            return Err(RecorderBusy);
        }
        self.commands.send(command).map_err(|_gone| RecorderBusy)
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A writer that is gone needs no command; one that panicked has said so on stderr.
            let _gone = self.commands.send(Command::Shutdown);
            let _panicked = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Debug)]
enum Command {
    Start { call: CallId, at: Wall, tags: Box<Tags> },
    Dropped { call: CallId, frames: u64 },
    Stop { call: CallId, lasted: Duration },
    Shutdown,
}

struct Writer {
    folder: PathBuf,
    commands: Receiver<Command>,
    frames: Receiver<TapFrame>,
    open: BTreeMap<CallId, Recording>,
    on_event: Box<dyn Fn(RecorderEvent) + Send>,
}

/// One call's file. A failed one stays until its stop, so that its frames are known to be nobody's.
enum Recording {
    Open { file: Box<OpenFile>, dropped: u64 },
    Failed,
}

impl Writer {
    fn run(mut self) {
        loop {
            // Commands first: a call's start comes before its first frame.
            let going = select_biased! {
                recv(self.commands) -> command => self.handle_command(command.unwrap_or(Command::Shutdown)),
                recv(self.frames) -> frame => frame.map_or(true, |frame| self.handle_frame(&frame)),
            };
            if !going {
                return;
            }
        }
    }

    fn handle_frame(&mut self, frame: &TapFrame) -> bool {
        // Its start may have been queued after the commands were looked at and before the frames were.
        while !self.open.contains_key(&frame.call) {
            let Ok(command) = self.commands.try_recv() else { break };
            if !self.handle_command(command) {
                return false;
            }
        }
        self.write(frame);
        true
    }

    fn handle_command(&mut self, command: Command) -> bool {
        match command {
            Command::Start { call, at, tags } => self.start(call, at, &tags),
            Command::Dropped { call, frames } => {
                if let Some(Recording::Open { dropped, .. }) = self.open.get_mut(&call) {
                    *dropped += frames;
                }
            }
            Command::Stop { call, lasted } => {
                self.drain_frames();
                self.finish(call, lasted);
            }
            Command::Shutdown => {
                self.drain_frames();
                let open: Vec<CallId> = self.open.keys().copied().collect();
                open.into_iter().for_each(|call| self.finish(call, Duration::ZERO));
                return false;
            }
        }
        true
    }

    /// Writes what was queued before a stop. Bounded by the queue's length: packet threads go on filling it.
    fn drain_frames(&mut self) {
        for _ in 0..self.frames.len() {
            match self.frames.try_recv() {
                Ok(frame) => self.write(&frame),
                Err(_empty) => return,
            }
        }
    }

    fn start(&mut self, call: CallId, at: Wall, tags: &Tags) {
        if self.open.contains_key(&call) {
            return;
        }
        let path = path_of(&self.folder, call, at);
        let opened = OpenFile::create(&path, tags).map_err(|error| why(&path, &error));
        let recording = match opened {
            Ok(file) => Recording::Open { file: Box::new(file), dropped: 0 },
            Err(why) => self.failed(call, why, None),
        };
        self.open.insert(call, recording);
    }

    /// Frames of a call that is not recorded are nobody's: the tap may run longer than the recording.
    fn write(&mut self, frame: &TapFrame) {
        let Some(Recording::Open { file, dropped }) = self.open.get_mut(&frame.call) else { return };
        if let Err(error) = file.push(frame) {
            let why = why(&file.path, &error);
            let partial = file.salvage(*dropped);
            let failed = self.failed(frame.call, why, partial);
            self.open.insert(frame.call, failed);
        }
    }

    fn finish(&mut self, call: CallId, lasted: Duration) {
        let Some(Recording::Open { mut file, dropped }) = self.open.remove(&call) else { return };
        match file.finish(lasted) {
            Ok(()) => {
                let recording = file.reference(dropped);
                info!(%call, path = recording.path, duration_ms = recording.duration_ms, "recording finished");
                (self.on_event)(RecorderEvent::Finished { call, recording });
            }
            Err(error) => {
                let why = why(&file.path, &error);
                let partial = file.salvage(dropped);
                self.failed(call, why, partial);
            }
        }
    }

    fn failed(&self, call: CallId, why: String, partial: Option<RecordingRef>) -> Recording {
        (self.on_event)(RecorderEvent::Failed { call, why, partial });
        Recording::Failed
    }
}

struct OpenFile {
    path: PathBuf,
    file: File,
    muxer: Muxer,
    /// Whole pages written so far, in bytes, and how long they play.
    bytes: u64,
    duration_ms: u64,
}

impl OpenFile {
    fn create(path: &Path, tags: &Tags) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        }
        // Never over an older recording, and for the operator's group at most.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
        let mut open =
            Self { path: path.to_owned(), file, muxer: Muxer::new(tags), bytes: 0, duration_ms: 0 };
        let headers = open.muxer.take_pages();
        open.write(&headers)?;
        Ok(open)
    }

    fn push(&mut self, frame: &TapFrame) -> io::Result<()> {
        self.muxer.push(frame);
        let pages = self.muxer.take_pages();
        self.write(&pages)
    }

    fn write(&mut self, pages: &[u8]) -> io::Result<()> {
        if !pages.is_empty() {
            self.file.write_all(pages)?;
            self.bytes += pages.len() as u64;
            self.duration_ms = self.muxer.duration_ms();
        }
        Ok(())
    }

    fn finish(&mut self, lasted: Duration) -> io::Result<()> {
        let last = self.muxer.finish(lasted);
        self.write(&last)?;
        self.file.sync_all()
    }

    /// Cuts a half-written page off and says what is left, if it is more than headers.
    fn salvage(&self, dropped: u64) -> Option<RecordingRef> {
        // On a broken disk this fails too; players stop at the last whole page all the same.
        let _best_effort = self.file.set_len(self.bytes).and_then(|()| self.file.sync_all());
        (self.duration_ms > 0).then(|| self.reference(dropped))
    }

    fn reference(&self, dropped: u64) -> RecordingRef {
        RecordingRef {
            path: self.path.display().to_string(),
            channels: 2,
            duration_ms: self.duration_ms,
            bytes: self.bytes,
            dropped_frames: dropped,
        }
    }
}

/// `folder/2026/11/30/01JDXYZ.opus`, by UTC.
fn path_of(folder: &Path, call: CallId, at: Wall) -> PathBuf {
    let text = at.to_string();
    let date = text.split_once('T').map_or("undated", |(date, _time)| date);
    let mut path = folder.to_owned();
    path.extend(date.split('-').filter(|part| !part.is_empty()));
    path.join(format!("{call}.opus"))
}

/// Makes the folder and tries a file in it.
fn probe(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    let path = folder.join(format!(".setu-probe-{}", std::process::id()));
    File::create(&path)?;
    fs::remove_file(&path)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
fn why(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space or move recording.folder",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make the folder writable for the bridge's user"
        }
        io::ErrorKind::AlreadyExists => "a file of that name is there already and was left alone",
        _ => "check the disk",
    };
    format!("{}: {error}; {remedy}", path.display())
}

/// Two commands a call: room for thousands of calls to begin and end while the disk stalls.
const QUEUED_COMMANDS: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use setu_model::TapChannel;

    use super::*;

    #[test]
    fn a_full_disk_ends_the_recording_once_names_the_remedy_and_spares_the_others() {
        let call = CallId::from_bits(7);
        let (tell, told) = channel();
        let mut writer = Writer {
            folder: PathBuf::new(),
            commands: bounded(1).1,
            frames: bounded(1).1,
            open: BTreeMap::new(),
            on_event: Box::new(move |event| tell.send(event).unwrap()),
        };
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let muxer = Muxer::new(&Tags::new(call, Wall::from_unix_ms(0)));
        let file = Box::new(OpenFile { path: "/dev/full".into(), file, muxer, bytes: 0, duration_ms: 0 });
        writer.open.insert(call, Recording::Open { file, dropped: 0 });
        for i in 0..100 {
            writer.write(&TapFrame {
                call,
                channel: TapChannel::Agent,
                sequence: i,
                timestamp: i * 960,
                passed_us: i * 20_000,
                payload: Box::new([0x48, 1, 2, 3]),
            });
        }
        writer.finish(call, Duration::ZERO);
        let events: Vec<_> = told.try_iter().collect();
        let [RecorderEvent::Failed { why, partial: None, .. }] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert!(why.contains("No space left") && why.contains("free space"), "{why}");
    }

    #[test]
    fn files_go_to_the_day_their_call_began_in_utc() {
        let call = CallId::from_bits(0);
        let at = Wall::from_unix_ms(1_700_000_000_000);
        assert_eq!(
            path_of(Path::new("/rec"), call, at).to_str(),
            Some("/rec/2023/11/14/00000000000000000000000000.opus")
        );
    }
}
