//! `POST /token`: the JWT bearer grant.

use super::assertion::{self, Assertion};
use super::error::TokenError;
use super::issue::{self, Grant};
use super::{JWT_BEARER, rar};
use crate::state::Shared;
use crate::world::World;
use crate::world::model::{Client, Scope, ScopeDelegation, SystemUser};
use crate::world::number::OrgNumber;
use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(crate) async fn token(
    State(shared): State<Arc<Shared>>,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let answer = tokio::task::spawn_blocking(move || {
        let Form(parameters) =
            form.map_err(|_| TokenError::malformed("The body must be a form."))?;
        let assertion = assertion_in(&parameters)?;
        answer(&shared, &assertion)
    })
    .await
    .unwrap_or_else(|_| Err(TokenError::internal()));
    match answer {
        Ok(body) => ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response(),
        Err(error) => error.into_response(),
    }
}

fn assertion_in(parameters: &[(String, String)]) -> Result<String, TokenError> {
    let one = |name: &str| {
        let mut values = parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value.clone()),
            _ => Err(TokenError::malformed(format!("{name} must be given once."))),
        }
    };
    if one("grant_type")? != JWT_BEARER {
        return Err(TokenError::grant_type());
    }
    one("assertion")
}

fn answer(shared: &Shared, assertion: &str) -> Result<Value, TokenError> {
    let Assertion { client, method, claims } = assertion::authenticate(shared, assertion)?;
    let request = Request::parse(&claims)?;
    let (consumer, system_user) = {
        let world = shared.world();
        (authorize_scopes(&world, &client, &request)?, find_system_user(&world, &client, &request)?)
    };
    let now = shared.now();
    let life = issue::lifetime_seconds(shared, &request.scope);
    let supplier = (consumer != client.organization).then_some(client.organization);
    let grant = Grant {
        client_id: client.id,
        client_amr: method,
        scope: request.scope.clone(),
        consumer,
        supplier,
        system_user,
        audience: request.audience,
        pid: request.pid,
        issued_at: now,
        expires_at: now.saturating_add(life),
    };
    let token = issue::sign(shared, &grant.claims(shared)).map_err(|_| TokenError::internal())?;
    Ok(json!({
        "access_token": token, "token_type": "Bearer", "expires_in": life.saturating_sub(1), "scope": request.scope,
    }))
}

/// What an assertion asks for.
struct Request {
    scope: String,
    consumer_org: Option<OrgNumber>,
    detail: Option<rar::SystemUserDetail>,
    audience: Option<Value>,
    pid: Option<String>,
}

impl Request {
    fn parse(claims: &Map<String, Value>) -> Result<Self, TokenError> {
        let scope = claims.get("scope").and_then(Value::as_str).map(str::trim).unwrap_or_default();
        if scope.is_empty() {
            return Err(TokenError::malformed("scope is required."));
        }
        let detail = claims.get("authorization_details").map(rar::parse).transpose()?;
        let consumer_org = claims.get("consumer_org").map(parse_consumer).transpose()?;
        if claims.contains_key("iss_onbehalfof") {
            return Err(TokenError::malformed("iss_onbehalfof is not supported here."));
        }
        if consumer_org.is_some() && detail.is_some() {
            let text = "consumer_org and authorization_details cannot be combined.";
            return Err(TokenError::malformed(text));
        }
        Ok(Self {
            scope: scope.to_owned(),
            consumer_org,
            detail,
            audience: claims.get("resource").map(parse_audience).transpose()?,
            pid: claims.get("pid").map(parse_pid).transpose()?,
        })
    }
}

fn parse_consumer(value: &Value) -> Result<OrgNumber, TokenError> {
    value
        .as_str()
        .and_then(|text| OrgNumber::parse(text).ok())
        .ok_or_else(|| TokenError::malformed("consumer_org is not an organisation number."))
}

/// `resource` becomes `aud`: one value as a string, several as an array.
fn parse_audience(value: &Value) -> Result<Value, TokenError> {
    match value.as_array().map(Vec::as_slice) {
        Some([Value::String(one)]) => Ok(json!(one)),
        Some(many) if !many.is_empty() && many.iter().all(Value::is_string) => Ok(json!(many)),
        _ => Err(TokenError::malformed("resource is not an array of strings.")),
    }
}

fn parse_pid(value: &Value) -> Result<String, TokenError> {
    value
        .as_str()
        .filter(|text| text.len() == 11 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .ok_or_else(|| TokenError::malformed("pid is not eleven digits."))
}

/// Whether the client may have each scope; gives the consumer of the token.
fn authorize_scopes(
    world: &World,
    client: &Client,
    request: &Request,
) -> Result<OrgNumber, TokenError> {
    if request.consumer_org.as_ref() == Some(&client.organization) {
        return Err(TokenError::own_consumer());
    }
    for name in request.scope.split_whitespace() {
        let scope = world.scopes.get(name).ok_or_else(|| unregistered(name))?;
        match &request.consumer_org {
            None => authorize_own(client, scope)?,
            Some(consumer) => authorize_delegated(world, client, *consumer, scope)?,
        }
    }
    Ok(request.consumer_org.unwrap_or(client.organization))
}

fn authorize_own(client: &Client, scope: &Scope) -> Result<(), TokenError> {
    let name = &scope.name;
    if !client.scopes.contains(name) {
        return Err(unregistered(name));
    }
    let kinds = scope.integration_types.as_ref();
    if kinds.is_some_and(|kinds| !kinds.contains(&client.integration_type)) {
        let text = format!("The client's integration type may not use the scope {name}");
        return Err(TokenError::scope("MP-201", text));
    }
    has_access(scope, client.organization)
}

fn authorize_delegated(
    world: &World,
    client: &Client,
    consumer: OrgNumber,
    scope: &Scope,
) -> Result<(), TokenError> {
    has_access(scope, consumer)?;
    let wanted =
        ScopeDelegation { consumer, supplier: client.organization, scope: scope.name.clone() };
    if world.scope_delegations.contains(&wanted) {
        return Ok(());
    }
    let text = format!("The consumer has not delegated {} to the supplier.", scope.name);
    Err(TokenError::forbidden("MP-251", text))
}

fn has_access(scope: &Scope, consumer: OrgNumber) -> Result<(), TokenError> {
    if scope.consumers.as_ref().is_none_or(|consumers| consumers.contains(&consumer)) {
        return Ok(());
    }
    let text = format!("The consumer has no access to the scope {}.", scope.name);
    Err(TokenError::forbidden("MP-250", text))
}

fn unregistered(name: &str) -> TokenError {
    let text = format!("Token request contains invalid scopes for client: [{name}]");
    TokenError::scope("MP-200", text)
}

fn find_system_user(
    world: &World,
    client: &Client,
    request: &Request,
) -> Result<Option<SystemUser>, TokenError> {
    let Some(detail) = &request.detail else { return Ok(None) };
    world
        .find_system_user(
            &client.id,
            client.organization,
            detail.owner,
            detail.external_ref.as_deref(),
            true,
        )
        .cloned()
        .map(Some)
        .ok_or_else(TokenError::no_system_user)
}
