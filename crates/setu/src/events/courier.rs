//! The task that delivers what is in the outbox. It has the store and its own connections, so that neither a slow endpoint nor a
//! slow database holds a call up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use setu_control::{EventAnswer, EventClient, Metrics};
use setu_model::Wall;
use setu_store::{OutboxFate, OutboxHead, Store};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::dispatch::{Dispatch, Output, Retry};
use super::kinds::Audience;
use crate::bridge::{SystemEntropy, now};

/// Whom events are delivered to.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    /// How long is tried.
    pub(crate) retry: Retry,
    /// The client of each endpoint, by name.
    pub(crate) clients: BTreeMap<String, EventClient>,
    /// Who is told what.
    pub(crate) audience: Audience,
}

/// The task, and what it is told by.
#[derive(Debug)]
pub(crate) struct Running {
    endpoints: watch::Sender<Endpoints>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Takes new endpoints.
    pub(crate) fn reload(&self, endpoints: Endpoints) {
        self.endpoints.send_replace(endpoints);
    }

    /// Posts nothing more, and returns once what is under way was answered or has had its time.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Delivers events.
pub(crate) struct Courier {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    endpoints: watch::Receiver<Endpoints>,
    dispatch: Dispatch,
    answers: mpsc::Sender<Answered>,
    /// Posts under way.
    flying: usize,
}

struct Answered {
    endpoint: String,
    head: OutboxHead,
    answer: EventAnswer,
}

impl Courier {
    /// Begins to deliver.
    pub(crate) fn start(
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        endpoints: watch::Sender<Endpoints>,
    ) -> Running {
        let (stop, stopped) = oneshot::channel();
        let (answers, answered) = mpsc::channel(ANSWERS);
        let mut known = endpoints.subscribe();
        let retry = known.borrow_and_update().retry;
        let dispatch = Dispatch::new(retry, Box::new(SystemEntropy));
        let courier = Self { store, metrics, endpoints: known, dispatch, answers, flying: 0 };
        Running { endpoints, stop, task: tokio::spawn(courier.run(answered, stopped)) }
    }

    async fn run(mut self, mut answered: mpsc::Receiver<Answered>, mut stopped: oneshot::Receiver<()>) {
        self.configure();
        let mut tidying = interval(TIDYING);
        let mut counting = interval(COUNTING);
        counting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changed = true;
        loop {
            while let Some(output) = self.dispatch.poll_output() {
                changed = true;
                self.carry_out(output).await;
            }
            let wait = self.dispatch.poll_timeout().map(until);
            tokio::select! {
                Some(Answered { endpoint, head, answer }) = answered.recv() => self.answered(&endpoint, head, answer),
                () = self.store.announced() => self.dispatch.handle_announced(),
                () = sleep(wait.unwrap_or(TIDYING)) => self.dispatch.handle_timeout(now().wall),
                _ = counting.tick(), if changed => {
                    changed = false;
                    self.count().await;
                }
                _ = tidying.tick() => self.tidy().await,
                Ok(()) = self.endpoints.changed() => self.configure(),
                _ = &mut stopped => break,
            }
        }
        let patience = Instant::now() + LAST;
        while self.flying > 0 {
            let left = patience.saturating_duration_since(Instant::now());
            let Ok(Some(Answered { endpoint, head, answer })) = timeout(left, answered.recv()).await else {
                // It is posted again at the next start.
                break;
            };
            self.answered(&endpoint, head, answer);
            while let Some(output) = self.dispatch.poll_output() {
                if let Output::Settle(name, _, id, fate) = output {
                    let _ = self.store.fated(&name, &id, &fate).await;
                }
            }
        }
    }

    fn configure(&mut self) {
        let endpoints = self.endpoints.borrow_and_update();
        self.dispatch.configure(endpoints.retry, endpoints.clients.keys().cloned());
    }

    async fn carry_out(&mut self, output: Output) {
        match output {
            Output::Look(name) => {
                let heads = self.store.outbox(&name, HEADS).await.map_err(|fault| self.failed(&fault));
                self.dispatch.handle_heads(&name, heads.ok(), now().wall);
            }
            Output::Post(name, head) => self.post(name, head),
            Output::Settle(name, stream, id, fate) => {
                self.told(&name, &id, &fate);
                while let Err(fault) = self.store.fated(&name, &id, &fate).await {
                    self.failed(&fault);
                    sleep(RETRY).await;
                }
                self.dispatch.handle_settled(&name, &stream);
            }
        }
    }

    fn post(&mut self, endpoint: String, head: OutboxHead) {
        let Some(client) = self.endpoints.borrow().clients.get(&endpoint).cloned() else { return };
        self.flying += 1;
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let answer = client.post(&head.id, now().wall, head.payload.clone()).await;
            // The courier ends only with the bridge.
            let _ = answers.send(Answered { endpoint, head, answer }).await;
        });
    }

    fn answered(&mut self, endpoint: &str, head: OutboxHead, answer: EventAnswer) {
        self.flying = self.flying.saturating_sub(1);
        self.metrics.event_tried(answer == EventAnswer::Taken);
        self.dispatch.handle_answer(endpoint, head, answer, now().wall);
    }

    fn told(&self, endpoint: &str, event: &str, fate: &OutboxFate) {
        match fate {
            OutboxFate::Delivered => tracing::debug!(endpoint, event, "an event is delivered"),
            OutboxFate::Later { tries, due, why } => {
                tracing::warn!(endpoint, event, tries, %due, why, "an event is not taken; it is tried again");
            }
            OutboxFate::Dead { tries, why } => {
                tracing::error!(endpoint, event, tries, why, "an event is given up; retry it by REST");
            }
        }
    }

    async fn count(&mut self) {
        match self.store.outbox_count().await {
            Ok(count) => self.metrics.events(count.waiting, count.dead),
            Err(fault) => self.failed(&fault),
        }
    }

    async fn tidy(&mut self) {
        let names: Vec<String> = self.endpoints.borrow().clients.keys().cloned().collect();
        match self.store.tidy_outbox(&names, now().wall, WAITS, KEPT).await {
            Ok(0) => {}
            Ok(events) => {
                tracing::error!(events, "events are given up that nobody was there for; retry them by REST");
            }
            Err(fault) => self.failed(&fault),
        }
    }

    fn failed(&self, fault: &setu_store::StoreFault) {
        self.metrics.store_failed();
        tracing::error!(%fault, "events wait: the database cannot be used; this is tried again");
    }
}

fn until(at: Wall) -> Duration {
    let ms = at.unix_ms().saturating_sub(now().wall.unix_ms());
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Answers that may wait: more than there are posts under way.
const ANSWERS: usize = 256;

/// Streams that are looked at: more than may be under way.
const HEADS: usize = 64;

const RETRY: Duration = Duration::from_secs(1);

/// How often the counts of what waits are read anew.
const COUNTING: Duration = Duration::from_secs(1);

const TIDYING: Duration = Duration::from_secs(3_600);

/// How long what is under way may take when the bridge ends.
const LAST: Duration = Duration::from_secs(5);

/// How long an event may wait for an endpoint that never takes one.
const WAITS: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How long what was given up is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
