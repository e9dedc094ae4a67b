//! The configuration, validated: plain data, one section per part of the program. All that other
//! modules see; the file as written is in [`raw`], reading it in [`source`].

pub mod error;
pub mod raw;
mod resolve;
mod shape;
pub mod source;
pub(crate) mod summary;
mod yaml;

pub use error::{ConfigErrors, Place, Problem};

use crate::domain::claims::ClaimRules;
use crate::domain::resource::Right;
use crate::domain::scope::ScopeRule;
use crate::domain::system_user::SystemUserId;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

/// Everything the program is told.
#[derive(Debug)]
pub struct Config {
    /// `prod`, `test` or `custom`.
    pub environment: Environment,
    /// The data listener.
    pub listen: ListenConfig,
    /// The admin listener: probes, metrics, the register and the pages.
    pub admin: AdminConfig,
    /// The upstreams by name: every name in a route, and at least one; none where nothing is forwarded.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
    /// The issuer, its keys and our own client.
    pub maskinporten: MaskinportenConfig,
    /// Altinn Authorization.
    pub altinn: AltinnConfig,
    /// What a vendor's token must meet.
    pub tokens: TokenConfig,
    /// The register of rights; `None` when it is switched off.
    pub register: Option<RegisterConfig>,
    /// Exact answers of the PDP.
    pub confirmations: ConfirmationConfig,
    /// Bounds on what a request may cost.
    pub limits: LimitConfig,
    /// How the program stops.
    pub shutdown: ShutdownConfig,
    /// The routes, in the order written.
    pub routes: Vec<RouteConfig>,
    /// Headers towards the upstream that tell of the client.
    pub forwarded: ForwardedConfig,
    /// How refusals look.
    pub refusals: RefusalConfig,
    /// The audit record.
    pub audit: AuditConfig,
    /// The operator's log.
    pub log: LogConfig,
    /// Traces of requests; `None` where none are made.
    pub tracing: Option<TracingConfig>,
    /// What opens more than it seems, or is meant for tests only: said aloud at start.
    pub warnings: Vec<String>,
    /// The files of secrets that it names, as they were read.
    pub secret_files: Vec<PathBuf>,
}

/// Which world the program lives in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Environment {
    /// `maskinporten.no`, `platform.altinn.no`.
    Prod,
    /// `test.maskinporten.no`, `platform.tt02.altinn.no`.
    Test,
    /// Addresses from the file, such as the sandbox.
    Custom,
}

/// Where requests come in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenConfig {
    /// Where.
    pub address: ListenAddress,
    /// Threads that serve requests, each with its own listener; default one a core.
    pub workers: NonZeroUsize,
    /// TLS; `None` for plain HTTP.
    pub tls: Option<ListenTlsConfig>,
    /// Peers that begin every connection with a PROXY protocol header; `None` where nobody does.
    pub proxy_protocol: Option<Vec<Network>>,
    /// How questions of another proxy are read; `None` where requests are forwarded.
    pub forward_auth: Option<ForwardAuthConfig>,
}

/// How the questions of another proxy are read, which forwards the requests itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForwardAuthConfig {
    /// Who may ask: the two headers count from no other peer.
    pub trusted_peers: Vec<Network>,
    /// The header that tells the method of the client's request.
    pub method_header: http::HeaderName,
    /// The header that tells its target, path and query.
    pub uri_header: http::HeaderName,
}

/// Where a listener is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddress {
    /// Address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A configuration in words, for people. Holds no secret.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Environment, addresses and upstreams, by name.
    pub facts: Vec<(&'static str, String)>,
    /// The routes.
    pub routes: Table,
    /// How late a withdrawn right is refused, by route; no rows where no route demands one.
    pub withdrawn: Table,
    /// What can be started, and is worth a second look.
    pub warnings: Vec<String>,
}

/// Rows below their heads.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The name of each column.
    pub head: Vec<&'static str>,
    /// As many cells in each as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// TLS towards clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenTlsConfig {
    /// At least one; the first is for clients that name no server, or one that no certificate is for.
    pub certificates: Vec<CertificateFiles>,
    /// Certificates of clients; `None` asks for none.
    pub clients: Option<ClientCertificateConfig>,
    /// The oldest version that is spoken.
    pub minimum_version: TlsVersion,
    /// Longest wait for a whole handshake.
    pub handshake_timeout: Duration,
    /// Most handshakes at once.
    pub pending_handshakes: NonZeroUsize,
}

/// A certificate and its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// PEM: the certificate, and behind it those that lead to the authority.
    pub certificate: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

