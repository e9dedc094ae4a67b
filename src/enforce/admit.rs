//! Step 1: a request that is small enough and has one reading.
//!
//! Takes [`Facts`], gives [`Admitted`]. Knows nothing of routes or tokens.

use super::facts::Facts;
use super::path::CanonicalPath;
use super::rejection::{Bound, Malformed, Rejection};
use crate::config::LimitConfig;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

/// A request within the limits, whose target every server reads alike.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'r> {
    pub(super) facts: Facts<'r>,
    pub(super) path: CanonicalPath<'r>,
}

/// Lets a request in, or tells why not.
///
/// # Errors
/// [`Rejection::OverLimit`] and [`Rejection::Malformed`].
pub fn admit<'r>(facts: Facts<'r>, limits: &LimitConfig) -> Result<Admitted<'r>, Rejection> {
    let fields = Fields::of(facts.headers);
    check_sizes(facts, &fields, limits)?;
    check_protocol(facts)?;
    check_host(facts, fields.host)?;
    check_framing(fields.coding)?;
    if fields.unreadable_list {
        return Err(Malformed::ConnectionField.into());
    }
    if fields.authorization.again {
        return Err(Malformed::SeveralAuthorizations.into());
    }
    // Without a path the library reads `/`, and others read what they like.
    if facts.uri.path_and_query().is_some_and(|target| target.as_str().starts_with('?')) {
        return Err(Malformed::TargetForm.into());
    }
    Ok(Admitted { facts, path: CanonicalPath::parse(facts.uri.path())? })
}

/// What of the fields is looked at here. All are gone through once anyway, for their sizes; to look each of these up by its
/// name takes as long again.
#[derive(Default)]
struct Fields<'r> {
    /// Of all names and values together.
    bytes: usize,
    host: Field<'r>,
    coding: Field<'r>,
    length: Field<'r>,
    authorization: Field<'r>,
    /// Fields that say what to pass on are read whole or not at all: a byte that one reader skips and another
    /// stumbles over makes two lists of one.
    unreadable_list: bool,
}

/// A field that should stand once.
#[derive(Clone, Copy, Default)]
struct Field<'r> {
    first: Option<&'r HeaderValue>,
    again: bool,
}

impl<'r> Field<'r> {
    fn add(&mut self, value: &'r HeaderValue) {
        self.again = self.first.is_some();
        self.first = self.first.or(Some(value));
    }
}

impl<'r> Fields<'r> {
    fn of(headers: &'r HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.bytes += name.as_str().len() + value.len();
            if *name == header::HOST {
                fields.host.add(value);
            } else if *name == header::TRANSFER_ENCODING {
                fields.coding.add(value);
            } else if *name == header::CONTENT_LENGTH {
                fields.length.add(value);
            } else if *name == header::AUTHORIZATION {
                fields.authorization.add(value);
            } else if *name == header::CONNECTION
                || *name == header::TE
                || *name == header::UPGRADE
                || *name == header::TRAILER
            {
                fields.unreadable_list |= value.to_str().is_err();
            }
        }
        fields
    }
}

fn check_sizes(facts: Facts<'_>, fields: &Fields<'_>, limits: &LimitConfig) -> Result<(), Bound> {
    let target = facts.uri.path().len() + facts.uri.query().map_or(0, |query| query.len() + 1);
    if target > limits.target_bytes {
        return Err(Bound::Target(limits.target_bytes));
    }
    if facts.headers.len() > limits.header_count {
        return Err(Bound::HeaderCount(limits.header_count));
    }
    if fields.bytes > limits.header_bytes {
        return Err(Bound::HeaderBytes(limits.header_bytes));
    }
    match (limits.body_bytes, content_length(fields.length.first)) {
        (Some(most), Some(length)) if length > most => Err(Bound::Body(most)),
        _ => Ok(()),
    }
}

/// The declared length; the HTTP library has refused what is no number or stands twice with a difference.
fn content_length(field: Option<&HeaderValue>) -> Option<u64> {
    field?.to_str().ok()?.parse().ok()
}

fn check_protocol(facts: Facts<'_>) -> Result<(), Malformed> {
    if matches!(*facts.method, Method::CONNECT | Method::TRACE) {
        return Err(Malformed::Method);
    }
    match facts.version {
        Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2 => Ok(()),
        _ => Err(Malformed::Version),
    }
}

