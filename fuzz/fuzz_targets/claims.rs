//! Any bytes as the claims of a verified token. What is taken says what it must to a common parser too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portvakt::domain::claims::{ClaimRules, Claims};
use portvakt::domain::json::Json;
use portvakt::domain::party::CheckDigits;
use portvakt::domain::time::UnixTime;
use serde_json::Value;
use std::time::Duration;

const NOW: i64 = 1_800_000_000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = Json::parse(bytes) else { return };
    let rules = ClaimRules {
        issuer: "https://issuer.example/".into(),
        audience: None,
        leeway: Duration::from_secs(10),
        max_system_users: 4,
        accept_supplier: true,
        check_digits: CheckDigits::Required,
    };
    if Claims::verify(&json, &rules, UnixTime::from_seconds(NOW)).is_ok() {
        let common: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(common["iss"], "https://issuer.example/");
        assert!(common["exp"].as_f64().unwrap() > NOW as f64 - 11.0);
        assert!(common["iat"].as_f64().unwrap() < NOW as f64 + 11.0);
    }
});
