//! Altinn's PDP: one question, one verdict, within bounds of our own; or several questions in one call.
//!
//! Every question has a time budget, whatever Altinn does: waiting for our own token, for a turn and a
//! place at the [gate](super::gate), and for repeated calls all count. A call is repeated only where that
//! is safe and may help; asking changes nothing at Altinn. Nothing is remembered here: that is the
//! register's.
//!
//! The circuit counts calls that got no usable answer. `Indeterminate` is about one question (an unknown
//! resource is enough) and a refusal of our own credentials is an answer; neither opens it.

use super::gate::{Gate, Place, Refused};
use super::limits::{Change, Circuit, Pass, Sign, retry_after};
use super::token::OwnToken;
use super::wire::{self, Several};
use super::{Altinn, Endpoint};
use crate::clock::Clock;
use crate::config::AltinnConfig;
use crate::domain::decision::{Cause, Undecided, Verdict};
use crate::domain::resource::Question;
use crate::enforce::ports::{Call, EdgeFuture, RemotePdp};
use crate::maskinporten::flight::Allowance;
use crate::maskinporten::grant::BearerToken;
use crate::maskinporten::http::{self, HttpError, Reply};
use crate::telemetry::metrics::Metrics;
use crate::trace;
use ::http::header::CONTENT_TYPE;
use ::http::{Method, StatusCode};
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures_util::future::join_all;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

/// Most questions in one call: Altinn decides them one after the other, and its gateway may lose patience.
const MOST_AT_ONCE: usize = 20;
/// A 429 without a time, or with none to speak of, stops calls this long.
pub(super) const LEAST_PAUSE: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_millis(500);
const CREDENTIALS_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The PDP, as seen from here.
pub struct PdpClient {
    shared: Arc<Shared>,
}

struct Shared {
    altinn: Arc<Altinn>,
    own_token: Arc<OwnToken>,
    gate: Gate,
    budget: Duration,
    attempt_timeout: Duration,
    max_attempts: usize,
    bounds: Mutex<Bounds>,
    /// Told when the circuit opens, so that nobody waits at the gate for a call that will not be made.
    opened: Notify,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    runtime: Handle,
}

/// What all questions share.
struct Bounds {
    circuit: Circuit,
    credentials_log: Allowance,
}

/// The time a question has.
#[derive(Clone, Copy)]
struct Window {
    /// A call that begins later has too little time to be worth it.
    last_start: Instant,
    end: Instant,
}

/// Why one attempt gave no verdict, and what follows.
#[derive(Debug)]
struct Failure {
    undecided: Undecided,
    /// Whether asking again at once may help.
    repeat: bool,
    /// Our own token was refused: another one may help.
    unauthorized: bool,
    sign: Sign,
}

impl Failure {
    fn new(cause: Cause, sign: Sign) -> Self {
        Self { undecided: cause.into(), repeat: false, unauthorized: false, sign }
    }

    /// Refused by our own bounds: nothing was sent.
    fn held_back(undecided: Undecided) -> Self {
        Self { undecided, ..Self::new(undecided.cause, Sign::None) }
    }

    fn repeatable(self) -> Self {
        Self { repeat: true, ..self }
    }

    fn retry_after(mut self, pause: Option<Duration>) -> Self {
        self.undecided.retry_after = pause;
        self
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::TimedOut => Self::new(Cause::TimedOut, Sign::Failed).repeatable(),
            HttpError::Client(_) | HttpError::Unreachable(_) => {
                Self::new(Cause::Unreachable, Sign::Failed).repeatable()
            }
            HttpError::TooLarge { .. } => Self::new(Cause::Unreadable, Sign::Failed),
        }
    }
}

/// What is asked in one call: its body, and how the answer is read.
trait Asking: Send + Sync + 'static {
    type Said: Send;

    fn body(&self) -> Bytes;

    fn read(&self, answer: &[u8]) -> Result<Self::Said, Cause>;

    /// The label of an answer in metrics.
    fn label(said: &Self::Said) -> &'static str;
}

/// One question.
struct One(Bytes);

impl Asking for One {
    type Said = Verdict;

    fn body(&self) -> Bytes {
        self.0.clone()
    }

    fn read(&self, answer: &[u8]) -> Result<Verdict, Cause> {
        wire::read_answer(answer)
    }

    fn label(said: &Verdict) -> &'static str {
        match said {
            Verdict::Permit => "permit",
            Verdict::Deny => "denied",
            Verdict::Unmet(_) => "unmet_obligation",
            Verdict::NotApplicable => "not_applicable",
        }
    }
}

/// Several questions about one system user.
struct Together {
    body: Bytes,
    questions: Vec<Question>,
}

impl Asking for Together {
    type Said = Several;

    fn body(&self) -> Bytes {
        self.body.clone()
    }

