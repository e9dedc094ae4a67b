//! The list of endpoints in `docs/sandbox-endpoints.md`, held to what the sandbox answers and to the public contract.

use crate::lab::{Lab, Reply};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const LIST: &str = include_str!("../../../docs/sandbox-endpoints.md");
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

/// What the list says of an endpoint.
#[derive(Debug, Eq, PartialEq)]
enum Here {
    /// Simulated, or closed: the status without token and body.
    Answers(u16),
    NotSimulated,
}

struct Endpoint {
    method: &'static str,
    path: &'static str,
    here: Here,
}

fn listed() -> Vec<Endpoint> {
    let rows =
        LIST.lines().filter(|line| METHODS.iter().any(|it| line.starts_with(&format!("| {it} |"))));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [method, path, here] = cells[..] else { panic!("{row}") };
        let here = match here.split_once(' ') {
            None if here == "501" => Here::NotSimulated,
            Some(("yes" | "closed", status)) => Here::Answers(status.parse().unwrap()),
            _ => panic!("{row}"),
        };
        Endpoint { method, path: path.trim_matches('`'), here }
    })
    .collect()
}

/// The path with values of the built-in world in its places.
fn filled(path: &str) -> String {
    [
        ("{provider}", "maskinporten"),
        ("{urn}", "urn:altinn:accesspackage:merverdiavgift"),
        ("{resource}", "ske-mva-melding"),
        ("{owner}", "skd"),
        ("{list}", "bryggerier"),
        ("{system}", "310000205_nordlys"),
        ("{party}", "51000507"),
        ("{orgno}", "310000507"),
        ("{reference}", "310000507"),
        ("{id}", "5e000000-0000-4000-8000-000000000001"),
        ("{uuid}", "a0000000-0000-4000-8000-000310000507"),
    ]
    .iter()
    .fold(path.to_owned(), |path, (place, value)| path.replace(place, value))
}

/// A problem that names the path.
fn says_not_simulated(reply: &Reply, path: &str) -> bool {
    let kind = reply.headers.get("content-type").map(String::as_str);
    if reply.status != 501 || kind != Some("application/problem+json; charset=utf-8") {
        return false;
    }
    let problem = reply.json();
    let detail = problem["detail"].as_str().unwrap_or_default();
    problem["title"] == "Not simulated" && problem["status"] == 501 && detail.contains(path)
}

#[tokio::test]
async fn every_endpoint_answers_as_the_list_says() {
    let lab = Lab::start().await;
    let listed = listed();
    assert!(listed.len() > 120, "{}", listed.len());
    let mut wrong = Vec::new();
    for Endpoint { method, path, here } in listed {
        let path = filled(path);
        assert!(!path.contains('{'), "{path} has a place that nothing fills");
        let reply = lab.send(method, &path, &[], "").await;
        let good = match here {
            Here::Answers(status) => reply.status == status,
            Here::NotSimulated => says_not_simulated(&reply, &path),
        };
        if !good {
            wrong.push(format!("{method} {path}: {} instead of {here:?}", reply.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What nobody thought of is not simulated either; what is no API is not there.
    assert_eq!(lab.get("/authentication/api/v1/what/is/this").await.status, 501);
    assert_eq!(lab.get("/storage/api/v1/instances").await.status, 404);
}

/// Method and path with every place alike, without query and a slash at the end.
fn alike(method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default().trim_matches('/');
    let segments = path.split('/').map(|it| if it.starts_with('{') { "{}" } else { it });
    format!("{method} /{}", segments.collect::<Vec<_>>().join("/"))
}

/// A folder beside the tree, as that of the conformance data; without it the test says aloud that it does nothing,
/// and in CI it fails.
#[expect(clippy::disallowed_methods, reason = "tests read their own environment")]
fn contract() -> Option<PathBuf> {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/contract");
    let folder = std::env::var_os("PORTVAKT_CONTRACT").map_or(usual, PathBuf::from);
    if folder.exists() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    let text = format!("SKIPPED: {} is missing; set PORTVAKT_CONTRACT\n", folder.display());
    std::io::stderr().write_all(text.as_bytes()).unwrap();
    None
}

/// The contract's tables of endpoints: document, heading, and what the paths in them lie below.
const TABLES: [(&str, &str, &str); 8] = [
    ("system-user.md", "## 2.", "authentication/api/v1/systemregister"),
    ("system-user.md", "## 4.", "authentication/api/v1/systemuser"),
    ("system-user.md", "### 5.2", "authentication/api/v1/systemuser/request"),
    ("system-user.md", "### 5.3", "authentication/api/v1/systemuser/request"),
    ("system-user.md", "## 8.", "authentication/api/v1/enduser/systemuser"),
    ("resource-registry.md", "## 1.", "resourceregistry/api/v1/resource"),
    ("resource-registry.md", "## 6.", "resourceregistry/api/v1/access-lists/{owner}"),
    ("authorization.md", "## 7.", METADATA),
];
const METADATA: &str = "accessmanagement/api/v1/meta";

/// The endpoints in the tables below a heading.
fn of_contract(text: &str, heading: &str, base: &str) -> BTreeSet<String> {
    let below = text.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    let rows = below.take_while(|line| !line.starts_with("##"));
    let cells = rows.filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let cells = cells.filter(|cell| cell.contains('`'));
    cells.flat_map(|cell| of_cell(cell, base)).collect()
}

/// The endpoints that one cell names: methods, then the path that they are for. The table of metadata is all reads.
fn of_cell(cell: &str, base: &str) -> Vec<String> {
    let mut methods = if base == METADATA { vec!["GET"] } else { Vec::new() };
    let mut found = Vec::new();
    for (at, piece) in cell.split('`').enumerate() {
        let named: Vec<&str> = METHODS.into_iter().filter(|it| piece.contains(it)).collect();
        if at % 2 == 1 {
            found.extend(methods.iter().flat_map(|method| of_path(method, piece, base)));
        } else if !named.is_empty() {
            methods = named;
        }
    }
    found
}

/// One endpoint, or several: `{id}/approve|reject`.
fn of_path(method: &str, path: &str, base: &str) -> Vec<String> {
    let path = match path.split('/').next() {
        _ if path.starts_with('/') => path.to_owned(),
        // Short for what stands first in the row.
        Some("group" | "area" | "package") => format!("{base}/info/accesspackages/{path}"),
        _ => format!("{base}/{path}"),
    };
    let (before, last) = path.rsplit_once('/').unwrap_or_default();
    let last = last.split('?').next().unwrap_or_default();
    last.split('|').map(|last| alike(method, &format!("{before}/{last}"))).collect()
}

#[test]
fn every_endpoint_of_the_contracts_tables_is_in_the_list() {
    let Some(folder) = contract() else { return };
    let listed: BTreeSet<String> = listed().iter().map(|it| alike(it.method, it.path)).collect();
    let mut missing = Vec::new();
    for (name, heading, base) in TABLES {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let found = of_contract(&text, heading, base);
        assert!(found.len() > 4, "{name} {heading}: {found:?}");
        missing.extend(found.into_iter().filter(|it| !listed.contains(it)));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
