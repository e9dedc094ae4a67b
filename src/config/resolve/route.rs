//! Routes: what each matches and demands, and that no two of them are for the same request.

use super::path::Template;
use super::register::ByMethod;
use super::section::is_name;
use super::upstream::{DEFAULT_UPSTREAM, Upstreams};
use super::{Resolver, either};
use crate::config::error::Place;
use crate::config::raw::{
    RawAccess, RawEnforcement, RawMatch, RawParty, RawRoute, RawScopes, RawStreams, Setting,
};
use crate::config::shape::nearest;
use crate::config::yaml::shown;
use crate::config::{
    AccessConfig, Enforcement, PartyConfig, RightConfig, RouteConfig, StreamConfig,
};
use crate::domain::resource::Right;
use crate::domain::scope::{Scope, ScopeRule};
use http::{HeaderName, Method};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

type List<T> = Setting<Vec<Setting<T>>>;

/// Whether any route asks for a right, as far as the file can be read.
pub(super) fn any_right(routes: &List<RawRoute>) -> bool {
    let routes = routes.value().into_iter().flatten();
    routes
        .filter_map(Setting::value)
        .any(|route| matches!(either(&route.access, RawAccess::Right), RawAccess::Right))
}

/// What the routes read so far match: by shape, who takes which methods.
#[derive(Default)]
struct Taken {
    router: matchit::Router<()>,
    by_shape: HashMap<String, Vec<(String, Vec<Method>)>>,
    ids: BTreeMap<String, usize>,
}

/// What a route matches, as far as it holds.
#[derive(Default)]
struct Matching {
    methods: Option<Vec<Method>>,
    path: Option<(String, Template)>,
}

