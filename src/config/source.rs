//! Where the configuration comes from: the only reader of its file, of the environment and of the
//! files that hold secrets.

use super::error::{ConfigErrors, Place, Problem, Sink};
use super::raw::{RawConfig, Setting};
use super::{ClientConfig, Config, RegisterConfig, resolve, shape, summary, yaml};
use serde::Deserialize;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Largest configuration file; some thousand routes take a tenth of it.
const MAX_BYTES: u64 = 4 << 20;

/// NAIS, Skiperator, Altinn Studio. Source: docs.nais.io, kartverket/skiperator, Altinn/app-lib-dotnet.
const MOUNTED: [&str; 3] = [
    "/var/run/secrets/nais.io/maskinporten",
    "/var/run/secrets/skip/maskinporten",
    "/mnt/app-secrets/maskinporten-settings.json",
];

/// The environment, as a port: tests give their own.
pub trait Env {
    /// The value of a variable; `None` when it is not set or is no text.
    fn variable(&self, name: &str) -> Option<String>;

    /// Where platforms mount the credentials of a Maskinporten client.
    fn mounted(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

impl<F: Fn(&str) -> Option<String>> Env for F {
    fn variable(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn mounted(&self) -> Vec<PathBuf> {
        MOUNTED.map(PathBuf::from).to_vec()
    }
}

/// What a configuration file held when it was read.
pub struct Written {
    file: String,
    text: Result<String, FileError>,
    lasting: bool,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may hold secrets.
        f.debug_struct("Written").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Written {
    /// Reads it, once. What is too long is not read to its end.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let (text, lasting) = match std::fs::File::open(path) {
            Ok(file) => {
                let lasting = file.metadata().is_ok_and(|found| found.is_file());
                (read_open(file, MAX_BYTES), lasting)
            }
            Err(error) => (Err(FileError::Unreadable(error.kind())), false),
        };
        Self { file: path.display().to_string(), text, lasting }
    }

    /// The text; `None` where it could not be read whole.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref().ok()
    }

    /// Whether the same can be read again: of a pipe it cannot.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.lasting
    }

    /// Checks it, with the secrets that it refers to, which are read now.
    ///
    /// # Errors
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn load(&self, env: &dyn Env) -> Result<Config, ConfigErrors> {
        match &self.text {
            Ok(text) => load_text(text, &self.file, env),
            Err(error) => Err(unreadable(&self.file, error)),
        }
    }

    /// Our own client alone, with the secrets that it is made of now, beside the `register` in force.
    ///
    /// # Errors
    /// [`ConfigErrors`] with everything that is wrong with it.
    pub fn client(
        &self,
        env: &dyn Env,
        register: Option<&RegisterConfig>,
    ) -> Result<ClientConfig, ConfigErrors> {
        match &self.text {
            Ok(text) => {
                load_by(text, &self.file, |raw, sink| resolve::client(raw, sink, env, register))
            }
            Err(error) => Err(unreadable(&self.file, error)),
        }
    }
}

/// Reads and checks a configuration file, with the secrets that it refers to.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn load(path: &Path, env: &dyn Env) -> Result<Config, ConfigErrors> {
    Written::read(path).load(env)
}

/// Checks the text of a configuration file; `file` is its name in messages.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn load_text(text: &str, file: &str, env: &dyn Env) -> Result<Config, ConfigErrors> {
    load_by(text, file, |raw, sink| resolve::resolve(raw, sink, env))
}

fn load_by<T>(
    text: &str,
    file: &str,
    resolve: impl FnOnce(RawConfig, &Sink) -> Option<T>,
) -> Result<T, ConfigErrors> {
    let sink = Sink::default();
    let document = yaml::parse(text, &sink);
    let resolved = document.root.and_then(|root| {
        let value = shape::Value { node: &root, key: String::new(), sink: &sink };
        match Setting::<RawConfig>::deserialize(value) {
            Ok(Setting::Written(raw, _)) => resolve(raw, &sink),
            Ok(Setting::Absent | Setting::Wrong(_)) | Err(_) => None,
        }
    });
    let mut problems = sink.into_problems();
    if let Some(resolved) = resolved.filter(|_| problems.is_empty()) {
        return Ok(resolved);
    }
    show_lines(&mut problems, text, &document.secret_lines);
    Err(ConfigErrors::new(file, problems))
}

/// The JSON Schema (draft 2020-12) of the file.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(RawConfig).to_value()
}

/// What `portvakt check` prints: what a configuration opens, to whom, and what is worth a second look.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn check(path: &Path) -> Result<String, ConfigErrors> {
    load(path, &ProcessEnv).map(|config| summary::write(&config))
}

/// What a configuration opens, to whom, and what is worth a second look.
#[must_use]
pub fn summary(config: &Config) -> String {
    summary::write(config)
}

/// Why a file cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FileError {
    /// The system refuses.
    Unreadable(io::ErrorKind),
    /// More than was asked for.
    TooLarge,
    /// No UTF-8, from this line on.
    NotText(usize),
}

/// Reads a file of at most `most` bytes.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, FileError> {
    let file = std::fs::File::open(path).map_err(|error| FileError::Unreadable(error.kind()))?;
    read_open(file, most)
}

fn read_open(file: std::fs::File, most: u64) -> Result<String, FileError> {
    let mut bytes = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut bytes);
    let read = read.map_err(|error| FileError::Unreadable(error.kind()))?;
    if u64::try_from(read).is_ok_and(|read| read > most) {
        return Err(FileError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        FileError::NotText(1 + good.filter(|byte| **byte == b'\n').count())
    })
}

fn unreadable(file: &str, error: &FileError) -> ConfigErrors {
    let (line, message, cure) = match error {
        FileError::Unreadable(io::ErrorKind::NotFound) => (
            0,
            "there is no such file".into(),
            "name it with `--config FILE` or in PORTVAKT_CONFIG; with neither it is `portvakt.yaml` of the folder where \
             the program is started",
        ),
        FileError::Unreadable(kind) => {
            let cure = "name a file that the program's user may read";
            (0, format!("cannot be read: {kind}"), cure)
        }
        FileError::TooLarge => {
            (0, format!("larger than {MAX_BYTES} bytes"), "name the configuration file")
        }
        FileError::NotText(line) => (*line, "not UTF-8 text".into(), "save the file as UTF-8"),
    };
    let place = Place { key: String::new(), line, column: usize::from(line > 0) };
    ConfigErrors::new(file, vec![Problem { place, message, cure: cure.into(), snippet: None }])
}

/// Adds to each problem its line as written, but for lines that may show a secret.
fn show_lines(problems: &mut [Problem], text: &str, secret: &[RangeInclusive<usize>]) {
    /// A terminal's width or so.
    const LONGEST: usize = 120;
    let lines: Vec<&str> = text.lines().collect();
    for problem in problems {
        let number = problem.place.line;
        // Without a key it is a matter of syntax, and what stands there may be anything.
        let hidden =
            problem.place.key.is_empty() || secret.iter().any(|range| range.contains(&number));
        let line = number.checked_sub(1).and_then(|index| lines.get(index));
        let line = line.filter(|_| !hidden && problem.snippet.is_some());
        problem.snippet = line.map(|line| {
            line.trim()
                .chars()
                .take(LONGEST)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect()
        });
    }
}
