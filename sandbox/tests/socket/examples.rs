//! The shape of answers, member by member, against the JSON examples of the public documents.
//!
//! An example is copied as it is written there; only ids, names and what it leaves out with an ellipsis are ours.

use crate::lab::{Lab, PDP_SCOPES, Reply, client, decoded, organization, question, user};
use crate::system_users::{package, registration, request, right};
use serde_json::{Value, json};
use uuid::Uuid;

const KARI: &str = "01819049901";
const FRIDA: &str = "01819049904";
const KLARA: &str = "01819049905";
const ODDEN: &str = "a0000000-0000-4000-8000-000310000744";
const FJELL: &str = "a0000000-0000-4000-8000-000310000302";

/// What differs between an example and an answer: members that only one has, and values of another kind. A member
/// whose name ends in `?` may be absent. `null` stands for a value that may be null. A list is like the example's
/// first element throughout, and not empty if the example is not.
fn differences(example: &Value, answer: &Value, at: &str) -> Vec<String> {
    match (example, answer) {
        (Value::Null, _)
        | (Value::String(_), Value::String(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_)) => Vec::new(),
        (Value::Array(examples), Value::Array(rows)) => match examples.first() {
            None => Vec::new(),
            Some(_) if rows.is_empty() => vec![format!("{at} is empty")],
            Some(example) => {
                let rows = rows.iter().enumerate();
                rows.flat_map(|(n, row)| differences(example, row, &format!("{at}/{n}"))).collect()
            }
        },
        (Value::Object(examples), Value::Object(members)) => {
            let plain = |name: &str| name.trim_end_matches('?').to_owned();
            let known: Vec<String> = examples.keys().map(|name| plain(name)).collect();
            let unknown = members.keys().filter(|name| !known.contains(name));
            let mut found: Vec<String> =
                unknown.map(|name| format!("{at}/{name} is not in the example")).collect();
            for (name, example) in examples {
                let at = format!("{at}/{}", plain(name));
                match members.get(&plain(name)) {
                    Some(answer) => found.extend(differences(example, answer, &at)),
                    None if name.ends_with('?') => {}
                    None => found.push(format!("{at} is missing")),
                }
            }
            found
        }
        _ => vec![format!("{at} is {answer}, not like {example}")],
    }
}

fn same_shape(example: &Value, answer: &Value) {
    let found = differences(example, answer, "");
    assert!(found.is_empty(), "{found:#?}\n{answer:#}");
}

fn has_shape(reply: &Reply, status: u16, example: &Value) {
    assert_eq!(reply.status, status, "{reply:?}");
    same_shape(example, &reply.json());
}

fn is_problem(reply: &Reply, status: u16, code: &str) {
    assert!(reply.headers["content-type"].starts_with("application/problem+json"), "{reply:?}");
    let example = json!({
        "type": "urn:altinn:error:AUTH-00004",
        "title": "Failed to create new SystemUser, existing SystemUser tied to the given System-Id.",
        "status": 400, "code": "AUTH-00004", "traceId": "00-…", "statusDescription": "Bad Request",
    });
    has_shape(reply, status, &example);
    let problem = reply.json();
    assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)));
    assert_eq!(problem["type"], format!("urn:altinn:error:{code}"));
}

#[test]
fn a_difference_in_shape_is_seen() {
    let example = json!({ "a": "x", "b?": 1, "c": [{ "d": true }] });
    assert!(differences(&example, &json!({ "a": "", "c": [{ "d": false }] }), "").is_empty());
    for (wrong, said) in [
        (json!({ "a": 1, "c": [{ "d": true }] }), "/a is 1, not like \"x\""),
        (json!({ "c": [{ "d": true }] }), "/a is missing"),
        (json!({ "a": "", "b": "1", "c": [{ "d": true }] }), "/b is \"1\", not like 1"),
        (json!({ "a": "", "c": [] }), "/c is empty"),
        (json!({ "a": "", "c": [{ "d": true }, {}] }), "/c/1/d is missing"),
        (json!({ "a": "", "c": [{ "d": true }], "e": 1 }), "/e is not in the example"),
    ] {
        assert_eq!(differences(&example, &wrong, ""), [said]);
    }
}

