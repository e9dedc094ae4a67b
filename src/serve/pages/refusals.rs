//! The last refusals, and for each why it was one and what to do about it.

use super::View;
use super::chart::{ByMinute, grouped, spark};
use super::layout::{clock, more, scrolling, section, with_code};
use super::words;
use crate::config::Language;
use crate::domain::decision::Answer;
use crate::enforce::rejection::Code;
use crate::enforce::trail::Step;
use crate::record::minutes::MINUTES;
use crate::record::refusals::{MOST, Refusal, Tally};
use crate::serve::texts;
use maud::{Markup, html};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most rows of a table by reason or by vendor, on their own page.
const ROWS: usize = 100;
const VENDORS: &str = "vendors";
/// Most refusals of one trace that are explained.
const OF_ONE_TRACE: usize = 10;

pub(super) fn main(view: &View<'_>) -> Markup {
    let (hour, last) = (view.admin.recorder.refusals.hour(), view.last_refusals());
    html! {
        p class="lead" {
            "How many there were in the last hour, and the last " (MOST) " since the start, whenever they were."
        }
        (section("last", "The last refusals", &html! {
            (latest(&last, MOST))
            p class="note" {
                "A vendor that reports a " code { "traceId" } " finds it at " code { "/ui/refusals/" } " and that id."
            }
        }))
        (section("by-reason", "By reason", &by_reason(&hour, ROWS)))
        (section("by-vendor", "By vendor", &by_vendor(&hour, ROWS)))
    }
}

