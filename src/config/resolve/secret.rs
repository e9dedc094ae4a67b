//! Secrets by reference: a file, a variable, or what the platform sets. Messages name the key and
//! never what it holds, nor what it refers to: a secret pasted into the wrong key is one still.

use super::Resolver;
use crate::config::error::Place;
use crate::config::raw::Setting;
use crate::config::source::{self, FileError};
use secrecy::{ExposeSecret, SecretString};
use std::path::Path;

/// The ways in which one secret may be given.
pub(super) struct Reference<'a> {
    /// In the file itself.
    pub(super) inline: Option<(&'a SecretString, &'a Place)>,
    /// The path of a file.
    pub(super) file: &'a Setting<String>,
    /// The name of a variable.
    pub(super) variable: &'a Setting<String>,
    /// The name under which the platform gives it, used when the file is silent.
    pub(super) platform: Option<&'static str>,
}

/// The problem has been reported.
pub(super) struct Reported;

impl Resolver<'_> {
    /// The secret and the place that gave it; `Ok(None)` when it is not given at all.
    pub(super) fn secret(
        &self,
        reference: &Reference<'_>,
    ) -> Result<Option<(SecretString, Place)>, Reported> {
        let inline = reference.inline.map(|(_, place)| place);
        let given: Vec<&Place> = inline
            .into_iter()
            .chain(reference.file.place())
            .chain(reference.variable.place())
            .collect();
        if let [_, second, ..] = given.as_slice() {
            self.sink.report(second, "the secret is given twice", "keep one of the two keys");
            return Err(Reported);
        }
        if let Some((secret, place)) = reference.inline {
            return self.not_empty(secret.clone(), place).map(Some);
        }
        if let Some((path, place)) = reference.file.written() {
            return self.secret_file(path, place).map(Some);
        }
        if let Some((name, place)) = reference.variable.written() {
            return self.secret_variable(name, place).map(Some);
        }
        if !given.is_empty() {
            return Err(Reported);
        }
        let Some(name) = reference.platform else { return Ok(None) };
        let place = self.platform_place(name);
        Ok(self.platform(name).map(|secret| (secret.into(), place)))
    }

    fn secret_file(&self, path: &str, place: &Place) -> Result<(SecretString, Place), Reported> {
        /// A private key takes some kilobytes.
        const MOST: u64 = 64 << 10;
        let (why, cure) = match source::read_text(Path::new(path), MOST) {
            Ok(text) => {
                self.secret_files.borrow_mut().push(path.into());
                return self.not_empty(text.trim().into(), place);
            }
            Err(FileError::Unreadable(std::io::ErrorKind::NotFound)) => (
                "there is no such file",
                "put the secret there, or correct the path; a relative one counts from the folder where the program is \
                 started",
            ),
            Err(FileError::Unreadable(std::io::ErrorKind::IsADirectory)) => {
                ("it is a folder", "name the file in it that holds the secret")
            }
            Err(FileError::Unreadable(_)) => {
                ("the system refuses", "give the program's user leave to read it")
            }
            Err(FileError::TooLarge) => ("it is too large", "name the file that holds the secret"),
            Err(FileError::NotText(_)) => ("it is no text", "name the file that holds the secret"),
        };
        let message = format!("the file named here cannot be read as a secret: {why}");
        self.sink.report(place, message, cure);
        Err(Reported)
    }

    fn secret_variable(
        &self,
        name: &str,
        place: &Place,
    ) -> Result<(SecretString, Place), Reported> {
        let Some(secret) = self.variable(name) else {
            let message = "the environment variable named here is not set, or is empty";
            self.sink.report(place, message, "set it, or name the one that holds the secret");
            return Err(Reported);
        };
        self.not_empty(secret.trim().into(), place)
    }

    fn not_empty(
        &self,
        secret: SecretString,
        place: &Place,
    ) -> Result<(SecretString, Place), Reported> {
        if secret.expose_secret().trim().is_empty() {
            self.sink.report(place, "the secret is empty", "put the secret where this key points");
            return Err(Reported);
        }
        Ok((secret, place.clone()))
    }
}