#[tokio::test]
async fn maskinporten_answers_like_its_examples() {
    let lab = Lab::start().await;
    let metadata = json!({
        "issuer": "https://test.maskinporten.no/", "token_endpoint": "https://test.maskinporten.no/token",
        "jwks_uri": "https://test.maskinporten.no/jwk",
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "RS384", "RS512"],
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "authorization_details_types_supported": ["urn:altinn:systemuser", "urn:altinn:consent"],
    });
    has_shape(&lab.get("/.well-known/oauth-authorization-server").await, 200, &metadata);
    let keys = json!({ "keys": [
        { "kty": "RSA", "e": "AQAB", "use": "sig", "kid": "id", "alg": "RS256", "n": "base64url" },
    ] });
    has_shape(&lab.get("/jwk").await, 200, &keys);
    let grant = lab.grant(11, "skatteetaten:kravogbetalinger").await;
    let reply = lab.ask_token(&grant.clone().for_system_user("310000507")).await;
    let token = json!({ "access_token": "<compact JWS>", "token_type": "Bearer", "expires_in": 119, "scope": "x:y" });
    has_shape(&reply, 200, &token);
    let number = json!({ "authority": "iso6523-actorid-upis", "ID": "0192:312605031" });
    let mut claims = json!({
        "iss": "https://test.maskinporten.no/", "client_amr": "private_key_jwt", "token_type": "Bearer",
        "aud": "unspecified", "consumer": number,
        "authorization_details": [{
            "type": "urn:altinn:systemuser", "systemuser_id": ["a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1"],
            "systemuser_org": number, "system_id": "312605031_virksomhetsbruker",
        }],
        "scope": "skatteetaten:kravogbetalinger", "client_id": "…", "iat": 1, "exp": 2, "jti": "…",
    });
    let (_, told) = decoded(reply.json()["access_token"].as_str().unwrap());
    same_shape(&claims, &told);
    let plain = lab.ask_token(&grant.with(|_| {})).await.json();
    let (_, told) = decoded(plain["access_token"].as_str().unwrap());
    claims.as_object_mut().unwrap().remove("authorization_details");
    same_shape(&claims, &told);
    // A scope that was delegated to a supplier.
    let delegated = lab.grant(31, "skatteetaten:kravogbetalinger").await;
    let delegated = delegated.with(|grant| grant.claims["consumer_org"] = json!("310000507"));
    let delegated = lab.ask_token(&delegated).await.json();
    let (_, told) = decoded(delegated["access_token"].as_str().unwrap());
    claims["supplier"] = number;
    claims["delegation_source"] = json!("https://tt02.altinn.no/");
    same_shape(&claims, &told);
    let error = json!({ "error": "invalid_grant", "error_description": "… (MP-110) (correlation_id: …)", "error_uri?": "https://…" });
    let wrong = grant.with(|grant| grant.claims["aud"] = json!("https://maskinporten.no/"));
    has_shape(&lab.ask_token(&wrong).await, 400, &error);
}

#[tokio::test]
async fn decisions_are_written_like_the_examples() {
    let lab = Lab::start().await;
    let status = json!({
        "statusMessage": null, "statusDetails": null,
        "statusCode": { "value": "urn:oasis:names:tc:xacml:1.0:status:ok", "statusCode": null },
    });
    let permit = json!({ "response": [{
        "decision": "Permit", "status": status,
        "obligations": [{ "id": "urn:altinn:obligation:1", "attributeAssignment": [{
            "attributeId": "urn:altinn:obligation-assignment:1", "value": "2",
            "category": "urn:altinn:minimum-authenticationlevel",
            "dataType": "http://www.w3.org/2001/XMLSchema#integer", "issuer": null,
        }] }],
        "associateAdvice": null, "category": null, "policyIdentifierList": null,
    }] });
    let asked = question(&user(1), &[organization("310000507")], "ske-mva-melding", "read");
    same_shape(&permit, &lab.authorize(&asked).await);
    // What was asked for comes back.
    let mut echoed = permit.clone();
    echoed["response"][0]["category"] = json!([{
        "categoryId": "urn:oasis:names:tc:xacml:3.0:attribute-category:resource", "id": null, "content": null,
        "attribute": [{
            "attributeId": "urn:altinn:resource", "value": "r", "issuer": null,
            "dataType": "http://www.w3.org/2001/XMLSchema#string", "includeInResult": false,
        }],
    }]);
    let mut included = asked.clone();
    included["Request"]["Resource"][0]["Attribute"][0]["IncludeInResult"] = json!(true);
    same_shape(&echoed, &lab.authorize(&included).await);
    let mut nothing = permit.clone();
    nothing["response"][0]["decision"] = json!("Indeterminate");
    nothing["response"][0]["obligations"] = Value::Null;
    let unknown = question(&user(1), &[organization("310000507")], "ske-finnes-ikke", "read");
    let answer = lab.authorize(&unknown).await;
    same_shape(&nothing, &answer);
    assert_eq!(answer["response"][0]["decision"], "Indeterminate");
    assert_eq!(answer["response"][0]["obligations"], Value::Null);
    // A body that cannot be bound is the framework's problem.
    let bad = lab.altinn("POST", "/authorization/api/v1/authorize", &json!([])).await;
    let framework = json!({
        "type": "…", "title": "…", "status": 400, "errors": { "$": ["…"] }, "traceId?": "00-…",
    });
    has_shape(&bad, 400, &framework);
}

