//! One look at a page: who looks, in which language, and whether a form is the visitor's own.

use super::api::{Api, Reply, portal_token};
use super::layout;
use super::session::SessionId;
use super::text::{Language, Text as T};
use crate::state::Shared;
use crate::world::World;
use crate::world::number::OrgNumber;
use crate::world::party::{Organization, Person};
use axum::extract::{Extension, Form, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::Markup;
use serde_json::Value;
use std::sync::Arc;

const SESSION_COOKIE: &str = "portvakt-sandbox";
const LANGUAGE_COOKIE: &str = "portvakt-sandbox-language";

/// Names and values, of a query or a form, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The first value of a name; empty if there is none.
    pub(super) fn one(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.trim())
    }
}

/// A visitor and what a page needs to know.
pub(super) struct Visit {
    pub(super) shared: Arc<Shared>,
    pub(super) api: Api,
    pub(super) world: Arc<World>,
    pub(super) language: Language,
    pub(super) query: Fields,
    pub(super) path: String,
    /// Path and query, to come back to.
    pub(super) address: String,
    session: SessionId,
    /// Cookies to be set with the answer.
    cookies: Vec<String>,
    person: Option<Person>,
    /// Where a form of the page may lead besides the sandbox itself.
    form_target: Option<String>,
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn set_cookie(name: &str, value: &str) -> String {
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax")
}

impl FromRequestParts<Arc<Shared>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Response> {
        let api = Extension::<Api>::from_request_parts(parts, shared).await;
        let Extension(api) = api.map_err(IntoResponse::into_response)?;
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let query = Fields(query.map(|query| query.0).unwrap_or_default());
        let mut cookies = Vec::new();
        let asked = Language::parse(query.one("lang"));
        if let Some(language) = asked {
            cookies.push(set_cookie(LANGUAGE_COOKIE, language.code()));
        }
        let kept = cookie(&parts.headers, LANGUAGE_COOKIE).and_then(Language::parse);
        let known = cookie(&parts.headers, SESSION_COOKIE).and_then(SessionId::parse);
        let session = known.unwrap_or_else(SessionId::new);
        if known.is_none() {
            cookies.push(set_cookie(SESSION_COOKIE, &session.text()));
        }
        let world = shared.snapshot();
        let person = shared.sessions().person(session);
        let person = person.and_then(|number| world.persons.get(&number)).cloned();
        Ok(Self {
            shared: Arc::clone(shared),
            api,
            world,
            language: asked.or(kept).unwrap_or_default(),
            query,
            path: parts.uri.path().to_owned(),
            address: parts.uri.path_and_query().map_or("/", |it| it.as_str()).to_owned(),
            session,
            cookies,
            person,
            form_target: None,
        })
    }
}

