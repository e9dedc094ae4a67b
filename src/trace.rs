//! Distributed traces: which trace a request belongs to, whether it is recorded, and where ended spans wait to be sent.
//!
//! Spans are made of what is known of a request when it ends ([`spans`]), so that one that is not recorded costs the
//! reading of a field and two drawn ids. A caller's trace is carried on; whether it is recorded is for us to say, unless the
//! operator trusts callers with that, and never more often than a second allows. Nobody waits for the queue: what finds it
//! full is dropped, and counted. `docs/decisions/0016`.

pub mod context;
pub mod spans;

use crate::clock::Clock;
use crate::config::TracingConfig;
use crate::enforce::trail::Step;
use crate::families::Families;
use arc_swap::ArcSwap;
use context::{Caller, SpanId, TraceId, bound_state, traceparent};
use http::{HeaderMap, HeaderValue};
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use spans::{CallSpan, Finished, RequestSpans, Sent};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Where a request stands in its trace.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The trace: the caller's, or a new one.
    pub trace: TraceId,
    /// The caller's span; `None` where it told none.
    pub parent: Option<SpanId>,
    /// Our span of the request.
    pub span: SpanId,
    /// What becomes of it.
    pub recording: Recording,
    /// Whether the caller says that it records the trace.
    caller_records: bool,
}

/// What becomes of the spans of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recording {
    /// Tracing is switched off: the caller's fields go through as they are.
    Off,
    /// None are made; who comes after us is told that the trace is not recorded.
    No,
    /// They are sent.
    Yes,
}

impl Place {
    /// Where a request stands by its headers, of whose spans is to become what `recording` says.
    #[must_use]
    pub fn of(headers: &HeaderMap, recording: Recording) -> Self {
        Self::within(Caller::read(headers), SpanId::random(), recording)
    }

    fn within(caller: Option<Caller>, span: SpanId, recording: Recording) -> Self {
        Self {
            trace: caller.map_or_else(TraceId::random, |caller| caller.trace),
            parent: caller.map(|caller| caller.span),
            span,
            recording,
            caller_records: caller.is_some_and(|caller| caller.sampled),
        }
    }

    /// The id of a step's span.
    #[must_use]
    pub fn span_of(&self, step: Step) -> SpanId {
        self.span.behind(u64::try_from(step.place()).unwrap_or_default() + 1)
    }

    /// Makes the fields of a request those that its upstream gets.
    pub fn pass_on(&self, headers: &mut HeaderMap) {
        let told = match self.recording {
            Recording::Off => return,
            Recording::Yes => traceparent(self.trace, self.span_of(Step::Forward), true),
            // What says already that nothing is recorded may stay as it came (§3.4).
            Recording::No if self.parent.is_some() && !self.caller_records => None,
            Recording::No => traceparent(self.trace, self.span, false),
        };
        if self.parent.is_some() {
            bound_state(headers);
        } else {
            // What belongs to no trace, or to one that was told wrongly.
            headers.remove(context::TRACESTATE);
        }
        if let Some(told) = told {
            headers.insert(context::TRACEPARENT, told);
        }
    }
}

tokio::task_local! {
    /// The request that is being served, for log lines and calls within it.
    static CURRENT: Option<Place>;
}

/// Runs a future as a part of a request.
pub fn within<F: Future>(place: Place, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(Some(place), future)
}

/// Runs a future, which may be a task of its own, as a part of the request that is being served now, if one is.
pub fn carried_on<F: Future>(future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(current(), future)
}

/// The request that is being served.
#[must_use]
pub fn current() -> Option<Place> {
    CURRENT.try_with(|place| *place).ok().flatten()
}

/// What is counted.
#[derive(Clone, Debug)]
pub struct TraceMetrics {
    /// Requests by whether they are recorded.
    pub traces: IntCounterVec,
    /// Spans by what became of them.
    pub spans: IntCounterVec,
    /// Spans that wait to be sent.
    pub waiting: IntGauge,
}

