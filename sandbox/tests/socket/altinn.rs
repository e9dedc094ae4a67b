//! Exchange, gates, authorized parties, packages and the registry.

use crate::lab::{
    Lab, PDP_SCOPES, SUBSCRIPTION, client, decoded, is_signed_by, now, organization, question, user,
};
use serde_json::{Value, json};

const AUTHORIZE: &str = "/authorization/api/v1/authorize";
const PARTIES: &str = "/accessmanagement/api/v1/serviceowner/authorizedparties";
const REGISTRY: &str = "/resourceregistry/api/v1/resource";

#[tokio::test]
async fn an_exchanged_token_is_altinns_own_and_lives_half_an_hour() {
    let lab = Lab::start().await;
    let mint = json!({
        "client_id": client(11), "scope": "skatteetaten:mva", "systemuser_org": "310000507",
    });
    let token = lab.minted(mint).await;
    let reply = lab.exchange(&token, &[]).await;
    assert_eq!(reply.status, 200);
    let exchanged = reply.text();
    let metadata = "/authentication/api/v1/openid/.well-known/openid-configuration";
    let metadata = lab.get(metadata).await.json();
    let keys_url = metadata["jwks_uri"].as_str().unwrap();
    let keys = lab.get(keys_url.strip_prefix(lab.sandbox.altinn_url()).unwrap()).await.json();
    assert!(is_signed_by(&exchanged, &keys));
    assert!(!is_signed_by(&exchanged, &lab.get("/jwk").await.json()));
    let (_, claims) = decoded(&exchanged);
    assert_eq!(claims["iss"], metadata["issuer"]);
    assert_eq!(claims["urn:altinn:orgNumber"], "310000205");
    assert_eq!(claims["urn:altinn:authenticatemethod"], "maskinporten");
    assert_eq!(claims["urn:altinn:authlevel"], "3");
    assert_eq!(claims["authorization_details"]["systemuser_id"], json!([user(1)]));
    assert!((claims["exp"].as_i64().unwrap() - now() - 1_800).abs() <= 5);
    for gone in ["aud", "client_amr", "urn:altinn:org"] {
        assert!(claims.get(gone).is_none(), "{gone}");
    }
}

#[tokio::test]
async fn the_service_owner_gets_its_code_and_json_clients_get_quotes() {
    let lab = Lab::start().await;
    let token = lab.minted(json!({ "client_id": client(1), "scope": PDP_SCOPES })).await;
    let reply = lab.exchange(&token, &[("accept", "application/json")]).await;
    let text = reply.json();
    let (_, claims) = decoded(text.as_str().unwrap());
    assert_eq!(claims["urn:altinn:org"], "skd");
}

#[tokio::test]
async fn what_cannot_be_exchanged_is_refused() {
    let lab = Lab::start().await;
    let mint = |seconds: i64| json!({ "client_id": client(1), "scope": PDP_SCOPES, "lifetime_seconds": seconds });
    assert_eq!(lab.exchange("not.a.token", &[]).await.status, 401);
    let expired = lab.minted(mint(-60)).await;
    assert_eq!(lab.exchange(&expired, &[]).await.status, 401);
    let good = lab.minted(mint(60)).await;
    let altinn = lab.exchange(&good, &[]).await.text();
    assert_eq!(lab.exchange(&altinn, &[]).await.status, 401);
    let enterprise = ("x-altinn-enterpriseuser-authentication", "x");
    assert_eq!(lab.exchange(&good, &[enterprise]).await.status, 410);
    assert_eq!(lab.get("/authentication/api/v1/exchange/maskinporten").await.status, 401);
    assert_eq!(lab.get("/authentication/api/v1/exchange/other").await.status, 400);
    lab.knob("POST", "/sandbox/keys/rotate", json!({ "drop_old": true })).await;
    assert_eq!(lab.exchange(&good, &[]).await.status, 401);
}

