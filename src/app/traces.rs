//! What makes spans and what sends them, put together.

use crate::clock::SystemClock;
use crate::config::Config;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::otlp::{Exporter, Told};
use crate::trace::Tracer;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longest wait for spans to be sent at the end.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Traces by the configuration in force.
pub(super) struct Traces {
    tracer: Tracer,
    told: watch::Sender<Arc<Told>>,
}

impl Traces {
    /// What sends them is to be run.
    pub(super) fn begin(config: &Config, metrics: &Metrics) -> (Self, Exporter) {
        let clock = Arc::new(SystemClock);
        let (tracer, queue) = Tracer::new(config.tracing.as_ref(), clock, &metrics.traces);
        let (told, receiver) = watch::channel(Arc::new(Told::by(config)));
        (Self { tracer, told }, Exporter::new(queue, receiver, metrics.traces.clone()))
    }

    pub(super) fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// By another configuration from now on.
    pub(super) fn keep_to(&self, config: &Config) {
        self.told.send_replace(Arc::new(Told::by(config)));
        self.tracer.keep_to(config.tracing.as_ref());
    }
}

/// Waits until what is there was sent, if that does not take long. It was told to stop.
pub(super) fn sent(exporter: JoinHandle<()>, control: &Runtime) {
    let waited = control.block_on(async { tokio::time::timeout(LAST_SPANS, exporter).await });
    if waited.is_err() {
        tracing::warn!("spans could not be sent before the end and are lost");
    }
}
