//! Every metric family, in one place. Label values come from enums and the configuration, never
//! from a request, so that their number is bounded.

use crate::domain::decision::{Answer, Source};
use crate::enforce::authenticate::TokenCache;
use crate::enforce::rejection::Code;
use crate::enforce::shadow;
use crate::enforce::trail::Step;
use crate::families::{Declared, Families, SECONDS, combinations};
use crate::sync::metrics::SyncMetrics;
use crate::telemetry::process::Process;
use crate::trace::TraceMetrics;
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The families, registered once at start.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    declared: Arc<[Declared]>,
    /// Requests by route, answer and problem code (`none` when forwarded).
    pub requests: IntCounterVec,
    /// What was let through, or went on, since its route is in shadow: by route and the code that would have refused it.
    pub shadow_refusals: IntCounterVec,
    /// Whether a route is in shadow: 0 or 1.
    pub route_in_shadow: IntGaugeVec,
    /// Responses sent to clients, by route and status class (`2xx` …; `aborted`).
    pub responses: IntCounterVec,
    /// Time from the request's head to the last byte of the answer, by route.
    pub request_seconds: HistogramVec,
    /// Time of each step of the road.
    pub step_seconds: HistogramVec,
    /// Requests being served.
    pub requests_in_flight: IntGauge,
    /// Connections open.
    pub connections: IntGauge,
    /// Connections turned away or ended by us, by reason.
    pub connections_refused: IntCounterVec,
    /// Verified tokens, by `hit` or `miss` of the cache.
    pub token_cache: IntCounterVec,
    /// What every request counts.
    pub usual: Usual,
    /// Tokens refused, by reason.
    pub tokens_refused: IntCounterVec,
    /// Fetches of the issuer's key set, by trigger and result.
    pub key_set_fetches: IntCounterVec,
    /// Keys held.
    pub key_set_keys: IntGauge,
    /// Time of day of the last key set that was accepted, seconds since 1970.
    pub key_set_fetched: IntGauge,
    /// Keys of the issuer that are not used, by reason.
    pub key_set_ignored: IntCounterVec,
    /// Permits served, by `derived`, `confirmed` (held) or `asked`.
    pub permits: IntCounterVec,
    /// Permits served that could not be derived, by reason.
    pub not_derived: IntCounterVec,
    /// Permits served beyond the age that their route allows, since Altinn could not be asked.
    pub permits_in_grace: IntCounter,
    /// Notices of requests to the register that found its queue full.
    pub notices_lost: IntCounter,
    /// The register and what keeps it.
    pub sync: SyncMetrics,
    /// Confirmations held.
    pub confirmations_held: IntGauge,
    /// Answers that nothing covers a question that was permitted shortly before, by what the second
    /// asking said.
    pub suspicious: IntCounterVec,
    /// The age of permits when they were served.
    pub permit_age_seconds: Histogram,
    /// The greatest age at which any permit was served, seconds, rounded up.
    pub permit_age_worst: WorstAge,
    /// Calls to the PDP, by result.
    pub pdp_calls: IntCounterVec,
    /// Time of a call to the PDP.
    pub pdp_seconds: Histogram,
    /// Attempts beyond the first.
    pub pdp_retries: IntCounter,
    /// Calls held back by the ceiling, by what then happened (`waited`, `refused`).
    pub pdp_ceiling: IntCounterVec,
    /// Whether the circuit to the PDP is open: 0 or 1.
    pub pdp_circuit_open: IntGauge,
    /// Calls to Altinn, by endpoint and result.
    pub altinn_calls: IntCounterVec,
    /// Time of a call to Altinn, its body included, by endpoint.
    pub altinn_seconds: HistogramVec,
    /// Calls that wait for a turn or a place, by urgency.
    pub altinn_waiting: IntGaugeVec,
    /// What became of calls at the gate, by urgency and result.
    pub altinn_gate: IntCounterVec,
    /// Calls to Altinn in flight.
    pub altinn_in_flight: IntGauge,
    /// Calls to Altinn that the declared ceiling leaves, as of the last look at the metrics.
    pub altinn_calls_left: IntGauge,
    /// Access package codes and parties of Altinn's answers that were left out, by kind.
    pub altinn_ignored: IntCounterVec,
    /// Our own tokens fetched, by step (`grant`, `exchange`) and result.
    pub own_tokens: IntCounterVec,
    /// Answers of upstreams, by name and status class.
    pub upstream_responses: IntCounterVec,
    /// Upstream failures, by name and kind.
    pub upstream_failures: IntCounterVec,
    /// Requests sent once more over a new connection, by upstream.
    pub upstream_retries: IntCounterVec,
    /// Look-ups of upstreams' names, by upstream and result.
    pub upstream_lookups: IntCounterVec,
    /// Times that an address was left out, by upstream.
    pub upstream_left_out: IntCounterVec,
    /// Handshakes of clients that are going on.
    pub tls_handshakes: IntGauge,
    /// Ends of certificates, by file.
    pub tls_certificate_ends: IntGaugeVec,
    /// Changed certificates, keys and authorities, by `taken` or `refused`.
    pub tls_reloads: IntCounterVec,
    /// Time to the head of the upstream's answer, by name.
    pub upstream_seconds: HistogramVec,
    /// Audit records, by `written`, `dropped` or `failed`.
    pub audit_records: IntCounterVec,
    /// Places of the audit queue that are taken.
    pub audit_waiting: IntGauge,
    /// Whether requests are refused because their records could not be written: 0 or 1.
    pub audit_stopped: IntGauge,
    /// Audit files that were to be begun anew, by `done` or `failed`.
    pub audit_rotations: IntCounterVec,
    /// Number of the last line of the chain.
    pub audit_sequence: IntGauge,
    /// Traces and their spans.
    pub traces: TraceMetrics,
    /// Bounds from the configuration, by name.
    pub limits: IntGaugeVec,
    /// Configurations that were read anew, by `taken` or `refused`.
    pub config_reloads: IntCounterVec,
    /// Whether the configuration file is not the one in force, since it was refused: 0 or 1.
    pub config_refused: IntGauge,
    /// Time of day at which the configuration in force was taken, seconds since 1970.
    pub config_taken: IntGauge,
    /// Changed credentials of our Maskinporten client, by taken or refused.
    pub credentials_reloads: IntCounterVec,
    /// 1 while changed credentials were refused.
    pub credentials_refused: IntGauge,
    /// Whether the program is ready: 0 or 1.
    pub ready: IntGauge,
    process: Process,
}

