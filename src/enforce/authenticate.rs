//! Step 3: the vendor's token is good, or the request is refused.
//!
//! Takes [`Routed`], gives [`Authenticated`]. A verified token is remembered under a keyed hash of
//! the whole token, and for a while word for word by the thread that met it (`recent`); what is remembered is who it names, never what they may do. Its end, its key and
//! its scopes are judged anew on every request. Sources: contract maskinporten.md §5, RFC 7515,
//! RFC 6750; threats 1–24.

use super::memory::{Change, Memory};
use super::ports::{KeyError, KeySource, Unavailable, VerificationKey};
use super::rate::Pace;
use super::recent::Whose;
use super::rejection::Rejection;
use super::route::Routed;
use super::told::TokenTold;
use crate::clock::Clock;
use crate::config::TokenConfig;
use crate::domain::claims::{ClaimError, Claims, has_expired};
use crate::domain::decision::Cause;
use crate::domain::json::Json;
use crate::domain::time::UnixTime;
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::Algorithm;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A request whose token is good, of this issuer, for this service, now.
#[derive(Debug)]
pub struct Authenticated<'r> {
    pub(super) routed: Routed<'r>,
    pub(super) token: Arc<VerifiedToken>,
}

/// A token whose signature and claims were verified.
#[derive(Debug)]
pub struct VerifiedToken {
    /// What it says.
    pub claims: Claims,
    /// The same, for the upstream.
    pub told: TokenTold,
    key: Arc<VerificationKey>,
    verified: UnixTime,
    pace: OnceLock<Pace>,
}

impl VerifiedToken {
    /// The key that its signature was verified with.
    pub(super) fn key(&self) -> &Arc<VerificationKey> {
        &self.key
    }

    /// The meters of its holder, which `find` tells the first time.
    pub(super) fn pace(&self, find: impl FnOnce(&Claims) -> Pace) -> &Pace {
        self.pace.get_or_init(|| find(&self.claims))
    }
}

/// Why a token is refused. Holds no part of the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// Longer than `tokens.max_bytes`.
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of base64url between dots (RFC 7515 §7.1).
    #[error("not a signed token in compact form")]
    NotCompact,
    /// A header that is no strict JSON object, or has members of the wrong type.
    #[error("the token's header cannot be read")]
    Header,
    /// Not RS256, RS384 or RS512.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// A header parameter that would change the meaning of the token: `crit`, `b64`, `zip`, `enc`.
    #[error("the token's header has a parameter that is not accepted")]
    HeaderParameter,
    /// No key id, or one that the issuer does not have.
    #[error("the token's key is not one of the issuer's")]
    UnknownKey,
    /// The key is for another algorithm.
    #[error("the token's key is for another algorithm")]
    KeyAlgorithm,
    /// The signature does not verify.
    #[error("the token's signature is not good")]
    Signature,
    /// The payload is no strict JSON.
    #[error("the token's claims cannot be read")]
    Payload,
    /// A claim is not as it must be.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

impl TokenError {
    /// The stable label in metrics and audit records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::NotCompact => "not_compact",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::HeaderParameter => "header_parameter",
            Self::UnknownKey => "unknown_key",
            Self::KeyAlgorithm => "key_algorithm",
            Self::Signature => "signature",
            Self::Payload | Self::Claim(ClaimError::NotAnObject) => "payload",
            Self::Claim(ClaimError::Missing(_)) => "claim_missing",
            Self::Claim(ClaimError::Malformed(_)) => "claim_malformed",
            Self::Claim(ClaimError::Issuer) => "issuer",
            Self::Claim(ClaimError::Audience) => "audience",
            Self::Claim(ClaimError::Expired) => "expired",
            Self::Claim(ClaimError::NotYet(_)) => "not_yet_valid",
            Self::Claim(ClaimError::EndsBeforeIssued) => "ends_before_issued",
            Self::Claim(ClaimError::SeveralSystemUsers | ClaimError::TooManyIds) => {
                "several_system_users"
            }
            Self::Claim(ClaimError::SupplierWithSystemUser) => "supplier",
        }
    }
}

/// Verifies tokens and remembers those that were good.
pub struct Authenticator {
    keys: Arc<dyn KeySource>,
    clock: Arc<dyn Clock>,
    config: TokenConfig,
    hash_key: hmac::Key,
    verified: Arc<Memory<TokenHash, Arc<VerifiedToken>>>,
    /// In front of them, what each thread met lately.
    recent: Whose,
}

