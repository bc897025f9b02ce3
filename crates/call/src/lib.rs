//! The back-to-back user agent: what happens in a call, as one state machine per call, the desk of agents, and the
//! one record each call leaves.
//!
//! It never sees a SIP message, a packet or a file, and never waits: it is told of legs, media and recordings by
//! [`Input`], and commands them by [`Output`].

#![forbid(unsafe_code)]

mod arrive;
mod call;
mod config;
mod connect;
mod desk;
mod dial;
mod fuzz;
mod hangup;
mod headers;
mod keys;
mod ledger;
mod live;
mod media;
mod number;
mod policy;
mod ports;
mod refusal;
mod reoffer;
mod reserve;
mod ring;
mod switchboard;
mod verdict;
mod watch;

pub use call::Timer;
pub use config::{
    AgentConfig, Answers, CallConfig, CallLimits, DialPlan, Extension, Keys, MetaSrtp, NumberConfig,
    NumberRoute, PrivateTrunk, Srtp, Timers, TrunkConfig, UseCase,
};
pub use desk::DeskChange;
#[doc(hidden)]
pub use fuzz::fuzz_operations;
pub use headers::{MOST_VALUE_BYTES, setu_headers};
pub use live::{Live, Stage};
pub use number::normalise;
pub use ports::{
    AnswerIn, CALLED_MEDIA, ContactId, Dial, DialTarget, EndHow, Input, LegCommand, LegEvent, MediaCommand,
    MediaEvent, MediaSetup, Offered, Origin, Output, PeerKind, Placed, PortUse, Progress, Question,
    RecordCommand, RecordEvent, RingOrder, Sound, Step, StreamStart, Verdict,
};
pub use refusal::agent_refusal;
pub use reserve::{Held, NotReserved, Reservation, Reserve, SeatState, Seated, Staff};
pub use switchboard::{Counters, Switchboard};
#[doc(hidden)]
pub use watch::Watch;
