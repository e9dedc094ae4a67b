//! From the tree to the raw shapes, by serde, without stopping at the first problem.
//!
//! Three things make that work: the tree can be read from anywhere, so a value that fails does not
//! spoil its neighbours; every value of a raw shape is a `Setting`, which becomes `Wrong` where it
//! would have failed; and a struct tells its keys, so unknown ones are reported here and passed over.

use super::error::{Place, Sink};
use super::raw::PLACED;
use super::yaml::{Key, Kind, Node, shown};
use serde::de::value::{StrDeserializer, UsizeDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt;
use std::rc::Rc;

/// Why a value does not fit its shape.
#[derive(Debug)]
pub(super) struct Misfit {
    message: String,
    cure: String,
}

impl Misfit {
    fn new(message: impl fmt::Display, cure: impl fmt::Display) -> Self {
        Self { message: message.to_string(), cure: cure.to_string() }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message, "config/reference.yaml shows what is written here")
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new("none of the words that are known here", suggest(variant, expected))
    }
}

/// A value on its way into a shape.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) node: &'a Node,
    pub(super) key: String,
    pub(super) sink: &'a Sink,
}

impl Value<'_> {
    fn place(&self) -> Place {
        self.node.place(&self.key)
    }

    fn child<'a>(&'a self, name: &str, node: &'a Node) -> Value<'a> {
        Value { node, key: self.place().child(name).key, sink: self.sink }
    }

    fn text(&self, wanted: &str) -> Result<&str, Misfit> {
        self.node.text().ok_or_else(|| self.other_kind(wanted))
    }

    fn other_kind(&self, wanted: &str) -> Misfit {
        let found = match &self.node.kind {
            Kind::Null => {
                let cure = format!("write {wanted}, or take the key away");
                return Misfit::new("nothing is written here", cure);
            }
            Kind::Plain(_) | Kind::Quoted(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        };
        Misfit::new(format!("{found} where {wanted} should be"), format!("write {wanted}"))
    }

    fn members(&self) -> Result<&[(Key, Rc<Node>)], Misfit> {
        match &self.node.kind {
            Kind::Map(members) => Ok(members),
            Kind::Null | Kind::Plain(_) | Kind::Quoted(_) | Kind::List(_) => {
                Err(self.other_kind("a mapping of keys to values"))
            }
        }
    }

    fn refuse_unknown(&self, key: &Key, known: &[&str]) {
        let at = self.place().child(&shown(&key.name)).key;
        let place = Place { key: at, line: key.line, column: key.column };
        self.sink.report(&place, "unknown key", suggest(&key.name, known));
    }
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.kind {
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
            Kind::Null | Kind::Plain(_) | Kind::Quoted(_) => self.deserialize_str(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.kind {
            Kind::Plain(text) if text == "true" => visitor.visit_bool(true),
            Kind::Plain(text) if text == "false" => visitor.visit_bool(false),
            Kind::Plain(_) | Kind::Quoted(_) => Err(Misfit::new(
                "neither `true` nor `false`",
                "write true or false, without quotes",
            )),
            Kind::Null | Kind::List(_) | Kind::Map(_) => Err(self.other_kind("true or false")),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.kind {
            Kind::Plain(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number = text.parse().map_err(|_| {
                    Misfit::new("a number beyond all measure", "write a smaller number")
                })?;
                visitor.visit_u64(number)
            }
            Kind::Plain(_) | Kind::Quoted(_) => Err(Misfit::new(
                "not a whole number",
                "write digits only, without quotes, sign, point or unit",
            )),
            Kind::Null | Kind::List(_) | Kind::Map(_) => Err(self.other_kind("a whole number")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_str(self.text("text")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        if name == PLACED {
            visitor.visit_seq(Placed { value: self, next: 0 })
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.kind {
            Kind::List(items) => {
                visitor.visit_seq(Items { list: &self, rest: items.iter(), next: 0 })
            }
            Kind::Null | Kind::Plain(_) | Kind::Quoted(_) | Kind::Map(_) => {
                Err(self.other_kind("a list such as [one, two]"))
            }
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let rest = self.members()?.iter().rev().collect();
        visitor.visit_map(Members { map: &self, rest, value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let (mut rest, unknown): (Vec<_>, Vec<_>) =
            self.members()?.iter().partition(|(key, _)| known.contains(&key.name.as_str()));
        for (key, _) in unknown {
            self.refuse_unknown(key, known);
        }
        rest.reverse();
        visitor.visit_map(Members { map: &self, rest, value: None })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match &self.node.kind {
            Kind::Plain(word) | Kind::Quoted(word) => {
                visitor.visit_enum(StrDeserializer::new(word))
            }
            Kind::Map(members) => match members.as_slice() {
                [(key, node)] => {
                    let value = self.child(&key.name, node);
                    visitor.visit_enum(Variant { name: &key.name, value })
                }
                _ => Err(Misfit::new("several keys where one is wanted", "keep one of them")),
            },
            Kind::Null | Kind::List(_) => Err(self.other_kind("a word")),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf option unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}

/// A value with its place before it: key, line, column, value.
struct Placed<'a> {
    value: Value<'a>,
    next: u8,
}

impl<'de> SeqAccess<'de> for Placed<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        self.next += 1;
        let number = UsizeDeserializer::new;
        let element = match self.next {
            1 => seed.deserialize(StrDeserializer::new(&self.value.key)),
            2 => seed.deserialize(number(self.value.node.line)),
            3 => seed.deserialize(number(self.value.node.column)),
            _ => seed.deserialize(self.value.clone()).inspect_err(|misfit: &Misfit| {
                self.value.sink.report(&self.value.place(), &misfit.message, &misfit.cure);
            }),
        };
        element.map(Some)
    }
}

struct Items<'a> {
    list: &'a Value<'a>,
    rest: std::slice::Iter<'a, Rc<Node>>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let key = format!("{}[{}]", self.list.key, self.next);
        self.next += 1;
        seed.deserialize(Value { node, key, sink: self.list.sink }).map(Some)
    }
}

struct Members<'a> {
    map: &'a Value<'a>,
    /// Those still to come, the next one last.
    rest: Vec<&'a (Key, Rc<Node>)>,
    value: Option<Value<'a>>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let Some((key, node)) = self.rest.pop() else { return Ok(None) };
        self.value = Some(self.map.child(&shown(&key.name), node));
        seed.deserialize(StrDeserializer::new(&key.name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let value = self.value.take().ok_or_else(|| Misfit::custom("a value without a key"))?;
        seed.deserialize(value)
    }
}

struct Variant<'a> {
    name: &'a str,
    value: Value<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Misfit;
    type Variant = Value<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Value<'a>), Misfit> {
        Ok((seed.deserialize(self.name.into_deserializer())?, self.value))
    }
}

impl<'de> VariantAccess<'de> for Value<'_> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        Err(Misfit::new("this word takes no value", "write the word alone"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Misfit> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_struct("", fields, visitor)
    }
}

/// The cure for a word that is not known: the nearest one that is, or all of them.
fn suggest(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("known here: `{}`", known.join("`, `")),
    }
}

/// Which of the words that are `known` may be meant, if one is like it.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min();
    near.map(|(_, candidate)| candidate)
}

/// Letters to change, add or take away (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    // A word far longer than any key is near none; this also bounds the work.
    let left: Vec<char> = left.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.iter().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        let mut next = vec![before];
        for (above, other) in row.iter().skip(1).zip(&right) {
            let changed = diagonal + usize::from(letter != other);
            before = changed.min(before + 1).min(above + 1);
            next.push(before);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("path", "path"), 0);
        assert_eq!(distance("pth", "path"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_gets_the_list() {
        assert_eq!(suggest("ressource", &["resource", "action"]), "did you mean `resource`?");
        assert_eq!(suggest("x", &["resource", "action"]), "known here: `resource`, `action`");
    }
}
