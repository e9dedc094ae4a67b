//! The file as written: one shape a section, unknown keys refused. The comments on the fields are
//! the descriptions in the JSON Schema; defaults and bounds are in `resolve`.

mod setting;

pub use setting::{Count, Ratio, Secret, Setting, Size, SizeOrUnlimited, Time};
pub(in crate::config) use setting::{InvalidMeasure, PLACED, per_million};

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Configuration of Portvakt.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Portvakt configuration")]
pub struct RawConfig {
    /// The world the program lives in: which issuer, and which Altinn. May be left out where
    /// `MASKINPORTEN_ISSUER` tells it.
    pub environment: Setting<RawEnvironment>,
    /// Addresses of `environment: custom`.
    pub custom: Setting<RawCustom>,
    /// Where requests come in.
    pub listen: Setting<RawListen>,
    /// Where operators look: probes, metrics, the register and pages for people.
    pub admin: Setting<RawAdmin>,
    /// The upstream called `default`.
    pub upstream: Setting<RawUpstream>,
    /// Upstreams by name, for routes that name one.
    pub upstreams: Setting<BTreeMap<String, Setting<RawUpstream>>>,
    /// Altinn Authorization.
    pub altinn: Setting<RawAltinn>,
    /// The issuer of tokens, and our own client there.
    pub maskinporten: Setting<RawMaskinporten>,
    /// What a vendor's token must meet.
    pub tokens: Setting<RawTokens>,
    /// How old an answer may be, where a route does not say.
    pub freshness: Setting<RawFreshnessByMethod>,
    /// The register of rights, kept in step with Altinn.
    pub register: Setting<RawRegister>,
    /// Exact answers of the PDP.
    pub confirmations: Setting<RawConfirmations>,
    /// Bounds on what a request may cost.
    pub limits: Setting<RawLimits>,
    /// How the program stops.
    pub shutdown: Setting<RawShutdown>,
    /// The routes; a request that none of them matches is refused.
    pub routes: Setting<Vec<Setting<RawRoute>>>,
    /// Headers towards the upstream that tell of the client.
    pub forwarded: Setting<RawForwarded>,
    /// How refusals look.
    pub refusals: Setting<RawRefusals>,
    /// The audit record.
    pub audit: Setting<RawAudit>,
    /// The operator's log, on standard error.
    pub log: Setting<RawLog>,
    /// Traces of requests, sent to a collector (OpenTelemetry).
    pub tracing: Setting<RawTracing>,
}

/// Which world the program lives in.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawEnvironment {
    /// `maskinporten.no` and `platform.altinn.no`.
    Prod,
    /// `test.maskinporten.no` and `platform.tt02.altinn.no`.
    Test,
    /// The addresses in `custom`, such as those of the sandbox.
    Custom,
}

/// Addresses of `environment: custom`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCustom {
    /// The issuer, byte for byte as in the claim `iss`; ends with a slash.
    pub issuer: Setting<String>,
    /// Address of the issuer's metadata (RFC 8414).
    pub metadata_url: Setting<String>,
    /// Base address of Altinn, without a path.
    pub altinn: Setting<String>,
    /// Whether addresses beyond this machine may be plain http.
    pub allow_plain_http: Setting<bool>,
    /// Whether organisation numbers with wrong check digits are taken, for load tests.
    pub synthetic_organisation_numbers: Setting<bool>,
}

/// Where requests come in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawListen {
    /// Address and port, where port 0 takes a free one; or `unix:/path`.
    pub address: Setting<String>,
    /// Threads that serve requests.
    pub workers: Setting<Count>,
    /// TLS 1.2 and 1.3; without it, plain HTTP.
    pub tls: Setting<RawListenTls>,
    /// The PROXY protocol (version 2), by which a load balancer tells the client's address.
    pub proxy_protocol: Setting<RawProxyProtocol>,
    /// Answers the questions of another proxy (forward-auth) in place of forwarding requests.
    pub forward_auth: Setting<RawForwardAuth>,
}