/// Members of families that nearly every request counts, found once: to find one takes a hash of its labels, a lock and a
/// count of who holds it, which all workers share.
#[derive(Clone, Debug)]
pub struct Usual {
    /// Of `step_seconds`, in the order of [`Step::ALL`].
    pub steps: [Histogram; Step::ALL.len()],
    /// Of `token_cache`.
    pub token_hits: IntCounter,
    /// Of `permits`.
    pub derived: IntCounter,
}

impl Usual {
    fn of(steps: &HistogramVec, token_cache: &IntCounterVec, permits: &IntCounterVec) -> Self {
        Self {
            steps: Step::ALL.map(|step| steps.with_label_values(&[step.label()])),
            token_hits: token_cache.with_label_values(&[TokenCache::Hit.label()]),
            derived: permits.with_label_values(&[Source::Derived.basis()]),
        }
    }
}

/// The greatest age so far. A gauge alone could be set back by another worker.
#[derive(Clone, Debug)]
pub struct WorstAge {
    seconds: Arc<AtomicI64>,
    gauge: IntGauge,
}

impl WorstAge {
    fn new(gauge: IntGauge) -> Self {
        Self { seconds: Arc::default(), gauge }
    }

    /// Notes an age, rounded up to seconds.
    pub fn note(&self, age: Duration) {
        let seconds = age.as_secs() + u64::from(age.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        // Mostly it is no greater, and what is only read all workers have at hand.
        if self.seconds() < seconds {
            self.seconds.fetch_max(seconds, Ordering::Relaxed);
        }
    }

    /// The greatest so far, in seconds rounded up.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.seconds.load(Ordering::Relaxed)
    }

