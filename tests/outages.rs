//! The register in the real program: what it derives, how long an outage of Altinn is lived through, how
//! soon a right that is withdrawn is refused, and what a restart, a full disk or a kill leaves of it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and tells what it measured"
)]

mod support;

#[path = "outages/clock.rs"]
mod clock;
#[path = "outages/crowd.rs"]
mod crowd;
#[path = "outages/disk.rs"]
mod disk;
#[path = "outages/down.rs"]
mod down;
#[path = "outages/faketime.rs"]
mod faketime;
#[path = "outages/rights.rs"]
mod rights;
#[path = "outages/snapshot.rs"]
mod snapshot;
#[path = "outages/stage.rs"]
mod stage;
#[path = "outages/start.rs"]
mod start;
#[path = "outages/withdrawn.rs"]
mod withdrawn;
