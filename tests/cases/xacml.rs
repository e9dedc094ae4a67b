//! Cases of policies: read and evaluated by the library, in both readings. There is no request to send.

use portvakt::domain::decision::check_obligations;
use portvakt::domain::policy::{Attribute, Category, Decision, Evaluation, Policy, Request};
use serde_json::Value;

type Told<T> = Result<T, String>;

/// XACML's own attribute, a URI wherever a policy asks for it.
const RESOURCE_ID: &str = "urn:oasis:names:tc:xacml:1.0:resource:resource-id";

/// A request of the kind `{subject: [[id, value], …], resource: …, action: …}`. It has no types: all are strings,
/// but for the one attribute that only a policy of OASIS among Altinn's asks for, as a URI.
pub(crate) fn request(of: &Value) -> Told<Request> {
    let categories = [
        ("subject", Category::Subject),
        ("resource", Category::Resource),
        ("action", Category::Action),
    ];
    let mut attributes = Vec::new();
    for (name, category) in categories {
        for pair in of[name].as_array().ok_or_else(|| format!("no list `{name}`"))? {
            let [Some(id), Some(value)] = [0, 1].map(|part| pair[part].as_str()) else {
                return Err("an attribute is a pair of texts".into());
            };
            let data_type = if id == RESOURCE_ID { "anyURI" } else { "string" };
            attributes.push(Attribute {
                category,
                id: id.to_owned(),
                issuer: None,
                data_type: format!("http://www.w3.org/2001/XMLSchema#{data_type}"),
                values: vec![value.to_owned()],
            });
        }
    }
    Ok(Request::new(attributes))
}

/// Judges one case.
pub(crate) fn judge(case: &Value) -> Told<()> {
    let expect = &case["expect"];
    let policy = match Policy::parse(case["policy"].as_str().ok_or("no `policy`")?.as_bytes()) {
        Err(_) if expect["load"] == "error" => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(policy) => policy,
    };
    let request = request(&case["request"])?;
    let readings = [policy.evaluate(&request), policy.evaluate_standard(&request)];
    readings.iter().try_for_each(|found| as_told(expect, found))
}

fn as_told(expect: &Value, found: &Evaluation) -> Told<()> {
    let decisions = match &expect["decision"] {
        Value::Null => expect["or_decision"].as_array().cloned().unwrap_or_default(),
        one => vec![one.clone()],
    };
    let enforced =
        found.decision == Decision::Permit && check_obligations(&found.obligations).is_ok();
    let enforced = if enforced { "permit" } else { "deny" };
    let obliged = |(category, value): (&String, &Value)| {
        found
            .obligations
            .iter()
            .any(|one| one.category == *category && *value == one.value.as_str())
    };
    let obligations = expect["obligations"].as_object();
    let right = decisions.iter().any(|one| *one == found.decision.to_string().as_str())
        && expect["enforced"].as_str().is_none_or(|told| told == enforced)
        && obligations.is_none_or(|told| told.iter().all(obliged));
    if right { Ok(()) } else { Err(format!("{found:?}, must be {expect}")) }
}
