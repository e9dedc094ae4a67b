//! What operators see: logs on standard error, the metric families in [`metrics`], and traces sent by [`otlp`].

pub mod metrics;
pub mod otlp;
pub(crate) mod process;

use crate::config::LogConfig;
use crate::trace;
use std::fmt;
use std::io::{self, IsTerminal};
use tracing::{Event, Subscriber as Collect};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, Subscriber};
use tracing_subscriber::registry::LookupSpan;

/// Sends log lines to standard error.
///
/// # Errors
/// When the filter cannot be read.
pub fn start_log(config: &LogConfig) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let builder = Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // A log that is already set, as in a program that embeds us, is left as it is.
    let _ = if config.json {
        let builder = builder.json().flatten_event(true);
        tracing::subscriber::set_global_default(builder.map_event_format(Traced).finish())
    } else {
        tracing::subscriber::set_global_default(builder.finish())
    };
    Ok(())
}

/// Lines as JSON. Those written within a request begin with the ids of its trace and span, where systems that put logs and
/// traces together look for them.
struct Traced(Format<Json>);

impl<S, N> FormatEvent<S, N> for Traced
where
    S: Collect + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    Format<Json>: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(place) = trace::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(
                writer,
                "{{\"trace_id\":\"{}\",\"span_id\":\"{}\",{rest}",
                place.trace, place.span
            ),
            None => writer.write_str(&line),
        }
    }
}
