//! Judging, and showing the register, from what was saved: nothing is asked, nothing is written.

use super::{AppError, answers_by, confirmations, routed, snapshot_options, told};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, RegisterConfig};
use crate::domain::decision::{Cause, Undecided, Verdict};
use crate::domain::resource::Question;
use crate::enforce::Enforcer;
use crate::enforce::answers::Answers;
use crate::enforce::authenticate::Authenticator;
use crate::enforce::ports::{Call, EdgeFuture, KeyError, KeySource, RemotePdp, VerificationKey};
use crate::enforce::rate::Rates;
use crate::enforce::route::Routes;
use crate::enforce::vigil::Newest;
use crate::maskinporten::key_set::ParsedKeySet;
use crate::register::{self, Limits, Reader, Ticks};
use crate::serve::register::RegisterPages;
use crate::store::{CannotLoad, LookError, Options, look};
use crate::sync::revive::{Revived, revive};
use crate::telemetry::metrics::Metrics;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Why nothing can be shown, or judged, from what was saved.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The register is switched off, or no route asks for a right.
    #[error("no register is kept: `register.enabled` is false, or no route asks for a right")]
    NoRegister,
    /// None is configured.
    #[error(
        "no snapshot is configured: write `register.snapshot.file`, or ask the running process \
         (leave out --snapshot)"
    )]
    NoSnapshot,
    /// Another process keeps it.
    #[error(
        "the snapshot {} is kept by the running process: ask that (leave out --snapshot)",
        .0.display()
    )]
    InUse(PathBuf),
    /// It cannot be looked at.
    #[error("the snapshot {} cannot be read; it is left as it is", .0.display())]
    Look(PathBuf, #[source] LookError),
    /// It fails half way.
    #[error(transparent)]
    Load(#[from] CannotLoad),
    /// A part cannot be built.
    #[error(transparent)]
    App(#[from] AppError),
}

/// Which snapshot the configuration names; `None` when it names none.
#[must_use]
pub fn snapshot(config: &Config) -> Option<Options> {
    let snapshot = config.register.as_ref()?.snapshot.as_ref()?;
    Some(snapshot_options(config, snapshot))
}

/// The register as it was saved.
struct Held {
    reader: Reader,
    revived: Revived,
}

fn held(config: &Config, register: &RegisterConfig, ticks: &Ticks) -> Result<Held, OfflineError> {
    let options = snapshot(config).ok_or(OfflineError::NoSnapshot)?;
    let wall = SystemClock.wall();
    let loader = look(&options, wall).map_err(|error| match error {
        LookError::InUse => OfflineError::InUse(options.path.clone()),
        error => OfflineError::Look(options.path.clone(), error),
    })?;
    let rights = routed(config);
    // All that was saved is shown, whatever may be watched now.
    let limits = Limits { max_entries: usize::MAX, max_sets: register::MAX_SETS };
    let opened = register::open(rights.clone(), limits, ticks.clone());
    let (mut writer, reader) = opened.map_err(AppError::from)?;
    let revived = revive(|take| loader.load(take), &rights, register, &mut writer, wall)?;
    Ok(Held { reader, revived })
}

/// The register's pages as they were saved.
///
/// # Errors
/// [`OfflineError`] when there is no snapshot that can be read.
pub fn pages(config: &Config) -> Result<RegisterPages, OfflineError> {
    let register = config.register.as_ref().ok_or(OfflineError::NoRegister)?;
    let Held { reader, revived } = held(config, register, &Ticks::new())?;
    let bounds = told::bounds(config).ok_or(OfflineError::NoRegister)?;
    Ok(RegisterPages::new(reader, revived.status, bounds, None))
}

/// What judges while Altinn counts as away: from the snapshot, where one is configured.
///
/// # Errors
/// [`OfflineError`] when a snapshot is configured and cannot be read, or a part cannot be built.
pub fn enforcer(
    config: &Config,
    metrics: &Metrics,
    keys: Arc<dyn KeySource>,
) -> Result<Enforcer, OfflineError> {
    let ticks = Ticks::new();
    let pdp: Arc<dyn RemotePdp> = Arc::new(Away);
    let confirmations = Arc::new(confirmations(config, &pdp, &ticks, metrics));
    let held = match &config.register {
        Some(register) if register.snapshot.is_some() => Some(held(config, register, &ticks)?),
        Some(_) | None => None,
    };
    for (question, asked) in held.iter().flat_map(|held| &held.revived.confirmations) {
        confirmations.restore(question.question(), *asked);
    }
    let register = held.map(|held| held.reader);
    let answers = Answers { register, ..answers_by(config, confirmations, ticks, None) };
    let rates = Rates::new(&config.limits);
    let (limits, tokens) = (config.limits.clone(), config.tokens.clone());
    let authenticator = Authenticator::new(keys, Arc::new(SystemClock), tokens);
    Ok(Enforcer {
        limits,
        routes: Arc::new(Routes::new(config.routes.clone()).map_err(AppError::from)?),
        authenticator: authenticator.map_err(AppError::from)?,
        rates,
        answers: Some(Arc::new(answers)),
        budget: config.altinn.budget,
        check_digits: config.tokens.rules.check_digits,
        newest: Newest::default(),
    })
}

/// Altinn's PDP when nobody may be asked.
struct Away;

impl RemotePdp for Away {
    fn ask<'a>(&'a self, _: &'a Question, _: Call) -> EdgeFuture<'a, Result<Verdict, Undecided>> {
        Box::pin(async { Err(Cause::Unreachable.into()) })
    }

    fn ask_all<'a>(
        &'a self,
        questions: &'a [Question],
        _: Call,
    ) -> EdgeFuture<'a, Vec<Result<Verdict, Undecided>>> {
        Box::pin(async { questions.iter().map(|_| Err(Cause::Unreachable.into())).collect() })
    }
}

/// Keys of the issuer that somebody has saved; none is fetched.
#[derive(Debug)]
pub struct SavedKeys(Option<HashMap<String, Arc<VerificationKey>>>);

impl SavedKeys {
    /// These keys; without any, no token can be verified.
    #[must_use]
    pub fn new(keys: Option<ParsedKeySet>) -> Self {
        let by_id = |key: VerificationKey| (key.key_id.clone(), Arc::new(key));
        Self(keys.map(|set| set.keys.into_iter().map(by_id).collect()))
    }
}

impl KeySource for SavedKeys {
    fn find(&self, key_id: &str) -> Result<Arc<VerificationKey>, KeyError> {
        let keys = self.0.as_ref().ok_or(KeyError::Unavailable)?;
        keys.get(key_id).cloned().ok_or(KeyError::Unknown)
    }

    fn fetch<'a>(
        &'a self,
        key_id: &'a str,
    ) -> EdgeFuture<'a, Result<Arc<VerificationKey>, KeyError>> {
        let found = self.find(key_id);
        Box::pin(async { found })
    }
}