    /// Sets the gauge.
    pub fn observe(&self) {
        self.gauge.set(self.seconds());
    }
}

impl Metrics {
    /// Registers every family in a registry of its own.
    ///
    /// # Errors
    /// When a family is named twice, or has other labels than in the catalogue: a mistake in this file.
    #[expect(clippy::too_many_lines, reason = "one line a family, all in one place")]
    pub fn new() -> prometheus::Result<Self> {
        let families = Families::default();
        let step_seconds = families.times(
            "portvakt_step_seconds",
            "Time of each step of a request.",
            &["step"],
        )?;
        let token_cache = families.counters(
            "portvakt_token_cache_total",
            "Look-ups of verified tokens by result.",
            &["result"],
        )?;
        let permits = families.counters(
            "portvakt_permits_total",
            "Permits served: derived, confirmed (an answer held) or asked.",
            &["basis"],
        )?;
        Ok(Self {
            usual: Usual::of(&step_seconds, &token_cache, &permits),
            requests: families.counters(
                "portvakt_requests_total",
                "Requests by route, answer and problem code.",
                &["route", "answer", "code"],
            )?,
            shadow_refusals: families.counters(
                "portvakt_shadow_refusals_total",
                "Requests that a route in shadow let through or went on with, by the code that would have refused them.",
                &["route", "code"],
            )?,
            route_in_shadow: families.gauges(
                "portvakt_route_in_shadow",
                "1 while a route is in shadow and refuses nobody for what it demands.",
                &["route"],
            )?,
            responses: families.counters(
                "portvakt_responses_total",
                "Responses to clients by route and status class; aborted when the client left.",
                &["route", "class"],
            )?,
            request_seconds: families.times(
                "portvakt_request_seconds",
                "Time from the request head to the last byte of the response.",
                &["route"],
            )?,
            step_seconds,
            requests_in_flight: families
                .gauge("portvakt_requests_in_flight", "Requests being served.")?,
            connections: families.gauge("portvakt_connections", "Client connections open.")?,
            connections_refused: families.counters(
                "portvakt_connections_refused_total",
                "Client connections turned away or ended by us, by reason.",
                &["reason"],
            )?,
            token_cache,
            tokens_refused: families.counters(
                "portvakt_tokens_refused_total",
                "Tokens refused by reason.",
                &["reason"],
            )?,
            key_set_fetches: families.counters(
                "portvakt_key_set_fetches_total",
                "Fetches of the issuer's key set by trigger and result.",
                &["trigger", "result"],
            )?,
            key_set_keys: families.gauge("portvakt_key_set_keys", "Keys of the issuer held.")?,
            key_set_fetched: families.gauge(
                "portvakt_key_set_fetched_timestamp_seconds",
                "Time of the last key set that was accepted.",
            )?,
            key_set_ignored: families.counters(
                "portvakt_key_set_ignored_total",
                "Keys in the issuer's set that are not used, by reason.",
                &["reason"],
            )?,
            permits,
            not_derived: families.counters(
                "portvakt_not_derived_total",
                "Permits served that the register could not derive, by reason.",
                &["reason"],
            )?,
            permits_in_grace: families.counter(
                "portvakt_permits_in_grace_total",
                "Permits served beyond their greatest age, since Altinn could not be asked.",
            )?,
            notices_lost: families.counter(
                "portvakt_notices_lost_total",
                "Notices of requests to the register that found its queue full.",
            )?,
            sync: SyncMetrics::register(&families)?,
            confirmations_held: families
                .gauge("portvakt_confirmations_held", "Confirmed answers held.")?,
            suspicious: families.counters(
                "portvakt_suspicious_no_total",
                "Sudden loss of a right shortly permitted, by what the second asking said.",
                &["second"],
            )?,
            permit_age_seconds: families.time(
                "portvakt_permit_age_seconds",
                "Age of permits when served.",
                &[0.001, 0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0],
            )?,
            permit_age_worst: WorstAge::new(families.gauge(
                "portvakt_permit_age_worst_seconds",
                "Greatest age at which any permit was served since the start.",
            )?),
            pdp_calls: families.counters(
                "portvakt_pdp_calls_total",
                "Calls to the PDP by result.",
                &["result"],
            )?,
            pdp_seconds: families.time(
                "portvakt_pdp_seconds",
                "Time of one call to the PDP.",
                &SECONDS,
            )?,
            pdp_retries: families
                .counter("portvakt_pdp_retries_total", "Calls to the PDP beyond the first.")?,
            pdp_ceiling: families.counters(
                "portvakt_pdp_ceiling_total",
                "Calls to the PDP held back by the declared ceiling.",
                &["result"],
            )?,
            pdp_circuit_open: families
                .gauge("portvakt_pdp_circuit_open", "1 while the circuit holds calls to the PDP back.")?,
            altinn_calls: families.counters(
                "portvakt_altinn_calls_total",
                "Calls to Altinn by endpoint and result.",
                &["endpoint", "result"],
            )?,
            altinn_seconds: families.times(
                "portvakt_altinn_call_seconds",
                "Time of one call to Altinn, its whole answer included.",
                &["endpoint"],
            )?,
            altinn_waiting: families.gauges(
                "portvakt_altinn_waiting",
                "Calls to Altinn that wait for a turn or a place.",
                &["urgency"],
            )?,
            altinn_gate: families.counters(
                "portvakt_altinn_gate_total",
                "Calls to Altinn by urgency and whether they went at once, waited or were refused.",
                &["urgency", "result"],
            )?,
            altinn_in_flight: families
                .gauge("portvakt_altinn_in_flight", "Calls to Altinn in flight.")?,
            altinn_calls_left: families.gauge(
                "portvakt_altinn_calls_left",
                "Calls to Altinn that may go at once; 0 while Altinn asked for a pause.",
            )?,
            altinn_ignored: families.counters(
                "portvakt_altinn_ignored_total",
                "What was left out of answers of authorized parties, by kind.",
                &["kind"],
            )?,
            own_tokens: families.counters(
                "portvakt_own_tokens_total",
                "Our own tokens fetched, by step and result.",
                &["step", "result"],
            )?,
            upstream_responses: families.counters(
                "portvakt_upstream_responses_total",
                "Responses of upstreams by status class.",
                &["upstream", "class"],
            )?,
            upstream_failures: families.counters(
                "portvakt_upstream_failures_total",
                "Upstream failures by kind.",
                &["upstream", "kind"],
            )?,
            upstream_retries: families.counters(
                "portvakt_upstream_retries_total",
                "Requests that change nothing, sent once more since a kept connection ended.",
                &["upstream"],
            )?,
            upstream_lookups: families.counters(
                "portvakt_upstream_lookups_total",
                "Look-ups of upstreams' names by result.",
                &["upstream", "result"],
            )?,
            upstream_left_out: families.counters(
                "portvakt_upstream_left_out_total",
                "Times that an address of an upstream was left out after connections that could not be made.",
                &["upstream"],
            )?,
            tls_handshakes: families.gauge(
                "portvakt_tls_handshakes_pending",
                "TLS handshakes of clients that are going on.",
            )?,
            tls_certificate_ends: families.gauges(
                "portvakt_tls_certificate_not_after_timestamp_seconds",
                "Time at which the certificate in use ends, by file.",
                &["file"],
            )?,
            tls_reloads: families.counters(
                "portvakt_tls_reloads_total",
                "Changes of certificates, keys and authorities by result.",
                &["result"],
            )?,
            upstream_seconds: families.times(
                "portvakt_upstream_seconds",
                "Time to the head of the upstream's response.",
                &["upstream"],
            )?,
            audit_records: families.counters(
                "portvakt_audit_records_total",
                "Audit records by what became of them.",
                &["result"],
            )?,
            audit_waiting: families
                .gauge("portvakt_audit_waiting", "Places of the audit queue that are taken.")?,
            audit_stopped: families.gauge(
                "portvakt_audit_stopped",
                "1 while requests are refused because their records could not be written.",
            )?,
            audit_rotations: families.counters(
                "portvakt_audit_rotations_total",
                "Audit files that were to be begun anew, by result.",
                &["result"],
            )?,
            audit_sequence: families
                .gauge("portvakt_audit_sequence", "Number of the last line of the audit chain.")?,
            traces: TraceMetrics::register(&families)?,
            limits: families.gauges("portvakt_limit", "Configured bounds, by name.", &["name"])?,
            config_reloads: families.counters(
                "portvakt_config_reloads_total",
                "Configurations read anew, by taken or refused.",
                &["result"],
            )?,
            config_refused: families.gauge(
                "portvakt_config_refused",
                "1 while the configuration file was refused and an older one is in force.",
            )?,
            config_taken: families.gauge(
                "portvakt_config_taken_timestamp_seconds",
                "Time at which the configuration in force was taken.",
            )?,
            credentials_reloads: families.counters(
                "portvakt_credentials_reloads_total",
                "Changed credentials of our Maskinporten client, by taken or refused.",
                &["result"],
            )?,
            credentials_refused: families.gauge(
                "portvakt_credentials_refused",
                "1 while changed credentials of our Maskinporten client were refused and older ones are in use.",
            )?,
            ready: families.gauge("portvakt_ready", "1 while ready for traffic.")?,
            process: Process::register(&families)?,
            declared: families.declared(),
            registry: families.registry,
        })
    }

