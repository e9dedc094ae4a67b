//! The sections that stand on their own: listeners, upstreams, tokens, bounds, records.

use super::world::{World, number};
use super::{Resolver, either, section};
use crate::config::error::Place;
use crate::config::raw::{
    RawAdmin, RawConfirmations, RawForwarded, RawLanguage, RawLimits, RawListen, RawLog,
    RawLogFormat, RawProtocol, RawRate, RawRefusals, RawSupplier, RawTokens, RawUpstream, Setting,
    SizeOrUnlimited,
};
use crate::config::{
    AdminConfig, ConfirmationConfig, ForwardedConfig, Language, LimitConfig, ListenConfig,
    LogConfig, Network, RateConfig, RefusalConfig, TokenConfig, UpstreamConfig, UpstreamProtocol,
};
use crate::domain::claims::ClaimRules;
use crate::domain::party::CheckDigits;
use http::uri::Authority;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// The name of the upstream that routes use unless they name another.
pub(super) const DEFAULT_UPSTREAM: &str = "default";

/// The upstreams that are written; `None` where one could not be read.
pub(super) type Upstreams = BTreeMap<String, Option<UpstreamConfig>>;

const UPSTREAM_CURE: &str = "write it like `http://127.0.0.1:3000`";
const ADDRESS_CURE: &str = "write address and port, such as `0.0.0.0:8080` or `[::]:8080`";

