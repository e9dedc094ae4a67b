//! The world outside the program: what is true, and was; and Altinn, the issuer and a disk that answer from it,
//! well or badly.

use super::dice::{Dice, Held, KEYS, PACKAGES, PARTIES, USERS, Weather, closes, mix};
use super::keys::{key_set, name};
use http::StatusCode;
use portvakt::clock::Clock;
use portvakt::domain::decision::{Cause, Undecided, Verdict};
use portvakt::domain::delegation::{PackageId, PartyRights};
use portvakt::domain::party::Party;
use portvakt::domain::resource::{Question, ResourceId};
use portvakt::domain::system_user::SystemUserId;
use portvakt::domain::time::UnixTime;
use portvakt::enforce::ports::{Account, Call, EdgeFuture, RemotePdp};
use portvakt::maskinporten::jwks::{FetchError, Publisher};
use portvakt::sync::ports::{
    AccessLists, Feed, FeedPosition, PublishedResource, Saved, Source, StorableQuestion, Store,
    StoreError, Wanted,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};

pub(crate) const RESOURCE_IDS: [&str; 3] = ["ex-alfa", "ex-beta", "ex-single"];
pub(crate) const PARTY_IDS: [&str; 2] = ["310000027", "310000035"];
const PACKAGE_IDS: [&str; 4] = ["avgift", "lonn", "skatt", "utlegg"];
/// No package opens it at first.
const SINGLE: u64 = 2;
/// How long Altinn's PDP answers from its memory of rights and of policies, in milliseconds (contract
/// authorization.md §4).
pub(crate) const RIGHTS_REMEMBERED: u64 = 300_000;
pub(crate) const POLICIES_REMEMBERED: u64 = 600_000;
/// The time of day at which every world begins.
const DAWN: u64 = 1_800_000_000;

/// A lie that the world tells on purpose, without the model knowing: each has to be found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lie {
    /// What system users hold is told as it was five minutes ago.
    OldRights,
    /// The PDP goes on permitting what it permitted once.
    NothingIsRevoked,
    /// An outage of the PDP is told as "nothing covers it".
    OutageIsNo,
    /// A no of the PDP is told as an outage.
    NoIsOutage,
    /// What is read from the disk is younger than it was.
    DiskIsYoung,
    /// A key that was withdrawn is still served.
    NoKeyIsWithdrawn,
    /// Altinn is back, and yet is not.
    NeverHeals,
}

/// User, party, resource, and whether it is about writing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Asked {
    pub(crate) user: u64,
    pub(crate) party: u64,
    pub(crate) resource: u64,
    pub(crate) write: bool,
}

/// What the PDP was asked and said, in milliseconds since the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) about: Asked,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) result: Result<Verdict, Cause>,
}

/// A fetch of the key set: `None` when it failed.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) run: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) for_unknown: bool,
    pub(crate) keys: Option<BTreeSet<u64>>,
}

type Rights = BTreeSet<(u64, u64, Held)>;
/// The packages that open a resource for reading, that open it for writing, and that close it for whoever holds one of
/// them; a bit each.
pub(crate) type Opens = (u64, u64, u64);
/// `None` where a resource has no policy.
type Policies = [Option<Opens>; 3];

#[derive(Clone, Debug)]
struct Truth {
    since: u64,
    rights: Rights,
    policies: Policies,
    keys: BTreeSet<u64>,
}

