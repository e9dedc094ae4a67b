//! The system users that are to be read: who waits, who is being read, and who is tried again later.

use super::bound::{LOOK, ROUND};
use super::schedule::{Backoff, Queue, interval};
use crate::config::RegisterConfig;
use crate::domain::decision::{Cause, Undecided};
use crate::domain::party::OrgNumber;
use crate::domain::salt::Salt;
use crate::domain::system_user::SystemUserId;
use crate::enforce::ports::Account;
use crate::register::{SHARDS, Scanned, Tick, Ticks, Writer};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// Readings under way at once.
const FLYING: usize = 16;
/// Failed readings that are remembered to be tried again; the others wait for the next round.
const RETRIES: usize = 4096;
/// An entry that was used so lately is one that somebody relies on.
const LATELY: Duration = Duration::from_secs(300);
const LAST_RETRY: Duration = Duration::from_secs(300);
/// A reading that has not ended by then never will.
const LOST: Duration = Duration::from_secs(600);

/// Who is to be read.
pub(super) struct Users {
    queue: Queue,
    flying: HashMap<SystemUserId, Instant>,
    again: HashSet<SystemUserId>,
    retries: BTreeMap<SystemUserId, Retry>,
    backoff: Backoff,
    /// What was read up to then may lack something that is looked for since.
    grown: Option<Tick>,
    next_shard: usize,
    oldest: Oldest,
    salt: Salt,
    /// Readings that failed since the start.
    failed: u64,
}

#[derive(Clone, Copy)]
struct Retry {
    account: Account,
    failures: u32,
    due: Instant,
}

/// When the oldest of the entries was read that somebody relies on.
#[derive(Clone, Copy, Default)]
struct Oldest {
    this_round: Option<Tick>,
    last_round: Option<Tick>,
}

impl Users {
    pub(super) fn new() -> Self {
        Self {
            queue: Queue::default(),
            flying: HashMap::new(),
            again: HashSet::new(),
            retries: BTreeMap::new(),
            backoff: Backoff::default(),
            grown: None,
            next_shard: 0,
            oldest: Oldest::default(),
            salt: Salt::random(),
            failed: 0,
        }
    }

    /// Spreads readings by this salt.
    pub(super) fn spread_by(&mut self, salt: Salt) {
        self.salt = salt;
    }

    /// Has a system user read soon; one that is being read is read again.
    pub(super) fn want(&mut self, account: Account, id: SystemUserId, urgent: bool, now: Instant) {
        if self.flying.contains_key(&id) {
            self.again.insert(id);
        } else {
            self.queue.push(account, id, urgent, now);
        }
    }

    /// All that is looked for is looked for since then: who was read before, and is relied on, is read again.
    pub(super) fn grown(&mut self, at: Option<Tick>) {
        self.grown = at;
    }

