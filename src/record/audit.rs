//! Audit lines: JSON, one a line, written by a thread of its own so that no request waits for a disk.

use crate::config::{AuditConfig, AuditOutput};
use crate::domain::party::PersonNumber;
use crate::telemetry::metrics::Metrics;
use aws_lc_rs::{hmac, rand};
use prometheus::IntCounter;
use secrecy::ExposeSecret;
use serde::Serialize;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError, channel,
    sync_channel,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long the end of the program waits for lines that are still queued: a pipe that nobody reads
/// takes none.
const CLOSING: Duration = Duration::from_secs(5);

/// Most bytes that are written at once, but for one longer line.
const BATCH: usize = 64 * 1024;

/// The way to the audit output.
pub struct Audit {
    lines: SyncSender<Option<String>>,
    /// Lines handed over whose fate is open.
    queued: Arc<AtomicU64>,
    closed: AtomicBool,
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
    /// The writing thread cannot be started.
    #[error("the thread that writes audit lines cannot be started")]
    Thread(#[source] io::Error),
    /// No key for pseudonyms could be drawn.
    #[error("the machine gives no random numbers for the pseudonym key")]
    Key,
}

impl Audit {
    /// Opens the output and starts the thread that writes to it.
    ///
    /// # Errors
    /// [`AuditError`] when the file cannot be opened or the thread not started.
    pub fn open(config: &AuditConfig, metrics: &Metrics) -> Result<Self, AuditError> {
        let output = match &config.output {
            // Not the library's own handle, which keeps what it could not write.
            AuditOutput::Stdout => {
                let own = io::stdout().as_fd().try_clone_to_owned();
                own.map_err(|error| AuditError::Open("/dev/stdout".into(), error))?.into()
            }
            AuditOutput::File(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                file.map_err(|error| AuditError::Open(path.clone(), error))?
            }
        };
        Self::to(output, config.queue.get(), metrics)
    }

    fn to(
        output: impl Write + Send + 'static,
        queue: usize,
        metrics: &Metrics,
    ) -> Result<Self, AuditError> {
        let (lines, queue) = sync_channel(queue);
        let (alive, writing) = channel();
        let queued = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            output,
            torn: false,
            queue,
            queued: Arc::clone(&queued),
            written: metrics.audit_records.with_label_values(&["written"]),
            failed: metrics.audit_records.with_label_values(&["failed"]),
            failing: false,
            _alive: alive,
        };
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run())
            .map_err(AuditError::Thread)?;
        let dropped = metrics.audit_records.with_label_values(&["dropped"]);
        let (closed, writing) = (AtomicBool::new(false), Mutex::new(writing));
        Ok(Self { lines, queued, closed, writing, dropped })
    }

    /// Hands a line over. One that finds the queue full is dropped and counted.
    pub fn write(&self, line: &impl Serialize) {
        // Text and numbers always make a line; were one not to, it would be counted as lost.
        let line = serde_json::to_string(line).ok();
        self.queued.fetch_add(1, Ordering::AcqRel);
        let closed = self.closed.load(Ordering::Acquire);
        if closed || line.is_none_or(|line| self.lines.try_send(Some(line)).is_err()) {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            self.dropped.inc();
        }
    }

    /// Writes what is queued and stops the thread, for five seconds at most: what is not written by then
    /// is counted as dropped. So are lines handed over later.
    pub fn close(&self) {
        self.close_within(CLOSING);
    }

    fn close_within(&self, limit: Duration) {
        self.closed.store(true, Ordering::Release);
        let end = Instant::now() + limit;
        // The end goes through the queue, behind every line before it.
        while matches!(self.lines.try_send(None), Err(TrySendError::Full(_)))
            && Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let left = end.saturating_duration_since(Instant::now());
        if writing.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            let lost = self.queued.load(Ordering::Acquire);
            self.dropped.inc_by(lost);
            tracing::error!(
                lost,
                "the audit output takes nothing; lines that were queued are lost"
            );
        }
    }
}

struct Writer<W> {
    output: W,
    /// The output ends in a part of a line.
    torn: bool,
    queue: Receiver<Option<String>>,
    queued: Arc<AtomicU64>,
    written: IntCounter,
    failed: IntCounter,
    failing: bool,
    /// Dropped with the thread.
    _alive: Sender<()>,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        // Lines that came together are written together.
        while let Ok(Some(first)) = self.queue.recv() {
            let (mut batch, mut lines) = (first.into_bytes(), 1);
            batch.push(b'\n');
            let end = loop {
                if batch.len() >= BATCH {
                    break false;
                }
                match self.queue.try_recv() {
                    Ok(Some(line)) => {
                        lines += 1;
                        batch.extend_from_slice(line.as_bytes());
                        batch.push(b'\n');
                    }
                    Ok(None) | Err(TryRecvError::Disconnected) => break true,
                    Err(TryRecvError::Empty) => break false,
                }
            };
            self.write(&batch, lines);
            if end {
                return;
            }
        }
    }

    /// Writes a batch. What fails is given up, so that no line is counted as lost and written later.
    fn write(&mut self, batch: &[u8], lines: u64) {
        // A part of a line that is there already must not become one with the next.
        let mended = if self.torn { put(&mut self.output, b"\n") } else { (1, Ok(())) };
        self.torn = mended.0 == 0;
        let (bytes, result) = match mended.1 {
            Ok(()) => put(&mut self.output, batch),
            failed => (0, failed),
        };
        let whole = batch.get(..bytes).unwrap_or_default();
        let ends = whole.split(|byte| *byte == b'\n').count().saturating_sub(1);
        self.torn |= whole.last().is_some_and(|byte| *byte != b'\n');
        let flushed = result.and_then(|()| self.output.flush());
        self.count(u64::try_from(ends).unwrap_or(lines), lines, flushed);
    }

    fn count(&mut self, written: u64, lines: u64, result: io::Result<()>) {
        self.written.inc_by(written);
        self.failed.inc_by(lines.saturating_sub(written));
        self.queued.fetch_sub(lines, Ordering::AcqRel);
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::warn!("audit lines are written again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "audit lines cannot be written and are lost");
                }
            }
        }
    }
}