/// TLS towards clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificates"]))]
pub struct RawListenTls {
    /// Certificates with their keys; the one for the name that the client asks for is shown, else the first.
    pub certificates: Setting<Vec<Setting<RawCertificate>>>,
    /// File with the authorities (PEM) that sign clients' certificates. Left out, none is asked for.
    pub client_ca_file: Setting<String>,
    /// Whether a client without a certificate is turned away.
    pub client_certificate: Setting<RawClientCertificate>,
    /// The oldest version that is spoken.
    pub minimum_version: Setting<RawTlsVersion>,
    /// Longest wait for a whole handshake.
    pub handshake_timeout: Setting<Time>,
    /// Most handshakes at once.
    pub pending_handshakes: Setting<Count>,
}

/// A certificate with its key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificate_file", "key_file"]))]
pub struct RawCertificate {
    /// File with the certificate and those that lead to the authority (PEM).
    pub certificate_file: Setting<String>,
    /// File with its private key (PEM).
    pub key_file: Setting<String>,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawClientCertificate {
    /// A client without one is turned away.
    Required,
    /// A client may come without one; one that is shown is verified.
    Optional,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub enum RawTlsVersion {
    /// TLS 1.2.
    #[serde(rename = "tls1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "tls1.3")]
    Tls13,
}

/// The PROXY protocol.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["trusted_peers"]))]
pub struct RawProxyProtocol {
    /// Networks of the load balancers; every other peer is turned away.
    pub trusted_peers: Setting<Vec<Setting<String>>>,
}

/// Questions of another proxy, which forwards the requests itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["trusted_peers"]))]
pub struct RawForwardAuth {
    /// Networks of the proxies that ask; every other peer is refused.
    pub trusted_peers: Setting<Vec<Setting<String>>>,
    /// The header that tells the method of the client's request.
    pub method_header: Setting<String>,
    /// The header that tells its target: path and query.
    pub uri_header: Setting<String>,
}

/// Where operators look.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAdmin {
    /// Address and port; port 0 takes a free one.
    pub address: Setting<String>,
    /// File that holds the token which opens the pages and the register, at least 32 characters.
    pub token_file: Setting<String>,
    /// Environment variable that holds that token.
    pub token_env: Setting<String>,
}

/// One upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub struct RawUpstream {
    /// `http://host:port`, `https://host:port` or `unix:/path`; without a path in HTTP.
    pub url: Setting<String>,
    /// TLS of an `https` address.
    pub tls: Setting<RawUpstreamTls>,
    /// The protocol spoken to it.
    pub protocol: Setting<RawProtocol>,
    /// Whether the client's `Host` is passed on.
    pub preserve_host: Setting<bool>,
    /// Whether the client's `Authorization` is passed on.
    pub forward_authorization: Setting<bool>,
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Setting<Time>,
    /// Time between two look-ups of its name.
    pub lookup_interval: Setting<Time>,
    /// Longest wait for the head of the answer.
    pub response_timeout: Setting<Time>,
    /// Longest silence within a body, either way.
    pub idle_timeout: Setting<Time>,
    /// Idle connections kept by each worker; 0 keeps none.
    pub max_idle_connections: Setting<u64>,
    /// Connections in a row that could not be made, after which an address is left out.
    pub circuit_failures: Setting<Count>,
    /// Longest time for which it is left out before one request tries it.
    pub circuit_open_for: Setting<Time>,
}

/// The protocol spoken to an upstream.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge; for gRPC.
    H2c,
    /// HTTP/2 over TLS; for gRPC.
    Http2,
    /// Over TLS, HTTP/2 where the upstream offers it, else HTTP/1.1.
    Auto,
}

/// TLS towards an upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawUpstreamTls {
    /// File with the only authorities that are trusted (PEM). Left out: those of the system.
    pub ca_file: Setting<String>,
    /// File with our own certificate (PEM).
    pub certificate_file: Setting<String>,
    /// File with its private key (PEM).
    pub key_file: Setting<String>,
    /// The name that the certificate must be for. Left out: the host of the address.
    pub server_name: Setting<String>,
}

