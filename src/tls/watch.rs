//! Files of certificates, keys and authorities that change: compared every few seconds, and at SIGHUP.
//!
//! Content is compared, not the time of change: Kubernetes swaps a link two folders up, and a watch on the
//! file itself would go blind. What does not serve is not taken; what served before goes on.

use super::{TlsError, read};
use crate::clock::{Clock, SystemClock};
use crate::telemetry::metrics::Metrics;
use aws_lc_rs::digest::{SHA256, digest};
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Something made of files.
pub trait Reloads: fmt::Debug + Send + Sync {
    /// The files.
    fn files(&self) -> Vec<&Path>;

    /// Reads them anew, and takes what they hold or leaves all as it is.
    ///
    /// # Errors
    /// [`TlsError`] when what they hold does not serve.
    fn reload(&self) -> Result<(), TlsError>;
}

/// Watches everything that is made of files.
#[derive(Debug)]
pub struct Watch {
    watched: Vec<Watched>,
    metrics: Metrics,
}

/// The digests of the files when they were last looked at; `None` for one that could not be read.
type Seen = Vec<Option<Vec<u8>>>;

#[derive(Clone, Debug)]
struct Watched {
    what: Arc<dyn Reloads>,
    seen: Seen,
}

impl Watch {
    /// Begins with what the files hold now.
    #[must_use]
    pub fn new(what: Vec<Arc<dyn Reloads>>, metrics: Metrics) -> Self {
        let begin = |what: Arc<dyn Reloads>| {
            let seen = look(&*what);
            // They may have changed since they were read; what does not serve has been told of then.
            let _ = what.reload();
            Watched { what, seen }
        };
        Self { watched: what.into_iter().map(begin).collect(), metrics }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        // Without it, SIGHUP would end the program.
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = next(&mut hangup) => tracing::info!("SIGHUP: certificates are looked at"),
                () = stop.cancelled() => return,
            }
            for watched in &mut self.watched {
                // A disk that hangs must not stop what else runs here.
                let once = watched.clone();
                let looked = tokio::task::spawn_blocking(move || once.look()).await;
                if let Ok((seen, Some(taken))) = looked {
                    watched.seen = seen;
                    tell(&*watched.what, &taken, &self.metrics);
                }
            }
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

impl Watched {
    /// What the files hold, and what became of it if it is something else than before.
    fn look(&self) -> (Seen, Option<Result<(), TlsError>>) {
        let seen = look(&*self.what);
        let taken = (seen != self.seen).then(|| self.what.reload());
        (seen, taken)
    }
}

fn look(what: &dyn Reloads) -> Seen {
    let digest = |path| read(path).ok().map(|bytes| digest(&SHA256, &bytes).as_ref().to_vec());
    what.files().into_iter().map(digest).collect()
}

fn tell(what: &dyn Reloads, taken: &Result<(), TlsError>, metrics: &Metrics) {
    let files: Vec<String> = what.files().iter().map(|path| path.display().to_string()).collect();
    let files = files.join(", ");
    match taken {
        Ok(()) => {
            metrics.tls_reloads.with_label_values(&["taken"]).inc();
            tracing::info!(files, "changed certificates are in use");
        }
        Err(error) => {
            metrics.tls_reloads.with_label_values(&["refused"]).inc();
            let cause = error.source().map(ToString::to_string);
            tracing::error!(%error, cause, files, "changed certificates are not used; the old ones are");
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    SystemClock.now().seconds()
}
