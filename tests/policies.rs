//! Policies from others: conformance cases of OASIS, Altinn's own policies with requests made for them, and
//! decision requests and answers as they look on the wire.
//!
//! The data are not part of this repository; `PORTVAKT_CONFORMANCE` names their folder. Every case is run or
//! stands, with its reason, among those that are left out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells what it ran"
)]

mod support;

#[path = "policies/altinn.rs"]
mod altinn;
#[path = "policies/attacks.rs"]
mod attacks;
#[path = "policies/build.rs"]
mod build;
#[path = "policies/cases.rs"]
mod cases;
#[path = "policies/derive.rs"]
mod derive;
#[path = "policies/oasis.rs"]
mod oasis;
#[path = "policies/pairs.rs"]
mod pairs;
#[path = "policies/readings.rs"]
mod readings;
#[path = "conformance/vectors.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod vectors;
#[path = "policies/wire.rs"]
mod wire;

use portvakt::domain::policy::{Attribute, Category, Request};
use serde_json::Value;

/// XACML's own attribute, a URI wherever a policy asks for it.
const RESOURCE_ID: &str = "urn:oasis:names:tc:xacml:1.0:resource:resource-id";

/// A request of the kind `{subject: [[id, value], …], resource: …, action: …}`. It has no types: all are strings,
/// but for the one attribute that only a policy of OASIS among Altinn's asks for, as a URI.
fn request(of: &Value) -> Request {
    let categories = [
        ("subject", Category::Subject),
        ("resource", Category::Resource),
        ("action", Category::Action),
    ];
    let mut attributes = Vec::new();
    for (name, category) in categories {
        for pair in of[name].as_array().expect("a list of pairs") {
            let [id, value] = [0, 1].map(|part| pair[part].as_str().expect("text"));
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
    Request::new(attributes)
}
