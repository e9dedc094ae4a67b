//! Comparing two values, as Altinn's PDP does it and as the standard does.

use super::names::{DataType, Function};

/// Whose rules a comparison follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reading {
    /// Altinn's PDP: contract authorization.md §5.
    Altinn,
    /// XACML 3.0.
    Standard,
}

/// Whether a policy's value is one of its data type, with nothing that readers see differently.
pub(super) fn is_value(data_type: DataType, text: &str) -> bool {
    match data_type {
        DataType::String | DataType::AnyUri => true,
        DataType::Integer => digits(text).is_some(),
    }
}

/// Whether `function` holds for the policy's value and the request's; `None` when the request's is not of
/// the type. Source: XACML 3.0 §A.3.1.
pub(super) fn holds(
    function: Function,
    reading: Reading,
    policy: &str,
    given: &str,
) -> Option<bool> {
    match function {
        // Altinn's PDP also takes some different spellings of a URI as equal, and fails on relative ones;
        // nothing is derived from such a comparison.
        Function::StringEqual | Function::AnyUriEqual => Some(policy == given),
        Function::StringEqualIgnoreCase => Some(equal_ignoring_case(reading, policy, given)),
        Function::IntegerEqual => integer_equal(reading, policy, given),
    }
}

fn equal_ignoring_case(reading: Reading, a: &str, b: &str) -> bool {
    match reading {
        Reading::Altinn => a.chars().map(upper).eq(b.chars().map(upper)),
        Reading::Standard => a.to_lowercase() == b.to_lowercase(),
    }
}

/// Upper case one by one, as .NET's `OrdinalIgnoreCase`: no letter becomes two, and none outside ASCII
/// becomes one of ASCII, such as the long s.
fn upper(letter: char) -> char {
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) if one.is_ascii() == letter.is_ascii() => one,
        _ => letter,
    }
}

fn integer_equal(reading: Reading, policy: &str, given: &str) -> Option<bool> {
    match reading {
        // 32 bits, white space allowed, and whatever cannot be read is not equal.
        Reading::Altinn => {
            let read = |text: &str| text.trim().parse::<i32>().ok();
            Some(read(policy).is_some_and(|policy| read(given) == Some(policy)))
        }
        Reading::Standard => Some(digits(policy)? == digits(given)?),
    }
}

/// Sign and digits without leading zeros: equal for equal integers of any size.
fn digits(text: &str) -> Option<(bool, &str)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let valid = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    let significant = unsigned.trim_start_matches('0');
    let negative = text.starts_with('-') && !significant.is_empty();
    valid.then_some((negative, significant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Function::{IntegerEqual, StringEqual, StringEqualIgnoreCase};
    use Reading::{Altinn, Standard};

    #[test]
    fn strings_are_compared_letter_by_letter_or_without_case() {
        for (function, policy, given, equal) in [
            (StringEqual, "dagl", "dagl", true),
            (StringEqual, "dagl", "DAGL", false),
            (StringEqual, "dagl", " dagl", false),
            (StringEqual, "admin", "superadmin", false),
            (StringEqualIgnoreCase, "dagl", "DAGL", true),
            (StringEqualIgnoreCase, "Lønn", "LØNN", true),
            (StringEqualIgnoreCase, "dagl", "dagl ", false),
        ] {
            for reading in [Altinn, Standard] {
                assert_eq!(
                    holds(function, reading, policy, given),
                    Some(equal),
                    "{policy} {given}"
                );
            }
        }
    }

    #[test]
    fn letters_that_only_the_standard_takes_as_equal_are_told_apart() {
        // The Kelvin sign becomes k in lower case and stays itself in upper case.
        assert_eq!(holds(StringEqualIgnoreCase, Standard, "\u{212a}", "k"), Some(true));
        assert_eq!(holds(StringEqualIgnoreCase, Altinn, "\u{212a}", "k"), Some(false));
        for reading in [Altinn, Standard] {
            assert_eq!(holds(StringEqualIgnoreCase, reading, "\u{17f}", "s"), Some(false));
            assert_eq!(holds(StringEqualIgnoreCase, reading, "\u{131}", "i"), Some(false));
        }
    }

    #[test]
    fn integers_are_compared_by_value() {
        let long = "0".repeat(50) + &"9".repeat(50);
        for (policy, given, standard, altinn) in [
            ("3", "03", Some(true), Some(true)),
            ("-0", "+0", Some(true), Some(true)),
            ("-1", "1", Some(false), Some(false)),
            ("3", "three", None, Some(false)),
            ("3", "3.0", None, Some(false)),
            ("3", "", None, Some(false)),
            (&long, &"9".repeat(50), Some(true), Some(false)),
        ] {
            assert_eq!(holds(IntegerEqual, Standard, policy, given), standard, "{policy} {given}");
            assert_eq!(holds(IntegerEqual, Altinn, policy, given), altinn, "{policy} {given}");
        }
    }
}
