//! What lies beyond this machine: Maskinporten, Altinn, the resources of the routes, the upstreams. Asked once each, with
//! the clients that the program itself asks with; every step is bounded in time.

use super::finding::{Code, Report, Step, Trouble};
use crate::altinn::Altinn;
use crate::altinn::probe::{Blame, Said};
use crate::altinn::registry;
use crate::altinn::token::ExchangeError;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, UpstreamConfig, UpstreamTlsConfig};
use crate::domain::json::Json;
use crate::domain::policy::{NamesAction, Policy};
use crate::domain::resource::{ResourceId, Right};
use crate::domain::time::UnixTime;
use crate::maskinporten::grant::{BearerToken, Grant, GrantError, Refusal, SigningKeyError};
use crate::maskinporten::http::{Chain, HttpError};
use crate::maskinporten::jwks::{FetchError, Publisher};
use crate::maskinporten::key_set::parse_key_set;
use crate::maskinporten::{Issuer, IssuerError};
use crate::telemetry::metrics::Metrics;
use crate::tls::client::Client as TlsClient;
use ::http::StatusCode;
use reqwest::Url;
use rustls::pki_types::ServerName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// Longest time for one step, or for one resource or upstream of it.
const STEP: Duration = Duration::from_secs(15);
/// Longest time for all resources together.
const RESOURCES: Duration = Duration::from_secs(60);
/// Maskinporten takes an assertion within this of its own clock, seconds. Source: contract maskinporten.md §2.2.
const SKEW: i64 = 10;
/// Types that can be in no system. Source: contract resource-registry.md §2.
const NOT_FOR_SYSTEMS: [&str; 2] = ["MaskinportenSchema", "Altinn2Service"];

/// Everything.
pub(super) async fn all(report: &mut Report, config: &Config) {
    let token = issuer(report, config).await;
    altinn(report, config, token).await;
    upstreams(report, config).await;
}

/// `step` within its time.
async fn bounded<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late = |_| Err(Trouble::new(Code::TimedOut, format!("not done in {} s", STEP.as_secs())));
    timeout(STEP, work).await.unwrap_or_else(late)
}

/// Maskinporten; gives our own token, if there is one to be had.
async fn issuer(report: &mut Report, config: &Config) -> Option<BearerToken> {
    use Step::{Clock, IssuerAddress, IssuerKeys, IssuerMetadata, OwnToken};
    let url = &config.maskinporten.metadata_url;
    let reached = bounded(reach_url(url, config.maskinporten.timeout)).await;
    if !report.note(IssuerAddress, host(url), reached) {
        for step in [IssuerMetadata, IssuerKeys, Clock, OwnToken] {
            report.skip(step, IssuerAddress);
        }
        return None;
    }
    let issuer = Issuer::new(&config.maskinporten).map_err(|error| http_trouble(&error));
    let asked = match issuer {
        Ok(issuer) => {
            let issuer = Arc::new(issuer);
            let asked = bounded(async { issuer.ask().await.map_err(|error| metadata(&error)) });
            asked.await.map(|(metadata, date)| (issuer, metadata, date))
        }
        Err(trouble) => Err(trouble),
    };
    let (issuer, metadata, date) = match asked {
        Ok(asked) => asked,
        Err(trouble) => {
            report.note(IssuerMetadata, url.as_str(), Err(trouble));
            for step in [IssuerKeys, Clock, OwnToken] {
                report.skip(step, IssuerMetadata);
            }
            return None;
        }
    };
    let same = format!("the issuer is `{}`, byte for byte", issuer.name());
    report.note(IssuerMetadata, url.as_str(), Ok(same));
    let keys = bounded(async {
        let bytes = issuer.key_set(false).await.map_err(|error| key_set(&error))?;
        usable_keys(&bytes)
    });
    report.note(IssuerKeys, metadata.jwks_uri.as_str(), keys.await);
    report.note(Clock, "", clock(date));
    let Some(client) = &config.maskinporten.client else {
        report.leave_out(OwnToken, "no route asks for a right");
        return None;
    };
    let granted = bounded(async {
        let grant = Grant::new(client, Arc::clone(&issuer), Arc::new(SystemClock));
        grant.map_err(|error| own_key(&error))?.fetch().await.map_err(|error| grant_trouble(&error))
    });
    let granted = granted.await;
    let (token, went) = split(granted, format!("granted, with {} scopes", client.scopes.len()));
    report.note(OwnToken, format!("client {}", client.client_id), went);
    token
}

