//! Records as they lie on disk: each bound to its own key, checked or encrypted.
//!
//! With a key, records are sealed with AES-256-GCM-SIV under a random nonce: a nonce that comes twice
//! after billions of records reveals no more than that two records are equal, where plain GCM would give
//! everything away. Names of records are keyed hashes, so that they tell no number and no id. Without
//! a key, a hash finds out what an accident did, beyond what the database checks.

use super::Secret;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf, hmac, rand};
use std::fmt;

/// Of all that is written; another one is set aside.
pub(super) const FORMAT: u32 = 1;

/// The name of a record: its kind, and a hash of what it is about.
pub(super) type Name = [u8; 17];

const NONCE: usize = 12;
const CHECK: usize = 8;

/// It could not be sealed: no randomness, or a record past the limit of the cipher.
#[derive(Clone, Copy, Debug)]
pub(super) struct CannotSeal;

/// How records of one snapshot are sealed.
pub(super) enum Seal {
    Plain,
    Encrypted(Box<Keys>),
}

pub(super) struct Keys {
    records: LessSafeKey,
    names: hmac::Key,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Encrypted(_) => "Encrypted",
        })
    }
}

/// What the head of a snapshot says of how it is sealed, and for whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) encrypted: bool,
    /// Whether it is the same key, without telling which.
    pub(super) key_check: Vec<u8>,
    /// Of which environment and configuration.
    pub(super) binding: Vec<u8>,
}

impl Seal {
    /// The seal of a snapshot for this environment and configuration, and the head that goes with it.
    pub(super) fn new(binding: &[u8], key: Option<&Secret>) -> Result<(Self, Head), CannotSeal> {
        let Some(key) = key else {
            let hash = digest::digest(&digest::SHA256, binding);
            let head =
                Head { encrypted: false, key_check: Vec::new(), binding: hash.as_ref().to_vec() };
            return Ok((Self::Plain, head));
        };
        let check = subkey(key, &[], b"portvakt snapshot check")?;
        let mac = |about: &[u8]| {
            let message = [about, binding].concat();
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*check), &message).as_ref().to_vec()
        };
        let key_check = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*check), b"key");
        let head = Head {
            encrypted: true,
            key_check: key_check.as_ref().to_vec(),
            binding: mac(b"binding"),
        };
        let records = subkey(key, binding, b"portvakt snapshot records")?;
        let names = subkey(key, binding, b"portvakt snapshot names")?;
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, &*records).map_err(|_| CannotSeal)?;
        let records = LessSafeKey::new(unbound);
        let names = hmac::Key::new(hmac::HMAC_SHA256, &*names);
        Ok((Self::Encrypted(Box::new(Keys { records, names })), head))
    }

    /// The name of the record of this kind about `subject`.
    pub(super) fn name(&self, kind: u8, subject: &[u8]) -> Name {
        let text = [&[kind], subject].concat();
        let mut name = [0; 17];
        let (first, rest) = name.split_at_mut(1);
        first.fill(kind);
        match self {
            Self::Plain => copy(rest, digest::digest(&digest::SHA256, &text).as_ref()),
            Self::Encrypted(keys) => copy(rest, hmac::sign(&keys.names, &text).as_ref()),
        }
        name
    }

    /// The record as it is written under `name`.
    pub(super) fn seal(&self, name: &[u8], mut record: Vec<u8>) -> Result<Vec<u8>, CannotSeal> {
        match self {
            Self::Plain => {
                let check = check(name, &record);
                record.extend_from_slice(&check);
                Ok(record)
            }
            Self::Encrypted(keys) => {
                let mut nonce = [0; NONCE];
                rand::fill(&mut nonce).map_err(|_| CannotSeal)?;
                let aad = Aad::from(bound_to(name));
                let sealing = Nonce::assume_unique_for_key(nonce);
                keys.records
                    .seal_in_place_append_tag(sealing, aad, &mut record)
                    .map_err(|_| CannotSeal)?;
                record.extend_from_slice(&nonce);
                Ok(record)
            }
        }
    }

    /// The record written under `name`, if it is just as it was.
    pub(super) fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Plain => {
                let (record, written) =
                    sealed.split_at_checked(sealed.len().checked_sub(CHECK)?)?;
                (check(name, record) == written).then(|| record.to_vec())
            }
            Self::Encrypted(keys) => {
                let (sealed, nonce) = sealed.split_at_checked(sealed.len().checked_sub(NONCE)?)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let mut record = sealed.to_vec();
                let aad = Aad::from(bound_to(name));
                let length = keys.records.open_in_place(nonce, aad, &mut record).ok()?.len();
                record.truncate(length);
                Some(record)
            }
        }
    }
}

