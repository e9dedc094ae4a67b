//! Who is read next, and when. Pure: each is told the time.

use crate::domain::system_user::SystemUserId;
use crate::enforce::ports::Account;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Time from one reading of a system user to the next: as long as it is used all the time `least`, then
/// half as long as it has not been used, up to `most`; a little off for each, so that those that came
/// together do not stay together. `salt` is any number that stays the same for the system user.
#[must_use]
pub fn interval(idle: Duration, least: Duration, most: Duration, salt: u64) -> Duration {
    let plain = (idle / 2).clamp(least, most.max(least));
    // 90 to 110 per cent.
    let percent = u32::try_from(90 + salt % 21).unwrap_or(100);
    plain * percent / 100
}

/// System users that wait to be read: accounts take turns, and each account's own wait in order.
#[derive(Debug, Default)]
pub struct Queue {
    lines: HashMap<Account, VecDeque<(SystemUserId, Instant)>>,
    turns: VecDeque<Account>,
    waiting: HashSet<SystemUserId>,
}

impl Queue {
    /// Puts a system user in its account's line, at the front when it is urgent. One that waits already
    /// keeps its place, or comes to the front.
    pub fn push(&mut self, account: Account, id: SystemUserId, urgent: bool, now: Instant) {
        if !self.waiting.insert(id) {
            if urgent {
                self.hurry(account, id);
            }
            return;
        }
        let line = self.lines.entry(account).or_default();
        if line.is_empty() {
            self.turns.push_back(account);
        }
        if urgent { line.push_front((id, now)) } else { line.push_back((id, now)) }
    }

    fn hurry(&mut self, account: Account, id: SystemUserId) {
        let Some(line) = self.lines.get_mut(&account) else { return };
        let place = line.iter().position(|(waiting, _)| *waiting == id);
        if let Some(entry) = place.and_then(|place| line.remove(place)) {
            line.push_front(entry);
        }
    }

    /// The next one: of the account whose turn it is.
    pub fn pop(&mut self) -> Option<(Account, SystemUserId)> {
        let account = self.turns.pop_front()?;
        let line = self.lines.get_mut(&account)?;
        let (id, _) = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&account);
        } else {
            self.turns.push_back(account);
        }
        self.waiting.remove(&id);
        Some((account, id))
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How long the ones at the front have waited, at most.
    #[must_use]
    pub fn lag(&self, now: Instant) -> Duration {
        let fronts = self.lines.values().filter_map(VecDeque::front);
        fronts.map(|(_, since)| now.duration_since(*since)).max().unwrap_or_default()
    }
}

/// Pauses that grow with failures in a row: a second, twice as long each time, at most a minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Failures that pass for weather.
const BORNE: u32 = 2;