type TokenHash = [u8; 32];

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("remembered", &self.verified.len())
            .finish_non_exhaustive()
    }
}

/// How a token was found good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenCache {
    /// It had been verified before.
    Hit,
    /// It was verified now.
    Miss,
}

impl TokenCache {
    /// The stable label in metrics and traces.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// No randomness is to be had from the machine, so no key can be drawn for the token cache.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the machine gives no random numbers")]
pub struct NoRandomness;

impl Authenticator {
    /// An authenticator with an empty memory.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn new(
        keys: Arc<dyn KeySource>,
        clock: Arc<dyn Clock>,
        config: TokenConfig,
    ) -> Result<Self, NoRandomness> {
        let hash_key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .map_err(|_| NoRandomness)?;
        let verified = Arc::new(Memory::new(config.cache_entries));
        Ok(Self { keys, clock, config, hash_key, verified, recent: Whose::new() })
    }

    /// The same with other rules. What was verified stays verified where the rules of claims are the same: the length of
    /// a token, its end, its key and its scopes are judged on every request anyway.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn next(&self, config: TokenConfig) -> Result<Self, NoRandomness> {
        let (keys, clock) = (Arc::clone(&self.keys), Arc::clone(&self.clock));
        let (ours, theirs) = (&self.config, &config);
        if ours.rules != theirs.rules || ours.cache_entries != theirs.cache_entries {
            return Self::new(keys, clock, config);
        }
        let (hash_key, verified) = (self.hash_key.clone(), Arc::clone(&self.verified));
        Ok(Self { keys, clock, config, hash_key, verified, recent: self.recent })
    }

    /// How long after its end a token is still good.
    pub(super) fn leeway(&self) -> Duration {
        self.config.rules.leeway
    }

    /// The issuer's keys.
    pub(super) fn keys(&self) -> &Arc<dyn KeySource> {
        &self.keys
    }

    /// The clock that tokens are judged by.
    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Judges the token of a request.
    ///
    /// # Errors
    /// [`Rejection::NoToken`], [`Rejection::Token`], and [`Rejection::Unverified`] when there are no
    /// keys to tell by.
    pub async fn authenticate<'r>(
        &self,
        routed: Routed<'r>,
    ) -> Result<(Authenticated<'r>, TokenCache), Rejection> {
        let field = authorization(routed.admitted.facts.headers)?;
        let (token, cache) = match self.met(field)? {
            Some(token) => (token, TokenCache::Hit),
            None => self.verify_remembered(bearer(field)?).await?,
        };
        Ok((Authenticated { routed, token }, cache))
    }

    /// The token of a field as it usually is, if this thread met it lately and it is still good.
    fn met(&self, field: &HeaderValue) -> Result<Option<Arc<VerifiedToken>>, Rejection> {
        let token = field.as_bytes().strip_prefix(b"Bearer ");
        let token = token.filter(|token| token.len() <= self.config.max_bytes);
        let Some(verified) = token.and_then(|token| self.recent.find(token)) else {
            return Ok(None);
        };
        Ok(self.still_good(&verified, self.clock.now())?.then_some(verified))
    }

    async fn verify_remembered(
        &self,
        token: &str,
    ) -> Result<(Arc<VerifiedToken>, TokenCache), Rejection> {
        if token.len() > self.config.max_bytes {
            return Err(TokenError::TooLong.into());
        }
        let hash = self.hash(token);
        if let Some(verified) = self.verified.get(&hash) {
            if self.still_good(&verified, self.clock.now())? {
                // Not the first time: most of those that come once do not come again.
                self.recent.keep(token.as_bytes(), &verified);
                return Ok((verified, TokenCache::Hit));
            }
            self.verified.forget(&hash);
        }
        let verified = Arc::new(self.verify(token).await?);
        self.remember(&hash, &verified);
        Ok((verified, TokenCache::Miss))
    }

    fn remember(&self, hash: &TokenHash, verified: &Arc<VerifiedToken>) {
        let (expires, now) = (verified.claims.expires, verified.verified);
        let ends = now.saturating_add(remembered_for(expires, self.config.rules.leeway, now));
        let hold = |_: Option<&_>| Change::Hold(Arc::clone(verified), ends.seconds());
        self.verified.change(hash, now.seconds(), hold, &mut |_, _| {});
    }

    fn hash(&self, token: &str) -> TokenHash {
        let tag = hmac::sign(&self.hash_key, token.as_bytes());
        // INVARIANT: HMAC-SHA256 gives 32 bytes.
        tag.as_ref().try_into().unwrap_or_default()
    }

    /// A remembered token is judged anew when it has ended, after an hour, or when its key is gone.
    fn still_good(&self, verified: &VerifiedToken, now: UnixTime) -> Result<bool, Rejection> {
        let old = verified.verified.until(now) >= MEMORY;
        if old || has_expired(verified.claims.expires, self.config.rules.leeway, now) {
            return Ok(false);
        }
        let holds = self.keys.holds(&verified.key);
        holds.map_err(|Unavailable| Rejection::Unverified(Cause::NoKeys.into()))
    }

    /// Verifies a token from its first byte.
    ///
    /// # Errors
    /// [`Rejection::Token`] and [`Rejection::Unverified`].
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, Rejection> {
        let token = SignedToken::parse(token)?;
        let key = self.key(token.key_id()).await?;
        token.verify(&key)?;
        let payload = decode_json(token.parts.payload).ok_or(TokenError::Payload)?;
        let now = self.clock.now();
        let claims =
            Claims::verify(&payload, &self.config.rules, now).map_err(TokenError::Claim)?;
        let told = TokenTold::of(&claims);
        Ok(VerifiedToken { claims, told, key, verified: now, pace: OnceLock::new() })
    }

    async fn key(&self, key_id: &str) -> Result<Arc<VerificationKey>, Rejection> {
        let found = match self.keys.find(key_id) {
            Err(KeyError::Unknown) => self.keys.fetch(key_id).await,
            found => found,
        };
        found.map_err(|error| match error {
            KeyError::Unknown => TokenError::UnknownKey.into(),
            KeyError::Unavailable => Rejection::Unverified(Cause::NoKeys.into()),
        })
    }
}

