//! What routes in shadow would have refused, counted from audit lines. Reads text only; knows nothing of the program that
//! wrote it.
//!
//! What is told is counts, and of each line its route, vendor, code, reason and time, each only in the form that we write
//! them: whatever else stands in a file that is no audit log, such as a national identity number, comes out nowhere.

use crate::domain::party::{CheckDigits, OrgNumber};
use crate::enforce::rejection::Code;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

/// Longest line that is read, in bytes; ours are some kilobytes at most.
const LONGEST: u64 = 1 << 20;

/// Most routes, and most kinds of refusals, that are told apart.
const MOST: usize = 10_000;

/// Most notices that are told one by one.
const MOST_NOTICES: usize = 20;

/// What would have been refused.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Requests that were read.
    pub requests: u64,
    /// When the first came, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first: String,
    /// When the last came.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last: String,
    /// Lines between them that are no requests: checkpoints and such.
    pub events: u64,
    /// Lines between them of the program's log, where both went the same way.
    pub log_lines: u64,
    /// Lines that are no whole JSON: torn, or cut. Not counted elsewhere.
    pub torn: u64,
    /// Lines that are JSON and no audit record of ours. Not counted elsewhere.
    pub foreign: u64,
    /// Where the first of both stand, and what is wrong with them.
    pub notices: Vec<Notice>,
    /// The routes, by name.
    pub routes: Vec<RouteReport>,
    /// Requests that are counted for their route, but in none of its `refusals`: there are too many kinds.
    pub more: u64,
}

/// A line that was not counted.
#[derive(Debug, Serialize)]
pub struct Notice {
    /// The file; `-` for standard input.
    pub file: PathBuf,
    /// The line in it, from 1.
    pub line: u64,
    /// In words; nothing of the line.
    pub message: &'static str,
}

/// One route.
#[derive(Debug, Default, Serialize)]
pub struct RouteReport {
    /// Its id.
    pub route: String,
    /// Its requests.
    pub requests: u64,
    /// Those of them that came while it was in shadow.
    pub in_shadow: u64,
    /// Those of them that it would have refused, or cut while they went on.
    #[serde(flatten)]
    pub refused: Tally,
    /// Why, and whose they were; the most frequent first.
    pub refusals: Vec<RefusalReport>,
}

/// What would have been refused for one reason, of one vendor.
#[derive(Debug, Serialize)]
pub struct RefusalReport {
    /// Organisation number of the vendor, from its token; `None` where no token was good.
    pub vendor: Option<String>,
    /// The problem code.
    pub code: &'static str,
    /// The finer cause.
    pub reason: Option<String>,
    /// How many.
    #[serde(flatten)]
    pub refused: Tally,
}

/// How many requests would have been refused, and when.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// How many.
    pub would_be_refused: u64,
    /// Of the route's requests in shadow, from 0 to 1, in millionths.
    pub share: f64,
    /// When the first came.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first: String,
    /// When the last came.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last: String,
}

impl Tally {
    fn count(&mut self, time: &str) {
        self.would_be_refused += 1;
        widen(&mut self.first, &mut self.last, time);
    }

    fn of(mut self, in_shadow: u64) -> Self {
        self.share = share(self.would_be_refused, in_shadow);
        self
    }
}

/// Times of one form compare as text.
fn widen(first: &mut String, last: &mut String, time: &str) {
    if first.is_empty() || time < first.as_str() {
        time.clone_into(first);
    }
    if time > last.as_str() {
        time.clone_into(last);
    }
}

fn share(part: u64, whole: u64) -> f64 {
    const MILLION: u128 = 1_000_000;
    let whole = u128::from(whole.max(1));
    let millionths = (u128::from(part) * MILLION + whole / 2) / whole;
    f64::from(u32::try_from(millionths).unwrap_or(1_000_000)) / 1_000_000.0
}

/// Counts lines.
#[derive(Debug, Default)]
pub struct Counting {
    report: Report,
    routes: BTreeMap<String, RouteReport>,
    kinds: BTreeMap<Refusal, Tally>,
}

