//! Our own token at Altinn: granted by Maskinporten, exchanged, kept, renewed ahead of its end.
//!
//! Source: contract maskinporten.md §7. One fetch at a time, off the requests where the old token still
//! holds; after a failure the next fetch waits.

use super::Altinn;
use crate::clock::Clock;
use crate::config::ClientConfig;
use crate::maskinporten::flight::{Allowance, Landing, SingleFlight};
use crate::maskinporten::grant::{BearerToken, Grant, GrantError, SigningKeyError};
use crate::maskinporten::http::{self, Chain, HttpError};
use crate::telemetry::metrics::Metrics;
use ::http::{Method, StatusCode};
use arc_swap::ArcSwap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use zeroize::Zeroizing;

const REPLY_BYTES: usize = 64 * 1024;
/// Life of an exchanged token at Altinn, whatever it says of itself.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 60);
/// A token that says less, or nothing, is used this long: our clock may be wrong.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// A token that Altinn refuses is replaced this often at most: a new one each time would not help.
const REPLACEMENT_INTERVAL: Duration = Duration::from_secs(10);
/// Changed credentials that one fetch follows.
const MOST_CHANGES: usize = 2;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Gives our own token at Altinn to every call.
pub struct OwnToken {
    shared: Arc<Shared>,
}

struct Shared {
    /// Replaced when the credentials of our client are.
    grant: ArcSwap<Grant>,
    altinn: Arc<Altinn>,
    wallet: Mutex<Wallet>,
    flight: SingleFlight,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    runtime: Handle,
}

/// There is no token now; the cause is in the log and the metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("our own token cannot be had")]
pub struct NoOwnToken;

/// Why a token could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No answer.
    #[error("Altinn's token exchange gave no answer")]
    Http(#[from] HttpError),
    /// Not 200.
    #[error("Altinn's token exchange was answered with status {0}")]
    Status(StatusCode),
    /// 200 without a token.
    #[error("the answer of Altinn's token exchange is no token")]
    Unreadable,
}

impl ExchangeError {
    /// The stable label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Http(error) => error.label(),
            // Only these are about us; anything else is an outage of theirs.
            Self::Status(
                StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
            ) => "refused",
            Self::Status(_) => "error_status",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Why a new token could not be had.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no token from Maskinporten")]
    Grant(#[from] GrantError),
    #[error("no token from Altinn")]
    Exchange(#[from] ExchangeError),
}

impl Altinn {
    /// Exchanges a Maskinporten token for one that Altinn's services take.
    ///
    /// # Errors
    /// [`ExchangeError`]: refused, not reached or not understood.
    pub async fn exchange(&self, token: &BearerToken) -> Result<BearerToken, ExchangeError> {
        let request =
            self.request(Method::GET, &self.exchange_url, "text/plain, */*;q=0.1", Some(token));
        let calling = self.tracer.call("altinn.exchange");
        let reply = http::send(request, REPLY_BYTES, calling).await?;
        if reply.status != StatusCode::OK {
            return Err(ExchangeError::Status(reply.status));
        }
        let body = Zeroizing::new(reply.body);
        read_exchanged(&body).ok_or(ExchangeError::Unreadable)
    }
}

/// The token as a bare text or in JSON quotes: both occur.
fn read_exchanged(body: &[u8]) -> Option<BearerToken> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    BearerToken::parse(bare)
}

/// What is held, and when the next fetch may be made. Told the time by its owner.
#[derive(Debug)]
struct Wallet {
    held: Option<Held>,
    pause: Option<Duration>,
    fetch_from: Option<Instant>,
    replacements: Allowance,
}

#[derive(Debug)]
struct Held {
    token: Arc<BearerToken>,
    renew_from: Instant,
    until: Instant,
}

impl Wallet {
    fn empty() -> Self {
        let replacements = Allowance::one_per(REPLACEMENT_INTERVAL);
        Self { held: None, pause: None, fetch_from: None, replacements }
    }

    fn token(&self, now: Instant) -> Option<&Held> {
        self.held.as_ref().filter(|held| now < held.until)
    }

    fn may_fetch(&self, now: Instant) -> bool {
        self.fetch_from.is_none_or(|from| from <= now)
    }

