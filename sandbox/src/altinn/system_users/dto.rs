//! The JSON in which rights, packages, systems and system users are written.

use crate::altinn::{Refusal, framework_problem};
use crate::clock;
use crate::world::World;
use crate::world::model::{System, SystemRight, SystemUser, SystemUserKind};
use axum::body::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

pub(super) const RESOURCE: &str = "urn:altinn:resource";

/// Reads a body, whatever its content type says.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| framework_problem("$", &error.to_string()))
}

/// A right as vendors write it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RightBody {
    action: Option<String>,
    #[serde(default)]
    resource: Vec<Pair>,
}

#[derive(Clone, Debug, Deserialize)]
struct Pair {
    id: String,
    value: String,
}

impl RightBody {
    /// Whether every attribute of the resource is its id.
    pub(super) fn is_by_resource(&self) -> bool {
        !self.resource.is_empty() && self.resource.iter().all(|pair| pair.id == RESOURCE)
    }

    /// The resource; empty without one.
    pub(super) fn resource(&self) -> &str {
        self.resource.first().map(|pair| pair.value.trim()).unwrap_or_default()
    }

    pub(super) fn to_right(&self) -> SystemRight {
        SystemRight { resource: self.resource().to_owned(), action: self.action.clone() }
    }
}

/// An access package as vendors write it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PackageBody {
    pub(super) urn: String,
}

/// `{resource: […]}` for a resource.
pub(super) fn right(resource: &str) -> Value {
    json!({ "resource": [{ "id": RESOURCE, "value": resource }] })
}

pub(super) fn rights<'a>(resources: impl IntoIterator<Item = &'a String>) -> Vec<Value> {
    resources.into_iter().map(|id| right(id)).collect()
}

fn system_right(one: &SystemRight) -> Value {
    let mut value = right(&one.resource);
    if let (Some(action), Some(members)) = (&one.action, value.as_object_mut()) {
        members.insert("action".to_owned(), json!(action));
    }
    value
}

pub(super) fn system_rights(system: &System) -> Vec<Value> {
    system.rights.iter().map(system_right).collect()
}

/// `{urn}` for each package code.
pub(super) fn packages<'a>(
    world: &World,
    codes: impl IntoIterator<Item = &'a String>,
) -> Vec<Value> {
    let suffix = |code: &'a String| {
        world.packages.get(code).map_or(code.as_str(), |package| package.urn_suffix()).to_owned()
    };
    codes
        .into_iter()
        .map(|code| json!({ "urn": format!("urn:altinn:accesspackage:{}", suffix(code)) }))
        .collect()
}

/// A system as customers see it.
pub(super) fn registered_system(world: &World, system: &System) -> Value {
    let vendor = world.organizations.get(&system.vendor).map(|item| &item.name);
    let description = system.description.as_ref().unwrap_or(&system.name);
    json!({
        "systemId": system.id,
        "systemVendorOrgNumber": system.vendor,
        "systemVendorOrgName": vendor,
        "name": system.name.in_languages(),
        "description": description.in_languages(),
        "rights": system_rights(system),
        "accessPackages": packages(world, &system.packages),
        "isVisible": system.visible,
    })
}

/// A system as its vendor sees it.
pub(super) fn vendor_system(world: &World, system: &System) -> Value {
    let description = system.description.as_ref().unwrap_or(&system.name);
    json!({
        "id": system.id,
        "vendor": { "ID": format!("0192:{}", system.vendor) },
        "name": system.name.in_languages(),
        "description": description.in_languages(),
        "rights": system_rights(system),
        "accessPackages": packages(world, &system.packages),
        "clientId": system.client_ids,
        "isVisible": system.visible,
        "allowedRedirectUrls": system.redirect_urls,
        "isDeleted": system.deleted,
    })
}

pub(super) fn kind(kind: SystemUserKind) -> &'static str {
    match kind {
        SystemUserKind::Standard => "standard",
        SystemUserKind::Agent => "agent",
    }
}

/// A system user as vendors and Maskinporten see it.
pub(super) fn external_user(world: &World, user: &SystemUser) -> Value {
    let system = world.systems.get(&user.system);
    let name = system.map(|system| system.name.norwegian());
    let vendor = system.map(|system| system.vendor);
    let vendor_name = vendor.and_then(|it| world.organizations.get(&it)).map(|it| &it.name);
    json!({
        "id": user.id,
        "integrationTitle": user.title.as_deref().or(name),
        "systemId": user.system,
        "productName": name,
        "reporteeOrgNo": user.owner,
        "created": clock::zulu(user.created),
        "isDeleted": user.deleted,
        "supplierName": vendor_name,
        "supplierOrgno": vendor,
        "externalRef": user.reference(),
        "userType": kind(user.kind),
    })
}

/// A system user as its owner sees it in the portal.
pub(super) fn internal_user(world: &World, user: &SystemUser) -> Value {
    let mut value = external_user(world, user);
    let owner = world.organizations.get(&user.owner);
    let internal_id = world.systems.get(&user.system).and_then(|system| system.internal_id);
    if let Some(members) = value.as_object_mut() {
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("partyId", json!(owner.map(|owner| owner.party_id.to_string())));
        put("partyUuId", json!(owner.map(crate::world::party::Organization::uuid)));
        put("accessPackages", json!(packages(world, &held_packages(user))));
        if let Some(id) = internal_id {
            put("systemInternalId", json!(id));
        }
    }
    value
}

/// A system user with everything it holds.
pub(super) fn detailed_user(world: &World, user: &SystemUser) -> Value {
    let mut value = internal_user(world, user);
    if let Some(members) = value.as_object_mut() {
        members.insert("rights".to_owned(), json!(held_rights(user)));
    }
    value
}

/// `{systemUserId, rights, accessPackages}`.
pub(super) fn delegations(world: &World, user: &SystemUser) -> Value {
    json!({
        "systemUserId": user.id,
        "rights": held_rights(user),
        "accessPackages": packages(world, &held_packages(user)),
    })
}

/// An agent's stored packages, a standard system user's delegated ones.
fn held_packages(user: &SystemUser) -> Vec<String> {
    match user.kind {
        SystemUserKind::Agent => user.packages.iter().cloned().collect(),
        SystemUserKind::Standard => {
            user.delegations.iter().flat_map(|it| &it.packages).cloned().collect()
        }
    }
}

fn held_rights(user: &SystemUser) -> Vec<Value> {
    let single = user.delegations.iter().flat_map(|it| &it.single_rights);
    single
        .flat_map(|(resource, actions)| {
            actions.iter().map(move |action| {
                let action = Some(action.clone());
                system_right(&SystemRight { resource: resource.clone(), action })
            })
        })
        .collect()
}

/// Takes members without a value away, as the authentication service does.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.collect::<Map<_, _>>())
        }
        other => other,
    }
}
