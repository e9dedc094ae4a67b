//! Authorized parties as Altinn writes them: for whom a system user may act, with package codes and single
//! resources. Pure; read as it arrives, so that an answer of any size costs what is kept of it.
//!
//! Source: contract authorization.md §6. The answer tells of the system user's whole authority, persons
//! included: only organisations and what our resources need of them are kept, the rest is passed over.
//! An answer is taken whole or not at all.

use super::lean::{self, Elements, List, Members, Object, Text, Texts, Unreadable};
use crate::domain::delegation::{PackageId, PartyRights};
use crate::domain::party::{CheckDigits, OrgNumber};
use crate::domain::resource::ResourceId;
use crate::sync::ports::Wanted;
use serde::de::{Error, MapAccess, SeqAccess};
use std::collections::HashMap;
use std::io::Read;

/// Largest answer, in bytes: some 60 000 parties as Altinn writes them.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Most organisations in an answer.
pub const MAX_PARTIES: usize = 100_000;
/// Sub-units of sub-units of …; Altinn has two levels.
const MAX_DEPTH: usize = 8;

/// What an answer told, as far as it was wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// Organisations with something of ours, sorted.
    pub parties: Vec<PartyRights>,
    /// What was passed over.
    pub ignored: Ignored,
}

/// How much of an answer was passed over, where it was of a kind that could have been kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ignored {
    /// Packages that no policy of ours names.
    pub packages: u64,
    /// Resources of no route of ours.
    pub resources: u64,
    /// Organisations without a valid number: no request can name them.
    pub numbers: u64,
}

/// Reads an answer.
///
/// Of a party that stands twice both must say the same: an answer that contradicts itself is not understood.
/// A unit that is struck off, or shown only to hold its sub-units, has nothing here; what it may still have is
/// for the PDP to say.
///
/// # Errors
/// `Unreadable` for anything but one whole JSON array of parties with the members that the contract names,
/// and for more parties or deeper ones than are taken.
pub fn read_parties(
    answer: impl Read,
    wanted: &Wanted,
    check: CheckDigits,
) -> Result<Told, Unreadable> {
    read_at_most(MAX_PARTIES, answer, wanted, check)
}

fn read_at_most(
    most: usize,
    answer: impl Read,
    wanted: &Wanted,
    check: CheckDigits,
) -> Result<Told, Unreadable> {
    let (found, ignored) = (HashMap::new(), Ignored::default());
    let mut kept = Kept { most, wanted, check, found, ignored };
    lean::read(answer, Whole(&mut kept))?;
    let Kept { found, ignored, .. } = kept;
    let rights = found.into_iter().filter(|(_, held)| *held != Held::default());
    let mut parties: Vec<PartyRights> = rights
        .map(|(party, Held { packages, resources })| PartyRights { party, packages, resources })
        .collect();
    parties.sort_unstable_by_key(|rights| rights.party);
    Ok(Told { parties, ignored })
}

/// What was found so far.
struct Kept<'w> {
    most: usize,
    wanted: &'w Wanted,
    check: CheckDigits,
    /// Every organisation that was seen, also those that have nothing of ours.
    found: HashMap<OrgNumber, Held>,
    ignored: Ignored,
}

#[derive(Debug, Default, Eq, PartialEq)]
struct Held {
    packages: Vec<PackageId>,
    resources: Vec<ResourceId>,
}

impl Kept<'_> {
    fn put<E: Error>(&mut self, party: OrgNumber, held: Held) -> Result<(), E> {
        match self.found.get(&party) {
            Some(before) if *before == held => Ok(()),
            Some(_) => Err(E::custom("a party stands twice, with different rights")),
            None if self.found.len() >= self.most => Err(E::custom("too many parties")),
            None => {
                self.found.insert(party, held);
                Ok(())
            }
        }
    }
}

/// The answer as a whole.
struct Whole<'k, 'w>(&'k mut Kept<'w>);

impl<'de> serde::de::DeserializeSeed<'de> for Whole<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let mut parties = Parties { kept: self.0, depth: 0 };
        List { elements: &mut parties, or_null: false }.deserialize(deserializer)
    }
}

/// Parties, or the sub-units of one.
struct Parties<'k, 'w> {
    kept: &'k mut Kept<'w>,
    depth: usize,
}

