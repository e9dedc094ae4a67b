//! The issuer's keys: fetched at start, refreshed behind the requests, kept when the issuer is down.
//!
//! A request reads the held set without waiting. Only a token with an unknown key id may cause a fetch,
//! one at a time and at most one per interval, so that made-up ids cannot be used to hammer the issuer
//! (threats 5, 6, 75–77).

use super::flight::{Allowance, SingleFlight};
use super::http::{self, Chain, HttpError};
use super::key_set::{self, KeySetError, MAX_KEY_ID_BYTES, ParsedKeySet, parse_key_set};
use super::{Issuer, IssuerError};
use crate::clock::Clock;
use crate::config::MaskinportenConfig;
use crate::domain::salt::Salt;
use crate::enforce::ports::{EdgeFuture, KeyError, KeySource, Unavailable, VerificationKey};
use crate::telemetry::metrics::Metrics;
use ::http::StatusCode;
use arc_swap::{ArcSwap, ArcSwapOption};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::collections::HashMap;
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The keys of the configured issuer.
pub struct JwksKeySource {
    shared: Arc<Shared>,
}

struct Shared {
    issuer: Arc<dyn Publisher>,
    pace: ArcSwap<Pace>,
    /// Wakes what keeps the set fresh: another pace is kept to.
    repaced: Notify,
    held: ArcSwapOption<HeldSet>,
    flight: SingleFlight,
    /// For unknown key ids, whatever they are and however the fetch ends. Background fetches do not use
    /// it up, so that a key rotated in right after one is still found at once.
    allowance: Mutex<Allowance>,
    private_members_seen: AtomicBool,
    loaded: watch::Sender<bool>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    salt: Salt,
}

/// How often keys are fetched, and how long they are used.
#[derive(Debug)]
struct Pace {
    refresh: Duration,
    max_age: Duration,
}

impl Pace {
    fn of(config: &MaskinportenConfig) -> Self {
        Self { refresh: config.refresh, max_age: config.max_age }
    }
}

/// How often it is looked whether the machine has slept.
const LOOK: Duration = Duration::from_secs(5);

/// One accepted set.
struct HeldSet {
    keys: HashMap<String, Arc<VerificationKey>>,
    fetched: Instant,
    /// The same moment by the wall clock.
    wall: SystemTime,
    /// A newer one was looked for in vain when the wall clock said that this is too old.
    slept_over: AtomicBool,
}

impl HeldSet {
    /// By the clock that says more: the monotonic one stands still while a machine sleeps, and the other may be set back.
    fn age(&self, clock: &dyn Clock) -> Duration {
        let by_wall = clock.wall().duration_since(self.wall).unwrap_or_default();
        self.fetched.elapsed().max(by_wall)
    }
}

/// Why the key set could not be renewed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody tells where it is.
    #[error("the issuer's key set cannot be located")]
    Issuer(#[from] IssuerError),
    /// It could not be fetched.
    #[error("the issuer's key set cannot be fetched")]
    Http(#[from] HttpError),
    /// Not 200.
    #[error("the issuer's key set was answered with status {0}")]
    Status(StatusCode),
    /// Not a key set.
    #[error("the issuer's key set is refused")]
    Refused(#[from] KeySetError),
    /// No key that may verify a token.
    #[error("the issuer's key set holds no usable key")]
    NoUsableKey,
}

/// Where the issuer's key set comes from: [`Issuer`], by HTTP.
pub trait Publisher: Send + Sync {
    /// The issuer, for the log.
    fn name(&self) -> &str;

    /// The key set as it is served now. Where it is served is asked for first with `located_anew`; else
    /// what was told before is good enough.
    ///
    /// # Errors
    /// [`FetchError`] when there was no whole answer of status 200.
    fn key_set(&self, located_anew: bool) -> EdgeFuture<'_, Result<Vec<u8>, FetchError>>;
}

impl Publisher for Issuer {
    fn name(&self) -> &str {
        self.name()
    }

    fn key_set(&self, located_anew: bool) -> EdgeFuture<'_, Result<Vec<u8>, FetchError>> {
        Box::pin(async move {
            let metadata = if located_anew {
                match self.refresh().await {
                    Ok(metadata) => metadata,
                    Err(error) => {
                        tracing::warn!(error = %Chain(&error), "the issuer's metadata could not be renewed");
                        self.held().ok_or(error)?
                    }
                }
            } else {
                self.metadata().await?
            };
            let request = self.http().get(metadata.jwks_uri.clone());
            let calling = self.tracer().call("maskinporten.jwks");
            let reply = http::send(request, key_set::MAX_BYTES, calling).await?;
            if reply.status != StatusCode::OK {
                return Err(FetchError::Status(reply.status));
            }
            Ok(reply.body)
        })
    }
}

impl FetchError {
    fn label(&self) -> &'static str {
        match self {
            Self::Issuer(error) => error.label(),
            Self::Http(error) => error.label(),
            Self::Status(_) => "error_status",
            Self::Refused(_) => "unreadable",
            Self::NoUsableKey => "no_usable_key",
        }
    }
}

