//! Provisioning, carried out: the numbers whose settings at Meta this configuration knows, and the requests about them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use setu_control::{GraphClient, ProvisioningDrift, ProvisioningFact, ProvisioningReport};
use setu_model::Secret;
use setu_store::Store;
use setu_whatsapp::provision::{
    Ask, CallHours, Desired, Icon, Mode, Node, Opening, Outcome, Protocol, Provision, Server, Standing,
    onboarding,
};
use setu_whatsapp::quality::Seen;
use tokio::task::JoinSet;

use crate::bridge::now;
use crate::config::{Config, MetaSrtp, Number, OpeningHours, PasswordSource, Signalling};
use crate::quality::Days;
use crate::settings::{self, SettingsError};

/// A number whose settings at Meta are known: it has Meta's id and a token.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// E.164 with `+`.
    pub(crate) number: String,
    /// Its place in the configuration.
    pub(crate) index: usize,
    /// Meta's id of the number.
    id: String,
    token: Secret<String>,
    /// Our app's id.
    pub(crate) app: Option<String>,
    desired: Desired,
    /// The file that holds its SIP password.
    pub(crate) password: Option<PathBuf>,
    country: Option<String>,
    webhooks: bool,
    gated: bool,
    use_cases: usize,
    caller_ids: usize,
}

/// Makes the requests.
#[derive(Debug)]
pub(crate) struct Provisioner {
    client: GraphClient,
    targets: Vec<Target>,
    /// Numbers without Meta's id or a token.
    others: Vec<String>,
}

impl Provisioner {
    /// Knows every number that has Meta's id and a token.
    ///
    /// # Errors
    /// A token cannot be read, or the certificate authorities.
    pub(crate) fn new(config: &Config) -> Result<Self, SettingsError> {
        let client = GraphClient::new(settings::graph(config))
            .map_err(|error| SettingsError::new("graph.extra_roots", error.to_string()))?;
        let (mut targets, mut others) = (Vec::new(), Vec::new());
        for (index, number) in config.numbers.iter().enumerate() {
            match target(config, index, number) {
                Some(target) => targets.push(target?),
                None => others.push(number.number.clone()),
            }
        }
        Ok(Self { client, targets, others })
    }

    /// The numbers.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Numbers of which nothing can be asked: without Meta's id or a token.
    pub(crate) fn others(&self) -> &[String] {
        &self.others
    }

    /// Goes through the requests for one number.
    ///
    /// # Errors
    /// Why it went no further, for people.
    pub(crate) async fn run(&self, target: &Target, mode: Mode) -> Result<Outcome, String> {
        let mut machine = Provision::new(target.desired.clone(), target.app.clone(), mode);
        let path = format!("{}/settings", target.id);
        while let Some(ask) = machine.poll() {
            match ask {
                Ask::Read { password } => {
                    let query = if password { "?include_sip_credentials=true" } else { "" };
                    let reply = self.client.read(&format!("{path}{query}"), &target.token).await;
                    machine.handle_settings(&reply.map_err(|why| format!("Meta's settings: {why}"))?);
                }
                Ask::Write { what, body } => {
                    let reply = self.client.write(&path, &target.token, &body).await;
                    reply.map_err(|why| format!("Meta's settings, to {what}: {why}"))?;
                    machine.handle_written();
                }
            }
        }
        machine.outcome().map_err(|why| why.to_string())
    }

    /// What differs, what would be done, and what Meta looks at, for one number. Without a store nothing is known of its days.
    pub(crate) async fn report(&self, target: &Target, store: Option<&Store>) -> ProvisioningReport {
        let mut report =
            ProvisioningReport { number: target.number.clone(), ..ProvisioningReport::default() };
        let outcome = match self.run(target, Mode::Look).await {
            Ok(outcome) => outcome,
            Err(why) => {
                report.error = Some(why);
                return report;
            }
        };
        let node = self.client.read(&format!("{}?fields={}", target.id, Node::FIELDS), &target.token).await;
        let node = node.inspect_err(|why| report.error = Some(format!("Meta's view of the number: {why}")));
        let node = node.ok().map(|reply| Node::read(&reply));
        let days = match store {
            Some(store) => days(store, target).await,
            None => None,
        };
        let standing = Standing {
            desired: &target.desired,
            found: &outcome.found,
            node: node.as_ref(),
            days,
            country: target.country.as_deref(),
            use_cases: Some(target.use_cases),
            caller_ids: target.caller_ids,
            webhooks: target.webhooks,
            gated: target.gated,
            now: now().wall,
        };
        report.facts = onboarding(&standing).iter().map(fact).collect();
        report.drifts = outcome.drifts.iter().map(drift).collect();
        report.plan = outcome.plan.iter().map(step).collect();
        let strangers = outcome.found.strangers(target.app.as_deref());
        report.strangers = strangers.iter().map(ToString::to_string).collect();
        report
    }

