//! RSA-2048 keys: made here, published as JWK, handed out as private JWK.

use super::der::{self, Reader};
use super::{base64_std, base64url, from_base64url};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
};
use serde_json::{Value, json};

/// A key could not be made or used.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("RSA key operation failed")]
pub struct KeyError;

/// The signature algorithms Maskinporten knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
}

impl Algorithm {
    /// By its JOSE name; every other algorithm is unknown here.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "RS384" => Some(Self::Rs384),
            "RS512" => Some(Self::Rs512),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }
}

/// The public half of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PublicKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl PublicKey {
    /// From the `n` and `e` of a JWK.
    pub(crate) fn from_base64url(n: &str, e: &str) -> Option<Self> {
        let modulus = der::without_leading_zeros(&from_base64url(n)?).to_vec();
        let exponent = der::without_leading_zeros(&from_base64url(e)?).to_vec();
        (modulus.len() >= 256 && !exponent.is_empty()).then_some(Self { modulus, exponent })
    }

    /// From a DER `RSAPublicKey`.
    pub(crate) fn from_der(bytes: &[u8]) -> Option<Self> {
        let mut parts = Reader::new(bytes).enter(der::SEQUENCE)?;
        let modulus = der::without_leading_zeros(parts.content(der::INTEGER)?).to_vec();
        let exponent = der::without_leading_zeros(parts.content(der::INTEGER)?).to_vec();
        Some(Self { modulus, exponent })
    }

    /// As a DER `RSAPublicKey`.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        der::value(der::SEQUENCE, &[&der::integer(&self.modulus), &der::integer(&self.exponent)])
    }

    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let parameters = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        };
        let components = PublicKeyComponents { n: &self.modulus, e: &self.exponent };
        components.verify(parameters, message, signature).is_ok()
    }

    /// As a signature JWK; `n` in base64url.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        json!({
            "kty": "RSA", "e": base64url(&self.exponent), "use": "sig", "kid": kid, "alg": "RS256",
            "n": base64url(&self.modulus),
        })
    }

    /// As Altinn prints it: `n` and `e` in plain base64, and no `alg`.
    pub(crate) fn altinn_jwk(&self, kid: &str) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "kid": kid,
            "n": base64_std(&self.modulus), "e": base64_std(&self.exponent),
        })
    }
}

/// A key pair with the id it is published under.
pub(crate) struct RsaKey {
    kid: String,
    pair: KeyPair,
    public: PublicKey,
}

impl RsaKey {
    /// Makes a new key pair.
    pub(crate) fn generate(kid: String) -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError)?;
        let integers = private_integers(&pair).ok_or(KeyError)?;
        let [modulus, exponent, ..] = integers.as_slice() else { return Err(KeyError) };
        let public = PublicKey { modulus: modulus.clone(), exponent: exponent.clone() };
        Ok(Self { kid, pair, public })
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let padding = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_SHA512,
        };
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(padding, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| KeyError)?;
        Ok(signature)
    }

    /// The whole key as JWK (RFC 7518 §6.3.2).
    pub(crate) fn private_jwk(&self) -> Result<Value, KeyError> {
        let mut jwk = self.public.jwk(&self.kid);
        let integers = private_integers(&self.pair).ok_or(KeyError)?;
        for (name, integer) in
            ["n", "e", "d", "p", "q", "dp", "dq", "qi"].into_iter().zip(&integers)
        {
            if let Some(members) = jwk.as_object_mut() {
                members.insert(name.to_owned(), Value::String(base64url(integer)));
            }
        }
        Ok(jwk)
    }
}

/// n, e, d, p, q, dp, dq, qi of a PKCS#8 private key (RFC 8017 appendix A.1.2).
fn private_integers(pair: &KeyPair) -> Option<Vec<Vec<u8>>> {
    let document: Pkcs8V1Der<'static> = pair.as_der().ok()?;
    let mut outer = Reader::new(document.as_ref()).enter(der::SEQUENCE)?;
    outer.content(der::INTEGER)?;
    outer.content(der::SEQUENCE)?;
    let mut key = Reader::new(outer.content(der::OCTET_STRING)?).enter(der::SEQUENCE)?;
    key.content(der::INTEGER)?;
    (0..8)
        .map(|_| key.content(der::INTEGER).map(|bytes| der::without_leading_zeros(bytes).to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_signs_its_public_half_verifies_and_no_other_algorithm_does() {
        let key = RsaKey::generate("k".into()).unwrap();
        for algorithm in [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512] {
            let signature = key.sign(algorithm, b"message").unwrap();
            assert!(key.public().verifies(algorithm, b"message", &signature));
            assert!(!key.public().verifies(algorithm, b"Message", &signature));
        }
        let signature = key.sign(Algorithm::Rs256, b"message").unwrap();
        assert!(!key.public().verifies(Algorithm::Rs512, b"message", &signature));
    }

    #[test]
    fn the_private_jwk_holds_every_member_and_the_same_public_key() {
        let key = RsaKey::generate("k".into()).unwrap();
        let jwk = key.private_jwk().unwrap();
        for member in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
            assert!(jwk[member].as_str().is_some_and(|text| !text.is_empty()), "{member}");
        }
        let read = PublicKey::from_base64url(
            jwk["n"].as_str().unwrap_or_default(),
            jwk["e"].as_str().unwrap_or_default(),
        );
        assert_eq!(read.as_ref(), Some(key.public()));
        assert_eq!(PublicKey::from_der(&key.public().to_der()).as_ref(), Some(key.public()));
    }
}
