//! A program whose time of day can be set while it runs, by libfaketime; its monotonic clock goes on.

use crate::support::skipped;
use std::path::{Path, PathBuf};

/// The library of the Debian package `faketime`, or `None` with a word; in CI that is a failure.
#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn library() -> Option<PathBuf> {
    let usual = Path::new("/usr/lib")
        .join(format!("{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH));
    let path = std::env::var_os("PORTVAKT_TEST_FAKETIME").map_or(usual, PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing; run tests/run", path.display());
    skipped(&format!("{} is missing; tests/run installs it", path.display()));
    None
}

/// A program whose clock can be set.
pub(crate) struct Clock {
    library: PathBuf,
    folder: tempfile::TempDir,
}

impl Clock {
    /// `None` where the library is missing.
    pub(crate) fn new() -> Option<Self> {
        let library = library()?;
        let clock = Self { library, folder: tempfile::tempdir().unwrap() };
        clock.set("+0");
        Some(clock)
    }

    /// Seconds beside the real time, with their sign.
    pub(crate) fn set(&self, offset: &str) {
        // Whole or not at all: it is read at any moment.
        let (new, at) = (self.folder.path().join("new"), self.offset());
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(new, at).unwrap();
    }

    fn offset(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// What the program's environment must say.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}
