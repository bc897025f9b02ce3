//! Session timers, RFC 4028. Only on the agents' side: Meta supports no refresh.

use std::time::{Duration, Instant};

use setu_model::Side;

use crate::endpoint::Limits;
use crate::message::{Builder, Message};
use crate::params::Params;

/// The timer of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionTimer {
    /// The session interval, in seconds.
    pub(super) expires_s: u32,
    /// Who refreshes.
    pub(super) refresher: Refresher,
    /// Whether the peer understands the timer, so that it may be required of it.
    required: bool,
}

/// Who refreshes a session, seen from our end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refresher {
    /// We send the next refresh at half the interval.
    Us,
    /// The peer does; without it the session ends a little before the interval does.
    Peer,
}

impl SessionTimer {
    /// The same timer with the peer's refresh awaited.
    pub(super) const fn awaited(self) -> Self {
        Self { refresher: Refresher::Peer, ..self }
    }

    /// When something is due after a refresh at `now` (RFC 4028 section 10).
    pub(super) fn due(&self, now: Instant) -> Instant {
        let expires = Duration::from_secs(u64::from(self.expires_s));
        match self.refresher {
            Refresher::Us => now + expires / 2,
            Refresher::Peer => now + expires.saturating_sub((expires / 3).min(GRACE)),
        }
    }
}

/// What a request of the peer gets of the timer it asks for. None if it asks for none, or on the side of Meta.
pub(super) fn granted(request: &Message, side: Side, limits: &Limits) -> Option<SessionTimer> {
    if side == Side::Meta {
        return None;
    }
    let (asked, refresher) = session_expires(request)?;
    let supported = has_timer(request, "Supported") || has_timer(request, "Require");
    let refresher = match refresher.as_deref() {
        _ if !supported => Refresher::Us,
        Some("uas") => Refresher::Us,
        Some(_) | None => Refresher::Peer,
    };
    // Proxies on the way raise Min-SE: the answer may shorten the interval, though not below it (section 9).
    let least_s = min_se(request).map_or(0, |least_s| least_s.min(asked)).max(limits.min_session_expires_s);
    let expires_s = asked.min(limits.session_expires_s).max(least_s);
    Some(SessionTimer { expires_s, refresher, required: supported && refresher == Refresher::Peer })
}

/// Whether a request asks for a shorter interval than we take: it gets 422 with Min-SE (RFC 4028 section 6).
pub(crate) fn is_too_brief(request: &Message, side: Side, limits: &Limits) -> bool {
    side == Side::Agents
        && has_timer(request, "Supported")
        && session_expires(request).is_some_and(|(asked, _)| asked < limits.min_session_expires_s)
}

/// Writes what was granted into a 2xx.
pub(super) fn grant(reply: Builder, timer: Option<&SessionTimer>, side: Side) -> Builder {
    let reply = match side {
        Side::Meta => reply,
        Side::Agents => reply.header("Supported", TIMER),
    };
    match timer {
        Some(timer) => {
            let refresher = if timer.refresher == Refresher::Us { "uas" } else { "uac" };
            let reply = reply.header("Session-Expires", format!("{};refresher={refresher}", timer.expires_s));
            if timer.required { reply.header("Require", TIMER) } else { reply }
        }
        None => reply,
    }
}

/// Writes the offer of a timer into an INVITE.
pub(super) fn offer(invite: Builder, side: Side, limits: &Limits, min_se_s: Option<u32>) -> Builder {
    if side == Side::Meta {
        return invite;
    }
    let min_se_s = min_se_s.unwrap_or(limits.min_session_expires_s);
    invite
        .header("Supported", TIMER)
        .header("Session-Expires", limits.session_expires_s.max(min_se_s).to_string())
        .header("Min-SE", min_se_s.to_string())
}

/// Writes a running timer into our refresh.
pub(super) fn renew(request: Builder, timer: &SessionTimer) -> Builder {
    let refresher = if timer.refresher == Refresher::Us { "uac" } else { "uas" };
    request
        .header("Supported", TIMER)
        .header("Session-Expires", format!("{};refresher={refresher}", timer.expires_s))
}

/// What a 2xx to a request of ours says of the timer.
pub(super) fn agreed(response: &Message) -> Option<SessionTimer> {
    let (expires_s, refresher) = session_expires(response)?;
    let refresher = if refresher.as_deref() == Some("uas") { Refresher::Peer } else { Refresher::Us };
    // A peer that answers with less than the RFC's least would have us refresh all day.
    Some(SessionTimer { expires_s: expires_s.max(LEAST_S), refresher, required: false })
}

/// The least interval that a 422 asks for, or an INVITE wants kept, in seconds.
pub(super) fn min_se(message: &Message) -> Option<u32> {
    let value = message.header("Min-SE")?;
    value.split(';').next()?.trim().parse().ok().filter(|seconds| *seconds <= MOST_S)
}

fn session_expires(message: &Message) -> Option<(u32, Option<String>)> {
    let value = message.header("Session-Expires")?;
    let (seconds, params) = value.split_once(';').unwrap_or((&value, ""));
    let params = Params::read_header(&format!(";{params}")).ok()?;
    let refresher = params.value("refresher").map(str::to_ascii_lowercase);
    Some((seconds.trim().parse().ok()?, refresher))
}

fn has_timer(message: &Message, header: &str) -> bool {
    message.list(header).iter().any(|option| option.eq_ignore_ascii_case(TIMER))
}

/// The option tag of RFC 4028.
const TIMER: &str = "timer";

/// How long before the end of the interval an unrefreshed session is given up (RFC 4028 section 10).
const GRACE: Duration = Duration::from_secs(32);

/// The least session interval (RFC 4028 section 5), in seconds.
const LEAST_S: u32 = 90;

/// A day: no 422 may ask for more, in seconds.
const MOST_S: u32 = 86_400;
