//! What each family of metrics means and what to do about it, with every value that its labels can have.
//! `docs/metrics.md` is made of this and of what is declared: `UPDATE=1 cargo test --test metrics`.

/// One family.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What is counted or measured in.
    pub unit: &'static str,
    /// Its labels, in the order in which they are declared.
    pub labels: &'static [Label],
    /// What its help leaves unsaid; may be empty.
    pub more: &'static str,
    /// What a person does about it.
    pub act: &'static str,
}

/// A label.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub values: Values,
}

/// What a label can be. Never anything from a request, so that the number of series is bounded.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these, each with what it means; empty where the name says it.
    Listed(&'static [(&'static str, &'static str)]),
    /// What the configuration says, in words.
    Configured(&'static str),
}

/// The family of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Family> {
    GROUPS.iter().flat_map(|(_, families)| *families).find(|family| family.name == name)
}

const fn listed(name: &'static str, values: &'static [(&'static str, &'static str)]) -> Label {
    Label { name, values: Values::Listed(values) }
}

const ROUTE: Label = Label {
    name: "route",
    values: Values::Configured("id of the route; `none` where none matched"),
};
const ANY_ROUTE: Label = Label { name: "route", values: Values::Configured("id of a route") };
const GUARDED_ROUTE: Label =
    Label { name: "route", values: Values::Configured("id of a route that asks for a right") };
const UPSTREAM: Label = Label {
    name: "upstream",
    values: Values::Configured("name of the upstream; `default` for `upstream`"),
};
const RESOURCE: Label =
    Label { name: "resource", values: Values::Configured("id of a resource of a route") };
const FILE: Label = Label {
    name: "file",
    values: Values::Configured("path of a certificate of `listen.tls` or `upstream.tls`"),
};

const ANSWER: Label = listed(
    "answer",
    &[
        ("permit", "let through"),
        ("denied", "a policy, obligation or access list says no"),
        ("no_right", "nothing delegated covers it"),
        ("unknown", "it could not be told; never a no"),
        ("not_asked", "refused before the question"),
        ("shadow", "would have been refused, and was let through: its route is in shadow"),
    ],
);

const CODE: Label = listed(
    "code",
    &[
        ("none", "forwarded, or the client left first"),
        ("bad_request", ""),
        ("target_too_long", ""),
        ("headers_too_large", ""),
        ("body_too_large", ""),
        ("request_timeout", ""),
        ("overloaded", ""),
        ("too_many_requests", ""),
        ("no_route", ""),
        ("token_missing", ""),
        ("token_invalid", ""),
        ("token_unverified", ""),
        ("insufficient_scope", ""),
        ("system_user_required", ""),
        ("party_invalid", ""),
        ("denied", ""),
        ("no_right", ""),
        ("cannot_decide", ""),
        ("upstream_unavailable", ""),
        ("upstream_left_out", ""),
        ("upstream_timeout", ""),
        ("upstream_bad_answer", ""),
        ("lapsed", ""),
        ("internal", ""),
    ],
);

const SHADOW_CODE: Label = listed(
    "code",
    &[
        ("token_missing", ""),
        ("token_invalid", ""),
        ("token_unverified", ""),
        ("insufficient_scope", ""),
        ("system_user_required", ""),
        ("party_invalid", ""),
        ("body_too_large", "longer than `limits.party_body_bytes`"),
        ("denied", ""),
        ("no_right", ""),
        ("cannot_decide", "after `limits.shadow_wait` too"),
        ("lapsed", "a stream or tunnel that would have been cut; counted then"),
    ],
);

const CLASS: &[(&str, &str)] = &[("1xx", ""), ("2xx", ""), ("3xx", ""), ("4xx", ""), ("5xx", "")];

const URGENCY: Label =
    listed("urgency", &[("waiting", "a request waits for it"), ("behind", "nobody does")]);

const ALTINN_RESULT: Label = listed(
    "result",
    &[
        ("ok", ""),
        ("absent", "404 where that is an answer"),
        ("indeterminate", "the PDP could not tell"),
        ("timed_out", ""),
        ("unreachable", ""),
        ("error_status", "5xx, or another status that is no answer"),
        ("own_credentials", "401 or 403: our client, its scopes or the subscription key"),
        ("throttled", "429"),
        ("unreadable", "no answer that can be read"),
    ],
);

const ENDPOINT: Label = listed(
    "endpoint",
    &[
        ("authorize", "the PDP"),
        ("parties", "authorized parties of a system user"),
        ("resource", "a resource and its policy"),
        ("changes", "the registry's feed"),
        ("packages", "the catalogue of access packages"),
        ("access_lists", ""),
    ],
);

