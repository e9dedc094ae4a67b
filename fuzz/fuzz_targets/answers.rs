//! Any bytes as Altinn's answer to one question and to several. A permit is exactly one word of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portvakt::altinn::wire::{Several, read_answer, read_several};
use portvakt::domain::decision::Verdict;
use portvakt::domain::party::Party;
use portvakt::domain::resource::{Question, Right};
use serde_json::Value;

fn question(action: &str) -> Question {
    Question::new(
        "11111111-1111-4111-8111-111111111111".parse().unwrap(),
        Party::Organization("310000027".parse().unwrap()),
        Right { resource: "ex-returns".parse().unwrap(), action: action.parse().unwrap() },
        None,
    )
}

/// The decisions in an answer, as a common parser finds them; names in any case.
fn decisions(bytes: &[u8]) -> Vec<String> {
    fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
        let mut members = value.as_object()?.iter();
        members.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
    let answer: Value = serde_json::from_slice(bytes).unwrap();
    let results = member(&answer, "response").and_then(Value::as_array).unwrap();
    let decision = |result| member(result, "decision").and_then(Value::as_str).unwrap_or_default();
    results.iter().map(|result| decision(result).to_owned()).collect()
}

fuzz_target!(|bytes: &[u8]| {
    if read_answer(bytes) == Ok(Verdict::Permit) {
        assert_eq!(decisions(bytes), ["Permit"]);
    }
    let questions = ["read", "write"].map(question);
    if let Ok(Several::Each(verdicts)) = read_several(bytes, &questions) {
        assert_eq!(verdicts.len(), questions.len());
        for (verdict, decision) in verdicts.iter().zip(decisions(bytes)) {
            assert!(*verdict != Ok(Verdict::Permit) || decision == "Permit");
        }
    }
});
