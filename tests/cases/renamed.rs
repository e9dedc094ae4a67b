//! The same cases in another world: every name of the world is another one, in the world file and in the
//! cases. Whatever the runner had learnt by heart would differ.

use crate::suite::{Suite, Totals};
use portvakt::domain::party::{CheckDigits, OrgNumber};
use std::path::Path;

/// Names, and what they are called there. Longer ones first.
const NAMES: [(&str, &str); 14] = [
    ("https://issuer.example.test", "https://login.elsewhere.test:8443"),
    ("https://api.example.test/returns", "urn:audience:of:another"),
    ("attacker_ec", "mallory_ec"),
    ("attacker", "mallory"),
    ("ex-returns", "zz_ledger-entries"),
    ("ex:returns", "zz:ledger"),
    ("/v1/parties/", "/api/v3/companies/"),
    ("/v1/returns", "/api/v3/entries"),
    ("/v1/mine", "/api/v3/our-own"),
    ("/public/", "/open-to-all/"),
    ("X-Party-Org", "X-Company"),
    ("x-party-org", "x-company"),
    ("x_party_org", "x_company"),
    ("11111111-1111-4111-8111-111111111111", "c0ffee00-1111-4111-8111-00000000cafe"),
];

/// Another number of the same kind for each organisation.
fn renumbered(text: &str) -> String {
    let mut text = text.to_owned();
    for number in 310_000_000..310_000_200_u32 {
        // The digits before the check digit stay different from those of others.
        let own = number % 1000 / 10;
        let number = number.to_string();
        let is_one = |text: &str| OrgNumber::parse(text, CheckDigits::Required).is_ok();
        if !is_one(&number) || !text.contains(&number) {
            continue;
        }
        let other = (0..10)
            .map(|digit| format!("98765{own:02}{digit}"))
            .flat_map(|start| (0..10).map(move |digit| format!("{start}{digit}")))
            .find(|other| is_one(other))
            .expect("one of them has the right check digit");
        text = text.replace(&number, &other);
    }
    text
}

fn renamed(text: &str) -> String {
    let named = NAMES.iter().fold(text.to_owned(), |text, (name, other)| text.replace(name, other));
    let users = (1..=4).fold(named, |text, number| {
        text.replace(&format!("\"S{number}\""), &format!("\"Robot{number}\""))
            .replace(&format!("system user S{number}"), &format!("system user Robot{number}"))
            .replace(&format!("\"s{number}\""), &format!("\"robot{number}\""))
            .replace(&format!("{{T:s{number}}}"), &format!("{{T:robot{number}}}"))
    });
    let keys = [("k1", "first-key"), ("k2", "second-key")];
    let around = [("\"", "\""), ("\\\"", "\\\""), (":", "}"), (":", "|"), ("=", "}"), ("=", "|")];
    let with_keys = keys.into_iter().fold(users, |text, (key, other)| {
        around.into_iter().fold(text, |text, (before, after)| {
            text.replace(&format!("{before}{key}{after}"), &format!("{before}{other}{after}"))
        })
    });
    renumbered(&with_keys)
}

/// The suite of `folder` with every name of its world replaced, restricted to `kinds`.
pub(crate) fn run(folder: &Path, kinds: &[&str]) -> Totals {
    let there = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).expect("text");
            let name = path.file_name().expect("a name");
            std::fs::write(there.path().join(name), renamed(&text)).expect("written");
        }
    }
    let suite = Suite::read(&there.path().join("world.json"), there.path());
    let suite = suite.unwrap_or_else(|why| panic!("{why}"));
    let mut all = Totals::default();
    for kind in kinds {
        let totals = suite.run(kind, &mut |line| println!("{line}"));
        println!("{kind}, renamed: {totals}");
        all.add(totals);
    }
    all
}
