//! How many connections one listener keeps, before anything is spent on a TLS handshake.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Limits;

/// The doorkeeper of one listener.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: Presence,
    by_source: BTreeMap<IpAddr, Presence>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Presence {
    connections: usize,
    newcomers: usize,
}

/// The right of one connection to be there. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    source: IpAddr,
    newcomer: bool,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, inside: Mutex::default() })
    }

    /// Lets a connection from `address` in as a newcomer, or not.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let source = source(address);
        let mut inside = self.inside();
        let theirs = inside.by_source.get(&source).copied().unwrap_or_default();
        let full = inside.all.connections >= self.limits.connections
            || inside.all.newcomers >= self.limits.newcomers
            || theirs.connections >= self.limits.connections_per_ip
            || theirs.newcomers >= self.limits.newcomers_per_ip;
        if full {
            return None;
        }
        for presence in inside.both(source) {
            presence.connections += 1;
            presence.newcomers += 1;
        }
        Some(Admitted { admission: Arc::clone(self), source, newcomer: true })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// The connection has sent a whole message: it is no newcomer any more.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.newcomer) {
            for presence in self.admission.inside().both(self.source) {
                presence.newcomers -= 1;
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.settle();
        let mut inside = self.admission.inside();
        for presence in inside.both(self.source) {
            presence.connections -= 1;
        }
        if inside.by_source.get(&self.source).is_some_and(|theirs| theirs.connections == 0) {
            inside.by_source.remove(&self.source);
        }
    }
}

impl Inside {
    fn both(&mut self, source: IpAddr) -> [&mut Presence; 2] {
        [&mut self.all, self.by_source.entry(source).or_default()]
    }
}

/// Who is counted as one: an IPv4 address, or a /64 of IPv6, which is what one host gets.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Arc<Admission> {
        Admission::new(Limits {
            connections: 4,
            connections_per_ip: 3,
            newcomers: 3,
            newcomers_per_ip: 2,
            ..Limits::default()
        })
    }

    fn admit(admission: &Arc<Admission>, address: &str) -> Option<Admitted> {
        admission.admit(address.parse().unwrap())
    }

    #[test]
    fn newcomers_of_one_address_are_capped_until_they_settle_or_leave() {
        let admission = admission();
        let mut first = admit(&admission, "192.0.2.1").unwrap();
        let second = admit(&admission, "192.0.2.1").unwrap();
        assert!(admit(&admission, "192.0.2.1").is_none());
        first.settle();
        first.settle();
        let third = admit(&admission, "192.0.2.1").unwrap();
        assert!(admit(&admission, "192.0.2.1").is_none(), "three are all one address gets");
        drop((second, third));
        assert!(admit(&admission, "192.0.2.1").is_some());
    }

    #[test]
    fn one_greedy_address_leaves_room_for_others_until_all_places_are_taken() {
        let admission = admission();
        let _greedy = [admit(&admission, "192.0.2.1").unwrap(), admit(&admission, "192.0.2.1").unwrap()];
        let mut other = admit(&admission, "192.0.2.2").unwrap();
        assert!(admit(&admission, "192.0.2.3").is_none(), "three newcomers are all the listener takes");
        other.settle();
        let mut last = admit(&admission, "192.0.2.3").unwrap();
        last.settle();
        assert!(admit(&admission, "192.0.2.4").is_none(), "four connections are all the listener takes");
    }

    #[test]
    fn a_64_of_ipv6_counts_as_one_address() {
        let admission = admission();
        let _two = [admit(&admission, "2001:db8::1").unwrap(), admit(&admission, "2001:db8::2").unwrap()];
        assert!(admit(&admission, "2001:db8::3").is_none());
        assert!(admit(&admission, "2001:db8:0:1::1").is_some());
    }

    #[test]
    fn nothing_is_remembered_of_those_who_left() {
        let admission = admission();
        drop(admit(&admission, "192.0.2.1"));
        assert!(admission.inside().by_source.is_empty());
    }
}
