//! Step 5: whom the request concerns.
//!
//! Takes [`Scoped`], gives [`Concerned`]. The party is read from every source that the route names;
//! those that are there must agree, and whatever an upstream might read as another party refuses the
//! request. Source: design §2, threats 33–35, 40–41.

use super::facts::{BodyError, BodyReader, Facts};
use super::fields::{self, FieldError, fold_case};
use super::rejection::{Bound, Malformed, Rejection};
use super::route::Routed;
use super::scope::Scoped;
use crate::config::{Freshness, LimitConfig, PartyConfig, RightConfig};
use crate::domain::claims::SystemUserClaims;
use crate::domain::json::Json;
use crate::domain::party::{CheckDigits, OrgNumber, Party};
use crate::domain::resource::{InstanceId, Right};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;
use std::sync::Arc;

/// A request, the party it concerns and the right it needs.
#[derive(Debug)]
pub struct Concerned<'r> {
    pub(super) scoped: Scoped<'r>,
    pub(super) system_user: Arc<SystemUserClaims>,
    pub(super) party: Party,
    pub(super) right: Right,
    pub(super) instance: Option<InstanceId>,
    pub(super) freshness: Freshness,
}

/// Where a party was looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PartySource {
    /// A path variable.
    Path,
    /// A query parameter.
    Query,
    /// A header field.
    Header,
    /// A place in a JSON body.
    Json,
    /// A field of a form body.
    Form,
}

impl PartySource {
    fn label(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Json => "JSON body",
            Self::Form => "form body",
        }
    }
}

/// Why the party cannot be told for certain. Holds no part of the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PartyError {
    /// No source has it.
    #[error("the request names no party")]
    Missing,
    /// It is no organisation number, or a number that this route does not take.
    #[error("the party in the {} is not a number that this route takes", .0.label())]
    Invalid(PartySource),
    /// It stands more than once, or something that may be read as it stands beside it.
    #[error("the party in the {} can be read in two ways", .0.label())]
    Ambiguous(PartySource),
    /// Two sources name different parties.
    #[error("two places of the request name different parties")]
    Conflict,
    /// The body's media type is not the one that the route reads.
    #[error("the body is not of the media type that this route reads")]
    MediaType,
    /// The body is compressed or encoded.
    #[error("the body is encoded; this route reads plain bodies only")]
    Encoding,
    /// The body is no strict JSON, or no form.
    #[error("the body cannot be read")]
    Body,
    /// The party may be named in the body, and the proxy that asks keeps it.
    #[error("the body may name the party, and it is not shown to the one who judges")]
    BodyUnseen,
    /// The instance in the path is none.
    #[error("the instance in the path is not an instance id")]
    Instance,
}

impl PartyError {
    /// The stable label in problems, metrics and audit records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "party_missing",
            Self::Invalid(_) => "party_invalid",
            Self::Ambiguous(_) => "party_ambiguous",
            Self::Conflict => "party_conflict",
            Self::MediaType => "media_type",
            Self::Encoding => "content_encoding",
            Self::Body => "body",
            Self::BodyUnseen => "body_unseen",
            Self::Instance => "instance",
        }
    }
}

/// Finds the party.
///
/// # Errors
/// [`Rejection::NoSystemUser`], [`Rejection::Party`], and those of a body that cannot be read.
pub async fn party<'r>(
    scoped: Scoped<'r>,
    config: &RightConfig,
    limits: &LimitConfig,
    check_digits: CheckDigits,
    body: &mut dyn BodyReader,
) -> Result<Concerned<'r>, Rejection> {
    let claims = &scoped.authenticated.token.claims;
    let system_user = claims.system_user.clone().ok_or(Rejection::NoSystemUser)?;
    let routed = &scoped.authenticated.routed;
    let read = PartyReader { config: &config.party, check_digits };
    let mut found = read.in_head(routed)?;
    if config.party.token_owner {
        found.push(Party::Organization(system_user.owner.0));
    }
    found.extend(read.in_body(routed.admitted.facts, limits, body).await?);
    let party = agreed(&found)?;
    let instance = instance(routed, config)?;
    let freshness = config.freshness(routed.admitted.facts.method);
    let right = config.right.clone();
    Ok(Concerned { scoped, system_user, party, right, instance, freshness })
}

fn agreed(found: &[Party]) -> Result<Party, PartyError> {
    let (first, others) = found.split_first().ok_or(PartyError::Missing)?;
    if others.iter().all(|other| other == first) { Ok(*first) } else { Err(PartyError::Conflict) }
}

