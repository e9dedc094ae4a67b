//! Paths that every upstream reads as we do.
//!
//! A path is taken as it stands, byte for byte, and refused when some server, framework or browser
//! would make another path of it: by resolving dot segments, decoding once or twice, cutting at `;`,
//! turning `\` into `/`, or folding `//`. What passes is its own canonical form, so that what is
//! matched is what is forwarded. Source: RFC 3986 §3.3, threats 25–27.

use super::rejection::Malformed;

/// A path that has one reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CanonicalPath<'r>(&'r str);

impl<'r> CanonicalPath<'r> {
    /// Takes `path` if it has one reading.
    ///
    /// # Errors
    /// [`Malformed`] with the reason.
    pub fn parse(path: &'r str) -> Result<Self, Malformed> {
        let Some(rest) = path.strip_prefix('/') else { return Err(Malformed::TargetForm) };
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            // A last empty segment is a trailing slash: another path, but one with one reading.
            let last = segments.peek().is_none();
            if segment.is_empty() && !last {
                return Err(Malformed::EmptySegment);
            }
            check_segment(segment)?;
        }
        Ok(Self(path))
    }

    /// The path as it came.
    #[must_use]
    pub fn as_str(self) -> &'r str {
        self.0
    }
}

fn check_segment(segment: &str) -> Result<(), Malformed> {
    if matches!(segment, "." | "..") {
        return Err(Malformed::DotSegment);
    }
    if let Some(byte) = segment.bytes().find(|byte| !is_pchar(*byte) && *byte != b'%') {
        return Err(if byte == b'\\' {
            Malformed::EncodedDelimiter
        } else {
            Malformed::PathCharacter
        });
    }
    if segment.contains('%') { check_encoded(segment) } else { Ok(()) }
}

