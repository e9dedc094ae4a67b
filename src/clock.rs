//! Time of day, as a port: tokens are judged by it, time-outs and ages are not (those are monotonic).

use crate::domain::time::UnixTime;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock.
pub trait Clock: Send + Sync {
    /// Now, in whole seconds.
    fn now(&self) -> UnixTime;

    /// Now, as exact as the clock is.
    fn wall(&self) -> SystemTime {
        let seconds = u64::try_from(self.now().seconds()).unwrap_or(0);
        UNIX_EPOCH + Duration::from_secs(seconds)
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        // A clock set before 1970 reads as 1970: every token is then not valid yet, never valid too long.
        let elapsed = self.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime::from_seconds(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
