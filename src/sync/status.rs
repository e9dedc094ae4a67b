//! What the task that keeps the register tells about itself: one value, replaced whole, read by the admin
//! listener and the command line. Who reads it never waits for the task.

use crate::domain::delegation::PackageId;
use crate::domain::resource::{ActionId, ResourceId};
use crate::register::{NotDerived, PolicyVersion, Tick};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

/// How it stands.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Readings of the policies that have come back, complete or not.
    pub policy_readings: u64,
    /// When all policies were last known to be the current ones.
    pub verified: Option<Tick>,
    /// The resources of our routes, by name.
    pub resources: Arc<[ResourceStatus]>,
    /// Access packages that their policies name, sorted: what is kept of what system users hold.
    pub packages: Arc<[PackageId]>,
    /// System users waiting to be read.
    pub waiting: usize,
    /// How late the one is that has waited longest.
    pub lag: Duration,
    /// When the oldest entry was read of those used within the last minutes.
    pub oldest: Option<Tick>,
}

/// What is known of one resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResourceStatus {
    /// Its id.
    pub id: ResourceId,
    /// `unread`, `missing`, `read` or `not_understood`.
    pub state: &'static str,
    /// Which policy.
    pub version: Option<PolicyVersion>,
    /// When that last became another, or was first read.
    pub changed: Option<Tick>,
    /// Whether the party must stand on an access list.
    pub access_list: bool,
    /// Whether nothing is derived from it, since the PDP disagreed.
    pub switched_off: bool,
    /// The routed actions on it, and whether they can be derived.
    pub actions: Vec<(ActionId, Result<(), NotDerived>)>,
}

/// Reads the latest status; a clone is as good.
#[derive(Clone, Debug, Default)]
pub struct StatusReader(Arc<ArcSwap<Status>>);

impl StatusReader {
    /// As it was told last: at most a second ago, while the task runs.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.0.load_full()
    }

    /// Puts a changed status in the place of the old one. There is one writer.
    pub(super) fn change(&self, change: impl FnOnce(&mut Status)) {
        let mut status = Status::clone(&self.0.load());
        change(&mut status);
        self.0.store(Arc::new(status));
    }
}
