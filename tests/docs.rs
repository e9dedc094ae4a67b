//! The documents name what the program has: every problem code, reason, audit field and
//! configuration key; and every link in them leads somewhere.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails by panicking")]

use portvakt::config::source;
use portvakt::enforce::rejection::Code;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const OPERATOR: &str = include_str!("../docs/operator.md");
const VENDOR: &str = include_str!("../docs/vendor.md");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");

#[track_caller]
fn all_named<'n>(document: &str, names: impl IntoIterator<Item = &'n str>, least: usize) {
    let names: Vec<&str> = names.into_iter().collect();
    assert!(names.len() >= least, "only {} names were found to look for", names.len());
    let absent: Vec<&&str> =
        names.iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(absent.is_empty(), "not in the document: {absent:#?}");
}

#[test]
fn every_audit_field_is_in_the_operators_document() {
    let source = include_str!("../src/record/line.rs");
    let line = source.split("struct Line<'a> {").nth(1).and_then(|rest| rest.split("\n}").next());
    let fields = line.unwrap_or_default().lines().filter_map(|line| {
        let (name, _) = line.trim().strip_prefix("pub(super) ")?.split_once(": ")?;
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(name)
    });
    all_named(OPERATOR, fields, 20);
}

/// A line of the log, as the code writes it.
#[derive(Debug)]
struct Line {
    message: String,
    fields: Vec<String>,
}

/// Every line of a file that is not for tests or debugging.
fn log_lines(source: &str) -> Vec<Line> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let calls = code.split("tracing::").skip(1).filter_map(|rest| {
        ["error!(", "warn!(", "info!("].iter().find_map(|name| rest.strip_prefix(name))
    });
    calls.map(|rest| line_of(&arguments(rest))).collect()
}

/// The arguments of a call whose parenthesis is open.
fn arguments(rest: &str) -> Vec<String> {
    let (mut found, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0, false, false);
    for letter in rest.chars() {
        match letter {
            '"' if !escaped => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => break,
            ')' | '}' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        found.last_mut().expect("one at least").push(letter);
    }
    found.iter().map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect()
}

fn line_of(arguments: &[String]) -> Line {
    let (messages, fields): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|argument| argument.starts_with('"'));
    let message = messages.first().map_or("", |it| it.trim_matches('"')).replace("\\\n", "");
    let name = |field: &&String| {
        let name = field.split('=').next().unwrap_or_default();
        name.trim().trim_start_matches(['%', '?']).to_owned()
    };
    Line {
        message: message.split_whitespace().collect::<Vec<_>>().join(" "),
        fields: fields.iter().map(name).collect(),
    }
}

/// Every Rust file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).expect("a folder").map(|it| it.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut found: Vec<PathBuf> =
        files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "rs")).collect();
    found.extend(folders.iter().flat_map(|folder| sources(folder)));
    found
}

