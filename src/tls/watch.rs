//! Files of certificates, keys and authorities that change: compared every few seconds, and at SIGHUP.
//!
//! Content is compared, not the time of change: Kubernetes swaps a link two folders up, and a watch on the
//! file itself would go blind. What does not serve is not taken; what served before goes on. It is tried again
//! at every look all the same: a certificate that is not valid yet serves later, without another change.

use super::{TlsError, read};
use crate::clock::{Clock, SystemClock};
use crate::telemetry::metrics::Metrics;
use aws_lc_rs::digest::{SHA256, digest};
use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
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
    what: watch::Receiver<All>,
    metrics: Metrics,
}

/// All that is made of files now.
pub type All = Vec<Arc<dyn Reloads>>;

/// The digests of the files when they were last looked at; `None` for one that could not be read.
type Seen = Vec<Option<Vec<u8>>>;

#[derive(Clone, Debug)]
struct Watched {
    what: Arc<dyn Reloads>,
    /// What is in use.
    taken: Seen,
    /// What was refused since, and has been told of.
    refused: Option<Seen>,
}

impl Watch {
    /// Begins with what the files hold now; follows `what` when it changes.
    #[must_use]
    pub fn new(mut what: watch::Receiver<All>, metrics: Metrics) -> Self {
        let watched = what.borrow_and_update().iter().cloned().map(Watched::begin).collect();
        Self { watched, what, metrics }
    }

    /// Watches what there is now. What was watched before goes on as it stood; of a file that is used no more
    /// nothing is told any more.
    async fn follow(&mut self) {
        let all = self.what.borrow_and_update().clone();
        let before = std::mem::take(&mut self.watched);
        let used: HashSet<PathBuf> = files(all.iter()).collect();
        for file in files(before.iter().map(|watched| &watched.what)) {
            if !used.contains(&file) {
                let label = file.to_string_lossy();
                // Keys and authorities have none.
                let _ = self.metrics.tls_certificate_ends.remove_label_values(&[label.as_ref()]);
            }
        }
        for what in all {
            let same = before.iter().find(|watched| Arc::ptr_eq(&watched.what, &what));
            if let Some(same) = same {
                self.watched.push(same.clone());
            } else if let Ok(new) = spawn_blocking(move || Watched::begin(what)).await {
                self.watched.push(new);
            }
        }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        // Without it, SIGHUP would end the program.
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let asked = tokio::select! {
                // Who gave it is not gone before `stop`.
                Ok(()) = self.what.changed() => {
                    self.follow().await;
                    continue;
                }
                () = tokio::time::sleep(INTERVAL) => false,
                () = next(&mut hangup) => true,
                () = stop.cancelled() => return,
            };
            if asked {
                tracing::info!("SIGHUP: certificates are read");
            }
            for watched in &mut self.watched {
                // A disk that hangs must not stop what else runs here.
                let once = watched.clone();
                let looked = spawn_blocking(move || once.look(asked)).await;
                if let Ok((seen, Some(taken))) = looked {
                    count(&taken, &self.metrics);
                    if watched.note(seen, &taken) || asked {
                        tell(&*watched.what, &taken);
                    }
                }
            }
        }
    }
}

/// The next time that it comes; never, where signals cannot be waited for.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

impl Watched {
    fn begin(what: Arc<dyn Reloads>) -> Self {
        let taken = look(&*what);
        // They may have changed since they were read; what does not serve has been told of then.
        let refused = what.reload().is_err().then(|| taken.clone());
        Self { what, taken, refused }
    }

    /// What the files hold, and what became of it: where it is not in use, or where somebody asked.
    fn look(&self, asked: bool) -> (Seen, Option<Result<(), TlsError>>) {
        let seen = look(&*self.what);
        let read = asked || self.refused.is_some() || seen != self.taken;
        let taken = read.then(|| self.what.reload());
        (seen, taken)
    }

    /// Remembers what became of it. Whether that is news: the same is not refused aloud every few seconds.
    fn note(&mut self, seen: Seen, taken: &Result<(), TlsError>) -> bool {
        if taken.is_ok() {
            self.taken = seen;
            self.refused = None;
            return true;
        }
        let news = self.refused.as_ref() != Some(&seen);
        self.refused = Some(seen);
        news
    }
}

fn files<'w>(
    all: impl Iterator<Item = &'w Arc<dyn Reloads>> + 'w,
) -> impl Iterator<Item = PathBuf> + 'w {
    all.flat_map(|what| what.files().into_iter().map(Path::to_owned).collect::<Vec<_>>())
}