/// Which clients show a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCertificateConfig {
    /// PEM: the authorities that sign clients' certificates.
    pub authorities: PathBuf,
    /// Whether a client without one is turned away.
    pub required: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Where operators look.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// What opens the pages and the register, at least 32 printable characters of ASCII. Without one they are open
    /// on loopback, and closed elsewhere.
    pub token: Option<SecretString>,
}

/// One upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamConfig {
    /// `host:port`, as it stands in the configuration; `localhost` for a Unix socket.
    pub authority: http::uri::Authority,
    /// The path of a Unix socket, where it is one.
    pub socket: Option<PathBuf>,
    /// TLS; `None` for plain HTTP.
    pub tls: Option<UpstreamTlsConfig>,
    /// The protocol spoken to it.
    pub protocol: UpstreamProtocol,
    /// Whether the client's `Host` is passed on; otherwise the upstream's own authority is sent.
    pub preserve_host: bool,
    /// Whether the client's `Authorization` is passed on.
    pub forward_authorization: bool,
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Time between two look-ups of its name.
    pub lookup_interval: Duration,
    /// Longest wait for the head of the answer, from the end of the request's head.
    pub response_timeout: Duration,
    /// Longest silence within a body, either way.
    pub idle_timeout: Duration,
    /// Idle connections kept a worker.
    pub max_idle_connections: usize,
    /// Connections in a row that could not be made, after which an address is left out.
    pub circuit_failures: NonZeroUsize,
    /// Longest time for which it is left out at once.
    pub circuit_open_for: Duration,
}

/// The protocol spoken to an upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    Http2,
    /// Over TLS, HTTP/2 where the upstream offers it (ALPN, RFC 7301), else HTTP/1.1.
    Auto,
}

/// TLS towards an upstream. Its certificate is always verified, name and time included.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamTlsConfig {
    /// PEM: the only authorities that are trusted; `None` trusts those of the system.
    pub authorities: Option<PathBuf>,
    /// Our own certificate.
    pub own: Option<CertificateFiles>,
    /// The name that the certificate must be for; `None` for the host of the address.
    pub server_name: Option<String>,
}

/// The issuer of tokens, and our own client there.
#[derive(Debug)]
pub struct MaskinportenConfig {
    /// The issuer, byte for byte as in `iss`.
    pub issuer: String,
    /// Where its metadata is (RFC 8414).
    pub metadata_url: reqwest::Url,
    /// Time between refreshes of the key set.
    pub refresh: Duration,
    /// Greatest age of a key set that could not be refreshed; past it no token is verified.
    pub max_age: Duration,
    /// Least time between two fetches for unknown key ids.
    pub unknown_kid_interval: Duration,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Our own client; `None` when no route asks for a right.
    pub client: Option<ClientConfig>,
}

/// Our own Maskinporten client.
#[derive(Debug)]
pub struct ClientConfig {
    /// Its id.
    pub client_id: String,
    /// Its private key as text: a JWK (RFC 7517) or PEM (PKCS#8 or PKCS#1), RSA.
    pub key: SecretString,
    /// Key id for a PEM key; a JWK carries its own.
    pub key_id: Option<String>,
    /// The scopes to ask for.
    pub scopes: Vec<String>,
    /// The files that any of this came from: when one changes, it is read anew.
    pub files: Vec<PathBuf>,
}

/// Altinn Authorization.
#[derive(Debug)]
pub struct AltinnConfig {
    /// Base address, without path.
    pub url: reqwest::Url,
    /// The key of the API gateway.
    pub subscription_key: Option<SecretString>,
    /// Declared ceiling of calls a second.
    pub requests_per_second: NonZeroUsize,
    /// All the time one question may take, retries included.
    pub budget: Duration,
    /// Longest wait for one answer of the PDP; larger answers get a multiple of it.
    pub attempt_timeout: Duration,
    /// Most attempts within the budget.
    pub max_attempts: NonZeroUsize,
    /// Failures in a row that open the circuit.
    pub circuit_failures: NonZeroUsize,
    /// How long an open circuit stays open before one call is let through.
    pub circuit_open_for: Duration,
    /// Most calls to Altinn in flight at once.
    pub max_in_flight: NonZeroUsize,
}

/// What a vendor's token must meet.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// Issuer, audience, leeway and the like.
    pub rules: ClaimRules,
    /// Longest token, in bytes.
    pub max_bytes: usize,
    /// Most verified tokens remembered.
    pub cache_entries: u64,
}

