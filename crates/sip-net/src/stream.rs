//! One stream from its first byte to its last.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use setu_sip::{Arrival, Frame, Framer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::admission::{Admitted, Guest};
use crate::event::NetEvent;
use crate::net::{Peer, Phase, Shared};
use crate::pool::{Ends, Item};

/// Who opened a stream.
#[derive(Debug)]
pub(crate) enum Opener {
    /// The bridge. It sends the pings.
    Us,
    /// The peer, by leave of the listener's doorkeeper.
    Peer(Guest),
}

/// Carries a stream until either end closes it, a deadline passes, or shutdown. Then says so, and finds another way
/// for what did not leave.
pub(crate) async fn run<S>(shared: Arc<Shared>, io: S, ends: Ends, opener: Opener)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let Ends { arrival, mut queue, reply, cut } = ends;
    let open = OpenConnection::count(&shared);
    let activity = Activity::new();
    let keepalive = match opener {
        Opener::Us => shared.timeouts.keepalive,
        Opener::Peer(_) => None,
    };
    let mut guest = match opener {
        Opener::Us => None,
        Opener::Peer(guest) => Some(guest),
    };
    {
        let (read, write) = split(io);
        let mut reader = Reader {
            shared: &shared,
            arrival: &arrival,
            activity: &activity,
            reply,
            framer: if guest.is_some() { Framer::accepted() } else { Framer::opened() },
            read,
            newcomer: guest.as_ref().map(|guest| (Arc::clone(&guest.admitted), Instant::now())),
            message_began: None,
        };
        let mut writer = Writer { shared: &shared, arrival: &arrival, activity: &activity, write, keepalive };
        let carried = carry(&shared, &mut reader, &mut writer, &mut queue);
        tokio::select! {
            () = carried => {}
            () = cut_at_once(cut) => {}
            () = evicted(&mut guest) => {}
            () = shared.reached(Phase::Cut) => {}
        }
    }
    shared.forget(arrival.flow);
    drop(open);
    queue.close();
    // This ends when the last place that was given out in the queue has been taken or given back.
    while let Some(item) = queue.recv().await {
        if let Item::Message(outgoing) = item {
            shared.retry(outgoing);
        }
    }
}

async fn carry<S>(
    shared: &Shared,
    reader: &mut Reader<'_, S>,
    writer: &mut Writer<'_, S>,
    queue: &mut mpsc::Receiver<Item>,
) where
    S: AsyncRead + AsyncWrite,
{
    let ended = {
        let writing = writer.write_all(queue);
        tokio::pin!(writing);
        let ended = tokio::select! {
            ended = reader.read_all() => ended,
            ended = &mut writing => ended,
        };
        if matches!(ended, Ended::Unreadable) {
            // The core answers with a 4xx. What still comes in is taken and thrown away: closing with data unread
            // would reset the connection and take the answer with it.
            let answered = async {
                tokio::select! {
                    _ = &mut writing => {}
                    () = reader.discard() => {}
                }
            };
            let _ = timeout(shared.timeouts.linger, answered).await;
        }
        ended
    };
    tracing::debug!(flow = writer.arrival.flow.0, remote = %writer.arrival.remote, %ended, "a stream ended");
    writer.finish().await;
}

/// Why a stream came to its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the peer")]
    ByPeer,
    #[error("closed by the bridge")]
    ByUs,
    #[error("what came cannot be cut into messages")]
    Unreadable,
    #[error("{0}")]
    Late(Deadline),
    /// The network, or TLS, failed.
    #[error("{0}")]
    Broken(std::io::Error),
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Deadline {
    #[error("the peer did not prove who it is")]
    Proof,
    #[error("a message took too long to arrive")]
    Message,
    #[error("nothing came or went for too long")]
    Idle,
    #[error("a write took too long")]
    Write,
}

