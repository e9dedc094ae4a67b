//! TLS towards an upstream. Its certificate is verified against the authorities of the system or those of
//! the configuration, its name and its time included; there is no switch for less.

use super::watch::{Reloads, now};
use super::{TlsError, authorities, pair, provider, shown};
use crate::config::UpstreamTlsConfig;
use crate::telemetry::metrics::Metrics;
use arc_swap::ArcSwap;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// What connections to one upstream are made with, always as the files say.
#[derive(Debug)]
pub struct Client {
    config: UpstreamTlsConfig,
    current: ArcSwap<Offers>,
    metrics: Metrics,
}

/// The same settings, by what of HTTP is offered (ALPN, RFC 7301).
#[derive(Debug)]
pub struct Offers {
    /// HTTP/1.1.
    pub http1: Arc<ClientConfig>,
    /// HTTP/2.
    pub http2: Arc<ClientConfig>,
    /// Either.
    pub either: Arc<ClientConfig>,
    /// When our own certificate ends, in seconds since 1970.
    ends: Option<i64>,
}

impl Client {
    /// Reads the files. Whoever puts it to use then has to [`Client::tell`].
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(config: UpstreamTlsConfig, metrics: Metrics) -> Result<Self, TlsError> {
        let own = config.own.as_ref().map(pair).transpose()?;
        let current = ArcSwap::from_pointee(make(&config, own)?);
        Ok(Self { config, current, metrics })
    }

    /// Tells by a metric when our own certificate ends.
    pub fn tell(&self) {
        if let (Some(files), Some(ends)) = (&self.config.own, self.current.load().ends) {
            let file = files.certificate.to_string_lossy();
            self.metrics.tls_certificate_ends.with_label_values(&[file.as_ref()]).set(ends);
        }
    }

    /// What it was made for.
    #[must_use]
    pub fn config(&self) -> &UpstreamTlsConfig {
        &self.config
    }

    /// As the files said when they were read last.
    #[must_use]
    pub fn current(&self) -> Arc<Offers> {
        self.current.load_full()
    }
}

impl Reloads for Client {
    fn files(&self) -> Vec<&Path> {
        let own = self.config.own.iter();
        let own = own.flat_map(|files| [files.certificate.as_path(), files.key.as_path()]);
        own.chain(self.config.authorities.as_deref()).collect()
    }

    fn reload(&self) -> Result<(), TlsError> {
        let own = self.config.own.as_ref().map(pair).transpose()?;
        if let Some(own) = &own
            && !shown(own)?.holds_at(now())
        {
            return Err(TlsError::OutOfDate);
        }
        self.current.store(Arc::new(make(&self.config, own)?));
        self.tell();
        Ok(())
    }
}

fn make(config: &UpstreamTlsConfig, own: Option<CertifiedKey>) -> Result<Offers, TlsError> {
    let roots = match &config.authorities {
        Some(path) => authorities(path)?,
        None => of_the_system()?,
    };
    let ends = own.as_ref().map(shown).transpose()?.map(|facts| facts.not_after);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let client = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
        None => builder.with_no_client_auth(),
    };
    let offering = |protocols: &[&[u8]]| {
        let mut client = client.clone();
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(client)
    };
    Ok(Offers {
        http1: offering(&[b"http/1.1"]),
        http2: offering(&[b"h2"]),
        either: offering(&[b"h2", b"http/1.1"]),
        ends,
    })
}

fn of_the_system() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read spoils no other.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
}
