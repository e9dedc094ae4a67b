//! Why a call is permitted or refused, step by step, from the sandbox's own model of the world.

use super::call::{Answer, Ready};
use super::layout;
use super::resources;
use super::text::Text as T;
use super::visit::Visit;
use super::words;
use crate::altinn::bearer::verified_claims;
use crate::altinn::pdp::caches::Memory;
use crate::altinn::pdp::decide;
use crate::altinn::pdp::facts::Facts;
use crate::altinn::pdp::request::SingleRequest;
use crate::crypto::jws::Jws;
use crate::world::model::SystemUser;
use crate::world::number::PartyNumber;
use maud::{Markup, html};
use serde_json::{Map, Value};
use uuid::Uuid;

/// One step: whether it says yes, no, or is not known; and what it is about.
struct Step {
    good: Option<bool>,
    name: T,
    said: Markup,
}

fn mark(visit: &Visit, good: Option<bool>) -> Markup {
    match good {
        Some(true) => layout::tag("success", visit.t(T::StepGood)),
        Some(false) => layout::tag("danger", visit.t(T::StepBad)),
        None => layout::tag("neutral", visit.t(T::StepUnknown)),
    }
}

/// The road of a call as the sandbox sees it, and at its end what the proxy said.
pub(super) fn steps(visit: &Visit, ready: &Ready<'_>, answer: Option<&Answer>) -> Markup {
    let claims = Jws::parse(ready.token).map(|jws| jws.claims).unwrap_or_default();
    let user = system_user(visit, &claims);
    let mut all = vec![token(visit, ready, &claims), scope(visit, ready, &claims)];
    all.push(named_user(visit, user));
    if let (Some(known), Some(user)) = (ready.known, user) {
        let party = PartyNumber::parse(ready.party).ok();
        all.push(held(visit, user, party));
        all.push(rules(visit, known.resource));
        all.push(decision(visit, user, ready.party, (known.resource, known.action)));
    }
    if let Some(answer) = answer {
        all.push(proxy(visit, answer));
    }
    html! {
        (layout::heading(visit.t(T::StepsTitle)))
        p { (visit.t(T::StepsLead)) }
        ol class="steps" {
            @for step in &all {
                li {
                    div class="line" { strong { (visit.t(step.name)) } (mark(visit, step.good)) }
                    (step.said)
                }
            }
        }
    }
}

fn system_user<'a>(visit: &'a Visit, claims: &Map<String, Value>) -> Option<&'a SystemUser> {
    let details = claims.get("authorization_details")?;
    let id = details.pointer("/0/systemuser_id/0")?.as_str()?;
    visit.world.system_users.get(&Uuid::try_parse(id).ok()?)
}

fn token(visit: &Visit, ready: &Ready<'_>, claims: &Map<String, Value>) -> Step {
    let keys = visit.shared.maskinporten_keys();
    let now = visit.shared.now();
    let good = verified_claims(ready.token, &keys, now).is_some();
    let left = claims.get("exp").and_then(Value::as_i64).map_or(0, |exp| exp.saturating_sub(now));
    let said = html! { p { (visit.fill(T::TokenLeft, &[("seconds", &left.to_string())])) } };
    Step { good: Some(good), name: T::StepToken, said }
}

fn scope(visit: &Visit, ready: &Ready<'_>, claims: &Map<String, Value>) -> Step {
    let held = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
    let needed = ready.known.map(|known| known.scope);
    let good = needed.map(|needed| held.split_whitespace().any(|scope| scope == needed));
    let said = html! {
        p { (visit.t(T::ScopeHeld)) " " code { (held) } }
        @if let Some(needed) = needed { p { (visit.t(T::ScopeNeeded)) " " code { (needed) } } }
    };
    Step { good, name: T::StepScope, said }
}

fn named_user(visit: &Visit, user: Option<&SystemUser>) -> Step {
    let said = html! {
        @if let Some(user) = user {
            p { (words::user_title(visit, user)) ", " (words::kind(visit, user.kind)) ", " (words::org(&visit.world, user.owner)) }
            @if user.deleted { p { (visit.t(T::UserDeleted)) } }
        } @else { p { (visit.t(T::NoUserInToken)) } }
    };
    Step { good: Some(user.is_some_and(|user| !user.deleted)), name: T::StepUser, said }
}

