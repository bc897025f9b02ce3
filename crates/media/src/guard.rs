//! The SRTP contexts of a leg: nothing passes in or out around them.

use setu_model::Secret;
use setu_srtp::{Receiver, Sender, SrtpError, Suite};

use crate::{Crypto, SetupRefused};

/// Protects what the bridge sends and checks what the peer sent.
pub(crate) enum Guard {
    /// The peer agreed to plain RTP, and its profile allows that. Contexts it had before are kept: should it come back
    /// to their keys, their indexes go on.
    Plain(Option<Box<Contexts>>),
    /// Nothing passes: the keys are still to come.
    Pending,
    /// Encrypted both ways.
    Srtp(Box<Contexts>),
}

pub(crate) struct Contexts {
    send: Kept<Sender>,
    receive: Kept<Receiver>,
}

/// The context in use, and those of keys that were in use before: a peer that goes back to an old key finds its
/// indexes where they were, so that none is used, or taken, twice.
struct Kept<C> {
    current: Keyed<C>,
    former: Vec<Keyed<C>>,
}

struct Keyed<C> {
    suite: Suite,
    key: Secret<Box<[u8]>>,
    context: C,
}

impl Guard {
    /// Makes contexts for a leg's keys.
    pub(crate) fn new(crypto: &Crypto) -> Result<Self, SetupRefused> {
        let (suite, send, receive) = match crypto {
            Crypto::Plain => return Ok(Self::Plain(None)),
            Crypto::Dtls(_) => return Ok(Self::Pending),
            Crypto::Srtp { suite, send, receive } => (suite, send, receive),
        };
        Ok(Self::Srtp(Box::new(Contexts {
            send: Kept::new(Keyed::new(*suite, send, Sender::from_keying)?),
            receive: Kept::new(Keyed::new(*suite, receive, Receiver::from_keying)?),
        })))
    }

    /// Goes over to other keys; contexts whose key stays the same go on. Changes nothing on an error.
    pub(crate) fn rekey(&mut self, crypto: &Crypto) -> Result<(), SetupRefused> {
        let (suite, send, receive) = match crypto {
            Crypto::Plain => {
                if let Self::Srtp(contexts) = std::mem::replace(self, Self::Plain(None)) {
                    *self = Self::Plain(Some(contexts));
                }
                return Ok(());
            }
            // The keys of the last handshake hold until the next one gives others; clear RTP ends at once.
            Crypto::Dtls(_) => {
                if matches!(self, Self::Plain(_)) {
                    *self = Self::Pending;
                }
                return Ok(());
            }
            Crypto::Srtp { suite, send, receive } => (suite, send, receive),
        };
        let (Self::Srtp(contexts) | Self::Plain(Some(contexts))) = self else {
            *self = Self::new(crypto)?;
            return Ok(());
        };
        if !contexts.send.has_room() || !contexts.receive.has_room() {
            return Err(SetupRefused::TooManyKeys);
        }
        let sender = Keyed::new(*suite, send, Sender::from_keying)?;
        let receiver = Keyed::new(*suite, receive, Receiver::from_keying)?;
        contexts.send.change(sender);
        contexts.receive.change(receiver);
        if let Self::Plain(kept) = self {
            *self = kept.take().map_or(Self::Plain(None), Self::Srtp);
        }
        Ok(())
    }

    /// Checks and decrypts an RTP packet in place; returns its plain length.
    pub(crate) fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        match self {
            Self::Plain(_) => Ok(packet.len()),
            Self::Pending => Err(SrtpError::NoKey),
            Self::Srtp(contexts) => contexts.receive.current.context.unprotect_rtp(packet),
        }
    }

    /// Checks and decrypts an RTCP compound in place; returns its plain length.
    pub(crate) fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        match self {
            Self::Plain(_) => Ok(packet.len()),
            Self::Pending => Err(SrtpError::NoKey),
            Self::Srtp(contexts) => contexts.receive.current.context.unprotect_rtcp(packet),
        }
    }

    /// Protects the RTP packet in the first `len` bytes in place; returns its length on the wire.
    pub(crate) fn close_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        match self {
            Self::Plain(_) => Ok(len),
            Self::Pending => Err(SrtpError::NoKey),
            Self::Srtp(contexts) => contexts.send.current.context.protect_rtp(buffer, len),
        }
    }

    /// Protects the RTCP compound in the first `len` bytes in place; returns its length on the wire.
    pub(crate) fn close_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        match self {
            Self::Plain(_) => Ok(len),
            Self::Pending => Err(SrtpError::NoKey),
            Self::Srtp(contexts) => contexts.send.current.context.protect_rtcp(buffer, len),
        }
    }
}

impl<C> Kept<C> {
    const fn new(current: Keyed<C>) -> Self {
        Self { current, former: Vec::new() }
    }

    const fn has_room(&self) -> bool {
        self.former.len() < MOST_FORMER
    }

    /// Goes over to the context of this key: the one that was kept, or else this new one.
    fn change(&mut self, fresh: Keyed<C>) {
        if self.current.is_for(&fresh) {
            return;
        }
        let known = self.former.iter().position(|keyed| keyed.is_for(&fresh));
        let next = known.map_or(fresh, |at| self.former.swap_remove(at));
        self.former.push(std::mem::replace(&mut self.current, next));
    }
}

impl<C> Keyed<C> {
    fn new(
        suite: Suite,
        key: &Secret<Box<[u8]>>,
        make: impl FnOnce(Suite, &[u8]) -> Result<C, SrtpError>,
    ) -> Result<Self, SetupRefused> {
        let context = make(suite, key.reveal()).map_err(|_| SetupRefused::BadKey)?;
        Ok(Self { suite, key: key.clone(), context })
    }

    fn is_for(&self, other: &Self) -> bool {
        self.suite == other.suite && self.key == other.key
    }
}

/// The most keys one leg may leave behind: a re-INVITE storm must not grow the call.
const MOST_FORMER: usize = 16;