#[tokio::test]
async fn parties_are_written_like_the_example() {
    let lab = Lab::start().await;
    let mut row = json!({
        "partyUuid": "066148fe-…", "name": "USENSUELL UVIRKSOM TIGER AS", "organizationNumber": "313872076",
        "parentId": null, "personId": null, "dateOfBirth": null, "partyId": 51_235_100, "emailId": null,
        "type": "Organization", "unitType": "AS", "isDeleted": false, "onlyHierarchyElementWithNoAccess": false,
        "authorizedAccessPackages": ["skattegrunnlag"], "authorizedResources": [], "authorizedRoles": [],
        "authorizedInstances": [], "subunits": [],
    });
    row["subunits"] = json!([row.clone()]);
    same_shape(&json!([row]), &lab.parties(1).await);
    let path = "/accessmanagement/api/v1/resourceowner/authorizedparties";
    let bad = json!({ "type": "urn:altinn:systemuser:uuid", "value": "x" });
    let problem = json!({
        "type": "…", "title": "…", "status": 400, "traceId?": "…",
        "errors": { "Argument exception": ["Not a well-formed uuid: x"] },
    });
    let reply = lab.altinn("POST", path, &bad).await;
    has_shape(&reply, 400, &problem);
    assert_eq!(reply.json()["errors"], problem["errors"]);
}

#[tokio::test]
async fn the_registry_writes_like_the_examples() {
    let lab = Lab::start().await;
    let base = "/resourceregistry/api/v1/resource";
    let text = json!({ "nb": "Krav og betalinger", "nn?": "Krav og betalingar", "en?": "Claims and payments" });
    let resource = json!({
        "identifier": "ske-krav-og-betalinger", "version": "1.0",
        "title": text, "description": text, "rightDescription": text,
        "homepage?": "https://skatteetaten.no", "status": "Active", "spatial": [],
        "contactPoints": [], "produces": [], "isPartOf": "", "thematicAreas": [],
        "resourceReferences": [
            { "referenceSource": "Altinn3", "reference": "skatteetaten:kravogbetalinger", "referenceType": "MaskinportenScope" },
        ],
        "delegable": true, "visible": true,
        "hasCompetentAuthority": { "name": { "nb": "Skatteetaten" }, "organization": "974761076", "orgcode": "skd" },
        "keywords": [], "accessListMode": "Disabled", "selfIdentifiedUserEnabled": false,
        "enterpriseUserEnabled": false, "resourceType": "GenericAccessResource",
        "availableForType": ["LegalEntityEnterprise"],
        "authorizationReference": [{ "id": "urn:altinn:resource", "value": "ske-krav-og-betalinger" }],
        "isOneTimeConsent": false, "versionId": 42,
    });
    has_shape(&lab.get(&format!("{base}/ske-krav-og-betalinger")).await, 200, &resource);
    let urn = json!({ "type": "urn:altinn:accesspackage", "value": "skattegrunnlag", "urn": "urn:altinn:accesspackage:skattegrunnlag" });
    let subjects = json!({ "links": {}, "data": [urn] });
    has_shape(
        &lab.get(&format!("{base}/ske-krav-og-betalinger/policy/subjects")).await,
        200,
        &subjects,
    );
    let rules = json!([{ "subject": [urn], "action": urn, "resource": [urn] }]);
    has_shape(&lab.get(&format!("{base}/ske-krav-og-betalinger/policy/rules")).await, 200, &rules);
    let changes = json!({
        "links": { "next": "https://…/resource/changes?token=NDI&limit=2" },
        "data": [{ "resourceId": "ske-krav-og-betalinger", "changedAt": "2026-02-01T10:00:00.123456+00:00" }],
    });
    has_shape(&lab.get(&format!("{base}/changes?limit=2")).await, 200, &changes);
    let limit = json!({
        "type": "urn:altinn:error:STD-00000", "title": "One or more validation errors occurred.", "status": 400,
        "code": "STD-00000",
        "validationErrors": [{ "code": "RR.VLD-00008", "title": "Limit must be between 1 and 1000.", "paths?": ["/$QUERY/limit"] }],
    });
    let reply = lab.get(&format!("{base}/changes?limit=0")).await;
    has_shape(&reply, 400, &limit);
    assert_eq!(reply.json()["validationErrors"][0]["code"], "RR.VLD-00011");
}