#[tokio::test]
async fn the_gates_stand_in_order() {
    let lab = Lab::start().await;
    let request = question(&user(1), &[organization("310000507")], "ske-mva-melding", "read");
    let body = request.to_string();
    let raw = lab.minted(json!({ "client_id": client(1), "scope": PDP_SCOPES })).await;
    let raw = format!("Bearer {raw}");
    let good = format!("Bearer {}", lab.altinn_token(PDP_SCOPES).await);
    let poor = format!("Bearer {}", lab.altinn_token("altinn:serviceowner").await);
    for target in [AUTHORIZE, PARTIES] {
        let status = async |headers: &[(&str, &str)], body: &str| {
            lab.send("POST", target, headers, body).await.status
        };
        assert_eq!(status(&[("authorization", &good)], &body).await, 401, "{target}");
        let wrong = ("Ocp-Apim-Subscription-Key", "wrong");
        assert_eq!(status(&[wrong, ("authorization", &good)], &body).await, 401, "{target}");
        assert_eq!(status(&[SUBSCRIPTION], &body).await, 401, "{target}");
        assert_eq!(status(&[SUBSCRIPTION, ("authorization", &raw)], &body).await, 401, "{target}");
        assert_eq!(status(&[SUBSCRIPTION, ("authorization", &poor)], &body).await, 403, "{target}");
        let all = [SUBSCRIPTION, ("authorization", good.as_str())];
        for broken in ["", "[]", "{}", r#"{"Request":{"Resource":3}}"#] {
            assert_eq!(status(&all, broken).await, 400, "{target} {broken}");
        }
    }
}

#[tokio::test]
async fn internal_endpoints_are_closed() {
    let lab = Lab::start().await;
    for target in [
        "/authorization/api/v1/decision",
        "/accessmanagement/api/v1/policyinformation/accesspackages",
        "/authentication/api/v1/systemuser/internal/systemusers/stream",
        "/authentication/api/v1/systemuser/byExternalId",
        "/resourceregistry/api/v1/access-lists/memberships",
    ] {
        let status = lab.altinn("GET", target, &Value::Null).await.status;
        assert!([401, 403, 404].contains(&status), "{target}: {status}");
    }
}

#[tokio::test]
async fn parties_show_packages_and_single_resources_without_actions() {
    let lab = Lab::start().await;
    let list = lab.parties(1).await;
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    let main = &list[0];
    assert_eq!(main["organizationNumber"], "310000507");
    assert_eq!(main["partyUuid"], "a0000000-0000-4000-8000-000310000507");
    assert_eq!(main["authorizedAccessPackages"], json!(["merverdiavgift", "skattegrunnlag"]));
    assert_eq!(main["personId"], Value::Null);
    assert_eq!(main["onlyHierarchyElementWithNoAccess"], false);
    let units = main["subunits"].as_array().unwrap();
    assert_eq!(units.len(), 2);
    assert_eq!(units[0]["parentId"], main["partyUuid"]);
    assert_eq!(units[0]["authorizedAccessPackages"], main["authorizedAccessPackages"]);
    let partial = lab.parties(2).await;
    assert_eq!(partial[0]["authorizedResources"], json!(["ske-krav-og-betalinger"]));
    let mismatch = lab.parties(12).await;
    let code = "vergemal-namsmannen-tvangsfullbyrdelse-forliksradet";
    assert!(mismatch[0]["authorizedAccessPackages"].as_array().unwrap().contains(&json!(code)));
}

#[tokio::test]
async fn a_parent_without_access_only_holds_its_sub_unit() {
    let lab = Lab::start().await;
    let list = lab.parties(11).await;
    assert_eq!(list[0]["organizationNumber"], "310000507");
    assert_eq!(list[0]["onlyHierarchyElementWithNoAccess"], true);
    assert_eq!(list[0]["authorizedAccessPackages"], json!([]));
    assert_eq!(list[0]["subunits"].as_array().map(Vec::len), Some(1));
    assert_eq!(list[0]["subunits"][0]["organizationNumber"], "310000515");
    assert_eq!(list[0]["subunits"][0]["authorizedAccessPackages"], json!(["lonn"]));
}

