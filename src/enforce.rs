//! The first road: one request, judged. Every mode calls [`Enforcer::enforce`] and none decides itself.
//!
//! Each step takes what the one before it gave, by value, so that a skipped step does not compile.
//! Only [`authorize::authorize`] makes a [`Permit`], and `forward` takes nothing but a [`Grant`]. Of a route in shadow
//! whoever is refused gets a [`ShadowPass`]: a grant of its own kind, that says nothing of the caller.

pub mod admit;
pub mod answers;
pub mod authenticate;
pub mod authorize;
pub mod confirmations;
pub mod facts;
mod fields;
mod memory;
pub mod notices;
pub mod party;
pub mod path;
pub mod ports;
pub mod rate;
mod recent;
pub mod rejection;
pub mod route;
pub mod scope;
pub mod shadow;
pub mod signature;
#[cfg(test)]
pub(crate) mod test_support;
pub mod told;
pub mod trail;
pub mod vigil;

use crate::config::{AccessConfig, LimitConfig, RightConfig};
use crate::domain::decision::Answer;
use crate::domain::party::CheckDigits;
use crate::domain::resource::Question;
use crate::domain::scope::ScopeRule;
use crate::register::Seen;
use admit::admit;
use answers::Answers;
use authenticate::{Authenticated, Authenticator, TokenCache, VerifiedToken};
use authorize::{Permit, authorize};
use facts::{BodyReader, Facts};
use party::{Concerned, party};
use rate::Rates;
use rejection::Rejection;
use route::{Route, Routed, Routes};
use scope::scope;
use shadow::{ShadowPass, no_longer_than};
use std::sync::Arc;
use std::time::Duration;
use trail::{Step, Trail};
use vigil::Newest;

/// Everything that a request is judged by.
#[derive(Debug)]
pub struct Enforcer {
    /// Bounds.
    pub limits: LimitConfig,
    /// Where a method and a path lead.
    pub routes: Arc<Routes>,
    /// Who a token names.
    pub authenticator: Authenticator,
    /// How often somebody may call.
    pub rates: Rates,
    /// What is known of rights, and who is asked; `None` when no route asks for a right.
    pub answers: Option<Arc<Answers>>,
    /// All the time that an answer of Altinn may take.
    pub budget: Duration,
    /// Whether check digits of organisation numbers must be right.
    pub check_digits: CheckDigits,
    /// The routes of the newest configuration.
    pub newest: Newest,
}

/// Leave to forward a request.
#[derive(Debug)]
pub enum Grant {
    /// The right is held.
    Right(Permit),
    /// The route asks for a token and scopes, written out.
    Scopes(ScopeGrant),
    /// The route asks for nothing, written out.
    Anonymous(AnonymousGrant),
    /// It would have been refused, and its route is in shadow. Who asks is not known.
    Shadow(ShadowPass),
}

/// A token with the scopes of a route that says `access: scopes`.
#[derive(Debug)]
pub struct ScopeGrant {
    route: Arc<Route>,
    token: Arc<VerifiedToken>,
}

/// A request to a route that says `access: anonymous`.
#[derive(Debug)]
pub struct AnonymousGrant {
    route: Arc<Route>,
}

impl Grant {
    /// The route it was given for.
    #[must_use]
    pub fn route(&self) -> &Arc<Route> {
        match self {
            Self::Right(permit) => permit.route(),
            Self::Scopes(grant) => &grant.route,
            Self::Anonymous(grant) => &grant.route,
            Self::Shadow(pass) => pass.route(),
        }
    }

    /// The token, where the route asks for one; none of what is let through in shadow, also where it was good.
    #[must_use]
    pub fn token(&self) -> Option<&VerifiedToken> {
        match self {
            Self::Right(permit) => Some(permit.token()),
            Self::Scopes(grant) => Some(&grant.token),
            Self::Anonymous(_) | Self::Shadow(_) => None,
        }
    }
}

impl Enforcer {
    /// Judges a request, and notes in `trail` how far it came, and what a route in shadow would have refused it for.
    ///
    /// # Errors
    /// The [`Rejection`] of the first step that refuses, unless it is of a route in shadow and its own.
    pub async fn enforce(
        &self,
        facts: Facts<'_>,
        body: &mut dyn BodyReader,
        trail: &mut Trail,
    ) -> Result<Grant, Rejection> {
        self.judge(facts, body, trail).await.or_else(|rejection| {
            if let Some(pass) = ShadowPass::of(trail.route.as_ref(), &rejection) {
                trail.passed_in_shadow(rejection);
                Ok(Grant::Shadow(pass))
            } else {
                trail.refused(&rejection);
                Err(rejection)
            }
        })
    }

    /// How long the outside may hold a request up; `None` where the outside has bounds enough.
    fn patience(&self, route: &Route) -> Option<Duration> {
        route.config.in_shadow().then_some(self.limits.shadow_wait)
    }

