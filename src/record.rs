//! Step 8: one record a request, whatever becomes of it.
//!
//! A [`Record`] is opened before anything is judged and written when it is dropped: at the last byte of
//! the answer, when the client leaves, or when a panic unwinds. So there is exactly one.

pub mod audit;
pub mod chain;
mod line;
pub mod minutes;
mod output;
pub mod pseudonyms;
pub mod refusals;
pub mod report;
pub mod resume;
pub mod verify;
mod writer;

use crate::config::AccessConfig;
use crate::domain::decision::{Answer, Source};
use crate::domain::party::Party;
use crate::domain::system_user::ClientId;
use crate::enforce::authenticate::TokenCache;
use crate::enforce::rejection::{Code, Rejection};
use crate::enforce::route::Route;
use crate::enforce::trail::{Step, Trail};
use crate::enforce::vigil::Lapse;
use crate::forward::body::Progress;
use crate::telemetry::metrics::Metrics;
use crate::trace::spans::RequestSpans;
use crate::trace::{Place as TracePlace, Recording, Tracer};
use audit::{Audit, Place, Stopped};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version};
use line::Line;
use pseudonyms::Pseudonyms;
use refusals::{Refusals, Why};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Where records go; one for the whole program.
#[derive(Debug)]
pub struct Recorder {
    /// The metrics.
    pub metrics: Metrics,
    /// The audit lines.
    pub audit: Audit,
    /// Stand-ins for persons.
    pub pseudonyms: Pseudonyms,
    /// The last refusals.
    pub refusals: Refusals,
    /// The traces.
    pub tracer: Tracer,
}

/// A request that the HTTP library could not read, and so refused without asking us.
#[derive(Debug)]
pub struct Unreadable<'r> {
    /// When it was given up, by the wall clock.
    pub at: SystemTime,
    /// Id of the trace, 32 hexadecimal digits.
    pub trace_id: &'r str,
    /// Which mode served it.
    pub mode: &'static str,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// The stable code of the refusal.
    pub code: &'static str,
}

impl Recorder {
    /// Writes the record of a request that could not be read.
    pub fn unreadable(&self, request: &Unreadable<'_>) {
        let answer = Answer::NotAsked.label();
        self.metrics.requests.with_label_values(&["none", answer, request.code]).inc();
        let line = Line {
            time: request.at,
            trace_id: request.trace_id,
            mode: request.mode,
            peer: request.peer,
            method: None,
            route: "none",
            template: None,
            shape: None,
            answer,
            code: request.code,
            reason: Some("unreadable"),
            enforcement: None,
            shadow_code: None,
            shadow_reason: None,
            status: None,
            consumer: None,
            supplier: None,
            client_id: None,
            system_id: None,
            owner: None,
            system_user: None,
            party: None,
            resource: None,
            action: None,
            source: None,
            basis: None,
            age_ms: None,
            in_grace: None,
            request_bytes: 0,
            response_bytes: 0,
            duration_us: 0,
            complete: false,
        };
        let words = "what came is no HTTP request that can be read";
        self.refusals.note(&line, Why { step: Step::Admit.label(), done: &[], words });
        self.audit.write(line.json(), None);
    }
}

/// What a record says of a route in shadow; of others it says nothing.
const SHADOW: &str = "shadow";

/// The code of what was not refused.
const NO_CODE: &str = "none";

/// The class of most answers.
const SERVED: &str = "2xx";

/// Where a request went, as it came. Only its shape is told, to whoever prints it too: a path can hold the number of a person.
struct Target(Option<PathAndQuery>);

impl Target {
    fn shape(&self) -> String {
        shape(self.0.as_ref().map_or("", PathAndQuery::path))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shape())
    }
}

/// The record of one request.
#[derive(Debug)]
pub struct Record {
    recorder: Arc<Recorder>,
    /// Where it will be written, if that is certain already.
    place: Result<Option<Place>, Stopped>,
    /// What is known of the request so far.
    pub trail: Trail,
    /// How far its body has come.
    pub progress: Arc<Progress>,
    begun: Instant,
    at: SystemTime,
    trace: TracePlace,
    mode: &'static str,
    peer: IpAddr,
    secure: bool,
    version: Version,
    method: &'static str,
    target: Target,
    status: Option<StatusCode>,
    tunnel_up: u64,
    response_bytes: u64,
    complete: bool,
    /// What would have ended it on its way, were its route not in shadow.
    outlived: Option<Outlived>,
}

