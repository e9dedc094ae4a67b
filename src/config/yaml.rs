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
                (event, span) => break self.node(event, span, 0)?,
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

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Rc<Node>, Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > 2 * MAX_DEPTH {
            return Err(self.too_large(span.start));
        }
        let (kind, anchor, tagged) = match event {
            Event::Alias(id) => return self.alias(id, span.start),
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(text.into_owned(), style), anchor, tag.is_some())
            }
            Event::SequenceStart(_, anchor, tag) => (self.list(depth)?, anchor, tag.is_some()),
            Event::MappingStart(_, anchor, tag) => (self.map(depth)?, anchor, tag.is_some()),
            _ => return Err(self.stop(span.start, "this is no value", "write a value here")),
        };
        if tagged {
            let cure = "take the tag, the word that begins with `!`, away";
            self.sink.report(&place(span.start), "tags are not read here", cure);
        }
        let size = children(&kind).fold(1usize, |sum, child| sum.saturating_add(child.size));
        if size > MAX_NODES {
            return Err(self.too_large(span.start));
        }
        let (line, column) = position(span.start);
        let node = Rc::new(Node { kind, line, column, size });
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

    fn list(&mut self, depth: usize) -> Result<Kind, Stop> {
        let mut items = Vec::new();
        loop {
            match self.event()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Stop> {
        let mut members: Vec<(Key, Rc<Node>)> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = match self.event()? {
                (Event::MappingEnd, _) => return Ok(Kind::Map(members)),
                other => other,
            };
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.event()?;
            let value = self.node(event, span, depth + 1)?;
            let (Kind::Plain(name) | Kind::Quoted(name)) = &key.kind else {
                self.sink.report(&key.place(""), "a key must be text", "write a word as the key");
                continue;
            };
            if is_secret(name) {
                self.secret_lines.push(key.line..=value.last_line().max(key.line));
            }
            if let Some(line) = lines.get(name) {
                let message = format!("this key stands on line {line} already");
                self.sink.report(&key.place(name), message, "keep one of the two");
                continue;
            }
            lines.insert(name.clone(), key.line);
            let key = Key { name: name.clone(), line: key.line, column: key.column };
            members.push((key, value));
        }
    }

    fn event(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let message = format!("not YAML: {}", error.info());
                let cure = "mend the syntax; what stands after it has not been read";
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

    /// The last line of a value, as far as its text tells.
    fn last_line(&self) -> usize {
        match &self.kind {
            Kind::Null => self.line,
            Kind::Plain(text) | Kind::Quoted(text) => self.line + text.lines().count(),
            Kind::List(_) | Kind::Map(_) => {
                children(&self.kind).map(|child| child.last_line()).fold(self.line, usize::max)
            }
        }
    }
}

/// Whether a key of this name holds a secret, points to one, or looks as if it did: a misspelt key
/// holds a secret as well.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name != "key_id"
        && ["key", "secret", "password", "jwk", "pem"].iter().any(|word| name.contains(word))
}

fn children(kind: &Kind) -> impl Iterator<Item = &Rc<Node>> {
    let (list, map): (&[Rc<Node>], &[(Key, Rc<Node>)]) = match kind {
        Kind::Null | Kind::Plain(_) | Kind::Quoted(_) => (&[], &[]),
        Kind::List(items) => (items, &[]),
        Kind::Map(members) => (&[], members),
    };
    list.iter().chain(map.iter().map(|(_, value)| value))
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