    fn read(&self, answer: &[u8]) -> Result<Several, Cause> {
        wire::read_several(answer, &self.questions)
    }

    fn label(said: &Several) -> &'static str {
        match said {
            Several::Each(_) => "several",
            Several::Spoilt => "spoilt",
            Several::Mixed => "mixed",
        }
    }
}

impl PdpClient {
    /// A client that calls on `runtime`, the one of every call to the outside, through `gate`.
    #[must_use]
    pub fn new(
        config: &AltinnConfig,
        altinn: Arc<Altinn>,
        own_token: Arc<OwnToken>,
        gate: Gate,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Self {
        let bounds = Bounds {
            circuit: Circuit::new(config.circuit_failures.get(), config.circuit_open_for),
            credentials_log: Allowance::one_per(CREDENTIALS_LOG_INTERVAL),
        };
        let shared = Shared {
            altinn,
            own_token,
            gate,
            budget: config.budget,
            attempt_timeout: config.attempt_timeout,
            max_attempts: config.max_attempts.get(),
            bounds: Mutex::new(bounds),
            opened: Notify::new(),
            clock,
            metrics,
            runtime,
        };
        Self { shared: Arc::new(shared) }
    }
}

impl RemotePdp for PdpClient {
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        call: Call,
    ) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        Box::pin(self.shared.ask_one(question, call, self.shared.window()))
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        call: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        Box::pin(async move {
            let mut verdicts = Vec::with_capacity(questions.len());
            let same_user = |a: &Question, b: &Question| a.system_user() == b.system_user();
            let chunks = questions.chunk_by(same_user);
            for chunk in chunks.flat_map(|chunk| chunk.chunks(MOST_AT_ONCE)) {
                verdicts.extend(self.shared.ask_chunk(chunk, call).await);
            }
            verdicts
        })
    }
}

