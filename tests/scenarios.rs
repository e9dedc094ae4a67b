//! The sandbox's stories of the patterns of use, to their end: a call through the real program with the routes of
//! `config/sandbox.yaml`, and its neighbour that is refused.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use portvakt_sandbox::{Scenario, ScenarioOptions, run_scenario};
use support::World;

#[tokio::test]
async fn every_pattern_of_use_ends_with_a_permitted_call_and_a_refused_one() {
    let (_, routes) = include_str!("../config/sandbox.yaml").split_once("\nroutes:").unwrap();
    let world = World::start_with(&format!("routes:{routes}")).await;
    for scenario in [Scenario::Own, Scenario::Supplier, Scenario::Client, Scenario::Auditor] {
        let options = ScenarioOptions {
            scenario,
            sandbox: world.sandbox.altinn_url().to_owned(),
            proxy: Some(world.proxy.url()),
        };
        let steps = run_scenario(&options).await;
        let steps = steps.unwrap_or_else(|error| panic!("{scenario:?}: {error}"));
        let outcomes: Vec<&str> = steps.iter().map(|step| step.outcome.as_str()).collect();
        assert!(outcomes.ends_with(&["permitted", "refused"]), "{scenario:?}: {outcomes:?}");
    }
    assert_eq!(world.upstream.received().len(), 4, "only permitted calls reach the upstream");
}
