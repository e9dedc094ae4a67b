//! The XACML JSON profile as Altinn speaks it: one question out, one verdict in; or several. Pure.
//!
//! Source: contract authorization.md §2.2, §2.3, §3. What is not exactly one understood result for a
//! question is no verdict.

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
/// What a result may say about its question; other attributes are Altinn's own additions.
const OURS: [&str; 6] = [
    SYSTEM_USER,
    ACTION,
    RESOURCE,
    INSTANCE,
    "urn:altinn:organization:identifier-no",
    "urn:altinn:person:identifier-no",
];

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
struct RawSeveralEnvelope<'a> {
    request: RawSeveral<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawSeveral<'a> {
    return_policy_id_list: bool,
    access_subject: [RawCategory<'a>; 1],
    action: Vec<RawCategory<'a>>,
    resource: Vec<RawCategory<'a>>,
    multi_requests: RawReferences,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawReferences {
    request_reference: Vec<RawReference>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawReference {
    // One subject, one action, one resource.
    reference_id: [String; 3],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawCategory<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    attribute: Vec<RawAttribute<'a>>,
}

impl<'a> RawCategory<'a> {
    fn alone(attribute: Vec<RawAttribute<'a>>) -> Self {
        Self { id: None, attribute }
    }

    /// One of several, whose attributes are to come back with the result.
    fn referred_to(id: String, mut attribute: Vec<RawAttribute<'a>>) -> Self {
        for attribute in &mut attribute {
            attribute.include_in_result = true;
        }
        Self { id: Some(id), attribute }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RawAttribute<'a> {
    attribute_id: &'static str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_type: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    include_in_result: bool,
}

fn attribute<'a>(attribute_id: &'static str, value: &'a str) -> RawAttribute<'a> {
    RawAttribute { attribute_id, value, data_type: None, include_in_result: false }
}

fn action_attributes(question: &Question) -> Vec<RawAttribute<'_>> {
    vec![RawAttribute { data_type: Some(STRING), ..attribute(ACTION, question.action().as_str()) }]
}

fn resource_attributes(question: &Question) -> Vec<RawAttribute<'_>> {
    let party = question.party();
    let mut attributes = vec![
        attribute(RESOURCE, question.resource().as_str()),
        attribute(party.attribute_id(), party.expose()),
    ];
    attributes.extend(question.instance().map(|instance| attribute(INSTANCE, instance.as_str())));
    attributes
}

/// The body that asks `question`: one subject, one action, one resource with one party. Holds the party's
/// number, for the wire only.
#[must_use]
pub fn request_body(question: &Question) -> Vec<u8> {
    let system_user = question.system_user().to_string();
    let envelope = RawEnvelope {
        request: RawRequest {
            return_policy_id_list: true,
            access_subject: [RawCategory::alone(vec![attribute(SYSTEM_USER, &system_user)])],
            action: [RawCategory::alone(action_attributes(question))],
            resource: [RawCategory::alone(resource_attributes(question))],
        },
    };
    // INVARIANT: structs of text and booleans always serialise into memory.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

/// The body that asks two questions or more about one system user in one call: every category has an id,
/// every reference names one subject, one action and one resource. `None` for fewer, which Altinn would
/// merge into one question, and for several system users. Source: contract authorization.md §2.3.
#[must_use]
pub fn several_body(questions: &[Question]) -> Option<Vec<u8>> {
    let [first, _, ..] = questions else { return None };
    let system_user = first.system_user();
    if questions.iter().any(|question| question.system_user() != system_user) {
        return None;
    }
    let system_user = system_user.to_string();
    let subject =
        RawCategory::referred_to("s1".to_owned(), vec![attribute(SYSTEM_USER, &system_user)]);
    let numbered = |letter: char| {
        move |(index, attributes)| RawCategory::referred_to(format!("{letter}{index}"), attributes)
    };
    let action = questions.iter().map(action_attributes).enumerate().map(numbered('a'));
    let resource = questions.iter().map(resource_attributes).enumerate().map(numbered('r'));
    let reference = |index| RawReference {
        reference_id: ["s1".to_owned(), format!("a{index}"), format!("r{index}")],
    };
    let envelope = RawSeveralEnvelope {
        request: RawSeveral {
            return_policy_id_list: true,
            access_subject: [subject],
            action: action.collect(),
            resource: resource.collect(),
            multi_requests: RawReferences {
                request_reference: (0..questions.len()).map(reference).collect(),
            },
        },
    };
    // INVARIANT: structs of text and booleans always serialise into memory.
    Some(serde_json::to_vec(&envelope).unwrap_or_default())
}

/// The answer to several questions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Several {
    /// As many results as questions, in their order. A cause, where a question must be asked alone: the
    /// result is `Indeterminate`, cannot be read, or is a permit that does not say what it permits.
    Each(Vec<Result<Verdict, Cause>>),
    /// One `Indeterminate` for all: a fault in one of them spoilt the call.
    Spoilt,
    /// Not as many results as questions, or one that speaks of another question than it should.
    Mixed,
}

/// Reads the answer to `questions`, asked with [`several_body`]. Results carry no reference id; they come
/// in the order of the references. Where a result says what it is about, that must be its question.
///
/// # Errors
/// [`Cause::Unreadable`] for what is no list of results.
pub fn read_several(bytes: &[u8], questions: &[Question]) -> Result<Several, Cause> {
    let answer = parse(bytes)?;
    let results = results(&answer)?;
    if results.len() != questions.len() {
        let spoilt = matches!(results, [one] if read_result(one) == Err(Cause::Indeterminate));
        return Ok(if spoilt { Several::Spoilt } else { Several::Mixed });
    }
    let mut each = Vec::with_capacity(results.len());
    for (result, question) in results.iter().zip(questions) {
        let about = echo(result, question).unwrap_or(Echo::Other);
        each.push(match (about, read_result(result)) {
            (Echo::Other, _) => return Ok(Several::Mixed),
            // Order alone is no reason to let somebody in.
            (Echo::Partial, Ok(Verdict::Permit)) => Err(Cause::Unreadable),
            (Echo::Whole | Echo::Partial, verdict) => verdict,
        });
    }
    Ok(Several::Each(each))
}

/// What a result says about its question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Echo {
    /// All of it.
    Whole,
    /// Nothing, or nothing that contradicts it.
    Partial,
    /// Another one.
    Other,
}

