//! The pages that people meet: customers, accountants, vendors and testers. Server-rendered, in Norwegian and English.
//!
//! Pages read the world themselves, but change it only through the same endpoints as everybody else, called in process
//! with a token of the person who is logged in ([`api`]). [`visit`] knows who looks at a page and guards the forms,
//! [`layout`] draws the frame, [`text`] holds every sentence, [`words`] says rights and packages in plain words.

mod api;
mod assets;
mod call;
mod change;
mod clients;
mod confirm;
mod controls;
mod layout;
mod live;
mod overview;
mod resources;
pub(crate) mod session;
mod start;
mod text;
mod vendor;
mod verdict;
mod visit;
mod words;

pub(crate) use api::{Api, portal_token};
pub(crate) use call::host_of;

use crate::state::Shared;
use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::routing::get;
use std::sync::Arc;

/// Below this path lie the pages that Altinn has, too.
const PORTAL: &str = "/accessmanagement/ui/systemuser";

/// Every page, and the answer where there is nothing.
pub(crate) fn router() -> Router<Arc<Shared>> {
    let portal = |page: &str| format!("{PORTAL}/{page}");
    Router::new()
        .merge(assets::router())
        .route("/", get(start::show))
        .route("/ui/login", get(start::choose).post(start::login))
        .route("/ui/logout", axum::routing::post(start::logout))
        .route(&portal("request"), get(confirm::standard).post(confirm::decide_standard))
        .route(&portal("agentrequest"), get(confirm::agent).post(confirm::decide_agent))
        .route(&portal("changerequest"), get(change::show).post(change::decide))
        .route(&portal("overview"), get(overview::list))
        .route(&portal("details"), get(overview::detail))
        .route(&portal("delete"), get(overview::ask_delete).post(overview::delete))
        .route(&portal("create"), get(overview::choose_system).post(overview::create))
        .route(&portal("clients"), get(clients::show).post(clients::change))
        .route("/ui/vendor", get(vendor::show))
        .route("/ui/vendor/request", axum::routing::post(vendor::request))
        .route("/ui/vendor/token", axum::routing::post(vendor::token))
        .route("/ui/vendor/call", axum::routing::post(call::send))
        .route("/ui/resources", get(resources::show))
        .route("/ui/live", get(live::show))
        .route("/ui/controls", get(controls::show).post(controls::turn))
        .fallback(start::absent)
}

/// Whether a browser asks, and not a program.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/html"))
}
