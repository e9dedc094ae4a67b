//! Any bytes as a key set and as an issuer's metadata. What is taken of it a common parser reads too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portvakt::maskinporten::key_set::parse_key_set;
use portvakt::maskinporten::parse_metadata;
use serde_json::Value;
use std::collections::BTreeSet;

const ISSUER: &str = "https://issuer.example/";

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = parse_key_set(bytes) {
        let common: Value = serde_json::from_slice(bytes).unwrap();
        let published = common["keys"].as_array().unwrap();
        let ids: BTreeSet<_> = set.keys.iter().map(|key| key.key_id.as_str()).collect();
        assert_eq!(ids.len(), set.keys.len(), "one key of each id");
        for id in ids {
            let named: Vec<_> = published.iter().filter(|key| key["kid"] == id).collect();
            assert!(named.iter().any(|key| key["kty"] == "RSA" && key["use"] != "enc"));
        }
    }
    let source = ISSUER.parse().unwrap();
    if parse_metadata(bytes, ISSUER, &source).is_ok() {
        let common: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(common["issuer"], ISSUER);
    }
});
