//! The catalogue of access packages as Altinn writes it: groups, areas, packages. Pure.
//!
//! Source: contract authorization.md §7. Authorized parties name a package by its code, policies by the
//! suffix of its URN. The catalogue has the URN; the code is its suffix but for one known package. Where a
//! catalogue gives a code, that one counts.

use super::lean::{self, Elements, List, Members, Object, Text, Unreadable};
use crate::domain::delegation::{InvalidPackageId, PackageId};
use serde::de::{Error, MapAccess, SeqAccess};
use std::collections::HashMap;
use std::io::Read;

/// Largest catalogue, in bytes: it lists the resources of each package too.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Most packages; Altinn has 223.
const MAX_PACKAGES: usize = 10_000;
const URN_PREFIX: &str = "urn:altinn:accesspackage:";
/// Suffixes whose code is another word: contract authorization.md §6.
const OTHER_CODES: [(&str, &str); 1] = [(
    "namsmannen-tvangsfullbyrdelse-forliksradet",
    "vergemal-namsmannen-tvangsfullbyrdelse-forliksradet",
)];

/// Reads a catalogue: URN suffixes by code.
///
/// # Errors
/// `Unreadable` for anything but a whole catalogue of known shape, for one without a package, and for a
/// code of two packages.
pub fn read_packages(answer: impl Read) -> Result<HashMap<String, PackageId>, Unreadable> {
    let mut catalogue = Catalogue::default();
    lean::read(answer, Groups(&mut catalogue))?;
    if catalogue.by_code.is_empty() { Err(Unreadable) } else { Ok(catalogue.by_code) }
}

#[derive(Default)]
struct Catalogue {
    by_code: HashMap<String, PackageId>,
}

impl Catalogue {
    fn put<E: Error>(&mut self, package: Package) -> Result<(), E> {
        let suffix = package.suffix.ok_or_else(|| E::custom("a package without a URN"))?;
        // A URN of another form: a policy that names it cannot be read either.
        let Ok(suffix) = suffix else { return Ok(()) };
        let code = package.code.unwrap_or_else(|| {
            let other = OTHER_CODES.iter().find(|(known, _)| *known == suffix.as_str());
            other.map_or(suffix.as_str(), |(_, code)| code).to_owned()
        });
        if self.by_code.len() >= MAX_PACKAGES {
            return Err(E::custom("too many packages"));
        }
        match self.by_code.insert(code, suffix.clone()) {
            // The same package may stand in two areas.
            Some(before) if before != suffix => Err(E::custom("a code of two packages")),
            Some(_) | None => Ok(()),
        }
    }
}

/// The answer as a whole.
struct Groups<'c>(&'c mut Catalogue);

impl<'de> serde::de::DeserializeSeed<'de> for Groups<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let mut groups = Nested { catalogue: self.0, level: Level::Groups };
        List { elements: &mut groups, or_null: false }.deserialize(deserializer)
    }
}

#[derive(Clone, Copy)]
enum Level {
    Groups,
    Areas,
}

/// Groups, or the areas of one.
struct Nested<'c> {
    catalogue: &'c mut Catalogue,
    level: Level,
}

impl Elements for Nested<'_> {
    fn take<'de, A: SeqAccess<'de>>(&mut self, array: &mut A) -> Result<Option<()>, A::Error> {
        match self.level {
            Level::Groups => {
                let mut group = Group { catalogue: self.catalogue, found: false };
                let taken = array.next_element_seed(Object(&mut group))?;
                complete(taken, group.found)
            }
            Level::Areas => {
                let mut area = Area { catalogue: self.catalogue, found: false };
                let taken = array.next_element_seed(Object(&mut area))?;
                complete(taken, area.found)
            }
        }
    }
}

/// A group without areas, or an area without packages, is not what the contract shows.
fn complete<E: Error>(taken: Option<()>, found: bool) -> Result<Option<()>, E> {
    match taken {
        Some(()) if !found => Err(E::custom("a part without its list")),
        taken => Ok(taken),
    }
}

struct Group<'c> {
    catalogue: &'c mut Catalogue,
    found: bool,
}

impl Members for Group<'_> {
    const NAMES: &'static [&'static str] = &["areas"];

    fn take<'de, A: MapAccess<'de>>(&mut self, _: usize, map: &mut A) -> Result<(), A::Error> {
        self.found = true;
        let mut areas = Nested { catalogue: self.catalogue, level: Level::Areas };
        map.next_value_seed(List { elements: &mut areas, or_null: true })
    }
}

struct Area<'c> {
    catalogue: &'c mut Catalogue,
    found: bool,
}

impl Members for Area<'_> {
    const NAMES: &'static [&'static str] = &["packages"];

    fn take<'de, A: MapAccess<'de>>(&mut self, _: usize, map: &mut A) -> Result<(), A::Error> {
        self.found = true;
        let mut packages = Packages(self.catalogue);
        map.next_value_seed(List { elements: &mut packages, or_null: true })
    }
}

