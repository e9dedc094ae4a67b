//! A key set (RFC 7517) read into the keys that may verify a token. Pure.
//!
//! One bad key does not spoil the rest: it is left out and counted. A set that cannot be told apart
//! (two keys of one id) gives neither key.

use crate::domain::json::{InvalidJson, Json};
use crate::enforce::ports::VerificationKey;
use crate::enforce::signature::PublicKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use jsonwebtoken::Algorithm;
use std::collections::BTreeMap;

/// Largest key set, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Most keys in a set.
pub const MAX_KEYS: usize = 100;
/// Longest key id, in bytes.
pub const MAX_KEY_ID_BYTES: usize = 512;

const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The crypto library takes public exponents of at most 33 bits.
const MAX_EXPONENT: u64 = (1 << 33) - 1;

/// What a key set holds.
#[derive(Debug)]
pub struct ParsedKeySet {
    /// The keys that may verify a token, each id once, in the order of their ids.
    pub keys: Vec<VerificationKey>,
    /// Why each of the others may not.
    pub ignored: Vec<IgnoredKey>,
    /// Whether some key was published with private members: the issuer's secret is out.
    pub private_members: bool,
}

/// Why a whole key set cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeySetError {
    /// Longer than [`MAX_BYTES`].
    #[error("the key set is longer than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not one JSON text with unique names.
    #[error("the key set cannot be read")]
    Json(#[from] InvalidJson),
    /// No member `keys` that is a list (RFC 7517 §5).
    #[error("the key set has no list `keys`")]
    NoKeys,
    /// More than [`MAX_KEYS`].
    #[error("the key set has more than {MAX_KEYS} keys")]
    TooManyKeys,
}

/// Why one key is not used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum IgnoredKey {
    /// Not an object.
    Shape,
    /// `kty` is not `RSA`; a symmetric key is never used.
    KeyType,
    /// `use` is there and not `sig`.
    Use,
    /// `key_ops` is there without `verify`.
    KeyOperations,
    /// `alg` is there and not RS256, RS384 or RS512.
    Algorithm,
    /// `kid` is absent, empty, no text or longer than [`MAX_KEY_ID_BYTES`].
    KeyId,
    /// `n` is absent, unreadable or even.
    Modulus,
    /// The modulus is shorter than 2048 bits or longer than 8192.
    ModulusSize,
    /// `e` is absent, unreadable, even, below 3 or above 33 bits.
    Exponent,
    /// The modulus is of the kind that can be factored (CVE-2017-15361, "ROCA").
    Roca,
    /// Another key has the same id and is not the same key.
    Ambiguous,
}

