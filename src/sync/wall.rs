//! Watches the wall clock against the monotonic one. Ages run on the monotonic clock, which stands still
//! while a machine sleeps: a jump ahead is taken for such a sleep, and everything held is as much older.
//! The other mistake, a clock that was set right, costs some questions and no more.

use crate::clock::Clock;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Differences that adjustment and scheduling make.
const BORNE: Duration = Duration::from_secs(2);

pub(super) struct Wall {
    clock: Arc<dyn Clock>,
    last: SystemTime,
    instant: Instant,
}

/// The wall clock jumped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Jump {
    Forward(Duration),
    Back(Duration),
}

impl Wall {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let last = clock.wall();
        Self { clock, last, instant: Instant::now() }
    }

    /// Whether the clock has jumped since it was last looked at.
    pub(super) fn look(&mut self) -> Option<Jump> {
        let (wall, instant) = (self.clock.wall(), Instant::now());
        let passed = instant.duration_since(self.instant);
        let expected = self.last.checked_add(passed).unwrap_or(wall);
        (self.last, self.instant) = (wall, instant);
        match wall.duration_since(expected) {
            Ok(ahead) if ahead > BORNE => Some(Jump::Forward(ahead)),
            Err(behind) if behind.duration() > BORNE => Some(Jump::Back(behind.duration())),
            Ok(_) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct SetClock(Mutex<SystemTime>);

    impl Clock for SetClock {
        fn now(&self) -> crate::domain::time::UnixTime {
            unreachable!("only the exact time is asked for")
        }

        fn wall(&self) -> SystemTime {
            *self.0.lock().unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_is_what_the_monotonic_clock_does_not_explain() {
        const SECOND: Duration = Duration::from_secs(1);
        let start = SystemTime::UNIX_EPOCH + 100_000 * SECOND;
        let clock = Arc::new(SetClock(Mutex::new(start)));
        let mut wall = Wall::new(Arc::<SetClock>::clone(&clock));
        let cases = [
            ("in step", 3600, 3600, None),
            ("a little fast", 12, 10, None),
            ("asleep for an hour", 3601, 1, Some(Jump::Forward(3600 * SECOND))),
            ("set back by an hour", 0, 3600, Some(Jump::Back(3600 * SECOND))),
            ("a little slow", 10, 12, None),
        ];
        for (why, seconds, passed, expected) in cases {
            *clock.0.lock().unwrap() += seconds * SECOND;
            tokio::time::advance(passed * SECOND).await;
            assert_eq!(wall.look(), expected, "{why}");
            assert_eq!(wall.look(), None, "{why}: told once");
        }
    }
}
