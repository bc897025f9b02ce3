//! The permission ledger: may this number call this customer, may it ask for permission, why, and if not now, when?
//!
//! The ledger keeps **facts, not states**. Everything that is known of a pair of number and customer is a set of facts,
//! each with an id and the moment it happened; the standing of the pair is computed from the set whenever somebody asks.
//! Adding a fact twice changes nothing, and the order in which facts arrive does not matter, so webhooks that come
//! twice, late or in any order, restarts, and the merging of two names of one customer all give the same answer.
//! Storing is therefore no more than writing rows by key: a row written is a fact noted, and a question is answered from
//! the rows of its pair.

mod answer;
mod customer;
mod fact;
mod outlived;
mod pair;
mod rules;
mod standing;

pub use answer::{Answer, Considered, Question, Why};
pub use customer::Customer;
pub use fact::{EARLY_S, Fact, FactId, Outcome, Reply, Verdict};
pub use pair::PairLedger;
pub use rules::{Dialect, Rules};
pub use standing::{Grant, GrantSource, Holds};
