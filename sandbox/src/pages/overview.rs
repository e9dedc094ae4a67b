//! "My system users" (Mine systemtilganger): what an organisation has, what waits for it, delete and create.

use super::layout::{self, button, hidden, input};
use super::text::Text as T;
use super::visit::{Posted, Visit};
use super::{PORTAL, start, words};
use crate::world::authority::Authority;
use crate::world::model::{System, SystemUser, SystemUserKind};
use crate::world::number::OrgNumber;
use crate::world::party::Organization;
use crate::world::requests::{RequestStatus, UserRequest};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};
use uuid::Uuid;

/// Rows of a list on one page; large worlds have more.
const SHOWN: usize = 200;

/// The visitor's organisation, or the page that is shown instead.
pub(super) fn enter<'a>(visit: &'a Visit, asked: &str) -> Result<&'a Organization, Box<Response>> {
    if visit.person().is_none() {
        return Err(Box::new(start::log_in_first(visit, &visit.address)));
    }
    visit.party(asked).ok_or_else(|| {
        Box::new(visit.refuse(StatusCode::FORBIDDEN, visit.t(T::NotYourOrganization)))
    })
}

pub(super) fn authority<'a>(visit: &'a Visit, owner: &Organization) -> Option<Authority<'a>> {
    let person = visit.person()?;
    Some(Authority::of(&visit.world, person.number, owner.number, 3))
}

/// Links to the visitor's other organisations, if there are any.
pub(super) fn parties(visit: &Visit, present: OrgNumber) -> Markup {
    let holds = visit.person().map(|person| person.holds.as_slice()).unwrap_or_default();
    html! {
        p class="acting" { (visit.t(T::ActingFor)) " " strong { (words::org(&visit.world, present)) } }
        @if holds.len() > 1 {
            ul class="plain links" {
                @for holding in holds.iter().filter(|it| it.organization != present).take(SHOWN) {
                    li { a class="ds-link" href={ (visit.path) "?party=" (holding.organization) } { (words::org_name(&visit.world, holding.organization)) } }
                }
            }
        }
    }
}

pub(super) async fn list(visit: Visit) -> Response {
    let owner = match enter(&visit, visit.query.one("party")) {
        Ok(owner) => owner,
        Err(instead) => return *instead,
    };
    let done = match visit.query.one("done") {
        "created" => Some(T::WasCreated),
        "deleted" => Some(T::WasDeleted),
        _ => None,
    };
    let main = html! {
        (layout::title(visit.t(T::MineTitle), visit.t(T::MineLead)))
        @if let Some(text) = done { (layout::alert("success", visit.t(text))) }
        (parties(&visit, owner.number))
        (waiting(&visit, owner.number))
        (layout::heading(visit.t(T::MineList)))
        (users(&visit, owner.number))
        p { a class="ds-button" data-variant="primary" href={ (PORTAL) "/create?party=" (owner.number) } { (visit.t(T::CreateTitle)) } }
    };
    visit.page(visit.t(T::MineTitle), &main)
}

/// Requests and change requests that nobody has answered.
fn waiting(visit: &Visit, owner: OrgNumber) -> Markup {
    let world = &visit.world;
    let requests = world
        .requests
        .values()
        .filter(|it| it.party == owner && !it.deleted && it.status == RequestStatus::New);
    let requests = requests.map(|it| {
        let page = if it.kind == SystemUserKind::Agent { "agentrequest" } else { "request" };
        (page, it.id, request_name(visit, it), T::AsksForUser, T::LookAt, it.escalated)
    });
    let changes = world.change_requests.values().filter_map(|it| {
        let user = world.system_users.get(&it.system_user)?;
        let open = user.owner == owner && !it.deleted && it.status == RequestStatus::New;
        (open && !user.deleted).then(|| {
            (
                "changerequest",
                it.id,
                words::user_name(visit, user),
                T::AsksForChange,
                T::LookAtChange,
                false,
            )
        })
    });
    let rows: Vec<_> = requests.chain(changes).take(SHOWN).collect();
    html! {
        @if !rows.is_empty() {
            (layout::heading(visit.t(T::Waiting)))
            ul class="cards" {
                @for (page, id, name, what, look, escalated) in rows {
                    li class="ds-card" data-color="warning" data-variant="tinted" {
                        h3 class="ds-heading" data-size="xs" { (name) }
                        p { (visit.t(what)) @if escalated { " " (visit.t(T::Escalated)) } }
                        p { a class="ds-link" href={ (PORTAL) "/" (page) "?id=" (id) } { (visit.fill(look, &[("name", &name)])) } }
                    }
                }
            }
        }
    }
}

