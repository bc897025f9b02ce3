//! What this machine alone can tell: certificates, ports, folders, permissions.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use setu_model::Side;
use setu_sip_net::{CertificateError, CertificateFiles, Trust, verify_as_peer};
use setu_whatsapp::campaign::CampaignPolicy;

use super::Report;
use crate::bridge::now;
use crate::commands::log_filter;
use crate::config::{Config, MediaAddresses, PasswordSource};
use crate::{files, settings};

pub(super) fn check(config: &Config, report: &mut Report) {
    certificates(config, report);
    listeners(config, report);
    media("meta.media", &config.meta.media, config, report);
    media("agents.media", &config.agents.media, config, report);
    if is_private(config.meta.media.advertised()) {
        report.warning(
            "meta.media.advertised",
            format!(
                "{} is not a public address: Meta cannot send audio to it",
                config.meta.media.advertised()
            ),
            "give the address the internet reaches this machine by; ignore this for a test twin",
        );
    }
    folders(config, report);
    open_files(config, report);
    sounds_and_log(config, report);
    passwords(config, report);
    requests(config, report);
}

/// Meta judges a number by what customers say of its requests, whatever this file allows.
fn requests(config: &Config, report: &mut Report) {
    let (chosen, default) = (config.calling.requests.policy(), CampaignPolicy::default());
    if chosen.is_faster_than(&default) {
        report.warning(
            "calling.requests.burst",
            format!(
                "{} permission requests within {} s are more than the default lets through",
                chosen.burst,
                chosen.burst_window.as_secs()
            ),
            format!(
                "say burst = {} and burst_s = {}, unless Meta's numbers of blocks are at hand and low",
                default.burst,
                default.burst_window.as_secs()
            ),
        );
    }
    if chosen.is_colder_than(&default) {
        report.warning(
            "calling.requests.cold_percent",
            format!(
                "{} % of {} customers may be strangers, which is more than the default lets through",
                chosen.cold_percent, chosen.sample
            ),
            format!(
                "say cold_percent = {} and sample = {}: strangers block and report whoever asks them",
                default.cold_percent, default.sample
            ),
        );
    }
}

pub(super) fn certificates(config: &Config, report: &mut Report) {
    let (meta, agents) = (&config.meta, &config.agents);
    let files = CertificateFiles { chain: meta.certificate.clone(), key: meta.private_key.clone() };
    certificate("meta.certificate", Side::Meta, &files, meta.extra_roots.as_deref(), &meta.hostname, report);
    if let (Some(_), Some(chain), Some(key)) =
        (agents.tls.or(agents.wss), &agents.certificate, &agents.private_key)
    {
        let files = CertificateFiles { chain: chain.clone(), key: key.clone() };
        let roots = agents.extra_roots.as_deref();
        certificate("agents.certificate", Side::Agents, &files, roots, &agents.hostname, report);
    }
}

fn certificate(
    setting: &str,
    side: Side,
    files: &CertificateFiles,
    extra_roots: Option<&Path>,
    hostname: &str,
    report: &mut Report,
) {
    let trust = Trust { extra_roots: extra_roots.map(Path::to_owned), ..Trust::default() };
    match verify_as_peer(side, files, &trust, hostname) {
        // A house may have an authority of its own for its phones.
        Err(CertificateError::RefusedByPeers {
            source: rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
            ..
        }) if side == Side::Agents => report.warning(
            setting,
            "its authority is none that every phone trusts".to_owned(),
            "install the authority on the phones, and name it in agents.extra_roots to have the chain checked",
        ),
        Err(error) => {
            let side = setting.trim_end_matches("certificate");
            let at = match error.file() {
                Some(file) if file == files.key => format!("{side}private_key"),
                Some(file) if Some(file) == extra_roots => format!("{side}extra_roots"),
                Some(_) | None => setting.to_owned(),
            };
            let remedy = remedy(&error, hostname, at.ends_with("extra_roots"));
            report.problem(at, error.to_string(), remedy);
        }
        Ok(status) => {
            let days = status.seconds_left(now().wall) / 86_400;
            if days < EXPIRES_SOON_DAYS {
                report.warning(setting, format!("it expires in {days} days"), "renew it, then send SIGHUP");
            } else {
                report.ok(setting, format!("it covers {hostname} and is valid for {days} days"));
            }
            if side == Side::Meta && extra_roots.is_some() {
                report.warning(
                    setting,
                    "it was checked against extra_roots as well as the system's authorities",
                    "Meta trusts public authorities only; remove extra_roots to see it as Meta does",
                );
            }
        }
    }
}

