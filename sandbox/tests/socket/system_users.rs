//! The system register, both ways to a system user, change requests and client delegation.

use crate::lab::{Lab, Reply, client, user};
use serde_json::{Value, json};
use uuid::Uuid;

const BASE: &str = "/authentication/api/v1";
const VENDOR: &str = "altinn:authentication/systemregister.write \
     altinn:authentication/systemuser.request.write altinn:authentication/systemuser.request.read";
const KARI: &str = "01819049901";
const OLA: &str = "01819049902";
const SIV: &str = "01819049903";
const FRIDA: &str = "01819049904";
const KLARA: &str = "01819049905";

/// Somebody with a token.
pub(crate) struct Caller<'a> {
    lab: &'a Lab,
    bearer: String,
}

impl Caller<'_> {
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        let headers =
            [("authorization", self.bearer.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.lab.send(method, &format!("{BASE}/{path}"), &headers, &body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, &body).await
    }
}

impl Lab {
    /// A vendor with a raw Maskinporten token.
    pub(crate) async fn vendor(&self, number: u8) -> Caller<'_> {
        self.with_scope(number, VENDOR).await
    }

    /// A vendor whose token differs in these claims.
    pub(crate) async fn vendor_with(&self, number: u8, claims: Value) -> Caller<'_> {
        let mint =
            json!({ "client_id": client(number), "scope": VENDOR, "claims_override": claims });
        let token = self.minted(mint).await;
        Caller { lab: self, bearer: format!("Bearer {token}") }
    }

    pub(crate) async fn with_scope(&self, number: u8, scope: &str) -> Caller<'_> {
        let token = self.minted(json!({ "client_id": client(number), "scope": scope })).await;
        Caller { lab: self, bearer: format!("Bearer {token}") }
    }

    pub(crate) async fn person(&self, number: &str) -> Caller<'_> {
        self.person_at(number, 3).await
    }

    /// A person with a login at this level.
    pub(crate) async fn person_at(&self, number: &str, level: u8) -> Caller<'_> {
        let body = json!({ "person": number, "level": level });
        let login = self.knob("POST", "/sandbox/portal/login", body).await;
        let token = login["access_token"].as_str().unwrap();
        Caller { lab: self, bearer: format!("Bearer {token}") }
    }
}

pub(crate) fn right(resource: &str) -> Value {
    json!({ "resource": [{ "id": "urn:altinn:resource", "value": resource }] })
}

pub(crate) fn package(suffix: &str) -> Value {
    json!({ "urn": format!("urn:altinn:accesspackage:{suffix}") })
}

pub(crate) fn registration(id: &str) -> Value {
    json!({
        "id": id,
        "vendor": { "ID": "0192:310000213" },
        "name": { "nb": "Brekke Ny", "nn": "Brekke Ny", "en": "Brekke New" },
        "description": { "nb": "Ny", "nn": "Ny", "en": "New" },
        "rights": [right("ske-krav-og-betalinger")],
        "accessPackages": [package("skattegrunnlag")],
        "clientId": [client(22)],
        "allowedRedirectUrls": ["https://brekke.example/tilbake"],
    })
}

pub(crate) fn request(party: &str) -> Value {
    json!({
        "systemId": "310000205_nordlys", "partyOrgNo": party,
        "rights": [right("ske-krav-og-betalinger")],
        "accessPackages": [package("skattegrunnlag")],
    })
}

