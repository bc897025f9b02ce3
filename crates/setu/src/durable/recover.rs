//! Calls that were alive when the bridge before stopped without a word: each gets its one record, in the database and in the
//! CDR file, whichever of the two has it already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use setu_control::Metrics;
use setu_model::Cdr;
use setu_store::{Kept, Store, StoreFault, Unfinished};
use tokio::sync::{mpsc, watch};

use super::prune::before;
use super::rows;
use super::unfinished::interrupted;
use crate::bridge::now;
use crate::driver::Input;
use crate::events::Audience;
use crate::pricing::Prices;

/// What gives cut-off calls their records.
#[derive(Debug, Clone)]
pub(super) struct Recovery {
    pub(super) store: Arc<Store>,
    /// Whose calls are finished.
    pub(super) owner: String,
    /// The CDR file.
    pub(super) file: PathBuf,
    pub(super) audience: watch::Receiver<Audience>,
    pub(super) prices: Prices,
    pub(super) metrics: Arc<Metrics>,
}

impl Recovery {
    /// Finishes in the database what this bridge left behind when it stopped, and what others did that share the database and
    /// are gone. To be called before any call is taken. Returns the records that the CDR file lacks: once they are in it, and
    /// that is told, nothing is left.
    ///
    /// # Errors
    /// The database cannot be used; what is not done is done at the next start.
    pub(super) async fn all(&self) -> Result<Vec<Cdr>, StoreFault> {
        self.store.inherit(&self.owner, before(now().wall, GONE)).await?;
        self.finish(self.store.unfinished(&self.owner, MOST).await?).await
    }

    /// The same for those of others only, while calls of our own live.
    async fn inherited(&self) -> Result<Vec<Cdr>, StoreFault> {
        let calls = self.store.inherit(&self.owner, before(now().wall, GONE)).await?;
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let mut left = self.store.unfinished(&self.owner, MOST).await?;
        left.retain(|one| calls.contains(&one.call));
        self.finish(left).await
    }

    /// Looks for bridges that are gone, again and again; tells the driver what the CDR file is to have.
    pub(super) async fn run(self, inputs: mpsc::WeakSender<Input>) {
        let mut looking = tokio::time::interval(GONE / 2);
        // The first time was at the start.
        looking.tick().await;
        loop {
            looking.tick().await;
            match self.inherited().await {
                Ok(lacking) => {
                    let Some(inputs) = inputs.upgrade() else { return };
                    for cdr in lacking {
                        // The driver ends only with the bridge.
                        let _ = inputs.send(Input::Recovered(Box::new(cdr))).await;
                    }
                }
                Err(fault) => {
                    self.metrics.store_failed();
                    tracing::error!(%fault, "calls of bridges that are gone cannot be finished; this is tried again");
                }
            }
        }
    }

    async fn finish(&self, left: Vec<Unfinished>) -> Result<Vec<Cdr>, StoreFault> {
        if left.is_empty() {
            return Ok(Vec::new());
        }
        let Self { store, file, prices, metrics, .. } = self;
        let audience = self.audience.borrow().clone();
        let calls = left.iter().map(|one| one.call.as_str()).collect();
        let filed = filed(file, &calls).unwrap_or_else(|error| {
            tracing::warn!(path = %file.display(), %error, "the CDR file cannot be read: a record may be in it twice");
            BTreeMap::new()
        });
        let (mut lacking, mut kept) = (Vec::new(), Kept::default());
        let mut count = 0_usize;
        for Unfinished { call, record, seen, recorded } in &left {
            let in_file = filed.get(call);
            let known = in_file.or(recorded.as_ref());
            let cdr: Cdr = match serde_json::from_str(known.unwrap_or(record)) {
                Ok(cdr) => cdr,
                Err(error) => {
                    tracing::error!(call, %error, "what is known of a call that was cut off cannot be read; it has no record");
                    continue;
                }
            };
            let cdr = if known.is_some() {
                cdr
            } else {
                let mut cdr = interrupted(cdr, *seen);
                cdr.cost = prices.price(&cdr);
                metrics.call_ended(cdr.direction, cdr.termination.cause);
                count += 1;
                cdr
            };
            if recorded.is_none() {
                match rows::record(&cdr, now().wall, &audience) {
                    Ok(row) => kept.cdrs.push(row),
                    Err(error) => tracing::error!(call, %error, "a CDR cannot be written as JSON"),
                }
            }
            if in_file.is_some() {
                kept.filed.push(call.clone());
            } else {
                lacking.push(cdr);
            }
            if kept.cdrs.len() + kept.filed.len() >= BATCH {
                store.keep(&std::mem::take(&mut kept)).await?;
            }
        }
        store.keep(&kept).await?;
        if count > 0 {
            tracing::warn!(calls = count, "calls were cut off when the bridge stopped; their records say so");
        }
        Ok(lacking)
    }
}

