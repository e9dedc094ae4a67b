//! A world file: its keys, its tokens, and the configuration of the program in it.
//!
//! What a case asks for and this does not know is an error, never passed over.

use crate::keys::{self, Key, base64url};
use crate::readings::Template;
use crate::stage::Right;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portvakt::clock::{Clock, SystemClock};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;

pub(crate) type Told<T> = Result<T, String>;

/// A request that a case makes.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) target: String,
    /// The header that names the party, where one does.
    pub(crate) header: Option<(String, String)>,
}

/// The world of the cases.
pub(crate) struct World {
    pub(crate) value: Value,
    /// Its routes as the upstream has them.
    pub(crate) templates: Vec<Template>,
    keys: BTreeMap<String, Key>,
}

fn text<'v>(value: &'v Value, name: &str) -> Told<&'v str> {
    value[name].as_str().ok_or_else(|| format!("no text `{name}` in {value}"))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn strings(value: &Value) -> Vec<String> {
    let one = |value: &Value| value.as_str().map(str::to_owned);
    value.as_array().map_or_else(
        || one(value).into_iter().collect(),
        |list| list.iter().filter_map(one).collect(),
    )
}

/// Seconds and milliseconds since 1970.
fn now() -> (i64, i64) {
    let since = SystemClock.wall().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let number = |number: u128| i64::try_from(number).expect("soon enough");
    (number(since.as_millis()) / 1000, number(since.as_millis()))
}

/// The name and the value after a prefix such as `query:`.
fn source<'t>(from: &'t str, kind: &str, usual: &'t str) -> Option<&'t str> {
    let rest = from.strip_prefix(kind)?;
    if rest.is_empty() { Some(usual) } else { rest.strip_prefix(':') }
}

impl World {
    /// Reads a world and makes its keys, and those that `cases` name beside it by kind and size.
    pub(crate) fn new(value: Value, cases: &str) -> Told<Self> {
        let mut keys = BTreeMap::new();
        let described = value["keys"].as_object().ok_or("no keys")?;
        for (name, key) in described {
            let made = match text(key, "kty")? {
                "RSA" => Key::rsa(key["bits"].as_u64().unwrap_or(2048)),
                "EC" => Key::ec(text(key, "crv")?),
                other => Err(format!("no keys of kind {other}")),
            };
            keys.insert(name.clone(), made?);
        }
        // Not of the world: named by its size, such as `weak1024`.
        if cases.contains("weak1024") && !keys.contains_key("weak1024") {
            keys.insert("weak1024".into(), Key::rsa(1024)?);
        }
        let templates = list(&value, "routes").iter().map(Template::of_world).collect();
        Ok(Self { value, templates, keys })
    }

    pub(crate) fn key(&self, name: &str) -> Told<&Key> {
        self.keys.get(name).ok_or_else(|| format!("no key `{name}`"))
    }

    pub(crate) fn issuer(&self) -> Told<&str> {
        text(&self.value, "issuer")
    }

    /// The key set as the world publishes it.
    pub(crate) fn key_set(&self) -> Told<Value> {
        let described = self.value["keys"].as_object().ok_or("no keys")?;
        let published = described.iter().filter(|(_, key)| key["in_key_set"] == true);
        let keys: Told<Vec<Value>> = published.map(|(name, _)| self.jwk(name, false)).collect();
        Ok(json!({ "keys": keys? }))
    }

    /// A key as the issuer publishes it.
    fn jwk(&self, name: &str, private: bool) -> Told<Value> {
        let key = self.key(name)?;
        let mut jwk = if private { key.whole.clone() } else { key.public.clone() };
        jwk["kid"] = name.into();
        let described = &self.value["keys"][name];
        jwk["alg"] = described["alg"].as_str().unwrap_or("RS256").into();
        jwk["use"] = described["use"].as_str().unwrap_or("sig").into();
        Ok(jwk)
    }

