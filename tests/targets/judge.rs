//! What judges a request, with everything at hand and nobody asked: routes of every kind, one key, one token
//! that is good for all of them. The fuzz targets use it too.

#![allow(dead_code, reason = "the fuzz targets use more of it")]

use crate::keys::{Key, base64url};
use crate::readings::{Template, readings};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use portvakt::clock::{Clock, SystemClock};
use portvakt::config::{ForwardedConfig, UpstreamConfig, source};
use portvakt::domain::party::CheckDigits;
use portvakt::enforce::Enforcer;
use portvakt::enforce::authenticate::Authenticator;
use portvakt::enforce::facts::{BodyError, BodyReader, Facts};
use portvakt::enforce::ports::{EdgeFuture, KeyError, KeySource, VerificationKey};
use portvakt::enforce::rate::Rates;
use portvakt::enforce::route::Routes;
use portvakt::maskinporten::key_set::parse_key_set;
use std::sync::Arc;
use tokio::runtime::Runtime;

pub(crate) const ISSUER: &str = "https://issuer.example/";

/// Id, methods, path, path variable and query parameter of the party.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
);

const ROUTES: [Row; 7] = [
    ("read", &["GET"], "/v1/parties/{party}/returns/{id}", Some("party"), None),
    ("submit", &["POST"], "/v1/parties/{party}/returns", Some("party"), None),
    ("list", &["GET"], "/v1/returns", None, Some("party")),
    ("both", &["GET", "POST"], "/v2/{org_no}/returns", Some("org_no"), Some("org_no")),
    ("files", &["GET"], "/v1/files/{party}/*", Some("party"), None),
    ("find", &["GET"], "/v1/find/*", None, Some("Party-Org")),
    ("exact", &["GET"], "/v1/parties/310000078/returns/{id}", None, Some("party")),
];

struct OneKey(Arc<VerificationKey>);

impl KeySource for OneKey {
    fn find(&self, key_id: &str) -> Result<Arc<VerificationKey>, KeyError> {
        if key_id == self.0.key_id { Ok(Arc::clone(&self.0)) } else { Err(KeyError::Unknown) }
    }

    fn fetch<'a>(
        &'a self,
        key_id: &'a str,
    ) -> EdgeFuture<'a, Result<Arc<VerificationKey>, KeyError>> {
        Box::pin(async { self.find(key_id) })
    }
}

/// A request without a body.
pub(crate) struct NoBody;

impl BodyReader for NoBody {
    fn read(&mut self, _limit: usize) -> EdgeFuture<'_, Result<Bytes, BodyError>> {
        Box::pin(async { Ok(Bytes::new()) })
    }
}

/// What judges, with a token that is good for everything.
pub(crate) struct Judge {
    pub(crate) enforcer: Enforcer,
    /// A host, and the token.
    pub(crate) headers: HeaderMap,
    pub(crate) runtime: Runtime,
    /// The issuer's.
    pub(crate) key: Key,
    pub(crate) upstream: UpstreamConfig,
    pub(crate) forwarded: ForwardedConfig,
}

