//! A world with everything that can wait, be answered, end or be gone is the same after it was saved and loaded: the
//! same file, and the same answers to everybody.

use crate::lab::{Lab, client, user};
use crate::system_users::{Caller, package, registration, request, right};
use portvakt_sandbox::{SandboxOptions, Seed};
use serde_json::{Value, json};

const KARI: &str = "01819049901";
const OLA: &str = "01819049902";
const SIV: &str = "01819049903";
const FRIDA: &str = "01819049904";
const RUNE: &str = "01819049906";
const NORDLYS: &str = "310000205_nordlys";
const BYRA: &str = "310000213_brekke_byra";
/// More than the 180 days after which a request calls itself timed out.
const LONG: i64 = 181 * 86_400;
/// References that a careless writer of YAML would turn into something else.
const ODD: [&str; 14] = [
    "null",
    "~",
    "yes",
    "0123",
    "1e3",
    "0x1F",
    "- a: b",
    "{x}",
    "# no",
    "a: b #c",
    "\"'\\",
    "linje\n to\t",
    "2026-01-01",
    "\u{85}\u{2028}æøå🦊",
];

/// The id of what a vendor asked for.
async fn asked(vendor: &Caller<'_>, path: &str, body: Value) -> String {
    let reply = vendor.post(path, body).await;
    assert_eq!(reply.status, 201, "{path}: {reply:?}");
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn yes(person: &Caller<'_>, path: &str) {
    let reply = person.post(path, Value::Null).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
}

/// Requests of every kind in every state; their ids.
async fn requests(lab: &Lab) -> Vec<String> {
    let nordlys = lab.vendor(11).await;
    let (ola, siv) = (lab.person(OLA).await, lab.person(SIV).await);
    let mut ids = Vec::new();
    let named = |reference: &str| {
        let mut body = request("310000604");
        body["externalRef"] = json!(reference);
        body["integrationTitle"] = json!(format!("Navn {reference}"));
        body
    };
    for reference in ["venter", "sendt", "godkjent", "avvist", "trukket"].iter().chain(&ODD) {
        ids.push(asked(&nordlys, "systemuser/request/vendor", named(reference)).await);
    }
    let path = |id: &str, act: &str| format!("systemuser/request/51000604/{id}/{act}");
    yes(&siv, &path(&ids[1], "escalate")).await;
    yes(&ola, &path(&ids[2], "approve")).await;
    yes(&ola, &path(&ids[3], "reject")).await;
    let withdrawn = format!("systemuser/request/vendor/{}", ids[4]);
    assert_eq!(nordlys.call("DELETE", &withdrawn, &Value::Null).await.status, 202);
    lab.sandbox.advance_clock(-LONG);
    let old = lab.vendor(11).await;
    let mut back = named("gammel");
    back["redirectUrl"] = json!("https://nordlys.example/kvittering");
    ids.push(asked(&old, "systemuser/request/vendor", back).await);
    lab.sandbox.advance_clock(LONG);
    let read = format!("systemuser/request/vendor/{}", ids.last().unwrap());
    let timed_out = nordlys.get(&read).await.json();
    assert_eq!((&timed_out["timedOut"], &timed_out["status"]), (&json!(true), &json!("New")));
    ids
}

/// Change requests in every state; their ids.
async fn changes(lab: &Lab) -> Vec<String> {
    let nordlys = lab.vendor(11).await;
    let ola = lab.person(OLA).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        let id = format!("77777777-0000-4000-8000-00000000000{number}");
        let path = format!(
            "systemuser/changerequest/vendor?correlation-id={id}&system-user-id={}",
            user(3)
        );
        let body = json!({
            "requiredAccessPackages": [package("skattegrunnlag")],
            "unwantedRights": [right("ske-forskuddsskatt")],
        });
        ids.push(asked(&nordlys, &path, body).await);
    }
    let path = |id: &str, act: &str| format!("systemuser/changerequest/51000604/{id}/{act}");
    yes(&ola, &path(&ids[1], "approve")).await;
    yes(&ola, &path(&ids[2], "reject")).await;
    let withdrawn = format!("systemuser/changerequest/vendor/{}", ids[3]);
    assert_eq!(nordlys.call("DELETE", &withdrawn, &Value::Null).await.status, 202);
    ids
}

