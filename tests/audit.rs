//! The audit log of the real program: one record a request whatever befalls the disk and the file, and a
//! chain in which every change shows.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails by panicking"
)]

mod support;

#[path = "audit/chain.rs"]
mod chain;
#[path = "audit/faults.rs"]
mod faults;
#[path = "audit/files.rs"]
mod files;
