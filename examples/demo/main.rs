//! The demo: a vendor calls an API through Portvakt, one step at a time, in plain words.
//!
//! ```sh
//! cargo run --release --example demo             # walks through, then stays up until Ctrl-C
//! cargo run --release --example demo -- --once   # walks through; exit code 0 only if all went as told
//! ```
//!
//! Three programs take part. The sandbox ([`stage`]) plays Maskinporten and Altinn. The sample API ([`api`])
//! is what a service owner would have: it knows nothing of tokens and rights. Between the two stands the
//! real Portvakt, started through its own command line in a process of its own. The steps are in [`story`].

mod api;
mod explain;
mod say;
mod stage;
mod story;

use say::Teller;
use stage::{Ports, Stage};
use std::error::Error;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Whatever may go wrong in a demo; it is told, and the demo ends.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let first = std::env::args_os().nth(1);
    match first.as_ref().map(|argument| argument.to_str()) {
        // `demo portvakt …` is `portvakt …`: so one command builds all that the demo needs.
        Some(Some("portvakt")) => portvakt::cli::run(std::env::args_os().skip(1)),
        Some(Some("--once")) => run(Ports::Free),
        None => run(Ports::Friendly),
        Some(_) => {
            say::problem("usage: demo [--once] | demo portvakt …");
            ExitCode::from(2)
        }
    }
}

fn run(ports: Ports) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(play(ports)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(error.as_ref()),
    }
}

fn fail(error: &dyn Error) -> ExitCode {
    say::problem(&format!("the demo ended: {error}"));
    ExitCode::FAILURE
}

/// Sets the stage, plays every step, and tells whether all of them went as told.
async fn play(ports: Ports) -> Result<bool, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let stage = tokio::select! {
        stage = Stage::set(ports) => stage?,
        _ = tokio::signal::ctrl_c() => return Ok(false),
        _ = terminate.recv() => return Ok(false),
    };
    let mut teller = Teller::new(&stage);
    // Dropping the stage ends the proxy, so every way out of here leaves nothing behind.
    tokio::select! {
        told = tell(&stage, &mut teller) => told?,
        _ = tokio::signal::ctrl_c() => return Ok(false),
        _ = terminate.recv() => return Ok(false),
    }
    if ports == Ports::Friendly {
        teller.stays_up();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    }
    Ok(teller.all_as_told())
}

async fn tell(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), Failure> {
    teller.introduction();
    for step in story::steps() {
        teller.step(&step).await?;
    }
    teller.explanation(&explain::refusal(stage).await?);
    teller.records().await
}
