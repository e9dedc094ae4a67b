//! Who is next: accounts take turns, and those whom a request waits for go first. Pure; knows no time.

use crate::enforce::ports::{Account, Call, Urgency};
use std::collections::{HashMap, VecDeque};

/// Of the calls that somebody waits for, so many go before one that nobody waits for.
const WAITING_BEFORE_BEHIND: usize = 3;

/// Most that may stand in line, for each urgency.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) per_account: usize,
    pub(super) in_all: usize,
}

/// No room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

/// A place in line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    call: Call,
    number: u64,
}

/// All who wait.
#[derive(Debug)]
pub(super) struct Line<W> {
    room: Room,
    waiting: Lane<W>,
    behind: Lane<W>,
    /// Calls that somebody waits for, since one that nobody waits for last went or could have gone.
    in_a_row: usize,
    last_number: u64,
}

/// Accounts in the order of their turns; each has one waiter or more.
#[derive(Debug)]
struct Lane<W> {
    ring: VecDeque<Account>,
    queues: HashMap<Account, VecDeque<(u64, W)>>,
    length: usize,
}

impl<W> Lane<W> {
    fn new() -> Self {
        Self { ring: VecDeque::new(), queues: HashMap::new(), length: 0 }
    }

    fn ahead(&self, account: Account) -> usize {
        self.queues.get(&account).map_or(0, VecDeque::len)
    }

    fn push(&mut self, account: Account, number: u64, waiter: W) {
        let queue = self.queues.entry(account).or_default();
        if queue.is_empty() {
            self.ring.push_back(account);
        }
        queue.push_back((number, waiter));
        self.length += 1;
    }

    fn next(&mut self) -> Option<W> {
        let account = self.ring.pop_front()?;
        let queue = self.queues.get_mut(&account)?;
        let (_, waiter) = queue.pop_front()?;
        self.length -= 1;
        if queue.is_empty() {
            self.queues.remove(&account);
        } else {
            self.ring.push_back(account);
        }
        Some(waiter)
    }

    /// An account that has nobody left loses its turn.
    fn remove(&mut self, account: Account, number: u64) -> Option<W> {
        let queue = self.queues.get_mut(&account)?;
        let place = queue.iter().position(|(other, _)| *other == number)?;
        let (_, waiter) = queue.remove(place)?;
        self.length -= 1;
        if queue.is_empty() {
            self.queues.remove(&account);
            self.ring.retain(|other| *other != account);
        }
        Some(waiter)
    }
}

impl<W> Line<W> {
    pub(super) fn new(room: Room) -> Self {
        Self { room, waiting: Lane::new(), behind: Lane::new(), in_a_row: 0, last_number: 0 }
    }

    fn lane(&mut self, urgency: Urgency) -> &mut Lane<W> {
        match urgency {
            Urgency::Waiting => &mut self.waiting,
            Urgency::Behind => &mut self.behind,
        }
    }

    /// How many stand in line with this urgency.
    pub(super) fn length(&self, urgency: Urgency) -> usize {
        match urgency {
            Urgency::Waiting => self.waiting.length,
            Urgency::Behind => self.behind.length,
        }
    }

    /// How many of the same account and urgency would stand before `call`.
    pub(super) fn ahead(&self, call: Call) -> usize {
        match call.urgency {
            Urgency::Waiting => self.waiting.ahead(call.account),
            Urgency::Behind => self.behind.ahead(call.account),
        }
    }

    /// Stands in line, as the last of its account.
    pub(super) fn push(&mut self, call: Call, waiter: W) -> Result<Ticket, Full> {
        let room = self.room;
        let ahead = self.ahead(call);
        let lane = self.lane(call.urgency);
        if ahead >= room.per_account || lane.length >= room.in_all {
            return Err(Full);
        }
        self.last_number += 1;
        let number = self.last_number;
        self.lane(call.urgency).push(call.account, number, waiter);
        Ok(Ticket { call, number })
    }

