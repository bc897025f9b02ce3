//! A call as a ladder diagram, from its CDR.

use std::fmt::Write;

use setu_model::{Direction, Ingress, Milestone, TimelineEntry};

use super::DemoCall;

/// Draws one call.
pub(super) fn draw(call: &DemoCall) -> String {
    let title = match (call.ingress, call.direction) {
        (Ingress::ProviderUri, _) => "A webhook names the URI at which a WhatsApp user waits",
        (Ingress::Graph, Direction::UserInitiated) => "A WhatsApp user calls, by Graph",
        (Ingress::Graph, Direction::BusinessInitiated) => "An agent calls a WhatsApp user, by Graph",
        (Ingress::Sip, Direction::UserInitiated) => "A WhatsApp user calls the business",
        (Ingress::Sip, Direction::BusinessInitiated) => "An agent calls a WhatsApp user",
    };
    let mut text = format!(
        "\n{title}  (call {})\n\n      ms  WhatsApp user              setu              agent alice\n",
        call.cdr.call
    );
    for entry in call.cdr.timeline.entries() {
        if let Some(step) = step(call, *entry) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {:>6}  {step}", entry.at_ms);
        }
    }
    let hz = |heard: Option<f64>| heard.map_or("nothing".to_owned(), |hz| format!("{hz:.0} Hz"));
    let _ = writeln!(
        text,
        "\n  The customer heard {} and the agent {}; the first of the agent's audio came {} ms after the answer.",
        hz(call.customer_heard_hz),
        hz(call.agent_heard_hz),
        call.first_audio_ms.map_or("?".to_owned(), |ms| ms.to_string()),
    );
    let _ = writeln!(text, "  The call ended: {}.", call.cdr.termination);
    if let Some(recording) = &call.recording {
        let _ = writeln!(
            text,
            "  Recording ({:.1} s, customer left, agent right): {}",
            recording.seconds, recording.path
        );
    }
    text
}

const CUSTOMER_TO_SETU: &str = "    |------------------------->|                     |";
const SETU_TO_CUSTOMER: &str = "    |<-------------------------|                     |";
const SETU_TO_AGENT: &str = "    |                          |-------------------->|";
const AGENT_TO_SETU: &str = "    |                          |<--------------------|";
const BOTH_WAYS: &str = "    |<=========================|====================>|";
const INSIDE: &str = "    |                          |                     |";

fn step(call: &DemoCall, entry: TimelineEntry) -> Option<String> {
    let (direction, by_webhook) = (call.direction, call.ingress == Ingress::ProviderUri);
    let by_graph = call.ingress == Ingress::Graph;
    let customers = (entry.leg == Some(0)) == (direction == Direction::UserInitiated);
    let inward = if customers { CUSTOMER_TO_SETU } else { AGENT_TO_SETU };
    let outward = if customers { SETU_TO_CUSTOMER } else { SETU_TO_AGENT };
    let first = match direction {
        Direction::UserInitiated => CUSTOMER_TO_SETU,
        Direction::BusinessInitiated => AGENT_TO_SETU,
    };
    let (arrow, what) = match entry.what {
        Milestone::Offered if by_graph => (first, "POST of a webhook with Meta's offer, signed"),
        Milestone::Acknowledged if by_graph => (inward, "200 to our accept, after our pre_accept"),
        Milestone::HungUp if by_graph && customers => (inward, "POST of a webhook: terminate"),
        Milestone::Offered if by_webhook => (first, "POST call.connect, signed"),
        Milestone::Acknowledged if by_webhook => (inward, "200 OK to our INVITE at the URI, over TLS"),
        Milestone::Offered => (first, "INVITE, after a digest challenge"),
        Milestone::Reserved => (INSIDE, "the agent is reserved"),
        Milestone::Dialled => (outward, "INVITE"),
        Milestone::Ringing => (inward, "180 Ringing"),
        Milestone::EarlyMedia => (inward, "183 with early media"),
        Milestone::Answered => (inward, "200 OK"),
        Milestone::Acknowledged => (inward, "ACK of the 200 passed on"),
        Milestone::Bridged => (BOTH_WAYS, "audio flows: SRTP toward Meta, RTP toward the agent"),
        Milestone::FirstPacket => (inward, "first audio packet"),
        Milestone::Held => (inward, "hold"),
        Milestone::Resumed => (inward, "resume"),
        Milestone::Renegotiated => (inward, "re-INVITE or UPDATE, which ends at the bridge"),
        Milestone::Refused => (inward, "refused"),
        Milestone::Cancelled => (inward, "given up"),
        Milestone::HungUp => (inward, "BYE"),
        Milestone::MediaLost => (INSIDE, "no media"),
        Milestone::RecordingStarted => (INSIDE, "recording begins"),
        Milestone::RecordingStopped => (INSIDE, "recording complete"),
        Milestone::RecordingFailed => (INSIDE, "recording failed"),
        Milestone::Ended => (INSIDE, "the record (CDR) is written"),
    };
    Some(format!("{arrow}  {what}"))
}
