//! A decision for one question, in the order in which the PDP goes about it, from the world's model.

use super::answer::{Decision, Outcome};
use super::caches::{PartyFacts, PartyKey};
use super::facts::Facts;
use super::request::{Attribute, SingleRequest};
use crate::world::World;
use crate::world::number::{OrgNumber, PersonNumber};
use crate::world::resource::{Combining, Effect, Resource, Rule};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

const ACTION_ID: &str = "urn:oasis:names:tc:xacml:1.0:action:action-id";
const SYSTEM_USER_UUID: &str = "urn:altinn:systemuser:uuid";
const RESOURCE_ID: &str = "urn:altinn:resource";
const SUBRESOURCE: &str = "urn:altinn:subresource";
const PARTY_ID: &str = "urn:altinn:partyid";
const PARTY_UUID: &str = "urn:altinn:party:uuid";
const ORGANIZATION: [&str; 2] =
    ["urn:altinn:organization:identifier-no", "urn:altinn:organizationnumber"];
const PERSON: &str = "urn:altinn:person:identifier-no";

/// The evaluation ended in an exception: the whole answer becomes one Indeterminate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fatal {
    /// The request or the resource cannot be worked with.
    Processing,
    /// Any other exception, such as a dependency that did not answer 200.
    Syntax,
}

impl Fatal {
    /// The suffix of the status code.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Processing => "processing-error",
            Self::Syntax => "syntax-error",
        }
    }
}

/// Decides one question.
pub(crate) fn decide(facts: Facts<'_>, request: &SingleRequest) -> Result<Outcome, Fatal> {
    if !request.is_complete() || !request.has_known_types() {
        return Err(Fatal::Processing);
    }
    let parties = Parties::find(facts, request)?;
    let user = system_user(request)?;
    let resource = request
        .resource_value(RESOURCE_ID)
        .and_then(|id| facts.policy(id))
        .ok_or(Fatal::Processing)?;
    let question = Question { facts, request, resource: &resource, user, parties };
    question.answer()
}

/// The system user, if the subject is one. It must then be the only subject attribute and a UUID.
fn system_user(request: &SingleRequest) -> Result<Option<Uuid>, Fatal> {
    let subject = request.first_subject();
    let Some(attribute) = subject.iter().find(|item| item.id() == SYSTEM_USER_UUID) else {
        return Ok(None);
    };
    if subject.len() > 1 {
        return Err(Fatal::Processing);
    }
    Uuid::try_parse(attribute.text()).map(Some).map_err(|_| Fatal::Processing)
}

/// Whose data: delegations and access packages are looked up for parties that nobody compares.
struct Parties {
    /// By party id, else organisation number, else person number, else uuid.
    resolved: Option<PartyFacts>,
    /// By uuid where one is given.
    for_packages: Option<PartyFacts>,
    given: bool,
}

impl Parties {
    fn find(facts: Facts<'_>, request: &SingleRequest) -> Result<Self, Fatal> {
        let organization = ORGANIZATION.iter().find_map(|id| request.resource_value(id));
        let uuid = request.resource_value(PARTY_UUID).map(|text| {
            Uuid::try_parse(text).ok().and_then(|uuid| facts.party(PartyKey::Uuid(uuid)))
        });
        // Register answers other than 200 for a number that it does not know.
        let known = |party: Option<PartyFacts>| party.map(Some).ok_or(Fatal::Syntax);
        let resolved = if let Some(text) = request.resource_value(PARTY_ID) {
            text.parse().ok().and_then(|id| facts.party(PartyKey::Id(id)))
        } else if let Some(text) = organization {
            let number = OrgNumber::parse(text).ok();
            known(number.and_then(|it| facts.party(PartyKey::Number(it.into()))))?
        } else if let Some(text) = request.resource_value(PERSON) {
            let number = PersonNumber::parse(text).ok();
            known(number.and_then(|it| facts.party(PartyKey::Number(it.into()))))?
        } else {
            uuid.flatten()
        };
        let given = resolved.is_some()
            || [PARTY_ID, PARTY_UUID].iter().any(|id| request.resource_value(id).is_some());
        Ok(Self { resolved, for_packages: uuid.unwrap_or(resolved), given })
    }
}