/// What is told apart: the route, the vendor, the code and the reason.
type Refusal = (String, Option<String>, &'static str, Option<String>);

/// A line, as far as it is looked at.
#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow, default)]
    time: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    route: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    answer: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    enforcement: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    shadow_code: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    shadow_reason: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    consumer: Option<Cow<'l, str>>,
    /// Of lines between those of requests.
    #[serde(borrow, default)]
    event: Option<Cow<'l, str>>,
    /// Of lines of the log.
    #[serde(borrow, default)]
    level: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    timestamp: Option<Cow<'l, str>>,
}

/// A request, every part in the form that we write it.
struct Request {
    time: String,
    route: String,
    in_shadow: bool,
    /// What would have refused it: vendor, code and reason.
    would: Option<(Option<String>, &'static str, Option<String>)>,
}

enum Kind {
    Request(Request),
    Event,
    Log,
}

/// Why a line is not counted.
enum Odd {
    Torn(&'static str),
    Foreign(&'static str),
}

impl Counting {
    /// Counts every line of `lines`, which come from `file`.
    ///
    /// # Errors
    /// When they cannot be read on.
    pub fn read(&mut self, file: &Path, mut lines: impl BufRead) -> io::Result<()> {
        let mut number = 0;
        while let Some(line) = next_line(&mut lines)? {
            number += 1;
            match look_at(&line).and_then(|kind| self.count(kind)) {
                Ok(()) => {}
                Err(odd) => self.notice(file, number, &odd),
            }
        }
        Ok(())
    }

    fn notice(&mut self, file: &Path, line: u64, odd: &Odd) {
        let message = match odd {
            Odd::Torn(message) => {
                self.report.torn += 1;
                message
            }
            Odd::Foreign(message) => {
                self.report.foreign += 1;
                message
            }
        };
        if self.report.notices.len() < MOST_NOTICES {
            self.report.notices.push(Notice { file: file.to_owned(), line, message });
        }
    }

    fn count(&mut self, kind: Kind) -> Result<(), Odd> {
        let request = match kind {
            Kind::Request(request) => request,
            Kind::Event => {
                self.report.events += 1;
                return Ok(());
            }
            Kind::Log => {
                self.report.log_lines += 1;
                return Ok(());
            }
        };
        let Request { time, route: name, in_shadow, would } = request;
        if !self.routes.contains_key(&name) && self.routes.len() >= MOST {
            return Err(Odd::Foreign("more routes than are told apart"));
        }
        self.report.requests += 1;
        widen(&mut self.report.first, &mut self.report.last, &time);
        let route = self.routes.entry(name.clone()).or_default();
        route.requests += 1;
        route.in_shadow += u64::from(in_shadow);
        let Some((vendor, code, reason)) = would else { return Ok(()) };
        route.refused.count(&time);
        let kind = (name, vendor, code, reason);
        if self.kinds.contains_key(&kind) || self.kinds.len() < MOST {
            self.kinds.entry(kind).or_default().count(&time);
        } else {
            self.report.more += 1;
        }
        Ok(())
    }

    /// What came of it.
    #[must_use]
    pub fn report(self) -> Report {
        let Self { mut report, mut routes, kinds } = self;
        for ((name, vendor, code, reason), refused) in kinds {
            if let Some(route) = routes.get_mut(&name) {
                let refused = refused.of(route.in_shadow);
                route.refusals.push(RefusalReport { vendor, code, reason, refused });
            }
        }
        report.routes = routes
            .into_iter()
            .map(|(name, mut route)| {
                route.route = name;
                route.refused = route.refused.of(route.in_shadow);
                // Of the same number, in the order of their names.
                route.refusals.sort_by_key(|it| std::cmp::Reverse(it.refused.would_be_refused));
                route
            })
            .collect();
        report
    }
}

/// The next line with its end, or [`LONGEST`] bytes of it and not the rest; `None` at the end.
fn next_line(lines: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    lines.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
    if u64::try_from(line.len()).unwrap_or(u64::MAX) >= LONGEST && !line.ends_with(b"\n") {
        lines.skip_until(b'\n')?;
    }
    Ok((!line.is_empty()).then_some(line))
}

fn look_at(line: &[u8]) -> Result<Kind, Odd> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Odd::Foreign("JSON, and no audit record"),
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => {
            Odd::Torn("no whole JSON: torn when the program was killed, cut, or no audit record")
        }
    })?;
    if line.event.is_some() {
        return Ok(Kind::Event);
    }
    if line.level.is_some() && line.timestamp.is_some() {
        return Ok(Kind::Log);
    }
    Request::of(line).map(Kind::Request).map_err(Odd::Foreign)
}

