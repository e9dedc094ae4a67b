//! JSON texts in the place of every answer that the real program reads, and in tokens that it is sent: what must
//! be taken is taken, what must be refused changes nothing and lets nobody in.

use crate::keys::{Key, base64url};
use crate::stage::{Client, LIMIT, Outside, Said, Then, Upstream};
use crate::support::{Proxy, wait_for};
use crate::vectors::{Tally, read, same};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portvakt::clock::{Clock, SystemClock};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example.test/";
const STAGES: usize = 4;

struct Stage {
    proxy: Proxy,
    upstream: Upstream,
    outside: Outside,
    key: Key,
}

impl Stage {
    /// A program that asks Altinn for each request, and comes for the keys ten times a second.
    fn start() -> Self {
        let key = Key::rsa(2048).expect("a key");
        let mut jwk = key.public.clone();
        jwk["kid"] = "k".into();
        let said = Said { key_sets: vec![json!({ "keys": [jwk] })], ..Said::default() };
        let (outside, upstream) = (Outside::start(ISSUER, said, None), Upstream::start());
        let never = json!({ "fresh_for": "0s", "max_age": "0s", "outage_grace": "0s" });
        let config = json!({
            "environment": "custom",
            "custom": {
                "issuer": ISSUER, "metadata_url": format!("{}/metadata", outside.url), "altinn": outside.url
            },
            "listen": { "address": "127.0.0.1:0", "workers": 1 },
            "admin": { "address": "127.0.0.1:0" },
            "upstream": { "url": format!("http://{}", upstream.address) },
            "altinn": {
                "subscription_key": "key", "requests_per_second": 1000, "max_attempts": 1,
                "circuit_failures": 1_000_000
            },
            "maskinporten": {
                "client_id": "runner", "key_env": "RUNNER_JWK", "refresh": "100ms",
                "scopes": ["altinn:authorization/authorize"],
            },
            "tokens": { "max_bytes": "1MiB" },
            "limits": { "header_bytes": "1MiB" },
            "register": { "enabled": false },
            "freshness": { "read": never, "write": never },
            "routes": [{
                "id": "read", "match": { "methods": ["GET"], "path": "/v1/{party}" },
                "scopes": { "all_of": ["a:b"] }, "resource": "ex-returns", "action": "read",
                "party": { "path": "party" },
            }],
        });
        let mut own = key.whole.clone();
        own["kid"] = "own".into();
        let proxy = Proxy::start(&config.to_string(), &[("RUNNER_JWK", &own.to_string())]);
        let stage = Self { proxy, upstream, outside, key };
        stage.outside.said.lock().expect("whole").decision = Some(decision(b"null"));
        wait_for(LIMIT, || (stage.ask(&stage.token(None, None)) == (200, 1)).then_some(()));
        stage
    }

    /// A good token, with a text as the value of an unknown member of header or claims.
    fn token(&self, in_header: Option<&[u8]>, in_claims: Option<&[u8]>) -> String {
        let now = SystemClock.now().seconds();
        let claims = json!({
            "iss": ISSUER, "iat": now, "exp": now + 100, "scope": "a:b", "jti": uuid::Uuid::new_v4().to_string(),
            "consumer": { "authority": "iso6523-actorid-upis", "ID": "0192:310000019" },
            "authorization_details": [{
                "type": "urn:altinn:systemuser", "system_id": "310000019_sys",
                "systemuser_id": ["11111111-1111-4111-8111-111111111111"],
                "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:310000027" },
            }],
        });
        let header = with_member(&json!({ "alg": "RS256", "kid": "k" }), in_header);
        let signed =
            format!("{}.{}", base64url(header), base64url(with_member(&claims, in_claims)));
        let signature = self.key.sign("RS256", signed.as_bytes()).expect("signed");
        format!("{signed}.{}", base64url(signature))
    }

    /// The status of a request, and how many messages reached the upstream.
    fn ask(&self, token: &str) -> (u64, usize) {
        self.upstream.take();
        let head = format!(
            "GET /v1/310000027 HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\
             Connection: close\r\n\r\n"
        );
        let answers = Client::connect(self.proxy.address()).exchange(
            head.as_bytes(),
            1,
            Then::AwaitClose(LIMIT),
        );
        let status = answers.messages.first().map_or(0, crate::wire::Message::status);
        (status, self.upstream.take().messages.len())
    }

    /// Waits until the program has come for the keys and come back for more.
    fn fetched(&self) {
        let fetched = || self.outside.said.lock().expect("whole").fetched;
        let before = fetched();
        wait_for(LIMIT, || (fetched() >= before + 2).then_some(()));
    }
}