/// Every family, in groups with their headings.
pub const GROUPS: &[(&str, &[Family])] = &[
    ("Requests", REQUESTS),
    ("Tokens and Maskinporten's keys", TOKENS),
    ("Rights", RIGHTS),
    ("The register", REGISTER),
    ("Altinn", ALTINN),
    ("Upstreams", UPSTREAMS),
    ("Audit records", AUDIT),
    ("Traces", TRACES),
    ("The program", PROGRAM),
];

const REQUESTS: &[Family] = &[
    Family {
        name: "portvakt_requests_total",
        unit: "requests",
        labels: &[ROUTE, ANSWER, CODE],
        more: "`code` is the problem code, as in [vendor.md](vendor.md). For each route the pairs that alerts look at begin at 0.",
        act: "`unknown`: [PortvaktCannotTell](runbook.md#portvaktcannottell). `code=\"internal\"`: [PortvaktInternalError](runbook.md#portvaktinternalerror). `no_right` and `not_asked` are the vendors' to mend; `/refusals` has the last 100.",
    },
    Family {
        name: "portvakt_shadow_refusals_total",
        unit: "requests",
        labels: &[ANY_ROUTE, SHADOW_CODE],
        more: "In `portvakt_requests_total` they are `answer=\"shadow\"`; those that are `lapsed` began as permits, and are `answer=\"permit\"`. For each route in shadow every code begins at 0.",
        act: "`portvakt audit report` tells by which vendors and for which reasons. When what is left is meant to be refused, [switch the route on](service-owner.md#try-a-route-in-shadow).",
    },
    Family {
        name: "portvakt_route_in_shadow",
        unit: "0 or 1",
        labels: &[ANY_ROUTE],
        more: "",
        act: "1: the route protects nothing. For long: [PortvaktInShadow](runbook.md#portvaktinshadow).",
    },
    Family {
        name: "portvakt_responses_total",
        unit: "responses",
        labels: &[
            ROUTE,
            listed(
                "class",
                &[
                    ("1xx", ""),
                    ("2xx", ""),
                    ("3xx", ""),
                    ("4xx", ""),
                    ("5xx", ""),
                    ("aborted", "the client left, or the upstream broke off"),
                ],
            ),
        ],
        more: "A gRPC refusal is an HTTP 200, and so `2xx`.",
        act: "Many `aborted`: clients give up sooner than the upstream answers, or the upstream breaks off; compare with `portvakt_upstream_seconds`.",
    },
    Family {
        name: "portvakt_request_seconds",
        unit: "seconds",
        labels: &[ROUTE],
        more: "Streams and tunnels count with their whole life.",
        act: "Slow: `portvakt_step_seconds` says in which step, `portvakt_upstream_seconds` whether it is the upstream.",
    },
    Family {
        name: "portvakt_step_seconds",
        unit: "seconds",
        labels: &[listed(
            "step",
            &[
                ("admit", ""),
                ("route", ""),
                ("authenticate", ""),
                ("scope", ""),
                ("party", "the body included where the party is in it"),
                ("authorize", "asking Altinn included"),
                ("forward", "to the head of the upstream's response"),
            ],
        )],
        more: "",
        act: "Slow `authorize`: permits are asked for instead of known; see `portvakt_permits_total` and `portvakt_not_derived_total`.",
    },
    Family {
        name: "portvakt_requests_in_flight",
        unit: "requests",
        labels: &[],
        more: "Bound: `portvakt_limit{name=\"requests_in_flight\"}`.",
        act: "Near its bound: [PortvaktFull](runbook.md#portvaktfull).",
    },
    Family {
        name: "portvakt_connections",
        unit: "connections",
        labels: &[],
        more: "Tunnels among them. Bound: `portvakt_limit{name=\"connections\"}`.",
        act: "Near its bound: [PortvaktFull](runbook.md#portvaktfull).",
    },
    Family {
        name: "portvakt_connections_refused_total",
        unit: "connections",
        labels: &[listed(
            "reason",
            &[
                ("too_many", "`limits.connections`"),
                ("too_many_of_peer", "`limits.connections_per_peer`"),
                ("accept", "the system gives none"),
                (
                    "heads",
                    "long heads of requests that did not end, or lists of HTTP/2 that go on, took all the room there is for them, 64 MiB each",
                ),
                ("broken", "bad HTTP, time-out, or the client broke off"),
                ("no_request", "none came within `limits.header_timeout`"),
                ("idle", "none was in flight for six times as long"),
                (
                    "proxy_protocol",
                    "no load balancer of `listen.proxy_protocol`, or no good header",
                ),
                ("tls_too_many", "`listen.tls.pending_handshakes`"),
                ("tls_timed_out", ""),
                (
                    "tls_failed",
                    "plain HTTP, an old version, no client certificate or a bad one, or the client broke off",
                ),
            ],
        )],
        more: "",
        act: "`too_many`, `accept`, `heads`, `tls_too_many`: [PortvaktFull](runbook.md#portvaktfull). `accept` is mostly a lack of file descriptors. `idle` and `no_request` are in order.",
    },
    Family {
        name: "portvakt_tls_handshakes_pending",
        unit: "handshakes",
        labels: &[],
        more: "Bound: `portvakt_limit{name=\"pending_handshakes\"}`.",
        act: "At its bound while few connections come: somebody opens connections and says nothing. Shut that address out before Portvakt.",
    },
];