impl Shared {
    fn bounds(&self) -> MutexGuard<'_, Bounds> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(&self) -> Window {
        let end = Instant::now() + self.budget;
        let least = self.attempt_timeout.min(self.budget) / 2;
        Window { last_start: end - least, end }
    }

    /// Refuses at once what would be refused later.
    fn check_bounds(&self) -> Result<(), Undecided> {
        let refused = |cause, remaining| Undecided { cause, retry_after: Some(remaining) };
        if let Some(remaining) = self.gate.paused() {
            return Err(refused(Cause::Throttled, remaining));
        }
        match self.bounds().circuit.closed_to_calls(Instant::now()) {
            Some(remaining) => Err(refused(Cause::CircuitOpen, remaining)),
            None => Ok(()),
        }
    }

    async fn ask_one(
        self: &Arc<Self>,
        question: &Question,
        call: Call,
        window: Window,
    ) -> Result<Verdict, Undecided> {
        let asking = Arc::new(One(Bytes::from(wire::request_body(question))));
        self.ask_within(call, window, &asking).await
    }

    /// Asks questions about one system user in one call, and those that it does not answer alone, all
    /// within one budget.
    async fn ask_chunk(
        self: &Arc<Self>,
        questions: &[Question],
        call: Call,
    ) -> Vec<Result<Verdict, Undecided>> {
        let window = self.window();
        let Some(body) = wire::several_body(questions) else {
            return self.ask_each(questions, call, window).await;
        };
        let together = Together { body: body.into(), questions: questions.to_vec() };
        match self.ask_within(call, window, &Arc::new(together)).await {
            Err(undecided) => vec![Err(undecided); questions.len()],
            Ok(Several::Spoilt | Several::Mixed) => self.ask_each(questions, call, window).await,
            Ok(Several::Each(each)) => {
                let undecided = questions.iter().zip(&each).filter(|(_, said)| said.is_err());
                let undecided = undecided.map(|(question, _)| question);
                let mut alone = self.ask_each(undecided, call, window).await.into_iter();
                let settle = |said: Result<Verdict, Cause>| {
                    said.or_else(|cause| alone.next().unwrap_or(Err(cause.into())))
                };
                each.into_iter().map(settle).collect()
            }
        }
    }

    async fn ask_each<'q>(
        self: &Arc<Self>,
        questions: impl IntoIterator<Item = &'q Question>,
        call: Call,
        window: Window,
    ) -> Vec<Result<Verdict, Undecided>> {
        join_all(questions.into_iter().map(|question| self.ask_one(question, call, window))).await
    }

    async fn ask_within<A: Asking>(
        self: &Arc<Self>,
        call: Call,
        window: Window,
        asking: &Arc<A>,
    ) -> Result<A::Said, Undecided> {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(FIRST_RETRY)
            .with_max_delay(LAST_RETRY)
            .with_max_times(self.max_attempts - 1)
            .with_jitter()
            .build();
        let mut indeterminate = false;
        loop {
            let failure = match self.attempt(call, window, asking).await {
                Ok(said) => return Ok(said),
                Err(failure) => failure,
            };
            // A passing fault behind the PDP shows as Indeterminate too; a second one is believed.
            let believed = failure.undecided.cause == Cause::Indeterminate && indeterminate;
            indeterminate |= failure.undecided.cause == Cause::Indeterminate;
            let Undecided { cause, retry_after } = failure.undecided;
            let Some(delay) = delays.next().filter(|_| failure.repeat && !believed) else {
                return Err(failure.undecided);
            };
            let delay = delay.max(retry_after.unwrap_or_default());
            if Instant::now() + delay > window.last_start {
                return Err(failure.undecided);
            }
            if let Err(closed) = self.check_bounds() {
                return Err(Undecided { cause, retry_after: retry_after.or(closed.retry_after) });
            }
            self.metrics.pdp_retries.inc();
            tokio::time::sleep(delay).await;
        }
    }

    /// Asks with our own token; when that is refused, once more with another one.
    async fn attempt<A: Asking>(
        self: &Arc<Self>,
        call: Call,
        window: Window,
        asking: &Arc<A>,
    ) -> Result<A::Said, Failure> {
        let (token, mut said) = self.attempt_once(call, window, asking).await?;
        let unauthorized = |said: &Result<_, Failure>| matches!(said, Err(it) if it.unauthorized);
        if unauthorized(&said) && self.own_token.refused(&token) {
            said = self.attempt_once(call, window, asking).await?.1;
        }
        if unauthorized(&said) {
            self.tell_of_credentials(StatusCode::UNAUTHORIZED);
        }
        said
    }

    async fn attempt_once<A: Asking>(
        self: &Arc<Self>,
        call: Call,
        window: Window,
        asking: &Arc<A>,
    ) -> Result<(Arc<BearerToken>, Result<A::Said, Failure>), Failure> {
        let passage = Passage::enter(self)?;
        let token = timeout_at(window.last_start, self.own_token.current()).await;
        let Ok(Ok(token)) = token else {
            let failure = Failure::new(Cause::NoOwnToken, Sign::Failed);
            passage.settle(failure.sign);
            return Err(failure);
        };
        let place = self.place(call, window).await?;
        // Waiting ends with the caller; a call is a task of its own, so that no connection is torn down by
        // a client that leaves, and what the call showed is taken in. Its log lines carry the trace of the
        // request that asked first.
        let (shared, asking, bearer) = (Arc::clone(self), Arc::clone(asking), Arc::clone(&token));
        let calling = async move {
            let said = shared.call(window, &*asking, &bearer).await;
            passage.settle(said.as_ref().map_or_else(|failure| failure.sign, |_| Sign::Alive));
            drop(place);
            said
        };
        let task = self.runtime.spawn(trace::carried_on(calling.in_current_span())).await;
        let lost = || Err(Failure::new(Cause::Unreachable, Sign::None));
        Ok((token, task.unwrap_or_else(|_| lost())))
    }

    async fn place(&self, call: Call, window: Window) -> Result<Place, Failure> {
        let entered = tokio::select! {
            biased;
            entered = self.gate.enter(call, window.last_start) => entered,
            () = self.opened.notified() => {
                self.check_bounds().map_err(Failure::held_back)?;
                self.gate.enter(call, window.last_start).await
            }
        };
        match &entered {
            Ok(place) if place.waited => self.count_held_back(true),
            Ok(_) | Err(Refused::Paused(_)) => {}
            Err(Refused::Bounds) => self.count_held_back(false),
        }
        entered.map_err(|refused| Failure::held_back(refused.into()))
    }

    async fn call<A: Asking>(
        &self,
        window: Window,
        asking: &A,
        token: &BearerToken,
    ) -> Result<A::Said, Failure> {
        let request = self
            .altinn
            .request(Method::POST, &self.altinn.authorize_url, "application/json", Some(token))
            .header(CONTENT_TYPE, "application/json")
            .body(asking.body());
        let started = Instant::now();
        let end = window.end.min(started + self.attempt_timeout);
        let calling = self.altinn.tracer.call(Endpoint::Authorize.call());
        let sent = timeout_at(end, http::send(request, wire::MAX_ANSWER_BYTES, calling)).await;
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.pdp_seconds.observe(seconds);
        let endpoint = Endpoint::Authorize.label();
        self.metrics.altinn_seconds.with_label_values(&[endpoint]).observe(seconds);
        let said = match sent.unwrap_or(Err(HttpError::TimedOut)) {
            Ok(reply) => self.read(asking, &reply),
            Err(error) => Err(Failure::from(error)),
        };
        let cause = said.as_ref().err().map(|failure| failure.undecided.cause.label());
        let result = said.as_ref().ok().map(A::label).or(cause).unwrap_or_default();
        self.metrics.pdp_calls.with_label_values(&[result]).inc();
        self.metrics.altinn_calls.with_label_values(&[endpoint, cause.unwrap_or("ok")]).inc();
        said
    }

    fn read<A: Asking>(&self, asking: &A, reply: &Reply) -> Result<A::Said, Failure> {
        let pause = || retry_after(&reply.headers, self.clock.now());
        match reply.status {
            StatusCode::OK => asking.read(&reply.body).map_err(|cause| match cause {
                Cause::Indeterminate => Failure::new(cause, Sign::Alive).repeatable(),
                _ => Failure::new(cause, Sign::Failed),
            }),
            StatusCode::UNAUTHORIZED => {
                let failure = Failure::new(Cause::OwnCredentials, Sign::Alive);
                Err(Failure { unauthorized: true, ..failure })
            }
            StatusCode::FORBIDDEN => {
                self.tell_of_credentials(reply.status);
                Err(Failure::new(Cause::OwnCredentials, Sign::Alive))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let pause = pause().unwrap_or_default().max(LEAST_PAUSE);
                self.gate.pause(pause);
                Err(Failure::new(Cause::Throttled, Sign::Alive).retry_after(Some(pause)))
            }
            status if status.is_server_error() => {
                let failure = Failure::new(Cause::ErrorStatus, Sign::Failed).repeatable();
                Err(failure.retry_after(pause()))
            }
            _ => Err(Failure::new(Cause::ErrorStatus, Sign::Alive)),
        }
    }

    fn tell_of_credentials(&self, status: StatusCode) {
        if self.bounds().credentials_log.take(Instant::now()) {
            tracing::error!(
                status = status.as_u16(),
                "Altinn's PDP refuses our own token, its scope or the subscription key"
            );
        }
    }

    fn count_held_back(&self, waited: bool) {
        let result = if waited { "waited" } else { "refused" };
        self.metrics.pdp_ceiling.with_label_values(&[result]).inc();
    }
}