/// How old an answer may be when it is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Freshness {
    /// Up to this age a permit is simply used.
    pub fresh_for: Duration,
    /// Up to this age it is used while a newer one is fetched behind; past it Altinn is asked first. At
    /// least `fresh_for`.
    pub max_age: Duration,
    /// Up to this age a permit is used while Altinn cannot be reached. Zero for never.
    pub outage_grace: Duration,
}

/// The register of rights, kept in step with Altinn.
#[derive(Clone, Debug)]
pub struct RegisterConfig {
    /// Most system users watched.
    pub max_system_users: NonZeroUsize,
    /// Most bytes for what is known of them.
    pub max_bytes: usize,
    /// How long a system user that is not used is watched.
    pub keep_for: Duration,
    /// Watched from the start, and always.
    pub system_users: Vec<SystemUserId>,
    /// Time between two readings of a system user that is used all the time.
    pub refresh_least: Duration,
    /// Time between two readings of one that is hardly used any more; at least `refresh_least`.
    pub refresh_most: Duration,
    /// When policies are read, and how old they may be.
    pub policies: PolicyConfig,
    /// Org code whose access lists are read.
    pub access_lists_owner: Option<String>,
    /// One in how many derived permits is compared with the PDP.
    pub sample_one_in: NonZeroUsize,
    /// The register on disk.
    pub snapshot: Option<SnapshotConfig>,
}

/// When policies are read, and how old they may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PolicyConfig {
    /// Time between two looks at the feed of changes.
    pub poll: Duration,
    /// Time between two full readings.
    pub check: Duration,
    /// Greatest age of what is known of them, outages apart.
    pub max_age: Duration,
}

/// The register on disk.
#[derive(Clone, Debug)]
pub struct SnapshotConfig {
    /// The file.
    pub file: PathBuf,
    /// Time between two writings.
    pub save_interval: Duration,
    /// Key for encryption at rest: 64 hexadecimal digits.
    pub key: Option<SecretString>,
}

/// Exact answers of the PDP.
#[derive(Clone, Debug)]
pub struct ConfirmationConfig {
    /// Greatest age of a no.
    pub no_for: Duration,
    /// Most answers remembered.
    pub max_entries: u64,
    /// How long a permit makes a later "nothing covers it" suspicious.
    pub suspicious_for: Duration,
}

/// Bounds on what a request may cost.
#[derive(Clone, Debug)]
pub struct LimitConfig {
    /// Longest request target, in bytes.
    pub target_bytes: usize,
    /// Most header bytes, names and values.
    pub header_bytes: usize,
    /// Most header fields.
    pub header_count: usize,
    /// Largest request body; `None` for any size.
    pub body_bytes: Option<u64>,
    /// Largest body that a party is read from.
    pub party_body_bytes: usize,
    /// Most connections at once.
    pub connections: usize,
    /// Most connections at once of one peer.
    pub connections_per_peer: usize,
    /// Most requests in flight at once.
    pub requests_in_flight: usize,
    /// Most HTTP/2 streams a connection.
    pub streams_per_connection: u32,
    /// Longest wait for a whole request head.
    pub header_timeout: Duration,
    /// Longest silence of a client within a body: while it sends one, or takes one.
    pub body_idle_timeout: Duration,
    /// How long a stop waits for requests in flight.
    pub drain_timeout: Duration,
    /// How often a vendor may call; `None` for as often as it likes.
    pub consumer_rate: Option<RateConfig>,
    /// How often a system user may call; `None` for as often as it likes.
    pub system_user_rate: Option<RateConfig>,
    /// How long a request on a route in shadow waits for Altinn, or for the issuer's keys; then it counts as one that
    /// cannot be told.
    pub shadow_wait: Duration,
}

/// How the program stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShutdownConfig {
    /// How long connections are still taken once it is not ready any more.
    pub wait: Duration,
    /// How long streams may go on after that.
    pub stream_grace: Duration,
}

/// How often somebody may call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateConfig {
    /// Requests in the time `per`, in the long run.
    pub requests: NonZeroU32,
    /// At most a day.
    pub per: Duration,
    /// Requests at once after a rest.
    pub burst: NonZeroU32,
}

