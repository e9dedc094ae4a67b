//! What is wrong with a configuration: every problem with its place and its cure.
//!
//! No secret gets in here: messages name keys, never values, and a snippet is withheld where a line
//! belongs to a key that holds a secret.

use std::cell::RefCell;
use std::fmt;

/// Most problems that one run shows: a file with more is of another kind altogether.
const MOST: usize = 1000;

/// Where a value stands, and which key it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The key's path, such as `routes[0].match.path`; empty for the whole file.
    pub key: String,
    /// Line from 1; 0 when the value stands in no file.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub cure: String,
    /// The line as written, unless it may show a secret.
    pub snippet: Option<String>,
}

/// Everything that is wrong with one configuration file, in the order of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors {
    file: String,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
        Self { file: file.to_owned(), problems }
    }

    /// The problems; at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file)?;
            if problem.place.line > 0 {
                write!(f, "{}:{}:", problem.place.line, problem.place.column)?;
            }
            if !problem.place.key.is_empty() {
                write!(f, " {}:", problem.place.key)?;
            }
            write!(f, " {}", problem.message)?;
            if let Some(snippet) = &problem.snippet {
                write!(f, "\n   | {snippet}")?;
            }
            write!(f, "\n   = mend: {}", problem.cure)?;
        }
        if self.problems.len() == MOST {
            write!(f, "\n{}: only the first {MOST} problems are shown", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Place {
    /// The place of a key that is missing in the section which stands here.
    pub(super) fn child(&self, name: &str) -> Self {
        let key =
            if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Self { key, ..*self }
    }
}

/// Collects problems, so that one run reports them all.
#[derive(Debug, Default)]
pub(super) struct Sink {
    problems: RefCell<Vec<Problem>>,
}

impl Sink {
    /// Something written is wrong. Its line is filled in once the text is at hand.
    pub(super) fn report(
        &self,
        place: &Place,
        message: impl fmt::Display,
        cure: impl fmt::Display,
    ) {
        self.push(place, &message, &cure, Some(String::new()));
    }

    /// Something is not written: there is no line to show.
    pub(super) fn report_absent(
        &self,
        place: &Place,
        message: impl fmt::Display,
        cure: impl fmt::Display,
    ) {
        self.push(place, &message, &cure, None);
    }

    fn push(
        &self,
        place: &Place,
        message: &dyn fmt::Display,
        cure: &dyn fmt::Display,
        snippet: Option<String>,
    ) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < MOST {
            let (place, message, cure) = (place.clone(), message.to_string(), cure.to_string());
            problems.push(Problem { place, message, cure, snippet });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}
