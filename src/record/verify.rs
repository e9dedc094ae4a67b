//! Checks sealed audit logs: that every line is one that we wrote, whole, in its order, and that none is
//! missing. Reads files only; knows nothing of the program that wrote them but its keys.

use super::chain::{Hash, Head, MacKey, PublicKey, Sealed, Why, from_hex, hex, sha256};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Longest line that is read as one.
const LONGEST: u64 = 1 << 20;

/// Most findings that are told one by one.
const MOST: usize = 1000;

/// What a log is checked with: the more, the more is seen.
#[derive(Debug, Default)]
pub struct Keys {
    /// Keys of the codes, by which every line is checked.
    pub codes: Vec<MacKey>,
    /// Keys of the signatures, by which checkpoints are checked, and all that is before the last of them.
    pub signatures: Vec<PublicKey>,
}

/// What was found.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A line is not as it was written, or was not written by us.
    Changed,
    /// A line is no sealed line at all.
    Unreadable,
    /// Numbers are missing before this line.
    Missing,
    /// A number stands here that has been before: a line twice, or in the wrong place.
    Repeated,
    /// A signature is not that of this checkpoint.
    Signature,
    /// The lines before this checkpoint are not those that it was signed for.
    Digest,
    /// The line is sealed or signed with a key that was not given.
    UnknownKey,
    /// Less is there than is known to have been: at the end, or when the program started.
    Cut,
    /// The first line is not the one that was asked for, or no checkpoint.
    Beginning,
    /// A new chain begins, and does not go on from the one before.
    NewChain,
    /// So many records were lost when they could not be written; the log itself tells of it.
    Lost,
    /// A line was torn when the program was killed or the disk was full; the log itself tells of it.
    Torn,
    /// The program was ended without a last checkpoint; what it had not written by then is not here.
    Unclean,
    /// The log ends without the checkpoint of a stop: nothing proves that no more followed.
    OpenEnd,
}

/// Something found, and where.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1.
    pub line: u64,
    /// The number that stands in the line, or that it should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// In words.
    pub message: String,
}

/// What came of a check.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What must not be: the log is not as it was written.
    pub findings: Vec<Finding>,
    /// What the log itself tells of, or what cannot be told.
    pub notices: Vec<Finding>,
    /// Findings and notices beyond those listed.
    pub more: u64,
    /// Files, in the order of their lines.
    pub files: Vec<PathBuf>,
    /// Lines read.
    pub lines: u64,
    /// Checkpoints among them.
    pub checkpoints: u64,
    /// Number of the first line.
    pub first: Option<u64>,
    /// Number of the last.
    pub last: Option<u64>,
    /// Lines after the last checkpoint.
    pub after_checkpoint: u64,
    /// Those of them that nothing was there to check with: no key of the codes was given.
    pub unchecked: u64,
    /// Number that the log is known to have reached, by what is kept beside it or was asked for.
    pub until: Option<u64>,
    /// Whether the log ends with the checkpoint of a stop.
    pub closed: bool,
}

/// What is known of a log from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Number of its first line.
    pub from: u64,
    /// Number that it had reached.
    pub until: Option<u64>,
}

impl Default for Extent {
    fn default() -> Self {
        Self { from: 1, until: None }
    }
}

/// Checks the log in `files`, which are put in the order of their lines.
///
/// # Errors
/// A file cannot be read.
pub fn verify(files: &[PathBuf], keys: &Keys, extent: Extent) -> io::Result<Report> {
    let files = in_order(files)?;
    let mut walk = Walk {
        keys,
        extent,
        report: Report::default(),
        at: (PathBuf::new(), 0),
        before: None,
        head: None,
        unreadable: None,
        whole: true,
    };
    for file in &files {
        walk.file(file)?;
    }
    walk.end();
    walk.report.files = files;
    Ok(walk.report)
}

