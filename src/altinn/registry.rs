//! The resource registry as Altinn writes it: metadata, the feed of changes, access lists. Pure.
//!
//! Source: contract resource-registry.md §2, §5.2, §6. Whole answers only; a page is read strictly.

use super::lean::Unreadable;
use super::wire::member;
use crate::domain::json::Json;
use crate::domain::party::{CheckDigits, OrgNumber};
use crate::domain::resource::{ActionId, ResourceId};
use reqwest::Url;
use std::collections::BTreeSet;

/// Largest answer of the registry, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Longest token of a page: it has to fit into an address.
const MAX_TOKEN_BYTES: usize = 2048;
const ORGANIZATION: &str = "urn:altinn:organization:identifier-no";

fn parse(bytes: &[u8]) -> Result<Json, Unreadable> {
    if bytes.len() > MAX_ANSWER_BYTES {
        return Err(Unreadable);
    }
    Json::parse(bytes).map_err(|_| Unreadable)
}

fn text<'j>(json: &'j Json, name: &str) -> Result<&'j str, Unreadable> {
    let member = member(json, name).map_err(|_| Unreadable)?;
    member.and_then(Json::as_str).ok_or(Unreadable)
}

/// Reads a resource's metadata: whether the party must stand on an access list.
///
/// # Errors
/// `Unreadable` for anything but the metadata of `id`, and for an access-list mode that is not known.
pub fn read_metadata(bytes: &[u8], id: &ResourceId) -> Result<bool, Unreadable> {
    let metadata = parse(bytes)?;
    if text(&metadata, "identifier")? != id.as_str() {
        return Err(Unreadable);
    }
    match text(&metadata, "accessListMode")? {
        "Enabled" => Ok(true),
        "Disabled" => Ok(false),
        _ => Err(Unreadable),
    }
}

/// What a resource's metadata say about who may hold it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// `resourceType`, as written.
    pub resource_type: String,
    /// `delegable`: whether it can be given as a single right.
    pub delegable: bool,
}

/// Reads what a resource's metadata say about who may hold it.
///
/// # Errors
/// `Unreadable` for anything but the metadata of `id`.
pub fn read_facts(bytes: &[u8], id: &ResourceId) -> Result<Facts, Unreadable> {
    let metadata = parse(bytes)?;
    if text(&metadata, "identifier")? != id.as_str() {
        return Err(Unreadable);
    }
    let delegable = member(&metadata, "delegable").map_err(|_| Unreadable)?;
    Ok(Facts {
        resource_type: text(&metadata, "resourceType")?.to_owned(),
        // Members that are null are left out; Altinn's own default is true.
        delegable: delegable != Some(&Json::Bool(false)),
    })
}

/// One page of something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T> {
    /// What stands on it.
    pub items: Vec<T>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

fn read_page<T>(
    bytes: &[u8],
    item: impl Fn(&Json) -> Result<T, Unreadable>,
) -> Result<Page<T>, Unreadable> {
    let page = parse(bytes)?;
    let member = |json, name| member(json, name).map_err(|_| Unreadable);
    let items = member(&page, "data")?.and_then(Json::as_array).ok_or(Unreadable)?;
    let links = member(&page, "links")?;
    let next = links.map(|links| member(links, "next")).transpose()?.flatten();
    let next = next.map(|next| next.as_str().and_then(token).ok_or(Unreadable)).transpose()?;
    Ok(Page { items: items.iter().map(item).collect::<Result<_, _>>()?, next })
}

/// The token in the address of the next page. Its host may be one that only Altinn can reach, or worse:
/// nothing of the address but the token is used.
fn token(next: &str) -> Option<String> {
    // The host is of no interest; an address without one is as good.
    let base = Url::parse("http://registry.invalid/").ok()?;
    let url = base.join(next).ok()?;
    let mut tokens = url.query_pairs().filter(|(name, _)| name == "token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) if (1..=MAX_TOKEN_BYTES).contains(&token.len()) => {
            Some(token.into_owned())
        }
        _ => None,
    }
}

/// Reads one page of the feed of changes: resource and time of its latest change.
///
/// # Errors
/// `Unreadable` for anything but a page.
pub fn read_changes(bytes: &[u8]) -> Result<Page<(String, String)>, Unreadable> {
    read_page(bytes, |change| {
        Ok((text(change, "resourceId")?.to_owned(), text(change, "changedAt")?.to_owned()))
    })
}

