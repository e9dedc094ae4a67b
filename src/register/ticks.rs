//! The register's clock: when something was fetched, changed or used, in little room.
//!
//! Runs on the monotonic clock, so nobody makes an answer young by setting the time of day. A machine
//! that slept tells so with [`Ticks::skip`].

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Nanoseconds of one tick: a tenth of a second.
const NANOS: u64 = 100_000_000;

/// How long before the start of the program the clock begins: older facts are not kept.
pub const HISTORY: Duration = Duration::from_secs(100 * 24 * 3600);

/// A moment, in tenths of a second since [`HISTORY`] before the program started. Good for 13 years.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tick(NonZeroU32);

impl Tick {
    /// Before everything that is marked while the program runs.
    pub(crate) const EARLIEST: Self = Self(NonZeroU32::MIN);

    /// The moment as a number, never 0.
    pub(super) fn number(self) -> u32 {
        self.0.get()
    }

    /// What [`number`](Self::number) gave; 0 is no moment.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    fn begin(self) -> u64 {
        u64::from(self.0.get()) * NANOS
    }

    /// The tick that holds this moment; a moment past the last one counts as the last, so older.
    fn holding(nanos: u64) -> Option<Self> {
        Self::from_number(u32::try_from(nanos / NANOS).unwrap_or(u32::MAX))
    }
}

/// Why a time of day is no moment of this clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidWall {
    /// It has not come yet, by the time of day now: one of the two clocks is wrong.
    #[error("the time lies in the future")]
    Future,
    /// It lies further back than [`HISTORY`].
    #[error("the time is too long ago")]
    TooOld,
}

/// What the clock showed: for who needs the time more than once, and reads the clock once.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

impl Moment {
    /// The moment, rounded down as by [`Ticks::now`].
    #[must_use]
    pub fn tick(self) -> Tick {
        Tick::holding(self.0).unwrap_or(Tick(NonZeroU32::MIN))
    }

    /// How long before this moment `since` began, as by [`Ticks::age`]; zero for what came after it.
    #[must_use]
    pub fn age(self, since: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(since.begin()))
    }
}

/// The clock itself. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Ticks {
    start: Instant,
    skipped: Arc<AtomicU64>,
}

impl Default for Ticks {
    fn default() -> Self {
        Self::new()
    }
}

impl Ticks {
    /// Starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now(), skipped: Arc::default() }
    }

    /// Now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(self.nanos())
    }

    /// Now, rounded down, so that what is marked with it counts as up to a tenth of a second older than
    /// it is.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.moment().tick()
    }

    /// How long ago `since` began: never less than the true age of what was marked with it.
    #[must_use]
    pub fn age(&self, since: Tick) -> Duration {
        self.moment().age(since)
    }

    /// The moment `age` ago, rounded down; `None` when that is before the clock began.
    #[must_use]
    pub fn ago(&self, age: Duration) -> Option<Tick> {
        let age = u64::try_from(age.as_nanos()).ok()?;
        Tick::holding(self.nanos().checked_sub(age)?)
    }

    /// Ages everything by `missed`: time that passed while the monotonic clock stood still.
    pub fn skip(&self, missed: Duration) {
        let missed = u64::try_from(missed.as_nanos()).unwrap_or(u64::MAX);
        let add = |skipped: u64| Some(skipped.saturating_add(missed));
        // The closure never refuses.
        let _previous = self.skipped.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// The time of day at which `since` began, when it is `wall` now.
    #[must_use]
    pub fn to_wall(&self, since: Tick, wall: SystemTime) -> SystemTime {
        wall.checked_sub(self.age(since)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The moment at which it was `then` of the day, when it is `wall` now.
    ///
    /// # Errors
    /// [`InvalidWall`] for a time that has not come, or is further back than this clock.
    pub fn from_wall(&self, then: SystemTime, wall: SystemTime) -> Result<Tick, InvalidWall> {
        let age = wall.duration_since(then).map_err(|_| InvalidWall::Future)?;
        self.ago(age).ok_or(InvalidWall::TooOld)
    }

    fn nanos(&self) -> u64 {
        let run = u64::try_from((HISTORY + self.start.elapsed()).as_nanos()).unwrap_or(u64::MAX);
        run.saturating_add(self.skipped.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn an_age_is_never_told_younger_than_it_is() {
        let ticks = Ticks::new();
        advance(ms(199)).await;
        let marked = ticks.now();
        assert_eq!(ticks.age(marked), ms(99), "marked at 0.1 s, which had begun 99 ms ago");
        advance(ms(1)).await;
        assert_eq!(ticks.age(marked), ms(100));
        assert!(ticks.now() > marked);
        advance(ms(29_799)).await;
        assert_eq!(ticks.age(marked), ms(29_899));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_of_the_machine_ages_everything() {
        let ticks = Ticks::new();
        let (marked, clone) = (ticks.now(), ticks.clone());
        ticks.skip(Duration::from_secs(3600));
        assert_eq!(clone.age(marked), Duration::from_secs(3600));
        ticks.skip(Duration::MAX);
        assert!(clone.age(marked) > HISTORY);
        assert!(clone.now() > marked);
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_survives_the_way_over_the_time_of_day_and_only_ages() {
        let ticks = Ticks::new();
        advance(ms(12_345)).await;
        let marked = ticks.now();
        advance(ms(777)).await;
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(500_000 * 3600);
        let then = ticks.to_wall(marked, wall);
        assert_eq!(ticks.from_wall(then, wall), Ok(marked));
        // The next start, ten seconds of the day later.
        let next = Ticks::new();
        let restored = next.from_wall(then, wall + ms(10_000)).unwrap();
        let age = next.age(restored);
        assert!(age >= ms(10_822) && age < ms(10_922), "{age:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_in_the_future_or_too_long_ago_is_refused() {
        let ticks = Ticks::new();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(500_000 * 3600);
        assert_eq!(ticks.from_wall(wall, wall), Ok(ticks.now()));
        assert_eq!(ticks.from_wall(wall + ms(1), wall), Err(InvalidWall::Future));
        let oldest = HISTORY.checked_sub(ms(100)).unwrap();
        assert!(ticks.from_wall(wall - oldest, wall).is_ok());
        assert_eq!(ticks.from_wall(wall - oldest - ms(1), wall), Err(InvalidWall::TooOld));
        assert_eq!(ticks.ago(HISTORY * 2), None);
    }
}
