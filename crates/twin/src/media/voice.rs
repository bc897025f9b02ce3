//! One party's end of one media stream: mouth, ear, SRTP and RTCP behind one socket address.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use setu_model::{Entropy, Now};

use super::dtmf::DtmfPlan;
use super::ear::{Ear, EarPlan, Noticed};
use super::heard::Heard;
use super::mouth::{Mouth, MouthPlan};
use super::rtp::{self, Report, ReportBlock, Rtp};
use super::srtp::{CryptoLine, Srtp};

/// What protects a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Nothing: plain RTP.
    Plain,
    /// Keys that a DTLS handshake will make: until then nothing is sent or taken.
    Awaited,
    /// Ours and theirs.
    Known(CryptoLine, CryptoLine),
}

impl Keys {
    fn contexts(&self) -> Option<Srtp> {
        match self {
            Self::Known(ours, theirs) => Srtp::new(ours, theirs),
            Self::Plain | Self::Awaited => None,
        }
    }
}

/// What was agreed for one stream, and how this party uses it.
#[derive(Debug, Clone)]
pub(crate) struct VoicePlan {
    pub(crate) mouth: MouthPlan,
    pub(crate) ear: EarPlan,
    pub(crate) keys: Keys,
    pub(crate) remote: SocketAddr,
    /// Where RTCP goes: the RTP address when multiplexed.
    pub(crate) remote_rtcp: SocketAddr,
    /// `None` sends no RTCP.
    pub(crate) rtcp_interval: Option<Duration>,
    /// Whether to stay silent until the first authentic packet came.
    pub(crate) wait_for_peer: bool,
    /// Whether the peer may hear us at all (not on hold).
    pub(crate) may_speak: bool,
}

pub(crate) struct Voice {
    plan: VoicePlan,
    srtp: Option<Srtp>,
    mouth: Mouth,
    ear: Ear,
    entropy: Box<dyn Entropy>,
    /// The last authentic packet: RTP, and RTP or RTCP.
    last_rtp: Option<Instant>,
    last_any: Option<Instant>,
    rtcp_at: Option<Instant>,
    peer_report: Option<(u32, Instant)>,
    noticed: Vec<Noticed>,
    transmits: VecDeque<(SocketAddr, Bytes)>,
}

impl Voice {
    pub(crate) fn new(plan: VoicePlan, mut entropy: Box<dyn Entropy>, now: Now) -> Self {
        let mut voice = Self {
            srtp: plan.keys.contexts(),
            mouth: Mouth::new(plan.mouth, entropy.as_mut()),
            ear: Ear::new(plan.ear, now.mono),
            entropy,
            last_rtp: None,
            last_any: None,
            rtcp_at: plan.rtcp_interval.map(|every| now.mono + every),
            peer_report: None,
            noticed: Vec::new(),
            transmits: VecDeque::new(),
            plan,
        };
        voice.open_if_allowed(now);
        voice
    }

    /// Follows a renegotiation: new address, codec, direction or keys; source and counters go on.
    pub(crate) fn replan(&mut self, mut plan: VoicePlan, now: Now) {
        // A handshake outlives it, and so does the way its datagrams go.
        if plan.keys == Keys::Awaited {
            plan.keys = self.plan.keys.clone();
            (plan.remote, plan.remote_rtcp) = (self.plan.remote, self.plan.remote_rtcp);
        }
        if plan.keys != self.plan.keys {
            self.srtp = plan.keys.contexts();
        }
        self.mouth.replan(plan.mouth);
        self.ear.replan(plan.ear);
        self.plan = plan;
        self.open_if_allowed(now);
    }

    pub(crate) fn plan(&self) -> &VoicePlan {
        &self.plan
    }

    /// Time zero of the report is now.
    pub(crate) fn answered(&mut self, now: Now) {
        self.ear.answered(now.mono);
    }

    pub(crate) fn press(&mut self, plan: &DtmfPlan, from: Instant) {
        self.mouth.press(plan, from);
    }

    pub(crate) fn change_source(&mut self) {
        self.mouth.change_source(self.entropy.as_mut());
    }

    /// When the last authentic RTP packet came, or RTP or RTCP if `rtcp_counts`.
    pub(crate) fn last_heard(&self, rtcp_counts: bool) -> Option<Instant> {
        if rtcp_counts { self.last_any } else { self.last_rtp }
    }

    pub(crate) fn report(&self) -> Heard {
        self.ear.report()
    }

    /// Takes what the ear noticed since the last call.
    pub(crate) fn noticed(&mut self) -> Vec<Noticed> {
        std::mem::take(&mut self.noticed)
    }

    /// Whether a datagram from an unknown address is ours: it opens with the stream's keys. Plain RTP never is.
    /// From then on that address is the peer.
    pub(crate) fn claims(&mut self, from: SocketAddr, bytes: &[u8]) -> bool {
        // A context of its own, so that a stranger's packet leaves no trace in the stream's.
        let Some(mut probe) = self.plan.keys.contexts() else { return false };
        let opens = !rtp::is_rtcp(bytes) && probe.unprotect_rtp(bytes).is_some();
        if opens {
            self.plan.remote = from;
            self.plan.remote_rtcp = from;
        }
        opens
    }

