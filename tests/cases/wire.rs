//! HTTP/1 as bytes: whole messages out of a stream, by the strict reading of RFC 9112.

use std::io::{ErrorKind, Read};

/// One whole message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The request line or the status line.
    pub(crate) start: String,
    /// Names in lower case, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How many bytes it took.
    pub(crate) length: usize,
}

impl Message {
    /// Every value of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(other, _)| other == name);
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// A word of the start line, from 0.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    /// The status of an answer; 0 when there is none.
    pub(crate) fn status(&self) -> u64 {
        self.word(1).parse().unwrap_or(0)
    }
}

/// A message that every strict reader takes the same way.
pub(crate) fn has_one_reading(message: &Message) -> Result<(), String> {
    let token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let words: Vec<&str> = message.start.split(' ').collect();
    let [method, target, version] = words.as_slice() else {
        return Err(format!("request line {:?}", message.start));
    };
    let lengths = message.header("content-length");
    let codings = message.header("transfer-encoding");
    let good = token(method)
        && target.starts_with('/')
        && target.bytes().all(|byte| byte.is_ascii_graphic())
        && *version == "HTTP/1.1"
        && message.header("host").len() == 1
        && lengths.len() + codings.len() <= 1
        && codings.iter().all(|coding| *coding == "chunked")
        && lengths.iter().all(|length| length.bytes().all(|byte| byte.is_ascii_digit()))
        && message.headers.iter().all(|(name, value)| {
            token(name) && value.chars().all(|letter| letter == '\t' || !letter.is_control())
        });
    if good { Ok(()) } else { Err(format!("more than one reading: {message:?}")) }
}

/// Why there is no further message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// Closed between messages, or within one, or reset.
    Closed,
    /// Nothing came for as long as the stream waits.
    Silence,
    /// What came is no message.
    Malformed,
}

/// What is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Request,
    Answer,
    AnswerToHead,
}

/// Takes messages out of a stream.
pub(crate) struct Reader<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
    at: usize,
}

impl<S: Read> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), at: 0 }
    }

    /// The next message. `came` is told of every byte that arrives, also of those of no message.
    pub(crate) fn message(
        &mut self,
        kind: Kind,
        came: &mut dyn FnMut(usize),
    ) -> Result<Message, End> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let start = self.line(came)?;
        if start.is_empty() {
            return Err(End::Malformed);
        }
        let mut message = Message { start, headers: self.fields(came)?, ..Message::default() };
        let status = message.status();
        let bodiless = kind == Kind::AnswerToHead
            || (kind == Kind::Answer && (matches!(status, 204 | 304) || status < 200));
        let chunked = message.header("transfer-encoding") == ["chunked"];
        let length = message.header("content-length").first().map(|length| length.parse());
        match length {
            _ if bodiless => {}
            _ if chunked => self.chunks(&mut message, came)?,
            Some(Ok(length)) => message.body = self.bytes(length, came)?,
            Some(Err(_)) => return Err(End::Malformed),
            None if kind == Kind::Request => {}
            None => {
                while self.fill(came).is_ok() {}
                message.body = self.buffer.split_off(self.at);
            }
        }
        message.length = self.at;
        Ok(message)
    }

    fn chunks(&mut self, message: &mut Message, came: &mut dyn FnMut(usize)) -> Result<(), End> {
        loop {
            let size = self.line(came)?;
            let digits = size.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| End::Malformed)?;
            if size == 0 {
                let trailers = self.fields(came)?;
                message.headers.extend(trailers);
                return Ok(());
            }
            message.body.extend(self.bytes(size, came)?);
            if !self.line(came)?.is_empty() {
                return Err(End::Malformed);
            }
        }
    }

    fn fields(&mut self, came: &mut dyn FnMut(usize)) -> Result<Vec<(String, String)>, End> {
        let mut fields = Vec::new();
        loop {
            let line = self.line(came)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or(End::Malformed)?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Up to the next CR LF, each byte as one character.
    fn line(&mut self, came: &mut dyn FnMut(usize)) -> Result<String, End> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
                let line = rest[..end].iter().copied().map(char::from).collect();
                self.at += end + 2;
                return Ok(line);
            }
            self.fill(came)?;
        }
    }

    fn bytes(&mut self, count: usize, came: &mut dyn FnMut(usize)) -> Result<Vec<u8>, End> {
        while self.buffer.len() < self.at + count {
            self.fill(came)?;
        }
        let bytes = self.buffer[self.at..self.at + count].to_vec();
        self.at += count;
        Ok(bytes)
    }

    fn fill(&mut self, came: &mut dyn FnMut(usize)) -> Result<(), End> {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    came(count);
                    self.buffer.extend_from_slice(&bytes[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Err(End::Silence);
                }
                Err(_) => return Err(End::Closed),
            }
        }
    }
}