/// What is asked for and its reference, so that two of one system can be told apart.
fn request_name(visit: &Visit, request: &UserRequest) -> String {
    let system = words::system_name(visit, &request.system);
    let title = request.title.as_deref().unwrap_or(&system);
    words::with_reference(title, request.external_ref.as_deref())
}

fn users(visit: &Visit, owner: OrgNumber) -> Markup {
    let users: Vec<_> =
        visit.world.users_of(owner).filter(|user| !user.deleted).take(SHOWN).collect();
    html! {
        @if users.is_empty() { p { (visit.t(T::NoUsers)) } }
        ul class="cards" {
            @for user in users {
                li class="ds-card" {
                    h3 class="ds-heading" data-size="xs" { (words::user_title(visit, user)) }
                    p { (layout::tag("info", words::kind(visit, user.kind))) }
                    (maker(visit, user))
                    p { a class="ds-link" href=(details_address(user)) { (visit.fill(T::LookAt, &[("name", &words::user_name(visit, user))])) } }
                }
            }
        }
    }
}

fn details_address(user: &SystemUser) -> String {
    format!("{PORTAL}/details?id={}&party={}", user.id, user.owner)
}

/// System, vendor and reference.
fn maker(visit: &Visit, user: &SystemUser) -> Markup {
    let system = visit.world.systems.get(&user.system);
    html! {
        dl class="facts" {
            dt { (visit.t(T::System)) } dd { (words::system_name(visit, &user.system)) }
            @if let Some(system) = system { dt { (visit.t(T::Vendor)) } dd { (words::org(&visit.world, system.vendor)) } }
            dt { (visit.t(T::Reference)) } dd { (user.reference()) }
        }
        @if system.is_none_or(|system| system.deleted) { (layout::alert("warning", visit.t(T::SystemGone))) }
    }
}

/// A living system user of the visitor's organisation.
fn own_user(visit: &Visit, owner: &Organization, id: &str) -> Option<SystemUser> {
    let user = visit.world.system_users.get(&Uuid::try_parse(id).ok()?)?;
    (user.owner == owner.number && !user.deleted).then(|| user.clone())
}

pub(super) async fn detail(visit: Visit) -> Response {
    let owner = match enter(&visit, visit.query.one("party")) {
        Ok(owner) => owner,
        Err(instead) => return *instead,
    };
    let Some(user) = own_user(&visit, owner, visit.query.one("id")) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::ProblemNoUser));
    };
    let title = words::user_title(&visit, &user);
    let main = html! {
        (layout::title(&title, words::kind(&visit, user.kind)))
        (maker(&visit, &user))
        dl class="facts" { dt { (visit.t(T::SystemUserId)) } dd { code { (user.id) } } }
        @if user.kind == SystemUserKind::Agent { (agent(&visit, &user)) } @else { (standard(&visit, &user)) }
        div class="buttons" {
            a class="ds-button" data-variant="secondary" data-color="danger" href={ (PORTAL) "/delete?id=" (user.id) "&party=" (user.owner) } { (visit.t(T::Delete)) }
            a class="ds-button" data-variant="tertiary" href={ (PORTAL) "/overview?party=" (user.owner) } { (visit.t(T::Back)) }
        }
    };
    visit.page(&title, &main)
}

