//! A real PostgreSQL server for one test, which ends with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::ports::port;

/// A PostgreSQL server of the chroot that `cargo xtask peers` makes.
pub(crate) struct Server {
    child: Child,
    port: u16,
    data: PathBuf,
}

impl Server {
    pub(crate) fn start() -> Self {
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

    /// The address of its database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
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