impl TraceMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// As for every family.
    pub fn register(families: &Families) -> prometheus::Result<Self> {
        Ok(Self {
            traces: families.counters(
                "portvakt_traces_total",
                "Requests, and calls of our own that no request waits for, by whether their trace is recorded.",
                &["result"],
            )?,
            spans: families.counters(
                "portvakt_trace_spans_total",
                "Spans of recorded traces by what became of them.",
                &["result"],
            )?,
            waiting: families
                .gauge("portvakt_trace_spans_waiting", "Spans that wait to be sent.")?,
        })
    }
}

/// What says whether a trace is recorded, and takes its spans. A clone is as good.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

struct Inner {
    settings: ArcSwap<Settings>,
    clock: Arc<dyn Clock>,
    queue: mpsc::UnboundedSender<Finished>,
    bound: Arc<Waiting>,
    pace: Pace,
    recorded: IntCounter,
    not_recorded: IntCounter,
    over_limit: IntCounter,
    dropped: IntCounter,
}

/// The part of the configuration that requests need.
#[derive(Clone, Copy, Debug, Default)]
struct Settings {
    on: bool,
    per_million: u32,
    trust_parent: bool,
    per_second: u32,
    most_waiting: usize,
}

impl Settings {
    fn of(config: Option<&TracingConfig>) -> Self {
        config.map_or_else(Self::default, |config| Self {
            on: true,
            per_million: config.per_million,
            trust_parent: config.trust_parent,
            per_second: config.traces_per_second.get(),
            most_waiting: config.queue_spans.get(),
        })
    }

    /// By a number that we drew: by the trace's id a caller could choose to be recorded.
    fn draws(&self, span: SpanId) -> bool {
        span.number() % 1_000_000 < u64::from(self.per_million)
    }
}

/// How many spans wait, in the queue or at who sends them.
#[derive(Debug)]
struct Waiting {
    spans: AtomicUsize,
    gauge: IntGauge,
}

impl Waiting {
    /// Whether there was room for so many more.
    fn take(&self, spans: usize, most: usize) -> bool {
        let more = |waiting: usize| waiting.checked_add(spans).filter(|sum| *sum <= most);
        let taken = self.spans.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if taken.is_ok() {
            self.gauge.add(i64::try_from(spans).unwrap_or(i64::MAX));
        }
        taken.is_ok()
    }

    fn give_back(&self, spans: usize) {
        self.spans.fetch_sub(spans, Ordering::Relaxed);
        self.gauge.sub(i64::try_from(spans).unwrap_or(i64::MAX));
    }
}

/// So many a second, and no more: the second and the count in one number.
#[derive(Debug)]
struct Pace {
    begun: Instant,
    window: AtomicU64,
}

impl Pace {
    const COUNT: u64 = 0xffff_ffff;

    fn take(&self, most: u32) -> bool {
        let second = self.begun.elapsed().as_secs() & Self::COUNT;
        let next = |window: u64| {
            if window >> 32 == second {
                (window & Self::COUNT < u64::from(most)).then_some(window + 1)
            } else {
                Some((second << 32) + 1)
            }
        };
        self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.settings()).finish()
    }
}

impl Tracer {
    /// Records nothing, ever.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Records as configured; nothing for `None`, until [`Tracer::keep_to`] says otherwise. The other end is to be emptied.
    #[must_use]
    pub fn new(
        config: Option<&TracingConfig>,
        clock: Arc<dyn Clock>,
        metrics: &TraceMetrics,
    ) -> (Self, Queue) {
        let (queue, receiver) = mpsc::unbounded_channel();
        let bound =
            Arc::new(Waiting { spans: AtomicUsize::new(0), gauge: metrics.waiting.clone() });
        let inner = Inner {
            settings: ArcSwap::from_pointee(Settings::of(config)),
            clock,
            queue,
            bound: Arc::clone(&bound),
            pace: Pace { begun: Instant::now(), window: AtomicU64::new(0) },
            recorded: metrics.traces.with_label_values(&["recorded"]),
            not_recorded: metrics.traces.with_label_values(&["not_recorded"]),
            over_limit: metrics.traces.with_label_values(&["over_limit"]),
            dropped: metrics.spans.with_label_values(&["dropped"]),
        };
        (Self(Some(Arc::new(inner))), Queue { receiver, bound })
    }

    /// Records by another configuration from now on.
    pub fn keep_to(&self, config: Option<&TracingConfig>) {
        if let Some(inner) = &self.0 {
            inner.settings.store(Arc::new(Settings::of(config)));
        }
    }

