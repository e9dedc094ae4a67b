//! Rights, packages, people and refusals in plain words.

use super::api::Reply;
use super::layout;
use super::text::{Language, Text as T};
use super::visit::Visit;
use crate::world::World;
use crate::world::model::{Delegation, SystemUser, SystemUserKind, Text};
use crate::world::number::{OrgNumber, PartyNumber, PersonNumber};
use crate::world::party::{FacilitatorRole, Holding, Party, PersonRole};
use crate::world::resource::{Effect, Resource};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// `KARI BAKKEN` as people write it.
pub(super) fn person_name(name: &str) -> String {
    let mut first = true;
    let mut written = String::with_capacity(name.len());
    for letter in name.chars() {
        if first {
            written.extend(letter.to_uppercase());
        } else {
            written.extend(letter.to_lowercase());
        }
        first = !letter.is_alphabetic();
    }
    written
}

/// A national identity number with only the date of birth to be read.
pub(super) fn masked(number: PersonNumber) -> String {
    format!("{}*****", number.as_str().get(..6).unwrap_or_default())
}

/// `310 000 507`.
pub(super) fn spaced(number: OrgNumber) -> String {
    let text = number.as_str();
    let part = |from: usize| text.get(from..from + 3).unwrap_or_default();
    format!("{} {} {}", part(0), part(3), part(6))
}

/// The number of a party, a person's masked.
pub(super) fn party_number(number: PartyNumber) -> String {
    match number {
        PartyNumber::Organization(number) => spaced(number),
        PartyNumber::Person(number) => masked(number),
    }
}

pub(super) fn org_name(world: &World, number: OrgNumber) -> String {
    let name = world.organizations.get(&number).map(|it| it.name.clone());
    name.unwrap_or_else(|| number.to_string())
}

pub(super) fn party_name(world: &World, number: PartyNumber) -> String {
    match world.party(number) {
        Some(Party::Person(person)) => person_name(&person.name),
        Some(party) => party.name().to_owned(),
        None => party_number(number),
    }
}

/// Name and number of an organisation.
pub(super) fn org(world: &World, number: OrgNumber) -> Markup {
    html! { (org_name(world, number)) " " span class="number" { "(" (spaced(number)) ")" } }
}

pub(super) fn localized(language: Language, text: &Text) -> String {
    text.in_languages().get(language.code()).copied().unwrap_or_default().to_owned()
}

pub(super) fn system_name(visit: &Visit, id: &str) -> String {
    let system = visit.world.systems.get(id);
    system.map_or_else(|| id.to_owned(), |system| localized(visit.language, &system.name))
}

pub(super) fn user_title(visit: &Visit, user: &SystemUser) -> String {
    user.title.clone().unwrap_or_else(|| system_name(visit, &user.system))
}

/// Title and reference, so that two of one system can be told apart.
pub(super) fn user_name(visit: &Visit, user: &SystemUser) -> String {
    with_reference(&user_title(visit, user), user.external_ref.as_deref())
}

pub(super) fn with_reference(title: &str, reference: Option<&str>) -> String {
    reference.map_or_else(|| title.to_owned(), |reference| format!("{title} ({reference})"))
}

pub(super) fn resource_title(visit: &Visit, id: &str) -> String {
    let resource = visit.world.resources.get(id);
    let title = resource
        .and_then(|it| it.title.get(visit.language.code()).or_else(|| it.title.values().next()));
    title.cloned().unwrap_or_else(|| id.to_owned())
}

pub(super) fn package_name(visit: &Visit, code: &str) -> String {
    let package = visit.world.package_named(code);
    let name = package.map(|package| package.name.in_language(visit.language.code()));
    name.unwrap_or(code).to_owned()
}

pub(super) fn action(visit: &Visit, action: &str) -> String {
    match action {
        "read" => visit.t(T::ActionRead).to_owned(),
        "write" => visit.t(T::ActionWrite).to_owned(),
        "access" => visit.t(T::ActionAccess).to_owned(),
        other => other.to_owned(),
    }
}