impl Request {
    fn of(line: Line<'_>) -> Result<Self, &'static str> {
        let time = line.time.filter(|time| is_time(time)).ok_or("`time` is not as we write it")?;
        let route = line.route.filter(|it| is_route(it)).ok_or("`route` is no id of a route")?;
        let in_shadow = match line.enforcement.as_deref() {
            None => false,
            Some("shadow") => true,
            Some(_) => return Err("`enforcement` is a word that we do not write"),
        };
        let code = match line.shadow_code.as_deref() {
            None => None,
            Some(label) => Some(code(label).ok_or("`shadow_code` is no problem code")?),
        };
        match line.answer.as_deref() {
            Some("shadow") if code.is_none() => Err("let through in shadow, without `shadow_code`"),
            None => Err("no `answer`"),
            Some(_) => Ok(()),
        }?;
        if line.consumer.as_deref().is_some_and(|it| !is_organisation(it)) {
            return Err("`consumer` is no organisation number");
        }
        if line.shadow_reason.as_deref().is_some_and(|it| !is_word(it)) {
            return Err("`shadow_reason` is no reason");
        }
        let (vendor, reason) = (line.consumer, line.shadow_reason);
        let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        let would = code.map(|code| (owned(vendor), code, owned(reason)));
        Ok(Self { time: time.into_owned(), route: route.into_owned(), in_shadow, would })
    }
}

fn code(label: &str) -> Option<&'static str> {
    Code::ALL.into_iter().map(Code::label).find(|known| *known == label)
}

/// `2026-11-23T00:00:00.000001Z`
fn is_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000000Z";
    let fits = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == *other,
    };
    text.len() == FORM.len() && text.bytes().zip(FORM).all(fits)
}

/// As the configuration has ids; and none that could be a national identity number.
fn is_route(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    (1..=64).contains(&text.len()) && text.bytes().all(plain) && longest.unwrap_or(0) < 11
}

fn is_organisation(text: &str) -> bool {
    OrgNumber::parse(text, CheckDigits::Ignored).is_ok()
}

