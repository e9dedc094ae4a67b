//! The audit line as JSON. By hand, since every request pays for it: a general serialiser takes four times as
//! long.

use super::audit;
use crate::domain::system_user::SystemUserId;
use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;
use std::time::SystemTime;

/// Room for a line as most are, in bytes.
const USUAL: usize = 1024;

/// The audit line. No path, query or header as it came: they may hold personal data. A routed request
/// is told by its template, another by the shape of its path. The fields are documented in
/// `docs/operator.md`.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) time: SystemTime,
    pub(super) trace_id: &'a str,
    pub(super) mode: &'static str,
    pub(super) peer: IpAddr,
    pub(super) method: Option<&'static str>,
    pub(super) route: &'a str,
    pub(super) template: Option<&'a str>,
    pub(super) shape: Option<String>,
    pub(super) answer: &'static str,
    pub(super) code: &'static str,
    pub(super) reason: Option<&'static str>,
    pub(super) enforcement: Option<&'static str>,
    pub(super) shadow_code: Option<&'static str>,
    pub(super) shadow_reason: Option<&'static str>,
    pub(super) status: Option<u16>,
    pub(super) consumer: Option<&'a str>,
    pub(super) supplier: Option<&'a str>,
    pub(super) client_id: Option<&'a str>,
    pub(super) system_id: Option<&'a str>,
    pub(super) owner: Option<&'a str>,
    pub(super) system_user: Option<SystemUserId>,
    pub(super) party: Option<Cow<'a, str>>,
    pub(super) resource: Option<&'a str>,
    pub(super) action: Option<&'a str>,
    pub(super) source: Option<&'static str>,
    pub(super) basis: Option<&'static str>,
    pub(super) age_ms: Option<u64>,
    pub(super) in_grace: Option<bool>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) duration_us: u64,
    pub(super) complete: bool,
}

/// A name as it stands between two members, put together by the compiler.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl Line<'_> {
    /// One JSON object, without what is not known, and without an end of line.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut fields = Fields::begin("{\"time\":\"");
        audit::write_rfc3339(self.time, &mut fields.0);
        fields.0.push(b'"');
        fields.word(name!("trace_id"), self.trace_id);
        fields.word(name!("mode"), self.mode);
        fields.address(name!("peer"), self.peer);
        fields.option(name!("method"), self.method, Fields::word);
        fields.text(name!("route"), self.route);
        fields.option(name!("template"), self.template, Fields::text);
        fields.option(name!("shape"), self.shape.as_deref(), Fields::text);
        fields.word(name!("answer"), self.answer);
        fields.word(name!("code"), self.code);
        fields.option(name!("reason"), self.reason, Fields::word);
        fields.option(name!("enforcement"), self.enforcement, Fields::word);
        fields.option(name!("shadow_code"), self.shadow_code, Fields::word);
        fields.option(name!("shadow_reason"), self.shadow_reason, Fields::word);
        fields.option(name!("status"), self.status, Fields::number);
        fields.option(name!("consumer"), self.consumer, Fields::word);
        fields.option(name!("supplier"), self.supplier, Fields::word);
        fields.option(name!("client_id"), self.client_id, Fields::text);
        fields.option(name!("system_id"), self.system_id, Fields::text);
        fields.option(name!("owner"), self.owner, Fields::word);
        fields.option(name!("system_user"), self.system_user, Fields::user);
        fields.option(name!("party"), self.party.as_deref(), Fields::word);
        fields.option(name!("resource"), self.resource, Fields::word);
        fields.option(name!("action"), self.action, Fields::word);
        fields.option(name!("source"), self.source, Fields::word);
        fields.option(name!("basis"), self.basis, Fields::word);
        fields.option(name!("age_ms"), self.age_ms, Fields::number);
        fields.option(name!("in_grace"), self.in_grace, Fields::flag);
        fields.number(name!("request_bytes"), self.request_bytes);
        fields.number(name!("response_bytes"), self.response_bytes);
        fields.number(name!("duration_us"), self.duration_us);
        fields.flag(name!("complete"), self.complete);
        fields.end()
    }
}

/// RFC 8259 §7. Without a way out in the middle the compiler looks at many bytes at once.
fn is_plain(value: &str) -> bool {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    !value.bytes().fold(false, |found, byte| found | special(byte))
}

/// The members of an object, in order. What writes a name stands where it is called: its length is known there, and so
/// it needs no call.
struct Fields(Vec<u8>);

#[expect(
    clippy::inline_always,
    reason = "so that the length of a name is known where it is copied"
)]
impl Fields {
    fn begin(with: &'static str) -> Self {
        let mut bytes = Vec::with_capacity(USUAL);
        bytes.extend_from_slice(with.as_bytes());
        Self(bytes)
    }

    #[inline(always)]
    fn option<T>(
        &mut self,
        name: &'static str,
        value: Option<T>,
        write: impl FnOnce(&mut Self, &'static str, T),
    ) {
        if let Some(value) = value {
            write(self, name, value);
        }
    }

    #[inline(always)]
    fn name(&mut self, name: &'static str) {
        self.0.extend_from_slice(name.as_bytes());
    }

    /// Text of whoever.
    #[inline(always)]
    fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        if is_plain(value) {
            self.quoted(value.as_bytes());
        } else {
            self.escaped(value);
        }
    }

    /// What holds nothing but letters, digits and punctuation that JSON leaves as it is, by its kind: labels of ours,
    /// numbers of organisations, ids of resources, actions and traces.
    #[inline(always)]
    fn word(&mut self, name: &'static str, value: &str) {
        debug_assert!(is_plain(value), "{value:?} is no word");
        self.name(name);
        self.quoted(value.as_bytes());
    }

