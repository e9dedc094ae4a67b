//! The vendor's page: ask a customer for a system user, take a token, see what is in it, and call the API.

use super::layout::{self, button, checkbox, hidden, select};
use super::text::Text as T;
use super::visit::{Fields, Posted, Visit};
use super::{PORTAL, call, words};
use crate::crypto::jws::Jws;
use crate::world::model::{Client, System, SystemUser, SystemUserKind};
use crate::world::requests::{RequestStatus, UserRequest};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};
use uuid::Uuid;

const SHOWN: usize = 200;
const REQUEST_SCOPES: &str = "altinn:authentication/systemuser.request.write";
const JWT_BEARER: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";

/// A system and one of its Maskinporten clients: as what the visitor acts.
struct Choice<'a> {
    client: &'a Client,
    system: &'a System,
}

impl Choice<'_> {
    /// How a form names the choice; neither id has a space in it.
    fn value(&self) -> String {
        format!("{} {}", self.client.id, self.system.id)
    }

    fn address(&self) -> String {
        format!("/ui/vendor?client={}", layout::encode(&self.value()))
    }
}

fn choices(visit: &Visit) -> impl Iterator<Item = Choice<'_>> {
    visit.world.systems.values().flat_map(|system| {
        let clients = system.client_ids.iter().filter_map(|id| visit.world.clients.get(id));
        clients.map(move |client| Choice { client, system })
    })
}

fn chosen<'a>(visit: &'a Visit, fields: &Fields) -> Option<Choice<'a>> {
    let asked = fields.one("client");
    choices(visit).find(|choice| asked.is_empty() || choice.value() == asked)
}

pub(super) async fn show(visit: Visit) -> Response {
    page(&visit, &visit.query, &html! {}, StatusCode::OK)
}

/// The whole page, with what came of a form on top.
fn page(visit: &Visit, fields: &Fields, outcome: &Markup, status: StatusCode) -> Response {
    let Some(choice) = chosen(visit, fields) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::NoSystems));
    };
    let main = html! {
        (layout::title(visit.t(T::VendorTitle), visit.t(T::VendorLead)))
        (outcome)
        (choose(visit, &choice))
        (ask_form(visit, &choice))
        (requests(visit, &choice))
        (token_form(visit, &choice))
    };
    visit.page_with(status, visit.t(T::VendorTitle), &main)
}

fn choose(visit: &Visit, present: &Choice<'_>) -> Markup {
    let options: Vec<(String, String)> = choices(visit)
        .take(SHOWN)
        .map(|choice| {
            let vendor = words::org_name(&visit.world, choice.system.vendor);
            let name = words::localized(visit.language, &choice.system.name);
            let gone = if choice.system.deleted { visit.t(T::DeletedMark) } else { "" };
            let end = choice.client.id.get(choice.client.id.len().saturating_sub(4)..);
            let end = end.unwrap_or_default();
            (choice.value(), format!("{vendor}: {name}{gone} (…{end})"))
        })
        .collect();
    html! {
        section class="ds-card" {
            (layout::heading(visit.t(T::VendorChoose)))
            form method="get" action="/ui/vendor" class="stack" {
                (select("client", visit.t(T::SystemAndClient), &options, &present.value()))
                (button("secondary", "accent", visit.t(T::Choose)))
            }
        }
    }
}

/// Organisations by name, for a drop-down list.
pub(super) fn organizations(visit: &Visit) -> Vec<(String, String)> {
    let all = visit.world.organizations.values().take(SHOWN);
    all.map(|it| (it.number.to_string(), format!("{} ({})", it.name, words::spaced(it.number))))
        .collect()
}

