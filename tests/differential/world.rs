//! Small random worlds in the form of the sandbox's seed.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A stream of random numbers that a seed repeats (`SplitMix64`).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// In so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn some<T: Clone + Ord>(&mut self, most: usize, of: &[T]) -> BTreeSet<T> {
        (0..self.below(most + 1)).map(|_| self.one(of)).collect()
    }
}

/// Code and suffix of every package; the last two are called another word in policies.
const PACKAGES: [(&str, &str); 7] = [
    ("lonn", "lonn"),
    ("skatt", "skatt"),
    ("avgift", "avgift"),
    ("regnskapsforer-lonn", "regnskapsforer-lonn"),
    ("regnskapsforer-uten-signeringsrettighet", "regnskapsforer-uten-signeringsrettighet"),
    (
        "vergemal-namsmannen-tvangsfullbyrdelse-forliksradet",
        "namsmannen-tvangsfullbyrdelse-forliksradet",
    ),
    ("gammelt-navn", "nytt-navn"),
];
pub(crate) const RESOURCES: [&str; 3] = ["ex-alfa", "ex-beta", "app_ex_gamma"];
pub(crate) const ACTIONS: [&str; 3] = ["read", "write", "sign"];
const LISTS: [&str; 2] = ["liste-a", "liste-b"];
const COMBINING: [&str; 7] = [
    "deny-overrides",
    "ordered-deny-overrides",
    "permit-overrides",
    "ordered-permit-overrides",
    "deny-unless-permit",
    "permit-unless-deny",
    "first-applicable",
];
const PERSON: &str = "01010750160";
const OWNER: &str = "310000108";
/// An accountant, two clients of which the first may have a sub-unit, a customer with a sub-unit, and a sole
/// proprietorship.
pub(crate) const ACCOUNTANT: usize = 0;
const UNITS: usize = 6;

pub(crate) type Given = BTreeMap<usize, Delegation>;

#[derive(Clone, Default)]
pub(crate) struct Delegation {
    pub(crate) packages: BTreeSet<usize>,
    pub(crate) rights: BTreeMap<usize, BTreeSet<usize>>,
}

#[derive(Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    agent: bool,
    pub(crate) owner: usize,
    deleted: bool,
    pub(crate) given: Given,
}

/// A world that can be changed and printed.
#[derive(Clone)]
pub(crate) struct World {
    numbers: Vec<String>,
    parents: [Option<usize>; UNITS],
    struck_off: [bool; UNITS],
    pub(crate) users: Vec<User>,
    resources: Vec<Value>,
    lists: Vec<Value>,
}

/// What was changed in a world.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Delegation,
    /// Clients are no clients any more; the world is told with [`World::ended`].
    Relation,
    /// A policy, metadata or an access list: nothing that is said of a system user.
    Resource,
}

impl World {
    pub(crate) fn random(dice: &mut Dice, number: usize) -> Self {
        let parent =
            |dice: &mut Dice, percent, of| Some(of).filter(|_: &usize| dice.percent(percent));
        let mut world = Self {
            numbers: organization_numbers(UNITS),
            parents: [None, None, parent(dice, 60, 1), None, parent(dice, 80, 3), None],
            struck_off: std::array::from_fn(|_| dice.percent(5)),
            users: Vec::new(),
            resources: Vec::new(),
            lists: Vec::new(),
        };
        world.lists = LISTS.map(|id| world.list(dice, id)).into();
        world.resources = RESOURCES.map(|id| resource(dice, id)).into();
        world.users = (0..2).map(|place| user(dice, number * 2 + place, place == 1)).collect();
        world
    }

    /// Every party that a request could name: those of the world.
    pub(crate) fn parties(&self) -> impl Iterator<Item = (&str, bool)> {
        let organizations = self.numbers.iter().map(|number| (number.as_str(), false));
        organizations.chain([(PERSON, true)])
    }

    /// Client and facilitator of the relations that [`Change::Relation`] ends.
    pub(crate) fn ended(&self) -> [(&str, &str); 2] {
        [1, 2].map(|client| (self.numbers[client].as_str(), self.numbers[ACCOUNTANT].as_str()))
    }

