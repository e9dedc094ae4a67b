//! `authorization_details` of a grant (RFC 9396): exactly one system user.

use super::SYSTEM_USER_TYPE;
use super::error::TokenError;
use crate::world::number::OrgNumber;
use serde_json::{Map, Value};

/// Which system user a grant asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SystemUserDetail {
    pub(crate) owner: OrgNumber,
    pub(crate) external_ref: Option<String>,
}

/// Reads the claim.
pub(crate) fn parse(claim: &Value) -> Result<SystemUserDetail, TokenError> {
    let [detail] = claim.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(bad("authorization_details must be an array with one element"));
    };
    let members = detail.as_object().ok_or_else(|| bad("an element is not an object"))?;
    match members.get("type").and_then(Value::as_str) {
        Some(SYSTEM_USER_TYPE) => {}
        kind => {
            let kind = kind.unwrap_or("none");
            let text = format!("Unknown type in the authorization details: {kind}");
            return Err(TokenError::details("MP-301", text));
        }
    }
    only_known(members, &["type", "systemuser_org", "externalRef"])?;
    let owner = members.get("systemuser_org").and_then(Value::as_object);
    let owner = owner.ok_or_else(|| bad("systemuser_org is not an object"))?;
    only_known(owner, &["authority", "ID"])?;
    Ok(SystemUserDetail {
        owner: parse_owner(owner)?,
        external_ref: members.get("externalRef").map(parse_reference).transpose()?,
    })
}

fn parse_owner(owner: &Map<String, Value>) -> Result<OrgNumber, TokenError> {
    if owner.get("authority").and_then(Value::as_str) != Some("iso6523-actorid-upis") {
        return Err(bad("systemuser_org.authority is not iso6523-actorid-upis"));
    }
    owner
        .get("ID")
        .and_then(Value::as_str)
        .and_then(|id| OrgNumber::parse_iso6523(id).ok())
        .ok_or_else(|| bad("systemuser_org.ID is not 0192: and an organisation number"))
}

fn parse_reference(value: &Value) -> Result<String, TokenError> {
    let allowed = |character: char| character.is_alphanumeric() || "_-".contains(character);
    value
        .as_str()
        .filter(|text| text.chars().count() <= 255 && text.chars().all(allowed))
        .map(str::to_owned)
        .ok_or_else(|| bad("externalRef has other than 255 letters, digits, _ and -"))
}

fn only_known(members: &Map<String, Value>, known: &[&str]) -> Result<(), TokenError> {
    let unknown: Vec<&str> =
        members.keys().map(String::as_str).filter(|name| !known.contains(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let text = format!("Unknown fields in the authorization details: {}", unknown.join(", "));
    Err(TokenError::details("MP-302", text))
}

fn bad(text: &str) -> TokenError {
    TokenError::details("MP-303", text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn detail() -> Value {
        json!({
            "type": "urn:altinn:systemuser",
            "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:310000604" },
            "externalRef": "lager-1_æ",
        })
    }

    fn number_after(change: impl FnOnce(&mut Value)) -> Option<&'static str> {
        let mut detail = detail();
        change(&mut detail);
        parse(&json!([detail])).err().and_then(|error| error.number())
    }

    #[test]
    fn a_good_detail_is_read() {
        let read = parse(&json!([detail()])).unwrap();
        assert_eq!(read.owner.as_str(), "310000604");
        assert_eq!(read.external_ref.as_deref(), Some("lager-1_æ"));
    }

    #[test]
    fn each_kind_of_mistake_has_its_number() {
        assert_eq!(number_after(|it| it["type"] = json!("urn:altinn:consent")), Some("MP-301"));
        assert_eq!(number_after(|it| it["externalref"] = json!("x")), Some("MP-302"));
        assert_eq!(number_after(|it| it["systemuser_org"]["id"] = json!("x")), Some("MP-302"));
        assert_eq!(number_after(|it| it["externalRef"] = json!("a b")), Some("MP-303"));
        assert_eq!(number_after(|it| it["externalRef"] = json!("a".repeat(256))), Some("MP-303"));
        assert_eq!(
            number_after(|it| it["systemuser_org"]["ID"] = json!("310000604")),
            Some("MP-303")
        );
        assert_eq!(
            number_after(|it| it["systemuser_org"]["authority"] = json!("x")),
            Some("MP-303")
        );
    }

    #[test]
    fn exactly_one_element_is_taken() {
        for claim in [json!([]), json!([detail(), detail()]), detail()] {
            assert_eq!(parse(&claim).err().and_then(|error| error.number()), Some("MP-303"));
        }
    }
}
