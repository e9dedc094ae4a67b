//! The stories of the three patterns of use, told to a running sandbox.

use crate::lab::Lab;
use portvakt_sandbox::{Scenario, ScenarioError, ScenarioOptions, run_scenario};
use serde_json::json;

fn options(lab: &Lab, scenario: Scenario) -> ScenarioOptions {
    ScenarioOptions { scenario, sandbox: lab.sandbox.altinn_url().to_owned(), proxy: None }
}

#[tokio::test]
async fn every_pattern_goes_from_registration_to_a_permit_twice() {
    let lab = Lab::start().await;
    for scenario in [Scenario::Own, Scenario::Supplier, Scenario::Client, Scenario::Auditor] {
        for run in ["first", "second"] {
            let steps = run_scenario(&options(&lab, scenario)).await;
            let steps = steps.unwrap_or_else(|error| panic!("{scenario:?}, {run}: {error}"));
            let outcomes: Vec<&str> = steps.iter().map(|step| step.outcome.as_str()).collect();
            assert!(outcomes.ends_with(&["Permit", "NotApplicable"]), "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn a_story_that_cannot_go_on_says_where() {
    let lab = Lab::start().await;
    let relation = json!({ "client": "310000744", "facilitator": "310000302" });
    lab.knob("DELETE", "/sandbox/relations", relation).await;
    let error = run_scenario(&options(&lab, Scenario::Client)).await.unwrap_err();
    let ScenarioError::Unexpected { what, body, .. } = error else { panic!("{error}") };
    assert_eq!(what, "a client administrator adds client 310000744");
    assert!(body.contains("AUTH-00079"), "{body}");
    let nowhere =
        ScenarioOptions { scenario: Scenario::Own, sandbox: "https://x".to_owned(), proxy: None };
    assert!(matches!(run_scenario(&nowhere).await, Err(ScenarioError::Address(_))));
}