/// Reads one page of access lists: their identifiers, fit for a path.
///
/// # Errors
/// `Unreadable` for anything but a page.
pub fn read_lists(bytes: &[u8]) -> Result<Page<String>, Unreadable> {
    read_page(bytes, |list| {
        let id = text(list, "identifier")?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = (1..=256).contains(&id.len()) && id.bytes().all(allowed);
        if fits && !id.trim_matches('.').is_empty() { Ok(id.to_owned()) } else { Err(Unreadable) }
    })
}

/// Reads one page of a list's members: organisations; what has no valid organisation number is left out,
/// for no request can name it.
///
/// # Errors
/// `Unreadable` for anything but a page.
pub fn read_members(
    bytes: &[u8],
    check: CheckDigits,
) -> Result<Page<Option<OrgNumber>>, Unreadable> {
    read_page(bytes, |entry| {
        let identifiers =
            member(entry, "identifiers").map_err(|_| Unreadable)?.ok_or(Unreadable)?;
        let urn = member(identifiers, ORGANIZATION).map_err(|_| Unreadable)?;
        let Some(urn) = urn else { return Ok(None) };
        let number =
            urn.as_str().and_then(|urn| urn.strip_prefix(ORGANIZATION)).ok_or(Unreadable)?;
        let number = number.strip_prefix(':').ok_or(Unreadable)?;
        Ok(OrgNumber::parse(number, check).ok())
    })
}

/// A resource that a list is connected to, and the actions that it then covers; `None` for all.
pub type Connection = (ResourceId, Option<BTreeSet<ActionId>>);