fn standard(visit: &Visit, user: &SystemUser) -> Markup {
    html! {
        (layout::heading(visit.t(T::MayDo)))
        @if user.delegations.iter().next().is_none() { p { (visit.t(T::NoRights)) } }
        @for delegation in user.delegations.iter() { (words::delegation(visit, delegation)) }
    }
}

fn agent(visit: &Visit, user: &SystemUser) -> Markup {
    html! {
        (layout::heading(visit.t(T::AgentPackages)))
        (words::packages(visit, &user.packages, &|_| html! {}))
        (layout::heading(visit.t(T::AgentClients)))
        @if user.delegations.iter().next().is_none() { p { (visit.t(T::NoAgentClients)) } } @else {
            ul { @for delegation in user.delegations.iter().take(SHOWN) { li { (words::party_name(&visit.world, delegation.party)) } } }
        }
        (clients_link(visit, user))
    }
}

fn clients_link(visit: &Visit, user: &SystemUser) -> Markup {
    html! { p { a class="ds-link" href={ (PORTAL) "/clients?party=" (user.owner) "&id=" (user.id) } { (visit.t(T::NavClients)) } } }
}

pub(super) async fn ask_delete(visit: Visit) -> Response {
    let owner = match enter(&visit, visit.query.one("party")) {
        Ok(owner) => owner,
        Err(instead) => return *instead,
    };
    let Some(user) = own_user(&visit, owner, visit.query.one("id")) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::ProblemNoUser));
    };
    delete_page(&visit, &user, None)
}

fn delete_page(
    visit: &Visit,
    user: &SystemUser,
    problem: Option<(StatusCode, String)>,
) -> Response {
    let name = words::user_title(visit, user);
    let main = html! {
        (layout::title(&visit.fill(T::DeleteTitle, &[("name", &name)]), visit.t(T::DeleteLead)))
        @if let Some((_, why)) = &problem { (layout::alert("danger", why)) }
        (maker(visit, user))
        @if user.kind == SystemUserKind::Agent { (clients_link(visit, user)) }
        form method="post" action={ (PORTAL) "/delete?id=" (user.id) "&party=" (user.owner) } class="buttons" {
            (layout::token(visit))
            (hidden("id", &user.id.to_string()))
            (hidden("party", user.owner.as_str()))
            (button("primary", "danger", visit.t(T::DeleteForGood)))
            a class="ds-button" data-variant="tertiary" href=(details_address(user)) { (visit.t(T::Cancel)) }
        }
    };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    visit.page_with(status, visit.t(T::Delete), &main)
}

pub(super) async fn delete(Posted { visit, fields }: Posted) -> Response {
    let owner = match enter(&visit, fields.one("party")) {
        Ok(owner) => owner,
        Err(instead) => return *instead,
    };
    let Some(user) = own_user(&visit, owner, fields.one("id")) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::ProblemNoUser));
    };
    let (party, id) = (owner.party_id, user.id);
    let target = match user.kind {
        SystemUserKind::Standard => format!("/authentication/api/v1/systemuser/{party}/{id}"),
        SystemUserKind::Agent => format!("/authentication/api/v1/systemuser/agent/{party}/{id}"),
    };
    let reply = visit.act("DELETE", &target, &Value::Null).await;
    if reply.is_good() {
        return visit.go(&format!("{PORTAL}/overview?party={}&done=deleted", user.owner));
    }
    let why = words::problem(&visit, &reply);
    delete_page(&visit, &user, Some((reply.status, why)))
}

/// Step one: which system; step two: what it needs.
pub(super) async fn choose_system(visit: Visit) -> Response {
    let owner = match enter(&visit, visit.query.one("party")) {
        Ok(owner) => owner,
        Err(instead) => return *instead,
    };
    let system = visit.world.systems.get(visit.query.one("system"));
    match system.filter(|system| is_offered(system)) {
        Some(system) => accept_page(&visit, owner, system, None),
        None => choose_page(&visit, owner),
    }
}

