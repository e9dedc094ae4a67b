//! The last refusals, for who asks the admin listener why a call did not pass. Bounded; the audit keeps all.

use super::audit::rfc3339;
use super::line::Line;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most refusals remembered.
pub const MOST: usize = 100;

/// The last [`MOST`] refusals.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<VecDeque<Box<str>>>);

/// What is told of one: no path, query, header or token; persons as in the audit.
#[derive(Serialize)]
struct Refusal<'a> {
    time: String,
    trace_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    answer: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    party: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
}

impl Refusals {
    /// Remembers one; the oldest gives way.
    pub(super) fn note(&self, line: &Line<'_>) {
        let refusal = Refusal {
            time: rfc3339(line.time),
            trace_id: line.trace_id,
            method: line.method,
            route: line.route,
            status: line.status,
            answer: line.answer,
            code: line.code,
            reason: line.reason,
            consumer: line.consumer,
            system_user: line.system_user.map(|id| id.to_string()),
            party: line.party.as_deref(),
            resource: line.resource,
            action: line.action,
        };
        // Text and numbers always make a line.
        let Ok(text) = serde_json::to_string(&refusal) else { return };
        let mut kept = self.kept();
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back(text.into());
    }

    /// All of them as one JSON text, the latest first.
    #[must_use]
    pub fn json(&self) -> String {
        let kept: Vec<Box<str>> = self.kept().iter().rev().cloned().collect();
        format!("{{\"refusals\":[{}]}}\n", kept.join(",\n"))
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Box<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
