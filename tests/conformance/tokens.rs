//! Tokens: each compact form, under the key set of its group, through the steps that a request's token
//! takes up to its claims.

use crate::vectors::{Tally, groups, read, same, tests};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portvakt::enforce::authenticate::{SignedToken, TokenError};
use portvakt::maskinporten::key_set::{ParsedKeySet, parse_key_set};
use serde_json::{Value, json};

const FOLDER: &str = "jws/wycheproof";

/// Vectors that are good by their standard and that we refuse nevertheless: file, id, our answer, reason.
const REFUSED_BY_DESIGN: [(&str, u64, TokenError, &str); 1] = [(
    "json_web_signature_test.json",
    259,
    TokenError::NotCompact,
    "an access token has claims: an empty payload is refused before its signature is looked at",
)];

/// The key set of a group, as if the issuer had published it.
fn key_set(group: &Value) -> ParsedKeySet {
    let published = group.get("public").or_else(|| group.get("private")).expect("a key");
    let set = if published.get("keys").is_some() {
        published.clone()
    } else {
        json!({ "keys": [published] })
    };
    parse_key_set(set.to_string().as_bytes()).expect("a key set")
}

fn verify(token: &str, set: &ParsedKeySet) -> Result<(), TokenError> {
    let token = SignedToken::parse(token)?;
    let key = set.keys.iter().find(|key| key.key_id == token.key_id());
    token.verify(key.ok_or(TokenError::UnknownKey)?)
}

/// Whether the signature is good, whatever the token is.
fn is_signed(token: &str, set: &ParsedKeySet) -> bool {
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let [key] = set.keys.as_slice() else { panic!("one key") };
    let algorithm = key.algorithm.expect("an algorithm");
    let signature = URL_SAFE_NO_PAD.decode(signature);
    signature.is_ok_and(|it| key.key.verifies(algorithm, signed.as_bytes(), &it))
}

/// Whether every key of the group is for one of our algorithms.
fn is_ours(group: &Value) -> bool {
    let published = group.get("public").unwrap_or(&group["private"]);
    let one = [published.clone()];
    let keys = published["keys"].as_array().map_or(one.as_slice(), Vec::as_slice);
    keys.iter().all(|key| matches!(key["alg"].as_str(), Some("RS256" | "RS384" | "RS512")))
}

/// The token as it would stand in the header: the compact form, or the text of another one.
fn text(token: &Value) -> String {
    token.as_str().map_or_else(|| token.to_string(), str::to_owned)
}

fn run(name: &str, known_valid: usize) {
    let Some(file) = read(FOLDER, name) else { return };
    let mut tally = Tally::of(name);
    let (mut all, mut verified) = (0, 0);
    for group in groups(&file) {
        let set = key_set(group);
        for test in tests(group) {
            all += 1;
            let id = test["tcId"].as_u64().expect("an id");
            let token = text(test.get("jws").or_else(|| test.get("jwe")).expect("a token"));
            let answer = verify(&token, &set);
            let design =
                REFUSED_BY_DESIGN.iter().find(|(file, design, ..)| (*file, *design) == (name, id));
            if let Some((_, _, our_answer, reason)) = design {
                assert_eq!(answer, Err(*our_answer), "{name} {id}");
                assert!(is_signed(&token, &set), "{name} {id}: the signature alone");
                tally.left_out(&id.to_string(), reason);
                continue;
            }
            let must = is_ours(group) && test["result"] == "valid" && test.get("jws").is_some();
            verified += usize::from(must);
            let what = format!("{}, {answer:?}; verified", test["comment"]);
            tally.ran(&id.to_string(), same(answer.is_ok(), must, &what));
        }
    }
    assert_eq!(Some(all), file["numberOfTests"].as_u64().and_then(|all| usize::try_from(all).ok()));
    let known = REFUSED_BY_DESIGN.iter().filter(|(file, ..)| *file == name).count();
    // So that refusing everything is no way to pass.
    assert_eq!(verified, known_valid, "{name}: good vectors under our algorithms");
    tally.close(all, known);
}

#[test]
fn signatures_of_our_algorithms_verify_and_no_others() {
    run("json_web_signature_test.json", 7);
}

#[test]
fn keys_that_are_weak_or_for_another_purpose_verify_nothing() {
    run("json_web_key_test.json", 1);
}

#[test]
fn keys_and_signatures_of_all_kinds_together() {
    run("json_web_crypto_test.json", 1);
}

#[test]
fn an_encrypted_token_is_refused() {
    run("json_web_encryption_test.json", 0);
}
