//! The command line: one binary, one subcommand for each thing one does with it.

mod args;
mod check;
mod demo;
mod lifeline;
mod serve;
mod tracing_setup;

pub use args::run;
