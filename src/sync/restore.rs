//! What was saved, taken up again: by the task at its start, and for people who look at a snapshot.

use super::mirror::Mirror;
use super::ports::{ReadFor, Saved, SavedUser, StorableQuestion};
use crate::domain::resource::Question;
use crate::register::{Restored, Seen, Tick, Ticks, Writer};
use std::time::SystemTime;

/// System users taken up at once from disk.
const TAKEN: usize = 4096;

/// Takes up what was saved, fact by fact, in any order.
pub(super) struct Restoring<'a> {
    writer: &'a mut Writer,
    mirror: &'a mut Mirror,
    confirm: &'a mut dyn FnMut(StorableQuestion, Tick),
    ticks: Ticks,
    wall: SystemTime,
    users: Vec<Restored>,
    read_for: Agreed,
    taken: Taken,
}

/// What all system users that are taken up were read for.
#[derive(Clone, Copy)]
enum Agreed {
    Nobody,
    All(ReadFor),
    Not,
}

/// What was taken up.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) users: usize,
    pub(super) answers: usize,
    pub(super) policies: usize,
    /// On what the PDP disagreed with the register, about a resource of ours. It is switched off.
    pub(super) disputed: Vec<Question>,
}

impl<'a> Restoring<'a> {
    /// It is `wall` of the day now; `confirm` takes each permit of the PDP.
    pub(super) fn new(
        writer: &'a mut Writer,
        mirror: &'a mut Mirror,
        confirm: &'a mut dyn FnMut(StorableQuestion, Tick),
        wall: SystemTime,
    ) -> Self {
        let ticks = writer.ticks().clone();
        let (users, taken) = (Vec::with_capacity(TAKEN), Taken::default());
        let read_for = Agreed::Nobody;
        Self { writer, mirror, confirm, ticks, wall, users, read_for, taken }
    }

    /// Takes up one fact. What is too old for the clock, or from the future, is passed over.
    pub(super) fn take(&mut self, saved: Saved) {
        match saved {
            Saved::User(user) => self.take_user(*user),
            Saved::Confirmation(question, asked) => {
                if let Some(asked) = self.tick(asked) {
                    (self.confirm)(question, asked);
                    self.taken.answers += 1;
                }
            }
            Saved::Resource(resource) => {
                if let Some(verified) = self.tick(resource.verified)
                    && self.mirror.restore(&resource.id, resource.published, verified)
                {
                    self.taken.policies += 1;
                }
            }
            Saved::Catalogue(packages) => self.mirror.restore_packages(packages),
            Saved::AccessLists(saved) => {
                if let Some(fetched) = self.tick(saved.fetched) {
                    self.mirror.restore_lists(&saved.owner, saved.lists, fetched);
                }
            }
            Saved::SwitchedOff(question) => {
                let question = question.question();
                if self.mirror.ids().any(|id| id == question.resource()) {
                    self.writer.switch_off(question.resource());
                    self.taken.disputed.push(question.clone());
                }
            }
            // Changes since are found by reading the feed from the beginning and every policy anew. What is
            // gone is never loaded.
            Saved::Feed(_)
            | Saved::LastSaved(_)
            | Saved::ForgetUser(_)
            | Saved::ResourceGone(_)
            | Saved::SwitchedOn(_)
            | Saved::Unconfirm(_)
            | Saved::UnconfirmAll => {}
        }
    }

    fn tick(&self, at: SystemTime) -> Option<Tick> {
        self.ticks.from_wall(at, self.wall).ok()
    }

    fn take_user(&mut self, user: SavedUser) {
        let times = (self.tick(user.changed), self.tick(user.last_used));
        let (Some(changed), Some(last_used)) = times else { return };
        let fetched = user.fetched.and_then(|at| self.tick(at));
        let lost = user.lost.and_then(|at| self.tick(at));
        if fetched.is_some() {
            self.read_for = match (self.read_for, user.read_for) {
                (Agreed::Nobody, Some(of)) => Agreed::All(of),
                (Agreed::All(all), Some(of)) if all == of => Agreed::All(all),
                (Agreed::Nobody | Agreed::All(_) | Agreed::Not, _) => Agreed::Not,
            };
        }
        let SavedUser { id, owner, system, vendor, parties, .. } = user;
        let seen = Seen { id, owner: Some(owner), system: Some(system), vendor: Some(vendor) };
        let parties = if fetched.is_some() { parties } else { Vec::new() };
        self.users.push(Restored { seen, fetched, changed, lost, last_used, parties });
        if self.users.len() >= TAKEN {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.taken.users += self.writer.restore(std::mem::take(&mut self.users));
    }

    /// The end of what was saved.
    pub(super) fn finish(mut self) -> Taken {
        self.hand_over();
        let read_for = match self.read_for {
            Agreed::All(read_for) => Some(read_for),
            Agreed::Nobody | Agreed::Not => None,
        };
        self.mirror.restore_read_for(read_for, self.ticks.now());
        self.taken
    }
}
