//! After the permit: while an answer or a tunnel goes on, the right is judged again and again, and who has
//! lost it is cut off (threats 15 and 62).
//!
//! Judged is the same question for the same system user, as a new request would be. "Cannot tell" ends it as
//! well as "no": nothing goes on longer than the route lets an answer be old.

use super::answers::Answers;
use super::authorize::{Permit, Refusal, judge};
use super::rejection::Rejection;
use super::{Enforcer, Grant};
use crate::clock::Clock;
use crate::config::{AccessConfig, Freshness};
use crate::domain::decision::{Undecided, Verdict};
use crate::domain::resource::Question;
use crate::domain::time::UnixTime;
use crate::register::Seen;
use http::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two looks: a route with `max_age: 0s` is not asked for without end.
const LEAST: Duration = Duration::from_secs(1);

/// Why what went on had to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Lapse {
    /// The right is held no longer.
    #[error("the right is held no longer")]
    No(Verdict),
    /// It could not be told whether it still is.
    #[error("it can no longer be told whether the right is held")]
    Unknown(Undecided),
    /// The token has ended.
    #[error("the token has ended")]
    TokenEnded,
}

impl Lapse {
    /// The stable label in audit records and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::No(Verdict::NotApplicable) => "no_right",
            Self::No(Verdict::Deny | Verdict::Unmet(_) | Verdict::Permit) => "denied",
            Self::Unknown(_) => "cannot_decide",
            Self::TokenEnded => "expired",
        }
    }
}

/// What is watched, and how.
pub struct Vigil {
    again: Option<Again>,
    token_ends: Option<UnixTime>,
    clock: Arc<dyn Clock>,
}

struct Again {
    answers: Arc<Answers>,
    question: Question,
    freshness: Freshness,
    seen: Seen,
    every: Duration,
    budget: Duration,
}

/// What goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Going {
    /// The answer to one request: a download may outlive its token unless its route says otherwise.
    Answer,
    /// A tunnel, which can carry any number of requests: it ends with its token unless its route says
    /// otherwise.
    Tunnel,
}

impl Enforcer {
    /// Watches over what was granted, from now on.
    #[must_use]
    pub fn vigil(&self, grant: &Grant, method: &Method, going: Going) -> Vigil {
        let streams = grant.route().config.streams;
        let with_token = streams.end_with_token.unwrap_or(going == Going::Tunnel);
        let leeway = self.authenticator.leeway();
        let ends = grant.token().filter(|_| with_token);
        let again = match grant {
            Grant::Right(permit) => self.again(permit, method),
            Grant::Scopes(_) | Grant::Anonymous(_) => None,
        };
        Vigil {
            again,
            token_ends: ends.map(|token| token.claims.expires.saturating_add(leeway)),
            clock: Arc::clone(self.authenticator.clock()),
        }
    }

    fn again(&self, permit: &Permit, method: &Method) -> Option<Again> {
        let AccessConfig::Right(right) = &permit.route().config.access else { return None };
        let freshness = right.freshness(method);
        let every = permit.route().config.streams.recheck.unwrap_or(freshness.max_age).max(LEAST);
        Some(Again {
            answers: Arc::clone(self.answers.as_ref()?),
            question: permit.question().clone(),
            freshness,
            seen: permit.seen(),
            every,
            budget: self.budget,
        })
    }
}

impl Vigil {
    /// Ends when what was granted must end; never, where nothing can end it.
    pub async fn lapse(self) -> Lapse {
        let Self { again, token_ends, clock } = self;
        let right = async {
            match again {
                Some(again) => again.lapse().await,
                None => std::future::pending().await,
            }
        };
        let token = async {
            match token_ends {
                // The wall clock may be set while we sleep; a minute is the longest that this goes unseen.
                Some(end) => loop {
                    let left = clock.now().until(end);
                    if left.is_zero() {
                        break;
                    }
                    tokio::time::sleep(left.min(Duration::from_secs(60))).await;
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            lapse = right => lapse,
            () = token => Lapse::TokenEnded,
        }
    }
}

impl Again {
    async fn lapse(self) -> Lapse {
        let mut due = Instant::now();
        loop {
            due = (due + self.every).max(Instant::now());
            tokio::time::sleep_until(due).await;
            let judged =
                judge(&self.question, &self.answers, self.freshness, &self.seen, self.budget).await;
            match judged {
                Ok(_) => {}
                Err(Refusal::No(verdict)) => return Lapse::No(verdict),
                Err(Refusal::Undecided(undecided)) => return Lapse::Unknown(undecided),
            }
        }
    }
}

impl From<Lapse> for Rejection {
    fn from(lapse: Lapse) -> Self {
        Self::Lapsed(lapse)
    }
}
