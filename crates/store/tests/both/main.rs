//! What the store promises, on SQLite and on a real PostgreSQL server alike.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod lab;
mod orders;
mod outbox;
#[path = "../../../setu/tests/shared/ports.rs"]
mod ports;
mod postgres;
mod prune;
mod quality;
mod records;
mod reports;
mod unfinished;
mod webhooks;

/// Makes a test for each database of an async function that is given an open store.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::lab::Lab::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::lab::Lab::postgres()).await;
            })+
        }
    };
}
pub(crate) use on_both;
