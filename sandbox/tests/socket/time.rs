//! The virtual clock and Altinn's own caches.

use crate::lab::{Lab, client, decoded, now, user};
use portvakt_sandbox::SandboxOptions;
use serde_json::{Value, json};

#[tokio::test]
async fn tokens_and_exchanged_tokens_follow_the_clock() {
    let lab = Lab::start().await;
    let mint = json!({ "client_id": client(11), "scope": "skatteetaten:mva" });
    let (_, before) = decoded(&lab.minted(mint.clone()).await);
    let clock = lab.knob("POST", "/sandbox/clock", json!({ "advance_seconds": 3_600 })).await;
    assert_eq!(clock["offset_seconds"], 3_600);
    let (_, after) = decoded(&lab.minted(mint).await);
    let moved = after["iat"].as_i64().unwrap() - before["iat"].as_i64().unwrap();
    assert!((3_600..3_610).contains(&moved), "{moved}");
    lab.knob("POST", "/sandbox/clock", json!({ "set": 2_000_000_000 })).await;
    let clock = lab.get("/sandbox/clock").await.json();
    assert!((2_000_000_000..2_000_000_010).contains(&clock["now"].as_i64().unwrap()));
    assert!(clock["time"].as_str().unwrap().starts_with("2033-05-18T03:33:"), "{clock}");
    lab.knob("POST", "/sandbox/reset", json!({})).await;
    assert!((lab.sandbox.now() - now()).abs() <= 2);
    for bad in [json!({}), json!({ "set": 1, "advance_seconds": 1 }), json!({ "go": 1 })] {
        let reply = lab.send("POST", "/sandbox/clock", &[], &bad.to_string()).await;
        assert_eq!(reply.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn an_altinn_token_ends_after_its_half_hour() {
    let lab = Lab::start().await;
    let bearer = format!(
        "Bearer {}",
        lab.altinn_token("altinn:resourceregistry/accesslist.read altinn:serviceowner").await
    );
    let lists = async || {
        let headers = [("authorization", bearer.as_str())];
        lab.send("GET", "/resourceregistry/api/v1/access-lists/skd", &headers, "").await.status
    };
    assert_eq!(lists().await, 200);
    lab.sandbox.advance_clock(30 * 60 - 5);
    assert_eq!(lists().await, 200);
    lab.sandbox.advance_clock(5 + 11);
    assert_eq!(lists().await, 401);
}

fn right(action: &str) -> Value {
    json!({
        "system_user": user(2), "party": "310000604",
        "resource": "ske-krav-og-betalinger", "action": action,
    })
}

#[tokio::test]
async fn delegations_and_packages_are_five_minutes_old_and_absent_ones_too() {
    let lab = Lab::start().await;
    lab.knob("PUT", "/sandbox/caches", json!({ "enabled": true })).await;
    let write = async || lab.decision(2, "310000604", "ske-krav-og-betalinger", "write").await;
    let mva = async || lab.decision(1, "310000515", "ske-mva-melding", "write").await;
    assert_eq!((write().await.as_str(), mva().await.as_str()), ("NotApplicable", "Permit"));
    lab.knob("POST", "/sandbox/rights/grant", right("write")).await;
    let package =
        json!({ "system_user": user(1), "party": "310000507", "package": "merverdiavgift" });
    lab.knob("POST", "/sandbox/rights/revoke", package).await;
    // Authorized parties tell the truth at once.
    assert_eq!(lab.parties(1).await[0]["authorizedAccessPackages"], json!(["skattegrunnlag"]));
    lab.sandbox.advance_clock(290);
    assert_eq!((write().await.as_str(), mva().await.as_str()), ("NotApplicable", "Permit"));
    lab.sandbox.advance_clock(11);
    assert_eq!((write().await.as_str(), mva().await.as_str()), ("Permit", "NotApplicable"));
}

#[tokio::test]
async fn a_combination_never_asked_is_answered_from_today() {
    let lab = Lab::start().await;
    lab.sandbox.set_caching_pods(1);
    lab.knob("POST", "/sandbox/rights/grant", right("write")).await;
    let decision = lab.decision(2, "310000604", "ske-krav-og-betalinger", "write").await;
    assert_eq!(decision, "Permit");
}

#[tokio::test]
async fn policies_and_access_lists_are_ten_minutes_old() {
    let lab = Lab::start().await;
    lab.sandbox.set_caching_pods(1);
    let excise = async || lab.decision(5, "310000612", "ske-saravgift", "read").await;
    let mva = async || lab.decision(1, "310000507", "ske-mva-melding", "read").await;
    assert_eq!((excise().await.as_str(), mva().await.as_str()), ("Permit", "Permit"));
    let patch = "access_lists: [{ id: bryggerier, name: Bryggerier, members: [] }]";
    lab.sandbox.patch_world(patch).unwrap();
    let resource = json!({
        "id": "ske-mva-melding", "title": { "nb": "Mva" },
        "rules": [{ "packages": ["lonn"], "actions": ["read"] }],
    });
    lab.knob("PUT", "/sandbox/resources/ske-mva-melding", resource).await;
    lab.sandbox.advance_clock(590);
    assert_eq!((excise().await.as_str(), mva().await.as_str()), ("Permit", "Permit"));
    lab.sandbox.advance_clock(11);
    assert_eq!((excise().await.as_str(), mva().await.as_str()), ("Deny", "NotApplicable"));
}

#[tokio::test]
async fn two_instances_can_give_alternating_answers() {
    let options = SandboxOptions { caching_pods: 2, ..SandboxOptions::default() };
    let lab = Lab::start_with(options).await;
    let write = async || lab.decision(2, "310000604", "ske-krav-og-betalinger", "write").await;
    assert_eq!(write().await, "NotApplicable");
    lab.knob("POST", "/sandbox/rights/grant", right("write")).await;
    assert_eq!(write().await, "Permit");
    assert_eq!(write().await, "NotApplicable");
    lab.knob("PUT", "/sandbox/caches", json!({ "enabled": false })).await;
    assert_eq!(write().await, "Permit");
    assert_eq!(write().await, "Permit");
}
