//! Access tokens: the claims and the signature.

use crate::crypto::jws;
use crate::crypto::rsa::KeyError;
use crate::state::Shared;
use crate::world::model::SystemUser;
use crate::world::number::OrgNumber;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What goes into an access token.
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) client_amr: &'static str,
    pub(crate) scope: String,
    pub(crate) consumer: OrgNumber,
    /// With scope delegation: the organisation that holds the client.
    pub(crate) supplier: Option<OrgNumber>,
    pub(crate) system_user: Option<SystemUser>,
    /// Value of `aud`; `unspecified` without.
    pub(crate) audience: Option<Value>,
    pub(crate) pid: Option<String>,
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
}

impl Grant {
    /// The claims, in the form of the three kinds of tokens that Maskinporten issues.
    pub(crate) fn claims(self, shared: &Shared) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", json!(shared.urls.issuer));
        put("client_amr", json!(self.client_amr));
        put("token_type", json!("Bearer"));
        put("aud", self.audience.unwrap_or_else(|| json!("unspecified")));
        put("consumer", self.consumer.iso6523());
        if let Some(supplier) = &self.supplier {
            put("supplier", supplier.iso6523());
            put("delegation_source", json!(format!("{}/", shared.urls.altinn)));
        }
        if let Some(user) = &self.system_user {
            put("authorization_details", json!([system_user_detail(user)]));
        }
        if let Some(pid) = self.pid {
            put("pid", json!(pid));
        }
        put("scope", json!(self.scope));
        put("client_id", json!(self.client_id));
        put("iat", json!(self.issued_at));
        put("exp", json!(self.expires_at));
        put("jti", json!(Uuid::new_v4()));
        claims
    }
}

fn system_user_detail(user: &SystemUser) -> Value {
    json!({
        "type": super::SYSTEM_USER_TYPE,
        "systemuser_id": [user.id],
        "systemuser_org": user.owner.iso6523(),
        "system_id": user.system,
    })
}

/// Signs claims with Maskinporten's current key.
pub(crate) fn sign(shared: &Shared, claims: &Map<String, Value>) -> Result<String, KeyError> {
    let key = shared.maskinporten_keys().current();
    jws::sign(&key, claims)
}

/// The life of a token with these scopes: the shortest one decides.
pub(crate) fn lifetime_seconds(shared: &Shared, scope: &str) -> i64 {
    let world = shared.world();
    scope
        .split_whitespace()
        .filter_map(|name| world.scopes.get(name))
        .map(|scope| scope.lifetime_seconds)
        .min()
        .unwrap_or(120)
}
