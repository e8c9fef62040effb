//! The `kvorum` binary; see `kvorum::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kvorum::cli::run()
}