pub(crate) struct World {
    seed: u64,
    begun: Instant,
    /// How far the wall clock was set, in milliseconds.
    pub(crate) set: i64,
    /// What was true, the newest last.
    truths: Vec<Truth>,
    versions: [u64; 3],
    pub(crate) newest_key: u64,
    pub(crate) pdp: Weather,
    pub(crate) register: Weather,
    pub(crate) issuer: Weather,
    pub(crate) disk_full: bool,
    /// Whether this world's PDP answers from memory.
    pub(crate) remembers: bool,
    remembered_rights: BTreeMap<(u64, u64), (u64, BTreeSet<Held>)>,
    remembered_policies: BTreeMap<u64, (u64, Option<Opens>)>,
    pub(crate) said: Vec<Said>,
    pub(crate) fetches: Vec<Fetch>,
    /// How often the program was started.
    pub(crate) run: u64,
    /// The clock was set back by so much since the last saving.
    pub(crate) back_since_saved: u64,
    disk: Disk,
    pub(crate) lie: Option<Lie>,
    pub(crate) log: String,
    pub(crate) wrong: Option<String>,
}

#[derive(Default)]
struct Disk {
    users: BTreeMap<SystemUserId, Saved>,
    resources: BTreeMap<ResourceId, Saved>,
    catalogue: Option<Saved>,
    answers: Vec<(StorableQuestion, SystemTime)>,
    off: BTreeMap<ResourceId, Saved>,
    saved: Option<SystemTime>,
}

