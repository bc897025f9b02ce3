//! The REST interface: its listener, and who answers its questions.

mod calls;
mod orders;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use setu_control::{
    ApiTokens, Backend, CallFilter, CallOrder, CdrEntry, CdrFilter, CdrRevisionEntry, Control, DeadEvent,
    Grant, HttpLimits, Inquiry, LiveCall, MOST_TIME, Metrics, NotMade, Pending, PermissionOrder,
    PermissionRequested, ProvisioningReport, Readiness, ReservationOrder, Reserved, Rule, Standing,
    StartError, Unavailable, serve_api,
};
use setu_model::{CallId, Pii, Wall};
use setu_store::{CdrQuery, CdrRevision, DeadRow, Store, StoreFault};
use setu_whatsapp::gate::Decision;
use setu_whatsapp::permission::{Answer, Considered, Customer};
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::calls::{asking, live_call, not_made, placing, readiness, requested, reserved};
use crate::driver::{self, Input};
use crate::figures::Subjects;
use crate::provision::Provisioner;

/// The listener, and what goes back to it.
#[derive(Debug)]
pub(crate) struct Api {
    listener: Control,
    tokens: watch::Sender<ApiTokens>,
    answers: Arc<Answers>,
}

impl Api {
    /// Listens, and answers from `store` and by what the driver finds.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn open(
        bind: SocketAddr,
        tokens: ApiTokens,
        metrics: &Arc<Metrics>,
        answers: Arc<Answers>,
    ) -> Result<Self, StartError> {
        let (tokens, known) = watch::channel(tokens);
        let limits = HttpLimits::default();
        let backend = Arc::<Answers>::clone(&answers);
        let listener = serve_api(bind, Arc::clone(metrics), known, backend, limits).await?;
        Ok(Self { listener, tokens, answers })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Takes new tokens and numbers.
    pub(crate) fn reload(&self, tokens: ApiTokens, subjects: Subjects) {
        self.tokens.send_replace(tokens);
        self.answers.about(subjects);
    }

    /// Ends once the requests under way are answered.
    pub(crate) async fn shutdown(self) {
        self.listener.shutdown().await;
    }
}

type Found = Result<Option<Box<driver::Finding>>, String>;