    fn settings(&self) -> Settings {
        self.0.as_ref().map_or_else(Settings::default, |inner| **inner.settings.load())
    }

    /// The place of a request that begins now, by what its caller says. Allocates nothing.
    #[must_use]
    pub fn begin(&self, headers: &HeaderMap) -> Place {
        let (caller, span) = (Caller::read(headers), SpanId::random());
        Place::within(caller, span, self.recording(caller, span))
    }

    fn recording(&self, caller: Option<Caller>, span: SpanId) -> Recording {
        let Some(inner) = &self.0 else { return Recording::Off };
        let settings = **inner.settings.load();
        if !settings.on {
            return Recording::Off;
        }
        let wanted = match caller {
            Some(caller) if settings.trust_parent => caller.sampled,
            Some(_) | None => settings.draws(span),
        };
        if !wanted {
            inner.not_recorded.inc();
            return Recording::No;
        }
        if !inner.pace.take(settings.per_second) {
            inner.over_limit.inc();
            return Recording::No;
        }
        inner.recorded.inc();
        Recording::Yes
    }

    /// Hands over the spans of a request. Never waits.
    pub fn request(&self, spans: RequestSpans) {
        self.hand_over(Finished::Request(Box::new(spans)));
    }

    fn hand_over(&self, finished: Finished) {
        let Some(inner) = &self.0 else { return };
        let spans = finished.spans();
        if !inner.bound.take(spans, inner.settings.load().most_waiting) {
            inner.dropped.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
        } else if inner.queue.send(finished).is_err() {
            // Nobody sends any more: the program ends.
            inner.bound.give_back(spans);
            inner.dropped.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
        }
    }

    /// Begins a call of our own, such as `altinn.authorize`. Within a request it is recorded as that is; else it is a trace of
    /// its own.
    #[must_use]
    pub fn call(&self, name: &'static str) -> Calling {
        let Some(inner) = &self.0 else { return Calling::default() };
        let (trace, span, parent) = match current() {
            // A request waits for a call of ours only while its right is looked for.
            Some(place) if place.recording == Recording::Yes => {
                (place.trace, SpanId::random(), Some(place.span_of(Step::Authorize)))
            }
            Some(_) => return Calling::default(),
            None => {
                let span = SpanId::random();
                if self.recording(None, span) != Recording::Yes {
                    return Calling::default();
                }
                (TraceId::random(), span, None)
            }
        };
        let span = CallSpan {
            trace,
            span,
            parent,
            name,
            at: inner.clock.wall(),
            took: std::time::Duration::ZERO,
            sent: None,
            status: None,
            error: Some("cancelled"),
        };
        Calling(Some(Box::new(Open {
            tracer: self.clone(),
            begun: Instant::now(),
            span: Some(span),
        })))
    }
}

/// A call under way; nothing where it is not recorded. Told with its end, or when it is dropped.
#[derive(Debug, Default)]
pub struct Calling(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    tracer: Tracer,
    begun: Instant,
    span: Option<CallSpan>,
}

impl Calling {
    /// What tells the other side of the trace; `None` where the call is not recorded.
    #[must_use]
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let span = self.0.as_ref()?.span.as_ref()?;
        traceparent(span.trace, span.span, true)
    }

    /// Notes where it goes.
    pub fn sent(&mut self, to: impl FnOnce() -> Sent) {
        if let Some(span) = self.span() {
            span.sent = Some(to());
        }
    }

    /// It was answered.
    pub fn answered(&mut self, status: u16) {
        if let Some(span) = self.span() {
            (span.status, span.error) = (Some(status), None);
        }
    }

    /// It was not, or not as a whole.
    pub fn failed(&mut self, error: &'static str) {
        if let Some(span) = self.span() {
            span.error = Some(error);
        }
    }

    fn span(&mut self) -> Option<&mut CallSpan> {
        self.0.as_mut()?.span.as_mut()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.took = self.begun.elapsed();
            self.tracer.hand_over(Finished::Call(Box::new(span)));
        }
    }
}

