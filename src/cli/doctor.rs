//! `portvakt doctor`: whether everything that the program rests on is there and works, step by step, each failure with
//! its cure; and `portvakt check --online`, which is its part beyond this machine.
//!
//! It asks with the program's own clients, once each, and disturbs no program that runs: no snapshot is opened, no audit
//! line written, no connection taken.

pub mod finding;
mod local;
mod remote;

use super::{FAILED, complain, say};
use crate::config::source::{self, ProcessEnv};
use crate::config::{Config, ConfigErrors};
use clap::Args;
use finding::{Code, Report, Step, Trouble};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Builder;

/// What is to be looked at.
#[derive(Args, Debug)]
pub struct Wish {
    /// The configuration.
    #[arg(short, long, env = "PORTVAKT_CONFIG", default_value = "portvakt.yaml")]
    config: PathBuf,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// It could not be looked at at all.
const COULD_NOT_RUN: u8 = 2;

/// How much is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Extent {
    /// Everything.
    All,
    /// What lies beyond this machine.
    Beyond,
}

/// Looks at everything. Exit code 0 when all is well, 1 when something failed, 2 when nothing could be looked at.
pub(super) fn run(wish: &Wish) -> ExitCode {
    examine(&wish.config, Extent::All, wish.json, |_| ())
}

/// Looks at `extent` of what the configuration at `path` names; `before` is told the configuration.
pub(super) fn examine(
    path: &Path,
    extent: Extent,
    json: bool,
    before: impl FnOnce(&Config),
) -> ExitCode {
    let loaded = source::load(path, &ProcessEnv);
    if let Ok(config) = &loaded {
        before(config);
    }
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = complain(&error);
            return ExitCode::from(COULD_NOT_RUN);
        }
    };
    let report = runtime.block_on(report(loaded, extent)).finish();
    // A look-up of a name that does not come back is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    if json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => drop(say(&text)),
            Err(error) => {
                let _ = complain(&error);
                return ExitCode::from(COULD_NOT_RUN);
            }
        }
    } else {
        let _ = say(&report.text());
    }
    if report.well { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

async fn report(loaded: Result<Config, ConfigErrors>, extent: Extent) -> Report {
    let mut report = Report::default();
    let config = match loaded {
        Ok(config) => config,
        Err(errors) => {
            let trouble = Trouble::new(Code::Configuration, errors.to_string());
            report.note(Step::Configuration, "", Err(trouble));
            rest_is_skipped(&mut report, extent);
            return report;
        }
    };
    let routes = format!("routes: {}, warnings: {}", config.routes.len(), config.warnings.len());
    report.note(Step::Configuration, "", Ok(routes));
    if extent == Extent::All {
        local::files(&mut report, &config);
    }
    remote::all(&mut report, &config).await;
    if extent == Extent::All {
        local::listen(&mut report, &config).await;
    }
    report
}

fn rest_is_skipped(report: &mut Report, extent: Extent) {
    if extent == Extent::All {
        report.skip(Step::Files, Step::Configuration);
    }
    for step in [
        Step::IssuerAddress,
        Step::IssuerMetadata,
        Step::IssuerKeys,
        Step::Clock,
        Step::OwnToken,
        Step::AltinnAddress,
        Step::Exchange,
        Step::Decisions,
        Step::Parties,
        Step::AccessLists,
        Step::Resources,
        Step::Upstreams,
    ] {
        report.skip(step, Step::Configuration);
    }
    if extent == Extent::All {
        report.skip(Step::Listen, Step::Configuration);
    }
}
