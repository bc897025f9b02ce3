use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::watch;

/// The tasks of the transports, counted, so that a shutdown knows when the last one has ended.
#[derive(Debug)]
pub(crate) struct Tasks {
    runtime: Handle,
    running: watch::Sender<usize>,
}

impl Tasks {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, running: watch::Sender::new(0) }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let place = Place::take(self.running.clone());
        self.runtime.spawn(async move {
            task.await;
            drop(place);
        });
    }

    /// Resolves once no task is left.
    pub(crate) async fn finished(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }
}

/// Counts one task, also if it panics or its runtime goes away.
struct Place(watch::Sender<usize>);

impl Place {
    fn take(running: watch::Sender<usize>) -> Self {
        running.send_modify(|running| *running += 1);
        Self(running)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}