    fn quoted(&mut self, plain: &[u8]) {
        self.0.push(b'"');
        self.0.extend_from_slice(plain);
        self.0.push(b'"');
    }

    #[cold]
    fn escaped(&mut self, value: &str) {
        let escaped = serde_json::Value::from(value).to_string();
        self.0.extend_from_slice(escaped.as_bytes());
    }

    #[inline(always)]
    fn user(&mut self, name: &'static str, id: SystemUserId) {
        self.name(name);
        self.quoted(&id.text());
    }

    #[inline(always)]
    fn address(&mut self, name: &'static str, address: IpAddr) {
        self.name(name);
        self.0.push(b'"');
        match address {
            // As the library writes it, without its formatter.
            IpAddr::V4(address) => {
                for (place, byte) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        self.0.push(b'.');
                    }
                    self.digits(byte.into());
                }
            }
            // Writing to memory does not fail.
            IpAddr::V6(address) => _ = write!(self.0, "{address}"),
        }
        self.0.push(b'"');
    }

    #[inline(always)]
    fn number(&mut self, name: &'static str, value: impl Into<u64>) {
        self.name(name);
        self.digits(value.into());
    }

    fn digits(&mut self, value: u64) {
        let mut digits = [0; 20];
        let mut rest = value;
        let mut begin = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            begin -= 1;
            if rest == 0 {
                break;
            }
        }
        self.0.extend_from_slice(digits.get(begin..).unwrap_or_default());
    }

    #[inline(always)]
    fn flag(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn written(text: &str, number: u64, flag: bool) -> Value {
        let mut fields = Fields::begin("{\"first\":0");
        fields.text(name!("text"), text);
        fields.number(name!("number"), number);
        fields.option(name!("none"), None::<u64>, Fields::number);
        fields.option(name!("some"), Some(text), Fields::text);
        fields.flag(name!("flag"), flag);
        let bytes = fields.end();
        assert!(!bytes.iter().any(|byte| *byte < 0x20), "a line of its own: {bytes:?}");
        serde_json::from_slice(&bytes).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(text in any::<String>(), number: u64, flag: bool) {
            let told = json!({
                "first": 0, "text": text, "number": number, "some": text, "flag": flag
            });
            prop_assert_eq!(written(&text, number, flag), told);
        }
    }

    #[test]
    fn every_character_that_json_wants_escaped_is_escaped() {
        for special in (0..=0x20_u8).map(char::from).chain(['"', '\\', '\u{7f}', '\u{2028}', 'æ'])
        {
            let text = format!("a{special}b");
            assert_eq!(written(&text, 0, true)["text"], text, "{special:?}");
        }
        for number in [0, 9, 10, 19, 1_000, u64::MAX] {
            assert_eq!(written("", number, false)["number"], number);
        }
    }

    proptest! {
        #[test]
        fn addresses_and_users_are_written_as_the_library_shows_them(
            v4: [u8; 4], v6: [u8; 16], user in 1_u128..,
        ) {
            let id = SystemUserId::from_bytes(user.to_be_bytes()).unwrap();
            for address in [IpAddr::from(v4), IpAddr::from(v6)] {
                let mut fields = Fields::begin("{\"first\":0");
                fields.address(name!("peer"), address);
                fields.user(name!("user"), id);
                let read: Value = serde_json::from_slice(&fields.end()).unwrap();
                let shown = json!({ "first": 0, "peer": address.to_string(), "user": id.to_string() });
                prop_assert_eq!(read, shown);
            }
        }
    }

    #[test]
    fn a_whole_line_is_as_it_is_documented() {
        let line = Line {
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_392_000_000_001),
            trace_id: "0af7651916cd43dd8448eb211c80319c",
            mode: "proxy",
            peer: "2001:db8::1".parse().unwrap(),
            method: Some("GET"),
            route: "returns",
            template: Some("/v1/{org}/returns"),
            shape: None,
            answer: "permit",
            code: "none",
            reason: None,
            enforcement: Some("shadow"),
            shadow_code: Some("lapsed"),
            shadow_reason: Some("expired"),
            status: Some(200),
            consumer: Some("310000027"),
            supplier: None,
            client_id: Some("a \"client\""),
            system_id: Some("310000027_lonn"),
            owner: Some("310000019"),
            system_user: Some("11111111-1111-4111-8111-111111111111".parse().unwrap()),
            party: Some("310000019".into()),
            resource: Some("ex-returns"),
            action: Some("read"),
            source: Some("register"),
            basis: Some("derived"),
            age_ms: Some(12),
            in_grace: Some(false),
            request_bytes: 0,
            response_bytes: 1_024,
            duration_us: 321,
            complete: true,
        };
        let told = concat!(
            r#"{"time":"2026-11-23T00:00:00.000001Z","trace_id":"0af7651916cd43dd8448eb211c80319c","#,
            r#""mode":"proxy","peer":"2001:db8::1","method":"GET","route":"returns","#,
            r#""template":"/v1/{org}/returns","answer":"permit","code":"none","enforcement":"shadow","#,
            r#""shadow_code":"lapsed","shadow_reason":"expired","status":200,"#,
            r#""consumer":"310000027","client_id":"a \"client\"","system_id":"310000027_lonn","#,
            r#""owner":"310000019","system_user":"11111111-1111-4111-8111-111111111111","#,
            r#""party":"310000019","resource":"ex-returns","action":"read","source":"register","#,
            r#""basis":"derived","age_ms":12,"in_grace":false,"request_bytes":0,"#,
            r#""response_bytes":1024,"duration_us":321,"complete":true}"#,
        );
        assert_eq!(String::from_utf8(line.json()).unwrap(), told);
    }
}
