//! A route in shadow: it is judged as any other, and whom it would refuse is let through and recorded.
//!
//! Stands beside the road: [`Enforcer::enforce`](super::Enforcer::enforce) asks here when a step has refused. Only here is
//! a [`ShadowPass`] made, of a route whose own configuration says `enforcement: shadow`. It proves nothing of the
//! caller and holds no token, so that nobody is told who that is. `docs/decisions/0014` says what stays refused.

use super::rejection::{Bound, Code, Rejection};
use super::route::Route;
use crate::domain::decision::{Cause, Undecided};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Leave to forward a request that its route would have refused.
#[derive(Debug)]
pub struct ShadowPass {
    route: Arc<Route>,
}

impl ShadowPass {
    /// `None` where the route is enforced, where there is none, and for what is refused whatever a route demands.
    pub(super) fn of(route: Option<&Arc<Route>>, rejection: &Rejection) -> Option<Self> {
        let route = route.filter(|route| route.config.in_shadow())?;
        is_of_the_route(rejection).then(|| Self { route: Arc::clone(route) })
    }

    /// The route that it was given for.
    #[must_use]
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }
}

/// The codes of what is let through in shadow, for metrics and documents that must name each.
pub const CODES: [Code; 11] = [
    Code::TokenMissing,
    Code::TokenInvalid,
    Code::TokenUnverified,
    Code::InsufficientScope,
    Code::SystemUserRequired,
    Code::PartyInvalid,
    Code::BodyTooLarge,
    Code::Denied,
    Code::NoRight,
    Code::CannotDecide,
    Code::Lapsed,
];

/// Whether it is the route's demand that was not met. All else stays refused: what may be read in two ways could
/// reach another route, and bounds protect the program itself.
fn is_of_the_route(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::NoToken
        | Rejection::Token(_)
        | Rejection::Unverified(_)
        | Rejection::Scope { .. }
        | Rejection::NoSystemUser
        | Rejection::Party(_)
        | Rejection::Denied(..)
        | Rejection::NoRight(..)
        | Rejection::Undecided(_)
        // Past the search for the route, `limits.party_body_bytes`: too long to be judged, not to be forwarded.
        | Rejection::OverLimit(Bound::Body(_)) => true,
        Rejection::Malformed(_)
        | Rejection::OverLimit(Bound::Target(_) | Bound::HeaderBytes(_) | Bound::HeaderCount(_))
        | Rejection::RequestTimeout
        | Rejection::Overloaded
        | Rejection::TooFast(..)
        | Rejection::Unrecorded
        | Rejection::NoRoute
        | Rejection::Upstream(_)
        | Rejection::Lapsed(_)
        | Rejection::Internal => false,
    }
}

/// Does what waits for the outside; where the route is in shadow, no longer than `wait`. What comes too late counts
/// as what cannot be told.
pub(super) async fn no_longer_than<T>(
    wait: Option<Duration>,
    work: impl Future<Output = Result<T, Rejection>>,
    late: fn(Undecided) -> Rejection,
) -> Result<T, Rejection> {
    let work = pin!(work);
    match wait {
        None => work.await,
        Some(wait) => {
            timeout(wait, work).await.unwrap_or_else(|_| Err(late(Cause::TimedOut.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Enforcement;
    use crate::domain::scope::{GrantedScopes, ScopeRule};
    use crate::domain::system_user::Owner;
    use crate::enforce::authenticate::TokenError;
    use crate::enforce::party::PartyError;
    use crate::enforce::rejection::{DeniedBy, Malformed, Paced, UpstreamFailure};
    use crate::enforce::route::Routes;
    use crate::enforce::test_support::{anonymous_route, question};
    use crate::enforce::vigil::Lapse;

    const SECOND: Duration = Duration::from_secs(1);

    fn route(enforcement: Enforcement) -> Arc<Route> {
        let config =
            crate::config::RouteConfig { enforcement, ..anonymous_route("a", "GET", "/a") };
        let routes = Routes::new(vec![config]).unwrap();
        Arc::clone(routes.of(&http::Method::GET, "/a").unwrap())
    }

    fn of_the_route() -> Vec<Rejection> {
        let required = ScopeRule { all_of: vec!["a:b".parse().unwrap()], any_of: Vec::new() };
        let missing = required.check(&GrantedScopes::default()).unwrap_err();
        vec![
            Rejection::NoToken,
            TokenError::Signature.into(),
            Rejection::Unverified(Cause::NoKeys.into()),
            Rejection::Scope { missing, required },
            Rejection::NoSystemUser,
            PartyError::Conflict.into(),
            Bound::Body(1).into(),
            Rejection::Denied(Box::new(question("read")), DeniedBy::Policy),
            Rejection::NoRight(Box::new(question("read")), Owner("310000027".parse().unwrap())),
            Rejection::Undecided(Cause::Unreachable.into()),
        ]
    }

    fn of_the_request() -> Vec<Rejection> {
        vec![
            Malformed::DotSegment.into(),
            Malformed::SeveralAuthorizations.into(),
            Malformed::Body.into(),
            Malformed::MaxAge.into(),
            Bound::Target(1).into(),
            Bound::HeaderBytes(1).into(),
            Bound::HeaderCount(1).into(),
            Rejection::RequestTimeout,
            Rejection::Overloaded,
            Rejection::TooFast(Paced::Consumer, SECOND),
            Rejection::TooFast(Paced::SystemUser, SECOND),
            Rejection::Unrecorded,
            Rejection::NoRoute,
            UpstreamFailure::Unreachable.into(),
            Rejection::Lapsed(Lapse::TokenEnded),
            Rejection::Internal,
        ]
    }

    #[test]
    fn only_the_demands_of_a_route_in_shadow_are_passed_over() {
        let (shadow, full) = (route(Enforcement::Shadow), route(Enforcement::Full));
        for rejection in of_the_route() {
            assert!(ShadowPass::of(Some(&shadow), &rejection).is_some(), "{rejection:?}");
            assert!(ShadowPass::of(Some(&full), &rejection).is_none(), "{rejection:?}");
            assert!(ShadowPass::of(None, &rejection).is_none(), "{rejection:?}");
        }
        for rejection in of_the_request() {
            assert!(ShadowPass::of(Some(&shadow), &rejection).is_none(), "{rejection:?}");
        }
    }

    #[test]
    fn every_code_of_shadow_is_listed() {
        let codes: Vec<Code> = of_the_route().iter().map(Rejection::code).collect();
        // A lapse is told of what began, and is not passed over here.
        let (lapsed, listed) = CODES.split_last().unwrap();
        assert_eq!((lapsed, listed), (&Code::Lapsed, &codes[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_too_late_cannot_be_told_and_where_nothing_bounds_it_it_is_waited_for() {
        let after = |seconds: u64| async move {
            tokio::time::sleep(SECOND * u32::try_from(seconds).unwrap()).await;
            Ok(seconds)
        };
        let late = |wait, seconds| no_longer_than(wait, after(seconds), Rejection::Undecided);
        assert_eq!(late(Some(2 * SECOND), 1).await.unwrap(), 1);
        assert_eq!(late(None, 60).await.unwrap(), 60);
        let refused = late(Some(SECOND), 2).await.unwrap_err();
        assert_eq!((refused.code(), refused.reason()), (Code::CannotDecide, Some("timed_out")));
    }
}