/// Writes all it can; tells how many bytes that were, also when it fails.
fn put(output: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut count = 0;
    while let Some(rest) = bytes.get(count..).filter(|rest| !rest.is_empty()) {
        match output.write(rest) {
            Ok(0) => return (count, Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => count += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (count, Err(error)),
        }
    }
    (count, Ok(()))
}

/// Makes stand-ins for persons: the same for the same number under the same key, and no way back.
pub struct Pseudonyms(hmac::Key);

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(key redacted)")
    }
}

impl Pseudonyms {
    /// With the configured key, or one drawn now and forgotten at the end of the program.
    ///
    /// # Errors
    /// [`AuditError::Key`].
    pub fn new(config: &AuditConfig) -> Result<Self, AuditError> {
        if let Some(key) = &config.pseudonym_key {
            return Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret().as_bytes())));
        }
        hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .map(Self)
            .map_err(|_| AuditError::Key)
    }

    /// The stand-in for `number`: `person:` and 32 hexadecimal digits.
    #[must_use]
    pub fn of(&self, number: &PersonNumber) -> String {
        let tag = hmac::sign(&self.0, number.expose().as_bytes());
        let digits: Vec<String> =
            tag.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("person:{}", digits.concat())
    }
}

/// A time of day as RFC 3339 in UTC, to the microsecond.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
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
    use std::num::NonZeroUsize;

    fn config(output: AuditOutput) -> AuditConfig {
        AuditConfig { output, queue: NonZeroUsize::new(4).unwrap(), pseudonym_key: None }
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
        let audit = Audit::open(&config(AuditOutput::File(path.clone())), &metrics).unwrap();
        audit.write(&serde_json::json!({"a": "line\nbreak"}));
        audit.write(&serde_json::json!({"b": 2}));
        audit.close();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"a\":\"line\\nbreak\"}\n{\"b\":2}\n");
        assert_eq!(metrics.audit_records.with_label_values(&["written"]).get(), 2);
        audit.write(&serde_json::json!({}));
        assert_eq!(metrics.audit_records.with_label_values(&["dropped"]).get(), 1);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let metrics = Metrics::new().unwrap();
        let full = config(AuditOutput::File("/dev/full".into()));
        let audit = Audit::open(&full, &metrics).unwrap();
        audit.write(&serde_json::json!({}));
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
        let audit = Audit::to(Unread(unread), 2, &metrics).unwrap();
        for _ in 0..10 {
            audit.write(&serde_json::json!({}));
        }
        let begun = Instant::now();
        audit.close_within(Duration::from_millis(100));
        assert!(begun.elapsed() < Duration::from_secs(4));
        audit.write(&serde_json::json!({}));
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
        let audit = Audit::to(output.clone(), 8, &metrics).unwrap();
        let count = |result| metrics.audit_records.with_label_values(&[result]).get();
        for (line, sum) in [(111, 1), (222, 2), (333, 3), (444, 4)] {
            audit.write(&serde_json::json!(line));
            while count("written") + count("failed") < sum {
                std::thread::yield_now();
            }
        }
        audit.close();
        let state = output.0.lock().unwrap();
        assert_eq!(String::from_utf8_lossy(&state.1), "111\n222\n444\n");
        assert_eq!((count("written"), count("failed")), (2, 2));
    }

    #[test]
    fn a_pseudonym_is_stable_and_shows_nothing() {
        let keyed = AuditConfig {
            pseudonym_key: Some("0123456789abcdef0123456789abcdef".into()),
            ..config(AuditOutput::Stdout)
        };
        let number: PersonNumber = "01010750160".parse().unwrap();
        let stand_in = Pseudonyms::new(&keyed).unwrap().of(&number);
        assert_eq!(stand_in, Pseudonyms::new(&keyed).unwrap().of(&number));
        assert!(stand_in.starts_with("person:") && !stand_in.contains("0101075"));
        let drawn = Pseudonyms::new(&config(AuditOutput::Stdout)).unwrap();
        assert_ne!(stand_in, drawn.of(&number));
    }
}