#[tokio::test]
async fn access_lists_and_packages_are_written_like_the_documents() {
    let lab = Lab::start().await;
    let base = "/resourceregistry/api/v1/access-lists/skd";
    let list = json!({
        "urn": "urn:altinn:access-list:skd:bryggerier", "identifier": "bryggerier", "name": "…",
        "description": "…", "createdAt": "…", "updatedAt": "…",
    });
    has_shape(
        &lab.altinn("GET", base, &Value::Null).await,
        200,
        &json!({ "links": {}, "data": [list] }),
    );
    has_shape(&lab.altinn("GET", &format!("{base}/bryggerier"), &Value::Null).await, 200, &list);
    let member = json!({
        "id": "urn:altinn:party:uuid:…", "since": "…",
        "identifiers": {
            "urn:altinn:party:uuid": "…", "urn:altinn:party:id": "…",
            "urn:altinn:organization:identifier-no": "…",
        },
    });
    let members = json!({ "links": {}, "data": [member] });
    has_shape(
        &lab.altinn("GET", &format!("{base}/bryggerier/members"), &Value::Null).await,
        200,
        &members,
    );
    let connections = json!({ "links": {}, "data": [
        { "resourceIdentifier": "ske-saravgift", "actionFilters": ["read"], "createdAt": "…", "updatedAt": "…" },
    ] });
    let path = format!("{base}/bryggerier-les/resource-connections");
    has_shape(&lab.altinn("GET", &path, &Value::Null).await, 200, &connections);
    let dto = json!({
        "id": "…", "name": "…", "code?": "…", "urn": "…", "description": "…", "isDelegable": true,
        "isAssignable": true, "isResourcePolicyAvailable": true, "area?": {}, "type?": {},
        "resources": [{ "refId": "…", "name": "…" }],
    });
    let one = "/accessmanagement/api/v1/meta/info/accesspackages/package/urn/urn:altinn:accesspackage:merverdiavgift";
    has_shape(&lab.get(one).await, 200, &dto);
    let english = lab.send("GET", one, &[("accept-language", "en")], "").await.json();
    assert_eq!(english["name"], "Value added tax");
    assert_eq!(lab.get(one).await.json()["name"], "Merverdiavgift");
    let missing = one.replace("merverdiavgift", "finnes-ikke");
    assert_eq!(lab.get(&missing).await.status, 404);
}

fn texts() -> Value {
    json!({ "nb": "Smart Regnskap", "nn": "Smart Rekneskap", "en": "Smart Accounting" })
}

#[tokio::test]
async fn the_system_register_writes_like_the_examples() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(21).await;
    let made = vendor.post("systemregister/vendor", registration("310000213_eksempel")).await;
    has_shape(&made, 200, &json!("<guid>"));
    let whole = json!({
        "id": "312605031_virksomhetsbruker", "vendor": { "ID": "0192:312605031" },
        "name": texts(), "description": texts(),
        "rights": [{ "action?": "read", "resource": [{ "id": "urn:altinn:resource", "value": "ske-krav-og-betalinger" }] }],
        "accessPackages": [{ "urn": "urn:altinn:accesspackage:skattegrunnlag" }],
        "clientId": ["7ee41fce-9f6e-4c32-8195-0fe2c1517f43"], "isVisible": true,
        "allowedRedirectUrls": ["https://smartcloud.example/callback"], "isDeleted": false,
    });
    has_shape(&vendor.get("systemregister/vendor/310000213_eksempel").await, 200, &whole);
    let done = json!({ "succeeded": true });
    let path = "systemregister/vendor/310000213_eksempel";
    let again = registration("310000213_eksempel");
    has_shape(&vendor.call("PUT", path, &again).await, 200, &done);
    let rights = json!([right("ske-krav-og-betalinger")]);
    has_shape(&vendor.call("PUT", &format!("{path}/rights"), &rights).await, 200, &done);
    let packages = json!([package("skattegrunnlag")]);
    has_shape(&vendor.call("PUT", &format!("{path}/accesspackages"), &packages).await, 200, &done);
    let change = json!({
        "systemInternalId": "…", "changedByOrgNumber": "…", "changeType": "create", "changedData": null,
        "clientId": "…", "created": "…",
    });
    let log = vendor.get(&format!("{path}/changelog")).await;
    has_shape(&log, 200, &json!([change]));
    let log = log.json();
    let kinds: Vec<&Value> = log.as_array().unwrap().iter().map(|row| &row["changeType"]).collect();
    assert_eq!(kinds, ["create", "update", "rightsupdate", "accesspackageupdate"]);
    let registered = json!({
        "systemId": "…", "systemVendorOrgNumber": "…", "systemVendorOrgName": "…", "name": texts(),
        "description": texts(), "rights": whole["rights"], "accessPackages": whole["accessPackages"],
        "isVisible": true,
    });
    let kari = lab.person(KARI).await;
    has_shape(&kari.get("systemregister/310000213_eksempel").await, 200, &registered);
    has_shape(&kari.get("systemregister/310000213_eksempel/rights").await, 200, &whole["rights"]);
    has_shape(
        &kari.get("systemregister/310000213_eksempel/accesspackages").await,
        200,
        &whole["accessPackages"],
    );
    let mut wrong = registration("310000213_annen");
    wrong["rights"] = json!([right("ske-finnes-ikke")]);
    let invalid = vendor.post("systemregister/vendor", wrong).await;
    let example = json!({
        "type": "urn:altinn:error:STD-00000", "title": "One or more validation errors occurred.", "status": 400,
        "code": "STD-00000", "traceId": "00-…", "statusDescription": "Bad Request",
        "validationErrors": [{ "code": "AUTH.VLD-00003", "title": "…", "paths": ["/registersystemrequest/rights/resource"] }],
    });
    has_shape(&invalid, 400, &example);
    has_shape(&vendor.call("DELETE", path, &Value::Null).await, 200, &done);
}

