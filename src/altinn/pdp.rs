//! Altinn's PDP: one question, one verdict, within bounds of our own.
//!
//! Every question has a time budget, whatever Altinn does: waiting for a place, for our own token, for a
//! turn below the declared ceiling, and for repeated calls all count. A call is repeated only where that
//! is safe and may help; asking changes nothing at Altinn. Nothing is remembered here: that is the
//! register's.
//!
//! The circuit counts calls that got no usable answer. `Indeterminate` is about one question (an unknown
//! resource is enough) and a refusal of our own credentials is an answer; neither opens it.

use super::limits::{Change, Circuit, Pass, Pause, Sign, Turns, retry_after};
use super::token::OwnToken;
use super::{Altinn, wire};
use crate::clock::Clock;
use crate::config::AltinnConfig;
use crate::domain::decision::{Cause, Undecided, Verdict};
use crate::domain::resource::Question;
use crate::enforce::ports::{Call, EdgeFuture, RemotePdp};
use crate::maskinporten::flight::Allowance;
use crate::maskinporten::grant::BearerToken;
use crate::maskinporten::http::{self, HttpError, Reply};
use crate::telemetry::metrics::Metrics;
use ::http::header::CONTENT_TYPE;
use ::http::{Method, StatusCode};
use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

/// What callers are told when our own bounds refuse a call.
const OWN_PAUSE: Duration = Duration::from_secs(1);
/// A 429 without a time, or with none to speak of, stops calls this long.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_millis(500);
const CREDENTIALS_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The PDP, as seen from here.
pub struct PdpClient {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    altinn: Arc<Altinn>,
    own_token: Arc<OwnToken>,
    budget: Duration,
    attempt_timeout: Duration,
    max_attempts: usize,
    places: Arc<Semaphore>,
    bounds: Mutex<Bounds>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// What all questions share.
struct Bounds {
    circuit: Circuit,
    pause: Pause,
    turns: Turns,
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
    sign: Sign,
}

impl Failure {
    fn new(cause: Cause, sign: Sign) -> Self {
        Self { undecided: cause.into(), repeat: false, sign }
    }

