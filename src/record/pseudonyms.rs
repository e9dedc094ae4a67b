//! Stand-ins for persons: their national identity numbers are never recorded.

use super::chain::hex;
use crate::domain::party::PersonNumber;
use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// Makes stand-ins for persons: the same for the same number under the same key, and no way back without
/// it. Without a key there is none.
pub struct Pseudonyms(Option<hmac::Key>);

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(key redacted)")
    }
}

impl Pseudonyms {
    /// With the configured key, if there is one.
    #[must_use]
    pub fn new(key: Option<&SecretString>) -> Self {
        Self(key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret().as_bytes())))
    }

    /// The stand-in for `number`: `person:` and 32 hexadecimal digits.
    #[must_use]
    pub fn of(&self, number: &PersonNumber) -> Option<String> {
        let tag = hmac::sign(self.0.as_ref()?, number.expose().as_bytes());
        Some(format!("person:{}", hex(tag.as_ref().get(..16)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_stable_and_shows_nothing() {
        let key = |text: &str| Pseudonyms::new(Some(&text.into()));
        let number: PersonNumber = "01010750160".parse().unwrap();
        let stand_in = key("0123456789abcdef0123456789abcdef").of(&number).unwrap();
        assert_eq!(Some(&stand_in), key("0123456789abcdef0123456789abcdef").of(&number).as_ref());
        assert_eq!(stand_in.len(), "person:".len() + 32);
        assert!(stand_in.starts_with("person:") && !stand_in.contains("0101075"));
        assert_ne!(Some(stand_in), key("another key, and just as long as that").of(&number));
    }

    #[test]
    fn without_a_key_a_person_is_left_out() {
        assert_eq!(Pseudonyms::new(None).of(&"01010750160".parse().unwrap()), None);
    }
}