fn split<T>(result: Result<T, Trouble>, well: String) -> (Option<T>, Result<String, Trouble>) {
    match result {
        Ok(value) => (Some(value), Ok(well)),
        Err(trouble) => (None, Err(trouble)),
    }
}

/// Altinn; `granted` is our own token from Maskinporten.
async fn altinn(report: &mut Report, config: &Config, granted: Option<BearerToken>) {
    use Step::{AccessLists, AltinnAddress, Decisions, Exchange, OwnToken, Parties, Resources};
    let rights = rights(config);
    if config.maskinporten.client.is_none() || rights.is_empty() {
        for step in [AltinnAddress, Exchange, Decisions, Parties, AccessLists, Resources] {
            report.leave_out(step, "no route asks for a right");
        }
        return;
    }
    let reached = bounded(reach_url(&config.altinn.url, config.altinn.attempt_timeout)).await;
    let made = reached.and_then(|way| {
        let made = Altinn::new(&config.altinn);
        made.map(|altinn| (altinn, way))
            .map_err(|error| Trouble::new(Code::AltinnUnreadable, Chain(&error).to_string()))
    });
    let (altinn, went) = match made {
        Ok((altinn, way)) => (Some(altinn), Ok(way)),
        Err(trouble) => (None, Err(trouble)),
    };
    report.note(AltinnAddress, host(&config.altinn.url), went);
    let Some(altinn) = altinn else {
        for step in [Exchange, Decisions, Parties, AccessLists, Resources] {
            report.skip(step, AltinnAddress);
        }
        return;
    };
    let exchanged = match granted {
        None => {
            report.skip(Exchange, OwnToken);
            None
        }
        Some(granted) => {
            let exchanged =
                bounded(async { altinn.exchange(&granted).await.map_err(|it| exchange(&it)) });
            let (token, went) = split(exchanged.await, "exchanged for a token of Altinn".into());
            report.note(Exchange, "", went);
            token
        }
    };
    match (&exchanged, rights.first()) {
        (Some(token), Some(right)) => calls(report, config, &altinn, token, right).await,
        _ => {
            for step in [Decisions, Parties, AccessLists] {
                report.skip(step, Exchange);
            }
        }
    }
    resources(report, &altinn, &rights).await;
}

/// What we may do at Altinn with our token.
async fn calls(
    report: &mut Report,
    config: &Config,
    altinn: &Altinn,
    token: &BearerToken,
    right: &Right,
) {
    let judge = |said: Result<Said, HttpError>, scope: &str, members: Option<&str>| {
        judge(&said.map_err(|error| http_trouble(&error))?, scope, members)
    };
    let asked = bounded(async {
        let said = altinn.probe_decision(token, right).await;
        judge(said, "altinn:authorization/authorize", Some("response"))
    });
    report.note(Step::Decisions, "", asked.await);
    if config.register.is_none() {
        report.leave_out(Step::Parties, "there is no register");
        report.leave_out(Step::AccessLists, "there is no register");
        return;
    }
    let asked = bounded(async {
        let said = altinn.probe_parties(token).await;
        judge(said, "altinn:accessmanagement/authorizedparties.resourceowner", None)
    });
    report.note(Step::Parties, "", asked.await);
    let owner = config.register.as_ref().and_then(|it| it.access_lists_owner.as_deref());
    let Some(owner) = owner else {
        report.leave_out(Step::AccessLists, "no `register.access_lists_owner`");
        return;
    };
    let asked = bounded(async {
        let said = altinn.probe_access_lists(token, owner).await;
        let scopes =
            "altinn:resourceregistry/accesslist.read, and altinn:serviceowner of that owner";
        judge(said, scopes, Some("data"))
    });
    report.note(Step::AccessLists, owner, asked.await);
}