/// Whoever waits for an answer of the driver, by token.
#[derive(Debug)]
struct Waiting<T>(Mutex<BTreeMap<u64, oneshot::Sender<T>>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Waiting<T> {
    /// Notes that somebody waits; none if too many do.
    fn wait(&self, next: &AtomicU64) -> Option<(u64, oneshot::Receiver<T>)> {
        let mut waiting = self.0.lock().ok()?;
        // Those who went away make room.
        waiting.retain(|_, waiting| !waiting.is_closed());
        if waiting.len() >= MOST_WAITING {
            return None;
        }
        let token = next.fetch_add(1, Ordering::Relaxed);
        let (found, answer) = oneshot::channel();
        waiting.insert(token, found);
        Some((token, answer))
    }

    fn tell(&self, token: u64, found: T) {
        let waiting = self.0.lock().ok().and_then(|mut waiting| waiting.remove(&token));
        if let Some(waiting) = waiting {
            // Whoever asked may have gone.
            let _ = waiting.send(found);
        }
    }
}

/// Who answers: the store, and the driver by way of a token.
#[derive(Debug)]
pub(crate) struct Answers {
    store: watch::Sender<Option<Arc<Store>>>,
    provisioner: watch::Sender<Arc<Provisioner>>,
    subjects: watch::Sender<Subjects>,
    inquiries: Waiting<Found>,
    next: Arc<AtomicU64>,
    driver: ToDriver,
}

/// The way of a request to the driver and back.
#[derive(Debug, Clone)]
struct ToDriver {
    inputs: mpsc::WeakSender<Input>,
    next: Arc<AtomicU64>,
    requests: Arc<Waiting<driver::Answer>>,
}

impl Answers {
    /// Questions wait until [`begin`](Self::begin).
    pub(crate) fn new(inputs: &mpsc::Sender<Input>, provisioner: Provisioner) -> Arc<Self> {
        let next = Arc::new(AtomicU64::new(1));
        let driver =
            ToDriver { inputs: inputs.downgrade(), next: Arc::clone(&next), requests: Arc::default() };
        Arc::new(Self {
            store: watch::Sender::new(None),
            provisioner: watch::Sender::new(Arc::new(provisioner)),
            subjects: watch::Sender::new(Subjects::default()),
            inquiries: Waiting::default(),
            next,
            driver,
        })
    }

    /// The store is open.
    pub(crate) fn begin(&self, store: &Arc<Store>) {
        self.store.send_replace(Some(Arc::clone(store)));
    }

    /// Other numbers and tokens.
    pub(crate) fn reload(&self, provisioner: Provisioner) {
        self.provisioner.send_replace(Arc::new(provisioner));
    }

    /// Takes what the figures are about.
    pub(crate) fn about(&self, subjects: Subjects) {
        self.subjects.send_replace(subjects);
    }

    pub(crate) fn subjects(&self) -> Subjects {
        self.subjects.borrow().clone()
    }

    /// The driver has found what was asked.
    pub(crate) fn found(&self, token: u64, found: Found) {
        self.inquiries.tell(token, found);
    }

    /// The driver has done what was asked for.
    pub(crate) fn answered(&self, token: u64, answer: driver::Answer) {
        self.driver.requests.tell(token, answer);
    }

    /// Asks the store, once it is open.
    pub(crate) fn with_store<T: Send + 'static, F>(
        &self,
        ask: impl FnOnce(Arc<Store>) -> F + Send + 'static,
    ) -> Pending<T>
    where
        F: Future<Output = Result<T, StoreFault>> + Send + 'static,
    {
        let mut opened = self.store.subscribe();
        Box::pin(async move {
            let opened = tokio::time::timeout(PATIENCE, opened.wait_for(Option::is_some)).await;
            let store = opened.ok().and_then(Result::ok).and_then(|store| store.clone());
            let store = store.ok_or_else(|| Unavailable("the bridge is starting".to_owned()))?;
            ask(store).await.map_err(|fault| {
                tracing::error!(%fault, "the database cannot be asked");
                Unavailable("the database does not answer".to_owned())
            })
        })
    }

    /// Asks the driver of calls that live.
    fn lives(&self, request: driver::Request) -> Pending<Vec<LiveCall>> {
        let asked = self.request(request);
        Box::pin(async move {
            let driver::Answer::Lives(lives) = asked.await? else { return Err(at_odds()) };
            Ok(lives.into_iter().map(live_call).collect())
        })
    }

    /// Asks the driver of reservations.
    fn ahead(&self, request: driver::Request) -> Pending<Vec<Reserved>> {
        let asked = self.request(request);
        Box::pin(async move {
            let driver::Answer::Reservations(found) = asked.await? else { return Err(at_odds()) };
            Ok(found.into_iter().map(reserved).collect())
        })
    }

    fn request(&self, request: driver::Request) -> Pending<driver::Answer> {
        self.driver.request(request)
    }
}

impl ToDriver {
    /// Asks the driver.
    fn request(&self, request: driver::Request) -> Pending<driver::Answer> {
        // These may send a message.
        let sends = matches!(request, driver::Request::Place(_) | driver::Request::Permission(_));
        let patience = if sends { PATIENCE + MOST_TIME } else { PATIENCE };
        let (waits, inputs) = (self.requests.wait(&self.next), self.inputs.upgrade());
        Box::pin(async move {
            let ((token, answer), inputs) = waits.zip(inputs).ok_or_else(too_many)?;
            asked(inputs, Input::Request(token, Box::new(request)), answer, patience).await
        })
    }

    /// Has the driver place a call; `call` is the id it is to have.
    fn place(&self, order: CallOrder, call: Option<CallId>) -> Pending<Result<String, NotMade>> {
        let asked = self.request(driver::Request::Place(Box::new(placing(order, call))));
        Box::pin(async move {
            let driver::Answer::Placed(placed) = asked.await? else { return Err(at_odds()) };
            Ok(placed.map(|call| call.to_string()).map_err(not_made))
        })
    }
}

fn too_many() -> Unavailable {
    Unavailable("too many questions at once".to_owned())
}

/// Tells the driver, and waits for what it answers.
async fn asked<T>(
    inputs: mpsc::Sender<Input>,
    input: Input,
    answer: oneshot::Receiver<T>,
    patience: std::time::Duration,
) -> Result<T, Unavailable> {
    let gone = || Unavailable("the bridge is stopping".to_owned());
    inputs.send(input).await.map_err(|_| gone())?;
    // Held any longer it would keep the driver from its end.
    drop(inputs);
    let answer = tokio::time::timeout(patience, answer).await;
    let answer = answer.map_err(|_| Unavailable("the database does not answer".to_owned()))?;
    answer.map_err(|_| gone())
}

