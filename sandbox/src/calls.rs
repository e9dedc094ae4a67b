//! What was asked of the sandbox: counts per endpoint and the latest questions. Tokens never come here.

use crate::faults::Endpoint;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// Questions, and calls, that are kept.
pub(crate) const KEPT: usize = 100;

/// A call to a counted endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: i64,
    pub(crate) endpoint: String,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// `None` where the connection was closed without an answer.
    pub(crate) status: Option<u16>,
}

/// The record of calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    counts: BTreeMap<Endpoint, u64>,
    questions: VecDeque<(i64, Value)>,
    latest: VecDeque<Call>,
}

impl Calls {
    pub(crate) fn count(&mut self, endpoint: Endpoint) {
        *self.counts.entry(endpoint).or_default() += 1;
    }

    /// Remembers a question, forgetting the oldest.
    pub(crate) fn question(&mut self, at: i64, question: Value) {
        push(&mut self.questions, (at, question));
    }

    /// Remembers a call that has been answered.
    pub(crate) fn remember(&mut self, call: Call) {
        push(&mut self.latest, call);
    }

    /// The latest questions with their times, the oldest first.
    pub(crate) fn questions(&self) -> Vec<(i64, Value)> {
        self.questions.iter().cloned().collect()
    }

    /// The latest calls, the oldest first.
    pub(crate) fn latest(&self) -> Vec<Call> {
        self.latest.iter().cloned().collect()
    }

    /// How many questions and calls are kept.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.questions.len(), self.latest.len())
    }

    pub(crate) fn to_json(&self) -> Value {
        let counts: BTreeMap<Endpoint, u64> = Endpoint::ALL
            .iter()
            .map(|endpoint| (*endpoint, self.counts.get(endpoint).copied().unwrap_or(0)))
            .collect();
        let questions: Vec<&Value> = self.questions.iter().map(|(_, question)| question).collect();
        json!({ "counts": counts, "questions": questions })
    }
}

fn push<T>(kept: &mut VecDeque<T>, new: T) {
    kept.push_back(new);
    if kept.len() > KEPT {
        kept.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_hundred_questions_are_kept() {
        let mut calls = Calls::default();
        for number in 0..=KEPT {
            calls.question(0, json!(number));
        }
        let questions = calls.to_json()["questions"].clone();
        assert_eq!(questions.as_array().map(Vec::len), Some(KEPT));
        assert_eq!(questions[0], 1);
    }
}
