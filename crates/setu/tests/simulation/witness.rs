//! Watches every protected packet that leaves the bridge: no index may be used twice under one key.

use std::collections::{BTreeMap, BTreeSet};

use setu_srtp::Suite;

/// What was sent under each key.
#[derive(Default)]
pub(crate) struct IndexWitness {
    streams: BTreeMap<(Vec<u8>, u32, Protocol), Stream>,
    pub(crate) packets: u64,
    pub(crate) faults: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Rtp,
    Rtcp,
}

#[derive(Default)]
struct Stream {
    newest: Option<i64>,
    used: BTreeSet<i64>,
}

impl IndexWitness {
    /// Notes one packet as it stands on the wire.
    pub(crate) fn sent(&mut self, suite: Suite, key: &[u8], packet: &[u8]) {
        self.packets += 1;
        let Some((protocol, ssrc, number)) = read(suite, packet) else {
            self.faults.push(format!("a packet of {} bytes is neither RTP nor RTCP", packet.len()));
            return;
        };
        let stream = self.streams.entry((key.to_vec(), ssrc, protocol)).or_default();
        let index = match (protocol, stream.newest) {
            (Protocol::Rtcp, _) | (_, None) => number,
            // The roll-over counter is what makes the step from the newest the shortest (RFC 3711 section 3.3.1).
            (Protocol::Rtp, Some(newest)) => newest + i64::from((number - newest) as i16),
        };
        stream.newest = stream.newest.max(Some(index));
        if !stream.used.insert(index) {
            self.faults
                .push(format!("{protocol:?} index {index} of SSRC {ssrc:08x} used twice under one key"));
        }
    }
}

fn read(suite: Suite, packet: &[u8]) -> Option<(Protocol, u32, i64)> {
    let word = |at: usize| Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?));
    if (192..=223).contains(packet.get(1)?) {
        // SRTCP: the index stands before the tag, or last where the tag is part of the ciphertext (RFC 7714).
        let tag = match suite {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 10,
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 0,
        };
        let index = word(packet.len().checked_sub(tag + 4)?)? & 0x7fff_ffff;
        return Some((Protocol::Rtcp, word(4)?, i64::from(index)));
    }
    let sequence = u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?);
    Some((Protocol::Rtp, word(8)?, i64::from(sequence)))
}