impl Visit {
    /// A sentence in the visitor's language.
    pub(super) fn t(&self, text: T) -> &'static str {
        self.language.t(text)
    }

    /// A sentence with names in braces filled in.
    pub(super) fn fill(&self, text: T, values: &[(&str, &str)]) -> String {
        self.language.fill(text, values)
    }

    pub(super) fn person(&self) -> Option<&Person> {
        self.person.as_ref()
    }

    /// The value that every form must carry.
    pub(super) fn form_token(&self) -> String {
        self.shared.sessions().form_token(self.session)
    }

    /// The same page in the present state of the world.
    pub(super) fn renew(&mut self) {
        self.world = self.shared.snapshot();
    }

    pub(super) fn log_in(&mut self, person: &Person) {
        self.shared.sessions().end(self.session);
        self.session = self.shared.sessions().begin(person.number);
        self.cookies.push(set_cookie(SESSION_COOKIE, &self.session.text()));
    }

    pub(super) fn log_out(&mut self) {
        self.shared.sessions().end(self.session);
        self.session = SessionId::new();
        self.cookies.push(set_cookie(SESSION_COOKIE, &self.session.text()));
    }

    /// Lets the forms of this page end at another address, as a vendor's redirect URL does.
    pub(super) fn allow_target(&mut self, url: Option<&str>) {
        self.form_target = url.and_then(origin);
    }

    /// The organisation that the visitor acts for: the one asked for, else the first.
    pub(super) fn party(&self, asked: &str) -> Option<&Organization> {
        let person = self.person()?;
        let numbers = person.holds.iter().map(|holding| holding.organization);
        let asked = OrgNumber::parse(asked).ok();
        let number = match asked {
            Some(asked) => numbers.into_iter().find(|number| *number == asked)?,
            None => numbers.into_iter().next()?,
        };
        self.world.organizations.get(&number)
    }

    /// Calls an endpoint of the portal as the visitor.
    pub(super) async fn act(&self, method: &str, target: &str, body: &Value) -> Reply {
        let token = self.person().and_then(|person| portal_token(&self.shared, person, 3).ok());
        self.api.call(method, target, token.as_deref(), body).await
    }

    /// A page.
    pub(super) fn page(&self, title: &str, main: &Markup) -> Response {
        self.page_with(StatusCode::OK, title, main)
    }

    pub(super) fn page_with(&self, status: StatusCode, title: &str, main: &Markup) -> Response {
        // The title is what a screen reader says first of a new page.
        let failed = status.is_client_error() || status.is_server_error();
        let title =
            if failed { self.fill(T::FailedTitle, &[("title", title)]) } else { title.to_owned() };
        let html = layout::document(self, &title, main).into_string();
        let mut response =
            (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
        self.finish(&mut response);
        response
    }

    /// A page that says why something cannot be done.
    pub(super) fn refuse(&self, status: StatusCode, why: &str) -> Response {
        let title = self.t(T::CannotTitle);
        self.page_with(status, title, &layout::refusal(self, title, why))
    }

    /// Goes to another page, by a GET.
    pub(super) fn go(&self, target: &str) -> Response {
        let Ok(target) = HeaderValue::from_str(target) else {
            return self.refuse(StatusCode::BAD_REQUEST, self.t(T::NotFound));
        };
        let mut response = StatusCode::SEE_OTHER.into_response();
        response.headers_mut().insert(header::LOCATION, target);
        self.finish(&mut response);
        response
    }

    fn finish(&self, response: &mut Response) {
        let policy = format!(
            "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
             frame-ancestors 'none'; form-action 'self'{}{}",
            if self.form_target.is_some() { " " } else { "" },
            self.form_target.as_deref().unwrap_or_default()
        );
        let headers = response.headers_mut();
        let fixed = [
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        for cookie in self.cookies.iter().filter_map(|text| HeaderValue::from_str(text).ok()) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// Scheme and host of an address on the web, if nothing in them could end a policy.
fn origin(url: &str) -> Option<String> {
    let uri: axum::http::Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
    let host = uri.authority()?.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    host.bytes().all(plain).then(|| format!("{scheme}://{host}"))
}

/// Whether an address is one of the web, so that a visitor may be sent there.
pub(super) fn is_web_address(url: &str) -> bool {
    origin(url).is_some()
}

/// A form that the visitor sent from a page of ours.
pub(super) struct Posted {
    pub(super) visit: Visit,
    pub(super) fields: Fields,
}

impl FromRequest<Arc<Shared>> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visit = Visit::from_request_parts(&mut parts, shared).await?;
        let request = Request::from_parts(parts, body);
        let form = Form::<Vec<(String, String)>>::from_request(request, shared).await;
        let Ok(Form(fields)) = form else {
            return Err(visit.refuse(StatusCode::BAD_REQUEST, visit.t(T::NoForm)));
        };
        let fields = Fields(fields);
        if shared.sessions().is_form_token(visit.session, fields.one("form_token")) {
            Ok(Self { visit, fields })
        } else {
            Err(visit.refuse(StatusCode::FORBIDDEN, visit.t(T::ForeignForm)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_web_addresses_get_into_the_policy() {
        assert_eq!(origin("https://a.example/x?y").as_deref(), Some("https://a.example"));
        assert_eq!(origin("http://127.0.0.1:81/").as_deref(), Some("http://127.0.0.1:81"));
        for bad in ["javascript:alert(1)", "/local", "https://a;b/", "https://u@a.example/", "x"] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; portvakt-sandbox=x"));
        assert_eq!(cookie(&headers, SESSION_COOKIE), Some("x"));
        assert_eq!(cookie(&headers, LANGUAGE_COOKIE), None);
    }
}