/// By the number of the first line that can be read; files without any come last.
fn in_order(files: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut numbered = Vec::new();
    for file in files {
        let mut lines = Lines::open(file)?;
        let mut number = u64::MAX;
        while let Some(line) = lines.next_line()? {
            if let Some(sealed) = Sealed::read(text_of(&line)) {
                number = sealed.seal.seq;
                break;
            }
        }
        numbered.push((number, file.clone()));
    }
    numbered.sort_by_key(|(number, _)| *number);
    Ok(numbered.into_iter().map(|(_, file)| file).collect())
}

struct Lines(BufReader<File>);

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::with_capacity(64 << 10, File::open(path)?)))
    }

    /// The next line with its end, or [`LONGEST`] bytes of it.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST).read_until(b'\n', &mut line)?;
        Ok((!line.is_empty()).then_some(line))
    }
}

fn text_of(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// The line before, as far as it is known.
#[derive(Clone, Copy)]
struct Before {
    number: u64,
    /// Its code as it stands there; `None` after a line that could not be read.
    code: Option<Hash>,
    /// It was the checkpoint of a stop.
    closed: bool,
}

/// A line that could not be read, until the next one tells why.
struct Unreadable {
    at: (PathBuf, u64),
    bytes: usize,
    digest: Hash,
}

struct Walk<'k> {
    keys: &'k Keys,
    extent: Extent,
    report: Report,
    at: (PathBuf, u64),
    before: Option<Before>,
    /// What the next checkpoint is to have as its digest; known from the first checkpoint on.
    head: Option<Head>,
    unreadable: Option<Unreadable>,
    /// The last line had an end.
    whole: bool,
}

