//! Authorized parties: for whom a system user may act, with package codes and single resources, without actions.

use super::bearer::{self, Caller};
use super::{Refusal, framework_problem};
use crate::state::Shared;
use crate::world::World;
use crate::world::model::{OrgNumber, Organization};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

const SCOPE: &str = "altinn:accessmanagement/authorizedparties.resourceowner";
const ADMIN_SCOPE: &str = "altinn:accessmanagement/authorizedparties.admin";
const SYSTEM_USER: &str = "urn:altinn:systemuser:uuid";
const UUID_TYPES: [&str; 4] = [
    SYSTEM_USER,
    "urn:altinn:party:uuid",
    "urn:altinn:person:uuid",
    "urn:altinn:organization:uuid",
];
const OTHER_TYPES: [&str; 4] = [
    "urn:altinn:partyid",
    "urn:altinn:userid",
    "urn:altinn:person:identifier-no",
    "urn:altinn:organization:identifier-no",
];

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/accessmanagement/api/v1/resourceowner/authorizedparties", post(authorized_parties))
        .route("/accessmanagement/api/v1/serviceowner/authorizedparties", post(authorized_parties))
}

/// A typed identifier.
#[derive(Debug, Deserialize)]
struct Identifier {
    r#type: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    r#type: String,
    value: String,
    party_filter: Option<Vec<Identifier>>,
}

/// The query, as far as it has an effect for system users.
#[derive(Debug)]
struct Options {
    packages: bool,
    resources: bool,
    org_code: Option<String>,
    any_of_resources: Vec<String>,
}