fn codes(reply: &Reply) -> Vec<Value> {
    let body = reply.json();
    let errors = body["validationErrors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["code"].clone()).collect()
}

#[tokio::test]
async fn a_vendor_keeps_its_systems_in_the_register() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(21).await;
    let made = vendor.post("systemregister/vendor", registration("310000213_ny")).await;
    assert_eq!(made.status, 200, "{made:?}");
    assert!(made.json().as_str().is_some_and(|id| Uuid::try_parse(id).is_ok()));
    let read = vendor.get("systemregister/vendor/310000213_ny").await.json();
    assert_eq!(read["vendor"]["ID"], "0192:310000213");
    assert_eq!((&read["isDeleted"], &read["isVisible"]), (&json!(false), &json!(true)));
    let rights = json!([right("ske-forskuddsskatt")]);
    let put = vendor.call("PUT", "systemregister/vendor/310000213_ny/rights", &rights).await;
    assert_eq!(put.json(), json!({ "succeeded": true }));
    let packages = json!([package("lonn")]);
    let path = "systemregister/vendor/310000213_ny/accesspackages";
    assert_eq!(vendor.call("PUT", path, &packages).await.status, 200);
    let portal = lab.person(KARI).await;
    let seen = portal.get("systemregister/310000213_ny").await.json();
    assert_eq!(seen["rights"], rights);
    assert_eq!(seen["systemVendorOrgName"], "BREKKE PROGRAMVARE AS");
    let other = lab.vendor(11).await;
    let body = registration("310000213_ny");
    let put = other.call("PUT", "systemregister/vendor/310000213_ny", &body).await;
    assert_eq!(put.status, 403);
    let gone = vendor.call("DELETE", "systemregister/vendor/310000213_ny", &Value::Null).await;
    assert_eq!(gone.json(), json!({ "succeeded": true }));
    let log = vendor.get("systemregister/vendor/310000213_ny/changelog").await.json();
    let kinds: Vec<&Value> = log.as_array().unwrap().iter().map(|it| &it["changeType"]).collect();
    assert_eq!(kinds, ["create", "rightsupdate", "accesspackageupdate", "delete"]);
    let again = registration("310000213_ny");
    let put = vendor.call("PUT", "systemregister/vendor/310000213_ny", &again).await;
    assert_eq!(put.status, 400);
}

#[tokio::test]
async fn a_registration_with_mistakes_is_refused_with_their_codes() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(21).await;
    let table: [(&str, Value, &str); 14] = [
        ("/vendor/ID", json!("310000213"), "AUTH.VLD-00000"),
        ("/id", json!("310000205_x"), "AUTH.VLD-00001"),
        ("/id", json!("310000213_brekke_lonn"), "AUTH.VLD-00002"),
        ("/rights/0/resource/0/value", json!("ingen"), "AUTH.VLD-00003"),
        ("/clientId", json!([client(21)]), "AUTH.VLD-00004"),
        ("/allowedRedirectUrls/0", json!("http://x.example"), "AUTH.VLD-00005"),
        ("/rights", json!([right("ske-arkiv"), right("ske-arkiv")]), "AUTH.VLD-00006"),
        ("/accessPackages", json!([package("lonn"), package("lonn")]), "AUTH.VLD-00007"),
        ("/accessPackages/0", package("ingen"), "AUTH.VLD-00008"),
        ("/rights/0/resource/0/id", json!("urn:altinn:org"), "AUTH.VLD-00009"),
        ("/clientId", json!([client(22), client(22)]), "AUTH.VLD-00011"),
        ("/id", json!("310000213_med mellomrom"), "AUTH.VLD-00013"),
        ("/accessPackages/0", package("regnskapsforer-lonn"), "AUTH.VLD-00018"),
        ("/id", json!("310000213_god"), ""),
    ];
    for (place, value, code) in table {
        let mut body = registration("310000213_ny");
        *body.pointer_mut(place).unwrap() = value;
        let reply = vendor.post("systemregister/vendor", body).await;
        if code.is_empty() {
            assert_eq!(reply.status, 200, "{place}");
        } else {
            assert_eq!(reply.status, 400, "{place}");
            assert!(codes(&reply).contains(&json!(code)), "{place}: {}", reply.text());
        }
    }
    let reader = lab.with_scope(21, "altinn:authentication/systemuser.request.read").await;
    let refused = reader.post("systemregister/vendor", registration("310000213_x")).await;
    assert_eq!(refused.status, 403);
    assert_eq!(lab.get(&format!("{BASE}/systemregister/vendor")).await.status, 401);
    let framework = vendor.post("systemregister/vendor", json!({ "id": "x" })).await;
    assert!(framework.status == 400 && framework.json()["errors"].is_object());
    let absent = vendor.get("systemregister/vendor/x/nothing/here").await;
    assert_eq!(absent.status, 501);
}