#[tokio::test]
async fn an_agent_sees_its_delegated_clients_and_nobody_without_rights_sees_anything() {
    let lab = Lab::start().await;
    let list = lab.parties(4).await;
    let numbers: Vec<_> =
        list.as_array().unwrap().iter().map(|party| party["organizationNumber"].clone()).collect();
    assert_eq!(numbers, ["310000701", "310000728", "310000736"]);
    for nothing in [8, 10, 77] {
        assert_eq!(lab.parties(nothing).await, json!([]), "{nothing}");
    }
}

#[tokio::test]
async fn a_filter_of_unknown_parties_is_no_filter() {
    let lab = Lab::start().await;
    let count = async |number: &str| {
        let body = json!({
            "type": "urn:altinn:systemuser:uuid", "value": user(4),
            "partyFilter": [{ "type": "urn:altinn:organization:identifier-no", "value": number }],
        });
        let reply = lab.altinn("POST", PARTIES, &body).await;
        reply.json().as_array().map(Vec::len).unwrap()
    };
    assert_eq!(count("310000701").await, 1);
    assert_eq!(count("310000744").await, 0);
    assert_eq!(count("999999999").await, 3);
}

#[tokio::test]
async fn resource_filters_trim_and_bad_arguments_are_refused() {
    let lab = Lab::start().await;
    let ask = async |query: &str, kind: &str, value: &str| {
        let target = format!("{PARTIES}?includeAccessPackages=true&{query}");
        lab.altinn("POST", &target, &json!({ "type": kind, "value": value })).await
    };
    let kind = "urn:altinn:systemuser:uuid";
    let own = ask("orgCode=skd", kind, &user(1)).await.json();
    assert_eq!(own[0]["organizationNumber"], "310000507");
    let some = ask("anyOfResourceIds=ske-arkiv", kind, &user(1)).await.json();
    assert_eq!(some[0]["authorizedAccessPackages"], json!(["skattegrunnlag"]));
    assert_eq!(ask("anyOfResourceIds=no-such", kind, &user(1)).await.json(), json!([]));
    assert_eq!(ask("orgCode=nav", kind, &user(1)).await.status, 400);
    assert_eq!(ask("", "urn:altinn:strange", "x").await.status, 400);
    let problem = ask("", kind, "x").await;
    assert_eq!(problem.status, 400);
    let texts = &problem.json()["errors"]["Argument exception"];
    assert_eq!(texts, &json!(["Not a well-formed uuid: x"]));
}

#[tokio::test]
async fn packages_are_found_by_urn_suffix() {
    let lab = Lab::start().await;
    let base = "/accessmanagement/api/v1/meta/info/accesspackages";
    let suffix = "namsmannen-tvangsfullbyrdelse-forliksradet";
    for urn in [suffix.to_owned(), format!("urn:altinn:accesspackage:{suffix}")] {
        let package = lab.get(&format!("{base}/package/urn/{urn}")).await.json();
        assert_eq!(package["code"], format!("vergemal-{suffix}"));
        assert_eq!(package["resources"][0]["refId"], "ske-utlegg");
    }
    assert_eq!(lab.get(&format!("{base}/package/urn/nei")).await.status, 404);
    let export = lab.get(&format!("{base}/export")).await.json();
    let packages = export[0]["areas"][0]["packages"].as_array().unwrap();
    assert_eq!(packages.len(), 10);
}

