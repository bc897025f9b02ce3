//! Real peers as processes of a test: started, waited for until they answer, ended by id. A missing one fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use setu_twin::shell::Identity;

use crate::ports::port;

/// The chroot that `cargo xtask peers` makes.
pub(crate) fn root() -> PathBuf {
    let root = std::env::var_os("SETU_PEERS").map_or_else(
        || {
            let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
                || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache"),
                PathBuf::from,
            );
            cache.join("setu/peers")
        },
        PathBuf::from,
    );
    assert!(
        root.join("usr/sbin/asterisk").exists(),
        "no peers in {}: run `cargo xtask peers`",
        root.display()
    );
    root
}

/// A process that ends with the test.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let out = File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}; run `cargo xtask peers`"));
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// What it has written.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(done.success(), "cannot signal {}", self.name);
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self, within: Duration) -> std::process::ExitStatus {
        let mut status = None;
        let (child, log) = (&mut self.child, &self.log);
        let what = || format!("{} ends:\n{}", self.name, fs::read_to_string(log).unwrap_or_default());
        until(what, within, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Fails the test if it has ended.
    pub(crate) fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended with {status}:\n{}", self.name, self.output());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks `ready` again and again until it says yes; fails the test after `within`.
pub(crate) fn until(what: impl What, within: Duration, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < within, "not within {within:?}: {}", what.tell());
        pause(Duration::from_millis(20));
    }
}

/// What is waited for; told only if it did not come.
pub(crate) trait What {
    fn tell(&self) -> String;
}

impl What for &str {
    fn tell(&self) -> String {
        (*self).to_owned()
    }
}

impl<F: Fn() -> String> What for F {
    fn tell(&self) -> String {
        self()
    }
}

/// Gives other processes time, as a wait that is part of a bounded loop.
fn pause(how_long: Duration) {
    let (_never, receiver) = std::sync::mpsc::channel::<()>();
    let _ = receiver.recv_timeout(how_long);
}

/// An Asterisk in the chroot, with one PJSIP endpoint `setu`.
pub(crate) struct Asterisk {
    process: Process,
    root: PathBuf,
    /// Its folder as the chroot sees it.
    inside: String,
    /// Its SIP port on 127.0.0.1.
    pub(crate) port: u16,
}

/// How to set one up.
pub(crate) struct AsteriskSpec<'a> {
    /// Where it finds the bridge, such as `sip:127.0.0.1:5060`.
    pub(crate) bridge: String,
    /// Codecs of the endpoint, such as `opus` or `ulaw`.
    pub(crate) allow: &'a str,
    /// How its media is keyed.
    pub(crate) keying: Keying,
    /// Its certificate, if it speaks SIP over TLS rather than UDP.
    pub(crate) tls: Option<Identity>,
    /// `rfc4733` or `info`.
    pub(crate) dtmf_mode: &'a str,
    /// The tone it plays, in Hz.
    pub(crate) tone_hz: u32,
}

/// How media is keyed.
pub(crate) enum Keying {
    InClear,
    Sdes,
    /// As toward browsers, with a certificate of its own.
    WebRtc(Identity),
}

impl AsteriskSpec<'_> {
    /// One that finds the bridge at `bridge`, speaks Opus in clear and plays `tone_hz`.
    pub(crate) fn new(bridge: String, tone_hz: u32) -> Self {
        Self { bridge, allow: "opus", keying: Keying::InClear, tls: None, dtmf_mode: "rfc4733", tone_hz }
    }
}

