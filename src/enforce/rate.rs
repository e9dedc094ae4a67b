//! Step 3½: nobody calls more often than the service owner allows; who is in a loop slows down only itself.
//!
//! One meter for each vendor (the token's consumer) and one for each system user, all workers together,
//! each replica for itself. A meter is a single number, the generic cell rate algorithm (ITU-T I.371): the
//! time at which the requests so far would be due at the allowed rate.

use super::authenticate::VerifiedToken;
use super::rejection::{Paced, Rejection};
use crate::config::{LimitConfig, RateConfig};
use crate::domain::claims::Claims;
use crate::domain::system_user::{Consumer, SystemUserId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The meters of all who call.
#[derive(Debug)]
pub struct Rates {
    all: Arc<AllMeters>,
    consumers: Option<Rate>,
    system_users: Option<Rate>,
}

/// Every meter. They know nothing of the rates that they are held against, and so outlive a change of these.
#[derive(Debug)]
struct AllMeters {
    begun: Instant,
    consumers: Meters<Consumer>,
    system_users: Meters<SystemUserId>,
}

/// The meters that a token's requests go through: found once, and kept with the token.
#[derive(Debug)]
pub(super) struct Pace {
    consumer: Arc<Meter>,
    system_user: Option<Arc<Meter>>,
}

/// When the requests so far are due, in nanoseconds since the beginning.
type Meter = AtomicU64;

#[derive(Debug)]
struct Meters<K> {
    known: Mutex<Known<K>>,
}

/// A meter lives as long as a remembered token holds it, and beyond that until it is at rest: whose tokens are forgotten
/// has not rested for it. So their number is bounded by the token cache, by what each thread met lately, and by those who
/// called in as long as a burst takes to be given back.
#[derive(Debug)]
struct Known<K> {
    meters: HashMap<K, Arc<Meter>>,
    sweep_at: usize,
}

impl Rates {
    /// No request has come yet.
    #[must_use]
    pub fn new(limits: &LimitConfig) -> Self {
        let all = AllMeters {
            begun: Instant::now(),
            consumers: Meters::new(),
            system_users: Meters::new(),
        };
        Self::of(Arc::new(all), limits)
    }

    /// The same meters, held against other rates.
    #[must_use]
    pub fn next(&self, limits: &LimitConfig) -> Self {
        Self::of(Arc::clone(&self.all), limits)
    }

    fn of(all: Arc<AllMeters>, limits: &LimitConfig) -> Self {
        Self {
            all,
            consumers: limits.consumer_rate.map(Rate::new),
            system_users: limits.system_user_rate.map(Rate::new),
        }
    }

    /// Counts a request of a token's holder, or tells that it comes too early. Who is refused is not
    /// counted, and who is refused as a system user costs its vendor nothing.
    ///
    /// # Errors
    /// [`Rejection::TooFast`].
    pub(super) fn pass(&self, token: &VerifiedToken) -> Result<(), Rejection> {
        if self.consumers.is_none() && self.system_users.is_none() {
            return Ok(());
        }
        let now = u64::try_from(self.all.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let pace = token.pace(|claims| self.pace(claims, now));
        let own = self.system_users.zip(pace.system_user.as_deref());
        let vendors = self.consumers.map(|rate| (rate, &*pace.consumer));
        if let Some((rate, meter)) = own {
            rate.take(meter, now).map_err(|wait| Rejection::TooFast(Paced::SystemUser, wait))?;
        }
        if let Some((rate, meter)) = vendors
            && let Err(wait) = rate.take(meter, now)
        {
            if let Some((rate, meter)) = own {
                rate.give_back(meter);
            }
            return Err(Rejection::TooFast(Paced::Consumer, wait));
        }
        Ok(())
    }

    fn pace(&self, claims: &Claims, now: u64) -> Pace {
        let id = claims.system_user.as_ref().and_then(|user| user.ids.first());
        Pace {
            consumer: self.all.consumers.of(claims.consumer, now),
            system_user: id.map(|id| self.all.system_users.of(*id, now)),
        }
    }
}

/// What a meter is held against.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Between two requests at the allowed rate, in nanoseconds.
    interval: u64,
    /// How far ahead of its time a request may be, in nanoseconds.
    ahead: u64,
}

impl Rate {
    fn new(rate: RateConfig) -> Self {
        let per = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX);
        let interval = per / u64::from(rate.requests.get());
        Self { interval, ahead: interval.saturating_mul(rate.burst.get().into()) }
    }

    /// Further ahead than this rate lets anybody be, it ran at another one before: who was held up by that begins with one
    /// request. A second is left for workers that read the clock one after the other.
    fn here(self, due: u64, now: u64) -> u64 {
        let most = now.saturating_add(self.ahead);
        if due > most.saturating_add(1_000_000_000) { most - self.interval } else { due }
    }

    /// Counts a request at `now`, or tells how long it is too early.
    fn take(self, meter: &Meter, now: u64) -> Result<(), Duration> {
        let next = |due: u64| {
            let due = self.here(due, now).max(now).saturating_add(self.interval);
            (due - now <= self.ahead).then_some(due)
        };
        meter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map(drop).map_err(|due| {
            let ahead = self.here(due, now).max(now).saturating_add(self.interval) - now;
            Duration::from_nanos(ahead - self.ahead)
        })
    }

    /// A request that was counted and then did not happen.
    fn give_back(self, meter: &Meter) {
        meter.fetch_sub(self.interval, Ordering::Relaxed);
    }
}

