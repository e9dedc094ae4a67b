//! Answers: what was said about a question, and what follows.

use std::fmt;
use std::time::Duration;

/// How a request ended for the caller, kept apart from the decision to the status code, the problem
/// type, the metric label and the audit record. Source: design §1.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    /// The right is held, or the route asks for none.
    Permit,
    /// A policy, an obligation or an access list says no.
    Denied,
    /// Nothing delegated covers it (XACML `NotApplicable`).
    NoRight,
    /// It could not be told; neither a yes nor a no.
    Unknown,
    /// Refused before the question could be asked.
    NotAsked,
    /// None of these: it would have been refused, and was let through, for its route is in shadow.
    Shadow,
}

impl Answer {
    /// The stable label in metrics, audit records and headers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Denied => "denied",
            Self::NoRight => "no_right",
            Self::Unknown => "unknown",
            Self::NotAsked => "not_asked",
            Self::Shadow => "shadow",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A demand that comes with a permit. Identified by category, since ids vary (contract
/// authorization.md §3.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obligation {
    /// Category of the assignment, such as `urn:altinn:minimum-authenticationlevel`.
    pub category: String,
    /// Value of the assignment.
    pub value: String,
}

/// The authentication level that a system user counts as. Source: contract maskinporten.md §7.
pub const SYSTEM_USER_LEVEL: u32 = 3;

const MINIMUM_LEVEL: &str = "urn:altinn:minimum-authenticationlevel";
// Speaks to callers that are service owners themselves; a system user never is.
const MINIMUM_LEVEL_ORG: &str = "urn:altinn:minimum-authenticationlevel-org";

/// Why a permit does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnmetObligation {
    /// The resource demands a higher authentication level than a system user has.
    #[error("the resource demands authentication level {0}, a system user has {SYSTEM_USER_LEVEL}")]
    Level(u32),
    /// The level is no number.
    #[error("the demanded authentication level cannot be read")]
    UnreadableLevel,
    /// An obligation that this program does not know must not be ignored (XACML 3.0 §7.18).
    #[error("an obligation of unknown category")]
    UnknownCategory,
}

/// Whether a permit with these obligations opens for a system user.
///
/// # Errors
/// [`UnmetObligation`] for the first obligation that is not fulfilled, or not understood.
pub fn check_obligations(obligations: &[Obligation]) -> Result<(), UnmetObligation> {
    for obligation in obligations {
        match obligation.category.as_str() {
            MINIMUM_LEVEL => {
                let level: u32 =
                    obligation.value.parse().map_err(|_| UnmetObligation::UnreadableLevel)?;
                if level > SYSTEM_USER_LEVEL {
                    return Err(UnmetObligation::Level(level));
                }
            }
            MINIMUM_LEVEL_ORG => {}
            _ => return Err(UnmetObligation::UnknownCategory),
        }
    }
    Ok(())
}

/// What Altinn said to a question, when it said something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// `Permit` with every obligation fulfilled.
    Permit,
    /// `Deny`.
    Deny,
    /// `Permit`, but with an obligation that is not fulfilled or not understood.
    Unmet(UnmetObligation),
    /// `NotApplicable`: nothing delegated covers the question.
    NotApplicable,
}

/// Why no verdict could be had. Never a "no".
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum Cause {
    /// The PDP answered `Indeterminate`.
    #[error("the decision point could not decide (Indeterminate)")]
    Indeterminate,
    /// No answer within the time budget.
    #[error("no answer within the time budget")]
    TimedOut,
    /// The address could not be reached, or the connection broke.
    #[error("the decision point cannot be reached")]
    Unreachable,
    /// An HTTP status that is no answer (5xx and others).
    #[error("the decision point answered with an error status")]
    ErrorStatus,
    /// 401 or 403: our own token or subscription key was refused.
    #[error("the decision point refused our own credentials")]
    OwnCredentials,
    /// 429: Altinn asked for fewer calls.
    #[error("too many calls to the decision point")]
    Throttled,
    /// Our own bounds refuse the call: the declared ceiling, this vendor's share of it, or the time left.
    #[error("as many calls to the decision point as we allow ourselves")]
    Busy,
    /// An answer that is not one result in the XACML JSON profile.
    #[error("the decision point gave an answer that cannot be read")]
    Unreadable,
    /// Not asked, because the last calls all failed.
    #[error("the circuit to the decision point is open")]
    CircuitOpen,
    /// Our own token could not be had from Maskinporten or exchanged at Altinn.
    #[error("our own token cannot be had")]
    NoOwnToken,
    /// The resource registry has no policy for the resource (any more), so that nobody can hold a right on it.
    #[error("the resource has no policy")]
    NoPolicy,
    /// The issuer's keys are not there, so that no token can be verified.
    #[error("the issuer's keys are not available")]
    NoKeys,
}

