use crate::aes_cm::ENCRYPTED;
use crate::rtp::Header;
use crate::sources::Sources;
use crate::suite::{Cipher, MAX_PACKET};
use crate::{SourceIndex, SrtpError, Suite, rtcp};

/// Protects one direction's outgoing RTP and RTCP under one master key.
///
/// It never uses an index twice: a packet whose sequence number was sent before, or lies more than 128 behind, is
/// refused. Keep it as long as its key lives; a second `Sender` with the same key would repeat the key stream,
/// unless it was given this one's [`snapshot`](Sender::snapshot).
pub struct Sender {
    cipher: Cipher,
    sources: Sources,
}

impl Sender {
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
    /// [`SrtpError::KeyLength`], as [`new`](Sender::new).
    pub fn from_keying(suite: Suite, key_and_salt: &[u8]) -> Result<Self, SrtpError> {
        let (key, salt) = suite.split_keying(key_and_salt)?;
        Self::new(suite, key, salt)
    }

    /// Protects the RTP packet in the first `len` bytes of `buffer`, in place. The buffer needs
    /// [`Suite::rtp_tag_len`] more bytes. Returns the length of the protected packet.
    ///
    /// # Errors
    ///
    /// The packet is not RTP, does not fit, or its index is spent.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let header = checked(buffer, len).and_then(Header::parse_srtp)?;
        let mut source = self.sources.load(header.ssrc)?;
        let index = source.rtp.estimate(header.sequence);
        if index > MAX_RTP_INDEX {
            return Err(SrtpError::KeyExhausted);
        }
        source.rtp.take(index).map_err(|_| SrtpError::IndexReused)?;
        let len = match &self.cipher {
            Cipher::AesCm(keys) => keys.seal_rtp(buffer, len, header.len(), header.ssrc, index),
            Cipher::Gcm(keys) => keys.seal_rtp(buffer, len, header.len(), header.ssrc, index),
        }?;
        self.sources.store(source);
        Ok(len)
    }

    /// Protects the RTCP compound in the first `len` bytes of `buffer`, in place. The buffer needs
    /// [`Suite::rtcp_trailer_len`] more bytes. Returns the length of the protected packet.
    ///
    /// # Errors
    ///
    /// The packet is not RTCP, does not fit, or the key is exhausted.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let ssrc = checked(buffer, len).and_then(rtcp::first_ssrc)?;
        let mut source = self.sources.load(ssrc)?;
        // The first packet gets index 1, as libsrtp's does; the standard's 0 upsets some receivers.
        let index = source.rtcp.next().max(1);
        let word = u32::try_from(index).ok().filter(|index| *index < ENCRYPTED);
        let word = word.ok_or(SrtpError::KeyExhausted)? | ENCRYPTED;
        source.rtcp.take(index).map_err(|_| SrtpError::IndexReused)?;
        let len = match &self.cipher {
            Cipher::AesCm(keys) => keys.seal_rtcp(buffer, len, ssrc, word),
            Cipher::Gcm(keys) => keys.seal_rtcp(buffer, len, ssrc, word),
        }?;
        self.sources.store(source);
        Ok(len)
    }

    /// Where every source of this key is. Store it (see [`SourceIndex::reserved_ahead`]) with the keys.
    pub fn snapshot(&self) -> Vec<SourceIndex> {
        self.sources.snapshot().collect()
    }

    /// Makes every index below `marks` unusable, after a restart or takeover. Marks never move back.
    pub fn restore(&mut self, marks: &[SourceIndex]) {
        self.sources.restore(marks);
    }
}

/// The highest packet index: 48 bits (RFC 3711 section 9.2).
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

fn checked(buffer: &[u8], len: usize) -> Result<&[u8], SrtpError> {
    buffer.get(..len).filter(|packet| packet.len() <= MAX_PACKET).ok_or(SrtpError::NoRoom)
}
