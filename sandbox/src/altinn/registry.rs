//! The resource registry: resources, policies, their subjects and rules, and the feed of changes.

use super::{Refusal, not_simulated, policy_xml};
use crate::clock;
use crate::crypto::{base64url, from_base64url};
use crate::state::{Shared, View};
use crate::world::World;
use crate::world::resource::Resource;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const BASE: &str = "/resourceregistry/api/v1/resource";

pub(crate) fn router() -> Router<Arc<Shared>> {
    let path = |rest: &str| format!("{BASE}/{rest}");
    // Else they would be ids of resources.
    let others = ["resourcelist", "Search", "orgs", "export", "updated", "bysubjects"];
    let others = others
        .into_iter()
        .fold(Router::new(), |router, name| router.route(&path(name), any(not_simulated)));
    others
        .route(&path("changes"), get(changes))
        .route(&path("{id}"), get(resource).put(not_simulated).delete(not_simulated))
        .route(&path("{id}/policy"), get(policy).post(not_simulated).put(not_simulated))
        .route(&path("{id}/policy/subjects"), get(subjects))
        .route(&path("{id}/policy/rules"), get(rules))
}

/// JSON as the registry writes it: indented.
pub(crate) fn indented(value: &Value) -> Response {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], text).into_response()
}

fn found<T>(
    world: &World,
    id: &str,
    read: impl FnOnce(&World, &Resource) -> Option<T>,
) -> Result<T, Refusal> {
    world.resources.get(id).and_then(|resource| read(world, resource)).ok_or_else(|| {
        Refusal::Text(StatusCode::NOT_FOUND, format!("Unable to find resource {id}"))
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceQuery {
    version_id: Option<u64>,
}

async fn resource(
    View(world): View,
    Path(id): Path<String>,
    Query(query): Query<ResourceQuery>,
) -> Result<Response, Refusal> {
    // Old versions are not kept.
    found(&world, &id, |world, resource| {
        let current = query.version_id.is_none_or(|version| version == resource.version);
        current.then(|| service_resource(world, resource))
    })
    .map(|value| indented(&value))
}

/// A resource as the registry describes it.
pub(crate) fn service_resource(world: &World, resource: &Resource) -> Value {
    let id = &resource.id;
    let code = world.owner_code(resource);
    let number = world.service_owner_with(code).map(|owner| owner.organization);
    let name = number.and_then(|it| world.organizations.get(&it)).map(|item| &item.name);
    let references: Vec<Value> = resource
        .scope
        .iter()
        .map(|scope| {
            json!({
                "referenceSource": "Altinn3", "reference": scope,
                "referenceType": "MaskinportenScope",
            })
        })
        .collect();
    let mode = if resource.access_lists.is_empty() { "Disabled" } else { "Enabled" };
    json!({
        "identifier": id,
        "version": "1.0",
        "title": resource.title,
        "description": resource.title,
        "rightDescription": resource.title,
        "status": "Active",
        "spatial": [],
        "contactPoints": [],
        "produces": [],
        "isPartOf": "",
        "thematicAreas": [],
        "resourceReferences": references,
        "delegable": resource.delegable,
        "visible": true,
        "hasCompetentAuthority": {
            "name": { "nb": name }, "organization": number, "orgcode": code,
        },
        "keywords": [],
        "accessListMode": mode,
        "selfIdentifiedUserEnabled": false,
        "enterpriseUserEnabled": false,
        "resourceType": resource.kind,
        "availableForType": ["LegalEntityEnterprise"],
        "authorizationReference": [{ "id": "urn:altinn:resource", "value": id }],
        "isOneTimeConsent": false,
        "versionId": resource.version,
    })
}

async fn policy(View(world): View, Path(id): Path<String>) -> Result<Response, Refusal> {
    let xml = found(&world, &id, policy_xml::policy)?;
    let headers = [
        (header::CONTENT_TYPE, "text/xml"),
        (header::CONTENT_DISPOSITION, "attachment; filename=policy.xml"),
    ];
    Ok((headers, xml).into_response())
}

/// `{type, value, urn}` of an attribute.
fn attribute(kind: &str, value: &str) -> Value {
    json!({ "type": kind, "value": value, "urn": format!("{kind}:{value}") })
}

async fn subjects(View(world): View, Path(id): Path<String>) -> Result<Response, Refusal> {
    let pairs = found(&world, &id, |world, resource| {
        let pairs: BTreeSet<(&str, String)> = resource
            .rules
            .iter()
            .flat_map(|rule| policy_xml::subjects(world, rule))
            .flatten()
            .map(|subject| (subject.attribute, subject.value.to_lowercase()))
            .collect();
        let data: Vec<Value> = pairs.iter().map(|(kind, value)| attribute(kind, value)).collect();
        (!data.is_empty()).then_some(data)
    })?;
    Ok(indented(&json!({ "links": {}, "data": pairs })))
}

/// Flattened rules; effects are lost, as at Altinn.
async fn rules(View(world): View, Path(id): Path<String>) -> Result<Response, Refusal> {
    let rows = found(&world, &id, |world, resource| {
        let mut rows = Vec::new();
        for rule in &resource.rules {
            let mut parts = vec![attribute("urn:altinn:resource", &resource.id)];
            let part = rule.subresource.iter();
            parts.extend(part.map(|part| attribute("urn:altinn:subresource", part)));
            for subject in policy_xml::subjects(world, rule) {
                rows.extend(rule.actions.iter().map(|action| {
                    let subject: Vec<Value> =
                        subject.iter().map(|it| attribute(it.attribute, it.value)).collect();
                    json!({
                        "subject": subject,
                        "action": attribute(
                            "urn:oasis:names:tc:xacml:1.0:action:action-id", action,
                        ),
                        "resource": parts,
                    })
                }));
            }
        }
        (!rows.is_empty()).then_some(rows)
    })?;
    Ok(indented(&Value::Array(rows)))
}

#[derive(Debug, Deserialize)]
struct ChangesQuery {
    token: Option<String>,
    limit: Option<String>,
}

async fn changes(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, Refusal> {
    if !shared.features().changes_feed {
        return Err(StatusCode::NOT_FOUND.into());
    }
    let limit = match query.limit.as_deref().map(str::parse::<usize>) {
        None => 1_000,
        Some(Ok(limit)) if (1..=1_000).contains(&limit) => limit,
        Some(_) => return Err(bad_limit()),
    };
    let after = query.token.as_deref().and_then(position).unwrap_or(0);
    let page: Vec<_> = world
        .changes
        .after(after)
        // Resources without a policy and deleted ones are invisible here.
        .filter(|(_, change)| {
            world.resources.get(&change.resource).is_some_and(|it| !it.rules.is_empty())
        })
        .take(limit)
        .collect();
    let full = page.len() == limit;
    let links = match page.last() {
        Some((last, _)) if full => {
            let token = base64url(last.to_string().as_bytes());
            let base = &shared.urls.altinn;
            json!({ "next": format!("{base}{BASE}/changes?token={token}&limit={limit}") })
        }
        _ => json!({}),
    };
    let data: Vec<Value> = page
        .iter()
        .map(|(_, change)| {
            json!({
                "resourceId": change.resource,
                "changedAt": clock::rfc3339(change.changed_at),
            })
        })
        .collect();
    Ok(indented(&json!({ "links": links, "data": data })))
}

/// The position in a continuation token: a JSON number in base64url.
fn position(token: &str) -> Option<u64> {
    String::from_utf8(from_base64url(token)?).ok()?.parse().ok()
}

fn bad_limit() -> Refusal {
    Refusal::Problem(json!({
        "type": "urn:altinn:error:STD-00000",
        "title": "One or more validation errors occurred.",
        "status": 400,
        "code": "STD-00000",
        "validationErrors": [{
            "code": "RR.VLD-00011",
            "title": "Limit must be between 1 and 1000.",
            "paths": ["/$QUERY/limit"],
        }],
    }))
}