/// Longest memory of a token, whatever its end: bounds what a token without sensible end can hold.
const MEMORY: Duration = Duration::from_secs(3600);

/// Those of Maskinporten live for minutes, so that most of what were remembered for longer would be of no use to anybody.
fn remembered_for(expires: UnixTime, leeway: Duration, now: UnixTime) -> Duration {
    now.until(expires.saturating_add(leeway)).min(MEMORY)
}

/// The one `Authorization` field; `admit` has refused two.
fn authorization(headers: &HeaderMap) -> Result<&HeaderValue, Rejection> {
    headers.get(header::AUTHORIZATION).ok_or(Rejection::NoToken)
}

/// The token of a field that says `Bearer`.
fn bearer(field: &HeaderValue) -> Result<&str, Rejection> {
    let text = field.to_str().map_err(|_| TokenError::NotCompact)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Rejection::NoToken);
    }
    Ok(rest.trim_start_matches(' '))
}

/// A token whose header has been read and accepted. Its signature has not been looked at until
/// [`Self::verify`] says so, and its claims are not looked at here at all.
pub struct SignedToken<'t> {
    parts: CompactToken<'t>,
    algorithm: Algorithm,
    key_id: String,
}

impl fmt::Debug for SignedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedToken").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl<'t> SignedToken<'t> {
    /// Takes a compact JWS apart and judges its header (RFC 7515 §5.2, steps 1 to 5).
    ///
    /// # Errors
    /// [`TokenError`] for what is no such token, or has a header that is not accepted.
    pub fn parse(token: &'t str) -> Result<Self, TokenError> {
        let parts = CompactToken::split(token)?;
        let (algorithm, key_id) = read_header(&parts)?;
        Ok(Self { parts, algorithm, key_id })
    }

    /// The id of the key that it says it is signed with.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Verifies the signature with `key`, which the caller has found by [`Self::key_id`].
    ///
    /// # Errors
    /// [`TokenError::KeyAlgorithm`] and [`TokenError::Signature`].
    pub fn verify(&self, key: &VerificationKey) -> Result<(), TokenError> {
        if key.algorithm.is_some_and(|only| only != self.algorithm) {
            return Err(TokenError::KeyAlgorithm);
        }
        let CompactToken { signed, signature, .. } = self.parts;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Signature)?;
        if key.key.verifies(self.algorithm, signed.as_bytes(), &signature) {
            Ok(())
        } else {
            Err(TokenError::Signature)
        }
    }
}

