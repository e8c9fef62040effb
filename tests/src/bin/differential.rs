//! Compares random commands with redis-server for as long as one likes.
//!
//! ```text
//! cargo run --release -p kvorum-tests --bin differential -- --commands 1000000 --seed 1
//! ```
//!
//! `--failures N` goes on after a difference, up to N; `--filter TEXT` restricts the commands;
//! `--departures` prints where replies may differ, and why. `KVORUM_REDIS_SERVER` names the
//! redis-server, `/usr/bin/redis-server` without it. Exit code 1: replies differed.

use kvorum_tests::cluster::Cluster;
use kvorum_tests::differential::{self, Options, departures::DEPARTURES};
use kvorum_tests::redis_server::{DEFAULT_BINARY, start_named_redis_server};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut options = Options { commands: 1_000_000, ..Options::default() };
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
            _ => panic!("{name} is no option; see the head of this program"),
        }
    }
    let binary =
        kvorum_tests::redis_server::named_binary().unwrap_or_else(|| DEFAULT_BINARY.into());
    let redis = start_named_redis_server(&binary, &[]);
    let kvorum = Cluster::start(1, &["storage-engine=memory", "appendfsync=everysec"]);
    let begun = Instant::now();
    let report = differential::run(&kvorum.nodes[0].addr, &redis.addr, &options);
    println!("{report} in {:.1?}", begun.elapsed());
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
