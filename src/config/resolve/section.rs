//! The sections that stand on their own: the admin listener, tokens, bounds, records.

use super::audit::DRAW;
use super::secret::Reference;
use super::world::{World, is_loopback, number};
use super::{Resolver, either, section};
use crate::config::raw::{
    RawAdmin, RawConfirmations, RawForwarded, RawLanguage, RawLimits, RawLog, RawLogFormat,
    RawRate, RawRefusals, RawShutdown, RawSupplier, RawTokens, Setting, SizeOrUnlimited,
};
use crate::config::{
    AdminConfig, ConfirmationConfig, ForwardedConfig, Language, LimitConfig, ListenAddress,
    ListenConfig, LogConfig, Network, ProblemType, RateConfig, RefusalConfig, ShutdownConfig,
    TokenConfig,
};
use crate::domain::claims::ClaimRules;
use crate::domain::party::CheckDigits;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

const ADDRESS_CURE: &str = "write address and port, such as `0.0.0.0:8080` or `[::]:8080`";

impl Resolver<'_> {
    pub(super) fn admin(&self, written: Setting<RawAdmin>, listen: &ListenConfig) -> AdminConfig {
        let section = section(written, "admin");
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9090));
        let address = self.socket_address(&section.raw.address).unwrap_or(default);
        let token = self.admin_token(&section.raw);
        let config = AdminConfig { address, token };
        let ListenAddress::Tcp(listen) = &listen.address else { return config };
        let (ours, theirs) = (address.ip(), listen.ip());
        let same_ip = ours == theirs || ours.is_unspecified() || theirs.is_unspecified();
        if same_ip && address.port() != 0 && address.port() == listen.port() {
            let message = "the same port as `listen.address`";
            let cure = "give the admin listener a port of its own";
            match section.raw.address.place() {
                Some(place) => self.sink.report(place, message, cure),
                None => self.sink.report_absent(&section.place.child("address"), message, cure),
            }
        }
        config
    }

    fn admin_token(&self, raw: &RawAdmin) -> Option<SecretString> {
        let (file, variable) = (&raw.token_file, &raw.token_env);
        let reference = Reference { inline: None, file, variable, platform: None };
        let (token, place) = self.secret(&reference).ok().flatten()?;
        if !token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            self.sink.report(&place, "holds characters that no header can carry", DRAW);
            return None;
        }
        Some(self.long_enough((token, place), "shorter than 32 characters: it could be guessed"))
    }

    pub(super) fn socket_address(&self, written: &Setting<String>) -> Option<SocketAddr> {
        let (text, place) = written.written()?;
        let address = text.parse();
        if address.is_err() {
            self.sink.report(place, "not an IP address with a port", ADDRESS_CURE);
        }
        address.ok()
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

    pub(super) fn shutdown(
        &self,
        written: Setting<RawShutdown>,
        limits: &LimitConfig,
    ) -> ShutdownConfig {
        let raw = section(written, "shutdown").raw;
        let usual = Duration::from_secs(10).min(limits.drain_timeout);
        let stream_grace = self.time_or_zero(&raw.stream_grace, usual);
        if let Some(place) = raw.stream_grace.place()
            && stream_grace > limits.drain_timeout
        {
            let (problem, cure) =
                ("longer than `limits.drain_timeout`", "shorten it, or raise that");
            self.sink.report(place, problem, cure);
        }
        let wait = self.time_or_zero(&raw.wait, Duration::from_secs(5));
        ShutdownConfig { wait, stream_grace }
    }

    pub(super) fn limits(&self, written: Setting<RawLimits>, token_bytes: usize) -> LimitConfig {
        let raw = section(written, "limits").raw;
        let body_bytes = self.measure(&raw.body_bytes, SizeOrUnlimited::parse).unwrap_or_default();
        let streams = self.count_up_to(&raw.streams_per_connection, number(100), 10_000);
        let connections = self.count(&raw.connections, number(10_000));
        let limits = LimitConfig {
            target_bytes: self.size(&raw.target_bytes, 8 << 10),
            header_bytes: self.size(&raw.header_bytes, 64 << 10),
            header_count: self.count_up_to(&raw.header_count, number(100), 10_000).get(),
            body_bytes,
            party_body_bytes: self.size(&raw.party_body_bytes, 64 << 10),
            connections: connections.get(),
            connections_per_peer: self.connections_per_peer(&raw, connections),
            requests_in_flight: self.count(&raw.requests_in_flight, number(2_000)).get(),
            streams_per_connection: u32::try_from(streams.get()).unwrap_or(u32::MAX),
            header_timeout: self.time(&raw.header_timeout, Duration::from_secs(10)),
            body_idle_timeout: self.time(&raw.body_idle_timeout, Duration::from_secs(30)),
            drain_timeout: self.time_or_zero(&raw.drain_timeout, Duration::from_secs(30)),
            consumer_rate: self.rate(&raw.consumer_rate),
            system_user_rate: self.rate(&raw.system_user_rate),
            shadow_wait: self.time(&raw.shadow_wait, Duration::from_secs(1)),
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

    fn connections_per_peer(&self, raw: &RawLimits, connections: NonZeroUsize) -> usize {
        let most = self.count(&raw.connections_per_peer, connections);
        if most > connections
            && let Some(place) = raw.connections_per_peer.place()
        {
            let message = "more than `limits.connections` lets in";
            self.sink.report(place, message, "write less, or take the key away");
        }
        most.get()
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

    pub(super) fn network(&mut self, written: &Setting<String>) -> Option<Network> {
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

    pub(super) fn refusals(&self, written: Setting<RawRefusals>) -> RefusalConfig {
        let raw = section(written, "refusals").raw;
        let default_language = match either(&raw.default_language, RawLanguage::Nb) {
            RawLanguage::Nb => Language::Nb,
            RawLanguage::Nn => Language::Nn,
            RawLanguage::En => Language::En,
        };
        let problem_type = self.problem_type(&raw.problem_type).unwrap_or_default();
        RefusalConfig { default_language, problem_type }
    }

    /// An address where vendors read, or a name. Plain http is for this machine: what it says could be altered on the way.
    fn problem_type(&self, written: &Setting<String>) -> Option<ProblemType> {
        const CURE: &str = "write where the pages are published, such as `https://docs.example.no/vendor/problems/{code}/`";
        let (text, place) = written.written()?;
        let refuse = |message: &str| {
            self.sink.report(place, message, CURE);
            None
        };
        let Some(made) = ProblemType::new(text) else {
            return refuse("has not one `{code}` in the place of the problem's code");
        };
        // `Url` passes over tabs and line breaks, and vendors compare this as it is written.
        let odd = |byte: u8| !byte.is_ascii_graphic() || br#""<>\^`|{}"#.contains(&byte);
        let (Ok(url), Ok(bare)) = (Url::parse(&made.of("no_right")), Url::parse(&made.of("")))
        else {
            return refuse("not an address");
        };
        if made.of("").bytes().any(odd) || !url.username().is_empty() || url.password().is_some() {
            return refuse("an address here has no user, and nothing that a URI cannot hold");
        }
        // The code is no part of the host.
        let host = url.host_str().filter(|host| bare.host_str() == Some(host));
        let good = match url.scheme() {
            "https" => host.is_some(),
            "http" => host.is_some_and(is_loopback),
            "urn" => !bare.path().is_empty(),
            _ => false,
        };
        if !good {
            return refuse("neither an address with https nor a `urn:`");
        }
        Some(made)
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
