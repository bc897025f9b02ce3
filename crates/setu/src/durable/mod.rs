//! What outlives the process: the tasks around the store.

mod inbox;
mod keeper;
mod prune;
mod reconcile;
mod recover;
mod rows;
mod unfinished;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use setu_control::{Control, Delivery, Metrics, StartError, WebhookLimits, WebhookTrust, serve_webhooks};
use setu_model::Cdr;
use setu_store::{Location, OpenError, Store, StoreFault};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) use keeper::{Keep, Keeper};
pub(crate) use rows::{Numbers, names};

use crate::config::Webhooks;
use crate::driver::Input;
use crate::events::{Audience, Courier, Endpoints, Running};
use crate::figures::Subjects;
use crate::pricing::Prices;

/// The store and its writer.
#[derive(Debug)]
pub(crate) struct Durable {
    store: Arc<Store>,
    keeper: Keeper,
    closing: Arc<AtomicBool>,
    writer: JoinHandle<()>,
    pruner: JoinHandle<()>,
    heir: JoinHandle<()>,
    recovery: recover::Recovery,
    audience: watch::Sender<Audience>,
    subjects: watch::Sender<Subjects>,
    courier: Running,
}

impl Durable {
    /// Opens the store and starts its writer.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub(crate) async fn open(
        at: &Location,
        metrics: &Arc<Metrics>,
        inputs: &mpsc::Sender<Input>,
        endpoints: Endpoints,
        subjects: Subjects,
        keeping: Keeping,
    ) -> Result<Self, OpenError> {
        let store = Arc::new(Store::open(at).await?);
        let closing = Arc::new(AtomicBool::new(false));
        let audience = watch::Sender::new(endpoints.audience.clone());
        let subjects = watch::Sender::new(subjects);
        let (keeper, queue) = Keeper::new(metrics);
        let Keeping { records, file, prices } = keeping;
        let owner = owner(&file);
        let writer = keeper::Writer {
            store: Arc::clone(&store),
            owner: owner.clone(),
            metrics: Arc::clone(metrics),
            closing: Arc::clone(&closing),
            audience: audience.subscribe(),
            subjects: subjects.subscribe(),
            inputs: inputs.downgrade(),
        };
        let writer = tokio::spawn(writer.run(queue));
        let pruner = prune::Pruner { store: Arc::clone(&store), metrics: Arc::clone(metrics), records };
        let pruner = tokio::spawn(pruner.run());
        let recovery = recover::Recovery {
            store: Arc::clone(&store),
            owner,
            file,
            audience: audience.subscribe(),
            prices,
            metrics: Arc::clone(metrics),
        };
        let heir = tokio::spawn(recovery.clone().run(inputs.downgrade()));
        let courier = Courier::start(Arc::clone(&store), Arc::clone(metrics), watch::Sender::new(endpoints));
        Ok(Self { store, keeper, closing, writer, pruner, heir, recovery, audience, subjects, courier })
    }

    /// Gives the calls their records that were alive when the bridge before stopped without a word; returns those that the
    /// CDR file lacks. For each of them [`Keep::Filed`] is to follow. To be called before any call is taken.
    ///
    /// # Errors
    /// The database cannot be used.
    pub(crate) async fn recover(&self) -> Result<Vec<Cdr>, StoreFault> {
        self.recovery.all().await
    }

    /// The database.
    pub(crate) const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Where the driver puts what is to be kept.
    pub(crate) const fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Takes new endpoints for events, and new numbers.
    pub(crate) fn reload(&self, endpoints: Endpoints, subjects: Subjects) {
        self.subjects.send_replace(subjects);
        self.audience.send_replace(endpoints.audience.clone());
        self.courier.reload(endpoints);
    }

    /// Writes what is still to be kept, and closes the database. Everybody else who keeps something has ended.
    pub(crate) async fn close(self) {
        let Self { store, keeper, closing, writer, pruner, heir, courier, .. } = self;
        // What it had not begun to forget is there at the next start.
        pruner.abort();
        heir.abort();
        closing.store(true, Ordering::Release);
        drop(keeper);
        let _ = writer.await;
        courier.stop().await;
        store.close().await;
    }
}

