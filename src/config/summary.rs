//! A configuration in words, for people who are about to start it, or look at one in force.

use super::{
    AccessConfig, AdminConfig, Config, Environment, Freshness, ListenConfig, PartyConfig,
    RegisterConfig, RouteConfig, Summary, Table, TracingConfig, UpstreamProtocol,
};
use crate::domain::scope::{Scope, ScopeRule};
use crate::sync::bound::{self, Bound};
use std::fmt::Write;
use std::time::Duration;

/// Environment, listeners, upstreams, a table of the routes, and the warnings. Shows no secret.
pub(crate) fn of(config: &Config) -> Summary {
    Summary {
        facts: facts(config),
        routes: routes(&config.routes),
        withdrawn: withdrawn(config),
        warnings: config.warnings.clone(),
    }
}

/// The same as text.
pub(super) fn write(config: &Config) -> String {
    let Summary { facts, routes, withdrawn, warnings } = of(config);
    let mut text = String::new();
    for (name, value) in facts {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name:<13}{value}");
    }
    let _ = write!(text, "\n{}", aligned(&routes));
    if !withdrawn.rows.is_empty() {
        let _ = write!(text, "\n{}{}\n", aligned(&withdrawn), memory());
    }
    for warning in warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
}

fn facts(config: &Config) -> Vec<(&'static str, String)> {
    let environment = match config.environment {
        Environment::Prod => "prod",
        Environment::Test => "test",
        Environment::Custom => "custom",
    };
    let mut facts = vec![
        ("environment", environment.to_owned()),
        ("issuer", config.maskinporten.issuer.clone()),
        ("altinn", config.altinn.url.to_string()),
        ("listen", listen(&config.listen)),
        ("admin", admin(&config.admin)),
    ];
    for (name, upstream) in &config.upstreams {
        let protocol = match upstream.protocol {
            UpstreamProtocol::Http1 => "HTTP/1.1",
            UpstreamProtocol::H2c | UpstreamProtocol::Http2 => "HTTP/2",
            UpstreamProtocol::Auto => "HTTP/2 or HTTP/1.1",
        };
        let address = match (&upstream.socket, &upstream.tls) {
            (Some(path), _) => format!("unix:{}", path.display()),
            (None, Some(_)) => format!("https://{}", upstream.authority),
            (None, None) => format!("http://{}", upstream.authority),
        };
        facts.push(("upstream", format!("{name}: {address} ({protocol})")));
    }
    if let Some(tracing) = &config.tracing {
        facts.push(("tracing", traces(tracing)));
    }
    facts
}

fn admin(admin: &AdminConfig) -> String {
    let note = match (&admin.token, admin.address.ip().to_canonical().is_loopback()) {
        (Some(_), _) => " (token for pages and register)",
        (None, true) => "",
        (None, false) => " (probes and metrics only: there is no `admin.token_file`)",
    };
    format!("{}{note}", admin.address)
}

fn listen(listen: &ListenConfig) -> String {
    let mut notes = vec![format!("{} workers", listen.workers)];
    if let Some(tls) = &listen.tls {
        notes.push("TLS".to_owned());
        if let Some(clients) = &tls.clients {
            let word = if clients.required { "required" } else { "optional" };
            notes.push(format!("client certificate {word}"));
        }
    }
    if listen.proxy_protocol.is_some() {
        notes.push("PROXY protocol".to_owned());
    }
    if listen.forward_auth.is_some() {
        notes.push("answers other proxies, forwards nothing".to_owned());
    }
    format!("{} ({})", listen.address, notes.join(", "))
}

fn traces(tracing: &TracingConfig) -> String {
    // Whole percents would hide a small share.
    let (whole, rest) = (tracing.per_million / 10_000, tracing.per_million % 10_000);
    let trust = if tracing.trust_parent { ", or as callers say" } else { "" };
    format!(
        "{} ({whole}.{rest:04} % of the requests{trust}, at most {} a second)",
        tracing.url, tracing.traces_per_second
    )
}

fn routes(routes: &[RouteConfig]) -> Table {
    let head = ["ROUTE", "METHODS", "PATH", "ACCESS", "SCOPES", "RIGHT", "PARTY", "UPSTREAM"];
    table(head, routes.iter().map(row))
}

