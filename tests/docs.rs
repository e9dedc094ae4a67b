//! The documents name what the program has: every metric family, problem code, reason, audit field and
//! configuration key.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails by panicking")]

use portvakt::config::source;
use portvakt::enforce::rejection::Code;
use serde_json::Value;
use std::collections::BTreeSet;

const OPERATOR: &str = include_str!("../docs/operator.md");
const VENDOR: &str = include_str!("../docs/vendor.md");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");

/// Every text between `before` and a quotation mark in a source file, its tests left out.
fn quoted<'s>(source: &'s str, before: &str) -> BTreeSet<&'s str> {
    let source = source.split("#[cfg(test)]").next().unwrap_or(source);
    source.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[track_caller]
fn all_named<'n>(document: &str, names: impl IntoIterator<Item = &'n str>, least: usize) {
    let names: Vec<&str> = names.into_iter().collect();
    assert!(names.len() >= least, "only {} names were found to look for", names.len());
    let absent: Vec<&&str> =
        names.iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(absent.is_empty(), "not in the document: {absent:#?}");
}

#[test]
fn every_metric_family_is_in_the_operators_document() {
    // Read from the source: a family without a sample is not in what `/metrics` renders.
    for (source, least) in [
        (include_str!("../src/telemetry/metrics.rs"), 25),
        (include_str!("../src/sync/metrics.rs"), 15),
    ] {
        let names = quoted(source, "\"portvakt_");
        let names: Vec<String> = names.iter().map(|name| format!("portvakt_{name}")).collect();
        all_named(OPERATOR, names.iter().map(String::as_str), least);
    }
}

#[test]
fn every_audit_field_is_in_the_operators_document() {
    let source = include_str!("../src/record.rs");
    let line = source.split("struct Line<'a> {").nth(1).and_then(|rest| rest.split("\n}").next());
    let fields = line.unwrap_or_default().lines().filter_map(|line| {
        let (name, _) = line.trim().split_once(": ")?;
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(name)
    });
    all_named(OPERATOR, fields, 20);
}

#[test]
fn every_problem_code_is_in_the_vendors_and_the_operators_document() {
    all_named(VENDOR, Code::ALL.map(Code::label), 20);
    all_named(OPERATOR, Code::ALL.map(Code::label), 20);
}

#[test]
fn every_reason_is_in_the_vendors_document() {
    let rejection = include_str!("../src/enforce/rejection.rs");
    let labels = [
        literals_of(include_str!("../src/enforce/authenticate.rs"), "impl TokenError"),
        literals_of(include_str!("../src/enforce/party.rs"), "impl PartyError"),
        literals_of(include_str!("../src/domain/decision.rs"), "impl Cause"),
        literals_of(rejection, "impl Malformed"),
        literals_of(rejection, "impl UpstreamFailure"),
    ];
    for labels in labels {
        all_named(VENDOR, labels, 4);
    }
}

/// The text literals of one block, which ends with a brace at the beginning of a line.
fn literals_of<'s>(source: &'s str, block: &str) -> Vec<&'s str> {
    let block =
        source.split(&format!("{block} {{")).nth(1).and_then(|rest| rest.split("\n}").next());
    block.unwrap_or_default().split('"').skip(1).step_by(2).collect()
}

#[test]
fn every_key_is_in_the_configurations_document() {
    let schema = source::schema();
    let mut keys = BTreeSet::new();
    collect(&schema, &schema, "", &mut keys);
    all_named(CONFIGURATION, keys.iter().map(String::as_str), 80);
}

/// Collects dotted keys, such as `routes[].match.path`. What `upstreams` holds by name has the keys of
/// `upstream`.
fn collect(schema: &Value, at: &Value, path: &str, keys: &mut BTreeSet<String>) {
    if let Some(name) = at["$ref"].as_str() {
        let target = schema.pointer(name.trim_start_matches('#')).expect("a definition");
        return collect(schema, target, path, keys);
    }
    if at["items"].is_object() {
        collect(schema, &at["items"], &format!("{path}[]"), keys);
    }
    for (name, value) in at["properties"].as_object().into_iter().flatten() {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(schema, value, &key, keys);
        keys.insert(key);
    }
}
