//! Our own token, by JWT-bearer grant (RFC 7523) signed with our client's key.
//!
//! Source: contract maskinporten.md §2, §6. Nothing here prints a key, an assertion or a token, and of
//! an error answer only the OAuth code and the `MP-nnn` code are kept: its text is not ours to repeat.

use super::http::{self, HttpError};
use super::key_set::unsigned;
use super::{Issuer, IssuerError};
use crate::clock::Clock;
use crate::config::ClientConfig;
use crate::domain::json::{InvalidJson, Json};
use crate::domain::time::UnixTime;
use ::http::{HeaderValue, StatusCode};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::{PemObject, SectionKind};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// `exp − iat` of the assertion, seconds; Maskinporten allows 120.
const ASSERTION_SECONDS: i64 = 100;
const REPLY_BYTES: usize = 64 * 1024;
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Our private key: RSA, 2048 to 8192 bits, parsed and checked for consistency once.
pub struct SigningKey {
    pair: KeyPair,
    key_id: String,
}

/// Why a private key cannot be used. Holds no part of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SigningKeyError {
    /// Neither `{…}` nor a PEM section of a private key.
    #[error("the private key is neither a JWK nor PEM (`PRIVATE KEY` or `RSA PRIVATE KEY`)")]
    Form,
    /// PEM that needs a password.
    #[error("the private key is encrypted: decrypt it first")]
    Encrypted,
    /// A JWK that is no JSON.
    #[error("the private key is a JWK that cannot be read")]
    Json(#[from] InvalidJson),
    /// `kty` is not `RSA`.
    #[error("the private key is not an RSA key (`kty`)")]
    NotRsa,
    /// A member of the JWK is absent or no number in base64url.
    #[error(
        "the private key lacks a readable `{0}`: the JWK must hold n, e, d, p, q, dp, dq and qi"
    )]
    Member(&'static str),
    /// No key id, in the JWK or the configuration.
    #[error(
        "the private key has no key id: a JWK carries `kid`, with PEM the configuration names it"
    )]
    KeyId,
    /// The numbers are no RSA key of 2048 to 8192 bits.
    #[error("the private key is damaged, or not RSA of 2048 to 8192 bits")]
    Rejected,
}

impl SigningKey {
    /// Parses a JWK (RFC 7517) or PEM (PKCS#8 or PKCS#1). The `kid` of a JWK goes before `key_id`.
    ///
    /// # Errors
    /// [`SigningKeyError`], one cause a variant.
    pub fn parse(text: &SecretString, key_id: Option<&str>) -> Result<Self, SigningKeyError> {
        let text = text.expose_secret().trim();
        let (pair, own_id) =
            if text.starts_with('{') { from_jwk(text)? } else { (from_pem(text)?, None) };
        let key_id = own_id.or_else(|| key_id.map(str::to_owned)).filter(|id| !id.is_empty());
        Ok(Self { pair, key_id: key_id.ok_or(SigningKeyError::KeyId)? })
    }

    /// The key's id, as registered on the client.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Signs `claims` as a compact JWS with RS256.
    fn sign(&self, claims: &serde_json::Value) -> Result<Zeroizing<String>, GrantError> {
        let header = serde_json::json!({ "alg": "RS256", "kid": self.key_id }).to_string();
        let mut token = Zeroizing::new(String::with_capacity(1024));
        URL_SAFE_NO_PAD.encode_string(header, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| GrantError::Signature)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

fn from_jwk(text: &str) -> Result<(KeyPair, Option<String>), SigningKeyError> {
    let jwk = Json::parse(text.as_bytes())?;
    let text = |name| jwk.member(name).and_then(Json::as_str);
    if text("kty") != Some("RSA") {
        return Err(SigningKeyError::NotRsa);
    }
    let number = |name: &'static str| {
        let number = text(name).and_then(unsigned).ok_or(SigningKeyError::Member(name))?;
        Ok::<_, SigningKeyError>(Zeroizing::new(number))
    };
    let (modulus, exponent) = (number("n")?, number("e")?);
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: modulus.as_slice(), e: exponent.as_slice() },
        d: &*number("d")?,
        p: &*number("p")?,
        q: &*number("q")?,
        dP: &*number("dp")?,
        dQ: &*number("dq")?,
        qInv: &*number("qi")?,
    };
    let pair = KeyPair::from_components(&components).map_err(|_| SigningKeyError::Rejected)?;
    Ok((pair, text("kid").map(str::to_owned)))
}

