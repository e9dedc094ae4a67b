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
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// The way to the audit output.
pub struct Audit {
    lines: SyncSender<Option<String>>,
    writer: Mutex<Option<JoinHandle<()>>>,
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
        let output: Box<dyn Write + Send> = match &config.output {
            AuditOutput::Stdout => Box::new(io::stdout()),
            AuditOutput::File(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                Box::new(file.map_err(|error| AuditError::Open(path.clone(), error))?)
            }
        };
        let (lines, queue) = sync_channel(config.queue.get());
        let written = metrics.audit_records.with_label_values(&["written"]);
        let failed = metrics.audit_records.with_label_values(&["failed"]);
        let writer = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || Writer { queue, written, failed, failing: false }.run(output))
            .map_err(AuditError::Thread)?;
        Ok(Self { lines, writer: Mutex::new(Some(writer)) })
    }

    /// Hands a line over. One that finds the queue full is dropped and counted.
    pub fn write(&self, line: &impl Serialize, metrics: &Metrics) {
        // Text and numbers always make a line; were one not to, it would be counted as lost.
        let line = serde_json::to_string(line).ok();
        if line.is_none_or(|line| self.lines.try_send(Some(line)).is_err()) {
            metrics.audit_records.with_label_values(&["dropped"]).inc();
        }
    }

    /// Writes what is queued and stops the thread. Lines handed over later are dropped and counted.
    pub fn close(&self) {
        // The end goes through the queue, behind every line before it.
        let _ = self.lines.send(None);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

struct Writer {
    queue: Receiver<Option<String>>,
    written: IntCounter,
    failed: IntCounter,
    failing: bool,
}

impl Writer {
    fn run(mut self, output: Box<dyn Write + Send>) {
        let mut output = BufWriter::with_capacity(64 * 1024, output);
        // Lines that came together are written together, and flushed when none waits.
        while let Ok(Some(first)) = self.queue.recv() {
            let mut batch = 1;
            let mut result = put(&mut output, &first);
            let end = loop {
                match self.queue.try_recv() {
                    Ok(Some(line)) => {
                        batch += 1;
                        result = result.and_then(|()| put(&mut output, &line));
                    }
                    Ok(None) | Err(TryRecvError::Disconnected) => break true,
                    Err(TryRecvError::Empty) => break false,
                }
            };
            self.count(batch, result.and_then(|()| output.flush()));
            if end {
                return;
            }
        }
    }

    fn count(&mut self, lines: u64, result: io::Result<()>) {
        match result {
            Ok(()) => {
                self.written.inc_by(lines);
                if std::mem::take(&mut self.failing) {
                    tracing::warn!("audit lines are written again");
                }
            }
            Err(error) => {
                self.failed.inc_by(lines);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "audit lines cannot be written and are lost");
                }
            }
        }
    }
}

fn put(output: &mut impl Write, line: &str) -> io::Result<()> {
    output.write_all(line.as_bytes())?;
    output.write_all(b"\n")
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
    use std::time::Duration;

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
        audit.write(&serde_json::json!({"a": "line\nbreak"}), &metrics);
        audit.write(&serde_json::json!({"b": 2}), &metrics);
        audit.close();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"a\":\"line\\nbreak\"}\n{\"b\":2}\n");
        assert_eq!(metrics.audit_records.with_label_values(&["written"]).get(), 2);
        audit.write(&serde_json::json!({}), &metrics);
        assert_eq!(metrics.audit_records.with_label_values(&["dropped"]).get(), 1);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let metrics = Metrics::new().unwrap();
        let full = config(AuditOutput::File("/dev/full".into()));
        let audit = Audit::open(&full, &metrics).unwrap();
        audit.write(&serde_json::json!({}), &metrics);
        audit.close();
        assert_eq!(metrics.audit_records.with_label_values(&["failed"]).get(), 1);
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