/// What a record cannot be moved away from: the table, the format and its name.
fn bound_to(name: &[u8]) -> Vec<u8> {
    [&b"portvakt snapshot records"[..], &FORMAT.to_be_bytes(), name].concat()
}

fn check(name: &[u8], record: &[u8]) -> [u8; CHECK] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&bound_to(name));
    hash.update(record);
    let mut check = [0; CHECK];
    copy(&mut check, hash.finish().as_ref());
    check
}

fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

fn subkey(key: &Secret, salt: &[u8], about: &[u8]) -> Result<Secret, CannotSeal> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, salt);
    let mut subkey = Secret::default();
    let about = [about];
    let extracted = salt.extract(&**key);
    let material = extracted.expand(&about, hkdf::HKDF_SHA256).map_err(|_| CannotSeal)?;
    material.fill(&mut *subkey).map_err(|_| CannotSeal)?;
    Ok(subkey)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted(key: u8, binding: &[u8]) -> (Seal, Head) {
        Seal::new(binding, Some(&Secret::new([key; 32]))).unwrap()
    }

    #[test]
    fn a_record_opens_only_whole_and_under_its_own_name() {
        for seal in [Seal::Plain, encrypted(7, b"tt02").0] {
            let (name, other) = (seal.name(1, b"a"), seal.name(1, b"b"));
            assert_ne!(name, other);
            let sealed = seal.seal(&name, b"310000027".to_vec()).unwrap();
            assert_eq!(seal.open(&name, &sealed).unwrap(), b"310000027");
            assert_eq!(seal.open(&other, &sealed), None, "moved");
            for place in 0..sealed.len() {
                let mut altered = sealed.clone();
                altered[place] ^= 1;
                assert_eq!(seal.open(&name, &altered), None, "byte {place}");
                assert_eq!(seal.open(&name, &sealed[..place]), None, "cut at {place}");
            }
        }
    }

    #[test]
    fn an_encrypted_record_and_its_name_show_nothing() {
        let (seal, _) = encrypted(7, b"tt02");
        let name = seal.name(1, b"310000027");
        let sealed = seal.seal(&name, b"310000027".to_vec()).unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"3100"));
        assert_ne!(sealed, seal.seal(&name, b"310000027".to_vec()).unwrap(), "a nonce each");
        assert_ne!(name, Seal::Plain.name(1, b"310000027"));
    }

    #[test]
    fn another_key_or_environment_opens_nothing() {
        let (seal, head) = encrypted(7, b"tt02");
        let name = seal.name(1, b"a");
        let sealed = seal.seal(&name, vec![1]).unwrap();
        let (other_key, other_head) = encrypted(8, b"tt02");
        assert_ne!(head.key_check, other_head.key_check);
        assert_eq!(other_key.open(&name, &sealed), None);
        let (elsewhere, elsewhere_head) = encrypted(7, b"prod");
        assert_eq!(head.key_check, elsewhere_head.key_check);
        assert_ne!(head.binding, elsewhere_head.binding);
        assert_eq!(elsewhere.open(&name, &sealed), None);
    }
}