    /// The same for all numbers, at the same time.
    pub(crate) async fn reports(self: Arc<Self>, store: Option<Arc<Store>>) -> Vec<ProvisioningReport> {
        let mut tasks = JoinSet::new();
        for (at, target) in self.targets.iter().cloned().enumerate() {
            let (one, store) = (Arc::clone(&self), store.clone());
            tasks.spawn(async move { (at, one.report(&target, store.as_deref()).await) });
        }
        let mut reports = tasks.join_all().await;
        reports.sort_unstable_by_key(|(at, _)| *at);
        reports.into_iter().map(|(_, report)| report).collect()
    }
}

/// How the number did lately. What cannot be read is not known.
async fn days(store: &Store, target: &Target) -> Option<Seen> {
    let at = now().wall;
    match Days::read(store, &target.number, at).await {
        Ok(days) => Some(days.seen(target.webhooks, at)),
        Err(fault) => {
            tracing::error!(number = %target.number, %fault, "the days of the number cannot be read");
            None
        }
    }
}

fn target(config: &Config, index: usize, number: &Number) -> Option<Result<Target, SettingsError>> {
    let (id, token) = (number.phone_number_id.clone()?, config.token_of(number)?);
    let owner = || format!("the access token of {}", number.number);
    Some(token.read().map_err(|problem| SettingsError::new(owner(), problem)).map(|token| Target {
        number: number.number.clone(),
        index,
        id,
        token,
        app: config.business_of(number).and_then(|business| business.app_id.clone()),
        desired: desired(config, number),
        password: number.password.as_ref().and_then(PasswordSource::file).map(Path::to_owned),
        country:
            number.country.clone().or_else(|| setu_whatsapp::country_of(&number.number).map(str::to_owned)),
        webhooks: config.webhooks.is_some(),
        gated: settings::is_gated(number, config),
        use_cases: settings::use_cases(number, config).len(),
        caller_ids: config.pstn.caller_ids.len(),
    }))
}

fn desired(config: &Config, number: &Number) -> Desired {
    let by_sip = number.signalling == Signalling::Sip;
    let meta = &config.meta;
    let port = meta.advertised_port.unwrap_or(meta.bind.port());
    Desired {
        server: by_sip.then(|| Server { hostname: meta.hostname.clone(), port }),
        srtp: match (number.srtp, number.signalling) {
            (MetaSrtp::Sdes, _) | (MetaSrtp::Auto, Signalling::Sip) => Protocol::Sdes,
            (MetaSrtp::Dtls, _) | (MetaSrtp::Auto, Signalling::Graph) => Protocol::Dtls,
        },
        callback: number.provision.callback_permission,
        icon: number.provision.call_button.map(|shown| if shown { Icon::Shown } else { Icon::Hidden }),
        hours: number.provision.hours.as_ref().map(hours),
    }
}

fn hours(hours: &OpeningHours) -> CallHours {
    let opening = |one: &crate::config::OpeningTime| Opening { from: one.from.clone(), to: one.to.clone() };
    CallHours {
        zone: hours.zone.0.iana_name().unwrap_or("UTC").to_owned(),
        week: hours.week().map(|day| day.iter().map(opening).collect()),
        holidays: hours.holidays.iter().map(ToString::to_string).collect(),
    }
}

fn drift(drift: &setu_whatsapp::provision::Drift) -> ProvisioningDrift {
    ProvisioningDrift {
        setting: drift.setting.to_owned(),
        wanted: drift.wanted.clone(),
        found: drift.found.clone(),
    }
}

pub(crate) fn step(ask: &Ask) -> String {
    match ask {
        Ask::Read { .. } => "read the settings".to_owned(),
        Ask::Write { what, body } => format!("{what}: {body}"),
    }
}

fn fact(fact: &setu_whatsapp::provision::Fact) -> ProvisioningFact {
    ProvisioningFact {
        what: fact.what.to_owned(),
        verdict: fact.verdict.word().to_owned(),
        seen: fact.seen.clone(),
        source: fact.source.to_owned(),
        remedy: fact.remedy.map(str::to_owned),
    }
}

/// Writes a password to its file, whole or not at all, for this user alone.
pub(crate) fn keep_password(path: &Path, password: &Secret<String>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = folder.join(beside);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        // Whoever read the one before must be able to read this one, also where root makes it. Without the right to give it away it
        // stays ours.
        if let Ok(before) = std::fs::metadata(path).or_else(|_| std::fs::metadata(folder)) {
            let _ = std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()));
        }
        file.write_all(password.reveal().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_password_takes_the_place_of_the_one_before_and_is_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number.password");
        std::fs::write(&path, "before\n").unwrap();
        for password in ["one", "two"] {
            keep_password(&path, &Secret::new(password.to_owned())).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{password}\n"));
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(keep_password(&folder.path().join("nowhere/x"), &Secret::new("x".to_owned())).is_err());
    }
}
