//! Claims of a verified token, read strictly (RFC 7519, RFC 9396; contract maskinporten.md §4–§5).
//!
//! A claim of the wrong type is an error and never the same as an absent one.

use super::json::Json;
use super::party::{CheckDigits, OrgNumber};
use super::scope::GrantedScopes;
use super::system_user::{ClientId, Consumer, Owner, Supplier, SystemId, SystemUserId};
use super::time::UnixTime;
use std::sync::Arc;
use std::time::Duration;

/// What an access token from Maskinporten says, once its signature, issuer and times are verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// When the token ends.
    pub expires: UnixTime,
    /// The scopes it was given.
    pub scopes: GrantedScopes,
    /// The organisation it was issued to.
    pub consumer: Consumer,
    /// The organisation that holds the client, when a scope was delegated.
    pub supplier: Option<Supplier>,
    /// The client, for audit.
    pub client_id: Option<ClientId>,
    /// The system user it acts as, if it is a system-user token.
    pub system_user: Option<Arc<SystemUserClaims>>,
}

/// The one `urn:altinn:systemuser` entry of `authorization_details`.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemUserClaims {
    /// The system users named, in order; at least one, at most as many as the rules allow.
    pub ids: Vec<SystemUserId>,
    /// The vendor's system.
    pub system: SystemId,
    /// The organisation that owns the system user.
    pub owner: Owner,
}

/// What a token must meet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimRules {
    /// The issuer, byte for byte.
    pub issuer: String,
    /// The audience, where the service is audience-restricted.
    pub audience: Option<String>,
    /// Difference of clocks that is tolerated.
    pub leeway: Duration,
    /// Most system-user ids in one token; each may cost a question to Altinn.
    pub max_system_users: usize,
    /// Whether a supplier beside a system user is accepted. Undocumented by Maskinporten.
    pub accept_supplier: bool,
    /// Whether check digits of organisation numbers must be right.
    pub check_digits: CheckDigits,
}