/// How late a withdrawn right is refused, for each route; nothing where no route demands one.
fn withdrawn(config: &Config) -> Table {
    let register = config.register.as_ref();
    let rows = config.routes.iter().flat_map(|route| bounds(route, register));
    let head = ["RIGHT WITHDRAWN", "METHODS", "REFUSED AFTER", "AT MOST", "ALTINN AWAY"];
    table(head, rows)
}

/// What stands below the table of withdrawn rights.
pub(crate) fn memory() -> String {
    let minutes = |time: Duration| time.as_secs() / 60;
    format!(
        "From when Altinn says so; its PDP remembers delegations for {} and policies for {} minutes.",
        minutes(bound::DELEGATIONS),
        minutes(bound::POLICIES)
    )
}

/// A line for the methods that change nothing and one for the others, if the route has such.
fn bounds(route: &RouteConfig, register: Option<&RegisterConfig>) -> Vec<[String; 5]> {
    let Some(right) = route.right() else { return Vec::new() };
    let line = |freshness: Freshness, safe: bool| {
        let of_kind = route.methods.iter().filter(|method| method.is_safe() == safe);
        let methods: Vec<&str> = of_kind.map(http::Method::as_str).collect();
        let Bound { usual, worst, away } = bound::of_rights(freshness, register);
        let never = || "never, in shadow".to_owned();
        let in_words = |late| if route.in_shadow() { never() } else { time(late) };
        let [usual, worst, away] = [usual, worst, away].map(in_words);
        (!methods.is_empty()).then(|| [route.id.clone(), methods.join(","), usual, worst, away])
    };
    [line(right.read, true), line(right.write, false)].into_iter().flatten().collect()
}

/// As a configuration writes it, in the largest unit that leaves nothing over.
fn time(time: Duration) -> String {
    match time.as_secs() {
        0 => "0s".to_owned(),
        hours if hours % 3600 == 0 => format!("{}h", hours / 3600),
        minutes if minutes % 60 == 0 => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    }
}

/// Rows below their heads.
pub(crate) fn table<const COLUMNS: usize>(
    head: [&'static str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> Table {
    Table { head: head.to_vec(), rows: rows.map(Vec::from).collect() }
}

/// Columns of one width each, below their heads.
pub(crate) fn aligned(table: &Table) -> String {
    let head: Vec<String> = table.head.iter().map(|&name| name.to_owned()).collect();
    let rows = || std::iter::once(&head).chain(&table.rows);
    let mut widths = vec![0; head.len()];
    for row in rows() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(route: &RouteConfig) -> [String; 8] {
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let none = || "-".to_owned();
    let (access, scope, right, party) = match &route.access {
        AccessConfig::Anonymous => ("anonymous", none(), none(), none()),
        AccessConfig::Scopes(rule) => ("scopes", scopes(rule), none(), none()),
        AccessConfig::Right(demand) => (
            "right",
            scopes(&demand.scopes),
            format!("{} on {}", demand.right.action, demand.right.resource),
            party(&demand.party),
        ),
    };
    let (id, path, upstream) = (route.id.clone(), route.path.clone(), route.upstream.clone());
    let access = if route.in_shadow() { format!("{access}, in shadow") } else { access.to_owned() };
    [id, methods.join(","), path, access, scope, right, party, upstream]
}

fn scopes(rule: &ScopeRule) -> String {
    let join = |scopes: &[Scope], word: &str| {
        scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(word)
    };
    let all = join(&rule.all_of, " and ");
    match rule.any_of.as_slice() {
        [] => all,
        any if all.is_empty() => join(any, " or "),
        any => format!("{all} and ({})", join(any, " or ")),
    }
}

fn party(party: &PartyConfig) -> String {
    let named = [
        ("path", party.path.as_deref()),
        ("query", party.query.as_deref()),
        ("header", party.header.as_ref().map(http::HeaderName::as_str)),
        ("json", party.json.as_deref()),
        ("form", party.form.as_deref()),
        ("token", party.token_owner.then_some("owner")),
    ];
    let sources: Vec<String> = named
        .into_iter()
        .filter_map(|(kind, name)| Some(format!("{kind} {}", name?)))
        .chain(party.persons.then(|| "persons too".to_owned()))
        .collect();
    sources.join(", ")
}
