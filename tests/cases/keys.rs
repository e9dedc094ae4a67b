//! Keys of every kind that a token can be signed with, good and bad, made here on aws-lc-rs.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair as _, RsaEncoding};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Base64url without padding.
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A private key and its JWK.
pub struct Key {
    private: Private,
    /// The public JWK: `kty` and its numbers, nothing more.
    pub public: Value,
    /// The same with the private numbers; for EC keys the same as `public`.
    pub whole: Value,
}

enum Private {
    Rsa(KeyPair),
    /// Too short for any library: signed by hand.
    Weak,
    Ec(EcdsaKeyPair),
}

impl Key {
    /// An RSA key of 2048, 3072, 4096 or 8192 bits, or the one of 1024.
    pub fn rsa(bits: u64) -> Result<Self, String> {
        let size = match bits {
            1024 => return Ok(Self::weak()),
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            8192 => KeySize::Rsa8192,
            _ => return Err(format!("no RSA keys of {bits} bits here")),
        };
        let pair = KeyPair::generate(size).map_err(|_| "no key can be made")?;
        let document: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| "no PKCS#8")?;
        let numbers =
            der::private_numbers(document.as_ref()).ok_or("PKCS#8 that cannot be read")?;
        let mut whole = json!({ "kty": "RSA" });
        for (name, number) in ["n", "e", "d", "p", "q", "dp", "dq", "qi"].into_iter().zip(&numbers)
        {
            whole[name] = base64url(number).into();
        }
        let public = json!({ "kty": "RSA", "n": whole["n"], "e": whole["e"] });
        Ok(Self { private: Private::Rsa(pair), public, whole })
    }

    /// An EC key on `P-256`, `P-384` or `P-521`.
    pub fn ec(curve: &str) -> Result<Self, String> {
        let algorithm = match curve {
            "P-256" => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            "P-384" => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            "P-521" => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            _ => return Err(format!("no curve {curve} here")),
        };
        let pair = EcdsaKeyPair::generate(algorithm).map_err(|_| "no key can be made")?;
        // 0x04, x, y.
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let public = json!({ "kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y) });
        Ok(Self { private: Private::Ec(pair), whole: public.clone(), public })
    }

    fn weak() -> Self {
        let public =
            json!({ "kty": "RSA", "n": base64url(hex(weak::MODULUS).unwrap()), "e": "AQAB" });
        Self { private: Private::Weak, whole: public.clone(), public }
    }

    /// Signs by the JOSE name of an algorithm, whether or not the key is meant for it.
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Result<Vec<u8>, String> {
        let encoding: &'static dyn RsaEncoding = match (&self.private, algorithm) {
            (Private::Weak, "RS256") => return Ok(weak::sign(message)),
            (Private::Ec(pair), _) => {
                let signed = pair.sign(&SystemRandom::new(), message);
                return Ok(signed.map_err(|_| "not signed")?.as_ref().to_vec());
            }
            (Private::Rsa(_), "RS256") => &signature::RSA_PKCS1_SHA256,
            (Private::Rsa(_), "RS384") => &signature::RSA_PKCS1_SHA384,
            (Private::Rsa(_), "RS512") => &signature::RSA_PKCS1_SHA512,
            (Private::Rsa(_), "PS256") => &signature::RSA_PSS_SHA256,
            (Private::Rsa(_), "PS384") => &signature::RSA_PSS_SHA384,
            (Private::Rsa(_), "PS512") => &signature::RSA_PSS_SHA512,
            _ => return Err(format!("no signature {algorithm} with this key")),
        };
        let Private::Rsa(pair) = &self.private else { return Err("not an RSA key".into()) };
        let mut signed = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signed)
            .map_err(|_| "not signed")?;
        Ok(signed)
    }

    /// `SubjectPublicKeyInfo` of an RSA key.
    pub fn spki(&self) -> Result<Vec<u8>, String> {
        Ok(der::spki(&self.rsa_public()?))
    }

    /// `RSAPublicKey` of PKCS#1.
    pub fn rsa_public(&self) -> Result<Vec<u8>, String> {
        let number = |name: &str| {
            let text = self.public[name].as_str().ok_or("not an RSA key")?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| "not an RSA key")
        };
        let (n, e) = (number("n")?, number("e")?);
        Ok(der::value(der::SEQUENCE, &[&der::integer(&n), &der::integer(&e)]))
    }

    /// PKCS#8 of an RSA key.
    pub fn pkcs8(&self) -> Result<Vec<u8>, String> {
        let Private::Rsa(pair) = &self.private else { return Err("not an RSA key".into()) };
        let document: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| "no PKCS#8")?;
        Ok(document.as_ref().to_vec())
    }

    /// A certificate for 127.0.0.1 signed by itself, in plain base64 as `x5c` has it.
    pub fn certificate(&self) -> Result<String, String> {
        let to_sign = der::certificate_to_be_signed(&self.spki()?);
        let signed = self.sign("RS256", &to_sign)?;
        Ok(STANDARD.encode(der::certificate(&to_sign, &signed)))
    }
}

