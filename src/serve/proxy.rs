//! Mode: reverse proxy. A request in, facts to `enforce`, a grant to `forward`, an answer out.
//! Translates only; decides nothing.

use super::activity::Busy;
use super::extended::Extended;
use super::respond::{self, Caller, Surroundings};
use super::streams::Delivery;
use super::tunnel::{self, Counts, End};
use super::watch::{self, Watch};
use crate::clock::Clock;
use crate::config::{ForwardAuthConfig, LimitConfig, RefusalConfig};
use crate::enforce::facts::{BodyError, BodyReader, Facts};
use crate::enforce::ports::EdgeFuture;
use crate::enforce::rejection::{Code, Rejection};
use crate::enforce::trail::Step;
use crate::enforce::vigil::{Asked, Going, Lapse};
use crate::enforce::{Enforcer, Grant};
use crate::forward::body::{Outgoing, Progress, Silence};
use crate::forward::headers::{Direction, clean_trailers};
use crate::forward::{Answered, Client, Forwarder, ToSend};
use crate::record::{Opening, Record, Recorder, Unreadable};
use crate::trace;
use crate::trace::context::TraceId;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, request,
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// What serves requests: one a worker, sharing all but the upstream connections.
pub struct Proxy {
    /// What requests are judged and forwarded by that begin now.
    pub generation: ArcSwap<Generation>,
    /// What remembers.
    pub recorder: Arc<Recorder>,
    /// The time of day, for records.
    pub clock: Arc<dyn Clock>,
    /// Requests that may still be taken on, all workers together.
    pub in_flight: Arc<Semaphore>,
    /// Connections, and the tunnels that they have become.
    pub tasks: TaskTracker,
    /// How far the end has come.
    pub stop: Stop,
    /// How questions of another proxy are read; `None` where requests are forwarded.
    pub questions: Option<ForwardAuthConfig>,
}

/// What one configuration comes to for one worker. A request takes one up when it begins, and keeps it.
#[derive(Debug)]
pub struct Generation {
    /// What judges.
    pub enforcer: Arc<Enforcer>,
    /// What sends on.
    pub forwarder: Forwarder,
    /// How refusals look.
    pub refusals: RefusalConfig,
    /// Altinn's base address, for remedies.
    pub altinn: String,
}