/// What an answer of Altinn says of us. `members`: what the answer holds if it is one.
fn judge(said: &Said, scope: &str, members: Option<&str>) -> Result<String, Trouble> {
    let status = said.status;
    let trouble = |code, message: String| Err(Trouble::new(code, message));
    match status {
        StatusCode::OK => {
            let body = Json::parse(&said.body).ok();
            let whole = body.is_some_and(|body| match members {
                Some(name) => {
                    let mut named = body.members().unwrap_or_default().iter();
                    named.any(|(member, _)| member.eq_ignore_ascii_case(name))
                }
                None => body.as_array().is_some(),
            });
            if whole {
                Ok("answers us".into())
            } else {
                trouble(Code::AltinnUnreadable, "answered 200 with something else".into())
            }
        }
        StatusCode::UNAUTHORIZED => match said.blame {
            Some(Blame::Token) => trouble(Code::AltinnToken, "401: our token is refused".into()),
            Some(Blame::SubscriptionKey) => {
                trouble(Code::SubscriptionKey, "401: the subscription key is refused".into())
            }
            None => trouble(Code::Unauthorized, "401, without a word of what is refused".into()),
        },
        StatusCode::FORBIDDEN => {
            trouble(Code::AltinnScope, format!("403: our token lacks the scope `{scope}`"))
        }
        _ => trouble(Code::AltinnStatus, format!("answered with status {status}")),
    }
}

/// Every right of a route, once.
fn rights(config: &Config) -> Vec<Right> {
    let rights = config.routes.iter().filter_map(|route| route.right());
    crate::sync::distinct(&rights.map(|right| right.right.clone()).collect::<Vec<_>>())
}

async fn resources(report: &mut Report, altinn: &Altinn, rights: &[Right]) {
    let mut wanted: BTreeMap<&ResourceId, BTreeSet<&str>> = BTreeMap::new();
    for right in rights {
        wanted.entry(&right.resource).or_default().insert(right.action.as_str());
    }
    let end = Instant::now() + RESOURCES;
    for (id, actions) in wanted {
        let looked = timeout_at(end, bounded(resource(altinn, id, &actions)));
        let late = |_| Err(Trouble::new(Code::TimedOut, "no time was left for it"));
        report.note(Step::Resources, id.as_str(), looked.await.unwrap_or_else(late));
    }
}

/// Whether system users can hold these actions on the resource.
async fn resource(
    altinn: &Altinn,
    id: &ResourceId,
    actions: &BTreeSet<&str>,
) -> Result<String, Trouble> {
    let trouble = |code, message: String| Err(Trouble::new(code, message));
    let said = altinn.probe_resource(id).await.map_err(|error| http_trouble(&error))?;
    match said.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            return trouble(Code::ResourceUnknown, "the registry does not know it".into());
        }
        status => return trouble(Code::AltinnStatus, format!("answered with status {status}")),
    }
    let Ok(facts) = registry::read_facts(&said.body, id) else {
        return trouble(Code::ResourceUnreadable, "its metadata cannot be read".into());
    };
    if NOT_FOR_SYSTEMS.contains(&facts.resource_type.as_str()) {
        let message = format!("it is of the type {}", facts.resource_type);
        return trouble(Code::ResourceType, message);
    }
    let said = altinn.probe_policy(id).await.map_err(|error| http_trouble(&error))?;
    match said.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return trouble(Code::PolicyMissing, "it has no policy".into()),
        status => return trouble(Code::AltinnStatus, format!("answered with status {status}")),
    }
    let policy = Policy::parse(&said.body)
        .map_err(|error| Trouble::new(Code::PolicyNotUnderstood, Chain(&error).to_string()))?;
    for action in actions {
        match policy.names(action) {
            NamesAction::Yes => {}
            NamesAction::OtherCase => {
                return trouble(
                    Code::ActionCase,
                    format!("no rule permits `{action}` by that name"),
                );
            }
            NamesAction::No => {
                return trouble(Code::ActionUnknown, format!("no rule permits `{action}`"));
            }
        }
    }
    match (policy.packages().len(), facts.delegable) {
        (0, false) => trouble(
            Code::NotDelegable,
            "its policy names no access package, and it cannot be given as a single right".into(),
        ),
        (0, true) => trouble(Code::SingleRightsOnly, "its policy names no access package".into()),
        (packages, _) => {
            Ok(format!("{}, access packages that open it: {packages}", facts.resource_type))
        }
    }
}

