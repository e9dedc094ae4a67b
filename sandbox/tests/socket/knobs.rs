//! Faults, rights, deletion, reset and the record of calls.

use crate::lab::{Lab, client, decoded, now, organization, question, send, user};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

const JWKS: &str = "/jwk";

#[tokio::test]
async fn a_fault_answers_instead_and_goes_away_after_its_calls() {
    let lab = Lab::start().await;
    let fault = json!({
        "status": 503, "retry_after": 7, "body": "sorry", "content_type": "text/html", "times": 1,
    });
    lab.knob("PUT", "/sandbox/faults/jwks", fault).await;
    let spoilt = lab.get(JWKS).await;
    assert_eq!((spoilt.status, spoilt.text().as_str()), (503, "sorry"));
    assert_eq!(spoilt.headers["retry-after"], "7");
    assert_eq!(spoilt.headers["content-type"], "text/html");
    assert_eq!(lab.get(JWKS).await.status, 200);
}

#[tokio::test]
async fn faults_stay_until_they_are_cleared() {
    let lab = Lab::start().await;
    for endpoint in ["metadata", "registry"] {
        lab.knob("PUT", &format!("/sandbox/faults/{endpoint}"), json!({ "status": 500 })).await;
    }
    let metadata = "/.well-known/oauth-authorization-server";
    let registry = "/resourceregistry/api/v1/resource/ske-arkiv";
    assert_eq!((lab.get(metadata).await.status, lab.get(registry).await.status), (500, 500));
    assert_eq!(lab.get("/sandbox/faults/metadata").await.json()["status"], 500);
    lab.knob("DELETE", "/sandbox/faults/metadata", json!(null)).await;
    assert_eq!((lab.get(metadata).await.status, lab.get(registry).await.status), (200, 500));
    lab.knob("DELETE", "/sandbox/faults", json!(null)).await;
    assert_eq!(lab.get(registry).await.status, 200);
}

#[tokio::test]
async fn an_answer_can_come_late_cut_off_or_never() {
    let lab = Lab::start().await;
    let address = lab.sandbox.address();
    lab.knob("PUT", "/sandbox/faults/jwks", json!({ "latency_ms": 50, "times": 1 })).await;
    let start = Instant::now();
    assert!(lab.get(JWKS).await.is_whole());
    assert!(start.elapsed() >= Duration::from_millis(50));
    lab.knob("PUT", "/sandbox/faults/jwks", json!({ "truncate": true, "times": 1 })).await;
    let cut = lab.get(JWKS).await;
    assert_eq!(cut.status, 200);
    assert!(!cut.body.is_empty() && !cut.is_whole());
    lab.knob("PUT", "/sandbox/faults/jwks", json!({ "close": true, "times": 1 })).await;
    let closed = send(address, "GET", JWKS, &[], "").await.map_err(|error| error.kind());
    assert!(matches!(closed, Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)));
    lab.knob("PUT", "/sandbox/faults/jwks", json!({ "hang": true })).await;
    let hanging = send(address, "GET", JWKS, &[], "");
    assert!(tokio::time::timeout(Duration::from_millis(50), hanging).await.is_err());
}

#[tokio::test]
async fn the_pdp_can_be_bent_into_every_odd_shape() {
    let lab = Lab::start().await;
    let request = question(&user(1), &[organization("310000507")], "ske-mva-melding", "read");
    let bent = async |fault: Value| {
        lab.knob("PUT", "/sandbox/faults/pdp", fault).await;
        lab.authorize(&request).await
    };
    let hidden = bent(json!({ "decision": "NotApplicable" })).await;
    assert_eq!(hidden["response"][0]["decision"], "NotApplicable");
    assert_eq!(hidden["response"][0]["obligations"], Value::Null);
    let failed = bent(json!({ "decision": "Indeterminate" })).await;
    let status = &failed["response"][0]["status"]["statusCode"]["value"];
    assert_eq!(status, "urn:oasis:names:tc:xacml:1.0:status:syntax-error");
    assert_eq!(bent(json!({ "decision": "Deny" })).await["response"][0]["decision"], "Deny");
    let pascal = bent(json!({ "pascal_case": true })).await;
    assert_eq!(pascal["Response"][0]["Decision"], "Permit");
    assert!(pascal["Response"][0]["Obligations"][0]["AttributeAssignment"].is_array());
    let extra = bent(json!({ "extra_results": 2 })).await;
    assert_eq!(extra["response"].as_array().map(Vec::len), Some(3));
    assert_eq!(bent(json!({ "empty_response": true })).await, json!({ "response": [] }));
    let obligation = json!({ "id": "x", "attributeAssignment": [] });
    let obliged = bent(json!({ "obligations": [obligation] })).await;
    assert_eq!(obliged["response"][0]["obligations"][1], obligation);
}