/// The end of the program, in its steps. A clone is as good.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Not ready any more: connections are still taken, and HTTP/1 ones are not kept after their next answer, so
    /// that none is closed at the moment at which a client begins to use it again.
    pub leaving: CancellationToken,
    /// No new connections; those that are open end after what is in flight.
    pub closing: CancellationToken,
    /// Streams have had their grace.
    pub streams: CancellationToken,
    /// Nobody waits for what is in flight any more: it is cut, and recorded as it stands.
    pub now: CancellationToken,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Proxy {
    /// The bounds of the newest configuration.
    pub(super) fn limits(&self) -> LimitConfig {
        self.generation.load().enforcer.limits.clone()
    }

    /// Serves one request. A panic in it is a 500 for it alone.
    ///
    /// # Errors
    /// Never.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        client: &Arc<Client>,
        busy: Busy,
    ) -> Result<Response<Reply>, Infallible> {
        let generation = self.generation.load_full();
        let limits = &generation.enforcer.limits;
        let (mut head, body) = request.into_parts();
        let extended = Extended::translate(&mut head);
        let declared = body.size_hint().exact();
        let mut body = Some(RequestBody::new(body, limits.body_idle_timeout));
        let mut record = self.open(&head, client, limits);
        // To a CONNECT, a status of 200 is a tunnel, whatever stands behind.
        let of = if extended.is_some() { Caller::behind_another } else { Caller::of };
        let caller = of(&head.headers, generation.refusals.default_language);
        let version = head.version;
        let asked = Asked { method: head.method.clone(), uri: head.uri.clone() };
        let (span, record_trace) = (span(self.mode(), &record), record.trace());
        let served = {
            // Pinned where it is: wrapped by value it would be copied for each wrapper.
            let extended = extended.as_ref();
            let serving =
                pin!(self.serve(&generation, (head, extended), &mut body, client, &mut record));
            let serving = trace::within(record_trace, serving.instrument(span.clone()));
            AssertUnwindSafe(serving).catch_unwind().await
        };
        let served = served.unwrap_or_else(|_| {
            let span_id = record.trace().span;
            tracing::error!(trace_id = record.trace_id(), %span_id, "a request ended in a panic");
            record.trail.failed(&Rejection::Internal);
            Err(Rejection::Internal)
        });
        record.tell(&span);
        let mut response = match served {
            Ok((answered, granted)) => {
                let grpc = version == Version::HTTP_2 && caller.is_grpc();
                self.pass_on(&generation, answered, (granted, busy), record, (asked, grpc))
            }
            Err(rejection) => {
                // Where the end of a message was not seen, the next one cannot begin.
                let ended = match &body {
                    Some(unsent) => unsent.has_ended(),
                    None => declared == Some(record.progress.bytes()),
                };
                let mut response =
                    Self::refuse((&generation, &rejection), caller, record, (&asked.method, busy));
                // HTTP/2 frames each apart.
                if version < Version::HTTP_2 && !ended {
                    close_after(&mut response);
                }
                response
            }
        };
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if version < Version::HTTP_2 && !switched && self.stop.leaving.is_cancelled() {
            close_after(&mut response);
        }
        Ok(response)
    }

    /// Records a request that the HTTP library refused by itself.
    pub(super) fn unreadable(&self, peer: IpAddr, code: Code) {
        self.recorder.unreadable(&Unreadable {
            at: self.clock.wall(),
            trace_id: TraceId::random().as_str(),
            mode: self.mode(),
            peer,
            code: code.label(),
        });
    }

    fn open(&self, head: &request::Parts, client: &Client, limits: &LimitConfig) -> Record {
        let opening = Opening {
            at: self.clock.wall(),
            trace: self.recorder.tracer.begin(&head.headers),
            mode: self.mode(),
            peer: client.address,
            secure: client.secure,
            version: head.version,
            method: &head.method,
            uri: &head.uri,
            body_limit: limits.body_bytes,
        };
        Record::open(Arc::clone(&self.recorder), opening)
    }

    /// As audit records and the log call it.
    pub(super) fn mode(&self) -> &'static str {
        if self.questions.is_none() { "proxy" } else { "forward_auth" }
    }

    async fn serve(
        &self,
        generation: &Generation,
        (mut head, extended): (request::Parts, Option<&Extended>),
        body: &mut Option<RequestBody>,
        client: &Arc<Client>,
        record: &mut Record,
    ) -> Result<(Answered, Granted), Rejection> {
        record.admitted().inspect_err(|rejection| record.trail.refused(rejection))?;
        let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            record.trail.refused(&Rejection::Overloaded);
            return Err(Rejection::Overloaded);
        };
        let upgrade = head.extensions.remove::<OnUpgrade>();
        let reader = body.as_mut().ok_or(Rejection::Internal)?;
        let facts = Facts {
            method: &head.method,
            uri: &head.uri,
            version: head.version,
            headers: &head.headers,
            peer: client.address,
        };
        let judged = generation.enforcer.enforce(facts, reader, &mut record.trail).await;
        // What is logged from here on carries who asked for what.
        record.tell(&tracing::Span::current());
        let grant = judged?;
        if extended.is_some() {
            let granted = Extended::granted_by(&grant.route().config);
            granted.inspect_err(|rejection| record.trail.refused(rejection))?;
        }
        let progress = Arc::clone(&record.progress);
        let body = body.take().ok_or(Rejection::Internal)?.into_outgoing(&progress);
        let (client, trace) = (Arc::clone(client), record.trace());
        let request = ToSend { head, body, progress, client, upgrade, trace };
        let outlived = |lapse| record.outlived().note(lapse);
        let answered = Self::forward(generation, &grant, request, outlived).await;
        record.trail.done(Step::Forward);
        let answered = answered.and_then(|answered| match extended {
            Some(extended) => extended.accepted(answered),
            None => Ok(answered),
        });
        match answered {
            Ok(answered) => Ok((answered, Granted { grant, place: permit })),
            Err(rejection) => {
                record.trail.failed(&rejection);
                Err(rejection)
            }
        }
    }

    /// Forwards a request. While its body is still coming, what it was granted by must last; where the route is in shadow,
    /// `outlived` is told that it did not.
    async fn forward(
        generation: &Generation,
        grant: &Grant,
        request: ToSend,
        outlived: impl FnOnce(Lapse) + Send,
    ) -> Result<Answered, Rejection> {
        if !request.body.is_streamed() {
            return generation.forwarder.forward(grant, request).await;
        }
        // The head goes on with the request.
        let asked = Asked { method: request.head.method.clone(), uri: request.head.uri.clone() };
        let since = Instant::now();
        let lapse = Box::pin(async {
            tokio::time::sleep_until(since + watch::SHORT).await;
            generation.enforcer.vigil(grant, &asked, Going::Answer, since).lapse(outlived).await
        });
        let forwarding = Box::pin(generation.forwarder.forward(grant, request));
        tokio::select! {
            answered = forwarding => answered,
            lapse = lapse => Err(lapse.into_rejection()),
        }
    }

    pub(super) fn refuse(
        (generation, rejection): (&Generation, &Rejection),
        caller: Caller,
        record: Record,
        (method, busy): (&Method, Busy),
    ) -> Response<Reply> {
        let around = Surroundings {
            caller,
            trace_id: record.trace_id(),
            altinn: &generation.altinn,
            problem_type: &generation.refusals.problem_type,
        };
        let response = respond::refuse(rejection, around);
        Self::tell(response, record, (method, busy))
    }

    /// An answer of our own, whole.
    pub(super) fn tell(
        response: Response<Bytes>,
        mut record: Record,
        (method, busy): (&Method, Busy),
    ) -> Response<Reply> {
        record.responding(response.status());
        if *method != Method::HEAD {
            record.sent(response.body().len());
        }
        // Written before the caller can know of it.
        record.complete();
        drop(record);
        response.map(|bytes| Reply {
            body: ReplyBody::Whole(Full::new(bytes)),
            delivery: None,
            _busy: busy,
        })
    }

    /// Hands the upstream's answer to the client, and the record to its body.
    fn pass_on(
        &self,
        generation: &Generation,
        answered: Answered,
        (granted, busy): (Granted, Busy),
        mut record: Record,
        (asked, grpc): (Asked, bool),
    ) -> Response<Reply> {
        let Answered { mut response, tunnel, idle } = answered;
        record.responding(response.status());
        if let Some(sides) = tunnel {
            let enforcer = &generation.enforcer;
            // A tunnel without a protocol is granted by no route.
            let protocol = response.headers().get(header::UPGRADE).cloned();
            let protocol = protocol.unwrap_or(HeaderValue::from_static(""));
            let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
            let going = Going::Tunnel(protocol);
            let vigil = enforcer.vigil(&granted.grant, &asked, going, Instant::now());
            // Of HTTP/2, where one connection carries more than the tunnel.
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().remove(header::CONNECTION);
                response.headers_mut().remove(header::UPGRADE);
            }
            let (counts, outlived) = (Counts::default(), record.outlived());
            let lapse = vigil.lapse(move |lapse| outlived.note(lapse));
            let lapse = watch::until(self.stop.streams.clone(), lapse);
            let tunnel = Tunnel { record, counts, _place: granted.place, _busy: busy.again() };
            self.tasks.spawn(tunnel.run(sides, idle, lapse, websocket));
            let body = ReplyBody::Whole(Full::default());
            return response.map(|_| Reply { body, delivery: None, _busy: busy });
        }
        // The library does not read the body of an answer that has none, so its end is known here.
        let bodiless = asked.method == Method::HEAD
            || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let ended = bodiless || response.body().is_end_stream();
        if ended {
            record.complete();
        }
        let open = (!ended).then(|| {
            let Granted { grant, place } = granted;
            let ending = is_stream(response.headers()).then(|| self.stop.streams.clone());
            let watch = Watch::new(Arc::clone(&generation.enforcer), grant, asked, ending);
            Open { record, watch, grpc, _place: place }
        });
        let silence = Silence::new(idle);
        response.map(|incoming| Reply {
            body: ReplyBody::Stream(Box::new(Stream { incoming, silence, open })),
            delivery: Delivery::current(),
            _busy: busy,
        })
    }
}

