//! Header fields that cross the proxy, both ways.
//!
//! The order is: what was judged stays, hop-by-hop fields go, what a client could forge goes, ours are
//! set last. Names are compared as a server behind us may read them: `-`, `_`, `.` and the like are one.
//! Sources: RFC 9110 §7.6, RFC 7239, threats 36–41, 47, 49.

use super::Client;
use crate::config::{AccessConfig, ForwardedConfig, UpstreamConfig};
use crate::domain::decision::Answer;
use crate::enforce::Grant;
use crate::enforce::authorize::MAX_AGE;
use crate::enforce::rejection::Malformed;
use crate::trace::Place;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request};
use http_body::Frame;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::IpAddr;

/// An upgrade that the client asks for and the route allows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requested {
    protocol: String,
}

impl Requested {
    /// The upgrade in a request, if its route allows it. What is not allowed is ignored, as RFC 9110
    /// §7.8 lets a server do.
    ///
    /// # Errors
    /// [`Malformed::Upgrade`] for an allowed protocol beside others, or beside a body.
    pub fn read(headers: &HeaderMap, allowed: &[String]) -> Result<Option<Self>, Malformed> {
        if allowed.is_empty() {
            return Ok(None);
        }
        let named = connection_names(headers).any(|name| name == "upgrade");
        let protocols: Vec<String> = list(headers, &header::UPGRADE).collect();
        if !named || !protocols.iter().any(|protocol| allowed.contains(protocol)) {
            return Ok(None);
        }
        let body = headers.contains_key(header::TRANSFER_ENCODING)
            || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
        match protocols.as_slice() {
            [protocol] if !body => Ok(Some(Self { protocol: protocol.clone() })),
            _ => Err(Malformed::Upgrade),
        }
    }

    /// Whether a 101 switches to the protocol that was asked for, and to no other.
    #[must_use]
    pub fn is_granted(&self, headers: &HeaderMap) -> bool {
        list(headers, &header::UPGRADE).eq([self.protocol.as_str()])
    }
}

/// The comma-separated elements of a field, in lower case.
fn list(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|element| element.trim().to_ascii_lowercase())
        .filter(|element| !element.is_empty())
}

fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = String> {
    list(headers, &header::CONNECTION)
}

/// What a request's headers are prepared by.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Who sent it.
    pub client: &'a Client,
    /// The upgrade to pass on.
    pub upgrade: Option<&'a Requested>,
    /// Where the request goes.
    pub upstream: &'a UpstreamConfig,
    /// Its own name, as a value of `Host`.
    pub own_host: Option<&'a HeaderValue>,
    /// Which headers tell of the client.
    pub forwarded: &'a ForwardedConfig,
    /// Who may, and why.
    pub grant: &'a Grant,
    /// Where the request stands in its trace.
    pub trace: &'a Place,
}

/// What [`strip`] took from a head that [`dress`] needs again.
#[derive(Clone, Debug)]
pub struct Told {
    /// The host that the client named.
    host: Option<HeaderValue>,
    /// It takes trailers.
    trailers: bool,
}

/// Takes from the client's head what does not go to the upstream.
#[must_use]
pub fn strip(head: &mut request::Parts, around: Surroundings<'_>) -> Told {
    let trusted = around
        .forwarded
        .trusted_peers
        .iter()
        .any(|network| network.contains(around.client.address));
    let told = Told {
        host: original_host(head),
        trailers: list(&head.headers, &header::TE).any(|coding| coding == "trailers"),
    };
    // We answer the expectation ourselves: the client is told to go on when its body is first read.
    let ours = |name: &HeaderName| {
        *name == header::EXPECT
            || (*name == header::AUTHORIZATION && !around.upstream.forward_authorization)
    };
    strip_hop_by_hop(&mut head.headers, party_header(around.grant), |name| {
        ours(name) || is_forged(name.as_str(), trusted)
    });
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    told
}

