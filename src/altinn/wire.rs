//! The XACML JSON profile as Altinn speaks it: one question out, one verdict in. Pure.
//!
//! Source: contract authorization.md §2.2, §3. What is not exactly one understood result is no verdict.

use crate::domain::decision::{Cause, Obligation, UnmetObligation, Verdict, check_obligations};
use crate::domain::json::Json;
use crate::domain::resource::Question;
use serde::Serialize;

/// Largest answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

const SYSTEM_USER: &str = "urn:altinn:systemuser:uuid";
const ACTION: &str = "urn:oasis:names:tc:xacml:1.0:action:action-id";
const RESOURCE: &str = "urn:altinn:resource";
const INSTANCE: &str = "urn:altinn:resource:instance-id";
const STRING: &str = "http://www.w3.org/2001/XMLSchema#string";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawEnvelope<'a> {
    request: RawRequest<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawRequest<'a> {
    return_policy_id_list: bool,
    // One of each: a bag matches when any of its members does (threat 55).
    access_subject: [RawCategory<'a>; 1],
    action: [RawCategory<'a>; 1],
    resource: [RawCategory<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawCategory<'a> {
    attribute: Vec<RawAttribute<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawAttribute<'a> {
    attribute_id: &'static str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_type: Option<&'static str>,
}

fn attribute<'a>(attribute_id: &'static str, value: &'a str) -> RawAttribute<'a> {
    RawAttribute { attribute_id, value, data_type: None }
}

/// The body that asks `question`: one subject, one action, one resource with one party. Holds the party's
/// number, for the wire only.
#[must_use]
pub fn request_body(question: &Question) -> Vec<u8> {
    let system_user = question.system_user().to_string();
    let party = question.party();
    let mut resource = vec![
        attribute(RESOURCE, question.resource().as_str()),
        attribute(party.attribute_id(), party.expose()),
    ];
    resource.extend(question.instance().map(|instance| attribute(INSTANCE, instance.as_str())));
    let action =
        RawAttribute { data_type: Some(STRING), ..attribute(ACTION, question.action().as_str()) };
    let envelope = RawEnvelope {
        request: RawRequest {
            return_policy_id_list: true,
            access_subject: [RawCategory { attribute: vec![attribute(SYSTEM_USER, &system_user)] }],
            action: [RawCategory { attribute: vec![action] }],
            resource: [RawCategory { attribute: resource }],
        },
    };
    // INVARIANT: structs of text and booleans always serialise into memory.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

/// Reads the answer to one question.
///
/// Member names are matched in any case, as Altinn writes both; two that differ in case only are refused.
///
/// # Errors
/// [`Cause::Indeterminate`] when that is the decision; [`Cause::Unreadable`] for everything that is not
/// exactly one result with one of the four decisions.
pub fn read_answer(bytes: &[u8]) -> Result<Verdict, Cause> {
    if bytes.len() > MAX_ANSWER_BYTES {
        return Err(Cause::Unreadable);
    }
    let answer = Json::parse(bytes).map_err(|_| Cause::Unreadable)?;
    let results = member(&answer, "response")?.and_then(Json::as_array).ok_or(Cause::Unreadable)?;
    let [result] = results else {
        return Err(Cause::Unreadable);
    };
    match member(result, "decision")?.and_then(Json::as_str) {
        Some("Permit") => Ok(match read_obligations(member(result, "obligations")?)? {
            Ok(()) => Verdict::Permit,
            Err(unmet) => Verdict::Unmet(unmet),
        }),
        Some("Deny") => Ok(Verdict::Deny),
        Some("NotApplicable") => Ok(Verdict::NotApplicable),
        Some("Indeterminate") => Err(Cause::Indeterminate),
        Some(_) | None => Err(Cause::Unreadable),
    }
}

/// The member of this name in any case; `null` is as good as absent.
fn member<'a>(json: &'a Json, name: &str) -> Result<Option<&'a Json>, Cause> {
    let members = json.members().ok_or(Cause::Unreadable)?;
    let mut found = members.iter().filter(|(member, _)| member.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some((_, Json::Null)) | None, None) => Ok(None),
        (Some((_, value)), None) => Ok(Some(value)),
        (_, Some(_)) => Err(Cause::Unreadable),
    }
}