/// What the log tells of a request.
pub(super) fn span(mode: &'static str, record: &Record) -> tracing::Span {
    tracing::info_span!(
        "request",
        mode,
        trace_id = record.trace_id(),
        route = tracing::field::Empty,
        client_id = tracing::field::Empty,
        system_user = tracing::field::Empty,
        code = tracing::field::Empty,
    )
}

/// The library closes the connection after this answer.
pub(super) fn close_after(response: &mut Response<Reply>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// Whether an answer may go on without end: an event stream, or gRPC.
fn is_stream(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    [&b"text/event-stream"[..], b"application/grpc"]
        .iter()
        .any(|name| media.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name)))
}

/// What was granted, and the place in flight that it takes.
struct Granted {
    grant: Grant,
    place: OwnedSemaphorePermit,
}

/// A tunnel. What went through it is recorded however it ends, also when it is dropped.
struct Tunnel {
    record: Record,
    counts: Counts,
    _place: OwnedSemaphorePermit,
    /// The connection is not idle while it stands.
    _busy: Busy,
}

impl Tunnel {
    async fn run(
        mut self,
        (client, upstream): (OnUpgrade, OnUpgrade),
        idle: Duration,
        lapse: impl Future<Output = Lapse>,
        websocket: bool,
    ) {
        let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else { return };
        let (client, upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        let end = tunnel::relay((client, websocket), upstream, &self.counts, idle, lapse).await;
        tracing::debug!(trace_id = self.record.trace_id(), ?end, "a tunnel ended");
        match end {
            End::Whole => self.record.complete(),
            End::Lapsed(lapse) => self.record.trail.failed(&Rejection::Lapsed(lapse)),
            End::Broken | End::Idle => {}
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let (up, down) = self.counts.both();
        self.record.tunnelled(up, down);
    }
}

/// The body of a request, read only where its route finds the party in it.
struct RequestBody {
    incoming: Incoming,
    read: Read,
    idle: Duration,
}

/// How far a body was read before it is forwarded.
enum Read {
    Nothing,
    /// It is longer than is read: what had come by then.
    Begun(Vec<u8>),
    Whole(Bytes),
}

impl RequestBody {
    fn new(incoming: Incoming, idle: Duration) -> Self {
        Self { incoming, read: Read::Nothing, idle }
    }

    fn into_outgoing(self, progress: &Arc<Progress>) -> Outgoing {
        match self.read {
            Read::Whole(bytes) => Outgoing::whole(bytes, progress),
            Read::Begun(bytes) => Outgoing::rest(bytes.into(), self.incoming, progress, self.idle),
            Read::Nothing => Outgoing::stream(self.incoming, progress, self.idle),
        }
    }

    /// Nothing of it is left at the client.
    fn has_ended(&self) -> bool {
        matches!(self.read, Read::Whole(_)) || self.incoming.is_end_stream()
    }

    async fn read_whole(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        let declared = self.incoming.size_hint().lower();
        if declared > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLong);
        }
        let mut whole = Vec::new();
        let mut silence = Silence::new(self.idle);
        while let Some(frame) = poll_fn(|cx| silence.poll(&mut self.incoming, cx)).await {
            if let Ok(data) = frame?.into_data() {
                whole.extend_from_slice(&data);
                if whole.len() > limit {
                    self.read = Read::Begun(whole);
                    return Err(BodyError::TooLong);
                }
            }
        }
        Ok(whole.into())
    }
}

