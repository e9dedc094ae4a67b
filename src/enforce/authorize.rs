//! Step 6: may this system user act for this party?
//!
//! Takes [`Concerned`], gives the [`Permit`] that `forward` needs. Only here is one made.

use super::authenticate::VerifiedToken;
use super::confirmations::{Confirmation, Confirmations};
use super::party::Concerned;
use super::rejection::{DeniedBy, Rejection};
use super::route::Route;
use crate::domain::decision::{Cause, Source, Undecided, Verdict};
use crate::domain::resource::Question;
use crate::domain::system_user::Owner;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The right is held. Bound to the one system user that holds it.
#[derive(Debug)]
pub struct Permit {
    route: Arc<Route>,
    token: Arc<VerifiedToken>,
    question: Question,
    source: Source,
    age: Duration,
}

impl Permit {
    /// The route it was given for.
    #[must_use]
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The token it was given to.
    #[must_use]
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// What was asked; its system user is the one that holds the right.
    #[must_use]
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Where the answer came from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// How old the answer was when it was used.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }
}

/// What a question that ends with its own budget needs to say why.
const GRACE: Duration = Duration::from_millis(50);

/// Asks for each system user that the token names, in order; the first that holds the right is bound to
/// the request. All of it takes no longer than `budget`.
///
/// # Errors
/// [`Rejection::Undecided`] when for any of them it could not be told, for "no" would then be a guess;
/// else [`Rejection::Denied`] when any was denied; else [`Rejection::NoRight`].
pub async fn authorize(
    concerned: Concerned<'_>,
    confirmations: &Confirmations,
    budget: Duration,
) -> Result<Permit, Rejection> {
    let begun = Instant::now();
    let mut refusals = Refusals::default();
    for id in &concerned.system_user.ids {
        let question = Question::new(
            *id,
            concerned.party,
            concerned.right.clone(),
            concerned.instance.clone(),
        );
        // One budget for all ids and for every asking again; a single one keeps to it by itself.
        let asking = confirmations.confirm(&question, concerned.max_age);
        let answer = tokio::time::timeout_at(begun + budget + GRACE, asking).await;
        match answer.unwrap_or(Err(Cause::TimedOut.into())) {
            Ok(Confirmation { verdict: Verdict::Permit, asked }) => {
                let source = if asked < begun { Source::Register } else { Source::Pdp };
                let authenticated = concerned.scoped.authenticated;
                return Ok(Permit {
                    route: authenticated.routed.route,
                    token: authenticated.token,
                    question,
                    source,
                    age: asked.elapsed(),
                });
            }
            Ok(Confirmation { verdict, .. }) => refusals.no(question, verdict),
            Err(undecided) => refusals.undecided = refusals.undecided.or(Some(undecided)),
        }
    }
    Err(refusals.into_rejection(concerned.system_user.owner))
}

/// The refusals so far, the first of each kind.
#[derive(Default)]
struct Refusals {
    undecided: Option<Undecided>,
    denied: Option<(Question, DeniedBy)>,
    no_right: Option<Question>,
}

impl Refusals {
    fn no(&mut self, question: Question, verdict: Verdict) {
        match verdict {
            Verdict::Deny => {
                self.denied.get_or_insert((question, DeniedBy::Policy));
            }
            Verdict::Unmet(obligation) => {
                self.denied.get_or_insert((question, DeniedBy::Obligation(obligation)));
            }
            Verdict::NotApplicable => {
                self.no_right.get_or_insert(question);
            }
            // A permit returns before it could come here; were it to, it must not open anything.
            Verdict::Permit => {}
        }
    }

    fn into_rejection(self, owner: Owner) -> Rejection {
        match (self.undecided, self.denied, self.no_right) {
            (Some(undecided), _, _) => Rejection::Undecided(undecided),
            (None, Some((question, by)), _) => Rejection::Denied(Box::new(question), by),
            (None, None, Some(question)) => Rejection::NoRight(Box::new(question), owner),
            // The list of ids is never empty, so one of the above is there.
            (None, None, None) => Rejection::Internal,
        }
    }
}
