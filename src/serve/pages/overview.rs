//! How it stands, at a glance: ready or not, the last hour, the register, the calls to Altinn, the last refusals.

use super::View;
use super::chart::{self, Series, Titles, bar, grouped};
use super::layout::{clock, more, scrolling, section, with_code};
use super::refusals::{by_reason, by_vendor, latest};
use super::{routes, words};
use crate::record::audit::rfc3339;
use crate::record::minutes::MINUTES;
use crate::register::AGES;
use crate::serve::history::Seen;
use crate::serve::register::{RegisterPages, span};
use maud::{Markup, html};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Most rows of a table.
const ROWS: usize = 10;

pub(super) fn main(view: &View<'_>) -> Markup {
    view.admin.readiness.observe();
    let (hour, refused) = (view.admin.history.hour(), view.admin.recorder.refusals.hour());
    html! {
        (section("health", "Health", &health(view)))
        (section("requests", "Requests", &html! {
            (traffic(&hour))
            (routes::table(&hour, ROWS))
            p { a href="/ui/routes" { "All routes" } }
        }))
        div class="pair" {
            (section("by-reason", "Refusals by reason", &by_reason(&refused, ROWS)))
            (section("by-vendor", "Refusals by vendor", &by_vendor(&refused, ROWS)))
        }
        (section("last", "The last refusals", &html! {
            (latest(&view.last_refusals(), ROWS))
            p { a href="/ui/refusals" { "All refusals" } }
        }))
        div class="pair" {
            (section("register", "The register", &html! {
                @if let Some(pages) = &view.admin.register { (register(pages)) }
                @else { p { "None is kept: `register.enabled` is false, or no route asks for a right." } }
            }))
            (section("altinn", "Calls to Altinn", &altinn(view, &hour)))
        }
    }
}

fn health(view: &View<'_>) -> Markup {
    let metrics = &view.admin.metrics;
    let obstacles = view.admin.readiness.obstacles();
    let attention = attention(view);
    let in_force = view.admin.in_force.load();
    let facts = [
        ("Version", html! { (env!("CARGO_PKG_VERSION")) }),
        ("Up for", html! { (span(view.admin.history.since_begun())) }),
        (
            "Configuration",
            html! {
                a href="/ui/configuration" { "number " (in_force.generation) }
                ", taken " (moment(metrics.config_taken.get()))
            },
        ),
        (
            "Maskinporten's keys",
            html! {
                (metrics.key_set_keys.get()) ", fetched " (moment(metrics.key_set_fetched.get()))
            },
        ),
        ("Requests in flight", html! { (metrics.requests_in_flight.get()) }),
        ("Client connections", html! { (metrics.connections.get()) }),
        ("Audit records waiting", html! { (metrics.audit_waiting.get()) }),
        ("Greatest age of a permit", html! { (metrics.permit_age_worst.seconds()) " s" }),
    ];
    html! {
        @if obstacles.is_empty() {
            p class="state good" { (sign(true)) "Ready" }
        } @else {
            p class="state bad" { (sign(false)) "Not ready" }
            ul class="watch" { @for name in obstacles { li { (with_code(words::obstacle(name))) } } }
        }
        @if !attention.is_empty() {
            h3 { "Look at this" }
            ul class="watch" { @for line in attention { li { (with_code(&line)) } } }
        }
        dl { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
    }
}

/// A tick or a cross, so that it is not told by colour alone.
fn sign(good: bool) -> Markup {
    let shape = if good {
        "M2 11l4-4 4 4 8-8 4 4L10 19z"
    } else {
        "M4 1l8 7 8-7 3 3-7 8 7 8-3 3-8-7-8 7-3-3 7-8-7-8z"
    };
    let class = if good { "good" } else { "bad" };
    html! { svg viewBox="0 0 24 24" class=(class) aria-hidden="true" { path d=(shape) {} } }
}

/// What an operator should know though the program is ready.
fn attention(view: &View<'_>) -> Vec<String> {
    let metrics = &view.admin.metrics;
    let lost = |result: &str| metrics.audit_records.with_label_values(&[result]).get();
    let (dropped, failed) = (lost("dropped"), lost("failed"));
    let mut lines = Vec::new();
    if metrics.config_refused.get() > 0 {
        lines.push(
            "The configuration file was changed and refused; an older one is in force. The log says why.".to_owned(),
        );
    }
    if metrics.pdp_circuit_open.get() > 0 {
        lines.push("Altinn's decision point fails: the circuit to it is open, and it is left alone for a while.".to_owned());
    }
    if let Some(pause) = calls_paused(view) {
        lines.push(format!("Altinn asked not to be called for {}.", span(pause)));
    }
    if dropped + failed > 0 {
        lines.push(format!(
            "{} audit records were lost since the start (`portvakt_audit_records_total`).",
            grouped(dropped.saturating_add(failed))
        ));
    }
    lines
}

fn calls_paused(view: &View<'_>) -> Option<Duration> {
    view.admin.calls.as_ref().and_then(|calls| calls().paused)
}

/// A time of day from a gauge in seconds since 1970.
fn moment(seconds: i64) -> Markup {
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => clock(&rfc3339(UNIX_EPOCH + Duration::from_secs(seconds))),
        Ok(_) | Err(_) => html! { "never" },
    }
}