/// A call that the circuit let through. Settled in any case: a probe that vanished must leave its place.
struct Passage {
    shared: Arc<Shared>,
    pass: Pass,
    sign: Sign,
}

impl Passage {
    fn enter(shared: &Arc<Shared>) -> Result<Self, Failure> {
        shared.check_bounds().map_err(Failure::held_back)?;
        let entered = shared.bounds().circuit.enter(Instant::now());
        match entered {
            Ok(pass) => Ok(Self { shared: Arc::clone(shared), pass, sign: Sign::None }),
            Err(remaining) => Err(Failure::held_back(Undecided {
                cause: Cause::CircuitOpen,
                retry_after: Some(remaining),
            })),
        }
    }

    fn settle(mut self, sign: Sign) {
        self.sign = sign;
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let change = self.shared.bounds().circuit.settle(self.pass, self.sign, Instant::now());
        match change {
            Some(Change::Opened) => {
                self.shared.opened.notify_waiters();
                tracing::warn!("the circuit to Altinn's PDP is open: the last calls all failed");
            }
            Some(Change::Closed) => {
                tracing::info!("the circuit to Altinn's PDP is closed again");
            }
            None => {}
        }
        if change.is_some() || self.pass == Pass::Probe {
            show_circuit(&self.shared);
        }
    }
}

