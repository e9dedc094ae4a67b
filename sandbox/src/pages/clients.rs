//! Client administration: whose clients an accountant's, an auditor's or a supplier's agent acts for.

use super::layout::{self, button, hidden};
use super::overview::{authority, enter, parties};
use super::text::Text as T;
use super::visit::{Posted, Visit};
use super::{PORTAL, words};
use crate::world::authority::Authority;
use crate::world::model::{SystemUser, SystemUserKind};
use crate::world::number::{OrgNumber, PartyNumber};
use crate::world::party::Organization;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

const SHOWN: usize = 500;

pub(super) async fn show(visit: Visit) -> Response {
    page(&visit, visit.query.one("party"), visit.query.one("id"), None)
}

/// Agents of the visitor's organisation that still act.
fn agents(visit: &Visit, owner: OrgNumber) -> Vec<&SystemUser> {
    let users = visit.world.users_of(owner);
    users.filter(|user| user.kind == SystemUserKind::Agent && !user.deleted).collect()
}

fn page(
    visit: &Visit,
    party: &str,
    agent: &str,
    problem: Option<(StatusCode, String)>,
) -> Response {
    let owner = match enter(visit, party) {
        Ok(owner) => owner,
        Err(instead) => return *instead,
    };
    if !authority(visit, owner).is_some_and(Authority::administers_clients) {
        let name = words::org_name(&visit.world, owner.number);
        let why = visit.fill(T::NoClientAdministrator, &[("org", &name)]);
        return visit.refuse(StatusCode::FORBIDDEN, &why);
    }
    let all = agents(visit, owner.number);
    let id = Uuid::try_parse(agent).ok();
    let chosen = all.iter().find(|user| id.is_none_or(|id| user.id == id));
    let main = html! {
        (layout::title(visit.t(T::ClientsTitle), visit.t(T::ClientsLead)))
        @if let Some((_, why)) = &problem { (layout::alert("danger", why)) }
        (parties(visit, owner.number))
        @match chosen {
            Some(user) => { (choose(visit, &all, user)) (administer(visit, owner, user)) }
            None => p { (visit.t(T::NoAgents)) }
        }
        (relations(visit, owner.number))
    };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    visit.page_with(status, visit.t(T::ClientsTitle), &main)
}

/// Links to the agents, where there are several.
fn choose(visit: &Visit, all: &[&SystemUser], chosen: &SystemUser) -> Markup {
    html! {
        @if all.len() > 1 {
            nav aria-label=(visit.t(T::Agents)) {
                ul class="plain links" {
                    @for user in all {
                        li {
                            a class="ds-link" href={ (PORTAL) "/clients?party=" (user.owner) "&id=" (user.id) }
                                aria-current=[(user.id == chosen.id).then_some("true")] { (words::user_title(visit, user)) }
                        }
                    }
                }
            }
        }
    }
}

fn administer(visit: &Visit, owner: &Organization, user: &SystemUser) -> Markup {
    let known = visit.world.relations.clients(owner.number);
    // What was delegated stays written when the relation ends, and can still be taken away.
    let former = user
        .delegations
        .iter()
        .map(|it| it.party)
        .filter(|party| visit.world.relations.roles(*party, owner.number).next().is_none());
    let rows: Vec<PartyNumber> = known.chain(former).take(SHOWN).collect();
    html! {
        (layout::heading(&visit.fill(T::ClientsOf, &[("name", &words::user_title(visit, user))])))
        p { (visit.t(T::AgentNeeds)) " " (user.packages.iter().map(|code| words::package_name(visit, code)).collect::<Vec<_>>().join(", ")) "." }
        div class="scroll" tabindex="0" role="group" aria-label=(visit.t(T::ClientsTitle)) {
            table class="ds-table" role="table" {
                thead role="rowgroup" { tr role="row" {
                    th scope="col" role="columnheader" { (visit.t(T::Client)) }
                    th scope="col" role="columnheader" { (visit.t(T::Relation)) }
                    th scope="col" role="columnheader" { (visit.t(T::State)) }
                    th scope="col" role="columnheader" { (visit.t(T::Action)) }
                } }
                tbody role="rowgroup" { @for client in rows { (row(visit, owner, user, client)) } }
            }
        }
    }
}