impl Asterisk {
    /// Starts one and waits until it is booted.
    pub(crate) fn start(spec: &AsteriskSpec<'_>) -> Self {
        let root = root();
        let port = port();
        let inside = format!("/setu-tests/asterisk-{}-{port}", std::process::id());
        let folder = root.join(&inside[1..]);
        for sub in ["etc", "var", "log", "run", "spool"] {
            fs::create_dir_all(folder.join(sub)).unwrap();
        }
        write_asterisk_config(&folder.join("etc"), &inside, port, spec);
        let process = Process::start(
            "asterisk",
            Command::new("chroot")
                .arg(&root)
                .args(["/usr/sbin/asterisk", "-f", "-C"])
                .arg(format!("{inside}/etc/asterisk.conf")),
            &folder.join("log/stdout"),
        );
        let mut asterisk = Self { process, root, inside, port };
        until("asterisk boots", Duration::from_secs(30), || {
            asterisk.process.assert_alive();
            asterisk.cli("core waitfullybooted").contains("fully booted")
        });
        // Without it, it boots all the same, and every call ends as if nobody were there.
        let transports = asterisk.cli("pjsip show transports");
        assert!(transports.contains(&format!("127.0.0.1:{port}")), "no transport:\n{}", asterisk.log());
        asterisk
    }

    /// Runs a command of its console and returns what it printed.
    pub(crate) fn cli(&self, command: &str) -> String {
        let out = Command::new("chroot")
            .arg(&self.root)
            .args(["/usr/sbin/asterisk", "-C", &format!("{}/etc/asterisk.conf", self.inside), "-rx", command])
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// The number of calls it has at the moment.
    pub(crate) fn channels(&self) -> usize {
        self.cli("core show channels count")
            .lines()
            .find_map(|l| l.strip_suffix(" active channels").or(l.strip_suffix(" active channel")))
            .and_then(|n| n.trim().parse().ok())
            .unwrap_or(usize::MAX)
    }

    /// The WAV of what its side of the last call received.
    pub(crate) fn heard(&self) -> PathBuf {
        self.root.join(&self.inside[1..]).join("spool/heard.wav")
    }

    /// The keys it took, in order.
    pub(crate) fn keys(&self) -> String {
        let log = self.log();
        let ended = log.lines().filter_map(|line| line.split_once("DTMF end '")?.1.split_once("' received"));
        ended.map(|(key, _)| key).collect()
    }

    /// What its dialplan noted of the last call's headers.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root.join(&self.inside[1..]).join("log/messages")).unwrap_or_default()
    }
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        self.cli("core stop now");
        let _ = self.process.child.wait();
        let _ = fs::remove_dir_all(self.root.join(&self.inside[1..]));
    }
}

