//! `setu demo`: a call in each direction between the Meta twin and an agent twin, one that a provider's webhook asks
//! for, and one that Graph signals, through a real bridge.

mod lab;
mod ladder;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use setu_model::{Cause, Cdr, Direction, Ingress, Milestone, RuleRefusal, Wall};
use setu_twin::media::Heard;
use setu_twin::media::{Recorded, read_recording};

use super::{fail, print, start_log};
use crate::config::Log;
use lab::Lab;

pub(super) fn run(folder: &Path, json: bool) -> ExitCode {
    // The diagrams tell what happens; only faults belong beside them.
    let quiet = Log { level: Some("error".to_owned()), ..Log::default() };
    if let Err(error) = start_log(&quiet) {
        return fail(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let demo = match runtime.block_on(demo(folder)) {
        Ok(demo) => demo,
        Err(error) => return fail(&format!("{error:#}")),
    };
    if json {
        match serde_json::to_string_pretty(&demo) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => return fail(&error.to_string()),
        }
    } else {
        demo.calls.iter().for_each(|call| print(&ladder::draw(call)));
        print(&refusals(&demo.refused));
    }
    let mut wrong: Vec<String> = demo.calls.iter().flat_map(DemoCall::wrong).collect();
    if !demo.refused.iter().any(|rule| rule.code == PERMISSION_REQUIRED) {
        wrong.push(format!("the call without permission was not refused for it: {:?}", demo.refused));
    }
    if wrong.is_empty() {
        if !json {
            print("Both sides of each call heard each other, and the recordings hold both sides.\n");
        }
        return ExitCode::SUCCESS;
    }
    fail(&format!("not as it should be:\n  {}", wrong.join("\n  ")))
}

/// A call that was not made, for people.
fn refusals(refused: &[DemoRefused]) -> String {
    let mut text =
        "\nAn agent calls a WhatsApp user who does not permit it, and Meta does not hear of it:\n".to_owned();
    for rule in refused {
        text += &format!("  {} {}. It would be allowed: {}.\n", rule.code, rule.reason, rule.remedy);
    }
    text + "Then a webhook told that the user permits it, and the agent's call above was made.\n\n"
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Demo {
    calls: Vec<DemoCall>,
    /// Why a call that an agent tried was not made.
    refused: Vec<DemoRefused>,
}

/// One rule that forbade a call.
#[derive(Debug, Serialize)]
struct DemoRefused {
    code: u16,
    reason: String,
    /// What would make it allowed.
    remedy: String,
}

impl From<RuleRefusal> for DemoRefused {
    fn from(rule: RuleRefusal) -> Self {
        Self { code: rule.code, reason: format!("{}: {}", rule.title, rule.reason), remedy: rule.remedy }
    }
}

/// One call of the demo.
#[derive(Debug, Serialize)]
struct DemoCall {
    direction: Direction,
    ingress: Ingress,
    result: Cause,
    /// From the first message to the answer.
    setup_ms: Option<u64>,
    /// From the answer of the called side, as the bridge received it, to the first of the agent's tone that the
    /// customer heard.
    first_audio_ms: Option<i64>,
    customer_heard_hz: Option<f64>,
    agent_heard_hz: Option<f64>,
    recording: Option<DemoRecording>,
    cdr: Cdr,
}

/// The recording, as the twin read it from the disk.
#[derive(Debug, Serialize)]
struct DemoRecording {
    path: String,
    channels: u8,
    seconds: f64,
    /// The tones in the left channel (customer) and the right one (agent).
    hz: Vec<Option<f64>>,
}

async fn demo(folder: &Path) -> Result<Demo> {
    let mut lab = Lab::start(folder).await?;
    let inbound = lab.user_calls().await.context("the user's call")?;
    let refused = lab.agent_may_not_call().await.context("the call without permission")?;
    let outbound = lab.agent_calls().await.context("the agent's call")?;
    let by_webhook = lab.webhook_asks().await.context("the call that a webhook asks for")?;
    let by_graph = lab.user_calls_by_graph().await.context("the user's call by Graph")?;
    lab.stop().await;
    let calls =
        [inbound, outbound, by_webhook, by_graph].into_iter().map(DemoCall::of).collect::<Result<_>>()?;
    let refused = refused.into_iter().map(DemoRefused::from).collect();
    Ok(Demo { calls, refused })
}

/// What the three parties said of one call.
struct Witnesses {
    cdr: Cdr,
    /// What the customer heard, and when the customer's side answered or was answered.
    customer: Heard,
    customer_answered: Option<Wall>,
    agent_heard_hz: Option<f64>,
}

impl DemoCall {
    fn of(said: Witnesses) -> Result<Self> {
        let Witnesses { cdr, customer, customer_answered, agent_heard_hz } = said;
        let recording = match &cdr.recording {
            None => None,
            Some(file) => {
                let Recorded { channels, seconds, hz } = read_recording(Path::new(&file.path))
                    .with_context(|| format!("the recording {}", file.path))?;
                Some(DemoRecording { path: file.path.clone(), channels, seconds, hz })
            }
        };
        let answered = cdr.timeline.first(Milestone::Answered).map(|ms| cdr.began.unix_ms() + ms as i64);
        let heard = customer_answered.zip(customer.first_audio_ms).map(|(at, ms)| at.unix_ms() + ms);
        Ok(Self {
            direction: cdr.direction,
            ingress: cdr.ingress,
            result: cdr.termination.cause,
            setup_ms: cdr.setup_ms,
            first_audio_ms: heard.zip(answered).map(|(heard, answered)| heard - answered),
            customer_heard_hz: customer.hz,
            agent_heard_hz,
            recording,
            cdr,
        })
    }

    /// What is not as it should be, in words.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |good: bool, what: String| {
            if !good {
                wrong.push(format!("{:?}: {what}", self.direction));
            }
        };
        expect(self.result == Cause::Success, format!("the call ended with {}", self.result));
        let near = |heard: Option<f64>, hz: u32| heard.is_some_and(|h| (h - f64::from(hz)).abs() < 10.0);
        let tone =
            |who: &str, heard: Option<f64>, hz: u32| format!("{who} has {heard:?} Hz in place of {hz} Hz");
        let said = |who, heard| tone(who, heard, lab::AGENT_HZ);
        expect(
            near(self.customer_heard_hz, lab::AGENT_HZ),
            said("the customer's ear", self.customer_heard_hz),
        );
        let said = |who, heard| tone(who, heard, lab::CUSTOMER_HZ);
        expect(near(self.agent_heard_hz, lab::CUSTOMER_HZ), said("the agent's ear", self.agent_heard_hz));
        let Some(recording) = &self.recording else {
            expect(false, "there is no recording".to_owned());
            return wrong;
        };
        let channel = |i: usize| recording.hz.get(i).copied().flatten();
        expect(recording.channels == 2, format!("the recording has {} channels", recording.channels));
        expect(near(channel(0), lab::CUSTOMER_HZ), tone("the left channel", channel(0), lab::CUSTOMER_HZ));
        expect(near(channel(1), lab::AGENT_HZ), tone("the right channel", channel(1), lab::AGENT_HZ));
        let talked = self.cdr.duration_ms as f64 / 1_000.0;
        expect(
            (recording.seconds - talked).abs() < 0.5,
            format!("the recording has {:.2} s, the call {talked:.2} s", recording.seconds),
        );
        wrong
    }
}

/// The gate's code of a call that the customer does not permit.
const PERMISSION_REQUIRED: u16 = 4005;
