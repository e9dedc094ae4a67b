//! Each problem and validation error that system users and their register know, provoked once beside a neighbour that
//! is accepted.

use crate::lab::{Lab, Reply, client, user};
use crate::system_users::{Caller, package, registration, right};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where the codes are written.
const CODES: &str = include_str!("../../src/altinn/system_users/problems.rs");
/// Tests that provoke other codes.
const TESTS: [&str; 2] = [include_str!("system_users.rs"), include_str!("examples.rs")];

/// Codes that no request can provoke, and why.
const OUT_OF_REACH: [(&str, &str); 9] = [
    ("AUTH-00006", "a stored request is handed out before its status is looked at"),
    ("AUTH-00007", "a stored request is handed out before its status is looked at"),
    ("AUTH-00008", "a stored request is handed out before its status is looked at"),
    ("AUTH-00009", "a stored request is handed out before its status is looked at"),
    ("AUTH-00014", "the sandbox always knows why something cannot be given"),
    ("AUTH-00028", "a customer id is a UUID or the framework's own refusal"),
    ("AUTH-00051", "a delegation that was checked is written in the same breath"),
    ("AUTH-00060", "a request is read and written under one lock"),
    ("AUTH-00012", "not provoked yet: the store is full at 100 000 requests"),
];

const KARI: &str = "01819049901";
const OLA: &str = "01819049902";
const FRIDA: &str = "01819049904";
const KLARA: &str = "01819049905";
/// Access manager of Strand Bygg with one single right on a resource without a policy.
const TUVA: &str = "01819049998";
/// General manager of Skjær Bryggeri, which is on an access list.
const BRYNJAR: &str = "01819049999";
const ODDEN: &str = "a0000000-0000-4000-8000-000310000744";
const FJELL: &str = "a0000000-0000-4000-8000-000310000302";
const BAKKEN: &str = "a0000000-0000-4000-8000-000310000507";
/// Waits for Fjell Regnskap.
const AGENT_REQUEST: &str = "4e000000-0000-4000-8000-000000000001";

