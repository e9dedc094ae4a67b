//! What operators see: logs on standard error, and the metric families in [`metrics`].

pub mod metrics;
pub(crate) mod process;

use crate::config::LogConfig;
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::Subscriber;

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
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        tracing::subscriber::set_global_default(builder.finish())
    };
    Ok(())
}
