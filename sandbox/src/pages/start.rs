//! The start page: whom to be, and where each role begins.

use super::layout::{self, hidden};
use super::text::Text as T;
use super::visit::{Posted, Visit};
use super::{PORTAL, wants_page, words};
use crate::world::authority::Authority;
use crate::world::number::PersonNumber;
use crate::world::party::Person;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

/// People shown on one page; large worlds have more.
const SHOWN: usize = 100;

/// Only for browsers: programs get the 404 that they have always got.
pub(super) async fn show(headers: HeaderMap, visit: Visit) -> Response {
    if !wants_page(&headers) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let main = html! {
        (layout::title(visit.t(T::StartTitle), visit.t(T::StartLead)))
        (layout::heading(visit.t(T::ChoosePerson)))
        p { (visit.t(T::ChoosePersonLead)) }
        (people(&visit, ""))
        (layout::heading(visit.t(T::RolesTitle)))
        (roles(&visit))
    };
    visit.page(visit.t(T::StartTitle), &main)
}

/// A path that nobody answers: a page for browsers, what Altinn says for others.
pub(super) async fn absent(headers: HeaderMap, uri: Uri, visit: Visit) -> Response {
    let answer = crate::altinn::absent(&uri);
    if answer.status() != StatusCode::NOT_FOUND || !wants_page(&headers) {
        return answer;
    }
    let title = visit.t(T::NotFoundTitle);
    let main = layout::refusal(&visit, title, visit.t(T::NotFound));
    visit.page_with(StatusCode::NOT_FOUND, title, &main)
}

/// The way of each role through the pages.
fn roles(visit: &Visit) -> Markup {
    let mine = format!("{PORTAL}/overview");
    let clients = format!("{PORTAL}/clients");
    let all = [
        ("/ui/vendor", T::RoleVendor, T::RoleVendorLead, T::NavVendor),
        (&mine, T::RoleCustomer, T::RoleCustomerLead, T::NavMine),
        (&clients, T::RoleFacilitator, T::RoleFacilitatorLead, T::NavClients),
        ("/ui/resources", T::RoleOwner, T::RoleOwnerLead, T::NavResources),
        ("/ui/controls", T::RoleTester, T::RoleTesterLead, T::NavControls),
    ];
    html! {
        ul class="cards" {
            @for (target, name, lead, link) in all {
                li class="ds-card" {
                    h3 class="ds-heading" data-size="xs" { (visit.t(name)) }
                    p { (visit.t(lead)) }
                    p { a class="ds-link" href=(target) { (visit.t(link)) } }
                }
            }
        }
    }
}

/// The people one can be; `next` is where the choice leads.
pub(super) fn people(visit: &Visit, next: &str) -> Markup {
    let people = visit.world.persons.values().filter(|person| !person.holds.is_empty());
    html! {
        ul class="cards" {
            @for person in people.take(SHOWN) { li class="ds-card" { (card(visit, person, next)) } }
        }
    }
}

fn card(visit: &Visit, person: &Person, next: &str) -> Markup {
    let name = words::person_name(&person.name);
    html! {
        h3 class="ds-heading" data-size="xs" { (name) }
        p class="number" { (visit.t(T::IdentityNumber)) " " (words::masked(person.number)) }
        @for holding in &person.holds {
            ul class="plain" {
                @for sentence in words::holding(visit, holding) { li { (sentence) } }
            }
        }
        form method="post" action="/ui/login" {
            (layout::token(visit))
            (hidden("person", person.number.as_str()))
            (hidden("next", next))
            (layout::button("secondary", "accent", &visit.fill(T::BePerson, &[("name", &name)])))
        }
    }
}

/// The choice alone, on the way to a page that needs it.
pub(super) async fn choose(visit: Visit) -> Response {
    log_in_first(&visit, visit.query.one("next"))
}

/// Asks who the visitor is to be before `next`.
pub(super) fn log_in_first(visit: &Visit, next: &str) -> Response {
    let main = html! {
        (layout::title(visit.t(T::LogInTitle), visit.t(T::LogInLead)))
        (layout::heading(visit.t(T::ChoosePerson)))
        (people(visit, local(next).unwrap_or_default()))
    };
    visit.page(visit.t(T::LogInTitle), &main)
}

/// A path of ours, and nothing that a browser could take for another host.
fn local(path: &str) -> Option<&str> {
    let second = path.as_bytes().get(1);
    let inside = path.starts_with('/') && !matches!(second, Some(b'/' | b'\\'));
    (inside && path.bytes().all(|byte| byte.is_ascii_graphic())).then_some(path)
}

pub(super) async fn login(Posted { mut visit, fields }: Posted) -> Response {
    "/ui/login".clone_into(&mut visit.path);
    let number = PersonNumber::parse(fields.one("person")).ok();
    let person = number.and_then(|number| visit.world.persons.get(&number)).cloned();
    let Some(person) = person else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::UnknownPerson));
    };
    visit.log_in(&person);
    let next = local(fields.one("next")).map(str::to_owned);
    visit.go(&next.unwrap_or_else(|| first_page(&visit, &person)))
}

/// Where a person has most to do.
fn first_page(visit: &Visit, person: &Person) -> String {
    let clients_only = person.holds.first().is_some_and(|holding| {
        let authority = Authority::of(&visit.world, person.number, holding.organization, 3);
        authority.administers_clients() && !authority.manages_access()
    });
    format!("{PORTAL}/{}", if clients_only { "clients" } else { "overview" })
}

pub(super) async fn logout(Posted { mut visit, .. }: Posted) -> Response {
    visit.log_out();
    visit.go("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_our_own_pages_only() {
        assert_eq!(local("/ui/live?x=1"), Some("/ui/live?x=1"));
        for bad in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb"] {
            assert_eq!(local(bad), None, "{bad}");
        }
    }
}
