//! YAML text to a tree in which every value knows its place.
//!
//! A tree rather than a stream, so that one wrong value does not hide the next one. Text is kept as
//! written: what is a number is decided by the key that asks for one.

use super::error::{Place, Sink};
use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// Most values in a file, with aliases written out: some thousand routes. A bomb is refused here.
const MAX_NODES: usize = 200_000;
/// Deepest nesting; the configuration itself needs six levels.
const MAX_DEPTH: usize = 32;

/// A value as written.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) line: usize,
    pub(super) column: usize,
    last_line: usize,
    /// How many values this is, with aliases written out.
    size: usize,
}

/// The kinds of value.
#[derive(Debug)]
pub(super) enum Kind {
    /// Nothing after the colon, `~` or `null`.
    Null,
    /// Text without quotes, which may also be read as a number or a truth value.
    Plain(String),
    /// Text in quotes or a block.
    Quoted(String),
    /// A sequence.
    List(Vec<Rc<Node>>),
    /// A mapping, each key once.
    Map(Vec<(Key, Rc<Node>)>),
}

/// A key as written.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Document {
    /// The value; `None` when the text is no YAML, which has been reported.
    pub(super) root: Option<Rc<Node>>,
    /// Lines that belong to keys which hold secrets, or may.
    pub(super) secret_lines: Vec<RangeInclusive<usize>>,
}

/// Reading cannot go on; the reason has been reported.
struct Stop;

struct Reader<'a> {
    parser: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
    sink: &'a Sink,
    anchors: HashMap<usize, Rc<Node>>,
    secret_lines: Vec<RangeInclusive<usize>>,
    nodes: usize,
}

