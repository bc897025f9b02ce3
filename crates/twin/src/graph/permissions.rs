//! Whom Meta lets the business call, and ask (UCP): grants, their ends, and what the two sides did with them.

use std::collections::BTreeMap;

use setu_model::Wall;

/// Meta's bounds. A day may be made short, so that a week passes while somebody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PermissionRules {
    /// The length of a day, in milliseconds.
    pub day_ms: i64,
    /// Requests in one day, and in seven.
    pub requests: (usize, usize),
    /// Connected calls in one day.
    pub connected: usize,
    /// Unanswered calls in a row after which the user is reminded, and after which the permission ends.
    pub missed: (u32, u32),
}

impl PermissionRules {
    /// Those of live numbers.
    pub const LIVE: Self = Self { day_ms: 86_400_000, requests: (1, 2), connected: 100, missed: (2, 4) };
    /// Those of test numbers.
    pub const SANDBOX: Self =
        Self { day_ms: 86_400_000, requests: (25, 100), connected: 100, missed: (5, 10) };
}

/// A grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// None.
    No,
    /// Until then. Its end is never told.
    Until(Wall),
    /// Until it is taken back.
    Permanent,
}

/// Why Meta refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// 138006.
    NoPermission,
    /// 138012, and when the next connected call may be.
    TooManyConnected(Wall),
    /// 138009.
    TooManyRequests(Wall),
    /// 138017.
    IsPermanent,
}

impl Forbidden {
    /// Meta's code.
    pub const fn code(self) -> i64 {
        match self {
            Self::NoPermission => 138_006,
            Self::TooManyConnected(_) => 138_012,
            Self::TooManyRequests(_) => 138_009,
            Self::IsPermanent => 138_017,
        }
    }
}

/// What a call that ended means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    Nothing,
    /// The user sees a message that asks whether the business may go on calling.
    Reminded,
    /// The permission ended by itself, which a webhook tells.
    Revoked,
}

/// All users of one number.
#[derive(Debug, Clone)]
pub struct Permissions {
    rules: PermissionRules,
    /// What users permit who were never asked.
    at_first: Permit,
    users: BTreeMap<String, User>,
}

#[derive(Debug, Clone)]
struct User {
    permit: Permit,
    requested: Vec<Wall>,
    connected: Vec<Wall>,
    missed: u32,
}

impl Permissions {
    /// Everybody permits the same.
    pub const fn new(rules: PermissionRules, at_first: Permit) -> Self {
        Self { rules, at_first, users: BTreeMap::new() }
    }

    /// The user permits calls: for seven days, or until further notice.
    pub fn grant(&mut self, user: &str, permanent: bool, now: Wall) -> Permit {
        let until = Wall::from_unix_ms(now.unix_ms() + 7 * self.rules.day_ms);
        let permit = if permanent { Permit::Permanent } else { Permit::Until(until) };
        let user = self.user(user);
        (user.permit, user.missed) = (permit, 0);
        permit
    }

    /// The user takes permission back, or declines to give it.
    pub fn revoke(&mut self, user: &str) {
        self.user(user).permit = Permit::No;
    }

    /// What holds now.
    pub fn permit(&self, user: &str, now: Wall) -> Permit {
        match self.users.get(user).map_or(self.at_first, |user| user.permit) {
            Permit::Until(end) if end <= now => Permit::No,
            permit @ (Permit::No | Permit::Until(_) | Permit::Permanent) => permit,
        }
    }

    /// Whether the business may call.
    ///
    /// # Errors
    /// Why not.
    pub fn may_call(&self, user: &str, now: Wall) -> Result<(), Forbidden> {
        if self.permit(user, now) == Permit::No {
            return Err(Forbidden::NoPermission);
        }
        let connected = self.users.get(user).map_or(&[][..], |user| user.connected.as_slice());
        match self.next(connected, self.rules.connected, 1, now) {
            Some(next) => Err(Forbidden::TooManyConnected(next)),
            None => Ok(()),
        }
    }

    /// Takes a request for permission.
    ///
    /// # Errors
    /// Why it is not delivered.
    pub fn request(&mut self, user: &str, now: Wall) -> Result<(), Forbidden> {
        if self.permit(user, now) == Permit::Permanent {
            return Err(Forbidden::IsPermanent);
        }
        let requested = self.users.get(user).map_or(&[][..], |user| user.requested.as_slice());
        let (day, week) = self.rules.requests;
        let next = self.next(requested, day, 1, now).max(self.next(requested, week, 7, now));
        if let Some(next) = next {
            return Err(Forbidden::TooManyRequests(next));
        }
        self.user(user).requested.push(now);
        Ok(())
    }

