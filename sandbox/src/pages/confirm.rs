//! The page behind a request's confirm URL: see what a vendor asks for, and approve, reject or hand on.

use super::layout::{self, choice};
use super::text::Text as T;
use super::visit::{Fields, Posted, Visit, is_web_address};
use super::{PORTAL, start, words};
use crate::world::authority::Authority;
use crate::world::model::SystemUserKind;
use crate::world::requests::{RequestStatus, UserRequest};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

pub(super) async fn standard(visit: Visit) -> Response {
    show(visit, SystemUserKind::Standard)
}

pub(super) async fn agent(visit: Visit) -> Response {
    show(visit, SystemUserKind::Agent)
}

pub(super) async fn decide_standard(posted: Posted) -> Response {
    decide(posted, SystemUserKind::Standard).await
}

pub(super) async fn decide_agent(posted: Posted) -> Response {
    decide(posted, SystemUserKind::Agent).await
}

fn find(visit: &Visit, kind: SystemUserKind) -> Option<UserRequest> {
    let id = Uuid::try_parse(visit.query.one("id")).ok()?;
    let request = visit.world.requests.get(&id);
    request.filter(|it| !it.deleted && it.kind == kind).cloned()
}

/// The address of the page, for those who must log in first and for its own form.
fn address(kind: SystemUserKind, id: Uuid) -> String {
    let page = if kind == SystemUserKind::Agent { "agentrequest" } else { "request" };
    format!("{PORTAL}/{page}?id={id}&DONTCHOOSEREPORTEE=true")
}

fn show(visit: Visit, kind: SystemUserKind) -> Response {
    let Some(request) = find(&visit, kind) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::ProblemNoRequest));
    };
    page(visit, &request, None)
}

fn authority<'a>(visit: &'a Visit, request: &UserRequest) -> Option<Authority<'a>> {
    let person = visit.person()?;
    let authority = Authority::of(&visit.world, person.number, request.party, 3);
    authority.is_known().then_some(authority)
}

/// The page, with a message on why the visitor's answer was not taken.
fn page(
    mut visit: Visit,
    request: &UserRequest,
    problem: Option<(StatusCode, String)>,
) -> Response {
    if visit.person().is_none() {
        return start::log_in_first(&visit, &address(request.kind, request.id));
    }
    visit.allow_target(request.redirect_url.as_deref());
    let Some(authority) = authority(&visit, request) else {
        let name = words::org_name(&visit.world, request.party);
        let why = visit.fill(T::NothingToDoWith, &[("org", &name)]);
        return visit.refuse(StatusCode::FORBIDDEN, &why);
    };
    let open = request.status == RequestStatus::New;
    let main = html! {
        (layout::title(visit.t(T::ConfirmTitle), ""))
        @if let Some((_, why)) = &problem { (layout::alert("danger", why)) }
        (asked(&visit, request))
        @if open { (offered(&visit, request, authority)) } @else { (answered(&visit, request)) }
    };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    visit.page_with(status, visit.t(T::ConfirmTitle), &main)
}

/// Who asks whom for what.
fn asked(visit: &Visit, request: &UserRequest) -> Markup {
    let world = &visit.world;
    let system = world.systems.get(&request.system);
    let name = words::system_name(visit, &request.system);
    let vendor = system.map(|system| words::org_name(world, system.vendor)).unwrap_or_default();
    let customer = words::org_name(world, request.party);
    let lead = match request.kind {
        SystemUserKind::Standard => T::ConfirmLead,
        SystemUserKind::Agent => T::ConfirmAgentLead,
    };
    let values = [("vendor", vendor.as_str()), ("system", &name), ("customer", &customer)];
    html! {
        p class="lead" { (visit.fill(lead, &values)) }
        dl class="facts" {
            dt { (visit.t(T::System)) } dd { (name) }
            dt { (visit.t(T::Vendor)) } dd { @if let Some(system) = system { (words::org(world, system.vendor)) } }
            dt { (visit.t(T::Customer)) } dd { (words::org(world, request.party)) }
            @if let Some(title) = &request.title { dt { (visit.t(T::IntegrationName)) } dd { (title) } }
            dt { (visit.t(T::Reference)) } dd { (request.reference()) }
            dt { (visit.t(T::AskedAt)) } dd { (words::time(request.created)) }
        }
        @if request.timed_out(visit.shared.now()) { (layout::alert("warning", visit.t(T::TimedOut))) }
    }
}

