//! What a process used, from procfs.

use std::fs;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The CPU time of all threads of a process, in nanoseconds.
pub(crate) fn cpu_ns(process: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task")).context("the relay's process is gone")? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// The memory a process holds, in kB.
pub(crate) fn resident_kb(process: u32) -> anyhow::Result<u64> {
    let text =
        fs::read_to_string(format!("/proc/{process}/status")).context("the relay's process is gone")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches("kB").trim().parse().context("VmRSS")
}

/// How many datagrams the system dropped because a socket bound to these networks (`127.0.n.x`) was full.
pub(crate) fn dropped(networks: &[u8]) -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/net/udp")?;
    let drops = text.lines().skip(1).filter_map(|line| {
        let address = line.split_whitespace().nth(1)?.split(':').next()?;
        let [.., network, _] = u32::from_str_radix(address, 16).ok()?.swap_bytes().to_be_bytes();
        let drops = line.split_whitespace().last()?.parse::<u64>().ok()?;
        networks.contains(&network).then_some(drops)
    });
    Ok(drops.sum())
}

/// Lets this process and its children open as many sockets as thousands of calls take, as far as allowed.
pub(crate) fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it fails, binding tells.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