impl Resolver<'_> {
    pub(super) fn routes(
        &mut self,
        written: &List<RawRoute>,
        upstreams: Option<&Upstreams>,
        freshness: ByMethod,
    ) -> Vec<RouteConfig> {
        const CURE: &str = "write at least one route; a request that no route matches is refused";
        let top = Place { key: String::new(), line: 1, column: 1 };
        match written {
            Setting::Absent => self.missing(&top, "routes", CURE),
            Setting::Written(list, place) if list.is_empty() => {
                self.sink.report(place, "no route at all", CURE);
            }
            Setting::Written(..) | Setting::Wrong(_) => {}
        }
        let mut taken = Taken::default();
        let routes = written.value().into_iter().flatten();
        let routes: Vec<RouteConfig> = routes
            .filter_map(|route| {
                let (raw, place) = route.written()?;
                self.route(raw, place, upstreams, freshness, &mut taken)
            })
            .collect();
        self.tell_shadow(&routes);
        self.tell_odd_methods(&routes);
        routes
    }

    /// Said aloud: nothing but a mistake in typing tells `GETT` from a method of the owner's own.
    fn tell_odd_methods(&mut self, routes: &[RouteConfig]) {
        const COMMON: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        for route in routes {
            let odd = route.methods.iter().map(Method::as_str).filter(|it| !COMMON.contains(it));
            for (method, meant) in odd.filter_map(|it| Some((it, nearest(it, &COMMON)?))) {
                self.warnings.push(format!(
                    "route `{}` takes the method `{method}`; did you mean `{meant}`?",
                    route.id
                ));
            }
        }
    }

    /// Said aloud: these protect nothing.
    fn tell_shadow(&mut self, routes: &[RouteConfig]) {
        let names = routes.iter().filter(|route| route.in_shadow()).map(|route| &route.id);
        let names: Vec<String> = names.map(|id| format!("`{id}`")).collect();
        if !names.is_empty() {
            self.warnings.push(format!(
                "in shadow, and open to everybody: {}; who would be refused there is let through and recorded, until \
                 `enforcement` is `full`",
                names.join(", ")
            ));
        }
    }

    fn route(
        &mut self,
        raw: &RawRoute,
        place: &Place,
        upstreams: Option<&Upstreams>,
        freshness: ByMethod,
        taken: &mut Taken,
    ) -> Option<RouteConfig> {
        let id = self.route_id(&raw.id, place, taken);
        let name = id.clone().unwrap_or_else(|| place.key.clone());
        let matching = self.matching(&raw.matching, place);
        if let Some(at) = raw.matching.value().and_then(|raw| raw.path.place()) {
            self.check_taken(&name, &matching, at, taken);
        }
        let access = match &raw.access {
            Setting::Written(RawAccess::Anonymous, _) => Some(self.anonymous(raw, &name)),
            Setting::Written(RawAccess::Scopes, _) => self.scopes_only(raw, place),
            Setting::Written(RawAccess::Right, _) | Setting::Absent => {
                self.right(raw, place, &matching, freshness)
            }
            // What else belongs to the route depends on the word that was meant.
            Setting::Wrong(_) => None,
        };
        let upstream = match upstreams {
            Some(upstreams) => self.route_upstream(&raw.upstream, place, upstreams),
            None => Some(self.route_of_questions(raw)),
        };
        let enforcement = either(&raw.enforcement, RawEnforcement::Full).into();
        let upgrades = self.upgrades(raw, &matching);
        let streams = self.streams(&raw.streams, access.as_ref());
        Some(RouteConfig {
            id: id?,
            methods: matching.methods?,
            path: matching.path?.0,
            access: access?,
            enforcement,
            upstream: upstream?,
            upgrades,
            streams,
        })
    }

    fn route_id(
        &self,
        written: &Setting<String>,
        place: &Place,
        taken: &mut Taken,
    ) -> Option<String> {
        if written.is_absent() {
            self.missing(place, "id", "write a name for metrics, logs and audit");
        }
        let (id, at) = written.written()?;
        if !is_name(id) {
            let cure = "write 1 to 64 of letters, digits, `.`, `_` and `-`";
            self.sink.report(at, "not an id", cure);
            return None;
        }
        if let Some(line) = taken.ids.get(id) {
            let message = format!("the route on line {line} has this id already");
            self.sink.report(at, message, "give each route an id of its own");
            return None;
        }
        taken.ids.insert(id.clone(), at.line);
        Some(id.clone())
    }

    fn matching(&self, written: &Setting<RawMatch>, route: &Place) -> Matching {
        if written.is_absent() {
            self.missing(route, "match", "write `match: { methods: [GET], path: /v1/x }`");
        }
        let Some((raw, place)) = written.written() else { return Matching::default() };
        let methods = self.methods(&raw.methods, place);
        if raw.path.is_absent() {
            self.missing(place, "path", "write a path such as `/v1/parties/{party}`");
        }
        Matching { methods, path: self.template(&raw.path) }
    }

    fn template(&self, written: &Setting<String>) -> Option<(String, Template)> {
        let (path, place) = written.written()?;
        match Template::parse(path) {
            Ok(template) => Some((path.clone(), template)),
            Err(problem) => {
                self.sink.report(place, problem, problem.cure());
                None
            }
        }
    }

    fn methods(&self, written: &List<String>, place: &Place) -> Option<Vec<Method>> {
        const CURE: &str = "write methods in upper case, such as [GET, POST]";
        if written.is_absent() {
            self.missing(place, "methods", CURE);
        }
        let (list, at) = written.written()?;
        if list.is_empty() {
            self.sink.report(at, "no method at all", CURE);
        }
        let mut methods = Vec::new();
        for method in list {
            let Some((text, at)) = method.written() else { continue };
            match read_method(text) {
                Ok(method) if methods.contains(&method) => {
                    self.sink.report(at, "this method stands here already", "keep one of the two");
                }
                Ok(method) => methods.push(method),
                Err(message) => self.sink.report(at, message, CURE),
            }
        }
        Some(methods).filter(|methods| !methods.is_empty())
    }

    /// Two routes for one request: which one counts must not depend on the order in a file.
    fn check_taken(&self, id: &str, matching: &Matching, at: &Place, taken: &mut Taken) {
        let (Some(methods), Some((_, template))) = (&matching.methods, &matching.path) else {
            return;
        };
        let methods = with_head(methods);
        let known = taken.by_shape.contains_key(&template.shape);
        if !known
            && let Err(matchit::InsertError::Conflict { with }) =
                taken.router.insert(template.shape.clone(), ())
        {
            let earlier = taken.by_shape.get(&with).and_then(|routes| routes.first());
            let earlier = earlier.map_or("another", |(earlier, _)| earlier);
            let message = format!(
                "route `{id}` conflicts with route `{earlier}`: where one takes a variable segment, \
                 the other takes all that follows"
            );
            self.sink.report(at, message, "give one of them a literal segment at that place");
            return;
        }
        let routes = taken.by_shape.entry(template.shape.clone()).or_default();
        for (earlier, theirs) in routes.iter() {
            if let Some(method) = methods.iter().find(|method| theirs.contains(method)) {
                let message = format!(
                    "route `{id}` conflicts with route `{earlier}`: both take {method} on this path"
                );
                let cure = "leave each method of a path to one route; GET brings HEAD";
                self.sink.report(at, message, cure);
            }
        }
        routes.push((id.to_owned(), methods));
    }

    fn anonymous(&mut self, raw: &RawRoute, id: &str) -> AccessConfig {
        let own = [raw.scopes.place(), raw.enforcement.place()];
        self.refuse_extra("anonymous", own.into_iter().chain(right_keys(raw)));
        let path = raw.matching.value().and_then(|raw| raw.path.value());
        if path.is_some_and(|path| path == "/*") {
            self.warnings.push(format!(
                "route `{id}` opens everything: no token is asked for on any path that no other route takes"
            ));
        } else if path.is_some_and(|path| path == "/") {
            self.warnings.push(format!("route `{id}` opens `/`: no token is asked for there"));
        }
        AccessConfig::Anonymous
    }

    fn scopes_only(&self, raw: &RawRoute, place: &Place) -> Option<AccessConfig> {
        self.refuse_extra("scopes", right_keys(raw));
        self.scopes(&raw.scopes, place).map(AccessConfig::Scopes)
    }

    fn refuse_extra<'a>(&self, access: &str, keys: impl Iterator<Item = Option<&'a Place>>) {
        for place in keys.flatten() {
            let message = format!("means nothing with `access: {access}`");
            let cure = format!("take it away, or `access: {access}`");
            self.sink.report(place, message, cure);
        }
    }

    fn right(
        &mut self,
        raw: &RawRoute,
        place: &Place,
        matching: &Matching,
        freshness: ByMethod,
    ) -> Option<AccessConfig> {
        let scopes = self.scopes(&raw.scopes, place);
        let resource = self.required(
            &raw.resource,
            &place.child("resource"),
            "use the id from the resource registry, such as `ske-mva-melding`",
        );
        let action = self.required(
            &raw.action,
            &place.child("action"),
            "use an action of the resource's policy, such as `read` or `write`",
        );
        let party = self.party(&raw.party, place, matching);
        let instance = self.instance(raw, matching);
        let [read, write] = self.freshness(&raw.freshness, freshness);
        Some(AccessConfig::Right(RightConfig {
            scopes: scopes?,
            right: Right { resource: resource?, action: action? },
            party: party?,
            instance,
            read,
            write,
        }))
    }

    fn required<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        written: &Setting<String>,
        place: &Place,
        cure: &str,
    ) -> Option<T> {
        if written.is_absent() {
            let message = "missing: a route asks for a right unless `access` says otherwise";
            self.sink.report_absent(place, message, cure);
        }
        self.parsed(written, cure)
    }

    fn scopes(&self, written: &Setting<RawScopes>, route: &Place) -> Option<ScopeRule> {
        const CURE: &str = "write `scopes: { all_of: [\"owner:scope\"] }`";
        if written.is_absent() {
            let message = "missing: without a scope, every client of Maskinporten could ask";
            self.sink.report_absent(&route.child("scopes"), message, CURE);
        }
        let (raw, place) = written.written()?;
        if raw.all_of.is_absent() && raw.any_of.is_absent() {
            self.sink.report(place, "demands no scope", CURE);
            return None;
        }
        let (all_of, any_of) = (self.scope_list(&raw.all_of), self.scope_list(&raw.any_of));
        Some(ScopeRule { all_of: all_of?, any_of: any_of? })
    }

    fn scope_list(&self, written: &List<String>) -> Option<Vec<Scope>> {
        if written.is_absent() {
            return Some(Vec::new());
        }
        let (list, place) = written.written()?;
        if list.is_empty() {
            self.sink.report(place, "an empty list", "name a scope, or take the key away");
        }
        let cure = "write it like `skatteetaten:mva`";
        // Each is parsed before the first that fails decides.
        let scopes: Vec<Option<Scope>> =
            list.iter().map(|scope| self.parsed(scope, cure)).collect();
        scopes.into_iter().collect()
    }

    fn party(
        &self,
        written: &Setting<RawParty>,
        route: &Place,
        matching: &Matching,
    ) -> Option<PartyConfig> {
        const CURE: &str = "write where it is read, such as `party: { path: party }`";
        if written.is_absent() {
            let message = "missing: a right is asked for, on behalf of nobody";
            self.sink.report_absent(&route.child("party"), message, CURE);
        }
        let (raw, place) = written.written()?;
        let sources = [&raw.path, &raw.query, &raw.header, &raw.json, &raw.form];
        if sources.iter().all(|source| source.is_absent()) && raw.token.is_absent() {
            self.sink.report(place, "no source of the party", CURE);
        }
        self.check_body_party(raw, matching);
        Some(PartyConfig {
            path: self.path_variable(&raw.path, matching),
            query: self.parameter(&raw.query),
            header: self.party_header(&raw.header),
            json: self.json_pointer(&raw.json),
            form: self.parameter(&raw.form),
            token_owner: raw.token.value().is_some(),
            persons: either(&raw.persons, false),
        })
    }

    fn check_body_party(&self, raw: &RawParty, matching: &Matching) {
        let Some(place) = raw.json.place().or(raw.form.place()) else { return };
        if let (Some(_), Some(form)) = (raw.json.place(), raw.form.place()) {
            let message = "a body is JSON or a form, not both";
            self.sink.report(form, message, "keep `json` or `form`");
        }
        let Some(methods) = &matching.methods else { return };
        let elsewhere = [&raw.path, &raw.query, &raw.header];
        let only_source =
            elsewhere.iter().all(|source| source.is_absent()) && raw.token.is_absent();
        let bodiless = |method: &&Method| {
            [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS].contains(method)
        };
        let without = methods.iter().filter(bodiless).count();
        if without == methods.len() {
            let message = "none of the route's methods carries a body";
            self.sink.report(place, message, "read the party from the path, the query or a header");
        } else if without > 0 && only_source {
            let message =
                "some of the route's methods carry no body, and nothing else names the party";
            self.sink.report(place, message, "give those methods a route of their own");
        }
    }

    fn path_variable(&self, written: &Setting<String>, matching: &Matching) -> Option<String> {
        let (name, place) = written.written()?;
        let Some((_, template)) = &matching.path else { return Some(name.clone()) };
        if !template.variables.contains(name) {
            let cure = match template.variables.as_slice() {
                [] => format!("write `{{{name}}}` as a segment of `match.path`"),
                variables => format!("name one of `{}`", variables.join("`, `")),
            };
            self.sink.report(place, "not a variable of the route's path", cure);
            return None;
        }
        Some(name.clone())
    }

    fn parameter(&self, written: &Setting<String>) -> Option<String> {
        let (name, place) = written.written()?;
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            let message = "not the name of a parameter";
            self.sink.report(place, message, "write the name, 1 to 128 characters");
        }
        Some(name.clone())
    }

    fn party_header(&self, written: &Setting<String>) -> Option<HeaderName> {
        let (name, place) = written.written()?;
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            let cure = "write letters, digits and `-`, such as `X-Party`";
            self.sink.report(place, "not the name of a header", cure);
            return None;
        };
        if is_reserved(&name) {
            let message = "this header means something else, or is removed on the way";
            self.sink.report(place, message, "use a header of your own, such as `X-Party`");
            return None;
        }
        Some(name)
    }

    fn json_pointer(&self, written: &Setting<String>) -> Option<String> {
        let (pointer, place) = written.written()?;
        if !is_json_pointer(pointer) {
            let message = "not a JSON pointer (RFC 6901) to a member";
            self.sink.report(
                place,
                message,
                "write it like `/party/number`; `~` is `~0`, `/` is `~1`",
            );
        }
        Some(pointer.clone())
    }

    fn instance(&self, raw: &RawRoute, matching: &Matching) -> Option<String> {
        let (instance, place) = raw.instance.written()?;
        if instance.path.is_absent() {
            self.missing(place, "path", "name the path variable that holds the instance");
        }
        let name = self.path_variable(&instance.path, matching)?;
        let party = raw.party.value().and_then(|party| party.path.value());
        if let (Some(_), Some(place)) =
            (party.filter(|party| **party == name), instance.path.place())
        {
            let message = "this variable holds the party";
            self.sink.report(place, message, "name the variable that holds the instance");
        }
        Some(name)
    }

    fn route_upstream(
        &self,
        written: &Setting<String>,
        route: &Place,
        upstreams: &Upstreams,
    ) -> Option<String> {
        let (name, place) = match written {
            Setting::Written(name, place) => (name.as_str(), place.clone()),
            Setting::Wrong(_) => return None,
            Setting::Absent => (DEFAULT_UPSTREAM, route.child("upstream")),
        };
        if upstreams.contains_key(name) {
            return Some(name.to_owned());
        }
        // With none at all, that has been said once and is enough.
        if !upstreams.is_empty() {
            let known = upstreams.keys().map(|name| shown(name)).collect::<Vec<_>>().join("`, `");
            let cure = format!("name one of `{known}`");
            if written.is_absent() {
                let message = "missing: there is no upstream called `default`";
                self.sink.report_absent(&place, message, cure);
            } else {
                self.sink.report(&place, "no upstream has this name", cure);
            }
        }
        None
    }

    /// Where other proxies ask, they forward, and tell the head of a request alone.
    fn route_of_questions(&self, raw: &RawRoute) -> String {
        let keys = [raw.upstream.place(), raw.upgrades.place(), raw.streams.place()];
        self.refuse_forwarding(keys.into_iter());
        if let Some(party) = raw.party.value()
            && let Some(place) = party.json.place().or(party.form.place())
        {
            let message = "with `listen.forward_auth` the body is not seen";
            let cure = "read the party from the path, the query, a header or the token, or \
                        forward this route with Portvakt";
            self.sink.report(place, message, cure);
        }
        "-".to_owned()
    }

    fn streams(
        &self,
        written: &Setting<RawStreams>,
        access: Option<&AccessConfig>,
    ) -> StreamConfig {
        const DAY: Duration = Duration::from_secs(86_400);
        let Some((raw, _)) = written.written() else { return StreamConfig::default() };
        let missing = |what: &str, place: Option<&Place>| {
            if let Some(place) = place {
                let message = format!("nothing to judge again: the route asks for no {what}");
                self.sink.report(place, message, "take this away");
            }
        };
        match access {
            Some(AccessConfig::Anonymous) => {
                missing("right", raw.recheck.place());
                missing("token", raw.end_with_token.place());
            }
            Some(AccessConfig::Scopes(_)) => missing("right", raw.recheck.place()),
            Some(AccessConfig::Right(_)) | None => {}
        }
        let recheck = raw.recheck.written().map(|(_, place)| {
            let every = self.time(&raw.recheck, DAY);
            if every > DAY {
                self.sink.report(place, "longer than a day", "write a shorter time, such as `5m`");
            }
            every.min(DAY)
        });
        StreamConfig { recheck, end_with_token: raw.end_with_token.value().copied() }
    }

    fn upgrades(&self, raw: &RawRoute, matching: &Matching) -> Vec<String> {
        let Some((list, place)) = raw.upgrades.written() else { return Vec::new() };
        let mut upgrades = Vec::new();
        for (protocol, place) in list.iter().filter_map(Setting::written) {
            match check_upgrade(protocol) {
                Ok(()) => upgrades.push(protocol.clone()),
                Err(message) => {
                    let cure = "write a protocol in lower case, such as `websocket`";
                    self.sink.report(place, message, cure);
                }
            }
        }
        let gets = matching.methods.as_ref().is_none_or(|methods| methods.contains(&Method::GET));
        if upgrades.iter().any(|protocol| protocol == "websocket") && !gets {
            let message = "a WebSocket begins with GET, which this route does not take";
            self.sink.report(place, message, "add GET to `match.methods`, or take this away");
        }
        upgrades
    }
}

