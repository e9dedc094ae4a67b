//! Worlds that are loaded, changed, saved, large, and asked without sockets.

use crate::lab::{Lab, user};
use portvakt_sandbox::{Model, Question, SeedError};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const SMALL: &str = r#"
service_owner: { code: skd, organization: "310000108" }
organizations:
  - { number: "310000108", name: EIER, unit_type: ORGL, party_id: 1 }
  - { number: "310000205", name: LEVERANDØR, unit_type: AS, party_id: 2 }
  - { number: "310000302", name: REGNSKAP, unit_type: AS, party_id: 3 }
  - { number: "310000701", name: ENKELTMANN, unit_type: ENK, party_id: 4, proprietor: "01819049999" }
  - { number: "310000728", name: AS, unit_type: AS, party_id: 6 }
persons:
  - { number: "01819049999", name: KARI SPESIELL, party_id: 5, date_of_birth: "1990-01-01" }
relations:
  - { client: "310000701", facilitator: "310000302", role: regnskapsforer }
  - { client: "310000728", facilitator: "310000302", role: rettighetshaver, packages: [skatt] }
systems:
  - { id: 310000205_x, vendor: "310000205", name: X, client_ids: [] }
packages:
  - { code: regnskapsforer-lonn, id: 43becc6a-8c6c-4e9e-bb2f-08fe588ada21, name: Lønn }
  - { code: skatt, id: 43becc6a-8c6c-4e9e-bb2f-08fe588ada22, name: Skatt }
  - { code: toll, id: 43becc6a-8c6c-4e9e-bb2f-08fe588ada23, name: Toll }
system_users:
  - id: 5e000000-0000-4000-8000-000000000001
    kind: agent
    system: 310000205_x
    owner: "310000302"
    delegations:
      - { party: "310000701", packages: [regnskapsforer-lonn] }
      - { party: "310000728", packages: [skatt] }
  - id: 5e000000-0000-4000-8000-000000000002
    kind: standard
    system: 310000205_x
    owner: "310000728"
    delegations:
      - { party: "310000728", packages: [toll], single_rights: { both/del: [read] } }
resources:
  - id: mixed
    title: { nb: Blandet }
    minimum_level: 3
    combining: first-applicable
    algorithm_family: policy
    rules:
      - { effect: deny, packages: [toll], actions: [write] }
      - { packages: [Regnskapsforer-Lonn, SKATT, toll], actions: [read, write] }
  - id: exact
    title: { nb: Nøyaktig }
    rules: [{ packages: [Toll], exact_case: true, actions: [read] }]
  - id: both
    title: { nb: Begge }
    combining: permit-overrides
    rules:
      - { package_groups: [[skatt, toll]], actions: [read] }
      - { packages: [toll], subresource: del, subresource_optional: true, actions: [write] }
      - { effect: deny, roles: [dagl], actions: [read] }
"#;

fn ask(number: u8, party: &str, resource: &str, action: &str) -> &'static str {
    Model::parse(SMALL).unwrap().decide(&user(number), party, resource, action).decision
}

#[test]
fn a_model_answers_without_a_socket() {
    // user, party, resource, action, decision; each permit has a neighbour that is refused
    let table = [
        (1, "310000701", "mixed", "read", "Permit"),
        (1, "01819049999", "mixed", "read", "Permit"),
        (1, "310000728", "mixed", "write", "Permit"),
        (2, "310000728", "mixed", "read", "Permit"),
        (2, "310000728", "mixed", "write", "Deny"),
        (2, "310000728", "exact", "read", "NotApplicable"),
        (2, "310000728", "both", "read", "NotApplicable"),
        (2, "310000728", "both", "write", "NotApplicable"),
        (2, "310000701", "mixed", "read", "NotApplicable"),
        (2, "310000728", "absent", "read", "Indeterminate"),
    ];
    for (number, party, resource, action, decision) in table {
        assert_eq!(
            ask(number, party, resource, action),
            decision,
            "{number} {party} {resource} {action}"
        );
    }
}

#[test]
fn a_part_of_a_resource_is_permitted_to_who_names_it() {
    let model = Model::parse(SMALL).unwrap();
    let user = user(2);
    let ask = |action, subresource| {
        let party = "310000728";
        let question =
            Question { system_user: &user, party, resource: "both", action, subresource };
        model.answer(question).decision
    };
    assert_eq!(ask("write", Some("del")), "Permit");
    assert_eq!(ask("write", Some("annet")), "NotApplicable");
    // a single right to the part, shown as the whole resource in authorized parties
    assert_eq!(ask("read", Some("del")), "Permit");
    assert_eq!(ask("read", None), "NotApplicable");
    let parties: Value = serde_json::from_str(&model.authorized_parties(&user)).unwrap();
    assert_eq!(parties[0]["authorizedResources"], json!(["both"]));
}