/// The parts of a compact JWS.
#[derive(Clone, Copy)]
struct CompactToken<'t> {
    signed: &'t str,
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
}

impl<'t> CompactToken<'t> {
    fn split(token: &'t str) -> Result<Self, TokenError> {
        let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::NotCompact)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::NotCompact)?;
        let good = |part: &str| !part.is_empty() && part.bytes().all(base64url);
        if good(header) && good(payload) && good(signature) {
            Ok(Self { signed, header, payload, signature })
        } else {
            Err(TokenError::NotCompact)
        }
    }
}

/// Decodes base64url without padding, with no unused bits set, to strict JSON.
fn decode_json(part: &str) -> Option<Json> {
    Json::parse(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Longest key id that is looked up.
const MAX_KEY_ID: usize = 512;

fn read_header(token: &CompactToken<'_>) -> Result<(Algorithm, String), TokenError> {
    let header = decode_json(token.header).ok_or(TokenError::Header)?;
    header.members().ok_or(TokenError::Header)?;
    // The list decides before any key is looked at.
    let algorithm =
        match header.member("alg").and_then(Json::as_str).ok_or(TokenError::Algorithm)? {
            "RS256" => Algorithm::RS256,
            "RS384" => Algorithm::RS384,
            "RS512" => Algorithm::RS512,
            _ => return Err(TokenError::Algorithm),
        };
    if ["crit", "b64", "zip", "enc"].iter().any(|name| header.member(name).is_some()) {
        return Err(TokenError::HeaderParameter);
    }
    if header.member("typ").is_some_and(|typ| !is_jwt(typ))
        || header.member("cty").is_some_and(is_jwt)
    {
        return Err(TokenError::HeaderParameter);
    }
    // `jwk`, `jku`, `x5c` and `x5u` are never looked at: keys come from the configured issuer only.
    match header.member("kid").and_then(Json::as_str) {
        Some(key_id) if key_id.len() <= MAX_KEY_ID => Ok((algorithm, key_id.to_owned())),
        Some(_) | None => Err(TokenError::UnknownKey),
    }
}

/// `JWT` or `at+jwt` (RFC 9068), perhaps with `application/` before it, in any case.
fn is_jwt(typ: &Json) -> bool {
    let Some(text) = typ.as_str() else { return false };
    let text = text.to_ascii_lowercase();
    matches!(text.strip_prefix("application/").unwrap_or(&text), "jwt" | "at+jwt")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claims::ClaimRules;
    use crate::domain::party::CheckDigits;
    use crate::domain::scope::GrantedScopes;
    use crate::domain::system_user::Consumer;
    use crate::enforce::ports::EdgeFuture;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn token_of(value: &str) -> Result<String, Rejection> {
        let field = HeaderValue::from_str(value).unwrap();
        bearer(&field).map(str::to_owned)
    }

    #[test]
    fn a_token_is_remembered_until_its_end_and_for_an_hour_at_most() {
        let remembered = |life: i64| {
            let [now, end] = [1_000_000, 1_000_000 + life].map(UnixTime::from_seconds);
            remembered_for(end, Duration::from_secs(10), now).as_secs()
        };
        assert_eq!([120, -9, -10, -600].map(remembered), [130, 1, 0, 0]);
        assert_eq!(
            [3589, 3590, 3591, i64::MAX - 1_000_000].map(remembered),
            [3599, 3600, 3600, 3600]
        );
    }

    /// One key, none, or no set of them; and a clock that is set.
    struct World {
        key: Mutex<Result<Arc<VerificationKey>, KeyError>>,
        now: AtomicI64,
    }

    impl KeySource for World {
        fn find(&self, _: &str) -> Result<Arc<VerificationKey>, KeyError> {
            self.key.lock().unwrap().clone()
        }

        fn fetch<'a>(
            &'a self,
            key_id: &'a str,
        ) -> EdgeFuture<'a, Result<Arc<VerificationKey>, KeyError>> {
            Box::pin(async { self.find(key_id) })
        }
    }

    impl Clock for World {
        fn now(&self) -> UnixTime {
            UnixTime::from_seconds(self.now.load(Ordering::Relaxed))
        }
    }

    fn key() -> Arc<VerificationKey> {
        let key = crate::enforce::signature::PublicKey::unused();
        Arc::new(VerificationKey { key_id: "k".into(), algorithm: None, key })
    }

    const NOW: i64 = 1_000_000;

    fn config(max_bytes: usize) -> TokenConfig {
        let rules = ClaimRules {
            issuer: "i".into(),
            audience: None,
            leeway: Duration::from_secs(10),
            max_system_users: 1,
            accept_supplier: false,
            check_digits: CheckDigits::Required,
        };
        TokenConfig { rules, max_bytes, cache_entries: 10 }
    }

    #[test]
    fn a_token_that_was_met_lately_is_judged_as_one_that_is_remembered() {
        let good = key();
        let world =
            Arc::new(World { key: Mutex::new(Ok(Arc::clone(&good))), now: AtomicI64::new(NOW) });
        let judge = Authenticator::new(world.clone(), world.clone(), config(100)).unwrap();
        let claims = Claims {
            expires: UnixTime::from_seconds(NOW + 2 * 3600),
            scopes: GrantedScopes::default(),
            consumer: Consumer("310000027".parse().unwrap()),
            supplier: None,
            client_id: None,
            system_user: None,
        };
        let remember = |claims: Claims| {
            let told = TokenTold::of(&claims);
            let (key, verified) = (Arc::clone(&good), UnixTime::from_seconds(NOW));
            let token = VerifiedToken { claims, told, key, verified, pace: OnceLock::new() };
            judge.recent.keep(b"header.claims.signature", &Arc::new(token));
        };
        remember(claims.clone());
        let met = |judge: &Authenticator, field: &str| {
            judge.met(&HeaderValue::from_str(field).unwrap()).map(|token| token.is_some())
        };
        let field = "Bearer header.claims.signature";
        assert_eq!(met(&judge, field).ok(), Some(true));
        // Whatever differs is looked up, and judged, as it stands.
        for other in [
            "Bearer header.claims.signaturE",
            "Bearer Header.claims.signature",
            "Bearer header.claims.signature ",
            "Bearer  header.claims.signature",
            "Bearer eader.claims.signature",
            "Bearer ",
            "bearer header.claims.signature",
            "header.claims.signature",
        ] {
            assert_eq!(met(&judge, other).ok(), Some(false), "{other}");
        }
        assert_eq!(met(&judge.next(config(100)).unwrap(), field).ok(), Some(true), "same rules");
        assert_eq!(met(&judge.next(config(10)).unwrap(), field).ok(), Some(false), "too long");
        let mut others = config(100);
        others.rules.issuer = "another".into();
        assert_eq!(met(&judge.next(others).unwrap(), field).ok(), Some(false), "other rules");
        // Another thread has met nobody.
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(met(&judge, field).ok(), Some(false)));
        });

        *world.key.lock().unwrap() = Ok(key());
        assert_eq!(met(&judge, field).ok(), Some(false), "another key of that name");
        *world.key.lock().unwrap() = Err(KeyError::Unknown);
        assert_eq!(met(&judge, field).ok(), Some(false), "its key is gone");
        *world.key.lock().unwrap() = Err(KeyError::Unavailable);
        assert!(matches!(met(&judge, field), Err(Rejection::Unverified(_))), "cannot be told");
        *world.key.lock().unwrap() = Ok(Arc::clone(&good));
        assert_eq!(met(&judge, field).ok(), Some(true));

        world.now.store(NOW + 3600, Ordering::Relaxed);
        assert_eq!(met(&judge, field).ok(), Some(false), "verified an hour ago");
        let expires = UnixTime::from_seconds(NOW + 60);
        remember(Claims { expires, ..claims });
        for (seconds, good) in [(0, true), (69, true), (70, false)] {
            world.now.store(NOW + seconds, Ordering::Relaxed);
            assert_eq!(met(&judge, field).ok(), Some(good), "{seconds} s, and it ends at 60");
        }
    }

    #[tokio::test]
    async fn a_token_that_all_threads_remember_is_verified_anew_after_an_hour_and_at_its_end() {
        let good = key();
        let world =
            Arc::new(World { key: Mutex::new(Ok(Arc::clone(&good))), now: AtomicI64::new(NOW) });
        let judge = Authenticator::new(world.clone(), world.clone(), config(100)).unwrap();
        let text = "header.claims.signature";
        for (life, last) in [(2 * 3600, 3599), (600, 609)] {
            let claims = Claims {
                expires: UnixTime::from_seconds(NOW + life),
                scopes: GrantedScopes::default(),
                consumer: Consumer("310000027".parse().unwrap()),
                supplier: None,
                client_id: None,
                system_user: None,
            };
            let told = TokenTold::of(&claims);
            let (key, verified) = (Arc::clone(&good), UnixTime::from_seconds(NOW));
            let token = VerifiedToken { claims, told, key, verified, pace: OnceLock::new() };
            judge.remember(&judge.hash(text), &Arc::new(token));
            for seconds in [0, last] {
                world.now.store(NOW + seconds, Ordering::Relaxed);
                let found = judge.verify_remembered(text).await;
                assert!(matches!(found, Ok((_, TokenCache::Hit))), "after {seconds} s of {life}");
            }
            world.now.store(NOW + last + 1, Ordering::Relaxed);
            for _ in 0..2 {
                // It is none that anybody could have signed.
                let anew = judge.verify_remembered(text).await;
                assert!(matches!(anew, Err(Rejection::Token(TokenError::Header))), "{life}");
            }
        }
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c"] {
            assert_eq!(token_of(value).unwrap(), "a.b.c");
        }
        for value in ["Basic a.b.c", "a.b.c", "Bearera.b.c", ""] {
            assert!(matches!(token_of(value), Err(Rejection::NoToken)), "{value}");
        }
        assert!(matches!(authorization(&HeaderMap::new()), Err(Rejection::NoToken)));
    }

    #[test]
    fn a_token_is_three_parts_of_base64url() {
        assert!(CompactToken::split("a.b.c").is_ok());
        for token in [
            "",
            "a",
            "a.b",
            "a.b.",
            ".b.c",
            "a..c",
            "a.b.c.d",
            "a.b.c.d.e",
            "a.b.c=",
            "a.b+.c",
            "a.b/.c",
            "a.b. c",
            "a.b.c,d.e.f",
            "a.b.c d",
        ] {
            assert!(CompactToken::split(token).is_err(), "{token}");
        }
    }

    fn header(json: &str) -> Result<(Algorithm, String), TokenError> {
        let text = URL_SAFE_NO_PAD.encode(json);
        read_header(&CompactToken { signed: "", header: &text, payload: "", signature: "" })
    }

    #[test]
    fn the_header_is_judged_before_any_key() {
        assert_eq!(header(r#"{"alg":"RS512","kid":"k"}"#), Ok((Algorithm::RS512, "k".into())));
        assert!(header(r#"{"alg":"RS256","kid":"k","typ":"at+JWT"}"#).is_ok());
        assert!(header(r#"{"alg":"RS256","kid":"k","jku":"http://a","x5c":["x"]}"#).is_ok());
        let cases = [
            (r#"{"kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":"none","kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":"nOnE","kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":"rs256","kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":" RS256","kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":"HS256","kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":"PS256","kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":["RS256"],"kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":null,"kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":"RS256","alg":"RS256","kid":"k"}"#, TokenError::Header),
            (r#"{"alg":"RS256","kid":"k","crit":[]}"#, TokenError::HeaderParameter),
            (r#"{"alg":"RS256","kid":"k","crit":null}"#, TokenError::HeaderParameter),
            (r#"{"alg":"RS256","kid":"k","b64":true}"#, TokenError::HeaderParameter),
            (r#"{"alg":"RS256","kid":"k","zip":"DEF"}"#, TokenError::HeaderParameter),
            (r#"{"alg":"RS256","kid":"k","typ":"JWE"}"#, TokenError::HeaderParameter),
            (r#"{"alg":"RS256","kid":"k","cty":"JWT"}"#, TokenError::HeaderParameter),
            (r#"{"alg":"RS256"}"#, TokenError::UnknownKey),
            (r#"{"alg":"RS256","kid":1}"#, TokenError::UnknownKey),
            (r#"[{"alg":"RS256","kid":"k"}]"#, TokenError::Header),
            (r#"{"alg":"RS256","kid":"k"} {}"#, TokenError::Header),
        ];
        for (json, why) in cases {
            assert_eq!(header(json), Err(why), "{json}");
        }
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(MAX_KEY_ID + 1));
        assert_eq!(header(&long), Err(TokenError::UnknownKey));
    }

    #[test]
    fn unused_bits_and_padding_are_no_base64url() {
        assert!(decode_json("e30").is_some(), "{{}}");
        assert!(decode_json("e31").is_none(), "unused bits set");
        assert!(decode_json("e30=").is_none(), "padding");
    }
}
