//! One call to Altinn on behalf of the register: our token where one is needed, the gate, bounds on time
//! and size, and what each status means.
//!
//! Nothing is tried again here but a token that was refused: who keeps the register backs off by itself.

use super::gate::Gate;
use super::lean::Unreadable;
use super::limits::retry_after;
use super::pdp::LEAST_PAUSE;
use super::token::OwnToken;
use super::{Altinn, Endpoint};
use crate::clock::Clock;
use crate::domain::decision::{Cause, Undecided};
use crate::enforce::ports::Call;
use crate::maskinporten::flight::Allowance;
use crate::maskinporten::grant::BearerToken;
use crate::maskinporten::http::{self, HttpError};
use crate::telemetry::metrics::Metrics;
use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, Method, StatusCode};
use bytes::{Buf, Bytes, BytesMut};
use reqwest::{Response, Url};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

const CREDENTIALS_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Chunks that may wait to be parsed.
const CHUNKS: usize = 4;
/// What is no longer than this many bytes, and most answers are not, is parsed where it is: a thread of its own
/// costs more than that.
const SHORT: usize = 16 * 1024;

/// What is called, and how.
pub(super) struct Ask {
    pub(super) endpoint: Endpoint,
    pub(super) call: Call,
    pub(super) url: Url,
    pub(super) accept: &'static str,
    /// Whether our own token goes along.
    pub(super) bearer: bool,
    /// A JSON body; with one it is a POST.
    pub(super) body: Option<Bytes>,
    /// Statuses that say that there is no such thing.
    pub(super) absent: &'static [StatusCode],
    pub(super) time: Time,
}

/// The time that a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    /// At the gate.
    pub(super) wait: Duration,
    /// To the head of the answer.
    pub(super) head: Duration,
    /// Between two parts of its body.
    pub(super) idle: Duration,
    /// From the request to the end of the answer.
    pub(super) total: Duration,
}

/// What every call uses.
pub(super) struct Calls {
    pub(super) altinn: Arc<Altinn>,
    pub(super) own_token: Arc<OwnToken>,
    pub(super) gate: Gate,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) runtime: Handle,
    credentials_log: Mutex<Allowance>,
}

/// The body of an answer that is 200.
pub(super) struct Body {
    response: Response,
    idle: Duration,
    end: Instant,
}

impl From<HttpError> for Cause {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::TimedOut => Self::TimedOut,
            HttpError::Client(_) | HttpError::Unreachable(_) => Self::Unreachable,
            HttpError::TooLarge { .. } => Self::Unreadable,
        }
    }
}