/// PEM, with lines of 64 characters.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// HMAC by the JOSE name of an algorithm.
pub fn mac(algorithm: &str, secret: &[u8], message: &[u8]) -> Result<Vec<u8>, String> {
    let kind = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return Err(format!("no MAC {algorithm}")),
    };
    Ok(hmac::sign(&hmac::Key::new(kind, secret), message).as_ref().to_vec())
}

/// Bytes of hexadecimal digits.
pub fn hex(digits: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// A key of 1024 bits: libraries neither make one nor sign with it.
mod weak {
    use super::{digest, hex};

    pub(super) const MODULUS: &str = "f5e14e1647d96ed525cc46def250ca08eb640060957a50be399958f4b861c39fd8a3f48cafec3f5a4053f1eea1662fecc9d71e148658658f0b652c307f976bc36e6bc2eab7f60dd6c9cb5560d3d39963dbd750095ca7ef398e40aa883463704abaa255c7ecf45cb06d743b0342728b14744e76855fbddcf1f41a6346a18c8a71";
    const EXPONENT: &str = "8c96266fd6e51bda03a2a9631069e11af87c553ae43cebadd88135bbb7312f095675687e88982c210e66f10de07aed2c16bc4916b33a17d7924c66d7d41c60205f3291da238b5197f60f1912a1f005a2ca1c69f2a2567848f2ca825d9fe9405a3ced1b03f3a7a9e9f2f08b1403f211560c6312ee94db64381f7092ed48953a01";
    /// `DigestInfo` of SHA-256 up to the digest.
    const PREFIX: &str = "3031300d060960864801650304020105000420";
    const BYTES: usize = 128;

    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2).
    pub(super) fn sign(message: &[u8]) -> Vec<u8> {
        let hash = digest::digest(&digest::SHA256, message);
        let tail = [hex(PREFIX).unwrap().as_slice(), hash.as_ref()].concat();
        let mut block = vec![0, 1];
        block.resize(BYTES - tail.len() - 1, 0xff);
        block.push(0);
        block.extend(tail);
        power(&block, &hex(EXPONENT).unwrap(), &hex(MODULUS).unwrap())
    }

    /// Numbers of 1024 bits, least limb first.
    type Number = [u64; BYTES / 8];

    fn number(bytes: &[u8]) -> Number {
        let limb = |index: usize| {
            let end = BYTES - index * 8;
            u64::from_be_bytes(bytes[end - 8..end].try_into().unwrap())
        };
        std::array::from_fn(limb)
    }

    fn power(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
        let (base, modulus) = (number(base), number(modulus));
        let mut result: Number = [0; BYTES / 8];
        result[0] = 1;
        for byte in exponent {
            for bit in (0..8).rev() {
                result = product(&result, &result, &modulus);
                if byte >> bit & 1 == 1 {
                    result = product(&result, &base, &modulus);
                }
            }
        }
        result.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect()
    }

    /// By doubling and adding: slow and short.
    fn product(one: &Number, other: &Number, modulus: &Number) -> Number {
        let mut result: Number = [0; BYTES / 8];
        for limb in one.iter().rev() {
            for bit in (0..64).rev() {
                result = sum(&result, &result, modulus);
                if limb >> bit & 1 == 1 {
                    result = sum(&result, other, modulus);
                }
            }
        }
        result
    }

    /// Of two numbers below the modulus.
    fn sum(one: &Number, other: &Number, modulus: &Number) -> Number {
        let mut total: Number = [0; BYTES / 8];
        let mut carry = false;
        for (index, limb) in total.iter_mut().enumerate() {
            let (partial, first) = one[index].overflowing_add(other[index]);
            let (whole, second) = partial.overflowing_add(u64::from(carry));
            (*limb, carry) = (whole, first || second);
        }
        let reaches = carry || total.iter().rev().ge(modulus.iter().rev());
        if !reaches {
            return total;
        }
        let mut borrow = false;
        for (index, limb) in total.iter_mut().enumerate() {
            let (partial, first) = limb.overflowing_sub(modulus[index]);
            let (whole, second) = partial.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (whole, first || second);
        }
        total
    }
}

