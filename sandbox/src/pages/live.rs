//! What the simulated Altinn was asked lately, and what it answered.

use super::layout;
use super::text::Text as T;
use super::visit::Visit;
use super::words;
use crate::calls::Call;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

pub(super) async fn show(visit: Visit) -> Response {
    let (questions, calls, counts) = {
        let kept = visit.shared.calls();
        (kept.questions(), kept.latest(), kept.to_json())
    };
    let counts = counts.get("counts").and_then(Value::as_object).cloned().unwrap_or_default();
    let main = html! {
        (layout::title(visit.t(T::LiveTitle), visit.t(T::LiveLead)))
        div class="buttons" {
            a class="ds-button" data-variant="secondary" href="/ui/live" { (visit.t(T::Refresh)) }
            button class="ds-button" data-variant="secondary" type="button" hidden id="live-switch"
                aria-pressed="true" data-on=(visit.t(T::LivePause)) data-off=(visit.t(T::LiveGoOn)) { (visit.t(T::LivePause)) }
        }
        div id="live" data-live="/ui/live" {
            p { @for (endpoint, count) in &counts { span class="count" { (endpoint) " " strong { (count) } } " " } }
            (layout::heading(visit.t(T::LiveQuestions)))
            (questions_table(&visit, &questions))
            (layout::heading(visit.t(T::LiveCalls)))
            (calls_table(&visit, &calls))
        }
    };
    visit.page(visit.t(T::LiveTitle), &main)
}

fn questions_table(visit: &Visit, questions: &[(i64, Value)]) -> Markup {
    html! {
        @if questions.is_empty() { p { (visit.t(T::LiveNothing)) } } @else {
            div class="scroll" tabindex="0" role="group" aria-label=(visit.t(T::LiveQuestions)) {
                table class="ds-table" role="table" {
                    thead role="rowgroup" { tr role="row" {
                        th scope="col" role="columnheader" { (visit.t(T::Time)) }
                        th scope="col" role="columnheader" { (visit.t(T::Who)) }
                        th scope="col" role="columnheader" { (visit.t(T::What)) }
                        th scope="col" role="columnheader" { (visit.t(T::Answer)) }
                    } }
                    tbody role="rowgroup" { @for (at, question) in questions.iter().rev() { (question_row(visit, *at, question)) } }
                }
            }
        }
    }
}

/// The values of a list of attributes, or of the one in an object; identity numbers masked.
fn values(part: Option<&Value>) -> String {
    let value = |item: &Value| item.get("value").and_then(Value::as_str).map(veiled);
    match part {
        Some(Value::Array(items)) => items.iter().filter_map(value).collect::<Vec<_>>().join(" · "),
        Some(other) => value(other).unwrap_or_default(),
        None => String::new(),
    }
}

fn question_row(visit: &Visit, at: i64, question: &Value) -> Markup {
    let text = |name: &str| question.get(name).and_then(Value::as_str);
    let is_pdp = text("endpoint") == Some("pdp");
    html! {
        tr role="row" {
            td role="cell" data-label=(visit.t(T::Time)) class="number" { (words::time(at)) }
            td role="cell" data-label=(visit.t(T::Who)) class="long" { (values(question.get("subject"))) }
            td role="cell" data-label=(visit.t(T::What)) class="long" {
                @if is_pdp { (values(question.get("action"))) " " (values(question.get("resource"))) }
                @else { (visit.t(T::AskedParties)) }
            }
            td role="cell" data-label=(visit.t(T::Answer)) { @if let Some(name) = text("decision") { (words::decision(name)) } @else { (visit.t(T::AnsweredParties)) } }
        }
    }
}

fn calls_table(visit: &Visit, calls: &[Call]) -> Markup {
    html! {
        @if calls.is_empty() { p { (visit.t(T::LiveNothing)) } } @else {
            div class="scroll" tabindex="0" role="group" aria-label=(visit.t(T::LiveCalls)) {
                table class="ds-table" role="table" {
                    thead role="rowgroup" { tr role="row" {
                        th scope="col" role="columnheader" { (visit.t(T::Time)) }
                        th scope="col" role="columnheader" { (visit.t(T::Endpoint)) }
                        th scope="col" role="columnheader" { (visit.t(T::Call)) }
                        th scope="col" role="columnheader" { (visit.t(T::Answer)) }
                    } }
                    tbody role="rowgroup" {
                        @for call in calls.iter().rev() {
                            tr role="row" {
                                td role="cell" data-label=(visit.t(T::Time)) class="number" { (words::time(call.at)) }
                                td role="cell" data-label=(visit.t(T::Endpoint)) { (call.endpoint) }
                                td role="cell" data-label=(visit.t(T::Call)) class="long" { code { (call.method) " " (veiled(&call.target)) } }
                                td role="cell" data-label=(visit.t(T::Answer)) { (status(visit, call.status)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn status(visit: &Visit, status: Option<u16>) -> Markup {
    match status {
        Some(status @ 200..=299) => layout::tag("success", &status.to_string()),
        Some(status) => layout::tag("danger", &status.to_string()),
        None => layout::tag("warning", visit.t(T::Unanswered)),
    }
}

/// The text with runs of eleven digits, which are identity numbers, masked.
fn veiled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut digits = String::new();
    for letter in text.chars().chain(['\0']) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        match digits.get(..6) {
            Some(birth) if digits.len() == 11 => {
                out.push_str(birth);
                out.push_str("*****");
            }
            _ => out.push_str(&digits),
        }
        digits.clear();
        if letter != '\0' {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_numbers_are_masked_and_organisation_numbers_are_not() {
        assert_eq!(veiled("a/01819049901?x"), "a/018190*****?x");
        assert_eq!(veiled("310000507"), "310000507");
        assert_eq!(veiled("12345678901"), "123456*****");
    }
}
