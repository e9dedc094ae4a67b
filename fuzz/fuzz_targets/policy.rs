//! Any bytes as a policy: read, evaluated in both readings, and specialised to every right of a few. What is
//! derived as a permit must be one in both readings, whatever else a request holds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portvakt::domain::delegation::PackageId;
use portvakt::domain::policy::{Category, Decision, Derived, Policy, Request};
use portvakt::domain::resource::Right;

const RESOURCES: [&str; 3] =
    ["nav_sykepenger_dialog", "ttd-externalpdp-resource1", "app_ttd_apps-test"];
const ACTIONS: [&str; 2] = ["read", "access"];
const ACTION: &str = "urn:oasis:names:tc:xacml:1.0:action:action-id";

fn request(right: &Right, held: &[&PackageId], more: bool) -> Request {
    let resource = right.resource.as_str();
    let mut request = Request::default()
        .with(
            Category::Subject,
            "urn:altinn:systemuser:uuid",
            "47caea5b-a80b-4343-b1d3-31eb523a4e28",
        )
        .with(Category::Resource, "urn:altinn:resource", resource)
        .with(Category::Action, ACTION, right.action.as_str());
    if let Some((org, app)) = resource.strip_prefix("app_").and_then(|app| app.split_once('_')) {
        request = request.with(Category::Resource, "urn:altinn:org", org).with(
            Category::Resource,
            "urn:altinn:app",
            app,
        );
    }
    for package in held {
        request = request.with(Category::Subject, "urn:altinn:accesspackage", package.as_str());
    }
    if more {
        request = request
            .with(Category::Subject, "urn:altinn:rolecode", "dagl")
            .with(Category::Resource, "urn:altinn:partyid", "50001337")
            .with(Category::Resource, "urn:altinn:organization:identifier-no", "310000027");
    }
    request
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(policy) = Policy::parse(bytes) else { return };
    let half: Vec<&PackageId> = policy.packages().iter().step_by(2).collect();
    let all: Vec<&PackageId> = policy.packages().iter().collect();
    for (resource, action) in
        RESOURCES.into_iter().flat_map(|id| ACTIONS.map(|action| (id, action)))
    {
        let right = Right { resource: resource.parse().unwrap(), action: action.parse().unwrap() };
        let compiled = policy.compile(&right);
        for held in [&[][..], &half, &all] {
            let requests = [false, true].map(|more| request(&right, held, more));
            let permits = requests.map(|request| {
                let readings = [policy.evaluate(&request), policy.evaluate_standard(&request)];
                readings.iter().all(|found| found.decision == Decision::Permit)
            });
            let Ok(compiled) = &compiled else { continue };
            let derived = compiled.derive(|package| held.contains(&package)) == Derived::Permit;
            assert!(!derived || permits == [true, true]);
            let _ = compiled.explain(|package| held.contains(&package)).to_string();
        }
    }
});
