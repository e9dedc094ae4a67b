//! The program; see [`portvakt_sandbox::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    portvakt_sandbox::run(std::env::args_os())
}