/// Agents: asked for, handed on, approved with clients, one whose relation has ended; their requests.
async fn agents(lab: &Lab) -> Vec<String> {
    let brekke = lab.vendor(21).await;
    let (frida, rune) = (lab.person(FRIDA).await, lab.person(RUNE).await);
    let mut system = registration("310000213_revisjon");
    system["clientId"] = json!([client(25)]);
    (system["rights"], system["isVisible"]) = (json!([]), json!(false));
    system["accessPackages"] = json!([package("ansvarlig-revisor")]);
    assert_eq!(brekke.post("systemregister/vendor", system).await.status, 200);
    let body = |system: &str, party: &str, reference: &str, code: &str| {
        json!({ "systemId": system, "partyOrgNo": party, "externalRef": reference,
            "accessPackages": [package(code)] })
    };
    let path = "systemuser/request/vendor/agent";
    let fjell = |reference| body(BYRA, "310000302", reference, "regnskapsforer-lonn");
    let mut ids = vec![
        asked(&brekke, path, fjell("venter")).await,
        asked(&brekke, path, fjell("sendt")).await,
        asked(&brekke, path, fjell("godkjent")).await,
        asked(&brekke, path, fjell("avvist")).await,
    ];
    let of = |id: &str, act: &str| format!("systemuser/request/agent/51000302/{id}/{act}");
    yes(&frida, &of(&ids[1], "escalate")).await;
    yes(&frida, &of(&ids[2], "approve")).await;
    yes(&frida, &of(&ids[3], "reject")).await;
    let hei = body("310000213_revisjon", "310000310", "oppdrag", "ansvarlig-revisor");
    ids.push(asked(&brekke, path, hei).await);
    yes(&rune, &format!("systemuser/request/agent/51000310/{}/approve", ids[4])).await;
    for (person, agent, number) in [
        (&frida, &ids[2], "310000744"),
        (&rune, &ids[4], "310000701"),
        (&rune, &ids[4], "310000728"),
    ] {
        let client = format!("a0000000-0000-4000-8000-000{number}");
        let path = format!("enduser/systemuser/clients?agent={agent}&client={client}");
        yes(person, &path).await;
    }
    // What was delegated through a relation that ended stays written, without effect.
    let ended = json!({ "client": "310000728", "facilitator": "310000310" });
    lab.knob("DELETE", "/sandbox/relations", ended).await;
    ids
}

/// What is gone, but still named: a deleted system user, system and resource.
async fn deletions(lab: &Lab) {
    let kari = lab.person(KARI).await;
    let path = format!("systemuser/51000507/{}", user(1));
    assert_eq!(kari.call("DELETE", &path, &Value::Null).await.status, 202);
    let brekke = lab.vendor(21).await;
    let mut system = registration("310000213_kort");
    system["clientId"] = json!([client(24)]);
    assert_eq!(brekke.post("systemregister/vendor", system).await.status, 200);
    let path = "systemregister/vendor/310000213_kort";
    assert_eq!(brekke.call("DELETE", path, &Value::Null).await.status, 200);
    // Systems and system users still name it.
    lab.knob("DELETE", "/sandbox/resources/ske-krav-og-betalinger", Value::Null).await;
}

/// Everything that vendors, people, Altinn and service owners are told.
async fn told(lab: &Lab, ids: &[String]) -> Vec<(String, u16, Value)> {
    let mut all = Vec::new();
    let address = lab.sandbox.address().to_string();
    let mut note = |what: String, reply: crate::lab::Reply| {
        let text = reply.text().replace(&address, "HERE");
        let mut told: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if let Some(members) = told.as_object_mut() {
            // Another one for each refusal.
            members.remove("traceId");
        }
        all.push((what, reply.status, told));
    };
    for number in [11, 21] {
        let vendor = lab.vendor(number).await;
        let mut paths = vec!["systemregister/vendor".to_owned()];
        for system in [NORDLYS, BYRA, "310000213_revisjon", "310000213_kort"] {
            paths.extend([
                format!("systemregister/vendor/{system}"),
                format!("systemregister/vendor/{system}/changelog"),
                format!("systemuser/vendor/bysystem/{system}"),
                format!("systemuser/request/vendor/bysystem/{system}"),
                format!("systemuser/request/vendor/agent/bysystem/{system}"),
                format!("systemuser/changerequest/vendor/bysystem/{system}"),
            ]);
        }
        for id in ids {
            paths.extend([
                format!("systemuser/request/vendor/{id}"),
                format!("systemuser/request/vendor/agent/{id}"),
                format!("systemuser/changerequest/vendor/{id}"),
            ]);
        }
        for path in paths {
            note(format!("vendor {number} {path}"), vendor.get(&path).await);
        }
    }
    for (person, party, number) in [
        (KARI, "51000507", "310000507"),
        (OLA, "51000604", "310000604"),
        (FRIDA, "51000302", "310000302"),
        (RUNE, "51000310", "310000310"),
    ] {
        let caller = lab.person(person).await;
        for path in [
            format!("systemuser/{party}"),
            format!("systemuser/agent/{party}"),
            format!("systemuser/request/{party}/{number}/pending"),
            format!("systemuser/request/agent/{party}/{number}/pending"),
            format!("enduser/systemuser/agents?party={number}"),
        ] {
            note(path.clone(), caller.get(&path).await);
        }
        for id in ids.iter().chain([&user(1), &user(3), &user(4)]) {
            for path in [
                format!("systemuser/{party}/{id}"),
                format!("systemuser/{party}/{id}/delegations"),
                format!("enduser/systemuser/clients?agent={id}"),
                format!("enduser/systemuser/clients/available?agent={id}"),
            ] {
                note(path.clone(), caller.get(&path).await);
            }
        }
    }
    let altinn = lab.with_scope(1, "altinn:authentication/systemuser.admin").await;
    let stream = "systemuser/internal/systemusers/stream";
    note(stream.to_owned(), altinn.get(stream).await);
    for path in
        ["/resourceregistry/api/v1/resource/changes", "/sandbox/relations", "/sandbox/persons"]
    {
        note(path.to_owned(), lab.get(path).await);
    }
    all
}