impl Options {
    fn parse(pairs: &[(String, String)]) -> Self {
        let value = |name: &str| {
            pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let flag = |name: &str, default: bool| {
            value(name).map_or(default, |text| text.eq_ignore_ascii_case("true"))
        };
        let any_of = pairs.iter().filter(|(key, _)| key.eq_ignore_ascii_case("anyOfResourceIds"));
        Self {
            packages: flag("includeAccessPackages", false),
            resources: flag("includeResources", true),
            org_code: value("orgCode").cloned(),
            any_of_resources: any_of.map(|(_, id)| id.clone()).collect(),
        }
    }
}

async fn authorized_parties(
    State(shared): State<Arc<Shared>>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    bearer::check_subscription(&shared, &headers)?;
    let caller = Caller::authorize(&shared, &headers, &[SCOPE, ADMIN_SCOPE])?;
    let body: Body = serde_json::from_slice(&body)
        .map_err(|error| framework_problem("$", &error.to_string()))?;
    let options = Options::parse(&pairs);
    let argument = |text: String| framework_problem("Argument exception", &text);
    check_org_code(&caller, options.org_code.as_deref()).map_err(argument)?;
    let subject = parse_subject(&body).map_err(argument)?;
    let filter = body.party_filter.as_deref().unwrap_or_default();
    for identifier in filter {
        check_identifier(&identifier.r#type, &identifier.value).map_err(argument)?;
    }
    shared.calls().question(json!({
        "endpoint": "parties",
        "subject": { "type": body.r#type, "value": body.value },
        "filter": filter.len(),
    }));
    let world = shared.world();
    let list = subject.map_or_else(Vec::new, |user| list(&world, user, filter, &options));
    Ok(Json(list).into_response())
}

/// A service owner may filter by its own code only.
fn check_org_code(caller: &Caller, code: Option<&str>) -> Result<(), String> {
    match code {
        Some(code) if caller.org_code() != Some(code) && !caller.has_scope(ADMIN_SCOPE) => {
            Err(format!("Not allowed to use orgCode: {code}"))
        }
        _ => Ok(()),
    }
}

/// The system user asked about; `None` for other kinds of subjects, about whom this world knows nothing.
fn parse_subject(body: &Body) -> Result<Option<Uuid>, String> {
    check_identifier(&body.r#type, &body.value)?;
    Ok(if body.r#type == SYSTEM_USER { Uuid::try_parse(&body.value).ok() } else { None })
}

fn check_identifier(kind: &str, value: &str) -> Result<(), String> {
    if UUID_TYPES.contains(&kind) {
        return match Uuid::try_parse(value) {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("Not a well-formed uuid: {value}")),
        };
    }
    if OTHER_TYPES.contains(&kind) {
        Ok(())
    } else {
        Err(format!("Unknown attribute type: {kind}"))
    }
}

/// What trims the answer to some resources.
struct Relevant<'a> {
    resources: BTreeSet<&'a str>,
    packages: BTreeSet<&'a str>,
}

impl<'a> Relevant<'a> {
    /// `None` means that nothing is trimmed.
    fn find(world: &'a World, options: &Options) -> Option<Self> {
        if options.org_code.is_none() && options.any_of_resources.is_empty() {
            return None;
        }
        // Every resource of this world belongs to the one service owner.
        let other_owner =
            options.org_code.as_ref().is_some_and(|code| *code != world.service_owner.code);
        let wanted = &options.any_of_resources;
        let resources = world.resources.values().filter(|resource| {
            !other_owner && (wanted.is_empty() || wanted.contains(&resource.id))
        });
        let (mut ids, mut packages) = (BTreeSet::new(), BTreeSet::new());
        for resource in resources {
            ids.insert(resource.id.as_str());
            let rules = resource.rules.iter();
            packages.extend(rules.flat_map(|rule| &rule.packages).map(String::as_str));
        }
        Some(Self { resources: ids, packages })
    }
}

/// What a system user holds for one party, trimmed.
struct Access<'a> {
    packages: BTreeSet<&'a str>,
    resources: BTreeSet<&'a str>,
}

impl<'a> Access<'a> {
    fn find(
        world: &'a World,
        user: Uuid,
        party: &OrgNumber,
        relevant: Option<&Relevant<'_>>,
    ) -> Option<Self> {
        let mut packages = world.packages_of(user, party);
        let mut resources: BTreeSet<&str> =
            world.single_rights_of(user, party).into_keys().collect();
        if let Some(relevant) = relevant {
            packages.retain(|code| relevant.packages.contains(code));
            resources.retain(|id| relevant.resources.contains(id));
        }
        let any = !packages.is_empty() || !resources.is_empty();
        any.then_some(Self { packages, resources })
    }
}

fn list(world: &World, user: Uuid, filter: &[Identifier], options: &Options) -> Vec<Value> {
    let relevant = Relevant::find(world, options);
    // Unknown parties drop out of the filter, and an empty filter is no filter: so does the real service.
    let filter: BTreeSet<&OrgNumber> =
        filter.iter().filter_map(|identifier| resolve(world, identifier)).collect();
    let access = |organization: &Organization| {
        let wanted = filter.is_empty() || filter.contains(&organization.number);
        let found = Access::find(world, user, &organization.number, relevant.as_ref());
        found.filter(|_| wanted)
    };
    let main_units = world.organizations.values().filter(|item| item.parent.is_none());
    main_units
        .filter_map(|main| {
            let units = world.organizations.values();
            let units: Vec<Value> = units
                .filter(|unit| unit.parent.as_ref() == Some(&main.number))
                .filter_map(|unit| {
                    access(unit).map(|held| party(unit, main.uuid(), Some(&held), options, &[]))
                })
                .collect();
            let held = access(main);
            let shown = held.is_some() || !units.is_empty();
            shown.then(|| party(main, None, held.as_ref(), options, &units))
        })
        .collect()
}

fn resolve<'a>(world: &'a World, identifier: &Identifier) -> Option<&'a OrgNumber> {
    let value = &identifier.value;
    let found = match identifier.r#type.as_str() {
        "urn:altinn:organization:identifier-no" => {
            world.organizations.values().find(|item| item.number.as_str() == value)
        }
        "urn:altinn:partyid" => {
            value.parse().ok().and_then(|id| world.organization_by_party_id(id))
        }
        _ => Uuid::try_parse(value).ok().and_then(|uuid| world.organization_by_uuid(uuid)),
    };
    found.map(|organization| &organization.number)
}

/// One party. Without access it is only there to hold its sub-units.
fn party(
    organization: &Organization,
    parent: Option<Uuid>,
    held: Option<&Access<'_>>,
    options: &Options,
    units: &[Value],
) -> Value {
    let packages = held.filter(|_| options.packages).map(|held| &held.packages);
    let resources = held.filter(|_| options.resources).map(|held| &held.resources);
    json!({
        "partyUuid": organization.uuid(),
        "name": organization.name,
        "organizationNumber": organization.number,
        "parentId": parent,
        "personId": null,
        "dateOfBirth": null,
        "partyId": organization.party_id,
        "emailId": null,
        "type": "Organization",
        "unitType": organization.unit_type,
        "isDeleted": organization.deleted,
        "onlyHierarchyElementWithNoAccess": held.is_none(),
        "authorizedAccessPackages": packages.cloned().unwrap_or_default(),
        "authorizedResources": resources.cloned().unwrap_or_default(),
        "authorizedRoles": [],
        "authorizedInstances": [],
        "subunits": units,
    })
}