/// Whoever watches over what goes on tells here that it outlived what it was granted by, on a route in shadow. A clone is
/// as good.
#[derive(Clone, Debug)]
pub struct Outlived {
    recorder: Arc<Recorder>,
    route: Option<Arc<Route>>,
    lapse: Arc<OnceLock<Lapse>>,
}

impl Outlived {
    /// Counts it at once, for it may go on for long. The first counts.
    pub fn note(&self, lapse: Lapse) {
        if self.lapse.set(lapse).is_ok() {
            let labels = [name(self.route.as_ref()), Code::Lapsed.label()];
            self.recorder.metrics.shadow_refusals.with_label_values(&labels).inc();
        }
    }
}

/// As metrics and records call a route.
fn name(route: Option<&Arc<Route>>) -> &str {
    route.map_or("none", |route| &route.config.id)
}

/// What a record is opened with. Not printable: the target is as it came.
#[derive(Clone, Copy)]
pub struct Opening<'r> {
    /// When the request came, by the wall clock.
    pub at: SystemTime,
    /// Where it stands in its trace.
    pub trace: TracePlace,
    /// Which mode served it.
    pub mode: &'static str,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// Whether that connection is TLS.
    pub secure: bool,
    /// The version of HTTP on it.
    pub version: Version,
    /// The method.
    pub method: &'r Method,
    /// The target, as it came.
    pub uri: &'r Uri,
    /// The most bytes the body may have.
    pub body_limit: Option<u64>,
}

impl Record {
    /// Opens the record of a request.
    #[must_use]
    pub fn open(recorder: Arc<Recorder>, opening: Opening<'_>) -> Self {
        recorder.metrics.requests_in_flight.inc();
        let begun = Instant::now();
        Self {
            place: recorder.audit.admit(),
            recorder,
            trail: Trail::beginning(begun),
            progress: Arc::new(Progress::new(opening.body_limit)),
            begun,
            at: opening.at,
            trace: opening.trace,
            mode: opening.mode,
            peer: opening.peer,
            secure: opening.secure,
            version: opening.version,
            method: known(opening.method),
            target: Target(opening.uri.path_and_query().cloned()),
            status: None,
            tunnel_up: 0,
            response_bytes: 0,
            complete: false,
            outlived: None,
        }
    }

    /// Whether the request may be let through as far as its record is concerned.
    ///
    /// # Errors
    /// [`Rejection::Unrecorded`] where its record might not be written, and the operator lets none through then.
    pub fn admitted(&self) -> Result<(), Rejection> {
        match self.place {
            Ok(_) => Ok(()),
            Err(Stopped) => Err(Rejection::Unrecorded),
        }
    }

