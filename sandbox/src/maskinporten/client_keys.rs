//! Key pairs of clients whose public key the seed does not give; made when first asked for.

use crate::crypto::rsa::{KeyError, RsaKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many are kept; past that one of them is made anew when it is next asked for.
pub(crate) const MOST: usize = 10_000;

/// Client id to key pair.
#[derive(Default)]
pub(crate) struct ClientKeys {
    keys: Mutex<BTreeMap<String, Arc<RsaKey>>>,
}

impl ClientKeys {
    /// How many have been made.
    pub(crate) fn len(&self) -> usize {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The client's key pair. Making one takes a noticeable time; whoever asks meanwhile waits.
    pub(crate) fn of(&self, client: &str) -> Result<Arc<RsaKey>, KeyError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(client) {
            return Ok(Arc::clone(key));
        }
        if keys.len() >= MOST {
            keys.pop_first();
        }
        let key = Arc::new(RsaKey::generate(format!("{client}-key"))?);
        keys.insert(client.to_owned(), Arc::clone(&key));
        Ok(key)
    }
}
