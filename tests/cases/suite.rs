//! A world file and a folder of cases, and what came of each of them: a line for each that differs or is
//! left out, and the totals.

use crate::run::{Runner, Verdict};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Cases that come out otherwise than their file says: id and reason.
const KNOWN_DIFFERENCES: [(&str, &str); 0] = [];

/// Every case of a folder, and the world that they are run in.
pub(crate) struct Suite {
    runner: Runner,
    cases: Vec<Value>,
}

/// How many cases there were, and what came of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    pub(crate) cases: usize,
    /// Otherwise than their file says, and nobody knew.
    pub(crate) differ: usize,
    pub(crate) known: usize,
    pub(crate) left_out: usize,
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.differ += other.differ;
        self.known += other.known;
        self.left_out += other.left_out;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ran = self.cases - self.left_out;
        let (cases, differ, left_out) = (self.cases, self.differ, self.left_out);
        write!(f, "{cases} cases, {ran} run, {differ} differ, {left_out} left out")?;
        if self.known > 0 {
            write!(f, ", {} differ as known", self.known)?;
        }
        Ok(())
    }
}

fn json(path: &Path) -> Result<Value, String> {
    let told = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read(path).map_err(|error| told(&error))?;
    serde_json::from_slice(&text).map_err(|error| told(&error))
}

impl Suite {
    /// Reads a world, and every file of `folder` that lists cases.
    pub(crate) fn read(world: &Path, folder: &Path) -> Result<Self, String> {
        let told = |error: std::io::Error| format!("{}: {error}", folder.display());
        let entries: Result<Vec<PathBuf>, _> =
            std::fs::read_dir(folder).map_err(told)?.map(|entry| Ok(entry?.path())).collect();
        let mut files = entries.map_err(told)?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        let mut cases = Vec::new();
        for path in files {
            // A world is no list of cases.
            let file = json(&path)?;
            let Some(listed) = file["cases"].as_array() else { continue };
            if listed.is_empty() {
                return Err(format!("{} has no cases", path.display()));
            }
            cases.extend(listed.iter().cloned());
        }
        if cases.is_empty() {
            return Err(format!("{} has no cases", folder.display()));
        }
        let all: String = cases.iter().map(Value::to_string).collect();
        let runner =
            Runner::new(json(world)?, &all).map_err(|why| format!("{}: {why}", world.display()))?;
        Ok(Self { runner, cases })
    }

    /// The kinds of the cases.
    pub(crate) fn kinds(&self) -> BTreeSet<String> {
        let kind = |case: &Value| case["kind"].as_str().unwrap_or_default().to_owned();
        self.cases.iter().map(kind).collect()
    }

    /// Runs every case of a kind. `say` is given a line for each that is not as its file says.
    pub(crate) fn run(&self, kind: &str, say: &mut dyn FnMut(&str)) -> Totals {
        let mut totals = Totals::default();
        let mut shared = None;
        let of_kind = |case: &&Value| case["kind"].as_str().unwrap_or_default() == kind;
        for case in self.cases.iter().filter(of_kind) {
            let name = format!("{} ({})", case["id"], case["title"]).replace('"', "");
            let known = KNOWN_DIFFERENCES.iter().find(|(known, _)| case["id"] == *known);
            totals.cases += 1;
            match (self.runner.run(case, &mut shared), known) {
                (Verdict::LeftOut(reason), _) => {
                    totals.left_out += 1;
                    say(&format!("{name} is left out: {reason}"));
                }
                (Verdict::Ran(found), None) if found.is_empty() => {}
                (Verdict::Ran(found), None) => {
                    totals.differ += 1;
                    say(&one_line(&format!("{name} differs: {}", found.join("; "))));
                }
                (Verdict::Ran(found), Some(_)) if found.is_empty() => {
                    totals.differ += 1;
                    say(&format!("{name} differs no longer"));
                }
                (Verdict::Ran(found), Some((_, reason))) => {
                    totals.known += 1;
                    let found = found.join("; ");
                    say(&one_line(&format!("{name} differs, as known ({reason}): {found}")));
                }
            }
        }
        totals
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
