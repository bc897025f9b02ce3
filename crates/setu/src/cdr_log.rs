//! Where CDRs go: one JSON object a line, appended by a thread of its own, kept until it is on disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use setu_model::Cdr;

/// The thread that appends CDRs to a file.
#[derive(Debug)]
pub(crate) struct CdrLog {
    queue: Option<Sender<Box<Cdr>>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl CdrLog {
    /// Opens `path` for appending and starts the thread. `on_written` is told of each record that is on disk.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub(crate) fn open(path: &Path, on_written: impl Fn(&Cdr) + Send + 'static) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = append_to(path)?;
        end_torn_line(&mut file, path)?;
        let (queue, records) = bounded(QUEUE);
        let closing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            path: path.to_owned(),
            file,
            outage: None,
            closing: Arc::clone(&closing),
            on_written: Box::new(on_written),
        };
        let thread =
            std::thread::Builder::new().name("setu-cdr".to_owned()).spawn(move || writer.run(&records))?;
        Ok(Self { queue: Some(queue), closing, thread: Some(thread) })
    }

    /// Hands over one record. Blocks only if the disk has refused everything for [`QUEUE`] calls.
    pub(crate) fn write(&self, cdr: Box<Cdr>) {
        if let Some(queue) = &self.queue
            && let Err(back) = queue.send(cdr)
        {
            tracing::error!(call = %back.0.call, "the CDR thread is gone, this record is lost");
        }
    }

    /// Writes what is still queued and ends the thread.
    pub(crate) fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.closing.store(true, Ordering::Release);
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the CDR thread panicked");
        }
    }
}

impl Drop for CdrLog {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Records that may wait for a disk that refuses them: an hour of calls at three a second.
const QUEUE: usize = 10_000;

/// How long to wait before the disk is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often the log is told of a disk that goes on refusing.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// How often a record is tried before shutdown gives it up to the log.
const LAST_TRIES: u32 = 3;

struct Writer {
    path: PathBuf,
    file: File,
    /// When the log was last told that the disk refuses records; none while it takes them.
    outage: Option<Instant>,
    closing: Arc<AtomicBool>,
    on_written: Box<dyn Fn(&Cdr) + Send>,
}

impl Writer {
    fn run(mut self, records: &Receiver<Box<Cdr>>) {
        for cdr in records {
            let mut line = match serde_json::to_vec(&cdr) {
                Ok(line) => line,
                Err(error) => {
                    tracing::error!(call = %cdr.call, %error, "a CDR cannot be written as JSON");
                    continue;
                }
            };
            line.push(b'\n');
            if self.keep_trying(&line, records) {
                (self.on_written)(&cdr);
            }
        }
    }

    /// Whether the line is on disk in the end. Only shutdown gives up, and then the line is in the log.
    fn keep_trying(&mut self, line: &[u8], waiting: &Receiver<Box<Cdr>>) -> bool {
        // Waited on for its timeout only.
        let (_never, pause) = bounded::<()>(0);
        let mut last_tries = 0;
        while let Err(error) = self.append(line) {
            if self.outage.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
                self.outage = Some(Instant::now());
                tracing::error!(
                    path = %self.path.display(), %error, waiting = waiting.len() + 1,
                    "cannot write CDRs; make room or mend the permissions, they are kept and tried again"
                );
            }
            if self.closing.load(Ordering::Acquire) {
                last_tries += 1;
                if last_tries == LAST_TRIES {
                    tracing::error!(record = %String::from_utf8_lossy(line).trim_end(), "a CDR was not written");
                    return false;
                }
            }
            let _ = pause.recv_timeout(RETRY);
        }
        if self.outage.take().is_some() {
            tracing::info!(path = %self.path.display(), waiting = waiting.len(), "CDRs are written again");
        }
        true
    }

    /// Appends one whole line and syncs it. After a failure a torn line is taken back and the file is opened again.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Take a torn line back, so that the next try leaves whole lines only.
            let _ = self.file.set_len(before);
            self.file = append_to(&self.path)?;
        }
        written
    }
}

/// For the operator's group at most: records name people.
fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Ends the half line that a crash left, so that the first new record is not lost in it.
fn end_torn_line(file: &mut File, path: &Path) -> io::Result<()> {
    // A pipe or device has no past.
    let length = file.metadata().map(|meta| if meta.is_file() { meta.len() } else { 0 })?;
    if length == 0 {
        return Ok(());
    }
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, length - 1)?;
    if last != *b"\n" {
        tracing::warn!(path = %path.display(), "the last CDR was cut by a crash; its part is left in a line of its own");
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use setu_model::{CallId, Direction};

    use super::*;
    use crate::durable::tests::cdr as cdr_of;

    fn cdr(n: u128) -> Box<Cdr> {
        Box::new(Cdr { call: CallId::from_bits(n), ..cdr_of(Direction::UserInitiated) })
    }

    #[test]
    fn records_are_appended_one_a_line_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/cdr.jsonl");
        for n in [1, 2] {
            let log = CdrLog::open(&path, |_| ()).unwrap();
            log.write(cdr(n));
            log.close();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Vec<Cdr> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(read, [*cdr(1), *cdr(2)]);
    }

    #[test]
    fn a_line_that_a_crash_tore_does_not_spoil_the_next_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cdr.jsonl");
        std::fs::write(&path, "{\"call\":\"01").unwrap();
        let log = CdrLog::open(&path, |_| ()).unwrap();
        log.write(cdr(1));
        log.close();
        let text = std::fs::read_to_string(&path).unwrap();
        let [torn, whole] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert_eq!(torn, "{\"call\":\"01");
        assert_eq!(serde_json::from_str::<Cdr>(whole).unwrap(), *cdr(1));
    }

    #[test]
    fn records_name_people_and_are_for_the_operators_group_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cdr.jsonl");
        CdrLog::open(&path, |_| ()).unwrap().close();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{mode:o}");
    }

    #[test]
    fn a_full_disk_is_told_and_does_not_hang_shutdown() {
        let (told, written) = bounded(1);
        let log = CdrLog::open(Path::new("/dev/full"), move |_| told.send(()).unwrap()).unwrap();
        log.write(cdr(1));
        log.close();
        assert!(written.try_recv().is_err(), "a record was said to be written on a full disk");
    }
}