/// `{…,"x":TEXT}`
fn with_member(object: &Value, text: Option<&[u8]>) -> Vec<u8> {
    let object = object.to_string();
    let Some(text) = text else { return object.into_bytes() };
    let open = object.strip_suffix('}').expect("an object");
    [open.as_bytes(), b",\"x\":", text, b"}"].concat()
}

fn decision(text: &[u8]) -> Vec<u8> {
    with_member(&json!({ "response": [{ "decision": "Permit" }] }), Some(text))
}

/// Runs every text through `told`, which gives what came of the request: taken, with a message at the upstream;
/// or refused with `refused`, and none.
fn run(what: &str, refused: u64, told: impl Fn(&Stage, &[u8]) -> (u64, usize) + Sync) {
    let Some(file) = read("json", "jsontestsuite.json") else { return };
    let cases = file["cases"].as_array().expect("cases");
    let work = |part: &[Value]| {
        let stage = Stage::start();
        let judge = |case: &Value| {
            let text = STANDARD.decode(case["bytes_b64"].as_str().expect("bytes"));
            let told = told(&stage, &text.expect("base64"));
            let (is_taken, is_refused) = (told == (200, 1), told == (refused, 0));
            match case["expect"].as_str() {
                Some("accept") => same(is_taken, true, &format!("{told:?}; taken")),
                Some("reject") => same(is_refused, true, &format!("{told:?}; refused")),
                Some("either") => same(is_taken || is_refused, true, &format!("{told:?}; one")),
                other => panic!("{other:?}"),
            }
        };
        part.iter().map(judge).collect::<Vec<_>>()
    };
    let work = &work;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let parts = cases.chunks(cases.len().div_ceil(STAGES));
        let parts: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("whole")).collect()
    });
    let mut tally = Tally::of(&format!("jsontestsuite.json, {what}"));
    for (case, outcome) in cases.iter().zip(outcomes) {
        tally.ran(case["name"].as_str().expect("a name"), outcome);
    }
    tally.close(cases.len(), 0);
}

#[test]
fn texts_in_a_token_that_the_program_is_sent() {
    run("in a token's header", 401, |stage, text| stage.ask(&stage.token(Some(text), None)));
    run("in a token's claims", 401, |stage, text| stage.ask(&stage.token(None, Some(text))));
}

#[test]
fn texts_in_a_decision_that_the_program_is_told() {
    run("in a decision", 503, |stage, text| {
        stage.outside.said.lock().expect("whole").decision = Some(decision(text));
        stage.ask(&stage.token(None, None))
    });
}

#[test]
fn a_text_in_place_of_a_decision_lets_nobody_in() {
    let Some(file) = read("json", "jsontestsuite.json") else { return };
    let cases = file["cases"].as_array().expect("cases");
    let (stage, mut tally) = (Stage::start(), Tally::of("jsontestsuite.json, as a decision"));
    for case in cases {
        let text = STANDARD.decode(case["bytes_b64"].as_str().expect("bytes")).expect("base64");
        stage.outside.said.lock().expect("whole").decision = Some(text);
        let told = stage.ask(&stage.token(None, None));
        tally.ran(&case["name"].to_string(), same(told == (503, 0), true, &format!("{told:?}")));
    }
    tally.close(cases.len(), 0);
}

#[test]
fn a_text_in_place_of_the_keys_leaves_the_old_ones_in_use() {
    let Some(file) = read("json", "jsontestsuite.json") else { return };
    let cases = file["cases"].as_array().expect("cases");
    let (stage, mut tally) = (Stage::start(), Tally::of("jsontestsuite.json, as a key set"));
    let jwk = json!({ "kty": "RSA", "kid": "other", "use": "sig", "alg": "RS256",
        "n": stage.key.public["n"], "e": stage.key.public["e"] });
    for case in cases.iter().filter(|case| case["expect"] == "reject") {
        let text = STANDARD.decode(case["bytes_b64"].as_str().expect("bytes")).expect("base64");
        // Alone, and beside keys that would take the place of the old ones.
        for set in [text.clone(), with_member(&json!({ "keys": [jwk] }), Some(&text))] {
            stage.outside.said.lock().expect("whole").key_set = Some(set);
            stage.fetched();
            let told = stage.ask(&stage.token(None, None));
            let name = case["name"].to_string();
            tally.ran(&name, same(told == (200, 1), true, &format!("{told:?}; served")));
        }
        // What succeeds ends the pauses between what fails.
        stage.outside.said.lock().expect("whole").key_set = None;
    }
    let rejected = cases.iter().filter(|case| case["expect"] == "reject").count();
    tally.close(2 * rejected, 0);
}