/// What a fetch is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trigger {
    Start,
    Refresh,
    UnknownKid,
}

impl Trigger {
    fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Refresh => "refresh",
            Self::UnknownKid => "unknown_kid",
        }
    }
}

impl JwksKeySource {
    /// A source that holds nothing yet: spawn [`Self::run`]. Fetches run on `runtime`, the one of
    /// every call to the outside, and are spread by `salt`.
    #[must_use]
    pub fn new(
        config: &MaskinportenConfig,
        issuer: Arc<dyn Publisher>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        runtime: Handle,
        salt: Salt,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                issuer,
                pace: ArcSwap::from_pointee(Pace::of(config)),
                repaced: Notify::new(),
                held: ArcSwapOption::empty(),
                flight: SingleFlight::default(),
                allowance: Mutex::new(Allowance::one_per(config.unknown_kid_interval)),
                private_members_seen: AtomicBool::new(false),
                loaded: watch::Sender::new(false),
                clock,
                metrics,
                runtime,
                salt,
            }),
        }
    }

    /// Makes ready for the times of `config`: keys that are due by them are fetched now, so that none is too old when
    /// they are kept to. Ends with that fetch, done well or not: within the time limits of two calls.
    pub async fn prepare(&self, config: &MaskinportenConfig) {
        let shared = &self.shared;
        let age = shared.held.load().as_ref().map(|set| set.age(&*shared.clock));
        if age.is_some_and(|age| age > config.refresh.min(config.max_age)) {
            let renew = || Some(Arc::clone(shared).renew(Trigger::Refresh));
            if let Some(landing) = shared.flight.join_or_start(&shared.runtime, renew) {
                let _ = landing.landed().await;
            }
        }
    }

    /// Keeps to the times of `config` from now on, the time until the next fetch included.
    pub fn keep_to(&self, config: &MaskinportenConfig) {
        self.shared.pace.store(Arc::new(Pace::of(config)));
        self.shared.repaced.notify_one();
        let mut allowance = self.shared.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        allowance.keep_to(config.unknown_kid_interval);
    }

    /// Keeps the set fresh until `shutdown`: fetches at once, backs off from about 250 ms to 30 s
    /// while fetches fail, and renews each `refresh` (±10 %) while they succeed.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let kept = self.shared.keep_fresh();
        // `None` is the stop; the other arm never ends.
        let _ = shutdown.run_until_cancelled(kept).await;
    }

    /// Whether a set is held that is not too old: the program can verify tokens.
    #[must_use]
    pub fn loaded(&self) -> bool {
        self.shared.current().is_some()
    }

    /// Returns when the first set has been accepted. Cancel safe.
    pub async fn wait_until_loaded(&self) {
        let mut loaded = self.shared.loaded.subscribe();
        // INVARIANT: the sender lives as long as `self`, so waiting ends with the set only.
        let _ = loaded.wait_for(|loaded| *loaded).await;
    }
}

impl KeySource for JwksKeySource {
    fn find(&self, key_id: &str) -> Result<Arc<VerificationKey>, KeyError> {
        self.shared.find(key_id)
    }

    fn holds(&self, key: &Arc<VerificationKey>) -> Result<bool, Unavailable> {
        let held = self.shared.held.load();
        let set = held.as_ref().filter(|set| self.shared.is_fresh(set)).ok_or(Unavailable)?;
        // There are a few. To look at each is cheaper than a hash of the id, and than to count who holds the key.
        Ok(set.keys.values().any(|each| Arc::ptr_eq(each, key)))
    }

