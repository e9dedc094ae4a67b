//! Plain implementations of the ports, and builders, for tests of the steps.

use super::admit::{Admitted, admit};
use super::facts::Facts;
use super::ports::{Call, EdgeFuture, RemotePdp};
use crate::config::{AccessConfig, Enforcement, LimitConfig, RouteConfig, StreamConfig};
use crate::domain::decision::{Cause, Undecided, Verdict};
use crate::domain::party::Party;
use crate::domain::resource::{Question, Right};
use http::{HeaderMap, HeaderValue, Version, header};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

pub(crate) fn limits() -> LimitConfig {
    LimitConfig {
        target_bytes: 100,
        header_bytes: 1000,
        header_count: 10,
        body_bytes: Some(1000),
        party_body_bytes: 500,
        connections_per_peer: 10,
        connections: 10,
        requests_in_flight: 10,
        streams_per_connection: 10,
        consumer_rate: None,
        system_user_rate: None,
        header_timeout: Duration::from_secs(1),
        body_idle_timeout: Duration::from_secs(1),
        drain_timeout: Duration::from_secs(1),
        shadow_wait: Duration::from_secs(1),
    }
}

pub(crate) fn anonymous_route(id: &str, method: &str, path: &str) -> RouteConfig {
    RouteConfig {
        id: id.into(),
        methods: vec![method.parse().unwrap()],
        path: path.into(),
        access: AccessConfig::Anonymous,
        enforcement: Enforcement::Full,
        upstream: "default".into(),
        upgrades: Vec::new(),
        streams: StreamConfig::default(),
    }
}

/// Admits `METHOD path` and hands it to `then`.
pub(crate) fn admitted<T>(method: &str, path: &str, then: impl FnOnce(Admitted<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("api"));
    let (method, uri) = (method.parse().unwrap(), path.parse().unwrap());
    let peer = "127.0.0.1".parse().unwrap();
    let facts =
        Facts { method: &method, uri: &uri, version: Version::HTTP_11, headers: &headers, peer };
    then(admit(facts, &limits()).unwrap())
}

pub(crate) fn question(action: &str) -> Question {
    Question::new(
        "11111111-1111-4111-8111-111111111111".parse().unwrap(),
        Party::Organization("310000027".parse().unwrap()),
        Right { resource: "ex-returns".parse().unwrap(), action: action.parse().unwrap() },
        None,
    )
}

/// A PDP that says what it is told to, in order, and counts.
pub(crate) struct ScriptedPdp {
    script: Mutex<VecDeque<Result<Verdict, Cause>>>,
    asked: Mutex<usize>,
}

impl ScriptedPdp {
    pub(crate) fn new(script: &[Result<Verdict, Cause>]) -> Self {
        Self { script: Mutex::new(script.iter().copied().collect()), asked: Mutex::new(0) }
    }

    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

impl RemotePdp for ScriptedPdp {
    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        call: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        let each = questions.iter().map(move |question| self.ask(question, call));
        Box::pin(futures_util::future::join_all(each))
    }

    fn ask<'a>(&'a self, _: &'a Question, _: Call) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        Box::pin(async {
            // Lets every waiter arrive before the answer does.
            tokio::task::yield_now().await;
            *self.asked.lock().unwrap() += 1;
            let next = self.script.lock().unwrap().pop_front();
            next.expect("the script has ended").map_err(Undecided::from)
        })
    }
}
