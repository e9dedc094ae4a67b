//! How servers behind a proxy may read a request target: as it is, decoded once, normalised as browsers do,
//! or laxly; each with the several ways of reading a query. Where two of them tell different routes or
//! parties of one target, a proxy that lets it through judges another request than is served.

use serde_json::Value;

/// A route as a server behind us has it.
pub(crate) struct Template {
    id: String,
    methods: Vec<String>,
    segments: Vec<String>,
    /// The path variable and the query parameter that name the party.
    variable: Option<String>,
    parameter: Option<String>,
}

/// What a server makes of a target: its route, and the party in path and in query.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Reading {
    pub(crate) route: Option<String>,
    pub(crate) path_party: Option<String>,
    pub(crate) query_party: Option<String>,
}

/// A path is of a route.
struct Matched {
    party: Option<String>,
}

impl Template {
    pub(crate) fn new(
        id: &str,
        methods: &[String],
        path: &str,
        variable: Option<&str>,
        parameter: Option<&str>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            methods: methods.to_vec(),
            segments: path.split('/').map(str::to_owned).collect(),
            variable: variable.map(str::to_owned),
            parameter: parameter.map(str::to_owned),
        }
    }

    /// A route of a world file.
    pub(crate) fn of_world(route: &Value) -> Self {
        let text = |name: &str| route[name].as_str().unwrap_or_default();
        let methods: Vec<String> = route["methods"].as_array().map_or_else(Vec::new, |list| {
            list.iter().filter_map(|method| method.as_str().map(str::to_owned)).collect()
        });
        let from = |kind: &str| {
            let rest = text("party_from").strip_prefix(kind)?;
            Some(if rest.is_empty() { "party" } else { rest.strip_prefix(':')? })
        };
        Self::new(text("id"), &methods, text("path"), from("path"), from("query"))
    }

    /// Where the path is of this route, the party variable's text in it.
    fn matches(&self, path: &[&str], lax: bool) -> Option<Matched> {
        let same = |ours: &str, theirs: &str| {
            if lax { ours.eq_ignore_ascii_case(theirs) } else { ours == theirs }
        };
        let mut party = None;
        for (index, segment) in self.segments.iter().enumerate() {
            if segment == "*" {
                return (index < path.len()).then_some(Matched { party });
            }
            let theirs = path.get(index)?;
            match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) if self.variable.as_deref() == Some(name) => {
                    party = Some((*theirs).to_owned());
                }
                Some(_) if theirs.is_empty() => return None,
                Some(_) => {}
                None if same(segment, theirs) => {}
                None => return None,
            }
        }
        (path.len() == self.segments.len()).then_some(Matched { party })
    }
}

/// Every reading of a target, each once, with a word on the server that reads so.
pub(crate) fn readings(
    templates: &[Template],
    method: &str,
    target: &str,
) -> Vec<(String, Reading)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut found: Vec<(String, Reading)> = Vec::new();
    for (how, path, lax) in paths(path) {
        let segments: Vec<&str> = path.split('/').collect();
        // Fixed text goes before a variable, and both before the rest of a path.
        let mut of_method: Vec<&Template> =
            templates.iter().filter(|one| serves(one, method)).collect();
        of_method.sort_by_key(|one| {
            let openness = |segment: &String| (segment == "*", segment.starts_with('{'));
            one.segments.iter().map(openness).collect::<Vec<_>>()
        });
        let matched =
            of_method.into_iter().find_map(|one| Some((one, one.matches(&segments, lax)?)));
        let Some((template, Matched { party: path_party })) = matched else {
            add(&mut found, how, Reading::default());
            continue;
        };
        let wanted = template.parameter.as_deref().or(template.variable.as_deref());
        for (of_query, query_party) in parameters(query, wanted) {
            let route = Some(template.id.clone());
            let reading = Reading { route, path_party: path_party.clone(), query_party };
            add(&mut found, &format!("{how}, {of_query}"), reading);
        }
    }
    found
}

fn add(found: &mut Vec<(String, Reading)>, how: &str, reading: Reading) {
    if !found.iter().any(|(_, other)| *other == reading) {
        found.push((how.to_owned(), reading));
    }
}

fn serves(template: &Template, method: &str) -> bool {
    let named = |method: &str| template.methods.iter().any(|own| own == method);
    named(method) || (method == "HEAD" && named("GET"))
}

/// The path as each kind of server has it before it looks for a route.
fn paths(path: &str) -> Vec<(&'static str, String, bool)> {
    let decoded = decode(path, false);
    let trimmed = decoded.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(&decoded);
    vec![
        ("as it is", path.to_owned(), false),
        ("decoded once", decoded.clone(), false),
        ("as browsers normalise it", browser(path), false),
        ("decoded and normalised", dots_removed(&decoded.replace('\\', "/")), false),
        ("normalised and decoded", decode(&browser(path), false), false),
        ("cut at semicolons", without_parameters(path), false),
        ("slashes folded", slashes_folded(&decoded), false),
        ("laxly", trimmed.to_owned(), true),
    ]
}

/// WHATWG URL, path state: `\` is `/`, dots also encoded, tabs and line breaks are dropped.
fn browser(path: &str) -> String {
    let kept: String = path.chars().filter(|one| !matches!(one, '\t' | '\r' | '\n')).collect();
    dots_removed(&kept.replace('\\', "/"))
}

fn dots_removed(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        let last = segments.peek().is_none();
        match plain.as_str() {
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            "." if last => kept.push(""),
            "." => {}
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

fn without_parameters(path: &str) -> String {
    let segments: Vec<&str> =
        path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    dots_removed(&segments.join("/"))
}

fn slashes_folded(path: &str) -> String {
    let kept: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

/// What may be taken for the value of the parameter `wanted`, by each kind of reader of queries.
fn parameters(query: &str, wanted: Option<&str>) -> Vec<(&'static str, Option<String>)> {
    let Some(wanted) = wanted else { return vec![("no query", None)] };
    let pairs = |separators: &[char], plus: bool, is_wanted: &dyn Fn(&str) -> bool| {
        let split = query.split(separators).map(|pair| {
            let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(own, plus), decode(value, plus))
        });
        split.filter(|(own, _)| is_wanted(own)).map(|(_, value)| value).collect::<Vec<String>>()
    };
    let exact = |name: &str| name == wanted;
    let lower = |name: &str| name.eq_ignore_ascii_case(wanted);
    let listed = |name: &str| name.split('[').next() == Some(wanted);
    let plain = pairs(&['&'], true, &exact);
    let raw: Vec<String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| *name == wanted)
        .map(|(_, value)| value.to_owned())
        .collect();
    vec![
        ("the first of the name", plain.first().cloned()),
        ("the last of the name", plain.last().cloned()),
        ("all of the name", (!plain.is_empty()).then(|| plain.join(","))),
        ("nothing decoded", raw.last().cloned()),
        ("split at semicolons", pairs(&['&', ';'], true, &exact).pop()),
        ("names in any case", pairs(&['&'], true, &lower).pop()),
        ("brackets cut off", pairs(&['&'], true, &listed).pop()),
        ("plus as it is", pairs(&['&'], false, &exact).pop()),
    ]
}

/// Decodes percent sequences once; a bad one stays as it is.
fn decode(text: &str, plus: bool) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |byte: &u8| char::from(*byte).to_digit(16).and_then(|one| u8::try_from(one).ok());
        match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                bytes.push(hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0));
                rest = after;
                continue;
            }
            (b'+', _) if plus => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