/// Makes fields that were [stripped](strip) those that go to the upstream: ours are set.
pub fn dress(headers: &mut HeaderMap, around: Surroundings<'_>, told: Told) {
    let Told { host, trailers } = told;
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(requested) = around.upgrade
        && let Ok(protocol) = HeaderValue::try_from(&requested.protocol)
    {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    set_forwarded(headers, around, host.as_ref());
    set_evidence(headers, around.grant);
    around.trace.pass_on(headers);
    if let (Some(subject), false) = (&around.client.subject, is_unproven(around.grant)) {
        headers.insert(&evidence::CLIENT_SUBJECT, subject.clone());
    }
    set_host(headers, around, host);
}

/// Removes the fields that `goes` tells. One look at each: a message seldom has many.
fn remove_all(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let gone: SmallVec<[HeaderName; 4]> =
        headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// The host that the client named: `Host`, or `:authority` of HTTP/2.
fn original_host(head: &request::Parts) -> Option<HeaderValue> {
    let authority = head.uri.authority().and_then(|authority| authority.as_str().try_into().ok());
    head.headers.get(header::HOST).cloned().or(authority)
}

fn set_host(headers: &mut HeaderMap, around: Surroundings<'_>, host: Option<HeaderValue>) {
    let own = || around.own_host.cloned();
    let host = host.filter(|_| around.upstream.preserve_host).or_else(own);
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
}

/// Whether a field concerns one connection only. Source: RFC 9110 §7.6.1, RFC 9113 §8.2.2.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Whether a field is one that `Connection` cannot name away: those we judge by, and those that frame the
/// message.
fn is_judged(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "cookie"
            | "expect"
            | "host"
            | "trailer"
            | "forwarded"
    )
}

/// Removes what concerns the client's connection only, and what `goes` tells.
fn strip_hop_by_hop(
    headers: &mut HeaderMap,
    party: Option<&HeaderName>,
    goes: impl Fn(&HeaderName) -> bool,
) {
    let named: Vec<String> = connection_names(headers).collect();
    for name in named {
        let judged = is_judged(&name)
            || name.starts_with("x-forwarded-")
            || party.is_some_and(|party| party.as_str() == name);
        if !judged {
            headers.remove(name.as_str());
        }
    }
    remove_all(headers, |name| is_hop_by_hop(name.as_str()) || goes(name));
}

/// A name as a server may read it that makes variables of headers: older CGI servers write `_` for
/// whatever is no letter or digit.
fn folded(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.replace(|c| !plain(c), "-"))
    }
}

/// Whether a field would speak for somebody else, or change what was judged.
fn is_forged(name: &str, trusted: bool) -> bool {
    let folded = folded(name);
    let spelt_otherwise = folded != name;
    if folded == "portvakt" || folded.starts_with("portvakt-") {
        return true;
    }
    if is_override(&folded) {
        return true;
    }
    if tells_of_client(&folded) {
        return spelt_otherwise || !trusted;
    }
    // `content_length` beside `content-length`: some servers cannot tell the two apart.
    spelt_otherwise && (is_hop_by_hop(&folded) || is_judged(&folded))
}

/// Fields by which some frameworks take another method or address than the request line's.
fn is_override(folded: &str) -> bool {
    matches!(folded, "x-http-method-override" | "x-http-method" | "x-method-override")
        || folded.starts_with("x-original-")
        || matches!(folded, "x-rewrite-url" | "x-rewrite-uri" | "x-override-url")
}

fn tells_of_client(folded: &str) -> bool {
    matches!(
        folded,
        "forwarded" | "x-real-ip" | "x-client-ip" | "true-client-ip" | "x-cluster-client-ip"
    ) || folded.starts_with("x-forwarded-")
        || folded == "x-forwarded"
}

/// Crumbs of HTTP/2 are one field to HTTP/1 (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, cookie);
    }
}

pub(super) fn party_header(grant: &Grant) -> Option<&HeaderName> {
    match &grant.route().config.access {
        AccessConfig::Right(right) => right.party.header.as_ref(),
        AccessConfig::Scopes(_) | AccessConfig::Anonymous => None,
    }
}