#[tokio::test]
async fn a_request_that_is_approved_becomes_a_system_user_with_what_the_approver_may_give() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let mut body = request("310000604");
    body["externalRef"] = json!("ny-avtale");
    body["redirectUrl"] = json!("https://nordlys.example/kvittering?sak=1");
    let made = vendor.post("systemuser/request/vendor", body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let asked = made.json();
    let id = asked["id"].as_str().unwrap().to_owned();
    assert!(made.headers["location"].ends_with(&format!("/systemuser/request/{id}")));
    assert!(asked["confirmUrl"].as_str().unwrap().contains(&format!("request?id={id}&DONTCHOOSE")));
    assert_eq!((&asked["status"], &asked["timedOut"]), (&json!("New"), &json!(false)));
    // Asked again it is the same request.
    let again = vendor.post("systemuser/request/vendor", body).await;
    assert_eq!((again.status, again.json()["id"].clone()), (200, json!(id)));
    let (path, party) = (format!("systemuser/request/51000604/{id}/approve"), "310000604");
    let table = [
        (SIV, path.clone(), 403, json!("AUTH-00066")),
        (KARI, path.clone(), 403, Value::Null),
        (KARI, format!("systemuser/request/51000507/{id}/approve"), 403, json!("AUTH-00041")),
        (
            OLA,
            format!("systemuser/request/51000604/{}/approve", Uuid::nil()),
            404,
            json!("AUTH-00010"),
        ),
    ];
    for (person, path, status, code) in table {
        let refused = lab.person(person).await.post(&path, Value::Null).await;
        let body: Value = serde_json::from_slice(&refused.body).unwrap_or(Value::Null);
        assert_eq!((refused.status, &body["code"]), (status, &code), "{person} {path}");
    }
    let siv = lab.person(SIV).await.get(&format!("systemuser/request/{id}")).await.json();
    assert_eq!(siv["userMayEscalateButNotApprove"], true);
    let handed = format!("systemuser/request/51000604/{id}/escalate");
    assert_eq!(lab.person(SIV).await.post(&handed, Value::Null).await.json(), true);
    let ola = lab.person(OLA).await;
    assert_eq!(ola.post(&path, Value::Null).await.json(), true);
    let read = vendor.get(&format!("systemuser/request/vendor/{id}")).await.json();
    assert_eq!((&read["status"], &read["escalated"]), (&json!("Accepted"), &json!(true)));
    // Ola holds one package, which opens `read` only: so much of the single right is given.
    let held = ola.get(&format!("systemuser/51000604/{id}/delegations")).await.json();
    assert_eq!(held["rights"].as_array().map(Vec::len), Some(1));
    assert_eq!(held["rights"][0]["action"], "read");
    let twice = ola.post(&path, Value::Null).await;
    assert_eq!((twice.status, twice.json()["code"].clone()), (409, json!("AUTH-00013")));
    // And Maskinporten finds it.
    let lookup = lab.with_scope(1, "altinn:maskinporten/systemuser.read").await;
    let query = format!(
        "systemuser/byExternalId?clientId={}&systemProviderOrgNo=310000205\
         &systemUserOwnerOrgNo={party}&externalRef=ny-avtale",
        client(11)
    );
    let found = lookup.get(&query).await;
    assert_eq!(found.headers["cache-control"], "no-store");
    assert_eq!(
        (&found.json()["id"], &found.json()["productName"]),
        (&json!(id), &json!("310000205_nordlys"))
    );
    assert_eq!(lookup.get(&query.replace("ny-avtale", "annen")).await.status, 404);
    assert_eq!(lookup.get("systemuser/byExternalId?clientId=x").await.status, 400);
    assert_eq!(vendor.get(&query).await.status, 403);
}

