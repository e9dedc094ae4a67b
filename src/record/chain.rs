//! The chain: every line of an audit log carries its number and a keyed code over itself and the line
//! before, and every so often a checkpoint is signed, so that who has the public key only can check too.
//! What stands in a line, and why, is in `docs/decisions/0010-chain-of-audit-records.md`.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is put before the text of a checkpoint when it is signed, so that a signature means nothing else.
const SIGNED: &[u8] = b"portvakt audit checkpoint 1\n";

/// 32 bytes: a code (HMAC-SHA-256) or a digest (SHA-256).
pub type Hash = [u8; 32];

/// Of a key that cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// Not a private Ed25519 key.
    #[error("not an Ed25519 private key in PEM (PKCS#8)")]
    Signing,
    /// Not a public Ed25519 key.
    #[error("not an Ed25519 public key in PEM")]
    Public,
}

/// The key of the codes.
pub struct MacKey {
    key: hmac::Key,
    id: String,
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl MacKey {
    /// From a secret of any length; the configuration sees to it that it is long enough.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let id = id_of(hmac::sign(&key, b"portvakt audit key id").as_ref());
        Self { key, id }
    }

    /// 16 hexadecimal digits that name it and tell nothing of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The code of a line, in hexadecimal digits: over the code of the line before and its own `text`.
    #[must_use]
    pub fn code(&self, before: &Hash, text: &[u8]) -> Hash {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(before);
        context.update(text);
        fixed(context.sign().as_ref())
    }
}

/// Signs checkpoints.
pub struct Signer {
    pair: Ed25519KeyPair,
    id: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Signer {
    /// From PEM with a PKCS#8 key, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// [`KeyError::Signing`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = unwrapped(pem, "PRIVATE KEY").ok_or(KeyError::Signing)?;
        let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| KeyError::Signing)?;
        let id = id_of(&sha256(&[pair.public_key().as_ref()]));
        Ok(Self { pair, id })
    }

    /// 16 hexadecimal digits that name the public key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether `signature` is our own, of the checkpoint that begins with `text`.
    pub(super) fn signed(&self, text: &[u8], signature: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, self.pair.public_key().as_ref());
        key.verify(&[SIGNED, text].concat(), &signature).is_ok()
    }

    fn sign(&self, text: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(&[SIGNED, text].concat()).as_ref())
    }
}

/// Checks signatures of checkpoints.
#[derive(Clone, Debug)]
pub struct PublicKey {
    bytes: Hash,
    id: String,
}

impl PublicKey {
    /// From PEM, as `openssl pkey -pubout` writes it (RFC 8410 §4).
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        const BEFORE: [u8; 12] =
            [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let der = unwrapped(pem, "PUBLIC KEY").ok_or(KeyError::Public)?;
        let key = der.strip_prefix(&BEFORE).ok_or(KeyError::Public)?;
        let bytes: Hash = key.try_into().map_err(|_| KeyError::Public)?;
        Ok(Self { bytes, id: id_of(&sha256(&[&bytes])) })
    }

    /// 16 hexadecimal digits that name it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether `signature` is one of the checkpoint that begins with `text`.
    #[must_use]
    pub fn signed(&self, text: &[u8], signature: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, self.bytes);
        key.verify(&[SIGNED, text].concat(), &signature).is_ok()
    }
}

/// Why a checkpoint was made.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The program started.
    Start,
    /// So many records, or so much time, since the last.
    Interval,
    /// The file is left for a new one.
    Rotate,
    /// A new file, or one that was cut to nothing by its rotation, begins.
    Open,
    /// The program stops in order: nothing follows but a start.
    Stop,
}

/// What may be told in a line besides requests.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// So many records could not be written.
    Lost(u64),
    /// The line before is a torn one, of so many bytes with this digest.
    Torn { bytes: usize, digest: Hash },
    /// A checkpoint; at a start with the number that the log had reached by what was kept beside it, where
    /// the log itself had not.
    Checkpoint { why: Why, expected: Option<u64> },
}

#[derive(Serialize)]
struct LostLine<'a> {
    event: &'static str,
    time: &'a str,
    records: u64,
}

#[derive(Serialize)]
struct TornLine<'a> {
    event: &'static str,
    time: &'a str,
    bytes: usize,
    digest: String,
}

#[derive(Serialize)]
struct CheckpointLine<'a> {
    event: &'static str,
    time: &'a str,
    why: Why,
    chain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<u64>,
    before: String,
    base: String,
    digest: String,
}