impl Cause {
    /// Whether Altinn could not tell. Our own bounds are no outage: a caller could bring them about.
    #[must_use]
    pub fn is_outage(self) -> bool {
        match self {
            Self::Indeterminate
            | Self::TimedOut
            | Self::Unreachable
            | Self::ErrorStatus
            | Self::OwnCredentials
            | Self::Throttled
            | Self::Unreadable
            | Self::CircuitOpen
            | Self::NoOwnToken => true,
            Self::Busy | Self::NoPolicy | Self::NoKeys => false,
        }
    }

    /// The stable label in metrics and audit records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Indeterminate => "indeterminate",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::ErrorStatus => "error_status",
            Self::OwnCredentials => "own_credentials",
            Self::Throttled => "throttled",
            Self::Busy => "busy",
            Self::Unreadable => "unreadable",
            Self::CircuitOpen => "circuit_open",
            Self::NoOwnToken => "no_own_token",
            Self::NoPolicy => "no_policy",
            Self::NoKeys => "no_keys",
        }
    }
}

/// It could not be told, and when it is worth asking again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{cause}")]
pub struct Undecided {
    /// Why.
    pub cause: Cause,
    /// When Altinn, or our own circuit breaker, said to come back.
    pub retry_after: Option<Duration>,
}

impl From<Cause> for Undecided {
    fn from(cause: Cause) -> Self {
        Self { cause, retry_after: None }
    }
}

/// Where a permit came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// Derived in the register, from access packages and the resource's policy.
    Derived,
    /// An answer of the PDP to this very question, held in the register.
    Confirmed,
    /// The PDP, asked for this request.
    Pdp,
}

impl Source {
    /// The stable label in evidence headers and audit records: `register` or `pdp`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Derived | Self::Confirmed => "register",
            Self::Pdp => "pdp",
        }
    }

    /// The stable label of how it came about: in metrics, audit records and `explain`.
    #[must_use]
    pub fn basis(self) -> &'static str {
        match self {
            Self::Derived => "derived",
            Self::Confirmed => "confirmed",
            Self::Pdp => "asked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(category: &str, value: &str) -> Obligation {
        Obligation { category: category.into(), value: value.into() }
    }

    #[test]
    fn a_system_user_meets_level_three_and_no_higher() {
        assert_eq!(check_obligations(&[]), Ok(()));
        assert_eq!(check_obligations(&[level(MINIMUM_LEVEL, "3")]), Ok(()));
        assert_eq!(check_obligations(&[level(MINIMUM_LEVEL, "4")]), Err(UnmetObligation::Level(4)));
        // As text "10" sorts before "3".
        assert_eq!(
            check_obligations(&[level(MINIMUM_LEVEL, "10")]),
            Err(UnmetObligation::Level(10))
        );
    }

    #[test]
    fn an_obligation_that_is_not_understood_closes() {
        for value in ["", "three", "3.0", "-1", "99999999999"] {
            assert_eq!(
                check_obligations(&[level(MINIMUM_LEVEL, value)]),
                Err(UnmetObligation::UnreadableLevel),
                "{value}"
            );
        }
        let unknown = level("urn:altinn:two-persons", "2");
        assert_eq!(
            check_obligations(&[level(MINIMUM_LEVEL, "2"), unknown]),
            Err(UnmetObligation::UnknownCategory)
        );
    }

    #[test]
    fn the_level_for_service_owners_does_not_bind_a_system_user() {
        assert_eq!(check_obligations(&[level(MINIMUM_LEVEL_ORG, "4")]), Ok(()));
    }
}