fn ask_form(visit: &Visit, choice: &Choice<'_>) -> Markup {
    let kinds = [SystemUserKind::Standard, SystemUserKind::Agent];
    let names = ["standard", "agent"];
    let kinds: Vec<(String, String)> = names
        .iter()
        .zip(kinds)
        .map(|(name, kind)| ((*name).to_owned(), words::kind(visit, kind).to_owned()))
        .collect();
    let none = (String::new(), visit.t(T::NoRedirect).to_owned());
    let redirects: Vec<(String, String)> = std::iter::once(none)
        .chain(choice.system.redirect_urls.iter().map(|url| (url.clone(), url.clone())))
        .collect();
    // A system of packages that only clients give is for agents.
    let for_agents = choice
        .system
        .packages
        .iter()
        .any(|code| visit.world.package_named(code).is_some_and(|package| !package.assignable));
    let kind = if for_agents { "agent" } else { "standard" };
    html! {
        section class="ds-card" {
            (layout::heading(visit.t(T::AskTitle)))
            p { (visit.t(T::AskLead)) }
            form method="post" action="/ui/vendor/request" class="stack" {
                (layout::token(visit))
                (hidden("client", &choice.value()))
                (select("customer", visit.t(T::Customer), &organizations(visit), "310000507"))
                (select("kind", visit.t(T::Kind), &kinds, kind))
                (needs(visit, choice.system))
                (layout::input("reference", visit.t(T::Reference), visit.t(T::ReferenceHelp), ""))
                (select("redirect", visit.t(T::Redirect), &redirects, ""))
                (button("primary", "accent", visit.t(T::Ask)))
            }
        }
    }
}

/// What of the system's needs is asked for.
fn needs(visit: &Visit, system: &System) -> Markup {
    html! {
        fieldset class="ds-fieldset" {
            legend class="ds-label" { (visit.t(T::Needs)) }
            @for (place, code) in system.packages.iter().enumerate() {
                (checkbox(&format!("package-{place}"), ("package", code), &html! { (visit.t(T::Package)) ": " (words::package_name(visit, code)) }, true))
            }
            @for (place, right) in system.rights.iter().enumerate() {
                (checkbox(&format!("right-{place}"), ("right", &right.resource), &html! { (visit.t(T::SingleRight)) ": " (words::resource_title(visit, &right.resource)) }, false))
            }
            @if system.packages.is_empty() && system.rights.is_empty() { p { (visit.t(T::NeedsNothing)) } }
        }
    }
}

/// The path of a request's confirm page.
fn confirm_path(request: &UserRequest) -> String {
    let page = if request.kind == SystemUserKind::Agent { "agentrequest" } else { "request" };
    format!("{PORTAL}/{page}?id={}&DONTCHOOSEREPORTEE=true", request.id)
}

fn requests(visit: &Visit, choice: &Choice<'_>) -> Markup {
    let mut rows: Vec<&UserRequest> = visit
        .world
        .requests
        .values()
        .filter(|it| it.system == choice.system.id && !it.deleted)
        .collect();
    rows.sort_by_key(|request| std::cmp::Reverse(request.created));
    html! {
        @if !rows.is_empty() {
            section class="ds-card" {
                (layout::heading(visit.t(T::Requests)))
                ul class="rights" {
                    @for request in rows.into_iter().take(20) {
                        li {
                            div class="line" {
                                strong { (words::org(&visit.world, request.party)) }
                                (request_status(visit, request))
                            }
                            a class="ds-link" href=(confirm_path(request)) { (visit.t(T::ConfirmUrl)) " " (words::org_name(&visit.world, request.party)) " – " (request.reference()) }
                        }
                    }
                }
            }
        }
    }
}

fn request_status(visit: &Visit, request: &UserRequest) -> Markup {
    let (color, text) = match request.status {
        RequestStatus::New if request.escalated => ("warning", T::StatusEscalated),
        RequestStatus::New => ("info", T::StatusNew),
        RequestStatus::Accepted => ("success", T::StatusAccepted),
        RequestStatus::Rejected => ("danger", T::StatusRejected),
    };
    layout::tag(color, visit.t(text))
}

