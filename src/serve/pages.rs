//! Pages for people, at the admin listener: how it stands, what was refused and why, what is in force.
//!
//! Read only, without scripts, and bounded whatever there is to tell. All text goes through `maud`, which escapes
//! it; nothing is marked as escaped already but the icon. Who may see them is the guard's business.

mod chart;
mod configuration;
mod layout;
mod overview;
mod refusals;
mod routes;
mod words;

use super::admin::Admin;
use crate::clock::{Clock, SystemClock};
use crate::config::{ProblemType, Summary};
use crate::record::audit::rfc3339;
use crate::record::refusals::Refusal;
use http::{HeaderValue, StatusCode};
use maud::{Markup, html};

/// The configuration in force, in words.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// What it says.
    pub summary: Summary,
    /// What stands below the table of withdrawn rights.
    pub withdrawn_note: String,
    /// How the `type` of a problem is made.
    pub problem_type: ProblemType,
    /// Which one since the start, from 1.
    pub generation: u64,
}

/// Nothing but our own style sheet and icon is loaded, nothing runs, and nobody frames a page.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// Seconds after which a page is read anew, if one asked for that.
pub(super) const REFRESH: u64 = 30;
/// How one asks for it.
const REFRESH_QUERY: &str = "refresh";

/// What is answered.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) media: &'static str,
    pub(super) text: String,
    /// Whether it is to be read anew after [`REFRESH`] seconds.
    pub(super) refresh: bool,
}

/// What a page is made of.
struct View<'a> {
    admin: &'a Admin,
    path: &'a str,
    refresh: bool,
    now: String,
}

/// The page at this path; `None` when there is none.
pub(super) fn page(admin: &Admin, path: &str, query: Option<&str>) -> Option<Page> {
    match path {
        "/ui/style.css" => {
            return Some(asset("text/css; charset=utf-8", include_str!("pages/style.css")));
        }
        "/ui/icon.svg" => return Some(asset("image/svg+xml", include_str!("pages/icon.svg"))),
        _ => {}
    }
    let refresh = query == Some(REFRESH_QUERY);
    let view = View { admin, path, refresh, now: rfc3339(SystemClock.wall()) };
    let main = |title, main: Markup| (StatusCode::OK, title, main);
    let (status, title, main) = match path {
        "/" => main("Overview", overview::main(&view)),
        "/ui/refusals" => main("Refusals", refusals::main(&view)),
        "/ui/routes" => main("Routes", routes::main(&view)),
        "/ui/configuration" => main("Configuration", configuration::main(&view)),
        _ => {
            let trace = path.strip_prefix("/ui/refusals/")?;
            match refusals::explained(&view, trace) {
                Some(found) => main("Why it was refused", found),
                None => (StatusCode::NOT_FOUND, "Not among the last refusals", forgotten()),
            }
        }
    };
    let text = layout::document(&view, title, &main).into_string();
    Some(Page { status, media: "text/html; charset=utf-8", text, refresh })
}

fn asset(media: &'static str, text: &str) -> Page {
    Page { status: StatusCode::OK, media, text: text.to_owned(), refresh: false }
}

fn forgotten() -> Markup {
    html! {
        p {
            "The last " (crate::record::refusals::MOST) " refusals since the start are remembered, each by its \
             trace id. The audit log keeps all."
        }
        p { a href="/ui/refusals" { "The last refusals" } }
    }
}

