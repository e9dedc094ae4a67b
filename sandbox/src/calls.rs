//! What was asked of the sandbox: counts per endpoint and the latest questions. Tokens never come here.

use crate::faults::Endpoint;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

const KEPT: usize = 100;

/// The record of calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    counts: BTreeMap<Endpoint, u64>,
    questions: VecDeque<Value>,
}

impl Calls {
    pub(crate) fn count(&mut self, endpoint: Endpoint) {
        *self.counts.entry(endpoint).or_default() += 1;
    }

    /// Remembers a question, forgetting the oldest.
    pub(crate) fn question(&mut self, question: Value) {
        self.questions.push_back(question);
        if self.questions.len() > KEPT {
            self.questions.pop_front();
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let counts: BTreeMap<Endpoint, u64> = Endpoint::ALL
            .iter()
            .map(|endpoint| (*endpoint, self.counts.get(endpoint).copied().unwrap_or(0)))
            .collect();
        json!({ "counts": counts, "questions": self.questions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_hundred_questions_are_kept() {
        let mut calls = Calls::default();
        for number in 0..=KEPT {
            calls.question(json!(number));
        }
        let questions = calls.to_json()["questions"].clone();
        assert_eq!(questions.as_array().map(Vec::len), Some(KEPT));
        assert_eq!(questions[0], 1);
    }
}
