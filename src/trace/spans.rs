//! What is told of a request, and of a call of our own, to a tracing system. As it is, without any text made of it: that
//! is the work of who sends it, beside the requests.
//!
//! Nothing in here is a token, a query, a header or the number of a party. A request that a route matched is told by its
//! template, another by the shape of its path.

use super::Place;
use super::context::{SpanId, TraceId};
use crate::enforce::authenticate::TokenCache;
use crate::enforce::authorize::Evidence;
use crate::enforce::route::Route;
use crate::enforce::trail::Step;
use http::{Method, Version};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// One or more spans that have ended.
#[derive(Debug)]
pub enum Finished {
    /// Those of a request.
    Request(Box<RequestSpans>),
    /// That of a call.
    Call(Box<CallSpan>),
}

impl Finished {
    /// How many spans it is.
    #[must_use]
    pub fn spans(&self) -> usize {
        match self {
            Self::Request(request) => 1 + request.steps.iter().flatten().count(),
            Self::Call(_) => 1,
        }
    }
}

/// A request: one span, and one for each step that ended.
#[derive(Debug)]
pub struct RequestSpans {
    /// Where it stands in its trace.
    pub place: Place,
    /// When it came, by the wall clock.
    pub at: SystemTime,
    /// Up to the end of the answer.
    pub took: Duration,
    /// How long each step took, in the order of [`Step::ALL`]; they follow one another.
    pub steps: [Option<Duration>; Step::ALL.len()],
    /// `proxy` or `forward_auth`.
    pub mode: &'static str,
    /// One of those that are known, or `other`.
    pub method: &'static str,
    /// Of the client's connection.
    pub version: Version,
    /// Whether that is TLS.
    pub secure: bool,
    /// The route, once found.
    pub route: Option<Arc<Route>>,
    /// The path with all that may tell of somebody taken out, where there is no route.
    pub shape: String,
    /// The status that the client got; `None` when it left before.
    pub status: Option<u16>,
    /// The answer's stable label.
    pub answer: &'static str,
    /// The refusal's stable code, if there is one.
    pub code: Option<&'static str>,
    /// Its finer cause.
    pub reason: Option<&'static str>,
    /// The code of what a route in shadow let through or let go on.
    pub shadow_code: Option<&'static str>,
    /// Its finer cause.
    pub shadow_reason: Option<&'static str>,
    /// The step that refused, if one did.
    pub refused_in: Option<Step>,
    /// Whether the token had been verified before.
    pub token_cache: Option<TokenCache>,
    /// What the permit rests on.
    pub evidence: Option<Evidence>,
    /// Whether the answer was whole.
    pub complete: bool,
}

/// A call of ours to Maskinporten or Altinn.
#[derive(Debug)]
pub struct CallSpan {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub span: SpanId,
    /// The step that waits for it; `None` for a call that no request waits for.
    pub parent: Option<SpanId>,
    /// What is called, such as `altinn.authorize`.
    pub name: &'static str,
    /// When it began, by the wall clock.
    pub at: SystemTime,
    /// Up to the end of the answer, or to its head where that is long.
    pub took: Duration,
    /// What was sent; `None` if nothing was.
    pub sent: Option<Sent>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<&'static str>,
}

/// Where a call went.
#[derive(Debug)]
pub struct Sent {
    /// The method.
    pub method: Method,
    /// The address without user, query and fragment.
    pub url: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: Option<u16>,
}
