//! What the tests share: configurations, records as they stand in files, and the verifier as it is run.

use crate::support::{World, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const MAC_KEY: &str = "0123456789abcdef0123456789abcdef";

/// The first test vector of RFC 8032 §7.1.
pub(crate) const SIGNING_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";
pub(crate) const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";

/// A folder with the keys, in which logs are written.
pub(crate) struct Folder(pub(crate) tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("log")).unwrap();
        for (name, key) in [("mac", MAC_KEY), ("private", SIGNING_KEY), ("public", PUBLIC_KEY)] {
            std::fs::write(folder.path().join(name), key).unwrap();
        }
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path("log/audit.jsonl")
    }

    /// The section, with a chain, and with more of its keys.
    pub(crate) fn sealed(&self, more: &str) -> String {
        format!(
            "audit: {{ output: {{ file: \"{}\" }}, chain: {{ mac_key_file: \"{}\", \
             signing_key_file: \"{}\", checkpoint_records: 10 }}, {more} }}\n",
            self.log().display(),
            self.path("mac").display(),
            self.path("private").display()
        )
    }

    /// The files of the log, the oldest first; not what is kept beside it.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = files(&self.path("log"));
        let several = usize::from(files.len() > 1);
        files.rotate_left(several);
        files
    }

    /// Every line of all files.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let files = self.files();
        files.iter().flat_map(|file| lines(file)).collect()
    }

    /// The records of requests among them.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["event"].is_null()).collect()
    }

    /// Waits until there are as many records of requests.
    pub(crate) async fn until_records(&self, count: usize) -> Vec<Value> {
        wait_until("records in the file", async || self.records().len() >= count).await;
        self.records()
    }

    /// Runs the verifier over all files with both keys.
    pub(crate) fn verify(&self, more: &[&str]) -> Verdict {
        let files = self.files();
        verify(
            &files,
            &[("--mac-key", self.path("mac")), ("--public-key", self.path("public"))],
            more,
        )
    }
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let beside = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with(".state") || name.ends_with(".new") || name.ends_with(".probe")
    };
    let mut files: Vec<PathBuf> = all.filter(|path| !beside(path)).collect();
    files.sort();
    files
}

/// The lines that can be read.
pub(crate) fn lines(file: &Path) -> Vec<Value> {
    let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What the verifier said.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) code: i32,
    pub(crate) told: String,
}

impl Verdict {
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.told.contains(word), "no `{word}` in {self:?}");
        }
    }
}

pub(crate) fn verify(files: &[PathBuf], keys: &[(&str, PathBuf)], more: &[&str]) -> Verdict {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portvakt"));
    command.args(["audit", "verify"]).args(files).args(more);
    for (name, key) in keys {
        command.arg(name).arg(key);
    }
    let ran = command.output().unwrap();
    let told = [ran.stdout, ran.stderr].concat();
    Verdict { code: ran.status.code().unwrap(), told: String::from_utf8(told).unwrap() }
}

/// Asks for a page that is open to all; the status.
pub(crate) async fn open(world: &World) -> u16 {
    world.request("GET", "/open/page").send().await.unwrap().status().as_u16()
}