/// Tells whether calls are held back, and again when they no longer are: nobody may ask then, so that no call would
/// tell it.
fn show_circuit(shared: &Arc<Shared>) {
    let held_back = shared.bounds().circuit.closed_to_calls(Instant::now());
    shared.metrics.pdp_circuit_open.set(held_back.is_some().into());
    if let Some(remaining) = held_back {
        let later = Arc::downgrade(shared);
        shared.runtime.spawn(async move {
            tokio::time::sleep(remaining).await;
            if let Some(shared) = later.upgrade()
                && shared.bounds().circuit.closed_to_calls(Instant::now()).is_none()
            {
                shared.metrics.pdp_circuit_open.set(0);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::{answer, question, questions};
    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::resource::InstanceId;
    use crate::enforce::ports::{Account, Urgency};
    use crate::maskinporten::grant::tests::grant;
    use crate::maskinporten::stub::{Answer, Call, Stub};
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const ASK: &str = "/authorization/api/v1/authorize";
    const EXCHANGE: &str = "/authentication/api/v1/exchange/maskinporten";
    const MINUTE: Duration = Duration::from_secs(60);
    const WAITING: crate::enforce::ports::Call =
        crate::enforce::ports::Call { account: Account::Own, urgency: Urgency::Waiting };

    struct World {
        maskinporten: Stub,
        altinn: Stub,
        pdp: Arc<PdpClient>,
    }

    impl World {
        async fn ask(&self) -> Result<Verdict, Undecided> {
            self.pdp.ask(&question(), WAITING).await
        }

        async fn cause(&self) -> Cause {
            self.ask().await.unwrap_err().cause
        }

        fn calls(&self) -> usize {
            self.altinn.calls_to(ASK)
        }
    }

    fn config(url: &reqwest::Url) -> AltinnConfig {
        let number = |number| NonZeroUsize::new(number).unwrap();
        AltinnConfig {
            url: url.clone(),
            subscription_key: Some("gateway-key".into()),
            requests_per_second: number(1000),
            budget: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(1),
            max_attempts: number(1),
            circuit_failures: number(1000),
            circuit_open_for: MINUTE,
            max_in_flight: number(100),
        }
    }

    const GRANTED: &str = r#"{"access_token":"mp.mp.mp","token_type":"Bearer"}"#;

    /// A PDP whose n-th call (from 0) is answered with `answers(n, call)`; the n-th exchanged token is
    /// `altinn.n.token`.
    async fn world_of(
        granted: Answer,
        set: impl FnOnce(&mut AltinnConfig),
        answers: impl Fn(usize, &Call) -> Answer + Clone + Send + Sync + 'static,
    ) -> World {
        let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let (maskinporten, grant) = grant(granted).await;
        let altinn = Stub::start(move |call| match call.path.as_str() {
            EXCHANGE => {
                let count = counts.0.fetch_add(1, Ordering::Relaxed);
                Answer::ok(format!("\"altinn.{count}.token\""))
            }
            ASK => answers(counts.1.fetch_add(1, Ordering::Relaxed), call),
            _ => Answer::ok(answer("Permit")),
        })
        .await;
        let mut config = config(&altinn.url);
        set(&mut config);
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new().unwrap()));
        let runtime = Handle::current();
        let edge = Arc::new(Altinn::new(&config).unwrap());
        let own_token =
            OwnToken::new(grant, edge.clone(), clock.clone(), metrics.clone(), runtime.clone());
        let (per_second, places) = (config.requests_per_second, config.max_in_flight);
        let gate = Gate::new(per_second, places, &metrics, runtime.clone());
        let pdp = PdpClient::new(&config, edge, Arc::new(own_token), gate, clock, metrics, runtime);
        World { maskinporten, altinn, pdp: Arc::new(pdp) }
    }

    async fn world(
        set: impl FnOnce(&mut AltinnConfig),
        answers: impl Fn(usize, &Call) -> Answer + Clone + Send + Sync + 'static,
    ) -> World {
        world_of(Answer::ok(GRANTED), set, answers).await
    }

    fn permit() -> Answer {
        Answer::ok(answer("Permit"))
    }

    fn attempts(number: usize) -> impl FnOnce(&mut AltinnConfig) {
        move |config| config.max_attempts = NonZeroUsize::new(number).unwrap()
    }

    #[tokio::test]
    async fn each_answer_of_altinn_has_one_meaning() {
        let moved = ("location", "/elsewhere".to_owned());
        let cases = [
            (permit(), Ok(Verdict::Permit)),
            (Answer::ok(answer("Deny")), Ok(Verdict::Deny)),
            (Answer::ok(answer("NotApplicable")), Ok(Verdict::NotApplicable)),
            (Answer::ok(answer("Indeterminate")), Err(Cause::Indeterminate)),
            (Answer::ok("<html>Permit</html>"), Err(Cause::Unreadable)),
            (Answer::ok(vec![b' '; 10_000_000]), Err(Cause::Unreadable)),
            (Answer::Endless, Err(Cause::Unreadable)),
            (Answer::Broken(answer("Permit").into_bytes()), Err(Cause::Unreachable)),
            (Answer::Never, Err(Cause::TimedOut)),
            (Answer::Whole(201, None, answer("Permit").into_bytes()), Err(Cause::ErrorStatus)),
            (
                Answer::Whole(307, Some(moved), answer("Permit").into_bytes()),
                Err(Cause::ErrorStatus),
            ),
            (Answer::status(400), Err(Cause::ErrorStatus)),
            (Answer::status(403), Err(Cause::OwnCredentials)),
            (Answer::status(404), Err(Cause::ErrorStatus)),
            (Answer::Whole(500, None, answer("Permit").into_bytes()), Err(Cause::ErrorStatus)),
            (Answer::status(503), Err(Cause::ErrorStatus)),
        ];
        for (given, expected) in cases {
            let label: String = format!("{given:?}").chars().take(80).collect();
            let world = world(|_| {}, move |_, _| given.clone()).await;
            let answered = world.ask().await.map_err(|undecided| undecided.cause);
            assert_eq!(answered, expected, "{label}");
            assert_eq!((world.calls(), world.altinn.calls_to("/elsewhere")), (1, 0), "{label}");
        }
    }

    #[tokio::test]
    async fn the_call_carries_our_token_and_the_gateway_key() {
        let world = world(|_| {}, |_, _| permit()).await;
        assert_eq!(world.ask().await, Ok(Verdict::Permit));
        let calls = world.altinn.calls();
        let [exchange, ask] = calls.as_slice() else { panic!("two calls") };
        assert_eq!((exchange.method.as_str(), ask.method.as_str()), ("GET", "POST"));
        assert_eq!(exchange.headers["authorization"], "Bearer mp.mp.mp");
        assert_eq!(ask.headers["authorization"], "Bearer altinn.0.token");
        assert_eq!(ask.headers["ocp-apim-subscription-key"], "gateway-key");
        assert_eq!(ask.headers["content-type"], "application/json");
        assert_eq!(ask.headers["accept"], "application/json");
        assert_eq!(ask.body, wire::request_body(&question()));
    }

    #[tokio::test]
    async fn a_slow_pdp_costs_no_more_than_the_budget() {
        let set = |config: &mut AltinnConfig| {
            config.budget = Duration::from_millis(300);
            config.max_attempts = NonZeroUsize::new(9).unwrap();
        };
        let world = world(set, |_, _| Answer::Never).await;
        let started = Instant::now();
        assert_eq!(world.cause().await, Cause::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(world.calls(), 1, "no second call without time for it");
    }

    #[tokio::test]
    async fn a_passing_fault_is_tried_again_and_a_lasting_one_is_told() {
        let failing =
            |times| move |call, _: &Call| if call < times { Answer::status(503) } else { permit() };
        let passing = world(attempts(3), failing(2)).await;
        assert_eq!(passing.ask().await, Ok(Verdict::Permit));
        assert_eq!((passing.calls(), passing.pdp.shared.metrics.pdp_retries.get()), (3, 2));
        let lasting = world(attempts(3), failing(9)).await;
        assert_eq!(lasting.cause().await, Cause::ErrorStatus);
        assert_eq!(lasting.calls(), 3);
        let odd = world(attempts(3), |_, _| Answer::ok("?")).await;
        assert_eq!((odd.cause().await, odd.calls()), (Cause::Unreadable, 1));
    }

    #[tokio::test]
    async fn indeterminate_is_asked_once_more_and_never_opens_the_circuit() {
        let set = |config: &mut AltinnConfig| {
            config.max_attempts = NonZeroUsize::new(9).unwrap();
            config.circuit_failures = NonZeroUsize::MIN;
        };
        let lasting = world(set, |_, _| Answer::ok(answer("Indeterminate"))).await;
        for asked in 1..=3 {
            assert_eq!(lasting.cause().await, Cause::Indeterminate);
            assert_eq!(lasting.calls(), 2 * asked);
        }
        let passing = world(set, |call, _| {
            Answer::ok(answer(if call == 0 { "Indeterminate" } else { "Permit" }))
        });
        assert_eq!(passing.await.ask().await, Ok(Verdict::Permit));
    }

    #[tokio::test]
    async fn after_a_429_nobody_calls_before_the_time_that_altinn_named() {
        let busy = Answer::Whole(429, Some(("retry-after", "120".into())), Vec::new());
        let world = world(attempts(3), move |_, _| busy.clone()).await;
        let first = world.ask().await.unwrap_err();
        assert_eq!((first.cause, first.retry_after), (Cause::Throttled, Some(2 * MINUTE)));
        let second = world.ask().await.unwrap_err();
        assert_eq!(second.cause, Cause::Throttled);
        assert!((MINUTE..=2 * MINUTE).contains(&second.retry_after.unwrap()));
        assert_eq!(world.calls(), 1);
    }

    #[tokio::test]
    async fn failures_in_a_row_open_the_circuit_until_a_probe_does_well() {
        let set = |config: &mut AltinnConfig| {
            config.circuit_failures = NonZeroUsize::new(3).unwrap();
            config.circuit_open_for = Duration::from_secs(1);
        };
        let world =
            world(set, |call, _| if call < 3 { Answer::status(500) } else { permit() }).await;
        for _ in 0..3 {
            assert_eq!(world.cause().await, Cause::ErrorStatus);
        }
        let refused = world.ask().await.unwrap_err();
        assert_eq!(refused.cause, Cause::CircuitOpen);
        assert!(refused.retry_after.unwrap() <= Duration::from_secs(1));
        assert_eq!((world.calls(), world.pdp.shared.metrics.pdp_circuit_open.get()), (3, 1));
        while let Err(Undecided { cause: Cause::CircuitOpen, retry_after }) = world.ask().await {
            tokio::time::sleep(retry_after.unwrap()).await;
        }
        assert_eq!(world.ask().await, Ok(Verdict::Permit));
        assert_eq!(world.pdp.shared.metrics.pdp_circuit_open.get(), 0);
    }

    #[tokio::test]
    async fn a_circuit_that_nobody_asks_through_is_not_told_as_holding_back_for_ever() {
        let set = |config: &mut AltinnConfig| {
            config.circuit_failures = NonZeroUsize::MIN;
            config.circuit_open_for = Duration::from_secs(1);
        };
        let world = world(set, |_, _| Answer::status(500)).await;
        let told = || world.pdp.shared.metrics.pdp_circuit_open.get();
        // Opened by a failure, then again by a probe that failed.
        for calls in [1, 2] {
            assert_eq!(world.cause().await, Cause::ErrorStatus);
            assert_eq!((world.calls(), told()), (calls, 1));
            let patience = Instant::now() + MINUTE;
            while told() == 1 {
                assert!(Instant::now() < patience, "still told as holding back");
                tokio::task::yield_now().await;
            }
            assert_eq!(world.calls(), calls, "nobody asked");
        }
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_and_the_question_asked_again() {
        let first_refused = |_, call: &Call| {
            let old = call.headers["authorization"] == "Bearer altinn.0.token";
            if old { Answer::status(401) } else { permit() }
        };
        let world = world(|_| {}, first_refused).await;
        assert_eq!(world.ask().await, Ok(Verdict::Permit));
        assert_eq!((world.calls(), world.altinn.calls_to(EXCHANGE)), (2, 2));
    }

    #[tokio::test]
    async fn credentials_that_are_refused_for_good_cost_no_token_each_time() {
        let world = world(attempts(3), |_, _| Answer::status(401)).await;
        for calls in [2, 3, 4] {
            assert_eq!(world.cause().await, Cause::OwnCredentials);
            assert_eq!(world.calls(), calls);
        }
        assert_eq!(world.altinn.calls_to(EXCHANGE), 2);
    }

    #[tokio::test]
    async fn without_a_token_of_our_own_nothing_is_asked_and_maskinporten_is_left_in_peace() {
        let refused = Answer::Whole(400, None, br#"{"error":"invalid_grant"}"#.to_vec());
        let world = world_of(refused, attempts(3), |_, _| permit()).await;
        for _ in 0..20 {
            assert_eq!(world.cause().await, Cause::NoOwnToken);
        }
        assert_eq!((world.calls(), world.maskinporten.calls_to("/token")), (0, 1));
    }

    #[tokio::test]
    async fn one_token_serves_all_who_ask_at_once() {
        let world = world(|_| {}, |_, _| permit()).await;
        let mut asks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let pdp = Arc::clone(&world.pdp);
            asks.spawn(async move { pdp.ask(&question(), WAITING).await });
        }
        assert!(asks.join_all().await.iter().all(|answer| *answer == Ok(Verdict::Permit)));
        assert_eq!((world.calls(), world.altinn.calls_to(EXCHANGE)), (50, 1));
    }

    #[tokio::test]
    async fn above_the_ceiling_a_call_waits_for_its_turn_or_is_refused() {
        let set = |config: &mut AltinnConfig| {
            config.requests_per_second = NonZeroUsize::new(5).unwrap();
            config.budget = Duration::from_millis(600);
            config.attempt_timeout = Duration::from_millis(400);
        };
        let world = world(set, |_, _| permit()).await;
        // The token is there, so that only turns are waited for.
        assert_eq!(world.ask().await, Ok(Verdict::Permit));
        let asks = tokio::join!(world.ask(), world.ask(), world.ask(), world.ask());
        let answers = [asks.0, asks.1, asks.2, asks.3];
        let permits = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!((1..=3).contains(&permits), "{answers:?}");
        for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            let second = Some(Duration::from_secs(1));
            assert_eq!((refused.cause, refused.retry_after), (Cause::Busy, second));
        }
        assert_eq!(world.calls(), 1 + permits);
    }

    #[tokio::test]
    async fn a_place_is_kept_by_the_call_and_not_by_the_caller() {
        let set = |config: &mut AltinnConfig| {
            config.max_in_flight = NonZeroUsize::MIN;
            config.budget = Duration::from_millis(400);
        };
        let world = world(set, |_, _| Answer::Never).await;
        tokio::select! {
            _ = world.ask() => panic!("no answer comes"),
            () = async {
                while world.calls() == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
        // The caller left; its call holds the only place for its own time.
        assert_eq!(world.cause().await, Cause::Busy);
        assert_eq!(world.calls(), 1);
    }

    /// Answers to single questions, and to several with one result each; `spoilt` spoils a call that holds
    /// this resource.
    fn pdp_of(spoilt: Option<&'static str>) -> impl Fn(usize, &Call) -> Answer + Clone {
        move |_, call| {
            let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
            let asked = body["Request"]["MultiRequests"]["RequestReference"].as_array();
            let asked = asked.map_or(1, Vec::len);
            let holds = |resource: &str| String::from_utf8_lossy(&call.body).contains(resource);
            if spoilt.is_some_and(holds) {
                return Answer::ok(answer("Indeterminate"));
            }
            if asked == 1 {
                return Answer::ok(answer("Deny"));
            }
            let of = |index: usize| {
                let resource = &body["Request"]["Resource"][index]["Attribute"];
                let all = questions(64);
                let question = all.iter().find(|question| {
                    let action = &body["Request"]["Action"][index]["Attribute"][0]["Value"];
                    let instance = resource[2]["Value"].as_str();
                    resource[0]["Value"] == question.resource().as_str()
                        && *action == question.action().as_str()
                        && instance == question.instance().map(InstanceId::as_str)
                });
                let decision = if index.is_multiple_of(2) { "Permit" } else { "NotApplicable" };
                wire::tests::result(question.unwrap(), decision)
            };
            let results: Vec<_> = (0..asked).map(of).collect();
            Answer::ok(serde_json::json!({ "response": results }).to_string())
        }
    }

    #[tokio::test]
    async fn several_questions_cost_one_call_for_twenty_and_come_back_in_order() {
        for (asked, calls) in [(0, 0), (1, 1), (2, 1), (20, 1), (21, 2), (45, 3)] {
            let world = world(|_| {}, pdp_of(None)).await;
            let verdicts = world.pdp.ask_all(&questions(asked), WAITING).await;
            assert_eq!((verdicts.len(), world.calls()), (asked, calls), "{asked}");
            for (index, verdict) in verdicts.into_iter().enumerate() {
                // Chunks begin anew; the last question of 21 is alone, in the form of one.
                let alone = asked % 20 == 1 && index + 1 == asked;
                let permit = index % 20 % 2 == 0;
                let expected = match (alone, permit) {
                    (true, _) => Verdict::Deny,
                    (false, true) => Verdict::Permit,
                    (false, false) => Verdict::NotApplicable,
                };
                assert_eq!(verdict, Ok(expected), "{index} of {asked}");
            }
        }
    }

    #[tokio::test]
    async fn a_fault_in_one_question_spoils_no_other() {
        let world = world(|_| {}, pdp_of(Some("ske-arkiv"))).await;
        let verdicts = world.pdp.ask_all(&questions(4), WAITING).await;
        let indeterminate = Err(Cause::Indeterminate.into());
        assert_eq!(
            verdicts,
            [Ok(Verdict::Deny), Ok(Verdict::Deny), indeterminate, Ok(Verdict::Deny)]
        );
        assert_eq!(world.calls(), 5, "together, and then each alone");
    }

    #[tokio::test]
    async fn a_permit_that_does_not_say_what_it_permits_is_asked_for_alone() {
        let answers = |_, call: &Call| {
            let several = String::from_utf8_lossy(&call.body).contains("MultiRequests");
            let permit = r#"{"decision":"Permit","category":null}"#;
            let no = r#"{"decision":"NotApplicable","category":null}"#;
            let both = format!(r#"{{"response":[{no},{permit}]}}"#);
            Answer::ok(if several { both } else { answer("Deny") })
        };
        let world = world(|_| {}, answers).await;
        let verdicts = world.pdp.ask_all(&questions(2), WAITING).await;
        assert_eq!(verdicts, [Ok(Verdict::NotApplicable), Ok(Verdict::Deny)]);
        assert_eq!(world.calls(), 2);
    }

    #[tokio::test]
    async fn what_befalls_a_call_for_several_befalls_each_of_them() {
        let busy = Answer::Whole(429, Some(("retry-after", "120".into())), Vec::new());
        for (given, cause) in [
            (Answer::status(503), Cause::ErrorStatus),
            (Answer::status(403), Cause::OwnCredentials),
            (Answer::ok("<html>"), Cause::Unreadable),
            (Answer::Never, Cause::TimedOut),
            (busy, Cause::Throttled),
        ] {
            let world = world(|_| {}, move |_, _| given.clone()).await;
            let verdicts = world.pdp.ask_all(&questions(3), WAITING).await;
            assert_eq!(verdicts.len(), 3);
            assert!(
                verdicts.iter().all(|said| said.is_err_and(|undecided| undecided.cause == cause))
            );
            assert_eq!(world.calls(), 1, "{cause:?}");
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn no_secret_is_logged_at_the_most_talkative_level() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let world = world(attempts(2), |_, _| Answer::status(401)).await;
        assert_eq!(world.cause().await, Cause::OwnCredentials);
        let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        assert!(log.contains("refuses our own token"), "the log is read");
        for secret in [
            "mp.mp.mp",
            "altinn.0.token",
            "altinn.1.token",
            "gateway-key",
            "310000027",
            "assertion=",
        ] {
            assert!(!log.contains(secret), "{secret}");
        }
    }
}