fn from_pem(text: &str) -> Result<KeyPair, SigningKeyError> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(SigningKeyError::Encrypted);
    }
    let (kind, der) = <(SectionKind, Vec<u8>)>::from_pem_slice(text.as_bytes())
        .map_err(|_| SigningKeyError::Form)?;
    let der = Zeroizing::new(der);
    let pair = match kind {
        SectionKind::PrivateKey => KeyPair::from_pkcs8(&der),
        SectionKind::RsaPrivateKey => KeyPair::from_der(&der),
        SectionKind::EcPrivateKey => return Err(SigningKeyError::NotRsa),
        _ => return Err(SigningKeyError::Form),
    };
    pair.map_err(|_| SigningKeyError::Rejected)
}

/// A token that opens doors: it leaves this value in an `Authorization` header only.
#[derive(Clone, Debug)]
pub struct BearerToken(SecretString);

impl BearerToken {
    /// A text that looks like a compact JWS: three parts of base64url, at most 16 KiB.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let part = |part: &str| !part.is_empty() && part.bytes().all(url_safe);
        let fits = text.len() <= MAX_TOKEN_BYTES
            && text.split('.').count() == 3
            && text.split('.').all(part);
        fits.then(|| Self(text.into()))
    }

    /// The value of an `Authorization` header, marked as not to be printed.
    pub(crate) fn header(&self) -> HeaderValue {
        let text = Zeroizing::new(format!("Bearer {}", self.0.expose_secret()));
        // INVARIANT: `parse` lets base64url and dots through only, so this is a header value.
        let mut value =
            HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// `exp` as it stands in the payload, without any check: for scheduling only.
    pub(crate) fn stated_expiry(&self) -> Option<UnixTime> {
        let payload = self.0.expose_secret().split('.').nth(1)?;
        let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
        match Json::parse(&payload).ok()?.member("exp")? {
            Json::Number(seconds) => seconds.as_i64().map(UnixTime::from_seconds),
            Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => None,
        }
    }
}

/// Asks Maskinporten for tokens in our own name.
pub struct Grant {
    issuer: Arc<Issuer>,
    client_id: String,
    scope: String,
    key: SigningKey,
    clock: Arc<dyn Clock>,
}

/// Why Maskinporten gave no token.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// Its metadata is not to be had.
    #[error("the token endpoint cannot be located")]
    Issuer(#[from] IssuerError),
    /// Its metadata names no token endpoint.
    #[error("the issuer names no token endpoint")]
    NoTokenEndpoint,
    /// The assertion could not be signed.
    #[error("the grant could not be signed")]
    Signature,
    /// No answer.
    #[error("the token endpoint gave no answer")]
    Http(#[from] HttpError),
    /// It said no.
    #[error("Maskinporten refused the grant: {0}")]
    Refused(Refusal),
    /// 200 without a token.
    #[error("the token endpoint's answer holds no token")]
    Unreadable,
}

impl GrantError {
    /// The stable label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Issuer(error) => error.label(),
            Self::Http(error) => error.label(),
            Self::NoTokenEndpoint | Self::Unreadable => "unreadable",
            Self::Signature => "signature",
            // No no: it could not tell.
            Self::Refused(said) if said.status.is_server_error() => "error_status",
            Self::Refused(said) if said.status == StatusCode::TOO_MANY_REQUESTS => "error_status",
            Self::Refused(_) => "refused",
        }
    }
}

/// The codes of a refused grant. Source: RFC 6749 §5.2; contract maskinporten.md §6.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// `error`, when it is a word of `a-z` and `_`.
    pub error: Option<String>,
    /// The first `MP-nnn` of `error_description`.
    pub code: Option<String>,
}

impl Refusal {
    fn read(status: StatusCode, body: &[u8]) -> Self {
        let json = Json::parse(body).unwrap_or(Json::Null);
        let text = |name| json.member(name).and_then(Json::as_str);
        let word = |text: &&str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        Self {
            status,
            error: text("error").filter(word).map(str::to_owned),
            code: text("error_description").and_then(first_code),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status.as_u16())?;
        for word in self.error.iter().chain(&self.code) {
            write!(f, ", {word}")?;
        }
        Ok(())
    }
}

/// The first `MP-` with three digits.
fn first_code(description: &str) -> Option<String> {
    description.split("MP-").skip(1).find_map(|after| {
        let digits = after.get(..3)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("MP-{digits}"))
    })
}

