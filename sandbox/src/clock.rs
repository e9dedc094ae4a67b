//! The sandbox's clock, which follows the real one at a distance, and how times are written.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The end of the year 9999: what comes after cannot be written.
const LAST_SECOND: i64 = 253_402_300_799;

/// The time of day as everything in one sandbox sees it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_seconds: AtomicI64,
}

impl Clock {
    /// Seconds since 1970, never before it nor after the year 9999.
    pub(crate) fn now(&self) -> i64 {
        real_now().saturating_add(self.offset_seconds()).clamp(0, LAST_SECOND)
    }

    /// How far ahead of the real time it is.
    pub(crate) fn offset_seconds(&self) -> i64 {
        self.offset_seconds.load(Ordering::SeqCst)
    }

    /// Moves it, also backwards.
    pub(crate) fn advance(&self, seconds: i64) {
        let moved = self.offset_seconds().saturating_add(seconds);
        self.offset_seconds.store(moved, Ordering::SeqCst);
    }

    /// Makes it this time now; it goes on from there.
    pub(crate) fn set(&self, now: i64) {
        self.offset_seconds.store(now.saturating_sub(real_now()), Ordering::SeqCst);
    }

    /// Back to the real time.
    pub(crate) fn reset(&self) {
        self.offset_seconds.store(0, Ordering::SeqCst);
    }
}

/// Seconds since 1970; a clock before that reads as zero.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
fn real_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok())
        .unwrap_or(0)
}

/// RFC 3339 in UTC with milliseconds, as Altinn's authentication writes times.
pub(crate) fn zulu(seconds: i64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
}

/// RFC 3339 in UTC with six decimals, as the resource registry writes times.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000000+00:00")
}

/// ASN.1 `GeneralizedTime` in UTC, as certificates carry it.
pub(crate) fn generalized(seconds: i64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}

/// Days to calendar date in the proleptic Gregorian calendar (H. Hinnant, `civil_from_days`).
fn civil(seconds: i64) -> (i64, i64, i64, i64, i64, i64) {
    let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, time / 3_600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000+00:00");
        assert_eq!(rfc3339(1_709_164_799), "2024-02-28T23:59:59.000000+00:00");
        assert_eq!(rfc3339(1_709_164_800), "2024-02-29T00:00:00.000000+00:00");
        assert_eq!(generalized(1_709_251_200), "20240301000000Z");
    }

    #[test]
    fn the_clock_moves_and_comes_back() {
        let clock = Clock::default();
        let start = clock.now();
        clock.advance(600);
        assert!(clock.now() >= start + 600);
        clock.advance(-700);
        assert!(clock.now() < start);
        clock.set(1_000);
        assert!((1_000..1_005).contains(&clock.now()));
        clock.reset();
        assert_eq!(clock.offset_seconds(), 0);
    }

    #[test]
    fn a_clock_stays_within_what_can_be_written() {
        let clock = Clock::default();
        clock.set(i64::MAX);
        assert_eq!(clock.now(), LAST_SECOND);
        clock.set(i64::MIN);
        assert_eq!(clock.now(), 0);
        clock.reset();
        assert!(clock.now() > 0);
    }
}
