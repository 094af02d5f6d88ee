//! The program `tidegate`. All of it is in the library beside it, so that tests can use the parts.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::cli::main(std::env::args_os())
}
