//! The stream connections of one party: framing, and a queue for what is sent before one is open.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::message::{Message, Stream};
use super::transactions::Transactions;
use crate::io::{ConnId, Output, Transport};

#[derive(Default)]
pub(crate) struct Streams {
    conns: BTreeMap<ConnId, Entry>,
    dialled: u64,
    pub(crate) outputs: VecDeque<Output>,
}

struct Entry {
    stream: Stream,
    open: bool,
    queue: Vec<Bytes>,
    /// Whom we dialled.
    target: Option<(String, u16)>,
}

impl Streams {
    /// The connection we dialled to `target`, opening or open.
    pub(crate) fn to(&self, target: &(String, u16)) -> Option<ConnId> {
        self.conns.iter().find(|(_, entry)| entry.target.as_ref() == Some(target)).map(|(conn, _)| *conn)
    }

    pub(crate) fn dial(&mut self, target: (String, u16), transport: Transport, alpn: Vec<String>) -> ConnId {
        self.dialled += 1;
        let conn = ConnId::dialled(self.dialled);
        let (host, port) = target.clone();
        self.outputs.push_back(Output::Connect { conn, transport, host, port, alpn });
        self.conns.insert(
            conn,
            Entry { stream: Stream::new(), open: false, queue: Vec::new(), target: Some(target) },
        );
        conn
    }

    /// Whether it is opening or open.
    pub(crate) fn is_alive(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|entry| entry.open)
    }

    /// A connection is open, dialled or accepted; what waited for it is sent.
    pub(crate) fn opened(&mut self, conn: ConnId) {
        if conn.is_dialled() && !self.is_alive(conn) {
            // Given up while it was opening.
            self.outputs.push_back(Output::CloseStream { conn });
            return;
        }
        let entry = self.conns.entry(conn).or_insert_with(|| Entry {
            stream: Stream::new(),
            open: true,
            queue: Vec::new(),
            target: None,
        });
        entry.open = true;
        let queued = std::mem::take(&mut entry.queue);
        self.outputs.extend(queued.into_iter().map(|bytes| Output::SendStream { conn, bytes }));
    }

    pub(crate) fn closed(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
    }

    /// Closes it from our side. Returns whether there was anything to close.
    pub(crate) fn close(&mut self, conn: ConnId) -> bool {
        let known = self.conns.remove(&conn).is_some();
        if known {
            self.outputs.push_back(Output::CloseStream { conn });
        }
        known
    }

    /// Takes bytes; `None` if the stream is broken for good or not known.
    pub(crate) fn push(&mut self, conn: ConnId, bytes: &[u8]) -> Option<Vec<Message>> {
        self.conns.get_mut(&conn)?.stream.push(bytes)
    }

    /// Moves what the transactions send to the connections; what is for a connection that is gone is lost.
    pub(crate) fn flush(&mut self, transactions: &mut Transactions) {
        while let Some(output) = transactions.outputs.pop_front() {
            let Output::SendStream { conn, bytes } = &output else {
                self.outputs.push_back(output);
                continue;
            };
            match self.conns.get_mut(conn) {
                Some(entry) if entry.open => self.outputs.push_back(output),
                Some(entry) => entry.queue.push(bytes.clone()),
                None => {}
            }
        }
    }
}
