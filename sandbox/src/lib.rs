//! A simulation of Maskinporten and Altinn Authorization, in one process on one port.
//!
//! Written from the public documents of the two services, without any type of the proxy. It decides from its own
//! model of the world ([`Seed`]) and only prints XACML policies, so that the proxy's policy evaluation and the
//! sandbox check each other. The knobs below `/sandbox` disturb it; the README lists them and the seed's fixed ids.
//!
//! ```no_run
//! # async fn example() -> Result<(), portvakt_sandbox::SandboxError> {
//! use portvakt_sandbox::{Sandbox, SandboxOptions};
//!
//! let sandbox = Sandbox::start(SandboxOptions::default()).await?;
//! println!("{} {}", sandbox.issuer(), sandbox.altinn_url());
//! sandbox.stop().await;
//! # Ok(())
//! # }
//! ```

mod altinn;
mod calls;
mod cli;
mod clock;
mod crypto;
mod faults;
mod knobs;
mod maskinporten;
mod model;
mod pages;
mod scenario;
mod server;
mod state;
mod tls;
mod world;

pub use cli::run;
pub use crypto::rsa::KeyError;
pub use model::{Answer, Model, Question};
pub use scenario::{Scenario, ScenarioError, ScenarioOptions, Step, run_scenario};
pub use server::{RunningSandbox, Sandbox, SandboxError, SandboxOptions, Seed};
pub use tls::{TlsError, TlsOptions};
pub use world::seed::SeedError;
