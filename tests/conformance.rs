//! Vectors from others: what a correct verifier and a correct reader of JSON do with them.
//!
//! The data are not part of this repository; `PORTVAKT_CONFORMANCE` names their folder. Every vector is
//! run or stands, with its reason, in a list of those that are not met.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and tells what it ran"
)]

mod support;

#[path = "conformance/http.rs"]
mod http;
#[path = "conformance/json.rs"]
mod json;
#[path = "cases/keys.rs"]
mod keys;
#[path = "conformance/raw.rs"]
mod raw;
#[path = "conformance/served.rs"]
mod served;
#[allow(dead_code, reason = "the runner of cases uses more of it")]
#[path = "cases/stage.rs"]
mod stage;
#[path = "conformance/tokens.rs"]
mod tokens;
#[path = "conformance/vectors.rs"]
mod vectors;
#[path = "cases/wire.rs"]
mod wire;
