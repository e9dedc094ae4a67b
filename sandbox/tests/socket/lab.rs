//! One sandbox on a free port and a small HTTP client that shows what really came over the wire.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portvakt_sandbox::{RunningSandbox, Sandbox, SandboxOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

pub(crate) const SUBSCRIPTION: (&str, &str) =
    ("Ocp-Apim-Subscription-Key", "sandbox-subscription-key");
pub(crate) const PDP_SCOPES: &str = "altinn:authorization/authorize \
     altinn:accessmanagement/authorizedparties.resourceowner \
     altinn:resourceregistry/accesslist.read altinn:serviceowner";

pub(crate) fn client(number: u8) -> String {
    format!("c1000000-0000-4000-8000-0000000000{number:02}")
}

pub(crate) fn user(number: u8) -> String {
    format!("5e000000-0000-4000-8000-0000000000{number:02}")
}

#[expect(clippy::disallowed_methods, reason = "assertions carry the time of day")]
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(elapsed.as_secs()).unwrap()
}

/// An answer, as far as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Whether all of the promised body came.
    pub(crate) fn is_whole(&self) -> bool {
        self.headers["content-length"].parse() == Ok(self.body.len())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Some(Self { status, headers, body: bytes[end + 4..].to_vec() })
    }
}

/// Sends one request on a new connection; an error if no answer came.
pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let headers: String =
        headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Reply::parse(&bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// A running sandbox.
pub(crate) struct Lab {
    pub(crate) sandbox: RunningSandbox,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        Self::start_with(SandboxOptions::default()).await
    }

    pub(crate) async fn start_with(options: SandboxOptions) -> Self {
        Self { sandbox: Sandbox::start(options).await.unwrap() }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        send(self.sandbox.address(), method, target, headers, body).await.unwrap()
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], "").await
    }

    /// A knob that must turn.
    pub(crate) async fn knob(&self, method: &str, target: &str, body: Value) -> Value {
        let headers = [("content-type", "application/json")];
        let reply = self.send(method, target, &headers, &body.to_string()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// A Maskinporten token without the grant.
    pub(crate) async fn minted(&self, body: Value) -> String {
        let answer = self.knob("POST", "/sandbox/token", body).await;
        answer["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn exchange(&self, token: &str, headers: &[(&str, &str)]) -> Reply {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.send("GET", "/authentication/api/v1/exchange/maskinporten", &all, "").await
    }

    /// An Altinn token of the service owner.
    pub(crate) async fn altinn_token(&self, scope: &str) -> String {
        let token = self.minted(json!({ "client_id": client(1), "scope": scope })).await;
        self.exchange(&token, &[]).await.text()
    }

    /// A call to Altinn with everything it wants.
    pub(crate) async fn altinn(&self, method: &str, target: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {}", self.altinn_token(PDP_SCOPES).await);
        let headers =
            [SUBSCRIPTION, ("authorization", &bearer), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, target, &headers, &body).await
    }

    /// The PDP's answer to a request.
    pub(crate) async fn authorize(&self, request: &Value) -> Value {
        let reply = self.altinn("POST", "/authorization/api/v1/authorize", request).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// The decision on one question about an organisation.
    pub(crate) async fn decision(
        &self,
        user_number: u8,
        party: &str,
        resource: &str,
        action: &str,
    ) -> String {
        let request = question(&user(user_number), &[organization(party)], resource, action);
        let answer = self.authorize(&request).await;
        assert_eq!(answer["response"].as_array().map(Vec::len), Some(1));
        answer["response"][0]["decision"].as_str().unwrap().to_owned()
    }

    /// Authorized parties of a system user, with packages.
    pub(crate) async fn parties(&self, user_number: u8) -> Value {
        let target =
            "/accessmanagement/api/v1/resourceowner/authorizedparties?includeAccessPackages=true";
        let body = json!({ "type": "urn:altinn:systemuser:uuid", "value": user(user_number) });
        let reply = self.altinn("POST", target, &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// The private JWK of a client.
    pub(crate) async fn client_key(&self, number: u8) -> Value {
        self.get(&format!("/sandbox/clients/{}/jwk", client(number))).await.json()
    }

    /// A good grant of a client, to be changed by the test.
    pub(crate) async fn grant(&self, number: u8, scope: &str) -> Grant {
        Grant {
            key: self.client_key(number).await,
            header: json!({ "alg": "RS256", "kid": format!("{}-key", client(number)) }),
            claims: json!({
                "aud": self.sandbox.issuer(), "iss": client(number), "scope": scope,
                "iat": now(), "exp": now() + 100, "jti": Uuid::new_v4(),
            }),
        }
    }

    /// Asks for a token with a grant.
    pub(crate) async fn ask_token(&self, grant: &Grant) -> Reply {
        self.ask_token_with(&grant.signed()).await
    }

    pub(crate) async fn ask_token_with(&self, assertion: &str) -> Reply {
        let body = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"
        );
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send("POST", "/token", &headers, &body).await
    }
}

/// An assertion before it is signed.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) key: Value,
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Grant {
    /// For a system user of this owner.
    pub(crate) fn for_system_user(mut self, owner: &str) -> Self {
        self.claims["authorization_details"] = json!([{
            "type": "urn:altinn:systemuser",
            "systemuser_org": { "authority": "iso6523-actorid-upis", "ID": format!("0192:{owner}") },
        }]);
        self
    }

    /// The same grant, issued now and with one change, good for one use of its own.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut grant = self.clone();
        grant.claims["iat"] = json!(now());
        grant.claims["exp"] = json!(now() + 100);
        grant.claims["jti"] = json!(Uuid::new_v4());
        change(&mut grant);
        grant
    }

    pub(crate) fn signed(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&self.header), part(&self.claims));
        let pair = key_pair(&self.key);
        let mut signature = vec![0; pair.public_modulus_len()];
        let padding = match self.header["alg"].as_str() {
            Some("RS384") => &RSA_PKCS1_SHA384,
            Some("RS512") => &RSA_PKCS1_SHA512,
            _ => &RSA_PKCS1_SHA256,
        };
        pair.sign(padding, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn key_pair(jwk: &Value) -> KeyPair {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    KeyPair::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents { n: part("n"), e: part("e") },
        d: part("d"),
        p: part("p"),
        q: part("q"),
        dP: part("dp"),
        dQ: part("dq"),
        qInv: part("qi"),
    })
    .unwrap()
}

/// Header and claims of a token.
pub(crate) fn decoded(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    });
    (parts.next().unwrap(), parts.next().unwrap())
}