impl World {
    pub(crate) fn new(seed: u64, lie: Option<Lie>) -> Self {
        let mut dice = Dice::new(seed ^ 0xbe61);
        let mut rights = Rights::new();
        for user in 0..USERS {
            for party in 0..PARTIES {
                for package in 0..PACKAGES {
                    if dice.percent(45) {
                        rights.insert((user, party, Held::Package(package)));
                    }
                }
                if dice.percent(50) {
                    rights.insert((user, party, Held::Single(SINGLE)));
                }
            }
        }
        let mut opens = || Some((1 + dice.below(7), 1 + dice.below(7), closes(&mut dice)));
        let policies = [opens(), opens(), Some((0, 0, 0))];
        let remembers = dice.percent(50);
        let truth = Truth { since: 0, rights, policies, keys: BTreeSet::from([0]) };
        Self {
            seed,
            begun: Instant::now(),
            set: 0,
            truths: vec![truth],
            versions: [1; 3],
            newest_key: 0,
            pdp: Weather::Fair,
            register: Weather::Fair,
            issuer: Weather::Fair,
            disk_full: false,
            remembers,
            remembered_rights: BTreeMap::new(),
            remembered_policies: BTreeMap::new(),
            said: Vec::new(),
            fetches: Vec::new(),
            run: 0,
            back_since_saved: 0,
            disk: Disk::default(),
            lie,
            log: String::new(),
            wrong: None,
        }
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn wall(&self) -> SystemTime {
        let passed = i64::try_from(self.now()).unwrap() + self.set;
        let dawn = UNIX_EPOCH + Duration::from_secs(DAWN);
        let far = Duration::from_millis(passed.unsigned_abs());
        if passed < 0 { dawn - far } else { dawn + far }
    }

    pub(crate) fn seconds(&self) -> i64 {
        i64::try_from(self.wall().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
    }

    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        let now = self.now();
        writeln!(self.log, "{now:>8} {what}").unwrap();
    }

    /// Notes what breaks a promise; the first counts.
    pub(crate) fn accuse(&mut self, what: String) {
        self.note(format_args!("WRONG: {what}"));
        self.wrong.get_or_insert(what);
    }

    fn change(&mut self, change: impl FnOnce(&mut Truth)) {
        let mut truth = self.truths.last().unwrap().clone();
        truth.since = self.now();
        change(&mut truth);
        self.truths.push(truth);
    }

    pub(crate) fn grant(&mut self, user: u64, party: u64, held: Held) {
        self.change(|truth| {
            truth.rights.insert((user, party, held));
        });
    }

    pub(crate) fn revoke(&mut self, user: u64, party: u64, held: Held) {
        self.change(|truth| {
            truth.rights.remove(&(user, party, held));
        });
    }

    pub(crate) fn revoke_all(&mut self, user: u64) {
        self.change(|truth| truth.rights.retain(|(holder, _, _)| *holder != user));
    }

    pub(crate) fn publish_policy(&mut self, resource: u64, opens: Option<Opens>) {
        let place = place(resource);
        self.versions[place] += 1;
        self.change(|truth| truth.policies[place] = opens);
    }

    pub(crate) fn publish_key(&mut self, key: u64) {
        self.newest_key = key;
        self.change(|truth| {
            truth.keys.insert(key);
        });
    }

    pub(crate) fn withdraw_key(&mut self, key: u64) {
        self.change(|truth| {
            truth.keys.remove(&key);
        });
        let left = self.keys();
        if !left.contains(&self.newest_key) {
            self.newest_key = left.last().copied().unwrap_or(self.newest_key);
        }
    }

    pub(crate) fn keys(&self) -> &BTreeSet<u64> {
        &self.truths.last().unwrap().keys
    }

    /// All is well from now on, and the PDP has begun anew.
    pub(crate) fn heal(&mut self) {
        if self.lie != Some(Lie::NeverHeals) {
            (self.pdp, self.register) = (Weather::Fair, Weather::Fair);
        }
        (self.issuer, self.disk_full) = (Weather::Fair, false);
        self.remembered_rights.clear();
        self.remembered_policies.clear();
        if self.keys().is_empty() {
            self.publish_key(0);
        }
    }

    /// What was true at some moment from `from` to `to`.
    fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Truth> {
        let ends = self.truths.iter().skip(1).map(|next| next.since).chain([u64::MAX]);
        self.truths
            .iter()
            .zip(ends)
            .filter(move |(truth, end)| truth.since <= to && *end >= from)
            .map(|(truth, _)| truth)
    }

    /// Whether rights of one moment from `rights` on, with a policy of one from `policies` on, permit it; by
    /// packages alone, if `derived`.
    pub(crate) fn was_permitted(
        &self,
        about: Asked,
        (rights, policies, to): (u64, u64, u64),
        derived: bool,
    ) -> bool {
        let held: BTreeSet<BTreeSet<Held>> = self
            .between(rights, to)
            .map(|truth| held(&truth.rights, about.user, about.party))
            .collect();
        let mut opens: Vec<_> =
            self.between(policies, to).map(|truth| truth.policies[place(about.resource)]).collect();
        opens.dedup();
        held.iter().any(|held| opens.iter().any(|opens| permits(about, held, *opens, !derived)))
    }

    pub(crate) fn is_permitted(&self, about: Asked) -> bool {
        let now = self.now();
        self.was_permitted(about, (now, now, now), false)
    }

    pub(crate) fn has_policy(&self, resource: u64) -> bool {
        self.truths.last().unwrap().policies[place(resource)].is_some()
    }

    pub(crate) fn ever_lacked_policy(&self, resource: u64) -> bool {
        self.truths.iter().any(|truth| truth.policies[place(resource)].is_none())
    }

    /// Whether the issuer has had this key all the time since then.
    pub(crate) fn has_had_key(&self, key: u64, since: u64) -> bool {
        self.between(since, u64::MAX - 1).all(|truth| truth.keys.contains(&key))
    }

    /// Whether the issuer had this key at some moment since then.
    pub(crate) fn had_key(&self, key: u64, since: u64) -> bool {
        self.between(since, u64::MAX - 1).any(|truth| truth.keys.contains(&key))
    }

    /// The PDP says what it knows, from its memory where it has one.
    fn decide(&mut self, about: Asked) -> Verdict {
        let now = self.now();
        let truth = self.truths.last().unwrap();
        let mut known = held(&truth.rights, about.user, about.party);
        let mut opens = truth.policies[place(about.resource)];
        if self.remembers {
            let rights = self
                .remembered_rights
                .entry((about.user, about.party))
                .or_insert((now, known.clone()));
            if now - rights.0 >= RIGHTS_REMEMBERED {
                rights.0 = now;
                rights.1.clone_from(&known);
            }
            known.clone_from(&rights.1);
            let policy = self.remembered_policies.entry(about.resource).or_insert((now, opens));
            if now - policy.0 >= POLICIES_REMEMBERED {
                *policy = (now, opens);
            }
            opens = policy.1;
        }
        let once = |said: &Said| said.about == about && said.result == Ok(Verdict::Permit);
        if permits(about, &known, opens, true)
            || (self.lie == Some(Lie::NothingIsRevoked) && self.said.iter().any(once))
        {
            Verdict::Permit
        } else if opens.is_some_and(|(_, _, closes)| is_closed(&known, closes)) {
            Verdict::Deny
        } else {
            Verdict::NotApplicable
        }
    }
}

fn place(resource: u64) -> usize {
    usize::try_from(resource).unwrap()
}

fn held(rights: &Rights, user: u64, party: u64) -> BTreeSet<Held> {
    let of_it = rights.iter().filter(|(holder, whom, _)| (*holder, *whom) == (user, party));
    of_it.map(|(_, _, held)| *held).collect()
}

fn permits(about: Asked, held: &BTreeSet<Held>, opens: Option<Opens>, singly: bool) -> bool {
    let Some((read, write, closes)) = opens else { return false };
    let opens = if about.write { write } else { read };
    !is_closed(held, closes)
        && held.iter().any(|held| match held {
            Held::Package(package) => opens & (1 << package) != 0,
            Held::Single(resource) => singly && *resource == about.resource,
        })
}

fn is_closed(held: &BTreeSet<Held>, closes: u64) -> bool {
    held.iter().any(|held| matches!(held, Held::Package(package) if closes & (1 << package) != 0))
}

pub(crate) fn user_id(user: u64) -> SystemUserId {
    format!("5e000000-0000-4000-8000-{user:012}").parse().unwrap()
}

pub(crate) fn asked(question: &Question) -> Asked {
    let find = |ids: &[&str], id: &str| {
        u64::try_from(ids.iter().position(|one| *one == id).unwrap()).unwrap()
    };
    let Party::Organization(party) = question.party() else { panic!("no persons here") };
    Asked {
        user: (0..USERS).find(|user| user_id(*user) == question.system_user()).unwrap(),
        party: find(&PARTY_IDS, &party.to_string()),
        resource: find(&RESOURCE_IDS, question.resource().as_str()),
        write: question.action().as_str() == "write",
    }
}

/// The world, as the program meets it.
#[derive(Clone)]
pub(crate) struct Outside(pub(crate) Arc<Mutex<World>>);

impl Outside {
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Takes as long as a call does; what goes wrong with it. What the world is like in its middle counts.
    async fn call(
        &self,
        weather: impl Fn(&World) -> Weather,
        salt: u64,
    ) -> Result<Weather, Undecided> {
        let drawn = {
            let world = self.lock();
            mix(&[world.seed, world.now(), salt])
        };
        sleep(Duration::from_millis(10 * (drawn % 6))).await;
        let weather = weather(&self.lock());
        let failed = |cause: Cause| Err(Undecided::from(cause));
        match weather {
            Weather::Down => failed(Cause::Unreachable),
            Weather::Slow => {
                sleep(Duration::from_millis(1900)).await;
                failed(Cause::TimedOut)
            }
            Weather::Throttled => Err(Undecided {
                cause: Cause::Throttled,
                retry_after: Some(Duration::from_secs(3)),
            }),
            Weather::Rubbish => failed(Cause::Unreadable),
            Weather::Indeterminate => failed(Cause::Indeterminate),
            Weather::Flaky if drawn / 6 % 100 < 40 => failed(Cause::ErrorStatus),
            Weather::Fair | Weather::Hiding | Weather::Flaky => Ok(weather),
        }
    }

