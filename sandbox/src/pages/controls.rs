//! The tester's page: clock, caches, keys and faults. Every form turns a knob of `/sandbox`.

use super::layout::{self, button, choice, hidden, input, select};
use super::text::Text as T;
use super::visit::{Fields, Posted, Visit};
use super::words;
use crate::faults::Endpoint;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

/// Faults to choose from: name, words, and the knob's body.
const FAULTS: [(&str, T, &str); 12] = [
    ("slow", T::FaultSlow, r#"{"latency_ms":2000}"#),
    ("hang", T::FaultHang, r#"{"hang":true}"#),
    ("close", T::FaultClose, r#"{"close":true}"#),
    ("503", T::Fault503, r#"{"status":503}"#),
    ("429", T::Fault429, r#"{"status":429,"retry_after":5}"#),
    ("some", T::FaultSome, r#"{"status":500,"rate":0.3}"#),
    ("html", T::FaultHtml, r#"{"status":200,"content_type":"text/html","body":"<p>Gateway</p>"}"#),
    ("truncate", T::FaultTruncate, r#"{"truncate":true}"#),
    ("drip", T::FaultDrip, r#"{"drip":{"bytes":1,"every_ms":100}}"#),
    ("stale", T::FaultStale, r#"{"stale":true}"#),
    ("indeterminate", T::FaultIndeterminate, r#"{"decision":"Indeterminate"}"#),
    ("hidden", T::FaultHidden, r#"{"decision":"NotApplicable"}"#),
];

pub(super) async fn show(visit: Visit) -> Response {
    page(&visit, None)
}

fn page(visit: &Visit, problem: Option<(StatusCode, String)>) -> Response {
    let done = visit.query.one("done") == "yes";
    let main = html! {
        (layout::title(visit.t(T::ControlsTitle), visit.t(T::ControlsLead)))
        @if done { (layout::alert("success", visit.t(T::KnobTurned))) }
        @if let Some((_, why)) = &problem { (layout::alert("danger", why)) }
        (clock(visit)) (faults(visit)) (caches(visit)) (keys(visit)) (reset(visit))
    };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    visit.page_with(status, visit.t(T::ControlsTitle), &main)
}

/// A form that turns one knob.
fn form(visit: &Visit, knob: &str, inside: &Markup) -> Markup {
    html! {
        form method="post" action="/ui/controls" class="stack" {
            (layout::token(visit))
            (hidden("knob", knob))
            (inside)
        }
    }
}

fn clock(visit: &Visit) -> Markup {
    let offset = visit.shared.clock.offset_seconds();
    let steps = [("130", T::Plus2Minutes), ("3600", T::PlusHour), ("86400", T::PlusDay)];
    html! {
        section class="ds-card" {
            (layout::heading(visit.t(T::Clock)))
            p { (visit.t(T::ClockNow)) " " strong { (words::time(visit.shared.now())) } " "
                @if offset != 0 { (visit.fill(T::ClockMoved, &[("seconds", &offset.to_string())])) } }
            (form(visit, "clock", &html! {
                div class="buttons" {
                    @for (seconds, text) in steps { (choice("secondary", "accent", ("advance", seconds), visit.t(text))) }
                }
            }))
            (form(visit, "clock", &html! {
                (input("advance", visit.t(T::ClockSeconds), visit.t(T::ClockHelp), ""))
                (button("secondary", "accent", visit.t(T::ClockMove)))
            }))
        }
    }
}

fn faults(visit: &Visit) -> Markup {
    let in_force = visit.shared.faults().to_json();
    let struck: Vec<(String, String)> = in_force
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, fault)| !is_nothing(fault))
        .map(|(endpoint, fault)| (endpoint.clone(), brief(fault)))
        .collect();
    let endpoints: Vec<(String, String)> = Endpoint::ALL
        .iter()
        .map(|endpoint| {
            let name = json!(endpoint).as_str().unwrap_or_default().to_owned();
            (name.clone(), name)
        })
        .collect();
    let kinds: Vec<(String, String)> = FAULTS
        .iter()
        .map(|(name, text, _)| ((*name).to_owned(), visit.t(*text).to_owned()))
        .collect();
    html! {
        section class="ds-card" {
            (layout::heading(visit.t(T::Faults)))
            p { (visit.t(T::FaultsLead)) }
            @if struck.is_empty() { p { (visit.t(T::NoFaults)) } } @else {
                ul class="rights" { @for (endpoint, fault) in &struck { li { strong { (endpoint) } " " code { (fault) } } } }
                (form(visit, "heal", &button("secondary", "accent", visit.t(T::ClearFaults))))
            }
            (form(visit, "fault", &html! {
                (select("endpoint", visit.t(T::Endpoint), &endpoints, "pdp"))
                (select("fault", visit.t(T::Fault), &kinds, "503"))
                (input("times", visit.t(T::FaultTimes), visit.t(T::FaultTimesHelp), ""))
                (button("secondary", "danger", visit.t(T::SetFault)))
            }))
        }
    }
}

fn is_nothing(fault: &Value) -> bool {
    match fault {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// A fault without the members that do nothing.
fn brief(fault: &Value) -> String {
    let kept = |value: &Value| {
        !matches!(value, Value::Null | Value::Bool(false)) && *value != 0 && *value != json!([])
    };
    let one = |fault: &Value| match fault {
        Value::Object(members) => {
            Value::Object(members.clone().into_iter().filter(|(_, value)| kept(value)).collect())
        }
        other => other.clone(),
    };
    match fault {
        Value::Array(list) => Value::Array(list.iter().map(one).collect()).to_string(),
        fault => one(fault).to_string(),
    }
}

fn caches(visit: &Visit) -> Markup {
    let pods = visit.shared.pods().count();
    let options: Vec<(String, String)> =
        [("0", T::CachesOff), ("1", T::CachesOne), ("2", T::CachesTwo)]
            .iter()
            .map(|(value, text)| ((*value).to_owned(), visit.t(*text).to_owned()))
            .collect();
    html! {
        section class="ds-card" {
            (layout::heading(visit.t(T::Caches)))
            p { (visit.t(T::CachesLead)) }
            (form(visit, "caches", &html! {
                (select("pods", visit.t(T::Caches), &options, &pods.to_string()))
                (button("secondary", "accent", visit.t(T::SetCaches)))
            }))
        }
    }
}

fn keys(visit: &Visit) -> Markup {
    let signing = visit.shared.maskinporten_keys().current().kid().to_owned();
    let published = visit.shared.maskinporten_keys().published().count();
    html! {
        section class="ds-card" {
            (layout::heading(visit.t(T::Keys)))
            p { (visit.t(T::KeySigning)) " " code { (signing) } ". " (visit.fill(T::KeysPublished, &[("count", &published.to_string())])) }
            (form(visit, "rotate", &html! {
                div class="buttons" {
                    (choice("secondary", "accent", ("drop", "no"), visit.t(T::Rotate)))
                    (choice("secondary", "danger", ("drop", "yes"), visit.t(T::RotateDrop)))
                }
            }))
        }
    }
}

fn reset(visit: &Visit) -> Markup {
    html! {
        section class="ds-card" {
            (layout::heading(visit.t(T::Reset)))
            p { (visit.t(T::ResetLead)) }
            (form(visit, "reset", &html! {
                div class="ds-field" {
                    input class="ds-input" type="checkbox" id="sure" name="sure" value="yes" required;
                    label class="ds-label" for="sure" { (visit.t(T::ResetSure)) }
                }
                (button("primary", "danger", visit.t(T::Reset)))
            }))
        }
    }
}

/// Method, path and body of the knob that a form turns.
fn knob(fields: &Fields) -> Option<(&'static str, String, Value)> {
    let path = |rest: &str| format!("/sandbox/{rest}");
    let number = |name: &str| fields.one(name).parse::<i64>().ok();
    Some(match fields.one("knob") {
        "clock" => ("POST", path("clock"), json!({ "advance_seconds": number("advance")? })),
        "fault" => (
            "PUT",
            path(&format!("faults/{}", layout::encode(fields.one("endpoint")))),
            fault(fields)?,
        ),
        "heal" => ("DELETE", path("faults"), Value::Null),
        "caches" => {
            let pods = number("pods")?;
            ("PUT", path("caches"), json!({ "enabled": pods > 0, "pods": pods.max(1) }))
        }
        "rotate" => {
            ("POST", path("keys/rotate"), json!({ "drop_old": fields.one("drop") == "yes" }))
        }
        "reset" if fields.one("sure") == "yes" => ("POST", path("reset"), Value::Null),
        _ => return None,
    })
}

fn fault(fields: &Fields) -> Option<Value> {
    let (_, _, body) = FAULTS.iter().find(|(name, ..)| *name == fields.one("fault"))?;
    let mut body: Value = serde_json::from_str(body).ok()?;
    let times = fields.one("times");
    if !times.is_empty() {
        let times: u64 = times.parse().ok()?;
        body.as_object_mut()?.insert("times".to_owned(), json!(times));
    }
    Some(body)
}

pub(super) async fn turn(Posted { mut visit, fields }: Posted) -> Response {
    let Some((method, path, body)) = knob(&fields) else {
        let why = visit.t(T::BadKnob).to_owned();
        return page(&visit, Some((StatusCode::BAD_REQUEST, why)));
    };
    let reply = visit.api.call(method, &path, None, &body).await;
    if reply.is_good() {
        return visit.go("/ui/controls?done=yes");
    }
    visit.renew();
    let why = words::problem(&visit, &reply);
    page(&visit, Some((reply.status, why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;

    #[test]
    fn every_fault_on_the_page_is_one_that_the_sandbox_knows() {
        for (name, _, body) in FAULTS {
            let fault: Fault =
                serde_json::from_str(body).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(fault.problem(), None, "{name}");
        }
    }
}