/// Whether a key of the set, found by `kid`, signed the token.
pub(crate) fn is_signed_by(token: &str, jwks: &Value) -> bool {
    let (header, _) = decoded(token);
    let keys = jwks["keys"].as_array().unwrap();
    let Some(key) = keys.iter().find(|key| key["kid"] == header["kid"]) else { return false };
    let part = |name: &str| {
        let text = key[name].as_str().unwrap();
        URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).unwrap()
    };
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    PublicKeyComponents { n: part("n"), e: part("e") }
        .verify(&RSA_PKCS1_2048_8192_SHA256, input.as_bytes(), &signature)
        .is_ok()
}

pub(crate) fn attribute(id: &str, value: &str) -> Value {
    json!({ "AttributeId": id, "Value": value })
}

pub(crate) fn organization(number: &str) -> Value {
    attribute("urn:altinn:organization:identifier-no", number)
}

/// A single request as the public examples write it.
pub(crate) fn question(user: &str, party: &[Value], resource: &str, action: &str) -> Value {
    let mut attributes = vec![attribute("urn:altinn:resource", resource)];
    attributes.extend_from_slice(party);
    json!({ "Request": {
        "ReturnPolicyIdList": true,
        "AccessSubject": [{ "Attribute": [attribute("urn:altinn:systemuser:uuid", user)] }],
        "Action": [{ "Attribute": [
            attribute("urn:oasis:names:tc:xacml:1.0:action:action-id", action),
        ] }],
        "Resource": [{ "Attribute": attributes }],
    } })
}
