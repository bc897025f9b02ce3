//! What the driver wants kept: written by a task of its own, tried until it is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use setu_call::Progress;
use setu_control::Metrics;
use setu_model::{CallId, Cdr, Wall};
use setu_store::{CustomerNames, Kept, Revision, Store, StoreFault, Unreconciled};
use setu_whatsapp::campaign::{Campaigns, Contact};
use setu_whatsapp::permission::PairLedger;
use setu_whatsapp::quality::Light;
use tokio::sync::{mpsc, oneshot, watch};

use super::unfinished::{PULSE, Unfinished};
use super::{reconcile, rows};
use crate::bridge::now;
use crate::driver::{Input, Known, Load, Loaded, Note, Requested};
use crate::events::{Audience, Told};
use crate::figures::{Subjects, shown};
use crate::quality::Days;

/// Something to keep.
#[derive(Debug)]
pub(crate) enum Keep {
    /// A call came a step further, for whoever is told.
    Progress(Box<Progress>),
    /// A call is awaited, of which nobody is told yet.
    Awaited(Box<Progress>),
    /// The record of a call that is over.
    Cdr(Box<Cdr>),
    /// The record of this call is in the CDR file.
    Filed(CallId),
    /// An event of a webhook that the driver has acted on.
    Acted(String),
    /// Webhooks told of the ends of calls.
    Reconcile,
    /// A campaign, or a number, asks somebody for permission.
    Requested(Box<Requested>),
    /// Something of a pair, and who waits for it to be kept, if anybody does.
    Note(Box<Note>, Option<oneshot::Sender<()>>),
    /// Something of a pair that turned out not to be.
    Withdrawn(Box<Note>),
    /// Not to keep but to find out, after all that was to be kept before.
    Load(Box<Load>),
}

/// Where the driver puts what is to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    queue: mpsc::Sender<Keep>,
    metrics: Arc<Metrics>,
}

impl Keeper {
    pub(super) fn new(metrics: &Arc<Metrics>) -> (Self, mpsc::Receiver<Keep>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self { queue, metrics: Arc::clone(metrics) }, waiting)
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Never waits: what does not fit is lost and counted. The CDR file has the records all the same. Returns whether it fit.
    pub(crate) fn keep(&self, what: Keep) -> bool {
        let fits = self.queue.try_send(what).is_ok();
        if !fits {
            self.metrics.store_failed();
            tracing::error!("the database is too slow: something was not kept");
        }
        fits
    }
}

/// The task that writes.
pub(super) struct Writer {
    pub(super) store: Arc<Store>,
    /// Whose calls these are.
    pub(super) owner: String,
    pub(super) metrics: Arc<Metrics>,
    /// Set at shutdown, when nothing is tried for ever.
    pub(super) closing: Arc<AtomicBool>,
    /// Who is told of what is kept.
    pub(super) audience: watch::Receiver<Audience>,
    /// Our numbers, whose lights are shown.
    pub(super) subjects: watch::Receiver<Subjects>,
    /// Where what is found out goes.
    pub(super) inputs: mpsc::WeakSender<Input>,
}