    /// The same world, where nobody was given a package: what is permitted there needs none.
    pub(crate) fn without_packages(&self) -> Self {
        let mut world = self.clone();
        let given = world.users.iter_mut().flat_map(|user| user.given.values_mut());
        given.for_each(|given| given.packages.clear());
        world
    }

    /// Changes one thing.
    pub(crate) fn change(&mut self, dice: &mut Dice) -> Change {
        match dice.below(5) {
            0 | 1 => {
                let user = dice.below(self.users.len());
                let id = self.users[user].id.clone();
                let agent = self.users[user].agent;
                self.users[user] = User { id, ..self::user(dice, 0, agent) };
                Change::Delegation
            }
            2 => Change::Relation,
            3 => {
                let list = dice.below(LISTS.len());
                self.lists[list] = self.list(dice, LISTS[list]);
                Change::Resource
            }
            _ => {
                let place = dice.below(RESOURCES.len());
                self.resources[place] = resource(dice, RESOURCES[place]);
                Change::Resource
            }
        }
    }

    fn list(&self, dice: &mut Dice, id: &str) -> Value {
        let members = dice.some(6, &self.numbers);
        let mut list = json!({ "id": id, "name": id, "members": members });
        if dice.percent(50) {
            list["actions"] = json!(dice.some(2, &ACTIONS));
        }
        list
    }

    /// The world as the sandbox reads it.
    pub(crate) fn to_json(&self) -> String {
        let organization = |(place, number): (usize, &String)| {
            let mut unit = json!({
                "number": number, "name": "ENHET", "party_id": 51_000_000 + place,
                "unit_type": if self.parents[place].is_some() { "BEDR" } else { "AS" },
                "deleted": self.struck_off[place],
            });
            if let Some(parent) = self.parents[place] {
                unit["parent"] = json!(self.numbers[parent]);
            }
            if place == 5 {
                unit["unit_type"] = json!("ENK");
                unit["proprietor"] = json!(PERSON);
            }
            unit
        };
        let owner = json!({ "number": OWNER, "name": "EIER", "unit_type": "ORGL", "party_id": 1 });
        let organizations: Vec<Value> =
            self.numbers.iter().enumerate().map(organization).chain([owner]).collect();
        json!({
            "service_owner": { "code": "ex", "organization": OWNER },
            "organizations": organizations,
            "persons": [{ "number": PERSON, "name": "PERSON", "party_id": 2 }],
            "relations": self.relations(),
            "systems": [{ "id": format!("{OWNER}_system"), "vendor": OWNER, "name": "System" }],
            "system_users": self.users.iter().map(|user| self.user_json(user)).collect::<Vec<_>>(),
            "packages": packages(),
            "resources": self.resources,
            "access_lists": self.lists,
        })
        .to_string()
    }

    /// The clients give everything that an accountant can have of them, and what else they like.
    fn relations(&self) -> Vec<Value> {
        let clients = [1, 2, 5].iter();
        clients
            .flat_map(|client| ["regnskapsforer", "rettighetshaver"].map(|role| (client, role)))
            .map(|(client, role)| {
                json!({
                    "client": self.numbers[*client], "role": role,
                    "facilitator": self.numbers[ACCOUNTANT],
                })
            })
            .collect()
    }

    fn user_json(&self, user: &User) -> Value {
        let delegation = |(party, given): (&usize, &Delegation)| {
            let codes: Vec<&str> = given.packages.iter().map(|place| PACKAGES[*place].0).collect();
            let actions = |actions: &BTreeSet<usize>| {
                actions.iter().map(|place| ACTIONS[*place]).collect::<Vec<_>>()
            };
            let rights: BTreeMap<&str, Vec<&str>> = given
                .rights
                .iter()
                .map(|(place, held)| (RESOURCES[*place], actions(held)))
                .collect();
            json!({ "party": self.numbers[*party], "packages": codes, "single_rights": rights })
        };
        json!({
            "id": user.id, "kind": if user.agent { "agent" } else { "standard" },
            "system": format!("{OWNER}_system"), "owner": self.numbers[user.owner],
            "deleted": user.deleted,
            "delegations": user.given.iter().map(delegation).collect::<Vec<_>>(),
        })
    }
}

