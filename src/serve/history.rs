//! The last hour in numbers, for the pages: read off the metrics now and then, so that no request pays for it.

use crate::domain::decision::Answer;
use crate::record::minutes::Minutes;
use crate::telemetry::metrics::Metrics;
use prometheus::core::Collector;
use prometheus::{IntCounterVec, proto};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often the metrics are read. A request counts in the minute in which it is seen.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Reading walks over every series: not more often than this, however often somebody asks.
const APART: Duration = Duration::from_secs(1);

/// Most routes told apart; those beyond, which only many changes of the configuration bring about, are left out.
const ROUTES: usize = 2_000;

/// Requests by [`Answer`], in the order of [`ANSWERS`].
pub type ByAnswer = [u64; ANSWERS.len()];

/// The answers, in the order in which they are counted.
pub const ANSWERS: [Answer; 6] = [
    Answer::Permit,
    Answer::Denied,
    Answer::NoRight,
    Answer::Unknown,
    Answer::NotAsked,
    Answer::Shadow,
];

/// What was seen in one minute.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Requests by route, where there were any.
    pub routes: BTreeMap<Arc<str>, ByAnswer>,
    /// Calls to Altinn that were let through the gate.
    pub calls: u64,
    /// Calls to Altinn that were refused there: by our own bounds, or since Altinn asked for a pause.
    pub held_back: u64,
}

/// The last hour.
#[derive(Debug)]
pub struct History {
    metrics: Metrics,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    read: Option<Instant>,
    before: Counted,
    hour: Minutes<Seen>,
}

/// Counters as they stand. They only rise.
#[derive(Debug, Default)]
struct Counted {
    routes: BTreeMap<Arc<str>, ByAnswer>,
    calls: u64,
    held_back: u64,
}

impl History {
    /// Begins with what these metrics say from now on.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let kept = Kept { read: None, before: Counted::default(), hour: Minutes::new() };
        Self { metrics, kept: Mutex::new(kept) }
    }

    /// For how long it has gone on: since the start of the program.
    #[must_use]
    pub fn since_begun(&self) -> Duration {
        self.kept().hour.since_begun()
    }

    /// Reads the metrics.
    pub fn read(&self) {
        let mut kept = self.kept();
        let now = Instant::now();
        if kept.read.is_some_and(|read| now.duration_since(read) < APART) {
            return;
        }
        kept.read = Some(now);
        kept.take(&self.metrics);
    }

    /// The last hour up to now: how many minutes ago, and what was seen in that minute.
    #[must_use]
    pub fn hour(&self) -> Vec<(usize, Arc<Seen>)> {
        self.read();
        self.kept().hour.told()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, metrics: &Metrics) {
        let Self { before, hour, .. } = self;
        let mut now: BTreeMap<String, ByAnswer> = BTreeMap::new();
        each(&metrics.requests, |labels, count| {
            let place = ANSWERS.iter().position(|it| Some(it.label()) == labels.get("answer"));
            let (Some(route), Some(place)) = (labels.get("route"), place) else { return };
            let counts = now.entry(route.to_owned()).or_default();
            counts.iter_mut().skip(place).take(1).for_each(|sum| *sum += count);
        });
        let mut gate = [0, 0];
        each(&metrics.altinn_gate, |labels, count| {
            let [calls, held_back] = &mut gate;
            match labels.get("result") {
                Some("at_once" | "waited") => *calls += count,
                Some(_) | None => *held_back += count,
            }
        });
        hour.note(|seen| {
            for (route, counts) in &now {
                before.add_route(route, counts, seen);
            }
            let [calls, held_back] = gate;
            seen.calls += calls.saturating_sub(before.calls);
            seen.held_back += held_back.saturating_sub(before.held_back);
            (before.calls, before.held_back) = (calls, held_back);
        });
    }
}