/// Why claims are refused. Holds claim names, never their values.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// The payload is no JSON object.
    #[error("the payload is not a JSON object")]
    NotAnObject,
    /// A claim that must be there is not.
    #[error("claim `{0}` is missing")]
    Missing(&'static str),
    /// A claim has the wrong type or form.
    #[error("claim `{0}` has the wrong type or form")]
    Malformed(&'static str),
    /// Another issuer.
    #[error("claim `iss` is not the configured issuer")]
    Issuer,
    /// Meant for another service.
    #[error("claim `aud` does not name this service")]
    Audience,
    /// Past its end.
    #[error("the token has expired")]
    Expired,
    /// Not valid yet.
    #[error("claim `{0}` lies in the future")]
    NotYet(&'static str),
    /// It ends before it was issued.
    #[error("claim `exp` lies before `iat`")]
    EndsBeforeIssued,
    /// More than one system-user entry.
    #[error("`authorization_details` has more than one system-user entry")]
    SeveralSystemUsers,
    /// More ids than the rules allow.
    #[error("`systemuser_id` lists too many ids")]
    TooManyIds,
    /// A supplier beside a system user.
    #[error("a system-user token with a `supplier` is not accepted here")]
    SupplierWithSystemUser,
}

impl Claims {
    /// Checks the payload of a token whose signature is verified, as of `now`.
    ///
    /// # Errors
    /// [`ClaimError`] for the first claim that does not meet `rules`.
    pub fn verify(payload: &Json, rules: &ClaimRules, now: UnixTime) -> Result<Self, ClaimError> {
        payload.members().ok_or(ClaimError::NotAnObject)?;
        check_issuer(payload, rules)?;
        let expires = check_times(payload, rules, now)?;
        check_audience(payload, rules)?;
        let claims = Self {
            expires,
            scopes: scopes(payload),
            consumer: Consumer(
                organisation(payload, "consumer", rules)?.ok_or(ClaimError::Missing("consumer"))?,
            ),
            supplier: organisation(payload, "supplier", rules)?.map(Supplier),
            client_id: client_id(payload)?,
            system_user: system_user(payload, rules)?.map(Arc::new),
        };
        if claims.supplier.is_some() && claims.system_user.is_some() && !rules.accept_supplier {
            return Err(ClaimError::SupplierWithSystemUser);
        }
        Ok(claims)
    }
}

/// `exp` with `leeway` is over at `now`. Also asked of cached tokens, on every request.
#[must_use]
pub fn has_expired(expires: UnixTime, leeway: Duration, now: UnixTime) -> bool {
    now >= expires.saturating_add(leeway)
}

fn check_issuer(payload: &Json, rules: &ClaimRules) -> Result<(), ClaimError> {
    let issuer = payload.member("iss").ok_or(ClaimError::Missing("iss"))?;
    let issuer = issuer.as_str().ok_or(ClaimError::Malformed("iss"))?;
    if issuer == rules.issuer { Ok(()) } else { Err(ClaimError::Issuer) }
}

fn check_times(payload: &Json, rules: &ClaimRules, now: UnixTime) -> Result<UnixTime, ClaimError> {
    let expires = numeric_date(payload, "exp")?.ok_or(ClaimError::Missing("exp"))?;
    let issued = numeric_date(payload, "iat")?.ok_or(ClaimError::Missing("iat"))?;
    let latest = now.saturating_add(rules.leeway);
    if has_expired(expires, rules.leeway, now) {
        return Err(ClaimError::Expired);
    }
    if issued > latest {
        return Err(ClaimError::NotYet("iat"));
    }
    if numeric_date(payload, "nbf")?.is_some_and(|not_before| not_before > latest) {
        return Err(ClaimError::NotYet("nbf"));
    }
    if expires < issued { Err(ClaimError::EndsBeforeIssued) } else { Ok(expires) }
}

/// 2^53. Beyond it a double has no whole seconds left to tell apart: no token carries such a time.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads seconds since the epoch; a fraction is cut off. `None` when absent.
fn numeric_date(payload: &Json, name: &'static str) -> Result<Option<UnixTime>, ClaimError> {
    let Some(value) = payload.member(name) else { return Ok(None) };
    let Json::Number(number) = value else { return Err(ClaimError::Malformed(name)) };
    if let Some(seconds) = number.as_i64() {
        return Ok(Some(UnixTime::from_seconds(seconds)));
    }
    let seconds = number.as_f64().filter(|seconds| seconds.abs() < EXACT);
    let seconds = seconds.ok_or(ClaimError::Malformed(name))?.trunc();
    format!("{seconds:.0}")
        .parse()
        .map(|seconds| Some(UnixTime::from_seconds(seconds)))
        .map_err(|_| ClaimError::Malformed(name))
}

fn check_audience(payload: &Json, rules: &ClaimRules) -> Result<(), ClaimError> {
    let named: Vec<&str> = match payload.member("aud") {
        None => Vec::new(),
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(list)) => list
            .iter()
            .map(|entry| entry.as_str().ok_or(ClaimError::Malformed("aud")))
            .collect::<Result<_, _>>()?,
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) => {
            return Err(ClaimError::Malformed("aud"));
        }
    };
    let accepted = match &rules.audience {
        Some(ours) => named.contains(&ours.as_str()),
        // Without a restriction Maskinporten writes no audience, or this literal; any other value
        // binds the token to somebody else.
        None => named.iter().all(|audience| *audience == "unspecified"),
    };
    if accepted { Ok(()) } else { Err(ClaimError::Audience) }
}

/// A `scope` of another type grants nothing: the answer is then `insufficient_scope`.
fn scopes(payload: &Json) -> GrantedScopes {
    payload
        .member("scope")
        .and_then(Json::as_str)
        .map(GrantedScopes::from_claim)
        .unwrap_or_default()
}

fn client_id(payload: &Json) -> Result<Option<ClientId>, ClaimError> {
    let Some(value) = payload.member("client_id") else { return Ok(None) };
    let text = value.as_str().ok_or(ClaimError::Malformed("client_id"))?;
    text.parse().map(Some).map_err(|_| ClaimError::Malformed("client_id"))
}

fn organisation(
    payload: &Json,
    name: &'static str,
    rules: &ClaimRules,
) -> Result<Option<OrgNumber>, ClaimError> {
    payload
        .member(name)
        .map(|value| iso6523(value, rules).ok_or(ClaimError::Malformed(name)))
        .transpose()
}

