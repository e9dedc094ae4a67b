//! Ten thousand random worlds: the sandbox's decision point and the register are asked the same questions.
//!
//! The sandbox decides from its own model and prints it as Altinn would; the program's own readers read what
//! is printed, and the register derives. Whatever it permits the decision point must permit. After each
//! world something changes, and both are asked again: before what system users hold is read anew, where only
//! a policy or a list has changed, and after it.
//!
//! `PORTVAKT_SEED` and `PORTVAKT_WORLDS` choose others; a failure names seed and world.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and tells what it counted"
)]

#[path = "differential/replica.rs"]
mod replica;
#[path = "differential/world.rs"]
mod world;

use portvakt_sandbox::{Answer, Model};
use replica::{Mistake, Printed, Reasons, Replica, question};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::thread;
use world::{Change, Dice, World};

const WORLDS: usize = 10_000;
const THREADS: usize = 2;
/// The decision point answers every question in one world of so many; elsewhere those that are derived.
const ASKED_ALL: usize = 10;
/// Worlds that share a register: a new one is large beside a world.
const SHARED: usize = 100;

/// What was seen.
#[derive(Default)]
struct Seen {
    worlds: usize,
    questions: usize,
    derived: usize,
    /// Derived, and refused by the decision point.
    wrong: Vec<String>,
    /// Because of packages, where the decision point was asked everything.
    permitted: usize,
    permitted_and_derived: usize,
    not_derived: Reasons,
    permitted_not_derived: Reasons,
    changes: Reasons,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.questions += other.questions;
        self.derived += other.derived;
        self.wrong.extend(other.wrong);
        self.permitted += other.permitted;
        self.permitted_and_derived += other.permitted_and_derived;
        for (all, new) in [
            (&mut self.not_derived, other.not_derived),
            (&mut self.permitted_not_derived, other.permitted_not_derived),
            (&mut self.changes, other.changes),
        ] {
            for (why, count) in new {
                *all.entry(why).or_default() += count;
            }
        }
    }

    fn share(&self) -> usize {
        100 * self.permitted_and_derived / self.permitted.max(1)
    }

    fn print(&self) {
        let mut text = format!(
            "{} worlds, {} questions, {} derived, {} of them refused by the decision point\n",
            self.worlds,
            self.questions,
            self.derived,
            self.wrong.len()
        );
        let _ = writeln!(
            text,
            "of {} that it permits through packages (one world of {ASKED_ALL}) {} are derived: {} %",
            self.permitted,
            self.permitted_and_derived,
            self.share()
        );
        let _ = writeln!(text, "changes: {:?}", self.changes);
        let _ = writeln!(text, "not derived: {:?}", self.not_derived);
        let _ = writeln!(text, "of these permitted: {:?}", self.permitted_not_derived);
        // The harness keeps what a passing test prints to itself, but not what it writes.
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
}

/// Where in the run, for who has to find it again.
#[derive(Clone, Copy)]
struct Place<'a> {
    seed: u64,
    world: usize,
    moment: &'a str,
}

/// A permit whose obligation a system user fulfils.
fn permits(answer: Answer) -> bool {
    answer.decision == "Permit" && answer.minimum_level.is_none_or(|level| level <= 3)
}

fn compare(place: Place<'_>, world: &World, altinn: &Printed, replica: &Replica, seen: &mut Seen) {
    let all = place.world.is_multiple_of(ASKED_ALL);
    let poor = all.then(|| Model::parse(&world.without_packages().to_json()).unwrap());
    for user in &world.users {
        let id = user.id.parse().unwrap();
        for party in world.parties() {
            for right in replica.rights() {
                let question = question(id, party, right);
                let derived = replica.derived(&question);
                seen.questions += 1;
                match derived {
                    Ok(()) => seen.derived += 1,
                    Err(why) => *seen.not_derived.entry(why.label()).or_default() += 1,
                }
                if !all && derived.is_err() {
                    continue;
                }
                let (resource, action) = (right.resource.as_str(), right.action.as_str());
                let answer = altinn.model.decide(&user.id, party.0, resource, action);
                if derived.is_ok() && !permits(answer) {
                    seen.wrong.push(format!(
                        "PORTVAKT_SEED={} world {} {}: {resource} {action}, {answer:?}\n{}",
                        place.seed,
                        place.world,
                        place.moment,
                        replica.explain(&question)
                    ));
                }
                let needs_package =
                    |poor: &Model| !permits(poor.decide(&user.id, party.0, resource, action));
                if permits(answer) && poor.as_ref().is_some_and(needs_package) {
                    seen.permitted += 1;
                    match derived {
                        Ok(()) => seen.permitted_and_derived += 1,
                        Err(why) => {
                            *seen.permitted_not_derived.entry(why.label()).or_default() += 1;
                        }
                    }
                }
            }
        }
    }
}

