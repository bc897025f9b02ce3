//! Webhooks on their way from the HTTP side to the driver: stored before they are acknowledged, and told once.

use std::sync::Arc;

use setu_control::{Delivery, Metrics};
use setu_store::{DeliveryRow, Store, Waiting};
use setu_whatsapp::webhook::{Event, Heard, read};
use tokio::sync::{mpsc, watch};

use super::keeper::{Keep, Keeper};
use super::reconcile::Told;
use super::rows::{self, Numbers};
use crate::driver::{DELIVERED_AGAIN, Input};
use crate::events::Audience;

/// The task between the listener and the driver.
pub(super) struct Inbox {
    pub(super) store: Arc<Store>,
    pub(super) numbers: watch::Receiver<Numbers>,
    pub(super) audience: watch::Receiver<Audience>,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) keeper: Keeper,
    pub(super) metrics: Arc<Metrics>,
}

impl Inbox {
    /// Ends when the listener has ended and nothing waits.
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Delivery>) {
        self.replay().await;
        let mut batch = Vec::new();
        while waiting.recv_many(&mut batch, BATCH).await > 0 {
            let (numbers, audience) = (self.numbers.borrow().clone(), self.audience.borrow().clone());
            let row = |delivery: &Delivery| rows::delivery(delivery, &numbers, &audience);
            let rows: Vec<_> = batch.iter().map(row).collect();
            match self.store.take(&rows).await {
                Ok(news) => {
                    for (delivery, news) in batch.drain(..).zip(news) {
                        self.hand_on(delivery, &news).await;
                    }
                }
                Err(_) => self.take_singly(batch.drain(..).zip(rows)).await,
            }
        }
    }

    /// One body that the database cannot take must not keep the others out.
    async fn take_singly(&self, batch: impl Iterator<Item = (Delivery, DeliveryRow)>) {
        for (delivery, row) in batch {
            match self.store.take(&[row]).await {
                Ok(mut news) => self.hand_on(delivery, &news.pop().unwrap_or_default()).await,
                Err(fault) => {
                    self.metrics.store_failed();
                    tracing::error!(%fault, "a webhook cannot be stored; its sender is asked to deliver it again");
                }
            }
        }
    }

    /// Acknowledges, and tells the driver what is new.
    async fn hand_on(&self, delivery: Delivery, news: &[bool]) {
        // Whoever sent it may have gone.
        let _ = delivery.taken.send(());
        let mut ends = false;
        for (heard, new) in delivery.heard.into_iter().zip(news) {
            if *new {
                ends |= matches!(heard.event, Event::Terminate(_));
                self.tell(heard).await;
            } else {
                self.metrics.webhook_event_repeated();
            }
        }
        if ends {
            self.keeper.keep(Keep::Reconcile);
        }
    }

    async fn tell(&self, heard: Heard) {
        if let Some(over) = self.over(&heard).await {
            // The driver ends only with the bridge.
            let _ = self.inputs.send(over).await;
        }
        let key = rows::event_key(&heard);
        // The driver ends only with the bridge.
        let _ = self.inputs.send(Input::Heard(Box::new(Heard { key, ..heard }))).await;
    }

    /// The end of the call that an event begins, if it was told before: perhaps to a bridge that has stopped since.
    async fn over(&self, heard: &Heard) -> Option<Input> {
        let Event::Connect(connect) = &heard.event else { return None };
        let number = self.numbers.borrow().find(heard)?.clone();
        match self.store.end(&number, &connect.wacid).await {
            Ok(told) => {
                let told: Told = serde_json::from_str(&told?).ok()?;
                Some(Input::Over(number, Box::new(told.into_terminate(connect.wacid.clone()))))
            }
            Err(fault) => {
                self.metrics.store_failed();
                tracing::error!(%fault, wacid = connect.wacid, "whether a call is over cannot be read; it is taken as alive");
                None
            }
        }
    }

    /// Tells what was stored before the bridge stopped, and not acted on.
    async fn replay(&self) {
        let waiting = match self.store.waiting().await {
            Ok(waiting) => waiting,
            Err(fault) => {
                self.metrics.store_failed();
                tracing::error!(%fault, "stored webhooks cannot be read again; what they told has no effect on calls");
                return;
            }
        };
        for Waiting { received, kind, body, events } in waiting {
            tracing::info!(%received, events = events.len(), "a webhook from before the bridge stopped");
            let heard = read(kind.as_deref(), body.as_bytes(), received).unwrap_or_default();
            for heard in heard {
                let key = rows::event_key(&heard);
                if !events.contains(&key) {
                    continue;
                }
                // Whoever tells no moment told of it when it came.
                let at = if heard.at.after(DELIVERED_AGAIN) < received { received } else { heard.at };
                self.tell(Heard { at, ..heard }).await;
            }
        }
    }
}

/// Webhooks of one transaction: what comes in while the one before is written.
const BATCH: usize = 256;