pub(super) fn actions<'a>(visit: &Visit, all: impl IntoIterator<Item = &'a String>) -> String {
    let words: Vec<String> = all.into_iter().map(|one| action(visit, one)).collect();
    if words.is_empty() { visit.t(T::ActionEvery).to_owned() } else { words.join(", ") }
}

pub(super) fn kind(visit: &Visit, kind: SystemUserKind) -> &'static str {
    visit.t(match kind {
        SystemUserKind::Standard => T::KindStandard,
        SystemUserKind::Agent => T::KindAgent,
    })
}

pub(super) fn facilitator(visit: &Visit, role: FacilitatorRole) -> &'static str {
    visit.t(match role {
        FacilitatorRole::Regnskapsforer => T::RoleAccountant,
        FacilitatorRole::Revisor => T::RoleAuditor,
        FacilitatorRole::Forretningsforer => T::RoleBusinessManager,
        FacilitatorRole::Rettighetshaver => T::RoleRightHolder,
    })
}

/// What somebody is and may do in an organisation, a sentence for each role.
pub(super) fn holding(visit: &Visit, holding: &Holding) -> Vec<String> {
    let organization = org_name(&visit.world, holding.organization);
    let values = [("org", organization.as_str())];
    let mut said: Vec<String> = holding
        .roles
        .iter()
        .map(|role| match role {
            PersonRole::DagligLeder => T::IsGeneralManager,
            PersonRole::Hovedadministrator => T::IsMainAdministrator,
            PersonRole::Tilgangsstyrer => T::IsAccessManager,
            PersonRole::Klientadministrator => T::IsClientAdministrator,
        })
        .map(|text| visit.fill(text, &values))
        .collect();
    if said.is_empty() {
        said.push(visit.fill(T::IsEmployee, &values));
    }
    if !holding.packages.is_empty() {
        let names: Vec<String> =
            holding.packages.iter().map(|code| package_name(visit, code)).collect();
        said.push(visit.fill(T::HoldsPackages, &[("packages", names.join(", ").as_str())]));
    }
    said
}

/// What a package opens, from the rules of every resource.
pub(super) fn opened(world: &World, code: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in world.resources.values() {
        for rule in &resource.rules {
            if rule.effect == Effect::Permit && rule.names_package(code) {
                let given = rule.actions.iter().filter(|action| !is_denied(resource, action));
                all.entry(resource.id.clone()).or_default().extend(given.cloned());
            }
        }
    }
    all
}

/// Whether a rule takes the action from everybody.
fn is_denied(resource: &Resource, action: &str) -> bool {
    resource.rules.iter().any(|rule| {
        rule.effect == Effect::Deny
            && rule.is_for_anybody()
            && rule.actions.iter().any(|denied| denied == action)
    })
}

/// A list of packages with what each opens; nothing where there are none. `mark` adds to each line.
pub(super) fn packages<'a>(
    visit: &Visit,
    codes: impl IntoIterator<Item = &'a String>,
    mark: &dyn Fn(&str) -> Markup,
) -> Markup {
    let mut codes = codes.into_iter().peekable();
    if codes.peek().is_none() {
        return html! {};
    }
    html! {
        ul class="rights" {
            @for code in codes {
                li {
                    div class="line" { strong { (package_name(visit, code)) } (mark(code)) }
                    ul class="opened" {
                        @for (resource, actions_of) in &opened(&visit.world, code) {
                            li { (resource_title(visit, resource)) ": " (actions(visit, actions_of)) }
                        }
                    }
                }
            }
        }
    }
}

