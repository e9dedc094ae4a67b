//! What requests tell the task that keeps the register: sent and forgotten, never waited for.
//!
//! Every request may have something to tell, mostly what the one before it told. So the same notice is
//! sent once a second at most, and one that finds the queue full is dropped and counted: the next request
//! tells it again.

use super::ports::Account;
use crate::domain::resource::Question;
use crate::domain::salt::Salt;
use crate::domain::system_user::SystemUserId;
use crate::register::Seen;
use prometheus::IntCounter;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Notices that may wait.
const QUEUE: usize = 8192;
/// Notices remembered as told: a power of two.
const REMEMBERED: usize = 4096;

/// Something the register should do, when it can.
#[derive(Debug)]
pub enum Notice {
    /// Watch this system user: a verified token names it.
    Seen(Seen),
    /// Read what this system user may do: what is known is not fresh any more.
    Stale(SystemUserId),
    /// Read it, and the policies, since the PDP said no to what is derived from them.
    Doubted(SystemUserId),
    /// Ask this again behind: the answer held is not fresh any more.
    Reconfirm(Question, Account),
    /// Compare this derived permit with the PDP.
    Sample(Question),
}

/// Where notices go.
pub struct Notices {
    queue: mpsc::Sender<Notice>,
    told: Box<[AtomicU64]>,
    hasher: Salt,
    started: Instant,
    lost: IntCounter,
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}

impl Notices {
    /// A queue, and its other end. Counts in `lost` what finds it full.
    #[must_use]
    pub fn new(lost: IntCounter) -> (Self, mpsc::Receiver<Notice>) {
        Self::by(lost, Salt::random())
    }

    /// The same with this salt, by which it is told whether a notice was sent already.
    #[must_use]
    pub fn by(lost: IntCounter, salt: Salt) -> (Self, mpsc::Receiver<Notice>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let told = (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect();
        let (hasher, started) = (salt, Instant::now());
        (Self { queue, told, hasher, started, lost }, receiver)
    }

    /// A verified token names this system user.
    pub fn seen(&self, id: SystemUserId, seen: impl FnOnce() -> Seen) {
        self.once_a_second(("seen", id), || Notice::Seen(seen()));
    }

    /// What is known of this system user is not fresh any more.
    pub fn stale(&self, id: SystemUserId) {
        self.once_a_second(("stale", id), || Notice::Stale(id));
    }

    /// The answer held to this question is not fresh any more.
    pub fn reconfirm(&self, question: &Question, account: Account) {
        self.once_a_second(("reconfirm", question), || {
            Notice::Reconfirm(question.clone(), account)
        });
    }

    /// This derived permit is to be compared.
    pub fn sample(&self, question: &Question) {
        self.once_a_second(("sample", question), || Notice::Sample(question.clone()));
    }

    /// The PDP said no to what is derived of this system user. Always sent: a restart must know of it.
    pub fn doubted(&self, id: SystemUserId) {
        if self.queue.try_send(Notice::Doubted(id)).is_err() {
            self.lost.inc();
        }
    }

    /// A place holds the last notice that fell on it with its second. Two that share a place are both
    /// sent more often, and one with the hash of another a second later: nothing is lost but for a
    /// collision of 64 bits within a second.
    fn once_a_second(&self, what: impl Hash, notice: impl FnOnce() -> Notice) {
        let second = self.started.elapsed().as_secs();
        let hash = self.hasher.hash_one((what, second)).max(1);
        let place = usize::try_from(self.hasher.hash_one(hash) % 4096).unwrap_or(0);
        let Some(told) = self.told.get(place) else { return };
        if told.swap(hash, Ordering::Relaxed) != hash && self.queue.try_send(notice()).is_err() {
            // So that the next one tries again.
            told.store(0, Ordering::Relaxed);
            self.lost.inc();
        }
    }
}