    /// Refused by our own bounds: nothing was sent.
    fn held_back(cause: Cause, pause: Duration) -> Self {
        Self::new(cause, Sign::None).retry_after(Some(pause))
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

impl PdpClient {
    /// A client that calls on `runtime`, the one of every call to the outside.
    #[must_use]
    pub fn new(
        config: &AltinnConfig,
        altinn: Arc<Altinn>,
        own_token: Arc<OwnToken>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Self {
        let bounds = Bounds {
            circuit: Circuit::new(config.circuit_failures.get(), config.circuit_open_for),
            pause: Pause::default(),
            turns: Turns::per_second(config.requests_per_second.get()),
            credentials_log: Allowance::one_per(CREDENTIALS_LOG_INTERVAL),
        };
        let places = config.max_in_flight.get().min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            altinn,
            own_token,
            budget: config.budget,
            attempt_timeout: config.attempt_timeout,
            max_attempts: config.max_attempts.get(),
            places: Arc::new(Semaphore::new(places)),
            bounds: Mutex::new(bounds),
            clock,
            metrics,
        };
        Self { shared: Arc::new(shared), runtime }
    }
}

impl RemotePdp for PdpClient {
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        _call: Call,
    ) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        Box::pin(async move {
            let window = self.shared.window();
            // Waiting for a place ends with the caller; what has a place is a task of its own, so that
            // tasks are bounded and no connection is torn down by a client that leaves.
            let place = self.shared.place(window).await?;
            let body = Bytes::from(wire::request_body(question));
            let shared = Arc::clone(&self.shared);
            let asking = async move {
                let _place = place;
                shared.ask_within(window, &body).await
            };
            // Its log lines carry the trace of the request that asked first.
            let task = self.runtime.spawn(asking.in_current_span());
            task.await.unwrap_or(Err(Cause::Unreachable.into()))
        })
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        call: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        Box::pin(async move {
            let mut verdicts = Vec::with_capacity(questions.len());
            for question in questions {
                verdicts.push(self.ask(question, call).await);
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
        let (bounds, now) = (self.bounds(), Instant::now());
        let refused = |cause, remaining| Undecided { cause, retry_after: Some(remaining) };
        if let Some(remaining) = bounds.pause.remaining(now) {
            return Err(refused(Cause::Throttled, remaining));
        }
        match bounds.circuit.closed_to_calls(now) {
            Some(remaining) => Err(refused(Cause::CircuitOpen, remaining)),
            None => Ok(()),
        }
    }

    async fn place(&self, window: Window) -> Result<OwnedSemaphorePermit, Undecided> {
        self.check_bounds()?;
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let place = timeout_at(window.last_start, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok);
        self.count_held_back(place.is_some());
        place.ok_or(Undecided { cause: Cause::Throttled, retry_after: Some(OWN_PAUSE) })
    }

    async fn ask_within(&self, window: Window, body: &Bytes) -> Result<Verdict, Undecided> {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(FIRST_RETRY)
            .with_max_delay(LAST_RETRY)
            .with_max_times(self.max_attempts - 1)
            .with_jitter()
            .build();
        let mut indeterminate = false;
        loop {
            let failure = match self.attempt(window, body).await {
                Ok(verdict) => return Ok(verdict),
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

    async fn attempt(&self, window: Window, body: &Bytes) -> Result<Verdict, Failure> {
        let passage = Passage::enter(self)?;
        let result = self.call(window, body).await;
        passage.settle(&result);
        result
    }

    /// Asks with our own token; when that is refused, once more with another one.
    async fn call(&self, window: Window, body: &Bytes) -> Result<Verdict, Failure> {
        let token = self.token(window).await?;
        let reply = self.send(window, body, &token).await?;
        if reply.status != StatusCode::UNAUTHORIZED || !self.own_token.refused(&token) {
            return self.judge(&reply);
        }
        self.count_call(Cause::OwnCredentials.label());
        let token = self.token(window).await?;
        let reply = self.send(window, body, &token).await?;
        self.judge(&reply)
    }

    async fn token(&self, window: Window) -> Result<Arc<BearerToken>, Failure> {
        match timeout_at(window.last_start, self.own_token.current()).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(_)) | Err(_) => Err(Failure::new(Cause::NoOwnToken, Sign::Failed)),
        }
    }

    async fn send(
        &self,
        window: Window,
        body: &Bytes,
        token: &BearerToken,
    ) -> Result<Reply, Failure> {
        self.turn(window).await?;
        let request = self
            .altinn
            .request(Method::POST, &self.altinn.authorize_url, "application/json", token)
            .header(CONTENT_TYPE, "application/json")
            .body(body.clone());
        let started = Instant::now();
        let end = window.end.min(started + self.attempt_timeout);
        let sent = timeout_at(end, http::send(request, wire::MAX_ANSWER_BYTES)).await;
        self.metrics.pdp_seconds.observe(started.elapsed().as_secs_f64());
        sent.unwrap_or(Err(HttpError::TimedOut)).map_err(|error| {
            let failure = Failure::from(error);
            self.count_call(failure.undecided.cause.label());
            failure
        })
    }

    async fn turn(&self, window: Window) -> Result<(), Failure> {
        let now = Instant::now();
        let turn = self.bounds().turns.take(now, window.last_start);
        match turn {
            Some(turn) if turn <= now => {}
            Some(turn) => {
                self.count_held_back(true);
                tokio::time::sleep_until(turn).await;
            }
            None => {
                self.count_held_back(false);
                return Err(Failure::held_back(Cause::Throttled, OWN_PAUSE));
            }
        }
        Ok(())
    }

    fn judge(&self, reply: &Reply) -> Result<Verdict, Failure> {
        let judged = self.read(reply);
        self.count_call(match &judged {
            Ok(Verdict::Permit) => "permit",
            Ok(Verdict::Deny) => "denied",
            Ok(Verdict::Unmet(_)) => "unmet_obligation",
            Ok(Verdict::NotApplicable) => "not_applicable",
            Err(failure) => failure.undecided.cause.label(),
        });
        judged
    }

    fn read(&self, reply: &Reply) -> Result<Verdict, Failure> {
        let pause = || retry_after(&reply.headers, self.clock.now());
        match reply.status {
            StatusCode::OK => wire::read_answer(&reply.body).map_err(|cause| match cause {
                Cause::Indeterminate => Failure::new(cause, Sign::Alive).repeatable(),
                _ => Failure::new(cause, Sign::Failed),
            }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.tell_of_credentials(reply.status);
                Err(Failure::new(Cause::OwnCredentials, Sign::Alive))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let pause = pause().unwrap_or_default().max(LEAST_PAUSE);
                self.bounds().pause.extend(Instant::now(), pause);
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

    fn count_call(&self, result: &str) {
        self.metrics.pdp_calls.with_label_values(&[result]).inc();
    }

    fn count_held_back(&self, waited: bool) {
        let result = if waited { "waited" } else { "refused" };
        self.metrics.pdp_ceiling.with_label_values(&[result]).inc();
    }
}

/// A call that the circuit let through. Settled in any case: a probe that vanished must leave its place.
struct Passage<'a> {
    shared: &'a Shared,
    pass: Pass,
    sign: Sign,
}

impl<'a> Passage<'a> {
    fn enter(shared: &'a Shared) -> Result<Self, Failure> {
        let (mut bounds, now) = (shared.bounds(), Instant::now());
        if let Some(remaining) = bounds.pause.remaining(now) {
            return Err(Failure::held_back(Cause::Throttled, remaining));
        }
        match bounds.circuit.enter(now) {
            Ok(pass) => Ok(Self { shared, pass, sign: Sign::None }),
            Err(remaining) => Err(Failure::held_back(Cause::CircuitOpen, remaining)),
        }
    }

    fn settle(mut self, result: &Result<Verdict, Failure>) {
        self.sign = result.as_ref().map_or_else(|failure| failure.sign, |_| Sign::Alive);
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let change = self.shared.bounds().circuit.settle(self.pass, self.sign, Instant::now());
        match change {
            Some(Change::Opened) => {
                self.shared.metrics.pdp_circuit_open.set(1);
                tracing::warn!("the circuit to Altinn's PDP is open: the last calls all failed");
            }
            Some(Change::Closed) => {
                self.shared.metrics.pdp_circuit_open.set(0);
                tracing::info!("the circuit to Altinn's PDP is closed again");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::{answer, question};
    use super::*;
    use crate::clock::SystemClock;
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
        let pdp = PdpClient::new(&config, edge, Arc::new(own_token), clock, metrics, runtime);
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
            config.circuit_open_for = Duration::from_millis(200);
        };
        let world =
            world(set, |call, _| if call < 3 { Answer::status(500) } else { permit() }).await;
        for _ in 0..3 {
            assert_eq!(world.cause().await, Cause::ErrorStatus);
        }
        let refused = world.ask().await.unwrap_err();
        assert_eq!(refused.cause, Cause::CircuitOpen);
        assert!(refused.retry_after.unwrap() <= Duration::from_millis(200));
        assert_eq!((world.calls(), world.pdp.shared.metrics.pdp_circuit_open.get()), (3, 1));
        while let Err(Undecided { cause: Cause::CircuitOpen, retry_after }) = world.ask().await {
            tokio::time::sleep(retry_after.unwrap()).await;
        }
        assert_eq!(world.ask().await, Ok(Verdict::Permit));
        assert_eq!(world.pdp.shared.metrics.pdp_circuit_open.get(), 0);
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
            assert_eq!((refused.cause, refused.retry_after), (Cause::Throttled, Some(OWN_PAUSE)));
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
            biased;
            _ = world.ask() => panic!("no answer comes"),
            () = std::future::ready(()) => {}
        }
        // The caller left; its call holds the only place for its own time.
        assert_eq!(world.cause().await, Cause::Throttled);
        assert_eq!(world.calls(), 1);
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
