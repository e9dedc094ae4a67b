//! The command line: start, say where, stop on a signal.

use crate::scenario::{Scenario, ScenarioError, ScenarioOptions, run_scenario};
use crate::server::{RunningSandbox, Sandbox, SandboxError, SandboxOptions, Seed};
use crate::tls::TlsOptions;
use clap::{Parser, Subcommand};
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Simulated Maskinporten and Altinn Authorization.
#[derive(Debug, Parser)]
#[command(name = "portvakt-sandbox", version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8400")]
    listen: SocketAddr,
    /// The port alone, on loopback; 0 takes a free one.
    #[arg(long, conflicts_with = "listen")]
    port: Option<u16>,
    /// Serve TLS too, with a certificate for this name; may be repeated.
    #[arg(long, value_name = "NAME", requires = "ca_file")]
    tls_host: Vec<String>,
    /// Where to write the certificate of the local authority that clients must trust.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// What Maskinporten calls itself, e.g. `https://test.maskinporten.no/`.
    #[arg(long, value_name = "URL", requires = "tls_host")]
    issuer: Option<String>,
    /// Altinn's base address, e.g. `https://platform.tt02.altinn.no`.
    #[arg(long, value_name = "URL", requires = "tls_host")]
    altinn: Option<String>,
    /// Altinn's own caches of 5 and 10 minutes in the decision point.
    #[arg(long)]
    caches: bool,
    /// A proxy that the vendor's page may call, `http://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// A world in YAML instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells the story of a system user to a running sandbox, from registration to the first call.
    Scenario {
        /// The pattern of use.
        name: Scenario,
        /// The running sandbox.
        #[arg(long, default_value = "http://127.0.0.1:8400")]
        sandbox: String,
        /// A proxy with the routes of `config/sandbox.yaml`, for the calls at the end.
        #[arg(long)]
        proxy: Option<String>,
    },
}

/// Why the program ended badly.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the sandbox did not start")]
    Start(#[from] SandboxError),
    #[error("the scenario did not come to its end")]
    Scenario(#[from] ScenarioError),
    #[error("cannot write the authority's certificate to `{}`", path.display())]
    CaFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("input or output failed")]
    Io(#[from] io::Error),
}

/// Runs the whole program: prints one ready line on standard output and returns after SIGTERM or SIGINT.
///
/// The first argument is the program's name. Problems are told on standard error.
pub fn run<I: IntoIterator<Item = OsString>>(args: I) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Where even the help cannot be printed there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match arguments.command {
        Some(Command::Scenario { name, sandbox, proxy }) => {
            tell(&ScenarioOptions { scenario: name, sandbox, proxy })
        }
        None => serve(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "portvakt-sandbox: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn tell(options: &ScenarioOptions) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let steps = runtime.block_on(run_scenario(options))?;
    for (number, step) in (1..).zip(&steps) {
        writeln!(io::stdout(), "{number:2}. {}", step.what)?;
        writeln!(io::stdout(), "    {} → {}: {}", step.call, step.status, step.outcome)?;
    }
    Ok(())
}

fn serve(arguments: Arguments) -> Result<(), RunError> {
    let seed = arguments.seed.map_or(Seed::BuiltIn, Seed::File);
    let listen = arguments
        .port
        .map_or(arguments.listen, |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let tls = (!arguments.tls_host.is_empty()).then_some(TlsOptions {
        hosts: arguments.tls_host,
        issuer: arguments.issuer,
        altinn: arguments.altinn,
    });
    let caching_pods = usize::from(arguments.caches);
    let options = SandboxOptions { listen, seed, caching_pods, tls, proxy: arguments.proxy };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = StopSignal::new()?;
        let sandbox = Sandbox::start(options).await?;
        if let (Some(file), Some(authority)) = (arguments.ca_file, sandbox.authority_pem()) {
            let written = std::fs::write(&file, authority);
            written.map_err(|source| RunError::CaFile { path: file, source })?;
        }
        writeln!(io::stdout(), "{}", ready_line(&sandbox).map_err(io::Error::from)?)?;
        stop.received().await;
        sandbox.stop().await;
        Ok(())
    })
}

/// The ready line, with members in the order people read them.
fn ready_line(sandbox: &RunningSandbox) -> Result<String, serde_json::Error> {
    serde_json::to_string(&ReadyLine {
        ready: true,
        address: sandbox.address(),
        issuer: sandbox.issuer(),
        altinn: sandbox.altinn_url(),
        knobs: format!("http://{}/sandbox", sandbox.address()),
    })
}

#[derive(serde::Serialize)]
struct ReadyLine<'a> {
    ready: bool,
    address: SocketAddr,
    issuer: &'a str,
    altinn: &'a str,
    knobs: String,
}

/// The error and what caused it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(unix)]
struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopSignal {
    /// Listens from now on, so that no signal is lost between start and ready.
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct StopSignal;

#[cfg(not(unix))]
impl StopSignal {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn received(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
