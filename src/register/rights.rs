//! The rights that routes ask for, numbered once and for ever: a number never comes to mean another right, also when
//! routes change while the program runs.
//!
//! A question of a request names its right by copies of the texts in the configuration, which lie where they
//! always lay: so a right is mostly known by where it lies, without reading it.

use super::{RightIndex, TooManyRights};
use crate::domain::resource::Right;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The rights, and their numbers: those that are routed now, and those that were.
#[derive(Debug, Default)]
pub(super) struct Rights {
    indices: HashMap<Right, RightIndex>,
    /// In the order of their numbers.
    distinct: Vec<Right>,
    /// Sorted by where their texts lie. As long as they are here, nothing else comes to lie there.
    placed: Vec<(Place, RightIndex, Right)>,
}

/// Where the texts of a right lie: of the resource, and of the action.
type Place = (usize, usize);

impl Rights {
    /// Numbers them in order; one named twice counts once.
    pub(super) fn new(all: Vec<Right>) -> Result<Self, TooManyRights> {
        Self::default().next(all)
    }

    /// Those that are routed from now on. All that had a number keep it.
    pub(super) fn next(&self, all: Vec<Right>) -> Result<Self, TooManyRights> {
        let (mut indices, mut distinct) = (self.indices.clone(), self.distinct.clone());
        let mut placed = Vec::with_capacity(all.len());
        for right in all {
            let index = match indices.entry(right.clone()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let next = RightIndex::nth(distinct.len()).ok_or(TooManyRights)?;
                    distinct.push(right.clone());
                    *new.insert(next)
                }
            };
            placed.push((place(&right), index, right));
        }
        placed.sort_unstable_by_key(|(place, ..)| *place);
        Ok(Self { indices, distinct, placed })
    }

    /// The number of this right.
    pub(super) fn index(&self, right: &Right) -> Option<RightIndex> {
        let known = self.placed.binary_search_by_key(&place(right), |(place, ..)| *place);
        let placed = known.ok().and_then(|number| self.placed.get(number));
        placed.map(|(_, index, _)| *index).or_else(|| self.indices.get(right).copied())
    }

    /// Whether a route asks for it now.
    pub(super) fn is_routed(&self, index: RightIndex) -> bool {
        self.placed.iter().any(|(_, routed, _)| *routed == index)
    }

    /// Each of them, once, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Right, RightIndex)> {
        self.distinct.iter().zip(RightIndex::all(&self.distinct))
    }
}

fn place(right: &Right) -> Place {
    (right.resource.as_str().as_ptr().addr(), right.action.as_str().as_ptr().addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(resource: &str, action: &str) -> Right {
        Right { resource: resource.parse().unwrap(), action: action.parse().unwrap() }
    }

    #[test]
    fn a_right_has_the_same_number_wherever_its_texts_lie() {
        let (read, write) = (right("ex-returns", "read"), right("ex-returns", "write"));
        let again = right("ex-returns", "read");
        let all = vec![read.clone(), write.clone(), again.clone()];
        let rights = Rights::new(all).unwrap();
        let elsewhere = right("ex-returns", "write");
        for (right, number) in [(&read, 0), (&again, 0), (&write, 1), (&elsewhere, 1)] {
            assert_eq!(rights.index(right), Some(RightIndex(number)));
        }
        // Texts that are known, together for the first time.
        let mixed = Right { resource: read.resource.clone(), action: "sign".parse().unwrap() };
        assert_eq!(rights.index(&mixed), None);
        let mixed = Right { resource: read.resource.clone(), action: write.action.clone() };
        assert_eq!(rights.index(&mixed), Some(RightIndex(1)));
        assert!(rights.iter().map(|(right, _)| right).eq([&read, &write]));

        let sign = right("ex-returns", "sign");
        let later = rights.next(vec![sign.clone(), elsewhere.clone()]).unwrap();
        for (right, number, routed) in [(&read, 0, false), (&elsewhere, 1, true), (&sign, 2, true)]
        {
            assert_eq!(later.index(right), Some(RightIndex(number)));
            assert_eq!(later.is_routed(RightIndex(number)), routed);
        }
    }

    #[test]
    fn every_number_is_given_and_who_has_one_keeps_it_when_there_are_no_more() {
        let all: Vec<Right> = (0..65_535).map(|n| right("ex-returns", &format!("a{n}"))).collect();
        let rights = Rights::new(all.clone()).unwrap();
        assert_eq!(rights.iter().count(), all.len());
        let last = all.last().unwrap();
        assert_eq!(rights.iter().last(), Some((last, RightIndex(65_534))));
        let again = rights.next(vec![last.clone()]).unwrap();
        assert_eq!(again.index(last), Some(RightIndex(65_534)));
        let more = vec![last.clone(), right("ex-returns", "more")];
        assert_eq!(again.next(more).err(), Some(TooManyRights));
    }
}