/// One world, a change, and the world after it.
async fn live(place: Place<'_>, mistake: Option<Mistake>, replica: &mut Replica, seen: &mut Seen) {
    let number = u64::try_from(place.world).unwrap();
    let mut dice = Dice::new(place.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut world = World::random(&mut dice, place.world);
    let feed = dice.percent(80);
    let print = |world: &World| {
        let model = Model::parse(&world.to_json()).unwrap();
        Printed::new(model, mistake, feed)
    };
    let ids: Vec<_> = world.users.iter().map(|user| user.id.parse().unwrap()).collect();
    let altinn = Arc::new(print(&world));
    replica.read_policies(&altinn).await;
    for id in &ids {
        replica.read_user(&altinn, *id).await;
    }
    compare(place, &world, &altinn, replica, seen);
    let change = world.change(&mut dice);
    *seen.changes.entry(label(change)).or_default() += 1;
    let mut altinn = print(&world);
    if change == Change::Relation {
        for (client, facilitator) in world.ended() {
            assert!(altinn.model.end_relation(client, facilitator));
        }
    }
    let altinn = Arc::new(altinn);
    replica.read_policies(&altinn).await;
    if change == Change::Resource {
        let place = Place { moment: "before system users are read again", ..place };
        compare(place, &world, &altinn, replica, seen);
    }
    if mistake != Some(Mistake::NothingIsReadAgain) {
        for id in &ids {
            replica.read_user(&altinn, *id).await;
        }
    }
    compare(Place { moment: "after a change", ..place }, &world, &altinn, replica, seen);
    replica.begin_again(&ids);
    seen.worlds += 1;
}

fn label(change: Change) -> &'static str {
    match change {
        Change::Delegation => "delegation",
        Change::Relation => "relation",
        Change::Resource => "resource",
    }
}

fn run(seed: u64, worlds: usize, mistake: Option<Mistake>) -> Seen {
    let part = |first: usize| async move {
        let mut counted = Seen::default();
        let mut replica = Replica::new();
        for (turn, world) in (first..worlds).step_by(THREADS).enumerate() {
            if turn % SHARED == 0 {
                replica = Replica::new();
            }
            live(Place { seed, world, moment: "at first" }, mistake, &mut replica, &mut counted)
                .await;
        }
        counted
    };
    let on_a_thread = |first| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(part(first))
    };
    let mut counted = Seen::default();
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|first| scope.spawn(move || on_a_thread(first))).collect();
        for part in threads {
            counted.add(part.join().unwrap());
        }
    });
    counted
}

fn chosen<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().map(|text| text.parse().ok().expect("a number"))
}

#[test]
fn the_register_permits_nothing_that_the_decision_point_refuses() {
    let clock = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    let seed = chosen("PORTVAKT_SEED").unwrap_or(clock);
    println!("PORTVAKT_SEED={seed}");
    let counted = run(seed, chosen("PORTVAKT_WORLDS").unwrap_or(WORLDS), None);
    counted.print();
    assert!(
        counted.wrong.is_empty(),
        "{} wrong; the first: {}",
        counted.wrong.len(),
        counted.wrong[0]
    );
    // The rest rests on single rights, and on what is never derived: a floor, so that deriving nothing fails.
    assert!(counted.permitted > counted.worlds / 10, "{} permitted", counted.permitted);
    assert!(counted.share() >= 60, "only {} % of what is permitted is derived", counted.share());
}

#[test]
fn the_comparison_sees_every_mistake() {
    for mistake in [
        Mistake::DenialsAreIgnored,
        Mistake::SingleRightIsEveryRight,
        Mistake::AccessListsAreIgnored,
        Mistake::EveryLevelIsReached,
        Mistake::RightsFlowUp,
        Mistake::NothingIsReadAgain,
    ] {
        let counted = run(1, 60, Some(mistake));
        println!("{mistake:?}: {} wrong of {}", counted.wrong.len(), counted.derived);
        assert!(!counted.wrong.is_empty(), "{mistake:?} passes");
    }
}
