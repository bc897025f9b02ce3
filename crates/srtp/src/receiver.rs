use crate::aes_cm::{ENCRYPTED, INDEX};
use crate::rtp::Header;
use crate::sources::Sources;
use crate::suite::{Cipher, MAX_PACKET};
use crate::{SourceIndex, SrtpError, Suite, rtcp};

/// Checks and decrypts one direction's incoming RTP and RTCP under one master key.
///
/// Nothing changes for a packet that does not authenticate: no index, no source, however many a stranger forges.
pub struct Receiver {
    cipher: Cipher,
    sources: Sources,
}

impl Receiver {
    /// Derives the session keys.
    ///
    /// # Errors
    ///
    /// [`SrtpError::KeyLength`] if key or salt are not as long as `suite` wants.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        Ok(Self { cipher: Cipher::new(suite, key, salt)?, sources: Sources::default() })
    }

    /// The same from an SDES `inline:` value: key, then salt.
    ///
    /// # Errors
    ///
    /// [`SrtpError::KeyLength`], as [`new`](Receiver::new).
    pub fn from_keying(suite: Suite, key_and_salt: &[u8]) -> Result<Self, SrtpError> {
        let (key, salt) = suite.split_keying(key_and_salt)?;
        Self::new(suite, key, salt)
    }

    /// Checks and decrypts an SRTP packet in place. Returns the length of the plain packet at the front of `packet`.
    ///
    /// On an error the bytes of `packet` are of no use.
    ///
    /// # Errors
    ///
    /// The packet is malformed, replayed or forged, or its source is one too many.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = checked(packet).and_then(Header::parse_srtp)?;
        let mut source = self.sources.load(header.ssrc)?;
        let index = source.rtp.estimate(header.sequence);
        let (len, index) = if source.rtp.is_fresh() && header.sequence < JUST_WRAPPED {
            self.open_first(packet, &header, index)?
        } else {
            source.rtp.check(index).map_err(|_| SrtpError::Replayed)?;
            (self.open(packet, &header, index)?, index)
        };
        source.rtp.take(index).map_err(|_| SrtpError::Replayed)?;
        self.sources.store(source);
        Ok(len)
    }

    /// Opens the first packet heard of a source whose sequence number is low: it may have begun just below the wrap
    /// and lost what it sent before. Without a second look, the whole stream would stay unheard (RFC 3711 section
    /// 3.3.1 asks senders to begin low; not all do). Returns length and index.
    fn open_first(&self, packet: &mut [u8], header: &Header, index: u64) -> Result<(usize, u64), SrtpError> {
        let mut copy = [0; SECOND_LOOK];
        let copy = copy.get_mut(..packet.len());
        let Some(copy) = copy else { return self.open(packet, header, index).map(|len| (len, index)) };
        copy.copy_from_slice(packet);
        match self.open(packet, header, index) {
            Err(SrtpError::AuthenticationFailed) => {
                packet.copy_from_slice(copy);
                let index = index + (1 << 16);
                Ok((self.open(packet, header, index)?, index))
            }
            opened => opened.map(|len| (len, index)),
        }
    }

    fn open(&self, packet: &mut [u8], header: &Header, index: u64) -> Result<usize, SrtpError> {
        match &self.cipher {
            Cipher::AesCm(keys) => keys.open_rtp(packet, header.len(), header.ssrc, index),
            Cipher::Gcm(keys) => keys.open_rtp(packet, header.len(), header.ssrc, index),
        }
    }

    /// Checks and decrypts an SRTCP packet in place. Returns the length of the plain compound at the front of
    /// `packet`.
    ///
    /// # Errors
    ///
    /// As [`unprotect_rtp`](Receiver::unprotect_rtp).
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = checked(packet).and_then(rtcp::first_ssrc)?;
        let word = self.cipher.rtcp_word(packet).ok_or(SrtpError::TooShort)?;
        if word & ENCRYPTED == 0 {
            return Err(SrtpError::Unencrypted);
        }
        let mut source = self.sources.load(ssrc)?;
        source.rtcp.take(u64::from(word & INDEX)).map_err(|_| SrtpError::Replayed)?;
        let len = match &self.cipher {
            Cipher::AesCm(keys) => keys.open_rtcp(packet, ssrc, word),
            Cipher::Gcm(keys) => keys.open_rtcp(packet, ssrc, word),
        }?;
        self.sources.store(source);
        Ok(len)
    }

    /// How many sources have authenticated themselves.
    pub fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Where every source is: without it a restarted receiver would guess the roll-over counter wrong.
    pub fn snapshot(&self) -> Vec<SourceIndex> {
        self.sources.snapshot().collect()
    }

    /// Goes on from `marks`: nothing below them is taken.
    pub fn restore(&mut self, marks: &[SourceIndex]) {
        self.sources.restore(marks);
    }
}

/// A source's first sequence number below this may come right after a wrap: 80 s of voice lost before it.
const JUST_WRAPPED: u16 = 1 << 12;

/// The longest packet that gets a second look, in bytes: an Ethernet frame.
const SECOND_LOOK: usize = 1_500;

fn checked(packet: &[u8]) -> Result<&[u8], SrtpError> {
    if packet.len() <= MAX_PACKET { Ok(packet) } else { Err(SrtpError::NotRtp) }
}