impl Elements for Parties<'_, '_> {
    fn take<'de, A: SeqAccess<'de>>(&mut self, array: &mut A) -> Result<Option<()>, A::Error> {
        let mut party = Party {
            kept: self.kept,
            depth: self.depth,
            number: None,
            organization: None,
            deleted: None,
            hollow: None,
            packages: None,
            resources: None,
        };
        if array.next_element_seed(Object(&mut party))?.is_none() {
            return Ok(None);
        }
        party.finish().map(Some)
    }
}

/// One party while it is read.
struct Party<'k, 'w> {
    kept: &'k mut Kept<'w>,
    depth: usize,
    number: Option<OrgNumber>,
    organization: Option<bool>,
    deleted: Option<bool>,
    /// Shown only to hold its sub-units.
    hollow: Option<bool>,
    packages: Option<Vec<PackageId>>,
    resources: Option<Vec<ResourceId>>,
}

impl Members for Party<'_, '_> {
    const NAMES: &'static [&'static str] = &[
        "organizationNumber",
        "type",
        "isDeleted",
        "onlyHierarchyElementWithNoAccess",
        "authorizedAccessPackages",
        "authorizedResources",
        "subunits",
    ];

    fn take<'de, A: MapAccess<'de>>(&mut self, name: usize, map: &mut A) -> Result<(), A::Error> {
        match name {
            0 => {
                let check = self.kept.check;
                let number =
                    map.next_value_seed(Text(|text: &str| OrgNumber::parse(text, check)))?;
                self.number = number.and_then(Result::ok);
            }
            1 => {
                let is = |text: &str| text == "Organization";
                self.organization = map.next_value_seed(Text(is))?;
            }
            2 => self.deleted = Some(map.next_value()?),
            3 => self.hollow = Some(map.next_value()?),
            4 => self.packages = Some(self.packages(map)?),
            5 => self.resources = Some(self.resources(map)?),
            _ => self.sub_units(map)?,
        }
        Ok(())
    }
}