impl From<Unreadable> for Cause {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

impl Calls {
    pub(super) fn new(
        altinn: Arc<Altinn>,
        own_token: Arc<OwnToken>,
        gate: Gate,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Self {
        let credentials_log = Mutex::new(Allowance::one_per(CREDENTIALS_LOG_INTERVAL));
        Self { altinn, own_token, gate, clock, metrics, runtime, credentials_log }
    }

    /// Makes a call and reads its answer with `read`; `None` where there is no such thing.
    pub(super) async fn make<T, F>(
        &self,
        ask: &Ask,
        read: impl FnOnce(Body) -> F,
    ) -> Result<Option<T>, Undecided>
    where
        F: Future<Output = Result<T, Cause>>,
    {
        let mut token = self.token(ask).await?;
        let mut answer = self.send(ask, token.as_deref()).await?;
        let unauthorized =
            answer.response.as_ref().is_ok_and(|it| it.status() == StatusCode::UNAUTHORIZED);
        if unauthorized && token.as_ref().is_some_and(|token| self.own_token.refused(token)) {
            answer.settle(self, Cause::OwnCredentials.label());
            token = self.token(ask).await?;
            answer = self.send(ask, token.as_deref()).await?;
        }
        self.take(ask, answer, read).await
    }

    async fn token(&self, ask: &Ask) -> Result<Option<Arc<BearerToken>>, Undecided> {
        if !ask.bearer {
            return Ok(None);
        }
        let by = Instant::now() + ask.time.wait;
        match timeout_at(by, self.own_token.current()).await {
            Ok(Ok(token)) => Ok(Some(token)),
            Ok(Err(_)) | Err(_) => Err(Cause::NoOwnToken.into()),
        }
    }

    async fn send(&self, ask: &Ask, token: Option<&BearerToken>) -> Result<Answer, Undecided> {
        let place = self.gate.enter(ask.call, Instant::now() + ask.time.wait).await?;
        let method = if ask.body.is_some() { Method::POST } else { Method::GET };
        let mut request = self.altinn.request(method, &ask.url, ask.accept, token);
        if let Some(body) = &ask.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let started = Instant::now();
        let calling = self.altinn.tracer.call(ask.endpoint.call());
        let opened = http::open(request.timeout(ask.time.total), calling);
        let opened = timeout_at(started + ask.time.head.min(ask.time.total), opened).await;
        let response = opened.unwrap_or(Err(HttpError::TimedOut)).map_err(Cause::from);
        Ok(Answer { response, started, endpoint: ask.endpoint, _place: place })
    }

    async fn take<T, F>(
        &self,
        ask: &Ask,
        mut answer: Answer,
        read: impl FnOnce(Body) -> F,
    ) -> Result<Option<T>, Undecided>
    where
        F: Future<Output = Result<T, Cause>>,
    {
        let response = std::mem::replace(&mut answer.response, Err(Cause::Unreachable));
        let taken = match response {
            Err(cause) => Err(cause.into()),
            Ok(response) => match response.status() {
                StatusCode::OK => {
                    let end = answer.started + ask.time.total;
                    let body = Body { response, idle: ask.time.idle, end };
                    read(body).await.map(Some).map_err(Undecided::from)
                }
                status if ask.absent.contains(&status) => Ok(None),
                status => Err(self.refusal(ask.endpoint, status, response.headers())),
            },
        };
        answer.settle(
            self,
            match &taken {
                Ok(Some(_)) => "ok",
                Ok(None) => "absent",
                Err(undecided) => undecided.cause.label(),
            },
        );
        taken
    }

    /// What a status other than 200 means.
    fn refusal(&self, endpoint: Endpoint, status: StatusCode, headers: &HeaderMap) -> Undecided {
        let pause = retry_after(headers, self.clock.now());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.tell_of_credentials(endpoint, status);
                Cause::OwnCredentials.into()
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let pause = pause.unwrap_or_default().max(LEAST_PAUSE);
                self.gate.pause(pause);
                Undecided { cause: Cause::Throttled, retry_after: Some(pause) }
            }
            StatusCode::BAD_REQUEST => Cause::ErrorStatus.into(),
            _ => Undecided { cause: Cause::ErrorStatus, retry_after: pause },
        }
    }

    fn tell_of_credentials(&self, endpoint: Endpoint, status: StatusCode) {
        let mut log = self.credentials_log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.take(Instant::now()) {
            tracing::error!(
                endpoint = endpoint.label(),
                status = status.as_u16(),
                "Altinn refuses our own token, its scope or the subscription key"
            );
        }
    }
}

/// The head of an answer, and the place that is held until the answer is read.
struct Answer {
    response: Result<Response, Cause>,
    started: Instant,
    endpoint: Endpoint,
    _place: super::gate::Place,
}

impl Answer {
    /// Counts the call; gives its place back.
    fn settle(self, calls: &Calls, result: &str) {
        let endpoint = self.endpoint.label();
        let seconds = self.started.elapsed().as_secs_f64();
        calls.metrics.altinn_seconds.with_label_values(&[endpoint]).observe(seconds);
        calls.metrics.altinn_calls.with_label_values(&[endpoint, result]).inc();
    }
}

