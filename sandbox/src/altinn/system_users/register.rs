//! The system register: vendors keep their systems here, customers choose from them.

use super::dto::{self, PackageBody, RightBody};
use super::portal::Portal;
use super::problems::Validation;
use crate::altinn::Refusal;
use crate::altinn::bearer::Caller;
use crate::clock;
use crate::state::{Shared, View};
use crate::world::World;
use crate::world::model::{System, SystemChange, SystemRight, Text};
use crate::world::number::OrgNumber;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

const BASE: &str = "/authentication/api/v1/systemregister";
const ADMIN: &str = "altinn:authentication/systemregister.admin";
const WRITE: [&str; 2] = ["altinn:authentication/systemregister.write", ADMIN];
/// Rows that the change log of a system keeps; the oldest goes first.
const LOGGED: usize = 1_000;
/// Types of resources that no system can need.
const UNUSABLE: [&str; 2] = ["MaskinportenSchema", "Altinn2Service"];

pub(super) fn router() -> Router<Arc<Shared>> {
    let path = |rest: &str| format!("{BASE}/{rest}");
    Router::new()
        .route(BASE, get(visible))
        .route(&path("{id}"), get(one))
        .route(&path("{id}/rights"), get(rights))
        .route(&path("{id}/accesspackages"), get(packages))
        .route(&path("vendor"), get(own).post(create))
        .route(&path("vendor/{id}"), get(vendors_one).put(update).delete(delete))
        .route(&path("vendor/{id}/rights"), put(update_rights))
        .route(&path("vendor/{id}/accesspackages"), put(update_packages))
        .route(&path("vendor/{id}/changelog"), get(changelog))
}

/// A vendor that may write in the register.
struct Vendor {
    number: OrgNumber,
    admin: bool,
}

impl Vendor {
    fn authorize(shared: &Shared, headers: &HeaderMap) -> Result<Self, Refusal> {
        let caller = Caller::of_either_issuer(shared, headers, &WRITE)?;
        let number = caller.consumer().ok_or(StatusCode::UNAUTHORIZED)?;
        Ok(Self { number, admin: caller.has_scope(ADMIN) })
    }

    fn check(&self, vendor: OrgNumber) -> Result<(), Refusal> {
        if self.admin || self.number == vendor { Ok(()) } else { Err(StatusCode::FORBIDDEN.into()) }
    }

    /// A system of this vendor; 404 for an unknown one, 403 for another's.
    fn system<'a>(&self, world: &'a World, id: &str) -> Result<&'a System, Refusal> {
        let missing = || Refusal::Text(StatusCode::NOT_FOUND, format!("System {id} not found"));
        let system = world.systems.get(id).ok_or_else(missing)?;
        self.check(system.vendor)?;
        Ok(system)
    }

    /// A system of this vendor that can still be changed.
    fn living<'a>(&self, world: &'a World, id: &str) -> Result<&'a System, Refusal> {
        let system = self.system(world, id)?;
        if system.deleted {
            let text = format!("System {id} is deleted and cannot be changed");
            return Err(Refusal::Text(StatusCode::BAD_REQUEST, text));
        }
        Ok(system)
    }

    /// Puts a living system back changed, unless something about the change is not valid. `change` gives what the
    /// log tells of it.
    fn edit(
        &self,
        shared: &Shared,
        id: &str,
        kind: &str,
        change: impl FnOnce(&World, &mut System, &mut Validation) -> Value,
    ) -> Result<Response, Refusal> {
        let mut world = shared.world_mut();
        let mut system = self.living(&world, id)?.clone();
        let mut validation = Validation::default();
        let data = change(&world, &mut system, &mut validation);
        validation.finish()?;
        logged(&mut system, self.number, kind, data, shared.now());
        world.systems.insert(id.to_owned(), system);
        Ok(succeeded())
    }
}

async fn visible(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Portal::enter(&shared, &headers)?;
    let systems = world.systems.values().filter(|system| system.visible && !system.deleted);
    let list: Vec<Value> = systems.map(|system| dto::registered_system(&world, system)).collect();
    Ok(Json(list).into_response())
}

/// What the portal reads of one system.
fn portal_read(
    shared: &Shared,
    headers: &HeaderMap,
    world: &World,
    id: &str,
    write: impl FnOnce(&System) -> Value,
) -> Result<Response, Refusal> {
    Portal::enter(shared, headers)?;
    let system = world.systems.get(id).filter(|system| !system.deleted);
    let system = system.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(write(system)).into_response())
}

async fn one(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    portal_read(&shared, &headers, &world, &id, |it| dto::registered_system(&world, it))
}

async fn rights(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    portal_read(&shared, &headers, &world, &id, |it| json!(dto::system_rights(it)))
}

