//! Access packages: anonymous metadata, in a simple form of one group and one area.

use crate::state::{Shared, View};
use crate::world::World;
use crate::world::resource::Package;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

const URN_PREFIX: &str = "urn:altinn:accesspackage:";

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/accessmanagement/api/v1/meta/info/accesspackages/export", get(export))
        .route("/accessmanagement/api/v1/meta/info/accesspackages/package/urn/{urn}", get(by_urn))
}

async fn export(View(world): View, headers: HeaderMap) -> Json<Value> {
    Json(catalogue(&world, language(&headers)))
}

/// The language that is asked for first: bokmål, nynorsk or English.
fn language(headers: &HeaderMap) -> &'static str {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let first = asked.unwrap_or_default().trim_start().get(..2).unwrap_or_default();
    ["nn", "en"].into_iter().find(|known| first.eq_ignore_ascii_case(known)).unwrap_or("nb")
}

/// Every package, in groups and areas.
pub(crate) fn catalogue(world: &World, language: &str) -> Value {
    let packages: Vec<Value> =
        world.packages.values().map(|package| to_json(world, package, language)).collect();
    json!([{
        "id": "5e5ac0de-0000-4000-8000-000000000001",
        "name": "Allment",
        "description": "Tilgangspakker i sandkassen",
        "type": "Organisasjon",
        "areas": [{
            "id": "5e5ac0de-0000-4000-8000-000000000002",
            "name": "Skatt, avgift, regnskap og toll",
            "urn": "accesspackage:area:skatt_avgift_regnskap_og_toll",
            "description": "Tilgangspakker i sandkassen",
            "packages": packages,
        }],
    }])
}

async fn by_urn(
    View(world): View,
    Path(urn): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let suffix = urn.strip_prefix(URN_PREFIX).unwrap_or(&urn);
    world
        .packages
        .values()
        .find(|package| package.urn_suffix() == suffix)
        .map(|package| Json(to_json(&world, package, language(&headers))))
        .ok_or(StatusCode::NOT_FOUND)
}

fn to_json(world: &World, package: &Package, language: &str) -> Value {
    let name = package.name.in_language(language);
    let resources: Vec<Value> = world
        .resources
        .values()
        .filter(|resource| resource.rules.iter().any(|rule| rule.names_package(&package.code)))
        .map(|resource| {
            let title = resource.title.get(language).or_else(|| resource.title.get("nb"));
            json!({ "refId": resource.id, "name": title })
        })
        .collect();
    json!({
        "id": package.id,
        "name": name,
        "code": package.code,
        "urn": format!("{URN_PREFIX}{}", package.urn_suffix()),
        "description": name,
        "isDelegable": package.delegable,
        "isAssignable": package.assignable,
        "isResourcePolicyAvailable": !resources.is_empty(),
        "resources": resources,
    })
}