async fn upstreams(report: &mut Report, config: &Config) {
    if config.upstreams.is_empty() {
        report.leave_out(Step::Upstreams, "nothing is forwarded");
    }
    for (name, upstream) in &config.upstreams {
        report.note(Step::Upstreams, name, bounded(reach_upstream(upstream)).await);
    }
}

async fn reach_upstream(upstream: &UpstreamConfig) -> Result<String, Trouble> {
    if let Some(path) = &upstream.socket {
        let connected = timeout(upstream.connect_timeout, UnixStream::connect(path)).await;
        return match connected {
            Ok(Ok(_)) => Ok("connected".into()),
            Ok(Err(error)) => Err(Trouble::new(Code::Unreachable, error.kind().to_string())),
            Err(_) => Err(Trouble::new(Code::TimedOut, "no connection in time")),
        };
    }
    let port = upstream.authority.port_u16();
    let port = port.unwrap_or(if upstream.tls.is_some() { 443 } else { 80 });
    let host = upstream.authority.host();
    reach(host, port, upstream.tls.clone(), upstream.connect_timeout).await
}

async fn reach_url(url: &Url, limit: Duration) -> Result<String, Trouble> {
    let trust = UpstreamTlsConfig { authorities: None, own: None, server_name: None };
    let tls = (url.scheme() == "https").then_some(trust);
    let port = url.port_or_known_default().unwrap_or(443);
    reach(url.host_str().unwrap_or_default(), port, tls, limit).await
}

/// Finds the name, connects, and agrees on TLS, as connections of the program do; nothing is said on the connection.
async fn reach(
    host: &str,
    port: u16,
    tls: Option<UpstreamTlsConfig>,
    limit: Duration,
) -> Result<String, Trouble> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout(limit, lookup_host((bare, port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) => return Err(Trouble::new(Code::Name, "the name cannot be found")),
        Err(_) => return Err(Trouble::new(Code::TimedOut, "the name was not found in time")),
    };
    let mut failed = Trouble::new(Code::Name, "the name has no address");
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let Some(tls) = tls else { return Ok(format!("connected to {address}")) };
                return secure(stream, bare, tls, limit).await;
            }
            Ok(Err(error)) => {
                let message = format!("{address}: {}", error.kind());
                failed = Trouble::new(Code::Unreachable, message);
            }
            Err(_) => {
                failed = Trouble::new(Code::TimedOut, format!("{address}: no connection in time"));
            }
        }
    }
    Err(failed)
}

async fn secure(
    stream: TcpStream,
    host: &str,
    tls: UpstreamTlsConfig,
    limit: Duration,
) -> Result<String, Trouble> {
    let refused = |message: String| Trouble::new(Code::Tls, message);
    let name = tls.server_name.clone().unwrap_or_else(|| host.to_owned());
    let server = ServerName::try_from(name.clone())
        .map_err(|_| refused("its name can stand in no certificate".into()))?;
    let metrics = Metrics::new().map_err(|error| refused(Chain(&error).to_string()))?;
    let client =
        TlsClient::new(tls, metrics).map_err(|error| refused(Chain(&error).to_string()))?;
    let offers = client.current();
    let agreed = TlsConnector::from(Arc::clone(&offers.either)).connect(server, stream);
    match timeout(limit, agreed).await {
        Ok(Ok(_)) => Ok(format!("connected, TLS with `{name}` verified")),
        Ok(Err(error)) => Err(refused(Chain(&error).to_string())),
        Err(_) => Err(Trouble::new(Code::TimedOut, "no TLS handshake in time")),
    }
}

