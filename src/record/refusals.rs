//! The last refusals, for who asks the admin listener why a call did not pass; and how many there were in the
//! last hour, by reason and by vendor. Bounded; the audit keeps all.

use super::audit::rfc3339;
use super::line::Line;
use super::minutes::Minutes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most refusals remembered.
pub const MOST: usize = 100;

/// Room for one as most are, in bytes.
const USUAL: usize = 768;

/// Most vendors counted by name in one minute; those who come later in it are counted together.
const VENDORS: usize = 256;

/// The last [`MOST`] refusals, and the last hour in numbers.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<Vec<u8>>,
    hour: Minutes<Tally>,
}

/// The refusals of one minute. Its labels come from enums, and its vendors are bounded.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By code and reason; the reason is empty where the code says it all.
    pub reasons: BTreeMap<(&'static str, &'static str), u64>,
    /// By the organisation number of the token's consumer, the vendor.
    pub vendors: HashMap<Box<str>, u64>,
    /// Of vendors beyond those that are counted by name.
    pub other_vendors: u64,
    /// Without a verified token, so that nobody knows of whom.
    pub nameless: u64,
}

/// What is told of one: no path, query, header or token; persons as in the audit.
#[derive(Debug, Deserialize, Serialize)]
pub struct Refusal<'a> {
    /// When the request came (RFC 3339).
    pub time: Cow<'a, str>,
    /// Id of the trace, 32 hexadecimal digits.
    pub trace_id: Cow<'a, str>,
    /// Which mode served it.
    pub mode: Cow<'a, str>,
    /// The method, if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Cow<'a, str>>,
    /// Id of the route; `none` where none matched.
    pub route: Cow<'a, str>,
    /// The route's path, as the configuration writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Cow<'a, str>>,
    /// Without a route: the shape of the path, without digits and names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Cow<'a, str>>,
    /// The status that the caller got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The step that refused.
    pub step: Cow<'a, str>,
    /// The steps that were done, in order; the last is the one that refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<Cow<'a, str>>,
    /// Which of the five answers.
    pub answer: Cow<'a, str>,
    /// The stable code of the refusal.
    pub code: Cow<'a, str>,
    /// The finer cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// The same in words.
    pub words: Cow<'a, str>,
    /// Organisation number of the token's consumer: the vendor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<Cow<'a, str>>,
    /// The system user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_user: Option<Cow<'a, str>>,
    /// Whom the request concerns; a person by pseudonym.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Cow<'a, str>>,
    /// The resource that the route asks a right on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Cow<'a, str>>,
    /// The action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Cow<'a, str>>,
}

/// Where and why a request was refused, beyond what its audit line says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Why<'a> {
    /// The step that refused.
    pub(super) step: &'static str,
    /// The steps that were done, in order.
    pub(super) done: &'a [&'static str],
    /// In words, without anything that came with the request.
    pub(super) words: &'a str,
}

impl Refusals {
    /// Remembers and counts one; the oldest gives way.
    pub(super) fn note(&self, line: &Line<'_>, why: Why<'_>) {
        let refusal = Refusal {
            time: rfc3339(line.time).into(),
            trace_id: line.trace_id.into(),
            mode: line.mode.into(),
            method: line.method.map(Cow::from),
            route: line.route.into(),
            template: line.template.map(Cow::from),
            shape: line.shape.as_deref().map(Cow::from),
            status: line.status,
            step: why.step.into(),
            done: why.done.iter().map(|step| Cow::from(*step)).collect(),
            answer: line.answer.into(),
            code: line.code.into(),
            reason: line.reason.map(Cow::from),
            words: why.words.into(),
            consumer: line.consumer.map(Cow::from),
            system_user: line.system_user.map(|id| id.to_string().into()),
            party: line.party.as_deref().map(Cow::from),
            resource: line.resource.map(Cow::from),
            action: line.action.map(Cow::from),
        };
        let mut text = Vec::with_capacity(USUAL);
        // Text and numbers always make a line.
        let Ok(()) = serde_json::to_writer(&mut text, &refusal) else { return };
        let mut kept = self.kept();
        if kept.last.len() >= MOST {
            kept.last.pop_front();
        }
        kept.last.push_back(text);
        kept.hour.note(|tally| tally.count(line));
    }

    /// All of them as one JSON text, the latest first.
    #[must_use]
    pub fn json(&self) -> String {
        let texts = self.texts().join(&b",\n"[..]);
        format!("{{\"refusals\":[{}]}}\n", String::from_utf8_lossy(&texts))
    }

