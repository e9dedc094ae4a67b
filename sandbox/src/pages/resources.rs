//! The service owner's view: every resource, who may do what on it, and the access lists.

use super::layout;
use super::text::Text as T;
use super::visit::Visit;
use super::words;
use crate::world::resource::{Effect, Resource, Rule};
use axum::response::Response;
use maud::{Markup, html};

const SHOWN: usize = 200;

pub(super) async fn show(visit: Visit) -> Response {
    let main = html! {
        (layout::title(visit.t(T::ResourcesTitle), visit.t(T::ResourcesLead)))
        ul class="cards" {
            @for resource in visit.world.resources.values().take(SHOWN) {
                li class="ds-card" { (card(&visit, resource)) }
            }
        }
        (layout::heading(visit.t(T::AccessLists)))
        ul {
            @for list in visit.world.access_lists.values().take(SHOWN) {
                li {
                    strong { (list.name) } ": "
                    (list.members.iter().take(SHOWN).map(|it| words::org_name(&visit.world, *it)).collect::<Vec<_>>().join(", "))
                    @if let Some(actions) = list.filter() { " – " (words::actions(&visit, actions)) }
                }
            }
        }
    };
    visit.page(visit.t(T::ResourcesTitle), &main)
}

fn card(visit: &Visit, resource: &Resource) -> Markup {
    html! {
        h2 class="ds-heading" data-size="xs" { (words::resource_title(visit, &resource.id)) }
        p { code class="id" { (resource.id) } }
        @if resource.rules.is_empty() { p { (visit.t(T::NoPolicy)) } }
        ul class="rights" { @for rule in &resource.rules { li { (sentence(visit, rule)) } } }
        dl class="facts" {
            @if let Some(scope) = &resource.scope { dt { (visit.t(T::Scope)) } dd { code { (scope) } } }
            @if let Some(level) = resource.minimum_level { dt { (visit.t(T::MinimumLevel)) } dd { (level) } }
            @if !resource.access_lists.is_empty() { dt { (visit.t(T::AccessLists)) } dd { (resource.access_lists.join(", ")) } }
        }
        p { a class="ds-link" href={ "/resourceregistry/api/v1/resource/" (layout::encode(&resource.id)) "/policy" } { (visit.fill(T::SeePolicy, &[("id", &resource.id)])) } }
    }
}

/// A rule: who, and what.
pub(super) fn sentence(visit: &Visit, rule: &Rule) -> Markup {
    let mut who: Vec<String> =
        rule.packages.iter().map(|code| words::package_name(visit, code)).collect();
    who.extend(rule.package_groups.iter().map(|group| {
        let names: Vec<String> =
            group.iter().map(|code| words::package_name(visit, code)).collect();
        names.join(" + ")
    }));
    who.extend(rule.roles.iter().map(|role| visit.fill(T::RoleNamed, &[("role", role)])));
    who.extend(rule.service_owners.iter().cloned());
    if who.is_empty() {
        who.push(visit.t(T::Anybody).to_owned());
    }
    html! {
        @if rule.effect == Effect::Deny { strong { (visit.t(T::Denied)) } " " }
        strong { (words::actions(visit, &rule.actions)) } ": " (who.join(", "))
        @if let Some(part) = &rule.subresource { " (" (part) ")" }
    }
}
