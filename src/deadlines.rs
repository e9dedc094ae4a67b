//! Limits on time that are hardly ever reached: how long a head may take to come, how long an answer.
//!
//! To set a timer and to take it back costs more than all else about such a limit. So a timer is not taken back: it goes on,
//! and whoever waits next takes it up as it is, and sets it anew only where it rings too early, once in a while.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep};

/// Most timers that go on without anybody who waits. Each may hold on to a task that has ended, until it rings.
const MOST: usize = 256;

/// Timers of one runtime that nobody waits for now.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    kept: Mutex<Vec<Pin<Box<Sleep>>>>,
}

/// Ends at its time; not before it.
#[derive(Debug)]
pub(crate) struct Deadline {
    end: Instant,
    /// Taken up by the first poll.
    timer: Option<Pin<Box<Sleep>>>,
    deadlines: Arc<Deadlines>,
}

impl Deadlines {
    /// A wait until `end`.
    pub(crate) fn at(self: &Arc<Self>, end: Instant) -> Deadline {
        Deadline { end, timer: None, deadlines: Arc::clone(self) }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Pin<Box<Sleep>>>> {
        // A list is whole after every operation on it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { end, timer, deadlines } = &mut *self;
        let timer = timer.get_or_insert_with(|| {
            let kept = deadlines.kept().pop();
            kept.unwrap_or_else(|| Box::pin(tokio::time::sleep_until(*end)))
        });
        if timer.deadline() > *end {
            timer.as_mut().reset(*end);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() == *end {
                return Poll::Ready(());
            }
            // It rang for who waited before.
            timer.as_mut().reset(*end);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let Some(timer) = self.timer.take() else { return };
        let mut kept = self.deadlines.kept();
        if kept.len() < MOST {
            kept.push(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(10);

    fn kept(deadlines: &Deadlines) -> usize {
        deadlines.kept().len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_time_whoever_waited_before() {
        let deadlines = Arc::new(Deadlines::default());
        let begun = Instant::now();
        // Given up early, in time, and of another length: the next is late by nothing.
        for (limit, given_up) in [(LIMIT, true), (LIMIT, false), (LIMIT * 3, true), (LIMIT, false)]
        {
            let before = Instant::now();
            let mut wait = deadlines.at(before + limit);
            assert!((&mut wait).now_or_never().is_none());
            if given_up {
                tokio::time::sleep(limit / 2).await;
                assert!((&mut wait).now_or_never().is_none());
            } else {
                wait.await;
                assert_eq!(before.elapsed(), limit);
            }
        }
        assert_eq!(begun.elapsed(), LIMIT / 2 + LIMIT + LIMIT * 3 / 2 + LIMIT);
        assert_eq!(kept(&deadlines), 1, "one timer for all");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_rang_while_nobody_waited_is_set_anew() {
        let deadlines = Arc::new(Deadlines::default());
        assert!(deadlines.at(Instant::now() + LIMIT).now_or_never().is_none());
        tokio::time::sleep(LIMIT * 5).await;
        let before = Instant::now();
        deadlines.at(before + LIMIT).await;
        assert_eq!(before.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn another_task_that_takes_a_timer_up_is_woken() {
        let deadlines = Arc::new(Deadlines::default());
        assert!(deadlines.at(Instant::now() + LIMIT).now_or_never().is_none());
        let before = Instant::now();
        tokio::spawn(deadlines.at(before + LIMIT)).await.unwrap();
        assert_eq!(before.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_that_waited_at_once_a_bounded_number_is_kept() {
        let deadlines = Arc::new(Deadlines::default());
        let end = Instant::now() + LIMIT;
        let mut all: Vec<_> = (0..MOST + 10).map(|_| deadlines.at(end)).collect();
        for wait in &mut all {
            assert!(wait.now_or_never().is_none());
        }
        drop(all);
        assert_eq!(kept(&deadlines), MOST);
    }
}
