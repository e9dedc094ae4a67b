//! The signature of a token: RSA with PKCS #1 v1.5 padding (RFC 7518 §3.3).

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use jsonwebtoken::Algorithm;
use std::fmt;

/// An RSA public key. Taken in by the crypto library once, not for each signature anew.
pub struct PublicKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    rs256: ParsedPublicKey,
    rs384: ParsedPublicKey,
    rs512: ParsedPublicKey,
}

/// The crypto library does not take these numbers for a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an RSA public key")]
pub struct NoKey;

impl PublicKey {
    /// The key of these numbers, big-endian and without leading zeros. Its size is looked at when a signature is.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn new(modulus: Vec<u8>, exponent: Vec<u8>) -> Result<Self, NoKey> {
        let components = RsaPublicKeyComponents { n: &modulus, e: &exponent };
        let read = |algorithm: &'static RsaParameters| {
            components.to_parsed_public_key(algorithm).map_err(|_| NoKey)
        };
        let rs256 = read(&RSA_PKCS1_2048_8192_SHA256)?;
        let rs384 = read(&RSA_PKCS1_2048_8192_SHA384)?;
        let rs512 = read(&RSA_PKCS1_2048_8192_SHA512)?;
        Ok(Self { modulus, exponent, rs256, rs384, rs512 })
    }

    /// Whether `signature` is that of `signed`. Never by an algorithm other than RS256, RS384 and RS512.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let key = match algorithm {
            Algorithm::RS256 => &self.rs256,
            Algorithm::RS384 => &self.rs384,
            Algorithm::RS512 => &self.rs512,
            _ => return false,
        };
        key.verify_sig(signed, signature).is_ok()
    }

    /// One that nothing is signed with.
    #[cfg(test)]
    pub(crate) fn unused() -> Self {
        Self::new(vec![0xff; 256], vec![1, 0, 1]).unwrap()
    }
}

/// The same numbers.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.modulus, &self.exponent) == (&other.modulus, &other.exponent)
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("bits", &(self.modulus.len() * 8)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
    use aws_lc_rs::signature::{
        KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
        RsaKeyPair,
    };

    fn sign(pair: &RsaKeyPair, by: &'static dyn RsaEncoding) -> Vec<u8> {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(by, &SystemRandom::new(), b"header.claims", &mut signature).unwrap();
        signature
    }

    fn public(pair: &RsaKeyPair) -> PublicKey {
        let numbers = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        PublicKey::new(numbers.n, numbers.e).unwrap()
    }

    #[test]
    fn a_signature_is_good_for_its_key_text_and_algorithm_and_no_other() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let (key, other) =
            (public(&pair), public(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
        let all: [(_, &'static dyn RsaEncoding); 3] = [
            (Algorithm::RS256, &RSA_PKCS1_SHA256),
            (Algorithm::RS384, &RSA_PKCS1_SHA384),
            (Algorithm::RS512, &RSA_PKCS1_SHA512),
        ];
        for (algorithm, by) in all {
            let mut signature = sign(&pair, by);
            // As often as one likes.
            assert!((0..3).all(|_| key.verifies(algorithm, b"header.claims", &signature)));
            assert!(!other.verifies(algorithm, b"header.claims", &signature));
            assert!(!key.verifies(algorithm, b"header.clains", &signature));
            for (another, _) in all.iter().filter(|(another, _)| *another != algorithm) {
                assert!(!key.verifies(*another, b"header.claims", &signature), "{another:?}");
            }
            signature.push(0);
            assert!(!key.verifies(algorithm, b"header.claims", &signature), "longer");
            signature.truncate(255);
            assert!(!key.verifies(algorithm, b"header.claims", &signature), "shorter");
            assert!(!key.verifies(algorithm, b"header.claims", &[]), "none");
        }
        let padded_otherwise = sign(&pair, &RSA_PSS_SHA256);
        for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::HS256] {
            assert!(!key.verifies(algorithm, b"header.claims", &padded_otherwise), "{algorithm:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_no_key() {
        for (modulus, exponent) in
            [(vec![], vec![3]), (vec![0, 0xff], vec![3]), (vec![0xff; 256], vec![])]
        {
            assert_eq!(PublicKey::new(modulus, exponent).err(), Some(NoKey));
        }
    }
}