    /// The way back.
    async fn back(&self) {
        sleep(Duration::from_millis(20)).await;
    }

    async fn read<T>(&self, salt: u64, read: impl FnOnce(&mut World) -> T) -> Result<T, Undecided> {
        self.call(|world| world.register, salt).await?;
        let told = read(&mut self.lock());
        self.back().await;
        Ok(told)
    }
}

impl RemotePdp for Outside {
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        _: Call,
    ) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        Box::pin(async move {
            let about = asked(question);
            let from = self.lock().now();
            let Asked { user, party, resource, write } = about;
            let salt = mix(&[user, party, resource, u64::from(write)]);
            let result = match self.call(|world| world.pdp, salt).await {
                Ok(weather) => {
                    let mut world = self.lock();
                    let hidden =
                        weather == Weather::Hiding && mix(&[world.seed, from, salt, 1]) % 100 < 30;
                    Ok(if hidden { Verdict::NotApplicable } else { world.decide(about) })
                }
                Err(undecided) => Err(undecided),
            };
            self.back().await;
            let mut world = self.lock();
            let to = world.now();
            let said = result.map_err(|undecided| undecided.cause);
            world.note(format_args!("  pdp {about:?} from {from}: {said:?}"));
            world.said.push(Said { about, from, to, result: said });
            match (world.lie, said) {
                (Some(Lie::OutageIsNo), Err(_)) => Ok(Verdict::NotApplicable),
                (Some(Lie::NoIsOutage), Ok(Verdict::NotApplicable)) => Err(Cause::TimedOut.into()),
                _ => result,
            }
        })
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        call: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        let each = questions.iter().map(move |question| self.ask(question, call));
        Box::pin(futures_util::future::join_all(each))
    }
}