/// Altinn Authorization.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAltinn {
    /// The subscription key itself; for the sandbox, elsewhere it belongs in a file or a variable.
    pub subscription_key: Setting<Secret>,
    /// File that holds the subscription key.
    pub subscription_key_file: Setting<String>,
    /// Environment variable that holds the subscription key.
    pub subscription_key_env: Setting<String>,
    /// Most calls a second to Altinn.
    pub requests_per_second: Setting<Count>,
    /// All the time one question may take, repeated attempts included.
    pub budget: Setting<Time>,
    /// Longest wait for one answer; at most the budget.
    pub attempt_timeout: Setting<Time>,
    /// Most attempts within the budget.
    pub max_attempts: Setting<Count>,
    /// Failures in a row after which Altinn is left alone for a while.
    pub circuit_failures: Setting<Count>,
    /// How long it is left alone before one call is tried.
    pub circuit_open_for: Setting<Time>,
    /// Most calls to Altinn in flight at once.
    pub max_in_flight: Setting<Count>,
}

/// The issuer of tokens, and our own client there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawMaskinporten {
    /// Folder with files named `MASKINPORTEN_CLIENT_ID` and so on, or a `maskinporten-settings.json`. Left out: where
    /// NAIS, Skiperator and Altinn Studio mount them, else the variables of these names.
    pub credentials: Setting<String>,
    /// Id of our own client. Left out: `MASKINPORTEN_CLIENT_ID`.
    pub client_id: Setting<String>,
    /// File that holds the client's private key, as JWK, base64 of one, or PEM. Left out: `MASKINPORTEN_CLIENT_JWK`.
    pub key_file: Setting<String>,
    /// Environment variable that holds the client's private key, as JWK, base64 of one, or PEM.
    pub key_env: Setting<String>,
    /// Key id of a PEM key; a JWK carries its own.
    pub key_id: Setting<String>,
    /// Scopes that our own token asks for. Left out: `MASKINPORTEN_SCOPES`.
    pub scopes: Setting<Vec<Setting<String>>>,
    /// Time between refreshes of the issuer's keys.
    pub refresh: Setting<Time>,
    /// Greatest age of keys that could not be refreshed; past it no token is accepted.
    pub max_age: Setting<Time>,
    /// Least time between two fetches for key ids that are not known.
    pub unknown_kid_interval: Setting<Time>,
    /// Longest wait for one answer.
    pub timeout: Setting<Time>,
}

/// What a vendor's token must meet.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawTokens {
    /// The audience that must be named, where the scopes are audience-restricted.
    pub audience: Setting<String>,
    /// Difference of clocks that is tolerated.
    pub leeway: Setting<Time>,
    /// Longest token.
    pub max_bytes: Setting<Size>,
    /// Most verified tokens remembered.
    pub cache_entries: Setting<Count>,
    /// Most system users in one token; each may cost a question to Altinn.
    pub max_system_users: Setting<Count>,
    /// What becomes of a system-user token with a `supplier`, which Maskinporten does not document.
    pub supplier: Setting<RawSupplier>,
}

/// What becomes of a system-user token with a `supplier`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawSupplier {
    /// It is refused.
    Refuse,
    /// It is accepted, and the supplier is recorded.
    Accept,
}

/// How old an answer may be, where a route does not say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFreshnessByMethod {
    /// For methods that change nothing: GET, HEAD and OPTIONS.
    pub read: Setting<RawFreshness>,
    /// For every other method.
    pub write: Setting<RawFreshness>,
}