    async fn judge(
        &self,
        facts: Facts<'_>,
        body: &mut dyn BodyReader,
        trail: &mut Trail,
    ) -> Result<Grant, Rejection> {
        let admitted = timed(trail, Step::Admit, admit(facts, &self.limits))?;
        let routed = timed(trail, Step::Route, self.routes.route(admitted))?;
        let route = Arc::clone(&routed.route);
        trail.route = Some(Arc::clone(&route));
        match &route.config.access {
            AccessConfig::Anonymous => {
                trail.answer = Some(Answer::Permit);
                Ok(Grant::Anonymous(AnonymousGrant { route }))
            }
            AccessConfig::Scopes(rule) => self.scopes(routed, rule, trail).await.map(Grant::Scopes),
            AccessConfig::Right(right) => {
                self.right(routed, right, body, trail).await.map(Grant::Right)
            }
        }
    }

    async fn authenticate<'r>(
        &self,
        routed: Routed<'r>,
        trail: &mut Trail,
    ) -> Result<Authenticated<'r>, Rejection> {
        let patience = self.patience(&routed.route);
        let judging = self.authenticator.authenticate(routed);
        let result = no_longer_than(patience, judging, Rejection::Unverified).await;
        let (authenticated, cache) = timed(trail, Step::Authenticate, result)?;
        trail.token = Some(Arc::clone(&authenticated.token));
        trail.token_cache = Some(cache);
        self.rates.pass(&authenticated.token)?;
        Ok(authenticated)
    }

    async fn scopes(
        &self,
        routed: Routed<'_>,
        rule: &ScopeRule,
        trail: &mut Trail,
    ) -> Result<ScopeGrant, Rejection> {
        let authenticated = self.authenticate(routed, trail).await?;
        let scoped = timed(trail, Step::Scope, scope(authenticated, rule))?;
        trail.answer = Some(Answer::Permit);
        let Authenticated { routed, token } = scoped.authenticated;
        Ok(ScopeGrant { route: routed.route, token })
    }

    async fn right(
        &self,
        routed: Routed<'_>,
        right: &RightConfig,
        body: &mut dyn BodyReader,
        trail: &mut Trail,
    ) -> Result<Permit, Rejection> {
        let patience = self.patience(&routed.route);
        let concerned = self.concerned(routed, right, body, trail).await?;
        // INVARIANT: the configuration demands Altinn's address and our client for a route with a right.
        let answers = self.answers.as_ref().ok_or(Rejection::Internal)?;
        if let (Some(TokenCache::Miss), Some(id)) = (trail.token_cache, trail.system_user) {
            answers.watch(id, || concerned.seen(id));
        }
        let judging = authorize(concerned, answers, self.budget);
        let permit = no_longer_than(patience, judging, Rejection::Undecided).await;
        let permit = timed(trail, Step::Authorize, permit)?;
        trail.permitted(&permit);
        Ok(permit)
    }
}

impl Enforcer {
    /// The steps before the right.
    async fn concerned<'r>(
        &self,
        routed: Routed<'r>,
        right: &RightConfig,
        body: &mut dyn BodyReader,
        trail: &mut Trail,
    ) -> Result<Concerned<'r>, Rejection> {
        let authenticated = self.authenticate(routed, trail).await?;
        let scoped = timed(trail, Step::Scope, scope(authenticated, &right.scopes))?;
        let concerned = party(scoped, right, &self.limits, self.check_digits, body).await;
        let concerned = timed(trail, Step::Party, concerned)?;
        trail.party = Some(concerned.party);
        trail.system_user = concerned.system_user.ids.first().copied();
        Ok(concerned)
    }

    /// What would be asked about a request, a question for each system user of its token, with what the
    /// token says of that one. Asks nothing; empty where the request is refused before, or no right is
    /// asked for.
    pub async fn questions(
        &self,
        facts: Facts<'_>,
        body: &mut dyn BodyReader,
    ) -> Vec<(Question, Seen)> {
        let routed = admit(facts, &self.limits).and_then(|admitted| self.routes.route(admitted));
        let Ok(routed) = routed else { return Vec::new() };
        let route = Arc::clone(&routed.route);
        let AccessConfig::Right(right) = &route.config.access else { return Vec::new() };
        let concerned = self.concerned(routed, right, body, &mut Trail::default()).await;
        let Ok(concerned) = concerned else { return Vec::new() };
        let ids = concerned.system_user.ids.iter();
        ids.map(|id| (concerned.question(*id), concerned.seen(*id))).collect()
    }
}

fn timed<T>(trail: &mut Trail, step: Step, result: Result<T, Rejection>) -> Result<T, Rejection> {
    trail.done(step);
    result
}