/// What the rules of a resource say.
enum PolicyResult {
    /// An attribute that must be there is not.
    MissingAttribute,
    Decided {
        decision: Decision,
        /// Whether some rule came as far as the subject.
        subject_seen: bool,
    },
}

struct Question<'a> {
    facts: Facts<'a>,
    request: &'a SingleRequest,
    resource: &'a Resource,
    user: Option<Uuid>,
    parties: Parties,
}

impl Question<'_> {
    fn answer(&self) -> Result<Outcome, Fatal> {
        let (mut decision, subject_seen) = match self.evaluate_rules() {
            PolicyResult::MissingAttribute => {
                return Ok(Outcome::indeterminate("missing-attribute"));
            }
            PolicyResult::Decided { decision, subject_seen } => (decision, subject_seen),
        };
        // Any answer but NotApplicable is final: single rights are then never looked at.
        let single = decision == Decision::NotApplicable && self.has_single_right();
        if single {
            decision = Decision::Permit;
        }
        if decision == Decision::Permit && !self.on_access_list()? {
            decision = Decision::Deny;
        }
        let level = self.resource.minimum_level;
        let echo = if subject_seen || single { Some(self.request) } else { None };
        Ok(Outcome::decided(decision, level, echo))
    }

    fn evaluate_rules(&self) -> PolicyResult {
        let rules = &self.resource.rules;
        let subresource = self.request.resource_value(SUBRESOURCE);
        let demands = |rule: &Rule| rule.subresource.is_some() && !rule.subresource_optional;
        if subresource.is_none() && rules.iter().any(demands) {
            return PolicyResult::MissingAttribute;
        }
        let packages = self.packages();
        let matching: Vec<&Rule> = rules
            .iter()
            .filter(|_| self.names_resource())
            .filter(|rule| rule.subresource.is_none() || rule.subresource.as_deref() == subresource)
            .filter(|rule| {
                let named = |action: &str| rule.actions.iter().any(|it| it == action);
                rule.actions.is_empty() || self.actions().any(named)
            })
            .collect();
        let world = self.facts.world();
        let applying = matching.iter().filter(|rule| is_for(world, rule, &packages));
        let effects: Vec<Effect> = applying.map(|rule| rule.effect).collect();
        let decision = combined(self.resource.combining, &effects);
        PolicyResult::Decided { decision, subject_seen: !matching.is_empty() }
    }

    fn actions(&self) -> impl Iterator<Item = &str> {
        let attributes = self.request.action().iter();
        attributes
            .filter(|item| item.id() == ACTION_ID && item.is_string())
            .filter(|_| self.names_resource())
            .map(Attribute::text)
    }

    /// Whether the rules, which compare strings, see their resource in the request.
    fn names_resource(&self) -> bool {
        self.request.resource_attribute(RESOURCE_ID).is_some_and(Attribute::is_string)
    }

    /// Codes of the packages that the system user holds for the party; nobody asks where no rule names one.
    fn packages(&self) -> Arc<BTreeSet<String>> {
        let asked = self.resource.rules.iter().any(|rule| rule.named_packages().next().is_some());
        match (self.user, self.parties.for_packages) {
            (Some(user), Some(party)) if asked => self.facts.packages(party.number, user),
            _ => Arc::default(),
        }
    }

    fn has_single_right(&self) -> bool {
        let (Some(user), Some(party)) = (self.user, self.parties.resolved) else { return false };
        // Delegation policies hold the id in lower case and compare it as text.
        let id = user.to_string();
        if !self.request.first_subject().iter().any(|item| item.is_string() && item.text() == id) {
            return false;
        }
        let rights = self.facts.delegations(user, party.number, &self.resource.id);
        let part = self.request.resource_value(SUBRESOURCE);
        let held = rights
            .iter()
            .filter(|(of, _)| of.is_empty() || part == Some(of.as_str()))
            .map(|(_, actions)| actions);
        held.into_iter().any(|held| self.actions().any(|action| held.contains(action)))
    }

    /// Whether the resource has no access list, or one covers the party and the action.
    fn on_access_list(&self) -> Result<bool, Fatal> {
        let resource = self.facts.resource(&self.resource.id).ok_or(Fatal::Syntax)?;
        if resource.access_lists.is_empty() {
            return Ok(true);
        }
        if !self.parties.given {
            return Err(Fatal::Processing);
        }
        let Some(party) = self.parties.resolved else { return Ok(false) };
        let memberships = self.facts.memberships(party.number, &resource);
        let covers = |action: &str| {
            let filters = memberships.iter();
            filters.into_iter().any(|filter| filter.as_ref().is_none_or(|it| it.contains(action)))
        };
        Ok(self.actions().any(covers))
    }
}

