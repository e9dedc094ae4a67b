//! The page behind a change request's confirm URL: a vendor wants a system user to hold more or less.

use super::layout::{self, choice};
use super::text::Text as T;
use super::visit::{Posted, Visit, is_web_address};
use super::{PORTAL, confirm, start, words};
use crate::world::authority::Authority;
use crate::world::model::SystemUser;
use crate::world::requests::{ChangeRequest, RequestStatus};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

fn find(visit: &Visit) -> Option<(ChangeRequest, SystemUser)> {
    let id = Uuid::try_parse(visit.query.one("id")).ok()?;
    let request = visit.world.change_requests.get(&id).filter(|it| !it.deleted)?;
    let user = visit.world.system_users.get(&request.system_user)?;
    Some((request.clone(), user.clone()))
}

fn address(id: Uuid) -> String {
    format!("{PORTAL}/changerequest?id={id}&DONTCHOOSEREPORTEE=true")
}

pub(super) async fn show(visit: Visit) -> Response {
    match find(&visit) {
        Some((request, user)) => page(visit, &request, &user, None),
        None => visit.refuse(StatusCode::NOT_FOUND, visit.t(T::ProblemNoRequest)),
    }
}

fn page(
    mut visit: Visit,
    request: &ChangeRequest,
    user: &SystemUser,
    problem: Option<(StatusCode, String)>,
) -> Response {
    if visit.person().is_none() {
        return start::log_in_first(&visit, &address(request.id));
    }
    visit.allow_target(request.redirect_url.as_deref());
    let person = visit.person().map(|person| person.number);
    let authority = person.map(|number| Authority::of(&visit.world, number, user.owner, 3));
    let Some(authority) = authority.filter(|it| it.is_known()) else {
        let name = words::org_name(&visit.world, user.owner);
        let why = visit.fill(T::NothingToDoWith, &[("org", &name)]);
        return visit.refuse(StatusCode::FORBIDDEN, &why);
    };
    let main = html! {
        (layout::title(visit.t(T::ChangeTitle), ""))
        @if let Some((_, why)) = &problem { (layout::alert("danger", why)) }
        (asked(&visit, request, user, authority))
        (answer(&visit, request, user, authority))
    };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    visit.page_with(status, visit.t(T::ChangeTitle), &main)
}

/// What is to come and what is to go.
fn asked(
    visit: &Visit,
    request: &ChangeRequest,
    user: &SystemUser,
    authority: Authority<'_>,
) -> Markup {
    let world = &visit.world;
    let none = |_: &str| html! {};
    // What somebody can give matters until there is an answer.
    let giver = (request.status == RequestStatus::New).then_some(authority);
    let mark = |code: &str| {
        giver.map_or_else(|| none(code), |it| confirm::mark_package(visit, user.kind, it, code))
    };
    let title = words::user_title(visit, user);
    let customer = words::org_name(world, user.owner);
    let system = world.systems.get(&user.system);
    let vendor = system.map(|it| words::org_name(world, it.vendor)).unwrap_or_default();
    let values = [("vendor", vendor.as_str()), ("system", &title), ("customer", &customer)];
    html! {
        p class="lead" { (visit.fill(T::ChangeLead, &values)) }
        dl class="facts" {
            dt { (visit.t(T::System)) } dd { (words::system_name(visit, &user.system)) }
            dt { (visit.t(T::Vendor)) } dd { @if let Some(system) = system { (words::org(world, system.vendor)) } }
            dt { (visit.t(T::Customer)) } dd { (words::org(world, user.owner)) }
            dt { (visit.t(T::Reference)) } dd { (user.reference()) }
            dt { (visit.t(T::AskedAt)) } dd { (words::time(request.created)) }
        }
        @if !request.required_packages.is_empty() || !request.required_rights.is_empty() {
            (layout::heading(visit.t(T::ChangeMore)))
            (words::packages(visit, &request.required_packages, &mark))
            (words::singles(visit, &request.required_rights, &|resource| {
                giver.map_or_else(Markup::default, |it| confirm::mark_right(visit, it, resource))
            }))
        }
        @if !request.unwanted_packages.is_empty() || !request.unwanted_rights.is_empty() {
            (layout::heading(visit.t(T::ChangeLess)))
            (words::packages(visit, &request.unwanted_packages, &none))
            (words::singles(visit, &request.unwanted_rights, &|_| html! {}))
        }
        @if request.timed_out(visit.shared.now()) { (layout::alert("warning", visit.t(T::TimedOut))) }
    }
}

fn answer(
    visit: &Visit,
    request: &ChangeRequest,
    user: &SystemUser,
    authority: Authority<'_>,
) -> Markup {
    let done = match request.status {
        RequestStatus::Accepted => Some(("success", T::ChangeApproved)),
        RequestStatus::Rejected => Some(("info", T::ChangeRejected)),
        RequestStatus::New => None,
    };
    html! {
        @if let Some((color, text)) = done {
            (layout::alert(color, visit.t(text)))
            (ways_on(visit, request, user))
        } @else if user.deleted {
            (layout::alert("warning", visit.t(T::ProblemUserGone)))
        } @else if authority.manages_access() {
            form method="post" action=(address(request.id)) class="buttons" {
                (layout::token(visit))
                (choice("primary", "accent", ("act", "approve"), visit.t(T::Approve)))
                (choice("secondary", "danger", ("act", "reject"), visit.t(T::Reject)))
            }
        } @else {
            (layout::alert("warning", visit.t(T::OnlyManagers)))
        }
    }
}

/// Back to the vendor, if it said where, or to what the organisation has.
fn ways_on(visit: &Visit, request: &ChangeRequest, user: &SystemUser) -> Markup {
    let back = request.redirect_url.as_deref().filter(|url| is_web_address(url));
    html! {
        ul class="plain links" {
            @if let Some(url) = back { li { a class="ds-link" href=(url) rel="noreferrer" { (visit.t(T::BackToVendor)) } } }
            li { a class="ds-link" href={ (PORTAL) "/overview?party=" (user.owner) } { (visit.t(T::NavMine)) } }
        }
    }
}

pub(super) async fn decide(Posted { mut visit, fields }: Posted) -> Response {
    let Some((request, user)) = find(&visit) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::ProblemNoRequest));
    };
    let Some(act) = ["approve", "reject"].into_iter().find(|act| *act == fields.one("act")) else {
        return visit.refuse(StatusCode::BAD_REQUEST, visit.t(T::NoForm));
    };
    let party = visit.world.organizations.get(&user.owner).map(|it| it.party_id);
    let party = party.unwrap_or_default();
    let target =
        format!("/authentication/api/v1/systemuser/changerequest/{party}/{}/{act}", request.id);
    let reply = visit.act("POST", &target, &Value::Null).await;
    if !reply.is_good() {
        let why = words::problem(&visit, &reply);
        return page(visit, &request, &user, Some((reply.status, why)));
    }
    visit.renew();
    visit.allow_target(request.redirect_url.as_deref());
    let back = request.redirect_url.as_deref().filter(|url| is_web_address(url));
    visit.go(back.unwrap_or(&address(request.id)))
}
