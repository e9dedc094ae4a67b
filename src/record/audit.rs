//! Audit records: JSON, one a line, written by a thread of its own so that no request waits for a disk.

use super::chain::{Event, KeyError, MacKey, Sealer, Signer, Why};
use super::output::{LogFile, Output, Plain};
use super::resume::{Resumed, resume};
use super::writer::{Alive, Chain, Counters, Item, Message, Shared, Writer};
use crate::clock::{Clock, SystemClock};
use crate::config::{AuditConfig, AuditOutput, ChainConfig, OnLoss};
use crate::telemetry::metrics::Metrics;
use prometheus::IntCounter;
use secrecy::ExposeSecret;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long the end of the program waits for lines that are still queued: a pipe that nobody reads
/// takes none.
const CLOSING: Duration = Duration::from_secs(5);

/// The way to the audit output.
pub struct Audit {
    queue: Sender<Message>,
    shared: Arc<Shared>,
    /// Most places.
    places: usize,
    on_loss: OnLoss,
    /// Hangs up when the thread that writes has ended.
    writing: Mutex<Receiver<()>>,
    dropped: IntCounter,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

/// The audit output cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened for appending.
    #[error("the audit file {} cannot be opened for appending", .0.display())]
    Open(PathBuf, #[source] io::Error),
    /// The file cannot be read to take up its chain, or what is no sealed log cannot be set aside.
    #[error("the chain of the audit file {} cannot be taken up", .0.display())]
    Resume(PathBuf, #[source] io::Error),
    /// Another process, or another log of this one, has it open and seals it.
    #[error("the audit file {} is written by another process; a chain has one writer", .0.display())]
    Taken(PathBuf),
    /// The key that signs checkpoints cannot be used.
    #[error("`audit.chain.signing_key` cannot be used")]
    Key(#[source] KeyError),
    /// The writing thread cannot be started.
    #[error("the thread that writes audit lines cannot be started")]
    Thread(#[source] io::Error),
}

/// A request is not let through: its record could not be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stopped;

/// A place in the queue that is kept for the record of a request.
#[derive(Debug)]
pub struct Place(Option<Arc<Shared>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.taken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Audit {
    /// Opens the output and starts the thread that writes to it. Should that thread ever end but by
    /// [`Audit::close`], `ended` is called.
    ///
    /// # Errors
    /// [`AuditError`] when the file cannot be opened, its chain not be taken up, or the thread not started.
    pub fn open(
        config: &AuditConfig,
        metrics: &Metrics,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Self, AuditError> {
        let ended = Box::new(ended);
        let sealer = config.chain.as_ref().map(sealer).transpose()?;
        let chain = config.chain.as_ref().zip(sealer);
        let now = SystemClock.wall();
        let new_chain = || uuid::Uuid::new_v4().simple().to_string();
        match &config.output {
            AuditOutput::Stdout => {
                // Not the library's own handle, which keeps what it could not write.
                let own = io::stdout().as_fd().try_clone_to_owned();
                let own = own.map_err(|error| AuditError::Open("/dev/stdout".into(), error))?;
                let resumed = Resumed::new(new_chain());
                let output = Plain(File::from(own));
                Self::start(output, (config, metrics), (chain, resumed), ended)
            }
            AuditOutput::File(path) => {
                let log = LogFile::open(path, config.rotate, now);
                let mut log = log.map_err(|error| AuditError::Open(path.clone(), error))?;
                if chain.is_some() && !log.lock() {
                    return Err(AuditError::Taken(path.clone()));
                }
                let resumed = match &chain {
                    Some((_, sealer)) => resume(&mut log, sealer, new_chain(), now),
                    None => log.tail(1).map(|last| Resumed::unsealed(&last)),
                };
                let resumed = resumed.map_err(|error| AuditError::Resume(path.clone(), error))?;
                Self::start(log, (config, metrics), (chain, resumed), ended)
            }
        }
    }

    fn start(
        output: impl Output,
        (config, metrics): (&AuditConfig, &Metrics),
        (chain, resumed): (Option<(&ChainConfig, Sealer)>, Resumed),
        ended: Box<dyn FnOnce() + Send>,
    ) -> Result<Self, AuditError> {
        let (queue, messages) = channel();
        let (alive, writing) = channel();
        let shared = Arc::new(Shared::default());
        let result = |name| metrics.audit_records.with_label_values(&[name]);
        let Resumed { head, torn, expected } = resumed;
        let begins = Event::Checkpoint { why: Why::Start, expected };
        let owed = chain.is_some().then(|| Item::Event(begins, rfc3339(SystemClock.wall())));
        let writer = Writer {
            output,
            queue: messages,
            shared: Arc::clone(&shared),
            clock: Arc::new(SystemClock),
            on_loss: config.on_loss,
            counters: Counters {
                written: result("written"),
                failed: result("failed"),
                rotations: metrics.audit_rotations.clone(),
                sequence: metrics.audit_sequence.clone(),
            },
            chain: chain.map(|(config, sealer)| Chain {
                sealer,
                head,
                records: u64::try_from(config.checkpoint_records.get()).unwrap_or(u64::MAX),
                interval: config.checkpoint_interval,
                since: 0,
                last: Instant::now(),
            }),
            torn,
            owed: owed.into_iter().collect(),
            items: VecDeque::new(),
            stuck: None,
            _alive: Alive {
                shared: Arc::clone(&shared),
                ended: Some(ended),
                dropped: result("dropped"),
                _line: alive,
            },
        };
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run())
            .map_err(AuditError::Thread)?;
        Ok(Self {
            queue,
            shared,
            places: config.queue.get(),
            on_loss: config.on_loss,
            writing: Mutex::new(writing),
            dropped: result("dropped"),
        })
    }

    /// Keeps a place for the record of a request, where the operator wants no request without one.
    ///
    /// # Errors
    /// [`Stopped`] while records cannot be written, or wait in such numbers that none may be added.
    pub fn admit(&self) -> Result<Option<Place>, Stopped> {
        match self.on_loss {
            OnLoss::Count => Ok(None),
            OnLoss::Stop if self.writes_nothing() => Err(Stopped),
            OnLoss::Stop => self.place().map(Some).ok_or(Stopped),
        }
    }

    /// Whether requests are refused because their records could not be written.
    #[must_use]
    pub fn stopped(&self) -> bool {
        let full = || self.waiting() >= self.places;
        self.on_loss == OnLoss::Stop && (self.writes_nothing() || full())
    }

    /// The output takes nothing, or the log is closed.
    fn writes_nothing(&self) -> bool {
        self.shared.failing.load(Ordering::Acquire) || self.shared.closed.load(Ordering::Acquire)
    }

    /// Places taken: by records that wait to be written, and by requests that were promised one.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.taken.load(Ordering::Acquire)
    }

    fn place(&self) -> Option<Place> {
        let next = |taken| (taken < self.places).then(|| taken + 1);
        let taken = self.shared.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        taken.ok().map(|_| Place(Some(Arc::clone(&self.shared))))
    }

    /// Hands a line over, which has no end of line in it, in the place that was kept for it. One without a place that finds none is
    /// dropped and counted.
    pub fn write(&self, line: Vec<u8>, place: Option<Place>) {
        let place = place.or_else(|| self.place());
        let closed = self.shared.closed.load(Ordering::Acquire);
        let (Some(mut place), false) = (place, closed) else {
            return self.lost();
        };
        // From here on it is the writer's.
        let ours = place.0.take();
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        if self.queue.send(Message::Line(line)).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::AcqRel);
            drop(Place(ours));
            self.lost();
        }
    }

    fn lost(&self) {
        self.dropped.inc();
        self.shared.lost.fetch_add(1, Ordering::AcqRel);
    }

    /// Has the file looked at now, and opened anew where it was renamed.
    pub fn reopen(&self) {
        // A thread that has ended has no file open.
        let _ = self.queue.send(Message::Look);
    }

    /// Writes what is queued and stops the thread, for five seconds at most: what is not written by then
    /// is counted as dropped. So are lines handed over later.
    pub fn close(&self) {
        self.close_within(CLOSING);
    }

    fn close_within(&self, limit: Duration) {
        self.shared.closed.store(true, Ordering::Release);
        // The end goes through the queue, behind every line before it.
        let _ = self.queue.send(Message::End);
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let lost = self.shared.queued.load(Ordering::Acquire);
            self.dropped.inc_by(lost);
            tracing::error!(
                lost,
                "the audit output takes nothing; lines that were queued are lost"
            );
        }
    }
}

fn sealer(config: &ChainConfig) -> Result<Sealer, AuditError> {
    let signer = Signer::from_pem(config.signing_key.expose_secret()).map_err(AuditError::Key)?;
    Ok(Sealer { mac: MacKey::new(config.mac_key.expose_secret()), signer })
}

/// A time of day as RFC 3339 in UTC, to the microsecond.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    let mut text = Vec::with_capacity(RFC3339);
    write_rfc3339(at, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Bytes of a time of day.
const RFC3339: usize = "0000-00-00T00:00:00.000000Z".len();

/// The same, behind what is in `text`.
pub(super) fn write_rfc3339(at: SystemTime, text: &mut Vec<u8>) {
    thread_local! {
        /// The last second that was written, and its text.
        static LAST: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [0; 20])) };
    }
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    // Many records fall into one second.
    let (mut last, mut whole) = LAST.get();
    if last != seconds {
        (last, whole) = (seconds, second(seconds));
        LAST.set((last, whole));
    }
    text.extend_from_slice(&whole);
    let mut fraction = *b"000000Z";
    digits(&mut fraction, 6, 6, micros.into());
    text.extend_from_slice(&fraction);
}