    fn fetch<'a>(
        &'a self,
        key_id: &'a str,
    ) -> EdgeFuture<'a, Result<Arc<VerificationKey>, KeyError>> {
        Box::pin(self.shared.find_anew(key_id))
    }
}

impl Shared {
    /// Whether a set may be used. The wall clock alone may say that it is too old: after a sleep of the machine, or when
    /// somebody has set it. A newer set is looked for first then, so that a clock that was set stops nobody while the
    /// issuer answers.
    fn is_fresh(&self, set: &HeldSet) -> bool {
        let most = self.pace.load().max_age;
        set.fetched.elapsed() <= most
            && !(set.slept_over.load(Ordering::Relaxed) && set.age(&*self.clock) > most)
    }

    /// Whether a newer set is to be looked for at once, whatever was planned.
    fn is_due(&self, set: &HeldSet, renewed: bool, pause: Duration) -> bool {
        let age = set.age(&*self.clock);
        let first_look = !set.slept_over.load(Ordering::Relaxed);
        (renewed && age >= pause) || (first_look && age > self.pace.load().max_age)
    }

    /// No newer set was to be had.
    fn missed(&self) {
        if let Some(set) = self.held.load().as_ref()
            && set.age(&*self.clock) > self.pace.load().max_age
        {
            set.slept_over.store(true, Ordering::Relaxed);
        }
    }

    fn current(&self) -> Option<Arc<HeldSet>> {
        self.held.load_full().filter(|set| self.is_fresh(set))
    }

    fn find(&self, key_id: &str) -> Result<Arc<VerificationKey>, KeyError> {
        let held = self.held.load();
        match held.as_ref() {
            Some(set) if self.is_fresh(set) => {
                set.keys.get(key_id).map(Arc::clone).ok_or(KeyError::Unknown)
            }
            Some(_) | None => Err(KeyError::Unavailable),
        }
    }

    async fn find_anew(self: &Arc<Self>, key_id: &str) -> Result<Arc<VerificationKey>, KeyError> {
        if key_id.len() > MAX_KEY_ID_BYTES {
            return Err(KeyError::Unknown);
        }
        let mut told = true;
        // Twice: the fetch that was joined may have begun before the key was published.
        for _ in 0..2 {
            match self.find(key_id) {
                Err(KeyError::Unknown) => {}
                // Without a set the background task is trying already, and no request waits for it.
                answer => return answer,
            }
            let landing = self.flight.join_or_start(&self.runtime, || self.allowed_fetch());
            let Some(landing) = landing else { break };
            told = landing.landed().await;
        }
        match self.find(key_id) {
            Err(KeyError::Unknown) if !told || self.flight.last_failed() => {
                Err(KeyError::Unavailable)
            }
            answer => answer,
        }
    }

