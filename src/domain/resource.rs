//! What is asked of Altinn: the question, and the names in it.

use super::party::Party;
use super::system_user::SystemUserId;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Id of a resource in Altinn's resource registry (ressursregisteret): lower-case letters, digits,
/// `_` and `-`, at least four. Source: contract resource-registry.md §2.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResourceId(Arc<str>);

/// A XACML action id, such as `read` or `write`, as the resource's policy spells it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ActionId(Arc<str>);

/// One instance of a resource: letters, digits, `.`, `_` and `-`, at most 100.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct InstanceId(Arc<str>);

/// A name that Altinn would not know.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidName {
    /// Not a resource id.
    #[error("not a resource id: four or more of a-z, 0-9, `_` and `-`")]
    Resource,
    /// Not an action id.
    #[error("not an action: 1 to 64 of letters, digits, `.`, `:`, `_` and `-`")]
    Action,
    /// Not an instance id.
    #[error("not an instance id: 1 to 100 of letters, digits, `.`, `_` and `-`")]
    Instance,
}

macro_rules! name {
    ($name:ident, $error:ident, $length:expr, $allowed:expr) => {
        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let allowed: fn(u8) -> bool = $allowed;
                if $length.contains(&text.len()) && text.bytes().all(allowed) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName::$error)
                }
            }
        }

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    ResourceId,
    Resource,
    (4..=128),
    |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')
);
name!(ActionId, Action, (1..=64), |byte| byte.is_ascii_alphanumeric()
    || matches!(byte, b'.' | b':' | b'_' | b'-'));
name!(InstanceId, Instance, (1..=100), |byte| byte.is_ascii_alphanumeric()
    || matches!(byte, b'.' | b'_' | b'-'));

/// What a route asks for: this action on this resource.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Right {
    /// The resource.
    pub resource: ResourceId,
    /// The action on it.
    pub action: ActionId,
}

/// May this system user do this, for this party? Holds everything that an answer depends on, so it
/// is the cache key: two different questions are never equal.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Question {
    system_user: SystemUserId,
    party: Party,
    right: Right,
    instance: Option<InstanceId>,
}

impl Question {
    /// The only way to a question: every part is named.
    #[must_use]
    pub fn new(
        system_user: SystemUserId,
        party: Party,
        right: Right,
        instance: Option<InstanceId>,
    ) -> Self {
        Self { system_user, party, right, instance }
    }

    /// Who asks to act.
    #[must_use]
    pub fn system_user(&self) -> SystemUserId {
        self.system_user
    }

    /// For whom.
    #[must_use]
    pub fn party(&self) -> &Party {
        &self.party
    }

    /// On what.
    #[must_use]
    pub fn resource(&self) -> &ResourceId {
        &self.right.resource
    }

    /// What.
    #[must_use]
    pub fn action(&self) -> &ActionId {
        &self.right.action
    }

    /// On which instance of the resource, if the route names one.
    #[must_use]
    pub fn instance(&self) -> Option<&InstanceId> {
        self.instance.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question(parts: (usize, usize, usize, usize, usize)) -> Question {
        let users =
            ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];
        let parties = ["310000027", "310000035"];
        let right = Right {
            resource: ["ex-returns", "ex-other"][parts.2].parse().unwrap(),
            action: ["read", "write"][parts.3].parse().unwrap(),
        };
        let instance = [None, Some("1".parse().unwrap()), Some("2".parse().unwrap())];
        Question::new(
            users[parts.0].parse().unwrap(),
            Party::Organization(parties[parts.1].parse().unwrap()),
            right,
            instance[parts.4].clone(),
        )
    }

    proptest! {
        #[test]
        fn questions_are_equal_only_when_every_part_is(
            a in (0..2usize, 0..2usize, 0..2usize, 0..2usize, 0..3usize),
            b in (0..2usize, 0..2usize, 0..2usize, 0..2usize, 0..3usize),
        ) {
            prop_assert_eq!(question(a) == question(b), a == b);
        }
    }

    #[test]
    fn names_that_altinn_would_not_know_are_refused() {
        assert!("ske-mva-melding".parse::<ResourceId>().is_ok());
        for text in ["abc", "Ske-mva", "ske mva", "ske/mva", ""] {
            assert!(text.parse::<ResourceId>().is_err(), "{text}");
        }
        assert!("read".parse::<ActionId>().is_ok());
        assert!("read write".parse::<ActionId>().is_err());
    }
}