fn packages() -> Vec<Value> {
    (1..)
        .zip(PACKAGES)
        .map(|(number, (code, suffix))| {
            let id = format!("9ac0de00-0000-4000-8000-{number:012}");
            json!({ "code": code, "urn": suffix, "id": id, "name": code })
        })
        .map(|mut package| {
            // As in the seed: the suffix is written only where it is another word.
            if package["urn"] == package["code"] {
                package.as_object_mut().unwrap().remove("urn");
            }
            package
        })
        .collect()
}

/// One of a customer, or the accountant's.
fn user(dice: &mut Dice, number: usize, agent: bool) -> User {
    let owner = if agent { ACCOUNTANT } else { [3, 5, 4, 1][dice.below(4)] };
    let mut given = Given::new();
    for party in if agent { vec![1, 2, 5, ACCOUNTANT] } else { vec![owner] } {
        let single = !agent || party == ACCOUNTANT;
        given.insert(party, delegation(dice, single));
    }
    let id = format!("5e000000-0000-4000-8000-{number:012}");
    User { id, agent, owner, deleted: dice.percent(5), given }
}

fn delegation(dice: &mut Dice, single: bool) -> Delegation {
    let places: Vec<usize> = (0..PACKAGES.len()).collect();
    let mut rights = BTreeMap::new();
    if single && dice.percent(50) {
        let actions = 1 + dice.below(2);
        let held = (0..actions).map(|_| dice.below(ACTIONS.len())).collect();
        rights.insert(dice.below(RESOURCES.len()), held);
    }
    Delegation { packages: dice.some(4, &places), rights }
}

fn resource(dice: &mut Dice, id: &str) -> Value {
    let rules = if dice.percent(4) { 0 } else { 1 + dice.below(3) };
    let mut resource = json!({
        "id": id, "title": { "nb": id },
        "combining": if dice.percent(50) { "deny-overrides" } else { dice.one(&COMBINING) },
        "algorithm_family": if dice.percent(20) { "policy" } else { "rule" },
        "rules": (0..rules).map(|_| rule(dice)).collect::<Vec<_>>(),
    });
    if dice.percent(70) {
        resource["minimum_level"] = json!(2 + dice.below(4).min(2) % 3);
    }
    if dice.percent(25) {
        resource["access_lists"] = json!(dice.some(2, &LISTS));
    }
    resource
}

fn rule(dice: &mut Dice) -> Value {
    let mut rule = json!({
        "effect": if dice.percent(20) { "deny" } else { "permit" },
        "packages": (0..(dice.below(5) + 1) % 5).map(|_| named_package(dice)).collect::<Vec<_>>(),
        "actions": dice.some(3, &ACTIONS),
    });
    if dice.percent(15) {
        rule["package_groups"] = json!([[named_package(dice), named_package(dice)]]);
    }
    if dice.percent(15) {
        rule["exact_case"] = json!(true);
    }
    if dice.percent(35) {
        rule["roles"] = json!(["dagl"]);
    }
    if dice.percent(5) {
        rule["service_owners"] = json!(["ex"]);
    }
    if dice.percent(6) {
        rule["subresource"] = json!("del");
        rule["subresource_optional"] = json!(dice.percent(60));
    }
    rule
}

/// A package as a rule names it: in any letter case.
fn named_package(dice: &mut Dice) -> String {
    let (code, _) = dice.one(&PACKAGES);
    if dice.percent(10) { code.to_uppercase() } else { code.to_owned() }
}

/// Made-up numbers with the check digit that organisation numbers have.
fn organization_numbers(count: usize) -> Vec<String> {
    const WEIGHTS: [u32; 9] = [3, 2, 7, 6, 5, 4, 3, 2, 1];
    let sound = |number: &String| {
        let digits = number.chars().map(|digit| digit.to_digit(10).unwrap());
        digits.zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum::<u32>() % 11 == 0
    };
    (310_000_200..).map(|number: u32| number.to_string()).filter(sound).take(count).collect()
}
