//! The snapshot on disk, as the program that serves takes it: with one or without, it serves.

use super::snapshot_options;
use crate::clock::Clock;
use crate::config::{Config, SnapshotConfig};
use crate::store::{self, Loader, OpenError, Opened, Options, Snapshot};
use crate::sync::ports::{Saved, Store, StoreError};
use std::sync::Arc;

/// What there is to save to, and to load from.
pub(super) struct Taken {
    pub(super) store: Box<dyn Store>,
    /// `None` where nothing can be read now.
    pub(super) loader: Option<Loader>,
}

impl Taken {
    /// `None` when there will be none, however often it is tried. Why is said aloud.
    pub(super) fn from(
        config: &Config,
        at: &SnapshotConfig,
        clock: &Arc<dyn Clock>,
    ) -> Option<Self> {
        let options = snapshot_options(config, at);
        let error = match store::open(&options, clock.wall()) {
            Ok(opened) => {
                tell(&opened);
                let Opened { store, loader, .. } = opened;
                return Some(Self { store: Box::new(store), loader: Some(loader) });
            }
            Err(error) => error,
        };
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, file = %at.file.display(), "the register is not saved");
        match error {
            OpenError::InUse | OpenError::Disk(_) => {
                let later = Later { options, clock: Arc::clone(clock), opened: None };
                Some(Self { store: Box::new(later), loader: None })
            }
            OpenError::Key => None,
        }
    }
}

fn tell(opened: &Opened) {
    if let Some(aside) = &opened.set_aside {
        tracing::warn!(reason = aside.reason.label(), "{aside}");
    }
    if let Some(mode) = opened.tightened {
        tracing::warn!(
            mode = %format_args!("{mode:04o}"),
            "others could read or write the snapshot; it is its owner's alone now (0600)"
        );
    }
}

/// A snapshot that could not be opened at the start: there was no room, or the program before this one had
/// not let go of it yet. Every saving tries again. What is in it then stays, each fact with its own
/// time, until this program has something newer to say of it.
struct Later {
    options: Options,
    clock: Arc<dyn Clock>,
    opened: Option<Snapshot>,
}

impl Store for Later {
    fn save(&mut self, batch: Vec<Saved>) -> Result<(), StoreError> {
        if let Some(snapshot) = &mut self.opened {
            return snapshot.save(batch);
        }
        let opened = store::open(&self.options, self.clock.wall())?;
        tell(&opened);
        self.opened.insert(opened.store).save(batch)
    }
}
