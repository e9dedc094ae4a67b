//! TLS with a local authority, so that clients with hard-coded addresses can be pointed here by a hosts file and a CA
//! bundle. Authority and certificate are made at each start; the keys never leave the process.

use axum::http::Uri;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// How to serve TLS. Plain HTTP is still answered on the same port.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Names and addresses that the certificate is for, e.g. `platform.tt02.altinn.no`.
    pub hosts: Vec<String>,
    /// What Maskinporten calls itself, with a trailing slash; by default `https://FIRST_HOST:PORT/`.
    pub issuer: Option<String>,
    /// Altinn's base address without a trailing slash; by default `https://FIRST_HOST:PORT`.
    pub altinn: Option<String>,
}

/// TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No host was named.
    #[error("name at least one host for the certificate")]
    NoHost,
    /// A host is neither a name nor an address.
    #[error("`{0}` is no host name and no address")]
    Host(String),
    /// Not what Maskinporten can call itself.
    #[error("the issuer `{0}` is not of the form https://HOST/, with the slash")]
    Issuer(String),
    /// Not a base address of Altinn.
    #[error("Altinn's address `{0}` is not of the form https://HOST, without a slash at the end")]
    Altinn(String),
    /// No certificate, for instance because a host is no name.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The certificate does not serve.
    #[error("cannot serve the certificate")]
    Config(#[from] rustls::Error),
}

/// What the listener needs, and what clients must trust.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// The authority's certificate in PEM.
    pub(crate) authority: String,
}

impl Tls {
    /// Makes an authority and a certificate for the hosts.
    pub(crate) fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        check(options)?;
        let (authority, issuer) = authority()?;
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(options.hosts.clone())?;
        parameters.distinguished_name.push(DnType::CommonName, "Portvakt sandbox");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let leaf = parameters.signed_by(&key, &issuer)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![leaf.der().clone(), authority.der().clone()];
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, authority: authority.pem() })
    }
}

/// What would be written into a certificate and into metadata.
fn check(options: &TlsOptions) -> Result<(), TlsError> {
    if options.hosts.is_empty() {
        return Err(TlsError::NoHost);
    }
    for host in &options.hosts {
        let name = host.strip_prefix("*.").unwrap_or(host);
        ServerName::try_from(name).map_err(|_| TlsError::Host(host.clone()))?;
    }
    let is_web = |url: &str| {
        let uri: Option<Uri> = url.parse().ok();
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        scheme.is_some_and(|it| it == "https" || it == "http") && !url.contains(['?', '#'])
    };
    match (&options.issuer, &options.altinn) {
        (Some(url), _) if !is_web(url) || !url.ends_with('/') => Err(TlsError::Issuer(url.clone())),
        (_, Some(url)) if !is_web(url) || url.ends_with('/') => Err(TlsError::Altinn(url.clone())),
        _ => Ok(()),
    }
}

fn authority() -> Result<(Certificate, Issuer<'static, KeyPair>), TlsError> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "Portvakt sandbox CA");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate, Issuer::new(parameters, key)))
}
