//! The whole core of the program in worlds of chance, under virtual time: rights, policies and keys come and go,
//! Altinn and the issuer fail, clocks jump, the program dies, drains and is configured anew, and requests come in
//! between. What each is told is held against what was true.
//!
//! `PORTVAKT_SIM_SEEDS` chooses how many worlds, `PORTVAKT_SIM_SEED` one of them, whose log is then printed. A
//! failure prints its seed, and the fewest steps that still fail with what happened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on fails, and tells what it counted"
)]

#[path = "simulation/dice.rs"]
mod dice;
#[path = "simulation/keys.rs"]
mod keys;
#[path = "simulation/program.rs"]
mod program;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/world.rs"]
mod world;

use dice::{Step, plan};
use run::{Tally, live};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use world::Lie;

const SEEDS: u64 = 1000;
/// Runs that are spent on leaving out steps.
const SHRINKING: usize = 150;

fn chosen(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Leaves out what does not matter to the failure.
fn shrunk(seed: u64, lie: Option<Lie>) -> Vec<Step> {
    let mut steps = plan(seed);
    let (mut size, mut left) = (steps.len() / 2, SHRINKING);
    while size > 0 {
        let mut from = 0;
        while from < steps.len() && left > 0 {
            let to = (from + size).min(steps.len());
            let fewer: Vec<Step> = [&steps[..from], &steps[to..]].concat();
            left -= 1;
            if live(seed, &fewer, lie).wrong.is_some() {
                steps = fewer;
            } else {
                from = to;
            }
        }
        size /= 2;
    }
    steps
}

/// The seeds whose worlds break a promise, at most one, and what came about in all.
fn search(seeds: std::ops::Range<u64>, lie: Option<Lie>) -> (Option<u64>, Tally) {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(u64::MAX);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(4);
    let mut all = Tally::new();
    thread::scope(|scope| {
        let part = || {
            let mut all = Tally::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end || failed.load(Ordering::Relaxed) != u64::MAX {
                    return all;
                }
                let report = live(seed, &plan(seed), lie);
                if report.wrong.is_some() {
                    failed.fetch_min(seed, Ordering::Relaxed);
                }
                for (what, count) in report.tally {
                    *all.entry(what).or_default() += count;
                }
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(part)).collect();
        for part in running {
            for (what, count) in part.join().unwrap() {
                *all.entry(what).or_default() += count;
            }
        }
    });
    let failed = failed.into_inner();
    ((failed != u64::MAX).then_some(failed), all)
}

fn tell(seed: u64, lie: Option<Lie>) -> ! {
    let whole = live(seed, &plan(seed), lie).wrong;
    let steps = shrunk(seed, lie);
    let report = live(seed, &steps, lie);
    panic!(
        "PORTVAKT_SIM_SEED={seed} cargo test --test simulation\n{}\n\nof {} steps, these are enough:\n{}\n{}",
        whole.unwrap_or_default(),
        plan(seed).len(),
        report.log.split_inclusive("WRONG").next().unwrap_or_default(),
        report.wrong.unwrap_or_default(),
    )
}

#[test]
fn every_promise_holds_in_every_world() {
    if let Some(seed) = chosen("PORTVAKT_SIM_SEED") {
        let report = live(seed, &plan(seed), None);
        std::io::stderr().write_all(report.log.as_bytes()).unwrap();
        if report.wrong.is_some() {
            tell(seed, None);
        }
        return;
    }
    let seeds = chosen("PORTVAKT_SIM_SEEDS").unwrap_or(SEEDS);
    let (failed, tally) = search(0..seeds, None);
    std::io::stderr().write_all(format!("{tally:#?}\n").as_bytes()).unwrap();
    if let Some(seed) = failed {
        tell(seed, None);
    }
    // A world in which nothing happens proves nothing.
    if seeds >= 100 {
        for what in [
            "permit, derived",
            "permit, derived in grace",
            "permit, confirmed",
            "permit, confirmed in grace",
            "permit, asked",
            "refused, no_right",
            "stream ended: no_right",
            "crash",
            "drain",
            "reload",
            "left",
        ] {
            assert!(tally.contains_key(what), "never: {what}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..10 {
        let once = live(seed, &plan(seed), None);
        let again = live(seed, &plan(seed), None);
        let differs = once.log.lines().zip(again.log.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.log.len(), again.log.len(), "seed {seed}");
    }
}

#[test]
fn every_lie_of_the_world_is_found() {
    for lie in [
        Lie::OldRights,
        Lie::NothingIsRevoked,
        Lie::OutageIsNo,
        Lie::NoIsOutage,
        Lie::DiskIsYoung,
        Lie::NoKeyIsWithdrawn,
        Lie::NeverHeals,
    ] {
        let (failed, _) = search(0..300, Some(lie));
        assert!(failed.is_some(), "{lie:?} is not found");
    }
}