struct Reader<'a, S> {
    shared: &'a Shared,
    arrival: &'a Arrival,
    activity: &'a Activity,
    reply: mpsc::WeakSender<Item>,
    framer: Framer,
    read: ReadHalf<S>,
    /// Since when the peer has been here without a proof of who it is; none once it has given one.
    newcomer: Option<(Arc<Admitted>, Instant)>,
    /// When the message that is arriving began.
    message_began: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite> Reader<'_, S> {
    async fn read_all(&mut self) -> Ended {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let (at, deadline) = self.deadline();
            let read = tokio::select! {
                read = self.read.read(&mut buffer) => read,
                () = sleep_until(at) => {
                    // Writing may have moved it on.
                    if self.deadline().0 > at {
                        continue;
                    }
                    return self.late(deadline);
                }
            };
            let bytes = match read {
                Ok(0) => return Ended::ByPeer,
                Ok(length) => buffer.get(..length).unwrap_or_default(),
                Err(fault) => return Ended::Broken(fault),
            };
            self.activity.touch();
            if self.take(bytes).is_err() {
                return Ended::Unreadable;
            }
        }
    }

    async fn discard(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        while matches!(self.read.read(&mut buffer).await, Ok(length) if length > 0) {}
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.framer.push(bytes);
        while let Some(frame) = self.framer.poll() {
            self.message_began = None;
            match frame {
                Ok(Frame::Message(message)) => {
                    self.shared.counters.traffic(self.arrival.side, self.arrival.transport).received.add();
                    self.shared.trace("in", Peer::of(self.arrival), message.as_bytes());
                    self.shared.emit(NetEvent::Received { arrival: self.arrival.clone(), message });
                }
                Ok(Frame::Ping) => self.pong(),
                Ok(Frame::Pong) => {}
                Err(error) => {
                    self.shared.counters.traffic(self.arrival.side, self.arrival.transport).malformed.add();
                    self.shared.emit(NetEvent::Malformed { arrival: self.arrival.clone(), error });
                    return Err(());
                }
            }
        }
        if !self.framer.is_midway() {
            self.message_began = None;
        } else if self.message_began.is_none() && !bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            // A lone CRLF may be half a ping, or all the keepalive a phone sends: it begins no message.
            self.message_began = Some(Instant::now());
        }
        Ok(())
    }

    /// A peer that sends pings faster than it takes pongs gets none: it will notice.
    fn pong(&self) {
        self.shared.counters.keepalives.add();
        if let Some(queue) = self.reply.upgrade() {
            let _ = queue.try_send(Item::Pong);
        }
    }

    fn deadline(&mut self) -> (Instant, Deadline) {
        self.newcomer.take_if(|(admitted, _)| !admitted.is_newcomer());
        let timeouts = &self.shared.timeouts;
        let idle = (self.activity.last() + timeouts.idle, Deadline::Idle);
        let message = self.message_began.map(|began| (began + timeouts.message, Deadline::Message));
        let proof = self.newcomer.as_ref().map(|(_, since)| (*since + timeouts.proof, Deadline::Proof));
        [message, proof].into_iter().flatten().fold(
            idle,
            |soonest, other| {
                if other.0 < soonest.0 { other } else { soonest }
            },
        )
    }

    fn late(&self, deadline: Deadline) -> Ended {
        let counters = &self.shared.counters;
        match deadline {
            Deadline::Proof => counters.strangers_closed.add(),
            Deadline::Message => counters.messages_too_slow.add(),
            Deadline::Idle => counters.idle_closed.add(),
            Deadline::Write => counters.writes_timed_out.add(),
        }
        Ended::Late(deadline)
    }
}

struct Writer<'a, S> {
    shared: &'a Shared,
    arrival: &'a Arrival,
    activity: &'a Activity,
    write: WriteHalf<S>,
    keepalive: Option<Duration>,
}

impl<S: AsyncRead + AsyncWrite> Writer<'_, S> {
    async fn write_all(&mut self, queue: &mut mpsc::Receiver<Item>) -> Ended {
        loop {
            let item = tokio::select! {
                item = queue.recv() => match item {
                    Some(item) => item,
                    None => return Ended::ByUs,
                },
                () = self.ping_due() => {
                    if let Err(ended) = self.write(PING, queue.is_empty()).await {
                        return ended;
                    }
                    continue;
                }
            };
            let bytes = match &item {
                Item::Message(outgoing) => outgoing.message.as_bytes().clone(),
                Item::Pong => Bytes::from_static(PONG),
            };
            // If this fails, how much of it the peer got is unknown, so it is not sent elsewhere: the core hears
            // that the flow is closed.
            if let Err(ended) = self.write(&bytes, queue.is_empty()).await {
                return ended;
            }
            if matches!(item, Item::Message(_)) {
                self.shared.counters.traffic(self.arrival.side, self.arrival.transport).sent.add();
                self.shared.trace("out", Peer::of(self.arrival), &bytes);
            }
        }
    }

    async fn write(&mut self, bytes: &[u8], flush: bool) -> Result<(), Ended> {
        let write = &mut self.write;
        let writing = async {
            write.write_all(bytes).await?;
            if flush { write.flush().await } else { Ok(()) }
        };
        match timeout(self.shared.timeouts.write, writing).await {
            Ok(Ok(())) => {
                self.activity.touch();
                Ok(())
            }
            Ok(Err(fault)) => Err(Ended::Broken(fault)),
            Err(_) => {
                self.shared.counters.writes_timed_out.add();
                Err(Ended::Late(Deadline::Write))
            }
        }
    }

    async fn ping_due(&self) {
        match self.keepalive {
            Some(every) => sleep_until(self.activity.last() + every).await,
            None => pending().await,
        }
    }

    /// Says goodbye to TLS and TCP, if the peer still takes it.
    async fn finish(&mut self) {
        let _ = timeout(self.shared.timeouts.write, self.write.shutdown()).await;
    }
}

/// When a stream last carried anything, either way.
struct Activity {
    began: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { began: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn touch(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

/// Counts a stream for as long as it is open.
struct OpenConnection<'a>(&'a Shared);

impl<'a> OpenConnection<'a> {
    fn count(shared: &'a Shared) -> Self {
        shared.counters.open_connections.add();
        Self(shared)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.counters.open_connections.take();
    }
}

/// Resolves only if the place at the listener goes to another.
async fn evicted(guest: &mut Option<Guest>) {
    match guest {
        Some(guest) => guest.eviction.told().await,
        None => pending().await,
    }
}

/// Resolves only if the stream must end at once; one that may finish ends when its queue is empty.
async fn cut_at_once(cut: oneshot::Receiver<()>) {
    if cut.await.is_err() {
        pending().await
    }
}

/// RFC 5626 section 3.5.1.
const PING: &[u8] = b"\r\n\r\n";

const PONG: &[u8] = b"\r\n";

/// Twice the largest message Meta has been seen to send.
const READ_BYTES: usize = 8_192;