async fn packages(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    portal_read(&shared, &headers, &world, &id, |it| json!(dto::packages(&world, &it.packages)))
}

async fn own(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let vendor = Vendor::authorize(&shared, &headers)?;
    let systems = world.systems.values();
    let list: Vec<Value> = systems
        .filter(|system| system.vendor == vendor.number && !system.deleted)
        .map(|system| dto::vendor_system(&world, system))
        .collect();
    Ok(Json(list).into_response())
}

async fn vendors_one(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let vendor = Vendor::authorize(&shared, &headers)?;
    let system = vendor.system(&world, &id)?;
    Ok(Json(dto::vendor_system(&world, system)).into_response())
}

/// A registration as vendors send it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    id: String,
    vendor: VendorBody,
    name: BTreeMap<String, String>,
    description: Option<BTreeMap<String, String>>,
    #[serde(default)]
    rights: Vec<RightBody>,
    #[serde(default)]
    access_packages: Vec<PackageBody>,
    #[serde(default)]
    client_id: Vec<String>,
    is_visible: Option<bool>,
    #[serde(default)]
    allowed_redirect_urls: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct VendorBody {
    #[serde(rename = "ID", alias = "id")]
    id: String,
}

impl Registration {
    fn validate(&self, world: &World, new: bool, validation: &mut Validation) {
        let path = "/registersystemrequest/systemid";
        let id = self.id.trim();
        let vendor = OrgNumber::parse_iso6523(&self.vendor.id);
        if vendor.is_err() {
            validation.error(0, "/registersystemrequest/vendor/id");
        }
        if vendor.is_ok_and(|vendor| !id.starts_with(&format!("{vendor}_"))) {
            validation.error(1, path);
        }
        if id.contains(' ') {
            validation.error(13, path);
        }
        if new && world.systems.contains_key(id) {
            validation.error(2, path);
        }
        validate_rights(world, &self.rights, validation);
        let visible = self.is_visible.unwrap_or(true);
        validate_packages(world, &self.access_packages, visible, validation);
        self.validate_clients(world, validation);
        let good = |url: &String| url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        if !self.allowed_redirect_urls.iter().all(good) {
            validation.error(5, "/registersystemrequest/allowedredirecturls");
        }
    }

    fn validate_clients(&self, world: &World, validation: &mut Validation) {
        let path = "/registersystemrequest/clientid";
        let unique: BTreeSet<&String> = self.client_id.iter().collect();
        if unique.len() < self.client_id.len() {
            validation.error(11, path);
        }
        let others = world.systems.values().filter(|it| !it.deleted && it.id != self.id.trim());
        let used: BTreeSet<&String> = others.flat_map(|system| &system.client_ids).collect();
        if unique.intersection(&used).next().is_some() {
            validation.error(4, path);
        }
    }

    /// The entry, with what stays of the one before.
    fn into_system(self, world: &World, old: Option<&System>, vendor: OrgNumber) -> System {
        System {
            id: self.id.trim().to_owned(),
            vendor,
            name: Text::Many(self.name),
            description: self.description.map(Text::Many),
            client_ids: self.client_id.into_iter().collect(),
            rights: self.rights.iter().map(RightBody::to_right).collect(),
            packages: codes(world, &self.access_packages),
            visible: self.is_visible.unwrap_or(true),
            redirect_urls: self.allowed_redirect_urls,
            internal_id: old.and_then(|old| old.internal_id).or_else(|| Some(Uuid::new_v4())),
            log: old.map(|old| old.log.clone()).unwrap_or_default(),
            deleted: false,
        }
    }
}

fn validate_rights(world: &World, rights: &[RightBody], validation: &mut Validation) {
    let path = "/registersystemrequest/rights/resource";
    let unique: BTreeSet<&str> = rights.iter().map(RightBody::resource).collect();
    if unique.len() < rights.len() {
        validation.error(6, path);
    }
    if !rights.iter().all(RightBody::is_by_resource) {
        validation.error(9, path);
        return;
    }
    let resources: Vec<_> = unique.iter().map(|id| world.resources.get(*id)).collect();
    if resources.iter().any(Option::is_none) {
        validation.error(3, path);
    }
    if resources.into_iter().flatten().any(|it| UNUSABLE.contains(&it.kind.as_str())) {
        validation.error(17, path);
    }
}

fn validate_packages(
    world: &World,
    packages: &[PackageBody],
    visible: bool,
    validation: &mut Validation,
) {
    let path = "/registersystemrequest/accesspackages";
    let unique: BTreeSet<&str> = packages.iter().map(|package| package.urn.as_str()).collect();
    if unique.len() < packages.len() {
        validation.error(7, path);
    }
    let found: Vec<_> = unique.iter().map(|urn| world.package_by_urn(urn)).collect();
    if !found.iter().all(|it| it.is_some_and(|package| package.delegable || package.assignable)) {
        validation.error(8, path);
    }
    if visible && found.into_iter().flatten().any(|package| !package.assignable) {
        validation.error(18, path);
    }
}

