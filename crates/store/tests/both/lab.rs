//! A database of a test's own, and rows to put into it.

use setu_model::Wall;
use setu_store::{Attempt, CdrRow, DeliveryRow, EndRow, EventRow, FactRow, Location, OutboxRow, Store};

use crate::postgres::Server;

/// Where a test's database is; it is gone with the test.
pub(crate) struct Lab {
    location: Location,
    _folder: Option<tempfile::TempDir>,
    _server: Option<Server>,
}

impl Lab {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(folder.path().join("a folder ?#%.db"));
        Self { location, _folder: Some(folder), _server: None }
    }

    pub(crate) fn postgres() -> Self {
        let server = Server::start();
        let url = server.url();
        Self { location: Location::Postgres { url, password: None }, _folder: None, _server: Some(server) }
    }

    pub(crate) const fn location(&self) -> &Location {
        &self.location
    }

    /// Opens the database, again and again if need be.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.location).await.unwrap()
    }
}

pub(crate) fn at(seconds: i64) -> Wall {
    Wall::from_unix_ms(seconds * 1_000)
}

pub(crate) fn delivery(id: &str, seconds: i64, events: Vec<EventRow>) -> DeliveryRow {
    DeliveryRow {
        id: id.to_owned(),
        received: at(seconds),
        kind: None,
        body: format!("body of {id}"),
        events,
    }
}

pub(crate) fn event(event: &str) -> EventRow {
    EventRow {
        event: event.to_owned(),
        fact: None,
        names: None,
        end: None,
        complaints: Vec::new(),
        told: Vec::new(),
    }
}

pub(crate) fn fact(customer: &str, fact: &str, seconds: i64) -> FactRow {
    FactRow {
        number: "+911".to_owned(),
        customer: customer.to_owned(),
        fact: fact.to_owned(),
        telling: format!("telling of {fact} at {seconds}"),
        moment: at(seconds),
    }
}

pub(crate) fn ended(wacid: &str) -> EventRow {
    let end = EndRow { number: "+911".to_owned(), wacid: wacid.to_owned(), told: format!("end of {wacid}") };
    EventRow { end: Some(end), ..event(&format!("terminate:{wacid}")) }
}

pub(crate) fn cdr(call: &str, seconds: i64) -> CdrRow {
    CdrRow {
        call: call.to_owned(),
        number: "+911".to_owned(),
        customer: "+919".to_owned(),
        wacid: None,
        direction: "business_initiated".to_owned(),
        cause: "success".to_owned(),
        began: at(seconds),
        written: at(seconds + 60),
        record: format!("record of {call}"),
        facts: Vec::new(),
        names: None,
        who: Some("wa:919".to_owned()),
        answered: None,
        connected_ms: 0,
        use_case: None,
        country: None,
        recording_bytes: 0,
        cost: None,
        reached: true,
        attempt: Some(Attempt { short: false, blamable: at(seconds + 1_800) }),
        told: Vec::new(),
    }
}

/// An event of a stream for the endpoint `crm`.
pub(crate) fn told(stream: &str, kind: &str, seconds: i64) -> OutboxRow {
    OutboxRow {
        endpoint: "crm".to_owned(),
        id: format!("{stream}.{kind}"),
        stream: stream.to_owned(),
        kind: kind.to_owned(),
        payload: format!("{kind} of {stream}"),
        made: at(seconds),
    }
}
