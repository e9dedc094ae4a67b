//! A refusal as callers see it: problem+json (RFC 9457), the challenge of RFC 6750, or a gRPC status.
//!
//! Tells what to do, and nothing about other parties, other vendors or what lies behind.

use super::texts;
use crate::config::{Language, ProblemType};
use crate::domain::party::Party;
use crate::domain::resource::Question;
use crate::domain::scope::{Scope, ScopeRule};
use crate::domain::system_user::Owner;
use crate::enforce::rejection::{Code, Rejection};
use crate::enforce::vigil::Lapse;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

/// How a caller wants to be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    language: Language,
    grpc: bool,
}

impl Caller {
    /// From the header fields of a request; `default` is the language when it asks for none of ours.
    #[must_use]
    pub fn of(headers: &HeaderMap, default: Language) -> Self {
        Self { language: texts::preferred(headers, default), grpc: is_grpc(headers) }
    }

    /// As [`Caller::of`], where the caller's question comes by another proxy: gRPC knows a refusal as 200 with a
    /// status of its own, which that proxy would take for leave.
    #[must_use]
    pub fn behind_another(headers: &HeaderMap, default: Language) -> Self {
        Self { grpc: false, ..Self::of(headers, default) }
    }

    /// Whether the caller speaks gRPC.
    #[must_use]
    pub fn is_grpc(self) -> bool {
        self.grpc
    }
}

/// What a refusal needs to know of its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// How the caller wants to be told.
    pub caller: Caller,
    /// Id of the request's trace, 32 hexadecimal digits.
    pub trace_id: &'a str,
    /// Altinn's base address, for the calls that a remedy names.
    pub altinn: &'a str,
    /// How a problem's `type` is made.
    pub problem_type: &'a ProblemType,
}

/// The answer to a refused request.
#[must_use]
pub fn refuse(rejection: &Rejection, around: Surroundings<'_>) -> Response<Bytes> {
    let mut response = if around.caller.grpc {
        grpc(rejection.code(), around.caller.language)
    } else {
        problem(rejection, around)
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = challenge(rejection) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(wait) = rejection.retry_after() {
        // Rounded up: to come back a moment early is to be refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Room for a problem as most are, in bytes.
const USUAL: usize = 768;

/// The problem's members, those of RFC 9457 first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    code: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
    trace_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_scopes: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_of_scopes: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    party: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<Value>,
}

fn problem(rejection: &Rejection, around: Surroundings<'_>) -> Response<Bytes> {
    let (code, language) = (rejection.code(), around.caller.language);
    let text = texts::text(code, language);
    let question = question(rejection);
    let problem = Problem {
        r#type: around.problem_type.of(code.label()),
        // The same with every service, whatever its `type`s are made of.
        code: code.label(),
        title: text.title,
        status: code.status().as_u16(),
        detail: text.detail,
        trace_id: around.trace_id,
        reason: rejection.reason(),
        required_scopes: scopes(rejection, |rule| &rule.all_of),
        one_of_scopes: scopes(rejection, |rule| &rule.any_of),
        resource: question.map(|question| question.resource().as_str()),
        action: question.map(|question| question.action().as_str()),
        // A national identity number is not repeated, not even to the one who sent it.
        party: question.and_then(|question| match question.party() {
            Party::Organization(number) => Some(number.as_str()),
            Party::Person(_) => None,
        }),
        remedy: match rejection {
            Rejection::NoRight(question, owner) => Some(remedy(question, *owner, around.altinn)),
            _ => None,
        },
    };
    let mut body = Vec::with_capacity(USUAL);
    // Text and numbers always make JSON, and memory takes it.
    let _written = serde_json::to_writer(&mut body, &problem);
    let mut response = Response::new(body.into());
    *response.status_mut() = code.status();
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(texts::tag(language)));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Language"));
    response
}

/// One half of the rule that the token's scopes do not meet, unless that half demands nothing.
fn scopes<'a>(
    rejection: &'a Rejection,
    half: impl Fn(&'a ScopeRule) -> &'a Vec<Scope>,
) -> Option<Vec<&'a str>> {
    match rejection {
        Rejection::Scope { required, .. } if !half(required).is_empty() => {
            Some(half(required).iter().map(Scope::as_str).collect())
        }
        _ => None,
    }
}