fn codes(world: &World, packages: &[PackageBody]) -> Vec<String> {
    let found = packages.iter().filter_map(|package| world.package_by_urn(&package.urn));
    found.map(|package| package.code.clone()).collect()
}

fn logged(system: &mut System, by: OrgNumber, kind: &str, data: Value, now: i64) {
    let client_id = system.client_ids.first().cloned();
    let entry = SystemChange { by, kind: kind.to_owned(), data, client_id, at: now };
    system.log.push(entry);
    if system.log.len() > LOGGED {
        system.log.remove(0);
    }
}

async fn create(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let caller = Vendor::authorize(&shared, &headers)?;
    let registration: Registration = dto::body(&body)?;
    let mut world = shared.world_mut();
    let mut validation = Validation::default();
    registration.validate(&world, true, &mut validation);
    validation.finish()?;
    let vendor = OrgNumber::parse_iso6523(&registration.vendor.id);
    let vendor = vendor.map_err(|_| StatusCode::BAD_REQUEST)?;
    caller.check(vendor)?;
    let mut system = registration.into_system(&world, None, vendor);
    let data = dto::vendor_system(&world, &system);
    logged(&mut system, caller.number, "create", data, shared.now());
    let id = system.internal_id;
    world.systems.insert(system.id.clone(), system);
    Ok(Json(json!(id)).into_response())
}

fn succeeded() -> Response {
    Json(json!({ "succeeded": true })).into_response()
}

async fn update(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let caller = Vendor::authorize(&shared, &headers)?;
    let registration: Registration = dto::body(&body)?;
    caller.edit(&shared, &id, "update", |world, system, validation| {
        if registration.id.trim() != id {
            validation.error(12, "/registersystemrequest/systemid");
        }
        registration.validate(world, false, validation);
        *system = registration.into_system(world, Some(&*system), system.vendor);
        dto::vendor_system(world, system)
    })
}

async fn update_rights(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let caller = Vendor::authorize(&shared, &headers)?;
    let rights: Vec<RightBody> = dto::body(&body)?;
    caller.edit(&shared, &id, "rightsupdate", |world, system, validation| {
        validate_rights(world, &rights, validation);
        system.rights = rights.iter().map(RightBody::to_right).collect::<Vec<SystemRight>>();
        json!({ "rights": dto::system_rights(system) })
    })
}

async fn update_packages(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let caller = Vendor::authorize(&shared, &headers)?;
    let packages: Vec<PackageBody> = dto::body(&body)?;
    caller.edit(&shared, &id, "accesspackageupdate", |world, system, validation| {
        validate_packages(world, &packages, system.visible, validation);
        system.packages = codes(world, &packages);
        json!({ "accessPackages": dto::packages(world, &system.packages) })
    })
}

/// Marks a system deleted and forgets its clients. System users and what they hold stay.
async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let caller = Vendor::authorize(&shared, &headers)?;
    let mut world = shared.world_mut();
    if world.systems.get(&id).is_none_or(|system| system.deleted) {
        return Err(super::problems::invalid(1, "/registersystemrequest/systemid"));
    }
    let mut system = caller.system(&world, &id)?.clone();
    let had_clients = !system.client_ids.is_empty();
    logged(&mut system, caller.number, "delete", json!({}), shared.now());
    system.deleted = true;
    system.client_ids.clear();
    world.systems.insert(id, system);
    // A quirk of the real service: without clients it says 400 although it has deleted.
    if had_clients { Ok(succeeded()) } else { Err(StatusCode::BAD_REQUEST.into()) }
}

async fn changelog(
    State(shared): State<Arc<Shared>>,
    View(world): View,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let caller = Vendor::authorize(&shared, &headers)?;
    let system = caller.system(&world, &id)?;
    let entries: Vec<Value> = system
        .log
        .iter()
        .map(|entry| {
            dto::without_nulls(json!({
                "systemInternalId": system.internal_id,
                "changedByOrgNumber": entry.by,
                "changeType": entry.kind,
                "changedData": entry.data,
                "clientId": entry.client_id,
                "created": clock::zulu(entry.at),
            }))
        })
        .collect();
    Ok(Json(entries).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_log_forgets_its_oldest_rows() {
        let system = json!({ "id": "310000213_x", "vendor": "310000213", "name": "X" });
        let mut system: System = serde_json::from_value(system).unwrap();
        for number in 0..=LOGGED {
            let vendor = system.vendor;
            logged(&mut system, vendor, "update", json!(number), 0);
        }
        assert_eq!((system.log.len(), &system.log[0].data), (LOGGED, &json!(1)));
    }
}