    /// Rights as the world or a case lists them; those that have ended are left out.
    pub(crate) fn rights(&self, listed: &Value) -> Told<Vec<Right>> {
        let (now, _) = now();
        let at =
            |right: &Value, name: &str| right[name]["$now"].as_i64().map(|offset| now + offset);
        listed
            .as_array()
            .ok_or("no list of rights")?
            .iter()
            .filter(|right| at(right, "valid_to").is_none_or(|end| end > now))
            .filter(|right| at(right, "valid_from").is_none_or(|begin| begin <= now))
            .map(|right| {
                let name = text(right, "system_user")?;
                let id = self.value["system_users"][name]["id"].as_str().unwrap_or(name);
                Ok(Right {
                    system_user: id.to_owned(),
                    party: text(right, "party")?.to_owned(),
                    resource: text(right, "resource")?.to_owned(),
                    actions: strings(&right["actions"]),
                })
            })
            .collect()
    }

    /// Resources and the level that they demand.
    pub(crate) fn levels(listed: &Value) -> Vec<(String, u64)> {
        let levels = listed.as_object().into_iter().flatten();
        levels.filter_map(|(resource, level)| Some((resource.clone(), level.as_u64()?))).collect()
    }

    /// The program's configuration, as JSON, which is YAML.
    pub(crate) fn config(&self, outside: &str, issuer_at: &str, upstream: &str) -> Told<Value> {
        let world = &self.value;
        let routes: Told<Vec<Value>> = list(world, "routes").iter().map(route).collect();
        let mut config = json!({
            "environment": "custom",
            "custom": {
                "issuer": self.issuer()?, "metadata_url": format!("{issuer_at}/metadata"), "altinn": outside
            },
            "listen": { "address": "127.0.0.1:0" },
            "admin": { "address": "127.0.0.1:0" },
            "upstream": { "url": format!("http://{upstream}") },
            "altinn": { "subscription_key": "key", "requests_per_second": 1000 },
            "maskinporten": { "client_id": "runner", "key_env": "RUNNER_JWK", "scopes": ["altinn:authorization/authorize"] },
            "tokens": { "leeway": format!("{}s", world["leeway_s"].as_u64().unwrap_or(10)) },
            "limits": {},
            "routes": routes?,
        });
        if let Some(audience) = world["audience"].as_str() {
            config["tokens"]["audience"] = audience.into();
        }
        for (name, limit) in world["limits"].as_object().into_iter().flatten() {
            let (section, ours, unit) = match name.as_str() {
                "max_target_bytes" => ("limits", "target_bytes", ""),
                "max_header_bytes" => ("limits", "header_bytes", ""),
                "max_headers" => ("limits", "header_count", ""),
                "max_body_bytes" => ("limits", "body_bytes", ""),
                "max_token_bytes" => ("tokens", "max_bytes", ""),
                "header_read_timeout_s" => ("limits", "header_timeout", "s"),
                "body_idle_timeout_s" => ("limits", "body_idle_timeout", "s"),
                other => return Err(format!("the runner knows no limit `{other}`")),
            };
            config[section][ours] =
                if unit.is_empty() { limit.clone() } else { format!("{limit}{unit}").into() };
        }
        Ok(config)
    }

    /// Makes of a configuration one for a program that is asked by another proxy: by this test, or by others alone.
    pub(crate) fn ask_in_place_of_forwarding(config: &mut Value, trusted: bool) {
        let peers = if trusted { "127.0.0.0/8" } else { "192.0.2.0/24" };
        config["listen"]["forward_auth"] = json!({ "trusted_peers": [peers] });
        if let Some(sections) = config.as_object_mut() {
            sections.remove("upstream");
        }
        // What stands in a body is not told, so such routes cannot be.
        if let Some(routes) = config["routes"].as_array_mut() {
            let in_body =
                |party: &Value| ["form", "json"].iter().any(|kind| party.get(*kind).is_some());
            routes.retain(|route| !in_body(&route["party"]));
        }
    }