/// What to do about a certificate. Until it is done, callers' calls fail without a trace.
fn remedy(error: &CertificateError, hostname: &str, authorities: bool) -> String {
    match error {
        CertificateError::Unreadable { .. } | CertificateError::NotPem { .. } if authorities => {
            "name a PEM file with the certificate of the authority, or remove the line".to_owned()
        }
        CertificateError::Unreadable { .. } => {
            "name the file that your certificate client writes, and let the bridge's user read it".to_owned()
        }
        CertificateError::NotPem { file, .. } if is_encrypted(file) => {
            format!("its key is encrypted: openssl pkey -in {} -out NEW.key, and name that", file.display())
        }
        CertificateError::NotPem { .. } | CertificateError::Malformed { .. } => {
            "give PEM files: fullchain.pem and privkey.pem of an ACME client are such; openssl x509 -inform der \
             makes one of a DER file"
                .to_owned()
        }
        CertificateError::Mismatch { .. } => {
            "give key and chain of the same issue, the leaf first".to_owned()
        }
        CertificateError::UnusableKey { .. } => {
            "issue it again with an ECDSA P-256 key, or RSA of 2048 bits or more".to_owned()
        }
        CertificateError::Expired { .. } => "renew it, then start the bridge or send it SIGHUP".to_owned(),
        CertificateError::NotYetValid { .. } => "set this machine's clock, or wait".to_owned(),
        CertificateError::UnusableAuthorities { .. } => {
            "give extra_roots PEM certificates of authorities".to_owned()
        }
        CertificateError::NoAuthorities { .. } => "install ca-certificates".to_owned(),
        CertificateError::RefusedByPeers { .. } => format!(
            "have a public authority issue it for {hostname}, and give the whole chain: leaf first, then what it \
             was signed with; for a test twin, name its ca.pem in extra_roots"
        ),
        CertificateError::Tls { .. } => "issue it again with a common key, such as ECDSA P-256".to_owned(),
    }
}

fn is_encrypted(key: &Path) -> bool {
    fs::read_to_string(key).is_ok_and(|text| text.contains("ENCRYPTED"))
}

/// When a certificate that is still valid becomes worth a warning.
const EXPIRES_SOON_DAYS: i64 = 14;

fn listeners(config: &Config, report: &mut Report) {
    let agents = &config.agents;
    let tcp = [
        ("meta.bind", Some(config.meta.bind)),
        ("agents.tcp", agents.tcp),
        ("agents.tls", agents.tls),
        ("agents.ws", agents.ws),
        ("agents.wss", agents.wss),
        ("api.bind", config.api.as_ref().map(|api| api.bind)),
        ("webhooks.bind", config.webhooks.as_ref().map(|webhooks| webhooks.bind)),
    ];
    for (setting, address) in tcp.into_iter().chain([("http.bind", Some(config.http.bind))]) {
        if let Some(address) = address {
            bound(setting, address, TcpListener::bind(address).map(drop), report);
        }
    }
    let in_clear = [
        ("webhooks.bind", config.webhooks.as_ref().map(|webhooks| webhooks.bind)),
        ("api.bind", config.api.as_ref().map(|api| api.bind)),
    ];
    for (setting, _) in in_clear.iter().filter(|(_, bind)| bind.is_some_and(|bind| !bind.ip().is_loopback()))
    {
        report.warning(
            *setting,
            "others than this machine reach it, in clear",
            "have a reverse proxy do TLS, and bind where only that reaches it",
        );
    }
    if let Some(address) = agents.udp {
        bound("agents.udp", address, UdpSocket::bind(address).map(drop), report);
    }
}

fn bound(setting: &str, address: SocketAddr, outcome: io::Result<()>, report: &mut Report) {
    match outcome {
        Ok(()) => report.ok(setting, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => report.problem(
            setting,
            format!("{address} is taken by another program"),
            "stop it (a bridge that is running already?) or choose another port",
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => report.problem(
            setting,
            format!("{address}: {error}"),
            "choose a port above 1023, or grant the bridge CAP_NET_BIND_SERVICE (AmbientCapabilities= of systemd)",
        ),
        Err(error) => report.problem(
            setting,
            format!("{address}: {error}"),
            "give an address of this machine, or 0.0.0.0 for all of them; what others reach it by is advertised apart",
        ),
    }
}

/// Tries the first, the middle and the last pair of a range.
fn media(setting: &str, media: &MediaAddresses, config: &Config, report: &mut Report) {
    let (first, last) = (media.ports.first, media.ports.last);
    let tried = [first, first + (last - first) / 2, last];
    let taken: Vec<u16> =
        tried.into_iter().filter(|port| UdpSocket::bind((media.bind, *port)).is_err()).collect();
    let (pairs, calls) = (usize::from(last - first).div_ceil(2), config.limits.calls);
    if pairs < calls {
        report.warning(
            format!("{setting}.ports"),
            format!("{first}-{last} has room for {pairs} calls, and limits.calls permits {calls}"),
            "widen the range to two ports a call, and a few more that rest, or lower limits.calls",
        );
    }
    if taken.is_empty() {
        report.ok(format!("{setting}.ports"), format!("{first}-{last}: the ports tried are free"));
    } else if taken.len() == tried.len() {
        report.problem(
            format!("{setting}.ports"),
            format!("none of {taken:?} on {} can be bound", media.bind),
            "give bind an address of this machine, and a range nobody else uses",
        );
    } else {
        report.warning(
            format!("{setting}.ports"),
            format!("{taken:?} are taken by another program"),
            "such ports are skipped; give a range nobody else uses",
        );
    }
}

fn folders(config: &Config, report: &mut Report) {
    let folder = &config.recording.folder;
    if config.recording.enabled {
        let outcome = if folder.exists() && !folder.is_dir() {
            Err(io::ErrorKind::NotADirectory.into())
        } else {
            writable(folder)
        };
        written("recording.folder", folder, outcome, report);
    }
    let store = config.store.file.as_ref();
    for (setting, file) in [("cdr.file", Some(&config.cdr.file)), ("store.file", store)] {
        let Some(file) = file else { continue };
        let outcome = if file.exists() {
            OpenOptions::new().append(true).open(file).map(drop)
        } else {
            writable(file.parent().unwrap_or(Path::new(".")))
        };
        written(setting, file, outcome, report);
    }
}

fn written(setting: &str, path: &Path, outcome: io::Result<()>, report: &mut Report) {
    let Err(error) = outcome else {
        return report.ok(setting, format!("{} can be written", path.display()));
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else it is, the owner and the path are to be looked at"
    )]
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space on its disk, or name another one"
        }
        io::ErrorKind::ReadOnlyFilesystem => "name a folder on a disk that may be written, or mount it so",
        io::ErrorKind::NotADirectory => "there is a file where a folder should be: name another folder",
        io::ErrorKind::IsADirectory => "it is a folder: name a file in it, such as cdr.jsonl",
        _ => "create the folder and make the bridge's user its owner",
    };
    report.problem(setting, format!("{}: {error}", path.display()), remedy);
}

