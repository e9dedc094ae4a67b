//! Any lines as header fields: the party is the only one that any server could read, and nothing that is
//! forwarded speaks for somebody else.

#![no_main]

#[path = "../../tests/targets/judge.rs"]
mod judge;
#[path = "../../tests/cases/keys.rs"]
mod keys;
#[path = "../../tests/cases/readings.rs"]
#[allow(dead_code)]
mod readings;

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use judge::{Judge, NoBody, facts};
use libfuzzer_sys::fuzz_target;
use portvakt::enforce::trail::Trail;
use portvakt::forward::Client;
use portvakt::forward::headers::{Surroundings, dress, strip};
use portvakt::trace::context::{Caller, TRACESTATE};
use portvakt::trace::{Place, Recording};

thread_local! {
    static JUDGE: Judge = Judge::new();
}

/// As servers read a name that make variables of headers.
fn folded(name: &str) -> String {
    name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

fuzz_target!(|bytes: &[u8]| JUDGE.with(|judge| {
    let mut headers = judge.headers.clone();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    if let Some((_, party, _)) = judge.judge_with("GET", "/mine", &headers) {
        let named: Vec<&[u8]> = headers
            .iter()
            .filter(|(name, _)| folded(name.as_str()) == "x-party-org")
            .map(|(_, value)| value.as_bytes())
            .collect();
        assert_eq!(named, [party.as_bytes()]);
    }
    let (method, uri) = (Method::GET, Uri::from_static("/open"));
    let mut trail = Trail::default();
    let mut body = NoBody;
    let asked = judge.enforcer.enforce(facts(&method, &uri, &headers), &mut body, &mut trail);
    let Ok(grant) = judge.runtime.block_on(asked) else { return };
    // As it would be recorded: whatever came, what goes on is well-formed.
    let place = Place::of(&headers, Recording::Yes);
    let (mut head, ()) = Request::get("/open").body(()).unwrap().into_parts();
    head.headers = headers;
    let address = "192.0.2.7".parse().unwrap();
    let client = Client::new(address, false, None);
    let own_host = HeaderValue::from_str(judge.upstream.authority.as_str()).unwrap();
    let around = Surroundings {
        client: &client,
        upgrade: None,
        upstream: &judge.upstream,
        own_host: Some(&own_host),
        forwarded: &judge.forwarded,
        grant: &grant,
        trace: &place,
    };
    let told = strip(&mut head, around);
    dress(&mut head.headers, around, told);
    for name in head.headers.keys() {
        let (name, folded) = (name.as_str(), folded(name.as_str()));
        let ours = ["portvakt-route", "portvakt-access"].contains(&name);
        assert!(ours || !folded.starts_with("portvakt-"), "{name}");
        let hop = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
        assert!(!hop.contains(&folded.as_str()), "{name}");
        assert!(!folded.starts_with("x-original-"), "{name}");
        assert!(!folded.starts_with("x-forwarded-") || name == folded, "{name}");
    }
    let told = Caller::read(&head.headers).expect("one traceparent, and well-formed");
    assert_eq!((told.trace, told.sampled), (place.trace, true));
    let state = head.headers.get_all(TRACESTATE).iter().map(HeaderValue::len).sum::<usize>();
    assert!(state <= 512, "{state}");
    for once in ["host", "portvakt-route", "portvakt-access"] {
        assert_eq!(head.headers.get_all(once).iter().count(), 1, "{once}");
    }
}));