    /// How another proxy tells a method and a target.
    pub(crate) fn told_by(method: &str, target: &str) -> Vec<(String, String)> {
        [("X-Forwarded-Method", method), ("X-Forwarded-Uri", target)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// The private JWK of the program's own client.
    pub(crate) fn client_key(&self) -> Told<String> {
        let own =
            self.keys.values().find(|key| key.whole.get("d").is_some()).ok_or("no RSA key")?;
        let mut jwk = own.whole.clone();
        jwk["kid"] = "own".into();
        Ok(jwk.to_string())
    }

    /// The private numbers of every RSA key.
    pub(crate) fn private_numbers(&self) -> Vec<&str> {
        let names = ["d", "p", "q", "dp", "dq", "qi"];
        let numbers =
            self.keys.values().flat_map(|key| names.iter().map(|name| key.whole[*name].as_str()));
        numbers.flatten().collect()
    }

    /// The organisation of the system user of the good token.
    fn good_party(&self) -> Told<String> {
        let entry = &self.value["good_token"]["claims"]["authorization_details"][0];
        let id = strings(&entry["systemuser_id"]);
        let users = self.value["system_users"].as_object().ok_or("no system users")?;
        let user =
            users.values().find(|user| user["id"].as_str() == id.first().map(String::as_str));
        Ok(text(user.ok_or("the good token is of no system user")?, "org")?.to_owned())
    }

    /// The request that a case makes which names a route and a party, or neither: the first route then,
    /// for the party of the good token.
    pub(crate) fn call(&self, case: &Value) -> Told<Call> {
        let id = case["route"].as_str();
        let mut routes = list(&self.value, "routes").iter();
        let route = routes
            .find(|route| id.map_or(route["public"] != true, |id| route["id"] == id))
            .ok_or_else(|| format!("no route {id:?}"))?;
        let party =
            case["party"].as_str().map_or_else(|| self.good_party(), |party| Ok(party.into()))?;
        let from = route["party_from"].as_str().unwrap_or_default();
        let variable = source(from, "path", "party");
        let segments = text(route, "path")?.split('/').map(|segment| {
            match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
                Some(name) if Some(name) == variable => party.clone(),
                Some(_) => "7".into(),
                None => segment.replace('*', "x"),
            }
        });
        let mut target = segments.collect::<Vec<_>>().join("/");
        if let Some(name) = source(from, "query", "party") {
            target = format!("{target}?{name}={party}");
        }
        let header = source(from, "header", "party").map(|name| (name.to_owned(), party));
        let method =
            strings(&route["methods"]).into_iter().next().ok_or("a route without methods")?;
        Ok(Call { method, target, header })
    }
}

fn route(route: &Value) -> Told<Value> {
    let mut ours = json!({
        "id": text(route, "id")?,
        "match": { "methods": route["methods"], "path": text(route, "path")? },
    });
    if route["public"] == true {
        ours["access"] = "anonymous".into();
        return Ok(ours);
    }
    ours["scopes"] = json!({ "all_of": strings(&route["scope"]) });
    ours["resource"] = route["resource"].clone();
    ours["action"] = route["action"].clone();
    let from = text(route, "party_from")?;
    let known = ["path", "query", "header", "form", "json"];
    let found = known.iter().find_map(|kind| Some((kind, source(from, kind, "party")?)));
    ours["party"] = match found {
        Some((kind, name)) => json!({ *kind: name }),
        None if from == "token" => json!({ "token": "systemuser_org" }),
        None => return Err(format!("the runner knows no party from `{from}`")),
    };
    Ok(ours)
}

/// What the placeholders of one case stand for.
pub(crate) struct Context<'w> {
    pub(crate) world: &'w World,
    pub(crate) host: String,
    pub(crate) attacker: String,
    pub(crate) upstream: String,
    /// The token of this case.
    pub(crate) token: Option<String>,
    /// Tokens by name, the same ones throughout a case.
    tokens: RefCell<BTreeMap<String, String>>,
}

impl<'w> Context<'w> {
    pub(crate) fn new(world: &'w World, host: &str, attacker: String, upstream: String) -> Self {
        let tokens = RefCell::default();
        Self { world, host: host.to_owned(), attacker, upstream, token: None, tokens }
    }