/// As our own labels.
fn is_word(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn line(second: u32, route: &str, more: &Value) -> String {
        let mut line = json!({
            "time": format!("2026-11-23T00:00:{second:02}.000000Z"), "trace_id": "a", "route": route,
            "answer": "permit", "code": "none", "consumer": "310000027",
        });
        for (name, value) in more.as_object().unwrap() {
            line[name] = value.clone();
        }
        line.to_string()
    }

    fn would(code: &str, reason: Option<&str>) -> Value {
        json!({ "answer": "shadow", "enforcement": "shadow", "shadow_code": code, "shadow_reason": reason })
    }

    fn report(text: &str) -> Report {
        let mut counting = Counting::default();
        counting.read(Path::new("a"), text.as_bytes()).unwrap();
        counting.report()
    }

    #[test]
    fn requests_are_counted_by_route_vendor_code_and_reason() {
        let shadow = json!({ "enforcement": "shadow" });
        let mut unknown = would("token_missing", None);
        unknown["consumer"] = Value::Null;
        let lines = [
            line(9, "a", &would("token_invalid", Some("audience"))),
            line(3, "a", &would("token_invalid", Some("audience"))),
            line(4, "a", &unknown),
            line(5, "a", &shadow),
            line(1, "a", &json!({})),
            line(2, "b", &shadow),
            line(6, "none", &json!({ "answer": "not_asked", "code": "no_route" })),
            r#"{"event":"checkpoint","seq":1}"#.to_owned(),
            r#"{"timestamp":"x","level":"INFO","message":"listening"}"#.to_owned(),
        ];
        let told = serde_json::to_value(report(&lines.join("\n"))).unwrap();
        let at = |second: u32| format!("2026-11-23T00:00:0{second}.000000Z");
        let expected = json!({
            "requests": 7, "first": at(1), "last": at(9), "events": 1, "log_lines": 1, "torn": 0,
            "foreign": 0, "notices": [], "more": 0,
            "routes": [
                { "route": "a", "requests": 5, "in_shadow": 4, "would_be_refused": 3, "share": 0.75,
                  "first": at(3), "last": at(9), "refusals": [
                    { "vendor": "310000027", "code": "token_invalid", "reason": "audience",
                      "would_be_refused": 2, "share": 0.5, "first": at(3), "last": at(9) },
                    { "vendor": null, "code": "token_missing", "reason": null,
                      "would_be_refused": 1, "share": 0.25, "first": at(4), "last": at(4) },
                ] },
                { "route": "b", "requests": 1, "in_shadow": 1, "would_be_refused": 0, "share": 0.0,
                  "refusals": [] },
                { "route": "none", "requests": 1, "in_shadow": 0, "would_be_refused": 0,
                  "share": 0.0, "refusals": [] },
            ],
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_no_record_of_ours_is_counted_apart_and_none_of_it_is_told() {
        let good = would("no_right", None);
        assert_eq!(report(&line(1, "a", &good)).foreign, 0);
        let whole = line(1, "a", &good);
        let torn = whole.get(..90).unwrap();
        for (text, message) in [
            (torn, "no whole JSON"),
            ("", "no whole JSON"),
            ("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "no whole JSON"),
            ("01010750160 Kari", "no whole JSON"),
        ] {
            let report = report(&format!("{text}\n{}", line(1, "a", &good)));
            assert_eq!((report.torn, report.foreign, report.requests), (1, 0, 1), "{text}");
            assert!(report.notices[0].message.starts_with(message), "{:?}", report.notices);
            assert_eq!(report.notices[0].line, 1);
        }
        let with = |name: &str, value: &str| {
            let mut more = good.clone();
            more[name] = value.into();
            line(1, "a", &more)
        };
        for text in [
            "[]".to_owned(),
            "{}".to_owned(),
            "7".to_owned(),
            line(1, "01010750160", &good),
            line(1, "a/b", &good),
            with("consumer", "01010750160"),
            with("consumer", "Kari"),
            with("shadow_reason", "01010750160"),
            with("shadow_code", "01010750160"),
            with("time", "01010750160"),
            with("enforcement", "01010750160"),
            line(1, "a", &json!({ "answer": "shadow" })),
            format!("{},\"route\":\"a\"}}", line(1, "a", &good).trim_end_matches('}')),
        ] {
            let told = report(&format!("{text}\n{}\n", line(2, "a", &good)));
            assert_eq!((told.torn, told.foreign, told.requests), (0, 1, 1), "{text}");
            let told = serde_json::to_string(&told).unwrap();
            assert!(!told.contains("0101075") && !told.contains("Kari"), "{told}");
        }
    }

    #[test]
    fn a_line_without_end_is_one_line_and_what_follows_is_read() {
        let long = "x".repeat(3 << 20);
        let report = report(&format!("{long}\n{}\n", line(1, "a", &json!({}))));
        assert_eq!((report.torn, report.requests), (1, 1));
    }

    #[test]
    fn what_is_told_apart_is_bounded_and_what_is_more_is_counted() {
        let number = |n: usize| format!("{:09}", 310_000_000 + n);
        let of = |n: usize| {
            let mut more = would("no_right", None);
            more["consumer"] = number(n).into();
            line(1, "a", &more)
        };
        let lines: Vec<String> = (0..MOST + 2).map(of).collect();
        let report = report(&lines.join("\n"));
        assert_eq!((report.foreign, report.more), (0, 2));
        assert_eq!(report.routes[0].refused.would_be_refused, 10_002);
        assert_eq!(report.routes[0].refusals.len(), MOST);
    }

    #[test]
    fn a_share_is_rounded_to_millionths_and_never_beyond_the_whole() {
        assert_eq!(share(1, 3).to_string(), "0.333333");
        assert_eq!(share(2, 3).to_string(), "0.666667");
        assert_eq!(share(0, 0).to_string(), "0");
        assert_eq!(share(5, 5).to_string(), "1");
        assert_eq!(share(u64::MAX, u64::MAX).to_string(), "1");
    }

    proptest! {
        #[test]
        fn no_bytes_stop_it_and_each_line_is_counted_once(bytes: Vec<u8>) {
            let mut counting = Counting::default();
            counting.read(Path::new("a"), bytes.as_slice()).unwrap();
            let Report { requests, events, log_lines, torn, foreign, .. } = counting.report();
            let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
            let counted = requests + events + log_lines + torn + foreign;
            prop_assert_eq!(counted, u64::try_from(lines).unwrap());
        }
    }
}
