//! Any bytes as JSON with every name once. What is read so strictly is read by a common parser too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portvakt::domain::json::Json;

fuzz_target!(|bytes: &[u8]| {
    if Json::parse(bytes).is_ok() {
        assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
    }
});