impl BodyReader for RequestBody {
    fn read(&mut self, limit: usize) -> EdgeFuture<'_, Result<Bytes, BodyError>> {
        Box::pin(async move {
            // One bound on the whole of it: nothing is judged while it comes.
            let patience = self.idle;
            let whole = tokio::time::timeout(patience, self.read_whole(limit)).await;
            let whole = whole.map_err(|_| BodyError::TimedOut)??;
            self.read = Read::Whole(whole.clone());
            Ok(whole)
        })
    }
}

/// The body of an answer. Carries the record, which is written with its last byte or when it is dropped.
#[derive(Debug)]
pub struct Reply {
    body: ReplyBody,
    /// Watched by the task of its stream.
    delivery: Option<Arc<Delivery>>,
    /// The connection is not idle while it is sent.
    _busy: Busy,
}

/// What an answer holds that is not whole yet.
#[derive(Debug)]
struct Open {
    record: Record,
    watch: Watch,
    /// Whether trailers can tell the caller how it ended.
    grpc: bool,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum ReplyBody {
    Stream(Box<Stream>),
    Whole(Full<Bytes>),
}

/// What comes next of an answer.
enum Next {
    Frame(Option<Result<Frame<Bytes>, BodyError>>),
    Lapsed(Lapse),
}

/// An answer of the upstream's.
#[derive(Debug)]
struct Stream {
    incoming: Incoming,
    silence: Silence,
    /// Until it is whole.
    open: Option<Open>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, delivery, .. } = &mut *self;
        let next = match body {
            ReplyBody::Stream(stream) => stream.poll(cx),
            ReplyBody::Whole(whole) => {
                Pin::new(whole).poll_frame(cx).map_err(|never| match never {}).map(Next::Frame)
            }
        };
        if let Some(delivery) = delivery {
            delivery.polled(matches!(next, Poll::Ready(Next::Frame(Some(_)))));
        }
        match ready!(next) {
            Next::Frame(frame) => Poll::Ready(frame),
            Next::Lapsed(lapse) => Poll::Ready(self.lapsed(lapse)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            ReplyBody::Stream(stream) => stream.incoming.is_end_stream(),
            ReplyBody::Whole(whole) => whole.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            ReplyBody::Stream(stream) => stream.incoming.size_hint(),
            ReplyBody::Whole(whole) => whole.size_hint(),
        }
    }
}

