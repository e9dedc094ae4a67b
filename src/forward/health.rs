//! Which addresses of an upstream are left out for a while: those to which several connections in a row could not
//! be made. What an upstream answers says nothing here, nor how long it takes.
//!
//! An address that is left out is tried by one request at a time once its pause is over. While that fails, the
//! pauses grow, up to a bound, each cut by chance so that workers and replicas do not come back at one moment.

use prometheus::IntCounter;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Where connections are made to; `None` for a Unix socket.
pub(super) type To = Option<SocketAddr>;

/// The first pause is so small a part of the longest; each is twice the one before.
const FIRST: u32 = 16;

/// Most addresses that are remembered. Names have few; one that has others at every look-up fills no memory.
const MOST: usize = 256;

/// What is known of the addresses of one upstream.
pub(super) struct Health {
    name: String,
    /// Failures in a row after which an address is left out.
    failures: NonZeroUsize,
    /// Longest pause.
    longest: Duration,
    left_out: IntCounter,
    /// Those alone to which the last connection could not be made.
    ill: Mutex<HashMap<To, Ill>>,
}

#[derive(Default)]
struct Ill {
    /// In a row.
    failures: usize,
    out: Option<Out>,
}

/// An address that is left out.
struct Out {
    until: Instant,
    /// The pause without what chance cuts off.
    pause: Duration,
    /// One request tries it.
    probing: bool,
}

/// Leave to connect to an address. One that is dropped without a verdict says nothing about it.
pub(super) struct Attempt<'h> {
    health: &'h Health,
    to: To,
    probe: bool,
}

impl Health {
    pub(super) fn new(
        name: &str,
        failures: NonZeroUsize,
        longest: Duration,
        left_out: IntCounter,
    ) -> Self {
        let ill = Mutex::default();
        Self { name: name.to_owned(), failures, longest, left_out, ill }
    }

    /// Leave to connect to an address.
    ///
    /// # Errors
    /// How long it is left out for yet.
    pub(super) fn attempt(&self, to: To) -> Result<Attempt<'_>, Duration> {
        let mut ill = self.ill();
        let out = ill.get_mut(&to).and_then(|ill| ill.out.as_mut());
        let Some(out) = out else { return Ok(Attempt { health: self, to, probe: false }) };
        let now = Instant::now();
        if now < out.until {
            return Err(out.until - now);
        }
        if out.probing {
            // Its end is near: what it finds holds for whoever comes after.
            return Err(Duration::ZERO);
        }
        out.probing = true;
        Ok(Attempt { health: self, to, probe: true })
    }

    fn ill(&self) -> MutexGuard<'_, HashMap<To, Ill>> {
        // Plain values, whole after every change.
        self.ill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not left out any more is forgotten where there is no room.
    fn make_room(ill: &mut HashMap<To, Ill>) {
        if ill.len() < MOST {
            return;
        }
        let now = Instant::now();
        ill.retain(|_, ill| ill.out.as_ref().is_some_and(|out| now < out.until));
        if ill.len() >= MOST {
            ill.clear();
        }
    }
}

impl Attempt<'_> {
    /// It can be connected to.
    pub(super) fn succeeded(mut self) {
        self.probe = false;
        let before = self.health.ill().remove(&self.to);
        if before.is_some_and(|before| before.out.is_some()) {
            tracing::info!(upstream = self.health.name, to = ?self.to, "an address of an upstream is back");
        }
    }

    /// It cannot be connected to.
    pub(super) fn failed(mut self) {
        let Health { name, failures, longest, left_out, .. } = self.health;
        let probe = std::mem::take(&mut self.probe);
        let mut all = self.health.ill();
        Health::make_room(&mut all);
        let ill = all.entry(self.to).or_default();
        ill.failures = ill.failures.saturating_add(1);
        let pause = match &ill.out {
            Some(out) if probe => (out.pause * 2).min(*longest),
            None if ill.failures >= failures.get() => *longest / FIRST,
            // Too few yet; or begun before it was left out.
            None | Some(_) => return,
        };
        let until = Instant::now() + cut(pause);
        ill.out = Some(Out { until, pause, probing: false });
        drop(all);
        left_out.inc();
        if !probe {
            tracing::warn!(upstream = name, to = ?self.to, "an address of an upstream is left out");
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.probe {
            return;
        }
        // The next request tries.
        if let Some(Ill { out: Some(out), .. }) = self.health.ill().get_mut(&self.to) {
            out.probing = false;
        }
    }
}