/// One route.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// Name in metrics, logs and audit; unique.
    pub id: String,
    /// Methods, upper case; `GET` brings `HEAD`.
    pub methods: Vec<http::Method>,
    /// Path template: literals, `{name}` segments, and `/*` at the end.
    pub path: String,
    /// What is demanded.
    pub access: AccessConfig,
    /// Whether who does not meet it is refused.
    pub enforcement: Enforcement,
    /// The upstream's name; `-` where nothing is forwarded.
    pub upstream: String,
    /// Protocols that a connection may be upgraded to, lower case.
    pub upgrades: Vec<String>,
    /// How long answers and tunnels may go on.
    pub streams: StreamConfig,
}

/// Whether a route refuses who does not meet what it demands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Enforcement {
    /// It refuses.
    #[default]
    Full,
    /// It judges all the same, lets through, and records what would have been refused.
    Shadow,
}

/// How long an answer or a tunnel may go on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StreamConfig {
    /// How often the right is judged again; `None` for the greatest age of an answer.
    pub recheck: Option<Duration>,
    /// Whether it ends with the token; `None` for tunnels alone.
    pub end_with_token: Option<bool>,
}

impl RouteConfig {
    /// The right that it demands, if it demands one.
    #[must_use]
    pub fn right(&self) -> Option<&RightConfig> {
        match &self.access {
            AccessConfig::Right(right) => Some(right),
            AccessConfig::Scopes(_) | AccessConfig::Anonymous => None,
        }
    }

    /// Whether it lets everybody through, and only records whom it would refuse.
    #[must_use]
    pub fn in_shadow(&self) -> bool {
        match self.enforcement {
            Enforcement::Full => false,
            Enforcement::Shadow => true,
        }
    }
}

/// What a route demands.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one a route, made once at start")]
pub enum AccessConfig {
    /// Nothing: written out as `access: anonymous`.
    Anonymous,
    /// A token and scopes, but no right: written out as `access: scopes`.
    Scopes(ScopeRule),
    /// A token, scopes and a right.
    Right(RightConfig),
}

/// A right that a route demands.
#[derive(Clone, Debug)]
pub struct RightConfig {
    /// The scopes.
    pub scopes: ScopeRule,
    /// The action on the resource.
    pub right: Right,
    /// Whom the request concerns.
    pub party: PartyConfig,
    /// Path variable that holds the instance.
    pub instance: Option<String>,
    /// How old a permit may be for methods that change nothing.
    pub read: Freshness,
    /// How old a permit may be for every other method.
    pub write: Freshness,
}

impl RightConfig {
    /// How old a permit may be for a request of `method`.
    #[must_use]
    pub fn freshness(&self, method: &http::Method) -> Freshness {
        if method.is_safe() { self.read } else { self.write }
    }
}

/// Where the party of a request is read: every source that is present must agree.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PartyConfig {
    /// Name of a path variable.
    pub path: Option<String>,
    /// Name of a query parameter.
    pub query: Option<String>,
    /// Name of a header.
    pub header: Option<http::HeaderName>,
    /// JSON pointer (RFC 6901) into the body.
    pub json: Option<String>,
    /// Name of a field in a form body.
    pub form: Option<String>,
    /// The owner of the system user, from the token.
    pub token_owner: bool,
    /// Whether national identity numbers are accepted.
    pub persons: bool,
}

/// Headers towards the upstream that tell of the client.
#[derive(Clone, Debug, Default)]
pub struct ForwardedConfig {
    /// Write `X-Forwarded-For`, `-Proto` and `-Host`.
    pub x_forwarded: bool,
    /// Write `Forwarded` (RFC 7239).
    pub rfc7239: bool,
    /// Peers whose own such headers are kept and added to; from all others they are removed.
    pub trusted_peers: Vec<Network>,
}

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Language of a refusal's title and detail.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Language {
    /// Norwegian Bokmål.
    #[default]
    Nb,
    /// Norwegian Nynorsk.
    Nn,
    /// English.
    En,
}

/// How refusals look.
#[derive(Clone, Debug, Default)]
pub struct RefusalConfig {
    /// Language when the caller asks for none that we have.
    pub default_language: Language,
    /// How the `type` of a problem is made.
    pub problem_type: ProblemType,
}

/// How the `type` of a problem (RFC 9457 §3.1.1) is made of its code: a URI with a place for the code in it. Where it is an
/// address of the documentation's site, whoever follows it finds the page of the problem.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProblemType {
    before: String,
    after: String,
}