/// The question that was answered with a no.
fn question(rejection: &Rejection) -> Option<&Question> {
    match rejection {
        Rejection::NoRight(question, _) | Rejection::Denied(question, _) => Some(question),
        _ => None,
    }
}

/// What to ask for, and whom. A change request to the owner, which gives a standard system user the right
/// for the owner and its sub-units; for any other party, the owner's adding it as a client of the agent.
/// Which of the two kinds a system user is, Altinn tells nobody. Sources: contract system-user.md §6, §8.
fn remedy(question: &Question, owner: Owner, altinn: &str) -> Value {
    let (altinn, resource) = (altinn.trim_end_matches('/'), question.resource());
    let (id, api) = (question.system_user(), format!("{altinn}/authentication/api/v1"));
    let right =
        json!({ "resource": [{ "id": "urn:altinn:resource", "value": resource.as_str() }] });
    let mut remedy = json!({
        "systemUser": id.to_string(),
        "owner": owner.to_string(),
        "right": { "resource": resource.as_str(), "action": question.action().as_str() },
        "accessPackages": format!(
            "{altinn}/resourceregistry/api/v1/resource/{resource}/policy/subjects"
        ),
        "changeRequest": {
            "method": "POST",
            "url": format!(
                "{api}/systemuser/changerequest/vendor?correlation-id={{new uuid}}&system-user-id={id}"
            ),
            "scope": "altinn:authentication/systemuser.request.write",
            "body": {
                "requiredRights": [right], "unwantedRights": [],
                "requiredAccessPackages": [], "unwantedAccessPackages": []
            }
        }
    });
    if let (Party::Organization(party), Value::Object(members)) = (question.party(), &mut remedy)
        && *party != owner.0
    {
        let delegation = json!({
            "by": owner.to_string(),
            "client": party.as_str(),
            "method": "POST",
            "url": format!("{api}/enduser/systemuser/clients?agent={id}&client={{party uuid}}"),
            "scope": "altinn:clientdelegations.write"
        });
        members.insert("clientDelegation".into(), delegation);
    }
    remedy
}

/// Source: RFC 6750 §3. No error code when no token was sent.
fn challenge(rejection: &Rejection) -> Option<HeaderValue> {
    let text = match rejection {
        Rejection::NoToken => "Bearer".to_owned(),
        Rejection::Token(error) => {
            // The texts of token errors hold no quote, backslash or part of the token.
            let description = error.to_string().replace('`', "'");
            format!("Bearer error=\"invalid_token\", error_description=\"{description}\"")
        }
        Rejection::Scope { required, .. } => {
            // The attribute knows no "one of": the first will do.
            let scopes = required.all_of.iter().chain(required.any_of.first());
            let scopes: Vec<&str> = scopes.map(Scope::as_str).collect();
            format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" "))
        }
        _ => return None,
    };
    HeaderValue::try_from(text).ok()
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|text| {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/grpc" || essence.starts_with("application/grpc+")
    })
}

/// A response of trailers only. Source: gRPC over HTTP/2, "Responses".
fn grpc(code: Code, language: Language) -> Response<Bytes> {
    let text = texts::text(code, language);
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", grpc_status(code.status()).into());
    let message = format!("{}: {}", code.label(), text.title);
    let message = percent_encoding::utf8_percent_encode(&message, GRPC_MESSAGE).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", message);
    }
    response
}