#[tokio::test]
async fn a_request_with_mistakes_is_refused_in_the_documented_order() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let table: [(&str, Value, u16, &str); 11] = [
        ("/partyOrgNo", json!("310000507"), 400, "AUTH-00004"),
        ("/systemId", json!("310000205_ingen"), 404, "AUTH-00011"),
        ("/systemId", json!("310000213_brekke_lonn"), 404, "AUTH-00011"),
        ("/partyOrgNo", json!("310000914"), 400, "AUTH-00000"),
        ("/redirectUrl", json!("https://annen.example/"), 400, "AUTH-00021"),
        ("/rights", json!([right("ske-a-melding")]), 400, "AUTH-00001"),
        ("/accessPackages", json!([package("lonn")]), 400, "AUTH-00063"),
        (
            "",
            json!({ "systemId": "310000205_nordlys", "partyOrgNo": "310000612", "rights": [], "accessPackages": [] }),
            400,
            "AUTH-00004",
        ),
        (
            "",
            json!({ "systemId": "310000205_nordlys", "partyOrgNo": "310000701", "rights": [], "accessPackages": [] }),
            400,
            "AUTH-00059",
        ),
        (
            "",
            json!({ "systemId": "310000205_nordlys", "partyOrgNo": "310000701" }),
            400,
            "AUTH-00001",
        ),
        ("/redirectUrl", Value::Null, 201, ""),
    ];
    for (place, value, status, code) in table {
        let mut body = request("310000728");
        body["redirectUrl"] = Value::Null;
        *body.pointer_mut(place).unwrap() = value.clone();
        let reply = vendor.post("systemuser/request/vendor", body).await;
        assert_eq!(reply.status, status, "{place} {value}: {}", reply.text());
        if !code.is_empty() {
            assert_eq!(reply.json()["code"], code, "{place} {value}");
        }
    }
    // An agent request needs packages that may be passed on.
    let agent = lab.vendor(21).await;
    let body = |packages: Value| json!({ "systemId": "310000213_brekke_byra", "partyOrgNo": "310000310", "accessPackages": packages });
    let none = agent.post("systemuser/request/vendor/agent", body(json!([]))).await;
    assert_eq!(none.json()["code"], "AUTH-00058");
    let unfit = agent
        .post("systemuser/request/vendor", body(json!([package("regnskapsforer-lonn")])))
        .await;
    assert_eq!(unfit.json()["code"], "AUTH-00064");
    let made = agent
        .post("systemuser/request/vendor/agent", body(json!([package("regnskapsforer-lonn")])))
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.json()["confirmUrl"].as_str().unwrap().contains("/agentrequest?id="));
}

#[tokio::test]
async fn requests_are_rejected_withdrawn_and_time_out_without_going_away() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let mut body = request("310000604");
    body["externalRef"] = json!("avslag");
    let id = vendor.post("systemuser/request/vendor", body.clone()).await.json()["id"].clone();
    let id = id.as_str().unwrap();
    let reject = format!("systemuser/request/51000604/{id}/reject");
    assert_eq!(lab.person(OLA).await.post(&reject, Value::Null).await.json(), true);
    // Until it is withdrawn the vendor gets the rejected one back.
    let again = vendor.post("systemuser/request/vendor", body.clone()).await;
    assert_eq!((again.status, again.json()["status"].clone()), (200, json!("Rejected")));
    let withdrawn = format!("systemuser/request/vendor/{id}");
    assert_eq!(vendor.call("DELETE", &withdrawn, &Value::Null).await.status, 202);
    assert_eq!(vendor.get(&withdrawn).await.json()["code"], "AUTH-00010");
    assert_eq!(vendor.call("DELETE", &withdrawn, &Value::Null).await.status, 404);
    let made = vendor.post("systemuser/request/vendor", body).await;
    assert_eq!(made.status, 201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    lab.sandbox.advance_clock(180 * 86_400 + 5);
    let vendor = lab.vendor(11).await;
    let old = vendor.get(&format!("systemuser/request/vendor/{id}")).await.json();
    assert_eq!((&old["status"], &old["timedOut"]), (&json!("New"), &json!(true)));
    let other = lab.vendor(21).await.get(&format!("systemuser/request/vendor/{id}")).await;
    assert_eq!((other.status, other.json()["code"].clone()), (404, json!("AUTH-00011")));
    let as_agent = vendor.get(&format!("systemuser/request/vendor/agent/{id}")).await;
    assert_eq!(as_agent.json()["code"], "AUTH-00025");
}

