use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use setu_model::{Cause, Direction, Hop, MediaQuality, Side};

use crate::labels::{
    Bound, ByCause, ByDirection, ByEvent, ByFate, ByHop, ByMessage, ByNumber, ByRequest, ByRule, BySide,
    DIRECTIONS, Fate, SIDES, Transport, WebhookFate,
};

/// Everything the bridge counts, under names that begin with `setu_`.
///
/// Methods are cheap and may be called from any thread. What a shell counts by itself (its own atomics) is copied
/// in by the function given to [`Metrics::refresh_with`], which runs before each scrape. Methods that take a
/// `total` set an absolute count, the others add to it.
pub struct Metrics {
    registry: Registry,
    refresh: OnceLock<Refresh>,
    calls_active: Gauge,
    sip_sessions: Gauge,
    sip_transactions: Gauge,
    calls: Family<ByCause, Counter>,
    setup: Family<ByDirection, Histogram, fn() -> Histogram>,
    first_audio: Family<ByDirection, Histogram, fn() -> Histogram>,
    sip_messages: Family<ByMessage, Counter>,
    sip_malformed: Family<BySide, Counter>,
    sip_events: Family<ByEvent, Counter>,
    inputs_dropped: Counter,
    sip_transport_events: Family<ByEvent, Counter>,
    strangers: Family<BySide, Counter>,
    registrations: Gauge,
    media_packets: Family<ByFate, Counter>,
    media_legs: Gauge,
    media_events: Family<ByEvent, Counter>,
    coders: Gauge,
    coder_complexity: Gauge,
    media_mos: Family<ByHop, Histogram, fn() -> Histogram>,
    call_faults: Family<ByHop, Counter>,
    number_light: Family<ByNumber, Gauge>,
    rules_refused: Family<ByRule, Counter>,
    recordings_active: Gauge,
    recordings_failed: Counter,
    recording_bytes: Counter,
    recording_frames_dropped: Counter,
    cdrs: Counter,
    certificate_expiry: Family<BySide, Gauge>,
    webhooks: Family<ByFate, Counter>,
    webhook_events: Family<ByEvent, Counter>,
    webhook_repetitions: Counter,
    webhook_acknowledgement: Histogram,
    graph_requests: Family<ByRequest, Counter>,
    store_failures: Counter,
    api_answers: Family<ByRule, Counter>,
    events_waiting: Gauge,
    events_dead: Gauge,
    events_delivered: Counter,
    events_failed: Counter,
}

type Refresh = Box<dyn Fn(&Metrics) + Send + Sync>;

