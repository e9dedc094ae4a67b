//! Instants as tokens carry them.

use std::fmt;
use std::time::Duration;

/// Seconds since 1970-01-01T00:00:00Z, as in a JWT `NumericDate` (RFC 7519 §2). May be negative.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(i64);

impl UnixTime {
    /// From whole seconds since the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// This instant moved ahead; stops at the greatest instant instead of overflowing.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }

    /// How long until `later`; zero when `later` is not after this instant.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_secs(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leeway_at_the_end_of_time_saturates() {
        let end = UnixTime::from_seconds(i64::MAX);
        assert_eq!(end.saturating_add(Duration::from_secs(10)), end);
        assert_eq!(
            UnixTime::from_seconds(i64::MIN).until(end),
            Duration::from_secs(i64::MAX.unsigned_abs())
        );
    }

    #[test]
    fn the_past_is_zero_away() {
        assert_eq!(UnixTime::from_seconds(5).until(UnixTime::from_seconds(4)), Duration::ZERO);
    }
}
