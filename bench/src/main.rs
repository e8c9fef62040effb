//! Measures servers that speak the Redis protocol, and Kvorum beside its peers.
//!
//! - `kvorum-bench load` sends one workload to one server or cluster.
//! - `kvorum-bench peers` starts Kvorum and its peers on this machine, measures them in turn, and
//!   prints the ratios.
//!
//! # How to read the results
//!
//! - Without `--rate` the loop is *closed*: a connection sends its next round when the last one is answered. When the
//!   server stalls, less is sent, so a stall of 100 ms is one slow round for each connection and not
//!   the many requests that would have arrived meanwhile (coordinated omission). Percentiles compare
//!   servers under equal connections; they do not tell what a fixed rate of arrivals would see. Look
//!   at `max` and at the longest gap too.
//! - Every reply is timed, not the first of a batch: with a pipeline of 16 the latency is that of
//!   being the n-th of 16.
//! - Throughput times latency is connections times pipeline: two servers with equal throughput have
//!   equal mean latency. To see latency alone, use one connection.
//! - Generator and servers share the cores of the machine. What the generator uses is printed as
//!   `client`; on two cores it is part of what limits every peer, and it flattens ratios.
//! - Disks and neighbours make figures move by a third within minutes. Compare only figures of one
//!   interleaved run, by their ratios, and look at min..max before believing a difference.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on its terminal"
)]

mod bound;
mod chart;
mod cli;
mod comparison;
mod connection;
mod control;
mod error;
mod etcd;
mod failover;
mod goals;
mod join;
mod keys;
mod large;
mod load;
mod machine;
mod overload;
mod pacing;
mod peers;
mod point;
mod process;
mod replies;
mod report;
mod soak;
mod speed;
mod stats;
mod steady;
mod target;
mod workload;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("kvorum-bench: {failure}");
            ExitCode::from(2)
        }
    }
}