/// The register of rights, kept in step with Altinn.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRegister {
    /// Whether rights are read ahead and derived; without, every question is asked and remembered.
    pub enabled: Setting<bool>,
    /// Most system users watched.
    pub max_system_users: Setting<Count>,
    /// Most memory for what is known of them.
    pub max_bytes: Setting<Size>,
    /// How long a system user that is not used is watched.
    pub keep_for: Setting<Time>,
    /// System users that are watched from the start, and always.
    pub system_users: Setting<Vec<Setting<String>>>,
    /// Time between two readings of a system user that is used all the time.
    pub refresh_least: Setting<Time>,
    /// Time between two readings of a system user that is hardly used any more.
    pub refresh_most: Setting<Time>,
    /// Time between two looks at the feed of changed policies.
    pub policy_poll: Setting<Time>,
    /// Time between two full readings of every policy.
    pub policy_check: Setting<Time>,
    /// Greatest age of what is known of policies; past it nothing is derived, outages apart.
    pub policy_max_age: Setting<Time>,
    /// Org code (tjenesteeierkode) whose access lists are read; without, resources with access lists are asked.
    pub access_lists_owner: Setting<String>,
    /// One in how many derived permits is compared with the PDP.
    pub sample_one_in: Setting<Count>,
    /// The register on disk.
    pub snapshot: Setting<RawSnapshot>,
}

/// The register on disk, from which a restart serves while Altinn is away.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["file"]))]
pub struct RawSnapshot {
    /// The file; its folder must be writable and outlive a restart.
    pub file: Setting<String>,
    /// Time between two writings.
    pub save_interval: Setting<Time>,
    /// File that holds the key for encryption at rest: 64 hexadecimal digits.
    pub key_file: Setting<String>,
    /// Environment variable that holds the key for encryption at rest.
    pub key_env: Setting<String>,
}

/// Exact answers of the PDP.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfirmations {
    /// Greatest age of a no.
    pub no_for: Setting<Time>,
    /// Most answers remembered.
    pub max_entries: Setting<Count>,
    /// How long a permit makes a later "nothing covers it" suspicious, so that it is asked once more.
    pub suspicious_for: Setting<Time>,
}

/// Bounds on what a request may cost.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    /// Longest request target.
    pub target_bytes: Setting<Size>,
    /// Most header bytes, names and values.
    pub header_bytes: Setting<Size>,
    /// Most header fields.
    pub header_count: Setting<Count>,
    /// Largest request body.
    pub body_bytes: Setting<SizeOrUnlimited>,
    /// Largest body that a party is read from.
    pub party_body_bytes: Setting<Size>,
    /// Most connections at once.
    pub connections: Setting<Count>,
    /// Most connections at once of one peer.
    pub connections_per_peer: Setting<Count>,
    /// Most requests in flight at once.
    pub requests_in_flight: Setting<Count>,
    /// Most HTTP/2 streams in one connection.
    pub streams_per_connection: Setting<Count>,
    /// Longest wait for a whole request head.
    pub header_timeout: Setting<Time>,
    /// Longest silence of a client within a body: while it sends one, or takes one.
    pub body_idle_timeout: Setting<Time>,
    /// How long a stop waits for requests in flight; `0s` does not wait.
    pub drain_timeout: Setting<Time>,
    /// How often one vendor may call, by the consumer of its tokens.
    pub consumer_rate: Setting<RawRate>,
    /// How often one system user may call.
    pub system_user_rate: Setting<RawRate>,
    /// How long a request on a route in shadow waits for Altinn, or for the issuer's keys.
    pub shadow_wait: Setting<Time>,
}

/// How the program stops; `limits.drain_timeout` bounds it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawShutdown {
    /// How long connections are still taken after `/readyz` has begun to answer 503; `0s` for not at all.
    pub wait: Setting<Time>,
    /// How long event streams, gRPC streams and tunnels may go on after that; at most `limits.drain_timeout`.
    pub stream_grace: Setting<Time>,
}

/// How often somebody may call, each replica for itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["requests"]))]
pub struct RawRate {
    /// Requests in the time `per`, in the long run.
    pub requests: Setting<Count>,
    /// The time for so many requests.
    pub per: Setting<Time>,
    /// Requests at once after a rest; as many as `requests` unless written.
    pub burst: Setting<Count>,
}

