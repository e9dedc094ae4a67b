//! Client delegation (klientdelegering): whose clients an agent system user acts for.

use super::portal::Portal;
use super::problems::{auth, invalid};
use super::users::owned;
use super::{SYSTEM_USER, dto};
use crate::altinn::{Refusal, framework_problem};
use crate::state::{Shared, View};
use crate::world::World;
use crate::world::model::{SystemUser, SystemUserKind};
use crate::world::number::{OrgNumber, PartyNumber};
use crate::world::party::Party;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// The API for end-user systems, with a person's own token.
const ENDUSER: &str = "/authentication/api/v1/enduser/systemuser";
const READ: &str = "altinn:clientdelegations.read";
const WRITE: &str = "altinn:clientdelegations.write";

pub(super) fn router() -> Router<Arc<Shared>> {
    let portal = |rest: &str| format!("{SYSTEM_USER}/agent/{{party}}/{rest}");
    let enduser = |rest: &str| format!("{ENDUSER}/{rest}");
    Router::new()
        .route(&portal("clients"), get(candidates))
        .route(&portal("{id}/client"), delete(revoke))
        .route(&portal("{id}/self"), get(own).post(delegate_own).delete(revoke_own))
        .route(&portal("{id}/self/"), get(own).post(delegate_own).delete(revoke_own))
        .route(&portal("{facilitator}/{id}/delegations"), get(delegations))
        .route(&enduser("agents"), get(agents))
        .route(&enduser("clients/available"), get(available))
        .route(&enduser("clients"), get(delegated).post(add).delete(remove))
}

/// The agent of an owner.
fn agent(world: &World, owner: OrgNumber, id: Uuid) -> Result<&SystemUser, Refusal> {
    let user = owned(world, owner, id).ok_or_else(|| auth(15))?;
    if user.kind == SystemUserKind::Agent { Ok(user) } else { Err(auth(34)) }
}

/// Whether a client offers every package that the agent needs.
fn suits(world: &World, agent: &SystemUser, client: PartyNumber) -> bool {
    !agent.packages.is_empty()
        && agent.packages.iter().all(|code| world.offers(agent, client, code, |_| true))
}

/// Lets an agent act for a client, with exactly the packages that were stored with it.
fn add_client(world: &mut World, agent: Uuid, client: Uuid) -> Result<PartyNumber, Refusal> {
    let client = world.party_by_uuid(client).map(Party::number).ok_or_else(|| auth(79))?;
    let user = world.system_users.get(&agent).ok_or_else(|| auth(15))?;
    if !world.relations.clients(user.owner).any(|number| number == client) {
        return Err(auth(79));
    }
    if !suits(world, user, client) {
        return Err(auth(80));
    }
    let packages = user.packages.clone();
    if let Some(user) = world.system_users.get_mut(&agent) {
        user.delegations.of_mut(client).packages.extend(packages);
    }
    world.touch_system_user(agent);
    Ok(client)
}

fn remove_client(world: &mut World, agent: Uuid, client: Uuid, missing: u8) -> Result<(), Refusal> {
    let client = world.party_by_uuid(client).map(Party::number);
    let user = world.system_users.get_mut(&agent).ok_or_else(|| auth(15))?;
    if !client.is_some_and(|client| user.delegations.remove(client)) {
        return Err(auth(missing));
    }
    world.touch_system_user(agent);
    Ok(())
}

