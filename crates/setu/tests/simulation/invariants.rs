//! What must hold after every plan, whatever happened in it (decision 8 of the design).

use std::collections::BTreeMap;

use setu_model::{Cdr, Direction};
use setu_twin::meta::{CallReport, Violation};

use crate::run::Run;

/// Returns what does not hold.
pub(crate) fn check(run: &Run) -> Vec<String> {
    let mut faults = Vec::new();
    every_call_ended(run, &mut faults);
    one_record_for_each_call(run, &mut faults);
    every_order_is_answered(run, &mut faults);
    nothing_is_left(run, &mut faults);
    meta_was_never_crossed(run, &mut faults);
    meta_heard_one_continuous_stream(run, &mut faults);
    faults.extend(run.world.bridge.media.witness.faults.iter().cloned());
    faults.extend(run.world.bridge.faults.iter().cloned());
    faults
}

fn every_call_ended(run: &Run, faults: &mut Vec<String>) {
    let world = &run.world;
    if !run.ended {
        let phones: Vec<_> = world.phones.iter().map(|phone| phone.active_calls().len()).collect();
        faults.push(format!(
            "calls do not end: {} at the bridge, {} at Meta, {phones:?} at the phones",
            world.bridge.shard.calls(),
            world.edge.active_calls(),
        ));
    }
}

fn one_record_for_each_call(run: &Run, faults: &mut Vec<String>) {
    let cdrs = &run.world.bridge.cdrs;
    let mut ids = BTreeMap::new();
    for cdr in cdrs {
        *ids.entry(cdr.call).or_insert(0) += 1;
        if cdr.timeline.entries().is_empty() || cdr.legs.is_empty() {
            faults.push(format!("the record of {} is empty", cdr.call));
        }
    }
    faults.extend(ids.iter().filter(|(_, n)| **n != 1).map(|(id, n)| format!("{n} records of {id}")));
    // Of each call that a peer saw answered there is a record that says so, and the other way round.
    let answered =
        |direction| cdrs.iter().filter(|cdr| cdr.direction == direction && cdr.answered.is_some()).count();
    let from_users = |direction| {
        // A 200 that crosses the user's own goodbye is an answer all the same.
        let seen = |report: &&CallReport| report.direction == direction && report.status == Some(200);
        run.world.reports.iter().filter(seen).count()
    };
    for direction in [Direction::UserInitiated, Direction::BusinessInitiated] {
        let (ours, theirs) = (answered(direction), from_users(direction));
        if ours > theirs && !run.plan.loses_meta() {
            faults.push(format!("{ours} {direction:?} calls are recorded as answered, Meta saw {theirs}"));
        }
    }
}

/// An order is answered once, and a call that was placed has a record.
fn every_order_is_answered(run: &Run, faults: &mut Vec<String>) {
    let world = &run.world;
    for order in 1..=world.orders {
        let answers = world.bridge.answers.iter().filter(|(token, _)| *token == order).count();
        if answers != 1 {
            faults.push(format!("{answers} answers to order {order}"));
        }
    }
    for call in world.bridge.placed() {
        let recorded = |cdr: &Cdr| cdr.call == call && cdr.direction == Direction::BusinessInitiated;
        if !world.bridge.cdrs.iter().any(recorded) {
            faults.push(format!("{call} was placed and has no record"));
        }
    }
}

fn nothing_is_left(run: &Run, faults: &mut Vec<String>) {
    faults.extend(run.world.bridge.leftovers());
    let sizes = run.world.bridge.shard.sip_sizes();
    if (sizes.calls, sizes.sessions, sizes.transactions) != (0, 0, 0) {
        faults.push(format!("left in the SIP endpoint: {sizes:?}"));
    }
}

fn meta_was_never_crossed(run: &Run, faults: &mut Vec<String>) {
    let lost = |what: &Violation| {
        let silence = matches!(what, Violation::NoAck | Violation::NoMediaAtStart | Violation::MediaStopped);
        silence && run.plan.loses_meta()
    };
    for (call, violation) in run.world.violations.iter().filter(|(_, what)| !lost(what)) {
        faults.push(format!("Meta does not take {violation:?} in call {call:?}"));
    }
    for report in &run.world.reports {
        for request in &report.requests {
            if !["ACK", "BYE", "CANCEL"].contains(&request.as_str()) {
                faults.push(format!("Meta got {request} in call {}", report.call));
            }
        }
    }
}

fn meta_heard_one_continuous_stream(run: &Run, faults: &mut Vec<String>) {
    // What the network doubles, the replay window of the twin refuses.
    let doubles = run.plan.terrain.link.duplicate_percent > 0;
    // What overtakes the end of a handshake, or comes in place of it, is nothing yet.
    let early = run.plan.terrain.dtls;
    for report in &run.world.reports {
        let heard = &report.heard;
        let broken = heard.ssrcs.len() > 1
            || heard.sequence_jumps + heard.timestamp_jumps + heard.ptime_violations > 0
            || (heard.unknown > 0 && !early)
            || (heard.srtp_failures > 0 && !doubles);
        if broken {
            faults.push(format!("Meta heard a broken stream in call {}: {heard:?}", report.call));
        }
    }
}
