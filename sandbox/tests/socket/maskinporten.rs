//! Metadata, keys, grants, every refusal, rotation.

use crate::lab::{Grant, Lab, client, decoded, is_signed_by, now, user};
use serde_json::{Value, json};

type Change = Box<dyn FnOnce(&mut Grant)>;

const DETAILS: &str = "authorization_details";

/// Status, `error` and MP number of a refusal.
async fn refusal(lab: &Lab, grant: &Grant) -> (u16, String, Option<String>) {
    let reply = lab.ask_token(grant).await;
    let body = reply.json();
    let text = body["error_description"].as_str().unwrap_or_default();
    let number = text.split(['(', ')']).find(|part| part.starts_with("MP-")).map(str::to_owned);
    (reply.status, body["error"].as_str().unwrap_or_default().to_owned(), number)
}

fn refused(status: u16, error: &str, number: Option<&str>) -> (u16, String, Option<String>) {
    (status, error.to_owned(), number.map(str::to_owned))
}

#[tokio::test]
async fn metadata_names_this_listener() {
    let lab = Lab::start().await;
    let issuer = lab.sandbox.issuer();
    let metadata = lab.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["token_endpoint"], format!("{issuer}token"));
    assert_eq!(metadata["jwks_uri"], format!("{issuer}jwk"));
    assert!(issuer.ends_with('/'));
    let keys = lab.get("/jwk").await.json();
    assert!(keys["keys"].as_array().is_some_and(|keys| keys.len() >= 2));
}

#[tokio::test]
async fn a_system_user_token_has_exactly_the_documented_claims() {
    let lab = Lab::start().await;
    let grant = lab.grant(11, "skatteetaten:mva").await.for_system_user("310000507");
    let reply = lab.ask_token(&grant).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "skatteetaten:mva");
    assert_eq!(body["expires_in"], 119);
    let token = body["access_token"].as_str().unwrap();
    assert!(is_signed_by(token, &lab.get("/jwk").await.json()));
    let (header, mut claims) = decoded(token);
    assert_eq!(header["alg"], "RS256");
    let issued = claims["iat"].as_i64().unwrap();
    assert!((now() - issued).abs() <= 5);
    let members = claims.as_object_mut().unwrap();
    assert!(members.remove("jti").is_some_and(|jti| jti.is_string()));
    let expected = json!({
        "iss": lab.sandbox.issuer(),
        "client_amr": "private_key_jwt",
        "token_type": "Bearer",
        "aud": "unspecified",
        "consumer": { "authority": "iso6523-actorid-upis", "ID": "0192:310000205" },
        DETAILS: [{
            "type": "urn:altinn:systemuser",
            "systemuser_id": [user(1)],
            "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:310000507" },
            "system_id": "310000205_nordlys",
        }],
        "scope": "skatteetaten:mva",
        "client_id": client(11),
        "iat": issued,
        "exp": issued + 120,
    });
    assert_eq!(claims, expected);
}

#[tokio::test]
async fn a_plain_token_has_no_details_and_lives_as_its_scope_says() {
    let lab = Lab::start().await;
    let grant = lab.grant(11, "skatteetaten:kravogbetalinger").await;
    let body = lab.ask_token(&grant).await.json();
    let (_, claims) = decoded(body["access_token"].as_str().unwrap());
    assert!(claims.get(DETAILS).is_none());
    assert!(claims.get("supplier").is_none());
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 599);
}

#[tokio::test]
async fn the_external_reference_decides_which_system_user_it_is() {
    let lab = Lab::start().await;
    let grant = lab.grant(11, "skatteetaten:mva").await.for_system_user("310000604");
    let id_of = async |grant: &Grant| {
        let body = lab.ask_token(grant).await.json();
        let (_, claims) = decoded(body["access_token"].as_str().unwrap());
        claims[DETAILS][0]["systemuser_id"][0].clone()
    };
    assert_eq!(id_of(&grant).await, user(2));
    let named = grant.with(|it| it.claims[DETAILS][0]["externalRef"] = json!("lager"));
    assert_eq!(id_of(&named).await, user(3));
    let unknown = grant.with(|it| it.claims[DETAILS][0]["externalRef"] = json!("kontor"));
    let no_such = refused(400, "invalid_altinn_customer_configuration", Some("MP-303"));
    assert_eq!(refusal(&lab, &unknown).await, no_such);
}