    fn put(&mut self, token: BearerToken, life: Duration, now: Instant) {
        let life = life.clamp(SHORTEST_LIFE, LONGEST_LIFE);
        self.held = Some(Held {
            token: Arc::new(token),
            renew_from: now + life.mul_f64(0.8),
            until: now + life,
        });
        (self.pause, self.fetch_from) = (None, None);
    }

    fn fetch_failed(&mut self, now: Instant) {
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        (self.pause, self.fetch_from) = (Some(pause), Some(now + pause));
    }

    /// The next fetch may be made at once, and should: by other credentials it may do better.
    fn renew_now(&mut self) {
        (self.pause, self.fetch_from) = (None, None);
        if let Some(held) = &mut self.held {
            held.renew_from = Instant::now().min(held.renew_from);
        }
    }

    /// Drops a token that was refused. Whether another one is worth a try.
    fn refused(&mut self, token: &Arc<BearerToken>, now: Instant) -> bool {
        let current = self.held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.token, token));
        if current && self.replacements.take(now) {
            self.held = None;
        }
        // What another call replaced already counts as another one.
        !self.held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.token, token))
    }
}

impl OwnToken {
    /// Holds nothing yet; the first call fetches, on `runtime`.
    #[must_use]
    pub fn new(
        grant: Grant,
        altinn: Arc<Altinn>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Self {
        let (wallet, flight) = (Mutex::new(Wallet::empty()), SingleFlight::default());
        let grant = ArcSwap::from_pointee(grant);
        Self { shared: Arc::new(Shared { grant, altinn, wallet, flight, clock, metrics, runtime }) }
    }

    /// A token that should work. Waits only when none is held; towards the end of its life the next is
    /// fetched behind the callers. Cancel safe: a fetch that began goes on.
    ///
    /// # Errors
    /// [`NoOwnToken`] when none is held and the fetch fails, or failed just before.
    pub async fn current(&self) -> Result<Arc<BearerToken>, NoOwnToken> {
        let now = Instant::now();
        let held =
            self.shared.wallet().token(now).map(|held| (held.token.clone(), held.renew_from));
        if let Some((token, renew_from)) = held {
            if renew_from <= now {
                self.shared.join_or_start();
            }
            return Ok(token);
        }
        self.shared.join_or_start().ok_or(NoOwnToken)?.landed().await;
        let wallet = self.shared.wallet();
        wallet.token(Instant::now()).map(|held| held.token.clone()).ok_or(NoOwnToken)
    }

    /// What would ask by changed credentials; nothing is changed yet.
    ///
    /// # Errors
    /// [`SigningKeyError`] when the new key cannot be used.
    pub fn grant_by(&self, client: &ClientConfig) -> Result<Grant, SigningKeyError> {
        self.shared.grant.load().by(client)
    }

    /// Asks by `grant` from now on, and for a token at once. The one that is held serves until there is a new one, or to
    /// its end.
    pub fn ask_by(&self, grant: Grant) {
        self.shared.grant.store(Arc::new(grant));
        self.shared.wallet().renew_now();
        // A fetch that is under way began with the old ones; it sees that when it ends.
        drop(self.shared.join_or_start());
    }

    /// Says that Altinn refused this token. Whether [`Self::current`] now has another one to try.
    #[must_use]
    pub fn refused(&self, token: &Arc<BearerToken>) -> bool {
        self.shared.wallet().refused(token, Instant::now())
    }
}

impl Shared {
    fn wallet(&self) -> MutexGuard<'_, Wallet> {
        self.wallet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join_or_start(self: &Arc<Self>) -> Option<Landing> {
        self.flight.join_or_start(&self.runtime, || self.allowed_fetch())
    }

    fn allowed_fetch(self: &Arc<Self>) -> Option<impl Future<Output = bool> + Send + 'static> {
        let allowed = self.wallet().may_fetch(Instant::now());
        allowed.then(|| Arc::clone(self).renew())
    }

    async fn renew(self: Arc<Self>) -> bool {
        let mut grant = self.grant.load_full();
        let mut fetched = self.fetch(&grant).await;
        // Credentials that came meanwhile are tried at once: what was asked by the old ones says nothing of them.
        for _ in 0..MOST_CHANGES {
            let newest = self.grant.load_full();
            if Arc::ptr_eq(&grant, &newest) {
                break;
            }
            grant = newest;
            fetched = self.fetch(&grant).await.or(fetched);
        }
        let now = Instant::now();
        match fetched {
            Ok(token) => {
                let stated = token.stated_expiry().map(|until| self.clock.now().until(until));
                self.wallet().put(token, stated.unwrap_or_default(), now);
                true
            }
            Err(error) => {
                self.wallet().fetch_failed(now);
                tracing::warn!(error = %Chain(&error), "our own token could not be renewed");
                false
            }
        }
    }

