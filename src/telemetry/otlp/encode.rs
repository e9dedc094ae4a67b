//! Ended spans as OTLP has them. Names of attributes are those of OpenTelemetry's conventions for HTTP (stable since 1.23);
//! ours begin with `portvakt.`.
//!
//! `url.path` and `url.full` hold the route's template in place of what was asked for, which may name somebody; `Host`,
//! queries, other fields and addresses of clients are left out.

use super::Told;
use crate::config::{AccessConfig, ListenAddress};
use crate::enforce::authenticate::TokenCache;
use crate::enforce::trail::Step;
use crate::trace::context::{SpanId, TraceId};
use crate::trace::spans::{CallSpan, Finished, RequestSpans};
use http::Version;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The trace is recorded (W3C).
const SAMPLED: u32 = 1;
/// It is known whether the parent is another program's, and it is.
const REMOTE: u32 = 0x300;
/// It is known, and it is ours.
const LOCAL: u32 = 0x100;

/// One request to the collector.
pub(super) fn batch(
    finished: &[Finished],
    resource: &BTreeMap<String, String>,
    told: &Told,
) -> ExportTraceServiceRequest {
    let mut spans = Vec::with_capacity(finished.iter().map(Finished::spans).sum());
    for each in finished {
        match each {
            Finished::Request(request) => of_request(request, told, &mut spans),
            Finished::Call(call) => spans.push(of_call(call)),
        }
    }
    let mut attributes = Attributes::default();
    for (name, value) in resource {
        attributes.text(name, value);
    }
    let scope = InstrumentationScope {
        name: "portvakt".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let scope_spans = ScopeSpans { scope: Some(scope), spans, schema_url: String::new() };
    let resource = Resource { attributes: attributes.0, ..Resource::default() };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        schema_url: String::new(),
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

fn of_request(request: &RequestSpans, told: &Told, spans: &mut Vec<Span>) {
    let place = request.place;
    let mut server = span(place.trace, place.span, place.parent, (request.at, request.took));
    server.flags = SAMPLED | REMOTE;
    server.kind = SpanKind::Server.into();
    let template = request.route.as_ref().map(|route| route.config.path.as_str());
    server.name = named(request.method, template);
    let mut attributes = Attributes::default();
    attributes.text("http.request.method", known(request.method));
    attributes.option("http.route", template);
    attributes.text("url.path", template.unwrap_or(&request.shape));
    attributes.text("url.scheme", if request.secure { "https" } else { "http" });
    match &told.listen {
        ListenAddress::Tcp(address) => {
            attributes.text("server.address", &address.ip().to_string());
            // Port 0 is that of nobody: the system chose another.
            if address.port() != 0 {
                attributes.number("server.port", address.port());
            }
        }
        ListenAddress::Unix(path) => {
            attributes.text("server.address", &path.display().to_string());
        }
    }
    attributes.option("network.protocol.version", version(request.version));
    if let Some(status) = request.status {
        attributes.number("http.response.status_code", status);
    }
    attributes.text("portvakt.mode", request.mode);
    attributes.option("portvakt.route", request.route.as_ref().map(|it| it.config.id.as_str()));
    attributes.text("portvakt.answer", request.answer);
    attributes.option("portvakt.reason", request.reason);
    attributes.option("portvakt.shadow_code", request.shadow_code);
    attributes.option("portvakt.shadow_reason", request.shadow_reason);
    let failed = request.status.is_some_and(|status| status >= 500);
    match request.code {
        Some(code) => attributes.text("error.type", code),
        None if failed => attributes.text("error.type", &text_of(request.status)),
        None if !request.complete => attributes.text("error.type", "aborted"),
        None => {}
    }
    server.status = failed.then(error);
    server.attributes = attributes.0;
    spans.push(server);
    let mut at = request.at;
    for (step, took) in Step::ALL.into_iter().zip(request.steps) {
        let Some(took) = took else { continue };
        spans.push(of_step(request, step, (at, took), told));
        at += took;
    }
}

fn of_step(request: &RequestSpans, step: Step, time: (SystemTime, Duration), told: &Told) -> Span {
    let place = request.place;
    let mut span = span(place.trace, place.span_of(step), Some(place.span), time);
    span.kind = SpanKind::Internal.into();
    span.name = step.label().into();
    let mut attributes = Attributes::default();
    attributes.text("portvakt.step", step.label());
    let mut failed = None;
    if request.refused_in == Some(step) {
        failed = request.code.map(str::to_owned);
        attributes.option("portvakt.reason", request.reason);
    }
    match step {
        Step::Authenticate => {
            attributes.option("portvakt.token_cache", request.token_cache.map(TokenCache::label));
        }
        Step::Authorize => of_right(request, &mut attributes),
        Step::Forward => {
            span.kind = SpanKind::Client.into();
            let from = of_upstream(request, told, &mut span, &mut attributes);
            failed = failed.or(from);
        }
        Step::Admit | Step::Route | Step::Scope | Step::Party => {}
    }
    // A refusal is what a step is for; a fault is an error, and so is what the upstream refuses to who calls it.
    let fault = request.status.is_none_or(|status| status >= 500) || step == Step::Forward;
    if let Some(kind) = failed {
        attributes.text("error.type", &kind);
        span.status = fault.then(error);
    }
    span.attributes = attributes.0;
    span
}

fn of_right(request: &RequestSpans, attributes: &mut Attributes) {
    let access = request.route.as_ref().map(|route| &route.config.access);
    if let Some(AccessConfig::Right(right)) = access {
        attributes.text("portvakt.resource", right.right.resource.as_str());
        attributes.text("portvakt.action", right.right.action.as_str());
    }
    if let Some(evidence) = &request.evidence {
        attributes.text("portvakt.basis", evidence.source.basis());
        attributes.number("portvakt.age_ms", milliseconds(evidence.age));
        attributes.flag("portvakt.in_grace", evidence.in_grace);
    }
}

/// The call to the upstream; gives what went wrong there, as its status tells.
fn of_upstream(
    request: &RequestSpans,
    told: &Told,
    span: &mut Span,
    attributes: &mut Attributes,
) -> Option<String> {
    let route = &request.route.as_ref()?.config;
    span.name = named(request.method, Some(&route.path));
    attributes.text("http.request.method", known(request.method));
    attributes.text("url.template", &route.path);
    attributes.text("portvakt.upstream", &route.upstream);
    if let Some(upstream) = told.upstreams.get(&route.upstream) {
        attributes.text("url.full", &format!("{}{}", upstream.base, route.path));
        attributes.text("server.address", &upstream.host);
        if let Some(port) = upstream.port {
            attributes.number("server.port", port);
        }
    }
    // What the upstream did not answer, the client was not told by it.
    if request.refused_in.is_some() {
        return None;
    }
    let status = request.status?;
    attributes.number("http.response.status_code", status);
    (status >= 400).then(|| status.to_string())
}

fn of_call(call: &CallSpan) -> Span {
    let mut span = span(call.trace, call.span, call.parent, (call.at, call.took));
    span.kind = SpanKind::Client.into();
    let mut attributes = Attributes::default();
    attributes.text("portvakt.call", call.name);
    let method = call.sent.as_ref().map(|sent| sent.method.as_str());
    span.name = method.map_or_else(|| call.name.into(), |method| named(method, Some(call.name)));
    if let Some(sent) = &call.sent {
        attributes.text("http.request.method", sent.method.as_str());
        attributes.text("url.full", &sent.url);
        attributes.text("server.address", &sent.host);
        if let Some(port) = sent.port {
            attributes.number("server.port", port);
        }
    }
    if let Some(status) = call.status {
        attributes.number("http.response.status_code", status);
    }
    let refused = call.status.filter(|status| *status >= 400);
    if let Some(kind) = call.error.map(str::to_owned).or(refused.map(|it| it.to_string())) {
        attributes.text("error.type", &kind);
        span.status = Some(error());
    }
    span.attributes = attributes.0;
    span
}

fn span(
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    (at, took): (SystemTime, Duration),
) -> Span {
    Span {
        trace_id: trace.bytes().to_vec(),
        span_id: span.bytes().to_vec(),
        parent_span_id: parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED | LOCAL,
        start_time_unix_nano: nanoseconds(at),
        end_time_unix_nano: nanoseconds(at + took),
        ..Span::default()
    }
}

fn error() -> Status {
    Status { code: StatusCode::Error.into(), message: String::new() }
}

/// A method that is not known may be any text: OpenTelemetry has a word for it, in names of spans another.
fn known(method: &str) -> &str {
    if method == "other" { "_OTHER" } else { method }
}

fn named(method: &str, what: Option<&str>) -> String {
    let method = if method == "other" { "HTTP" } else { method };
    what.map_or_else(|| method.to_owned(), |what| format!("{method} {what}"))
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

fn text_of(status: Option<u16>) -> String {
    status.map(|status| status.to_string()).unwrap_or_default()
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Attributes in the order in which they are named.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn push(&mut self, name: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: name.to_owned(), value, ..KeyValue::default() });
    }

    fn text(&mut self, name: &str, value: &str) {
        self.push(name, Value::StringValue(value.to_owned()));
    }

    fn option(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn number(&mut self, name: &str, value: impl Into<i64>) {
        self.push(name, Value::IntValue(value.into()));
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.push(name, Value::BoolValue(value));
    }
}
