//! A warm request: its token was verified before, and the register derives the right that its route needs.

use crate::judge::{Judge, NoBody, facts};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Uri};
use portvakt::config::ConfirmationConfig;
use portvakt::domain::decision::{Source, Undecided, Verdict};
use portvakt::domain::delegation::PartyRights;
use portvakt::domain::party::OrgNumber;
use portvakt::domain::resource::{Question, Right};
use portvakt::enforce::Grant;
use portvakt::enforce::answers::{Answers, Sampler};
use portvakt::enforce::authenticate::TokenCache;
use portvakt::enforce::confirmations::Confirmations;
use portvakt::enforce::ports::{Call, EdgeFuture, RemotePdp};
use portvakt::enforce::trail::Trail;
use portvakt::register::{Limits, PolicyState, PolicyVersion, Seen, Ticks, Writer, open};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Permits nothing: what is permitted here was derived.
struct Never;

impl RemotePdp for Never {
    fn ask<'a>(&'a self, _: &'a Question, _: Call) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        Box::pin(std::future::ready(Ok(Verdict::NotApplicable)))
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        _: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        Box::pin(std::future::ready(vec![Ok(Verdict::NotApplicable); questions.len()]))
    }
}

pub(crate) struct Warm {
    judge: Judge,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    _writer: Writer,
}

impl Warm {
    pub(crate) fn new() -> Self {
        let mut judge = Judge::new();
        let (answers, writer) = answers();
        judge.enforcer.answers = Some(Arc::new(answers));
        let mut headers = judge.headers.clone();
        for (name, value) in [("accept", "application/json"), ("user-agent", "vendor/1.0")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let uri = Uri::from_static("/v2/310000027/returns");
        let warm = Self { judge, method: Method::GET, uri, headers, _writer: writer };
        assert_eq!(warm.permit(), (Some(TokenCache::Miss), Source::Derived));
        assert_eq!(warm.permit(), (Some(TokenCache::Hit), Source::Derived));
        warm
    }

    /// Route, token, scope, party and right of the request, judged as the program does.
    pub(crate) fn permit(&self) -> (Option<TokenCache>, Source) {
        let mut trail = Trail::default();
        let facts = facts(&self.method, &self.uri, &self.headers);
        let mut body = NoBody;
        let judged = self.judge.enforcer.enforce(facts, &mut body, &mut trail).now_or_never();
        let Some(Ok(Grant::Right(permit))) = judged else { panic!("not permitted at once") };
        (trail.token_cache, permit.evidence().source)
    }

    /// The token of the request.
    #[allow(dead_code, reason = "only the measurement reads it")]
    pub(crate) fn token(&self) -> &str {
        let value = self.headers.get(http::header::AUTHORIZATION).unwrap();
        value.to_str().unwrap().strip_prefix("Bearer ").unwrap()
    }

    /// The key that it was signed with.
    #[allow(dead_code, reason = "only the measurement reads it")]
    pub(crate) fn key(&self) -> &crate::keys::Key {
        &self.judge.key
    }
}

/// A register that derives the right to read from a package that the system user holds for one party.
fn answers() -> (Answers, Writer) {
    let right = Right { resource: "route-both".parse().unwrap(), action: "read".parse().unwrap() };
    let ticks = Ticks::new();
    let limits = Limits { max_entries: 10, max_sets: 10 };
    let (mut writer, reader) = open(vec![right.clone()], limits, ticks.clone()).unwrap();
    let package = "lonn".parse().unwrap();
    let state = PolicyState::Derivable {
        since: None,
        derive: Box::new(move |held| held(&package)),
        explain: None,
        version: PolicyVersion(7),
        access: None,
    };
    let index = writer.right_index(&right).unwrap();
    writer.set_policies(vec![(index, state)]);
    let id = "11111111-1111-4111-8111-111111111111".parse().unwrap();
    let number = OrgNumber::from_packed;
    let system = Some("310000019_sys".parse().unwrap());
    writer.watch(&Seen { id, owner: number(310_000_027), system, vendor: number(310_000_019) });
    let party = number(310_000_027).unwrap();
    let rights =
        PartyRights { party, packages: vec!["lonn".parse().unwrap()], resources: Vec::new() };
    writer.publish(id, writer.ticks().now(), vec![rights]);
    writer.policies_verified(writer.ticks().now());
    let config = ConfirmationConfig { no_for: DAY, max_entries: 1000, suspicious_for: DAY };
    let confirmations =
        Confirmations::new(Arc::new(Never), ticks.clone(), &config, DAY, Box::new(|_, _| {}));
    let answers = Answers {
        register: Some(reader),
        confirmations: Arc::new(confirmations),
        notices: None,
        ticks,
        no_for: DAY,
        policy_max_age: DAY,
        sampler: Sampler::new(NonZeroUsize::MAX),
    };
    (answers, writer)
}