fn write_asterisk_config(etc: &Path, inside: &str, port: u16, spec: &AsteriskSpec<'_>) {
    let write = |name: &str, text: String| fs::write(etc.join(name), text).unwrap();
    // A section head with (!) would make Asterisk take it as a template and ignore it.
    write(
        "asterisk.conf",
        format!(
            "[directories]\nastcachedir => {inside}/var\nastetcdir => {inside}/etc\n\
             astmoddir => /usr/lib/x86_64-linux-gnu/asterisk/modules\nastvarlibdir => /var/lib/asterisk\n\
             astdbdir => {inside}/var\nastkeydir => {inside}/var\nastdatadir => /usr/share/asterisk\n\
             astagidir => {inside}/var\nastspooldir => {inside}/spool\nastrundir => {inside}/run\n\
             astlogdir => {inside}/log\n[options]\nverbose = 3\n"
        ),
    );
    let modules: String = ASTERISK_MODULES.split_whitespace().map(|m| format!("load = {m}.so\n")).collect();
    write("modules.conf", format!("[modules]\nautoload=no\n{modules}"));
    let transport = match &spec.tls {
        None => "protocol=udp".to_owned(),
        Some(identity) => {
            write("tls.pem", identity.certificate_pem.clone());
            write("tls.key", identity.key_pem.clone());
            format!(
                "protocol=tls\nmethod=tlsv1_2\ncert_file={inside}/etc/tls.pem\npriv_key_file={inside}/etc/tls.key"
            )
        }
    };
    let keying = match &spec.keying {
        Keying::InClear => "media_encryption=no".to_owned(),
        Keying::Sdes => "media_encryption=sdes".to_owned(),
        Keying::WebRtc(identity) => {
            write("dtls.pem", identity.certificate_pem.clone());
            write("dtls.key", identity.key_pem.clone());
            format!(
                "webrtc=yes\ndtls_cert_file={inside}/etc/dtls.pem\ndtls_private_key={inside}/etc/dtls.key"
            )
        }
    };
    write(
        "pjsip.conf",
        format!(
            "[sip]\ntype=transport\nbind=127.0.0.1:{port}\n{transport}\n\
             [setu]\ntype=endpoint\ntransport=sip\ncontext=from-setu\ndisallow=all\nallow={}\naors=setu\n\
             direct_media=no\n{keying}\ndtmf_mode={}\nrtp_symmetric=yes\n\
             [setu]\ntype=aor\ncontact={}\n[setu]\ntype=identify\nendpoint=setu\nmatch=127.0.0.1\n",
            spec.allow, spec.dtmf_mode, spec.bridge
        ),
    );
    write(
        "extensions.conf",
        format!(
            "[from-setu]\n\
             exten => tone,1,Verbose(1,customer=${{PJSIP_HEADER(read,X-Setu-Customer)}} wacid=${{PJSIP_HEADER(read,X-Setu-Wacid)}})\n\
             same => n,Goto(talk,1)\n\
             exten => talk,1,Answer()\n\
             same => n,MixMonitor({inside}/spool/both.wav,r({inside}/spool/heard.wav))\n\
             same => n,PlayTones({hz})\n same => n,Wait(60)\n\
             exten => hangup,1,Answer()\n same => n,PlayTones({hz})\n same => n,Wait(2)\n same => n,Hangup()\n\
             exten => keys,1,Answer()\n same => n,PlayTones({hz})\n same => n,Wait(1)\n\
             same => n,SendDTMF(1#,250,160)\n same => n,PlayTones({hz})\n same => n,Wait(60)\n\
             exten => busy,1,Hangup(17)\n\
             exten => ring,1,Ringing()\n same => n,Wait(60)\n\
             exten => early,1,Progress()\n same => n,PlayTones({hz})\n same => n,Wait(2)\n same => n,Goto(talk,1)\n",
            hz = spec.tone_hz
        ),
    );
    let rtp = port + 40_000;
    write("rtp.conf", format!("[general]\nrtpstart={rtp}\nrtpend={}\n", rtp + 60));
    write("logger.conf", "[logfiles]\nmessages => notice,warning,error,verbose,dtmf\n".to_owned());
    write(
        "indications.conf",
        "[general]\ncountry=us\n[us]\ndescription = US\nringcadence = 2000,4000\ndial = 350+440\n\
         busy = 480+620/500,0/500\nring = 440+480/2000,0/4000\ncongestion = 480+620/250,0/250\n"
            .to_owned(),
    );
    for empty in ["ccss", "cdr", "cel", "features", "acl", "udptl", "pjproject"] {
        write(&format!("{empty}.conf"), String::new());
    }
}

const ASTERISK_MODULES: &str = "res_pjproject res_sorcery_config res_sorcery_memory res_sorcery_astdb \
    res_timing_timerfd res_pjsip res_pjsip_authenticator_digest res_pjsip_outbound_authenticator_digest \
    res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_user res_pjsip_session res_pjsip_sdp_rtp \
    res_pjsip_caller_id res_pjsip_nat res_pjsip_rfc3326 res_pjsip_logger res_pjsip_header_funcs \
    res_pjsip_registrar res_pjsip_dtmf_info res_pjsip_diversion res_pjsip_acl res_pjsip_pubsub chan_pjsip res_rtp_asterisk res_srtp \
    codec_opus_open_source codec_ulaw codec_alaw codec_g722 codec_resample format_wav format_pcm pbx_config app_dial \
    app_playtones app_chanspy func_cut func_groupcount func_uri func_logic func_periodic_hook app_mixmonitor \
    app_echo app_verbose app_senddtmf func_channel func_callerid bridge_simple bridge_builtin_features \
    res_clioriginate app_stack";

