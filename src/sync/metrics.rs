//! What operators see of the register and of what keeps it.

use crate::families::Families;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// The families, registered once at start.
#[derive(Clone, Debug)]
pub struct SyncMetrics {
    /// System users watched.
    pub system_users: IntGauge,
    /// Pairs of a system user and a party with something of ours.
    pub parties: IntGauge,
    /// Bytes for them, about.
    pub bytes: IntGauge,
    /// Distinct sets of packages and single rights.
    pub rights_sets: IntGauge,
    /// The greatest age among system users that were used within the last five minutes.
    pub age_seconds: IntGauge,
    /// System users waiting to be read.
    pub waiting: IntGauge,
    /// How late the one that has waited longest is.
    pub lag_seconds: IntGauge,
    /// Readings of system users, by `changed`, `unchanged` or `failed`.
    pub refreshes: IntCounterVec,
    /// Time of a reading.
    pub refresh_seconds: Histogram,
    /// System users no longer watched, by reason: `unused`, `full`.
    pub forgotten: IntCounterVec,
    /// Our resources by the state of their policy.
    pub policies: IntGaugeVec,
    /// How long ago the policies were known to be the current ones.
    pub policies_age_seconds: IntGauge,
    /// Readings of policies and what belongs to them, by what and result.
    pub policy_readings: IntCounterVec,
    /// For how long a route would still be served if Altinn were away from now on, or is away already.
    pub grace_seconds: IntGaugeVec,
    /// Derived permits compared with the PDP, by outcome.
    pub samples: IntCounterVec,
    /// Resources for which derivation is switched off: 1.
    pub derivation_off: IntGaugeVec,
    /// Writings of the snapshot, by `saved` or `failed`.
    pub saves: IntCounterVec,
    /// Time of day of the last writing.
    pub saved: IntGauge,
    /// Jumps of the wall clock, by direction.
    pub clock_jumps: IntCounterVec,
    /// Notices from requests that were taken up.
    pub notices: IntCounter,
}

impl SyncMetrics {
    /// Registers every family.
    ///
    /// # Errors
    /// When a family is registered twice.
    pub fn register(families: &Families) -> prometheus::Result<Self> {
        Ok(Self {
            system_users: families
                .gauge("portvakt_register_system_users", "System users watched.")?,
            parties: families.gauge(
                "portvakt_register_parties",
                "Pairs of a system user and a party with something of ours.",
            )?,
            bytes: families.gauge("portvakt_register_bytes", "Memory for the register, about.")?,
            rights_sets: families.gauge(
                "portvakt_register_rights_sets",
                "Distinct sets of access packages and single rights.",
            )?,
            age_seconds: families.gauge(
                "portvakt_register_age_seconds",
                "Greatest age among system users used within the last five minutes.",
            )?,
            waiting: families
                .gauge("portvakt_register_waiting", "System users waiting to be read.")?,
            lag_seconds: families.gauge(
                "portvakt_register_lag_seconds",
                "How long the system user that has waited longest has waited to be read.",
            )?,
            refreshes: families.counters(
                "portvakt_register_refreshes_total",
                "Readings of system users, by result.",
                &["result"],
            )?,
            refresh_seconds: families.time(
                "portvakt_register_refresh_seconds",
                "Time of a reading of one system user.",
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0],
            )?,
            forgotten: families.counters(
                "portvakt_register_forgotten_total",
                "System users no longer watched, by reason.",
                &["reason"],
            )?,
            policies: families.gauges(
                "portvakt_register_policies",
                "Resources of our routes by the state of their policy.",
                &["state"],
            )?,
            policies_age_seconds: families.gauge(
                "portvakt_register_policies_age_seconds",
                "How long ago the policies were known to be the current ones.",
            )?,
            policy_readings: families.counters(
                "portvakt_register_policy_readings_total",
                "Readings of policies, packages, access lists and the feed of changes, by result.",
                &["what", "result"],
            )?,
            grace_seconds: families.gauges(
                "portvakt_register_grace_seconds",
                "For how long a route is still served if Altinn stays away, by route.",
                &["route"],
            )?,
            samples: families.counters(
                "portvakt_register_samples_total",
                "Derived permits compared with the PDP, by outcome.",
                &["outcome"],
            )?,
            derivation_off: families.gauges(
                "portvakt_register_derivation_off",
                "1 for a resource whose permits are not derived, since the PDP disagreed.",
                &["resource"],
            )?,
            saves: families.counters(
                "portvakt_snapshot_saves_total",
                "Writings of the snapshot, by result.",
                &["result"],
            )?,
            saved: families.gauge(
                "portvakt_snapshot_saved_timestamp_seconds",
                "Time of the last writing of the snapshot.",
            )?,
            clock_jumps: families.counters(
                "portvakt_clock_jumps_total",
                "Jumps of the wall clock, by direction.",
                &["direction"],
            )?,
            notices: families.counter(
                "portvakt_notices_total",
                "Notices from requests to the register that were taken up.",
            )?,
        })
    }
}