impl From<RawEnforcement> for Enforcement {
    fn from(written: RawEnforcement) -> Self {
        match written {
            RawEnforcement::Full => Self::Full,
            RawEnforcement::Shadow => Self::Shadow,
        }
    }
}

/// What only a route with a right says.
fn right_keys(raw: &RawRoute) -> impl Iterator<Item = Option<&Place>> {
    [
        raw.resource.place(),
        raw.action.place(),
        raw.party.place(),
        raw.instance.place(),
        raw.freshness.place(),
    ]
    .into_iter()
}

/// A protocol name and perhaps a version (RFC 9110 §7.8), in lower case. An upgrade to HTTP itself, or to
/// TLS, would carry requests past the checks.
fn check_upgrade(protocol: &str) -> Result<(), &'static str> {
    let token = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && byte != b',';
    let name = protocol.split('/').next().unwrap_or_default();
    if name.is_empty() || !protocol.bytes().all(token) {
        return Err("not the name of a protocol");
    }
    match name {
        "h2c" | "h2" | "http" | "tls" => {
            Err("a protocol that would carry requests past the checks")
        }
        _ => Ok(()),
    }
}

fn read_method(text: &str) -> Result<Method, &'static str> {
    let upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    match text {
        "CONNECT" | "TRACE" => Err("a method that is never forwarded"),
        _ if text.len() <= 32 && text.bytes().all(upper) => {
            Method::from_bytes(text.as_bytes()).map_err(|_| "not a method")
        }
        _ => Err("not a method in upper case"),
    }
}

fn with_head(methods: &[Method]) -> Vec<Method> {
    let mut methods = methods.to_vec();
    if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
        methods.push(Method::HEAD);
    }
    methods
}

/// Headers that cannot name a party: credentials, framing, and what is removed on the way.
fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    ["portvakt-", "proxy-", "x-forwarded", "x-original-"]
        .iter()
        .any(|start| name.starts_with(start))
        || matches!(
            name.as_str(),
            "authorization"
                | "connection"
                | "content-length"
                | "content-type"
                | "cookie"
                | "expect"
                | "forwarded"
                | "host"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "via"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "x-override-url"
                | "x-real-ip"
                | "x-rewrite-uri"
                | "x-rewrite-url"
        )
}

/// RFC 6901 §3, without the empty pointer, which is the whole body.
fn is_json_pointer(pointer: &str) -> bool {
    let escapes = pointer.split('~').skip(1);
    pointer.starts_with('/')
        && pointer.len() <= 256
        && escapes.into_iter().all(|rest| rest.starts_with(['0', '1']))
}
