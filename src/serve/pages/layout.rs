//! The frame around every page, and the parts that pages share.

use super::View;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The pages that one can go to.
const PLACES: [(&str, &str); 4] = [
    ("/", "Overview"),
    ("/ui/refusals", "Refusals"),
    ("/ui/routes", "Routes"),
    ("/ui/configuration", "Configuration"),
];

/// A whole document.
pub(super) fn document(view: &View<'_>, title: &str, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – Portvakt" }
                link rel="stylesheet" href="/ui/style.css";
                link rel="icon" href="/ui/icon.svg" type="image/svg+xml";
            }
            body {
                a class="skip" href="#content" { "Skip to content" }
                header class="head" { div class="frame" {
                    p class="brand" { (PreEscaped(include_str!("icon.svg").trim())) "Portvakt" }
                    nav aria-label="Pages" { ul {
                        @for (path, name) in PLACES {
                            li {
                                @if view.path == path { a href=(path) aria-current="page" { (name) } }
                                @else { a href=(path) { (name) } }
                            }
                        }
                    } }
                } }
                main id="content" tabindex="-1" { div class="frame" { h1 { (title) } (main) } }
                (foot(view))
            }
        }
    }
}

fn foot(view: &View<'_>) -> Markup {
    html! {
        footer class="foot" { div class="frame" {
            p { "Portvakt " (env!("CARGO_PKG_VERSION")) ". As of " (clock(&view.now)) " UTC." }
            p {
                @if view.refresh {
                    "Read anew every " (super::REFRESH) " seconds. " a href=(view.path) { "Stop" }
                } @else {
                    a href=(view.path) { "Read anew" } " · "
                    a href={ (view.path) "?" (super::REFRESH_QUERY) } { "Every " (super::REFRESH) " seconds" }
                }
            }
        } }
    }
}

/// A part of a page with its heading.
pub(super) fn section(id: &str, heading: &str, content: &Markup) -> Markup {
    html! { section aria-labelledby=(id) { h2 id=(id) { (heading) } (content) } }
}

/// A table that scrolls within its place where that is narrow.
pub(super) fn scrolling(name: &str, table: &Markup) -> Markup {
    html! { div class="scroll" tabindex="0" role="region" aria-label={ (name) ", a table" } { (table) } }
}

/// Day and time to the second, of an RFC 3339 text in UTC.
pub(super) fn clock(time: &str) -> Markup {
    let to_the_second = time.split(['.', 'Z']).next().unwrap_or_default().replacen('T', " ", 1);
    html! { time class="fixed" datetime=(time) { (to_the_second) } }
}

/// What was left out of a list, if anything was.
pub(super) fn more(left_out: usize, what: &str) -> Markup {
    html! { @if left_out > 0 { p class="note" { "… and " (left_out) " more of the " (with_code(what)) "." } } }
}

/// What stands between backticks as code.
pub(super) fn with_code(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}
