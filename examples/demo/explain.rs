//! `portvakt explain`: what every step of the judgement says to one request.

use crate::Failure;
use crate::say::token_command;
use crate::stage::Stage;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command, and what it printed.
pub(crate) struct Explanation {
    /// To be pasted into a shell.
    pub(crate) command: String,
    /// What came.
    pub(crate) output: String,
    /// Whether it exited with 1: refused.
    pub(crate) as_told: bool,
}

/// Explains why Nordlys may not write claims for Strand.
pub(crate) async fn refusal(stage: &Stage) -> Result<Explanation, Failure> {
    let wish = json!({
        "client_id": "c1000000-0000-4000-8000-000000000011",
        "scope": "skatteetaten:kravogbetalinger",
        "systemuser_org": "310000604",
    });
    let program = std::env::current_exe()?;
    let config = stage.file("portvakt.yaml");
    let request = ["POST", "/v1/parties/310000604/claims"];
    let command = format!(
        "{} \\\n  | {} portvakt explain --config {} --token-file - {}",
        token_command(stage.sandbox(), &wish),
        as_pasted(&program).display(),
        config.display(),
        request.join(" "),
    );
    // The same, without a shell. The token goes through standard input: arguments are seen by others.
    let mut child = Command::new(program)
        .args(["portvakt", "explain", "--token-file", "-", "--config"])
        .arg(config)
        .args(request)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(stage.token(&wish).await?.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    Ok(Explanation {
        command,
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        as_told: output.status.code() == Some(1),
    })
}

/// The shortest way to write a path in a command.
fn as_pasted(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).to_owned()
}