/// A list of resources that are given singly; nothing where there are none.
pub(super) fn singles<'a>(
    visit: &Visit,
    ids: impl IntoIterator<Item = &'a String>,
    mark: &dyn Fn(&Resource) -> Markup,
) -> Markup {
    let mut ids = ids.into_iter().peekable();
    if ids.peek().is_none() {
        return html! {};
    }
    html! {
        ul class="rights" {
            @for id in ids {
                li {
                    div class="line" {
                        strong { (resource_title(visit, id)) }
                        @if let Some(resource) = visit.world.resources.get(id) { (mark(resource)) }
                    }
                    code class="id" { (id) }
                }
            }
        }
    }
}

/// Everything a party has given a system user.
pub(super) fn delegation(visit: &Visit, delegation: &Delegation) -> Markup {
    html! {
        @if !delegation.packages.is_empty() {
            h3 class="ds-heading" data-size="2xs" { (visit.t(T::Packages)) }
            (packages(visit, &delegation.packages, &|_| html! {}))
        }
        @if !delegation.single_rights.is_empty() {
            h3 class="ds-heading" data-size="2xs" { (visit.t(T::SingleRights)) }
            ul class="rights" {
                @for (resource, given) in &delegation.single_rights {
                    li { strong { (resource_title(visit, resource)) } ": " (actions(visit, given)) }
                }
            }
        }
        @if delegation.is_empty() { p { (visit.t(T::NoRights)) } }
    }
}

/// Why an endpoint refused, with its code.
pub(super) fn problem(visit: &Visit, reply: &Reply) -> String {
    let Some(code) = reply.text("code") else {
        let said = reply.text("title").or_else(|| reply.text("error_description"));
        let said = said.or_else(|| reply.text("error")).map(str::to_owned);
        return said.unwrap_or_else(|| match reply.status.as_u16() {
            403 => visit.t(T::NotAllowed).to_owned(),
            status => visit.fill(T::FailedWith, &[("status", &status.to_string())]),
        });
    };
    let words = known_problem(code).map(|text| visit.t(text).to_owned());
    let words = words.or_else(|| reply.text("title").map(str::to_owned)).unwrap_or_default();
    format!("{words} ({code})")
}

/// The sentence for a problem that somebody at a page may meet.
fn known_problem(code: &str) -> Option<T> {
    let number: u8 = code.strip_prefix("AUTH-")?.parse().ok()?;
    Some(match number {
        0 => T::ProblemOrganization,
        1 => T::ProblemRight,
        4 => T::ProblemExists,
        10 | 30 => T::ProblemNoRequest,
        11 => T::ProblemNoSystem,
        13 | 61 => T::ProblemAnswered,
        15 => T::ProblemNoUser,
        16 => T::ProblemRole,
        18 => T::ProblemDelegation,
        20 => T::ProblemLevel,
        21 | 26 => T::ProblemRedirect,
        35 => T::ProblemClientsLeft,
        53 => T::ProblemPackage,
        58 | 59 => T::ProblemNothingAsked,
        63..=65 => T::ProblemPackageKind,
        66 => T::ProblemNoManager,
        68 => T::ProblemResourcePackage,
        69 => T::ProblemAccessList,
        70 | 71 => T::ProblemNotDelegable,
        79 => T::ProblemNoClient,
        80 => T::ProblemClientLacks,
        _ => return None,
    })
}

/// Date and time as people read them.
pub(super) fn time(seconds: i64) -> String {
    let text = crate::clock::zulu(seconds);
    let (date, time) = text.split_once('T').unwrap_or((text.as_str(), ""));
    format!("{date} {} UTC", time.get(..8).unwrap_or_default())
}

/// A decision as a coloured label.
pub(super) fn decision(name: &str) -> Markup {
    let color = match name {
        "Permit" => "success",
        "Deny" | "NotApplicable" => "danger",
        _ => "warning",
    };
    layout::tag(color, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_written_for_people() {
        assert_eq!(person_name("KARI ØSTBØ-LIE"), "Kari Østbø-Lie");
        assert_eq!(masked(PersonNumber::parse("01819049901").unwrap()), "018190*****");
        assert_eq!(spaced(OrgNumber::parse("310000507").unwrap()), "310 000 507");
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
    }
}