impl Metrics {
    /// Makes all metrics, each label value that is known beforehand at zero, so that a rate over a cause that has
    /// not happened yet is zero and not absent.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("setu"),
            refresh: OnceLock::new(),
            calls_active: Gauge::default(),
            sip_sessions: Gauge::default(),
            sip_transactions: Gauge::default(),
            calls: Family::default(),
            setup: Family::new_with_constructor(|| Histogram::new(SETUP_SECONDS)),
            first_audio: Family::new_with_constructor(|| Histogram::new(FIRST_AUDIO_SECONDS)),
            sip_messages: Family::default(),
            sip_malformed: Family::default(),
            sip_events: Family::default(),
            inputs_dropped: Counter::default(),
            sip_transport_events: Family::default(),
            strangers: Family::default(),
            registrations: Gauge::default(),
            media_packets: Family::default(),
            media_legs: Gauge::default(),
            media_events: Family::default(),
            coders: Gauge::default(),
            coder_complexity: Gauge::default(),
            media_mos: Family::new_with_constructor(|| Histogram::new(MOS)),
            call_faults: Family::default(),
            number_light: Family::default(),
            rules_refused: Family::default(),
            recordings_active: Gauge::default(),
            recordings_failed: Counter::default(),
            recording_bytes: Counter::default(),
            recording_frames_dropped: Counter::default(),
            cdrs: Counter::default(),
            certificate_expiry: Family::default(),
            webhooks: Family::default(),
            webhook_events: Family::default(),
            webhook_repetitions: Counter::default(),
            store_failures: Counter::default(),
            api_answers: Family::default(),
            webhook_acknowledgement: Histogram::new(ACKNOWLEDGEMENT_SECONDS),
            graph_requests: Family::default(),
            events_waiting: Gauge::default(),
            events_dead: Gauge::default(),
            events_delivered: Counter::default(),
            events_failed: Counter::default(),
        };
        metrics.register_calls();
        metrics.register_sip();
        metrics.register_media();
        metrics.register_webhooks();
        metrics.show_zeroes();
        metrics
    }

    /// Names the function that copies in, before each scrape, what others count. Only the first one is kept.
    pub fn refresh_with(&self, refresh: impl Fn(&Self) + Send + Sync + 'static) {
        // A second call would silently lose the first one's numbers, so the first one stays.
        let _ = self.refresh.set(Box::new(refresh));
    }

    /// Sets how many calls are alive.
    pub fn calls_active(&self, calls: u64) {
        self.calls_active.set(signed(calls));
    }

    /// How many SIP sessions and transactions are remembered: some wait for repetitions after the call is over.
    pub fn sip_remembered(&self, sessions: u64, transactions: u64) {
        self.sip_sessions.set(signed(sessions));
        self.sip_transactions.set(signed(transactions));
    }

    /// Counts a call that ended.
    pub fn call_ended(&self, direction: Direction, cause: Cause) {
        self.calls.get_or_create(&ByCause::new(direction, cause)).inc();
    }

    /// Notes how long a call took from its first message to the answer, in milliseconds.
    pub fn call_setup_ms(&self, direction: Direction, ms: u64) {
        self.setup.get_or_create(&ByDirection::new(direction)).observe(seconds(ms));
    }

    /// Notes how long after the answer the customer heard the first of the agent's audio, in milliseconds.
    pub fn first_audio_ms(&self, direction: Direction, ms: u64) {
        self.first_audio.get_or_create(&ByDirection::new(direction)).observe(seconds(ms));
    }

    /// Sets how many SIP messages went one way over one transport of one side since the start.
    pub fn sip_messages(&self, side: Side, transport: Transport, bound: Bound, total: u64) {
        store(&self.sip_messages.get_or_create(&ByMessage::new(side, transport, bound)), total);
    }

    /// Sets how many malformed SIP messages a side has taken since the start.
    pub fn sip_malformed(&self, side: Side, total: u64) {
        store(&self.sip_malformed.get_or_create(&BySide::new(side)), total);
    }

    /// Sets how often something worth counting has happened in the SIP core since the start: a retransmission, a request
    /// that a bound dropped. `event` is the counter's own word.
    pub fn sip_event(&self, event: &'static str, total: u64) {
        store(&self.sip_events.get_or_create(&ByEvent::new(event)), total);
    }

    /// Sets how many inputs of the signalling loop found no room since the start.
    pub fn inputs_dropped(&self, total: u64) {
        store(&self.inputs_dropped, total);
    }

    /// Sets how often something worth counting has happened in the media plane since the start: frames coded or made up,
    /// queues that overflowed. `event` is the counter's own word.
    pub fn media_event(&self, event: &'static str, total: u64) {
        store(&self.media_events.get_or_create(&ByEvent::new(event)), total);
    }

    /// Sets how many ways through a coder there are (two for each call that is transcoded), and the lowest complexity that
    /// Opus encoders work with, 0 to 10.
    pub fn coders(&self, ways: u64, complexity: u8) {
        self.coders.set(signed(ways));
        self.coder_complexity.set(complexity.into());
    }

    /// Sets how often something worth counting has happened at the SIP transports since the start: a refused
    /// connection, a failed handshake, a queue that overflowed. `event` is the counter's own word.
    pub fn sip_transport_event(&self, event: &'static str, total: u64) {
        store(&self.sip_transport_events.get_or_create(&ByEvent::new(event)), total);
    }

    /// Counts a request that was refused because nobody known sent it.
    pub fn stranger_refused(&self, side: Side) {
        self.strangers.get_or_create(&BySide::new(side)).inc();
    }

    /// Sets how many bindings the registrar holds.
    pub fn registrations_active(&self, bindings: u64) {
        self.registrations.set(signed(bindings));
    }

    /// Sets how many media packets have met a fate since the start.
    pub fn media_packets(&self, fate: Fate, total: u64) {
        store(&self.media_packets.get_or_create(&ByFate::new(fate)), total);
    }

    /// Sets how many media legs, each with a port of its own, are open.
    pub fn media_legs(&self, legs: u64) {
        self.media_legs.set(signed(legs));
    }

    /// Notes what a live leg sounds like, both ways; told every few seconds.
    pub fn media_quality(&self, side: Side, quality: &MediaQuality) {
        let (up, down) = match side {
            Side::Meta => (Hop::CustomerUplink, Hop::CustomerDownlink),
            Side::Agents => (Hop::AgentUplink, Hop::AgentDownlink),
        };
        for (hop, mos) in [(up, quality.mos_received), (down, quality.mos_sent)] {
            if let Some(mos) = mos {
                self.media_mos.get_or_create(&ByHop::new(hop)).observe(mos.value());
            }
        }
    }

    /// Counts a call that somebody was not satisfied with, by the hop at fault.
    pub fn call_fault(&self, hop: Hop) {
        self.call_faults.get_or_create(&ByHop::new(hop)).inc();
    }

    /// Sets how a business number is doing: 0 is GREEN, 1 YELLOW, 2 RED.
    pub fn number_light(&self, number: &str, light: u8) {
        self.number_light.get_or_create(&ByNumber::new(number)).set(i64::from(light));
    }

    /// Counts a rule that forbade a call, by its code.
    pub fn rule_refused(&self, code: u16) {
        self.rules_refused.get_or_create(&ByRule::new(code)).inc();
    }

    /// Notes that the recorder took a recording; [`recording_over`](Self::recording_over) ends it.
    pub fn recording_began(&self) {
        self.recordings_active.inc();
    }

    /// Notes that a recording has ended, whole or not.
    pub fn recording_over(&self) {
        self.recordings_active.dec();
    }

    /// Counts a recording that is complete: its size in bytes, and the frames it lost.
    pub fn recording_finished(&self, bytes: u64, dropped_frames: u64) {
        self.recording_bytes.inc_by(bytes);
        self.recording_frames_dropped.inc_by(dropped_frames);
    }

    /// Counts a recording that could not be kept.
    pub fn recording_failed(&self) {
        self.recordings_failed.inc();
    }

    /// Counts a CDR that was written.
    pub fn cdr_written(&self) {
        self.cdrs.inc();
    }

    /// Sets how many seconds the certificate shown to a side is still valid; negative once it has expired.
    pub fn certificate_expires_in(&self, side: Side, seconds: i64) {
        self.certificate_expiry.get_or_create(&BySide::new(side)).set(seconds);
    }

    /// Counts a request to the webhooks' listener.
    pub fn webhook(&self, fate: WebhookFate) {
        self.webhooks.get_or_create(&ByFate::of_webhook(fate)).inc();
    }

    /// Counts an event of a webhook that is proven, each time it is delivered.
    pub fn webhook_event(&self, event: &'static str) {
        self.webhook_events.get_or_create(&ByEvent::new(event)).inc();
    }

    /// Counts an event that was told before.
    pub fn webhook_event_repeated(&self) {
        self.webhook_repetitions.inc();
    }

    /// Counts something that the database did not do.
    pub fn store_failed(&self) {
        self.store_failures.inc();
    }

    /// Counts an answer of the REST interface, by its status.
    pub fn api_answered(&self, status: u16) {
        self.api_answers.get_or_create(&ByRule::new(status)).inc();
    }

    /// Counts a request to Meta's Graph once it is answered or given up: `taken`, `refused` or `unknown`.
    pub fn graph_request(&self, action: &'static str, outcome: &'static str) {
        self.graph_requests.get_or_create(&ByRequest { action, outcome }).inc();
    }

    /// Sets how many events wait to be delivered, and how many were given up.
    pub fn events(&self, waiting: u64, dead: u64) {
        self.events_waiting.set(signed(waiting));
        self.events_dead.set(signed(dead));
    }

    /// Counts a try to deliver an event.
    pub fn event_tried(&self, taken: bool) {
        if taken {
            self.events_delivered.inc()
        } else {
            self.events_failed.inc()
        };
    }

    /// Notes how long a webhook took from its head to its acknowledgement.
    pub fn webhook_acknowledged_within(&self, time: Duration) {
        self.webhook_acknowledgement.observe(time.as_secs_f64());
    }

    /// Writes everything as OpenMetrics text, refreshed just before.
    ///
    /// # Errors
    /// Only if the text cannot be formatted.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        if let Some(refresh) = self.refresh.get() {
            refresh(self);
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn register_calls(&mut self) {
        let to = &mut self.registry;
        to.register("calls_active", "Calls that are alive", self.calls_active.clone());
        to.register(
            "sip_sessions",
            "SIP sessions, those over that wait for repetitions among them",
            self.sip_sessions.clone(),
        );
        to.register(
            "sip_transactions",
            "SIP transactions, those over that wait for repetitions among them",
            self.sip_transactions.clone(),
        );
        to.register("calls", "Calls that ended, by who began them and why they ended", self.calls.clone());
        to.register(
            "rules_refused",
            "Rules that forbade a call, by their codes: 4005 is a missing permission",
            self.rules_refused.clone(),
        );
        to.register(
            "call_setup_seconds",
            "From the first message of a call to its answer",
            self.setup.clone(),
        );
        to.register(
            "first_audio_seconds",
            "From the agent's answer to the first of the agent's audio sent to the customer",
            self.first_audio.clone(),
        );
        to.register("cdrs_written", "Call detail records written", self.cdrs.clone());
    }

    fn register_sip(&mut self) {
        let to = &mut self.registry;
        to.register("sip_messages", "SIP messages, as seen from the bridge", self.sip_messages.clone());
        to.register("sip_malformed", "SIP messages that could not be read", self.sip_malformed.clone());
        to.register(
            "sip_events",
            "Retransmissions, strays, challenges, and what a bound of the SIP core dropped",
            self.sip_events.clone(),
        );
        to.register(
            "inputs_dropped",
            "Inputs that found no room before the signalling loop",
            self.inputs_dropped.clone(),
        );
        to.register(
            "sip_transport_events",
            "Refused connections, failed handshakes, overflows and the like",
            self.sip_transport_events.clone(),
        );
        to.register(
            "strangers_refused",
            "Requests refused for lack of a known sender",
            self.strangers.clone(),
        );
        to.register("registrations_active", "Bindings held by the registrar", self.registrations.clone());
        to.register(
            "certificate_expiry_seconds",
            "Seconds until the certificate shown to a side expires",
            self.certificate_expiry.clone(),
        );
    }

    fn register_media(&mut self) {
        let to = &mut self.registry;
        to.register("media_packets", "Media packets, by what became of them", self.media_packets.clone());
        to.register("media_legs", "Media legs that are open, each with its port", self.media_legs.clone());
        to.register(
            "media_events",
            "Frames of 20 ms that coders coded, made up or left out, and whatever found a queue full",
            self.media_events.clone(),
        );
        to.register("coders", "Ways through a coder: two for each call transcoded", self.coders.clone());
        to.register(
            "coder_complexity",
            "Lowest complexity of Opus encoders, 0 to 10: below 9 where the processor is busy",
            self.coder_complexity.clone(),
        );
        to.register(
            "media_mos",
            "Mean opinion scores of live legs by the E-model, every few seconds, since each leg began",
            self.media_mos.clone(),
        );
        to.register(
            "number_light",
            "How business numbers are doing: 0 GREEN, 1 YELLOW, 2 RED",
            self.number_light.clone(),
        );
        to.register(
            "call_faults",
            "Calls that somebody was not satisfied with, by the hop at fault",
            self.call_faults.clone(),
        );
        to.register("recordings_active", "Calls being recorded", self.recordings_active.clone());
        to.register("recordings_failed", "Recordings that could not be kept", self.recordings_failed.clone());
        to.register("recording_bytes", "Bytes of complete recordings", self.recording_bytes.clone());
        to.register(
            "recording_frames_dropped",
            "Frames lost between packet thread and recording",
            self.recording_frames_dropped.clone(),
        );
    }

    fn register_webhooks(&mut self) {
        let to = &mut self.registry;
        to.register(
            "webhooks",
            "Requests to the webhooks' listener, by what became of them",
            self.webhooks.clone(),
        );
        to.register(
            "webhook_events",
            "Events that proven webhooks told, repeated deliveries among them",
            self.webhook_events.clone(),
        );
        to.register(
            "webhook_events_repeated",
            "Events that had been told before, and had no effect again",
            self.webhook_repetitions.clone(),
        );
        to.register("api_answers", "Answers of the REST interface, by status", self.api_answers.clone());
        to.register(
            "graph_requests",
            "Requests to Meta's Graph, by action and by what became of them",
            self.graph_requests.clone(),
        );
        to.register("events_waiting", "Events that wait to be delivered", self.events_waiting.clone());
        to.register("events_dead", "Events whose delivery was given up", self.events_dead.clone());
        to.register("events_delivered", "Events that an endpoint took", self.events_delivered.clone());
        to.register(
            "events_failed",
            "Tries to deliver an event that an endpoint did not take",
            self.events_failed.clone(),
        );
        to.register("store_failures", "What the database did not do when asked", self.store_failures.clone());
        to.register(
            "webhook_acknowledgement_seconds",
            "From the head of a webhook to its acknowledgement",
            self.webhook_acknowledgement.clone(),
        );
    }

    fn show_zeroes(&self) {
        for fate in WebhookFate::ALL {
            drop(self.webhooks.get_or_create(&ByFate::of_webhook(fate)));
        }
        for direction in DIRECTIONS {
            drop(self.setup.get_or_create(&ByDirection::new(direction)));
            drop(self.first_audio.get_or_create(&ByDirection::new(direction)));
            for cause in Cause::ALL {
                drop(self.calls.get_or_create(&ByCause::new(direction, cause)));
            }
        }
        for hop in Hop::ALL {
            drop(self.call_faults.get_or_create(&ByHop::new(hop)));
        }
        for fate in Fate::ALL {
            drop(self.media_packets.get_or_create(&ByFate::new(fate)));
        }
        for side in SIDES {
            drop(self.sip_malformed.get_or_create(&BySide::new(side)));
            drop(self.strangers.get_or_create(&BySide::new(side)));
            for transport in Transport::ALL {
                for bound in Bound::ALL {
                    drop(self.sip_messages.get_or_create(&ByMessage::new(side, transport, bound)));
                }
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Sets a counter to a total that is kept elsewhere. Totals never go down, so neither does the counter.
fn store(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a call are far below 2^52")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// From a twin on the same machine to a ring time of a minute and a half.
const SETUP_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0];

/// Bounds of the scores: annoying, poor, fair, satisfied, very satisfied (ITU-T G.109).
const MOS: [f64; 7] = [1.5, 2.0, 2.6, 3.1, 3.6, 4.0, 4.3];

/// Around the target of 100 ms after the answer.
const FIRST_AUDIO_SECONDS: [f64; 10] = [0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0];

/// Around the target of 100 ms, up to the second in which every webhook is answered.
const ACKNOWLEDGEMENT_SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in\n{text}"))
    }

    #[test]
    fn every_cause_is_there_before_its_first_call() {
        let text = Metrics::new().encode().unwrap();
        for cause in Cause::ALL {
            for direction in ["user_initiated", "business_initiated"] {
                let start = format!("setu_calls_total{{direction=\"{direction}\",cause=\"{cause}\"}}");
                assert_eq!(line(&text, &start), format!("{start} 0"));
            }
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.calls_active(3);
        metrics.sip_remembered(4, 5);
        metrics.call_ended(Direction::UserInitiated, Cause::Success);
        metrics.call_setup_ms(Direction::UserInitiated, 1_500);
        metrics.first_audio_ms(Direction::BusinessInitiated, 40);
        metrics.stranger_refused(Side::Meta);
        metrics.registrations_active(7);
        metrics.number_light("+911234567890", 2);
        metrics.media_packets(Fate::Sent, 50);
        metrics.media_legs(2);
        metrics.media_event("coded", 70);
        metrics.coders(4, 3);
        metrics.recording_began();
        metrics.recording_began();
        metrics.recording_over();
        metrics.recording_finished(4_096, 2);
        metrics.recording_failed();
        metrics.cdr_written();
        metrics.certificate_expires_in(Side::Meta, -5);
        metrics.sip_malformed(Side::Meta, 4);
        metrics.sip_event("rate_limited", 8);
        metrics.inputs_dropped(6);
        metrics.sip_transport_event("tls_handshake_failed", 9);

        let text = metrics.encode().unwrap();
        for expected in [
            "setu_calls_active 3",
            "setu_sip_sessions 4",
            "setu_sip_transactions 5",
            "setu_calls_total{direction=\"user_initiated\",cause=\"success\"} 1",
            "setu_call_setup_seconds_sum{direction=\"user_initiated\"} 1.5",
            "setu_call_setup_seconds_bucket{le=\"2.5\",direction=\"user_initiated\"} 1",
            "setu_first_audio_seconds_bucket{le=\"0.04\",direction=\"business_initiated\"} 1",
            "setu_strangers_refused_total{side=\"meta\"} 1",
            "setu_registrations_active 7",
            "setu_number_light{number=\"+911234567890\"} 2",
            "setu_media_packets_total{fate=\"sent\"} 50",
            "setu_media_packets_total{fate=\"rejected\"} 0",
            "setu_media_legs 2",
            "setu_media_events_total{event=\"coded\"} 70",
            "setu_coders 4",
            "setu_coder_complexity 3",
            "setu_recordings_active 1",
            "setu_recordings_failed_total 1",
            "setu_recording_bytes_total 4096",
            "setu_recording_frames_dropped_total 2",
            "setu_cdrs_written_total 1",
            "setu_certificate_expiry_seconds{side=\"meta\"} -5",
            "setu_sip_malformed_total{side=\"meta\"} 4",
            "setu_sip_events_total{event=\"rate_limited\"} 8",
            "setu_inputs_dropped_total 6",
            "setu_sip_transport_events_total{event=\"tls_handshake_failed\"} 9",
            "setu_sip_messages_total{side=\"agents\",transport=\"tcp\",bound=\"out\"} 0",
        ] {
            assert_eq!(line(&text, expected), expected);
        }
    }

    #[test]
    fn totals_kept_elsewhere_are_copied_in_before_each_scrape_and_never_go_down() {
        let metrics = Metrics::new();
        metrics.refresh_with(|m| m.sip_messages(Side::Meta, Transport::Tls, Bound::In, 12));
        metrics.sip_messages(Side::Meta, Transport::Tls, Bound::In, 14);
        let text = metrics.encode().unwrap();
        let start = "setu_sip_messages_total{side=\"meta\",transport=\"tls\",bound=\"in\"}";
        assert_eq!(line(&text, start), format!("{start} 14"));
    }
}
