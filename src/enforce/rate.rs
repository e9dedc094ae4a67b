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
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// The meters of all who hold a token that is remembered.
#[derive(Debug)]
pub struct Rates {
    begun: Instant,
    consumers: Option<Meters<Consumer>>,
    system_users: Option<Meters<SystemUserId>>,
}

/// The meters that a token's requests go through: found once, and kept with the token.
#[derive(Debug)]
pub(super) struct Pace {
    consumer: Option<Arc<Meter>>,
    system_user: Option<Arc<Meter>>,
}

/// When the requests so far are due, in nanoseconds since the beginning.
type Meter = AtomicU64;

#[derive(Debug)]
struct Meters<K> {
    /// Between two requests at the allowed rate, in nanoseconds.
    interval: u64,
    /// How far ahead of its time a request may be, in nanoseconds.
    ahead: u64,
    known: Mutex<Known<K>>,
}

/// Meters live as long as a remembered token holds them, so the token cache bounds their number.
#[derive(Debug)]
struct Known<K> {
    meters: HashMap<K, Weak<Meter>>,
    sweep_at: usize,
}

impl Rates {
    /// No request has come yet.
    #[must_use]
    pub fn new(limits: &LimitConfig) -> Self {
        Self {
            begun: Instant::now(),
            consumers: limits.consumer_rate.map(Meters::new),
            system_users: limits.system_user_rate.map(Meters::new),
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
        let pace = token.pace(|claims| self.pace(claims));
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let own = self.system_users.as_ref().map(Meters::rate).zip(pace.system_user.as_deref());
        let vendors = self.consumers.as_ref().map(Meters::rate).zip(pace.consumer.as_deref());
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

    fn pace(&self, claims: &Claims) -> Pace {
        let id = claims.system_user.as_ref().and_then(|user| user.ids.first());
        Pace {
            consumer: self.consumers.as_ref().map(|meters| meters.of(claims.consumer)),
            system_user: self.system_users.as_ref().zip(id).map(|(meters, id)| meters.of(*id)),
        }
    }
}

/// What a meter is held against.
#[derive(Clone, Copy)]
struct Rate {
    interval: u64,
    ahead: u64,
}

impl Rate {
    /// Counts a request at `now`, or tells how long it is too early.
    fn take(self, meter: &Meter, now: u64) -> Result<(), Duration> {
        let next = |due: u64| {
            let due = due.max(now).saturating_add(self.interval);
            (due - now <= self.ahead).then_some(due)
        };
        meter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map(drop).map_err(|due| {
            let ahead = due.max(now).saturating_add(self.interval) - now;
            Duration::from_nanos(ahead - self.ahead)
        })
    }

    /// A request that was counted and then did not happen.
    fn give_back(self, meter: &Meter) {
        meter.fetch_sub(self.interval, Ordering::Relaxed);
    }
}

impl<K: Eq + Hash + Copy> Meters<K> {
    fn new(rate: RateConfig) -> Self {
        let per = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX);
        let interval = per / u64::from(rate.requests.get());
        let ahead = interval.saturating_mul(rate.burst.get().into());
        let known = Known { meters: HashMap::new(), sweep_at: 1024 };
        Self { interval, ahead, known: Mutex::new(known) }
    }

    fn rate(&self) -> Rate {
        Rate { interval: self.interval, ahead: self.ahead }
    }

    fn of(&self, who: K) -> Arc<Meter> {
        // Weak pointers, whole after every change.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = known.meters.get(&who).and_then(Weak::upgrade) {
            return meter;
        }
        if known.meters.len() >= known.sweep_at {
            known.meters.retain(|_, meter| meter.strong_count() > 0);
            known.sweep_at = (known.meters.len() * 2).max(1024);
        }
        let meter = Arc::new(Meter::default());
        known.meters.insert(who, Arc::downgrade(&meter));
        meter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    fn meters(per_second: u32, burst: u32) -> Meters<u32> {
        let [requests, burst] = [per_second, burst].map(|number| NonZeroU32::new(number).unwrap());
        Meters::new(RateConfig { requests, per: Duration::from_secs(1), burst })
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let meters = meters(10, 3);
        let meter = meters.of(1);
        let take = |milliseconds: u64| meters.rate().take(&meter, milliseconds * 1_000_000);
        assert_eq!([take(0), take(0), take(0)], [Ok(()); 3]);
        assert_eq!(take(0), Err(Duration::from_millis(100)), "the fourth at once");
        assert_eq!(take(99), Err(Duration::from_millis(1)), "a moment early");
        assert_eq!(take(100), Ok(()), "a place is free again");
        assert_eq!(take(100), Err(Duration::from_millis(100)));
        assert_eq!([take(900), take(900), take(900)], [Ok(()); 3], "rested");
        assert!(take(900).is_err(), "rest does not add up beyond the burst");
    }

    #[test]
    fn each_has_a_meter_of_its_own_for_as_long_as_somebody_holds_it() {
        let meters = meters(1, 1);
        let one = meters.of(1);
        assert!(Arc::ptr_eq(&one, &meters.of(1)));
        assert!(!Arc::ptr_eq(&one, &meters.of(2)));
        for who in 2..100_000 {
            drop(meters.of(who));
        }
        let known = meters.known.lock().unwrap();
        assert!(known.meters.len() <= 1024, "{}", known.meters.len());
        assert!(known.meters.contains_key(&1), "held");
    }

    proptest! {
        /// Whatever the times: never more than the burst and the rate allow, and never less.
        #[test]
        fn as_many_pass_as_a_bucket_of_tokens_would_let(
            (per_second, burst) in (1..1000_u32, 1..50_u32),
            gaps in prop::collection::vec(0..2_000_000_000_u64, 1..200),
        ) {
            let meters = meters(per_second, burst);
            let meter = meters.of(1);
            // Filled in nanoseconds of the interval, so that no fraction is lost.
            let (mut now, mut held) = (0, u128::from(meters.ahead));
            for gap in gaps {
                now += gap / 100;
                held = (held + u128::from(gap / 100)).min(meters.ahead.into());
                let passes = held >= meters.interval.into();
                if passes {
                    held -= u128::from(meters.interval);
                }
                prop_assert_eq!(meters.rate().take(&meter, now).is_ok(), passes);
            }
        }
    }
}
