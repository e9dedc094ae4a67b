//! Requests by which a vendor asks a customer for a system user, as the vendor sees them.

use super::dto::{self, PackageBody, RightBody};
use super::problems::{auth, auth_with, packages};
use super::{PAGE, SYSTEM_USER, accepted, page};
use crate::altinn::Refusal;
use crate::altinn::bearer::Caller;
use crate::clock;
use crate::crypto::{base64url, from_base64url};
use crate::state::{Shared, View};
use crate::world::World;
use crate::world::model::{System, SystemUserKind};
use crate::world::number::OrgNumber;
use crate::world::requests::{MOST_REQUESTS, RequestStatus, UserRequest};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub(super) const READ: [&str; 1] = ["altinn:authentication/systemuser.request.read"];
pub(super) const WRITE: [&str; 1] = ["altinn:authentication/systemuser.request.write"];

pub(super) fn router() -> Router<Arc<Shared>> {
    let path = |rest: &str| format!("{SYSTEM_USER}/request/{rest}");
    let key = "byexternalref/{system}/{party}/{reference}";
    Router::new()
        .route(&path("vendor"), post(create::<false>))
        .route(&path("vendor/agent"), post(create::<true>))
        .route(&path("vendor/{id}"), get(one::<false>).delete(withdraw))
        .route(&path("vendor/agent/{id}"), get(one::<true>))
        .route(&path(&format!("vendor/{key}")), get(by_reference::<false>))
        .route(&path(&format!("vendor/agent/{key}")), get(by_reference::<true>))
        .route(&path("vendor/bysystem/{system}"), get(by_system::<false>))
        .route(&path("vendor/agent/bysystem/{system}"), get(by_system::<true>))
}

/// Which of the two kinds an endpoint is for; they have the same shape.
fn kind<const AGENT: bool>() -> SystemUserKind {
    if AGENT { SystemUserKind::Agent } else { SystemUserKind::Standard }
}

/// The vendor that calls.
pub(super) fn vendor(
    shared: &Shared,
    headers: &HeaderMap,
    scopes: &[&str],
) -> Result<OrgNumber, Refusal> {
    let caller = Caller::of_either_issuer(shared, headers, scopes)?;
    caller.consumer().ok_or_else(|| auth(23))
}

/// A request as vendors send it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestBody {
    integration_title: Option<String>,
    external_ref: Option<String>,
    system_id: String,
    party_org_no: String,
    rights: Option<Vec<RightBody>>,
    access_packages: Option<Vec<PackageBody>>,
    redirect_url: Option<String>,
}

/// `redirectUrl` must have scheme, host and path of one that the system allows.
pub(super) fn check_redirect(system: &System, url: Option<&str>) -> Result<(), Refusal> {
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(()) };
    let bare = |url: &str| url.split(['?', '#']).next().unwrap_or_default().to_owned();
    if system.redirect_urls.is_empty() {
        return Err(auth(26));
    }
    let allowed = system.redirect_urls.iter().any(|allowed| bare(allowed) == bare(url));
    if allowed { Ok(()) } else { Err(auth(21)) }
}

/// The resources of rights, each needed by the system.
pub(super) fn check_rights(system: &System, rights: &[RightBody]) -> Result<Vec<String>, Refusal> {
    let known = |right: &RightBody| right.is_by_resource() && system.needs_right(right.resource());
    if rights.iter().all(known) {
        Ok(rights.iter().map(|right| right.resource().to_owned()).collect())
    } else {
        Err(auth(1))
    }
}

/// The codes of packages, each needed by the system and fit for the kind of system user.
pub(super) fn check_packages(
    world: &World,
    system: &System,
    kind: SystemUserKind,
    asked: &[PackageBody],
) -> Result<Vec<String>, Refusal> {
    let needed = |urn: &str| {
        world.package_by_urn(urn).filter(|package| system.packages.contains(&package.code))
    };
    let urns = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        asked.iter().map(|it| it.urn.clone()).filter(|urn| wanted(urn)).collect()
    };
    let missing = urns(&|urn| needed(urn).is_none());
    if !missing.is_empty() {
        return Err(auth_with(63, packages("NotFoundPackages", &missing)));
    }
    let unfit = urns(&|urn| {
        needed(urn).is_some_and(|package| match kind {
            SystemUserKind::Standard => !package.assignable,
            SystemUserKind::Agent => !package.delegable,
        })
    });
    if !unfit.is_empty() {
        let number = if kind == SystemUserKind::Standard { 64 } else { 65 };
        return Err(auth_with(number, packages("NotDelegablePackages", &unfit)));
    }
    Ok(asked.iter().filter_map(|it| needed(&it.urn)).map(|package| package.code.clone()).collect())
}