    /// Id of the trace, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.trace.trace.as_str()
    }

    /// Where it stands in its trace.
    #[must_use]
    pub fn trace(&self) -> TracePlace {
        self.trace
    }

    /// What is told when a route in shadow lets something go on that it would have ended.
    pub fn outlived(&mut self) -> Outlived {
        let route = self.trail.route.clone();
        let recorder = Arc::clone(&self.recorder);
        let new = || Outlived { recorder, route, lapse: Arc::default() };
        self.outlived.get_or_insert_with(new).clone()
    }

    /// Code and reason for which the request would have been refused, or ended, were its route not in shadow.
    fn would(&self) -> Option<(&'static str, Option<&'static str>)> {
        let refused = self.trail.shadow.as_ref();
        refused.map(|rejection| (rejection.code().label(), rejection.reason())).or_else(|| {
            let lapse = self.outlived.as_ref()?.lapse.get()?;
            Some((Code::Lapsed.label(), Some(lapse.label())))
        })
    }

    /// Notes the status that the client gets.
    pub fn responding(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Notes bytes of the answer on their way to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.response_bytes =
            self.response_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Notes what went through a tunnel, both ways.
    pub fn tunnelled(&mut self, up: u64, down: u64) {
        self.tunnel_up = up;
        self.response_bytes = self.response_bytes.saturating_add(down);
    }

    /// Writes what is known into the fields of the request's span.
    pub fn tell(&self, span: &tracing::Span) {
        span.record("route", self.route());
        span.record("code", self.code());
        if let Some(client) =
            self.trail.token.as_ref().and_then(|token| token.claims.client_id.as_ref())
        {
            span.record("client_id", client.as_str());
        }
        if let Some(id) = self.trail.system_user {
            span.record("system_user", tracing::field::display(id));
        }
    }

    /// Notes that the answer was whole.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    fn route(&self) -> &str {
        name(self.trail.route.as_ref())
    }

    fn code(&self) -> &'static str {
        self.trail.rejection.as_ref().map_or(NO_CODE, |rejection| rejection.code().label())
    }

    fn shape(&self) -> String {
        self.target.shape()
    }

    fn answer(&self) -> Answer {
        // A client that left before there was an answer was not told anything.
        self.trail.answer.unwrap_or(Answer::NotAsked)
    }

    fn class(&self) -> &'static str {
        match (self.complete, self.status.map(|status| status.as_u16() / 100)) {
            (false, _) | (_, None) => "aborted",
            (true, Some(1)) => "1xx",
            (true, Some(2)) => SERVED,
            (true, Some(3)) => "3xx",
            (true, Some(4)) => "4xx",
            (true, Some(_)) => "5xx",
        }
    }

    /// `took` is the time since the head.
    fn write_metrics(&self, took: Duration) {
        let metrics = &self.recorder.metrics;
        metrics.requests_in_flight.dec();
        self.write_route(metrics, took);
        for (seconds, took) in metrics.usual.steps.iter().zip(self.trail.took()) {
            if let Some(took) = took {
                seconds.observe(took.as_secs_f64());
            }
        }
        match self.trail.token_cache {
            Some(TokenCache::Hit) => metrics.usual.token_hits.inc(),
            Some(cache) => metrics.token_cache.with_label_values(&[cache.label()]).inc(),
            None => {}
        }
        if let Some(Rejection::Token(error)) = &self.trail.rejection {
            metrics.tokens_refused.with_label_values(&[error.label()]).inc();
        }
        // What was outlived was counted then.
        if let Some(would) = &self.trail.shadow {
            metrics.shadow_refusals.with_label_values(&[self.route(), would.code().label()]).inc();
        }
        if let Some(evidence) = &self.trail.evidence {
            match evidence.source {
                Source::Derived => metrics.usual.derived.inc(),
                source => metrics.permits.with_label_values(&[source.basis()]).inc(),
            }
            if let Some(why) = evidence.not_derived {
                metrics.not_derived.with_label_values(&[why.label()]).inc();
            }
            if evidence.in_grace {
                metrics.permits_in_grace.inc();
            }
            metrics.permit_age_seconds.observe(evidence.age.as_secs_f64());
            metrics.permit_age_worst.note(evidence.age);
        }
    }

    /// What is told by route.
    fn write_route(&self, metrics: &Metrics, took: Duration) {
        let (route, took) = (self.route(), took.as_secs_f64());
        let (answer, code, class) = (self.answer(), self.code(), self.class());
        let request = || metrics.requests.with_label_values(&[route, answer.label(), code]);
        let response = || metrics.responses.with_label_values(&[route, class]);
        let seconds = || metrics.request_seconds.with_label_values(&[route]);
        let Some(counted) = self.trail.route.as_ref().map(|route| &route.counted) else {
            request().inc();
            response().inc();
            return seconds().observe(took);
        };
        if answer == Answer::Permit && code == NO_CODE {
            counted.permitted.get_or_init(request).inc();
        } else {
            request().inc();
        }
        if class == SERVED {
            counted.served.get_or_init(response).inc();
        } else {
            response().inc();
        }
        counted.seconds.get_or_init(seconds).observe(took);
    }

    fn line(&self, took: Duration) -> Line<'_> {
        let trail = &self.trail;
        let route = trail.route.as_ref().map(|route| &route.config);
        let claims = trail.token.as_ref().map(|token| &token.claims);
        let system_user = claims.and_then(|claims| claims.system_user.as_ref());
        let right = route.and_then(|route| match &route.access {
            AccessConfig::Right(right) => Some(&right.right),
            AccessConfig::Scopes(_) | AccessConfig::Anonymous => None,
        });
        let evidence = trail.evidence.as_ref();
        let would = self.would();
        Line {
            time: self.at,
            trace_id: self.trace.trace.as_str(),
            mode: self.mode,
            peer: self.peer,
            method: Some(self.method),
            route: self.route(),
            template: route.map(|route| route.path.as_str()),
            shape: route.is_none().then(|| self.shape()),
            answer: self.answer().label(),
            code: self.code(),
            reason: trail.rejection.as_ref().and_then(Rejection::reason),
            enforcement: route.filter(|route| route.in_shadow()).map(|_| SHADOW),
            shadow_code: would.map(|(code, _)| code),
            shadow_reason: would.and_then(|(_, reason)| reason),
            status: self.status.map(|status| status.as_u16()),
            consumer: claims.map(|claims| claims.consumer.0.as_str()),
            supplier: claims
                .and_then(|claims| claims.supplier.as_ref())
                .map(|supplier| supplier.0.as_str()),
            client_id: claims.and_then(|claims| claims.client_id.as_ref()).map(ClientId::as_str),
            system_id: system_user.map(|system_user| system_user.system.as_str()),
            owner: system_user.map(|system_user| system_user.owner.0.as_str()),
            system_user: trail.system_user,
            party: trail.party.as_ref().and_then(|party| self.party(party)),
            resource: right.map(|right| right.resource.as_str()),
            action: right.map(|right| right.action.as_str()),
            source: evidence.map(|evidence| evidence.source.label()),
            basis: evidence.map(|evidence| evidence.source.basis()),
            age_ms: evidence
                .map(|evidence| u64::try_from(evidence.age.as_millis()).unwrap_or(u64::MAX)),
            in_grace: evidence.map(|evidence| evidence.in_grace),
            request_bytes: self.progress.bytes().saturating_add(self.tunnel_up),
            response_bytes: self.response_bytes,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            complete: self.complete,
        }
    }

    /// What is told of it to a tracing system. Of the trail only what names nobody.
    fn spans(&self, took: Duration) -> RequestSpans {
        let trail = &self.trail;
        let code = trail.rejection.as_ref().map(|rejection| rejection.code().label());
        let would = self.would();
        // After its last step, while the answer went on.
        let lapsed = matches!(trail.rejection, Some(Rejection::Lapsed(_)));
        let last = trail.steps().map(|(step, _)| step).last();
        RequestSpans {
            place: self.trace,
            at: self.at,
            took,
            steps: trail.took(),
            mode: self.mode,
            method: self.method,
            version: self.version,
            secure: self.secure,
            route: trail.route.clone(),
            status: self.status.map(|status| status.as_u16()),
            answer: self.answer().label(),
            code,
            reason: trail.rejection.as_ref().and_then(Rejection::reason),
            shadow_code: would.map(|(code, _)| code),
            shadow_reason: would.and_then(|(_, reason)| reason),
            refused_in: last.filter(|_| code.is_some() && !lapsed),
            token_cache: trail.token_cache,
            evidence: trail.evidence,
            complete: self.complete,
            shape: if trail.route.is_none() { self.shape() } else { String::new() },
        }
    }

    fn party<'p>(&self, party: &'p Party) -> Option<Cow<'p, str>> {
        match party {
            Party::Organization(number) => Some(number.as_str().into()),
            Party::Person(number) => self.recorder.pseudonyms.of(number).map(Cow::Owned),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // One reading of the clock for all that is told of it.
        let took = self.begun.elapsed();
        self.write_metrics(took);
        let place = std::mem::replace(&mut self.place, Ok(None)).unwrap_or_default();
        let line = self.line(took);
        if let Some(rejection) = &self.trail.rejection {
            let done: Vec<_> = self.trail.steps().map(|(step, _)| step.label()).collect();
            let step = done.last().copied().unwrap_or(Step::Admit.label());
            let why = Why { step, done: &done, words: &rejection.in_words() };
            self.recorder.refusals.note(&line, why);
        }
        self.recorder.audit.write(line.json(), place);
        if self.trace.recording == Recording::Yes {
            let spans = self.spans(took);
            self.recorder.tracer.request(spans);
        }
    }
}

