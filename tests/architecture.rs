//! The layers, checked over the paths that the source names: D, the domain, knows nobody; P, the pipeline,
//! knows D; E, an edge, knows P and D, and another edge only where a line below says why; W, the wiring,
//! knows all. Unit tests may reach further: they are left out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::float_cmp,
    reason = "a test that cannot go on fails, and counts are whole"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Layer {
    Domain,
    Pipeline,
    Edge,
    Wiring,
}

use Layer::{Domain, Edge, Pipeline, Wiring};

/// Every part of the program; the longest name that fits a module counts.
const PARTS: [(&str, Layer); 29] = [
    ("domain", Domain),
    ("clock", Pipeline),
    ("config", Pipeline),
    ("enforce", Pipeline),
    ("families", Pipeline),
    ("register", Pipeline),
    ("sync", Pipeline),
    ("trace", Pipeline),
    ("altinn", Edge),
    ("deadlines", Edge),
    ("forward", Edge),
    ("maskinporten", Edge),
    ("paced", Edge),
    ("record", Edge),
    ("serve", Edge),
    ("store", Edge),
    ("stream", Edge),
    ("telemetry", Edge),
    ("tls", Edge),
    // The file as written, and the way from it to `config`.
    ("config::error", Wiring),
    ("config::raw", Wiring),
    ("config::resolve", Wiring),
    ("config::shape", Wiring),
    ("config::source", Wiring),
    ("config::summary", Wiring),
    ("config::yaml", Wiring),
    ("app", Wiring),
    ("cli", Wiring),
    // Nothing but the list of modules, and the call of `cli`.
    ("main", Wiring),
];

/// Arrows that the rule alone would refuse, each with its reason.
const ALLOWED: [(&str, &str, &str); 25] = [
    ("altinn", "maskinporten::flight", "one fetch at a time is needed for both tokens of ours"),
    ("altinn", "maskinporten::grant", "a token of Altinn is exchanged for one of Maskinporten"),
    ("altinn", "maskinporten::http", "one bounded HTTP client for both outside systems"),
    ("forward", "deadlines", "an upstream that does not answer is given up"),
    ("serve", "deadlines", "a head that does not come is given up"),
    ("forward", "paced", "an upstream that takes nothing is given up"),
    ("serve", "paced", "a client that takes nothing is given up"),
    ("forward", "stream", "an upstream is reached in several ways"),
    ("stream", "paced", "whether the other side takes anything is seen below TLS"),
    ("serve", "stream", "clients come in several ways"),
    ("forward", "tls", "certificates of upstreams are verified"),
    ("serve", "tls", "certificates are shown to clients"),
    ("tls", "telemetry::metrics", "counts changed certificates, and tells when they end"),
    ("serve", "forward", "a mode takes a request from enforce to forward"),
    ("serve", "record", "a mode opens the record before anything is judged"),
    (
        "record",
        "forward::body",
        "how far a body came is seen by who carries it; told by the record",
    ),
    ("telemetry", "maskinporten::http", "one bounded HTTP client for every outside system"),
    ("telemetry", "maskinporten::flight", "a log line once a minute is allowed as elsewhere"),
    ("store", "record::audit", "a file set aside is named by the time of day, written one way"),
    ("altinn", "telemetry::metrics", "counts its calls"),
    ("forward", "telemetry::metrics", "counts answers of upstreams"),
    ("maskinporten", "telemetry::metrics", "counts its fetches"),
    ("record", "telemetry::metrics", "counts every request"),
    ("serve", "telemetry::metrics", "counts connections, and prints all of them"),
    // Re-exported, so that a caller of `Config::read` can name what it gives back.
    ("config", "config::error", "what is wrong with a file is part of reading it"),
];

/// What the domain has no business with.
const OUTSIDE: [&str; 9] = [
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "std::io",
    "std::time::SystemTime",
    "std::time::Instant",
    "tokio",
];

/// What the pipeline reaches through ports only: values of addresses are no sockets.
const SOCKETS: [&str; 9] = [
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "tokio::net",
    "hyper",
    "reqwest",
];

/// A source file without comments, texts and unit tests, and the module that it is.
struct Source {
    file: PathBuf,
    module: Vec<String>,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let read = |file: PathBuf| {
        let name = file.strip_prefix(&root).expect("below src").with_extension("");
        let module: Vec<String> =
            name.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let code = code_of(&fs::read_to_string(&file).expect("readable"));
        Source { file, module, code }
    };
    let mut sources: Vec<Source> = files.into_iter().map(read).collect();
    // Compiled for unit tests only.
    sources.retain(|source| {
        source.module.last().is_none_or(|name| name != "test_support" && name != "stub")
    });
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Unit tests, comments and texts name whom they like.
fn code_of(text: &str) -> String {
    let mut text = text.to_owned();
    for tests in ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(crate) mod tests {"] {
        if let Some((code, rest)) = text.split_once(tests) {
            // The module ends at the first brace that is not indented.
            text = format!("{code}{}", rest.split_once("\n}").map_or("", |(_, after)| after));
        }
    }
    let plain = |line: &str| {
        let line = line.split("//").next().unwrap_or_default();
        let outside_texts: Vec<&str> = line.split('"').step_by(2).collect();
        outside_texts.join("\"\"")
    };
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// Every path of our own that the code names, from the crate's root, with groups written out.
fn named(source: &Source) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let starts = |word: &str| {
        let places = source.code.match_indices(word).map(|(place, _)| place);
        let own = |place: &usize| {
            let before = source.code[..*place].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
        };
        places.filter(own).map(|place| &source.code[place..]).collect::<Vec<_>>()
    };
    for rest in starts("crate::") {
        expand(&[], &rest["crate::".len()..], &mut found);
    }
    for mut rest in starts("super::") {
        let mut base = source.module.clone();
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        expand(&base, rest, &mut found);
    }
    for child in starts("mod ").into_iter().filter_map(|rest| rest["mod ".len()..].split_once(';'))
    {
        for rest in starts(&format!("{}::", child.0)) {
            expand(&source.module, rest, &mut found);
        }
    }
    found
}

/// The paths that begin at `text`: `a::b`, or `{a, b::c}`.
fn expand(base: &[String], text: &str, found: &mut BTreeSet<String>) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let mut depth = 0;
        let mut begin = true;
        for (place, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => return,
                '}' => depth -= 1,
                ',' if depth == 0 => begin = true,
                c if begin && !c.is_whitespace() => {
                    begin = false;
                    expand(base, &group[place..], found);
                }
                _ => {}
            }
        }
        return;
    }
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut path = base.to_vec();
    path.push(word.clone());
    match text[word.len()..].strip_prefix("::") {
        Some(rest) => expand(&path, rest, found),
        None => drop(found.insert(path.join("::"))),
    }
}