const TOKENS: &[Family] = &[
    Family {
        name: "portvakt_token_cache_total",
        unit: "look-ups",
        labels: &[listed("result", &[("hit", ""), ("miss", "the token was verified")])],
        more: "",
        act: "Mostly `miss` with few vendors: they fetch a token for every call. Tell them to keep it until it ends; it costs them more than you.",
    },
    Family {
        name: "portvakt_tokens_refused_total",
        unit: "tokens",
        labels: &[listed(
            "reason",
            &[
                ("too_long", ""),
                ("not_compact", ""),
                ("header", ""),
                ("algorithm", ""),
                ("header_parameter", ""),
                ("unknown_key", ""),
                ("key_algorithm", ""),
                ("signature", ""),
                ("payload", ""),
                ("claim_missing", ""),
                ("claim_malformed", ""),
                ("issuer", ""),
                ("audience", ""),
                ("expired", ""),
                ("not_yet_valid", ""),
                ("ends_before_issued", ""),
                ("several_system_users", ""),
                ("supplier", ""),
            ],
        )],
        more: "Reasons as in [vendor.md](vendor.md).",
        act: "Many at once: [PortvaktTokensOutOfTime](runbook.md#portvakttokensoutoftime), [PortvaktTokensOfOthers](runbook.md#portvakttokensofothers) or [PortvaktTokensForged](runbook.md#portvakttokensforged), by reason.",
    },
    Family {
        name: "portvakt_key_set_fetches_total",
        unit: "fetches",
        labels: &[
            listed(
                "trigger",
                &[
                    ("start", ""),
                    ("refresh", "`maskinporten.refresh`"),
                    ("unknown_kid", "a token named a key that is not held"),
                ],
            ),
            listed(
                "result",
                &[
                    ("ok", ""),
                    ("unreachable", ""),
                    ("timed_out", ""),
                    ("error_status", ""),
                    ("unreadable", ""),
                    ("no_usable_key", ""),
                ],
            ),
        ],
        more: "",
        act: "No `ok` for long: [PortvaktIssuerKeysOld](runbook.md#portvaktissuerkeysold).",
    },
    Family {
        name: "portvakt_key_set_keys",
        unit: "keys",
        labels: &[],
        more: "",
        act: "0: nobody's token can be verified. [PortvaktNotReady](runbook.md#portvaktnotready).",
    },
    Family {
        name: "portvakt_key_set_fetched_timestamp_seconds",
        unit: "seconds since 1970",
        labels: &[],
        more: "0 before the first. Past `maskinporten.max_age` no token is accepted.",
        act: "More than an hour ago: [PortvaktIssuerKeysOld](runbook.md#portvaktissuerkeysold).",
    },
    Family {
        name: "portvakt_key_set_ignored_total",
        unit: "keys",
        labels: &[listed(
            "reason",
            &[
                ("shape", ""),
                ("kty", ""),
                ("use", ""),
                ("key_ops", ""),
                ("alg", ""),
                ("kid", ""),
                ("modulus", ""),
                ("modulus_size", ""),
                ("exponent", ""),
                ("roca", ""),
                ("ambiguous", "two keys of one name"),
            ],
        )],
        more: "Counted at every fetch.",
        act: "None is expected. Look at the key set itself; if tokens are refused with `unknown_key` besides, tell Digdir.",
    },
    Family {
        name: "portvakt_own_tokens_total",
        unit: "tokens",
        labels: &[
            listed("step", &[("grant", "at Maskinporten"), ("exchange", "at Altinn")]),
            listed(
                "result",
                &[
                    ("ok", ""),
                    ("refused", "a no: our client, its key or its scopes"),
                    ("unreachable", ""),
                    ("timed_out", ""),
                    ("error_status", ""),
                    ("unreadable", ""),
                    ("signature", "our key cannot sign"),
                ],
            ),
        ],
        more: "",
        act: "`refused`, `signature`: [PortvaktOwnCredentials](runbook.md#portvaktowncredentials).",
    },
];

