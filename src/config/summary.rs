//! A configuration in words, for people who are about to start it.

use super::{AccessConfig, Config, Environment, PartyConfig, RouteConfig, UpstreamProtocol};
use crate::domain::scope::{Scope, ScopeRule};
use std::fmt::Write;

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
    line("listen", &format!("{} ({} workers)", config.listen.address, config.listen.workers));
    line("admin", &config.admin.address.to_string());
    for (name, upstream) in &config.upstreams {
        let protocol = match upstream.protocol {
            UpstreamProtocol::Http1 => "HTTP/1.1",
            UpstreamProtocol::H2c => "HTTP/2",
        };
        line("upstream", &format!("{name}: http://{} ({protocol})", upstream.authority));
    }
    text.push('\n');
    text.push_str(&table(&config.routes));
    for warning in &config.warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
}

fn table(routes: &[RouteConfig]) -> String {
    let head = ["ROUTE", "METHODS", "PATH", "ACCESS", "SCOPES", "RIGHT", "PARTY", "UPSTREAM"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(routes.iter().map(row));
    let mut widths = [0; 8];
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