    /// A call of the business ended: it was talked, or nobody took it.
    pub fn called(&mut self, user: &str, connected: bool, now: Wall) -> Consequence {
        let (remind, revoke) = self.rules.missed;
        let user = self.user(user);
        if connected {
            user.connected.push(now);
            user.requested.clear();
            user.missed = 0;
            return Consequence::Nothing;
        }
        user.missed += 1;
        if user.missed >= revoke {
            (user.permit, user.missed) = (Permit::No, 0);
            Consequence::Revoked
        } else if user.missed == remind {
            Consequence::Reminded
        } else {
            Consequence::Nothing
        }
    }

    /// How often something was done in the last `days`.
    pub fn usage(&self, user: &str, days: i64, now: Wall) -> (usize, usize) {
        let since = now.unix_ms() - days * self.rules.day_ms;
        let count = |times: &[Wall]| times.iter().filter(|at| at.unix_ms() > since).count();
        self.users.get(user).map_or((0, 0), |user| (count(&user.requested), count(&user.connected)))
    }

    /// The bounds in force.
    pub const fn rules(&self) -> PermissionRules {
        self.rules
    }

    /// When one more is allowed, if it is not now.
    fn next(&self, times: &[Wall], most: usize, days: i64, now: Wall) -> Option<Wall> {
        let span = days * self.rules.day_ms;
        let mut within: Vec<i64> =
            times.iter().map(|at| at.unix_ms()).filter(|at| *at > now.unix_ms() - span).collect();
        within.sort_unstable();
        let over = within.len().checked_sub(most)?;
        within.get(over).map(|at| Wall::from_unix_ms(at + span))
    }

    fn user(&mut self, user: &str) -> &mut User {
        let permit = self.at_first;
        let fresh = || User { permit, requested: Vec::new(), connected: Vec::new(), missed: 0 };
        self.users.entry(user.to_owned()).or_insert_with(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn day(days: i64) -> Wall {
        Wall::from_unix_ms(1_760_000_000_000 + days * DAY)
    }

    #[test]
    fn a_grant_ends_after_seven_days_unless_it_is_permanent() {
        let mut it = Permissions::new(PermissionRules::LIVE, Permit::No);
        assert_eq!(it.may_call("u", day(0)), Err(Forbidden::NoPermission));
        assert_eq!(it.grant("u", false, day(0)), Permit::Until(day(7)));
        assert_eq!(
            (it.may_call("u", day(6)), it.may_call("u", day(7))),
            (Ok(()), Err(Forbidden::NoPermission))
        );
        it.grant("u", true, day(8));
        assert_eq!(it.may_call("u", day(400)), Ok(()));
        it.revoke("u");
        assert_eq!(it.may_call("u", day(400)), Err(Forbidden::NoPermission));
    }

    #[test]
    fn one_request_a_day_and_two_a_week_until_a_call_connects() {
        let mut it = Permissions::new(PermissionRules::LIVE, Permit::No);
        assert_eq!(it.request("u", day(0)), Ok(()));
        assert_eq!(it.request("u", day(0)), Err(Forbidden::TooManyRequests(day(1))));
        assert_eq!(it.request("u", day(1)), Ok(()));
        assert_eq!(it.request("u", day(2)), Err(Forbidden::TooManyRequests(day(7))));
        assert_eq!(it.called("u", true, day(2)), Consequence::Nothing);
        assert_eq!(it.request("u", day(2)), Ok(()));
        it.grant("u", true, day(2));
        assert_eq!(it.request("u", day(30)), Err(Forbidden::IsPermanent));
    }

    #[test]
    fn the_second_missed_call_reminds_and_the_fourth_revokes() {
        let mut it = Permissions::new(PermissionRules::LIVE, Permit::No);
        it.grant("u", true, day(0));
        let missed = |it: &mut Permissions| it.called("u", false, day(1));
        use Consequence::*;
        assert_eq!([(); 3].map(|()| missed(&mut it)), [Nothing, Reminded, Nothing]);
        assert_eq!(it.called("u", true, day(1)), Nothing);
        assert_eq!([(); 4].map(|()| missed(&mut it)), [Nothing, Reminded, Nothing, Revoked]);
        assert_eq!(it.may_call("u", day(1)), Err(Forbidden::NoPermission));
    }

    #[test]
    fn a_hundred_connected_calls_a_day_are_the_bound() {
        let mut it = Permissions::new(PermissionRules::LIVE, Permit::No);
        it.grant("u", true, day(0));
        for _ in 0..100 {
            it.called("u", true, day(1));
        }
        assert_eq!(it.may_call("u", day(1)), Err(Forbidden::TooManyConnected(day(2))));
        assert_eq!((it.usage("u", 1, day(1)), it.may_call("u", day(2))), ((0, 100), Ok(())));
    }
}
