//! What a platform gives of our own Maskinporten client: variables, a folder of files with their names, or the
//! settings file of Altinn Studio.
//!
//! One of them counts, whole: the id of one client is never put together with the key of another. Files go before
//! variables, for files follow a key that is changed. Messages name keys and files, never what these hold.

use super::Resolver;
use crate::config::error::Place;
use crate::config::raw::{RawMaskinporten, Setting};
use crate::config::source::{self, FileError};
use crate::domain::json::Json;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const ID: &str = "MASKINPORTEN_CLIENT_ID";
const KEY: &str = "MASKINPORTEN_CLIENT_JWK";
const SCOPES: &str = "MASKINPORTEN_SCOPES";
const ISSUER: &str = "MASKINPORTEN_ISSUER";

/// The names of a platform's variables, and of the files in its folder. Source: NAIS and Skiperator (digdirator).
const NAMES: [&str; 7] = [
    ID,
    KEY,
    SCOPES,
    ISSUER,
    "MASKINPORTEN_WELL_KNOWN_URL",
    "MASKINPORTEN_JWKS_URI",
    "MASKINPORTEN_TOKEN_ENDPOINT",
];

/// A key, or settings with one, take some kilobytes.
const MOST: u64 = 64 << 10;

/// What is mounted, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// What it is called in messages.
    label: String,
    values: BTreeMap<&'static str, SecretString>,
    /// What is to be watched.
    files: Vec<PathBuf>,
    /// A problem with it was reported: what is missing in it needs no word of its own.
    broken: bool,
}

impl Mounted {
    fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(ExposeSecret::expose_secret)
    }
}

impl Resolver<'_> {
    /// Finds out what counts: what `maskinporten.credentials` names, else what is mounted where platforms do, else
    /// variables. A client that the file describes itself needs none of it.
    pub(super) fn find_platform(&mut self, written: &Setting<RawMaskinporten>) {
        let raw = written.value();
        let (credentials, own) = raw.map_or((None, false), |raw| {
            let key = !raw.key_file.is_absent() || !raw.key_env.is_absent();
            (Some(&raw.credentials), !raw.client_id.is_absent() && key)
        });
        if let (Some(Setting::Written(path, place)), Some(raw)) = (credentials, raw) {
            let others = [raw.client_id.place(), raw.key_file.place(), raw.key_env.place()];
            for other in others.into_iter().flatten() {
                let message = "given twice: `maskinporten.credentials` names it too";
                self.sink.report(other, message, "keep one of the two keys");
            }
            self.mounted = Some(self.read_mounted(Path::new(path), place));
        } else if credentials.and_then(Setting::place).is_some() {
            self.mounted = Some(Mounted { broken: true, ..Mounted::default() });
        } else if !own {
            self.find_mounted();
        }
    }

    fn find_mounted(&mut self) {
        let there = |path: &PathBuf| path.join(KEY).exists() || path.is_file();
        let found: Vec<PathBuf> = self.env.mounted().into_iter().filter(there).collect();
        let Some(path) = found.first() else { return };
        let place = Place { key: path.display().to_string(), ..Place::default() };
        if let Some(second) = found.get(1) {
            let message = format!("{} is mounted as well: which client is ours?", second.display());
            self.sink.report(&place, message, "write `maskinporten.credentials`");
            self.mounted = Some(Mounted { broken: true, ..Mounted::default() });
            return;
        }
        let mounted = self.read_mounted(path, &place);
        // Variables are as old as the process, so the key may differ; who we are may not.
        for name in [ID, ISSUER] {
            let both = mounted.text(name).zip(self.variable(name));
            if both.is_some_and(|(file, variable)| file != variable) {
                let message =
                    format!("the variable {name} and what is mounted here name different ones");
                let cure = "take one of them away, or write `maskinporten.credentials`";
                self.sink.report(&place, message, cure);
            }
        }
        self.mounted = Some(mounted);
    }

    /// What the platform says of `name`; what is empty counts as not said.
    pub(super) fn platform(&self, name: &str) -> Option<String> {
        match &self.mounted {
            Some(mounted) => mounted.text(name).map(str::to_owned),
            None => self.variable(name),
        }
    }

    /// Where the platform says `name`, for messages.
    pub(super) fn platform_place(&self, name: &str) -> Place {
        let label = self.mounted.as_ref().map_or("", |mounted| &mounted.label);
        let key = if label.is_empty() { name.to_owned() } else { format!("{label} ({name})") };
        Place { key, ..Place::default() }
    }

    /// Whether what is mounted could not be read, which was reported.
    pub(super) fn platform_is_broken(&self) -> bool {
        self.mounted.as_ref().is_some_and(|mounted| mounted.broken)
    }

    /// The files that the platform's word comes from.
    pub(super) fn platform_files(&self) -> Vec<PathBuf> {
        self.mounted.as_ref().map(|mounted| mounted.files.clone()).unwrap_or_default()
    }

    fn read_mounted(&self, path: &Path, place: &Place) -> Mounted {
        let mut mounted = Mounted { label: place.key.clone(), ..Mounted::default() };
        let read = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => self.read_folder(path, place, &mut mounted),
            Ok(_) => {
                mounted.files.push(path.to_owned());
                read_text(path)
                    .and_then(|text| settings(&text, &mut mounted.values))
                    .map_err(|unusable| self.sink.report(place, unusable.message, unusable.cure))
            }
            Err(error) => {
                let (message, cure) = if error.kind() == ErrorKind::NotFound {
                    ("nothing is there", "mount the Secret there, or correct the path")
                } else {
                    ("cannot be looked into", "give the program's user leave to read it")
                };
                self.sink.report(place, message, cure);
                Err(())
            }
        };
        mounted.broken = read.is_err();
        mounted
    }

    fn read_folder(&self, folder: &Path, place: &Place, into: &mut Mounted) -> Result<(), ()> {
        let mut read = Ok(());
        for name in NAMES {
            let path = folder.join(name);
            into.files.push(path.clone());
            match read_text(&path) {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => drop(into.values.insert(name, text.trim().into())),
                Err(unusable) if unusable.absent => {}
                Err(unusable) => {
                    let message = format!("the file {name} there {}", unusable.message);
                    self.sink.report(place, message, unusable.cure);
                    read = Err(());
                }
            }
        }
        for name in [ID, KEY] {
            if read.is_ok() && !into.values.contains_key(name) {
                let message = format!("the folder has no file {name}, or it is empty");
                let cure = "mount the whole Secret of the Maskinporten client there";
                self.sink.report(place, message, cure);
                read = Err(());
            }
        }
        read
    }
}

