//! `/sandbox`: the knobs that tests and demos turn, and what they read back. No authentication: it is a sandbox.

use crate::clock;
use crate::faults::{Endpoint, Fault};
use crate::maskinporten::issue::{self, Grant};
use crate::state::{KeyRing, Shared};
use crate::world::model::{Client, OrgNumber, Resource, SystemUser};
use crate::world::rights::{Right, UnknownThing};
use crate::world::seed;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::StatusCode;
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
        .route("/sandbox/clients/{id}/certificate", get(client_certificate))
        .route("/sandbox/token", post(token))
        .route("/sandbox/reset", post(reset))
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
        "faults": *shared.faults(),
        "clients": world.clients.keys().collect::<Vec<_>>(),
        "resources": world.resources.keys().collect::<Vec<_>>(),
        "systems": world.systems.values().collect::<Vec<_>>(),
        "system_users": users,
    }))
}

async fn calls(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.calls().to_json())
}

async fn forget_calls(State(shared): State<Arc<Shared>>) -> Json<Value> {
    *shared.calls() = crate::calls::Calls::default();
    done()
}

async fn faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!(*shared.faults()))
}

async fn fault(State(shared): State<Arc<Shared>>, Path(endpoint): Path<String>) -> Answer {
    let endpoint = parse_endpoint(&endpoint)?;
    Ok(Json(json!(shared.faults().on(endpoint))))
}

async fn set_fault(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    Body(fault): Body<Fault>,
) -> Answer {
    let endpoint = parse_endpoint(&endpoint)?;
    if let Some(problem) = fault.problem() {
        return Err(KnobError::bad(problem));
    }
    let answer = Json(json!(fault));
    shared.faults().set(endpoint, fault);
    Ok(answer)
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
        KnobError::missing("endpoint is metadata, jwks, token, exchange, pdp, parties or registry")
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
    party: OrgNumber,
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
    let (user, party) = (body.system_user, body.party.clone());
    shared.world_mut().grant(user, &party, &body.right()?)?;
    Ok(done())
}

async fn revoke(State(shared): State<Arc<Shared>>, Body(body): Body<RightBody>) -> Answer {
    let (user, party) = (body.system_user, body.party.clone());
    shared.world_mut().revoke(user, &party, &body.right()?)?;
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
    world.put_resource(resource, clock::now());
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
    let resource = world.resources.get(&id).cloned();
    let resource = resource.ok_or_else(|| KnobError::missing("unknown resource"))?;
    world.put_resource(resource, clock::now());
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
        issuer.authority.issue(key.public(), &organization, query.foreign)
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
    let now = clock::now();
    let life = issue::lifetime_seconds(&shared, &body.scope);
    let expires_at = now + body.lifetime_seconds.unwrap_or(life);
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
        "access_token": token, "token_type": "Bearer", "expires_in": expires_at - now,
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
    let find = |alive| world.find_system_user(client, owner, reference, alive).cloned();
    find(true).or_else(|| find(false)).ok_or_else(|| {
        KnobError::missing("the client has no system user with that owner and reference")
    })
}

async fn reset(State(shared): State<Arc<Shared>>) -> Answer {
    shared.reset().map_err(KnobError::failed)?;
    Ok(done())
}
