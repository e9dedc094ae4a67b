//! The issuer's keys, and tokens signed with them: made once for all seeds, since signing takes long.

use super::dice::KEYS;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

pub(crate) const ISSUER: &str = "http://127.0.0.1:9/";
/// How long a token lasts, in seconds.
pub(crate) const LASTS: i64 = 60;

struct Key {
    pair: KeyPair,
    jwk: String,
}

static SIGNING: LazyLock<Vec<Key>> = LazyLock::new(|| (0..KEYS).map(Key::new).collect());
static SIGNED: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

impl Key {
    fn new(number: u64) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: PublicKeyX509Der<'static> = pair.public_key().as_der().unwrap();
        // A modulus of 2048 bits with its leading zero, then the exponent 65537 (RFC 8017 A.1.1).
        let der = der.as_ref();
        let modulus = &der[der.len() - 5 - 256..der.len() - 5];
        let n = URL_SAFE_NO_PAD.encode(modulus);
        let name = name(number);
        let jwk = format!(r#"{{"kty":"RSA","use":"sig","kid":"{name}","n":"{n}","e":"AQAB"}}"#);
        Self { pair, jwk }
    }
}

/// The id of a key.
pub(crate) fn name(number: u64) -> String {
    format!("key-{number}")
}

/// A key set as the issuer writes it.
pub(crate) fn key_set(keys: impl Iterator<Item = u64>) -> String {
    let keys: Vec<&str> =
        keys.map(|key| SIGNING[usize::try_from(key).unwrap()].jwk.as_str()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// A token signed with `key`, whatever it says of that.
pub(crate) fn token(kid: &str, key: u64, users: &[String], owner: &str, issued: i64) -> String {
    let ids = users.join("\",\"");
    let ends = issued + LASTS;
    let header = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
    let claims = format!(
        r#"{{"iss":"{ISSUER}","iat":{issued},"exp":{ends},"client_id":"client","scope":"ex:all",
        "consumer":{{"authority":"iso6523-actorid-upis","ID":"0192:310000019"}},
        "authorization_details":[{{"type":"urn:altinn:systemuser","systemuser_id":["{ids}"],
        "system_id":"310000019_sys","systemuser_org":{{"authority":"iso6523-actorid-upis","ID":"0192:{owner}"}}}}]}}"#
    );
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut signed = SIGNED.lock().unwrap();
    if let Some(token) = signed.get(&text) {
        return token.clone();
    }
    let pair = &SIGNING[usize::try_from(key).unwrap()].pair;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
    signed.insert(text, token.clone());
    token
}