fn traffic(hour: &[(usize, Arc<Seen>)]) -> Markup {
    // What is rare and matters stands below, where it is seen.
    let mut series = [
        Series { class: "unsure", name: "could not be told", minutes: [0; MINUTES] },
        Series { class: "no", name: "no", minutes: [0; MINUTES] },
        Series { class: "early", name: "refused before it was asked", minutes: [0; MINUTES] },
        Series { class: "shadow", name: "let through in shadow", minutes: [0; MINUTES] },
        Series { class: "yes", name: "let through", minutes: [0; MINUTES] },
    ];
    for (ago, seen) in hour {
        for [permit, denied, no_right, unknown, not_asked, shadow] in seen.routes.values().copied()
        {
            add(&mut series, *ago, [unknown, denied + no_right, not_asked, shadow, permit]);
        }
    }
    let titles = Titles { id: "traffic", title: "Requests by answer", what: "requests" };
    chart::by_minute(&titles, &series)
}

fn add<const PARTS: usize>(parts: &mut [Series; PARTS], ago: usize, counts: [u64; PARTS]) {
    for (series, count) in parts.iter_mut().zip(counts) {
        series.minutes.iter_mut().skip(ago).take(1).for_each(|sum| *sum += count);
    }
}

fn register(pages: &RegisterPages) -> Markup {
    let (counted, status, ticks) = (pages.stats(), pages.status.status(), pages.reader.ticks());
    let bounds = pages.bounds.load();
    let count = |number: usize| grouped(u64::try_from(number).unwrap_or(u64::MAX));
    let facts = [
        ("Watched", html! { (count(counted.users)) " of " (count(bounds.max_system_users)) }),
        ("Waiting to be read", html! { (count(status.waiting)) }),
        ("In doubt", html! { (count(counted.doubted)) }),
        (
            "Memory",
            html! { (count(counted.bytes >> 20)) " of " (count(bounds.max_bytes >> 20)) " MiB" },
        ),
        (
            "Policies known to be current",
            html! {
                @if let Some(verified) = status.verified { (span(ticks.age(verified))) " ago" } @else { "never" }
            },
        ),
    ];
    let graces = pages.grace_words();
    html! {
        dl { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
        (ages(&counted.ages, counted.users.saturating_sub(counted.read)))
        @if !graces.is_empty() {
            h3 { "If Altinn stays away" }
            dl class="wide" {
                @for (route, words) in graces.iter().take(ROWS) { dt { code { (route) } } dd { (words) } }
            }
            (more(graces.len().saturating_sub(ROWS), "routes"))
        }
    }
}

/// How old what is known of the system users is.
fn ages(ages: &[usize], unread: usize) -> Markup {
    let wide = |number: &usize| u64::try_from(*number).unwrap_or(u64::MAX);
    let most = ages.iter().chain([&unread]).map(wide).max().unwrap_or(0);
    let younger = AGES.iter().map(|age| format!("up to {}", span(*age)));
    let names = younger.chain(["older".to_owned(), "never read".to_owned()]);
    scrolling(
        "System users by age",
        &html! {
            table class="tight" {
                caption { "System users by the age of what is known of them" }
                thead { tr {
                    th scope="col" { "Age" }
                    th scope="col" class="number" { "System users" }
                    th scope="col" class="grows" { "Share" }
                } }
                tbody {
                    @for (name, number) in names.zip(ages.iter().chain([&unread])) {
                        tr {
                            th scope="row" class="fixed" { (name) }
                            td class="number" { (grouped(wide(number))) }
                            td { (bar("heat", wide(number), most)) }
                        }
                    }
                }
            }
        },
    )
}

fn altinn(view: &View<'_>, hour: &[(usize, Arc<Seen>)]) -> Markup {
    let Some(calls) = view.admin.calls.as_ref().map(|calls| calls()) else {
        return html! { p { "None are made: no route asks for a right." } };
    };
    let mut series = [
        Series { class: "unsure", name: "held back by us", minutes: [0; MINUTES] },
        Series { class: "yes", name: "made", minutes: [0; MINUTES] },
    ];
    for (ago, seen) in hour {
        add(&mut series, *ago, [seen.held_back, seen.calls]);
    }
    let metrics = &view.admin.metrics;
    let ceiling = metrics.limits.with_label_values(&["altinn_requests_per_second"]).get();
    let facts = [
        ("Allowed", html! { (ceiling) " a second" }),
        ("Left now", html! { (calls.left) " at once" }),
        ("In flight", html! { (calls.in_flight) }),
        ("Waiting", html! { (calls.waiting) " for requests, " (calls.behind) " for the register" }),
        (
            "Pause asked for",
            html! {
                @if let Some(pause) = calls.paused { (span(pause)) " left" } @else { "none" }
            },
        ),
        (
            "Circuit to the decision point",
            html! {
                @if metrics.pdp_circuit_open.get() > 0 { "open: left alone" } @else { "closed: in use" }
            },
        ),
    ];
    let titles = Titles { id: "calls", title: "Calls by minute", what: "calls" };
    html! {
        dl { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
        (chart::by_minute(&titles, &series))
    }
}