fn roles(visit: &Visit, client: PartyNumber, owner: OrgNumber) -> String {
    let roles = visit.world.relations.roles(client, owner);
    let names: Vec<&str> = roles.map(|(role, _)| words::facilitator(visit, role)).collect();
    if names.is_empty() { visit.t(T::RelationEnded).to_owned() } else { names.join(", ") }
}

/// Packages that the agent needs and the client does not offer.
fn lacking(visit: &Visit, user: &SystemUser, client: PartyNumber) -> Vec<String> {
    let missing =
        user.packages.iter().filter(|code| !visit.world.offers(user, client, code, |_| true));
    missing.map(|code| words::package_name(visit, code)).collect()
}

fn row(visit: &Visit, owner: &Organization, user: &SystemUser, client: PartyNumber) -> Markup {
    let added = user.delegations.of(client).is_some();
    let lacking = lacking(visit, user, client);
    let name = words::party_name(&visit.world, client);
    html! {
        tr role="row" {
            th role="rowheader" scope="row" { (name) " " span class="number" { (words::party_number(client)) } }
            td role="cell" data-label=(visit.t(T::Relation)) { (roles(visit, client, owner.number)) }
            td role="cell" data-label=(visit.t(T::State)) {
                @if added && lacking.is_empty() { (layout::tag("success", visit.t(T::ClientAdded))) }
                @else if added { (layout::tag("warning", visit.t(T::ClientWithoutEffect))) }
                @else if lacking.is_empty() { (layout::tag("neutral", visit.t(T::ClientNotAdded))) }
                @else { (visit.t(T::ClientLacks)) " " (lacking.join(", ")) }
            }
            td role="cell" data-label="" {
                @if added { (switch(visit, user, client, "remove", &visit.fill(T::RemoveClient, &[("name", &name)]))) }
                @else if lacking.is_empty() { (switch(visit, user, client, "add", &visit.fill(T::AddClient, &[("name", &name)]))) }
            }
        }
    }
}

fn switch(visit: &Visit, user: &SystemUser, client: PartyNumber, act: &str, text: &str) -> Markup {
    let uuid = visit.world.party(client).map(|party| party.uuid().to_string());
    let (variant, color) =
        if act == "add" { ("secondary", "accent") } else { ("tertiary", "danger") };
    html! {
        form method="post" action={ (PORTAL) "/clients?party=" (user.owner) "&id=" (user.id) } {
            (layout::token(visit))
            (hidden("party", user.owner.as_str()))
            (hidden("id", &user.id.to_string()))
            (hidden("client", uuid.as_deref().unwrap_or_default()))
            (hidden("act", act))
            (button(variant, color, text))
        }
    }
}

/// Who is a client, as the Central Coordinating Register and the clients themselves say.
fn relations(visit: &Visit, owner: OrgNumber) -> Markup {
    let clients: Vec<PartyNumber> = visit.world.relations.clients(owner).take(SHOWN).collect();
    html! {
        (layout::heading(visit.t(T::RelationsTitle)))
        p { (visit.t(T::RelationsLead)) }
        @if clients.is_empty() { p { (visit.t(T::NoRelations)) } }
        ul {
            @for client in clients {
                li { (words::party_name(&visit.world, client)) ": " (roles(visit, client, owner)) }
            }
        }
    }
}

pub(super) async fn change(Posted { mut visit, fields }: Posted) -> Response {
    let (party, id) = (fields.one("party"), fields.one("id"));
    let owner = match enter(&visit, party) {
        Ok(owner) => owner,
        Err(instead) => return *instead,
    };
    let (Ok(user), Ok(client)) = (Uuid::try_parse(id), Uuid::try_parse(fields.one("client")))
    else {
        return visit.refuse(StatusCode::BAD_REQUEST, visit.t(T::NoForm));
    };
    let base = format!("/authentication/api/v1/systemuser/agent/{}/{user}", owner.party_id);
    let provider = owner.uuid();
    let reply = if fields.one("act") == "add" {
        let target = format!("{base}?client={client}&provider={provider}");
        visit.act("POST", &target, &Value::Null).await
    } else {
        let target = format!("{base}/client?client={client}&provider={provider}");
        visit.act("DELETE", &target, &Value::Null).await
    };
    if reply.is_good() {
        return visit.go(&format!("{PORTAL}/clients?party={}&id={user}", layout::encode(party)));
    }
    visit.renew();
    let why = words::problem(&visit, &reply);
    page(&visit, party, id, Some((reply.status, why)))
}