/// Just enough DER to take a key apart and to make a certificate.
mod der {
    pub(super) const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    const OCTET_STRING: u8 = 0x04;
    /// rsaEncryption and NULL.
    const RSA: &[u8] =
        &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    /// sha256WithRSAEncryption and NULL.
    const RSA_SHA256: &[u8] =
        &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];
    /// CN=test
    const NAME: &[u8] = &[
        0x30, 0x0f, 0x31, 0x0d, 0x30, 0x0b, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x04, b't', b'e',
        b's', b't',
    ];

    /// One value: tag, length and the parts joined.
    pub(super) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head = match length {
            [0, short] if short < 0x80 => vec![tag, short],
            [0, one] => vec![tag, 0x81, one],
            [high, low] => vec![tag, 0x82, high, low],
        };
        [head, content].concat()
    }

    /// A number that is not negative.
    pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
        let padded = if bytes[0] >= 0x80 { [&[0], bytes].concat() } else { bytes.to_vec() };
        value(INTEGER, &[&padded])
    }

    fn bit_string(bytes: &[u8]) -> Vec<u8> {
        value(BIT_STRING, &[&[0], bytes])
    }

    pub(super) fn spki(rsa_public: &[u8]) -> Vec<u8> {
        value(SEQUENCE, &[RSA, &bit_string(rsa_public)])
    }

    pub(super) fn certificate_to_be_signed(spki: &[u8]) -> Vec<u8> {
        let time = |text: &[u8]| value(0x18, &[text]);
        let validity = value(SEQUENCE, &[&time(b"20200101000000Z"), &time(b"20991231235959Z")]);
        let version = value(0xa0, &[&integer(&[2])]);
        let names = value(OCTET_STRING, &[&value(SEQUENCE, &[&value(0x87, &[&[127, 0, 0, 1]])])]);
        let extension = value(SEQUENCE, &[&[0x06, 0x03, 0x55, 0x1d, 0x11], &names]);
        let extensions = value(0xa3, &[&value(SEQUENCE, &[&extension])]);
        let parts: [&[u8]; 8] =
            [&version, &integer(&[1]), RSA_SHA256, NAME, &validity, NAME, spki, &extensions];
        value(SEQUENCE, &parts)
    }

    pub(super) fn certificate(to_be_signed: &[u8], signature: &[u8]) -> Vec<u8> {
        value(SEQUENCE, &[to_be_signed, RSA_SHA256, &bit_string(signature)])
    }

    /// n, e, d, p, q, dp, dq, qi of a PKCS#8 key.
    pub(super) fn private_numbers(document: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (mut outer, _) = content(document, SEQUENCE)?;
        (_, outer) = content(outer, INTEGER)?;
        (_, outer) = content(outer, SEQUENCE)?;
        let (key, _) = content(outer, OCTET_STRING)?;
        let (key, _) = content(key, SEQUENCE)?;
        let (_, mut rest) = content(key, INTEGER)?;
        let mut numbers = Vec::new();
        for _ in 0..8 {
            let (number, after) = content(rest, INTEGER)?;
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            numbers.push(number[zeros..].to_vec());
            rest = after;
        }
        Some(numbers)
    }

    /// The content of the first value, and what follows it.
    fn content(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (found, rest) = bytes.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length * 256 + usize::from(*digit)), rest)
        };
        (*found == tag).then(|| rest.split_at_checked(length))?
    }
}
