//! How the shells' events reach the signalling loop.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use setu_sip_net::NetEvent;
use tokio::sync::mpsc;

use crate::bridge::Shared;
use crate::driver::Input;

/// Makes the function a shell hands its events to. What does not fit is told when its number has doubled: a flood of
/// packets must not become a flood of lines.
pub(crate) fn forward<E: 'static>(
    inputs: mpsc::Sender<Input>,
    state: &Arc<Shared>,
    input: fn(E) -> Input,
) -> impl Fn(E) + Send + Sync + 'static {
    let state = Arc::clone(state);
    move |event| {
        if let Err(mpsc::error::TrySendError::Full(_)) = inputs.try_send(input(event)) {
            let dropped = state.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::error!(dropped, "the bridge is overloaded: inputs are dropped");
            }
        }
    }
}

pub(crate) fn net_input(event: NetEvent) -> Input {
    match event {
        NetEvent::Received { arrival, message } => Input::Received(arrival, message),
        NetEvent::Malformed { arrival, error } => Input::Malformed(arrival, Box::new(error)),
        NetEvent::Bound { token, flow, remote } => Input::Bound(token, flow, remote),
        NetEvent::SendFailed { token, reason } => {
            tracing::debug!(?token, %reason, "cannot send");
            Input::SendFailed(token)
        }
        NetEvent::Returned { quote, .. } => Input::Returned(quote),
        NetEvent::FlowClosed { flow } => Input::FlowClosed(flow),
    }
}

/// Inputs that may wait for the driver: more than it handles in a second. What does not fit is dropped and counted;
/// SIP sends it again.
pub(crate) const INPUT_QUEUE: usize = 65_536;