/// Compares the attributes that came back with those of the question.
fn echo(result: &Json, question: &Question) -> Result<Echo, Cause> {
    let system_user = question.system_user().to_string();
    let mut asked = vec![attribute(SYSTEM_USER, &system_user)];
    asked.extend(action_attributes(question));
    asked.extend(resource_attributes(question));
    let Some(categories) = member(result, "category")? else { return Ok(Echo::Partial) };
    let mut echoed = vec![false; asked.len()];
    for category in categories.as_array().ok_or(Cause::Unreadable)? {
        let Some(attributes) = member(category, "attribute")? else { continue };
        for attribute in attributes.as_array().ok_or(Cause::Unreadable)? {
            let id = member(attribute, "attributeId")?.and_then(Json::as_str);
            let value = member(attribute, "value")?.and_then(Json::as_str);
            let Some(id) = id.filter(|id| OURS.contains(id)) else { continue };
            let same = asked
                .iter()
                .position(|asked| asked.attribute_id == id && value == Some(asked.value));
            match same.and_then(|place| echoed.get_mut(place)) {
                Some(echoed) => *echoed = true,
                None => return Ok(Echo::Other),
            }
        }
    }
    Ok(if echoed.iter().all(|echoed| *echoed) { Echo::Whole } else { Echo::Partial })
}

/// Reads the answer to one question.
///
/// Member names are matched in any case, as Altinn writes both; two that differ in case only are refused.
///
/// # Errors
/// [`Cause::Indeterminate`] when that is the decision; [`Cause::Unreadable`] for everything that is not
/// exactly one result with one of the four decisions.
pub fn read_answer(bytes: &[u8]) -> Result<Verdict, Cause> {
    let answer = parse(bytes)?;
    match results(&answer)? {
        [result] => read_result(result),
        _ => Err(Cause::Unreadable),
    }
}