fn set_forwarded(headers: &mut HeaderMap, around: Surroundings<'_>, host: Option<&HeaderValue>) {
    // What a trusted peer wrote is still there; what others wrote is gone.
    let peer = around.client.address.to_canonical();
    let scheme = if around.client.secure { "https" } else { "http" };
    if around.forwarded.x_forwarded {
        match &around.client.told {
            // Most have no proxy before us: then the value is a copy.
            Some(told) if !headers.contains_key(&forwarded::FOR) => {
                headers.insert(&forwarded::FOR, told.clone());
            }
            _ => append(headers, &forwarded::FOR, &peer.to_string()),
        }
        headers.entry(&forwarded::PROTO).or_insert(HeaderValue::from_static(scheme));
        if let Some(host) = host {
            headers.entry(&forwarded::HOST).or_insert_with(|| host.clone());
        }
    }
    if around.forwarded.rfc7239 {
        let peer = match peer {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        let host = host.and_then(|host| host.to_str().ok());
        let host = host.map_or_else(String::new, |host| format!(";host=\"{host}\""));
        append(headers, &header::FORWARDED, &format!("for={peer}{host};proto={scheme}"));
    }
}

/// Adds an element to the list in a field.
fn append(headers: &mut HeaderMap, name: &HeaderName, element: &str) {
    let earlier: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let all = [earlier, vec![element]].concat().join(", ");
    if let Ok(value) = HeaderValue::try_from(all) {
        headers.insert(name, value);
    }
}

/// What tells the upstream of the client's own connection.
mod forwarded {
    use http::HeaderName;

    pub(super) static FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    pub(super) static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    pub(super) static HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
}

/// What tells the upstream who asks, for whom, and how that is known. Made once: to read a name costs more
/// than to set a field.
mod evidence {
    use http::HeaderName;

    pub(super) static ROUTE: HeaderName = HeaderName::from_static("portvakt-route");
    pub(super) static ACCESS: HeaderName = HeaderName::from_static("portvakt-access");
    pub(super) static ANSWER: HeaderName = HeaderName::from_static("portvakt-answer");
    pub(super) static SYSTEM_USER: HeaderName = HeaderName::from_static("portvakt-system-user");
    pub(super) static PARTY: HeaderName = HeaderName::from_static("portvakt-party");
    pub(super) static RESOURCE: HeaderName = HeaderName::from_static("portvakt-resource");
    pub(super) static ACTION: HeaderName = HeaderName::from_static("portvakt-action");
    pub(super) static SOURCE: HeaderName = HeaderName::from_static("portvakt-source");
    pub(super) static AGE: HeaderName = HeaderName::from_static("portvakt-age");
    pub(super) static POLICY_VERSION: HeaderName =
        HeaderName::from_static("portvakt-policy-version");
    pub(super) static CONSUMER: HeaderName = HeaderName::from_static("portvakt-consumer");
    pub(super) static SUPPLIER: HeaderName = HeaderName::from_static("portvakt-supplier");
    pub(super) static SYSTEM_ID: HeaderName = HeaderName::from_static("portvakt-system-id");
    pub(super) static SYSTEM_USER_OWNER: HeaderName =
        HeaderName::from_static("portvakt-system-user-owner");
    /// How many there are.
    pub(super) const COUNT: usize = 14;
    /// All of them.
    pub(super) static ALL: [&HeaderName; COUNT] = [
        &ROUTE,
        &ACCESS,
        &ANSWER,
        &SYSTEM_USER,
        &PARTY,
        &RESOURCE,
        &ACTION,
        &SOURCE,
        &AGE,
        &POLICY_VERSION,
        &CONSUMER,
        &SUPPLIER,
        &SYSTEM_ID,
        &SYSTEM_USER_OWNER,
    ];
    /// What the TLS handshake told.
    pub(super) static CLIENT_SUBJECT: HeaderName =
        HeaderName::from_static("portvakt-client-subject");
}

/// The evidence for one who forwards the request himself. Every name is there, those of which nothing is known
/// empty: what is copied from here replaces whatever a client wrote under the same name.
#[must_use]
pub fn whole_evidence(grant: &Grant) -> HeaderMap {
    let names = evidence::ALL.into_iter().chain([&evidence::CLIENT_SUBJECT]);
    let mut headers: HeaderMap =
        names.map(|name| (name.clone(), HeaderValue::from_static(""))).collect();
    set_evidence(&mut headers, grant);
    headers
}

/// Whether a field of a client's request would have to be removed before its upstream sees it. Not those whose
/// name stands in [`whole_evidence`], nor what a caller may say.
#[must_use]
pub fn must_be_removed(name: &str) -> bool {
    let replaced = name == evidence::CLIENT_SUBJECT.as_str()
        || evidence::ALL.iter().any(|other| other.as_str() == name);
    is_forged(name, true) && !replaced && name != MAX_AGE.as_str()
}

/// Whether nothing of ours goes with it, lest the upstream take it for one that was granted.
fn is_unproven(grant: &Grant) -> bool {
    match grant {
        Grant::Shadow(_) => true,
        Grant::Right(_) | Grant::Scopes(_) | Grant::Anonymous(_) => false,
    }
}

/// Tells the upstream who asks, for whom, and how that is known; of what went through in shadow, nothing.
fn set_evidence(headers: &mut HeaderMap, grant: &Grant) {
    let access = match grant {
        Grant::Shadow(_) => return,
        Grant::Anonymous(_) => "anonymous",
        Grant::Scopes(_) => "scopes",
        Grant::Right(_) => "right",
    };
    headers.reserve(evidence::COUNT);
    let word = HeaderValue::from_static;
    let mut set = |name: &'static HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    set(&evidence::ACCESS, Some(word(access)));
    let route = &grant.route().told;
    set(&evidence::ROUTE, route.route.clone());
    let Some(token) = grant.token().map(|token| &token.told) else { return };
    set(&evidence::CONSUMER, token.consumer.clone());
    set(&evidence::SUPPLIER, token.supplier.clone());
    let Grant::Right(permit) = grant else { return };
    set(&evidence::SYSTEM_ID, token.system.clone());
    set(&evidence::SYSTEM_USER_OWNER, token.owner.clone());
    let question = permit.question();
    set(&evidence::SYSTEM_USER, token.system_user(question.system_user()).cloned());
    set(&evidence::PARTY, HeaderValue::from_str(question.party().expose()).ok());
    set(&evidence::RESOURCE, route.resource.clone());
    set(&evidence::ACTION, route.action.clone());
    let basis = permit.evidence();
    if let Some(policy) = basis.policy {
        set(&evidence::POLICY_VERSION, HeaderValue::try_from(policy.to_string()).ok());
    }
    set(&evidence::ANSWER, Some(word(Answer::Permit.label())));
    set(&evidence::SOURCE, Some(word(basis.source.label())));
    set(&evidence::AGE, Some(basis.age.as_secs().into()));
}

/// Whether an answer's end is told in one way: a length, or `chunked` alone, or neither. With both, or with
/// another coding below `chunked`, two readers find two ends (RFC 9112 §6.3).
#[must_use]
pub fn is_framed_once(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => {
            coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && !headers.contains_key(header::CONTENT_LENGTH)
        }
        (Some(_), Some(_)) => false,
    }
}