    /// Leaves the line; `None` when it has been called already.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<W> {
        self.lane(ticket.call.urgency).remove(ticket.call.account, ticket.number)
    }

    /// Whose turn it is; those that nobody waits for only where `behind_may_go`.
    pub(super) fn turn(&self, behind_may_go: bool) -> Option<Urgency> {
        let behind = behind_may_go && self.behind.length > 0;
        match (self.waiting.length > 0, behind) {
            (false, false) => None,
            (true, false) => Some(Urgency::Waiting),
            (true, true) if self.in_a_row < WAITING_BEFORE_BEHIND => Some(Urgency::Waiting),
            (_, true) => Some(Urgency::Behind),
        }
    }

    /// Calls the next one.
    pub(super) fn next(&mut self, behind_may_go: bool) -> Option<(Urgency, W)> {
        let urgency = self.turn(behind_may_go)?;
        let behind_waits = behind_may_go && self.behind.length > 0;
        self.in_a_row = match urgency {
            Urgency::Waiting if behind_waits => self.in_a_row + 1,
            Urgency::Waiting | Urgency::Behind => 0,
        };
        Some((urgency, self.lane(urgency).next()?))
    }

    /// Empties the line.
    pub(super) fn drain(&mut self) -> Vec<W> {
        let lanes = [&mut self.waiting, &mut self.behind].map(|lane| {
            let Lane { queues, .. } = std::mem::replace(lane, Lane::new());
            queues.into_values().flatten().map(|(_, waiter)| waiter)
        });
        lanes.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::party::{CheckDigits, OrgNumber};
    use proptest::prelude::*;

    const ROOM: Room = Room { per_account: 3, in_all: 5 };

    fn vendor(number: usize) -> Account {
        let number = format!("{:09}", 910_000_000 + number);
        Account::Vendor(OrgNumber::parse(&number, CheckDigits::Ignored).unwrap())
    }

    fn call(account: Account, urgency: Urgency) -> Call {
        Call { account, urgency }
    }

    fn order(line: &mut Line<&'static str>, behind_may_go: bool) -> Vec<&'static str> {
        std::iter::from_fn(|| line.next(behind_may_go)).map(|(_, waiter)| waiter).collect()
    }

    #[test]
    fn accounts_take_turns_and_each_has_its_own_order() {
        let mut line = Line::new(Room { per_account: 9, in_all: 99 });
        for waiter in ["a1", "a2", "a3"] {
            line.push(call(vendor(1), Urgency::Waiting), waiter).unwrap();
        }
        line.push(call(vendor(2), Urgency::Waiting), "b1").unwrap();
        line.push(call(Account::Own, Urgency::Waiting), "own").unwrap();
        assert_eq!(order(&mut line, true), ["a1", "b1", "own", "a2", "a3"]);
    }

    #[test]
    fn one_in_four_turns_is_for_calls_that_nobody_waits_for() {
        let mut line = Line::new(Room { per_account: 99, in_all: 99 });
        for _ in 0..7 {
            line.push(call(vendor(1), Urgency::Waiting), "w").unwrap();
        }
        for _ in 0..3 {
            line.push(call(Account::Own, Urgency::Behind), "b").unwrap();
        }
        assert_eq!(order(&mut line, true).concat(), "wwwbwwwbwb");
        line.push(call(Account::Own, Urgency::Behind), "b").unwrap();
        assert_eq!(order(&mut line, false), [""; 0], "no place for it");
    }

    #[test]
    fn an_account_and_the_whole_line_are_bounded() {
        let mut line = Line::new(ROOM);
        let waiting = |number| call(vendor(number), Urgency::Waiting);
        for _ in 0..3 {
            line.push(waiting(1), ()).unwrap();
        }
        assert_eq!(line.push(waiting(1), ()).unwrap_err(), Full);
        line.push(waiting(2), ()).unwrap();
        line.push(waiting(2), ()).unwrap();
        assert_eq!(line.push(waiting(3), ()).unwrap_err(), Full);
        line.push(call(vendor(3), Urgency::Behind), ()).unwrap();
        assert_eq!((line.length(Urgency::Waiting), line.length(Urgency::Behind)), (5, 1));
        assert_eq!(line.drain().len(), 6);
        assert_eq!(line.turn(true), None);
    }

    proptest! {
        /// However calls come and leave: nobody is lost, called twice or overtaken within an account, and
        /// no account is called twice while another one that stood in line before is not.
        #[test]
        fn everyone_is_called_once_within_one_round(
            steps in proptest::collection::vec((0..4usize, 0..4usize), 1..200),
        ) {
            let mut line = Line::new(Room { per_account: 1000, in_all: 1000 });
            let (mut tickets, mut model) = (Vec::new(), Vec::<(usize, usize)>::new());
            let mut passed = [0usize; 4];
            for (index, (account, what)) in steps.into_iter().enumerate() {
                match what {
                    0 | 1 => {
                        let waiting = call(vendor(account), Urgency::Waiting);
                        tickets.push((index, line.push(waiting, (account, index)).unwrap()));
                        model.push((account, index));
                    }
                    2 if !tickets.is_empty() => {
                        let (index, ticket) = tickets.swap_remove(index % tickets.len());
                        let left = line.remove(ticket).map(|(_, index)| index);
                        let stood = model.iter().position(|(_, other)| *other == index);
                        prop_assert_eq!(left, stood.map(|_| index));
                        let left = stood.map(|place| model.remove(place).0);
                        // Who comes back stands last.
                        if let Some(gone) = left.filter(|left| model.iter().all(|(it, _)| it != left)) {
                            passed[gone] = 0;
                        }
                    }
                    _ => {
                        let Some((_, (account, index))) = line.next(true) else {
                            prop_assert!(model.is_empty());
                            continue;
                        };
                        let first = model.iter().position(|(other, _)| *other == account).unwrap();
                        prop_assert_eq!(model.remove(first).1, index, "in order");
                        for (other, passed) in passed.iter_mut().enumerate() {
                            let stands = model.iter().any(|(account, _)| *account == other);
                            *passed = if stands && other != account { *passed + 1 } else { 0 };
                            prop_assert!(*passed <= 3, "one round of four accounts");
                        }
                    }
                }
            }
            prop_assert_eq!(line.length(Urgency::Waiting), model.len());
        }
    }
}
