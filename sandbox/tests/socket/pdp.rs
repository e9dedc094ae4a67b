//! Decisions and the shapes in which they are answered.

use crate::lab::{Lab, attribute, organization, question, user};
use serde_json::{Value, json};

const STATUS: &str = "urn:oasis:names:tc:xacml:1.0:status:";

#[tokio::test]
async fn decisions_follow_the_seed_world() {
    let lab = Lab::start().await;
    // system user, party, resource, action, decision; each permit has a neighbour that is refused
    let table = [
        (1, "310000507", "ske-mva-melding", "write", "Permit"),
        (1, "310000507", "ske-mva-melding", "sign", "NotApplicable"),
        (1, "310000604", "ske-mva-melding", "write", "NotApplicable"),
        (1, "310000515", "ske-mva-melding", "write", "Permit"),
        (1, "310000507", "ske-krav-og-betalinger", "read", "Permit"),
        (1, "310000507", "ske-krav-og-betalinger", "write", "NotApplicable"),
        (2, "310000604", "ske-krav-og-betalinger", "read", "Permit"),
        (2, "310000604", "ske-krav-og-betalinger", "write", "NotApplicable"),
        (3, "310000604", "ske-krav-og-betalinger", "write", "Permit"),
        (3, "310000604", "ske-forskuddsskatt", "read", "Permit"),
        (3, "310000604", "ske-forskuddsskatt", "write", "NotApplicable"),
        (4, "310000701", "ske-a-melding", "write", "Permit"),
        (4, "310000736", "ske-mva-melding", "read", "Permit"),
        (4, "310000736", "ske-mva-melding", "write", "NotApplicable"),
        (4, "310000744", "ske-a-melding", "read", "NotApplicable"),
        (4, "310000302", "ske-a-melding", "read", "NotApplicable"),
        (5, "310000612", "ske-saravgift", "write", "Permit"),
        (6, "310000620", "ske-saravgift", "read", "Permit"),
        (6, "310000620", "ske-saravgift", "write", "Deny"),
        (7, "310000604", "ske-saravgift", "read", "Deny"),
        (1, "310000612", "ske-saravgift", "access", "Permit"),
        (1, "310000612", "ske-saravgift", "read", "NotApplicable"),
        (9, "310000507", "ske-mva-melding", "read", "Permit"),
        (8, "310000906", "ske-mva-melding", "read", "NotApplicable"),
        (10, "310000507", "ske-mva-melding", "read", "NotApplicable"),
        (11, "310000515", "ske-a-melding", "read", "Permit"),
        (11, "310000507", "ske-a-melding", "read", "NotApplicable"),
        (11, "310000523", "ske-a-melding", "read", "NotApplicable"),
        (1, "310000507", "ske-dokumentinnsyn", "read", "Permit"),
        (2, "310000604", "ske-dokumentinnsyn", "read", "Deny"),
        (11, "310000515", "ske-dokumentinnsyn", "read", "Deny"),
        (1, "310000507", "ske-skjermet-skattegrunnlag", "read", "Permit"),
        (1, "310000507", "ske-arkiv", "read", "Permit"),
        (1, "310000507", "ske-arkiv", "write", "Deny"),
        (12, "310000701", "ske-utlegg", "read", "Permit"),
        (1, "310000507", "ske-utlegg", "read", "NotApplicable"),
        (77, "310000507", "ske-mva-melding", "read", "NotApplicable"),
    ];
    for (number, party, resource, action, decision) in table {
        let got = lab.decision(number, party, resource, action).await;
        assert_eq!(got, decision, "{number} {party} {resource} {action}");
    }
}

fn result(decision: &str, status: &str, obligations: &Value) -> Value {
    json!({ "response": [{
        "decision": decision,
        "status": {
            "statusMessage": null,
            "statusDetails": null,
            "statusCode": { "value": format!("{STATUS}{status}"), "statusCode": null },
        },
        "obligations": obligations,
        "associateAdvice": null,
        "category": null,
        "policyIdentifierList": null,
    }] })
}