impl IgnoredKey {
    /// The stable label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::KeyType => "kty",
            Self::Use => "use",
            Self::KeyOperations => "key_ops",
            Self::Algorithm => "alg",
            Self::KeyId => "kid",
            Self::Modulus => "modulus",
            Self::ModulusSize => "modulus_size",
            Self::Exponent => "exponent",
            Self::Roca => "roca",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// Reads a key set. A set without a usable key is no error here; who holds a better one keeps it.
///
/// # Errors
/// [`KeySetError`] when the whole of it cannot be used.
pub fn parse_key_set(bytes: &[u8]) -> Result<ParsedKeySet, KeySetError> {
    if bytes.len() > MAX_BYTES {
        return Err(KeySetError::TooLarge);
    }
    let json = Json::parse(bytes)?;
    let published = json.member("keys").and_then(Json::as_array).ok_or(KeySetError::NoKeys)?;
    if published.len() > MAX_KEYS {
        return Err(KeySetError::TooManyKeys);
    }
    let mut parsed = ParsedKeySet { keys: Vec::new(), ignored: Vec::new(), private_members: false };
    let mut by_id: BTreeMap<&str, Vec<Candidate>> = BTreeMap::new();
    for key in published {
        parsed.private_members |= has_private_members(key);
        match Candidate::read(key) {
            Ok((key_id, candidate)) => by_id.entry(key_id).or_default().push(candidate),
            Err(reason) => parsed.ignored.push(reason),
        }
    }
    for (key_id, candidates) in by_id {
        let one = the_one(&candidates);
        let read = one.and_then(|(algorithm, material)| Ok((algorithm, material.key()?)));
        match read {
            Ok((algorithm, key)) => {
                let key_id = key_id.to_owned();
                parsed.keys.push(VerificationKey { key_id, algorithm, key });
            }
            Err(reason) => parsed.ignored.extend(candidates.iter().map(|_| reason)),
        }
    }
    Ok(parsed)
}

/// A key that claims an id for RSA signatures; its numbers may still be unfit.
#[derive(Eq, PartialEq)]
struct Candidate {
    algorithm: Option<Algorithm>,
    material: Result<Material, IgnoredKey>,
}

#[derive(Eq, PartialEq)]
struct Material {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Candidate {
    fn read(key: &Json) -> Result<(&str, Self), IgnoredKey> {
        if key.members().is_none() {
            return Err(IgnoredKey::Shape);
        }
        if text(key, "kty") != Some("RSA") {
            return Err(IgnoredKey::KeyType);
        }
        if key.member("use").is_some_and(|purpose| purpose.as_str() != Some("sig")) {
            return Err(IgnoredKey::Use);
        }
        if key.member("key_ops").is_some_and(|operations| !may_verify(operations)) {
            return Err(IgnoredKey::KeyOperations);
        }
        let algorithm = match key.member("alg").map(Json::as_str) {
            None => None,
            Some(Some("RS256")) => Some(Algorithm::RS256),
            Some(Some("RS384")) => Some(Algorithm::RS384),
            Some(Some("RS512")) => Some(Algorithm::RS512),
            Some(_) => return Err(IgnoredKey::Algorithm),
        };
        let key_id = text(key, "kid")
            .filter(|key_id| (1..=MAX_KEY_ID_BYTES).contains(&key_id.len()))
            .ok_or(IgnoredKey::KeyId)?;
        Ok((key_id, Self { algorithm, material: Material::read(key) }))
    }
}

impl Material {
    fn read(key: &Json) -> Result<Self, IgnoredKey> {
        let modulus = text(key, "n").and_then(unsigned).ok_or(IgnoredKey::Modulus)?;
        if !MODULUS_BITS.contains(&bits(&modulus)) {
            return Err(IgnoredKey::ModulusSize);
        }
        if !is_odd(&modulus) {
            return Err(IgnoredKey::Modulus);
        }
        let exponent = text(key, "e").and_then(unsigned).ok_or(IgnoredKey::Exponent)?;
        if !fit_exponent(&exponent) {
            return Err(IgnoredKey::Exponent);
        }
        if has_roca_fingerprint(&modulus) {
            return Err(IgnoredKey::Roca);
        }
        Ok(Self { modulus, exponent })
    }

    fn key(&self) -> Result<PublicKey, IgnoredKey> {
        PublicKey::new(self.modulus.clone(), self.exponent.clone()).map_err(|_| IgnoredKey::Modulus)
    }
}

/// The key that all of these are, when they are one.
fn the_one(candidates: &[Candidate]) -> Result<(Option<Algorithm>, &Material), IgnoredKey> {
    let (first, rest) = candidates.split_first().ok_or(IgnoredKey::Shape)?;
    if rest.iter().any(|other| other != first) {
        return Err(IgnoredKey::Ambiguous);
    }
    match &first.material {
        Ok(material) => Ok((first.algorithm, material)),
        Err(reason) => Err(*reason),
    }
}

fn text<'a>(key: &'a Json, name: &str) -> Option<&'a str> {
    key.member(name).and_then(Json::as_str)
}

fn may_verify(operations: &Json) -> bool {
    let operations = operations.as_array().unwrap_or_default();
    operations.iter().any(|operation| operation.as_str() == Some("verify"))
}

fn has_private_members(key: &Json) -> bool {
    ["d", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|name| key.member(name).is_some())
}

/// A number in base64url, as RFC 7518 §2 has it, or in plain base64, as Altinn's own issuer writes it
/// (contract maskinporten.md §7); without leading zeros. `None` for zero.
pub(crate) fn unsigned(text: &str) -> Option<Vec<u8>> {
    let plain: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    let bytes = STANDARD_NO_PAD.decode(plain).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    bytes.get(first..).map(<[u8]>::to_vec)
}

fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |byte| byte.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or(8))
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte % 2 == 1)
}

fn fit_exponent(exponent: &[u8]) -> bool {
    let value = exponent
        .iter()
        .try_fold(0_u64, |value, byte| Some(value.checked_mul(256)? + u64::from(*byte)));
    is_odd(exponent) && value.is_some_and(|value| (3..=MAX_EXPONENT).contains(&value))
}

