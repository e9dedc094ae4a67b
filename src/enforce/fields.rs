//! Queries and form bodies: `name=value` pairs between `&`, and one named value in them.
//!
//! Frameworks differ in how they fold names (case, `party[]`, `party.x`, encoded letters) and in what
//! separates pairs (`;`). A pair that some framework might take for the wanted one is refused, so that
//! an upstream cannot read another party than we did. Source: threats 33–35.

use super::path::decode;

/// Why the value cannot be told for certain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FieldError {
    /// It stands twice, or something that may be read as it stands beside it.
    Ambiguous,
    /// A bad percent sequence, or a separator that only some split at.
    Unreadable,
}

/// The raw value of the field `name`; `None` when no pair could be read as it.
pub(super) fn single<'t>(pairs: &'t str, name: &str) -> Result<Option<&'t str>, FieldError> {
    let mut found = None;
    // Most requests have no query, and then there is nothing to compare.
    if pairs.is_empty() {
        return Ok(None);
    }
    for pair in pairs.split('&') {
        let (raw_name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if pair.contains(';') && decode_plus(pair)?.split(';').any(|part| is_name_of(part, name)) {
            return Err(FieldError::Unreadable);
        }
        if !may_mean(&decode_plus(raw_name)?, name) {
            continue;
        }
        // The exact name with a value, once; any other spelling is somebody's attempt.
        if raw_name != name || !pair.contains('=') || found.is_some() {
            return Err(FieldError::Ambiguous);
        }
        found = Some(value);
    }
    Ok(found)
}

fn is_name_of(part: &str, wanted: &str) -> bool {
    may_mean(part.split_once('=').map_or(part, |(name, _)| name), wanted)
}

fn decode_plus(text: &str) -> Result<String, FieldError> {
    decode(&text.replace('+', " ")).ok_or(FieldError::Unreadable)
}

/// Whether a lenient framework might take `name` for `wanted`: decoded again, trimmed, in any case, with
/// `-`, space, `.` and `[` as `_` (PHP), or cut at `[`, `.` or NUL.
fn may_mean(name: &str, wanted: &str) -> bool {
    let again = decode(name).unwrap_or_else(|| name.to_owned());
    let (cut, wanted_cut) = (cut(&again), cut(wanted));
    cut == wanted_cut || cut == underscored(wanted) || underscored(&again) == underscored(wanted)
}

fn cut(name: &str) -> String {
    underscored(name.trim_start().split(['[', '.', '\0']).next().unwrap_or_default())
}

fn underscored(name: &str) -> String {
    fold_case(name.trim()).replace(['-', ' ', '.', '['], "_")
}

/// A name without its case, as the laxest reader compares: Go's `encoding/json` takes `ſ` for `s` and the
/// sign of kelvin for `k`, Java's `equalsIgnoreCase` also `ı` and `İ` for `i`.
pub(super) fn fold_case(name: &str) -> String {
    const DOT_ABOVE: char = '\u{307}';
    name.to_uppercase().to_lowercase().replace(DOT_ABOVE, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_plain_pair_gives_its_value() {
        assert_eq!(single("a=1&party=310000027&b", "party"), Ok(Some("310000027")));
        assert_eq!(single("party=", "party"), Ok(Some("")));
        assert_eq!(single("a=1&partyx=2", "party"), Ok(None));
        assert_eq!(single("", "party"), Ok(None));
        assert_eq!(single("a=%3D%26&party=1", "party"), Ok(Some("1")));
    }

    #[test]
    fn case_is_folded_as_the_laxest_reader_does() {
        for name in ["SKI", "ski", "\u{17f}ki", "s\u{212a}i", "sk\u{131}", "SK\u{130}"] {
            assert_eq!(fold_case(name), "ski", "{name}");
        }
        assert_ne!(fold_case("s\u{43a}i"), "ski", "a letter of another script");
        assert_ne!(fold_case("s\u{e6}"), fold_case("sa"));
    }

    #[test]
    fn whatever_some_framework_might_take_for_it_is_refused() {
        for pairs in [
            "party=1&party=2",
            "party=1&party=1",
            "party=1&p%61rty=2",
            "p%61rty=2",
            "party=1&Party=2",
            "party=1&PARTY=2",
            "party=1&party[]=2",
            "party[0]=2",
            "party=1&party.x=2",
            "party=1&%20party=2",
            "party=1&party%00=2",
            "party=1&p%2561rty=2",
            "party",
            "party=1&party",
            "party=1&%C2%A0party=2",
        ] {
            assert_eq!(single(pairs, "party"), Err(FieldError::Ambiguous), "{pairs}");
        }
        for pairs in
            ["party-org", "Party_Org", "party.org", "party[org", "party org", "party_org[]"]
        {
            assert_eq!(
                single(&format!("party_org=1&{pairs}=2"), "party_org"),
                Err(FieldError::Ambiguous),
                "{pairs}"
            );
        }
        assert_eq!(single("party.org=1&party_organ=2", "party.org"), Ok(Some("1")));
        for pairs in
            ["party=1&x=2;party=3", "a;party=3&party=1", "x=1%3Bparty=2;a&party=1", "party=%zz"]
        {
            let expected =
                if pairs == "party=%zz" { Ok(Some("%zz")) } else { Err(FieldError::Unreadable) };
            assert_eq!(single(pairs, "party"), expected, "{pairs}");
        }
        assert_eq!(single("%zz=1&party=1", "party"), Err(FieldError::Unreadable));
    }
}