impl Reply {
    /// What was granted did not last: the answer is broken off, so that it cannot seem whole. gRPC has a
    /// word for it.
    fn lapsed(&mut self, lapse: Lapse) -> Option<Result<Frame<Bytes>, BodyError>> {
        let body = std::mem::replace(&mut self.body, ReplyBody::Whole(Full::default()));
        let ReplyBody::Stream(mut stream) = body else { return None };
        let mut open = stream.open.take()?;
        open.record.trail.failed(&Rejection::Lapsed(lapse));
        // What the client still sends is not for the upstream any more.
        open.record.progress.cut();
        let trailers = open.grpc.then(|| respond::lapsed_trailers(lapse));
        Some(trailers.map(Frame::trailers).ok_or(BodyError::Broken))
    }
}

impl Stream {
    /// The next frame; not when what the answer was granted by has lapsed meanwhile.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let next = self.silence.poll(&mut self.incoming, cx);
        if let Some(open) = &mut self.open
            && let Poll::Ready(lapse) = open.watch.poll(next.is_pending(), &mut open.record, cx)
        {
            return Poll::Ready(Next::Lapsed(lapse));
        }
        let next = ready!(next);
        let passed =
            next.map(|frame| frame.map(|frame| clean_trailers(frame, Direction::Response)));
        self.note(passed.as_ref());
        Poll::Ready(Next::Frame(passed))
    }

    fn note(&mut self, frame: Option<&Result<Frame<Bytes>, BodyError>>) {
        let Some(open) = &mut self.open else { return };
        if let Some(Ok(frame)) = frame {
            open.record.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        let failed = matches!(frame, Some(Err(_)));
        // The library asks no further once it has sent all that `Content-Length` told.
        let last = self.incoming.is_end_stream() || self.incoming.size_hint().upper() == Some(0);
        let ended = frame.is_none() || (!failed && last);
        if ended {
            open.record.complete();
            self.open = None;
        }
    }
}