#[tokio::test]
async fn a_permit_carries_the_minimum_level_and_writes_every_null() {
    let lab = Lab::start().await;
    let ask = async |resource: &str, action: &str| {
        let request = question(&user(1), &[organization("310000507")], resource, action);
        lab.authorize(&request).await
    };
    let level = |level: &str| {
        json!([{ "id": "urn:altinn:obligation:1", "attributeAssignment": [{
            "attributeId": "urn:altinn:obligation-assignment:1", "value": level,
            "category": "urn:altinn:minimum-authenticationlevel",
            "dataType": "http://www.w3.org/2001/XMLSchema#integer", "issuer": null,
        }] }])
    };
    let mva = ask("ske-mva-melding", "read").await;
    assert_eq!(mva, result("Permit", "ok", &level("3")));
    let shielded = ask("ske-skjermet-skattegrunnlag", "read").await;
    assert_eq!(shielded, result("Permit", "ok", &level("4")));
    assert_eq!(ask("ske-mva-melding", "x").await, result("NotApplicable", "ok", &Value::Null));
    assert_eq!(ask("ske-arkiv", "write").await, result("Deny", "ok", &Value::Null));
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_one_indeterminate_with_its_status() {
    let lab = Lab::start().await;
    let org = || organization("310000507");
    let good = question(&user(1), &[org()], "ske-mva-melding", "read");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut request = good.clone();
        change(&mut request["Request"]);
        request
    };
    let two_subjects = changed(&|request| {
        let subject = request["AccessSubject"][0]["Attribute"].as_array_mut().unwrap();
        subject.push(attribute("urn:altinn:userid", "1"));
    });
    let bad_type = changed(&|request| {
        request["Action"][0]["Attribute"][0]["DataType"] = json!("urn:strange");
    });
    let without = |member: &'static str| {
        changed(&|request| {
            request.as_object_mut().unwrap().remove(member);
        })
    };
    let on =
        |party: &[Value], resource: &str, action: &str| question(&user(1), party, resource, action);
    let table = [
        ("unknown resource", on(&[org()], "no-such", "read"), "processing-error"),
        ("no policy", on(&[org()], "ske-uten-policy", "read"), "processing-error"),
        ("bad guid", question("x", &[org()], "ske-mva-melding", "read"), "processing-error"),
        ("two subject attributes", two_subjects, "processing-error"),
        ("data type", bad_type, "processing-error"),
        ("no subject", without("AccessSubject"), "processing-error"),
        ("no resource", without("Resource"), "processing-error"),
        ("list, no party", on(&[], "ske-saravgift", "access"), "processing-error"),
        ("no subresource", on(&[org()], "ske-fastsetting", "read"), "missing-attribute"),
        (
            "unknown number",
            on(&[organization("310000914")], "ske-mva-melding", "read"),
            "syntax-error",
        ),
        (
            "person",
            on(&[attribute("urn:altinn:person:identifier-no", "x")], "ske-mva-melding", "read"),
            "syntax-error",
        ),
    ];
    for (name, request, status) in table {
        let answer = lab.authorize(&request).await;
        assert_eq!(answer, result("Indeterminate", status, &Value::Null), "{name}");
    }
}

#[tokio::test]
async fn a_party_is_found_by_every_kind_of_identifier() {
    let lab = Lab::start().await;
    let uuid = "a0000000-0000-4000-8000-000310000507";
    let table = [
        ("urn:altinn:organization:identifier-no", "310000507", "Permit"),
        ("urn:altinn:organizationnumber", "310000507", "Permit"),
        ("urn:altinn:party:uuid", uuid, "Permit"),
        ("urn:altinn:partyid", "51000507", "Permit"),
        ("urn:altinn:party:uuid", "a0000000-0000-4000-8000-000310000914", "NotApplicable"),
        ("urn:altinn:partyid", "51999999", "NotApplicable"),
    ];
    for (id, value, decision) in table {
        let request = question(&user(1), &[attribute(id, value)], "ske-mva-melding", "read");
        let answer = lab.authorize(&request).await;
        assert_eq!(answer["response"][0]["decision"], decision, "{id} {value}");
    }
}

#[tokio::test]
async fn a_system_user_in_capitals_keeps_its_packages_and_loses_its_single_rights() {
    let lab = Lab::start().await;
    for (number, party, decision) in [(1, "310000507", "Permit"), (2, "310000604", "NotApplicable")]
    {
        let id = user(number).to_uppercase();
        let request = question(&id, &[organization(party)], "ske-krav-og-betalinger", "read");
        assert_eq!(decisions(&lab.authorize(&request).await), [decision], "{number}");
    }
}

#[tokio::test]
async fn rules_compare_strings_and_see_no_other_type() {
    let lab = Lab::start().await;
    let integer = "http://www.w3.org/2001/XMLSchema#integer";
    for category in ["Action", "Resource"] {
        let party = [organization("310000507")];
        let mut request = question(&user(1), &party, "ske-mva-melding", "read");
        let attribute = &mut request["Request"][category][0]["Attribute"][0];
        attribute["DataType"] = json!("string");
        assert_eq!(decisions(&lab.authorize(&request).await), ["Permit"], "{category}");
        request["Request"][category][0]["Attribute"][0]["DataType"] = json!(integer);
        assert_eq!(decisions(&lab.authorize(&request).await), ["NotApplicable"], "{category}");
    }
}

