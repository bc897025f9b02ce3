//! What a refusal from the agents' side means.

use setu_model::Cause;

/// Returns what a final status of an agent or a trunk means, and the status to pass on to Meta: one that Meta
/// shows the user as what happened, never the PBX's inner troubles (a 401 or a 302 of its own).
pub const fn agent_refusal(status: u16) -> (Cause, u16) {
    match status {
        486 | 600 => (Cause::Busy, 486),
        603 => (Cause::Declined, 603),
        408 | 480 => (Cause::NoAnswer, 480),
        487 => (Cause::Cancelled, 480),
        415 | 488 | 606 => (Cause::IncompatibleMedia, 488),
        _ => (Cause::Unreachable, 480),
    }
}
