//! A running bridge: starts every shell around one shard, feeds it, and stops in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use setu_call::{RecordCommand, RecordEvent};
use setu_control::{Control, GraphClient, Metrics};
use setu_media::{Command, DtlsIdentity, Event, OpenFailure};
use setu_media_net::{MediaPlane, SendError};
use setu_model::{Cdr, Entropy, Now, Side, Wall};
use setu_recording::{Recorder, RecorderEvent};
use setu_sdp::Fingerprint;
use setu_sip::Transport;
use setu_sip_net::SipNet;
use setu_whatsapp::graph::{Failure, Reply};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::api::{Answers, Api};
use crate::cdr_log::CdrLog;
use crate::config::Config;
use crate::driver::{GraphAsk, Input, Load, Loaded, MessageAsk, MessagesTo, Messenger, Output, Shard};
use crate::durable::{Durable, Keep, Keeper, Keeping, Numbers, WebhookInbox};
use crate::figures::Subjects;
use crate::inputs::{INPUT_QUEUE, forward, net_input};
use crate::pricing::Prices;
use crate::provision::Provisioner;
use crate::{health, settings};

/// A running bridge.
///
/// Dropping it stops it at once; [`Bridge::drain`] and [`Bridge::shutdown`] stop it in order.
#[derive(Debug)]
pub struct Bridge {
    inputs: mpsc::Sender<Input>,
    cdrs: broadcast::Sender<Arc<Cdr>>,
    state: Arc<Shared>,
    /// Settings that a reload does not change, as they were at the start.
    fixed: Vec<(&'static str, String)>,
    /// Of the certificate of this process, for DTLS peers.
    fingerprint: Fingerprint,
    net: Option<Arc<SipNet>>,
    control: Option<Control>,
    webhooks: Option<WebhookInbox>,
    durable: Option<Durable>,
    api: Option<Api>,
    answers: Arc<Answers>,
    driver: Option<JoinHandle<()>>,
    drained: Option<oneshot::Receiver<()>>,
}

/// What the driver shows to other tasks.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) calls: AtomicUsize,
    /// Whether everything listens.
    pub(crate) started: AtomicBool,
    pub(crate) draining: AtomicBool,
    /// Inputs that found no room in the driver's queue.
    pub(crate) dropped: AtomicU64,
    pub(crate) sip: Mutex<setu_sip::Counters>,
}