/// How far a chain has come: all that the next line rests on.
#[derive(Clone)]
pub(super) struct Head {
    /// Id of the chain, 32 hexadecimal digits.
    pub(super) chain: String,
    /// Number of the last line; 0 before the first.
    pub(super) sequence: u64,
    /// Code of the last line.
    pub(super) code: Hash,
    /// Digest in the last checkpoint.
    pub(super) base: Hash,
    /// Over `base` and every byte since the line of the last checkpoint.
    since: digest::Context,
}

impl Head {
    /// A chain that begins.
    pub(super) fn new(chain: String) -> Self {
        Self::after(chain, 0, [0; 32], [0; 32])
    }

    /// A chain whose last checkpoint had the digest `base`; what followed is still to be [absorbed](Self::absorb).
    pub(super) fn after(chain: String, sequence: u64, code: Hash, base: Hash) -> Self {
        let mut since = digest::Context::new(&digest::SHA256);
        since.update(&base);
        Self { chain, sequence, code, base, since }
    }

    /// Takes bytes of the log into the digest of the next checkpoint.
    pub(super) fn absorb(&mut self, bytes: &[u8]) {
        self.since.update(bytes);
    }

    pub(super) fn digest(&self) -> Hash {
        fixed(self.since.clone().finish().as_ref())
    }
}

/// Seals lines.
#[derive(Debug)]
pub(super) struct Sealer {
    pub(super) mac: MacKey,
    pub(super) signer: Signer,
}

impl Sealer {
    /// Adds the line of a record, a JSON object, to `out`, sealed and with its end.
    pub(super) fn record(&self, head: &mut Head, text: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(text.strip_suffix(b"}").unwrap_or(text));
        self.number(head, out);
        self.close(head, begin, out);
    }

    /// Adds the line of an event to `out`.
    pub(super) fn event(&self, head: &mut Head, event: &Event, time: &str, out: &mut Vec<u8>) {
        match event {
            Event::Lost(records) => {
                let line = LostLine { event: "lost", time, records: *records };
                self.record(head, json(&line).as_bytes(), out);
            }
            Event::Torn { bytes, digest } => {
                let (bytes, digest) = (*bytes, hex(digest));
                self.record(
                    head,
                    json(&TornLine { event: "torn", time, bytes, digest }).as_bytes(),
                    out,
                );
            }
            Event::Checkpoint { why, expected } => {
                self.checkpoint(head, (*why, *expected), time, out);
            }
        }
    }

    fn checkpoint(
        &self,
        head: &mut Head,
        (why, expected): (Why, Option<u64>),
        time: &str,
        out: &mut Vec<u8>,
    ) {
        let digest = head.digest();
        let line = CheckpointLine {
            event: "checkpoint",
            time,
            why,
            chain: &head.chain,
            expected,
            before: hex(&head.code),
            base: hex(&head.base),
            digest: hex(&digest),
        };
        let begin = out.len();
        let text = json(&line);
        out.extend_from_slice(text.strip_suffix('}').unwrap_or(&text).as_bytes());
        self.number(head, out);
        push(out, &[",\"signer\":\"", &self.signer.id, "\""]);
        let signature = self.signer.sign(out.get(begin..).unwrap_or_default());
        push(out, &[",\"sig\":\"", &signature, "\""]);
        self.close(head, begin, out);
        // It is signed itself: the next digest is over what follows it.
        *head = Head::after(head.chain.clone(), head.sequence, head.code, digest);
    }

    fn number(&self, head: &mut Head, out: &mut Vec<u8>) {
        head.sequence += 1;
        push(out, &[",\"seq\":", &head.sequence.to_string(), ",\"key\":\"", &self.mac.id, "\""]);
    }

    fn close(&self, head: &mut Head, begin: usize, out: &mut Vec<u8>) {
        head.code = self.mac.code(&head.code, out.get(begin..).unwrap_or_default());
        push(out, &[",\"mac\":\"", &hex(&head.code), "\"}\n"]);
        head.absorb(out.get(begin..).unwrap_or_default());
    }
}

