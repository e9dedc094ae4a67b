//! Why a request was refused: one variant per cause that somebody handles differently.

use super::authenticate::TokenError;
use super::party::PartyError;
use super::vigil::Lapse;
use crate::domain::decision::{Answer, Undecided, UnmetObligation};
use crate::domain::resource::Question;
use crate::domain::scope::{MissingScopes, ScopeRule};
use crate::domain::system_user::Owner;
use http::StatusCode;
use std::time::Duration;

/// A request that two programs could read differently, or that breaks HTTP. Refused, never repaired.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// `CONNECT`, `TRACE`.
    #[error("this method is not served")]
    Method,
    /// The protocol version is not HTTP/1.0, HTTP/1.1 or HTTP/2.
    #[error("this protocol version is not served")]
    Version,
    /// Not origin form, or an absolute form that names another host.
    #[error("the request target is not a path on this host")]
    TargetForm,
    /// Missing, repeated, or not a plain host and port.
    #[error("Host is missing, repeated or malformed")]
    Host,
    /// `.` or `..`, plain or encoded.
    #[error("the path has dot segments")]
    DotSegment,
    /// `//`.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// An encoded slash, backslash or control character, or a percent sign encoded twice.
    #[error("the path has an encoded character that may be read in two ways")]
    EncodedDelimiter,
    /// Outside RFC 3986 `pchar`, or `;`.
    #[error("the path has a character that may be read in two ways")]
    PathCharacter,
    /// A percent sign without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("the path has a bad percent sequence")]
    PercentSequence,
    /// More than one `Authorization` field.
    #[error("more than one Authorization field")]
    SeveralAuthorizations,
    /// `Connection`, `TE`, `Trailer` or `Upgrade` holds bytes that are no text.
    #[error("Connection, TE, Trailer or Upgrade cannot be read")]
    ConnectionField,
    /// The body broke off, or its framing is bad.
    #[error("the body broke off or is badly framed")]
    Body,
    /// An allowed `Upgrade` beside others, or beside a body.
    #[error("the Upgrade request is malformed")]
    Upgrade,
    /// `Portvakt-Max-Age` stands twice, or is no number of seconds.
    #[error("Portvakt-Max-Age is repeated or no number of seconds")]
    MaxAge,
    /// Forward-auth: whoever asks is none of `listen.forward_auth.trusted_peers`.
    #[error("nobody from this address may ask about requests of others")]
    UntrustedPeer,
    /// Forward-auth: the header that tells the method or the target is missing, repeated or malformed.
    #[error("the question does not tell for certain which method and target it is about")]
    Question,
    /// Forward-auth: a header that would be taken out of a request on its way stands in one that somebody else sends on.
    #[error("a header names another method, target or identity than the one that is judged")]
    Override,
}

impl Malformed {
    /// The stable label in problems, metrics and audit records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Version => "version",
            Self::TargetForm => "target_form",
            Self::Host => "host",
            Self::DotSegment => "dot_segment",
            Self::EmptySegment => "empty_segment",
            Self::EncodedDelimiter => "encoded_delimiter",
            Self::PathCharacter => "path_character",
            Self::PercentSequence => "percent_sequence",
            Self::SeveralAuthorizations => "several_authorizations",
            Self::ConnectionField => "connection_field",
            Self::Body => "body",
            Self::Upgrade => "upgrade",
            Self::MaxAge => "max_age",
            Self::UntrustedPeer => "untrusted_peer",
            Self::Question => "question",
            Self::Override => "override",
        }
    }
}

/// Which bound of the configuration a request is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Bound {
    /// `limits.target_bytes`
    #[error("the request target is longer than {0} bytes")]
    Target(usize),
    /// `limits.header_bytes`
    #[error("the header fields are longer than {0} bytes")]
    HeaderBytes(usize),
    /// `limits.header_count`
    #[error("there are more than {0} header fields")]
    HeaderCount(usize),
    /// `limits.body_bytes`
    #[error("the body is longer than {0} bytes")]
    Body(u64),
}

/// What went wrong between us and the upstream, after the request was let through.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum UpstreamFailure {
    /// No connection.
    #[error("the upstream cannot be reached")]
    Unreachable,
    /// No connection was tried: the last ones could not be made. With the time after which one is.
    #[error("the upstream could not be reached, and is left alone for a moment")]
    LeftOut(Duration),
    /// Its certificate is not to be trusted: another name, another authority, out of date.
    #[error("the upstream's certificate is not trusted")]
    Untrusted,
    /// No agreement on TLS, or on HTTP within it.
    #[error("the upstream does not agree on TLS")]
    Handshake,
    /// No head of an answer in time.
    #[error("the upstream did not answer in time")]
    TimedOut,
    /// The connection broke before the head of the answer.
    #[error("the upstream closed the connection")]
    Closed,
    /// What came is no HTTP answer to this request.
    #[error("the upstream's answer cannot be passed on")]
    BadAnswer,
}

