//! Reading a file of vectors, and counting what was run.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Reads `name` in `folder`; `None`, said aloud, where the data are not there at all.
pub(crate) fn read(folder: &str, name: &str) -> Option<Value> {
    let path: PathBuf = crate::support::conformance(folder)?.join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    )
}

/// The groups of a Wycheproof file.
pub(crate) fn groups(file: &Value) -> &[Value] {
    let groups = file["testGroups"].as_array().expect("groups");
    assert!(!groups.is_empty(), "a file without groups");
    groups
}

/// The tests of a group.
pub(crate) fn tests(group: &Value) -> &[Value] {
    let tests = group["tests"].as_array().expect("tests");
    assert!(!tests.is_empty(), "a group without tests");
    tests
}

/// What became of each vector of a file.
pub(crate) struct Tally {
    name: String,
    ran: usize,
    left_out: BTreeMap<String, Vec<String>>,
    differs: Vec<String>,
}

impl Tally {
    pub(crate) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ran: 0, left_out: BTreeMap::new(), differs: Vec::new() }
    }

    /// A vector that was run, and whether it came out as it must.
    pub(crate) fn ran(&mut self, id: &str, as_expected: Result<(), String>) {
        self.ran += 1;
        if let Err(difference) = as_expected {
            self.differs.push(format!("{id}: {difference}"));
        }
    }

    /// A vector that we decide not to meet.
    pub(crate) fn left_out(&mut self, id: &str, reason: &str) {
        self.left_out.entry(reason.to_owned()).or_default().push(id.to_owned());
    }

    /// Says what was run, and fails unless that is all and nothing differs.
    pub(crate) fn close(self, all: usize, known: usize) {
        let left_out: usize = self.left_out.values().map(Vec::len).sum();
        let ran = format!("{}: {} ran, {left_out} left out", self.name, self.ran);
        let reasons = self.left_out.iter();
        let reasons =
            reasons.map(|(reason, ids)| format!("  left out: {reason}: {}", ids.join(", ")));
        let told: Vec<String> = std::iter::once(ran).chain(reasons).collect();
        crate::support::say(&told.join("\n"));
        assert!(self.differs.is_empty(), "{}:\n{}", self.name, self.differs.join("\n"));
        assert_eq!(
            left_out, known,
            "{}: more or fewer are left out than the test lists",
            self.name
        );
        assert!(self.ran > 0, "{}: nothing was run", self.name);
        assert_eq!(self.ran + left_out, all, "{}: vectors are missing", self.name);
    }
}

/// `Ok` when `is` is as `must` says.
pub(crate) fn same(is: bool, must: bool, what: &str) -> Result<(), String> {
    if is == must { Ok(()) } else { Err(format!("{what}: {is}, must be {must}")) }
}