fn instance(routed: &Routed<'_>, config: &RightConfig) -> Result<Option<InstanceId>, PartyError> {
    let Some(name) = &config.instance else { return Ok(None) };
    let text = routed.variable(name).ok_or(PartyError::Instance)?;
    text.parse().map(Some).map_err(|_| PartyError::Instance)
}

struct PartyReader<'c> {
    config: &'c PartyConfig,
    check_digits: CheckDigits,
}

impl PartyReader<'_> {
    fn parse(&self, text: &str, source: PartySource) -> Result<Party, PartyError> {
        if let Ok(number) = OrgNumber::parse(text, self.check_digits) {
            return Ok(Party::Organization(number));
        }
        match text.parse() {
            Ok(number) if self.config.persons => Ok(Party::Person(number)),
            _ => Err(PartyError::Invalid(source)),
        }
    }

    fn in_head(&self, routed: &Routed<'_>) -> Result<SmallVec<[Party; 4]>, PartyError> {
        let facts = routed.admitted.facts;
        let mut found = SmallVec::new();
        if let Some(name) = &self.config.path {
            let text = routed.variable(name).ok_or(PartyError::Missing)?;
            found.push(self.parse(text, PartySource::Path)?);
        }
        let query = facts.uri.query().unwrap_or_default();
        found.extend(self.in_pairs(query, PartySource::Query)?);
        if let Some(name) = &self.config.header
            && let Some(text) = header_value(facts.headers, name)?
        {
            found.push(self.parse(text, PartySource::Header)?);
        }
        Ok(found)
    }

    /// The party under any of the configured names. Frameworks pour path variables, query and form into
    /// one bag, each with its own idea of which one wins; so a name of one source must not say something
    /// else in another.
    fn in_pairs(&self, pairs: &str, source: PartySource) -> Result<Vec<Party>, PartyError> {
        let names = [&self.config.path, &self.config.query, &self.config.form];
        let mut found = Vec::new();
        for name in names.into_iter().flatten() {
            let value = fields::single(pairs, name).map_err(|error| match error {
                FieldError::Ambiguous => PartyError::Ambiguous(source),
                FieldError::Unreadable => PartyError::Invalid(source),
            })?;
            found.extend(value.map(|text| self.parse(text, source)).transpose()?);
        }
        Ok(found)
    }

    async fn in_body(
        &self,
        facts: Facts<'_>,
        limits: &LimitConfig,
        body: &mut dyn BodyReader,
    ) -> Result<Vec<Party>, Rejection> {
        let wanted = match (&self.config.json, &self.config.form) {
            (Some(pointer), _) => Wanted::Json(pointer),
            (None, Some(_)) => Wanted::Form,
            // Not a source, but a form may name the party all the same.
            (None, None) if self.may_be_in_form(facts.headers)? => Wanted::Form,
            (None, None) => return Ok(Vec::new()),
        };
        // Without a media type there must be nothing to read: a GET of a route that also takes a PUT.
        let untyped = !facts.headers.contains_key(header::CONTENT_TYPE);
        if !untyped {
            check_media_type(facts.headers, wanted)?;
        }
        let bytes = read_body(limits.party_body_bytes, body).await?;
        if untyped {
            return if bytes.is_empty() {
                Ok(Vec::new())
            } else {
                Err(PartyError::MediaType.into())
            };
        }
        Ok(match wanted {
            Wanted::Json(pointer) => self.in_json(&bytes, pointer)?.into_iter().collect(),
            Wanted::Form => {
                let pairs = std::str::from_utf8(&bytes).map_err(|_| PartyError::Body)?;
                self.in_pairs(pairs, PartySource::Form)?
            }
        })
    }

    /// Whether a body that is no source must be looked into: a form, where path or query name the party.
    /// A multipart form is not read; beside a query it is refused, since the two are one bag to many.
    fn may_be_in_form(&self, headers: &HeaderMap) -> Result<bool, PartyError> {
        if self.config.path.is_none() && self.config.query.is_none() {
            return Ok(false);
        }
        let says = |kind: &str| {
            headers.get_all(header::CONTENT_TYPE).iter().any(|value| {
                String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase().contains(kind)
            })
        };
        if self.config.query.is_some() && says("multipart/form-data") {
            return Err(PartyError::MediaType);
        }
        Ok(says("application/x-www-form-urlencoded"))
    }

    fn in_json(&self, bytes: &[u8], pointer: &str) -> Result<Option<Party>, PartyError> {
        let document = Json::parse(bytes).map_err(|_| PartyError::Body)?;
        match at_pointer(&document, pointer)? {
            None => Ok(None),
            Some(Json::String(text)) => self.parse(text, PartySource::Json).map(Some),
            // A number has other spellings (1e8, 310000027.0) that readers treat differently.
            Some(_) => Err(PartyError::Invalid(PartySource::Json)),
        }
    }
}