impl Party<'_, '_> {
    fn packages<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
    ) -> Result<Vec<PackageId>, A::Error> {
        let (wanted, mut packages, mut ignored) = (self.kept.wanted, Vec::new(), 0);
        let mut texts = Texts(|code: &str| match wanted.packages.get(code) {
            Some(package) => packages.push(package.clone()),
            None => ignored += 1,
        });
        map.next_value_seed(List { elements: &mut texts, or_null: true })?;
        self.kept.ignored.packages += ignored;
        packages.sort_unstable();
        packages.dedup();
        Ok(packages)
    }

    fn resources<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
    ) -> Result<Vec<ResourceId>, A::Error> {
        let (wanted, mut resources, mut ignored) = (self.kept.wanted, Vec::new(), 0);
        let mut texts = Texts(|text: &str| {
            let resource = text.parse::<ResourceId>().ok();
            match resource.and_then(|resource| wanted.resources.get(&resource)) {
                Some(resource) => resources.push(resource.clone()),
                None => ignored += 1,
            }
        });
        map.next_value_seed(List { elements: &mut texts, or_null: true })?;
        self.kept.ignored.resources += ignored;
        resources.sort_unstable();
        resources.dedup();
        Ok(resources)
    }

    fn sub_units<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        if self.depth >= MAX_DEPTH {
            return Err(A::Error::custom("sub-units too deep"));
        }
        let mut units = Parties { kept: self.kept, depth: self.depth + 1 };
        map.next_value_seed(List { elements: &mut units, or_null: true })
    }

    /// Keeps what is of ours. Members that the contract has in every party must be there: what is called
    /// otherwise one day must not look like a party without rights, or with more than it has.
    fn finish<E: Error>(self) -> Result<(), E> {
        let missing = || E::custom("a party without a member that each has");
        let organization = self.organization.ok_or_else(missing)?;
        let deleted = self.deleted.ok_or_else(missing)?;
        let hollow = self.hollow.ok_or_else(missing)?;
        let packages = self.packages.ok_or_else(missing)?;
        let resources = self.resources.ok_or_else(missing)?;
        if !organization {
            return Ok(());
        }
        let Some(party) = self.number else {
            self.kept.ignored.numbers += 1;
            return Ok(());
        };
        let held = if deleted || hollow { Held::default() } else { Held { packages, resources } };
        self.kept.put(party, held)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    pub(in super::super) fn wanted() -> Wanted {
        let package = |text: &str| text.parse::<PackageId>().unwrap();
        Wanted {
            packages: HashMap::from([
                ("lonn".into(), package("lonn")),
                ("skattegrunnlag".into(), package("skattegrunnlag")),
                ("vergemal-forliksradet".into(), package("forliksradet")),
            ]),
            resources: ["ske-mva-melding", "ske-arkiv"].map(|id| id.parse().unwrap()).into(),
        }
    }

    /// A party as Altinn writes it.
    pub(in super::super) fn party(number: &str, packages: &[&str], resources: &[&str]) -> Value {
        json!({
            "partyUuid": "066148fe-7077-4484-b7ea-44b5ede0014e", "name": "USENSUELL TIGER AS",
            "organizationNumber": number, "parentId": null, "personId": null, "dateOfBirth": null,
            "partyId": 51_235_100, "emailId": null, "type": "Organization", "unitType": "AS",
            "isDeleted": false, "onlyHierarchyElementWithNoAccess": false,
            "authorizedAccessPackages": packages, "authorizedResources": resources,
            "authorizedRoles": [],
            "authorizedInstances": [{ "resourceId": "app_ttd_x", "instanceId": "9f", "instanceRef": "u" }],
            "subunits": [],
        })
    }

    fn with(mut party: Value, changes: &[(&str, Value)]) -> Value {
        for (name, value) in changes {
            party[*name] = value.clone();
        }
        party
    }

    fn told(answer: &[u8]) -> Result<Told, Unreadable> {
        read_parties(answer, &wanted(), CheckDigits::Required)
    }

    fn rights(party: &str, packages: &[&str], resources: &[&str]) -> PartyRights {
        PartyRights {
            party: party.parse().unwrap(),
            packages: packages.iter().map(|it| it.parse().unwrap()).collect(),
            resources: resources.iter().map(|it| it.parse().unwrap()).collect(),
        }
    }

    fn parties(answer: &Value) -> Result<Vec<PartyRights>, Unreadable> {
        told(answer.to_string().as_bytes()).map(|told| told.parties)
    }

    const ONE: &str = "310000027";
    const TWO: &str = "310000507";

    #[test]
    fn what_is_ours_is_kept_and_the_rest_is_not() {
        let mine = || party(ONE, &["lonn"], &[]);
        let person = json!({ "type": "Person", "organizationNumber": null,
            "personId": "01010750160", "name": "KARI" });
        let cases = [
            ("nothing at all", json!([]), vec![]),
            (
                "packages by code, resources by id, sorted and once",
                json!([party(
                    ONE,
                    &["skattegrunnlag", "lonn", "lonn", "vergemal-forliksradet"],
                    &["ske-mva-melding", "app_ttd_x", "ske-arkiv"]
                )]),
                vec![rights(
                    ONE,
                    &["forliksradet", "lonn", "skattegrunnlag"],
                    &["ske-arkiv", "ske-mva-melding"],
                )],
            ),
            ("a suffix is no code", json!([party(ONE, &["forliksradet"], &[])]), vec![]),
            ("a code in another case", json!([party(ONE, &["Lonn"], &[])]), vec![]),
            ("nothing of ours", json!([party(ONE, &["jordbruk"], &["app_ttd_x"])]), vec![]),
            ("struck off", json!([with(mine(), &[("isDeleted", json!(true))])]), vec![]),
            (
                "shown for its sub-unit only",
                json!([with(
                    mine(),
                    &[
                        ("onlyHierarchyElementWithNoAccess", json!(true)),
                        ("subunits", json!([party(TWO, &["lonn"], &[])]))
                    ]
                )]),
                vec![rights(TWO, &["lonn"], &[])],
            ),
            (
                "sub-units, sorted by number",
                json!([with(party(TWO, &["lonn"], &[]), &[("subunits", json!([mine()]))])]),
                vec![rights(ONE, &["lonn"], &[]), rights(TWO, &["lonn"], &[])],
            ),
            ("a person", json!([with(mine(), &[("type", json!("Person"))])]), vec![]),
            (
                "a person as Altinn writes one",
                json!([with(
                    mine(),
                    &[
                        ("type", person["type"].clone()),
                        ("organizationNumber", json!(null)),
                        ("personId", person["personId"].clone())
                    ]
                )]),
                vec![],
            ),
            ("another type", json!([with(mine(), &[("type", json!("organization"))])]), vec![]),
            (
                "wrong check digit",
                json!([with(mine(), &[("organizationNumber", json!("310000028"))])]),
                vec![],
            ),
            ("no number", json!([with(mine(), &[("organizationNumber", json!(null))])]), vec![]),
            (
                "nulls for lists",
                json!([with(
                    party(ONE, &[], &["ske-arkiv"]),
                    &[("authorizedAccessPackages", json!(null)), ("subunits", json!(null))]
                )]),
                vec![rights(ONE, &[], &["ske-arkiv"])],
            ),
            ("twice the same", json!([mine(), mine()]), vec![rights(ONE, &["lonn"], &[])]),
        ];
        for (what, answer, expected) in cases {
            assert_eq!(parties(&answer), Ok(expected), "{what}");
            let pascal = answer
                .to_string()
                .replace("organizationNumber", "OrganizationNumber")
                .replace("authorizedAccessPackages", "AuthorizedAccessPackages");
            assert_eq!(
                told(pascal.as_bytes()).map(|told| told.parties),
                parties(&answer),
                "{what}"
            );
        }
        let ignored =
            told(json!([party("310000028", &["x", "lonn"], &["y"])]).to_string().as_bytes());
        let expected = Ignored { packages: 1, resources: 1, numbers: 1 };
        assert_eq!(ignored.unwrap().ignored, expected);
        let answer = json!([party("910000123", &["lonn"], &[])]).to_string();
        let made_up = read_parties(answer.as_bytes(), &wanted(), CheckDigits::Ignored).unwrap();
        assert_eq!(made_up.parties.len(), 1);
    }

    #[test]
    fn an_answer_that_is_not_whole_or_not_understood_is_none() {
        let mine = || party(ONE, &["lonn"], &[]);
        let without = |name: &str| {
            let mut party = mine();
            party.as_object_mut().unwrap().remove(name);
            json!([party]).to_string()
        };
        let changed =
            |name: &str, value: Value| json!([with(mine(), &[(name, value)])]).to_string();
        let mut deep = mine();
        for _ in 0..=MAX_DEPTH {
            deep = with(party(TWO, &[], &[]), &[("subunits", json!([deep]))]);
        }
        let good = json!([mine()]).to_string();
        let cases = [
            String::new(),
            "null".into(),
            "{}".into(),
            mine().to_string(),
            json!({ "parties": [mine()] }).to_string(),
            "[null]".into(),
            "[[]]".into(),
            "[{}]".into(),
            "<html>[]</html>".into(),
            format!("\u{feff}{good}"),
            format!("{good}[]"),
            format!("{good},"),
            format!("{good}x"),
            good.replace("}]", "},]"),
            without("type"),
            without("isDeleted"),
            without("onlyHierarchyElementWithNoAccess"),
            without("authorizedAccessPackages"),
            without("authorizedResources"),
            changed("type", json!(null)),
            changed("type", json!(2)),
            changed("isDeleted", json!(null)),
            changed("isDeleted", json!("false")),
            changed("onlyHierarchyElementWithNoAccess", json!(0)),
            changed("organizationNumber", json!(310_000_027)),
            changed("authorizedAccessPackages", json!("lonn")),
            changed("authorizedAccessPackages", json!([null])),
            changed("authorizedAccessPackages", json!([["lonn"]])),
            changed("authorizedResources", json!([7])),
            changed("authorizedResources", json!({ "0": "ske-arkiv" })),
            changed("subunits", json!({})),
            changed("subunits", json!([1])),
            changed("subunits", json!([party(ONE, &[], &[])])),
            json!([mine(), party(ONE, &["lonn", "skattegrunnlag"], &[])]).to_string(),
            json!([mine(), with(mine(), &[("isDeleted", json!(true))])]).to_string(),
            json!([deep]).to_string(),
            good.replace("\"name\":", "\"isDeleted\":false,\"name\":"),
            good.replace("\"name\":", "\"ISDELETED\":false,\"name\":"),
            good.replace("\"name\":", "\"\\u0069sDeleted\":true,\"name\":"),
        ];
        assert!(told(good.as_bytes()).is_ok());
        for text in cases {
            assert_eq!(told(text.as_bytes()), Err(Unreadable), "{text}");
        }
        let bad = good.replace("TIGER", "TIG\u{1}ER").into_bytes();
        assert_eq!(told(&bad), Err(Unreadable), "a control character in what is passed over");
        let mut bytes = good.into_bytes();
        let place = bytes.windows(5).position(|it| it == b"TIGER").unwrap();
        bytes[place] = 0xff;
        assert_eq!(told(&bytes), Err(Unreadable), "no UTF-8 in what is passed over");
    }

    #[test]
    fn ten_thousand_clients_are_read_and_one_more_than_allowed_are_not() {
        let number = |index: usize| format!("{:09}", 100_000_000 + index);
        let party = party("N", &["lonn", "jordbruk"], &["ske-arkiv"]).to_string();
        let of = |index| party.replace("\"N\"", &format!("\"{}\"", number(index)));
        let answer = format!("[{}]", (0..10_000).map(of).collect::<Vec<_>>().join(","));
        let read = |most| read_at_most(most, answer.as_bytes(), &wanted(), CheckDigits::Ignored);
        let told = read(10_000).unwrap();
        assert_eq!(told.parties.len(), 10_000);
        assert!(told.parties.is_sorted_by_key(|rights| rights.party));
        assert_eq!(told.ignored.packages, 10_000);
        assert_eq!(read(9_999), Err(Unreadable));
    }

    /// Gives its bytes in pieces of these sizes, then one by one.
    pub(in super::super) struct Pieces<'b>(
        pub(in super::super) &'b [u8],
        pub(in super::super) Vec<usize>,
    );

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = self.1.pop().unwrap_or(1).min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    const NUMBERS: [&str; 8] = [
        "310000027",
        "310000507",
        "310000515",
        "310000523",
        "310000604",
        "310000612",
        "310000620",
        "310000701",
    ];

    /// A tree of parties in which each number stands once, and what is to be kept of it.
    fn tree() -> impl Strategy<Value = (Value, Vec<PartyRights>)> {
        let one = (0..3usize, any::<[bool; 7]>(), "\\PC{0,9}");
        let order = Just(NUMBERS.to_vec()).prop_shuffle();
        (order, proptest::collection::vec(one, 0..8)).prop_map(|(numbers, parties)| {
            let (mut top, mut kept) = (Vec::<Value>::new(), Vec::new());
            for (number, (place, [lonn, skatt, arkiv, other, deleted, hollow, person], name)) in
                numbers.into_iter().zip(parties)
            {
                let pick = |list: &[(&'static str, bool)]| -> Vec<&str> {
                    list.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect()
                };
                let packages = pick(&[("lonn", lonn), ("skattegrunnlag", skatt), ("annet", other)]);
                let resources = pick(&[("ske-arkiv", arkiv), ("app_a_b", other)]);
                let mut party = party(number, &packages, &resources);
                party["name"] = json!(name);
                party["isDeleted"] = json!(deleted);
                party["onlyHierarchyElementWithNoAccess"] = json!(hollow);
                if person {
                    party["type"] = json!("Person");
                }
                let ours = (lonn || skatt || arkiv) && !deleted && !hollow && !person;
                if ours {
                    let packages = pick(&[("lonn", lonn), ("skattegrunnlag", skatt)]);
                    kept.push(rights(number, &packages, &pick(&[("ske-arkiv", arkiv)])));
                }
                match (place, top.last_mut()) {
                    (1 | 2, Some(main)) => {
                        let units = main["subunits"].as_array_mut().unwrap();
                        match (place, units.last_mut()) {
                            (2, Some(unit)) => {
                                unit["subunits"].as_array_mut().unwrap().push(party);
                            }
                            _ => units.push(party),
                        }
                    }
                    _ => top.push(party),
                }
            }
            kept.sort_by_key(|rights| rights.party);
            (Value::Array(top), kept)
        })
    }

    proptest! {
        #[test]
        fn any_tree_in_any_pieces_is_read_the_same(
            (answer, kept) in tree(),
            pieces in proptest::collection::vec(1..200usize, 0..60),
            pretty in any::<bool>(),
        ) {
            let text = if pretty { format!("{answer:#}") } else { answer.to_string() };
            let told = read_parties(Pieces(text.as_bytes(), pieces), &wanted(), CheckDigits::Required);
            prop_assert_eq!(told.map(|told| told.parties), Ok(kept));
        }

        #[test]
        fn no_part_of_an_answer_is_taken_for_the_whole((answer, _) in tree(), cut in any::<prop::sample::Index>()) {
            let text = answer.to_string();
            let cut = cut.index(text.len());
            prop_assert_eq!(told(&text.as_bytes()[..cut]), Err(Unreadable));
        }

        #[test]
        fn a_known_member_that_stands_twice_spoils_the_answer(
            (answer, _) in tree(), name in 0..7usize, upper in any::<bool>(),
        ) {
            let text = answer.to_string();
            let name = Party::NAMES[name];
            let again = if upper { name.to_uppercase() } else { name.to_owned() };
            let value = answer[0].get(name).map(Value::to_string);
            if let Some(value) = value {
                let doubled = text.replacen("{\"", &format!("{{\"{again}\":{value},\""), 1);
                prop_assert_eq!(told(doubled.as_bytes()), Err(Unreadable));
            }
        }

        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = told(&bytes);
        }
    }
}