/// One route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "match"]))]
pub struct RawRoute {
    /// Name in metrics, logs and audit; unique.
    pub id: Setting<String>,
    /// Which requests it is for.
    #[serde(rename = "match")]
    pub matching: Setting<RawMatch>,
    /// What is demanded.
    pub access: Setting<RawAccess>,
    /// Whether who does not meet it is refused.
    pub enforcement: Setting<RawEnforcement>,
    /// Scopes that the token must have.
    pub scopes: Setting<RawScopes>,
    /// Id of the resource in Altinn's resource registry.
    pub resource: Setting<String>,
    /// The action on the resource, as its policy spells it.
    pub action: Setting<String>,
    /// Where the instance of the resource is read.
    pub instance: Setting<RawInstance>,
    /// Where the party is read; several sources must agree.
    pub party: Setting<RawParty>,
    /// How old an answer of Altinn may be.
    pub freshness: Setting<RawFreshness>,
    /// Name of the upstream.
    pub upstream: Setting<String>,
    /// Protocols that a connection may be upgraded to, such as `websocket` (RFC 9110 §7.8).
    pub upgrades: Setting<Vec<Setting<String>>>,
    /// How long answers and tunnels may go on.
    pub streams: Setting<RawStreams>,
}

/// How long an answer or a tunnel may go on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawStreams {
    /// How often the right is judged again.
    pub recheck: Setting<Time>,
    /// Whether they end with the token.
    pub end_with_token: Setting<bool>,
}

/// Which requests a route is for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["methods", "path"]))]
pub struct RawMatch {
    /// Methods, upper case; `GET` brings `HEAD`.
    pub methods: Setting<Vec<Setting<String>>>,
    /// Path template: literals, `{name}` for one segment, `/*` at the end for all that follows.
    pub path: Setting<String>,
}

/// What a route demands.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawAccess {
    /// Nothing: no token is asked for.
    Anonymous,
    /// A token and its scopes, but no right in Altinn.
    Scopes,
    /// A token, its scopes and a right in Altinn.
    #[default]
    Right,
}

/// Whether a route refuses who does not meet what it demands.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawEnforcement {
    /// It refuses.
    #[default]
    Full,
    /// It lets through, and records what would have been refused. Protects nothing.
    Shadow,
}

/// Scopes that a token must have.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawScopes {
    /// Every one of these.
    pub all_of: Setting<Vec<Setting<String>>>,
    /// At least one of these.
    pub any_of: Setting<Vec<Setting<String>>>,
}

/// Where the instance of a resource is read.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub struct RawInstance {
    /// Name of a path variable.
    pub path: Setting<String>,
}

/// Where the party of a request is read.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct RawParty {
    /// Name of a path variable.
    pub path: Setting<String>,
    /// Name of a query parameter.
    pub query: Setting<String>,
    /// Name of a header.
    pub header: Setting<String>,
    /// JSON pointer (RFC 6901) into the body.
    pub json: Setting<String>,
    /// Name of a field in a form body.
    pub form: Setting<String>,
    /// The owner of the system user, from the token.
    pub token: Setting<RawTokenParty>,
    /// Whether national identity numbers are accepted.
    pub persons: Setting<bool>,
}

/// What of the token names the party.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawTokenParty {
    /// The owner of the system user. Of an agent that is the agent, never its client.
    SystemuserOrg,
}

/// How old an answer of Altinn may be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawFreshness {
    /// Age up to which a permit is simply used.
    pub fresh_for: Setting<Time>,
    /// Age up to which it is used while a newer one is fetched behind; past it Altinn is asked first.
    /// `0s` asks for every request.
    pub max_age: Setting<Time>,
    /// Age up to which a permit is used while Altinn cannot be reached; `0s` for never.
    pub outage_grace: Setting<Time>,
}

/// Headers towards the upstream that tell of the client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawForwarded {
    /// Whether `X-Forwarded-For`, `-Proto` and `-Host` are written.
    pub x_forwarded: Setting<bool>,
    /// Whether `Forwarded` (RFC 7239) is written.
    pub rfc7239: Setting<bool>,
    /// Networks of proxies whose own such headers are kept and added to.
    pub trusted_peers: Setting<Vec<Setting<String>>>,
}

/// How refusals look.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRefusals {
    /// Language when the caller asks for none that we have.
    pub default_language: Setting<RawLanguage>,
    /// The `type` of problems, with `{code}` in the place of the code.
    pub problem_type: Setting<String>,
}