/// `{"authority": "iso6523-actorid-upis", "ID": "0192:nnnnnnnnn"}`; Altinn's example writes `id`.
fn iso6523(value: &Json, rules: &ClaimRules) -> Option<OrgNumber> {
    if value.member("authority")?.as_str()? != "iso6523-actorid-upis" {
        return None;
    }
    let spelt: Vec<&Json> = value
        .members()?
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("id"))
        .map(|(_, value)| value)
        .collect();
    // Both spellings at once name an organisation twice: nothing says which one counts.
    let [id] = spelt.as_slice() else { return None };
    OrgNumber::parse(id.as_str()?.strip_prefix("0192:")?, rules.check_digits).ok()
}

const SYSTEM_USER_TYPE: &str = "urn:altinn:systemuser";

fn system_user(payload: &Json, rules: &ClaimRules) -> Result<Option<SystemUserClaims>, ClaimError> {
    const NAME: &str = "authorization_details";
    let entries = match payload.member(NAME) {
        None => return Ok(None),
        Some(Json::Array(entries)) => entries.as_slice(),
        // Altinn's token exchange can flatten a list of one (contract maskinporten.md §7).
        Some(entry @ Json::Object(_)) => std::slice::from_ref(entry),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => {
            return Err(ClaimError::Malformed(NAME));
        }
    };
    let mut found = None;
    for entry in entries {
        let kind =
            entry.member("type").and_then(Json::as_str).ok_or(ClaimError::Malformed(NAME))?;
        if kind != SYSTEM_USER_TYPE {
            continue;
        }
        if found.is_some() {
            return Err(ClaimError::SeveralSystemUsers);
        }
        found = Some(system_user_entry(entry, rules)?);
    }
    Ok(found)
}

