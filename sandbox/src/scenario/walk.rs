//! The steps of each story.

use super::http::{Ask, Reply, send};
use super::{Scenario, ScenarioError, ScenarioOptions, Step};
use serde_json::{Value, json};

const SYSTEM_REGISTER: &str = "/authentication/api/v1/systemregister/vendor";
const REQUEST: &str = "/authentication/api/v1/systemuser/request";
const CLIENTS: &str = "/authentication/api/v1/enduser/systemuser/clients";
const VENDOR: &str = "310000213";
const VENDOR_CLIENT: &str = "c1000000-0000-4000-8000-000000000021";
const SERVICE_OWNER_CLIENT: &str = "c1000000-0000-4000-8000-000000000001";
const VENDOR_SCOPES: &str = "altinn:authentication/systemregister.write \
     altinn:authentication/systemuser.request.read altinn:authentication/systemuser.request.write";

/// Who and what a story is about, in the built-in world.
struct Plan {
    name: &'static str,
    agent: bool,
    /// The system's Maskinporten client.
    client: &'static str,
    scope: &'static str,
    package: &'static str,
    owner: &'static str,
    owner_party_id: u64,
    approver: &'static str,
    client_administrator: &'static str,
    /// The party that is acted for, and one for which that is refused.
    party: &'static str,
    refused: &'static str,
    resource: &'static str,
    action: &'static str,
}

impl Plan {
    fn of(scenario: Scenario) -> Self {
        let own = Self {
            name: "own",
            agent: false,
            client: "c1000000-0000-4000-8000-000000000022",
            scope: "skatteetaten:mva",
            package: "merverdiavgift",
            owner: "310000507",
            owner_party_id: 51_000_507,
            approver: "01819049901",
            client_administrator: "",
            party: "310000507",
            refused: "310000604",
            resource: "ske-mva-melding",
            action: "read",
        };
        match scenario {
            Scenario::Own => own,
            Scenario::Supplier => Self {
                name: "supplier",
                agent: true,
                client: "c1000000-0000-4000-8000-000000000023",
                scope: "skatteetaten:kravogbetalinger",
                package: "skattegrunnlag",
                owner: "310000329",
                owner_party_id: 51_000_329,
                approver: "01819049907",
                client_administrator: "01819049907",
                party: "310000736",
                refused: "310000728",
                resource: "ske-krav-og-betalinger",
                action: "read",
            },
            Scenario::Client => Self {
                name: "client",
                agent: true,
                client: "c1000000-0000-4000-8000-000000000024",
                scope: "skatteetaten:lonn",
                package: "regnskapsforer-lonn",
                owner: "310000302",
                owner_party_id: 51_000_302,
                approver: "01819049904",
                client_administrator: "01819049905",
                party: "310000744",
                refused: "310000701",
                resource: "ske-a-melding",
                action: "write",
            },
            Scenario::Auditor => Self {
                name: "auditor",
                agent: true,
                client: "c1000000-0000-4000-8000-000000000025",
                package: "ansvarlig-revisor",
                owner: "310000310",
                owner_party_id: 51_000_310,
                approver: "01819049906",
                client_administrator: "01819049906",
                party: "310000701",
                refused: "310000736",
                ..own
            },
        }
    }

    fn system(&self) -> String {
        format!("{VENDOR}_scenario_{}", self.name)
    }

    fn package_urn(&self) -> Value {
        json!({ "urn": format!("urn:altinn:accesspackage:{}", self.package) })
    }

    /// Method, path and body of the call through the proxy.
    fn call(&self, party: &str) -> (&'static str, String, String) {
        match (self.resource, self.action) {
            ("ske-a-melding", _) => {
                ("POST", "/v1/payroll".to_owned(), json!({ "employer": party }).to_string())
            }
            ("ske-krav-og-betalinger", _) => {
                ("GET", format!("/v1/parties/{party}/claims"), String::new())
            }
            _ => ("GET", format!("/v1/parties/{party}/vat-returns"), String::new()),
        }
    }
}

