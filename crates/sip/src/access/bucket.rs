use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

/// Token buckets by source address (an IPv6 source is its /64, which is what one host is given).
#[derive(Debug)]
pub(super) struct Buckets {
    burst: u64,
    per_second: u64,
    most: usize,
    known: BTreeMap<IpAddr, Bucket>,
    /// Serves every address there is no room for.
    shared: Option<Bucket>,
    swept_at: Option<Instant>,
}

/// Tokens in thousandths.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    milli: u64,
    at: Instant,
}

impl Buckets {
    pub(super) fn new(burst: u32, per_second: u32, most: usize) -> Self {
        Self {
            burst: u64::from(burst) * TOKEN,
            per_second: u64::from(per_second) * TOKEN,
            most,
            known: BTreeMap::new(),
            shared: None,
            swept_at: None,
        }
    }

    /// Takes a token of `source`. False if it has none left.
    pub(super) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let (burst, per_second) = (self.burst, self.per_second);
        let bucket = self.bucket(source, now);
        bucket.fill(burst, per_second, now);
        match bucket.milli.checked_sub(TOKEN) {
            Some(rest) => {
                bucket.milli = rest;
                true
            }
            None => false,
        }
    }

    /// Gives back what the challenge of a peer took that has proven who it is.
    pub(super) fn refund(&mut self, source: IpAddr, tokens: u64) {
        let burst = self.burst;
        if let Some(bucket) = self.known.get_mut(&key(source)).or(self.shared.as_mut()) {
            bucket.milli = (bucket.milli + tokens * TOKEN).min(burst);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    fn bucket(&mut self, source: IpAddr, now: Instant) -> &mut Bucket {
        let source = key(source);
        let fresh = Bucket { milli: self.burst, at: now };
        if !self.known.contains_key(&source) && self.known.len() >= self.most {
            self.sweep(now);
            if self.known.len() >= self.most {
                return self.shared.get_or_insert(fresh);
            }
        }
        self.known.entry(source).or_insert(fresh)
    }

    /// Forgets the addresses whose bucket is full again; at most once a second, as it looks at all of them.
    fn sweep(&mut self, now: Instant) {
        if self.swept_at.is_some_and(|at| now.saturating_duration_since(at).as_secs() < 1) {
            return;
        }
        self.swept_at = Some(now);
        let (burst, per_second) = (self.burst, self.per_second);
        self.known.retain(|_, bucket| {
            bucket.fill(burst, per_second, now);
            bucket.milli < burst
        });
    }
}

impl Bucket {
    fn fill(&mut self, burst: u64, per_second: u64, now: Instant) {
        let elapsed_ms = now.saturating_duration_since(self.at).as_millis();
        let gained = u64::try_from(elapsed_ms).unwrap_or(u64::MAX).saturating_mul(per_second) / 1_000;
        // A moment too short to gain anything must not be forgotten.
        if gained > 0 {
            self.milli = self.milli.saturating_add(gained).min(burst);
            self.at = now;
        }
    }
}

fn key(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

/// One token, in thousandths.
const TOKEN: u64 = 1_000;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_source_gets_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut buckets = Buckets::new(3, 2, 8);
        let source = "192.0.2.1".parse().unwrap();
        let taken = |buckets: &mut Buckets, now| (0..10).filter(|_| buckets.take(source, now)).count();

        assert_eq!(taken(&mut buckets, start), 3);
        assert_eq!(taken(&mut buckets, start + Duration::from_millis(400)), 0);
        assert_eq!(taken(&mut buckets, start + Duration::from_secs(1)), 2);
        assert_eq!(taken(&mut buckets, start + Duration::from_secs(60)), 3);
    }

    #[test]
    fn a_proven_peer_is_given_its_token_back() {
        let now = Instant::now();
        let mut buckets = Buckets::new(1, 1, 8);
        let source = "192.0.2.1".parse().unwrap();
        for _ in 0..10 {
            assert!(buckets.take(source, now));
            buckets.refund(source, 1);
        }
    }

    #[test]
    fn addresses_beyond_the_bound_share_one_bucket_until_others_are_forgotten() {
        let start = Instant::now();
        let mut buckets = Buckets::new(1, 1, 2);
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        assert!(buckets.take(ip(1), start) && buckets.take(ip(2), start) && buckets.take(ip(3), start));
        assert!(!buckets.take(ip(4), start), "the shared bucket is empty");
        assert_eq!(buckets.len(), 2);

        let later = start + Duration::from_secs(5);
        assert!(buckets.take(ip(5), later));
        assert_eq!(buckets.len(), 1);
    }

    #[test]
    fn hosts_of_one_ipv6_network_share_a_bucket() {
        let now = Instant::now();
        let mut buckets = Buckets::new(1, 1, 8);
        assert!(buckets.take("2001:db8::1".parse().unwrap(), now));
        assert!(!buckets.take("2001:db8::2".parse().unwrap(), now));
        assert!(buckets.take("2001:db8:0:1::1".parse().unwrap(), now));
    }
}
