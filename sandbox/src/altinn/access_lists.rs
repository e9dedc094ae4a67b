//! The service owner's access lists, readable by that owner only, in pages.

use super::bearer::Caller;
use super::registry::indented;
use super::{Refusal, not_simulated};
use crate::clock;
use crate::crypto::{base64url, from_base64url};
use crate::state::{Shared, View};
use crate::world::World;
use crate::world::party::Organization;
use crate::world::resource::AccessList;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
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
        .route(&path("{owner}/{list}"), get(one).put(not_simulated).delete(not_simulated))
        .route(
            &path("{owner}/{list}/members"),
            get(members).put(not_simulated).post(not_simulated).delete(not_simulated),
        )
        .route(&path("{owner}/{list}/resource-connections"), get(connections))
}

fn authorize(shared: &Shared, headers: &HeaderMap, owner: &str) -> Result<(), Refusal> {
    let caller = Caller::authorize(shared, headers, &SCOPES)?;
    if caller.org_code() == Some(owner) { Ok(()) } else { Err(StatusCode::FORBIDDEN.into()) }
}

/// Where to go on in a list; opaque to callers.
#[derive(Debug, Deserialize)]
struct PageQuery {
    token: Option<String>,
}

/// What the four lists have in common.
struct Paging<'a> {
    shared: &'a Shared,
    path: &'a str,
    query: &'a PageQuery,
}

impl Paging<'_> {
    /// One page, with a link to the next where there is one. A token that is none begins anew.
    fn page<T>(&self, rows: impl Iterator<Item = T>, write: impl Fn(T) -> Value) -> Response {
        let size = self.shared.features().access_list_page;
        let start = self.query.token.as_deref().and_then(offset).unwrap_or(0);
        let mut rows = rows.skip(start);
        let data: Vec<Value> = rows.by_ref().take(size).map(write).collect();
        let links = if rows.next().is_some() {
            let token = base64url((start + size).to_string().as_bytes());
            let base = &self.shared.urls.altinn;
            json!({ "next": format!("{base}{}?token={token}", self.path) })
        } else {
            json!({})
        };
        indented(&json!({ "links": links, "data": data }))
    }
}

/// The number of rows to skip that a token stands for.
fn offset(token: &str) -> Option<usize> {
    String::from_utf8(from_base64url(token)?).ok()?.parse().ok()
}

async fn lists(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(owner): Path<String>,
    uri: Uri,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers, &owner)?;
    let paging = Paging { shared: &shared, path: uri.path(), query: &query };
    Ok(paging.page(world.access_lists.values(), |list| to_json(&owner, list)))
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

fn find<'a>(world: &'a World, id: &str) -> Result<&'a AccessList, Refusal> {
    world.access_lists.get(id).ok_or_else(|| StatusCode::NOT_FOUND.into())
}

async fn one(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path((owner, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers, &owner)?;
    find(&world, &id).map(|list| indented(&to_json(&owner, list)))
}

async fn members(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path((owner, id)): Path<(String, String)>,
    uri: Uri,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers, &owner)?;
    let list = find(&world, &id)?;
    let paging = Paging { shared: &shared, path: uri.path(), query: &query };
    Ok(paging.page(members_of(&world, list), member))
}

/// The organisations on a list.
pub(crate) fn members_of<'a>(
    world: &'a World,
    list: &'a AccessList,
) -> impl Iterator<Item = &'a Organization> {
    list.members.iter().filter_map(|number| world.organizations.get(number))
}

pub(crate) fn member(organization: &Organization) -> Value {
    let uuid = organization.uuid();
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
    View(world): View,
    Path((owner, id)): Path<(String, String)>,
    uri: Uri,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&shared, &headers, &owner)?;
    let list = find(&world, &id)?;
    let paging = Paging { shared: &shared, path: uri.path(), query: &query };
    Ok(paging.page(connections_of(&world, list), |row| row))
}

/// The rows that connect a list to resources.
pub(crate) fn connections_of<'a>(
    world: &'a World,
    list: &'a AccessList,
) -> impl Iterator<Item = Value> {
    let resources = world.resources.values();
    resources
        .filter(|resource| resource.access_lists.contains(&list.id))
        .map(|resource| connection(list, &resource.id))
}

/// The row that connects a list to a resource.
fn connection(list: &AccessList, resource: &str) -> Value {
    let mut row = json!({
        "resourceIdentifier": resource,
        "createdAt": clock::rfc3339(0),
        "updatedAt": clock::rfc3339(0),
    });
    if let (Some(actions), Some(members)) = (list.filter(), row.as_object_mut()) {
        members.insert("actionFilters".to_owned(), json!(actions));
    }
    row
}
