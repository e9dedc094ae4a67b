//! Any text as a bearer token, and any header and claims in a token that the issuer has signed.

#![no_main]

#[path = "../../tests/targets/judge.rs"]
mod judge;
#[path = "../../tests/cases/keys.rs"]
mod keys;
#[path = "../../tests/cases/readings.rs"]
#[allow(dead_code)]
mod readings;

use judge::{ISSUER, Judge};
use keys::base64url;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

thread_local! {
    static JUDGE: Judge = Judge::new();
}

fuzz_target!(|bytes: &[u8]| JUDGE.with(|judge| {
    let verify = |token: &str| judge.runtime.block_on(judge.enforcer.authenticator.verify(token));
    // Nobody but the issuer can have signed it.
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(verify(text).is_err());
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (header, claims) = (&bytes[..end], &bytes[end + 1..]);
    let signed = format!("{}.{}", base64url(header), base64url(claims));
    let signature = judge.key.sign("RS256", signed.as_bytes()).unwrap();
    if verify(&format!("{signed}.{}", base64url(signature))).is_ok() {
        let header: Value = serde_json::from_slice(header).unwrap();
        let claims: Value = serde_json::from_slice(claims).unwrap();
        assert_eq!((&header["alg"], &header["kid"]), (&"RS256".into(), &"k".into()));
        assert!(header.get("crit").is_none());
        assert_eq!(claims["iss"], ISSUER);
        assert!(claims["exp"].is_number() && claims["iat"].is_number());
    }
}));
