//! System users: looked up by Maskinporten and vendors, made and deleted by their owners, streamed to Altinn Register.

use super::approval::chosen;
use super::portal::Portal;
use super::problems::auth;
use super::requests::{PageQuery, WRITE, scalar, token, vendor};
use super::{PAGE, SYSTEM_USER, dto, page};
use crate::altinn::bearer::Caller;
use crate::altinn::{Refusal, framework_problem};
use crate::clock;
use crate::state::{Shared, View};
use crate::world::World;
use crate::world::model::{SystemUser, SystemUserKind};
use crate::world::number::OrgNumber;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const LOOKUP: [&str; 1] = ["altinn:maskinporten/systemuser.read"];
const REGISTER: [&str; 2] =
    ["altinn:authentication/systemregister.write", "altinn:authentication/systemregister.admin"];
const INTERNAL: [&str; 1] = ["altinn:authentication/systemuser.admin"];

pub(super) fn router() -> Router<Arc<Shared>> {
    let path = |rest: &str| format!("{SYSTEM_USER}/{rest}");
    Router::new()
        .route(&path("byExternalId"), get(by_external_id))
        .route(&path("vendor/byquery"), get(by_query))
        .route(&path("vendor/bysystem/{system}"), get(by_system))
        .route(&path("internal/systemusers/stream"), get(stream))
        .route(&path("internal/systemusers/{id}"), get(streamed_one))
        .route(&path("{party}"), get(standard_of))
        .route(&path("agent/{party}"), get(agents_of))
        .route(&path("{party}/create"), post(create))
        .route(&path("{party}/{id}"), get(detail).delete(delete_standard))
        .route(&path("{party}/{id}/delegations"), get(delegations))
        .route(&path("agent/{party}/{id}"), delete(delete_agent).post(super::clients::delegate))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExternalId {
    client_id: Option<String>,
    system_provider_org_no: Option<String>,
    system_user_owner_org_no: Option<String>,
    external_ref: Option<String>,
}

/// The look-up that Maskinporten makes for each token.
async fn by_external_id(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Query(query): Query<ExternalId>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Caller::of_either_issuer(&shared, &headers, &LOOKUP)?;
    let (Some(client), Some(vendor), Some(owner)) =
        (query.client_id, query.system_provider_org_no, query.system_user_owner_org_no)
    else {
        return Err(StatusCode::BAD_REQUEST.into());
    };
    let vendor = OrgNumber::parse(&vendor).map_err(|_| StatusCode::NOT_FOUND)?;
    let owner = OrgNumber::parse(&owner).map_err(|_| StatusCode::NOT_FOUND)?;
    let reference = query.external_ref.as_deref();
    let user = world.find_system_user(&client, vendor, owner, reference, true);
    let user = user.ok_or(StatusCode::NOT_FOUND)?;
    let mut value = dto::external_user(&world, user);
    if let Some(members) = value.as_object_mut() {
        members.insert("productName".to_owned(), json!(user.system));
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(value)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ByQuery {
    system_id: Option<String>,
    orgno: Option<String>,
    external_ref: Option<String>,
}

async fn by_query(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Query(query): Query<ByQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let vendor = vendor(&shared, &headers, &WRITE)?;
    let missing = |name: &str| framework_problem(name, &format!("The {name} field is required."));
    let system = query.system_id.ok_or_else(|| missing("system-id"))?;
    let owner = query.orgno.ok_or_else(|| missing("orgno"))?;
    let owner = OrgNumber::parse(&owner).map_err(|_| StatusCode::NOT_FOUND)?;
    let reference = query.external_ref.as_deref().filter(|text| !text.is_empty());
    let reference = reference.unwrap_or(owner.as_str());
    let own = world.systems.get(&system).is_some_and(|it| it.vendor == vendor);
    let user = world.active_user(&system, owner, reference).filter(|_| own);
    let user = user.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(dto::external_user(&world, user)).into_response())
}

/// The vendor's system users by position, so that a vendor can poll for changes.
async fn by_system(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(system): Path<String>,
    Query(query): Query<PageQuery>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let vendor = vendor(&shared, &headers, &REGISTER)?;
    if world.systems.get(&system).is_none_or(|system| system.vendor != vendor) {
        return Err(auth(11));
    }
    let after = scalar(query.token.as_deref()).and_then(|value| value.as_u64()).unwrap_or(0);
    let mut users: Vec<&SystemUser> = world
        .system_users
        .values()
        .filter(|user| user.system == system && user.sequence > after)
        .collect();
    users.sort_by_key(|user| user.sequence);
    let more = users.len() > PAGE;
    users.truncate(PAGE);
    let last = users.last().filter(|_| more).map(|user| token(&json!(user.sequence)));
    let data: Vec<Value> = users.iter().map(|user| dto::external_user(&world, user)).collect();
    Ok(page(&shared, uri.path(), &data, last))
}

fn streamed(world: &World, user: &SystemUser) -> Value {
    let party = world.organizations.get(&user.owner);
    json!({
        "id": user.id,
        "partyOrgNo": user.owner,
        "partyId": party.map(|party| party.party_id.to_string()),
        "integrationTitle": user.title,
        "isDeleted": user.deleted,
        "lastChanged": clock::zulu(user.created),
        "created": clock::zulu(user.created),
        "sequenceNo": user.sequence,
        "systemUserType": dto::kind(user.kind),
    })
}

/// Altinn Register's stream; closed to everyone who does not hold the internal scope.
async fn stream(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Query(query): Query<PageQuery>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Caller::of_either_issuer(&shared, &headers, &INTERNAL)?;
    let after = scalar(query.token.as_deref()).and_then(|value| value.as_u64()).unwrap_or(0);
    let mut users: Vec<&SystemUser> =
        world.system_users.values().filter(|user| user.sequence > after).collect();
    users.sort_by_key(|user| user.sequence);
    let maximum = world.system_users.values().map(|user| user.sequence).max();
    users.truncate(100);
    let (first, last) = (users.first(), users.last());
    let links = last.map_or_else(
        || json!({}),
        |last| {
            let token = token(&json!(last.sequence));
            json!({ "next": format!("{}{}?token={token}", shared.urls.altinn, uri.path()) })
        },
    );
    let data: Vec<Value> = users.iter().map(|user| streamed(&world, user)).collect();
    Ok(Json(json!({
        "links": links,
        "stats": {
            "pageStart": first.map(|user| user.sequence),
            "pageEnd": last.map(|user| user.sequence),
            "sequenceMax": maximum,
        },
        "data": data,
    }))
    .into_response())
}

async fn streamed_one(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Caller::of_either_issuer(&shared, &headers, &INTERNAL)?;
    let user = world.system_users.get(&id).filter(|user| !user.deleted);
    let user = user.ok_or(StatusCode::GONE)?;
    Ok(Json(streamed(&world, user)).into_response())
}

fn of_kind(world: &World, owner: OrgNumber, kind: SystemUserKind) -> Json<Vec<Value>> {
    let users = world.users_of(owner).filter(|user| !user.deleted && user.kind == kind);
    Json(users.map(|user| dto::internal_user(world, user)).collect())
}

async fn standard_of(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(party): Path<u64>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (owner, _) = Portal::enter(&shared, &headers)?.organization(&world, party)?;
    Ok(of_kind(&world, owner.number, SystemUserKind::Standard).into_response())
}

async fn agents_of(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(party): Path<u64>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (owner, _) = Portal::enter(&shared, &headers)?.organization(&world, party)?;
    Ok(of_kind(&world, owner.number, SystemUserKind::Agent).into_response())
}

/// The living system user of a party.
pub(super) fn owned(world: &World, owner: OrgNumber, id: Uuid) -> Option<&SystemUser> {
    world.system_users.get(&id).filter(|user| user.owner == owner && !user.deleted)
}

async fn detail(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path((party, id)): Path<(u64, Uuid)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (owner, _) = Portal::enter(&shared, &headers)?.organization(&world, party)?;
    let user = owned(&world, owner.number, id).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(dto::detailed_user(&world, user)).into_response())
}

async fn delegations(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path((party, id)): Path<(u64, Uuid)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (owner, _) = Portal::enter(&shared, &headers)?.organization(&world, party)?;
    let user = owned(&world, owner.number, id).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(dto::delegations(&world, user)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Choice {
    integration_title: Option<String>,
    system_id: String,
}

/// The customer chooses a system and gives what it needs.
async fn create(
    State(shared): State<Arc<Shared>>,
    Path(party): Path<u64>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let choice: Choice = dto::body(&body)?;
    let mut world = shared.world_mut();
    let (owner, approver) = portal.managed(&world, party)?;
    let system = world.systems.get(&choice.system_id).filter(|it| it.visible && !it.deleted);
    let system = system.ok_or_else(|| auth(11))?;
    let title = choice.integration_title;
    let user = chosen(&world, system, title, owner.number, approver, shared.now())?;
    let id = user.id;
    world.put_system_user(user);
    let made = world.system_users.get(&id).map(|user| dto::internal_user(&world, user));
    Ok(Json(json!(made)).into_response())
}

async fn delete_standard(
    State(shared): State<Arc<Shared>>,
    Path((party, id)): Path<(u64, Uuid)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let mut world = shared.world_mut();
    let (owner, _) = portal.managed(&world, party)?;
    let missing = || (StatusCode::NOT_FOUND, Json(0)).into_response();
    let Some(user) = world.system_users.get(&id).filter(|user| !user.deleted) else {
        return Ok(missing());
    };
    if user.owner != owner.number {
        return Err(auth(24));
    }
    if user.kind != SystemUserKind::Standard {
        return Err(auth(36));
    }
    world.delete_in_order(id);
    Ok((StatusCode::ACCEPTED, Json(1)).into_response())
}

async fn delete_agent(
    State(shared): State<Arc<Shared>>,
    Path((party, id)): Path<(u64, Uuid)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let mut world = shared.world_mut();
    let (owner, _) = portal.managed(&world, party)?;
    let user = owned(&world, owner.number, id).ok_or_else(|| auth(15))?;
    if user.kind != SystemUserKind::Agent {
        return Err(auth(34));
    }
    let own = owner.number.into();
    if user.delegations.iter().any(|delegation| delegation.party != own) {
        return Err(auth(35));
    }
    world.delete_system_user(id);
    Ok((StatusCode::ACCEPTED, Json(true)).into_response())
}