impl UpstreamFailure {
    /// The stable label in metrics and audit records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::LeftOut(_) => "left_out",
            Self::Untrusted => "untrusted",
            Self::Handshake => "tls_handshake",
            Self::TimedOut => "timed_out",
            Self::Closed => "closed",
            Self::BadAnswer => "bad_answer",
        }
    }
}

/// Who calls more often than allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Paced {
    /// `limits.consumer_rate`
    #[error("the vendor calls more often than allowed")]
    Consumer,
    /// `limits.system_user_rate`
    #[error("the system user calls more often than allowed")]
    SystemUser,
}

/// Why a "no" that Altinn said is a no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeniedBy {
    /// A rule of the policy, or the resource's access list.
    Policy,
    /// An obligation that a system user does not fulfil.
    Obligation(UnmetObligation),
}

/// Why a request was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Rejection {
    /// 400: may be read in two ways, or breaks HTTP.
    #[error("malformed request: {0}")]
    Malformed(#[from] Malformed),
    /// 413, 414 or 431.
    #[error("over a limit: {0}")]
    OverLimit(#[from] Bound),
    /// 408: the client stopped sending.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// 503 before anything was judged: as many requests in flight as are allowed.
    #[error("too many requests in flight")]
    Overloaded,
    /// 429: more requests than allowed. With the time after which the next one passes.
    #[error("{0}")]
    TooFast(Paced, Duration),
    /// 503 before anything was judged: its audit record might not be written, and no request may be without.
    #[error("the request cannot be recorded")]
    Unrecorded,
    /// 404: no route.
    #[error("no route")]
    NoRoute,
    /// 401: no bearer token.
    #[error("no bearer token")]
    NoToken,
    /// 401: a token that is not good here.
    #[error("bearer token refused: {0}")]
    Token(#[from] TokenError),
    /// 503: no key set to verify with. Whether the token is good could not be told.
    #[error("token not verified: {0}")]
    Unverified(#[source] Undecided),
    /// 403: scopes missing.
    #[error("insufficient scope")]
    Scope {
        /// What is missing.
        missing: MissingScopes,
        /// What the route demands.
        required: ScopeRule,
    },
    /// 403: a token without a system user where a right is asked for.
    #[error("the token names no system user")]
    NoSystemUser,
    /// 400: whom the request concerns cannot be told for certain.
    #[error("party: {0}")]
    Party(#[from] PartyError),
    /// 403: a policy, obligation or access list says no.
    #[error("denied")]
    Denied(Box<Question>, DeniedBy),
    /// 403: nothing delegated covers it. With the owner of the system user, who can mend it.
    #[error("no right")]
    NoRight(Box<Question>, Owner),
    /// 503: it could not be told.
    #[error("undecided: {0}")]
    Undecided(#[source] Undecided),
    /// 502 or 504: let through, but the upstream failed.
    #[error("{0}")]
    Upstream(#[from] UpstreamFailure),
    /// The answer had begun, or the tunnel stood, and the right did not last as long.
    #[error("{0}")]
    Lapsed(Lapse),
    /// 500: a fault in this program, for this request alone.
    #[error("internal error")]
    Internal,
}

/// The stable name of a kind of refusal: in problems, in metrics and audit records.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Code {
    /// See [`Rejection::Malformed`].
    BadRequest,
    /// See [`Bound::Target`].
    TargetTooLong,
    /// See [`Bound::HeaderBytes`] and [`Bound::HeaderCount`].
    HeadersTooLarge,
    /// See [`Bound::Body`].
    BodyTooLarge,
    /// See [`Rejection::RequestTimeout`].
    RequestTimeout,
    /// See [`Rejection::Overloaded`] and [`Rejection::Unrecorded`].
    Overloaded,
    /// See [`Rejection::TooFast`].
    TooManyRequests,
    /// See [`Rejection::NoRoute`].
    NoRoute,
    /// See [`Rejection::NoToken`].
    TokenMissing,
    /// See [`Rejection::Token`].
    TokenInvalid,
    /// See [`Rejection::Unverified`].
    TokenUnverified,
    /// See [`Rejection::Scope`].
    InsufficientScope,
    /// See [`Rejection::NoSystemUser`].
    SystemUserRequired,
    /// See [`Rejection::Party`].
    PartyInvalid,
    /// See [`Rejection::Denied`].
    Denied,
    /// See [`Rejection::NoRight`].
    NoRight,
    /// See [`Rejection::Undecided`].
    CannotDecide,
    /// See [`UpstreamFailure::Unreachable`] and [`UpstreamFailure::Closed`].
    UpstreamUnavailable,
    /// See [`UpstreamFailure::LeftOut`].
    UpstreamLeftOut,
    /// See [`UpstreamFailure::TimedOut`].
    UpstreamTimeout,
    /// See [`UpstreamFailure::BadAnswer`].
    UpstreamBadAnswer,
    /// See [`Rejection::Lapsed`].
    Lapsed,
    /// See [`Rejection::Internal`].
    Internal,
}

impl Code {
    /// Every code, for metrics, texts and documents that must name each.
    pub const ALL: [Self; 23] = [
        Self::BadRequest,
        Self::TargetTooLong,
        Self::HeadersTooLarge,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::Overloaded,
        Self::TooManyRequests,
        Self::NoRoute,
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::TokenUnverified,
        Self::InsufficientScope,
        Self::SystemUserRequired,
        Self::PartyInvalid,
        Self::Denied,
        Self::NoRight,
        Self::CannotDecide,
        Self::UpstreamUnavailable,
        Self::UpstreamLeftOut,
        Self::UpstreamTimeout,
        Self::UpstreamBadAnswer,
        Self::Lapsed,
        Self::Internal,
    ];

    /// The label in metrics and audit records; the problem's `code`, and what its `type` is made of.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::TargetTooLong => "target_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::Overloaded => "overloaded",
            Self::TooManyRequests => "too_many_requests",
            Self::NoRoute => "no_route",
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::TokenUnverified => "token_unverified",
            Self::InsufficientScope => "insufficient_scope",
            Self::SystemUserRequired => "system_user_required",
            Self::PartyInvalid => "party_invalid",
            Self::Denied => "denied",
            Self::NoRight => "no_right",
            Self::CannotDecide => "cannot_decide",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamLeftOut => "upstream_left_out",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamBadAnswer => "upstream_bad_answer",
            Self::Lapsed => "lapsed",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status. Sources: design §1 and §5, RFC 6750 §3.1, RFC 9110 §15.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::PartyInvalid => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::TokenMissing | Self::TokenInvalid => StatusCode::UNAUTHORIZED,
            // A lapse comes after the status was sent; gRPC's own status is made of this.
            Self::InsufficientScope
            | Self::SystemUserRequired
            | Self::Denied
            | Self::NoRight
            | Self::Lapsed => StatusCode::FORBIDDEN,
            Self::Overloaded
            | Self::TokenUnverified
            | Self::CannotDecide
            | Self::UpstreamLeftOut => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnavailable | Self::UpstreamBadAnswer => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Rejection {
    /// The stable name of this refusal.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => Code::BadRequest,
            Self::OverLimit(Bound::Target(_)) => Code::TargetTooLong,
            Self::OverLimit(Bound::HeaderBytes(_) | Bound::HeaderCount(_)) => Code::HeadersTooLarge,
            Self::OverLimit(Bound::Body(_)) => Code::BodyTooLarge,
            Self::RequestTimeout => Code::RequestTimeout,
            Self::Overloaded | Self::Unrecorded => Code::Overloaded,
            Self::TooFast(..) => Code::TooManyRequests,
            Self::NoRoute => Code::NoRoute,
            Self::NoToken => Code::TokenMissing,
            Self::Token(_) => Code::TokenInvalid,
            Self::Unverified(_) => Code::TokenUnverified,
            Self::Scope { .. } => Code::InsufficientScope,
            Self::NoSystemUser => Code::SystemUserRequired,
            Self::Party(_) => Code::PartyInvalid,
            Self::Denied(..) => Code::Denied,
            Self::NoRight(..) => Code::NoRight,
            Self::Undecided(_) => Code::CannotDecide,
            Self::Upstream(
                UpstreamFailure::Unreachable
                | UpstreamFailure::Untrusted
                | UpstreamFailure::Handshake
                | UpstreamFailure::Closed,
            ) => Code::UpstreamUnavailable,
            Self::Upstream(UpstreamFailure::LeftOut(_)) => Code::UpstreamLeftOut,
            Self::Upstream(UpstreamFailure::TimedOut) => Code::UpstreamTimeout,
            Self::Upstream(UpstreamFailure::BadAnswer) => Code::UpstreamBadAnswer,
            Self::Lapsed(_) => Code::Lapsed,
            Self::Internal => Code::Internal,
        }
    }

    /// Which of the design's five answers this is. An upstream that fails does so after a permit.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match self {
            Self::Denied(..) => Answer::Denied,
            Self::NoRight(..) => Answer::NoRight,
            Self::Undecided(_) | Self::Unverified(_) => Answer::Unknown,
            Self::Upstream(_) | Self::Lapsed(_) => Answer::Permit,
            Self::Malformed(_)
            | Self::OverLimit(_)
            | Self::RequestTimeout
            | Self::Overloaded
            | Self::TooFast(..)
            | Self::Unrecorded
            | Self::NoRoute
            | Self::NoToken
            | Self::Token(_)
            | Self::Scope { .. }
            | Self::NoSystemUser
            | Self::Party(_)
            | Self::Internal => Answer::NotAsked,
        }
    }

    /// Why, for people who operate the program: more than [`Display`](std::fmt::Display), and nothing that came with
    /// the request but the id of a system user.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Scope { missing, .. } => missing.to_string(),
            Self::NoRight(question, _) => format!(
                "nothing delegated gives system user {} `{}` on `{}` for this party (NotApplicable)",
                question.system_user(),
                question.action(),
                question.resource()
            ),
            Self::Denied(question, by) => {
                let why = match by {
                    DeniedBy::Policy => "the policy or the access list says no".to_owned(),
                    DeniedBy::Obligation(obligation) => obligation.to_string(),
                };
                format!("`{}` on `{}` is denied: {why}", question.action(), question.resource())
            }
            Self::Malformed(_)
            | Self::OverLimit(_)
            | Self::RequestTimeout
            | Self::Overloaded
            | Self::TooFast(..)
            | Self::Unrecorded
            | Self::NoRoute
            | Self::NoToken
            | Self::Token(_)
            | Self::Unverified(_)
            | Self::NoSystemUser
            | Self::Party(_)
            | Self::Undecided(_)
            | Self::Upstream(_)
            | Self::Lapsed(_)
            | Self::Internal => self.to_string(),
        }
    }

    /// When it is worth coming back, for refusals that time may mend.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        const SOON: Duration = Duration::from_secs(1);
        match self {
            Self::Undecided(undecided) | Self::Unverified(undecided) => {
                Some(undecided.retry_after.unwrap_or(SOON).max(SOON))
            }
            Self::Overloaded | Self::Unrecorded => Some(SOON),
            Self::TooFast(_, wait) | Self::Upstream(UpstreamFailure::LeftOut(wait)) => {
                Some((*wait).max(SOON))
            }
            Self::Malformed(_)
            | Self::OverLimit(_)
            | Self::RequestTimeout
            | Self::NoRoute
            | Self::NoToken
            | Self::Token(_)
            | Self::Scope { .. }
            | Self::NoSystemUser
            | Self::Party(_)
            | Self::Denied(..)
            | Self::NoRight(..)
            | Self::Upstream(_)
            | Self::Lapsed(_)
            | Self::Internal => None,
        }
    }

    /// The finer cause, bounded in number, for audit records and the `reason` of a problem.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(malformed) => Some(malformed.label()),
            Self::OverLimit(bound) => Some(match bound {
                Bound::Target(_) => "target_bytes",
                Bound::HeaderBytes(_) => "header_bytes",
                Bound::HeaderCount(_) => "header_count",
                Bound::Body(_) => "body_bytes",
            }),
            Self::Token(error) => Some(error.label()),
            Self::Party(error) => Some(error.label()),
            Self::Undecided(undecided) | Self::Unverified(undecided) => {
                Some(undecided.cause.label())
            }
            Self::Denied(_, DeniedBy::Policy) => Some("policy"),
            Self::Denied(_, DeniedBy::Obligation(obligation)) => Some(match obligation {
                UnmetObligation::Level(_) => "level",
                UnmetObligation::UnreadableLevel => "unreadable_level",
                UnmetObligation::UnknownCategory => "unknown_obligation",
            }),
            Self::Upstream(failure) => Some(failure.label()),
            Self::Lapsed(lapse) => Some(lapse.label()),
            Self::TooFast(Paced::Consumer, _) => Some("consumer"),
            Self::TooFast(Paced::SystemUser, _) => Some("system_user"),
            Self::Unrecorded => Some("audit"),
            Self::RequestTimeout
            | Self::Overloaded
            | Self::NoRoute
            | Self::NoToken
            | Self::Scope { .. }
            | Self::NoSystemUser
            | Self::NoRight(..)
            | Self::Internal => None,
        }
    }
}
