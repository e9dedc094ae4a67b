//! Faults that a test or a demo puts on an endpoint: what is asked for and how an answer is spoilt.

use crate::world::World;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Each result is held in memory.
const MOST_EXTRA_RESULTS: usize = 1_000;

/// What can be disturbed and is counted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Endpoint {
    Metadata,
    Jwks,
    Token,
    Exchange,
    Pdp,
    Parties,
    Registry,
    Catalogue,
    Vendor,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 9] = [
        Self::Metadata,
        Self::Jwks,
        Self::Token,
        Self::Exchange,
        Self::Pdp,
        Self::Parties,
        Self::Registry,
        Self::Catalogue,
        Self::Vendor,
    ];

    /// The endpoint a path belongs to; knobs belong to none.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/.well-known/oauth-authorization-server"
            | "/authentication/api/v1/openid/.well-known/openid-configuration" => {
                Some(Self::Metadata)
            }
            "/jwk" | "/authentication/api/v1/openid/.well-known/openid-configuration/jwks" => {
                Some(Self::Jwks)
            }
            "/token" => Some(Self::Token),
            "/authorization/api/v1/authorize" => Some(Self::Pdp),
            _ if path.starts_with("/authentication/api/v1/exchange/") => Some(Self::Exchange),
            _ if path.ends_with("/authorizedparties") => Some(Self::Parties),
            _ if path.starts_with("/resourceregistry/") => Some(Self::Registry),
            _ if path.starts_with("/accessmanagement/api/v1/meta/") => Some(Self::Catalogue),
            _ if path.starts_with("/authentication/api/v1/") => Some(Self::Vendor),
            _ => None,
        }
    }
}

/// A decision that the PDP gives whatever its model says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum ForcedDecision {
    Indeterminate,
    NotApplicable,
    Deny,
}

/// How long answers take, drawn anew for each call.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged, deny_unknown_fields)]
enum Latency {
    /// Anything between the two, equally likely.
    Between { min_ms: u32, max_ms: u32 },
    /// Log-normal, as services under load are: one in two above the median, one in a hundred above the other.
    LogNormal { median_ms: u32, p99_ms: u32 },
}

impl Latency {
    fn draw(self, dice: &mut Dice) -> Duration {
        let ms = match self {
            Self::Between { min_ms, max_ms } => {
                let (low, high) = (f64::from(min_ms), f64::from(max_ms));
                low + (high - low) * dice.share()
            }
            Self::LogNormal { median_ms, p99_ms } => {
                // The 99th percentile of the standard normal distribution.
                const Z99: f64 = 2.326_347_9;
                let median = f64::from(median_ms.max(1));
                let sigma = (f64::from(p99_ms).max(median) / median).ln() / Z99;
                median * (sigma * dice.normal()).exp()
            }
        };
        Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or_default()
    }
}

/// A body that comes a few bytes at a time.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Drip {
    bytes: usize,
    every_ms: u64,
}

/// One fault; everything that is set happens. See the README.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a knob of its own")]
pub(crate) struct Fault {
    latency_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Latency>,
    hang: bool,
    close: bool,
    status: Option<u16>,
    retry_after: Option<u64>,
    body: Option<String>,
    content_type: Option<String>,
    truncate: bool,
    /// The body ends after this many bytes of those that were promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_after_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drip: Option<Drip>,
    times: Option<u64>,
    /// The share of calls that it strikes, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    /// Only calls whose path contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_contains: Option<String>,
    /// Reads see the world as it was when the fault was set.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
    pub(crate) decision: Option<ForcedDecision>,
    /// Multi requests end in one Indeterminate; single ones do not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    multi_error: bool,
    pub(crate) pascal_case: bool,
    pub(crate) obligations: Vec<Value>,
    pub(crate) extra_results: usize,
    pub(crate) empty_response: bool,
}