#[tokio::test]
async fn each_wrong_grant_is_refused_with_its_own_code() {
    let lab = Lab::start().await;
    let good = lab.grant(11, "skatteetaten:mva").await.for_system_user("310000507");
    let other_key = lab.client_key(21).await;
    let claim = |name: &'static str, value: Value| -> Change {
        Box::new(move |grant: &mut Grant| grant.claims[name] = value)
    };
    let detail = |name: &'static str, value: Value| -> Change {
        Box::new(move |grant: &mut Grant| grant.claims[DETAILS][0][name] = value)
    };
    let table: Vec<(&str, Change, &str, Option<&str>)> = vec![
        ("unknown client", claim("iss", json!(client(99))), "invalid_grant", Some("MP-100")),
        (
            "audience",
            claim("aud", json!("https://maskinporten.no/")),
            "invalid_grant",
            Some("MP-110"),
        ),
        ("foreign key", Box::new(move |it| it.key = other_key), "invalid_grant", Some("MP-124")),
        ("key id", Box::new(|it| it.header["kid"] = json!("x")), "invalid_grant", Some("MP-124")),
        (
            "algorithm",
            Box::new(|it| it.header["alg"] = json!("PS256")),
            "invalid_grant",
            Some("MP-124"),
        ),
        (
            "no key id",
            Box::new(|it| it.header = json!({ "alg": "RS256" })),
            "invalid_request",
            Some("MP-011"),
        ),
        (
            "expired",
            Box::new(|it| {
                it.claims["iat"] = json!(now() - 100);
                it.claims["exp"] = json!(now() - 1);
            }),
            "invalid_grant",
            Some("MP-130"),
        ),
        ("issued later", claim("iat", json!(now() + 60)), "invalid_grant", None),
        ("issued long ago", claim("iat", json!(now() - 15)), "invalid_grant", None),
        ("too long", claim("exp", json!(now() + 130)), "invalid_request", Some("MP-011")),
        ("no scope", claim("scope", json!("")), "invalid_request", Some("MP-011")),
        ("scope", claim("scope", json!("skatteetaten:mva x:y")), "invalid_scope", Some("MP-200")),
        (
            "integration type",
            claim("scope", json!("skatteetaten:innsyn")),
            "invalid_scope",
            Some("MP-201"),
        ),
        ("resource", claim("resource", json!("x")), "invalid_request", Some("MP-011")),
        ("pid", claim("pid", json!("123")), "invalid_request", Some("MP-011")),
        (
            "detail type",
            detail("type", json!("urn:x")),
            "invalid_authorization_details",
            Some("MP-301"),
        ),
        ("detail member", detail("foo", json!(1)), "invalid_authorization_details", Some("MP-302")),
        (
            "detail value",
            detail("externalRef", json!("a b")),
            "invalid_authorization_details",
            Some("MP-303"),
        ),
        (
            "two details",
            Box::new(|it| {
                let one = it.claims[DETAILS][0].clone();
                it.claims[DETAILS] = json!([one, one]);
            }),
            "invalid_authorization_details",
            Some("MP-303"),
        ),
        (
            "consumer and details",
            claim("consumer_org", json!("310000604")),
            "invalid_request",
            Some("MP-011"),
        ),
    ];
    for (name, change, error, number) in table {
        let got = refusal(&lab, &good.with(change)).await;
        assert_eq!(got, refused(400, error, number), "{name}");
    }
    assert_eq!(lab.ask_token(&good).await.status, 200);
}

#[tokio::test]
async fn no_token_is_issued_for_a_system_user_that_altinn_does_not_find() {
    let lab = Lab::start().await;
    let no_such = refused(400, "invalid_altinn_customer_configuration", Some("MP-303"));
    // A client instead of the owner, another vendor's, a deleted one, one on a deleted system.
    let table = [(21, "310000728"), (11, "310000302"), (11, "310000906"), (12, "310000507")];
    for (number, owner) in table {
        let grant = lab.grant(number, "skatteetaten:mva").await.for_system_user(owner);
        assert_eq!(refusal(&lab, &grant).await, no_such, "{number} {owner}");
    }
    let agent = lab.grant(21, "skatteetaten:mva").await.for_system_user("310000302");
    assert_eq!(lab.ask_token(&agent).await.status, 200);
}

#[tokio::test]
async fn an_assertion_buys_one_token() {
    let lab = Lab::start().await;
    let grant = lab.grant(11, "skatteetaten:mva").await;
    assert_eq!(lab.ask_token(&grant).await.status, 200);
    assert_eq!(refusal(&lab, &grant).await, refused(400, "invalid_grant", Some("MP-012")));
    let without_id = grant.with(|it| {
        it.claims.as_object_mut().unwrap().remove("jti");
    });
    assert_eq!(lab.ask_token(&without_id).await.status, 200);
    assert_eq!(refusal(&lab, &without_id).await, refused(400, "invalid_grant", Some("MP-012")));
}

#[tokio::test]
async fn an_expired_key_is_refused() {
    let lab = Lab::start().await;
    let grant = lab.grant(13, "skatteetaten:mva").await;
    assert_eq!(refusal(&lab, &grant).await, refused(400, "invalid_grant", Some("MP-121")));
}

#[tokio::test]
async fn every_allowed_algorithm_and_audience_is_accepted() {
    let lab = Lab::start().await;
    let good = lab.grant(11, "skatteetaten:mva").await;
    for algorithm in ["RS256", "RS384", "RS512"] {
        let grant = good.with(|it| it.header["alg"] = json!(algorithm));
        assert_eq!(lab.ask_token(&grant).await.status, 200, "{algorithm}");
    }
    let issuer = lab.sandbox.issuer();
    for audience in [issuer.trim_end_matches('/').to_owned(), format!("{issuer}token")] {
        let grant = good.with(|it| it.claims["aud"] = json!(audience));
        assert_eq!(lab.ask_token(&grant).await.status, 200, "{audience}");
    }
}