impl<K: Eq + Hash + Copy> Meters<K> {
    fn new() -> Self {
        let known = Known { meters: HashMap::new(), sweep_at: 1024 };
        Self { known: Mutex::new(known) }
    }

    fn of(&self, who: K, now: u64) -> Arc<Meter> {
        // Pointers, whole after every change.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = known.meters.get(&who) {
            return Arc::clone(meter);
        }
        if known.meters.len() >= known.sweep_at {
            // One at rest is as good as a new one.
            let lives = |meter: &Arc<Meter>| {
                Arc::strong_count(meter) > 1 || meter.load(Ordering::Relaxed) > now
            };
            known.meters.retain(|_, meter| lives(meter));
            known.sweep_at = (known.meters.len() * 2).max(1024);
        }
        let meter = Arc::new(Meter::default());
        known.meters.insert(who, Arc::clone(&meter));
        meter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    fn rate(per_second: u32, burst: u32) -> Rate {
        let [requests, burst] = [per_second, burst].map(|number| NonZeroU32::new(number).unwrap());
        Rate::new(RateConfig { requests, per: Duration::from_secs(1), burst })
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (rate, meter) = (rate(10, 3), Meters::new().of(1, 0));
        let take = |milliseconds: u64| rate.take(&meter, milliseconds * 1_000_000);
        assert_eq!([take(0), take(0), take(0)], [Ok(()); 3]);
        assert_eq!(take(0), Err(Duration::from_millis(100)), "the fourth at once");
        assert_eq!(take(99), Err(Duration::from_millis(1)), "a moment early");
        assert_eq!(take(100), Ok(()), "a place is free again");
        assert_eq!(take(100), Err(Duration::from_millis(100)));
        assert_eq!([take(900), take(900), take(900)], [Ok(()); 3], "rested");
        assert!(take(900).is_err(), "rest does not add up beyond the burst");
    }

    #[test]
    fn a_meter_goes_on_at_another_rate() {
        let (slow, fast, meter) = (rate(1, 1000), rate(1000, 10), Meters::new().of(1, 0));
        for _ in 0..1000 {
            assert_eq!(slow.take(&meter, 0), Ok(()));
        }
        assert!(slow.take(&meter, 0).is_err());
        assert_eq!(fast.take(&meter, 0), Ok(()), "not held up by what was");
        assert_eq!(fast.take(&meter, 0), Err(Duration::from_millis(1)), "and nothing is given");
        assert_eq!(slow.take(&meter, 0), Ok(()));
    }

    #[test]
    fn each_has_a_meter_of_its_own_for_as_long_as_somebody_holds_it() {
        let meters = Meters::new();
        let one = meters.of(1, 0);
        assert!(Arc::ptr_eq(&one, &meters.of(1, 0)));
        assert!(!Arc::ptr_eq(&one, &meters.of(2, 0)));
        for who in 2..100_000 {
            drop(meters.of(who, 0));
        }
        let known = meters.known.lock().unwrap();
        assert!(known.meters.len() <= 1024, "{}", known.meters.len());
        assert!(known.meters.contains_key(&1), "held");
    }

    #[test]
    fn who_is_forgotten_has_not_rested_for_it() {
        const SECOND: u64 = 1_000_000_000;
        let (rate, meters) = (rate(1, 3), Meters::new());
        for _ in 0..3 {
            assert_eq!(rate.take(&meters.of(1, 0), 0), Ok(()));
        }
        let others = |now| (2..5_000).for_each(|who| drop(meters.of(who, now)));
        others(0);
        assert_eq!(rate.take(&meters.of(1, 0), 0), Err(Duration::from_secs(1)), "no new burst");
        // Rested: nothing is known of it any more, and nothing is lost by that.
        others(3 * SECOND);
        assert!(!meters.known.lock().unwrap().meters.contains_key(&1));
        assert_eq!(rate.take(&meters.of(1, 3 * SECOND), 3 * SECOND), Ok(()));
    }

    proptest! {
        /// Whatever the times: never more than the burst and the rate allow, and never less.
        #[test]
        fn as_many_pass_as_a_bucket_of_tokens_would_let(
            (per_second, burst) in (1..1000_u32, 1..50_u32),
            gaps in prop::collection::vec(0..2_000_000_000_u64, 1..200),
        ) {
            let (rate, meter) = (rate(per_second, burst), Meters::new().of(1, 0));
            // Filled in nanoseconds of the interval, so that no fraction is lost.
            let (mut now, mut held) = (0, u128::from(rate.ahead));
            for gap in gaps {
                now += gap / 100;
                held = (held + u128::from(gap / 100)).min(rate.ahead.into());
                let passes = held >= rate.interval.into();
                if passes {
                    held -= u128::from(rate.interval);
                }
                prop_assert_eq!(rate.take(&meter, now).is_ok(), passes);
            }
        }
    }
}
