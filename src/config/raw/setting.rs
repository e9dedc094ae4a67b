//! The building blocks of the raw shapes: a value with its place, times and sizes with their units.

use crate::config::error::Place;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::SecretString;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// The name by which a [`Setting`] asks its deserializer for a value with its place.
pub(in crate::config) const PLACED: &str = "portvakt:placed";

/// A value that may be written, and where it is.
#[derive(Clone, Debug, Default)]
pub enum Setting<T> {
    /// Not written.
    #[default]
    Absent,
    /// Written, but not as a `T`; the problem has been reported.
    Wrong(Place),
    /// Written.
    Written(T, Place),
}

impl<T> Setting<T> {
    pub(in crate::config) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(in crate::config) fn value(&self) -> Option<&T> {
        match self {
            Self::Written(value, _) => Some(value),
            Self::Absent | Self::Wrong(_) => None,
        }
    }

    pub(in crate::config) fn place(&self) -> Option<&Place> {
        match self {
            Self::Written(_, place) | Self::Wrong(place) => Some(place),
            Self::Absent => None,
        }
    }

    pub(in crate::config) fn written(&self) -> Option<(&T, &Place)> {
        self.value().zip(self.place())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(PLACED, PlacedVisitor(PhantomData))
    }
}

struct PlacedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PlacedVisitor<T> {
    type Value = Setting<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Setting<T>, A::Error> {
        let missing = || A::Error::custom("a value without its place");
        let place = Place {
            key: parts.next_element()?.ok_or_else(missing)?,
            line: parts.next_element()?.ok_or_else(missing)?,
            column: parts.next_element()?.ok_or_else(missing)?,
        };
        // The deserializer has reported why; the neighbours are still to be read.
        Ok(match parts.next_element::<T>() {
            Ok(Some(value)) => Setting::Written(value, place),
            Ok(None) | Err(_) => Setting::Wrong(place),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Setting<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A time with its unit, such as `250ms`, `15s`, `5m`, `1h` or `2d`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("pattern" = "^[0-9]+(ms|s|m|h|d)$"))]
pub struct Time(String);

/// A number of bytes: `4096`, `64KiB`, `10MB`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Size(String);

/// A number of bytes, or `unlimited`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct SizeOrUnlimited(String);

/// A whole number, at least 1.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("minimum" = 1))]
pub struct Count(u64);

/// A share, from 0 to 1: `0.05`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Ratio(String);

/// A secret written in the file itself.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

/// A time or a size that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::config) enum InvalidMeasure {
    /// A time without unit, or no time at all.
    #[error("not a time: digits and one of the units ms, s, m, h and d")]
    Time,
    /// Beyond a year: timers need not reach further.
    #[error("longer than a year")]
    TooLong,
    /// No number of bytes.
    #[error("not a size: digits and, if any, one of the units kB, KiB, MB, MiB, GB and GiB")]
    Size,
    /// Nothing fits into it.
    #[error("zero, which never means unlimited")]
    Zero,
    /// Beyond what a program can count on.
    #[error("too large")]
    TooLarge,
    /// No share.
    #[error("not a number from 0 to 1 with at most six decimals")]
    Ratio,
}

impl InvalidMeasure {
    pub(in crate::config) fn cure(self) -> &'static str {
        match self {
            Self::Time => "write it like `250ms`, `15s`, `5m`, `1h` or `2d`",
            Self::TooLong => "write at most `366d`",
            Self::Size => "write it like `4096`, `64KiB` or `10MB`",
            Self::Zero => "write at least 1; where there may be no bound, write `unlimited`",
            Self::TooLarge => "write less",
            Self::Ratio => "write it like `0.05`, which is one in twenty",
        }
    }
}

impl Time {
    pub(in crate::config) fn parse(&self) -> Result<Duration, InvalidMeasure> {
        const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
        let (number, unit) = split(&self.0).ok_or(InvalidMeasure::Time)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(InvalidMeasure::Time),
        };
        let number: u64 = number.parse().map_err(|_| InvalidMeasure::TooLong)?;
        let time = Duration::from_millis(number.saturating_mul(milliseconds));
        if time > LONGEST { Err(InvalidMeasure::TooLong) } else { Ok(time) }
    }
}

impl Ratio {
    /// In millionths.
    pub(in crate::config) fn parse(&self) -> Result<u32, InvalidMeasure> {
        per_million(&self.0).ok_or(InvalidMeasure::Ratio)
    }
}