#[tokio::test]
async fn an_enterprise_certificate_stands_in_for_a_key_id() {
    let lab = Lab::start().await;
    let good = lab.grant(11, "skatteetaten:mva").await;
    let with_certificate = async |query: &str| {
        let target = format!("/sandbox/clients/{}/certificate{query}", client(11));
        let chain = lab.get(&target).await.json();
        good.with(|it| it.header = json!({ "alg": "RS256", "x5c": chain["x5c"] }))
    };
    let grant = with_certificate("").await;
    let body = lab.ask_token(&grant).await.json();
    let (_, claims) = decoded(body["access_token"].as_str().unwrap());
    assert_eq!(claims["client_amr"], "virksomhetssertifikat");
    let foreign = with_certificate("?foreign=true").await;
    assert_eq!(refusal(&lab, &foreign).await, refused(400, "invalid_grant", Some("MP-120")));
    let other = with_certificate("?org=310000213").await;
    assert_eq!(refusal(&lab, &other).await, refused(400, "invalid_grant", Some("MP-122")));
    let bare = grant.with(|it| it.header["x5c"] = it.header["x5c"][0].clone());
    assert_eq!(refusal(&lab, &bare).await, refused(400, "invalid_grant", Some("MP-123")));
    let key = lab.client_key(21).await;
    let forged = grant.with(|it| it.key = key);
    assert_eq!(refusal(&lab, &forged).await, refused(400, "invalid_grant", Some("MP-124")));
}

#[tokio::test]
async fn a_supplier_uses_a_scope_that_its_consumer_delegated() {
    let lab = Lab::start().await;
    let grant = lab.grant(31, "skatteetaten:kravogbetalinger").await;
    let on_behalf_of = |number: &str| grant.with(|it| it.claims["consumer_org"] = json!(number));
    let body = lab.ask_token(&on_behalf_of("310000507")).await.json();
    let (_, claims) = decoded(body["access_token"].as_str().unwrap());
    assert_eq!(claims["consumer"]["ID"], "0192:310000507");
    assert_eq!(claims["supplier"]["ID"], "0192:310000809");
    assert_eq!(claims["delegation_source"], format!("{}/", lab.sandbox.altinn_url()));
    let table = [
        ("310000817", refused(403, "access_denied", Some("MP-251"))),
        ("310000604", refused(403, "access_denied", Some("MP-250"))),
        ("310000809", refused(400, "invalid_request", None)),
        ("31000050", refused(400, "invalid_request", Some("MP-011"))),
    ];
    for (number, expected) in table {
        assert_eq!(refusal(&lab, &on_behalf_of(number)).await, expected, "{number}");
    }
    assert_eq!(refusal(&lab, &grant).await, refused(400, "invalid_scope", Some("MP-200")));
}

#[tokio::test]
async fn the_resource_claim_becomes_the_audience() {
    let lab = Lab::start().await;
    let good = lab.grant(11, "skatteetaten:mva").await;
    for (resource, audience) in
        [(json!(["https://api.a"]), json!("https://api.a")), (json!(["a", "b"]), json!(["a", "b"]))]
    {
        let grant = good.with(|it| it.claims["resource"] = resource);
        let body = lab.ask_token(&grant).await.json();
        assert_eq!(decoded(body["access_token"].as_str().unwrap()).1["aud"], audience);
    }
}

#[tokio::test]
async fn only_a_form_with_the_right_grant_type_is_read() {
    let lab = Lab::start().await;
    let json = [("content-type", "application/json")];
    let reply = lab.send("POST", "/token", &json, r#"{"grant_type":"x"}"#).await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_request")));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let reply =
        lab.send("POST", "/token", &form, "grant_type=client_credentials&assertion=x").await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("unsupported_grant_type")));
    let reply = lab.ask_token_with("not.a.token").await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_request")));
}

#[tokio::test]
async fn a_rotated_key_signs_and_the_old_one_stays_until_it_is_dropped() {
    let lab = Lab::start().await;
    let mint = json!({ "client_id": client(11), "scope": "skatteetaten:mva" });
    let before = lab.minted(mint.clone()).await;
    let old_keys = lab.get("/jwk").await.json();
    lab.knob("POST", "/sandbox/keys/rotate", json!({})).await;
    let after = lab.minted(mint.clone()).await;
    let keys = lab.get("/jwk").await.json();
    assert!(!is_signed_by(&after, &old_keys));
    assert!(is_signed_by(&after, &keys));
    assert!(is_signed_by(&before, &keys));
    lab.knob("POST", "/sandbox/keys/rotate", json!({ "drop_old": true })).await;
    let keys = lab.get("/jwk").await.json();
    assert!(!is_signed_by(&before, &keys));
    assert!(!is_signed_by(&after, &keys));
    assert!(is_signed_by(&lab.minted(mint).await, &keys));
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1));
}
