//! The snapshot on disk, as the program that serves takes it: with one or without, it serves.

use super::{Load, OnDisk, snapshot_options};
use crate::clock::Clock;
use crate::config::{Config, SnapshotConfig};
use crate::store::{self, OpenError, Opened, Options, Snapshot};
use crate::sync::ports::{Saved, Store, StoreError};
use std::sync::Arc;

/// What there is to save to, and to load from; `None` when there will be none, however often it is tried. Why
/// is said aloud.
pub(super) fn taken(
    config: &Config,
    at: &SnapshotConfig,
    clock: &Arc<dyn Clock>,
) -> Option<OnDisk> {
    let (options, interval) = (snapshot_options(config, at), at.save_interval);
    let error = match store::open(&options, clock.wall()) {
        Ok(opened) => {
            tell(&opened);
            let Opened { store, loader, .. } = opened;
            let load: Load = Box::new(move |take| {
                if let Err(error) = loader.load(take) {
                    tracing::warn!(%error, "the rest of the snapshot is not taken up");
                }
            });
            return Some(OnDisk { store: Box::new(store), load: Some(load), interval });
        }
        Err(error) => error,
    };
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    tracing::error!(%error, cause, file = %at.file.display(), "the register is not saved");
    match error {
        OpenError::InUse | OpenError::Disk(_) => {
            let later = Later { options, clock: Arc::clone(clock), opened: None };
            Some(OnDisk { store: Box::new(later), load: None, interval })
        }
        OpenError::Key => None,
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