const RIGHTS: &[Family] = &[
    Family {
        name: "portvakt_permits_total",
        unit: "permits",
        labels: &[listed(
            "basis",
            &[
                ("derived", "from packages and policy"),
                ("confirmed", "an answer held"),
                ("asked", "from Altinn, now"),
            ],
        )],
        more: "",
        act: "Much `asked` costs calls and time: `portvakt_not_derived_total` says why.",
    },
    Family {
        name: "portvakt_not_derived_total",
        unit: "permits",
        labels: &[listed(
            "reason",
            &[
                ("unwatched", "the system user is not in the register"),
                ("never_read", "not read yet"),
                ("person", "the party is a person"),
                ("instance", "the question is about one instance"),
                ("no_party", "the register has nothing for this party"),
                ("not_covered", "no package covers it: a single right, mostly"),
                ("not_routed", ""),
                ("policy_missing", ""),
                ("policy_unread", ""),
                ("policy_not_understood", ""),
                ("switched_off", "Altinn disagreed"),
                ("not_on_access_list", ""),
                ("access_lists_unknown", ""),
                ("obligation", ""),
                ("read_before_policy", "read before the policy became what it is"),
                ("doubted", "Altinn said no where one was to be permitted"),
                ("too_many_sets", "more than 65,536 sets of rights"),
            ],
        )],
        more: "Permits that were served all the same: asked for, or an answer held.",
        act: "In order as such. `unwatched` all the time: the register is full ([PortvaktRegisterFull](runbook.md#portvaktregisterfull)). `policy_…`: [PortvaktPoliciesUnknown](runbook.md#portvaktpoliciesunknown). `switched_off`: [PortvaktDrift](runbook.md#portvaktdrift).",
    },
    Family {
        name: "portvakt_permits_in_grace_total",
        unit: "permits",
        labels: &[],
        more: "",
        act: "[PortvaktOldAnswers](runbook.md#portvaktoldanswers).",
    },
    Family {
        name: "portvakt_permit_age_seconds",
        unit: "seconds",
        labels: &[],
        more: "",
        act: "Older than you bear: lower `max_age` in `freshness`, for more calls to Altinn.",
    },
    Family {
        name: "portvakt_permit_age_worst_seconds",
        unit: "seconds",
        labels: &[],
        more: "Rounded up.",
        act: "The figure for an audit: no permit was older. Beyond `max_age` only within `outage_grace`.",
    },
    Family {
        name: "portvakt_confirmations_held",
        unit: "answers",
        labels: &[],
        more: "About. Bound: `portvakt_limit{name=\"confirmations\"}`.",
        act: "At its bound: answers are put out before their time, and asked for again. Raise `confirmations.max_entries`.",
    },
    Family {
        name: "portvakt_suspicious_no_total",
        unit: "questions",
        labels: &[listed(
            "second",
            &[
                ("permitted", "the no was a hidden fault of Altinn"),
                ("confirmed", "the right is gone"),
                ("undecided", "the second asking could not tell"),
            ],
        )],
        more: "Asked once more before it was believed: a right that was permitted within `confirmations.suspicious_for`.",
        act: "`permitted`: [PortvaktHiddenFaults](runbook.md#portvakthiddenfaults). Many `confirmed`: [PortvaktRightsLost](runbook.md#portvaktrightslost).",
    },
];

