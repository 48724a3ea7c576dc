//! The litesmith program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(litesmith_cli::main(std::env::args_os()))
}