#[tokio::test]
async fn a_page_border_in_the_list_of_requests_loses_one_row() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    for number in 0..52 {
        let mut body = request("310000604");
        body["externalRef"] = json!(format!("r{number}"));
        assert_eq!(vendor.post("systemuser/request/vendor", body).await.status, 201);
    }
    let list = "systemuser/request/vendor/bysystem/310000205_nordlys";
    let first = vendor.get(list).await.json();
    assert_eq!(first["data"].as_array().map(Vec::len), Some(50));
    let next = first["links"]["next"].as_str().unwrap();
    let next = next.split_once(BASE).unwrap().1.trim_start_matches('/');
    let second = vendor.get(next).await.json();
    assert_eq!(second["data"].as_array().map(Vec::len), Some(1));
    assert!(second["links"].get("next").is_none());
    let other = lab.vendor(21).await.get(list).await;
    assert_eq!(other.json()["code"], "AUTH-00011");
}

#[tokio::test]
async fn a_customer_chooses_a_system_and_deletes_its_system_user() {
    let lab = Lab::start().await;
    let kari = lab.person(KARI).await;
    let choice =
        json!({ "integrationTitle": "Vår integrasjon", "systemId": "310000213_brekke_lonn" });
    let refused = lab.person(SIV).await.post("systemuser/51000507/create", choice.clone()).await;
    assert_eq!(refused.status, 403);
    // System user 10 has the same key.
    let taken = kari.post("systemuser/51000507/create", choice.clone()).await;
    assert_eq!(taken.json()["code"], "AUTH-00004");
    let old = format!("systemuser/51000507/{}", user(10));
    assert_eq!(kari.call("DELETE", &old, &Value::Null).await.status, 202);
    // The system needs excise duty's package too, which a general manager gives.
    let made = kari.post("systemuser/51000507/create", choice).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json()["partyId"], "51000507");
    let decision = || async {
        let model = lab.sandbox.world().unwrap();
        let model = portvakt_sandbox::Model::parse(&model).unwrap();
        model.decide(&id, "310000507", "ske-a-melding", "write").decision
    };
    assert_eq!(decision().await, "Permit");
    let mine = kari.get("systemuser/51000507").await.json();
    assert!(mine.as_array().unwrap().iter().any(|it| it["id"] == json!(id)));
    let foreign = format!("systemuser/51000604/{id}");
    let foreign = lab.person(OLA).await.call("DELETE", &foreign, &Value::Null).await;
    assert_eq!(foreign.json()["code"], "AUTH-00024");
    let gone = format!("systemuser/51000507/{id}");
    assert_eq!(kari.call("DELETE", &gone, &Value::Null).await.json(), 1);
    assert_eq!(decision().await, "NotApplicable");
    let again = kari.call("DELETE", &gone, &Value::Null).await;
    assert_eq!((again.status, again.json()), (404, json!(0)));
}

#[tokio::test]
async fn a_single_right_that_the_system_no_longer_names_survives_deletion() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let rights = json!([right("ske-forskuddsskatt")]);
    let path = "systemregister/vendor/310000205_nordlys/rights";
    assert_eq!(vendor.call("PUT", path, &rights).await.status, 200);
    let delete = format!("systemuser/51000604/{}", user(2));
    assert_eq!(lab.person(OLA).await.call("DELETE", &delete, &Value::Null).await.status, 202);
    assert_eq!(lab.decision(2, "310000604", "ske-krav-og-betalinger", "read").await, "Permit");
    let delete = format!("systemuser/51000604/{}", user(3));
    assert_eq!(lab.person(OLA).await.call("DELETE", &delete, &Value::Null).await.status, 202);
    assert_eq!(lab.decision(3, "310000604", "ske-forskuddsskatt", "read").await, "NotApplicable");
}