/// RFC 3986 `pchar` without the percent sign, and without `;`, which some servers cut at.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
        || matches!(byte, b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

fn check_encoded(segment: &str) -> Result<(), Malformed> {
    let decoded = decode(segment).ok_or(Malformed::PercentSequence)?;
    if matches!(decoded.as_str(), "." | "..") {
        return Err(Malformed::DotSegment);
    }
    let delimiter = |c: char| {
        matches!(c, '/' | '\\' | ';' | '?' | '#') || c.is_control() || folds_to_delimiter(c)
    };
    // A percent sign that still begins a sequence would be decoded again by who decodes twice.
    if decoded.contains(delimiter) || begins_sequence(&decoded) {
        return Err(Malformed::EncodedDelimiter);
    }
    // An unreserved character means the same encoded and plain (RFC 3986 §2.3): who encodes one hides it
    // from a comparison of bytes.
    let hides = segment.as_bytes().windows(3).any(|window| match window {
        [b'%', high, low] => hex_value(*high, *low).is_some_and(is_unreserved),
        _ => false,
    });
    if hides { Err(Malformed::EncodedDelimiter) } else { Ok(()) }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Characters that compatibility folding (NFKC) or a best-fit code page turns into a dot, a slash, a
/// backslash, a percent sign or a semicolon: the full-width forms and their kin.
fn folds_to_delimiter(c: char) -> bool {
    matches!(c, '\u{ff01}'..='\u{ff5e}' | '\u{fe50}'..='\u{fe6b}' | '\u{2024}'..='\u{2026}')
        || matches!(c, '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{29f5}' | '\u{37e}')
}

/// What a reader makes of a path that decodes it, ignores case and a last slash. Two routes that are the
/// same in this form are one to such a reader.
pub(super) fn lax(path: &str) -> String {
    let decoded = decode(path).unwrap_or_else(|| path.to_owned());
    let trimmed = decoded.strip_suffix('/').unwrap_or(&decoded);
    super::fields::fold_case(trimmed)
}

/// Whether a path is as such a reader sees it.
pub(super) fn is_lax(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase() && byte != b'%';
    (path.bytes().all(plain) && !path.ends_with('/')) || lax(path) == path
}

/// Whether `text` holds a percent sign and two hexadecimal digits.
fn begins_sequence(text: &str) -> bool {
    text.as_bytes()
        .windows(3)
        .any(|window| matches!(window, [b'%', high, low] if hex_value(*high, *low).is_some()))
}

fn hex_value(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? * 16 + digit(low)?)
}

/// Decodes percent sequences once; `None` for a bad sequence or bytes that are not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { hex_value(bytes.next()?, bytes.next()?)? } else { byte });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_with_one_reading_is_taken_as_it_stands() {
        for path in [
            "/",
            "/v1/a",
            "/v1/a/",
            "/a%20b",
            "/%C3%A6",
            "/a:b@c,d=e",
            "/urn%3Aa%40b",
            "/100%25",
            "/a..b",
            "/...",
        ] {
            assert_eq!(CanonicalPath::parse(path).map(CanonicalPath::as_str), Ok(path));
        }
    }

    #[test]
    fn a_path_that_may_be_read_in_two_ways_is_refused() {
        let cases = [
            ("/a/../b", Malformed::DotSegment),
            ("/a/./b", Malformed::DotSegment),
            ("/a/..", Malformed::DotSegment),
            ("/%2e%2e/b", Malformed::DotSegment),
            ("/%2E./b", Malformed::DotSegment),
            ("/%252e%252e/b", Malformed::EncodedDelimiter),
            ("/a%2fb", Malformed::EncodedDelimiter),
            ("/a%2Fb", Malformed::EncodedDelimiter),
            ("/a%5cb", Malformed::EncodedDelimiter),
            ("/a%252fb", Malformed::EncodedDelimiter),
            ("/a%25%32%66b", Malformed::EncodedDelimiter),
            ("/a%00", Malformed::EncodedDelimiter),
            ("/a%0d%0ab", Malformed::EncodedDelimiter),
            ("/a%3bb", Malformed::EncodedDelimiter),
            ("/a%3fb", Malformed::EncodedDelimiter),
            ("/a%23b", Malformed::EncodedDelimiter),
            ("/%76%31/a", Malformed::EncodedDelimiter),
            ("/a%2ejson", Malformed::EncodedDelimiter),
            ("/vat%2Dreturns", Malformed::EncodedDelimiter),
            ("/a%5Fb", Malformed::EncodedDelimiter),
            ("/a%7Eb", Malformed::EncodedDelimiter),
            ("/a%EF%BC%8Fb", Malformed::EncodedDelimiter),
            ("/%EF%BC%8E%EF%BC%8E", Malformed::EncodedDelimiter),
            ("/%E2%80%A5", Malformed::EncodedDelimiter),
            ("/a\\b", Malformed::EncodedDelimiter),
            ("/a;b", Malformed::PathCharacter),
            ("/a/..;/b", Malformed::PathCharacter),
            ("/æ", Malformed::PathCharacter),
            ("/a\u{0}b", Malformed::PathCharacter),
            ("/a b", Malformed::PathCharacter),
            ("/a{b}", Malformed::PathCharacter),
            ("/a|b", Malformed::PathCharacter),
            ("//a", Malformed::EmptySegment),
            ("/a//b", Malformed::EmptySegment),
            ("/a%", Malformed::PercentSequence),
            ("/a%2", Malformed::PercentSequence),
            ("/a%zz", Malformed::PercentSequence),
            ("/a%c0%ae", Malformed::PercentSequence),
            ("/a%ff", Malformed::PercentSequence),
            ("*", Malformed::TargetForm),
            ("", Malformed::TargetForm),
        ];
        for (path, why) in cases {
            assert_eq!(CanonicalPath::parse(path), Err(why), "{path}");
        }
    }

    /// How other programs read a path: as it is, decoded once or twice, then with dots resolved.
    fn readings(path: &str) -> Vec<String> {
        let once = decode(path).unwrap_or_else(|| path.to_owned());
        let twice = decode(&once).unwrap_or_else(|| once.clone());
        [path.to_owned(), once, twice]
            .iter()
            .map(|text| {
                let mut kept: Vec<&str> = Vec::new();
                for segment in text.split(['/', '\\']) {
                    match segment.split(';').next().unwrap_or(segment) {
                        "" | "." => {}
                        ".." => drop(kept.pop()),
                        other => kept.push(other),
                    }
                }
                kept.join("/")
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_reading_of_a_path_that_passes_has_the_same_segments(
            path in "(/([a-c0-9.;\\\\]|%2[eEfF5]|%5[cC]|%25|%61|%c3%a6){0,4}){1,5}"
        ) {
            if let Ok(canonical) = CanonicalPath::parse(&path) {
                let ours = canonical.as_str().split('/').filter(|s| !s.is_empty()).count();
                for reading in readings(&path) {
                    prop_assert_eq!(reading.split('/').filter(|s| !s.is_empty()).count(), ours);
                }
            }
        }
    }

    #[test]
    fn a_path_that_a_lax_reader_sees_as_it_stands_is_seen_as_such() {
        for path in ["/v1/a", "/v1/a-b_c~d.e", "/a@b:c"] {
            assert!(is_lax(path), "{path}");
        }
        for path in ["/V1/a", "/v1/a/", "/", "/a%20b", "/%C3%86"] {
            assert!(!is_lax(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_to_see_it_says_the_same(path in "/[a-zA-Z0-9%/._~-]{0,12}") {
            prop_assert_eq!(is_lax(&path), lax(&path) == path);
        }
    }
}
