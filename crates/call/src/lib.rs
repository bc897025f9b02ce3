//! The back-to-back user agent as one state machine, its desk of agents and its ledger.