/// Removes from an answer what concerns the connection to the upstream only.
pub fn strip_response(headers: &mut HeaderMap) {
    let named: Vec<String> = connection_names(headers).collect();
    for name in named {
        // `Connection: close, Content-Length` must not unframe the answer.
        if !is_judged(&name) {
            headers.remove(name.as_str());
        }
    }
    remove_all(headers, |name| is_hop_by_hop(name.as_str()));
}

/// Which way a body goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction<'a> {
    /// To the upstream; the field that names the party goes no second time.
    Request(Option<&'a HeaderName>),
    /// To the client.
    Response,
}

/// Keeps of trailers what may stand there: nothing that frames, routes or authenticates (RFC 9110
/// §6.5.1), and no identity. Their size is bounded by the HTTP library.
#[must_use]
pub fn clean_trailers(frame: Frame<Bytes>, direction: Direction<'_>) -> Frame<Bytes> {
    let mut trailers = match frame.into_trailers() {
        Ok(trailers) => trailers,
        Err(data) => return data,
    };
    let refused: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| is_refused_trailer(name.as_str(), direction))
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
    Frame::trailers(trailers)
}

fn is_refused_trailer(name: &str, direction: Direction<'_>) -> bool {
    let folded = folded(name);
    let framing = is_hop_by_hop(&folded)
        || is_judged(&folded)
        || matches!(&*folded, "set-cookie" | "cache-control" | "location" | "www-authenticate");
    match direction {
        Direction::Request(judged) => {
            framing
                || is_forged(name, false)
                || judged.is_some_and(|judged| self::folded(judged.as_str()) == folded)
        }
        Direction::Response => framing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn no_client_speaks_for_somebody_else() {
        for name in [
            "portvakt-party",
            "portvakt_party",
            "portvakt.party",
            "portvakt~party",
            "portvakt-p_arty",
            "portvakt_anything",
            "x-http-method-override",
            "x_http_method_override",
            "x-original-url",
            "x_original_uri",
            "x-rewrite-url",
            "x-forwarded-for",
            "x_forwarded_for",
            "forwarded",
            "x-real-ip",
            "content_length",
            "transfer_encoding",
            "host_",
        ] {
            let expected = name != "host_";
            assert_eq!(is_forged(name, false), expected, "{name}");
        }
        for name in ["authorization", "content-length", "x-request-id", "api_key", "x-portvakt"] {
            assert!(!is_forged(name, false), "{name}");
        }
    }

    #[test]
    fn a_trusted_peer_tells_of_its_client_in_plain_names_only() {
        assert!(!is_forged("x-forwarded-for", true));
        assert!(is_forged("x_forwarded_for", true));
        assert!(is_forged("portvakt-party", true));
    }

    #[test]
    fn connection_names_away_only_what_is_not_judged() {
        let party = HeaderName::from_static("x-party-org");
        let mut headers = map(&[
            (
                "connection",
                "close, Authorization, x-party-org, x-gone, Content-Length, X-Forwarded-For",
            ),
            ("authorization", "Bearer x"),
            ("x-party-org", "310000027"),
            ("x-gone", "1"),
            ("content-length", "2"),
            ("x-forwarded-for", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
        ]);
        strip_hop_by_hop(&mut headers, Some(&party), |_| false);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "content-length", "x-forwarded-for", "x-party-org"]);
    }

    #[test]
    fn an_upgrade_is_passed_on_only_where_the_route_allows_it() {
        let allowed = ["websocket".to_owned()];
        let read = |list: &[(&'static str, &'static str)]| Requested::read(&map(list), &allowed);
        let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(read(&websocket), Ok(Some(Requested { protocol: "websocket".into() })));
        assert_eq!(read(&[("upgrade", "websocket")]), Ok(None), "not named by Connection");
        assert_eq!(read(&[("connection", "upgrade"), ("upgrade", "h2c")]), Ok(None));
        assert_eq!(Requested::read(&map(&websocket), &[]), Ok(None));
        let two = [("connection", "upgrade"), ("upgrade", "websocket, h2c")];
        assert_eq!(read(&two), Err(Malformed::Upgrade));
        let body = [("connection", "upgrade"), ("upgrade", "websocket"), ("content-length", "5")];
        assert_eq!(read(&body), Err(Malformed::Upgrade));
    }

    #[test]
    fn a_switch_is_to_the_protocol_that_was_asked_for() {
        let requested = Requested { protocol: "websocket".into() };
        assert!(requested.is_granted(&map(&[("upgrade", "WebSocket")])));
        assert!(!requested.is_granted(&map(&[("upgrade", "other")])));
        assert!(!requested.is_granted(&map(&[])));
    }

    #[test]
    fn trailers_carry_no_identity_and_no_framing() {
        let trailers = map(&[
            ("grpc-status", "0"),
            ("x-checksum", "1"),
            ("authorization", "Bearer x"),
            ("portvakt-party", "1"),
            ("content-length", "1"),
        ]);
        let kept = |direction| {
            let frame = clean_trailers(Frame::trailers(trailers.clone()), direction);
            let mut kept: Vec<String> = frame
                .into_trailers()
                .unwrap()
                .keys()
                .map(|name| name.as_str().to_owned())
                .collect();
            kept.sort_unstable();
            kept
        };
        assert_eq!(kept(Direction::Request(None)), ["grpc-status", "x-checksum"]);
        let judged = HeaderName::from_static("x_checksum");
        assert_eq!(kept(Direction::Request(Some(&judged))), ["grpc-status"]);
        assert_eq!(kept(Direction::Response), ["grpc-status", "portvakt-party", "x-checksum"]);
    }

    #[test]
    fn an_answer_ends_in_one_way() {
        for good in [&[][..], &[("content-length", "5")], &[("transfer-encoding", "Chunked")]] {
            assert!(is_framed_once(&map(good)), "{good:?}");
        }
        for bad in [
            &[("content-length", "5"), ("transfer-encoding", "chunked")][..],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            assert!(!is_framed_once(&map(bad)), "{bad:?}");
        }
    }

    #[test]
    fn crumbs_become_one_cookie() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("x-a", "1"), ("x-a", "2")]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
    }
}