#[tokio::test]
async fn a_sub_resource_opens_the_rule_that_names_it() {
    let lab = Lab::start().await;
    for (part, decision) in [("fastsetting", "Permit"), ("annet", "NotApplicable")] {
        let party = [organization("310000507"), attribute("urn:altinn:subresource", part)];
        let request = question(&user(1), &party, "ske-fastsetting", "read");
        assert_eq!(lab.authorize(&request).await["response"][0]["decision"], decision, "{part}");
    }
}

/// A multi request of one system user: every (resource id, resource, action) is one reference.
fn multi(parts: &[(&str, &str)]) -> Value {
    let mut request = json!({ "Request": {
        "AccessSubject": [{ "Id": "s1", "Attribute": [
            { "AttributeId": "urn:altinn:systemuser:uuid", "Value": user(1), "IncludeInResult": true },
        ] }],
        "Action": [], "Resource": [], "MultiRequests": { "RequestReference": [] },
    } });
    let body = &mut request["Request"];
    let push = |list: &mut Value, item: Value| list.as_array_mut().unwrap().push(item);
    for (number, (resource, action)) in (1..).zip(parts) {
        let (action_id, resource_id) = (format!("a{number}"), format!("r{number}"));
        push(
            &mut body["Action"],
            json!({ "Id": action_id, "Attribute": [
                attribute("urn:oasis:names:tc:xacml:1.0:action:action-id", action),
            ] }),
        );
        push(
            &mut body["Resource"],
            json!({ "Id": resource_id, "Attribute": [
                { "AttributeId": "urn:altinn:resource", "Value": resource, "IncludeInResult": true },
                organization("310000507"),
            ] }),
        );
        push(
            &mut body["MultiRequests"]["RequestReference"],
            json!({ "ReferenceId": ["s1", action_id, resource_id] }),
        );
    }
    request
}

fn decisions(answer: &Value) -> Vec<String> {
    let results = answer["response"].as_array().unwrap().iter();
    results.map(|result| result["decision"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_multi_request_is_answered_in_reference_order_with_what_was_asked_back() {
    let lab = Lab::start().await;
    let parts = [("ske-mva-melding", "write"), ("ske-utlegg", "read"), ("ske-arkiv", "write")];
    let answer = lab.authorize(&multi(&parts)).await;
    assert_eq!(decisions(&answer), ["Permit", "NotApplicable", "Deny"]);
    let category = answer["response"][1]["category"].as_array().unwrap();
    assert_eq!(category.len(), 2);
    assert!(category[0]["categoryId"].as_str().unwrap().ends_with("access-subject"));
    assert_eq!(
        category[1],
        json!({
            "categoryId": "urn:oasis:names:tc:xacml:3.0:attribute-category:resource",
            "id": null, "content": null,
            "attribute": [{
                "attributeId": "urn:altinn:resource", "value": "ske-utlegg", "issuer": null,
                "dataType": "http://www.w3.org/2001/XMLSchema#string", "includeInResult": false,
            }],
        })
    );
}

#[tokio::test]
async fn one_part_that_fails_takes_the_whole_answer_with_it() {
    let lab = Lab::start().await;
    let answer = lab.authorize(&multi(&[("ske-mva-melding", "read"), ("no-such", "read")])).await;
    assert_eq!(answer, result("Indeterminate", "processing-error", &Value::Null));
    // A missing attribute is an evaluated answer, not a failure.
    let parts = [("ske-mva-melding", "read"), ("ske-fastsetting", "read")];
    assert_eq!(decisions(&lab.authorize(&multi(&parts)).await), ["Permit", "Indeterminate"]);
    let mut nameless = multi(&[("ske-mva-melding", "read"), ("ske-arkiv", "read")]);
    nameless["Request"]["Action"][0]["Id"] = Value::Null;
    let answer = lab.authorize(&nameless).await;
    assert_eq!(answer, result("Indeterminate", "syntax-error", &Value::Null));
}

#[tokio::test]
async fn one_reference_is_no_multi_request() {
    let lab = Lab::start().await;
    let mut request = multi(&[("ske-arkiv", "read"), ("ske-mva-melding", "read")]);
    let references = &mut request["Request"]["MultiRequests"]["RequestReference"];
    references.as_array_mut().unwrap().truncate(1);
    let answer = lab.authorize(&request).await;
    assert_eq!(decisions(&answer).len(), 1);
}

#[tokio::test]
async fn member_names_are_read_in_any_letter_case() {
    let lab = Lab::start().await;
    let request = question(&user(1), &[organization("310000507")], "ske-mva-melding", "read");
    let lower = request.to_string();
    let lower = ["Request", "AccessSubject", "Attribute", "Action", "Resource"]
        .iter()
        .fold(lower, |text, name| {
            text.replace(&format!("\"{name}\""), &format!("\"{}\"", name.to_lowercase()))
        });
    let answer = lab.authorize(&serde_json::from_str(&lower).unwrap()).await;
    assert_eq!(decisions(&answer), ["Permit"]);
}