fn token_form(visit: &Visit, choice: &Choice<'_>) -> Markup {
    let users = visit.world.system_users.values().filter(|it| it.system == choice.system.id);
    let users: Vec<(String, String)> =
        users.take(SHOWN).map(|user| (user.id.to_string(), user_line(visit, user))).collect();
    let scopes: Vec<&String> =
        choice.client.scopes.iter().filter(|scope| !scope.starts_with("altinn:")).collect();
    // Not every scope is for every kind of client: begin with one that a known call needs.
    let first = scopes.iter().position(|scope| call::is_needed(scope)).unwrap_or_default();
    html! {
        section class="ds-card" {
            (layout::heading(visit.t(T::TokenTitle)))
            p { (visit.t(T::TokenLead)) }
            @if users.is_empty() { p { (visit.t(T::NoSystemUsers)) } } @else {
                form method="post" action="/ui/vendor/token" class="stack" {
                    (layout::token(visit))
                    (hidden("client", &choice.value()))
                    (select("user", visit.t(T::SystemUser), &users, ""))
                    fieldset class="ds-fieldset" {
                        legend class="ds-label" { (visit.t(T::Scopes)) }
                        @for (place, scope) in scopes.iter().enumerate() {
                            (checkbox(&format!("scope-{place}"), ("scope", scope), &html! { code { (scope) } }, place == first))
                        }
                    }
                    (button("primary", "accent", visit.t(T::TakeToken)))
                }
            }
        }
    }
}

fn user_line(visit: &Visit, user: &SystemUser) -> String {
    let gone = if user.deleted { visit.t(T::DeletedMark) } else { "" };
    let owner = words::org_name(&visit.world, user.owner);
    format!("{owner}{gone} – {} – {}", words::kind(visit, user.kind), user.reference())
}

/// A form that came from one of the page's sections.
fn arrive(mut posted: Posted) -> (Visit, Fields) {
    "/ui/vendor".clone_into(&mut posted.visit.path);
    (posted.visit, posted.fields)
}

pub(super) async fn request(posted: Posted) -> Response {
    let (mut visit, fields) = arrive(posted);
    let Some(choice) = chosen(&visit, &fields) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::NoSystems));
    };
    let body = request_body(&visit, &choice, &fields);
    let mint = json!({ "client_id": choice.client.id, "scope": REQUEST_SCOPES });
    let minted = visit.api.call("POST", "/sandbox/token", None, &mint).await;
    let agent = if fields.one("kind") == "agent" { "/agent" } else { "" };
    let target = format!("/authentication/api/v1/systemuser/request/vendor{agent}");
    let reply = visit.api.call("POST", &target, minted.text("access_token"), &body).await;
    let id = reply.text("id").and_then(|id| Uuid::try_parse(id).ok());
    visit.renew();
    let made = id.and_then(|id| visit.world.requests.get(&id));
    let Some(made) = made.filter(|_| reply.is_good()) else {
        let why = layout::alert("danger", &words::problem(&visit, &reply));
        return page(&visit, &fields, &why, reply.status);
    };
    let text = if reply.status == StatusCode::CREATED { T::Asked } else { T::AskedBefore };
    let outcome = html! {
        (layout::alert("success", visit.t(text)))
        p { (visit.t(T::ConfirmUrlLead)) }
        p { a class="ds-link long" href=(confirm_path(made)) { (reply.text("confirmUrl").unwrap_or_default()) } }
    };
    page(&visit, &fields, &outcome, StatusCode::OK)
}

/// The request as a vendor's program would send it.
fn request_body(visit: &Visit, choice: &Choice<'_>, fields: &Fields) -> Value {
    let urn = |code: &str| {
        let suffix = visit.world.packages.get(code).map_or(code, |package| package.urn_suffix());
        json!({ "urn": format!("urn:altinn:accesspackage:{suffix}") })
    };
    let right = |id: &str| json!({ "resource": [{ "id": "urn:altinn:resource", "value": id }] });
    let text = |name: &str| Some(fields.one(name).to_owned()).filter(|text| !text.is_empty());
    json!({
        "systemId": choice.system.id,
        "partyOrgNo": fields.one("customer"),
        "externalRef": text("reference"),
        "accessPackages": fields.all("package").map(urn).collect::<Vec<_>>(),
        "rights": fields.all("right").map(right).collect::<Vec<_>>(),
        "redirectUrl": text("redirect"),
    })
}