fn parse(bytes: &[u8]) -> Result<Json, Cause> {
    if bytes.len() > MAX_ANSWER_BYTES {
        return Err(Cause::Unreadable);
    }
    Json::parse(bytes).map_err(|_| Cause::Unreadable)
}

fn results(answer: &Json) -> Result<&[Json], Cause> {
    member(answer, "response")?.and_then(Json::as_array).ok_or(Cause::Unreadable)
}

fn read_result(result: &Json) -> Result<Verdict, Cause> {
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
pub(super) fn member<'a>(json: &'a Json, name: &str) -> Result<Option<&'a Json>, Cause> {
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

    pub(crate) fn questions(number: usize) -> Vec<Question> {
        let resources = ["ske-mva-melding", "ske-a-melding", "ske-arkiv"];
        let question = |index: usize| {
            let right = Right {
                resource: resources[index % 3].parse().unwrap(),
                action: if index.is_multiple_of(2) { "read" } else { "write" }.parse().unwrap(),
            };
            let instance = (index > 5).then(|| format!("inst-{index}").parse().unwrap());
            let party = Party::Organization("310000027".parse().unwrap());
            let user = "a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1".parse().unwrap();
            Question::new(user, party, right, instance)
        };
        (0..number).map(question).collect()
    }

    /// A result that says what it is about.
    pub(crate) fn result(question: &Question, decision: &str) -> serde_json::Value {
        let attribute = |attribute: RawAttribute<'_>| {
            json!({ "attributeId": attribute.attribute_id, "value": attribute.value, "issuer": null,
                "dataType": STRING, "includeInResult": false })
        };
        let list = |attributes: Vec<RawAttribute<'_>>| -> Vec<serde_json::Value> {
            attributes.into_iter().map(attribute).collect()
        };
        let user = question.system_user().to_string();
        let mut resource = list(resource_attributes(question));
        resource.push(json!({ "attributeId": "urn:altinn:partyid", "value": "51000027" }));
        json!({ "decision": decision, "obligations": null, "category": [
            { "categoryId": "s", "attribute": list(vec![self::attribute(SYSTEM_USER, &user)]) },
            { "categoryId": "r", "id": null, "content": null, "attribute": resource },
            { "categoryId": "a", "attribute": list(action_attributes(question)) },
        ] })
    }

    fn several(results: &[serde_json::Value], questions: &[Question]) -> Result<Several, Cause> {
        read_several(json!({ "response": results }).to_string().as_bytes(), questions)
    }

    #[test]
    fn several_questions_are_written_with_one_reference_each() {
        let questions = questions(3);
        let body = several_body(&questions).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let request = &body["Request"];
        assert_eq!(
            request["AccessSubject"],
            json!([{ "Id": "s1", "Attribute": [{ "AttributeId": SYSTEM_USER,
                "Value": "a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1", "IncludeInResult": true }] }])
        );
        assert_eq!(
            request["Action"][1],
            json!({ "Id": "a1", "Attribute": [{ "AttributeId": ACTION, "Value": "write",
                "DataType": STRING, "IncludeInResult": true }] })
        );
        assert_eq!(
            request["Resource"][2],
            json!({ "Id": "r2", "Attribute": [
                { "AttributeId": RESOURCE, "Value": "ske-arkiv", "IncludeInResult": true },
                { "AttributeId": "urn:altinn:organization:identifier-no", "Value": "310000027",
                  "IncludeInResult": true }] })
        );
        assert_eq!(
            request["MultiRequests"],
            json!({ "RequestReference": [{ "ReferenceId": ["s1", "a0", "r0"] },
                { "ReferenceId": ["s1", "a1", "r1"] }, { "ReferenceId": ["s1", "a2", "r2"] }] })
        );
        assert_eq!(several_body(&questions[..1]), None, "Altinn merges one reference");
        assert_eq!(several_body(&[]), None);
        let other = [questions[0].clone(), asked_by("5e000000-0000-4000-8000-000000000001")];
        assert_eq!(several_body(&other), None, "two subjects");
    }

    fn asked_by(user: &str) -> Question {
        let right =
            Right { resource: "ske-arkiv".parse().unwrap(), action: "read".parse().unwrap() };
        let party = Party::Organization("310000027".parse().unwrap());
        Question::new(user.parse().unwrap(), party, right, None)
    }

    #[test]
    fn a_result_counts_for_the_question_that_it_speaks_of() {
        use Several::{Each, Mixed, Spoilt};
        let asked = questions(2);
        let (first, second) = (&asked[0], &asked[1]);
        let bare = |decision: &str| json!({ "decision": decision, "category": null });
        let pascal = json!({ "Decision": "Deny", "Category": result(second, "Deny")["category"] });
        let mut wrong_party = result(first, "Permit");
        wrong_party["category"][1]["attribute"][1]["value"] = json!("310000035");
        let mut person = result(first, "Permit");
        person["category"][1]["attribute"][1]["attributeId"] =
            json!("urn:altinn:person:identifier-no");
        let mut half = result(first, "Permit");
        half["category"].as_array_mut().unwrap().pop();
        let (permit, deny) = (result(first, "Permit"), result(second, "Deny"));
        let cases = [
            (
                vec![permit.clone(), deny.clone()],
                Each(vec![Ok(Verdict::Permit), Ok(Verdict::Deny)]),
            ),
            (vec![permit.clone(), pascal], Each(vec![Ok(Verdict::Permit), Ok(Verdict::Deny)])),
            (
                vec![permit.clone(), bare("NotApplicable")],
                Each(vec![Ok(Verdict::Permit), Ok(Verdict::NotApplicable)]),
            ),
            (
                vec![permit.clone(), bare("Indeterminate")],
                Each(vec![Ok(Verdict::Permit), Err(Cause::Indeterminate)]),
            ),
            (
                vec![bare("Permit"), deny.clone()],
                Each(vec![Err(Cause::Unreadable), Ok(Verdict::Deny)]),
            ),
            (vec![half, deny.clone()], Each(vec![Err(Cause::Unreadable), Ok(Verdict::Deny)])),
            (
                vec![permit.clone(), bare("?")],
                Each(vec![Ok(Verdict::Permit), Err(Cause::Unreadable)]),
            ),
            (vec![deny.clone(), permit.clone()], Mixed),
            (vec![permit.clone(), permit.clone()], Mixed),
            (vec![wrong_party, deny.clone()], Mixed),
            (vec![person, deny.clone()], Mixed),
            (vec![permit.clone(), json!({ "decision": "Deny", "category": "?" })], Mixed),
            (vec![permit.clone()], Mixed),
            (vec![permit.clone(), deny.clone(), deny], Mixed),
            (vec![], Mixed),
            (vec![bare("Indeterminate")], Spoilt),
            (vec![bare("Permit")], Mixed),
        ];
        for (results, expected) in cases {
            assert_eq!(several(&results, &asked), Ok(expected), "{results:?}");
        }
        for text in ["", "{}", "<html>", r#"{"response":{}}"#, r#"{"response":[],"Response":[]}"#] {
            assert_eq!(read_several(text.as_bytes(), &asked), Err(Cause::Unreadable), "{text}");
        }
    }

    proptest! {
        /// However results are shuffled, none is taken for the answer to another question.
        #[test]
        fn no_shuffling_moves_a_permit(order in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle()) {
            let asked = questions(8);
            let results: Vec<_> =
                order.iter().map(|place| result(&asked[*place], "Permit")).collect();
            let expected = if order.is_sorted() {
                Several::Each(vec![Ok(Verdict::Permit); 8])
            } else {
                Several::Mixed
            };
            prop_assert_eq!(several(&results, &asked), Ok(expected));
        }

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
