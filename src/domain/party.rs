//! Whom a call concerns: an organisation or a person, by national number.

use std::fmt;
use std::str::FromStr;

/// Organisation number (organisasjonsnummer): nine digits, the last a modulus-11 check digit.
/// Source: Brønnøysundregistrene.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OrgNumber([u8; 9]);

/// Not an organisation number. Carries no copy of the text, which may be personal data.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an organisation number: nine digits with a right modulus-11 check digit")]
pub struct InvalidOrgNumber;

/// Whether the check digit of an organisation number must be right.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CheckDigits {
    /// As everywhere in the real world, synthetic test data (Tenor) included.
    #[default]
    Required,
    /// For load tests with made-up numbers; the configuration allows it in a custom environment only.
    Ignored,
}

impl OrgNumber {
    /// Parses nine ASCII digits and nothing else: no prefix, space or sign.
    ///
    /// # Errors
    /// [`InvalidOrgNumber`] for any other text, and for a wrong check digit where it is required.
    pub fn parse(text: &str, check: CheckDigits) -> Result<Self, InvalidOrgNumber> {
        const WEIGHTS: [u32; 9] = [3, 2, 7, 6, 5, 4, 3, 2, 1];
        let digits = ascii_digits::<9>(text).ok_or(InvalidOrgNumber)?;
        match check {
            CheckDigits::Required if !divisible_by_11(&digits, &WEIGHTS) => Err(InvalidOrgNumber),
            CheckDigits::Required | CheckDigits::Ignored => Ok(Self(digits)),
        }
    }

    /// The nine digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // INVARIANT: `parse` is the only constructor and lets ASCII digits through only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The nine digits as a number below 1,000,000,000: how many of them are kept in little room.
    #[must_use]
    pub fn packed(&self) -> u32 {
        self.0.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    }

    /// What [`packed`](Self::packed) made; `None` for a number of ten digits. The check digit was looked
    /// at when the text was parsed.
    #[must_use]
    pub fn from_packed(number: u32) -> Option<Self> {
        let mut digits = [b'0'; 9];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(rest % 10).ok()?;
            rest /= 10;
        }
        (rest == 0).then_some(Self(digits))
    }
}

impl FromStr for OrgNumber {
    type Err = InvalidOrgNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, CheckDigits::Required)
    }
}

impl fmt::Display for OrgNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// National identity number (fødselsnummer or D-nummer): eleven digits, the last two modulus-11
/// check digits. Personal data: `Debug` shows nothing, there is no `Display`.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct PersonNumber([u8; 11]);

/// Not a national identity number. Carries no copy of the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a national identity number")]
pub struct InvalidPersonNumber;

impl PersonNumber {
    /// The eleven digits, for the wire to Altinn, the upstream and the keyed pseudonym only.
    #[must_use]
    pub fn expose(&self) -> &str {
        // INVARIANT: `from_str` is the only constructor and lets ASCII digits through only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for PersonNumber {
    type Err = InvalidPersonNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FIRST: [u32; 10] = [3, 7, 6, 1, 8, 9, 4, 5, 2, 1];
        const SECOND: [u32; 11] = [5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1];
        let digits = ascii_digits::<11>(text).ok_or(InvalidPersonNumber)?;
        if divisible_by_11(&digits, &FIRST) && divisible_by_11(&digits, &SECOND) {
            Ok(Self(digits))
        } else {
            Err(InvalidPersonNumber)
        }
    }
}

impl fmt::Debug for PersonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonNumber(redacted)")
    }
}

/// The party (aktør) a request concerns.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Party {
    /// An organisation.
    Organization(OrgNumber),
    /// A person, where a route says that it takes persons.
    Person(PersonNumber),
}

impl Party {
    /// The attribute that names this party to Altinn's PDP. Source: contract authorization.md §2.1.
    #[must_use]
    pub fn attribute_id(&self) -> &'static str {
        match self {
            Self::Organization(_) => "urn:altinn:organization:identifier-no",
            Self::Person(_) => "urn:altinn:person:identifier-no",
        }
    }

    /// The number itself, personal data included: for the wire, never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Organization(number) => number.as_str(),
            Self::Person(number) => number.expose(),
        }
    }
}

fn ascii_digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: [u8; N] = text.as_bytes().try_into().ok()?;
    digits.iter().all(u8::is_ascii_digit).then_some(digits)
}

fn divisible_by_11(digits: &[u8], weights: &[u32]) -> bool {
    let sum: u32 =
        digits.iter().zip(weights).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    sum.is_multiple_of(11)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_organisation_number_is_nine_digits_with_a_right_check_digit() {
        assert_eq!("310000027".parse::<OrgNumber>().unwrap().as_str(), "310000027");
        let refused = [
            ("310000028", "wrong check digit"),
            ("31000002", "eight digits"),
            ("3100000270", "ten digits"),
            ("0192:310000027", "prefix"),
            (" 310000027", "space"),
            ("+31000002", "sign"),
            ("３１００００２７", "full-width digits"),
            ("", "empty"),
        ];
        for (text, why) in refused {
            assert!(text.parse::<OrgNumber>().is_err(), "{why}");
        }
    }

    #[test]
    fn a_made_up_number_passes_only_where_check_digits_are_ignored() {
        assert!(OrgNumber::parse("910000123", CheckDigits::Required).is_err());
        assert!(OrgNumber::parse("910000123", CheckDigits::Ignored).is_ok());
        assert!(OrgNumber::parse("91000012x", CheckDigits::Ignored).is_err());
    }

    #[test]
    fn a_packed_number_comes_back_with_its_leading_zeros() {
        for text in ["310000027", "000000000", "000000001", "999999999"] {
            let number = OrgNumber::parse(text, CheckDigits::Ignored).unwrap();
            assert_eq!(OrgNumber::from_packed(number.packed()), Some(number));
        }
        assert_eq!(OrgNumber::from_packed(1_000_000_000), None);
    }

    #[test]
    fn a_national_identity_number_is_never_printed() {
        let number: PersonNumber = "01010750160".parse().unwrap();
        assert_eq!(number.expose(), "01010750160");
        assert!(!format!("{number:?} {:?}", Party::Person(number)).contains("0101"));
        assert!("01010750161".parse::<PersonNumber>().is_err(), "second check digit");
        assert!("01010750150".parse::<PersonNumber>().is_err(), "first check digit");
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_it_was_written(text in "\\PC{0,12}") {
            if let Ok(number) = text.parse::<OrgNumber>() {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
