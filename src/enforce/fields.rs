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
    let wanted = fold(name);
    let mut found = None;
    for pair in pairs.split('&') {
        let (raw_name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if pair.contains(';') && decode_plus(pair)?.split(';').any(|part| names(part, &wanted)) {
            return Err(FieldError::Unreadable);
        }
        let may_be_ours = fold(&decode_plus(raw_name)?) == wanted;
        if !may_be_ours {
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

fn names(part: &str, wanted: &str) -> bool {
    fold(part.split_once('=').map_or(part, |(name, _)| name)) == wanted
}

fn decode_plus(text: &str) -> Result<String, FieldError> {
    decode(&text.replace('+', " ")).ok_or(FieldError::Unreadable)
}

/// What lenient frameworks make of a name: decoded again, cut at `[`, `.` or NUL, trimmed, in lower
/// case, with `-` as `_`.
pub(super) fn fold(name: &str) -> String {
    let again = decode(name).unwrap_or_else(|| name.to_owned());
    let cut = again.trim_start().split(['[', '.', '\0']).next().unwrap_or_default();
    fold_case(cut.trim()).replace(['-', ' '], "_")
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
        ] {
            assert_eq!(single(pairs, "party"), Err(FieldError::Ambiguous), "{pairs}");
        }
        for pairs in ["party=1&x=2;party=3", "a;party=3&party=1", "x=1%3Bparty=2;a&party=1", "party=%zz"] {
            let expected = if pairs == "party=%zz" { Ok(Some("%zz")) } else { Err(FieldError::Unreadable) };
            assert_eq!(single(pairs, "party"), expected, "{pairs}");
        }
        assert_eq!(single("%zz=1&party=1", "party"), Err(FieldError::Unreadable));
    }
}