    fn allowed_fetch(self: &Arc<Self>) -> Option<impl Future<Output = bool> + Send + 'static> {
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        allowance.take(Instant::now()).then(|| Arc::clone(self).renew(Trigger::UnknownKid))
    }

    async fn keep_fresh(self: &Arc<Self>) {
        let mut trigger = Trigger::Start;
        let mut round = 0_u64;
        let mut backoff = retry_delays(self.salt, round);
        loop {
            round = round.wrapping_add(1);
            let renew = || Some(Arc::clone(self).renew(trigger));
            let landing = self.flight.join_or_start(&self.runtime, renew);
            let renewed = match landing {
                Some(landing) => landing.landed().await,
                None => false,
            };
            if renewed {
                trigger = Trigger::Refresh;
                backoff = retry_delays(self.salt, round);
            }
            let (ended, retry) = (Instant::now(), if renewed { None } else { backoff.next() });
            loop {
                let refresh = self.pace.load().refresh;
                let pause = if renewed {
                    spread(refresh, self.salt, round)
                } else {
                    retry.unwrap_or(refresh).min(refresh)
                };
                // After a sleep of the machine it is due by the wall clock first.
                let held = self.held.load_full();
                if held.is_some_and(|set| self.is_due(&set, renewed, pause)) {
                    break;
                }
                let end = ended + pause;
                tokio::select! {
                    () = tokio::time::sleep_until(end.min(Instant::now() + LOOK)) => {
                        if Instant::now() >= end {
                            break;
                        }
                    }
                    () = self.repaced.notified() => {}
                }
            }
        }
    }

    /// Fetches once, and tells whether a set was accepted; what was held stays when none was.
    async fn renew(self: Arc<Self>, trigger: Trigger) -> bool {
        let fetched = match self.fetch_set(trigger).await {
            Ok(parsed) => self.accept(parsed),
            Err(error) => Err(error),
        };
        let result = fetched.as_ref().map_or_else(FetchError::label, |()| "ok");
        self.metrics.key_set_fetches.with_label_values(&[trigger.label(), result]).inc();
        if let Err(error) = &fetched {
            self.missed();
            tracing::warn!(
                trigger = trigger.label(),
                holding = self.current().is_some(),
                error = %Chain(error),
                "the issuer's key set could not be renewed"
            );
        }
        fetched.is_ok()
    }

    async fn fetch_set(&self, trigger: Trigger) -> Result<ParsedKeySet, FetchError> {
        let located_anew = trigger != Trigger::UnknownKid;
        let body = self.issuer.key_set(located_anew).await?;
        Ok(parse_key_set(&body)?)
    }

    fn accept(&self, parsed: ParsedKeySet) -> Result<(), FetchError> {
        for reason in &parsed.ignored {
            self.metrics.key_set_ignored.with_label_values(&[reason.label()]).inc();
        }
        if parsed.private_members && !self.private_members_seen.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the issuer publishes private members of its keys: tell them; public parts are used"
            );
        }
        if parsed.keys.is_empty() {
            return Err(FetchError::NoUsableKey);
        }
        let before = self.held.load_full();
        let keys: HashMap<_, _> = parsed
            .keys
            .into_iter()
            .map(|key| (key.key_id.clone(), kept_or_new(before.as_deref(), key)))
            .collect();
        self.metrics.key_set_keys.set(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        self.metrics.key_set_fetched.set(self.clock.now().seconds());
        self.held.store(Some(Arc::new(HeldSet {
            keys,
            fetched: Instant::now(),
            wall: self.clock.wall(),
            slept_over: AtomicBool::new(false),
        })));
        if !self.loaded.send_replace(true) {
            tracing::info!(issuer = self.issuer.name(), "the issuer's keys are loaded");
        }
        Ok(())
    }
}

/// The same `Arc` for an unchanged key: what was verified with it stays verified.
fn kept_or_new(before: Option<&HeldSet>, key: VerificationKey) -> Arc<VerificationKey> {
    before
        .and_then(|set| set.keys.get(&key.key_id))
        .filter(|held| held.algorithm == key.algorithm && held.key == key.key)
        .map_or_else(|| Arc::new(key), Arc::clone)
}

/// About 250 ms, doubling to 30 s, each spread over its own length so that replicas part ways.
fn retry_delays(salt: Salt, round: u64) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(15))
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(salt.hash_one(round))
        .build()
}

