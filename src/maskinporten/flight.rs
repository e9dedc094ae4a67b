//! One fetch at a time, however many want its result; and one per interval, however often it is wanted.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

/// Lets one fetch run at a time. The fetch is a task of its own: that a waiter leaves ends nothing.
#[derive(Debug, Default)]
pub(crate) struct SingleFlight {
    current: Mutex<Option<Landing>>,
}

/// Waits for the end of one fetch, and knows whether it did well.
#[derive(Clone, Debug)]
pub(crate) struct Landing(watch::Receiver<Option<bool>>);

impl Landing {
    /// Whether the fetch did well, when it has ended; at once when it ended before. Cancel safe.
    pub(crate) async fn landed(mut self) -> bool {
        // A fetch that panicked drops its sender without a word; it has ended too, and not well.
        self.0.wait_for(Option::is_some).await.is_ok_and(|well| *well == Some(true))
    }

    fn under_way(&self) -> bool {
        self.0.borrow().is_none() && self.0.has_changed().is_ok()
    }
}

impl SingleFlight {
    /// Joins the fetch under way; without one, starts what `start` gives. `None` when nothing is
    /// under way and `start` gives nothing.
    pub(crate) fn join_or_start<F>(
        &self,
        runtime: &Handle,
        start: impl FnOnce() -> Option<F>,
    ) -> Option<Landing>
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = current.as_ref().filter(|landing| landing.under_way()) {
            return Some(landing.clone());
        }
        let fetch = start()?;
        let (done, landing) = watch::channel(None);
        runtime.spawn(async move {
            let well = fetch.await;
            let _ = done.send(Some(well));
        });
        *current = Some(Landing(landing));
        current.clone()
    }

    /// Whether the fetch that ended last did not do well. False before the first and during one.
    pub(crate) fn last_failed(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().is_some_and(|last| !last.under_way() && *last.0.borrow() != Some(true))
    }
}

/// Something that may happen once per interval.
#[derive(Debug)]
pub(crate) struct Allowance {
    interval: Duration,
    last: Option<Instant>,
}

impl Allowance {
    pub(crate) fn one_per(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// From now on at most one in `interval`.
    pub(crate) fn keep_to(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Whether it may happen now; then not again before the interval has passed.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let free = self.last.is_none_or(|last| now.duration_since(last) >= self.interval);
        if free {
            self.last = Some(now);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn all_who_wait_share_one_fetch_and_the_next_one_starts_anew() {
        let (flight, started) = (SingleFlight::default(), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Notify::new());
        let board = || {
            let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
            flight.join_or_start(&Handle::current(), || {
                Some(async move {
                    started.fetch_add(1, Ordering::Relaxed);
                    gate.notified().await;
                    true
                })
            })
        };
        let landings: Vec<_> = (0..100).filter_map(|_| board()).collect();
        assert_eq!(landings.len(), 100);
        gate.notify_one();
        for landing in landings {
            assert!(landing.landed().await);
        }
        assert!(!flight.last_failed());
        assert_eq!(started.load(Ordering::Relaxed), 1);
        let next = board().unwrap();
        gate.notify_one();
        next.landed().await;
        assert_eq!(started.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_fetch_that_panics_frees_its_waiters_and_the_place() {
        let flight = SingleFlight::default();
        let crash = flight.join_or_start(&Handle::current(), || {
            Some(async { panic!("as a broken fetch would") })
        });
        assert!(!crash.unwrap().landed().await);
        assert!(flight.last_failed());
        let next = flight.join_or_start(&Handle::current(), || Some(async { true }));
        assert!(next.unwrap().landed().await);
        assert!(
            flight.join_or_start::<std::future::Ready<bool>>(&Handle::current(), || None).is_none()
        );
    }

    #[test]
    fn an_allowance_is_used_once_per_interval() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let mut allowance = Allowance::one_per(minute);
        assert!(allowance.take(start));
        assert!(!allowance.take(start));
        assert!(!allowance.take(start + minute - Duration::from_millis(1)));
        assert!(allowance.take(start + minute));
        assert!(!allowance.take(start + minute));
    }
}