fn is_offered(system: &System) -> bool {
    system.visible && !system.deleted
}

fn choose_page(visit: &Visit, owner: &Organization) -> Response {
    let systems = visit.world.systems.values().filter(|system| is_offered(system));
    let main = html! {
        (layout::title(visit.t(T::CreateTitle), visit.t(T::CreateLead)))
        (parties(visit, owner.number))
        form method="get" action={ (PORTAL) "/create" } {
            (hidden("party", owner.number.as_str()))
            fieldset class="ds-fieldset" {
                legend class="ds-label" { (visit.t(T::ChooseSystem)) }
                @for (place, system) in systems.take(SHOWN).enumerate() {
                    div class="ds-field" {
                        input class="ds-input" type="radio" required id={ "system-" (place) } name="system" value=(system.id);
                        label class="ds-label" for={ "system-" (place) } {
                            (words::localized(visit.language, &system.name))
                            " – " (words::org(&visit.world, system.vendor))
                        }
                    }
                }
            }
            (button("primary", "accent", visit.t(T::Next)))
        }
    };
    visit.page(visit.t(T::CreateTitle), &main)
}

fn accept_page(
    visit: &Visit,
    owner: &Organization,
    system: &System,
    problem: Option<(StatusCode, String)>,
) -> Response {
    let name = words::localized(visit.language, &system.name);
    let title = visit.fill(T::AcceptTitle, &[("system", &name)]);
    let authority = authority(visit, owner);
    let rights: Vec<String> = system.rights.iter().map(|right| right.resource.clone()).collect();
    let main = html! {
        (layout::title(&title, visit.t(T::AcceptLead)))
        @if let Some((_, why)) = &problem { (layout::alert("danger", why)) }
        (parties(visit, owner.number))
        @if let Some(authority) = authority {
            @if !system.packages.is_empty() {
                (layout::heading(visit.t(T::Packages)))
                (words::packages(visit, &system.packages, &|code| {
                    if authority.gives_package(code) { layout::tag("success", visit.t(T::YouCanGive)) }
                    else { layout::tag("danger", visit.t(T::YouCannotGive)) }
                }))
            }
            @if !rights.is_empty() {
                (layout::heading(visit.t(T::SingleRights)))
                (words::singles(visit, &rights, &|resource| super::confirm::mark_right(visit, authority, resource)))
            }
        }
        form method="post" action={ (PORTAL) "/create?party=" (owner.number) "&system=" (layout::encode(&system.id)) } class="stack" {
            (layout::token(visit))
            (hidden("party", owner.number.as_str()))
            (hidden("system", &system.id))
            (input("title", visit.t(T::IntegrationName), visit.t(T::IntegrationHelp), &name))
            div class="buttons" {
                (button("primary", "accent", visit.t(T::AcceptAndCreate)))
                a class="ds-button" data-variant="tertiary" href={ (PORTAL) "/create?party=" (owner.number) } { (visit.t(T::Back)) }
            }
        }
    };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    visit.page_with(status, &title, &main)
}

pub(super) async fn create(Posted { visit, fields }: Posted) -> Response {
    let owner = match enter(&visit, fields.one("party")) {
        Ok(owner) => owner,
        Err(instead) => return *instead,
    };
    let system = visit.world.systems.get(fields.one("system"));
    let Some(system) = system.filter(|system| is_offered(system)) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::ProblemNoSystem));
    };
    let title = Some(fields.one("title")).filter(|title| !title.is_empty());
    let body = json!({ "integrationTitle": title, "systemId": system.id });
    let target = format!("/authentication/api/v1/systemuser/{}/create", owner.party_id);
    let reply = visit.act("POST", &target, &body).await;
    if reply.is_good() {
        return visit.go(&format!("{PORTAL}/overview?party={}&done=created", owner.number));
    }
    let why = words::problem(&visit, &reply);
    accept_page(&visit, owner, system, Some((reply.status, why)))
}
