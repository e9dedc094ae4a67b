//! Fills a register from what was saved, for people who look at it: nothing runs, and nothing is asked.

use super::mirror::{Mirror, MirrorReading, ResourceReading};
use super::ports::{AccessLists, Feed, PublishedResource, Saved, SavedUser, StorableQuestion};
use super::status::{Status, StatusReader};
use crate::config::RegisterConfig;
use crate::domain::resource::{ResourceId, Right};
use crate::register::{Restored, Seen, Tick, Ticks, Writer};
use std::collections::HashMap;
use std::time::SystemTime;
use tokio::time::Instant;

/// Takes facts one by one, in any order, and makes a register of them.
#[derive(Debug)]
pub struct Revival {
    ticks: Ticks,
    wall: SystemTime,
    resources: HashMap<ResourceId, PublishedResource>,
    lists: Option<AccessLists>,
    /// The earliest of the times at which something was known to be current.
    verified: Option<SystemTime>,
    users: Vec<Restored>,
    confirmations: Vec<(StorableQuestion, Tick)>,
}

/// What followed.
#[derive(Debug)]
pub struct Revived {
    /// As the task would tell.
    pub status: StatusReader,
    /// Permits of the PDP, and when it was asked.
    pub confirmations: Vec<(StorableQuestion, Tick)>,
}

impl Revival {
    /// Nothing taken yet; it is `wall` of the day now.
    #[must_use]
    pub fn new(ticks: Ticks, wall: SystemTime) -> Self {
        Self {
            ticks,
            wall,
            resources: HashMap::new(),
            lists: None,
            verified: None,
            users: Vec::new(),
            confirmations: Vec::new(),
        }
    }

    /// Takes one fact. What lies in the future, or too far back, is left out.
    pub fn take(&mut self, fact: Saved) {
        match fact {
            Saved::User(user) => self.users.extend(self.restored(*user)),
            Saved::Resource(resource) => {
                self.current_at(resource.verified);
                self.resources.insert(resource.id, resource.published);
            }
            Saved::AccessLists(saved) => {
                self.current_at(saved.fetched);
                self.lists = Some(saved.lists);
            }
            Saved::Confirmation(question, asked) => {
                if let Ok(asked) = self.ticks.from_wall(asked, self.wall) {
                    self.confirmations.push((question, asked));
                }
            }
            // What is gone is never loaded; the rest is for reading on.
            Saved::ForgetUser(_)
            | Saved::ResourceGone(_)
            | Saved::Unconfirm(_)
            | Saved::Catalogue(_)
            | Saved::Feed(_)
            | Saved::LastSaved(_) => {}
        }
    }

    fn current_at(&mut self, at: SystemTime) {
        self.verified = Some(self.verified.map_or(at, |before| before.min(at)));
    }

    fn restored(&self, user: SavedUser) -> Option<Restored> {
        let tick = |at| self.ticks.from_wall(at, self.wall).ok();
        let (fetched, changed) = (user.fetched.and_then(tick), tick(user.changed)?);
        let last_used = tick(user.last_used)?;
        let SavedUser { id, owner, system, vendor, parties, .. } = user;
        let seen = Seen { id, owner: Some(owner), system: Some(system), vendor: Some(vendor) };
        Some(Restored { seen, fetched, changed, last_used, parties })
    }

    /// Publishes all of it with `writer`, which must read the clock that this was begun with.
    #[must_use]
    pub fn publish(
        self,
        rights: &[Right],
        config: &RegisterConfig,
        writer: &mut Writer,
    ) -> Revived {
        let (ticks, now) = (self.ticks, Instant::now());
        let at = self.verified.and_then(|at| ticks.from_wall(at, self.wall).ok());
        let owner = config.access_lists_owner.clone();
        let mut mirror = Mirror::new(rights, config.policies, owner, now);
        if let Some(at) = at {
            let read =
                |(id, published)| ResourceReading { id, change: None, result: Ok(Some(published)) };
            let resources = self.resources.into_iter().map(read).collect();
            let (lists, feed) = (self.lists.map(Ok), Ok(Feed::Absent));
            let reading = MirrorReading { at, feed, resources, packages: None, lists };
            let _applied = mirror.apply(reading, ticks.now(), now);
            let index = |right: &Right| Some((writer.right_index(right)?, mirror.state(right)));
            let states = rights.iter().filter_map(index).collect();
            writer.set_policies(states);
            writer.policies_verified(at);
        }
        writer.restore(self.users);
        let status = StatusReader::default();
        status.change(|status: &mut Status| {
            status.verified = at;
            status.resources = mirror.tell(&rights.iter().collect::<Vec<_>>(), |_| false).into();
        });
        Revived { status, confirmations: self.confirmations }
    }
}