const REGISTER: &[Family] = &[
    Family {
        name: "portvakt_register_system_users",
        unit: "system users",
        labels: &[],
        more: "Bound: `portvakt_limit{name=\"register_system_users\"}`.",
        act: "Near its bound: [PortvaktRegisterFull](runbook.md#portvaktregisterfull).",
    },
    Family {
        name: "portvakt_register_parties",
        unit: "pairs",
        labels: &[],
        more: "",
        act: "To plan memory by.",
    },
    Family {
        name: "portvakt_register_rights_sets",
        unit: "sets",
        labels: &[],
        more: "At most 65,536.",
        act: "Near it: restart when convenient; sets no longer used are then forgotten.",
    },
    Family {
        name: "portvakt_register_bytes",
        unit: "bytes",
        labels: &[],
        more: "Bound: `portvakt_limit{name=\"register_bytes\"}`.",
        act: "Near its bound: [PortvaktRegisterFull](runbook.md#portvaktregisterfull).",
    },
    Family {
        name: "portvakt_register_age_seconds",
        unit: "seconds",
        labels: &[],
        more: "",
        act: "Rising beyond `freshness`: [PortvaktRegisterOld](runbook.md#portvaktregisterold).",
    },
    Family {
        name: "portvakt_register_waiting",
        unit: "system users",
        labels: &[],
        more: "",
        act: "Rising: [PortvaktRegisterLags](runbook.md#portvaktregisterlags).",
    },
    Family {
        name: "portvakt_register_lag_seconds",
        unit: "seconds",
        labels: &[],
        more: "",
        act: "[PortvaktRegisterLags](runbook.md#portvaktregisterlags).",
    },
    Family {
        name: "portvakt_register_refreshes_total",
        unit: "readings",
        labels: &[listed("result", &[("changed", ""), ("unchanged", ""), ("failed", "")])],
        more: "",
        act: "`failed`: `portvakt_altinn_calls_total{endpoint=\"parties\"}` says how.",
    },
    Family {
        name: "portvakt_register_refresh_seconds",
        unit: "seconds",
        labels: &[],
        more: "Waiting for its turn included.",
        act: "Slow: the turn (`portvakt_altinn_gate_total`) or Altinn (`portvakt_altinn_call_seconds`).",
    },
    Family {
        name: "portvakt_register_forgotten_total",
        unit: "system users",
        labels: &[listed(
            "reason",
            &[("unused", "`register.keep_for`"), ("full", "a bound was reached")],
        )],
        more: "",
        act: "`full`: [PortvaktRegisterFull](runbook.md#portvaktregisterfull).",
    },
    Family {
        name: "portvakt_register_policies",
        unit: "resources",
        labels: &[listed(
            "state",
            &[
                ("read", ""),
                ("not_understood", "asked for instead, one call a question"),
                ("missing", "the registry has none"),
                ("unread", "the registry could not be asked"),
            ],
        )],
        more: "",
        act: "`missing`, `unread`: [PortvaktPoliciesUnknown](runbook.md#portvaktpoliciesunknown). `not_understood`: the log line \"the policy is not evaluated here\" names what; report it to us.",
    },
    Family {
        name: "portvakt_register_policies_age_seconds",
        unit: "seconds",
        labels: &[],
        more: "-1 for never.",
        act: "[PortvaktPoliciesUnknown](runbook.md#portvaktpoliciesunknown).",
    },
    Family {
        name: "portvakt_register_policy_readings_total",
        unit: "readings",
        labels: &[
            listed(
                "what",
                &[
                    ("changes", "the feed"),
                    ("resource", ""),
                    ("packages", ""),
                    ("access_lists", ""),
                ],
            ),
            listed("result", &[("read", ""), ("failed", "")]),
        ],
        more: "",
        act: "`failed`: `portvakt_altinn_calls_total` by endpoint says how.",
    },
    Family {
        name: "portvakt_register_grace_seconds",
        unit: "seconds",
        labels: &[GUARDED_ROUTE],
        more: "If the system users in use now are asked for. The longer of reads and writes; 0 for a route without `outage_grace`.",
        act: "While Altinn is away, this is the time that is left: [PortvaktGraceEnds](runbook.md#portvaktgraceends).",
    },
    Family {
        name: "portvakt_register_samples_total",
        unit: "permits",
        labels: &[listed(
            "outcome",
            &[
                ("agreed", ""),
                ("outdated", "the right had changed meanwhile"),
                ("altinn_caches", "Altinn answered from memory"),
                ("disagreed", ""),
                ("undecided", "the PDP could not tell"),
            ],
        )],
        more: "",
        act: "`disagreed`: [PortvaktDrift](runbook.md#portvaktdrift).",
    },
    Family {
        name: "portvakt_register_derivation_off",
        unit: "0 or 1",
        labels: &[RESOURCE],
        more: "Absent until it was off once.",
        act: "[PortvaktDrift](runbook.md#portvaktdrift).",
    },
    Family {
        name: "portvakt_notices_total",
        unit: "notices",
        labels: &[],
        more: "What requests told the register.",
        act: "To compare `portvakt_notices_lost_total` with.",
    },
    Family {
        name: "portvakt_notices_lost_total",
        unit: "notices",
        labels: &[],
        more: "Told again by the next request.",
        act: "A few are in order. Many: more requests than the register's thread can follow; spread them over more replicas.",
    },
    Family {
        name: "portvakt_snapshot_saves_total",
        unit: "writings",
        labels: &[listed(
            "result",
            &[
                ("saved", ""),
                ("failed", ""),
                ("in_use", "another process has the file; tried again"),
            ],
        )],
        more: "",
        act: "`failed`, or `in_use` for long: [PortvaktSnapshotNotSaved](runbook.md#portvaktsnapshotnotsaved).",
    },
    Family {
        name: "portvakt_snapshot_saved_timestamp_seconds",
        unit: "seconds since 1970",
        labels: &[],
        more: "0 before the first, and without `register.snapshot`.",
        act: "Long ago: [PortvaktSnapshotNotSaved](runbook.md#portvaktsnapshotnotsaved).",
    },
];

