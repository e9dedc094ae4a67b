//! Assertions that were used: each is good for one token.

use std::collections::BTreeMap;

/// How long a used assertion is remembered past its use. An assertion lives 120 seconds at most, give or take the
/// ten seconds that clocks may differ.
const REMEMBERED_SECONDS: i64 = 140;

/// Keys of used assertions and when each was used.
#[derive(Debug, Default)]
pub(crate) struct UsedAssertions {
    used: BTreeMap<String, i64>,
}

impl UsedAssertions {
    /// Takes an assertion into use; `false` if it was used before.
    pub(crate) fn take(&mut self, client: &str, id: &str, now: i64) -> bool {
        self.used.retain(|_, used| now - *used <= REMEMBERED_SECONDS);
        self.used.insert(format!("{client} {id}"), now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_good_once_per_client() {
        let mut used = UsedAssertions::default();
        assert!(used.take("a", "1", 0));
        assert!(!used.take("a", "1", REMEMBERED_SECONDS));
        assert!(used.take("b", "1", 0));
    }

    #[test]
    fn an_assertion_that_long_expired_is_forgotten() {
        let mut used = UsedAssertions::default();
        assert!(used.take("a", "1", 0));
        assert!(used.take("a", "1", REMEMBERED_SECONDS + 1));
    }
}
