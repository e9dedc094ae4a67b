//! The PDP as a service owner reaches it: `POST authorize` with the XACML JSON profile.
//!
//! [`request`] reads, [`decide`] answers from the world's own model (no XACML is evaluated), [`answer`] writes.

pub(crate) mod answer;
pub(crate) mod caches;
pub(crate) mod decide;
pub(crate) mod facts;
pub(crate) mod request;

use super::bearer::{self, Caller};
use super::{Refusal, framework_problem};
use crate::faults::{Fault, ForcedDecision};
use crate::state::{Shared, View};
use answer::{Decision, Outcome};
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use caches::Memory;
use decide::Fatal;
use facts::Facts;
use request::{AuthorizeRequest, SingleRequest};
use serde_json::{Value, json};
use std::sync::Arc;

const SCOPES: [&str; 2] =
    ["altinn:authorization/authorize", "altinn:authorization/authorize.admin"];

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/authorization/api/v1/authorize", post(authorize))
}

async fn authorize(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    fault: Option<Extension<Fault>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    bearer::check_subscription(&shared, &headers)?;
    Caller::authorize(&shared, &headers, &SCOPES)?;
    let request =
        AuthorizeRequest::parse(&body).map_err(|problem| framework_problem("$", &problem))?;
    let fault = fault.map(|Extension(fault)| fault).unwrap_or_default();
    let outcomes = {
        let pod = shared.pods().take();
        let memory = pod.as_deref().map_or(Memory::NONE, |pod| Memory::new(pod, shared.now()));
        let outcomes = outcomes(Facts::new(&world, memory), &request);
        let outcomes = forced(outcomes, fault.decision_for(request.singles().len()));
        let now = shared.now();
        let mut calls = shared.calls();
        for (question, outcome) in request.singles().iter().zip(&outcomes) {
            calls.question(now, record(question, outcome));
        }
        outcomes
    };
    Ok(Json(answer::write(outcomes, &fault)).into_response())
}

/// All results, or one Indeterminate if any part could not be evaluated at all.
fn outcomes(facts: Facts<'_>, request: &AuthorizeRequest) -> Vec<Outcome> {
    if request.lacks_ids() {
        return vec![Outcome::indeterminate(Fatal::Syntax.status())];
    }
    let outcomes: Result<Vec<Outcome>, Fatal> =
        request.singles().iter().map(|single| decide::decide(facts, single)).collect();
    outcomes.unwrap_or_else(|fatal| vec![Outcome::indeterminate(fatal.status())])
}

fn forced(outcomes: Vec<Outcome>, decision: Option<ForcedDecision>) -> Vec<Outcome> {
    match decision {
        None => outcomes,
        // A dead dependency makes the whole answer one result, as any exception does.
        Some(ForcedDecision::Indeterminate) => {
            vec![Outcome::indeterminate(Fatal::Syntax.status())]
        }
        Some(ForcedDecision::NotApplicable) => {
            outcomes.into_iter().map(|old| old.turned_into(Decision::NotApplicable)).collect()
        }
        Some(ForcedDecision::Deny) => {
            outcomes.into_iter().map(|old| old.turned_into(Decision::Deny)).collect()
        }
    }
}

/// What is remembered of a question.
fn record(question: &SingleRequest, outcome: &Outcome) -> Value {
    let attributes = |attributes: &[request::Attribute]| -> Vec<Value> {
        attributes.iter().map(|item| json!({ "id": item.id(), "value": item.text() })).collect()
    };
    json!({
        "endpoint": "pdp",
        "subject": attributes(question.subject()),
        "action": attributes(question.action()),
        "resource": attributes(question.resource()),
        "decision": outcome.decision().name(),
    })
}