#[tokio::test]
async fn requests_are_written_like_the_examples() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let mut body = request("310000604");
    body["externalRef"] = json!("eksempel");
    body["redirectUrl"] = json!("https://nordlys.example/kvittering");
    let made = vendor.post("systemuser/request/vendor", body.clone()).await;
    let mut example = json!({
        "id": "4cf577f3-7c4c-4c0f-a5bf-2d3b0d6a5a11", "integrationTitle": "Smart Regnskap",
        "externalRef": "313872076", "systemId": "312605031_virksomhetsbruker", "partyOrgNo": "313872076",
        "rights": [right("x")], "accessPackages": [package("x")], "status": "New",
        "redirectUrl": "https://smartcloud.example/callback", "confirmUrl": "https://…", "escalated": false,
        "created": "0001-01-01T00:00:00", "timedOut": false,
    });
    has_shape(&made, 201, &example);
    let made = made.json();
    assert_eq!(made["created"], "0001-01-01T00:00:00");
    let id = made["id"].as_str().unwrap().to_owned();
    let confirm =
        format!("/accessmanagement/ui/systemuser/request?id={id}&DONTCHOOSEREPORTEE=true");
    assert!(made["confirmUrl"].as_str().unwrap().ends_with(&confirm), "{made}");
    for path in [
        format!("systemuser/request/vendor/{id}"),
        "systemuser/request/vendor/byexternalref/310000205_nordlys/310000604/eksempel".to_owned(),
    ] {
        has_shape(&vendor.get(&path).await, 200, &example);
    }
    let list = json!({ "links": {}, "data": [example] });
    has_shape(
        &vendor.get("systemuser/request/vendor/bysystem/310000205_nordlys").await,
        200,
        &list,
    );
    is_problem(
        &vendor.get(&format!("systemuser/request/vendor/agent/{id}")).await,
        400,
        "AUTH-00025",
    );
    is_problem(
        &vendor.get(&format!("systemuser/request/vendor/{}", Uuid::new_v4())).await,
        404,
        "AUTH-00010",
    );
    is_problem(
        &lab.vendor(21).await.get(&format!("systemuser/request/vendor/{id}")).await,
        404,
        "AUTH-00011",
    );
    let ola = lab.person("01819049902").await;
    has_shape(&ola.get(&format!("systemuser/request/51000604/{id}")).await, 200, &example);
    let waiting = ola.get("systemuser/request/51000604/310000604/pending").await;
    has_shape(&waiting, 200, &json!([example]));
    for (name, value) in [
        ("partyId", Value::Null),
        ("partyUuid", json!("…")),
        ("userMayEscalateButNotApprove", json!(false)),
        ("systemUserType", json!("standard")),
    ] {
        example[name] = value;
    }
    has_shape(&ola.get(&format!("systemuser/request/{id}")).await, 200, &example);
}