impl Source for Outside {
    fn parties<'a>(
        &'a self,
        id: SystemUserId,
        wanted: &'a Arc<Wanted>,
        _: Account,
    ) -> EdgeFuture<'a, Result<Vec<PartyRights>, Undecided>> {
        let user = (0..USERS).find(|user| user_id(*user) == id).unwrap();
        let wanted = Arc::clone(wanted);
        Box::pin(self.read(100 + user, move |world| {
            let now = world.now();
            let at =
                if world.lie == Some(Lie::OldRights) { now.saturating_sub(300_000) } else { now };
            let truth = world.between(at, at).last().unwrap();
            let rights = |party: u64| {
                let held = held(&truth.rights, user, party);
                let package = |held: &Held| match held {
                    Held::Package(package) => {
                        wanted.packages.get(PACKAGE_IDS[place(*package)]).cloned()
                    }
                    Held::Single(_) => None,
                };
                let single = |held: &Held| match held {
                    Held::Single(resource) => Some(RESOURCE_IDS[place(*resource)].parse().unwrap()),
                    Held::Package(_) => None,
                };
                let ours = |id: &ResourceId| wanted.resources.contains(id);
                PartyRights {
                    party: PARTY_IDS[place(party)].parse().unwrap(),
                    packages: held.iter().filter_map(package).collect(),
                    resources: held.iter().filter_map(single).filter(ours).collect(),
                }
            };
            let all = (0..PARTIES).map(rights);
            let all: Vec<_> =
                all.filter(|all| !all.packages.is_empty() || !all.resources.is_empty()).collect();
            world.note(format_args!("  register reads user {user}: {} parties", all.len()));
            all
        }))
    }

    fn resource<'a>(
        &'a self,
        id: &'a ResourceId,
    ) -> EdgeFuture<'a, Result<Option<PublishedResource>, Undecided>> {
        let number = RESOURCE_IDS.iter().position(|one| *one == id.as_str()).unwrap();
        Box::pin(self.read(200 + number as u64, move |world| {
            let opens = world.truths.last().unwrap().policies[number];
            opens.map(|opens| {
                let policy = policy(number, opens).into_bytes().into();
                PublishedResource { policy, access_list: false }
            })
        }))
    }

    fn changes<'a>(
        &'a self,
        _: Option<&'a FeedPosition>,
    ) -> EdgeFuture<'a, Result<Feed, Undecided>> {
        Box::pin(self.read(300, |world| {
            let all = RESOURCE_IDS.iter().zip(world.versions);
            let all = all.map(|(id, version)| ((*id).to_owned(), version.to_string()));
            Feed::Changes(all.collect(), Some(FeedPosition("1".into())))
        }))
    }

    fn packages(&self) -> EdgeFuture<'_, Result<HashMap<String, PackageId>, Undecided>> {
        Box::pin(
            self.read(400, |_| PACKAGE_IDS.map(|id| (id.to_owned(), id.parse().unwrap())).into()),
        )
    }

    fn access_lists<'a>(&'a self, _: &'a str) -> EdgeFuture<'a, Result<AccessLists, Undecided>> {
        Box::pin(async { Ok(AccessLists::new()) })
    }
}