const ALTINN: &[Family] = &[
    Family {
        name: "portvakt_altinn_calls_total",
        unit: "calls",
        labels: &[ENDPOINT, ALTINN_RESULT],
        more: "What Altinn is asked in all; what it costs.",
        act: "Failures: [PortvaktAltinnFailing](runbook.md#portvaktaltinnfailing). `own_credentials`: [PortvaktOwnCredentials](runbook.md#portvaktowncredentials). `throttled`: [PortvaktAltinnThrottled](runbook.md#portvaktaltinnthrottled).",
    },
    Family {
        name: "portvakt_altinn_call_seconds",
        unit: "seconds",
        labels: &[ENDPOINT],
        more: "",
        act: "Slow for long: tell Altinn, with times and endpoint.",
    },
    Family {
        name: "portvakt_altinn_waiting",
        unit: "calls",
        labels: &[URGENCY],
        more: "",
        act: "`waiting` above 0 at every look: [PortvaktAltinnBudgetSpent](runbook.md#portvaktaltinnbudgetspent).",
    },
    Family {
        name: "portvakt_altinn_gate_total",
        unit: "calls",
        labels: &[
            URGENCY,
            listed(
                "result",
                &[
                    ("at_once", ""),
                    ("waited", ""),
                    ("refused", "no turn or place in time"),
                    ("paused", "Altinn asked for a pause"),
                ],
            ),
        ],
        more: "",
        act: "`refused`: [PortvaktAltinnBudgetSpent](runbook.md#portvaktaltinnbudgetspent). `paused`: [PortvaktAltinnThrottled](runbook.md#portvaktaltinnthrottled).",
    },
    Family {
        name: "portvakt_altinn_in_flight",
        unit: "calls",
        labels: &[],
        more: "Bound: `portvakt_limit{name=\"altinn_in_flight\"}`.",
        act: "At its bound: Altinn is slow, or `altinn.max_in_flight` is low for the ceiling of calls.",
    },
    Family {
        name: "portvakt_altinn_calls_left",
        unit: "calls",
        labels: &[],
        more: "At most a tenth of `altinn.requests_per_second`. Also 0 without a client of our own, which makes no calls.",
        act: "0 at every look: [PortvaktAltinnBudgetSpent](runbook.md#portvaktaltinnbudgetspent).",
    },
    Family {
        name: "portvakt_altinn_ignored_total",
        unit: "items",
        labels: &[listed(
            "kind",
            &[
                ("package", "no policy of ours names it"),
                ("resource", "no route names it"),
                ("number", "an organisation without a valid number"),
            ],
        )],
        more: "",
        act: "`package` and `resource` are in order. `number`: tell Altinn.",
    },
    Family {
        name: "portvakt_pdp_calls_total",
        unit: "calls",
        labels: &[listed(
            "result",
            &[
                ("permit", ""),
                ("denied", ""),
                ("unmet_obligation", "a permit that demands what the token has not"),
                ("not_applicable", "nothing covers it"),
                ("several", "a call with several questions, answered"),
                (
                    "spoilt",
                    "a call with several, one of which could not be told: each is asked alone",
                ),
                ("mixed", "a call with several, whose answers could not be told apart: the same"),
                ("indeterminate", ""),
                ("timed_out", ""),
                ("unreachable", ""),
                ("error_status", ""),
                ("own_credentials", ""),
                ("throttled", ""),
                ("unreadable", ""),
            ],
        )],
        more: "",
        act: "`indeterminate` for one resource: it has no policy, or one that Altinn cannot evaluate. The others as `portvakt_altinn_calls_total`.",
    },
    Family {
        name: "portvakt_pdp_seconds",
        unit: "seconds",
        labels: &[],
        more: "",
        act: "As `portvakt_altinn_call_seconds`. Requests that are asked for wait so long.",
    },
    Family {
        name: "portvakt_pdp_retries_total",
        unit: "calls",
        labels: &[],
        more: "",
        act: "Many: Altinn fails now and then; see `portvakt_pdp_calls_total`.",
    },
    Family {
        name: "portvakt_pdp_ceiling_total",
        unit: "calls",
        labels: &[listed("result", &[("waited", ""), ("refused", "the request got 503")])],
        more: "`altinn.requests_per_second` and `altinn.max_in_flight`.",
        act: "`refused`: [PortvaktAltinnBudgetSpent](runbook.md#portvaktaltinnbudgetspent).",
    },
    Family {
        name: "portvakt_pdp_circuit_open",
        unit: "0 or 1",
        labels: &[],
        more: "After `altinn.circuit_failures` failures Altinn's PDP is left alone for a while.",
        act: "[PortvaktAltinnCircuitOpen](runbook.md#portvaktaltinncircuitopen).",
    },
];

