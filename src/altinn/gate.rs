//! The one gate that every call to Altinn passes: the declared ceiling of calls a second, the places in
//! flight, and the pause that Altinn asked for.
//!
//! When calls wait, accounts take turns, so that a noisy vendor exhausts its own share only; an account
//! that is alone gets everything. A call that a request waits for goes before one that keeps the register
//! fresh, three times out of four at most; the latter hold at most three quarters of the places. Nothing
//! runs here while nobody waits.

mod line;

use super::limits::{Pause, Turns};
use crate::domain::decision::{Cause, Undecided};
use crate::enforce::ports::{Call, Urgency};
use crate::telemetry::metrics::Metrics;
use line::{Line, Room, Ticket};
use prometheus::{IntCounterVec, IntGauge};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Most that may wait, an account and in all, for each urgency.
const ROOM: Room = Room { per_account: 1024, in_all: 8192 };
/// What callers are told when our own bounds refuse a call.
const OWN_PAUSE: Duration = Duration::from_secs(1);

/// The gate; clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    places: usize,
    /// Those of them that calls nobody waits for may hold.
    behind_places: usize,
    runtime: Handle,
    gauges: Gauges,
}

struct State {
    line: Line<Waiter>,
    turns: Turns,
    pause: Pause,
    in_flight: usize,
    behind_in_flight: usize,
    /// Whether a timer calls the next one at the next turn.
    timer: bool,
}

struct Gauges {
    waiting: IntGauge,
    behind: IntGauge,
    in_flight: IntGauge,
    left: IntGauge,
    passed: IntCounterVec,
}

type Waiter = oneshot::Sender<Result<Place, Refused>>;

/// How busy the gate is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Load {
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls that wait, with a request waiting for them.
    pub waiting: usize,
    /// Calls that wait, with nobody waiting for them.
    pub behind: usize,
    /// Calls that could go at once as far as the ceiling is concerned; none while Altinn asked for a pause.
    pub free_turns: usize,
}

/// A place in flight, with the turn for one call. Free again when dropped.
pub struct Place {
    shared: Arc<Shared>,
    urgency: Urgency,
    /// Whether it was waited for.
    pub(super) waited: bool,
}

/// No call now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// Our own bounds leave no turn or place in time, or no room to wait for one.
    Bounds,
    /// Altinn asked for a pause, so long still.
    Paused(Duration),
}

impl From<Refused> for Undecided {
    fn from(refused: Refused) -> Self {
        let (cause, pause) = match refused {
            Refused::Bounds => (Cause::Busy, OWN_PAUSE),
            Refused::Paused(remaining) => (Cause::Throttled, remaining),
        };
        Self { cause, retry_after: Some(pause) }
    }
}

impl Gate {
    /// A gate with nobody in flight. Its timer runs on `runtime`.
    #[must_use]
    pub fn new(
        requests_per_second: NonZeroUsize,
        max_in_flight: NonZeroUsize,
        metrics: &Metrics,
        runtime: Handle,
    ) -> Self {
        let places = max_in_flight.get();
        let waiting = |urgency| metrics.altinn_waiting.with_label_values(&[urgency]);
        let state = State {
            line: Line::new(ROOM),
            turns: Turns::per_second(requests_per_second.get()),
            pause: Pause::default(),
            in_flight: 0,
            behind_in_flight: 0,
            timer: false,
        };
        let gauges = Gauges {
            waiting: waiting("waiting"),
            behind: waiting("behind"),
            in_flight: metrics.altinn_in_flight.clone(),
            left: metrics.altinn_calls_left.clone(),
            passed: metrics.altinn_gate.clone(),
        };
        // One of one place: without it nothing would ever be kept fresh.
        let behind_places = (places - places.div_ceil(4)).max(1);
        let state = Mutex::new(state);
        Self { shared: Arc::new(Shared { state, places, behind_places, runtime, gauges }) }
    }

