//! `/sandbox`: the knobs that tests and demos turn, and what they read back. No authentication: it is a sandbox.

use crate::altinn::pdp::caches::Pods;
use crate::crypto::jws;
use crate::faults::{Endpoint, Fault, OneOrMore};
use crate::maskinporten::issue::{self, Grant};
use crate::pages::portal_token;
use crate::state::{Features, KeyRing, Shared, View};
use crate::world::model::{Client, SystemUser};
use crate::world::number::{OrgNumber, PartyNumber, PersonNumber};
use crate::world::party::{FacilitatorRole, Relation};
use crate::world::resource::Resource;
use crate::world::rights::{Right, UnknownThing};
use crate::world::seed::{self, Document, SeedError};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Query, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sandbox/state", get(state))
        .route("/sandbox/held", get(held))
        .route("/sandbox/calls", get(calls).delete(forget_calls))
        .route("/sandbox/faults", get(faults).delete(clear_faults))
        .route("/sandbox/faults/{endpoint}", put(set_fault).get(fault).delete(clear_fault))
        .route("/sandbox/keys/rotate", post(rotate))
        .route("/sandbox/rights/grant", post(grant))
        .route("/sandbox/rights/revoke", post(revoke))
        .route("/sandbox/system-users/{id}", get(system_user).delete(delete_system_user))
        .route("/sandbox/resources/{id}", put(put_resource).delete(delete_resource))
        .route("/sandbox/resources/{id}/touch", post(touch_resource))
        .route("/sandbox/clients/{id}/jwk", get(client_jwk))
        .route("/sandbox/clients/{id}/assertion", post(assertion))
        .route("/sandbox/clients/{id}/certificate", get(client_certificate))
        .route("/sandbox/token", post(token))
        .route("/sandbox/reset", post(reset))
        .route("/sandbox/clock", get(clock).post(move_clock))
        .route("/sandbox/caches", get(caches).put(set_caches))
        .route("/sandbox/features", get(features).put(set_features))
        .route("/sandbox/portal/login", post(login))
        .route("/sandbox/persons", get(persons))
        .route("/sandbox/relations", get(relations).put(put_relation).delete(end_relation))
        .route("/sandbox/world", get(world).put(put_world).patch(patch_world))
        .layer(DefaultBodyLimit::max(LARGEST_WORLD))
        .layer(middleware::from_fn(refuse_other_sites))
}

/// Bytes of a body; a world of 100,000 system users has a tenth of it.
const LARGEST_WORLD: usize = 256 * 1024 * 1024;

/// Knobs need no token, so a page of another site that somebody looks at must not turn one.
async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if is_of_other_site(&request) {
        let text = "pages of other sites turn no knobs".to_owned();
        return KnobError { status: StatusCode::FORBIDDEN, text }.into_response();
    }
    next.run(request).await
}

/// A browser tells where a page is from; programs tell nothing.
fn is_of_other_site(request: &Request) -> bool {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return false };
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    origin.is_none_or(|(_, from)| host != Some(from))
}

/// A knob that cannot be turned like that.
struct KnobError {
    status: StatusCode,
    text: String,
}

impl KnobError {
    fn bad(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into() }
    }

    fn missing(text: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, text: text.into() }
    }

    fn failed(error: impl std::error::Error) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, text: error.to_string() }
    }
}

impl IntoResponse for KnobError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.text }))).into_response()
    }
}

/// A JSON body whatever its content type says, so that a bare `curl -d` works; no body is an empty object.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = KnobError;

    async fn from_request(request: Request, state: &S) -> Result<Self, KnobError> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|rejection| KnobError::bad(rejection.body_text()))?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| KnobError::bad(error.to_string()))
    }
}

impl From<UnknownThing> for KnobError {
    fn from(unknown: UnknownThing) -> Self {
        Self::bad(unknown.to_string())
    }
}

type Answer = Result<Json<Value>, KnobError>;

fn done() -> Json<Value> {
    Json(json!({ "ok": true }))
}

