//! Requests as the customer's people see them: approve, reject, hand on.

use super::portal::Portal;
use super::problems::{auth, cannot_give};
use super::requests::to_json;
use super::{SYSTEM_USER, dto};
use crate::altinn::Refusal;
use crate::state::Shared;
use crate::world::World;
use crate::world::authority::Authority;
use crate::world::model::{Delegation, Delegations, System, SystemUser, SystemUserKind};
use crate::world::requests::{RequestStatus, UserRequest};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub(super) fn router() -> Router<Arc<Shared>> {
    routes("", SystemUserKind::Standard).merge(routes("agent/", SystemUserKind::Agent))
}

/// The same endpoints for each kind of system user.
fn routes(prefix: &str, kind: SystemUserKind) -> Router<Arc<Shared>> {
    type Shareds = State<Arc<Shared>>;
    let path = |rest: &str| format!("{SYSTEM_USER}/request/{prefix}{rest}");
    let one = move |State(shared): Shareds, Path(id): Path<Uuid>, headers: HeaderMap| async move {
        read(&shared, &headers, id, kind)
    };
    let of_party = move |State(shared): Shareds,
                         Path(which): Path<(u64, Uuid)>,
                         headers: HeaderMap| async move {
        read_for(&shared, &headers, which, kind)
    };
    let waiting = move |State(shared): Shareds,
                        Path((party, _)): Path<(u64, String)>,
                        headers: HeaderMap| async move {
        pending(&shared, &headers, party, kind)
    };
    let act = |act: Act| {
        post(
            move |State(shared): Shareds, Path(which): Path<(u64, Uuid)>, headers: HeaderMap| async move {
                decide(&shared, &headers, which, kind, act)
            },
        )
    };
    Router::new()
        .route(&path("{id}"), get(one))
        .route(&path("{party}/{id}"), get(of_party))
        .route(&path("{party}/{id}/pending"), get(waiting))
        .route(&path("{party}/{id}/approve"), act(Act::Approve))
        .route(&path("{party}/{id}/reject"), act(Act::Reject))
        .route(&path("{party}/{id}/escalate"), act(Act::Escalate))
}

/// What a person does with a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Approve,
    Reject,
    Escalate,
}

/// A request of this kind that was not withdrawn.
fn find(world: &World, id: Uuid, kind: SystemUserKind) -> Result<&UserRequest, Refusal> {
    let missing = if kind == SystemUserKind::Agent { 30 } else { 10 };
    let request = world.requests.get(&id);
    request.filter(|it| !it.deleted && it.kind == kind).ok_or_else(|| auth(missing))
}

fn read(
    shared: &Shared,
    headers: &HeaderMap,
    id: Uuid,
    kind: SystemUserKind,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(shared, headers)?;
    let world = shared.snapshot();
    let request = find(&world, id, kind)?;
    let authority = portal.authority(&world, request.party);
    let escalates = authority.is_known() && !authority.manages_access();
    let party = world.organizations.get(&request.party);
    let mut value = to_json(shared, &world, request);
    if let (Some(members), Some(party)) = (value.as_object_mut(), party) {
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("partyId", json!(party.party_id));
        put("partyUuid", json!(party.uuid()));
        put("userMayEscalateButNotApprove", json!(escalates));
        put("systemUserType", json!(dto::kind(kind)));
    }
    Ok(Json(value).into_response())
}

fn read_for(
    shared: &Shared,
    headers: &HeaderMap,
    (party, id): (u64, Uuid),
    kind: SystemUserKind,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(shared, headers)?;
    let world = shared.snapshot();
    let (organization, _) = portal.managed(&world, party)?;
    let request = find(&world, id, kind)?;
    check_party(request, organization.number)?;
    Ok(Json(to_json(shared, &world, request)).into_response())
}

fn check_party(
    request: &UserRequest,
    party: crate::world::number::OrgNumber,
) -> Result<(), Refusal> {
    if request.party == party {
        return Ok(());
    }
    Err(auth(if request.kind == SystemUserKind::Agent { 42 } else { 41 }))
}

fn pending(
    shared: &Shared,
    headers: &HeaderMap,
    party: u64,
    kind: SystemUserKind,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(shared, headers)?;
    let world = shared.snapshot();
    let (organization, _) = portal.managed(&world, party)?;
    let list: Vec<Value> = world
        .requests
        .values()
        .filter(|it| it.party == organization.number && it.kind == kind && !it.deleted)
        .filter(|it| it.status == RequestStatus::New)
        .map(|it| to_json(shared, &world, it))
        .collect();
    Ok(Json(list).into_response())
}