/// The method, if it is one of the nine of RFC 9110 and RFC 5789: any other is text of the client's.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

/// Most segments of a shape.
const MAX_SEGMENTS: usize = 12;

/// Longest segment that is kept: shorter than a token or a UUID.
const MAX_SEGMENT: usize = 24;

/// A path with its digits hidden, and every segment that may be a name, a token or another's text left
/// out: enough to see a misspelt address, too little to hold a national identity number.
fn shape(path: &str) -> String {
    let segments = path.strip_prefix('/').unwrap_or(path).split('/').take(MAX_SEGMENTS);
    segments.fold(String::new(), |mut shape, segment| {
        shape.push('/');
        let plain = segment.len() <= MAX_SEGMENT
            && segment.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if plain {
            shape.extend(segment.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }));
        } else {
            shape.push('*');
        }
        shape
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_a_path_holds_no_number_name_or_token() {
        let long = "a".repeat(MAX_SEGMENT);
        for (path, expected) in [
            ("/", "/"),
            ("/v1/persons/01010750160/x", "/v#/persons/###########/x"),
            ("/v1/Kari/eyJhbGciOi.e30.x/%C3%A6", "/v#/*/*/*"),
            (&format!("/{long}/{long}a"), &format!("/{long}/*")),
            (&"/a".repeat(500), &"/a".repeat(MAX_SEGMENTS)),
            ("/æ\n", "/*"),
            ("*", "/*"),
        ] {
            assert_eq!(shape(path), expected, "{path}");
        }
    }

    #[test]
    fn a_target_is_printed_by_its_shape() {
        let target = "/v1/persons/01010750160?pid=01010750160".parse().ok();
        assert!(target.is_some());
        let printed = format!("{:?}", Target(target));
        assert!(!printed.contains("0101") && printed.starts_with('/'), "{printed}");
    }

    #[test]
    fn a_request_that_ends_in_a_panic_has_one_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let text = format!("{{ output: {{ file: \"{}\" }}, on_loss: stop }}", path.display());
        let config = crate::config::source::load_text(
            &format!(
                "environment: test\nupstream: {{ url: \"http://127.0.0.1:3000\" }}\naudit: {text}\nroutes:\n  \
                 - {{ id: open, match: {{ methods: [GET], path: /open }}, access: anonymous }}\n"
            ),
            "test",
            &|_: &str| None,
        )
        .unwrap();
        let metrics = Metrics::new().unwrap();
        let recorder = Arc::new(Recorder {
            audit: Audit::open(&config.audit, &metrics, || ()).unwrap(),
            pseudonyms: Pseudonyms::new(None),
            refusals: Refusals::default(),
            tracer: Tracer::off(),
            metrics,
        });
        let opening = Opening {
            mode: "proxy",
            at: SystemTime::UNIX_EPOCH,
            trace: TracePlace::of(&http::HeaderMap::new(), Recording::Off),
            peer: IpAddr::from([127, 0, 0, 1]),
            secure: false,
            version: Version::HTTP_11,
            method: &Method::GET,
            uri: &Uri::from_static("/open"),
            body_limit: None,
        };
        let kept = Arc::clone(&recorder);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let record = Record::open(kept, opening);
            assert!(record.admitted().is_err(), "a panic while a request is served");
        }));
        assert!(panicked.is_err());
        recorder.audit.close();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("\"complete\":false"), "{text}");
        assert_eq!(recorder.audit.waiting(), 0);
    }

    #[test]
    fn a_method_of_the_clients_own_making_is_not_repeated() {
        assert_eq!(known(&Method::PATCH), "PATCH");
        for made_up in ["PROPFIND", "get", "OLA-NORDMANN"] {
            assert_eq!(known(&made_up.parse().unwrap()), "other");
        }
    }
}