/// Either list must have something, an agent's the packages.
fn check_content(kind: SystemUserKind, body: &RequestBody) -> Result<(), Refusal> {
    let rights = body.rights.as_ref().is_some_and(|list| !list.is_empty());
    let packages = body.access_packages.as_ref().is_some_and(|list| !list.is_empty());
    match kind {
        SystemUserKind::Agent if !packages => Err(auth(58)),
        SystemUserKind::Standard if body.rights.is_none() && body.access_packages.is_none() => {
            Err(auth(1))
        }
        SystemUserKind::Standard if !rights && !packages => Err(auth(59)),
        SystemUserKind::Agent | SystemUserKind::Standard => Ok(()),
    }
}

/// In the order of the real service: what exists already comes before what is wrong.
async fn create<const AGENT: bool>(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let (shared, kind) = (&*shared, kind::<AGENT>());
    let vendor = vendor(shared, &headers, &WRITE)?;
    let body: RequestBody = dto::body(&body)?;
    let mut world = shared.world_mut();
    let party = OrgNumber::parse(body.party_org_no.trim()).ok();
    let id = body.system_id.trim();
    let owned = |system: &&System| system.vendor == vendor && !system.deleted;
    if let Some(party) = party {
        let reference = body.external_ref.as_deref().map(str::trim).filter(|it| !it.is_empty());
        let reference = reference.unwrap_or(party.as_str());
        if world.active_user(id, party, reference).is_some() {
            return Err(auth(4));
        }
        let stored = find_by_reference(&world, id, party, reference);
        if let Some(stored) = stored.filter(|_| world.systems.get(id).as_ref().is_some_and(owned)) {
            return Ok(Json(to_json(shared, &world, stored)).into_response());
        }
    }
    let system = world.systems.get(id).filter(owned).ok_or_else(|| auth(11))?;
    let party = party.filter(|it| world.organizations.contains_key(it)).ok_or_else(|| auth(0))?;
    check_redirect(system, body.redirect_url.as_deref())?;
    check_content(kind, &body)?;
    let rights = check_rights(system, body.rights.as_deref().unwrap_or_default())?;
    let asked = body.access_packages.as_deref().unwrap_or_default();
    let packages = check_packages(&world, system, kind, asked)?;
    if world.requests.len() >= MOST_REQUESTS {
        return Err(auth(12));
    }
    let trimmed = |text: Option<String>| {
        text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let request = UserRequest {
        id: Uuid::new_v4(),
        kind,
        system: id.to_owned(),
        party,
        external_ref: trimmed(body.external_ref),
        title: trimmed(body.integration_title),
        rights: if kind == SystemUserKind::Agent { Vec::new() } else { rights },
        packages,
        redirect_url: trimmed(body.redirect_url),
        status: RequestStatus::New,
        escalated: false,
        created: shared.now(),
        deleted: false,
    };
    let mut answer = to_json(shared, &world, &request);
    // A quirk of the real service: the time is not filled in yet.
    if let Some(members) = answer.as_object_mut() {
        members.insert("created".to_owned(), json!("0001-01-01T00:00:00"));
    }
    let location = format!("{}{SYSTEM_USER}/request/{}", shared.urls.altinn, request.id);
    world.requests.insert(request.id, request);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(answer)).into_response())
}

fn find_by_reference<'a>(
    world: &'a World,
    system: &str,
    party: OrgNumber,
    reference: &str,
) -> Option<&'a UserRequest> {
    world.requests.values().find(|request| {
        !request.deleted
            && request.system == system
            && request.party == party
            && request.reference() == reference
    })
}

/// A request as vendors and the portal see it.
pub(super) fn to_json(shared: &Shared, world: &World, request: &UserRequest) -> Value {
    let page = match request.kind {
        SystemUserKind::Standard => "request",
        SystemUserKind::Agent => "agentrequest",
    };
    let confirm = format!(
        "{}/accessmanagement/ui/systemuser/{page}?id={}&DONTCHOOSEREPORTEE=true",
        shared.urls.altinn, request.id
    );
    let system_name = world.systems.get(&request.system).map(|it| it.name.norwegian());
    let rights = (request.kind == SystemUserKind::Standard).then(|| dto::rights(&request.rights));
    dto::without_nulls(json!({
        "id": request.id,
        "integrationTitle": request.title.as_deref().or(system_name),
        "externalRef": request.reference(),
        "systemId": request.system,
        "partyOrgNo": request.party,
        "rights": rights,
        "accessPackages": dto::packages(world, &request.packages),
        "status": request.status.name(),
        "redirectUrl": request.redirect_url,
        "confirmUrl": confirm,
        "escalated": request.escalated,
        "created": clock::zulu(request.created),
        "timedOut": request.timed_out(shared.now()),
    }))
}

