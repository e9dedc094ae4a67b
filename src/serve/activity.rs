//! What goes on on one client connection: how many requests, and since when none.
//!
//! HTTP/2 keeps a connection without requests for ever, and so would hold a place for ever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    begun: AtomicBool,
    /// Those that have begun so far.
    requests: AtomicU64,
    /// There was no room for a head.
    crowded_out: AtomicBool,
    /// Tells of the first request.
    first: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: usize,
    quiet_since: Instant,
}

/// A request that goes on until this is dropped, its answer's body included.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

/// Why a connection is ended for its silence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Quiet {
    /// No request ever came.
    NoRequest,
    /// None came for too long after the last.
    Idle,
}

impl Quiet {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NoRequest => "no_request",
            Self::Idle => "idle",
        }
    }
}

impl Activity {
    /// A connection that has just been accepted.
    pub(super) fn new() -> Arc<Self> {
        let state = State { open: 0, quiet_since: Instant::now() };
        Arc::new(Self {
            begun: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            crowded_out: AtomicBool::new(false),
            first: Notify::new(),
            state: Mutex::new(state),
        })
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        if !self.begun.swap(true, Ordering::Relaxed) {
            self.first.notify_one();
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.state().open += 1;
        Busy(Arc::clone(self))
    }

    /// How many requests have begun so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether a request is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.state().open > 0
    }

    /// Notes that there was no room for a head.
    pub(super) fn crowd_out(&self) {
        self.crowded_out.store(true, Ordering::Relaxed);
    }

    /// Whether there was no room for a head.
    pub(super) fn is_crowded_out(&self) -> bool {
        self.crowded_out.load(Ordering::Relaxed)
    }

    /// Ends when the first request has begun. For one waiter.
    pub(super) async fn first(&self) {
        if !self.begun.load(Ordering::Relaxed) {
            self.first.notified().await;
        }
    }

    /// Ends when the first request has not come for `first`, or none has gone on for `idle`.
    pub(super) async fn quiet(&self, first: Duration, idle: Duration) -> Quiet {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            let limit = if begun { idle } else { first };
            let now = Instant::now();
            let (open, end) = {
                let state = self.state();
                (state.open, state.quiet_since + limit)
            };
            if open > 0 {
                // Its end may be anywhere within, and counts from there.
                tokio::time::sleep(limit).await;
            } else if now < end {
                tokio::time::sleep_until(end).await;
            } else {
                return if begun { Quiet::Idle } else { Quiet::NoRequest };
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two plain values, whole after every change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy {
    /// One more, for what goes on when its answer has been given.
    pub(super) fn again(&self) -> Self {
        self.0.begin()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open = state.open.saturating_sub(1);
        state.quiet_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_quiet_after_the_first_limit() {
        let begun = Instant::now();
        assert_eq!(Activity::new().quiet(FIRST, IDLE).await, Quiet::NoRequest);
        assert_eq!(begun.elapsed(), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_end_of_the_last_request() {
        let activity = Activity::new();
        let (one, other) = (activity.begin(), activity.begin());
        let begun = Instant::now();
        tokio::spawn(async move {
            drop(one);
            tokio::time::sleep(Duration::from_secs(300)).await;
            drop(other);
        });
        assert_eq!(activity.quiet(FIRST, IDLE).await, Quiet::Idle);
        assert_eq!(begun.elapsed(), Duration::from_secs(360));
    }
}
