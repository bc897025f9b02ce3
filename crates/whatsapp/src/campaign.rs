//! Mass requests: how fast a campaign asks for permission, and how many of those it asks never spoke to the business.
//!
//! Permission requests to cold lists are what Meta punishes first. The guard stops a campaign at its burst, and before
//! its share of cold contacts can do harm; a campaign among customers who wrote or called is not slowed. The same limits hold
//! for a number over all its campaigns: the tally of a number is kept beside those of campaigns, under its own name.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use setu_model::Wall;

/// The limits of one campaign, and of one number over all its campaigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CampaignPolicy {
    /// The most requests within `burst_window`.
    pub burst: u32,
    /// What counts as one burst.
    pub burst_window: Duration,
    /// So many contacts are looked at for the share of cold ones.
    pub sample: u32,
    /// The most cold contacts among them, in per cent.
    pub cold_percent: u32,
}

impl Default for CampaignPolicy {
    fn default() -> Self {
        Self { burst: 60, burst_window: Duration::from_secs(60), sample: 50, cold_percent: 30 }
    }
}

impl CampaignPolicy {
    /// Whether it lets through more at a time, or more in the long run, than `other` does.
    pub const fn is_faster_than(&self, other: &Self) -> bool {
        let (here, there) = (self.burst as u128, other.burst as u128);
        here > there || here * other.burst_window.as_millis() > there * self.burst_window.as_millis()
    }

    /// Whether it lets through more cold contacts in a row, or a greater share of them, than `other` does.
    pub const fn is_colder_than(&self, other: &Self) -> bool {
        let (here, there) = (self.cold_percent as u64, other.cold_percent as u64);
        here > there || here * self.sample as u64 > there * other.sample as u64
    }
}

/// Whether the customer is known to the business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// The customer wrote, called or granted a permission before.
    Warm,
    /// Nothing ever came from the customer.
    Cold,
}

/// Why a campaign must not ask now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    /// The burst is used up; until when.
    Burst {
        /// When the next request is allowed.
        until: Wall,
    },
    /// Too many of the last contacts were cold. Warm ones bring it back.
    Cold {
        /// How many of the last contacts were.
        cold: u32,
    },
}

/// What campaigns and numbers asked lately.
#[derive(Debug, Clone, Default)]
pub struct Campaigns {
    running: BTreeMap<String, Campaign>,
}

#[derive(Debug, Clone, Default)]
struct Campaign {
    asked: VecDeque<Wall>,
    contacts: VecDeque<Contact>,
}

impl Campaigns {
    /// As many of a campaign's last requests say all that [`recall`](Self::recall) can use: no `burst` and no `sample` of a
    /// [`CampaignPolicy`] is to be more.
    pub const RECALLED: usize = 1_000;

    /// Campaigns that are remembered; the one that asked longest ago is forgotten first.
    pub const MOST: usize = 10_000;

    /// Whether a campaign may ask this contact now. Asks nothing yet: see [`asked`](Self::asked).
    ///
    /// # Errors
    ///
    /// [`TooMuch`] with what would make it allowed.
    pub fn check(
        &self,
        campaign: &str,
        contact: Contact,
        policy: &CampaignPolicy,
        now: Wall,
    ) -> Result<(), TooMuch> {
        let Some(known) = self.running.get(campaign) else { return Ok(()) };
        let burst = usize::try_from(policy.burst).unwrap_or(usize::MAX);
        let lately = known.asked.iter().rev().take_while(|at| at.after(policy.burst_window) > now);
        if let Some(oldest) = lately.take(burst).nth(burst.saturating_sub(1)) {
            return Err(TooMuch::Burst { until: oldest.after(policy.burst_window) });
        }
        if contact == Contact::Warm {
            return Ok(());
        }
        let cold = known.contacts.iter().filter(|contact| **contact == Contact::Cold).count() + 1;
        let cold = u32::try_from(cold).unwrap_or(u32::MAX);
        // Contacts still to come could all be warm: what counts is the share in a full sample.
        if u64::from(cold) * 100 > u64::from(policy.sample) * u64::from(policy.cold_percent) {
            return Err(TooMuch::Cold { cold });
        }
        Ok(())
    }

