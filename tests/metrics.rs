//! `docs/metrics.md` is what the program declares and its catalogue says, and the catalogue knows every value
//! that a label can have. `UPDATE=1 cargo test --test metrics` writes the document anew.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails by panicking")]

use portvakt::enforce::rejection::Code;
use portvakt::families::Declared;
use portvakt::families::catalogue::{self, Family, GROUPS, Label, Values};
use portvakt::telemetry::metrics::Metrics;
use std::collections::BTreeSet;
use std::fmt::Write;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

const HEAD: &str = "\
# Metrics

Every family at `/metrics` of the [admin listener](operator.md#admin-listener), in the text format of Prometheus. Label values come from enums and the
configuration, never from a request: no series for a vendor, a party or a token. Counters whose values are all listed
begin at 0; a family with a label that the configuration fills appears with its first event, but for what alerts look at.

Rules and a dashboard over them are in `helm/portvakt/files`; what to do about an alert is in the [runbook](runbook.md).

<!-- Written by the program: change src/families/catalogue.rs, then UPDATE=1 cargo test --test metrics. -->
";

fn declared() -> Vec<Declared> {
    Metrics::new().expect("families").declared().to_vec()
}

fn render(declared: &[Declared]) -> String {
    let mut text = HEAD.to_owned();
    for (heading, families) in GROUPS {
        write!(text, "\n## {heading}\n").expect("text");
        for family in *families {
            let Some(declared) = declared.iter().find(|it| it.name == family.name) else {
                continue;
            };
            let more = if family.more.is_empty() { "" } else { " " };
            let (kind, help) = (declared.kind, &declared.help);
            write!(
                text,
                "\n### {}\n\n*{kind}, {}.* {help}{more}{}\n\n",
                family.name, family.unit, family.more
            )
            .expect("text");
            for label in family.labels {
                writeln!(text, "- `{}`: {}", label.name, values(*label)).expect("text");
            }
            if !family.labels.is_empty() {
                text.push('\n');
            }
            writeln!(text, "What to do: {}", family.act).expect("text");
        }
    }
    text
}

fn values(label: Label) -> String {
    match label.values {
        Values::Configured(words) => words.to_owned(),
        Values::Listed(values) => {
            let told = values.iter().map(|(value, meaning)| match *meaning {
                "" => format!("`{value}`"),
                meaning => format!("`{value}` ({meaning})"),
            });
            told.collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads its own environment")]
fn the_document_is_what_the_program_declares() {
    let text = render(&declared());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &text).expect("written");
    }
    let found = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(found == text, "docs/metrics.md is out of date: UPDATE=1 cargo test --test metrics");
}

#[test]
fn the_catalogue_has_every_family_once_with_its_labels() {
    let mut described: Vec<(&str, Vec<&str>)> = GROUPS
        .iter()
        .flat_map(|(_, families)| *families)
        .map(|family| (family.name, family.labels.iter().map(|label| label.name).collect()))
        .collect();
    described.sort();
    let declared = declared();
    let mut expected: Vec<(&str, Vec<&str>)> = declared
        .iter()
        .map(|it| (it.name.as_str(), it.labels.iter().map(String::as_str).collect()))
        .collect();
    expected.sort();
    assert_eq!(described, expected);
}

#[test]
fn names_end_in_what_they_count_and_texts_are_sentences() {
    for it in declared() {
        let family = catalogue::find(&it.name).expect("in the catalogue");
        assert_eq!(it.name.ends_with("_total"), it.kind == "counter", "{}", it.name);
        let measured = it.name.trim_end_matches("_total");
        for (unit, suffix) in
            [("seconds", "_seconds"), ("seconds since 1970", "_seconds"), ("bytes", "_bytes")]
        {
            assert!(family.unit != unit || measured.ends_with(suffix), "{}", it.name);
        }
        assert!(!measured.ends_with("_seconds") || family.unit.starts_with("seconds"));
        for text in [it.help.as_str(), family.act] {
            assert!(text.ends_with('.'), "{}: {text}", it.name);
        }
    }
}

/// The values that the catalogue lists.
fn listed(name: &str, label: &str) -> BTreeSet<&'static str> {
    let family: &Family = catalogue::find(name).expect("in the catalogue");
    let label = family.labels.iter().find(|it| it.name == label).expect("a label");
    match label.values {
        Values::Listed(values) => values.iter().map(|(value, _)| *value).collect(),
        Values::Configured(_) => BTreeSet::new(),
    }
}

/// The text literals in the `label` of one block of a source file.
fn labels_of<'s>(source: &'s str, block: &str) -> BTreeSet<&'s str> {
    let block = source.split(&format!("{block} {{")).nth(1).and_then(|it| it.split("\n}").next());
    let label =
        block.and_then(|it| it.split("fn label(").nth(1)).and_then(|it| it.split("\n    }").next());
    label.unwrap_or_default().split('"').skip(1).step_by(2).collect()
}

#[test]
fn the_catalogue_lists_what_the_enums_can_say() {
    let answers = labels_of(include_str!("../src/domain/decision.rs"), "impl Answer");
    assert_eq!(listed("portvakt_requests_total", "answer"), answers);
    let codes: BTreeSet<_> = Code::ALL.map(Code::label).into_iter().chain(["none"]).collect();
    assert_eq!(listed("portvakt_requests_total", "code"), codes);
    let read = [
        (
            "portvakt_tokens_refused_total",
            "reason",
            include_str!("../src/enforce/authenticate.rs"),
            "impl TokenError",
        ),
        (
            "portvakt_upstream_failures_total",
            "kind",
            include_str!("../src/enforce/rejection.rs"),
            "impl UpstreamFailure",
        ),
        (
            "portvakt_not_derived_total",
            "reason",
            include_str!("../src/register.rs"),
            "impl NotDerived",
        ),
        ("portvakt_step_seconds", "step", include_str!("../src/enforce/trail.rs"), "impl Step"),
        (
            "portvakt_suspicious_no_total",
            "second",
            include_str!("../src/enforce/confirmations.rs"),
            "impl SecondAsking",
        ),
        (
            "portvakt_key_set_ignored_total",
            "reason",
            include_str!("../src/maskinporten/key_set.rs"),
            "impl IgnoredKey",
        ),
        (
            "portvakt_key_set_fetches_total",
            "trigger",
            include_str!("../src/maskinporten/jwks.rs"),
            "impl Trigger",
        ),
        (
            "portvakt_register_samples_total",
            "outcome",
            include_str!("../src/sync/drift.rs"),
            "impl Outcome",
        ),
        (
            "portvakt_register_policies",
            "state",
            include_str!("../src/sync/mirror.rs"),
            "impl State",
        ),
        (
            "portvakt_altinn_calls_total",
            "endpoint",
            include_str!("../src/altinn.rs"),
            "impl Endpoint",
        ),
    ];
    for (name, label, source, block) in read {
        let found = labels_of(source, block);
        assert!(found.len() > 2, "{block} is not found");
        assert_eq!(listed(name, label), found, "{name}");
    }
}
