//! How many files and sockets this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// Lets this process open as many files as the system permits, and returns how many that is. Debian's default of 1,024
/// would end at two hundred calls.
///
/// # Errors
/// What the system says.
pub(crate) fn raise() -> Result<u64, nix::Error> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// About as many as the bridge has open when all its places are taken.
pub(crate) fn wanted(config: &Config) -> u64 {
    let limits = &config.limits;
    (limits.calls.saturating_mul(FILES_OF_A_CALL) + limits.connections).saturating_add(FILES_OF_THE_BRIDGE)
        as u64
}

/// What to do where the system permits fewer than wanted.
pub(crate) const REMEDY: &str = "raise the hard limit (LimitNOFILE= of the systemd unit, --ulimit nofile= of Docker), \
                                 or lower limits.calls or limits.connections";

/// Two ports on either side, and a recording.
const FILES_OF_A_CALL: usize = 5;

/// Listeners, event queues, logs.
const FILES_OF_THE_BRIDGE: usize = 128;
