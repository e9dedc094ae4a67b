//! Assertions that were used: each is good for one token.

use aws_lc_rs::digest::{SHA256, digest};
use std::collections::{HashMap, VecDeque};

/// How long a used assertion is remembered past its use. An assertion lives 120 seconds at most, give or take the
/// ten seconds that clocks may differ.
const REMEMBERED_SECONDS: i64 = 140;
/// How many are remembered: 700 a second. Beyond that the oldest are forgotten before their time.
pub(crate) const MOST: usize = 100_000;

/// Client and id as one value of a fixed size, however long the id is.
type Key = [u8; 32];

/// Used assertions and when each was used.
#[derive(Debug, Default)]
pub(crate) struct UsedAssertions {
    used: HashMap<Key, i64>,
    order: VecDeque<Key>,
}

impl UsedAssertions {
    /// Takes an assertion into use; `false` if it was used before.
    pub(crate) fn take(&mut self, client: &str, id: &str, now: i64) -> bool {
        self.forget(now);
        let key = key(client, id);
        if let Some(used) = self.used.insert(key, now) {
            // A clock that was moved back leaves old ones behind younger ones.
            return is_over(used, now);
        }
        self.order.push_back(key);
        true
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    fn forget(&mut self, now: i64) {
        while let Some(oldest) = self.order.front() {
            let over = self.used.get(oldest).is_none_or(|used| is_over(*used, now));
            if !over && self.order.len() < MOST {
                return;
            }
            self.used.remove(oldest);
            self.order.pop_front();
        }
    }
}

fn is_over(used: i64, now: i64) -> bool {
    now.saturating_sub(used) > REMEMBERED_SECONDS
}

fn key(client: &str, id: &str) -> Key {
    let digest = digest(&SHA256, format!("{client} {id}").as_bytes());
    // INVARIANT: SHA-256 is 32 bytes.
    digest.as_ref().try_into().unwrap_or_default()
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
        assert!(used.take("b", "1", REMEMBERED_SECONDS + 1));
        assert_eq!(used.len(), 1);
        assert!(used.take("a", "1", REMEMBERED_SECONDS + 1));
    }

    #[test]
    fn a_clock_that_goes_back_keeps_what_was_used_and_not_what_expired() {
        let mut used = UsedAssertions::default();
        assert!(used.take("a", "1", 1_000));
        assert!(used.take("b", "1", 0));
        assert!(!used.take("b", "1", REMEMBERED_SECONDS));
        assert!(used.take("b", "1", 2 * REMEMBERED_SECONDS + 1));
    }

    #[test]
    fn no_more_are_kept_than_fit() {
        let mut used = UsedAssertions::default();
        for number in 0..=MOST {
            assert!(used.take("a", &number.to_string(), 0));
        }
        assert_eq!((used.len(), used.used.len()), (MOST, MOST));
        assert!(!used.take("a", &MOST.to_string(), 0), "the youngest is remembered");
        assert!(used.take("a", "0", 0), "the oldest made room");
    }
}
