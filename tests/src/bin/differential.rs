//! Compares random commands with redis-server for as long as one likes.
//!
//! ```text
//! cargo run --release -p kvorum-tests --bin differential -- --commands 1000000 --seed 1
//! ```
//!
//! `--failures N` goes on after a difference, up to N; `--filter TEXT` restricts the commands;
//! `--pairs N` says how many pairs of servers share the work, 2 without it;
//! `--departures` prints where replies may differ, and why. `KVORUM_REDIS_SERVER` names the
//! redis-server, `/usr/bin/redis-server` without it. Exit code 1: replies differed.

use kvorum_tests::differential::{self, Options, departures::DEPARTURES, servers::Servers};
use kvorum_tests::redis_server::{DEFAULT_BINARY, named_binary};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut options = Options { commands: 1_000_000, ..Options::default() };
    let mut pairs = 2;
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        if name == "--departures" {
            for departure in DEPARTURES {
                let names = departure.commands.join(" ");
                println!("{:?}  {names}\n    {}", departure.how, departure.reason);
            }
            return ExitCode::SUCCESS;
        }
        let value = args.next().unwrap_or_default();
        let number = || value.parse().unwrap_or_else(|_| panic!("{name} takes a number"));
        match name.as_str() {
            "--commands" => options.commands = number(),
            "--seed" => options.seed = number(),
            "--failures" => options.failures_max = number() as usize,
            "--filter" => options.filter = value,
            "--pairs" => pairs = number() as usize,
            _ => panic!("{name} is no option; see the head of this program"),
        }
    }
    let binary = named_binary().unwrap_or_else(|| DEFAULT_BINARY.into());
    let servers = Servers::start(pairs, &binary);
    let begun = Instant::now();
    let report = differential::run(&servers.addresses(), &options);
    for (name, count) in &report.departures {
        println!("{count:>10} {name}");
    }
    println!("{report} in {:.1?}", begun.elapsed());
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