const UPSTREAMS: &[Family] = &[
    Family {
        name: "portvakt_upstream_responses_total",
        unit: "responses",
        labels: &[UPSTREAM, listed("class", CLASS)],
        more: "",
        act: "`5xx`: [PortvaktUpstreamErrors](runbook.md#portvaktupstreamerrors).",
    },
    Family {
        name: "portvakt_upstream_failures_total",
        unit: "requests",
        labels: &[
            UPSTREAM,
            listed(
                "kind",
                &[
                    ("unreachable", "no connection"),
                    ("left_out", "none was tried: those before could not be made"),
                    ("untrusted", "its certificate: another name or authority, or out of date"),
                    ("tls_handshake", "no agreement on TLS, or on HTTP within it"),
                    ("timed_out", "no answer within `upstream.response_timeout`"),
                    ("closed", "broken before the answer"),
                    ("bad_answer", "no HTTP that can be passed on"),
                ],
            ),
        ],
        more: "",
        act: "[PortvaktUpstreamFailing](runbook.md#portvaktupstreamfailing).",
    },
    Family {
        name: "portvakt_upstream_retries_total",
        unit: "requests",
        labels: &[UPSTREAM],
        more: "GET, HEAD and OPTIONS without a body, where a kept connection ended before a byte of an answer.",
        act: "Many: the upstream closes idle connections within seconds; let it keep them for a minute.",
    },
    Family {
        name: "portvakt_upstream_lookups_total",
        unit: "look-ups",
        labels: &[UPSTREAM, listed("result", &[("ok", ""), ("failed", "")])],
        more: "Each worker looks up by itself.",
        act: "`failed`: DNS. The last addresses are used for 10 minutes.",
    },
    Family {
        name: "portvakt_upstream_left_out_total",
        unit: "times",
        labels: &[UPSTREAM],
        more: "Tries that failed are counted too. Each worker counts by itself.",
        act: "The log says which address. See [PortvaktUpstreamFailing](runbook.md#portvaktupstreamfailing).",
    },
    Family {
        name: "portvakt_upstream_seconds",
        unit: "seconds",
        labels: &[UPSTREAM],
        more: "",
        act: "The upstream's own time: its owner's to mend.",
    },
];

const AUDIT: &[Family] = &[
    Family {
        name: "portvakt_audit_records_total",
        unit: "records",
        labels: &[listed(
            "result",
            &[
                ("written", ""),
                (
                    "dropped",
                    "the queue was full, or the output took nothing for five seconds at the end",
                ),
                ("failed", "the output cannot be written"),
            ],
        )],
        more: "",
        act: "Any but `written`: [PortvaktAuditLost](runbook.md#portvaktauditlost).",
    },
    Family {
        name: "portvakt_audit_waiting",
        unit: "records",
        labels: &[],
        more: "With `audit.on_loss: stop` requests in flight are among them. Bound: `portvakt_limit{name=\"audit_queue\"}`.",
        act: "[PortvaktAuditQueueFills](runbook.md#portvaktauditqueuefills).",
    },
    Family {
        name: "portvakt_audit_stopped",
        unit: "0 or 1",
        labels: &[],
        more: "Only with `audit.on_loss: stop`.",
        act: "[PortvaktAuditStopped](runbook.md#portvaktauditstopped).",
    },
    Family {
        name: "portvakt_audit_rotations_total",
        unit: "files",
        labels: &[listed("result", &[("done", ""), ("failed", "the old one is still written to")])],
        more: "",
        act: "`failed`: [PortvaktAuditNotRotated](runbook.md#portvaktauditnotrotated).",
    },
    Family {
        name: "portvakt_audit_sequence",
        unit: "lines",
        labels: &[],
        more: "0 without `audit.chain`.",
        act: "Keep it where the log is not: `portvakt audit verify --until` shows with it whether the end was cut off.",
    },
];

const TRACES: &[Family] = &[
    Family {
        name: "portvakt_traces_total",
        unit: "traces",
        labels: &[listed(
            "result",
            &[
                ("recorded", ""),
                ("not_recorded", "by `tracing.ratio`, or since a trusted caller does not"),
                ("over_limit", "beyond `tracing.traces_per_second`"),
            ],
        )],
        more: "Nothing is counted while tracing is switched off.",
        act: "`over_limit` that grows: lower `tracing.ratio`, or raise the bound.",
    },
    Family {
        name: "portvakt_trace_spans_total",
        unit: "spans",
        labels: &[listed(
            "result",
            &[
                ("exported", "taken by the collector"),
                ("rejected", "the collector says that it took the rest of a batch"),
                ("failed", "given up after several attempts, or refused"),
                ("dropped", "no room in the queue"),
            ],
        )],
        more: "",
        act: "`failed` or `dropped` that grows: the log says what the collector answers. Requests are not touched by it.",
    },
    Family {
        name: "portvakt_trace_spans_waiting",
        unit: "spans",
        labels: &[],
        more: "At most `portvakt_limit{name=\"trace_spans\"}`.",
        act: "Near its bound: the collector is slow or away.",
    },
];

