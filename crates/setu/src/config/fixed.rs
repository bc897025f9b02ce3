//! What stays as it was at the start, whatever a reload brings.

use std::fmt::Debug;

use super::Config;

impl Config {
    /// The settings that a reload does not change, with their values.
    pub(crate) fn fixed_at_start(&self) -> Vec<(&'static str, String)> {
        let Self {
            meta,
            agents,
            resolve,
            egress,
            recording,
            cdr,
            store,
            http,
            api,
            webhooks,
            graph,
            log,
            limits,
            ..
        } = self;
        let settings: [(&str, &dyn Debug); 30] = [
            ("meta.bind", &meta.bind),
            ("meta.hostname", &meta.hostname),
            ("meta.advertised_port", &meta.advertised_port),
            ("meta.media", &meta.media),
            ("agents.udp", &agents.udp),
            ("agents.tcp", &agents.tcp),
            ("agents.tls", &agents.tls),
            ("agents.ws", &agents.ws),
            ("agents.wss", &agents.wss),
            ("agents.websocket_origins", &agents.websocket_origins),
            ("agents.hostname", &agents.hostname),
            ("agents.realm", &agents.realm),
            ("agents.digest", &agents.digest),
            ("agents.media", &agents.media),
            ("resolve.static", &resolve.fixed),
            ("egress.allow", &egress.allow),
            ("recording.enabled", &recording.enabled),
            ("recording.folder", &recording.folder),
            ("cdr.file", &cdr.file),
            ("store", store),
            ("http.bind", &http.bind),
            ("api.bind", &api.as_ref().map(|api| api.bind)),
            ("webhooks.bind", &webhooks.as_ref().map(|webhooks| webhooks.bind)),
            ("graph", graph),
            ("log", log),
            ("limits.calls", &limits.calls),
            ("limits.port_rest_s", &limits.port_rest_s),
            ("limits.connections", &limits.connections),
            ("limits.media_threads", &limits.media_threads),
            ("limits.media_real_time", &limits.media_real_time),
        ];
        settings.map(|(name, value)| (name, format!("{value:?}"))).into()
    }
}
