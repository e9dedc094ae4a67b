//! Raw signatures: what the crypto library, called as tokens are verified, makes of them.

use crate::keys::{base64url, hex};
use crate::vectors::{Tally, groups, read, same, tests};
use jsonwebtoken::Algorithm;
use portvakt::enforce::ports::VerificationKey;
use portvakt::maskinporten::key_set::{IgnoredKey, ParsedKeySet, parse_key_set};
use serde_json::{Value, json};

const FOLDER: &str = "jws/wycheproof";

fn parse(key: &Value) -> ParsedKeySet {
    parse_key_set(json!({ "keys": [key] }).to_string().as_bytes()).expect("a key set")
}

/// The key of a group as a JWK for `algorithm`.
fn rsa_jwk(group: &Value, algorithm: &str) -> Value {
    let number = |name: &str| {
        let digits = group["publicKey"][name].as_str().expect("a number");
        base64url(hex(digits).expect("hexadecimal digits"))
    };
    let (n, e) = (number("modulus"), number("publicExponent"));
    json!({ "kty": "RSA", "kid": "k", "use": "sig", "alg": algorithm, "n": n, "e": e })
}

fn verifies(key: &VerificationKey, test: &Value, algorithm: Algorithm) -> bool {
    let bytes = |name: &str| hex(test[name].as_str().expect("digits")).expect("hexadecimal digits");
    key.key.verifies(algorithm, &bytes("msg"), &bytes("sig"))
}

fn count(file: &Value) -> usize {
    usize::try_from(file["numberOfTests"].as_u64().expect("a number")).expect("small")
}

fn rs(name: &str, algorithm: Algorithm) {
    let Some(file) = read(FOLDER, name) else { return };
    let mut tally = Tally::of(name);
    let mut verified = 0;
    for group in groups(&file) {
        let set = parse(&rsa_jwk(group, &format!("{algorithm:?}")));
        let [key] = set.keys.as_slice() else { panic!("{name}: {:?}", set.ignored) };
        for test in tests(group) {
            let is = verifies(key, test, algorithm);
            verified += usize::from(is);
            let must = match test["result"].as_str() {
                Some("valid") => true,
                Some("invalid") => false,
                Some("acceptable") => is,
                other => panic!("{name}: {other:?}"),
            };
            let what = format!("{}; verified", test["comment"]);
            tally.ran(&test["tcId"].to_string(), same(is, must, &what));
        }
    }
    assert!(verified > 0, "{name}: nothing verified");
    tally.close(count(&file), 0);
}

#[test]
fn rs256_2048() {
    rs("rsa_signature_2048_sha256_test.json", Algorithm::RS256);
}

#[test]
fn rs384_2048() {
    rs("rsa_signature_2048_sha384_test.json", Algorithm::RS384);
}

#[test]
fn rs512_2048() {
    rs("rsa_signature_2048_sha512_test.json", Algorithm::RS512);
}

#[test]
fn rs256_3072() {
    rs("rsa_signature_3072_sha256_test.json", Algorithm::RS256);
}

#[test]
fn rs256_4096() {
    rs("rsa_signature_4096_sha256_test.json", Algorithm::RS256);
}

#[test]
fn rs512_4096() {
    rs("rsa_signature_4096_sha512_test.json", Algorithm::RS512);
}

/// PSS is not ours. A key marked for it is no key; the same key, marked for us, verifies none of them but
/// what is no PSS signature at all.
fn pss(name: &str, theirs: &str, ours: Algorithm, other_signatures: &[(u64, &str)]) {
    let Some(file) = read(FOLDER, name) else { return };
    let mut tally = Tally::of(name);
    for group in groups(&file) {
        assert_eq!(parse(&rsa_jwk(group, theirs)).ignored, [IgnoredKey::Algorithm], "{name}");
        let set = parse(&rsa_jwk(group, &format!("{ours:?}")));
        let [key] = set.keys.as_slice() else { panic!("{name}: {:?}", set.ignored) };
        for test in tests(group) {
            let (is, id) = (verifies(key, test, ours), test["tcId"].as_u64());
            if let Some((_, reason)) = other_signatures.iter().find(|(other, _)| Some(*other) == id)
            {
                assert!(is, "{name} {id:?}: {reason}");
                tally.left_out(&test["tcId"].to_string(), reason);
                continue;
            }
            let what = format!("{}; verified as {ours:?}", test["comment"]);
            tally.ran(&test["tcId"].to_string(), same(is, false, &what));
        }
    }
    tally.close(count(&file), other_signatures.len());
}

#[test]
fn ps256_is_refused() {
    let reason = "a PKCS#1 v1.5 signature with SHA-256: wrong as PS256, and good as RS256";
    pss("rsa_pss_2048_sha256_mgf1_32_test.json", "PS256", Algorithm::RS256, &[(108, reason)]);
}

#[test]
fn ps384_is_refused() {
    pss("rsa_pss_2048_sha384_mgf1_48_test.json", "PS384", Algorithm::RS384, &[]);
}

/// EC keys never become keys of ours, so there is nothing to verify their signatures with.
fn ecdsa(name: &str, curve: &str) {
    let Some(file) = read(FOLDER, name) else { return };
    let (mut tally, mut left_out) = (Tally::of(name), 0);
    for group in groups(&file) {
        let digits = group["publicKey"]["uncompressed"].as_str().expect("a point");
        let point = hex(digits).expect("hexadecimal digits");
        let (x, y) = point[1..].split_at(point.len() / 2);
        for marked in [None, Some("ES256"), Some("ES384"), Some("RS256")] {
            let mut key = json!({ "kty": "EC", "kid": "k", "crv": curve, "x": base64url(x), "y": base64url(y) });
            if let Some(algorithm) = marked {
                key["alg"] = algorithm.into();
            }
            let set = parse(&key);
            let ignored = set.keys.is_empty() && set.ignored == [IgnoredKey::KeyType];
            let judged = same(ignored, true, "ignored for its kind");
            tally.ran(&format!("key {digits}, alg {marked:?}"), judged);
        }
        for test in tests(group) {
            left_out += 1;
            let reason = "ECDSA is not ours; the key is refused, so no signature is looked at";
            tally.left_out(&test["tcId"].to_string(), reason);
        }
    }
    assert_eq!(left_out, count(&file));
    tally.close(4 * groups(&file).len() + left_out, left_out);
}

#[test]
fn es256_is_refused() {
    ecdsa("ecdsa_secp256r1_sha256_p1363_test.json", "P-256");
}

#[test]
fn es384_is_refused() {
    ecdsa("ecdsa_secp384r1_sha384_p1363_test.json", "P-384");
}