/// How a body is read.
#[derive(Clone, Copy)]
enum Wanted<'c> {
    /// As JSON, at this pointer.
    Json(&'c str),
    /// As a form.
    Form,
}

async fn read_body(limit: usize, body: &mut dyn BodyReader) -> Result<Bytes, Rejection> {
    body.read(limit).await.map_err(|error| match error {
        BodyError::TooLong => {
            Rejection::OverLimit(Bound::Body(u64::try_from(limit).unwrap_or(u64::MAX)))
        }
        BodyError::Broken => Rejection::Malformed(Malformed::Body),
        BodyError::TimedOut => Rejection::RequestTimeout,
        BodyError::Unseen => Rejection::Party(PartyError::BodyUnseen),
    })
}

/// The one value of the header `name`; none of the names that some server maps to it may be there.
fn header_value<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, PartyError> {
    const AMBIGUOUS: PartyError = PartyError::Ambiguous(PartySource::Header);
    if headers.keys().any(|other| other != name && folds_alike(other, name)) {
        return Err(AMBIGUOUS);
    }
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(AMBIGUOUS);
    }
    value.to_str().map(Some).map_err(|_| PartyError::Invalid(PartySource::Header))
}

/// Whether a server that makes variables of header fields makes the same of both.
fn folds_alike(one: &HeaderName, other: &HeaderName) -> bool {
    let folded = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'_' };
    let (one, other) = (one.as_str(), other.as_str());
    one.len() == other.len() && one.bytes().map(folded).eq(other.bytes().map(folded))
}

/// The media type must be the one that is read here, in UTF-8 and not encoded: an upstream that reads
/// by the header would else see another document.
fn check_media_type(headers: &HeaderMap, read_as: Wanted<'_>) -> Result<(), PartyError> {
    let encoded = headers.get_all(header::CONTENT_ENCODING).iter().any(|value| value != "identity");
    if encoded {
        return Err(PartyError::Encoding);
    }
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(PartyError::MediaType);
    };
    let text = value.to_str().map_err(|_| PartyError::MediaType)?.to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let wanted = match read_as {
        Wanted::Json(_) => {
            essence == "application/json"
                || (essence.starts_with("application/") && essence.ends_with("+json"))
        }
        Wanted::Form => essence == "application/x-www-form-urlencoded",
    };
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
        _ => !parameter.starts_with("charset"),
    });
    if wanted && utf8 { Ok(()) } else { Err(PartyError::MediaType) }
}

/// Follows a JSON pointer (RFC 6901). A sibling whose name differs only in case is refused, since many
/// readers ignore case.
fn at_pointer<'j>(document: &'j Json, pointer: &str) -> Result<Option<&'j Json>, PartyError> {
    let mut value = document;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let next = match value {
            Json::Object(members) => {
                let wanted = fold_case(&token);
                let same = |name: &str| fold_case(name) == wanted;
                if members.iter().any(|(name, _)| *name != token && same(name)) {
                    return Err(PartyError::Ambiguous(PartySource::Json));
                }
                value.member(&token)
            }
            Json::Array(elements) => index(&token).and_then(|place| elements.get(place)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
        };
        let Some(next) = next else { return Ok(None) };
        value = next;
    }
    Ok(Some(value))
}