/// The host is named once, or the same twice; a proxy and its upstream must not see two.
fn check_host(facts: Facts<'_>, host: Field<'_>) -> Result<(), Malformed> {
    if host.again {
        return Err(Malformed::Host);
    }
    let named = host
        .first
        .map(|value| value.to_str().ok().and_then(plain_authority).ok_or(Malformed::Host))
        .transpose()?;
    let target = target_authority(facts.uri, facts.version)?;
    match (named, target) {
        (None, None) if facts.version == Version::HTTP_10 => Ok(()),
        (None, None) => Err(Malformed::Host),
        (None, Some(_)) if facts.version == Version::HTTP_11 => Err(Malformed::Host),
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (Some(named), Some(target)) if named.eq_ignore_ascii_case(target) => Ok(()),
        (Some(_), Some(_)) => Err(Malformed::TargetForm),
    }
}

/// The HTTP library takes any list of codings that ends in `chunked`; a server behind us that reads only
/// the first, or unwraps twice, would find another end of the message (RFC 9112 §6.3, threat 42).
fn check_framing(coding: Field<'_>) -> Result<(), Malformed> {
    match coding.first {
        None => Ok(()),
        Some(only) if !coding.again && only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        Some(_) => Err(Malformed::Body),
    }
}

/// `:authority` of HTTP/2, or the host of an absolute form.
fn target_authority(uri: &Uri, version: Version) -> Result<Option<&str>, Malformed> {
    let Some(authority) = uri.authority() else { return Ok(None) };
    let http = uri.scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    if !http || (version != Version::HTTP_2 && uri.scheme().is_none()) {
        return Err(Malformed::TargetForm);
    }
    plain_authority(authority.as_str()).map(Some).ok_or(Malformed::TargetForm)
}

/// A host and perhaps a port: no user, no path, no list.
fn plain_authority(text: &str) -> Option<&str> {
    if is_usual_authority(text) {
        return Some(text);
    }
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'[' | b']' | b'_')
    };
    if text.is_empty() || !text.bytes().all(plain) {
        return None;
    }
    let authority: Authority = text.parse().ok()?;
    (!authority.host().is_empty()).then_some(text)
}

