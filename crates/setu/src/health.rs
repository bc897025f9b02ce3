//! What `/healthz` and `/metrics` show of a running bridge.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;

use setu_control::{
    Bound, CertificateHealth, Control, Fate, Health, ListenerHealth, Metrics, StartError, State,
};
use setu_media_net::MediaPlane;
use setu_model::Side;
use setu_sip::Transport;
use setu_sip_net::SipNet;

use crate::bridge::{Shared, now};
use crate::config::Config;

/// Lets each scrape read what the shells count. Holds them weakly, so it never keeps them alive.
pub(crate) fn show(metrics: &Metrics, net: &Arc<SipNet>, media: &Arc<MediaPlane>, state: &Arc<Shared>) {
    let (weak_net, weak_media, state) = (Arc::downgrade(net), Arc::downgrade(media), Arc::clone(state));
    metrics.refresh_with(move |metrics| {
        metrics.inputs_dropped(state.dropped.load(Ordering::Relaxed));
        let sip_core = *state.sip.lock().unwrap_or_else(PoisonError::into_inner);
        for (event, total) in sip_core.events() {
            metrics.sip_event(event, total);
        }
        if let Some(net) = weak_net.upgrade() {
            sip(&net, metrics);
        }
        media_totals(&weak_media, metrics);
    });
}

/// Serves both until the returned handle is shut down.
pub(crate) async fn serve(
    config: &Config,
    metrics: &Arc<Metrics>,
    net: &Arc<SipNet>,
    state: &Arc<Shared>,
) -> Result<Control, StartError> {
    let (weak_net, state, started) = (Arc::downgrade(net), Arc::clone(state), Instant::now());
    let health = move || health(weak_net.upgrade().as_deref(), &state, started);
    setu_control::serve(config.http.bind, Arc::clone(metrics), health).await
}

fn health(net: Option<&SipNet>, state: &Shared, started: Instant) -> Health {
    let wall = now().wall;
    let draining = state.draining.load(Ordering::Relaxed) || net.is_none();
    let certificates = net.map(SipNet::certificates).unwrap_or_default();
    Health {
        status: match (draining, state.started.load(Ordering::Acquire)) {
            (true, _) => State::Draining,
            (false, true) => State::Ok,
            (false, false) => State::Starting,
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: started.elapsed().as_secs(),
        calls: state.calls.load(Ordering::Relaxed) as u64,
        certificates: certificates
            .into_iter()
            .map(|c| CertificateHealth {
                side: c.side,
                days_left: c.seconds_left(wall).div_euclid(86_400),
                names: c.names,
                not_after: c.not_after,
            })
            .collect(),
        listeners: net
            .map(SipNet::listening)
            .unwrap_or_default()
            .into_iter()
            .map(|(side, transport, address)| ListenerHealth { side, transport: label(transport), address })
            .collect(),
    }
}

fn sip(net: &SipNet, metrics: &Metrics) {
    let counters = net.counters();
    for side in [Side::Meta, Side::Agents] {
        let mut malformed = 0;
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
            let traffic = counters.traffic(side, transport);
            metrics.sip_messages(side, label(transport), Bound::In, traffic.received.total());
            metrics.sip_messages(side, label(transport), Bound::Out, traffic.sent.total());
            malformed += traffic.malformed.total();
        }
        metrics.sip_malformed(side, malformed);
    }
    for (event, total) in counters.events() {
        metrics.sip_transport_event(event, total);
    }
    let wall = now().wall;
    for certificate in net.certificates() {
        metrics.certificate_expires_in(certificate.side, certificate.seconds_left(wall));
    }
}

fn media_totals(media: &Weak<MediaPlane>, metrics: &Metrics) {
    let Some(totals) = media.upgrade().map(|m| m.totals()) else { return };
    metrics.media_packets(Fate::Received, totals.received);
    metrics.media_packets(Fate::Sent, totals.sent);
    metrics.media_packets(Fate::Rejected, totals.rejected + totals.oversized + totals.strangers);
    metrics.media_packets(Fate::Dropped, totals.unsent + totals.lost_frames);
    metrics.media_legs(totals.legs);
    metrics.coders(totals.coders, totals.complexity);
    let coded = totals.coded;
    for (event, total) in [
        ("coded", coded.coded),
        ("concealed", coded.concealed),
        ("recovered", coded.recovered),
        ("late", coded.late),
        ("broken", coded.broken),
        ("shortened", coded.shortened),
        ("stretched", coded.stretched),
        ("skipped", coded.skipped),
        ("coder_refused", coded.refused),
        ("coder_queue_full", totals.uncoded),
        ("handshake_queue_full", totals.lost_handshakes),
        ("port_busy", totals.busy_ports),
        ("receive_error", totals.receive_errors),
    ] {
        metrics.media_event(event, total);
    }
}

const fn label(transport: Transport) -> setu_control::Transport {
    match transport {
        Transport::Udp => setu_control::Transport::Udp,
        Transport::Tcp => setu_control::Transport::Tcp,
        Transport::Tls => setu_control::Transport::Tls,
        Transport::Ws => setu_control::Transport::Ws,
        Transport::Wss => setu_control::Transport::Wss,
    }
}