fn is_within(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn part(path: &str) -> Option<(&'static str, Layer)> {
    let within = PARTS.into_iter().filter(|(name, _)| is_within(path, name));
    within.max_by_key(|(name, _)| name.len())
}

#[test]
fn arrows_point_from_wiring_to_edge_to_pipeline_to_domain() {
    let (mut offenders, mut used) = (Vec::new(), BTreeSet::new());
    for source in sources() {
        let module = source.module.join("::");
        if module == "lib" {
            continue;
        }
        let file = source.file.display();
        let Some((from, layer)) = part(&module) else {
            offenders.push(format!("{file}: give `{module}` a place in PARTS"));
            continue;
        };
        for path in named(&source) {
            let Some((to, below)) = part(&path) else {
                offenders.push(format!("{file}: `{path}` has no place in PARTS"));
                continue;
            };
            let down = below < layer || (layer == Wiring && below == Wiring);
            if from == to || down || (layer == below && layer != Edge) {
                continue;
            }
            match ALLOWED.iter().find(|(one, other, _)| *one == from && is_within(&path, other)) {
                Some(arrow) => drop(used.insert(arrow)),
                None => offenders.push(format!(
                    "{file}: `{from}` ({layer:?}) names `{path}` of `{to}` ({below:?})"
                )),
            }
        }
    }
    assert!(offenders.is_empty(), "\n{}", offenders.join("\n"));
    let unused: Vec<_> = ALLOWED.iter().filter(|arrow| !used.contains(arrow)).collect();
    assert!(unused.is_empty(), "arrows that nobody needs any more: {unused:?}");
}

#[test]
fn the_domain_is_pure_and_the_pipeline_opens_nothing() {
    let mut offenders = Vec::new();
    for source in sources() {
        let (forbidden, why) = match part(&source.module.join("::")) {
            Some((_, Domain)) => (&OUTSIDE[..], "the domain is pure"),
            Some(("enforce" | "config", Pipeline)) => (&SOCKETS[..], "the pipeline uses ports"),
            _ => continue,
        };
        // A type of the crate `url`, which the configuration holds; no client.
        let paths = foreign(&source.code).into_iter().filter(|path| path != "reqwest::Url");
        for path in paths {
            if let Some(name) = forbidden.iter().find(|name| path.starts_with(**name)) {
                offenders.push(format!("{}: `{path}` ({name}): {why}", source.file.display()));
            }
        }
    }
    assert!(offenders.is_empty(), "\n{}", offenders.join("\n"));
}

/// Every path that is not our own, with groups of `use` lines written out.
fn foreign(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut before = ' ';
    for (place, c) in code.char_indices() {
        let begins = c.is_alphabetic() && !before.is_alphanumeric() && !matches!(before, '_' | ':');
        if begins {
            expand(&[], &code[place..], &mut found);
        }
        before = c;
    }
    found
}

#[test]
fn the_sandbox_is_for_tests_only() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("readable");
    let mut section = "";
    let mut places = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        if line.contains("portvakt-sandbox") || line.contains("path = \"sandbox\"") {
            places.push(section);
        }
    }
    assert_eq!(places, ["[dev-dependencies]"]);
    // Nor does it know us: what it says of Maskinporten and Altinn is its own reading of the contract.
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("sandbox/Cargo.toml");
    let theirs = fs::read_to_string(theirs).expect("readable");
    let ours = |line: &&str| {
        line.trim_start().starts_with("portvakt ") || line.trim_start().starts_with("portvakt=")
    };
    assert_eq!(theirs.lines().find(ours), None);
    for source in sources() {
        assert!(!source.code.contains("portvakt_sandbox"), "{}", source.file.display());
    }
}

#[test]
fn a_path_is_read_out_of_groups_and_parents() {
    let source = |module: &str, code: &str| Source {
        file: PathBuf::new(),
        module: module.split("::").map(str::to_owned).collect(),
        code: code_of(code),
    };
    let list = |module: &str, code: &str| {
        named(&source(module, code)).into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list("a::b", "use crate::{c, d::{e, f::g}};"), "c d::e d::f::g");
    assert_eq!(list("a::b", "use super::c; fn x() { super::super::d::y() }"), "a::c d::y");
    assert_eq!(list("a", "mod b;\npub use b::c;"), "a::b::c");
    assert_eq!(list("a", "// crate::b\nlet x = \"crate::c\"; y::crate::z"), "");
    assert_eq!(
        list("a", "use crate::b;\n#[cfg(test)]\nmod tests {\n    use crate::c;\n}\nuse crate::d;"),
        "b d"
    );
    assert!(foreign("use std::net::{IpAddr, TcpStream};").contains("std::net::TcpStream"));
}
