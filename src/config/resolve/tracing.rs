//! Traces: the section, and the variables of OpenTelemetry where it is silent. The variables alone switch nothing on:
//! what leaves the program is for who writes the file to say.

use super::secret::Reference;
use super::world::number;
use super::{Resolver, either, section};
use crate::config::error::Place;
use crate::config::raw::{Ratio, RawTracing, RawTracingProtocol, Setting, per_million};
use crate::config::{TracingConfig, TracingProtocol};
use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

const ENDPOINT_CURE: &str = "write it like `http://collector:4318`";
/// One in ten, where nothing else is said.
const USUAL: u32 = 100_000;

impl Resolver<'_> {
    pub(super) fn tracing(&mut self, written: Setting<RawTracing>) -> Option<TracingConfig> {
        let section = section(written, "tracing");
        let (raw, place) = (section.raw, section.place);
        let disabled = self.variable("OTEL_SDK_DISABLED");
        let disabled = disabled.is_some_and(|word| word.eq_ignore_ascii_case("true"));
        let on = either(&raw.enabled, false) && !disabled;
        // Checked also where it is not used: a mistake is found before it is switched on.
        let per_million = self.ratio(&raw.ratio, on);
        let traces_per_second = self.count_up_to(&raw.traces_per_second, number(100), 1_000_000);
        let queue_spans = self.count_up_to(&raw.queue_spans, number(8_192), 1_000_000);
        let timeout = self.time(&raw.timeout, Duration::from_secs(5));
        let protocol = self.tracing_protocol(&raw.protocol, on);
        let url = self.collector(&raw.endpoint, protocol, on.then_some(&place));
        if !on {
            return None;
        }
        let url = url?;
        let headers = self.collector_headers(&raw)?;
        let loopback = url.host_str().is_some_and(super::world::is_loopback);
        if !headers.is_empty() && url.scheme() == "http" && !loopback {
            self.warnings
                .push("`tracing`: header fields for the collector go over plain http".into());
        }
        Some(TracingConfig {
            url,
            protocol,
            headers,
            resource: self.resource(&raw),
            per_million,
            trust_parent: either(&raw.trust_parent, false),
            traces_per_second: NonZeroU32::try_from(traces_per_second).unwrap_or(NonZeroU32::MAX),
            queue_spans,
            timeout,
        })
    }

    /// A variable of OpenTelemetry that is not as it should be.
    fn variable_is(&self, name: &str, message: &str, cure: &str) {
        let place = Place { key: name.to_owned(), ..Place::default() };
        self.sink.report_absent(&place, message, cure);
    }

    /// The first of these that is set, with its name.
    fn first_variable(&self, names: [&'static str; 2]) -> Option<(&'static str, String)> {
        names.into_iter().find_map(|name| Some((name, self.variable(name)?)))
    }

    fn ratio(&self, written: &Setting<Ratio>, on: bool) -> u32 {
        if !written.is_absent() {
            return self.measure(written, Ratio::parse).unwrap_or(USUAL);
        }
        let Some(sampler) = self.variable("OTEL_TRACES_SAMPLER").filter(|_| on) else {
            return USUAL;
        };
        // Whether a caller is heeded is not for a platform to say: `trust_parent`.
        match sampler.strip_prefix("parentbased_").unwrap_or(&sampler) {
            "always_on" => 1_000_000,
            "always_off" => 0,
            "traceidratio" => {
                let Some(text) = self.variable("OTEL_TRACES_SAMPLER_ARG") else { return 1_000_000 };
                per_million(text.trim()).unwrap_or_else(|| {
                    let message = "not a number from 0 to 1 with at most six decimals";
                    self.variable_is("OTEL_TRACES_SAMPLER_ARG", message, "write it like `0.05`");
                    USUAL
                })
            }
            _ => {
                let cure = "write `always_on`, `always_off` or `traceidratio`, or `tracing.ratio`";
                self.variable_is("OTEL_TRACES_SAMPLER", "a sampler that is not known here", cure);
                USUAL
            }
        }
    }

    fn tracing_protocol(&self, written: &Setting<RawTracingProtocol>, on: bool) -> TracingProtocol {
        match written.value() {
            Some(RawTracingProtocol::HttpProtobuf) => return TracingProtocol::HttpProtobuf,
            Some(RawTracingProtocol::Grpc) => return TracingProtocol::Grpc,
            None => {}
        }
        let names = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        let Some((name, word)) = self.first_variable(names).filter(|_| on) else {
            return TracingProtocol::HttpProtobuf;
        };
        match word.as_str() {
            "http/protobuf" => TracingProtocol::HttpProtobuf,
            "grpc" => TracingProtocol::Grpc,
            _ => {
                let cure = "write `http/protobuf` or `grpc`";
                self.variable_is(name, "a protocol that is not spoken here", cure);
                TracingProtocol::HttpProtobuf
            }
        }
    }

    /// The address that spans are sent to. Demanded where there is a place to say so.
    fn collector(
        &self,
        written: &Setting<String>,
        protocol: TracingProtocol,
        demanded_at: Option<&Place>,
    ) -> Option<Url> {
        const WHOLE: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        if let Some((text, place)) = written.written() {
            let url = address(text).map(|url| at_path(url, protocol, false));
            return url.map_err(|problem| self.sink.report(place, problem, ENDPOINT_CURE)).ok();
        }
        let demanded_at = demanded_at.filter(|_| written.is_absent())?;
        let Some((name, text)) = self.first_variable([WHOLE, "OTEL_EXPORTER_OTLP_ENDPOINT"]) else {
            self.missing(
                demanded_at,
                "endpoint",
                "write the collector's address, such as `http://collector:4318`",
            );
            return None;
        };
        let url = address(&text).map(|url| at_path(url, protocol, name == WHOLE));
        url.map_err(|problem| self.variable_is(name, problem, ENDPOINT_CURE)).ok()
    }

    fn collector_headers(&self, raw: &RawTracing) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
        let platform = self.first_variable(names).map(|(name, _)| name);
        let (file, variable) = (&raw.headers_file, &raw.headers_env);
        let reference = Reference { inline: None, file, variable, platform };
        let Some((text, place)) = self.secret(&reference).ok()? else { return Some(Vec::new()) };
        let fields = pairs(text.expose_secret()).map(|pair| {
            let (name, value) = pair?;
            let name = HeaderName::try_from(name).ok().filter(is_free)?;
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let fields: Option<Vec<_>> = fields.collect();
        if fields.is_none() {
            let message = "not header fields for a collector";
            self.sink.report_absent(
                &place,
                message,
                "write `name=value,name=value`, percent-encoded",
            );
        }
        fields
    }

    /// What is said of the program: by the file, else by variables.
    fn resource(&self, raw: &RawTracing) -> BTreeMap<String, String> {
        const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let mut resource = BTreeMap::new();
        let told = self.variable(ATTRIBUTES).unwrap_or_default();
        for pair in pairs(&told) {
            match pair {
                Some((name, value)) => drop(resource.insert(name, value)),
                None => self.variable_is(
                    ATTRIBUTES,
                    "not a list of attributes",
                    "write `name=value,name=value`, percent-encoded",
                ),
            }
        }
        if let Some(name) = self.variable("OTEL_SERVICE_NAME") {
            resource.insert("service.name".into(), name);
        }
        for (name, value) in raw.resource_attributes.value().into_iter().flatten() {
            if let Some(value) = value.value() {
                resource.insert(name.clone(), value.clone());
            }
        }
        if let Some(name) = raw.service_name.value() {
            resource.insert("service.name".into(), name.clone());
        }
        resource.entry("service.name".into()).or_insert_with(|| "portvakt".into());
        resource
            .entry("service.version".into())
            .or_insert_with(|| env!("CARGO_PKG_VERSION").into());
        resource
    }
}

/// An address of http or https without user, query and fragment.
fn address(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text.trim()).map_err(|_| "not an address")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("neither http nor https");
    }
    let user = !url.username().is_empty() || url.password().is_some();
    if user || url.query().is_some() || url.fragment().is_some() {
        return Err("the address of a collector has no user, query or fragment");
    }
    Ok(url)
}

/// Source: OpenTelemetry Protocol Exporter, "Endpoint URLs for OTLP/HTTP".
fn at_path(mut url: Url, protocol: TracingProtocol, whole: bool) -> Url {
    match protocol {
        TracingProtocol::Grpc => {
            url.set_path("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        }
        TracingProtocol::HttpProtobuf if whole => {}
        TracingProtocol::HttpProtobuf => {
            let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
    }
    url
}

/// Fields that the exchange itself does not need.
fn is_free(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "connection" | "content-length" | "content-type" | "host" | "te" | "transfer-encoding"
    )
}

/// `name=value,name=value`, percent-encoded. Source: OpenTelemetry environment variables, W3C Baggage.
fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| {
        let (name, value) = part.split_once('=')?;
        let decoded = |text: &str| {
            percent_decode_str(text.trim()).decode_utf8().ok().map(std::borrow::Cow::into_owned)
        };
        Some((decoded(name).filter(|name| !name.is_empty())?, decoded(value)?))
    })
}
