//! What is read out of a certificate: when it holds, and whom it names. Everything that trust rests on is
//! read by the TLS library; this is for the operator and for the upstream.
//!
//! Sources: RFC 5280 §4.1, RFC 4514 (names as text), X.690 (DER).

use std::fmt::Write;

/// What a certificate says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// First second that it holds, since 1970; negative before.
    pub not_before: i64,
    /// Last second that it holds.
    pub not_after: i64,
    /// Its subject as RFC 4514 writes it, in ASCII: other letters are escaped. Empty when it names nobody.
    pub subject: String,
}

impl Facts {
    /// Reads a certificate in DER; `None` for anything else. Nothing is verified.
    #[must_use]
    pub fn read(certificate: &[u8]) -> Option<Self> {
        let (outer, rest) = Element::take(certificate)?;
        let certificate = outer.within(SEQUENCE)?;
        let (signed, _) = Element::take(certificate)?;
        let mut fields = Elements(signed.within(SEQUENCE)?);
        let mut field = fields.next()?;
        if field.tag == VERSION {
            field = fields.next()?;
        }
        field.within(INTEGER)?;
        let _algorithm = fields.next()?.within(SEQUENCE)?;
        let _issuer = fields.next()?.within(SEQUENCE)?;
        let mut validity = Elements(fields.next()?.within(SEQUENCE)?);
        let (not_before, not_after) = (time(&validity.next()?)?, time(&validity.next()?)?);
        let subject = name(fields.next()?.within(SEQUENCE)?)?;
        rest.is_empty().then_some(Self { not_before, not_after, subject })
    }

    /// Whether it holds at `now`, seconds since 1970.
    #[must_use]
    pub fn holds_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

const INTEGER: u8 = 0x02;
const IDENTIFIER: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// One element of DER.
struct Element<'d> {
    tag: u8,
    content: &'d [u8],
    /// Tag and length included.
    whole: &'d [u8],
}

impl<'d> Element<'d> {
    /// The first element of `bytes`, and what follows it.
    fn take(bytes: &'d [u8]) -> Option<(Self, &'d [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // No certificate has an element of 16 megabytes.
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length =
                    digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = bytes.get(..bytes.len() - rest.len())?;
        Some((Self { tag, content, whole }, rest))
    }

    fn within(&self, tag: u8) -> Option<&'d [u8]> {
        (self.tag == tag).then_some(self.content)
    }
}

/// Elements one after the other; ends at the first that is none.
struct Elements<'d>(&'d [u8]);

impl<'d> Iterator for Elements<'d> {
    type Item = Element<'d>;

    fn next(&mut self) -> Option<Element<'d>> {
        let (element, rest) = Element::take(self.0)?;
        self.0 = rest;
        Some(element)
    }
}

/// Seconds since 1970 (RFC 5280 §4.1.2.5: always UTC, always with seconds).
fn time(element: &Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (element.tag, text.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |index: usize| rest.get(index * 2..index * 2 + 2)?.parse::<i64>().ok();
    let (month, day) = (part(0)?, part(1)?);
    let (hour, minute, second) = (part(2)?, part(3)?, part(4)?);
    let good = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    good.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970, in the Gregorian calendar. Years begin in March here, so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// A name as RFC 4514 §2.1 writes it: the last part first.
fn name(parts: &[u8]) -> Option<String> {
    let mut written = Vec::new();
    let mut rest = parts;
    while !rest.is_empty() {
        let (part, after) = Element::take(rest)?;
        rest = after;
        written.push(relative_name(part.within(SET)?)?);
    }
    written.reverse();
    Some(written.join(","))
}

/// One part of a name: one attribute, or several at once.
fn relative_name(set: &[u8]) -> Option<String> {
    let mut written = Vec::new();
    let mut rest = set;
    while !rest.is_empty() {
        let (attribute, after) = Element::take(rest)?;
        rest = after;
        let mut fields = Elements(attribute.within(SEQUENCE)?);
        let kind = identifier(fields.next()?.within(IDENTIFIER)?)?;
        written.push(self::attribute(&kind, &fields.next()?));
    }
    Some(written.join("+"))
}

/// `CN=…`; by number, and with its value in hexadecimal, where the kind has no name here or the value is no
/// text (RFC 4514 §2.4).
fn attribute(kind: &str, value: &Element<'_>) -> String {
    let text = match value.tag {
        UTF8 | PRINTABLE | IA5 => std::str::from_utf8(value.content).ok(),
        _ => None,
    };
    let short = match kind {
        "2.5.4.3" => Some("CN"),
        "2.5.4.5" => Some("serialNumber"),
        "2.5.4.6" => Some("C"),
        "2.5.4.7" => Some("L"),
        "2.5.4.8" => Some("ST"),
        "2.5.4.9" => Some("STREET"),
        "2.5.4.10" => Some("O"),
        "2.5.4.11" => Some("OU"),
        "2.5.4.97" => Some("organizationIdentifier"),
        "0.9.2342.19200300.100.1.1" => Some("UID"),
        "0.9.2342.19200300.100.1.25" => Some("DC"),
        _ => None,
    };
    match (short, text) {
        (Some(short), Some(text)) => format!("{short}={}", escaped(text)),
        (short, _) => {
            let mut written = format!("{}=#", short.unwrap_or(kind));
            for byte in value.whole {
                // Writing to a `String` cannot fail.
                let _ = write!(written, "{byte:02x}");
            }
            written
        }
    }
}

/// A value with what would end it, or is no visible ASCII, escaped (RFC 4514 §2.4).
fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' => {
                written.push('\\');
                written.push(char::from(byte));
            }
            b' ' if place == 0 || place == last => written.push_str("\\ "),
            b'#' if place == 0 => written.push_str("\\#"),
            b' '..=b'~' => written.push(char::from(byte)),
            _ => {
                let _ = write!(written, "\\{byte:02X}");
            }
        }
    }
    written
}

