//! Authorized parties: for whom a system user may act, with package codes and single resources, without actions.

use super::bearer::{self, Caller};
use super::{Refusal, framework_problem};
use crate::state::{Shared, View};
use crate::world::World;
use crate::world::number::{OrgNumber, PartyNumber, PersonNumber};
use crate::world::party::{Organization, Party, Person};
use crate::world::resource::Rule;
use crate::world::rights::whole;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
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
    View(world): View,
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
    let now = shared.now();
    shared.calls().question(
        now,
        json!({
            "endpoint": "parties",
            "subject": { "type": body.r#type, "value": body.value },
            "filter": filter.len(),
        }),
    );
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

/// The answer for a system user with packages and resources, and without filters.
pub(crate) fn everything(world: &World, user: Uuid) -> Vec<Value> {
    let options =
        Options { packages: true, resources: true, org_code: None, any_of_resources: Vec::new() };
    list(world, user, &[], &options)
}

/// What trims the answer to some resources.
struct Relevant<'a> {
    resources: BTreeSet<&'a str>,
    packages: BTreeSet<String>,
}

impl<'a> Relevant<'a> {
    /// `None` means that nothing is trimmed.
    fn find(world: &'a World, options: &Options) -> Option<Self> {
        if options.org_code.is_none() && options.any_of_resources.is_empty() {
            return None;
        }
        let owned = |code: &str| options.org_code.as_ref().is_none_or(|wanted| wanted == code);
        let wanted = &options.any_of_resources;
        let resources = world.resources.values().filter(|resource| {
            owned(world.owner_code(resource))
                && (wanted.is_empty() || wanted.contains(&resource.id))
        });
        let (mut ids, mut packages) = (BTreeSet::new(), BTreeSet::new());
        for resource in resources {
            ids.insert(resource.id.as_str());
            let named = resource.rules.iter().flat_map(Rule::named_packages);
            packages.extend(named.map(str::to_lowercase));
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
        party: PartyNumber,
        relevant: Option<&Relevant<'_>>,
    ) -> Option<Self> {
        let mut packages = world.packages_of(user, party);
        let mut resources: BTreeSet<&str> =
            world.single_rights_of(user, party).into_keys().map(whole).collect();
        if let Some(relevant) = relevant {
            packages.retain(|code| relevant.packages.contains(*code));
            resources.retain(|id| relevant.resources.contains(id));
        }
        let any = !packages.is_empty() || !resources.is_empty();
        any.then_some(Self { packages, resources })
    }
}

fn list(world: &World, user: Uuid, filter: &[Identifier], options: &Options) -> Vec<Value> {
    let Some(holder) = world.system_users.get(&user) else { return Vec::new() };
    let relevant = Relevant::find(world, options);
    // Unknown parties drop out of the filter, and an empty filter is no filter: so does the real service.
    let filter: BTreeSet<PartyNumber> =
        filter.iter().filter_map(|identifier| resolve(world, identifier)).collect();
    let mut held: BTreeMap<PartyNumber, Access<'_>> = world
        .reachable(holder)
        .into_iter()
        .filter(|number| filter.is_empty() || filter.contains(number))
        .filter_map(|number| {
            Access::find(world, user, number, relevant.as_ref()).map(|access| (number, access))
        })
        .collect();
    shown(world, held.keys().copied())
        .into_iter()
        .filter_map(|number| {
            let access = held.remove(&number);
            match world.party(number)? {
                Party::Person(one) => Some(person(one, access.as_ref(), options)),
                Party::Organization(main) => {
                    let units: Vec<Value> = world
                        .units(main.number)
                        .iter()
                        .filter_map(|unit| {
                            let access = held.remove(&(*unit).into())?;
                            let unit = world.organizations.get(unit)?;
                            Some(party(unit, Some(main.uuid()), Some(&access), options, &[]))
                        })
                        .collect();
                    Some(party(main, None, access.as_ref(), options, &units))
                }
            }
        })
        .collect()
}

/// The parties of the first level: for a sub-unit its main unit.
fn shown(world: &World, held: impl Iterator<Item = PartyNumber>) -> BTreeSet<PartyNumber> {
    let top = |number: PartyNumber| {
        let unit = number.organization().and_then(|it| world.organizations.get(&it));
        unit.and_then(|unit| unit.parent).map_or(number, PartyNumber::from)
    };
    held.map(top).collect()
}

fn resolve(world: &World, identifier: &Identifier) -> Option<PartyNumber> {
    let value = &identifier.value;
    let found = match identifier.r#type.as_str() {
        "urn:altinn:organization:identifier-no" => {
            OrgNumber::parse(value).ok().and_then(|number| world.party(number.into()))
        }
        "urn:altinn:person:identifier-no" => {
            PersonNumber::parse(value).ok().and_then(|number| world.party(number.into()))
        }
        "urn:altinn:partyid" => value.parse().ok().and_then(|id| world.party_by_id(id)),
        _ => Uuid::try_parse(value).ok().and_then(|uuid| world.party_by_uuid(uuid)),
    };
    found.map(Party::number)
}

/// One organisation. Without access it is only there to hold its sub-units.
fn party(
    organization: &Organization,
    parent: Option<Uuid>,
    held: Option<&Access<'_>>,
    options: &Options,
    units: &[Value],
) -> Value {
    let Shown { packages, resources } = Shown::of(held, options);
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
        "authorizedAccessPackages": packages,
        "authorizedResources": resources,
        "authorizedRoles": [],
        "authorizedInstances": [],
        "subunits": units,
    })
}

/// One person.
fn person(person: &Person, held: Option<&Access<'_>>, options: &Options) -> Value {
    let Shown { packages, resources } = Shown::of(held, options);
    json!({
        "partyUuid": person.uuid(),
        "name": person.name,
        "organizationNumber": null,
        "parentId": null,
        "personId": person.number,
        "dateOfBirth": person.date_of_birth,
        "partyId": person.party_id,
        "emailId": null,
        "type": "Person",
        "unitType": null,
        "isDeleted": person.deceased,
        "onlyHierarchyElementWithNoAccess": held.is_none(),
        "authorizedAccessPackages": packages,
        "authorizedResources": resources,
        "authorizedRoles": [],
        "authorizedInstances": [],
        "subunits": [],
    })
}

/// What of an access the query asks for.
struct Shown<'a> {
    packages: BTreeSet<&'a str>,
    resources: BTreeSet<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(held: Option<&Access<'a>>, options: &Options) -> Self {
        let packages = held.filter(|_| options.packages).map(|held| held.packages.clone());
        let resources = held.filter(|_| options.resources).map(|held| held.resources.clone());
        Self { packages: packages.unwrap_or_default(), resources: resources.unwrap_or_default() }
    }
}