fn look(what: &dyn Reloads) -> Seen {
    let digest = |path| read(path).ok().map(|bytes| digest(&SHA256, &bytes).as_ref().to_vec());
    what.files().into_iter().map(digest).collect()
}

/// Every refusal counts, so that an alert lasts for as long as the files do not serve.
fn count(taken: &Result<(), TlsError>, metrics: &Metrics) {
    let result = if taken.is_ok() { "taken" } else { "refused" };
    metrics.tls_reloads.with_label_values(&[result]).inc();
}

fn tell(what: &dyn Reloads, taken: &Result<(), TlsError>) {
    let files: Vec<String> = what.files().iter().map(|path| path.display().to_string()).collect();
    let files = files.join(", ");
    match taken {
        Ok(()) => tracing::info!(files, "changed certificates are in use"),
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            tracing::error!(%error, cause, files, "changed certificates are not used; the old ones are");
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    SystemClock.now().seconds()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// A file that serves or not, whatever it holds: as a certificate does by its time.
    #[derive(Debug)]
    struct File {
        path: PathBuf,
        serves: AtomicBool,
        read: AtomicUsize,
    }

    impl Reloads for File {
        fn files(&self) -> Vec<&Path> {
            vec![&self.path]
        }

        fn reload(&self) -> Result<(), TlsError> {
            self.read.fetch_add(1, Ordering::Relaxed);
            if self.serves.load(Ordering::Relaxed) { Ok(()) } else { Err(TlsError::OutOfDate) }
        }
    }

    fn watched(folder: &Path, serves: bool) -> (Arc<File>, Watched) {
        let path = folder.join("tls.crt");
        std::fs::write(&path, "one").unwrap();
        let file = File { path, serves: AtomicBool::new(serves), read: AtomicUsize::new(0) };
        let file = Arc::new(file);
        let watched = Watched::begin(Arc::<File>::clone(&file));
        (file, watched)
    }

    /// Looks once: whether anything was read, and whether that is to be told.
    fn once(watched: &mut Watched, asked: bool) -> Option<(bool, bool)> {
        let (seen, taken) = watched.look(asked);
        taken.map(|taken| (taken.is_ok(), watched.note(seen, &taken)))
    }

    #[test]
    fn what_was_refused_is_tried_again_until_it_serves_and_told_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut watched) = watched(folder.path(), true);
        assert_eq!(once(&mut watched, false), None, "nothing changed");
        std::fs::write(&file.path, "not valid yet").unwrap();
        file.serves.store(false, Ordering::Relaxed);
        assert_eq!(once(&mut watched, false), Some((false, true)));
        assert_eq!(once(&mut watched, false), Some((false, false)));
        std::fs::write(&file.path, "nor this").unwrap();
        assert_eq!(once(&mut watched, false), Some((false, true)), "something else");
        file.serves.store(true, Ordering::Relaxed);
        assert_eq!(once(&mut watched, false), Some((true, true)), "its time has come");
        assert_eq!(once(&mut watched, false), None);
    }

    #[test]
    fn what_did_not_serve_at_the_start_is_tried_again_too() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut watched) = watched(folder.path(), false);
        assert_eq!(once(&mut watched, false), Some((false, false)), "told of at the start");
        file.serves.store(true, Ordering::Relaxed);
        assert_eq!(once(&mut watched, false), Some((true, true)));
    }

    #[tokio::test]
    async fn of_a_certificate_that_is_used_no_more_nothing_is_told() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (first, _) = watched(one.path(), true);
        let (second, _) = watched(other.path(), true);
        let metrics = Metrics::new().unwrap();
        let ends = |file: &File| {
            let label = file.path.to_string_lossy().into_owned();
            metrics.tls_certificate_ends.remove_label_values(&[label.as_str()])
        };
        let (set, what) = watch::channel::<All>(vec![Arc::<File>::clone(&first)]);
        let mut watch = Watch::new(what, metrics.clone());
        for file in [&first, &second] {
            let label = file.path.to_string_lossy();
            metrics.tls_certificate_ends.with_label_values(&[label.as_ref()]).set(1);
        }
        set.send_replace(vec![Arc::<File>::clone(&second)]);
        watch.follow().await;
        assert!(ends(&first).is_err() && ends(&second).is_ok());
        let files: Vec<_> = files(watch.watched.iter().map(|watched| &watched.what)).collect();
        assert_eq!(files, std::slice::from_ref(&second.path));
    }

    #[test]
    fn whoever_asks_has_it_read_changed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut watched) = watched(folder.path(), true);
        let before = file.read.load(Ordering::Relaxed);
        assert_eq!(once(&mut watched, true), Some((true, true)));
        assert_eq!(file.read.load(Ordering::Relaxed), before + 1);
    }
}
