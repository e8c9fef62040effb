//! The `kvorum` binary; see `kvorum::cli`.

use std::process::ExitCode;

/// Values are made by one thread and freed by another, thousands of times a millisecond, and memory that
/// is free goes back to the system: `server/docs/decisions/2026-11-23-memory-is-jemallocs.md`. Its options are
/// in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    kvorum::cli::run()
}