fn read_obligations(obligations: Option<&Json>) -> Result<Result<(), UnmetObligation>, Cause> {
    let Some(obligations) = obligations else {
        return Ok(Ok(()));
    };
    let mut demands = Vec::new();
    for obligation in obligations.as_array().ok_or(Cause::Unreadable)? {
        let assignments = member(obligation, "attributeAssignment")?.and_then(Json::as_array);
        let Some(assignments) = assignments.filter(|assignments| !assignments.is_empty()) else {
            return Ok(Err(UnmetObligation::UnknownCategory));
        };
        for assignment in assignments {
            let text = |name| Ok::<_, Cause>(member(assignment, name)?.and_then(Json::as_str));
            // An absent category is an unknown one, an absent value an unreadable one: both close.
            let category = text("category")?.unwrap_or_default().to_owned();
            demands.push(Obligation {
                category,
                value: text("value")?.unwrap_or_default().to_owned(),
            });
        }
    }
    Ok(check_obligations(&demands))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::party::Party;
    use crate::domain::resource::Right;
    use proptest::prelude::*;
    use serde_json::json;

    pub(crate) fn question() -> Question {
        asked(Party::Organization("310000027".parse().unwrap()), None)
    }

    fn asked(party: Party, instance: Option<&str>) -> Question {
        Question::new(
            "A545CA24-7AD2-4D2B-91C4-7D0ED2D7D3A1".parse().unwrap(),
            party,
            Right { resource: "ske-mva-melding".parse().unwrap(), action: "read".parse().unwrap() },
            instance.map(|instance| instance.parse().unwrap()),
        )
    }

    pub(crate) fn answer(decision: &str) -> String {
        json!({ "response": [{
            "decision": decision,
            "status": { "statusMessage": null, "statusDetails": null, "statusCode": {
                "value": "urn:oasis:names:tc:xacml:1.0:status:ok", "statusCode": null } },
            "obligations": null, "associateAdvice": null, "category": null, "policyIdentifierList": null,
        }] })
        .to_string()
    }

    fn with_obligations(obligations: &serde_json::Value) -> Result<Verdict, Cause> {
        let answer = json!({ "response": [{ "decision": "Permit", "obligations": obligations }] });
        read_answer(answer.to_string().as_bytes())
    }

    fn level(value: &serde_json::Value) -> serde_json::Value {
        json!({ "id": "urn:altinn:obligation:1", "attributeAssignment": [{
            "attributeId": "urn:altinn:obligation-assignment:1", "value": value,
            "category": "urn:altinn:minimum-authenticationlevel",
            "dataType": "http://www.w3.org/2001/XMLSchema#integer", "issuer": null }] })
    }

    #[test]
    fn the_question_is_written_as_the_contract_has_it() {
        let body: serde_json::Value = serde_json::from_slice(&request_body(&question())).unwrap();
        assert_eq!(
            body,
            json!({ "Request": {
                "ReturnPolicyIdList": true,
                "AccessSubject": [{ "Attribute": [{ "AttributeId": "urn:altinn:systemuser:uuid",
                    "Value": "a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1" }] }],
                "Action": [{ "Attribute": [{ "AttributeId": "urn:oasis:names:tc:xacml:1.0:action:action-id",
                    "Value": "read", "DataType": "http://www.w3.org/2001/XMLSchema#string" }] }],
                "Resource": [{ "Attribute": [
                    { "AttributeId": "urn:altinn:resource", "Value": "ske-mva-melding" },
                    { "AttributeId": "urn:altinn:organization:identifier-no", "Value": "310000027" }] }],
            } })
        );
        let person = asked(Party::Person("01010750160".parse().unwrap()), Some("inst-1"));
        let body: serde_json::Value = serde_json::from_slice(&request_body(&person)).unwrap();
        assert_eq!(
            body["Request"]["Resource"][0]["Attribute"],
            json!([{ "AttributeId": "urn:altinn:resource", "Value": "ske-mva-melding" },
                { "AttributeId": "urn:altinn:person:identifier-no", "Value": "01010750160" },
                { "AttributeId": "urn:altinn:resource:instance-id", "Value": "inst-1" }])
        );
    }

    #[test]
    fn each_decision_is_read_in_either_spelling_of_the_members() {
        let cases = [
            ("Permit", Ok(Verdict::Permit)),
            ("Deny", Ok(Verdict::Deny)),
            ("NotApplicable", Ok(Verdict::NotApplicable)),
            ("Indeterminate", Err(Cause::Indeterminate)),
        ];
        for (decision, verdict) in cases {
            let camel = answer(decision);
            assert_eq!(read_answer(camel.as_bytes()), verdict);
            let pascal = camel.replace("response", "Response").replace("decision", "Decision");
            assert_eq!(read_answer(pascal.as_bytes()), verdict);
        }
    }

    #[test]
    fn what_is_not_exactly_one_understood_result_is_no_verdict() {
        let cases = [
            r#"{"response":[]}"#,
            r#"{"response":[{"decision":"Permit"},{"decision":"Permit"}]}"#,
            r#"{"response":[{"decision":"Permit"},{"decision":"Deny"}]}"#,
            r#"{"response":{"decision":"Permit"}}"#,
            r#"{"response":["Permit"]}"#,
            r#"{"response":[[]]}"#,
            r#"{"response":[null]}"#,
            r#"{"response":null}"#,
            r#"{"response":[{}]}"#,
            r#"{"response":[{"decision":null}]}"#,
            r#"{"response":[{"decision":true}]}"#,
            r#"{"response":[{"decision":["Permit"]}]}"#,
            r#"{"response":[{"decision":"permit"}]}"#,
            r#"{"response":[{"decision":"PERMIT"}]}"#,
            r#"{"response":[{"decision":"Permit "}]}"#,
            r#"{"response":[{"decision":"Allow"}]}"#,
            r#"{"response":[{"decision":""}]}"#,
            r#"{"response":[{"decision":"Deny","decision":"Permit"}]}"#,
            r#"{"response":[{"decision":"Deny","\u0064ecision":"Permit"}]}"#,
            r#"{"response":[{"decision":"Permit","Decision":"Permit"}]}"#,
            r#"{"response":[{"decision":"Permit"}],"Response":[{"decision":"Permit"}]}"#,
            r#"{"response":[{"decision":"Permit"}],"response":[]}"#,
            r#"{"response":[{"decision":"Permit","obligations":{}}]}"#,
            r#"{"response":[{"decision":"Permit","obligations":"none"}]}"#,
            r#"{"response":[{"decision":"Permit","obligations":[7]}]}"#,
            r#"{"response":[{"decision":"Permit","obligations":null,"Obligations":[]}]}"#,
            r#"{"decision":"Permit"}"#,
            r#"[{"decision":"Permit"}]"#,
            r#"{"response":[{"decision":"Permit"}]} {}"#,
            r#"{"response":[{"decision":"Permit"}]"#,
            "<html><body>Permit</body></html>",
            "Permit",
            "",
        ];
        for text in cases {
            assert_eq!(read_answer(text.as_bytes()), Err(Cause::Unreadable), "{text}");
        }
        let permit = answer("Permit");
        assert_eq!(read_answer(format!("\u{feff}{permit}").as_bytes()), Err(Cause::Unreadable));
        let utf16: Vec<u8> = permit.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read_answer(&utf16), Err(Cause::Unreadable));
        let long = format!("{permit}{}", " ".repeat(MAX_ANSWER_BYTES));
        assert_eq!(read_answer(long.as_bytes()), Err(Cause::Unreadable));
    }

    #[test]
    fn a_permit_opens_with_fulfilled_obligations_only() {
        use UnmetObligation::{Level, UnknownCategory, UnreadableLevel};
        let unknown = json!({ "attributeAssignment": [{ "category": "urn:x", "value": "1" }] });
        let cases = [
            (json!(null), Verdict::Permit),
            (json!([]), Verdict::Permit),
            (json!([level(&json!("3"))]), Verdict::Permit),
            (json!([level(&json!("4"))]), Verdict::Unmet(Level(4))),
            (json!([level(&json!("2")), level(&json!("4"))]), Verdict::Unmet(Level(4))),
            (json!([level(&json!(2))]), Verdict::Unmet(UnreadableLevel)),
            (json!([level(&json!(null))]), Verdict::Unmet(UnreadableLevel)),
            (json!([level(&json!("2")), unknown]), Verdict::Unmet(UnknownCategory)),
            (json!([{}]), Verdict::Unmet(UnknownCategory)),
            (json!([{ "attributeAssignment": [] }]), Verdict::Unmet(UnknownCategory)),
            (json!([{ "attributeAssignment": {} }]), Verdict::Unmet(UnknownCategory)),
            (
                json!([{ "attributeAssignment": [{ "value": "2" }] }]),
                Verdict::Unmet(UnknownCategory),
            ),
        ];
        for (obligations, verdict) in cases {
            assert_eq!(with_obligations(&obligations), Ok(verdict), "{obligations}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_verdict_or_a_cause(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_answer(&bytes);
        }

        #[test]
        fn no_other_word_is_a_permit(decision in "\\PC{0,14}") {
            let verdict = read_answer(answer(&decision).as_bytes());
            prop_assert_eq!(verdict == Ok(Verdict::Permit), decision == "Permit");
        }
    }
}