    /// How busy the gate is.
    #[must_use]
    pub fn load(&self) -> Load {
        let (state, now) = (self.shared.state(), Instant::now());
        let paused = state.pause.remaining(now).is_some();
        Load {
            in_flight: state.in_flight,
            waiting: state.line.length(Urgency::Waiting),
            behind: state.line.length(Urgency::Behind),
            free_turns: if paused { 0 } else { state.turns.free(now) },
        }
    }

    /// Sets the gauge of calls that are left, which come back with time alone: to be called whenever
    /// somebody looks.
    pub fn observe(&self) {
        let left = i64::try_from(self.load().free_turns).unwrap_or(i64::MAX);
        self.shared.gauges.left.set(left);
    }

    /// How long Altinn asked not to be called.
    #[must_use]
    pub fn paused(&self) -> Option<Duration> {
        self.shared.state().pause.remaining(Instant::now())
    }

    /// Lets nobody through for this long; who waits is refused. A pause under way is never cut short.
    pub(super) fn pause(&self, pause: Duration) {
        let refused = {
            let (mut state, now) = (self.shared.state(), Instant::now());
            state.pause.extend(now, pause);
            let remaining = state.pause.remaining(now);
            let waiters = if remaining.is_some() { state.line.drain() } else { Vec::new() };
            self.shared.observe(&state);
            waiters.into_iter().map(move |waiter| (waiter, remaining.unwrap_or_default()))
        };
        for (waiter, remaining) in refused {
            let _ = waiter.send(Err(Refused::Paused(remaining)));
        }
    }

    /// Waits for a place and a turn as every call does: for simulations of calls that go nowhere.
    ///
    /// # Errors
    /// [`Undecided`] when there is none until `latest`, or Altinn asked for a pause.
    pub async fn pass(&self, call: Call, latest: Instant) -> Result<Place, Undecided> {
        Ok(self.enter(call, latest).await?)
    }

    /// Waits for a place and a turn, until `latest` at most. Cancel safe: who leaves takes nothing along.
    pub(super) async fn enter(&self, call: Call, latest: Instant) -> Result<Place, Refused> {
        let entered = self.wait(call, latest).await;
        let urgency = match call.urgency {
            Urgency::Waiting => "waiting",
            Urgency::Behind => "behind",
        };
        let result = match &entered {
            Ok(Place { waited: false, .. }) => "at_once",
            Ok(Place { waited: true, .. }) => "waited",
            Err(Refused::Bounds) => "refused",
            Err(Refused::Paused(_)) => "paused",
        };
        self.shared.gauges.passed.with_label_values(&[urgency, result]).inc();
        entered
    }

    async fn wait(&self, call: Call, latest: Instant) -> Result<Place, Refused> {
        let (ask, mut answer) = oneshot::channel();
        let ticket = self.shared.stand_in_line(call, latest, ask)?;
        if let Ok(answer) = answer.try_recv() {
            return answer;
        }
        let mut leave = Leave { shared: &self.shared, ticket: Some(ticket) };
        match timeout_at(latest, answer).await {
            Ok(Ok(answer)) => {
                leave.ticket = None;
                answer.map(Place::waited_for)
            }
            Ok(Err(_)) | Err(_) => Err(Refused::Bounds),
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("load", &self.load()).finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, state: &State) {
        let set = |gauge: &IntGauge, value| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.gauges.waiting, state.line.length(Urgency::Waiting));
        set(&self.gauges.behind, state.line.length(Urgency::Behind));
        set(&self.gauges.in_flight, state.in_flight);
    }

    fn stand_in_line(
        self: &Arc<Self>,
        call: Call,
        latest: Instant,
        waiter: Waiter,
    ) -> Result<Ticket, Refused> {
        self.change(|state| {
            let now = Instant::now();
            if let Some(remaining) = state.pause.remaining(now) {
                return Err(Refused::Paused(remaining));
            }
            // Those of the same account go first in any case.
            if latest < now || state.turns.free_from(now, state.line.ahead(call)) > latest {
                return Err(Refused::Bounds);
            }
            state.line.push(call, waiter).map_err(|line::Full| Refused::Bounds)
        })
    }

