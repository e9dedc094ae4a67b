//! The command line: `run`, `check`, `doctor`, `schema`, `explain`, `register` and `audit`.

pub mod audit;
pub mod doctor;
pub mod explain;
pub mod register;

use crate::app;
use crate::app::reload::Origin;
use crate::config::Config;
use crate::config::ConfigErrors;
use crate::config::source::{self, ProcessEnv, Written};
use crate::serve::listener::Bound;
use crate::telemetry;
use clap::{Parser, Subcommand};
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Portvakt: enforces Maskinporten system-user tokens and Altinn rights in front of an API.
#[derive(Debug, Parser)]
#[command(name = "portvakt", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Run {
        /// The configuration.
        #[arg(short, long, env = "PORTVAKT_CONFIG", default_value = "portvakt.yaml")]
        config: PathBuf,
    },
    /// Read the configuration and report every problem in it.
    Check {
        /// The configuration.
        #[arg(short, long, env = "PORTVAKT_CONFIG", default_value = "portvakt.yaml")]
        config: PathBuf,
        /// Ask Maskinporten, Altinn and the upstreams too, whether they are there and take us. Changes nothing.
        #[arg(long)]
        online: bool,
        /// With --online: print the findings as JSON, and nothing else.
        #[arg(long, requires = "online")]
        json: bool,
    },
    /// Look at everything that the program rests on, and tell the cure of what is wrong.
    Doctor(doctor::Wish),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Tell what every step would say to a request, and why.
    Explain(explain::Request),
    /// Tell what the register holds, and whether Altinn agrees.
    #[command(subcommand)]
    Register(register::Command),
    /// Tell whether an audit log is whole and as it was written, or what routes in shadow would have refused.
    #[command(subcommand)]
    Audit(audit::Command),
}

/// Exit codes: 0 done, 1 refused or failed, 2 wrong arguments, 3 it could not be told.
const FAILED: u8 = 1;

/// Runs the program with its arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // To standard output for --help, to standard error for mistakes; nobody to tell if that fails.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command {
        Command::Run { config } => serve(&config),
        Command::Check { config, online: false, .. } => check(&config),
        Command::Check { config, json, .. } => check_online(&config, json),
        Command::Doctor(wish) => doctor::run(&wish),
        Command::Schema => schema(),
        Command::Explain(request) => explain::run(&request),
        Command::Register(command) => register::run(&command),
        Command::Audit(command) => audit::run(&command),
    }
}

fn load(path: &Path) -> Result<Config, ConfigErrors> {
    source::load(path, &ProcessEnv)
}

fn serve(path: &Path) -> ExitCode {
    let given = match Bound::given() {
        Ok(given) => given,
        Err(error) => return complain(&error),
    };
    // Beside the rest of the start, which needs them last: the first random numbers take the library 60 ms to gather.
    // A failure is seen by who draws the next.
    let _gathering = std::thread::spawn(|| aws_lc_rs::rand::fill(&mut [0]));
    let written = Written::read(path);
    let config = match written.load(&ProcessEnv) {
        Ok(config) => config,
        Err(errors) => return complain(&errors),
    };
    let origin = Origin::of(path, written);
    if let Err(error) = telemetry::start_log(&config.log) {
        return complain(&error);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match app::run(config, origin, given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(cause = chain(&error), "portvakt ended");
            ExitCode::from(FAILED)
        }
    }
}

fn check(path: &Path) -> ExitCode {
    match source::check(path) {
        Ok(summary) => say(&summary),
        Err(errors) => complain(&errors),
    }
}

/// As [`check`], and then what lies beyond this machine.
fn check_online(path: &Path, json: bool) -> ExitCode {
    doctor::examine(path, doctor::Extent::Beyond, json, |config| {
        if !json {
            let _ = say(&format!("{}\n", source::summary(config)));
        }
    })
}

fn schema() -> ExitCode {
    match serde_json::to_string_pretty(&source::schema()) {
        Ok(text) => say(&text),
        Err(error) => complain(&error),
    }
}

/// Writes to standard output; a reader that has gone is no failure of ours.
fn say(text: &str) -> ExitCode {
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
    ExitCode::SUCCESS
}

fn complain(error: &dyn Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "{}", chain(error).trim_end());
    ExitCode::from(FAILED)
}

/// An error and its causes, in one line each.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
