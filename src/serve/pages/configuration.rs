//! What is in force. Secrets are not in it.

use super::View;
use super::chart::grouped;
use super::layout::{clock, more, scrolling, section};
use crate::config::Table;
use crate::record::audit::rfc3339;
use maud::{Markup, html};
use prometheus::core::Collector;
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

/// Most rows of a table.
const ROWS: usize = 100;
/// Most upstreams, which stand among the facts.
const FACTS: usize = 100;

pub(super) fn main(view: &View<'_>) -> Markup {
    let in_force = view.admin.in_force.load();
    let summary = &in_force.summary;
    html! {
        p class="lead" {
            "Number " (in_force.generation) " since the start, taken at " (taken(view)) " UTC. "
            @if view.admin.metrics.config_refused.get() > 0 {
                strong class="bad" {
                    "The file has been changed since, and was refused: see the log, or run "
                    code { "portvakt check" } "."
                }
            }
        }
        @if !summary.warnings.is_empty() {
            (section("warnings", "Worth a second look", &html! {
                ul class="watch" { @for warning in summary.warnings.iter().take(ROWS) { li { (warning) } } }
                (more(summary.warnings.len().saturating_sub(ROWS), "warnings"))
            }))
        }
        (section("addresses", "Addresses", &html! {
            dl class="wide" {
                @for (name, value) in summary.facts.iter().take(FACTS) { dt { (name) } dd { (value) } }
            }
            (more(summary.facts.len().saturating_sub(FACTS), "upstreams"))
            p class="note" { "Keys, tokens and other secrets are not shown." }
        }))
        (section("routes", "Routes", &table("Each route, and what it asks for", &summary.routes)))
        @if !summary.withdrawn.rows.is_empty() {
            (section("withdrawn", "A right that is withdrawn", &html! {
                p { "How late it is refused. " (in_force.withdrawn_note) }
                (table("By route and method", &summary.withdrawn))
            }))
        }
        (section("bounds", "Bounds", &bounds(view)))
    }
}

/// When it was taken.
fn taken(view: &View<'_>) -> Markup {
    let seconds = u64::try_from(view.admin.metrics.config_taken.get()).unwrap_or_default();
    clock(&rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)))
}

fn table(caption: &str, table: &Table) -> Markup {
    html! {
        (scrolling(caption, &html! {
            table {
                caption { (caption) }
                thead { tr { @for name in &table.head { th scope="col" { (heading(name)) } } } }
                tbody {
                    @for row in table.rows.iter().take(ROWS) {
                        tr { @for (place, cell) in row.iter().enumerate() {
                            @if place == 0 { th scope="row" class="fixed" { (cell) } } @else { td { (cell) } }
                        } }
                    }
                }
            }
        }))
        (more(table.rows.len().saturating_sub(ROWS), "rows: `portvakt check` prints them all"))
    }
}

/// A name in capitals as a heading of a column.
fn heading(name: &str) -> String {
    let (first, rest) = name.split_at_checked(1).unwrap_or_default();
    format!("{first}{}", rest.to_lowercase())
}

fn bounds(view: &View<'_>) -> Markup {
    let families = view.admin.metrics.limits.collect();
    let bounds = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
    let bounds: BTreeMap<_, _> = bounds
        .filter_map(|metric| {
            let name = metric.get_label().first()?.value().to_owned();
            Some((name, grouped(crate::serve::history::whole(metric.get_gauge().get_value()))))
        })
        .collect();
    html! {
        dl { @for (name, value) in bounds { div { dt { (name.replace('_', " ")) } dd { (value) } } } }
    }
}
