//! The frame around every page, and the parts that pages share.

use super::PORTAL;
use super::text::{Language, Text as T};
use super::visit::Visit;
use super::words;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::fmt::Write as _;

/// A whole document.
pub(super) fn document(visit: &Visit, title: &str, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(visit.language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – " (visit.t(T::SiteName)) }
                link rel="stylesheet" href="/ui/assets/theme.css";
                link rel="stylesheet" href="/ui/assets/designsystemet.css";
                link rel="stylesheet" href="/ui/assets/pages.css";
                link rel="icon" href="/ui/assets/icon.svg" type="image/svg+xml";
                script src="/ui/assets/live.js" defer {}
            }
            body {
                a class="ds-skip-link" href="#content" { (visit.t(T::SkipToContent)) }
                (header(visit))
                main id="content" tabindex="-1" { div class="frame" { (main) } }
                (footer(visit))
            }
        }
    }
}

fn header(visit: &Visit) -> Markup {
    html! {
        header class="top" {
            p class="banner" { strong { (visit.t(T::Banner)) } " " span { (visit.t(T::BannerWhat)) } }
            div class="frame bar" {
                a class="brand" href="/" {
                    (mark()) span { (visit.t(T::SiteName)) }
                }
                div class="who" {
                    (languages(visit))
                    (identity(visit))
                }
            }
            (navigation(visit))
        }
    }
}

/// The portcullis.
fn mark() -> PreEscaped<&'static str> {
    PreEscaped(
        r#"<svg viewBox="0 0 24 24" width="28" height="28" aria-hidden="true"><path fill="currentColor" d="M3 21V10a9 9 0 0 1 18 0v11h-2.5V10a6.5 6.5 0 0 0-13 0v11zm5-1V9.5h2V20l-1 2zm6 0V9.5h2V20l-1 2zm-3 0V8h2v12l-1 2z"/></svg>"#,
    )
}

fn languages(visit: &Visit) -> Markup {
    let other = visit.language.other();
    let mut target = format!("{}?lang={}", visit.path, other.code());
    for name in ["id", "party", "system", "client", "next", "DONTCHOOSEREPORTEE"] {
        let value = visit.query.one(name);
        if !value.is_empty() {
            // Writing to a text cannot fail.
            let _ = write!(target, "&{name}={}", encode(value));
        }
    }
    let name = match other {
        Language::Norwegian => "Norsk",
        Language::English => "English",
    };
    html! { a class="ds-link" href=(target) lang=(other.code()) hreflang=(other.code()) { (name) } }
}

fn identity(visit: &Visit) -> Markup {
    let Some(person) = visit.person() else {
        return html! { a class="ds-link" href="/" { (visit.t(T::NobodyChosen)) } };
    };
    html! {
        form method="post" action="/ui/logout" class="identity" {
            (token(visit))
            span { (visit.t(T::YouAre)) " " strong { (words::person_name(&person.name)) } }
            button class="ds-button" data-variant="tertiary" data-size="sm" type="submit" { (visit.t(T::LogOut)) }
        }
    }
}

/// The places to go: a row where there is room, else behind a button. Both work without scripts.
fn navigation(visit: &Visit) -> Markup {
    let places = places(visit);
    html! {
        nav class="frame places wide" aria-label=(visit.t(T::NavLabel)) { (places) }
        nav class="frame places narrow" aria-label=(visit.t(T::NavLabel)) {
            details { summary { (visit.t(T::NavMenu)) } (places) }
        }
    }
}

fn places(visit: &Visit) -> Markup {
    let overview = format!("{PORTAL}/overview");
    let clients = format!("{PORTAL}/clients");
    let places = [
        ("/", T::NavStart),
        (overview.as_str(), T::NavMine),
        (clients.as_str(), T::NavClients),
        ("/ui/vendor", T::NavVendor),
        ("/ui/resources", T::NavResources),
        ("/ui/live", T::NavLive),
        ("/ui/controls", T::NavControls),
    ];
    html! {
        ul {
            @for (target, name) in places {
                li {
                    @if visit.path == target {
                        a href=(target) aria-current="page" { (visit.t(name)) }
                    } @else {
                        a href=(target) { (visit.t(name)) }
                    }
                }
            }
        }
    }
}

