//! `kvorum demo`: a cluster of several nodes, each a process of this binary, to be watched.
//!
//! Invariants: nothing starts before all ports are seen to be free; a node that ends is reported
//! and stays down until it is asked back; no node outlives the demo, however that ends, because
//! every node holds the reading end of a pipe from it (see `lifeline`). The demo only watches:
//! what it says of the cluster is what the nodes answer to INFO.
//!
//! `plan` is what is started and where; `process` one node; `probe` the question to a node;
//! `screen` the texts.

mod plan;
mod probe;
mod process;
mod screen;

use clap::Args;
use plan::Plan;
use probe::Seen;
use process::Process;
use screen::say;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Pause between two looks at all nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long nodes that start may take to agree on a leader.
const START_WAIT: Duration = Duration::from_secs(60);
/// How long the others are waited for once there is a leader.
const REST_WAIT: Duration = Duration::from_secs(5);
/// How long nodes may take to stop before they are killed.
const STOP_WAIT: Duration = Duration::from_secs(7);

/// A cluster on this machine, to try things out: one process for each node.
///
/// Data and logs are below one directory; a second start on it continues with the same data.
/// Ctrl-C stops all nodes. Settings of the environment (KVORUM_...) are not passed on.
///
/// While it runs, a line on standard input does something: 'kill 2', 'restart 2', 'status',
/// 'help', 'quit'.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many nodes, 1 to 9 [default: 3, or what the directory was made for].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: Option<u16>,
    /// Client port of the first node; the others follow. Peers use these ports plus 10000
    /// [default: 6379, or what the directory was made for].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,
    /// Directory of the data and logs of all nodes.
    #[arg(long, value_name = "DIR", default_value = "./kvorum-demo")]
    data_dir: PathBuf,
}

/// Runs the demo until it is told to stop.
pub(crate) fn run(args: &DemoArgs) -> ExitCode {
    let outcome = start(args);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => crate::cli::serve::fail(&format!("demo: {why}")),
    }
}

fn start(args: &DemoArgs) -> Result<(), String> {
    let plan = Plan::new(args.data_dir.clone(), args.nodes, args.base_port)?;
    plan.check_ports()?;
    plan.save()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let outcome = runtime.block_on(async {
        let mut demo = Demo::new(plan)?;
        let outcome = demo.run().await;
        demo.stop().await;
        outcome
    });
    // A thread may still wait for a line of standard input.
    runtime.shutdown_background();
    outcome
}