    async fn fetch(&self, grant: &Grant) -> Result<BearerToken, FetchError> {
        let granted = grant.fetch().await;
        self.count("grant", granted.as_ref().map_or_else(GrantError::label, |_| "ok"));
        let exchanged = self.altinn.exchange(&granted?).await;
        self.count("exchange", exchanged.as_ref().map_or_else(ExchangeError::label, |_| "ok"));
        Ok(exchanged?)
    }

    fn count(&self, step: &str, result: &str) {
        self.metrics.own_tokens.with_label_values(&[step, result]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> BearerToken {
        BearerToken::parse("a.b.c").unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_exchanged_token_comes_bare_or_quoted() {
        for body in ["a.b.c", "\"a.b.c\"", "a.b.c\r\n", " \"a.b.c\" "] {
            let token = read_exchanged(body.as_bytes()).unwrap();
            assert_eq!(token.header().as_bytes(), b"Bearer a.b.c");
        }
        for body in
            ["", "\"\"", "\"a.b.c", "{\"token\":\"a.b.c\"}", "<html>", "a.b", "\u{feff}a.b.c"]
        {
            assert!(read_exchanged(body.as_bytes()).is_none(), "{body}");
        }
        assert!(read_exchanged(b"a.b.\xff").is_none());
    }

    #[test]
    fn a_token_is_renewed_ahead_of_its_end_and_not_used_past_it() {
        let now = Instant::now();
        let mut wallet = Wallet::empty();
        for (stated, life) in [(100, 100), (0, 60), (86_400, 1800)] {
            wallet.put(token(), SECOND * stated, now);
            let end = now + SECOND * life;
            assert_eq!(
                wallet.held.as_ref().unwrap().renew_from,
                now + (SECOND * life).mul_f64(0.8)
            );
            assert!(wallet.token(end - Duration::from_nanos(1)).is_some());
            assert!(wallet.token(end).is_none());
        }
    }

    #[test]
    fn after_failures_the_next_fetch_waits_longer_each_time() {
        let mut now = Instant::now();
        let mut wallet = Wallet::empty();
        assert!(wallet.may_fetch(now));
        for pause in [1, 2, 4, 8, 16, 16] {
            wallet.fetch_failed(now);
            now += SECOND * pause;
            assert!(!wallet.may_fetch(now - Duration::from_nanos(1)));
            assert!(wallet.may_fetch(now));
        }
        wallet.put(token(), SECOND * 100, now);
        wallet.fetch_failed(now);
        assert!(wallet.may_fetch(now + SECOND), "a success starts the row anew");
    }

    #[test]
    fn changed_credentials_are_tried_at_once_while_the_old_token_serves() {
        let now = Instant::now();
        let mut wallet = Wallet::empty();
        wallet.put(token(), SECOND * 100, now);
        wallet.fetch_failed(now);
        assert!(!wallet.may_fetch(now));
        wallet.renew_now();
        assert!(wallet.may_fetch(now));
        let held = wallet.token(now).expect("still there");
        assert!(held.renew_from <= Instant::now());
        assert_eq!(held.until, now + SECOND * 100, "and to its own end");
    }

    #[test]
    fn a_refused_token_is_replaced_once_per_interval() {
        let now = Instant::now();
        let mut wallet = Wallet::empty();
        let put = |wallet: &mut Wallet| {
            wallet.put(token(), SECOND * 100, now);
            wallet.token(now).unwrap().token.clone()
        };
        let first = put(&mut wallet);
        assert!(wallet.refused(&first, now));
        assert!(wallet.token(now).is_none());
        assert!(wallet.refused(&first, now), "another call saw the same refusal");
        let second = put(&mut wallet);
        assert!(wallet.refused(&first, now), "there is a newer one already");
        assert!(wallet.token(now).is_some());
        assert!(!wallet.refused(&second, now));
        assert!(wallet.refused(&second, now + REPLACEMENT_INTERVAL));
    }
}