fn delegation(world: &World, agent: &SystemUser, client: PartyNumber) -> Value {
    let party = world.party(client);
    json!({
        "agentSystemUserId": agent.id,
        "delegationId": Uuid::nil(),
        "customerId": party.map(Party::uuid),
        "assignmentId": Uuid::nil(),
        "customerName": party.map(Party::name),
        "customerOrganizationNumber": client.organization(),
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct ClientQuery {
    client: Option<Uuid>,
    provider: Option<Uuid>,
}

impl ClientQuery {
    fn client(&self) -> Result<Uuid, Refusal> {
        self.client.ok_or_else(|| framework_problem("client", "The client field is required."))
    }
}

/// A party other than the owner cannot be the provider.
fn check_provider(owner: Uuid, provider: Option<Uuid>) -> Result<(), Refusal> {
    if provider.is_none_or(|provider| provider == owner) { Ok(()) } else { Err(auth(31)) }
}

pub(super) async fn delegate(
    State(shared): State<Arc<Shared>>,
    Path((party, id)): Path<(u64, Uuid)>,
    Query(query): Query<ClientQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let client = query.client()?;
    let mut world = shared.world_mut();
    let owner = portal.administered(&world, party)?;
    check_provider(owner.uuid(), query.provider)?;
    agent(&world, owner.number, id)?;
    let client = add_client(&mut world, id, client)?;
    let list: Vec<Value> =
        world.system_users.get(&id).map(|it| delegation(&world, it, client)).into_iter().collect();
    Ok(Json(list).into_response())
}

async fn revoke(
    State(shared): State<Arc<Shared>>,
    Path((party, id)): Path<(u64, Uuid)>,
    Query(query): Query<ClientQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let client = query.client()?;
    let mut world = shared.world_mut();
    let owner = portal.administered(&world, party)?;
    check_provider(owner.uuid(), query.provider)?;
    agent(&world, owner.number, id)?;
    remove_client(&mut world, id, client, 38)?;
    Ok(StatusCode::OK.into_response())
}

async fn delegations(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path((party, facilitator, id)): Path<(u64, Uuid, Uuid)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let owner = Portal::enter(&shared, &headers)?.administered(&world, party)?;
    check_provider(owner.uuid(), Some(facilitator))?;
    let user = agent(&world, owner.number, id)?;
    let list: Vec<Value> =
        user.delegations.iter().map(|it| delegation(&world, user, it.party)).collect();
    Ok(Json(list).into_response())
}

/// The clients of an organisation that offer all of these packages.
async fn candidates(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(party): Path<u64>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let owner = Portal::enter(&shared, &headers)?.administered(&world, party)?;
    let named = pairs.iter().filter(|(name, _)| name == "packages").map(|(_, code)| code);
    let packages: Vec<&str> =
        named.map(|code| code.strip_prefix("urn:altinn:accesspackage:").unwrap_or(code)).collect();
    let unit = |client: PartyNumber| {
        let number = client.organization()?;
        world.organizations.get(&number).map(|it| it.unit_type.as_str())
    };
    let offers = |client: PartyNumber| {
        packages
            .iter()
            .all(|code| world.relations.offer(client, owner.number, code, unit(client), |_| true))
    };
    let clients = world.relations.clients(owner.number).filter(|client| offers(*client));
    let list: Vec<Value> = clients
        .filter_map(|client| world.party(client))
        .map(|party| {
            json!({
                "id": party.uuid(),
                "name": party.name(),
                "organizationNumber": party.number().organization(),
            })
        })
        .collect();
    Ok(Json(list).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnQuery {
    party_uuid: Option<Uuid>,
}

/// What the owner itself has given its agent.
async fn own(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path((party, id)): Path<(u64, Uuid)>,
    Query(query): Query<OwnQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (owner, _) = Portal::enter(&shared, &headers)?.managed(&world, party)?;
    check_provider(owner.uuid(), query.party_uuid)?;
    let user = agent(&world, owner.number, id)?;
    let given = user.delegations.of(owner.number.into());
    let list: Vec<Value> = given.map(|it| delegation(&world, user, it.party)).into_iter().collect();
    Ok(Json(list).into_response())
}

/// The owner lets its agent act for itself, with those of the agent's packages that a right holder can give.
async fn delegate_own(
    State(shared): State<Arc<Shared>>,
    Path((party, id)): Path<(u64, Uuid)>,
    Query(query): Query<OwnQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let mut world = shared.world_mut();
    let (owner, approver) = portal.managed(&world, party)?;
    check_provider(owner.uuid(), query.party_uuid)?;
    let number = owner.number;
    let user = agent(&world, number, id)?;
    let packages: Vec<String> =
        user.packages.iter().filter(|code| approver.gives_package(code)).cloned().collect();
    if packages.is_empty() {
        return Err(auth(53));
    }
    if let Some(user) = world.system_users.get_mut(&id) {
        user.delegations.of_mut(number.into()).packages.extend(packages);
    }
    world.touch_system_user(id);
    Ok(Json(true).into_response())
}

async fn revoke_own(
    State(shared): State<Arc<Shared>>,
    Path((party, id)): Path<(u64, Uuid)>,
    Query(query): Query<OwnQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let portal = Portal::enter(&shared, &headers)?;
    let mut world = shared.world_mut();
    let (owner, _) = portal.managed(&world, party)?;
    let uuid = owner.uuid();
    check_provider(uuid, query.party_uuid)?;
    agent(&world, owner.number, id)?;
    remove_client(&mut world, id, uuid, 38)?;
    Ok(Json(true).into_response())
}

#[derive(Debug, Deserialize)]
struct EndUserQuery {
    party: Option<String>,
    agent: Option<Uuid>,
    client: Option<Uuid>,
}

/// The agents of an organisation.
async fn agents(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Query(query): Query<EndUserQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let person = Portal::with_scope(&shared, &headers, READ)?;
    let number = query.party.and_then(|text| OrgNumber::parse(&text).ok());
    let number = number.filter(|number| world.organizations.contains_key(number));
    let number = number.ok_or_else(|| not_found("The party is not found."))?;
    if !person.authority(&world, number).administers_clients() {
        return Err(StatusCode::FORBIDDEN.into());
    }
    let users = world.users_of(number);
    let agents = users.filter(|user| user.kind == SystemUserKind::Agent && !user.deleted);
    let list: Vec<Value> = agents.map(|user| dto::internal_user(&world, user)).collect();
    Ok(Json(list).into_response())
}

fn not_found(text: &str) -> Refusal {
    Refusal::Problem(json!({ "title": "Not Found", "status": 404, "detail": text }))
}

/// The agent that a client administrator names.
fn named_agent<'a>(
    shared: &Shared,
    headers: &HeaderMap,
    world: &'a World,
    query: &EndUserQuery,
    scope: &str,
) -> Result<&'a SystemUser, Refusal> {
    let person = Portal::with_scope(shared, headers, scope)?;
    let user = query.agent.and_then(|id| world.system_users.get(&id));
    let user = user.filter(|user| !user.deleted).ok_or_else(|| invalid(14, "?agent"))?;
    if user.kind != SystemUserKind::Agent {
        return Err(invalid(15, "?agent"));
    }
    if person.authority(world, user.owner).administers_clients() {
        Ok(user)
    } else {
        Err(StatusCode::FORBIDDEN.into())
    }
}

fn client_list(
    world: &World,
    agent: &SystemUser,
    clients: impl Iterator<Item = PartyNumber>,
) -> Response {
    let data: Vec<Value> = clients
        .filter_map(|client| world.party(client))
        .map(|party| {
            json!({
                "clientId": party.uuid(),
                "clientOrganizationNumber": party.number().organization(),
                "clientOrganizationName": party.name(),
            })
        })
        .collect();
    let about = json!({ "systemUserId": agent.id, "systemUserOwnerOrg": agent.owner });
    Json(json!({ "links": {}, "systemUserInformation": about, "data": data })).into_response()
}

async fn available(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Query(query): Query<EndUserQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let user = named_agent(&shared, &headers, &world, &query, READ)?;
    let clients = world.relations.clients(user.owner);
    let free = clients
        .filter(|client| suits(&world, user, *client) && user.delegations.of(*client).is_none());
    Ok(client_list(&world, user, free))
}

async fn delegated(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Query(query): Query<EndUserQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let user = named_agent(&shared, &headers, &world, &query, READ)?;
    Ok(client_list(&world, user, user.delegations.iter().map(|it| it.party)))
}

async fn add(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<EndUserQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mut world = shared.world_mut();
    let id = named_agent(&shared, &headers, &world, &query, WRITE)?.id;
    let client = query.client.ok_or_else(|| invalid(16, "?client"))?;
    add_client(&mut world, id, client)?;
    Ok(Json(json!({ "agent": id, "client": client })).into_response())
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<EndUserQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mut world = shared.world_mut();
    let id = named_agent(&shared, &headers, &world, &query, WRITE)?.id;
    let client = query.client.ok_or_else(|| invalid(16, "?client"))?;
    remove_client(&mut world, id, client, 79)?;
    Ok(Json(json!({ "agent": id, "client": client })).into_response())
}
