use crate::SrtpError;
use crate::window::Window;

/// The most synchronisation sources one set of keys may serve. A peer changes its source when it switches to music
/// or transfers a call; 64 changes without new keys are no telephone call. Sources are never forgotten while their
/// keys live: forgetting one would let its packets be replayed.
pub const MAX_SOURCES: usize = 64;

/// How far one source has come under one set of keys: what must survive a restart so that no index is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceIndex {
    /// The synchronisation source.
    pub ssrc: u32,
    /// The lowest RTP index above all used: roll-over counter times 2^16 plus sequence number, below 2^48.
    pub rtp: u64,
    /// The lowest SRTCP index above all used, below 2^31.
    pub rtcp: u32,
}

impl SourceIndex {
    /// Moves the mark ahead, so that it need not be stored for every packet: store the result, use up to it, store
    /// again. `rtp` must stay below 2^15, or the peer's guess of the roll-over counter goes wrong after a restore.
    #[must_use]
    pub const fn reserved_ahead(self, rtp: u16, rtcp: u16) -> Self {
        Self { ssrc: self.ssrc, rtp: self.rtp + rtp as u64, rtcp: self.rtcp.saturating_add(rtcp as u32) }
    }

    /// The sequence number that the next packet of this source must bear, or one above it.
    pub const fn next_sequence(self) -> u16 {
        (self.rtp & 0xffff) as u16
    }
}

/// One source: which RTP and which SRTCP indexes were taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Source {
    ssrc: u32,
    pub(crate) rtp: Window,
    pub(crate) rtcp: Window,
}

/// The sources of one set of keys. Grows only for a source that has authenticated itself (or is our own).
#[derive(Debug, Default)]
pub(crate) struct Sources {
    known: Vec<Source>,
}

impl Sources {
    /// A copy of the source's state, fresh if it is not known yet.
    pub(crate) fn load(&self, ssrc: u32) -> Result<Source, SrtpError> {
        match self.known.iter().find(|source| source.ssrc == ssrc) {
            Some(source) => Ok(*source),
            None if self.known.len() >= MAX_SOURCES => Err(SrtpError::TooManySources),
            None => Ok(Source { ssrc, ..Source::default() }),
        }
    }

    /// Keeps the state of a source whose packet proved itself.
    pub(crate) fn store(&mut self, source: Source) {
        if let Some(known) = self.known.iter_mut().find(|known| known.ssrc == source.ssrc) {
            *known = source;
        } else if self.known.len() < MAX_SOURCES {
            self.known.push(source);
        }
    }

    /// How many sources are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Where every source is.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = SourceIndex> {
        self.known.iter().map(|source| SourceIndex {
            ssrc: source.ssrc,
            rtp: source.rtp.next(),
            rtcp: u32::try_from(source.rtcp.next()).unwrap_or(u32::MAX),
        })
    }

    /// Makes every index below the marks count as taken. A mark never moves back.
    pub(crate) fn restore(&mut self, marks: &[SourceIndex]) {
        for mark in marks {
            let Ok(mut source) = self.load(mark.ssrc) else { return };
            if mark.rtp > source.rtp.next() {
                source.rtp = Window::above(mark.rtp);
            }
            if u64::from(mark.rtcp) > source.rtcp.next() {
                source.rtcp = Window::above(u64::from(mark.rtcp));
            }
            self.store(source);
        }
    }
}