/// What is read of a sealed line.
#[derive(Debug, Deserialize)]
pub(super) struct Seal {
    pub(super) event: Option<String>,
    pub(super) why: Option<Why>,
    pub(super) chain: Option<String>,
    pub(super) expected: Option<u64>,
    pub(super) before: Option<String>,
    pub(super) base: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) bytes: Option<usize>,
    pub(super) records: Option<u64>,
    pub(super) seq: u64,
    pub(super) key: String,
    pub(super) signer: Option<String>,
    pub(super) sig: Option<String>,
    pub(super) mac: String,
}

/// A sealed line, read: what it says, and the parts of its text that the code and the signature are over.
pub(super) struct Sealed<'l> {
    pub(super) seal: Seal,
    pub(super) code: Hash,
    pub(super) coded: &'l [u8],
    pub(super) signed: Option<&'l [u8]>,
}

impl<'l> Sealed<'l> {
    /// Reads a line without its end; `None` for anything but a sealed one, byte for byte as we write it.
    pub(super) fn read(line: &'l [u8]) -> Option<Self> {
        let seal: Seal = serde_json::from_slice(line).ok()?;
        // They are told to whoever checks the log, who may see them on a terminal.
        if !is_id(&seal.key) || seal.signer.as_deref().is_some_and(|signer| !is_id(signer)) {
            return None;
        }
        let code = from_hex(&seal.mac)?;
        let coded = line.strip_suffix(format!(",\"mac\":\"{}\"}}", seal.mac).as_bytes())?;
        let signed = match &seal.sig {
            Some(sig) => Some(coded.strip_suffix(format!(",\"sig\":\"{sig}\"").as_bytes())?),
            None => None,
        };
        Some(Self { seal, code, coded, signed })
    }

    /// Whether it says that it is a checkpoint.
    pub(super) fn is_checkpoint(&self) -> bool {
        self.seal.event.as_deref() == Some("checkpoint")
    }
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Text and numbers always make a line.
fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap_or_else(|_| "{\"event\":\"fault\"}".to_owned())
}

pub(super) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    fixed(context.finish().as_ref())
}

/// Of something that is 32 bytes long.
fn fixed(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    for (to, from) in hash.iter_mut().zip(bytes) {
        *to = *from;
    }
    hash
}

fn id_of(bytes: &[u8]) -> String {
    hex(bytes.get(..8).unwrap_or(bytes))
}

/// As [`id_of`] makes them.
fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// 64 lower-case digits and nothing else: one text for one value.
pub(super) fn from_hex(text: &str) -> Option<Hash> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut hash = Hash::default();
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = digits else { return None };
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(hash)
}

/// The bytes in a PEM text with this label.
fn unwrapped(pem: &str, label: &str) -> Option<Vec<u8>> {
    let inner = pem.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let inner = inner.strip_suffix(&format!("-----END {label}-----"))?;
    let plain: String = inner.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(plain).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn keys_are_read_as_openssl_writes_them() {
        // The first test vector of RFC 8032 §7.1.
        let (signer, public) =
            (Signer::from_pem(PRIVATE).unwrap(), PublicKey::from_pem(PUBLIC).unwrap());
        assert_eq!(signer.id(), public.id());
        let signature = signer.sign(b"text");
        assert!(public.signed(b"text", &signature));
        assert!(!public.signed(b"texts", &signature));
        assert!(!public.signed(b"text", &signature.to_lowercase()));
        assert_eq!(Signer::from_pem(PUBLIC).unwrap_err(), KeyError::Signing);
        assert_eq!(PublicKey::from_pem(PRIVATE).unwrap_err(), KeyError::Public);
        assert_eq!(Signer::from_pem("").unwrap_err(), KeyError::Signing);
    }

    #[test]
    fn a_key_is_named_and_not_shown() {
        let key = MacKey::new("0123456789abcdef0123456789abcdef");
        assert_eq!(key.id().len(), 16);
        assert_eq!(key.id(), MacKey::new("0123456789abcdef0123456789abcdef").id());
        assert_ne!(key.id(), MacKey::new("0123456789abcdef0123456789abcdeg").id());
        let shown = format!("{key:?}{:?}", Signer::from_pem(PRIVATE).unwrap());
        assert!(!shown.contains("012345") && !shown.contains("nWGx"), "{shown}");
    }

    #[test]
    fn hexadecimal_digits_have_one_form() {
        let hash = sha256(&[b"a"]);
        assert_eq!(from_hex(&hex(&hash)), Some(hash));
        assert_eq!(from_hex(&hex(&hash).to_uppercase()), None);
        assert_eq!(from_hex("00"), None);
    }
}