fn decide(
    shared: &Shared,
    headers: &HeaderMap,
    (party, id): (u64, Uuid),
    kind: SystemUserKind,
    act: Act,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(shared, headers)?;
    let mut world = shared.world_mut();
    let (organization, authority) = match act {
        Act::Escalate => portal.organization(&world, party)?,
        Act::Approve | Act::Reject => portal.managed(&world, party)?,
    };
    let request = find(&world, id, kind)?;
    check_party(request, organization.number)?;
    if request.status != RequestStatus::New {
        return Err(auth(13));
    }
    let made = match act {
        Act::Approve => Some(system_user(&world, request, authority, shared.now())?),
        Act::Reject | Act::Escalate => None,
    };
    if let Some(user) = made {
        world.put_system_user(user);
    }
    if let Some(request) = world.requests.get_mut(&id) {
        match act {
            Act::Approve => request.status = RequestStatus::Accepted,
            Act::Reject => request.status = RequestStatus::Rejected,
            Act::Escalate => request.escalated = true,
        }
    }
    Ok(Json(true).into_response())
}

/// The system user that a request asks for, if it still can be and the approver may give everything.
fn system_user(
    world: &World,
    request: &UserRequest,
    approver: Authority<'_>,
    now: i64,
) -> Result<SystemUser, Refusal> {
    let system = world.systems.get(&request.system).filter(|it| !it.deleted);
    let system = system.ok_or_else(|| auth(11))?;
    if !request.rights.iter().all(|resource| system.needs_right(resource)) {
        return Err(auth(1));
    }
    if !request.packages.iter().all(|code| system.packages.contains(code)) {
        return Err(auth(63));
    }
    if world.active_user(&request.system, request.party, request.reference()).is_some() {
        return Err(auth(4));
    }
    let mut user = SystemUser {
        id: request.id,
        kind: request.kind,
        system: request.system.clone(),
        owner: request.party,
        external_ref: request.external_ref.clone(),
        title: request.title.clone(),
        packages: std::collections::BTreeSet::new(),
        created: now,
        sequence: 0,
        deleted: false,
        delegations: Delegations::default(),
    };
    match request.kind {
        // Nothing is delegated before a client is added.
        SystemUserKind::Agent => user.packages.extend(request.packages.iter().cloned()),
        SystemUserKind::Standard => {
            let given = give(world, approver, &request.rights, &request.packages)?;
            fill(user.delegations.of_mut(request.party.into()), given);
        }
    }
    Ok(user)
}

/// What an approver gives: per resource the actions that he or she may give, and packages.
pub(super) struct Given {
    rights: Vec<(String, std::collections::BTreeSet<String>)>,
    packages: Vec<String>,
}

/// Checks that the approver may give all of it. Of a resource one action is enough; the others are left out.
pub(super) fn give(
    world: &World,
    approver: Authority<'_>,
    rights: &[String],
    packages: &[String],
) -> Result<Given, Refusal> {
    let mut given = Given { rights: Vec::new(), packages: packages.to_vec() };
    for id in rights {
        let resource = world.resources.get(id).ok_or_else(|| auth(1))?;
        let actions = approver.gives_actions(resource).map_err(cannot_give)?;
        given.rights.push((id.clone(), actions));
    }
    if packages.iter().all(|code| approver.gives_package(code)) { Ok(given) } else { Err(auth(53)) }
}

/// Adds what was given.
pub(super) fn fill(delegation: &mut Delegation, given: Given) {
    delegation.packages.extend(given.packages);
    for (resource, actions) in given.rights {
        delegation.single_rights.entry(resource).or_default().extend(actions);
    }
}

/// The system user that a customer makes by choosing a system: with everything the system needs.
pub(super) fn chosen(
    world: &World,
    system: &System,
    title: Option<String>,
    owner: crate::world::number::OrgNumber,
    approver: Authority<'_>,
    now: i64,
) -> Result<SystemUser, Refusal> {
    let request = UserRequest {
        id: Uuid::new_v4(),
        kind: SystemUserKind::Standard,
        system: system.id.clone(),
        party: owner,
        external_ref: None,
        title,
        rights: system.rights.iter().map(|right| right.resource.clone()).collect(),
        packages: system.packages.clone(),
        redirect_url: None,
        status: RequestStatus::New,
        escalated: false,
        created: now,
        deleted: false,
    };
    system_user(world, &request, approver, now)
}
