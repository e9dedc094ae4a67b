//! When Altinn may be called: the circuit, the pause that it asked for, and the declared ceiling. Pure:
//! each is told the time.

use crate::domain::time::UnixTime;
use http::HeaderMap;
use http::header::RETRY_AFTER;
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::Instant;

/// The longest pause that an answer can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// What callers are told while a probe is under way.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Stops calling what has failed several times in a row. After a while one call probes: when it does
/// well the circuit closes, otherwise it stays open as long again.
#[derive(Debug)]
pub(super) struct Circuit {
    failures_to_open: usize,
    open_for: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Closed { failures: usize },
    Open { until: Instant },
    Probing,
}

/// A call that the circuit let through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pass {
    Ordinary,
    Probe,
}

/// What a call says about the service as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sign {
    /// It answers, whatever it answers.
    Alive,
    /// It does not.
    Failed,
    /// It was not called after all.
    None,
}

/// What became of the circuit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Opened,
    Closed,
}

impl Circuit {
    pub(super) fn new(failures_to_open: usize, open_for: Duration) -> Self {
        Self { failures_to_open, open_for, state: State::Closed { failures: 0 } }
    }

    /// How long no call would be let through; `None` when one would be.
    pub(super) fn closed_to_calls(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until } => Some(until - now).filter(|remaining| !remaining.is_zero()),
            State::Probing => Some(PROBE_PAUSE),
        }
    }

    /// Lets a call through, or tells how long not. Every pass must be settled.
    pub(super) fn enter(&mut self, now: Instant) -> Result<Pass, Duration> {
        match (self.closed_to_calls(now), self.state) {
            (Some(remaining), _) => Err(remaining),
            (None, State::Closed { .. }) => Ok(Pass::Ordinary),
            (None, State::Open { .. } | State::Probing) => {
                self.state = State::Probing;
                Ok(Pass::Probe)
            }
        }
    }

    /// Takes in what a call showed.
    pub(super) fn settle(&mut self, pass: Pass, sign: Sign, now: Instant) -> Option<Change> {
        match (self.state, pass, sign) {
            (State::Probing, Pass::Probe, Sign::Alive) => {
                self.state = State::Closed { failures: 0 };
                Some(Change::Closed)
            }
            (State::Probing, Pass::Probe, Sign::Failed) => {
                self.state = State::Open { until: now + self.open_for };
                None
            }
            // The next call is the probe instead.
            (State::Probing, Pass::Probe, Sign::None) => {
                self.state = State::Open { until: now };
                None
            }
            (State::Closed { .. }, _, Sign::Alive) => {
                self.state = State::Closed { failures: 0 };
                None
            }
            (State::Closed { failures }, _, Sign::Failed) => {
                let failures = failures + 1;
                let opens = failures >= self.failures_to_open;
                self.state = if opens {
                    State::Open { until: now + self.open_for }
                } else {
                    State::Closed { failures }
                };
                opens.then_some(Change::Opened)
            }
            // A call from before the circuit opened ends late: only the probe counts now.
            (State::Closed { .. }, _, Sign::None)
            | (State::Open { .. }, _, _)
            | (State::Probing, Pass::Ordinary, _) => None,
        }
    }
}

/// No call before a time that the service named.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
}

impl Pause {
    /// How long no call may be made.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until - now).filter(|remaining| !remaining.is_zero())
    }

    /// Pauses from `now`; a pause under way is never cut short.
    pub(super) fn extend(&mut self, now: Instant, pause: Duration) {
        self.until = self.until.max(Some(now + pause));
    }
}

/// `Retry-After` in seconds or as a date, at most five minutes (RFC 9110 §10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: UnixTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(MAX_PAUSE, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        let date = UnixTime::from_seconds(i64::try_from(date.as_secs()).ok()?);
        now.until(date)
    };
    Some(pause.min(MAX_PAUSE))
}

/// The declared ceiling: in no second more calls than were declared, a few at once and then evenly
/// spread.
#[derive(Debug)]
pub(super) struct Turns {
    /// Time between turns.
    spacing: Duration,
    /// How far turns may run ahead of the spacing.
    slack: Duration,
    next: Option<Instant>,
}

impl Turns {
    /// A tenth of the ceiling may go at once; the spacing makes up for it, so that a burst and what
    /// follows within a second stay below the ceiling together.
    pub(super) fn per_second(ceiling: usize) -> Self {
        let ceiling = u32::try_from(ceiling).unwrap_or(u32::MAX).max(1);
        let burst = (ceiling / 10).max(1);
        // Rounded up: a nanosecond short would let one turn too many into a second.
        let spacing =
            Duration::from_nanos(1_000_000_000_u64.div_ceil((ceiling - burst + 1).into()));
        Self { spacing, slack: spacing * (burst - 1), next: None }
    }