    /// Takes the next one to be read, if there is room and no pause.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Account, SystemUserId)> {
        let room = if self.backoff.probing() { 1 } else { FLYING };
        if self.flying.len() >= room || self.backoff.pausing(now) {
            return None;
        }
        let (account, id) = self.queue.pop()?;
        self.flying.insert(id, now);
        Some((account, id))
    }

    /// A reading has given an answer.
    pub(super) fn succeeded(&mut self, account: Account, id: SystemUserId, now: Instant) {
        self.backoff.succeeded();
        self.retries.remove(&id);
        self.landed(account, id, now);
    }

    /// A reading has failed. It is tried again later, and all others wait when many have.
    pub(super) fn failed(
        &mut self,
        account: Account,
        id: SystemUserId,
        undecided: Undecided,
        now: Instant,
    ) {
        // What one system user's answer, or our own bounds, brought about says nothing of the others.
        if !matches!(undecided.cause, Cause::Unreadable | Cause::Busy | Cause::Indeterminate) {
            self.failed = self.failed.wrapping_add(1);
            self.backoff.failed(now, undecided.retry_after, self.salt.hash_one(self.failed));
        }
        self.again.remove(&id);
        self.flying.remove(&id);
        let failures = self.retries.get(&id).map_or(0, |retry| retry.failures).saturating_add(1);
        let delay = Duration::from_secs(2u64.saturating_pow(failures.min(10))).min(LAST_RETRY);
        if self.retries.len() < RETRIES || self.retries.contains_key(&id) {
            self.retries.insert(id, Retry { account, failures, due: now + delay });
        }
    }

    fn landed(&mut self, account: Account, id: SystemUserId, now: Instant) {
        self.flying.remove(&id);
        if self.again.remove(&id) {
            self.queue.push(account, id, true, now);
        }
    }

    /// Every [`LOOK`]: puts in line who is due among a slice of all, and who is to be tried again. Gives those
    /// in doubt.
    pub(super) fn look_over(
        &mut self,
        writer: &Writer,
        ticks: &Ticks,
        config: &RegisterConfig,
        now: Instant,
    ) -> Vec<SystemUserId> {
        self.flying.retain(|_, begun| now.duration_since(*begun) < LOST);
        let due: Vec<_> = self
            .retries
            .iter()
            .filter(|(_, retry)| retry.due <= now)
            .map(|(id, r)| (*id, *r))
            .collect();
        for (id, retry) in due {
            // Stays in line for its count of failures; a success takes it out.
            let later = Retry { due: now + LAST_RETRY, ..retry };
            self.retries.insert(id, later);
            self.want(retry.account, id, false, now);
        }
        let slice = self.slice(config.refresh_least);
        let mut due = Vec::new();
        let mut oldest = self.oldest.this_round;
        writer.scan(slice, &mut |user| {
            if ticks.age(user.last_used) < LATELY {
                oldest = [oldest, user.fetched].into_iter().flatten().min();
            }
            if self.is_due(&user, ticks, config) {
                due.push(user);
            }
        });
        self.oldest.this_round = oldest;
        if self.next_shard == 0 {
            self.oldest = Oldest { this_round: None, last_round: oldest };
        }
        // Who is used most goes first.
        due.sort_by_key(|user| std::cmp::Reverse(user.last_used));
        let doubted = due.iter().filter(|user| user.doubted).map(|user| user.id).collect();
        for user in due.into_iter().filter(|user| !self.flying.contains_key(&user.id)) {
            self.queue.push(account(&user), user.id, user.doubted, now);
        }
        doubted
    }

    /// These are watched no longer.
    pub(super) fn forget(&mut self, gone: &[SystemUserId]) {
        for id in gone {
            self.retries.remove(id);
        }
    }

    /// The shards that are looked over this time.
    fn slice(&mut self, least: Duration) -> Range<usize> {
        let looks = ROUND.min(least).as_millis().div_euclid(LOOK.as_millis()).max(1);
        let count = SHARDS.div_ceil(usize::try_from(looks).unwrap_or(1));
        let begin = self.next_shard;
        let end = (begin + count).min(SHARDS);
        self.next_shard = if end == SHARDS { 0 } else { end };
        begin..end
    }

    fn is_due(&self, user: &Scanned, ticks: &Ticks, config: &RegisterConfig) -> bool {
        let Some(fetched) = user.fetched else { return !self.retries.contains_key(&user.id) };
        let salt = self.salt.hash_one(user.id);
        let idle = ticks.age(user.last_used);
        let interval = interval(idle, config.refresh_least, config.refresh_most, salt);
        let lacking = idle < config.refresh_most && self.grown.is_some_and(|at| fetched <= at);
        let due = user.doubted || lacking || ticks.age(fetched) >= interval;
        due && !self.retries.contains_key(&user.id)
    }

    /// How many wait to be read, and for how long at most.
    pub(super) fn waiting(&self, now: Instant) -> (usize, Duration) {
        (self.queue.len(), self.queue.lag(now))
    }

    /// When the oldest entry was read of all that were used in the last minutes.
    pub(super) fn oldest(&self) -> Option<Tick> {
        let Oldest { this_round, last_round } = self.oldest;
        [this_round, last_round].into_iter().flatten().min()
    }
}

/// Whose share of the calls a vendor's system uses; ours where no token has named the vendor yet.
pub(super) fn payer(vendor: Option<OrgNumber>) -> Account {
    vendor.map_or(Account::Own, Account::Vendor)
}

/// Whose share of the calls a reading uses.
pub(super) fn account(user: &Scanned) -> Account {
    payer(user.vendor)
}
