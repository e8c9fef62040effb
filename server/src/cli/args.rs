//! Arguments of the binary, and what they run.

use crate::cli::check::{self, CheckArgs};
use crate::cli::demo::{self, DemoArgs};
use crate::cli::serve;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A Redis-protocol server whose acknowledged writes survive.
#[derive(Debug, Parser)]
#[command(name = "kvorum", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    start: StartArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a node (what `kvorum` does without a subcommand).
    Start(StartArgs),
    Demo(DemoArgs),
    Check(CheckArgs),
}

/// How to start a node. Settings come from the file, then the environment (`KVORUM_...`), then
/// these flags.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StartArgs {
    /// TOML file with settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of this node's data; an empty one becomes a new node.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where clients connect.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address that clients and nodes are told, when it is not the one listened on.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where other nodes connect (default: the client port + 10000).
    #[arg(long, value_name = "HOST:PORT")]
    peer_listen: Option<String>,
    /// Client addresses of members of the cluster to join.
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT...]")]
    join: Option<String>,
    /// Form a cluster when this many nodes of the --join list have met.
    #[arg(long, value_name = "N")]
    bootstrap_expect: Option<u64>,
    /// Any setting, by its name.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Print all settings with their values and meanings, and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Stop, as after SIGTERM, when standard input ends.
    #[arg(long)]
    pub(crate) exit_with_stdin: bool,
}

impl StartArgs {
    /// The flags as settings.
    pub(crate) fn settings(&self) -> Result<Vec<(String, String)>, String> {
        let named = [
            ("data-dir", self.data_dir.clone()),
            ("listen", self.listen.clone()),
            ("advertise", self.advertise.clone()),
            ("peer-listen", self.peer_listen.clone()),
            ("join", self.join.clone()),
            ("bootstrap-expect", self.bootstrap_expect.map(|expect| expect.to_string())),
        ];
        let mut settings: Vec<(String, String)> = named
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)))
            .collect();
        for pair in &self.set {
            let (name, value) = pair
                .split_once('=')
                // Without what follows the name: it may be a password.
                .ok_or_else(|| format!("--set {}: NAME=VALUE is wanted", name_in(pair)))?;
            settings.push((name.to_owned(), value.to_owned()));
        }
        Ok(settings)
    }
}

/// The name that a pair without `=` begins with.
fn name_in(pair: &str) -> &str {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    &pair[..pair.find(|letter| !is_of_name(letter)).unwrap_or(pair.len())]
}

/// Runs the binary.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => serve::run(&cli.start),
        Some(Command::Start(start)) => serve::run(&start),
        Some(Command::Demo(demo)) => demo::run(&demo),
        Some(Command::Check(check)) => check::run(&check),
    }
}