impl View<'_> {
    fn last_refusals(&self) -> Vec<Refusal<'static>> {
        self.admin.recorder.refusals.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Table;
    use crate::config::source::load_text;
    use crate::record::Recorder;
    use crate::record::audit::Audit;
    use crate::record::pseudonyms::Pseudonyms;
    use crate::record::refusals::Refusals;
    use crate::serve::admin::Readiness;
    use crate::serve::guard::Guard;
    use crate::serve::history::History;
    use crate::serve::register::{Calls, CountCalls};
    use crate::telemetry::metrics::Metrics;
    use crate::trace::Tracer;
    use arc_swap::ArcSwap;
    use std::sync::Arc;
    use std::time::Duration;

    const HOSTILE: &str = "\"'><script>alert(1)</script>&amp;<img src=x onerror=y>";

    struct Standing(Vec<&'static str>);

    impl Readiness for Standing {
        fn obstacles(&self) -> Vec<&'static str> {
            self.0.clone()
        }

        fn observe(&self) {}
    }

    fn admin(obstacles: Vec<&'static str>) -> Admin {
        let text = "environment: test\nupstream: { url: \"http://127.0.0.1:3000\" }\nroutes:\n  \
                    - { id: open, match: { methods: [GET], path: /open }, access: anonymous }\n";
        let config = load_text(text, "test", &|_: &str| None).unwrap();
        let metrics = Metrics::new().unwrap();
        let calls: CountCalls = Arc::new(|| Calls {
            left: 3,
            in_flight: 1,
            waiting: 0,
            behind: 2,
            paused: Some(Duration::from_secs(41)),
        });
        Admin {
            recorder: Arc::new(Recorder {
                audit: Audit::open(&config.audit, &metrics, || ()).unwrap(),
                pseudonyms: Pseudonyms::new(None),
                refusals: Refusals::default(),
                tracer: Tracer::off(),
                metrics: metrics.clone(),
            }),
            readiness: Arc::new(Standing(obstacles)),
            register: None,
            calls: Some(calls),
            history: Arc::new(History::new(metrics.clone())),
            in_force: Arc::new(ArcSwap::from_pointee(InForce {
                generation: 7,
                ..InForce::default()
            })),
            guard: Arc::new(ArcSwap::from_pointee(Guard::new(
                "127.0.0.1:9090".parse().unwrap(),
                None,
            ))),
            metrics,
        }
    }

    #[track_caller]
    fn text(admin: &Admin, path: &str) -> String {
        page(admin, path, None).unwrap_or_else(|| panic!("no page at {path}")).text
    }

    #[track_caller]
    fn says(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    /// Every page that there is.
    fn all(admin: &Admin) -> Vec<String> {
        let refusals = admin.recorder.refusals.last();
        let traces = refusals.iter().map(|it| format!("/ui/refusals/{}", it.trace_id));
        let fixed = ["/", "/ui/refusals", "/ui/routes", "/ui/configuration"].map(str::to_owned);
        fixed.into_iter().chain(traces).map(|path| text(admin, &path)).collect()
    }

    #[tokio::test]
    async fn readiness_is_told_with_what_stands_in_its_way() {
        says(
            &text(&admin(vec![]), "/"),
            &["Ready", "number 7", env!("CARGO_PKG_VERSION"), "Up for"],
        );
        let told = text(&admin(vec!["issuer_keys", "audit", "unheard_of"]), "/");
        says(
            &told,
            &[
                "Not ready",
                "<code>maskinporten.max_age</code>",
                "<code>audit.on_loss</code>",
                "unheard_of",
            ],
        );
    }

    #[tokio::test]
    async fn what_is_wrong_though_it_is_ready_is_told() {
        let admin = admin(vec![]);
        says(&text(&admin, "/"), &["Altinn asked not to be called for 41 s."]);
        admin.metrics.config_refused.set(1);
        admin.metrics.pdp_circuit_open.set(1);
        admin.metrics.audit_records.with_label_values(&["dropped"]).inc_by(1_234);
        says(
            &text(&admin, "/"),
            &[
                "changed and refused",
                "the circuit to it is open",
                "1\u{a0}234 audit records were lost",
            ],
        );
        says(&text(&admin, "/ui/configuration"), &["and was refused"]);
    }

    #[tokio::test]
    async fn nothing_that_comes_from_outside_becomes_markup() {
        let admin = admin(vec![]);
        admin.recorder.refusals.note_hostile(HOSTILE);
        admin.metrics.requests.with_label_values(&[HOSTILE, "no_right", "no_right"]).inc();
        let table = Table { head: vec!["ROUTE"], rows: vec![vec![HOSTILE.to_owned()]] };
        admin.in_force.store(Arc::new(InForce {
            summary: Summary {
                facts: vec![("upstream", HOSTILE.to_owned())],
                routes: table.clone(),
                withdrawn: table,
                warnings: vec![HOSTILE.to_owned()],
            },
            ..InForce::default()
        }));
        let pages = all(&admin);
        assert_eq!(pages.len(), 5);
        for page in pages {
            assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
            assert!(!page.contains("'><") && !page.contains("\"'>"), "{page}");
            says(&page, &["&lt;script&gt;"]);
        }
    }

    #[tokio::test]
    async fn pages_are_as_long_as_they_need_and_no_longer() {
        const MOST_BYTES: usize = 300_000;
        let admin = admin(vec![]);
        for number in 0..10_000 {
            admin.recorder.refusals.note_of(&format!("{number:09}"));
        }
        for number in 0..500 {
            let route = format!("route-{number:03}");
            admin
                .metrics
                .requests
                .with_label_values(&[&route, "unknown", "cannot_decide"])
                .inc_by(number + 1);
        }
        let table = || Table { head: vec!["ROUTE"; 8], rows: vec![vec!["x".repeat(100); 8]; 500] };
        let summary = Summary {
            facts: vec![("upstream", "x".into()); 500],
            routes: table(),
            withdrawn: table(),
            warnings: vec!["w".into(); 500],
        };
        let in_force = InForce { summary, ..InForce::default() };
        admin.in_force.store(Arc::new(in_force));
        let begun = std::time::Instant::now();
        for page in all(&admin) {
            assert!(page.len() < MOST_BYTES, "{} bytes", page.len());
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        says(
            &text(&admin, "/"),
            &["… and 490 more of the routes.", "… and 246 more of the vendors.", "route-499"],
        );
        says(
            &text(&admin, "/"),
            &["… and 90 more of the refusals.", "9\u{a0}744 more, of vendors that came late"],
        );
        says(&text(&admin, "/ui/routes"), &["… and 400 more of the routes."]);
        says(&text(&admin, "/ui/refusals"), &["… and 156 more of the vendors."]);
        says(
            &text(&admin, "/ui/configuration"),
            &["… and 400 more of the rows", "… and 400 more of the upstreams."],
        );
    }

    #[tokio::test]
    async fn every_code_and_step_is_explained() {
        use crate::enforce::rejection::Code;
        use crate::enforce::trail::Step;
        let advice: std::collections::BTreeSet<_> =
            Code::ALL.iter().map(|it| words::to_do(*it)).collect();
        assert!(advice.len() > Code::ALL.len() / 2, "{advice:?}");
        for step in Step::ALL {
            assert_ne!(words::step(step.label()), step.label());
        }
    }

    #[tokio::test]
    async fn a_refusal_is_explained_by_its_trace() {
        let admin = admin(vec![]);
        admin.recorder.refusals.note_of("310000205");
        let trace = admin.recorder.refusals.last()[0].trace_id.clone().into_owned();
        let told = text(&admin, &format!("/ui/refusals/{trace}"));
        says(
            &told,
            &[
                "no_right",
                "Nothing delegated gives it.",
                "The customer has not delegated the right",
                "refused here",
                "The system user does not hold the right",
                "310000205",
                "HTTP 403",
            ],
        );
        let other = page(&admin, "/ui/refusals/00000000000000000000000000000000", None).unwrap();
        assert_eq!(other.status, StatusCode::NOT_FOUND);
        assert!(page(&admin, "/ui/nowhere", None).is_none());
    }

    #[tokio::test]
    async fn a_page_is_read_anew_only_where_one_asked_for_that() {
        let admin = admin(vec![]);
        for (query, refresh) in
            [(None, false), (Some("refresh"), true), (Some("refresh=0;url=//evil"), false)]
        {
            assert_eq!(page(&admin, "/", query).unwrap().refresh, refresh, "{query:?}");
        }
    }
}
