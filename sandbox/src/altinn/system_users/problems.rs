//! Problems by code: `AUTH-000nn` and the validation errors of the system register.

use crate::altinn::Refusal;
use crate::world::authority::CannotGive;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Number, status and text of a problem.
const PROBLEMS: [(u8, u16, &str); 46] = [
    (0, 400, "The organisation of the reportee or customer cannot be found."),
    (1, 400, "A right is not found, or cannot be delegated."),
    (4, 400, "Failed to create new SystemUser, existing SystemUser tied to the given System-Id."),
    (6, 400, "A request with these external ids is already accepted."),
    (7, 400, "A request with these external ids is pending."),
    (8, 400, "A request with these external ids was denied."),
    (9, 400, "A request with these external ids was rejected."),
    (10, 404, "The Id does not refer to a Request in our system."),
    (11, 404, "The system is not found, or is not yours."),
    (12, 404, "The request could not be stored."),
    (13, 409, "The status of the Request is not New."),
    (14, 403, "The delegation check failed, and it is unknown why."),
    (15, 404, "The system user is not found."),
    (16, 403, "The delegation check failed: no access through a role."),
    (18, 403, "The delegation check failed: no access through direct delegation."),
    (20, 403, "The delegation check failed: the authentication level is too low."),
    (21, 400, "The redirect URL is not one of the system's."),
    (23, 401, "The vendor's organisation number is not in the token."),
    (24, 403, "Not the owner of the system user to be deleted."),
    (25, 400, "The request is not an agent request."),
    (26, 400, "The system has no redirect URLs."),
    (28, 400, "The customer id is not valid."),
    (30, 404, "The agent request is not found."),
    (31, 400, "The party is not the facilitator of the delegation."),
    (34, 400, "Expected a system user of type agent."),
    (35, 400, "The agent still has client delegations."),
    (36, 400, "Expected a system user of type standard."),
    (38, 400, "The delegation is not found."),
    (41, 403, "The party is not the organisation of the request."),
    (42, 403, "The party is not the organisation of the agent request."),
    (51, 400, "The delegation of an access package failed."),
    (53, 400, "The approver does not have access to an access package."),
    (58, 400, "An agent request needs an access package."),
    (59, 400, "A request needs a right or an access package."),
    (60, 404, "The request could not be updated."),
    (61, 409, "The change request is not New; use a new correlation id."),
    (63, 400, "An access package is not one of the system's."),
    (64, 400, "An access package cannot be used by a standard system user."),
    (65, 400, "An access package cannot be used by an agent system user."),
    (66, 403, "Only an access manager may do this."),
    (68, 403, "The delegation check failed: no access through an access package."),
    (69, 403, "The delegation check failed: not on the access list of the resource."),
    (70, 403, "The resource cannot be delegated."),
    (71, 403, "A Maskinporten schema cannot be delegated to a system user."),
    (79, 400, "The client is not found."),
    (80, 400, "The client lacks an access package that the system user needs."),
];

/// Problem `AUTH-000nn`.
pub(super) fn auth(number: u8) -> Refusal {
    auth_with(number, Map::new())
}

/// Problem `AUTH-000nn` with members of its own.
pub(super) fn auth_with(number: u8, extensions: Map<String, Value>) -> Refusal {
    let known = PROBLEMS.iter().find(|(known, ..)| *known == number);
    let (_, status, title) = known.unwrap_or(&(0, 400, "Unknown problem."));
    let mut members = problem(&format!("AUTH-{number:05}"), *status, title);
    members.extend(extensions);
    Refusal::Problem(Value::Object(members))
}

/// The names of packages as an extension of a problem.
pub(super) fn packages(member: &str, urns: &[String]) -> Map<String, Value> {
    Map::from_iter([(member.to_owned(), json!(urns.join(", ")))])
}

fn problem(code: &str, status: u16, title: &str) -> Map<String, Value> {
    let trace = Uuid::new_v4().simple().to_string();
    let description =
        axum::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let value = json!({
        "type": format!("urn:altinn:error:{code}"),
        "title": title,
        "status": status,
        "code": code,
        "traceId": format!("00-{trace}-{}-00", trace.get(..16).unwrap_or_default()),
        "statusDescription": description,
    });
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Why an approver cannot give a resource.
pub(super) fn cannot_give(reason: CannotGive) -> Refusal {
    auth(match reason {
        CannotGive::Role => 16,
        CannotGive::Delegation => 18,
        CannotGive::Level => 20,
        CannotGive::Package => 68,
        CannotGive::AccessList => 69,
        CannotGive::NotDelegable => 70,
        CannotGive::MaskinportenSchema => 71,
    })
}

/// What is wrong with a registration, all of it.
#[derive(Debug, Default)]
pub(super) struct Validation {
    errors: Vec<Value>,
}

impl Validation {
    /// Notes error `AUTH.VLD-000nn` at a path.
    pub(super) fn error(&mut self, number: u8, path: &str) {
        let title = match number {
            0 => "The vendor id is not 0192: and an organisation number.",
            1 => "The system id does not begin with the vendor's organisation number and _.",
            2 => "The system id already exists.",
            3 => "A resource is not in the resource registry.",
            4 => "A client id is already used by another system.",
            5 => "A redirect URL is not absolute and https.",
            6 => "A right occurs twice.",
            7 => "An access package occurs twice.",
            8 => "An access package is unknown or cannot be delegated.",
            9 => "A resource is not named by urn:altinn:resource.",
            11 => "A client id occurs twice.",
            12 => "The id in the body is not the id in the URL.",
            13 => "There is a space in the system id.",
            14 => "The agent is missing or is no system user.",
            15 => "The system user is not an agent.",
            16 => "The client is missing.",
            17 => "The type of a resource cannot be delegated.",
            18 => "A visible system names a package that cannot be assigned.",
            _ => "Not valid.",
        };
        let code = format!("AUTH.VLD-{number:05}");
        self.errors.push(json!({ "code": code, "title": title, "paths": [path] }));
    }

    /// The refusal, if there is anything to refuse.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let title = "One or more validation errors occurred.";
        let mut members = problem("STD-00000", 400, title);
        members.insert("validationErrors".to_owned(), Value::Array(self.errors));
        Err(Refusal::Problem(Value::Object(members)))
    }
}

/// One validation error.
pub(super) fn invalid(number: u8, path: &str) -> Refusal {
    let mut validation = Validation::default();
    validation.error(number, path);
    validation.finish().err().unwrap_or_else(|| auth(14))
}
