//! `setu provision`: what the settings of the numbers at Meta are and should be, and making them so.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use setu_control::ProvisioningReport;
use setu_whatsapp::provision::Mode;

use super::{fail, print, tell_failure};
use crate::cli::ProvisionArgs;
use crate::config::Config;
use crate::provision::{Provisioner, Target, keep_password, step};

pub(super) fn run(args: &ProvisionArgs) -> ExitCode {
    let config = match Config::load_without_passwords(&args.config) {
        Ok(config) => config,
        Err(error) => {
            tell_failure(&error.to_string());
            return ExitCode::from(2);
        }
    };
    let provisioner = match Provisioner::new(&config) {
        Ok(provisioner) => Arc::new(provisioner),
        Err(error) => return fail(&error.to_string()),
    };
    if provisioner.targets().is_empty() {
        return fail(
            "no number has a phone_number_id and a token; add them, or a [[businesses]] section with the token",
        );
    }
    for number in provisioner.others() {
        tell_failure(&format!("{number} is left out: it has no phone_number_id or no token"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    runtime.block_on(async {
        match &args.rotate_password {
            Some(number) => rotate(&provisioner, number).await,
            None if args.apply => apply(&provisioner).await,
            None => look(provisioner, args).await,
        }
    })
}

/// Nothing is written.
async fn look(provisioner: Arc<Provisioner>, args: &ProvisionArgs) -> ExitCode {
    let reports = provisioner.reports(None).await;
    let missing = |report: &ProvisioningReport| {
        report.error.is_some()
            || !report.drifts.is_empty()
            || (args.report && report.facts.iter().any(|fact| fact.verdict == "no"))
    };
    if args.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "numbers": reports }));
        print(&format!("{}\n", text.unwrap_or_default()));
    } else {
        let mut text = String::new();
        for report in &reports {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", Shown { report, facts: args.report });
        }
        print(&text);
    }
    if reports.iter().any(missing) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Shown<'r> {
    report: &'r ProvisioningReport,
    facts: bool,
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ProvisioningReport { number, error, drifts, plan, strangers, facts } = self.report;
        writeln!(f, "{number}")?;
        if let Some(error) = error {
            writeln!(f, "  PROBLEM  {error}")?;
        }
        for drift in drifts {
            writeln!(f, "  drift    {} is {}, wanted is {}", drift.setting, drift.found, drift.wanted)?;
        }
        for (at, step) in (1..).zip(plan) {
            writeln!(f, "  plan {at}   {step}")?;
        }
        for stranger in strangers {
            writeln!(
                f,
                "  warning  another app has a server, {stranger}, whose BYE would end calls: take it away"
            )?;
        }
        match (error, drifts.is_empty()) {
            (None, true) => writeln!(f, "  ok       the settings at Meta are as configured")?,
            (None, false) => {
                writeln!(f, "           -> setu provision --apply does so, and reads each back")?
            }
            (Some(_), _) => {}
        }
        for fact in facts.iter().filter(|_| self.facts) {
            writeln!(f, "  {:<8} {}: {} ({})", fact.verdict, fact.what, fact.seen, fact.source)?;
            if let Some(remedy) = &fact.remedy {
                writeln!(f, "           -> {remedy}")?;
            }
        }
        Ok(())
    }
}

async fn apply(provisioner: &Provisioner) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for target in provisioner.targets() {
        if let Err(why) = carry_out(provisioner, target, Mode::Apply).await {
            tell_failure(&format!("{}: {why}", target.number));
            code = ExitCode::FAILURE;
        }
    }
    code
}

async fn rotate(provisioner: &Provisioner, number: &str) -> ExitCode {
    let target = provisioner.targets().iter().find(|target| target.number == number);
    let Some(target) = target else {
        return fail(&format!("{number} is not among [[numbers]], or has no phone_number_id or token"));
    };
    // Once Meta has made a new one, the old one is worth nothing: there must be a place for it.
    if target.password.is_none() {
        return fail(&format!(
            "the password of {number} is not in a file; say password = {{ file = \"..\" }}"
        ));
    }
    match carry_out(provisioner, target, Mode::Rotate).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&format!(
            "{number}: {why}; calling may be disabled now: `setu provision` says, `setu provision --apply` mends it"
        )),
    }
}

async fn carry_out(provisioner: &Provisioner, target: &Target, mode: Mode) -> Result<(), String> {
    let outcome = provisioner.run(target, mode).await?;
    let mut text = format!("{}\n", target.number);
    for made in &outcome.plan {
        let _ = writeln!(text, "  done     {}", step(made));
    }
    if outcome.plan.is_empty() {
        text.push_str("  ok       the settings at Meta were as configured\n");
    }
    if let (Some(password), Some(path)) = (&outcome.password, &target.password) {
        let kept = std::fs::read_to_string(path).ok();
        if kept.as_deref().and_then(|kept| kept.lines().next()).map(str::trim) == Some(password.reveal()) {
            let _ = writeln!(text, "  ok       {} holds Meta's password", path.display());
        } else {
            keep_password(path, password)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            let _ = writeln!(
                text,
                "  done     Meta's password is in {}; send SIGHUP to a bridge that runs",
                path.display()
            );
        }
    } else if outcome.password.is_some() {
        text.push_str(
            "  warning  the password is not kept: say password = { file = \"..\" } for the number\n",
        );
    }
    print(&text);
    Ok(())
}
