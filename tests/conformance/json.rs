//! JSON: what a reader must take and must refuse, in every place where we read the JSON of others.

use crate::keys::{Key, base64url};
use crate::vectors::{Tally, read, same};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portvakt::altinn::authorized_parties::read_parties;
use portvakt::altinn::packages::read_packages;
use portvakt::altinn::registry;
use portvakt::altinn::wire::read_answer;
use portvakt::clock::{Clock, SystemClock};
use portvakt::config::TokenConfig;
use portvakt::domain::claims::{ClaimError, ClaimRules};
use portvakt::domain::decision::{Cause, Verdict};
use portvakt::domain::json::Json;
use portvakt::domain::party::CheckDigits;
use portvakt::enforce::authenticate::{Authenticator, TokenError};
use portvakt::enforce::ports::{EdgeFuture, KeyError, KeySource, VerificationKey};
use portvakt::enforce::rejection::Rejection;
use portvakt::maskinporten::key_set::parse_key_set;
use portvakt::maskinporten::parse_metadata;
use portvakt::sync::ports::Wanted;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Texts that must be taken and that we refuse: name and reason.
const REFUSED_BY_DESIGN: [(&str, &str); 0] = [];

struct Case {
    name: String,
    expect: String,
    text: Vec<u8>,
}

fn cases() -> Option<Vec<Case>> {
    let file = read("json", "jsontestsuite.json")?;
    let cases = file["cases"].as_array().expect("cases");
    let text = |case: &Value, name: &str| case[name].as_str().expect("text").to_owned();
    let case = |case: &Value| Case {
        name: text(case, "name"),
        expect: text(case, "expect"),
        text: STANDARD.decode(text(case, "bytes_b64")).expect("base64"),
    };
    Some(cases.iter().map(case).collect())
}

/// Runs every case through `taken`, which tells whether the text was taken.
fn run(what: &str, mut taken: impl FnMut(&[u8]) -> Result<bool, String>) {
    let Some(cases) = cases() else { return };
    let mut tally = Tally::of(&format!("jsontestsuite.json, {what}"));
    let (mut accepted, mut refused) = (0, 0);
    for case in &cases {
        if let Some((_, reason)) = REFUSED_BY_DESIGN.iter().find(|(name, _)| *name == case.name) {
            tally.left_out(&case.name, reason);
            continue;
        }
        let outcome = taken(&case.text).and_then(|is| match case.expect.as_str() {
            "accept" => same(is, true, "taken"),
            "reject" => same(is, false, "taken"),
            "either" => Ok(()),
            other => panic!("{other}"),
        });
        accepted += usize::from(case.expect == "accept");
        refused += usize::from(case.expect == "reject");
        tally.ran(&case.name, outcome);
    }
    assert!(accepted > 0 && refused > 0, "no cases of both kinds");
    tally.close(cases.len(), REFUSED_BY_DESIGN.len());
}

/// `{…,"x":TEXT}`
fn with_unknown_member(object: &str, text: &[u8]) -> Vec<u8> {
    let open = object.strip_suffix('}').expect("an object");
    [open.as_bytes(), b",\"x\":", text, b"}"].concat()
}

#[test]
fn the_reader_of_json_takes_what_it_must_and_nothing_else() {
    run("alone", |text| Ok(Json::parse(text).is_ok()));
}

struct OneKey(Arc<VerificationKey>);

impl KeySource for OneKey {
    fn find(&self, key_id: &str) -> Result<Arc<VerificationKey>, KeyError> {
        if key_id == self.0.key_id { Ok(Arc::clone(&self.0)) } else { Err(KeyError::Unknown) }
    }

    fn fetch<'a>(
        &'a self,
        key_id: &'a str,
    ) -> EdgeFuture<'a, Result<Arc<VerificationKey>, KeyError>> {
        Box::pin(async { self.find(key_id) })
    }
}