/// Decisions and parties of the system users.
async fn decided(lab: &Lab, ids: &[String]) -> Vec<Value> {
    let mut all = Vec::new();
    for id in ids.iter().chain([&user(1), &user(3), &user(4)]) {
        let body = json!({ "type": "urn:altinn:systemuser:uuid", "value": id });
        let path =
            "/accessmanagement/api/v1/resourceowner/authorizedparties?includeAccessPackages=true";
        all.push(lab.altinn("POST", path, &body).await.json());
        for party in ["310000507", "310000604", "310000701", "310000728", "310000744"] {
            for resource in ["ske-mva-melding", "ske-a-melding", "ske-krav-og-betalinger"] {
                let question =
                    crate::lab::question(id, &[crate::lab::organization(party)], resource, "read");
                all.push(lab.authorize(&question).await["response"][0]["decision"].clone());
            }
        }
    }
    all
}

#[tokio::test]
async fn a_world_with_requests_in_every_state_is_the_same_after_it_was_saved_and_loaded() {
    let lab = Lab::start().await;
    let mut ids = requests(&lab).await;
    ids.extend(changes(&lab).await);
    ids.extend(agents(&lab).await);
    deletions(&lab).await;
    let saved = lab.get("/sandbox/world").await.text();
    let before = (told(&lab, &ids).await, decided(&lab, &ids).await);
    let permits = before.1.iter().filter(|it| **it == "Permit").count();
    assert!((5..100).contains(&permits), "{permits}: both answers are there");

    // At the start of another sandbox, in place of another world, and on top of the same one.
    let seed = Seed::Text(saved.clone());
    let other = Lab::start_with(SandboxOptions { seed, ..SandboxOptions::default() }).await;
    let third = Lab::start().await;
    for (lab, method) in [(&third, "PUT"), (&lab, "PUT")] {
        let put = lab.send(method, "/sandbox/world", &[], &saved).await;
        assert_eq!(put.status, 200, "{}", put.text());
    }
    for lab in [&other, &third, &lab] {
        assert_eq!(lab.get("/sandbox/world").await.text(), saved);
        let after = told(lab, &ids).await;
        assert_eq!(after.len(), before.0.len());
        for (after, before) in after.iter().zip(&before.0) {
            assert_eq!(after, before);
        }
        assert_eq!(decided(lab, &ids).await, before.1);
    }
    let json = lab.send("GET", "/sandbox/world", &[("accept", "application/json")], "").await;
    assert_eq!(other.send("PUT", "/sandbox/world", &[], &json.text()).await.status, 200);
    assert_eq!(other.get("/sandbox/world").await.text(), saved, "JSON says the same");

    // It goes on from there: what waited can be answered, what was withdrawn is gone.
    let ola = other.person(OLA).await;
    yes(&ola, &format!("systemuser/request/51000604/{}/reject", ids[1])).await;
    let gone = other.vendor(11).await.get(&format!("systemuser/request/vendor/{}", ids[4])).await;
    assert_eq!(gone.json()["code"], "AUTH-00010");
}

#[tokio::test]
async fn what_ended_by_a_knob_can_be_saved_and_a_mistake_is_still_told() {
    let lab = Lab::start().await;
    let ended = json!({ "client": "310000701", "facilitator": "310000302" });
    lab.knob("DELETE", "/sandbox/relations", ended.clone()).await;
    lab.knob("DELETE", "/sandbox/resources/ske-forskuddsskatt", Value::Null).await;
    assert_eq!(lab.decision(4, "310000701", "ske-a-melding", "read").await, "NotApplicable");
    // A patch of something else is no reason to complain about it.
    let patch = json!({ "scopes": [{ "name": "skatteetaten:ny", "lifetime_seconds": 60 }] });
    let reply = lab.send("PATCH", "/sandbox/world", &[], &patch.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let saved = lab.get("/sandbox/world").await.text();
    assert!(saved.contains("without_effect: true") && saved.contains("ske-forskuddsskatt"));
    // When the relation is there again, so is the effect, and the mark goes.
    let relation =
        json!({ "client": "310000701", "facilitator": "310000302", "role": "regnskapsforer" });
    lab.knob("PUT", "/sandbox/relations", relation).await;
    assert_eq!(lab.decision(4, "310000701", "ske-a-melding", "read").await, "Permit");
    assert!(!lab.get("/sandbox/world").await.text().contains("without_effect"));
    // Without the marks the same file is a mistake.
    let unmarked = saved.replace("without_effect: true", "without_effect: false");
    let refused = lab.send("PUT", "/sandbox/world", &[], &unmarked).await;
    let text = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(text.contains("`310000701` does not offer"), "{text}");
    let unmarked = saved.replace("deleted_resources:", "subscription_keys_of_old:");
    assert_eq!(lab.send("PUT", "/sandbox/world", &[], &unmarked).await.status, 400);
}