#[test]
fn every_log_line_is_in_the_operators_document_with_its_fields() {
    let table = OPERATOR.split("\n## Log\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows: Vec<&str> =
        table.expect("a section").lines().filter(|it| it.starts_with("| ")).collect();
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let lines: Vec<Line> = files
        .iter()
        .flat_map(|file| log_lines(&std::fs::read_to_string(file).expect("a file")))
        // What is made of other texts is told where those are.
        .filter(|line| !line.message.starts_with('{'))
        .collect();
    assert!(lines.len() > 50, "only {} lines were found", lines.len());
    let told = |line: &Line| {
        rows.iter().any(|row| {
            let cell = row.trim_start_matches("| ").replace('`', "");
            let named = |field: &String| row.contains(&format!("`{field}`"));
            cell.starts_with(&line.message.replace('`', "")) && line.fields.iter().all(named)
        })
    };
    let absent: Vec<&Line> = lines.iter().filter(|line| !told(line)).collect();
    assert!(absent.is_empty(), "not in the document, or without their fields: {absent:#?}");
}

#[test]
fn every_problem_code_is_in_the_vendors_and_the_operators_document() {
    all_named(VENDOR, Code::ALL.map(Code::label), 20);
    all_named(OPERATOR, Code::ALL.map(Code::label), 20);
}

#[test]
fn every_reason_is_in_the_vendors_document() {
    let rejection = include_str!("../src/enforce/rejection.rs");
    let labels = [
        literals_of(include_str!("../src/enforce/authenticate.rs"), "impl TokenError"),
        literals_of(include_str!("../src/enforce/party.rs"), "impl PartyError"),
        literals_of(include_str!("../src/domain/decision.rs"), "impl Cause"),
        literals_of(rejection, "impl Malformed"),
        literals_of(rejection, "impl UpstreamFailure"),
    ];
    for labels in labels {
        all_named(VENDOR, labels, 4);
    }
}

#[test]
fn every_reason_is_on_the_page_of_its_problem_in_both_languages() {
    let rejection = include_str!("../src/enforce/rejection.rs");
    let lapse = include_str!("../src/enforce/vigil.rs").split("pub enum Lapse").nth(1);
    let cases = [
        (
            literals_of(include_str!("../src/enforce/authenticate.rs"), "impl TokenError"),
            "token_invalid",
        ),
        (literals_of(include_str!("../src/enforce/party.rs"), "impl PartyError"), "party_invalid"),
        (literals_of(rejection, "impl Malformed"), "bad_request"),
        (
            literals_of(include_str!("../src/domain/decision.rs"), "impl Cause"),
            "cannot_decide token_unverified",
        ),
        (
            literals_of(rejection, "impl UpstreamFailure"),
            "upstream_unavailable upstream_left_out upstream_timeout upstream_bad_answer",
        ),
        (literals_of(lapse.expect("the lapses"), "impl Lapse"), "lapsed"),
        (vec!["policy", "level", "unreadable_level", "unknown_obligation"], "denied"),
        (vec!["consumer", "system_user"], "too_many_requests"),
        (vec!["header_bytes", "header_count"], "headers_too_large"),
        (vec!["audit"], "overloaded"),
    ];
    for (labels, codes) in cases {
        for ending in ["md", "nb.md"] {
            let pages: String = codes
                .split(' ')
                .map(|code| format!("docs/vendor/problems/{code}.{ending}"))
                .map(|path| std::fs::read_to_string(path).expect("a page"))
                .collect();
            // In the text, or in the answer that it shows.
            let said = pages.replace("\"reason\": \"", "`").replace('"', "`");
            all_named(&said, labels.iter().copied(), 1);
        }
    }
}

/// The text literals of one block, which ends with a brace at the beginning of a line.
fn literals_of<'s>(source: &'s str, block: &str) -> Vec<&'s str> {
    let block =
        source.split(&format!("{block} {{")).nth(1).and_then(|rest| rest.split("\n}").next());
    block.unwrap_or_default().split('"').skip(1).step_by(2).collect()
}

#[test]
fn every_key_is_in_the_configurations_document() {
    let schema = source::schema();
    let mut keys = BTreeSet::new();
    collect(&schema, &schema, "", &mut keys);
    all_named(CONFIGURATION, keys.iter().map(String::as_str), 80);
}

/// Collects dotted keys, such as `routes[].match.path`. What `upstreams` holds by name has the keys of
/// `upstream`.
fn collect(schema: &Value, at: &Value, path: &str, keys: &mut BTreeSet<String>) {
    if let Some(name) = at["$ref"].as_str() {
        let target = schema.pointer(name.trim_start_matches('#')).expect("a definition");
        return collect(schema, target, path, keys);
    }
    if at["items"].is_object() {
        collect(schema, &at["items"], &format!("{path}[]"), keys);
    }
    for (name, value) in at["properties"].as_object().into_iter().flatten() {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(schema, value, &key, keys);
        keys.insert(key);
    }
}

/// Every document of the tree.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<PathBuf> =
        ["README.md", "CHANGELOG.md", "sandbox/README.md"].map(|name| root.join(name)).to_vec();
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of documents") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// What stands outside blocks of code.
fn prose(document: &str) -> String {
    document.split("```").step_by(2).collect()
}

/// The names by which headings are linked to, as they are made where the documents are read.
fn anchors(document: &str) -> BTreeSet<String> {
    let text = prose(document);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|line| line.chars().filter(kept).map(|it| if it == ' ' { '-' } else { it }).collect())
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut links = 0;
    let mut broken = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document");
        for rest in prose(&text).split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let folder = document.parent().expect("a folder");
            let file = if path.is_empty() { document.clone() } else { folder.join(path) };
            let there = match std::fs::read_to_string(&file) {
                Ok(text) => heading.is_empty() || anchors(&text).contains(heading),
                Err(_) => file.is_dir() && heading.is_empty(),
            };
            if !there {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(links > 50, "only {links} links were found");
    assert!(broken.is_empty(), "{broken:#?}");
}
