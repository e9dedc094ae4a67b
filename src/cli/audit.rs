//! `portvakt audit verify`: whether an audit log is whole and as it was written. `portvakt audit report` has a file of its
//! own.

mod report;

use super::{FAILED, complain, say};
use crate::record::chain::{KeyError, MacKey, PublicKey};
use crate::record::resume::reached;
use crate::record::verify::{Extent, Keys, Report, verify};
use clap::{Args, Subcommand};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with audit logs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell whether a sealed log is whole and as it was written.
    Verify(Wish),
    /// Tell what routes in shadow would have refused: by route, vendor, code and reason.
    Report(report::Wish),
}

/// What is to be checked.
#[derive(Args, Debug)]
pub struct Wish {
    /// The files of one log, in any order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// File with a key of the codes (`audit.chain.mac_key_file`); several where the key was changed.
    #[arg(long)]
    mac_key: Vec<PathBuf>,
    /// File with a public key of the signatures, as PEM; several where the key was changed.
    #[arg(long, required_unless_present = "mac_key")]
    public_key: Vec<PathBuf>,
    /// Number of the line that the log must begin with.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Number that the log must have reached, such as `portvakt_audit_sequence` has told. What is kept beside the
    /// log (`FILE.state`) is looked at in any case.
    #[arg(long)]
    until: Option<u64>,
    /// The program is still writing it: an open end is in order.
    #[arg(long)]
    running: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// It could not be told.
const CANNOT_TELL: u8 = 3;

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error("{} cannot be read as a key", .0.display())]
    Key(PathBuf, #[source] io::Error),
    #[error("{} is of another kind", .0.display())]
    Kind(PathBuf, #[source] KeyError),
    #[error("a file of the log cannot be read")]
    Log(#[source] io::Error),
}

/// Does it. Exit code 0 when all is in order, 1 when something is not, 3 when it could not be told.
pub(super) fn run(command: &Command) -> ExitCode {
    let wish = match command {
        Command::Verify(wish) => wish,
        Command::Report(wish) => return report::run(wish),
    };
    match check(wish) {
        Ok(report) => tell(wish, &report),
        Err(error) => {
            let _ = complain(&error);
            ExitCode::from(CANNOT_TELL)
        }
    }
}

fn check(wish: &Wish) -> Result<Report, VerifyError> {
    let mut keys = Keys::default();
    for path in &wish.mac_key {
        keys.codes.push(MacKey::new(read(path)?.trim()));
    }
    for path in &wish.public_key {
        let key = PublicKey::from_pem(&read(path)?);
        keys.signatures.push(key.map_err(|error| VerifyError::Kind(path.clone(), error))?);
    }
    // A log's last file has beside it how far it had come.
    let kept = wish.files.iter().filter_map(|file| reached(file, &keys.codes)).max();
    let extent = Extent { from: wish.from, until: wish.until.max(kept) };
    verify(&wish.files, &keys, extent).map_err(VerifyError::Log)
}

fn read(path: &Path) -> Result<String, VerifyError> {
    /// A private key takes some kilobytes.
    const MOST: u64 = 64 << 10;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text));
    read.map_err(|error| VerifyError::Key(path.to_owned(), error))?;
    Ok(text)
}

fn tell(wish: &Wish, report: &Report) -> ExitCode {
    if wish.json {
        match serde_json::to_string(report) {
            Ok(text) => say(&text),
            Err(error) => return complain(&error),
        };
    } else {
        for finding in report.findings.iter().chain(&report.notices) {
            let sequence =
                finding.sequence.map_or_else(String::new, |number| format!(" [{number}]"));
            let (file, line) = (finding.file.display(), finding.line);
            say(&format!("{file}:{line}:{sequence} {}", finding.message));
        }
        say(&summary(report));
    }
    // An end that was cut off at an earlier stop looks like an end.
    let ends = if wish.running { report.unchecked == 0 } else { is_whole(report) };
    if !report.findings.is_empty() {
        ExitCode::from(FAILED)
    } else if ends && report.checkpoints > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(CANNOT_TELL)
    }
}

/// Whether the log goes from where it was to begin to an end that is known from elsewhere, too.
fn is_whole(report: &Report) -> bool {
    report.closed && report.until.is_some()
}

fn summary(report: &Report) -> String {
    let verdict = if !report.findings.is_empty() {
        "NOT as it was written"
    } else if is_whole(report) {
        "whole and as it was written"
    } else if report.closed {
        "as it was written, up to the stop of a process; how far the log had come is not known here: say `--until`, or \
         give `--mac-key` to have what is kept beside it read"
    } else if report.unchecked > 0 {
        "as it was written up to the last checkpoint; the lines after it CANNOT BE CHECKED without `--mac-key`"
    } else {
        "as it was written as far as it goes; its end is open"
    };
    let number =
        |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    format!(
        "{verdict}: {} lines in {} files, numbers {} to {}, {} checkpoints, {} lines after the last",
        report.lines,
        report.files.len(),
        number(report.first),
        number(report.last),
        report.checkpoints,
        report.after_checkpoint,
    )
}
