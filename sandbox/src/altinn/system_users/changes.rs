//! Change requests: a vendor asks that a standard system user holds more or less.

use super::approval::{fill, give};
use super::dto::{self, PackageBody, RightBody};
use super::portal::Portal;
use super::problems::auth;
use super::requests::{READ, WRITE, check_packages, check_redirect, check_rights, token, vendor};
use super::{PAGE, SYSTEM_USER, accepted, page};
use crate::altinn::Refusal;
use crate::clock;
use crate::state::{Shared, View};
use crate::world::World;
use crate::world::model::{SystemUser, SystemUserKind};
use crate::world::number::OrgNumber;
use crate::world::requests::{ChangeRequest, MOST_REQUESTS, RequestStatus};
use crate::world::rights::whole;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub(super) fn router() -> Router<Arc<Shared>> {
    let path = |rest: &str| format!("{SYSTEM_USER}/changerequest/{rest}");
    Router::new()
        .route(&path("vendor"), post(create))
        .route(&path("vendor/{id}"), get(vendors_one).delete(withdraw))
        .route(&path("vendor/byexternalref/{system}/{party}/{reference}"), get(by_reference))
        .route(&path("vendor/bysystem/{system}"), get(by_system))
        .route(&path("{id}"), get(read))
        .route(&path("{party}/{id}"), get(read_for))
        .route(&path("{party}/{id}/approve"), post(approve))
        .route(&path("{party}/{id}/reject"), post(reject))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Target {
    correlation_id: Option<Uuid>,
    system_user_id: Option<Uuid>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ChangeBody {
    required_rights: Vec<RightBody>,
    unwanted_rights: Vec<RightBody>,
    required_access_packages: Vec<PackageBody>,
    unwanted_access_packages: Vec<PackageBody>,
    redirect_url: Option<String>,
}

impl ChangeBody {
    fn is_empty(&self) -> bool {
        self.required_rights.is_empty()
            && self.unwanted_rights.is_empty()
            && self.required_access_packages.is_empty()
            && self.unwanted_access_packages.is_empty()
    }
}

async fn create(
    State(shared): State<Arc<Shared>>,
    Query(target): Query<Target>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let vendor = vendor(&shared, &headers, &WRITE)?;
    let id = correlation(&target)?;
    let body: ChangeBody = dto::body(&body)?;
    let mut world = shared.world_mut();
    let user = target.system_user_id.and_then(|id| world.system_users.get(&id));
    let user = user.filter(|it| !it.deleted && it.kind == SystemUserKind::Standard);
    let user = user.ok_or_else(|| auth(15))?;
    let system = world.systems.get(&user.system).ok_or_else(|| auth(15))?;
    if system.vendor != vendor {
        return Err(StatusCode::UNAUTHORIZED.into());
    }
    if let Some(stored) = world.change_requests.get(&id) {
        return Ok(Json(to_json(&shared, &world, user, stored)).into_response());
    }
    check_redirect(system, body.redirect_url.as_deref())?;
    let packages =
        |asked: &[PackageBody]| check_packages(&world, system, SystemUserKind::Standard, asked);
    let resources = |rights: &[RightBody]| -> Vec<String> {
        rights.iter().map(|right| right.resource().to_owned()).collect()
    };
    let request = ChangeRequest {
        id,
        system_user: user.id,
        required_rights: check_rights(system, &body.required_rights)?,
        // What is unwanted may have left the system already.
        unwanted_rights: resources(&body.unwanted_rights),
        required_packages: packages(&body.required_access_packages)?,
        unwanted_packages: body
            .unwanted_access_packages
            .iter()
            .filter_map(|it| world.package_by_urn(&it.urn))
            .map(|package| package.code.clone())
            .collect(),
        redirect_url: body.redirect_url.clone(),
        status: RequestStatus::New,
        created: shared.now(),
        deleted: false,
    };
    let mut answer = to_json(&shared, &world, user, &request);
    if body.is_empty() {
        if let Some(members) = answer.as_object_mut() {
            members.insert("status".to_owned(), json!("NoChangeNeeded"));
        }
        return Ok(Json(answer).into_response());
    }
    if world.change_requests.len() >= MOST_REQUESTS {
        return Err(auth(12));
    }
    world.change_requests.insert(id, request);
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The vendor's own id of the change.
fn correlation(target: &Target) -> Result<Uuid, Refusal> {
    target
        .correlation_id
        .filter(|id| !id.is_nil() && Some(*id) != target.system_user_id)
        .ok_or_else(|| {
            let text = "correlation-id must be a new UUID, other than the system user's id";
            Refusal::Text(StatusCode::BAD_REQUEST, text.to_owned())
        })
}

fn to_json(shared: &Shared, world: &World, user: &SystemUser, request: &ChangeRequest) -> Value {
    let confirm = format!(
        "{}/accessmanagement/ui/systemuser/changerequest?id={}&DONTCHOOSEREPORTEE=true",
        shared.urls.altinn, request.id
    );
    dto::without_nulls(json!({
        "id": request.id,
        "externalRef": user.reference(),
        "systemId": user.system,
        "systemUserId": user.id,
        "partyOrgNo": user.owner,
        "requiredRights": dto::rights(&request.required_rights),
        "unwantedRights": dto::rights(&request.unwanted_rights),
        "requiredAccessPackages": dto::packages(world, &request.required_packages),
        "unwantedAccessPackages": dto::packages(world, &request.unwanted_packages),
        "status": request.status.name(),
        "redirectUrl": request.redirect_url,
        "confirmUrl": confirm,
        "created": clock::zulu(request.created),
        "timedOut": request.timed_out(shared.now()),
    }))
}

/// A change request that was not withdrawn, with its system user.
fn find(world: &World, id: Uuid) -> Result<(&SystemUser, &ChangeRequest), Refusal> {
    let request = world.change_requests.get(&id).filter(|it| !it.deleted);
    let request = request.ok_or_else(|| auth(10))?;
    let user = world.system_users.get(&request.system_user).ok_or_else(|| auth(10))?;
    Ok((user, request))
}

fn check_vendor(world: &World, user: &SystemUser, vendor: OrgNumber) -> Result<(), Refusal> {
    let own = world.systems.get(&user.system).is_some_and(|system| system.vendor == vendor);
    if own { Ok(()) } else { Err(auth(11)) }
}

async fn vendors_one(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let vendor = vendor(&shared, &headers, &READ)?;
    let (user, request) = find(&world, id)?;
    check_vendor(&world, user, vendor)?;
    Ok(Json(to_json(&shared, &world, user, request)).into_response())
}

async fn by_reference(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path((system, party, reference)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let vendor = vendor(&shared, &headers, &READ)?;
    let found = world.change_requests.keys().filter_map(|id| find(&world, *id).ok());
    let mut found = found.filter(|(user, _)| {
        user.system == system && user.owner.as_str() == party && user.reference() == reference
    });
    let (user, request) = found.next().ok_or_else(|| auth(10))?;
    check_vendor(&world, user, vendor)?;
    Ok(Json(to_json(&shared, &world, user, request)).into_response())
}

/// Always the first page: the real service does not look at the token.
async fn by_system(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(system): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let vendor = vendor(&shared, &headers, &READ)?;
    if world.systems.get(&system).is_none_or(|it| it.vendor != vendor) {
        return Err(auth(11));
    }
    let found = world.change_requests.keys().filter_map(|id| find(&world, *id).ok());
    let mut rows = found.filter(|(user, _)| user.system == system);
    let data: Vec<Value> =
        rows.by_ref().take(PAGE).map(|(user, it)| to_json(&shared, &world, user, it)).collect();
    let next = rows.next().map(|(_, request)| token(&json!(request.id)));
    Ok(page(&shared, uri.path(), &data, next))
}

async fn withdraw(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    vendor(&shared, &headers, &WRITE)?;
    let mut world = shared.world_mut();
    let request = world.change_requests.get_mut(&id).filter(|request| !request.deleted);
    request.ok_or_else(|| auth(10))?.deleted = true;
    Ok(accepted())
}

/// For anyone who is logged in and has to do with the organisation.
async fn read(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let (user, request) = find(&world, id)?;
    if !portal.authority(&world, user.owner).is_known() {
        return Err(StatusCode::FORBIDDEN.into());
    }
    Ok(Json(to_json(&shared, &world, user, request)).into_response())
}

async fn read_for(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path((party, id)): Path<(u64, Uuid)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (owner, _) = Portal::enter(&shared, &headers)?.managed(&world, party)?;
    let (user, request) = find(&world, id)?;
    if user.owner != owner.number {
        return Err(auth(41));
    }
    Ok(Json(to_json(&shared, &world, user, request)).into_response())
}

/// Gives what is required and takes what is unwanted.
async fn approve(
    State(shared): State<Arc<Shared>>,
    Path((party, id)): Path<(u64, Uuid)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let mut world = shared.world_mut();
    let (owner, approver) = portal.managed(&world, party)?;
    let (user, request) = open(&world, id, owner.number)?;
    // Else somebody who does not exist any more would be given rights.
    if user.deleted {
        return Err(auth(15));
    }
    let given = give(&world, approver, &request.required_rights, &request.required_packages)?;
    let (user, owner, request) = (user.id, owner.number, request.clone());
    if let Some(user) = world.system_users.get_mut(&user) {
        let delegation = user.delegations.of_mut(owner.into());
        fill(delegation, given);
        delegation.packages.retain(|code| !request.unwanted_packages.contains(code));
        delegation
            .single_rights
            .retain(|key, _| !request.unwanted_rights.iter().any(|id| id == whole(key)));
        user.delegations.tidy();
    }
    world.touch_system_user(user);
    finish(&mut world, id, RequestStatus::Accepted);
    Ok(Json(true).into_response())
}

async fn reject(
    State(shared): State<Arc<Shared>>,
    Path((party, id)): Path<(u64, Uuid)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let mut world = shared.world_mut();
    let (owner, _) = portal.managed(&world, party)?;
    open(&world, id, owner.number)?;
    finish(&mut world, id, RequestStatus::Rejected);
    Ok(Json(true).into_response())
}

/// A change request that waits for this organisation.
fn open(
    world: &World,
    id: Uuid,
    owner: OrgNumber,
) -> Result<(&SystemUser, &ChangeRequest), Refusal> {
    let (user, request) = find(world, id)?;
    if user.owner != owner {
        return Err(auth(41));
    }
    if request.status != RequestStatus::New {
        return Err(auth(61));
    }
    Ok((user, request))
}

fn finish(world: &mut World, id: Uuid, status: RequestStatus) {
    if let Some(request) = world.change_requests.get_mut(&id) {
        request.status = status;
    }
}