/// Writes and removes a file in `folder`, or in the nearest folder above that exists.
fn writable(folder: &Path) -> io::Result<()> {
    let existing = folder.ancestors().find(|f| f.exists()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let probe = existing.join(format!(".setu-check-{}", std::process::id()));
    let outcome = fs::write(&probe, [0; 4_096]);
    // Also what was begun on a full disk.
    let removed = fs::remove_file(&probe);
    outcome.and(removed)
}

/// What is read at the start besides certificates and passwords.
fn sounds_and_log(config: &Config, report: &mut Report) {
    if let Err(error) = settings::sounds(config) {
        let (setting, file) = error.owner().split_once(", ").unwrap_or((error.owner(), "the sound"));
        let (what, remedy) = error.problem().split_once("; ").unwrap_or((
            error.problem(),
            "put the file there and let the bridge's user read it, or say \"tone\" or \"silence\"",
        ));
        report.problem(setting, format!("{file}: {what}"), remedy);
    }
    if let Err(error) = log_filter(&config.log) {
        let (what, remedy) = error.split_once("; ").unwrap_or((&error, "use info"));
        report.problem("log.level", what.trim_start_matches("log.level "), remedy);
    }
}

fn open_files(config: &Config, report: &mut Report) {
    let wanted = files::wanted(config);
    match files::raise() {
        Ok(permitted) if permitted < wanted => report.warning(
            "limits.calls",
            format!("about {wanted} files and sockets may be wanted, and {permitted} are permitted"),
            files::REMEDY,
        ),
        Ok(permitted) => report.ok("limits.calls", format!("{permitted} files and sockets are permitted")),
        Err(error) => report.warning(
            "limits.calls",
            format!("how many files and sockets are permitted is not known: {error}"),
            "check the limit of open files (ulimit -n) of the bridge's user",
        ),
    }
}

fn passwords(config: &Config, report: &mut Report) {
    let numbers = config.numbers.iter().enumerate().flat_map(|(i, n)| {
        let sources = [("password", &n.password), ("token", &n.token)];
        sources
            .into_iter()
            .filter_map(move |(field, source)| Some((format!("numbers[{i}].{field}"), source.as_ref()?)))
    });
    let accounts =
        config.accounts.iter().enumerate().map(|(i, a)| (format!("accounts[{i}].password"), &a.password));
    let webhooks = config.webhooks.iter().flat_map(|webhooks| {
        let secrets = webhooks.app_secrets.iter().map(|secret| ("webhooks.app_secrets", secret));
        secrets.chain([("webhooks.verify_token", &webhooks.verify_token)])
    });
    let webhooks = webhooks.map(|(setting, source)| (setting.to_owned(), source));
    let tokens = config.api.iter().flat_map(|api| &api.tokens).enumerate();
    let tokens = tokens.map(|(i, token)| (format!("api.tokens[{i}].token"), &token.token));
    let businesses = config.businesses.iter().enumerate().flat_map(|(i, business)| {
        let secrets = business.app_secrets.iter().chain(&business.token);
        secrets.map(move |source| (format!("businesses[{i}]"), source))
    });
    let events = config.events.endpoints.iter().enumerate().flat_map(|(i, endpoint)| {
        endpoint.secrets.iter().map(move |source| (format!("events.endpoints[{i}].secrets"), source))
    });
    let known = numbers.chain(accounts).chain(webhooks).chain(tokens).chain(businesses).chain(events);
    for (setting, source) in known {
        let PasswordSource::File(path) = source else { continue };
        if fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0) {
            report.warning(
                setting,
                format!("everybody on this machine can read {}", path.display()),
                format!("chmod 640 {}", path.display()),
            );
        }
    }
}

pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