/// What a gRPC caller is told in the middle of an answer.
#[must_use]
pub fn lapsed_trailers(lapse: Lapse) -> HeaderMap {
    let status = match lapse {
        Lapse::No(_) | Lapse::RouteChanged => StatusCode::FORBIDDEN,
        Lapse::Unknown(_) | Lapse::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Lapse::TokenEnded | Lapse::KeyGone => StatusCode::UNAUTHORIZED,
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", grpc_status(status).into());
    let message = format!("lapsed: {lapse}");
    if let Ok(message) = HeaderValue::try_from(message) {
        trailers.insert("grpc-message", message);
    }
    trailers
}

/// Everything but printable ASCII, and the percent sign itself.
const GRPC_MESSAGE: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');

/// The gRPC code that says the same as an HTTP status of ours.
fn grpc_status(status: StatusCode) -> u16 {
    const INVALID_ARGUMENT: u16 = 3;
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match status {
        StatusCode::BAD_REQUEST => INVALID_ARGUMENT,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND => UNIMPLEMENTED,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => DEADLINE_EXCEEDED,
        StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        | StatusCode::TOO_MANY_REQUESTS => RESOURCE_EXHAUSTED,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        _ => INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::{Cause, Undecided};
    use crate::enforce::authenticate::TokenError;
    use crate::enforce::test_support::question;
    use std::time::Duration;

    fn answer(rejection: &Rejection, headers: &[(&'static str, &'static str)]) -> Response<Bytes> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let around = Surroundings {
            caller: Caller::of(&map, Language::Nb),
            trace_id: "0123456789abcdef0123456789abcdef",
            altinn: "https://platform.tt02.altinn.no/",
            problem_type: &ProblemType::default(),
        };
        refuse(rejection, around)
    }

    fn no_right(owner: &str) -> Rejection {
        Rejection::NoRight(Box::new(question("write")), Owner(owner.parse().unwrap()))
    }

    fn body(response: &Response<Bytes>) -> Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn a_missing_right_comes_with_its_remedy() {
        let response = answer(&no_right("310000027"), &[("accept-language", "en")]);
        let body = body(&response);
        assert_eq!(response.status(), 403);
        assert_eq!(body["type"], "urn:portvakt:problem:no_right");
        assert_eq!(body["code"], "no_right");
        assert_eq!(body["resource"], "ex-returns");
        assert_eq!(body["action"], "write");
        assert_eq!(body["party"], "310000027");
        let call = &body["remedy"]["changeRequest"];
        assert_eq!(
            call["url"],
            "https://platform.tt02.altinn.no/authentication/api/v1/systemuser/changerequest/vendor\
             ?correlation-id={new uuid}&system-user-id=11111111-1111-4111-8111-111111111111"
        );
        assert_eq!(call["body"]["requiredRights"][0]["resource"][0]["value"], "ex-returns");
        assert_eq!(body["remedy"].get("clientDelegation"), None, "the owner itself");
    }

    #[test]
    fn for_a_party_that_is_not_the_owner_the_owner_may_add_it_as_a_client() {
        let body = body(&answer(&no_right("310000035"), &[]));
        let delegation = &body["remedy"]["clientDelegation"];
        assert_eq!(delegation["by"], "310000035");
        assert_eq!(delegation["client"], "310000027");
    }

    #[test]
    fn a_challenge_without_a_token_names_no_error() {
        let challenge = |rejection: &Rejection| {
            answer(rejection, &[]).headers()["www-authenticate"].to_str().unwrap().to_owned()
        };
        assert_eq!(challenge(&Rejection::NoToken), "Bearer");
        assert_eq!(
            challenge(&Rejection::Token(TokenError::Signature)),
            "Bearer error=\"invalid_token\", error_description=\"the token's signature is not good\""
        );
    }

    #[test]
    fn cannot_tell_says_when_to_come_back() {
        let later = |retry_after| {
            let undecided = Undecided { cause: Cause::Throttled, retry_after };
            answer(&Rejection::Undecided(undecided), &[]).headers()["retry-after"].clone()
        };
        assert_eq!(later(None), "1");
        assert_eq!(later(Some(Duration::from_millis(4_001))), "5");
        assert_eq!(later(Some(Duration::ZERO)), "1");
    }

    #[test]
    fn a_grpc_caller_gets_a_grpc_status() {
        let grpc = [("content-type", "application/grpc+proto")];
        let response = answer(&no_right("310000027"), &grpc);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "7");
        assert!(response.body().is_empty());
        let message = response.headers()["grpc-message"].to_str().unwrap();
        assert!(message.starts_with("no_right: Systembrukeren"), "{message}");
        let web = answer(&Rejection::NoToken, &[("content-type", "application/grpc-web")]);
        assert_eq!(web.status(), 401);
    }
}