/// What is asked for, marked with what the visitor can give, and the buttons.
fn offered(visit: &Visit, request: &UserRequest, authority: Authority<'_>) -> Markup {
    let manages = authority.manages_access();
    let action = address(request.kind, request.id);
    let note = match request.kind {
        SystemUserKind::Standard => T::ApproveNote,
        SystemUserKind::Agent => T::ApproveAgentNote,
    };
    html! {
        (wanted(visit, request, Some(authority)))
        @if !manages { (layout::alert("warning", visit.t(T::OnlyManagers))) }
        @if request.escalated { (layout::alert("info", visit.t(T::Escalated))) }
        form method="post" action=(action) class="buttons" {
            (layout::token(visit))
            @if manages {
                (choice("primary", "accent", ("act", "approve"), visit.t(T::Approve)))
                (choice("secondary", "danger", ("act", "reject"), visit.t(T::Reject)))
            } @else if !request.escalated {
                (choice("primary", "accent", ("act", "escalate"), visit.t(T::Escalate)))
            }
        }
        @if manages { p class="note" { (visit.t(note)) } }
    }
}

/// Packages and single rights; for who may still answer, marked with what he or she can give.
fn wanted(visit: &Visit, request: &UserRequest, authority: Option<Authority<'_>>) -> Markup {
    let packages = match request.kind {
        SystemUserKind::Standard => T::Packages,
        SystemUserKind::Agent => T::AgentPackages,
    };
    html! {
        @if !request.packages.is_empty() {
            (layout::heading(visit.t(packages)))
            (words::packages(visit, &request.packages, &|code| {
                authority.map_or_else(Markup::default, |it| mark_package(visit, request.kind, it, code))
            }))
        }
        @if !request.rights.is_empty() {
            (layout::heading(visit.t(T::SingleRights)))
            (words::singles(visit, &request.rights, &|resource| authority.map_or_else(Markup::default, |it| mark_right(visit, it, resource))))
        }
    }
}

/// Whether the visitor can give a package; nothing is given to agents before they get clients.
pub(super) fn mark_package(
    visit: &Visit,
    kind: SystemUserKind,
    authority: Authority<'_>,
    code: &str,
) -> Markup {
    match kind {
        SystemUserKind::Agent => html! {},
        SystemUserKind::Standard if authority.gives_package(code) => {
            layout::tag("success", visit.t(T::YouCanGive))
        }
        SystemUserKind::Standard => layout::tag("danger", visit.t(T::YouCannotGive)),
    }
}

pub(super) fn mark_right(
    visit: &Visit,
    authority: Authority<'_>,
    resource: &crate::world::resource::Resource,
) -> Markup {
    match authority.gives_actions(resource) {
        Ok(actions) => {
            let actions = words::actions(visit, &actions);
            layout::tag("success", &visit.fill(T::YouCanGiveActions, &[("actions", &actions)]))
        }
        Err(_) => layout::tag("danger", visit.t(T::YouCannotGive)),
    }
}

/// What became of the request, and the way back to the vendor.
fn answered(visit: &Visit, request: &UserRequest) -> Markup {
    let (color, text) = match request.status {
        RequestStatus::Accepted => ("success", T::WasApproved),
        RequestStatus::Rejected => ("info", T::WasRejected),
        RequestStatus::New => ("info", T::IsOpen),
    };
    let back = request.redirect_url.as_deref().filter(|url| is_web_address(url));
    html! {
        (layout::alert(color, visit.t(text)))
        (wanted(visit, request, None))
        ul class="plain links" {
            @if let Some(url) = back { li { a class="ds-link" href=(url) rel="noreferrer" { (visit.t(T::BackToVendor)) } } }
            li { a class="ds-link" href={ (PORTAL) "/overview?party=" (request.party) } { (visit.t(T::NavMine)) } }
            @if request.kind == SystemUserKind::Agent && request.status == RequestStatus::Accepted {
                li { a class="ds-link" href={ (PORTAL) "/clients?party=" (request.party) "&id=" (request.id) } { (visit.t(T::NavClients)) } }
            }
        }
    }
}

async fn decide(Posted { mut visit, fields }: Posted, kind: SystemUserKind) -> Response {
    let Some(request) = find(&visit, kind) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::ProblemNoRequest));
    };
    let Some(act) = act(&fields) else {
        return visit.refuse(StatusCode::BAD_REQUEST, visit.t(T::NoForm));
    };
    let party = visit.world.organizations.get(&request.party).map(|it| it.party_id);
    let agent = if kind == SystemUserKind::Agent { "agent/" } else { "" };
    let target = format!(
        "/authentication/api/v1/systemuser/request/{agent}{}/{}/{act}",
        party.unwrap_or_default(),
        request.id
    );
    let reply = visit.act("POST", &target, &Value::Null).await;
    if !reply.is_good() {
        let why = words::problem(&visit, &reply);
        return page(visit, &request, Some((reply.status, why)));
    }
    visit.renew();
    visit.allow_target(request.redirect_url.as_deref());
    let back =
        request.redirect_url.as_deref().filter(|url| act != "escalate" && is_web_address(url));
    visit.go(back.unwrap_or(&address(kind, request.id)))
}

/// What the visitor pressed.
fn act(fields: &Fields) -> Option<&'static str> {
    ["approve", "reject", "escalate"].into_iter().find(|act| *act == fields.one("act"))
}
