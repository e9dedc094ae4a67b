//! A client of HTTP/2 that sends frames as they are told and checks nothing of them.

use crate::hpack;
use crate::stage::{Answers, LIMIT};
use crate::wire::Message;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The most that a frame carries before anybody has agreed on more.
const MOST: usize = 16 * 1024;

/// Fields in order: a name and a value, each of any bytes.
pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head.as_slice(), payload].concat()
}

/// A list of fields, in as many frames as it needs.
pub(crate) fn headers(stream: u32, fields: &[(Vec<u8>, Vec<u8>)], end_stream: bool) -> Vec<u8> {
    let block = hpack::encode(fields);
    let parts: Vec<&[u8]> = block.chunks(MOST).collect();
    let mut frames = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let kind = if index == 0 { HEADERS } else { CONTINUATION };
        let mut flags = if index == 0 && end_stream { END_STREAM } else { 0 };
        flags |= if index + 1 == parts.len() { END_HEADERS } else { 0 };
        frames.extend(frame(kind, flags, stream, part));
    }
    frames
}

/// What the other side has said of a stream, or of the connection.
#[derive(Debug)]
enum Heard {
    Fields(u32, Vec<(String, String)>, bool),
    Data(u32, Vec<u8>, bool),
    Reset(u32),
    Away,
    Pong,
    Other,
    Closed,
    Silence,
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// A list of fields whose end has not come yet.
    block: Option<(u32, Vec<u8>, bool)>,
}

impl Connection {
    /// Connects, and says that no table of fields is to be kept.
    pub(crate) fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the program listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        stream.set_write_timeout(Some(LIMIT)).expect("a time limit");
        let mut connection = Self { stream, buffer: Vec::new(), block: None };
        let no_table = [0, 1, 0, 0, 0, 0];
        let hello =
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &no_table)];
        connection.send(&hello.concat());
        connection
    }

    /// Whether all of it was taken.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends frames, and gives what is answered on `streams`, in their order. A stream that is reset, and
    /// the end of the connection, count as closed.
    pub(crate) fn exchange(&mut self, frames: &[u8], streams: &[u32]) -> Answers {
        // Written beside the reading: an early answer may come while the rest still waits.
        let mut writer = self.stream.try_clone().expect("a second handle");
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(frames));
            self.answers(streams)
        })
    }

    fn answers(&mut self, streams: &[u32]) -> Answers {
        let mut found: BTreeMap<u32, Message> = BTreeMap::new();
        let (mut open, mut closed) = (streams.to_vec(), false);
        while !open.is_empty() {
            let ended = match self.hear() {
                Heard::Fields(stream, fields, end) => {
                    let status = fields.iter().find(|(name, _)| name == ":status");
                    // A 1xx announces another; what has no status is trailers.
                    if let Some((_, status)) = status.filter(|(_, status)| !status.starts_with('1'))
                    {
                        let start = format!("HTTP/2 {status}");
                        found.insert(
                            stream,
                            Message { start, headers: fields, ..Message::default() },
                        );
                    }
                    end.then_some(stream)
                }
                Heard::Data(stream, data, end) => {
                    if let Some(answer) = found.get_mut(&stream) {
                        answer.body.extend(data);
                    }
                    end.then_some(stream)
                }
                Heard::Reset(stream) => {
                    closed = true;
                    Some(stream)
                }
                Heard::Away | Heard::Closed => {
                    closed = true;
                    break;
                }
                Heard::Silence => break,
                Heard::Pong | Heard::Other => None,
            };
            open.retain(|stream| Some(*stream) != ended);
        }
        Answers { messages: found.into_values().collect(), closed }
    }

    /// Sends `frames`, then asks for a sign of life. `false` when the connection is closed.
    pub(crate) fn survives(&mut self, frames: &[u8], patience: Duration) -> bool {
        let mut writer = self.stream.try_clone().expect("a second handle");
        self.stream.set_read_timeout(Some(patience)).expect("a time limit");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _ = writer.write_all(frames).and_then(|()| writer.write_all(&ping()));
            });
            loop {
                match self.hear() {
                    Heard::Pong | Heard::Silence => return true,
                    // A connection that says farewell is closed soon.
                    Heard::Closed => return false,
                    _ => {}
                }
            }
        })
    }

    fn hear(&mut self) -> Heard {
        let (kind, flags, stream, mut payload) = match self.frame() {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        if matches!(kind, DATA | HEADERS) && flags & PADDED != 0 {
            let padding = usize::from(payload.remove(0));
            payload.truncate(payload.len().saturating_sub(padding));
        }
        match kind {
            HEADERS => {
                self.block = Some((stream, payload, flags & END_STREAM != 0));
                self.fields(flags)
            }
            CONTINUATION => {
                if let Some((_, block, _)) = &mut self.block {
                    block.extend(payload);
                }
                self.fields(flags)
            }
            DATA => {
                let taken = u32::try_from(payload.len()).expect("short").to_be_bytes();
                if payload.is_empty() || self.send(&frame(WINDOW_UPDATE, 0, 0, &taken)) {
                    return Heard::Data(stream, payload, flags & END_STREAM != 0);
                }
                Heard::Data(stream, payload, true)
            }
            RST_STREAM => Heard::Reset(stream),
            GOAWAY => Heard::Away,
            SETTINGS if flags & ACK == 0 => {
                self.send(&frame(SETTINGS, ACK, 0, &[]));
                Heard::Other
            }
            PING if flags & ACK != 0 => Heard::Pong,
            PING => {
                self.send(&frame(PING, ACK, 0, &payload));
                Heard::Other
            }
            _ => Heard::Other,
        }
    }

    fn fields(&mut self, flags: u8) -> Heard {
        if flags & END_HEADERS == 0 {
            return Heard::Other;
        }
        let Some((stream, block, end)) = self.block.take() else { return Heard::Other };
        let fields = hpack::decode(&block).expect("a list of fields");
        Heard::Fields(stream, fields, end)
    }

    fn frame(&mut self) -> Result<(u8, u8, u32, Vec<u8>), Heard> {
        self.at_least(9)?;
        let head: Vec<u8> = self.buffer.drain(..9).collect();
        let length = head[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        self.at_least(length)?;
        Ok((head[3], head[4], stream, self.buffer.drain(..length).collect()))
    }

    fn at_least(&mut self, count: usize) -> Result<(), Heard> {
        let mut bytes = [0; 16 * 1024];
        while self.buffer.len() < count {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Heard::Closed),
                Ok(read) => self.buffer.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Err(Heard::Silence);
                }
                Err(_) => return Err(Heard::Closed),
            }
        }
        Ok(())
    }
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[0; 8])
}