#[tokio::test]
async fn an_agents_request_is_written_like_the_examples_without_rights() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let agent = json!({
        "systemId": "310000205_nordlys", "partyOrgNo": "310000302", "accessPackages": [package("skattegrunnlag")],
    });
    let agents = vendor.post("systemuser/request/vendor/agent", agent).await;
    let mut example = json!({
        "id": "…", "integrationTitle": "…", "externalRef": "…", "systemId": "…", "partyOrgNo": "…",
        "accessPackages": [package("x")], "status": "New", "confirmUrl": "…", "escalated": false, "created": "…",
        "timedOut": false, "redirectUrl?": "…",
    });
    has_shape(&agents, 201, &example);
    let id = agents.json()["id"].as_str().unwrap().to_owned();
    assert!(agents.json()["confirmUrl"].as_str().unwrap().contains("/systemuser/agentrequest?id="));
    has_shape(&vendor.get(&format!("systemuser/request/vendor/agent/{id}")).await, 200, &example);
    let list = json!({ "links": {}, "data": [example] });
    has_shape(
        &vendor.get("systemuser/request/vendor/agent/bysystem/310000205_nordlys").await,
        200,
        &list,
    );
    let path =
        "systemuser/request/vendor/agent/byexternalref/310000205_nordlys/310000302/310000302";
    has_shape(&vendor.get(path).await, 200, &example);
    let frida = lab.person(FRIDA).await;
    has_shape(&frida.get(&format!("systemuser/request/agent/51000302/{id}")).await, 200, &example);
    has_shape(
        &frida.get("systemuser/request/agent/51000302/310000302/pending").await,
        200,
        &json!([example]),
    );
    for (name, value) in [
        ("partyId", Value::Null),
        ("partyUuid", json!("…")),
        ("userMayEscalateButNotApprove", json!(false)),
        ("systemUserType", json!("agent")),
    ] {
        example[name] = value;
    }
    has_shape(&frida.get(&format!("systemuser/request/agent/{id}")).await, 200, &example);
    let escalated =
        frida.post(&format!("systemuser/request/agent/51000302/{id}/escalate"), Value::Null).await;
    has_shape(&escalated, 200, &json!(true));
    let rejected =
        frida.post(&format!("systemuser/request/agent/51000302/{id}/reject"), Value::Null).await;
    has_shape(&rejected, 200, &json!(true));
    let withdrawn =
        vendor.call("DELETE", &format!("systemuser/request/vendor/{id}"), &Value::Null).await;
    assert_eq!((withdrawn.status, withdrawn.body.len()), (202, 0));
}

#[tokio::test]
async fn change_requests_are_written_like_the_example() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let correlation = Uuid::new_v4();
    let target = format!(
        "systemuser/changerequest/vendor?correlation-id={correlation}&system-user-id={}",
        user(2)
    );
    let body = json!({
        "requiredAccessPackages": [package("skattegrunnlag")],
        "unwantedRights": [right("ske-krav-og-betalinger")],
        "redirectUrl": "https://nordlys.example/kvittering",
    });
    let made = vendor.post(&target, body).await;
    let example = json!({
        "id": "…", "externalRef": "…", "systemId": "…", "systemUserId": "…", "partyOrgNo": "…",
        "requiredRights": [], "unwantedRights": [right("x")], "requiredAccessPackages": [package("x")],
        "unwantedAccessPackages": [], "status": "New", "redirectUrl": "…", "confirmUrl": "…", "created": "…",
        "timedOut": false,
    });
    has_shape(&made, 201, &example);
    assert_eq!(made.json()["id"], json!(correlation));
    for path in [
        format!("vendor/{correlation}"),
        "vendor/byexternalref/310000205_nordlys/310000604/310000604".to_owned(),
    ] {
        has_shape(&vendor.get(&format!("systemuser/changerequest/{path}")).await, 200, &example);
    }
    let list = json!({ "links": {}, "data": [example] });
    let by_system = vendor.get("systemuser/changerequest/vendor/bysystem/310000205_nordlys").await;
    has_shape(&by_system, 200, &list);
    let ola = lab.person("01819049902").await;
    for path in [format!("51000604/{correlation}"), correlation.to_string()] {
        let mut example = example.clone();
        // What the portal adds when it asks without a party.
        for name in ["partyId?", "partyUuid?", "userMayEscalateButNotApprove?", "systemUserType?"] {
            example[name] = Value::Null;
        }
        has_shape(&ola.get(&format!("systemuser/changerequest/{path}")).await, 200, &example);
    }
    let rejected = ola
        .post(&format!("systemuser/changerequest/51000604/{correlation}/reject"), Value::Null)
        .await;
    has_shape(&rejected, 200, &json!(true));
    let withdrawn = vendor
        .call("DELETE", &format!("systemuser/changerequest/vendor/{correlation}"), &Value::Null)
        .await;
    assert_eq!(withdrawn.status, 202);
}