#[tokio::test]
async fn a_change_request_gives_and_takes_when_it_is_approved() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let correlation = Uuid::new_v4();
    let target = |id: &str| {
        format!("systemuser/changerequest/vendor?correlation-id={id}&system-user-id={}", user(2))
    };
    let body = json!({
        "requiredAccessPackages": [package("skattegrunnlag")],
        "unwantedRights": [right("ske-krav-og-betalinger")],
    });
    let nothing = vendor.post(&target(&Uuid::new_v4().to_string()), json!({})).await;
    assert_eq!((nothing.status, nothing.json()["status"].clone()), (200, json!("NoChangeNeeded")));
    assert_eq!(vendor.post(&target(&user(2)), body.clone()).await.status, 400);
    assert_eq!(
        lab.vendor(21).await.post(&target(&correlation.to_string()), body.clone()).await.status,
        401
    );
    let unknown = target(&correlation.to_string()).replace(&user(2), &user(4));
    assert_eq!(vendor.post(&unknown, body.clone()).await.json()["code"], "AUTH-00015");
    let made = vendor.post(&target(&correlation.to_string()), body.clone()).await;
    assert_eq!((made.status, made.json()["id"].clone()), (201, json!(correlation)));
    let again = vendor.post(&target(&correlation.to_string()), body).await;
    assert_eq!(again.status, 200);
    let approve = format!("systemuser/changerequest/51000604/{correlation}/approve");
    let refused = lab.person(SIV).await.post(&approve, Value::Null).await;
    assert_eq!(refused.json()["code"], "AUTH-00066");
    assert_eq!(lab.person(OLA).await.post(&approve, Value::Null).await.json(), true);
    let twice = lab.person(OLA).await.post(&approve, Value::Null).await;
    assert_eq!((twice.status, twice.json()["code"].clone()), (409, json!("AUTH-00061")));
    let parties = lab.parties(2).await;
    assert_eq!(parties[0]["authorizedAccessPackages"], json!(["skattegrunnlag"]));
    assert_eq!(parties[0]["authorizedResources"], json!([]));
}

#[tokio::test]
async fn who_was_deleted_is_given_nothing_by_a_change() {
    let lab = Lab::start().await;
    let correlation = Uuid::new_v4();
    let path = format!(
        "systemuser/changerequest/vendor?correlation-id={correlation}&system-user-id={}",
        user(2)
    );
    let body = json!({ "requiredAccessPackages": [package("skattegrunnlag")] });
    assert_eq!(lab.vendor(11).await.post(&path, body).await.status, 201);
    let delete = format!("systemuser/51000604/{}", user(2));
    let ola = lab.person(OLA).await;
    assert_eq!(ola.call("DELETE", &delete, &Value::Null).await.status, 202);
    let approve = format!("systemuser/changerequest/51000604/{correlation}/approve");
    let refused = ola.post(&approve, Value::Null).await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (404, json!("AUTH-00015")));
    let read = lab.decision(2, "310000604", "ske-krav-og-betalinger", "read").await;
    assert_eq!(read, "NotApplicable");
    let reject = approve.replace("/approve", "/reject");
    assert_eq!(ola.post(&reject, Value::Null).await.json(), true);
}

#[tokio::test]
async fn a_client_administrator_gives_clients_to_an_agent_and_takes_them() {
    let lab = Lab::start().await;
    let klara = lab.person(KLARA).await;
    let odden = "a0000000-0000-4000-8000-000310000744";
    let clients = format!("enduser/systemuser/clients?agent={}", user(4));
    let free = klara.get(&format!("enduser/systemuser/clients/available?agent={}", user(4))).await;
    assert_eq!(free.json()["data"][0]["clientId"], odden);
    assert_eq!(free.json()["data"].as_array().map(Vec::len), Some(1));
    let payroll = async || lab.decision(4, "310000744", "ske-a-melding", "write").await;
    assert_eq!(payroll().await, "NotApplicable");
    let added = klara.post(&format!("{clients}&client={odden}"), Value::Null).await;
    assert_eq!(added.json(), json!({ "agent": user(4), "client": odden }));
    assert_eq!(payroll().await, "Permit");
    let removed = klara.call("DELETE", &format!("{clients}&client={odden}"), &Value::Null).await;
    assert_eq!(removed.status, 200);
    assert_eq!(payroll().await, "NotApplicable");
    let strand = "a0000000-0000-4000-8000-000310000604";
    let table = [
        (KLARA, format!("{clients}&client={strand}"), 400, "AUTH-00079"),
        (KLARA, clients.clone(), 400, "STD-00000"),
        (KLARA, clients.replace(&user(4), &user(1)), 400, "STD-00000"),
        (KARI, format!("{clients}&client={odden}"), 403, ""),
    ];
    for (person, path, status, code) in table {
        let refused = lab.person(person).await.post(&path, Value::Null).await;
        assert_eq!(refused.status, status, "{person} {path}");
        if !code.is_empty() {
            assert_eq!(refused.json()["code"], code, "{path}");
        }
    }
    // A client without all of the agent's packages is refused, and a relation that ends takes the effect along.
    let relation = json!({ "client": "310000604", "facilitator": "310000302", "role": "rettighetshaver", "packages": ["regnskapsforer-lonn"] });
    lab.knob("PUT", "/sandbox/relations", relation).await;
    let lacking = klara.post(&format!("{clients}&client={strand}"), Value::Null).await;
    assert_eq!(lacking.json()["code"], "AUTH-00080");
    let ended = json!({ "client": "310000701", "facilitator": "310000302" });
    assert_eq!(lab.decision(4, "310000701", "ske-a-melding", "write").await, "Permit");
    lab.knob("DELETE", "/sandbox/relations", ended).await;
    assert_eq!(lab.decision(4, "310000701", "ske-a-melding", "write").await, "NotApplicable");
    // An agent goes only without clients.
    let agent = format!("systemuser/agent/51000302/{}", user(4));
    let refused = lab.person(FRIDA).await.call("DELETE", &agent, &Value::Null).await;
    assert_eq!(refused.json()["code"], "AUTH-00035");
}