/// Reads one page of a list's connections; `None` for a resource that no route can name.
///
/// # Errors
/// `Unreadable` for anything but a page.
pub fn read_connections(bytes: &[u8]) -> Result<Page<Option<Connection>>, Unreadable> {
    read_page(bytes, |connection| {
        let resource = text(connection, "resourceIdentifier")?.parse().ok();
        let filters = member(connection, "actionFilters").map_err(|_| Unreadable)?;
        let filters = filters.map(|it| it.as_array().ok_or(Unreadable)).transpose()?;
        let filters = filters.filter(|filters| !filters.is_empty());
        // An action that no route can name covers nothing, but does not widen the filter either.
        let action =
            |filter: &Json| Ok(filter.as_str().ok_or(Unreadable)?.parse::<ActionId>().ok());
        let actions = filters
            .map(|filters| filters.iter().filter_map(|it| action(it).transpose()).collect())
            .transpose()?;
        Ok(resource.map(|resource| (resource, actions)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn id() -> ResourceId {
        "ske-mva-melding".parse().unwrap()
    }

    fn bytes(value: &Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    #[test]
    fn metadata_are_those_of_the_resource_asked_for() {
        let metadata = |mode: Value| json!({ "identifier": "ske-mva-melding", "accessListMode": mode, "versionId": 42 });
        assert_eq!(read_metadata(&bytes(&metadata(json!("Enabled"))), &id()), Ok(true));
        assert_eq!(read_metadata(&bytes(&metadata(json!("Disabled"))), &id()), Ok(false));
        for refused in [
            metadata(json!("enabled")),
            metadata(json!(null)),
            metadata(json!(true)),
            json!({ "identifier": "ske-mva-melding" }),
            json!({ "identifier": "Ske-mva-melding", "accessListMode": "Disabled" }),
            json!({ "identifier": "ske-arkiv", "accessListMode": "Disabled" }),
            json!({ "accessListMode": "Disabled" }),
            json!([metadata(json!("Disabled"))]),
        ] {
            assert_eq!(read_metadata(&bytes(&refused), &id()), Err(Unreadable), "{refused}");
        }
        let twice = r#"{"identifier":"ske-mva-melding","accessListMode":"Enabled","accessListMode":"Disabled"}"#;
        assert_eq!(read_metadata(twice.as_bytes(), &id()), Err(Unreadable));
    }

    #[test]
    fn of_the_address_of_the_next_page_the_token_counts_and_nothing_else() {
        let page = |next: Value| bytes(&json!({ "links": { "next": next }, "data": [] }));
        let next = |next: Value| read_changes(&page(next)).map(|page| page.next);
        let evil =
            "https://evil.example/resourceregistry/api/v1/resource/changes?limit=1&token=NDI";
        assert_eq!(next(json!(evil)), Ok(Some("NDI".into())));
        assert_eq!(next(json!("/x?token=a%2Bb%3D")), Ok(Some("a+b=".into())));
        assert_eq!(next(json!(null)), Ok(None));
        for refused in
            ["", "https://a/b", "https://a/?token=", "/?token=a&token=b", "http://[", "/?Token=a"]
        {
            assert_eq!(next(json!(refused)), Err(Unreadable), "{refused}");
        }
        assert_eq!(next(json!(7)), Err(Unreadable));
        let long = |length| format!("/?token={}", "a".repeat(length));
        assert!(next(json!(long(MAX_TOKEN_BYTES))).is_ok());
        assert_eq!(next(json!(long(MAX_TOKEN_BYTES + 1))), Err(Unreadable));
        let bare = |text: &str| read_changes(text.as_bytes()).map(|page| page.next);
        assert_eq!(bare(r#"{"data":[]}"#), Ok(None));
        assert_eq!(bare(r#"{"links":{},"data":[]}"#), Ok(None));
        for text in [r#"{"links":[],"data":[]}"#, r#"{"links":{}}"#, r#"{"data":null}"#, "[]"] {
            assert_eq!(bare(text), Err(Unreadable), "{text}");
        }
    }

    #[test]
    fn changes_lists_members_and_connections_are_read_as_the_contract_has_them() {
        let page = |item: Value| bytes(&json!({ "links": {}, "data": [item] }));
        let change = json!({ "resourceId": "a", "changedAt": "2026-02-01T10:00:00.123456+00:00" });
        let expected = ("a".to_owned(), "2026-02-01T10:00:00.123456+00:00".to_owned());
        assert_eq!(read_changes(&page(change)).unwrap().items, [expected]);
        assert_eq!(read_changes(&page(json!({ "resourceId": "a" }))), Err(Unreadable));

        assert_eq!(read_lists(&page(json!({ "identifier": "a-1" }))).unwrap().items, ["a-1"]);
        for id in ["", ".", "..", "a/b", "a b", "a%2fb", "é"] {
            assert_eq!(read_lists(&page(json!({ "identifier": id }))), Err(Unreadable), "{id}");
        }

        let member = |number: Value| {
            page(json!({ "id": "urn:altinn:party:uuid:1", "since": "2026",
            "identifiers": { "urn:altinn:party:id": "urn:altinn:party:id:1", ORGANIZATION: number } }))
        };
        let members = |number| read_members(&member(number), CheckDigits::Required);
        let valid = json!("urn:altinn:organization:identifier-no:310000027");
        assert_eq!(members(valid).unwrap().items, ["310000027".parse().ok()]);
        let invalid = json!("urn:altinn:organization:identifier-no:310000028");
        assert_eq!(members(invalid).unwrap().items, [None]);
        assert_eq!(members(json!(null)).unwrap().items, [None]);
        assert_eq!(members(json!("310000027")), Err(Unreadable));
        assert_eq!(
            read_members(&page(json!({ "id": "x" })), CheckDigits::Required),
            Err(Unreadable)
        );

        let connection = |filters: Value| {
            read_connections(&page(
                json!({ "resourceIdentifier": "ske-arkiv", "actionFilters": filters }),
            ))
        };
        let covers =
            |filters: Value| connection(filters).map(|page| page.items[0].clone().unwrap().1);
        let actions =
            |actions: &[&str]| Some(actions.iter().map(|it| it.parse().unwrap()).collect());
        assert_eq!(covers(json!(null)), Ok(None));
        assert_eq!(covers(json!([])), Ok(None));
        assert_eq!(covers(json!(["read", "write"])), Ok(actions(&["read", "write"])));
        assert_eq!(covers(json!(["read", "å lese"])), Ok(actions(&["read"])));
        assert_eq!(covers(json!(["å lese"])), Ok(actions(&[])), "covers nothing, not everything");
        assert_eq!(connection(json!("read")), Err(Unreadable));
        assert_eq!(connection(json!([null])), Err(Unreadable));
        let unknown = read_connections(&page(json!({ "resourceIdentifier": "X" })));
        assert_eq!(unknown.unwrap().items, [None]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_page_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_changes(&bytes), read_lists(&bytes), read_connections(&bytes));
            let _ = (read_members(&bytes, CheckDigits::Required), read_metadata(&bytes, &id()));
        }
    }
}