/// What the system user holds for the party.
fn held(visit: &Visit, user: &SystemUser, party: Option<PartyNumber>) -> Step {
    let Some(party) = party else {
        return Step { good: Some(false), name: T::StepHeld, said: html! {} };
    };
    let packages = visit.world.packages_of(user.id, party);
    let singles = visit.world.single_rights_of(user.id, party);
    let any = !packages.is_empty() || !singles.is_empty();
    let said = html! {
        p { (visit.t(T::Party)) ": " (words::party_name(&visit.world, party)) }
        @if !any { p { (visit.t(T::HoldsNothing)) } }
        ul {
            @for code in &packages { li { (visit.t(T::Package)) ": " (words::package_name(visit, code)) } }
            @for (resource, actions) in &singles {
                li { (visit.t(T::SingleRight)) ": " (words::resource_title(visit, resource)) " – " (actions.iter().map(|it| words::action(visit, it)).collect::<Vec<_>>().join(", ")) }
            }
        }
    };
    Step { good: Some(any), name: T::StepHeld, said }
}

fn rules(visit: &Visit, id: &str) -> Step {
    let resource = visit.world.resources.get(id);
    let said = html! {
        p { (words::resource_title(visit, id)) " " code { (id) } }
        @if let Some(resource) = resource {
            ul { @for rule in &resource.rules { li { (resources::sentence(visit, rule)) } } }
            @if !resource.access_lists.is_empty() { p { (visit.t(T::AccessLists)) ": " (resource.access_lists.join(", ")) } }
        }
    };
    Step { good: None, name: T::StepRules, said }
}

fn decision(
    visit: &Visit,
    user: &SystemUser,
    party: &str,
    (resource, action): (&str, &str),
) -> Step {
    let party_id = match PartyNumber::parse(party) {
        Ok(PartyNumber::Person(_)) => "urn:altinn:person:identifier-no",
        _ => "urn:altinn:organization:identifier-no",
    };
    let id = user.id.to_string();
    let request = SingleRequest::of(
        ("urn:altinn:systemuser:uuid", &id),
        ("urn:oasis:names:tc:xacml:1.0:action:action-id", action),
        &[("urn:altinn:resource", resource), (party_id, party)],
    );
    let outcome = decide::decide(Facts::new(&visit.world, Memory::NONE), &request);
    let (name, level) = outcome
        .map_or(("Indeterminate", None), |outcome| (outcome.decision().name(), outcome.level()));
    let good = match name {
        "Permit" => Some(true),
        "Deny" | "NotApplicable" => Some(false),
        _ => None,
    };
    let said = html! {
        p { (visit.t(T::PdpSays)) " " (words::decision(name)) }
        @if let Some(level) = level { p { (visit.t(T::MinimumLevel)) ": " (level) } }
    };
    Step { good, name: T::StepPdp, said }
}

fn proxy(visit: &Visit, answer: &Answer) -> Step {
    let status = answer.status.as_u16();
    let said = html! {
        p { (visit.fill(T::ProxyAnswered, &[("status", &answer.status.to_string())])) }
        @if let Some(code) = answer.code() { p { (visit.t(T::ProblemCode)) " " code { (code) } } }
        @if status == 503 { p { (visit.t(T::CannotTell)) } }
        @if status == 502 || status == 504 { p { (visit.t(T::UpstreamDown)) } }
    };
    let good = match status {
        401 | 403 => Some(false),
        200..=399 | 404 => Some(true),
        _ => None,
    };
    Step { good, name: T::StepProxy, said }
}

/// The command that lets the proxy tell its own side.
pub(super) fn explain(visit: &Visit, ready: &Ready<'_>) -> Markup {
    let command = format!(
        "portvakt explain --config config/sandbox.yaml --token-file token.txt {} '{}'",
        ready.method,
        ready.path.replace('\'', "%27")
    );
    html! {
        (layout::heading(visit.t(T::ExplainTitle)))
        p { (visit.t(T::ExplainLead)) }
        pre tabindex="0" aria-label=(visit.t(T::ExplainTitle)) { (command) }
        details class="ds-details" {
            summary { (visit.t(T::WholeToken)) }
            div { pre tabindex="0" aria-label=(visit.t(T::WholeToken)) class="wrap" { (ready.token) } }
        }
    }
}
