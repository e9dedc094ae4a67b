//! How families of metrics are declared, so that each is described once: in [`catalogue`], of which
//! `docs/metrics.md` is made.

pub mod catalogue;

use catalogue::Values;
use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use std::cell::RefCell;
use std::sync::Arc;

/// Upper bounds for times of requests and their parts.
pub const SECONDS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0,
    30.0,
];

/// A family as it was declared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its text in `/metrics`.
    pub help: String,
    /// The names of its labels.
    pub labels: Vec<String>,
}

/// Makes families, registers them, and keeps how each was declared.
#[derive(Debug, Default)]
pub struct Families {
    /// What they are registered in.
    pub registry: Registry,
    declared: RefCell<Vec<Declared>>,
}

impl Families {
    /// Every family so far, as it was declared.
    #[must_use]
    pub fn declared(&self) -> Arc<[Declared]> {
        self.declared.borrow().as_slice().into()
    }

    /// Registers a family of any kind.
    ///
    /// # Errors
    /// When its name is taken.
    pub fn add<C: Collector + Clone + 'static>(&self, family: C) -> prometheus::Result<C> {
        self.registry.register(Box::new(family.clone()))?;
        let labels = family.desc().first().map(|it| it.variable_labels.clone()).unwrap_or_default();
        self.declared.borrow_mut().extend(family.collect().iter().map(|it| Declared {
            name: it.name().to_owned(),
            kind: kind(it.get_field_type()),
            help: it.help().to_owned(),
            labels: labels.clone(),
        }));
        Ok(family)
    }

    /// A counter.
    ///
    /// # Errors
    /// As for every family: when its name is taken or cannot be used.
    pub fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    /// A counter by labels. Where the catalogue lists every value they begin at 0: a counter that appears with
    /// its first event hides that event from `rate`.
    ///
    /// # Errors
    /// As [`Families::counter`], and when the catalogue has other labels.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let family = self.add(IntCounterVec::new(Opts::new(name, help), labels)?)?;
        for values in combinations(name, &[]) {
            family.get_metric_with_label_values(&values)?;
        }
        Ok(family)
    }

    /// A gauge.
    ///
    /// # Errors
    /// As [`Families::counter`].
    pub fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    /// A gauge by labels.
    ///
    /// # Errors
    /// As [`Families::counter`].
    pub fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A histogram with these upper bounds.
    ///
    /// # Errors
    /// As [`Families::counter`], and when the bounds do not rise.
    pub fn time(&self, name: &str, help: &str, bounds: &[f64]) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.add(Histogram::with_opts(opts)?)
    }

    /// A histogram of [`SECONDS`] by labels.
    ///
    /// # Errors
    /// As [`Families::counter`].
    pub fn times(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.add(HistogramVec::new(opts, labels)?)
    }
}

fn kind(of: MetricType) -> &'static str {
    match of {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY | MetricType::UNTYPED => "untyped",
    }
}

/// Every combination of the values that the labels of a family can have, where `configured` are those of labels
/// whose values the configuration names: none without them.
#[must_use]
pub fn combinations<'v>(name: &str, configured: &[&'v str]) -> Vec<Vec<&'v str>> {
    let labels = catalogue::find(name).map(|family| family.labels).unwrap_or_default();
    if labels.is_empty() {
        return Vec::new();
    }
    let mut all = vec![Vec::new()];
    for label in labels {
        let values: Vec<&'v str> = match label.values {
            Values::Listed(values) => values.iter().map(|(value, _)| *value).collect(),
            Values::Configured(_) => configured.to_vec(),
        };
        all = all
            .iter()
            .flat_map(|row: &Vec<&'v str>| {
                values.iter().map(|value| [row.as_slice(), &[*value]].concat())
            })
            .collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_whose_values_are_listed_begin_at_zero() {
        let families = Families::default();
        families.counters("portvakt_own_tokens_total", "h", &["step", "result"]).unwrap();
        families.counters("portvakt_upstream_retries_total", "h", &["upstream"]).unwrap();
        families.counters("not_in_the_catalogue_total", "h", &["result"]).unwrap();
        assert_eq!(families.declared().len(), 3);
        let samples = families.registry.gather();
        assert_eq!(samples.len(), 1, "only where every value is listed");
        assert_eq!(samples[0].get_metric().len(), 2 * 7);
    }

    #[test]
    fn a_counter_with_other_labels_than_in_the_catalogue_is_refused() {
        let families = Families::default();
        let given = families.counters("portvakt_own_tokens_total", "h", &["step"]);
        assert!(given.is_err());
    }
}
