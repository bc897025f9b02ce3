//! How many connections one listener keeps, before anything is spent on a TLS handshake.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::config::Limits;

/// The doorkeeper of one listener.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    last: u64,
    connections: usize,
    newcomers: usize,
    by_source: BTreeMap<IpAddr, Presence>,
}

#[derive(Debug, Default)]
struct Presence {
    connections: usize,
    /// By the order in which they came.
    newcomers: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The right of one connection to be there. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    source: IpAddr,
    number: u64,
}

/// A connection that was let in.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) admitted: Arc<Admitted>,
    pub(crate) eviction: Eviction,
}

/// Tells a connection that its place goes to another.
#[derive(Debug)]
pub(crate) struct Eviction(oneshot::Receiver<()>);

impl Eviction {
    /// Resolves when the connection must go; never for one that is no newcomer any more.
    pub(crate) async fn told(&mut self) {
        if (&mut self.0).await.is_err() {
            pending().await
        }
    }
}

/// What came of a connection that knocked.
#[derive(Debug)]
pub(crate) enum Admittance {
    /// It may stay as a newcomer, until it is told to go.
    Granted {
        guest: Guest,
        /// Whether another newcomer had to go.
        evicted: bool,
    },
    /// There is no place.
    Refused,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, inside: Mutex::default() })
    }

    /// Lets a connection from `address` in as a newcomer, or not.
    ///
    /// Where all places of newcomers are taken, one of the address that has the most goes, the one that has been there
    /// longest. Who proves at once who it is gets in, however many others sit there and say nothing.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Admittance {
        let source = source(address);
        let mut inside = self.inside();
        let (theirs, newcomers) =
            inside.by_source.get(&source).map_or((0, 0), |p| (p.connections, p.newcomers.len()));
        let full = inside.connections >= self.limits.connections
            || theirs >= self.limits.connections_per_ip
            || newcomers >= self.limits.newcomers_per_ip;
        if full {
            return Admittance::Refused;
        }
        let evicted = inside.newcomers >= self.limits.newcomers && inside.evict();
        inside.last += 1;
        let number = inside.last;
        let (sender, receiver) = oneshot::channel();
        inside.connections += 1;
        inside.newcomers += 1;
        let presence = inside.by_source.entry(source).or_default();
        presence.connections += 1;
        presence.newcomers.insert(number, sender);
        let admitted = Arc::new(Admitted { admission: Arc::clone(self), source, number });
        Admittance::Granted { guest: Guest { admitted, eviction: Eviction(receiver) }, evicted }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// The peer has proved who it is: the connection is no newcomer any more.
    pub(crate) fn settle(&self) {
        let _ = self.admission.inside().take_newcomer(self.source, self.number);
    }

    pub(crate) fn is_newcomer(&self) -> bool {
        let inside = self.admission.inside();
        inside.by_source.get(&self.source).is_some_and(|theirs| theirs.newcomers.contains_key(&self.number))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut inside = self.admission.inside();
        let _ = inside.take_newcomer(self.source, self.number);
        inside.connections -= 1;
        if let Some(theirs) = inside.by_source.get_mut(&self.source) {
            theirs.connections -= 1;
            if theirs.connections == 0 {
                inside.by_source.remove(&self.source);
            }
        }
    }
}

impl Inside {
    fn take_newcomer(&mut self, source: IpAddr, number: u64) -> Option<oneshot::Sender<()>> {
        let sender = self.by_source.get_mut(&source)?.newcomers.remove(&number)?;
        self.newcomers -= 1;
        Some(sender)
    }

    /// Tells the oldest newcomer of the greediest source to go. Its place is free at once.
    fn evict(&mut self) -> bool {
        let oldest = |theirs: &Presence| theirs.newcomers.first_key_value().map(|(number, _)| *number);
        let greediest = self
            .by_source
            .iter()
            .filter_map(|(source, theirs)| Some((theirs.newcomers.len(), *source, oldest(theirs)?)))
            .max_by_key(|(count, _, oldest)| (*count, std::cmp::Reverse(*oldest)));
        let told = greediest.and_then(|(_, source, number)| self.take_newcomer(source, number));
        // Who is gone by itself needs not be told.
        told.is_some_and(|told| told.send(()).is_ok())
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

    fn admit(admission: &Arc<Admission>, address: &str) -> Option<Guest> {
        match admission.admit(address.parse().unwrap()) {
            Admittance::Granted { guest, .. } => Some(guest),
            Admittance::Refused => None,
        }
    }

    fn must_go(guest: &mut Guest) -> bool {
        guest.eviction.0.try_recv().is_ok()
    }

    #[test]
    fn newcomers_of_one_address_are_capped_until_they_settle_or_leave() {
        let admission = admission();
        let first = admit(&admission, "192.0.2.1").unwrap();
        let second = admit(&admission, "192.0.2.1").unwrap();
        assert!(admit(&admission, "192.0.2.1").is_none());
        first.admitted.settle();
        first.admitted.settle();
        assert!(!first.admitted.is_newcomer() && second.admitted.is_newcomer());
        let third = admit(&admission, "192.0.2.1").unwrap();
        assert!(admit(&admission, "192.0.2.1").is_none(), "three are all one address gets");
        drop((second, third));
        assert!(admit(&admission, "192.0.2.1").is_some());
    }

    #[test]
    fn where_all_places_are_taken_the_oldest_newcomer_of_the_greediest_address_goes() {
        let admission = admission();
        let mut other = admit(&admission, "192.0.2.2").unwrap();
        let mut greedy = [admit(&admission, "192.0.2.1").unwrap(), admit(&admission, "192.0.2.1").unwrap()];
        let mut newest = admit(&admission, "192.0.2.3").unwrap();
        assert!(must_go(&mut greedy[0]), "the oldest of two");
        assert!(!must_go(&mut other) && !must_go(&mut greedy[1]) && !must_go(&mut newest));
        drop(greedy);
        assert_eq!(admission.inside().newcomers, 2);
    }

    #[test]
    fn where_all_are_equally_greedy_the_one_that_was_there_longest_goes() {
        let admission = admission();
        let mut there: Vec<_> =
            ["192.0.2.3", "192.0.2.1", "192.0.2.2"].map(|a| admit(&admission, a).unwrap()).into();
        let _newest = admit(&admission, "192.0.2.4").unwrap();
        assert_eq!(there.iter_mut().map(must_go).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn who_has_settled_is_not_told_to_go_and_takes_a_place_of_all() {
        let admission = admission();
        let mut settled: Vec<_> = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
            .map(|a| admit(&admission, a).unwrap())
            .into();
        settled.iter().for_each(|guest| guest.admitted.settle());
        assert!(admit(&admission, "192.0.2.4").is_none(), "four connections are all the listener takes");
        assert_eq!(
            settled.iter_mut().map(must_go).filter(|go| *go).count(),
            1,
            "the fourth came while three were new"
        );
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
