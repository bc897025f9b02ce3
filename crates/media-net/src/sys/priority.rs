//! How soon the system runs a packet thread that has something to do.

use std::io;

use super::check;

/// What the kernel takes as `struct sched_attr`, in its first version (`sched_setattr(2)`).
#[repr(C)]
#[derive(Debug, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of an ordinary thread: how long it wants to run at a time, in nanoseconds; since Linux 6.12.
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// How much of it the system granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granted {
    /// The thread goes before all ordinary ones.
    RealTime,
    /// The thread gets nine times the share of an ordinary one.
    Before,
    /// The thread is as good as others, but gets its turn sooner, for less time.
    Sooner,
}

/// Has the calling thread run soon after it is woken, also where others want all processors: in real time or before
/// ordinary threads where the process may ask for that (`CAP_SYS_NICE`, or limits that allow it), else by asking for
/// short turns, which come sooner. Timers are exact: by default each may be late by 50 us.
///
/// In real time others still get what a packet thread leaves, and 5 % of each processor at least, unless the system's
/// `sched_rt_runtime_us` is set otherwise.
///
/// # Errors
///
/// The system grants nothing of it.
pub(crate) fn hurry_thread() -> io::Result<Granted> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS) })?;
    // SAFETY: takes no pointer; the calling thread exists.
    let own = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let ordinary = |nice| Attributes { nice, runtime: TURN_NS, ..Attributes::default() };
    let real_time = Attributes {
        policy: libc::SCHED_RR as u32,
        flags: RESET_ON_FORK,
        priority: LOWEST_PRIORITY,
        ..Attributes::default()
    };
    set(real_time)
        .map(|()| Granted::RealTime)
        .or_else(|_| set(ordinary(own.min(NICE))).map(|()| Granted::Before))
        .or_else(|_| set(ordinary(own)).map(|()| Granted::Sooner))
}

fn set(attributes: Attributes) -> io::Result<()> {
    let attributes = Attributes { size: size_of::<Attributes>() as u32, ..attributes };
    // SAFETY: the attributes live over the call and state their size; 0 is the calling thread, and there are no flags.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Below whatever else on the machine asks for real time.
const LOWEST_PRIORITY: u32 = 1;

/// What the thread starts is ordinary (`SCHED_FLAG_RESET_ON_FORK`).
const RESET_ON_FORK: u64 = 1;

/// As a sound server asks for, and no monopoly.
const NICE: i32 = -10;

/// The shortest turn the system grants.
const TURN_NS: u64 = 100_000;

const TIMER_SLACK_NS: libc::c_ulong = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_in_a_hurry_gets_what_the_system_grants() {
        std::thread::spawn(|| {
            // SAFETY: no pointer is passed.
            let own = || unsafe { (libc::sched_getscheduler(0), libc::getpriority(libc::PRIO_PROCESS, 0)) };
            let (_, before) = own();
            let granted = hurry_thread().unwrap();
            let (policy, nice) = own();
            match granted {
                Granted::RealTime => assert_eq!(policy & !libc::SCHED_RESET_ON_FORK, libc::SCHED_RR),
                Granted::Before => assert_eq!((policy, nice), (libc::SCHED_OTHER, before.min(NICE))),
                Granted::Sooner => assert_eq!((policy, nice), (libc::SCHED_OTHER, before)),
            }
        })
        .join()
        .unwrap();
    }
}
