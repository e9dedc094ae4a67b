//! Runs a folder of cases in a world, against the real program: `cargo build && cargo run --example cases --
//! WORLD FOLDER [KIND …]`. Prints a line for each case that differs or is left out, then the totals; ends with
//! 1 where a case differs. Without arguments the cases of `tests/cases` are run.
//!
//! The program is the one beside this one, in the folder that cargo builds into.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it fails by panicking, and tells what it ran"
)]
#![allow(dead_code, reason = "the tests use more of what it shares with them")]

#[path = "../tests/outages/faketime.rs"]
mod faketime;
#[path = "../tests/cases/faults.rs"]
mod faults;
#[path = "../tests/cases/frames.rs"]
mod frames;
#[path = "../tests/cases/h2.rs"]
mod h2;
#[path = "../tests/cases/hpack.rs"]
mod hpack;
#[path = "../tests/cases/judge.rs"]
mod judge;
#[path = "../tests/cases/keys.rs"]
mod keys;
#[path = "../tests/outages/stage.rs"]
mod outage;
#[path = "../tests/cases/readings.rs"]
mod readings;
#[path = "../tests/cases/run.rs"]
mod run;
#[path = "../tests/cases/stage.rs"]
mod stage;
#[path = "../tests/cases/suite.rs"]
mod suite;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/cases/wire.rs"]
mod wire;
#[path = "../tests/cases/world.rs"]
mod world;
#[path = "../tests/cases/xacml.rs"]
mod xacml;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use suite::{Suite, Totals};

fn main() -> ExitCode {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let world = arguments.next().unwrap_or_else(|| usual.join("world.json"));
    let folder = arguments.next().unwrap_or(usual);
    let wanted: Vec<String> = arguments.map(|kind| kind.to_string_lossy().into_owned()).collect();
    let suite = match Suite::read(&world, &folder) {
        Ok(suite) => suite,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let mut all = Totals::default();
    for kind in suite.kinds() {
        if wanted.is_empty() || wanted.contains(&kind) {
            let totals = suite.run(&kind, &mut |line| println!("{line}"));
            println!("{kind}: {totals}");
            all.add(totals);
        }
    }
    println!("in all: {all}");
    if all.differ == 0 && all.cases > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