#[tokio::test]
async fn the_registry_gives_resources_policies_and_subjects() {
    let lab = Lab::start().await;
    let resource = lab.get(&format!("{REGISTRY}/ske-saravgift")).await;
    assert_eq!(resource.json()["accessListMode"], "Enabled");
    assert_eq!(resource.json()["hasCompetentAuthority"]["orgcode"], "skd");
    assert!(resource.text().contains("\n  \"identifier\""));
    let policy = lab.get(&format!("{REGISTRY}/ske-mva-melding/policy")).await;
    assert_eq!(policy.headers["content-type"], "text/xml");
    assert!(policy.text().contains("merverdiavgift"));
    let subjects = lab.get(&format!("{REGISTRY}/ske-a-melding/policy/subjects")).await.json();
    let urns: Vec<_> =
        subjects["data"].as_array().unwrap().iter().map(|row| row["urn"].clone()).collect();
    assert_eq!(
        urns,
        [
            "urn:altinn:accesspackage:lonn",
            "urn:altinn:accesspackage:regnskapsforer-lonn",
            "urn:altinn:rolecode:dagl",
        ]
    );
    let rules = lab.get(&format!("{REGISTRY}/ske-a-melding/policy/rules")).await.json();
    assert_eq!(rules.as_array().map(Vec::len), Some(6));
    for missing in ["no-such", "no-such/policy", "ske-uten-policy/policy"] {
        assert_eq!(lab.get(&format!("{REGISTRY}/{missing}")).await.status, 404, "{missing}");
    }
}

#[tokio::test]
async fn the_change_feed_is_paged_and_moves_what_changes_to_its_end() {
    let lab = Lab::start().await;
    let ids = |page: &Value| -> Vec<String> {
        let rows = page["data"].as_array().unwrap().iter();
        rows.map(|row| row["resourceId"].as_str().unwrap().to_owned()).collect()
    };
    let all = lab.get(&format!("{REGISTRY}/changes")).await.json();
    assert_eq!(ids(&all).len(), 10);
    assert!(!ids(&all).contains(&"ske-uten-policy".to_owned()));
    assert!(all["links"].get("next").is_none());
    let first = lab.get(&format!("{REGISTRY}/changes?limit=4")).await.json();
    let next = first["links"]["next"].as_str().unwrap();
    let next = next.strip_prefix(lab.sandbox.altinn_url()).unwrap();
    let second = lab.get(next).await.json();
    assert_eq!(ids(&second), ids(&all)[4..8]);
    lab.knob("POST", "/sandbox/resources/ske-mva-melding/touch", json!({})).await;
    let moved = lab.get(&format!("{REGISTRY}/changes")).await.json();
    assert_eq!(ids(&moved).last().map(String::as_str), Some("ske-mva-melding"));
    assert_eq!(ids(&moved).len(), 10);
    lab.knob("DELETE", "/sandbox/resources/ske-mva-melding", json!({})).await;
    let after = lab.get(&format!("{REGISTRY}/changes")).await.json();
    assert_eq!(ids(&after).len(), 9);
    for limit in ["0", "1001", "x"] {
        let reply = lab.get(&format!("{REGISTRY}/changes?limit={limit}")).await;
        assert_eq!(reply.status, 400);
        assert_eq!(reply.json()["validationErrors"][0]["code"], "RR.VLD-00011");
    }
}

#[tokio::test]
async fn the_owner_reads_its_access_lists() {
    let lab = Lab::start().await;
    let base = "/resourceregistry/api/v1/access-lists";
    let read = async |path: &str| lab.altinn("GET", &format!("{base}/{path}"), &Value::Null).await;
    assert_eq!(read("skd").await.json()["data"][0]["urn"], "urn:altinn:access-list:skd:bryggerier");
    let members = read("skd/bryggerier/members").await.json();
    assert_eq!(
        members["data"][0]["identifiers"]["urn:altinn:organization:identifier-no"],
        "urn:altinn:organization:identifier-no:310000612"
    );
    let all = read("skd/bryggerier/resource-connections").await.json();
    assert_eq!(all["data"][0]["resourceIdentifier"], "ske-saravgift");
    assert!(all["data"][0].get("actionFilters").is_none());
    let filtered = read("skd/bryggerier-les/resource-connections").await.json();
    assert_eq!(filtered["data"][0]["actionFilters"], json!(["read"]));
    assert_eq!(read("nav").await.status, 403);
    assert_eq!(read("skd/no-such").await.status, 404);
    assert_eq!(lab.get(&format!("{base}/skd")).await.status, 401);
}
