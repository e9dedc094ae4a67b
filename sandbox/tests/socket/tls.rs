//! TLS with the hard-coded names of the real services.

use crate::lab::{Lab, send};
use portvakt_sandbox::{Sandbox, SandboxError, SandboxOptions, TlsError, TlsOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn options() -> SandboxOptions {
    let tls = TlsOptions {
        hosts: vec!["platform.tt02.altinn.no".into(), "test.maskinporten.no".into()],
        issuer: Some("https://test.maskinporten.no/".into()),
        altinn: Some("https://platform.tt02.altinn.no".into()),
    };
    SandboxOptions { tls: Some(tls), ..SandboxOptions::default() }
}

/// What a client that trusts only this authority reads of the metadata under a name.
async fn metadata(lab: &Lab, authority: &str, name: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(lab.sandbox.address()).await?;
    let host = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(host, stream).await?;
    let path = "/.well-known/oauth-authorization-server";
    let request = format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // The peer may close without the last word of TLS.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn the_names_of_the_real_services_are_served_to_who_trusts_the_authority() {
    let lab = Lab::start_with(options()).await;
    let authority = lab.sandbox.authority_pem().unwrap().to_owned();
    for name in ["test.maskinporten.no", "platform.tt02.altinn.no"] {
        let answer = metadata(&lab, &authority, name).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\"issuer\":\"https://test.maskinporten.no/\""), "{answer}");
    }
    assert!(metadata(&lab, &authority, "maskinporten.no").await.is_err(), "not in the certificate");
    let other = Lab::start_with(options()).await;
    let foreign = other.sandbox.authority_pem().unwrap();
    assert!(metadata(&lab, foreign, "test.maskinporten.no").await.is_err(), "another authority");
    // Plain HTTP goes on, for the knobs.
    let plain = send(lab.sandbox.address(), "GET", "/sandbox/state", &[], "").await.unwrap();
    assert_eq!(plain.status, 200);
}

#[tokio::test]
async fn tls_without_a_host_is_refused() {
    let tls = Some(TlsOptions::default());
    let refused = Sandbox::start(SandboxOptions { tls, ..SandboxOptions::default() }).await;
    assert!(matches!(refused, Err(SandboxError::Tls(TlsError::NoHost))));
}

#[tokio::test]
async fn what_is_no_host_and_no_address_is_refused_with_its_name() {
    let start = async |host: &str, issuer: &str, altinn: &str| {
        let tls = Some(TlsOptions {
            hosts: vec!["test.maskinporten.no".into(), host.into()],
            issuer: Some(issuer.into()),
            altinn: Some(altinn.into()),
        });
        Sandbox::start(SandboxOptions { tls, ..SandboxOptions::default() }).await
    };
    let (issuer, altinn) = ("https://test.maskinporten.no/", "https://platform.tt02.altinn.no");
    for host in ["*.altinn.no", "127.0.0.1", "::1", "a"] {
        assert!(start(host, issuer, altinn).await.is_ok(), "{host}");
    }
    for host in ["bad name", "", "https://a.no", "a.no/x", "a..no"] {
        let refused = start(host, issuer, altinn).await;
        assert!(matches!(refused, Err(SandboxError::Tls(TlsError::Host(it))) if it == host));
    }
    for issuer in ["test.maskinporten.no", "https://test.maskinporten.no", "ftp://a/", "https:///"]
    {
        let refused = start("a", issuer, altinn).await;
        assert!(matches!(refused, Err(SandboxError::Tls(TlsError::Issuer(it))) if it == issuer));
    }
    for altinn in ["altinn", "https://platform.tt02.altinn.no/", "https://a?x"] {
        let refused = start("a", issuer, altinn).await;
        assert!(matches!(refused, Err(SandboxError::Tls(TlsError::Altinn(it))) if it == altinn));
    }
}