impl ProblemType {
    /// Of a URI in which `{code}` stands once; `None` where it does not. That it is a URI is for the caller to see to.
    #[must_use]
    pub fn new(template: &str) -> Option<Self> {
        let (before, after) = template.split_once("{code}")?;
        let once = !after.contains("{code}");
        once.then(|| Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// The `type` of the problem `code`.
    #[must_use]
    pub fn of(&self, code: &str) -> String {
        [&self.before, code, &self.after].concat()
    }
}

impl Default for ProblemType {
    /// A name and no address: nobody but the service owner knows where the pages are published.
    fn default() -> Self {
        Self { before: "urn:portvakt:problem:".to_owned(), after: String::new() }
    }
}

/// The audit record: one JSON line a request.
#[derive(Debug)]
pub struct AuditConfig {
    /// Where the lines go.
    pub output: AuditOutput,
    /// Lines that may wait to be written.
    pub queue: NonZeroUsize,
    /// What becomes of requests whose records cannot be written.
    pub on_loss: OnLoss,
    /// When a new file is begun.
    pub rotate: RotateConfig,
    /// How lines are sealed; `None` for plain ones.
    pub chain: Option<ChainConfig>,
    /// Key of the pseudonyms that stand for persons; without one persons are left out.
    pub pseudonym_key: Option<SecretString>,
}

/// What becomes of requests whose records cannot be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnLoss {
    /// They go on; the records are counted as lost.
    Count,
    /// They are refused until records can be written again.
    Stop,
}

/// When a new audit file is begun; what is `None` calls for none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RotateConfig {
    /// Size, in bytes, at which it is.
    pub max_bytes: Option<u64>,
    /// Age at which it is.
    pub max_age: Option<Duration>,
    /// How many of the files that were left are kept; `None` for all.
    pub keep: Option<NonZeroUsize>,
}

/// How audit lines are sealed.
#[derive(Debug)]
pub struct ChainConfig {
    /// Key of the codes.
    pub mac_key: SecretString,
    /// Ed25519 private key that signs checkpoints: PEM, PKCS#8.
    pub signing_key: SecretString,
    /// Most records between two checkpoints.
    pub checkpoint_records: NonZeroUsize,
    /// Longest time between a record and the next checkpoint.
    pub checkpoint_interval: Duration,
}

/// Where audit lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuditOutput {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// The operator's log, on standard error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogConfig {
    /// Filter in the notation of `tracing`, such as `info` or `portvakt=debug`.
    pub filter: String,
    /// JSON lines, or text for people.
    pub json: bool,
}

/// Which traces are recorded, and where they are sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TracingConfig {
    /// Where spans are sent to: http or https, path included.
    pub url: reqwest::Url,
    /// How.
    pub protocol: TracingProtocol,
    /// Header fields for the collector; they may hold secrets, and are marked as such.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// What is said of the program, `service.name` among it, by name.
    pub resource: BTreeMap<String, String>,
    /// The share of requests that is recorded, in millionths.
    pub per_million: u32,
    /// Whether a caller's flag is heeded in place of the share.
    pub trust_parent: bool,
    /// Most traces recorded in a second.
    pub traces_per_second: NonZeroU32,
    /// Most spans that wait to be sent.
    pub queue_spans: NonZeroUsize,
    /// Longest time for one call to the collector.
    pub timeout: Duration,
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TracingProtocol {
    /// OTLP over HTTP, as protobuf.
    HttpProtobuf,
    /// OTLP over gRPC.
    Grpc,
}

impl Network {
    /// From an address and the number of leading bits that count; `None` when there are too many.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether `peer` lies in the range. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        let same = |ours: u128, theirs: u128, bits: u32| {
            let shift = bits.saturating_sub(self.prefix.into());
            ours.checked_shr(shift).unwrap_or(0) == theirs.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                same(ours.to_bits().into(), theirs.to_bits().into(), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(ours.to_bits(), theirs.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_and_no_other() {
        let network = |text: &str, prefix| Network::new(text.parse().unwrap(), prefix).unwrap();
        let holds = |network: Network, peer: &str| network.contains(peer.parse().unwrap());
        assert!(holds(network("10.0.0.0", 8), "10.255.0.1"));
        assert!(holds(network("10.0.0.0", 8), "::ffff:10.1.2.3"));
        assert!(!holds(network("10.0.0.0", 8), "11.0.0.1"));
        assert!(!holds(network("10.0.0.0", 8), "::1"));
        assert!(holds(network("127.0.0.1", 32), "127.0.0.1"));
        assert!(!holds(network("127.0.0.1", 32), "127.0.0.2"));
        assert!(holds(network("::", 0), "fe80::1"));
        assert!(holds(network("0.0.0.0", 0), "192.0.2.1"));
        assert_eq!(Network::new("10.0.0.0".parse().unwrap(), 33), None);
    }
}
