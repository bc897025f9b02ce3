//! Webhooks on their way from the HTTP side to the driver.

use std::sync::Arc;

use setu_control::{Control, Delivery, Metrics, StartError, WebhookLimits, WebhookTrust, serve_webhooks};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::Webhooks;
use crate::driver::Input;

/// The listener for webhooks, and the task behind it.
#[derive(Debug)]
pub(crate) struct Inbox {
    listener: Control,
    trust: watch::Sender<WebhookTrust>,
    task: JoinHandle<()>,
}

impl Inbox {
    /// Starts both.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn open(
        config: &Webhooks,
        trust: WebhookTrust,
        metrics: &Arc<Metrics>,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Self, StartError> {
        let (trust, trusted) = watch::channel(trust);
        let (deliveries, waiting) = mpsc::channel(DELIVERIES);
        let limits = WebhookLimits::default();
        let listener = serve_webhooks(config.bind, Arc::clone(metrics), trusted, deliveries, limits).await?;
        let task = tokio::spawn(hand_on(waiting, inputs));
        Ok(Self { listener, trust, task })
    }

    /// Where webhooks are listened for.
    pub(crate) const fn address(&self) -> std::net::SocketAddr {
        self.listener.address()
    }

    /// Takes new secrets.
    pub(crate) fn trust(&self, trust: WebhookTrust) {
        self.trust.send_replace(trust);
    }

    /// Takes no more webhooks, and returns once the driver has those that were taken.
    pub(crate) async fn shutdown(self) {
        self.listener.shutdown().await;
        let _ = self.task.await;
    }
}

/// Ends when the listener has ended and nothing waits.
async fn hand_on(mut waiting: mpsc::Receiver<Delivery>, inputs: mpsc::Sender<Input>) {
    while let Some(Delivery { heard, taken, .. }) = waiting.recv().await {
        for heard in heard {
            if inputs.send(Input::Heard(Box::new(heard))).await.is_err() {
                return;
            }
        }
        // Whoever sent it may have gone.
        let _ = taken.send(());
    }
}

/// Deliveries that may wait for the driver. What does not fit is refused, and delivered again.
const DELIVERIES: usize = 1_024;
