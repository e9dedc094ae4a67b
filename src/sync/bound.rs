//! How long a right that was withdrawn may still be used: the revocation clock, from the configuration alone.
//!
//! A permit counts from just before Altinn was asked, and is used while it is younger than `max_age`. So what
//! Altinn no longer says is used no longer than `max_age`, whoever asks and whatever is lost in between; with
//! the refreshing that goes on behind it ends sooner. While Altinn cannot be asked `outage_grace` takes the
//! place of `max_age`; a call that our own ceiling of calls holds back too long counts as one that could not be
//! made. To all of it comes the time for which the PDP itself may answer from memory.

use crate::config::{Freshness, RegisterConfig};
use std::time::Duration;

/// What was delegated is remembered by Altinn's PDP. Source: contract authorization.md §4.
pub const DELEGATIONS: Duration = Duration::from_secs(5 * 60);
/// So are policies.
pub const POLICIES: Duration = Duration::from_secs(10 * 60);
/// What is watched is looked over in this time, or as often as the least interval says.
pub(super) const ROUND: Duration = Duration::from_secs(60);
/// A slice of it each time. Often, so that what is due is not read all at once: on one core, requests would wait
/// meanwhile.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// The same notice is told once a second.
const NOTICE: Duration = Duration::from_secs(1);

/// From the moment at which Altinn says no any more to the first refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bound {
    /// While the system user calls all the time and Altinn answers.
    pub usual: Duration,
    /// Whatever happens, as long as Altinn answers when it is asked.
    pub worst: Duration,
    /// While it does not.
    pub away: Duration,
}

/// For what a system user holds.
#[must_use]
pub fn of_rights(freshness: Freshness, register: Option<&RegisterConfig>) -> Bound {
    let worst = freshness.max_age;
    // A permit that is used past this age is read, or asked for, again behind.
    let by_use = freshness.fresh_for + NOTICE;
    let by_round = register.map_or(Duration::MAX, |register| {
        let least = register.refresh_least;
        least + least / 10 + ROUND.min(least)
    });
    Bound { usual: by_use.min(by_round).min(worst), worst, away: worst.max(freshness.outage_grace) }
}

/// For what a policy says, where permits are derived from it.
#[must_use]
pub fn of_policies(freshness: Freshness, register: &RegisterConfig) -> Bound {
    let policies = register.policies;
    // A permit is derived from what both were, so that the older of the two counts; a confirmed one has
    // its own age alone.
    let worst = policies.max_age.max(freshness.max_age);
    Bound {
        usual: (policies.poll + NOTICE).min(worst),
        worst,
        away: worst.max(freshness.outage_grace),
    }
}

/// How much longer permits serve in an outage: `grace` is the route's, `entry` the age of the oldest entry in
/// use, and the policies count for `policy_max_age` at least, from when they were last known to be current.
#[must_use]
pub fn grace_left(
    grace: Duration,
    entry: Duration,
    policies: Option<Duration>,
    policy_max_age: Duration,
) -> Duration {
    // Without policies nothing is derived, however young the rest is.
    let of_policies = policies.map(|age| grace.max(policy_max_age).saturating_sub(age));
    grace.saturating_sub(entry).min(of_policies.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PolicyConfig;
    use std::num::NonZeroUsize;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const READ: Freshness =
        Freshness { fresh_for: MINUTE, max_age: Duration::from_secs(300), outage_grace: HOUR };
    const HOUR: Duration = Duration::from_secs(3600);

    fn register() -> RegisterConfig {
        RegisterConfig {
            max_system_users: NonZeroUsize::MIN,
            max_bytes: 0,
            keep_for: HOUR,
            system_users: Vec::new(),
            refresh_least: MINUTE,
            refresh_most: HOUR,
            policies: PolicyConfig { poll: MINUTE, check: HOUR, max_age: 10 * MINUTE },
            access_lists_owner: None,
            sample_one_in: NonZeroUsize::MIN,
            snapshot: None,
        }
    }

    #[test]
    fn a_right_is_used_no_longer_than_max_age_and_usually_no_longer_than_it_is_fresh() {
        let bound = of_rights(READ, Some(&register()));
        assert_eq!(bound, Bound { usual: 61 * SECOND, worst: 5 * MINUTE, away: HOUR });
        assert_eq!(of_rights(READ, None), bound, "what is confirmed is asked for again behind too");
    }

    #[test]
    fn a_round_that_is_shorter_than_fresh_is_what_ends_a_right() {
        let late = Freshness { fresh_for: 4 * MINUTE, ..READ };
        assert_eq!(of_rights(late, Some(&register())).usual, 126 * SECOND);
        assert_eq!(of_rights(late, None).usual, 241 * SECOND);
    }

    #[test]
    fn without_grace_an_outage_prolongs_nothing() {
        let write =
            Freshness { fresh_for: 15 * SECOND, max_age: MINUTE, outage_grace: Duration::ZERO };
        let bound = of_rights(write, Some(&register()));
        assert_eq!(bound, Bound { usual: 16 * SECOND, worst: MINUTE, away: MINUTE });
        let none = Freshness { fresh_for: Duration::ZERO, max_age: Duration::ZERO, ..write };
        assert_eq!(of_rights(none, Some(&register())).away, Duration::ZERO, "asked every time");
    }

    #[test]
    fn a_policy_counts_for_as_long_as_the_older_of_the_two_may() {
        let bound = of_policies(READ, &register());
        assert_eq!(bound, Bound { usual: 61 * SECOND, worst: 10 * MINUTE, away: HOUR });
        let old = Freshness { max_age: 20 * MINUTE, ..READ };
        assert_eq!(of_policies(old, &register()).worst, 20 * MINUTE);
    }
}