impl Backend for Answers {
    fn inquire(&self, inquiry: Inquiry) -> Pending<Option<setu_control::Finding>> {
        let Inquiry { number, customer, by_hand, use_case, campaign } = inquiry;
        let customer = Customer::of_fields(&customer, None);
        let (waits, inputs) = (self.inquiries.wait(&self.next), self.driver.inputs.upgrade());
        Box::pin(async move {
            let ((token, answer), inputs) = waits.zip(inputs).ok_or_else(too_many)?;
            let inquiry = driver::Inquiry {
                token,
                number,
                customer,
                by_hand,
                use_case,
                campaign,
                sends_request: false,
            };
            let found = asked(inputs, Input::Inquire(Box::new(inquiry)), answer, PATIENCE).await?;
            found.map_err(Unavailable).map(|found| found.map(|found| finding(*found)))
        })
    }

    fn cdrs(&self, filter: CdrFilter) -> Pending<Vec<CdrEntry>> {
        self.with_store(|store| async move { Ok(entries(store.cdrs(&query(filter)).await?)) })
    }

    fn dead_events(&self, after: Option<i64>, most: usize) -> Pending<Vec<DeadEvent>> {
        self.with_store(move |store| async move {
            Ok(store.dead(after, most).await?.into_iter().map(dead_event).collect())
        })
    }

    fn provisioning(&self) -> Pending<Vec<ProvisioningReport>> {
        let provisioner = Arc::clone(&self.provisioner.borrow());
        let store = self.with_store(|store| async { Ok(store) });
        // Most of it is Meta's to say, whether or not the database is there.
        Box::pin(async move { Ok(provisioner.reports(store.await.ok()).await) })
    }

    fn retry_event(&self, id: String) -> Pending<Option<()>> {
        self.with_store(|store| async move {
            match id.split_once(':') {
                Some((endpoint, event)) => Ok(store.revive(endpoint, event).await?.then_some(())),
                None => Ok(None),
            }
        })
    }

    fn place(&self, order: CallOrder) -> Pending<Result<String, NotMade>> {
        if order.key.is_none() {
            return self.driver.place(order, None);
        }
        let (store, driver) = (self.with_store(|store| async { Ok(store) }), self.driver.clone());
        Box::pin(async move {
            let store = store.await?;
            orders::place(&store, &driver, order).await
        })
    }

    fn calls(&self, filter: CallFilter) -> Pending<Vec<LiveCall>> {
        let CallFilter { number, after, limit } = filter;
        // What cannot be read was refused at the door.
        let after = after.and_then(|after| after.parse().ok());
        let most = limit.map_or(100, |limit| limit as usize);
        self.lives(driver::Request::Lives { after, number, most })
    }

    fn call(&self, call: String) -> Pending<Option<LiveCall>> {
        let Ok(call) = call.parse() else { return Box::pin(async { Ok(None) }) };
        let lives = self.lives(driver::Request::Live(call));
        Box::pin(async move { Ok(lives.await?.pop()) })
    }

    fn hang_up(&self, call: String) -> Pending<bool> {
        let Ok(call) = call.parse() else { return Box::pin(async { Ok(false) }) };
        let lives = self.lives(driver::Request::HangUp(call));
        Box::pin(async move { Ok(!lives.await?.is_empty()) })
    }

    fn request_permission(&self, order: PermissionOrder) -> Pending<Result<PermissionRequested, NotMade>> {
        let asked = self.request(driver::Request::Permission(Box::new(asking(order))));
        Box::pin(async move {
            let driver::Answer::Requested(sent) = asked.await? else { return Err(at_odds()) };
            Ok(sent.map(requested).map_err(not_made))
        })
    }

    fn reserve(&self, order: ReservationOrder) -> Pending<Result<Reserved, NotMade>> {
        let ReservationOrder { number, customer, agents, seconds, use_case, reference } = order;
        let lasts = std::time::Duration::from_secs(seconds.into());
        let customer = customer.map(Pii::new);
        let ahead = setu_call::Reserve { number, customer, agents, lasts, use_case, reference };
        let asked = self.request(driver::Request::Reserve(Box::new(ahead)));
        Box::pin(async move {
            let driver::Answer::Reserved(made) = asked.await? else { return Err(at_odds()) };
            Ok(made.map(|made| reserved(*made)).map_err(not_made))
        })
    }

    fn reservations(&self, filter: CallFilter) -> Pending<Vec<Reserved>> {
        let CallFilter { number, after, limit } = filter;
        let after = after.and_then(|after| after.parse().ok());
        let most = limit.map_or(100, |limit| limit as usize);
        self.ahead(driver::Request::Reservations { after, number, most })
    }

