//! Where requests go: addresses, protocols and TLS.

use super::listen::{SOCKET_CURE, is_socket_path};
use super::section::is_name;
use super::world::number;
use super::{Resolver, either};
use crate::config::error::Place;
use crate::config::raw::{RawProtocol, RawUpstream, RawUpstreamTls, Setting};
use crate::config::{UpstreamConfig, UpstreamProtocol, UpstreamTlsConfig};
use http::uri::Authority;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The name of the upstream that routes use unless they name another.
pub(super) const DEFAULT_UPSTREAM: &str = "default";

/// The upstreams that are written; `None` where one could not be read.
pub(super) type Upstreams = BTreeMap<String, Option<UpstreamConfig>>;

const UPSTREAM_CURE: &str =
    "write it like `http://127.0.0.1:3000`, `https://api.internal` or `unix:/run/api.sock`";

/// Where an upstream is.
enum Address {
    Http(Authority),
    Https(Authority),
    Unix(PathBuf),
}

impl Resolver<'_> {
    pub(super) fn upstreams(
        &self,
        default: &Setting<RawUpstream>,
        named: &Setting<BTreeMap<String, Setting<RawUpstream>>>,
    ) -> Upstreams {
        let mut upstreams = Upstreams::new();
        for (name, written) in named.value().into_iter().flatten() {
            if let Some(place) = written.place()
                && !is_name(name)
            {
                let cure = "write 1 to 64 of letters, digits, `.`, `_` and `-`";
                self.sink.report(place, "not a name for an upstream", cure);
            }
            upstreams.insert(name.clone(), self.upstream(written));
        }
        if let Some(place) = default.place() {
            let earlier = upstreams.insert(DEFAULT_UPSTREAM.to_owned(), self.upstream(default));
            if earlier.is_some() {
                let message = "`upstreams` has one called `default` already";
                self.sink.report(place, message, "keep one of the two");
            }
        }
        if upstreams.is_empty() && named.value().is_none_or(BTreeMap::is_empty) {
            let place = Place { key: String::new(), line: 1, column: 1 };
            if default.is_absent() && !matches!(named, Setting::Wrong(_)) {
                self.missing(
                    &place,
                    "upstream",
                    "write `upstream: { url: \"http://127.0.0.1:3000\" }`",
                );
            }
        }
        upstreams
    }

    fn upstream(&self, written: &Setting<RawUpstream>) -> Option<UpstreamConfig> {
        let (raw, place) = written.written()?;
        if raw.url.is_absent() {
            self.missing(place, "url", "write it like `http://127.0.0.1:3000`");
        }
        let address = self.upstream_address(&raw.url);
        let secure = matches!(address, Some(Address::Https(_)));
        let tls = self.upstream_tls(&raw.tls, address.as_ref());
        let protocol = self.protocol(&raw.protocol, secure || address.is_none());
        let connect_timeout = self.time(&raw.connect_timeout, Duration::from_secs(2));
        let lookup_interval = self.time(&raw.lookup_interval, Duration::from_secs(30));
        let response_timeout = self.time(&raw.response_timeout, Duration::from_secs(60));
        let idle_timeout = self.time(&raw.idle_timeout, Duration::from_secs(60));
        let max_idle_connections = self.idle_connections(&raw.max_idle_connections);
        let circuit_failures = self.count(&raw.circuit_failures, number(5));
        let circuit_open_for = self.time(&raw.circuit_open_for, Duration::from_secs(10));
        let (authority, socket) = match address? {
            Address::Http(authority) | Address::Https(authority) => (authority, None),
            Address::Unix(path) => (Authority::from_static("localhost"), Some(path)),
        };
        Some(UpstreamConfig {
            authority,
            socket,
            tls: secure.then_some(tls),
            protocol,
            preserve_host: either(&raw.preserve_host, true),
            forward_authorization: either(&raw.forward_authorization, true),
            connect_timeout,
            lookup_interval,
            response_timeout,
            idle_timeout,
            max_idle_connections,
            circuit_failures,
            circuit_open_for,
        })
    }

    fn protocol(&self, written: &Setting<RawProtocol>, secure: bool) -> UpstreamProtocol {
        let protocol = either(written, RawProtocol::Http1);
        let refuse = |message: &str, cure: &str| {
            if let Some(place) = written.place() {
                self.sink.report(place, message, cure);
            }
        };
        match protocol {
            RawProtocol::Http1 => UpstreamProtocol::Http1,
            RawProtocol::H2c => {
                if secure && written.place().is_some() {
                    refuse("HTTP/2 without TLS to an https address", "write `http2` or `auto`");
                }
                UpstreamProtocol::H2c
            }
            RawProtocol::Http2 | RawProtocol::Auto => {
                if !secure {
                    let message = "needs TLS, and so an https address";
                    refuse(message, "write `h2c` for HTTP/2 without TLS");
                }
                if matches!(protocol, RawProtocol::Auto) {
                    UpstreamProtocol::Auto
                } else {
                    UpstreamProtocol::Http2
                }
            }
        }
    }

    fn upstream_tls(
        &self,
        written: &Setting<RawUpstreamTls>,
        address: Option<&Address>,
    ) -> UpstreamTlsConfig {
        let none = UpstreamTlsConfig { authorities: None, own: None, server_name: None };
        if let (Some(place), Some(Address::Http(_) | Address::Unix(_))) = (written.place(), address)
        {
            let message = "the address is not https, so this would not be used";
            self.sink.report(place, message, "write `https://` in `url`, or take the key away");
        }
        let Some((raw, place)) = written.written() else { return none };
        match (raw.certificate_file.is_absent(), raw.key_file.is_absent()) {
            (false, true) => {
                self.missing(place, "key_file", "write the path of the certificate's key");
            }
            (true, false) => {
                self.missing(place, "certificate_file", "write the path of the key's certificate");
            }
            (true, true) | (false, false) => {}
        }
        if let Some((name, place)) = raw.server_name.written()
            && ServerName::try_from(name.as_str()).is_err()
        {
            let message = "neither a DNS name nor an IP address";
            self.sink.report(place, message, "write the name in the upstream's certificate");
        }
        UpstreamTlsConfig {
            authorities: self.authorities(&raw.ca_file),
            own: self.certificate(&raw.certificate_file, &raw.key_file),
            server_name: raw.server_name.value().cloned(),
        }
    }

    fn idle_connections(&self, written: &Setting<u64>) -> usize {
        let Some((number, place)) = written.written() else { return 64 };
        match usize::try_from(*number) {
            Ok(number) if number <= 100_000 => number,
            _ => {
                self.sink.report(place, "too large", "write at most 100000");
                0
            }
        }
    }

    /// Scheme, host and port and nothing more: the path of a request goes to the upstream as it came.
    fn upstream_address(&self, written: &Setting<String>) -> Option<Address> {
        let (text, place) = written.written()?;
        let refuse = |message: &str, cure: &str| {
            self.sink.report(place, message, cure);
            None
        };
        if let Some(path) = text.strip_prefix("unix:") {
            if !is_socket_path(path) {
                return refuse("not the path of a Unix socket", SOCKET_CURE);
            }
            return Some(Address::Unix(path.into()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse("not an address", UPSTREAM_CURE);
        };
        let secure = scheme.eq_ignore_ascii_case("https");
        if !secure && !scheme.eq_ignore_ascii_case("http") {
            return refuse("neither http nor https", UPSTREAM_CURE);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            let message = "the address of an upstream has no path, query, fragment or user";
            return refuse(message, "write scheme, host and port only");
        }
        let Ok(authority) = authority.parse::<Authority>() else {
            return refuse("not a host with an optional port", UPSTREAM_CURE);
        };
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port_holds = port.is_empty() || authority.port_u16().is_some_and(|port| port != 0);
        if authority.host().is_empty() || !port_holds {
            return refuse("not a host with an optional port", UPSTREAM_CURE);
        }
        let host = authority.host().trim_matches(['[', ']']);
        if secure && ServerName::try_from(host).is_err() {
            return refuse("no certificate can be for this host", UPSTREAM_CURE);
        }
        Some(if secure { Address::Https(authority) } else { Address::Http(authority) })
    }
}