impl Walk<'_> {
    fn file(&mut self, file: &Path) -> io::Result<()> {
        let mut lines = Lines::open(file)?;
        self.at = (file.to_owned(), 0);
        while let Some(line) = lines.next_line()? {
            self.at.1 += 1;
            self.report.lines += 1;
            self.whole = line.ends_with(b"\n");
            let text = text_of(&line);
            match Sealed::read(text).filter(|_| self.whole) {
                Some(sealed) => self.line(&sealed, &line),
                None => self.not_a_line(text, &line),
            }
        }
        Ok(())
    }

    fn not_a_line(&mut self, text: &[u8], line: &[u8]) {
        self.settle_unreadable();
        let digest = sha256(&[text]);
        self.unreadable = Some(Unreadable { at: self.at.clone(), bytes: text.len(), digest });
        if let Some(head) = &mut self.head {
            head.absorb(line);
        }
    }

    /// A line that could not be read, and that no line after it explains.
    fn settle_unreadable(&mut self) {
        let Some(unreadable) = self.unreadable.take() else { return };
        let number = self.before.map(|before| before.number + 1);
        let message = "not a sealed line: it was changed or put in".to_owned();
        let finding = Finding {
            kind: Kind::Unreadable,
            file: unreadable.at.0,
            line: unreadable.at.1,
            sequence: number,
            message,
        };
        self.push(finding);
        if let Some(before) = &mut self.before {
            before.code = None;
        }
    }

    fn line(&mut self, sealed: &Sealed<'_>, line: &[u8]) {
        let number = sealed.seal.seq;
        let was_unreadable = self.explain(sealed);
        let follows = self.order(sealed, was_unreadable);
        self.code(sealed, follows);
        self.told(sealed);
        if sealed.is_checkpoint() {
            self.checkpoint(sealed);
        } else {
            self.report.after_checkpoint += 1;
            if let Some(head) = &mut self.head {
                head.absorb(line);
            }
        }
        self.report.first.get_or_insert(number);
        if follows != Order::Behind {
            self.report.last = Some(number);
            let closed = sealed.is_checkpoint() && sealed.seal.why == Some(Why::Stop);
            self.before = Some(Before { number, code: Some(sealed.code), closed });
        }
    }

    /// Whether the line before could not be read, and this one does not say that it was torn.
    fn explain(&mut self, sealed: &Sealed<'_>) -> bool {
        let torn = sealed.seal.event.as_deref() == Some("torn");
        let Some(unreadable) = self.unreadable.take() else {
            if torn {
                self.find(
                    Kind::Missing,
                    Some(sealed.seal.seq),
                    "the torn line that this one tells of is not there",
                );
            }
            return false;
        };
        let same = sealed.seal.bytes == Some(unreadable.bytes)
            && sealed.seal.digest.as_deref() == Some(&hex(&unreadable.digest));
        if torn && same {
            let message = "a line was torn when the program was killed, or could not write on";
            self.find(Kind::Torn, Some(sealed.seal.seq), message);
            return false;
        }
        self.unreadable = Some(unreadable);
        self.settle_unreadable();
        true
    }

    fn order(&mut self, sealed: &Sealed<'_>, was_unreadable: bool) -> Order {
        let number = sealed.seal.seq;
        let Some(before) = self.before else {
            if number != self.extent.from {
                let message = format!(
                    "begins at {number}, not at {}: earlier lines are not here",
                    self.extent.from
                );
                self.find(Kind::Beginning, Some(number), &message);
            }
            if !sealed.is_checkpoint() {
                let message =
                    "begins in the middle of a file: no checkpoint that it could be checked from";
                self.find(Kind::Beginning, Some(number), message);
            }
            return Order::Apart;
        };
        let begins = sealed.seal.why == Some(Why::Start) && number == 1;
        if begins && sealed.is_checkpoint() && before.number != 0 {
            self.find(
                Kind::NewChain,
                Some(1),
                "a new chain begins: the log before it was away when the program started",
            );
            self.head = None;
            return Order::Apart;
        }
        let next = before.number + 1;
        if number == next {
            return Order::Follows;
        }
        // The line that could not be read had a number too.
        if was_unreadable && number == next + 1 {
            return Order::Apart;
        }
        if number > next {
            let message = match number - 1 {
                last if last == next => format!("line {next} is missing"),
                last => format!("lines {next} to {last} are missing"),
            };
            self.find(Kind::Missing, Some(number), &message);
            Order::Apart
        } else {
            let message = format!("{number} again, or in the wrong place: {next} was to follow");
            self.find(Kind::Repeated, Some(number), &message);
            Order::Behind
        }
    }

    fn code(&mut self, sealed: &Sealed<'_>, order: Order) {
        if self.keys.codes.is_empty() {
            return;
        }
        let number = Some(sealed.seal.seq);
        let Some(key) = self.keys.codes.iter().find(|key| key.id() == sealed.seal.key) else {
            self.find(
                Kind::UnknownKey,
                number,
                &format!("sealed with the key {}, which was not given", sealed.seal.key),
            );
            return;
        };
        // A checkpoint says itself what it follows, and signs that.
        let stated =
            sealed.seal.before.as_deref().filter(|_| sealed.is_checkpoint()).and_then(from_hex);
        let before = match (order, self.before.and_then(|before| before.code)) {
            (Order::Follows, Some(code)) => code,
            _ => match stated {
                Some(code) => code,
                // What it follows is not here: the finding that says so stands before.
                None => return,
            },
        };
        if key.code(&before, sealed.coded) != sealed.code {
            self.find(
                Kind::Changed,
                number,
                "changed, or put in: its code does not fit it and the line before",
            );
        }
    }

    fn told(&mut self, sealed: &Sealed<'_>) {
        if let (Some("lost"), Some(records)) = (sealed.seal.event.as_deref(), sealed.seal.records) {
            let message = format!("{records} records could not be written and were lost");
            self.find(Kind::Lost, Some(sealed.seal.seq), &message);
        }
    }

    fn checkpoint(&mut self, sealed: &Sealed<'_>) {
        self.report.checkpoints += 1;
        self.report.after_checkpoint = 0;
        let number = Some(sealed.seal.seq);
        self.signature(sealed);
        let hash = |text: &Option<String>| text.as_deref().and_then(from_hex);
        let (base, digest) = (hash(&sealed.seal.base), hash(&sealed.seal.digest));
        if let Some(head) = &self.head {
            let fits = Some(head.base) == base && Some(head.digest()) == digest;
            let same = sealed.seal.chain.as_deref() == Some(&head.chain);
            if !fits || !same {
                self.find(Kind::Digest, number, "the lines since the checkpoint before are not those that this one was signed for");
            }
        }
        let chain = sealed.seal.chain.clone().unwrap_or_default();
        self.head = digest.map(|digest| Head::after(chain, sealed.seal.seq, sealed.code, digest));
        if sealed.seal.why == Some(Why::Start) {
            if self.before.is_some_and(|before| !before.closed) {
                self.find(Kind::Unclean, number, "the program was ended before without a last checkpoint: what it had not written by then is lost");
            }
            if let Some(expected) = sealed.seal.expected {
                let message = format!(
                    "the log had reached {expected} before this start, and less was there: lines were cut off its end"
                );
                self.find(Kind::Cut, number, &message);
            }
        }
    }

    fn signature(&mut self, sealed: &Sealed<'_>) {
        if self.keys.signatures.is_empty() {
            return;
        }
        let number = Some(sealed.seal.seq);
        let (Some(signer), Some(signature), Some(text)) =
            (&sealed.seal.signer, &sealed.seal.sig, sealed.signed)
        else {
            return self.find(Kind::Signature, number, "a checkpoint without a signature");
        };
        match self.keys.signatures.iter().find(|key| key.id() == signer) {
            None => {
                self.find(
                    Kind::UnknownKey,
                    number,
                    &format!("signed with the key {signer}, which was not given"),
                );
            }
            Some(key) if !key.signed(text, signature) => {
                self.find(Kind::Signature, number, "the signature is not that of this checkpoint");
            }
            Some(_) => {}
        }
    }

    fn end(&mut self) {
        let number = self.before.map(|before| before.number);
        if !self.whole && self.unreadable.take().is_some() {
            self.find(
                Kind::OpenEnd,
                number,
                "the last line is not whole: the program was killed, or the end was cut off",
            );
        }
        self.settle_unreadable();
        let short = |until: &u64| self.report.last.is_none_or(|last| last < *until);
        if let Some(until) = self.extent.until.filter(short) {
            let message = format!("the log had reached {until}: its end was cut off");
            self.find(Kind::Cut, number, &message);
        }
        self.report.until = self.extent.until;
        if self.keys.codes.is_empty() {
            self.report.unchecked = self.report.after_checkpoint;
        }
        self.report.closed = self.whole && self.before.is_some_and(|before| before.closed);
        if self.report.closed {
            return;
        }
        let message = match (self.before, self.report.after_checkpoint) {
            (None, _) => "no sealed line at all".to_owned(),
            (Some(_), 0) => {
                "ends in a checkpoint, but not that of a stop: nothing proves that no more followed"
                    .to_owned()
            }
            (Some(_), lines) => format!(
                "ends without the checkpoint of a stop, {lines} lines after the last checkpoint: nothing proves that no more followed"
            ),
        };
        self.find(Kind::OpenEnd, number, &message);
    }

    fn find(&mut self, kind: Kind, sequence: Option<u64>, message: &str) {
        let (file, line) = self.at.clone();
        self.push(Finding { kind, file, line, sequence, message: message.to_owned() });
    }

    fn push(&mut self, finding: Finding) {
        let list = match finding.kind {
            Kind::Lost | Kind::Torn | Kind::Unclean | Kind::OpenEnd => &mut self.report.notices,
            Kind::Changed
            | Kind::Unreadable
            | Kind::Missing
            | Kind::Repeated
            | Kind::Signature
            | Kind::Digest
            | Kind::UnknownKey
            | Kind::Cut
            | Kind::Beginning
            | Kind::NewChain => &mut self.report.findings,
        };
        if list.len() < MOST {
            list.push(finding);
        } else {
            self.report.more += 1;
        }
    }
}

/// How a line stands to the one before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    /// It has the next number.
    Follows,
    /// What it follows is not here, or cannot be read.
    Apart,
    /// Its number has been before.
    Behind,
}
