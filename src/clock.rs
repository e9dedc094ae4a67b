//! Time of day, as a port: tokens are judged by it, time-outs and ages are not (those are monotonic).

use crate::domain::time::UnixTime;

/// The wall clock.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
    fn now(&self) -> UnixTime {
        // A clock set before 1970 reads as 1970: every token is then not valid yet, never valid too long.
        let elapsed =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixTime::from_seconds(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
    }
}
