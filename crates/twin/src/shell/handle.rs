//! The task that owns one machine, and the handle to it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use setu_model::{Entropy, Now, Wall};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::sockets::{Input, Sockets};
use crate::io::Party;

/// Commands and inputs that may wait for the machine.
pub(super) const QUEUE: usize = 4_096;

/// Events a slow listener may fall behind before it misses some.
const EVENTS: usize = 4_096;

type Command<P> = Box<dyn FnOnce(&mut P, Now) + Send>;

/// A twin that runs on sockets. Dropping the last handle stops it.
pub struct Handle<P, E> {
    commands: mpsc::Sender<Command<P>>,
    events: broadcast::Sender<E>,
    task: JoinHandle<()>,
}

impl<P, E> Drop for Handle<P, E> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The twin's task is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the twin has stopped")]
pub struct Stopped;

impl<P: Send + 'static, E: Clone + Send + 'static> Handle<P, E> {
    /// Runs `command` on the machine, between two inputs, and returns its result.
    pub async fn with<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut P, Now) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer, result) = oneshot::channel();
        let command: Command<P> = Box::new(move |machine, now| {
            // Nobody waits for the answer if the caller was dropped.
            let _ = answer.send(command(machine, now));
        });
        self.commands.send(command).await.map_err(|_| Stopped)?;
        result.await.map_err(|_| Stopped)
    }

    /// Stops the twin after what it has said is written: a peer must not wait for an answer that was given.
    pub async fn stop(mut self) {
        // The task ends with the last sender of commands.
        self.commands = mpsc::channel(1).0;
        // Whoever aborted or failed it has nothing more to say.
        let _ = (&mut self.task).await;
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<E> {
        self.events.subscribe()
    }

    /// Waits for the first event from now on for which `pick` returns something, for `most` at the longest.
    pub async fn wait_for<R>(&self, most: Duration, pick: impl FnMut(&E) -> Option<R>) -> Option<R> {
        wait_for(self.events(), most, pick).await
    }
}

/// Waits for the first event for which `pick` returns something, for `most` at the longest.
pub async fn wait_for<E: Clone, R>(
    mut events: broadcast::Receiver<E>,
    most: Duration,
    mut pick: impl FnMut(&E) -> Option<R>,
) -> Option<R> {
    let found = async {
        loop {
            match events.recv().await {
                Ok(event) => {
                    if let Some(result) = pick(&event) {
                        return Some(result);
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    };
    tokio::time::timeout(most, found).await.ok().flatten()
}

/// Starts the task.
pub(super) fn spawn<P, E>(
    mut machine: P,
    mut sockets: Sockets,
    mut input: mpsc::Receiver<Input>,
    mut next_event: impl FnMut(&mut P) -> Option<E> + Send + 'static,
) -> Handle<P, E>
where
    P: Party + Send + 'static,
    E: Clone + Send + 'static,
{
    let (commands, mut commanded) = mpsc::channel::<Command<P>>(QUEUE);
    let (events, _) = broadcast::channel(EVENTS);
    let told = events.clone();
    let task = tokio::spawn(async move {
        loop {
            while let Some(output) = machine.poll_output() {
                sockets.perform(output);
            }
            while let Some(event) = next_event(&mut machine) {
                // Without a listener it is simply not heard.
                let _ = told.send(event);
            }
            let deadline = machine.poll_timeout();
            tokio::select! {
                biased;
                command = commanded.recv() => match command {
                    Some(command) => command(&mut machine, now()),
                    None => return sockets.finish().await,
                },
                () = until(deadline) => machine.handle_timeout(now()),
                Some(input) = input.recv() => hand_in(&mut machine, &mut sockets, input),
            }
        }
    });
    Handle { commands, events, task }
}

fn hand_in<P: Party>(machine: &mut P, sockets: &mut Sockets, input: Input) {
    match input {
        Input::Opened { conn, facts, writer } => {
            sockets.opened(conn, writer);
            machine.handle_stream_opened(conn, facts, now());
        }
        Input::Bytes { conn, bytes } => machine.handle_stream_bytes(conn, &bytes, now()),
        Input::Closed { conn, why } => {
            sockets.closed(conn);
            machine.handle_stream_closed(conn, why, now());
        }
        Input::Datagram { local, from, bytes } => machine.handle_udp(local, from, &bytes, now()),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono: Instant::now(), wall: Wall::from_unix_ms(i64::try_from(since.as_millis()).unwrap_or(0)) }
}

/// The system's generator; the shell's twins need no seed.
pub(super) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            tracing::error!(%error, "the system has no randomness to give");
        }
    }
}
