//! OAuth scopes: what the vendor may ask at all. A scope never stands in for a right.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One scope token, such as `skatteetaten:mva`. Compared byte for byte (RFC 6749 §3.3).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Scope(Arc<str>);

/// Not a scope token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a scope: visible ASCII without space, quote or backslash")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let token = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if !text.is_empty() && text.bytes().all(token) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidScope)
        }
    }
}

impl Scope {
    /// The scope as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The scopes that a token was given: the claim's text, read as words between single spaces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GrantedScopes(Arc<str>);

impl GrantedScopes {
    /// From the text of the `scope` claim. Any text is taken: what is not a wanted word covers nothing.
    #[must_use]
    pub fn from_claim(text: &str) -> Self {
        Self(text.into())
    }

    fn has(&self, wanted: &Scope) -> bool {
        self.0.split(' ').any(|granted| granted == wanted.as_str())
    }
}

/// What a route demands: every scope of one list and at least one of the other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ScopeRule {
    /// Every one of these must be granted.
    pub all_of: Vec<Scope>,
    /// One of these must be granted, unless the list is empty.
    pub any_of: Vec<Scope>,
}

impl ScopeRule {
    /// Whether `granted` meets the rule.
    ///
    /// # Errors
    /// [`MissingScopes`] with every scope that would be needed.
    pub fn check(&self, granted: &GrantedScopes) -> Result<(), MissingScopes> {
        let missing: Vec<Scope> =
            self.all_of.iter().filter(|wanted| !granted.has(wanted)).cloned().collect();
        let any = self.any_of.is_empty() || self.any_of.iter().any(|wanted| granted.has(wanted));
        if missing.is_empty() && any {
            return Ok(());
        }
        Err(MissingScopes {
            all_of: missing,
            any_of: if any { Vec::new() } else { self.any_of.clone() },
        })
    }

    /// Whether the rule demands nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all_of.is_empty() && self.any_of.is_empty()
    }
}

/// The token lacks scopes that the route demands.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("missing scopes: all of {all_of:?}, any of {any_of:?}")]
pub struct MissingScopes {
    /// Each of these is missing.
    pub all_of: Vec<Scope>,
    /// None of these is there; empty when this half of the rule is met.
    pub any_of: Vec<Scope>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(all_of: &[&str], any_of: &[&str]) -> ScopeRule {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        ScopeRule { all_of: parse(all_of), any_of: parse(any_of) }
    }

    #[test]
    fn a_scope_is_a_whole_word_between_single_spaces() {
        let wanted = rule(&["ex:read"], &[]);
        let covers = |claim: &str| wanted.check(&GrantedScopes::from_claim(claim)).is_ok();
        assert!(covers("a:b ex:read c:d"));
        for (claim, why) in [
            ("", "no scope"),
            ("ex:readall", "ours is its prefix"),
            ("ex", "it is a prefix of ours"),
            ("EX:READ", "other case"),
            ("ex:*", "star"),
            ("a:b,ex:read", "comma"),
            ("a:b\tex:read", "tab"),
            ("a:b\u{a0}ex:read", "no-break space"),
        ] {
            assert!(!covers(claim), "{why}");
        }
    }

    #[test]
    fn all_of_wants_each_and_any_of_wants_one() {
        let wanted = rule(&["a", "b"], &["c", "d"]);
        let check = |claim: &str| wanted.check(&GrantedScopes::from_claim(claim));
        assert!(check("b a d").is_ok());
        assert_eq!(check("a c").unwrap_err().all_of, rule(&["b"], &[]).all_of);
        assert_eq!(check("a b").unwrap_err().any_of, rule(&["c", "d"], &[]).all_of);
    }
}