/// A share from 0 to 1, in millionths.
pub(in crate::config) fn per_million(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits =
        (1..=6).contains(&decimals.len()) && decimals.bytes().all(|it| it.is_ascii_digit());
    let share: u32 = format!("{decimals:0<6}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(share),
        "1" if share == 0 => Some(1_000_000),
        _ => None,
    }
}

impl Size {
    pub(in crate::config) fn parse(&self) -> Result<u64, InvalidMeasure> {
        let (number, unit) = split(&self.0).ok_or(InvalidMeasure::Size)?;
        let bytes: u64 = match unit {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return Err(InvalidMeasure::Size),
        };
        let size = number.parse().ok().and_then(|number: u64| number.checked_mul(bytes));
        match size.ok_or(InvalidMeasure::TooLarge)? {
            0 => Err(InvalidMeasure::Zero),
            size => Ok(size),
        }
    }
}

impl SizeOrUnlimited {
    pub(in crate::config) fn parse(&self) -> Result<Option<u64>, InvalidMeasure> {
        if self.0 == "unlimited" { Ok(None) } else { Size(self.0.clone()).parse().map(Some) }
    }
}

impl Count {
    pub(in crate::config) fn get(self) -> u64 {
        self.0
    }
}

impl Secret {
    pub(in crate::config) fn get(&self) -> &SecretString {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "A number of bytes: `4096`, `64KiB`, `10MB`.",
            "type": ["integer", "string"],
            "minimum": 1,
            "pattern": "^0*[1-9][0-9]*(B|kB|KB|KiB|MB|MiB|GB|GiB)?$",
        })
    }
}

impl JsonSchema for Ratio {
    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "A share, from 0 to 1, with at most six decimals.",
            "type": "number",
            "minimum": 0,
            "maximum": 1,
        })
    }
}

impl JsonSchema for SizeOrUnlimited {
    fn schema_name() -> Cow<'static, str> {
        "SizeOrUnlimited".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let size = generator.subschema_for::<Size>();
        schemars::json_schema!({ "anyOf": [{ "const": "unlimited" }, size] })
    }
}

/// Splits at the end of the leading digits; `None` without any.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(number, _)| !number.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_an_end() {
        let cases = [
            ("0s", Ok(0)),
            ("250ms", Ok(250)),
            ("15s", Ok(15_000)),
            ("5m", Ok(300_000)),
            ("1h", Ok(3_600_000)),
            ("366d", Ok(366 * 86_400_000)),
            ("367d", Err(InvalidMeasure::TooLong)),
            ("99999999999999999999s", Err(InvalidMeasure::TooLong)),
            ("18446744073709551615d", Err(InvalidMeasure::TooLong)),
            ("15", Err(InvalidMeasure::Time)),
            ("1.5s", Err(InvalidMeasure::Time)),
            ("-1s", Err(InvalidMeasure::Time)),
            ("1 s", Err(InvalidMeasure::Time)),
            ("1S", Err(InvalidMeasure::Time)),
            ("s", Err(InvalidMeasure::Time)),
            ("", Err(InvalidMeasure::Time)),
            ("1sé", Err(InvalidMeasure::Time)),
        ];
        for (text, expected) in cases {
            let parsed = Time(text.into()).parse();
            assert_eq!(parsed, expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_ratio_is_a_share_in_millionths() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1_000_000)),
            ("1.0", Some(1_000_000)),
            ("0.05", Some(50_000)),
            ("0.000001", Some(1)),
            ("0.0000001", None),
            ("1.1", None),
            ("2", None),
            ("-0.1", None),
            ("0.", None),
            (".5", None),
            ("0.+5", None),
            ("1e-3", None),
            ("", None),
        ] {
            assert_eq!(per_million(text), expected, "{text}");
        }
    }

    #[test]
    fn a_size_is_never_zero() {
        let cases = [
            ("1", Ok(1)),
            ("64KiB", Ok(65_536)),
            ("10MB", Ok(10_000_000)),
            ("1GiB", Ok(1 << 30)),
            ("0", Err(InvalidMeasure::Zero)),
            ("0KiB", Err(InvalidMeasure::Zero)),
            ("64K", Err(InvalidMeasure::Size)),
            ("64 KiB", Err(InvalidMeasure::Size)),
            ("KiB", Err(InvalidMeasure::Size)),
            ("99999999999GiB", Err(InvalidMeasure::TooLarge)),
        ];
        for (text, expected) in cases {
            assert_eq!(Size(text.into()).parse(), expected, "{text}");
        }
        assert_eq!(SizeOrUnlimited("unlimited".into()).parse(), Ok(None));
        assert_eq!(SizeOrUnlimited("0".into()).parse(), Err(InvalidMeasure::Zero));
    }
}