impl Body {
    /// Whether the answer says that it is one of these media types, parameters aside.
    pub(super) fn is(&self, types: &[&str]) -> bool {
        let mut values = self.response.headers().get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let essence = value.to_str().ok().and_then(|value| value.split(';').next());
        essence
            .is_some_and(|essence| types.iter().any(|it| it.eq_ignore_ascii_case(essence.trim())))
    }

    /// All of it, when it is one of `types` and no longer than `limit`.
    pub(super) async fn whole(self, types: &[&str], limit: usize) -> Result<Vec<u8>, Cause> {
        if !self.is(types) {
            return Err(Cause::Unreadable);
        }
        let read = timeout_at(self.end, http::whole(self.response, limit)).await;
        Ok(read.unwrap_or(Err(HttpError::TimedOut))?)
    }

    /// Has it parsed: a short one here, a long one as it arrives, on a thread of its own; at most `limit` bytes.
    pub(super) async fn parsed<T: Send + 'static>(
        mut self,
        runtime: &Handle,
        types: &[&str],
        limit: usize,
        parse: impl FnOnce(Chunks) -> Result<T, Unreadable> + Send + 'static,
    ) -> Result<T, Cause> {
        if !self.is(types) {
            return Err(Cause::Unreadable);
        }
        let mut left = limit;
        let begun = timeout_at(self.end, self.begin(&mut left)).await;
        let (current, ended) = begun.unwrap_or(Err(Cause::TimedOut))?;
        let (chunks, receiver) = mpsc::channel(CHUNKS);
        let body = Chunks { receiver, current, ended };
        if ended {
            // As on another thread: a parser that panics has not read it.
            let parsed = catch_unwind(AssertUnwindSafe(|| parse(body)));
            return Ok(parsed.map_err(|_| Cause::Unreadable)??);
        }
        let parsing = runtime.spawn_blocking(move || parse(body));
        let pumped = timeout_at(self.end, self.pump(left, chunks)).await;
        pumped.unwrap_or(Err(Cause::TimedOut))?;
        Ok(parsing.await.map_err(|_| Cause::Unreadable)??)
    }

    /// What comes first, and whether it is all: more than [`SHORT`] if not.
    async fn begin(&mut self, left: &mut usize) -> Result<(Bytes, bool), Cause> {
        let mut begun = BytesMut::new();
        while begun.len() <= SHORT {
            match self.next(left).await? {
                Some(chunk) => begun.extend_from_slice(&chunk),
                None => return Ok((begun.freeze(), true)),
            }
        }
        Ok((begun.freeze(), false))
    }

    /// Hands the rest over chunk by chunk; its end only when it came to its proper end.
    async fn pump(
        &mut self,
        mut left: usize,
        chunks: mpsc::Sender<Option<Bytes>>,
    ) -> Result<(), Cause> {
        loop {
            let next = self.next(&mut left).await?;
            let last = next.is_none();
            // A parser that is gone has given up; it says why.
            if chunks.send(next).await.is_err() || last {
                return Ok(());
            }
        }
    }

    /// The next chunk, of which `left` bytes may come; none after the last.
    async fn next(&mut self, left: &mut usize) -> Result<Option<Bytes>, Cause> {
        let next = timeout_at(Instant::now() + self.idle, http::chunk(&mut self.response)).await;
        let next = next.unwrap_or(Err(HttpError::TimedOut))?;
        let length = next.as_ref().map_or(0, Bytes::len);
        *left = left.checked_sub(length).ok_or(Cause::Unreadable)?;
        Ok(next)
    }
}

/// A body as a reader; one that has not ended is read on a thread that may wait.
pub(super) struct Chunks {
    receiver: mpsc::Receiver<Option<Bytes>>,
    current: Bytes,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Some(chunk)) => self.current = chunk,
                Some(None) => self.ended = true,
                // The body broke off: what came must not look whole.
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = self.current.len().min(buffer.len());
        if let Some(buffer) = buffer.get_mut(..length) {
            self.current.copy_to_slice(buffer);
        }
        Ok(length)
    }
}
