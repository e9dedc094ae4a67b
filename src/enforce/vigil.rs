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
use super::route::{Route, Routes};
use super::{Enforcer, Grant};
use crate::clock::Clock;
use crate::config::{AccessConfig, Freshness};
use crate::domain::claims::ClaimError;
use crate::domain::decision::{Cause, Undecided, Verdict};
use crate::domain::resource::Question;
use crate::domain::scope::{GrantedScopes, ScopeRule};
use crate::domain::time::UnixTime;
use crate::register::Seen;
use http::Method;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
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
    /// The configuration was changed, and does not grant it any more.
    #[error("the route does not grant it any more")]
    RouteChanged,
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
            Self::RouteChanged => "route_changed",
            Self::Stopping => "stopping",
        }
    }
}

/// What is watched, and how.
pub struct Vigil {
    again: Option<Again>,
    token: Option<Held>,
    route: RouteHeld,
    clock: Arc<dyn Clock>,
}

/// The routes as the newest configuration has them: what goes on is held to these, whichever it began with. A clone
/// follows the same configurations.
#[derive(Clone, Debug)]
pub struct Newest(Arc<watch::Sender<Rules>>);

/// What a route grants, and how often that is judged again.
#[derive(Debug, Default)]
struct Rules {
    routes: Option<Arc<HashMap<String, Arc<Route>>>>,
    answers: Option<Arc<Answers>>,
}

impl Default for Newest {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Rules::default())))
    }
}

impl Newest {
    /// From now on what goes on is held to these routes and answers.
    pub fn publish(&self, routes: &Routes, answers: Option<Arc<Answers>>) {
        let by_id = routes.all().map(|route| (route.config.id.clone(), Arc::clone(route)));
        let routes = Some(Arc::new(by_id.collect()));
        self.0.send_replace(Rules { routes, answers });
    }
}

/// The route that it was granted by, and what it was granted to.
struct RouteHeld {
    newest: watch::Receiver<Rules>,
    route: Arc<Route>,
    method: Method,
    scopes: Option<GrantedScopes>,
}

impl RouteHeld {
    /// Ends when the route is gone, or would not grant the same any more.
    async fn lapse(mut self) -> Lapse {
        while self.is_granted() {
            if self.newest.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
        Lapse::RouteChanged
    }

    fn is_granted(&mut self) -> bool {
        let rules = self.newest.borrow_and_update();
        // Nothing was ever changed.
        let Some(routes) = &rules.routes else { return true };
        let Some(now) = routes.get(&self.route.config.id) else { return false };
        let meets = |rule: &ScopeRule| {
            self.scopes.as_ref().is_some_and(|scopes| rule.check(scopes).is_ok())
        };
        let (before, now) = (&self.route.config, now.as_ref());
        let same = now.config.path == before.path && now.serves(&self.method);
        same && match (&before.access, &now.config.access) {
            (_, AccessConfig::Anonymous) => true,
            (AccessConfig::Anonymous, _) | (AccessConfig::Scopes(_), AccessConfig::Right(_)) => {
                false
            }
            (_, AccessConfig::Scopes(rule)) => meets(rule),
            (AccessConfig::Right(old), AccessConfig::Right(new)) => {
                old.right == new.right && old.party == new.party && meets(&new.scopes)
            }
        }
    }
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
    seen: Seen,
    method: Method,
    route: Arc<Route>,
    newest: watch::Receiver<Rules>,
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
        let route = RouteHeld {
            newest: self.newest.0.subscribe(),
            route: Arc::clone(grant.route()),
            method: method.clone(),
            scopes: grant.token().map(|token| token.claims.scopes.clone()),
        };
        Vigil { again, token, route, clock: Arc::clone(self.authenticator.clock()) }
    }

    fn again(&self, permit: &Permit, method: &Method, since: Instant) -> Option<Again> {
        Some(Again {
            answers: Arc::clone(self.answers.as_ref()?),
            question: permit.question().clone(),
            seen: permit.seen(),
            method: method.clone(),
            route: Arc::clone(permit.route()),
            newest: self.newest.0.subscribe(),
            since,
            budget: self.budget,
        })
    }
}

impl Vigil {
    /// Ends when what was granted must end; never, where nothing can end it.
    pub async fn lapse(self) -> Lapse {
        let Self { again, token, route, clock } = self;
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
            lapse = route.lapse() => lapse,
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
        let mut newest = self.newest.clone();
        let mut last = self.since;
        loop {
            let Some((_, _, every)) = self.rules() else { return Lapse::RouteChanged };
            let due = (last + every).max(Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                // It may be due sooner by the new ones.
                Ok(()) = newest.changed() => continue,
            }
            last = due;
            let Some((answers, freshness, _)) = self.rules() else { return Lapse::RouteChanged };
            let judged = judge(&self.question, &answers, freshness, &self.seen, self.budget).await;
            match judged {
                Ok(_) => {}
                Err(Refusal::No(verdict)) => return Lapse::No(verdict),
                Err(Refusal::Undecided(undecided)) => return Lapse::Unknown(undecided),
            }
        }
    }
}

impl Again {
    /// What it is judged by now: the newest configuration, or the one that it began with if there was no other.
    fn rules(&self) -> Option<(Arc<Answers>, Freshness, Duration)> {
        let rules = self.newest.borrow();
        let (route, answers) = match &rules.routes {
            Some(routes) => (routes.get(&self.route.config.id)?, rules.answers.as_ref()?),
            None => (&self.route, &self.answers),
        };
        let right = route.config.right();
        // A route that asks for no right any more is looked at elsewhere.
        let right = right.or(self.route.config.right())?;
        let freshness = right.freshness(&self.method);
        let every = route.config.streams.recheck.unwrap_or(freshness.max_age).max(LEAST);
        Some((Arc::clone(answers), freshness, every))
    }
}

impl Lapse {
    /// What a caller is told to whom nothing was said yet: "cannot tell" is no "no" here either.
    #[must_use]
    pub fn into_rejection(self) -> Rejection {
        match self {
            Self::No(_) | Self::RouteChanged | Self::Stopping => Rejection::Lapsed(self),
            Self::Unknown(undecided) => Rejection::Undecided(undecided),
            Self::TokenEnded => TokenError::Claim(ClaimError::Expired).into(),
            Self::KeyGone => TokenError::UnknownKey.into(),
        }
    }
}