fn host(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or(443);
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

fn http_trouble(error: &HttpError) -> Trouble {
    let code = match error {
        HttpError::Client(_) => Code::Tls,
        HttpError::Unreachable(_) => Code::Unreachable,
        HttpError::TimedOut => Code::TimedOut,
        HttpError::TooLarge { .. } => Code::AltinnUnreadable,
    };
    Trouble::new(code, Chain(error).to_string())
}

fn metadata(error: &IssuerError) -> Trouble {
    let code = match error {
        IssuerError::Http(HttpError::TooLarge { .. }) | IssuerError::Json(_) => {
            Code::MetadataUnreadable
        }
        IssuerError::Http(error) => return http_trouble(error),
        IssuerError::Status(_) => Code::MetadataStatus,
        IssuerError::OtherIssuer { .. } => Code::OtherIssuer,
        IssuerError::Address(_) => Code::MetadataUnreadable,
    };
    Trouble::new(code, Chain(error).to_string())
}

fn key_set(error: &FetchError) -> Trouble {
    let code = match error {
        FetchError::Issuer(error) => return metadata(error),
        FetchError::Http(HttpError::TooLarge { .. }) | FetchError::Refused(_) => {
            Code::KeysUnreadable
        }
        FetchError::Http(error) => return http_trouble(error),
        FetchError::Status(_) => Code::KeysStatus,
        FetchError::NoUsableKey => Code::NoUsableKey,
    };
    Trouble::new(code, Chain(error).to_string())
}

fn usable_keys(bytes: &[u8]) -> Result<String, Trouble> {
    let parsed = parse_key_set(bytes)
        .map_err(|error| Trouble::new(Code::KeysUnreadable, Chain(&error).to_string()))?;
    let ignored: BTreeSet<&str> = parsed.ignored.iter().map(|reason| reason.label()).collect();
    let ignored: Vec<&str> = ignored.into_iter().collect();
    let passed_over = format!("{} passed over ({})", parsed.ignored.len(), ignored.join(", "));
    if parsed.keys.is_empty() {
        return Err(Trouble::new(Code::NoUsableKey, format!("no usable key; {passed_over}")));
    }
    let usable = format!("{} usable keys", parsed.keys.len());
    Ok(if ignored.is_empty() { usable } else { format!("{usable}, {passed_over}") })
}

fn clock(date: Option<UnixTime>) -> Result<String, Trouble> {
    let Some(date) = date else {
        return Err(Trouble::new(Code::NoDate, "the issuer told no time"));
    };
    let ahead = SystemClock.now().seconds().saturating_sub(date.seconds());
    let message = match ahead {
        0 => return Ok("as the issuer's".to_owned()),
        1.. => format!("{ahead} s ahead of the issuer's"),
        _ => format!("{} s behind the issuer's", ahead.saturating_neg()),
    };
    match ahead.saturating_abs() {
        0..=2 => Ok(message),
        apart if apart <= SKEW => Err(Trouble::new(Code::ClockDrifts, message)),
        _ => Err(Trouble::new(Code::ClockSkew, message)),
    }
}

fn own_key(error: &SigningKeyError) -> Trouble {
    Trouble::new(Code::OwnKey, Chain(error).to_string())
}

fn grant_trouble(error: &GrantError) -> Trouble {
    let code = match error {
        GrantError::Issuer(error) => return metadata(error),
        GrantError::Http(HttpError::TooLarge { .. }) | GrantError::Unreadable => {
            Code::TokenUnreadable
        }
        GrantError::Http(error) => return http_trouble(error),
        GrantError::NoTokenEndpoint => Code::MetadataUnreadable,
        GrantError::Signature => Code::OwnKey,
        GrantError::Refused(said) => refusal(said),
    };
    Trouble::new(code, Chain(error).to_string())
}

/// Source: contract maskinporten.md §6.
fn refusal(said: &Refusal) -> Code {
    let status = said.status;
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Code::TokenStatus;
    }
    match (said.code.as_deref(), said.error.as_deref()) {
        (Some("MP-100"), _) | (None, Some("invalid_client")) => Code::ClientUnknown,
        (Some("MP-110"), _) => Code::Audience,
        (Some("MP-121"), _) => Code::KeyExpired,
        (Some("MP-124"), _) => Code::KeyUnknown,
        // An issue time after now has no number.
        (Some("MP-130"), _) | (None, Some("invalid_grant")) => Code::AssertionTime,
        (Some("MP-200" | "MP-201" | "MP-250" | "MP-251"), _) | (None, Some("invalid_scope")) => {
            Code::Scope
        }
        _ if status == StatusCode::NOT_FOUND => Code::TokenUnreadable,
        _ => Code::TokenRefused,
    }
}