/// Why a bridge did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A password cannot be read.
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    /// A SIP listener cannot start: an occupied port.
    #[error(transparent)]
    Sip(setu_sip_net::StartError),
    /// The media threads cannot start.
    #[error("media: {0}")]
    Media(#[from] setu_media_net::SpawnError),
    /// No certificate for DTLS can be made.
    #[error(transparent)]
    Dtls(#[from] setu_media::DtlsFault),
    /// The recorder cannot start.
    #[error("recording.folder: {0}")]
    Recording(#[from] setu_recording::StartError),
    /// A certificate cannot be used.
    #[error("{setting}: {source}; `setu check` says what to do")]
    Certificate {
        /// The setting that names its file, such as `meta.certificate`.
        setting: &'static str,
        /// What is wrong with it.
        source: Box<setu_sip_net::CertificateError>,
    },
    /// The CDR file cannot be written.
    #[error("cdr.file {path}: {error}; make it writable for this user", path = path.display())]
    Cdr {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The database cannot be opened.
    #[error("store: {0}; check the address, the permissions and the free space")]
    Store(#[from] setu_store::OpenError),
    /// What the bridge before left in the database cannot be read or finished.
    #[error("store: {0}; check the server and the free space")]
    Recovery(#[from] setu_store::StoreFault),
    /// The HTTP listener cannot start.
    #[error("http.bind: {0}")]
    Http(#[from] setu_control::StartError),
    /// The REST interface cannot start.
    #[error("api.bind: {0}")]
    Api(setu_control::StartError),
    /// Requests to Meta's Graph cannot be made.
    #[error("graph: {0}")]
    Graph(#[from] setu_control::OutboundError),
    /// The listener for webhooks cannot start.
    #[error("webhooks.bind: {0}")]
    Webhooks(setu_control::StartError),
}

impl Bridge {
    /// Starts a bridge. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Says what cannot start and how to mend it; nothing is left half started.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let mut shard_settings = settings::shard(&config)?;
        let endpoints = settings::events(&config)?;
        let identity = DtlsIdentity::generate()?;
        let fingerprint = Fingerprint(identity.fingerprint());
        shard_settings.calls.dtls = Some(fingerprint);
        let metrics = Arc::new(Metrics::new());
        let (inputs, queue) = mpsc::channel(INPUT_QUEUE);
        let (cdrs, _) = broadcast::channel(CDR_SUBSCRIBERS_LAG);
        let state = Arc::new(Shared::default());

        // What fails most often comes first, and what leaves files behind comes last. What the listeners take in
        // waits in the queue.
        let net = SipNet::start(settings::sip_net(&config), forward(inputs.clone(), &state, net_input));
        let net = Arc::new(net.map_err(|error| match error {
            setu_sip_net::StartError::Certificate(source) => broken_certificate(&config, source),
            other @ (setu_sip_net::StartError::NoCertificate { .. }
            | setu_sip_net::StartError::Bind { .. }
            | setu_sip_net::StartError::TooManyListeners { .. }
            | setu_sip_net::StartError::NoRuntime) => StartError::Sip(other),
        })?);
        let control = health::serve(&config, &metrics, &net, &state).await?;
        let webhooks = listen_for_webhooks(&config, &metrics).await?;
        let answers = Answers::new(&inputs, Provisioner::new(&config)?);
        answers.about(Subjects::of(&config));
        let api = open_api(&config, &metrics, &answers).await?;
        let recorder = start_recorder(&config, &metrics, forward(inputs.clone(), &state, Input::Record))?;
        let tap = recorder.as_ref().map_or_else(|| crossbeam_channel::bounded(1).0, Recorder::frames);
        let on_media = forward(inputs.clone(), &state, Input::Media);
        let media = Arc::new(MediaPlane::spawn(settings::media_net(&config, identity), tap, on_media)?);
        health::show(&metrics, &net, &media, &state);
        let filed = Arc::new(OnceLock::new());
        let cdr_log = open_cdr_log(&config, &metrics, &filed)?;
        let (at, subjects) = (settings::store(&config)?, Subjects::of(&config));
        let keeping = keeping(&config, &shard_settings.prices);
        let durable = Durable::open(&at, &metrics, &inputs, endpoints, subjects, keeping).await?;
        let lacking = durable.recover().await?;
        // Nothing was written yet.
        let _ = filed.set(durable.keeper().clone());
        lacking.into_iter().for_each(|cdr| cdr_log.write(Box::new(cdr)));
        answers.begin(durable.store());
        let webhooks = webhooks.map(|webhooks| webhooks.start(&durable, inputs.clone()));

        let shard = Shard::new(shard_settings, || Box::new(SystemEntropy), now());
        let (drained_tx, drained) = oneshot::channel();
        let driver = Driver {
            shard,
            net: Arc::clone(&net),
            media,
            recorder,
            cdr_log,
            keeper: durable.keeper().clone(),
            answers: Arc::clone(&answers),
            cdrs: cdrs.clone(),
            metrics,
            state: Arc::clone(&state),
            drained: Some(drained_tx),
            graph: GraphClient::new(settings::graph(&config))?,
            inputs: inputs.clone(),
        };
        let driver = tokio::spawn(driver.run(queue));
        state.started.store(true, Ordering::Release);
        Ok(Self {
            inputs,
            cdrs,
            state,
            fixed: config.fixed_at_start(),
            fingerprint,
            net: Some(net),
            control: Some(control),
            webhooks,
            durable: Some(durable),
            api,
            answers,
            driver: Some(driver),
            drained: Some(drained),
        })
    }

    /// Follows the calls that end from now on. A receiver that is slow loses the oldest; the CDR file has them all.
    pub fn cdrs(&self) -> broadcast::Receiver<Arc<Cdr>> {
        self.cdrs.subscribe()
    }

    /// How many calls are alive.
    pub fn active_calls(&self) -> usize {
        self.state.calls.load(Ordering::Relaxed)
    }

    /// Where SIP is listened for.
    pub fn listening(&self) -> Vec<(Side, Transport, SocketAddr)> {
        self.net.as_ref().map(|net| net.listening()).unwrap_or_default()
    }

    /// Where health and metrics are served.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(Control::address)
    }

    /// Where webhooks are taken.
    pub fn webhook_address(&self) -> Option<SocketAddr> {
        self.webhooks.as_ref().map(WebhookInbox::address)
    }

    /// Where the REST interface is served.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(Api::address)
    }

    /// Takes a changed configuration: numbers, accounts, trunks, routes, passwords and certificates. Listeners,
    /// media ports and folders stay as they were until the next start; those that changed are named in the log.
    ///
    /// # Errors
    /// A password or a certificate cannot be read; the old ones stay in force.
    pub async fn reload(&self, config: &Config) -> Result<(), StartError> {
        let mut settings = settings::shard(config)?;
        settings.calls.dtls = Some(self.fingerprint);
        let trust = settings::webhook_trust(config)?;
        let tokens = settings::api_tokens(config)?;
        let (endpoints, provisioner) = (settings::events(config)?, Provisioner::new(config)?);
        if let Some(net) = &self.net {
            let reloaded = net.reload_certificates(&settings::tls(config));
            reloaded.map_err(|source| broken_certificate(config, source))?;
        }
        let later = changes(&self.fixed, &config.fixed_at_start());
        if !later.is_empty() {
            tracing::warn!(
                settings = later.join(", "),
                "changed settings that take effect at the next start only"
            );
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.reload(trust, Numbers::of(config));
        }
        if let Some(durable) = &self.durable {
            durable.reload(endpoints, Subjects::of(config));
        }
        self.answers.reload(provisioner);
        if let Some(api) = &self.api {
            api.reload(tokens, Subjects::of(config));
        }
        // The driver ends only with the bridge.
        let _ = self.inputs.send(Input::Reload(Box::new(settings))).await;
        Ok(())
    }

    /// The first call: takes no new calls, and returns when the last live one has ended. A second one, while the
    /// first waits or after it was given up, ends all calls.
    pub async fn drain(&mut self) {
        self.state.draining.store(true, Ordering::Relaxed);
        let _ = self.inputs.send(Input::Drain).await;
        if let Some(drained) = &mut self.drained {
            let _ = drained.await;
            self.drained = None;
        }
    }

    /// A handle that asks for a drain from elsewhere, such as a signal handler.
    pub fn drainer(&self) -> Drainer {
        Drainer { inputs: self.inputs.clone(), state: Arc::clone(&self.state) }
    }

    /// Ends everything in order: calls that are alive are hung up, recordings and CDRs are on disk when it returns.
    pub async fn shutdown(mut self) {
        if self.drained.is_some() {
            let drainer = self.drainer();
            drainer.drain().await;
            drainer.drain().await;
            if let Some(drained) = self.drained.take()
                && tokio::time::timeout(SHUTDOWN, drained).await.is_err()
            {
                tracing::warn!("calls did not confirm their end in time");
            }
        }
        if let Some(control) = self.control.take() {
            control.shutdown().await;
        }
        if let Some(api) = self.api.take() {
            api.shutdown().await;
        }
        if let Some(webhooks) = self.webhooks.take() {
            webhooks.shutdown().await;
        }
        let _ = self.inputs.send(Input::Stop).await;
        if let Some(driver) = self.driver.take() {
            let _ = driver.await;
        }
        if let Some(durable) = self.durable.take() {
            durable.close().await;
        }
        if let Some(net) = self.net.take().and_then(Arc::into_inner) {
            net.shutdown().await;
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
    }
}

/// Asks a bridge to drain.
#[derive(Debug, Clone)]
pub struct Drainer {
    inputs: mpsc::Sender<Input>,
    state: Arc<Shared>,
}

impl Drainer {
    /// The first time: no new calls. The second time: all calls end.
    pub async fn drain(&self) {
        self.state.draining.store(true, Ordering::Relaxed);
        let _ = self.inputs.send(Input::Drain).await;
    }
}

/// Ended calls a slow subscriber may lag behind.
const CDR_SUBSCRIBERS_LAG: usize = 1_024;

/// How long an orderly end may take: BYEs are answered within 64 T1 (RFC 3261 section 17.1.2.2).
const SHUTDOWN: Duration = Duration::from_secs(35);

fn broken_certificate(config: &Config, source: setu_sip_net::CertificateError) -> StartError {
    StartError::Certificate { setting: settings::names(config, source.file()), source: Box::new(source) }
}

/// The names of what differs.
fn changes<'a>(from: &[(&'a str, String)], to: &[(&'a str, String)]) -> Vec<&'a str> {
    from.iter().zip(to).filter(|(from, to)| from != to).map(|(from, _)| from.0).collect()
}

fn keeping(config: &Config, prices: &Prices) -> Keeping {
    let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 3_600);
    let records = config.store.keep_cdrs_days.map(days);
    Keeping { records, file: config.cdr.file.clone(), prices: prices.clone() }
}

/// `filed` is told of each record that is in the file; it is set before the first one is written.
fn open_cdr_log(
    config: &Config,
    metrics: &Arc<Metrics>,
    filed: &Arc<OnceLock<Keeper>>,
) -> Result<CdrLog, StartError> {
    let (metrics, filed) = (Arc::clone(metrics), Arc::clone(filed));
    let written = move |cdr: &Cdr| {
        metrics.cdr_written();
        if let Some(keeper) = filed.get() {
            keeper.keep(Keep::Filed(cdr.call));
        }
    };
    CdrLog::open(&config.cdr.file, written)
        .map_err(|error| StartError::Cdr { path: config.cdr.file.clone(), error })
}

/// An interface that is not configured is not served.
async fn open_api(
    config: &Config,
    metrics: &Arc<Metrics>,
    answers: &Arc<Answers>,
) -> Result<Option<Api>, StartError> {
    let Some(api) = &config.api else { return Ok(None) };
    let tokens = settings::api_tokens(config)?;
    Api::open(api.bind, tokens, metrics, Arc::clone(answers)).await.map(Some).map_err(StartError::Api)
}

/// Webhooks that are not configured are not listened for.
async fn listen_for_webhooks(
    config: &Config,
    metrics: &Arc<Metrics>,
) -> Result<Option<WebhookInbox>, StartError> {
    let Some(webhooks) = &config.webhooks else { return Ok(None) };
    let trust = settings::webhook_trust(config)?;
    let listening = WebhookInbox::listen(webhooks, trust, Numbers::of(config), metrics);
    listening.await.map(Some).map_err(StartError::Webhooks)
}

/// Recording that is switched off needs no folder.
fn start_recorder(
    config: &Config,
    metrics: &Arc<Metrics>,
    to_driver: impl Fn(RecordEvent) + Send + Sync + 'static,
) -> Result<Option<Recorder>, StartError> {
    if !config.recording.enabled {
        return Ok(None);
    }
    let metrics = Arc::clone(metrics);
    let recorder = Recorder::spawn(settings::recorder(config), move |event| {
        metrics.recording_over();
        to_driver(match event {
            RecorderEvent::Finished { call, recording } => {
                metrics.recording_finished(recording.bytes, recording.dropped_frames);
                RecordEvent::Finished { call, recording }
            }
            RecorderEvent::Failed { call, why, partial } => {
                metrics.recording_failed();
                RecordEvent::Failed { call, why, partial }
            }
        });
    })?;
    Ok(Some(recorder))
}

/// The one loop that owns the shard.
struct Driver {
    shard: Shard,
    net: Arc<SipNet>,
    media: Arc<MediaPlane>,
    recorder: Option<Recorder>,
    cdr_log: CdrLog,
    keeper: Keeper,
    answers: Arc<Answers>,
    cdrs: broadcast::Sender<Arc<Cdr>>,
    metrics: Arc<Metrics>,
    state: Arc<Shared>,
    drained: Option<oneshot::Sender<()>>,
    graph: GraphClient,
    /// For the replies to requests.
    inputs: mpsc::Sender<Input>,
}

impl Driver {
    async fn run(mut self, mut queue: mpsc::Receiver<Input>) {
        loop {
            let deadline = self.shard.poll_timeout();
            let input = match deadline {
                Some(at) => tokio::select! {
                    biased;
                    input = queue.recv() => input,
                    () = tokio::time::sleep_until(at.into()) => {
                        self.shard.handle_timeout(now());
                        self.carry_out();
                        continue;
                    }
                },
                None => queue.recv().await,
            };
            match input {
                None | Some(Input::Stop) => break,
                Some(Input::Recovered(cdr)) => self.cdr_log.write(cdr),
                Some(input) => {
                    if let Input::Media(Event::Quality { side, quality, .. }) = &input {
                        self.metrics.media_quality(*side, quality);
                    }
                    self.shard.handle(input, now());
                }
            }
            // Timers must fire even if inputs never cease.
            if deadline.is_some_and(|at| at <= Instant::now()) {
                self.shard.handle_timeout(now());
            }
            self.carry_out();
        }
        self.stop();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Send(transmit) => self.net.send(transmit),
                Output::Keep(flow) => self.net.keep(flow),
                Output::Close(flow) => self.net.close(flow),
                Output::Graph(ask) => self.ask_graph(*ask),
                Output::Message(ask) => self.send_message(*ask),
                Output::Note(note) => self.keep(Keep::Note(note, None)),
                Output::Withdrawn(note) => self.keep(Keep::Withdrawn(note)),
                Output::Media(command) => self.command_media(command),
                Output::Record(command) => self.record(command),
                Output::Progress(progress) => self.keep(Keep::Progress(progress)),
                Output::Awaited(progress) => self.keep(Keep::Awaited(progress)),
                Output::Cdr(cdr) => self.ended(cdr),
                Output::Found(token, found) => self.answers.found(token, found),
                Output::Answered(token, answer) => self.answers.answered(token, *answer),
                Output::Requested(requested) => self.keep(Keep::Requested(requested)),
                Output::Load(load) => self.load(load),
                Output::Acted(event) => self.keep(Keep::Acted(event)),
                Output::Stranger(side, _) => self.metrics.stranger_refused(side),
                Output::Registrations(contacts) => self.metrics.registrations_active(contacts as u64),
                Output::Drained => {
                    if let Some(drained) = self.drained.take() {
                        let _ = drained.send(());
                    }
                }
            }
        }
        let calls = self.shard.calls();
        self.state.calls.store(calls, Ordering::Relaxed);
        self.metrics.calls_active(calls as u64);
        *self.state.sip.lock().unwrap_or_else(PoisonError::into_inner) = self.shard.sip_counters();
        let sizes = self.shard.sip_sizes();
        self.metrics.sip_remembered(sizes.sessions as u64, sizes.transactions as u64);
    }

    /// What does not fit is counted by the keeper.
    fn keep(&self, what: Keep) {
        self.keeper.keep(what);
    }

    /// A question that the database cannot take is answered in its place: nobody waits for ever.
    fn load(&mut self, load: Box<Load>) {
        let asker = load.asker;
        if !self.keeper.keep(Keep::Load(load)) {
            let known = Err("the database is too slow".to_owned());
            self.shard.handle(Input::Loaded(Box::new(Loaded { asker, known })), now());
        }
    }

    /// Each call has one request under way at most, so the bound of calls is theirs.
    fn ask_graph(&self, GraphAsk { token, number, action }: GraphAsk) {
        let (graph, inputs, metrics) = (self.graph.clone(), self.inputs.clone(), Arc::clone(&self.metrics));
        tokio::spawn(async move {
            let reply = graph.ask(&number.id, &number.token, &action).await;
            metrics.graph_request(action.word(), outcome(&reply));
            // The driver ends only with the bridge.
            let _ = inputs.send(Input::GraphReplied(token, reply)).await;
        });
    }

    /// Each question of the REST interface sends one at most. What cannot be kept is not sent.
    fn send_message(&self, MessageAsk { note, token, messenger, action }: MessageAsk) {
        let (waits, kept) = oneshot::channel();
        self.keep(Keep::Note(Box::new(note), Some(waits)));
        let (graph, inputs, metrics) = (self.graph.clone(), self.inputs.clone(), Arc::clone(&self.metrics));
        tokio::spawn(async move {
            let Messenger { to, token: bearer } = messenger;
            let reply = match (tokio::time::timeout(KEEPING, kept).await, to) {
                (Ok(Ok(())), MessagesTo::Graph(id)) => graph.ask(&id, &bearer, &action).await,
                (Ok(Ok(())), MessagesTo::Provider { url, .. }) => graph.ask_at(&url, &bearer, &action).await,
                (Ok(Err(_)) | Err(_), _) => {
                    let text = "the database did not take note of it in time, and it was not sent".to_owned();
                    Err(Failure::Refused { code: 0, text })
                }
            };
            metrics.graph_request(action.word(), outcome(&reply));
            // The driver ends only with the bridge.
            let _ = inputs.send(Input::GraphReplied(token, reply)).await;
        });
    }

    /// A command that the media plane cannot take is answered in its place: no call waits for ever.
    fn command_media(&mut self, command: Command) {
        let (Err(SendError::Full(command)) | Err(SendError::Stopped(command))) = self.media.send(command)
        else {
            return;
        };
        tracing::error!(?command, "the media plane takes no commands");
        let answer = match command {
            Command::Open { leg, .. } | Command::OpenShared { leg } => {
                Event::OpenFailed { leg, why: OpenFailure::Stopping }
            }
            Command::Close { call } => Event::Closed { call, quality: Vec::new() },
            Command::Configure(_)
            | Command::Start { .. }
            | Command::Bridge { .. }
            | Command::Unbridge { .. }
            | Command::Direct { .. }
            | Command::Press { .. }
            | Command::Play { .. }
            | Command::StopPlaying { .. }
            | Command::Tap { .. }
            | Command::CloseLeg { .. } => return,
        };
        self.shard.handle(Input::Media(answer), now());
    }

    fn record(&mut self, command: RecordCommand) {
        let (RecordCommand::Start { call, .. } | RecordCommand::Stop { call, .. }) = command;
        let done = match (&self.recorder, command) {
            (None, _) => Err("recording was off when the bridge was started; start it again".to_owned()),
            (Some(recorder), RecordCommand::Start { call, at, facts, direction }) => recorder
                .start(call, at, settings::tags(call, at, &facts, direction))
                .map(|()| self.metrics.recording_began())
                .map_err(|error| error.to_string()),
            (Some(recorder), RecordCommand::Stop { call, lasted }) => {
                recorder.stop(call, lasted).map_err(|error| error.to_string())
            }
        };
        if let Err(why) = done {
            self.metrics.recording_failed();
            self.shard.handle(Input::Record(RecordEvent::Failed { call, why, partial: None }), now());
        }
    }

    fn ended(&self, cdr: Box<Cdr>) {
        self.metrics.call_ended(cdr.direction, cdr.termination.cause);
        if let Some(ms) = cdr.setup_ms {
            self.metrics.call_setup_ms(cdr.direction, ms);
        }
        if let Some(fault) = cdr.quality.and_then(|quality| quality.fault) {
            self.metrics.call_fault(fault.hop);
        }
        for rule in &cdr.refused {
            self.metrics.rule_refused(rule.code);
        }
        // Nobody may be listening.
        let _ = self.cdrs.send(Arc::new((*cdr).clone()));
        self.keep(Keep::Cdr(cdr.clone()));
        self.cdr_log.write(cdr);
    }

    /// Ends the threads in the order in which data flows: packets, frames, files, records.
    fn stop(self) {
        let Self { media, recorder, cdr_log, .. } = self;
        tokio::task::block_in_place(|| {
            // The metrics hold the other reference, and only read counters.
            if let Some(media) = Arc::into_inner(media) {
                media.shutdown();
            }
            if let Some(recorder) = recorder {
                recorder.shutdown();
            }
            cdr_log.close();
        });
    }
}

/// Both clocks.
pub(crate) fn now() -> Now {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        mono: Instant::now(),
        wall: Wall::from_unix_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)),
    }
}

/// The system's CSPRNG.
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::panic, reason = "without randomness there are no keys; going on would be worse")]
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the system has no random numbers: {error}");
        }
    }
}

/// How long a message waits until it is kept that it counts: as long as a gate may take.
const KEEPING: Duration = Duration::from_secs(3);

const fn outcome(reply: &Result<Reply, Failure>) -> &'static str {
    match reply {
        Ok(_) => "taken",
        Err(Failure::Refused { .. }) => "refused",
        Err(Failure::Unknown { .. }) => "unknown",
    }
}