/// Three quarters of a pause, and a part of the last by chance.
fn cut(pause: Duration) -> Duration {
    let [chance, ..] = uuid::Uuid::new_v4().into_bytes();
    pause * 3 / 4 + pause / 4 * u32::from(chance) / 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use std::net::{Ipv4Addr, SocketAddrV4};

    const LONGEST: Duration = Duration::from_secs(16);

    fn health() -> Health {
        let metrics = Metrics::new().unwrap();
        let counter = metrics.upstream_left_out.with_label_values(&["api"]);
        Health::new("api", NonZeroUsize::new(3).unwrap(), LONGEST, counter)
    }

    const ONE: To = Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 80)));
    const TWO: To = Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 80)));

    fn fail(health: &Health, to: To, times: usize) {
        for _ in 0..times {
            health.attempt(to).ok().unwrap().failed();
        }
    }

    /// How long an address is left out for.
    fn pause(health: &Health, to: To) -> Duration {
        health.attempt(to).err().unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_failures_in_a_row_leave_an_address_out_and_no_other() {
        let health = health();
        fail(&health, ONE, 2);
        health.attempt(ONE).ok().unwrap().succeeded();
        fail(&health, ONE, 2);
        assert!(health.attempt(ONE).is_ok(), "two in a row");
        fail(&health, ONE, 1);
        let first = LONGEST / FIRST;
        assert!((first * 3 / 4..=first).contains(&pause(&health, ONE)));
        assert!(health.attempt(TWO).is_ok());
        assert!(health.attempt(None).is_ok());
        assert_eq!(health.left_out.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_tries_and_the_pauses_grow_up_to_a_bound() {
        let health = health();
        fail(&health, ONE, 3);
        let mut expected = LONGEST / FIRST;
        for _ in 0..8 {
            let left = pause(&health, ONE);
            assert!((expected * 3 / 4..=expected).contains(&left), "{left:?} of {expected:?}");
            tokio::time::advance(left.saturating_sub(Duration::from_millis(1))).await;
            assert!(health.attempt(ONE).is_err());
            tokio::time::advance(Duration::from_millis(1)).await;
            let probe = health.attempt(ONE).ok().unwrap();
            assert_eq!(health.attempt(ONE).err(), Some(Duration::ZERO), "somebody tries");
            probe.failed();
            expected = (expected * 2).min(LONGEST);
        }
        tokio::time::advance(LONGEST).await;
        health.attempt(ONE).ok().unwrap().succeeded();
        fail(&health, ONE, 2);
        assert!(health.attempt(ONE).is_ok(), "begun anew");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_a_verdict_leaves_the_trying_to_the_next() {
        let health = health();
        drop(health.attempt(ONE).ok().unwrap());
        fail(&health, ONE, 2);
        let late = health.attempt(ONE).ok().unwrap();
        fail(&health, ONE, 1);
        let left = pause(&health, ONE);
        late.failed();
        assert_eq!(pause(&health, ONE), left, "one that began before makes it no longer");
        tokio::time::advance(LONGEST).await;
        drop(health.attempt(ONE).ok().unwrap());
        assert!(health.attempt(ONE).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_without_end_are_forgotten() {
        let health = health();
        for number in 0..10_000_u16 {
            fail(&health, Some(SocketAddr::from(([10, 0, 0, 1], number))), 1);
        }
        assert!(health.ill().len() <= MOST);
    }
}
