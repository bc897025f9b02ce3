//! A database of a test's own, and rows to put into it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use setu_model::Wall;
use setu_store::{CdrRow, DeliveryRow, EndRow, EventRow, FactRow, Location, Store};

use crate::ports::port;

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
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
        Self { location: Location::Postgres { url, password: None }, _folder: None, _server: Some(server) }
    }

    /// Opens the database, again and again if need be.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.location).await.unwrap()
    }
}

/// A PostgreSQL server of the chroot that `cargo xtask peers` makes.
struct Server {
    child: Child,
    port: u16,
    data: PathBuf,
}

impl Server {
    fn start() -> Self {
        let root = root();
        let bin = std::fs::read_dir(root.join("usr/lib/postgresql"))
            .unwrap_or_else(|error| panic!("no PostgreSQL: {error}; run `cargo xtask peers`"))
            .map(|version| Path::new("/usr/lib/postgresql").join(version.unwrap().file_name()).join("bin"))
            .next()
            .unwrap();
        let port = port();
        let data = format!("/tmp/setu-postgres-{}-{port}", std::process::id());
        let init = [
            &*bin.join("initdb").display().to_string(),
            "-D",
            &data,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        .map(str::to_owned);
        let Output { status, stderr, .. } = within(&root, &init).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        let number = port.to_string();
        let serve = [
            &*bin.join("postgres").display().to_string(),
            "-D",
            &data,
            "-p",
            &number,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
        ]
        .map(str::to_owned);
        let child = within(&root, &serve).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, port, data: root.join(data.trim_start_matches('/')) };
        let ready = [&*bin.join("pg_isready").display().to_string(), "-q", "-h", "127.0.0.1", "-p", &number]
            .map(str::to_owned);
        let until = Instant::now() + Duration::from_secs(30);
        while !within(&root, &ready).status().unwrap().success() {
            assert!(Instant::now() < until, "PostgreSQL does not answer");
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its children see the end of their parent and go, too.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// A command of the chroot, as the user that PostgreSQL wants.
fn within(root: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new("chroot");
    command.args(["--userspec=postgres:postgres"]).arg(root).args(arguments).stdin(Stdio::null());
    command
}

fn root() -> PathBuf {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    set("SETU_PEERS").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").unwrap().join(".cache"));
        cache.join("setu/peers")
    })
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
    EventRow { event: event.to_owned(), fact: None, names: None, end: None }
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
    let end = EndRow { wacid: wacid.to_owned(), told: format!("end of {wacid}") };
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
    }
}