#[tokio::test]
async fn revoked_rights_are_gone_at_once_and_granted_ones_there() {
    let lab = Lab::start().await;
    let mva = async || lab.decision(1, "310000515", "ske-mva-melding", "write").await;
    let package =
        json!({ "system_user": user(1), "party": "310000507", "package": "merverdiavgift" });
    assert_eq!(mva().await, "Permit");
    lab.knob("POST", "/sandbox/rights/revoke", package.clone()).await;
    assert_eq!(mva().await, "NotApplicable");
    assert_eq!(lab.parties(1).await[0]["authorizedAccessPackages"], json!(["skattegrunnlag"]));
    lab.knob("POST", "/sandbox/rights/grant", package).await;
    assert_eq!(mva().await, "Permit");
    let claims =
        async |action: &str| lab.decision(2, "310000604", "ske-krav-og-betalinger", action).await;
    let single = |action: Option<&str>| {
        json!({
            "system_user": user(2), "party": "310000604",
            "resource": "ske-krav-og-betalinger", "action": action,
        })
    };
    lab.knob("POST", "/sandbox/rights/grant", single(Some("write"))).await;
    assert_eq!(claims("write").await, "Permit");
    lab.knob("POST", "/sandbox/rights/revoke", single(Some("read"))).await;
    assert_eq!(
        (claims("read").await, claims("write").await),
        ("NotApplicable".into(), "Permit".into())
    );
    lab.knob("POST", "/sandbox/rights/revoke", single(None)).await;
    assert_eq!(lab.parties(2).await, json!([]));
}

#[tokio::test]
async fn a_deleted_system_user_loses_rights_first_and_gets_no_new_tokens() {
    let lab = Lab::start().await;
    let grant = lab.grant(11, "skatteetaten:mva").await.for_system_user("310000507");
    assert_eq!(lab.ask_token(&grant).await.status, 200);
    lab.knob("DELETE", &format!("/sandbox/system-users/{}", user(1)), json!(null)).await;
    let again = lab.ask_token(&grant.with(|_| {})).await;
    assert_eq!(again.json()["error"], "invalid_altinn_customer_configuration");
    assert_eq!(lab.decision(1, "310000507", "ske-mva-melding", "read").await, "NotApplicable");
    // Its tokens live on; one can be minted to show it.
    let mint = json!({
        "client_id": client(11), "scope": "skatteetaten:mva", "systemuser_org": "310000507",
    });
    let (_, claims) = decoded(&lab.minted(mint).await);
    assert_eq!(claims["authorization_details"][0]["systemuser_id"], json!([user(1)]));
    lab.knob("POST", "/sandbox/reset", json!(null)).await;
    assert_eq!(lab.decision(1, "310000507", "ske-mva-melding", "read").await, "Permit");
}

