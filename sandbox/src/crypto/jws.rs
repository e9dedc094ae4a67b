//! Compact JWS: sign, take apart, check.

use super::rsa::{Algorithm, KeyError, PublicKey, RsaKey};
use super::{base64url, from_base64url};
use serde_json::{Map, Value, json};

/// Signs claims with RS256; the header carries `kid` and `alg` only.
pub(crate) fn sign(key: &RsaKey, claims: &Map<String, Value>) -> Result<String, KeyError> {
    let header = json!({ "kid": key.kid(), "alg": Algorithm::Rs256.name() });
    let body = serde_json::to_vec(claims).map_err(|_| KeyError)?;
    let input = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(&body));
    let signature = key.sign(Algorithm::Rs256, input.as_bytes())?;
    Ok(format!("{input}.{}", base64url(&signature)))
}

/// A compact JWS taken apart; nothing is verified yet.
pub(crate) struct Jws<'a> {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    input: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// `None` if it is not three base64url parts with JSON objects in the first two.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (input, signature) = text.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        Some(Self {
            header: serde_json::from_slice(&from_base64url(header)?).ok()?,
            claims: serde_json::from_slice(&from_base64url(claims)?).ok()?,
            input,
            signature: from_base64url(signature)?,
        })
    }

    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.header_text("alg").and_then(Algorithm::parse)
    }

    pub(crate) fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    pub(crate) fn verified_by(&self, key: &PublicKey) -> bool {
        self.algorithm().is_some_and(|algorithm| {
            key.verifies(algorithm, self.input.as_bytes(), &self.signature)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_claim_breaks_the_signature() {
        let key = RsaKey::generate("k".into()).unwrap();
        let claims = Map::from_iter([("sub".to_owned(), json!("a"))]);
        let token = sign(&key, &claims).unwrap();
        assert!(Jws::parse(&token).unwrap().verified_by(key.public()));
        let (head, tail) = token.split_once('.').unwrap();
        let (_, signature) = tail.split_once('.').unwrap();
        let forged = format!("{head}.{}.{signature}", base64url(br#"{"sub":"b"}"#));
        assert!(!Jws::parse(&forged).unwrap().verified_by(key.public()));
    }

    #[test]
    fn other_algorithms_are_not_known() {
        let none = format!("{}.{}.", base64url(br#"{"alg":"none"}"#), base64url(b"{}"));
        assert!(Jws::parse(&none).unwrap().algorithm().is_none());
        assert!(Jws::parse("a.b").is_none());
    }
}
