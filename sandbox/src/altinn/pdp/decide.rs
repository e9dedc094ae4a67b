//! A decision for one question, in the order in which the PDP goes about it, from the world's model.

use super::answer::{Decision, Outcome};
use super::request::{Attribute, SingleRequest};
use crate::world::World;
use crate::world::model::{Combining, Effect, OrgNumber, Organization, Resource, Rule};
use std::collections::BTreeSet;
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
pub(crate) fn decide(world: &World, request: &SingleRequest) -> Result<Outcome, Fatal> {
    if !request.is_complete() || !request.has_known_types() {
        return Err(Fatal::Processing);
    }
    let parties = Parties::find(world, request)?;
    let user = system_user(request)?;
    let resource = request
        .resource_value(RESOURCE_ID)
        .and_then(|id| world.resources.get(id))
        .filter(|resource| !resource.rules.is_empty())
        .ok_or(Fatal::Processing)?;
    let question = Question { world, request, resource, user, parties };
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
struct Parties<'a> {
    /// By party id, else organisation number, else uuid.
    resolved: Option<&'a Organization>,
    /// By uuid where one is given.
    for_packages: Option<&'a Organization>,
    given: bool,
}

impl<'a> Parties<'a> {
    fn find(world: &'a World, request: &SingleRequest) -> Result<Self, Fatal> {
        let organization = ORGANIZATION.iter().find_map(|id| request.resource_value(id));
        let uuid = request.resource_value(PARTY_UUID).map(|text| {
            Uuid::try_parse(text).ok().and_then(|uuid| world.organization_by_uuid(uuid))
        });
        let resolved = if let Some(text) = request.resource_value(PARTY_ID) {
            text.parse().ok().and_then(|id| world.organization_by_party_id(id))
        } else if let Some(number) = organization {
            // Register answers other than 200 for an unknown number.
            Some(by_number(world, number).ok_or(Fatal::Syntax)?)
        } else if request.resource_value(PERSON).is_some() {
            return Err(Fatal::Syntax);
        } else {
            uuid.flatten()
        };
        let given = resolved.is_some()
            || [PARTY_ID, PARTY_UUID].iter().any(|id| request.resource_value(id).is_some());
        Ok(Self { resolved, for_packages: uuid.unwrap_or(resolved), given })
    }
}

fn by_number<'a>(world: &'a World, number: &str) -> Option<&'a Organization> {
    OrgNumber::try_from(number.to_owned()).ok().and_then(|number| world.organizations.get(&number))
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
    world: &'a World,
    request: &'a SingleRequest,
    resource: &'a Resource,
    user: Option<Uuid>,
    parties: Parties<'a>,
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
        if subresource.is_none() && rules.iter().any(|rule| rule.subresource.is_some()) {
            return PolicyResult::MissingAttribute;
        }
        let packages = self.packages();
        let matching: Vec<&Rule> = rules
            .iter()
            .filter(|rule| rule.subresource.is_none() || rule.subresource.as_deref() == subresource)
            .filter(|rule| self.actions().any(|action| rule.actions.iter().any(|it| it == action)))
            .collect();
        let applies = |effect: Effect| {
            matching.iter().any(|rule| rule.effect == effect && is_for(rule, &packages))
        };
        let decision = match self.resource.combining {
            Combining::DenyUnlessPermit if applies(Effect::Permit) => Decision::Permit,
            Combining::DenyUnlessPermit => Decision::Deny,
            Combining::DenyOverrides if applies(Effect::Deny) => Decision::Deny,
            Combining::DenyOverrides if applies(Effect::Permit) => Decision::Permit,
            Combining::DenyOverrides => Decision::NotApplicable,
        };
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

    /// Codes of the packages that the system user holds for the party.
    fn packages(&self) -> BTreeSet<&str> {
        match (self.user, self.parties.for_packages) {
            (Some(user), Some(party)) => self.world.packages_of(user, &party.number),
            _ => BTreeSet::new(),
        }
    }

    fn has_single_right(&self) -> bool {
        let (Some(user), Some(party)) = (self.user, self.parties.resolved) else { return false };
        // Delegation policies hold the id in lower case and compare it as text.
        let id = user.to_string();
        if !self.request.first_subject().iter().any(|item| item.is_string() && item.text() == id) {
            return false;
        }
        let rights = self.world.single_rights_of(user, &party.number);
        rights
            .get(self.resource.id.as_str())
            .is_some_and(|held| self.actions().any(|action| held.contains(action)))
    }

    /// Whether the resource has no access list, or one covers the party and the action.
    fn on_access_list(&self) -> Result<bool, Fatal> {
        if self.resource.access_lists.is_empty() {
            return Ok(true);
        }
        if !self.parties.given {
            return Err(Fatal::Processing);
        }
        let Some(party) = self.parties.resolved else { return Ok(false) };
        Ok(self
            .actions()
            .any(|action| self.world.on_access_list(self.resource, &party.number, action)))
    }
}

fn is_for(rule: &Rule, packages: &BTreeSet<&str>) -> bool {
    let anybody = rule.packages.is_empty() && rule.roles.is_empty();
    anybody || rule.packages.iter().any(|code| packages.contains(code.as_str()))
}
