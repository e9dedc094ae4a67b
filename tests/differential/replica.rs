//! The register, fed through the program's own readers with what the sandbox prints.

use super::world::{ACTIONS, RESOURCES};
use portvakt::altinn::authorized_parties::read_parties;
use portvakt::altinn::packages::read_packages;
use portvakt::altinn::registry::{read_connections, read_members, read_metadata};
use portvakt::config::PolicyConfig;
use portvakt::domain::decision::{Cause, Undecided};
use portvakt::domain::delegation::{PackageId, PartyRights};
use portvakt::domain::party::{CheckDigits, Party};
use portvakt::domain::resource::{Question, ResourceId, Right};
use portvakt::domain::system_user::SystemUserId;
use portvakt::enforce::ports::{Account, EdgeFuture};
use portvakt::register::{self, Limits, NotDerived, Publish, Reader, Seen, Ticks, Writer};
use portvakt::sync::mirror::Mirror;
use portvakt::sync::ports::{
    AccessList, AccessLists, Feed, FeedPosition, PublishedResource, Source, Wanted,
};
use portvakt_sandbox::Model;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, advance};

/// A mistake made on purpose: the comparison has to see each of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mistake {
    DenialsAreIgnored,
    SingleRightIsEveryRight,
    AccessListsAreIgnored,
    EveryLevelIsReached,
    RightsFlowUp,
    NothingIsReadAgain,
}

/// Altinn as the sandbox prints it.
pub(crate) struct Printed {
    pub(crate) model: Model,
    mistake: Option<Mistake>,
    /// Whether this registry has a feed of changes.
    feed: bool,
    /// Policy and metadata of each resource.
    resources: BTreeMap<&'static str, (Option<String>, String)>,
}

const VENDOR: &str = "310000108";
const CHECK: CheckDigits = CheckDigits::Required;
/// Longer than a tick.
const MOMENT: Duration = Duration::from_millis(200);

fn told<'a, T: Send + 'a>(value: Option<T>) -> EdgeFuture<'a, Result<T, Undecided>> {
    Box::pin(ready(value.ok_or_else(|| Undecided::from(Cause::Unreachable))))
}

impl Printed {
    pub(crate) fn new(model: Model, mistake: Option<Mistake>, feed: bool) -> Self {
        let print = |id| (id, (model.policy_xml(id), model.resource_json(id).unwrap()));
        Self { resources: RESOURCES.map(print).into(), model, mistake, feed }
    }

    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn published(&self, id: &ResourceId) -> Option<PublishedResource> {
        let (policy, metadata) = self.resources.get(id.as_str())?;
        let mut policy = policy.clone()?;
        let listed = read_metadata(metadata.as_bytes(), id).unwrap();
        if self.is(Mistake::DenialsAreIgnored) {
            policy = without_denials(&policy);
        }
        if self.is(Mistake::EveryLevelIsReached) {
            policy = policy.replace(">4</", ">3</");
        }
        let access_list = listed && !self.is(Mistake::AccessListsAreIgnored);
        Some(PublishedResource { policy: policy.into_bytes().into(), access_list })
    }

    /// What changes with a resource: the text that describes it.
    fn version(&self, id: &str) -> String {
        let (policy, metadata) = &self.resources[id];
        [policy.as_deref().unwrap_or_default(), metadata].concat()
    }

    fn lists(&self) -> AccessLists {
        let ids = RESOURCES.iter().flat_map(|id| self.model.access_lists_of(id));
        let mut by_resource = AccessLists::new();
        for id in ids.collect::<BTreeSet<_>>() {
            let members = self.model.access_list_members_json(&id).unwrap();
            let members = read_members(members.as_bytes(), CHECK).unwrap().items;
            let mut members: Vec<_> = members.into_iter().flatten().collect();
            members.sort_unstable();
            let connections = self.model.access_list_connections_json(&id).unwrap();
            let connections = read_connections(connections.as_bytes()).unwrap().items;
            for (resource, actions) in connections.into_iter().flatten() {
                let list = AccessList { members: members.clone(), actions };
                by_resource.entry(resource).or_default().push(list);
            }
        }
        by_resource
    }

    fn rights(&self, user: SystemUserId, wanted: &Wanted) -> Vec<PartyRights> {
        let answer = self.model.authorized_parties(&user.to_string());
        let mut parties = read_parties(answer.as_bytes(), wanted, CHECK).unwrap().parties;
        if self.is(Mistake::SingleRightIsEveryRight) {
            for rights in parties.iter_mut().filter(|rights| !rights.resources.is_empty()) {
                rights.packages = wanted.packages.values().cloned().collect();
            }
        }
        if self.is(Mistake::RightsFlowUp)
            && let Some(packages) = parties.last().map(|rights| rights.packages.clone())
        {
            for rights in &mut parties {
                rights.packages.extend(packages.iter().cloned());
            }
        }
        parties
    }
}

/// The policy with every rule taken out that denies.
fn without_denials(policy: &str) -> String {
    let mut pieces = policy.split("<xacml:Rule ");
    let mut left = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (rule, rest) = piece.split_once("</xacml:Rule>").unwrap();
        if !rule.contains("Effect=\"Deny\"") {
            left.extend(["<xacml:Rule ", rule, "</xacml:Rule>"]);
        }
        left += rest;
    }
    left
}