/// An object identifier with dots between its numbers.
fn identifier(bytes: &[u8]) -> Option<String> {
    let mut numbers = Vec::new();
    let mut number: u64 = 0;
    for (place, byte) in bytes.iter().enumerate() {
        number = number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 != 0 {
            // Cut off within a number.
            if place + 1 == bytes.len() {
                return None;
            }
            continue;
        }
        if numbers.is_empty() {
            let first = (number / 40).min(2);
            numbers.extend([first, number - first * 40]);
        } else {
            numbers.push(number);
        }
        number = 0;
    }
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    (!numbers.is_empty()).then(|| numbers.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, date_time_ymd};

    fn made(parts: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in parts {
            parameters.distinguished_name.push(kind.clone(), value.clone());
        }
        parameters.not_before = date_time_ymd(1999, 12, 31);
        parameters.not_after = date_time_ymd(2050, 3, 1);
        let key = KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_tells_when_it_holds_and_whom_it_names() {
        let certificate = made(&[
            (DnType::CountryName, DnValue::PrintableString("NO".try_into().unwrap())),
            (DnType::OrganizationName, DnValue::Utf8String("Bjørk, Ås + Sønn".into())),
            (
                DnType::CustomDnType(vec![2, 5, 4, 97]),
                DnValue::Utf8String("NTRNO-310000507".into()),
            ),
            (DnType::CustomDnType(vec![1, 2, 840, 1]), DnValue::Utf8String("x".into())),
            (DnType::CommonName, DnValue::Utf8String("#1 ".into())),
        ]);
        let facts = Facts::read(&certificate).unwrap();
        // In the order of the certificate, backwards; each by RFC 4514.
        assert_eq!(
            facts.subject,
            "CN=\\#1\\ ,1.2.840.1=#0c0178,organizationIdentifier=NTRNO-310000507,\
             O=Bj\\C3\\B8rk\\, \\C3\\85s \\+ S\\C3\\B8nn,C=NO"
        );
        assert_eq!((facts.not_before, facts.not_after), (946_598_400, 2_529_705_600));
        assert!(facts.holds_at(946_598_400) && facts.holds_at(2_529_705_600));
        assert!(!facts.holds_at(946_598_399) && !facts.holds_at(2_529_705_601));
        assert_eq!(Facts::read(&made(&[])).unwrap().subject, "");
    }

    #[test]
    fn what_is_cut_or_longer_is_no_certificate() {
        let whole = made(&[(DnType::CommonName, DnValue::Utf8String("x".into()))]);
        for length in 0..whole.len() {
            assert_eq!(Facts::read(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(Facts::read(&[&whole[..], &[0]].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            place in 0..300_usize,
            other in any::<u8>(),
        ) {
            let _ = Facts::read(&bytes);
            let mut damaged = made(&[(DnType::CommonName, DnValue::Utf8String("x".into()))]);
            let place = place % damaged.len();
            damaged[place] = other;
            if let Some(facts) = Facts::read(&damaged) {
                prop_assert!(facts.subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}