/// Takes a token by the real grant, so that a refusal of Maskinporten's is seen, too.
pub(super) async fn token(posted: Posted) -> Response {
    let (visit, fields) = arrive(posted);
    let Some(choice) = chosen(&visit, &fields) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::NoSystems));
    };
    let user = Uuid::try_parse(fields.one("user")).ok();
    let Some(user) = user.and_then(|id| visit.world.system_users.get(&id)) else {
        return visit.refuse(StatusCode::NOT_FOUND, visit.t(T::ProblemNoUser));
    };
    let scope = fields.all("scope").collect::<Vec<_>>().join(" ");
    let asked = json!({
        "scope": scope, "systemuser_org": user.owner, "external_ref": user.external_ref,
    });
    let path = format!("/sandbox/clients/{}/assertion", layout::encode(&choice.client.id));
    let signed = visit.api.call("POST", &path, None, &asked).await;
    let assertion = signed.text("assertion").unwrap_or_default();
    let body = format!("grant_type={JWT_BEARER}&assertion={}", layout::encode(assertion));
    let reply = visit.api.form("/token", body).await;
    let Some(token) = reply.text("access_token") else {
        let why = words::problem(&visit, &reply);
        let text = visit.fill(T::TokenRefused, &[("why", &why)]);
        return page(&visit, &fields, &layout::alert("danger", &text), reply.status);
    };
    let main = html! {
        (layout::title(visit.t(T::TokenTaken), visit.t(T::TokenTakenLead)))
        (decoded(&visit, token))
        (call::form(&visit, token, user.owner.as_str(), &choice.value()))
        p { a class="ds-link" href=(choice.address()) { (visit.t(T::BackToVendorPage)) } }
    };
    visit.page(visit.t(T::TokenTaken), &main)
}

/// Header and claims with what each means; of the signature only the beginning.
pub(super) fn decoded(visit: &Visit, token: &str) -> Markup {
    let Some(jws) = Jws::parse(token) else { return html! {} };
    let signature = token.rsplit('.').next().and_then(|text| text.get(..12)).unwrap_or_default();
    html! {
        section {
            (layout::heading(visit.t(T::TokenHeader)))
            (claims(visit, &jws.header))
            (layout::heading(visit.t(T::TokenClaims)))
            (claims(visit, &jws.claims))
            p { (visit.t(T::TokenSignature)) " " code { (signature) "…" } }
        }
    }
}

fn claims(visit: &Visit, members: &serde_json::Map<String, Value>) -> Markup {
    html! {
        dl class="claims" {
            @for (name, value) in members {
                dt { code { (name) } }
                dd {
                    pre { (serde_json::to_string_pretty(value).unwrap_or_default()) }
                    @if let Some(text) = meaning(name) { p { (visit.t(text)) } }
                    @if name == "exp" || name == "iat" { p { (words::time(value.as_i64().unwrap_or_default())) } }
                }
            }
        }
    }
}

fn meaning(claim: &str) -> Option<T> {
    Some(match claim {
        "kid" => T::ClaimKid,
        "alg" => T::ClaimAlg,
        "iss" => T::ClaimIss,
        "aud" => T::ClaimAud,
        "scope" => T::ClaimScope,
        "client_id" => T::ClaimClient,
        "consumer" => T::ClaimConsumer,
        "supplier" => T::ClaimSupplier,
        "authorization_details" => T::ClaimDetails,
        "exp" => T::ClaimExp,
        "iat" => T::ClaimIat,
        "jti" => T::ClaimJti,
        _ => return None,
    })
}
