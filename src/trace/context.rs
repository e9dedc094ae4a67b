//! W3C Trace Context (Recommendation of 23 November 2021): which trace a request belongs to, and how the next is told.
//!
//! What is malformed begins a new trace; it never refuses a request. The field `tracestate` belongs to others: it is
//! passed on within bounds, and read by nobody here.

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;
use std::fmt;
use std::io::Write;
use std::num::NonZeroU64;

/// The field that tells trace, parent and flags (§3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The field in which tracing systems keep what is theirs (§3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Most members of a `tracestate` (§3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Longest `tracestate` that is passed on; as much has to be (§3.3.1.5).
const MAX_STATE: usize = 512;
/// Members longer than this go first when it is too long (§3.3.1.5).
const LONG_MEMBER: usize = 128;
/// The flag of a trace that is recorded (§3.2.2.5.1).
const SAMPLED: u8 = 1;

/// Id of a trace: 32 lower-case hexadecimal digits, not all of them zero.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let mut text = [0; 32];
        uuid::Uuid::new_v4().simple().encode_lower(&mut text);
        Self(text)
    }

    /// Reads 32 lower-case hexadecimal digits; `None` for anything else, and for zeros only.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: [u8; 32] = text.try_into().ok()?;
        (is_hex(&text) && text.iter().any(|digit| *digit != b'0')).then_some(Self(text))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // INVARIANT: digits only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As OTLP sends it.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        u128::from_str_radix(self.as_str(), 16).unwrap_or_default().to_be_bytes()
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Id of a span: 8 bytes, shown as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        // The fixed bits of one half meet drawn ones of the other.
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self::of(high ^ low)
    }

    fn of(number: u64) -> Self {
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    /// The id of the span so many places behind this one. Each of them is another, and another than this.
    #[must_use]
    pub(super) fn behind(self, places: u64) -> Self {
        /// Odd, so that no two places are alike; spread, so that neither are ids that are drawn.
        const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;
        Self::of(self.0.get().wrapping_add(STRIDE.wrapping_mul(places)))
    }

    /// As a number: every bit is drawn.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// As OTLP sends it.
    #[must_use]
    pub fn bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| is_hex(text.as_bytes()))?;
        NonZeroU64::new(u64::from_str_radix(text, 16).ok()?).map(Self)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a caller says of its trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Its trace.
    pub trace: TraceId,
    /// Its span.
    pub span: SpanId,
    /// Whether it records the trace.
    pub sampled: bool,
}

impl Caller {
    /// Reads `traceparent`; `None` where it is absent, there more than once, or malformed. Allocates nothing.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(TRACEPARENT).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return None };
        Self::parse(field.as_bytes())
    }

    /// `version-trace-parent-flags`. Of a version that comes after ours the same four are read (§4.3).
    fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(55)?;
        let (version, trace, parent, flags) =
            (head.get(..2)?, head.get(3..35)?, head.get(36..52)?, head.get(53..)?);
        let dashes = [2, 35, 52].iter().all(|place| head.get(*place) == Some(&b'-'));
        let ends = match version {
            b"ff" => false,
            b"00" => rest.is_empty(),
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        if !(dashes && ends && is_hex(version) && is_hex(flags)) {
            return None;
        }
        let flags = u8::from_str_radix(std::str::from_utf8(flags).ok()?, 16).ok()?;
        let sampled = flags & SAMPLED != 0;
        Some(Self { trace: TraceId::parse(trace)?, span: SpanId::parse(parent)?, sampled })
    }
}

/// A `traceparent` of version 00.
#[must_use]
pub fn traceparent(trace: TraceId, span: SpanId, sampled: bool) -> Option<HeaderValue> {
    let flags = if sampled { "01" } else { "00" };
    let mut text = [0; 55];
    write!(text.as_mut_slice(), "00-{trace}-{span}-{flags}").ok()?;
    HeaderValue::from_bytes(&text).ok()
}

/// Brings `tracestate` within its bounds, in place. What is malformed, or has too many members, goes whole; what is too
/// long loses long members first, and then the oldest. One field that is well-formed and short enough is left as it is.
pub fn bound_state(headers: &mut HeaderMap) {
    let fields = headers.get_all(TRACESTATE).iter();
    let fields: SmallVec<[&[u8]; 2]> = fields.map(HeaderValue::as_bytes).collect();
    let members = members(&fields);
    let good = match fields.as_slice() {
        [] => true,
        [only] => only.len() <= MAX_STATE && members.is_some(),
        _ => false,
    };
    if good {
        return;
    }
    let bounded = members.and_then(shortened);
    drop(fields);
    headers.remove(TRACESTATE);
    if let Some(state) = bounded {
        headers.insert(TRACESTATE, state);
    }
}

type Members<'h> = SmallVec<[&'h [u8]; MAX_MEMBERS]>;

/// The members in order, empty ones left out; `None` where one is malformed or there are too many.
fn members<'h>(fields: &[&'h [u8]]) -> Option<Members<'h>> {
    let mut all = Members::new();
    let parts = fields.iter().flat_map(|field| field.split(|byte| *byte == b','));
    for member in parts.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
        if all.len() == MAX_MEMBERS || !is_member(member) {
            return None;
        }
        all.push(member);
    }
    Some(all)
}