impl Fault {
    /// What makes the fault impossible to carry out.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Some("status is not between 200 and 599");
        }
        if self.times == Some(0) {
            return Some("times is zero");
        }
        if self.rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Some("rate is not between 0 and 1");
        }
        if self.drip.is_some_and(|drip| drip.bytes == 0) {
            return Some("drip.bytes is zero");
        }
        if self.extra_results > MOST_EXTRA_RESULTS {
            return Some("extra_results is more than 1000");
        }
        let content_type = self.content_type.as_deref().map(HeaderValue::from_str);
        content_type.is_some_and(|value| value.is_err()).then_some("content_type is not a header")
    }

    /// Waits as long as the fault says; for ever if it hangs.
    pub(crate) async fn delay(&self) {
        tokio::time::sleep(Duration::from_millis(self.latency_ms)).await;
        if self.hang {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the connection closes without an answer.
    pub(crate) fn closes(&self) -> bool {
        self.close
    }

    /// The decision that stands in for the real one in a request of so many questions.
    pub(crate) fn decision_for(&self, questions: usize) -> Option<ForcedDecision> {
        let several = self.multi_error && questions > 1;
        if several { Some(ForcedDecision::Indeterminate) } else { self.decision }
    }

    /// The answer that stands in for the real one.
    pub(crate) fn replacement(&self) -> Option<Response> {
        if self.status.is_none() && self.body.is_none() {
            return None;
        }
        let mut response = Response::new(Body::from(self.body.clone().unwrap_or_default()));
        *response.status_mut() = self
            .status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::OK);
        Some(response)
    }

    /// Changes headers, the length if it is to be cut short, and the pace.
    pub(crate) async fn spoil(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let content_type = self.content_type.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(value)) = content_type {
            headers.insert(header::CONTENT_TYPE, value);
        }
        if self.truncate || self.cut_after_bytes.is_some() || self.drip.is_some() {
            self.paced(response).await
        } else {
            response
        }
    }

    /// The same answer, cut off or dripping.
    async fn paced(&self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        let bytes =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let length = u64::try_from(bytes.len()).unwrap_or(0);
        let promised = if self.truncate { length * 2 + 1 } else { length };
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(promised));
        let keep = self.cut_after_bytes.unwrap_or(bytes.len()).min(bytes.len());
        let cut = self.truncate || keep < bytes.len();
        let rest = bytes.slice(..keep);
        let drip = self.drip;
        Response::from_parts(
            parts,
            Body::new(Paced { rest, drip, wait: None, cut, flushed: false }),
        )
    }

    /// Both faults at once; where both say something, the later one counts.
    fn merged_with(self, later: Self) -> Self {
        Self {
            latency_ms: self.latency_ms.saturating_add(later.latency_ms),
            latency: None,
            hang: self.hang || later.hang,
            close: self.close || later.close,
            status: later.status.or(self.status),
            retry_after: later.retry_after.or(self.retry_after),
            body: later.body.or(self.body),
            content_type: later.content_type.or(self.content_type),
            truncate: self.truncate || later.truncate,
            cut_after_bytes: later.cut_after_bytes.or(self.cut_after_bytes),
            drip: later.drip.or(self.drip),
            times: None,
            rate: None,
            path_contains: None,
            stale: self.stale || later.stale,
            decision: later.decision.or(self.decision),
            multi_error: self.multi_error || later.multi_error,
            pascal_case: self.pascal_case || later.pascal_case,
            obligations: self.obligations.into_iter().chain(later.obligations).collect(),
            extra_results: self.extra_results.max(later.extra_results),
            empty_response: self.empty_response || later.empty_response,
        }
    }
}

/// A body that comes at its own pace and may break off after its data.
struct Paced {
    rest: Bytes,
    drip: Option<Drip>,
    wait: Option<Pin<Box<Sleep>>>,
    cut: bool,
    flushed: bool,
}

