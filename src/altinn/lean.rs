//! JSON read as it arrives: what is not named is passed over without being kept. Pure.
//!
//! Member names are matched in any case, as Altinn writes both; a named member that stands twice in an
//! object, in any case, is an error. Bytes must be UTF-8 throughout, also in what is passed over. Errors
//! are told without their texts, which may quote the answer.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::{self, BufReader, Read};

const BUFFER_BYTES: usize = 64 * 1024;

/// Not what was expected, or cut short.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the answer cannot be read")]
pub struct Unreadable;

/// Reads exactly one JSON value of `source` with `seed`.
pub(super) fn read<S>(source: impl Read, seed: S) -> Result<(), Unreadable>
where
    S: for<'de> DeserializeSeed<'de, Value = ()>,
{
    let source = BufReader::with_capacity(BUFFER_BYTES, Utf8 { source, open: Vec::new() });
    let mut deserializer = serde_json::Deserializer::from_reader(source);
    seed.deserialize(&mut deserializer).map_err(|_| Unreadable)?;
    deserializer.end().map_err(|_| Unreadable)
}

/// Lets UTF-8 through and nothing else.
struct Utf8<R> {
    source: R,
    /// The beginning of a character whose rest has not come yet.
    open: Vec<u8>,
}

impl<R: Read> Read for Utf8<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.open.extend_from_slice(buffer.get(..length).unwrap_or_default());
        match std::str::from_utf8(&self.open) {
            Ok(_) => self.open.clear(),
            Err(error) if error.error_len().is_none() && length > 0 => {
                self.open.drain(..error.valid_up_to());
            }
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(length)
    }
}

/// An object of which some members matter.
pub(super) trait Members {
    /// Their names, at most 32.
    const NAMES: &'static [&'static str];

    /// Takes the value of the member of that place in [`Self::NAMES`].
    fn take<'de, A: MapAccess<'de>>(&mut self, name: usize, map: &mut A) -> Result<(), A::Error>;
}

/// Reads an object.
pub(super) struct Object<'m, M>(pub(super) &'m mut M);

impl<'de, M: Members> DeserializeSeed<'de> for Object<'_, M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, M: Members> Visitor<'de> for Object<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = 0_u32;
        while let Some(name) = map.next_key_seed(Name(M::NAMES))? {
            let Some(name) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let bit = 1 << name;
            if seen & bit != 0 {
                return Err(A::Error::custom("a member stands twice"));
            }
            seen |= bit;
            self.0.take(name, &mut map)?;
        }
        Ok(())
    }
}

/// The place of a name in a list, if it is there.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|ours| ours.eq_ignore_ascii_case(name)))
    }
}

/// What an array holds.
pub(super) trait Elements {
    /// Takes the next element; `None` at the end.
    fn take<'de, A: SeqAccess<'de>>(&mut self, array: &mut A) -> Result<Option<()>, A::Error>;
}

/// Reads an array.
pub(super) struct List<'e, E> {
    pub(super) elements: &'e mut E,
    /// Whether `null` stands for an empty one.
    pub(super) or_null: bool,
}

impl<'de, E: Elements> DeserializeSeed<'de> for List<'_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E: Elements> Visitor<'de> for List<'_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<X: Error>(self) -> Result<(), X> {
        if self.or_null { Ok(()) } else { Err(X::custom("null for an array")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while self.elements.take(&mut array)?.is_some() {}
        Ok(())
    }
}

/// Reads a text, or `null`, which gives `None`.
pub(super) struct Text<F>(pub(super) F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Text<F> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some((self.0)(text)))
    }
}

/// Texts of an array, each told as it comes.
pub(super) struct Texts<F>(pub(super) F);

impl<F: FnMut(&str)> Elements for Texts<F> {
    fn take<'de, A: SeqAccess<'de>>(&mut self, array: &mut A) -> Result<Option<()>, A::Error> {
        match array.next_element_seed(Text(|text: &str| (self.0)(text)))? {
            None => Ok(None),
            Some(Some(())) => Ok(Some(())),
            Some(None) => Err(A::Error::custom("null among texts")),
        }
    }
}
