//! Requests by route, in the last hour.

use super::View;
use super::chart::{ByMinute, grouped, spark};
use super::layout::{more, scrolling, section};
use crate::record::minutes::MINUTES;
use crate::serve::history::{ByAnswer, Seen};
use maud::{Markup, html};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most routes on their own page.
const MOST: usize = 100;

pub(super) fn main(view: &View<'_>) -> Markup {
    let hour = view.admin.history.hour();
    html! {
        p class="lead" {
            "The last hour, by route. What could not be told comes first, then what was refused, then what was \
             let through. Those that nobody called are left out."
        }
        (section("by-route", "By route", &table(&hour, MOST)))
    }
}

/// One route in the last hour.
struct Row {
    answers: ByAnswer,
    /// Requests that were not let through.
    refused: ByMinute,
}

/// The busiest `most` routes.
pub(super) fn table(hour: &[(usize, Arc<Seen>)], most: usize) -> Markup {
    let rows = rows(hour);
    if rows.is_empty() {
        return html! { p { "No requests in the last hour." } };
    }
    html! {
        (scrolling("Requests by route", &html! {
            table {
                caption { "Requests in the last hour" }
                thead { tr {
                    th scope="col" { "Route" }
                    th scope="col" class="number" { "Let through" }
                    th scope="col" class="number" { "No" }
                    th scope="col" class="number" { "Could not be told" }
                    th scope="col" class="number" { "Not asked" }
                    th scope="col" class="number" { "Let through in shadow" }
                    th scope="col" class="grows" { "Refused, an hour ago to now" }
                } }
                tbody {
                    @for (route, row) in rows.iter().take(most) {
                        @let [permit, denied, no_right, unknown, not_asked, shadow] = row.answers;
                        tr {
                            th scope="row" { @if &***route == "none" { "no route matched" } @else { code { (route) } } }
                            td class="number" { (grouped(permit)) }
                            td class="number" { (grouped(denied + no_right)) }
                            td class="number" { (grouped(unknown)) }
                            td class="number" { (grouped(not_asked)) }
                            td class="number" { (grouped(shadow)) }
                            td { (spark("no", &row.refused)) }
                        }
                    }
                }
            }
        }))
        (more(rows.len().saturating_sub(most), "routes"))
    }
}

fn rows(hour: &[(usize, Arc<Seen>)]) -> Vec<(&Arc<str>, Row)> {
    let mut routes: BTreeMap<&Arc<str>, Row> = BTreeMap::new();
    for (ago, seen) in hour {
        for (route, answers) in &seen.routes {
            let none = || Row { answers: ByAnswer::default(), refused: [0; MINUTES] };
            let row = routes.entry(route).or_insert_with(none);
            row.answers.iter_mut().zip(answers).for_each(|(sum, count)| *sum += count);
            let [_, denied, no_right, unknown, not_asked, _] = answers;
            if let Some(minute) = row.refused.get_mut(*ago) {
                *minute += denied + no_right + unknown + not_asked;
            }
        }
    }
    let mut rows: Vec<_> = routes.into_iter().collect();
    rows.sort_by_key(|(_, row)| {
        let [permit, denied, no_right, unknown, not_asked, shadow] = row.answers;
        Reverse((unknown, denied + no_right + not_asked, shadow, permit))
    });
    rows
}
