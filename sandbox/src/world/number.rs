//! The numbers by which parties are known: organisation numbers and national identity numbers.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `organisasjonsnummer`: nine digits with a modulus-11 check digit.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct OrgNumber([u8; 9]);

/// The text is not an organisation number.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not an organisation number: nine digits, the last one a modulus-11 check digit")]
pub(crate) struct InvalidOrgNumber;

impl OrgNumber {
    /// The first number there could be.
    pub(crate) const FIRST: Self = Self([b'0'; 9]);

    /// Reads a number.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidOrgNumber> {
        const WEIGHTS: [u32; 9] = [3, 2, 7, 6, 5, 4, 3, 2, 1];
        let digits: [u8; 9] = text.as_bytes().try_into().map_err(|_| InvalidOrgNumber)?;
        let mut sum = 0;
        for (digit, weight) in digits.iter().zip(WEIGHTS) {
            sum += char::from(*digit).to_digit(10).ok_or(InvalidOrgNumber)? * weight;
        }
        if sum % 11 == 0 { Ok(Self(digits)) } else { Err(InvalidOrgNumber) }
    }

    /// Reads `0192:` and a number, as Maskinporten and Altinn write organisations.
    pub(crate) fn parse_iso6523(text: &str) -> Result<Self, InvalidOrgNumber> {
        text.strip_prefix("0192:").ok_or(InvalidOrgNumber).and_then(Self::parse)
    }

    pub(crate) fn as_str(&self) -> &str {
        // INVARIANT: nine ASCII digits.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The object Maskinporten uses for organisations.
    pub(crate) fn iso6523(&self) -> serde_json::Value {
        serde_json::json!({ "authority": "iso6523-actorid-upis", "ID": format!("0192:{self}") })
    }
}

impl TryFrom<String> for OrgNumber {
    type Error = InvalidOrgNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<OrgNumber> for String {
    fn from(number: OrgNumber) -> Self {
        number.as_str().to_owned()
    }
}

impl fmt::Display for OrgNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Debug for OrgNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// `fødselsnummer`: eleven digits. The check digits are not looked at: everybody here is invented.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PersonNumber([u8; 11]);

/// The text is not a national identity number.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a national identity number: eleven digits")]
pub(crate) struct InvalidPersonNumber;

impl PersonNumber {
    /// Reads a number.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPersonNumber> {
        let digits: [u8; 11] = text.as_bytes().try_into().map_err(|_| InvalidPersonNumber)?;
        if digits.iter().all(u8::is_ascii_digit) {
            Ok(Self(digits))
        } else {
            Err(InvalidPersonNumber)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        // INVARIANT: eleven ASCII digits.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl TryFrom<String> for PersonNumber {
    type Error = InvalidPersonNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<PersonNumber> for String {
    fn from(number: PersonNumber) -> Self {
        number.as_str().to_owned()
    }
}

impl fmt::Display for PersonNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Debug for PersonNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PersonNumber(…)")
    }
}

/// Whose data: an organisation or a person.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum PartyNumber {
    Organization(OrgNumber),
    Person(PersonNumber),
}

/// The text is neither kind of number.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "not a party: an organisation number of nine digits or a national identity number of eleven"
)]
pub(crate) struct InvalidPartyNumber;

impl PartyNumber {
    /// The first number there could be.
    pub(crate) const FIRST: Self = Self::Organization(OrgNumber::FIRST);

    /// Reads either kind.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPartyNumber> {
        OrgNumber::parse(text)
            .map(Self::Organization)
            .or_else(|_| PersonNumber::parse(text).map(Self::Person))
            .map_err(|_| InvalidPartyNumber)
    }

    /// The organisation, if it is one.
    pub(crate) fn organization(self) -> Option<OrgNumber> {
        match self {
            Self::Organization(number) => Some(number),
            Self::Person(_) => None,
        }
    }
}

impl From<OrgNumber> for PartyNumber {
    fn from(number: OrgNumber) -> Self {
        Self::Organization(number)
    }
}

impl From<PersonNumber> for PartyNumber {
    fn from(number: PersonNumber) -> Self {
        Self::Person(number)
    }
}

impl TryFrom<String> for PartyNumber {
    type Error = InvalidPartyNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<PartyNumber> for String {
    fn from(number: PartyNumber) -> Self {
        number.to_string()
    }
}

impl fmt::Display for PartyNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(number) => number.fmt(formatter),
            Self::Person(number) => number.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisation_numbers_need_the_right_check_digit() {
        assert!(OrgNumber::parse("310000507").is_ok());
        assert!(OrgNumber::parse("310000508").is_err());
        assert!(OrgNumber::parse("31000050").is_err());
        assert!(OrgNumber::parse("3100005070").is_err());
        assert!(OrgNumber::parse_iso6523("0192:310000507").is_ok());
        assert!(OrgNumber::parse_iso6523("310000507").is_err());
    }

    #[test]
    fn a_party_is_one_or_the_other() {
        assert!(matches!(PartyNumber::parse("310000507"), Ok(PartyNumber::Organization(_))));
        assert!(matches!(PartyNumber::parse("01819049999"), Ok(PartyNumber::Person(_))));
        assert!(PartyNumber::parse("0181904999x").is_err());
        assert!(PartyNumber::parse("310000508").is_err());
    }

    #[test]
    fn a_national_identity_number_does_not_come_into_a_log() {
        let number = PersonNumber::parse("01819049999").unwrap();
        assert!(!format!("{number:?}").contains("0181"));
    }
}