/// A language of refusals.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawLanguage {
    /// Norwegian Bokmål.
    Nb,
    /// Norwegian Nynorsk.
    Nn,
    /// English.
    En,
}

/// The audit record: one JSON line a request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAudit {
    /// Where the lines go.
    pub output: Setting<RawAuditOutput>,
    /// Records that may wait to be written.
    pub queue: Setting<Count>,
    /// What becomes of requests whose records cannot be written, or wait in such numbers that none may be added.
    pub on_loss: Setting<RawOnLoss>,
    /// When a new file is begun.
    pub rotate: Setting<RawRotate>,
    /// How lines are sealed, so that a change shows.
    pub chain: Setting<RawChain>,
    /// File that holds the key of the pseudonyms that stand for persons.
    pub pseudonym_key_file: Setting<String>,
    /// Environment variable that holds the key of the pseudonyms that stand for persons.
    pub pseudonym_key_env: Setting<String>,
}

/// What becomes of requests whose records cannot be written.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawOnLoss {
    /// They go on, and the records are counted as lost.
    Count,
    /// They are refused with 503 until records can be written again.
    Stop,
}

/// When a new audit file is begun; the old one is renamed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawRotate {
    /// Size at which it is.
    pub max_bytes: Setting<Size>,
    /// Age at which it is.
    pub max_age: Setting<Time>,
    /// How many renamed files are kept; the oldest are removed. Left out: all.
    pub keep: Setting<Count>,
}

/// How audit lines are sealed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawChain {
    /// File that holds the key of the codes (HMAC-SHA-256), at least 32 characters.
    pub mac_key_file: Setting<String>,
    /// Environment variable that holds the key of the codes.
    pub mac_key_env: Setting<String>,
    /// File that holds the Ed25519 private key that signs checkpoints, as PEM.
    pub signing_key_file: Setting<String>,
    /// Environment variable that holds the key that signs checkpoints.
    pub signing_key_env: Setting<String>,
    /// Most records between two checkpoints.
    pub checkpoint_records: Setting<Count>,
    /// Longest time between a record and the next checkpoint.
    pub checkpoint_interval: Setting<Time>,
}

/// Where audit lines go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawAuditOutput {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(String),
}

/// The operator's log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLog {
    /// What is logged, in the notation of `tracing`: `info`, or `info,portvakt=debug`.
    pub filter: Setting<String>,
    /// How lines look.
    pub format: Setting<RawLogFormat>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawLogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Text, for people.
    Text,
}

/// Traces of requests, sent to a collector (OpenTelemetry).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawTracing {
    /// Whether any are made. Variables alone never switch it on; `OTEL_SDK_DISABLED` switches it off.
    pub enabled: Setting<bool>,
    /// Base address of the collector, to which `/v1/traces` is added; with `grpc` the address alone.
    pub endpoint: Setting<String>,
    /// How spans are sent.
    pub protocol: Setting<RawTracingProtocol>,
    /// File with header fields for the collector: `name=value,name=value`, percent-encoded.
    pub headers_file: Setting<String>,
    /// Environment variable that holds them.
    pub headers_env: Setting<String>,
    /// What the program is called in traces.
    pub service_name: Setting<String>,
    /// What else is said of it, such as `deployment.environment.name: prod`.
    pub resource_attributes: Setting<BTreeMap<String, Setting<String>>>,
    /// The share of requests that is recorded, from 0 to 1, with at most six decimals.
    pub ratio: Setting<Ratio>,
    /// Whether a caller that says so has its trace recorded, or not, in place of `ratio`.
    pub trust_parent: Setting<bool>,
    /// Most traces that are recorded in a second, whoever asks for it.
    pub traces_per_second: Setting<Count>,
    /// Most spans that wait to be sent; more are dropped, and counted.
    pub queue_spans: Setting<Count>,
    /// Longest time for one call to the collector.
    pub timeout: Setting<Time>,
}

/// How spans are sent to the collector.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub enum RawTracingProtocol {
    /// OTLP over HTTP, as protobuf.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// OTLP over gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}