/// A baresip softphone that registers, answers by itself, plays a sine and keeps what it hears.
pub(crate) struct Baresip {
    process: Process,
    folder: tempfile::TempDir,
}

/// How to set one up.
pub(crate) struct BaresipSpec<'a> {
    /// Account, such as `alice`.
    pub(crate) user: &'a str,
    /// Its password.
    pub(crate) password: &'a str,
    /// The registrar's address, such as `127.0.0.1:5071`.
    pub(crate) registrar: String,
    /// `udp`, `tcp` or `tls`.
    pub(crate) transport: &'a str,
    /// Further account parameters, such as `;mediaenc=srtp-mand`.
    pub(crate) account: &'a str,
    /// Whether it does RTP and RTCP through one port where the other side does.
    pub(crate) rtcp_mux: bool,
    /// The tone it plays, in Hz.
    pub(crate) tone_hz: u32,
}

impl Baresip {
    /// Starts one and waits until it is registered.
    pub(crate) fn start(spec: &BaresipSpec<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let sip = port();
        let rtp = port() + 45_000;
        fs::write(
            path.join("config"),
            format!(
                "poll_method epoll\nsip_listen 127.0.0.1:{sip}\nsip_verify_server no\nsip_trans_def {transport}\n\
                 audio_player aubridge,nowhere\nsnd_path {folder}\naudio_source ausine,{hz}\naudio_alert aufile,/dev/null\n\
                 rtp_ports {rtp}-{last}\nrtp_timeout 0\nrtcp_mux {mux}\njitter_buffer_delay 2-5\n\
                 module_path /usr/lib/baresip/modules\n\
                 module opus.so\nmodule g711.so\nmodule ausine.so\nmodule aubridge.so\nmodule aufile.so\nmodule sndfile.so\nmodule srtp.so\nmodule dtls_srtp.so\nmodule ice.so\n\
                 module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\n",
                transport = spec.transport,
                folder = path.display(),
                hz = spec.tone_hz,
                last = rtp + 20,
                mux = if spec.rtcp_mux { "yes" } else { "no" },
            ),
        )
        .unwrap();
        fs::write(
            path.join("accounts"),
            format!(
                "<sip:{}@{};transport={}>;auth_user={};auth_pass={};answermode=auto;regint=60{}\n",
                spec.user, spec.registrar, spec.transport, spec.user, spec.password, spec.account
            ),
        )
        .unwrap();
        let log = path.join("log");
        let process = Process::start("baresip", Command::new("baresip").arg("-f").arg(path).arg("-v"), &log);
        let mut phone = Self { process, folder };
        let start = Instant::now();
        while !phone.output().contains("} 200 OK") {
            phone.process.assert_alive();
            assert!(
                start.elapsed() < Duration::from_secs(15),
                "baresip does not register:\n{}",
                phone.output()
            );
            pause(Duration::from_millis(20));
        }
        phone
    }

    /// The WAV of what it heard: what its decoder gave out.
    pub(crate) fn heard(&self) -> PathBuf {
        fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .unwrap_or_else(|| panic!("baresip wrote no WAV:\n{}", self.output()))
    }

    /// What it printed.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// Ends the phone, so that its WAV is complete.
    pub(crate) fn end(&mut self) {
        self.process.signal("TERM");
        self.process.wait(Duration::from_secs(5));
    }
}

/// Runs a tool to its end and returns what it printed; fails the test if the tool is missing or fails.
pub(crate) fn tool(name: &str, args: &[&str]) -> String {
    let out = Command::new(name)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("cannot start {name}: {error}; run `cargo xtask peers`"));
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{name} {args:?} ended with {}:\n{text}", out.status);
    text
}
