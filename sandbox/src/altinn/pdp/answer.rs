//! The XACML JSON response: camelCase, with every null written out.

use super::request::{
    ACTION_CATEGORY, Attribute, RESOURCE_CATEGORY, SUBJECT_CATEGORY, SingleRequest,
};
use crate::faults::Fault;
use serde_json::{Map, Value, json};

const STATUS_PREFIX: &str = "urn:oasis:names:tc:xacml:1.0:status:";

/// The four decisions of XACML.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    Permit,
    Deny,
    NotApplicable,
    Indeterminate,
}

impl Decision {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Permit => "Permit",
            Self::Deny => "Deny",
            Self::NotApplicable => "NotApplicable",
            Self::Indeterminate => "Indeterminate",
        }
    }
}

/// One result.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    decision: Decision,
    status: &'static str,
    level: Option<u8>,
    obligations: Vec<Value>,
    category: Option<Vec<Value>>,
}

impl Outcome {
    /// A decision that was reached. `level` becomes an obligation of a Permit; `echo` is the request whose
    /// attributes come back where it asked for them.
    pub(crate) fn decided(
        decision: Decision,
        level: Option<u8>,
        echo: Option<&SingleRequest>,
    ) -> Self {
        let level = level.filter(|_| decision == Decision::Permit);
        let obligations = level.map(level_obligation).into_iter().collect();
        Self { decision, status: "ok", level, obligations, category: echo.and_then(echoed) }
    }

    /// No decision; `status` is the suffix of the status code.
    pub(crate) fn indeterminate(status: &'static str) -> Self {
        Self {
            decision: Decision::Indeterminate,
            status,
            level: None,
            obligations: Vec::new(),
            category: None,
        }
    }

    /// Another decision in the same place, without obligations.
    pub(crate) fn turned_into(self, decision: Decision) -> Self {
        Self {
            decision,
            status: "ok",
            level: None,
            obligations: Vec::new(),
            category: self.category,
        }
    }

    pub(crate) fn decision(&self) -> Decision {
        self.decision
    }

    /// The suffix of the status code.
    pub(crate) fn status(&self) -> &'static str {
        self.status
    }

    /// The minimum authentication level that a Permit obliges to.
    pub(crate) fn level(&self) -> Option<u8> {
        self.level
    }

    fn into_json(mut self, extra: &[Value]) -> Value {
        if self.decision == Decision::Permit {
            self.obligations.extend_from_slice(extra);
        }
        let obligations =
            if self.obligations.is_empty() { Value::Null } else { Value::Array(self.obligations) };
        json!({
            "decision": self.decision.name(),
            "status": {
                "statusMessage": null,
                "statusDetails": null,
                "statusCode": {
                    "value": format!("{STATUS_PREFIX}{}", self.status),
                    "statusCode": null,
                },
            },
            "obligations": obligations,
            "associateAdvice": null,
            "category": self.category,
            "policyIdentifierList": null,
        })
    }
}

fn level_obligation(level: u8) -> Value {
    json!({
        "id": "urn:altinn:obligation:1",
        "attributeAssignment": [{
            "attributeId": "urn:altinn:obligation-assignment:1",
            "value": level.to_string(),
            "category": "urn:altinn:minimum-authenticationlevel",
            "dataType": "http://www.w3.org/2001/XMLSchema#integer",
            "issuer": null,
        }],
    })
}

/// The attributes that the request wants back, by category; `None` if it wants none.
fn echoed(request: &SingleRequest) -> Option<Vec<Value>> {
    let categories: Vec<Value> = [
        (SUBJECT_CATEGORY, request.subject()),
        (RESOURCE_CATEGORY, request.resource()),
        (ACTION_CATEGORY, request.action()),
    ]
    .into_iter()
    .filter_map(|(category, attributes)| echoed_category(category, attributes))
    .collect();
    (!categories.is_empty()).then_some(categories)
}

fn echoed_category(category: &str, attributes: &[Attribute]) -> Option<Value> {
    let wanted: Vec<Value> = attributes
        .iter()
        .filter(|item| item.wanted_in_result())
        .map(|item| {
            json!({
                "attributeId": item.id(), "value": item.text(), "issuer": null,
                "dataType": item.data_type(), "includeInResult": false,
            })
        })
        .collect();
    (!wanted.is_empty()).then(
        || json!({ "categoryId": category, "id": null, "content": null, "attribute": wanted }),
    )
}

/// The whole answer, bent as the fault says.
pub(crate) fn write(outcomes: Vec<Outcome>, fault: &Fault) -> Value {
    let mut results: Vec<Value> =
        outcomes.into_iter().map(|outcome| outcome.into_json(&fault.obligations)).collect();
    if let Some(last) = results.last().cloned() {
        results.extend(std::iter::repeat_n(last, fault.extra_results));
    }
    if fault.empty_response {
        results.clear();
    }
    let answer = json!({ "response": results });
    if fault.pascal_case { with_pascal_case_names(answer) } else { answer }
}

fn with_pascal_case_names(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| (pascal_case(&name), with_pascal_case_names(value)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => items.into_iter().map(with_pascal_case_names).collect(),
        other => other,
    }
}

fn pascal_case(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}