    fn reservation(&self, reservation: String) -> Pending<Option<Reserved>> {
        let Ok(id) = reservation.parse() else { return Box::pin(async { Ok(None) }) };
        let found = self.ahead(driver::Request::Reservation(id));
        Box::pin(async move { Ok(found.await?.pop()) })
    }

    fn release(&self, reservation: String) -> Pending<bool> {
        let Ok(id) = reservation.parse() else { return Box::pin(async { Ok(false) }) };
        let found = self.ahead(driver::Request::Release(id));
        Box::pin(async move { Ok(!found.await?.is_empty()) })
    }

    fn readiness(&self, number: String) -> Pending<Option<Readiness>> {
        let asked = self.request(driver::Request::Readiness(number.clone()));
        Box::pin(async move {
            let driver::Answer::Readiness(found) = asked.await? else { return Err(at_odds()) };
            let found = found.map_err(Unavailable)?;
            Ok(found.map(|found| readiness(number, *found)))
        })
    }
}

/// An answer to another question than was asked.
fn at_odds() -> Unavailable {
    tracing::error!("the driver answers another question");
    Unavailable("the bridge is at odds with itself".to_owned())
}

fn dead_event(row: DeadRow) -> DeadEvent {
    DeadEvent {
        id: format!("{}:{}", row.endpoint, row.id),
        endpoint: row.endpoint,
        kind: row.kind,
        at: row.made.to_string(),
        tries: row.tries,
        why: row.why,
        event: serde_json::from_str(&row.payload).unwrap_or_default(),
        cursor: row.place,
    }
}

fn query(filter: CdrFilter) -> CdrQuery {
    let CdrFilter { call, number, customer, cause, direction, from, until, after, limit } = filter;
    // What cannot be read was refused at the door.
    let moment = |text: Option<String>| text.and_then(|text| text.parse::<Wall>().ok());
    let cursor = |text: String| {
        let (began, call) = text.split_once('.')?;
        Some((Wall::from_unix_ms(began.parse().ok()?), call.to_owned()))
    };
    CdrQuery {
        call,
        number,
        customer,
        cause,
        direction,
        from: moment(from),
        until: moment(until),
        after: after.and_then(cursor),
        most: limit.map_or(100, |limit| limit as usize),
    }
}

fn entries(found: Vec<CdrRevision>) -> Vec<CdrEntry> {
    let mut entries: Vec<CdrEntry> = Vec::new();
    for CdrRevision { call, revision, source, written, began, record } in found {
        let record = serde_json::from_str(&record).unwrap_or_default();
        match entries.last_mut().filter(|last| last.call == call) {
            Some(entry) => {
                let written = written.to_string();
                entry.revisions.push(CdrRevisionEntry { revision, source, written, record });
            }
            None => {
                let cursor = format!("{}.{call}", began.unix_ms());
                entries.push(CdrEntry { call, record, revisions: Vec::new(), cursor });
            }
        }
    }
    entries
}

fn finding(found: driver::Finding) -> setu_control::Finding {
    setu_control::Finding {
        call: standing(&found.call),
        request: standing(&found.request),
        call_refused: rules(found.may_call),
        request_refused: rules(found.may_request),
    }
}

fn standing(answer: &Answer) -> Standing {
    Standing {
        allowed: answer.is_yes(),
        why: answer.why.code().to_owned(),
        reason: answer.why.to_string(),
        next_allowed: answer.next_allowed.map(|at| at.to_string()),
        considered: answer.considered.iter().copied().map(grant).collect(),
    }
}

fn grant(considered: Considered) -> Grant {
    let (grant, counts) = match considered {
        Considered::Valid(grant) => (grant, "valid"),
        Considered::Expired(grant) => (grant, "expired"),
        Considered::NotHere(grant) => (grant, "not_here"),
    };
    Grant {
        source: grant.source.word().to_owned(),
        until: grant.until.map(|at| at.to_string()),
        counts: counts.to_owned(),
    }
}

fn rules(decision: Decision) -> Vec<Rule> {
    let Decision::Refused(refusals) = decision else { return Vec::new() };
    refusals
        .into_iter()
        .map(|refusal| Rule {
            code: refusal.code.number(),
            title: refusal.code.title().to_owned(),
            reason: refusal.reason,
            remedy: refusal.remedy,
            next_allowed: refusal.next_allowed.map(|at| at.to_string()),
        })
        .collect()
}

/// Questions that may wait for their answers at once.
const MOST_WAITING: usize = 256;

/// How long one waits, but for what Graph or a provider is asked.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
