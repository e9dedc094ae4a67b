//! Certificates, keys and authorities: read from files, made into what the TLS library needs, and made
//! anew when the files change. Used towards clients ([`server`]) and towards upstreams ([`client`]).
//!
//! Nothing here can be told to verify less.

pub mod certificate;
pub mod client;
pub mod server;
pub mod watch;

use crate::config::CertificateFiles;
use certificate::Facts;
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Why files do not serve. Names no file: which one is known to whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system refuses.
    #[error("a file cannot be read")]
    Unreadable(#[source] io::Error),
    /// Far longer than any chain of certificates.
    #[error("a file is longer than a megabyte")]
    TooLarge,
    /// No certificate in PEM.
    #[error("no certificate in PEM")]
    NoCertificate,
    /// A certificate that is none.
    #[error("a certificate that cannot be read")]
    BadCertificate,
    /// No private key in PEM, or one that cannot be used.
    #[error("no private key in PEM that can be used")]
    BadKey,
    /// Certificate and key do not belong together.
    #[error("the key is not that of the certificate")]
    OtherKey,
    /// Not a certificate for now.
    #[error("the certificate has ended, or is not valid yet")]
    OutOfDate,
    /// The system has no authorities.
    #[error("the system has no certificates of authorities")]
    NoAuthorities,
    /// The TLS library refuses.
    #[error("the TLS library refuses")]
    Library(#[from] rustls::Error),
    /// The TLS library refuses the authorities of clients.
    #[error("the TLS library refuses the authorities")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// Largest file that is read, in bytes.
const MOST: u64 = 1 << 20;

/// The cryptography of the whole program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The whole file, at most a megabyte.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let file = File::open(path).map_err(TlsError::Unreadable)?;
    let mut bytes = Zeroizing::new(Vec::new());
    let read = file.take(MOST + 1).read_to_end(&mut bytes).map_err(TlsError::Unreadable)?;
    if u64::try_from(read).is_ok_and(|read| read > MOST) {
        return Err(TlsError::TooLarge);
    }
    Ok(bytes)
}

/// Reads the certificates of a file, at least one.
///
/// # Errors
/// When it cannot be read, holds none, or one that is none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|_| TlsError::BadCertificate)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    if found.iter().any(|certificate| Facts::read(certificate).is_none()) {
        return Err(TlsError::BadCertificate);
    }
    Ok(found)
}

/// Reads the private key of a file.
///
/// # Errors
/// When it cannot be read, holds none, or none that can be used.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| TlsError::BadKey)?;
    let usable = aws_lc_rs::default_provider().key_provider.load_private_key(key.clone_key());
    usable.map_err(|_| TlsError::BadKey)?;
    Ok(key)
}

/// Reads a certificate with its key. Whether it is in date is not looked at.
///
/// # Errors
/// As [`certificates`] and [`key`], and when the two do not belong together.
pub fn pair(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = (certificates(&files.certificate)?, key(&files.key)?);
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::OtherKey,
        rustls::Error::InvalidCertificate(_) => TlsError::BadCertificate,
        other => TlsError::Library(other),
    })
}

/// Reads the authorities of a file.
///
/// # Errors
/// As [`certificates`].
pub fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|_| TlsError::BadCertificate)?;
    }
    Ok(roots)
}

/// The facts of the certificate that a pair shows.
fn shown(pair: &CertifiedKey) -> Result<Facts, TlsError> {
    pair.cert.first().and_then(|leaf| Facts::read(leaf)).ok_or(TlsError::BadCertificate)
}
