//! Decision requests and responses from Altinn's tests: read, written in both forms, and read again.
//!
//! They were judged with roles and delegations that are not here, so nothing is evaluated.

use crate::support;
use crate::vectors::{Tally, read};
use crate::wire::{
    Asked, Told, decode, read_json_request, read_json_response, read_xml_request,
    read_xml_response, write_json_request, write_json_response, write_xml_request,
    write_xml_response,
};
use portvakt::domain::policy::Request;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn decision_requests_and_responses_are_read_and_written_in_both_forms() {
    let Some(index) = read("xacml/altinn/pairs", "index.json") else { return };
    let folder = support::conformance("xacml/altinn/pairs").expect("beside the index");
    let cases = index["cases"].as_array().expect("cases");
    let mut tally = Tally::of("xacml/altinn/pairs");
    for case in cases {
        tally.ran(case["id"].as_str().expect("an id"), judge(&folder, case));
    }
    tally.close(cases.len(), 0);
    assert_eq!(cases.len(), 39);
}

fn judge(folder: &Path, case: &Value) -> Result<(), String> {
    let (id, format) =
        (case["id"].as_str().expect("an id"), case["format"].as_str().expect("a format"));
    let source = |what: &str| {
        decode(
            &std::fs::read(folder.join(format!("{id}{what}.{format}")))
                .expect("a file of the pair"),
        )
    };
    let (asked, told) = match format {
        "xml" => (read_xml_request(&source("Request")?)?, read_xml_response(&source("Response")?)?),
        _ => (read_json_request(&source("Request")?)?, read_json_response(&source("Response")?)?),
    };
    is_as_told(case, &asked, &told)?;
    is_the_same_again(&asked, &told)
}

fn is_as_told(case: &Value, asked: &Asked, told: &[Told]) -> Result<(), String> {
    let text = |name: &str| -> Vec<String> {
        let list = case[name].as_array().expect("a list");
        list.iter().map(|one| one.as_str().expect("text").to_owned()).collect()
    };
    let decisions: Vec<String> = told.iter().map(|one| one.decision.clone()).collect();
    let obligations = told.iter().flat_map(|one| &one.obligations).map(|one| one.category.clone());
    let obligations: BTreeSet<String> = obligations.collect();
    let ids: BTreeSet<String> =
        asked.attributes.iter().flat_map(|of| &of.given).map(|given| given.id.clone()).collect();
    let attributes =
        text("attributes").into_iter().filter(|id| !ids.contains(id)).collect::<Vec<_>>();
    if decisions != text("expected") {
        Err(format!("decisions {decisions:?}"))
    } else if obligations != text("obligations").into_iter().collect() {
        Err(format!("obligations {obligations:?}"))
    } else if !attributes.is_empty() {
        Err(format!("attributes {attributes:?} are not read"))
    } else if case["multi"] != Value::Bool(!asked.references.is_empty()) {
        Err(format!("references {:?}", asked.references))
    } else {
        Ok(())
    }
}

/// The order of categories is the form's own.
fn sorted(asked: &Asked) -> Asked {
    let mut asked = asked.clone();
    asked.attributes.sort_by_key(|of| (of.category.clone(), of.id.clone()));
    asked
}

fn is_the_same_again(asked: &Asked, told: &[Told]) -> Result<(), String> {
    let again = [
        read_json_request(&write_json_request(asked).to_string())?,
        read_xml_request(&write_xml_request(asked))?,
    ];
    // JSON has no place for an empty category that is one of the usual three by name only.
    for one in again {
        if sorted(&one) != sorted(asked) {
            return Err(format!("{one:?}, not {asked:?}"));
        }
    }
    let again = [
        read_json_response(&write_json_response(told).to_string())?,
        read_xml_response(&write_xml_response(told))?,
    ];
    if again.iter().any(|one| one != told) {
        return Err(format!("{again:?}, not {told:?}"));
    }
    Ok(())
}

#[test]
fn an_absent_type_is_a_string_and_names_are_read_in_either_spelling() {
    let lower =
        r#"{"request":{"accessSubject":[{"attribute":[{"attributeId":"a","value":"x"}]}]}}"#;
    let upper =
        r#"{"Request":{"AccessSubject":[{"Attribute":[{"AttributeId":"a","Value":"x"}]}]}}"#;
    assert_eq!(read_json_request(lower), read_json_request(upper));
    let subject = portvakt::domain::policy::Category::Subject;
    assert_eq!(
        read_json_request(lower).unwrap().request(),
        Request::default().with(subject, "a", "x")
    );
    assert!(read_json_request(r#"{"Request":{},"request":{}}"#).is_err());
}