#[test]
fn persons_come_as_parties_with_their_number() {
    let model = Model::parse(SMALL).unwrap();
    let parties: Value = serde_json::from_str(&model.authorized_parties(&user(1))).unwrap();
    let people: Vec<&Value> =
        parties.as_array().unwrap().iter().filter(|it| it["type"] == "Person").collect();
    assert_eq!(people.len(), 1);
    assert_eq!(people[0]["personId"], "01819049999");
    assert_eq!(people[0]["organizationNumber"], Value::Null);
    assert_eq!(people[0]["authorizedAccessPackages"], json!(["regnskapsforer-lonn"]));
    let dead = SMALL.replace("date_of_birth: \"1990-01-01\"", "deceased: true");
    let parties = Model::parse(&dead).unwrap().authorized_parties(&user(1));
    assert!(!parties.contains("Person"), "{parties}");
}

#[test]
fn what_the_model_prints_is_what_the_wire_carries() {
    let model = Model::built_in().unwrap();
    assert!(model.policy_xml("ske-mva-melding").unwrap().contains("merverdiavgift"));
    assert!(model.policy_xml("ske-uten-policy").is_none());
    assert!(model.resource_json("ske-saravgift").unwrap().contains("\"Enabled\""));
    assert!(model.packages_json().contains("namsmannen-tvangsfullbyrdelse-forliksradet"));
    assert_eq!(model.access_lists_of("ske-saravgift"), ["bryggerier", "bryggerier-les"]);
    assert!(model.access_list_members_json("bryggerier").unwrap().contains("310000612"));
    assert!(model.access_list_connections_json("bryggerier-les").unwrap().contains("read"));
    assert_eq!(model.authorized_parties(&user(77)), "[]");
    assert_eq!(
        model.decide(&user(1), "310000507", "ske-mva-melding", "read").minimum_level,
        Some(3)
    );
}

#[test]
fn a_world_is_the_same_after_it_was_saved_and_loaded() {
    for world in [Model::built_in().unwrap(), Model::parse(SMALL).unwrap()] {
        let saved = world.to_yaml().unwrap();
        let loaded = Model::parse(&saved).unwrap();
        assert_eq!(loaded.to_yaml().unwrap(), saved);
        for number in 1..=12 {
            let of = |model: &Model| model.authorized_parties(&user(number));
            assert_eq!(of(&loaded), of(&world), "{number}");
        }
    }
}

#[test]
fn a_world_that_contradicts_itself_says_everything_at_once() {
    let text = SMALL
        .replace("packages: [Toll]", "packages: [Tull]")
        .replace("role: rettighetshaver, packages: [skatt]", "role: revisor");
    let Err(SeedError::Inconsistent(problems)) = Model::parse(&text) else { panic!() };
    assert_eq!(problems.len(), 2, "{problems:?}");
    let headless = SMALL.replacen("service_owner", "# service_owner", 1);
    let error = Model::parse(&headless).unwrap_err().to_string();
    assert!(error.contains("`service_owner` is missing"), "{error}");
}

#[tokio::test]
async fn a_running_sandbox_takes_another_world_and_gives_it_back() {
    let lab = Lab::start().await;
    let feed = async || lab.get("/resourceregistry/api/v1/resource/changes").await.json();
    let before = feed().await;
    let saved = lab.get("/sandbox/world").await;
    assert_eq!(saved.headers["content-type"], "application/yaml");
    let changed = saved.text().split("\nfeed:").next().unwrap().replacen(
        "    en: Archive",
        "    en: Attic",
        1,
    );
    assert!(changed.contains("en: Attic"));
    let put = lab.send("PUT", "/sandbox/world", &[], &changed).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let after = feed().await;
    let ids = |page: &Value| -> Vec<Value> {
        page["data"].as_array().unwrap().iter().map(|row| row["resourceId"].clone()).collect()
    };
    assert_eq!(ids(&after).len(), ids(&before).len());
    assert_eq!(ids(&after).last(), Some(&json!("ske-arkiv")), "what changed moved to the end");
    assert_eq!(lab.decision(1, "310000507", "ske-mva-melding", "write").await, "Permit");
    let bad = lab.send("PUT", "/sandbox/world", &[], "service_owner: 1").await;
    assert_eq!(bad.status, 400);
    assert!(bad.json()["error"].as_str().unwrap().contains("service_owner"), "{bad:?}");
    assert_eq!(lab.decision(1, "310000507", "ske-mva-melding", "write").await, "Permit");
}

