//! Where requests come in, and what a connection must pass. The files are read, so that what is wrong with
//! them is told with the rest; what is made of them is up to `tls`, at the start.

use super::world::number;
use super::{Resolver, either, section};
use crate::config::error::Place;
use crate::config::raw::{
    RawCertificate, RawClientCertificate, RawForwardAuth, RawListen, RawListenTls,
    RawProxyProtocol, RawTlsVersion, Setting,
};
use crate::config::{
    CertificateFiles, ClientCertificateConfig, ForwardAuthConfig, ListenAddress, ListenConfig,
    ListenTlsConfig, Network, TlsVersion,
};
use crate::tls::{self, TlsError};
use http::HeaderName;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Resolver<'_> {
    pub(super) fn listen(&mut self, written: Setting<RawListen>) -> ListenConfig {
        let raw = section(written, "listen").raw;
        let cores = std::thread::available_parallelism().unwrap_or(number(1));
        ListenConfig {
            address: self.listen_address(&raw.address),
            workers: self.count_up_to(&raw.workers, cores, 1024),
            tls: self.listen_tls(&raw.tls),
            proxy_protocol: self.proxy_protocol(&raw.proxy_protocol),
            forward_auth: self.forward_auth(&raw.forward_auth),
        }
    }

    fn listen_address(&self, written: &Setting<String>) -> ListenAddress {
        let default = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080));
        if let Some((text, place)) = written.written()
            && let Some(path) = text.strip_prefix("unix:")
        {
            if !is_socket_path(path) {
                self.sink.report(place, "not the path of a Unix socket", SOCKET_CURE);
            }
            return ListenAddress::Unix(path.into());
        }
        ListenAddress::Tcp(self.socket_address(written).unwrap_or(default))
    }

    fn listen_tls(&self, written: &Setting<RawListenTls>) -> Option<ListenTlsConfig> {
        let (raw, place) = written.written()?;
        match &raw.certificates {
            Setting::Absent => self.missing(place, "certificates", CERTIFICATES_CURE),
            Setting::Written(list, place) if list.is_empty() => {
                self.sink.report(place, "no certificate", CERTIFICATES_CURE);
            }
            Setting::Written(..) | Setting::Wrong(_) => {}
        }
        let list = raw.certificates.value().map(Vec::as_slice).unwrap_or_default();
        let certificates = list.iter().filter_map(|written| self.listed(written)).collect();
        let authorities = self.authorities(&raw.client_ca_file);
        if let Some(place) = raw.client_certificate.place()
            && raw.client_ca_file.is_absent()
        {
            let message = "without `client_ca_file` no certificate of a client can be verified";
            self.sink.report(place, message, "write `client_ca_file` too");
        }
        let demand = either(&raw.client_certificate, RawClientCertificate::Required);
        let required = matches!(demand, RawClientCertificate::Required);
        let version = either(&raw.minimum_version, RawTlsVersion::Tls12);
        Some(ListenTlsConfig {
            certificates,
            clients: authorities
                .map(|authorities| ClientCertificateConfig { authorities, required }),
            minimum_version: match version {
                RawTlsVersion::Tls12 => TlsVersion::Tls12,
                RawTlsVersion::Tls13 => TlsVersion::Tls13,
            },
            handshake_timeout: self.time(&raw.handshake_timeout, Duration::from_secs(5)),
            pending_handshakes: self.count(&raw.pending_handshakes, number(5_000)),
        })
    }

    fn listed(&self, written: &Setting<RawCertificate>) -> Option<CertificateFiles> {
        let (raw, place) = written.written()?;
        for (name, key) in
            [("certificate_file", &raw.certificate_file), ("key_file", &raw.key_file)]
        {
            if key.is_absent() {
                self.missing(place, name, "write the path of a file in PEM");
            }
        }
        self.certificate(&raw.certificate_file, &raw.key_file)
    }

    /// A certificate and its key, both written; reports what does not serve.
    pub(super) fn certificate(
        &self,
        certificate: &Setting<String>,
        key: &Setting<String>,
    ) -> Option<CertificateFiles> {
        let place = key.place();
        let certificate = self.pem(certificate, |path| tls::certificates(path).map(drop));
        let key = self.pem(key, |path| tls::key(path).map(drop));
        let (place, files) = (place?, CertificateFiles { certificate: certificate?, key: key? });
        if let Err(error) = tls::pair(&files) {
            self.sink.report(place, error, "name the key that the certificate was made for");
            return None;
        }
        Some(files)
    }

    pub(super) fn authorities(&self, written: &Setting<String>) -> Option<PathBuf> {
        self.pem(written, |path| tls::authorities(path).map(drop))
    }

    fn pem(
        &self,
        written: &Setting<String>,
        serves: impl Fn(&Path) -> Result<(), TlsError>,
    ) -> Option<PathBuf> {
        let (path, place) = written.written()?;
        let path = PathBuf::from(path);
        if let Err(error) = serves(&path) {
            let cure = match error {
                TlsError::Unreadable(_) => {
                    "correct the path, or give the program's user leave to read it"
                }
                _ => "name a file in PEM that holds it",
            };
            self.sink.report(place, error, cure);
            return None;
        }
        Some(path)
    }

    fn proxy_protocol(&mut self, written: &Setting<RawProxyProtocol>) -> Option<Vec<Network>> {
        let (raw, place) = written.written()?;
        let cure = "write the networks of the load balancers, such as `[\"10.0.0.0/8\"]`";
        Some(self.peers(&raw.trusted_peers, place, ("nobody could connect", cure)))
    }

    /// Networks that must be written, and not be none.
    fn peers(
        &mut self,
        written: &Setting<Vec<Setting<String>>>,
        section: &Place,
        (nobody, cure): (&str, &str),
    ) -> Vec<Network> {
        match written {
            Setting::Absent => self.missing(section, "trusted_peers", cure),
            Setting::Written(list, place) if list.is_empty() => {
                self.sink.report(place, nobody, cure);
            }
            Setting::Written(..) | Setting::Wrong(_) => {}
        }
        let peers = written.value().map(Vec::as_slice).unwrap_or_default();
        peers.iter().filter_map(|peer| self.network(peer)).collect()
    }

    fn forward_auth(&mut self, written: &Setting<RawForwardAuth>) -> Option<ForwardAuthConfig> {
        let (raw, place) = written.written()?;
        let cure = "write the networks of the proxies that ask, such as `[\"10.0.0.0/8\"]`";
        let trusted_peers = self.peers(&raw.trusted_peers, place, ("nobody could ask", cure));
        let method_header = self.told_by(&raw.method_header, "x-forwarded-method");
        let uri_header = self.told_by(&raw.uri_header, "x-forwarded-uri");
        if method_header == uri_header
            && let Some(place) = raw.uri_header.place().or(raw.method_header.place())
        {
            let message = "one header cannot tell both the method and the target";
            self.sink.report(place, message, "name another header");
        }
        Some(ForwardAuthConfig { trusted_peers, method_header, uri_header })
    }

    /// A header by which the proxy that asks tells of the client's request. It is one of its own: with another
    /// name, a field of the client's request would be taken for it.
    fn told_by(&self, written: &Setting<String>, usual: &'static str) -> HeaderName {
        let usual = HeaderName::from_static(usual);
        let Some((text, place)) = written.written() else { return usual };
        let name = HeaderName::from_bytes(text.as_bytes()).ok();
        let Some(name) = name.filter(|name| name.as_str().starts_with("x-")) else {
            let message = "not the name of a header that begins with `X-`";
            self.sink.report(
                place,
                message,
                "write it like `X-Original-Method` or `X-Original-URI`",
            );
            return usual;
        };
        name
    }
}

const CERTIFICATES_CURE: &str =
    "write `certificates: [{ certificate_file: tls.crt, key_file: tls.key }]`";
pub(super) const SOCKET_CURE: &str =
    "write it like `unix:/run/portvakt/api.sock`, with at most 100 bytes of path";

/// Absolute, so that it does not hang on where the program was started, and no longer than systems take.
pub(super) fn is_socket_path(path: &str) -> bool {
    path.starts_with('/') && !path.ends_with('/') && path.len() <= 100 && !path.contains('\0')
}