/// RFC 6901 §4: no leading zeros.
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with(['0', '+']);
    plain.then(|| token.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const READER: PartyReader<'static> = PartyReader {
        config: &PartyConfig {
            path: None,
            query: None,
            header: None,
            json: None,
            form: None,
            token_owner: false,
            persons: false,
        },
        check_digits: CheckDigits::Required,
    };

    fn party(text: &str) -> Party {
        Party::Organization(text.parse().unwrap())
    }

    #[test]
    fn sources_that_are_there_must_agree() {
        let (a, b) = (party("310000027"), party("310000035"));
        assert_eq!(agreed(&[a]), Ok(a));
        assert_eq!(agreed(&[a, a, a]), Ok(a));
        assert_eq!(agreed(&[a, b]), Err(PartyError::Conflict));
        assert_eq!(agreed(&[]), Err(PartyError::Missing));
    }

    #[test]
    fn a_person_is_a_party_only_where_the_route_says_so() {
        let persons = PartyConfig { persons: true, ..PartyConfig::default() };
        let open = PartyReader { config: &persons, check_digits: CheckDigits::Required };
        assert!(matches!(open.parse("01010750160", PartySource::Path), Ok(Party::Person(_))));
        let closed = READER.parse("01010750160", PartySource::Path);
        assert_eq!(closed, Err(PartyError::Invalid(PartySource::Path)));
    }

    #[test]
    fn a_json_body_names_the_party_in_one_way() {
        let read = |text: &str| READER.in_json(text.as_bytes(), "/data/0/party");
        let json = PartySource::Json;
        assert_eq!(read(r#"{"data":[{"party":"310000027"}]}"#), Ok(Some(party("310000027"))));
        assert_eq!(read(r#"{"data":[]}"#), Ok(None));
        assert_eq!(read(r#"{"data":[{"party":310000027}]}"#), Err(PartyError::Invalid(json)));
        assert_eq!(read(r#"{"data":[{"party":null}]}"#), Err(PartyError::Invalid(json)));
        assert_eq!(
            read(r#"{"data":[{"party":"310000027","Party":"310000035"}]}"#),
            Err(PartyError::Ambiguous(json))
        );
        assert_eq!(
            read(r#"{"DATA":[],"data":[{"party":"310000027"}]}"#),
            Err(PartyError::Ambiguous(json))
        );
        assert_eq!(
            read(r#"{"data":[{"party":"310000027","party":"310000027"}]}"#),
            Err(PartyError::Body)
        );
        assert_eq!(read("{"), Err(PartyError::Body));
    }

    #[test]
    fn a_pointer_is_followed_by_the_book() {
        let document = Json::parse(br#"{"a/b":{"m~n":["x","y"]}}"#).unwrap();
        let found = |pointer| at_pointer(&document, pointer).unwrap().and_then(Json::as_str);
        assert_eq!(found("/a~1b/m~0n/1"), Some("y"));
        for pointer in ["/a~1b/m~0n/2", "/a~1b/m~0n/01", "/a~1b/m~0n/+1", "/a~1b/m~0n/-", "/x"] {
            assert_eq!(found(pointer), None, "{pointer}");
        }
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_header_stands_once_and_under_no_other_name() {
        let name = HeaderName::from_static("x-party-org");
        let read = |list: &[(&'static str, &'static str)]| {
            header_value(&headers(list), &name).map(|value| value.map(str::to_owned))
        };
        let ambiguous = Err(PartyError::Ambiguous(PartySource::Header));
        assert_eq!(read(&[("x-party-org", "1")]), Ok(Some("1".into())));
        assert_eq!(read(&[("x-party", "1")]), Ok(None));
        assert_eq!(read(&[("x-party-org", "1"), ("x-party-org", "1")]), ambiguous);
        assert_eq!(read(&[("x-party-org", "1"), ("x_party_org", "2")]), ambiguous);
        assert_eq!(read(&[("x-party-org", "1"), ("x-party_org", "2")]), ambiguous);
    }

    #[test]
    fn a_body_is_read_only_as_what_it_says_it_is() {
        let json = |list: &[(&'static str, &'static str)]| {
            check_media_type(&headers(list), Wanted::Json(""))
        };
        for good in [
            "application/json",
            "application/json; charset=UTF-8",
            "application/vnd.x+json",
            "APPLICATION/JSON;charset=\"utf-8\"",
        ] {
            assert_eq!(json(&[("content-type", good)]), Ok(()), "{good}");
        }
        for bad in
            ["text/plain", "application/json; charset=utf-16", "application/xml", "text/x+json", ""]
        {
            assert_eq!(json(&[("content-type", bad)]), Err(PartyError::MediaType), "{bad}");
        }
        assert_eq!(json(&[]), Err(PartyError::MediaType));
        let twice = [("content-type", "application/json"), ("content-type", "application/json")];
        assert_eq!(json(&twice), Err(PartyError::MediaType));
        let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
        assert_eq!(json(&gzip), Err(PartyError::Encoding));
        let form = headers(&[("content-type", "application/x-www-form-urlencoded")]);
        assert_eq!(check_media_type(&form, Wanted::Form), Ok(()));
    }
}