async fn state(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let keys: Vec<String> =
        shared.maskinporten_keys().published().map(|key| key.kid().to_owned()).collect();
    let world = shared.world();
    let users: Vec<&SystemUser> = world.system_users.values().collect();
    Json(json!({
        "issuer": shared.urls.issuer,
        "altinn": shared.urls.altinn,
        "keys": { "published": keys, "signing": shared.maskinporten_keys().current().kid() },
        "now": shared.now(),
        "caches": cache_state(&shared),
        "features": shared.features(),
        "faults": shared.faults().to_json(),
        "clients": world.clients.keys().collect::<Vec<_>>(),
        "resources": world.resources.keys().collect::<Vec<_>>(),
        "systems": world.systems.values().collect::<Vec<_>>(),
        "system_users": users,
    }))
}

/// What is remembered besides the world, with the bound of each.
async fn held(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let held = shared.held().into_iter();
    let rows =
        held.map(|(name, (held, most))| (name.to_owned(), json!({ "held": held, "most": most })));
    Json(Value::Object(rows.collect()))
}

async fn calls(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.calls().to_json())
}

async fn forget_calls(State(shared): State<Arc<Shared>>) -> Json<Value> {
    *shared.calls() = crate::calls::Calls::default();
    done()
}

async fn faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.faults().to_json())
}

async fn fault(State(shared): State<Arc<Shared>>, Path(endpoint): Path<String>) -> Answer {
    let endpoint = parse_endpoint(&endpoint)?;
    Ok(Json(shared.faults().on(endpoint)))
}

async fn set_fault(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    Body(body): Body<Value>,
) -> Answer {
    let endpoint = parse_endpoint(&endpoint)?;
    let faults = parse_faults(body)?;
    if let Some(problem) = faults.faults().iter().find_map(Fault::problem) {
        return Err(KnobError::bad(problem));
    }
    let world = shared.snapshot();
    let mut in_force = shared.faults();
    in_force.set(endpoint, faults.faults(), &world);
    Ok(Json(in_force.on(endpoint)))
}

/// An object or an array of them; read in two steps, so that an error names the member that is wrong.
fn parse_faults(body: Value) -> Result<OneOrMore, KnobError> {
    let bad = |error: serde_json::Error| KnobError::bad(error.to_string());
    if body.is_array() {
        serde_json::from_value(body).map(OneOrMore::More).map_err(bad)
    } else {
        serde_json::from_value(body).map(OneOrMore::One).map_err(bad)
    }
}

async fn clear_fault(State(shared): State<Arc<Shared>>, Path(endpoint): Path<String>) -> Answer {
    shared.faults().clear(parse_endpoint(&endpoint)?);
    Ok(done())
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.faults().clear_all();
    done()
}