    /// Puts values in place of the placeholders of a text.
    pub(crate) fn expand(&self, text: &str) -> Told<String> {
        let mut done = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            done.push_str(before);
            if !after.starts_with(|letter: char| letter.is_ascii_uppercase()) {
                done.push('{');
                rest = after;
                continue;
            }
            let (placeholder, after) = after.split_once('}').ok_or("a placeholder without end")?;
            done.push_str(&self.stands_for(placeholder)?);
            rest = after;
        }
        done.push_str(rest);
        Ok(done)
    }

    fn stands_for(&self, placeholder: &str) -> Told<String> {
        let (name, rest) = placeholder.split_once(':').unwrap_or((placeholder, ""));
        if let Some(offset) = name.strip_prefix("NOWMS") {
            return Ok((now().1 + signed(offset)? * 1000).to_string());
        }
        if let Some(offset) = name.strip_prefix("NOW") {
            return Ok((now().0 + signed(offset)?).to_string());
        }
        match name {
            "HOST" => Ok(self.host.clone()),
            "ATTACKER_HOST" => Ok(self.attacker.clone()),
            "UPSTREAM" => Ok(self.upstream.clone()),
            "UNIQUE" => Ok(uuid::Uuid::new_v4().to_string()),
            "TOKEN" => self.token.clone().ok_or_else(|| "this case has no token".into()),
            "GOOD_TOKEN" => self.named_token("good"),
            "T" => self.named_token(rest),
            "GOOD" => Ok(self.good_claims()?[rest].to_string()),
            "PUBLIC_JWK" => Ok(self.world.key(rest)?.public.to_string()),
            "JWK" | "JWK_PRIVATE" => {
                let mut parts = rest.split('|');
                let key = parts.next().unwrap_or_default();
                let mut jwk = self.world.jwk(key, name == "JWK_PRIVATE")?;
                for (member, value) in parts.filter_map(|part| part.split_once('=')) {
                    jwk[member] = value.into();
                }
                Ok(jwk.to_string())
            }
            "CERT_B64" => self.world.key(rest)?.certificate(),
            "REPEAT" => {
                let (text, times) = rest.rsplit_once(':').ok_or("REPEAT without a number")?;
                Ok(text.repeat(times.parse().map_err(|_| "REPEAT without a number")?))
            }
            other => Err(format!("the runner does not know {{{other}}}")),
        }
    }

    /// Puts values in place of the placeholders of JSON; one that is JSON itself stands as such.
    pub(crate) fn expand_json(&self, value: &Value) -> Told<Value> {
        match value {
            Value::String(text) => {
                let whole = ["{PUBLIC_JWK:", "{JWK:", "{JWK_PRIVATE:"];
                let is_json = whole.iter().any(|start| text.starts_with(start));
                let expanded = self.expand(text)?;
                if is_json {
                    return serde_json::from_str(&expanded).map_err(|error| error.to_string());
                }
                Ok(expanded.into())
            }
            Value::Array(list) => list.iter().map(|value| self.expand_json(value)).collect(),
            Value::Object(members) => {
                if let (Some(offset), 1) =
                    (members.get("$now").and_then(Value::as_i64), members.len())
                {
                    return Ok((now().0 + offset).into());
                }
                let expanded: Told<Map<String, Value>> = members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), self.expand_json(value)?)))
                    .collect();
                Ok(Value::Object(expanded?))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
        }
    }

    fn good_claims(&self) -> Told<Value> {
        self.expand_json(&self.world.value["good_token"]["claims"])
    }

    /// A token of the world by its name. How it differs from the good one is told in words.
    pub(crate) fn named_token(&self, name: &str) -> Told<String> {
        if let Some(made) = self.tokens.borrow().get(name) {
            return Ok(made.clone());
        }
        let made = self.make_named(name)?;
        self.tokens.borrow_mut().insert(name.to_owned(), made.clone());
        Ok(made)
    }

    fn make_named(&self, name: &str) -> Told<String> {
        let world = &self.world.value;
        let users = world["system_users"].as_object().ok_or("no system users")?;
        // Not listed: named by its system user, such as `s4`.
        let user = users.keys().find(|user| user.eq_ignore_ascii_case(name));
        let unlisted = format!("system user {}", user.map_or(name, String::as_str));
        let words = world["tokens"][name].as_str().unwrap_or(&unlisted);
        let words: Vec<&str> = words.split(' ').collect();
        let after = |word: &str| {
            words.iter().position(|other| *other == word).and_then(|at| words.get(at + 1))
        };
        let mut claims = Map::new();
        match (after("user"), after("scope")) {
            (Some(user), _) => {
                let user = users
                    .get(*user)
                    .ok_or_else(|| format!("the runner does not know the token `{name}`"))?;
                let mut details = self.good_claims()?["authorization_details"].clone();
                details[0]["systemuser_id"] = json!([text(user, "id")?]);
                details[0]["system_id"] = user["system_id"].clone();
                details[0]["systemuser_org"]["ID"] = format!("0192:{}", text(user, "org")?).into();
                claims.insert("authorization_details".into(), details);
            }
            (None, Some(scope)) => {
                claims.insert("scope".into(), (*scope).into());
            }
            (None, None) if words.contains(&"good") => {}
            (None, None) => return Err(format!("the runner does not know the token `{name}`")),
        }
        self.make_token(&json!({ "claims": { "set": claims } }))
    }

    /// The token that a case describes.
    pub(crate) fn make_token(&self, case: &Value) -> Told<String> {
        if let Some(text) = case["token_text"].as_str() {
            return self.change(case, self.expand(text)?);
        }
        let good = &self.world.value["good_token"];
        let header = self.part(case, "header", &good["header"])?;
        let claims = self.part(case, "claims", &good["claims"])?;
        let encoded = (base64url(&header), base64url(&claims));
        let signed = format!("{}.{}", encoded.0, encoded.1);
        let to_sign = if case["sign"]["unencoded_payload"] == true {
            [encoded.0.as_bytes(), b".", &claims].concat()
        } else {
            signed.clone().into_bytes()
        };
        self.change(case, format!("{signed}.{}", self.signature(case, &to_sign)?))
    }

    /// Header or claims as bytes.
    fn part(&self, case: &Value, name: &str, good: &Value) -> Told<Vec<u8>> {
        let literal = &case[format!("{name}_text")];
        let generated = &case[format!("{name}_text_gen")];
        let text = if let Some(text) = literal.as_str() {
            self.expand(text)?
        } else if generated.is_object() {
            let times = generated["times"].as_u64().and_then(|times| usize::try_from(times).ok());
            let around = |name: &str| generated[name].as_str().unwrap_or_default().to_owned();
            let repeated = text(generated, "repeat")?.repeat(times.ok_or("no `times`")?);
            self.expand(&around("before"))? + &repeated + &self.expand(&around("after"))?
        } else {
            let mut part = self.expand_json(good)?;
            let members = part.as_object_mut().ok_or("no object")?;
            for removed in strings(&case[name]["remove"]) {
                members.remove(&removed);
            }
            for (name, value) in case[name]["set"].as_object().into_iter().flatten() {
                members.insert(name.clone(), self.expand_json(value)?);
            }
            part.to_string()
        };
        encode(&text, case[format!("{name}_encoding")].as_str().unwrap_or("utf-8"))
    }

    fn signature(&self, case: &Value, to_sign: &[u8]) -> Told<String> {
        let sign = &case["sign"];
        if sign["none"] == true {
            return Ok(String::new());
        }
        if let Some(digits) = sign["raw_hex"].as_str() {
            return Ok(base64url(keys::hex(digits).ok_or("no hexadecimal digits")?));
        }
        if let Some(name) = sign["keep_signature_of"].as_str() {
            let other = self.named_token(name)?;
            return Ok(other.rsplit('.').next().unwrap_or_default().to_owned());
        }
        if let Some(secret) = sign["secret"].as_str() {
            let secret = self.secret(secret)?;
            return Ok(base64url(keys::mac(text(sign, "alg")?, &secret, to_sign)?));
        }
        let name = sign["key"].as_str().or(case["sign_with"].as_str());
        let name = name.map_or_else(|| text(&self.world.value["good_token"], "sign_with"), Ok)?;
        let usual = self.world.value["keys"][name]["alg"].as_str();
        let usual = usual.filter(|name| !name.contains("OAEP")).unwrap_or("RS256");
        let algorithm = sign["alg"].as_str().unwrap_or(usual);
        Ok(base64url(self.world.key(name)?.sign(algorithm, to_sign)?))
    }

    /// The secret of a MAC, as the cases write it.
    fn secret(&self, described: &str) -> Told<Vec<u8>> {
        let (kind, rest) = described.split_once(':').ok_or("a secret of no kind")?;
        let key = || self.world.key(rest);
        let number = |name: &str| {
            let text = key()?.public[name].as_str().unwrap_or_default();
            URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string())
        };
        match kind {
            "hex" => keys::hex(rest).ok_or_else(|| "no hexadecimal digits".into()),
            "utf8" => Ok(rest.into()),
            "public_pem_spki" => Ok(keys::pem("PUBLIC KEY", &key()?.spki()?).into_bytes()),
            "public_pem_pkcs1" => {
                Ok(keys::pem("RSA PUBLIC KEY", &key()?.rsa_public()?).into_bytes())
            }
            "public_der_spki" => key()?.spki(),
            "public_der_pkcs1" => key()?.rsa_public(),
            "public_jwk" => Ok(key()?.public.to_string().into_bytes()),
            "modulus" | "public_n" => number("n"),
            other => Err(format!("the runner does not know the secret `{other}`")),
        }
    }

    /// Changes of the compact text, in order.
    fn change(&self, case: &Value, mut token: String) -> Told<String> {
        for change in strings(&case["after"]) {
            let (name, rest) = change.split_once(':').unwrap_or((&change, ""));
            let last = token.rfind('.').unwrap_or(0);
            match name {
                "drop_last_part" => token.truncate(last),
                "empty_last_part" | "drop_signature" => token.truncate(last + 1),
                "append" => token.push_str(&self.expand(rest)?),
                "prepend" => token.insert_str(0, &self.expand(rest)?),
                "append_bytes" => {
                    let times = rest.parse().map_err(|_| "no number")?;
                    token.push_str(&"A".repeat(times));
                }
                "signature_standard_alphabet" => {
                    let signature = token.split_off(last);
                    if !signature.contains(['-', '_']) {
                        // Another token has another signature.
                        return self.make_token(case);
                    }
                    token.push_str(&signature.replace('-', "+").replace('_', "/"));
                }
                other => return Err(format!("the runner does not know the change `{other}`")),
            }
        }
        Ok(token)
    }
}

fn signed(offset: &str) -> Told<i64> {
    if offset.is_empty() {
        Ok(0)
    } else {
        offset.parse().map_err(|_| format!("no number: {offset}"))
    }
}

fn encode(text: &str, encoding: &str) -> Told<Vec<u8>> {
    match encoding.to_ascii_lowercase().replace('_', "-").as_str() {
        "utf-8" | "utf8" => Ok(text.into()),
        "utf-8-bom" | "utf8-bom" => Ok([b"\xef\xbb\xbf", text.as_bytes()].concat()),
        "utf-16le" | "utf16le" => Ok(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        "utf-16be" | "utf16be" => Ok(text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        "latin1" | "latin-1" => latin1(text),
        other => Err(format!("the runner does not know the encoding `{other}`")),
    }
}

/// Each character as one byte.
pub(crate) fn latin1(text: &str) -> Told<Vec<u8>> {
    text.chars()
        .map(|letter| u8::try_from(letter).map_err(|_| format!("{letter:?} is no byte")))
        .collect()
}