#[tokio::test]
async fn system_users_are_written_like_the_examples() {
    let lab = Lab::start().await;
    let external = json!({
        "id": "a545ca24-7ad2-4d2b-91c4-7d0ed2d7d3a1", "integrationTitle": "Smart Regnskap",
        "systemId": "312605031_virksomhetsbruker", "productName": "Smart Regnskap", "reporteeOrgNo": "313872076",
        "created": "2026-02-01T09:12:44.123Z", "isDeleted": false, "supplierName": "SMARTCLOUD AS",
        "supplierOrgno": "312605031", "externalRef": "313872076", "userType": "standard",
    });
    let inner = lab
        .with_scope(1, "altinn:maskinporten/systemuser.read altinn:authentication/systemuser.admin")
        .await;
    let client = client(11);
    let look_up = format!(
        "systemuser/byExternalId?clientId={client}&systemProviderOrgNo=310000205&systemUserOwnerOrgNo="
    );
    let found = inner.get(&format!("{look_up}310000507")).await;
    has_shape(&found, 200, &external);
    assert_eq!(found.json()["productName"], found.json()["systemId"]);
    assert_eq!(found.headers["cache-control"], "no-store");
    assert_eq!(inner.get(&format!("{look_up}310000728")).await.status, 404);
    let incomplete = inner.get("systemuser/byExternalId?clientId=x").await;
    assert_eq!((incomplete.status, incomplete.body.len()), (400, 0));
    let vendor = lab.vendor(11).await;
    let query = "systemuser/vendor/byquery?system-id=310000205_nordlys&orgno=310000507";
    has_shape(&vendor.get(query).await, 200, &external);
    let list = json!({ "links": {}, "data": [external] });
    has_shape(&vendor.get("systemuser/vendor/bysystem/310000205_nordlys").await, 200, &list);
    let mut internal = external.clone();
    internal["partyId"] = json!("51234567");
    internal["partyUuId"] = json!("…");
    internal["accessPackages"] = json!([]);
    internal["systemInternalId?"] = json!("…");
    let kari = lab.person(KARI).await;
    has_shape(&kari.get("systemuser/51000507").await, 200, &json!([internal]));
    let agents = lab.person(FRIDA).await.get("systemuser/agent/51000302").await;
    has_shape(&agents, 200, &json!([internal]));
    let mut detail = internal.clone();
    detail["rights"] = json!([]);
    has_shape(&kari.get(&format!("systemuser/51000507/{}", user(1))).await, 200, &detail);
    let held = json!({ "systemUserId": "…", "rights": [], "accessPackages": [package("x")] });
    has_shape(&kari.get(&format!("systemuser/51000507/{}/delegations", user(1))).await, 200, &held);
    let deleted =
        kari.call("DELETE", &format!("systemuser/51000507/{}", user(1)), &Value::Null).await;
    assert_eq!((deleted.status, deleted.json()), (202, json!(1)));
    let twice =
        kari.call("DELETE", &format!("systemuser/51000507/{}", user(1)), &Value::Null).await;
    assert_eq!((twice.status, twice.json()), (404, json!(0)));
    let choice = json!({ "integrationTitle": "Min", "systemId": "310000205_nordlys" });
    let made = kari.post("systemuser/51000507/create", choice).await;
    has_shape(&made, 200, &internal);
    let row = json!({
        "id": "…", "partyOrgNo": "313872076", "partyId": "51234567", "integrationTitle": null,
        "isDeleted": false, "lastChanged": "…", "created": "…", "sequenceNo": 123, "systemUserType": "standard",
    });
    let stream = json!({
        "links": { "next": "https://…/stream?token=MTIz" },
        "stats": { "pageStart": 101, "pageEnd": 123, "sequenceMax": 123 }, "data": [row],
    });
    has_shape(&inner.get("systemuser/internal/systemusers/stream").await, 200, &stream);
    has_shape(&inner.get(&format!("systemuser/internal/systemusers/{}", user(2))).await, 200, &row);
    assert_eq!(
        inner.get(&format!("systemuser/internal/systemusers/{}", user(8))).await.status,
        410
    );
}

#[tokio::test]
async fn client_delegation_is_written_like_the_examples() {
    let lab = Lab::start().await;
    let klara = lab.person(KLARA).await;
    let list = json!({
        "links": {},
        "systemUserInformation": { "systemUserId": "…", "systemUserOwnerOrg": "314239458" },
        "data": [{
            "clientId": "7bb78…", "clientOrganizationNumber": "313872076",
            "clientOrganizationName": "USENSUELL UVIRKSOM TIGER AS",
        }],
    });
    let base = "enduser/systemuser";
    has_shape(&klara.get(&format!("{base}/clients?agent={}", user(4))).await, 200, &list);
    has_shape(&klara.get(&format!("{base}/clients/available?agent={}", user(4))).await, 200, &list);
    let pair = json!({ "agent": "…", "client": "…" });
    let path = format!("{base}/clients?agent={}&client={ODDEN}", user(4));
    has_shape(&klara.post(&path, Value::Null).await, 200, &pair);
    has_shape(&klara.call("DELETE", &path, &Value::Null).await, 200, &pair);
    let agents = klara.get(&format!("{base}/agents?party=310000302")).await;
    assert_eq!((agents.status, agents.json()[0]["userType"].clone()), (200, json!("agent")));
    let frida = lab.person(FRIDA).await;
    let delegation = json!({
        "agentSystemUserId": "…", "delegationId": "…", "customerId": "…", "assignmentId": "…", "customerName": "…",
        "customerOrganizationNumber": "…",
    });
    let all = format!("systemuser/agent/51000302/{FJELL}/{}/delegations", user(4));
    has_shape(&frida.get(&all).await, 200, &json!([delegation]));
    let given = format!("systemuser/agent/51000302/{}?provider={FJELL}&client={ODDEN}", user(4));
    has_shape(&frida.post(&given, Value::Null).await, 200, &json!([delegation]));
    let taken =
        format!("systemuser/agent/51000302/{}/client?client={ODDEN}&provider={FJELL}", user(4));
    assert_eq!(frida.call("DELETE", &taken, &Value::Null).await.status, 200);
    is_problem(&frida.call("DELETE", &taken, &Value::Null).await, 400, "AUTH-00038");
}