/// A request of the vendor's own systems.
fn own<'a>(
    world: &'a World,
    vendor: OrgNumber,
    request: Option<&'a UserRequest>,
    kind: SystemUserKind,
) -> Result<&'a UserRequest, Refusal> {
    let request = request.filter(|request| !request.deleted).ok_or_else(|| auth(10))?;
    let system = world.systems.get(&request.system);
    if system.is_none_or(|system| system.vendor != vendor) {
        return Err(auth(11));
    }
    match (kind, request.kind) {
        (SystemUserKind::Agent, SystemUserKind::Standard) => Err(auth(25)),
        (SystemUserKind::Standard, SystemUserKind::Agent) => Err(auth(10)),
        _ => Ok(request),
    }
}

fn read_one(
    shared: &Shared,
    headers: &HeaderMap,
    kind: SystemUserKind,
    find: impl FnOnce(&World) -> Option<&UserRequest>,
) -> Result<Response, Refusal> {
    let vendor = vendor(shared, headers, &READ)?;
    let world = shared.snapshot();
    let request = own(&world, vendor, find(&world), kind)?;
    Ok(Json(to_json(shared, &world, request)).into_response())
}

async fn one<const AGENT: bool>(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    read_one(&shared, &headers, kind::<AGENT>(), |world| world.requests.get(&id))
}

/// System, party and reference in a path.
type Key = (String, String, String);

fn with_key<'a>(world: &'a World, (system, party, reference): &Key) -> Option<&'a UserRequest> {
    find_by_reference(world, system, OrgNumber::parse(party).ok()?, reference)
}

async fn by_reference<const AGENT: bool>(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<Key>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    read_one(&shared, &headers, kind::<AGENT>(), |world| with_key(world, &key))
}

/// Where to go on in a list.
#[derive(Debug, Deserialize)]
pub(super) struct PageQuery {
    pub(super) token: Option<String>,
}

/// The JSON scalar in a token.
pub(super) fn scalar(token: Option<&str>) -> Option<Value> {
    serde_json::from_slice(&from_base64url(token?)?).ok()
}

/// The token for a JSON scalar.
pub(super) fn token(value: &Value) -> String {
    base64url(value.to_string().as_bytes())
}

async fn by_system<const AGENT: bool>(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(system): Path<String>,
    Query(query): Query<PageQuery>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let vendor = vendor(&shared, &headers, &READ)?;
    let list = ListOf { system: &system, vendor, kind: kind::<AGENT>() };
    list.page(&shared, &world, &query, uri.path())
}

/// The requests of one system.
struct ListOf<'a> {
    system: &'a str,
    vendor: OrgNumber,
    kind: SystemUserKind,
}

impl ListOf<'_> {
    /// A page. With the flaw of the real service: the token is the id of the next page's first row, but the next
    /// page begins after it, so that one row per border is lost.
    fn page(
        &self,
        shared: &Shared,
        world: &World,
        query: &PageQuery,
        path: &str,
    ) -> Result<Response, Refusal> {
        let system = world.systems.get(self.system);
        if system.is_none_or(|system| system.vendor != self.vendor) {
            return Err(auth(11));
        }
        let after = scalar(query.token.as_deref());
        let after = after.as_ref().and_then(Value::as_str).and_then(|id| Uuid::try_parse(id).ok());
        let mut rows = world
            .requests
            .values()
            .filter(|request| request.system == self.system && request.kind == self.kind)
            .filter(|request| !request.deleted && after.is_none_or(|after| request.id > after));
        let data: Vec<Value> =
            rows.by_ref().take(PAGE).map(|request| to_json(shared, world, request)).collect();
        let next = rows.next().map(|request| token(&json!(request.id)));
        Ok(page(shared, path, &data, next))
    }
}

/// Takes a request back, whatever its status and, as at the real service, whoever asked for it.
async fn withdraw(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    vendor(&shared, &headers, &WRITE)?;
    let mut world = shared.world_mut();
    let request = world.requests.get_mut(&id).filter(|request| !request.deleted);
    request.ok_or_else(|| auth(10))?.deleted = true;
    Ok(accepted())
}
