//! The world without a running sandbox: pure questions and answers, for tests that ask very many of them.

use crate::altinn::pdp::answer::Outcome;
use crate::altinn::pdp::caches::Memory;
use crate::altinn::pdp::decide;
use crate::altinn::pdp::facts::Facts;
use crate::altinn::pdp::request::SingleRequest;
use crate::altinn::{access_lists, packages, parties, policy_xml, registry};
use crate::world::World;
use crate::world::number::{OrgNumber, PartyNumber};
use crate::world::seed::{self, Document, SeedError};
use serde_json::{Value, json};
use uuid::Uuid;

/// A world to ask, in the form of the seed.
///
/// ```
/// let model = portvakt_sandbox::Model::built_in()?;
/// let user = "5e000000-0000-4000-8000-000000000001";
/// assert_eq!(model.decide(user, "310000507", "ske-mva-melding", "read").decision, "Permit");
/// assert_eq!(model.decide(user, "310000604", "ske-mva-melding", "read").decision, "NotApplicable");
/// # Ok::<(), portvakt_sandbox::SeedError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Model {
    world: World,
}

/// One question to the decision point.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// UUID of the system user.
    pub system_user: &'a str,
    /// Organisation or national identity number of the party.
    pub party: &'a str,
    /// Id of the resource.
    pub resource: &'a str,
    /// The action.
    pub action: &'a str,
    /// Value of `urn:altinn:subresource`, where it is given.
    pub subresource: Option<&'a str>,
}

/// What the decision point says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// `Permit`, `Deny`, `NotApplicable` or `Indeterminate`.
    pub decision: &'static str,
    /// What follows `urn:oasis:names:tc:xacml:1.0:status:`.
    pub status: &'static str,
    /// With Permit: the value of obligation `urn:altinn:minimum-authenticationlevel`, if there is one.
    pub minimum_level: Option<u8>,
}

impl Model {
    /// Reads a world; YAML in the form of the seed, or the same as JSON, which is quicker for large ones.
    ///
    /// # Errors
    /// [`SeedError`] names everything that is wrong.
    pub fn parse(text: &str) -> Result<Self, SeedError> {
        seed::parse(text, 0).map(|world| Self { world })
    }

    /// The world that is part of the program.
    ///
    /// # Errors
    /// None in a program that was built from tested sources.
    pub fn built_in() -> Result<Self, SeedError> {
        Self::parse(seed::BUILT_IN)
    }

    /// The world as YAML in the form of the seed.
    ///
    /// # Errors
    /// [`SeedError::Write`].
    pub fn to_yaml(&self) -> Result<String, SeedError> {
        Document::of(&self.world).to_yaml()
    }

    /// Ends every relation of a client with a facilitator; what was delegated because of one counts no
    /// longer. A seed cannot say so: it refuses a delegation that nothing carries.
    pub fn end_relation(&mut self, client: &str, facilitator: &str) -> bool {
        let numbers = (PartyNumber::parse(client), OrgNumber::parse(facilitator));
        let (Ok(client), Ok(facilitator)) = numbers else { return false };
        self.world.relations.remove(client, facilitator, None)
    }

    /// The decision on one question, without caches.
    #[must_use]
    pub fn decide(&self, system_user: &str, party: &str, resource: &str, action: &str) -> Answer {
        self.answer(Question { system_user, party, resource, action, subresource: None })
    }

    /// The decision on one question, which may name a sub-resource.
    #[must_use]
    pub fn answer(&self, question: Question<'_>) -> Answer {
        let party = match PartyNumber::parse(question.party) {
            Ok(PartyNumber::Person(_)) => "urn:altinn:person:identifier-no",
            _ => "urn:altinn:organization:identifier-no",
        };
        let mut resource =
            vec![("urn:altinn:resource", question.resource), (party, question.party)];
        resource.extend(question.subresource.map(|part| ("urn:altinn:subresource", part)));
        let request = SingleRequest::of(
            ("urn:altinn:systemuser:uuid", question.system_user),
            ("urn:oasis:names:tc:xacml:1.0:action:action-id", question.action),
            &resource,
        );
        let facts = Facts::new(&self.world, Memory::NONE);
        let outcome = decide::decide(facts, &request)
            .unwrap_or_else(|fatal| Outcome::indeterminate(fatal.status()));
        Answer {
            decision: outcome.decision().name(),
            status: outcome.status(),
            minimum_level: outcome.level(),
        }
    }

    /// The body of authorized parties with packages and resources; `[]` for whom nobody knows.
    #[must_use]
    pub fn authorized_parties(&self, system_user: &str) -> String {
        let user = Uuid::try_parse(system_user).unwrap_or_default();
        Value::Array(parties::everything(&self.world, user)).to_string()
    }

    /// The policy of a resource as XACML; `None` where the registry answers 404.
    #[must_use]
    pub fn policy_xml(&self, resource: &str) -> Option<String> {
        policy_xml::policy(&self.world, self.world.resources.get(resource)?)
    }

    /// A resource as the registry describes it.
    #[must_use]
    pub fn resource_json(&self, resource: &str) -> Option<String> {
        let resource = self.world.resources.get(resource)?;
        Some(registry::service_resource(&self.world, resource).to_string())
    }

    /// The catalogue of packages, as `accesspackages/export` gives it.
    #[must_use]
    pub fn packages_json(&self) -> String {
        packages::catalogue(&self.world, "nb").to_string()
    }

    /// Ids of the access lists that are connected to a resource.
    #[must_use]
    pub fn access_lists_of(&self, resource: &str) -> Vec<String> {
        let resource = self.world.resources.get(resource);
        resource.map(|resource| resource.access_lists.clone()).unwrap_or_default()
    }

    /// The members of an access list, as one page that holds them all.
    #[must_use]
    pub fn access_list_members_json(&self, list: &str) -> Option<String> {
        let list = self.world.access_lists.get(list)?;
        let rows: Vec<Value> =
            access_lists::members_of(&self.world, list).map(access_lists::member).collect();
        Some(json!({ "links": {}, "data": rows }).to_string())
    }

    /// The resources connected to an access list, as one page that holds them all.
    #[must_use]
    pub fn access_list_connections_json(&self, list: &str) -> Option<String> {
        let list = self.world.access_lists.get(list)?;
        let rows: Vec<Value> = access_lists::connections_of(&self.world, list).collect();
        Some(json!({ "links": {}, "data": rows }).to_string())
    }
}