    /// All of them, the latest first.
    #[must_use]
    pub fn last(&self) -> Vec<Refusal<'static>> {
        // Each was written here, so that each can be read.
        self.texts().iter().filter_map(|text| serde_json::from_slice(text).ok()).collect()
    }

    /// Those of the last hour in numbers: how many minutes ago, and what was counted in that minute.
    #[must_use]
    pub fn hour(&self) -> Vec<(usize, Arc<Tally>)> {
        self.kept().hour.told()
    }

    fn texts(&self) -> Vec<Vec<u8>> {
        self.kept().last.iter().rev().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn count(&mut self, line: &Line<'_>) {
        let reason = line.reason.unwrap_or_default();
        *self.reasons.entry((line.code, reason)).or_default() += 1;
        let Some(vendor) = line.consumer else {
            self.nameless += 1;
            return;
        };
        if let Some(count) = self.vendors.get_mut(vendor) {
            *count += 1;
        } else if self.vendors.len() < VENDORS {
            self.vendors.insert(vendor.into(), 1);
        } else {
            self.other_vendors += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    impl Refusals {
        /// Notes a refusal of this vendor, for tests of the pages.
        pub(crate) fn note_of(&self, vendor: &str) {
            let why = Why {
                step: "authorize",
                done: &["authorize"],
                words: "nothing delegated gives it",
            };
            self.note(&line("no_right", Some(vendor)), why);
        }

        /// Notes a refusal with this text wherever there is room for text.
        pub(crate) fn note_hostile(&self, text: &'static str) {
            let line = Line {
                trace_id: text,
                mode: text,
                method: Some(text),
                route: text,
                template: Some(text),
                shape: Some(text.to_owned()),
                answer: text,
                code: text,
                reason: Some(text),
                consumer: Some(text),
                party: Some(text.into()),
                resource: Some(text),
                action: Some(text),
                ..line(text, None)
            };
            self.note(&line, Why { step: text, done: &[text], words: text });
        }
    }

    /// A line with these texts, and nothing else of interest.
    fn line<'a>(code: &'static str, consumer: Option<&'a str>) -> Line<'a> {
        Line {
            time: SystemTime::UNIX_EPOCH,
            trace_id: "0af7651916cd43dd8448eb211c80319c",
            mode: "proxy",
            peer: std::net::IpAddr::from([127, 0, 0, 1]),
            method: Some("GET"),
            route: "read",
            template: None,
            shape: None,
            answer: "not_asked",
            code,
            reason: None,
            enforcement: None,
            shadow_code: None,
            shadow_reason: None,
            status: Some(403),
            consumer,
            supplier: None,
            client_id: None,
            system_id: None,
            owner: None,
            system_user: None,
            party: None,
            resource: None,
            action: None,
            source: None,
            basis: None,
            age_ms: None,
            in_grace: None,
            request_bytes: 0,
            response_bytes: 0,
            duration_us: 0,
            complete: true,
        }
    }

    const WHY: Why<'static> = Why {
        step: "scope",
        done: &["admit", "route", "authenticate", "scope"],
        words: "insufficient scope",
    };

    #[test]
    fn what_is_remembered_is_read_as_it_was_written() {
        let refusals = Refusals::default();
        let mut first = line("no_right", Some("310000205"));
        (first.template, first.resource) = (Some("/<b>\"&'\\\u{7}{party}"), Some("a</script>"));
        refusals.note(&first, WHY);
        refusals.note(&line("no_route", None), WHY);
        let told = refusals.last();
        assert_eq!(told.len(), 2);
        assert_eq!((&*told[0].code, &told[0].consumer), ("no_route", &None));
        assert_eq!(told[1].template.as_deref(), first.template);
        assert_eq!(told[1].resource.as_deref(), first.resource);
        assert_eq!((&*told[1].step, &*told[1].words), ("scope", "insufficient scope"));
        assert_eq!(told[1].done, WHY.done);
    }

    #[test]
    fn ten_thousand_vendors_take_no_more_room_than_a_few() {
        let refusals = Refusals::default();
        for number in 0..10_000 {
            refusals.note(&line("no_right", Some(&number.to_string())), WHY);
        }
        refusals.note(&line("no_right", Some("0")), WHY);
        refusals.note(&line("token_missing", None), WHY);
        assert_eq!(refusals.last().len(), MOST);
        let hour = refusals.hour();
        assert!(hour.iter().all(|(_, tally)| tally.vendors.len() <= VENDORS));
        let sum =
            |count: fn(&Tally) -> u64| hour.iter().map(|(_, tally)| count(tally)).sum::<u64>();
        assert_eq!(sum(|it| it.vendors.values().sum::<u64>() + it.other_vendors), 10_001);
        assert_eq!(sum(|it| it.nameless), 1);
        assert_eq!(sum(|it| it.reasons.values().sum()), 10_002);
    }
}
