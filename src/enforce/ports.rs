//! What the pipeline asks of the outside. Edges implement these; tests give plain ones.

use super::signature::PublicKey;
use crate::domain::decision::{Undecided, Verdict};
use crate::domain::party::OrgNumber;
use crate::domain::resource::Question;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A future that an edge hands out: network calls only, never on the path of a cached answer.
pub type EdgeFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The decision point that has the last word: Altinn's PDP.
pub trait RemotePdp: Send + Sync {
    /// Asks one question. Keeps to its own time budget, retries and ceiling of calls.
    ///
    /// Cancel safe: the call goes on, or is dropped, without harm to later ones.
    ///
    /// # Errors
    /// [`Undecided`] when no verdict could be had: never a "no".
    fn ask<'a>(
        &'a self,
        question: &'a Question,
        call: Call,
    ) -> EdgeFuture<'a, Result<Verdict, Undecided>>;

    /// Asks several questions about one system user in one call, and gives as many verdicts in the same
    /// order. A fault in one of them spoils the call for all (contract authorization.md §2.3); then each
    /// is asked alone.
    ///
    /// # Errors
    /// [`Undecided`], question by question, when no verdict could be had.
    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        call: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>>;
}

/// Who pays for a call to Altinn, and how urgent it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Call {
    /// Whose share of the declared ceiling it counts against.
    pub account: Account,
    /// Whether a request waits for it.
    pub urgency: Urgency,
}

/// Whose share of the declared ceiling of calls is used. Under pressure every account gets the same.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Account {
    /// Ours: policies, packages, access lists, samples.
    Own,
    /// The system vendor's (leverandør): the consumer of the token, or its supplier.
    Vendor(OrgNumber),
}

/// Whether somebody waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    /// A request waits for the answer.
    Waiting,
    /// The register is kept fresh; nobody waits.
    Behind,
}

/// The keys of the one configured issuer.
pub trait KeySource: Send + Sync {
    /// The key with exactly this id, from the set that is held. Never waits.
    ///
    /// # Errors
    /// [`KeyError::Unknown`] when the held set has no such key (a fetch may know better);
    /// [`KeyError::Unavailable`] when there is no set, or it is older than allowed.
    fn find(&self, key_id: &str) -> Result<Arc<VerificationKey>, KeyError>;

    /// Whether the set that is held still has exactly this key. Never waits.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no set, or it is older than allowed.
    fn holds(&self, key: &Arc<VerificationKey>) -> Result<bool, Unavailable> {
        match self.find(&key.key_id) {
            Ok(held) => Ok(Arc::ptr_eq(&held, key)),
            Err(KeyError::Unknown) => Ok(false),
            Err(KeyError::Unavailable) => Err(Unavailable),
        }
    }

    /// Fetches the set anew because `key_id` is unknown, unless one was fetched for an unknown id
    /// within the least interval: until it has passed, whatever was missing then is known to be missing.
    /// One flight at a time.
    ///
    /// # Errors
    /// [`KeyError::Unknown`] when the issuer has no such key; [`KeyError::Unavailable`] when that
    /// could not be told because the fetch failed.
    fn fetch<'a>(
        &'a self,
        key_id: &'a str,
    ) -> EdgeFuture<'a, Result<Arc<VerificationKey>, KeyError>>;
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The issuer has no key of this id.
    #[error("the issuer has no such key")]
    Unknown,
    /// The issuer's keys are not known, or too old.
    #[error("the issuer's keys are not available")]
    Unavailable,
}

/// The issuer's keys are not known, or too old.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unavailable;

/// One RSA public key of the issuer, fit for signatures. The same `Arc` as long as the key stays in
/// the set unchanged, so that a cached token can be tied to its key.
pub struct VerificationKey {
    /// Its id.
    pub key_id: String,
    /// The one algorithm it is for, where the issuer says so.
    pub algorithm: Option<jsonwebtoken::Algorithm>,
    /// The key: RSA, 2048 to 8192 bits.
    pub key: PublicKey,
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
