//! The time of day, and how it is written.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; a clock before that reads as zero.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok())
        .unwrap_or(0)
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
}