impl Paced {
    /// Whether it is still too early for the next piece.
    fn waits(&mut self, context: &mut Context<'_>) -> bool {
        let Some(wait) = self.wait.as_mut() else { return false };
        if wait.as_mut().poll(context).is_pending() {
            return true;
        }
        self.wait = None;
        false
    }
}

impl hyper::body::Body for Paced {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.waits(context) {
            return Poll::Pending;
        }
        if !self.rest.is_empty() {
            let length = self.drip.map_or(usize::MAX, |drip| drip.bytes).min(self.rest.len());
            let piece = self.rest.split_to(length);
            self.wait = self
                .drip
                .map(|drip| Box::pin(tokio::time::sleep(Duration::from_millis(drip.every_ms))));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if !self.cut {
            return Poll::Ready(None);
        }
        if !self.flushed {
            // Gives the connection a turn to send what it has before it breaks.
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(std::io::Error::other("cut off on purpose"))))
    }
}

/// Chance that comes out the same in every run (splitmix, 64 bits).
#[derive(Debug)]
struct Dice {
    state: u64,
}

impl Default for Dice {
    fn default() -> Self {
        Self { state: 0x5eed }
    }
}

impl Dice {
    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)
    }

    /// From 0 up to and without 1.
    fn share(&mut self) -> f64 {
        f64::from(self.next()) / (f64::from(u32::MAX) + 1.0)
    }

    /// Standard normal (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}

/// A fault in force, with the world as it was when it was set.
#[derive(Debug, Serialize)]
struct Active {
    #[serde(flatten)]
    fault: Fault,
    #[serde(skip)]
    frozen: Option<Arc<World>>,
}

/// One fault, or several at a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    More(Vec<Fault>),
    One(Fault),
}

impl OneOrMore {
    pub(crate) fn faults(&self) -> &[Fault] {
        match self {
            Self::More(faults) => faults,
            Self::One(fault) => std::slice::from_ref(fault),
        }
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    faults: BTreeMap<Endpoint, Vec<Active>>,
    dice: Dice,
}

impl Faults {
    /// Sets the faults of an endpoint; stale ones keep this world.
    pub(crate) fn set(&mut self, endpoint: Endpoint, faults: &[Fault], world: &Arc<World>) {
        let active = |fault: &Fault| Active {
            fault: fault.clone(),
            frozen: fault.stale.then(|| Arc::clone(world)),
        };
        self.faults.insert(endpoint, faults.iter().map(active).collect());
    }

    pub(crate) fn clear(&mut self, endpoint: Endpoint) {
        self.faults.remove(&endpoint);
    }

    pub(crate) fn clear_all(&mut self) {
        self.faults.clear();
    }

    /// The faults of an endpoint as they were set: one as an object, several as an array.
    pub(crate) fn on(&self, endpoint: Endpoint) -> Value {
        self.faults.get(&endpoint).map_or(Value::Null, |active| as_set(active))
    }

    /// Every fault in force, by endpoint.
    pub(crate) fn to_json(&self) -> Value {
        let all: BTreeMap<Endpoint, Value> =
            self.faults.iter().map(|(endpoint, active)| (*endpoint, as_set(active))).collect();
        serde_json::json!(all)
    }