impl Source for Printed {
    fn parties<'a>(
        &'a self,
        user: SystemUserId,
        wanted: &'a Arc<Wanted>,
        _: Account,
    ) -> EdgeFuture<'a, Result<Vec<PartyRights>, Undecided>> {
        told(Some(self.rights(user, wanted)))
    }

    fn resource<'a>(
        &'a self,
        id: &'a ResourceId,
    ) -> EdgeFuture<'a, Result<Option<PublishedResource>, Undecided>> {
        told(Some(self.published(id)))
    }

    fn changes<'a>(
        &'a self,
        _: Option<&'a FeedPosition>,
    ) -> EdgeFuture<'a, Result<Feed, Undecided>> {
        let change = |id: &&str| ((*id).to_owned(), self.version(id));
        let changes = || RESOURCES.iter().map(change).collect();
        told(Some(if self.feed { Feed::Changes(changes(), None) } else { Feed::Absent }))
    }

    fn packages(&self) -> EdgeFuture<'_, Result<HashMap<String, PackageId>, Undecided>> {
        told(Some(read_packages(self.model.packages_json().as_bytes()).unwrap()))
    }

    fn access_lists<'a>(&'a self, _: &'a str) -> EdgeFuture<'a, Result<AccessLists, Undecided>> {
        told(Some(self.lists()))
    }
}

/// A register and its mirror of the policies, as the program keeps them.
pub(crate) struct Replica {
    writer: Writer,
    reader: Reader,
    mirror: Mirror,
    rights: Vec<Right>,
    wanted: Arc<Wanted>,
}

impl Replica {
    pub(crate) fn new() -> Self {
        let rights = rights();
        let limits = Limits { max_entries: 100, max_sets: 60_000 };
        let (writer, reader) = register::open(rights.clone(), limits, Ticks::new()).unwrap();
        let mirror = mirror(&rights);
        Self { writer, reader, mirror, rights, wanted: Arc::default() }
    }

    /// Another world: nothing of the one before is held.
    pub(crate) fn begin_again(&mut self, gone: &[SystemUserId]) {
        for id in gone {
            self.writer.forget(*id);
        }
        self.mirror = mirror(&self.rights);
    }

    /// Reads feed, policies, metadata, catalogue and lists.
    pub(crate) async fn read_policies(&mut self, altinn: &Arc<Printed>) {
        let ticks = self.writer.ticks().clone();
        let plan = self.mirror.plan(ticks.now(), Instant::now()).unwrap();
        let reading = plan.read(Arc::<Printed>::clone(altinn)).await;
        let applied = self.mirror.apply(reading, ticks.now(), Instant::now());
        if applied.changed {
            self.wanted = Arc::new(self.mirror.wanted());
            let state = |right: &Right| {
                let index = self.writer.right_index(right).unwrap();
                (index, self.mirror.state(right))
            };
            let states = self.rights.iter().map(state).collect();
            self.writer.set_policies(states);
        }
        self.writer.policies_verified(applied.verified.unwrap());
        advance(MOMENT).await;
    }

    /// Reads what a system user may do.
    pub(crate) async fn read_user(&mut self, altinn: &Printed, id: SystemUserId) {
        self.writer.watch(&Seen {
            id,
            owner: Some(VENDOR.parse().unwrap()),
            system: Some(format!("{VENDOR}_system").parse().unwrap()),
            vendor: Some(VENDOR.parse().unwrap()),
        });
        let fetched = self.writer.ticks().now();
        let parties = altinn.parties(id, &self.wanted, Account::Own).await.unwrap();
        let published = self.writer.publish(id, fetched, parties);
        assert!(matches!(published, Publish::Published { .. }), "{published:?}");
    }

    pub(crate) fn derived(&self, question: &Question) -> Result<(), NotDerived> {
        self.reader.look_up(question).derived.map(|_| ())
    }

    /// Why, in words.
    pub(crate) fn explain(&self, question: &Question) -> String {
        format!("{:?}", self.reader.explain(question))
    }

    pub(crate) fn rights(&self) -> &[Right] {
        &self.rights
    }
}

fn mirror(rights: &[Right]) -> Mirror {
    let hour = Duration::from_secs(3600);
    let config = PolicyConfig { poll: Duration::ZERO, check: hour, max_age: hour };
    Mirror::new(rights, config, Some("ex".into()), Instant::now())
}

fn rights() -> Vec<Right> {
    let of = |resource: &str| {
        ACTIONS.map(|action| Right {
            resource: resource.parse().unwrap(),
            action: action.parse().unwrap(),
        })
    };
    RESOURCES.iter().flat_map(|resource| of(resource)).collect()
}

/// Counts of everything that was not derived, by reason.
pub(crate) type Reasons = BTreeMap<&'static str, usize>;

pub(crate) fn question(user: SystemUserId, party: (&str, bool), right: &Right) -> Question {
    let party = match party {
        (number, true) => Party::Person(number.parse().unwrap()),
        (number, false) => Party::Organization(number.parse().unwrap()),
    };
    Question::new(user, party, right.clone(), None)
}