impl Writer {
    /// Ends when nobody can ask for more and everything is written.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Keep>) {
        self.reconcile().await;
        let mut looking = tokio::time::interval(LOOKING);
        let mut beating = tokio::time::interval(PULSE);
        let (mut lights, mut calls) = (Lights::default(), Unfinished::default());
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = queue.recv_many(&mut batch, BATCH) => if count == 0 { return },
                _ = looking.tick() => self.show_lights(&mut lights, now().wall).await,
                _ = beating.tick() => {}
            }
            let Sorted { mut kept, waiting, loads, reconcile } = self.sort(batch.drain(..), &mut calls);
            // Every step brings the time along; between them a disk may sleep while no call lives.
            if !calls.is_empty() || !kept.unfinished.is_empty() {
                kept.pulse = Some(now().wall);
            }
            if kept.is_empty() || self.insist(&kept).await {
                // Who gave up waiting has gone.
                for waits in waiting {
                    let _ = waits.send(());
                }
            }
            for load in loads {
                self.load(load).await;
            }
            if reconcile {
                self.reconcile().await;
            }
        }
    }

    /// Puts what is to be kept where it belongs.
    fn sort(&self, batch: impl Iterator<Item = Keep>, calls: &mut Unfinished) -> Sorted {
        let audience = self.audience.borrow().clone();
        let mut sorted = Sorted::default();
        sorted.kept.owner.clone_from(&self.owner);
        let kept = &mut sorted.kept;
        for keep in batch {
            match keep {
                Keep::Progress(progress) => {
                    kept.told.extend(audience.rows(&Told::progress(&progress)));
                    kept.unfinished.extend(calls.step(&progress));
                }
                Keep::Awaited(progress) => kept.unfinished.extend(calls.step(&progress)),
                Keep::Cdr(cdr) => {
                    calls.end(cdr.call);
                    sorted.reconcile |= cdr.facts.wacid.is_some();
                    match rows::record(&cdr, now().wall, &audience) {
                        Ok(row) => kept.cdrs.push(row),
                        Err(error) => {
                            tracing::error!(call = %cdr.call, %error, "a CDR cannot be written as JSON");
                        }
                    }
                }
                Keep::Filed(call) => {
                    calls.end(call);
                    kept.filed.push(call.to_string());
                }
                Keep::Acted(event) => kept.acted.push(event),
                Keep::Reconcile => sorted.reconcile = true,
                Keep::Requested(requested) => kept.requests.push(rows::request(*requested)),
                Keep::Note(note, waits) => {
                    kept.facts.extend(rows::note(*note));
                    sorted.waiting.extend(waits);
                }
                Keep::Withdrawn(note) => kept.withdrawn.extend(rows::note(*note)),
                Keep::Load(load) => sorted.loads.push(*load),
            }
        }
        sorted
    }

    async fn load(&self, load: Load) {
        let Load { asker, number, customer, since, campaigns } = load;
        let known = async {
            let facts = match rows::names(&customer) {
                Some((name, other)) => {
                    let names = CustomerNames { name: &name, other: &other };
                    self.store.pair(&number, names, PairLedger::MOST).await?
                }
                None => Vec::new(),
            };
            let attempts = self.store.attempts(&number, since).await?;
            let days = Days::read(&self.store, &number, now().wall).await?;
            let contact = |cold| if cold { Contact::Cold } else { Contact::Warm };
            let mut requests = Vec::with_capacity(campaigns.len());
            for campaign in campaigns {
                let asked = self.store.campaign(&campaign, Campaigns::RECALLED).await?;
                requests.push((campaign, asked.into_iter().map(|(at, cold)| (at, contact(cold))).collect()));
            }
            Ok::<_, StoreFault>(Known { facts, attempts, days, requests })
        };
        let known = known.await.map_err(|fault| {
            self.failed(&fault);
            "what is known of the customer cannot be read".to_owned()
        });
        // The driver ends only with the bridge.
        if let Some(inputs) = self.inputs.upgrade() {
            let _ = inputs.send(Input::Loaded(Box::new(Loaded { asker, known }))).await;
        }
    }

    /// Whether it is kept: at shutdown it may be given up.
    async fn insist(&self, kept: &Kept) -> bool {
        let mut last_tries = 0;
        while let Err(fault) = self.store.keep(kept).await {
            self.metrics.store_failed();
            tracing::error!(%fault, "the database cannot be written; it is tried again");
            if self.closing.load(Ordering::Acquire) {
                last_tries += 1;
                if last_tries == LAST_TRIES {
                    return false;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
        true
    }

    /// Brings records and what webhooks told of the same calls together.
    async fn reconcile(&self) {
        loop {
            let met = match self.store.unreconciled(BATCH).await {
                Ok(met) if met.is_empty() => return,
                Ok(met) => met,
                Err(fault) => return self.failed(&fault),
            };
            let audience = self.audience.borrow().clone();
            let revisions: Vec<Revision> = met.iter().filter_map(|met| revision(met, &audience)).collect();
            let done: Vec<_> = met.into_iter().map(|met| (met.number, met.wacid)).collect();
            if let Err(fault) = self.store.revise(&revisions, &done).await {
                return self.failed(&fault);
            }
        }
    }

    /// Shows how our numbers are doing.
    async fn show_lights(&self, lights: &mut Lights, now: Wall) {
        let numbers = self.subjects.borrow().numbers.clone();
        for (number, hears) in numbers {
            let quality = match Days::read(&self.store, &number, now).await {
                Ok(days) => days.judge(hears, now),
                Err(fault) => return self.failed(&fault),
            };
            self.metrics.number_light(&number, quality.light as u8);
            if let Some(before) = lights.changed(&number, quality.light) {
                tracing::warn!(
                    number,
                    before = before.word(),
                    light = quality.light.word(),
                    "a number's light changes"
                );
                let audience = self.audience.borrow().clone();
                let rows = audience.rows(&Told::light(before, &shown(number, &quality), now));
                if !rows.is_empty() {
                    self.insist(&Kept { told: rows, ..Kept::default() }).await;
                }
            }
        }
    }

    fn failed(&self, fault: &StoreFault) {
        self.metrics.store_failed();
        tracing::error!(%fault, "the database cannot be used; this is tried again later");
    }
}

/// What is to be done with what came in together.
#[derive(Debug, Default)]
struct Sorted {
    kept: Kept,
    /// To be told once that is kept.
    waiting: Vec<oneshot::Sender<()>>,
    /// To be found out once that is kept.
    loads: Vec<Load>,
    /// Whether webhooks may have told of what is kept.
    reconcile: bool,
}

/// The lights as they were last seen. What changed while the bridge was down is not noticed.
#[derive(Debug, Default)]
struct Lights(BTreeMap<String, Light>);

impl Lights {
    /// Takes a number's light; returns the one before if that was another.
    fn changed(&mut self, number: &str, light: Light) -> Option<Light> {
        let before = self.0.insert(number.to_owned(), light)?;
        (before != light).then_some(before)
    }
}

fn revision(met: &Unreconciled, audience: &Audience) -> Option<Revision> {
    let Unreconciled { call, record, told, .. } = met;
    let (cdr, told) = (serde_json::from_str(record).ok()?, serde_json::from_str(told).ok()?);
    let (record, written) = (serde_json::to_value(reconcile::reconcile(&cdr, told)).ok()?, now().wall);
    let told = audience.rows(&Told::revised(call, SOURCE, written, &record));
    Some(Revision {
        call: call.clone(),
        source: SOURCE.to_owned(),
        written,
        record: record.to_string(),
        told,
    })
}

/// Where revisions come from.
const SOURCE: &str = "webhook";

/// What may wait for a database that is slow: a minute of a thousand webhooks a second.
const QUEUE: usize = 65_536;

/// Rows of one transaction.
const BATCH: usize = 256;

const RETRY: Duration = Duration::from_secs(1);

/// How often a write is tried before shutdown gives it up.
const LAST_TRIES: u32 = 3;

/// How often the lights of numbers are looked at.
const LOOKING: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use setu_store::{CdrQuery, Location};
    use setu_whatsapp::quality::QualityPolicy;

    use super::*;
    use crate::config::EventKind;

    #[tokio::test]
    async fn an_endpoint_is_told_once_when_a_numbers_light_changes() {
        let folder = tempfile::tempdir().unwrap();
        let at = Location::Sqlite(folder.path().join("setu.db"));
        let store = Arc::new(Store::open(&at).await.unwrap());
        let kinds = std::collections::BTreeSet::from([EventKind::QualityChanged]);
        let audience = watch::Sender::new(Audience(vec![("crm".to_owned(), kinds)]));
        let mut ours = Subjects::default();
        ours.numbers.insert("+911234567890".to_owned(), true);
        let subjects = watch::Sender::new(ours);
        let (inputs, _driver) = mpsc::channel(1);
        let writer = Writer {
            store: Arc::clone(&store),
            owner: String::new(),
            metrics: Arc::new(Metrics::new()),
            closing: Arc::new(AtomicBool::new(false)),
            audience: audience.subscribe(),
            subjects: subjects.subscribe(),
            inputs: inputs.downgrade(),
        };
        let mut lights = Lights::default();
        let now = Wall::from_unix_ms(1_780_000_000_000);
        writer.show_lights(&mut lights, now).await;
        let unanswered = |n: u64| {
            let mut cdr = crate::durable::tests::cdr(setu_model::Direction::BusinessInitiated);
            cdr.call = setu_model::CallId::from_bits(u128::from(n) + 1);
            (cdr.began, cdr.ended) = (now, now);
            rows::record(&cdr, now, &Audience::default()).unwrap()
        };
        let calls: Vec<_> = (0..u64::from(QualityPolicy::default().least_calls)).map(unanswered).collect();
        store.record(&calls).await.unwrap();
        assert_eq!(
            store.cdrs(&CdrQuery { most: 100, ..CdrQuery::default() }).await.unwrap().len(),
            calls.len()
        );
        for _ in 0..2 {
            writer.show_lights(&mut lights, now).await;
        }
        let told = store.outbox("crm", 10).await.unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        for part in ["\"before\":\"GREEN\"", "\"light\":\"RED\"", "answer_rate", "quality.changed"] {
            assert!(told[0].payload.contains(part), "{part}: {}", told[0].payload);
        }
        store.close().await;
    }
}