/// A rule for each action, open to who holds one of the packages, and one that closes both.
fn policy(resource: usize, (read, write, closes): Opens) -> String {
    let all_of = |category: &str, attribute: &str, value: &str| {
        format!(
            r#"<AllOf><Match MatchId="urn:oasis:names:tc:xacml:1.0:function:string-equal"><AttributeValue DataType="http://www.w3.org/2001/XMLSchema#string">{value}</AttributeValue><AttributeDesignator AttributeId="{attribute}" Category="{category}" MustBePresent="false" DataType="http://www.w3.org/2001/XMLSchema#string"/></Match></AllOf>"#
        )
    };
    let subject = "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject";
    let category = |name: &str| format!("urn:oasis:names:tc:xacml:3.0:attribute-category:{name}");
    let what = all_of(&category("resource"), "urn:altinn:resource", RESOURCE_IDS[resource]);
    let holders = |packages: u64| -> String {
        let held =
            PACKAGE_IDS.iter().enumerate().filter(|(package, _)| packages & (1 << package) != 0);
        held.map(|(_, id)| all_of(subject, "urn:altinn:accesspackage", id)).collect()
    };
    let rule = |action: &str, opens: u64| {
        let mut who = holders(opens);
        if who.is_empty() {
            who = all_of(subject, "urn:altinn:rolecode", "dagl");
        }
        let action =
            all_of(&category("action"), "urn:oasis:names:tc:xacml:1.0:action:action-id", action);
        format!(
            r#"<Rule RuleId="r" Effect="Permit"><Target><AnyOf>{who}</AnyOf><AnyOf>{what}</AnyOf><AnyOf>{action}</AnyOf></Target></Rule>"#
        )
    };
    let who = holders(closes);
    let denial = if who.is_empty() {
        String::new()
    } else {
        format!(
            r#"<Rule RuleId="d" Effect="Deny"><Target><AnyOf>{who}</AnyOf><AnyOf>{what}</AnyOf></Target></Rule>"#
        )
    };
    format!(
        r#"<Policy xmlns="urn:oasis:names:tc:xacml:3.0:core:schema:wd-17" PolicyId="p" Version="1.0" RuleCombiningAlgId="urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:deny-overrides"><Target/>{}{}{denial}</Policy>"#,
        rule("read", read),
        rule("write", write),
    )
}