/// Where ended spans wait for who sends them.
#[derive(Debug)]
pub struct Queue {
    receiver: mpsc::UnboundedReceiver<Finished>,
    bound: Arc<Waiting>,
}

impl Queue {
    /// The next; `None` when there will be no more. Cancel safe.
    pub async fn next(&mut self) -> Option<Finished> {
        self.receiver.recv().await
    }

    /// The next, if one is there.
    pub fn next_now(&mut self) -> Option<Finished> {
        self.receiver.try_recv().ok()
    }

    /// So many spans wait no more, whatever became of them.
    pub fn settled(&self, spans: usize) {
        self.bound.give_back(spans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::config::source;
    use std::num::{NonZeroU32, NonZeroUsize};

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn config(per_million: u32, trust_parent: bool) -> TracingConfig {
        let text = "environment: test\nupstream: { url: \"http://127.0.0.1:3000\" }\n\
            tracing: { enabled: true, endpoint: \"http://127.0.0.1:4318\" }\n\
            routes: [{ id: open, match: { methods: [GET], path: /open }, access: anonymous }]\n";
        let read = source::load_text(text, "test", &|_: &str| None).unwrap();
        let tracing = read.tracing.unwrap();
        TracingConfig { per_million, trust_parent, ..tracing }
    }

    fn tracer(config: Option<&TracingConfig>) -> (Tracer, Queue, TraceMetrics) {
        let metrics = TraceMetrics::register(&Families::default()).unwrap();
        let (tracer, queue) = Tracer::new(config, Arc::new(SystemClock), &metrics);
        (tracer, queue, metrics)
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_caller_is_heeded_only_where_it_is_trusted() {
        let asked = |per_million, trust, caller| {
            let (tracer, _queue, _) = tracer(Some(&config(per_million, trust)));
            tracer.begin(&headers(&[("traceparent", caller)])).recording
        };
        let (all, none) = (1_000_000, 0);
        assert_eq!(asked(none, true, SAMPLED), Recording::Yes);
        assert_eq!(asked(none, false, SAMPLED), Recording::No);
        assert_eq!(asked(all, true, NOT_SAMPLED), Recording::No);
        assert_eq!(asked(all, false, NOT_SAMPLED), Recording::Yes);
        // What is malformed is no caller.
        assert_eq!(asked(none, true, "00-1-1-01"), Recording::No);
        let (off, _queue, _) = tracer(None);
        assert_eq!(off.begin(&headers(&[("traceparent", SAMPLED)])).recording, Recording::Off);
        assert_eq!(Tracer::off().begin(&HeaderMap::new()).recording, Recording::Off);
    }

    #[test]
    fn one_trace_of_a_caller_cannot_be_made_to_be_recorded_always() {
        let (tracer, _queue, _) = tracer(Some(&config(100_000, false)));
        let caller = headers(&[("traceparent", SAMPLED)]);
        let many = (0..10_000).map(|_| tracer.begin(&caller).recording);
        let recorded = many.filter(|recording| *recording == Recording::Yes).count();
        // One in ten, of which the least of 100 a second are let through.
        assert!((1..1_200).contains(&recorded), "{recorded}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_recorded_than_a_second_allows() {
        let few = TracingConfig {
            traces_per_second: NonZeroU32::new(3).unwrap(),
            ..config(1_000_000, true)
        };
        let (tracer, _queue, metrics) = tracer(Some(&few));
        let recorded = || {
            let begun = (0..10).map(|_| tracer.begin(&headers(&[("traceparent", SAMPLED)])));
            begun.filter(|place| place.recording == Recording::Yes).count()
        };
        assert_eq!(recorded(), 3);
        tokio::time::advance(std::time::Duration::from_millis(999)).await;
        assert_eq!(recorded(), 0);
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        assert_eq!(recorded(), 3);
        assert_eq!(metrics.traces.with_label_values(&["over_limit"]).get(), 24);
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_counted() {
        let narrow = TracingConfig {
            queue_spans: NonZeroUsize::new(2).unwrap(),
            ..config(1_000_000, false)
        };
        let (tracer, mut queue, metrics) = tracer(Some(&narrow));
        let dropped = || metrics.spans.with_label_values(&["dropped"]).get();
        for _ in 0..3 {
            tracer.call("altinn.authorize").answered(200);
        }
        assert_eq!((dropped(), metrics.waiting.get()), (1, 2));
        assert!(queue.next().await.is_some());
        // What is being sent takes room too.
        tracer.call("altinn.authorize").answered(200);
        assert_eq!(dropped(), 2);
        queue.settled(1);
        tracer.call("altinn.authorize").answered(200);
        assert_eq!((dropped(), metrics.waiting.get()), (2, 2));
        drop(queue);
        let room = TracingConfig { queue_spans: NonZeroUsize::new(9).unwrap(), ..narrow };
        tracer.keep_to(Some(&room));
        tracer.call("altinn.authorize").answered(200);
        assert_eq!(dropped(), 3);
    }

    #[tokio::test]
    async fn a_call_within_a_request_is_recorded_as_that_is() {
        let (tracer, mut queue, _) = tracer(Some(&config(1_000_000, true)));
        let unrecorded = tracer.begin(&headers(&[("traceparent", NOT_SAMPLED)]));
        within(unrecorded, async { tracer.call("altinn.authorize").answered(200) }).await;
        assert!(queue.next_now().is_none());
        let recorded = tracer.begin(&headers(&[("traceparent", SAMPLED)]));
        let told = within(recorded, async {
            let task = carried_on(async {
                let mut calling = tracer.call("altinn.authorize");
                calling.answered(200);
                calling.traceparent()
            });
            task.await
        });
        let told = told.await.unwrap();
        let Some(Finished::Call(call)) = queue.next_now() else { panic!("no call") };
        assert_eq!(call.parent, Some(recorded.span_of(Step::Authorize)));
        let expected = format!("00-{}-{}-01", recorded.trace, call.span);
        assert_eq!(told.to_str().unwrap(), expected);
        // One that was given up says so.
        drop(tracer.call("altinn.parties"));
        let Some(Finished::Call(call)) = queue.next_now() else { panic!("no call") };
        assert_eq!((call.parent, call.error), (None, Some("cancelled")));
        assert_ne!(call.trace, recorded.trace);
    }

    #[test]
    fn an_upstream_is_told_what_became_of_the_trace() {
        let passed = |tracer: &Tracer, fields: &[(&'static str, &'static str)]| {
            let mut headers = headers(fields);
            let place = tracer.begin(&headers);
            place.pass_on(&mut headers);
            let text = |name: &str| {
                headers
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned())
                    .unwrap_or_default()
            };
            (place, text("traceparent"), text("tracestate"))
        };
        let from = |caller| [("traceparent", caller), ("tracestate", "a=1")];
        let (all, _queue, _) = tracer(Some(&config(1_000_000, false)));
        let (none, _other, _) = tracer(Some(&config(0, false)));
        let (place, parent, state) = passed(&all, &from(SAMPLED));
        let forward = place.span_of(Step::Forward);
        assert_eq!(parent, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{forward}-01"));
        assert_eq!(state, "a=1");
        // A caller that records, and is not heeded.
        let (place, parent, state) = passed(&none, &from(SAMPLED));
        assert_eq!(parent, format!("00-{}-{}-00", place.trace, place.span));
        assert_eq!(state, "a=1");
        let (_, parent, state) = passed(&none, &from(NOT_SAMPLED));
        assert_eq!((parent.as_str(), state.as_str()), (NOT_SAMPLED, "a=1"));
        for bad in [from("00-1-1-01"), from("")] {
            for tracer in [&all, &none] {
                let (place, parent, state) = passed(tracer, &bad);
                assert!(parent.starts_with(&format!("00-{}-", place.trace)), "{parent}");
                assert_eq!(state, "", "belongs to no trace");
            }
        }
        let (_, parent, state) = passed(&Tracer::off(), &from("00-1-1-01"));
        assert_eq!((parent.as_str(), state.as_str()), ("00-1-1-01", "a=1"), "untouched");
    }

    #[test]
    fn every_span_of_a_request_has_an_id_of_its_own() {
        let place = Place::of(&HeaderMap::new(), Recording::Yes);
        let mut ids: Vec<u64> = Step::ALL.map(|step| place.span_of(step).number()).to_vec();
        ids.push(place.span.number());
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Step::ALL.len() + 1);
    }
}