fn system_user_entry(entry: &Json, rules: &ClaimRules) -> Result<SystemUserClaims, ClaimError> {
    const IDS: &str = "systemuser_id";
    let ids = entry.member(IDS).ok_or(ClaimError::Missing(IDS))?;
    let ids = ids.as_array().ok_or(ClaimError::Malformed(IDS))?;
    if ids.is_empty() {
        return Err(ClaimError::Malformed(IDS));
    }
    if ids.len() > rules.max_system_users {
        return Err(ClaimError::TooManyIds);
    }
    let parse = |id: &Json| id.as_str().and_then(|text| text.parse().ok());
    let ids: Option<Vec<SystemUserId>> = ids.iter().map(parse).collect();
    let system = entry.member("system_id").ok_or(ClaimError::Missing("system_id"))?;
    let system = system.as_str().and_then(|text| text.parse().ok());
    let owner = organisation(entry, "systemuser_org", rules)?;
    Ok(SystemUserClaims {
        ids: ids.ok_or(ClaimError::Malformed(IDS))?,
        system: system.ok_or(ClaimError::Malformed("system_id"))?,
        owner: Owner(owner.ok_or(ClaimError::Missing("systemuser_org"))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_770_000_000;

    fn rules() -> ClaimRules {
        ClaimRules {
            issuer: "https://test.maskinporten.no/".into(),
            audience: None,
            leeway: Duration::from_secs(10),
            max_system_users: 2,
            accept_supplier: false,
            check_digits: CheckDigits::Required,
        }
    }

    /// The token of contract maskinporten.md §4 (c), with one member set anew (`null` text removes it).
    fn token(name: &str, value: &str) -> Json {
        let mut members = vec![
            ("iss".to_owned(), r#""https://test.maskinporten.no/""#.to_owned()),
            (
                "consumer".into(),
                r#"{"authority":"iso6523-actorid-upis","ID":"0192:310000019"}"#.into(),
            ),
            ("authorization_details".into(), format!("[{}]", entry("systemuser_org", OWNER))),
            ("scope".into(), r#""skatteetaten:mva""#.into()),
            ("client_id".into(), r#""7ee41fce-9f6e-4c32-8195-0fe2c1517f43""#.into()),
            ("iat".into(), NOW.to_string()),
            ("exp".into(), (NOW + 120).to_string()),
        ];
        members.retain(|(member, _)| member != name);
        if !value.is_empty() {
            members.push((name.into(), value.into()));
        }
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        Json::parse(format!("{{{}}}", members.join(",")).as_bytes()).unwrap()
    }

    const OWNER: &str = r#"{"authority":"iso6523-actorid-upis","ID":"0192:310000027"}"#;
    const ID: &str = r#""a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1""#;

    fn entry(name: &str, value: &str) -> String {
        let mut members = vec![
            ("type", r#""urn:altinn:systemuser""#.to_owned()),
            ("systemuser_id", format!("[{ID}]")),
            ("system_id", r#""310000019_sys""#.to_owned()),
            ("systemuser_org", OWNER.to_owned()),
        ];
        members.retain(|(member, _)| *member != name);
        if !value.is_empty() {
            members.push((name, value.into()));
        }
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    }

    fn verify(payload: &Json) -> Result<Claims, ClaimError> {
        Claims::verify(payload, &rules(), UnixTime::from_seconds(NOW))
    }

    #[test]
    fn a_good_token_names_everyone_in_their_own_role() {
        let claims = verify(&token("", "")).unwrap();
        let system_user = claims.system_user.unwrap();
        assert_eq!(claims.consumer.to_string(), "310000019");
        assert_eq!(system_user.owner.to_string(), "310000027");
        assert_eq!(system_user.ids.len(), 1);
        assert_eq!(system_user.system.as_str(), "310000019_sys");
        assert_eq!(claims.supplier, None);
    }

    #[test]
    fn times_end_and_begin_to_the_second() {
        let cases = [
            ("exp", NOW - 9, Ok(())),
            ("exp", NOW - 10, Err(ClaimError::Expired)),
            ("exp", i64::MAX, Ok(())),
            ("exp", i64::MIN, Err(ClaimError::Expired)),
            ("iat", NOW + 10, Ok(())),
            ("iat", NOW + 11, Err(ClaimError::NotYet("iat"))),
            ("iat", NOW * 1000, Err(ClaimError::NotYet("iat"))),
            ("nbf", NOW + 10, Ok(())),
            ("nbf", NOW + 11, Err(ClaimError::NotYet("nbf"))),
        ];
        for (name, value, expected) in cases {
            let mut payload = token(name, &value.to_string());
            if name == "exp"
                && value < NOW
                && let Json::Object(members) = &mut payload
            {
                members.retain(|(member, _)| member != "iat");
                members.push(("iat".into(), Json::Number((NOW - 200).into())));
            }
            assert_eq!(verify(&payload).map(|_| ()), expected, "{name} {value}");
        }
        let ends_first = token("exp", &(NOW - 5).to_string());
        assert_eq!(verify(&ends_first), Err(ClaimError::EndsBeforeIssued));
    }

    #[test]
    fn a_time_of_the_wrong_type_is_not_an_absent_one() {
        for name in ["exp", "iat", "nbf"] {
            for value in ["\"1770000100\"", "true", "null", "[1770000100]", "{}", "1e30", "-1e300"]
            {
                assert_eq!(
                    verify(&token(name, value)),
                    Err(ClaimError::Malformed(name)),
                    "{value}"
                );
            }
        }
        assert_eq!(verify(&token("exp", "")), Err(ClaimError::Missing("exp")));
        assert_eq!(verify(&token("iat", "")), Err(ClaimError::Missing("iat")));
        assert!(verify(&token("exp", "1770000100.75")).is_ok());
    }

    #[test]
    fn the_issuer_is_compared_byte_for_byte() {
        for value in [
            r#""https://test.maskinporten.no""#,
            r#""https://TEST.maskinporten.no/""#,
            r#""http://test.maskinporten.no/""#,
            r#""https://test.maskinporten.no/x""#,
        ] {
            assert_eq!(verify(&token("iss", value)), Err(ClaimError::Issuer), "{value}");
        }
        let list = token("iss", r#"["https://test.maskinporten.no/"]"#);
        assert_eq!(verify(&list), Err(ClaimError::Malformed("iss")));
        assert_eq!(verify(&token("iss", "")), Err(ClaimError::Missing("iss")));
    }

    #[test]
    fn a_token_bound_to_somebody_else_is_refused() {
        let ours = ClaimRules { audience: Some("https://api".into()), ..rules() };
        let cases = [
            ("", true, false),
            (r#""unspecified""#, true, false),
            (r#""https://api""#, false, true),
            (r#"["https://other","https://api"]"#, false, true),
            (r#""https://api/""#, false, false),
            (r#""https://ap""#, false, false),
            (r#"{"https://api":1}"#, false, false),
            (r#"[["https://api"]]"#, false, false),
            (r#"["https://api",1]"#, false, false),
            ("7", false, false),
        ];
        for (value, unrestricted, restricted) in cases {
            let payload = token("aud", value);
            assert_eq!(verify(&payload).is_ok(), unrestricted, "unrestricted {value}");
            let at = UnixTime::from_seconds(NOW);
            assert_eq!(
                Claims::verify(&payload, &ours, at).is_ok(),
                restricted,
                "restricted {value}"
            );
        }
    }

    #[test]
    fn a_system_user_entry_is_whole_or_refused() {
        let two = format!("[{ID},{ID}]");
        let three = format!("[{ID},{ID},{ID}]");
        let cases = [
            ("systemuser_id", two.as_str(), Ok(())),
            ("systemuser_id", three.as_str(), Err(ClaimError::TooManyIds)),
            ("systemuser_id", "[]", Err(ClaimError::Malformed("systemuser_id"))),
            ("systemuser_id", ID, Err(ClaimError::Malformed("systemuser_id"))),
            ("systemuser_id", r#"["x"]"#, Err(ClaimError::Malformed("systemuser_id"))),
            ("systemuser_id", "", Err(ClaimError::Missing("systemuser_id"))),
            ("system_id", r#""""#, Err(ClaimError::Malformed("system_id"))),
            ("system_id", "", Err(ClaimError::Missing("system_id"))),
            ("systemuser_org", "", Err(ClaimError::Missing("systemuser_org"))),
            (
                "systemuser_org",
                r#"{"authority":"iso6523-actorid-upis","id":"0192:310000027"}"#,
                Ok(()),
            ),
            (
                "systemuser_org",
                r#"{"authority":"iso6523-actorid-upis","ID":"0192:310000028"}"#,
                Err(ClaimError::Malformed("systemuser_org")),
            ),
            (
                "systemuser_org",
                r#"{"authority":"iso6523-actorid-upis","ID":"9908:310000027"}"#,
                Err(ClaimError::Malformed("systemuser_org")),
            ),
            (
                "systemuser_org",
                r#"{"authority":"iso6523-actorid-upis","ID":"0192:310000027","id":"0192:310000035"}"#,
                Err(ClaimError::Malformed("systemuser_org")),
            ),
        ];
        for (name, value, expected) in cases {
            let payload = token("authorization_details", &format!("[{}]", entry(name, value)));
            assert_eq!(verify(&payload).map(|_| ()), expected, "{name} {value}");
        }
    }

    #[test]
    fn a_token_names_one_system_user_entry_or_none() {
        let one = entry("", "");
        let consent = r#"{"type":"urn:altinn:consent"}"#;
        let details = |value: &str| verify(&token("authorization_details", value));
        assert!(details(&one).unwrap().system_user.is_some(), "flattened by the exchange");
        assert!(details(&format!("[{consent},{one}]")).unwrap().system_user.is_some());
        assert_eq!(details(&format!("[{consent}]")).unwrap().system_user, None);
        assert_eq!(details("").unwrap().system_user, None);
        assert_eq!(details(&format!("[{one},{one}]")), Err(ClaimError::SeveralSystemUsers));
        for malformed in ["null", "\"x\"", "[{}]", "[[]]", r#"[{"type":1}]"#] {
            let expected = Err(ClaimError::Malformed("authorization_details"));
            assert_eq!(details(malformed), expected, "{malformed}");
        }
    }

    #[test]
    fn a_supplier_beside_a_system_user_passes_only_where_allowed() {
        let payload =
            token("supplier", r#"{"authority":"iso6523-actorid-upis","ID":"0192:310000035"}"#);
        assert_eq!(verify(&payload), Err(ClaimError::SupplierWithSystemUser));
        let open = ClaimRules { accept_supplier: true, ..rules() };
        let claims = Claims::verify(&payload, &open, UnixTime::from_seconds(NOW)).unwrap();
        assert_eq!(claims.supplier.unwrap().to_string(), "310000035");
    }

    #[test]
    fn a_scope_of_another_type_grants_nothing() {
        let none = GrantedScopes::default();
        for value in ["", "[\"a\"]", "7", "null"] {
            assert_eq!(verify(&token("scope", value)).unwrap().scopes, none, "{value}");
        }
    }
}