struct Packages<'c>(&'c mut Catalogue);

impl Elements for Packages<'_> {
    fn take<'de, A: SeqAccess<'de>>(&mut self, array: &mut A) -> Result<Option<()>, A::Error> {
        let mut package = Package::default();
        if array.next_element_seed(Object(&mut package))?.is_none() {
            return Ok(None);
        }
        self.0.put(package).map(Some)
    }
}

#[derive(Default)]
struct Package {
    suffix: Option<Result<PackageId, InvalidPackageId>>,
    code: Option<String>,
}

impl Members for Package {
    const NAMES: &'static [&'static str] = &["urn", "code"];

    fn take<'de, A: MapAccess<'de>>(&mut self, name: usize, map: &mut A) -> Result<(), A::Error> {
        if name == 0 {
            let read = |urn: &str| urn.strip_prefix(URN_PREFIX).ok_or(InvalidPackageId)?.parse();
            self.suffix = map.next_value_seed(Text(read))?;
        } else {
            self.code = map.next_value_seed(Text(str::to_owned))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn catalogue(packages: &[Value]) -> Value {
        json!([
            { "id": "1", "name": "Allment", "areas": [
                { "id": "2", "name": "Skatt", "packages": packages },
                { "id": "3", "name": "Tom", "packages": [] },
            ] },
            { "id": "4", "name": "Tom", "areas": null },
        ])
    }

    fn package(suffix: &str) -> Value {
        json!({ "id": "5", "name": "x", "urn": format!("{URN_PREFIX}{suffix}"), "description": "y",
            "isDelegable": true, "resources": [{ "refId": "r", "urn": "urn:altinn:resource:r" }] })
    }

    fn read(answer: &Value) -> Result<Vec<(String, String)>, Unreadable> {
        let packages = read_packages(answer.to_string().as_bytes())?.into_iter();
        let mut packages: Vec<_> =
            packages.map(|(code, suffix)| (code, suffix.as_str().to_owned())).collect();
        packages.sort();
        Ok(packages)
    }

    fn pair(code: &str, suffix: &str) -> (String, String) {
        (code.to_owned(), suffix.to_owned())
    }

    #[test]
    fn a_code_is_the_suffix_of_the_urn_unless_the_catalogue_or_the_contract_says_otherwise() {
        let mut coded = package("skattegrunnlag");
        coded["code"] = json!("skatt");
        let mut no_code = package("lonn");
        no_code["code"] = json!(null);
        let odd = json!({ "urn": "urn:altinn:other:x" });
        let answer = catalogue(&[
            coded,
            no_code,
            package("namsmannen-tvangsfullbyrdelse-forliksradet"),
            package("lonn"),
            odd,
        ]);
        let expected = vec![
            pair("lonn", "lonn"),
            pair("skatt", "skattegrunnlag"),
            pair(
                "vergemal-namsmannen-tvangsfullbyrdelse-forliksradet",
                "namsmannen-tvangsfullbyrdelse-forliksradet",
            ),
        ];
        assert_eq!(read(&answer), Ok(expected));
    }

    #[test]
    fn a_catalogue_that_is_not_understood_is_none() {
        let mut other = package("lonn");
        other["code"] = json!("skattegrunnlag");
        let good = catalogue(&[package("lonn")]);
        let cases = [
            json!(null),
            json!({}),
            json!([]),
            json!([{ "areas": [] }]),
            json!([{ "name": "x" }]),
            json!([{ "areas": [{ "name": "x" }] }]),
            json!([{ "areas": {} }]),
            catalogue(&[]),
            catalogue(&[json!({ "name": "x" })]),
            catalogue(&[json!({ "urn": null })]),
            catalogue(&[json!({ "urn": 7 })]),
            catalogue(&[json!("lonn")]),
            catalogue(&[package("skattegrunnlag"), other]),
            json!([good.clone()]),
        ];
        assert_eq!(read(&good), Ok(vec![pair("lonn", "lonn")]));
        for answer in cases {
            assert_eq!(read(&answer), Err(Unreadable), "{answer}");
        }
        let text = good.to_string();
        let twice = text.replacen("\"areas\":", "\"Areas\":[],\"areas\":", 1);
        assert_eq!(read_packages(twice.as_bytes()), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn no_part_of_a_catalogue_is_taken_for_the_whole(cut in any::<prop::sample::Index>()) {
            let text = catalogue(&[package("lonn"), package("skattegrunnlag")]).to_string();
            let cut = cut.index(text.len());
            prop_assert_eq!(read_packages(&text.as_bytes()[..cut]), Err(Unreadable));
        }
    }
}