impl Resolver<'_> {
    pub(super) fn listen(&self, written: Setting<RawListen>) -> ListenConfig {
        let raw = section(written, "listen").raw;
        let default = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080));
        let cores = std::thread::available_parallelism().unwrap_or(number(1));
        ListenConfig {
            address: self.socket_address(&raw.address).unwrap_or(default),
            workers: self.count_up_to(&raw.workers, cores, 1024),
        }
    }

    pub(super) fn admin(&self, written: Setting<RawAdmin>, listen: &ListenConfig) -> AdminConfig {
        let section = section(written, "admin");
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9090));
        let address = self.socket_address(&section.raw.address).unwrap_or(default);
        let (ours, theirs) = (address.ip(), listen.address.ip());
        let same_ip = ours == theirs || ours.is_unspecified() || theirs.is_unspecified();
        if same_ip && address.port() != 0 && address.port() == listen.address.port() {
            let message = "the same port as `listen.address`";
            let cure = "give the admin listener a port of its own";
            match section.raw.address.place() {
                Some(place) => self.sink.report(place, message, cure),
                None => self.sink.report_absent(&section.place.child("address"), message, cure),
            }
        }
        AdminConfig { address }
    }

    fn socket_address(&self, written: &Setting<String>) -> Option<SocketAddr> {
        let (text, place) = written.written()?;
        let address = text.parse();
        if address.is_err() {
            self.sink.report(place, "not an IP address with a port", ADDRESS_CURE);
        }
        address.ok()
    }

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
        let authority = self.upstream_authority(&raw.url);
        let connect_timeout = self.time(&raw.connect_timeout, Duration::from_secs(2));
        let response_timeout = self.time(&raw.response_timeout, Duration::from_secs(60));
        let idle_timeout = self.time(&raw.idle_timeout, Duration::from_secs(60));
        let max_idle_connections = self.idle_connections(&raw.max_idle_connections);
        Some(UpstreamConfig {
            authority: authority?,
            protocol: match either(&raw.protocol, RawProtocol::Http1) {
                RawProtocol::Http1 => UpstreamProtocol::Http1,
                RawProtocol::H2c => UpstreamProtocol::H2c,
            },
            preserve_host: either(&raw.preserve_host, true),
            forward_authorization: either(&raw.forward_authorization, true),
            connect_timeout,
            response_timeout,
            idle_timeout,
            max_idle_connections,
        })
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

    /// `http://host:port` and nothing more: the path of a request goes to the upstream as it came.
    fn upstream_authority(&self, written: &Setting<String>) -> Option<Authority> {
        let (text, place) = written.written()?;
        let refuse = |message: &str, cure: &str| {
            self.sink.report(place, message, cure);
            None
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse("not an address", UPSTREAM_CURE);
        };
        if scheme.eq_ignore_ascii_case("https") {
            return refuse("TLS to the upstream is not supported yet", UPSTREAM_CURE);
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return refuse("not http", UPSTREAM_CURE);
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
        Some(authority)
    }

    pub(super) fn tokens(&self, written: Setting<RawTokens>, world: Option<&World>) -> TokenConfig {
        const LONGEST_LEEWAY: Duration = Duration::from_secs(60);
        let raw = section(written, "tokens").raw;
        let leeway = self.time_or_zero(&raw.leeway, Duration::from_secs(10));
        if leeway > LONGEST_LEEWAY
            && let Some(place) = raw.leeway.place()
        {
            let message = "tokens live for minutes: this makes them live much longer";
            self.sink.report(place, message, "write at most `60s`, and set the clock right");
        }
        if let Some((audience, place)) = raw.audience.written()
            && audience.is_empty()
        {
            let cure = "write the audience, or take the key away";
            self.sink.report(place, "an empty audience", cure);
        }
        let cache_entries = self.count(&raw.cache_entries, number(100_000));
        let synthetic = world.is_some_and(|world| world.synthetic_organisation_numbers);
        TokenConfig {
            rules: ClaimRules {
                issuer: world.map(|world| world.issuer.clone()).unwrap_or_default(),
                audience: raw.audience.value().cloned(),
                leeway,
                max_system_users: self.count_up_to(&raw.max_system_users, number(4), 100).get(),
                accept_supplier: matches!(
                    either(&raw.supplier, RawSupplier::Refuse),
                    RawSupplier::Accept
                ),
                check_digits: if synthetic { CheckDigits::Ignored } else { CheckDigits::Required },
            },
            max_bytes: self.size(&raw.max_bytes, 8 << 10),
            cache_entries: wide(cache_entries.get()),
        }
    }

    pub(super) fn confirmations(
        &mut self,
        written: Setting<RawConfirmations>,
    ) -> ConfirmationConfig {
        let raw = section(written, "confirmations").raw;
        ConfirmationConfig {
            no_for: self.time_or_zero(&raw.no_for, Duration::from_secs(5)),
            max_entries: wide(self.count(&raw.max_entries, number(100_000)).get()),
            suspicious_for: self.time_or_zero(&raw.suspicious_for, Duration::from_secs(3600)),
        }
    }

    pub(super) fn limits(&self, written: Setting<RawLimits>, token_bytes: usize) -> LimitConfig {
        let raw = section(written, "limits").raw;
        let body_bytes = self.measure(&raw.body_bytes, SizeOrUnlimited::parse).unwrap_or_default();
        let streams = self.count_up_to(&raw.streams_per_connection, number(100), 10_000);
        let limits = LimitConfig {
            target_bytes: self.size(&raw.target_bytes, 8 << 10),
            header_bytes: self.size(&raw.header_bytes, 64 << 10),
            header_count: self.count_up_to(&raw.header_count, number(100), 10_000).get(),
            body_bytes,
            party_body_bytes: self.size(&raw.party_body_bytes, 64 << 10),
            connections: self.count(&raw.connections, number(10_000)).get(),
            requests_in_flight: self.count(&raw.requests_in_flight, number(2_000)).get(),
            streams_per_connection: u32::try_from(streams.get()).unwrap_or(u32::MAX),
            header_timeout: self.time(&raw.header_timeout, Duration::from_secs(10)),
            body_idle_timeout: self.time(&raw.body_idle_timeout, Duration::from_secs(30)),
            drain_timeout: self.time_or_zero(&raw.drain_timeout, Duration::from_secs(30)),
            consumer_rate: self.rate(&raw.consumer_rate),
            system_user_rate: self.rate(&raw.system_user_rate),
        };
        self.check_limits(&raw, &limits, token_bytes);
        limits
    }

    fn rate(&self, written: &Setting<RawRate>) -> Option<RateConfig> {
        const MOST: usize = 1_000_000;
        const DAY: Duration = Duration::from_secs(86_400);
        let (raw, place) = written.written()?;
        if raw.requests.is_absent() {
            self.missing(place, "requests", "write how many, such as `50`");
        }
        let requests = self.count_up_to(&raw.requests, number(1), MOST);
        let burst = self.count_up_to(&raw.burst, requests, MOST);
        let per = self.time(&raw.per, Duration::from_secs(1));
        if per > DAY
            && let Some(place) = raw.per.place()
        {
            self.sink.report(place, "longer than a day", "write a shorter time, such as `1m`");
        }
        let narrow = |number: NonZeroUsize| NonZeroU32::try_from(number).unwrap_or(NonZeroU32::MAX);
        Some(RateConfig { requests: narrow(requests), per: per.min(DAY), burst: narrow(burst) })
    }

    fn check_limits(&self, raw: &RawLimits, limits: &LimitConfig, token_bytes: usize) {
        /// The least buffer for a head that hyper works with.
        const LEAST_HEAD: usize = 8 << 10;
        if let Some(place) = raw.header_bytes.place() {
            if limits.header_bytes < LEAST_HEAD {
                let message = "less than the HTTP library needs for a head";
                self.sink.report(place, message, "write at least `8KiB`");
            } else if limits.header_bytes < token_bytes {
                let message = "a token of `tokens.max_bytes` would not fit";
                self.sink.report(place, message, "write more, or lower `tokens.max_bytes`");
            }
        }
        let party_bytes = wide(limits.party_body_bytes);
        if limits.body_bytes.is_some_and(|most| most < party_bytes)
            && let Some(place) = raw.party_body_bytes.place()
        {
            let message = "more than `limits.body_bytes` lets in";
            self.sink.report(place, message, "write at most `limits.body_bytes`");
        }
    }

    pub(super) fn forwarded(&mut self, written: Setting<RawForwarded>) -> ForwardedConfig {
        let raw = section(written, "forwarded").raw;
        let peers = raw.trusted_peers.value().map(Vec::as_slice).unwrap_or_default();
        ForwardedConfig {
            x_forwarded: either(&raw.x_forwarded, true),
            rfc7239: either(&raw.rfc7239, false),
            trusted_peers: peers.iter().filter_map(|peer| self.network(peer)).collect(),
        }
    }

    fn network(&mut self, written: &Setting<String>) -> Option<Network> {
        let (text, place) = written.written()?;
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let address: IpAddr = address.parse().ok()?;
            let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
            let prefix: u8 = prefix.parse().ok().filter(|_| digits)?;
            Some((Network::new(address, prefix)?, prefix))
        });
        let Some((network, prefix)) = parsed else {
            let cure = "write it like `10.0.0.0/8`, or `10.1.2.3/32` for one address";
            self.sink.report(place, "not a range of addresses", cure);
            return None;
        };
        if prefix == 0 {
            self.warnings.push(format!("`{}` trusts forwarding headers of every peer", place.key));
        }
        Some(network)
    }

    pub(super) fn refusals(written: Setting<RawRefusals>) -> RefusalConfig {
        let raw = section(written, "refusals").raw;
        let default_language = match either(&raw.default_language, RawLanguage::Nb) {
            RawLanguage::Nb => Language::Nb,
            RawLanguage::Nn => Language::Nn,
            RawLanguage::En => Language::En,
        };
        RefusalConfig { default_language }
    }

    pub(super) fn log(&self, written: Setting<RawLog>) -> LogConfig {
        let raw = section(written, "log").raw;
        if let Some((filter, place)) = raw.filter.written()
            && EnvFilter::try_new(filter).is_err()
        {
            let cure = "write a level (error, warn, info, debug, trace), or `info,portvakt=debug`";
            self.sink.report(place, "not a log filter", cure);
        }
        LogConfig {
            filter: raw.filter.value().cloned().unwrap_or_else(|| "info".into()),
            json: matches!(either(&raw.format, RawLogFormat::Json), RawLogFormat::Json),
        }
    }
}

/// Whether `name` is fit for a metric label, a log line and a header.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