    /// What strikes one call; counts it where a fault is for a number of calls.
    pub(crate) fn take(
        &mut self,
        endpoint: Endpoint,
        path: &str,
    ) -> Option<(Fault, Option<Arc<World>>)> {
        let active = self.faults.get_mut(&endpoint)?;
        let mut struck: Option<Fault> = None;
        let mut frozen = None;
        for one in active.iter_mut() {
            let aimed = one.fault.path_contains.as_deref().is_none_or(|part| path.contains(part));
            if !aimed || one.fault.rate.is_some_and(|rate| self.dice.share() >= rate) {
                continue;
            }
            let mut fault = one.fault.clone();
            let drawn = fault.latency.map(|latency| latency.draw(&mut self.dice));
            let drawn = drawn.and_then(|drawn| u64::try_from(drawn.as_millis()).ok());
            fault.latency_ms += drawn.unwrap_or(0);
            frozen = one.frozen.clone().or(frozen);
            if let Some(times) = one.fault.times.as_mut() {
                *times -= 1;
            }
            struck = Some(match struck {
                None => fault,
                Some(earlier) => earlier.merged_with(fault),
            });
        }
        active.retain(|one| one.fault.times != Some(0));
        if active.is_empty() {
            self.faults.remove(&endpoint);
        }
        struck.map(|fault| (fault, frozen))
    }
}

fn as_set(active: &[Active]) -> Value {
    match active {
        [one] => serde_json::json!(one),
        several => serde_json::json!(several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::seed;

    fn faults(set: &[Fault]) -> Faults {
        let mut faults = Faults::default();
        let world = Arc::new(seed::parse(seed::BUILT_IN, 0).unwrap());
        faults.set(Endpoint::Pdp, set, &world);
        faults
    }

    #[test]
    fn a_fault_for_two_calls_is_gone_at_the_third() {
        let mut faults = faults(&[Fault { times: Some(2), ..Fault::default() }]);
        assert!(faults.take(Endpoint::Token, "/").is_none());
        assert!(faults.take(Endpoint::Pdp, "/").is_some());
        assert!(faults.take(Endpoint::Pdp, "/").is_some());
        assert!(faults.take(Endpoint::Pdp, "/").is_none());
    }

    #[test]
    fn a_rate_of_three_in_ten_strikes_about_that_often() {
        let fault = Fault { rate: Some(0.3), status: Some(503), ..Fault::default() };
        let mut faults = faults(&[fault]);
        let struck = (0..1_000).filter(|_| faults.take(Endpoint::Pdp, "/").is_some()).count();
        assert!((250..350).contains(&struck), "{struck}");
    }

    #[test]
    fn latency_is_drawn_from_its_distribution() {
        let mut dice = Dice::default();
        let mut drawn = |latency: Latency| {
            let mut all: Vec<u128> =
                (0..2_000).map(|_| latency.draw(&mut dice).as_millis()).collect();
            all.sort_unstable();
            (all[0], all[1_000], all[1_980])
        };
        let (low, middle, high) = drawn(Latency::Between { min_ms: 10, max_ms: 110 });
        assert!(low >= 10 && (50..70).contains(&middle) && high < 110);
        let (_, median, p99) = drawn(Latency::LogNormal { median_ms: 20, p99_ms: 400 });
        assert!((17..24).contains(&median) && (250..600).contains(&p99), "{median} {p99}");
    }

    #[test]
    fn several_faults_strike_together_and_only_where_they_are_aimed() {
        let slow = Fault { latency_ms: 5, ..Fault::default() };
        let policy = Fault {
            status: Some(500),
            path_contains: Some("/policy".to_owned()),
            ..Fault::default()
        };
        let mut faults = faults(&[slow, policy]);
        let mut struck = |path: &str| {
            let (fault, _) = faults.take(Endpoint::Pdp, path).unwrap();
            (fault.latency_ms, fault.status)
        };
        assert_eq!(struck("/resource/x/policy"), (5, Some(500)));
        assert_eq!(struck("/resource/x"), (5, None));
    }

    #[test]
    fn impossible_faults_are_named() {
        assert!(Fault { status: Some(99), ..Fault::default() }.problem().is_some());
        assert!(Fault { times: Some(0), ..Fault::default() }.problem().is_some());
        assert!(Fault { rate: Some(1.5), ..Fault::default() }.problem().is_some());
        assert!(Fault { status: Some(503), ..Fault::default() }.problem().is_none());
        assert!(serde_json::from_str::<Fault>(r#"{"latency":1}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"latncy_ms":1}"#).is_err());
    }
}