const PROGRAM: &[Family] = &[
    Family {
        name: "portvakt_ready",
        unit: "0 or 1",
        labels: &[],
        more: "As `/readyz`.",
        act: "0: [PortvaktNotReady](runbook.md#portvaktnotready).",
    },
    Family {
        name: "portvakt_limit",
        unit: "as the bound",
        labels: &[listed(
            "name",
            &[
                ("connections", ""),
                ("connections_per_peer", ""),
                ("pending_handshakes", ""),
                ("requests_in_flight", ""),
                ("target_bytes", ""),
                ("header_bytes", ""),
                ("header_count", ""),
                ("party_body_bytes", ""),
                ("token_bytes", ""),
                ("token_cache_entries", ""),
                ("confirmations", ""),
                ("altinn_requests_per_second", ""),
                ("altinn_in_flight", ""),
                ("audit_queue", ""),
                ("register_system_users", ""),
                ("register_bytes", ""),
                ("trace_spans", ""),
                ("traces_per_second", ""),
            ],
        )],
        more: "To compare with what is bounded.",
        act: "A bound that is reached: [PortvaktFull](runbook.md#portvaktfull).",
    },
    Family {
        name: "portvakt_config_reloads_total",
        unit: "readings",
        labels: &[listed("result", &[("taken", ""), ("refused", "the same file is counted once")])],
        more: "",
        act: "To see when a change took effect.",
    },
    Family {
        name: "portvakt_config_refused",
        unit: "0 or 1",
        labels: &[],
        more: "",
        act: "[PortvaktConfigRefused](runbook.md#portvaktconfigrefused).",
    },
    Family {
        name: "portvakt_config_taken_timestamp_seconds",
        unit: "seconds since 1970",
        labels: &[],
        more: "",
        act: "Differs between replicas for long: one of them has refused what others took, or not seen it.",
    },
    Family {
        name: "portvakt_credentials_reloads_total",
        unit: "changes",
        labels: &[listed(
            "result",
            &[("taken", ""), ("refused", "the same files are counted once")],
        )],
        more: "",
        act: "To see when a changed key was taken up.",
    },
    Family {
        name: "portvakt_credentials_refused",
        unit: "0 or 1",
        labels: &[],
        more: "",
        act: "[PortvaktCredentialsRefused](runbook.md#portvaktcredentialsrefused).",
    },
    Family {
        name: "portvakt_tls_certificate_not_after_timestamp_seconds",
        unit: "seconds since 1970",
        labels: &[FILE],
        more: "",
        act: "[PortvaktCertificateEnds](runbook.md#portvaktcertificateends).",
    },
    Family {
        name: "portvakt_tls_reloads_total",
        unit: "changes",
        labels: &[listed(
            "result",
            &[("taken", ""), ("refused", "tried, and counted, again every 5 seconds")],
        )],
        more: "",
        act: "`refused`: [PortvaktCertificateRefused](runbook.md#portvaktcertificaterefused).",
    },
    Family {
        name: "portvakt_clock_jumps_total",
        unit: "jumps",
        labels: &[listed("direction", &[("forward", ""), ("back", "")])],
        more: "What is held counts as older by a jump ahead.",
        act: "[PortvaktClockJumped](runbook.md#portvaktclockjumped).",
    },
    Family {
        name: "portvakt_build_info",
        unit: "always 1",
        labels: &[Label { name: "version", values: Values::Configured("version of the program") }],
        more: "",
        act: "To see which replicas run what.",
    },
    Family {
        name: "process_cpu_seconds_total",
        unit: "seconds",
        labels: &[],
        more: "",
        act: "What it costs. All workers busy all the time: add replicas, or `listen.workers`.",
    },
    Family {
        name: "process_resident_memory_bytes",
        unit: "bytes",
        labels: &[],
        more: "",
        act: "Near the container's limit: lower `register.max_bytes` or raise the limit.",
    },
    Family {
        name: "process_open_fds",
        unit: "file descriptors",
        labels: &[],
        more: "",
        act: "Near `process_max_fds`: [PortvaktFull](runbook.md#portvaktfull).",
    },
    Family {
        name: "process_max_fds",
        unit: "file descriptors",
        labels: &[],
        more: "-1 for no bound.",
        act: "To compare `process_open_fds` with. Twice `limits.connections` and a hundred more do.",
    },
    Family {
        name: "process_start_time_seconds",
        unit: "seconds since 1970",
        labels: &[],
        more: "",
        act: "Changes again and again: [PortvaktRestarts](runbook.md#portvaktrestarts).",
    },
];
