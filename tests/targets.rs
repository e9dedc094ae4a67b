//! What is judged against what an upstream reads: for any target the route and the party that we judge are
//! those that every kind of server finds in what is forwarded, or the request is refused. Source: threats,
//! "How each is proved".
//!
//! `PORTVAKT_TARGETS` names how many targets are tried.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells what it counted"
)]

#[path = "targets/judge.rs"]
mod judge;
#[path = "cases/keys.rs"]
mod keys;
#[allow(dead_code, reason = "the runner of cases uses more of it")]
#[path = "cases/readings.rs"]
mod readings;

use judge::{Judge, agree, templates};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use readings::readings;
use std::cell::Cell;

/// Targets that are permitted as they stand.
const GOOD: [(&str, &str); 8] = [
    ("GET", "/v1/parties/310000027/returns/7"),
    ("HEAD", "/v1/parties/310000027/returns/7?x=1"),
    ("POST", "/v1/parties/310000027/returns"),
    ("GET", "/v1/returns?party=310000027"),
    ("GET", "/v2/310000027/returns?org_no=310000027"),
    ("GET", "/v1/files/310000027/a/b.txt"),
    ("GET", "/v1/find/a?a=1&Party-Org=310000027&b=2"),
    ("GET", "/v1/parties/310000078/returns/7?party=310000027"),
];

/// What is put into them: what some server reads otherwise than another, and what nobody does.
const PIECES: [&str; 74] = [
    "a",
    "7",
    "-",
    "_",
    "~",
    "!",
    "$",
    "'",
    "(",
    "*",
    ",",
    ":",
    "@",
    "=",
    "&",
    "&x=1",
    "?",
    "?x=1",
    "/",
    "/a",
    "//",
    "/.",
    "/..",
    "/../",
    "/./",
    "..",
    ".",
    "%2e",
    "%2E%2e",
    "%252e",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "\\..\\",
    ";",
    ";x=1",
    "/..;/",
    "%3b",
    "%3B",
    "%00",
    "%0a",
    "%20",
    "+",
    "%2b",
    "%25",
    "%",
    "%zz",
    "%c0%ae",
    "%ff",
    "%C3%A6",
    "\u{e6}",
    "%EF%BC%8F",
    "%E2%80%A5",
    "#",
    "#/../",
    "%23",
    "%3f",
    "%26",
    "%3d",
    "[",
    "[]",
    "%5b%5d",
    "&party=310000078",
    "?party=310000078",
    "&Party=310000078",
    "&p%61rty=310000078",
    "&party[]=310000078",
    ";party=310000078",
    "&org_no=310000078",
    "&ORG-NO=310000078",
    "&party_org=310000078",
    "310000078",
    "//other.example",
];

/// What every server reads alike at the end of most targets.
const PLAIN: [&str; 16] =
    ["a", "7", "-", "_", "~", "!", "$", "(", "*", ",", ":", "@", "%20", "%C3%A6", "&x=1", "/a"];

/// A change of a target.
#[derive(Clone, Debug)]
enum Change {
    Insert(Index, &'static str),
    Append(&'static str),
    Encode(Index),
    Remove(Index),
    Turn(Index),
}

impl Change {
    fn apply(&self, target: &str) -> String {
        let letters: Vec<char> = target.chars().collect();
        if letters.is_empty() {
            return target.to_owned();
        }
        let text = |letters: &[char]| letters.iter().collect::<String>();
        match self {
            Self::Insert(at, piece) => {
                let (before, after) = letters.split_at(at.index(letters.len() + 1));
                text(before) + piece + &text(after)
            }
            Self::Append(piece) => target.to_owned() + piece,
            Self::Encode(at) => {
                let at = at.index(letters.len());
                let mut bytes = [0; 4];
                let encoded = letters[at].encode_utf8(&mut bytes).bytes();
                let encoded: Vec<String> = encoded.map(|byte| format!("%{byte:02x}")).collect();
                text(&letters[..at]) + &encoded.concat() + &text(&letters[at + 1..])
            }
            Self::Remove(at) => {
                let at = at.index(letters.len());
                text(&letters[..at]) + &text(&letters[at + 1..])
            }
            Self::Turn(at) => {
                let at = at.index(letters.len());
                let turned = if letters[at].is_lowercase() {
                    letters[at].to_ascii_uppercase()
                } else {
                    letters[at].to_ascii_lowercase()
                };
                text(&letters[..at]) + &turned.to_string() + &text(&letters[at + 1..])
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece)),
        6 => select(&PLAIN[..]).prop_map(Change::Append),
        1 => any::<Index>().prop_map(Change::Encode),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => any::<Index>().prop_map(Change::Turn),
    ]
}

/// A method and a target that is nearly a good one.
fn asked() -> impl Strategy<Value = (&'static str, String)> {
    let changes = proptest::collection::vec(change(), 0..4);
    (select(&GOOD[..]), changes).prop_map(|((method, target), changes)| {
        let text = changes.iter().fold(target.to_owned(), |text, change| change.apply(&text));
        (method, text)
    })
}

#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn count() -> u32 {
    std::env::var("PORTVAKT_TARGETS").map_or(20_000, |count| count.parse().unwrap())
}

#[test]
fn what_is_judged_is_what_every_upstream_reads() {
    let (judge, templates) = (Judge::new(), templates());
    for (method, target) in GOOD {
        let judged = judge.judge(method, target);
        let (_, party, forwarded) =
            judged.as_ref().unwrap_or_else(|| panic!("{target} is refused"));
        assert_eq!((party.as_str(), forwarded.as_str()), ("310000027", target));
        agree(&templates, method, judged.as_ref().unwrap()).unwrap();
    }
    let (changed, passed) = (Cell::new(0_u32), Cell::new(0_u32));
    let config = Config { cases: count(), failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&asked(), |(method, target)| {
        if GOOD.iter().all(|(_, good)| *good != target) {
            changed.set(changed.get() + 1);
            let judged = judge.judge(method, &target);
            passed.set(passed.get() + u32::from(judged.is_some()));
            if let Some(judged) = judged {
                agree(&templates, method, &judged).map_err(TestCaseError::fail)?;
            }
        }
        Ok(())
    });
    run.unwrap_or_else(|found| panic!("{found}"));
    println!("{} changed targets, {} let through", changed.get(), passed.get());
    // Refusing everything is no solution.
    assert!(passed.get() > changed.get() / 20, "{} of {}", passed.get(), changed.get());
}

#[test]
fn a_judge_that_takes_whatever_has_a_route_would_be_seen() {
    let (templates, seen) = (templates(), Cell::new(0_u32));
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&asked(), |(method, target)| {
        let found = readings(&templates, method, &target);
        let (_, naive) = &found[0];
        let party = naive.path_party.as_ref().or(naive.query_party.as_ref());
        if let (Some(route), Some(party)) = (&naive.route, party) {
            let judged = (route.clone(), party.clone(), target.clone());
            seen.set(seen.get() + u32::from(agree(&templates, method, &judged).is_err()));
        }
        Ok(())
    });
    run.unwrap();
    println!("{} targets would be judged in one way and read in another", seen.get());
    assert!(seen.get() > 100, "{}", seen.get());
}