#[tokio::test]
async fn the_portal_delegates_clients_by_party_id() {
    let lab = Lab::start().await;
    let frida = lab.person(FRIDA).await;
    let odden = "a0000000-0000-4000-8000-000310000744";
    let fjell = "a0000000-0000-4000-8000-000310000302";
    let agent = format!("systemuser/agent/51000302/{}", user(4));
    let list = "systemuser/agent/51000302/clients?packages=regnskapsforer-lonn";
    assert_eq!(frida.get(list).await.json().as_array().map(Vec::len), Some(4));
    let given = frida.post(&format!("{agent}?provider={fjell}&client={odden}"), Value::Null).await;
    assert_eq!(given.json()[0]["customerOrganizationNumber"], "310000744");
    let all = format!("systemuser/agent/51000302/{fjell}/{}/delegations", user(4));
    assert_eq!(frida.get(&all).await.json().as_array().map(Vec::len), Some(4));
    let taken = format!("{agent}/client?client={odden}");
    assert_eq!(frida.call("DELETE", &taken, &Value::Null).await.status, 200);
    let twice = frida.call("DELETE", &taken, &Value::Null).await;
    assert_eq!(twice.json()["code"], "AUTH-00038");
    let wrong = frida.post(&format!("{agent}?provider={odden}&client={odden}"), Value::Null).await;
    assert_eq!(wrong.json()["code"], "AUTH-00031");
}

#[tokio::test]
async fn vendors_find_their_system_users_and_the_stream_is_for_altinn_only() {
    let lab = Lab::start().await;
    let vendor = lab.vendor(11).await;
    let query = "systemuser/vendor/byquery?system-id=310000205_nordlys&orgno=310000604";
    assert_eq!(vendor.get(query).await.json()["id"], user(2));
    let stock = vendor.get(&format!("{query}&external-ref=lager")).await.json();
    assert_eq!((&stock["id"], &stock["externalRef"]), (&json!(user(3)), &json!("lager")));
    assert_eq!(lab.vendor(21).await.get(query).await.status, 404);
    let incomplete = vendor.get("systemuser/vendor/byquery?orgno=310000604").await;
    assert_eq!(incomplete.status, 400);
    assert!(incomplete.json()["errors"]["system-id"].is_array(), "{incomplete:?}");
    let list = vendor.get("systemuser/vendor/bysystem/310000205_nordlys").await.json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(6));
    let stream = "systemuser/internal/systemusers/stream";
    assert_eq!(vendor.get(stream).await.status, 403);
    let altinn = lab.with_scope(1, "altinn:authentication/systemuser.admin").await;
    let page = altinn.get(stream).await.json();
    assert_eq!(page["stats"]["sequenceMax"], 12);
    assert!(page["links"]["next"].is_string());
}