#[tokio::test]
async fn a_patch_adds_and_replaces_and_leaves_the_rest() {
    let lab = Lab::start().await;
    let patch = r#"
system_users:
  - { id: 5e000000-0000-4000-8000-000000000010, kind: standard, system: 310000213_brekke_lonn, owner: "310000507",
      delegations: [{ party: "310000507", packages: [lonn] }] }
"#;
    assert_eq!(lab.decision(10, "310000507", "ske-a-melding", "read").await, "NotApplicable");
    assert_eq!(lab.send("PATCH", "/sandbox/world", &[], patch).await.status, 200);
    assert_eq!(lab.decision(10, "310000507", "ske-a-melding", "read").await, "Permit");
    assert_eq!(lab.decision(1, "310000507", "ske-mva-melding", "write").await, "Permit");
    lab.knob("POST", "/sandbox/reset", json!({})).await;
    assert_eq!(lab.decision(10, "310000507", "ske-a-melding", "read").await, "NotApplicable");
}

/// Organisation numbers in order, each with its check digit.
fn numbers() -> impl Iterator<Item = String> {
    (40_000_000_u32..).filter_map(|stem| {
        let digits = stem.to_string();
        let sum: u32 = digits
            .chars()
            .zip([3, 2, 7, 6, 5, 4, 3, 2])
            .map(|(digit, weight)| digit.to_digit(10).unwrap() * weight)
            .sum();
        match (11 - sum % 11) % 11 {
            10 => None,
            check => Some(format!("{digits}{check}")),
        }
    })
}

/// A world with one agent of so many clients and so many standard system users, as JSON.
fn large_world(clients: usize, users: usize) -> String {
    let base: Value = json!({
        "service_owner": { "code": "skd", "organization": "310000108" },
        "systems": [{ "id": "310000205_x", "vendor": "310000205", "name": "X" }],
        "packages": [
            { "code": "regnskapsforer-lonn", "id": "43becc6a-8c6c-4e9e-bb2f-08fe588ada21", "name": "L" },
            { "code": "skatt", "id": "43becc6a-8c6c-4e9e-bb2f-08fe588ada22", "name": "S" },
        ],
        "resources": [{ "id": "res1", "title": { "nb": "R" }, "rules": [
            { "packages": ["skatt", "regnskapsforer-lonn"], "actions": ["read"] },
        ] }],
    });
    let mut organizations = String::new();
    let mut relations = String::new();
    let mut delegations = String::new();
    let mut system_users = String::new();
    for (at, number) in ["310000108", "310000205", "310000302"].into_iter().enumerate() {
        let _ = write!(
            organizations,
            r#"{{"number":"{number}","name":"N","unit_type":"AS","party_id":{at}}},"#
        );
    }
    for (at, number) in numbers().take(clients.max(users)).enumerate() {
        let id = at + 10;
        let _ = write!(
            organizations,
            r#"{{"number":"{number}","name":"NAVN {at} AS","unit_type":"AS","party_id":{id}}},"#
        );
        if at < clients {
            let _ = write!(
                relations,
                r#"{{"client":"{number}","facilitator":"310000302","role":"regnskapsforer"}},"#
            );
            let _ = write!(
                delegations,
                r#"{{"party":"{number}","packages":["regnskapsforer-lonn"]}},"#
            );
        }
        if at < users {
            let _ = write!(
                system_users,
                r#"{{"id":"5e100000-0000-4000-8000-{at:012}","kind":"standard","system":"310000205_x","owner":"{number}","delegations":[{{"party":"{number}","packages":["skatt"]}}]}},"#
            );
        }
    }
    let agent = format!(
        r#"{{"id":"5e000000-0000-4000-8000-000000000004","kind":"agent","system":"310000205_x","owner":"310000302","delegations":[{}]}}"#,
        delegations.trim_end_matches(',')
    );
    let base = base.to_string();
    format!(
        r#"{},"organizations":[{}],"relations":[{}],"system_users":[{system_users}{agent}]}}"#,
        base.strip_suffix('}').unwrap(),
        organizations.trim_end_matches(','),
        relations.trim_end_matches(','),
    )
}

#[tokio::test]
async fn an_agent_with_ten_thousand_clients_among_many_is_answered_in_time() {
    let lab = Lab::start().await;
    let text = large_world(10_000, 20_000);
    let start = Instant::now();
    lab.sandbox.load_world(&text).unwrap();
    let loading = start.elapsed();
    let start = Instant::now();
    let model = Model::parse(&text).unwrap();
    let parties = model.authorized_parties(&user(4));
    let answering = start.elapsed().saturating_sub(loading);
    assert_eq!(
        serde_json::from_str::<Value>(&parties).unwrap().as_array().map(Vec::len),
        Some(10_000)
    );
    assert_eq!(
        model.decide(&user(4), &numbers().nth(9_999).unwrap(), "res1", "read").decision,
        "Permit"
    );
    assert_eq!(
        model.decide(&user(4), &numbers().nth(10_000).unwrap(), "res1", "read").decision,
        "NotApplicable"
    );
    // Generous: this is an unoptimised build on a machine with other things to do.
    assert!(loading < Duration::from_secs(20), "{loading:?}");
    assert!(answering < Duration::from_secs(5), "{answering:?}");
}