impl Backoff {
    /// What was tried did well.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It failed; the other side may have said when to come back. `salt` spreads those who failed together.
    /// What was under way when the pause began makes it no longer, but as the other side asks.
    pub fn failed(&mut self, now: Instant, retry_after: Option<Duration>, salt: u64) {
        if self.pausing(now) {
            self.until = self.until.max(retry_after.map(|pause| now + pause));
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let doubled = 2u32.saturating_pow(self.failures.saturating_sub(BORNE + 1).min(8));
        let own =
            if self.failures > BORNE { (FIRST * doubled).min(LONGEST) } else { Duration::ZERO };
        let percent = u32::try_from(75 + salt % 51).unwrap_or(100);
        let pause = (own * percent / 100).max(retry_after.unwrap_or_default());
        self.until = Some(now + pause);
    }

    /// Whether nothing should be tried now.
    #[must_use]
    pub fn pausing(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Failed so often that one try at a time is enough.
    #[must_use]
    pub fn probing(&self) -> bool {
        self.failures > BORNE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::party::OrgNumber;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn user(number: u32) -> SystemUserId {
        format!("11111111-1111-4111-8111-{number:012}").parse().unwrap()
    }

    fn vendor(number: &str) -> Account {
        Account::Vendor(number.parse::<OrgNumber>().unwrap())
    }

    #[test]
    fn what_is_used_more_is_read_more_and_never_outside_the_bounds() {
        // 10 as salt is neither earlier nor later.
        let interval = |idle| interval(idle, MINUTE, HOUR, 10);
        assert_eq!(interval(Duration::ZERO), MINUTE);
        assert_eq!(interval(2 * MINUTE), MINUTE);
        assert_eq!(interval(20 * MINUTE), 10 * MINUTE);
        assert_eq!(interval(2 * HOUR), HOUR);
        assert_eq!(interval(24 * HOUR), HOUR);
    }

    #[test]
    fn those_that_came_together_spread_by_a_tenth() {
        let at = |salt| interval(Duration::ZERO, 100 * SECOND, HOUR, salt);
        assert_eq!((0..100).map(at).min(), Some(90 * SECOND));
        assert_eq!((0..100).map(at).max(), Some(110 * SECOND));
    }

    #[test]
    fn a_vendor_with_many_delays_another_by_one_turn() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let (noisy, quiet) = (vendor("310000027"), vendor("310000035"));
        for number in 0..1000 {
            queue.push(noisy, user(number), false, now);
        }
        queue.push(quiet, user(5000), false, now);
        let first: Vec<_> =
            (0..2).filter_map(|_| queue.pop()).map(|(account, _)| account).collect();
        assert_eq!(first, [noisy, quiet]);
        assert_eq!(queue.len(), 999);
    }

    #[test]
    fn one_that_waits_waits_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(Account::Own, user(2), false, now);
        queue.push(Account::Own, user(1), false, now);
        queue.push(Account::Own, user(1), true, now);
        assert_eq!(queue.pop(), Some((Account::Own, user(1))), "urgent by now");
        assert_eq!(queue.pop(), Some((Account::Own, user(2))));
        assert_eq!(queue.pop(), None);
        queue.push(Account::Own, user(1), false, now);
        assert_eq!(queue.len(), 1, "taken out, it may come again");
    }

    #[test]
    fn what_is_urgent_goes_first_in_its_own_line_only() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(Account::Own, user(1), false, now);
        queue.push(vendor("310000027"), user(2), false, now);
        queue.push(Account::Own, user(3), true, now);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, id)| id).collect();
        assert_eq!(order, [user(3), user(2), user(1)]);
    }

    #[test]
    fn two_failures_are_weather_and_then_pauses_double_up_to_a_minute() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        // 25 as salt is neither earlier nor later; each fails when the pause before it is over.
        let mut pause = |retry_after| {
            backoff.failed(now, retry_after, 25);
            let pause = backoff.until.unwrap() - now;
            now += pause;
            pause
        };
        assert_eq!([pause(None), pause(None)], [Duration::ZERO; 2]);
        assert_eq!([pause(None), pause(None), pause(None)], [SECOND, 2 * SECOND, 4 * SECOND]);
        assert_eq!(pause(Some(20 * SECOND)), 20 * SECOND, "as the other side asks");
        for _ in 0..10 {
            pause(None);
        }
        assert_eq!(pause(None), MINUTE);
        backoff.succeeded();
        assert!(!backoff.pausing(now) && !backoff.probing());
    }

    #[test]
    fn those_that_fail_together_make_one_pause() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            backoff.failed(now, None, 25);
        }
        assert_eq!(backoff.until, Some(now + SECOND));
        backoff.failed(now + SECOND / 2, Some(SECOND), 25);
        assert_eq!(backoff.until, Some(now + 3 * SECOND / 2), "as the other side asks");
        backoff.failed(now + SECOND, Some(SECOND / 10), 25);
        assert_eq!(backoff.until, Some(now + 3 * SECOND / 2), "never shorter");
        assert!(!backoff.pausing(now + 3 * SECOND / 2));
        backoff.failed(now + 3 * SECOND / 2, None, 25);
        assert_eq!(backoff.until, Some(now + 7 * SECOND / 2), "the next one tells more");
    }
}