    /// When a turn is free that has `ahead` others before it.
    pub(super) fn free_from(&self, now: Instant, ahead: usize) -> Instant {
        let ahead = self.spacing.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX));
        // So far away that nobody waits for it.
        let next =
            self.next_from(now).checked_add(ahead).unwrap_or(now + Duration::from_secs(86_400));
        next.checked_sub(self.slack).map_or(now, |turn| turn.max(now))
    }

    /// How many turns are free at once.
    pub(super) fn free(&self, now: Instant) -> usize {
        let used = self.next_from(now) - now;
        let left = self.slack.checked_sub(used);
        let free = left.map_or(0, |left| left.as_nanos() / self.spacing.as_nanos().max(1) + 1);
        usize::try_from(free).unwrap_or(usize::MAX)
    }

    /// The next free turn; `None`, and none taken, when it comes after `latest`.
    pub(super) fn take(&mut self, now: Instant, latest: Instant) -> Option<Instant> {
        let turn = self.free_from(now, 0);
        if turn > latest {
            return None;
        }
        self.next = Some(self.next_from(now) + self.spacing);
        Some(turn)
    }

    fn next_from(&self, now: Instant) -> Instant {
        self.next.map_or(now, |next| next.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::new(1, 10 * SECOND);
        let pass = circuit.enter(now).unwrap();
        assert_eq!(circuit.settle(pass, Sign::Failed, now), Some(Change::Opened));
        circuit
    }

    #[test]
    fn failures_in_a_row_open_the_circuit_and_any_answer_starts_the_row_anew() {
        let now = Instant::now();
        let mut circuit = Circuit::new(3, 10 * SECOND);
        for sign in
            [Sign::Failed, Sign::Failed, Sign::Alive, Sign::Failed, Sign::None, Sign::Failed]
        {
            assert_eq!(circuit.settle(Pass::Ordinary, sign, now), None);
            assert_eq!(circuit.enter(now), Ok(Pass::Ordinary));
        }
        assert_eq!(circuit.settle(Pass::Ordinary, Sign::Failed, now), Some(Change::Opened));
        assert_eq!(circuit.enter(now + SECOND), Err(9 * SECOND));
    }

    #[test]
    fn an_open_circuit_lets_one_probe_through_when_its_time_is_over() {
        let now = Instant::now();
        let mut circuit = opened(now);
        assert_eq!(circuit.enter(now + 10 * SECOND - MILLISECOND), Err(MILLISECOND));
        assert_eq!(circuit.enter(now + 10 * SECOND), Ok(Pass::Probe));
        assert_eq!(circuit.enter(now + 20 * SECOND), Err(PROBE_PAUSE), "one only");
        // Calls from before say nothing now.
        assert_eq!(circuit.settle(Pass::Ordinary, Sign::Alive, now + 20 * SECOND), None);
        assert!(circuit.enter(now + 20 * SECOND).is_err());
        assert_eq!(
            circuit.settle(Pass::Probe, Sign::Alive, now + 20 * SECOND),
            Some(Change::Closed)
        );
        assert_eq!(circuit.enter(now + 20 * SECOND), Ok(Pass::Ordinary));
    }

    #[test]
    fn a_probe_that_fails_keeps_the_circuit_open_and_one_that_never_went_out_leaves_its_place() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let later = now + 10 * SECOND;
        assert_eq!(circuit.enter(later), Ok(Pass::Probe));
        assert_eq!(circuit.settle(Pass::Probe, Sign::None, later), None);
        assert_eq!(circuit.enter(later), Ok(Pass::Probe));
        assert_eq!(circuit.settle(Pass::Probe, Sign::Failed, later), None);
        assert_eq!(circuit.enter(later + SECOND), Err(9 * SECOND));
    }

    #[test]
    fn a_pause_ends_on_time_and_is_never_cut_short() {
        let now = Instant::now();
        let mut pause = Pause::default();
        assert_eq!(pause.remaining(now), None);
        pause.extend(now, 10 * SECOND);
        pause.extend(now, SECOND);
        assert_eq!(pause.remaining(now + 9 * SECOND), Some(SECOND));
        assert_eq!(pause.remaining(now + 10 * SECOND), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
        let now = UnixTime::from_seconds(784_111_777);
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(7 * SECOND));
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read("99999"), Some(MAX_PAUSE));
        assert_eq!(read("99999999999999999999999"), Some(MAX_PAUSE));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10 * SECOND));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
        assert_eq!(read("Fri, 31 Dec 9999 23:59:59 GMT"), Some(MAX_PAUSE));
        for text in ["", "-1", "+1", "1.5", "soon", "Thu, 01 Jan 1960 00:00:00 GMT"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn no_second_holds_more_turns_than_the_ceiling() {
        for ceiling in [1, 2, 9, 10, 25, 50, 1000] {
            let start = Instant::now();
            let mut turns = Turns::per_second(ceiling);
            let latest = start + 60 * SECOND;
            let taken: Vec<_> =
                (0..ceiling * 3).filter_map(|_| turns.take(start, latest)).collect();
            assert_eq!(taken.len(), ceiling * 3);
            for (index, turn) in taken.iter().enumerate() {
                let within = taken[index..].iter().filter(|other| **other < *turn + SECOND).count();
                assert!(within <= ceiling, "{within} of {ceiling}");
            }
            let used = *taken.last().unwrap() - start;
            assert!(used <= 4 * SECOND, "{ceiling} a second took {used:?}");
        }
    }

    #[test]
    fn free_turns_are_those_that_can_be_taken_at_once() {
        for ceiling in [1, 9, 10, 50, 1000] {
            let now = Instant::now();
            let mut turns = Turns::per_second(ceiling);
            let free = turns.free(now);
            assert_eq!(free, (ceiling / 10).max(1));
            for left in (0..free).rev() {
                assert_eq!(turns.take(now, now), Some(now));
                assert_eq!(turns.free(now), left);
            }
            let next = turns.free_from(now, 0);
            assert!(next > now);
            assert_eq!(turns.take(now, next - Duration::from_nanos(1)), None);
            assert_eq!((turns.free(next), turns.take(next, next)), (1, Some(next)));
        }
    }

    #[test]
    fn a_turn_that_comes_too_late_is_not_taken() {
        let now = Instant::now();
        let mut turns = Turns::per_second(1);
        assert_eq!(turns.take(now, now), Some(now));
        assert_eq!(turns.take(now, now + SECOND - MILLISECOND), None);
        assert_eq!(turns.take(now, now + SECOND), Some(now + SECOND));
        let later = now + 10 * SECOND;
        assert_eq!(turns.take(later, later), Some(later), "nothing is saved up beyond the burst");
        assert_eq!(turns.take(later, later), None);
    }
}
