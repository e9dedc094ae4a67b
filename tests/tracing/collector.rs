//! A collector that takes what it is sent, by OTLP over HTTP or gRPC, and shows it; or that fails as told.

use crate::support::http::{Body, Served, empty, frames, full, trailers};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

/// What it does with a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mood {
    Takes,
    /// Answers nothing, ever.
    Hangs,
    /// This status, and nothing taken.
    Refuses(u16),
    /// The first call with 503, then takes.
    RefusesOnce,
    /// 200, and a body without end.
    Endless,
    /// 200, and nothing that can be read.
    Rubbish,
    /// Takes all but so many.
    Rejects(i64),
}

/// A call that it took.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) bytes: Bytes,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) spans: Vec<Shown>,
}

/// A span, in words.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    /// 1 internal, 2 server, 3 client.
    pub(crate) kind: i32,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) failed: bool,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Shown {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    pub(crate) fn step(&self) -> &str {
        self.attribute("portvakt.step")
    }
}

#[derive(Default)]
struct State {
    mood: Option<Mood>,
    calls: Vec<Call>,
    asked: usize,
}

pub(crate) struct Collector {
    served: Served,
    state: Arc<Mutex<State>>,
}

impl Collector {
    pub(crate) async fn start(mood: Mood) -> Self {
        let state = Arc::new(Mutex::new(State { mood: Some(mood), ..State::default() }));
        let kept = Arc::clone(&state);
        let served = Served::start(move |request| answer(request, Arc::clone(&kept))).await;
        Self { served, state }
    }

    pub(crate) fn url(&self) -> String {
        self.served.url()
    }

    /// As a section of the configuration, with more of its keys.
    pub(crate) fn section(&self, more: &str) -> String {
        format!("tracing: {{ enabled: true, endpoint: \"{}\", {more} }}\n", self.url())
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        self.state.lock().unwrap().mood = Some(mood);
    }

    /// How often it was called, whatever came of it.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    /// The calls that it took.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The spans that it took.
    pub(crate) fn spans(&self) -> Vec<Shown> {
        self.calls().into_iter().flat_map(|call| call.spans).collect()
    }

    /// The spans of a trace, once its server's is there.
    pub(crate) async fn trace(&self, trace: &str) -> Vec<Shown> {
        let of = || -> Vec<Shown> {
            self.spans().into_iter().filter(|span| span.trace == trace).collect()
        };
        let whole = async || of().iter().any(|span| span.kind == 2);
        crate::support::wait_until("a trace", whole).await;
        of()
    }
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("whole").to_bytes();
    let mood = {
        let mut state = state.lock().unwrap();
        state.asked += 1;
        if state.mood == Some(Mood::RefusesOnce) {
            state.mood = Some(Mood::Takes);
            Mood::Refuses(503)
        } else {
            state.mood.expect("a mood")
        }
    };
    let grpc = head.headers["content-type"] == "application/grpc";
    let rejected = match mood {
        Mood::Hangs => return std::future::pending().await,
        Mood::Refuses(status) => {
            let response = Response::builder().status(status).header("retry-after", "0");
            return response.body(empty()).unwrap();
        }
        Mood::Endless => {
            let more = || Some((Ok(Bytes::from(vec![b'x'; 1024])), ()));
            let stream = futures_util::stream::unfold((), move |()| async move { more() });
            let stream = futures_util::StreamExt::map(stream, |chunk: Result<Bytes, ()>| {
                Frame::data(chunk.unwrap())
            });
            return Response::new(frames(stream));
        }
        Mood::Rubbish => return Response::new(full("<html>who are you?</html>")),
        Mood::Rejects(spans) => spans,
        Mood::Takes | Mood::RefusesOnce => 0,
    };
    let message = if grpc {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap());
        assert_eq!((body[0], usize::try_from(length).unwrap()), (0, body.len() - 5));
        body.slice(5..)
    } else {
        assert_eq!(head.headers["content-type"], "application/x-protobuf");
        body.clone()
    };
    let sent = ExportTraceServiceRequest::decode(message).expect("OTLP");
    let mut resource = BTreeMap::new();
    let mut spans = Vec::new();
    for of_resource in sent.resource_spans {
        resource.extend(shown_all(&of_resource.resource.unwrap_or_default().attributes));
        for scope in of_resource.scope_spans {
            spans.extend(scope.spans.iter().map(shown));
        }
    }
    let headers = head.headers.iter();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let call = Call {
        path: head.uri.path().to_owned(),
        headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
        bytes: body,
        resource,
        spans,
    };
    state.lock().unwrap().calls.push(call);
    let partial = ExportTracePartialSuccess { rejected_spans: rejected, ..Default::default() };
    let told = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    if !grpc {
        return Response::new(full(told));
    }
    let length = u32::try_from(told.len()).unwrap().to_be_bytes();
    let framed = [&[0][..], &length, &told].concat();
    let all = [Frame::data(Bytes::from(framed)), trailers(&[("grpc-status", "0")])];
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(frames(futures_util::stream::iter(all))).unwrap()
}

fn shown(span: &Span) -> Shown {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("text");
            text
        })
    };
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    Shown {
        name: span.name.clone(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind,
        begin: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        attributes: shown_all(&span.attributes),
    }
}

fn shown_all(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let word = |value: &KeyValue| match value.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|each| (each.key.clone(), word(each))).collect()
}