fn exchange(error: &ExchangeError) -> Trouble {
    let code = match error {
        ExchangeError::Http(error) => return http_trouble(error),
        ExchangeError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Code::ExchangeRefused
        }
        ExchangeError::Status(_) => Code::ExchangeStatus,
        ExchangeError::Unreadable => Code::ExchangeUnreadable,
    };
    Trouble::new(code, Chain(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_maskinporten_has_its_own_cure() {
        let of = |status: u16, error: &str, code: &str| {
            let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let status = StatusCode::from_u16(status).unwrap();
            refusal(&Refusal { status, error: word(error), code: word(code) })
        };
        assert_eq!(of(400, "invalid_grant", "MP-100"), Code::ClientUnknown);
        assert_eq!(of(401, "invalid_client", ""), Code::ClientUnknown);
        assert_eq!(of(400, "invalid_grant", "MP-110"), Code::Audience);
        assert_eq!(of(400, "invalid_grant", "MP-121"), Code::KeyExpired);
        assert_eq!(of(400, "invalid_grant", "MP-124"), Code::KeyUnknown);
        assert_eq!(of(400, "invalid_grant", "MP-130"), Code::AssertionTime);
        assert_eq!(of(400, "invalid_grant", ""), Code::AssertionTime);
        assert_eq!(of(400, "invalid_scope", "MP-200"), Code::Scope);
        assert_eq!(of(403, "access_denied", "MP-250"), Code::Scope);
        assert_eq!(of(400, "invalid_request", "MP-011"), Code::TokenRefused);
        assert_eq!(of(503, "", ""), Code::TokenStatus);
        assert_eq!(of(429, "", ""), Code::TokenStatus);
    }

    #[test]
    fn the_two_reasons_of_a_401_are_told_apart() {
        let of = |status: u16, blame, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let said = Said { status, blame, body: body.as_bytes().to_vec() };
            judge(&said, "altinn:a/b", Some("response")).map_err(|trouble| trouble.code)
        };
        assert!(of(200, None, r#"{"Response":[]}"#).is_ok());
        assert_eq!(of(200, None, "<html>"), Err(Code::AltinnUnreadable));
        assert_eq!(of(401, Some(Blame::Token), ""), Err(Code::AltinnToken));
        assert_eq!(of(401, Some(Blame::SubscriptionKey), ""), Err(Code::SubscriptionKey));
        assert_eq!(of(401, None, ""), Err(Code::Unauthorized));
        assert_eq!(of(403, None, ""), Err(Code::AltinnScope));
        assert_eq!(of(503, None, ""), Err(Code::AltinnStatus));
    }

    #[tokio::test(start_paused = true)]
    async fn no_step_takes_longer_than_its_time() {
        let begun = Instant::now();
        let hangs = bounded(std::future::pending::<Result<(), Trouble>>()).await;
        assert_eq!(hangs.map_err(|it| it.code), Err(Code::TimedOut));
        assert_eq!(begun.elapsed(), STEP);
        assert!(bounded(std::future::ready(Ok(()))).await.is_ok());
    }

    #[test]
    fn a_clock_is_told_of_by_how_far_it_is_off() {
        let now = SystemClock.now().seconds();
        let off =
            |seconds| clock(Some(UnixTime::from_seconds(now + seconds))).map_err(|it| it.code);
        assert!(off(0).is_ok());
        assert_eq!(off(-6), Err(Code::ClockDrifts));
        assert_eq!(off(-60), Err(Code::ClockSkew));
        assert_eq!(off(60), Err(Code::ClockSkew));
        assert_eq!(clock(None).map_err(|it| it.code), Err(Code::NoDate));
    }
}