/// A token check with one key, and that key.
fn authenticator() -> (Authenticator, Key) {
    let key = Key::rsa(2048).unwrap();
    let mut jwk = key.public.clone();
    jwk["kid"] = "k".into();
    let set = parse_key_set(format!(r#"{{"keys":[{jwk}]}}"#).as_bytes()).unwrap();
    let found = set.keys.into_iter().next().unwrap();
    let rules = ClaimRules {
        issuer: "https://issuer.example/".into(),
        audience: None,
        leeway: Duration::from_secs(10),
        max_system_users: 1,
        accept_supplier: false,
        check_digits: CheckDigits::Required,
    };
    let config = TokenConfig { rules, max_bytes: 1 << 20, cache_entries: 10 };
    let keys = Arc::new(OneKey(Arc::new(found)));
    (Authenticator::new(keys, Arc::new(SystemClock), config).unwrap(), key)
}

fn claims() -> String {
    let now = SystemClock.now().seconds();
    format!(
        r#"{{"iss":"https://issuer.example/","iat":{now},"exp":{},"consumer":{{"authority":"iso6523-actorid-upis","ID":"0192:310000027"}}}}"#,
        now + 600
    )
}

fn token(key: &Key, header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", base64url(header), base64url(claims));
    let signature = key.sign("RS256", signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url(signature))
}

const HEADER: &str = r#"{"alg":"RS256","kid":"k"}"#;

/// Whether a token was taken; fails when it was refused for another reason than `expected`.
fn verdict(
    authenticator: &Authenticator,
    token: &str,
    expected: &[TokenError],
) -> Result<bool, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(authenticator.verify(token)) {
        Ok(_) => Ok(true),
        Err(Rejection::Token(error)) if expected.contains(&error) => Ok(false),
        Err(other) => Err(format!("refused otherwise: {other:?}")),
    }
}

#[test]
fn a_token_header_is_read_strictly() {
    let (authenticator, key) = authenticator();
    run("value of an unknown header parameter", |text| {
        let token = token(&key, &with_unknown_member(HEADER, text), claims().as_bytes());
        verdict(&authenticator, &token, &[TokenError::Header])
    });
}

#[test]
fn a_whole_text_is_no_token_header() {
    let (authenticator, key) = authenticator();
    let Some(cases) = cases() else { return };
    for case in cases {
        let token = token(&key, &case.text, claims().as_bytes());
        let errors = [TokenError::Header, TokenError::Algorithm, TokenError::NotCompact];
        assert_eq!(verdict(&authenticator, &token, &errors), Ok(false), "{}", case.name);
    }
}

#[test]
fn token_claims_are_read_strictly() {
    let (authenticator, key) = authenticator();
    run("value of an unknown claim", |text| {
        let token = token(&key, HEADER.as_bytes(), &with_unknown_member(&claims(), text));
        verdict(&authenticator, &token, &[TokenError::Payload])
    });
}

#[test]
fn a_whole_text_is_no_set_of_claims() {
    let (authenticator, key) = authenticator();
    let Some(cases) = cases() else { return };
    for case in cases {
        let token = token(&key, HEADER.as_bytes(), &case.text);
        let errors = [
            TokenError::Payload,
            TokenError::NotCompact,
            TokenError::Claim(ClaimError::NotAnObject),
            TokenError::Claim(ClaimError::Missing("iss")),
        ];
        assert_eq!(verdict(&authenticator, &token, &errors), Ok(false), "{}", case.name);
    }
}

#[test]
fn a_key_set_is_read_strictly() {
    let mut jwk = Key::rsa(2048).unwrap().public;
    jwk["kid"] = "k".into();
    let set = format!(r#"{{"keys":[{jwk}]}}"#);
    run("beside a list of keys", |text| {
        let parsed = parse_key_set(&with_unknown_member(&set, text));
        Ok(parsed.is_ok_and(|parsed| parsed.keys.len() == 1))
    });
    run("in a key", |text| {
        let key = with_unknown_member(&jwk.to_string(), text);
        let parsed = parse_key_set(&[b"{\"keys\":[", key.as_slice(), b"]}"].concat());
        Ok(parsed.is_ok_and(|parsed| parsed.keys.len() == 1))
    });
    for case in cases().unwrap_or_default() {
        assert!(parse_key_set(&case.text).is_err(), "{}: a key set", case.name);
    }
}

#[test]
fn an_answer_of_the_pdp_is_read_strictly() {
    run("beside a decision", |text| {
        match read_answer(&with_unknown_member(r#"{"response":[{"decision":"Permit"}]}"#, text)) {
            Ok(Verdict::Permit) => Ok(true),
            Err(Cause::Unreadable) => Ok(false),
            other => Err(format!("{other:?}")),
        }
    });
    for case in cases().unwrap_or_default() {
        assert_eq!(read_answer(&case.text), Err(Cause::Unreadable), "{}", case.name);
    }
}

#[test]
fn metadata_are_read_strictly() {
    const ISSUER: &str = "https://issuer.example/";
    let source = ISSUER.parse().unwrap();
    let metadata = format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{ISSUER}jwk"}}"#);
    run("in metadata", |text| {
        Ok(parse_metadata(&with_unknown_member(&metadata, text), ISSUER, &source).is_ok())
    });
    for case in cases().unwrap_or_default() {
        assert!(parse_metadata(&case.text, ISSUER, &source).is_err(), "{}: metadata", case.name);
    }
}

fn wanted() -> Wanted {
    let package = |code: &str| (code.to_owned(), code.parse().unwrap());
    Wanted { packages: [package("lonn")].into(), resources: ["ske-arkiv".parse().unwrap()].into() }
}

/// How many parties of ours an answer of authorized parties tells of.
fn parties(text: &[u8]) -> Option<usize> {
    read_parties(text, &wanted(), CheckDigits::Required).ok().map(|told| told.parties.len())
}

#[test]
fn authorized_parties_are_read_strictly() {
    const PARTY: &str = r#"{"organizationNumber":"310000027","type":"Organization","isDeleted":false,"onlyHierarchyElementWithNoAccess":false,"authorizedAccessPackages":["lonn"],"authorizedResources":[]}"#;
    run("in a party, beside what is read", |text| {
        let party = with_unknown_member(PARTY, text);
        match parties(&[b"[", party.as_slice(), b"]"].concat()) {
            Some(1) => Ok(true),
            None => Ok(false),
            Some(other) => Err(format!("{other} parties")),
        }
    });
    for case in cases().unwrap_or_default() {
        // Nothing of it is a party; an array without elements is an answer.
        let empty = Json::parse(&case.text) == Ok(Json::Array(Vec::new()));
        assert_eq!(parties(&case.text), empty.then_some(0), "{}", case.name);
    }
}

#[test]
fn a_catalogue_of_packages_is_read_strictly() {
    const PACKAGE: &str = r#"{"urn":"urn:altinn:accesspackage:lonn"}"#;
    run("in a package, beside what is read", |text| {
        let package = with_unknown_member(PACKAGE, text);
        let parts: [&[u8]; 3] = [br#"[{"areas":[{"packages":["#, &package, b"]}]}]"];
        Ok(read_packages(parts.concat().as_slice()).is_ok_and(|packages| packages.len() == 1))
    });
    for case in cases().unwrap_or_default() {
        assert!(read_packages(case.text.as_slice()).is_err(), "{}: a catalogue", case.name);
    }
}

#[test]
fn answers_of_the_registry_are_read_strictly() {
    let id = "ske-arkiv".parse().unwrap();
    let metadata = r#"{"identifier":"ske-arkiv","accessListMode":"Enabled"}"#;
    run("in metadata of a resource", |text| {
        Ok(registry::read_metadata(&with_unknown_member(metadata, text), &id) == Ok(true))
    });
    run("beside a page of changes", |text| {
        let page = r#"{"links":{},"data":[{"resourceId":"r","changedAt":"t"}]}"#;
        let page = registry::read_changes(&with_unknown_member(page, text));
        Ok(page.is_ok_and(|page| page.items.len() == 1))
    });
    for case in cases().unwrap_or_default() {
        assert!(registry::read_metadata(&case.text, &id).is_err(), "{}: metadata", case.name);
        assert!(registry::read_changes(&case.text).is_err(), "{}: changes", case.name);
        assert!(registry::read_lists(&case.text).is_err(), "{}: lists", case.name);
        assert!(registry::read_connections(&case.text).is_err(), "{}: connections", case.name);
        let members = registry::read_members(&case.text, CheckDigits::Required);
        assert!(members.is_err(), "{}: members", case.name);
    }
}
