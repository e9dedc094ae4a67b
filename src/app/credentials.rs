//! The files that our Maskinporten client's credentials came from: whether they have changed, and into what.
//!
//! Content is compared, not the time of change: Kubernetes swaps a link two folders up. What changed counts when two
//! looks in a row find the same, so that a folder whose files are written one after the other is not read half.

use crate::config::{ClientConfig, Config, ConfigErrors};
use crate::tls::read;
use aws_lc_rs::digest::{SHA256, digest};
use std::path::PathBuf;

/// What the files hold, as digests; `None` for one that could not be read.
type Seen = Vec<Option<Vec<u8>>>;

/// The files, and what is known of them.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    files: Vec<PathBuf>,
    /// What is in use; empty until it was compared once, for files may change while the program starts.
    taken: Seen,
    last: Seen,
    refused: Option<Seen>,
}

/// What a look has found.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing new.
    Same,
    /// What was refused is gone, and there is again what is in use.
    AsBefore,
    /// Files that are not known: to be settled by [`Credentials::settle`].
    Other(Result<ClientConfig, ConfigErrors>),
}

impl Credentials {
    /// Those of a configuration.
    pub(super) fn of(config: &Config) -> Self {
        let client = config.maskinporten.client.as_ref();
        let files = client.map(|client| client.files.clone()).unwrap_or_default();
        Self { files, ..Self::default() }
    }

    /// Looks once; what has changed is had by `load`.
    pub(super) fn look(
        &mut self,
        load: impl FnOnce() -> Result<ClientConfig, ConfigErrors>,
    ) -> Found {
        let seen = look(&self.files);
        let last = std::mem::replace(&mut self.last, seen.clone());
        if seen != last || self.refused.as_ref() == Some(&seen) {
            return Found::Same;
        }
        if seen == self.taken {
            return if self.refused.take().is_some() { Found::AsBefore } else { Found::Same };
        }
        Found::Other(load())
    }

    /// What was found last is in use, or is refused.
    pub(super) fn settle(&mut self, taken: bool) {
        if taken {
            (self.taken, self.refused) = (self.last.clone(), None);
        } else {
            self.refused = Some(self.last.clone());
        }
    }
}

fn look(files: &[PathBuf]) -> Seen {
    let of =
        |path: &PathBuf| read(path).ok().map(|bytes| digest(&SHA256, &bytes).as_ref().to_vec());
    files.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn client() -> ClientConfig {
        ClientConfig {
            client_id: "ours".into(),
            key: "".into(),
            key_id: None,
            scopes: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Looks until the files have settled; whether they were read then.
    fn settled(credentials: &mut Credentials) -> bool {
        assert!(
            matches!(credentials.look(|| Ok(client())), Found::Same),
            "seen once is not settled"
        );
        matches!(credentials.look(|| Ok(client())), Found::Other(_))
    }

    #[test]
    fn what_changed_counts_when_it_has_settled_and_what_was_refused_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "one").unwrap();
        let mut credentials = Credentials { files: vec![file.clone()], ..Credentials::default() };
        assert!(settled(&mut credentials), "compared once after the start");
        credentials.settle(true);
        assert!(matches!(credentials.look(|| Ok(client())), Found::Same));

        fs::write(&file, "two").unwrap();
        assert!(settled(&mut credentials));
        credentials.settle(false);
        assert!(matches!(credentials.look(|| Ok(client())), Found::Same), "refused, and told of");
        fs::write(&file, "three").unwrap();
        assert!(settled(&mut credentials), "something else");
        credentials.settle(false);
        fs::write(&file, "one").unwrap();
        assert!(matches!(credentials.look(|| Ok(client())), Found::Same));
        assert!(matches!(credentials.look(|| Ok(client())), Found::AsBefore));
        assert!(matches!(credentials.look(|| Ok(client())), Found::Same));

        fs::remove_file(&file).unwrap();
        assert!(settled(&mut credentials), "a file that is gone is another state too");
    }
}