/// The records of these calls at the end of the file, by call.
fn filed(path: &Path, calls: &BTreeSet<&str>) -> io::Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Named {
        call: String,
    }
    let mut found = BTreeMap::new();
    let mut file = match File::open(path) {
        Ok(file) if file.metadata()?.is_file() => file,
        // A pipe or device has no past.
        Ok(_) => return Ok(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        // The first line may be cut by where reading began, and others by a crash.
        let Ok(Named { call }) = serde_json::from_slice(&line) else { continue };
        if calls.contains(call.as_str())
            && let Ok(line) = String::from_utf8(line)
        {
            found.insert(call, line);
        }
    }
    Ok(found)
}

/// How long a bridge that shares the database may say nothing before its calls are taken for cut off: twelve pulses.
const GONE: Duration = Duration::from_secs(60);

/// The most calls that are finished at one start; what is beyond it waits for the next.
const MOST: usize = 65_536;

/// Rows of one transaction.
const BATCH: usize = 256;

/// How much of the CDR file is looked at, in bytes: more than the records that may wait for the database.
const TAIL: u64 = 64 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use setu_model::{CallId, Cause, Direction, Wall};
    use setu_store::{CdrQuery, Location, UnfinishedRow};

    use super::*;
    use crate::config::EventKind;
    use crate::durable::tests::cdr;

    fn call(n: u128) -> Cdr {
        Cdr { call: CallId::from_bits(n), ..cdr(Direction::UserInitiated) }
    }

    fn row(cdr: &Cdr) -> UnfinishedRow {
        let record = serde_json::to_string(cdr).unwrap();
        UnfinishedRow { call: cdr.call.to_string(), began: cdr.began, record }
    }

    /// Whoever stops the machine can bring this about, at any moment of what is done at the end of a call or here.
    #[tokio::test]
    async fn wherever_a_kill_falls_each_call_has_one_record_in_the_database_and_one_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = Location::Sqlite(folder.path().join("setu.db"));
        let store = Arc::new(Store::open(&at).await.unwrap());
        let path = folder.path().join("cdr.jsonl");
        let kinds = std::collections::BTreeSet::from([EventKind::CallEnded]);
        let audience = Audience(vec![("crm".to_owned(), kinds)]);
        // Of four calls that were alive as far as the database knows, one was; the others' records are in one place or both.
        let [alive, only_here, only_there, both] = [1, 2, 3, 4].map(call);
        let written = |cdr: &Cdr| rows::record(cdr, Wall::from_unix_ms(9), &audience).unwrap();
        let left = Kept {
            unfinished: [&alive, &only_here, &only_there, &both].map(row).into(),
            owner: "here".to_owned(),
            pulse: Some(Wall::from_unix_ms(8_000)),
            ..Kept::default()
        };
        store.keep(&left).await.unwrap();
        store
            .keep(&Kept { cdrs: vec![written(&only_here), written(&both)], ..Kept::default() })
            .await
            .unwrap();
        let mut file = File::create(&path).unwrap();
        for cdr in [&only_there, &both] {
            writeln!(file, "{}", serde_json::to_string(cdr).unwrap()).unwrap();
        }
        write!(file, "{{\"call\":\"torn").unwrap();

        let recovery = Recovery {
            store: Arc::clone(&store),
            owner: "here".to_owned(),
            file: path.clone(),
            audience: watch::Sender::new(audience.clone()).subscribe(),
            prices: Prices::default(),
            metrics: Arc::new(Metrics::new()),
        };
        let recover = async || recovery.all().await.unwrap();
        assert_eq!(recovery.inherited().await.unwrap(), [], "they are our own, and may live");
        let first = recover().await;
        let of = |cdrs: &[Cdr]| cdrs.iter().map(|cdr| (cdr.call, cdr.termination.cause)).collect::<Vec<_>>();
        assert_eq!(of(&first), [(alive.call, Cause::Interrupted), (only_here.call, Cause::NoAnswer)]);
        assert_eq!(first[0].ended, Wall::from_unix_ms(8_000));
        // It is killed before these are in the file: they are found again, and nothing is made twice.
        assert_eq!(recover().await, first);
        let query = CdrQuery { most: 10, ..CdrQuery::default() };
        let records = store.cdrs(&query).await.unwrap();
        assert_eq!(records.len(), 4);
        assert!(records.iter().all(|record| record.revision == 1), "{records:?}");
        assert_eq!(store.outbox_count().await.unwrap().waiting, 4, "each end is told once");

        writeln!(file).unwrap();
        for cdr in &first {
            writeln!(file, "{}", serde_json::to_string(cdr).unwrap()).unwrap();
        }
        assert_eq!(recover().await, []);
        assert_eq!(store.unfinished("here", 10).await.unwrap(), []);
        store.close().await;
    }

    /// Two bridges of one database, or one that comes up under another name.
    #[tokio::test]
    async fn calls_of_a_bridge_that_runs_elsewhere_are_left_alone_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let at = Location::Sqlite(folder.path().join("setu.db"));
        let store = Arc::new(Store::open(&at).await.unwrap());
        let recovery = Recovery {
            store: Arc::clone(&store),
            owner: "here".to_owned(),
            file: folder.path().join("cdr.jsonl"),
            audience: watch::Sender::new(Audience::default()).subscribe(),
            prices: Prices::default(),
            metrics: Arc::new(Metrics::new()),
        };
        let lives = |owner: &str, cdr: &Cdr, pulse: Wall| Kept {
            owner: owner.to_owned(),
            unfinished: vec![row(cdr)],
            pulse: Some(pulse),
            ..Kept::default()
        };
        let runs = now().wall;
        store.keep(&lives("elsewhere", &call(1), runs)).await.unwrap();
        store.keep(&lives("here", &call(2), runs)).await.unwrap();
        assert_eq!(recovery.inherited().await.unwrap(), []);
        store.keep(&lives("elsewhere", &call(3), before(runs, GONE * 2))).await.unwrap();
        let mut ended: Vec<_> = recovery.inherited().await.unwrap().into_iter().map(|cdr| cdr.call).collect();
        ended.sort_unstable();
        assert_eq!(ended, [call(1).call, call(3).call]);
        let records = store.cdrs(&CdrQuery { most: 10, ..CdrQuery::default() }).await.unwrap();
        assert_eq!(records.len(), 2, "a call of our own lives");
        store.close().await;
    }

    #[test]
    fn a_file_that_is_none_has_no_records() {
        let none = BTreeMap::new();
        let calls = BTreeSet::from(["01"]);
        assert_eq!(filed(Path::new("/dev/null"), &calls).unwrap(), none);
        assert_eq!(filed(Path::new("/nowhere/at/all"), &calls).unwrap(), none);
    }
}