    /// Changes the state, and lets through whom the new one lets through.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, called) = {
            let mut state = self.state();
            let result = change(&mut state);
            let called = self.call_next(&mut state);
            self.observe(&state);
            (result, called)
        };
        for (waiter, place) in called {
            // Who has just left gives the place back by dropping it; no lock is held here.
            drop(waiter.send(Ok(place)));
        }
        result
    }

    fn call_next(self: &Arc<Self>, state: &mut State) -> Vec<(Waiter, Place)> {
        let (mut called, now) = (Vec::new(), Instant::now());
        while state.in_flight < self.places {
            let behind_may_go = state.behind_in_flight < self.behind_places;
            if state.line.turn(behind_may_go).is_none() {
                break;
            }
            if state.turns.take(now, now).is_none() {
                self.wake_at(state, state.turns.free_from(now, 0));
                break;
            }
            let Some((urgency, waiter)) = state.line.next(behind_may_go) else { break };
            state.in_flight += 1;
            state.behind_in_flight += usize::from(urgency == Urgency::Behind);
            called.push((waiter, Place { shared: Arc::clone(self), urgency, waited: false }));
        }
        called
    }

    fn wake_at(self: &Arc<Self>, state: &mut State, turn: Instant) {
        if !std::mem::replace(&mut state.timer, true) {
            let shared = Arc::clone(self);
            self.runtime.spawn(async move {
                sleep_until(turn).await;
                shared.change(|state| state.timer = false);
            });
        }
    }
}

impl Place {
    fn waited_for(mut self) -> Self {
        self.waited = true;
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let urgency = self.urgency;
        self.shared.change(|state| {
            state.in_flight -= 1;
            state.behind_in_flight -= usize::from(urgency == Urgency::Behind);
        });
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("urgency", &self.urgency).finish_non_exhaustive()
    }
}