    /// A handshake made the keys.
    pub(crate) fn key(&mut self, ours: CryptoLine, theirs: CryptoLine, now: Now) {
        let plan = VoicePlan { keys: Keys::Known(ours, theirs), ..self.plan.clone() };
        self.replan(plan, now);
    }

    /// Packets go to `remote` from now on, and come from there.
    pub(crate) fn move_to(&mut self, remote: SocketAddr) {
        self.plan.remote = remote;
        self.plan.remote_rtcp = remote;
    }

    /// Takes one datagram. Returns whether it was authentic.
    pub(crate) fn handle_datagram(&mut self, bytes: &[u8], now: Now) -> bool {
        if bytes.first().is_none_or(|b| b >> 6 != 2) || self.plan.keys == Keys::Awaited {
            self.ear.heard_mut().unknown += 1;
            return false;
        }
        let authentic =
            if rtp::is_rtcp(bytes) { self.take_rtcp(bytes, now) } else { self.take_rtp(bytes, now) };
        if authentic {
            self.last_any = Some(now.mono);
            self.open_if_allowed(now);
        }
        authentic
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        for packet in self.mouth.speak(now.mono, self.entropy.as_mut()) {
            let plain = packet.write();
            let sealed = match &mut self.srtp {
                Some(srtp) => srtp.protect_rtp(&plain),
                None => Some(plain),
            };
            self.transmits.extend(sealed.map(|bytes| (self.plan.remote, bytes)));
        }
        if let Some(every) = self.plan.rtcp_interval
            && self.rtcp_at.is_some_and(|at| at <= now.mono)
        {
            self.rtcp_at = Some(now.mono + every);
            self.send_report(now, false);
        }
    }

    /// Says goodbye by RTCP.
    pub(crate) fn farewell(&mut self, now: Now) {
        if self.plan.rtcp_interval.is_some() {
            self.send_report(now, true);
        }
        self.mouth.shut();
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.mouth.poll_timeout(), self.rtcp_at].into_iter().flatten().min()
    }

    fn open_if_allowed(&mut self, now: Now) {
        if !self.plan.may_speak || self.plan.keys == Keys::Awaited {
            self.mouth.shut();
        } else if !self.plan.wait_for_peer || self.last_rtp.is_some() {
            self.mouth.open(now.mono);
        }
    }

    fn take_rtp(&mut self, bytes: &[u8], now: Now) -> bool {
        let plain = match &mut self.srtp {
            Some(srtp) => srtp.unprotect_rtp(bytes),
            None => Some(Bytes::copy_from_slice(bytes)),
        };
        let Some(packet) = plain.as_deref().and_then(Rtp::read) else {
            self.ear.heard_mut().srtp_failures += 1;
            return false;
        };
        self.last_rtp = Some(now.mono);
        self.ear.take(&packet, now.mono, &mut self.noticed);
        true
    }

    fn take_rtcp(&mut self, bytes: &[u8], now: Now) -> bool {
        let plain = match &mut self.srtp {
            Some(srtp) => srtp.unprotect_rtcp(bytes),
            None => Some(Bytes::copy_from_slice(bytes)),
        };
        let Some(facts) = plain.as_deref().and_then(rtp::read_rtcp) else {
            self.ear.heard_mut().srtp_failures += 1;
            return false;
        };
        let heard = self.ear.heard_mut();
        heard.rtcp_packets += 1;
        heard.rtcp_reports += facts.reports as u64;
        heard.rtcp_bye |= facts.bye;
        if let Some(ntp) = facts.sender_report_ntp {
            self.peer_report = Some((ntp, now.mono));
        }
        true
    }

    fn send_report(&mut self, now: Now, bye: bool) {
        if self.plan.keys == Keys::Awaited {
            return;
        }
        // Meta sends nothing at all before the first packet, reports included.
        if !self.mouth.is_open() && self.plan.wait_for_peer && self.last_rtp.is_none() {
            return;
        }
        let heard = self.ear.report();
        let about = heard.ssrcs.first().map(|&ssrc| ReportBlock {
            ssrc,
            lost: heard.lost as u32,
            highest: self.ear.highest_sequence(),
            last_report: self.peer_report.map_or(0, |(ntp, _)| ntp),
            delay: self.peer_report.map_or(0, |(_, at)| {
                (now.mono.saturating_duration_since(at).as_secs_f64() * 65_536.0) as u32
            }),
        });
        let report = Report {
            ssrc: self.mouth.ssrc(),
            wall_ms: now.wall.unix_ms(),
            timestamp: self.mouth.timestamp(),
            packets: self.mouth.sent_packets,
            octets: self.mouth.sent_octets,
            about,
        };
        let plain = rtp::write_report(&report, "voice@twin", bye);
        let sealed = match &mut self.srtp {
            Some(srtp) => srtp.protect_rtcp(&plain),
            None => Some(plain),
        };
        self.transmits.extend(sealed.map(|bytes| (self.plan.remote_rtcp, bytes)));
    }
}
