//! What the file may say of events out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use super::PasswordSource;

/// Events out: what the operator's own programs are told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// How often an event is tried before it is given up.
    pub tries: u32,
    /// How long is waited after the first failure, in seconds; twice as long after each further one, an hour at most.
    pub retry_s: u64,
    /// Who is told.
    pub endpoints: Vec<EventEndpoint>,
}

impl Default for Events {
    fn default() -> Self {
        Self { tries: 32, retry_s: 5, endpoints: Vec::new() }
    }
}

/// One program that is told of events.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventEndpoint {
    /// Its name, by which what it did not take is remembered.
    pub name: String,
    /// Where events are posted; https only.
    pub url: String,
    /// Where the secrets are found that sign them; several while one is being rotated.
    pub secrets: Vec<PasswordSource>,
    /// What it is told; without the line everything but keys.
    #[serde(default)]
    pub kinds: Option<BTreeSet<EventKind>>,
    /// PEM file with certificate authorities trusted besides the system's.
    pub extra_roots: Option<PathBuf>,
}

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum EventKind {
    /// A call came in.
    #[serde(rename = "call.offered")]
    CallOffered,
    /// The called side rings.
    #[serde(rename = "call.ringing")]
    CallRinging,
    /// Both sides are connected.
    #[serde(rename = "call.answered")]
    CallAnswered,
    /// A key was pressed.
    #[serde(rename = "call.digit")]
    CallDigit,
    /// A call is over: the whole record.
    #[serde(rename = "call.ended")]
    CallEnded,
    /// Something became known of a call after its record was written.
    #[serde(rename = "cdr.revised")]
    CdrRevised,
    /// A customer gave or took a permission.
    #[serde(rename = "permission.changed")]
    PermissionChanged,
    /// Meta warns or restricts an account.
    #[serde(rename = "quality.changed")]
    QualityChanged,
}

impl EventEndpoint {
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let secrets = self.secrets.iter_mut().filter_map(PasswordSource::file_mut);
        secrets.chain(self.extra_roots.as_mut())
    }
}