struct Demo {
    plan: Plan,
    nodes: Vec<Process>,
    /// What each node said last; None: no answer.
    seen: Vec<Option<Seen>>,
    /// Number of the leader that was told of last.
    leader: Option<usize>,
    /// Whether the welcome was shown.
    welcomed: bool,
    started: Instant,
    leader_since: Option<Instant>,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What the demo reacts to.
enum Event {
    Stop,
    Line(String),
    Look,
}

impl Demo {
    fn new(plan: Plan) -> Result<Self, String> {
        let on = |kind| signal(kind).map_err(|error| format!("no signal handler: {error}"));
        Ok(Demo {
            nodes: (1..=plan.nodes).map(|number| Process::new(plan.node(number))).collect(),
            seen: vec![None; usize::from(plan.nodes)],
            plan,
            leader: None,
            welcomed: false,
            started: Instant::now(),
            leader_since: None,
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn run(&mut self) -> Result<(), String> {
        say(&screen::starting(&self.plan));
        for node in &mut self.nodes {
            node.start()?;
        }
        let mut lines = Some(BufReader::new(tokio::io::stdin()).lines());
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                _ = self.interrupt.recv() => Event::Stop,
                _ = self.terminate.recv() => Event::Stop,
                _ = self.hangup.recv() => Event::Stop,
                line = next_line(&mut lines) => Event::Line(line),
                _ = ticks.tick() => Event::Look,
            };
            match event {
                Event::Stop => return Ok(()),
                Event::Line(line) if matches!(line.trim(), "quit" | "q" | "exit") => return Ok(()),
                Event::Line(line) => self.obey(line.trim()).await,
                Event::Look => self.look().await?,
            }
        }
    }

    /// Notices what changed, and tells it.
    async fn look(&mut self) -> Result<(), String> {
        for node in &mut self.nodes {
            let Some(ended) = node.ended() else { continue };
            if !self.welcomed {
                return Err(screen::ended_early(&node.plan, ended));
            }
            say(&screen::ended(&node.plan, ended));
        }
        let asked = self.nodes.iter().map(|node| async {
            if node.is_running() { probe::ask(&node.plan.listen).await } else { None }
        });
        self.seen = futures_util::future::join_all(asked).await;
        self.tell_leader();
        if !self.welcomed {
            self.welcome()?;
        }
        Ok(())
    }

    /// The node that leads by its own word, of the highest term.
    fn leading(&self) -> Option<(usize, u64)> {
        let leading = self.seen.iter().enumerate().filter_map(|(position, seen)| {
            let seen = seen.as_ref().filter(|seen| seen.leads)?;
            Some((position, seen.term))
        });
        leading.max_by_key(|(_, term)| *term)
    }

    fn tell_leader(&mut self) {
        let leading = self.leading();
        let leader = leading.map(|(position, _)| position);
        if leader == self.leader {
            return;
        }
        self.leader = leader;
        self.leader_since = leader.map(|_| Instant::now());
        if !self.welcomed {
            return;
        }
        match leading {
            Some((position, term)) => say(&screen::leads(&self.nodes[position].plan, term)),
            None => say("no node leads now"),
        }
    }

    fn welcome(&mut self) -> Result<(), String> {
        let agreed = self.leader_since.is_some()
            && self.seen.iter().flatten().filter(|seen| seen.leader_known).count()
                == self.nodes.len();
        let waited = self.leader_since.is_some_and(|since| since.elapsed() > REST_WAIT);
        if agreed || waited {
            self.welcomed = true;
            say(&screen::welcome(&self.nodes, &self.seen, self.leading()));
        } else if self.started.elapsed() > START_WAIT {
            let seconds = START_WAIT.as_secs();
            return Err(format!(
                "no leader within {seconds} s; see the logs in {}",
                self.plan.dir.display()
            ));
        }
        Ok(())
    }

    /// Does what a line of standard input asks for.
    async fn obey(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let position = words.get(1).and_then(|word| word.parse::<usize>().ok());
        let position = position.filter(|number| (1..=self.nodes.len()).contains(number));
        match (&words[..], position) {
            ([], _) => {}
            (["status" | "s"], _) => {
                say(&screen::table(&self.nodes, &self.seen));
            }
            (["restart" | "r", _], Some(number)) => self.restart(number - 1).await,
            (["restart" | "r"], _) => self.start_all(),
            (["kill" | "k", _], Some(number)) => match self.nodes[number - 1].kill().await {
                true => say(&format!("node {number} was killed (kill -9)")),
                false => say(&format!("node {number} does not run")),
            },
            (["restart" | "r" | "kill" | "k", ..], None) => {
                say(&format!("which node? 1 to {}", self.nodes.len()));
            }
            (["help" | "h" | "?"], _) => say(screen::HELP),
            _ => say(&format!("'{line}' is not known\n{}", screen::HELP)),
        }
    }

    /// Starts every node that is down.
    fn start_all(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| !node.is_running()) {
            match node.start() {
                Ok(()) => say(&format!("node {} starts again", node.plan.number)),
                Err(why) => say(&why),
            }
        }
    }

    async fn restart(&mut self, position: usize) {
        let number = position + 1;
        let node = &mut self.nodes[position];
        if node.is_running() {
            say(&format!("node {number} stops"));
            node.close();
            if !node.wait(STOP_WAIT).await {
                node.kill().await;
            }
        }
        match node.start() {
            Ok(()) => say(&format!("node {number} starts again")),
            Err(why) => say(&why),
        }
    }

    /// Stops all nodes; kills those that do not, and all when it is interrupted once more.
    async fn stop(&mut self) {
        if !self.nodes.iter().any(Process::is_running) {
            return;
        }
        say("stopping all nodes");
        for node in &mut self.nodes {
            node.close();
        }
        let all =
            futures_util::future::join_all(self.nodes.iter_mut().map(|node| node.wait(STOP_WAIT)));
        tokio::select! {
            _ = all => {}
            _ = self.interrupt.recv() => {}
        }
        for node in &mut self.nodes {
            if node.kill().await {
                say(&format!("node {} did not stop in time and was killed", node.plan.number));
            }
        }
        say("all nodes have stopped");
    }
}

/// The next line of standard input; never returns once that has ended.
async fn next_line(lines: &mut Option<Lines<BufReader<Stdin>>>) -> String {
    if let Some(input) = lines {
        if let Ok(Some(line)) = input.next_line().await {
            return line;
        }
        *lines = None;
    }
    std::future::pending().await
}