/// The latest of them.
pub(super) fn latest(last: &[Refusal<'_>], most: usize) -> Markup {
    if last.is_empty() {
        return html! { p { "Nothing was refused since the start." } };
    }
    html! {
        (scrolling("The last refusals", &html! {
            table {
                caption { "The latest first; each leads to its explanation" }
                thead { tr {
                    th scope="col" { "Time (UTC)" }
                    th scope="col" { "Why" }
                    th scope="col" { "Request" }
                    th scope="col" { "Vendor" }
                    th scope="col" { "Trace" }
                } }
                tbody {
                    @for refusal in last.iter().take(most) {
                        tr {
                            td { (clock(&refusal.time)) }
                            th scope="row" { a href={ "/ui/refusals/" (refusal.trace_id) } { (cause(refusal)) } }
                            td class="fixed" { (request(refusal)) }
                            td { (refusal.consumer.as_deref().unwrap_or("not known")) }
                            td { code { (shortened(&refusal.trace_id)) } }
                        }
                    }
                }
            }
        }))
        (more(last.len().saturating_sub(most), "refusals"))
    }
}

/// Code and reason, as the audit log has them.
fn cause(refusal: &Refusal<'_>) -> Markup {
    html! { (refusal.code) @if let Some(reason) = &refusal.reason { ": " (reason) } }
}

fn request(refusal: &Refusal<'_>) -> Markup {
    let path = refusal.template.as_deref().or(refusal.shape.as_deref()).unwrap_or_default();
    html! { (refusal.method.as_deref().unwrap_or_default()) " " code { (path) } }
}

fn shortened(trace: &str) -> String {
    trace.chars().take(8).collect()
}

/// How often each reason was given.
pub(super) fn by_reason(hour: &[(usize, Arc<Tally>)], most: usize) -> Markup {
    let mut reasons: BTreeMap<(&str, &str), ByMinute> = BTreeMap::new();
    for (ago, tally) in hour {
        for (reason, count) in &tally.reasons {
            let minutes = reasons.entry(*reason).or_insert([0; MINUTES]);
            minutes.iter_mut().skip(*ago).take(1).for_each(|sum| *sum += count);
        }
    }
    let name = |(code, reason): (&str, &str)| {
        html! {
            code { (code) @if !reason.is_empty() { ": " (reason) } }
        }
    };
    let rows: Vec<_> =
        reasons.into_iter().map(|(reason, minutes)| (name(reason), minutes)).collect();
    counted("Refusals by reason", "Reason", rows, most, "reasons")
}

/// How often each vendor was refused.
pub(super) fn by_vendor(hour: &[(usize, Arc<Tally>)], most: usize) -> Markup {
    let mut vendors: HashMap<&str, ByMinute> = HashMap::new();
    for (ago, tally) in hour {
        for (vendor, count) in &tally.vendors {
            let minutes = vendors.entry(vendor).or_insert([0; MINUTES]);
            minutes.iter_mut().skip(*ago).take(1).for_each(|sum| *sum += count);
        }
    }
    let sum = |count: fn(&Tally) -> u64| hour.iter().map(|(_, tally)| count(tally)).sum::<u64>();
    let (others, nameless) = (sum(|it| it.other_vendors), sum(|it| it.nameless));
    let mut vendors: Vec<_> = vendors.into_iter().collect();
    vendors.sort_unstable_by_key(|(vendor, _)| *vendor);
    let rows = vendors.into_iter().map(|(vendor, minutes)| (html! { (vendor) }, minutes)).collect();
    html! {
        (counted("Refusals by vendor", "Organisation number", rows, most, VENDORS))
        @if others > 0 {
            p class="note" { (grouped(others)) " more, of vendors that came late in a minute with very many." }
        }
        @if nameless > 0 {
            p class="note" { (grouped(nameless)) " more without a verified token, so that nobody knows of whom." }
        }
    }
}

/// A table of names with their refusals of the last hour, the most frequent first; of equals in the order given.
fn counted(
    caption: &str,
    head: &str,
    mut rows: Vec<(Markup, ByMinute)>,
    most: usize,
    what: &str,
) -> Markup {
    if rows.is_empty() {
        let which = if what == VENDORS { "Of no known vendor" } else { "None" };
        return html! { p { (which) " in the last hour." } };
    }
    let sum = |minutes: &ByMinute| minutes.iter().sum::<u64>();
    rows.sort_by_cached_key(|(_, minutes)| Reverse(sum(minutes)));
    html! {
        (scrolling(caption, &html! {
            table {
                caption { (caption) " in the last hour" }
                thead { tr {
                    th scope="col" { (head) }
                    th scope="col" class="number" { "Refused" }
                    th scope="col" class="grows" { "An hour ago to now" }
                } }
                tbody {
                    @for (name, minutes) in rows.iter().take(most) {
                        tr {
                            th scope="row" { (name) }
                            td class="number" { (grouped(sum(minutes))) }
                            td { (spark("no", minutes)) }
                        }
                    }
                }
            }
        }))
        (more(rows.len().saturating_sub(most), what))
    }
}

/// Why the refusals of this trace were refused; `None` when none of them is remembered.
pub(super) fn explained(view: &View<'_>, trace: &str) -> Option<Markup> {
    let last = view.last_refusals();
    let found: Vec<_> = last.iter().filter(|refusal| refusal.trace_id == trace).collect();
    let first = found.first()?;
    Some(html! {
        p class="lead" { "Trace " code { (first.trace_id) } }
        @for (number, refusal) in found.iter().take(OF_ONE_TRACE).enumerate() {
            (explanation(view, refusal, number))
        }
        (more(found.len().saturating_sub(OF_ONE_TRACE), "refusals of this trace"))
        p { a href="/ui/refusals" { "All of the last refusals" } }
    })
}

fn explanation(view: &View<'_>, refusal: &Refusal<'_>, number: usize) -> Markup {
    let code = Code::ALL.into_iter().find(|code| code.label() == refusal.code);
    let id = |name: &str| format!("{name}-{number}");
    html! {
        (section(&id("why"), "Why", &html! {
            p class="state bad" { (cause(refusal)) }
            p { (with_code(&sentence(&refusal.words))) }
            @if let Some(code) = code {
                h3 { "What to do" }
                p { (with_code(words::to_do(code))) }
            }
            (commands(view, refusal))
        }))
        (section(&id("asked"), "What was asked", &asked(refusal)))
        (section(&id("steps"), "How far it came", &steps(refusal)))
        @if let Some(code) = code { (section(&id("told"), "What the caller was told", &told(view, refusal, code))) }
    }
}

/// With a capital letter and a full stop.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// What tells more, for refusals that the register or a token has to do with.
fn commands(view: &View<'_>, refusal: &Refusal<'_>) -> Markup {
    let user = refusal.system_user.as_deref();
    html! {
        @if let (Some(user), true) = (user, view.admin.register.is_some()) {
            p {
                "What is known of the system user: "
                a href={ "/register/system-users/" (user) } { code { (user) } }
            }
        }
        @if let (Some(method), Some(path)) = (&refusal.method, &refusal.template) {
            p {
                "With such a token, what every step says: "
                code { "portvakt explain --token-file token.txt " (method) " '" (path) "'" }
            }
        }
    }
}

fn asked(refusal: &Refusal<'_>) -> Markup {
    let facts = [
        ("Time (UTC)", Some(clock(&refusal.time))),
        ("Request", Some(request(refusal))),
        ("Route", Some(html! { (refusal.route) })),
        ("Mode", Some(html! { (refusal.mode) })),
        ("Vendor", refusal.consumer.as_deref().map(|it| html! { (it) })),
        ("System user", refusal.system_user.as_deref().map(|it| html! { code { (it) } })),
        ("Party", refusal.party.as_deref().map(|it| html! { (it) })),
        ("Resource", refusal.resource.as_deref().map(|it| html! { code { (it) } })),
        ("Action", refusal.action.as_deref().map(|it| html! { code { (it) } })),
    ];
    html! {
        dl class="wide" {
            @for (name, value) in facts {
                @if let Some(value) = value { dt { (name) } dd { (value) } }
            }
        }
        p class="note" {
            "A path is told by its route's template, or without digits and names; persons are told as in the audit \
             log. The audit log has all of the request under its trace id."
        }
    }
}

fn steps(refusal: &Refusal<'_>) -> Markup {
    let refused = Step::ALL.iter().position(|step| step.label() == refusal.step);
    let done = |label: &str| refusal.done.iter().any(|done| done == label);
    // The last one that was done before it went on: what comes after it was not asked any more.
    let let_through = refusal.done.iter().rfind(|done| **done != refusal.step);
    let in_shadow =
        refusal.answer == Answer::Shadow.label() && refusal.step == Step::Forward.label();
    let let_through = let_through.filter(|_| in_shadow).map(|done| &**done);
    html! {
        ol class="steps" {
            @for (place, step) in Step::ALL.iter().enumerate() {
                @let (class, state) = match refused {
                    Some(refused) if place == refused => ("here", "refused here"),
                    Some(refused) if place > refused => ("later", "not reached"),
                    Some(_) if !done(step.label()) => ("later", "not asked"),
                    Some(_) if let_through == Some(step.label()) => ("", "judged; let through in shadow"),
                    Some(_) => ("", "passed"),
                    None => ("later", "not told"),
                };
                li class=(class) {
                    span { (step.label()) }
                    span { (state) }
                    span class="what" { (words::step(step.label())) }
                }
            }
        }
    }
}

fn told(view: &View<'_>, refusal: &Refusal<'_>, code: Code) -> Markup {
    let text = texts::text(code, Language::En);
    let problem_type = view.admin.in_force.load().problem_type.of(code.label());
    html! {
        p {
            @if let Some(status) = refusal.status { "HTTP " (status) ", " }
            code { (problem_type) } ": " (text.title)
        }
        p { (with_code(text.detail)) }
        p class="note" { "In English here; in the language that the caller prefers there." }
    }
}
