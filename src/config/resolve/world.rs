//! The world outside: which issuer and which Altinn, and our own client there.

use super::secret::{Reference, Reported};
use super::{Resolver, Section, either, section};
use crate::config::error::Place;
use crate::config::raw::{RawAltinn, RawCustom, RawEnvironment, RawMaskinporten, Setting};
use crate::config::{AltinnConfig, ClientConfig, Environment, MaskinportenConfig, RegisterConfig};
use crate::domain::scope::Scope;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::num::NonZeroUsize;
use std::time::Duration;

/// Addresses, pinned by the environment. Source: contract maskinporten.md §1.
const PROD: (&str, &str) = ("https://maskinporten.no/", "https://platform.altinn.no");
const TEST: (&str, &str) = ("https://test.maskinporten.no/", "https://platform.tt02.altinn.no");

const METADATA_PATH: &str = ".well-known/oauth-authorization-server";

/// What an environment decides.
pub(super) struct World {
    pub(super) environment: Environment,
    pub(super) issuer: String,
    metadata_url: Url,
    altinn: Url,
    pub(super) synthetic_organisation_numbers: bool,
}

impl Resolver<'_> {
    pub(super) fn world(
        &mut self,
        environment: &Setting<RawEnvironment>,
        custom: Setting<RawCustom>,
    ) -> Option<World> {
        let environment = self.environment(environment)?;
        if !matches!(environment, RawEnvironment::Custom)
            && let Some(place) = custom.place()
        {
            let message = "stands only with `environment: custom`";
            self.sink.report(place, message, "take it away, or set `environment: custom`");
        }
        let world = match environment {
            RawEnvironment::Prod => self.pinned(Environment::Prod, PROD),
            RawEnvironment::Test => self.pinned(Environment::Test, TEST),
            RawEnvironment::Custom => self.custom(custom),
        }?;
        self.check_issuer_variable(&world);
        Some(world)
    }

    fn environment(&self, written: &Setting<RawEnvironment>) -> Option<RawEnvironment> {
        if !written.is_absent() {
            return written.value().copied();
        }
        match self.variable("MASKINPORTEN_ISSUER").as_deref() {
            Some(issuer) if issuer == PROD.0 => Some(RawEnvironment::Prod),
            Some(issuer) if issuer == TEST.0 => Some(RawEnvironment::Test),
            _ => {
                let place = Place { key: String::new(), line: 1, column: 1 };
                self.missing(&place, "environment", "write `prod`, `test` or `custom`");
                None
            }
        }
    }

    fn pinned(&self, environment: Environment, (issuer, altinn): (&str, &str)) -> Option<World> {
        for name in
            ["MASKINPORTEN_WELL_KNOWN_URL", "MASKINPORTEN_JWKS_URI", "MASKINPORTEN_TOKEN_ENDPOINT"]
        {
            if self.variable(name).is_some_and(|address| !address.starts_with(issuer)) {
                self.disagrees(name, issuer);
            }
        }
        Some(World {
            environment,
            issuer: issuer.to_owned(),
            metadata_url: Url::parse(issuer).and_then(|url| url.join(METADATA_PATH)).ok()?,
            altinn: Url::parse(altinn).ok()?,
            synthetic_organisation_numbers: false,
        })
    }

    fn check_issuer_variable(&self, world: &World) {
        const NAME: &str = "MASKINPORTEN_ISSUER";
        if self.variable(NAME).is_some_and(|issuer| issuer != world.issuer) {
            self.disagrees(NAME, &world.issuer);
        }
    }

    fn disagrees(&self, variable: &str, issuer: &str) {
        let place = Place { key: variable.to_owned(), ..Place::default() };
        let message =
            format!("this variable names another issuer than the environment's, {issuer}");
        self.sink.report(&place, message, "set `environment` to the world that the platform gives");
    }

    fn custom(&mut self, written: Setting<RawCustom>) -> Option<World> {
        let section = section(written, "custom");
        let raw = &section.raw;
        let plain_http = either(&raw.allow_plain_http, false);
        let altinn = self.custom_altinn(&section, plain_http);
        let (issuer, from_platform) = self.custom_issuer(&section)?;
        let issuer_url = self.address(&issuer, plain_http);
        let metadata_url = match &raw.metadata_url {
            Setting::Written(text, place) => {
                self.address(&(text.clone(), place.clone()), plain_http)
            }
            Setting::Absent => match self.variable("MASKINPORTEN_WELL_KNOWN_URL") {
                Some(text) if from_platform => self.address(&(text, issuer.1.clone()), plain_http),
                _ => issuer_url.and_then(|url| url.join(METADATA_PATH).ok()),
            },
            Setting::Wrong(_) => None,
        };
        let synthetic = either(&raw.synthetic_organisation_numbers, false);
        if synthetic {
            self.warnings.push("organisation numbers with wrong check digits are accepted".into());
        }
        Some(World {
            environment: Environment::Custom,
            issuer: issuer.0,
            metadata_url: metadata_url?,
            altinn: altinn?,
            synthetic_organisation_numbers: synthetic,
        })
    }

    /// The issuer, and whether the platform gave it.
    fn custom_issuer(&self, section: &Section<RawCustom>) -> Option<((String, Place), bool)> {
        let from_platform = section.raw.issuer.is_absent();
        let issuer = match &section.raw.issuer {
            Setting::Written(text, place) => (text.clone(), place.clone()),
            Setting::Wrong(_) => return None,
            Setting::Absent => match self.variable("MASKINPORTEN_ISSUER") {
                Some(text) => (text, section.place.child("issuer")),
                None if section.readable => {
                    self.missing(&section.place, "issuer", "write the issuer, slash at the end");
                    return None;
                }
                None => return None,
            },
        };
        if !issuer.0.ends_with('/') {
            let cure = "write it as in the claim `iss`, slash at the end";
            self.sink.report(&issuer.1, "an issuer ends with a slash", cure);
            return None;
        }
        Some((issuer, from_platform))
    }

    fn custom_altinn(&mut self, section: &Section<RawCustom>, plain_http: bool) -> Option<Url> {
        if section.lacks(|raw| &raw.altinn) {
            self.missing(&section.place, "altinn", "write Altinn's base address");
        }
        let (text, place) = section.raw.altinn.written()?;
        let url = self.address(&(text.clone(), place.clone()), plain_http)?;
        if url.path() != "/" {
            let cure = "write scheme, host and port only";
            self.sink.report(place, "a base address has no path", cure);
            return None;
        }
        Some(url)
    }

    /// An address beyond this program: https, or http where that is allowed.
    fn address(&mut self, (text, place): &(String, Place), plain_http: bool) -> Option<Url> {
        let refuse = |message: &str, cure: &str| {
            self.sink.report(place, message, cure);
            None
        };
        // `Url` passes over tabs and line breaks; the issuer is compared as it is written.
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        let Some(url) = Url::parse(text).ok().filter(|_| printable) else {
            return refuse("not an address", "write it like `https://host/`");
        };
        let with_user = !url.username().is_empty() || url.password().is_some();
        if with_user || url.query().is_some() || url.fragment().is_some() {
            return refuse("an address here has no user, query or fragment", "take that part away");
        }
        let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
            return refuse("neither https nor http", "write it like `https://host/`");
        };
        if url.scheme() == "http" && !is_loopback(host) {
            if !plain_http {
                return refuse(
                    "plain http beyond this machine: tokens would be readable on the way",
                    "write https, or `allow_plain_http: true` for a closed test network",
                );
            }
            self.warnings
                .push(format!("`{}` is plain http: tokens are readable on the way", place.key));
        }
        Some(url)
    }

    pub(super) fn altinn(
        &mut self,
        written: Setting<RawAltinn>,
        world: Option<&World>,
        needed: bool,
    ) -> Option<AltinnConfig> {
        let section = section(written, "altinn");
        let raw = &section.raw;
        let budget = self.time(&raw.budget, Duration::from_secs(2));
        let attempt_timeout = self.time(&raw.attempt_timeout, Duration::from_secs(1).min(budget));
        if attempt_timeout > budget
            && let Some(place) = raw.attempt_timeout.place()
        {
            let message = "one attempt may take longer than the whole budget";
            self.sink.report(place, message, "write at most `altinn.budget`");
        }
        let subscription_key = self.subscription_key(&section, world, needed);
        let requests_per_second = self.count(&raw.requests_per_second, number(50));
        let max_attempts = self.count_up_to(&raw.max_attempts, number(3), 10);
        let circuit_failures = self.count(&raw.circuit_failures, number(5));
        let circuit_open_for = self.time(&raw.circuit_open_for, Duration::from_secs(5));
        let max_in_flight = self.count(&raw.max_in_flight, number(256));
        Some(AltinnConfig {
            subscription_key: subscription_key.ok()?,
            url: world?.altinn.clone(),
            requests_per_second,
            budget,
            attempt_timeout,
            max_attempts,
            circuit_failures,
            circuit_open_for,
            max_in_flight,
        })
    }

    fn subscription_key(
        &mut self,
        section: &Section<RawAltinn>,
        world: Option<&World>,
        needed: bool,
    ) -> Result<Option<SecretString>, Reported> {
        let raw = &section.raw;
        if raw.subscription_key.value().is_some()
            && world.is_some_and(|world| world.environment != Environment::Custom)
        {
            self.warnings.push(
                "`altinn.subscription_key` stands in the file itself: move it to a secret file"
                    .into(),
            );
        }
        let key = self.secret(&Reference {
            inline: raw.subscription_key.written().map(|(secret, place)| (secret.get(), place)),
            file: &raw.subscription_key_file,
            variable: &raw.subscription_key_env,
            platform: None,
        })?;
        match &key {
            Some((secret, place)) if !is_header_text(secret) => {
                let message = "holds characters that no header can carry";
                self.sink.report(place, message, "copy the key anew, on one line, without spaces");
                return Err(Reported);
            }
            None if needed && section.readable => self.sink.report_absent(
                &section.place.child("subscription_key_file"),
                "missing: routes ask for rights, and Altinn answers subscribers only",
                "write `subscription_key_file` or `subscription_key_env`",
            ),
            Some(_) | None => {}
        }
        Ok(key.map(|(secret, _)| secret))
    }

    pub(super) fn maskinporten(
        &mut self,
        written: Setting<RawMaskinporten>,
        world: Option<&World>,
        needed: bool,
        register: Option<&RegisterConfig>,
    ) -> Option<MaskinportenConfig> {
        let section = section(written, "maskinporten");
        let raw = &section.raw;
        let max_age = self.time(&raw.max_age, Duration::from_secs(24 * 3600));
        let refresh = self.time(&raw.refresh, Duration::from_secs(600).min(max_age));
        if refresh > max_age
            && let Some(place) = raw.refresh.place()
        {
            let message = "keys would be too old before they are refreshed";
            self.sink.report(place, message, "write at most `maskinporten.max_age`");
        }
        let unknown_kid_interval = self.time(&raw.unknown_kid_interval, Duration::from_secs(10));
        let timeout = self.time(&raw.timeout, Duration::from_secs(5));
        let client = self.client(&section, needed, register);
        let world = world?;
        Some(MaskinportenConfig {
            issuer: world.issuer.clone(),
            metadata_url: world.metadata_url.clone(),
            refresh,
            max_age,
            unknown_kid_interval,
            timeout,
            client: client.filter(|_| needed),
        })
    }

    fn client(
        &mut self,
        section: &Section<RawMaskinporten>,
        needed: bool,
        register: Option<&RegisterConfig>,
    ) -> Option<ClientConfig> {
        let raw = &section.raw;
        let required = needed && section.readable;
        let client_id = self.platform_text(&raw.client_id, "MASKINPORTEN_CLIENT_ID");
        if client_id.is_none() && raw.client_id.is_absent() && required {
            let cure = "write the id of your own client, or set MASKINPORTEN_CLIENT_ID";
            self.missing(&section.place, "client_id", cure);
        }
        let scopes = self.own_scopes(&raw.scopes, required, register);
        let key = self.secret(&Reference {
            inline: None,
            file: &raw.key_file,
            variable: &raw.key_env,
            platform: Some("MASKINPORTEN_CLIENT_JWK"),
        });
        let key = match key {
            Ok(Some((key, place))) => self.check_key(&key, &raw.key_id, &place).then_some(key),
            Ok(None) if required => {
                let cure = "write `key_file` or `key_env`, or set MASKINPORTEN_CLIENT_JWK";
                self.missing(&section.place, "key_file", cure);
                None
            }
            Ok(None) | Err(Reported) => None,
        };
        let key_id = raw.key_id.value().cloned();
        Some(ClientConfig { client_id: client_id?, key: key?, key_id, scopes })
    }

    fn own_scopes(
        &mut self,
        written: &Setting<Vec<Setting<String>>>,
        required: bool,
        register: Option<&RegisterConfig>,
    ) -> Vec<String> {
        const DEFAULT: &str = "altinn:authorization/authorize";
        const PARTIES: &str = "altinn:accessmanagement/authorizedparties";
        // The second puts our org code into the exchanged token (contract resource-registry.md §6).
        const LISTS: [&str; 2] = ["altinn:resourceregistry/accesslist.read", "altinn:serviceowner"];
        let lists = register.is_some_and(|register| register.access_lists_owner.is_some());
        let scopes: Vec<String> = match written {
            Setting::Written(list, place) => {
                if list.is_empty() {
                    self.sink.report(place, "an empty list", format!("write [\"{DEFAULT}\"]"));
                }
                let cure = format!("write it like `{DEFAULT}`");
                list.iter()
                    .filter_map(|scope| self.parsed::<Scope>(scope, &cure))
                    .map(|scope| scope.as_str().to_owned())
                    .collect()
            }
            Setting::Wrong(_) => return Vec::new(),
            Setting::Absent => {
                let own = || {
                    let parties = register.map(|_| format!("{PARTIES}.resourceowner"));
                    let lists = LISTS.iter().filter(|_| lists).map(|scope| (*scope).to_owned());
                    [DEFAULT.to_owned()].into_iter().chain(parties).chain(lists).collect()
                };
                let platform = self.variable("MASKINPORTEN_SCOPES");
                platform.map_or_else(own, |scopes| {
                    scopes.split_whitespace().map(str::to_owned).collect()
                })
            }
        };
        if required && !scopes.iter().any(|scope| scope.starts_with(DEFAULT)) {
            let warning = format!("none of our own scopes is `{DEFAULT}`: Altinn will not answer");
            self.warnings.push(warning);
        } else if register.is_some()
            && required
            && !scopes.iter().any(|scope| scope.starts_with(PARTIES))
        {
            self.warnings.push(format!(
                "none of our own scopes is `{PARTIES}.resourceowner`: nothing is derived, every \
                 question is asked; write `register: {{ enabled: false }}` if that is meant"
            ));
        }
        let missing = LISTS.iter().find(|scope| !scopes.iter().any(|own| own == *scope));
        if let Some(missing) = missing.filter(|_| lists && required) {
            self.warnings.push(format!(
                "`register.access_lists_owner` needs the scope `{missing}`, which is none of our own"
            ));
        }
        scopes
    }

    /// Whether the key is one that a client can sign with. Says nothing about what it holds.
    fn check_key(&self, key: &SecretString, key_id: &Setting<String>, place: &Place) -> bool {
        let refuse = |message: &str, cure: &str| {
            self.sink.report(place, message, cure);
            false
        };
        let text = key.expose_secret().trim();
        if text.starts_with("-----BEGIN ") {
            if key_id.is_absent() {
                let cure = "write `maskinporten.key_id`, or give the key as a JWK with `kid`";
                return refuse("a PEM key carries no key id", cure);
            }
            return true;
        }
        let Ok(jwk) = serde_json::from_str::<JwkShape>(text) else {
            return refuse(
                "neither a JWK nor PEM",
                "give the private key as one JSON object, or as PEM",
            );
        };
        if jwk.kty.as_deref() != Some("RSA") || jwk.d.is_none() {
            let cure = "give the RSA key that is registered on the client, with its private part";
            return refuse("not the private half of an RSA key", cure);
        }
        match (&jwk.kid, key_id.value()) {
            (None, _) => {
                refuse("the JWK has no `kid`", "add the key id that is registered on the client")
            }
            (Some(own), Some(written)) if own != written => {
                refuse("`kid` of the JWK is not `maskinporten.key_id`", "take `key_id` away")
            }
            (Some(_), _) => true,
        }
    }

    /// Text from the file, or else from a variable that the platform sets.
    fn platform_text(&self, written: &Setting<String>, variable: &str) -> Option<String> {
        match written {
            Setting::Written(text, place) if text.trim().is_empty() => {
                self.sink.report(place, "empty", "write a value, or take the key away");
                None
            }
            Setting::Written(text, _) => Some(text.clone()),
            Setting::Wrong(_) => None,
            Setting::Absent => self.variable(variable),
        }
    }

    /// A variable of the environment; an empty one counts as not set.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.env.variable(name).filter(|value| !value.is_empty())
    }
}

/// As much of a JWK as is looked at here.
#[derive(Deserialize)]
struct JwkShape {
    kty: Option<String>,
    kid: Option<String>,
    d: Option<IgnoredAny>,
}

fn is_header_text(secret: &SecretString) -> bool {
    secret.expose_secret().bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.to_canonical().is_loopback())
}

/// A default that is not zero.
pub(super) fn number(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}
