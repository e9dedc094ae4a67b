//! Policies from others: conformance cases of OASIS, Altinn's own policies with requests made for them, and
//! decision requests and answers as they look on the wire.
//!
//! The data are not part of this repository; `PORTVAKT_CONFORMANCE` names their folder. Every case is run or
//! stands, with its reason, among those that are left out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells what it ran"
)]

mod support;

#[path = "policies/altinn.rs"]
mod altinn;
#[path = "policies/attacks.rs"]
mod attacks;
#[path = "policies/build.rs"]
mod build;
#[path = "policies/cases.rs"]
mod cases;
#[path = "policies/derive.rs"]
mod derive;
#[path = "policies/oasis.rs"]
mod oasis;
#[path = "policies/pairs.rs"]
mod pairs;
#[path = "policies/readings.rs"]
mod readings;
#[path = "conformance/vectors.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod vectors;
#[path = "policies/wire.rs"]
mod wire;
#[path = "cases/xacml.rs"]
mod xacml;
