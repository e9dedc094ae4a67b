//! The story of a system user from the vendor's registration to the first call, told over HTTP to a running sandbox.
//!
//! Each scenario is one of the three patterns of use: a customer's own system, a supplier with packages from its
//! customer, and an accountant or auditor with clients. It walks the documented endpoints, takes a token with a real
//! grant, asks the decision point, and, where a proxy is named, ends with a call that is permitted and its
//! neighbour that is refused. It may be run again and again in the same world.

mod http;
mod walk;

use serde::Serialize;

/// A pattern of use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Scenario {
    /// A customer approves a system for itself.
    Own,
    /// A supplier acts with packages that its customer gave it (virksomhetsdelegering).
    Supplier,
    /// An accountant adds a client to its agent (klientdelegering).
    Client,
    /// An auditor does the same.
    Auditor,
}

/// What is needed to run a scenario.
#[derive(Clone, Debug)]
pub struct ScenarioOptions {
    /// The story to tell.
    pub scenario: Scenario,
    /// Base address of a running sandbox with the built-in world, `http://HOST:PORT`.
    pub sandbox: String,
    /// Base address of a proxy with the routes of `config/sandbox.yaml`, if the story is to end there.
    pub proxy: Option<String>,
}

/// One step that went as it should.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was done, in plain words.
    pub what: String,
    /// Method and path.
    pub call: String,
    /// Status of the answer.
    pub status: u16,
    /// What matters of the answer.
    pub outcome: String,
}

/// Why a scenario did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The address is not `http://HOST:PORT`.
    #[error("`{0}` is no address of the form http://HOST:PORT")]
    Address(String),
    /// No answer came.
    #[error("no answer to {call}")]
    NoAnswer {
        /// Method and path.
        call: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another answer came than the story needs.
    #[error("{what}: {call} answered {status}: {body}")]
    Unexpected {
        /// What was being done.
        what: String,
        /// Method and path.
        call: String,
        /// Status of the answer.
        status: u16,
        /// The answer.
        body: String,
    },
}

/// Tells a story; every step that went well is given back in order.
///
/// # Errors
/// [`ScenarioError`] with the first step that did not.
pub async fn run_scenario(options: &ScenarioOptions) -> Result<Vec<Step>, ScenarioError> {
    walk::run(options).await
}