#[tokio::test]
async fn tokens_are_minted_as_ordered() {
    let lab = Lab::start().await;
    let mint = |extra: Value| {
        let mut body = json!({ "client_id": client(11), "scope": "skatteetaten:mva" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let (_, old) = decoded(&lab.minted(mint(json!({ "lifetime_seconds": -30 }))).await);
    let expires = old["exp"].as_i64().unwrap();
    assert!((now() - 30 - expires).abs() <= 5);
    assert!(old["iat"].as_i64().unwrap() < expires);
    let overriding = json!({ "claims_override": { "iss": "https://evil.example/", "aud": null } });
    let (_, changed) = decoded(&lab.minted(mint(overriding)).await);
    assert_eq!(changed["iss"], "https://evil.example/");
    assert!(changed.get("aud").is_none());
}

#[tokio::test]
async fn a_changed_policy_shows_in_the_registry_and_in_decisions() {
    let lab = Lab::start().await;
    let resource = json!({
        "id": "ske-mva-melding", "title": { "nb": "Mva" },
        "rules": [{ "packages": ["merverdiavgift"], "actions": ["read"] }],
    });
    lab.knob("PUT", "/sandbox/resources/ske-mva-melding", resource).await;
    assert_eq!(lab.decision(1, "310000507", "ske-mva-melding", "read").await, "Permit");
    assert_eq!(lab.decision(1, "310000507", "ske-mva-melding", "write").await, "NotApplicable");
    let registry = "/resourceregistry/api/v1/resource/ske-mva-melding";
    assert_eq!(lab.get(registry).await.json()["versionId"], 2);
    assert!(!lab.get(&format!("{registry}/policy")).await.text().contains("write"));
}

#[tokio::test]
async fn calls_are_counted_and_questions_kept_without_tokens() {
    let lab = Lab::start().await;
    lab.decision(1, "310000507", "ske-mva-melding", "read").await;
    let record = lab.get("/sandbox/calls").await;
    let calls = record.json();
    assert_eq!((&calls["counts"]["pdp"], &calls["counts"]["exchange"]), (&json!(1), &json!(1)));
    assert_eq!(calls["questions"][0]["decision"], "Permit");
    assert!(!record.text().contains("eyJ"));
    lab.knob("DELETE", "/sandbox/calls", json!(null)).await;
    assert_eq!(lab.get("/sandbox/calls").await.json()["counts"]["pdp"], 0);
}

#[tokio::test]
async fn a_knob_that_is_turned_wrongly_says_so() {
    let lab = Lab::start().await;
    let turned = async |method: &str, target: &str, body: Value| {
        let headers = [("content-type", "application/json")];
        lab.send(method, target, &headers, &body.to_string()).await
    };
    let right = |party: &str, package: &str| json!({ "system_user": user(1), "party": party, "package": package });
    let table = [
        ("PUT", "/sandbox/faults/nothing", json!({}), 404),
        ("PUT", "/sandbox/faults/pdp", json!({ "latency": 1 }), 400),
        ("PUT", "/sandbox/faults/pdp", json!({ "status": 99 }), 400),
        ("POST", "/sandbox/rights/revoke", right("310000914", "lonn"), 400),
        ("POST", "/sandbox/rights/revoke", right("310000507", "nei"), 400),
        ("POST", "/sandbox/token", json!({ "client_id": "x", "scope": "y" }), 404),
        ("DELETE", "/sandbox/system-users/5e000000-0000-4000-8000-000000000099", json!(null), 404),
        ("POST", "/sandbox/resources/nothing/touch", json!({}), 404),
    ];
    for (method, target, body, status) in table {
        let reply = turned(method, target, body.clone()).await;
        assert_eq!(reply.status, status, "{method} {target} {body}");
        assert!(reply.json()["error"].is_string(), "{method} {target}");
    }
}

#[tokio::test]
async fn a_bare_curl_turns_knobs_too() {
    let lab = Lab::start().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = r#"{"status":503,"times":1}"#;
    assert_eq!(lab.send("PUT", "/sandbox/faults/jwks", &form, body).await.status, 200);
    assert_eq!(lab.get(JWKS).await.status, 503);
    assert_eq!(lab.send("POST", "/sandbox/keys/rotate", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_fourth_client_can_be_delegated_to_the_agent() {
    let lab = Lab::start().await;
    let payroll = async || lab.decision(4, "310000744", "ske-a-melding", "write").await;
    assert_eq!(payroll().await, "NotApplicable");
    let right =
        json!({ "system_user": user(4), "party": "310000744", "package": "regnskapsforer-lonn" });
    lab.knob("POST", "/sandbox/rights/grant", right).await;
    assert_eq!(payroll().await, "Permit");
    assert_eq!(lab.parties(4).await.as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn state_shows_keys_faults_and_rights() {
    let lab = Lab::start().await;
    lab.knob("PUT", "/sandbox/faults/token", json!({ "status": 500 })).await;
    let state = lab.get("/sandbox/state").await.json();
    assert_eq!(state["faults"]["token"]["status"], 500);
    assert_eq!(state["keys"]["published"].as_array().map(Vec::len), Some(2));
    assert_eq!(state["system_users"].as_array().map(Vec::len), Some(12));
}

#[tokio::test]
async fn a_body_can_drip_or_end_in_the_middle_as_promised() {
    let lab = Lab::start().await;
    let drip = json!({ "drip": { "bytes": 400, "every_ms": 20 }, "times": 1 });
    lab.knob("PUT", "/sandbox/faults/jwks", drip).await;
    let start = Instant::now();
    let whole = lab.get(JWKS).await;
    assert!(whole.is_whole());
    assert!(start.elapsed() >= Duration::from_millis(20), "{:?}", start.elapsed());
    let cut = json!({ "cut_after_bytes": 100, "times": 1 });
    lab.knob("PUT", "/sandbox/faults/jwks", cut).await;
    let cut = lab.get(JWKS).await;
    assert_eq!(cut.body, whole.body[..100]);
    assert_eq!(cut.headers["content-length"], whole.headers["content-length"]);
}

#[tokio::test]
async fn reads_can_be_stale_from_the_moment_the_fault_was_set() {
    let lab = Lab::start().await;
    lab.knob("PUT", "/sandbox/faults/parties", json!({ "stale": true })).await;
    let everything = json!({ "system_user": user(1), "party": "310000507" });
    lab.knob("POST", "/sandbox/rights/revoke", everything).await;
    assert_eq!(lab.parties(1).await.as_array().map(Vec::len), Some(1));
    // The other endpoints see today.
    assert_eq!(lab.decision(1, "310000507", "ske-mva-melding", "read").await, "NotApplicable");
    lab.knob("DELETE", "/sandbox/faults/parties", json!(null)).await;
    assert_eq!(lab.parties(1).await, json!([]));
}

#[tokio::test]
async fn several_faults_of_one_endpoint_strike_together() {
    let lab = Lab::start().await;
    let faults = json!([
        { "latency": { "min_ms": 5, "max_ms": 10 } },
        { "latency": { "median_ms": 5, "p99_ms": 10 } },
        { "status": 503, "rate": 0.5 },
        { "status": 429, "retry_after": 3, "path_contains": "/policy" },
    ]);
    let set = lab.knob("PUT", "/sandbox/faults/registry", faults).await;
    assert_eq!(set.as_array().map(Vec::len), Some(4));
    let registry = "/resourceregistry/api/v1/resource/ske-arkiv";
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(lab.get(registry).await.status);
    }
    assert!(answers.contains(&200) && answers.contains(&503), "{answers:?}");
    let policy = lab.get(&format!("{registry}/policy")).await;
    assert_eq!((policy.status, policy.headers["retry-after"].as_str()), (429, "3"));
}

#[tokio::test]
async fn a_multi_request_can_fail_as_a_whole() {
    let lab = Lab::start().await;
    lab.knob("PUT", "/sandbox/faults/pdp", json!({ "multi_error": true })).await;
    assert_eq!(lab.decision(1, "310000507", "ske-mva-melding", "read").await, "Permit");
    let mut request = question(&user(1), &[organization("310000507")], "ske-mva-melding", "read");
    for list in ["AccessSubject", "Action", "Resource"] {
        request["Request"][list][0]["Id"] = json!(list);
    }
    let reference = json!({ "ReferenceId": ["AccessSubject", "Action", "Resource"] });
    request["Request"]["MultiRequests"] = json!({ "RequestReference": [reference, reference] });
    let answer = lab.authorize(&request).await;
    assert_eq!(answer["response"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["response"][0]["decision"], "Indeterminate");
}

#[tokio::test]
async fn older_deployments_have_no_change_feed_and_lists_come_in_pages() {
    let lab = Lab::start().await;
    let feed = "/resourceregistry/api/v1/resource/changes";
    let features = json!({ "changes_feed": false, "access_list_page": 1 });
    lab.knob("PUT", "/sandbox/features", features).await;
    assert_eq!(lab.get(feed).await.status, 404);
    let lists = "/resourceregistry/api/v1/access-lists/skd";
    let first = lab.altinn("GET", lists, &Value::Null).await.json();
    assert_eq!(first["data"].as_array().map(Vec::len), Some(1));
    let next = first["links"]["next"].as_str().unwrap();
    let next = next.strip_prefix(lab.sandbox.altinn_url()).unwrap();
    let last = lab.altinn("GET", next, &Value::Null).await.json();
    assert_eq!(last["data"][0]["identifier"], "bryggerier-les");
    assert!(last["links"].get("next").is_none());
    lab.knob("PUT", "/sandbox/features", json!({})).await;
    assert_eq!(lab.get(feed).await.status, 200);
}

#[tokio::test]
async fn pages_of_other_sites_turn_no_knobs() {
    let lab = Lab::start().await;
    let here = format!("http://{}", lab.sandbox.address());
    for (origin, status) in [
        ("https://evil.example", 403),
        ("http://127.0.0.1:1", 403),
        ("null", 403),
        ("", 403),
        (here.as_str(), 200),
    ] {
        for (method, path) in [("POST", "reset"), ("GET", "clients/CLIENT/jwk"), ("PUT", "caches")]
        {
            let path = format!("/sandbox/{}", path.replace("CLIENT", &client(1)));
            let headers = [("origin", origin), ("content-type", "text/plain")];
            let reply = lab.send(method, &path, &headers, "{\"enabled\":false}").await;
            assert_eq!(reply.status, status, "{origin} {path}");
        }
    }
}

/// Numbers at the ends of what they can be: an answer, whichever, and no end of the connection.
#[tokio::test]
async fn the_greatest_and_the_least_numbers_are_answered() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let (id, change) = (user(51), user(52));
    for extreme in [i64::MIN, i64::MAX] {
        let body = json!({ "client_id": client(11), "scope": "x", "lifetime_seconds": extreme });
        lab.knob("POST", "/sandbox/token", body).await;
        lab.knob("POST", "/sandbox/clock", json!({ "set": extreme })).await;
        lab.knob("POST", "/sandbox/resources/ske-arkiv/touch", Value::Null).await;
        assert_eq!(lab.get("/ui/controls").await.status, 200);
        lab.knob("POST", "/sandbox/reset", Value::Null).await;
        let patch = json!({
            "scopes": [{ "name": "skatteetaten:mva", "lifetime_seconds": extreme }],
            "requests": [{ "id": id, "kind": "standard", "system": "310000205_nordlys",
                "party": "310000507", "created": extreme }],
            "change_requests": [{ "id": change, "system_user": user(1), "created": extreme }],
            "system_users": [{ "id": user(1), "kind": "standard", "system": "310000205_nordlys",
                "owner": "310000507", "created": extreme, "sequence": u64::MAX }],
        });
        let patched = lab.send("PATCH", "/sandbox/world", &[], &patch.to_string()).await;
        assert_eq!(patched.status, 200, "{}", patched.text());
        for path in [format!("request/vendor/{id}"), format!("changerequest/vendor/{change}")] {
            assert_eq!(vendor.get(&format!("systemuser/{path}")).await.status, 200, "{path}");
        }
        let mint = json!({ "client_id": client(11), "scope": "skatteetaten:mva" });
        lab.knob("POST", "/sandbox/token", mint).await;
        let grant = lab.grant(11, "skatteetaten:mva").await;
        assert!(lab.ask_token(&grant).await.status >= 200);
        let given = json!({ "system_user": user(1), "party": "310000507", "package": "lonn" });
        lab.knob("POST", "/sandbox/rights/grant", given).await;
    }
    let mut world = lab.send("GET", "/sandbox/world", &[("accept", "application/json")], "").await;
    world.body =
        world.text().replacen("\"position\":1,", "\"position\":18446744073709551615,", 1).into();
    let put = lab.send("PUT", "/sandbox/world", &[], &world.text()).await;
    assert_eq!(put.status, 200, "{}", put.text());
    lab.knob("POST", "/sandbox/resources/ske-arkiv/touch", Value::Null).await;
    let many = json!({ "extra_results": 1_001 });
    let refused = lab.send("PUT", "/sandbox/faults/pdp", &[], &many.to_string()).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
}