/// One system for each resource, beside what the seed has.
fn world() -> Value {
    let system = |resource: &str| {
        let id = format!("310000213_{resource}");
        json!({ "id": id, "vendor": "310000213", "name": id, "rights": [{ "resource": resource }] })
    };
    let resource = |id: &str, change: Value| {
        let mut resource = json!({
            "id": id, "title": { "nb": id },
            "rules": [{ "packages": ["skattegrunnlag"], "actions": ["read"] }],
        });
        resource.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        resource
    };
    let holding = |organization: &str, role: &str, rights: Value| json!([{ "organization": organization, "roles": [role], "single_rights": rights }]);
    json!({
        "resources": [
            resource("helt-vanlig", json!({})),
            resource("bare-gjennom-pakke", json!({ "delegable": false })),
            resource("et-skjema", json!({ "resource_type": "MaskinportenSchema" })),
        ],
        "systems": [
            system("helt-vanlig"),
            system("bare-gjennom-pakke"),
            system("et-skjema"),
            system("ske-forskuddsskatt"),
            system("ske-uten-policy"),
            system("ske-skjermet-skattegrunnlag"),
            system("ske-a-melding"),
            system("ske-saravgift"),
            {
                "id": "310000213_verge", "vendor": "310000213", "name": "Verge",
                "packages": ["lonn", "vergemal-namsmannen-tvangsfullbyrdelse-forliksradet"],
            },
        ],
        "persons": [
            { "number": TUVA, "name": "TUVA", "party_id": 52_000_098,
              "holds": holding("310000604", "tilgangsstyrer", json!({ "ske-uten-policy": ["read"] })) },
            { "number": BRYNJAR, "name": "BRYNJAR", "party_id": 52_000_099,
              "holds": holding("310000612", "daglig_leder", json!({})) },
        ],
        "requests": [{
            "id": AGENT_REQUEST, "kind": "agent", "system": "310000213_brekke_byra",
            "party": "310000302", "external_ref": "ny", "packages": ["regnskapsforer-lonn"],
        }],
    })
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// The vendor of Brekke's systems.
    Vendor,
    /// The same with a token that does not say whose it is.
    Nobody,
    Person(&'static str),
    /// A login at level 4.
    Person4(&'static str),
}

impl Who {
    async fn enter(self, lab: &Lab) -> Caller<'_> {
        match self {
            Self::Vendor => lab.vendor(21).await,
            Self::Nobody => lab.vendor_with(21, json!({ "consumer": null })).await,
            Self::Person(number) => lab.person(number).await,
            Self::Person4(number) => lab.person_at(number, 4).await,
        }
    }
}

/// A request: who, method, path below the base, body.
type Ask = (Who, &'static str, String, Value);

/// One code: its cause, the request that is refused with this status, and one hardly different that is accepted.
struct Row {
    code: &'static str,
    cause: &'static str,
    status: u16,
    refused: Ask,
    accepted: Ask,
}

/// The customer chooses a system.
fn choice(who: Who, party: u32, system: &str) -> Ask {
    let body = json!({ "systemId": format!("310000213_{system}") });
    (who, "POST", format!("systemuser/{party}/create"), body)
}

/// A vendor asks for a system user; `change` is laid over a good request.
fn asked(who: Who, kind: &str, change: &Value) -> Ask {
    let mut body = json!({
        "systemId": "310000213_brekke_lonn", "partyOrgNo": "310000728", "externalRef": "ny",
        "accessPackages": [package("lonn")],
    });
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    (who, "POST", format!("systemuser/request/{kind}"), body)
}

/// One system is registered anew.
fn registered(id: &str, resource: &str) -> Ask {
    let mut body = registration(id);
    body["rights"] = json!([right(resource)]);
    (Who::Vendor, "PUT", "systemregister/vendor/310000213_verge".to_owned(), body)
}

fn plain(who: Who, method: &'static str, path: String) -> Ask {
    (who, method, path, Value::Null)
}

/// All of them.
fn rows() -> impl Iterator<Item = Row> {
    approvals().into_iter().chain(problems()).chain(validations())
}

/// Why an approver cannot give a resource; the status is always 403.
fn approvals() -> Vec<Row> {
    let row = |code, cause, refused, accepted| Row { code, cause, status: 403, refused, accepted };
    let (kari, ola) = (Who::Person(KARI), Who::Person(OLA));
    vec![
        row(
            "AUTH-00016",
            "the resource is given by roles, and the approver has none",
            choice(ola, 51_000_604, "ske-forskuddsskatt"),
            choice(kari, 51_000_507, "ske-forskuddsskatt"),
        ),
        row(
            "AUTH-00018",
            "nobody gave the approver the resource, which has no policy",
            choice(ola, 51_000_604, "ske-uten-policy"),
            choice(Who::Person(TUVA), 51_000_604, "ske-uten-policy"),
        ),
        row(
            "AUTH-00020",
            "the login is at level 3, the resource demands 4",
            choice(kari, 51_000_507, "ske-skjermet-skattegrunnlag"),
            choice(Who::Person4(KARI), 51_000_507, "ske-skjermet-skattegrunnlag"),
        ),
        row(
            "AUTH-00068",
            "the resource is given by packages, and the approver has another",
            choice(ola, 51_000_604, "ske-a-melding"),
            choice(kari, 51_000_507, "ske-a-melding"),
        ),
        row(
            "AUTH-00069",
            "the owner is on no access list of the resource",
            choice(kari, 51_000_507, "ske-saravgift"),
            choice(Who::Person(BRYNJAR), 51_000_612, "ske-saravgift"),
        ),
        row(
            "AUTH-00070",
            "the resource cannot be given singly",
            choice(kari, 51_000_507, "bare-gjennom-pakke"),
            choice(kari, 51_000_507, "helt-vanlig"),
        ),
        row(
            "AUTH-00071",
            "the resource stands for a Maskinporten scope",
            choice(kari, 51_000_507, "et-skjema"),
            choice(ola, 51_000_604, "helt-vanlig"),
        ),
    ]
}

/// The problems of requests and of system users.
fn problems() -> Vec<Row> {
    let row =
        |code, cause, status, refused, accepted| Row { code, cause, status, refused, accepted };
    let (kari, frida) = (Who::Person(KARI), Who::Person(FRIDA));
    let of_party = |who, party: u32| {
        plain(who, "GET", format!("systemuser/request/agent/{party}/{AGENT_REQUEST}"))
    };
    let of_agent = |id: &str| plain(frida, "GET", format!("systemuser/request/agent/{id}"));
    let verge =
        |name: &str| json!({ "systemId": "310000213_verge", "accessPackages": [package(name)] });
    let delegations = |who, party: u32, owner: &str, id: u8| {
        plain(who, "GET", format!("systemuser/agent/{party}/{owner}/{}/delegations", user(id)))
    };
    let gone =
        |who, party: u32, id: u8| plain(who, "DELETE", format!("systemuser/{party}/{}", user(id)));
    vec![
        row(
            "AUTH-00023",
            "the token does not name the vendor",
            401,
            asked(Who::Nobody, "vendor", &json!({})),
            asked(Who::Vendor, "vendor", &json!({})),
        ),
        row(
            "AUTH-00026",
            "a redirect URL, and the system has none",
            400,
            asked(
                Who::Vendor,
                "vendor",
                &json!({ "externalRef": "to", "redirectUrl": "https://brekke.example/" }),
            ),
            asked(Who::Vendor, "vendor", &json!({ "externalRef": "to" })),
        ),
        row(
            "AUTH-00030",
            "there is no agent request with this id",
            404,
            of_agent(&user(1)),
            of_agent(AGENT_REQUEST),
        ),
        row(
            "AUTH-00034",
            "a standard system user where an agent is meant",
            400,
            delegations(kari, 51_000_507, BAKKEN, 1),
            delegations(frida, 51_000_302, FJELL, 4),
        ),
        row(
            "AUTH-00036",
            "an agent where a standard system user is meant",
            400,
            gone(frida, 51_000_302, 4),
            gone(kari, 51_000_507, 10),
        ),
        row(
            "AUTH-00042",
            "the agent request is for another party",
            403,
            of_party(kari, 51_000_507),
            of_party(frida, 51_000_302),
        ),
        row(
            "AUTH-00065",
            "an agent cannot pass the package on",
            400,
            asked(
                Who::Vendor,
                "vendor/agent",
                &verge("namsmannen-tvangsfullbyrdelse-forliksradet"),
            ),
            asked(Who::Vendor, "vendor/agent", &verge("lonn")),
        ),
    ]
}

/// Validation errors; the status is always 400.
fn validations() -> Vec<Row> {
    let row = |code, cause, refused, accepted| Row { code, cause, status: 400, refused, accepted };
    let clients = |id: &str, client: &str| {
        let path = format!("enduser/systemuser/clients?agent={id}{client}");
        plain(Who::Person(KLARA), "POST", path)
    };
    let odden = format!("&client={ODDEN}");
    let listed = |id: &str| {
        plain(Who::Person(KLARA), "GET", format!("enduser/systemuser/clients?agent={id}"))
    };
    vec![
        row(
            "AUTH.VLD-00012",
            "the id in the body is not the id in the URL",
            registered("310000213_annen", "helt-vanlig"),
            registered("310000213_verge", "helt-vanlig"),
        ),
        row("AUTH.VLD-00014", "no system user has this id", listed(&client(1)), listed(&user(4))),
        row(
            "AUTH.VLD-00015",
            "the system user is not an agent",
            listed(&user(1)),
            listed(&user(4)),
        ),
        row(
            "AUTH.VLD-00016",
            "no client is named",
            clients(&user(4), ""),
            clients(&user(4), &odden),
        ),
        row(
            "AUTH.VLD-00017",
            "no system can need a resource of this type",
            registered("310000213_verge", "et-skjema"),
            registered("310000213_verge", "helt-vanlig"),
        ),
    ]
}

async fn ask(lab: &Lab, (who, method, path, body): &Ask) -> Reply {
    who.enter(lab).await.call(method, path, body).await
}

/// The code of a problem and those of its validation errors.
fn codes(reply: &Reply) -> Vec<String> {
    let problem: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let errors = problem["validationErrors"].as_array().cloned().unwrap_or_default();
    let all = errors.iter().chain(std::iter::once(&problem));
    all.filter_map(|it| it["code"].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_refusal_has_its_code_and_a_neighbour_that_is_accepted() {
    let lab = Lab::start().await;
    let patched = lab.send("PATCH", "/sandbox/world", &[], &world().to_string()).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    let mut wrong = Vec::new();
    for Row { code, cause, status, refused, accepted } in rows() {
        let reply = ask(&lab, &refused).await;
        let right = if code.contains("VLD") { vec![code, "STD-00000"] } else { vec![code] };
        if reply.status != status || codes(&reply) != right {
            wrong.push(format!("{code}, {cause}: {} {}", reply.status, reply.text()));
        }
        let reply = ask(&lab, &accepted).await;
        if !(200..300).contains(&reply.status) {
            wrong.push(format!(
                "{code}, the neighbour of {cause}: {} {}",
                reply.status,
                reply.text()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every code in the source: rows `(4, 400,` of the problems, arms `4 => "` of the validation errors.
fn written() -> BTreeSet<String> {
    let number = |text: &str| text.trim().parse::<u8>().ok();
    let lines = CODES.lines().map(str::trim);
    lines
        .filter_map(|line| {
            let problem = line.strip_prefix('(').and_then(|rest| rest.split_once(", "));
            let problem = problem.and_then(|(first, _)| number(first));
            let error = line.split_once(" => \"").and_then(|(first, _)| number(first));
            let problem = problem.map(|number| format!("AUTH-{number:05}"));
            problem.or(error.map(|number| format!("AUTH.VLD-{number:05}")))
        })
        .collect()
}

#[test]
fn every_code_is_provoked_here_or_in_another_test_or_cannot_be() {
    let written = written();
    assert!(written.len() > 60, "{written:?}");
    let elsewhere = |code: &str| TESTS.iter().any(|text| text.contains(&format!("\"{code}\"")));
    let mut covered: BTreeMap<&str, &str> = OUT_OF_REACH.into_iter().collect();
    assert_eq!(covered.len(), OUT_OF_REACH.len());
    for row in rows() {
        assert_eq!(covered.insert(row.code, row.cause), None, "{} twice", row.code);
    }
    let unknown: Vec<_> = covered.keys().filter(|code| !written.contains(**code)).collect();
    assert!(unknown.is_empty(), "the source does not know {unknown:?}");
    let reached: Vec<_> = OUT_OF_REACH.iter().filter(|(code, _)| elsewhere(code)).collect();
    assert!(reached.is_empty(), "another test provokes {reached:?}");
    let missing: Vec<_> = written
        .iter()
        .filter(|code| !covered.contains_key(code.as_str()) && !elsewhere(code))
        .collect();
    assert!(missing.is_empty(), "no test provokes {missing:?}: add a row");
}