fn parse_endpoint(name: &str) -> Result<Endpoint, KnobError> {
    serde_json::from_value(json!(name)).map_err(|_| {
        KnobError::missing("endpoint is metadata, jwks, token, exchange, pdp, parties, registry, catalogue or vendor")
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(default)]
    drop_old: bool,
}

async fn rotate(
    State(shared): State<Arc<Shared>>,
    Body(Rotate { drop_old }): Body<Rotate>,
) -> Answer {
    let new = tokio::task::spawn_blocking(KeyRing::new_key).await.map_err(KnobError::failed)?;
    let new = new.map_err(KnobError::failed)?;
    let kid = new.kid().to_owned();
    shared.maskinporten_keys_mut().rotate(new, drop_old);
    Ok(Json(json!({ "signing": kid })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RightBody {
    system_user: Uuid,
    party: PartyNumber,
    resource: Option<String>,
    action: Option<String>,
    package: Option<String>,
}

impl RightBody {
    fn right(self) -> Result<Right, KnobError> {
        match (self.package, self.resource, self.action) {
            (Some(package), None, None) => Ok(Right::Package(package)),
            (None, Some(resource), action) => Ok(Right::Single { resource, action }),
            (None, None, None) => Ok(Right::Everything),
            _ => Err(KnobError::bad("name a package, or a resource with an action")),
        }
    }
}

async fn grant(State(shared): State<Arc<Shared>>, Body(body): Body<RightBody>) -> Answer {
    let (user, party) = (body.system_user, body.party);
    shared.world_mut().grant(user, party, &body.right()?)?;
    Ok(done())
}

async fn revoke(State(shared): State<Arc<Shared>>, Body(body): Body<RightBody>) -> Answer {
    let (user, party) = (body.system_user, body.party);
    shared.world_mut().revoke(user, party, &body.right()?)?;
    Ok(done())
}

async fn system_user(State(shared): State<Arc<Shared>>, Path(id): Path<Uuid>) -> Answer {
    let world = shared.world();
    let user = world.system_users.get(&id);
    user.map(|user| Json(json!(user))).ok_or_else(|| KnobError::missing("unknown system user"))
}

async fn delete_system_user(State(shared): State<Arc<Shared>>, Path(id): Path<Uuid>) -> Answer {
    if shared.world_mut().delete_system_user(id) {
        Ok(done())
    } else {
        Err(KnobError::missing("unknown system user"))
    }
}

async fn put_resource(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Body(resource): Body<Resource>,
) -> Answer {
    if resource.id != id {
        return Err(KnobError::bad("the id in the body is not the one in the path"));
    }
    let mut world = shared.world_mut();
    let problems = seed::resource_problems(&world, &resource);
    if !problems.is_empty() {
        return Err(KnobError::bad(problems.join("; ")));
    }
    world.put_resource(resource, shared.now());
    Ok(done())
}

async fn delete_resource(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    if shared.world_mut().delete_resource(&id) {
        Ok(done())
    } else {
        Err(KnobError::missing("unknown resource"))
    }
}

async fn touch_resource(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let mut world = shared.world_mut();
    let resource = world.resources.get(&id).map(|it| Resource::clone(it));
    let resource = resource.ok_or_else(|| KnobError::missing("unknown resource"))?;
    world.put_resource(resource, shared.now());
    Ok(done())
}

fn client(shared: &Shared, id: &str) -> Result<Client, KnobError> {
    let client = shared.world().clients.get(id).cloned();
    client.ok_or_else(|| KnobError::missing("unknown client"))
}

/// The client's key pair, unless the seed gives a public key: then only its owner has the private half.
async fn client_key(
    shared: &Arc<Shared>,
    client: &Client,
) -> Result<Arc<crate::crypto::rsa::RsaKey>, KnobError> {
    if client.jwk.is_some() {
        return Err(KnobError::missing("the seed gives the public key; the sandbox has no other"));
    }
    let (shared, id) = (Arc::clone(shared), client.id.clone());
    let key = tokio::task::spawn_blocking(move || shared.client_keys.of(&id)).await;
    key.map_err(KnobError::failed)?.map_err(KnobError::failed)
}

async fn client_jwk(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let client = client(&shared, &id)?;
    let key = client_key(&shared, &client).await?;
    key.private_jwk().map(Json).map_err(KnobError::failed)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateQuery {
    org: Option<String>,
    #[serde(default)]
    foreign: bool,
}

async fn client_certificate(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(query): Query<CertificateQuery>,
) -> Answer {
    let client = client(&shared, &id)?;
    let key = client_key(&shared, &client).await?;
    let organization = query.org.unwrap_or_else(|| client.organization.to_string());
    let issuer = Arc::clone(&shared);
    let chain = tokio::task::spawn_blocking(move || {
        issuer.authority.issue(key.public(), &organization, query.foreign, issuer.now())
    })
    .await
    .map_err(KnobError::failed)?;
    Ok(Json(json!({ "x5c": chain.map_err(KnobError::failed)? })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    client_id: String,
    scope: String,
    systemuser_org: Option<String>,
    external_ref: Option<String>,
    lifetime_seconds: Option<i64>,
    #[serde(default)]
    claims_override: Map<String, Value>,
}

/// Mints an access token. Also for deleted system users, whose tokens outlive them.
async fn token(State(shared): State<Arc<Shared>>, Body(body): Body<TokenBody>) -> Answer {
    let client = client(&shared, &body.client_id)?;
    let system_user = match body.systemuser_org.as_deref() {
        None => None,
        Some(owner) => Some(named_user(&shared, &client, owner, body.external_ref.as_deref())?),
    };
    let now = shared.now();
    let life = issue::lifetime_seconds(&shared, &body.scope);
    let expires_at = now.saturating_add(body.lifetime_seconds.unwrap_or(life));
    let grant = Grant {
        client_id: client.id,
        client_amr: "private_key_jwt",
        scope: body.scope,
        consumer: client.organization,
        supplier: None,
        system_user,
        audience: None,
        pid: None,
        // An expired token was issued its usual life before it expired.
        issued_at: if expires_at > now { now } else { expires_at - life },
        expires_at,
    };
    let mut claims = grant.claims(&shared);
    for (name, value) in body.claims_override {
        match value {
            Value::Null => claims.remove(&name),
            value => claims.insert(name, value),
        };
    }
    let token = issue::sign(&shared, &claims).map_err(KnobError::failed)?;
    Ok(Json(json!({
        "access_token": token, "token_type": "Bearer", "expires_in": expires_at.saturating_sub(now),
        "scope": claims.get("scope"), "claims": claims,
    })))
}

fn named_user(
    shared: &Shared,
    client: &Client,
    owner: &str,
    reference: Option<&str>,
) -> Result<SystemUser, KnobError> {
    let world = shared.world();
    let owner = OrgNumber::parse(owner).map_err(|error| KnobError::bad(error.to_string()))?;
    let find = |alive| {
        let vendor = client.organization;
        world.find_system_user(&client.id, vendor, owner, reference, alive).cloned()
    };
    find(true).or_else(|| find(false)).ok_or_else(|| {
        KnobError::missing("the client has no system user with that owner and reference")
    })
}

async fn reset(State(shared): State<Arc<Shared>>) -> Answer {
    shared.reset().map_err(KnobError::failed)?;
    Ok(done())
}

fn time_of(shared: &Shared) -> Json<Value> {
    let now = shared.now();
    let offset = shared.clock.offset_seconds();
    Json(json!({ "now": now, "time": crate::clock::zulu(now), "offset_seconds": offset }))
}

async fn clock(State(shared): State<Arc<Shared>>) -> Json<Value> {
    time_of(&shared)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockBody {
    advance_seconds: Option<i64>,
    set: Option<i64>,
}

async fn move_clock(State(shared): State<Arc<Shared>>, Body(body): Body<ClockBody>) -> Answer {
    match (body.advance_seconds, body.set) {
        (Some(seconds), None) => shared.clock.advance(seconds),
        (None, Some(now)) => shared.clock.set(now),
        _ => {
            let text = "give advance_seconds, or set with the seconds since 1970";
            return Err(KnobError::bad(text));
        }
    }
    Ok(time_of(&shared))
}

fn cache_state(shared: &Shared) -> Value {
    let pods = shared.pods().count();
    json!({ "enabled": pods > 0, "pods": pods })
}

async fn caches(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(cache_state(&shared))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CachesBody {
    enabled: bool,
    pods: Option<usize>,
}

/// Switches the decision point's caches; they begin empty.
async fn set_caches(State(shared): State<Arc<Shared>>, Body(body): Body<CachesBody>) -> Answer {
    let pods = if body.enabled { body.pods.unwrap_or(1) } else { 0 };
    if body.enabled && !(1..=64).contains(&pods) {
        return Err(KnobError::bad("pods is not between 1 and 64"));
    }
    *shared.pods() = Pods::new(pods);
    Ok(Json(cache_state(&shared)))
}

async fn features(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!(shared.features()))
}

async fn set_features(State(shared): State<Arc<Shared>>, Body(features): Body<Features>) -> Answer {
    if features.access_list_page == 0 {
        return Err(KnobError::bad("access_list_page is zero"));
    }
    shared.set_features(features);
    Ok(Json(json!(features)))
}

impl From<SeedError> for KnobError {
    fn from(error: SeedError) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Self::bad(format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// The present world as YAML, or as JSON to who asks for that.
async fn world(View(world): View, headers: HeaderMap) -> Result<Response, KnobError> {
    let document = Document::of(&world);
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|accepts| accepts.contains("json")) {
        return Ok(Json(document).into_response());
    }
    let yaml = document.to_yaml()?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], yaml).into_response())
}

async fn put_world(State(shared): State<Arc<Shared>>, text: String) -> Answer {
    changed_world(shared, move |shared| shared.load_world(&text)).await
}

async fn patch_world(State(shared): State<Arc<Shared>>, text: String) -> Answer {
    changed_world(shared, move |shared| shared.patch_world(&text)).await
}

/// Reading a large world takes a while; it must not hold up other calls.
async fn changed_world(
    shared: Arc<Shared>,
    change: impl FnOnce(&Shared) -> Result<(), SeedError> + Send + 'static,
) -> Answer {
    let changed = tokio::task::spawn_blocking(move || change(&shared)).await;
    changed.map_err(KnobError::failed)??;
    Ok(done())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginBody {
    person: PersonNumber,
    level: Option<u8>,
}

/// A token of the portal for a person, good for half an hour.
async fn login(State(shared): State<Arc<Shared>>, Body(body): Body<LoginBody>) -> Answer {
    let world = shared.snapshot();
    let person = world.persons.get(&body.person);
    let person = person.ok_or_else(|| KnobError::missing("unknown person"))?;
    let token = portal_token(&shared, person, body.level.unwrap_or(3));
    let token = token.map_err(KnobError::failed)?;
    Ok(Json(json!({ "access_token": token, "name": person.name })))
}

/// Whom one can be in the portal, and what they are where.
async fn persons(View(world): View) -> Json<Value> {
    Json(json!(world.persons.values().collect::<Vec<_>>()))
}

/// The simulated Central Coordinating Register.
async fn relations(View(world): View) -> Json<Value> {
    Json(json!(world.relations.all().collect::<Vec<_>>()))
}

async fn put_relation(State(shared): State<Arc<Shared>>, Body(relation): Body<Relation>) -> Answer {
    let mut world = shared.world_mut();
    let parties = [relation.client, relation.facilitator.into()];
    if parties.iter().any(|number| world.party(*number).is_none()) {
        return Err(KnobError::bad("unknown client or facilitator"));
    }
    world.relations.add(relation);
    Ok(done())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RelationBody {
    client: PartyNumber,
    facilitator: OrgNumber,
    role: Option<FacilitatorRole>,
}

/// Ends a relation. What was delegated through it stays written and counts no more.
async fn end_relation(State(shared): State<Arc<Shared>>, Body(body): Body<RelationBody>) -> Answer {
    let mut world = shared.world_mut();
    if world.relations.remove(body.client, body.facilitator, body.role) {
        Ok(done())
    } else {
        Err(KnobError::missing("there is no such relation"))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AssertionBody {
    scope: String,
    systemuser_org: Option<OrgNumber>,
    external_ref: Option<String>,
}

/// A grant assertion signed with the client's key, ready for `POST /token`.
async fn assertion(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Body(body): Body<AssertionBody>,
) -> Answer {
    let client = client(&shared, &id)?;
    let key = client_key(&shared, &client).await?;
    let now = shared.now();
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("aud", json!(shared.urls.issuer));
    put("iss", json!(client.id));
    put("scope", json!(body.scope));
    put("iat", json!(now));
    put("exp", json!(now + 100));
    put("jti", json!(Uuid::new_v4()));
    if let Some(owner) = body.systemuser_org {
        let mut detail = json!({
            "type": crate::maskinporten::SYSTEM_USER_TYPE,
            "systemuser_org": owner.iso6523(),
        });
        if let (Some(reference), Some(members)) = (body.external_ref, detail.as_object_mut()) {
            members.insert("externalRef".to_owned(), json!(reference));
        }
        put("authorization_details", json!([detail]));
    }
    let signed = jws::sign(&key, &claims).map_err(KnobError::failed)?;
    Ok(Json(json!({ "assertion": signed })))
}