/// `period` ±10 %.
fn spread(period: Duration, salt: Salt, round: u64) -> Duration {
    let [random, ..] = salt.hash_one(round).to_be_bytes();
    period.mul_f64(0.9 + 0.2 * f64::from(random) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Answer, Stub};
    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::time::UnixTime;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use std::sync::atomic::AtomicI64;

    const KEYS: &str = "/jwk";

    fn set(kids: &[&str]) -> String {
        let keys: Vec<_> = kids
            .iter()
            .map(|kid| {
                let seed = kid.as_bytes()[0] | 1;
                let n = URL_SAFE_NO_PAD.encode([[0x80; 1].as_slice(), &[seed; 255]].concat());
                format!(r#"{{"kty":"RSA","kid":"{kid}","n":"{n}","e":"AQAB"}}"#)
            })
            .collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    type Served = Arc<Mutex<Answer>>;

    /// An issuer whose key endpoint answers what `Served` holds.
    async fn issuer(first: Answer) -> (Stub, Served) {
        let served = Arc::new(Mutex::new(first));
        let answers = Arc::clone(&served);
        let stub = Stub::start(move |call| {
            if call.path == KEYS {
                return answers.lock().unwrap().clone();
            }
            let host = call.headers["host"].to_str().unwrap();
            Answer::ok(format!(r#"{{"issuer":"http://{host}/","jwks_uri":"http://{host}{KEYS}"}}"#))
        })
        .await;
        (stub, served)
    }

    fn config(url: &reqwest::Url, interval: Duration) -> MaskinportenConfig {
        MaskinportenConfig {
            issuer: url.to_string(),
            metadata_url: url.join("/.well-known/oauth-authorization-server").unwrap(),
            refresh: Duration::from_secs(3600),
            max_age: Duration::from_secs(100),
            unknown_kid_interval: interval,
            timeout: Duration::from_millis(500),
            client: None,
        }
    }

    fn source(url: &reqwest::Url, interval: Duration) -> Arc<JwksKeySource> {
        source_by(Arc::new(SystemClock), url, interval)
    }

    fn source_by(
        clock: Arc<dyn Clock>,
        url: &reqwest::Url,
        interval: Duration,
    ) -> Arc<JwksKeySource> {
        let config = config(url, interval);
        let issuer = Arc::new(Issuer::new(&config).unwrap());
        let metrics = Arc::new(Metrics::new().unwrap());
        let runtime = Handle::current();
        Arc::new(JwksKeySource::new(&config, issuer, clock, metrics, runtime, Salt::random()))
    }

    async fn started(stub: &Stub, interval: Duration) -> Arc<JwksKeySource> {
        let source = source(&stub.url, interval);
        tokio::spawn(Arc::clone(&source).run(CancellationToken::new()));
        source.wait_until_loaded().await;
        source
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_fetch_that_gives_nothing_better_keeps_the_old_set() {
        let (stub, served) = issuer(Answer::ok(set(&["a", "b"]))).await;
        let source = started(&stub, MINUTE).await;
        let bad = [
            Answer::ok("not json"),
            Answer::ok(""),
            Answer::ok(r#"{"keys":[]}"#),
            Answer::ok(r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}"#),
            Answer::ok("<!doctype html><title>Maintenance</title>"),
            Answer::ok(&set(&["a"]).as_bytes()[..80]),
            Answer::ok(format!("{}{}", set(&["a"]), " ".repeat(key_set::MAX_BYTES))),
            Answer::status(500),
            Answer::Whole(404, None, set(&["a"]).into_bytes()),
            Answer::Whole(302, Some(("location", "/other".into())), Vec::new()),
            Answer::Broken(set(&["a"]).into_bytes()),
            Answer::Endless,
            Answer::Never,
        ];
        for answer in bad {
            *served.lock().unwrap() = answer.clone();
            assert!(!Arc::clone(&source.shared).renew(Trigger::Refresh).await, "{answer:?}");
            assert!(source.find("a").is_ok() && source.find("b").is_ok(), "{answer:?}");
        }
        assert_eq!(stub.calls_to("/other"), 0, "a redirect is not followed");
    }

    #[tokio::test]
    async fn an_unchanged_key_stays_the_same_and_a_removed_one_goes() {
        let (stub, served) = issuer(Answer::ok(set(&["a", "b"]))).await;
        let source = started(&stub, MINUTE).await;
        let before = source.find("a").unwrap();
        let changed = set(&["a"]).replace("}]}", r#"},{"kty":"RSA","kid":"x"}]}"#);
        *served.lock().unwrap() = Answer::ok(changed);
        assert!(Arc::clone(&source.shared).renew(Trigger::Refresh).await);
        assert!(Arc::ptr_eq(&before, &source.find("a").unwrap()));
        assert_eq!(source.find("b").unwrap_err(), KeyError::Unknown);
        let other = set(&["c"]).replace("\"c\"", "\"a\"");
        *served.lock().unwrap() = Answer::ok(other);
        assert!(Arc::clone(&source.shared).renew(Trigger::Refresh).await);
        assert!(!Arc::ptr_eq(&before, &source.find("a").unwrap()), "same id, other key");
        assert_eq!(source.shared.metrics.key_set_keys.get(), 1);
        assert_eq!(source.shared.metrics.key_set_ignored.with_label_values(&["modulus"]).get(), 1);
    }

    #[tokio::test]
    async fn a_key_rotated_in_right_after_the_start_is_found_with_one_fetch() {
        let (stub, served) = issuer(Answer::ok(set(&["a"]))).await;
        let source = started(&stub, MINUTE).await;
        *served.lock().unwrap() = Answer::ok(set(&["a", "n"]));
        assert_eq!(source.find("n").unwrap_err(), KeyError::Unknown);
        assert_eq!(source.fetch("n").await.unwrap().key_id, "n");
        assert_eq!(stub.calls_to(KEYS), 2);
    }

    #[tokio::test]
    async fn a_flood_of_unknown_ids_costs_one_fetch_and_known_keys_serve_meanwhile() {
        let (stub, _) = issuer(Answer::ok(set(&["a"]))).await;
        let source = started(&stub, MINUTE).await;
        let mut asks = tokio::task::JoinSet::new();
        for n in 0..1000 {
            let source = Arc::clone(&source);
            asks.spawn(async move { source.fetch(&format!("made-up-{n}")).await.map(|_| ()) });
        }
        assert!(source.find("a").is_ok());
        assert!(asks.join_all().await.iter().all(|answer| *answer == Err(KeyError::Unknown)));
        assert_eq!(source.fetch(&"k".repeat(513)).await.unwrap_err(), KeyError::Unknown);
        assert_eq!(stub.calls_to(KEYS), 2, "one at the start, one for all of them");
    }

    #[tokio::test]
    async fn an_unknown_id_is_no_no_while_the_issuer_cannot_be_asked() {
        let (stub, served) = issuer(Answer::ok(set(&["a"]))).await;
        let source = started(&stub, MINUTE).await;
        *served.lock().unwrap() = Answer::status(500);
        for _ in 0..2 {
            assert_eq!(source.fetch("n").await.unwrap_err(), KeyError::Unavailable);
        }
        assert!(source.fetch("a").await.is_ok());
        assert_eq!(stub.calls_to(KEYS), 2, "a failed fetch uses the allowance too");
    }

    #[tokio::test]
    async fn a_caller_that_leaves_ends_no_fetch() {
        let (stub, served) = issuer(Answer::ok(set(&["a"]))).await;
        let source = started(&stub, MINUTE).await;
        *served.lock().unwrap() = Answer::ok(set(&["n"]));
        // Polled once, then dropped: the fetch has begun.
        tokio::select! {
            biased;
            _ = source.fetch("n") => panic!("a fetch takes longer than one poll"),
            () = std::future::ready(()) => {}
        }
        assert!(source.fetch("n").await.is_ok());
        assert_eq!(stub.calls_to(KEYS), 2);
    }

    #[tokio::test]
    async fn a_fetch_under_way_is_joined_and_does_not_use_up_the_allowance() {
        let (stub, served) = issuer(Answer::ok(set(&["a"]))).await;
        let source = started(&stub, MINUTE).await;
        *served.lock().unwrap() = Answer::Never;
        let refresh = || Some(Arc::clone(&source.shared).renew(Trigger::Refresh));
        let slow = source.shared.flight.join_or_start(&Handle::current(), refresh).unwrap();
        while stub.calls_to(KEYS) < 2 {
            tokio::task::yield_now().await;
        }
        *served.lock().unwrap() = Answer::ok(set(&["a", "n"]));
        assert!(source.fetch("n").await.is_ok());
        assert!(!slow.landed().await);
        assert_eq!(stub.calls_to(KEYS), 3);
    }

    #[tokio::test]
    async fn it_becomes_ready_by_itself_when_the_issuer_comes_up() {
        let (stub, served) = issuer(Answer::status(503)).await;
        let source = source(&stub.url, MINUTE);
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&source).run(stop.clone()));
        while stub.calls_to(KEYS) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(source.fetch("a").await.unwrap_err(), KeyError::Unavailable);
        assert!(!source.loaded());
        *served.lock().unwrap() = Answer::ok(set(&["a"]));
        source.wait_until_loaded().await;
        assert!(source.loaded() && source.find("a").is_ok());
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_past_its_greatest_age_verifies_nothing() {
        let source = source(&"http://127.0.0.1:9/".parse().unwrap(), MINUTE);
        source.shared.accept(parse_key_set(set(&["a"]).as_bytes()).unwrap()).unwrap();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(source.find("a").is_ok() && source.loaded());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(source.find("a").unwrap_err(), KeyError::Unavailable);
        assert!(!source.loaded());
    }

    /// Seconds since 1970.
    struct SetClock(AtomicI64);

    impl Clock for SetClock {
        fn now(&self) -> UnixTime {
            UnixTime::from_seconds(self.0.load(Ordering::Relaxed))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_of_the_machine_makes_keys_older_and_a_clock_set_back_makes_none_younger() {
        let clock = Arc::new(SetClock(AtomicI64::new(1_000_000)));
        let by: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
        let source = source_by(by, &"http://127.0.0.1:9/".parse().unwrap(), MINUTE);
        source.shared.accept(parse_key_set(set(&["a"]).as_bytes()).unwrap()).unwrap();
        clock.0.fetch_add(100, Ordering::Relaxed);
        assert!(source.find("a").is_ok() && source.loaded());
        clock.0.fetch_add(1, Ordering::Relaxed);
        assert!(source.find("a").is_ok(), "the issuer may have a newer one");
        source.shared.missed();
        assert_eq!(source.find("a").unwrap_err(), KeyError::Unavailable);
        assert!(!source.loaded());
        clock.0.fetch_sub(3600, Ordering::Relaxed);
        assert!(source.find("a").is_ok());
        tokio::time::advance(Duration::from_secs(101)).await;
        assert_eq!(source.find("a").unwrap_err(), KeyError::Unavailable);
    }

    #[tokio::test]
    async fn keys_are_fetched_anew_after_a_sleep_of_the_machine() {
        let (stub, _) = issuer(Answer::ok(set(&["a"]))).await;
        let clock = Arc::new(SetClock(AtomicI64::new(1_000_000)));
        let by: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
        let source = source_by(by, &stub.url, MINUTE);
        tokio::spawn(Arc::clone(&source).run(CancellationToken::new()));
        source.wait_until_loaded().await;
        clock.0.fetch_add(4000, Ordering::Relaxed);
        let end = Instant::now() + LOOK * 3;
        while stub.calls_to(KEYS) < 2 {
            assert!(Instant::now() < end, "not fetched anew");
            assert!(source.loaded(), "a clock that was set stops nobody");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_shorter_age_is_kept_to_from_then_on_and_no_key_expires_that_is_still_given() {
        let (stub, _) = issuer(Answer::ok(set(&["a"]))).await;
        let source = started(&stub, MINUTE).await;
        let (refresh, max_age) = (Duration::from_millis(100), Duration::from_secs(3));
        let shorter = MaskinportenConfig { refresh, max_age, ..config(&stub.url, MINUTE) };
        source.keep_to(&shorter);
        let begun = Instant::now();
        while begun.elapsed() < max_age + max_age / 3 {
            assert!(source.find("a").is_ok(), "after {:?}", begun.elapsed());
            tokio::time::sleep(refresh / 10).await;
        }
        assert!(stub.calls_to(KEYS) >= 8, "one in a tenth of a second");
    }

    #[tokio::test]
    async fn what_is_too_old_by_another_age_is_fetched_before_that_is_kept_to() {
        let (stub, served) = issuer(Answer::ok(set(&["a"]))).await;
        let source = started(&stub, MINUTE).await;
        let max_age = Duration::from_millis(200);
        tokio::time::sleep(max_age * 2).await;
        let usual = config(&stub.url, MINUTE);
        source.prepare(&usual).await;
        assert_eq!(stub.calls_to(KEYS), 1, "not due");
        let shorter = MaskinportenConfig { max_age, ..usual };
        source.prepare(&shorter).await;
        assert_eq!(stub.calls_to(KEYS), 2);
        source.keep_to(&shorter);
        assert!(source.find("a").is_ok());
        // Where the issuer gives none, the new age holds all the same.
        tokio::time::sleep(max_age * 2).await;
        *served.lock().unwrap() = Answer::status(500);
        source.keep_to(&config(&stub.url, MINUTE));
        assert!(source.find("a").is_ok());
        source.prepare(&shorter).await;
        source.keep_to(&shorter);
        assert_eq!(source.find("a").unwrap_err(), KeyError::Unavailable);
    }

    #[test]
    fn the_refresh_is_spread_by_a_tenth_at_most() {
        for _ in 0..100 {
            let spread = spread(Duration::from_secs(100), Salt::random(), 0).as_secs_f64();
            assert!((89.9..=110.1).contains(&spread), "{spread}");
        }
    }
}