/// Leaves the line when dropped.
struct Leave<'s> {
    shared: &'s Arc<Shared>,
    ticket: Option<Ticket>,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let left = self.shared.change(|state| state.line.remove(ticket));
            drop(left);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::party::{CheckDigits, OrgNumber};
    use crate::enforce::ports::Account;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);

    pub(in super::super) fn gate(requests_per_second: usize, max_in_flight: usize) -> Gate {
        let number = |number| NonZeroUsize::new(number).unwrap();
        let metrics = Metrics::new().unwrap();
        Gate::new(number(requests_per_second), number(max_in_flight), &metrics, Handle::current())
    }

    fn vendor(number: usize, urgency: Urgency) -> Call {
        let number = format!("{:09}", 910_000_000 + number);
        let number = OrgNumber::parse(&number, CheckDigits::Ignored).unwrap();
        Call { account: Account::Vendor(number), urgency }
    }

    fn waiting(number: usize) -> Call {
        vendor(number, Urgency::Waiting)
    }

    fn behind(number: usize) -> Call {
        vendor(number, Urgency::Behind)
    }

    fn in_an_hour() -> Instant {
        Instant::now() + 3600 * SECOND
    }

    /// Enters, keeps the place for `time`, and says when it was given.
    fn caller(gate: &Gate, call: Call, time: Duration) -> JoinHandle<Result<Instant, Refused>> {
        let gate = gate.clone();
        tokio::spawn(async move {
            let place = gate.enter(call, in_an_hour()).await?;
            let given = Instant::now();
            sleep(time).await;
            drop(place);
            Ok(given)
        })
    }

    async fn settle() {
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_finds_room_goes_at_once() {
        let gate = gate(50, 2);
        let place = gate.enter(waiting(1), Instant::now()).await.unwrap();
        assert!(!place.waited);
        let load = Load { in_flight: 1, waiting: 0, behind: 0, free_turns: 4 };
        assert_eq!(gate.load(), load);
        drop(place);
        assert_eq!(gate.load().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_calls_that_are_left_are_told_and_none_are_while_altinn_asks_for_a_pause() {
        let gate = gate(50, 10);
        let left = || {
            gate.observe();
            gate.shared.gauges.left.get()
        };
        assert_eq!(left(), 5, "a tenth of the ceiling at once");
        for taken in 1..=5 {
            drop(gate.enter(waiting(1), Instant::now()).await.unwrap());
            assert_eq!(left(), 5 - taken);
        }
        assert!(gate.enter(waiting(1), Instant::now()).await.is_err());
        // A turn every 21.7 ms.
        sleep(21 * MILLISECOND).await;
        assert_eq!(left(), 0);
        sleep(MILLISECOND).await;
        assert_eq!(left(), 1);
        sleep(SECOND).await;
        assert_eq!(left(), 5, "and no more than that, however long nobody calls");
        gate.pause(10 * SECOND);
        assert_eq!(left(), 0);
        sleep(10 * SECOND).await;
        assert_eq!(left(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_noisy_vendor_with_a_thousand_waiters_delays_a_quiet_one_by_one_round_at_most() {
        let (gate, start) = (gate(50, 10), Instant::now());
        let noisy: Vec<_> = (0..1000).map(|_| caller(&gate, waiting(1), MILLISECOND)).collect();
        settle().await;
        assert!(gate.load().waiting > 900);
        let quiet = caller(&gate, waiting(2), MILLISECOND).await.unwrap().unwrap();
        // A turn of the noisy one that was next already, and its own: a turn every 21.7 ms.
        assert!(quiet - start <= Duration::from_millis(45), "{:?}", quiet - start);
        assert!(gate.load().waiting > 900);
        for noisy in noisy {
            assert!(noisy.await.unwrap().is_ok());
        }
        assert!(start.elapsed() <= 22 * SECOND, "and one account alone gets every turn");
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_shared_as_turns_are() {
        // Turns in plenty: only places are scarce.
        let (gate, start) = (gate(100_000, 4), Instant::now());
        let noisy: Vec<_> = (0..1000).map(|_| caller(&gate, waiting(1), SECOND)).collect();
        settle().await;
        let quiet: Vec<_> = (0..4).map(|_| caller(&gate, waiting(2), SECOND)).collect();
        let mut given = Vec::new();
        for quiet in quiet {
            given.push((quiet.await.unwrap().unwrap() - start).as_secs());
        }
        assert_eq!(given, [1, 1, 2, 2], "every second place of those that are given back");
        noisy.iter().for_each(JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_holds_more_calls_than_the_ceiling_whoever_asks() {
        for ceiling in [1, 3, 50] {
            let gate = gate(ceiling, 1000);
            let calls: Vec<_> = (0..ceiling * 5)
                .map(|index| if index % 2 == 0 { waiting(index % 7) } else { behind(index % 3) })
                .map(|call| caller(&gate, call, MILLISECOND))
                .collect();
            let mut given = Vec::new();
            for call in calls {
                given.push(call.await.unwrap().unwrap());
            }
            given.sort();
            for (index, turn) in given.iter().enumerate() {
                // Timers wake on whole milliseconds, never early.
                let end = *turn + SECOND - MILLISECOND;
                let within = given[index..].iter().filter(|other| **other < end).count();
                assert!(within <= ceiling, "{within} of {ceiling}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_behind_gets_a_quarter_of_the_turns_and_never_the_last_quarter_of_the_places() {
        let gate = gate(100_000, 8);
        let kept: Vec<_> = (0..20).map(|_| caller(&gate, behind(1), 9 * SECOND)).collect();
        settle().await;
        assert_eq!((gate.load().in_flight, gate.load().behind), (6, 14));
        let first = gate.enter(waiting(2), Instant::now()).await.unwrap();
        let second = gate.enter(waiting(2), Instant::now()).await.unwrap();
        assert_eq!(
            gate.enter(waiting(2), Instant::now() + SECOND).await.unwrap_err(),
            Refused::Bounds
        );
        drop((first, second));
        kept.iter().for_each(JoinHandle::abort);

        let (gate, start) = (super::tests::gate(10, 100), Instant::now());
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..500 {
            caller(&gate, waiting(1), MILLISECOND);
        }
        for _ in 0..50 {
            let (gate, count) = (gate.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let place = gate.enter(behind(2), in_an_hour()).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                drop(place);
            });
        }
        tokio::time::sleep_until(start + 8 * SECOND).await;
        let served = count.load(Ordering::Relaxed);
        assert!((18..=22).contains(&served), "{served} of 80 turns");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_line_takes_neither_a_turn_nor_a_place_along() {
        let gate = gate(1, 1);
        let holding = caller(&gate, waiting(1), 5 * SECOND);
        settle().await;
        let leaving: Vec<_> = (0..100).map(|_| caller(&gate, waiting(1), SECOND)).collect();
        settle().await;
        assert_eq!(gate.load().waiting, 100);
        leaving.iter().for_each(JoinHandle::abort);
        settle().await;
        assert_eq!(gate.load().waiting, 0);
        let start = holding.await.unwrap().unwrap();
        let next = gate.enter(waiting(2), in_an_hour()).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 5);
        drop(next);
        assert_eq!(gate.load().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_no_longer_than_it_may_and_not_at_all_where_that_is_vain() {
        let (gate, start) = (gate(1, 1), Instant::now());
        let _place = gate.enter(waiting(1), start).await.unwrap();
        assert_eq!(gate.enter(waiting(1), start).await.unwrap_err(), Refused::Bounds);
        let late = start + SECOND - MILLISECOND;
        assert_eq!(gate.enter(waiting(1), late).await.unwrap_err(), Refused::Bounds);
        assert_eq!(Instant::now(), start, "no turn before that: refused at once");
        let late = start + 2 * SECOND;
        assert_eq!(gate.enter(waiting(1), late).await.unwrap_err(), Refused::Bounds);
        assert_eq!(Instant::now(), late, "no place before that");
        assert_eq!(gate.load().waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_refuses_all_who_wait_and_who_come_until_it_is_over() {
        let gate = gate(1, 9);
        let _first = gate.enter(waiting(1), Instant::now()).await.unwrap();
        let second = caller(&gate, waiting(1), SECOND);
        settle().await;
        gate.pause(30 * SECOND);
        gate.pause(SECOND);
        assert_eq!(second.await.unwrap(), Err(Refused::Paused(30 * SECOND)));
        sleep(29 * SECOND).await;
        assert_eq!(gate.enter(behind(1), in_an_hour()).await.unwrap_err(), Refused::Paused(SECOND));
        sleep(SECOND).await;
        assert!(gate.enter(behind(1), Instant::now()).await.is_ok());
    }

    #[tokio::test]
    async fn many_callers_on_many_threads_never_hold_more_places_than_there_are() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        let (gate, held) = (gate(1_000_000, 3), Arc::new(AtomicUsize::new(0)));
        let calls: Vec<_> = (0..400)
            .map(|index| {
                let (gate, held) = (gate.clone(), Arc::clone(&held));
                runtime.spawn(async move {
                    let latest =
                        Instant::now() + if index % 5 == 0 { MILLISECOND } else { 60 * SECOND };
                    let call = if index % 3 == 0 { behind(index % 4) } else { waiting(index % 4) };
                    let Ok(place) = gate.enter(call, latest).await else { return };
                    assert!(held.fetch_add(1, Ordering::SeqCst) < 3);
                    tokio::task::yield_now().await;
                    held.fetch_sub(1, Ordering::SeqCst);
                    drop(place);
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        let load = gate.load();
        assert_eq!((load.in_flight, load.waiting, load.behind), (0, 0, 0));
        runtime.shutdown_background();
    }
}