/// What is kept where, and for how long.
#[derive(Debug)]
pub(crate) struct Keeping {
    /// How long the database keeps records; none is for ever.
    pub(crate) records: Option<Duration>,
    /// The CDR file.
    pub(crate) file: PathBuf,
    /// What calls cost that were cut off.
    pub(crate) prices: Prices,
}

/// Names a bridge among those that share a database, the same before and after a restart: no two write one CDR file.
fn owner(file: &Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    format!("{}:{}", host.trim(), file.display())
}

/// The listener for webhooks, and the task behind it.
#[derive(Debug)]
pub(crate) struct WebhookInbox {
    listener: Control,
    trust: watch::Sender<WebhookTrust>,
    numbers: watch::Sender<Numbers>,
    behind: Behind,
}

/// What is behind the listener.
#[derive(Debug)]
enum Behind {
    /// Nobody yet: webhooks wait.
    Waiting(mpsc::Receiver<Delivery>),
    /// The task that stores them and tells the driver.
    Task(JoinHandle<()>),
}

impl WebhookInbox {
    /// Begins to listen. Webhooks wait until [`start`](Self::start).
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn listen(
        config: &Webhooks,
        trust: WebhookTrust,
        numbers: Numbers,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let (trust, trusted) = watch::channel(trust);
        let (deliveries, waiting) = mpsc::channel(DELIVERIES);
        let limits = WebhookLimits::default();
        let listener = serve_webhooks(config.bind, Arc::clone(metrics), trusted, deliveries, limits).await?;
        let numbers = watch::Sender::new(numbers);
        Ok(Self { listener, trust, numbers, behind: Behind::Waiting(waiting) })
    }

    /// Stores webhooks in `durable` from now on and tells the driver what is new in them, beginning with what it was not
    /// told before the bridge stopped.
    pub(crate) fn start(self, durable: &Durable, inputs: mpsc::Sender<Input>) -> Self {
        let Behind::Waiting(waiting) = self.behind else { return self };
        let inbox = inbox::Inbox {
            store: Arc::clone(&durable.store),
            numbers: self.numbers.subscribe(),
            audience: durable.audience.subscribe(),
            inputs,
            keeper: durable.keeper.clone(),
            metrics: durable.keeper.metrics(),
        };
        Self { behind: Behind::Task(tokio::spawn(inbox.run(waiting))), ..self }
    }

    /// Where webhooks are listened for.
    pub(crate) const fn address(&self) -> std::net::SocketAddr {
        self.listener.address()
    }

    /// Takes new secrets and numbers.
    pub(crate) fn reload(&self, trust: WebhookTrust, numbers: Numbers) {
        self.trust.send_replace(trust);
        self.numbers.send_replace(numbers);
    }

    /// Takes no more webhooks, and returns once the driver has those that were taken.
    pub(crate) async fn shutdown(self) {
        self.listener.shutdown().await;
        if let Behind::Task(task) = self.behind {
            let _ = task.await;
        }
    }
}

/// Webhooks that may wait to be stored. What does not fit is refused, and delivered again.
const DELIVERIES: usize = 1_024;

#[cfg(test)]
pub(crate) mod tests {
    use setu_model::{
        CallFacts, CallId, Cause, Cdr, Direction, EndedBy, Ingress, Termination, Timeline, Wall,
    };

    /// The record of a call that nobody answered.
    pub(crate) fn cdr(direction: Direction) -> Cdr {
        let facts = CallFacts {
            number: "+911234567890".to_owned(),
            customer: "+919876543210".to_owned().into(),
            ..CallFacts::default()
        };
        Cdr {
            call: CallId::from_bits(1),
            direction,
            ingress: Ingress::Sip,
            facts,
            began: Wall::from_unix_ms(0),
            answered: None,
            ended: Wall::from_unix_ms(0),
            setup_ms: None,
            duration_ms: 0,
            meta_duration_s: None,
            agent: None,
            termination: Termination::new(Cause::NoAnswer, EndedBy::Bridge),
            refused: Vec::new(),
            legs: Vec::new(),
            quality: None,
            timeline: Timeline::default(),
            digits: Vec::new(),
            recording: None,
            recording_failure: None,
            cost: None,
        }
    }
}