/// Reads one YAML document; problems go to `sink`.
pub(super) fn parse(text: &str, sink: &Sink) -> Document {
    let mut options = Options::default();
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options.set_emit_comments(false);
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        sink,
        anchors: HashMap::new(),
        secret_lines: Vec::new(),
        nodes: 0,
    };
    let root = reader.document().ok();
    Document { root, secret_lines: reader.secret_lines }
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Rc<Node>, Stop> {
        let root = loop {
            match self.event()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::StreamEnd, span) => {
                    return Err(self.stop(span.start, "the file is empty", EMPTY_CURE));
                }
                (event, span) => break self.node(event, span, "", 0)?,
            }
        };
        loop {
            match self.event()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(..), span) => {
                    let cure = "keep one document in the file";
                    return Err(self.stop(span.start, "a second document begins here", cure));
                }
                _ => {}
            }
        }
    }

    /// `key` is the path of the value, for messages.
    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        key: &str,
        depth: usize,
    ) -> Result<Rc<Node>, Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > 2 * MAX_DEPTH {
            return Err(self.too_large(span.start));
        }
        let (kind, anchor, tagged) = match event {
            Event::Alias(id) => return self.alias(id, span.start),
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(text.into_owned(), style), anchor, tag.is_some())
            }
            Event::SequenceStart(_, anchor, tag) => (self.list(key, depth)?, anchor, tag.is_some()),
            Event::MappingStart(_, anchor, tag) => (self.map(key, depth)?, anchor, tag.is_some()),
            _ => return Err(self.stop(span.start, "this is no value", "write a value here")),
        };
        let (line, column) = position(span.start);
        let size = children(&kind).fold(1usize, |sum, child| sum.saturating_add(child.size));
        let last_line =
            children(&kind).map(|child| child.last_line).fold(span.end.line(), usize::max);
        let node = Rc::new(Node { kind, line, column, last_line, size });
        if tagged {
            let cure = "take the tag, the word that begins with `!`, away";
            self.sink.report(&node.place(key), "tags are not read here", cure);
        }
        if size > MAX_NODES {
            return Err(self.too_large(span.start));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    /// An alias is the very value it names. One that stands inside of what it names has no end.
    fn alias(&mut self, id: usize, at: Marker) -> Result<Rc<Node>, Stop> {
        let known = self.anchors.get(&id).cloned();
        known.ok_or_else(|| self.stop(at, "this alias stands for itself", "write the value out"))
    }

    fn list(&mut self, key: &str, depth: usize) -> Result<Kind, Stop> {
        let mut items = Vec::new();
        loop {
            match self.event()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, span) => {
                    let key = format!("{key}[{}]", items.len());
                    items.push(self.node(event, span, &key, depth + 1)?);
                }
            }
        }
    }

    fn map(&mut self, key: &str, depth: usize) -> Result<Kind, Stop> {
        let section = Place { key: key.to_owned(), ..Place::default() };
        let mut members: Vec<(Key, Rc<Node>)> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = match self.event()? {
                (Event::MappingEnd, _) => return Ok(Kind::Map(members)),
                other => other,
            };
            let name = self.node(event, span, key, depth + 1)?;
            let text = name.text().map(str::to_owned);
            let path = section.child(&shown(text.as_deref().unwrap_or("?"))).key;
            let (event, span) = self.event()?;
            let value = self.node(event, span, &path, depth + 1)?;
            let Some(text) = text else {
                self.sink.report(
                    &name.place(&path),
                    "a key must be text",
                    "write a word as the key",
                );
                continue;
            };
            if is_secret(&text) || value.text().is_some_and(holds_user) {
                self.secret_lines.push(name.line..=value.last_line.max(name.line));
            }
            if let Some(line) = lines.get(&text) {
                let message = format!("this key stands on line {line} already");
                self.sink.report(&name.place(&path), message, "keep one of the two");
                continue;
            }
            lines.insert(text.clone(), name.line);
            members.push((Key { name: text, line: name.line, column: name.column }, value));
        }
    }

    fn event(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let message = format!("not YAML: {}", error.info());
                let cure = "mend the syntax, and put text with a brace, bracket, comma or colon in quotes; what \
                            stands after it has not been read";
                Err(self.stop(*error.marker(), &message, cure))
            }
            None => Err(self.stop(Marker::new(0, 1, 0), "the file ends too early", EMPTY_CURE)),
        }
    }

    fn too_large(&self, at: Marker) -> Stop {
        let message = format!("more than {MAX_NODES} values, or nested deeper than {MAX_DEPTH}");
        self.stop(at, &message, "write less, and fewer aliases")
    }

    fn stop(&self, at: Marker, message: &str, cure: &str) -> Stop {
        self.sink.report(&place(at), message, cure);
        Stop
    }
}

const EMPTY_CURE: &str = "begin with `environment: test`; config/reference.yaml shows every key";

impl Node {
    pub(super) fn place(&self, key: &str) -> Place {
        Place { key: key.to_owned(), line: self.line, column: self.column }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Plain(text) | Kind::Quoted(text) => Some(text),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }
}

/// A key that somebody wrote, fit for a terminal.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

/// Whether text looks like an address with a user, and so perhaps a password, in it.
fn holds_user(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// Whether a key of this name holds a secret, points to one, or looks as if it did: a misspelt key
/// holds a secret as well.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name != "key_id"
        && ["key", "secret", "password", "jwk", "pem", "credential"]
            .iter()
            .any(|word| name.contains(word))
}

fn children(kind: &Kind) -> impl Iterator<Item = &Rc<Node>> {
    let items = if let Kind::List(items) = kind { items.as_slice() } else { &[] };
    let members = if let Kind::Map(members) = kind { members.as_slice() } else { &[] };
    items.iter().chain(members.iter().map(|(_, value)| value))
}

fn scalar(text: String, style: ScalarStyle) -> Kind {
    match style {
        ScalarStyle::Plain if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") => {
            Kind::Null
        }
        ScalarStyle::Plain => Kind::Plain(text),
        _ => Kind::Quoted(text),
    }
}

fn position(at: Marker) -> (usize, usize) {
    (at.line().max(1), at.col().saturating_add(1))
}

fn place(at: Marker) -> Place {
    let (line, column) = position(at);
    Place { key: String::new(), line, column }
}
