//! What the pages say of causes: what stands in the way of being ready, and what an operator does about a refusal.

use crate::enforce::rejection::Code;

/// What an obstacle to readiness means.
pub(super) fn obstacle(name: &str) -> &str {
    match name {
        "issuer_keys" => {
            "Maskinporten's keys are not there, or older than `maskinporten.max_age`: no token can be verified. \
             Look at the way out to Maskinporten."
        }
        "audit" => {
            "Audit records cannot be written, and `audit.on_loss` is `stop`: no request is let through. \
             Look at the disk of the audit file."
        }
        "stopping" => "The program was told to stop, and serves what is in flight to its end.",
        other => other,
    }
}

/// What a step of the road looks at.
pub(super) fn step(label: &str) -> &str {
    match label {
        "admit" => "sizes and framing: within the limits, and with one reading only",
        "route" => "method and path: one route of the configuration",
        "authenticate" => "the token of Maskinporten",
        "scope" => "the scopes that the route demands",
        "party" => "whom the request concerns",
        "authorize" => "the right, by the register or by Altinn",
        "forward" => "to the upstream, and its answer back",
        other => other,
    }
}

/// What the operator can do about refusals with this code.
pub(super) fn to_do(code: Code) -> &'static str {
    match code {
        Code::BadRequest => {
            "The caller must send another request: the reason names the rule that it broke. Nothing here needs \
             changing, unless a proxy in front writes requests anew."
        }
        Code::TargetTooLong | Code::HeadersTooLarge | Code::BodyTooLarge => {
            "A bound of `limits` was met. Raise it only if your API takes such requests."
        }
        Code::RequestTimeout => {
            "The caller stopped sending. If many do, look at the network in front, and at \
             `limits.body_idle_timeout`."
        }
        Code::Overloaded => {
            "With the reason `audit`, records cannot be written: look at the audit file's disk. Else \
             `limits.requests_in_flight` was met: is the upstream slow, or are there too few replicas?"
        }
        Code::TooManyRequests => {
            "`limits.consumer_rate` or `limits.system_user_rate` was met. Tell the vendor to spread its calls, or \
             raise the bound."
        }
        Code::NoRoute => {
            "No route takes this method and path. If the caller does what your API's documents say, compare the \
             shape of the path with the routes in force and add what is missing."
        }
        Code::TokenMissing => {
            "The caller sends no token. Look whether a proxy in front takes it away."
        }
        Code::TokenInvalid => {
            "The caller must get a new token: the reason says what is wrong with this one. If every token is \
             refused for its issuer or audience, compare `environment` and `tokens.audience` with what you told \
             your vendors."
        }
        Code::TokenUnverified => {
            "Maskinporten's keys were not there, which says nothing about the token. Look at the way out to \
             Maskinporten."
        }
        Code::InsufficientScope => {
            "The vendor asks Maskinporten for the scopes named. If it may not have them, give it access to the \
             scope in Maskinporten, or correct `scopes` of the route."
        }
        Code::SystemUserRequired => {
            "The vendor uses an ordinary token where the route asks for a right: it needs a system-user token."
        }
        Code::PartyInvalid => {
            "The caller must name one party, in one way. If it does what your API's documents say, compare them \
             with `party` of the route."
        }
        Code::Denied => {
            "A rule of the resource's policy, its access list or an obligation says no for this party. Look at \
             the resource in Altinn; no delegation changes it."
        }
        Code::NoRight => {
            "The customer has not delegated the right: the vendor's answer says how to ask for it. If the customer \
             did so just now, Altinn's decision point may remember for some minutes that it had not."
        }
        Code::CannotDecide => {
            "Altinn gave no certain answer, which is neither a yes nor a no. The reason says why; the overview \
             shows the calls to Altinn."
        }
        Code::UpstreamUnavailable | Code::UpstreamLeftOut => {
            "The request was let through, and the upstream could not be reached: is it up, and is its address in \
             the configuration the right one?"
        }
        Code::UpstreamTimeout => {
            "The request was let through, and the upstream did not answer in time. It may have been carried out."
        }
        Code::UpstreamBadAnswer => {
            "The request was let through, and what the upstream answered is no HTTP that can be passed on. Look \
             at its log."
        }
        Code::Lapsed => {
            "A stream or tunnel was ended, since what let it through did not last: the reason says what."
        }
        Code::Internal => "A fault in Portvakt. Look for the trace id in the log, and report it.",
    }
}