/// Up to the point before its fraction. By hand: the formatter of the library takes ten times as long.
fn second(seconds: u64) -> [u8; 20] {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let mut text = *b"0000-00-00T00:00:00.";
    for (number, end, width) in
        [(year, 4, 4), (month, 7, 2), (day, 10, 2), (hour, 13, 2), (minute, 16, 2), (second, 19, 2)]
    {
        digits(&mut text, end, width, number);
    }
    text
}

/// Writes the last `width` digits of a number so that they end before the place `end`.
fn digits(text: &mut [u8], end: usize, width: usize, number: u64) {
    let mut rest = number;
    for digit in text.iter_mut().take(end).rev().take(width) {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
}

/// Day number since 1970-01-01 to year, month and day. Source: H. Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", `civil_from_days`, for days not before 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RotateConfig;
    use crate::record::output::Turn;
    use std::io::Write;
    use std::num::NonZeroUsize;

    fn to(output: impl Write + Send + 'static, queue: usize, metrics: &Metrics) -> Audit {
        let queue = NonZeroUsize::new(queue).unwrap();
        let config = AuditConfig { queue, ..config(AuditOutput::Stdout) };
        let no_chain = (None, Resumed::new(String::new()));
        Audit::start(Plain(output), (&config, metrics), no_chain, Box::new(|| ())).unwrap()
    }

    fn config(output: AuditOutput) -> AuditConfig {
        AuditConfig {
            output,
            queue: NonZeroUsize::new(4).unwrap(),
            on_loss: OnLoss::Count,
            rotate: RotateConfig::default(),
            chain: None,
            pseudonym_key: None,
        }
    }

    #[test]
    fn a_time_is_written_as_rfc_3339() {
        let at = |seconds, micros| {
            rfc3339(
                SystemTime::UNIX_EPOCH
                    + Duration::from_secs(seconds)
                    + Duration::from_micros(micros),
            )
        };
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_399, 5), "2000-02-28T23:59:59.000005Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000000Z");
        assert_eq!(at(1_795_392_000, 0), "2026-11-23T00:00:00.000000Z");
    }

    #[test]
    fn what_was_handed_over_is_written_before_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let metrics = Metrics::new().unwrap();
        let audit = Audit::open(&config(AuditOutput::File(path.clone())), &metrics, || ()).unwrap();
        audit.write(b"{\"a\":1}".to_vec(), None);
        audit.write(b"{\"b\":2}".to_vec(), None);
        audit.close();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"a\":1}\n{\"b\":2}\n");
        assert_eq!(metrics.audit_records.with_label_values(&["written"]).get(), 2);
        audit.write(b"{}".to_vec(), None);
        assert_eq!(metrics.audit_records.with_label_values(&["dropped"]).get(), 1);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let metrics = Metrics::new().unwrap();
        let full = config(AuditOutput::File("/dev/full".into()));
        let audit = Audit::open(&full, &metrics, || ()).unwrap();
        audit.write(b"{}".to_vec(), None);
        audit.close();
        assert_eq!(metrics.audit_records.with_label_values(&["failed"]).get(), 1);
    }

    /// Takes nothing until the sender is dropped.
    struct Unread(Receiver<()>);

    impl Write for Unread {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_takes_nothing_does_not_hold_the_end() {
        let metrics = Metrics::new().unwrap();
        let (hold, unread) = channel();
        let audit = to(Unread(unread), 2, &metrics);
        for _ in 0..10 {
            audit.write(b"{}".to_vec(), None);
        }
        let begun = Instant::now();
        audit.close_within(Duration::from_millis(100));
        assert!(begun.elapsed() < Duration::from_secs(4));
        audit.write(b"{}".to_vec(), None);
        assert_eq!(metrics.audit_records.with_label_values(&["dropped"]).get(), 11);
        drop(hold);
    }

    /// Takes as many bytes as the script says, and fails where it says none.
    #[derive(Clone)]
    struct Scripted(Arc<Mutex<(Vec<usize>, Vec<u8>)>>);

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            let most = state.0.pop().unwrap_or(usize::MAX).min(bytes.len());
            state.1.extend_from_slice(&bytes[..most]);
            if most == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(most) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_lost_is_never_written_later_and_glues_nothing() {
        // Last first: the second line comes to its newline and fails there, as does the first mending.
        let output = Scripted(Arc::new(Mutex::new((vec![0, 0, 3, 4], Vec::new()))));
        let metrics = Metrics::new().unwrap();
        let audit = to(output.clone(), 8, &metrics);
        let count = |result| metrics.audit_records.with_label_values(&[result]).get();
        for (line, sum) in [(111, 1), (222, 2), (333, 3), (444, 4)] {
            audit.write(serde_json::json!(line).to_string().into_bytes(), None);
            while count("written") + count("failed") < sum {
                std::thread::yield_now();
            }
        }
        audit.close();
        let state = output.0.lock().unwrap();
        assert_eq!(String::from_utf8_lossy(&state.1), "111\n222\n444\n");
        assert_eq!((count("written"), count("failed")), (2, 2));
    }

    /// Breaks down at the first byte.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("as a fault of ours would")
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_broke_down_is_told_of_and_stops_traffic_where_that_was_chosen() {
        for on_loss in [OnLoss::Stop, OnLoss::Count] {
            let metrics = Metrics::new().unwrap();
            let config = AuditConfig { on_loss, ..config(AuditOutput::Stdout) };
            let (tell, told) = channel();
            let ended = Box::new(move || tell.send(()).unwrap());
            let no_chain = (None, Resumed::new(String::new()));
            let audit = Audit::start(Plain(Broken), (&config, &metrics), no_chain, ended).unwrap();
            let place = audit.admit().unwrap();
            audit.write(b"{}".to_vec(), place);
            told.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(audit.admit().is_err(), on_loss == OnLoss::Stop);
            assert_eq!(audit.stopped(), on_loss == OnLoss::Stop);
            audit.write(b"{}".to_vec(), None);
            // The one that it left behind, and the one that came after.
            assert_eq!(metrics.audit_records.with_label_values(&["dropped"]).get(), 2);
        }
    }

    #[test]
    fn a_closed_log_stops_traffic_where_that_was_chosen() {
        for on_loss in [OnLoss::Stop, OnLoss::Count] {
            let metrics = Metrics::new().unwrap();
            let config = AuditConfig { on_loss, ..config(AuditOutput::File("/dev/null".into())) };
            let audit = Audit::open(&config, &metrics, || ()).unwrap();
            assert!(audit.admit().is_ok() && !audit.stopped());
            audit.close();
            let stops = on_loss == OnLoss::Stop;
            assert_eq!((audit.admit().is_err(), audit.stopped()), (stops, stops));
        }
    }

    #[test]
    fn a_place_that_is_not_used_is_given_back() {
        let metrics = Metrics::new().unwrap();
        let (hold, unread) = channel();
        let config = AuditConfig { on_loss: OnLoss::Stop, ..config(AuditOutput::Stdout) };
        let no_chain = (None, Resumed::new(String::new()));
        let output = Plain(Unread(unread));
        let audit = Audit::start(output, (&config, &metrics), no_chain, Box::new(|| ())).unwrap();
        let places: Vec<_> = (0..4).map(|_| audit.admit().unwrap()).collect();
        assert!(audit.admit().is_err() && audit.stopped(), "all four are taken");
        drop(places);
        assert_eq!(audit.waiting(), 0);
        let place = audit.admit().unwrap();
        assert!(place.is_some() && !audit.stopped());
        audit.write(b"{}".to_vec(), place);
        assert_eq!(audit.waiting(), 1, "the record has it now");
        drop(hold);
    }

    /// Is to be left for a new file, which cannot be begun.
    #[derive(Clone, Default)]
    struct Stuck(Arc<Mutex<Vec<u8>>>);

    impl Output for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn turn(&mut self, _: SystemTime) -> Turn {
            Turn::Full
        }

        fn renew(&mut self, _: Turn, _: SystemTime) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    #[test]
    fn a_file_that_cannot_be_left_is_not_filled_with_attempts() {
        let metrics = Metrics::new().unwrap();
        let chain = ChainConfig {
            mac_key: "0123456789abcdef0123456789abcdef".into(),
            signing_key: crate::record::chain::tests::PRIVATE.into(),
            checkpoint_records: NonZeroUsize::new(1000).unwrap(),
            checkpoint_interval: Duration::from_secs(3600),
        };
        let (output, config) = (Stuck::default(), config(AuditOutput::Stdout));
        let sealed = (Some((&chain, sealer(&chain).unwrap())), Resumed::new("0".repeat(32)));
        let audit =
            Audit::start(output.clone(), (&config, &metrics), sealed, Box::new(|| ())).unwrap();
        for number in 1..=50 {
            audit.write(format!("{{\"number\":{number}}}").into_bytes(), None);
            while metrics.audit_records.with_label_values(&["written"]).get() < number {
                std::thread::yield_now();
            }
        }
        audit.close();
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text.lines().count(),
            1 + 50 + 1 + 1,
            "start, records, one attempt, stop: {text}"
        );
    }
}
