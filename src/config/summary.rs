//! A configuration in words, for people who are about to start it.

use super::{
    AccessConfig, Config, Environment, Freshness, ListenConfig, PartyConfig, RegisterConfig,
    RouteConfig, TracingConfig, UpstreamProtocol,
};
use crate::domain::scope::{Scope, ScopeRule};
use crate::sync::bound::{self, Bound};
use std::fmt::Write;
use std::time::Duration;

/// Environment, listeners, upstreams, a table of the routes, and the warnings. Shows no secret.
pub(super) fn write(config: &Config) -> String {
    let mut text = String::new();
    let environment = match config.environment {
        Environment::Prod => "prod",
        Environment::Test => "test",
        Environment::Custom => "custom",
    };
    let mut line = |name: &str, value: &str| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name:<13}{value}");
    };
    line("environment", environment);
    line("issuer", &config.maskinporten.issuer);
    line("altinn", config.altinn.url.as_str());
    line("listen", &listen(&config.listen));
    line("admin", &config.admin.address.to_string());
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
        line("upstream", &format!("{name}: {address} ({protocol})"));
    }
    if let Some(tracing) = &config.tracing {
        line("tracing", &traces(tracing));
    }
    text.push('\n');
    text.push_str(&routes(&config.routes));
    text.push_str(&revocation(config));
    for warning in &config.warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
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

fn routes(routes: &[RouteConfig]) -> String {
    let head = ["ROUTE", "METHODS", "PATH", "ACCESS", "SCOPES", "RIGHT", "PARTY", "UPSTREAM"];
    table(head, routes.iter().map(row))
}

/// How late a withdrawn right is refused, for each route; nothing where no route demands one.
fn revocation(config: &Config) -> String {
    let register = config.register.as_ref();
    let rows: Vec<_> = config.routes.iter().flat_map(|route| bounds(route, register)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["RIGHT WITHDRAWN", "METHODS", "REFUSED AFTER", "AT MOST", "ALTINN AWAY"];
    let mut text = format!("\n{}", table(head, rows.into_iter()));
    let memory = |time: Duration| time.as_secs() / 60;
    let _ = writeln!(
        text,
        "From when Altinn says so; its PDP remembers delegations for {} and policies for {} minutes.",
        memory(bound::DELEGATIONS),
        memory(bound::POLICIES)
    );
    text
}

/// A line for the methods that change nothing and one for the others, if the route has such.
fn bounds(route: &RouteConfig, register: Option<&RegisterConfig>) -> Vec<[String; 5]> {
    let Some(right) = route.right() else { return Vec::new() };
    let line = |freshness: Freshness, safe: bool| {
        let of_kind = route.methods.iter().filter(|method| method.is_safe() == safe);
        let methods: Vec<&str> = of_kind.map(http::Method::as_str).collect();
        let Bound { usual, worst, away } = bound::of_rights(freshness, register);
        let [usual, worst, away] = [usual, worst, away].map(time);
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

fn table<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    lines: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(lines);
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
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
    [id, methods.join(","), path, access.to_owned(), scope, right, party, upstream]
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
