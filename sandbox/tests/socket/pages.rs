//! The pages over real sockets: forms, refusals, both languages, and what comes out of a hostile seed.

use crate::lab::{Lab, Reply, client, user};
use portvakt_sandbox::{Sandbox, SandboxError, SandboxOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const KARI: &str = "01819049901";
const OLA: &str = "01819049902";
const SIV: &str = "01819049903";
const KLARA: &str = "01819049905";
const PORTAL: &str = "/accessmanagement/ui/systemuser";
const NORDLYS: &str = "c1000000-0000-4000-8000-000000000011 310000205_nordlys";
const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml");

/// A browser without scripts.
struct Browser<'a> {
    lab: &'a Lab,
    cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    fn new(lab: &'a Lab) -> Self {
        Self { lab, cookies: Vec::new() }
    }

    /// One that is somebody.
    async fn of(lab: &'a Lab, person: &str) -> Self {
        let mut browser = Self::new(lab);
        browser.get("/").await;
        let reply = browser.post("/ui/login", &[("person", person)]).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        browser
    }

    fn cookie_header(&self) -> String {
        let pairs: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    async fn send(&mut self, method: &str, target: &str, kind: &str, body: &str) -> Reply {
        let cookies = self.cookie_header();
        let headers = [HTML, ("cookie", cookies.as_str()), ("content-type", kind)];
        let reply = self.lab.send(method, target, &headers, body).await;
        if let Some(set) = reply.headers.get("set-cookie") {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        reply
    }

    async fn get(&mut self, target: &str) -> Reply {
        self.send("GET", target, "text/plain", "").await
    }

    /// Sends a form with the token that every form of the session carries.
    async fn post(&mut self, target: &str, fields: &[(&str, &str)]) -> Reply {
        let page = self.get("/ui/controls").await.text();
        let token = between(&page, "name=\"form_token\" value=\"", "\"").unwrap().to_owned();
        let mut body = format!("form_token={token}");
        for (name, value) in fields {
            body.extend(["&", *name, "=", &encoded(value)]);
        }
        self.send("POST", target, "application/x-www-form-urlencoded", &body).await
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}

fn encoded(text: &str) -> String {
    text.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect()
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap()
}

/// Asks a customer for a system user of Nordlys with these packages, and gives the request.
async fn ask(lab: &Lab, party: &str, more: Value) -> Value {
    let scope = "altinn:authentication/systemuser.request.write";
    let token = lab.minted(json!({ "client_id": client(11), "scope": scope })).await;
    let mut body = json!({
        "systemId": "310000205_nordlys", "partyOrgNo": party, "externalRef": "side",
        "accessPackages": [{ "urn": "urn:altinn:accesspackage:skattegrunnlag" }],
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let bearer = format!("Bearer {token}");
    let path = "/authentication/api/v1/systemuser/request/vendor";
    let reply = lab.send("POST", path, &[("authorization", &bearer)], &body.to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()
}

/// Path and query of the confirm URL that the API gave.
fn confirm_path(request: &Value) -> String {
    let url = request["confirmUrl"].as_str().unwrap();
    let (_, rest) = url.split_once("/accessmanagement").unwrap();
    format!("/accessmanagement{rest}")
}

#[tokio::test]
async fn programs_still_get_what_they_got_and_browsers_get_pages() {
    let lab = Lab::start().await;
    assert_eq!(lab.get("/").await.status, 404);
    assert_eq!(lab.get("/").await.body, b"");
    assert_eq!(lab.get("/nothing").await.body, b"");
    let mut browser = Browser::new(&lab);
    assert_eq!(browser.get("/").await.status, 200);
    let missing = browser.get("/nothing").await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("Siden finnes ikke"));
    // Where Altinn has an API it is the API that answers.
    let absent = browser.get("/authentication/api/v1/nothing").await;
    assert_eq!(absent.status, 501);
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_a_page_its_own() {
    let lab = Lab::start().await;
    let reply = lab.send("GET", "/ui/live", &[HTML], "").await;
    let policy = &reply.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(reply.headers["referrer-policy"], "no-referrer");
    assert_eq!(reply.headers["x-content-type-options"], "nosniff");
    let cookie = &reply.headers["set-cookie"];
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    for asset in ["theme.css", "designsystemet.css", "pages.css", "live.js", "icon.svg"] {
        assert_eq!(lab.get(&format!("/ui/assets/{asset}")).await.status, 200, "{asset}");
    }
}

/// Every form of the pages.
const FORMS: [&str; 12] = [
    "/ui/login",
    "/ui/logout",
    "/accessmanagement/ui/systemuser/request",
    "/accessmanagement/ui/systemuser/agentrequest",
    "/accessmanagement/ui/systemuser/changerequest",
    "/accessmanagement/ui/systemuser/delete",
    "/accessmanagement/ui/systemuser/create",
    "/accessmanagement/ui/systemuser/clients",
    "/ui/vendor/request",
    "/ui/vendor/token",
    "/ui/vendor/call",
    "/ui/controls",
];

#[tokio::test]
async fn a_form_without_our_token_is_refused_everywhere() {
    let lab = Lab::start().await;
    let mut browser = Browser::of(&lab, KARI).await;
    let mut other = Browser::of(&lab, KARI).await;
    let page = other.get("/ui/controls").await.text();
    let foreign = between(&page, "name=\"form_token\" value=\"", "\"").unwrap();
    let kind = "application/x-www-form-urlencoded";
    for form in FORMS {
        for token in ["", "form_token=", "form_token=AAAA", &format!("form_token={foreign}")] {
            let body = format!("{token}&knob=reset&sure=yes&person={KARI}");
            let reply = browser.send("POST", form, kind, &body).await;
            assert_eq!(reply.status, 403, "{form} {token}");
        }
        let reply = browser.send("POST", form, "application/json", "{}").await;
        assert_eq!(reply.status, 400, "{form}");
    }
}

#[tokio::test]
async fn a_customer_approves_at_the_confirm_url_and_is_sent_back() {
    let lab = Lab::start().await;
    let back = "https://nordlys.example/kvittering";
    let request = ask(&lab, "310000507", json!({ "redirectUrl": back })).await;
    let path = confirm_path(&request);
    let anonymous = Browser::new(&lab).get(&path).await.text();
    assert!(anonymous.contains("Velg en person først"));
    assert!(!anonymous.contains("310000205"), "nothing is shown before the log-in");
    let mut kari = Browser::of(&lab, KARI).await;
    let page = kari.get(&path).await;
    let policy = &page.headers["content-security-policy"];
    assert!(policy.ends_with("form-action 'self' https://nordlys.example"), "{policy}");
    let text = page.text();
    for part in ["Nordlys Skatt", "NORDLYS SYSTEMER AS", "Skattegrunnlag", "Krav og betalinger"] {
        assert!(text.contains(part), "{part}");
    }
    let done = kari.post(&path, &[("act", "approve")]).await;
    assert_eq!((done.status, done.headers["location"].as_str()), (303, back));
    let id = request["id"].as_str().unwrap();
    let state = lab.get(&format!("/sandbox/system-users/{id}")).await.json();
    assert_eq!(state["delegations"][0]["packages"], json!(["skattegrunnlag"]));
    // A second answer comes too late.
    let again = kari.post(&path, &[("act", "reject")]).await;
    assert_eq!(again.status, 409);
    assert!(again.text().contains("allerede besvart"));
}

#[tokio::test]
async fn who_may_not_approve_is_told_why() {
    let lab = Lab::start().await;
    let package = json!([{ "urn": "urn:altinn:accesspackage:merverdiavgift" }]);
    let request = ask(&lab, "310000604", json!({ "accessPackages": package })).await;
    let path = confirm_path(&request);
    let stranger = Browser::of(&lab, KARI).await.get(&path).await;
    assert_eq!(stranger.status, 403);
    assert!(stranger.text().contains("ingen rolle i STRAND BYGG AS"));
    let mut employee = Browser::of(&lab, SIV).await;
    let page = employee.get(&path).await.text();
    assert!(page.contains("value=\"escalate\"") && !page.contains("value=\"approve\""));
    assert_eq!(employee.post(&path, &[("act", "approve")]).await.status, 403);
    assert_eq!(employee.post(&path, &[("act", "escalate")]).await.status, 303);
    let mut manager = Browser::of(&lab, OLA).await;
    let page = manager.get(&path).await.text();
    assert!(page.contains("Du kan ikke gi denne"));
    let refused = manager.post(&path, &[("act", "approve")]).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("AUTH-00053"));
    assert!(refused.text().contains("<title>Feil: Forespørsel om systemtilgang"), "told at once");
    assert!(page.contains("<title>Forespørsel om systemtilgang"));
    assert_eq!(manager.post(&path, &[("act", "sing")]).await.status, 400);
    assert_eq!(manager.post(&path, &[("act", "reject")]).await.status, 303);
    assert!(manager.get(&path).await.text().contains("Forespørselen er avvist"));
}

#[tokio::test]
async fn a_customer_chooses_a_system_and_deletes_its_system_user() {
    let lab = Lab::start().await;
    let mut kari = Browser::of(&lab, KARI).await;
    let offered = kari.get(&format!("{PORTAL}/create")).await.text();
    assert!(offered.contains("Nordlys Skatt") && !offered.contains("Brekke Byrå"));
    let fields = [("system", "310000205_nordlys"), ("title", "Min skatt")];
    let exists = kari.post(&format!("{PORTAL}/create"), &fields).await;
    assert!(exists.text().contains("AUTH-00004"));
    let seeded = user(1);
    let asked = kari.get(&format!("{PORTAL}/delete?id={seeded}")).await.text();
    assert!(asked.contains("Vil du slette Nordlys Skatt?"));
    let deleted = kari.post(&format!("{PORTAL}/delete"), &[("id", &seeded)]).await;
    assert_eq!(deleted.status, 303, "{deleted:?}");
    // Krav og betalinger and the excise package: a general manager of Bakken gives them.
    let made = kari.post(&format!("{PORTAL}/create"), &fields).await;
    assert_eq!(made.status, 303, "{}", made.text());
    assert!(kari.get(&format!("{PORTAL}/overview")).await.text().contains("Min skatt"));
    // Another organisation's system user is not there for her.
    let other = kari.get(&format!("{PORTAL}/details?id={}", user(2))).await;
    assert_eq!(other.status, 404);
    assert_eq!(kari.get(&format!("{PORTAL}/overview?party=310000604")).await.status, 403);
}

#[tokio::test]
async fn a_change_request_is_approved_at_its_confirm_url() {
    let lab = Lab::start().await;
    let scope = "altinn:authentication/systemuser.request.write";
    let token = lab.minted(json!({ "client_id": client(11), "scope": scope })).await;
    let bearer = format!("Bearer {token}");
    let path = format!(
        "/authentication/api/v1/systemuser/changerequest/vendor?correlation-id={}&system-user-id={}",
        "77777777-0000-4000-8000-000000000001",
        user(1)
    );
    let body =
        json!({ "unwantedAccessPackages": [{ "urn": "urn:altinn:accesspackage:merverdiavgift" }] });
    let reply = lab.send("POST", &path, &[("authorization", &bearer)], &body.to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let confirm = confirm_path(&reply.json());
    let mut kari = Browser::of(&lab, KARI).await;
    let page = kari.get(&confirm).await.text();
    assert!(page.contains("Mister") && page.contains("Merverdiavgift"));
    assert!(page.contains("NORDLYS SYSTEMER AS ber om"), "who asks");
    // A form that says neither yes nor no is neither.
    for odd in [[("act", "")], [("act", "sing")]] {
        assert_eq!(kari.post(&confirm, &odd).await.status, 400);
    }
    assert!(kari.get(&confirm).await.text().contains("value=\"approve\""), "it still waits");
    assert_eq!(kari.post(&confirm, &[("act", "approve")]).await.status, 303);
    assert!(kari.get(&confirm).await.text().contains("Endringen er godkjent"));
    let state = lab.get(&format!("/sandbox/system-users/{}", user(1))).await.json();
    assert_eq!(state["delegations"][0]["packages"], json!(["skattegrunnlag"]));
}

#[tokio::test]
async fn who_must_log_in_first_comes_back_to_the_very_page() {
    let lab = Lab::start().await;
    let details = format!("{PORTAL}/details?id={}&party=310000507", user(1));
    let mut nobody = Browser::new(&lab);
    let page = nobody.get(&details).await.text();
    let next = between(&page, "name=\"next\" value=\"", "\"").unwrap().replace("&amp;", "&");
    assert_eq!(next, details);
    let reply = nobody.post("/ui/login", &[("person", KARI), ("next", &next)]).await;
    assert_eq!(reply.headers["location"], details);
    assert!(nobody.get(&details).await.text().contains("Nordlys Skatt"));
}

#[tokio::test]
async fn a_client_administrator_adds_and_removes_clients() {
    let lab = Lab::start().await;
    let mut klara = Browser::of(&lab, KLARA).await;
    let path = format!("{PORTAL}/clients");
    assert!(klara.get(&path).await.text().contains("Legg til ODDEN FISK AS"));
    let agent = user(4);
    let client = "a0000000-0000-4000-8000-000310000744";
    let fields = |act| [("id", agent.as_str()), ("client", client), ("act", act)];
    assert_eq!(klara.post(&path, &fields("add")).await.status, 303);
    assert!(klara.get(&path).await.text().contains("Fjern ODDEN FISK AS"));
    assert_eq!(klara.post(&path, &fields("remove")).await.status, 303);
    assert!(klara.get(&path).await.text().contains("Legg til ODDEN FISK AS"));
    let stranger = "a0000000-0000-4000-8000-000310000604";
    let fields = [("id", agent.as_str()), ("client", stranger), ("act", "add")];
    assert!(klara.post(&path, &fields).await.text().contains("AUTH-00079"));
    assert_eq!(Browser::of(&lab, SIV).await.get(&path).await.status, 403);
}

#[tokio::test]
async fn a_vendor_asks_takes_a_token_and_sees_why_a_call_would_pass() {
    let lab = Lab::start().await;
    let mut vendor = Browser::new(&lab);
    let fields = [
        ("client", NORDLYS),
        ("customer", "310000507"),
        ("kind", "standard"),
        ("package", "merverdiavgift"),
        ("reference", "ny"),
    ];
    let asked = vendor.post("/ui/vendor/request", &fields).await.text();
    assert!(asked.contains("Forespørselen er opprettet") && asked.contains("/request?id="));
    let (id, scope) = (user(1), "skatteetaten:mva");
    let fields = [("client", NORDLYS), ("user", id.as_str()), ("scope", scope)];
    let page = vendor.post("/ui/vendor/token", &fields).await.text();
    assert!(page.contains("authorization_details") && page.contains("systemuser_id"));
    let token = between(&page, "name=\"token\" value=\"", "\"").unwrap().to_owned();
    for (party, decision) in [("310000507", "Permit"), ("310000604", "NotApplicable")] {
        let fields = [("token", token.as_str()), ("call", "vat-return-read"), ("party", party)];
        let page = vendor.post("/ui/vendor/call", &fields).await.text();
        assert!(page.contains(&format!(">{decision}<")), "{party}");
        assert!(page.contains("portvakt explain --config"));
    }
    // The call that is offered first is one that the token's scope is enough for.
    assert!(page.contains("<option value=\"vat-return-read\" selected"), "{page}");
    let fields = [("client", NORDLYS), ("user", id.as_str()), ("scope", "skatteetaten:lonn")];
    let page = vendor.post("/ui/vendor/token", &fields).await.text();
    assert!(page.contains("<option value=\"payroll-submit\" selected"), "{page}");
    let deleted = user(8);
    let fields = [("client", NORDLYS), ("user", deleted.as_str()), ("scope", scope)];
    let refused = vendor.post("/ui/vendor/token", &fields).await.text();
    assert!(refused.contains("Maskinporten sa nei"), "{refused}");
}

/// A proxy that gives one answer and tells what it was asked.
async fn one_answer(listener: TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = vec![0; 8192];
    let read = stream.read(&mut asked).await.unwrap();
    let body = r#"{"status":403,"type":"urn:portvakt:problem:no_right","code":"no_right","detail":"<script>alert(1)</script>"}"#;
    let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&asked[..read]).into_owned()
}

#[tokio::test]
async fn a_call_goes_to_the_configured_proxy_and_nowhere_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let options = SandboxOptions { proxy: Some(proxy), ..SandboxOptions::default() };
    let lab = Lab::start_with(options).await;
    let asked = tokio::spawn(one_answer(listener));
    let mut vendor = Browser::new(&lab);
    for path in ["http://127.0.0.1:1/", "v1", "", "/a b"] {
        let fields = [("call", "own"), ("method", "GET"), ("path", path), ("token", "x")];
        assert_eq!(vendor.post("/ui/vendor/call", &fields).await.status, 400, "{path}");
    }
    let path = "//evil.example/v1?to=http://evil.example";
    let fields = [("call", "own"), ("method", "GET"), ("path", path), ("token", "x.y.z")];
    let page = vendor.post("/ui/vendor/call", &fields).await.text();
    assert!(page.contains("403 Forbidden") && page.contains("<code>no_right</code>"), "{page}");
    assert!(!page.contains("<script>alert"), "an answer is shown, not run");
    let asked = asked.await.unwrap();
    assert!(asked.contains("authorization: Bearer x.y.z"), "{asked}");
    assert!(asked.contains("accept-language: nb"), "a refusal is told as the page is: {asked}");
    // The proxy is gone now, and the page says so.
    let page = vendor.post("/ui/vendor/call", &fields).await.text();
    assert!(page.contains("Portvakt svarte ikke"));
}

#[tokio::test]
async fn a_proxy_must_be_a_host_with_a_port() {
    let proxy = Some("https://evil.example/path".to_owned());
    let refused = Sandbox::start(SandboxOptions { proxy, ..SandboxOptions::default() }).await;
    assert!(matches!(refused, Err(SandboxError::Proxy(_))));
}

#[tokio::test]
async fn testers_turn_knobs_and_see_the_questions() {
    let lab = Lab::start().await;
    let mut tester = Browser::new(&lab);
    let fields = [("knob", "fault"), ("endpoint", "pdp"), ("fault", "503"), ("times", "2")];
    assert_eq!(tester.post("/ui/controls", &fields).await.status, 303);
    assert_eq!(lab.get("/sandbox/faults/pdp").await.json()["status"], 503);
    assert_eq!(tester.post("/ui/controls", &[("knob", "heal")]).await.status, 303);
    let before = lab.sandbox.now();
    let fields = [("knob", "clock"), ("advance", "3600")];
    assert_eq!(tester.post("/ui/controls", &fields).await.status, 303);
    assert!(lab.sandbox.now() >= before + 3600);
    let bad = [("knob", "clock"), ("advance", "soon")];
    assert_eq!(tester.post("/ui/controls", &bad).await.status, 400);
    assert_eq!(tester.post("/ui/controls", &[("knob", "reset")]).await.status, 400);
    assert_eq!(tester.post("/ui/controls", &[("knob", "caches"), ("pods", "2")]).await.status, 303);
    assert_eq!(lab.get("/sandbox/caches").await.json(), json!({ "enabled": true, "pods": 2 }));
    lab.get("/jwk").await;
    let live = tester.get("/ui/live").await.text();
    assert!(live.contains("GET /jwk"));
    let reset = [("knob", "reset"), ("sure", "yes")];
    assert_eq!(tester.post("/ui/controls", &reset).await.status, 303);
    assert!(lab.sandbox.now() < before + 3000);
}

#[tokio::test]
async fn identity_numbers_are_never_shown_whole() {
    let lab = Lab::start().await;
    let mut browser = Browser::of(&lab, KARI).await;
    for path in pages() {
        let page = browser.get(&path).await.text();
        // The one place is the value that says whom a button chooses.
        let shown = page.replace("name=\"person\" value=\"018190499", "");
        assert!(!shown.contains("018190499"), "{path}");
    }
}

/// Every page that can be looked at, for Kari.
fn pages() -> Vec<String> {
    let details = format!("{PORTAL}/details?id={}", user(1));
    let delete = format!("{PORTAL}/delete?id={}", user(1));
    let accept = format!("{PORTAL}/create?system=310000205_nordlys");
    let plain = ["/", "/ui/login", "/ui/vendor", "/ui/resources", "/ui/live", "/ui/controls", "/x"];
    let portal = ["overview", "create", "clients", "request", "agentrequest", "changerequest"];
    plain
        .iter()
        .map(|page| (*page).to_owned())
        .chain(portal.iter().map(|page| format!("{PORTAL}/{page}")))
        .chain([details, delete, accept])
        .collect()
}

/// Tags as they open and close, with their attributes. Panics where the text is no well-formed HTML.
fn tags(path: &str, html: &str) -> Vec<String> {
    const VOID: [&str; 4] = ["meta", "link", "input", "br"];
    let mut open: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for part in html.split('<').skip(1) {
        let (tag, _) = part.split_once('>').unwrap_or_else(|| panic!("{path}: no end of <{part}"));
        if tag.starts_with('!') {
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{path}: quotes in <{tag}>");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "{path}: </{closed}>");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name.to_owned());
        }
        all.push(tag.to_owned());
    }
    assert!(open.is_empty(), "{path}: {open:?} is not closed");
    all
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    between(tag, &format!(" {name}=\""), "\"")
}

#[tokio::test]
async fn every_page_is_well_formed_labelled_and_in_the_language_asked_for() {
    let lab = Lab::start().await;
    ask(&lab, "310000507", json!({})).await;
    let mut kari = Browser::of(&lab, KARI).await;
    for language in ["nb", "en"] {
        kari.get(&format!("/?lang={language}")).await;
        for path in pages() {
            let html = kari.get(&path).await.text();
            let tags = tags(&path, &html);
            assert!(html.contains(&format!("<html lang=\"{language}\">")), "{path}");
            assert!(!html.contains("{name}") && !html.contains("{org}"), "{path}");
            let count =
                |name: &str| tags.iter().filter(|tag| tag.split(' ').next() == Some(name)).count();
            assert_eq!((count("h1"), count("main"), count("style")), (1, 1, 0), "{path}");
            assert!(!html.contains(" style=") && !html.contains(" onclick="), "{path}");
            labelled(&path, &tags);
        }
    }
}

/// Every id once, every label with a control and every control with a label.
fn labelled(path: &str, tags: &[String]) {
    let ids: Vec<&str> = tags.iter().filter_map(|tag| attribute(tag, "id")).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    let labels: BTreeSet<&str> = tags
        .iter()
        .filter(|tag| tag.starts_with("label"))
        .filter_map(|tag| attribute(tag, "for"))
        .collect();
    for label in &labels {
        assert!(unique.contains(label), "{path}: nothing for label {label}");
    }
    let controls = tags.iter().filter(|tag| tag.starts_with("input") || tag.starts_with("select"));
    for control in controls.filter(|tag| !tag.contains("type=\"hidden\"")) {
        let id = attribute(control, "id").unwrap_or_else(|| panic!("{path}: {control}"));
        assert!(labels.contains(id), "{path}: no label for {id}");
        let same = ids.iter().filter(|other| **other == id).count();
        assert_eq!(same, 1, "{path}: id {id}");
    }
}

#[tokio::test]
async fn hostile_names_from_a_seed_come_out_as_text() {
    let lab = Lab::start().await;
    let evil = "<script>alert('x')</script>\\\"><img src=x>";
    let patch = format!(
        r#"{{ "organizations": [{{ "number": "310000507", "name": "{evil}", "unit_type": "AS", "party_id": 51000507 }}],
            "persons": [{{ "number": "{KARI}", "name": "{evil}", "party_id": 52000001,
                "holds": [{{ "organization": "310000507", "roles": ["daglig_leder"] }}] }}],
            "packages": [{{ "code": "skattegrunnlag", "id": "4c859601-9b2b-4662-af39-846f4117ad7a", "name": "{evil}" }}],
            "systems": [{{ "id": "310000205_nordlys", "vendor": "310000205", "name": "{evil}",
                "packages": ["skattegrunnlag"], "client_ids": ["{}"] }}] }}"#,
        client(11)
    );
    let reply = lab.send("PATCH", "/sandbox/world", &[], &patch).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let request = ask(&lab, "310000507", json!({ "integrationTitle": "<script>t</script>" })).await;
    let mut kari = Browser::of(&lab, KARI).await;
    for path in pages().into_iter().chain([confirm_path(&request)]) {
        let html = kari.get(&path).await.text();
        let lower = html.to_lowercase();
        assert!(!lower.contains("<script>") && !lower.contains("<img"), "{path}");
        tags(&path, &html);
    }
    assert!(kari.get(&confirm_path(&request)).await.text().contains("&lt;script&gt;"));
    // What a visitor sends comes back as text, too.
    let odd = kari.get("/ui/vendor?client=%3Cscript%3E&lang=%22%3E%3Cscript%3E").await.text();
    assert!(!odd.contains("<script>"));
}

#[tokio::test]
async fn a_log_in_changes_the_session_and_leads_only_to_our_own_pages() {
    let lab = Lab::start().await;
    let mut browser = Browser::new(&lab);
    browser.get("/").await;
    let before = browser.cookie_header();
    let fields = [("person", KARI), ("next", "//evil.example/")];
    let reply = browser.post("/ui/login", &fields).await;
    assert_eq!(reply.headers["location"], format!("{PORTAL}/overview"));
    assert_ne!(browser.cookie_header(), before);
    assert!(browser.get("/").await.text().contains("Kari Bakken</strong>"));
    browser.post("/ui/logout", &[]).await;
    assert!(!browser.get("/").await.text().contains("Kari Bakken</strong>"));
    let unknown = browser.post("/ui/login", &[("person", "99999999999")]).await;
    assert_eq!(unknown.status, 404);
}
