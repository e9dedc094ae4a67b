//! Step 4: the token was given the scopes that the route demands.
//!
//! Takes [`Authenticated`] and the route's rule, gives [`Scoped`]. Judged on every request.

use super::authenticate::Authenticated;
use super::rejection::Rejection;
use crate::domain::scope::ScopeRule;

/// A request whose token has the route's scopes. A scope is no right.
#[derive(Debug)]
pub struct Scoped<'r> {
    pub(super) authenticated: Authenticated<'r>,
}

/// Checks the scopes.
///
/// # Errors
/// [`Rejection::Scope`] with what is missing.
pub fn scope<'r>(
    authenticated: Authenticated<'r>,
    rule: &ScopeRule,
) -> Result<Scoped<'r>, Rejection> {
    match rule.check(&authenticated.token.claims.scopes) {
        Ok(()) => Ok(Scoped { authenticated }),
        Err(missing) => Err(Rejection::Scope { missing, required: rule.clone() }),
    }
}