fn footer(visit: &Visit) -> Markup {
    html! {
        footer class="bottom" {
            div class="frame" {
                p { (visit.t(T::FooterWhat)) }
                p { (visit.t(T::FooterStyle)) " " a class="ds-link" href="/ui/assets/designsystemet-license.txt" { "Designsystemet (MIT)" } "." }
            }
        }
    }
}

/// The field that shows a form is ours.
pub(super) fn token(visit: &Visit) -> Markup {
    html! { input type="hidden" name="form_token" value=(visit.form_token()); }
}

/// A hidden field.
pub(super) fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}

/// The page's one first-level heading with what the page is for.
pub(super) fn title(text: &str, lead: &str) -> Markup {
    html! {
        h1 class="ds-heading" data-size="lg" { (text) }
        @if !lead.is_empty() { p class="lead" { (lead) } }
    }
}

pub(super) fn heading(text: &str) -> Markup {
    html! { h2 class="ds-heading" data-size="sm" { (text) } }
}

/// A message box; `kind` is a colour of Designsystemet: `info`, `success`, `warning` or `danger`.
pub(super) fn alert(kind: &str, text: &str) -> Markup {
    let role = if kind == "danger" { "alert" } else { "status" };
    html! { div class="ds-alert" data-color=(kind) role=(role) { p { (text) } } }
}

/// A short label.
pub(super) fn tag(kind: &str, text: &str) -> Markup {
    html! { span class="ds-tag" data-color=(kind) { (text) } }
}

/// A button that sends its form.
pub(super) fn button(variant: &str, color: &str, text: &str) -> Markup {
    html! { button class="ds-button" data-variant=(variant) data-color=(color) type="submit" { (text) } }
}

/// A button of a form with several: its name and value tell which was pressed.
pub(super) fn choice(
    variant: &str,
    color: &str,
    (name, value): (&str, &str),
    text: &str,
) -> Markup {
    html! {
        button class="ds-button" data-variant=(variant) data-color=(color) type="submit" name=(name) value=(value) { (text) }
    }
}

/// A drop-down list with its label.
pub(super) fn select(id: &str, label: &str, options: &[(String, String)], chosen: &str) -> Markup {
    html! {
        div class="ds-field" {
            label class="ds-label" for=(id) { (label) }
            select class="ds-input" id=(id) name=(id) {
                @for (value, text) in options {
                    option value=(value) selected[value == chosen] { (text) }
                }
            }
        }
    }
}

/// A text field with its label and an explanation, which may be empty.
pub(super) fn input(id: &str, label: &str, help: &str, value: &str) -> Markup {
    let described = (!help.is_empty()).then(|| format!("{id}-help"));
    html! {
        div class="ds-field" {
            label class="ds-label" for=(id) { (label) }
            @if let Some(described) = &described { p data-field="description" id=(described) { (help) } }
            input class="ds-input" type="text" id=(id) name=(id) value=(value) autocomplete="off" aria-describedby=[described];
        }
    }
}

/// A box to tick, with its label.
pub(super) fn checkbox(id: &str, (name, value): (&str, &str), label: &Markup, on: bool) -> Markup {
    html! {
        div class="ds-field" {
            input class="ds-input" type="checkbox" id=(id) name=(name) value=(value) checked[on];
            label class="ds-label" for=(id) { (label) }
        }
    }
}

/// What a visitor sees who cannot go on.
pub(super) fn refusal(visit: &Visit, heading: &str, why: &str) -> Markup {
    html! {
        (title(heading, ""))
        (alert("danger", why))
        p { a class="ds-link" href="/" { (visit.t(T::ToStart)) } }
    }
}

/// Percent-encodes what is not plain in a query.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
