//! A call through the proxy, made by the sandbox for the vendor's page: to the configured proxy and to nowhere else.

use super::layout::{self, button, hidden, input, select};
use super::text::Text as T;
use super::visit::{Fields, Posted, Visit};
use super::{vendor, verdict};
use crate::crypto::jws::Jws;
use axum::body::Body;
use axum::http::{Request, Response as HttpResponse, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use maud::{Markup, html};
use serde_json::Value;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// What of an answer is read.
const READ: usize = 64 * 1024;

/// A call that the routes of `config/sandbox.yaml` know.
pub(super) struct Known {
    name: &'static str,
    method: &'static str,
    /// `{party}` stands for the party.
    path: &'static str,
    /// The party is in the body.
    body: bool,
    pub(super) scope: &'static str,
    pub(super) resource: &'static str,
    pub(super) action: &'static str,
}

const KNOWN: [Known; 5] = [
    Known {
        name: "vat-return-read",
        method: "GET",
        path: "/v1/parties/{party}/vat-returns",
        body: false,
        scope: "skatteetaten:mva",
        resource: "ske-mva-melding",
        action: "read",
    },
    Known {
        name: "vat-return-submit",
        method: "POST",
        path: "/v1/parties/{party}/vat-returns",
        body: false,
        scope: "skatteetaten:mva",
        resource: "ske-mva-melding",
        action: "write",
    },
    Known {
        name: "claims-read",
        method: "GET",
        path: "/v1/parties/{party}/claims",
        body: false,
        scope: "skatteetaten:kravogbetalinger",
        resource: "ske-krav-og-betalinger",
        action: "read",
    },
    Known {
        name: "claims-write",
        method: "POST",
        path: "/v1/parties/{party}/claims",
        body: false,
        scope: "skatteetaten:kravogbetalinger",
        resource: "ske-krav-og-betalinger",
        action: "write",
    },
    Known {
        name: "payroll-submit",
        method: "POST",
        path: "/v1/payroll",
        body: true,
        scope: "skatteetaten:lonn",
        resource: "ske-a-melding",
        action: "write",
    },
];

/// Whether a known call needs the scope.
pub(super) fn is_needed(scope: &str) -> bool {
    KNOWN.iter().any(|known| known.scope == scope)
}

/// The first known call that the scopes of a token are enough for.
fn fitting(token: &str) -> &'static str {
    let token = Jws::parse(token);
    let scopes = token.as_ref().and_then(|token| token.claims.get("scope")?.as_str());
    let held: Vec<&str> = scopes.unwrap_or_default().split_whitespace().collect();
    KNOWN.iter().find(|known| held.contains(&known.scope)).map_or("vat-return-read", |it| it.name)
}

/// The form below a token.
pub(super) fn form(visit: &Visit, token: &str, party: &str, client: &str) -> Markup {
    let calls: Vec<(String, String)> = KNOWN
        .iter()
        .map(|it| (it.name.to_owned(), format!("{} {} ({})", it.method, it.path, it.name)))
        .chain([("own".to_owned(), visit.t(T::OwnCall).to_owned())])
        .collect();
    let methods: Vec<(String, String)> = ["GET", "POST", "PUT", "DELETE"]
        .iter()
        .map(|method| ((*method).to_owned(), (*method).to_owned()))
        .collect();
    html! {
        section class="ds-card" {
            (layout::heading(visit.t(T::CallTitle)))
            @if let Some(proxy) = visit.shared.proxy.as_deref() { p { (visit.t(T::CallLead)) " " code { (proxy) } } }
            @else { (layout::alert("info", visit.t(T::NoProxy))) }
            form method="post" action="/ui/vendor/call" class="stack" {
                (layout::token(visit))
                (hidden("token", token))
                (hidden("client", client))
                (select("call", visit.t(T::Call), &calls, fitting(token)))
                (select("party", visit.t(T::Party), &vendor::organizations(visit), party))
                details class="ds-details" {
                    summary { (visit.t(T::OwnCall)) }
                    div class="stack" {
                        (select("method", visit.t(T::Method), &methods, "GET"))
                        (input("path", visit.t(T::Path), visit.t(T::PathHelp), ""))
                    }
                }
                (button("primary", "accent", visit.t(T::MakeCall)))
            }
        }
    }
}

/// A call as it goes out.
pub(super) struct Ready<'a> {
    pub(super) known: Option<&'static Known>,
    pub(super) method: &'a str,
    pub(super) path: String,
    body: Option<String>,
    pub(super) party: &'a str,
    pub(super) token: &'a str,
}

