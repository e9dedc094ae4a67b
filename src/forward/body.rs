//! Bodies on their way: passed on frame by frame, within limits of size and silence.

use super::headers;
use crate::deadlines::Deadlines;
use crate::enforce::facts::BodyError;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// How far a request's body has come, shared by the body and those who wait for the answer.
#[derive(Debug)]
pub struct Progress {
    bytes: AtomicU64,
    frames: AtomicU64,
    /// Whether it is the client that is waited for.
    starving: AtomicBool,
    state: AtomicU8,
    finished: Notify,
    /// Wakes the body, so that it sees that it was cut.
    reader: AtomicWaker,
    limit: u64,
}

const RUNNING: u8 = 0;
const FINISHED: u8 = 1;
const TOO_LONG: u8 = 2;
const BROKEN: u8 = 3;
const TIMED_OUT: u8 = 4;
const CUT: u8 = 5;

impl Progress {
    /// Nothing has come yet. `limit` is the most bytes the body may have.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            starving: AtomicBool::new(false),
            state: AtomicU8::new(RUNNING),
            finished: Notify::new(),
            reader: AtomicWaker::new(),
            limit: limit.unwrap_or(u64::MAX),
        }
    }

    /// Bytes passed on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The most bytes the body may have.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How the client broke its body off, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<BodyError> {
        match self.state.load(Ordering::Acquire) {
            TOO_LONG => Some(BodyError::TooLong),
            BROKEN | CUT => Some(BodyError::Broken),
            TIMED_OUT => Some(BodyError::TimedOut),
            _ => None,
        }
    }

    /// Nothing more of it goes to the upstream: what it was granted by has lapsed.
    pub fn cut(&self) {
        if self.is_running() {
            self.end(CUT);
            self.reader.wake();
        }
    }

    fn is_cut(&self) -> bool {
        self.state.load(Ordering::Acquire) == CUT
    }

    fn end(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.finished.notify_one();
    }

    fn failed(&self, error: BodyError) {
        self.end(match error {
            BodyError::TooLong => TOO_LONG,
            BodyError::Broken | BodyError::Unseen => BROKEN,
            BodyError::TimedOut => TIMED_OUT,
        });
    }

    fn passed(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.starving.store(false, Ordering::Relaxed);
    }

    fn is_running(&self) -> bool {
        self.state.load(Ordering::Acquire) == RUNNING
    }

    /// Ends when the upstream has taken nothing of the body for `idle`, or has not answered for
    /// `response` after the whole of it. How long the client may be silent is [`Silence`]'s to tell.
    pub(super) async fn stalled(
        &self,
        idle: Duration,
        response: Duration,
        deadlines: &Arc<Deadlines>,
    ) {
        while self.is_running() {
            let before = self.frames.load(Ordering::Relaxed);
            let waited = tokio::time::timeout(idle, self.finished.notified()).await;
            let moved = self.frames.load(Ordering::Relaxed) != before;
            let starving = self.starving.load(Ordering::Relaxed);
            if waited.is_err() && !moved && !starving && self.is_running() {
                return;
            }
        }
        deadlines.at(Instant::now() + response).await;
    }
}

/// The body of a request on its way to the upstream.
#[derive(Debug)]
pub enum Outgoing {
    /// As it comes from the client.
    Stream(Box<Stream>),
    /// Read before, to find the party in it; sent as it was read.
    Whole(Full<Bytes>),
    /// None.
    Empty,
}

/// A body that is passed on as it comes.
#[derive(Debug)]
pub struct Stream {
    /// The beginning, where that was read before.
    begun: Option<Bytes>,
    incoming: Incoming,
    progress: Arc<Progress>,
    silence: Silence,
    judged: Option<HeaderName>,
}

impl Outgoing {
    /// Passes `incoming` on; it may be silent for `idle` at most.
    #[must_use]
    pub fn stream(incoming: Incoming, progress: &Arc<Progress>, idle: Duration) -> Self {
        if incoming.is_end_stream() {
            progress.end(FINISHED);
            return Self::Empty;
        }
        Self::begun(None, incoming, progress, idle)
    }

    /// Passes on what was read before, and then the rest of `incoming`.
    #[must_use]
    pub fn rest(
        begun: Bytes,
        incoming: Incoming,
        progress: &Arc<Progress>,
        idle: Duration,
    ) -> Self {
        Self::begun(Some(begun), incoming, progress, idle)
    }

    fn begun(
        begun: Option<Bytes>,
        incoming: Incoming,
        progress: &Arc<Progress>,
        idle: Duration,
    ) -> Self {
        let progress = Arc::clone(progress);
        let silence = Silence::new(idle);
        Self::Stream(Box::new(Stream { begun, incoming, progress, silence, judged: None }))
    }

    /// Whether it comes from the client while it goes out.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Keeps a field that the request was judged by out of the trailers, where it could say something else.
    pub fn keep_out_of_trailers(&mut self, judged: Option<&HeaderName>) {
        if let Self::Stream(stream) = self {
            stream.judged = judged.cloned();
        }
    }

    /// Sends what was read before.
    #[must_use]
    pub fn whole(bytes: Bytes, progress: &Progress) -> Self {
        progress.passed(bytes.len());
        progress.end(FINISHED);
        Self::Whole(Full::new(bytes))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Stream(stream) => stream.poll(cx),
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx).map_err(|never| match never {}),
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.begun.is_none() && stream.incoming.is_end_stream(),
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // What is longer than was read tells no length: one that does is not read at all.
            Self::Stream(stream) if stream.begun.is_some() => SizeHint::default(),
            Self::Stream(stream) => stream.incoming.size_hint(),
            Self::Whole(whole) => whole.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.progress.reader.register(cx.waker());
        if self.progress.is_cut() {
            return Poll::Ready(Some(Err(BodyError::Broken)));
        }
        let begun = self.begun.take().map(|bytes| Some(Ok(Frame::data(bytes))));
        let next =
            match begun.map_or_else(|| self.silence.poll(&mut self.incoming, cx), Poll::Ready) {
                Poll::Pending => {
                    self.progress.starving.store(true, Ordering::Relaxed);
                    return Poll::Pending;
                }
                Poll::Ready(next) => next,
            };
        let frame = match next {
            None => {
                self.progress.end(FINISHED);
                return Poll::Ready(None);
            }
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return self.fail(error),
        };
        self.progress.passed(frame.data_ref().map_or(0, Bytes::len));
        if self.progress.bytes() > self.progress.limit() {
            return self.fail(BodyError::TooLong);
        }
        if self.incoming.is_end_stream() {
            self.progress.end(FINISHED);
        }
        let direction = headers::Direction::Request(self.judged.as_ref());
        Poll::Ready(Some(Ok(headers::clean_trailers(frame, direction))))
    }

    fn fail(&self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.progress.failed(error);
        Poll::Ready(Some(Err(error)))
    }
}

/// Watches how long a body is silent.
#[derive(Debug)]
pub struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    /// Tolerates silences up to `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    /// The next frame of `incoming`, or [`BodyError::TimedOut`] after too long a silence.
    pub fn poll(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(next) = Pin::new(incoming).poll_frame(cx) {
            self.timer = None;
            return Poll::Ready(next.map(|frame| frame.map_err(|_| BodyError::Broken)));
        }
        // The timer is made by the first silence, so a body that is all there costs none.
        let limit = self.limit;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::TimedOut)))
    }
}