impl Publisher for Outside {
    fn name(&self) -> &'static str {
        "the issuer"
    }

    fn key_set(&self, located_anew: bool) -> EdgeFuture<'_, Result<Vec<u8>, FetchError>> {
        Box::pin(async move {
            let (from, run) = {
                let world = self.lock();
                (world.now(), world.run)
            };
            let fair = self.call(|world| world.issuer, 500).await.is_ok();
            let keys = {
                let world = self.lock();
                let all = world.lie == Some(Lie::NoKeyIsWithdrawn);
                let is = |key: &u64| {
                    if all { world.had_key(*key, 0) } else { world.keys().contains(key) }
                };
                let keys: BTreeSet<u64> = (0..KEYS).filter(is).collect();
                fair.then_some(keys).filter(|keys| !keys.is_empty())
            };
            self.back().await;
            let mut world = self.lock();
            let to = world.now();
            world.note(format_args!(
                "  keys fetched from {from}, for an unknown one: {}: {keys:?}",
                !located_anew
            ));
            let body = keys.as_ref().map(|keys| key_set(keys.iter().copied()));
            // What the issuer does not serve any more was told by a lie.
            let told = keys
                .map(|keys| keys.into_iter().filter(|key| world.keys().contains(key)).collect());
            world.fetches.push(Fetch { run, from, to, for_unknown: !located_anew, keys: told });
            match (body, world.issuer) {
                (Some(body), _) => Ok(body.into_bytes()),
                (None, Weather::Rubbish) => Ok(b"<html>Maintenance</html>".to_vec()),
                (None, _) => Err(FetchError::Status(StatusCode::SERVICE_UNAVAILABLE)),
            }
        })
    }
}

impl Clock for Outside {
    fn now(&self) -> UnixTime {
        UnixTime::from_seconds(self.lock().seconds())
    }

    fn wall(&self) -> SystemTime {
        self.lock().wall()
    }
}

impl Store for Outside {
    fn save(&mut self, batch: Vec<Saved>) -> Result<(), StoreError> {
        let mut world = self.lock();
        if world.disk_full {
            return Err(StoreError::Disk("no room".into()));
        }
        for saved in batch {
            world.disk.take(saved);
        }
        world.back_since_saved = 0;
        Ok(())
    }
}

impl Disk {
    fn take(&mut self, saved: Saved) {
        match saved {
            Saved::User(ref user) => drop(self.users.insert(user.id, saved)),
            Saved::ForgetUser(id) => drop(self.users.remove(&id)),
            Saved::Resource(ref resource) => {
                self.resources.insert(resource.id.clone(), saved);
            }
            Saved::ResourceGone(id) => drop(self.resources.remove(&id)),
            Saved::Catalogue(_) => self.catalogue = Some(saved),
            Saved::Confirmation(question, at) => {
                self.answers.retain(|(held, _)| *held != question);
                self.answers.push((question, at));
            }
            Saved::Unconfirm(question) => self.answers.retain(|(held, _)| *held != question),
            Saved::UnconfirmAll => self.answers.clear(),
            Saved::SwitchedOff(ref question) => {
                self.off.insert(question.question().resource().clone(), saved);
            }
            Saved::SwitchedOn(id) => drop(self.off.remove(&id)),
            Saved::LastSaved(at) => self.saved = Some(at),
            Saved::AccessLists(_) | Saved::Feed(_) => {}
        }
    }
}

impl World {
    /// What was saved, fact by fact. A snapshot from the future is set aside.
    pub(crate) fn load(&mut self) -> Vec<Saved> {
        if self.disk.saved.is_some_and(|saved| saved > self.wall()) {
            self.note(format_args!("the snapshot is from the future"));
            self.disk = Disk::default();
        }
        let wall = self.wall();
        let disk = &self.disk;
        let answers =
            disk.answers.iter().map(|(question, at)| Saved::Confirmation(question.clone(), *at));
        let all = disk
            .users
            .values()
            .chain(disk.resources.values())
            .chain(&disk.catalogue)
            .chain(disk.off.values());
        let mut all: Vec<Saved> = all.cloned().chain(answers).collect();
        if self.lie == Some(Lie::DiskIsYoung) {
            for saved in &mut all {
                match saved {
                    Saved::User(user) => user.fetched = user.fetched.map(|_| wall),
                    Saved::Resource(resource) => resource.verified = wall,
                    Saved::Confirmation(_, at) => *at = wall,
                    _ => {}
                }
            }
        }
        all
    }
}

/// The id of a key as a token names it.
pub(crate) fn key_name(key: u64) -> String {
    name(key)
}
