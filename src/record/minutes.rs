//! The last hour, minute by minute. On a clock that only goes forward; bounded by its number of minutes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many minutes are kept, the running one included.
pub const MINUTES: usize = 60;

const MINUTE: u64 = 60;

/// What was noted in each of the last [`MINUTES`] minutes. A minute in which nothing was is not there.
#[derive(Clone, Debug)]
pub struct Minutes<T> {
    begun: Instant,
    kept: VecDeque<(u64, Arc<T>)>,
}

impl<T: Clone + Default> Minutes<T> {
    /// Begins the first minute.
    #[must_use]
    pub fn new() -> Self {
        Self { begun: Instant::now(), kept: VecDeque::new() }
    }

    /// For how long it has gone on.
    #[must_use]
    pub fn since_begun(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Notes something in the running minute. What is too old is forgotten.
    pub fn note(&mut self, note: impl FnOnce(&mut T)) {
        let minute = self.minute();
        if self.kept.back().is_none_or(|(last, _)| *last < minute) {
            self.kept.push_back((minute, Arc::default()));
            while self.kept.front().is_some_and(|(first, _)| is_over(*first, minute)) {
                self.kept.pop_front();
            }
        }
        if let Some((_, last)) = self.kept.back_mut() {
            // Copied only while somebody looks at it.
            note(Arc::make_mut(last));
        }
    }

    /// What was noted, each with how many minutes ago it was, the oldest first. Copies nothing.
    #[must_use]
    pub fn told(&self) -> Vec<(usize, Arc<T>)> {
        let minute = self.minute();
        let told = self.kept.iter().filter_map(|(number, noted)| {
            let ago = usize::try_from(minute.saturating_sub(*number)).ok()?;
            (ago < MINUTES).then(|| (ago, Arc::clone(noted)))
        });
        told.collect()
    }

    fn minute(&self) -> u64 {
        self.begun.elapsed().as_secs() / MINUTE
    }
}

impl<T: Clone + Default> Default for Minutes<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn is_over(minute: u64, now: u64) -> bool {
    usize::try_from(now.saturating_sub(minute)).is_ok_and(|ago| ago >= MINUTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn told(minutes: &Minutes<Vec<u8>>) -> Vec<(usize, Vec<u8>)> {
        minutes.told().into_iter().map(|(ago, noted)| (ago, noted.to_vec())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_is_kept_to_the_minute_and_no_more() {
        let mut minutes = Minutes::<Vec<u8>>::new();
        assert_eq!(told(&minutes), []);
        minutes.note(|it| it.push(1));
        advance(Duration::from_secs(59)).await;
        minutes.note(|it| it.push(2));
        assert_eq!(told(&minutes), [(0, vec![1, 2])]);
        advance(Duration::from_secs(1)).await;
        assert_eq!(told(&minutes), [(1, vec![1, 2])], "nothing in the running one");
        minutes.note(|it| it.push(3));
        advance(Duration::from_secs(58 * MINUTE)).await;
        assert_eq!(told(&minutes), [(59, vec![1, 2]), (58, vec![3])]);
        advance(Duration::from_secs(MINUTE)).await;
        assert_eq!(told(&minutes), [(59, vec![3])], "also where nothing was noted since");
        for _ in 0..200 {
            advance(Duration::from_secs(MINUTE)).await;
            minutes.note(|it| it.push(4));
        }
        assert_eq!((minutes.kept.len(), told(&minutes).len()), (MINUTES, MINUTES));
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_looks_at_does_not_change() {
        let mut minutes = Minutes::<Vec<u8>>::new();
        minutes.note(|it| it.push(1));
        let before = minutes.told();
        minutes.note(|it| it.push(2));
        assert_eq!((*before[0].1).clone(), [1]);
        assert_eq!(told(&minutes), [(0, vec![1, 2])]);
    }
}
