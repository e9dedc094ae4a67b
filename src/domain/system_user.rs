//! System users and the organisations round them, each its own type so that none is taken for another.

use super::party::OrgNumber;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Id of a system user (systembruker): a UUID, printed in lower case with hyphens because Altinn's
/// delegation policies compare case-sensitively (contract authorization.md §2.1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SystemUserId(uuid::Uuid);

impl SystemUserId {
    /// The sixteen bytes of the UUID.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id as it is printed: 36 characters of ASCII.
    #[must_use]
    pub fn text(&self) -> [u8; 36] {
        let mut text = [0; 36];
        self.0.as_hyphenated().encode_lower(&mut text);
        text
    }

    /// The id with these bytes; `None` for the nil UUID, which names nobody.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let id = uuid::Uuid::from_bytes(bytes);
        (!id.is_nil()).then_some(Self(id))
    }
}

/// Not a UUID in its hyphenated form of 36 characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a system user id: a UUID of 36 characters")]
pub struct InvalidSystemUserId;

impl FromStr for SystemUserId {
    type Err = InvalidSystemUserId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The library also reads braces, `urn:uuid:` and forms without hyphens; Altinn writes none.
        let hyphenated = text.len() == 36;
        let id = uuid::Uuid::try_parse(text).map_err(|_| InvalidSystemUserId)?;
        if hyphenated && !id.is_nil() { Ok(Self(id)) } else { Err(InvalidSystemUserId) }
    }
}

impl fmt::Display for SystemUserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Id of the vendor's registered system (system), such as `310000019_regnskap`. Visible ASCII.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SystemId(Arc<str>);

/// Id of the vendor's Maskinporten client. For audit only, never an access-control key. Visible ASCII.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ClientId(Arc<str>);

/// Not 1 to 255 visible ASCII characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an id: 1 to 255 visible ASCII characters")]
pub struct InvalidId;

fn visible_ascii(text: &str) -> Result<Arc<str>, InvalidId> {
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text.into()) } else { Err(InvalidId) }
}

macro_rules! visible_ascii_id {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                visible_ascii(text).map(Self)
            }
        }

        impl $name {
            /// The id as text.
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

visible_ascii_id!(SystemId);
visible_ascii_id!(ClientId);

macro_rules! organisation_role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub struct $name(pub OrgNumber);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

organisation_role!(
    /// The organisation that owns the system user: the customer, or for an agent the facilitator
    /// (fasilitator). Never the client that a call concerns (contract maskinporten.md §2.3).
    Owner
);
organisation_role!(
    /// The organisation that the token was issued to: the system vendor (leverandør).
    Consumer
);
organisation_role!(
    /// The organisation that holds the client when a scope was delegated to it.
    Supplier
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_capitals_is_the_same_system_user() {
        let id: SystemUserId = "A545CA24-7AD2-4D2B-91C4-7D0ED2D7D3A1".parse().unwrap();
        assert_eq!(id.to_string(), "a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1");
    }

    #[test]
    fn other_spellings_of_a_uuid_are_refused() {
        for text in [
            "a545ca247ad24d2b91c47d0ed2d7d3a1",
            "{a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1}",
            "urn:uuid:a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1",
            "a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a",
            "00000000-0000-0000-0000-000000000000",
            "",
        ] {
            assert_eq!(text.parse::<SystemUserId>(), Err(InvalidSystemUserId), "{text}");
        }
    }

    #[test]
    fn an_id_holds_no_space_or_line_break() {
        assert!("310000019_sys".parse::<SystemId>().is_ok());
        for text in ["", "a b", "a\nb", "é", &"x".repeat(256)] {
            assert!(text.parse::<SystemId>().is_err());
        }
    }
}