impl Grant {
    /// Our client at `issuer`.
    ///
    /// # Errors
    /// [`SigningKeyError`] when its key cannot be used.
    pub fn new(
        client: &ClientConfig,
        issuer: Arc<Issuer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SigningKeyError> {
        Ok(Self {
            issuer,
            client_id: client.client_id.clone(),
            scope: client.scopes.join(" "),
            key: SigningKey::parse(&client.key, client.key_id.as_deref())?,
            clock,
        })
    }

    /// As this one, by changed credentials.
    ///
    /// # Errors
    /// [`SigningKeyError`] when the new key cannot be used.
    pub fn by(&self, client: &ClientConfig) -> Result<Self, SigningKeyError> {
        Self::new(client, Arc::clone(&self.issuer), Arc::clone(&self.clock))
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.key.key_id()
    }

    /// Fetches one token. Every call is a grant of its own, with a new `jti`.
    ///
    /// # Errors
    /// [`GrantError`]: refused, not reached or not understood.
    pub async fn fetch(&self) -> Result<BearerToken, GrantError> {
        let metadata = self.issuer.metadata().await?;
        let endpoint = metadata.token_endpoint.clone().ok_or(GrantError::NoTokenEndpoint)?;
        let assertion = self.key.sign(&self.claims())?;
        // Both values are safe in a form as they stand: base64url, dots, and escapes written out.
        let form = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
            *assertion
        );
        let request = self
            .issuer
            .http()
            .post(endpoint)
            .header(::http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(::http::header::ACCEPT, "application/json")
            .body(form);
        let calling = self.issuer.tracer().call("maskinporten.token");
        let reply = http::send(request, REPLY_BYTES, calling).await?;
        if reply.status != StatusCode::OK {
            return Err(GrantError::Refused(Refusal::read(reply.status, &reply.body)));
        }
        read_token(&Zeroizing::new(reply.body)).ok_or(GrantError::Unreadable)
    }

    fn claims(&self) -> serde_json::Value {
        let now = self.clock.now().seconds();
        serde_json::json!({
            "aud": self.issuer.name(),
            "iss": self.client_id,
            "scope": self.scope,
            "iat": now,
            "exp": now.saturating_add(ASSERTION_SECONDS),
            "jti": uuid::Uuid::new_v4().to_string(),
        })
    }
}

fn read_token(body: &[u8]) -> Option<BearerToken> {
    let json = Json::parse(body).ok()?;
    let text = |name| json.member(name).and_then(Json::as_str);
    let bearer = text("token_type").is_none_or(|kind| kind.eq_ignore_ascii_case("Bearer"));
    text("access_token").filter(|_| bearer).and_then(BearerToken::parse)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::stub::{Answer, Stub};
    use super::*;
    use crate::config::MaskinportenConfig;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use base64::engine::general_purpose::STANDARD;
    use std::sync::LazyLock;
    use std::time::Duration;

    /// A clock that stands still.
    #[derive(Debug)]
    pub(crate) struct FixedClock(pub(crate) i64);

    impl Clock for FixedClock {
        fn now(&self) -> UnixTime {
            UnixTime::from_seconds(self.0)
        }
    }

    pub(crate) const NOW: i64 = 1_770_000_000;

    /// A key as DER: drawn anew in each run, so that no private key lies in the tree.
    fn pkcs8() -> &'static [u8] {
        static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
            KeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap().as_ref().to_vec()
        });
        &KEY
    }

    fn section(label: &str, der: &[u8]) -> SecretString {
        let base64 = STANDARD.encode(der);
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into()
    }

    /// One element of DER: (tag, content, what follows).
    fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
        let (tag, rest) = (der[0], &der[1..]);
        let (length, head) = match rest[0] {
            short if short < 0x80 => (usize::from(short), 1),
            long => {
                let count = usize::from(long & 0x7f);
                let length =
                    rest[1..=count].iter().fold(0, |sum, byte| sum * 256 + usize::from(*byte));
                (length, 1 + count)
            }
        };
        (tag, &rest[head..head + length], &rest[head + length..])
    }

    /// `RSAPrivateKey` (RFC 8017) from PKCS#8 (RFC 5958).
    fn pkcs1(pkcs8: &[u8]) -> &[u8] {
        let (_, _version, rest) = element(element(pkcs8).1);
        let (_, _algorithm, rest) = element(rest);
        element(rest).1
    }

    fn jwk(pkcs1: &[u8], kid: Option<&str>) -> serde_json::Value {
        let (_, _version, mut rest) = element(element(pkcs1).1);
        let mut jwk = serde_json::json!({ "kty": "RSA" });
        for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
            let (_, number, after) = element(rest);
            let start = number.iter().position(|byte| *byte != 0).unwrap();
            jwk[name] = URL_SAFE_NO_PAD.encode(&number[start..]).into();
            rest = after;
        }
        if let Some(kid) = kid {
            jwk["kid"] = kid.into();
        }
        jwk
    }

    fn secret(jwk: &serde_json::Value) -> SecretString {
        jwk.to_string().into()
    }

    fn claims() -> serde_json::Value {
        serde_json::json!({ "a": 1 })
    }

    #[test]
    fn the_same_key_signs_the_same_in_every_form() {
        let pkcs8 = pkcs8();
        let pkcs1 = pkcs1(pkcs8);
        let forms = [
            (section("PRIVATE KEY", pkcs8), Some("k1")),
            (section("RSA PRIVATE KEY", pkcs1), Some("k1")),
            (secret(&jwk(pkcs1, Some("k1"))), None),
            (secret(&jwk(pkcs1, Some("k1"))), Some("other")),
            (secret(&jwk(pkcs1, None)), Some("k1")),
        ];
        let tokens: Vec<_> = forms
            .iter()
            .map(|(text, key_id)| {
                let key = SigningKey::parse(text, *key_id).unwrap();
                assert_eq!(key.key_id(), "k1");
                key.sign(&claims()).unwrap().to_string()
            })
            .collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]));
        let header = URL_SAFE_NO_PAD.decode(tokens[0].split('.').next().unwrap()).unwrap();
        assert_eq!(header, br#"{"alg":"RS256","kid":"k1"}"#);
    }

    #[test]
    fn a_key_that_cannot_be_used_says_why_and_nothing_of_itself() {
        let pkcs8 = pkcs8();
        let good = jwk(pkcs1(pkcs8), Some("k1"));
        let with = |name: &str, value: serde_json::Value| {
            let mut jwk = good.clone();
            jwk[name] = value;
            secret(&jwk)
        };
        let without = |name: &str| {
            let mut jwk = good.clone();
            jwk.as_object_mut().unwrap().remove(name);
            secret(&jwk)
        };
        let text = |text: &str| SecretString::from(text);
        let cases = [
            (text(""), SigningKeyError::Form),
            (text("hunter2"), SigningKeyError::Form),
            (section("CERTIFICATE", pkcs8), SigningKeyError::Form),
            (section("EC PRIVATE KEY", pkcs8), SigningKeyError::NotRsa),
            (section("ENCRYPTED PRIVATE KEY", pkcs8), SigningKeyError::Encrypted),
            (section("PRIVATE KEY", &pkcs8[..100]), SigningKeyError::Rejected),
            (section("RSA PRIVATE KEY", pkcs8), SigningKeyError::Rejected),
            (with("kty", "EC".into()), SigningKeyError::NotRsa),
            (without("d"), SigningKeyError::Member("d")),
            (without("qi"), SigningKeyError::Member("qi")),
            (with("p", "?".into()), SigningKeyError::Member("p")),
            (with("p", good["q"].clone()), SigningKeyError::Rejected),
            (with("kid", "".into()), SigningKeyError::KeyId),
            (without("kid"), SigningKeyError::KeyId),
            (section("PRIVATE KEY", pkcs8), SigningKeyError::KeyId),
        ];
        for (text, error) in cases {
            assert_eq!(SigningKey::parse(&text, None).unwrap_err(), error);
        }
        let broken = SigningKey::parse(&text(r#"{"d":"c2VjcmV0","#), None).unwrap_err();
        assert!(matches!(broken, SigningKeyError::Json(_)));
        assert!(!format!("{broken} {broken:?}").contains("c2Vj"));
    }

    #[test]
    fn only_the_codes_of_a_refusal_are_kept() {
        let read = |body: &str| Refusal::read(StatusCode::BAD_REQUEST, body.as_bytes()).to_string();
        assert_eq!(
            read(
                r#"{"error":"invalid_grant","error_description":"Invalid aud for 01010750160. (MP-110) (MP-120)"}"#
            ),
            "status 400, invalid_grant, MP-110"
        );
        assert_eq!(read(r#"{"error":"<script>","error_description":"MP-1 MP-12x"}"#), "status 400");
        assert_eq!(
            read(r#"{"error":"forbidden","error_description":"MP-MP-251."}"#),
            "status 400, forbidden, MP-251"
        );
        assert_eq!(read("<html>"), "status 400");
    }

    #[test]
    fn a_token_is_three_parts_of_base64url_and_is_never_printed() {
        assert!(BearerToken::parse("a.b-_.C9").is_some());
        for text in ["", "a.b", "a.b.c.d", "a..c", "a.b.", "a.b.c\r\nx: y", "a b.c.d", "a.b.c="] {
            assert!(BearerToken::parse(text).is_none(), "{text:?}");
        }
        assert!(BearerToken::parse(&format!("a.b.{}", "c".repeat(MAX_TOKEN_BYTES))).is_none());
        let token = BearerToken::parse("topsecret.topsecret.topsecret").unwrap();
        assert!(!format!("{token:?} {:?}", token.header()).contains("topsecret"));
        assert_eq!(token.header().as_bytes(), b"Bearer topsecret.topsecret.topsecret");
    }

    #[test]
    fn the_stated_expiry_is_a_whole_number_or_nothing() {
        let expiry = |payload: &str| {
            let token = format!("h.{}.s", URL_SAFE_NO_PAD.encode(payload));
            BearerToken::parse(&token).unwrap().stated_expiry().map(UnixTime::seconds)
        };
        assert_eq!(expiry(r#"{"exp":7}"#), Some(7));
        for payload in [r#"{"exp":"7"}"#, r#"{"exp":7.5}"#, "{}", "[]", r#"{"exp":1,"exp":2}"#] {
            assert_eq!(expiry(payload), None, "{payload}");
        }
    }

    /// A grant at a stub whose token endpoint answers with `answer`.
    pub(crate) async fn grant(answer: Answer) -> (Stub, Grant) {
        let stub = Stub::start(move |call| {
            if call.path == "/token" {
                return answer.clone();
            }
            let host = call.headers["host"].to_str().unwrap();
            Answer::ok(format!(
                r#"{{"issuer":"http://{host}/","jwks_uri":"http://{host}/jwk","token_endpoint":"http://{host}/token"}}"#
            ))
        })
        .await;
        let config = MaskinportenConfig {
            issuer: stub.url.to_string(),
            metadata_url: stub.url.join("/.well-known/oauth-authorization-server").unwrap(),
            refresh: Duration::from_secs(3600),
            max_age: Duration::from_secs(100),
            unknown_kid_interval: Duration::from_secs(60),
            timeout: Duration::from_millis(500),
            client: None,
        };
        let client = ClientConfig {
            client_id: "our-client".into(),
            key: section("PRIVATE KEY", pkcs8()),
            key_id: Some("k1".into()),
            scopes: vec!["altinn:authorization/authorize".into(), "altinn:other".into()],
            files: Vec::new(),
        };
        let issuer = Arc::new(Issuer::new(&config).unwrap());
        (stub, Grant::new(&client, issuer, Arc::new(FixedClock(NOW))).unwrap())
    }

    #[tokio::test]
    async fn the_assertion_is_what_maskinporten_asks_for() {
        let (stub, grant) =
            grant(Answer::ok(r#"{"access_token":"a.b.c","token_type":"Bearer","expires_in":119}"#))
                .await;
        assert_eq!(grant.fetch().await.unwrap().header().as_bytes(), b"Bearer a.b.c");
        let call = stub.calls().pop().unwrap();
        assert_eq!(call.method, "POST");
        assert_eq!(call.headers["content-type"], "application/x-www-form-urlencoded");
        let form = String::from_utf8(call.body.to_vec()).unwrap();
        let (kind, assertion) = form.split_once('&').unwrap();
        assert_eq!(kind, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer");
        let payload = assertion.strip_prefix("assertion=").unwrap().split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        assert_eq!(claims["aud"], stub.url.as_str());
        assert_eq!(claims["iss"], "our-client");
        assert_eq!(claims["scope"], "altinn:authorization/authorize altinn:other");
        assert_eq!((&claims["iat"], &claims["exp"]), (&NOW.into(), &(NOW + 100).into()));
        assert_eq!(claims["jti"].as_str().unwrap().len(), 36);
    }

    #[tokio::test]
    async fn what_is_no_token_gives_its_cause() {
        let label = async |answer| grant(answer).await.1.fetch().await.unwrap_err().label();
        let refused = br#"{"error":"invalid_grant","error_description":"MP-100"}"#.to_vec();
        assert_eq!(label(Answer::Whole(400, None, refused)).await, "refused");
        assert_eq!(label(Answer::status(503)).await, "error_status");
        assert_eq!(label(Answer::status(429)).await, "error_status");
        assert_eq!(label(Answer::status(400)).await, "refused");
        assert_eq!(label(Answer::ok(r#"{"access_token":"no token"}"#)).await, "unreadable");
        assert_eq!(
            label(Answer::ok(r#"{"access_token":"a.b.c","token_type":"mac"}"#)).await,
            "unreadable"
        );
        assert_eq!(label(Answer::Never).await, "timed_out");
        assert_eq!(label(Answer::Broken(b"{".to_vec())).await, "unreachable");
        assert_eq!(label(Answer::Endless).await, "unreadable");
    }
}
