//! A list that never shrinks, cheap to copy with one more: readers hold old copies while it grows.

use std::sync::Arc;

/// Entries of one chunk.
const CHUNK: usize = 256;

/// The list. A clone shares all chunks; pushing copies only the last.
#[derive(Debug)]
pub(super) struct Chunked<T> {
    chunks: Vec<Arc<Vec<T>>>,
    length: usize,
}

impl<T> Clone for Chunked<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), length: self.length }
    }
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), length: 0 }
    }
}

impl<T: Clone> Chunked<T> {
    /// How many entries.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The entry of this number, counted from 0.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let number = usize::try_from(number).ok()?;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    /// Adds an entry at the end; its number is the length before.
    pub(super) fn push(&mut self, entry: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => Arc::make_mut(last).push(entry),
            _ => self.chunks.push(Arc::new(vec![entry])),
        }
        self.length += 1;
    }

    /// Puts an entry in the place of the one of this number, counted from 0, or at the end.
    pub(super) fn put(&mut self, number: u32, entry: T) {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let chunk = self.chunks.get_mut(number / CHUNK).map(Arc::make_mut);
        match chunk.and_then(|chunk| chunk.get_mut(number % CHUNK)) {
            Some(place) => *place = entry,
            None => self.push(entry),
        }
    }

    /// The entries in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T: Clone> FromIterator<T> for Chunked<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut list = Self::default();
        entries.into_iter().for_each(|entry| list.push(entry));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_copy_stays_as_it_was() {
        let mut list: Chunked<u32> = (0..300).collect();
        let old = list.clone();
        list.push(300);
        assert_eq!((old.len(), old.get(299), old.get(300)), (300, Some(&299), None));
        assert_eq!((list.len(), list.get(300)), (301, Some(&300)));
        assert!(list.iter().copied().eq(0..301));
        let old = list.clone();
        list.put(7, 1007);
        list.put(301, 301);
        assert_eq!(
            (old.get(7), old.len(), list.get(7), list.get(301)),
            (Some(&7), 301, Some(&1007), Some(&301))
        );
    }
}
