//! Cases of HTTP/2: their frames, and floods that are told of in words.

use crate::h2::{self, Fields};
use crate::wire::{Kind, Reader};
use crate::world::{Context, Told, latin1};
use serde_json::Value;

/// Frames as bytes, and the streams that are to be answered.
pub(crate) struct Frames {
    pub(crate) bytes: Vec<u8>,
    pub(crate) streams: Vec<u32>,
}

/// The frames of a case. After the end of a stream the next one begins.
pub(crate) fn of_case(case: &Value, context: &Context<'_>) -> Told<Frames> {
    let mut frames = Frames { bytes: Vec::new(), streams: Vec::new() };
    let (mut stream, mut ended) = (1, false);
    for frame in case["frames"].as_array().ok_or("no `frames`")? {
        let members = frame.as_object().ok_or("a frame is an object")?;
        if let Some(name) =
            members.keys().find(|name| !["headers", "data", "end_stream"].contains(&name.as_str()))
        {
            return Err(format!("the runner does not know `{name}` in a frame"));
        }
        if std::mem::take(&mut ended) {
            stream += 2;
        }
        ended = frame["end_stream"] == true;
        if !frames.streams.contains(&stream) {
            frames.streams.push(stream);
        }
        if let Some(listed) = frame["headers"].as_array() {
            frames.bytes.extend(h2::headers(stream, &fields(listed, context)?, ended));
        }
        if let Some(data) = frame["data"].as_str() {
            let flags = if ended { h2::END_STREAM } else { 0 };
            let data = latin1(&context.expand(data)?)?;
            frames.bytes.extend(h2::frame(h2::DATA, flags, stream, &data));
        }
    }
    Ok(frames)
}

fn fields(listed: &[Value], context: &Context<'_>) -> Told<Fields> {
    let bytes =
        |text: &Value| latin1(&context.expand(text.as_str().ok_or("a field is a pair of texts")?)?);
    listed.iter().map(|pair| Ok((bytes(&pair[0])?, bytes(&pair[1])?))).collect()
}

/// The head of a request of HTTP/1 as fields of HTTP/2.
pub(crate) fn of_head(head: &[u8]) -> Told<Fields> {
    let message =
        Reader::new(head).message(Kind::Request, &mut |_| {}).map_err(|_| "no request")?;
    let host = message.header("host").first().map_or_else(String::new, ToString::to_string);
    let mut fields = vec![
        (":method".to_owned(), message.word(0).to_owned()),
        (":scheme".to_owned(), "http".to_owned()),
        (":authority".to_owned(), host),
        (":path".to_owned(), message.word(1).to_owned()),
    ];
    fields.extend(message.headers.iter().filter(|(name, _)| name != "host").cloned());
    fields.iter().map(|(name, value)| Ok((latin1(name)?, latin1(value)?))).collect()
}

/// A part of a flood.
#[derive(Debug, Eq, PartialEq)]
struct Part {
    count: usize,
    kind: u8,
    flags: u8,
    /// Bytes of payload, where it is said.
    size: Option<usize>,
}

/// A flood: parts in order, all of them so many times.
#[derive(Debug, Eq, PartialEq)]
struct Flood {
    times: usize,
    parts: Vec<Part>,
}

/// `500 times HEADERS then RST_STREAM`, `HEADERS without END_HEADERS then 2000 CONTINUATION of 1 kB`.
fn parse(words: &str) -> Told<Flood> {
    let (times, rest) = match words.split_once(" times ") {
        Some((times, rest)) => (times.parse().map_err(|_| format!("no number: {times}"))?, rest),
        None => (1, words),
    };
    let parts: Told<Vec<Part>> = rest.split(" then ").map(part).collect();
    Ok(Flood { times, parts: parts? })
}

