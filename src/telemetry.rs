//! What operators see: every metric family is in [`metrics`].

pub mod metrics;
