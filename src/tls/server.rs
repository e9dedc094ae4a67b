//! TLS towards clients: versions 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, the certificate by the name
//! that the client asks for (RFC 6066 §3), and certificates of clients where they are wanted.
//!
//! No data before the end of a handshake (0-RTT) is taken: it could be sent twice by another.

use super::watch::{Reloads, now};
use super::{TlsError, authorities, pair, provider, shown};
use crate::config::{ListenTlsConfig, TlsVersion};
use crate::telemetry::metrics::Metrics;
use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use std::path::Path;
use std::sync::Arc;

/// What a listener needs to serve TLS, always as the files say.
#[derive(Debug)]
pub struct Server {
    config: ListenTlsConfig,
    current: ArcSwap<ServerConfig>,
    metrics: Metrics,
}

impl Server {
    /// Reads the files. A certificate that is out of date is used all the same, and said aloud: nothing
    /// else is there.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(config: ListenTlsConfig, metrics: Metrics) -> Result<Self, TlsError> {
        let pairs = pairs(&config)?;
        let current = ArcSwap::from_pointee(make(&config, pairs.clone())?);
        let server = Self { config, current, metrics };
        for (files, pair) in server.config.certificates.iter().zip(&pairs) {
            if !shown(pair)?.holds_at(now()) {
                let file = files.certificate.display();
                tracing::error!(%file, "the certificate has ended, or is not valid yet");
            }
        }
        server.tell(&pairs)?;
        Ok(server)
    }

    /// As the files said when they were read last.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    fn tell(&self, pairs: &[CertifiedKey]) -> Result<(), TlsError> {
        for (files, pair) in self.config.certificates.iter().zip(pairs) {
            let file = files.certificate.to_string_lossy();
            let end = shown(pair)?.not_after;
            self.metrics.tls_certificate_ends.with_label_values(&[file.as_ref()]).set(end);
        }
        Ok(())
    }
}

impl Reloads for Server {
    fn files(&self) -> Vec<&Path> {
        let pairs = self.config.certificates.iter();
        let pairs = pairs.flat_map(|files| [files.certificate.as_path(), files.key.as_path()]);
        let clients = self.config.clients.iter().map(|clients| clients.authorities.as_path());
        pairs.chain(clients).collect()
    }

    fn reload(&self) -> Result<(), TlsError> {
        let pairs = pairs(&self.config)?;
        for pair in &pairs {
            if !shown(pair)?.holds_at(now()) {
                return Err(TlsError::OutOfDate);
            }
        }
        self.current.store(Arc::new(make(&self.config, pairs.clone())?));
        self.tell(&pairs)
    }
}

fn pairs(config: &ListenTlsConfig) -> Result<Vec<CertifiedKey>, TlsError> {
    config.certificates.iter().map(pair).collect()
}

fn make(config: &ListenTlsConfig, pairs: Vec<CertifiedKey>) -> Result<ServerConfig, TlsError> {
    const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    const NEWER: &[&SupportedProtocolVersion] = &[&version::TLS13];
    let versions = match config.minimum_version {
        TlsVersion::Tls12 => BOTH,
        TlsVersion::Tls13 => NEWER,
    };
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let certificates = Arc::new(Certificates(pairs.into_iter().map(Arc::new).collect()));
    let mut server = match &config.clients {
        None => builder.with_no_client_auth().with_cert_resolver(certificates),
        Some(clients) => {
            let roots = Arc::new(authorities(&clients.authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier =
                if clients.required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build()?).with_cert_resolver(certificates)
        }
    };
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if config.clients.is_some() {
        // A session that is taken up again shows its certificate as it was: the end of the certificate, and
        // of its authority, would go unseen.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    } else {
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    }
    Ok(server)
}

/// The certificates, each for the names in it.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named: Vec<&Arc<CertifiedKey>> = match &name {
            Some(name) if self.0.len() > 1 => {
                self.0.iter().filter(|pair| is_for(pair, name)).collect()
            }
            _ => Vec::new(),
        };
        let candidates = if named.is_empty() { self.0.iter().collect() } else { named };
        // Of two for one name, one by elliptic curve and one by RSA, that which the client can verify.
        let fits = |pair: &&&Arc<CertifiedKey>| {
            pair.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        candidates.iter().find(fits).or(candidates.first()).map(|pair| Arc::clone(pair))
    }
}

fn is_for(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let leaf = pair.cert.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    leaf.is_some_and(|leaf| verify_server_name(&leaf, name).is_ok())
}