fn shortened(mut members: Members<'_>) -> Option<HeaderValue> {
    let length =
        |members: &Members<'_>| members.iter().map(|member| member.len() + 1).sum::<usize>();
    while length(&members) > MAX_STATE + 1 {
        let long = members.iter().rposition(|member| member.len() > LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    if members.is_empty() { None } else { HeaderValue::from_bytes(&members.join(&b","[..])).ok() }
}

/// `key=value` (§3.3.1.3).
fn is_member(member: &[u8]) -> bool {
    let Some(end) = member.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = (member.get(..end), member.get(end + 1..));
    let (Some(key), Some(value)) = (key, value) else { return false };
    let (tenant, system) = match key.iter().position(|byte| *byte == b'@') {
        Some(at) => (key.get(..at), key.get(at + 1..)),
        None => (None, Some(key)),
    };
    let is_key = |key: &[u8], most: usize, digit: bool| {
        let begins = key
            .first()
            .is_some_and(|byte| byte.is_ascii_lowercase() || (digit && byte.is_ascii_digit()));
        let fits = |byte: &u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte)
        };
        begins && key.len() <= most && key.iter().all(fits)
    };
    let named = match (tenant, system) {
        (Some(tenant), Some(system)) => is_key(tenant, 241, true) && is_key(system, 14, false),
        (None, Some(key)) => is_key(key, 256, false),
        (_, None) => false,
    };
    let printable = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'=';
    named && (1..=256).contains(&value.len()) && value.iter().all(printable)
}

fn is_hex(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(values: &[&str]) -> Option<(String, String, bool)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let caller = Caller::read(&headers)?;
        Some((caller.trace.to_string(), caller.span.to_string(), caller.sampled))
    }

    #[test]
    fn a_traceparent_counts_only_when_well_formed() {
        let told = |sampled| Some((TRACE.to_owned(), "00f067aa0ba902b7".to_owned(), sampled));
        let with =
            |version: &str, flags: &str| format!("{version}-{TRACE}-00f067aa0ba902b7-{flags}");
        for (text, sampled) in [
            (GOOD.to_owned(), true),
            (with("00", "00"), false),
            (with("00", "ff"), true),
            (with("00", "02"), false),
            (with("cc", "01"), true),
            (with("01", "01-what-comes-later"), true),
        ] {
            assert_eq!(read(&[&text]), told(sampled), "{text}");
        }
        for text in [
            String::new(),
            TRACE.to_owned(),
            with("ff", "01"),
            with("0G", "01"),
            with("0", "01"),
            with("000", "01"),
            with("00", "1"),
            with("00", "0x"),
            with("00", "0A"),
            with("00", "+1"),
            with("00", "01-more"),
            with("00", "01-"),
            with("01", "01more"),
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}0-0f067aa0ba902b7-01"),
            format!("00-{TRACE}-+0f067aa0ba902b7-01"),
            format!("{GOOD}, {GOOD}"),
            format!("00-{TRACE}-00f067aa0ba902b7-01\u{e6}"),
            "\u{e6}".repeat(30),
        ] {
            assert_eq!(read(&[&text]), None, "{text}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[GOOD, GOOD]), None, "twice");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (trace, span) = (TraceId::random(), SpanId::random());
        for sampled in [true, false] {
            let value = traceparent(trace, span, sampled).unwrap();
            assert_eq!(Caller::parse(value.as_bytes()), Some(Caller { trace, span, sampled }));
        }
        let id = TraceId::parse(TRACE.as_bytes()).unwrap();
        assert_eq!(id.bytes()[..3], [0x4b, 0xf9, 0x2f]);
        assert_eq!(SpanId::of(1).bytes(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(SpanId::of(0).to_string(), "0000000000000001");
    }

    fn state(values: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACESTATE, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        bound_state(&mut headers);
        let fields = headers.get_all(TRACESTATE).iter();
        fields.map(|field| field.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_tracestate_is_passed_on_within_its_bounds() {
        for good in ["rojo=00f067aa0ba902b7", "a=1, b=2,,c= 3", "0t@s=1", "a_-*/9=!~"] {
            assert_eq!(state(&[good]), [good]);
        }
        assert_eq!(state(&["a=1", "b=2 , c=3"]), ["a=1,b=2,c=3"]);
        let long_key = format!("{}=1", "k".repeat(257));
        let long_value = format!("k={}", "v".repeat(257));
        let tenant = format!("{}@s=1", "t".repeat(242));
        for bad in [
            "a", "=1", "a=", "A=1", "0=1", "a=1=2", "a=\u{e6}", "a b=1", "t@0=1", "@s=1", "a=\t1,b",
        ] {
            assert!(state(&[bad]).is_empty(), "{bad}");
        }
        for bad in [&long_key, &long_value, &tenant] {
            assert!(state(&[bad]).is_empty(), "{bad}");
        }
        assert!(state(&["a=1", "bad"]).is_empty());
        let many = |count: usize| {
            let all: Vec<String> = (0..count).map(|number| format!("k{number}=1")).collect();
            all.join(",")
        };
        assert_eq!(state(&[&many(32)]), [many(32)]);
        assert!(state(&[&many(33)]).is_empty());
        // 4 × 130 and commas: too long; the last long one goes.
        let long = |name: char| format!("{name}={}", "v".repeat(128));
        let all = ['a', 'b', 'c', 'd'].map(long).join(",") + ",e=1";
        assert_eq!(state(&[&all]), [['a', 'b', 'c'].map(long).join(",") + ",e=1"]);
        let short = |name: char| format!("{name}={}", "v".repeat(120));
        let all = ['a', 'b', 'c', 'd', 'e'].map(short).join(",");
        assert_eq!(state(&[&all]), [['a', 'b', 'c', 'd'].map(short).join(",")]);
    }
}