impl Judge {
    pub(crate) fn new() -> Self {
        let key = Key::rsa(2048).unwrap();
        let mut jwk = key.public.clone();
        jwk["kid"] = "k".into();
        let set = parse_key_set(format!(r#"{{"keys":[{jwk}]}}"#).as_bytes()).unwrap();
        // Nobody asks Altinn here, but the routes want somebody who could.
        let mut own = key.whole.clone();
        own["kid"] = "own".into();
        let own = own.to_string();
        let environment = |name: &str| (name == "OWN_KEY").then(|| own.clone());
        let config = source::load_text(&configuration(), "targets.yaml", &environment);
        let mut config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let keys = Arc::new(OneKey(Arc::new(set.keys.into_iter().next().unwrap())));
        let enforcer = Enforcer {
            newest: portvakt::enforce::vigil::Newest::default(),
            rates: Rates::new(&config.limits),
            limits: config.limits,
            routes: Arc::new(Routes::new(config.routes).unwrap()),
            authenticator: Authenticator::new(keys, Arc::new(SystemClock), config.tokens).unwrap(),
            answers: None,
            budget: config.altinn.budget,
            check_digits: CheckDigits::Required,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("api.example.test"));
        let bearer = format!("Bearer {}", token(&key));
        headers.insert(header::AUTHORIZATION, bearer.try_into().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (_, upstream) = config.upstreams.pop_first().unwrap();
        Self { enforcer, headers, runtime, key, upstream, forwarded: config.forwarded }
    }

    /// The route and the party that are judged, and the target that is forwarded.
    pub(crate) fn judge(&self, method: &str, target: &str) -> Option<(String, String, String)> {
        self.judge_with(method, target, &self.headers)
    }

    /// As [`Judge::judge`], with other header fields.
    pub(crate) fn judge_with(
        &self,
        method: &str,
        target: &str,
        headers: &HeaderMap,
    ) -> Option<(String, String, String)> {
        let (method, uri): (Method, Uri) = (method.parse().unwrap(), target.parse().ok()?);
        let facts = facts(&method, &uri, headers);
        let asked = self.runtime.block_on(self.enforcer.questions(facts, &mut NoBody));
        let (question, _) = asked.into_iter().next()?;
        let route = question.resource().as_str().trim_start_matches("route-").to_owned();
        let forwarded = uri.path_and_query()?.as_str().to_owned();
        Some((route, question.party().expose().to_owned(), forwarded))
    }
}

/// A request from nobody in particular.
pub(crate) fn facts<'r>(method: &'r Method, uri: &'r Uri, headers: &'r HeaderMap) -> Facts<'r> {
    let peer = "192.0.2.7".parse().unwrap();
    Facts { method, uri, version: Version::HTTP_11, headers, peer }
}

fn configuration() -> String {
    let routes: Vec<String> = ROUTES
        .iter()
        .map(|(id, methods, path, variable, parameter)| {
            let source = |kind: &str, name: Option<&str>| {
                name.map(|name| format!("{kind}: \"{name}\"")).into_iter().collect::<Vec<_>>()
            };
            let party = [source("path", *variable), source("query", *parameter)].concat().join(", ");
            format!(
                "  - {{ id: {id}, match: {{ methods: [{}], path: \"{path}\" }}, scopes: {{ all_of: [\"a:b\"] }}, \
                 resource: route-{id}, action: read, party: {{ {party} }} }}",
                methods.join(", ")
            )
        })
        .collect();
    format!(
        "environment: custom\n\
         custom: {{ issuer: \"{ISSUER}\", altinn: \"https://altinn.example\" }}\n\
         listen: {{ address: \"127.0.0.1:0\" }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         upstream: {{ url: \"http://127.0.0.1:1\" }}\n\
         altinn: {{ subscription_key: key }}\n\
         maskinporten: {{ client_id: \"c\", key_env: OWN_KEY }}\n\
         routes:\n{}\n\
         \x20 - {{ id: mine, match: {{ methods: [GET], path: \"/mine\" }}, scopes: {{ all_of: [\"a:b\"] }}, \
         resource: route-mine, action: read, party: {{ header: X-Party-Org }} }}\n\
         \x20 - {{ id: open, match: {{ methods: [GET], path: \"/open\" }}, access: anonymous }}\n",
        routes.join("\n")
    )
}

fn token(key: &Key) -> String {
    let now = SystemClock.now().seconds();
    let claims = serde_json::json!({
        "iss": ISSUER, "iat": now, "exp": now + 86_400, "scope": "a:b",
        "consumer": { "authority": "iso6523-actorid-upis", "ID": "0192:310000019" },
        "authorization_details": [{
            "type": "urn:altinn:systemuser", "system_id": "310000019_sys",
            "systemuser_id": ["11111111-1111-4111-8111-111111111111"],
            "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": "0192:310000027" },
        }],
    });
    let head = base64url(r#"{"alg":"RS256","kid":"k"}"#);
    let signed = format!("{head}.{}", base64url(claims.to_string()));
    let signature = key.sign("RS256", signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url(signature))
}

pub(crate) fn templates() -> Vec<Template> {
    ROUTES
        .iter()
        .map(|(id, methods, path, variable, parameter)| {
            let methods: Vec<String> = methods.iter().map(ToString::to_string).collect();
            Template::new(id, &methods, path, *variable, *parameter)
        })
        .collect()
}

/// Every reading of what is forwarded is the one that was judged.
pub(crate) fn agree(
    templates: &[Template],
    method: &str,
    (route, party, forwarded): &(String, String, String),
) -> Result<(), String> {
    for (how, reading) in readings(templates, method, forwarded) {
        let parties = [&reading.path_party, &reading.query_party];
        if reading.route.as_ref() != Some(route)
            || parties.into_iter().flatten().any(|other| other != party)
        {
            return Err(format!(
                "{method} {forwarded} is judged as {route} for {party}, but {how} it is {reading:?}"
            ));
        }
    }
    Ok(())
}
