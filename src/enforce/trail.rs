//! What is known of a request so far, written as it goes: for the audit record, the metrics and
//! `explain`. Complete at every moment, so that a client that leaves is recorded as far as it came.

use super::authenticate::{TokenCache, VerifiedToken};
use super::authorize::{Evidence, Permit};
use super::rejection::Rejection;
use super::route::Route;
use crate::domain::decision::Answer;
use crate::domain::party::Party;
use crate::domain::system_user::SystemUserId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A step of the road.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// Sizes and framing.
    Admit,
    /// Method and path to route.
    Route,
    /// The token.
    Authenticate,
    /// The scopes.
    Scope,
    /// Whom it concerns.
    Party,
    /// The right.
    Authorize,
    /// To the upstream and back, up to the head of the answer.
    Forward,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 7] = [
        Self::Admit,
        Self::Route,
        Self::Authenticate,
        Self::Scope,
        Self::Party,
        Self::Authorize,
        Self::Forward,
    ];

    /// Its place in [`Step::ALL`].
    #[must_use]
    pub fn place(self) -> usize {
        match self {
            Self::Admit => 0,
            Self::Route => 1,
            Self::Authenticate => 2,
            Self::Scope => 3,
            Self::Party => 4,
            Self::Authorize => 5,
            Self::Forward => 6,
        }
    }

    /// The stable label in metrics and traces.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Route => "route",
            Self::Authenticate => "authenticate",
            Self::Scope => "scope",
            Self::Party => "party",
            Self::Authorize => "authorize",
            Self::Forward => "forward",
        }
    }
}

/// What is known of a request so far.
#[derive(Debug)]
pub struct Trail {
    /// The route, once found.
    pub route: Option<Arc<Route>>,
    /// The token, once verified.
    pub token: Option<Arc<VerifiedToken>>,
    /// Whether the token had been verified before.
    pub token_cache: Option<TokenCache>,
    /// The party, once told for certain.
    pub party: Option<Party>,
    /// The system user that the answer is about: the one that holds the right, or the first named.
    pub system_user: Option<SystemUserId>,
    /// What the permit rests on.
    pub evidence: Option<Evidence>,
    /// The answer, once there is one.
    pub answer: Option<Answer>,
    /// The refusal, if there is one.
    pub rejection: Option<Rejection>,
    /// What would have been the refusal, were the route not in shadow.
    pub shadow: Option<Rejection>,
    /// How long each finished step took, in the order of [`Step::ALL`].
    took: [Option<Duration>; Step::ALL.len()],
    step_begun: Instant,
}

impl Default for Trail {
    fn default() -> Self {
        Self::beginning(Instant::now())
    }
}

impl Trail {
    /// Nothing is known yet; the first step begins `at` this moment.
    #[must_use]
    pub fn beginning(at: Instant) -> Self {
        Self {
            route: None,
            token: None,
            token_cache: None,
            party: None,
            system_user: None,
            evidence: None,
            answer: None,
            rejection: None,
            shadow: None,
            took: [None; Step::ALL.len()],
            step_begun: at,
        }
    }

    /// Notes that a step has ended, well or not, and the next begins.
    pub fn done(&mut self, step: Step) {
        let now = Instant::now();
        if let Some(took) = self.took.get_mut(step.place()) {
            *took = Some(now.duration_since(self.step_begun));
        }
        self.step_begun = now;
    }

    /// How long each step took that has ended, in the order of [`Step::ALL`].
    #[must_use]
    pub fn took(&self) -> [Option<Duration>; Step::ALL.len()] {
        self.took
    }

    /// The steps that have ended, in order, and how long each took.
    pub fn steps(&self) -> impl Iterator<Item = (Step, Duration)> {
        Step::ALL.into_iter().zip(self.took).filter_map(|(step, took)| Some((step, took?)))
    }

    /// Notes a permit.
    pub(super) fn permitted(&mut self, permit: &Permit) {
        self.answer = Some(Answer::Permit);
        self.system_user = Some(permit.question().system_user());
        self.evidence = Some(permit.evidence());
    }

    /// Notes what went wrong after the answer was given; the answer stays, and so does what was let through in shadow: it
    /// was, whatever became of it.
    pub fn failed(&mut self, rejection: &Rejection) {
        self.rejection = Some(rejection.clone());
    }

    /// Notes a refusal. What a route in shadow had let through before is not let through.
    pub fn refused(&mut self, rejection: &Rejection) {
        self.answer = Some(rejection.answer());
        self.shadow = None;
        self.concerns(rejection);
        self.rejection = Some(rejection.clone());
    }

    /// Notes what a route in shadow let through.
    pub(super) fn passed_in_shadow(&mut self, rejection: Rejection) {
        self.answer = Some(Answer::Shadow);
        self.concerns(&rejection);
        self.shadow = Some(rejection);
    }

    fn concerns(&mut self, rejection: &Rejection) {
        if let Rejection::Denied(question, _) | Rejection::NoRight(question, _) = rejection {
            self.system_user = Some(question.system_user());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_place() {
        assert!(Step::ALL.into_iter().enumerate().all(|(place, step)| step.place() == place));
    }
}