/// Why a file does not serve, and what helps. Holds nothing of it.
struct Unusable {
    message: String,
    cure: &'static str,
    absent: bool,
}

impl Unusable {
    fn new(message: impl Into<String>, cure: &'static str) -> Self {
        Self { message: message.into(), cure, absent: false }
    }
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, Unusable> {
    let (message, cure, absent) = match source::read_text(path, MOST) {
        Ok(text) => return Ok(Zeroizing::new(text)),
        Err(FileError::Unreadable(kind)) => {
            let cure = "give the program's user leave to read it";
            (format!("cannot be read: {kind}"), cure, kind == ErrorKind::NotFound)
        }
        Err(FileError::TooLarge) => {
            (format!("is larger than {MOST} bytes"), "mount the client's own Secret there", false)
        }
        Err(FileError::NotText(_)) => {
            ("is not UTF-8 text".into(), "mount the client's own Secret there", false)
        }
    };
    Err(Unusable { message, cure, absent })
}

/// Reads a settings file, names in any letter case: `authority`, `clientId`, and the key as `jwk` or, in base64, as
/// `jwkBase64` or `encodedJwk`; also within `MaskinportenSettings`. Others are for others.
/// Source: Altinn.App.Core `MaskinportenSettings`, Altinn.ApiClients.Maskinporten.
fn settings(text: &str, into: &mut BTreeMap<&'static str, SecretString>) -> Result<(), Unusable> {
    const WHOLE: &str = "mount the file that Altinn Studio made, whole";
    let text = text.trim_start_matches('\u{feff}');
    // The position alone: a parser's own words may quote what stands there.
    Json::parse(text.as_bytes()).map_err(|error| Unusable::new(error.to_string(), WHOLE))?;
    let root: Value = serde_json::from_str(text).unwrap_or_default();
    let root = member(&root, "MaskinportenSettings")?.unwrap_or(&root);
    if !root.is_object() {
        return Err(Unusable::new("holds no JSON object", WHOLE));
    }
    let word = |name: &str| match member(root, name)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
        Some(_) => Err(Unusable::new(format!("`{name}` is no text"), WHOLE)),
    };
    let id = word("clientId")?.ok_or_else(|| Unusable::new("`clientId` is missing", WHOLE))?;
    let mut keys: Vec<(&str, SecretString)> = Vec::new();
    for name in ["jwkBase64", "encodedJwk"] {
        keys.extend(word(name)?.map(|text| (name, text.into())));
    }
    match member(root, "jwk")? {
        None | Some(Value::Null) => {}
        Some(jwk) if jwk.is_object() => keys.push(("jwk", jwk.to_string().into())),
        Some(_) => return Err(Unusable::new("`jwk` is no JSON object", WHOLE)),
    }
    let mut keys = keys.into_iter();
    let Some((name, key)) = keys.next() else {
        let message = "the key is missing: `jwk`, `jwkBase64` or `encodedJwk`";
        return Err(Unusable::new(message, WHOLE));
    };
    if let Some((second, _)) = keys.next() {
        let message = format!("the key is given twice: `{name}` and `{second}`");
        return Err(Unusable::new(message, "keep one of the two"));
    }
    into.insert(ID, id.into());
    into.insert(KEY, key);
    if let Some(scopes) = word("scope")? {
        into.insert(SCOPES, scopes.into());
    }
    if let Some(authority) = word("authority")? {
        // Written with the slash and without; the issuer has it.
        into.insert(ISSUER, format!("{}/", authority.trim_end_matches('/')).into());
    }
    Ok(())
}

fn member<'v>(object: &'v Value, name: &str) -> Result<Option<&'v Value>, Unusable> {
    let members = object.as_object().into_iter().flatten();
    let mut named = members.filter(|(member, _)| member.eq_ignore_ascii_case(name));
    let first = named.next().map(|(_, value)| value);
    if named.next().is_some() {
        let message = format!("`{name}` stands twice, in different letter cases");
        return Err(Unusable::new(message, "keep one of the two"));
    }
    Ok(first)
}

/// The text of a JWK that was given in base64, in either alphabet, padded or not.
pub(super) fn from_base64(text: &str) -> Option<SecretString> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let plain = |byte: char| match byte {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    let characters = text.chars().filter(|byte| !byte.is_ascii_whitespace());
    let text: Zeroizing<String> = Zeroizing::new(characters.map(plain).collect());
    let bytes = GeneralPurpose::new(&STANDARD, LENIENT).decode(text.as_bytes()).ok()?;
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).ok()?.trim_start_matches('\u{feff}').trim();
    text.starts_with('{').then(|| text.into())
}
