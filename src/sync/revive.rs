//! Fills a register from what was saved, for people who look at it: nothing runs, and nothing is asked.

use super::mirror::Mirror;
use super::ports::{Saved, StorableQuestion};
use super::restore::Restoring;
use super::status::StatusReader;
use crate::config::RegisterConfig;
use crate::domain::resource::Right;
use crate::register::{Tick, Writer};
use std::time::SystemTime;
use tokio::time::Instant;

/// What followed.
#[derive(Debug)]
pub struct Revived {
    /// As the task would tell.
    pub status: StatusReader,
    /// Permits of the PDP, and when it was asked.
    pub confirmations: Vec<(StorableQuestion, Tick)>,
}

/// Publishes with `writer` what `load` hands over, fact by fact and in any order, as a start at `wall` of the
/// day would.
///
/// # Errors
/// That of `load`.
pub fn revive<E>(
    load: impl FnOnce(&mut dyn FnMut(Saved)) -> Result<(), E>,
    rights: &[Right],
    config: &RegisterConfig,
    writer: &mut Writer,
    wall: SystemTime,
) -> Result<Revived, E> {
    let owner = config.access_lists_owner.clone();
    let mut mirror = Mirror::new(rights, config.policies, owner, Instant::now());
    let mut confirmations = Vec::new();
    let mut confirm = |question, asked| confirmations.push((question, asked));
    let mut restoring = Restoring::new(writer, &mut mirror, &mut confirm, wall);
    load(&mut |saved| restoring.take(saved))?;
    let disputed = restoring.finish().disputed;
    if let Some(verified) = mirror.verified() {
        let index = |right: &Right| Some((writer.right_index(right)?, mirror.state(right)));
        writer.set_policies(rights.iter().filter_map(index).collect());
        writer.policies_verified(verified);
    }
    let status = StatusReader::default();
    let is_off = |id: &_| disputed.iter().any(|question| question.resource() == id);
    status.change(|status| {
        status.verified = mirror.verified();
        status.resources = mirror.tell(&rights.iter().collect::<Vec<_>>(), is_off).into();
    });
    Ok(Revived { status, confirmations })
}