fn part(words: &str) -> Told<Part> {
    let unknown = || format!("the runner does not know the flood `{words}`");
    let mut words = words.split(' ').peekable();
    let first = words.peek().and_then(|word| word.parse().ok());
    if first.is_some() {
        words.next();
    }
    let mut part = Part { count: first.unwrap_or(1), kind: 0, flags: 0, size: None };
    if words.peek() == Some(&"empty") {
        words.next();
        part.size = Some(0);
    }
    (part.kind, part.flags) = match words.next() {
        Some("HEADERS") => (h2::HEADERS, h2::END_HEADERS | h2::END_STREAM),
        Some("CONTINUATION") => (h2::CONTINUATION, 0),
        Some("RST_STREAM") => (h2::RST_STREAM, 0),
        Some("SETTINGS") => (h2::SETTINGS, 0),
        Some("PING") => (h2::PING, 0),
        Some("PRIORITY") => (h2::PRIORITY, 0),
        Some("WINDOW_UPDATE") => (h2::WINDOW_UPDATE, 0),
        Some("DATA") => (h2::DATA, 0),
        _ => return Err(unknown()),
    };
    while let Some(word) = words.next() {
        match (word, words.next()) {
            ("without", Some("END_HEADERS")) => part.flags &= !h2::END_HEADERS,
            ("without", Some("END_STREAM")) => part.flags &= !h2::END_STREAM,
            ("of", Some(number)) => {
                let unit = match words.next() {
                    Some("kB") => 1024,
                    Some("B" | "bytes") => 1,
                    _ => return Err(unknown()),
                };
                part.size = Some(number.parse::<usize>().map_err(|_| unknown())? * unit);
            }
            _ => return Err(unknown()),
        }
    }
    Ok(part)
}

/// The bytes of a flood. Each list of fields is `request`'s, on a stream of its own.
pub(crate) fn flood(words: &str, request: &Fields) -> Told<Vec<u8>> {
    let flood = parse(words)?;
    let whole = crate::hpack::encode(request);
    let (mut bytes, mut stream) = (Vec::new(), 1_u32);
    let mut next = stream;
    for _ in 0..flood.times {
        for part in &flood.parts {
            for number in 0..part.count {
                let size = part.size;
                let zeros = |usual: usize| vec![0; size.unwrap_or(usual)];
                let (on, payload) = match part.kind {
                    h2::HEADERS => {
                        (stream, next) = (next, next + 2);
                        (stream, whole.clone())
                    }
                    h2::CONTINUATION => {
                        let size = size.unwrap_or(16);
                        let name = format!("x-{number:06}").into_bytes();
                        let value = vec![b'a'; size.saturating_sub(12)];
                        (stream, crate::hpack::encode(&[(name, value)]))
                    }
                    h2::RST_STREAM => (stream, vec![0, 0, 0, 8]),
                    h2::PING => (0, zeros(8)),
                    // An odd setting that nobody knows.
                    h2::SETTINGS => (0, size.map_or(vec![0xff, 0xff, 0, 0, 0, 1], |_| zeros(0))),
                    h2::PRIORITY => (stream, vec![0, 0, 0, 0, 1]),
                    h2::WINDOW_UPDATE => (0, vec![0, 0, 0, 1]),
                    _ => (stream, zeros(1)),
                };
                bytes.extend(h2::frame(part.kind, part.flags, on, &payload));
            }
        }
    }
    Ok(bytes)
}

#[test]
fn floods_are_told_in_words() {
    let reset = parse("500 times HEADERS then RST_STREAM").expect("understood");
    assert_eq!((reset.times, reset.parts.len()), (500, 2));
    let endless = parse("HEADERS without END_HEADERS then 2000 CONTINUATION of 1 kB");
    let continuation = Part { count: 2000, kind: h2::CONTINUATION, flags: 0, size: Some(1024) };
    let begun = Part { count: 1, kind: h2::HEADERS, flags: h2::END_STREAM, size: None };
    assert_eq!(endless, Ok(Flood { times: 1, parts: vec![begun, continuation] }));
    let empty = parse("HEADERS without END_STREAM then 9 empty DATA").expect("understood");
    assert_eq!(empty.parts[1], Part { count: 9, kind: h2::DATA, flags: 0, size: Some(0) });
    assert!(parse("many PINGS").is_err());
}
