//! After the permit: while an answer or a tunnel goes on, the right is judged again and again, and who has
//! lost it is cut off (threats 15 and 62).
//!
//! Judged is the same question for the same system user, as a new request would be. "Cannot tell" ends it as
//! well as "no": nothing goes on longer than the route lets an answer be old.

use super::answers::Answers;
use super::authenticate::TokenError;
use super::authorize::{Permit, Refusal, judge};
use super::ports::{KeyError, KeySource, VerificationKey};
use super::rejection::Rejection;
use super::{Enforcer, Grant};
use crate::clock::Clock;
use crate::config::{AccessConfig, Freshness};
use crate::domain::claims::ClaimError;
use crate::domain::decision::{Cause, Undecided, Verdict};
use crate::domain::resource::Question;
use crate::domain::time::UnixTime;
use crate::register::Seen;
use http::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two looks: a route with `max_age: 0s` is not asked for without end.
const LEAST: Duration = Duration::from_secs(1);

/// How often keys and the wall clock are looked at: both may change while we sleep.
const LOOK: Duration = Duration::from_secs(60);

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
    /// The issuer has withdrawn the key of the token.
    #[error("the issuer has withdrawn the token's key")]
    KeyGone,
    /// The program is stopping, and streams have had their grace.
    #[error("the server is stopping")]
    Stopping,
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
            Self::KeyGone => "unknown_key",
            Self::Stopping => "stopping",
        }
    }
}

/// What is watched, and how.
pub struct Vigil {
    again: Option<Again>,
    token: Option<Held>,
    clock: Arc<dyn Clock>,
}

/// The token that it was granted to.
struct Held {
    ends: Option<UnixTime>,
    key: Arc<VerificationKey>,
    keys: Arc<dyn KeySource>,
}

struct Again {
    answers: Arc<Answers>,
    question: Question,
    freshness: Freshness,
    seen: Seen,
    every: Duration,
    since: Instant,
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
    /// Watches over what was granted at `since`.
    #[must_use]
    pub fn vigil(&self, grant: &Grant, method: &Method, going: Going, since: Instant) -> Vigil {
        let streams = grant.route().config.streams;
        let with_token = streams.end_with_token.unwrap_or(going == Going::Tunnel);
        let leeway = self.authenticator.leeway();
        let token = grant.token().map(|token| Held {
            ends: with_token.then(|| token.claims.expires.saturating_add(leeway)),
            key: Arc::clone(token.key()),
            keys: Arc::clone(self.authenticator.keys()),
        });
        let again = match grant {
            Grant::Right(permit) => self.again(permit, method, since),
            Grant::Scopes(_) | Grant::Anonymous(_) => None,
        };
        Vigil { again, token, clock: Arc::clone(self.authenticator.clock()) }
    }

    fn again(&self, permit: &Permit, method: &Method, since: Instant) -> Option<Again> {
        let AccessConfig::Right(right) = &permit.route().config.access else { return None };
        let freshness = right.freshness(method);
        let every = permit.route().config.streams.recheck.unwrap_or(freshness.max_age).max(LEAST);
        Some(Again {
            answers: Arc::clone(self.answers.as_ref()?),
            question: permit.question().clone(),
            freshness,
            seen: permit.seen(),
            every,
            since,
            budget: self.budget,
        })
    }
}

impl Vigil {
    /// Ends when what was granted must end; never, where nothing can end it.
    pub async fn lapse(self) -> Lapse {
        let Self { again, token, clock } = self;
        let right = async {
            match again {
                Some(again) => again.lapse().await,
                None => std::future::pending().await,
            }
        };
        let token = async {
            match token {
                Some(token) => token.lapse(&*clock).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            lapse = right => lapse,
            lapse = token => lapse,
        }
    }
}

impl Held {
    async fn lapse(self, clock: &dyn Clock) -> Lapse {
        loop {
            match self.keys.find(&self.key.key_id) {
                Ok(key) if Arc::ptr_eq(&key, &self.key) => {}
                Ok(_) | Err(KeyError::Unknown) => return Lapse::KeyGone,
                Err(KeyError::Unavailable) => return Lapse::Unknown(Cause::NoKeys.into()),
            }
            let left = self.ends.map_or(LOOK, |end| clock.now().until(end));
            if left.is_zero() {
                return Lapse::TokenEnded;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }
}

impl Again {
    async fn lapse(self) -> Lapse {
        let mut due = self.since;
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

impl Lapse {
    /// What a caller is told to whom nothing was said yet: "cannot tell" is no "no" here either.
    #[must_use]
    pub fn into_rejection(self) -> Rejection {
        match self {
            Self::No(_) | Self::Stopping => Rejection::Lapsed(self),
            Self::Unknown(undecided) => Rejection::Undecided(undecided),
            Self::TokenEnded => TokenError::Claim(ClaimError::Expired).into(),
            Self::KeyGone => TokenError::UnknownKey.into(),
        }
    }
}