    /// Whether what a campaign did lately is remembered.
    pub fn remembers(&self, campaign: &str) -> bool {
        self.running.contains_key(campaign)
    }

    /// Takes in what a campaign did before, the oldest first, unless it is remembered.
    pub fn recall(&mut self, campaign: &str, recent: &[(Wall, Contact)], policy: &CampaignPolicy) {
        if !self.remembers(campaign) {
            for (at, contact) in recent {
                self.asked(campaign, *contact, policy, *at);
            }
        }
    }

    /// Notes that a campaign asked this contact.
    pub fn asked(&mut self, campaign: &str, contact: Contact, policy: &CampaignPolicy, now: Wall) {
        if !self.running.contains_key(campaign) && self.running.len() >= Self::MOST {
            let quiet = self.running.iter().min_by_key(|(_, campaign)| campaign.asked.back().copied());
            if let Some(quiet) = quiet.map(|(name, _)| name.clone()) {
                self.running.remove(&quiet);
            }
        }
        let known = self.running.entry(campaign.to_owned()).or_default();
        known.asked.push_back(now);
        known.contacts.push_back(contact);
        let most = |length: u32| usize::try_from(length).unwrap_or(usize::MAX).max(1);
        // The sample is full before the next contact comes: one place is left for it.
        while known.contacts.len() >= most(policy.sample) {
            known.contacts.pop_front();
        }
        while known.asked.len() > most(policy.burst) {
            known.asked.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Wall {
        Wall::from_unix_ms(seconds * 1_000)
    }

    fn run(contacts: impl IntoIterator<Item = (i64, Contact)>) -> (u32, Option<TooMuch>) {
        let (policy, mut campaigns) = (CampaignPolicy::default(), Campaigns::default());
        let mut asked = 0;
        for (seconds, contact) in contacts {
            if let Err(why) = campaigns.check("spring", contact, &policy, at(seconds)) {
                return (asked, Some(why));
            }
            campaigns.asked("spring", contact, &policy, at(seconds));
            asked += 1;
        }
        (asked, None)
    }

    #[test]
    fn a_cold_list_is_stopped_after_a_handful() {
        let (asked, why) = run((0..1_000).map(|n| (n * 10, Contact::Cold)));
        assert_eq!((asked, why), (15, Some(TooMuch::Cold { cold: 16 })));
    }

    #[test]
    fn a_campaign_among_known_customers_is_not_slowed() {
        let mixed = |n: i64| if n % 5 == 0 { Contact::Cold } else { Contact::Warm };
        assert_eq!(run((0..5_000).map(|n| (n * 2, mixed(n)))), (5_000, None));
    }

    #[test]
    fn a_burst_is_stopped_until_its_first_request_is_a_minute_old() {
        let (asked, why) = run((0..100).map(|_| (7, Contact::Warm)));
        assert_eq!((asked, why), (60, Some(TooMuch::Burst { until: at(67) })));
    }

    #[test]
    fn a_policy_is_looser_if_it_lets_more_through_at_once_or_in_the_long_run() {
        let default = CampaignPolicy::default();
        let faster = |burst, seconds| {
            let burst_window = Duration::from_secs(seconds);
            CampaignPolicy { burst, burst_window, ..default }.is_faster_than(&default)
        };
        assert!(faster(61, 60) && faster(60, 59) && faster(61, 3_600));
        assert!(!faster(60, 60) && !faster(10, 10) && !faster(60, 3_600));
        let colder = |sample, cold_percent| {
            CampaignPolicy { sample, cold_percent, ..default }.is_colder_than(&default)
        };
        assert!(colder(50, 31) && colder(51, 30) && colder(10, 100) && colder(1_000, 2));
        assert!(!colder(50, 30) && !colder(40, 30) && !colder(100, 15));
    }

    #[test]
    fn other_limits_than_the_default_ones_are_kept() {
        let policy =
            CampaignPolicy { burst: 3, burst_window: Duration::from_secs(10), sample: 4, cold_percent: 50 };
        let mut campaigns = Campaigns::default();
        let mut ask = |seconds, contact| {
            let said = campaigns.check("spring", contact, &policy, at(seconds));
            if said.is_ok() {
                campaigns.asked("spring", contact, &policy, at(seconds));
            }
            said
        };
        for _ in 0..2 {
            assert_eq!(ask(0, Contact::Cold), Ok(()));
        }
        assert_eq!(ask(0, Contact::Cold), Err(TooMuch::Cold { cold: 3 }));
        assert_eq!(ask(0, Contact::Warm), Ok(()));
        assert_eq!(ask(9, Contact::Warm), Err(TooMuch::Burst { until: at(10) }));
        assert_eq!(ask(10, Contact::Warm), Ok(()));
        assert_eq!(ask(11, Contact::Cold), Ok(()));
    }

    #[test]
    fn warm_contacts_bring_a_cold_campaign_back() {
        let (policy, mut campaigns) = (CampaignPolicy::default(), Campaigns::default());
        for n in 0..15 {
            campaigns.asked("spring", Contact::Cold, &policy, at(n * 60));
        }
        assert!(campaigns.check("spring", Contact::Cold, &policy, at(1_000)).is_err());
        assert!(campaigns.check("other", Contact::Cold, &policy, at(1_000)).is_ok());
        for n in 0..policy.sample {
            assert!(campaigns.check("spring", Contact::Warm, &policy, at(1_000 + i64::from(n) * 2)).is_ok());
            campaigns.asked("spring", Contact::Warm, &policy, at(1_000 + i64::from(n) * 2));
        }
        assert!(campaigns.check("spring", Contact::Cold, &policy, at(2_000)).is_ok());
    }

    #[test]
    fn a_campaign_that_was_forgotten_goes_on_where_it_was() {
        let policy = CampaignPolicy::default();
        let before: Vec<_> = (0..15).map(|n| (at(n * 60), Contact::Cold)).collect();
        let mut campaigns = Campaigns::default();
        campaigns.recall("spring", &before, &policy);
        campaigns.recall("spring", &before, &policy);
        assert_eq!(
            campaigns.check("spring", Contact::Cold, &policy, at(1_000)),
            Err(TooMuch::Cold { cold: 16 })
        );
        campaigns.recall("summer", &[], &policy);
        assert!(!campaigns.remembers("summer"));
    }

    #[test]
    fn campaigns_with_ever_new_names_do_not_grow_the_guard() {
        let (policy, mut campaigns) = (CampaignPolicy::default(), Campaigns::default());
        for n in 0..=Campaigns::MOST {
            campaigns.asked(&n.to_string(), Contact::Cold, &policy, at(i64::try_from(n).unwrap()));
        }
        assert_eq!(campaigns.running.len(), Campaigns::MOST);
        assert!(!campaigns.running.contains_key("0"));
    }

    #[test]
    fn campaigns_with_ever_new_names_do_not_make_the_guard_forget_their_number() {
        let (policy, mut campaigns) = (CampaignPolicy::default(), Campaigns::default());
        for n in 0..=Campaigns::MOST {
            let now = at(i64::try_from(n).unwrap() * 60);
            for tally in ["+911", &*n.to_string()] {
                campaigns.asked(tally, Contact::Cold, &policy, now);
            }
        }
        let cold = u32::try_from(Campaigns::MOST).unwrap().min(policy.sample);
        let (now, new) = (at(1_000_000), campaigns.check("new", Contact::Cold, &policy, at(1_000_000)));
        assert_eq!(new, Ok(()));
        assert_eq!(campaigns.check("+911", Contact::Cold, &policy, now), Err(TooMuch::Cold { cold }));
    }
}