fn ready(fields: &Fields) -> Option<Ready<'_>> {
    let (party, token) = (fields.one("party"), fields.one("token"));
    let known = KNOWN.iter().find(|known| known.name == fields.one("call"));
    let Some(known) = known else {
        let path = fields.one("path").to_owned();
        let method = fields.one("method");
        let good = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        return good.then_some(Ready { known, method, path, body: None, party, token });
    };
    let body = known.body.then(|| serde_json::json!({ "employer": party }).to_string());
    let path = known.path.replace("{party}", &layout::encode(party));
    Some(Ready { known: Some(known), method: known.method, path, body, party, token })
}

/// What the proxy answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    /// The stable code of a refusal.
    pub(super) fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body.get("code").and_then(Value::as_str).map(str::to_owned)
    }
}

pub(super) async fn send(Posted { mut visit, fields }: Posted) -> Response {
    "/ui/vendor".clone_into(&mut visit.path);
    let Some(ready) = ready(&fields) else {
        return visit.refuse(StatusCode::BAD_REQUEST, visit.t(T::BadPath));
    };
    let answer = match visit.shared.proxy.as_deref() {
        Some(proxy) => Some(exchange(proxy, &ready, visit.language.code()).await),
        None => None,
    };
    let main = html! {
        (layout::title(visit.t(T::CallResult), ""))
        p class="call" { code { (ready.method) " " (ready.path) } }
        @match &answer {
            Some(Ok(answer)) => (answered(&visit, answer)),
            Some(Err(error)) => (layout::alert("danger", &visit.fill(T::ProxySilent, &[("why", &error.to_string())]))),
            None => (layout::alert("info", visit.t(T::NoProxy))),
        }
        (verdict::steps(&visit, &ready, answer.as_ref().and_then(|it| it.as_ref().ok())))
        (verdict::explain(&visit, &ready))
        (form(&visit, ready.token, ready.party, fields.one("client")))
        p { a class="ds-link" href={ "/ui/vendor?client=" (layout::encode(fields.one("client"))) } { (visit.t(T::BackToVendorPage)) } }
    };
    visit.page(visit.t(T::CallResult), &main)
}

fn answered(visit: &Visit, answer: &Answer) -> Markup {
    let good = answer.status.is_success();
    let pretty: Option<Value> = serde_json::from_str(&answer.body).ok();
    let pretty = pretty.and_then(|body| serde_json::to_string_pretty(&body).ok());
    html! {
        (layout::alert(if good { "success" } else { "danger" }, &visit.fill(T::ProxyAnswered, &[("status", &answer.status.to_string())])))
        dl class="claims" {
            @for (name, value) in &answer.headers { dt { code { (name) } } dd { code { (value) } } }
        }
        pre tabindex="0" aria-label=(visit.t(T::Answer)) { (pretty.as_deref().unwrap_or(&answer.body)) }
    }
}

/// Whether an address is `http://HOST:PORT`, all that a proxy may be.
pub(crate) fn host_of(proxy: &str) -> Option<&str> {
    let host = proxy.strip_prefix("http://")?.trim_end_matches('/');
    let uri: axum::http::uri::Authority = host.parse().ok()?;
    (uri.port_u16().is_some() && !host.contains('@')).then_some(host)
}

/// Calls the proxy; `language` is the one in which a refusal is to be told.
async fn exchange(proxy: &str, ready: &Ready<'_>, language: &str) -> io::Result<Answer> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(PATIENCE, talk(proxy, ready, language)).await.map_err(late)?
}

/// The connection goes to the proxy whatever the path says; redirects are not followed.
async fn talk(proxy: &str, ready: &Ready<'_>, language: &str) -> io::Result<Answer> {
    let host = host_of(proxy).ok_or(io::ErrorKind::InvalidInput)?;
    let request = Request::builder()
        .method(ready.method)
        .uri(&ready.path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_LANGUAGE, language)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", ready.token))
        .body(Body::from(ready.body.clone().unwrap_or_default()))
        .map_err(io::Error::other)?;
    let stream = TcpStream::connect(host).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let answer = read(sender.send_request(request).await.map_err(io::Error::other)?).await;
    driver.abort();
    answer
}

async fn read(response: HttpResponse<Incoming>) -> io::Result<Answer> {
    let (parts, body) = response.into_parts();
    let shown = |name: &str| {
        ["content-type", "www-authenticate", "retry-after", "content-language"].contains(&name)
            || name.starts_with("portvakt-")
    };
    let headers = parts
        .headers
        .iter()
        .filter(|(name, _)| shown(name.as_str()))
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let bytes = Limited::new(body, READ).collect().await.map_err(io::Error::other)?.to_bytes();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { status: parts.status, headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_with_a_port_and_nothing_more() {
        assert_eq!(host_of("http://127.0.0.1:8080"), Some("127.0.0.1:8080"));
        assert_eq!(host_of("http://proxy.local:80/"), Some("proxy.local:80"));
        let bad = ["https://a:1", "http://a", "http://a:1/x", "http://u@a:1", "a:1", ""];
        for bad in bad {
            assert_eq!(host_of(bad), None, "{bad}");
        }
    }
}
