//! `portvakt register`: what the register holds, for people, and whether Altinn agrees.
//!
//! Asks the running process at its admin listener, or reads the snapshot that it has left.

mod held;
mod show;
mod verify;

use super::{complain, load};
use crate::config::Config;
use crate::domain::system_user::SystemUserId;
use clap::{Args, Subcommand};
use held::{HeldError, Origin};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with the register.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell how it stands, or what is known of one system user.
    Show {
        /// Where to look.
        #[command(flatten)]
        place: Place,
        /// UUID of a system user.
        system_user: Option<SystemUserId>,
    },
    /// Print what is known of every system user, one JSON line each.
    Export {
        /// Where to look.
        #[command(flatten)]
        place: Place,
    },
    /// Compare the permits that it derives with Altinn's decision point.
    Verify {
        /// Where to look.
        #[command(flatten)]
        place: Place,
        /// How much to compare.
        #[command(flatten)]
        extent: verify::Extent,
    },
}

/// Where to look for the register.
#[derive(Args, Debug)]
pub struct Place {
    /// The configuration.
    #[arg(short, long, env = "PORTVAKT_CONFIG", default_value = "portvakt.yaml")]
    config: PathBuf,
    /// Read the snapshot instead of asking the running process.
    #[arg(long, conflicts_with = "admin")]
    snapshot: bool,
    /// Address of the admin listener, where it is not that of the configuration.
    #[arg(long)]
    admin: Option<SocketAddr>,
}

impl Place {
    fn origin(&self, config: &Config) -> Origin {
        if self.snapshot {
            return Origin::Snapshot;
        }
        let mut address = self.admin.unwrap_or(config.admin.address);
        if address.ip().is_unspecified() {
            // Every address of the machine is meant; this one is nearest.
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        Origin::Process(address)
    }
}

/// It could not be told.
const CANNOT_TELL: u8 = 3;

/// Does it. Exit code 0 when done, 1 when it failed; for `verify` see there.
pub(super) fn run(command: &Command) -> ExitCode {
    let (Command::Show { place, .. } | Command::Export { place } | Command::Verify { place, .. }) =
        command;
    let config = match load(&place.config) {
        Ok(config) => config,
        Err(errors) => return complain(&errors),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    let origin = place.origin(&config);
    runtime.block_on(async {
        match command {
            Command::Show { system_user, .. } => {
                print(show::show(&config, &origin, *system_user).await)
            }
            Command::Export { .. } => export(&config, &origin).await,
            Command::Verify { extent, .. } => {
                verify::run(&config, &origin, extent, runtime.handle()).await
            }
        }
    })
}

fn print(text: Result<String, HeldError>) -> ExitCode {
    match text {
        Ok(text) => super::say(&text),
        Err(error) => complain(&error),
    }
}

async fn export(config: &Config, from: &Origin) -> ExitCode {
    let mut out = io::stdout().lock();
    // A reader that has gone ends it.
    let done = from.export(config, &mut |line| writeln!(out, "{line}").is_ok()).await;
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}