    /// Every family, as it was declared.
    #[must_use]
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// Has what alerts look at begin at 0 for a route, since only the configuration knows its name.
    pub fn expect_route(&self, id: &str) {
        for (answer, code) in [
            (Answer::Permit, "none"),
            (Answer::NoRight, Code::NoRight.label()),
            (Answer::Permit, Code::Internal.label()),
            (Answer::NotAsked, Code::Internal.label()),
            (Answer::Unknown, Code::CannotDecide.label()),
            (Answer::Unknown, Code::TokenUnverified.label()),
        ] {
            self.requests.with_label_values(&[id, answer.label(), code]);
        }
    }

    /// Tells whether a route is in shadow; there, what would have been refused begins at 0 too.
    pub fn tell_shadow(&self, id: &str, in_shadow: bool) {
        self.route_in_shadow.with_label_values(&[id]).set(i64::from(in_shadow));
        if in_shadow {
            self.requests.with_label_values(&[id, Answer::Shadow.label(), "none"]);
            for code in shadow::CODES {
                self.shadow_refusals.with_label_values(&[id, code.label()]);
            }
        }
    }

    /// A route is there no more.
    pub fn forget_route(&self, id: &str) {
        // It may never have been told.
        let _ = self.route_in_shadow.remove_label_values(&[id]);
    }

    /// As [`Metrics::expect_route`], for an upstream.
    pub fn expect_upstream(&self, name: &str) {
        for values in combinations("portvakt_upstream_responses_total", &[name]) {
            self.upstream_responses.with_label_values(&values);
        }
        for values in combinations("portvakt_upstream_failures_total", &[name]) {
            self.upstream_failures.with_label_values(&values);
        }
    }

    /// The families in the text format of Prometheus.
    ///
    /// # Errors
    /// When a family cannot be written: a mistake in this file.
    pub fn render(&self) -> prometheus::Result<String> {
        self.process.observe();
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