/// A name or an IPv4 address, and perhaps a port: seen without the memory that reading one takes.
fn is_usual_authority(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "80"));
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    !host.is_empty() && host.bytes().all(named) && digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::test_support::limits;

    fn check(
        method: &str,
        uri: &str,
        version: Version,
        headers: &[(&'static str, &str)],
    ) -> Result<(), Rejection> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let (method, uri) = (method.parse().unwrap(), uri.parse().unwrap());
        let peer = "127.0.0.1".parse().unwrap();
        let facts = Facts { method: &method, uri: &uri, version, headers: &map, peer };
        admit(facts, &limits()).map(|_| ())
    }

    fn malformed(result: Result<(), Rejection>) -> Option<Malformed> {
        match result.err()? {
            Rejection::Malformed(malformed) => Some(malformed),
            _ => None,
        }
    }

    #[test]
    fn the_host_is_named_once() {
        let h1 = |headers: &[(&'static str, &str)]| check("GET", "/a", Version::HTTP_11, headers);
        assert!(h1(&[("host", "api.example.test:8080")]).is_ok());
        assert!(h1(&[("host", "[::1]:8080")]).is_ok());
        for headers in [
            &[][..],
            &[("host", "a"), ("host", "a")],
            &[("host", "")],
            &[("host", "a/b")],
            &[("host", "u@a")],
            &[("host", "a,b")],
            &[("host", "a b")],
            &[("host", ":80")],
        ] {
            assert_eq!(malformed(h1(headers)), Some(Malformed::Host), "{headers:?}");
        }
        assert!(check("GET", "/a", Version::HTTP_10, &[]).is_ok(), "HTTP/1.0 needs none");
    }

    #[test]
    fn a_query_without_a_path_is_no_target() {
        let h2 = |uri: &str| check("GET", uri, Version::HTTP_2, &[]);
        assert!(h2("https://api/?party=1").is_ok());
        assert!(h2("https://api").is_ok());
        assert_eq!(malformed(h2("https://api?party=1")), Some(Malformed::TargetForm));
    }

    #[test]
    fn an_absolute_form_names_the_same_host() {
        let h1 = |uri: &str| check("GET", uri, Version::HTTP_11, &[("host", "api:80")]);
        assert!(h1("http://API:80/a").is_ok());
        for uri in ["http://other/a", "http://u@api:80/a", "ftp://api:80/a", "http://api/a"] {
            assert_eq!(malformed(h1(uri)), Some(Malformed::TargetForm), "{uri}");
        }
    }

    #[test]
    fn a_body_is_chunked_once_or_has_a_length() {
        let h1 = |fields: &[(&'static str, &str)]| {
            check("POST", "/a", Version::HTTP_11, &[&[("host", "api")], fields].concat())
        };
        assert!(h1(&[("transfer-encoding", "Chunked")]).is_ok());
        assert!(h1(&[("content-length", "1")]).is_ok());
        for fields in [
            &[("transfer-encoding", "chunked, chunked")][..],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "")],
        ] {
            assert_eq!(malformed(h1(fields)), Some(Malformed::Body), "{fields:?}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_is_refused() {
        let (method, uri) = (Method::GET, Uri::from_static("/a"));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, http::HeaderValue::from_static("api"));
        headers.insert(header::CONNECTION, http::HeaderValue::from_bytes(b"x-hop, \xff").unwrap());
        let peer = "127.0.0.1".parse().unwrap();
        let (version, headers) = (Version::HTTP_11, &headers);
        let facts = Facts { method: &method, uri: &uri, version, headers, peer };
        let result = admit(facts, &limits()).map(|_| ());
        assert_eq!(malformed(result), Some(Malformed::ConnectionField));
    }

    #[test]
    fn in_http2_host_and_authority_agree() {
        let h2 = |headers: &[(&'static str, &str)]| {
            check("GET", "https://api/a", Version::HTTP_2, headers)
        };
        assert!(h2(&[]).is_ok());
        assert!(h2(&[("host", "api")]).is_ok());
        assert_eq!(malformed(h2(&[("host", "other")])), Some(Malformed::TargetForm));
        let bare = check("GET", "/a", Version::HTTP_2, &[]);
        assert_eq!(malformed(bare), Some(Malformed::Host));
    }

    #[test]
    fn methods_that_change_the_protocol_are_refused() {
        let host = [("host", "api")];
        for method in ["CONNECT", "TRACE"] {
            let result = check(method, "/a", Version::HTTP_11, &host);
            assert_eq!(malformed(result), Some(Malformed::Method));
        }
        assert!(check("GET", "*", Version::HTTP_11, &host).is_err());
    }

    #[test]
    fn each_limit_holds_at_its_edge() {
        let limits = limits();
        let over = |result: Result<(), Rejection>| match result {
            Err(Rejection::OverLimit(bound)) => Some(bound),
            _ => None,
        };
        let host = ("host", "api");
        let at = format!("/{}", "a".repeat(limits.target_bytes - 1));
        assert!(check("GET", &at, Version::HTTP_11, &[host]).is_ok());
        let above = check("GET", &format!("{at}a"), Version::HTTP_11, &[host]);
        assert_eq!(over(above), Some(Bound::Target(limits.target_bytes)));

        let fill = "v".repeat(limits.header_bytes - "hostapix-a".len());
        assert!(check("GET", "/", Version::HTTP_11, &[host, ("x-a", &fill)]).is_ok());
        let above = check("GET", "/", Version::HTTP_11, &[host, ("x-a", &format!("{fill}v"))]);
        assert_eq!(over(above), Some(Bound::HeaderBytes(limits.header_bytes)));

        let most = limits.body_bytes.unwrap();
        let length = |bytes: u64| bytes.to_string();
        assert!(
            check("PUT", "/", Version::HTTP_11, &[host, ("content-length", &length(most))]).is_ok()
        );
        let above =
            check("PUT", "/", Version::HTTP_11, &[host, ("content-length", &length(most + 1))]);
        assert_eq!(over(above), Some(Bound::Body(most)));

        let many = vec![("x-a", ""); limits.header_count];
        let above = check("GET", "/", Version::HTTP_11, &[&[host][..], &many].concat());
        assert_eq!(over(above), Some(Bound::HeaderCount(limits.header_count)));
        let fits = check("GET", "/", Version::HTTP_11, &[&[host][..], &many[1..]].concat());
        assert!(fits.is_ok());
    }

    #[test]
    fn two_authorizations_are_one_too_many_also_when_equal() {
        let headers = [("host", "a"), ("authorization", "Bearer x"), ("authorization", "Bearer x")];
        let result = check("GET", "/", Version::HTTP_11, &headers);
        assert_eq!(malformed(result), Some(Malformed::SeveralAuthorizations));
    }

    proptest::proptest! {
        #[test]
        fn what_is_seen_at_a_glance_is_an_authority(text in "[a-zA-Z0-9.-]{0,8}(:[0-9a]{0,6})?") {
            if is_usual_authority(&text) {
                let read: Authority = text.parse().unwrap();
                proptest::prop_assert_eq!(read.as_str(), &text);
                proptest::prop_assert!(!read.host().is_empty());
            }
        }
    }

    #[test]
    fn a_usual_host_is_seen_at_a_glance_and_another_is_read() {
        for usual in ["api", "api.example.no:8443", "127.0.0.1:1"] {
            assert!(is_usual_authority(usual), "{usual}");
        }
        for other in ["", ":80", "a:", "a:b", "a:1:2", "[::1]:80", "a_b", "u@a", "a:123456"] {
            assert!(!is_usual_authority(other), "{other}");
        }
    }
}
