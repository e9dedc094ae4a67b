//! The service owner's access lists, readable by that owner only. Lists fit one page.

use super::Refusal;
use super::bearer::Caller;
use super::registry::indented;
use crate::clock;
use crate::state::Shared;
use crate::world::World;
use crate::world::model::{AccessList, Organization};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};
use std::sync::Arc;

const SCOPES: [&str; 4] = [
    "altinn:resourceregistry/accesslist.read",
    "altinn:resourceregistry/accesslist.write",
    "altinn:resourceregistry/pdp:accesslist.read",
    "altinn:resourceregistry/resource.admin",
];
const BASE: &str = "/resourceregistry/api/v1/access-lists";

pub(crate) fn router() -> Router<Arc<Shared>> {
    let path = |rest: &str| format!("{BASE}/{rest}");
    Router::new()
        .route(&path("memberships"), get(|| async { StatusCode::FORBIDDEN }))
        .route(&path("get-by-member"), get(|| async { StatusCode::FORBIDDEN }))
        .route(&path("{owner}"), get(lists))
        .route(&path("{owner}/{list}"), get(one))
        .route(&path("{owner}/{list}/members"), get(members))
        .route(&path("{owner}/{list}/resource-connections"), get(connections))
}

fn authorize(shared: &Shared, headers: &HeaderMap, owner: &str) -> Result<(), Refusal> {
    let caller = Caller::authorize(shared, headers, &SCOPES)?;
    if caller.org_code() == Some(owner) { Ok(()) } else { Err(StatusCode::FORBIDDEN.into()) }
}

fn page(data: &[Value]) -> Response {
    indented(&json!({ "links": {}, "data": data }))
}

async fn lists(
    State(shared): State<Arc<Shared>>,
    Path(owner): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers, &owner)?;
    let world = shared.world();
    let data: Vec<Value> = world.access_lists.values().map(|list| to_json(&owner, list)).collect();
    Ok(page(&data))
}

fn to_json(owner: &str, list: &AccessList) -> Value {
    json!({
        "urn": format!("urn:altinn:access-list:{owner}:{}", list.id),
        "identifier": list.id,
        "name": list.name,
        "description": list.name,
        "createdAt": clock::rfc3339(0),
        "updatedAt": clock::rfc3339(0),
    })
}

fn with_list(
    shared: &Shared,
    id: &str,
    write: impl FnOnce(&World, &AccessList) -> Response,
) -> Result<Response, Refusal> {
    let world = shared.world();
    let list = world.access_lists.get(id);
    list.map(|list| write(&world, list)).ok_or_else(|| StatusCode::NOT_FOUND.into())
}

async fn one(
    State(shared): State<Arc<Shared>>,
    Path((owner, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers, &owner)?;
    with_list(&shared, &id, |_, list| indented(&to_json(&owner, list)))
}

async fn members(
    State(shared): State<Arc<Shared>>,
    Path((owner, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers, &owner)?;
    with_list(&shared, &id, |world, list| {
        let organizations = list.members.iter().filter_map(|it| world.organizations.get(it));
        page(&organizations.map(member).collect::<Vec<_>>())
    })
}

fn member(organization: &Organization) -> Value {
    let uuid = organization.uuid().unwrap_or_default();
    let uuid_urn = format!("urn:altinn:party:uuid:{uuid}");
    json!({
        "id": uuid_urn,
        "since": clock::rfc3339(0),
        "identifiers": {
            "urn:altinn:party:uuid": uuid_urn,
            "urn:altinn:party:id": format!("urn:altinn:party:id:{}", organization.party_id),
            "urn:altinn:organization:identifier-no":
                format!("urn:altinn:organization:identifier-no:{}", organization.number),
        },
    })
}

async fn connections(
    State(shared): State<Arc<Shared>>,
    Path((owner, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers, &owner)?;
    with_list(&shared, &id, |world, list| {
        let resources = world.resources.values();
        let connected = resources.filter(|resource| resource.access_lists.contains(&list.id));
        let data: Vec<Value> = connected
            .map(|resource| {
                let mut row = json!({
                    "resourceIdentifier": resource.id,
                    "createdAt": clock::rfc3339(0),
                    "updatedAt": clock::rfc3339(0),
                });
                if let (Some(actions), Some(members)) = (&list.actions, row.as_object_mut()) {
                    members.insert("actionFilters".to_owned(), json!(actions));
                }
                row
            })
            .collect();
        page(&data)
    })
}
