//! Every peculiarity of Meta's edge, and every habit of agents' phones, against the whole bridge on loopback: one
//! requirement a test, and each would fail if the bridge ignored the peculiarity.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod agents;
mod asked;
mod before_the_answer;
mod dialogs;
mod dtls;
mod every_switch;
mod first_word;
mod graph;
mod lab;
mod media;
mod placed;
#[path = "../shared/ports.rs"]
mod ports;
mod provider;
mod requests;
mod reserved;
mod sounds;