/// Whether a rule is for who holds these packages. A system user is nobody by role and no service owner.
fn is_for(world: &World, rule: &Rule, held: &BTreeSet<String>) -> bool {
    let holds = |named: &String| {
        held.iter().filter(|code| code.eq_ignore_ascii_case(named)).any(|code| {
            let package = world.packages.get(code);
            !rule.exact_case
                || package.is_some_and(|package| package.written(named) == package.urn_suffix())
        })
    };
    rule.is_for_anybody()
        || rule.packages.iter().any(holds)
        || rule.package_groups.iter().any(|group| group.iter().all(holds))
}

/// Combines the effects of the rules that apply, in their order.
fn combined(algorithm: Combining, effects: &[Effect]) -> Decision {
    let (permits, denies) = (effects.contains(&Effect::Permit), effects.contains(&Effect::Deny));
    let of = |effect: Effect| match effect {
        Effect::Permit => Decision::Permit,
        Effect::Deny => Decision::Deny,
    };
    let decided = match algorithm {
        Combining::DenyOverrides | Combining::OrderedDenyOverrides => {
            if denies {
                Some(Effect::Deny)
            } else {
                effects.first().copied()
            }
        }
        Combining::PermitOverrides | Combining::OrderedPermitOverrides => {
            if permits {
                Some(Effect::Permit)
            } else {
                effects.first().copied()
            }
        }
        Combining::DenyUnlessPermit => Some(if permits { Effect::Permit } else { Effect::Deny }),
        Combining::PermitUnlessDeny => Some(if denies { Effect::Deny } else { Effect::Permit }),
        Combining::FirstApplicable => effects.first().copied(),
    };
    decided.map_or(Decision::NotApplicable, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_combines_as_xacml_says() {
        use Combining::{
            DenyOverrides, DenyUnlessPermit, FirstApplicable, PermitOverrides, PermitUnlessDeny,
        };
        use Decision::NotApplicable;
        let (permit, deny) = (Effect::Permit, Effect::Deny);
        let table = [
            (DenyOverrides, vec![permit, deny], Decision::Deny),
            (DenyOverrides, vec![permit], Decision::Permit),
            (DenyOverrides, vec![], NotApplicable),
            (PermitOverrides, vec![deny, permit], Decision::Permit),
            (PermitOverrides, vec![deny], Decision::Deny),
            (PermitOverrides, vec![], NotApplicable),
            (DenyUnlessPermit, vec![deny, permit], Decision::Permit),
            (DenyUnlessPermit, vec![], Decision::Deny),
            (PermitUnlessDeny, vec![permit, deny], Decision::Deny),
            (PermitUnlessDeny, vec![], Decision::Permit),
            (FirstApplicable, vec![permit, deny], Decision::Permit),
            (FirstApplicable, vec![deny, permit], Decision::Deny),
            (FirstApplicable, vec![], NotApplicable),
        ];
        for (algorithm, effects, decision) in table {
            assert_eq!(combined(algorithm, &effects), decision, "{algorithm:?} {effects:?}");
        }
    }
}