/// Tells a story.
pub(super) async fn run(options: &ScenarioOptions) -> Result<Vec<Step>, ScenarioError> {
    let plan = Plan::of(options.scenario);
    let mut walk = Walk { sandbox: &options.sandbox, steps: Vec::new() };
    let vendor = walk.token(VENDOR_CLIENT, VENDOR_SCOPES, None).await?;
    walk.register(&plan, &vendor).await?;
    let user = walk.request_and_approve(&plan, &vendor).await?;
    if plan.agent {
        walk.add_client(&plan, &user).await?;
    }
    let token = walk.token(plan.client, plan.scope, Some(plan.owner)).await?;
    walk.ask_pdp(&plan, &user).await?;
    if let Some(proxy) = &options.proxy {
        walk.call_proxy(&plan, proxy, &token).await?;
    }
    Ok(walk.steps)
}

/// A walk through the endpoints, with what was done so far.
struct Walk<'a> {
    sandbox: &'a str,
    steps: Vec<Step>,
}

impl Walk<'_> {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        bearer: Option<&str>,
        body: &Value,
    ) -> Result<Reply, ScenarioError> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let content_type = "application/json";
        let ask = Ask { method, path, bearer, content_type, body: &body };
        send(self.sandbox, ask).await
    }

    /// Notes a step, if its answer is one of those that the story can go on with.
    fn note(
        &mut self,
        what: String,
        reply: &Reply,
        good: &[u16],
        outcome: String,
    ) -> Result<(), ScenarioError> {
        let (call, status) = (reply.call.clone(), reply.status);
        if !good.contains(&status) {
            return Err(ScenarioError::Unexpected { what, call, status, body: reply.text.clone() });
        }
        self.steps.push(Step { what, call, status, outcome });
        Ok(())
    }

    /// A token by the JWT bearer grant, signed with the client's key.
    async fn token(
        &mut self,
        client: &str,
        scope: &str,
        owner: Option<&str>,
    ) -> Result<String, ScenarioError> {
        let path = format!("/sandbox/clients/{client}/assertion");
        let body = json!({ "scope": scope, "systemuser_org": owner });
        let signed = self.ask("POST", &path, None, &body).await?;
        let value = signed.json();
        let assertion = value.get("assertion").and_then(Value::as_str).unwrap_or_default();
        let body = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"
        );
        let content_type = "application/x-www-form-urlencoded";
        let ask = Ask { method: "POST", path: "/token", bearer: None, content_type, body: &body };
        let reply = send(self.sandbox, ask).await?;
        let what = owner.map_or_else(
            || format!("client {client} takes a token"),
            |owner| format!("client {client} takes a token for the system user of {owner}"),
        );
        self.note(what, &reply, &[200], scope.to_owned())?;
        Ok(text(&reply.json(), "access_token"))
    }

    /// The vendor registers the system, or writes it anew where an earlier run did.
    async fn register(&mut self, plan: &Plan, vendor: &str) -> Result<(), ScenarioError> {
        let id = plan.system();
        let name = format!("Scenario {}", plan.name);
        let body = json!({
            "id": id,
            "vendor": { "ID": format!("0192:{VENDOR}") },
            "name": { "nb": name, "nn": name, "en": name },
            "description": { "nb": name, "nn": name, "en": name },
            "accessPackages": [plan.package_urn()],
            "clientId": [plan.client],
            "isVisible": !plan.agent,
        });
        let mut reply = self.ask("POST", SYSTEM_REGISTER, Some(vendor), &body).await?;
        if reply.text.contains("AUTH.VLD-00002") {
            let path = format!("{SYSTEM_REGISTER}/{id}");
            reply = self.ask("PUT", &path, Some(vendor), &body).await?;
        }
        let what = format!("the vendor registers system {id} with package {}", plan.package);
        self.note(what, &reply, &[200], reply.text.clone())
    }

    /// The vendor asks, the customer's person approves; gives the id of the system user.
    async fn request_and_approve(
        &mut self,
        plan: &Plan,
        vendor: &str,
    ) -> Result<String, ScenarioError> {
        let body = json!({
            "systemId": plan.system(), "partyOrgNo": plan.owner,
            "accessPackages": [plan.package_urn()],
        });
        let kind = if plan.agent { "/agent" } else { "" };
        let path = format!("{REQUEST}/vendor{kind}");
        let reply = self.ask("POST", &path, Some(vendor), &body).await?;
        if reply.json().get("code") == Some(&json!("AUTH-00004")) {
            return self.existing(plan, vendor).await;
        }
        let asked = reply.json();
        let what = format!("the vendor asks {} for a system user", plan.owner);
        self.note(what, &reply, &[200, 201], text(&asked, "confirmUrl"))?;
        let id = text(&asked, "id");
        let login = self.login(plan.approver).await?;
        let agent = if plan.agent { "/agent" } else { "" };
        let path = format!("{REQUEST}{agent}/{}/{id}/approve", plan.owner_party_id);
        let reply = self.ask("POST", &path, Some(&login), &Value::Null).await?;
        let what = format!("an access manager of {} approves", plan.owner);
        self.note(what, &reply, &[200], format!("system user {id}"))?;
        Ok(id)
    }

    /// The system user that an earlier run made.
    async fn existing(&mut self, plan: &Plan, vendor: &str) -> Result<String, ScenarioError> {
        let path = format!(
            "/authentication/api/v1/systemuser/vendor/byquery?system-id={}&orgno={}",
            plan.system(),
            plan.owner
        );
        let reply = self.ask("GET", &path, Some(vendor), &Value::Null).await?;
        let id = text(&reply.json(), "id");
        let what = format!("{} already has the system user", plan.owner);
        self.note(what, &reply, &[200], format!("system user {id}"))?;
        Ok(id)
    }

    async fn login(&self, person: &str) -> Result<String, ScenarioError> {
        let body = json!({ "person": person });
        let reply = self.ask("POST", "/sandbox/portal/login", None, &body).await?;
        Ok(text(&reply.json(), "access_token"))
    }

    async fn add_client(&mut self, plan: &Plan, user: &str) -> Result<(), ScenarioError> {
        let login = self.login(plan.client_administrator).await?;
        let client = format!("a0000000-0000-4000-8000-000{}", plan.party);
        let path = format!("{CLIENTS}?agent={user}&client={client}");
        let reply = self.ask("POST", &path, Some(&login), &Value::Null).await?;
        let what = format!("a client administrator adds client {}", plan.party);
        self.note(what, &reply, &[200], format!("client {client}"))
    }

    /// Asks the decision point as the service owner does: for the party, and for its refused neighbour.
    async fn ask_pdp(&mut self, plan: &Plan, user: &str) -> Result<(), ScenarioError> {
        let scopes = "altinn:authorization/authorize";
        let raw = self.token(SERVICE_OWNER_CLIENT, scopes, None).await?;
        let path = "/authentication/api/v1/exchange/maskinporten";
        let altinn = self.ask("GET", path, Some(&raw), &Value::Null).await?;
        for (party, expected) in [(plan.party, "Permit"), (plan.refused, "NotApplicable")] {
            let body = question(user, party, plan);
            let path = "/authorization/api/v1/authorize";
            let reply = self.ask("POST", path, Some(&altinn.text), &body).await?;
            let decision = reply.json();
            let decision = decision.pointer("/response/0/decision").and_then(Value::as_str);
            let good: &[u16] = if decision == Some(expected) { &[200] } else { &[] };
            let what = format!("may it {} {} for {party}?", plan.action, plan.resource);
            self.note(what, &reply, good, expected.to_owned())?;
        }
        Ok(())
    }

    /// One call through the proxy that is permitted and one that is refused.
    async fn call_proxy(
        &mut self,
        plan: &Plan,
        proxy: &str,
        token: &str,
    ) -> Result<(), ScenarioError> {
        for (party, permitted) in [(plan.party, true), (plan.refused, false)] {
            let (method, path, body) = plan.call(party);
            let content_type = "application/json";
            let ask = Ask { method, path: &path, bearer: Some(token), content_type, body: &body };
            let reply = send(proxy, ask).await?;
            let good: &[u16] = if permitted { &[200, 201, 202, 204] } else { &[403] };
            let verdict = if permitted { "permitted" } else { "refused" };
            let what = format!("a call through the proxy for {party}");
            self.note(what, &reply, good, verdict.to_owned())?;
        }
        Ok(())
    }
}

fn question(user: &str, party: &str, plan: &Plan) -> Value {
    let attribute = |id: &str, value: &str| json!({ "AttributeId": id, "Value": value });
    json!({ "Request": {
        "AccessSubject": [{ "Attribute": [attribute("urn:altinn:systemuser:uuid", user)] }],
        "Action": [{ "Attribute": [
            attribute("urn:oasis:names:tc:xacml:1.0:action:action-id", plan.action),
        ] }],
        "Resource": [{ "Attribute": [
            attribute("urn:altinn:resource", plan.resource),
            attribute("urn:altinn:organization:identifier-no", party),
        ] }],
    } })
}

fn text(value: &Value, member: &str) -> String {
    value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}