/// The odd primes that the flawed key generator built its moduli round. Source: Nemec et al., "The
/// Return of Coppersmith's Attack" (CCS 2017), §3.2, for keys of 2048 bits and more; CVE-2017-15361.
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the modulus is, modulo each of these primes, a power of 65537: true for every key of the
/// flawed generator, and for one in about 2^27 of all others.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|&prime| {
        let residue = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let step = |power: &u32| Some(power * (65537 % prime) % prime);
        let cycle = std::iter::successors(Some(1), step).take(167);
        cycle.into_iter().any(|power| power == residue)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    /// An odd modulus of `bits` bits, different for each seed. That it is no product of two primes does not
    /// matter here.
    fn modulus(bits: usize, seed: u8) -> String {
        let mut bytes = vec![seed | 1; bits.div_ceil(8)];
        bytes[0] = 1 << ((bits - 1) % 8);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn key(kid: &str, seed: u8, more: &str) -> String {
        let n = modulus(2048, seed);
        format!(r#"{{"kty":"RSA","kid":"{kid}","n":"{n}","e":"AQAB"{more}}}"#)
    }

    fn parse(keys: &[String]) -> ParsedKeySet {
        parse_key_set(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
    }

    fn ids(parsed: &ParsedKeySet) -> Vec<&str> {
        parsed.keys.iter().map(|key| key.key_id.as_str()).collect()
    }

    #[test]
    fn one_bad_key_does_not_spoil_the_rest() {
        let rsa = |n: &str, e: &str| format!(r#"{{"kty":"RSA","kid":"bad","n":"{n}","e":"{e}"}}"#);
        let good = modulus(2048, 1);
        let mut even = URL_SAFE_NO_PAD.decode(&good).unwrap();
        *even.last_mut().unwrap() &= 0xfe;
        let cases = [
            ("7".to_owned(), IgnoredKey::Shape),
            ("null".to_owned(), IgnoredKey::Shape),
            (
                r#"{"kty":"oct","kid":"bad","k":"c2VjcmV0","alg":"RS256"}"#.to_owned(),
                IgnoredKey::KeyType,
            ),
            (r#"{"kty":"EC","kid":"bad","crv":"P-256"}"#.to_owned(), IgnoredKey::KeyType),
            (key("bad", 1, "").replace("\"RSA\"", "\"rsa\""), IgnoredKey::KeyType),
            (key("bad", 1, r#","use":"enc""#), IgnoredKey::Use),
            (key("bad", 1, r#","use":null"#), IgnoredKey::Use),
            (key("bad", 1, r#","key_ops":["sign"]"#), IgnoredKey::KeyOperations),
            (key("bad", 1, r#","key_ops":"verify""#), IgnoredKey::KeyOperations),
            (key("bad", 1, r#","alg":"PS256""#), IgnoredKey::Algorithm),
            (key("bad", 1, r#","alg":"rs256""#), IgnoredKey::Algorithm),
            (key("bad", 1, r#","alg":7"#), IgnoredKey::Algorithm),
            (key("", 1, ""), IgnoredKey::KeyId),
            (key(&"k".repeat(513), 1, ""), IgnoredKey::KeyId),
            (key("7", 1, "").replace("\"7\"", "7"), IgnoredKey::KeyId),
            (rsa(&modulus(2047, 1), "AQAB"), IgnoredKey::ModulusSize),
            (rsa(&modulus(8193, 1), "AQAB"), IgnoredKey::ModulusSize),
            (rsa(&URL_SAFE_NO_PAD.encode(even), "AQAB"), IgnoredKey::Modulus),
            (rsa("", "AQAB"), IgnoredKey::Modulus),
            (rsa("AAAA", "AQAB"), IgnoredKey::Modulus),
            (rsa("not base64!", "AQAB"), IgnoredKey::Modulus),
            (rsa(&good, "AQ"), IgnoredKey::Exponent),
            (rsa(&good, "AQAA"), IgnoredKey::Exponent),
            (rsa(&good, ""), IgnoredKey::Exponent),
            (rsa(&good, "AA"), IgnoredKey::Exponent),
            (rsa(&good, "AgAAAAE"), IgnoredKey::Exponent),
        ];
        for (bad, reason) in cases {
            let parsed = parse(&[key("good", 3, ""), bad.clone()]);
            assert_eq!(ids(&parsed), ["good"], "{bad}");
            assert_eq!(parsed.ignored, [reason], "{bad}");
        }
    }

    #[test]
    fn the_sizes_that_are_just_allowed_are() {
        for (bits, e) in [(2048, "AQAB"), (8192, "AQAB"), (2048, "Aw"), (2048, "AQAAAAE")] {
            let n = modulus(bits, 5);
            let parsed = parse(&[format!(r#"{{"kty":"RSA","kid":"k","n":"{n}","e":"{e}"}}"#)]);
            assert_eq!(ids(&parsed), ["k"], "{bits} {e}");
        }
        let parsed =
            parse(&[key("k", 1, r#","use":"sig","key_ops":["verify"],"alg":"RS512","x5c":[1]"#)]);
        assert_eq!(parsed.keys[0].algorithm, Some(Algorithm::RS512));
    }

    #[test]
    fn plain_base64_and_leading_zeros_are_the_same_number() {
        let bytes = URL_SAFE_NO_PAD.decode(modulus(2048, 0xfb)).unwrap();
        let padded = [&[0], bytes.as_slice()].concat();
        let plain = base64::engine::general_purpose::STANDARD.encode(padded);
        assert!(plain.contains(['+', '/']) && plain.ends_with('='));
        let lenient = format!(r#"{{"kty":"RSA","kid":"k","n":"{plain}","e":"AAEAAQ=="}}"#);
        // Equal to the strict spelling, or the two would be ambiguous.
        let parsed = parse(&[lenient, key("k", 0xfb, "")]);
        assert_eq!((ids(&parsed), parsed.ignored.len()), (vec!["k"], 0));
    }

    #[test]
    fn two_keys_of_one_id_are_used_only_when_they_are_the_same_key() {
        assert_eq!(ids(&parse(&[key("k", 1, ""), key("k", 1, "")])), ["k"]);
        let cases = [
            [key("k", 1, ""), key("k", 3, "")],
            [key("k", 1, r#","alg":"RS256""#), key("k", 1, r#","alg":"RS512""#)],
            // A weak key of the same id: which one the issuer means cannot be told.
            [
                key("k", 1, ""),
                format!(r#"{{"kty":"RSA","kid":"k","n":"{}","e":"AQAB"}}"#, modulus(1024, 1)),
            ],
        ];
        for keys in cases {
            let parsed = parse(&[&keys[..], &[key("other", 7, "")]].concat());
            assert_eq!(ids(&parsed), ["other"]);
            assert_eq!(parsed.ignored, [IgnoredKey::Ambiguous; 2]);
        }
        // Keys for another purpose do not compete for an id.
        let parsed = parse(&[key("k", 1, ""), key("k", 3, r#","use":"enc""#)]);
        assert_eq!(ids(&parsed), ["k"]);
    }

    #[test]
    fn private_members_are_noticed_and_the_public_part_is_used() {
        let parsed = parse(&[key("k", 1, r#","d":"AQAB""#)]);
        assert!(parsed.private_members);
        assert_eq!(ids(&parsed), ["k"]);
        assert!(!parse(&[key("k", 1, "")]).private_members);
    }

    #[test]
    fn what_is_no_key_set_is_refused_whole() {
        for text in ["", "{}", "[]", "null", "<html>", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
            assert!(parse_key_set(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse_key_set(br#"{"keys":[],"keys":[]}"#).is_err(), "a name twice");
        assert_eq!(parse(&[]).keys.len(), 0);
        let many: Vec<_> = (0..=MAX_KEYS).map(|_| "{}".to_owned()).collect();
        assert_eq!(parse(&many[1..]).ignored.len(), MAX_KEYS);
        let text = format!(r#"{{"keys":[{}]}}"#, many.join(","));
        assert_eq!(parse_key_set(text.as_bytes()).unwrap_err(), KeySetError::TooManyKeys);
        let long = [br#"{"keys":[]}"#.as_slice(), &vec![b' '; MAX_BYTES]].concat();
        assert_eq!(parse_key_set(&long).unwrap_err(), KeySetError::TooLarge);
    }

    #[test]
    fn a_modulus_of_the_flawed_generator_is_refused() {
        // Powers of 65537 have the fingerprint by construction.
        let mut power = vec![1_u8];
        for _ in 0..127 {
            let mut carry = 0_u32;
            for byte in power.iter_mut().rev() {
                let sum = u32::from(*byte) * 65537 + carry;
                *byte = u8::try_from(sum & 0xff).unwrap();
                carry = sum >> 8;
            }
            while carry > 0 {
                power.insert(0, u8::try_from(carry & 0xff).unwrap());
                carry >>= 8;
            }
        }
        assert!(has_roca_fingerprint(&power));
        *power.last_mut().unwrap() ^= 2;
        assert!(!has_roca_fingerprint(&power));
        assert!(!has_roca_fingerprint(&URL_SAFE_NO_PAD.decode(modulus(2048, 1)).unwrap()));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_set_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_key_set(&bytes);
        }

        #[test]
        fn any_members_give_a_set(
            kty in "RSA|oct|", kid in "\\PC{0,4}", n in "[A-Za-z0-9+/=_-]{0,400}", e in "\\PC{0,6}",
        ) {
            let key = serde_json::json!({"kty": kty, "kid": kid, "n": n, "e": e});
            let text = serde_json::json!({"keys": [key]}).to_string();
            let parsed = parse_key_set(text.as_bytes()).unwrap();
            prop_assert_eq!(parsed.keys.len() + parsed.ignored.len(), 1);
        }
    }
}