#[tokio::test]
async fn exchanged_tokens_and_their_issuer_are_written_as_documented() {
    let lab = Lab::start().await;
    let token = lab.altinn_token(PDP_SCOPES).await;
    let (header, claims) = decoded(&token);
    for name in
        ["iss", "scope", "consumer", "urn:altinn:orgNumber", "urn:altinn:authenticatemethod", "sid"]
    {
        assert!(!claims[name].is_null(), "{name}: {claims}");
    }
    assert_eq!(claims["urn:altinn:authlevel"], "3");
    assert_eq!(claims["urn:altinn:org"], "skd");
    assert_eq!(claims["aud"], Value::Null);
    let base = "/authentication/api/v1/openid/.well-known/openid-configuration";
    assert_eq!(lab.get(base).await.json()["issuer"], claims["iss"]);
    let keys = lab.get(&format!("{base}/jwks")).await.json();
    assert_eq!(keys["keys"][0]["kid"], header["kid"]);
}

#[tokio::test]
async fn an_owner_lets_its_agent_act_for_itself() {
    let lab = Lab::start().await;
    // Of the seed's agent no package can be given by a right holder; this one has such a package too.
    let agent = json!({ "system_users": [{
        "id": user(20), "kind": "agent", "system": "310000213_brekke_lonn", "owner": "310000302",
        "packages": ["lonn", "regnskapsforer-lonn"],
    }] });
    assert_eq!(lab.send("PATCH", "/sandbox/world", &[], &agent.to_string()).await.status, 200);
    let path = |party: &str, id: &str| format!("systemuser/agent/{party}/{id}/self/");
    let own = format!("{}?partyUuid={FJELL}", path("51000302", &user(20)));
    let frida = lab.person(FRIDA).await;
    let payroll = async || lab.decision(20, "310000302", "ske-a-melding", "read").await;

    assert_eq!(frida.get(&own).await.json(), json!([]));
    assert_eq!(payroll().await, "NotApplicable");
    is_problem(&frida.call("DELETE", &own, &Value::Null).await, 400, "AUTH-00038");
    let given = frida.post(&own, Value::Null).await;
    assert_eq!((given.status, given.json()), (200, json!(true)));
    let delegation = json!({
        "agentSystemUserId": "…", "delegationId": "…", "customerId": "…", "assignmentId": "…",
        "customerName": "…", "customerOrganizationNumber": "314239458",
    });
    let read = frida.get(&own).await;
    has_shape(&read, 200, &json!([delegation]));
    let row = &read.json()[0];
    assert_eq!((&row["agentSystemUserId"], &row["customerId"]), (&json!(user(20)), &json!(FJELL)));
    assert_eq!(row["customerOrganizationNumber"], "310000302");
    assert_eq!(payroll().await, "Permit");
    // Only what a right holder can give.
    assert_eq!(lab.parties(20).await[0]["authorizedAccessPackages"], json!(["lonn"]));

    let elsewhere = own.replace(FJELL, ODDEN);
    let cases = [
        (KLARA, own.clone(), 403, "AUTH-00066"),
        (KARI, own.clone(), 403, ""),
        (FRIDA, own.replace("51000302", "1"), 403, ""),
        (FRIDA, path("51000302", &Uuid::nil().to_string()), 404, "AUTH-00015"),
        (FRIDA, path("51000302", &user(1)), 404, "AUTH-00015"),
        (KARI, path("51000507", &user(1)), 400, "AUTH-00034"),
        (FRIDA, elsewhere, 400, "AUTH-00031"),
    ];
    for (person, path, status, code) in cases {
        let person = lab.person(person).await;
        for method in ["GET", "POST", "DELETE"] {
            let refused = person.call(method, &path, &Value::Null).await;
            if code.is_empty() {
                let got = (refused.status, refused.body.len());
                assert_eq!(got, (status, 0), "{method} {path}");
            } else {
                is_problem(&refused, status, code);
            }
        }
    }
    let packages = frida.post(&path("51000302", &user(4)), Value::Null).await;
    is_problem(&packages, 400, "AUTH-00053");
    // Nothing of that changed anything.
    assert_eq!(payroll().await, "Permit");

    let taken = frida.call("DELETE", &own, &Value::Null).await;
    assert_eq!((taken.status, taken.json()), (200, json!(true)));
    assert_eq!(frida.get(&own).await.json(), json!([]));
    assert_eq!(payroll().await, "NotApplicable");
}