impl Counted {
    fn add_route(&mut self, route: &str, now: &ByAnswer, seen: &mut Seen) {
        let full = self.routes.len() >= ROUTES;
        if !self.routes.contains_key(route) {
            if full {
                return;
            }
            self.routes.insert(route.into(), ByAnswer::default());
        }
        let Some((name, before)) = self.routes.get_key_value(route) else { return };
        let mut risen = ByAnswer::default();
        for ((risen, now), before) in risen.iter_mut().zip(now).zip(before) {
            *risen = now.saturating_sub(*before);
        }
        if risen.iter().any(|count| *count > 0) {
            let counts = seen.routes.entry(Arc::clone(name)).or_default();
            counts.iter_mut().zip(risen).for_each(|(sum, risen)| *sum += risen);
        }
        if let Some(before) = self.routes.get_mut(route) {
            *before = *now;
        }
    }
}

/// The labels of one series.
struct Labels<'s>(&'s [proto::LabelPair]);

impl<'s> Labels<'s> {
    fn get(&self, name: &str) -> Option<&'s str> {
        self.0.iter().find(|pair| pair.name() == name).map(proto::LabelPair::value)
    }
}

fn each(family: &IntCounterVec, mut take: impl FnMut(Labels<'_>, u64)) {
    for family in family.collect() {
        for metric in family.get_metric() {
            take(Labels(metric.get_label()), whole(metric.get_counter().get_value()));
        }
    }
}

/// A count, as the library hands it over: a fraction where there is none.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter is whole and never negative; what is not becomes the nearest that is"
)]
pub(super) fn whole(count: f64) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn request(metrics: &Metrics, route: &str, answer: &str, code: &str, times: u64) {
        metrics.requests.with_label_values(&[route, answer, code]).inc_by(times);
    }

    #[tokio::test(start_paused = true)]
    async fn each_minute_has_what_rose_in_it() {
        let metrics = Metrics::new().unwrap();
        let history = History::new(metrics.clone());
        metrics.expect_route("quiet");
        request(&metrics, "read", "permit", "none", 5);
        request(&metrics, "read", "not_asked", "token_missing", 2);
        request(&metrics, "read", "not_asked", "token_invalid", 1);
        let hour = history.hour();
        assert_eq!(hour.len(), 1);
        assert_eq!(
            hour[0].1.routes.iter().collect::<Vec<_>>(),
            [(&"read".into(), &[5, 0, 0, 0, 3, 0])]
        );
        advance(Duration::from_secs(60)).await;
        request(&metrics, "read", "no_right", "no_right", 1);
        metrics.altinn_gate.with_label_values(&["waiting", "at_once"]).inc_by(3);
        metrics.altinn_gate.with_label_values(&["behind", "paused"]).inc();
        let hour = history.hour();
        assert_eq!((hour[0].0, hour[1].0), (1, 0));
        let (before, now) = (&hour[0].1, &hour[1].1);
        assert_eq!(
            (before.routes["read"], now.routes["read"]),
            ([5, 0, 0, 0, 3, 0], [0, 0, 1, 0, 0, 0])
        );
        assert_eq!((before.calls, now.calls, now.held_back), (0, 3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn routes_without_end_do_not_fill_the_memory() {
        let metrics = Metrics::new().unwrap();
        let history = History::new(metrics.clone());
        for number in 0..ROUTES + 100 {
            request(&metrics, &format!("route-{number}"), "permit", "none", 1);
        }
        assert_eq!(history.hour()[0].1.routes.len(), ROUTES);
        assert_eq!(history.kept().before.routes.len(), ROUTES);
    }

    #[test]
    fn counts_are_whole_and_never_negative() {
        for (count, expected) in [(0.0, 0), (1.0, 1), (9_007_199_254_740_992.0, 1 << 53), (-1.0, 0)]
        {
            assert_eq!(whole(count), expected);
        }
        assert_eq!(whole(f64::NAN), 0);
    }
}
