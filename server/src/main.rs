//! The `kvorum` binary; see `kvorum::cli`.

use std::process::ExitCode;

/// glibc's allocator spends a tenth of a pipelined write on consolidating small blocks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kvorum::cli::run()
}
